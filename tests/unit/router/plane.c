/* Forwarding in the kernel of a namespace of our own, brought in line with a core whose remote hosts are made by hand. */
#include "tests/unit/dataplane/ns.h"

#include <sodium.h>
#include <uv.h>

#include "base/mem.h"
#include "router/core/internal.h"
#include "router/container.h"
#include "router/log.h"
#include "router/plane_internal.h"

#define SELF UINT64_C(0x020000000009)
#define LOW  UINT64_C(0x020000000001)
#define HIGH UINT64_C(0x020000000002)
#define MANY 10000

struct bed {
	struct core *core;
	struct plane *plane;
	struct log *log;
	struct arena *arena;
	struct peer_state low, high;
	uint64_t ctr;
};

static void open_plane(struct bed *b)
{
	struct plane_cfg cfg = {
		.self = SELF, .udp_port = 6783, .vxlan_port = 6784, .control_port = 6783, .fastdp = true, .queues = 1, .log = b->log
	};
	OK(plane_open(&b->plane, &cfg, &note));
}

static void know(struct bed *b, struct peer_state *p, uint64_t name, const char *at, enum path path)
{
	bool there = p->name != PEER_NONE;

	*p = (struct peer_state){
		.name = name, .reachable = true, .path = path, .underlay = ip_of(at), .fast_to = ip_of(at), .to = { ip_of(at), 6783 }
	};
	if (!there)
		assert_int_equal(map_put64(b->core->peers, name, p, NULL), ERR_OK);
}

static void make(struct bed *b)
{
	struct core_cfg cfg = { .names = false, .domain = "weft.local." };

	memset(b, 0, sizeof(*b));
	cfg.gossip.self = SELF;
	cfg.gossip.nickname = cfg.gossip.version = "test";
	cfg.gossip.n_psk = 1;
	cfg.gossip.incarnation = cfg.gossip.uid = 1;
	cfg.gossip.port = 6783;
	b->log = log_new(2, LOG_LEVEL_ERROR, false);
	b->arena = arena_new();
	OK(core_new(&b->core, &cfg, 1, &note));
	open_plane(b);
	know(b, &b->low, LOW, "10.99.0.1", PATH_FAST);
	know(b, &b->high, HIGH, "10.99.0.2", PATH_FAST);
}

static void unmake(struct bed *b)
{
	OK(plane_reset(b->plane, &note));
	plane_close(b->plane);
	map_del64(b->core->peers, LOW);
	map_del64(b->core->peers, HIGH);
	core_free(b->core);
	arena_free(b->arena);
	log_free(b->log);
}

/* A container of that host with that address (NULL: none), or none with that MAC any more. */
static void container_in(struct bed *b, uint64_t owner, const char *mac, const char *addr, bool there, const char *name)
{
	uint8_t key[64], value[64];
	struct crdt_changes ch;
	enum crdt_merge what;
	struct wbuf w;
	bool moved;

	wbuf_fixed(&w, key, sizeof(key));
	wbuf_u48(&w, owner);
	wbuf_mac(&w, mac_of(mac));
	wbuf_bytes(&w, name, strlen(name));
	struct crdt_item it = { .key = wbuf_slice(&w), .stamp = { 1, ++b->ctr }, .live = there };
	wbuf_fixed(&w, value, sizeof(value));
	wbuf_bytes(&w, "\1\1c", 3);
	wbuf_varint(&w, addr != NULL);
	if (addr != NULL) {
		wbuf_ip(&w, ip_of(addr));
		wbuf_u8(&w, 12);
	}
	if (there)
		it.value = wbuf_slice(&w);
	arena_reset(b->arena);
	crdt_changes_init(&ch, b->arena);
	assert_int_equal(crdt_map_restore(b->core->maps[CHANNEL_ENDPOINTS], &it, &what, &ch), ERR_OK);
	assert_int_equal(endpoints_refresh(b->core, &ch, &moved), ERR_OK);
}

static void container_at(struct bed *b, uint64_t owner, const char *mac, const char *addr, bool there)
{
	container_in(b, owner, mac, addr, there, "weft");
}

static void container(struct bed *b, uint64_t owner, const char *mac, bool there)
{
	container_at(b, owner, mac, NULL, there);
}

