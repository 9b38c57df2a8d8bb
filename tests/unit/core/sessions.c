/* Sealed pairs, relays, and what is done with datagrams nobody should have sent. */
#include "nodes.h"

#include "tunnel/probe.h"

static void plain(struct core_cfg *cfg)
{
	cfg->offer.mtu = 1406;
}
static void password(struct core_cfg *cfg)
{
	cfg->offer.password = true;
}
static void alone(struct core_cfg *cfg)
{
	cfg->gossip.discovery = false;
}
static void alone_with_password(struct core_cfg *cfg)
{
	alone(cfg);
	password(cfg);
}

static const struct tunnel_counters *counted(const struct nodes *t, int i)
{
	return core_tunnel_counters(t->n[i].core);
}

static size_t sessions_of(const struct nodes *t, int i)
{
	size_t n = 0;

	for (size_t it = 0; core_next_session(t->n[i].core, &it) != NULL;)
		n++;
	return n;
}

/* What one seals the other opens, with the keys both would give to their data threads. */
static bool understood(const struct nodes *t, int from, int to)
{
	struct seal_keys *keys = nodes_hop(t, from, to).keys, *open = NULL, *k;
	uint8_t sealed[SEAL_OVERHEAD + 5], plain_text[5];
	struct wire_head h;
	struct slice payload;

	if (keys == NULL)
		return false;
	size_t n = seal_datagram(keys, 0, 0, 0, slice_str("frame"), sealed);
	assert_int_equal(n, sizeof(sealed));
	assert_int_equal(wire_read(slice_of(sealed, n), &h, &payload), FWD_PASSED);
	for (size_t it = 0; (k = core_next_session(t->n[to].core, &it)) != NULL;)
		if (seal_index(k) == h.index)
			open = k;
	return open != NULL && seal_open(open, &h, slice_of(sealed, n), plain_text) == FWD_PASSED &&
		memcmp(plain_text, "frame", 5) == 0;
}

static void with_a_password_keys_are_there_at_once_on_both_ends(void **state)
{
	struct nodes t;

	(void)state;
	nodes_init(&t);
	t.wire[0][1].delay_ms = t.wire[1][0].delay_ms = 20;
	assert_int_equal(nodes_try_start(&t, 0, true, password), ERR_OK);
	assert_int_equal(nodes_try_start(&t, 1, true, password), ERR_OK);
	nodes_connect(&t, 0, 1);
	nodes_run(&t, 30);
	assert_int_equal(nodes_path(&t, 0, 1).path, PATH_USERSPACE);
	assert_string_equal(nodes_path(&t, 0, 1).userspace.state, "not-probed-yet");
	assert_true(nodes_path(&t, 0, 1).encrypted);
	assert_false(nodes_hop(&t, 0, 1).vxlan_allowed);
	nodes_run(&t, 150);
	assert_true(understood(&t, 0, 1));
	assert_true(understood(&t, 1, 0));
	assert_true(nodes_path(&t, 0, 1).userspace.works && nodes_path(&t, 1, 0).userspace.works);
	assert_int_equal(nodes_path(&t, 0, 1).mtu, 1500 - 28 - 16 - 16 - 14);
	assert_int_equal(t.n[0].probes[CORE_VIA_VXLAN] + t.n[1].probes[CORE_VIA_VXLAN], 0);
	nodes_free(&t);
}

static void a_sealed_pair_never_takes_the_fast_path(void **state)
{
	struct nodes t;

	(void)state;
	nodes_pair(&t, password, password);
	t.wire[0][1].no_udp = true;
	nodes_talk(&t, 0, 1, 30000);
	assert_int_equal(nodes_path(&t, 0, 1).path, PATH_USERSPACE);
	assert_string_equal(nodes_path(&t, 0, 1).fast.state, "sealed-by-password");
	assert_string_equal(nodes_path(&t, 0, 1).reason, "no-answer-to-probes-and-nothing-else-works");
	assert_int_equal(t.n[0].probes[CORE_VIA_VXLAN], 0);
	t.wire[0][1].no_udp = false;
	nodes_talk(&t, 0, 1, 3000);
	assert_true(nodes_path(&t, 0, 1).userspace.works);
	nodes_free(&t);
}

