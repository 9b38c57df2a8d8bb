/* Hosts that picked different ranges before they met (--ipalloc-range auto). */
#include "nodes.h"

static unsigned free_at[NODES_MAX]; /* bit k: the k-th range of the list is free on that host; bit 7: what was named elsewhere */

static const struct universe list[] = { { 0x0a200000, 12 }, { 0x0a600000, 12 }, { 0xac100000, 13 } };
static const struct universe named = { 0x0a000000, 16 };

static bool range_free(void *ctx, struct universe u)
{
	const struct node *n = ctx;
	size_t i = (size_t)(n->name & 0xff) - 1;

	for (size_t k = 0; k < 3; k++)
		if (u.first == list[k].first)
			return (free_at[i] & 1u << k) != 0;
	return (free_at[i] & 1u << 7) != 0;
}

static void automatic(struct core_cfg *cfg)
{
	const struct node *n = cfg->ctx;
	size_t i = (size_t)(n->name & 0xff) - 1, k = 0;

	while ((free_at[i] & 1u << k) == 0)
		k++;
	memcpy(cfg->auto_ranges, list, sizeof(list));
	cfg->n_auto_ranges = 3;
	cfg->range_free = range_free;
	cfg->universe = list[k];
	cfg->default_subnet = (struct prefix){ ip_v4(list[k].first), list[k].len };
	cfg->offer.range = cfg->default_subnet;
	cfg->consensus = 2;
}

static void by_name(struct core_cfg *cfg)
{
	cfg->universe = named;
	cfg->default_subnet = cfg->offer.range = (struct prefix){ ip_v4(named.first), named.len };
	cfg->consensus = 2;
}

static void expect_range(struct nodes *t, int i, struct universe u)
{
	struct universe have = core_universe(t->n[i].core);
	if (have.first != u.first || have.len != u.len)
		fail_msg("host %d is at %08x/%u, not %08x/%u", i, have.first, have.len, u.first, u.len);
}

static void begin(struct nodes *t, unsigned a, unsigned b, unsigned c)
{
	nodes_init(t);
	free_at[0] = a;
	free_at[1] = b;
	free_at[2] = c;
	for (int i = 0; i < 3; i++)
		if (free_at[i] != 0)
			assert_int_equal(nodes_try_start(t, i, true, automatic), ERR_OK);
}

/* An address for a container of host i; it may have to wait. */
static uint64_t ask(struct nodes *t, int i, const char *ident)
{
	struct ipam_event ev = { .kind = IPAM_ALLOCATE, .ident = ident, .request = t->n[i].next_request++ };
	struct core_event x = { .kind = CORE_IPAM, .ipam = &ev, .request = ev.request };
	ev.wait = true;
	assert_int_equal(nodes_step(t, i, &x), ERR_OK);
	return ev.request;
}

static void the_first_that_is_free_everywhere(void **state)
{
	static const struct {
		unsigned a, b, c;
		size_t end; /* in the list */
	} cases[] = { { 7, 7, 7, 0 }, { 7, 6, 7, 1 }, { 5, 6, 7, 2 }, { 5, 2 | 4, 4, 2 }, { 1 | 4, 2 | 4, 0, 2 }, { 7, 7, 4, 2 } };
	struct nodes t;

	(void)state;
	for (size_t k = 0; k < sizeof(cases) / sizeof(*cases); k++) {
		begin(&t, cases[k].a, cases[k].b, cases[k].c);
		nodes_connect(&t, 0, 1);
		if (cases[k].c != 0)
			nodes_connect(&t, 2, 1);
		nodes_run(&t, 4000);
		for (int i = 0; i < 3; i++)
			if (t.n[i].core != NULL)
				expect_range(&t, i, list[cases[k].end]);
		char text[256];
		assert_false(core_range_conflict(t.n[0].core, text, sizeof(text)));
		nodes_free(&t);
	}
}

