/* Signing, judging what comes from outside, and looking later at what was taken on trust.
 *
 * An item under the name of the peer at the other end of the link it came over is taken without a look at its signature: the session has
 * proved who says it. Whoever signs badly on purpose could so make those with a link to it hold what nobody else takes; so such items are looked at when
 * there is time (prove_timer), and what is found bad is dropped, as if it had never come.
 *
 * What cannot be judged yet (its writer's key is not known, or it would forget somebody who is in reach) is not taken, and is asked for again
 * by a reconciliation with the link it came over: soon, then less and less often, at once when a key was learnt or the topology has changed.
 *
 * An item under our own name that our key has not signed is from a former self that had another key, or forged. Nobody here can tell; to move
 * above it is right in the first case and harmless in the second, so it is done, at a bounded rate, and never into the upper half of the incarnations:
 * nobody can drive us to the end of our stamps. */
#include "gossip/sign.h"

#include <assert.h>
#include <string.h>

#include <sodium.h>

#include "gossip/internal.h"

#define ITEM_DOMAIN    "weft item 1"
#define UNICAST_DOMAIN "weft unicast 1"
#define KEY_DOMAIN     "weft signing key 1"

static_assert(crypto_sign_PUBLICKEYBYTES == 32 && crypto_sign_SECRETKEYBYTES == 64, "as struct gossip_prover says");
static_assert(crypto_sign_BYTES == CRDT_SIGNATURE, "as crdt/map.h says");

/* Ed25519 (RFC 8032) */

static void ed25519_pair(const uint8_t static_secret[32], uint8_t public_key[32], uint8_t secret_key[64])
{
	uint8_t seed[crypto_sign_SEEDBYTES];
	int rc = crypto_generichash(seed, sizeof seed, (const uint8_t *)KEY_DOMAIN, sizeof KEY_DOMAIN - 1, static_secret, 32);
	assert(rc == 0);
	rc = crypto_sign_seed_keypair(public_key, secret_key, seed);
	assert(rc == 0);
	sodium_memzero(seed, sizeof seed);
}

static void ed25519_sign(const uint8_t secret_key[64], struct slice text, uint8_t out[CRDT_SIGNATURE])
{
	int rc = crypto_sign_detached(out, NULL, text.p, text.n, secret_key);
	assert(rc == 0);
}

static bool ed25519_verify(const uint8_t public_key[32], struct slice text, const uint8_t signature[CRDT_SIGNATURE])
{
	return crypto_sign_verify_detached(signature, text.p, text.n, public_key) == 0;
}

const struct gossip_prover gossip_prover_ed25519 = { "ed25519", ed25519_pair, ed25519_sign, ed25519_verify };

/* Items */

struct slice gossip_sign_text(uint8_t channel, uint64_t writer, const struct crdt_item *it, uint8_t mem[GOSSIP_SIGNED_MAX])
{
	struct crdt_item bare = *it;
	struct wbuf w;
	bare.proof = slice_of(NULL, 0);
	wbuf_fixed(&w, mem, GOSSIP_SIGNED_MAX);
	wbuf_bytes(&w, ITEM_DOMAIN, sizeof ITEM_DOMAIN - 1);
	wbuf_u8(&w, channel);
	wbuf_u48(&w, writer);
	crdt_item_encode(&w, &bare);
	assert(!w.failed);
	return wbuf_slice(&w);
}

size_t gossip_sign_proof(const struct gossip_prover *p, const uint8_t secret_key[64], uint64_t writer, bool owned,
	uint8_t channel, const struct crdt_item *it, uint8_t out[CRDT_PROOF_MAX])
{
	uint8_t mem[GOSSIP_SIGNED_MAX];
	struct wbuf w;
	wbuf_fixed(&w, out, CRDT_PROOF_MAX);
	if (!owned || crdt_owner(it->key) != writer)
		wbuf_u48(&w, writer);
	p->sign(secret_key, gossip_sign_text(channel, writer, it, mem), out + w.len);
	return w.len + CRDT_SIGNATURE;
}

static size_t sign_item(void *ctx, const struct crdt_item *it, uint8_t out[CRDT_PROOF_MAX])
{
	const struct channel *c = ctx;
	struct gossip *g = c->gossip;
	g->counters.signatures_made++;
	return gossip_sign_proof(g->prover, g->sign_secret, g->self, crdt_map_owned(c->map), c->id, it, out);
}

