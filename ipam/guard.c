/* Who may write a token over whose addresses.
 *
 * Theory of operation. Every token comes with the proof of who wrote it. A token changes the owner of one stretch of addresses in our
 * view: what the token that lies there now covers, from the new one's address on. Its present owner must have wanted that. So a token is
 * taken at once when nobody owns the stretch in our view, when its present owner wrote it, or when nothing changes hands. Anything else
 * is a claim against that owner, and is held in a small list until one of these is true:
 *
 *   - the owner wrote what came before it, and that has arrived meanwhile (tokens travel one by one);
 *   - the owner has itself published (usage.c, signed) that it does not have these addresses, and still says so CONSENT_MS after we got the token:
 *     what it may have got just now it would have published by then;
 *   - the owner cannot be reached, and could not for ABSENT_MS: its space is at the command of any host's operator (`rmpeer`), and a daemon that
 *     is started anew is not away. A claim that came while its owner was there is most likely a forgery, and takes longer (PRESENT_MS);
 *   - whoever wrote it had the stretch before it was taken in its absence (`former`).
 *
 * Claims against ourselves are never decided by our consent, which we would know of. After a takeover behind our back the others have
 * taken the token, and after a forgery they hold it as we do: so we ask some of them, and go by the majority of those that have no part in it.
 * When they do not have it we write our own token above it, at a bounded rate, which ends the matter also for those who took it while
 * they could not reach us. When we are alone with the writer, who has just come back yields.
 * Rings that were formed apart are another matter (founding.c).
 *
 * What is held is not lost when the list is full: reconciliation brings it again. */
#include <assert.h>
#include <string.h>

#include "ipam/internal.h"

#define CONSENT_MS 3000
#define ABSENT_MS  10000
#define PRESENT_MS 20000
#define FORGED_MS  60000 /* so long it is remembered what the others said of a claim */
#define LEARN_MS   10000 /* a newcomer takes what it hears: it has no view of its own yet */
#define TELL_MS    5000  /* claims that stand so long are reported */
#define TOLD_MS    30000 /* and no others for so long */
#define VOTE_MS    1500
#define SOON_MS    500  /* what is held is looked at so often at first */
#define LATE_MS    5000 /* and then */
#define RETURN_MS  10000
#define JUMP_MAX   (UINT64_C(1) << 20) /* versions that a token may be above what is known there */
#define FIRST_MAX  (UINT64_C(1) << 48) /* of what nothing is known of */
#define BURST      16                  /* tokens written above forgeries at once */
#define REFILL_MS  250                 /* one more */
#define FIGHTS_MAX 8                   /* doublings of that, against one who does not give in */
#define SPLITS_MAX 256                 /* new tokens that forgeries may cost us in a run */
#define CUTS_MAX   4096                /* cuts by those who do not own what they cut, that are taken in a run */

/* A token as it came, cut where the next one in our view begins, and what it would take from whom. */
struct claim {
	uint64_t start, end, owner;
	struct stamp stamp, known; /* known: of what lies there */
	struct range4 taken;
	uint64_t from; /* PEER_NONE: nobody */
	bool same_key, other_universe;
};

static void token_fields(const struct crdt_item *it, uint64_t *start, uint64_t *end, uint64_t *owner)
{
	struct rbuf key, value;
	rbuf_init(&key, it->key.p, it->key.n);
	rbuf_init(&value, it->value.p, it->value.n);
	(void)rbuf_u32(&key);
	(void)rbuf_u8(&key);
	*start = rbuf_u32(&key);
	*owner = rbuf_u48(&value);
	*end = (uint64_t)rbuf_u32(&value) + 1;
}

static bool of_ours(const struct ipam *i, const struct crdt_item *it)
{
	struct universe u = ring_item_universe(it);
	return u.first == i->cfg.universe.first && u.len == i->cfg.universe.len;
}

