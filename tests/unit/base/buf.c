#include "base/buf.h"

#include <string.h>

#include "base/mem.h"
#include "base/rng.h"
#include "cmocka_all.h"
#include "seed.h"

static struct rbuf reader(const void *p, size_t n)
{
	struct rbuf r;
	rbuf_init(&r, p, n);
	return r;
}

static void slices(void **state)
{
	(void)state;
	assert_true(slice_eq(slice_str(""), slice_of(NULL, 0)));
	assert_true(slice_eq(slice_str("ab"), slice_of("abc", 2)));
	assert_false(slice_eq(slice_str("ab"), slice_str("ac")));
	assert_false(slice_eq(slice_str("ab"), slice_str("abc")));
	assert_int_equal(slice_cmp(slice_str("ab"), slice_str("ab")), 0);
	assert_true(slice_cmp(slice_str("ab"), slice_str("abc")) < 0);
	assert_true(slice_cmp(slice_str("abc"), slice_str("ab")) > 0);
	assert_true(slice_cmp(slice_str("b"), slice_str("abc")) > 0);
	/* Bytes are unsigned. */
	assert_true(slice_cmp(slice_of("\x7f", 1), slice_of("\x80", 1)) < 0);
	assert_int_equal(slice_cmp(slice_of(NULL, 0), slice_of(NULL, 0)), 0);
	assert_true(slice_cmp(slice_of(NULL, 0), slice_str("a")) < 0);
}

static const uint8_t counted[] = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21 };

static void integers_are_big_endian(void **state)
{
	(void)state;
	struct rbuf r = reader(counted, sizeof counted);
	assert_int_equal(rbuf_u8(&r), 0x01);
	assert_int_equal(rbuf_u16(&r), 0x0203);
	assert_int_equal(rbuf_u32(&r), 0x04050607);
	assert_int_equal(rbuf_u48(&r), 0x08090a0b0c0d);
	assert_int_equal(rbuf_left(&r), 8);
	assert_int_equal(rbuf_end(&r), ERR_MALFORMED);
	assert_int_equal(rbuf_u64(&r), 0x0e0f101112131415);
	assert_int_equal(rbuf_end(&r), ERR_OK);

	uint8_t mem[sizeof counted];
	struct wbuf w;
	wbuf_fixed(&w, mem, sizeof mem);
	wbuf_u8(&w, 0x01);
	wbuf_u16(&w, 0x0203);
	wbuf_u32(&w, 0x04050607);
	wbuf_u48(&w, 0x08090a0b0c0d);
	wbuf_u64(&w, 0x0e0f101112131415);
	assert_int_equal(wbuf_end(&w), ERR_OK);
	assert_true(slice_eq(wbuf_slice(&w), slice_of(counted, sizeof counted)));
}

/* One byte too few for each kind of read: zero, failed, the rest gone; and it stays so. */
static void check_failed(struct rbuf *r)
{
	assert_false(rbuf_ok(r));
	assert_int_equal(rbuf_left(r), 0);
	assert_int_equal(rbuf_u8(r), 0);
	assert_int_equal(rbuf_varint(r), 0);
	assert_null(rbuf_bytes(r, 0).p);
	assert_int_equal(rbuf_end(r), ERR_TRUNCATED);
}

static void short_reads_fail(void **state)
{
	(void)state;
	struct rbuf r = reader(counted, 0);
	assert_int_equal(rbuf_u8(&r), 0);
	check_failed(&r);
	r = reader(counted, 1);
	assert_int_equal(rbuf_u16(&r), 0);
	check_failed(&r);
	r = reader(counted, 3);
	assert_int_equal(rbuf_u32(&r), 0);
	check_failed(&r);
	r = reader(counted, 5);
	assert_int_equal(rbuf_u48(&r), 0);
	check_failed(&r);
	r = reader(counted, 7);
	assert_int_equal(rbuf_u64(&r), 0);
	check_failed(&r);
	r = reader(counted, 4);
	struct slice s = rbuf_bytes(&r, 5);
	assert_true(s.p == NULL && s.n == 0);
	check_failed(&r);
	r = reader(counted, 4);
	rbuf_skip(&r, SIZE_MAX);
	check_failed(&r);
	r = reader(counted, 4);
	uint8_t dst[5] = { 9, 9, 9, 9, 9 };
	rbuf_copy(&r, dst, sizeof dst);
	assert_memory_equal(dst, "\0\0\0\0\0", 5);
	check_failed(&r);
	r = reader(counted, 4);
	rbuf_fail(&r);
	check_failed(&r);
	r = reader(NULL, 0);
	assert_int_equal(rbuf_end(&r), ERR_OK);
	assert_non_null(rbuf_bytes(&r, 0).p);
	assert_int_equal(rbuf_end(&r), ERR_OK);
}