static bool signed_by(const struct channel *c, const struct crdt_item *it, uint64_t writer, const uint8_t key[32])
{
	uint8_t mem[GOSSIP_SIGNED_MAX];
	c->gossip->counters.signatures_checked++;
	return c->gossip->prover->verify(key, gossip_sign_text(c->id, writer, it, mem), crdt_proof_signature(it->proof).p);
}

bool gossip_sign_key_of(const struct gossip *g, uint64_t name, uint8_t out[32])
{
	const struct peer *p = gossip_peer_find(g, name);
	struct peer_info info;
	if (name == g->self)
		memcpy(out, g->sign_key, 32);
	else if (p && p->link)
		memcpy(out, p->link->sign_key, 32);
	else if (gossip_peer(g, name, &info))
		memcpy(out, info.sign_key, 32);
	else
		return false;
	return true;
}

uint32_t gossip_sign_tag(const uint8_t key[32])
{
	struct rbuf r;
	rbuf_init(&r, key, 4);
	uint32_t tag = rbuf_u32(&r);
	return tag == 0 ? 1 : tag;
}

static enum crdt_verdict bad(struct gossip *g, enum gossip_refused why)
{
	g->counters.refused[why]++;
	return CRDT_PROOF_BAD;
}

static enum crdt_verdict later(const struct channel *c, enum gossip_refused why)
{
	struct gossip *g = c->gossip;
	g->counters.refused[why]++;
	if (g->judging) {
		g->judging->later |= (uint16_t)(1u << c->id);
		if (g->now > g->later_said_ms + 2 * (uint64_t)LATER_MAX_MS)
			g->later_wait_ms = LATER_MIN_MS;
		if (g->later_timer.at_ms == 0)
			gossip_timer_set(g, &g->later_timer, g->now + g->later_wait_ms);
		g->later_said_ms = g->now;
	}
	return CRDT_PROOF_LATER;
}

bool gossip_sign_by_us(struct gossip *g, const struct crdt_item *it)
{
	const struct channel *c = &g->channels[CHANNEL_PEERS];
	return crdt_proof_signature(it->proof).n > 0 && crdt_proof_writer(it->proof) == PEER_NONE &&
		signed_by(c, it, g->self, g->sign_key);
}

static enum crdt_verdict judge_own(const struct channel *c, const struct crdt_item *it)
{
	struct gossip *g = c->gossip;
	if (crdt_proof_writer(it->proof) == PEER_NONE && signed_by(c, it, g->self, g->sign_key))
		return CRDT_PROOF_OK;
	if (it->stamp.inc > INCARNATION_FOREIGN_MAX)
		return bad(g, REFUSED_SIGNATURE);
	return bucket_take(&g->former, g->now) ? CRDT_PROOF_OK : bad(g, REFUSED_SIGNATURE);
}

/* A floor under somebody's name by somebody else: he is to be forgotten. What counts is that he cannot be reached; who wanted it is checked while that one is
 * there to ask: floors outlive those who wrote them, and their keys. */
static enum crdt_verdict judge_floor(const struct channel *c, const struct crdt_item *it, uint64_t *writer)
{
	struct gossip *g = c->gossip;
	uint8_t key[32];
	if (!crdt_is_floor(it) || it->stamp.inc > INCARNATION_FOREIGN_MAX)
		return bad(g, REFUSED_PROOF);
	bool proved = gossip_sign_key_of(g, *writer, key) && signed_by(c, it, *writer, key);
	if (!proved && gossip_reachable(g, *writer))
		return bad(g, REFUSED_SIGNATURE);
	*writer = proved ? *writer : PEER_NONE;
	return crdt_owner(it->key) != g->self && gossip_reachable(g, crdt_owner(it->key)) ? later(c, REFUSED_FLOOR) : CRDT_PROOF_OK;
}

/* Item "i", in which a peer says its key. With the one that is known it is like any other. Another one is for somebody whose name has changed hands:
 * taken when nobody with the former key can be reached. */
