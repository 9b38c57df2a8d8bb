/* The offer on the wire, which ways two offers allow, and which one is taken as probes come and go. */
#include "nodes.h"

#include "base/rng.h"
#include "tests/unit/base/seed.h"
#include "tunnel/probe.h"

static bool same_offer(const struct path_offer *a, const struct path_offer *b)
{
	bool trusted = a->n_trusted == b->n_trusted;

	for (size_t i = 0; trusted && i < a->n_trusted; i++)
		trusted = prefix_eq(a->trusted[i], b->trusted[i]);
	return trusted && a->vxlan_port == b->vxlan_port && a->userspace_port == b->userspace_port && a->password == b->password &&
		a->vxlan_over_v6 == b->vxlan_over_v6 && prefix_eq(a->range, b->range) && a->sealed_only == b->sealed_only &&
		a->mtu == b->mtu && prefix_eq(a->range6, b->range6);
}

static struct prefix some_prefix(struct rng *r)
{
	struct prefix p = { .addr = ip_v4((uint32_t)rng_u64(r)) };

	if (rng_chance(r, 500000)) {
		p.addr.family = 6;
		rng_fill(r, p.addr.b, sizeof(p.addr.b));
	}
	p.len = (uint8_t)rng_below(r, ip_bits(p.addr) + 1);
	return p;
}

static void an_offer_is_read_as_it_was_written(void **state)
{
	struct rng r;
	uint64_t seed = test_seed("offers");

	(void)state;
	rng_seed(&r, seed);
	for (int i = 0; i < 20000; i++) {
		uint64_t v = rng_u64(&r);
		struct path_offer got,
			o = { .vxlan_port = v & 1 ? (uint16_t)(v >> 8) : 0,
				.userspace_port = v & 2 ? (uint16_t)(v >> 24) : 0,
				.password = v & 4,
				.vxlan_over_v6 = v & 16,
				.sealed_only = v & 32,
				.mtu = v & 64 ? (uint16_t)(v >> 40) : 0 };
		uint8_t bytes[PATH_OFFER_BYTES + 16];
		struct wbuf w;
		if (v & 8)
			o.range = (struct prefix){ ip_v4((uint32_t)(v >> 32)), (uint8_t)(v >> 4) % 33 };
		if (v & 256)
			o.range6 = (struct prefix){ { .family = 6, .b = { 0xfd, (uint8_t)(v >> 16) } }, (uint8_t)(v >> 9) % 129 };
		o.n_trusted = v & 128 ? (size_t)rng_below(&r, CORE_TRUSTED_MAX + 1) : 0;
		for (size_t k = 0; k < o.n_trusted; k++)
			o.trusted[k] = some_prefix(&r);
		wbuf_fixed(&w, bytes, PATH_OFFER_BYTES);
		path_offer_encode(&w, &o);
		assert_int_equal(wbuf_end(&w), ERR_OK);
		path_offer_decode(wbuf_slice(&w), &got);
		assert_true(same_offer(&o, &got));
		w.cap = sizeof(bytes);
		w.max = sizeof(bytes);
		wbuf_u8(&w, 99); /* a field of a later version */
		wbuf_lv(&w, slice_str("whatever"));
		assert_int_equal(wbuf_end(&w), ERR_OK);
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
		{ 6, 6, 4, 10, 0, 0, 0, 33 },    /* prefix length of a trusted subnet */
		{ 6, 1, 0 },                     /* one of no family */
		{ 8, 1, 5 },                     /* half an MTU */
		{ 9, 6, 4, 10, 0, 0, 0, 8 },     /* a range of IPv6 addresses that is none */
	};
	static const size_t lens[] = { 3, 3, 7, 8, 3, 8, 3, 3, 8 };
	static const struct path_offer none;
	struct path_offer got;

	(void)state;
	for (size_t i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
		memset(&got, 0xff, sizeof(got));
		path_offer_decode(slice_of(broken[i], lens[i]), &got);
		assert_true(same_offer(&got, &none));
	}
}

static void subnets_beyond_the_room_for_them_are_not_trusted(void **state)
{
	uint8_t bytes[8 * (CORE_TRUSTED_MAX + 1)];
	struct path_offer got;
	struct wbuf w;

	(void)state;
	wbuf_fixed(&w, bytes, sizeof(bytes));
	for (uint32_t i = 0; i <= CORE_TRUSTED_MAX; i++) {
		wbuf_u8(&w, 6);
		wbuf_varint(&w, 6);
		wbuf_ip(&w, ip_v4(UINT32_C(0x0a000000) + (i << 8)));
		wbuf_u8(&w, 24);
	}
	assert_int_equal(wbuf_end(&w), ERR_OK);
	path_offer_decode(wbuf_slice(&w), &got);
	assert_int_equal(got.n_trusted, CORE_TRUSTED_MAX);
	assert_true(path_offer_trusts(&got, ip_v4(UINT32_C(0x0a000001))));
	assert_true(path_offer_trusts(&got, ip_v4(UINT32_C(0x0a000f01))));
	assert_false(path_offer_trusts(&got, ip_v4(UINT32_C(0x0a001001))));
	assert_false(path_offer_trusts(&got, (struct ip){ 0 }));
}

