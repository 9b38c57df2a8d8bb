#include "base/bucket.h"

#include "cmocka_all.h"

static unsigned drain(struct bucket *b, uint64_t now_ms)
{
	unsigned n = 0;
	while (n < 1000000 && bucket_take(b, now_ms))
		n++;
	return n;
}

static void burst_then_refused(void **state)
{
	(void)state;
	struct bucket b;
	bucket_init(&b, 5, 2, 1000);
	assert_int_equal(drain(&b, 1000), 5);
	assert_int_equal(b.refused, 1);
	assert_false(bucket_take(&b, 1499));
	assert_int_equal(b.refused, 2);
	assert_true(bucket_take(&b, 1500));
	assert_false(bucket_take(&b, 1500));
	assert_int_equal(b.refused, 3);
	assert_int_equal(drain(&b, 2600), 2);
	assert_int_equal(drain(&b, 1000000), 5);
}

/* Asked at every millisecond or once, the same number gets through: nothing is lost in rounding. */
static void no_fraction_is_lost(void **state)
{
	(void)state;
	struct bucket b;
	bucket_init(&b, 10, 7, 0);
	assert_int_equal(drain(&b, 0), 10);
	unsigned n = 0;
	for (uint64_t t = 1; t <= 100000; t++)
		n += bucket_take(&b, t);
	assert_int_equal(n, 700);
}

static void rate_without_refill_or_burst(void **state)
{
	(void)state;
	struct bucket b;
	bucket_init(&b, 3, 0, 0);
	assert_int_equal(drain(&b, UINT64_MAX), 3);
	bucket_init(&b, 0, 1000, 0);
	assert_int_equal(drain(&b, 100000), 0);
}

static void extremes(void **state)
{
	(void)state;
	struct bucket b;
	bucket_init(&b, UINT64_MAX, UINT64_MAX, 0);
	assert_int_equal(drain(&b, 0), 1000000);
	assert_int_equal(drain(&b, UINT64_MAX), 1000000);
	bucket_init(&b, 4, UINT64_MAX, 0);
	assert_int_equal(drain(&b, 0), 4);
	assert_int_equal(drain(&b, 1), 4);
	assert_int_equal(drain(&b, UINT64_MAX), 4);
	bucket_init(&b, 4, 1, 0);
	assert_int_equal(drain(&b, 0), 4);
	assert_int_equal(drain(&b, UINT64_MAX), 4);
}

static void time_standing_or_going_back_gives_nothing(void **state)
{
	(void)state;
	struct bucket b;
	bucket_init(&b, 2, 1000, 500);
	assert_int_equal(drain(&b, 500), 2);
	assert_false(bucket_take(&b, 500));
	assert_false(bucket_take(&b, 100));
	assert_false(bucket_take(&b, 500));
	assert_true(bucket_take(&b, 501));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(burst_then_refused),
		cmocka_unit_test(no_fraction_is_lost),
		cmocka_unit_test(rate_without_refill_or_burst),
		cmocka_unit_test(extremes),
		cmocka_unit_test(time_standing_or_going_back_gives_nothing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
