/* Range-based set reconciliation. The idea is in recon.h; here is the form of a message and why exchanges end.
 *
 *     message: range …                 at most RECON_RANGES_MAX, until the message ends
 *     range:   u8 kind | body | lv bound
 *     kind 0   skip          no body: nothing is said of this range
 *          1   fingerprint   u64 a | u64 b | varint count
 *          2   items         u32 length | items: all the sender has there; the receiver answers with what it has beyond
 *          3   news          u32 length | items: some of what the sender has there; no answer
 *
 * A range begins where the one before ended (the first at the beginning of all keys) and ends before its bound; an empty bound is the
 * end of all keys and ends the message. So ranges cannot overlap or be out of order, and items must ascend within theirs.
 *
 * Each answer to a range speaks of a part of it with fewer items, or says the last word on it: a fingerprint is answered by
 * fingerprints of an eighth each, or by items; items by news; news by nothing. When an answer becomes too large, what is left, up to
 * the end of the message that is answered, is covered by one fingerprint: smaller than what came, because something before it was
 * answered. So an exchange goes on until all is said, whatever the size of the maps and of the messages.
 *
 * A message is read three times: what is not a floor is merged, then the floors (an item that was re-stamped for a floor is never
 * missing in between), then the answer is written, from what is there by now. */
#include "crdt/recon.h"

#include <assert.h>

#include "crdt/internal.h"

enum kind { KIND_SKIP, KIND_FINGERPRINT, KIND_ITEMS, KIND_NEWS };

#define BOUND_ROOM       (1 + CRDT_KEY_MAX)
#define FINGERPRINT_ROOM (1 + 16 + 10 + BOUND_ROOM)
/* Kept free for the fingerprint of the rest, and a skip before it. */
#define REST_ROOM (1 + BOUND_ROOM + FINGERPRINT_ROOM)
/* What an answer to one range needs at least: a skip, a range with one item (or the fingerprints), and the rest. */
#define ANSWER_ROOM   (1 + BOUND_ROOM + 5 + CRDT_ITEM_MAX + BOUND_ROOM + REST_ROOM)
#define ANSWER_RANGES (1 + RECON_FANOUT + 2)
static_assert(ANSWER_ROOM >= (RECON_FANOUT + 1) * FINGERPRINT_ROOM, "room for one item is room for the fingerprints");
static_assert(RECON_FANOUT <= RECON_ITEMS, "a range that is split has an item for every part");

/* --- reading --- */

struct range {
	struct slice lo, hi; /* hi.n == 0: no end */
	enum kind kind;
	struct fingerprint theirs;
	struct rbuf items;
};

struct reader {
	struct rbuf r;
	struct slice at;
	size_t ranges;
	bool ended;
};

/* The next range. false: the end, or *e is set. */
static bool next_range(struct reader *in, struct range *out, enum err *e)
{
	if (rbuf_ok(&in->r) && rbuf_left(&in->r) == 0)
		return false;
	if (in->ended) {
		*e = ERR_MALFORMED;
		return false;
	}
	if (in->ranges++ == RECON_RANGES_MAX) {
		*e = ERR_LIMIT;
		return false;
	}
	*out = (struct range){ .lo = in->at };
	uint8_t kind = rbuf_u8(&in->r);
	if (kind == KIND_FINGERPRINT) {
		out->theirs.a = rbuf_u64(&in->r);
		out->theirs.b = rbuf_u64(&in->r);
		out->theirs.count = rbuf_varint(&in->r);
	} else if (kind == KIND_ITEMS || kind == KIND_NEWS) {
		out->items = rbuf_sub(&in->r, rbuf_u32(&in->r));
	}
	out->hi = rbuf_lv(&in->r, CRDT_KEY_MAX);
	if (!rbuf_ok(&in->r)) {
		*e = ERR_TRUNCATED;
		return false;
	}
	if (kind > KIND_NEWS || (out->hi.n > 0 && slice_cmp(out->lo, out->hi) >= 0)) {
		*e = ERR_MALFORMED;
		return false;
	}
	out->kind = (enum kind)kind;
	in->at = out->hi;
	in->ended = out->hi.n == 0;
	return true;
}

