/* Named histories: what users do and must see, one by one. The network is reliable with 5 ms of delay unless said otherwise. */
#include "ipam/paxos.h"
#include "scenario.h"

/* --- the first agreement --- */

static void first_ping_of_three_hosts(void **state)
{
	(void)state;
	struct model m;
	start(&m, 3, 12);
	for (size_t k = 0; k < 3; k++)
		assert_string_equal(status(&m, k), "idle");
	uint64_t t = m.now;
	for (size_t k = 0; k < 3; k++)
		user_allocate(&m, k, 0, (struct prefix){ 0 });
	expect_text(status(&m, 0), "awaiting consensus (quorum: 2, known: 3)");
	while (m.h[0].c[0].want != HAS || m.h[1].c[0].want != HAS || m.h[2].c[0].want != HAS)
		model_run(&m, m.now + 1);
	printf("three hosts at once: %llu ms with up to 5 ms a hop\n", (unsigned long long)(m.now - t));
	assert_true(m.now - t < 400);
	expect_has(&m, 0, 0, "10.32.0.1/12");
	assert_string_equal(status(&m, 1), "ready");
	/* Shares as equal as can be, all three are in. */
	model_run(&m, m.now + 200);
	for (size_t k = 0; k < 3; k++)
		assert_true(ring_owned_by(m.h[0].maps[0], m.u, m.h[k].name) >= 1 << 18);
	model_end(&m);

	/* One asks: a proposal, a promise, an acceptance and its echo. */
	start(&m, 3, 12);
	t = m.now;
	user_allocate(&m, 1, 0, (struct prefix){ 0 });
	while (m.h[1].c[0].want != HAS)
		model_run(&m, m.now + 1);
	printf("one of three: %llu ms\n", (unsigned long long)(m.now - t));
	assert_true(m.now - t <= 20);
	model_end(&m);
}

static void prime_waits(void **state)
{
	(void)state;
	struct model m;
	start(&m, 2, 24);
	side(&m, 1, 1);
	user_other(&m, 0, IPAM_PRIME, 0);
	model_run(&m, m.now + 2000);
	assert_int_not_equal(m.h[0].other_request, 0);
	expect_text(status(&m, 0), "awaiting consensus (quorum: 2");
	side(&m, 1, 0);
	model_run(&m, m.now + 1000);
	assert_int_equal(m.h[0].other_request, 0);
	assert_int_equal(m.h[0].other_err, ERR_OK);
	model_end(&m);
}

/* Nothing without a majority; then within a second, whoever has been proposing meanwhile. */
static void majority(void **state)
{
	(void)state;
	for (uint64_t seed = 0; seed < 50; seed++) {
		struct model m;
		model_init(&m, seed, 5, 24);
		for (size_t k = 0; k < 5; k++)
			m.h[k].side = (int)k;
		model_start(&m);
		for (size_t k = 0; k < 5; k++)
			user_allocate(&m, k, 0, (struct prefix){ 0 });
		m.h[1].side = 0;
		model_topology(&m);
		model_run(&m, m.now + 5000);
		expect_text(reason(&m, 0, 0), "awaiting consensus (quorum: 3");
		m.h[2].side = 0;
		model_topology(&m);
		m.copy_ms = 20;
		m.next_copy_ms = m.now;
		model_run(&m, m.now + 1000);
		for (size_t k = 0; k < 3; k++)
			assert_int_equal(m.h[k].c[0].want, HAS);
		model_end(&m);
	}
}

static bool has_accepted(struct model *m, size_t at)
{
	struct slice key = { NULL, 0 };
	struct crdt_item it;
	struct paxos_state s;
	while (crdt_map_next(m->h[at].maps[IPAM_MAP_PAXOS], key, &it)) {
		key = it.key;
		if (crdt_owner(it.key) == m->h[at].name && it.live && paxos_state_decode(it.value, &s) == ERR_OK)
			return s.accepted.round > 0;
	}
	return false;
}

/* Of five hosts, c leads a and b and accepts that the three of them share the range, but nobody hears of that; the other four agree on
 * another division. When c starts again its vote is still one of five, also before it is told how many are expected, and also when it is
 * told a smaller number. */
static void lost_vote_after_restart(void **state)
{
	(void)state;
	struct model m;
	model_init(&m, 7, 5, 26);
	m.consensus = 0;
	m.h[3].side = m.h[4].side = 1;
	model_start(&m);
	new_links(&m);
	model_run(&m, m.now + 50);
	user_allocate(&m, 2, 0, (struct prefix){ 0 });
	for (int k = 0; k < 100 && !has_accepted(&m, 2); k++)
		model_run(&m, m.now + 1);
	assert_true(has_accepted(&m, 2));
	assert_false(has_accepted(&m, 0) || has_accepted(&m, 1));
	host_down(&m, 2);
	m.h[2].side = 2;
	m.h[3].side = m.h[4].side = 0;
	model_topology(&m);
	new_links(&m);
	user_allocate(&m, 0, 0, (struct prefix){ 0 });
	model_run(&m, m.now + 1000);
	assert_int_equal(m.h[0].c[0].want, HAS);
	assert_true(ring_owned_by(m.h[4].maps[IPAM_MAP_RING], m.u, m.h[4].name) > 0);

	host_up(&m, 2);
	check_owners(&m);
	assert_true(ring_empty(m.h[2].maps[IPAM_MAP_RING], m.u));
	user_ask(&m, 2, 0);
	model_run(&m, m.now + 3000);
	expect_text(status(&m, 2), "awaiting consensus (quorum: 3, known: 1)");
	host_down(&m, 2);
	host_up(&m, 2);
	ipam_set_expected(m.h[2].ipam, 1);
	user_ask(&m, 2, 0);
	model_run(&m, m.now + 3000);
	expect_text(status(&m, 2), "awaiting consensus (quorum: 3, known: 1)");
	check_owners(&m);

	side(&m, 2, 0);
	model_run(&m, m.now + 1000);
	assert_int_equal(m.h[2].c[0].want, HAS);
	check_owners(&m);
	model_end(&m);
}