/* What waits goes along; so does an address outside any range. */
static void requests_go_along(void **state)
{
	struct nodes t;
	struct ipam_event claim = { .kind = IPAM_CLAIM, .ident = "out", .subnet = { ip_v4(0xc0a80101), 24 } };
	struct core_event x = { .kind = CORE_IPAM, .ipam = &claim };

	(void)state;
	begin(&t, 7, 6, 0);
	assert_int_equal(nodes_ask(&t, 0, &x), ERR_OK);
	size_t before = t.n[0].replies;
	uint64_t number = ask(&t, 0, "early");
	nodes_run(&t, 500);
	assert_int_equal(t.n[0].replies, before);
	nodes_connect(&t, 0, 1);
	nodes_run(&t, 4000);
	expect_range(&t, 0, list[1]);
	assert_int_equal(t.n[0].replies, before + 1);
	assert_int_equal(t.n[0].replied, number);
	assert_int_equal(t.n[0].reply, ERR_OK);
	assert_int_equal(ip_to_v4(t.n[0].result.addr) & 0xfff00000, list[1].first);
	assert_string_equal(ipam_holder(core_ipam(t.n[0].core), 0xc0a80101), "out");
	/* Nothing is left of the former range. */
	for (int i = 0; i < 2; i++)
		assert_true(ring_empty(core_channel(t.n[i].core, CHANNEL_RING), list[0]));
	assert_int_equal(crdt_map_live(core_channel(t.n[1].core, CHANNEL_PAXOS)), 2);
	nodes_free(&t);
}

static void a_named_range_stays(void **state)
{
	struct nodes t;
	char text[256];

	(void)state;
	begin(&t, 0x87, 0, 0);
	assert_int_equal(nodes_try_start(&t, 1, true, by_name), ERR_OK);
	nodes_connect(&t, 0, 1);
	nodes_run(&t, 3000);
	expect_range(&t, 0, named);
	expect_range(&t, 1, named);
	nodes_free(&t);

	begin(&t, 7, 0, 0); /* a route of host 0 is in the way */
	assert_int_equal(nodes_try_start(&t, 1, true, by_name), ERR_OK);
	nodes_connect(&t, 0, 1);
	nodes_run(&t, 3000);
	expect_range(&t, 0, list[0]);
	expect_range(&t, 1, named);
	for (int i = 0; i < 2; i++) {
		assert_true(core_range_conflict(t.n[i].core, text, sizeof(text)));
		assert_non_null(strstr(text, "10.32.0.0/12"));
		assert_non_null(strstr(text, "10.0.0.0/16"));
		assert_non_null(strstr(text, "weft reset"));
	}
	nodes_free(&t);
}

/* Once divided it stays, and others come to it, also downwards. */
static void what_is_divided_stays(void **state)
{
	struct nodes t;

	(void)state;
	begin(&t, 7, 7, 6);
	nodes_connect(&t, 0, 1);
	nodes_run(&t, 2000);
	(void)ask(&t, 0, "x");
	nodes_run(&t, 1000);
	assert_int_equal(t.n[0].reply, ERR_OK);
	nodes_connect(&t, 2, 1);
	nodes_run(&t, 3000);
	expect_range(&t, 0, list[0]);
	expect_range(&t, 1, list[0]);
	expect_range(&t, 2, list[1]); /* it cannot come */
	free_at[2] = 7;
	nodes_kill(&t, 2);
	nodes_wipe(&t.n[2]);
	free_at[2] = 6;
	assert_int_equal(nodes_try_start(&t, 2, true, automatic), ERR_OK);
	free_at[2] = 7; /* the route is gone meanwhile */
	nodes_connect(&t, 2, 1);
	nodes_run(&t, 3000);
	expect_range(&t, 2, list[0]);
	nodes_free(&t);
}

static void memory_runs_out_on_the_way(void **state)
{
	(void)state;
	for (size_t n = 1; n < 1500; n += 7) {
		struct nodes t;
		begin(&t, 7, 6, 0);
		size_t before = t.n[0].replies;
		(void)ask(&t, 0, "early");
		nodes_connect(&t, 0, 1);
		mem_fail_at(n, false);
		nodes_run(&t, 1000);
		mem_fail_at(0, false);
		nodes_run(&t, 15000);
		expect_range(&t, 0, list[1]);
		assert_int_equal(t.n[0].replies, before + 1); /* perhaps that there was no memory for it */
		nodes_free(&t);
	}
}

int main(void)
{
	assert_int_not_equal(sodium_init(), -1);
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_first_that_is_free_everywhere),
		cmocka_unit_test(requests_go_along),
		cmocka_unit_test(a_named_range_stays),
		cmocka_unit_test(what_is_divided_stays),
		cmocka_unit_test(memory_runs_out_on_the_way),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
