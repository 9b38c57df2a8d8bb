#include "util.h"

#include "crdt/recon.h"

enum { ROUNDS_MAX = 200 };

struct exchange {
	size_t messages, bytes, largest;
	struct recon_stats st;
};

/* a opens, both answer until one has nothing more to say. */
static void run(struct crdt_map *a, struct crdt_map *b, size_t room, struct exchange *x)
{
	struct wbuf to_b, to_a;
	wbuf_grow(&to_b, room);
	wbuf_grow(&to_a, room);
	assert_int_equal(crdt_recon_open(a, &to_b), ERR_OK);
	struct crdt_map *at = b;
	struct wbuf *in = &to_b, *out = &to_a;
	while (in->len > 0) {
		struct rbuf r;
		x->messages++;
		x->bytes += in->len;
		x->largest = in->len > x->largest ? in->len : x->largest;
		assert_true(x->messages < ROUNDS_MAX);
		rbuf_init(&r, in->data, in->len);
		assert_int_equal(crdt_recon_step(at, &r, out, NULL, &x->st), ERR_OK);
		assert_true(out->len <= room);
		wbuf_reset(in);
		struct wbuf *w = in;
		in = out;
		out = w;
		at = at == b ? a : b;
	}
	wbuf_free(&to_a);
	wbuf_free(&to_b);
}

static void put_number(struct crdt_map *m, uint32_t i, const char *value)
{
	uint8_t key[12] = "number-";
	struct wbuf w;
	wbuf_fixed(&w, key + 7, 4);
	wbuf_u32(&w, i);
	assert_int_equal(crdt_map_put(m, slice_of(key, 11), slice_str(value), NULL), ERR_OK);
}

static struct crdt_map *numbers(uint64_t writer, uint32_t from, uint32_t to)
{
	struct crdt_map *m = util_map(true);
	crdt_map_set_writer(m, writer, 1);
	for (uint32_t i = from; i < to; i++)
		put_number(m, i, "a value of thirty-two characters");
	return m;
}

static void golden_bytes(void **state)
{
	(void)state;
	struct crdt_map *a = util_map(true), *b = util_map(true);
	struct test_item t;
	struct wbuf w, out;
	uint8_t mem[256], answer[256];
	struct rbuf r;
	wbuf_fixed(&w, mem, sizeof mem);
	assert_int_equal(crdt_recon_open(a, &w), ERR_OK);
	util_expect_hex(wbuf_slice(&w),
		"01"
		"0000000000000000"
		"0000000000000000"
		"00"
		"00");
	/* The opening of a map with one item is the hash of that item. */
	(void)util_merge(a, util_item(&t, 1, 'a', 2, 3, "x"), NULL);
	wbuf_reset(&w);
	assert_int_equal(crdt_recon_open(a, &w), ERR_OK);
	util_expect_hex(wbuf_slice(&w),
		"01"
		"6181847891d46a65"
		"87878ae5f3c126b2"
		"01"
		"00");
	/* The empty one answers that it has nothing, and gets the item as news. */
	wbuf_fixed(&out, answer, sizeof answer);
	rbuf_init(&r, w.data, w.len);
	assert_int_equal(crdt_recon_step(b, &r, &out, NULL, NULL), ERR_OK);
	util_expect_hex(wbuf_slice(&out),
		"02"
		"00000000"
		"00");
	wbuf_reset(&w);
	rbuf_init(&r, out.data, out.len);
	assert_int_equal(crdt_recon_step(a, &r, &w, NULL, NULL), ERR_OK);
	util_expect_hex(wbuf_slice(&w),
		"03"
		"0000000d"
		"0700000000000161020301"
		"0178"
		"00");
	wbuf_reset(&out);
	rbuf_init(&r, w.data, w.len);
	assert_int_equal(crdt_recon_step(b, &r, &out, NULL, NULL), ERR_OK);
	assert_int_equal(out.len, 0);
	assert_true(util_equal(a, b));
	crdt_map_free(a);
	crdt_map_free(b);
}