static void without_an_answer_to_handshakes_it_says_so(void **state)
{
	struct nodes t;

	(void)state;
	nodes_init(&t);
	t.wire[0][1].no_udp = true;
	assert_int_equal(nodes_try_start(&t, 0, true, password), ERR_OK);
	assert_int_equal(nodes_try_start(&t, 1, true, password), ERR_OK);
	nodes_connect(&t, 0, 1);
	nodes_run(&t, 3000);
	assert_string_equal(nodes_path(&t, 0, 1).userspace.state, "no-answer-to-handshakes");
	assert_null(nodes_hop(&t, 0, 1).keys);
	nodes_free(&t);
}

/* Nobody talks: the session ends and is not made anew; a frame that waits for one brings it back. */
static void sessions_are_there_on_demand(void **state)
{
	struct nodes t;

	(void)state;
	nodes_pair(&t, password, password);
	assert_true(sessions_of(&t, 0) >= 1);
	size_t sent = t.n[0].probes[0] + t.n[1].probes[0];
	nodes_run(&t, 3600000);
	assert_int_equal(sessions_of(&t, 0), 0);
	assert_null(nodes_hop(&t, 0, 1).keys);
	assert_true(t.n[0].probes[0] + t.n[1].probes[0] - sent < 10); /* a renewal perhaps, since it was in use */
	assert_true(nodes_path(&t, 0, 1).userspace.works);
	struct core_event wanted = { .kind = CORE_WANTED, .peer = t.n[1].name };
	(void)nodes_step(&t, 0, &wanted);
	nodes_run(&t, 20);
	assert_true(understood(&t, 0, 1) && understood(&t, 1, 0));
	/* and in use it is renewed */
	nodes_talk(&t, 0, 1, 2 * TUNNEL_REKEY_MS + 10000);
	assert_true(counted(&t, 0)->renewed + counted(&t, 1)->renewed >= 2);
	assert_true(understood(&t, 0, 1) && understood(&t, 1, 0));
	assert_int_equal(t.n[0].changes, 1);
	nodes_free(&t);
}

static void a_peer_that_starts_anew_gets_new_keys(void **state)
{
	struct nodes t;

	(void)state;
	nodes_pair(&t, password, password);
	nodes_kill(&t, 1);
	nodes_run(&t, 200);
	assert_int_equal(nodes_path(&t, 0, 1).path, PATH_NONE);
	assert_int_equal(nodes_try_start(&t, 1, true, password), ERR_OK);
	nodes_connect(&t, 1, 0);
	nodes_run(&t, 2000);
	assert_true(understood(&t, 0, 1) && understood(&t, 1, 0));
	nodes_free(&t);
}

/* The mesh tells of a new run after that has made itself heard: its session stays. */
static void news_of_a_new_run_do_not_end_its_session(void **state)
{
	struct nodes t;
	struct core_actions acts;
	bool moved = false;

	(void)state;
	nodes_pair(&t, password, password);
	struct seal_keys *keys = nodes_hop(&t, 0, 1).keys;
	((struct peer_state *)map_get64(t.n[0].core->peers, t.n[1].name))->uid++;
	core_actions_init(&acts, t.n[0].arena);
	assert_int_equal(paths_refresh(t.n[0].core, &acts, &moved), ERR_OK);
	assert_true(moved);
	assert_ptr_equal(nodes_hop(&t, 0, 1).keys, keys);
	nodes_run(&t, 1000);
	assert_true(understood(&t, 0, 1) && understood(&t, 1, 0));
	nodes_free(&t);
}

/* The mesh knows nothing of the peer: what its owner wrote before the floor is gone, what it wrote since is not there yet, or nobody is. */
static void forgotten_by_the_mesh(struct nodes *t)
{
	uint8_t mem[6];
	struct core_actions acts;
	enum crdt_merge what;
	struct wbuf key;
	bool moved = false;

	wbuf_fixed(&key, mem, sizeof(mem));
	wbuf_u48(&key, t->n[1].name);
	struct crdt_item floor = { .key = wbuf_slice(&key), .stamp = { 1, UINT64_MAX >> 1 } };
	assert_int_equal(crdt_map_restore(t->n[0].core->maps[CHANNEL_PEERS], &floor, &what, NULL), ERR_OK);
	core_actions_init(&acts, t->n[0].arena);
	assert_int_equal(paths_refresh(t->n[0].core, &acts, &moved), ERR_OK);
}

