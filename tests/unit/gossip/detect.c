/* Who is taken for dead, and when: by a process that runs, by one that does not get to run, and about one that does not. */
#include "gossip/internal.h"
#include "tests/unit/gossip/net.h"

static void meet(struct net *t, int nodes, uint64_t seed)
{
	net_init(t, nodes, seed);
	for (int i = 0; i < nodes; i++)
		net_start(t, i);
	for (int i = 1; i < nodes; i++)
		assert_int_equal(net_connect(t, i, 0), ERR_OK);
	assert_true(net_until(t, 2000, net_full_mesh) != UINT64_MAX);
	net_run(t, 3000 + seed * 37);
}

static uint64_t ends(const struct net *t)
{
	uint64_t n = 0;
	for (int i = 0; i < t->nodes; i++)
		n += gossip_counters(t->n[i].g)->terminations;
	return n;
}

/* SIGSTOP for two seconds: nobody is given up, by no side; and the one that was stopped knows that it was. */
static void stopped_for_two_seconds(void **state)
{
	(void)state;
	for (uint64_t seed = 0; seed < 30; seed++) {
		struct net t;
		meet(&t, 4, seed);
		for (int round = 0; round < 3; round++) {
			t.n[1].stopped_until = t.now + 2000;
			net_run(&t, 2100);
			assert_in_range(gossip_doubt(t.n[1].g), 1, GOSSIP_DOUBT_MAX);
			assert_true(gossip_counters(t.n[1].g)->late_steps > 0);
			assert_int_equal(gossip_doubt(t.n[0].g), 0);
			net_run(&t, 700 + seed * 13);
		}
		assert_int_equal(ends(&t), 0);
		net_run(&t, GOSSIP_DOUBT_MAX * DOUBT_EASE_MS);
		assert_int_equal(gossip_doubt(t.n[1].g), 0);
		net_free(&t);
	}
}

/* Stopped for longer than the deadline while the others go on talking to it: its own timers, which go first when it runs again, give nobody
 * up before what had come in meanwhile was read. */
static void reads_before_it_judges(void **state)
{
	struct net t;

	(void)state;
	meet(&t, 3, 5);
	for (int i = 0; i < 3; i += 2) /* these two wait for long */
		t.n[i].g->deadline_ms = 60000;
	t.n[1].stopped_until = t.now + 40000;
	net_run(&t, 45000);
	assert_int_equal(ends(&t), 0);
	/* Had it been dead silence all the time, it would have been noticed not much later. */
	t.n[1].stopped_until = t.now + 4000;
	net_part(&t, 0, 1, true);
	net_run(&t, 4000);
	assert_int_equal(ends(&t), 0);
	net_run(&t, 30000);
	assert_false(gossip_linked(t.n[1].g, t.n[0].name));
	assert_true(gossip_linked(t.n[1].g, t.n[2].name));
	net_free(&t);
}

/* One that runs for a moment every 1.8 s, for a minute. */
static void starved(void **state)
{
	(void)state;
	for (uint64_t seed = 0; seed < 10; seed++) {
		struct net t;
		meet(&t, 5, seed);
		for (int i = 0; i < 33; i++) {
			t.n[2].stopped_until = t.now + 1800;
			net_run(&t, 1810);
		}
		assert_int_equal(ends(&t), 0);
		assert_true(gossip_doubt(t.n[2].g) >= 6);
		net_run(&t, 1000);
		/* Who doubts itself takes longer to see a real death; the others do not. */
		net_kill(&t, 4, true);
		net_run(&t, 3700);
		assert_true(gossip_linked(t.n[2].g, t.n[4].name));
		assert_false(gossip_linked(t.n[0].g, t.n[4].name) || gossip_linked(t.n[1].g, t.n[4].name));
		net_run(&t, 27000);
		assert_false(gossip_linked(t.n[2].g, t.n[4].name));
		net_free(&t);
	}
}

/* What was given up and is back at once as the same process had not been dead. One that was started anew had. And members that do this again and
 * again do not keep others from noticing deaths. */
