/* Names: what is published, read, answered and stored. */
#include "nodes.h"

#define OTHER UINT64_C(0x0a0000000001)

struct item {
	uint8_t key[CRDT_KEY_MAX], value[CRDT_VALUE_MAX];
	struct crdt_item it;
};

/* more: bytes of a later version behind what we read. */
static const struct crdt_item *name_item(
	struct item *x, uint64_t owner, uint64_t ctr, const char *ident, const char *fqdn, uint32_t addr, size_t more)
{
	struct dns_name name;
	struct wbuf k, v;
	uint8_t hash[16];

	assert_int_equal(dns_name_parse(fqdn, &name), ERR_OK);
	wbuf_fixed(&v, x->value, sizeof(x->value));
	wbuf_u8(&v, 1);
	wbuf_lv(&v, slice_str(ident));
	wbuf_lv(&v, dns_name_slice(&name));
	wbuf_ip(&v, ip_v4(addr));
	crypto_generichash(hash, sizeof(hash), x->value, v.len, NULL, 0);
	for (size_t i = 0; i < more; i++)
		wbuf_u8(&v, (uint8_t)i);
	wbuf_fixed(&k, x->key, sizeof(x->key));
	wbuf_u48(&k, owner);
	wbuf_bytes(&k, hash, sizeof(hash));
	x->it = (struct crdt_item){ .key = wbuf_slice(&k), .value = wbuf_slice(&v), .stamp = { 1, ctr }, .live = true };
	return &x->it;
}

static const struct crdt_item *gone(struct item *x, uint64_t ctr)
{
	x->it.live = false;
	x->it.value = (struct slice){ NULL, 0 };
	x->it.stamp.ctr = ctr;
	return &x->it;
}

/* The mesh knows it and can reach it. */
static void known(struct nodes *t, struct peer_state *p, bool reachable)
{
	*p = (struct peer_state){ .name = OTHER, .reachable = reachable, .present = reachable };
	assert_int_equal(map_put64(t->n[0].core->peers, OTHER, p, NULL), ERR_OK);
	assert_int_equal(dns_table_set_reachable(t->n[0].core->table, OTHER, reachable), ERR_OK);
}

static void unknown(struct nodes *t)
{
	map_del64(t->n[0].core->peers, OTHER);
}

static void names_of_a_reachable_host_are_answered(void **state)
{
	struct nodes t;
	struct item x;
	struct peer_state p;

	(void)state;
	nodes_init(&t);
	nodes_start(&t, 0);
	/* whose names came before the host itself is known */
	nodes_hear(&t, 0, CHANNEL_NAMES, name_item(&x, OTHER, 1, "c", "a.weft.local", 9, 0));
	assert_int_equal(map_count(t.n[0].core->names), 1);
	assert_int_equal(nodes_resolve(&t, 0, "a.weft.local"), 0);
	known(&t, &p, true);
	assert_int_equal(nodes_resolve(&t, 0, "A.weft.local"), 1);
	nodes_hear(&t, 0, CHANNEL_NAMES, name_item(&x, OTHER, 2, "c", "b.weft.local", 9, 0));
	assert_int_equal(nodes_resolve(&t, 0, "b.weft.local"), 1);
	nodes_hear(&t, 0, CHANNEL_NAMES, gone(&x, 3));
	assert_int_equal(nodes_resolve(&t, 0, "b.weft.local"), 0);
	assert_int_equal(nodes_resolve(&t, 0, "a.weft.local"), 1);
	/* a floor drops what it does not name */
	x.it.key.n = 6;
	nodes_hear(&t, 0, CHANNEL_NAMES, gone(&x, 9));
	assert_int_equal(map_count(t.n[0].core->names), 0);
	assert_int_equal(dns_table_count(t.n[0].core->table), 0);
	nodes_check(&t, 0);
	unknown(&t);
	nodes_free(&t);
}

