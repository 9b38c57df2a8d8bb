/* What one owner may have: the latest of it, the same everywhere; floors by one writer; and who makes room when a map is full. */
#include "util.h"

#define GREEDY UINT64_C(9)
#define HONEST UINT64_C(5)

static uint8_t blank[CRDT_VALUE_MAX];

struct item {
	uint8_t key[16], proof[CRDT_PROOF_MAX];
	struct crdt_item it;
};

static struct crdt_item *item(struct item *x, uint64_t owner, uint32_t n, uint64_t ctr, size_t size)
{
	struct wbuf w;
	wbuf_fixed(&w, x->key, sizeof x->key);
	wbuf_u48(&w, owner);
	wbuf_u32(&w, n);
	x->it = (struct crdt_item){ .key = wbuf_slice(&w), .stamp = { 1, ctr }, .live = true, .value = slice_of(blank, size) };
	return &x->it;
}

static uint64_t weight(const struct crdt_map *m, uint64_t owner, uint64_t *lowest)
{
	uint64_t sum = 0;
	struct crdt_item it;
	*lowest = UINT64_MAX;
	for (bool there = crdt_map_seek(m, slice_of(NULL, 0), &it); there; there = crdt_map_next(m, it.key, &it)) {
		if (crdt_owner(it.key) != owner)
			continue;
		sum += 1 + (it.key.n + it.value.n) / CRDT_WEIGHT_BYTES;
		*lowest = it.stamp.ctr < *lowest ? it.stamp.ctr : *lowest;
	}
	return sum;
}

/* Ascending, descending, in any order, over each other: it comes to the same, once they have heard each other out. */
static void one_owner(void **state)
{
	enum { N = 1500 };
	static uint32_t order[N];
	struct rng r = util_rng("one_owner");
	struct crdt_map *m[3];
	struct item x;
	uint64_t lowest, who;

	(void)state;
	for (int k = 0; k < 3; k++) {
		m[k] = util_map(true);
		assert_int_equal(util_merge(m[k], item(&x, HONEST, 1, 1, 10), NULL), CRDT_NEWS);
		for (uint32_t i = 0; i < N; i++)
			order[i] = k == 1 ? N - 1 - i : i;
		for (uint32_t i = 0; i < N && k == 2; i++) {
			uint32_t at = (uint32_t)rng_below(&r, i + 1);
			uint32_t t = order[at];
			order[at] = order[i];
			order[i] = t;
		}
		for (uint32_t i = 0; i < N; i++) {
			uint32_t n = order[i];
			(void)util_merge(m[k], item(&x, GREEDY, n, 10 + n, 8000 - n), NULL);
			assert_true(i % 64 != 0 || weight(m[k], GREEDY, &lowest) <= CRDT_OWNER_WEIGHT_MAX);
		}
		crdt_map_check(m[k]);
	}
	for (int round = 0; round < 3; round++)
		for (int k = 0; k < 3; k++)
			util_merge_map(m[k], m[(k + 1) % 3]);
	assert_true(util_equal(m[0], m[1]) && util_equal(m[1], m[2]));
	for (int k = 0; k < 3; k++) {
		uint64_t w = weight(m[k], GREEDY, &lowest);
		print_message("weight %d, from counter %d on\n", (int)w, (int)lowest);
		assert_true(w <= CRDT_OWNER_WEIGHT_MAX && w > CRDT_OWNER_WEIGHT_MAX - 70);
		assert_true(weight(m[k], HONEST, &lowest) == 1);
		assert_true(crdt_map_over(m[k], &who) >= N / 2 && who == GREEDY);
		/* What comes anew is taken, and what it drives out is told of. */
		struct arena *arena = arena_new();
		struct crdt_changes ch;
		crdt_changes_init(&ch, arena);
		assert_int_equal(util_merge(m[k], item(&x, GREEDY, N, 10 + N, 8000), &ch), CRDT_NEWS);
		assert_true(ch.n >= 2);
		for (size_t i = 0; i + 1 < ch.n; i++) {
			struct crdt_item gone;
			assert_false(crdt_map_get(m[k], ch.keys[i], &gone));
		}
		/* What is older than all of it is not. */
		assert_int_equal(util_merge(m[k], item(&x, GREEDY, N + 1, 9, 8000), &ch), CRDT_REFUSED);
		/* An item that grows drives out others or itself, and is there afterwards. */
		assert_int_equal(util_merge(m[k], item(&x, GREEDY, N - 1, 20 + N, 8192), &ch), CRDT_NEWS);
		assert_true(weight(m[k], GREEDY, &lowest) <= CRDT_OWNER_WEIGHT_MAX);
		crdt_map_check(m[k]);
		arena_free(arena);
		crdt_map_free(m[k]);
	}
}

