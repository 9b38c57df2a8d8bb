#include "util.h"

static void order_is_total(void **state)
{
	(void)state;
	struct test_item t[6];
	/* Ascending. */
	const struct crdt_item *v[6] = {
		util_item(&t[0], 1, 'a', 1, 9, "z"),
		util_item(&t[1], 1, 'a', 2, 1, NULL),
		util_item(&t[2], 1, 'a', 2, 1, ""),
		util_item(&t[3], 1, 'a', 2, 1, "x"),
		util_item(&t[4], 1, 'a', 2, 1, "xy"),
		util_item(&t[5], 1, 'a', 2, 2, NULL),
	};
	for (int i = 0; i < 6; i++)
		for (int j = 0; j < 6; j++) {
			int c = crdt_item_cmp(v[i], v[j]);
			assert_int_equal((c > 0) - (c < 0), (i > j) - (i < j));
		}
}

static void keys_have_an_owner(void **state)
{
	(void)state;
	static const uint8_t key[] = { 1, 2, 3, 4, 5, 6, 'k' };
	assert_int_equal(crdt_owner(slice_of(key, 7)), UINT64_C(0x010203040506));
	assert_int_equal(crdt_owner(slice_of(key, 6)), UINT64_C(0x010203040506));
	assert_int_equal(crdt_owner(slice_of(key, 5)), PEER_NONE);
	assert_true(slice_eq(crdt_subkey(slice_of(key, 7)), slice_str("k")));
	assert_int_equal(crdt_subkey(slice_of(key, 6)).n, 0);
	assert_int_equal(crdt_subkey(slice_of(key, 2)).n, 0);
}

static void golden_bytes(void **state)
{
	(void)state;
	struct test_item t;
	uint8_t mem[64];
	struct wbuf w;
	wbuf_fixed(&w, mem, sizeof mem);
	crdt_item_encode(&w, util_item(&t, 0x0a0b0c0d0e0f, 'k', 3, 300, "value"));
	util_expect_hex(wbuf_slice(&w),
		"070a0b0c0d0e0f6b03ac020105"
		"76616c7565");
	wbuf_reset(&w);
	crdt_item_encode(&w, util_item(&t, 0x0a0b0c0d0e0f, 'k', 1, 2, NULL));
	util_expect_hex(wbuf_slice(&w), "070a0b0c0d0e0f6b010200");
	wbuf_reset(&w);
	crdt_item_encode(&w, util_item(&t, 0x0a0b0c0d0e0f, 0, 1, UINT64_MAX, NULL));
	util_expect_hex(wbuf_slice(&w), "060a0b0c0d0e0f01ffffffffffffffffff0100");
}

static void decode_reverses_encode(void **state)
{
	(void)state;
	struct rng r = util_rng("decode_reverses_encode");
	for (int i = 0; i < 20000; i++) {
		uint8_t key[CRDT_KEY_MAX], value[300], mem[600];
		size_t key_n = (size_t)rng_between(&r, 1, CRDT_KEY_MAX), value_n = (size_t)rng_below(&r, sizeof value);
		rng_fill(&r, key, key_n);
		rng_fill(&r, value, value_n);
		struct crdt_item it = { .key = slice_of(key, key_n), .live = rng_below(&r, 2) == 0 }, back;
		it.stamp.inc = rng_u64(&r) >> rng_below(&r, 64);
		it.stamp.ctr = rng_u64(&r) >> rng_below(&r, 64);
		if (it.live)
			it.value = slice_of(value, value_n);
		struct wbuf w;
		struct rbuf in;
		wbuf_fixed(&w, mem, sizeof mem);
		crdt_item_encode(&w, &it);
		assert_int_equal(wbuf_end(&w), ERR_OK);
		rbuf_init(&in, w.data, w.len);
		crdt_item_decode(&in, &back);
		assert_int_equal(rbuf_end(&in), ERR_OK);
		assert_true(util_same_item(&it, &back));
		/* Cut anywhere it is refused. */
		rbuf_init(&in, w.data, (size_t)rng_below(&r, w.len));
		crdt_item_decode(&in, &back);
		assert_false(rbuf_ok(&in));
	}
}

static void malformed_items_are_refused(void **state)
{
	(void)state;
	static const struct {
		const char *why;
		uint8_t bytes[16];
		size_t n;
	} bad[] = {
		{ "no key", { 0, 1, 1, 0 }, 4 },
		{ "unknown flag", { 1, 'k', 1, 1, 2 }, 5 },
		{ "unknown flag beside live", { 1, 'k', 1, 1, 3, 0 }, 6 },
		{ "key too long", { CRDT_KEY_MAX + 1, 'k', 1, 1, 0 }, 5 },
		{ "long form of a number", { 1, 'k', 0x81, 0, 1, 0 }, 6 },
		{ "value too long", { 1, 'k', 1, 1, 1, 0x81, 0x40 }, 7 },
	};
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		struct rbuf in;
		struct crdt_item it;
		rbuf_init(&in, bad[i].bytes, bad[i].n);
		crdt_item_decode(&in, &it);
		if (rbuf_ok(&in))
			fail_msg("accepted: %s", bad[i].why);
	}
}

static void changes_keep_their_own_keys(void **state)
{
	(void)state;
	struct arena *a = arena_new();
	struct crdt_changes ch;
	uint8_t key[2];
	assert_non_null(a);
	crdt_changes_init(&ch, a);
	for (unsigned i = 0; i < 1000; i++) {
		key[0] = (uint8_t)(i >> 8);
		key[1] = (uint8_t)i;
		assert_int_equal(crdt_changes_add(&ch, slice_of(key, 2)), ERR_OK);
	}
	assert_int_equal(ch.n, 1000);
	for (unsigned i = 0; i < 1000; i++)
		assert_int_equal(ch.keys[i].p[0] * 256 + ch.keys[i].p[1], i);
	arena_free(a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(order_is_total),
		cmocka_unit_test(keys_have_an_owner),
		cmocka_unit_test(golden_bytes),
		cmocka_unit_test(decode_reverses_encode),
		cmocka_unit_test(malformed_items_are_refused),
		cmocka_unit_test(changes_keep_their_own_keys),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