static enum crdt_verdict judge_info(const struct channel *c, const struct crdt_item *it, uint64_t owner)
{
	struct gossip *g = c->gossip;
	struct peer_info info;
	uint8_t known[32];
	bool is_known = gossip_sign_key_of(g, owner, known);
	if (peer_info_decode(it->value, &info) != ERR_OK)
		return bad(g, REFUSED_PROOF);
	if (!is_known && !gossip_peer_find(g, owner) && g->n_peers >= PEERS_HEARD_MAX) {
		gossip_act_note_about(g, PEER_NONE, NOTE_WARNING, false,
			"%d names of hosts are heard of: no more are taken from others; forget those that are gone (weft rmpeer)",
			PEERS_HEARD_MAX);
		return bad(g, REFUSED_NAMES);
	}
	if (!signed_by(c, it, owner, info.sign_key))
		return bad(g, REFUSED_SIGNATURE);
	if (!is_known || memcmp(known, info.sign_key, sizeof known) == 0 || !gossip_reachable(g, owner))
		return CRDT_PROOF_OK;
	gossip_contest_between(g, owner, &info);
	return later(c, REFUSED_OTHER_KEY);
}

static enum crdt_verdict judge_owned(const struct channel *c, const struct crdt_item *it, uint64_t *writer)
{
	struct gossip *g = c->gossip;
	uint64_t owner = crdt_owner(it->key);
	const struct link *from = g->judging;
	uint8_t key[32];
	if (crdt_proof_signature(it->proof).n == 0)
		return bad(g, REFUSED_PROOF);
	if (crdt_proof_writer(it->proof) != PEER_NONE)
		return *writer == owner ? bad(g, REFUSED_PROOF) : judge_floor(c, it, writer);
	if (owner == g->self)
		return judge_own(c, it);
	bool known = gossip_sign_key_of(g, owner, key);
	if (from && from->peer == owner && known && memcmp(key, from->sign_key, sizeof key) == 0)
		return CRDT_PROOF_TRUSTED;
	struct slice sub = crdt_subkey(it->key);
	if (c->id == CHANNEL_PEERS && it->live && sub.n == 1 && sub.p[0] == 'i')
		return judge_info(c, it, owner);
	if (!known)
		return later(c, REFUSED_NO_KEY);
	return signed_by(c, it, owner, key) ? CRDT_PROOF_OK : bad(g, REFUSED_SIGNATURE);
}

/* Items of unowned maps outlive those who wrote them, and their keys: what nobody can prove any more is somebody's, and its user's rule decides. */
static enum crdt_verdict judge_item(void *ctx, const struct crdt_item *it, uint64_t *writer)
{
	const struct channel *c = ctx;
	const struct gossip *g = c->gossip;
	uint8_t key[32];
	if (crdt_map_owned(c->map))
		return judge_owned(c, it, writer);
	if (*writer == PEER_NONE)
		return bad(c->gossip, REFUSED_PROOF);
	if (!(gossip_sign_key_of(g, *writer, key) && signed_by(c, it, *writer, key)))
		*writer = PEER_NONE;
	return CRDT_PROOF_OK;
}

static const struct crdt_prover map_prover = { sign_item, judge_item };

void gossip_sign_attach(struct gossip *g, uint8_t id)
{
	struct channel *c = &g->channels[id];
	c->gossip = g;
	c->id = id;
	crdt_map_set_prover(c->map, &map_prover, c);
}

void gossip_sign_init(struct gossip *g, const struct gossip_prover *p)
{
	g->prover = p ? p : &gossip_prover_ed25519;
	g->prover->pair(g->secret, g->sign_key, g->sign_secret);
	g->later_wait_ms = LATER_MIN_MS;
	bucket_init(&g->former, FORMER_BURST, FORMER_PER_SECOND, g->now);
}

void gossip_sign_free(struct gossip *g)
{
	size_t it = 0;
	struct slice key;
	void *value;
	while (g->senders && map_next(g->senders, &it, &key, &value))
		mem_free(value);
	map_free(g->senders);
}

/* What was held back */

void gossip_sign_later_timer(struct gossip *g)
{
	for (size_t i = 0; i < g->n_links; i++) {
		struct link *l = g->links[i];
		for (uint8_t id = 0; id < GOSSIP_CHANNELS_MAX; id++)
			if (l->stage == STAGE_ESTABLISHED && (l->later >> id & 1))
				gossip_spread_mark_all(g, l, id);
		l->later = 0;
	}
	g->later_wait_ms = g->later_wait_ms * 2 < LATER_MAX_MS ? g->later_wait_ms * 2 : LATER_MAX_MS;
}

void gossip_sign_learnt(struct gossip *g)
{
	uint64_t soon = g->now + LATER_MIN_MS;
	if (g->later_timer.at_ms > soon)
		gossip_timer_set(g, &g->later_timer, soon);
}

