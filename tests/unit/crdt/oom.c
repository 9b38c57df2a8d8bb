/* The n-th allocation fails, for every n that a scenario gets to: the call says so, nothing is half done, nothing leaks. */
#include "util.h"

#include "crdt/delta.h"
#include "crdt/recon.h"
#include "crdt/ring.h"

/* What a scenario holds, so that it can leave at any point. */
struct held {
	struct crdt_map *a, *b, *ring;
	struct arena *arena;
	struct crdt_changes ch;
	struct wbuf w, out;
	size_t fail_at;
};

#define TRY(call)             \
	do {                      \
		enum err e_ = (call); \
		if (e_ != ERR_OK)     \
			return e_;        \
	} while (0)

/* A step that must leave the map as it was when it fails. */
#define TRY_WHOLE(m, call)                                                                           \
	do {                                                                                             \
		struct fingerprint before_ = crdt_map_fingerprint(m, util_none(), util_none());              \
		size_t told_ = h->ch.n;                                                                      \
		enum err e_ = (call);                                                                        \
		if (e_ != ERR_OK) {                                                                          \
			assert_true(fingerprint_eq(before_, crdt_map_fingerprint(m, util_none(), util_none()))); \
			assert_int_equal(h->ch.n, told_);                                                        \
			return e_;                                                                               \
		}                                                                                            \
	} while (0)

static enum err merge(struct crdt_map *m, const struct crdt_item *it, struct crdt_changes *ch)
{
	enum crdt_merge what;
	return crdt_map_merge(m, it, &what, ch);
}

static enum err maps(struct held *h)
{
	struct test_item t;
	TRY(crdt_map_new(&h->a, true, 1));
	TRY(crdt_map_new(&h->b, true, 2));
	crdt_map_set_writer(h->a, 1, 1);
	for (char c = 'a'; c < 'z'; c++)
		TRY_WHOLE(h->a, crdt_map_put(h->a, slice_of(&c, 1), slice_str("value"), &h->ch));
	for (char c = 'a'; c < 'h'; c++)
		TRY_WHOLE(h->a, crdt_map_delete(h->a, slice_of(&c, 1), &h->ch));
	TRY_WHOLE(h->a, crdt_map_compact(h->a, 0, &h->ch));
	TRY_WHOLE(h->a, merge(h->a, util_item(&t, 2, 'a', 1, 1, "x"), &h->ch));
	TRY_WHOLE(h->a, merge(h->a, util_item(&t, 1, 'a', 3, 1, "unknown"), &h->ch));
	TRY_WHOLE(h->a, merge(h->a, util_item(&t, 1, 'k', 4, 1, "known"), &h->ch));
	TRY_WHOLE(h->a, merge(h->a, util_item(&t, 1, 0, 5, UINT64_MAX, NULL), &h->ch));
	TRY_WHOLE(h->a, crdt_map_forget(h->a, 2, 0, &h->ch));
	return ERR_OK;
}

static enum err exchanges(struct held *h)
{
	struct slice keys[64];
	size_t n = 0, taken, items, news;
	struct crdt_item it;
	struct rbuf r;
	TRY(maps(h));
	for (bool there = crdt_map_seek(h->a, util_none(), &it); there && n < 10; there = crdt_map_next(h->a, it.key, &it))
		keys[n++] = it.key;
	wbuf_grow(&h->w, 1 << 16);
	wbuf_grow(&h->out, 1 << 16);
	TRY(crdt_delta_encode(h->a, keys, n, 4096, &h->w, &taken));
	rbuf_init(&r, h->w.data, h->w.len);
	TRY(crdt_delta_merge(h->b, &r, &h->ch, &items, &news));
	wbuf_reset(&h->w);
	TRY(crdt_recon_open(h->b, &h->w));
	for (int to_a = 1; h->w.len > 0; to_a ^= 1) {
		rbuf_init(&r, h->w.data, h->w.len);
		TRY(crdt_recon_step(to_a != 0 ? h->a : h->b, &r, &h->out, &h->ch, NULL));
		struct wbuf swap = h->w;
		h->w = h->out;
		h->out = swap;
		wbuf_reset(&h->out);
	}
	assert_true(util_equal(h->a, h->b));
	return ERR_OK;
}

static enum err rings(struct held *h)
{
	static const struct universe u = { 0x0a000000, 24 };
	static const uint64_t owners[] = { 1, 2, 3, 4, 5 };
	uint64_t moved;
	TRY(ring_map_new(&h->ring, 3));
	TRY_WHOLE(h->ring, ring_divide(h->ring, u, owners, 5, &h->ch));
	TRY_WHOLE(h->ring, ring_grant(h->ring, u, (struct range4){ u.first + 3, u.first + 17 }, 1, 2, &h->ch));
	TRY_WHOLE(h->ring, ring_grant(h->ring, u, (struct range4){ u.first + 5, u.first + 10 }, 2, 3, &h->ch));
	TRY_WHOLE(h->ring, ring_takeover(h->ring, u, 2, 4, &moved, &h->ch));
	return ERR_OK;
}

/* A floor over so many items that what is told of them does not fit into one block. */
static enum err large_floor(struct held *h)
{
	struct test_item t;
	TRY(crdt_map_new(&h->a, true, 1));
	crdt_map_set_writer(h->a, 1, 1);
	for (unsigned i = 0; i < 2000; i++) {
		uint8_t key[2] = { (uint8_t)(i >> 8), (uint8_t)i };
		mem_fail_at(0, false); /* not these */
		TRY(crdt_map_put(h->a, slice_of(key, 2), slice_str("v"), NULL));
	}
	mem_fail_at(h->fail_at, false);
	TRY_WHOLE(h->a, merge(h->a, util_item(&t, 1, 0, 5, UINT64_MAX, NULL), &h->ch));
	return ERR_OK;
}

static size_t walk(enum err (*scenario)(struct held *), bool sticky)
{
	size_t n = 0;
	enum err e;
	do {
		long live = mem_live();
		struct held h = { 0 };
		h.arena = arena_new();
		assert_non_null(h.arena);
		crdt_changes_init(&h.ch, h.arena);
		h.fail_at = ++n;
		mem_fail_at(n, sticky);
		e = scenario(&h);
		mem_fail_at(0, false);
		assert_true(e == ERR_OK || e == ERR_NOMEM);
		if (h.a != NULL)
			crdt_map_check(h.a);
		if (h.b != NULL)
			crdt_map_check(h.b);
		if (h.ring != NULL) {
			crdt_map_check(h.ring);
			assert_int_equal(ring_check(h.ring, (struct universe){ 0x0a000000, 24 }, NULL), ERR_OK);
		}
		crdt_map_free(h.a);
		crdt_map_free(h.b);
		crdt_map_free(h.ring);
		wbuf_free(&h.w);
		wbuf_free(&h.out);
		arena_free(h.arena);
		assert_int_equal(mem_live(), live);
	} while (e == ERR_NOMEM);
	return n;
}

static void maps_stay_whole(void **state)
{
	(void)state;
	assert_true(walk(maps, false) > 40);
	assert_true(walk(maps, true) > 40);
	assert_true(walk(large_floor, false) > 5);
}

static void exchanges_stay_whole(void **state)
{
	(void)state;
	assert_true(walk(exchanges, false) > 60);
	assert_true(walk(exchanges, true) > 60);
}

static void rings_stay_whole(void **state)
{
	(void)state;
	assert_true(walk(rings, false) > 15);
	assert_true(walk(rings, true) > 15);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(maps_stay_whole),
		cmocka_unit_test(exchanges_stay_whole),
		cmocka_unit_test(rings_stay_whole),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
