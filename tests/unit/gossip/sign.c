/* What a member may say in another's name: nothing. Forged, changed and repeated things, keys that change hands, and items that come before their keys. */
#include "tests/unit/gossip/rogue.h"

#define V(text)                                   \
	&(struct slice)                               \
	{                                             \
		(const uint8_t *)(text), sizeof(text) - 1 \
	}

static bool settled(const struct net *t)
{
	return net_full_mesh(t) && net_equal(t);
}

/* A full mesh, and one more who has said its key to node 0 and nothing to all. */
static void begin_unpublished(struct net *t, struct rogue *r, int nodes, uint64_t seed)
{
	net_init(t, nodes, seed);
	for (int i = 0; i < nodes; i++) {
		net_start(t, i);
		if (i > 0)
			assert_int_equal(net_connect(t, i, i - 1), ERR_OK);
	}
	assert_true(net_until(t, 2000, settled) != UINT64_MAX);
	rogue_open(t, r, UINT64_C(1) << 50);
	rogue_hello(t, r);
}

static void begin(struct net *t, struct rogue *r, int nodes, uint64_t seed)
{
	begin_unpublished(t, r, nodes, seed);
	rogue_publish(t, r);
}

static void end(struct net *t, struct rogue *r)
{
	assert_false(r->closed);
	rogue_close(t, r);
	net_free(t);
}

static uint64_t refused(const struct net *t, int i, enum gossip_refused why)
{
	return gossip_counters(t->n[i].g)->refused[why];
}

static const uint8_t *secret_of(const struct net *t, uint64_t name, uint8_t secret_key[64])
{
	uint8_t public_key[32];
	net_pair(t, name, public_key, secret_key);
	return secret_key;
}

/* The value of an item of `owner` that node i has; n == 0: none. */
static struct slice value_at(const struct net *t, int i, uint64_t owner, const char *subkey)
{
	uint8_t mem[CRDT_KEY_MAX];
	struct wbuf w;
	struct crdt_item it;
	wbuf_fixed(&w, mem, sizeof mem);
	wbuf_u48(&w, owner);
	wbuf_bytes(&w, subkey, strlen(subkey));
	return crdt_map_get(t->n[i].names, wbuf_slice(&w), &it) && it.live ? it.value : slice_of(NULL, 0);
}

/* A member passes on what another has signed, and nothing that he has not. */
static void forged_and_changed(void **state)
{
	struct net t;
	struct rogue r;
	struct made m;
	uint8_t key[64];

	(void)state;
	begin(&t, &r, 3, 1);
	uint64_t owner = t.n[1].name, inc = t.n[1].incarnation;
	(void)secret_of(&t, owner, key);
	rogue_item(&t, &r, CHANNEL_NAMES,
		rogue_make(&m, CHANNEL_NAMES, owner, "a", (struct stamp){ inc, 100 }, V("forged"), owner, r.secret_key));
	assert_int_equal(value_at(&t, 0, owner, "a").n, 0);
	assert_int_equal(refused(&t, 0, REFUSED_SIGNATURE), 1);

	const struct crdt_item *it = rogue_make(&m, CHANNEL_NAMES, owner, "a", (struct stamp){ inc, 100 }, V("true"), owner, key);
	struct crdt_item changed[6] = { *it, *it, *it, *it, *it, *it };
	changed[0].value = slice_str("false");
	changed[1].stamp.ctr++;
	changed[2].live = false;
	changed[2].value = slice_of(NULL, 0);
	changed[3].key = slice_of((const uint8_t *)"\2\0\0\0\0\2b", 7); /* another key of his */
	changed[4].proof = slice_of(it->proof.p, 63);
	changed[5].proof = slice_of(NULL, 0);
	for (size_t i = 0; i < 6; i++)
		rogue_item(&t, &r, CHANNEL_NAMES, &changed[i]);
	assert_int_equal(refused(&t, 0, REFUSED_SIGNATURE), 5);
	assert_int_equal(refused(&t, 0, REFUSED_PROOF), 2);
	/* signed for another channel; by another, who says so, but it is no floor */
	rogue_item(
		&t, &r, CHANNEL_NAMES, rogue_make(&m, CHANNEL_USAGE, owner, "a", (struct stamp){ inc, 100 }, V("true"), owner, key));
	assert_int_equal(refused(&t, 0, REFUSED_SIGNATURE), 6);
	rogue_item(&t, &r, CHANNEL_NAMES,
		rogue_make(&m, CHANNEL_NAMES, owner, "a", (struct stamp){ inc, 100 }, V("x"), ROGUE, r.secret_key));
	assert_int_equal(refused(&t, 0, REFUSED_PROOF), 3);
	rogue_run(&t, &r, 1000);
	for (int i = 0; i < 3; i++)
		assert_int_equal(value_at(&t, i, owner, "a").n, 0);

	rogue_item(
		&t, &r, CHANNEL_NAMES, rogue_make(&m, CHANNEL_NAMES, owner, "a", (struct stamp){ inc, 100 }, V("true"), owner, key));
	assert_true(slice_eq(value_at(&t, 0, owner, "a"), slice_str("true")));
	assert_int_equal(refused(&t, 0, REFUSED_SIGNATURE), 6);
	end(&t, &r);
}