static void equal_maps_cost_one_small_message(void **state)
{
	(void)state;
	struct crdt_map *a = numbers(1, 0, 10000), *b = util_copy(a, true);
	struct exchange x = { 0 };
	run(a, b, RECON_MESSAGE_MAX, &x);
	assert_int_equal(x.messages, 1);
	assert_true(x.bytes <= 24);
	assert_int_equal(x.st.ranges_equal, 1);
	crdt_map_free(a);
	crdt_map_free(b);
}

static void a_few_differences_cost_little(void **state)
{
	(void)state;
	struct rng r = util_rng("a_few_differences_cost_little");
	struct crdt_map *a = numbers(1, 0, 10000), *b = util_copy(a, true);
	size_t one = 0;
	for (int i = 0; i < 20; i++) {
		struct exchange x = { 0 };
		put_number(a, (uint32_t)rng_below(&r, 10000), i % 2 == 0 ? "other" : "another");
		if (i % 3 == 0)
			run(a, b, RECON_MESSAGE_MAX, &x);
		else
			run(b, a, RECON_MESSAGE_MAX, &x);
		assert_true(util_equal(a, b));
		assert_true(x.bytes < 6 * 1024);
		assert_true(x.messages <= 7);
		assert_true(x.st.items_news <= 1);
		one = x.bytes > one ? x.bytes : one;
	}
	for (int i = 0; i < 10; i++)
		put_number(a, (uint32_t)rng_below(&r, 10000), "ten of them");
	struct exchange x = { 0 };
	run(b, a, RECON_MESSAGE_MAX, &x);
	assert_true(util_equal(a, b));
	assert_true(x.bytes < 10 * 6 * 1024);
	print_message("10,000 items: one difference at most %zu bytes, ten %zu\n", one, x.bytes);
	crdt_map_free(a);
	crdt_map_free(b);
}

/* What the other side has shown to have is not sent back. */
static void only_what_is_missing_is_answered(void **state)
{
	(void)state;
	struct crdt_map *a = numbers(1, 0, RECON_ITEMS), *b = util_copy(a, true);
	struct exchange x = { 0 };
	struct test_item t;
	(void)util_merge(b, util_item(&t, 2, 'a', 1, 1, "x"), NULL);
	run(b, a, RECON_MESSAGE_MAX, &x);
	assert_true(util_equal(a, b));
	assert_int_equal(x.messages, 3);
	assert_int_equal(x.st.items_sent, RECON_ITEMS + 1); /* all that a has, then the one it lacks */
	assert_int_equal(x.st.items_received, RECON_ITEMS + 1);
	assert_int_equal(x.st.items_news, 1);
	crdt_map_free(a);
	crdt_map_free(b);
}

/* Any sizes, any room for messages: one exchange is enough. */
static void large_differences_in_small_messages(void **state)
{
	(void)state;
	static const struct {
		uint32_t a_from, a_to, b_from, b_to;
	} cases[] = {
		{ 0, 0, 0, 5000 },
		{ 0, 5000, 0, 0 },
		{ 0, 3000, 3000, 6000 },
		{ 0, 4000, 2000, 6000 },
		{ 0, 10, 0, 4000 },
		{ 0, 4000, 3990, 4000 },
	};
	static const size_t rooms[] = { 16 * 1024, 60 * 1024, RECON_MESSAGE_MAX };
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
		for (size_t k = 0; k < 3; k++) {
			struct crdt_map *a = numbers(1, cases[i].a_from, cases[i].a_to), *b = numbers(2, cases[i].b_from, cases[i].b_to);
			struct crdt_map *both = util_copy(a, true);
			struct exchange x = { 0 };
			util_merge_map(both, b);
			run(a, b, rooms[k], &x);
			assert_true(util_equal(a, b) && util_equal(a, both));
			crdt_map_check(a);
			crdt_map_check(b);
			crdt_map_free(a);
			crdt_map_free(b);
			crdt_map_free(both);
		}
}

