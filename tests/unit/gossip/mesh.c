/* Whole cores in a small network: meeting, discovery, routes, restarts, cuts, duplicates, determinism. */
#include "gossip/internal.h"
#include "tests/unit/gossip/net.h"

static bool settled(const struct net *t)
{
	return net_full_mesh(t) && net_equal(t);
}

static struct stamp last_of(const struct crdt_map *m, uint64_t owner)
{
	struct crdt_item it = { .key = { NULL, 0 } };
	struct stamp last = { 0, 0 };
	while (crdt_map_next(m, it.key, &it))
		if (crdt_owner(it.key) == owner && stamp_cmp(it.stamp, last) > 0)
			last = it.stamp;
	return last;
}

static void two_nodes_meet(void **state)
{
	struct net t;
	struct peer_info info;
	struct ip at, local;

	(void)state;
	net_init(&t, 2, 1);
	net_start(&t, 0);
	net_start(&t, 1);
	assert_int_equal(net_connect(&t, 0, 1), ERR_OK);
	assert_true(net_until(&t, 50, settled) != UINT64_MAX);
	assert_true(gossip_peer(t.n[0].g, t.n[1].name, &info));
	assert_string_equal(info.nickname, "h2");
	assert_string_equal(info.version, "0.1");
	assert_int_equal(info.uid, t.n[1].uid);
	assert_int_equal(info.port, NET_PORT);
	assert_int_equal(gossip_next_hop(t.n[0].g, t.n[1].name), t.n[1].name);
	assert_true(gossip_underlay(t.n[0].g, t.n[1].name, &at, &local));
	assert_true(ip_eq(at, net_address(1).ip) && ip_eq(local, net_address(0).ip));
	assert_int_equal(net_put(&t, 0, "a", "1"), ERR_OK);
	net_run(&t, 20);
	assert_true(net_has(&t, 1, 0, "a", "1"));
	assert_int_equal(t.n[1].news > 0, true);
	net_run(&t, 20000);
	struct link_view v;
	size_t it = 0;
	assert_true(gossip_next_link(t.n[0].g, &it, &v));
	assert_true(v.outbound && v.state == LINK_ESTABLISHED && v.rtt_us > 0 && v.peer == t.n[1].name && !v.encrypted);
	assert_false(gossip_next_link(t.n[0].g, &it, &v)); /* the target is the link: not listed twice */
	it = 0;
	const char *target;
	assert_true(gossip_next_target(t.n[0].g, &it, &target));
	assert_string_equal(target, "10.0.0.2:6783");
	assert_int_equal(gossip_counters(t.n[0].g)->terminations, 0);
	net_free(&t);
}

/* L2: a chain of introductions becomes a mesh, quickly. */
static void chain_becomes_mesh(void **state)
{
	(void)state;
	for (int nodes = 3; nodes <= 8; nodes++) {
		struct net t;
		net_init(&t, nodes, (uint64_t)nodes);
		for (int i = 0; i < nodes; i++)
			net_start(&t, i);
		for (int i = 0; i + 1 < nodes; i++)
			assert_int_equal(net_connect(&t, i, i + 1), ERR_OK);
		uint64_t took = net_until(&t, 1000, net_full_mesh);
		print_message("mesh of %d: %d ms\n", nodes, (int)took);
		assert_true(took < (nodes == 3 ? 50 : 400));
		assert_true(net_until(&t, 1000, settled) != UINT64_MAX);
		for (int i = 0; i < nodes; i++) /* many links in a short time are few publications */
			assert_true(last_of(t.n[i].peers, t.n[i].name).ctr <= 6);
		net_free(&t);
	}
}

static bool ends_reach(const struct net *t)
{
	return gossip_reachable(t->n[0].g, t->n[2].name) && gossip_reachable(t->n[2].g, t->n[0].name);
}

static bool ends_parted(const struct net *t)
{
	return !gossip_reachable(t->n[0].g, t->n[2].name) && !gossip_reachable(t->n[2].g, t->n[0].name);
}