/* What the operator says goes; and who has never seen anybody is not held to what it was told first. */
static void another_quorum_after_restart(void **state)
{
	(void)state;
	struct model m;
	start(&m, 3, 26);
	host_down(&m, 1);
	host_down(&m, 2);
	model_topology(&m);
	user_allocate(&m, 0, 0, (struct prefix){ 0 });
	model_run(&m, m.now + 200);
	expect_text(status(&m, 0), "awaiting consensus (quorum: 2, known: 3, in reach: 1)");
	host_down(&m, 0);
	m.consensus = 1;
	host_up(&m, 0);
	user_ask(&m, 0, 0);
	expect_has(&m, 0, 0, "10.32.0.1/26");
	model_end(&m);

	model_init(&m, 7, 2, 26);
	m.consensus = 0;
	m.h[1].side = 1;
	model_start(&m);
	user_allocate(&m, 0, 0, (struct prefix){ 0 });
	model_run(&m, m.now + 200);
	expect_text(status(&m, 0), "awaiting consensus (quorum: 2, known: 1)");
	host_down(&m, 0);
	host_up(&m, 0);
	ipam_set_expected(m.h[0].ipam, 1);
	user_ask(&m, 0, 0);
	expect_has(&m, 0, 0, "10.32.0.1/26");
	model_end(&m);
}

static void seeds(void **state)
{
	(void)state;
	struct model m;
	model_init(&m, 7, 3, 24);
	/* Named in any order, and twice; the third is none of them. */
	m.seeds[0] = m.h[1].name;
	m.seeds[1] = m.h[0].name;
	m.seeds[2] = m.h[1].name;
	m.n_seeds = 3;
	for (size_t k = 0; k < 3; k++) {
		m.h[k].init = IPAM_SEED;
		m.h[k].side = (int)k;
	}
	model_start(&m);
	user_allocate(&m, 0, 0, (struct prefix){ 0 });
	user_allocate(&m, 1, 0, (struct prefix){ 0 });
	expect_has(&m, 0, 0, "10.32.0.1/24");
	expect_has(&m, 1, 0, "10.32.0.128/24");
	user_allocate(&m, 2, 0, (struct prefix){ 0 });
	assert_int_equal(m.h[2].c[0].want, WANTS);
	for (size_t k = 0; k < 3; k++)
		m.h[k].side = 0;
	model_topology(&m);
	model_run(&m, m.now + 1000);
	assert_int_equal(m.h[2].c[0].want, HAS);
	for (size_t k = 0; k < 3; k++)
		assert_string_equal(conflict(&m, k), "");
	model_end(&m);
}

static void observer(void **state)
{
	(void)state;
	struct model m;
	model_init(&m, 7, 3, 24);
	m.h[0].init = IPAM_OBSERVER;
	m.consensus = 2;
	model_start(&m);
	model_run(&m, m.now + 500);
	assert_string_equal(status(&m, 0), "idle");
	user_allocate(&m, 0, 0, (struct prefix){ 0 });
	expect_text(status(&m, 0), "awaiting consensus");
	uint64_t t = m.now;
	while (m.h[0].c[0].want != HAS)
		model_run(&m, m.now + 1);
	assert_true(m.now - t < 300);
	/* It got space by donation, and has no share. */
	struct paxos_peek {
		struct crdt_item it;
	} p;
	struct slice at = { NULL, 0 };
	while (crdt_map_next(m.h[1].maps[1], at, &p.it)) {
		at = p.it.key;
		assert_int_not_equal(crdt_owner(p.it.key), m.h[0].name);
	}
	assert_true(ring_owned_by(m.h[1].maps[0], m.u, m.h[0].name) > 0);
	model_end(&m);
}

/* --- allocation --- */

static void lowest_and_same_again(void **state)
{
	(void)state;
	struct model m;
	start(&m, 1, 24);
	user_allocate(&m, 0, 0, (struct prefix){ 0 });
	user_allocate(&m, 0, 1, prefix("10.32.0.0/24"));
	user_allocate(&m, 0, 2, prefix("10.32.0.16/28"));
	expect_has(&m, 0, 0, "10.32.0.1/24");
	expect_has(&m, 0, 1, "10.32.0.2/24");
	expect_has(&m, 0, 2, "10.32.0.17/28");
	user_free(&m, 0, 0);
	user_allocate(&m, 0, 3, (struct prefix){ 0 });
	expect_has(&m, 0, 3, "10.32.0.1/24");
	user_allocate(&m, 0, 1, (struct prefix){ 0 });
	expect_has(&m, 0, 1, "10.32.0.2/24");
	/* The same container in another subnet, and again there. */
	user_allocate(&m, 0, 1, prefix("10.32.0.32/27"));
	expect_has(&m, 0, 1, "10.32.0.33/27");
	user_allocate(&m, 0, 1, prefix("10.32.0.32/27"));
	expect_has(&m, 0, 1, "10.32.0.33/27");
	assert_string_equal(ipam_holder(m.h[0].ipam, 0x0a200021), "c01");
	assert_null(ipam_holder(m.h[0].ipam, 0x0a200022));
	assert_int_equal(ipam_active(m.h[0].ipam), 4);
	size_t it = 0;
	const char *ident, *last = "";
	struct prefix p;
	while (ipam_next_lease(m.h[0].ipam, &it, &ident, &p)) {
		assert_true(strcmp(last, ident) <= 0);
		last = ident;
	}
	struct told a = direct(&m, 0, (struct ipam_event){ .kind = IPAM_LOOKUP, .ident = "c03" });
	assert_true(a.there && a.err == ERR_OK && ip_to_v4(a.result.addr) == 0x0a200001 && a.result.len == 24);
	expect_direct(
		&m, 0, (struct ipam_event){ .kind = IPAM_LOOKUP, .ident = "c09" }, ERR_NOT_FOUND, "c09 has no address in 10.32.0.0/24");
	expect_direct(
		&m, 0, (struct ipam_event){ .kind = IPAM_FREE, .ident = "c03", .addr = ip_v4(0x0a200002) }, ERR_NOT_FOUND, "10.32.0.2");
	expect_direct(&m, 0, (struct ipam_event){ .kind = IPAM_FREE, .ident = "c03", .addr = ip_v4(0x0a200001) }, ERR_OK, "");
	expect_direct(&m, 0, (struct ipam_event){ .kind = IPAM_FREE, .ident = "c03" }, ERR_NOT_FOUND, "c03 has no address");
	model_end(&m);
}

