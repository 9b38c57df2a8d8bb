#include "util.h"

#include <sodium.h>

/* --- one map --- */

static void put(struct crdt_map *m, const char *key, const char *value)
{
	assert_int_equal(crdt_map_put(m, slice_str(key), slice_str(value), NULL), ERR_OK);
}

static void del(struct crdt_map *m, const char *key)
{
	assert_int_equal(crdt_map_delete(m, slice_str(key), NULL), ERR_OK);
}

static bool get(const struct crdt_map *m, uint64_t owner, char sub, struct crdt_item *out)
{
	struct test_item t;
	return crdt_map_get(m, util_item(&t, owner, sub, 0, 0, NULL)->key, out);
}

static void assert_stamp(const struct crdt_map *m, uint64_t owner, char sub, uint64_t inc, uint64_t ctr)
{
	struct crdt_item it;
	assert_true(get(m, owner, sub, &it));
	assert_int_equal(it.stamp.inc, inc);
	assert_int_equal(it.stamp.ctr, ctr);
}

static bool changed(const struct crdt_changes *ch, uint64_t owner, char sub)
{
	struct test_item t;
	struct slice key = util_item(&t, owner, sub, 0, 0, NULL)->key;
	for (size_t i = 0; i < ch->n; i++)
		if (slice_eq(ch->keys[i], key))
			return true;
	return false;
}

static void writes_and_reads(void **state)
{
	(void)state;
	struct crdt_map *m = util_map(true);
	struct crdt_item it;
	crdt_map_set_writer(m, 5, 3);
	put(m, "a", "1");
	put(m, "b", "22");
	put(m, "a", "1"); /* nothing new */
	assert_stamp(m, 5, 'a', 3, 1);
	assert_stamp(m, 5, 'b', 3, 2);
	assert_int_equal(util_last(m, 5).ctr, 2);
	assert_int_equal(crdt_map_bytes(m), 7 + 1 + 7 + 2);
	put(m, "a", "3");
	assert_stamp(m, 5, 'a', 3, 3);
	del(m, "b");
	del(m, "b");
	del(m, "nothing");
	assert_stamp(m, 5, 'b', 3, 4);
	assert_true(get(m, 5, 'b', &it));
	assert_false(it.live);
	assert_int_equal(it.value.n, 0);
	assert_int_equal(crdt_map_count(m), 2);
	assert_int_equal(crdt_map_live(m), 1);
	assert_int_equal(crdt_map_bytes(m), 7 + 1 + 7);
	put(m, "b", "");
	assert_true(get(m, 5, 'b', &it));
	assert_true(it.live);
	crdt_map_check(m);
	crdt_map_free(m);
}

static void limits(void **state)
{
	(void)state;
	static uint8_t big[CRDT_VALUE_MAX + 1];
	struct crdt_map *m = util_map(true);
	crdt_map_set_writer(m, 5, 1);
	assert_int_equal(crdt_map_put(m, slice_of(big, 0), slice_str("v"), NULL), ERR_LIMIT);
	assert_int_equal(crdt_map_put(m, slice_of(big, CRDT_KEY_MAX - 5), slice_str("v"), NULL), ERR_LIMIT);
	assert_int_equal(crdt_map_put(m, slice_of(big, CRDT_KEY_MAX - 6), slice_of(big, CRDT_VALUE_MAX + 1), NULL), ERR_LIMIT);
	assert_int_equal(crdt_map_put(m, slice_of(big, CRDT_KEY_MAX - 6), slice_of(big, CRDT_VALUE_MAX), NULL), ERR_OK);
	assert_int_equal(crdt_map_delete(m, slice_of(big, CRDT_KEY_MAX), NULL), ERR_LIMIT);
	assert_int_equal(crdt_map_count(m), 1);
	assert_int_equal(util_last(m, 5).ctr, 1);
	crdt_map_check(m);
	crdt_map_free(m);
}

static bool no_x(const struct crdt_item *it)
{
	return it->value.n == 0 || it->value.p[0] != 'x';
}

