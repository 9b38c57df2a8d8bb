/* Ranges in doubt, and taking over.
 *
 * A range in doubt (own.c) becomes usable when everybody who may know better was heard. We send each of them our tokens there; he
 * merges them, stores what was news, and answers with his tokens and their fingerprint. Only when the fingerprints are equal does he
 * count as heard: then he has our claim on disk and has nothing against it. Two hosts that take over the same peer at once both
 * ask; the tokens of one win in the merge, the same at both, and the other's doubt goes away with its claim before either has used it.
 *
 * About what: the ranges in doubt; the whole ring when the disk was lost, since a token that says of a part of it that we gave it away
 * may lie anywhere, and more that once was ours may turn up. About equal rings the answers are short.
 *
 * A peer that died before it had told anybody of some token leaves addresses that nobody owns. When all hosts known at all were heard and
 * still no token covers them, whoever takes over takes them as well, and asks all once more (ring_fill: a token that turns up wins).
 *
 * Whom to hear: every host known, reachable or not, and all owners in the ring. Any of them may have done the same takeover behind a
 * partition, or have got from our former self what nobody else has heard of. Peers that were taken over count as heard, and so do
 * those that have left by `reset`. */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "ipam/internal.h"

bool recover_taken(const struct ipam *i, uint64_t peer)
{
	for (size_t n = 0; n < i->n_taken; n++)
		if (i->taken[n] == peer)
			return true;
	return false;
}

/* --- whom to hear --- */

static struct answer *answer_of(struct census *c, uint64_t peer)
{
	for (size_t n = 0; n < c->n; n++)
		if (c->v[n].peer == peer)
			return &c->v[n];
	return NULL;
}

static bool peer_known(const struct ipam *i, uint64_t peer)
{
	uint64_t it = 0, p;
	while (i->cfg.next_peer(i->cfg.ctx, &it, &p))
		if (p == peer)
			return true;
	return false;
}

/* Whom the mesh has forgotten and who owns nothing any more was taken over by somebody else, who was told that it will not come back. */
static bool still_needed(const struct ipam *i, uint64_t peer)
{
	if (peer == i->cfg.self || recover_taken(i, peer))
		return false;
	if (!peer_known(i, peer))
		return ring_owned_by(i->cfg.ring, i->cfg.universe, peer) > 0;
	return ipam_reachable(i, peer) || !usage_is_gone(i, peer);
}

static enum err must_hear(struct ipam *i, uint64_t peer)
{
	struct census *c = &i->census;
	if (!still_needed(i, peer) || answer_of(c, peer))
		return ERR_OK;
	void *mem = c->v;
	bool ok = mem_grow(&mem, &c->cap, c->n + 1, sizeof *c->v);
	c->v = mem;
	if (!ok)
		return ERR_NOMEM;
	c->v[c->n++] = (struct answer){ .peer = peer };
	return ERR_OK;
}

static enum err whom_to_hear(struct ipam *i)
{
	uint64_t it = i->cfg.universe.first, peer;
	struct ring_span s;
	enum err e = ERR_OK;
	while (e == ERR_OK && ring_each(i->cfg.ring, i->cfg.universe, &it, &s))
		e = must_hear(i, s.owner);
	for (it = 0; e == ERR_OK && i->cfg.next_peer(i->cfg.ctx, &it, &peer);)
		e = must_hear(i, peer);
	return e;
}

void recover_waiting_for(const struct ipam *i, char *out, size_t size)
{
	size_t more = 0, named = 0, at = 0;
	char name[WHO_TEXT];
	out[0] = '\0';
	for (size_t n = 0; n < i->census.n; n++) {
		const struct answer *a = &i->census.v[n];
		if (a->heard || !still_needed(i, a->peer))
			continue;
		if (named == NAMES_MAX) {
			more++;
			continue;
		}
		int len = snprintf(out + at, size - at, "%s%s%s", named > 0 ? ", " : "", ipam_who(i, a->peer, name),
			ipam_reachable(i, a->peer) ? "" : ", unreachable");
		at = len < 0 || (size_t)len >= size - at ? size - 1 : at + (size_t)len;
		named++;
	}
	if (more > 0)
		line_format(out + at, size - at, " and %zu more", more);
	else if (named == 0 && reclaim_pending(i))
		line_format(out, size, "a majority of those who vote, which must agree to it");
	else if (named == 0)
		line_format(out, size, "the other hosts");
}

