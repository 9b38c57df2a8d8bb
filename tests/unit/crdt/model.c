/* Owners that write, delete, compact and restart, hosts that forget them, and a network that delivers single items in any order, twice,
 * late or never. Held at every step: what has gone in some host's view, never comes back there. Held at the end, after reconciliation:
 * every host has exactly what the owners have. */
#include "util.h"

#include "crdt/recon.h"

enum { OWNERS = 3, HOSTS = 4, KEYS = 3, FLYING = 32, HISTORIES = 100000 };

struct packet {
	uint8_t bytes[64];
	size_t n;
};

struct world {
	struct rng *r;
	struct crdt_map *map[HOSTS]; /* host i < OWNERS is owner i + 1; the others only listen */
	uint64_t inc[OWNERS];
	char truth[OWNERS][KEYS]; /* value, or 0 */
	/* Per host: the item last seen alive under a key, and the highest stamp that was alive and is no more. */
	struct stamp alive[HOSTS][OWNERS][KEYS], gone[HOSTS][OWNERS][KEYS];
	struct packet flying[FLYING];
	size_t n;
	struct arena *arena;
};

static struct slice key_of(struct test_item *t, size_t owner, size_t key)
{
	return util_item(t, owner + 1, (char)('a' + key), 0, 0, NULL)->key;
}

static bool is_zero(struct stamp s)
{
	return s.inc == 0 && s.ctr == 0;
}

/* Looks at all that host i knows of one owner. */
static void look(struct world *w, size_t i, size_t owner)
{
	for (size_t k = 0; k < KEYS; k++) {
		struct test_item t;
		struct crdt_item it;
		struct stamp *alive = &w->alive[i][owner][k], *gone = &w->gone[i][owner][k];
		bool live = crdt_map_get(w->map[i], key_of(&t, owner, k), &it) && it.live;
		if (!is_zero(*alive) && (!live || stamp_cmp(it.stamp, *alive) != 0) && stamp_cmp(*alive, *gone) > 0)
			*gone = *alive;
		*alive = live ? it.stamp : (struct stamp){ 0, 0 };
		if (live && stamp_cmp(it.stamp, *gone) <= 0)
			fail_msg("host %zu: item %zu of owner %zu is back", i, k, owner + 1);
	}
}

/* The owner's view is the truth, at any time. */
static void expect_truth(const struct world *w, size_t i, size_t owner)
{
	for (size_t k = 0; k < KEYS; k++) {
		struct test_item t;
		struct crdt_item it;
		bool live = crdt_map_get(w->map[i], key_of(&t, owner, k), &it) && it.live;
		char value = live ? (char)it.value.p[0] : 0;
		if (value != w->truth[owner][k])
			fail_msg("host %zu: item %zu of owner %zu is %d instead of %d", i, k, owner + 1, value, w->truth[owner][k]);
	}
}

static void send_item(struct world *w, const struct crdt_item *it)
{
	struct packet *p = w->n < FLYING ? &w->flying[w->n++] : &w->flying[rng_below(w->r, FLYING)];
	struct wbuf out;
	wbuf_fixed(&out, p->bytes, sizeof p->bytes);
	crdt_item_encode(&out, it);
	assert_int_equal(wbuf_end(&out), ERR_OK);
	p->n = out.len;
}

/* What changed in some call may be sent, or lost. */
static void send_changes(struct world *w, size_t i, const struct crdt_changes *ch)
{
	struct crdt_item it;
	for (size_t k = 0; k < ch->n; k++)
		if (rng_below(w->r, 3) != 0 && crdt_map_get(w->map[i], ch->keys[k], &it))
			send_item(w, &it);
}

static void owner_writes(struct world *w, size_t owner)
{
	struct crdt_changes ch;
	size_t k = (size_t)rng_below(w->r, KEYS);
	uint8_t sub = (uint8_t)('a' + k), value = (uint8_t)(rng_below(w->r, 2) == 0 ? 'x' : 'y');
	enum err e;
	crdt_changes_init(&ch, w->arena);
	switch (rng_below(w->r, 7)) {
	case 0:
	case 1:
		e = crdt_map_delete(w->map[owner], slice_of(&sub, 1), &ch);
		w->truth[owner][k] = 0;
		break;
	case 2: e = crdt_map_compact(w->map[owner], (size_t)rng_below(w->r, 3), &ch); break;
	default:
		e = crdt_map_put(w->map[owner], slice_of(&sub, 1), slice_of(&value, 1), &ch);
		w->truth[owner][k] = (char)value;
		break;
	}
	assert_int_equal(e, ERR_OK);
	look(w, owner, owner);
	expect_truth(w, owner, owner);
	send_changes(w, owner, &ch);
}

