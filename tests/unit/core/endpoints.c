/* Attached containers: what is published, read, indexed and stored. */
#include "nodes.h"

#include "base/rng.h"
#include "tests/unit/base/seed.h"

#define OTHER UINT64_C(0x0a0000000001)
#define THIRD UINT64_C(0x0a0000000002)

struct item {
	uint8_t key[CRDT_KEY_MAX], value[CRDT_VALUE_MAX];
	struct crdt_item it;
};

static const struct crdt_item *endpoint_item(
	struct item *x, uint64_t owner, uint64_t ctr, const struct core_endpoint *e, bool live)
{
	struct wbuf k, v;

	wbuf_fixed(&k, x->key, sizeof(x->key));
	wbuf_u48(&k, owner);
	wbuf_mac(&k, e->mac);
	wbuf_bytes(&k, e->network, strlen(e->network));
	wbuf_fixed(&v, x->value, sizeof(x->value));
	wbuf_u8(&v, 1);
	wbuf_lv(&v, slice_str(e->ident));
	wbuf_varint(&v, e->n_addrs);
	for (size_t i = 0; i < e->n_addrs; i++) {
		wbuf_ip(&v, e->addrs[i].addr);
		wbuf_u8(&v, e->addrs[i].len);
	}
	x->it = (struct crdt_item){ .key = wbuf_slice(&k), .stamp = { 1, ctr }, .live = live };
	if (live)
		x->it.value = wbuf_slice(&v);
	return &x->it;
}

static const struct crdt_item *floor_item(struct item *x, uint64_t owner, uint64_t ctr)
{
	struct wbuf k;

	wbuf_fixed(&k, x->key, sizeof(x->key));
	wbuf_u48(&k, owner);
	x->it = (struct crdt_item){ .key = wbuf_slice(&k), .stamp = { 1, ctr } };
	return &x->it;
}

static size_t remotes(const struct nodes *t)
{
	const struct core_endpoint *e;
	size_t n = 0;

	for (size_t it = 0; core_next_remote(t->n[0].core, &it, &e);)
		n++;
	return n;
}

static void an_endpoint_is_read_as_it_was_written(void **state)
{
	struct nodes t;
	struct item x;
	const struct core_endpoint *got;
	size_t it = 0;

	(void)state;
	nodes_init(&t);
	nodes_start(&t, 0);
	struct core_endpoint e = test_endpoint("caf\xc3\xa9", 7, 0x0a200105);
	e.addrs[e.n_addrs++] = (struct prefix){ { .family = 6, .b = { 0xfd } }, 64 };
	nodes_hear(&t, 0, CHANNEL_ENDPOINTS, endpoint_item(&x, OTHER, 1, &e, true));
	assert_true(core_next_remote(t.n[0].core, &it, &got));
	assert_int_equal(got->peer, OTHER);
	assert_string_equal(got->ident, e.ident);
	assert_string_equal(got->network, "weft");
	assert_true(mac_eq(got->mac, e.mac));
	assert_int_equal(got->n_addrs, 2);
	assert_true(prefix_eq(got->addrs[0], e.addrs[0]) && prefix_eq(got->addrs[1], e.addrs[1]));
	assert_false(core_next_remote(t.n[0].core, &it, &got));
	/* what a later version adds is skipped */
	x.it.stamp.ctr = 2;
	x.value[x.it.value.n] = 0xee;
	x.it.value.n++;
	nodes_hear(&t, 0, CHANNEL_ENDPOINTS, &x.it);
	assert_int_equal(remotes(&t), 1);
	nodes_free(&t);
}