static void own_container_on(struct bed *b, const char *mac, bool there, const char *network)
{
	struct core_endpoint e = {
		.peer = SELF, .ident = "mine", .mac = mac_of(mac), .addrs = { { ip_of("10.32.0.9"), 12 } }, .n_addrs = 1
	};
	struct core_actions acts;

	(void)snprintf(e.network, sizeof(e.network), "%s", network);
	arena_reset(b->arena);
	core_actions_init(&acts, b->arena);
	if (there)
		assert_int_equal(endpoints_attached(b->core, &e, &acts), ERR_OK);
	else
		assert_int_equal(endpoints_detached(b->core, e.ident, (struct ip){ 0 }, &acts), ERR_OK);
}

static void own_container(struct bed *b, const char *mac, bool there)
{
	own_container_on(b, mac, there, "weft");
}

static void network(struct bed *b, const char *name, bool there, struct core_network *out)
{
	struct core_network want = { .name = "" };
	struct core_actions acts;

	(void)snprintf(want.name, sizeof(want.name), "%s", name);
	arena_reset(b->arena);
	core_actions_init(&acts, b->arena);
	if (there)
		OK(networks_create(b->core, &want, &acts, &note));
	else
		OK(networks_remove(b->core, name, &acts, &note));
	assert_int_equal(core_network(b->core, name, out), there);
}

struct wish {
	struct mac mac;
	struct link_fdb found;
	size_t n;
};

static void pick(const struct link_fdb *e, void *arg)
{
	struct wish *w = arg;
	w->n++;
	if (mac_eq(e->mac, w->mac))
		w->found = *e;
}

/* "10.99.0.1", "userspace" or "none": where the kernel sends frames for that MAC. *n (may be NULL): how many entries there are. */
static const char *leads_in(struct kernel *k, const char *mac, size_t *n)
{
	static char text[IP_TEXT];
	struct wish w = { .mac = mac_of(mac) };

	OK(link_fdb_list(k, pick, &w, &note));
	if (n != NULL)
		*n = w.n;
	if (w.found.uplink == LINK_USERSPACE)
		return "userspace";
	return w.found.uplink == LINK_FAST ? ip_format(w.found.underlay, text) : "none";
}

static const char *leads_to(struct bed *b, const char *mac, size_t *n)
{
	return leads_in(plane_kernel(b->plane), mac, n);
}

/* The plane's complaint that has this text; NULL: none. */
static const char *complaint(struct bed *b, const char *part, bool *broken)
{
	const char *text;

	for (size_t it = 0; (text = plane_next_trouble(b->plane, &it, broken)) != NULL;)
		if (strstr(text, part) != NULL)
			return text;
	return NULL;
}

#define A "02:00:00:00:00:0a"
#define B "02:00:00:00:00:0b"

static void entries_follow_paths(void **state)
{
	struct bed b;

	(void)state;
	make(&b);
	container(&b, LOW, A, true);
	container(&b, HIGH, B, true);
	plane_apply(b.plane, b.core, 1000);
	assert_string_equal(leads_to(&b, A, NULL), "10.99.0.1");
	assert_string_equal(leads_to(&b, B, NULL), "10.99.0.2");
	know(&b, &b.low, LOW, "10.99.0.1", PATH_USERSPACE);
	know(&b, &b.high, HIGH, "10.99.0.7", PATH_FAST);
	plane_apply(b.plane, b.core, 1001);
	assert_string_equal(leads_to(&b, A, NULL), "userspace");
	assert_string_equal(leads_to(&b, B, NULL), "10.99.0.7");
	know(&b, &b.low, LOW, "10.99.0.1", PATH_NONE);
	container(&b, HIGH, B, false);
	plane_apply(b.plane, b.core, 1002);
	assert_string_equal(leads_to(&b, A, NULL), "none");
	assert_string_equal(leads_to(&b, B, NULL), "none");
	assert_int_equal(plane_failures(b.plane), 0);
	unmake(&b);
}

static void a_mac_that_two_claim(void **state)
{
	struct bed b;

	(void)state;
	make(&b);
	container(&b, HIGH, A, true);
	plane_apply(b.plane, b.core, 1000);
	assert_string_equal(leads_to(&b, A, NULL), "10.99.0.2");
	container(&b, LOW, A, true);
	for (uint64_t t = 0; t < 3; t++) {
		plane_apply(b.plane, b.core, 1001 + t);
		assert_string_equal(leads_to(&b, A, NULL), "10.99.0.2"); /* it was there first */
	}
	/* our own container's MAC is nobody else's */
	own_container(&b, A, true);
	plane_apply(b.plane, b.core, 1010);
	assert_string_equal(leads_to(&b, A, NULL), "none");
	own_container(&b, A, false);
	know(&b, &b.high, HIGH, "10.99.0.2", PATH_NONE);
	plane_apply(b.plane, b.core, 1011);
	assert_string_equal(leads_to(&b, A, NULL), "10.99.0.1");
	unmake(&b);
}

