/* Networks: what holds when several say something of a name, numbers, use, removal, restarts, partitions, hosts that are gone for good. */
#include "nodes.h"

#include <time.h>

#include "base/rng.h"

#define OTHER UINT64_C(0x0a0000000001) /* above all nodes of the tests */
#define LOW   UINT64_C(0x010000000001) /* below them */

enum { PRESENT = 1, REMOVED = 2 };

struct item {
	uint8_t key[CRDT_KEY_MAX], value[CRDT_VALUE_MAX];
	struct crdt_item it;
};

static struct prefix subnet(const char *text)
{
	struct prefix p = { 0 };

	if (text != NULL)
		assert_int_equal(prefix_parse(text, &p), ERR_OK);
	return p;
}

static const struct crdt_item *said(struct item *x, uint64_t owner, uint64_t ctr, const char *name, uint64_t generation,
	int state, uint16_t number, const char *net)
{
	struct wbuf k, v;
	struct prefix p = subnet(net);

	wbuf_fixed(&v, x->value, sizeof(x->value));
	wbuf_u8(&v, 1);
	wbuf_u16(&v, number);
	wbuf_varint(&v, generation);
	wbuf_u8(&v, (uint8_t)state);
	wbuf_ip(&v, p.addr);
	wbuf_u8(&v, p.len);
	wbuf_ip(&v, (struct ip){ 0 });
	wbuf_u8(&v, 0);
	wbuf_varint(&v, 0);
	wbuf_fixed(&k, x->key, sizeof(x->key));
	wbuf_u48(&k, owner);
	wbuf_bytes(&k, name, strlen(name));
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

/* Heard and settled, as in a step. */
static void hear(struct nodes *t, int i, const struct crdt_item *it)
{
	struct core_actions acts;

	nodes_hear(t, i, CHANNEL_NETWORKS, it);
	core_actions_init(&acts, t->n[i].arena);
	assert_int_equal(networks_settle(t->n[i].core, &acts), ERR_OK);
	nodes_carry_out(t, i, &acts);
}

static enum err ask(struct nodes *t, int i, enum core_event_kind kind, const char *name, const char *net)
{
	struct core_network want = { .subnet = subnet(net) };
	struct core_event ev = { .kind = kind, .network = &want };

	snprintf(want.name, sizeof(want.name), "%s", name);
	return nodes_ask(t, i, &ev);
}

static enum err create(struct nodes *t, int i, const char *name, const char *net)
{
	return ask(t, i, CORE_NETWORK_CREATE, name, net);
}

static enum err removal(struct nodes *t, int i, const char *name)
{
	return ask(t, i, CORE_NETWORK_REMOVE, name, NULL);
}

static struct core_endpoint in(const char *network, const char *ident, unsigned mac)
{
	struct core_endpoint e = test_endpoint(ident, mac, 0x0a280000 + mac);

	memset(e.network, 0, sizeof(e.network));
	snprintf(e.network, sizeof(e.network), "%s", network);
	return e;
}

static uint16_t number(const struct nodes *t, int i, const char *name)
{
	struct core_network n;

	return core_network(t->n[i].core, name, &n) ? n.number : 0;
}

static size_t count(const struct nodes *t, int i)
{
	struct core_network n;
	size_t found = 0;

	for (size_t it = 0; core_next_network(t->n[i].core, &it, &n);)
		found++;
	return found;
}

/* Items of the channel that are live. */
static size_t records(const struct nodes *t, int i)
{
	return crdt_map_live(t->n[i].core->maps[CHANNEL_NETWORKS]);
}

static bool own(const struct nodes *t, int i, const char *name)
{
	char key[80];

	snprintf(key, sizeof(key), "network/%s", name);
	return nodes_kept(&t->n[i], key) > 0;
}

static void two(struct nodes *t)
{
	nodes_init(t);
	nodes_start(t, 0);
	nodes_start(t, 1);
	nodes_connect(t, 0, 1);
	nodes_run(t, 3000);
}

static void cut(struct nodes *t, bool on)
{
	t->cut = on;
	nodes_run(t, 40000); /* longer than a link lives, and than back-off and reconciliation */
}

/* --- one host ------------------------------------------------------------------------------------------------------------------------------ */

static void made_and_removed(void **state)
{
	struct nodes t;
	struct core_network n;

	(void)state;
	nodes_init(&t);
	nodes_start(&t, 0);
	assert_true(core_network(t.n[0].core, "weft", &n) && n.number == 0 && n.subnet.addr.family == 0);
	assert_false(core_network(t.n[0].core, "blue", &n));
	size_t before = t.n[0].forwardings;
	assert_int_equal(create(&t, 0, "blue", "10.32.64.0/20"), ERR_OK);
	assert_true(t.n[0].forwardings > before);
	assert_true(core_network(t.n[0].core, "blue", &n) && n.number != 0 && prefix_eq(n.subnet, subnet("10.32.64.0/20")));
	assert_int_equal(create(&t, 0, "blue", "10.32.64.0/20"), ERR_OK); /* again */
	assert_int_equal(create(&t, 0, "blue", NULL), ERR_EXISTS);
	assert_non_null(strstr(t.n[0].text, "10.32.64.0/20"));
	assert_int_equal(create(&t, 0, "amber", NULL), ERR_OK);
	size_t it = 0;
	assert_true(core_next_network(t.n[0].core, &it, &n) && strcmp(n.name, "amber") == 0);
	assert_true(core_next_network(t.n[0].core, &it, &n) && strcmp(n.name, "blue") == 0);
	assert_false(core_next_network(t.n[0].core, &it, &n));
	assert_int_equal(removal(&t, 0, "blue"), ERR_OK);
	assert_int_equal(removal(&t, 0, "blue"), ERR_NOT_FOUND);
	assert_int_equal(removal(&t, 0, "weft"), ERR_REFUSED);
	assert_int_equal(count(&t, 0), 1);
	assert_int_equal(records(&t, 0), 1); /* nobody is left to be told of the removal */
	assert_int_equal(nodes_kept(&t.n[0], "network/"), 1);
	nodes_check(&t, 0);
	nodes_free(&t);
}

static void what_is_refused(void **state)
{
	static const char *const names[] = { "", ".a", "-a", "a b", "a/b", "a\n", "\xc3\xa4", "a:b",
		"12345678901234567890123456789012345678901234567890123456789012345" };
	static const char *const subnets[] = { "10.33.0.0/16", "10.32.0.0/15", "10.32.0.1/24", "10.32.0.0/31", "fd00::/64" };
	struct nodes t;

	(void)state;
	nodes_init(&t);
	nodes_start(&t, 0);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]) - 1; i++)
		assert_int_equal(create(&t, 0, names[i], NULL), ERR_RANGE);
	assert_int_equal(create(&t, 0, "weft", NULL), ERR_EXISTS);
	for (size_t i = 0; i < sizeof(subnets) / sizeof(subnets[0]); i++) {
		assert_int_equal(create(&t, 0, "blue", subnets[i]), ERR_RANGE);
		assert_true(strlen(t.n[0].text) > 0);
	}
	assert_int_equal(count(&t, 0), 0);
	assert_int_equal(nodes_kept(&t.n[0], "network/"), 0);
	/* the whole range, and overlapping ones: addresses are given once however many networks there are */
	assert_int_equal(create(&t, 0, "a", "10.32.0.0/16"), ERR_OK);
	assert_int_equal(create(&t, 0, "b", "10.32.0.0/30"), ERR_OK);
	for (int i = 2; i < CORE_NETWORKS_MAX; i++) {
		char name[16];
		snprintf(name, sizeof(name), "n%d", i);
		assert_int_equal(create(&t, 0, name, NULL), ERR_OK);
	}
	assert_int_equal(create(&t, 0, "one-more", NULL), ERR_LIMIT);
	assert_int_equal(count(&t, 0), CORE_NETWORKS_MAX);
	for (size_t it = 0, at = 0; it < CORE_NETWORKS_MAX; it++) { /* no number twice */
		struct core_network x, y;
		size_t i = it;
		at = it + 1;
		assert_true(core_next_network(t.n[0].core, &i, &x));
		while (core_next_network(t.n[0].core, &at, &y))
			assert_int_not_equal(x.number, y.number);
	}
	nodes_free(&t);
}

