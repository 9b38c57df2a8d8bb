#include "base/map.h"

#include <string.h>

#include "base/mem.h"
#include "base/rng.h"
#include "cmocka_all.h"
#include "seed.h"

static void put(struct map *m, const char *key, void *value)
{
	assert_int_equal(map_put(m, slice_str(key), value, NULL), ERR_OK);
}

static int leaks;
static int before(void **state)
{
	(void)state;
	mem_fail_at(0, false);
	leaks = (int)mem_live();
	return 0;
}

static int after(void **state)
{
	(void)state;
	mem_fail_at(0, false);
	return mem_live() == leaks ? 0 : -1;
}

static void put_get_del(void **state)
{
	(void)state;
	int one, two;
	void *old = &one;
	struct map *m = map_new(1);
	assert_int_equal(map_count(m), 0);
	assert_null(map_get(m, slice_str("a")));
	assert_null(map_del(m, slice_str("a")));
	assert_int_equal(map_put(m, slice_str("a"), &one, &old), ERR_OK);
	assert_null(old);
	assert_int_equal(map_put(m, slice_str("a"), &two, &old), ERR_OK);
	assert_ptr_equal(old, &one);
	assert_int_equal(map_count(m), 1);
	assert_ptr_equal(map_get(m, slice_str("a")), &two);
	assert_null(map_get(m, slice_str("ab")));
	assert_null(map_get(m, slice_str("")));
	assert_ptr_equal(map_del(m, slice_str("a")), &two);
	assert_null(map_del(m, slice_str("a")));
	assert_int_equal(map_count(m), 0);
	map_free(m);
	map_free(NULL);
}

/* Lengths on both sides of where a key is kept elsewhere; zeros inside; the caller's bytes may change afterwards. */
static void keys_are_copied(void **state)
{
	(void)state;
	static int value[200];
	uint8_t key[200] = { 0 };
	struct map *m = map_new(2);
	for (size_t n = 0; n < 200; n++)
		assert_int_equal(map_put(m, slice_of(key, n), &value[n], NULL), ERR_OK);
	memset(key, 9, sizeof key);
	assert_null(map_get(m, slice_of(key, 5)));
	memset(key, 0, sizeof key);
	for (size_t n = 0; n < 200; n++)
		assert_ptr_equal(map_get(m, slice_of(key, n)), &value[n]);
	assert_ptr_equal(map_get(m, slice_of(NULL, 0)), &value[0]);
	assert_ptr_equal(map_del(m, slice_of(NULL, 0)), &value[0]);
	assert_null(map_get(m, slice_of(key, 0)));
	map_free(m);
}

enum { KEYS = 300, STEPS = 300000 };

/* The key of number k: some inline, some not. */
static struct slice key_of(size_t k, uint8_t buf[40])
{
	memset(buf, 0xaa, 40);
	buf[0] = (uint8_t)k;
	buf[1] = (uint8_t)(k >> 8);
	return slice_of(buf, 2 + k % 38);
}

static void check_iteration(const struct map *m, void *const model[KEYS])
{
	size_t it = 0, seen = 0;
	bool had[KEYS] = { false };
	struct slice key;
	void *value;
	while (map_next(m, &it, &key, &value)) {
		size_t k = key.p[0] | (size_t)key.p[1] << 8;
		assert_true(k < KEYS && !had[k]);
		assert_int_equal(key.n, 2 + k % 38);
		assert_ptr_equal(value, model[k]);
		had[k] = true;
		seen++;
	}
	assert_int_equal(seen, map_count(m));
}

static void as_the_model(void **state)
{
	(void)state;
	static char values[1000];
	struct rng g;
	uint64_t seed = test_seed("as_the_model");
	rng_seed(&g, seed);
	struct map *m = map_new(seed);
	void *model[KEYS] = { 0 };
	size_t count = 0;
	uint8_t buf[40];
	for (int step = 0; step < STEPS; step++) {
		/* Waves of filling and emptying. */
		bool fill = step / 2000 % 2;
		size_t k = (size_t)rng_below(&g, KEYS);
		void *old;
		if (rng_below(&g, 3) < (fill ? 2 : 1)) {
			void *v = &values[rng_below(&g, sizeof values)];
			assert_int_equal(map_put(m, key_of(k, buf), v, &old), ERR_OK);
			assert_ptr_equal(old, model[k]);
			count += !model[k];
			model[k] = v;
		} else {
			assert_ptr_equal(map_del(m, key_of(k, buf)), model[k]);
			count -= model[k] != NULL;
			model[k] = NULL;
		}
		assert_int_equal(map_count(m), count);
		k = (size_t)rng_below(&g, KEYS);
		assert_ptr_equal(map_get(m, key_of(k, buf)), model[k]);
		if (step % 1000 == 0) {
			for (k = 0; k < KEYS; k++)
				assert_ptr_equal(map_get(m, key_of(k, buf)), model[k]);
			check_iteration(m, model);
		}
	}
	map_free(m);
}

static void deleting_while_iterating(void **state)
{
	(void)state;
	static char values[1000];
	struct map *m = map_new(3);
	uint8_t buf[40];
	for (size_t k = 0; k < 1000; k++)
		assert_int_equal(map_put(m, key_of(k, buf), &values[k], NULL), ERR_OK);
	for (int round = 0; round < 2; round++) {
		size_t it = 0, seen = 0, before_count = map_count(m);
		struct slice key;
		void *v;
		while (map_next(m, &it, &key, &v)) {
			seen++;
			/* By the very slice that was given; first a part, then all. */
			if (round == 1 || (uintptr_t)v % 3)
				assert_ptr_equal(map_del(m, key), v);
		}
		assert_int_equal(seen, before_count);
	}
	assert_int_equal(map_count(m), 0);
	size_t it = 0;
	assert_false(map_next(m, &it, NULL, NULL));
	map_free(m);
}