/* L3: without discovery a chain stays one; state crosses it and unicast is relayed. */
static void chain_stays_chain(void **state)
{
	struct net t;
	uint64_t links[4];

	(void)state;
	net_init(&t, 3, 3);
	t.discovery = false;
	for (int i = 0; i < 3; i++)
		net_start(&t, i);
	assert_int_equal(net_connect(&t, 0, 1), ERR_OK);
	assert_int_equal(net_connect(&t, 1, 2), ERR_OK);
	assert_true(net_until(&t, 100, ends_reach) != UINT64_MAX);
	assert_int_equal(net_put(&t, 0, "a", "1"), ERR_OK);
	net_run(&t, 30);
	assert_true(net_has(&t, 2, 0, "a", "1"));
	assert_int_equal(net_links(&t, 0, LINK_ESTABLISHED, -1), 1);
	assert_int_equal(gossip_next_hop(t.n[0].g, t.n[2].name), t.n[1].name);
	assert_int_equal(gossip_links_of(t.n[0].g, t.n[1].name, links, 4), 2);
	assert_true(links[0] == t.n[0].name && links[1] == t.n[2].name);
	net_unicast(&t, 0, 2, 3000);
	net_run(&t, 20);
	assert_int_equal(t.n[2].unicasts, 1);
	assert_int_equal(t.n[2].last_from, t.n[0].name);
	assert_int_equal(t.n[2].last_kind, 7);
	assert_int_equal(t.n[2].last_size, 3000);
	assert_int_equal(t.n[1].unicasts, 0);
	net_unicast(&t, 0, 0, 5); /* to ourselves */
	assert_int_equal(t.n[0].unicasts, 1);
	net_kill(&t, 1, false);
	assert_true(net_until(&t, 100, ends_parted) != UINT64_MAX);
	net_unicast(&t, 0, 2, 10);
	assert_int_equal(gossip_counters(t.n[0].g)->unroutable, 1);
	net_free(&t);
}

/* L1: in any order of starting and connecting, with targets that are not there yet. */
static void any_order(void **state)
{
	uint64_t seed = test_seed("any_order");
	struct rng r;

	(void)state;
	rng_seed(&r, seed);
	for (int round = 0; round < 40; round++) {
		struct net t;
		int order[4] = { 0, 1, 2, 3 };
		net_init(&t, 4, rng_u64(&r));
		rng_shuffle(&r, order, 4, sizeof order[0]);
		for (int i = 0; i < 4; i++) {
			net_start(&t, order[i]);
			assert_int_equal(net_connect(&t, order[i], (order[i] + 1) % 4), ERR_OK);
			net_run(&t, rng_below(&r, 3000));
		}
		assert_true(net_until(&t, 5000, settled) != UINT64_MAX);
		net_free(&t);
	}
}

/* One link per pair stays, whatever the interleaving, and it stays for good. */
static void duplicates(void **state)
{
	uint64_t seed = test_seed("duplicates");
	struct rng r;

	(void)state;
	rng_seed(&r, seed);
	for (int round = 0; round < 1500; round++) {
		struct net t;
		int nodes = round % 10 == 0 ? 4 : 2;
		net_init(&t, nodes, rng_u64(&r));
		t.delay_ms = rng_below(&r, 20);
		for (int i = 0; i < nodes; i++)
			net_start(&t, i);
		for (int i = 0; i < nodes; i++)
			for (int k = 0; k < nodes; k++)
				if (i != k) {
					assert_int_equal(net_connect(&t, i, k), ERR_OK);
					net_run(&t, rng_below(&r, 2) * rng_below(&r, 40));
				}
		assert_true(net_until(&t, 3000, settled) != UINT64_MAX);
		uint64_t terminations = 0, news = 0, lost = 0;
		for (int i = 0; i < nodes; i++)
			terminations += gossip_counters(t.n[i].g)->terminations;
		net_run(&t, 3000);
		assert_true(net_full_mesh(&t));
		for (int i = 0; i < nodes; i++) {
			news += gossip_counters(t.n[i].g)->terminations;
			lost += t.n[i].dials;
		}
		assert_int_equal(news, terminations); /* quiet afterwards */
		assert_true(lost <= (uint64_t)(nodes * (nodes - 1) * 2));
		size_t open = 0;
		for (size_t k = 0; k < t.n_streams; k++)
			open += t.s[k].used && t.s[k].open[0] && t.s[k].open[1] ? 1 : 0;
		assert_int_equal(open, (size_t)(nodes * (nodes - 1) / 2));
		assert_int_equal(terminations, 0); /* at no time was a pair without a link */
		net_free(&t);
	}
}

/* A link that is gone counts at once, not only when it is published that it is. */
static void two_die(void **state)
{
	struct net t;

	(void)state;
	net_init(&t, 3, 21);
	for (int i = 0; i < 3; i++)
		net_start(&t, i);
	assert_int_equal(net_connect(&t, 0, 1), ERR_OK);
	assert_int_equal(net_connect(&t, 0, 2), ERR_OK);
	assert_true(net_until(&t, 1000, settled) != UINT64_MAX);
	net_run(&t, 1000);
	net_kill(&t, 1, false);
	net_kill(&t, 2, false);
	net_run(&t, 5);
	assert_false(gossip_reachable(t.n[0].g, t.n[1].name));
	assert_false(gossip_reachable(t.n[0].g, t.n[2].name));
	net_free(&t);
}

