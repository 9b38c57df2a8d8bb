/* The laws of merging, over generated states. Values are few, so that equal stamps, equal items and floors over items are common. */
#include "util.h"

#include "crdt/delta.h"

enum { CASES = 100000, ITEMS = 6 };

static struct crdt_map *random_state(struct rng *r)
{
	struct crdt_map *m = util_map(true);
	struct test_item t;
	for (uint64_t n = rng_below(r, ITEMS + 1); n > 0; n--)
		(void)util_merge(m, util_random_item(&t, r), NULL);
	return m;
}

static struct crdt_map *merged(const struct crdt_map *a, const struct crdt_map *b)
{
	struct crdt_map *m = util_copy(a, true);
	util_merge_map(m, b);
	return m;
}

static void commutative(void **state)
{
	(void)state;
	struct rng r = util_rng("commutative");
	for (uint64_t i = util_env("WEFT_CASES", CASES); i > 0; i--) {
		struct crdt_map *a = random_state(&r), *b = random_state(&r);
		struct crdt_map *ab = merged(a, b), *ba = merged(b, a);
		assert_true(util_equal(ab, ba));
		crdt_map_free(a);
		crdt_map_free(b);
		crdt_map_free(ab);
		crdt_map_free(ba);
	}
}

static void associative(void **state)
{
	(void)state;
	struct rng r = util_rng("associative");
	for (uint64_t i = util_env("WEFT_CASES", CASES); i > 0; i--) {
		struct crdt_map *a = random_state(&r), *b = random_state(&r), *c = random_state(&r);
		struct crdt_map *ab = merged(a, b), *bc = merged(b, c);
		struct crdt_map *ab_c = merged(ab, c), *a_bc = merged(a, bc);
		assert_true(util_equal(ab_c, a_bc));
		crdt_map_check(ab_c);
		struct crdt_map *all[] = { a, b, c, ab, bc, ab_c, a_bc };
		for (size_t k = 0; k < sizeof all / sizeof *all; k++)
			crdt_map_free(all[k]);
	}
}

static void idempotent(void **state)
{
	(void)state;
	struct rng r = util_rng("idempotent");
	for (uint64_t i = util_env("WEFT_CASES", CASES); i > 0; i--) {
		struct crdt_map *a = random_state(&r), *b = random_state(&r), *aa = merged(a, a), *ab = merged(a, b);
		struct crdt_map *ab_b = merged(ab, b), *ab_a = merged(ab, a);
		assert_true(util_equal(a, aa));
		assert_true(util_equal(ab, ab_b) && util_equal(ab, ab_a));
		/* And says so: nothing in it is news a second time. */
		struct crdt_item it;
		for (bool there = crdt_map_seek(b, util_none(), &it); there; there = crdt_map_next(b, it.key, &it))
			assert_int_not_equal(util_merge(ab, &it, NULL), CRDT_NEWS);
		struct crdt_map *all[] = { a, b, aa, ab, ab_b, ab_a };
		for (size_t k = 0; k < sizeof all / sizeof *all; k++)
			crdt_map_free(all[k]);
	}
}

/* What the state must be, by definition: the highest item of each key, less what is at or below the highest floor of its owner. */
static void expect_definition(const struct crdt_map *m, const struct test_item *v, size_t n)
{
	size_t want = 0;
	for (size_t i = 0; i < n; i++) {
		bool stays = true;
		for (size_t j = 0; j < n && stays; j++) {
			const struct crdt_item *a = &v[i].it, *b = &v[j].it;
			int c = crdt_item_cmp(b, a);
			if (slice_eq(a->key, b->key))
				stays = c < 0 || (c == 0 && j <= i); /* the first of equals counts */
			else if (crdt_is_floor(b) && crdt_owner(a->key) == crdt_owner(b->key))
				stays = stamp_cmp(a->stamp, b->stamp) > 0;
		}
		if (!stays)
			continue;
		struct crdt_item got;
		assert_true(crdt_map_get(m, v[i].it.key, &got));
		assert_true(util_same_item(&got, &v[i].it));
		want++;
	}
	assert_int_equal(crdt_map_count(m), want);
}

