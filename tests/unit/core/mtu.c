/* The search for a path's MTU: alone against a path that lets pass what it lets pass, and in whole nodes. */
#include "nodes.h"

#include "base/rng.h"
#include "tests/unit/base/seed.h"

/* Searches until it is found; gives how many probes that took. Each one answered after rtt, or not at all. */
static unsigned search(struct mtu_search *s, uint32_t passes, uint64_t *now, struct rng *lossy)
{
	unsigned probes = 0;

	while (!s->found) {
		uint32_t size = mtu_due(s, *now, 100, 600000);
		if (size == 0) {
			assert_true(s->found || s->next_ms > *now);
			*now = s->found ? *now : s->next_ms;
			continue;
		}
		assert_in_range(size, s->base + 1, s->most);
		assert_true(++probes < 200);
		if (size <= passes && (lossy == NULL || !rng_chance(lossy, 100000))) {
			*now += 10;
			mtu_passed(s, size, *now);
		}
	}
	return probes;
}

static void what_passes_is_found_to_the_byte(void **state)
{
	struct rng r;
	struct mtu_search s;
	uint64_t now = 1000;

	(void)state;
	rng_seed(&r, test_seed("mtu"));
	for (int i = 0; i < 100000; i++) {
		uint32_t most = (uint32_t)rng_between(&r, 400, 9500), passes = (uint32_t)rng_between(&r, 576, 9500);
		mtu_begin(&s, 576, most, now);
		unsigned probes = search(&s, passes, &now, NULL);
		assert_int_equal(s.good, passes < most ? passes : most);
		assert_true(probes <= 3 * 15);
		if (passes >= most)
			assert_true(probes <= 1);
	}
}

static void now_and_then_a_lost_probe_changes_nothing(void **state)
{
	struct rng r;
	struct mtu_search s;
	uint64_t now = 1000;
	unsigned wrong = 0;

	(void)state;
	rng_seed(&r, test_seed("mtu, lossy"));
	for (int i = 0; i < 5000; i++) {
		mtu_begin(&s, 576, 1500, now);
		(void)search(&s, 1400, &now, &r);
		assert_true(s.good <= 1400);
		wrong += s.good != 1400;
	}
	assert_true(wrong < 100); /* one in a thousand a size, some sizes a search */
}

static void what_the_kernel_refuses_needs_no_waiting(void **state)
{
	struct mtu_search s;

	(void)state;
	mtu_begin(&s, 576, 9000, 0);
	assert_int_equal(mtu_due(&s, 0, 100, 1000), 9000);
	mtu_refused(&s, 9000, 0);
	assert_int_equal(mtu_due(&s, 0, 100, 1000), 576 + (9000 - 576) / 2);
	mtu_passed(&s, 4788, 1);
	assert_int_equal(s.good, 4788);
	mtu_refused(&s, 1400, 2); /* the device has become smaller than what was found */
	assert_int_equal(s.good, 576);
	uint32_t next = mtu_due(&s, 2, 100, 1000);
	assert_in_range(next, 577, 1399);
	mtu_refused(&s, 576, 2); /* the base is always assumed to pass */
	assert_int_equal(s.good, 576);
	/* a device smaller than the base */
	mtu_begin(&s, 1280, 1000, 0);
	assert_int_equal(mtu_due(&s, 0, 100, 1000), 0);
	assert_true(s.found);
	assert_int_equal(s.good, 1000);
}

static void a_late_answer_counts(void **state)
{
	struct mtu_search s;
	uint64_t now = 0;

	(void)state;
	mtu_begin(&s, 576, 1500, now);
	for (; s.bad > 1500; now += 100)
		(void)mtu_due(&s, now, 100, 1000);
	assert_int_equal(s.bad, 1500);
	mtu_passed(&s, 1500, now);
	assert_int_equal(mtu_due(&s, now, 100, 1000), 0);
	assert_true(s.found);
	assert_int_equal(s.good, 1500);
	mtu_passed(&s, 1600, now); /* never asked for */
	assert_int_equal(s.good, 1500);
}

static void no_vxlan(struct core_cfg *cfg)
{
	cfg->offer.vxlan_port = 0;
	cfg->mtu_raise_ms = 60000;
}
static void sealed(struct core_cfg *cfg)
{
	no_vxlan(cfg);
	cfg->offer.password = true;
}