static void ill_formed_is_refused(void **state)
{
	(void)state;
	struct crdt_map *m = util_map(true), *un = util_map(false);
	struct test_item t;
	enum crdt_merge what;
	assert_int_equal(crdt_map_merge(m, util_item(&t, PEER_NONE, 'a', 1, 1, "v"), &what, NULL), ERR_MALFORMED);
	assert_int_equal(crdt_map_merge(m, util_item(&t, 1, 0, 1, 1, "live floor"), &what, NULL), ERR_MALFORMED);
	struct crdt_item it = { .key = slice_str("short"), .stamp = { 1, 1 }, .live = true };
	assert_int_equal(crdt_map_merge(m, &it, &what, NULL), ERR_MALFORMED);
	assert_int_equal(crdt_map_merge(un, &it, &what, NULL), ERR_OK);
	it.key = slice_of(NULL, 0);
	assert_int_equal(crdt_map_merge(un, &it, &what, NULL), ERR_MALFORMED);
	it.key = slice_str("key");
	it.live = false;
	it.value = slice_str("value of a tombstone");
	assert_int_equal(crdt_map_merge(un, &it, &what, NULL), ERR_MALFORMED);

	crdt_map_set_form(m, no_x);
	assert_int_equal(crdt_map_merge(m, util_item(&t, 1, 'a', 1, 1, "x"), &what, NULL), ERR_MALFORMED);
	assert_int_equal(crdt_map_merge(m, util_item(&t, 1, 'a', 1, 1, "y"), &what, NULL), ERR_OK);
	assert_int_equal(crdt_map_count(m), 1);
	crdt_map_check(m);
	crdt_map_free(m);
	crdt_map_free(un);
	crdt_map_free(NULL);
}

static void merge_says_what_it_did(void **state)
{
	(void)state;
	struct crdt_map *m = util_map(true);
	struct test_item t;
	struct arena *a = arena_new();
	struct crdt_changes ch;
	crdt_changes_init(&ch, a);
	assert_int_equal(util_merge(m, util_item(&t, 1, 'a', 1, 5, "x"), &ch), CRDT_NEWS);
	assert_int_equal(util_merge(m, util_item(&t, 1, 'a', 1, 5, "x"), &ch), CRDT_SAME);
	assert_int_equal(util_merge(m, util_item(&t, 1, 'a', 1, 4, "z"), &ch), CRDT_STALE);
	assert_int_equal(util_merge(m, util_item(&t, 1, 'a', 1, 5, "w"), &ch), CRDT_STALE);
	assert_int_equal(util_merge(m, util_item(&t, 1, 'a', 1, 5, "y"), &ch), CRDT_NEWS);
	assert_int_equal(util_merge(m, util_item(&t, 1, 'a', 2, 1, NULL), &ch), CRDT_NEWS);
	assert_int_equal(ch.n, 3);
	assert_int_equal(util_merge(m, util_item(&t, 1, 'b', 2, 2, "q"), &ch), CRDT_NEWS);
	assert_int_equal(util_merge(m, util_item(&t, 2, 'a', 1, 1, "q"), &ch), CRDT_NEWS);
	/* A floor drops what is at or below it, whatever comes later, and nobody else's. */
	ch.n = 0;
	assert_int_equal(util_merge(m, util_item(&t, 1, 0, 2, 1, NULL), &ch), CRDT_NEWS);
	assert_int_equal(ch.n, 1);
	assert_true(changed(&ch, 1, 0));
	assert_int_equal(crdt_map_count(m), 3);
	assert_int_equal(util_merge(m, util_item(&t, 1, 'a', 2, 1, NULL), &ch), CRDT_STALE);
	assert_int_equal(util_merge(m, util_item(&t, 1, 'c', 1, 9, "late"), &ch), CRDT_STALE);
	assert_int_equal(util_merge(m, util_item(&t, 1, 0, 2, 1, NULL), &ch), CRDT_SAME);
	assert_int_equal(util_merge(m, util_item(&t, 1, 0, 1, 7, NULL), &ch), CRDT_STALE);
	assert_int_equal(util_merge(m, util_item(&t, 1, 'c', 2, 3, "new"), &ch), CRDT_NEWS);
	crdt_map_check(m);
	arena_free(a);
	crdt_map_free(m);
}

static void owner_at_the_end_of_names(void **state)
{
	(void)state;
	struct crdt_map *m = util_map(true);
	struct test_item t;
	(void)util_merge(m, util_item(&t, PEER_MAX, 'a', 1, 1, "x"), NULL);
	(void)util_merge(m, util_item(&t, PEER_MAX - 1, 'a', 1, 1, "x"), NULL);
	(void)util_merge(m, util_item(&t, PEER_MAX, 0, 1, 1, NULL), NULL);
	assert_int_equal(crdt_map_count(m), 2);
	assert_int_equal(crdt_map_live(m), 1);
	crdt_map_check(m);
	crdt_map_free(m);
}

