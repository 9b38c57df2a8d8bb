#include "base/rng.h"

#include <string.h>

#include "cmocka_all.h"

/* Statistics are taken with fixed seeds: the same figures at every run, so a failure is a fault and never bad luck. */

static void known_sequences(void **state)
{
	(void)state;
	/* The published reference generators: xoshiro256** from the state 1, 2, 3, 4; splitmix64 from 0. */
	struct rng r = { { 1, 2, 3, 4 } };
	static const uint64_t want[] = { 11520, 0, 1509978240, UINT64_C(1215971899390074240), UINT64_C(1216172134540287360),
		UINT64_C(607988272756665600), UINT64_C(16172922978634559625), UINT64_C(8476171486693032832) };
	for (size_t i = 0; i < sizeof want / sizeof want[0]; i++)
		assert_int_equal(rng_u64(&r), want[i]);
	rng_seed(&r, 0);
	assert_int_equal(r.s[0], UINT64_C(0xe220a8397b1dcdaf));
	assert_int_equal(r.s[1], UINT64_C(0x6e789e6aa1b965f4));
	assert_int_equal(r.s[2], UINT64_C(0x06c45d188009454f));
	assert_int_equal(r.s[3], UINT64_C(0xf88bb8a8724c81ec));
}

static void same_seed_same_sequence(void **state)
{
	(void)state;
	struct rng a, b, c;
	rng_seed(&a, 42);
	rng_seed(&b, 42);
	rng_seed(&c, 43);
	size_t same = 0;
	for (int i = 0; i < 1000; i++) {
		uint64_t x = rng_u64(&a);
		assert_int_equal(x, rng_u64(&b));
		same += x == rng_u64(&c);
	}
	assert_int_equal(same, 0);
}

static void below_is_even(void **state)
{
	(void)state;
	struct rng r;
	rng_seed(&r, 1);
	enum { N = 7, ROUNDS = 70000 };
	unsigned count[N] = { 0 };
	for (int i = 0; i < ROUNDS; i++) {
		uint64_t x = rng_below(&r, N);
		assert_true(x < N);
		count[x]++;
	}
	for (size_t i = 0; i < N; i++)
		assert_in_range(count[i], 9600, 10400); /* four standard deviations */
	for (int i = 0; i < 100; i++)
		assert_int_equal(rng_below(&r, 1), 0);
}

/* Three quarters of the 64-bit space: a plain remainder would give the lowest third half of the time. */
static void below_is_unbiased(void **state)
{
	(void)state;
	struct rng r;
	rng_seed(&r, 2);
	uint64_t third = UINT64_C(1) << 62;
	unsigned low = 0;
	for (int i = 0; i < 30000; i++) {
		uint64_t x = rng_below(&r, 3 * third);
		assert_true(x < 3 * third);
		low += x < third;
	}
	assert_in_range(low, 9650, 10350);
}

static void between_includes_both_ends(void **state)
{
	(void)state;
	struct rng r;
	rng_seed(&r, 3);
	unsigned seen[3] = { 0 };
	for (int i = 0; i < 1000; i++) {
		uint64_t x = rng_between(&r, 10, 12);
		assert_in_range(x, 10, 12);
		seen[x - 10]++;
	}
	assert_true(seen[0] && seen[1] && seen[2]);
	assert_int_equal(rng_between(&r, 5, 5), 5);
	assert_int_equal(rng_between(&r, UINT64_MAX, UINT64_MAX), UINT64_MAX);
	unsigned upper = 0;
	for (int i = 0; i < 1000; i++)
		upper += (unsigned)(rng_between(&r, 0, UINT64_MAX) >> 63);
	assert_in_range(upper, 430, 570);
	for (int i = 0; i < 1000; i++)
		assert_true(rng_between(&r, 1, UINT64_MAX) >= 1);
}

static void chance(void **state)
{
	(void)state;
	struct rng r;
	rng_seed(&r, 4);
	unsigned quarter = 0;
	for (int i = 0; i < 10000; i++) {
		assert_false(rng_chance(&r, 0));
		assert_true(rng_chance(&r, 1000000));
		assert_true(rng_chance(&r, UINT32_MAX));
		quarter += rng_chance(&r, 250000);
	}
	assert_in_range(quarter, 2320, 2680);
}

static void fill(void **state)
{
	(void)state;
	struct rng a, b;
	for (size_t n = 0; n <= 33; n++) {
		uint8_t got[40];
		memset(got, 0xee, sizeof got);
		rng_seed(&a, 5);
		rng_seed(&b, 5);
		rng_fill(&a, got, n);
		uint64_t x = 0;
		for (size_t i = 0; i < n; i++) {
			if (i % 8 == 0)
				x = rng_u64(&b);
			assert_int_equal(got[i], x >> (8 * (i % 8)) & 0xff);
		}
		assert_int_equal(got[n], 0xee);
		assert_int_equal(rng_u64(&a), rng_u64(&b));
	}
}

static void shuffle(void **state)
{
	(void)state;
	struct rng r;
	rng_seed(&r, 6);
	unsigned count[6] = { 0 };
	for (int i = 0; i < 60000; i++) {
		uint16_t v[3] = { 0, 1, 2 };
		rng_shuffle(&r, v, 3, sizeof v[0]);
		assert_int_equal(1u << v[0] | 1u << v[1] | 1u << v[2], 7);
		count[v[0] * 2 + (v[1] > v[2])]++;
	}
	for (size_t i = 0; i < 6; i++)
		assert_in_range(count[i], 9630, 10370);
	struct wide {
		uint8_t b[256];
	} w[5];
	for (size_t i = 0; i < 5; i++)
		memset(&w[i], (int)i + 1, sizeof w[i]);
	rng_shuffle(&r, w, 5, sizeof w[0]);
	unsigned seen = 0;
	for (size_t i = 0; i < 5; i++) {
		for (size_t k = 1; k < sizeof w[i].b; k++)
			assert_int_equal(w[i].b[k], w[i].b[0]);
		seen |= 1u << w[i].b[0];
	}
	assert_int_equal(seen, 0x3e);
	rng_shuffle(&r, NULL, 0, 8);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(known_sequences),
		cmocka_unit_test(same_seed_same_sequence),
		cmocka_unit_test(below_is_even),
		cmocka_unit_test(below_is_unbiased),
		cmocka_unit_test(between_includes_both_ends),
		cmocka_unit_test(chance),
		cmocka_unit_test(fill),
		cmocka_unit_test(shuffle),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