/* What was taken on trust */

void gossip_sign_trusted(struct gossip *g)
{
	if (g->prove_timer.at_ms == 0)
		gossip_timer_set(g, &g->prove_timer, g->now + PROVE_AFTER_MS);
}

/* Whoever signs badly is not trusted again on this link. */
static void distrust(struct gossip *g, const struct crdt_changes *ch)
{
	char who[160];
	for (size_t i = 0; i < ch->n; i++) {
		const struct peer *p = gossip_peer_find(g, crdt_owner(ch->keys[i]));
		g->counters.refused[REFUSED_SIGNATURE] += p ? 0 : 1;
		if (!p || !p->link)
			continue;
		p->link->distrusted = true;
		gossip_act_note_about(g, p->name, NOTE_WARNING, false, "what %s says bears no signature of its own: not taken",
			gossip_link_who(p->link, who));
	}
}

/* A piece of one channel's map; false: the end of it. */
static bool prove_piece(struct gossip *g, uint8_t id, size_t *asked)
{
	struct crdt_changes ch;
	crdt_changes_init(&ch, g->out->arena);
	struct slice after = slice_of(g->prove_key, g->prove_key_n);
	enum err e = ERR_NOMEM;
	*asked = 0;
	if (gossip_act_reserve(g, 1))
		e = crdt_map_prove(g->channels[id].map, &after, g->prove_key, PROVE_LOOK, PROVE_ASK, asked, &ch);
	g->prove_key_n = after.n;
	g->nomem = g->nomem || e != ERR_OK;
	distrust(g, &ch);
	gossip_spread_took(g, NULL, id, &ch);
	return after.n > 0;
}

void gossip_sign_prove_timer(struct gossip *g)
{
	size_t asked = 0;
	uint64_t wait = PROVE_EVERY_MS;
	bool left = false;
	for (uint8_t steps = 0; asked == 0 && steps < GOSSIP_CHANNELS_MAX; steps++) {
		struct crdt_map *m = g->channels[g->prove_channel].map;
		if (m && crdt_map_trusted(m) > 0 && prove_piece(g, g->prove_channel, &asked))
			break;
		g->prove_key_n = 0;
		g->prove_channel = (uint8_t)((g->prove_channel + 1) % GOSSIP_CHANNELS_MAX);
		if (g->prove_channel == 0)
			wait = PROVE_AFTER_MS; /* what is left could not be judged just now */
	}
	for (uint8_t id = 0; id < GOSSIP_CHANNELS_MAX; id++)
		left = left || (g->channels[id].map && crdt_map_trusted(g->channels[id].map) > 0);
	if (left)
		gossip_timer_set(g, &g->prove_timer, g->now + wait);
}

/* What nobody can prove any more. A host that dies at once after it began anew may have said the floor that ends its former run to one neighbour, and its
 * key to nobody: that neighbour alone holds what no other takes. Once the owner has been out of sight for long, who holds such things forgets them as
 * rmpeer does, in its own name, which others can check. Should the owner come back it writes above that. */

/* Does the map hold what only this owner's signature proves? */
static bool vouched_by_owner(const struct crdt_map *m, uint64_t owner)
{
	struct crdt_item it;
	uint8_t key[6];
	struct wbuf w;
	wbuf_fixed(&w, key, sizeof key);
	wbuf_u48(&w, owner);
	bool more = crdt_map_seek(m, wbuf_slice(&w), &it);
	for (; more && crdt_owner(it.key) == owner; more = crdt_map_next(m, it.key, &it))
		if (crdt_proof_writer(it.proof) == PEER_NONE)
			return true;
	return false;
}

static bool cannot_be_proved(const struct gossip *g, const struct crdt_map *m, uint64_t owner)
{
	uint8_t key[32];
	return owner != g->self && !gossip_sign_key_of(g, owner, key) && !gossip_reachable(g, owner) && vouched_by_owner(m, owner);
}

/* Notes the owner in `now`, with the time at which it was first found; beyond the room that there is, another time. */
static void note_unproved(const struct gossip *g, uint64_t owner, struct unproved *now)
{
	size_t n = 0;
	while (n < UNPROVED_MAX && now[n].owner != PEER_NONE && now[n].owner != owner)
		n++;
	if (n == UNPROVED_MAX)
		return;
	now[n] = (struct unproved){ owner, g->now };
	for (size_t i = 0; i < UNPROVED_MAX; i++)
		if (g->unproved[i].owner == owner)
			now[n].since_ms = g->unproved[i].since_ms;
}