static void what_cannot_be_read_is_passed_over(void **state)
{
	struct nodes t;
	struct item x;
	struct peer_state p;

	(void)state;
	nodes_init(&t);
	nodes_start(&t, 0);
	known(&t, &p, true);
	for (size_t i = 0; i < 30; i++) { /* cut anywhere; and another version */
		name_item(&x, OTHER, 1 + i, "c", "a.weft.local", 9, 0);
		if (i == 29)
			x.value[0] = 2;
		else
			x.it.value.n = i < x.it.value.n ? i : x.it.value.n - 1;
		nodes_hear(&t, 0, CHANNEL_NAMES, &x.it);
		assert_int_equal(map_count(t.n[0].core->names), 0);
	}
	nodes_hear(&t, 0, CHANNEL_NAMES, name_item(&x, OTHER, 50, "c\n", "a.weft.local", 9, 0));
	nodes_hear(&t, 0, CHANNEL_NAMES, name_item(&x, OTHER, 51, "\xff", "a.weft.local", 9, 0));
	name_item(&x, OTHER, 52, "c", "a.weft.local", 9, 0);
	x.key[21] ^= 1; /* not the hash of what it says */
	nodes_hear(&t, 0, CHANNEL_NAMES, &x.it);
	name_item(&x, OTHER, 53, "c", "a.weft.local", 9, 0);
	x.it.key.n--;
	nodes_hear(&t, 0, CHANNEL_NAMES, &x.it);
	assert_int_equal(map_count(t.n[0].core->names), 0);
	nodes_hear(&t, 0, CHANNEL_NAMES, name_item(&x, OTHER, 60, "c", "a.weft.local", 9, 0));
	assert_int_equal(nodes_resolve(&t, 0, "a.weft.local"), 1);
	/* a later version changes what we do not read, and says the same in a second item that we do not take */
	nodes_hear(&t, 0, CHANNEL_NAMES, name_item(&x, OTHER, 61, "c", "a.weft.local", 9, 5));
	x.key[21] ^= 1;
	nodes_hear(&t, 0, CHANNEL_NAMES, &x.it);
	assert_int_equal(map_count(t.n[0].core->names), 1);
	nodes_hear(&t, 0, CHANNEL_NAMES, gone(&x, 62));
	assert_int_equal(nodes_resolve(&t, 0, "a.weft.local"), 1);
	nodes_check(&t, 0);
	unknown(&t);
	nodes_free(&t);
}

static void our_own(void **state)
{
	struct nodes t;

	(void)state;
	nodes_init(&t);
	nodes_start(&t, 0);
	assert_int_equal(nodes_name(&t, 0, "c", "a.weft.local", 9), ERR_OK);
	assert_int_equal(nodes_name(&t, 0, "c", "a.weft.local", 9), ERR_OK); /* again */
	assert_int_equal(nodes_name(&t, 0, "c", "a", 10), ERR_OK);           /* unqualified: in the domain */
	assert_int_equal(nodes_name(&t, 0, NULL, "a.weft.local", 11), ERR_OK);
	assert_int_equal(nodes_name(&t, 0, "d", "b.weft.local", 9), ERR_OK);
	assert_int_equal(nodes_resolve(&t, 0, "a.weft.local"), 3);
	assert_int_equal(nodes_kept(&t.n[0], "name/"), 4);
	assert_int_equal(nodes_name(&t, 0, "c", "a.example.com", 9), ERR_RANGE);
	assert_true(strlen(t.n[0].text) > 0);
	assert_int_not_equal(nodes_name(&t, 0, "c", "..", 9), ERR_OK);
	assert_int_equal(nodes_name(&t, 0, "c\n", "x.weft.local", 9), ERR_RANGE);
	/* deleting: by any of the three, each may be left out */
	assert_int_equal(nodes_unname(&t, 0, "c", "b.weft.local", (struct ip){ 0 }), ERR_OK);
	assert_int_equal(t.n[0].count, 0);
	assert_int_equal(nodes_unname(&t, 0, NULL, "A.weft.LOCAL", ip_v4(9)), ERR_OK);
	assert_int_equal(t.n[0].count, 1);
	assert_int_equal(nodes_unname(&t, 0, "c", NULL, (struct ip){ 0 }), ERR_OK);
	assert_int_equal(t.n[0].count, 1);
	assert_int_equal(nodes_resolve(&t, 0, "a.weft.local"), 1);
	assert_int_equal(nodes_unname(&t, 0, NULL, "a.example.com", (struct ip){ 0 }), ERR_OK);
	assert_int_equal(t.n[0].count, 0);
	assert_int_equal(nodes_kept(&t.n[0], "name/"), 2);
	nodes_kill(&t, 0);
	nodes_start(&t, 0);
	assert_int_equal(nodes_resolve(&t, 0, "a.weft.local"), 1);
	assert_int_equal(nodes_resolve(&t, 0, "b.weft.local"), 1);
	assert_int_equal(nodes_unname(&t, 0, NULL, NULL, (struct ip){ 0 }), ERR_OK);
	assert_int_equal(t.n[0].count, 2);
	assert_int_equal(nodes_kept(&t.n[0], "name/"), 0);
	nodes_check(&t, 0);
	nodes_free(&t);
}

