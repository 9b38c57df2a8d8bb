/* Who is at the other end.
 *
 * Ourselves: our own uid. Both ends are closed, the target is never tried again.
 *
 * A second link to a peer: both ends must keep the same one without asking. The link dialled by the lower name wins; of two links of one
 * dialler the later one (the dialler's sequence number, said in HELLO). Whoever accepted the survivor closes the other: when it is
 * established there, it is established at its dialler too (see link.c), so at no time are the two without a link. A process that was
 * restarted has another uid and a higher incarnation: its former link loses at once.
 *
 * A second holder of a name (its key or process is another). Seen by itself when it meets its namesake; seen by a third peer that can
 * reach the present holder when the newcomer says HELLO: the newcomer is refused and told where the holder is, and the newcomer's
 * claim is flooded as CONTEST, by which the holder hears of it; seen by either when the other's item "i" comes by gossip, which is
 * answered by flooding our own claim; seen by a third peer that hears of the newcomer's "i" while it reaches the holder (another signing key: it
 * is not taken), which floods both claims. Being contested lasts until CONTEST_HOLD_MS after the last sign. Meanwhile items under our name from
 * outside are kept out of the maps: two hosts superseding each other would never end.
 *
 * An item "i" of a lower incarnation than ours is our former self, or a host that had the name before: no sign. One of a higher incarnation may
 * also be that, when clocks were set back; it is repeated by gossip for ever, so only its first hearing counts, and when the contest has
 * ended without further signs, it is superseded like anything else of ours. */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "gossip/internal.h"

static const struct hostport nowhere;

struct hostport gossip_link_published(const struct link *l)
{
	struct hostport h = l->remote;
	if (!l->outbound)
		h.port = l->port;
	return h;
}

void gossip_hello_send(struct gossip *g, struct link *l)
{
	struct message m = { .type = MESSAGE_HELLO };
	m.u.hello = (struct message_hello){
		.name = g->self,
		.incarnation = g->incarnation,
		.uid = g->uid,
		.dial_seq = l->my_seq,
		.port = g->port,
		.protocol = MESSAGE_PROTOCOL,
		.worth = (uint8_t)l->told,
		.nickname = slice_str(g->nickname),
		.version = slice_str(g->version),
	};
	memcpy(m.u.hello.sign_key, g->sign_key, sizeof g->sign_key);
	l->hello_sent = gossip_link_send(g, l, &m);
	if (!l->hello_sent)
		gossip_link_close(g, l, "out of memory");
}

/* Contests */

static const char *at_text(struct hostport h, char out[HOSTPORT_TEXT])
{
	if (h.ip.family == 0)
		(void)snprintf(out, HOSTPORT_TEXT, "an unknown address");
	else
		hostport_format(h, out);
	return out;
}

void gossip_contest_say(struct gossip *g)
{
	if (g->contested == g->contest_said)
		return;
	char *text = arena_dup(g->out->arena, g->contest_text, strlen(g->contest_text) + 1);
	struct gossip_action *a = text ? gossip_act(g, GOSSIP_CONTESTED) : NULL;
	if (!a) {
		g->nomem = true;
		return;
	}
	a->u.contested.on = g->contested;
	a->u.contested.other = g->contest_by;
	a->u.contested.text = text;
	g->contest_said = g->contested;
}

static void contest_sign(struct gossip *g, struct hostport by)
{
	char name[PEER_TEXT], at[HOSTPORT_TEXT];
	g->contest_until_ms = g->now + CONTEST_HOLD_MS;
	gossip_timer_set(g, &g->contest_timer, g->contest_until_ms);
	if (by.ip.family != 0 || !g->contested)
		g->contest_by = by;
	(void)snprintf(g->contest_text, sizeof g->contest_text,
		"another host, at %s, uses our peer name %s: start one of the two with another --name, or remove the state directory "
		"that was copied; until then no addresses are given out here",
		at_text(g->contest_by, at), peer_format(g->self, name));
	if (g->contested)
		return;
	g->contested = true;
	gossip_act_note(g, NOTE_ERROR, false, "%s", g->contest_text);
}