/* --- the writer --- */

static void compact_forgets_tombstones(void **state)
{
	(void)state;
	struct crdt_map *m = util_map(true);
	struct crdt_item it;
	struct arena *a = arena_new();
	struct crdt_changes ch;
	crdt_changes_init(&ch, a);
	crdt_map_set_writer(m, 5, 1);
	put(m, "a", "1");                                      /* 1 */
	put(m, "b", "1");                                      /* 2 */
	put(m, "c", "1");                                      /* 3 */
	del(m, "b");                                           /* 4 */
	del(m, "c");                                           /* 5 */
	put(m, "d", "1");                                      /* 6 */
	assert_int_equal(crdt_map_compact(m, 3, &ch), ERR_OK); /* too few */
	assert_int_equal(crdt_map_compact(m, 2, &ch), ERR_OK); /* do not outnumber the living */
	assert_int_equal(ch.n, 0);
	del(m, "d");      /* 7 */
	put(m, "e", "1"); /* 8 */
	assert_int_equal(crdt_map_compact(m, 3, &ch), ERR_OK);
	assert_int_equal(ch.n, 2);
	assert_true(changed(&ch, 5, 'a'));
	assert_true(crdt_owner(ch.keys[1]) == 5 && ch.keys[1].n == 6); /* the floor is told last */
	assert_stamp(m, 5, 'a', 1, 9);
	assert_stamp(m, 5, 'e', 1, 8); /* was above the floor already */
	assert_stamp(m, 5, 0, 1, 7);
	assert_false(get(m, 5, 'b', &it));
	assert_int_equal(crdt_map_count(m), 3);
	/* With 0 it ends former incarnations: none to end here. */
	ch.n = 0;
	assert_int_equal(crdt_map_compact(m, 0, &ch), ERR_OK);
	assert_int_equal(ch.n, 0);
	crdt_map_check(m);
	arena_free(a);
	crdt_map_free(m);
}

static void restart_ends_former_incarnations(void **state)
{
	(void)state;
	struct crdt_map *before = util_map(true);
	crdt_map_set_writer(before, 5, 1);
	put(before, "a", "1");
	put(before, "b", "1");
	struct crdt_map *m = util_copy(before, true);
	crdt_map_set_writer(m, 5, 2);
	assert_int_equal(util_last(m, 5).inc, 1);
	put(m, "a", "1"); /* still has it: nothing to say yet */
	put(m, "c", "1");
	del(m, "b");
	assert_stamp(m, 5, 'a', 1, 1);
	assert_stamp(m, 5, 'c', 2, 1);
	assert_int_equal(crdt_map_compact(m, 0, NULL), ERR_OK);
	assert_stamp(m, 5, 'a', 2, 3);
	assert_stamp(m, 5, 'c', 2, 4);
	assert_stamp(m, 5, 0, 2, 2);
	assert_int_equal(crdt_map_count(m), 3);
	crdt_map_check(m);

	/* Without a disk the floor is published all the same. */
	struct crdt_map *lost = util_map(true);
	crdt_map_set_writer(lost, 5, 3);
	put(lost, "z", "1");
	assert_int_equal(crdt_map_compact(lost, 0, NULL), ERR_OK);
	assert_stamp(lost, 5, 0, 3, 0);
	assert_stamp(lost, 5, 'z', 3, 1);
	util_merge_map(m, lost);
	assert_int_equal(crdt_map_count(lost), 2);
	crdt_map_free(before);
	crdt_map_free(m);
	crdt_map_free(lost);
}

static void writer_begins_above_what_is_there(void **state)
{
	(void)state;
	struct crdt_map *m = util_map(true);
	struct test_item t;
	(void)util_merge(m, util_item(&t, 5, 'a', 9, 4, "x"), NULL);
	crdt_map_set_writer(m, 5, 9);
	put(m, "a", "y");
	assert_stamp(m, 5, 'a', 10, 1);
	crdt_map_check(m);
	crdt_map_free(m);
}

