/* Epochs, their forms, and the instance that chooses the next one: hosts that hear of each other's states late, in any order, or never. */
#include "ipam/epoch.h"

#include <string.h>

#include "../base/cmocka_all.h"
#include "../base/seed.h"
#include "base/mem.h"
#include "base/rng.h"

#define N    5
#define BASE UINT64_C(0x0a0000000000)

static const struct universe u = { 0x0a200000, 24 };

static struct slice members(uint8_t *mem, size_t n, bool seeds)
{
	struct wbuf w;
	wbuf_fixed(&w, mem, n * PAXOS_MEMBER);
	for (size_t k = 0; k < n; k++) {
		wbuf_u48(&w, BASE + 1 + k);
		wbuf_u32(&w, seeds ? 0 : (uint32_t)(100 + k));
	}
	assert_int_equal(wbuf_end(&w), ERR_OK);
	return wbuf_slice(&w);
}

static struct epoch founded(size_t n)
{
	uint8_t mem[16 * PAXOS_MEMBER];
	struct epoch e;
	assert_int_equal(epoch_found(&e, members(mem, n, false)), ERR_OK);
	return e;
}

static void encode(const struct epoch *e, struct wbuf *w)
{
	wbuf_grow(w, EPOCH_STATE_MAX);
	epoch_encode(w, e);
	assert_int_equal(wbuf_end(w), ERR_OK);
}

static struct spare range(uint32_t first, uint32_t last)
{
	return (struct spare){ { u.first + first, (uint64_t)u.first + last + 1 }, u.first + 256, { 0, 3 } };
}

static void follow(const struct epoch *e, const struct epoch_change *c, struct epoch *next)
{
	struct wbuf w;
	wbuf_grow(&w, EPOCH_VALUE_MAX);
	epoch_value_encode(&w, e, c);
	assert_int_equal(wbuf_end(&w), ERR_OK);
	assert_int_equal(epoch_apply(e, wbuf_slice(&w), u, next), ERR_OK);
	/* Nothing shorter, nothing longer. */
	struct epoch none;
	for (size_t k = 0; k < w.len; k++)
		assert_int_not_equal(epoch_apply(e, slice_of(w.data, k), u, &none), ERR_OK);
	wbuf_u8(&w, 0);
	assert_int_equal(epoch_apply(e, wbuf_slice(&w), u, &none), ERR_MALFORMED);
	assert_null(none.v);
	wbuf_free(&w);
}

static void what_follows(void **state)
{
	(void)state;
	struct epoch e = founded(3), next, again;
	assert_true(e.known && e.number == 0 && epoch_is(&e, BASE + 2, 101));
	assert_false(epoch_is(&e, BASE + 2, 7));
	assert_null(epoch_member(&e, BASE + 9));
	const struct spare s[] = { range(10, 19), range(30, 30) };
	const struct member added[] = { { .name = BASE, .memory = 1 }, { .name = BASE + 3, .memory = 9 } };
	const struct removal removed[] = { { .name = BASE + 2, .heir = BASE + 1, .serial = 7, .n = 2, .v = s } };
	const uint64_t serials[] = { 4, 7, 2 };
	struct epoch_change c = { added, 2, removed, 1, serials };
	follow(&e, &c, &next);
	assert_int_equal(next.number, 1);
	assert_int_equal(next.n, 3);
	assert_true(next.v[0].name == BASE && next.v[0].since == 1 && next.v[0].serial == 0);
	assert_true(next.v[1].name == BASE + 1 && next.v[1].since == 0 && next.v[1].serial == 4);
	/* In place of its former self: what that declared is void. */
	assert_true(next.v[2].name == BASE + 3 && next.v[2].memory == 9 && next.v[2].since == 1 && next.v[2].serial == 0);
	assert_int_equal(next.n_marks, 2);
	assert_true(next.marks[0].from == BASE + 2 && next.marks[0].heir == BASE + 1 && next.marks[0].epoch == 1);
	assert_true(next.digest != e.digest);
	/* Written and read it is the same, with the same digest. */
	struct wbuf w;
	encode(&next, &w);
	assert_int_equal(epoch_decode(wbuf_slice(&w), u, &again), ERR_OK);
	assert_true(again.digest == next.digest && again.number == 1);
	epoch_free(&again);
	for (size_t k = 0; k < w.len; k++)
		assert_int_not_equal(epoch_decode(slice_of(w.data, k), u, &again), ERR_OK);
	wbuf_free(&w);
	epoch_free(&e);
	epoch_free(&next);
}

