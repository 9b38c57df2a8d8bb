/* The offer on the wire, and which path two offers lead to. */
#include "nodes.h"

#include "base/rng.h"
#include "tests/unit/base/seed.h"

static bool same_offer(const struct path_offer *a, const struct path_offer *b)
{
	return a->vxlan_port == b->vxlan_port && a->userspace_port == b->userspace_port && a->password == b->password &&
		a->vxlan_over_v6 == b->vxlan_over_v6 && prefix_eq(a->range, b->range);
}

static void an_offer_is_read_as_it_was_written(void **state)
{
	struct rng r;
	uint64_t seed = test_seed("offers");

	(void)state;
	rng_seed(&r, seed);
	for (int i = 0; i < 10000; i++) {
		uint64_t v = rng_u64(&r);
		struct path_offer got,
			o = { .vxlan_port = v & 1 ? (uint16_t)(v >> 8) : 0,
				.userspace_port = v & 2 ? (uint16_t)(v >> 24) : 0,
				.password = v & 4,
				.vxlan_over_v6 = v & 16 };
		uint8_t bytes[128];
		struct wbuf w;
		if (v & 8)
			o.range = (struct prefix){ ip_v4((uint32_t)(v >> 32)), (uint8_t)(v >> 4) % 33 };
		wbuf_fixed(&w, bytes, sizeof(bytes));
		path_offer_encode(&w, &o);
		assert_int_equal(wbuf_end(&w), ERR_OK);
		path_offer_decode(wbuf_slice(&w), &got);
		assert_true(same_offer(&o, &got));
		wbuf_u8(&w, 99); /* a field of a later version */
		wbuf_lv(&w, slice_str("whatever"));
		path_offer_decode(wbuf_slice(&w), &got);
		assert_true(same_offer(&o, &got));
	}
}

static void a_broken_offer_is_none(void **state)
{
	static const uint8_t broken[][12] = {
		{ 1, 2, 0x1a },                  /* cut */
		{ 1, 1, 0x1a },                  /* too short a port */
		{ 1, 2, 0x1a, 0x80, 4, 200, 1 }, /* a length beyond the end, behind a good field */
		{ 4, 6, 4, 10, 0, 0, 0, 33 },    /* prefix length */
		{ 4, 1, 0 },                     /* no address */
	};
	static const size_t lens[] = { 3, 3, 7, 8, 3 };
	static const struct path_offer none;
	struct path_offer got;

	(void)state;
	for (size_t i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
		memset(&got, 0xff, sizeof(got));
		path_offer_decode(slice_of(broken[i], lens[i]), &got);
		assert_true(same_offer(&got, &none));
	}
}

static void change_none(struct core_cfg *cfg)
{
	(void)cfg;
}
static void no_vxlan(struct core_cfg *cfg)
{
	cfg->offer.vxlan_port = 0;
}
static void other_port(struct core_cfg *cfg)
{
	cfg->offer.vxlan_port = 9999;
}
static void over_v6(struct core_cfg *cfg)
{
	cfg->offer.vxlan_over_v6 = true;
}
static void vxlan_only(struct core_cfg *cfg)
{
	cfg->offer.userspace_port = 0;
}
static void nothing(struct core_cfg *cfg)
{
	no_vxlan(cfg);
	vxlan_only(cfg);
}
static void no_fallback(struct core_cfg *cfg)
{
	no_vxlan(cfg);
	cfg->no_fallback = true;
}
static void strict(struct core_cfg *cfg)
{
	cfg->require_encryption = true;
}

