#include "base/mem.h"

#include <pthread.h>
#include <stdint.h>
#include <string.h>

#include "cmocka_all.h"

/* Every test starts with the allocator whole and ends without a block of its own. */
static int before(void **state)
{
	(void)state;
	mem_fail_at(0, false);
	return mem_live() == 0 ? 0 : -1;
}

static int after(void **state)
{
	(void)state;
	mem_fail_at(0, false);
	return mem_live() == 0 ? 0 : -1;
}

static void blocks_are_counted(void **state)
{
	(void)state;
	void *a = mem_alloc(0), *b = mem_zalloc(3, 5), *c = mem_dup("abc", 3), *d = mem_strdup("word"), *e = mem_realloc(NULL, 7);
	assert_true(a && b && c && d && e);
	assert_int_equal(mem_live(), 5);
	e = mem_realloc(e, 7000);
	assert_int_equal(mem_live(), 5);
	static const uint8_t zeros[15];
	assert_memory_equal(b, zeros, sizeof zeros);
	assert_memory_equal(c, "abc", 3);
	assert_string_equal(d, "word");
	mem_free(NULL);
	assert_int_equal(mem_live(), 5);
	mem_free(a);
	mem_free(b);
	mem_free(c);
	mem_free(d);
	assert_int_equal(mem_live(), 1);
	mem_free(e);
}

static void realloc_keeps_bytes(void **state)
{
	(void)state;
	char *p = mem_strdup("seven");
	p = mem_realloc(p, 100);
	assert_string_equal(p, "seven");
	mem_fail_at(1, false);
	assert_null(mem_realloc(p, 200));
	assert_string_equal(p, "seven");
	assert_int_equal(mem_live(), 1);
	p = mem_realloc(p, 0);
	assert_non_null(p);
	assert_int_equal(mem_live(), 1);
	mem_free(p);
	p = mem_dup(NULL, 0);
	assert_non_null(p);
	mem_free(p);
}

static void product_overflow(void **state)
{
	(void)state;
	/* Volatile: the compiler would warn of what the test is about. */
	volatile size_t half = SIZE_MAX / 2 + 1, two = 2;
	assert_null(mem_zalloc(half, two));
	assert_null(mem_zalloc(half + 1, two));
	void *p = mem_zalloc(0, two);
	assert_non_null(p);
	mem_free(p);
}

static void fails_once(void **state)
{
	(void)state;
	mem_fail_at(3, false);
	void *a = mem_alloc(1), *b = mem_zalloc(1, 1), *c = mem_strdup("x"), *d = mem_alloc(1);
	assert_non_null(a);
	assert_non_null(b);
	assert_null(c);
	assert_non_null(d);
	assert_int_equal(mem_live(), 3);
	mem_free(a);
	mem_free(b);
	mem_free(d);
}

static void fails_for_ever(void **state)
{
	(void)state;
	mem_fail_at(2, true);
	void *a = mem_alloc(1);
	assert_non_null(a);
	for (int i = 0; i < 5; i++) {
		assert_null(mem_alloc(1));
		assert_null(mem_zalloc(1, 1));
		assert_null(mem_realloc(a, 50));
		assert_null(mem_dup("a", 1));
	}
	mem_fail_at(0, true);
	void *b = mem_alloc(1);
	assert_non_null(b);
	mem_free(a);
	mem_free(b);
}

static void *other_thread(void *arg)
{
	void *p = mem_alloc(1);
	*(long *)arg = p ? mem_live() : -1;
	mem_free(p);
	return NULL;
}

static void threads_are_apart(void **state)
{
	(void)state;
	void *mine = mem_alloc(1);
	mem_fail_at(1, true);
	pthread_t t;
	long seen = 0;
	assert_int_equal(pthread_create(&t, NULL, other_thread, &seen), 0);
	assert_int_equal(pthread_join(t, NULL), 0);
	assert_int_equal(seen, 1);
	assert_null(mem_alloc(1));
	mem_free(mine);
}

static void grow_doubles(void **state)
{
	(void)state;
	uint32_t *v = NULL;
	size_t cap = 0, times = 0;
	for (size_t i = 0; i < 10000; i++) {
		size_t was = cap;
		assert_true(mem_grow((void **)&v, &cap, i + 1, sizeof *v));
		assert_true(cap > i);
		if (cap != was) {
			assert_true(cap >= 2 * was);
			times++;
		}
		v[i] = (uint32_t)i;
	}
	assert_in_range(times, 1, 14);
	for (size_t i = 0; i < 10000; i++)
		assert_int_equal(v[i], i);
	assert_true(mem_grow((void **)&v, &cap, 123456, sizeof *v));
	assert_true(cap >= 123456);
	mem_free(v);
}