/* --- asking and answering --- */

static void ring_key(const struct ipam *i, uint64_t addr, uint8_t out[10], struct slice *key)
{
	struct wbuf w;
	bool end = addr >= universe_range(i->cfg.universe).end;
	wbuf_fixed(&w, out, 10);
	wbuf_u32(&w, i->cfg.universe.first);
	wbuf_u8(&w, i->cfg.universe.len);
	wbuf_u32(&w, (uint32_t)(end ? addr - 1 : addr));
	if (end)
		wbuf_u8(&w, 0); /* the least key above the last address's */
	*key = wbuf_slice(&w);
}

static struct fingerprint print_of(const struct ipam *i, struct range4 r)
{
	uint8_t a[10], b[10];
	struct slice lo, hi;
	ring_key(i, r.start, a, &lo);
	ring_key(i, r.end, b, &hi);
	return crdt_map_fingerprint(i->cfg.ring, lo, hi);
}

/* Adds the tokens in the range, as many as a message takes. What does not fit gossip brings, and the fingerprints will be equal next time. */
static void tokens_in(const struct ipam *i, struct range4 r, struct wbuf *w, size_t *n)
{
	uint8_t a[10], b[10];
	struct slice lo, hi;
	struct crdt_item it;
	ring_key(i, r.start, a, &lo);
	ring_key(i, r.end, b, &hi);
	for (bool there = crdt_map_seek(i->cfg.ring, lo, &it); there && slice_cmp(it.key, hi) < 0 && *n < IPAM_ITEMS_MAX;
		 there = crdt_map_next(i->cfg.ring, it.key, &it)) {
		if (!ring_item_valid(&it))
			continue;
		crdt_item_encode(w, &it);
		(*n)++;
	}
}

static enum err send_tokens(struct ipam *i, uint64_t to, struct ipam_message *m)
{
	struct wbuf items, held;
	wbuf_grow(&items, IPAM_PAYLOAD_MAX);
	wbuf_grow(&held, 4 * IPAM_HELD_MAX);
	struct fingerprint ours = print_of(i, m->range);
	/* The asker shows what it says is its own; the answer all that there is, unless the asker has the same. */
	if (m->type == MSG_RING_REQUEST)
		for (size_t n = 0; n < i->doubt.n; n++)
			tokens_in(i, i->doubt.v[n], &items, &m->n_items);
	else if (!fingerprint_eq(ours, m->print))
		tokens_in(i, m->range, &items, &m->n_items);
	m->print = ours;
	m->items = wbuf_slice(&items);
	if (m->type == MSG_RING_STATE) {
		/* What is in use here in ranges of others; the rest of very many is in the usage map. */
		size_t at = 0;
		while (at < i->space.n_used && i->space.used[at] < m->range.start)
			at++;
		for (; at < i->space.n_used && i->space.used[at] < m->range.end && m->n_held < IPAM_HELD_MAX; at++) {
			uint32_t a = i->space.used[at];
			if (!space_lease_at(&i->space, a) || ranges_has(&i->space.mine, a))
				continue;
			wbuf_u32(&held, a);
			m->n_held++;
		}
		m->held = wbuf_slice(&held);
		m->epoch = reclaim_known(i);
	}
	enum err e = wbuf_end(&items);
	if (e == ERR_OK)
		e = wbuf_end(&held);
	if (e == ERR_OK)
		e = out_send(i, to, m);
	wbuf_free(&items);
	wbuf_free(&held);
	return e;
}

enum err recover_request(struct ipam *i, uint64_t from, const struct ipam_message *m)
{
	enum err e = own_merge(i, m);
	if (e == ERR_OK)
		e = own_sync(i);
	if (e != ERR_OK)
		return e;
	struct range4 r = range4_and(m->range, universe_range(i->cfg.universe));
	if (r.start >= r.end)
		return ERR_OK;
	struct ipam_message a = { .type = MSG_RING_STATE, .u = i->cfg.universe, .range = r, .serial = m->serial, .print = m->print };
	return send_tokens(i, from, &a);
}

