/* Above 32 peers: how links are chosen, pruned and admitted, and how far and how dear a change travels. SPARSE_NODES=1000 in the environment measures
 * larger ones. */
#include "tests/unit/gossip/many.h"

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return x < y ? -1 : x > y;
}

static size_t nodes_wanted(size_t standard)
{
	const char *text = getenv("SPARSE_NODES");
	return text ? (size_t)strtoul(text, NULL, 10) : standard;
}

static void boot(struct many *m, size_t n, uint64_t seed, uint64_t delay_ms)
{
	many_init(m, n, seed);
	m->delay_ms = delay_ms;
	m->retry_ms = 250;
	for (size_t i = 0; i < n; i++)
		many_start(m, i);
	for (size_t i = 0; i < n; i++)
		many_connect(m, i, i < 3 ? (i + 1) % 3 : i % 3);
}

static void degrees(const struct many *m, size_t *most, double *mean)
{
	size_t sum = 0;
	*most = 0;
	for (size_t i = 3; i < m->n; i++) { /* without those whom everybody was told to connect to */
		size_t k = many_links(m, i);
		sum += k;
		*most = k > *most ? k : *most;
	}
	*mean = (double)sum / (double)(m->n - 3);
}

/* One change of node 7: when the nodes know it, and what it costs. */
static void one_change(struct many *m, const char *key, uint64_t *p99, uint64_t *last, double *per_node)
{
	uint64_t *took = calloc(m->n, sizeof *took), start = m->now, before = many_sum(m, many_deltas);
	assert_non_null(took);
	many_put(m, 7, key, "x");
	many_run(m, 5000);
	for (size_t i = 0; i < m->n; i++) {
		assert_true(m->v[i].knows_ms != 0);
		took[i] = m->v[i].knows_ms - start;
	}
	qsort(took, m->n, sizeof *took, compare);
	*p99 = took[m->n * 99 / 100];
	*last = took[m->n - 1];
	*per_node = (double)(many_sum(m, many_deltas) - before) / (double)m->n;
	free(took);
}

static void a_large_mesh(void **state)
{
	struct many m;
	size_t most, n = nodes_wanted(45);
	double mean, per_node;
	uint64_t p99, last;

	(void)state;
	boot(&m, n, 1, 25);
	uint64_t start = m.now;
	while (!many_equal(&m)) {
		many_run(&m, 250);
		assert_true(m.now - start < 60000);
	}
	degrees(&m, &most, &mean);
	print_message("%zu nodes: equal after %d ms, %.1f deltas and %.0f bytes a node, %.1f links (at most %zu)\n", n,
		(int)(m.now - start), (double)many_sum(&m, many_deltas) / (double)n, (double)many_sum(&m, many_bytes) / (double)n, mean,
		most);
	many_run(&m, 100000);
	degrees(&m, &most, &mean);
	double wanted = 4;
	for (size_t k = n; k > 1; k /= 2)
		wanted++;
	print_message("settled: %.1f links (at most %zu), wanted about %.0f\n", mean, most, wanted);
	assert_true(mean < wanted + 4 && most < 2 * (size_t)wanted + 6);
	assert_true(many_equal(&m));
	for (size_t i = 0; i < n; i += 7)
		for (size_t k = 0; k < n; k++)
			assert_true(gossip_reachable(m.v[i].g, m.v[k].name));
	uint64_t bytes = many_sum(&m, many_bytes), links = many_sum(&m, many_deltas);
	many_run(&m, 60000);
	print_message("idle: %.0f bytes/s a node\n", (double)(many_sum(&m, many_bytes) - bytes) / (double)n / 60);
	assert_true((many_sum(&m, many_bytes) - bytes) / n / 60 < 2000);
	assert_int_equal(many_sum(&m, many_deltas), links); /* nothing flaps */
	char key[] = "a";
	for (int round = 0; round < 5; round++, key[0]++) {
		one_change(&m, key, &p99, &last, &per_node);
		print_message(
			"change: known by 99%% after %d ms, by all after %d ms, %.1f messages a node\n", (int)p99, (int)last, per_node);
		assert_true(p99 <= 1500 && per_node <= 12);
	}
	many_free(&m);
}

static size_t waiting_for_later(const struct many *m)
{
	size_t n = 0;
	for (size_t i = 0; i < m->n; i++)
		for (size_t k = 0; k < m->v[i].g->n_links; k++) {
			const struct slot *s = m->v[i].g->links[k]->slots[CHANNEL_NAMES];
			n += s ? s->later.n : 0;
		}
	return n;
}