/* A kernel that closes or refuses a connection runs, whatever became of the daemon; one that says nothing may not. */
static void how_it_was_lost(void **state)
{
	struct net t;
	uint64_t seen, first;

	(void)state;
	net_init(&t, 3, 23);
	for (int i = 0; i < 3; i++)
		net_start(&t, i);
	assert_int_equal(gossip_lost_how(t.n[0].g, t.n[1].name, &seen), GOSSIP_LOST_NEVER);
	assert_int_equal(net_connect(&t, 0, 1), ERR_OK);
	assert_int_equal(net_connect(&t, 0, 2), ERR_OK);
	assert_true(net_until(&t, 1000, settled) != UINT64_MAX);
	assert_true(gossip_linked(t.n[0].g, t.n[1].name));
	assert_false(gossip_linked(t.n[0].g, 12345));
	assert_int_equal(gossip_lost_how(t.n[0].g, t.n[1].name, &seen), GOSSIP_LOST_NEVER);
	net_kill(&t, 1, false);
	net_part(&t, 0, 2, true);
	net_run(&t, 5);
	assert_false(gossip_linked(t.n[0].g, t.n[1].name));
	assert_int_equal(gossip_lost_how(t.n[0].g, t.n[1].name, &first), GOSSIP_LOST_CLOSED);
	assert_in_range(first, t.now - 5, t.now);
	net_run(&t, 6000); /* it is dialled again and refuses */
	assert_int_equal(gossip_lost_how(t.n[0].g, t.n[1].name, &seen), GOSSIP_LOST_CLOSED);
	assert_true(seen > first);
	assert_int_equal(gossip_lost_how(t.n[0].g, t.n[2].name, &seen), GOSSIP_LOST_SILENT);
	assert_int_equal(seen, 0);
	net_free(&t);
}

/* A chain 0–1–2: 2 is linked with 1 only, and 0 hears of its end from 1. A daemon whose host closed the connections is present for the grace; one
 * that fell silent or said that it stops is not, nor is one whose own neighbour knew better. */
static void grace(void **state)
{
	(void)state;
	for (int how = 0; how < 3; how++) { /* killed, silent, stopping */
		struct net t;
		struct gossip_actions out;
		net_init(&t, 3, 31);
		t.discovery = false;
		for (int i = 0; i < 3; i++)
			net_start(&t, i);
		assert_int_equal(net_connect(&t, 1, 0), ERR_OK);
		assert_int_equal(net_connect(&t, 1, 2), ERR_OK);
		assert_true(net_until(&t, 1000, ends_reach) != UINT64_MAX);
		net_run(&t, 1000);
		assert_true(gossip_present(t.n[0].g, t.n[2].name) && gossip_present(t.n[0].g, t.n[0].name));
		assert_false(gossip_present(t.n[0].g, 0x99));
		if (how == 2) {
			gossip_actions_init(&out, t.n[2].arena);
			assert_int_equal(gossip_bye(t.n[2].g, t.now, &out), ERR_OK);
			net_actions(&t, 2, &out);
			net_run(&t, 5);
		}
		net_kill(&t, 2, how == 1);
		net_run(&t, how == 1 ? 4000 : 50);
		for (int i = 0; i < 2; i++) {
			assert_false(gossip_reachable(t.n[i].g, t.n[2].name));
			assert_true(gossip_present(t.n[i].g, t.n[2].name) == (how == 0));
		}
		uint64_t before = t.n[0].topologies, end = t.now;
		if (how == 0) {
			net_run(&t, GOSSIP_GRACE_MS - 100);
			assert_true(gossip_present(t.n[0].g, t.n[2].name) && gossip_present(t.n[1].g, t.n[2].name));
			net_run(&t, 150);
			assert_true(t.n[0].topologies > before); /* its end is told */
			assert_false(gossip_present(t.n[0].g, t.n[2].name) || gossip_present(t.n[1].g, t.n[2].name));
		}
		/* Nothing is left of it: the next end, in silence, is not mistaken for the former. */
		net_start(&t, 2);
		assert_true(net_until(&t, 40000, ends_reach) != UINT64_MAX && t.now > end);
		net_run(&t, 20);
		net_part(&t, 1, 2, true);
		net_run(&t, 4500);
		assert_false(gossip_present(t.n[0].g, t.n[2].name) || gossip_present(t.n[1].g, t.n[2].name));
		net_free(&t);
	}
}