static void not_what_follows(void **state)
{
	(void)state;
	struct epoch e = founded(3), next;
	const struct spare s = range(10, 19);
	const uint64_t serials[] = { 0, 0, 0 };
	const struct removal strangers[] = { { .name = BASE + 8, .heir = BASE + 1, .serial = 7, .n = 1, .v = &s } };
	const struct removal nobodys[] = { { .name = BASE + 2, .serial = 7, .n = 1, .v = &s } };
	const struct removal all[] = { { .name = BASE + 1 }, { .name = BASE + 2 }, { .name = BASE + 3 } };
	const struct epoch_change bad[] = { { NULL, 0, strangers, 1, serials }, { NULL, 0, nobodys, 1, serials },
		{ NULL, 0, all, 3, serials } };
	for (size_t k = 0; k < sizeof bad / sizeof *bad; k++) {
		struct wbuf w;
		wbuf_grow(&w, EPOCH_VALUE_MAX);
		epoch_value_encode(&w, &e, &bad[k]);
		assert_int_equal(epoch_apply(&e, wbuf_slice(&w), u, &next), ERR_MALFORMED);
		wbuf_free(&w);
	}
	epoch_free(&e);
}

static void declarations(void **state)
{
	(void)state;
	struct declaration d = { .epoch = 3, .serial = 9, .lease_ms = 86400000, .n = 2, .v = { range(1, 5), range(9, 200) } }, r;
	uint8_t mem[256];
	struct wbuf w;
	wbuf_fixed(&w, mem, sizeof mem);
	declaration_encode(&w, &d);
	assert_int_equal(declaration_decode(wbuf_slice(&w), u, &r), ERR_OK);
	assert_true(r.epoch == 3 && r.serial == 9 && r.lease_ms == 86400000 && r.n == 2 && r.v[1].r.end == u.first + 201);
	for (size_t k = 0; k < w.len; k++)
		assert_int_not_equal(declaration_decode(slice_of(mem, k), u, &r), ERR_OK);
	/* Out of order, out of the range, beyond its token, too many. */
	struct declaration bad[4] = { d, d, d, d };
	bad[0].v[1] = range(5, 7);
	bad[1].v[0].r.start = u.first - 1u;
	bad[2].v[1].end = u.first + 100;
	for (int k = 0; k < 3; k++) {
		wbuf_fixed(&w, mem, sizeof mem);
		declaration_encode(&w, &bad[k]);
		assert_int_not_equal(declaration_decode(wbuf_slice(&w), u, &r), ERR_OK);
	}
}

/* --- the instance --- */

struct host {
	struct instance in;
	struct crdt_map *map; /* states as far as it has heard of them */
	struct epoch e, next;
	uint64_t acknowledged; /* one member's declarations; frozen by a promise */
	bool decided;
};

static void publish(struct host *h)
{
	uint8_t key[UNIVERSE_SUBKEY], mem[1024], rep[64];
	struct wbuf w, reports;
	wbuf_fixed(&reports, rep, sizeof rep);
	for (size_t k = 0; k < N; k++)
		wbuf_varint(&reports, k == 0 ? 2 * h->acknowledged + 1 : 0);
	struct vote v = { .memory = h->in.memory,
		.known = true,
		.epoch = h->e.number,
		.digest = h->e.digest,
		.promised = h->in.promised,
		.accepted = h->in.accepted,
		.reports = wbuf_slice(&reports),
		.value = slice_of(h->in.value, h->in.value_n) };
	wbuf_fixed(&w, mem, sizeof mem);
	vote_encode(&w, &v);
	assert_int_equal(wbuf_end(&w), ERR_OK);
	assert_int_equal(crdt_map_put(h->map, universe_subkey(u, 'e', key), wbuf_slice(&w), NULL), ERR_OK);
}

