/* Histories with --reclaim-after: hosts that die for good, return as zombies, lose their disks, or are only cut off. See model.h. */
#include "ipam/internal.h"
#include "model.h"

#define LEASE_MS 3200
/* When the space of a dead host has come to others at the latest: the lease, a quarter for drifting clocks, and the agreement. */
#define TAKEN_MS (LEASE_MS * 5 / 4 + 3000)

static struct prefix prefix(const char *text)
{
	struct prefix p;
	assert_int_equal(prefix_parse(text, &p), ERR_OK);
	return p;
}

static void start(struct model *m, size_t n, uint8_t len)
{
	model_init(m, test_seed("lease"), n, len);
	for (size_t k = 0; k < n; k++)
		m->h[k].reclaim_after_ms = LEASE_MS;
	model_start(m);
	new_links(m);
	model_run(m, m->now + 100); /* so that all know of all */
	for (size_t k = 0; k < n; k++)
		user_other(m, k, IPAM_PRIME, 0);
	model_run(m, m->now + 2000);
}

static struct ipam_reclaim_view view(struct model *m, size_t at)
{
	struct ipam_reclaim_view v;
	ipam_reclaim_view(m->h[at].ipam, &v);
	return v;
}

static const char *reason(struct model *m, size_t at, size_t n)
{
	static struct ipam_pending_view v;
	size_t it = 0;
	while (ipam_next_pending(m->h[at].ipam, &it, &v))
		if (strcmp(v.ident, ident_of(n)) == 0)
			return v.reason;
	return "(not pending)";
}

static void expect_text(const char *text, const char *part)
{
	if (!strstr(text, part))
		fail_msg("\"%s\" does not say \"%s\"", text, part);
}

static void side(struct model *m, size_t at, int s)
{
	m->h[at].side = s;
	model_topology(m);
	new_links(m);
}

static void die(struct model *m, size_t at)
{
	host_down(m, at);
	model_topology(m);
}

static void back(struct model *m, size_t at)
{
	host_up(m, at);
	model_topology(m);
	new_links(m);
}

static uint64_t owned(struct model *m, size_t by, size_t whose)
{
	return ring_owned_by(m->h[by].maps[IPAM_MAP_RING], m->u, m->h[whose].name);
}

static void everybody_declares(void **state)
{
	(void)state;
	struct model m;
	start(&m, 5, 24);
	model_run(&m, m.now + LEASE_MS);
	for (size_t k = 0; k < 5; k++) {
		struct ipam_reclaim_view v = view(&m, k);
		assert_true(v.known && v.member && v.leased && !v.over);
		assert_int_equal(v.epoch, 0);
		assert_int_equal(v.members, 5);
		assert_true(v.left_ms > LEASE_MS / 2 && v.left_ms <= LEASE_MS);
		assert_in_range(v.spare, 256 / 5 * 3 / 4 - 4, 256 / 5 * 3 / 4 + 4);
	}
	model_end(&m);
}

static void dead_host_is_reclaimed(void **state)
{
	(void)state;
	struct model m;
	start(&m, 5, 24);
	user_allocate(&m, 4, 0, m.subnet);
	model_run(&m, m.now + LEASE_MS);
	uint64_t had = owned(&m, 0, 4), spare = view(&m, 4).spare;
	die(&m, 4);
	model_run(&m, m.now + LEASE_MS);
	assert_int_equal(owned(&m, 0, 4), had);
	model_run(&m, m.now + TAKEN_MS - LEASE_MS);
	for (size_t k = 0; k < 4; k++) {
		struct ipam_reclaim_view v = view(&m, k);
		struct ipam_reclaimed a;
		size_t it = 0;
		assert_int_equal(owned(&m, k, 4), had - spare);
		assert_int_equal(v.epoch, 1);
		assert_int_equal(v.members, 4);
		assert_true(ipam_next_reclaimed(m.h[k].ipam, &it, &a));
		assert_int_equal(a.from, m.h[4].name);
		assert_int_equal(a.epoch, 1);
	}
	/* It was not dead. What it has in use stays, what it kept it may use, and it becomes a member again. */
	back(&m, 4);
	model_run(&m, m.now + 2000);
	assert_string_equal(ipam_holder(m.h[4].ipam, ip_to_v4(m.h[4].c[0].addr.addr)), ident_of(0));
	assert_int_equal(owned(&m, 4, 4), had - spare);
	user_allocate(&m, 4, 1, m.subnet);
	model_run(&m, m.now + 500);
	assert_int_equal(m.h[4].c[1].want, HAS);
	model_run(&m, m.now + LEASE_MS);
	assert_true(view(&m, 4).member && view(&m, 4).leased);
	check_addresses(&m);
	check_owners(&m);
	model_end(&m);
}

/* What all want in the end is all there is. */
static void everything_is_given(void **state)
{
	(void)state;
	struct model m;
	start(&m, 3, 28);
	model_run(&m, m.now + LEASE_MS);
	for (size_t n = 0; n < 14; n++)
		user_allocate(&m, 0, n, m.subnet);
	model_run(&m, m.now + 30000);
	for (size_t n = 0; n < 14; n++)
		if (m.h[0].c[n].want != HAS)
			fail_msg("%zu: %s", n, reason(&m, 0, n));
	check_addresses(&m);
	model_end(&m);
}

