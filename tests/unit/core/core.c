/* Whole nodes: targets, requests, restarts, one that is forgotten, and want of memory anywhere. */
#include "nodes.h"

static void text(void **state)
{
	static const char *const good[] = { "", "a", "caf\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x90\xb3", "a b~" };
	static const char *const bad[] = { "\n", "\x7f", "\x80", "\xc3", "\xc0\x80", "\xe0\x80\x80", "\xed\xa0\x80",
		"\xf4\x90\x80\x80", "\xff", "a\xe2\x82" };

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		assert_true(core_text_ok(slice_str(good[i])));
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_false(core_text_ok(slice_str(bad[i])));
	assert_false(core_text_ok(slice_of("a\0b", 3)));
}

static size_t targets_of(const struct nodes *t, int i)
{
	const char *target;
	size_t n = 0;
	for (size_t it = 0; gossip_next_target(core_gossip(t->n[i].core), &it, &target);)
		n++;
	return n;
}

static enum err connect(struct nodes *t, int i, const char *const *targets, size_t n, bool replace)
{
	struct core_event ev = { .kind = CORE_CONNECT, .targets = targets, .n_targets = n, .replace = replace };
	return nodes_ask(t, i, &ev);
}

static void targets_are_remembered_and_replaced(void **state)
{
	static const char *const first[] = { "10.9.0.1", "10.9.0.2", "host.example:99" },
							 *const second[] = { "10.9.0.2", "10.9.0.3" },
							 *const mixed[] = { "10.9.0.4", "10.9.0.5:x", "10.9.0.6" };
	struct nodes t;

	(void)state;
	nodes_init(&t);
	nodes_start(&t, 0);
	assert_int_equal(connect(&t, 0, first, 3, false), ERR_OK);
	assert_int_equal(nodes_kept(&t.n[0], "target/"), 3);
	nodes_kill(&t, 0);
	nodes_start(&t, 0); /* --resume */
	assert_int_equal(targets_of(&t, 0), 3);
	nodes_kill(&t, 0);
	assert_int_equal(nodes_try_start(&t, 0, false, NULL), ERR_OK);
	assert_int_equal(targets_of(&t, 0), 0);
	assert_int_equal(connect(&t, 0, second, 2, true), ERR_OK); /* the command line: what is remembered from now on */
	assert_int_equal(targets_of(&t, 0), 2);
	assert_int_equal(nodes_kept(&t.n[0], "target/"), 2);
	assert_int_equal(nodes_kept(&t.n[0], "target/10.9.0.1"), 0);
	/* the good ones are taken */
	assert_int_not_equal(connect(&t, 0, mixed, 3, false), ERR_OK);
	assert_non_null(strstr(t.n[0].text, "10.9.0.5:x"));
	assert_int_equal(targets_of(&t, 0), 4);
	struct core_event forget = { .kind = CORE_FORGET, .targets = second, .n_targets = 2 };
	assert_int_equal(nodes_ask(&t, 0, &forget), ERR_OK);
	forget.n_targets = 1;
	assert_int_equal(nodes_ask(&t, 0, &forget), ERR_OK); /* again */
	assert_int_equal(nodes_kept(&t.n[0], "target/"), 2);
	/* nobody waits for an answer: it is said instead */
	struct core_event quiet = { .kind = CORE_CONNECT, .targets = mixed + 1, .n_targets = 1 };
	assert_int_equal(nodes_step(&t, 0, &quiet), ERR_OK);
	assert_non_null(strstr(t.n[0].note, "10.9.0.5:x"));
	nodes_free(&t);
}