static void find_unproved(const struct gossip *g, const struct crdt_map *m, struct unproved *now)
{
	struct crdt_item it;
	uint8_t key[6];
	struct wbuf w;
	struct slice from = slice_of(NULL, 0);
	while (crdt_map_seek(m, from, &it)) {
		uint64_t owner = crdt_owner(it.key);
		if (cannot_be_proved(g, m, owner))
			note_unproved(g, owner, now);
		if (owner >= PEER_MAX)
			return;
		wbuf_fixed(&w, key, sizeof key);
		wbuf_u48(&w, owner + 1);
		from = wbuf_slice(&w);
	}
}

static bool is_owned_channel(const struct gossip *g, uint8_t id)
{
	return g->channels[id].map && crdt_map_owned(g->channels[id].map);
}

static void forget_unproved(struct gossip *g, uint64_t owner)
{
	uint64_t highest = 0;
	for (uint8_t id = 0; id < GOSSIP_CHANNELS_MAX; id++) {
		uint64_t inc = is_owned_channel(g, id) ? crdt_map_incarnation(g->channels[id].map, owner) : 0;
		highest = inc > highest ? inc : highest;
	}
	for (uint8_t id = 0; id < GOSSIP_CHANNELS_MAX; id++) {
		struct crdt_changes ch;
		crdt_changes_init(&ch, g->out->arena);
		if (!is_owned_channel(g, id) || !gossip_act_reserve(g, 1))
			continue;
		/* Without memory, or with all the floors that we may set: it is tried again by the next reconciliation's timer. */
		enum err e = crdt_map_forget(g->channels[id].map, owner, highest, &ch);
		g->nomem = g->nomem || e == ERR_NOMEM;
		gossip_spread_took(g, NULL, id, &ch);
	}
	g->n_unproved++;
}

void gossip_sign_unproved(struct gossip *g)
{
	struct unproved now[UNPROVED_MAX] = { { 0 } };
	for (uint8_t id = 0; id < GOSSIP_CHANNELS_MAX; id++)
		if (is_owned_channel(g, id))
			find_unproved(g, g->channels[id].map, now);
	memcpy(g->unproved, now, sizeof now);
	for (size_t i = 0; i < UNPROVED_MAX && now[i].owner != PEER_NONE; i++)
		if (g->now - now[i].since_ms >= UNPROVED_AFTER_MS && g->n_unproved < UNPROVED_RUN_MAX)
			forget_unproved(g, now[i].owner);
}

/* Unicasts. The receiver must know who asks: a relay could say anything. Over the sender's own link nothing is needed. */

struct sender { /* what was heard of one run of a peer by relays: serials up to `top`, bit k of `seen`: top - k */
	uint64_t uid, top, seen;
};

static struct slice unicast_text(const struct message_unicast *u, uint8_t mem[128])
{
	uint8_t hash[32];
	struct wbuf w;
	int rc = crypto_generichash(hash, sizeof hash, u->payload.p, u->payload.n, NULL, 0);
	assert(rc == 0);
	wbuf_fixed(&w, mem, 128);
	wbuf_bytes(&w, UNICAST_DOMAIN, sizeof UNICAST_DOMAIN - 1);
	wbuf_u48(&w, u->from);
	wbuf_u48(&w, u->to);
	wbuf_u8(&w, u->kind);
	wbuf_u64(&w, u->uid);
	wbuf_u64(&w, u->serial);
	wbuf_bytes(&w, hash, sizeof hash);
	assert(!w.failed);
	return wbuf_slice(&w);
}

void gossip_sign_unicast(struct gossip *g, struct message_unicast *u)
{
	uint8_t mem[128];
	u->uid = g->uid;
	u->serial = ++g->serial;
	u->is_signed = true;
	g->counters.signatures_made++;
	g->prover->sign(g->sign_secret, unicast_text(u, mem), u->signature);
}

void gossip_sign_forget(struct gossip *g, uint64_t name)
{
	if (g->senders)
		mem_free(map_del64(g->senders, name));
}