static void bytes_in_place(void **state)
{
	(void)state;
	struct rbuf r = reader(counted, sizeof counted);
	uint8_t dst[3];
	rbuf_skip(&r, 2);
	struct slice s = rbuf_bytes(&r, 4);
	assert_ptr_equal(s.p, counted + 2);
	assert_int_equal(s.n, 4);
	rbuf_copy(&r, dst, 3);
	assert_memory_equal(dst, counted + 6, 3);
	assert_int_equal(rbuf_left(&r), sizeof counted - 9);
}

static void sub_reader_is_fenced(void **state)
{
	(void)state;
	struct rbuf r = reader(counted, 10);
	(void)rbuf_u8(&r);
	struct rbuf sub = rbuf_sub(&r, 3);
	assert_int_equal(rbuf_left(&r), 6);
	assert_int_equal(rbuf_u16(&sub), 0x0203);
	assert_int_equal(rbuf_u16(&sub), 0);
	assert_int_equal(rbuf_end(&sub), ERR_TRUNCATED);
	assert_true(rbuf_ok(&r));
	assert_int_equal(rbuf_u8(&r), 5);
	sub = rbuf_sub(&r, 6);
	assert_false(rbuf_ok(&sub));
	check_failed(&sub);
	check_failed(&r);
}

struct varint {
	uint64_t value;
	size_t n;
	uint8_t wire[11];
};
static const struct varint varints[] = {
	{ 0, 1, { 0x00 } },
	{ 1, 1, { 0x01 } },
	{ 127, 1, { 0x7f } },
	{ 128, 2, { 0x80, 0x01 } },
	{ 300, 2, { 0xac, 0x02 } },
	{ 16383, 2, { 0xff, 0x7f } },
	{ 16384, 3, { 0x80, 0x80, 0x01 } },
	{ UINT32_MAX, 5, { 0xff, 0xff, 0xff, 0xff, 0x0f } },
	{ UINT64_C(1) << 63, 10, { 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01 } },
	{ UINT64_MAX, 10, { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01 } },
};
static const struct varint bad_varints[] = {
	{ 0, 2, { 0x80, 0x00 } },
	{ 0, 2, { 0xff, 0x00 } },
	{ 0, 3, { 0xff, 0x80, 0x00 } },
	{ 0, 10, { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02 } },
	{ 0, 10, { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x00 } },
	{ 0, 11, { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x81, 0x00 } },
	{ 0, 11, { 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01 } },
};

static void varint_forms(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof varints / sizeof varints[0]; i++) {
		const struct varint *v = &varints[i];
		struct rbuf r = reader(v->wire, v->n);
		assert_int_equal(rbuf_varint(&r), v->value);
		assert_int_equal(rbuf_end(&r), ERR_OK);
		uint8_t mem[10];
		struct wbuf w;
		wbuf_fixed(&w, mem, sizeof mem);
		wbuf_varint(&w, v->value);
		assert_int_equal(wbuf_end(&w), ERR_OK);
		assert_true(slice_eq(wbuf_slice(&w), slice_of(v->wire, v->n)));
		for (size_t n = 0; n < v->n; n++) {
			r = reader(v->wire, n);
			assert_int_equal(rbuf_varint(&r), 0);
			check_failed(&r);
		}
	}
	for (size_t i = 0; i < sizeof bad_varints / sizeof bad_varints[0]; i++) {
		struct rbuf r = reader(bad_varints[i].wire, bad_varints[i].n);
		assert_int_equal(rbuf_varint(&r), 0);
		check_failed(&r);
	}
}