static void edges_are_never_given(void **state)
{
	(void)state;
	struct model m;
	start(&m, 1, 29);
	for (size_t n = 0; n < 7; n++)
		user_allocate(&m, 0, n, (struct prefix){ 0 });
	for (size_t n = 0; n < 6; n++)
		assert_int_equal(ip_to_v4(m.h[0].c[n].addr.addr) & 7, n + 1);
	assert_int_equal(m.h[0].c[6].want, WANTS);
	assert_string_equal(status(&m, 0), "waiting for space");
	user_free(&m, 0, 3);
	expect_has(&m, 0, 6, "10.32.0.4/29");
	assert_string_equal(status(&m, 0), "ready");
	expect_direct(&m, 0, (struct ipam_event){ .kind = IPAM_CLAIM, .ident = "x", .subnet = prefix("10.32.0.0/29") }, ERR_RANGE,
		"never given");
	expect_direct(&m, 0, (struct ipam_event){ .kind = IPAM_CLAIM, .ident = "x", .subnet = prefix("10.32.0.7/29") }, ERR_RANGE,
		"never given");
	model_end(&m);
}

static void refusals(void **state)
{
	(void)state;
	struct model m;
	char longest[IPAM_IDENT_MAX + 2];
	start(&m, 1, 24);
	memset(longest, 'x', sizeof longest);
	longest[IPAM_IDENT_MAX + 1] = '\0';
	struct ipam_event ev = { .kind = IPAM_ALLOCATE, .ident = "x" };
	ev.subnet = prefix("10.32.0.1/28");
	expect_direct(&m, 0, ev, ERR_RANGE, "did you mean 10.32.0.0/28");
	ev.subnet = prefix("10.32.0.0/31");
	expect_direct(&m, 0, ev, ERR_RANGE, "smallest subnet is a /30");
	ev.subnet = prefix("10.99.0.0/24");
	expect_direct(&m, 0, ev, ERR_RANGE, "outside the range 10.32.0.0/24");
	ev.subnet = prefix("fd00::/64");
	expect_direct(&m, 0, ev, ERR_UNSUPPORTED, "IPv4");
	ev.subnet = (struct prefix){ 0 };
	ev.ident = longest;
	expect_direct(&m, 0, ev, ERR_USAGE, "128");
	ev.ident = "";
	expect_direct(&m, 0, ev, ERR_USAGE, "id");
	ev.ident = NULL;
	expect_direct(&m, 0, ev, ERR_USAGE, "id");
	/* A container may have only so many. */
	for (uint32_t k = 0; k < IPAM_PER_IDENT_MAX; k++) {
		struct prefix p = { ip_v4(0x0a200000 + 1 + k), 24 };
		expect_direct(&m, 0, (struct ipam_event){ .kind = IPAM_CLAIM, .ident = "many", .subnet = p }, ERR_OK, "");
	}
	expect_direct(&m, 0, (struct ipam_event){ .kind = IPAM_CLAIM, .ident = "many", .subnet = prefix("10.32.0.100/24") },
		ERR_LIMIT, "too many");
	model_end(&m);
}

static void pending_limit_and_cancel(void **state)
{
	(void)state;
	struct model m;
	char ident[16];
	start(&m, 2, 24);
	side(&m, 1, 1);
	for (int k = 0; k < IPAM_PENDING_MAX; k++) {
		snprintf(ident, sizeof ident, "%d", k);
		assert_false(direct(&m, 0, (struct ipam_event){ .kind = IPAM_ALLOCATE, .ident = ident }).there);
	}
	uint64_t last = m.next_request;
	expect_direct(&m, 0, (struct ipam_event){ .kind = IPAM_ALLOCATE, .ident = "more" }, ERR_LIMIT, "too many");
	struct ipam_view v;
	ipam_view(m.h[0].ipam, &v);
	assert_int_equal(v.pending_allocates, IPAM_PENDING_MAX);
	/* The same number again is the caller's mistake; a cancelled one is answered, once. */
	struct ipam_actions out;
	ipam_actions_init(&out, m.arena);
	assert_int_equal(ipam_step(m.h[0].ipam,
						 &(struct ipam_event){ .kind = IPAM_ALLOCATE, .ident = "x", .request = last, .now_ms = m.now }, &out),
		ERR_DUPLICATE);
	ipam_actions_init(&out, m.arena);
	assert_int_equal(
		ipam_step(m.h[0].ipam, &(struct ipam_event){ .kind = IPAM_CANCEL, .request = last, .now_ms = m.now }, &out), ERR_OK);
	assert_int_equal(out.n, 1);
	assert_int_equal(out.v[0].kind, IPAM_REPLY);
	assert_int_equal(out.v[0].u.reply.err, ERR_CANCELLED);
	ipam_actions_init(&out, m.arena);
	assert_int_equal(
		ipam_step(m.h[0].ipam, &(struct ipam_event){ .kind = IPAM_CANCEL, .request = last, .now_ms = m.now }, &out), ERR_OK);
	assert_int_equal(out.n, 0);
	model_end(&m);
}