/* Killed and started anew: at no instant does another host answer otherwise. One that stays away is left out after the grace. */
static void names_outlive_a_restart(void **state)
{
	struct nodes t;

	(void)state;
	nodes_init(&t);
	for (int i = 0; i < 3; i++) {
		nodes_start(&t, i);
		if (i > 0)
			nodes_connect(&t, 0, i);
	}
	nodes_run(&t, 2000);
	for (uint32_t k = 0; k < 20; k++)
		assert_int_equal(nodes_name(&t, 1, "c", "a.weft.local", 9 + k), ERR_OK);
	nodes_run(&t, 100);
	assert_int_equal(nodes_resolve(&t, 2, "a.weft.local"), 20);
	nodes_kill(&t, 1);
	for (int ms = 0; ms < 6000; ms++) {
		if (ms == 1500)
			nodes_start(&t, 1);
		nodes_run(&t, 1);
		assert_int_equal(nodes_resolve(&t, 0, "a.weft.local"), 20);
		assert_int_equal(nodes_resolve(&t, 2, "a.weft.local"), 20);
		if (ms == 1000)
			assert_false(gossip_reachable(core_gossip(t.n[2].core), t.n[1].name));
	}
	assert_true(gossip_reachable(core_gossip(t.n[2].core), t.n[1].name));
	nodes_kill(&t, 1);
	nodes_run(&t, GOSSIP_GRACE_MS - 500);
	assert_int_equal(nodes_resolve(&t, 2, "a.weft.local"), 20);
	nodes_run(&t, 1000);
	assert_int_equal(nodes_resolve(&t, 2, "a.weft.local"), 0);
	nodes_free(&t);
}

static void without_names(struct core_cfg *cfg)
{
	cfg->names = false;
}

/* What is detached while names are off does not come back with them. */
static void names_are_kept_while_they_are_off(void **state)
{
	struct nodes t;

	(void)state;
	nodes_init(&t);
	nodes_start(&t, 0);
	assert_int_equal(nodes_attach(&t, 0, test_endpoint("c", 7, 9)), ERR_OK);
	assert_int_equal(nodes_name(&t, 0, "c", "c.weft.local", 9), ERR_OK);
	assert_int_equal(nodes_name(&t, 0, "d", "d.weft.local", 10), ERR_OK);
	nodes_kill(&t, 0);
	assert_int_equal(nodes_try_start(&t, 0, true, without_names), ERR_OK);
	assert_null(core_names(t.n[0].core));
	assert_int_equal(crdt_map_live(t.n[0].core->maps[CHANNEL_NAMES]), 0); /* not published */
	assert_int_equal(nodes_name(&t, 0, "c", "x.weft.local", 9), ERR_STATE);
	assert_int_equal(nodes_detach(&t, 0, "c", (struct ip){ 0 }), ERR_OK);
	assert_int_equal(nodes_kept(&t.n[0], "name/"), 1);
	assert_int_equal(map_count(t.n[0].core->names), 1);
	nodes_kill(&t, 0);
	nodes_start(&t, 0);
	assert_int_equal(nodes_resolve(&t, 0, "c.weft.local"), 0);
	assert_int_equal(nodes_resolve(&t, 0, "d.weft.local"), 1);
	nodes_free(&t);
}

static void broken_records_are_refused(void **state)
{
	struct nodes t;
	struct err_note note;

	(void)state;
	nodes_init(&t);
	nodes_start(&t, 0);
	assert_int_equal(nodes_name(&t, 0, "c", "c.weft.local", 9), ERR_OK);
	nodes_kill(&t, 0);
	struct core_cfg cfg = nodes_cfg(&t, 0);
	const struct record *r = nodes_record(&t.n[0], "name/");
	assert_int_equal(core_new(&t.n[0].core, &cfg, t.now, &note), ERR_OK);
	for (size_t n = 0; n < r->value_len; n++)
		assert_int_equal(core_restore(t.n[0].core, slice_of(r->key, r->key_len), slice_of(r->value, n), &note), ERR_MALFORMED);
	assert_int_equal(
		core_restore(t.n[0].core, slice_str("name/0123456789abcdef"), slice_of(r->value, r->value_len), &note), ERR_MALFORMED);
	assert_int_equal(core_restore(t.n[0].core, slice_of(r->key, r->key_len), slice_of(r->value, r->value_len), &note), ERR_OK);
	assert_int_equal(nodes_resolve(&t, 0, "c.weft.local"), 1);
	nodes_free(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_of_a_reachable_host_are_answered),
		cmocka_unit_test(what_cannot_be_read_is_passed_over),
		cmocka_unit_test(our_own),
		cmocka_unit_test(names_outlive_a_restart),
		cmocka_unit_test(names_are_kept_while_they_are_off),
		cmocka_unit_test(broken_records_are_refused),
	};

	return sodium_init() < 0 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