static void a_peer_unknown_for_a_moment_keeps_its_session(void **state)
{
	struct nodes t;
	struct path_hop hop;

	(void)state;
	nodes_pair(&t, password, password);
	struct seal_keys *keys = nodes_hop(&t, 0, 1).keys;
	forgotten_by_the_mesh(&t);
	assert_ptr_equal(nodes_hop(&t, 0, 1).keys, keys);
	assert_true(understood(&t, 1, 0));
	/* its host does not say again who it is */
	nodes_kill(&t, 1);
	nodes_run(&t, PATH_UNKNOWN_MS / 2);
	assert_int_equal(nodes_hop(&t, 0, 1).path, PATH_NONE);
	nodes_run(&t, PATH_UNKNOWN_MS);
	assert_false(core_hop(t.n[0].core, t.n[1].name, &hop));
	assert_int_equal(sessions_of(&t, 0), 0);
	nodes_free(&t);
}

/* Somebody who has lost the session others still use asks for a new one as soon as he hears of that. */
static void a_session_only_one_end_has_is_made_anew(void **state)
{
	struct nodes t;
	struct tunnel_actions acts;

	(void)state;
	nodes_pair(&t, password, password);
	struct peer_state *p = map_get64(t.n[1].core->peers, t.n[0].name);
	tunnel_actions_init(&acts, t.n[1].arena);
	tunnel_forget(t.n[1].core->tunnel, p->name, &acts);
	assert_int_equal(tunnel_peer(t.n[1].core->tunnel, p->name, p->key, &acts), ERR_OK);
	nodes_traffic(&t, 0, 1);
	nodes_run(&t, 20);
	assert_true(understood(&t, 1, 0));
	nodes_talk(&t, 0, 1, 1500);
	assert_true(understood(&t, 0, 1));
	assert_int_equal(t.n[0].changes, 1);
	nodes_free(&t);
}

/* The end that answers may send as soon as it has heard one datagram in the session, so it is sent one though nobody has anything to say; and its data
 * threads know the session before that comes. */
static void a_session_is_confirmed_without_being_used(void **state)
{
	struct nodes t;
	struct core_actions acts;

	(void)state;
	nodes_pair(&t, password, password);
	nodes_run(&t, 3600000);
	assert_null(nodes_hop(&t, 1, 0).keys);
	t.wire[0][1].delay_ms = t.wire[1][0].delay_ms = 20;
	size_t before = t.n[1].forwardings;
	arena_reset(t.n[0].arena);
	core_actions_init(&acts, t.n[0].arena);
	assert_int_equal(sessions_want(t.n[0].core, map_get64(t.n[0].core->peers, t.n[1].name), &acts), ERR_OK);
	nodes_carry_out(&t, 0, &acts);
	nodes_run(&t, 30);
	assert_int_equal(sessions_of(&t, 1), 1);
	assert_int_equal(t.n[1].forwardings, before + 1);
	assert_null(nodes_hop(&t, 1, 0).keys);
	nodes_run(&t, 40);
	assert_true(understood(&t, 1, 0));
	assert_int_equal(t.n[1].forwardings, before + 2);
	nodes_free(&t);
}

/* --- relays ------------------------------------------------------------------------------------------------------------------------ */

/* 0 ─ 1 ─ 2, and nobody looks for others. */
static void chain(struct nodes *t, void (*change)(struct core_cfg *))
{
	nodes_init(t);
	for (int i = 0; i < 3; i++)
		assert_int_equal(nodes_try_start(t, i, true, change), ERR_OK);
	nodes_connect(t, 0, 1);
	nodes_connect(t, 2, 1);
	nodes_run(t, 1000);
	assert_int_equal(nodes_attach(t, 0, test_endpoint("c0", 100, 0x0a200001)), ERR_OK);
	assert_int_equal(nodes_attach(t, 2, test_endpoint("c2", 102, 0x0a200003)), ERR_OK);
	nodes_run(t, 2000);
}

