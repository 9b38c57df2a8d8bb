/* Spreading: who sends what to whom, slow links, repair, members that send nonsense, and memory running out anywhere. */
#include "tests/unit/gossip/rogue.h"

#include <sodium.h>

#include "base/mem.h"
#include "gossip/session.h"

static bool settled(const struct net *t)
{
	return net_full_mesh(t) && net_equal(t);
}

static void mesh_of(struct net *t, int nodes, uint64_t seed)
{
	net_init(t, nodes, seed);
	for (int i = 0; i < nodes; i++) {
		net_start(t, i);
		if (i > 0)
			assert_int_equal(net_connect(t, i, i - 1), ERR_OK);
	}
	assert_true(net_until(t, 2000, settled) != UINT64_MAX);
	net_run(t, 500);
}

static uint64_t deltas(const struct net *t)
{
	uint64_t n = 0;
	for (int i = 0; i < t->nodes; i++)
		n += gossip_counters(t->n[i].g)->channel_out[CHANNEL_NAMES];
	return n;
}

/* In a full mesh a change costs one message per node, not one per pair. */
static void one_copy_each(void **state)
{
	struct net t;

	(void)state;
	mesh_of(&t, 6, 1);
	uint64_t before = deltas(&t);
	assert_int_equal(net_put(&t, 2, "a", "1"), ERR_OK);
	net_run(&t, 200);
	for (int i = 0; i < 6; i++)
		assert_true(net_has(&t, i, 2, "a", "1"));
	assert_int_equal(deltas(&t) - before, 5);
	net_free(&t);
}

/* In any connected network without discovery a change reaches everybody by pushing alone. */
static void any_graph(void **state)
{
	uint64_t seed = test_seed("any_graph");
	struct rng r;

	(void)state;
	rng_seed(&r, seed);
	for (int round = 0; round < 60; round++) {
		struct net t;
		int nodes = (int)rng_between(&r, 3, 8);
		net_init(&t, nodes, rng_u64(&r));
		t.discovery = false;
		t.delay_ms = rng_below(&r, 10);
		for (int i = 0; i < nodes; i++) {
			net_start(&t, i);
			if (i > 0)
				assert_int_equal(net_connect(&t, i, (int)rng_below(&r, (uint64_t)i)), ERR_OK);
		}
		for (int k = (int)rng_below(&r, 6); k > 0; k--) {
			int a = (int)rng_below(&r, (uint64_t)nodes), b = (int)rng_below(&r, (uint64_t)nodes);
			if (a != b)
				assert_int_equal(net_connect(&t, a, b), ERR_OK);
		}
		net_run(&t, 1500);
		assert_true(net_equal(&t));
		uint64_t recons = 0;
		for (int i = 0; i < nodes; i++)
			recons += gossip_counters(t.n[i].g)->reconciliations;
		for (int k = 0; k < 5; k++)
			assert_int_equal(net_put(&t, (int)rng_below(&r, (uint64_t)nodes), "x", k % 2 ? "1" : "2"), ERR_OK);
		net_run(&t, 300);
		assert_true(net_equal(&t));
		for (int i = 0; i < nodes; i++)
			recons -= gossip_counters(t.n[i].g)->reconciliations;
		assert_int_equal(recons, 0);
		for (int i = 0; i < nodes; i++)
			for (int k = 0; k < nodes; k++)
				assert_true(gossip_reachable(t.n[i].g, t.n[k].name));
		net_free(&t);
	}
}

static struct direction *towards(struct net *t, int from, int to)
{
	for (size_t k = 0; k < t->n_streams; k++)
		for (int e = 0; e < 2; e++)
			if (t->s[k].used && t->s[k].open[0] && t->s[k].open[1] && t->s[k].node[e] == from && t->s[k].node[1 - e] == to)
				return &t->s[k].d[e];
	fail();
	return NULL;
}