static void any_order_gives_the_definition(void **state)
{
	(void)state;
	struct rng r = util_rng("any_order_gives_the_definition");
	for (uint64_t i = util_env("WEFT_CASES", CASES); i > 0; i--) {
		struct test_item v[12];
		size_t n = (size_t)rng_between(&r, 1, 12), order[24];
		for (size_t k = 0; k < n; k++)
			(void)util_random_item(&v[k], &r);
		for (size_t k = 0; k < 2 * n; k++)
			order[k] = k % n;
		rng_shuffle(&r, order, 2 * n, sizeof *order);
		struct crdt_map *m = util_map(true);
		for (size_t k = 0; k < 2 * n; k++)
			(void)util_merge(m, &v[order[k]].it, NULL);
		/* Slices must point at this array's own memory. */
		for (size_t k = 0; k < n; k++) {
			v[k].it.key.p = v[k].key;
			if (v[k].it.live)
				v[k].it.value.p = v[k].value;
		}
		expect_definition(m, v, n);
		crdt_map_free(m);
	}
}

/* --- deltas --- */

static void merge_delta(struct crdt_map *m, struct slice bytes, size_t want_items)
{
	struct rbuf in;
	size_t items = 0, news = 0;
	rbuf_init(&in, bytes.p, bytes.n);
	assert_int_equal(crdt_delta_merge(m, &in, NULL, &items, &news), ERR_OK);
	assert_int_equal(items, want_items);
	assert_true(news <= items);
}

static size_t all_keys(const struct crdt_map *m, struct slice *keys, size_t max)
{
	struct crdt_item it;
	size_t n = 0;
	for (bool there = crdt_map_seek(m, util_none(), &it); there; there = crdt_map_next(m, it.key, &it)) {
		assert_true(n < max);
		keys[n++] = it.key;
	}
	return n;
}

/* A state that changes item by item, each change sent as a delta, equals the state sent as a whole. */
static void deltas_are_as_good_as_states(void **state)
{
	(void)state;
	struct rng r = util_rng("deltas_are_as_good_as_states");
	struct arena *arena = arena_new();
	assert_non_null(arena);
	for (uint64_t i = util_env("WEFT_CASES", CASES); i > 0; i--) {
		struct crdt_map *a = random_state(&r), *by_delta = random_state(&r), *by_state = util_copy(by_delta, true);
		struct crdt_changes ch;
		struct slice keys[64];
		struct test_item t;
		uint8_t mem[1024];
		struct wbuf w;
		size_t taken;
		arena_reset(arena);
		crdt_changes_init(&ch, arena);
		wbuf_fixed(&w, mem, sizeof mem);
		size_t n = all_keys(a, keys, 64);
		assert_int_equal(crdt_delta_encode(a, keys, n, sizeof mem, &w, &taken), ERR_OK);
		merge_delta(by_delta, wbuf_slice(&w), n);
		for (uint64_t k = rng_below(&r, 4); k > 0; k--) {
			ch.n = 0;
			(void)util_merge(a, util_random_item(&t, &r), &ch);
			wbuf_reset(&w);
			assert_int_equal(crdt_delta_encode(a, ch.keys, ch.n, sizeof mem, &w, &taken), ERR_OK);
			merge_delta(by_delta, wbuf_slice(&w), ch.n);
		}
		util_merge_map(by_state, a);
		assert_true(util_equal(by_delta, by_state));
		crdt_map_free(a);
		crdt_map_free(by_delta);
		crdt_map_free(by_state);
	}
	arena_free(arena);
}

/* --- the writer --- */

enum { WRITER = 2 };

struct own_view {
	struct {
		struct crdt_item it;
		bool there;
		uint8_t value;
	} v[3];
};

static struct own_view own_view(const struct crdt_map *m)
{
	struct own_view o = { 0 };
	for (size_t i = 0; i < 3; i++) {
		struct test_item t;
		o.v[i].there = crdt_map_get(m, util_item(&t, WRITER, (char)('a' + i), 0, 0, NULL)->key, &o.v[i].it);
		o.v[i].value = o.v[i].there && o.v[i].it.live ? o.v[i].it.value.p[0] : 0;
	}
	return o;
}