static void minority_stops_and_goes_on(void **state)
{
	(void)state;
	struct model m;
	start(&m, 5, 24);
	model_run(&m, m.now + LEASE_MS);
	side(&m, 0, 1);
	side(&m, 1, 1);
	/* For a while it goes on with what it may use alone. */
	user_allocate(&m, 0, 0, m.subnet);
	model_run(&m, m.now + 100);
	assert_int_equal(m.h[0].c[0].want, HAS);
	model_run(&m, m.now + LEASE_MS);
	user_allocate(&m, 0, 1, m.subnet);
	model_run(&m, m.now + 200);
	assert_int_equal(m.h[0].c[1].want, WANTS);
	expect_text(reason(&m, 0, 1), "our lease has run out");
	expect_text(reason(&m, 0, 1), "2 of 5 hosts that vote can be reached, 3 are needed");
	assert_true(view(&m, 0).over);
	/* The majority goes on all the time. */
	user_allocate(&m, 3, 0, m.subnet);
	model_run(&m, m.now + 200);
	assert_int_equal(m.h[3].c[0].want, HAS);
	side(&m, 0, 0);
	side(&m, 1, 0);
	model_run(&m, m.now + 2500);
	assert_int_equal(m.h[0].c[1].want, HAS);
	check_addresses(&m);
	model_end(&m);
}

static void claim_of_spare_space(void **state)
{
	(void)state;
	struct model m;
	start(&m, 3, 24);
	model_run(&m, m.now + LEASE_MS);
	assert_true(lease_locked(m.h[0].ipam, (struct range4){ m.u.first + 70, m.u.first + 71 }));
	user_claim(&m, 0, 0, prefix("10.32.0.70/24"));
	user_claim(&m, 1, 1, prefix("10.32.0.71/24"));
	model_run(&m, m.now + 2500);
	assert_int_equal(m.h[0].c[0].want, HAS);
	assert_int_equal(m.h[1].c[1].want, HAS);
	/* Without a majority it waits, and says for what. */
	side(&m, 0, 1);
	user_claim(&m, 0, 2, prefix("10.32.0.72/24"));
	model_run(&m, m.now + 300);
	expect_text(reason(&m, 0, 2), "not spare any more: 1 of 3 hosts that vote can be reached, 2 are needed");
	side(&m, 0, 0);
	model_run(&m, m.now + 2000);
	assert_int_equal(m.h[0].c[2].want, HAS);
	model_end(&m);
}

static void newcomers_join(void **state)
{
	(void)state;
	struct model m;
	model_init(&m, test_seed("newcomers"), 6, 24);
	m.consensus = 3;
	for (size_t k = 0; k < 6; k++) {
		m.h[k].reclaim_after_ms = LEASE_MS;
		m.h[k].init = k < 3 ? IPAM_CONSENSUS : IPAM_OBSERVER;
	}
	for (size_t k = 0; k < 3; k++)
		host_up(&m, k);
	model_topology(&m);
	new_links(&m);
	model_run(&m, m.now + 100);
	user_allocate(&m, 0, 0, m.subnet);
	model_run(&m, m.now + 2000);
	for (size_t k = 3; k < 6; k++) {
		back(&m, k);
		user_allocate(&m, k, 0, m.subnet);
	}
	model_run(&m, m.now + 2 * LEASE_MS);
	for (size_t k = 0; k < 6; k++) {
		struct ipam_reclaim_view v = view(&m, k);
		if (!v.known || !v.member || !v.leased || v.members != 6)
			fail_msg("host %zu: known %d, member %d, leased %d, %zu members in epoch %llu", k, v.known, v.member, v.leased,
				v.members, (unsigned long long)v.epoch);
	}
	/* Two die at once, four are a majority of six. */
	host_down(&m, 0);
	die(&m, 1);
	model_run(&m, m.now + TAKEN_MS + 2000);
	for (size_t k = 2; k < 6; k++)
		assert_int_equal(view(&m, k).members, 4);
	check_addresses(&m);
	model_end(&m);
}

static void off_says_nothing(void **state)
{
	(void)state;
	struct model m;
	model_init(&m, test_seed("off"), 3, 24);
	model_start(&m);
	new_links(&m);
	model_run(&m, m.now + 100);
	user_allocate(&m, 0, 0, m.subnet);
	model_run(&m, m.now + 60000);
	struct crdt_item it;
	for (bool there = crdt_map_next(m.h[0].maps[IPAM_MAP_USAGE], slice_of(NULL, 0), &it); there;
		 there = crdt_map_next(m.h[0].maps[IPAM_MAP_USAGE], it.key, &it))
		assert_false(lease_is_key(m.h[0].ipam, crdt_subkey(it.key)));
	assert_true(ipam_deadline_ms(m.h[0].ipam) == UINT64_MAX);
	die(&m, 2);
	model_run(&m, m.now + 600000);
	assert_true(owned(&m, 0, 2) > 0);
	assert_true(ipam_deadline_ms(m.h[0].ipam) == UINT64_MAX);
	model_end(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(everybody_declares),
		cmocka_unit_test(dead_host_is_reclaimed),
		cmocka_unit_test(everything_is_given),
		cmocka_unit_test(minority_stops_and_goes_on),
		cmocka_unit_test(claim_of_spare_space),
		cmocka_unit_test(newcomers_join),
		cmocka_unit_test(off_says_nothing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