/* 10,000 changes while a link is stalled cost one copy of the state, in memory and on the wire. */
static void slow_link(void **state)
{
	struct net t;

	(void)state;
	mesh_of(&t, 2, 3);
	uint64_t sent = gossip_counters(t.n[0].g)->bytes_out;
	towards(&t, 0, 1)->stalled = true;
	size_t worst = 0;
	for (int i = 0; i < 10000; i++) {
		char key[24], value[200];
		(void)snprintf(key, sizeof key, "key-%d", i % 1000);
		memset(value, 'a' + i % 26, sizeof value);
		value[sizeof value - 1] = '\0';
		assert_int_equal(net_put(&t, 0, key, value), ERR_OK);
		size_t now = gossip_backlog_bytes(t.n[0].g);
		worst = now > worst ? now : worst;
		if (i % 10 == 0)
			net_run(&t, 1);
	}
	size_t whole = crdt_map_bytes(t.n[0].names);
	print_message("slow link: %zu bytes waiting at most, state has %zu\n", worst, whole);
	assert_true(whole > 200000 && worst < whole);
	towards(&t, 0, 1)->stalled = false;
	net_run(&t, 500);
	assert_true(net_equal(&t));
	assert_true(gossip_counters(t.n[0].g)->bytes_out - sent < 2 * whole);
	assert_int_equal(gossip_backlog_bytes(t.n[0].g), 0);
	assert_int_equal(gossip_counters(t.n[0].g)->terminations, 0);
	net_free(&t);
}

/* A link stalled for good in one direction is given up, and everything arrives over its successor. */
static void stalled_for_good(void **state)
{
	struct net t;

	(void)state;
	mesh_of(&t, 3, 4);
	towards(&t, 0, 1)->stalled = true;
	assert_int_equal(net_put(&t, 0, "a", "1"), ERR_OK);
	net_run(&t, 10000);
	assert_true(net_has(&t, 1, 0, "a", "1"));
	assert_true(settled(&t));
	net_free(&t);
}

static void put_silently(struct net *t, int i, const char *key)
{
	assert_int_equal(crdt_map_put(t->n[i].names, slice_str(key), slice_str("1"), NULL), ERR_OK);
}

/* What nobody pushed is found: every 30 s, and soon after a link was lost. */
static void repair(void **state)
{
	struct net t;

	(void)state;
	mesh_of(&t, 2, 5);
	put_silently(&t, 0, "a");
	net_run(&t, 1000);
	assert_false(net_has(&t, 1, 0, "a", "1"));
	net_run(&t, GOSSIP_RECON_MS);
	assert_true(net_has(&t, 1, 0, "a", "1"));
	net_free(&t);

	mesh_of(&t, 3, 6);
	put_silently(&t, 0, "b");
	net_run(&t, 1000);
	assert_false(net_has(&t, 1, 0, "b", "1"));
	net_kill(&t, 2, false);
	net_run(&t, 200);
	assert_true(net_has(&t, 1, 0, "b", "1"));
	net_free(&t);
}

/* An item under our name that we do not know is superseded, and whoever brought it hears so at once. */
static void ghost(void **state)
{
	struct net t;

	(void)state;
	mesh_of(&t, 2, 7);
	net_plant(&t, 1, CHANNEL_NAMES, t.n[0].name, "ghost", (struct stamp){ t.n[0].incarnation, 1000 }, slice_str("x"));
	assert_true(net_has(&t, 1, 0, "ghost", "x"));
	net_run(&t, 50);
	assert_false(net_has(&t, 1, 0, "ghost", "x"));
	assert_true(net_equal(&t));
	net_free(&t);
}

/* Both sides of a partition go on; after it everything is everywhere. */
static void partition(void **state)
{
	(void)state;
	for (uint64_t seed = 0; seed < 10; seed++) {
		struct net t;
		mesh_of(&t, 4, 20 + seed);
		for (int b = 2; b < 4; b++) {
			net_part(&t, 0, b, true);
			net_part(&t, 1, b, true);
		}
		net_run(&t, 10000);
		assert_false(gossip_reachable(t.n[0].g, t.n[2].name));
		assert_true(gossip_reachable(t.n[0].g, t.n[1].name));
		for (int i = 0; i < 4; i++)
			assert_int_equal(net_put(&t, i, "p", "1"), ERR_OK);
		net_run(&t, 50);
		assert_true(net_has(&t, 0, 1, "p", "1"));
		assert_false(net_has(&t, 0, 2, "p", "1"));
		for (int b = 2; b < 4; b++) {
			net_part(&t, 0, b, false);
			net_part(&t, 1, b, false);
		}
		assert_true(net_until(&t, 9000, settled) != UINT64_MAX); /* a dial into the void may take 5 s, the back-off 4 */
		net_free(&t);
	}
}