static struct claim claim_of(const struct ipam *i, const struct crdt_item *it)
{
	struct claim c = { .stamp = it->stamp, .from = PEER_NONE };
	struct crdt_item here, next;
	uint64_t start, end, owner;
	c.other_universe = !of_ours(i, it);
	if (c.other_universe)
		return c;
	token_fields(it, &c.start, &c.end, &c.owner);
	uint64_t limit = universe_range(i->cfg.universe).end;
	if (crdt_map_next(i->cfg.ring, it->key, &next) && ring_item_valid(&next) && of_ours(i, &next)) {
		token_fields(&next, &start, &end, &owner);
		limit = start;
	}
	if (c.end > limit)
		c.end = limit;
	if (!crdt_map_floor_item(i->cfg.ring, it->key, &here) || !ring_item_valid(&here) || !of_ours(i, &here))
		return c;
	token_fields(&here, &start, &end, &owner);
	c.same_key = start == c.start;
	if (c.same_key)
		c.known = here.stamp;
	if (end <= c.start)
		return c;
	c.known = here.stamp;
	c.from = owner;
	c.taken = (struct range4){ c.start, end < limit ? end : limit };
	return c;
}

/* Nothing changes hands: so it is when what somebody gave away came back to him, and we only hear of that. */
static bool harmless(const struct claim *c)
{
	return c->from == PEER_NONE || (c->from == c->owner && c->end >= c->taken.end);
}

/* ... but it may cut a range in two. A liar could do that until there is room for no more tokens. */
static bool cuts(const struct claim *c, uint64_t writer)
{
	return !c->same_key && c->from != PEER_NONE && c->from != writer;
}

/* Versions only grow as far as moves of a token account for. */
static bool plausible(const struct claim *c)
{
	bool known = c->from != PEER_NONE || c->same_key;
	if (!known)
		return c->stamp.ctr <= FIRST_MAX && c->stamp.inc <= FIRST_MAX;
	return c->stamp.ctr <= c->known.ctr || c->stamp.ctr - c->known.ctr <= JUMP_MAX;
}

/* Is it certain that we have what it would take from us? */
static bool ours_for_sure(const struct ipam *i, struct range4 r)
{
	if (i->recovering)
		return false;
	for (size_t n = 0; n < i->doubt.n; n++)
		if (range4_size(range4_and(i->doubt.v[n], r)) > 0)
			return false;
	return true;
}

static bool was_former(const struct ipam *i, uint64_t peer, struct range4 r)
{
	const struct guard *g = &i->guard;
	for (size_t n = 0; n < g->n_former; n++)
		if (g->former[n].peer == peer && g->former[n].r.start <= r.start && r.end <= g->former[n].r.end)
			return true;
	return false;
}

static const struct absent *absent_find(const struct guard *g, uint64_t peer)
{
	for (size_t n = 0; n < g->n_absent; n++)
		if (g->absent[n].peer == peer)
			return &g->absent[n];
	return NULL;
}

static uint64_t absent_since(const struct ipam *i, uint64_t peer)
{
	const struct absent *a = absent_find(&i->guard, peer);
	return a ? a->since_ms : i->now; /* not noticed yet */
}

static bool learning(const struct ipam *i)
{
	return i->guard.newcomer && (i->guard.learnt_ms == 0 || i->now < i->guard.learnt_ms);
}

enum judgement { TAKE, HOLD, REFUSE, SUFFER }; /* SUFFER: taken in its owner's absence */

/* h: NULL when it has just come. */
static enum judgement judge(const struct ipam *i, const struct claim *c, uint64_t writer, const struct held *h)
{
	uint64_t age = h ? i->now - h->since_ms : 0;
	if (c->other_universe)
		return TAKE;
	if (!plausible(c))
		return REFUSE;
	if (c->stamp.inc > i->guard.epoch && c->stamp.inc > c->known.inc)
		return HOLD;
	if (epoch_allows(i, c->taken, c->from, c->owner, c->stamp.inc))
		return TAKE; /* the members have decided it */
	if (cuts(c, writer) && harmless(c) && i->guard.cuts >= CUTS_MAX)
		return HOLD;
	if (harmless(c) || writer == c->from || writer == i->cfg.self || was_former(i, writer, c->taken))
		return TAKE;
	if (c->from == i->cfg.self)
		return ours_for_sure(i, c->taken) && !(h && h->yield) ? HOLD : TAKE;
	if ((learning(i) && c->owner != i->cfg.self) || usage_is_gone(i, c->from))
		return TAKE;
	if (age >= CONSENT_MS && usage_excludes(i, c->from, c->taken))
		return TAKE;
	if (h && !ipam_reachable(i, c->from) && i->now - absent_since(i, c->from) >= (h->there_ms == 0 ? ABSENT_MS : PRESENT_MS))
		return SUFFER;
	return HOLD;
}