/* --- donation --- */

static void space_by_donation(void **state)
{
	(void)state;
	struct model m;
	start(&m, 2, 28);
	user_allocate(&m, 0, 0, (struct prefix){ 0 });
	model_run(&m, m.now + 1500);
	for (size_t n = 1; n < 7; n++)
		user_allocate(&m, 0, n, (struct prefix){ 0 });
	assert_int_equal(m.h[0].c[6].want, HAS); /* .1 to .7 are its own */
	m.messages = 0;
	uint64_t t = m.now;
	user_allocate(&m, 0, 7, (struct prefix){ 0 });
	while (m.h[0].c[7].want != HAS)
		model_run(&m, m.now + 1);
	assert_true(m.now - t <= 11); /* there and back */
	assert_int_equal(m.messages, 2);
	model_run(&m, m.now + 1500);
	/* The rest of everything: 14 addresses in all. */
	for (size_t n = 8; n < 15; n++)
		user_allocate(&m, 0, n, (struct prefix){ 0 });
	model_run(&m, m.now + 3000);
	for (size_t n = 8; n < 14; n++)
		assert_int_equal(m.h[0].c[n].want, HAS);
	assert_int_equal(m.h[0].c[14].want, WANTS);
	assert_string_equal(status(&m, 0), "waiting for space");
	expect_text(reason(&m, 0, 14), "full");
	/* A host without any waits as well, until something is freed elsewhere: noticed at once, not at the next retry. */
	user_allocate(&m, 1, 20, (struct prefix){ 0 });
	model_run(&m, m.now + 20000);
	assert_int_equal(m.h[1].c[20].want, WANTS);
	user_cancel(&m, 0, 14);
	t = m.now;
	user_free(&m, 0, 3);
	while (m.h[1].c[20].want != HAS && m.now < t + 10000)
		model_run(&m, m.now + 1);
	assert_true(m.now - t <= 20);
	model_end(&m);
}

/* The answer is lost: gossip tells. A donor that says nothing is passed over. */
static void lost_answers(void **state)
{
	(void)state;
	struct model m;
	start(&m, 3, 28);
	for (size_t k = 0; k < 3; k++)
		user_allocate(&m, k, 0, (struct prefix){ 0 });
	model_run(&m, m.now + 2000);
	m.loss_ppm = 600000;
	for (size_t n = 1; n < 11; n++)
		user_allocate(&m, 0, n, (struct prefix){ 0 });
	model_run(&m, m.now + 120000);
	for (size_t n = 1; n < 11; n++)
		assert_int_equal(m.h[0].c[n].want, HAS);
	model_end(&m);
}

/* --- claims --- */

static void claims(void **state)
{
	(void)state;
	struct model m;
	start(&m, 2, 24);
	struct ipam_event ev = { .kind = IPAM_CLAIM, .ident = "early", .subnet = prefix("10.32.0.9/24") };
	expect_direct(&m, 0, ev, ERR_AGAIN, "awaiting consensus");
	/* Outside the range nobody is asked. */
	ev.subnet = prefix("192.168.1.1/32");
	expect_direct(&m, 0, ev, ERR_OK, "");
	expect_direct(&m, 0, ev, ERR_OK, "");
	ev.ident = "other";
	expect_direct(&m, 0, ev, ERR_BUSY, "in use here by early");
	user_allocate(&m, 0, 0, (struct prefix){ 0 });
	user_allocate(&m, 1, 0, (struct prefix){ 0 });
	model_run(&m, m.now + 500);
	expect_has(&m, 0, 0, "10.32.0.1/24");
	expect_has(&m, 1, 0, "10.32.0.128/24");
	/* Ours. */
	user_claim(&m, 0, 1, prefix("10.32.0.7/24"));
	expect_has(&m, 0, 1, "10.32.0.7/24");
	user_claim(&m, 0, 1, prefix("10.32.0.7/24"));
	expect_has(&m, 0, 1, "10.32.0.7/24");
	ev = (struct ipam_event){ .kind = IPAM_CLAIM, .ident = "c09", .subnet = prefix("10.32.0.7/24") };
	expect_direct(&m, 0, ev, ERR_BUSY, "in use here by c01");
	/* The other host's: free there, then in use there. */
	user_claim(&m, 0, 2, prefix("10.32.0.200/24"));
	assert_int_equal(m.h[0].c[2].want, WANTS);
	model_run(&m, m.now + 30);
	expect_has(&m, 0, 2, "10.32.0.200/24");
	assert_int_equal(ring_owner(m.h[1].maps[0], m.u, 0x0a2000c8), m.h[0].name);
	assert_int_equal(ring_owner(m.h[1].maps[0], m.u, 0x0a2000c9), m.h[1].name);
	user_claim(&m, 0, 3, prefix("10.32.0.128/24"));
	model_run(&m, m.now + 30);
	assert_true(m.h[0].c[3].answered_error);
	/* Who cannot be reached. */
	side(&m, 1, 1);
	ev = (struct ipam_event){ .kind = IPAM_CLAIM, .ident = "c09", .subnet = prefix("10.32.0.201/24") };
	expect_direct(&m, 0, ev, ERR_UNREACHABLE, "10.32.0.201 is owned by b(0a:00:00:00:01:01), which cannot be reached");
	user_claim(&m, 0, 4, prefix("10.32.0.201/24"));
	model_run(&m, m.now + 5000);
	expect_text(reason(&m, 0, 4), "10.32.0.201 is owned by b(0a:00:00:00:01:01), which cannot be reached");
	expect_text(status(&m, 0), "owned by b(");
	side(&m, 1, 0);
	model_run(&m, m.now + 50);
	expect_has(&m, 0, 4, "10.32.0.201/24");
	model_end(&m);
}