/* Keys that interleave, so that every range differs and there are more of them than a message takes. */
static void every_other_item_differs(void **state)
{
	(void)state;
	struct crdt_map *a = util_map(false), *b = util_map(false);
	uint8_t key[4];
	for (uint32_t i = 0; i < 60000; i++) {
		struct wbuf w;
		wbuf_fixed(&w, key, sizeof key);
		wbuf_u32(&w, i);
		struct crdt_item it = { .key = wbuf_slice(&w), .stamp = { 1, i }, .live = true, .value = slice_str("v") };
		assert_int_equal(crdt_map_write(i % 2 == 0 ? a : b, &it, NULL), ERR_OK);
	}
	struct exchange x = { 0 };
	run(a, b, RECON_MESSAGE_MAX, &x);
	assert_true(util_equal(a, b));
	assert_int_equal(crdt_map_count(a), 60000);
	assert_int_equal(x.st.items_news, 60000);
	crdt_map_free(a);
	crdt_map_free(b);
}

static void mutate(struct crdt_map *m, struct rng *r)
{
	struct test_item t;
	static const char *values[] = { NULL, "x", "y" };
	uint64_t owner = rng_between(r, 1, 4);
	if (rng_below(r, 40) == 0) {
		(void)util_merge(m, util_item(&t, owner, 0, 1, rng_between(r, 1, 60), NULL), NULL);
		return;
	}
	struct crdt_item *it = util_item(&t, owner, (char)rng_between(r, 1, 100), 1, rng_between(r, 1, 90), values[rng_below(r, 3)]);
	(void)util_merge(m, it, NULL);
}

/* Two maps that drift apart, with floors, and are brought together again and again. */
static void any_two_maps_converge(void **state)
{
	(void)state;
	struct rng r = util_rng("any_two_maps_converge");
	struct crdt_map *a = util_map(true), *b = util_map(true);
	for (uint64_t i = util_env("WEFT_CASES", 100000); i > 0; i--) {
		if (i % 300 == 0) {
			crdt_map_free(a);
			crdt_map_free(b);
			a = util_map(true);
			b = util_map(true);
			for (int k = 0; k < 60; k++)
				mutate(rng_below(&r, 2) == 0 ? a : b, &r);
		}
		for (uint64_t k = rng_below(&r, 4); k > 0; k--)
			mutate(rng_below(&r, 2) == 0 ? a : b, &r);
		struct exchange x = { 0 };
		if (i % 16 == 0) {
			struct crdt_map *want = util_copy(a, true);
			util_merge_map(want, b);
			run(a, b, RECON_MESSAGE_MAX, &x);
			assert_true(util_equal(a, want));
			crdt_map_free(want);
		} else {
			run(a, b, 16 * 1024, &x);
		}
		assert_true(x.messages <= 10);
		assert_true(
			fingerprint_eq(crdt_map_fingerprint(a, util_none(), util_none()), crdt_map_fingerprint(b, util_none(), util_none())));
		if (i % 64 == 0) {
			assert_true(util_equal(a, b));
			crdt_map_check(a);
		}
	}
	crdt_map_free(a);
	crdt_map_free(b);
}

/* The maps go on changing between the messages: the exchange ends all the same, and the next one finds the rest. */
static void maps_may_change_meanwhile(void **state)
{
	(void)state;
	struct rng r = util_rng("maps_may_change_meanwhile");
	for (int i = 0; i < 300; i++) {
		struct crdt_map *maps[2] = { util_map(true), util_map(true) };
		struct wbuf w[2];
		size_t messages = 0;
		for (int k = 0; k < 400; k++)
			mutate(maps[rng_below(&r, 2)], &r);
		wbuf_grow(&w[0], 16 * 1024);
		wbuf_grow(&w[1], 16 * 1024);
		assert_int_equal(crdt_recon_open(maps[0], &w[0]), ERR_OK);
		for (size_t from = 0; w[from].len > 0; from ^= 1) {
			struct rbuf in;
			rbuf_init(&in, w[from].data, w[from].len);
			for (int k = 0; k < 5; k++)
				mutate(maps[rng_below(&r, 2)], &r);
			assert_int_equal(crdt_recon_step(maps[from ^ 1], &in, &w[from ^ 1], NULL, NULL), ERR_OK);
			wbuf_reset(&w[from]);
			assert_true(++messages < 30);
		}
		struct exchange x = { 0 };
		run(maps[0], maps[1], RECON_MESSAGE_MAX, &x);
		assert_true(util_equal(maps[0], maps[1]));
		for (size_t k = 0; k < 2; k++) {
			wbuf_free(&w[k]);
			crdt_map_free(maps[k]);
		}
	}
}