struct asked {
	struct ip ip;
	struct link_neigh found;
};

static void look(const struct link_neigh *e, void *arg)
{
	struct asked *a = arg;
	if (ip_eq(e->ip, a->ip))
		a->found = *e;
}

/* The MAC the kernel answers with; "none". */
static const char *answer(struct bed *b, const char *addr)
{
	static char text[MAC_TEXT];
	struct asked a = { .ip = ip_of(addr) };

	OK(link_neigh_list(plane_kernel(b->plane), look, &a, &note));
	return a.found.ip.family != 0 ? mac_format(a.found.mac, text) : "none";
}

static void neighbours_go_with_forwarding(void **state)
{
	struct bed b;

	(void)state;
	make(&b);
	container_at(&b, LOW, A, "10.32.0.1", true);
	own_container(&b, B, true);
	plane_apply(b.plane, b.core, 1000);
	assert_string_equal(answer(&b, "10.32.0.1"), A);
	assert_string_equal(answer(&b, "10.32.0.9"), B);
	/* the path may change, the answer is the same */
	know(&b, &b.low, LOW, "10.99.0.1", PATH_USERSPACE);
	plane_apply(b.plane, b.core, 1001);
	assert_string_equal(answer(&b, "10.32.0.1"), A);
	/* another host's that says it has our container's address does not get it */
	container_at(&b, LOW, A, "10.32.0.9", true);
	plane_apply(b.plane, b.core, 1002);
	assert_string_equal(answer(&b, "10.32.0.1"), "none");
	assert_string_equal(answer(&b, "10.32.0.9"), B);
	own_container(&b, B, false);
	plane_apply(b.plane, b.core, 1003);
	assert_string_equal(answer(&b, "10.32.0.9"), A);
	/* the same MAC on a host that is not the one it is forwarded to: that one's addresses are not its */
	container_at(&b, HIGH, A, "10.32.0.2", true);
	plane_apply(b.plane, b.core, 1004);
	assert_string_equal(answer(&b, "10.32.0.2"), "none");
	know(&b, &b.low, LOW, "10.99.0.1", PATH_NONE);
	plane_apply(b.plane, b.core, 1005);
	assert_string_equal(answer(&b, "10.32.0.9"), "none");
	assert_string_equal(answer(&b, "10.32.0.2"), A);
	assert_int_equal(plane_failures(b.plane), 0);
	unmake(&b);
}

/* Waits until the data threads have noticed that the device went. */
static void wait_lost(struct bed *b)
{
	for (int i = 0; i < 1000 && !plane_unsettled(b->plane); i++)
		usleep(1000);
	assert_true(plane_unsettled(b->plane));
}

static void a_lost_tap_device_is_made_anew(void **state)
{
	struct bed b;

	(void)state;
	make(&b);
	know(&b, &b.low, LOW, "10.99.0.1", PATH_USERSPACE);
	container_at(&b, LOW, A, "10.32.0.1", true);
	container_at(&b, HIGH, B, "10.32.0.2", true);
	plane_apply(b.plane, b.core, 1000);
	assert_false(plane_unsettled(b.plane));
	assert_int_equal(ns_run(-1, "ip link del weft-tap"), 0);
	wait_lost(&b);
	assert_string_equal(leads_to(&b, A, NULL), "none");
	plane_apply(b.plane, b.core, 1001);
	assert_string_equal(leads_to(&b, A, NULL), "userspace");
	assert_string_equal(leads_to(&b, B, NULL), "10.99.0.2");
	assert_string_equal(answer(&b, "10.32.0.1"), A);
	assert_false(plane_unsettled(b.plane));
	assert_int_equal(
		ns_run(
			-1, "bridge -d link show dev weft-tap | grep -q 'isolated on.*neigh_suppress on\\|neigh_suppress on.*isolated on'"),
		0);
	assert_int_equal(plane_failures(b.plane), 0);
	/* and when it cannot be made, when that is over */
	assert_int_equal(ns_run(-1, "ip link del weft-tap && ip link add weft-tap type bridge"), 0);
	wait_lost(&b);
	bool broken;
	plane_apply(b.plane, b.core, 1002);
	assert_false(plane_captures(b.plane));
	assert_true(plane_unsettled(b.plane) && plane_failures(b.plane) == 1);
	assert_non_null(complaint(&b, "userspace path", &broken));
	assert_true(broken);
	assert_string_equal(leads_to(&b, A, NULL), "none");
	assert_int_equal(ns_run(-1, "ip link del weft-tap"), 0);
	plane_apply(b.plane, b.core, 1003);
	assert_string_equal(leads_to(&b, A, NULL), "userspace");
	assert_true(plane_captures(b.plane));
	assert_null(complaint(&b, "userspace path", &broken));
	assert_false(plane_unsettled(b.plane));
	unmake(&b);
}