/* What a former run left behind in the links of others says nothing of the present one. */
static void grace_of_a_former_run(void **state)
{
	struct net t;
	struct peer_closed closed;
	uint8_t mem[200];
	struct wbuf w;

	(void)state;
	for (int present = 0; present < 3; present++) {
		net_init(&t, 3, 32);
		t.discovery = false;
		for (int i = 0; i < 3; i++)
			net_start(&t, i);
		assert_int_equal(net_connect(&t, 1, 0), ERR_OK);
		assert_int_equal(net_connect(&t, 1, 2), ERR_OK);
		assert_true(net_until(&t, 1000, ends_reach) != UINT64_MAX);
		net_run(&t, 1000);
		/* 1 is made to say to 0 that it is linked with 0 alone, and of which run it saw the end; or that it saw that long ago. */
		struct peer_link to[2] = { { .name = t.n[0].name }, { .name = t.n[2].name } };
		closed = (struct peer_closed){ .name = t.n[2].name, .uid = present != 0 ? t.n[2].uid : t.n[2].uid + 1 };
		net_part(&t, 0, 1, true);
		for (uint64_t n = present == 2 ? 2 : 1, stamp = 1; n > 0; n--, stamp++) {
			wbuf_fixed(&w, mem, sizeof mem);
			assert_int_equal(gossip_peer_links_encode(&w, to, n), ERR_OK);
			assert_int_equal(gossip_peer_closed_encode(&w, &closed, 1, 0), ERR_OK);
			net_plant(&t, 0, CHANNEL_PEERS, t.n[1].name, "l", (struct stamp){ 50, stamp }, wbuf_slice(&w));
			assert_true(gossip_reachable(t.n[0].g, t.n[2].name) == (n == 2));
			if (n == 2) { /* 1 would say at once that this is not so; so time passes here only */
				struct peer *p = gossip_peer_find(t.n[0].g, t.n[1].name);
				assert_int_equal(p->links.closed[0].heard_ms, t.now);
				p->links.closed[0].heard_ms -= GOSSIP_GRACE_MS;
			}
		}
		assert_true(gossip_reachable(t.n[0].g, t.n[1].name) && !gossip_reachable(t.n[0].g, t.n[2].name));
		assert_true(gossip_present(t.n[0].g, t.n[2].name) == (present == 1));
		net_free(&t);
	}
}

/* What only one end says is no link. */
static void one_sided(void **state)
{
	struct net t;
	struct peer_link to[2] = { 0 };
	uint8_t mem[200];
	struct wbuf w;

	(void)state;
	net_init(&t, 2, 22);
	t.discovery = false;
	net_start(&t, 0);
	net_start(&t, 1);
	assert_int_equal(net_connect(&t, 0, 1), ERR_OK);
	assert_true(net_until(&t, 1000, settled) != UINT64_MAX);
	net_run(&t, 100);
	to[0].name = 0x99; /* another of whom nothing is known */
	to[1].name = t.n[1].name;
	wbuf_fixed(&w, mem, sizeof mem);
	assert_int_equal(gossip_peer_links_encode(&w, to, 2), ERR_OK);
	static const uint64_t nowhere[] = { 0x77, 0x99, 0x55 };
	for (size_t i = 0; i < 3; i++)
		net_plant_info(&t, 0, nowhere[i]);
	net_plant(&t, 0, CHANNEL_PEERS, 0x77, "l", (struct stamp){ 1, 1 }, wbuf_slice(&w));
	net_run(&t, 50);
	uint64_t it = 0, name, seen = 0;
	while (gossip_next_peer(t.n[1].g, &it, &name))
		seen += name == 0x77 ? 1 : 0;
	assert_int_equal(seen, 1);
	assert_false(gossip_reachable(t.n[0].g, 0x77) || gossip_reachable(t.n[1].g, 0x77) || gossip_reachable(t.n[0].g, 0x99));
	to[0].name = 0x77;
	wbuf_reset(&w);
	assert_int_equal(gossip_peer_links_encode(&w, to, 1), ERR_OK);
	net_plant(&t, 0, CHANNEL_PEERS, 0x99, "l", (struct stamp){ 1, 1 }, wbuf_slice(&w));
	to[0].name = t.n[0].name;
	to[1].name = t.n[1].name;
	wbuf_reset(&w);
	assert_int_equal(gossip_peer_links_encode(&w, to, 2), ERR_OK);
	net_plant(&t, 0, CHANNEL_PEERS, 0x55, "l", (struct stamp){ 1, 1 }, wbuf_slice(&w)); /* says that it is linked with us */
	assert_false(gossip_reachable(t.n[0].g, 0x55) || gossip_reachable(t.n[0].g, 0x99));
	assert_int_equal(gossip_next_hop(t.n[0].g, 0x55), PEER_NONE);
	to[0].name = 0x77;
	to[1].name = t.n[0].name;
	wbuf_reset(&w);
	assert_int_equal(gossip_peer_links_encode(&w, to, 2), ERR_OK); /* a neighbour that names one who does not name it */
	to[0].name = 0x99;
	net_plant(&t, 0, CHANNEL_PEERS, t.n[1].name, "l", (struct stamp){ 50, 1 }, wbuf_slice(&w));
	wbuf_reset(&w);
	assert_int_equal(gossip_peer_links_encode(&w, to, 1), ERR_OK);
	net_plant(&t, 0, CHANNEL_PEERS, 0x77, "l", (struct stamp){ 1, 2 }, wbuf_slice(&w));
	assert_true(gossip_reachable(t.n[0].g, t.n[1].name));
	assert_false(gossip_reachable(t.n[0].g, 0x77));
	net_free(&t);
}