/* Somebody's word for it, which may be a lie: it stops us for a while and not again and again. What we have met ourselves, or what our own key has signed,
 * is no such thing. */
static void contest_reported(struct gossip *g, uint64_t reporter, struct hostport by)
{
	char name[PEER_TEXT];
	struct peer *p = gossip_peer_find(g, reporter);
	if (!p)
		return;
	if (p->report_ms == 0 || g->now >= p->report_ms + CONTEST_REPORT_AGAIN_MS)
		p->report_ms = g->now;
	if (g->now >= p->report_ms + CONTEST_REPORT_MS) {
		g->counters.refused[REFUSED_CONTEST]++;
		return;
	}
	gossip_act_note_about(
		g, reporter, NOTE_WARNING, false, "%s says that another host uses our peer name", peer_format(reporter, name));
	contest_sign(g, by);
}

void gossip_contest_timer(struct gossip *g)
{
	if (g->now < g->contest_until_ms) {
		gossip_timer_set(g, &g->contest_timer, g->contest_until_ms);
		return;
	}
	char name[PEER_TEXT];
	g->contested = false;
	(void)snprintf(g->contest_text, sizeof g->contest_text, "no other host was seen with our peer name %s for %d s",
		peer_format(g->self, name), CONTEST_HOLD_MS / 1000);
	gossip_act_note(g, NOTE_INFO, false, "%s", g->contest_text);
}

bool gossip_contest_guard(void *ctx, const struct crdt_item *it)
{
	const struct gossip *g = ctx;
	(void)it;
	return g->contested;
}

bool gossip_contest_guard_peers(void *ctx, const struct crdt_item *it)
{
	struct gossip *g = ctx;
	struct slice sub = crdt_subkey(it->key);
	struct peer_info info;
	bool claim = it->live && sub.n == 1 && sub.p[0] == 'i' && it->stamp.inc >= g->incarnation &&
		stamp_cmp(it->stamp, g->claimed) > 0 && peer_info_decode(it->value, &info) == ERR_OK && info.uid != g->uid;
	if (claim) {
		g->claimed = it->stamp;
		g->claim_heard = true;
		g->claim_from = gossip_sign_by_us(g, it) ? g->self : g->judging ? g->judging->peer : PEER_NONE;
		g->claim_at = info.n_addresses > 0 ? info.addresses[0] : nowhere;
		return true;
	}
	return g->contested;
}

/* To all neighbours but the one it came from (NULL: it is ours to say), once per claim and CONTEST_SEEN_MS. */
static void flood(struct gossip *g, const struct message_contest *c, const struct link *except)
{
	for (size_t i = 0; i < CONTEST_SEEN; i++) {
		struct flood_seen *s = &g->seen[i];
		if (s->name == c->name && s->uid == c->uid && g->now < s->at_ms + CONTEST_SEEN_MS)
			return;
	}
	if (!bucket_take(&g->floods, g->now))
		return; /* somebody makes them up */
	g->seen[g->seen_at++ % CONTEST_SEEN] = (struct flood_seen){ c->name, c->uid, g->now };
	struct message m = { .type = MESSAGE_CONTEST };
	m.u.contest = *c;
	if (!except)
		gossip_sign_contest(g, &m.u.contest);
	for (size_t i = 0; i < g->n_links; i++)
		if (g->links[i]->stage == STAGE_ESTABLISHED && g->links[i] != except)
			(void)gossip_link_send(g, g->links[i], &m);
}

void gossip_contest_between(struct gossip *g, uint64_t name, const struct peer_info *newcomer)
{
	struct peer_info holder;
	if (!gossip_peer(g, name, &holder))
		return;
	const struct peer_info *v[2] = { &holder, newcomer };
	for (size_t i = 0; i < 2; i++) {
		g->rivals[i] = (struct message_contest){ .name = name, .uid = v[i]->uid, .hops = GOSSIP_HOPS_MAX };
		memcpy(g->rivals[i].key, v[i]->key, sizeof g->rivals[i].key);
		g->rivals[i].address = v[i]->n_addresses > 0 ? v[i]->addresses[0] : nowhere;
	}
}

