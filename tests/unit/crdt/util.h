/* What the crdt tests share: small items, maps as states, and a seed that is printed. */
#ifndef WEFT_TESTS_CRDT_UTIL_H
#define WEFT_TESTS_CRDT_UTIL_H

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/rng.h"
#include "crdt/map.h"

/* WEFT_SEED repeats a run (else the time decides), WEFT_CASES lengthens it. */
static inline uint64_t util_env(const char *name, uint64_t otherwise)
{
	const char *text = getenv(name);
	return text == NULL ? otherwise : strtoull(text, NULL, 0);
}

static inline struct rng util_rng(const char *what)
{
	struct rng r;
	struct timespec now;
	timespec_get(&now, TIME_UTC);
	uint64_t seed = util_env("WEFT_SEED", (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec);
	rng_seed(&r, seed);
	print_message("%s: WEFT_SEED=%" PRIu64 "\n", what, seed);
	return r;
}

static inline struct crdt_map *util_map(bool owned)
{
	struct crdt_map *m = NULL;
	assert_int_equal(crdt_map_new(&m, owned, 7), ERR_OK);
	return m;
}

/* An item with its own memory. */
struct test_item {
	uint8_t key[CRDT_KEY_MAX], value[16];
	struct crdt_item it;
};

/* sub 0: the owner's floor; value NULL: dead. */
static inline struct crdt_item *util_item(
	struct test_item *t, uint64_t owner, char sub, uint64_t inc, uint64_t ctr, const char *value)
{
	struct wbuf w;
	wbuf_fixed(&w, t->key, sizeof t->key);
	wbuf_u48(&w, owner);
	if (sub != 0)
		wbuf_u8(&w, (uint8_t)sub);
	t->it = (struct crdt_item){ .key = wbuf_slice(&w), .stamp = { inc, ctr } };
	if (value != NULL) {
		size_t n = strlen(value);
		memcpy(t->value, value, n);
		t->it.live = true;
		t->it.value = slice_of(t->value, n);
	}
	return &t->it;
}

/* A random item out of few, so that ties happen: 3 owners, floors, 3 subkeys, 2 incarnations, 4 counters, 2 values or none. */
static inline struct crdt_item *util_random_item(struct test_item *t, struct rng *r)
{
	static const char *values[] = { NULL, "x", "y" };
	uint64_t owner = rng_between(r, 1, 3), inc = rng_between(r, 1, 2), ctr = rng_between(r, 1, 4);
	if (rng_below(r, 5) == 0)
		return util_item(t, owner, 0, inc, ctr, NULL);
	return util_item(t, owner, (char)('a' + rng_below(r, 3)), inc, ctr, values[rng_below(r, 3)]);
}

static inline enum crdt_merge util_merge(struct crdt_map *m, const struct crdt_item *it, struct crdt_changes *ch)
{
	enum crdt_merge what = CRDT_STALE;
	assert_int_equal(crdt_map_merge(m, it, &what, ch), ERR_OK);
	return what;
}

static inline void util_merge_map(struct crdt_map *dst, const struct crdt_map *src)
{
	struct crdt_item it;
	for (bool there = crdt_map_seek(src, slice_of(NULL, 0), &it); there; there = crdt_map_next(src, it.key, &it))
		(void)util_merge(dst, &it, NULL);
}

static inline struct crdt_map *util_copy(const struct crdt_map *src, bool owned)
{
	struct crdt_map *m = util_map(owned);
	util_merge_map(m, src);
	return m;
}

static inline bool util_same_item(const struct crdt_item *a, const struct crdt_item *b)
{
	return slice_eq(a->key, b->key) && stamp_cmp(a->stamp, b->stamp) == 0 && a->live == b->live &&
		(!a->live || slice_eq(a->value, b->value));
}

/* Item by item, not by fingerprint. */
static inline bool util_equal(const struct crdt_map *a, const struct crdt_map *b)
{
	struct crdt_item x, y;
	bool have_x = crdt_map_seek(a, slice_of(NULL, 0), &x), have_y = crdt_map_seek(b, slice_of(NULL, 0), &y);
	while (have_x && have_y && util_same_item(&x, &y)) {
		have_x = crdt_map_next(a, x.key, &x);
		have_y = crdt_map_next(b, y.key, &y);
	}
	return !have_x && !have_y;
}

/* The highest stamp of an owner's items, its floor included. */
static inline struct stamp util_last(const struct crdt_map *m, uint64_t owner)
{
	struct crdt_item it;
	struct stamp last = { 0, 0 };
	for (bool there = crdt_map_seek(m, slice_of(NULL, 0), &it); there; there = crdt_map_next(m, it.key, &it))
		if (crdt_owner(it.key) == owner && stamp_cmp(it.stamp, last) > 0)
			last = it.stamp;
	return last;
}

static inline struct slice util_none(void)
{
	return slice_of(NULL, 0);
}

static inline void util_hex(struct slice s, char *out)
{
	for (size_t i = 0; i < s.n; i++)
		(void)snprintf(out + 2 * i, 3, "%02x", s.p[i]);
	out[2 * s.n] = 0;
}

static inline void util_expect_hex(struct slice s, const char *want)
{
	char text[4096];
	assert_true(2 * s.n < sizeof text);
	util_hex(s, text);
	assert_string_equal(text, want);
}

#endif