static void restart(void **state)
{
	(void)state;
	for (int silent = 0; silent < 2; silent++) {
		struct net t;
		net_init(&t, 3, 5);
		for (int i = 0; i < 3; i++)
			net_start(&t, i);
		assert_int_equal(net_connect(&t, 0, 1), ERR_OK);
		assert_int_equal(net_connect(&t, 1, 2), ERR_OK);
		assert_true(net_until(&t, 1000, settled) != UINT64_MAX);
		assert_int_equal(net_put(&t, 1, "old", "x"), ERR_OK);
		net_run(&t, 50);
		net_kill(&t, 1, silent != 0);
		net_run(&t, 30);
		assert_true(gossip_reachable(t.n[0].g, t.n[1].name) == (silent != 0)); /* told, or not noticed yet */
		net_start(&t, 1);
		assert_int_equal(net_connect(&t, 1, 2), ERR_OK);
		assert_true(net_until(&t, 1500, net_full_mesh) != UINT64_MAX);
		struct peer_info info;
		assert_true(net_until(&t, 1000, settled) != UINT64_MAX);
		assert_true(gossip_peer(t.n[0].g, t.n[1].name, &info));
		assert_int_equal(info.uid, t.n[1].uid);
		assert_false(t.n[0].contested || t.n[1].contested || t.n[2].contested);
		net_free(&t);
	}
}

static bool zero_alone(const struct net *t)
{
	return !gossip_reachable(t->n[0].g, t->n[1].name) && !gossip_reachable(t->n[1].g, t->n[0].name);
}

/* A silent cut is noticed in about three seconds, by both; healing is noticed soon. */
static void silent_cut(void **state)
{
	(void)state;
	for (uint64_t seed = 0; seed < 20; seed++) {
		struct net t;
		net_init(&t, 2, seed);
		net_start(&t, 0);
		net_start(&t, 1);
		assert_int_equal(net_connect(&t, 0, 1), ERR_OK);
		assert_true(net_until(&t, 1000, settled) != UINT64_MAX);
		net_run(&t, 5000 + seed * 100);
		net_part(&t, 0, 1, true);
		uint64_t took = net_until(&t, 10000, zero_alone);
		assert_in_range(took, 1500, 4500);
		struct link_view v;
		assert_true(net_trouble(&t, 0, &v));
		assert_true(v.state == LINK_RETRYING && v.retry_ms > 0);
		assert_non_null(strstr(v.reason, "nothing heard"));
		assert_int_equal(net_put(&t, 0, "a", "1"), ERR_OK);
		assert_int_equal(net_put(&t, 1, "b", "1"), ERR_OK);
		net_run(&t, 60000);
		net_part(&t, 0, 1, false);
		assert_true(net_until(&t, 10000, settled) != UINT64_MAX);
		assert_true(net_has(&t, 0, 1, "b", "1") && net_has(&t, 1, 0, "a", "1"));
		net_free(&t);
	}
}

/* An idle, jittery link is not taken for dead, nor is one whose process was stopped for a while. */
static void no_false_alarm(void **state)
{
	struct net t;

	(void)state;
	net_init(&t, 3, 9);
	t.delay_ms = 900;
	for (int i = 0; i < 3; i++)
		net_start(&t, i);
	assert_int_equal(net_connect(&t, 0, 1), ERR_OK);
	assert_int_equal(net_connect(&t, 1, 2), ERR_OK);
	assert_true(net_until(&t, 60000, settled) != UINT64_MAX);
	net_run(&t, 600000);
	for (int i = 0; i < 3; i++)
		assert_int_equal(gossip_counters(t.n[i].g)->terminations, 0);
	assert_true(net_full_mesh(&t));
	t.delay_ms = 2;
	net_run(&t, 10000);
	t.now += 20000; /* nobody runs */
	net_run(&t, 5000);
	for (int i = 0; i < 3; i++)
		assert_int_equal(gossip_counters(t.n[i].g)->terminations, 0);
	net_free(&t);
}

