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
	size_t most, n = nodes_wanted(60);
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
	many_run(&m, 150000);
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_large_mesh),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