/* Whoever signs his own items badly is believed for a short while by those whom he tells himself, by nobody else, and after that by nobody. */
static void bad_signatures_of_ones_own(void **state)
{
	struct net t;
	struct rogue r;
	struct made m;
	uint8_t other[64];

	(void)state;
	begin(&t, &r, 3, 2);
	(void)secret_of(&t, t.n[2].name, other);
	rogue_item(
		&t, &r, CHANNEL_NAMES, rogue_make(&m, CHANNEL_NAMES, ROGUE, "good", (struct stamp){ 1, 5 }, V("v"), ROGUE, r.secret_key));
	rogue_item(&t, &r, CHANNEL_NAMES, rogue_make(&m, CHANNEL_NAMES, ROGUE, "bad", (struct stamp){ 1, 6 }, V("v"), ROGUE, other));
	assert_int_equal(value_at(&t, 0, ROGUE, "bad").n, 1);
	rogue_run(&t, &r, 4 * PROVE_AFTER_MS);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(value_at(&t, i, ROGUE, "bad").n, 0);
		assert_int_equal(value_at(&t, i, ROGUE, "good").n, 1);
		assert_int_equal(crdt_map_trusted(t.n[i].names), 0);
	}
	uint64_t before = refused(&t, 0, REFUSED_SIGNATURE);
	rogue_item(&t, &r, CHANNEL_NAMES, &m.it);
	assert_int_equal(value_at(&t, 0, ROGUE, "bad").n, 0);
	assert_int_equal(refused(&t, 0, REFUSED_SIGNATURE), before + 1);
	assert_true(net_equal(&t));
	end(&t, &r);
}

/* An item comes before the key of its owner: held back, asked for again soon but not often, taken when the key is known. */
static void before_the_key(void **state)
{
	struct net t;
	struct rogue r;
	struct made m;
	uint8_t key[64];

	(void)state;
	begin(&t, &r, 2, 3);
	(void)secret_of(&t, 0x77, key);
	rogue_item(&t, &r, CHANNEL_NAMES, rogue_make(&m, CHANNEL_NAMES, 0x77, "a", (struct stamp){ 1, 1 }, V("v"), 0x77, key));
	assert_int_equal(value_at(&t, 0, 0x77, "a").n, 0);
	assert_int_equal(refused(&t, 0, REFUSED_NO_KEY), 1);
	uint64_t asked = r.recons[CHANNEL_NAMES];
	rogue_run(&t, &r, 2 * LATER_MIN_MS);
	assert_int_equal(r.recons[CHANNEL_NAMES], asked + 1);
	for (uint64_t until = t.now + 20000; t.now < until;) { /* whoever goes on so is not asked at each */
		rogue_item(&t, &r, CHANNEL_NAMES, &m.it);
		rogue_run(&t, &r, 100);
	}
	assert_in_range(r.recons[CHANNEL_NAMES], asked + 4, asked + 12);
	net_plant_info(&t, 1, 0x77);
	rogue_run(&t, &r, 2 * LATER_MIN_MS);
	rogue_item(&t, &r, CHANNEL_NAMES, &m.it);
	assert_int_equal(value_at(&t, 0, 0x77, "a").n, 1);
	end(&t, &r);
}