/* Idle costs little: heartbeats and one reconciliation per channel every 30 s. */
static void idle_cost(void **state)
{
	struct net t;

	(void)state;
	net_init(&t, 4, 10);
	for (int i = 0; i < 4; i++) {
		net_start(&t, i);
		assert_int_equal(net_connect(&t, i, 0), ERR_OK); /* the first: itself */
	}
	assert_true(net_until(&t, 2000, settled) != UINT64_MAX);
	net_run(&t, 5000);
	uint64_t sends = t.n[1].sends, steps = t.steps, out = gossip_counters(t.n[1].g)->bytes_out;
	net_run(&t, 60000);
	assert_in_range(t.n[1].sends - sends, 60, 60 * 3 * 2 + 40);
	assert_true(gossip_counters(t.n[1].g)->bytes_out - out < 60 * 3 * 2 * 40 + 4096);
	assert_true(t.steps - steps < 4u * 60 * 3 * 8);
	assert_int_equal(t.n[0].self_notes, 1);
	net_free(&t);
}

static void himself(void **state)
{
	struct net t;
	struct link_view v;

	(void)state;
	net_init(&t, 1, 11);
	t.nodes = 2;
	net_start(&t, 0);
	assert_int_equal(net_connect(&t, 0, 0), ERR_OK);
	net_run(&t, 120000);
	assert_int_equal(t.n[0].dials, 1);
	assert_int_equal(t.n[0].self_notes, 1);
	assert_false(t.n[0].contested);
	assert_true(net_trouble(&t, 0, &v));
	assert_true(v.state == LINK_FAILED && v.retry_ms == 0);
	assert_string_equal(v.reason, "is ourselves");
	net_free(&t);
}

/* Addresses that lead to ourselves, or to another peer, do no harm: the right one is found behind them. */
static void misleading_addresses(void **state)
{
	struct net t;

	(void)state;
	net_init(&t, 4, 17);
	for (int i = 0; i < 4; i++) {
		t.n[i].publishes[0] = i == 3 ? net_docker_bridge() : net_address(i == 2 ? 1 : i);
		t.n[i].publishes[1] = net_address(i);
		t.n[i].n_publishes = i == 0 ? 0 : 2;
		net_start(&t, i);
		if (i > 0)
			assert_int_equal(net_connect(&t, i, i - 1), ERR_OK);
	}
	assert_true(net_until(&t, 3000, settled) != UINT64_MAX);
	net_run(&t, 1000);
	uint64_t dials = t.n[0].dials + t.n[1].dials + t.n[2].dials + t.n[3].dials;
	net_run(&t, 60000);
	assert_int_equal(t.n[0].dials + t.n[1].dials + t.n[2].dials + t.n[3].dials, dials);
	net_part(&t, 0, 3, true);
	net_run(&t, 120000);
	assert_true(t.n[0].dials > 10);
	for (int i = 0; i < 4; i++)
		assert_true(!t.n[i].contested && t.n[i].self_dials <= 1);
	net_free(&t);
}

/* A host that comes back under another name at its old address: the dead name is not dialled there for ever. */
static void renamed(void **state)
{
	struct net t;

	(void)state;
	net_init(&t, 2, 18);
	for (int i = 0; i < 2; i++) {
		t.n[i].publishes[0] = net_address(i);
		t.n[i].n_publishes = 1;
		net_start(&t, i);
	}
	assert_int_equal(net_connect(&t, 0, 1), ERR_OK);
	net_run(&t, 1000);
	net_kill(&t, 1, false);
	net_run(&t, 1000);
	uint64_t former = t.n[1].name;
	t.n[1].name += 0x100;
	net_start_key(&t, 1, 9);
	assert_true(net_until(&t, 6000, settled) != UINT64_MAX);
	uint64_t dials = t.n[0].dials + t.n[1].dials;
	net_run(&t, 120000);
	assert_int_equal(t.n[0].dials + t.n[1].dials, dials);
	assert_false(gossip_reachable(t.n[0].g, former));
	assert_true(net_full_mesh(&t));
	net_free(&t);
}