static void bad_messages(void **state)
{
	static const struct {
		const char *bytes;
		size_t n;
		bool hello, closed;
	} said[] = {
		{ "\2", 1, true, true },                      /* PING cut short */
		{ "\4", 1, true, true },                      /* DELTA without a channel */
		{ "\4\5\377\377\377", 5, true, true },        /* a count that lies */
		{ "\4\5\1\2ab\1\1\1", 8, true, true },        /* an item cut short */
		{ "\4\11\1", 3, true, false },                /* a channel we do not have */
		{ "\4\377\1", 3, true, false },               /* and never will */
		{ "\5\5\377\1", 4, true, true },              /* RECON */
		{ "\6aaaaaabbbbbb\377\0\0", 16, true, true }, /* UNICAST with too many hops */
		{ "\7\0\0\0\0\3a\33b", 9, true, true },       /* BYE with an escape sequence */
		{ "\36xyz", 4, true, false },                 /* a type of a newer version */
		{ "\36xyz", 4, false, false }, { "\2\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 17, false, true }, /* before HELLO */
		{ "\1\1\6\0\0\0\0\0\1", 9, false, true }, /* HELLO that lacks all but a name */
	};
	struct net t;

	(void)state;
	mesh_of(&t, 3, 30);
	for (size_t i = 0; i < sizeof said / sizeof said[0]; i++) {
		struct rogue r;
		rogue_open(&t, &r, UINT64_C(1) << 50 | i);
		if (said[i].hello) {
			rogue_hello(&t, &r);
			assert_int_equal(net_links(&t, 0, LINK_ESTABLISHED, -1), 3);
		}
		uint64_t bad = gossip_counters(t.n[0].g)->malformed, unknown = gossip_counters(t.n[0].g)->unknown_types;
		rogue_say(&t, &r, said[i].bytes, said[i].n);
		assert_int_equal(r.closed, said[i].closed);
		if (said[i].closed) {
			assert_int_equal(gossip_counters(t.n[0].g)->malformed, bad + 1);
			assert_int_equal(r.bye, BYE_MALFORMED);
		} else {
			assert_int_equal(gossip_counters(t.n[0].g)->unknown_types, unknown + 1);
		}
		rogue_close(&t, &r);
		assert_int_equal(net_links(&t, 0, LINK_ESTABLISHED, -1), 2);
	}
	net_run(&t, 100);
	assert_true(settled(&t));
	net_free(&t);
}

/* A member sends anything at all: nobody falls, and the links of the others stay. */
static void nonsense(void **state)
{
	uint64_t seed = test_seed("nonsense");
	struct rng r;
	struct net t;
	static uint8_t bytes[5000];

	(void)state;
	rng_seed(&r, seed);
	mesh_of(&t, 3, 31);
	for (uint64_t round = 0; round < 300; round++) {
		struct rogue x;
		rogue_open(&t, &x, UINT64_C(1) << 51 | round);
		rogue_hello(&t, &x);
		for (int k = 0; k < 50 && !x.closed; k++) {
			size_t n = (size_t)rng_between(&r, 1, rng_chance(&r, 900000) ? 60 : sizeof bytes);
			rng_fill(&r, bytes, n);
			bytes[0] = (uint8_t)rng_between(&r, 2, 9);
			if (n > 2)
				bytes[1] = (uint8_t)rng_between(&r, 0, 6);
			rogue_say(&t, &x, bytes, n);
		}
		rogue_close(&t, &x);
		net_run(&t, 40);
		crdt_map_check(t.n[0].names);
		crdt_map_check(t.n[0].peers);
	}
	net_run(&t, 70000);
	assert_true(net_equal(&t));
	for (int i = 1; i < 3; i++)
		assert_int_equal(gossip_counters(t.n[i].g)->terminations, 0);
	assert_true(net_full_mesh(&t));
	net_free(&t);
}

/* The n-th allocation fails, for every n (once, or this and all that follow for a while); afterwards all is as it should be. */
static bool walk(uint64_t n, bool sticky)
{
	struct net t;
	long before = mem_live();
	net_init(&t, 3, 40);
	t.chunks = false;
	for (int i = 0; i < 3; i++)
		net_start(&t, i);
	mem_fail_at((size_t)n, sticky);
	(void)net_connect(&t, 0, 1);
	(void)net_connect(&t, 1, 2);
	net_run(&t, 60);
	struct gossip_actions out;
	gossip_actions_init(&out, t.n[1].arena);
	enum err e = gossip_set_extra(t.n[1].g, slice_str("extra"), t.now, &out);
	assert_true(e == ERR_OK || e == ERR_NOMEM);
	net_actions(&t, 1, &out);
	arena_reset(t.n[1].arena);
	net_run(&t, 30);
	bool hit = false;
	for (int i = 0; i < 3; i++)
		hit = hit || t.n[i].nomem_seen;
	mem_fail_at(0, false);
	(void)net_connect(&t, 0, 1);
	(void)net_connect(&t, 1, 2);
	assert_int_equal(net_put(&t, 2, "a", "1"), ERR_OK);
	net_run(&t, 40000);
	if (!settled(&t)) {
		print_message("allocation %llu, %s\n", (unsigned long long)n, sticky ? "and all after it" : "only");
		fail();
	}
	struct peer_info info;
	assert_true(gossip_peer(t.n[0].g, t.n[1].name, &info) && slice_eq(info.extra, slice_str("extra")));
	assert_true(net_has(&t, 0, 2, "a", "1"));
	net_free(&t);
	assert_int_equal(mem_live(), before);
	return hit;
}

static void out_of_memory(void **state)
{
	(void)state;
	size_t hits = 0;
	uint64_t n = 1;
	for (int misses = 0; misses < 40; n++) {
		bool hit = walk(n, false);
		misses = hit ? 0 : misses + 1;
		hits += hit ? 1 : 0;
	}
	print_message("%d allocations, %zu failures noticed\n", (int)n - 1, hits);
	assert_true(hits > 50);
	for (uint64_t k = 1; k < n; k += 7)
		(void)walk(k, true);
}

/* The heap of timers has no memory to grow: they are not lost. */
static void lost_timers(void **state)
{
	(void)state;
	for (size_t n = 1; n < 5; n++) {
		struct net t;
		net_init(&t, 1, 60);
		net_start(&t, 0);
		for (int i = 0; i < 200; i++) {
			char text[32];
			struct gossip_event ev = { .kind = GOSSIP_CONNECT };
			(void)snprintf(text, sizeof text, "10.1.0.%d:1", i);
			ev.u.target.target = text;
			mem_fail_at(n, true);
			enum err e = net_step(&t, 0, &ev);
			mem_fail_at(0, false);
			assert_true(e == ERR_OK || e == ERR_NOMEM);
			if (n == 1) /* the target itself was not taken: ask again */
				(void)net_step(&t, 0, &ev);
		}
		net_run(&t, 200000);
		struct link_view v;
		size_t listed = 0;
		const char *text;
		for (size_t it = 0; gossip_next_target(t.n[0].g, &it, &text);)
			listed++;
		assert_true(listed > 0);
		size_t tried = 0;
		for (size_t it = 0; gossip_next_link(t.n[0].g, &it, &v);)
			tried += v.reason[0] != '\0' || v.state == LINK_CONNECTING ? 1 : 0;
		assert_int_equal(tried, listed);
		net_free(&t);
	}
}

static void new_without_memory(void **state)
{
	(void)state;
	for (size_t n = 1;; n++) {
		struct net t;
		struct crdt_map *peers, *names;
		net_init(&t, 1, 50);
		t.n[0].arena = arena_new();
		assert_int_equal(crdt_map_new(&peers, true, 1), ERR_OK);
		assert_int_equal(crdt_map_new(&names, true, 1), ERR_OK);
		long before = mem_live();
		mem_fail_at(n, false);
		bool ok = net_try_start(&t, 0, 0, peers, names);
		mem_fail_at(0, false);
		if (ok) {
			assert_true(n > 5);
			net_free(&t);
			return;
		}
		t.n[0].g = NULL;
		crdt_map_free(peers);
		crdt_map_free(names);
		arena_free(t.n[0].arena);
		assert_true(mem_live() < before);
		free(t.s);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_copy_each),
		cmocka_unit_test(any_graph),
		cmocka_unit_test(slow_link),
		cmocka_unit_test(stalled_for_good),
		cmocka_unit_test(repair),
		cmocka_unit_test(ghost),
		cmocka_unit_test(partition),
		cmocka_unit_test(bad_messages),
		cmocka_unit_test(nonsense),
		cmocka_unit_test(out_of_memory),
		cmocka_unit_test(lost_timers),
		cmocka_unit_test(new_without_memory),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
