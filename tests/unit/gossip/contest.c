/* Strangers and namesakes: passwords, half-open connections, two hosts with one name. */
#include "gossip/internal.h"
#include "tests/unit/gossip/net.h"

static bool settled(const struct net *t)
{
	return net_full_mesh(t) && net_equal(t);
}

/* S1: a wrong password is refused, and both ends say so. */
static void wrong_password(void **state)
{
	struct net t;
	uint8_t passwords[3][32] = { { 1 }, { 2 }, { 1 } };
	struct link_view v;

	(void)state;
	net_init(&t, 3, 1);
	t.password = passwords;
	for (int i = 0; i < 3; i++)
		net_start(&t, i);
	assert_int_equal(net_connect(&t, 0, 1), ERR_OK);
	assert_int_equal(net_connect(&t, 0, 2), ERR_OK);
	net_run(&t, 5000);
	assert_int_equal(net_links(&t, 0, LINK_ESTABLISHED, 2), 1);
	assert_int_equal(net_links(&t, 0, LINK_ESTABLISHED, 1), 0);
	bool said = false;
	for (size_t it = 0; gossip_next_link(t.n[0].g, &it, &v);)
		said = said || (v.state == LINK_FAILED && strcmp(v.reason, "password differs") == 0 && v.retry_ms > 0 && v.encrypted);
	assert_true(said);
	assert_non_null(strstr(t.n[0].last_warning, "password differs"));
	assert_non_null(strstr(t.n[1].last_warning, "password differs"));
	assert_true(gossip_counters(t.n[1].g)->handshakes_auth > 0);
	assert_true(gossip_counters(t.n[0].g)->handshakes_auth > 0);
	struct peer_info info;
	assert_false(gossip_peer(t.n[1].g, t.n[0].name, &info));
	assert_int_equal(t.n[1].news, 0);
	uint64_t notes = t.n[0].notes;
	net_run(&t, 3600000);
	assert_true(t.n[0].notes - notes < 100); /* O5 */
	net_free(&t);
}

static void accept_stranger(struct net *t, int i, uint64_t conn, int from)
{
	struct stream *s = &t->s[t->n_streams++];
	memset(s, 0, sizeof *s);
	s->used = s->announced = s->open[1] = true;
	s->node[0] = -1;
	s->node[1] = i;
	s->id[1] = conn;
	struct gossip_event ev = { .kind = GOSSIP_CONN_OPEN };
	ev.u.open.conn = conn;
	ev.u.open.remote = (struct hostport){ .ip = ip_v4(UINT32_C(0xc0a80000) + (uint32_t)from), .port = 999 };
	ev.u.open.local = t->n[i].at;
	rng_fill(&t->rng, ev.u.open.entropy, sizeof ev.u.open.entropy);
	(void)net_step(t, i, &ev);
}

static size_t strangers(const struct net *t)
{
	size_t n = 0;
	for (size_t k = 0; k < t->n_streams; k++)
		n += t->s[k].used && t->s[k].node[0] == -1 && t->s[k].open[1] ? 1 : 0;
	return n;
}

/* A thousand connections that say nothing: refused beyond the rate, pushed out by newer ones, cut off in time; peers get in. */
static void half_open(void **state)
{
	struct net t;

	(void)state;
	net_init(&t, 3, 2);
	for (int i = 0; i < 3; i++)
		net_start(&t, i);
	assert_int_equal(net_connect(&t, 0, 1), ERR_OK);
	net_run(&t, 100);
	for (int k = 0; k < 1000; k++) {
		accept_stranger(&t, 0, UINT64_C(1) << 40 | (uint64_t)k, 7);
		net_run(&t, 1);
	}
	assert_in_range(strangers(&t), 64, 64 + 50);
	assert_int_equal(net_connect(&t, 1, 0), ERR_OK);
	for (int k = 0; k < 1000; k++) {
		accept_stranger(&t, 0, UINT64_C(1) << 41 | (uint64_t)k, k);
		net_run(&t, 20);
		assert_true(strangers(&t) <= GOSSIP_HALF_OPEN_MAX);
		if (k == 500) /* in the middle of it a peer with an unknown address comes */
			assert_int_equal(net_connect(&t, 2, 0), ERR_OK);
	}
	assert_true(net_full_mesh(&t));
	net_run(&t, GOSSIP_HANDSHAKE_MS + 100);
	assert_int_equal(strangers(&t), 0);
	assert_true(gossip_counters(t.n[0].g)->handshakes_timeout > 200);
	net_free(&t);
}