/* The next item of a range, which must be after the one before (*last; empty at first) and inside. false: the end, or *e is set. */
static bool next_item(struct range *g, struct slice *last, struct crdt_item *it, enum err *e)
{
	if (rbuf_ok(&g->items) && rbuf_left(&g->items) == 0)
		return false;
	crdt_item_decode(&g->items, it);
	if (!rbuf_ok(&g->items)) {
		*e = ERR_TRUNCATED;
		return false;
	}
	if (slice_cmp(it->key, g->lo) < 0 || (g->hi.n > 0 && slice_cmp(it->key, g->hi) >= 0) ||
		(last->n > 0 && slice_cmp(it->key, *last) <= 0)) {
		*e = ERR_MALFORMED;
		return false;
	}
	*last = it->key;
	return true;
}

/* --- merging --- */

struct merging {
	struct crdt_map *m;
	struct crdt_changes *ch;
	struct recon_stats *st;
	bool floors; /* this pass merges only these, the other one only the rest */
	bool seen_floors;
	enum err full;
	struct slice end; /* of the last good range */
	size_t ranges;
};

static enum err merge_range(struct merging *g, struct range *range)
{
	struct slice last = { 0 };
	struct crdt_item it;
	enum err e = ERR_OK;
	while (next_item(range, &last, &it, &e)) {
		bool floor = crdt_map_owned(g->m) && crdt_is_floor(&it);
		enum crdt_merge what = CRDT_STALE;
		g->seen_floors = g->seen_floors || floor;
		if (floor != g->floors)
			continue;
		e = crdt_map_merge(g->m, &it, &what, g->ch);
		if (e == ERR_LIMIT) {
			g->full = e; /* no place for this one; go on with the others */
			e = ERR_OK;
		}
		if (e != ERR_OK)
			return e;
		g->st->items_received++;
		g->st->items_news += what == CRDT_NEWS;
	}
	return e;
}

/* The error is that of the first bad range; what is good before it has been merged. */
static enum err merge_ranges(struct merging *g, struct rbuf in)
{
	struct reader r = { .r = in };
	struct range range;
	enum err e = ERR_OK;
	g->ranges = 0;
	while (e == ERR_OK && next_range(&r, &range, &e)) {
		if (range.kind == KIND_ITEMS || range.kind == KIND_NEWS)
			e = merge_range(g, &range);
		g->end = range.hi;
		g->ranges++;
	}
	return e;
}

/* --- answering --- */

struct answer {
	const struct crdt_map *m;
	struct wbuf *w;
	struct recon_stats *st;
	size_t start, limit; /* offsets in w */
	size_t ranges;
	struct slice said; /* what is written speaks of all keys below this one */
	struct slice end;  /* of the message that is answered */
	bool cut;
};

/* Brings the writer to lo. */
static void skip_to(struct answer *a, struct slice lo)
{
	if (slice_cmp(a->said, lo) == 0)
		return;
	wbuf_u8(a->w, KIND_SKIP);
	wbuf_lv(a->w, lo);
	a->said = lo;
	a->ranges++;
}

static void end_range(struct answer *a, struct slice hi)
{
	wbuf_lv(a->w, hi);
	a->said = hi;
	a->ranges++;
}

static void say_fingerprint(struct answer *a, struct slice lo, struct slice hi)
{
	struct fingerprint f = crdt_map_fingerprint(a->m, lo, hi);
	skip_to(a, lo);
	wbuf_u8(a->w, KIND_FINGERPRINT);
	wbuf_u64(a->w, f.a);
	wbuf_u64(a->w, f.b);
	wbuf_varint(a->w, f.count);
	end_range(a, hi);
}

/* The answer is large enough: what is left from `at` is for the next message. */
static void cut(struct answer *a, struct slice at)
{
	say_fingerprint(a, at, a->end);
	a->cut = true;
}

/* Shortest key that is above `below` and not above `at`. */
static struct slice separator(struct slice below, struct slice at)
{
	size_t n = 0;
	while (n < below.n && n < at.n && below.p[n] == at.p[n])
		n++;
	assert(n < at.n);
	return slice_of(at.p, n + 1);
}

static void say_parts(struct answer *a, const struct range *g, uint64_t mine)
{
	struct slice lo = g->lo;
	for (uint64_t i = 1; i <= RECON_FANOUT; i++) {
		struct slice hi = g->hi;
		struct crdt_item before, at;
		if (i < RECON_FANOUT) {
			size_t k = (size_t)(mine / RECON_FANOUT * i + mine % RECON_FANOUT * i / RECON_FANOUT);
			bool there = crdt_map_nth(a->m, g->lo, k - 1, &before) && crdt_map_nth(a->m, g->lo, k, &at);
			assert(there);
			hi = separator(before.key, at.key);
		}
		say_fingerprint(a, lo, hi);
		lo = hi;
	}
	a->st->ranges_split++;
}