static void ends_of_a_chain_talk_through_the_middle(void **state)
{
	(void)state;
	for (int sealed = 0; sealed < 2; sealed++) {
		struct nodes t;
		struct hostport to;
		chain(&t, sealed ? alone_with_password : alone);
		struct path_view v = nodes_path(&t, 0, 2);
		assert_int_equal(v.path, PATH_RELAY);
		assert_int_equal(v.relay, t.n[1].name);
		assert_true(v.encrypted && v.relayed.works);
		assert_string_equal(v.reason, "no-link-of-its-own-and-discovery-is-off");
		assert_string_equal(v.fast.state, "no-link-of-its-own-and-discovery-is-off");
		assert_int_equal(v.mtu, 1500 - 28 - 16 - 16 - 16 - 14);
		struct path_hop hop = nodes_hop(&t, 0, 2);
		assert_true(hostport_eq(hop.to, node_at(1)));
		assert_int_equal(hop.relay, t.n[1].name);
		assert_int_equal(hop.sealed, sealed);
		assert_false(hop.vxlan_allowed);
		assert_true(understood(&t, 0, 2) && understood(&t, 2, 0));
		assert_true(t.n[1].probes[2] > 0);
		assert_true(core_relay_hop(t.n[1].core, t.n[2].name, &to) && hostport_eq(to, node_at(2)));
		assert_true(core_relay_hop(t.n[0].core, t.n[2].name, &to) && hostport_eq(to, node_at(1)));
		assert_false(core_relay_hop(t.n[1].core, t.n[1].name, &to));
		assert_int_equal(nodes_path(&t, 0, 1).path, sealed ? PATH_USERSPACE : PATH_FAST);
		/* a narrow place behind the relay */
		t.wire[1][2].mtu = 1000;
		nodes_talk(&t, 0, 2, 8000);
		assert_int_equal(nodes_hop(&t, 0, 2).datagram, 1000 - 28);
		assert_int_equal(nodes_path(&t, 0, 2).path, PATH_RELAY);
		nodes_kill(&t, 1);
		nodes_run(&t, 100);
		assert_int_equal(nodes_path(&t, 0, 2).path, PATH_NONE);
		assert_false(core_relay_hop(t.n[0].core, t.n[2].name, &to));
		nodes_free(&t);
	}
}

/* Nothing goes straight between the ends: no handshake, no probe. */
static void without_discovery_nothing_is_tried_straight(void **state)
{
	struct nodes t;

	(void)state;
	nodes_init(&t);
	for (int i = 0; i < 3; i++)
		assert_int_equal(nodes_try_start(&t, i, true, alone), ERR_OK);
	nodes_connect(&t, 0, 1);
	nodes_connect(&t, 2, 1);
	nodes_run(&t, 1000);
	nodes_talk(&t, 0, 2, 5000);
	assert_int_equal(nodes_path(&t, 0, 2).path, PATH_RELAY);
	assert_true(nodes_path(&t, 0, 2).relayed.works);
	assert_int_equal(t.sent[0][2] + t.sent[2][0], 0);
	assert_true(t.sent[0][1] > 0 && t.sent[1][2] > 0);
	nodes_free(&t);
}

/* A peer with discovery that no link and no datagram reaches is reached over the third; when datagrams pass again, straight. */
static void a_peer_that_cannot_be_reached_straight_is_relayed(void **state)
{
	struct nodes t;
	static const int ends[2][2] = { { 0, 2 }, { 2, 0 } };

	(void)state;
	nodes_init(&t);
	for (int k = 0; k < 2; k++)
		t.wire[ends[k][0]][ends[k][1]] = (struct wire){ .no_tcp = true, .no_udp = true, .no_vxlan = true };
	for (int i = 0; i < 3; i++)
		nodes_start(&t, i);
	nodes_connect(&t, 0, 1);
	nodes_connect(&t, 2, 1);
	nodes_run(&t, 1000);
	assert_int_equal(nodes_path(&t, 0, 2).path, PATH_USERSPACE); /* as good as any, while nobody asks */
	assert_int_equal(nodes_path(&t, 0, 2).userspace.asked_ms, 0);
	nodes_talk(&t, 0, 2, 3000);
	struct path_view v = nodes_path(&t, 0, 2);
	assert_int_equal(v.path, PATH_RELAY);
	assert_string_equal(v.reason, "no-answer-to-probes");
	assert_true(understood(&t, 0, 2) && understood(&t, 2, 0));
	for (int k = 0; k < 2; k++)
		t.wire[ends[k][0]][ends[k][1]].no_udp = false;
	nodes_talk(&t, 0, 2, 45000);
	assert_int_equal(nodes_path(&t, 0, 2).path, PATH_USERSPACE);
	assert_false(nodes_path(&t, 0, 2).encrypted);
	/* and away again, silently: the relay is taken in time */
	for (int k = 0; k < 2; k++)
		t.wire[ends[k][0]][ends[k][1]].no_udp = true;
	nodes_talk(&t, 0, 2, 3000);
	assert_int_equal(nodes_path(&t, 0, 2).path, PATH_RELAY);
	assert_true(nodes_path(&t, 0, 2).relayed.works);
	nodes_free(&t);
}