void gossip_contest_heard(struct gossip *g)
{
	for (size_t i = 0; i < 2; i++) {
		if (g->rivals[i].name != PEER_NONE && g->rivals[i].uid != 0)
			flood(g, &g->rivals[i], NULL);
		g->rivals[i].name = PEER_NONE;
	}
	if (!g->claim_heard)
		return;
	g->claim_heard = false;
	if (g->claim_from == g->self)
		contest_sign(g, g->claim_at);
	else
		contest_reported(g, g->claim_from, g->claim_at);
	struct message_contest c = { .name = g->self, .uid = g->uid, .incarnation = g->incarnation, .hops = GOSSIP_HOPS_MAX };
	memcpy(c.key, g->key, sizeof c.key);
	if (g->n_addresses > 0)
		c.address = g->addresses[0];
	flood(g, &c, NULL);
}

void gossip_contest_received(struct gossip *g, struct link *l, const struct message_contest *c)
{
	struct message_contest on = *c;
	if (on.name == g->self) {
		if (on.uid == g->uid || !gossip_sign_contest_accept(g, l, &on))
			return;
		if (on.reporter == g->self)
			contest_sign(g, on.address);
		else
			contest_reported(g, on.reporter, on.address);
		return;
	}
	if (on.hops == 0)
		return;
	on.hops--;
	flood(g, &on, l);
}

/* A newcomer whose name is in use by someone whom we can reach. */
static void refuse_namesake(struct gossip *g, struct link *l, const struct message_hello *h, struct hostport holder)
{
	char who[160], at[HOSTPORT_TEXT], text[REASON_MAX];
	(void)snprintf(text, sizeof text, "the peer name is in use by the host at %s", at_text(holder, at));
	g->counters.handshakes_duplicate++;
	gossip_act_note_about(g, h->name, NOTE_WARNING, false, "refused %s: %s", gossip_link_who(l, who), text);
	struct message_contest c = { .name = h->name,
		.uid = h->uid,
		.incarnation = h->incarnation,
		.address = gossip_link_published(l),
		.hops = GOSSIP_HOPS_MAX };
	memcpy(c.key, l->key, sizeof c.key);
	flood(g, &c, NULL);
	gossip_connect_failed(g, l, LINK_FAILED, RETRY_RARELY, text);
	gossip_link_bye(g, l, BYE_DUPLICATE_NAME, holder, text);
}

/* Our own name from another process. */
static void meet_namesake(struct gossip *g, struct link *l)
{
	char at[HOSTPORT_TEXT], text[REASON_MAX];
	struct hostport other = gossip_link_published(l);
	(void)snprintf(text, sizeof text, "the host at %s uses our peer name", at_text(other, at));
	g->counters.handshakes_duplicate++;
	contest_sign(g, other);
	gossip_connect_failed(g, l, LINK_FAILED, RETRY_RARELY, text);
	struct hostport ours = l->local;
	ours.port = g->port;
	gossip_link_bye(g, l, BYE_DUPLICATE_NAME, ours, text);
}

static void meet_self(struct gossip *g, struct link *l)
{
	g->counters.handshakes_duplicate++;
	gossip_connect_failed(g, l, LINK_FAILED, RETRY_NEVER, "is ourselves");
	gossip_link_bye(g, l, BYE_SELF, nowhere, "is ourselves");
	g->topology_dirty = true; /* one target fewer is somebody else */
}

/* Duplicates */

static uint64_t dialler(const struct gossip *g, const struct link *l)
{
	return l->outbound ? g->self : l->peer;
}

static bool wins(const struct gossip *g, const struct link *a, const struct link *b)
{
	uint64_t da = dialler(g, a), db = dialler(g, b);
	if (da != db)
		return da < db;
	return (a->outbound ? a->my_seq : a->dial_seq) > (b->outbound ? b->my_seq : b->dial_seq);
}