static void unknown_own_items_are_superseded(void **state)
{
	(void)state;
	struct crdt_map *m = util_map(true);
	struct test_item t;
	struct crdt_item it;
	struct arena *a = arena_new();
	struct crdt_changes ch;
	crdt_changes_init(&ch, a);
	crdt_map_set_writer(m, 5, 4);
	put(m, "a", "mine"); /* 4.1 */
	assert_int_equal(util_merge(m, util_item(&t, 5, 'a', 3, 9, "old"), &ch), CRDT_STALE);
	/* Unknown, lower incarnation: a tombstone above. */
	assert_int_equal(util_merge(m, util_item(&t, 5, 'b', 3, 9, "old"), &ch), CRDT_NEWS);
	assert_stamp(m, 5, 'b', 4, 2);
	assert_true(get(m, 5, 'b', &it));
	assert_false(it.live);
	/* Same stamp, other bytes: whichever would win, ours moves above. */
	assert_int_equal(util_merge(m, util_item(&t, 5, 'a', 4, 1, "zzz"), &ch), CRDT_NEWS);
	assert_stamp(m, 5, 'a', 4, 3);
	assert_int_equal(util_merge(m, util_item(&t, 5, 'a', 4, 3, "aaa"), &ch), CRDT_NEWS);
	assert_stamp(m, 5, 'a', 4, 4);
	/* Same incarnation, higher counter. */
	assert_int_equal(util_merge(m, util_item(&t, 5, 'a', 4, 90, NULL), &ch), CRDT_NEWS);
	assert_stamp(m, 5, 'a', 4, 91);
	/* Higher incarnation: ours moves above it. */
	assert_int_equal(util_merge(m, util_item(&t, 5, 'a', 6, 6, "his"), &ch), CRDT_NEWS);
	assert_stamp(m, 5, 'a', 7, 1);
	assert_true(get(m, 5, 'a', &it));
	assert_true(it.live && slice_eq(it.value, slice_str("mine")));
	assert_int_equal(ch.n, 5);
	put(m, "c", "1");
	assert_stamp(m, 5, 'c', 7, 2);
	crdt_map_check(m);
	arena_free(a);
	crdt_map_free(m);
}

static bool is_his(void *ctx, const struct crdt_item *it)
{
	++*(unsigned *)ctx;
	return !it->live || slice_eq(it->value, slice_str("his"));
}

/* The guard is asked about everything under the writer's prefix, floors included, and about nothing else. */
static void guarded_items_are_passed_over(void **state)
{
	(void)state;
	struct crdt_map *m = util_map(true);
	struct test_item t;
	unsigned asked = 0;
	crdt_map_set_writer(m, 5, 4);
	crdt_map_set_guard(m, is_his, &asked);
	put(m, "a", "mine");
	assert_int_equal(util_merge(m, util_item(&t, 5, 'a', 9, 1, "his"), NULL), CRDT_STALE);
	assert_int_equal(util_merge(m, util_item(&t, 5, 'b', 9, 1, "his"), NULL), CRDT_STALE);
	assert_int_equal(util_merge(m, util_item(&t, 5, 0, 9, 9, NULL), NULL), CRDT_STALE);
	assert_int_equal(util_merge(m, util_item(&t, 6, 'a', 9, 1, "his"), NULL), CRDT_NEWS);
	assert_int_equal(util_merge(m, util_item(&t, 6, 0, 9, 1, NULL), NULL), CRDT_NEWS);
	assert_int_equal(asked, 3);
	assert_stamp(m, 5, 'a', 4, 1);
	assert_int_equal(crdt_map_count(m), 2);
	assert_int_equal(util_merge(m, util_item(&t, 5, 'a', 9, 1, "older self"), NULL), CRDT_NEWS);
	assert_stamp(m, 5, 'a', 10, 1);
	crdt_map_check(m);
	crdt_map_free(m);
}