static void hear(struct host *to, const struct host *from)
{
	struct crdt_item it;
	enum crdt_merge what;
	for (bool there = crdt_map_next(from->map, slice_of(NULL, 0), &it); there; there = crdt_map_next(from->map, it.key, &it))
		assert_int_equal(crdt_map_merge(to->map, &it, &what, NULL), ERR_OK);
}

/* Any value will do; it names the highest serial reported, as reclaim.c does, and who proposed it. */
static void name_value(struct host *h, bool *changed)
{
	uint64_t serials[N] = { h->acknowledged }, peer;
	struct slice at = { NULL, 0 };
	struct vote v;
	struct report x;
	while (instance_next(&h->in, &at, &peer, &v)) {
		struct rbuf r;
		rbuf_init(&r, v.reports.p, v.reports.n);
		if (instance_counts(&h->in, peer, &v) && ballot_cmp(v.promised, h->in.promised) == 0 && vote_report(&r, &h->e.v[0], &x) &&
			x.serial > serials[0])
			serials[0] = x.serial;
	}
	const struct member added = { .name = BASE + 50 + (h->in.self - BASE), .memory = (uint32_t)h->in.promised.round };
	struct epoch_change c = { &added, 1, NULL, 0, serials };
	struct wbuf w;
	wbuf_grow(&w, EPOCH_VALUE_MAX);
	epoch_value_encode(&w, &h->e, &c);
	assert_int_equal(instance_accept(&h->in, wbuf_slice(&w), changed), ERR_OK);
	wbuf_free(&w);
}

static void act(struct rng *r, struct host *h)
{
	bool changed = false, any;
	struct slice value;
	if (h->decided)
		return;
	assert_int_equal(instance_listen(&h->in, &changed), ERR_OK);
	if (rng_chance(r, 50000))
		instance_propose(&h->in, &changed);
	if (instance_leads(&h->in, &any, &value)) {
		if (any)
			name_value(h, &changed);
		else
			assert_int_equal(instance_accept(&h->in, value, &changed), ERR_OK);
	}
	if (!instance_open(&h->in) && rng_chance(r, 100000)) {
		h->acknowledged++;
		changed = true;
	}
	if (changed)
		publish(h);
	enum err e = instance_chosen(&h->in, &h->next);
	assert_true(e == ERR_OK || e == ERR_AGAIN);
	h->decided = e == ERR_OK;
}

/* Its disk is lost: a host of the same name that knows nothing, and takes part as soon as it is there. */
static void forget(struct host *h, uint64_t incarnation, uint64_t seed)
{
	crdt_map_free(h->map);
	assert_int_equal(crdt_map_new(&h->map, true, seed), ERR_OK);
	crdt_map_set_writer(h->map, h->in.self, incarnation);
	instance_reset(&h->in);
	epoch_free(&h->next);
	h->in.map = h->map;
	h->in.memory = (uint32_t)(seed >> 32);
	h->decided = false;
	h->acknowledged = 0;
	publish(h);
}

/* Whoever decides decides the same, and no majority has acknowledged more than the value names. With seeds the epoch does not say what memory its members
 * have, so who forgets is one of them still. */
