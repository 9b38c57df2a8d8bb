#include "ipam/ranges.h"

#include <string.h>

#include "../base/cmocka_all.h"
#include "../base/seed.h"
#include "base/mem.h"
#include "base/rng.h"

#define SIZE 40

/* What the set says, against a plain array of flags; and its own form. */
static void same(const struct ranges *s, const bool flags[SIZE])
{
	uint64_t size = 0, last = 0;
	for (size_t k = 0; k < s->n; k++) {
		assert_true(s->v[k].start < s->v[k].end);
		assert_true(k == 0 || s->v[k].start > last);
		last = s->v[k].end;
	}
	for (uint64_t a = 0; a < SIZE; a++) {
		assert_int_equal(ranges_has(s, a), flags[a]);
		size += flags[a];
	}
	assert_int_equal(ranges_size(s), size);
}

static struct range4 some_range(struct rng *r)
{
	uint64_t a = rng_below(r, SIZE + 1), b = rng_below(r, SIZE + 1);
	return a < b ? (struct range4){ a, b } : (struct range4){ b, a };
}

static void against_flags(void **state)
{
	(void)state;
	struct rng r;
	rng_seed(&r, test_seed("against_flags"));
	for (int round = 0; round < 3000; round++) {
		struct ranges a = { 0 }, b = { 0 }, c = { 0 };
		bool fa[SIZE] = { 0 }, fb[SIZE] = { 0 }, fc[SIZE];
		for (int k = 0; k < 12; k++) {
			struct range4 x = some_range(&r);
			bool add = rng_chance(&r, 600000), second = rng_chance(&r, 400000);
			struct ranges *s = second ? &b : &a;
			assert_int_equal(add ? ranges_add(s, x) : ranges_sub(s, x), ERR_OK);
			for (uint64_t at = x.start; at < x.end; at++)
				(second ? fb : fa)[at] = add;
			same(s, second ? fb : fa);
			bool covered = x.start < x.end;
			for (uint64_t at = x.start; at < x.end; at++)
				covered &= (second ? fb : fa)[at];
			if (x.start < x.end)
				assert_int_equal(ranges_covers(s, x), covered);
		}
		assert_int_equal(ranges_minus(&c, &a, &b), ERR_OK);
		for (int at = 0; at < SIZE; at++)
			fc[at] = fa[at] && !fb[at];
		same(&c, fc);
		bool equal = memcmp(fa, fb, sizeof fa) == 0;
		assert_int_equal(ranges_eq(&a, &b), equal);
		ranges_swap(&a, &c);
		same(&a, fc);
		same(&c, fa);
		ranges_clear(&a);
		assert_int_equal(ranges_size(&a), 0);
		ranges_free(&a);
		ranges_free(&b);
		ranges_free(&c);
	}
}

static void no_memory_changes_nothing(void **state)
{
	(void)state;
	struct ranges s = { 0 };
	long before = mem_live();
	mem_fail_at(1, true);
	assert_int_equal(ranges_add(&s, (struct range4){ 1, 2 }), ERR_NOMEM);
	mem_fail_at(0, false);
	assert_int_equal(s.n, 0);
	assert_int_equal(ranges_add(&s, (struct range4){ 1, 9 }), ERR_OK);
	ranges_free(&s);
	assert_int_equal(mem_live(), before);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(against_flags), cmocka_unit_test(no_memory_changes_nothing) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