static void without_the_vxlan_device_it_goes_by_userspace(void **state)
{
	struct bed b;
	const char *why;
	bool broken;

	(void)state;
	make(&b);
	container(&b, LOW, A, true);
	plane_apply(b.plane, b.core, 1000);
	assert_true(plane_fast(b.plane, &why));
	assert_int_equal(ns_run(-1, "ip link del weft-vx && ip link add weft-vx type bridge"), 0);
	assert_true(plane_unsettled(b.plane));
	plane_apply(b.plane, b.core, 1001);
	assert_string_equal(leads_to(&b, A, NULL), "userspace");
	assert_false(plane_fast(b.plane, &why));
	assert_non_null(strstr(why, "weft-vx"));
	assert_non_null(complaint(&b, "fast path", &broken));
	assert_true(broken && plane_unsettled(b.plane));
	assert_int_equal(ns_run(-1, "ip link del weft-vx"), 0);
	plane_apply(b.plane, b.core, 1002);
	assert_true(plane_fast(b.plane, &why));
	assert_string_equal(leads_to(&b, A, NULL), "10.99.0.1");
	/* taken out of the bridge is as good as gone */
	assert_int_equal(ns_run(-1, "ip link set weft-vx nomaster"), 0);
	assert_true(plane_unsettled(b.plane));
	plane_apply(b.plane, b.core, 1003);
	assert_false(plane_unsettled(b.plane));
	assert_string_equal(leads_to(&b, A, NULL), "10.99.0.1");
	unmake(&b);
}

static struct container_record attach(struct bed *b, struct kernel *k, int ns)
{
	const struct prefix addr = { ip_of("10.32.0.9"), 12 };
	const struct container_want want = {
		.ident = "mine", .nsfd = ns, .mac = mac_of(B), .addrs = &addr, .n_addrs = 1, .mtu = plane_container_mtu(b->plane)
	};
	struct container_record r;

	OK(container_attach(k, &want, &r, &note));
	return r;
}

static bool on_bridge(const char *bridge)
{
	char command[128];

	(void)snprintf(command, sizeof(command), "ip link show type veth master %s | grep -q vethwe", bridge);
	return ns_run(-1, command) == 0;
}

static void a_lost_bridge_is_made_anew_with_all_that_was_on_it(void **state)
{
	struct bed b;
	int ns = ns_new();

	(void)state;
	make(&b);
	container_at(&b, LOW, A, "10.32.0.1", true);
	(void)attach(&b, plane_kernel(b.plane), ns);
	own_container(&b, B, true);
	plane_apply(b.plane, b.core, 1000);
	assert_true(on_bridge("weft"));
	assert_false(plane_bridge_lost(b.plane));
	assert_int_equal(ns_run(-1, "ip link del weft"), 0);
	assert_true(plane_bridge_lost(b.plane) && plane_unsettled(b.plane));
	plane_apply(b.plane, b.core, 1001);
	assert_false(plane_unsettled(b.plane));
	assert_true(on_bridge("weft"));
	assert_string_equal(leads_to(&b, A, NULL), "10.99.0.1");
	assert_string_equal(answer(&b, "10.32.0.1"), A);
	assert_int_equal(ns_run(-1, "bridge fdb show | grep " B " | grep -q 'vethwe.* static'"), 0);
	assert_int_equal(ns_run(-1, "ip addr show dev weft | grep -q 169.254.67.83"), 0);
	assert_int_equal(plane_failures(b.plane), 0);
	unmake(&b);
	close(ns);
}