static bool one_history(uint64_t seed, bool seeds)
{
	struct rng r;
	struct epoch said = { 0 };
	struct host h[N] = { 0 };
	size_t decided = 0, more = 0;
	uint8_t mem[N * PAXOS_MEMBER];
	rng_seed(&r, seed);
	for (size_t k = 0; k < N; k++) {
		assert_int_equal(epoch_found(&h[k].e, members(mem, N, seeds)), ERR_OK);
		assert_int_equal(crdt_map_new(&h[k].map, true, seed), ERR_OK);
		crdt_map_set_writer(h[k].map, BASE + 1 + k, 1);
		h[k].in = (struct instance){ .self = BASE + 1 + k, .memory = (uint32_t)(100 + k), .u = u, .e = &h[k].e, .map = h[k].map };
	}
	uint64_t dead = seeds ? N : rng_below(&r, N + 2), remembers = rng_below(&r, N); /* dead: of some only */
	for (int step = 0; step < (seeds ? 1000 : 400); step++) {
		size_t a = rng_below(&r, N), b = rng_below(&r, N);
		if (a == dead || b == dead)
			continue;
		if (a != b && rng_chance(&r, 600000))
			hear(&h[a], &h[b]);
		act(&r, &h[a]);
		if (h[a].decided && !said.known) {
			struct wbuf w;
			encode(&h[a].next, &w);
			assert_int_equal(epoch_decode(wbuf_slice(&w), u, &said), ERR_OK);
			wbuf_free(&w);
		}
		assert_true(!h[a].decided || h[a].next.digest == said.digest);
		if (seeds && a != remembers && rng_chance(&r, 10000))
			forget(&h[a], (uint64_t)step + 2, rng_u64(&r));
	}
	decided = said.known;
	for (size_t k = 0; k < N && said.known && !seeds; k++)
		more += h[k].acknowledged > said.v[0].serial;
	assert_true(more <= N / 2);
	epoch_free(&said);
	for (size_t k = 0; k < N; k++) {
		epoch_free(&h[k].e);
		epoch_free(&h[k].next);
		instance_reset(&h[k].in);
		crdt_map_free(h[k].map);
	}
	return decided > 0;
}

static void one_value(void **state)
{
	(void)state;
	uint64_t seed = test_seed("one_value");
	size_t decided = 0;
	long before = mem_live();
	for (size_t k = 0; k < 1000; k++)
		decided += one_history(seed + k, false);
	printf("%zu of 1000 histories decided\n", decided);
	assert_true(decided > 500);
	assert_int_equal(mem_live(), before);
}

/* As long as one of them remembers. */
static void one_value_of_seeds(void **state)
{
	(void)state;
	uint64_t seed = test_seed("one_value_of_seeds");
	size_t decided = 0;
	long before = mem_live();
	for (size_t k = 0; k < 1000; k++)
		decided += one_history(seed + k, true);
	printf("%zu of 1000 histories decided\n", decided);
	assert_true(decided > 500);
	assert_int_equal(mem_live(), before);
}

/* Whatever is taken is written again as the same bytes. */
static void bent_bytes(void **state)
{
	(void)state;
	struct rng r;
	rng_seed(&r, test_seed("bent_bytes"));
	struct epoch e = founded(N), got;
	struct wbuf w, v;
	encode(&e, &w);
	wbuf_grow(&v, EPOCH_STATE_MAX);
	for (int k = 0; k < 50000; k++) {
		uint8_t mem[256];
		memcpy(mem, w.data, w.len);
		for (uint64_t n = rng_between(&r, 1, 3); n > 0; n--)
			mem[rng_below(&r, w.len)] = rng_chance(&r, 500000) ? (uint8_t)rng_u64(&r) : (uint8_t)rng_below(&r, 4);
		if (epoch_decode(slice_of(mem, w.len), u, &got) != ERR_OK)
			continue;
		wbuf_reset(&v);
		epoch_encode(&v, &got);
		assert_true(slice_eq(wbuf_slice(&v), slice_of(mem, w.len)));
		epoch_free(&got);
	}
	wbuf_free(&w);
	wbuf_free(&v);
	epoch_free(&e);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(what_follows), cmocka_unit_test(not_what_follows),
		cmocka_unit_test(declarations), cmocka_unit_test(one_value), cmocka_unit_test(one_value_of_seeds),
		cmocka_unit_test(bent_bytes) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