enum err recover_state(struct ipam *i, uint64_t from, const struct ipam_message *m)
{
	struct census *c = &i->census;
	guard_heard(i, from, m);
	enum err e = own_merge(i, m);
	struct rbuf r;
	rbuf_init(&r, m->held.p, m->held.n);
	while (e == ERR_OK && rbuf_left(&r) > 0) {
		uint32_t a = rbuf_u32(&r);
		if (in_universe(i, a))
			e = space_hold(&i->space, a, from);
	}
	if (e == ERR_OK)
		e = own_sync(i);
	struct answer *a = e == ERR_OK && c->active && m->serial == c->serial ? answer_of(c, from) : NULL;
	if (!a)
		return e;
	bool behind = m->epoch > (i->reclaim.epoch.known ? i->reclaim.epoch.number + 1 : 0);
	if (m->range.start == c->hull.start && m->range.end == c->hull.end && fingerprint_eq(m->print, print_of(i, c->hull)) &&
		!behind)
		a->heard = true;
	else
		a->ask_again_ms = i->now + rng_between(&i->rng, IPAM_ASK_MS / 4, IPAM_ASK_MS / 2);
	return ERR_OK;
}

/* --- the census --- */

static struct range4 doubt_hull(const struct ipam *i)
{
	if (i->recovering || i->doubt.n == 0)
		return universe_range(i->cfg.universe);
	return (struct range4){ i->doubt.v[0].start, i->doubt.v[i->doubt.n - 1].end };
}

static enum err census_ask(struct ipam *i)
{
	enum err e = ERR_OK;
	struct census *c = &i->census;
	for (size_t n = 0; n < c->n && e == ERR_OK; n++) {
		struct answer *a = &c->v[n];
		if (a->heard || (a->asked && i->now < a->ask_again_ms) || !ipam_reachable(i, a->peer))
			continue;
		struct ipam_message m = { .type = MSG_RING_REQUEST, .u = i->cfg.universe, .range = c->hull, .serial = c->serial };
		e = send_tokens(i, a->peer, &m);
		if (e == ERR_OK) {
			a->asked = true;
			a->ask_again_ms = i->now + rng_between(&i->rng, IPAM_ASK_MS, IPAM_RETRY_MS);
		}
	}
	return e;
}

/* After a takeover: what is in nobody's view becomes ours, in doubt like the rest. */
static enum err fill_gaps(struct ipam *i, bool *filled)
{
	struct crdt_changes ch;
	size_t tokens = 1;
	uint64_t it = i->cfg.universe.first, sum = 0;
	struct ring_span s;

	*filled = false;
	if (!i->took_over || ring_check(i->cfg.ring, i->cfg.universe, NULL) == ERR_OK)
		return ERR_OK;
	crdt_changes_init(&ch, i->out->arena);
	while (ring_each(i->cfg.ring, i->cfg.universe, &it, &s))
		tokens++;
	enum err e = out_reserve(i, tokens + 8, (tokens + 4) * RECORD_BYTES);
	if (e == ERR_OK)
		e = ring_fill(i->cfg.ring, i->cfg.universe, i->cfg.self, &sum, &ch);
	if (e == ERR_OK)
		e = out_ring(i, &ch, true);
	if (e == ERR_OK && sum > 0) {
		*filled = i->taking = true;
		out_note(i, 1, "%llu addresses are in nobody's hands: taking them", (unsigned long long)sum);
		e = own_sync(i);
	}
	return e;
}

/* Everybody was heard: nothing is in doubt any more. */
static enum err census_end(struct ipam *i)
{
	bool filled;
	enum err err = fill_gaps(i, &filled);
	if (err != ERR_OK || filled)
		return err;

