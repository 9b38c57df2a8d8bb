/* Our part of the ring.
 *
 * What the ring says is ours is ours at once (crdt/ring.h says why), with two exceptions, which go into `doubt` until recover.c has
 * heard everybody who may know better:
 *   - we lost our disk, so we may have granted away what others still believe to be ours;
 *   - we took it over from a dead peer, and somebody else may have done the same, or got some of it from the dead peer before.
 * Grants that reach us in a message while we recover are not in doubt: the giver knows what it does. */
#include <assert.h>
#include <stdio.h>

#include "ipam/internal.h"

bool ring_exists(const struct ipam *i)
{
	/* Tokens are never removed. */
	return i->ring_seen || !ring_empty(i->cfg.ring, i->cfg.universe);
}

bool ring_learning(const struct ipam *i)
{
	return !i->ring_whole && i->now < i->learning_ms;
}

static enum err collect_owned(const struct ipam *i, struct ranges *out)
{
	uint64_t it = i->cfg.universe.first;
	struct ring_span s;
	enum err e = ERR_OK;
	while (e == ERR_OK && ring_each(i->cfg.ring, i->cfg.universe, &it, &s))
		if (s.owner == i->cfg.self)
			e = ranges_add(out, (struct range4){ s.start, s.end });
	return e;
}

enum err own_store_doubt(struct ipam *i)
{
	uint8_t key[RECORD_KEY_MAX];
	struct slice k = record_key(i, "doubt/", NULL, 0, key);
	if (!i->recovering && i->doubt.n == 0)
		return out_persist(i, k, slice_of(NULL, 0));
	struct wbuf w;
	wbuf_grow(&w, 16 + 8 * (size_t)RING_TOKENS_MAX + 6 * i->n_taken);
	wbuf_u8(&w, (uint8_t)((i->recovering ? 1 : 0) | (i->took_over ? 2 : 0)));
	wbuf_varint(&w, i->doubt.n);
	for (size_t n = 0; n < i->doubt.n; n++) {
		wbuf_u32(&w, (uint32_t)i->doubt.v[n].start);
		wbuf_u32(&w, (uint32_t)(i->doubt.v[n].end - 1));
	}
	for (size_t n = 0; n < i->n_taken; n++)
		wbuf_u48(&w, i->taken[n]);
	enum err e = wbuf_end(&w);
	if (e == ERR_OK)
		e = out_persist(i, k, wbuf_slice(&w));
	wbuf_free(&w);
	return e;
}

enum err own_load_doubt(struct ipam *i, struct slice value)
{
	struct rbuf r;
	rbuf_init(&r, value.p, value.n);
	uint8_t flags = rbuf_u8(&r);
	uint64_t n = rbuf_varint(&r);
	if (n > RING_TOKENS_MAX)
		return ERR_LIMIT;
	for (uint64_t k = 0; k < n && rbuf_ok(&r); k++) {
		struct range4 d;
		d.start = rbuf_u32(&r);
		d.end = (uint64_t)rbuf_u32(&r) + 1;
		if (!rbuf_ok(&r) || d.end <= d.start)
			return ERR_MALFORMED;
		enum err e = ranges_add(&i->doubt, d);
		if (e != ERR_OK)
			return e;
	}
	while (rbuf_ok(&r) && rbuf_left(&r) > 0) {
		uint64_t peer = rbuf_u48(&r);
		enum err e = rbuf_ok(&r) ? recover_remember_taken(i, peer) : ERR_MALFORMED;
		if (e != ERR_OK)
			return e;
	}
	if (rbuf_end(&r) != ERR_OK || flags > 3)
		return ERR_MALFORMED;
	i->recovering = flags & 1;
	i->took_over = flags & 2;
	return ERR_OK;
}

static void report_lost(struct ipam *i, const struct ranges *lost)
{
	char by[WHO_TEXT], r[2 * IP_TEXT];
	size_t leases = 0;
	i->lost_to = ring_owner(i->cfg.ring, i->cfg.universe, (uint32_t)lost->v[0].start);
	for (size_t n = 0; n < i->space.n_leases; n++)
		leases += ranges_has(lost, i->space.leases[n]->addr);
	out_note(i, 2, "addresses %s%s (%llu in all) are no longer ours: %s has them by its ring; %zu in use here are kept",
		range_format(lost->v[0], r), lost->n > 1 ? " and more" : "", (unsigned long long)ranges_size(lost),
		ipam_who(i, i->lost_to, by), leases);
}

static void report_gained(struct ipam *i, const struct ranges *gained)
{
	char r[2 * IP_TEXT];
	out_note(i, 1, "addresses %s%s (%llu in all) are now ours%s", range_format(gained->v[0], r), gained->n > 1 ? " and more" : "",
		(unsigned long long)ranges_size(gained),
		i->taking || i->recovering ? ", to be used once the other hosts were heard" : "");
}

static enum err add_all(struct ranges *to, const struct ranges *what)
{
	enum err e = ERR_OK;
	for (size_t n = 0; n < what->n && e == ERR_OK; n++)
		e = ranges_add(to, what->v[n]);
	return e;
}

struct sync {
	struct ranges owned, gained, lost, doubt, whole, mine, t;
};