static void lose(struct gossip *g, struct link *loser, const struct link *survivor)
{
	g->counters.handshakes_duplicate++;
	gossip_connect_failed(g, loser, LINK_RETRYING, RETRY_SOON, gossip_bye_reason_text(BYE_DUPLICATE));
	if (!survivor->outbound) {
		gossip_link_bye(g, loser, BYE_DUPLICATE, nowhere, gossip_bye_reason_text(BYE_DUPLICATE));
		return;
	}
	gossip_link_move(g, loser, STAGE_REPLACED);
	gossip_converge_done(g, loser);
	gossip_timer_set(g, &loser->timer, g->now + LINK_LINGER_MS);
}

/* HELLO */

static void establish(struct gossip *g, struct link *l, struct peer *p)
{
	struct link *old = p->link;
	char who[160];
	gossip_link_move(g, l, STAGE_ESTABLISHED);
	if (!l->outbound && session_psk_used(l->session) > 1)
		gossip_act_note_about(
			g, p->name, NOTE_INFO, false, "%s uses the second of the passwords given here", gossip_link_who(l, who));
	l->established_ms = l->last_in_ms = g->now;
	if (p->given_up && p->uid == l->uid && g->now < p->lost_ms + DOUBT_BACK_MS)
		gossip_doubt_hint(g, p);
	p->given_up = false;
	l->gap_mean = GOSSIP_HEARTBEAT_MS * 8;
	l->gap_dev = 0;
	p->link = l;
	p->tag = gossip_sign_tag(l->sign_key);
	gossip_sign_learnt(g);
	g->counters.handshakes_ok++;
	g->publish_links = true;
	g->topology_dirty = true;
	g->routes->stale = true;
	if (old)
		lose(g, old, l);
	gossip_connect_linked(g, l, p);
	gossip_timer_set(g, &l->timer, g->now); /* the first ping, for the round trip */
	gossip_spread_established(g, l);
	if (old)
		return;
	gossip_act_note_about(g, p->name, NOTE_INFO, false, "linked with %s", gossip_link_who(l, who));
}

/* True when the newcomer may have the name; else it has been refused. */
static bool name_is_free(struct gossip *g, struct link *l, struct peer *p, const struct message_hello *h)
{
	struct link *old = p ? p->link : NULL;
	if (old && old->uid != h->uid) {
		if (memcmp(old->key, l->key, sizeof l->key) != 0 || h->incarnation <= old->incarnation) {
			refuse_namesake(g, l, h, gossip_link_published(old));
			return false;
		}
		gossip_link_close(g, old, "it was restarted");
		return true;
	}
	if (!old && p && p->has_info && memcmp(p->key, l->key, sizeof l->key) != 0 && gossip_reachable(g, p->name)) {
		struct ip at, local;
		struct hostport holder = nowhere;
		if (gossip_underlay(g, p->name, &at, &local))
			holder = (struct hostport){ at, p->port };
		refuse_namesake(g, l, h, holder);
		return false;
	}
	return true;
}

static void take_hello(struct link *l, const struct message_hello *h)
{
	l->hello_seen = true;
	l->peer = h->name;
	l->uid = h->uid;
	l->incarnation = h->incarnation;
	l->dial_seq = h->dial_seq;
	l->port = h->port;
	l->theirs = h->worth < WORTH_BOUND ? (enum worth)h->worth : WORTH_BOUND;
	size_t n = h->nickname.n < sizeof l->nickname - 1 ? h->nickname.n : sizeof l->nickname - 1;
	if (n > 0)
		memcpy(l->nickname, h->nickname.p, n);
	memcpy(l->key, session_remote_key(l->session), sizeof l->key);
	memcpy(l->sign_key, h->sign_key, sizeof l->sign_key);
}