	struct ranges mine = { 0 }, whole = { 0 }, none = { 0 };
	enum err e = ranges_minus(&whole, &i->owned, &none);
	if (e == ERR_OK)
		e = ranges_minus(&mine, &whole, &i->reclaim.locked);
	if (e == ERR_OK) {
		ranges_swap(&i->space.mine, &mine);
		ranges_swap(&i->whole, &whole);
		if (i->doubt.n > 0)
			out_note(i, 1, "%llu addresses are usable again: all who may know better were heard",
				(unsigned long long)ranges_size(&i->doubt));
		ranges_clear(&i->doubt);
		i->recovering = i->took_over = i->census.active = false;
		i->holds_dirty = i->usage_dirty = i->freed = true;
		e = own_store_doubt(i);
		if (e != ERR_OK)
			i->rewrite = true;
	}
	ranges_free(&mine);
	ranges_free(&whole);
	return e;
}

/* Nobody knows a token of the peer that was removed, but one is missing: perhaps it had told nobody. */
static bool gaps_left(const struct ipam *i)
{
	return i->took_over && ring_exists(i) && !i->ring_whole;
}

enum err recover(struct ipam *i)
{
	struct census *c = &i->census;
	if (i->doubt.n == 0 && !gaps_left(i)) {
		c->active = false;
		return ERR_OK;
	}
	struct range4 hull = doubt_hull(i);
	/* A doubt that shrinks keeps its answers; when one grows own.c ends the census, and it starts again here. */
	if (!c->active || hull.start < c->hull.start || hull.end > c->hull.end) {
		c->active = true;
		c->n = 0;
		c->hull = hull;
		c->serial = rng_u64(&i->rng);
	}
	enum err e = whom_to_hear(i);
	if (e != ERR_OK)
		return e;
	for (size_t n = 0; n < c->n; n++)
		if (!c->v[n].heard && still_needed(i, c->v[n].peer))
			return census_ask(i);
	return reclaim_pending(i) ? ERR_OK : census_end(i);
}

uint64_t recover_deadline_ms(const struct ipam *i)
{
	uint64_t at = UINT64_MAX;
	if (!i->census.active)
		return at;
	for (size_t n = 0; n < i->census.n; n++) {
		const struct answer *a = &i->census.v[n];
		if (!a->heard && ipam_reachable(i, a->peer) && (!a->asked ? i->now : a->ask_again_ms) < at)
			at = a->asked ? a->ask_again_ms : i->now;
	}
	return at;
}

/* --- takeover --- */

enum err recover_remember_taken(struct ipam *i, uint64_t peer)
{
	if (recover_taken(i, peer))
		return ERR_OK;
	void *mem = i->taken;
	bool ok = mem_grow(&mem, &i->cap_taken, i->n_taken + 1, sizeof *i->taken);
	i->taken = mem;
	if (!ok)
		return ERR_NOMEM;
	i->taken[i->n_taken++] = peer;
	return ERR_OK;
}

static enum err take(struct ipam *i, uint64_t peer, uint64_t *moved)
{
	struct crdt_changes ch;
	crdt_changes_init(&ch, i->out->arena);
	size_t tokens = 0;
	uint64_t it = i->cfg.universe.first;
	struct ring_span s;
	enum err e = ERR_OK;
	while (e == ERR_OK && ring_each(i->cfg.ring, i->cfg.universe, &it, &s)) {
		if (s.owner != peer)
			continue;
		tokens += s.tokens;
		e = guard_remember(i, peer, (struct range4){ s.start, s.end });
	}
	if (e == ERR_OK)
		e = out_reserve(i, tokens + 8, (tokens + 4) * RECORD_BYTES);
	if (e == ERR_OK)
		e = ring_takeover(i->cfg.ring, i->cfg.universe, peer, i->cfg.self, moved, &ch);
	if (e == ERR_OK)
		e = out_ring(i, &ch, true);
	if (e == ERR_OK && *moved > 0) {
		i->taking = true;
		e = own_sync(i);
	}
	return e;
}

/* What follows from an agreement about a peer that was removed here meanwhile may leave it a part again, of a token that we took over whole. */
enum err recover_again(struct ipam *i)
{
	enum err e = ERR_OK;
	for (size_t n = 0; n < i->n_taken && e == ERR_OK; n++) {
		uint64_t moved = 0;
		if (!ipam_reachable(i, i->taken[n]) && ring_owned_by(i->cfg.ring, i->cfg.universe, i->taken[n]) > 0)
			e = take(i, i->taken[n], &moved);
	}
	return e;
}