/* Who writes is told so before others would not take it. */
static void ourselves(void **state)
{
	struct crdt_map *m = util_map(true);
	uint64_t lowest;
	uint8_t key[4];
	enum err e = ERR_OK;

	(void)state;
	crdt_map_set_writer(m, HONEST, 1);
	for (uint32_t k = 0; e == ERR_OK && k < CRDT_OWNER_WEIGHT_MAX; k++) {
		memcpy(key, &k, sizeof k);
		e = crdt_map_put(m, slice_of(key, 4), slice_of(blank, 4000), NULL);
	}
	assert_int_equal(e, ERR_LIMIT);
	assert_true(weight(m, HONEST, &lowest) <= CRDT_OWNER_WEIGHT_MAX && weight(m, HONEST, &lowest) > CRDT_OWNER_WEIGHT_MAX - 33);
	struct crdt_map *other = util_copy(m, true);
	assert_true(util_equal(m, other));
	memset(key, 0, sizeof key);
	assert_int_equal(crdt_map_delete(m, slice_of(key, 4), NULL), ERR_OK);
	assert_int_equal(crdt_map_put(m, slice_of(key, 3), slice_of(blank, 3000), NULL), ERR_OK);
	crdt_map_free(other);
	crdt_map_free(m);
}

static enum crdt_merge set_floor(struct crdt_map *m, uint64_t owner, uint64_t writer, uint64_t inc)
{
	struct item x;
	struct wbuf w;
	struct crdt_item *it = item(&x, owner, 0, 0, 0);
	it->key.n = 6;
	it->live = false;
	it->stamp = (struct stamp){ inc, UINT64_MAX };
	memset(x.proof, 0, sizeof x.proof);
	wbuf_fixed(&w, x.proof, sizeof x.proof);
	wbuf_u48(&w, writer);
	it->proof = slice_of(x.proof, sizeof x.proof);
	return util_merge(m, it, NULL);
}

static void floors_of_others(void **state)
{
	struct crdt_map *m = util_map(true);
	uint64_t who;

	(void)state;
	for (uint64_t k = 0; k < CRDT_FLOORS_MAX; k++)
		assert_int_equal(set_floor(m, 1000 + k, GREEDY, 1), CRDT_NEWS);
	assert_int_equal(crdt_map_over(m, &who), 0);
	assert_int_equal(set_floor(m, 1, GREEDY, 1), CRDT_REFUSED);
	assert_true(crdt_map_over(m, &who) == 1 && who == GREEDY);
	assert_int_equal(set_floor(m, 1, HONEST, 1), CRDT_NEWS);
	assert_int_equal(set_floor(m, 1000, HONEST, 2), CRDT_NEWS); /* in its place */
	assert_int_equal(set_floor(m, 2, GREEDY, 1), CRDT_NEWS);
	assert_int_equal(set_floor(m, 3, GREEDY, 1), CRDT_REFUSED);
	crdt_map_check(m);
	crdt_map_free(m);
}

/* Many made-up owners have filled the map: one who has little comes in all the same. 300 MB and some seconds. */
static void full(void **state)
{
	enum { OWNERS = 64 };
	struct item x;
	uint64_t lowest, who;

	(void)state;
	if (getenv("WEFT_LONG") == NULL)
		skip();
	struct crdt_map *m = util_map(true);
	for (uint32_t k = 0; k < CRDT_ITEMS_MAX; k++)
		assert_int_equal(util_merge(m, item(&x, 100 + k % OWNERS, k, k, 1), NULL), CRDT_NEWS);
	assert_int_equal(crdt_map_count(m), CRDT_ITEMS_MAX);
	for (uint32_t k = 0; k < 3000; k++)
		assert_int_equal(util_merge(m, item(&x, HONEST, k, k, 100), NULL), CRDT_NEWS);
	assert_int_equal(weight(m, HONEST, &lowest), 3000);
	assert_true(crdt_map_over(m, &who) > 3000 && crdt_map_over(m, &who) < 6000 && who >= 100);
	crdt_map_check(m);
	crdt_map_free(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_owner),
		cmocka_unit_test(ourselves),
		cmocka_unit_test(floors_of_others),
		cmocka_unit_test(full),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