static void in_use(void **state)
{
	struct nodes t;

	(void)state;
	two(&t);
	assert_int_equal(create(&t, 0, "blue", NULL), ERR_OK);
	nodes_run(&t, 100);
	assert_int_equal(nodes_attach(&t, 1, in("blue", "c", 7)), ERR_OK);
	nodes_run(&t, 100);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(removal(&t, i, "blue"), ERR_BUSY);
		assert_non_null(strstr(t.n[i].text, "container c on host two"));
	}
	/* also while its host is away */
	nodes_kill(&t, 1);
	nodes_run(&t, 30000);
	assert_int_equal(removal(&t, 0, "blue"), ERR_BUSY);
	nodes_start(&t, 1);
	nodes_run(&t, 30000);
	assert_int_equal(nodes_detach(&t, 1, "c", (struct ip){ 0 }), ERR_OK);
	nodes_run(&t, 100);
	assert_int_equal(removal(&t, 0, "blue"), ERR_OK);
	nodes_run(&t, 100);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(count(&t, i), 0);
		assert_int_equal(records(&t, i), 0);
		assert_int_equal(nodes_kept(&t.n[i], "network/"), 0);
		nodes_check(&t, i);
	}
	nodes_free(&t);
}

static void restarts(void **state)
{
	struct nodes t;

	(void)state;
	two(&t);
	assert_int_equal(create(&t, 0, "blue", "10.32.64.0/20"), ERR_OK);
	nodes_run(&t, 100);
	uint16_t before = number(&t, 0, "blue");
	assert_int_equal(number(&t, 1, "blue"), before);
	assert_int_equal(nodes_attach(&t, 1, in("blue", "c", 7)), ERR_OK); /* now both say so */
	nodes_run(&t, 100);
	assert_true(own(&t, 1, "blue"));
	nodes_kill(&t, 0);
	nodes_kill(&t, 1);
	nodes_start(&t, 1); /* alone */
	assert_int_equal(number(&t, 1, "blue"), before);
	/* whoever made it comes back without its disk */
	nodes_wipe(&t.n[0]);
	nodes_start(&t, 0);
	nodes_connect(&t, 0, 1);
	nodes_run(&t, 30000);
	assert_int_equal(number(&t, 0, "blue"), before);
	assert_int_equal(number(&t, 1, "blue"), before);
	assert_false(own(&t, 0, "blue"));
	nodes_check(&t, 0);
	nodes_check(&t, 1);
	nodes_free(&t);
}