static void same_history_same_order(void **state)
{
	(void)state;
	static char values[1000];
	struct rng g;
	uint64_t seed = test_seed("same_history_same_order");
	struct map *m[2];
	uint8_t buf[40];
	for (size_t i = 0; i < 2; i++) {
		rng_seed(&g, seed);
		m[i] = map_new(7);
		for (int step = 0; step < 20000; step++) {
			size_t k = (size_t)rng_below(&g, 1000);
			if (rng_chance(&g, 500000))
				(void)map_del(m[i], key_of(k, buf));
			else
				assert_int_equal(map_put(m[i], key_of(k, buf), &values[k], NULL), ERR_OK);
		}
	}
	size_t it[2] = { 0, 0 };
	struct slice key[2];
	void *v[2];
	while (map_next(m[0], &it[0], &key[0], &v[0])) {
		assert_true(map_next(m[1], &it[1], &key[1], &v[1]));
		assert_true(slice_eq(key[0], key[1]));
		assert_ptr_equal(v[0], v[1]);
	}
	assert_false(map_next(m[1], &it[1], &key[1], &v[1]));
	map_free(m[0]);
	map_free(m[1]);
}

/* A map whose entries come and go for ever needs no more memory than at the start, and its look-ups still end. */
static void churn_does_not_grow(void **state)
{
	(void)state;
	int value;
	enum { LIVE = 500 };
	struct map *m = map_new(4);
	uint64_t k = 0;
	for (; k < 4 * LIVE; k++) {
		assert_int_equal(map_put64(m, k, &value, NULL), ERR_OK);
		if (k >= LIVE)
			assert_ptr_equal(map_del64(m, k - LIVE), &value);
	}
	mem_fail_at(1, true);
	for (; k < 400000; k++) {
		assert_int_equal(map_put64(m, k, &value, NULL), ERR_OK);
		assert_ptr_equal(map_del64(m, k - LIVE), &value);
		assert_null(map_get64(m, k - LIVE));
		assert_ptr_equal(map_get64(m, k - LIVE / 2), &value);
	}
	mem_fail_at(0, false);
	assert_int_equal(map_count(m), LIVE);
	map_free(m);
}

static void out_of_memory_changes_nothing(void **state)
{
	(void)state;
	static char values[KEYS], other;
	mem_fail_at(1, false);
	assert_null(map_new(1));
	struct map *m = map_new(5);
	void *model[KEYS] = { 0 };
	uint8_t buf[40];
	unsigned refused = 0;
	for (size_t k = 0; k < KEYS; k++) {
		void *old = &other;
		/* The n-th allocation alone, then the n-th and all after it. */
		for (size_t try = 2;; try++) {
			mem_fail_at(try / 2, try % 2);
			long live = mem_live();
			enum err e = map_put(m, key_of(k, buf), &values[k], &old);
			mem_fail_at(0, false);
			assert_null(old);
			if (e == ERR_OK)
				break;
			refused++;
			assert_int_equal(e, ERR_NOMEM);
			assert_int_equal(mem_live(), live);
			assert_null(map_get(m, key_of(k, buf)));
			assert_int_equal(map_count(m), k);
			check_iteration(m, model);
		}
		model[k] = &values[k];
		/* What is there already can be replaced without memory. */
		mem_fail_at(1, true);
		assert_int_equal(map_put(m, key_of(k, buf), &values[k], &old), ERR_OK);
		mem_fail_at(0, false);
		assert_ptr_equal(old, &values[k]);
		check_iteration(m, model);
	}
	assert_true(refused > KEYS / 2);
	map_free(m);
}

static void keys_of_64_bits(void **state)
{
	(void)state;
	static const uint64_t keys[] = { 0, 1, 255, 256, UINT64_C(0x010203040506), UINT64_MAX - 1, UINT64_MAX };
	static int values[7];
	struct map *m = map_new(6);
	for (size_t i = 0; i < 7; i++)
		assert_int_equal(map_put64(m, keys[i], &values[i], NULL), ERR_OK);
	size_t it = 0, seen = 0;
	struct slice key;
	void *v;
	while (map_next(m, &it, &key, &v)) {
		assert_int_equal(map_key64(key), keys[(int *)v - values]);
		seen++;
	}
	assert_int_equal(seen, 7);
	for (size_t i = 0; i < 7; i++) {
		assert_ptr_equal(map_get64(m, keys[i]), &values[i]);
		assert_ptr_equal(map_del64(m, keys[i]), &values[i]);
		assert_null(map_get64(m, keys[i]));
	}
	put(m, "\1\2\3\4\5\6\7\10", &values[0]);
	assert_ptr_equal(map_get64(m, UINT64_C(0x0102030405060708)), &values[0]);
	map_free(m);
}

#define T(f) cmocka_unit_test_setup_teardown(f, before, after)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(put_get_del),
		T(keys_are_copied),
		T(as_the_model),
		T(deleting_while_iterating),
		T(same_history_same_order),
		T(churn_does_not_grow),
		T(out_of_memory_changes_nothing),
		T(keys_of_64_bits),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