static void length_and_value(void **state)
{
	(void)state;
	struct rbuf r = reader("\3abc\0\3xyz", 9);
	assert_true(slice_eq(rbuf_lv(&r, 3), slice_str("abc")));
	struct slice empty = rbuf_lv(&r, 0);
	assert_true(empty.n == 0 && empty.p && rbuf_ok(&r));
	assert_null(rbuf_lv(&r, 2).p);
	check_failed(&r);
	r = reader("\4abc", 4);
	assert_null(rbuf_lv(&r, 10).p);
	check_failed(&r);
	/* A length that no memory has. */
	r = reader("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01zz", 12);
	assert_null(rbuf_lv(&r, SIZE_MAX).p);
	check_failed(&r);
	struct wbuf w;
	wbuf_grow(&w, 300);
	wbuf_lv(&w, slice_str("abc"));
	wbuf_lv(&w, slice_of(NULL, 0));
	assert_true(slice_eq(wbuf_slice(&w), slice_of("\3abc\0", 5)));
	wbuf_free(&w);
}

static void fixed_writer_stops(void **state)
{
	(void)state;
	uint8_t mem[6] = { 0xee, 0xee, 0xee, 0xee, 0xee, 0xee };
	struct wbuf w;
	wbuf_fixed(&w, mem, 5);
	wbuf_u32(&w, 0x01020304);
	wbuf_u16(&w, 0xffff);
	assert_int_equal(wbuf_end(&w), ERR_LIMIT);
	/* Failed for good: even what would fit is not written. */
	wbuf_u8(&w, 0xff);
	assert_null(wbuf_reserve(&w, 0));
	assert_memory_equal(mem, "\1\2\3\4\xee\xee", 6);
	assert_int_equal(wbuf_slice(&w).n, 4);
	wbuf_patch_u16(&w, 0, 0xffff);
	assert_int_equal(mem[0], 1);
	wbuf_reset(&w);
	assert_int_equal(wbuf_end(&w), ERR_OK);
	wbuf_bytes(&w, "vwxyz", 5);
	assert_int_equal(wbuf_end(&w), ERR_OK);
	wbuf_bytes(&w, NULL, 0);
	assert_int_equal(wbuf_end(&w), ERR_OK);
	wbuf_free(&w);
	assert_memory_equal(mem, "vwxyz\xee", 6);
	wbuf_fixed(&w, NULL, 0);
	wbuf_u8(&w, 1);
	assert_int_equal(wbuf_end(&w), ERR_LIMIT);
	wbuf_free(&w);
	wbuf_free(NULL);
}

static void growing_writer_has_a_limit(void **state)
{
	(void)state;
	long live = mem_live();
	struct wbuf w;
	wbuf_grow(&w, 1000);
	for (size_t i = 0; i < 1000; i++) {
		wbuf_u8(&w, (uint8_t)i);
		assert_int_equal(wbuf_end(&w), ERR_OK);
		assert_true(w.cap <= 1000);
	}
	wbuf_u8(&w, 0);
	assert_int_equal(wbuf_end(&w), ERR_LIMIT);
	struct slice s = wbuf_slice(&w);
	assert_int_equal(s.n, 1000);
	for (size_t i = 0; i < s.n; i++)
		assert_int_equal(s.p[i], (uint8_t)i);
	wbuf_reset(&w);
	mem_fail_at(1, true);
	assert_non_null(wbuf_reserve(&w, 1000)); /* memory was kept */
	mem_fail_at(0, false);
	assert_null(wbuf_reserve(&w, SIZE_MAX));
	wbuf_free(&w);
	assert_int_equal(mem_live(), live);
	wbuf_grow(&w, 0);
	assert_non_null(wbuf_reserve(&w, 0));
	wbuf_u8(&w, 1);
	assert_int_equal(wbuf_end(&w), ERR_LIMIT);
	wbuf_free(&w);
	assert_int_equal(mem_live(), live);
}