/* With its disk, or without it; without it perhaps in the same incarnation as before or in a lower one. It puts back what it still
 * has, deletes what it has no more, and ends what it was. */
static void owner_restarts(struct world *w, size_t owner)
{
	struct crdt_map *old = w->map[owner], *m = util_map(true);
	struct crdt_changes ch;
	crdt_changes_init(&ch, w->arena);
	bool disk = rng_below(w->r, 2) == 0;
	if (disk) {
		util_merge_map(m, old);
		w->inc[owner]++;
	} else {
		memset(w->alive[owner], 0, sizeof w->alive[owner]);
		memset(w->gone[owner], 0, sizeof w->gone[owner]);
		w->inc[owner] = rng_between(w->r, 1, w->inc[owner] + 1);
	}
	crdt_map_free(old);
	w->map[owner] = m;
	crdt_map_set_writer(m, owner + 1, w->inc[owner]);
	for (size_t k = 0; k < KEYS; k++) {
		uint8_t sub = (uint8_t)('a' + k), value = (uint8_t)w->truth[owner][k];
		if (value != 0 && rng_below(w->r, 4) == 0)
			value = 0; /* a container that stopped meanwhile */
		w->truth[owner][k] = (char)value;
		if (value != 0)
			assert_int_equal(crdt_map_put(m, slice_of(&sub, 1), slice_of(&value, 1), &ch), ERR_OK);
		else
			assert_int_equal(crdt_map_delete(m, slice_of(&sub, 1), &ch), ERR_OK);
	}
	if (rng_below(w->r, 4) != 0)
		assert_int_equal(crdt_map_compact(m, 0, &ch), ERR_OK);
	look(w, owner, owner);
	expect_truth(w, owner, owner);
	send_changes(w, owner, &ch);
}

static void host_forgets(struct world *w)
{
	size_t i = (size_t)rng_below(w->r, HOSTS), owner = (size_t)rng_below(w->r, OWNERS);
	struct crdt_changes ch;
	crdt_changes_init(&ch, w->arena);
	assert_int_equal(crdt_map_forget(w->map[i], owner + 1, 0, &ch), i == owner ? ERR_SELF : ERR_OK);
	look(w, i, owner);
	send_changes(w, i, &ch);
}

/* To any host, and perhaps again to another one much later. */
static void deliver(struct world *w)
{
	if (w->n == 0)
		return;
	size_t k = (size_t)rng_below(w->r, w->n), i = (size_t)rng_below(w->r, HOSTS);
	struct rbuf in;
	struct crdt_item it;
	struct crdt_changes ch;
	struct packet p = w->flying[k];
	crdt_changes_init(&ch, w->arena);
	rbuf_init(&in, p.bytes, p.n);
	crdt_item_decode(&in, &it);
	assert_int_equal(rbuf_end(&in), ERR_OK);
	if (rng_below(w->r, 3) == 0)
		w->flying[k] = w->flying[--w->n];
	size_t owner = (size_t)crdt_owner(it.key) - 1;
	(void)util_merge(w->map[i], &it, &ch);
	look(w, i, owner);
	if (i < OWNERS)
		expect_truth(w, i, i);
	send_changes(w, i, &ch);
}

static void exchange(struct crdt_map *a, struct crdt_map *b)
{
	uint8_t mem[2][16 * 1024];
	struct wbuf w[2];
	wbuf_fixed(&w[0], mem[0], sizeof mem[0]);
	wbuf_fixed(&w[1], mem[1], sizeof mem[1]);
	assert_int_equal(crdt_recon_open(a, &w[0]), ERR_OK);
	for (size_t from = 0; w[from].len > 0; from ^= 1) {
		struct rbuf in;
		rbuf_init(&in, w[from].data, w[from].len);
		assert_int_equal(crdt_recon_step(from == 0 ? b : a, &in, &w[from ^ 1], NULL, NULL), ERR_OK);
		wbuf_reset(&w[from]);
	}
}