/* Everything new is computed first and put in place at the end, so that a lack of memory leaves the old. */
static enum err sync_compute(const struct ipam *i, struct sync *s)
{
	enum err e = collect_owned(i, &s->owned);
	if (e == ERR_OK)
		e = ranges_minus(&s->t, &s->owned, &i->owned);
	if (e == ERR_OK)
		e = ranges_minus(&s->gained, &s->t, &i->trusted);
	/* What was in doubt is not lost: we never had it. */
	if (e == ERR_OK)
		e = ranges_minus(&s->t, &i->space.mine, &s->owned);
	if (e == ERR_OK)
		e = ranges_minus(&s->lost, &s->t, &i->given);
	/* doubt = (old and owned) + gained, the first as: old - (old - owned). */
	if (e == ERR_OK)
		e = ranges_minus(&s->mine, &i->doubt, &s->owned);
	if (e == ERR_OK)
		e = ranges_minus(&s->doubt, &i->doubt, &s->mine);
	if (e == ERR_OK && (i->recovering || i->taking) && i->started)
		e = add_all(&s->doubt, &s->gained);
	/* What was granted to us by its owner is not in doubt, even if it was before. */
	for (size_t n = 0; n < i->trusted.n && e == ERR_OK; n++)
		e = ranges_sub(&s->doubt, i->trusted.v[n]);
	if (e == ERR_OK)
		e = ranges_minus(&s->whole, &s->owned, &s->doubt);
	if (e == ERR_OK)
		e = ranges_minus(&s->mine, &s->whole, &i->reclaim.locked);
	return e;
}

static enum err remember_lost(struct ipam *i, const struct sync *s)
{
	enum err e = add_all(&i->lost, &s->lost);
	for (size_t n = 0; n < s->owned.n && e == ERR_OK; n++)
		e = ranges_sub(&i->lost, s->owned.v[n]);
	return e;
}

enum err own_sync(struct ipam *i)
{
	if (!i->ring_dirty)
		return ERR_OK;
	struct sync s = { 0 };
	enum err e = sync_compute(i, &s);
	if (e == ERR_OK)
		e = remember_lost(i, &s);
	if (e == ERR_OK) {
		bool doubt_changed = !ranges_eq(&s.doubt, &i->doubt);
		ranges_swap(&i->owned, &s.owned);
		ranges_swap(&i->doubt, &s.doubt);
		if (!ranges_eq(&s.whole, &i->whole))
			i->usage_dirty = i->freed = true;
		ranges_swap(&i->whole, &s.whole);
		if (!ranges_eq(&s.mine, &i->space.mine)) {
			ranges_swap(&i->space.mine, &s.mine);
			i->holds_dirty = i->usage_dirty = i->freed = true;
		}
		if (i->started && s.lost.n > 0)
			report_lost(i, &s.lost);
		if (i->started && s.gained.n > 0)
			report_gained(i, &s.gained);
		if (s.gained.n > 0 && (i->taking || i->recovering)) {
			i->took_over = i->took_over || i->taking;
			i->census.active = false; /* what was heard so far was heard before this */
		}
		ranges_clear(&i->given);
		ranges_clear(&i->trusted);
		i->taking = i->ring_dirty = false;
		i->paxos_dirty = true; /* what was chosen may be of use now, or no more */
		i->ring_seen = ring_exists(i);
		i->usage_dirty = i->usage_dirty || !i->usage_said;
		bool whole = ring_check(i->cfg.ring, i->cfg.universe, NULL) == ERR_OK;
		if (i->ring_whole && !whole)
			i->learning_ms = i->now + IPAM_ASK_MS;
		i->ring_whole = whole;
		if (doubt_changed && own_store_doubt(i) != ERR_OK) {
			i->rewrite = true;
			e = ERR_NOMEM;
		}
	}
	ranges_free(&s.owned);
	ranges_free(&s.gained);
	ranges_free(&s.lost);
	ranges_free(&s.doubt);
	ranges_free(&s.whole);
	ranges_free(&s.mine);
	ranges_free(&s.t);
	return e;
}

enum err own_certain(struct ipam *i)
{
	if (!i->recovering)
		return ERR_OK;
	i->recovering = false;
	if (!i->took_over)
		ranges_clear(&i->doubt);
	i->ring_dirty = true;
	enum err e = own_store_doubt(i);
	if (e != ERR_OK)
		i->rewrite = true;
	return e;
}

enum err own_merge(struct ipam *i, const struct ipam_message *m)
{
	struct rbuf r;
	struct crdt_changes ch;
	enum err e = ERR_OK;
	crdt_changes_init(&ch, i->out->arena);
	rbuf_init(&r, m->items.p, m->items.n);
	while (rbuf_left(&r) > 0 && e == ERR_OK) {
		struct crdt_item it;
		enum crdt_merge what;
		crdt_item_decode(&r, &it);
		assert(rbuf_ok(&r));
		e = crdt_map_merge(i->cfg.ring, &it, &what, &ch);
	}
	/* Also after an error: what was merged before it is there. */
	enum err f = out_ring(i, &ch, true);
	return e != ERR_OK ? e : f;
}

bool own_accepts_claim(const struct ipam *i, uint32_t addr, bool in_use)
{
	return ranges_has(&i->space.mine, addr) || (in_use && i->recovering && ranges_has(&i->doubt, addr));
}