/* The addresses that the dead peer used in ranges of others are free again, everywhere. */
static enum err forget_holds(struct ipam *i, uint64_t peer)
{
	struct crdt_changes ch;
	crdt_changes_init(&ch, i->out->arena);
	enum err e = crdt_map_forget(i->cfg.usage, peer, 0, &ch);
	if (e == ERR_OK)
		e = out_changed(i, IPAM_MAP_USAGE, &ch);
	if (e == ERR_OK)
		e = usage_news(i, &ch);
	return e;
}

enum err recover_takeover(struct ipam *i, const struct ipam_event *ev)
{
	char text[256], name[WHO_TEXT];
	struct prefix none = { 0 };
	uint64_t moved = 0;
	ipam_who(i, ev->peer, name);
	if (ev->peer == i->cfg.self) {
		line_format(text, sizeof text, "%s is this host: to give its addresses away use `weft reset` here", name);
		return out_reply(i, ev->request, ERR_SELF, none, 0, text);
	}
	if (!peer_known(i, ev->peer) && !recover_taken(i, ev->peer) && ring_owned_by(i->cfg.ring, i->cfg.universe, ev->peer) == 0) {
		line_format(text, sizeof text, "no peer %s is known", name);
		return out_reply(i, ev->request, ERR_NOT_FOUND, none, 0, text);
	}
	if (ipam_reachable(i, ev->peer)) {
		line_format(text, sizeof text, "%s is reachable: stop it first, or run `weft reset` on it", name);
		return out_reply(i, ev->request, ERR_REFUSED, none, 0, text);
	}
	if (i->suspended || i->stopped) {
		line_format(text, sizeof text, "not taken over: %s",
			i->stopped ? "this host has handed over its own addresses" : "another host uses our name");
		return out_reply(i, ev->request, ERR_STATE, none, 0, text);
	}
	enum err e = recover_remember_taken(i, ev->peer);
	if (e == ERR_OK && i->doubt.n > 0)
		e = own_store_doubt(i); /* who need not be heard any more is stored beside it */
	if (e == ERR_OK)
		e = word_removed(i, ev->peer);
	if (e == ERR_OK)
		e = forget_holds(i, ev->peer);
	/* The answer cannot fail once the ring has changed: its room is part of what take() puts aside. */
	if (e == ERR_OK)
		e = take(i, ev->peer, &moved);
	if (e != ERR_OK && moved == 0)
		return e;
	i->took_over = i->took_over || (moved == 0 && !i->ring_whole);
	return out_reply(i, ev->request, ERR_OK, none, moved, NULL);
}

static bool listed(const uint64_t *v, size_t n, uint64_t peer)
{
	for (size_t k = 0; k < n; k++)
		if (v[k] == peer)
			return true;
	return false;
}

size_t ipam_awaited(const struct ipam *i, const uint64_t *gone, size_t n, uint64_t *out, size_t max)
{
	uint64_t it = 0, peer;
	struct ring_span s;
	size_t found = 0;
	while (i->cfg.next_peer(i->cfg.ctx, &it, &peer)) {
		if (!still_needed(i, peer) || ipam_reachable(i, peer) || listed(gone, n, peer))
			continue;
		if (found < max)
			out[found] = peer;
		found++;
	}
	/* Owners of whom nothing else is known. */
	for (it = i->cfg.universe.first; found < max && ring_each(i->cfg.ring, i->cfg.universe, &it, &s);)
		if (still_needed(i, s.owner) && !ipam_reachable(i, s.owner) && !listed(gone, n, s.owner) && !listed(out, found, s.owner))
			out[found++] = s.owner;
	return found;
}

void recover_topology(struct ipam *i)
{
	/* Back after all: from now on it counts again. */
	for (size_t n = 0; n < i->n_taken; n++)
		if (ipam_reachable(i, i->taken[n]))
			i->taken[n--] = i->taken[--i->n_taken];
}