static void plain(struct core_cfg *cfg)
{
	cfg->offer.mtu = 1406;
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
static void fast_or_nothing(struct core_cfg *cfg)
{
	cfg->no_fallback = true;
}
static void refusing(struct core_cfg *cfg)
{
	no_vxlan(cfg);
	fast_or_nothing(cfg);
}
static void strict(struct core_cfg *cfg)
{
	cfg->require_encryption = true;
}
static void password(struct core_cfg *cfg)
{
	cfg->offer.password = true;
}
static void trusting(struct core_cfg *cfg)
{
	password(cfg);
	cfg->offer.trusted[0] = (struct prefix){ ip_v4(UINT32_C(0x0a000000)), 24 };
	cfg->offer.n_trusted = 1;
}
static void trusting_others(struct core_cfg *cfg)
{
	trusting(cfg);
	cfg->offer.trusted[0].addr = ip_v4(UINT32_C(0x0a000100));
}
static void trusting_and_strict(struct core_cfg *cfg)
{
	trusting(cfg);
	strict(cfg);
}
static void refusing_with_password(struct core_cfg *cfg)
{
	password(cfg);
	fast_or_nothing(cfg);
}

static void the_path_follows_from_both_offers(void **state)
{
	static const struct {
		void (*here)(struct core_cfg *), (*there)(struct core_cfg *);
		enum path path;
		bool sealed;
		const char *reason;
	} cases[] = {
		{ plain, plain, PATH_FAST, false, "probes-of-full-size-are-answered" },
		{ no_vxlan, plain, PATH_USERSPACE, false, "no-vxlan-here" },
		{ plain, no_vxlan, PATH_USERSPACE, false, "no-vxlan-there" },
		{ plain, other_port, PATH_USERSPACE, false, "vxlan-ports-differ" },
		{ plain, over_v6, PATH_USERSPACE, false, "vxlan-address-families-differ" },
		{ over_v6, over_v6, PATH_USERSPACE, false, "no-underlay-address-for-vxlan" }, /* all their addresses are IPv4 */
		{ vxlan_only, plain, PATH_FAST, false, "probes-of-full-size-are-answered" },
		{ nothing, plain, PATH_NONE, false, "no-userspace-path-here" },
		{ plain, nothing, PATH_NONE, false, "no-userspace-path-there" },
		{ fast_or_nothing, plain, PATH_FAST, false, "probes-of-full-size-are-answered" },
		{ refusing, plain, PATH_NONE, false, "no-vxlan-here-and-fallback-is-off" },
		{ fast_or_nothing, no_vxlan, PATH_NONE, false, "no-vxlan-there-and-fallback-is-off" },
		{ strict, plain, PATH_USERSPACE, true, "encryption-required-here" },
		{ plain, strict, PATH_USERSPACE, true, "encryption-required-there" },
		{ password, password, PATH_USERSPACE, true, "sealed-by-password" },
		{ password, plain, PATH_USERSPACE, true, "sealed-by-password" },
		{ plain, password, PATH_USERSPACE, true, "sealed-by-password" },
		{ trusting, trusting, PATH_FAST, false, "probes-of-full-size-are-answered" },
		{ trusting, password, PATH_USERSPACE, true, "sealed-not-trusted-there" },
		{ password, trusting, PATH_USERSPACE, true, "sealed-not-trusted-here" },
		{ trusting, trusting_others, PATH_USERSPACE, true, "sealed-not-trusted-there" },
		{ trusting, trusting_and_strict, PATH_USERSPACE, true, "encryption-required-there" },
		{ refusing_with_password, password, PATH_NONE, true, "sealed-by-password-and-fallback-is-off" },
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
		nodes_run(&t, 5000);
		v = nodes_path(&t, 0, 1);
		assert_int_equal(v.path, cases[i].path);
		assert_string_equal(v.reason, cases[i].reason);
		assert_int_equal(v.encrypted, cases[i].sealed && v.path != PATH_NONE);
		hop = nodes_hop(&t, 0, 1);
		assert_int_equal(hop.path, v.path);
		assert_int_equal(hop.sealed, cases[i].sealed);
		assert_int_equal(nodes_hop(&t, 1, 0).sealed, cases[i].sealed); /* both ends think alike */
		assert_int_equal(hop.keys != NULL, v.encrypted);
		assert_int_equal(hop.vxlan_allowed, v.fast.possible);
		bool nowhere = v.path == PATH_NONE || cases[i].here == vxlan_only || cases[i].here == fast_or_nothing;
		assert_int_equal(hop.to.ip.family == 0, nowhere);
		if (v.path == PATH_FAST)
			assert_true(ip_eq(hop.underlay, node_at(1).ip));
		assert_false(core_path(t.n[0].core, t.n[0].name, &v));
		assert_false(core_hop(t.n[0].core, 12345, &hop));
		nodes_free(&t);
	}
	assert_string_equal(path_name(PATH_NONE), "none");
	assert_string_equal(path_name(PATH_FAST), "fast");
	assert_string_equal(path_name(PATH_USERSPACE), "userspace");
	assert_string_equal(path_name(PATH_RELAY), "relay");
}

static uint64_t changes_of(const struct nodes *t, int i, enum path from, enum path to, const char *why)
{
	struct path_change c;

	for (size_t it = 0; core_next_path_change(t->n[i].core, &it, &c);)
		if (c.from == from && c.to == to && strcmp(c.reason, why) == 0)
			return c.count;
	return 0;
}

static void the_first_path_is_there_at_once_and_the_better_one_a_round_trip_later(void **state)
{
	struct nodes t;

	(void)state;
	nodes_init(&t);
	t.wire[0][1].delay_ms = t.wire[1][0].delay_ms = 20;
	nodes_start(&t, 0);
	nodes_start(&t, 1);
	nodes_connect(&t, 0, 1);
	nodes_run(&t, 30);
	struct path_view v = nodes_path(&t, 0, 1);
	assert_int_equal(v.path, PATH_USERSPACE);
	assert_string_equal(v.reason, "not-probed-yet");
	assert_true(v.fast.possible && !v.fast.works && v.fast.asked_ms != 0 && v.fast.answered_ms == 0);
	nodes_run(&t, 100);
	v = nodes_path(&t, 0, 1);
	assert_int_equal(v.path, PATH_FAST);
	assert_true(v.fast.works && v.userspace.works && !v.relayed.possible);
	assert_string_equal(v.relayed.state, "linked-directly");
	assert_in_range(v.fast.rtt_us, 40000, 41000);
	assert_int_equal(v.mtu, PATH_CONTAINER_MTU);
	assert_int_equal(changes_of(&t, 0, PATH_NONE, PATH_USERSPACE, "not-probed-yet"), 1);
	assert_int_equal(changes_of(&t, 0, PATH_USERSPACE, PATH_FAST, "probes-of-full-size-are-answered"), 1);
	assert_int_equal(t.n[0].changes, 2);
	assert_non_null(strstr(t.n[0].note, "fast, was userspace: probes-of-full-size-are-answered"));
	nodes_free(&t);
}

/* What two hosts have to say to each other while nobody talks: nothing. */
static void idle_costs_nothing(void **state)
{
	struct nodes t;

	(void)state;
	for (int slow = 0; slow < 2; slow++) {
		nodes_pair(&t, slow ? no_vxlan : plain, plain);
		size_t before[2] = { t.n[0].probes[0] + t.n[1].probes[0], t.n[0].probes[1] + t.n[1].probes[1] };
		assert_true(before[0] + before[1] < 20);
		nodes_run(&t, 3600000);
		assert_int_equal(t.n[0].probes[0] + t.n[1].probes[0], before[0]);
		assert_int_equal(t.n[0].probes[1] + t.n[1].probes[1], before[1]);
		nodes_free(&t);
	}
}

static void block(struct nodes *t, bool on)
{
	t->wire[0][1].no_vxlan = t->wire[1][0].no_vxlan = on;
}

static void a_fast_path_that_dies_silently_is_left_and_comes_back(void **state)
{
	struct nodes t;
	struct path_view v;

	(void)state;
	nodes_pair(&t, plain, plain);
	nodes_run(&t, 20000); /* idle: nobody notices */
	block(&t, true);
	nodes_run(&t, 60000);
	assert_int_equal(nodes_path(&t, 0, 1).path, PATH_FAST);
	uint64_t began = t.now;
	while (nodes_path(&t, 0, 1).path == PATH_FAST || nodes_path(&t, 1, 0).path == PATH_FAST) {
		nodes_talk(&t, 0, 1, 100);
		assert_true(t.now < began + 2600);
	}
	v = nodes_path(&t, 0, 1);
	assert_int_equal(v.path, PATH_USERSPACE);
	assert_string_equal(v.reason, "no-answer-to-probes");
	assert_string_equal(v.fast.state, "no-answer-to-probes");
	assert_true(v.fast.possible && !v.fast.works && v.userspace.works);
	assert_in_range(v.since_ms, began + PATH_DEAD_MS, t.now);
	assert_true(nodes_hop(&t, 0, 1).vxlan_allowed); /* or it would never come back */
	nodes_talk(&t, 0, 1, 30000);
	block(&t, false);
	nodes_run(&t, 45000); /* also when nobody talks */
	assert_int_equal(nodes_path(&t, 0, 1).path, PATH_FAST);
	assert_int_equal(nodes_path(&t, 1, 0).path, PATH_FAST);
	assert_int_equal(changes_of(&t, 0, PATH_FAST, PATH_USERSPACE, "no-answer-to-probes"), 1);
	assert_int_equal(changes_of(&t, 0, PATH_USERSPACE, PATH_FAST, "probes-of-full-size-are-answered"), 2);
	nodes_free(&t);
}

static void one_direction_is_enough_to_kill_a_path_for_both(void **state)
{
	struct nodes t;

	(void)state;
	nodes_pair(&t, plain, plain);
	t.wire[1][0].no_vxlan = true;
	nodes_talk(&t, 0, 1, 3000);
	assert_int_equal(nodes_path(&t, 0, 1).path, PATH_USERSPACE);
	assert_int_equal(nodes_path(&t, 1, 0).path, PATH_USERSPACE);
	nodes_free(&t);
}

static void packets_of_full_size_that_vanish_count_as_a_failed_path(void **state)
{
	struct nodes t;

	(void)state;
	nodes_pair(&t, plain, plain);
	nodes_talk(&t, 0, 1, 2000);
	t.wire[0][1].mtu = 1300;
	nodes_talk(&t, 0, 1, 3000);
	struct path_view v = nodes_path(&t, 0, 1);
	assert_int_equal(v.path, PATH_USERSPACE);
	assert_string_equal(v.reason, "full-size-packets-lost");
	assert_int_equal(nodes_path(&t, 1, 0).path, PATH_USERSPACE); /* its answers are of full size, too */
	nodes_talk(&t, 0, 1, 5000);
	assert_int_equal(nodes_hop(&t, 0, 1).datagram, 1300 - 28);
	nodes_free(&t);
}

static void a_path_that_never_worked_is_tried_for_ever(void **state)
{
	struct nodes t;
	uint64_t last, worst = 0;

	(void)state;
	nodes_init(&t);
	block(&t, true);
	nodes_start(&t, 0);
	nodes_start(&t, 1);
	nodes_connect(&t, 0, 1);
	nodes_run(&t, 3000);
	struct path_view v = nodes_path(&t, 0, 1);
	assert_int_equal(v.path, PATH_USERSPACE);
	assert_string_equal(v.reason, "no-answer-to-probes");
	last = v.fast.asked_ms;
	for (uint64_t end = t.now + 7200000; t.now < end;) {
		nodes_run(&t, 250);
		v = nodes_path(&t, 0, 1);
		worst = v.fast.asked_ms != last && v.fast.asked_ms - last > worst ? v.fast.asked_ms - last : worst;
		last = v.fast.asked_ms;
	}
	assert_in_range(worst, 20000, 45000);
	assert_true(t.now - last < 45000);
	block(&t, false);
	nodes_run(&t, 45000);
	assert_int_equal(nodes_path(&t, 0, 1).path, PATH_FAST);
	nodes_free(&t);
}

/* A path that comes for a moment now and then is used seldom; and still it is tried at least once a minute. */
static void a_path_that_comes_and_goes_is_left_alone_longer(void **state)
{
	struct nodes t;
	size_t before;
	uint64_t last, worst = 0;

	(void)state;
	nodes_pair(&t, plain, plain);
	before = t.n[0].changes;
	last = t.now;
	for (uint64_t end = t.now + 1200000; t.now < end;) {
		bool fast = nodes_path(&t, 0, 1).path == PATH_FAST;
		block(&t, fast); /* dies as soon as it is used */
		nodes_talk(&t, 0, 1, 250);
		struct path_view v = nodes_path(&t, 0, 1);
		if (v.path != PATH_FAST && v.fast.asked_ms > last) {
			worst = v.fast.asked_ms - last > worst ? v.fast.asked_ms - last : worst;
			last = v.fast.asked_ms;
		} else if (v.path == PATH_FAST) {
			last = t.now;
		}
	}
	assert_in_range(worst, PATH_RETRY_MAX_MS, 60000);
	assert_in_range(t.n[0].changes - before, 2 * 1200 / 60, 2 * 1200 / 38);
	nodes_free(&t);
}

static void coming_back_takes_two_answers_in_a_row(void **state)
{
	struct nodes t;
	struct way *w;

	(void)state;
	nodes_pair(&t, plain, plain);
	block(&t, true);
	nodes_talk(&t, 0, 1, 3000);
	assert_int_equal(nodes_path(&t, 0, 1).path, PATH_USERSPACE);
	w = &((struct peer_state *)map_get64(t.n[0].core->peers, t.n[1].name))->ways[PATH_FAST];
	while (!w->trial)
		nodes_run(&t, 1);
	block(&t, false);
	for (int lost = 0; lost < 3; lost++) { /* every other one comes through */
		uint64_t asked = w->asked_ms;
		while (w->asked_ms == asked)
			nodes_run(&t, 1);
		nodes_run(&t, 5);
		block(&t, true);
		assert_int_equal(w->answers, 1);
		asked = w->asked_ms;
		while (w->asked_ms == asked)
			nodes_run(&t, 1);
		nodes_run(&t, 5);
		block(&t, false);
		assert_int_equal(nodes_path(&t, 0, 1).path, PATH_USERSPACE);
	}
	nodes_run(&t, 1000);
	assert_int_equal(nodes_path(&t, 0, 1).path, PATH_FAST);
	nodes_free(&t);
}

static void when_nothing_answers_the_last_path_stays_and_is_tried_each_second(void **state)
{
	struct nodes t;
	struct path_view v;

	(void)state;
	nodes_pair(&t, plain, plain);
	t.wire[0][1].no_udp = true;
	block(&t, true);
	nodes_talk(&t, 0, 1, 6000);
	v = nodes_path(&t, 0, 1);
	assert_true(v.path == PATH_USERSPACE || v.path == PATH_FAST);
	assert_string_equal(v.reason, "no-answer-to-probes-and-nothing-else-works");
	assert_false(v.fast.works || v.userspace.works);
	for (int i = 0; i < 20; i++) {
		size_t fast = t.n[0].probes[1], slow = t.n[0].probes[0];
		nodes_talk(&t, 0, 1, 1500);
		assert_true(t.n[0].probes[1] > fast && t.n[0].probes[0] > slow);
	}
	t.wire[0][1].no_udp = false;
	nodes_talk(&t, 0, 1, 1600);
	v = nodes_path(&t, 0, 1);
	assert_int_equal(v.path, PATH_USERSPACE);
	assert_true(v.userspace.works);
	nodes_free(&t);
}

static void undelivered(struct nodes *t, enum core_via via, uint64_t id, enum err why)
{
	struct core_event ev = { .kind = CORE_UNDELIVERED, .via = via, .peer = t->n[1].name, .id = id, .err = why };
	(void)nodes_step(t, 0, &ev);
}

static void what_fails_visibly_is_left_at_once(void **state)
{
	struct nodes t;

	(void)state;
	nodes_pair(&t, plain, plain);
	undelivered(&t, CORE_VIA_VXLAN, 0, ERR_UNREACHABLE);
	assert_int_equal(nodes_path(&t, 0, 1).path, PATH_USERSPACE);
	assert_string_equal(nodes_path(&t, 0, 1).reason, "no-route");
	undelivered(&t, CORE_VIA_UDP, 0, ERR_REFUSED); /* the last one: stays, and says so */
	assert_int_equal(nodes_path(&t, 0, 1).path, PATH_USERSPACE);
	assert_string_equal(nodes_path(&t, 0, 1).reason, "port-refused-and-nothing-else-works");
	nodes_talk(&t, 0, 1, 3000);
	assert_int_equal(nodes_path(&t, 0, 1).path, PATH_FAST); /* nothing worked, so both are tried at once */
	/* the other end takes its device away, and has it again */
	struct path_offer offer = core_cfg(t.n[1].core)->offer, less = offer;
	struct core_event ev = { .kind = CORE_OFFER, .offer = &less };
	less.vxlan_port = 0;
	(void)nodes_step(&t, 1, &ev);
	nodes_run(&t, 100);
	assert_int_equal(nodes_path(&t, 0, 1).path, PATH_USERSPACE);
	assert_string_equal(nodes_path(&t, 0, 1).reason, "no-vxlan-there");
	assert_false(nodes_hop(&t, 0, 1).vxlan_allowed);
	assert_int_equal(nodes_path(&t, 1, 0).path, PATH_USERSPACE);
	ev.offer = &offer;
	(void)nodes_step(&t, 1, &ev);
	nodes_run(&t, 500);
	assert_int_equal(nodes_path(&t, 0, 1).path, PATH_FAST);
	/* our device has become too small for what containers send */
	t.n[0].device = 1400;
	nodes_talk(&t, 0, 1, 600);
	assert_int_equal(nodes_path(&t, 0, 1).path, PATH_USERSPACE);
	assert_string_equal(nodes_path(&t, 0, 1).reason, "too-big-for-our-device");
	nodes_free(&t);
}

/* What has to pass at least does not fit into our own device: it is asked how much does, and nothing is tried again and again at once. */
static void what_the_device_never_takes_is_not_tried_at_once(void **state)
{
	struct nodes t;

	(void)state;
	nodes_pair(&t, plain, plain);
	block(&t, true);
	undelivered(&t, CORE_VIA_VXLAN, 0, ERR_UNREACHABLE);
	nodes_talk(&t, 0, 1, 100);
	const struct peer_state *p = map_get64(t.n[0].core->peers, t.n[1].name);
	const struct way *w = &p->ways[PATH_USERSPACE];
	assert_int_equal(p->path, PATH_USERSPACE);
	while (w->n_full == 0)
		nodes_talk(&t, 0, 1, 1);
	size_t before = t.n[0].probes[0];
	for (int i = 0; i < 20 && w->n_full > 0; i++)
		undelivered(&t, CORE_VIA_UDP, (uint64_t)PATH_USERSPACE << 32 | w->full[w->n_full - 1].id, ERR_LIMIT);
	assert_false(w->works);
	assert_true(t.n[0].probes[0] - before < 5);
	nodes_talk(&t, 0, 1, 6000);
	assert_true(w->works);
	/* smaller than any base, and still enough for datagrams */
	t.n[0].device = 400;
	before = t.n[0].probes[0];
	nodes_talk(&t, 0, 1, 6000);
	assert_int_equal(nodes_path(&t, 0, 1).path, PATH_USERSPACE);
	assert_true(w->works);
	assert_int_equal(nodes_hop(&t, 0, 1).datagram, 400 - WIRE_IP4_UDP);
	assert_true(t.n[0].probes[0] - before < 60);
	/* not even enough for a probe */
	t.n[0].device = 70;
	before = t.n[0].probes[0];
	nodes_talk(&t, 0, 1, 10000);
	assert_false(w->works);
	assert_string_equal(nodes_path(&t, 0, 1).userspace.state, "too-big-for-our-device");
	assert_true(t.n[0].probes[0] - before < 60);
	nodes_free(&t);
}

static void without_fallback_a_dead_fast_path_is_refused(void **state)
{
	struct nodes t;

	(void)state;
	nodes_pair(&t, fast_or_nothing, plain);
	assert_int_equal(nodes_path(&t, 0, 1).path, PATH_FAST);
	block(&t, true);
	nodes_talk(&t, 0, 1, 3000);
	assert_int_equal(nodes_path(&t, 0, 1).path, PATH_NONE);
	assert_string_equal(nodes_path(&t, 0, 1).reason, "no-answer-to-probes-and-fallback-is-off");
	assert_int_equal(nodes_path(&t, 1, 0).userspace.works, false); /* nor does it take what the other end sends so */
	block(&t, false);
	nodes_talk(&t, 0, 1, 3000);
	assert_int_equal(nodes_path(&t, 0, 1).path, PATH_FAST);
	nodes_free(&t);
}

static enum path path_now(const struct nodes *t)
{
	return nodes_hop(t, 0, 1).path;
}

/* UDP is blocked between two hosts and TCP is not: a third goes between, and no longer than it has to. */
static void a_third_host_goes_between_two_that_a_firewall_parts(void **state)
{
	struct nodes t;

	(void)state;
	for (int seal = 0; seal < 2; seal++) {
		void (*kind)(struct core_cfg *) = seal ? password : plain;
		nodes_init(&t);
		for (int i = 0; i < 3; i++)
			assert_int_equal(nodes_try_start(&t, i, true, kind), ERR_OK);
		for (int i = 0; i < 3; i++)
			nodes_connect(&t, i, (i + 1) % 3);
		nodes_run(&t, 5000);
		nodes_talk(&t, 0, 1, 2000);
		assert_int_equal(path_now(&t), seal ? PATH_USERSPACE : PATH_FAST);
		assert_string_equal(nodes_path(&t, 0, 1).relayed.state, "linked-directly");
		for (int i = 0; i < 2; i++)
			t.wire[i][!i].no_udp = t.wire[i][!i].no_vxlan = true;
		nodes_talk(&t, 0, 1, 6000);
		struct path_view there = nodes_path(&t, 0, 1), back = nodes_path(&t, 1, 0);
		assert_int_equal(there.path, PATH_RELAY);
		assert_int_equal(back.path, PATH_RELAY);
		assert_int_equal(there.relay, t.n[2].name);
		assert_true(there.encrypted && there.relayed.works && back.relayed.works);
		assert_int_equal(nodes_path(&t, 0, 2).path, seal ? PATH_USERSPACE : PATH_FAST);
		for (int i = 0; i < 2; i++)
			t.wire[i][!i].no_udp = t.wire[i][!i].no_vxlan = false;
		nodes_talk(&t, 0, 1, 60000);
		assert_int_equal(path_now(&t), seal ? PATH_USERSPACE : PATH_FAST);
		assert_string_equal(nodes_path(&t, 0, 1).relayed.state, "linked-directly");
		nodes_free(&t);
	}
}

/* One that failed long ago is tried again at once when the relay falls silent, and not only when that has been given up. */
static void when_a_relay_falls_silent_the_direct_way_is_tried(void **state)
{
	struct nodes t;

	(void)state;
	nodes_init(&t);
	for (int i = 0; i < 3; i++)
		assert_int_equal(nodes_try_start(&t, i, true, password), ERR_OK);
	for (int i = 0; i < 3; i++)
		nodes_connect(&t, i, (i + 1) % 3);
	nodes_run(&t, 5000);
	t.wire[0][1].no_udp = t.wire[1][0].no_udp = true;
	nodes_talk(&t, 0, 1, 6000);
	assert_int_equal(path_now(&t), PATH_RELAY);
	t.wire[0][1].no_udp = t.wire[1][0].no_udp = false;
	for (int i = 0; i < 2; i++)
		t.wire[i][2].no_udp = t.wire[2][i].no_udp = true;
	nodes_talk(&t, 0, 1, PATH_DEAD_MS);
	assert_int_equal(path_now(&t), PATH_USERSPACE);
	nodes_free(&t);
}

static void a_path_outlives_a_restart_and_ends_with_a_death(void **state)
{
	struct nodes t;

	(void)state;
	nodes_pair(&t, plain, plain);
	assert_int_equal(nodes_name(&t, 1, "c", "c.weft.local", 9), ERR_OK);
	nodes_run(&t, 100);
	assert_int_equal(nodes_resolve(&t, 0, "c.weft.local"), 1);
	uint64_t since = nodes_path(&t, 0, 1).since_ms;

	nodes_kill(&t, 1);
	nodes_talk(&t, 0, 1, 100);
	assert_int_equal(path_now(&t), PATH_FAST);
	assert_string_equal(nodes_path(&t, 0, 1).reason, "peer-just-lost");
	assert_true(nodes_hop(&t, 0, 1).vxlan_allowed);
	assert_int_equal(nodes_resolve(&t, 0, "c.weft.local"), 1); /* for the grace */
	/* its host refuses connections, so what its kernel forwards is left alone */
	for (int i = 0; i < 24; i++) {
		nodes_talk(&t, 0, 1, 500);
		assert_int_equal(path_now(&t), PATH_FAST);
	}
	assert_int_equal(nodes_resolve(&t, 0, "c.weft.local"), 0);
	nodes_start(&t, 1);
	nodes_connect(&t, 1, 0);
	nodes_talk(&t, 0, 1, 3000);
	struct path_view v = nodes_path(&t, 0, 1);
	assert_int_equal(v.path, PATH_FAST);
	assert_int_equal(v.since_ms, since);
	assert_string_equal(v.reason, "probes-of-full-size-are-answered");
	assert_int_equal(t.n[0].changes, 2);
	/* but not for ever */
	nodes_kill(&t, 1);
	nodes_run(&t, PATH_HOLD_MAX_MS - 500);
	assert_int_equal(path_now(&t), PATH_FAST);
	size_t before = t.n[0].forwardings;
	nodes_run(&t, 600);
	v = nodes_path(&t, 0, 1);
	assert_int_equal(v.path, PATH_NONE);
	assert_string_equal(v.reason, "peer-unreachable");
	assert_true(t.n[0].forwardings > before);
	assert_false(nodes_hop(&t, 0, 1).vxlan_allowed);
	nodes_free(&t);
}

static void a_host_that_falls_silent_is_sent_nothing_more(void **state)
{
	struct nodes t;

	(void)state;
	nodes_pair(&t, plain, plain);
	t.cut = t.down[1] = true;
	uint64_t died = t.now;
	while (gossip_reachable(core_gossip(t.n[0].core), t.n[1].name)) {
		nodes_run(&t, 10);
		assert_true(t.now < died + 4500);
	}
	assert_int_equal(path_now(&t), PATH_NONE);
	nodes_run(&t, 30000);
	assert_int_equal(path_now(&t), PATH_NONE);
	t.cut = t.down[1] = false;
	nodes_run(&t, 10000);
	assert_int_equal(path_now(&t), PATH_FAST);
	nodes_free(&t);
}

/* A host whose refusals stop coming is gone as well. */
static void signs_of_life_hold_only_as_long_as_they_are_fresh(void **state)
{
	struct nodes t;

	(void)state;
	nodes_pair(&t, plain, plain);
	nodes_kill(&t, 1);
	nodes_run(&t, 300);
	t.down[1] = true; /* the power goes, too */
	nodes_run(&t, PATH_HOLD_SIGN_MS + 500);
	assert_int_equal(path_now(&t), PATH_NONE);
	nodes_free(&t);
}

static void a_new_run_is_asked_anew(void **state)
{
	struct nodes t;
	struct core_actions acts;
	bool moved = false;

	(void)state;
	nodes_pair(&t, plain, plain);
	struct peer_state *p = map_get64(t.n[0].core->peers, t.n[1].name);
	core_actions_init(&acts, t.n[0].arena);
	assert_int_equal(paths_refresh(t.n[0].core, &acts, &moved), ERR_OK);
	assert_false(moved);
	assert_false(p->ways[PATH_FAST].trial);
	p->uid++; /* as if it had been another one */
	assert_int_equal(paths_refresh(t.n[0].core, &acts, &moved), ERR_OK);
	assert_true(moved);
	assert_true(p->ways[PATH_FAST].works && p->ways[PATH_FAST].trial);
	assert_false(p->ways[PATH_USERSPACE].works);
	nodes_run(&t, 1000);
	assert_false(p->ways[PATH_FAST].trial);
	assert_true(p->ways[PATH_USERSPACE].works);
	assert_int_equal(t.n[0].changes, 2);
	nodes_free(&t);
}

static void containers_mtus_that_differ_mean_the_smaller_one(void **state)
{
	struct nodes t;

	(void)state;
	nodes_init(&t);
	assert_int_equal(nodes_try_start(&t, 0, true, plain), ERR_OK);
	t.n[1].device = 1280;
	assert_int_equal(nodes_try_start(&t, 1, true, plain), ERR_OK);
	struct path_offer offer = core_cfg(t.n[1].core)->offer;
	struct core_event ev = { .kind = CORE_OFFER, .offer = &offer };
	offer.mtu = 1186;
	(void)nodes_step(&t, 1, &ev);
	nodes_connect(&t, 0, 1);
	nodes_run(&t, 3000);
	assert_int_equal(nodes_path(&t, 0, 1).path, PATH_FAST);
	assert_int_equal(nodes_path(&t, 0, 1).mtu, 1186);
	assert_int_equal(nodes_path(&t, 1, 0).mtu, 1186);
	block(&t, true);
	nodes_talk(&t, 0, 1, 3000);
	assert_int_equal(nodes_path(&t, 0, 1).path, PATH_USERSPACE);
	assert_int_equal(nodes_path(&t, 0, 1).mtu, 1186); /* more their containers do not take */
	assert_int_equal(nodes_path(&t, 1, 0).mtu, 1280 - 58);
	nodes_free(&t);
}

static size_t answers_to(struct nodes *t, const struct wire_head *h, struct hostport from, const struct probe *pr)
{
	uint8_t bytes[WIRE_HEAD + 256];
	struct core_event ev = { .kind = CORE_DATAGRAM, .via = CORE_VIA_UDP, .from = from };
	struct wbuf w;
	size_t before = t->n[0].probes[0];

	wire_write(bytes, h);
	wbuf_fixed(&w, bytes + WIRE_HEAD, sizeof(bytes) - WIRE_HEAD);
	probe_write(&w, pr);
	ev.bytes = slice_of(bytes, WIRE_HEAD + w.len);
	(void)nodes_step(t, 0, &ev);
	return t->n[0].probes[0] - before;
}

static void only_a_peer_is_answered_and_not_without_end(void **state)
{
	struct nodes t;
	struct hostport far = node_at(1), elsewhere = node_at(3);

	(void)state;
	nodes_pair(&t, plain, plain);
	uint64_t us = t.n[0].name, them = t.n[1].name;
	struct wire_head h = { .type = WIRE_CLEAR, .flags = WIRE_CONTROL, .src = them, .dst = us }, other = h;
	struct probe
		pr = { .kind = PROBE_REQUEST, .path = PATH_USERSPACE, .id = 7, .src = them, .dst = us, .length = 100, .answer = 60 },
		bad = pr;
	assert_int_equal(answers_to(&t, &h, far, &pr), 1);
	far.port = 4321; /* a NAT may have put another one there */
	assert_int_equal(answers_to(&t, &h, far, &pr), 1);
	assert_int_equal(answers_to(&t, &h, elsewhere, &pr), 0);
	assert_int_equal(core_datagrams_dropped(t.n[0].core, FWD_STRANGER), 1);
	other.src = bad.src = 99;
	assert_int_equal(answers_to(&t, &other, far, &bad), 0);
	assert_int_equal(core_datagrams_dropped(t.n[0].core, FWD_STRANGER), 2);
	other = h;
	other.dst = 99;
	assert_int_equal(answers_to(&t, &other, far, &pr), 0);
	bad = pr;
	bad.path = PATH_FAST; /* not the way it came */
	assert_int_equal(answers_to(&t, &h, far, &bad), 0);
	other = h;
	other.flags = 0; /* a frame is not for us */
	assert_int_equal(answers_to(&t, &other, far, &pr), 0);
	pr.answer = 250; /* never longer than what was asked with */
	t.n[0].longest = 0;
	assert_int_equal(answers_to(&t, &h, far, &pr), 1);
	assert_int_equal(t.n[0].longest, 28 + WIRE_HEAD + 100);
	size_t n = 0;
	for (int i = 0; i < 500; i++)
		n += answers_to(&t, &h, far, &pr);
	assert_in_range(n, 20, PATH_ANSWERS_BURST);
	assert_true(core_datagrams_dropped(t.n[0].core, FWD_FLOODED) >= 500 - PATH_ANSWERS_BURST);
	nodes_free(&t);
}

static void answers_nobody_waits_for_prove_nothing(void **state)
{
	struct nodes t;
	uint8_t bytes[1406];
	struct wbuf w;

	(void)state;
	nodes_init(&t);
	block(&t, true);
	nodes_start(&t, 0);
	nodes_start(&t, 1);
	nodes_connect(&t, 0, 1);
	nodes_run(&t, 1000);
	for (uint32_t id = 0; id < 1000; id++) {
		struct probe pr = {
			.kind = PROBE_ANSWER, .path = PATH_FAST, .id = id, .src = t.n[1].name, .dst = t.n[0].name, .length = 1406
		};
		wbuf_fixed(&w, bytes, sizeof(bytes));
		probe_write(&w, &pr);
		struct core_event ev = { .kind = CORE_DATAGRAM, .via = CORE_VIA_VXLAN, .bytes = wbuf_slice(&w) };
		(void)nodes_step(&t, 0, &ev);
	}
	assert_false(nodes_path(&t, 0, 1).fast.works);
	nodes_free(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_offer_is_read_as_it_was_written),
		cmocka_unit_test(a_broken_offer_is_none),
		cmocka_unit_test(subnets_beyond_the_room_for_them_are_not_trusted),
		cmocka_unit_test(the_path_follows_from_both_offers),
		cmocka_unit_test(the_first_path_is_there_at_once_and_the_better_one_a_round_trip_later),
		cmocka_unit_test(idle_costs_nothing),
		cmocka_unit_test(a_fast_path_that_dies_silently_is_left_and_comes_back),
		cmocka_unit_test(one_direction_is_enough_to_kill_a_path_for_both),
		cmocka_unit_test(packets_of_full_size_that_vanish_count_as_a_failed_path),
		cmocka_unit_test(a_path_that_never_worked_is_tried_for_ever),
		cmocka_unit_test(a_path_that_comes_and_goes_is_left_alone_longer),
		cmocka_unit_test(coming_back_takes_two_answers_in_a_row),
		cmocka_unit_test(when_nothing_answers_the_last_path_stays_and_is_tried_each_second),
		cmocka_unit_test(what_fails_visibly_is_left_at_once),
		cmocka_unit_test(what_the_device_never_takes_is_not_tried_at_once),
		cmocka_unit_test(without_fallback_a_dead_fast_path_is_refused),
		cmocka_unit_test(a_third_host_goes_between_two_that_a_firewall_parts),
		cmocka_unit_test(when_a_relay_falls_silent_the_direct_way_is_tried),
		cmocka_unit_test(a_path_outlives_a_restart_and_ends_with_a_death),
		cmocka_unit_test(a_host_that_falls_silent_is_sent_nothing_more),
		cmocka_unit_test(signs_of_life_hold_only_as_long_as_they_are_fresh),
		cmocka_unit_test(a_new_run_is_asked_anew),
		cmocka_unit_test(containers_mtus_that_differ_mean_the_smaller_one),
		cmocka_unit_test(only_a_peer_is_answered_and_not_without_end),
		cmocka_unit_test(answers_nobody_waits_for_prove_nothing),
	};

	return sodium_init() < 0 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
