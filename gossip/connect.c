/* Whom to dial, and when.
 *
 * Two kinds of things are dialled: targets, which the user named, and, with discovery, the addresses of wanted peers (choose.c). Both carry
 * a struct dial: one attempt at a time, a back-off that doubles up to a cap and is jittered, and words for the operator. Neither is
 * dialled while its peer is linked: a target knows its peer from the last time it answered, or because its address is one of the peer's.
 *
 * Of two peers that discover each other the lower name dials at once, the higher one a moment later, which spares most duplicates. A peer
 * that publishes something is alive: its back-off is cut short. A peer lost a short while ago is tried more often, because
 * partitions are mostly short. */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "gossip/internal.h"

static struct target *target_of(struct dial *d)
{
	return d && d->timer.kind == TIMER_TARGET ? (struct target *)(void *)d : NULL;
}

static struct peer *peer_of(struct dial *d)
{
	return d && d->timer.kind == TIMER_PEER ? (struct peer *)(void *)d : NULL;
}

static bool lives_at(const struct peer *p, struct hostport at)
{
	if (p->link && hostport_eq(at, gossip_link_published(p->link)))
		return true;
	for (size_t i = 0; i < p->n_addresses; i++)
		if (hostport_eq(at, p->addresses[i]))
			return true;
	return false;
}

/* Does the target name this peer? */
static bool names(const struct target *t, const struct peer *p)
{
	return t->peer != PEER_NONE ? t->peer == p->name : t->literal && lives_at(p, t->at);
}

/* Is its peer linked? Or, by the address, another one that has taken its place? */
static bool satisfied(const struct gossip *g, struct target *t)
{
	const struct peer *last = t->peer != PEER_NONE ? gossip_peer_find(g, t->peer) : NULL;
	if (last && last->link)
		return true;
	for (size_t i = 0; t->literal && i < g->n_peers; i++)
		if (g->peers[i]->link && lives_at(g->peers[i], t->at)) {
			t->peer = g->peers[i]->name;
			return true;
		}
	return false;
}

bool gossip_connect_known_address(const struct gossip *g, struct ip ip)
{
	for (size_t i = 0; i < g->n_targets; i++)
		if (g->targets[i]->at.ip.family != 0 && ip_eq(g->targets[i]->at.ip, ip))
			return true;
	for (size_t i = 0; i < g->n_peers; i++) {
		const struct peer *p = g->peers[i];
		if (p->link && ip_eq(p->link->remote.ip, ip))
			return true;
		for (size_t k = 0; k < p->n_addresses; k++)
			if (ip_eq(p->addresses[k].ip, ip))
				return true;
	}
	return false;
}

/* Dialling */

static uint64_t delay(struct gossip *g, const struct dial *d, bool recent)
{
	uint64_t most = recent ? CONNECT_RECENT_MAX_MS : GOSSIP_BACKOFF_MAX_MS, ms = GOSSIP_BACKOFF_MIN_MS;
	for (unsigned i = 1; i < d->failures && ms < most; i++)
		ms *= 2;
	if (ms > most)
		ms = most;
	return rng_between(&g->rng, ms / 2, ms);
}

static bool was_recent(const struct gossip *g, uint64_t name)
{
	const struct peer *p = gossip_peer_find(g, name);
	return p && p->lost_ms != 0 && g->now < p->lost_ms + CONNECT_RECENT_MS;
}

static size_t in_use(const struct gossip *g)
{
	size_t n = 0;
	for (size_t i = 0; i < g->n_links; i++) {
		const struct link *l = g->links[i];
		n += l->stage == STAGE_ESTABLISHED || (l->outbound && l->stage < STAGE_ESTABLISHED) ? 1 : 0;
	}
	return n;
}

static void give_reason(struct dial *d, const char *why)
{
	mem_free(d->reason);
	d->reason = why ? mem_strdup(why) : NULL; /* without memory for words there are none */
}