/* The words of the refusal. */
static void refused_claim_names_the_holder(void **state)
{
	(void)state;
	struct model m;
	start(&m, 2, 24);
	user_allocate(&m, 1, 5, (struct prefix){ 0 });
	model_run(&m, m.now + 500);
	uint32_t addr = ip_to_v4(m.h[1].c[5].addr.addr);
	struct ipam_actions out;
	ipam_actions_init(&out, m.arena);
	struct ipam_event ev = { .kind = IPAM_CLAIM, .ident = "x", .subnet = { ip_v4(addr), 24 }, .request = 99, .now_ms = m.now };
	assert_int_equal(ipam_step(m.h[0].ipam, &ev, &out), ERR_OK);
	const struct ipam_action *send = NULL, *answer = NULL;
	for (size_t k = 0; k < out.n; k++)
		if (out.v[k].kind == IPAM_SEND)
			send = &out.v[k];
	assert_non_null(send);
	assert_int_equal(send->u.send.to, m.h[1].name);
	struct ipam_actions there, back;
	ipam_actions_init(&there, m.arena);
	ipam_actions_init(&back, m.arena);
	ev = (struct ipam_event){ .kind = IPAM_MESSAGE, .peer = m.h[0].name, .payload = send->u.send.payload, .now_ms = m.now };
	assert_int_equal(ipam_step(m.h[1].ipam, &ev, &there), ERR_OK);
	assert_int_equal(there.n, 1);
	ev = (struct ipam_event){ .kind = IPAM_MESSAGE, .peer = m.h[1].name, .payload = there.v[0].u.send.payload, .now_ms = m.now };
	assert_int_equal(ipam_step(m.h[0].ipam, &ev, &back), ERR_OK);
	for (size_t k = 0; k < back.n; k++)
		if (back.v[k].kind == IPAM_REPLY)
			answer = &back.v[k];
	assert_non_null(answer);
	assert_int_equal(answer->u.reply.err, ERR_BUSY);
	expect_text(answer->u.reply.text, "is in use on b(0a:00:00:00:01:01) by c05");
	model_end(&m);
}

/* --- restarts --- */

static void restart_with_state(void **state)
{
	(void)state;
	struct model m;
	start(&m, 2, 26);
	user_allocate(&m, 0, 0, (struct prefix){ 0 });
	user_allocate(&m, 1, 0, (struct prefix){ 0 });
	model_run(&m, m.now + 500);
	for (size_t k = 0; k < 2; k++)
		host_down(&m, k);
	m.h[0].side = 1; /* alone: what it needs to know is on its disk */
	for (size_t k = 0; k < 2; k++)
		host_up(&m, k);
	assert_string_equal(status(&m, 0), "ready");
	user_allocate(&m, 0, 1, (struct prefix){ 0 });
	expect_has(&m, 0, 1, "10.32.0.2/26");
	user_allocate(&m, 0, 0, (struct prefix){ 0 });
	expect_has(&m, 0, 0, "10.32.0.1/26");
	model_end(&m);
}

static void restart_without_state(void **state)
{
	(void)state;
	struct model m;
	start(&m, 3, 26);
	user_allocate(&m, 0, 0, (struct prefix){ 0 });
	model_run(&m, m.now + 1000);
	uint32_t mine = ip_to_v4(m.h[0].c[0].addr.addr);
	/* The last host's disk is lost while another, which may know of a grant of it, is away. */
	side(&m, 1, 1);
	host_down(&m, 0);
	disk_wipe(&m.h[0]);
	host_up(&m, 0);
	model_topology(&m);
	net_copy_all(&m, 2, 0);
	model_run(&m, m.now + 1000);
	expect_text(status(&m, 0), "waiting to hear from b(0a:00:00:00:01:01), unreachable");
	/* Its containers have their addresses at once; nobody gets a new one of its own space, but c gives some. */
	struct ipam_event claim = { .kind = IPAM_CLAIM, .ident = "c00", .subnet = m.h[0].c[0].addr };
	expect_direct(&m, 0, claim, ERR_AGAIN, "is ours only when all the other hosts were heard");
	claim.on = true;
	expect_direct(&m, 0, claim, ERR_OK, "");
	assert_string_equal(ipam_holder(m.h[0].ipam, mine), "c00");
	user_allocate(&m, 0, 1, (struct prefix){ 0 });
	model_run(&m, m.now + 100);
	assert_int_equal(m.h[0].c[1].want, HAS);
	assert_int_equal(ring_owner(m.h[2].maps[0], m.u, ip_to_v4(m.h[0].c[1].addr.addr)), m.h[0].name);
	side(&m, 1, 0);
	model_run(&m, m.now + 1000);
	assert_string_equal(status(&m, 0), "ready");
	user_allocate(&m, 0, 2, (struct prefix){ 0 });
	assert_int_equal(m.h[0].c[2].want, HAS);
	model_end(&m);
}

/* --- leaving, taking over --- */