static bool automatic(const struct nodes *t, int i, const char *name)
{
	struct core_network n;

	assert_true(core_network(t->n[i].core, name, &n));
	return n.automatic;
}

/* That a program made it is known to all, and by whoever uses it after its maker is gone. */
static void automatic_ones(void **state)
{
	struct core_network want = { .name = "blue", .automatic = true };
	struct core_event ev = { .kind = CORE_NETWORK_CREATE, .network = &want };
	struct nodes t;

	(void)state;
	two(&t);
	assert_int_equal(nodes_ask(&t, 0, &ev), ERR_OK);
	assert_int_equal(create(&t, 0, "red", NULL), ERR_OK);
	nodes_run(&t, 100);
	assert_true(automatic(&t, 0, "blue") && automatic(&t, 1, "blue"));
	assert_false(automatic(&t, 0, "red") || automatic(&t, 1, "red"));
	assert_int_equal(nodes_attach(&t, 1, in("blue", "c", 7)), ERR_OK);
	nodes_run(&t, 100);
	nodes_kill(&t, 0);
	nodes_kill(&t, 1);
	nodes_start(&t, 1);
	assert_true(automatic(&t, 1, "blue"));
	assert_int_equal(create(&t, 1, "blue", NULL), ERR_OK); /* by hand: it is there already */
	assert_true(automatic(&t, 1, "blue"));
	assert_int_equal(nodes_detach(&t, 1, "c", (struct ip){ 0 }), ERR_OK);
	assert_int_equal(removal(&t, 1, "blue"), ERR_OK);
	assert_int_equal(create(&t, 1, "blue", NULL), ERR_OK);
	assert_false(automatic(&t, 1, "blue"));
	nodes_check(&t, 1);
	nodes_free(&t);
}

/* --- several hosts --------------------------------------------------------------------------------------------------------------------------- */

static void one_name_on_both_sides(void **state)
{
	struct nodes t;
	struct core_network a, b;

	(void)state;
	two(&t);
	cut(&t, true);
	assert_int_equal(create(&t, 0, "same", "10.32.64.0/20"), ERR_OK);
	assert_int_equal(create(&t, 1, "same", "10.32.64.0/20"), ERR_OK);
	assert_int_equal(create(&t, 0, "differs", "10.32.80.0/20"), ERR_OK);
	assert_int_equal(create(&t, 1, "differs", "10.32.96.0/20"), ERR_OK);
	assert_int_equal(nodes_attach(&t, 0, in("differs", "c", 7)), ERR_OK);
	t.n[0].note[0] = t.n[1].note[0] = '\0';
	cut(&t, false);
	for (int i = 0; i < 2; i++) {
		assert_true(core_network(t.n[i].core, "same", &a) && prefix_eq(a.subnet, subnet("10.32.64.0/20")));
		assert_true(core_network(t.n[i].core, "differs", &b) && prefix_eq(b.subnet, subnet("10.32.96.0/20")));
		nodes_check(&t, i);
	}
	assert_false(own(&t, 0, "same"));   /* the higher host's is enough */
	assert_true(own(&t, 0, "differs")); /* but here are containers */
	assert_int_equal(records(&t, 0), 3);
	nodes_free(&t);
}