static void growing_writer_out_of_memory(void **state)
{
	(void)state;
	long live = mem_live();
	uint8_t big[300] = { 5 };
	struct wbuf w;
	wbuf_grow(&w, 10000);
	wbuf_u32(&w, 7);
	mem_fail_at(1, false);
	wbuf_bytes(&w, big, sizeof big);
	assert_int_equal(wbuf_end(&w), ERR_NOMEM);
	wbuf_u8(&w, 1);
	assert_int_equal(wbuf_end(&w), ERR_NOMEM);
	assert_true(slice_eq(wbuf_slice(&w), slice_of("\0\0\0\7", 4)));
	wbuf_reset(&w);
	wbuf_bytes(&w, big, sizeof big);
	assert_int_equal(wbuf_end(&w), ERR_OK);
	assert_true(slice_eq(wbuf_slice(&w), slice_of(big, sizeof big)));
	/* The old reason is forgotten with the old failure. */
	assert_null(wbuf_reserve(&w, 10000));
	assert_int_equal(wbuf_end(&w), ERR_LIMIT);
	wbuf_free(&w);
	assert_int_equal(mem_live(), live);
}

static void patches(void **state)
{
	(void)state;
	struct wbuf w;
	wbuf_grow(&w, 100);
	wbuf_u16(&w, 0);
	uint8_t *p = wbuf_reserve(&w, 3);
	memcpy(p, "abc", 3);
	wbuf_u32(&w, 0);
	wbuf_patch_u16(&w, 0, 0x0102);
	wbuf_patch_u32(&w, 5, 0x03040506);
	assert_true(slice_eq(wbuf_slice(&w), slice_of("\1\2abc\3\4\5\6", 9)));
	wbuf_free(&w);
}

/* What is written in any order of kinds is read back; every proper prefix of it fails or falls short. */
static void write_then_read(void **state)
{
	(void)state;
	struct rng g;
	rng_seed(&g, test_seed("write_then_read"));
	for (int round = 0; round < 20000; round++) {
		uint64_t value[12];
		unsigned kind[12];
		size_t n = 1 + (size_t)rng_below(&g, 12);
		struct wbuf w;
		wbuf_grow(&w, 1000);
		for (size_t i = 0; i < n; i++) {
			kind[i] = (unsigned)rng_below(&g, 6);
			value[i] = rng_u64(&g) >> rng_below(&g, 64);
			switch (kind[i]) {
			case 0: wbuf_u8(&w, (uint8_t)(value[i] &= 0xff)); break;
			case 1: wbuf_u16(&w, (uint16_t)(value[i] &= 0xffff)); break;
			case 2: wbuf_u32(&w, (uint32_t)(value[i] &= 0xffffffff)); break;
			case 3: wbuf_u48(&w, value[i] &= UINT64_C(0xffffffffffff)); break;
			case 4: wbuf_u64(&w, value[i]); break;
			default: wbuf_varint(&w, value[i]); break;
			}
		}
		assert_int_equal(wbuf_end(&w), ERR_OK);
		struct slice s = wbuf_slice(&w);
		size_t cut = (size_t)rng_below(&g, 2) ? (size_t)rng_below(&g, s.n) : s.n;
		struct rbuf r = reader(s.p, cut);
		for (size_t i = 0; i < n; i++) {
			uint64_t v = 0;
			switch (kind[i]) {
			case 0: v = rbuf_u8(&r); break;
			case 1: v = rbuf_u16(&r); break;
			case 2: v = rbuf_u32(&r); break;
			case 3: v = rbuf_u48(&r); break;
			case 4: v = rbuf_u64(&r); break;
			default: v = rbuf_varint(&r); break;
			}
			assert_int_equal(v, rbuf_ok(&r) ? value[i] : 0);
		}
		assert_int_equal(rbuf_end(&r), cut == s.n ? ERR_OK : ERR_TRUNCATED);
		wbuf_free(&w);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(slices),
		cmocka_unit_test(integers_are_big_endian),
		cmocka_unit_test(short_reads_fail),
		cmocka_unit_test(bytes_in_place),
		cmocka_unit_test(sub_reader_is_fenced),
		cmocka_unit_test(varint_forms),
		cmocka_unit_test(length_and_value),
		cmocka_unit_test(fixed_writer_stops),
		cmocka_unit_test(growing_writer_has_a_limit),
		cmocka_unit_test(growing_writer_out_of_memory),
		cmocka_unit_test(patches),
		cmocka_unit_test(write_then_read),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
