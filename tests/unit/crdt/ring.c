#include "util.h"

#include "crdt/ring.h"

static const struct universe small = { 0x0a000000, 28 }; /* 16 addresses */

static struct crdt_map *ring(void)
{
	struct crdt_map *m = NULL;
	assert_int_equal(ring_map_new(&m, 3), ERR_OK);
	return m;
}

static void divide(struct crdt_map *m, struct universe u, size_t n)
{
	uint64_t owners[64];
	assert_true(n <= 64);
	for (size_t i = 0; i < n; i++)
		owners[i] = i + 1;
	assert_int_equal(ring_divide(m, u, owners, n, NULL), ERR_OK);
}

/* Offsets from the start of the range. */
static enum err grant(struct crdt_map *m, struct universe u, uint64_t start, uint64_t end, uint64_t from, uint64_t to)
{
	return ring_grant(m, u, (struct range4){ u.first + start, u.first + end }, from, to, NULL);
}

/* One character an address: '1' … '9' owners, '.' nobody. */
static void view(const struct crdt_map *m, struct universe u, char out[17])
{
	for (uint32_t i = 0; i < 16; i++) {
		uint64_t owner = ring_owner(m, u, u.first + i);
		out[i] = owner == PEER_NONE ? '.' : (char)('0' + owner);
	}
	out[16] = 0;
}

static void expect_view(const struct crdt_map *m, struct universe u, const char *want)
{
	char got[17];
	view(m, u, got);
	assert_string_equal(got, want);
	/* ring_each and ring_owned_by tell the same. */
	struct ring_span s;
	uint64_t it = u.first, sums[10] = { 0 };
	char spans[17] = "................";
	while (ring_each(m, u, &it, &s)) {
		assert_true(s.start < s.end && s.end == it);
		for (uint64_t a = s.start; a < s.end; a++)
			spans[a - u.first] = (char)('0' + s.owner);
		sums[s.owner] += s.end - s.start;
	}
	assert_string_equal(spans, want);
	for (uint64_t o = 1; o < 10; o++)
		assert_int_equal(ring_owned_by(m, u, o), sums[o]);
}

static void expect_legal(const struct crdt_map *m, struct universe u)
{
	struct err_note note = { "" };
	if (ring_check(m, u, &note) != ERR_OK)
		fail_msg("%s", note.text);
}

/* A token that never arrived leaves addresses to nobody; who fills the gap loses to the token when it turns up after all. */
static void gaps_are_filled(void **state)
{
	(void)state;
	struct crdt_map *whole = ring(), *m = ring();
	struct crdt_item it, tail = { 0 };
	uint64_t filled = 0;
	divide(whole, small, 2);
	assert_int_equal(grant(whole, small, 2, 4, 1, 3), ERR_OK); /* writes 2 … 4 and the tail 4 … 8 */
	for (bool there = crdt_map_seek(whole, (struct slice){ NULL, 0 }, &it); there; there = crdt_map_next(whole, it.key, &it)) {
		enum crdt_merge what;
		if (it.key.p[8] == (uint8_t)(small.first + 4)) {
			tail = it;
			continue;
		}
		assert_int_equal(crdt_map_merge(m, &it, &what, NULL), ERR_OK);
	}
	expect_view(m, small, "1133....22222222");
	assert_int_equal(ring_fill(m, small, 4, &filled, NULL), ERR_OK);
	assert_int_equal(filled, 4);
	expect_view(m, small, "1133444422222222");
	expect_legal(m, small);
	assert_int_equal(ring_fill(m, small, 4, &filled, NULL), ERR_OK);
	assert_int_equal(filled, 0);
	enum crdt_merge what;
	assert_int_equal(crdt_map_merge(m, &tail, &what, NULL), ERR_OK);
	assert_int_equal(what, CRDT_NEWS);
	expect_view(m, small, "1133111122222222");
	expect_legal(m, small);
	crdt_map_free(whole);
	crdt_map_free(m);
}