static void it_is_said_when_subnets_differ(void **state)
{
	struct nodes t;
	struct item x;

	(void)state;
	nodes_init(&t);
	nodes_start(&t, 0);
	assert_int_equal(create(&t, 0, "blue", "10.32.80.0/20"), ERR_OK);
	t.n[0].note[0] = '\0';
	hear(&t, 0, said(&x, LOW, 1, "blue", 1, PRESENT, 9, "10.32.96.0/20")); /* a lower host's: ours holds */
	assert_string_equal(t.n[0].note, "");
	hear(&t, 0, said(&x, OTHER, 1, "blue", 1, PRESENT, 9, "10.32.96.0/20"));
	assert_non_null(strstr(t.n[0].note, "0a:00:00:00:00:01"));
	assert_non_null(strstr(t.n[0].note, "10.32.96.0/20, no longer 10.32.80.0/20"));
	assert_int_equal(number(&t, 0, "blue"), 9);
	assert_false(own(&t, 0, "blue"));
	nodes_check(&t, 0);
	nodes_free(&t);
}

static void removed_on_one_side(void **state)
{
	struct nodes t;

	(void)state;
	two(&t);
	assert_int_equal(create(&t, 1, "empty", NULL), ERR_OK);
	assert_int_equal(create(&t, 1, "used", "10.32.64.0/20"), ERR_OK);
	nodes_run(&t, 100);
	uint16_t before = number(&t, 0, "used");
	cut(&t, true);
	assert_int_equal(nodes_attach(&t, 1, in("used", "c", 7)), ERR_OK);
	assert_int_equal(removal(&t, 0, "empty"), ERR_OK);
	assert_int_equal(removal(&t, 0, "used"), ERR_OK); /* knows of no container */
	assert_int_equal(count(&t, 0), 0);
	assert_int_equal(count(&t, 1), 2);
	/* who removed it keeps saying so over a restart of its own, though it has heard nothing of the other since */
	nodes_kill(&t, 0);
	nodes_start(&t, 0);
	nodes_run(&t, 40000);
	assert_int_equal(nodes_kept(&t.n[0], "network/"), 2);
	cut(&t, false);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(number(&t, i, "empty"), 0);
		assert_int_equal(number(&t, i, "used"), before);
		assert_int_equal(records(&t, i), 1); /* the removal of the other is forgotten */
		nodes_check(&t, i);
	}
	assert_int_equal(nodes_kept(&t.n[0], "network/"), 0);
	assert_int_equal(removal(&t, 0, "used"), ERR_BUSY);
	nodes_free(&t);
}

static void created_again(void **state)
{
	struct nodes t;
	struct core_network n;

	(void)state;
	two(&t);
	assert_int_equal(create(&t, 0, "blue", "10.32.64.0/20"), ERR_OK);
	nodes_run(&t, 100);
	cut(&t, true); /* the first host's record stays with the second one */
	assert_int_equal(removal(&t, 1, "blue"), ERR_OK);
	assert_int_equal(create(&t, 1, "blue", "10.32.80.0/20"), ERR_OK);
	cut(&t, false);
	for (int i = 0; i < 2; i++)
		assert_true(core_network(t.n[i].core, "blue", &n) && prefix_eq(n.subnet, subnet("10.32.80.0/20")));
	assert_int_equal(records(&t, 0), 1);
	assert_false(own(&t, 0, "blue"));
	nodes_free(&t);
}