/* What is not weft, or a handshake that is cut short, ends that connection and no other. */
static void garbage(void **state)
{
	struct net t;

	(void)state;
	net_init(&t, 2, 3);
	net_start(&t, 0);
	net_start(&t, 1);
	assert_int_equal(net_connect(&t, 0, 1), ERR_OK);
	net_run(&t, 100);
	for (uint64_t k = 0; k < 200; k++) {
		uint8_t junk[300];
		uint64_t conn = UINT64_C(1) << 42 | k;
		accept_stranger(&t, 0, conn, (int)k);
		rng_fill(&t.rng, junk, sizeof junk);
		if (k % 2)
			memcpy(junk, "weft\1\1\0\0", 8);
		struct gossip_event ev = { .kind = GOSSIP_CONN_DATA };
		ev.u.data.conn = conn;
		ev.u.data.bytes = slice_of(junk, 1 + k);
		(void)net_step(&t, 0, &ev);
		net_run(&t, 30);
	}
	net_run(&t, GOSSIP_HANDSHAKE_MS + 100);
	assert_int_equal(strangers(&t), 0);
	assert_true(gossip_counters(t.n[0].g)->handshakes_garbage > 50);
	assert_int_equal(gossip_counters(t.n[0].g)->terminations, 0);
	assert_true(net_full_mesh(&t));
	net_free(&t);
}

/* L6: two hosts with one name and different keys, one dials the other. */
static void namesakes_meet(void **state)
{
	struct net t;

	(void)state;
	net_init(&t, 2, 4);
	t.n[1].name = t.n[0].name;
	t.n[1].incarnation = 50;
	net_start(&t, 0);
	net_start(&t, 1);
	assert_int_equal(net_connect(&t, 0, 1), ERR_OK);
	net_run(&t, 100);
	assert_true(t.n[0].contested && t.n[1].contested);
	assert_true(gossip_is_contested(t.n[0].g));
	assert_non_null(strstr(t.n[0].contested_text, "10.0.0.2:6783"));
	assert_non_null(strstr(t.n[1].contested_text, "10.0.0.1:6783"));
	assert_non_null(strstr(t.n[0].contested_text, "--name"));
	struct link_view v;
	assert_true(net_trouble(&t, 0, &v));
	assert_int_equal(v.state, LINK_FAILED);
	uint64_t dials = t.n[0].dials;
	net_run(&t, 600000); /* tried rarely, contested throughout */
	assert_in_range(t.n[0].dials - dials, 10, 45);
	assert_true(t.n[0].contested && t.n[1].contested);
	net_kill(&t, 1, false);
	net_run(&t, 100000);
	assert_false(t.n[0].contested);
	net_free(&t);
}

/* The same seen by a third: the newcomer is refused, and the holder, who is next to the third or beyond it, hears of it. */
static void namesake_at_third(void **state)
{
	(void)state;
	for (int beyond = 0; beyond < 2; beyond++) {
		struct net t;
		net_init(&t, 4, 5 + (uint64_t)beyond);
		t.discovery = false;
		t.n[3].name = t.n[0].name;
		t.n[3].incarnation = 50;
		for (int i = 0; i < 4; i++)
			net_start(&t, i);
		assert_int_equal(net_connect(&t, 0, 1), ERR_OK);
		assert_int_equal(net_connect(&t, 1, 2), ERR_OK);
		net_run(&t, 1000);
		assert_int_equal(net_put(&t, 0, "a", "1"), ERR_OK);
		assert_int_equal(net_connect(&t, 3, beyond ? 2 : 1), ERR_OK);
		net_run(&t, 1000);
		assert_true(t.n[0].contested && t.n[3].contested);
		assert_non_null(strstr(t.n[0].contested_text, "10.0.0.4:6783"));
		if (!beyond)
			assert_non_null(strstr(t.n[3].contested_text, "10.0.0.1:6783"));
		assert_non_null(strstr(t.n[beyond ? 2 : 1].last_warning, "name is in use"));
		assert_int_equal(net_links(&t, 3, LINK_ESTABLISHED, -1), 0);
		net_run(&t, 120000);
		assert_true(t.n[0].contested && t.n[3].contested);
		assert_true(net_has(&t, 2, 0, "a", "1")); /* the holder goes on otherwise */
		uint64_t notes[4];
		for (int i = 0; i < 4; i++)
			notes[i] = t.n[i].notes;
		net_run(&t, 3600000);
		for (int i = 0; i < 4; i++)
			assert_true(t.n[i].notes - notes[i] < 100); /* O5 */
		net_kill(&t, 3, false);
		net_run(&t, 100000);
		assert_false(t.n[0].contested);
		/* The holder gone, the newcomer may have the name. */
		net_kill(&t, 0, false);
		net_run(&t, 1000);
		net_start_key(&t, 3, 3);
		assert_int_equal(net_connect(&t, 3, 1), ERR_OK);
		net_run(&t, 100000);
		assert_false(t.n[3].contested);
		assert_int_equal(net_links(&t, 3, LINK_ESTABLISHED, 1), 1);
		net_free(&t);
	}
}