static void empty_ring(void **state)
{
	(void)state;
	struct crdt_map *m = ring();
	assert_true(ring_empty(m, small));
	expect_view(m, small, "................");
	expect_legal(m, small);
	divide(m, (struct universe){ 0x0a000010, 28 }, 2); /* another host's range is not ours */
	assert_true(ring_empty(m, small));
	divide(m, small, 1);
	assert_false(ring_empty(m, small));
	expect_view(m, small, "1111111111111111");
	assert_int_equal(ring_owner(m, small, small.first + 16), PEER_NONE);
	assert_int_equal(ring_owner(m, small, small.first - 1), PEER_NONE);
	crdt_map_free(m);
}

static void division(void **state)
{
	(void)state;
	static const char *want[] = {
		"1111111111111111",
		"1111111122222222",
		"1111122222233333",
		"1111222233334444",
		"1112223333444555",
		"1112233344455666",
	};
	for (size_t n = 1; n <= 6; n++) {
		struct crdt_map *m = ring();
		divide(m, small, n);
		expect_view(m, small, want[n - 1]);
		expect_legal(m, small);
		crdt_map_free(m);
	}
	/* All sizes: nothing left over, ends aligned, as equal as that allows. */
	struct universe u = { 0x0a200000, 16 };
	for (size_t n = 1; n <= 64; n++) {
		struct crdt_map *m = ring();
		struct ring_span s;
		uint64_t it = u.first, least = UINT64_MAX, most = 0, total = 0;
		size_t spans = 0;
		uint64_t grain = 1;
		while (grain * 2 <= 65536 / (RING_GRAINS * n))
			grain *= 2;
		divide(m, u, n);
		expect_legal(m, u);
		while (ring_each(m, u, &it, &s)) {
			uint64_t size = s.end - s.start;
			assert_int_equal(s.owner, ++spans);
			assert_int_equal(s.start % grain, 0);
			assert_int_equal(s.epoch, 0);
			assert_int_equal(s.version, 1);
			least = size < least ? size : least;
			most = size > most ? size : most;
			total += size;
		}
		assert_int_equal(spans, n);
		assert_int_equal(total, 65536);
		assert_true(most - least <= grain && ((n & (n - 1)) != 0 || most == least));
		assert_true(most <= least + least / (RING_GRAINS - 1) + 1);
		crdt_map_free(m);
	}
	/* More owners than addresses. */
	struct universe tiny = { 0x0a000004, 30 };
	struct crdt_map *m = ring();
	divide(m, tiny, 6);
	expect_legal(m, tiny);
	for (uint32_t i = 0; i < 4; i++)
		assert_int_equal(ring_owner(m, tiny, tiny.first + i), i + 1);
	assert_int_equal(ring_owned_by(m, tiny, 5), 0);
	crdt_map_free(m);
	/* The end of the address space. */
	struct universe top = { 0xff000000, 8 };
	m = ring();
	divide(m, top, 3);
	expect_legal(m, top);
	assert_int_equal(ring_owner(m, top, UINT32_MAX), 3);
	assert_int_equal(grant(m, top, (1 << 24) - 1, 1 << 24, 3, 1), ERR_OK);
	assert_int_equal(ring_owner(m, top, UINT32_MAX), 1);
	assert_int_equal(ring_owner(m, top, UINT32_MAX - 1), 3);
	expect_legal(m, top);
	crdt_map_free(m);
}

static void grants(void **state)
{
	(void)state;
	struct crdt_map *m = ring();
	divide(m, small, 2);
	assert_int_equal(grant(m, small, 2, 4, 1, 2), ERR_OK);
	expect_view(m, small, "1122111122222222");
	assert_int_equal(grant(m, small, 2, 4, 1, 2), ERR_REFUSED);
	assert_int_equal(grant(m, small, 0, 5, 1, 2), ERR_REFUSED);
	assert_int_equal(grant(m, small, 8, 17, 2, 1), ERR_REFUSED);
	assert_int_equal(grant(m, small, 8, 8, 2, 1), ERR_REFUSED);
	assert_int_equal(grant(m, (struct universe){ 0, 8 }, 0, 1, 1, 2), ERR_REFUSED);
	expect_view(m, small, "1122111122222222");
	assert_int_equal(grant(m, small, 2, 4, 2, 1), ERR_OK); /* and back */
	expect_view(m, small, "1111111122222222");
	assert_int_equal(grant(m, small, 1, 7, 1, 3), ERR_OK); /* over inner tokens */
	expect_view(m, small, "1333333122222222");
	assert_int_equal(grant(m, small, 7, 16, 1, 3), ERR_REFUSED);
	assert_int_equal(grant(m, small, 8, 16, 2, 3), ERR_OK);
	expect_view(m, small, "1333333133333333");
	uint64_t moved = 0, before = crdt_map_count(m);
	assert_int_equal(ring_takeover(m, small, 3, 4, &moved, NULL), ERR_OK);
	assert_int_equal(moved, 14);
	expect_view(m, small, "1444444144444444");
	assert_int_equal(crdt_map_count(m), before);
	assert_int_equal(ring_takeover(m, small, 3, 4, &moved, NULL), ERR_OK);
	assert_int_equal(moved, 0);
	expect_legal(m, small);
	/* The old division again changes nothing that was moved. */
	divide(m, small, 2);
	expect_view(m, small, "1444444144444444");
	crdt_map_check(m);
	crdt_map_free(m);
}