/* Everything straight dies at once: the relay is known to work by the time it is needed. A relay costs nothing while it is not. */
static void all_straight_ways_that_die_at_once_are_left_at_once(void **state)
{
	struct nodes t;

	(void)state;
	nodes_init(&t);
	for (int i = 0; i < 3; i++)
		nodes_start(&t, i);
	t.wire[0][2].no_tcp = t.wire[2][0].no_tcp = true;
	nodes_connect(&t, 0, 1);
	nodes_connect(&t, 2, 1);
	nodes_run(&t, 1000);
	nodes_talk(&t, 0, 2, 60000);
	struct path_view v = nodes_path(&t, 0, 2);
	assert_int_equal(v.path, PATH_FAST);
	assert_true(v.userspace.works && v.relayed.possible);
	assert_int_equal(v.relayed.asked_ms, 0);
	t.wire[0][2].no_udp = t.wire[2][0].no_udp = t.wire[0][2].no_vxlan = t.wire[2][0].no_vxlan = true;
	nodes_talk(&t, 0, 2, 3000);
	v = nodes_path(&t, 0, 2);
	assert_int_equal(v.path, PATH_RELAY);
	assert_true(v.relayed.works && nodes_hop(&t, 0, 2).keys != NULL);
	nodes_free(&t);
}

/* Straight handshakes pass one way only: the relay has to get its turn. */
static void a_handshake_that_is_answered_into_the_void_goes_over_the_relay(void **state)
{
	struct nodes t;

	(void)state;
	nodes_init(&t);
	for (int i = 0; i < 3; i++)
		nodes_start(&t, i);
	t.wire[0][2].no_tcp = t.wire[2][0].no_tcp = true;
	t.wire[0][2].no_vxlan = t.wire[2][0].no_udp = true;
	nodes_connect(&t, 0, 1);
	nodes_connect(&t, 2, 1);
	nodes_run(&t, 1000);
	nodes_talk(&t, 0, 2, 4000);
	assert_int_equal(nodes_path(&t, 0, 2).path, PATH_RELAY);
	assert_true(nodes_path(&t, 0, 2).relayed.works);
	nodes_free(&t);
}

/* --- addresses ---------------------------------------------------------------------------------------------------------------------- */

static void a_peer_is_followed_to_where_it_is_heard(void **state)
{
	struct nodes t;
	struct hostport elsewhere = { ip_v4(UINT32_C(0x0a090909)), 7000 };
	struct core_event roamed = { .kind = CORE_ROAMED };

	(void)state;
	nodes_pair(&t, password, password);
	size_t before = t.n[0].forwardings;
	roamed.peer = t.n[1].name;
	roamed.from = elsewhere;
	(void)nodes_step(&t, 0, &roamed);
	assert_true(hostport_eq(nodes_hop(&t, 0, 1).to, elsewhere));
	assert_true(t.n[0].forwardings > before);
	/* nobody answers there */
	nodes_talk(&t, 0, 1, 3000);
	assert_true(hostport_eq(nodes_hop(&t, 0, 1).to, node_at(1)));
	assert_true(nodes_path(&t, 0, 1).userspace.works);
	/* back where the mesh says it is: no roaming at all */
	(void)nodes_step(&t, 0, &roamed);
	roamed.from = node_at(1);
	(void)nodes_step(&t, 0, &roamed);
	assert_true(hostport_eq(nodes_hop(&t, 0, 1).to, node_at(1)));
	nodes_free(&t);
}

static void a_place_nobody_answers_from_is_given_up(void **state)
{
	struct nodes t;
	struct hostport elsewhere = { ip_v4(UINT32_C(0x0a090909)), 7000 };
	struct core_event roamed = { .kind = CORE_ROAMED };

	(void)state;
	nodes_pair(&t, password, password);
	t.wire[1][0].no_udp = true; /* nor is anything heard from where it was */
	roamed.peer = t.n[1].name;
	roamed.from = elsewhere;
	(void)nodes_step(&t, 0, &roamed);
	nodes_talk(&t, 0, 1, 1500);
	assert_true(hostport_eq(nodes_hop(&t, 0, 1).to, elsewhere));
	nodes_talk(&t, 0, 1, 1500);
	assert_true(hostport_eq(nodes_hop(&t, 0, 1).to, node_at(1)));
	t.wire[1][0].no_udp = false;
	nodes_talk(&t, 0, 1, 1500);
	assert_true(nodes_path(&t, 0, 1).userspace.works);
	nodes_free(&t);
}