/* `connect` given again does not wait for an attempt that hangs. */
static void connect_again(void **state)
{
	struct net t;

	(void)state;
	net_init(&t, 2, 19);
	net_start(&t, 0);
	net_start(&t, 1);
	net_part(&t, 0, 1, true);
	assert_int_equal(net_connect(&t, 0, 1), ERR_OK);
	net_run(&t, 1000);
	net_part(&t, 0, 1, false);
	net_run(&t, 1000);
	assert_int_equal(net_links(&t, 0, LINK_ESTABLISHED, 1), 0);
	assert_int_equal(net_connect(&t, 0, 1), ERR_OK);
	assert_true(net_until(&t, 50, settled) != UINT64_MAX);
	net_free(&t);
}

static uint64_t run_once(uint64_t seed)
{
	struct net t;
	net_init(&t, 5, seed);
	t.delay_ms = 15;
	for (int i = 0; i < 5; i++) {
		net_start(&t, i);
		assert_int_equal(net_connect(&t, i, (i + 1) % 5), ERR_OK);
	}
	for (int i = 0; i < 40; i++) {
		char key[16];
		(void)snprintf(key, sizeof key, "k%d", (int)rng_below(&t.rng, 10));
		assert_int_equal(net_put(&t, (int)rng_below(&t.rng, 5), key, i % 2 ? "1" : "2"), ERR_OK);
		net_run(&t, rng_below(&t.rng, 300));
	}
	net_part(&t, 0, 3, true);
	net_run(&t, 9000);
	net_kill(&t, 2, true);
	net_run(&t, 2000);
	net_part(&t, 0, 3, false);
	net_start(&t, 2);
	net_run(&t, 40000);
	assert_true(settled(&t));
	uint64_t trace = t.trace;
	net_free(&t);
	return trace;
}

static void determinism(void **state)
{
	(void)state;
	for (uint64_t seed = 100; seed < 110; seed++)
		assert_int_equal(run_once(seed), run_once(seed));
	assert_int_not_equal(run_once(100), run_once(101));
}

static void targets(void **state)
{
	struct net t;
	struct link_view v;
	const char *text;
	struct gossip_event ev = { .kind = GOSSIP_CONNECT };

	(void)state;
	net_init(&t, 3, 12);
	net_start(&t, 0);
	static const char *const bad[] = { "", "h2:", "h2:70000", "[::1", "h2:x" };
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		ev.u.target.target = bad[i];
		assert_int_equal(net_step(&t, 0, &ev), ERR_MALFORMED);
		assert_non_null(strstr(t.n[0].last_warning, "cannot connect to"));
	}
	ev.u.target.target = "h2"; /* our own port, resolved by the shell */
	assert_int_equal(net_step(&t, 0, &ev), ERR_OK);
	ev.u.target.target = "nowhere.example:7";
	assert_int_equal(net_step(&t, 0, &ev), ERR_OK);
	size_t it = 0;
	assert_true(gossip_next_target(t.n[0].g, &it, &text));
	assert_string_equal(text, "h2");
	assert_true(gossip_next_target(t.n[0].g, &it, &text));
	assert_false(gossip_next_target(t.n[0].g, &it, &text));
	net_run(&t, 600000); /* retried for ever, ever more rarely */
	uint64_t dials = t.n[0].dials;
	assert_in_range(dials, 30, 120);
	net_run(&t, 60000);
	assert_in_range(t.n[0].dials - dials, 2, 10);
	it = 0;
	assert_true(gossip_next_link(t.n[0].g, &it, &v));
	assert_string_equal(v.reason, "connection refused");
	assert_true(gossip_next_link(t.n[0].g, &it, &v));
	assert_string_equal(v.reason, "cannot resolve host");
	net_start(&t, 1);
	ev.u.target.target = "h2";
	assert_int_equal(net_step(&t, 0, &ev), ERR_OK); /* again: at once */
	net_run(&t, 30);
	assert_int_equal(net_links(&t, 0, LINK_ESTABLISHED, 1), 1);
	ev.kind = GOSSIP_FORGET;
	assert_int_equal(net_step(&t, 0, &ev), ERR_OK);
	assert_int_equal(net_step(&t, 0, &ev), ERR_NOT_FOUND);
	net_run(&t, 10000);
	assert_int_equal(net_links(&t, 0, LINK_ESTABLISHED, 1), 1); /* L4: the live link stays */
	net_free(&t);
}