static void forgotten_writer_comes_back(void **state)
{
	(void)state;
	struct crdt_map *m = util_map(true), *other = util_map(true);
	struct arena *a = arena_new();
	struct crdt_changes ch;
	struct crdt_item it;
	crdt_changes_init(&ch, a);
	crdt_map_set_writer(m, 5, 4);
	crdt_map_set_writer(other, 6, 1);
	put(m, "a", "1");
	put(m, "b", "2");
	put(m, "c", "3");
	del(m, "c");
	util_merge_map(other, m);
	assert_int_equal(crdt_map_forget(other, 6, 0, &ch), ERR_SELF);
	assert_int_equal(crdt_map_forget(other, 77, 0, &ch), ERR_OK); /* never heard of */
	assert_int_equal(ch.n, 0);
	assert_int_equal(crdt_map_forget(other, 5, 0, &ch), ERR_OK);
	assert_int_equal(crdt_map_forget(other, 5, 0, &ch), ERR_OK); /* again: nothing */
	assert_int_equal(ch.n, 1);
	assert_int_equal(crdt_map_count(other), 1);
	assert_stamp(other, 5, 0, 4, UINT64_MAX);
	/* What was under way is too late. */
	util_merge_map(other, m);
	assert_int_equal(crdt_map_count(other), 1);

	/* The owner hears of it: incarnation above, everything live re-stamped and told, the tombstone gone. */
	ch.n = 0;
	assert_true(get(other, 5, 0, &it));
	assert_int_equal(util_merge(m, &it, &ch), CRDT_NEWS);
	assert_int_equal(ch.n, 3);
	assert_true(changed(&ch, 5, 'a') && changed(&ch, 5, 'b') && changed(&ch, 5, 0));
	assert_stamp(m, 5, 'a', 5, 1);
	assert_stamp(m, 5, 'b', 5, 2);
	assert_false(get(m, 5, 'c', &it));
	crdt_map_check(m);
	util_merge_map(other, m);
	assert_true(util_equal(m, other));
	arena_free(a);
	crdt_map_free(m);
	crdt_map_free(other);
}

static void used_up_stamps_do_no_harm(void **state)
{
	(void)state;
	struct crdt_map *m = util_map(true);
	struct test_item t;
	crdt_map_set_writer(m, 5, 4);
	put(m, "a", "1");
	(void)util_merge(m, util_item(&t, 5, 'a', UINT64_MAX, 7, "x"), NULL);
	assert_stamp(m, 5, 'a', UINT64_MAX, 8);
	(void)util_merge(m, util_item(&t, 5, 'a', UINT64_MAX, UINT64_MAX, "x"), NULL);
	assert_stamp(m, 5, 'a', UINT64_MAX, UINT64_MAX);
	assert_int_equal(crdt_map_put(m, slice_str("a"), slice_str("2"), NULL), ERR_LIMIT);
	assert_int_equal(crdt_map_delete(m, slice_str("a"), NULL), ERR_LIMIT);
	assert_int_equal(crdt_map_compact(m, 0, NULL), ERR_LIMIT);
	crdt_map_check(m);
	(void)util_merge(m, util_item(&t, 5, 0, UINT64_MAX, UINT64_MAX, NULL), NULL);
	assert_int_equal(crdt_map_count(m), 1);
	crdt_map_check(m);
	crdt_map_free(m);

	/* A counter at its end goes over into the next incarnation. */
	m = util_map(true);
	crdt_map_set_writer(m, 5, 4);
	(void)util_merge(m, util_item(&t, 5, 'a', 4, UINT64_MAX, "x"), NULL);
	assert_stamp(m, 5, 'a', 5, 1);
	crdt_map_check(m);
	crdt_map_free(m);
}

/* --- order and sums, against an array --- */

enum { MODEL_KEYS = 200 };

static void add_hash(struct fingerprint *f, const struct crdt_item *it)
{
	uint8_t mem[128], hash[16];
	struct wbuf w;
	struct rbuf r;
	wbuf_fixed(&w, mem, sizeof mem);
	crdt_item_encode(&w, it);
	assert_int_equal(crypto_generichash(hash, sizeof hash, w.data, w.len, NULL, 0), 0);
	rbuf_init(&r, hash, sizeof hash);
	uint64_t a = rbuf_u64(&r), b = rbuf_u64(&r);
	f->b += b;
	f->a += a + (f->b < b ? 1 : 0);
	f->count++;
}