static void a_network_has_devices_where_it_has_containers(void **state)
{
	struct bed b;
	struct core_network red, blue;
	struct kernel *k;
	char command[128];
	int ns = ns_new();

	(void)state;
	make(&b);
	network(&b, "red", true, &red);
	network(&b, "blue", true, &blue);
	container_in(&b, LOW, A, "10.32.0.1", true, "red");
	plane_apply(b.plane, b.core, 1000);
	char bridge[16];
	(void)snprintf(bridge, sizeof(bridge), "weft-%u", red.number);
	(void)snprintf(command, sizeof(command), "ip link show %s >/dev/null 2>&1", bridge);
	assert_int_not_equal(ns_run(-1, command), 0);
	OK(plane_need(b.plane, b.core, &red, &k, &note));
	assert_int_equal(ns_run(-1, command), 0);
	(void)attach(&b, k, ns);
	own_container_on(&b, B, true, "red");
	plane_apply(b.plane, b.core, 1001);
	assert_string_equal(leads_in(k, A, NULL), "10.99.0.1");
	assert_string_equal(leads_to(&b, A, NULL), "none");
	assert_true(on_bridge(bridge) && !on_bridge("weft"));
	/* a daemon that is started anew finds them */
	plane_close(b.plane);
	open_plane(&b);
	plane_adopt(b.plane, b.core);
	struct plane_net_view v;
	size_t it = 1;
	assert_true(plane_next_net(b.plane, &it, &v) && v.number == red.number && strcmp(v.name, "red") == 0);
	assert_false(plane_next_net(b.plane, &it, &v));
	plane_apply(b.plane, b.core, 2000);
	/* and they go with the network */
	own_container_on(&b, B, false, "red");
	container_in(&b, LOW, A, NULL, false, "red");
	network(&b, "red", false, &red);
	plane_apply(b.plane, b.core, 2001);
	assert_int_not_equal(ns_run(-1, command), 0);
	it = 1;
	assert_false(plane_next_net(b.plane, &it, &v));
	assert_int_equal(plane_failures(b.plane), 0);
	unmake(&b);
	close(ns);
}

static void devices_of_a_network_removed_meanwhile_go_later(void **state)
{
	struct bed b;

	(void)state;
	assert_int_equal(
		ns_run(-1, "ip link add weft-77 type bridge && ip link add weft-vx77 type bridge && ip link add weft-x type bridge"), 0);
	make(&b);
	plane_apply(b.plane, b.core, 1000);
	assert_true(plane_unsettled(b.plane));
	plane_apply(b.plane, b.core, 11000);
	assert_false(plane_unsettled(b.plane));
	assert_int_not_equal(ns_run(-1, "ip link show weft-77 >/dev/null 2>&1"), 0);
	assert_int_not_equal(ns_run(-1, "ip link show weft-vx77 >/dev/null 2>&1"), 0);
	assert_int_equal(ns_run(-1, "ip link del weft-x"), 0);
	unmake(&b);
}

static void what_somebody_does_to_the_filter_is_mended(void **state)
{
	struct bed b;
	const struct core_traffic *traffic;
	bool broken;

	(void)state;
	make(&b);
	if (complaint(&b, "packet filter", &broken) == NULL) {
		plane_apply(b.plane, b.core, 1000);
		assert_int_equal(ns_run(-1, "nft list table inet weft >/dev/null && nft delete table inet weft"), 0);
		plane_poll(b.plane);
		assert_int_equal(plane_tick(b.plane, &traffic), 0);
		assert_int_equal(ns_run(-1, "nft list table inet weft >/dev/null"), 0);
	}
	unmake(&b);
	assert_int_not_equal(ns_run(-1, "nft list table inet weft >/dev/null 2>&1"), 0);
}

static void a_new_daemon_keeps_what_it_finds_for_a_while(void **state)
{
	struct bed b;
	size_t n;

	(void)state;
	make(&b);
	container(&b, LOW, A, true);
	container(&b, HIGH, B, true);
	plane_apply(b.plane, b.core, 1000);
	plane_close(b.plane);
	container(&b, LOW, A, false); /* not heard of yet, or gone meanwhile */
	open_plane(&b);
	assert_true(plane_unsettled(b.plane));
	plane_apply(b.plane, b.core, 5000);
	assert_string_equal(leads_to(&b, A, NULL), "10.99.0.1");
	assert_string_equal(leads_to(&b, B, NULL), "10.99.0.2");
	assert_true(plane_unsettled(b.plane));
	container(&b, HIGH, B, false); /* known to be gone, which is said at once */
	plane_apply(b.plane, b.core, 6000);
	assert_string_equal(leads_to(&b, B, NULL), "none");
	plane_apply(b.plane, b.core, 15001);
	assert_string_equal(leads_to(&b, A, &n), "none");
	assert_int_equal(n, 0);
	assert_false(plane_unsettled(b.plane));
	unmake(&b);
}