static void grants_tell_their_tokens(void **state)
{
	(void)state;
	struct crdt_map *m = ring();
	struct arena *a = arena_new();
	struct crdt_changes ch;
	struct ring_span s;
	uint64_t it = small.first;
	crdt_changes_init(&ch, a);
	assert_int_equal(ring_divide(m, small, (uint64_t[]){ 1 }, 1, &ch), ERR_OK);
	assert_int_equal(ch.n, 1);
	ch.n = 0;
	assert_int_equal(ring_grant(m, small, (struct range4){ small.first + 4, small.first + 8 }, 1, 2, &ch), ERR_OK);
	assert_int_equal(ch.n, 2); /* what is given, and what is left behind it */
	ch.n = 0;
	assert_int_equal(ring_grant(m, small, (struct range4){ small.first + 4, small.first + 8 }, 2, 1, &ch), ERR_OK);
	assert_int_equal(ch.n, 1);
	assert_true(ring_each(m, small, &it, &s));
	assert_int_equal(s.tokens, 3); /* neighbours of one owner are one span */
	assert_int_equal(s.end, small.first + 16);
	assert_false(ring_each(m, small, &it, &s));
	arena_free(a);
	crdt_map_free(m);
}

static void version_at_its_end(void **state)
{
	(void)state;
	struct crdt_map *m = ring();
	struct crdt_item it;
	enum crdt_merge what;
	uint8_t key[9];
	divide(m, small, 1);
	assert_true(crdt_map_seek(m, util_none(), &it));
	memcpy(key, it.key.p, sizeof key);
	it.key = slice_of(key, sizeof key);
	uint8_t value[11];
	memcpy(value, it.value.p, sizeof value);
	it.value = slice_of(value, sizeof value);
	it.stamp.ctr = UINT64_MAX;
	assert_int_equal(crdt_map_merge(m, &it, &what, NULL), ERR_OK);
	assert_int_equal(grant(m, small, 0, 4, 1, 2), ERR_LIMIT);
	assert_int_equal(ring_takeover(m, small, 1, 2, NULL, NULL), ERR_LIMIT);
	expect_view(m, small, "1111111111111111");
	crdt_map_free(m);
}

static void golden_token(void **state)
{
	(void)state;
	struct crdt_map *m = ring();
	struct crdt_item it;
	uint8_t mem[64];
	struct wbuf w;
	assert_int_equal(ring_divide(m, small, (uint64_t[]){ UINT64_C(0x0102030405ff) }, 1, NULL), ERR_OK);
	assert_true(crdt_map_seek(m, util_none(), &it));
	wbuf_fixed(&w, mem, sizeof mem);
	crdt_item_encode(&w, &it);
	util_expect_hex(wbuf_slice(&w),
		"09"
		"0a000000"
		"1c"
		"0a000000"
		"00"
		"01"
		"01"
		"0b"
		"0102030405ff"
		"0a00000f"
		"00");
	assert_true(ring_item_valid(&it));
	struct universe u = ring_item_universe(&it);
	assert_int_equal(u.first, small.first);
	assert_int_equal(u.len, small.len);
	crdt_map_free(m);
}