static void takeover_refusals(void **state)
{
	(void)state;
	struct model m;
	start(&m, 2, 24);
	user_allocate(&m, 0, 0, (struct prefix){ 0 });
	model_run(&m, m.now + 500);
	struct ipam_event ev = { .kind = IPAM_TAKEOVER, .peer = m.h[1].name };
	expect_direct(&m, 0, ev, ERR_REFUSED, "b(0a:00:00:00:01:01) is reachable: stop it first");
	ev.peer = m.h[0].name;
	expect_direct(&m, 0, ev, ERR_SELF, "weft reset");
	ev.peer = 0x123456;
	expect_direct(&m, 0, ev, ERR_NOT_FOUND, "no peer 00:00:00:12:34:56");
	host_down(&m, 1);
	m.h[1].dead = true;
	model_topology(&m);
	user_other(&m, 0, IPAM_TAKEOVER, m.h[1].name);
	assert_int_equal(m.h[0].other_err, ERR_OK);
	assert_int_equal(m.h[0].other_count, 128);
	user_other(&m, 0, IPAM_TAKEOVER, m.h[1].name);
	assert_int_equal(m.h[0].other_count, 0);
	assert_string_equal(status(&m, 0), "ready");
	struct ipam_view v;
	ipam_view(m.h[0].ipam, &v);
	assert_int_equal(v.owned, 256);
	assert_int_equal(v.free_owned, 255);
	model_end(&m);
}

/* Two hosts without any space of their own take over the same peer, each behind a partition. Neither may use it before it has heard the
 * other; and then one of them has it. */
static void takeover_on_both_sides(void **state)
{
	(void)state;
	struct model m;
	model_init(&m, 7, 3, 24);
	m.consensus = 1;
	m.h[0].init = m.h[1].init = IPAM_OBSERVER;
	model_start(&m);
	user_allocate(&m, 2, 0, (struct prefix){ 0 });
	model_run(&m, m.now + 1000);
	assert_int_equal(ring_owned_by(m.h[0].maps[0], m.u, m.h[2].name), 256);
	m.h[2].c[0] = (struct container){ 0 };
	host_down(&m, 2);
	m.h[2].dead = true;
	m.in_doubt = true;
	side(&m, 1, 1);
	for (size_t k = 0; k < 2; k++) {
		user_other(&m, k, IPAM_TAKEOVER, m.h[2].name);
		assert_int_equal(m.h[k].other_count, 256);
		user_allocate(&m, k, 1, (struct prefix){ 0 });
	}
	model_run(&m, m.now + 5000);
	for (size_t k = 0; k < 2; k++) {
		assert_int_equal(m.h[k].c[1].want, WANTS);
		expect_text(status(&m, k), "recovering 256 addresses: waiting to hear from ");
		expect_text(reason(&m, k, 1), "unreachable");
	}
	/* Also not after a restart. */
	host_down(&m, 0);
	host_up(&m, 0);
	model_topology(&m);
	user_allocate(&m, 0, 1, (struct prefix){ 0 });
	user_other(&m, 0, IPAM_TAKEOVER, m.h[2].name);
	model_run(&m, m.now + 2000);
	assert_int_equal(m.h[0].c[1].want, WANTS);
	side(&m, 1, 0);
	model_run(&m, m.now + 3000);
	for (size_t k = 0; k < 2; k++) {
		assert_int_equal(m.h[k].c[1].want, HAS);
		assert_string_equal(status(&m, k), "ready");
	}
	model_end(&m);
}

static void reset_of_all(void **state)
{
	(void)state;
	struct model m;
	start(&m, 4, 24);
	user_allocate(&m, 0, 0, (struct prefix){ 0 });
	model_run(&m, m.now + 1000);
	for (size_t k = 0; k < 4; k++) {
		uint64_t t = m.now, had = ring_owned_by(m.h[k].maps[0], m.u, m.h[k].name);
		for (size_t n = 0; n < IDENTS_MAX; n++)
			m.h[k].c[n] = (struct container){ 0 };
		user_other(&m, k, IPAM_HANDOVER, 0);
		while (m.h[k].other_request != 0)
			model_run(&m, m.now + 1);
		assert_int_equal(m.h[k].other_err, ERR_OK);
		assert_true(m.now - t <= 11);
		assert_int_equal(m.h[k].other_count, k < 3 ? had : 0);
		assert_int_equal(ipam_active(m.h[k].ipam), 0);
		if (k == 3)
			expect_text(m.h[k].other_text, "no other host");
		expect_direct(&m, k, (struct ipam_event){ .kind = IPAM_ALLOCATE, .ident = "x" }, ERR_STATE, "handed over");
		/* It is gone before the next one goes. */
		host_down(&m, k);
		m.h[k].left = true;
		model_topology(&m);
		model_run(&m, m.now + 10);
		for (size_t o = k + 1; o < 4; o++)
			assert_int_equal(ring_owned_by(m.h[o].maps[0], m.u, m.h[k].name), 0);
	}
	model_end(&m);
}

/* All of them at once: whatever one gets from another on its way out it hands on. */
static void reset_at_once(void **state)
{
	(void)state;
	struct model m;
	start(&m, 4, 24);
	user_allocate(&m, 3, 0, (struct prefix){ 0 });
	model_run(&m, m.now + 1000);
	for (size_t k = 0; k < 3; k++)
		user_other(&m, k, IPAM_HANDOVER, 0);
	model_run(&m, m.now + 3000);
	for (size_t k = 0; k < 3; k++)
		assert_int_equal(m.h[k].other_request, 0);
	assert_int_equal(ring_owned_by(m.h[3].maps[0], m.u, m.h[3].name), 256);
	model_end(&m);
}

/* The heir does not answer. */
static void reset_without_answer(void **state)
{
	(void)state;
	struct model m;
	start(&m, 2, 24);
	user_allocate(&m, 0, 0, (struct prefix){ 0 });
	model_run(&m, m.now + 1000);
	m.h[0].c[0] = (struct container){ 0 };
	m.loss_ppm = 1000000;
	uint64_t t = m.now;
	user_other(&m, 0, IPAM_HANDOVER, 0);
	while (m.h[0].other_request != 0)
		model_run(&m, m.now + 1);
	assert_in_range(m.now - t, 2000, 2010);
	expect_text(m.h[0].other_text, "b(0a:00:00:00:01:01) did not acknowledge");
	model_end(&m);
}