static void dial(struct gossip *g, struct dial *d, const char *host, uint16_t port, uint64_t patience_ms, enum worth worth)
{
	if (g->conn_limit > 0 && in_use(g) >= g->conn_limit && !gossip_make_room(g, worth, false)) {
		char text[REASON_MAX];
		(void)snprintf(text, sizeof text, "connection limit (%zu) reached", g->conn_limit);
		give_reason(d, text);
		d->state = LINK_RETRYING;
		gossip_timer_set(g, &d->timer, g->now + rng_between(&g->rng, CONNECT_RARELY_MS / 2, CONNECT_RARELY_MS));
		return;
	}
	char *name = arena_dup(g->out->arena, host, strlen(host) + 1);
	uint64_t conn = UINT64_C(1) << 63 | (g->seq + 1);
	struct link *l = name && gossip_act_reserve(g, 1) ? gossip_link_new(g, conn, true) : NULL;
	if (!l) {
		g->nomem = true;
		gossip_timer_set(g, &d->timer, g->now + RETRY_MS);
		return;
	}
	g->seq++;
	struct gossip_action *a = gossip_act(g, GOSSIP_DIAL);
	assert(a);
	a->u.dial.conn = conn;
	a->u.dial.host = name;
	a->u.dial.port = port;
	l->my_seq = g->seq;
	l->dial = d;
	l->told = worth;
	d->conn = conn;
	d->since_ms = g->now;
	d->tried = true;
	gossip_timer_set(g, &l->timer, g->now + patience_ms);
}

void gossip_connect_target_timer(struct gossip *g, struct target *t)
{
	if (t->dial.never || t->dial.conn != 0 || satisfied(g, t))
		return;
	t->redirected = t->elsewhere.ip.family != 0;
	if (!t->redirected) {
		t->hops = 0;
		dial(g, &t->dial, t->host, t->port, GOSSIP_HANDSHAKE_MS, WORTH_BOUND);
		return;
	}
	char host[IP_TEXT];
	struct hostport at = t->elsewhere;
	t->elsewhere.ip.family = 0;
	dial(g, &t->dial, ip_format(at.ip, host), at.port, GOSSIP_HANDSHAKE_MS, WORTH_BOUND); /* we have nobody */
}

/* Addresses of a peer, best first: where others have dialled it, what it says itself, where its connections to others come from. */
static void candidate(const struct gossip *g, struct hostport h, struct hostport *v, size_t *n)
{
	if (h.ip.family == 0 || h.port == 0 || *n == CONNECT_CANDIDATES_MAX)
		return;
	for (size_t i = 0; i < *n; i++)
		if (hostport_eq(v[i], h))
			return;
	for (size_t i = 0; i < g->n_self_at; i++)
		if (hostport_eq(g->self_at[i], h))
			return;
	for (size_t i = 0; i < g->n_addresses; i++)
		if (hostport_eq(g->addresses[i], h))
			return;
	for (size_t i = 0; i < g->n_peers; i++) /* a peer that is gone may have left its address to another */
		if (g->peers[i]->link && hostport_eq(gossip_link_published(g->peers[i]->link), h))
			return;
	v[(*n)++] = h;
}

static void hearsay(const struct gossip *g, const struct peer *p, bool outbound, struct hostport *v, size_t *n)
{
	struct peer_link l;
	for (size_t i = 0; i < p->links.n; i++) {
		uint64_t by = p->links.names[i];
		if (by != g->self && gossip_peer_link_said(g, by, p->name, &l) && l.outbound == outbound)
			candidate(g, l.address, v, n);
	}
}

static size_t candidates(const struct gossip *g, const struct peer *p, struct hostport v[CONNECT_CANDIDATES_MAX])
{
	size_t n = 0;
	hearsay(g, p, true, v, &n);
	for (size_t i = 0; i < p->n_addresses; i++)
		candidate(g, p->addresses[i], v, &n);
	hearsay(g, p, false, v, &n);
	return n;
}

/* A target that leads to the peer and has not failed much goes first. */
static bool left_to_target(const struct gossip *g, const struct peer *p)
{
	for (size_t i = 0; i < g->n_targets; i++) {
		const struct target *t = g->targets[i];
		if (!t->dial.never && t->dial.failures < 2 && names(t, p))
			return true;
	}
	return false;
}