static void back_at_once(void **state)
{
	(void)state;
	for (int anew = 0; anew < 2; anew++) {
		struct net t;
		meet(&t, 2, 7);
		unsigned most = 0;
		for (int round = 0; round < 4; round++) {
			net_part(&t, 0, 1, true);
			while (gossip_linked(t.n[0].g, t.n[1].name))
				net_run(&t, 1);
			net_part(&t, 0, 1, false);
			if (anew) {
				net_kill(&t, 1, true);
				net_start(&t, 1);
				assert_int_equal(net_connect(&t, 1, 0), ERR_OK);
			}
			assert_true(net_until(&t, 2900, net_full_mesh) != UINT64_MAX);
			assert_true(gossip_doubt(t.n[0].g) > 0 || anew || round > 0);
			most = gossip_doubt(t.n[0].g) > most ? gossip_doubt(t.n[0].g) : most;
		}
		assert_int_equal(most, anew ? 0 : 1);
		/* One alone does not make us doubt for long; several do, and not without bounds. */
		struct peer *p = gossip_peer_find(t.n[0].g, t.n[1].name);
		p->hinted_ms = 0;
		net_run(&t, 2 * DOUBT_EASE_MS);
		for (int i = 0; i < 9; i++)
			gossip_doubt_hint(t.n[0].g, p);
		assert_int_equal(gossip_doubt(t.n[0].g), 1);
		net_run(&t, DOUBT_EASE_MS + 100);
		gossip_doubt_hint(t.n[0].g, p);
		assert_int_equal(gossip_doubt(t.n[0].g), 0);
		for (int i = 0; i < 9; i++) {
			p->hinted_ms = 0;
			gossip_doubt_hint(t.n[0].g, p);
		}
		assert_int_equal(gossip_doubt(t.n[0].g), DOUBT_HINTS_MAX);
		assert_true(gossip_counters(t.n[0].g)->false_alarms >= (anew ? 0u : 4u));
		net_free(&t);
	}
}

/* On a healthy network silence is noticed by everybody in a little over the deadline. */
static void noticed_in_time(void **state)
{
	(void)state;
	for (uint64_t seed = 0; seed < 20; seed++) {
		struct net t;
		meet(&t, 5, seed);
		net_kill(&t, 3, true);
		net_run(&t, GOSSIP_DEADLINE_MS - GOSSIP_HEARTBEAT_MS - 50);
		assert_int_equal(gossip_doubt(t.n[3 - 1].g), 0);
		assert_true(gossip_linked(t.n[0].g, t.n[3].name));
		net_run(&t, GOSSIP_HEARTBEAT_MS + 200);
		for (int i = 0; i < 5; i++)
			assert_true(i == 3 || !gossip_present(t.n[i].g, t.n[3].name));
		net_free(&t);
	}
}

/* A change of ours is followed until every neighbour has it; a neighbour that goes counts no more, and no second one is followed at once. */
static void followed(void **state)
{
	struct net t;

	(void)state;
	meet(&t, 4, 3);
	const struct gossip_counters *c = gossip_counters(t.n[0].g);
	assert_int_equal(net_put(&t, 0, "a", "1"), ERR_OK);
	net_run(&t, 20);
	uint64_t n = 0;
	for (size_t i = 0; i <= GOSSIP_CONVERGENCE_EDGES; i++)
		n += c->convergence[i];
	assert_int_equal(n, 1);
	assert_in_range(c->convergence_ms, 1, 12);
	assert_int_equal(c->convergence[GOSSIP_CONVERGENCE_EDGES], 0);
	uint64_t first = c->convergence_ms;
	assert_int_equal(net_put(&t, 0, "b", "1"), ERR_OK);
	net_run(&t, 4000);
	assert_int_equal(c->convergence_ms, first);
	net_run(&t, 2000);
	net_part(&t, 0, 2, true); /* it will be given up in a while */
	assert_int_equal(net_put(&t, 0, "c", "1"), ERR_OK);
	net_run(&t, 1000);
	assert_int_equal(c->convergence_ms, first);
	net_run(&t, 3000);
	assert_in_range(c->convergence_ms - first, 2000, 3500);
	assert_int_equal(gossip_counters(t.n[1].g)->convergence_ms, 0);
	net_free(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(stopped_for_two_seconds),
		cmocka_unit_test(reads_before_it_judges),
		cmocka_unit_test(starved),
		cmocka_unit_test(back_at_once),
		cmocka_unit_test(noticed_in_time),
		cmocka_unit_test(followed),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