/* A host that lost its disk hears of its former self through reconciliation: both sides end with what it has now. */
static void writers_supersede_while_reconciling(void **state)
{
	(void)state;
	struct crdt_map *old = numbers(1, 0, 300), *m = util_map(true);
	crdt_map_set_writer(m, 1, 1);
	for (uint32_t i = 250; i < 320; i++)
		put_number(m, i, "of the new self");
	for (int i = 0; i < 2; i++) {
		struct crdt_map *other = util_copy(old, true);
		struct exchange x = { 0 }, y = { 0 };
		if (i == 0) {
			run(m, other, RECON_MESSAGE_MAX, &x);
			run(m, other, RECON_MESSAGE_MAX, &y);
		} else {
			run(other, m, RECON_MESSAGE_MAX, &x);
			run(other, m, RECON_MESSAGE_MAX, &y);
		}
		assert_true(util_equal(m, other));
		assert_int_equal(crdt_map_live(m), 70);
		assert_int_equal(crdt_map_count(m), 320);
		crdt_map_check(m);
		crdt_map_free(other);
	}
	assert_int_equal(crdt_map_compact(m, 1, NULL), ERR_OK);
	assert_int_equal(crdt_map_count(m), 71);
	crdt_map_free(old);
	crdt_map_free(m);
}

static enum err step_hex(struct crdt_map *m, const char *hex, size_t *answer)
{
	uint8_t bytes[256], mem[32 * 1024];
	size_t n = strlen(hex) / 2;
	for (size_t i = 0; i < n; i++) {
		unsigned v;
		assert_int_equal(sscanf(hex + 2 * i, "%2x", &v), 1);
		bytes[i] = (uint8_t)v;
	}
	struct rbuf r;
	struct wbuf w;
	rbuf_init(&r, bytes, n);
	wbuf_fixed(&w, mem, sizeof mem);
	enum err e = crdt_recon_step(m, &r, &w, NULL, NULL);
	*answer = w.len;
	return e;
}

static void malformed_messages(void **state)
{
	(void)state;
	static const struct {
		const char *why, *hex;
		enum err want;
		size_t items;
	} bad[] = {
		{ "unknown kind", "0400", ERR_MALFORMED, 0 },
		{ "cut fingerprint", "0100000000", ERR_TRUNCATED, 0 },
		{ "no bound",
			"02"
			"00000000",
			ERR_TRUNCATED, 0 },
		{ "length beyond the end",
			"02"
			"000000ff"
			"00",
			ERR_TRUNCATED, 0 },
		{ "bound before the one before",
			"00"
			"026262"
			"00"
			"0161",
			ERR_MALFORMED, 0 },
		{ "bound equal to the one before",
			"00"
			"0162"
			"00"
			"0162",
			ERR_MALFORMED, 0 },
		{ "range behind the end",
			"00"
			"00"
			"00"
			"00",
			ERR_MALFORMED, 0 },
		{ "bound too long",
			"00"
			"61"
			"00",
			ERR_TRUNCATED, 0 },
		{ "item cut",
			"02"
			"00000005"
			"0700000000"
			"00",
			ERR_TRUNCATED, 0 },
		{ "item below its range",
			"00"
			"0141"
			"03"
			"0000000b"
			"0700000000000161020300"
			"00",
			ERR_MALFORMED, 0 },
		{ "item above its range",
			"03"
			"0000000b"
			"0700000000000161020300"
			"0100",
			ERR_MALFORMED, 0 },
		{ "item twice",
			"02"
			"00000016"
			"0700000000000161020300"
			"0700000000000161020300"
			"00",
			ERR_MALFORMED, 1 },
		{ "items out of order",
			"02"
			"00000016"
			"0700000000000162020300"
			"0700000000000161020300"
			"00",
			ERR_MALFORMED, 1 },
		{ "item without owner",
			"02"
			"00000005"
			"0141020300"
			"00",
			ERR_MALFORMED, 0 },
		{ "junk behind good items",
			"03"
			"0000000b"
			"0700000000000161020300"
			"0190"
			"ff",
			ERR_TRUNCATED, 1 },
	};
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		struct crdt_map *m = util_map(true);
		size_t answer;
		enum err e = step_hex(m, bad[i].hex, &answer);
		if (e != bad[i].want || crdt_map_count(m) != bad[i].items || answer != 0)
			fail_msg("%s: %s, %zu items, %zu bytes", bad[i].why, err_name(e), crdt_map_count(m), answer);
		crdt_map_check(m);
		crdt_map_free(m);
	}
}