/* Each alteration makes an item that is kept for others and not read here; the next good one is read again. */
static void what_cannot_be_read_is_passed_over(void **state)
{
	static const uint8_t bad_values[][16] = {
		{ 0 }, { 2, 1, 'a', 0 },              /* version */
		{ 1, 0, 0 },                          /* no ident */
		{ 1, 1, 'a' },                        /* cut */
		{ 1, 1, '\n', 0 },                    /* control character */
		{ 1, 2, 'a', 0, 0 },                  /* zero byte */
		{ 1, 1, 0xff, 0 },                    /* not UTF-8 */
		{ 1, 1, 'a', 33 },                    /* too many addresses */
		{ 1, 1, 'a', 1, 4, 10, 0, 0, 1, 33 }, /* prefix length */
		{ 1, 1, 'a', 1, 0, 0 },               /* no address */
		{ 1, 1, 'a', 1, 5, 10, 0, 0, 1, 24 }, /* family */
	};
	static const size_t lens[] = { 0, 4, 3, 3, 4, 5, 4, 4, 10, 6, 10 };
	struct nodes t;
	struct item x;
	uint64_t ctr = 1;

	(void)state;
	nodes_init(&t);
	nodes_start(&t, 0);
	struct core_endpoint e = test_endpoint("c", 7, 0x0a200105);
	for (size_t i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
		nodes_hear(&t, 0, CHANNEL_ENDPOINTS, endpoint_item(&x, OTHER, ctr++, &e, true));
		assert_int_equal(remotes(&t), 1);
		endpoint_item(&x, OTHER, ctr++, &e, true);
		x.it.value = slice_of(bad_values[i], lens[i]);
		nodes_hear(&t, 0, CHANNEL_ENDPOINTS, &x.it);
		assert_int_equal(remotes(&t), 0);
		assert_null(core_mac_holder(t.n[0].core, e.mac, "weft"));
	}
	/* keys: no network, a network that is not text or too long, a group address */
	e.network[0] = '\0';
	nodes_hear(&t, 0, CHANNEL_ENDPOINTS, endpoint_item(&x, OTHER, ctr++, &e, true));
	e.network[0] = '\x01';
	nodes_hear(&t, 0, CHANNEL_ENDPOINTS, endpoint_item(&x, OTHER, ctr++, &e, true));
	e = test_endpoint("c", 7, 0);
	e.mac.b[0] |= 1;
	nodes_hear(&t, 0, CHANNEL_ENDPOINTS, endpoint_item(&x, OTHER, ctr++, &e, true));
	e = test_endpoint("c", 7, 0);
	endpoint_item(&x, OTHER, ctr++, &e, true);
	memset(x.key + 12, 'n', CORE_NETWORK_MAX + 1);
	x.it.key.n = 12 + CORE_NETWORK_MAX + 1;
	nodes_hear(&t, 0, CHANNEL_ENDPOINTS, &x.it);
	assert_int_equal(remotes(&t), 0);
	x.it.key.n--; /* the longest there is */
	nodes_hear(&t, 0, CHANNEL_ENDPOINTS, &x.it);
	assert_int_equal(remotes(&t), 1);
	nodes_check(&t, 0);
	nodes_free(&t);
}

static void a_mac_has_one_holder(void **state)
{
	struct nodes t;
	struct item x;

	(void)state;
	nodes_init(&t);
	nodes_start(&t, 0);
	struct core *c = t.n[0].core;
	struct core_endpoint e = test_endpoint("theirs", 7, 0x0a200105);
	nodes_hear(&t, 0, CHANNEL_ENDPOINTS, endpoint_item(&x, THIRD, 1, &e, true));
	nodes_hear(&t, 0, CHANNEL_ENDPOINTS, endpoint_item(&x, OTHER, 1, &e, true));
	assert_int_equal(core_mac_holder(c, e.mac, "weft")->peer, OTHER); /* neither can be reached: the lower name */
	assert_null(core_mac_holder(c, e.mac, "another"));
	struct peer_state third = { .name = THIRD, .reachable = true, .path = PATH_FAST };
	assert_int_equal(map_put64(c->peers, THIRD, &third, NULL), ERR_OK);
	assert_int_equal(core_mac_holder(c, e.mac, "weft")->peer, THIRD);
	assert_int_equal(nodes_attach(&t, 0, test_endpoint("mine", 7, 0x0a200106)), ERR_OK);
	assert_int_equal(core_mac_holder(c, e.mac, "weft")->peer, t.n[0].name); /* whoever else says so */
	map_del64(c->peers, THIRD);
	heap_remove(&c->turns, &third.timer);
	assert_int_equal(nodes_attach(&t, 0, test_endpoint("mine too", 7, 0x0a200107)), ERR_EXISTS);
	assert_non_null(strstr(t.n[0].text, "02:00:00:00:00:07"));
	assert_null(core_local(c, "mine too"));
	assert_non_null(core_local(c, "mine"));
	assert_int_equal(nodes_kept(&t.n[0], "endpoint/"), 1);
	/* whoever gives it up leaves it to the others */
	assert_int_equal(nodes_detach(&t, 0, "mine", (struct ip){ 0 }), ERR_OK);
	assert_int_equal(core_mac_holder(c, e.mac, "weft")->peer, OTHER);
	nodes_hear(&t, 0, CHANNEL_ENDPOINTS, endpoint_item(&x, OTHER, 2, &e, false));
	assert_int_equal(core_mac_holder(c, e.mac, "weft")->peer, THIRD);
	nodes_hear(&t, 0, CHANNEL_ENDPOINTS, floor_item(&x, THIRD, 5));
	assert_null(core_mac_holder(c, e.mac, "weft"));
	nodes_check(&t, 0);
	nodes_free(&t);
}