static struct sender *sender_of(struct gossip *g, uint64_t name)
{
	struct sender *s = g->senders ? map_get64(g->senders, name) : NULL;
	if (s)
		return s;
	if (!g->senders)
		g->senders = map_new(g->uid);
	s = g->senders ? mem_zalloc(1, sizeof *s) : NULL;
	if (!s || map_put64(g->senders, name, s, NULL) != ERR_OK) {
		mem_free(s);
		g->nomem = true;
		return NULL;
	}
	return s;
}

/* Notes the serial. false: it was heard before, or is too old to tell. */
static bool is_fresh(struct sender *s, uint64_t uid, uint64_t serial)
{
	if (s->uid != uid)
		*s = (struct sender){ .uid = uid };
	if (serial > s->top) {
		uint64_t by = serial - s->top;
		s->seen = by < 64 ? s->seen << by : 0;
		s->seen |= 1;
		s->top = serial;
		return true;
	}
	uint64_t back = s->top - serial;
	if (back >= 64 || (s->seen >> back & 1))
		return false;
	s->seen |= UINT64_C(1) << back;
	return true;
}

bool gossip_sign_unicast_accept(struct gossip *g, const struct link *l, const struct message_unicast *u)
{
	uint8_t key[32], mem[128];
	if (u->from == l->peer)
		return true;
	const struct peer *p = gossip_peer_find(g, u->from);
	bool known = u->is_signed && u->from != g->self && p && (p->link || p->has_info) && gossip_sign_key_of(g, u->from, key);
	g->counters.signatures_checked += known;
	if (!known || !g->prover->verify(key, unicast_text(u, mem), u->signature)) {
		g->counters.refused[REFUSED_FROM]++;
		return false;
	}
	/* Of its present run: what a former one has said is over. */
	struct sender *s = (p->link ? p->link->uid : p->uid) == u->uid ? sender_of(g, u->from) : NULL;
	if (!s || !is_fresh(s, u->uid, u->serial)) {
		g->counters.refused[REFUSED_REPLAY]++;
		return false;
	}
	return true;
}

/* A CONTEST is signed as a unicast of its reporter's to whoever has the name. */
static struct message_unicast contest_unicast(const struct message_contest *c, uint8_t mem[128])
{
	struct wbuf w;
	wbuf_fixed(&w, mem, 128);
	wbuf_u48(&w, c->name);
	wbuf_u64(&w, c->uid);
	wbuf_u64(&w, c->incarnation);
	wbuf_bytes(&w, c->key, sizeof c->key);
	gossip_hostport_encode(&w, c->address);
	assert(!w.failed);
	struct message_unicast u = {
		.from = c->reporter, .to = c->name, .kind = UINT8_MAX, .is_signed = true, .payload = wbuf_slice(&w)
	};
	u.uid = c->reporter_uid;
	u.serial = c->serial;
	memcpy(u.signature, c->signature, sizeof u.signature);
	return u;
}

void gossip_sign_contest(struct gossip *g, struct message_contest *c)
{
	uint8_t mem[128];
	c->reporter = g->self;
	struct message_unicast u = contest_unicast(c, mem);
	gossip_sign_unicast(g, &u);
	c->reporter_uid = u.uid;
	c->serial = u.serial;
	memcpy(c->signature, u.signature, sizeof c->signature);
}

bool gossip_sign_contest_accept(struct gossip *g, const struct link *l, const struct message_contest *c)
{
	uint8_t mem[128], text[128];
	struct message_unicast u = contest_unicast(c, mem);
	if (c->reporter != g->self)
		return c->reporter != PEER_NONE && gossip_sign_unicast_accept(g, l, &u);
	/* What a former run of ours has said can be repeated by anybody. */
	g->counters.signatures_checked++;
	return c->incarnation >= g->incarnation && g->prover->verify(g->sign_key, unicast_text(&u, text), u.signature);
}

const char *gossip_refused_name(enum gossip_refused why)
{
	switch (why) {
	case REFUSED_PROOF: return "no-proof";
	case REFUSED_SIGNATURE: return "signature";
	case REFUSED_NO_KEY: return "key-unknown";
	case REFUSED_OTHER_KEY: return "key-changed";
	case REFUSED_FLOOR: return "floor-of-reachable";
	case REFUSED_FROM: return "sender";
	case REFUSED_REPLAY: return "replay";
	case REFUSED_QUOTA: return "quota";
	case REFUSED_NAMES: return "names";
	case REFUSED_CONTEST: return "contest";
	case GOSSIP_REFUSED: break;
	}
	return "unknown";
}