/* Its record must not come back through a third that was cut off all the while. */
static void a_third_host_remembers(void **state)
{
	struct nodes t;

	(void)state;
	nodes_init(&t);
	for (int i = 0; i < 3; i++)
		nodes_start(&t, i);
	nodes_connect(&t, 0, 1);
	nodes_connect(&t, 1, 2);
	nodes_run(&t, 3000);
	assert_int_equal(create(&t, 0, "blue", NULL), ERR_OK);
	nodes_run(&t, 1000);
	assert_int_equal(count(&t, 2), 1);
	nodes_kill(&t, 2);
	assert_int_equal(removal(&t, 1, "blue"), ERR_OK);
	nodes_run(&t, 1000);
	assert_int_equal(records(&t, 0), 0);
	assert_int_equal(records(&t, 1), 0);
	nodes_start(&t, 2);
	nodes_run(&t, 40000);
	for (int i = 0; i < 3; i++)
		assert_int_equal(count(&t, i), 0);
	nodes_free(&t);
}

static void whoever_removed_it_is_patient(void **state)
{
	struct nodes t;
	struct item x;

	(void)state;
	nodes_init(&t);
	nodes_start(&t, 0);
	hear(&t, 0, said(&x, OTHER, 5, "blue", 1, PRESENT, 9, NULL));
	assert_int_equal(count(&t, 0), 1);
	assert_int_equal(removal(&t, 0, "blue"), ERR_OK);
	assert_int_equal(count(&t, 0), 0);
	assert_true(own(&t, 0, "blue"));
	nodes_kill(&t, 0);
	nodes_start(&t, 0); /* knows nothing of the other now */
	assert_true(own(&t, 0, "blue"));
	/* another one turns up, and is to be waited for as well, also after the next restart */
	hear(&t, 0, said(&x, LOW, 1, "blue", 1, PRESENT, 9, NULL));
	nodes_kill(&t, 0);
	nodes_start(&t, 0);
	hear(&t, 0, said(&x, OTHER, 6, "blue", 1, PRESENT, 9, NULL));
	assert_int_equal(count(&t, 0), 0);
	hear(&t, 0, gone(&x, 7));
	assert_true(own(&t, 0, "blue"));
	hear(&t, 0, said(&x, LOW, 1, "blue", 1, PRESENT, 9, NULL));
	assert_int_equal(count(&t, 0), 0);
	hear(&t, 0, gone(&x, 2));
	assert_false(own(&t, 0, "blue"));
	/* or a floor: it has forgotten that it ever said so, or was forgotten */
	hear(&t, 0, said(&x, OTHER, 8, "red", 1, PRESENT, 9, NULL));
	assert_int_equal(removal(&t, 0, "red"), ERR_OK);
	x.it.key.n = 6;
	hear(&t, 0, gone(&x, 9));
	assert_false(own(&t, 0, "red"));
	assert_int_equal(map_count(t.n[0].core->networks), 0);
	nodes_check(&t, 0);
	nodes_free(&t);
}

/* --- numbers -------------------------------------------------------------------------------------------------------------------------------- */

static void numbers_that_collide(void **state)
{
	struct nodes t;
	struct item x;

	(void)state;
	nodes_init(&t);
	nodes_start(&t, 0);
	assert_int_equal(create(&t, 0, "m", NULL), ERR_OK);
	uint16_t m = number(&t, 0, "m");
	/* a higher name with our number: absent until its owner has given it another */
	hear(&t, 0, said(&x, OTHER, 1, "z", 1, PRESENT, m, NULL));
	assert_int_equal(number(&t, 0, "m"), m);
	assert_int_equal(number(&t, 0, "z"), 0);
	assert_int_equal(count(&t, 0), 1);
	/* whoever wants it gives it another, since its host cannot be reached */
	assert_int_equal(create(&t, 0, "z", NULL), ERR_OK);
	assert_int_not_equal(number(&t, 0, "z"), 0);
	assert_int_not_equal(number(&t, 0, "z"), m);
	/* a lower one keeps it, ours moves */
	hear(&t, 0, said(&x, OTHER, 2, "a", 1, PRESENT, m, NULL));
	assert_int_equal(number(&t, 0, "a"), m);
	assert_int_not_equal(number(&t, 0, "m"), 0);
	assert_int_not_equal(number(&t, 0, "m"), m);
	assert_int_not_equal(number(&t, 0, "m"), number(&t, 0, "z"));
	assert_int_equal(count(&t, 0), 3);
	nodes_check(&t, 0);
	/* a network that we use, whose host cannot be reached: we do it for it */
	hear(&t, 0, said(&x, OTHER, 3, "u", 1, PRESENT, 77, NULL));
	assert_int_equal(nodes_attach(&t, 0, in("u", "c", 7)), ERR_OK);
	hear(&t, 0, said(&x, OTHER, 4, "b", 1, PRESENT, 77, NULL));
	assert_int_equal(number(&t, 0, "b"), 77);
	assert_int_not_equal(number(&t, 0, "u"), 0);
	assert_int_not_equal(number(&t, 0, "u"), 77);
	nodes_check(&t, 0);
	nodes_free(&t);
}