/* L4: a forgotten target is not dialled again once its link is gone. */
static void forgotten(void **state)
{
	struct net t;
	char text[HOSTPORT_TEXT];

	(void)state;
	net_init(&t, 2, 13);
	t.discovery = false;
	net_start(&t, 0);
	net_start(&t, 1);
	assert_int_equal(net_connect(&t, 0, 1), ERR_OK);
	net_run(&t, 100);
	struct gossip_event ev = { .kind = GOSSIP_FORGET };
	ev.u.target.target = net_target(1, text);
	assert_int_equal(net_step(&t, 0, &ev), ERR_OK);
	assert_true(net_full_mesh(&t));
	net_kill(&t, 1, false);
	net_run(&t, 10);
	uint64_t dials = t.n[0].dials;
	net_start(&t, 1);
	net_run(&t, 60000);
	assert_int_equal(t.n[0].dials, dials);
	assert_int_equal(net_links(&t, 0, LINK_ESTABLISHED, -1), 0);
	net_free(&t);
}

static void bye(void **state)
{
	struct net t;
	struct gossip_actions out;

	(void)state;
	net_init(&t, 2, 14);
	net_start(&t, 0);
	net_start(&t, 1);
	assert_int_equal(net_connect(&t, 0, 1), ERR_OK);
	net_run(&t, 100);
	gossip_actions_init(&out, t.n[1].arena);
	assert_int_equal(gossip_bye(t.n[1].g, t.now, &out), ERR_OK);
	net_actions(&t, 1, &out);
	net_run(&t, 10);
	struct link_view v;
	assert_true(net_trouble(&t, 0, &v));
	assert_string_equal(v.reason, "the other end is stopping");
	assert_false(gossip_reachable(t.n[0].g, t.n[1].name));
	uint64_t seen;
	assert_int_equal(gossip_lost_how(t.n[0].g, t.n[1].name, &seen), GOSSIP_LOST_CLOSED);
	net_free(&t);
}

static void connection_limit(void **state)
{
	struct net t;

	(void)state;
	net_init(&t, 4, 15);
	t.conn_limit = 2;
	for (int i = 0; i < 4; i++)
		net_start(&t, i);
	for (int i = 1; i < 4; i++)
		assert_int_equal(net_connect(&t, i, 0), ERR_OK);
	net_run(&t, 60000);
	for (int i = 0; i < 4; i++)
		assert_true(net_links(&t, i, LINK_ESTABLISHED, -1) <= 2);
	assert_int_equal(net_links(&t, 0, LINK_ESTABLISHED, -1), 2);
	struct link_view v;
	bool said = false;
	for (int k = 1; k < 4; k++)
		for (size_t it = 0; gossip_next_link(t.n[k].g, &it, &v);)
			said = said || strstr(v.reason, "connection limit") != NULL;
	assert_true(said);
	net_free(&t);
}

/* Above 32 peers nobody links with everybody; the mesh is connected all the same and paths are short. */
static void sparse(void **state)
{
	static struct net t;
	size_t most = 0, total = 0;

	(void)state;
	net_init(&t, 40, 16);
	for (int i = 0; i < 40; i++) {
		net_start(&t, i);
		if (i > 0)
			assert_int_equal(net_connect(&t, i, i - 1), ERR_OK);
	}
	net_run(&t, 2000);
	for (int i = 0; i < 40; i++) {
		size_t links = net_links(&t, i, LINK_ESTABLISHED, -1);
		most = links > most ? links : most;
		total += links;
		for (int k = 0; k < 40; k++)
			assert_true(gossip_reachable(t.n[i].g, t.n[k].name));
	}
	print_message("sparse: %zu links at most, %zu on average\n", most, total / 40);
	assert_true(net_equal(&t));
	net_free(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(two_nodes_meet),
		cmocka_unit_test(chain_becomes_mesh),
		cmocka_unit_test(chain_stays_chain),
		cmocka_unit_test(any_order),
		cmocka_unit_test(duplicates),
		cmocka_unit_test(two_die),
		cmocka_unit_test(how_it_was_lost),
		cmocka_unit_test(grace),
		cmocka_unit_test(grace_of_a_former_run),
		cmocka_unit_test(one_sided),
		cmocka_unit_test(restart),
		cmocka_unit_test(silent_cut),
		cmocka_unit_test(no_false_alarm),
		cmocka_unit_test(idle_cost),
		cmocka_unit_test(himself),
		cmocka_unit_test(misleading_addresses),
		cmocka_unit_test(renamed),
		cmocka_unit_test(connect_again),
		cmocka_unit_test(determinism),
		cmocka_unit_test(targets),
		cmocka_unit_test(forgotten),
		cmocka_unit_test(bye),
		cmocka_unit_test(connection_limit),
		cmocka_unit_test(sparse),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