static void reach(struct core *c, struct peer_state *p)
{
	p->reachable = true;
	p->path = PATH_FAST;
	assert_int_equal(map_put64(c->peers, p->name, p, NULL), ERR_OK);
}

/* The address belongs to that host by the ring. */
static void grant(struct nodes *t, uint32_t first, uint32_t last, uint64_t owner, uint64_t version)
{
	uint8_t key[9], value[11];
	struct wbuf k, v;
	struct crdt_changes ch;
	wbuf_fixed(&k, key, sizeof(key));
	wbuf_u32(&k, core_universe(t->n[0].core).first);
	wbuf_u8(&k, core_universe(t->n[0].core).len);
	wbuf_u32(&k, first);
	wbuf_fixed(&v, value, sizeof(value));
	wbuf_u48(&v, owner);
	wbuf_u32(&v, last);
	wbuf_u8(&v, 0);
	struct crdt_item it = { .key = wbuf_slice(&k), .stamp = { 0, version }, .live = true, .value = wbuf_slice(&v) };
	crdt_changes_init(&ch, t->n[0].arena);
	assert_int_equal(crdt_map_write(t->n[0].core->maps[CHANNEL_RING], &it, &ch), ERR_OK);
}

/* Two hosts that can be reached publish one MAC, or one address: who had it keeps it, unless the ring says that it is the other's. */
static void who_has_it_keeps_it(void **state)
{
	struct nodes t;
	struct item x;

	(void)state;
	nodes_init(&t);
	nodes_start(&t, 0);
	struct core *c = t.n[0].core;
	struct peer_state other = { .name = OTHER }, third = { .name = THIRD };
	reach(c, &other);
	reach(c, &third);
	struct ip addr = ip_v4(0x0a200105);
	struct core_endpoint e = test_endpoint("theirs", 7, 0x0a200105), f = test_endpoint("forged", 8, 0x0a200105);
	nodes_hear(&t, 0, CHANNEL_ENDPOINTS, endpoint_item(&x, THIRD, 1, &e, true));
	nodes_hear(&t, 0, CHANNEL_ENDPOINTS, endpoint_item(&x, OTHER, 1, &e, true)); /* the lower name */
	nodes_hear(&t, 0, CHANNEL_ENDPOINTS, endpoint_item(&x, OTHER, 2, &f, true));
	assert_int_equal(core_mac_holder(c, e.mac, "weft")->peer, THIRD);
	assert_int_equal(core_address_holder(c, addr, "weft")->peer, THIRD);
	assert_null(core_address_holder(c, addr, "another"));
	/* names of it are for those who are on its network; what is no container's is for all */
	const char *weft = "weft", *both[] = { "another", "weft" };
	assert_true(core_is_elsewhere(c, THIRD, "theirs", addr, both, 1));
	assert_false(core_is_elsewhere(c, THIRD, "theirs", addr, both, 2) || core_is_elsewhere(c, THIRD, "theirs", addr, &weft, 1));
	assert_true(core_is_elsewhere(c, THIRD, "theirs", addr, NULL, 0));
	assert_false(core_is_elsewhere(c, THIRD, "others", addr, both, 1) || core_is_elsewhere(c, 99, "theirs", addr, both, 1) ||
		core_is_elsewhere(c, THIRD, "theirs", ip_v4(0x0a200177), both, 1));
	/* that it has one address more, or less, changes nothing */
	e.addrs[e.n_addrs++] = (struct prefix){ ip_v4(0x0a200106), 16 };
	nodes_hear(&t, 0, CHANNEL_ENDPOINTS, endpoint_item(&x, THIRD, 2, &e, true));
	assert_int_equal(core_mac_holder(c, e.mac, "weft")->peer, THIRD);
	assert_int_equal(core_address_holder(c, addr, "weft")->peer, THIRD);
	e.n_addrs = 1;
	nodes_hear(&t, 0, CHANNEL_ENDPOINTS, endpoint_item(&x, THIRD, 3, &e, true));
	assert_int_equal(core_address_holder(c, addr, "weft")->peer, THIRD);
	/* what the ring says decides, both ways */
	grant(&t, 0x0a200000, 0x0a20ffff, OTHER, 1);
	assert_int_equal(core_mac_holder(c, e.mac, "weft")->peer, OTHER);
	assert_int_equal(core_address_holder(c, addr, "weft")->peer, OTHER);
	grant(&t, 0x0a200000, 0x0a20ffff, THIRD, 2);
	assert_int_equal(core_mac_holder(c, e.mac, "weft")->peer, THIRD);
	assert_int_equal(core_address_holder(c, addr, "weft")->peer, THIRD);
	/* a MAC with another address is no claim that the ring could back */
	f = test_endpoint("forged", 7, 0x0a200109);
	grant(&t, 0x0a200000, 0x0a20ffff, OTHER, 3);
	nodes_hear(&t, 0, CHANNEL_ENDPOINTS, endpoint_item(&x, OTHER, 3, &f, true));
	assert_int_equal(core_mac_holder(c, e.mac, "weft")->peer, THIRD);
	/* once it is withdrawn the next one has it at once: an address may move */
	nodes_hear(&t, 0, CHANNEL_ENDPOINTS, endpoint_item(&x, THIRD, 4, &e, false));
	assert_int_equal(core_mac_holder(c, e.mac, "weft")->peer, OTHER);
	assert_int_equal(core_address_holder(c, addr, "weft")->peer, OTHER);
	map_del64(c->peers, OTHER);
	map_del64(c->peers, THIRD);
	heap_remove(&c->turns, &other.timer);
	heap_remove(&c->turns, &third.timer);
	nodes_check(&t, 0);
	nodes_free(&t);
}