static void info_of(struct made *m, uint8_t mem[512], const struct net *t, int i, uint64_t ctr, const uint8_t public_key[32],
	const uint8_t secret_key[64])
{
	struct peer_info info = { .name = t->n[i].name, .nickname = "new", .uid = 4712 };
	struct wbuf w;
	memcpy(info.sign_key, public_key, sizeof info.sign_key);
	wbuf_fixed(&w, mem, 512);
	gossip_peer_info_encode(&w, &info);
	struct slice value = wbuf_slice(&w);
	(void)rogue_make(m, CHANNEL_PEERS, info.name, "i", (struct stamp){ 90, ctr }, &value, info.name, secret_key);
}

/* Another key for a name: not while its holder can be reached, whatever the stamp; its holder hears that somebody tries. */
static void key_of_a_name(void **state)
{
	struct net t;
	struct rogue r;
	struct made m;
	struct peer_info info;
	uint8_t mem[512], public_key[32], secret_key[64];

	(void)state;
	begin(&t, &r, 3, 4);
	gossip_prover_ed25519.pair((const uint8_t[32]){ 3 }, public_key, secret_key);
	info_of(&m, mem, &t, 2, 1, public_key, r.secret_key); /* not signed by the key that it names */
	rogue_item(&t, &r, CHANNEL_PEERS, &m.it);
	assert_int_equal(refused(&t, 0, REFUSED_SIGNATURE), 1);
	rogue_run(&t, &r, 1000);
	assert_false(t.n[2].contested);
	info_of(&m, mem, &t, 2, 1, public_key, secret_key);
	rogue_item(&t, &r, CHANNEL_PEERS, &m.it);
	assert_int_equal(refused(&t, 0, REFUSED_OTHER_KEY), 1);
	assert_true(gossip_peer(t.n[0].g, t.n[2].name, &info) && memcmp(info.sign_key, public_key, 32) != 0);
	rogue_run(&t, &r, 1000);
	assert_true(t.n[2].contested);
	assert_true(gossip_reachable(t.n[0].g, t.n[2].name));
	net_kill(&t, 2, false);
	rogue_run(&t, &r, 500);
	assert_false(gossip_reachable(t.n[0].g, t.n[2].name));
	rogue_item(&t, &r, CHANNEL_PEERS, &m.it);
	assert_true(gossip_peer(t.n[0].g, t.n[2].name, &info) && memcmp(info.sign_key, public_key, 32) == 0);
	rogue_run(&t, &r, 500);
	assert_true(gossip_peer(t.n[1].g, t.n[2].name, &info) && memcmp(info.sign_key, public_key, 32) == 0);
	end(&t, &r);
}

static bool all_has(const struct net *t)
{
	return net_has(t, 0, 2, "k", "new") && net_equal(t) && gossip_reachable(t->n[0].g, t->n[2].name);
}

/* A name goes to another host with another key, of which the far end of a chain only hears: what the neighbour says of the new link is no sign
 * of life of the former holder. */
static void key_changes_far_away(void **state)
{
	(void)state;
	for (uint64_t seed = 0; seed < 10; seed++) {
		struct net t;
		net_init(&t, 3, 50 + seed);
		t.discovery = false;
		for (int i = 0; i < 3; i++)
			net_start(&t, i);
		assert_int_equal(net_connect(&t, 0, 1), ERR_OK);
		assert_int_equal(net_connect(&t, 2, 1), ERR_OK);
		net_run(&t, 2000);
		assert_int_equal(net_put(&t, 2, "k", "old"), ERR_OK);
		net_run(&t, 100);
		assert_true(net_has(&t, 0, 2, "k", "old"));
		net_kill(&t, 2, seed % 2 == 0);
		net_run(&t, seed < 5 ? 100 : 5000);
		net_start_key(&t, 2, 77);
		assert_int_equal(net_connect(&t, 2, 1), ERR_OK);
		assert_int_equal(net_put(&t, 2, "k", "new"), ERR_OK);
		/* Refused while the link of its former self was not known to be dead, it tries again rarely. */
		assert_true(net_until(&t, 90000, all_has) != UINT64_MAX);
		net_free(&t);
	}
}