static bool to_be_dialled(const struct gossip *g, const struct peer *p)
{
	return g->discovery && (p->wanted || p->probed) && p->name != g->self && !p->link && p->dial.conn == 0;
}

static size_t dials(const struct gossip *g)
{
	size_t n = 0;
	for (size_t i = 0; i < g->n_links; i++)
		n += peer_of(g->links[i]->dial) && g->links[i]->stage < STAGE_ESTABLISHED ? 1 : 0;
	return n;
}

void gossip_connect_peer_timer(struct gossip *g, struct peer *p)
{
	if (!to_be_dialled(g, p))
		return;
	if (left_to_target(g, p)) {
		gossip_timer_set(g, &p->dial.timer, g->now + delay(g, &p->dial, true) + GOSSIP_BACKOFF_MIN_MS);
		return;
	}
	if (dials(g) >= DIALS_MAX) {
		gossip_timer_set(g, &p->dial.timer, g->now + rng_between(&g->rng, DIALS_WAIT_MS / 2, DIALS_WAIT_MS));
		return;
	}
	struct hostport v[CONNECT_CANDIDATES_MAX];
	size_t n = candidates(g, p, v);
	if (n == 0) {
		p->probed = false;
		return; /* until it publishes something */
	}
	char host[IP_TEXT];
	struct hostport at = v[p->next_address % n];
	dial(g, &p->dial, ip_format(at.ip, host), at.port, n > 1 ? CONNECT_ADDRESS_MS : GOSSIP_HANDSHAKE_MS,
		p->successor ? WORTH_BOUND : WORTH_WANTED);
}

static void peer_schedule(struct gossip *g, struct peer *p)
{
	if (!to_be_dialled(g, p) || p->dial.timer.at_ms != 0)
		return;
	gossip_timer_set(g, &p->dial.timer, g->now + (g->self < p->name || p->dial.tried ? 0 : CONNECT_YIELD_MS));
}

void gossip_connect_address_heard(struct gossip *g, struct peer *p)
{
	if (p)
		peer_schedule(g, p);
}

void gossip_connect_sign_of_life(struct gossip *g, struct peer *p)
{
	struct dial *d = &p->dial;
	if (!p->wanted && d->failures >= 3 && g->now >= d->since_ms + CONNECT_AGAIN_MS) { /* it can be chosen once more */
		d->failures = 0;
		g->choose_dirty = true;
	}
	peer_schedule(g, p);
	if (!to_be_dialled(g, p) || d->timer.at_ms <= g->now + CONNECT_YIELD_MS || g->now < d->since_ms + 2 * CONNECT_YIELD_MS)
		return;
	d->failures = 0;
	gossip_timer_set(g, &d->timer, g->now + rng_below(&g->rng, CONNECT_YIELD_MS));
}

/* Outcomes */

/* Only a kernel that runs says these; the words are those of the shell (and of uv_strerror). */
static bool said_by_host(const char *why)
{
	static const char *const words[] = { "connection refused", "connection reset", "closed by the other end", "broken pipe" };
	for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
		if (strncmp(why, words[i], strlen(words[i])) == 0)
			return true;
	return false;
}

void gossip_connect_ended(struct gossip *g, const struct link *l, const char *why)
{
	bool said = said_by_host(why) || l->bye_seen;
	struct target *t = target_of(l->dial);
	struct peer *p = peer_of(l->dial);
	if (l->stage == STAGE_ESTABLISHED)
		p = gossip_peer_find(g, l->peer);
	else if (t && t->peer != PEER_NONE)
		p = gossip_peer_find(g, t->peer);
	if (!p || (p->link && p->link != l))
		return;
	if (said)
		p->seen_ms = g->now;
	else if (p->link == l)
		p->seen_ms = 0;
}