static void settle(struct many *m)
{
	uint64_t start = m->now;
	do {
		many_run(m, 250);
		assert_true(m->now - start < 60000);
	} while (!many_equal(m));
	many_run(m, 3000);
}

/* Some neighbours have news at once, the others after a while, and only if they have not brought it themselves. */
static void early_and_late(void **state)
{
	struct many m;

	(void)state;
	boot(&m, 40, 2, 10);
	settle(&m);
	size_t links = 0;
	for (size_t i = 0; i < m.n; i++)
		links += many_links(&m, i);
	assert_int_equal(waiting_for_later(&m), 0);
	uint64_t before = many_sum(&m, many_deltas);
	many_put(&m, 7, "k", "v");
	many_run(&m, 150);
	uint64_t early = many_sum(&m, many_deltas) - before;
	size_t left = waiting_for_later(&m);
	many_run(&m, 1000);
	uint64_t all = many_sum(&m, many_deltas) - before;
	print_message("%zu links: %d early, %zu left, %d late\n", links / 2, (int)early, left, (int)(all - early));
	assert_true(early <= m.n * (SPREAD_EARLY + 1) + many_links(&m, 7));
	assert_true(left > 0 && all - early >= left / 4 && all - early <= left);
	assert_true(all >= links / 2 - links / 50 && all <= links / 2 + links / 5); /* each link about once */
	assert_int_equal(waiting_for_later(&m), 0);
	many_free(&m);
}

static bool halves(size_t a, size_t b)
{
	return a % 2 != b % 2;
}

/* Cut in two for longer than anybody goes on dialling the other side, and without targets that would: somebody looks beyond all the same. */
static void heals(void **state)
{
	struct many m;

	(void)state;
	boot(&m, 36, 3, 5);
	settle(&m);
	for (size_t i = 0; i < m.n; i++) {
		char text[HOSTPORT_TEXT];
		struct gossip_event ev = { .kind = GOSSIP_FORGET };
		ev.u.target.target = hostport_format(many_address(i < 3 ? (i + 1) % 3 : i % 3), text);
		many_step(&m, i, &ev);
	}
	m.cut = halves;
	many_run(&m, 90000);
	assert_false(gossip_reachable(m.v[0].g, m.v[1].name));
	assert_true(gossip_reachable(m.v[0].g, m.v[34].name));
	many_put(&m, 0, "k", "v");
	many_run(&m, 3000);
	m.cut = NULL;
	uint64_t start = m.now;
	while (!many_equal(&m) || !gossip_reachable(m.v[0].g, m.v[1].name)) {
		many_run(&m, 100);
		assert_true(m.now - start < 15000);
	}
	print_message("healed after %d ms\n", (int)(m.now - start));
	many_free(&m);
}

/* Others are told of a pruned link seconds later. A host that dies meanwhile would be thought to be in reach over its former end. */
static void dies_after_pruning(void **state)
{
	struct many m;
	size_t dead = 0, pruned = 0;

	(void)state;
	boot(&m, 45, 4, 10);
	settle(&m);
	for (uint64_t start = m.now; pruned < 2;) { /* two at least, who go on believing each other */
		many_run(&m, 50);
		assert_true(m.now - start < 120000);
		for (dead = 3; dead < m.n && pruned < 2; dead++) {
			pruned = 0;
			for (size_t i = 0; i < m.n; i++) {
				const struct gossip *g = m.v[i].g;
				pruned += i != dead && gossip_peer_find(g, m.v[dead].name)->pruned && g->publish_lazily_ms > m.now + 4500 ? 1 : 0;
			}
		}
	}
	uint64_t name = m.v[--dead].name, at = m.now, left = 1;
	many_stop(&m, dead);
	while (left > 0) {
		many_run(&m, 50);
		left = 0;
		for (size_t i = 0; i < m.n; i++)
			left += m.v[i].g && gossip_reachable(m.v[i].g, name) ? 1 : 0;
		assert_true(m.now - at < 30000);
	}
	print_message("pruned by %zu, gone everywhere after %d ms\n", pruned, (int)(m.now - at));
	assert_true(m.now - at <= 4000);
	many_free(&m);
}