/* Somebody wants a peer forgotten: not as long as it can be reached. */
static void floors_of_others(void **state)
{
	struct net t;
	struct rogue r;
	struct made m;
	uint8_t other[64];

	(void)state;
	begin(&t, &r, 3, 5);
	uint64_t owner = t.n[1].name;
	struct stamp all = { t.n[1].incarnation, UINT64_MAX };
	(void)secret_of(&t, t.n[2].name, other);
	assert_int_equal(net_put(&t, 1, "k", "1"), ERR_OK);
	net_run(&t, 100);
	assert_true(net_has(&t, 0, 1, "k", "1"));
	rogue_item(&t, &r, CHANNEL_NAMES, rogue_make(&m, CHANNEL_NAMES, owner, "", all, NULL, ROGUE, r.secret_key));
	assert_int_equal(refused(&t, 0, REFUSED_FLOOR), 1);
	rogue_item(
		&t, &r, CHANNEL_NAMES, rogue_make(&m, CHANNEL_NAMES, owner, "", all, NULL, owner, r.secret_key)); /* as if by itself */
	assert_int_equal(refused(&t, 0, REFUSED_SIGNATURE), 1);
	rogue_run(&t, &r, 2000);
	for (int i = 0; i < 3; i++)
		assert_true(net_has(&t, i, 1, "k", "1"));
	net_kill(&t, 1, false);
	rogue_run(&t, &r, 500);
	rogue_item(&t, &r, CHANNEL_NAMES,
		rogue_make(&m, CHANNEL_NAMES, owner, "", all, NULL, ROGUE, other)); /* in the name of one who could say */
	assert_int_equal(refused(&t, 0, REFUSED_SIGNATURE), 2);
	struct stamp end_of_all = { UINT64_MAX, UINT64_MAX }; /* it could never write again */
	rogue_item(&t, &r, CHANNEL_NAMES, rogue_make(&m, CHANNEL_NAMES, owner, "", end_of_all, NULL, ROGUE, r.secret_key));
	assert_int_equal(refused(&t, 0, REFUSED_PROOF), 1);
	assert_true(net_has(&t, 0, 1, "k", "1"));
	rogue_item(&t, &r, CHANNEL_NAMES, rogue_make(&m, CHANNEL_NAMES, owner, "", all, NULL, ROGUE, r.secret_key));
	rogue_run(&t, &r, 1000);
	assert_false(net_has(&t, 0, 1, "k", "1") || net_has(&t, 2, 1, "k", "1"));
	/* Back, it has what it puts. */
	net_start(&t, 1);
	assert_int_equal(net_connect(&t, 1, 0), ERR_OK);
	assert_int_equal(net_put(&t, 1, "k", "2"), ERR_OK);
	rogue_run(&t, &r, 5000);
	assert_true(net_has(&t, 0, 1, "k", "2") && net_has(&t, 2, 1, "k", "2"));
	end(&t, &r);
}

/* A host that died before anybody had its key has left its neighbour what no other takes: the neighbour forgets it, for all to see, and no sooner than the
 * owner has been away for long. */
static void what_nobody_can_prove(void **state)
{
	struct net t;
	struct rogue r;
	struct made m;
	uint8_t key[6];
	struct wbuf w;
	struct crdt_item it;

	(void)state;
	begin_unpublished(&t, &r, 3, 11);
	wbuf_fixed(&w, key, sizeof key);
	wbuf_u48(&w, ROGUE);
	/* Its floor in `peers` is all that is left of it: no item that says its key. */
	rogue_item(
		&t, &r, CHANNEL_PEERS, rogue_make(&m, CHANNEL_PEERS, ROGUE, "", (struct stamp){ 9, 0 }, NULL, ROGUE, r.secret_key));
	assert_true(crdt_map_get(t.n[0].peers, wbuf_slice(&w), &it));
	assert_int_equal(it.stamp.inc, 9);
	rogue_close(&t, &r);
	net_run(&t, UNPROVED_AFTER_MS / 2);
	assert_true(crdt_map_get(t.n[0].peers, wbuf_slice(&w), &it));
	assert_int_equal(it.stamp.ctr, 0);
	assert_false(net_equal(&t)); /* else this shows nothing */
	assert_true(net_until(&t, UNPROVED_AFTER_MS + 3 * GOSSIP_RECON_MS, net_equal) != UINT64_MAX);
	for (int i = 0; i < 3; i++) {
		assert_true(crdt_map_get(t.n[i].peers, wbuf_slice(&w), &it));
		assert_true(it.stamp.inc == 9 && it.stamp.ctr == UINT64_MAX);
		assert_int_equal(crdt_proof_writer(it.proof), t.n[0].name);
	}
	net_free(&t);
}