static bool told(const struct crdt_changes *ch, struct slice key)
{
	for (size_t i = 0; i < ch->n; i++)
		if (slice_eq(ch->keys[i], key))
			return true;
	return false;
}

static void random_write(struct crdt_map *m, struct rng *r)
{
	static const char *keys[] = { "a", "b", "c" }, *values[] = { "x", "y" };
	struct slice key = slice_str(keys[rng_below(r, 3)]);
	enum err e = ERR_OK;
	switch (rng_below(r, 4)) {
	case 0: e = crdt_map_delete(m, key, NULL); break;
	case 1: e = crdt_map_compact(m, (size_t)rng_below(r, 2), NULL); break;
	default: e = crdt_map_put(m, key, slice_str(values[rng_below(r, 2)]), NULL); break;
	}
	assert_int_equal(e, ERR_OK);
}

/* Whatever comes under the writer's prefix: what the writer has does not change, every key it touches is told, it wins everywhere
 * after one exchange, and a second exchange is silent. */
static void the_writer_has_the_last_word(void **state)
{
	(void)state;
	struct rng r = util_rng("the_writer_has_the_last_word");
	struct arena *arena = arena_new();
	assert_non_null(arena);
	for (uint64_t i = util_env("WEFT_CASES", CASES); i > 0; i--) {
		struct crdt_map *m = util_map(true), *other = random_state(&r);
		struct crdt_changes ch;
		struct crdt_item it;
		arena_reset(arena);
		crdt_changes_init(&ch, arena);
		crdt_map_set_writer(m, WRITER, rng_between(&r, 1, 2));
		for (uint64_t k = rng_below(&r, 6); k > 0; k--)
			random_write(m, &r);
		if (rng_below(&r, 4) == 0)
			util_merge_map(other, m);
		if (rng_below(&r, 4) == 0)
			assert_int_equal(crdt_map_forget(other, WRITER, 0, NULL), ERR_OK);
		for (bool there = crdt_map_seek(other, util_none(), &it); there; there = crdt_map_next(other, it.key, &it)) {
			struct own_view before = own_view(m);
			struct stamp stamps[3];
			for (size_t k = 0; k < 3; k++)
				stamps[k] = before.v[k].it.stamp;
			ch.n = 0;
			enum crdt_merge what = util_merge(m, &it, &ch);
			assert_int_equal(what == CRDT_NEWS, ch.n > 0);
			struct own_view after = own_view(m);
			for (size_t k = 0; k < 3; k++) {
				assert_int_equal(before.v[k].value, after.v[k].value);
				if (after.v[k].there && (!before.v[k].there || stamp_cmp(stamps[k], after.v[k].it.stamp) != 0))
					assert_true(told(&ch, after.v[k].it.key));
				if (crdt_owner(it.key) == WRITER && after.v[k].there && slice_eq(it.key, after.v[k].it.key))
					assert_true(crdt_item_cmp(&after.v[k].it, &it) >= 0);
			}
		}
		crdt_map_check(m);
		util_merge_map(other, m);
		struct own_view ours = own_view(m), theirs = own_view(other);
		for (size_t k = 0; k < 3; k++)
			assert_int_equal(ours.v[k].value, theirs.v[k].value);
		for (bool there = crdt_map_seek(other, util_none(), &it); there; there = crdt_map_next(other, it.key, &it))
			assert_int_equal(util_merge(m, &it, NULL), CRDT_SAME);
		assert_true(util_equal(m, other));
		crdt_map_free(m);
		crdt_map_free(other);
	}
	arena_free(arena);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(commutative),
		cmocka_unit_test(associative),
		cmocka_unit_test(idempotent),
		cmocka_unit_test(any_order_gives_the_definition),
		cmocka_unit_test(deltas_are_as_good_as_states),
		cmocka_unit_test(the_writer_has_the_last_word),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