static void numbers_over_a_partition(void **state)
{
	struct nodes t;
	struct item x;

	(void)state;
	two(&t);
	cut(&t, true);
	assert_int_equal(create(&t, 0, "b", NULL), ERR_OK);
	uint16_t b = number(&t, 0, "b");
	/* on the other side the hash of "a" comes to the same: as if all below were taken there */
	assert_int_equal(create(&t, 1, "a", NULL), ERR_OK);
	said(&x, t.n[1].name, 0, "a", 1, PRESENT, b, NULL);
	struct crdt_changes ch;
	crdt_changes_init(&ch, t.n[1].arena);
	assert_int_equal(crdt_map_put(t.n[1].core->maps[CHANNEL_NETWORKS], slice_str("a"), x.it.value, &ch), ERR_OK);
	assert_int_equal(networks_refresh(t.n[1].core, &ch), ERR_OK);
	cut(&t, false);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(number(&t, i, "a"), b);
		assert_int_not_equal(number(&t, i, "b"), b);
		assert_int_equal(number(&t, i, "b"), number(&t, !i, "b"));
		assert_int_equal(count(&t, i), 2);
	}
	nodes_free(&t);
}

/* --- a host that is gone for good -------------------------------------------------------------------------------------------------------------- */

static enum err takeover(struct nodes *t, int i, uint64_t peer)
{
	struct ipam_event take = { .kind = IPAM_TAKEOVER, .peer = peer };
	struct core_event ev = { .kind = CORE_IPAM, .ipam = &take };

	return nodes_ask(t, i, &ev);
}

static void networks_outlive_their_makers(void **state)
{
	struct nodes t;

	(void)state;
	two(&t);
	assert_int_equal(create(&t, 1, "blue", "10.32.64.0/20"), ERR_OK);
	assert_int_equal(create(&t, 0, "red", NULL), ERR_OK);
	nodes_run(&t, 1000);
	uint16_t blue = number(&t, 0, "blue");
	assert_int_not_equal(blue, 0);
	nodes_kill(&t, 1);
	nodes_run(&t, 30000);
	assert_int_equal(takeover(&t, 0, t.n[1].name), ERR_OK);
	assert_int_equal(number(&t, 0, "blue"), blue);
	assert_true(own(&t, 0, "blue"));
	assert_int_equal(count(&t, 0), 2);
	assert_int_equal(removal(&t, 0, "blue"), ERR_OK); /* nobody else says anything of it any more */
	assert_int_equal(records(&t, 0), 1);
	nodes_check(&t, 0);
	nodes_free(&t);
}

/* --- bytes ------------------------------------------------------------------------------------------------------------------------------------- */

static void what_cannot_be_read_is_passed_over(void **state)
{
	static const char *const names[] = { "weft", "a b", "a\n", "/", "-x" };
	struct nodes t;
	struct item x;
	uint64_t ctr = 1;

	(void)state;
	nodes_init(&t);
	nodes_start(&t, 0);
	said(&x, OTHER, ctr, "blue", 1, PRESENT, 9, "10.32.64.0/20");
	size_t len = x.it.value.n;
	for (size_t n = 0; n < len; n++) {
		said(&x, OTHER, ctr++, "blue", 1, PRESENT, 9, "10.32.64.0/20");
		x.it.value.n = n;
		hear(&t, 0, &x.it);
		assert_int_equal(count(&t, 0), 0);
	}
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		hear(&t, 0, said(&x, OTHER, ctr++, names[i], 1, PRESENT, 9, NULL));
	hear(&t, 0, said(&x, OTHER, ctr++, "blue", 1, PRESENT, 0, NULL));
	hear(&t, 0, said(&x, OTHER, ctr++, "blue", 0, PRESENT, 9, NULL));
	hear(&t, 0, said(&x, OTHER, ctr++, "blue", UINT64_C(1) << 40, PRESENT, 9, NULL));
	hear(&t, 0, said(&x, OTHER, ctr++, "blue", 1, 3, 9, NULL));
	hear(&t, 0, said(&x, OTHER, ctr++, "blue", 1, PRESENT, 9, "10.32.64.1/20"));
	hear(&t, 0, said(&x, OTHER, ctr++, "blue", 1, PRESENT, 9, "fd00::/64"));
	said(&x, OTHER, ctr++, "blue", 1, PRESENT, 9, NULL);
	x.value[0] = 2;
	hear(&t, 0, &x.it);
	assert_int_equal(count(&t, 0), 0);
	said(&x, OTHER, ctr++, "blue", 1, PRESENT, 9, NULL); /* a later version has more to say */
	x.it.value.n += 5;
	hear(&t, 0, &x.it);
	assert_int_equal(number(&t, 0, "blue"), 9);
	said(&x, OTHER, ctr++, "blue", 1, PRESENT, 9, NULL);
	x.it.value.n = 3;
	hear(&t, 0, &x.it);
	assert_int_equal(count(&t, 0), 0);
	nodes_check(&t, 0);
	nodes_free(&t);
}