static const char *dial_text(const struct gossip *g, const struct dial *d, char out[GOSSIP_TARGET_TEXT])
{
	const struct dial *first = d; /* target_of() wants it writable, to give it writable */
	if (first->timer.kind == TIMER_TARGET) {
		(void)snprintf(out, GOSSIP_TARGET_TEXT, "%s", ((const struct target *)(const void *)d)->text);
		return out;
	}
	const struct peer *p = (const struct peer *)(const void *)d;
	struct hostport v[CONNECT_CANDIDATES_MAX];
	size_t n = candidates(g, p, v);
	char at[HOSTPORT_TEXT];
	(void)snprintf(out, GOSSIP_TARGET_TEXT, "%s", n > 0 ? hostport_format(v[p->next_address % n], at) : "");
	return out;
}

static void remember_self(struct gossip *g, struct hostport at)
{
	if (g->n_self_at < CONNECT_SELF_MAX)
		g->self_at[g->n_self_at++] = at;
}

/* The next address of a peer; the back-off is for when all have been tried. One that is ourselves is no candidate any more. */
static enum retry next_address(struct gossip *g, struct peer *p, bool was_self)
{
	struct hostport v[CONNECT_CANDIDATES_MAX];
	size_t n = candidates(g, p, v);
	p->next_address += was_self ? 0 : 1;
	if (p->next_address < n)
		return RETRY_SOON;
	p->next_address = 0;
	return RETRY_BACKOFF;
}

static void schedule_again(struct gossip *g, struct dial *d, enum retry how, uint64_t peer)
{
	switch (how) {
	case RETRY_NEVER:
		d->never = true;
		gossip_timer_off(g, &d->timer);
		break;
	case RETRY_SOON:
		gossip_timer_set(g, &d->timer, g->now + rng_between(&g->rng, GOSSIP_BACKOFF_MIN_MS / 4, GOSSIP_BACKOFF_MIN_MS / 2));
		break;
	case RETRY_BUSY: gossip_timer_set(g, &d->timer, g->now + rng_between(&g->rng, BUSY_MIN_MS, BUSY_MAX_MS)); break;
	case RETRY_RARELY:
		d->failures++;
		gossip_timer_set(g, &d->timer, g->now + rng_between(&g->rng, CONNECT_RARELY_MS / 2, CONNECT_RARELY_MS));
		break;
	case RETRY_BACKOFF:
		d->failures++;
		gossip_timer_set(g, &d->timer, g->now + delay(g, d, was_recent(g, peer)));
		break;
	}
}

void gossip_connect_failed(struct gossip *g, struct link *l, enum link_state show, enum retry how, const char *reason)
{
	struct dial *d = l->dial;
	if (!d)
		return;
	struct target *t = target_of(d);
	struct peer *p = peer_of(d);
	char text[GOSSIP_TARGET_TEXT];
	l->dial = NULL;
	d->conn = 0;
	if (how == RETRY_NEVER)
		remember_self(g, l->remote);
	bool again = d->reason && strcmp(d->reason, reason) == 0;
	if (how != RETRY_SOON && (!again || how == RETRY_NEVER) && d->failures < 8)
		gossip_act_note(g,
			show == LINK_FAILED ? NOTE_WARNING
				: t             ? NOTE_INFO
								: NOTE_DEBUG,
			false, "%s %s: %s", how == RETRY_NEVER ? "not dialling" : "cannot link to", dial_text(g, d, text), reason);
	d->state = show;
	give_reason(d, reason);
	if (p)
		p->probed = false;
	if (p && how != RETRY_RARELY && how != RETRY_BUSY)
		how = next_address(g, p, how == RETRY_NEVER);
	schedule_again(g, d, how, t ? t->peer : p->name);
	if (p && d->failures == 3)
		g->choose_dirty = true;
}

void gossip_connect_reached(struct gossip *g, struct link *l)
{
	struct target *t = target_of(l->dial);
	struct peer *p = peer_of(l->dial);
	if (t && !t->redirected) {
		t->peer = l->peer;
		t->at = l->remote;
	}
	if (p && p->name != l->peer)
		gossip_connect_failed(g, l, LINK_RETRYING, RETRY_BACKOFF, "another peer answers at its address");
}

static void settle(struct gossip *g, struct dial *d)
{
	struct link *l = d->conn != 0 ? gossip_link_find(g, d->conn) : NULL;
	gossip_timer_off(g, &d->timer);
	give_reason(d, NULL);
	d->state = LINK_RETRYING;
	if (!l || l->stage != STAGE_CONNECTING)
		return; /* one that shakes hands by now is a duplicate like any other */
	l->dial = NULL;
	d->conn = 0;
	gossip_link_close(g, l, "linked meanwhile");
}

