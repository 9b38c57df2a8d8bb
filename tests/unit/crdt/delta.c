#include "util.h"

#include "crdt/delta.h"

static enum err merge(struct crdt_map *m, struct slice bytes)
{
	struct rbuf in;
	rbuf_init(&in, bytes.p, bytes.n);
	return crdt_delta_merge(m, &in, NULL, NULL, NULL);
}

static void golden_bytes(void **state)
{
	(void)state;
	struct crdt_map *m = util_map(true);
	struct test_item a, b;
	uint8_t mem[128];
	struct wbuf w;
	size_t taken;
	(void)util_merge(m, util_item(&a, 1, 'a', 2, 3, "x"), NULL);
	(void)util_merge(m, util_item(&b, 1, 0, 1, 9, NULL), NULL);
	struct slice keys[] = { b.it.key, slice_str("absent"), a.it.key };
	wbuf_fixed(&w, mem, sizeof mem);
	assert_int_equal(crdt_delta_encode(m, keys, 3, sizeof mem, &w, &taken), ERR_OK);
	assert_int_equal(taken, 3);
	util_expect_hex(wbuf_slice(&w),
		"02"
		"06000000000001010900"
		"0700000000000161020301"
		"0178");
	crdt_map_free(m);
}

static void encode_keeps_to_its_size(void **state)
{
	(void)state;
	struct crdt_map *m = util_map(true), *copy = util_map(true);
	struct slice keys[300];
	struct crdt_item it;
	size_t n = 0, done = 0;
	crdt_map_set_writer(m, 5, 1);
	for (unsigned i = 0; i < 300; i++) {
		uint8_t key[2] = { (uint8_t)(i >> 8), (uint8_t)i };
		assert_int_equal(crdt_map_put(m, slice_of(key, 2), slice_str("0123456789"), NULL), ERR_OK);
	}
	for (bool there = crdt_map_seek(m, util_none(), &it); there; there = crdt_map_next(m, it.key, &it))
		keys[n++] = it.key;
	while (done < n) {
		uint8_t mem[200];
		struct wbuf w;
		size_t taken = 0;
		wbuf_fixed(&w, mem, sizeof mem);
		assert_int_equal(crdt_delta_encode(m, keys + done, n - done, sizeof mem, &w, &taken), ERR_OK);
		assert_true(taken > 0 && w.len <= sizeof mem && (w.len > 160 || done + taken == n));
		assert_int_equal(merge(copy, wbuf_slice(&w)), ERR_OK);
		done += taken;
	}
	assert_true(util_equal(m, copy));
	uint8_t mem[200];
	struct wbuf w;
	size_t taken = 7;
	wbuf_fixed(&w, mem, sizeof mem);
	assert_int_equal(crdt_delta_encode(m, keys, n, 20, &w, &taken), ERR_LIMIT);
	assert_int_equal(taken, 0);
	crdt_map_free(m);
	crdt_map_free(copy);
}

static void malformed_merges_nothing(void **state)
{
	(void)state;
	static const struct {
		const char *why;
		uint8_t bytes[40];
		size_t n;
		enum err want;
	} bad[] = {
		{ "empty", { 0 }, 0, ERR_TRUNCATED },
		{ "second item missing", { 2, 7, 0, 0, 0, 0, 0, 1, 'a', 1, 1, 0 }, 12, ERR_TRUNCATED },
		{ "second item cut", { 2, 7, 0, 0, 0, 0, 0, 1, 'a', 1, 1, 0, 7, 0, 0, 0, 0, 0, 1, 'b', 1, 1 }, 22, ERR_TRUNCATED },
		{ "bytes behind", { 1, 7, 0, 0, 0, 0, 0, 1, 'a', 1, 1, 0, 0 }, 13, ERR_MALFORMED },
		{ "key without owner", { 2, 7, 0, 0, 0, 0, 0, 1, 'a', 1, 1, 0, 1, 'k', 1, 1, 0 }, 17, ERR_MALFORMED },
		{ "live floor", { 2, 7, 0, 0, 0, 0, 0, 1, 'a', 1, 1, 0, 6, 0, 0, 0, 0, 0, 1, 1, 1, 1, 0 }, 23, ERR_MALFORMED },
		{ "too many", { 0x81, 0x80, 4 }, 3, ERR_LIMIT },
	};
	struct crdt_map *m = util_map(true);
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		enum err e = merge(m, slice_of(bad[i].bytes, bad[i].n));
		if (e != bad[i].want || crdt_map_count(m) != 0)
			fail_msg("%s: %s, %zu items", bad[i].why, err_name(e), crdt_map_count(m));
	}
	crdt_map_free(m);
}

/* An item re-stamped for a floor is never missing, even when the floor stands before it. */
static void floors_come_last(void **state)
{
	(void)state;
	struct crdt_map *m = util_map(true), *copy;
	struct crdt_item it;
	struct arena *a = arena_new();
	struct crdt_changes ch;
	uint8_t mem[128];
	struct wbuf w;
	struct rbuf in;
	struct slice keys[4];
	size_t n = 0, taken, items, news;
	crdt_changes_init(&ch, a);
	crdt_map_set_writer(m, 5, 1);
	assert_int_equal(crdt_map_put(m, slice_str("a"), slice_str("1"), NULL), ERR_OK);
	assert_int_equal(crdt_map_put(m, slice_str("b"), slice_str("1"), NULL), ERR_OK);
	copy = util_copy(m, true);
	assert_int_equal(crdt_map_delete(m, slice_str("b"), NULL), ERR_OK);
	assert_int_equal(crdt_map_compact(m, 0, NULL), ERR_OK);
	for (bool there = crdt_map_seek(m, util_none(), &it); there; there = crdt_map_next(m, it.key, &it))
		keys[n++] = it.key;
	assert_int_equal(n, 2);
	wbuf_fixed(&w, mem, sizeof mem);
	assert_int_equal(crdt_delta_encode(m, keys, n, sizeof mem, &w, &taken), ERR_OK);
	rbuf_init(&in, w.data, w.len);
	assert_int_equal(crdt_delta_merge(copy, &in, &ch, &items, &news), ERR_OK);
	assert_int_equal(items, 2);
	assert_int_equal(news, 2);
	assert_int_equal(ch.n, 2);
	assert_int_equal(ch.keys[0].n, 7);
	assert_int_equal(ch.keys[1].n, 6);
	assert_true(util_equal(m, copy));
	arena_free(a);
	crdt_map_free(m);
	crdt_map_free(copy);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(golden_bytes),
		cmocka_unit_test(encode_keeps_to_its_size),
		cmocka_unit_test(malformed_merges_nothing),
		cmocka_unit_test(floors_come_last),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