/* Under our own name: what our key has not signed may be our former self's, so it is superseded, but never so that we run out of stamps, and not in
 * any number. */
static void under_our_own_name(void **state)
{
	struct net t;
	struct rogue r;
	struct made m;

	(void)state;
	begin(&t, &r, 2, 6);
	uint64_t self = t.n[0].name;
	rogue_item(&t, &r, CHANNEL_NAMES,
		rogue_make(&m, CHANNEL_NAMES, self, "x", (struct stamp){ UINT64_MAX, 7 }, V("v"), self, r.secret_key));
	assert_int_equal(refused(&t, 0, REFUSED_SIGNATURE), 1);
	for (int i = 0; i < 4 * FORMER_BURST; i++) {
		char sub[8];
		(void)snprintf(sub, sizeof sub, "f%d", i);
		rogue_item(&t, &r, CHANNEL_NAMES,
			rogue_make(&m, CHANNEL_NAMES, self, sub, (struct stamp){ UINT64_MAX / 2, UINT64_MAX }, V("v"), self, r.secret_key));
	}
	assert_in_range(crdt_map_count(t.n[0].names), FORMER_BURST / 2, FORMER_BURST + 8);
	assert_int_equal(crdt_map_live(t.n[0].names), 0);
	assert_int_equal(net_put(&t, 0, "k", "1"), ERR_OK);
	rogue_run(&t, &r, 1000);
	assert_true(net_has(&t, 1, 0, "k", "1"));
	end(&t, &r);
}

static void say_unicast(struct net *t, struct rogue *r, struct message_unicast u, const uint8_t *secret_key)
{
	uint8_t mem[512];
	struct wbuf w;
	struct message m = { .type = MESSAGE_UNICAST, .u.unicast = u };
	if (secret_key) {
		struct gossip g = { .uid = u.uid, .serial = u.serial - 1, .prover = &gossip_prover_ed25519 };
		memcpy(g.sign_secret, secret_key, 64);
		gossip_sign_unicast(&g, &m.u.unicast);
	}
	wbuf_fixed(&w, mem, sizeof mem);
	assert_int_equal(gossip_message_encode(&w, &m), ERR_OK);
	rogue_say(t, r, mem, w.len);
}

/* A relay says who asks, but not what he did not, and not twice. */
static void relayed_unicasts(void **state)
{
	struct net t;
	struct rogue r;
	uint8_t key[64];

	(void)state;
	begin(&t, &r, 3, 7);
	struct node *n = &t.n[0];
	struct message_unicast u = { .from = t.n[1].name, .to = n->name, .hops = 3, .kind = 9, .payload = slice_str("give") };
	(void)secret_of(&t, t.n[1].name, key);
	say_unicast(&t, &r, u, NULL);
	u.uid = t.n[1].uid;
	u.serial = 5;
	say_unicast(&t, &r, u, r.secret_key);
	u.from = n->name;
	say_unicast(&t, &r, u, r.secret_key);
	u.from = 0x77; /* whoever that is */
	say_unicast(&t, &r, u, r.secret_key);
	assert_int_equal(n->unicasts, 0);
	assert_int_equal(refused(&t, 0, REFUSED_FROM), 4);

	u.from = t.n[1].name;
	say_unicast(&t, &r, u, key);
	assert_int_equal(n->unicasts, 1);
	assert_int_equal(n->last_from, u.from);
	say_unicast(&t, &r, u, key);
	assert_int_equal(refused(&t, 0, REFUSED_REPLAY), 1);
	u.serial = 3; /* overtaken */
	say_unicast(&t, &r, u, key);
	say_unicast(&t, &r, u, key);
	u.serial = 70;
	say_unicast(&t, &r, u, key);
	u.serial = 6; /* too old to tell */
	say_unicast(&t, &r, u, key);
	u.serial = 7;
	say_unicast(&t, &r, u, key);
	u.serial = UINT64_MAX;
	say_unicast(&t, &r, u, key);
	assert_int_equal(n->unicasts, 5);
	assert_int_equal(refused(&t, 0, REFUSED_REPLAY), 3);
	u.uid++; /* of another run */
	u.serial = 100;
	say_unicast(&t, &r, u, key);
	assert_int_equal(n->unicasts, 5);
	assert_int_equal(refused(&t, 0, REFUSED_REPLAY), 4);

	/* What it says itself needs nothing; what it passes on to others is theirs to judge. */
	u = (struct message_unicast){ .from = ROGUE, .to = n->name, .hops = 3, .kind = 9, .payload = slice_str("ask") };
	say_unicast(&t, &r, u, NULL);
	assert_int_equal(n->unicasts, 6);
	u.to = t.n[2].name;
	u.from = t.n[1].name;
	say_unicast(&t, &r, u, NULL);
	net_run(&t, 100);
	assert_int_equal(t.n[2].unicasts, 0);
	assert_int_equal(refused(&t, 2, REFUSED_FROM), 1);
	end(&t, &r);
}