void gossip_connect_linked(struct gossip *g, struct link *l, struct peer *p)
{
	struct target *t = target_of(l->dial);
	if (l->dial) {
		l->dial->conn = 0;
		l->dial = NULL;
	}
	if (t && t->redirected && !names(t, p)) { /* not whom the operator named; that one is tried again */
		t->redirected = false;
		t->via = p->name;
		schedule_again(g, &t->dial, RETRY_RARELY, PEER_NONE);
	}
	p->probed = false;
	settle(g, &p->dial);
	p->next_address = 0;
	for (size_t i = 0; i < g->n_targets; i++)
		if (names(g->targets[i], p)) {
			g->targets[i]->peer = p->name;
			settle(g, &g->targets[i]->dial);
		}
}

static void lost(struct gossip *g, struct dial *d, uint64_t peer, uint64_t lived_ms, const char *why)
{
	if (d->conn != 0 || d->never)
		return;
	if (lived_ms >= LINK_STEADY_MS)
		d->failures = 0;
	d->state = LINK_RETRYING;
	d->since_ms = g->now;
	give_reason(d, why);
	schedule_again(g, d, d->full, peer);
	d->full = RETRY_BACKOFF;
}

void gossip_connect_unlinked(struct gossip *g, struct peer *p, uint64_t lived_ms, const char *why)
{
	for (size_t i = 0; i < g->n_targets; i++)
		if (g->targets[i]->peer == p->name || (g->targets[i]->via == p->name && g->targets[i]->dial.full == RETRY_SOON))
			lost(g, &g->targets[i]->dial, p->name, lived_ms, why);
	if (to_be_dialled(g, p))
		lost(g, &p->dial, p->name, lived_ms, why);
}

bool gossip_connect_is_target(const struct gossip *g, const struct peer *p)
{
	for (size_t i = 0; i < g->n_targets; i++)
		if (!g->targets[i]->dial.never && names(g->targets[i], p))
			return true;
	return false;
}

void gossip_connect_try(struct gossip *g, struct peer *p)
{
	p->probed = true;
	peer_schedule(g, p);
}

/* It has no place for us and may have named somebody who has. Who reaches it all the same is in no hurry. */
enum retry gossip_connect_full(struct gossip *g, struct link *l, struct hostport elsewhere)
{
	struct target *t = target_of(l->dial);
	struct peer *p = gossip_peer_find(g, l->peer);
	bool alone = true;
	for (size_t i = 0; i < g->n_targets && !t; i++) /* when we had thought that the link was established */
		if (l->peer != PEER_NONE && (g->targets[i]->peer == l->peer || g->targets[i]->via == l->peer))
			t = g->targets[i];
	for (size_t i = 0; i < g->n_links; i++)
		alone = alone && (g->links[i] == l || g->links[i]->stage != STAGE_ESTABLISHED);
	if (p)
		p->dial.full = RETRY_RARELY;
	if (!t)
		return RETRY_RARELY;
	bool go = alone && elsewhere.ip.family != 0 && elsewhere.port != 0 && t->hops < DIALS_ELSEWHERE_MAX;
	t->hops++;
	if (go)
		t->elsewhere = elsewhere;
	t->dial.full = go ? RETRY_SOON : alone ? RETRY_BACKOFF : RETRY_RARELY;
	return t->dial.full;
}

/* Targets */

static struct target *target_find(const struct gossip *g, const char *text, size_t *at)
{
	for (size_t i = 0; i < g->n_targets; i++)
		if (strcmp(g->targets[i]->text, text) == 0) {
			*at = i;
			return g->targets[i];
		}
	return NULL;
}