static void another_mac_or_fewer_addresses(void **state)
{
	struct nodes t;
	uint64_t holder = 0;
	struct item x;

	(void)state;
	nodes_init(&t);
	nodes_start(&t, 0);
	struct core *c = t.n[0].core;
	struct core_endpoint e = test_endpoint("c", 7, 0x0a200105);
	e.addrs[e.n_addrs++] = (struct prefix){ ip_v4(0x0a200106), 16 };
	assert_int_equal(nodes_attach(&t, 0, e), ERR_OK);
	e.mac = test_mac(8); /* its namespace was made anew */
	assert_int_equal(nodes_attach(&t, 0, e), ERR_OK);
	assert_null(core_mac_holder(c, test_mac(7), "weft"));
	assert_string_equal(core_mac_holder(c, test_mac(8), "weft")->ident, "c");
	assert_int_equal(map_count(c->endpoints), 1);
	assert_int_equal(nodes_detach(&t, 0, "c", ip_v4(0x0a200105)), ERR_OK);
	assert_int_equal(core_local(c, "c")->n_addrs, 1);
	assert_int_equal(nodes_kept(&t.n[0], "endpoint/c"), 1);
	assert_int_equal(nodes_detach(&t, 0, "c", ip_v4(0x0a200106)), ERR_OK);
	assert_null(core_local(c, "c"));
	assert_int_equal(nodes_kept(&t.n[0], "endpoint/"), 0);
	assert_int_equal(nodes_detach(&t, 0, "never there", (struct ip){ 0 }), ERR_OK);
	/* in use is what others have; of two the lower name */
	assert_int_equal(nodes_attach(&t, 0, e), ERR_OK);
	assert_false(endpoints_in_use(c, 0x0a200105, &holder));
	nodes_hear(&t, 0, CHANNEL_ENDPOINTS, endpoint_item(&x, THIRD, 1, &e, true));
	assert_true(endpoints_in_use(c, 0x0a200105, &holder) && holder == THIRD);
	nodes_hear(&t, 0, CHANNEL_ENDPOINTS, endpoint_item(&x, OTHER, 1, &e, true));
	assert_true(endpoints_in_use(c, 0x0a200105, &holder) && holder == OTHER);
	nodes_check(&t, 0);
	nodes_free(&t);
}

