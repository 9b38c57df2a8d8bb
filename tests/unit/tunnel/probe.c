/* Probes: golden bytes, round trips, and what is no probe. */
#include "tests/unit/base/cmocka_all.h"

#include <string.h>

#include "base/addr.h"
#include "base/rng.h"
#include "tests/unit/base/seed.h"
#include "tunnel/probe.h"

enum { LONGEST = 65535 };

static void golden(void **state)
{
	static const uint8_t want[] = { 1, 1, 3, 0, 0x11, 0x22, 0x33, 0x44, 1, 2, 3, 4, 5, 6, 10, 11, 12, 13, 14, 15, 0, 31, 0x05,
		0x78, 0, 0, 0, 0, 0, 0, 0 };
	struct probe p = { .kind = PROBE_REQUEST,
		.path = 3,
		.id = 0x11223344,
		.src = UINT64_C(0x010203040506),
		.dst = UINT64_C(0x0a0b0c0d0e0f),
		.length = 31,
		.answer = 1400 };
	uint8_t mem[64];
	struct wbuf w;

	(void)state;
	memset(mem, 0xff, sizeof mem);
	wbuf_fixed(&w, mem, sizeof mem);
	probe_write(&w, &p);
	assert_int_equal(w.len, sizeof want);
	assert_memory_equal(mem, want, sizeof want);
}

static void round_trips(void **state)
{
	static uint8_t mem[LONGEST];
	struct rng r;

	(void)state;
	rng_seed(&r, test_seed("round_trips"));
	for (int i = 0; i < 5000; i++) {
		struct probe p = { .kind = (uint8_t)rng_between(&r, PROBE_REQUEST, PROBE_ANSWER),
			.path = (uint8_t)rng_u64(&r),
			.id = (uint32_t)rng_u64(&r),
			.src = rng_u64(&r) & PEER_MAX,
			.dst = rng_u64(&r) & PEER_MAX,
			.length = (uint16_t)rng_between(&r, PROBE_HEAD, i % 100 == 0 ? LONGEST : 1500),
			.answer = (uint16_t)rng_u64(&r) };
		struct probe got;
		struct wbuf w;

		wbuf_fixed(&w, mem, sizeof mem);
		probe_write(&w, &p);
		assert_int_equal(w.len, p.length);
		assert_true(probe_read(wbuf_slice(&w), &got));
		assert_int_equal(got.kind, p.kind);
		assert_int_equal(got.path, p.path);
		assert_int_equal(got.id, p.id);
		assert_int_equal(got.src, p.src);
		assert_int_equal(got.dst, p.dst);
		assert_int_equal(got.length, p.length);
		assert_int_equal(got.answer, p.answer);
		assert_false(probe_read(slice_of(mem, p.length - 1u), &got)); /* cut short */
	}
}

static void refused(void **state)
{
	struct probe p = { .kind = PROBE_ANSWER, .length = 40 }, got;
	uint8_t mem[60] = { 0 };
	struct wbuf w;

	(void)state;
	wbuf_fixed(&w, mem, sizeof mem);
	probe_write(&w, &p);
	assert_true(probe_read(slice_of(mem, 40), &got));
	assert_true(probe_read(slice_of(mem, 60), &got)); /* in a short frame, filled up */
	for (size_t n = 0; n < 40; n++)
		assert_false(probe_read(slice_of(mem, n), &got));
	for (unsigned v = 0; v < 256; v++) {
		mem[0] = (uint8_t)v;
		assert_int_equal(probe_read(slice_of(mem, 40), &got), v == 1);
	}
	mem[0] = 1;
	for (unsigned v = 0; v < 256; v++) {
		mem[1] = (uint8_t)v;
		assert_int_equal(probe_read(slice_of(mem, 40), &got), v == PROBE_REQUEST || v == PROBE_ANSWER);
	}
	mem[1] = PROBE_REQUEST;
	for (unsigned v = 0; v < 256; v++) {
		mem[3] = (uint8_t)v;
		assert_int_equal(probe_read(slice_of(mem, 40), &got), v == 0);
	}
	mem[3] = 0;
	mem[21] = PROBE_HEAD - 1;
	assert_false(probe_read(slice_of(mem, 40), &got));
	mem[21] = PROBE_HEAD;
	assert_true(probe_read(slice_of(mem, 40), &got));
}

static void no_room(void **state)
{
	struct probe p = { .kind = PROBE_REQUEST, .length = 100 };
	uint8_t mem[99];
	struct wbuf w;

	(void)state;
	wbuf_fixed(&w, mem, sizeof mem);
	probe_write(&w, &p);
	assert_int_equal(wbuf_end(&w), ERR_LIMIT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(golden),
		cmocka_unit_test(round_trips),
		cmocka_unit_test(refused),
		cmocka_unit_test(no_room),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