static enum err target_new(struct gossip *g, const char *text, struct target **out)
{
	struct err_note note = { { 0 } };
	char host[256];
	uint16_t port;
	enum err e = ERR_MALFORMED;
	if (strlen(text) >= GOSSIP_TARGET_TEXT)
		(void)err_note(&note, e, "longer than %d characters", GOSSIP_TARGET_TEXT - 1);
	else
		e = hostport_split(text, g->port, host, sizeof host, &port, &note) == ERR_OK ? ERR_OK : ERR_MALFORMED;
	if (e == ERR_OK && g->n_targets >= GOSSIP_TARGETS_MAX)
		e = err_note(&note, ERR_LIMIT, "there are %d targets already; forget some", GOSSIP_TARGETS_MAX);
	if (e != ERR_OK) {
		gossip_act_note(g, NOTE_ERROR, false, "cannot connect to \"%.64s\": %s", text, note.text);
		return e;
	}
	void *v = g->targets;
	struct target *t = NULL;
	if (mem_grow(&v, &g->cap_targets, g->n_targets + 1, sizeof *g->targets)) {
		g->targets = v;
		t = mem_zalloc(1, sizeof *t);
	}
	if (!t)
		return ERR_NOMEM;
	gossip_timer_init(&t->dial.timer, TIMER_TARGET);
	t->dial.state = LINK_RETRYING;
	(void)snprintf(t->text, sizeof t->text, "%s", text);
	(void)snprintf(t->host, sizeof t->host, "%s", host);
	t->port = port;
	t->literal = ip_parse(host, &t->at.ip) == ERR_OK;
	t->at.port = port;
	g->targets[g->n_targets++] = t;
	*out = t;
	return ERR_OK;
}

enum err gossip_connect_target(struct gossip *g, const char *text)
{
	size_t at;
	struct target *t = target_find(g, text, &at);
	if (!t) {
		enum err e = target_new(g, text, &t);
		if (e != ERR_OK)
			return e;
	}
	struct link *l = t->dial.conn != 0 ? gossip_link_find(g, t->dial.conn) : NULL;
	if (l && l->stage == STAGE_CONNECTING && l->opened_ms < g->now) { /* it may be waiting for an answer that will not come */
		l->dial = NULL;
		t->dial.conn = 0;
		gossip_link_close(g, l, "tried again");
	}
	t->dial.failures = 0;
	t->dial.never = false;
	t->dial.since_ms = g->now;
	if (t->dial.conn == 0 && !satisfied(g, t))
		gossip_timer_set(g, &t->dial.timer, g->now);
	return ERR_OK;
}

enum err gossip_connect_forget(struct gossip *g, const char *text)
{
	size_t at;
	struct target *t = target_find(g, text, &at);
	if (!t)
		return ERR_NOT_FOUND;
	struct link *l = t->dial.conn != 0 ? gossip_link_find(g, t->dial.conn) : NULL;
	gossip_timer_off(g, &t->dial.timer);
	if (l) {
		l->dial = NULL;
		gossip_link_close(g, l, "forgotten");
	}
	memmove(&g->targets[at], &g->targets[at + 1], (g->n_targets - at - 1) * sizeof *g->targets);
	g->n_targets--;
	mem_free(t->dial.reason);
	mem_free(t);
	return ERR_OK;
}

/* Which peers are wanted, anew. */
void gossip_connect_choose(struct gossip *g)
{
	struct choice *v = mem_zalloc(g->n_peers + 1, sizeof *v);
	if (!v) {
		g->nomem = true;
		return;
	}
	size_t n = 0;
	for (size_t i = 0; i < g->n_peers; i++) {
		const struct peer *p = g->peers[i];
		if (p->name != g->self)
			v[n++] = (struct choice){ .name = p->name, .usable = p->link || p->dial.failures < 3 };
	}
	gossip_choose(g->self, v, n);
	for (size_t i = 0, k = 0; i < g->n_peers; i++) {
		struct peer *p = g->peers[i];
		if (p->name == g->self)
			continue;
		p->successor = v[k].successor;
		p->wanted = v[k++].wanted;
		peer_schedule(g, p);
	}
	g->choose_dirty = false;
	g->choose_ms = 0;
	g->chosen_sparse = gossip_sparse(g);
	mem_free(v);
	if (gossip_choosy(g) && g->tidy_timer.at_ms == 0)
		gossip_timer_set(g, &g->tidy_timer, g->now + rng_between(&g->rng, TIDY_EVERY_MS / 2, TIDY_EVERY_MS));
}