static void what_is_not_text_is_not_attached(void **state)
{
	struct nodes t;

	(void)state;
	nodes_init(&t);
	nodes_start(&t, 0);
	assert_int_equal(nodes_attach(&t, 0, test_endpoint("", 7, 0)), ERR_RANGE);
	assert_int_equal(nodes_attach(&t, 0, test_endpoint("a\nb", 7, 0)), ERR_RANGE);
	assert_int_equal(nodes_attach(&t, 0, test_endpoint("\xc3", 7, 0)), ERR_RANGE);
	struct core_endpoint group = test_endpoint("a", 7, 0);
	group.mac.b[0] |= 1;
	assert_int_equal(nodes_attach(&t, 0, group), ERR_RANGE);
	assert_int_equal(map_count(t.n[0].core->endpoints), 0);
	assert_int_equal(nodes_kept(&t.n[0], "endpoint/"), 0);
	nodes_free(&t);
}

static void stored_ones_come_back(void **state)
{
	struct nodes t;
	struct err_note note;
	uint8_t buf[64];
	struct wbuf w;

	(void)state;
	nodes_init(&t);
	nodes_start(&t, 0);
	struct core_endpoint e = test_endpoint("c", 7, 0x0a200105);
	assert_int_equal(nodes_attach(&t, 0, e), ERR_OK);
	nodes_kill(&t, 0);
	nodes_start(&t, 0);
	const struct core_endpoint *got = core_local(t.n[0].core, "c");
	assert_non_null(got);
	assert_true(mac_eq(got->mac, e.mac) && prefix_eq(got->addrs[0], e.addrs[0]));
	nodes_kill(&t, 0);
	/* a record under another's key, one whose MAC another has, one that is cut */
	struct core_cfg cfg = nodes_cfg(&t, 0);
	assert_int_equal(core_new(&t.n[0].core, &cfg, t.now, &note), ERR_OK);
	const struct record *kept = nodes_record(&t.n[0], "endpoint/c");
	struct slice value = slice_of(kept->value, kept->value_len);
	assert_int_equal(core_restore(t.n[0].core, slice_str("endpoint/d"), value, &note), ERR_MALFORMED);
	assert_int_equal(core_restore(t.n[0].core, slice_str("endpoint/c"), slice_of(value.p, value.n - 1), &note), ERR_MALFORMED);
	assert_int_equal(core_restore(t.n[0].core, slice_str("endpoint/c"), value, &note), ERR_OK);
	wbuf_fixed(&w, buf, sizeof(buf));
	wbuf_mac(&w, e.mac);
	wbuf_lv(&w, slice_str("weft"));
	wbuf_u8(&w, 1);
	wbuf_lv(&w, slice_str("d"));
	wbuf_varint(&w, 0);
	assert_int_equal(core_restore(t.n[0].core, slice_str("endpoint/d"), wbuf_slice(&w), &note), ERR_MALFORMED);
	assert_non_null(core_local(t.n[0].core, "c"));
	nodes_free(&t);
}