static void malformed_tokens(void **state)
{
	(void)state;
	static const struct {
		const char *why;
		uint8_t key[9], value[11];
		size_t key_n, value_n;
		bool live;
	} bad[] = {
		{ "tombstone", { 10, 0, 0, 0, 28, 10, 0, 0, 0 }, { 0 }, 9, 0, false },
		{ "no owner", { 10, 0, 0, 0, 28, 10, 0, 0, 0 }, { 0, 0, 0, 0, 0, 0, 10, 0, 0, 15, 0 }, 9, 11, true },
		{ "flags", { 10, 0, 0, 0, 28, 10, 0, 0, 0 }, { 0, 0, 0, 0, 0, 1, 10, 0, 0, 15, 1 }, 9, 11, true },
		{ "short key", { 10, 0, 0, 0, 28, 10, 0, 0, 0 }, { 0, 0, 0, 0, 0, 1, 10, 0, 0, 15, 0 }, 8, 11, true },
		{ "short value", { 10, 0, 0, 0, 28, 10, 0, 0, 0 }, { 0, 0, 0, 0, 0, 1, 10, 0, 0, 15, 0 }, 9, 10, true },
		{ "host bits", { 10, 0, 0, 1, 28, 10, 0, 0, 1 }, { 0, 0, 0, 0, 0, 1, 10, 0, 0, 15, 0 }, 9, 11, true },
		{ "length 7", { 10, 0, 0, 0, 7, 10, 0, 0, 0 }, { 0, 0, 0, 0, 0, 1, 10, 0, 0, 15, 0 }, 9, 11, true },
		{ "length 31", { 10, 0, 0, 0, 31, 10, 0, 0, 0 }, { 0, 0, 0, 0, 0, 1, 10, 0, 0, 1, 0 }, 9, 11, true },
		{ "below the range", { 10, 0, 0, 16, 28, 10, 0, 0, 15 }, { 0, 0, 0, 0, 0, 1, 10, 0, 0, 17, 0 }, 9, 11, true },
		{ "above the range", { 10, 0, 0, 0, 28, 10, 0, 0, 16 }, { 0, 0, 0, 0, 0, 1, 10, 0, 0, 17, 0 }, 9, 11, true },
		{ "ends above the range", { 10, 0, 0, 0, 28, 10, 0, 0, 3 }, { 0, 0, 0, 0, 0, 1, 10, 0, 0, 16, 0 }, 9, 11, true },
		{ "ends before it begins", { 10, 0, 0, 0, 28, 10, 0, 0, 3 }, { 0, 0, 0, 0, 0, 1, 10, 0, 0, 2, 0 }, 9, 11, true },
	};
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		struct crdt_map *m = ring();
		enum crdt_merge what;
		struct crdt_item it = { .key = slice_of(bad[i].key, bad[i].key_n),
			.stamp = { 0, 1 },
			.live = bad[i].live,
			.value = slice_of(bad[i].value, bad[i].value_n) };
		if (ring_item_valid(&it) || crdt_map_merge(m, &it, &what, NULL) != ERR_MALFORMED)
			fail_msg("accepted: %s", bad[i].why);
		crdt_map_free(m);
	}
}

/* A map that was not made for rings may hold anything: it is not taken for a token, and the check says so. */
static void foreign_items_are_no_tokens(void **state)
{
	(void)state;
	struct crdt_map *m = util_map(false);
	struct err_note note;
	divide(m, small, 1);
	struct crdt_item it = { .key = slice_of((uint8_t[]){ 10, 0, 0, 0, 28, 10, 0, 0, 8 }, 9), .stamp = { 0, 9 }, .live = true };
	assert_int_equal(crdt_map_write(m, &it, NULL), ERR_OK);
	struct ring_span s;
	uint64_t at = small.first;
	assert_true(ring_each(m, small, &at, &s));
	assert_int_equal(s.end, small.first + 16);
	assert_int_equal(ring_check(m, small, &note), ERR_CONFLICT);
	crdt_map_free(m);
}

/* --- partial knowledge --- */

static void copy_token(struct crdt_map *dst, const struct crdt_map *src, struct universe u, uint32_t offset)
{
	uint8_t key[9];
	struct wbuf w;
	struct crdt_item it;
	wbuf_fixed(&w, key, sizeof key);
	wbuf_u32(&w, u.first);
	wbuf_u8(&w, u.len);
	wbuf_u32(&w, u.first + offset);
	assert_true(crdt_map_get(src, wbuf_slice(&w), &it));
	(void)util_merge(dst, &it, NULL);
}