/* All are told of one host, which takes a few of them only: the others are sent on, and all find together. */
static void one_introducer(void **state)
{
	(void)state;
	for (size_t n = 20; n <= 40; n += 20) {
		struct many m;
		many_init(&m, n, n);
		m.conn_limit = 8;
		for (size_t i = 0; i < n; i++)
			many_start(&m, i);
		for (size_t i = 1; i < n; i++)
			many_connect(&m, i, 0);
		uint64_t start = m.now;
		bool all = false;
		while (!all) {
			many_run(&m, 500);
			all = many_equal(&m);
			for (size_t i = 0; i < n; i++) {
				all = all && gossip_reachable(m.v[0].g, m.v[i].name) && gossip_reachable(m.v[i].g, m.v[0].name);
				assert_true(many_links(&m, i) <= 8);
			}
			assert_true(m.now - start < 40000);
		}
		print_message("%zu hosts with 8 links each: all together after %d ms\n", n, (int)(m.now - start));
		/* The ring is there: it is what keeps them together. */
		many_run(&m, 60000);
		size_t ring = 0;
		for (size_t i = 0; i < n; i++)
			for (size_t k = 0; k < m.v[i].g->n_peers; k++) {
				const struct peer *p = m.v[i].g->peers[k];
				ring += p->successor && p->link ? 1 : 0;
			}
		assert_true(ring * 10 >= n * 8);
		many_free(&m);
	}
}

static struct link *link_to(struct many *m, size_t i, size_t k)
{
	struct peer *p = gossip_peer_find(m->v[i].g, m->v[k].name);
	return p ? p->link : NULL;
}

/* Who matters more gets the place of who matters less; of those who matter as much the first one stays. */
static void admission(void **state)
{
	struct many m;

	(void)state;
	many_init(&m, 8, 5);
	many_start(&m, 0);
	m.v[0].g->conn_limit = 3;
	m.v[0].g->discovery = false;
	for (size_t i = 1; i < 8; i++) {
		many_start(&m, i);
		m.v[i].g->discovery = false;
	}
	for (size_t i = 1; i < 4; i++)
		many_connect(&m, i, 0);
	many_run(&m, 100);
	assert_int_equal(many_links(&m, 0), 3);
	for (size_t i = 1; i < 4; i++) {
		gossip_peer_find(m.v[0].g, m.v[i].name)->successor = false;
		link_to(&m, 0, i)->theirs = WORTH_WANTED;
	}
	many_connect(&m, 4, 0); /* named by an operator */
	many_run(&m, 100);
	assert_int_equal(many_links(&m, 0), 3);
	assert_non_null(link_to(&m, 0, 4));
	for (size_t i = 1; i < 4; i++)
		if (link_to(&m, 0, i))
			link_to(&m, 0, i)->theirs = WORTH_BOUND;
	many_connect(&m, 5, 0); /* as much as the others */
	many_run(&m, 100);
	assert_int_equal(many_links(&m, 0), 3);
	assert_null(link_to(&m, 0, 5));
	assert_true(gossip_make_room(m.v[0].g, WORTH_BOUND, false) == false);
	many_free(&m);
}

/* More handshakes than one can do: the others are told, and come again. */
static void busy(void **state)
{
	struct many m;

	(void)state;
	many_init(&m, 24, 6);
	for (size_t i = 0; i < m.n; i++)
		many_start(&m, i);
	bucket_init(&m.v[0].g->handshakes, 6, 6, m.now);
	for (size_t i = 1; i < m.n; i++) {
		m.v[i].g->discovery = false;
		many_connect(&m, i, 0);
	}
	m.v[0].g->discovery = false;
	many_run(&m, 100);
	assert_int_equal(many_links(&m, 0), 6);
	struct link_view v;
	size_t told = 0;
	for (size_t i = 1; i < m.n; i++)
		for (size_t it = 0; gossip_next_link(m.v[i].g, &it, &v);)
			told += strstr(v.reason, "busy") != NULL ? 1 : 0;
	assert_int_equal(told, m.n - 1 - 6);
	many_run(&m, 9000);
	assert_int_equal(many_links(&m, 0), m.n - 1);
	for (size_t i = 0; i < m.n; i++)
		assert_int_equal(gossip_counters(m.v[i].g)->handshakes_timeout, 0);
	many_free(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_large_mesh),
		cmocka_unit_test(early_and_late),
		cmocka_unit_test(heals),
		cmocka_unit_test(dies_after_pruning),
		cmocka_unit_test(one_introducer),
		cmocka_unit_test(admission),
		cmocka_unit_test(busy),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