/* The indices against a plain look at everything, over a random history of few MACs, addresses and owners. */
static void indices_say_what_a_look_at_all_says(void **state)
{
	struct nodes t;
	struct item x;
	struct rng r;
	uint64_t seed = test_seed("endpoints"), ctr = 1;

	(void)state;
	rng_seed(&r, seed);
	nodes_init(&t);
	nodes_start(&t, 0);
	const struct core *c = t.n[0].core;
	for (int round = 0; round < 20000; round++) {
		uint64_t owner = 1 + rng_u64(&r) % 4;
		struct core_endpoint e = test_endpoint("c", (unsigned)(rng_u64(&r) % 6), 0);
		e.n_addrs = rng_u64(&r) % 4;
		for (size_t i = 0; i < e.n_addrs; i++)
			e.addrs[i] = (struct prefix){ ip_v4(100 + (uint32_t)(rng_u64(&r) % 5)), 24 };
		if (rng_u64(&r) % 50 == 0)
			nodes_hear(&t, 0, CHANNEL_ENDPOINTS, floor_item(&x, owner, ctr++));
		else
			nodes_hear(&t, 0, CHANNEL_ENDPOINTS, endpoint_item(&x, owner, ctr++, &e, rng_u64(&r) % 4 != 0));
		for (uint32_t a = 100; a < 105; a++) {
			const struct core_endpoint *p;
			uint64_t least = UINT64_MAX, holder = 0;
			for (size_t it = 0; core_next_remote(c, &it, &p);)
				for (size_t i = 0; i < p->n_addrs; i++)
					if (ip_eq(p->addrs[i].addr, ip_v4(a)) && p->peer < least)
						least = p->peer;
			assert_int_equal(endpoints_in_use(c, a, &holder), least != UINT64_MAX);
			if (least != UINT64_MAX)
				assert_int_equal(holder, least);
		}
		for (unsigned m = 0; m < 6; m++) {
			const struct core_endpoint *p, *holder = core_mac_holder(c, test_mac(m), "weft");
			uint64_t least = UINT64_MAX;
			for (size_t it = 0; core_next_remote(c, &it, &p);)
				if (mac_eq(p->mac, test_mac(m)) && p->peer < least)
					least = p->peer;
			assert_int_equal(holder != NULL ? holder->peer : UINT64_MAX, least);
		}
	}
	nodes_check(&t, 0);
	nodes_free(&t);
}

/* State is bounded by what is alive, not by history, here and at the others, while both run on. */
static void containers_that_went_leave_nothing(void **state)
{
	struct nodes t;

	(void)state;
	nodes_init(&t);
	nodes_start(&t, 0);
	nodes_start(&t, 1);
	nodes_connect(&t, 0, 1);
	nodes_run(&t, 2000);
	for (uint32_t i = 1; i <= 500; i++) {
		struct core_endpoint e = { .peer = t.n[0].name, .n_addrs = 1, .mac = { { 2, 0, 0, 0, (uint8_t)(i >> 8), (uint8_t)i } } };
		(void)snprintf(e.ident, sizeof(e.ident), "c%u", i);
		(void)snprintf(e.network, sizeof(e.network), "%s", CORE_NETWORK_DEFAULT);
		e.addrs[0] = (struct prefix){ .addr = ip_v4(UINT32_C(0x0a200000) + i), .len = 12 };
		struct core_event attached = { .kind = CORE_ATTACHED, .endpoint = &e };
		struct core_event named = { .kind = CORE_NAME_PUT, .ident = e.ident, .fqdn = e.ident, .addr = e.addrs[0].addr };
		struct core_event detached = { .kind = CORE_DETACHED, .ident = e.ident };
		assert_int_equal(nodes_ask(&t, 0, &attached), ERR_OK);
		assert_int_equal(nodes_ask(&t, 0, &named), ERR_OK);
		if (i > 3) /* three stay */
			assert_int_equal(nodes_ask(&t, 0, &detached), ERR_OK);
	}
	nodes_run(&t, 2000);
	for (int k = 0; k < 2; k++) {
		for (uint8_t id = CHANNEL_NAMES; id <= CHANNEL_ENDPOINTS; id++) {
			const struct crdt_map *m = core_channel(t.n[k].core, id);
			assert_int_equal(crdt_map_live(m), 3);
			assert_in_range(crdt_map_count(m), 4, 3 + 2 + 2 * CRDT_COMPACT_TOMBSTONES); /* two floors, some tombstones */
		}
	}
	assert_int_equal(dns_table_count(core_names(t.n[1].core)), 3);
	nodes_free(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_endpoint_is_read_as_it_was_written),
		cmocka_unit_test(what_cannot_be_read_is_passed_over),
		cmocka_unit_test(a_mac_has_one_holder),
		cmocka_unit_test(who_has_it_keeps_it),
		cmocka_unit_test(another_mac_or_fewer_addresses),
		cmocka_unit_test(what_is_not_text_is_not_attached),
		cmocka_unit_test(stored_ones_come_back),
		cmocka_unit_test(indices_say_what_a_look_at_all_says),
		cmocka_unit_test(containers_that_went_leave_nothing),
	};

	return sodium_init() < 0 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