static void tokens_come_one_by_one(void **state)
{
	(void)state;
	struct crdt_map *m = ring(), *other = ring();
	struct err_note note;
	divide(m, small, 1);
	assert_int_equal(grant(m, small, 4, 8, 1, 2), ERR_OK);
	copy_token(other, m, small, 4);
	expect_view(other, small, "....2222........");
	assert_false(ring_empty(other, small));
	assert_int_equal(ring_check(other, small, &note), ERR_CONFLICT);
	copy_token(other, m, small, 0);
	expect_view(other, small, "11112222........");
	assert_int_equal(ring_check(other, small, &note), ERR_CONFLICT);
	copy_token(other, m, small, 8);
	expect_view(other, small, "1111222211111111");
	expect_legal(other, small);
	crdt_map_free(other);

	/* A gap in the middle. */
	assert_int_equal(grant(m, small, 0, 2, 1, 3), ERR_OK);
	other = ring();
	copy_token(other, m, small, 0);
	copy_token(other, m, small, 4);
	copy_token(other, m, small, 8);
	expect_view(other, small, "33..222211111111");
	assert_int_equal(ring_check(other, small, &note), ERR_CONFLICT);
	assert_non_null(strstr(note.text, "10.0.0.2 to 10.0.0.3"));
	crdt_map_free(m);
	crdt_map_free(other);
}

/* --- merges of legal rings --- */

static void random_grant(struct crdt_map *m, struct universe u, struct rng *r, uint64_t from, uint64_t owners)
{
	struct ring_span s;
	uint64_t it = u.first, to = rng_between(r, 1, owners), pick = rng_below(r, 4);
	while (ring_each(m, u, &it, &s)) {
		if (s.owner != from || pick-- > 0)
			continue;
		uint64_t start = rng_between(r, s.start, s.end - 1), end = rng_between(r, start + 1, s.end);
		assert_int_equal(ring_grant(m, u, (struct range4){ start, end }, from, to, NULL), ERR_OK);
		return;
	}
}

static struct crdt_map *random_ring(struct rng *r, struct universe u)
{
	struct crdt_map *m = ring();
	uint64_t owners[4] = { 1, 2, 3, 4 };
	size_t first = (size_t)rng_below(r, 4);
	assert_int_equal(ring_divide(m, u, owners + first, (size_t)rng_between(r, 1, 4 - first), NULL), ERR_OK);
	for (uint64_t n = rng_below(r, 5); n > 0; n--) {
		if (rng_below(r, 8) == 0)
			assert_int_equal(ring_takeover(m, u, rng_between(r, 1, 4), rng_between(r, 1, 4), NULL, NULL), ERR_OK);
		else
			random_grant(m, u, r, rng_between(r, 1, 4), 4);
	}
	return m;
}

/* Rings formed apart, with different histories, takeovers included. */
static void merges_of_legal_rings_are_legal(void **state)
{
	(void)state;
	struct rng r = util_rng("merges_of_legal_rings_are_legal");
	for (uint64_t i = util_env("WEFT_CASES", 30000); i > 0; i--) {
		struct crdt_map *a = random_ring(&r, small), *b = random_ring(&r, small), *ab = ring(), *ba = ring();
		util_merge_map(ab, a);
		util_merge_map(ab, b);
		util_merge_map(ba, b);
		util_merge_map(ba, a);
		expect_legal(a, small);
		expect_legal(ab, small);
		assert_true(util_equal(ab, ba));
		uint64_t sum = 0;
		for (uint64_t o = 1; o <= 4; o++)
			sum += ring_owned_by(ab, small, o);
		assert_int_equal(sum, 16);
		struct crdt_map *all[] = { a, b, ab, ba };
		for (size_t k = 0; k < 4; k++)
			crdt_map_free(all[k]);
	}
}

enum { POOL = 400, GROUP = 6, MERGES = 12 };