static void what_goes_in_the_clear_follows_nobody(void **state)
{
	struct nodes t;
	struct core_event roamed = { .kind = CORE_ROAMED, .from = { ip_v4(UINT32_C(0x0a090909)), 7000 } };

	(void)state;
	nodes_pair(&t, plain, plain);
	roamed.peer = t.n[1].name;
	(void)nodes_step(&t, 0, &roamed);
	assert_true(hostport_eq(nodes_hop(&t, 0, 1).to, node_at(1)));
	nodes_free(&t);
}

/* --- bad input ---------------------------------------------------------------------------------------------------------------------- */

static uint64_t dropped(const struct nodes *t, enum fwd_drop why)
{
	return core_datagrams_dropped(t->n[0].core, why);
}

static void arrives(struct nodes *t, struct slice bytes)
{
	struct core_event ev = { .kind = CORE_DATAGRAM, .via = CORE_VIA_UDP, .from = node_at(1), .bytes = bytes };
	(void)nodes_step(t, 0, &ev);
}

static size_t sealed_probe(struct nodes *t, uint8_t flags, uint8_t *out)
{
	struct probe pr = {
		.kind = PROBE_REQUEST, .path = PATH_USERSPACE, .id = 9, .src = t->n[1].name, .dst = t->n[0].name, .length = PROBE_HEAD
	};
	uint8_t bytes[PROBE_HEAD];
	struct wbuf w;

	wbuf_fixed(&w, bytes, sizeof(bytes));
	probe_write(&w, &pr);
	return seal_datagram(nodes_hop(t, 1, 0).keys, SEAL_QUEUE_CONTROL, flags, 0, wbuf_slice(&w), out);
}

static void altered_replayed_and_unsealed_probes_are_counted_and_dropped(void **state)
{
	struct nodes t;
	uint8_t bytes[SEAL_OVERHEAD + PROBE_HEAD], altered[sizeof(bytes)];

	(void)state;
	nodes_pair(&t, password, password);
	size_t sent = t.n[0].probes[0];
	size_t n = sealed_probe(&t, WIRE_CONTROL, bytes);
	assert_int_equal(n, sizeof(bytes));
	memcpy(altered, bytes, n);
	altered[n - 1] ^= 1;
	arrives(&t, slice_of(altered, n));
	assert_int_equal(dropped(&t, FWD_BAD_TAG), 1);
	assert_int_equal(t.n[0].probes[0], sent);
	arrives(&t, slice_of(bytes, n));
	assert_int_equal(t.n[0].probes[0], sent + 1); /* answered */
	arrives(&t, slice_of(bytes, n));
	assert_int_equal(dropped(&t, FWD_REPLAYED), 1);
	bytes[4] ^= 0x55; /* of no session of ours */
	arrives(&t, slice_of(bytes, n));
	assert_int_equal(dropped(&t, FWD_OLD_SESSION), 1);
	n = sealed_probe(&t, 0, bytes); /* a frame is not for us, and its number stays unused */
	arrives(&t, slice_of(bytes, n));
	assert_int_equal(dropped(&t, FWD_BAD_HEADER), 1);
	/* in the clear from a peer whose datagrams have to come sealed */
	wire_write(bytes, &(struct wire_head){ .type = WIRE_CLEAR, .flags = WIRE_CONTROL, .src = t.n[1].name, .dst = t.n[0].name });
	arrives(&t, slice_of(bytes, WIRE_HEAD + PROBE_HEAD));
	assert_int_equal(dropped(&t, FWD_CLEAR), 1);
	assert_int_equal(t.n[0].probes[0], sent + 1);
	/* every length of it */
	for (size_t len = 0; len < sizeof(bytes); len++)
		arrives(&t, slice_of(bytes, len));
	assert_int_equal(t.n[0].probes[0], sent + 1);
	nodes_free(&t);
}