/* Two parts of a network, each with its own holder of the name, meet: found by gossip, told by flooding; no storm. */
static void namesakes_by_gossip(void **state)
{
	(void)state;
	for (uint64_t order = 0; order < 2; order++) {
		struct net t;
		net_init(&t, 4, 7 + order);
		t.discovery = false;
		t.n[3].name = t.n[0].name;
		t.n[order ? 0 : 3].incarnation = 50;
		for (int i = 0; i < 4; i++)
			net_start(&t, i);
		assert_int_equal(net_connect(&t, 0, 1), ERR_OK);
		assert_int_equal(net_connect(&t, 3, 2), ERR_OK);
		net_run(&t, 20000);
		for (int i = 0; i < 20; i++) {
			char key[16];
			(void)snprintf(key, sizeof key, "k%d", i);
			assert_int_equal(net_put(&t, 0, key, "holder"), ERR_OK);
			assert_int_equal(net_put(&t, 3, key, "other"), ERR_OK);
		}
		net_run(&t, 1000);
		assert_false(t.n[0].contested || t.n[3].contested);
		uint64_t steps = t.steps;
		assert_int_equal(net_connect(&t, 1, 2), ERR_OK);
		net_run(&t, 1000);
		assert_true(t.n[0].contested && t.n[3].contested);
		net_run(&t, 9000);
		assert_true(t.steps - steps < 3000);
		net_free(&t);
	}
}

/* A reinstalled host: same name, new key, its former self's entries still around. No contest, and nothing of the old remains. */
static void reinstalled(void **state)
{
	(void)state;
	for (int clock_back = 0; clock_back < 2; clock_back++) {
		struct net t;
		net_init(&t, 3, 9);
		t.n[1].incarnation = 10;
		for (int i = 0; i < 3; i++)
			net_start(&t, i);
		assert_int_equal(net_connect(&t, 0, 1), ERR_OK);
		assert_int_equal(net_connect(&t, 1, 2), ERR_OK);
		net_run(&t, 1000);
		assert_int_equal(net_put(&t, 1, "old", "1"), ERR_OK);
		net_run(&t, 100);
		net_kill(&t, 1, false);
		net_run(&t, 10000);
		t.n[1].incarnation = clock_back ? 3 : 20;
		net_start_key(&t, 1, 7);
		assert_int_equal(net_connect(&t, 1, 0), ERR_OK);
		net_run(&t, 1000);
		assert_int_equal(t.n[1].contested, clock_back);
		net_run(&t, 150000); /* with the clock set back it takes until nobody else has spoken up */
		assert_false(t.n[0].contested || t.n[1].contested || t.n[2].contested);
		assert_true(settled(&t));
		struct peer_info info, old;
		assert_true(gossip_peer(t.n[2].g, t.n[1].name, &info) && gossip_peer(t.n[1].g, t.n[1].name, &old));
		assert_memory_equal(info.key, old.key, 32);
		assert_int_equal(info.uid, t.n[1].uid);
		assert_false(net_has(&t, 0, 1, "old", "1"));
		net_free(&t);
	}
}

/* An item of a namesake is a sign when it is new; heard again it is none, and when all is over it may be superseded like any other. */
static void one_sign_per_item(void **state)
{
	struct net t;
	uint8_t key[7], mem[512];
	struct wbuf k, v;
	struct peer_info info = { .nickname = "x", .uid = 5 };

	(void)state;
	net_init(&t, 1, 12);
	net_start(&t, 0);
	struct gossip *g = t.n[0].g;
	wbuf_fixed(&k, key, sizeof key);
	wbuf_u48(&k, t.n[0].name);
	wbuf_u8(&k, 'i');
	wbuf_fixed(&v, mem, sizeof mem);
	gossip_peer_info_encode(&v, &info);
	struct crdt_item it = { .key = wbuf_slice(&k), .stamp = { 7, 1 }, .live = true, .value = wbuf_slice(&v) };
	assert_true(gossip_contest_guard_peers(g, &it));
	assert_true(g->claim_heard);
	g->claim_heard = false;
	assert_false(gossip_contest_guard_peers(g, &it));
	assert_false(g->claim_heard);
	it.stamp.ctr++;
	assert_true(gossip_contest_guard_peers(g, &it));
	assert_true(g->claim_heard);
	g->claim_heard = false;
	it.stamp = (struct stamp){ 0, 99 }; /* from before us */
	assert_false(gossip_contest_guard_peers(g, &it) || g->claim_heard);
	g->contested = true;
	assert_true(gossip_contest_guard_peers(g, &it) && gossip_contest_guard(g, &it) && !g->claim_heard);
	g->contested = false;
	net_free(&t);
}

/* A copied state directory: same name, same key, two processes. */
static void clones(void **state)
{
	struct net t;

	(void)state;
	net_init(&t, 3, 11);
	t.n[2].name = t.n[0].name;
	net_start(&t, 0);
	net_start(&t, 1);
	assert_int_equal(net_connect(&t, 0, 1), ERR_OK);
	net_run(&t, 1000);
	net_start_key(&t, 2, 0);
	assert_int_equal(net_connect(&t, 2, 1), ERR_OK);
	net_run(&t, 200000);
	assert_true(t.n[0].contested && t.n[2].contested);
	net_free(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(wrong_password),
		cmocka_unit_test(half_open),
		cmocka_unit_test(garbage),
		cmocka_unit_test(namesakes_meet),
		cmocka_unit_test(namesake_at_third),
		cmocka_unit_test(namesakes_by_gossip),
		cmocka_unit_test(reinstalled),
		cmocka_unit_test(one_sign_per_item),
		cmocka_unit_test(clones),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