/* The rings of a group, in any order and some of them several times; all are there. */
static struct crdt_map *merge_group(struct rng *r, struct crdt_map *const group[GROUP], struct universe u, uint64_t *cases)
{
	struct crdt_map *m = ring();
	size_t order[MERGES];
	for (size_t k = 0; k < MERGES; k++)
		order[k] = k < GROUP ? k : (size_t)rng_below(r, GROUP);
	for (size_t k = MERGES; k > 1; k--) {
		size_t o = (size_t)rng_below(r, k), t = order[k - 1];
		order[k - 1] = order[o];
		order[o] = t;
	}
	for (size_t k = 0; k < MERGES; k++, (*cases)++) {
		util_merge_map(m, group[order[k]]);
		expect_legal(m, u);
	}
	return m;
}

/* Any legal rings, in any order, any number of times: legal after each merge, and the same in the end. Also where the address space ends. */
static void a_million_merges(void **state)
{
	(void)state;
	static const struct universe where[] = { { 0x0a000000, 28 }, { 0xfffffff0, 28 }, { 0xffffff00, 24 } };
	enum { WHERE = sizeof where / sizeof *where };
	struct rng r = util_rng("a_million_merges");
	struct crdt_map *pool[WHERE][POOL];
	for (size_t w = 0; w < WHERE; w++)
		for (size_t k = 0; k < POOL; k++)
			pool[w][k] = random_ring(&r, where[w]);
	uint64_t cases = 0;
	for (size_t w = 0; cases < util_env("WEFT_CASES", 1000000); w = (w + 1) % WHERE) {
		struct crdt_map *group[GROUP];
		for (size_t k = 0; k < GROUP; k++)
			group[k] = pool[w][rng_below(&r, POOL)];
		struct crdt_map *a = merge_group(&r, group, where[w], &cases), *b = merge_group(&r, group, where[w], &cases);
		assert_true(util_equal(a, b));
		uint64_t sum = 0;
		for (uint64_t o = 1; o <= 4; o++)
			sum += ring_owned_by(a, where[w], o);
		assert_int_equal(sum, range4_size(universe_range(where[w])));
		crdt_map_free(a);
		crdt_map_free(b);
	}
	for (size_t w = 0; w < WHERE; w++)
		for (size_t k = 0; k < POOL; k++)
			crdt_map_free(pool[w][k]);
}

/* --- safety: no address has two owners, each by its own view --- */

enum { PEERS = 4, FLYING = 24 };

struct packet {
	uint8_t bytes[64];
	size_t n, to;
};

struct world {
	struct crdt_map *view[PEERS]; /* of peer i + 1 */
	uint32_t owned[PEERS];        /* bit a: it believes that address a is its own */
	struct packet flying[FLYING];
	size_t n;
};

static void look(struct world *w, size_t i)
{
	struct ring_span s;
	uint64_t it = small.first;
	w->owned[i] = 0;
	while (ring_each(w->view[i], small, &it, &s))
		if (s.owner == i + 1)
			w->owned[i] |= ((1u << (s.end - s.start)) - 1) << (s.start - small.first);
	for (size_t k = 0; k < PEERS; k++)
		if (k != i && (w->owned[k] & w->owned[i]) != 0)
			fail_msg("peers %zu and %zu both own %08x", k + 1, i + 1, w->owned[k] & w->owned[i]);
}

/* A copy of some token as it is known at `from` goes on its way; when too many are under way, one is lost. */
static void send_token(struct world *w, struct rng *r, size_t from, size_t to, struct slice key)
{
	struct crdt_item it;
	struct wbuf out;
	struct packet *p = w->n < FLYING ? &w->flying[w->n++] : &w->flying[rng_below(r, FLYING)];
	assert_true(crdt_map_get(w->view[from], key, &it));
	wbuf_fixed(&out, p->bytes, sizeof p->bytes);
	crdt_item_encode(&out, &it);
	assert_int_equal(wbuf_end(&out), ERR_OK);
	p->n = out.len;
	p->to = to;
}