/* --- conflicts --- */

static void rings_formed_apart(void **state)
{
	(void)state;
	struct model m;
	model_init(&m, 7, 2, 24);
	m.consensus = 1;
	m.h[1].side = 1;
	m.in_doubt = true;
	model_start(&m);
	for (size_t n = 0; n < 4; n++)
		user_allocate(&m, 0, n, (struct prefix){ 0 });
	/* Elsewhere in the same range: the model would not let two have one address, and nobody could help that. */
	user_allocate(&m, 1, 0, prefix("10.32.0.128/25"));
	expect_has(&m, 0, 3, "10.32.0.4/24");
	expect_has(&m, 1, 0, "10.32.0.129/25");
	side(&m, 1, 0);
	model_run(&m, m.now + 1000);
	size_t lost = strstr(conflict(&m, 0), "by its ring") ? 0 : 1;
	expect_text(conflict(&m, lost),
		lost == 0 ? "is b(0a:00:00:00:01:01)'s by its ring (4 addresses in use here are kept): run `weft reset` here"
				  : "is a(0a:00:00:00:00:01)'s by its ring (1 addresses in use here are kept): run `weft reset` here");
	expect_text(conflict(&m, 1 - lost), "in our range: run `weft reset` there");
	/* Nobody's hands are on what the other has in use. */
	for (size_t n = 10; n < 60; n++)
		user_allocate(&m, 1 - lost, n, (struct prefix){ 0 });
	for (size_t n = 10; n < 30; n++)
		user_allocate(&m, lost, n, (struct prefix){ 0 });
	model_run(&m, m.now + 3000);
	for (size_t n = 10; n < 30; n++)
		assert_int_equal(m.h[lost].c[n].want, HAS);
	assert_int_equal(m.h[0].notes_error + m.h[1].notes_error, 0);
	/* Reset of the loser ends it. */
	for (size_t n = 0; n < IDENTS_MAX; n++)
		m.h[lost].c[n] = (struct container){ 0 };
	user_other(&m, lost, IPAM_HANDOVER, 0);
	model_run(&m, m.now + 1000);
	assert_string_equal(conflict(&m, 1 - lost), "");
	model_end(&m);
}

static void another_range(void **state)
{
	(void)state;
	struct model m;
	model_init(&m, 7, 2, 24);
	m.consensus = 1;
	host_up(&m, 0);
	m.u.first = 0x0a630000;
	m.subnet = (struct prefix){ ip_v4(m.u.first), 24 };
	host_up(&m, 1);
	for (size_t k = 0; k < 2; k++)
		user_allocate(&m, k, 0, (struct prefix){ 0 });
	model_run(&m, m.now + 500);
	expect_has(&m, 0, 0, "10.32.0.1/24");
	expect_has(&m, 1, 0, "10.99.0.1/24");
	/* Relaunched with the other's range: old records are not for it, and it goes on. */
	host_down(&m, 0);
	struct err_note note;
	struct ipam_cfg cfg = { .self = 1, .universe = m.u, .default_subnet = m.subnet, .consensus = 1 };
	struct ipam *i;
	assert_int_equal(ring_map_new(&cfg.ring, 1), ERR_OK);
	assert_int_equal(crdt_map_new(&cfg.paxos, true, 1), ERR_OK);
	assert_int_equal(crdt_map_new(&cfg.usage, true, 1), ERR_OK);
	assert_int_equal(ipam_new(&i, &cfg, &note), ERR_OK);
	for (size_t k = 0; k < m.h[0].n_disk; k++) {
		const struct record *d = &m.h[0].disk[k];
		assert_int_equal(ipam_restore(i, slice_of(d->key, d->key_n), slice_of(d->value, d->value_n), &note), ERR_RANGE);
		expect_text(note.text, "another range, 10.32.0.0/24");
	}
	assert_true(m.h[0].n_disk > 2);
	ipam_free(i);
	crdt_map_free(cfg.ring);
	crdt_map_free(cfg.paxos);
	crdt_map_free(cfg.usage);
	model_end(&m);
}

static void bad_records(void **state)
{
	(void)state;
	struct model m;
	struct err_note note;
	model_init(&m, 7, 1, 24);
	struct ipam_cfg cfg = { .self = 1, .universe = m.u, .default_subnet = m.subnet, .consensus = 1 };
	struct ipam *i;
	assert_int_equal(ring_map_new(&cfg.ring, 1), ERR_OK);
	assert_int_equal(crdt_map_new(&cfg.paxos, true, 1), ERR_OK);
	assert_int_equal(crdt_map_new(&cfg.usage, true, 1), ERR_OK);
	assert_int_equal(ipam_new(&i, &cfg, &note), ERR_OK);
	static const struct {
		const char *key, *value;
		size_t key_n, value_n;
	} bad[] = {
		{ "nonsense", "", 8, 0 },
		{ "lease/", "", 6, 0 },
		{ "lease/\x0a\x20\0\0\x18\x0a\x20\0\1", "", 15, 0 },
		{ "lease/\x0a\x20\0\0\x18\x0a\x20\0\1",
			"\x18\x05"
			"ab",
			15, 4 },
		{ "lease/\x0a\x20\0\0\x18\x0a\x20\0\1",
			"\x21\x01"
			"a",
			15, 3 },
		{ "ring/\x0a\x20\0\0\x18\x0a\x20\0\1", "x", 14, 1 },
		{ "paxos/\x0a\x20\0\0\x18", "x", 11, 1 },
		{ "quorum/\x0a\x20\0\0\x18", "", 12, 0 },
		{ "quorum/\x0a\x20\0\0\x18", "\0", 12, 1 },
		{ "quorum/\x0a\x20\0\0\x18", "\x02\x02", 12, 2 },
		{ "quorum/\x0a\x20\0\0\x18", "\x80\x80\x80\x80\x10", 12, 5 },
		{ "doubt/\x0a\x20\0\0\x18", "\x09\x00", 11, 2 },
		{ "what/\x0a\x20\0\0\x18", "x", 10, 1 },
	};
	for (size_t k = 0; k < sizeof bad / sizeof *bad; k++)
		assert_int_equal(
			ipam_restore(i, slice_of(bad[k].key, bad[k].key_n), slice_of(bad[k].value, bad[k].value_n), &note), ERR_MALFORMED);
	assert_int_equal(ipam_restore(i, slice_of("lease/\x0a\x20\0\0\x18\x0a\x20\0\1", 15),
						 slice_of("\x18\x01"
								  "a",
							 3),
						 &note),
		ERR_OK);
	assert_string_equal(ipam_holder(i, 0x0a200001), "a");
	ipam_free(i);
	crdt_map_free(cfg.ring);
	crdt_map_free(cfg.paxos);
	crdt_map_free(cfg.usage);
	model_end(&m);
}