static bool all_equal(const struct world *w)
{
	bool equal = true;
	for (size_t i = 1; i < HOSTS; i++)
		equal = equal && util_equal(w->map[0], w->map[i]);
	return equal;
}

/* Everyone with everyone until it is quiet. Owners that see their former selves answer, so this takes some turns, but few. */
static void reconcile_all(struct world *w, bool by_exchange)
{
	int turns = 0;
	do {
		assert_true(turns++ < 5);
		for (size_t i = 0; i < HOSTS; i++)
			for (size_t k = 0; k < i; k++) {
				if (by_exchange) {
					exchange(w->map[i], w->map[k]);
				} else {
					util_merge_map(w->map[i], w->map[k]);
					util_merge_map(w->map[k], w->map[i]);
				}
				for (size_t o = 0; o < OWNERS; o++) {
					look(w, i, o);
					look(w, k, o);
				}
			}
	} while (!all_equal(w));
	for (size_t i = 0; i < HOSTS; i++)
		for (size_t o = 0; o < OWNERS; o++)
			expect_truth(w, i, o);
}

static void one_history(struct rng *r, struct arena *arena, bool by_exchange)
{
	struct world w = { .r = r, .arena = arena };
	for (size_t i = 0; i < HOSTS; i++)
		w.map[i] = util_map(true);
	for (size_t i = 0; i < OWNERS; i++) {
		w.inc[i] = 1;
		crdt_map_set_writer(w.map[i], i + 1, 1);
	}
	for (uint64_t steps = rng_between(r, 5, 50); steps > 0; steps--) {
		uint64_t what = rng_below(r, 20);
		size_t owner = (size_t)rng_below(r, OWNERS);
		if (what < 8)
			owner_writes(&w, owner);
		else if (what < 18)
			deliver(&w);
		else if (what == 18)
			owner_restarts(&w, owner);
		else
			host_forgets(&w);
	}
	reconcile_all(&w, by_exchange);
	/* What is still under way comes after all; of that, only the words of a former self that nobody had heard yet can be news. */
	while (w.n > 0)
		deliver(&w);
	reconcile_all(&w, by_exchange);
	for (size_t i = 0; i < HOSTS; i++) {
		if (by_exchange)
			crdt_map_check(w.map[i]);
		crdt_map_free(w.map[i]);
	}
}

static void nothing_comes_back_and_all_agree(void **state)
{
	(void)state;
	struct rng r = util_rng("nothing_comes_back_and_all_agree");
	struct arena *arena = arena_new();
	assert_non_null(arena);
	for (uint64_t i = util_env("WEFT_CASES", HISTORIES); i > 0; i--) {
		arena_reset(arena);
		one_history(&r, arena, i % 10 == 0);
	}
	arena_free(arena);
}

/* However long an owner writes, what the others hold of it stays in proportion to what is alive. */
static void state_does_not_grow_with_history(void **state)
{
	(void)state;
	struct rng r = util_rng("state_does_not_grow_with_history");
	struct crdt_map *m = util_map(true), *other = util_map(true);
	crdt_map_set_writer(m, 1, 1);
	for (int i = 0; i < 20000; i++) {
		uint8_t key[2] = { (uint8_t)rng_below(&r, 250), (uint8_t)rng_below(&r, 250) };
		assert_int_equal(crdt_map_put(m, slice_of(key, 2), slice_str("v"), NULL), ERR_OK);
		if (crdt_map_live(m) > 50) {
			struct crdt_item it;
			bool there = crdt_map_seek(m, util_none(), &it);
			while (there && !it.live)
				there = crdt_map_next(m, it.key, &it);
			assert_true(there);
			uint8_t sub[2];
			memcpy(sub, crdt_subkey(it.key).p, 2);
			assert_int_equal(crdt_map_delete(m, slice_of(sub, 2), NULL), ERR_OK);
		}
		assert_int_equal(crdt_map_compact(m, 16, NULL), ERR_OK);
		assert_true(crdt_map_count(m) <= 2 * crdt_map_live(m) + 16 + 1);
		if (i % 500 == 0) {
			exchange(m, other);
			assert_true(util_equal(m, other));
		}
	}
	crdt_map_free(m);
	crdt_map_free(other);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_comes_back_and_all_agree),
		cmocka_unit_test(state_does_not_grow_with_history),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