static void both_ends_find_the_mtu_of_their_direction(void **state)
{
	static const unsigned mtus[] = { 700, 1000, 1280, 1400, 1499, 1500, 0 };

	(void)state;
	for (int with_password = 0; with_password < 2; with_password++) {
		unsigned around = with_password ? 28 + 16 + 16 + 14 : 28 + 16 + 14;
		for (size_t i = 0; i < sizeof(mtus) / sizeof(mtus[0]); i++) {
			struct nodes t;
			nodes_init(&t);
			t.wire[0][1].mtu = mtus[i];
			t.wire[1][0].mtu = 1234;
			assert_int_equal(nodes_try_start(&t, 0, true, with_password ? sealed : no_vxlan), ERR_OK);
			assert_int_equal(nodes_try_start(&t, 1, true, with_password ? sealed : no_vxlan), ERR_OK);
			nodes_connect(&t, 0, 1);
			nodes_run(&t, 10000);
			unsigned passes = mtus[i] == 0 ? 1500 : mtus[i];
			assert_int_equal(nodes_path(&t, 0, 1).mtu, passes - around);
			assert_int_equal(nodes_hop(&t, 0, 1).mtu, passes - around);
			assert_int_equal(nodes_hop(&t, 0, 1).datagram, passes - 28);
			assert_int_equal(nodes_path(&t, 1, 0).mtu, 1234 - around);
			nodes_free(&t);
		}
	}
}

static void the_usual_mtu_is_found_in_a_round_trip(void **state)
{
	struct nodes t;

	(void)state;
	nodes_init(&t);
	assert_int_equal(nodes_try_start(&t, 0, true, no_vxlan), ERR_OK);
	assert_int_equal(nodes_try_start(&t, 1, true, no_vxlan), ERR_OK);
	t.wire[0][1].delay_ms = t.wire[1][0].delay_ms = 40;
	nodes_connect(&t, 0, 1);
	nodes_run(&t, 50);
	assert_int_equal(nodes_hop(&t, 0, 1).datagram, 576 - 28); /* what surely passes */
	nodes_run(&t, 100);
	assert_int_equal(nodes_hop(&t, 0, 1).datagram, 1500 - 28);
	nodes_free(&t);
}

static void a_path_that_narrows_and_widens_is_followed(void **state)
{
	struct nodes t;

	(void)state;
	nodes_pair(&t, no_vxlan, no_vxlan);
	nodes_talk(&t, 0, 1, 1000);
	assert_int_equal(nodes_hop(&t, 0, 1).datagram, 1500 - 28);
	t.wire[0][1].mtu = 900;
	nodes_talk(&t, 0, 1, 2000);
	assert_true(nodes_hop(&t, 0, 1).datagram <= 900 - 28); /* what is sent passes again, at the latest now */
	assert_int_equal(nodes_path(&t, 0, 1).path, PATH_USERSPACE);
	assert_true(nodes_path(&t, 0, 1).userspace.works);
	nodes_talk(&t, 0, 1, 5000);
	assert_int_equal(nodes_hop(&t, 0, 1).datagram, 900 - 28);
	assert_int_equal(nodes_hop(&t, 1, 0).datagram, 1500 - 28);
	assert_int_equal(t.n[0].changes, 1);
	t.wire[0][1].mtu = 1300;
	nodes_talk(&t, 0, 1, 65000);
	assert_int_equal(nodes_hop(&t, 0, 1).datagram, 1300 - 28);
	/* our device itself: its refusal is enough */
	t.n[0].device = 1200;
	nodes_talk(&t, 0, 1, 600);
	assert_true(nodes_hop(&t, 0, 1).datagram <= 1200 - 28);
	nodes_talk(&t, 0, 1, 5000);
	assert_int_equal(nodes_hop(&t, 0, 1).datagram, 1200 - 28);
	nodes_free(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_passes_is_found_to_the_byte),
		cmocka_unit_test(now_and_then_a_lost_probe_changes_nothing),
		cmocka_unit_test(what_the_kernel_refuses_needs_no_waiting),
		cmocka_unit_test(a_late_answer_counts),
		cmocka_unit_test(both_ends_find_the_mtu_of_their_direction),
		cmocka_unit_test(the_usual_mtu_is_found_in_a_round_trip),
		cmocka_unit_test(a_path_that_narrows_and_widens_is_followed),
	};

	return sodium_init() < 0 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