static void golden(void **state)
{
	static const uint8_t want[] = { 1, 0, 9, 2, 2, 4, 10, 32, 64, 0, 20, 0, 0, 1, 0x0a, 0, 0, 0, 0, 1 };
	struct nodes t;
	struct item x;

	(void)state;
	nodes_init(&t);
	nodes_start(&t, 0);
	hear(&t, 0, said(&x, OTHER, 5, "blue", 1, PRESENT, 9, "10.32.64.0/20"));
	assert_int_equal(removal(&t, 0, "blue"), ERR_OK);
	const struct record *r = nodes_record(&t.n[0], "network/blue");
	assert_int_equal(r->value_len, sizeof(want));
	assert_memory_equal(r->value, want, sizeof(want));
	nodes_free(&t);
}

static void broken_records_are_refused(void **state)
{
	struct nodes t;
	struct err_note note;

	(void)state;
	nodes_init(&t);
	nodes_start(&t, 0);
	assert_int_equal(create(&t, 0, "blue", "10.32.64.0/20"), ERR_OK);
	nodes_kill(&t, 0);
	struct core_cfg cfg = nodes_cfg(&t, 0);
	const struct record *r = nodes_record(&t.n[0], "network/");
	assert_int_equal(core_new(&t.n[0].core, &cfg, t.now, &note), ERR_OK);
	for (size_t n = 0; n < r->value_len; n++)
		assert_int_equal(core_restore(t.n[0].core, slice_of(r->key, r->key_len), slice_of(r->value, n), &note), ERR_MALFORMED);
	assert_int_equal(
		core_restore(t.n[0].core, slice_str("network/weft"), slice_of(r->value, r->value_len), &note), ERR_MALFORMED);
	assert_int_equal(core_restore(t.n[0].core, slice_str("network/a b"), slice_of(r->value, r->value_len), &note), ERR_MALFORMED);
	nodes_free(&t);
}

/* --- laws ------------------------------------------------------------------------------------------------------------------------------------- */

static void same_view(const struct nodes *t, int i, int j)
{
	struct core_network a, b;
	size_t x = 0, y = 0;

	while (core_next_network(t->n[i].core, &x, &a)) {
		assert_true(core_next_network(t->n[j].core, &y, &b));
		assert_string_equal(a.name, b.name);
		assert_int_equal(a.number, b.number);
		assert_true(prefix_eq(a.subnet, b.subnet));
	}
	assert_false(core_next_network(t->n[j].core, &y, &b));
}

/* Whatever several say, in whatever order and however often it is heard, the same is taken for true, and no number is used twice. */
static void any_order(void **state)
{
	enum { ITEMS = 12, ROUNDS = 10000 };
	static const char *const names[] = { "a", "b", "c" };
	static const char *const nets[] = { NULL, "10.32.64.0/20", "10.32.80.0/20" };
	uint64_t seed = (uint64_t)time(NULL);
	struct rng rng;
	struct nodes t;

	(void)state;
	print_message("seed %llu\n", (unsigned long long)seed);
	rng_seed(&rng, seed);
	nodes_init(&t);
	for (int i = 0; i < 2; i++)
		nodes_start(&t, i);
	for (uint64_t round = 0; round < ROUNDS; round++) {
		static struct item items[ITEMS];
		size_t order[ITEMS];
		for (size_t i = 0; i < ITEMS; i++) {
			uint64_t owner = OTHER + rng_below(&rng, 3);
			said(&items[i], owner, round * ITEMS + i + 1, names[rng_below(&rng, 3)], 1 + rng_below(&rng, 4),
				rng_chance(&rng, 700000) ? PRESENT : REMOVED, (uint16_t)(1 + rng_below(&rng, 2)), nets[rng_below(&rng, 3)]);
			if (rng_chance(&rng, 150000))
				gone(&items[i], items[i].it.stamp.ctr);
			order[i] = i;
		}
		for (int n = 0; n < 2; n++) {
			rng_shuffle(&rng, order, ITEMS, sizeof(order[0]));
			for (size_t i = 0; i < ITEMS; i++)
				hear(&t, n, &items[order[i]].it);
			hear(&t, n, &items[order[rng_below(&rng, ITEMS)]].it);
		}
		same_view(&t, 0, 1);
		struct core_network x;
		bool seen[3] = { false };
		for (size_t it = 0; core_next_network(t.n[0].core, &it, &x);) {
			assert_false(seen[x.number]);
			seen[x.number] = true;
		}
	}
	for (int i = 0; i < 2; i++)
		nodes_check(&t, i);
	nodes_free(&t);
}