static void many(struct bed *b)
{
	char mac[MAC_TEXT];

	for (int i = 0; i < MANY; i++) {
		snprintf(mac, sizeof(mac), "02:01:00:00:%02x:%02x", i >> 8, i & 0xff);
		container(b, i % 2 ? LOW : HIGH, mac, true);
	}
}

static void a_change_among_many_costs_little(void **state)
{
	struct bed b;
	size_t n;

	(void)state;
	make(&b);
	many(&b);
	plane_apply(b.plane, b.core, 1000);
	assert_string_equal(leads_to(&b, "02:01:00:00:00:01", &n), "10.99.0.1");
	assert_int_equal(n, MANY);
	uint64_t start = uv_hrtime();
	for (int i = 0; i < 10; i++) {
		container(&b, LOW, A, i % 2 == 0);
		plane_apply(b.plane, b.core, 2000);
	}
	uint64_t us = (uv_hrtime() - start) / 10000;
	print_message("one change among %d entries: %llu us\n", MANY, (unsigned long long)us);
	assert_true(us < 500000); /* against looking at the host's interfaces for each of them, also with sanitizers */
	unmake(&b);
}

static void nothing_is_left_after_a_reset(void **state)
{
	struct bed b;

	(void)state;
	make(&b);
	container(&b, LOW, A, true);
	plane_apply(b.plane, b.core, 1000);
	OK(plane_reset(b.plane, &note));
	plane_apply(b.plane, b.core, 1001); /* comes late: nothing happens */
	assert_false(plane_unsettled(b.plane));
	assert_int_not_equal(ns_run(-1, "ip link show weft >/dev/null 2>&1"), 0);
	assert_int_not_equal(ns_run(-1, "ip link show weft-vx >/dev/null 2>&1"), 0);
	assert_int_not_equal(ns_run(-1, "ip link show weft-tap >/dev/null 2>&1"), 0);
	unmake(&b);
}

static void our_addresses(void **state)
{
	struct ip out[8];
	char text[IP_TEXT];

	(void)state;
	assert_int_equal(underlay_addresses(out, 8), 0);
	assert_int_equal(
		ns_run(-1,
			"ip link add under0 mtu 1400 type bridge && ip addr add 10.5.5.5/24 dev under0 && ip link set under0 up &&"
			"ip link add docker0 type bridge && ip addr add 10.6.6.6/24 dev docker0 && ip link set docker0 up &&"
			"ip link add down0 type bridge && ip addr add 10.7.7.7/24 dev down0 &&"
			"ip addr add 169.254.1.1/16 dev under0"),
		0);
	assert_int_equal(underlay_addresses(out, 8), 1);
	assert_string_equal(ip_format(out[0], text), "10.5.5.5");
	assert_int_equal(underlay_addresses(out, 0), 0);
	assert_int_equal(underlay_mtu_of(out[0]), 1400);
	assert_int_equal(underlay_mtu_of(ip_of("10.9.9.9")), 0);
	struct bed b;
	make(&b);
	assert_int_equal(plane_container_mtu(b.plane), 1400 - 94);
	unmake(&b);
	assert_int_equal(ns_run(-1, "ip link del under0; ip link del docker0; ip link del down0"), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(entries_follow_paths),
		cmocka_unit_test(a_mac_that_two_claim),
		cmocka_unit_test(neighbours_go_with_forwarding),
		cmocka_unit_test(a_lost_tap_device_is_made_anew),
		cmocka_unit_test(without_the_vxlan_device_it_goes_by_userspace),
		cmocka_unit_test(a_lost_bridge_is_made_anew_with_all_that_was_on_it),
		cmocka_unit_test(a_network_has_devices_where_it_has_containers),
		cmocka_unit_test(devices_of_a_network_removed_meanwhile_go_later),
		cmocka_unit_test(what_somebody_does_to_the_filter_is_mended),
		cmocka_unit_test(a_new_daemon_keeps_what_it_finds_for_a_while),
		cmocka_unit_test(a_change_among_many_costs_little),
		cmocka_unit_test(nothing_is_left_after_a_reset),
		cmocka_unit_test(our_addresses),
	};

	if (!ns_start())
		return 77;
	return sodium_init() < 0 || system("ip link set lo up") != 0 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