/* --- the list --- */

static struct crdt_item held_item(const struct held *h)
{
	return (struct crdt_item){ .key = slice_of(h->key, sizeof h->key),
		.stamp = h->stamp,
		.live = true,
		.value = slice_of(h->value, sizeof h->value),
		.proof = slice_of(h->proof, h->proof_n) };
}

static void drop(struct guard *g, size_t n)
{
	g->n_held--;
	memmove(g->held + n, g->held + n + 1, (g->n_held - n) * sizeof *g->held);
}

static struct held *find(struct guard *g, uint64_t writer, struct slice key, size_t *of_writer)
{
	*of_writer = 0;
	for (size_t n = 0; n < g->n_held; n++) {
		if (g->held[n].writer != writer)
			continue;
		++*of_writer;
		if (slice_eq(slice_of(g->held[n].key, sizeof g->held[n].key), key))
			return &g->held[n];
	}
	return NULL;
}

/* Whoever writes again and again is not forgotten for that: what is known of the writer's last token there stays. */
static void hold(struct ipam *i, const struct crdt_item *it, const struct claim *c, uint64_t writer)
{
	struct guard *g = &i->guard;
	size_t of_writer;
	struct held *h = find(g, writer, it->key, &of_writer);
	if (h && stamp_cmp(h->stamp, it->stamp) >= 0)
		return;
	g->refused++;
	if (!h) {
		if (g->n_held >= GUARD_HELD_MAX || of_writer >= GUARD_HELD_MAX / 2)
			return; /* comes again */
		void *mem = g->held;
		bool ok = mem_grow(&mem, &g->cap_held, g->n_held + 1, sizeof *g->held);
		g->held = mem;
		if (!ok)
			return;
		h = &g->held[g->n_held++];
		*h = (struct held){ .writer = writer };
		memcpy(h->key, it->key.p, sizeof h->key);
	}
	assert(it->value.n == sizeof h->value && it->proof.n <= sizeof h->proof);
	h->stamp = it->stamp;
	h->from = c->from;
	h->owner = c->owner;
	h->taken = c->taken;
	h->known = c->known;
	h->there_ms = ipam_reachable(i, c->from) ? i->now : 0;
	h->since_ms = 0; /* our clock stands still between steps: the next one says */
	memcpy(h->value, it->value.p, sizeof h->value);
	h->proof_n = (uint8_t)it->proof.n;
	memcpy(h->proof, it->proof.p, it->proof.n);
	g->dirty = true;
}

/* Tokens of other ranges are passed on for those who use them, and never go away: there is room for some only, or anybody could fill the map. */
static bool too_foreign(const struct ipam *i, const struct crdt_item *it)
{
	const struct crdt_map *m = i->cfg.ring;
	struct universe u = i->cfg.universe;
	struct crdt_item here;
	uint8_t lo[5], hi[5];
	struct wbuf w;
	wbuf_fixed(&w, lo, sizeof lo);
	wbuf_u32(&w, u.first);
	wbuf_u8(&w, u.len);
	memcpy(hi, lo, sizeof lo);
	hi[4]++; /* a length: no carry */
	uint64_t ours = crdt_map_fingerprint(m, wbuf_slice(&w), slice_of(hi, sizeof lo)).count;
	return crdt_map_count(m) - ours >= IPAM_FOREIGN_MAX && !crdt_map_get(m, it->key, &here);
}

enum crdt_verdict ipam_ring_rule(void *ctx, const struct crdt_item *it, uint64_t writer)
{
	struct ipam *i = ctx;
	if ((writer == PEER_NONE && it->proof.n == 0) || !i->started)
		return CRDT_PROOF_OK; /* a map without proofs */
	struct claim c = claim_of(i, it);
	if (c.other_universe && too_foreign(i, it)) {
		i->guard.refused++;
		return CRDT_PROOF_BAD;
	}
	switch (judge(i, &c, writer, NULL)) {
	case TAKE: i->guard.cuts += cuts(&c, writer) && harmless(&c); return CRDT_PROOF_OK;
	case REFUSE: i->guard.refused++; return CRDT_PROOF_BAD;
	case SUFFER:
	case HOLD: break;
	}
	hold(i, it, &c, writer);
	return CRDT_PROOF_LATER;
}