/* What goes by a real relay arrives, and after the sender was started anew as well. */
static void honest_relay(void **state)
{
	struct net t;

	(void)state;
	net_init(&t, 3, 8);
	t.discovery = false;
	for (int i = 0; i < 3; i++)
		net_start(&t, i);
	assert_int_equal(net_connect(&t, 0, 1), ERR_OK);
	assert_int_equal(net_connect(&t, 2, 1), ERR_OK);
	net_run(&t, 2000);
	for (int i = 0; i < 100; i++)
		net_unicast(&t, 0, 2, 100);
	net_run(&t, 200);
	assert_int_equal(t.n[2].unicasts, 100);
	assert_int_equal(t.n[2].last_from, t.n[0].name);
	net_kill(&t, 0, false);
	net_run(&t, 1000);
	net_start(&t, 0);
	assert_int_equal(net_connect(&t, 0, 1), ERR_OK);
	net_run(&t, 5000);
	net_unicast(&t, 0, 2, 100);
	net_run(&t, 200);
	assert_int_equal(t.n[2].unicasts, 101);
	assert_int_equal(refused(&t, 2, REFUSED_FROM) + refused(&t, 2, REFUSED_REPLAY), 0);
	net_free(&t);
}

/* Bytes that are signed never change by accident: other versions of the program must find them good. */
static void golden(void **state)
{
	uint8_t secret[32] = { 1, 2, 3 }, public_key[32], secret_key[64], text[GOSSIP_SIGNED_MAX];
	struct made m;
	char out[256];

	(void)state;
	gossip_prover_ed25519.pair(secret, public_key, secret_key);
	const struct crdt_item *it = rogue_make(&m, CHANNEL_NAMES, 0x0a, "k", (struct stamp){ 2, 300 }, V("v"), 0x0a, secret_key);
	struct slice s = gossip_sign_text(CHANNEL_NAMES, 0x0a, it, text);
	assert_int_equal(s.n, 11 + 1 + 6 + 8 + 1 + 2 + 1 + 2);
	assert_string_equal(sodium_bin2hex(out, sizeof out, s.p, s.n),
		"77656674206974656d203105"
		"00000000000a"
		"0700000000000a6b"
		"02ac02"
		"01"
		"0176");
	assert_int_equal(it->proof.n, CRDT_SIGNATURE);
	assert_true(gossip_prover_ed25519.verify(public_key, s, it->proof.p));
	assert_string_equal(
		sodium_bin2hex(out, sizeof out, public_key, 32), "a9d9e5da75d0128d428f6ca1f8e39aa8a2b84ae42524966a537063b9887e0fd6");
	assert_string_equal(sodium_bin2hex(out, sizeof out, it->proof.p, it->proof.n),
		"ec544638e3d1db21d52ee93b4c72185bde8bd93b8b661083337175c03496f35ee92456f17bb65e15f6fb9765a7b02fe2fcb77b86cdf4ae03827642efc687c40b");
}

static void say_contest(struct net *t, struct rogue *r, uint64_t reporter)
{
	uint8_t mem[300];
	struct wbuf w;
	struct message m = { .type = MESSAGE_CONTEST,
		.u.contest = { .name = t->n[0].name,
			.uid = 4711,
			.incarnation = 1000,
			.hops = 3,
			.reporter = reporter,
			.reporter_uid = 1,
			.serial = 9 } };
	wbuf_fixed(&w, mem, sizeof mem);
	assert_int_equal(gossip_message_encode(&w, &m), ERR_OK);
	rogue_say(t, r, w.data, w.len);
}