static void targets_have_a_limit(void **state)
{
	struct nodes t;
	char name[32];
	const char *target = name;

	(void)state;
	nodes_init(&t);
	nodes_start(&t, 0);
	for (int i = 0; i < GOSSIP_TARGETS_MAX; i++) {
		snprintf(name, sizeof(name), "10.9.%d.%d", i / 200, i % 200 + 1);
		assert_int_equal(connect(&t, 0, &target, 1, false), ERR_OK);
	}
	assert_int_equal(connect(&t, 0, &target, 1, false), ERR_OK); /* one that is there */
	target = "10.200.0.1";
	assert_int_equal(connect(&t, 0, &target, 1, false), ERR_LIMIT);
	assert_int_equal(nodes_kept(&t.n[0], "target/"), GOSSIP_TARGETS_MAX);
	char longest[400];
	memset(longest, 'a', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = '\0';
	target = longest;
	assert_int_equal(connect(&t, 0, &target, 1, false), ERR_LIMIT);
	nodes_free(&t);
}

static void foreign_records_are_refused(void **state)
{
	static const struct {
		const char *key;
		enum err err;
	} records[] = { { "target/", ERR_MALFORMED }, { "target/1.2.3.4:x", ERR_MALFORMED }, { "target/1.2.3.4", ERR_OK },
		{ "other/thing", ERR_MALFORMED }, { "", ERR_MALFORMED }, { "endpoint/x", ERR_MALFORMED }, { "name/x", ERR_MALFORMED } };
	struct nodes t;
	struct err_note note;

	(void)state;
	nodes_init(&t);
	struct core_cfg cfg = nodes_cfg(&t, 0);
	assert_int_equal(core_new(&t.n[0].core, &cfg, 1, &note), ERR_OK);
	for (size_t i = 0; i < sizeof(records) / sizeof(records[0]); i++)
		assert_int_equal(core_restore(t.n[0].core, slice_str(records[i].key), slice_str(""), &note), records[i].err);
	assert_int_equal(core_restore(t.n[0].core, slice_of("target/a\0b", 10), slice_str(""), &note), ERR_MALFORMED);
	nodes_free(&t);
}

static void keys_do_not_stay(void **state)
{
	static const uint8_t zero[32];
	struct nodes t;

	(void)state;
	nodes_init(&t);
	nodes_start(&t, 0);
	assert_memory_equal(core_cfg(t.n[0].core)->gossip.static_secret, zero, 32);
	assert_memory_equal(core_cfg(t.n[0].core)->gossip.psk[0], zero, 32);
	nodes_free(&t);
}

static void no_ipam(struct core_cfg *cfg)
{
	cfg->ipam = false;
}
static void bad_domain(struct core_cfg *cfg)
{
	cfg->domain = "..";
}
static void bad_range(struct core_cfg *cfg)
{
	cfg->universe.len = 31;
}

static void what_is_off_says_so(void **state)
{
	struct nodes t;
	struct ipam_event ask = { .kind = IPAM_ALLOCATE, .ident = "c" };
	struct core_event ev = { .kind = CORE_IPAM, .ipam = &ask };

	(void)state;
	nodes_init(&t);
	long before = mem_live();
	assert_int_not_equal(nodes_try_start(&t, 0, true, bad_domain), ERR_OK);
	assert_int_not_equal(nodes_try_start(&t, 0, true, bad_range), ERR_OK);
	assert_int_equal(mem_live(), before);
	t.n[0].core = NULL;
	assert_int_equal(nodes_try_start(&t, 0, true, no_ipam), ERR_OK);
	assert_int_equal(nodes_ask(&t, 0, &ev), ERR_STATE);
	assert_null(core_ipam(t.n[0].core));
	assert_int_equal(nodes_attach(&t, 0, test_endpoint("c", 1, 9)), ERR_OK);
	assert_int_equal(nodes_detach(&t, 0, "c", (struct ip){ 0 }), ERR_OK);
	assert_null(core_channel(t.n[0].core, 8));
	nodes_free(&t);
}

static void waits_for_an_address(struct nodes *t, int i, const char *ident)
{
	struct ipam_event ask = { .kind = IPAM_ALLOCATE, .ident = ident, .request = 1000, .wait = true };
	struct core_event ev = { .kind = CORE_IPAM, .ipam = &ask };
	(void)nodes_step(t, i, &ev);
	nodes_run(t, 5000);
	assert_int_equal(t->n[i].replied, 1000);
	assert_int_equal(t->n[i].reply, ERR_OK);
}

/* Node 0 has one target, which does not vote, and waits for it. Then nothing is heard of the other any more. */
static void waits_for_one_other(struct nodes *t)
{
	static const char *const target[] = { "10.0.0.2" };
	struct ipam_event ask = { .kind = IPAM_ALLOCATE, .ident = "c", .request = 1000, .wait = true };
	struct core_event ev = { .kind = CORE_IPAM, .ipam = &ask };

	nodes_init(t);
	nodes_start(t, 0);
	assert_int_equal(nodes_try_start(t, 1, true, no_ipam), ERR_OK);
	assert_int_equal(connect(t, 0, target, 1, false), ERR_OK);
	nodes_run(t, 3000);
	assert_true(gossip_reachable(core_gossip(t->n[0].core), t->n[1].name));
	(void)nodes_step(t, 0, &ev);
	nodes_run(t, 1000);
	t->cut = true;
}

/* The target is replaced by another in the very step in which it is found dead: for a moment there is neither, and the host must not
 * think that it is alone and all of the range its own. */
static void replaced_targets_are_counted_once(void **state)
{
	static const char *const target[] = { "10.9.0.1" };
	struct nodes t;
	struct ipam_view v;
	uint64_t ms = 0;

	(void)state;
	waits_for_one_other(&t);
	for (; gossip_reachable(core_gossip(t.n[0].core), t.n[1].name) && ms < 60000; ms++)
		nodes_run(&t, 1);
	nodes_free(&t);
	waits_for_one_other(&t);
	nodes_run(&t, ms - 1);
	assert_true(gossip_reachable(core_gossip(t.n[0].core), t.n[1].name));
	t.now++;
	assert_int_equal(connect(&t, 0, target, 1, true), ERR_OK);
	assert_false(gossip_reachable(core_gossip(t.n[0].core), t.n[1].name));
	ipam_view(core_ipam(t.n[0].core), &v);
	assert_string_equal(v.text, "awaiting consensus (quorum: 2, known: 1)");
	assert_int_equal(v.owned, 0);
	nodes_free(&t);
}

static void takes_over(struct nodes *t, int i, uint64_t peer, enum err want)
{
	struct ipam_event over = { .kind = IPAM_TAKEOVER, .peer = peer };
	struct core_event ev = { .kind = CORE_IPAM, .ipam = &over };
	assert_int_equal(nodes_ask(t, i, &ev), want);
}

static void one_that_is_gone_for_good_is_forgotten(void **state)
{
	struct nodes t;
	struct path_hop hop;
	uint64_t holder;

	(void)state;
	nodes_init(&t);
	nodes_start(&t, 0);
	nodes_start(&t, 1);
	nodes_start(&t, 2);
	nodes_connect(&t, 0, 1);
	nodes_connect(&t, 2, 0);
	nodes_run(&t, 3000);
	waits_for_an_address(&t, 1, "c");
	uint32_t addr = ip_to_v4(t.n[1].result.addr);
	assert_int_equal(nodes_attach(&t, 1, test_endpoint("c", 7, addr)), ERR_OK);
	assert_int_equal(nodes_name(&t, 1, "c", "c.weft.local", addr), ERR_OK);
	nodes_run(&t, 500);
	for (int i = 0; i <= 2; i += 2) {
		assert_int_equal(nodes_resolve(&t, i, "c.weft.local"), 1);
		assert_int_equal(core_mac_holder(t.n[i].core, test_mac(7), "weft")->peer, t.n[1].name);
		assert_true(endpoints_in_use(t.n[i].core, addr, &holder));
	}
	takes_over(&t, 0, t.n[1].name, ERR_REFUSED); /* it is reachable */
	nodes_kill(&t, 1);
	nodes_run(&t, 10000);
	assert_non_null(core_mac_holder(t.n[0].core, test_mac(7), "weft")); /* in use until said otherwise */
	takes_over(&t, 0, t.n[1].name, ERR_OK);
	assert_true(t.n[0].count > 0);
	nodes_run(&t, 2000);
	for (int i = 0; i <= 2; i += 2) {
		assert_false(core_hop(t.n[i].core, t.n[1].name, &hop));
		assert_int_equal(nodes_resolve(&t, i, "c.weft.local"), 0);
		assert_int_equal(map_count(t.n[i].core->names), 0);
		assert_null(core_mac_holder(t.n[i].core, test_mac(7), "weft"));
		assert_false(endpoints_in_use(t.n[i].core, addr, &holder));
		nodes_check(&t, i);
	}
	takes_over(&t, 0, t.n[1].name, ERR_OK);
	/* should it come back after all, it is welcome: what it has is heard again */
	nodes_start(&t, 1);
	nodes_connect(&t, 1, 0);
	nodes_run(&t, 5000);
	assert_true(core_hop(t.n[2].core, t.n[1].name, &hop) && hop.path == PATH_FAST);
	assert_int_equal(nodes_resolve(&t, 2, "c.weft.local"), 1);
	nodes_free(&t);
}

/* --- want of memory -------------------------------------------------------------------------------------------------------------------- */

/* Two nodes do what nodes do. Whatever a step says, its actions are carried out (but for ERR_STATE, at which the node ends and is started
 * anew), requests have their answers, and nothing is half done. */
static void live_with_it(struct nodes *t, bool sticky)
{
	static const char *const target = "10.0.0.1";
	struct core_event connect_ev = { .kind = CORE_CONNECT, .targets = &target, .n_targets = 1, .request = 500 };

	(void)nodes_step(t, 1, &connect_ev);
	assert_true(sticky || t->n[1].replied == 500);
	nodes_run(t, 1000);
	for (int i = 0; i < 2; i++) {
		struct core_endpoint e = test_endpoint("c", 7 + (unsigned)i, 0x0a200105), f = test_endpoint("f", 17 + (unsigned)i, 0);
		struct core_network red = { .name = "red" }, blue = { .name = "blue" };
		struct ipam_event ask = { .kind = IPAM_ALLOCATE, .ident = "c", .request = 600, .wait = true };
		struct core_event events[] = {
			{ .kind = CORE_IPAM, .ipam = &ask },
			{ .kind = CORE_ATTACHED, .endpoint = &e, .request = 501 },
			{ .kind = CORE_NAME_PUT, .ident = "c", .fqdn = "c.weft.local", .addr = ip_v4(0x0a200105), .request = 502 },
			{ .kind = CORE_NAME_PUT, .ident = "d", .fqdn = "d.weft.local", .addr = ip_v4(0x0a200106), .request = 503 },
			{ .kind = CORE_NAME_DELETE, .ident = "d", .request = 504 },
			{ .kind = CORE_NETWORK_CREATE, .network = &red, .request = 511 },
			{ .kind = CORE_NETWORK_CREATE, .network = &blue, .request = 512 },
			{ .kind = CORE_NETWORK_REMOVE, .network = &red, .request = 513 },
			{ .kind = CORE_ATTACHED, .endpoint = &f, .request = 514 },
		};
		e.peer = f.peer = t->n[i].name;
		snprintf(f.network, sizeof(f.network), "blue");
		for (size_t k = 0; k < sizeof(events) / sizeof(events[0]) && t->n[i].step != ERR_STATE; k++) {
			(void)nodes_step(t, i, &events[k]);
			/* where there is memory for it, there is an answer at once */
			assert_true(sticky || k == 0 || t->n[i].step == ERR_STATE || t->n[i].replied == events[k].request);
			nodes_run(t, 50);
		}
	}
	nodes_run(t, 1500);
	if (t->n[0].step != ERR_STATE) {
		struct core_event detach = { .kind = CORE_DETACHED, .ident = "c", .request = 505 };
		(void)nodes_step(t, 0, &detach);
		assert_true(sticky || t->n[0].step == ERR_STATE || t->n[0].replied == 505);
	}
	nodes_run(t, 500);
}

static void walk(size_t n, bool sticky)
{
	struct nodes t;
	long before = mem_live();

	nodes_init(&t);
	if (nodes_try_start(&t, 0, true, NULL) != ERR_OK || nodes_try_start(&t, 1, true, NULL) != ERR_OK)
		fail_msg("it does not start");
	mem_fail_at(n, sticky);
	live_with_it(&t, sticky);
	mem_fail_at(0, false);
	for (int i = 0; i < 2; i++) {
		if (t.n[i].core->lost) { /* as the daemon does */
			nodes_kill(&t, i);
			nodes_start(&t, i);
			nodes_connect(&t, i, !i);
		}
	}
	nodes_connect(&t, 1, 0); /* what was refused is asked again */
	nodes_run(
		&t, 40000); /* with memory again everything is made good: the two agree, and what is decoded is what the channels say */
	for (int i = 0; i < 2; i++)
		nodes_check(&t, i);
	for (uint8_t id = CHANNEL_PEERS; id <= CHANNEL_NETWORKS; id++) {
		struct slice none = { NULL, 0 };
		assert_true(fingerprint_eq(
			crdt_map_fingerprint(t.n[0].core->maps[id], none, none), crdt_map_fingerprint(t.n[1].core->maps[id], none, none)));
	}
	nodes_free(&t);
	assert_int_equal(mem_live(), before);
}

/* Does the scenario get to its n-th allocation? */
static bool gets_to(size_t n)
{
	struct nodes t;

	nodes_init(&t);
	nodes_start(&t, 0);
	nodes_start(&t, 1);
	mem_fail_at(n, true);
	live_with_it(&t, true);
	void *p = mem_alloc(1); /* none left once one failed */
	mem_fail_at(0, false);
	mem_free(p);
	nodes_free(&t);
	return p == NULL;
}

static void memory_runs_out_anywhere(void **state)
{
	size_t last = 1, none = 2;

	(void)state;
	while (gets_to(none)) {
		last = none;
		none *= 2;
	}
	while (none - last > 1) {
		size_t n = last + (none - last) / 2;
		if (gets_to(n))
			last = n;
		else
			none = n;
	}
	assert_true(last > 100);
	for (size_t n = 1; n <= last; n++) {
		walk(n, false);
		walk(n, true);
	}
}

/* One allocation with `room` bytes left in the step's memory, and no more after n others. Gives the step's error. */
static enum err allocate_short_of_memory(size_t n, size_t room, bool *enough)
{
	struct ipam_event ask = { .kind = IPAM_ALLOCATE, .ident = "c", .request = 7, .wait = true };
	struct core_event ev = { .kind = CORE_IPAM, .ipam = &ask };
	struct core_actions acts;
	struct nodes t;
	bool replied = false, stored = false;

	nodes_init(&t);
	nodes_start(&t, 0);
	waits_for_an_address(&t, 0, "first"); /* there is a ring */
	arena_free(t.n[0].arena);
	t.n[0].arena = arena_new();
	assert_non_null(arena_alloc(t.n[0].arena, 8192 - room)); /* a block */
	core_actions_init(&acts, t.n[0].arena);
	ev.now_ms = t.now;
	mem_fail_at(n, true);
	enum err err = core_step(t.n[0].core, &ev, &acts);
	void *p = mem_alloc(1);
	mem_fail_at(0, false);
	*enough = p != NULL;
	mem_free(p);
	for (size_t i = 0; i < acts.n; i++) {
		replied = replied || (acts.v[i].kind == CORE_REPLY && acts.v[i].u.reply.err == ERR_OK);
		stored = stored || (acts.v[i].kind == CORE_PERSIST && memcmp(acts.v[i].u.persist.key.p, "ipam/", 5) == 0);
	}
	assert_true(!replied || stored);
	assert_true(err != ERR_STATE || acts.n == 0);
	assert_true(!*enough || (err == ERR_OK && replied));
	nodes_free(&t);
	return err;
}

/* No answer that depends on a record comes from a step in which the record found no room. */
static void a_lost_record_stops_the_node(void **state)
{
	size_t lost = 0;

	(void)state;
	for (size_t room = 0; room <= 1024; room += 32) {
		bool enough = false;
		for (size_t n = 1; !enough; n++)
			lost += allocate_short_of_memory(n, room, &enough) == ERR_STATE;
	}
	assert_true(lost > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(text),
		cmocka_unit_test(targets_are_remembered_and_replaced),
		cmocka_unit_test(targets_have_a_limit),
		cmocka_unit_test(foreign_records_are_refused),
		cmocka_unit_test(keys_do_not_stay),
		cmocka_unit_test(what_is_off_says_so),
		cmocka_unit_test(replaced_targets_are_counted_once),
		cmocka_unit_test(one_that_is_gone_for_good_is_forgotten),
		cmocka_unit_test(memory_runs_out_anywhere),
		cmocka_unit_test(a_lost_record_stops_the_node),
	};

	return sodium_init() < 0 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