/* --- whose was it? --- */

static enum err store_former(struct ipam *i)
{
	uint8_t key[RECORD_KEY_MAX];
	struct guard *g = &i->guard;
	struct slice k = record_key(i, "former/", NULL, 0, key);
	struct wbuf w;
	g->former_dirty = true;
	if (g->n_former == 0) {
		enum err e = out_persist(i, k, slice_of(NULL, 0));
		g->former_dirty = e != ERR_OK;
		return e;
	}
	wbuf_grow(&w, 16 + 14 * (size_t)GUARD_FORMER_MAX);
	wbuf_varint(&w, g->n_former);
	for (size_t n = 0; n < g->n_former; n++) {
		wbuf_u48(&w, g->former[n].peer);
		wbuf_u32(&w, (uint32_t)g->former[n].r.start);
		wbuf_u32(&w, (uint32_t)(g->former[n].r.end - 1));
	}
	enum err e = wbuf_end(&w);
	if (e == ERR_OK)
		e = out_persist(i, k, wbuf_slice(&w));
	wbuf_free(&w);
	g->former_dirty = e != ERR_OK;
	return e;
}

enum err guard_load_former(struct ipam *i, struct slice value)
{
	struct guard *g = &i->guard;
	struct rbuf r;
	rbuf_init(&r, value.p, value.n);
	uint64_t n = rbuf_varint(&r);
	if (n > GUARD_FORMER_MAX)
		return ERR_LIMIT;
	for (g->n_former = 0; g->n_former < n && rbuf_ok(&r); g->n_former++) {
		struct former *f = &g->former[g->n_former];
		f->peer = rbuf_u48(&r);
		f->r.start = rbuf_u32(&r);
		f->r.end = (uint64_t)rbuf_u32(&r) + 1;
		if (f->r.end <= f->r.start)
			rbuf_fail(&r);
	}
	if (rbuf_end(&r) == ERR_OK)
		return ERR_OK;
	g->n_former = 0;
	return ERR_MALFORMED;
}

enum err guard_remember(struct ipam *i, uint64_t peer, struct range4 r)
{
	struct guard *g = &i->guard;
	if (was_former(i, peer, r))
		return ERR_OK;
	if (g->n_former == GUARD_FORMER_MAX) /* the oldest goes */
		memmove(g->former, g->former + 1, --g->n_former * sizeof *g->former);
	g->former[g->n_former++] = (struct former){ peer, r };
	return store_former(i);
}

/* Who is back and says that it does not have it has given it up. */
static enum err forget_former(struct ipam *i)
{
	struct guard *g = &i->guard;
	bool changed = g->former_dirty;
	for (size_t n = 0; n < g->n_former; n++) {
		struct former f = g->former[n];
		if (!ipam_reachable(i, f.peer) || !usage_excludes(i, f.peer, f.r))
			continue;
		g->n_former--;
		memmove(g->former + n, g->former + n + 1, (g->n_former - n) * sizeof *g->former);
		n--;
		changed = true;
	}
	return changed ? store_former(i) : ERR_OK;
}

/* --- claims against ourselves --- */

/* Some of those that have no part in it are asked what they have there (recover.c answers). */
static enum err ask_others(struct ipam *i, struct held *h)
{
	uint64_t it = 0, peer;
	size_t seen = 0;
	enum err e = ERR_OK;
	h->n_voters = 0;
	h->serial = rng_u64(&i->rng);
	h->asked_ms = i->now;
	h->rounds++;
	while (i->cfg.next_peer(i->cfg.ctx, &it, &peer)) {
		if (peer == i->cfg.self || peer == h->writer || peer == h->owner || !ipam_reachable(i, peer))
			continue;
		size_t at = h->n_voters < GUARD_VOTERS_MAX ? h->n_voters++ : (size_t)rng_below(&i->rng, seen + 1);
		if (at < GUARD_VOTERS_MAX)
			h->voters[at] = (struct voter){ .peer = peer };
		seen++;
	}
	struct ipam_message m = { .type = MSG_RING_REQUEST, .u = i->cfg.universe, .range = h->taken, .serial = h->serial };
	for (size_t n = 0; n < h->n_voters && e == ERR_OK; n++)
		e = out_send(i, h->voters[n].peer, &m);
	return e;
}