/* That somebody else has our name is said in nobody else's name, and one member's word for it does not stop us for good. */
static void false_contests(void **state)
{
	struct net t;
	struct rogue r;
	struct made m;
	uint8_t mem[512], public_key[32], secret_key[64];

	(void)state;
	begin(&t, &r, 3, 8);
	say_contest(&t, &r, t.n[1].name);
	say_contest(&t, &r, t.n[0].name);
	say_contest(&t, &r, 0x99);
	assert_false(t.n[0].contested);
	assert_int_equal(refused(&t, 0, REFUSED_FROM), 2);
	uint64_t stopped = 0, minutes = 25;
	for (uint64_t k = 0; k < minutes * 120; k++) {
		say_contest(&t, &r, ROGUE);
		rogue_run(&t, &r, 500);
		stopped += t.n[0].contested ? 500 : 0;
	}
	print_message("stopped for %d s of %d\n", (int)(stopped / 1000), (int)minutes * 60);
	assert_in_range(stopped, CONTEST_HOLD_MS, CONTEST_REPORT_MS + CONTEST_HOLD_MS + 1000);
	assert_true(refused(&t, 0, REFUSED_CONTEST) > 0);
	gossip_prover_ed25519.pair((const uint8_t[32]){ 3 }, public_key, secret_key);
	for (uint64_t ctr = 1; ctr < 5; ctr++) {
		info_of(&m, mem, &t, 0, ctr, public_key, secret_key);
		rogue_item(&t, &r, CHANNEL_PEERS, &m.it);
		rogue_run(&t, &r, 100);
		assert_false(t.n[0].contested);
	}
	/* Our own key says so: a copy of us. */
	(void)secret_of(&t, t.n[0].name, secret_key);
	memcpy(public_key, t.n[0].g->sign_key, sizeof public_key);
	info_of(&m, mem, &t, 0, 9, public_key, t.n[0].g->sign_secret);
	rogue_item(&t, &r, CHANNEL_PEERS, &m.it);
	assert_true(t.n[0].contested);
	end(&t, &r);
}

/* Names can be made up, each with a key: of those that are only heard of there are so many, and no more. */
static void made_up_names(void **state)
{
	struct net t;
	struct rogue r;
	struct made m;
	uint8_t mem[512], public_key[32], secret_key[64];
	struct peer_info info;

	(void)state;
	begin(&t, &r, 2, 7);
	struct gossip *g = t.n[0].g;
	for (uint64_t name = 0x10000; g->n_peers < PEERS_HEARD_MAX - 2; name++)
		assert_non_null(gossip_peer_get(g, name));
	for (uint64_t name = 0x77; name < 0x7c; name++) {
		struct wbuf w;
		net_pair(&t, name, public_key, secret_key);
		info = (struct peer_info){ .name = name, .nickname = "ghost", .uid = name };
		memcpy(info.sign_key, public_key, sizeof info.sign_key);
		wbuf_fixed(&w, mem, sizeof mem);
		gossip_peer_info_encode(&w, &info);
		struct slice value = wbuf_slice(&w);
		rogue_item(
			&t, &r, CHANNEL_PEERS, rogue_make(&m, CHANNEL_PEERS, name, "i", (struct stamp){ 1, 1 }, &value, name, secret_key));
		assert_true(gossip_peer(g, name, &info) == (name < 0x79));
	}
	assert_int_equal(refused(&t, 0, REFUSED_NAMES), 3);
	assert_int_equal(g->n_peers, PEERS_HEARD_MAX);
	end(&t, &r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(forged_and_changed),
		cmocka_unit_test(bad_signatures_of_ones_own),
		cmocka_unit_test(before_the_key),
		cmocka_unit_test(key_of_a_name),
		cmocka_unit_test(key_changes_far_away),
		cmocka_unit_test(floors_of_others),
		cmocka_unit_test(what_nobody_can_prove),
		cmocka_unit_test(under_our_own_name),
		cmocka_unit_test(relayed_unicasts),
		cmocka_unit_test(honest_relay),
		cmocka_unit_test(golden),
		cmocka_unit_test(made_up_names),
		cmocka_unit_test(false_contests),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