/* Hosts that do anything while cut off from each other, lose what is sent, and restart, agree once they meet; what containers are in is
 * there; nothing is said of what is not. */
static void partitions(void **state)
{
	enum { HOSTS = 3, STEPS = 25, ROUNDS = 40 };
	static const char *const names[] = { "a", "b", "c" };
	static const char *const nets[] = { NULL, "10.32.64.0/20" };
	uint64_t seed = (uint64_t)time(NULL);
	struct rng rng;

	(void)state;
	print_message("seed %llu\n", (unsigned long long)seed);
	rng_seed(&rng, seed);
	for (int round = 0; round < ROUNDS; round++) {
		struct nodes t;
		char ident[16];
		nodes_init(&t);
		for (int i = 0; i < HOSTS; i++)
			nodes_start(&t, i);
		nodes_connect(&t, 0, 1);
		nodes_connect(&t, 1, 2);
		nodes_connect(&t, 2, 0);
		nodes_run(&t, 5000);
		for (int step = 0; step < STEPS; step++) {
			int i = (int)rng_below(&rng, HOSTS);
			const char *name = names[rng_below(&rng, 3)];
			struct core_network n;
			snprintf(ident, sizeof(ident), "c%d-%s", i, name);
			switch (rng_below(&rng, 8)) {
			case 0:
			case 1: (void)create(&t, i, name, nets[rng_below(&rng, 2)]); break;
			case 2: (void)removal(&t, i, name); break;
			case 3:
				if (core_network(t.n[i].core, name, &n))
					assert_int_equal(nodes_attach(&t, i, in(name, ident, (unsigned)(i * 10 + name[0]))), ERR_OK);
				break;
			case 4: assert_int_equal(nodes_detach(&t, i, ident, (struct ip){ 0 }), ERR_OK); break;
			case 5:
				nodes_kill(&t, i);
				nodes_start(&t, i);
				break;
			case 6: t.cut = !t.cut; break;
			default: nodes_run(&t, rng_below(&rng, 8000)); break;
			}
		}
		t.cut = false;
		nodes_run(&t, 90000);
		for (int i = 0; i < HOSTS; i++) {
			const struct core_endpoint *e;
			struct core_network n;
			same_view(&t, 0, i);
			nodes_check(&t, i);
			for (size_t it = 0; core_next_local(t.n[i].core, &it, &e);)
				assert_true(core_network(t.n[i].core, e->network, &n));
			/* at most one record of whoever made a network, and one for each host with containers there */
			assert_true(records(&t, i) <= count(&t, i) + map_count(t.n[i].core->endpoints));
		}
		nodes_free(&t);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(made_and_removed),
		cmocka_unit_test(what_is_refused),
		cmocka_unit_test(in_use),
		cmocka_unit_test(restarts),
		cmocka_unit_test(automatic_ones),
		cmocka_unit_test(one_name_on_both_sides),
		cmocka_unit_test(it_is_said_when_subnets_differ),
		cmocka_unit_test(removed_on_one_side),
		cmocka_unit_test(created_again),
		cmocka_unit_test(a_third_host_remembers),
		cmocka_unit_test(whoever_removed_it_is_patient),
		cmocka_unit_test(numbers_that_collide),
		cmocka_unit_test(numbers_over_a_partition),
		cmocka_unit_test(networks_outlive_their_makers),
		cmocka_unit_test(what_cannot_be_read_is_passed_over),
		cmocka_unit_test(golden),
		cmocka_unit_test(broken_records_are_refused),
		cmocka_unit_test(any_order),
		cmocka_unit_test(partitions),
	};

	return sodium_init() < 0 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