void guard_heard(struct ipam *i, uint64_t from, const struct ipam_message *m)
{
	struct guard *g = &i->guard;
	for (size_t n = 0; n < g->n_held; n++) {
		struct held *h = &g->held[n];
		if (h->n_voters == 0 || h->serial != m->serial)
			continue;
		struct crdt_item claim = held_item(h), it;
		struct rbuf r;
		bool has = false;
		rbuf_init(&r, m->items.p, m->items.n);
		while (rbuf_left(&r) > 0) {
			crdt_item_decode(&r, &it);
			assert(rbuf_ok(&r));
			uint64_t start, end, owner;
			token_fields(&it, &start, &end, &owner);
			has = has || (slice_eq(it.key, claim.key) && owner != i->cfg.self && crdt_item_cmp(&it, &claim) >= 0);
		}
		for (size_t k = 0; k < h->n_voters; k++) {
			if (h->voters[k].peer == from) {
				h->voters[k].answered = true;
				h->voters[k].has = has;
			}
		}
		g->dirty = true;
	}
}

/* Our own token above what others wrote there. */
static enum err write_above(struct ipam *i, struct held *h)
{
	struct guard *g = &i->guard;
	struct crdt_item claim = held_item(h), here;
	struct crdt_changes ch;
	struct claim c = claim_of(i, &claim);
	uint8_t value[sizeof h->value];
	struct wbuf w;
	if (c.from != i->cfg.self || claim.stamp.ctr == UINT64_MAX || (!c.same_key && g->splits >= SPLITS_MAX))
		return ERR_OK;
	if (i->now >= g->refill_ms) {
		uint64_t more = 1 + (i->now - g->refill_ms) / REFILL_MS;
		g->tokens = g->tokens + more > BURST ? BURST : g->tokens + more;
		g->refill_ms = i->now + REFILL_MS;
	}
	if (g->tokens == 0 || i->now < h->above_ms)
		return ERR_OK; /* goes on being held, here and where we can be reached */
	/* The token may reach farther than the claim, and be cut by it. */
	bool there = crdt_map_floor_item(i->cfg.ring, claim.key, &here);
	assert(there);
	uint64_t start, end, owner;
	token_fields(&here, &start, &end, &owner);
	wbuf_fixed(&w, value, sizeof value);
	wbuf_u48(&w, i->cfg.self);
	wbuf_u32(&w, (uint32_t)(end - 1));
	wbuf_u8(&w, 0);
	struct crdt_item ours = { .key = claim.key, .stamp = claim.stamp, .live = true, .value = wbuf_slice(&w) };
	ours.stamp.ctr++;
	crdt_changes_init(&ch, i->out->arena);
	enum err e = out_reserve(i, 4, 2 * RECORD_BYTES);
	if (e == ERR_OK)
		e = crdt_map_write(i->cfg.ring, &ours, &ch);
	if (e != ERR_OK)
		return e;
	/* Whoever goes on claiming it is answered less and less often. */
	h->above_ms = i->now + ((uint64_t)REFILL_MS << (h->fights < FIGHTS_MAX ? h->fights++ : FIGHTS_MAX));
	g->tokens--;
	g->splits += !c.same_key;
	return out_ring(i, &ch, true);
}

static void tally(const struct held *h, size_t *yes, size_t *no)
{
	*yes = *no = 0;
	for (size_t n = 0; n < h->n_voters; n++) {
		*yes += h->voters[n].answered && h->voters[n].has;
		*no += h->voters[n].answered && !h->voters[n].has;
	}
}

/* Sets h->yield, or writes above it, or goes on waiting. */
static enum err defend(struct ipam *i, struct held *h)
{
	size_t yes, no;
	if (h->stamp.inc > i->guard.epoch)
		return ERR_OK;
	switch (founding_compare(i, h->writer)) {
	case FOUNDING_SAME: break;
	case FOUNDING_OURS: return write_above(i, h);
	case FOUNDING_THEIRS: h->yield = true; return ERR_OK;
	case FOUNDING_UNDECIDED: return ERR_OK;
	}
	if (h->ruled)
		return write_above(i, h);
	tally(h, &yes, &no);
	if (h->rounds == 0)
		return ask_others(i, h);
	if (yes + no < h->n_voters && i->now - h->asked_ms < VOTE_MS)
		return ERR_OK;
	if (h->n_voters > 0 && yes + no == 0 && h->rounds < 3)
		return ask_others(i, h);
	h->yield = yes > no || (h->n_voters == 0 && i->now - i->guard.met_ms < RETURN_MS);
	h->ruled = !h->yield;
	return h->ruled ? write_above(i, h) : ERR_OK;
}