/* What we have in the range; of that, unless `all`, only what the sender's items there lack or have older. Without such items, nothing
 * is written, or with `all` the empty list, which says that there is nothing. */
static void say_items(struct answer *a, struct range *g, bool all)
{
	struct slice last = { 0 }, bound = g->hi;
	struct crdt_item mine, theirs = { 0 };
	enum err e = ERR_OK;
	bool have_theirs = !all && next_item(g, &last, &theirs, &e), begun = all;
	size_t length_at = 0, items = 0;

	if (all) {
		skip_to(a, g->lo);
		wbuf_u8(a->w, KIND_ITEMS);
		length_at = a->w->len;
		wbuf_u32(a->w, 0);
	}
	bool have = crdt_map_seek(a->m, g->lo, &mine);
	for (; have && (g->hi.n == 0 || slice_cmp(mine.key, g->hi) < 0); have = crdt_map_next(a->m, mine.key, &mine)) {
		while (have_theirs && slice_cmp(theirs.key, mine.key) < 0)
			have_theirs = next_item(g, &last, &theirs, &e);
		if (have_theirs && slice_eq(theirs.key, mine.key) && crdt_item_cmp(&mine, &theirs) <= 0)
			continue;
		if (!begun) {
			skip_to(a, g->lo);
			wbuf_u8(a->w, KIND_NEWS);
			length_at = a->w->len;
			wbuf_u32(a->w, 0);
			begun = true;
		}
		if (items > 0 && a->w->len + crdt_item_size(&mine) + BOUND_ROOM + REST_ROOM > a->limit) {
			bound = mine.key;
			break;
		}
		crdt_item_encode(a->w, &mine);
		items++;
	}
	assert(e == ERR_OK); /* the merging passes have read the same items */
	if (!begun || a->w->failed)
		return;
	a->st->items_sent += (uint32_t)items;
	wbuf_patch_u32(a->w, length_at, (uint32_t)(a->w->len - length_at - 4));
	end_range(a, bound);
	if (!slice_eq(bound, g->hi))
		cut(a, bound);
}

static void answer_range(struct answer *a, struct range *g)
{
	if (g->kind == KIND_SKIP || g->kind == KIND_NEWS)
		return;
	struct fingerprint mine = { 0 };
	if (g->kind == KIND_FINGERPRINT) {
		mine = crdt_map_fingerprint(a->m, g->lo, g->hi);
		if (fingerprint_eq(mine, g->theirs)) {
			a->st->ranges_equal++;
			return;
		}
	}
	bool first = a->w->len == a->start;
	if (!first && (a->w->len + ANSWER_ROOM > a->limit || a->ranges + ANSWER_RANGES > RECON_RANGES_MAX)) {
		cut(a, g->lo);
		return;
	}
	if (g->kind == KIND_ITEMS)
		say_items(a, g, false);
	else if (mine.count <= RECON_ITEMS || g->theirs.count <= RECON_ITEMS)
		say_items(a, g, true);
	else
		say_parts(a, g, mine.count);
}

enum err crdt_recon_open(const struct crdt_map *m, struct wbuf *out)
{
	struct answer a = { .m = m, .w = out };
	say_fingerprint(&a, slice_of(NULL, 0), slice_of(NULL, 0));
	return wbuf_end(out);
}

enum err crdt_recon_step(struct crdt_map *m, struct rbuf *in, struct wbuf *out, struct crdt_changes *ch, struct recon_stats *st)
{
	struct recon_stats none = { 0 };
	struct merging g = { .m = m, .ch = ch, .st = st == NULL ? &none : st };
	struct reader r = { .r = *in };
	enum err e = merge_ranges(&g, *in);
	size_t good = g.ranges;
	if (g.seen_floors && e != ERR_NOMEM) {
		g.floors = true;
		enum err again = merge_ranges(&g, *in);
		e = again == ERR_NOMEM ? again : e;
	}
	in->pos = in->len;
	if (e != ERR_OK)
		return e;

	size_t room = out->max - out->len;
	struct answer a = { .m = m, .w = out, .st = g.st, .start = out->len, .end = g.end };
	a.limit = out->len + (room < RECON_MESSAGE_MAX ? room : RECON_MESSAGE_MAX);
	for (size_t i = 0; i < good && !a.cut && !out->failed; i++) {
		struct range range;
		bool there = next_range(&r, &range, &e);
		assert(there);
		answer_range(&a, &range);
	}
	e = wbuf_end(out);
	return e == ERR_OK ? g.full : e;
}