/* Delivers any of those under way, and leaves it there at times, to come again. */
static void deliver(struct world *w, struct rng *r)
{
	if (w->n == 0)
		return;
	size_t k = (size_t)rng_below(r, w->n), to = w->flying[k].to;
	struct rbuf in;
	struct crdt_item it;
	rbuf_init(&in, w->flying[k].bytes, w->flying[k].n);
	crdt_item_decode(&in, &it);
	assert_int_equal(rbuf_end(&in), ERR_OK);
	(void)util_merge(w->view[to], &it, NULL);
	if (rng_below(r, 4) != 0)
		w->flying[k] = w->flying[--w->n];
	look(w, to);
}

static void give_away(struct world *w, struct rng *r, struct arena *arena)
{
	size_t from = (size_t)rng_below(r, PEERS), to = (size_t)rng_below(r, PEERS);
	struct ring_span s;
	uint64_t it = small.first, pick = rng_below(r, 2);
	struct crdt_changes ch;
	crdt_changes_init(&ch, arena);
	while (ring_each(w->view[from], small, &it, &s)) {
		if (s.owner != from + 1 || pick-- > 0)
			continue;
		uint64_t start = rng_between(r, s.start, s.end - 1), end = rng_between(r, start + 1, s.end);
		assert_int_equal(ring_grant(w->view[from], small, (struct range4){ start, end }, from + 1, to + 1, &ch), ERR_OK);
		break;
	}
	look(w, from);
	for (size_t i = 0; i < ch.n; i++)
		for (size_t k = 0; k < PEERS; k++)
			if (k != from && (k == to || rng_below(r, 2) == 0))
				send_token(w, r, from, k, ch.keys[i]);
}

/* What reconciliation does, but one token at a time and maybe only that one. */
static void gossip(struct world *w, struct rng *r)
{
	size_t from = (size_t)rng_below(r, PEERS), to = (size_t)rng_below(r, PEERS), n = crdt_map_count(w->view[from]);
	struct crdt_item it;
	if (n > 0 && crdt_map_nth(w->view[from], util_none(), (size_t)rng_below(r, n), &it))
		send_token(w, r, from, to, it.key);
}

static void no_address_has_two_owners(void **state)
{
	(void)state;
	struct rng r = util_rng("no_address_has_two_owners");
	struct arena *arena = arena_new();
	assert_non_null(arena);
	for (uint64_t i = util_env("WEFT_CASES", 100000); i > 0; i--) {
		struct world w = { 0 };
		size_t members = (size_t)rng_between(&r, 1, PEERS);
		for (size_t k = 0; k < PEERS; k++) {
			w.view[k] = ring();
			/* Some have taken part in the division or heard of its outcome, the others know nothing yet. */
			if (k < members || rng_below(&r, 2) == 0)
				divide(w.view[k], small, members);
		}
		for (size_t k = 0; k < PEERS; k++)
			look(&w, k);
		for (uint64_t steps = rng_between(&r, 5, 40); steps > 0; steps--) {
			switch (rng_below(&r, 4)) {
			case 0:
				arena_reset(arena);
				give_away(&w, &r, arena);
				break;
			case 1: gossip(&w, &r); break;
			default: deliver(&w, &r); break;
			}
		}
		/* Everything arrives in the end: one ring, nothing lost, nothing twice. */
		for (size_t k = 1; k < PEERS; k++)
			util_merge_map(w.view[0], w.view[k]);
		expect_legal(w.view[0], small);
		uint32_t all = 0;
		for (size_t k = 0; k < PEERS; k++) {
			util_merge_map(w.view[k], w.view[0]);
			look(&w, k);
			all |= w.owned[k];
		}
		assert_int_equal(all, 0xffff);
		for (size_t k = 0; k < PEERS; k++)
			crdt_map_free(w.view[k]);
	}
	arena_free(arena);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(empty_ring),
		cmocka_unit_test(gaps_are_filled),
		cmocka_unit_test(division),
		cmocka_unit_test(grants),
		cmocka_unit_test(grants_tell_their_tokens),
		cmocka_unit_test(version_at_its_end),
		cmocka_unit_test(golden_token),
		cmocka_unit_test(malformed_tokens),
		cmocka_unit_test(foreign_items_are_no_tokens),
		cmocka_unit_test(tokens_come_one_by_one),
		cmocka_unit_test(merges_of_legal_rings_are_legal),
		cmocka_unit_test(a_million_merges),
		cmocka_unit_test(no_address_has_two_owners),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