/* --- bringing it forward --- */

static enum err take(struct ipam *i, const struct held *h)
{
	struct crdt_changes ch;
	struct crdt_item it = held_item(h);
	enum crdt_merge what;
	crdt_changes_init(&ch, i->out->arena);
	enum err e = out_reserve(i, 4, 2 * RECORD_BYTES);
	if (e == ERR_OK)
		e = crdt_map_restore(i->cfg.ring, &it, &what, &ch);
	enum err f = out_ring(i, &ch, true);
	return e != ERR_OK ? e : f;
}

static bool stale(const struct ipam *i, const struct crdt_item *it)
{
	struct crdt_item here;
	return crdt_map_get(i->cfg.ring, it->key, &here) && crdt_item_cmp(&here, it) >= 0;
}

static const char *writer_of(const struct ipam *i, const struct held *h, char out[WHO_TEXT])
{
	if (h->writer == PEER_NONE)
		line_format(out, WHO_TEXT, "somebody"); /* whose key nobody knows (any more) */
	else
		ipam_who(i, h->writer, out);
	return out;
}

/* A liar could fill the log. */
static void tell(struct ipam *i, struct held *h)
{
	char text[2 * IP_TEXT], writer[WHO_TEXT], from[WHO_TEXT];
	if (h->told || i->now - h->since_ms < TELL_MS)
		return;
	h->told = true;
	if (i->now < i->guard.told_ms)
		return;
	i->guard.told_ms = i->now + TOLD_MS;
	out_note(i, 2, "%s wrote that %s are its to give, which %s has, without its consent: that is not taken (%zu such claims)",
		writer_of(i, h, writer), range_format(h->taken, text), h->from == i->cfg.self ? "this host" : ipam_who(i, h->from, from),
		i->guard.n_held);
}

static bool absent_add(struct guard *g, uint64_t peer, uint64_t since)
{
	void *mem = g->absent;
	bool ok = mem_grow(&mem, &g->cap_absent, g->n_absent + 1, sizeof *g->absent);
	g->absent = mem;
	if (ok)
		g->absent[g->n_absent++] = (struct absent){ peer, since };
	return ok;
}

/* Who cannot be reached, and since when: peers that the mesh knows, in order of their names as it gives them, and behind them those that it does not know
 * (any more: somebody may have had them forgotten). true: nobody can be reached. Without memory they are away since later. */
static bool note_absent(struct ipam *i)
{
	struct guard *g = &i->guard;
	struct guard old = *g;
	uint64_t it = 0, peer;
	size_t at = 0;
	bool alone = true, ok = true;
	g->absent = NULL;
	g->n_absent = g->cap_absent = 0;
	while (i->cfg.next_peer(i->cfg.ctx, &it, &peer)) {
		bool there = peer == i->cfg.self || ipam_reachable(i, peer);
		alone = alone && (peer == i->cfg.self || !there);
		/* The unknown ones stand in no order; whoever is known again is among those who were. */
		while (at < old.n_absent && old.absent[at].peer < peer)
			at++;
		bool before = at < old.n_absent && old.absent[at].peer == peer;
		if (!there)
			ok = ok && absent_add(g, peer, before ? old.absent[at].since_ms : i->now);
	}
	for (size_t n = 0; n < g->n_held && ok; n++) {
		peer = g->held[n].from;
		const struct absent *before = absent_find(&old, peer);
		if (peer != PEER_NONE && !ipam_reachable(i, peer) && absent_find(g, peer) == NULL)
			ok = absent_add(g, peer, before ? before->since_ms : i->now);
	}
	mem_free(old.absent);
	return alone;
}