/* Reading */

static bool show_dial(const struct gossip *g, const struct dial *d, struct link_view *out)
{
	*out = (struct link_view){ .outbound = true,
		.state = d->state,
		.since_ms = d->since_ms,
		.retry_ms = d->never ? 0 : d->timer.at_ms,
		.encrypted = g->encrypted };
	(void)dial_text(g, d, out->address);
	(void)snprintf(out->reason, sizeof out->reason, "%s", d->reason ? d->reason : "");
	return true;
}

static bool show_link(const struct gossip *g, const struct link *l, struct link_view *out)
{
	bool asking = l->stage < STAGE_ESTABLISHED;
	if (l->stage >= STAGE_REPLACED || (asking && !l->outbound))
		return false; /* strangers are not shown */
	*out = (struct link_view){ .outbound = l->outbound, .peer = l->peer, .rtt_us = l->rtt_us, .encrypted = g->encrypted };
	out->state = l->stage == STAGE_CONNECTING ? LINK_CONNECTING : asking ? LINK_HANDSHAKE : LINK_ESTABLISHED;
	out->since_ms = asking ? l->opened_ms : l->established_ms;
	out->backlog_bytes = l->queued + l->out.len + gossip_slot_bytes(l);
	if (asking && l->dial)
		(void)dial_text(g, l->dial, out->address);
	else
		(void)hostport_format(l->remote, out->address);
	return true;
}

/* Not for ever, and not any more when there is a link with that address. */
static bool show_refused(const struct gossip *g, const struct refused *r, struct link_view *out)
{
	if (r->remote.ip.family == 0 || g->now >= r->at_ms + REFUSED_SHOWN_MS)
		return false;
	for (size_t i = 0; i < g->n_links; i++)
		if (g->links[i]->stage == STAGE_ESTABLISHED && ip_eq(g->links[i]->remote.ip, r->remote.ip))
			return false;
	*out = (struct link_view){ .state = LINK_FAILED, .since_ms = r->at_ms, .encrypted = g->encrypted };
	hostport_format(r->remote, out->address);
	(void)snprintf(out->reason, sizeof out->reason, "%s", r->reason);
	return true;
}

bool gossip_next_link(const struct gossip *g, size_t *it, struct link_view *out)
{
	for (; *it < g->n_links; (*it)++)
		if (show_link(g, g->links[*it], out)) {
			(*it)++;
			return true;
		}
	for (; *it < g->n_links + g->n_targets; (*it)++) {
		struct target *t = g->targets[*it - g->n_links];
		if (t->dial.conn != 0 || satisfied(g, t))
			continue;
		(*it)++;
		(void)show_dial(g, &t->dial, out);
		out->peer = t->dial.never ? g->self : PEER_NONE;
		return true;
	}
	for (; *it < g->n_links + g->n_targets + g->n_peers; (*it)++) {
		const struct peer *p = g->peers[*it - g->n_links - g->n_targets];
		if (!to_be_dialled(g, p) || !p->dial.tried || left_to_target(g, p))
			continue;
		(*it)++;
		show_dial(g, &p->dial, out);
		out->peer = p->name;
		return true;
	}
	size_t before = g->n_links + g->n_targets + g->n_peers;
	for (; *it < before + REFUSED_MAX; (*it)++)
		if (show_refused(g, &g->refused[*it - before], out)) {
			(*it)++;
			return true;
		}
	return false;
}

bool gossip_next_target(const struct gossip *g, size_t *it, const char **target)
{
	if (*it >= g->n_targets)
		return false;
	*target = g->targets[(*it)++]->text;
	return true;
}

const char *link_state_name(enum link_state s)
{
	switch (s) {
	case LINK_CONNECTING: return "connecting";
	case LINK_HANDSHAKE: return "handshake";
	case LINK_ESTABLISHED: return "established";
	case LINK_RETRYING: return "retrying";
	case LINK_FAILED: return "failed";
	}
	return "unknown";
}