static void what_is_wrapped_wrongly_is_not_unwrapped(void **state)
{
	struct nodes t;
	uint8_t bytes[3 * WIRE_HEAD + 200];
	struct wire_head h = { .type = WIRE_RELAYED, .flags = 5 }, inner;

	(void)state;
	nodes_pair(&t, plain, plain);
	memset(bytes, 0, sizeof(bytes));
	size_t sent = t.n[0].probes[0];
	h.src = t.n[1].name;
	h.dst = t.n[0].name;
	wire_write(bytes, &h);
	wire_write(bytes + WIRE_HEAD, &h); /* twice */
	arrives(&t, slice_of(bytes, sizeof(bytes)));
	assert_int_equal(dropped(&t, FWD_BAD_HEADER), 1);
	inner = (struct wire_head){ .type = WIRE_CLEAR, .flags = WIRE_CONTROL, .src = h.src, .dst = h.dst };
	wire_write(bytes + WIRE_HEAD, &inner);
	arrives(&t, slice_of(bytes, sizeof(bytes)));
	assert_int_equal(dropped(&t, FWD_BAD_HEADER), 2);
	h.src = 99;
	wire_write(bytes, &h);
	arrives(&t, slice_of(bytes, sizeof(bytes)));
	assert_int_equal(dropped(&t, FWD_STRANGER), 1);
	h.src = t.n[1].name;
	h.dst = 99;
	wire_write(bytes, &h);
	arrives(&t, slice_of(bytes, sizeof(bytes)));
	assert_int_equal(dropped(&t, FWD_NOT_OURS), 1);
	h.dst = t.n[0].name;
	wire_write(bytes, &h);
	arrives(&t, slice_of(bytes, WIRE_HEAD)); /* around nothing */
	assert_int_equal(dropped(&t, FWD_BAD_HEADER), 3);
	assert_int_equal(t.n[0].probes[0], sent);
	nodes_free(&t);
}

/* Whatever allocation fails while handshakes, probes and choices are made: it is made good. */
static void memory_that_runs_out_is_made_good(void **state)
{
	static const int ends[2] = { 0, 1 };

	(void)state;
	for (size_t n = 1; n < 120; n++) {
		struct nodes t;
		nodes_pair(&t, password, password);
		nodes_run(&t, 600000); /* no session any more */
		for (int k = 0; k < 2; k++) {
			struct core_event wanted = { .kind = CORE_WANTED, .peer = t.n[ends[!k]].name };
			mem_fail_at(n, false);
			enum err err = nodes_step(&t, ends[k], &wanted);
			mem_fail_at(0, false);
			assert_true(err == ERR_OK || err == ERR_NOMEM);
		}
		mem_fail_at(n * 7, false);
		nodes_run(&t, 10);
		mem_fail_at(0, false);
		nodes_talk(&t, 0, 1, 5000);
		assert_true(understood(&t, 0, 1) && understood(&t, 1, 0));
		assert_true(nodes_path(&t, 0, 1).userspace.works);
		nodes_free(&t);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(with_a_password_keys_are_there_at_once_on_both_ends),
		cmocka_unit_test(a_sealed_pair_never_takes_the_fast_path),
		cmocka_unit_test(without_an_answer_to_handshakes_it_says_so),
		cmocka_unit_test(sessions_are_there_on_demand),
		cmocka_unit_test(a_peer_that_starts_anew_gets_new_keys),
		cmocka_unit_test(news_of_a_new_run_do_not_end_its_session),
		cmocka_unit_test(a_peer_unknown_for_a_moment_keeps_its_session),
		cmocka_unit_test(a_session_only_one_end_has_is_made_anew),
		cmocka_unit_test(a_session_is_confirmed_without_being_used),
		cmocka_unit_test(ends_of_a_chain_talk_through_the_middle),
		cmocka_unit_test(without_discovery_nothing_is_tried_straight),
		cmocka_unit_test(a_peer_that_cannot_be_reached_straight_is_relayed),
		cmocka_unit_test(all_straight_ways_that_die_at_once_are_left_at_once),
		cmocka_unit_test(a_handshake_that_is_answered_into_the_void_goes_over_the_relay),
		cmocka_unit_test(a_peer_is_followed_to_where_it_is_heard),
		cmocka_unit_test(a_place_nobody_answers_from_is_given_up),
		cmocka_unit_test(what_goes_in_the_clear_follows_nobody),
		cmocka_unit_test(altered_replayed_and_unsealed_probes_are_counted_and_dropped),
		cmocka_unit_test(memory_that_runs_out_is_made_good),
		cmocka_unit_test(what_is_wrapped_wrongly_is_not_unwrapped),
	};

	return sodium_init() < 0 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