static void grow_fails_cleanly(void **state)
{
	(void)state;
	uint32_t *v = NULL, *was;
	size_t cap = 0;
	assert_true(mem_grow((void **)&v, &cap, 3, sizeof *v));
	v[2] = 77;
	was = v;
	size_t was_cap = cap;
	mem_fail_at(1, false);
	assert_false(mem_grow((void **)&v, &cap, cap + 1, sizeof *v));
	assert_false(mem_grow((void **)&v, &cap, SIZE_MAX, sizeof *v));
	assert_false(mem_grow((void **)&v, &cap, SIZE_MAX / 2 + 1, 1));
	assert_false(mem_grow((void **)&v, &cap, SIZE_MAX / 4, sizeof *v));
	assert_ptr_equal(v, was);
	assert_int_equal(cap, was_cap);
	assert_int_equal(v[2], 77);
	mem_free(v);
}

static void arena_gives_apart_and_aligned(void **state)
{
	(void)state;
	struct arena *a = arena_new();
	assert_non_null(a);
	enum { N = 2000 };
	static uint8_t *got[N];
	static size_t size[N];
	for (size_t i = 0; i < N; i++) {
		size[i] = i % 97 == 0 ? 20000 + i : i % 61;
		got[i] = arena_alloc(a, size[i]);
		assert_non_null(got[i]);
		assert_int_equal((uintptr_t)got[i] % 16, 0);
		assert_true(i == 0 || got[i] != got[i - 1]);
		memset(got[i], (int)(i % 251), size[i]);
	}
	for (size_t i = 0; i < N; i++)
		for (size_t j = 0; j < size[i]; j++)
			assert_int_equal(got[i][j], i % 251);
	arena_free(a);
	arena_free(NULL);
}

static void arena_reset_keeps_one_block(void **state)
{
	(void)state;
	struct arena *a = arena_new();
	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < 1000; i++)
			assert_non_null(arena_alloc(a, 100));
		assert_non_null(arena_alloc(a, 1000000));
		assert_true(mem_live() > 3);
		arena_reset(a);
		assert_int_equal(mem_live(), 2);
	}
	/* The kept one serves without another allocation. */
	mem_fail_at(1, true);
	for (int i = 0; i < 20; i++) {
		assert_non_null(arena_alloc(a, 1000));
		arena_reset(a);
	}
	mem_fail_at(0, false);
	arena_free(a);
}

/* 8 KiB in pieces of 16 fill one block to its last byte and no further. */
static void arena_fills_a_block_exactly(void **state)
{
	(void)state;
	struct arena *a = arena_new();
	for (int i = 0; i < 8192 / 16; i++)
		assert_non_null(arena_alloc(a, 16));
	assert_int_equal(mem_live(), 2);
	assert_non_null(arena_alloc(a, 16));
	assert_int_equal(mem_live(), 3);
	arena_free(a);
}

static void arena_drops_an_oversized_block(void **state)
{
	(void)state;
	struct arena *a = arena_new();
	assert_non_null(arena_alloc(a, 1000000));
	assert_int_equal(mem_live(), 2);
	arena_reset(a);
	assert_int_equal(mem_live(), 1);
	arena_free(a);
}

static void arena_out_of_memory(void **state)
{
	(void)state;
	mem_fail_at(1, false);
	assert_null(arena_new());
	struct arena *a = arena_new();
	mem_fail_at(1, true);
	assert_null(arena_alloc(a, 1));
	assert_null(arena_dup(a, "x", 1));
	assert_null(arena_printf(a, "%d", 1));
	mem_fail_at(0, false);
	char *kept = arena_dup(a, "kept", 5);
	mem_fail_at(1, true);
	assert_null(arena_alloc(a, 100000));
	mem_fail_at(0, false);
	assert_null(arena_alloc(a, SIZE_MAX));
	assert_null(arena_alloc(a, SIZE_MAX - 20));
	assert_string_equal(kept, "kept");
	arena_free(a);
}

static void arena_copies_and_prints(void **state)
{
	(void)state;
	struct arena *a = arena_new();
	assert_memory_equal(arena_dup(a, "\1\2\3", 3), "\1\2\3", 3);
	assert_non_null(arena_dup(a, NULL, 0));
	assert_string_equal(arena_printf(a, "%s-%d", "w", -7), "w--7");
	assert_string_equal(arena_printf(a, "%s", ""), "");
	char *s = arena_printf(a, "%020000d", 5);
	assert_int_equal(strlen(s), 20000);
	assert_int_equal(s[19999], '5');
	arena_free(a);
}

#define T(f) cmocka_unit_test_setup_teardown(f, before, after)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(blocks_are_counted),
		T(realloc_keeps_bytes),
		T(product_overflow),
		T(fails_once),
		T(fails_for_ever),
		T(threads_are_apart),
		T(grow_doubles),
		T(grow_fails_cleanly),
		T(arena_gives_apart_and_aligned),
		T(arena_reset_keeps_one_block),
		T(arena_fills_a_block_exactly),
		T(arena_drops_an_oversized_block),
		T(arena_out_of_memory),
		T(arena_copies_and_prints),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