static void contested_name(void **state)
{
	(void)state;
	struct model m;
	start(&m, 2, 24);
	user_allocate(&m, 0, 0, (struct prefix){ 0 });
	model_run(&m, m.now + 500);
	model_step(&m, 0, &(struct ipam_event){ .kind = IPAM_SUSPEND, .on = true });
	user_allocate(&m, 0, 1, (struct prefix){ 0 });
	expect_text(reason(&m, 0, 1), "another host uses our name");
	expect_text(status(&m, 0), "contested");
	/* Nor is anything given to others. */
	user_claim(&m, 1, 1, prefix("10.32.0.99/24"));
	model_run(&m, m.now + 3000);
	assert_int_equal(m.h[1].c[1].want, WANTS);
	model_step(&m, 0, &(struct ipam_event){ .kind = IPAM_SUSPEND, .on = false });
	assert_int_equal(m.h[0].c[1].want, HAS);
	model_run(&m, m.now + 10000);
	assert_int_equal(m.h[1].c[1].want, HAS);
	model_end(&m);
}

static void bad_configuration(void **state)
{
	(void)state;
	struct ipam *i;
	struct err_note note;
	struct ipam_cfg good = { .self = 1, .universe = { 0x0a200000, 12 }, .default_subnet = prefix("10.32.0.0/12") }, c = good;
	c.default_subnet = prefix("10.99.0.0/24");
	assert_int_equal(ipam_new(&i, &c, &note), ERR_RANGE);
	expect_text(note.text, "outside the range 10.32.0.0/12");
	c = good;
	c.universe.len = 31;
	assert_int_equal(ipam_new(&i, &c, &note), ERR_RANGE);
	c = good;
	c.init = IPAM_SEED;
	assert_int_equal(ipam_new(&i, &c, &note), ERR_USAGE);
	uint64_t none = 0;
	c.seeds = &none;
	c.n_seeds = 1;
	assert_int_equal(ipam_new(&i, &c, &note), ERR_RANGE);
	assert_null(i);
}

/* Whoever sends us nonsense gets nothing and breaks nothing. */
static void nonsense(void **state)
{
	(void)state;
	struct model m;
	start(&m, 2, 24);
	user_allocate(&m, 0, 0, (struct prefix){ 0 });
	model_run(&m, m.now + 500);
	for (int k = 0; k < 20000; k++) {
		uint8_t b[80];
		size_t n = rng_below(&m.rng, sizeof b);
		rng_fill(&m.rng, b, n);
		if (n > 6) {
			b[0] = (uint8_t)rng_between(&m.rng, 1, 8);
			memcpy(b + 1, "\x0a\x20\0\0\x18", 5);
		}
		model_step(&m, 0,
			&(struct ipam_event){
				.kind = IPAM_MESSAGE, .peer = rng_chance(&m.rng, 500000) ? m.h[1].name : 77, .payload = slice_of(b, n) });
		arena_reset(m.arena);
	}
	expect_has(&m, 0, 0, "10.32.0.1/24");
	assert_string_equal(ipam_holder(m.h[0].ipam, 0x0a200001), "c00");
	model_end(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(first_ping_of_three_hosts),
		cmocka_unit_test(prime_waits),
		cmocka_unit_test(majority),
		cmocka_unit_test(lost_vote_after_restart),
		cmocka_unit_test(another_quorum_after_restart),
		cmocka_unit_test(seeds),
		cmocka_unit_test(observer),
		cmocka_unit_test(lowest_and_same_again),
		cmocka_unit_test(edges_are_never_given),
		cmocka_unit_test(refusals),
		cmocka_unit_test(pending_limit_and_cancel),
		cmocka_unit_test(space_by_donation),
		cmocka_unit_test(lost_answers),
		cmocka_unit_test(claims),
		cmocka_unit_test(refused_claim_names_the_holder),
		cmocka_unit_test(restart_with_state),
		cmocka_unit_test(restart_without_state),
		cmocka_unit_test(takeover_refusals),
		cmocka_unit_test(takeover_on_both_sides),
		cmocka_unit_test(reset_of_all),
		cmocka_unit_test(reset_at_once),
		cmocka_unit_test(reset_without_answer),
		cmocka_unit_test(rings_formed_apart),
		cmocka_unit_test(another_range),
		cmocka_unit_test(bad_records),
		cmocka_unit_test(contested_name),
		cmocka_unit_test(bad_configuration),
		cmocka_unit_test(nonsense),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