static void ranges_are_what_their_items_are(void **state)
{
	(void)state;
	struct rng r = util_rng("ranges_are_what_their_items_are");
	struct crdt_map *m = util_map(false);
	uint64_t stamps[MODEL_KEYS] = { 0 }; /* 0: not there */
	for (int round = 0; round < 30000; round++) {
		size_t k = (size_t)rng_below(&r, MODEL_KEYS);
		uint8_t key[2] = { (uint8_t)(k / 16), (uint8_t)(k % 16) };
		struct crdt_item it = { .key = slice_of(key, 2), .stamp = { 0, stamps[k] + 1 }, .live = round % 3 != 0 };
		assert_int_equal(crdt_map_write(m, &it, NULL), ERR_OK);
		stamps[k]++;
		if (round % 10 != 0)
			continue;
		size_t lo = (size_t)rng_below(&r, MODEL_KEYS + 1), hi = (size_t)rng_below(&r, MODEL_KEYS + 1), from = lo;
		uint8_t lo_key[2] = { (uint8_t)(lo / 16), (uint8_t)(lo % 16) }, hi_key[2] = { (uint8_t)(hi / 16), (uint8_t)(hi % 16) };
		bool open = hi == MODEL_KEYS;
		struct fingerprint want = { 0 };
		struct crdt_item at;
		for (; lo < hi; lo++) {
			if (stamps[lo] == 0)
				continue;
			uint8_t q[2] = { (uint8_t)(lo / 16), (uint8_t)(lo % 16) };
			assert_true(crdt_map_get(m, slice_of(q, 2), &at));
			assert_int_equal(at.stamp.ctr, stamps[lo]);
			struct crdt_item nth;
			assert_true(crdt_map_nth(m, slice_of(lo_key, 2), want.count, &nth));
			assert_true(util_same_item(&at, &nth));
			add_hash(&want, &at);
		}
		struct fingerprint got = crdt_map_fingerprint(m, slice_of(lo_key, 2), open ? util_none() : slice_of(hi_key, 2));
		assert_true(fingerprint_eq(got, want));
		/* Neighbours. */
		while (from < MODEL_KEYS && stamps[from] == 0)
			from++;
		bool there = crdt_map_seek(m, slice_of(lo_key, 2), &at);
		assert_int_equal(there, from < MODEL_KEYS);
		if (there) {
			assert_int_equal(at.key.p[0] * 16 + at.key.p[1], from);
			struct crdt_item same;
			assert_true(crdt_map_floor_item(m, at.key, &same));
			assert_true(util_same_item(&at, &same));
		}
	}
	crdt_map_check(m);
	struct crdt_item it;
	assert_false(crdt_map_nth(m, util_none(), crdt_map_count(m), &it));
	assert_false(crdt_map_floor_item(m, util_none(), &it));
	crdt_map_free(m);
}

static void a_hundred_thousand_items(void **state)
{
	enum { OWNERS = 4, EACH = 25000 };
	(void)state;
	struct crdt_map *m = util_map(true);
	uint8_t key[8];
	for (uint64_t owner = 1; owner <= OWNERS; owner++) {
		crdt_map_set_writer(m, owner, 1);
		for (uint32_t i = 0; i < EACH; i++) {
			struct wbuf w;
			wbuf_fixed(&w, key, sizeof key);
			wbuf_u32(&w, i * 2654435761u);
			assert_int_equal(crdt_map_put(m, wbuf_slice(&w), slice_str("value"), NULL), ERR_OK);
		}
	}
	crdt_map_check(m);
	assert_int_equal(crdt_map_count(m), OWNERS * EACH);
	for (uint64_t owner = 1; owner <= OWNERS; owner++) {
		crdt_map_set_writer(m, owner, 1);
		for (uint32_t i = 0; i < EACH; i += 2) {
			struct wbuf w;
			wbuf_fixed(&w, key, sizeof key);
			wbuf_u32(&w, i * 2654435761u);
			assert_int_equal(crdt_map_delete(m, wbuf_slice(&w), NULL), ERR_OK);
		}
		assert_int_equal(crdt_map_compact(m, 0, NULL), ERR_OK);
	}
	assert_int_equal(crdt_map_count(m), OWNERS * (EACH / 2 + 1));
	assert_int_equal(crdt_map_live(m), OWNERS * EACH / 2);
	crdt_map_check(m);
	crdt_map_free(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(writes_and_reads),
		cmocka_unit_test(limits),
		cmocka_unit_test(ill_formed_is_refused),
		cmocka_unit_test(merge_says_what_it_did),
		cmocka_unit_test(owner_at_the_end_of_names),
		cmocka_unit_test(compact_forgets_tombstones),
		cmocka_unit_test(restart_ends_former_incarnations),
		cmocka_unit_test(writer_begins_above_what_is_there),
		cmocka_unit_test(unknown_own_items_are_superseded),
		cmocka_unit_test(guarded_items_are_passed_over),
		cmocka_unit_test(forgotten_writer_comes_back),
		cmocka_unit_test(used_up_stamps_do_no_harm),
		cmocka_unit_test(ranges_are_what_their_items_are),
		cmocka_unit_test(a_hundred_thousand_items),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
