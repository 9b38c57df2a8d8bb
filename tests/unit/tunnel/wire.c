/* Headers of the userspace path's datagrams: golden bytes, and what is refused. */
#include "tests/unit/base/cmocka_all.h"

#include <string.h>

#include "base/rng.h"
#include "tests/unit/base/seed.h"
#include "tunnel/wire.h"

#define SRC UINT64_C(0x010203040506)
#define DST UINT64_C(0x0a0b0c0d0e0f)

static void assert_head(const struct wire_head *a, const struct wire_head *b)
{
	assert_int_equal(a->type, b->type);
	assert_int_equal(a->flags, b->flags);
	assert_int_equal(a->net, b->net);
	assert_int_equal(a->src, b->src);
	assert_int_equal(a->dst, b->dst);
	assert_int_equal(a->index, b->index);
	assert_int_equal(a->counter, b->counter);
}

static void golden(void **state)
{
	static const struct {
		struct wire_head h;
		uint8_t bytes[WIRE_HEAD];
	} rows[] = {
		{ { .type = WIRE_CLEAR, .flags = WIRE_PARTIAL, .net = 0x1234, .src = SRC, .dst = DST },
			{ 0x21, 1, 0x12, 0x34, 1, 2, 3, 4, 5, 6, 10, 11, 12, 13, 14, 15 } },
		{ { .type = WIRE_SEALED, .flags = WIRE_CONTROL, .index = 0xdeadbeef, .counter = UINT64_C(0x1000000000000007) },
			{ 0x22, 4, 0, 0, 0xde, 0xad, 0xbe, 0xef, 0x10, 0, 0, 0, 0, 0, 0, 7 } },
		{ { .type = WIRE_RELAYED, .flags = WIRE_HOPS, .src = SRC, .dst = DST },
			{ 0x23, 8, 0, 0, 1, 2, 3, 4, 5, 6, 10, 11, 12, 13, 14, 15 } },
	};
	uint8_t bytes[WIRE_HEAD + WIRE_TAG + 3] = { 0 };
	struct wire_head h;
	struct slice payload;

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		wire_write(bytes, &rows[i].h);
		assert_memory_equal(bytes, rows[i].bytes, WIRE_HEAD);
		assert_int_equal(wire_type(slice_of(bytes, sizeof bytes)), rows[i].h.type);
		assert_int_equal(wire_read(slice_of(bytes, sizeof bytes), &h, &payload), FWD_PASSED);
		assert_head(&h, &rows[i].h);
		assert_ptr_equal(payload.p, bytes + WIRE_HEAD);
		assert_int_equal(payload.n, WIRE_TAG + 3);
	}
}

/* The same with what does not belong to the type left out: what is read is what was written. */
static void read_is_the_inverse_of_write(void **state)
{
	struct rng r;
	uint8_t bytes[WIRE_HEAD + WIRE_TAG] = { 0 };

	(void)state;
	rng_seed(&r, test_seed("read_is_the_inverse_of_write"));
	for (int i = 0; i < 100000; i++) {
		struct wire_head h = { .type = (uint8_t)rng_between(&r, WIRE_CLEAR, WIRE_RELAYED) }, got;
		struct slice payload;

		h.flags = (uint8_t)rng_below(&r, h.type == WIRE_RELAYED ? 256 : 4);
		h.net = h.type == WIRE_RELAYED ? 0 : (uint16_t)rng_u64(&r);
		if (h.type == WIRE_SEALED) {
			h.index = (uint32_t)rng_u64(&r);
			h.counter = rng_u64(&r);
		} else {
			h.src = rng_u64(&r) & PEER_MAX;
			h.dst = rng_u64(&r) & PEER_MAX;
		}
		wire_write(bytes, &h);
		assert_int_equal(wire_read(slice_of(bytes, sizeof bytes), &got, &payload), FWD_PASSED);
		assert_head(&got, &h);
	}
}

static enum fwd_drop verdict(const uint8_t *bytes, size_t n)
{
	struct wire_head h, before;
	struct slice payload, none = { NULL, 77 };
	enum fwd_drop d;

	memset(&h, 0xa5, sizeof h);
	before = h;
	payload = none;
	d = wire_read(slice_of(bytes, n), &h, &payload);
	if (d != FWD_PASSED) {
		assert_head(&h, &before);
		assert_true(payload.p == NULL && payload.n == 77);
	}
	return d;
}

static void refused(void **state)
{
	uint8_t b[WIRE_HEAD + WIRE_TAG] = { 0 };

	(void)state;
	for (unsigned first = 0; first < 256; first++) {
		uint8_t type = first & 15;
		enum fwd_drop want = first >> 4 != WIRE_VERSION  ? FWD_BAD_VERSION
			: type >= WIRE_CLEAR && type <= WIRE_RELAYED ? FWD_PASSED
														 : FWD_BAD_HEADER;

		b[0] = (uint8_t)first;
		assert_int_equal(verdict(b, sizeof b), want);
		assert_int_equal(verdict(b, WIRE_HEAD - 1), FWD_BAD_HEADER);
		assert_int_equal(wire_type(slice_of(b, WIRE_HEAD)), first >> 4 == WIRE_VERSION ? type : 0);
		assert_int_equal(wire_type(slice_of(b, WIRE_HEAD - 1)), 0);
	}
	assert_int_equal(verdict(b, 0), FWD_BAD_HEADER);
	for (uint8_t type = WIRE_CLEAR; type <= WIRE_RELAYED; type++) {
		b[0] = (uint8_t)(WIRE_VERSION << 4 | type);
		for (unsigned flags = 0; flags < 256; flags++) {
			bool known = flags < 5;

			b[1] = (uint8_t)flags;
			assert_int_equal(verdict(b, sizeof b), type == WIRE_RELAYED || known ? FWD_PASSED : FWD_BAD_HEADER);
		}
		b[1] = WIRE_CONTROL;
		b[3] = 1; /* a network */
		assert_int_equal(verdict(b, sizeof b), type == WIRE_RELAYED ? FWD_PASSED : FWD_BAD_HEADER);
		b[1] = b[3] = 0;
		assert_int_equal(verdict(b, WIRE_HEAD + WIRE_TAG - 1), type == WIRE_SEALED ? FWD_BAD_HEADER : FWD_PASSED);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(golden),
		cmocka_unit_test(read_is_the_inverse_of_write),
		cmocka_unit_test(refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