/* One claim; *gone when it needs no further thought, *taken when the ring is another now. */
static enum err consider(struct ipam *i, struct held *h, bool *gone, bool *taken)
{
	struct crdt_item it = held_item(h);
	if (h->since_ms == 0)
		h->since_ms = i->now;
	*taken = false;
	*gone = stale(i, &it);
	if (*gone) {
		*gone = i->now - h->since_ms >= FORGED_MS || !h->ruled;
		return ERR_OK;
	}
	struct claim c = claim_of(i, &it);
	if (h->from != c.from || stamp_cmp(h->known, c.known) != 0) {
		/* It stands against somebody else now, who may have come to it this moment and not have published anything yet. */
		h->since_ms = i->now;
		h->there_ms = c.from != PEER_NONE && ipam_reachable(i, c.from) ? i->now : 0;
		h->rounds = 0;
		h->n_voters = 0;
		h->ruled = false;
	}
	h->from = c.from;
	h->known = c.known;
	h->taken = c.taken;
	enum judgement j = judge(i, &c, h->writer, h);
	enum err e = ERR_OK;
	if (j == HOLD && c.from == i->cfg.self) {
		e = defend(i, h);
		if (e == ERR_OK && h->yield)
			j = TAKE;
	}
	if (j == HOLD) {
		if (ipam_reachable(i, c.from))
			h->there_ms = i->now;
		tell(i, h);
		return e;
	}
	if (j == SUFFER && e == ERR_OK)
		e = guard_remember(i, c.from, c.taken);
	if (j != REFUSE && e == ERR_OK)
		e = take(i, h);
	*gone = *taken = e == ERR_OK;
	if (h->yield && *gone)
		founding_yielded(i, h->writer);
	return e;
}

enum err guard_settle(struct ipam *i)
{
	struct guard *g = &i->guard;
	enum err e = ERR_OK;
	if (g->newcomer && g->learnt_ms == 0 && ring_exists(i))
		g->learnt_ms = i->now + LEARN_MS;
	/* Who has a share of a ring that is whole was there when it was divided, and needs nobody to tell. */
	g->newcomer = g->newcomer && !(i->owned.n > 0 && i->ring_whole && i->ring_seen);
	if (!g->dirty && i->now < g->due_ms)
		return ERR_OK;
	g->dirty = false;
	if (g->n_held > 0)
		(void)note_absent(i); /* the mesh tells of what has changed when it has time */
	for (size_t n = 0; n < g->n_held && e == ERR_OK;) {
		bool gone, taken;
		e = consider(i, &g->held[n], &gone, &taken);
		if (gone)
			drop(g, n);
		else
			n++;
		if (taken) {
			n = 0; /* others may follow from it */
			e = e == ERR_OK ? own_sync(i) : e;
		}
	}
	g->due_ms = i->now + LATE_MS;
	for (size_t n = 0; n < g->n_held; n++)
		if (i->now - g->held[n].since_ms <= TELL_MS)
			g->due_ms = i->now + SOON_MS;
	if (e == ERR_OK && (g->n_former > 0 || g->former_dirty))
		e = forget_former(i);
	if (e != ERR_OK)
		g->dirty = true;
	return e;
}

void guard_news(struct ipam *i, bool topology)
{
	struct guard *g = &i->guard;
	g->dirty = g->dirty || g->n_held > 0 || g->n_former > 0;
	i->founding_looked = false;
	if (!topology)
		return;
	bool alone = note_absent(i);
	if (g->alone && !alone)
		g->met_ms = i->now;
	g->alone = alone;
}

uint64_t guard_deadline_ms(const struct ipam *i)
{
	const struct guard *g = &i->guard;
	if (g->n_held == 0)
		return UINT64_MAX;
	return g->dirty ? i->now : g->due_ms;
}

void guard_free(struct ipam *i)
{
	mem_free(i->guard.held);
	mem_free(i->guard.absent);
}

bool guard_conflict(const struct ipam *i, char *out, size_t size)
{
	for (size_t n = 0; n < i->guard.n_held; n++) {
		const struct held *h = &i->guard.held[n];
		char text[2 * IP_TEXT], writer[WHO_TEXT], from[WHO_TEXT];
		if (!h->told)
			continue;
		line_format(out, size, "%s wrote %s, which %s has, without its consent; not taken: run `weft reset` there",
			writer_of(i, h, writer), range_format(h->taken, text),
			h->from == i->cfg.self ? "this host" : ipam_who(i, h->from, from));
		return true;
	}
	return false;
}