static void too_many_ranges(void **state)
{
	(void)state;
	struct crdt_map *m = util_map(true);
	struct wbuf w, out;
	wbuf_grow(&w, 1 << 16);
	wbuf_grow(&out, 1 << 16);
	for (unsigned n = RECON_RANGES_MAX; n <= RECON_RANGES_MAX + 1; n++) {
		struct rbuf r;
		wbuf_reset(&w);
		for (unsigned i = 1; i <= n; i++) {
			uint8_t bound[2] = { (uint8_t)(i >> 8), (uint8_t)i };
			wbuf_u8(&w, 0);
			wbuf_lv(&w, slice_of(bound, 2));
		}
		rbuf_init(&r, w.data, w.len);
		assert_int_equal(crdt_recon_step(m, &r, &out, NULL, NULL), n == RECON_RANGES_MAX ? ERR_OK : ERR_LIMIT);
		assert_int_equal(out.len, 0);
	}
	wbuf_free(&w);
	wbuf_free(&out);
	crdt_map_free(m);
}

/* 512 false fingerprints: the answer keeps to the limits and says something of the rest. */
static void answers_keep_to_the_limits(void **state)
{
	(void)state;
	struct crdt_map *m = numbers(1, 0, 30000), *reader = util_map(true);
	struct wbuf w, out, last;
	struct rbuf r;
	struct recon_stats st = { 0 };
	wbuf_grow(&w, 1 << 16);
	wbuf_grow(&out, 1 << 22);
	wbuf_grow(&last, 1 << 22);
	for (uint32_t i = 1; i <= RECON_RANGES_MAX; i++) {
		uint8_t bound[17] = { 0, 0, 0, 0, 0, 1, 'n', 'u', 'm', 'b', 'e', 'r', '-', 0, 0, (uint8_t)(i * 58 >> 8),
			(uint8_t)(i * 58) };
		wbuf_u8(&w, 1);
		wbuf_u64(&w, i);
		wbuf_u64(&w, i);
		wbuf_varint(&w, i % 2 == 0 ? 1000 : 3);
		wbuf_lv(&w, slice_of(bound, sizeof bound));
	}
	rbuf_init(&r, w.data, w.len);
	assert_int_equal(crdt_recon_step(m, &r, &out, NULL, &st), ERR_OK);
	assert_true(out.len <= RECON_MESSAGE_MAX);
	assert_true(st.ranges_split > 20 && st.items_sent > 1000);
	/* Well-formed, so at most RECON_RANGES_MAX ranges in order. */
	rbuf_init(&r, out.data, out.len);
	assert_int_equal(crdt_recon_step(reader, &r, &last, NULL, NULL), ERR_OK);
	assert_int_equal(crdt_map_count(reader), st.items_sent);
	wbuf_free(&w);
	wbuf_free(&out);
	wbuf_free(&last);
	crdt_map_free(m);
	crdt_map_free(reader);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(golden_bytes),
		cmocka_unit_test(equal_maps_cost_one_small_message),
		cmocka_unit_test(a_few_differences_cost_little),
		cmocka_unit_test(only_what_is_missing_is_answered),
		cmocka_unit_test(large_differences_in_small_messages),
		cmocka_unit_test(every_other_item_differs),
		cmocka_unit_test(any_two_maps_converge),
		cmocka_unit_test(maps_may_change_meanwhile),
		cmocka_unit_test(writers_supersede_while_reconciling),
		cmocka_unit_test(malformed_messages),
		cmocka_unit_test(too_many_ranges),
		cmocka_unit_test(answers_keep_to_the_limits),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