static void the_path_follows_from_both_offers(void **state)
{
	static const struct {
		void (*here)(struct core_cfg *), (*there)(struct core_cfg *);
		enum path path;
		const char *reason;
	} cases[] = {
		{ change_none, change_none, PATH_FAST, "both-ends-offer-vxlan" },
		{ no_vxlan, change_none, PATH_USERSPACE, "no-vxlan-here" },
		{ change_none, no_vxlan, PATH_USERSPACE, "no-vxlan-there" },
		{ change_none, other_port, PATH_USERSPACE, "vxlan-ports-differ" },
		{ change_none, over_v6, PATH_USERSPACE, "vxlan-address-families-differ" },
		{ over_v6, over_v6, PATH_USERSPACE, "no-underlay-address-for-vxlan" }, /* all their addresses are IPv4 */
		{ nothing, change_none, PATH_NONE, "no-userspace-path-here" },
		{ change_none, nothing, PATH_NONE, "no-userspace-path-there" },
		{ no_fallback, change_none, PATH_NONE, "no-fast-path-and-fallback-is-off" },
		{ strict, change_none, PATH_NONE, "encryption-required-and-not-available" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct nodes t;
		struct path_view v;
		struct path_hop hop;
		nodes_init(&t);
		assert_int_equal(nodes_try_start(&t, 0, true, cases[i].here), ERR_OK);
		assert_int_equal(nodes_try_start(&t, 1, true, cases[i].there), ERR_OK);
		assert_false(core_path(t.n[0].core, t.n[1].name, &v));
		nodes_connect(&t, 0, 1);
		nodes_run(&t, 2000);
		assert_true(core_path(t.n[0].core, t.n[1].name, &v));
		assert_int_equal(v.path, cases[i].path);
		assert_string_equal(v.reason, cases[i].reason);
		assert_true(core_hop(t.n[0].core, t.n[1].name, &hop));
		assert_int_equal(hop.path, v.path);
		assert_true(ip_eq(hop.underlay, node_at(1).ip));
		assert_false(core_path(t.n[0].core, t.n[0].name, &v));
		assert_false(core_hop(t.n[0].core, 12345, &hop));
		nodes_free(&t);
	}
	assert_string_equal(path_name(PATH_NONE), "none");
	assert_string_equal(path_name(PATH_FAST), "fast");
	assert_string_equal(path_name(PATH_USERSPACE), "userspace");
}

static enum path path_now(const struct nodes *t)
{
	struct path_hop hop;
	assert_true(core_hop(t->n[0].core, t->n[1].name, &hop));
	return hop.path;
}

static void a_path_outlives_a_restart_and_ends_with_a_death(void **state)
{
	struct nodes t;
	struct path_view v;

	(void)state;
	nodes_init(&t);
	nodes_start(&t, 0);
	nodes_start(&t, 1);
	nodes_connect(&t, 0, 1);
	nodes_run(&t, 2000);
	assert_int_equal(nodes_name(&t, 1, "c", "c.weft.local", 9), ERR_OK);
	nodes_run(&t, 100);
	assert_int_equal(nodes_resolve(&t, 0, "c.weft.local"), 1);
	assert_true(core_path(t.n[0].core, t.n[1].name, &v));
	uint64_t since = v.since_ms;

	nodes_kill(&t, 1);
	nodes_run(&t, 100);
	assert_int_equal(path_now(&t), PATH_FAST);
	assert_int_equal(nodes_resolve(&t, 0, "c.weft.local"), 0); /* answered only while it can be reached */
	nodes_start(&t, 1);
	nodes_connect(&t, 1, 0);
	nodes_run(&t, 1000);
	assert_true(core_path(t.n[0].core, t.n[1].name, &v));
	assert_int_equal(v.path, PATH_FAST);
	assert_int_equal(v.since_ms, since);
	assert_string_equal(v.reason, "both-ends-offer-vxlan");
	/* a new run may have other addresses, also when it was never seen to be away */
	struct peer_state *p = map_get64(t.n[0].core->peers, t.n[1].name);
	struct core_actions acts;
	bool moved = false;
	core_actions_init(&acts, t.n[0].arena);
	assert_int_equal(paths_refresh(t.n[0].core, &acts, &moved), ERR_OK);
	assert_false(moved);
	p->uid++;
	assert_int_equal(paths_refresh(t.n[0].core, &acts, &moved), ERR_OK);
	assert_true(moved);
	nodes_run(&t, 5000);
	assert_int_equal(path_now(&t), PATH_FAST);

	nodes_kill(&t, 1);
	nodes_run(&t, PATH_HOLD_MS - 100);
	assert_int_equal(path_now(&t), PATH_FAST);
	size_t before = t.n[0].forwardings;
	nodes_run(&t, 200);
	assert_true(core_path(t.n[0].core, t.n[1].name, &v));
	assert_int_equal(v.path, PATH_NONE);
	assert_string_equal(v.reason, "peer-unreachable");
	assert_true(t.n[0].forwardings > before);
	nodes_free(&t);
}

static uint32_t mtu_of_9000(void *ctx, struct ip local)
{
	(void)ctx;
	return ip_eq(local, node_at(0).ip) ? 9000 : 0;
}
static void with_mtu(struct core_cfg *cfg)
{
	cfg->underlay_mtu = mtu_of_9000;
}
static void with_mtu_slow(struct core_cfg *cfg)
{
	with_mtu(cfg);
	no_vxlan(cfg);
}

static void each_path_costs_its_own(void **state)
{
	(void)state;
	for (int slow = 0; slow < 2; slow++) {
		struct nodes t;
		struct path_view v;
		nodes_init(&t);
		assert_int_equal(nodes_try_start(&t, 0, true, slow ? with_mtu_slow : with_mtu), ERR_OK);
		nodes_start(&t, 1);
		nodes_connect(&t, 0, 1);
		nodes_run(&t, 2000);
		assert_true(core_path(t.n[0].core, t.n[1].name, &v));
		assert_int_equal(v.mtu, slow ? 8942 : 8950);
		nodes_free(&t);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_offer_is_read_as_it_was_written),
		cmocka_unit_test(a_broken_offer_is_none),
		cmocka_unit_test(the_path_follows_from_both_offers),
		cmocka_unit_test(a_path_outlives_a_restart_and_ends_with_a_death),
		cmocka_unit_test(each_path_costs_its_own),
	};

	return sodium_init() < 0 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