void gossip_hello_received(struct gossip *g, struct link *l, const struct message_hello *h)
{
	take_hello(l, h);
	if (!l->hello_sent)
		gossip_hello_send(g, l);
	if (l->stage == STAGE_CLOSED)
		return;
	if (h->uid == g->uid && h->name == g->self) {
		meet_self(g, l);
		return;
	}
	if (h->name == g->self) {
		meet_namesake(g, l);
		return;
	}
	struct peer *p = gossip_peer_find(g, h->name);
	if (!name_is_free(g, l, p, h))
		return;
	gossip_connect_reached(g, l);
	p = gossip_peer_get(g, h->name); /* it may have gone with the link of its former self */
	bool full = g->conn_limit > 0 && p && !p->link && gossip_links_established(g) >= g->conn_limit;
	if (full) {
		enum worth ours = gossip_worth_of(g, p);
		full = !gossip_make_room(g, ours > l->theirs ? ours : l->theirs, true);
	}
	if (!p || full) {
		char text[80];
		(void)snprintf(text, sizeof text, p ? "connection limit (%zu) reached" : "out of memory, or more than %zu peers",
			p ? g->conn_limit : (size_t)PEERS_MAX);
		gossip_connect_failed(g, l, LINK_RETRYING, RETRY_RARELY, text);
		gossip_link_bye(g, l, BYE_LIMIT, p ? gossip_elsewhere(g, h->name) : nowhere, text);
		if (p && !p->has_info && !p->has_links)
			gossip_peer_free(g, p);
		return;
	}
	if (p->link && !wins(g, l, p->link)) {
		lose(g, l, p->link);
		return;
	}
	establish(g, l, p);
}

static bool others_link_with_us(const struct gossip *g, const struct link *but)
{
	for (size_t i = 0; i < g->n_links; i++)
		if (g->links[i] != but && g->links[i]->stage == STAGE_ESTABLISHED)
			return true;
	return false;
}

void gossip_bye_received(struct gossip *g, struct link *l, const struct message_bye *b)
{
	char text[REASON_MAX], at[HOSTPORT_TEXT], who[160];
	enum retry how = RETRY_BACKOFF;
	enum link_state show = LINK_RETRYING;
	bool words = b->text.n > 0 && (b->reason == BYE_OTHER || b->reason == BYE_MALFORMED);
	(void)snprintf(text, sizeof text, "%s%s%.*s", gossip_bye_reason_text(b->reason), words ? ": " : "",
		words ? (int)b->text.n : 0, words ? (const char *)b->text.p : "");
	switch (b->reason) {
	case BYE_DUPLICATE: how = RETRY_SOON; break;
	case BYE_DUPLICATE_NAME:
		(void)snprintf(text, sizeof text, "the other end says that the host at %s has our peer name", at_text(b->address, at));
		how = RETRY_RARELY;
		show = LINK_FAILED;
		if (l->peer == g->self)
			break;                     /* met directly, and known better from HELLO */
		if (others_link_with_us(g, l)) /* and take us for whom we say, so this is one peer's word */
			contest_reported(g, l->peer, b->address);
		else
			contest_sign(g, b->address);
		break;
	case BYE_LIMIT: how = gossip_connect_full(g, l, b->address); break;
	case BYE_SURPLUS: l->surplus = true; break;
	case BYE_VERSION: show = LINK_FAILED; break;
	case BYE_MALFORMED:
		gossip_act_note_about(g, l->peer, NOTE_WARNING, false, "the link to %s: %s", gossip_link_who(l, who), text);
		break;
	case BYE_TIMEOUT: { /* it did not hear us, who are alive */
		struct peer *p = gossip_peer_find(g, l->peer);
		if (p && p->link == l)
			gossip_doubt_hint(g, p);
		break;
	}
	case BYE_OTHER:
	case BYE_STOPPING:
	case BYE_SELF:
	case BYE_REASONS: break;
	}
	l->bye_seen = true;
	l->stopping = b->reason == BYE_STOPPING;
	gossip_connect_failed(g, l, show, how, text);
	gossip_link_close(g, l, text);
}
