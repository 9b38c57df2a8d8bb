/* IPv6 addresses that go with IPv4 ones: which, how long, back again, and which prefixes are too small. */
#include "nodes.h"

#include "base/rng.h"
#include "tests/unit/base/seed.h"

static struct prefix prefix(const char *text)
{
	struct prefix p = { 0 };

	if (text != NULL)
		assert_int_equal(prefix_parse(text, &p), ERR_OK);
	return p;
}

static void with_range6(struct core_cfg *cfg)
{
	cfg->universe.len = 12;
	cfg->range6 = prefix("fd00:1::/64");
}

static void without(struct core_cfg *cfg)
{
	cfg->universe.len = 12;
}

static enum err create(struct nodes *t, const char *name, const char *subnet, const char *subnet6)
{
	struct core_network want = { .subnet = prefix(subnet), .subnet6 = prefix(subnet6) };
	struct core_event ev = { .kind = CORE_NETWORK_CREATE, .network = &want };

	snprintf(want.name, sizeof(want.name), "%s", name);
	return nodes_ask(t, 0, &ev);
}

/* want NULL: there is none. */
static void goes_with(const struct nodes *t, const char *network, const char *v4, const char *want)
{
	const struct core *c = t->n[0].core;
	char text[PREFIX_TEXT];
	struct prefix got;
	struct ip back;

	if (!core_companion(c, network, prefix(v4), &got)) {
		if (want != NULL)
			fail_msg("nothing goes with %s in %s", v4, network);
		return;
	}
	prefix_format(got, text);
	if (want == NULL)
		fail_msg("%s goes with %s in %s", text, v4, network);
	assert_string_equal(text, want);
	assert_true(core_companion_of(c, network, got.addr, &back));
	assert_true(ip_eq(back, prefix(v4).addr));
}

static void by_the_range(void **state)
{
	struct nodes t;
	struct ip v4;

	(void)state;
	nodes_init(&t);
	assert_int_equal(nodes_try_start(&t, 0, false, with_range6), ERR_OK);
	goes_with(&t, "weft", "10.32.0.4/12", "fd00:1::4/108");
	goes_with(&t, "weft", "10.47.255.254/12", "fd00:1::f:fffe/108");
	goes_with(&t, "weft", "10.33.1.4/24", "fd00:1::1:104/120");
	goes_with(&t, "weft", "10.48.0.1/12", NULL);
	goes_with(&t, "weft", "10.31.255.255/12", NULL);
	goes_with(&t, "weft", "fd00:1::4/108", NULL);
	assert_false(
		core_companion_of(t.n[0].core, "weft", prefix("fd00:1::10:0/128").addr, &v4)); /* an offset the range has not got */
	assert_false(core_companion_of(t.n[0].core, "weft", prefix("fd00:1:0:0:1::4/128").addr, &v4));
	assert_false(core_companion_of(t.n[0].core, "weft", prefix("fd00:2::4/128").addr, &v4));
	nodes_free(&t);
}

static void by_the_network(void **state)
{
	struct nodes t;

	(void)state;
	nodes_init(&t);
	assert_int_equal(nodes_try_start(&t, 0, false, with_range6), ERR_OK);
	assert_int_equal(create(&t, "blue", "10.40.0.0/16", "fd00:b::/64"), ERR_OK);
	goes_with(&t, "blue", "10.40.0.1/16", "fd00:b::8:1/64");
	goes_with(&t, "blue", "10.33.0.1/24", "fd00:b::1:1/64"); /* of the range, if not of the subnet */
	/* a prefix that is as small as the subnet */
	assert_int_equal(create(&t, "red", "10.41.1.0/24", "fd00:c::/120"), ERR_OK);
	goes_with(&t, "red", "10.41.1.7/24", "fd00:c::7/120");
	goes_with(&t, "red", "10.41.2.7/24", NULL);
	assert_int_equal(create(&t, "green", "10.42.1.0/24", "fd00:d::/121"), ERR_RANGE);
	assert_non_null(strstr(t.n[0].text, "at most /120"));
	assert_int_equal(create(&t, "green", NULL, "fd00:d::/109"), ERR_RANGE);
	assert_int_equal(create(&t, "green", NULL, "fd00:d::/108"), ERR_OK);
	assert_int_equal(create(&t, "plain", "10.43.0.0/16", NULL), ERR_OK);
	goes_with(&t, "plain", "10.43.0.1/16", "fd00:1::b:1/112");
	nodes_free(&t);
}

static void only_where_there_is_a_prefix(void **state)
{
	struct nodes t;

	(void)state;
	nodes_init(&t);
	assert_int_equal(nodes_try_start(&t, 0, false, without), ERR_OK);
	goes_with(&t, "weft", "10.32.0.4/12", NULL);
	assert_int_equal(create(&t, "blue", "10.40.0.0/16", "fd00:b::/64"), ERR_OK);
	goes_with(&t, "blue", "10.40.0.1/16", "fd00:b::8:1/64");
	nodes_free(&t);
}

/* No two IPv4 addresses have one companion, and neighbours of one IPv4 subnet are neighbours of one IPv6 subnet, others are not. */
static void one_to_one(void **state)
{
	struct nodes t;
	struct rng rng;

	(void)state;
	rng_seed(&rng, test_seed("one_to_one"));
	nodes_init(&t);
	assert_int_equal(nodes_try_start(&t, 0, false, with_range6), ERR_OK);
	for (int i = 0; i < 100000; i++) {
		uint32_t a = 0x0a200000 + (uint32_t)rng_below(&rng, 1 << 20), b = 0x0a200000 + (uint32_t)rng_below(&rng, 1 << 20);
		uint8_t len = (uint8_t)(12 + rng_below(&rng, 19));
		struct prefix x, y, pa = { ip_v4(a), len }, pb = { ip_v4(b), len };
		assert_true(core_companion(t.n[0].core, "weft", pa, &x) && core_companion(t.n[0].core, "weft", pb, &y));
		assert_int_equal(ip_eq(x.addr, y.addr), a == b);
		assert_int_equal(prefix_contains(prefix_network(x), y.addr), prefix_contains(prefix_network(pa), pb.addr));
	}
	nodes_free(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(by_the_range),
		cmocka_unit_test(by_the_network),
		cmocka_unit_test(only_where_there_is_a_prefix),
		cmocka_unit_test(one_to_one),
	};

	return sodium_init() < 0 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
