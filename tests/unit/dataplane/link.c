/* Bridge, uplinks and forwarding entries against what ip(8) and bridge(8) say, in a network namespace of the test's own. */
#include "tests/unit/dataplane/ns.h"

#include <arpa/inet.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "router/dataplane/capture.h"
#include "router/dataplane/link.h"
#include "tunnel/fwd.h"

static bool may;

struct state {
	struct kernel *k;
	int home, ns;
	struct capture *tap;
};

static enum err open_tap(const char *name, struct capture **out, struct err_note *note)
{
	return capture_open(CAPTURE_TAP, name, 1, out, note);
}

static int setup(void **s)
{
	struct state *t = calloc(1, sizeof *t);
	*s = t;
	if (!may)
		return 0;
	t->home = ns_here();
	t->ns = ns_new();
	ns_go(t->ns);
	OK(kernel_open(NULL, &t->k, &note));
	return 0;
}

static int teardown(void **s)
{
	struct state *t = *s;
	if (may) {
		kernel_close(t->k);
		capture_close(t->tap);
		ns_go(t->home);
		close(t->home);
		close(t->ns);
	}
	free(t);
	return 0;
}

#define NEEDS_ROOT() \
	if (!may)        \
	skip()

static const struct link_vxlan fast = { .vni = WEFT_VNI_DEFAULT, .port = WEFT_VXLAN_PORT_DEFAULT };

static void make_all(struct state *t, unsigned mtu)
{
	OK(link_bridge(t->k, link_peer_mac(UINT64_C(0x8123456789ab)), mtu, &note));
	OK(link_dns_address(t->k, &note));
	OK(link_vxlan(t->k, &fast, mtu, &note));
	if (!t->tap)
		OK(open_tap("weft-tap", &t->tap, &note));
	OK(link_tap(t->k, mtu, &note));
}

static void peer_mac(void **s)
{
	(void)s;
	char text[MAC_TEXT];
	assert_string_equal(mac_format(link_peer_mac(UINT64_C(0x8123456789ab)), text), "82:23:45:67:89:ab");
	assert_string_equal(mac_format(link_peer_mac(UINT64_C(0xfffffffffffe)), text), "fe:ff:ff:ff:ff:fe");
	assert_string_equal(mac_format(link_peer_mac(1), text), "02:00:00:00:00:01");
}

static void check_port(json_t *link, bool flood)
{
	json_t *slave = json_object_get(json_object_get(link, "linkinfo"), "info_slave_data");
	assert_non_null(slave);
	assert_string_equal(ns_text(link, "master"), "weft");
	assert_true(json_is_false(json_object_get(slave, "learning")));
	assert_true(json_is_true(json_object_get(slave, "isolated")));
	assert_true(json_is_true(json_object_get(slave, "neigh_suppress")));
	assert_int_equal(json_is_true(json_object_get(slave, "flood")), flood);
	assert_int_equal(json_is_true(json_object_get(slave, "mcast_flood")), flood);
	assert_int_equal(json_is_true(json_object_get(slave, "bcast_flood")), flood);
	assert_string_equal(ns_text(link, "inet6_addr_gen_mode"), "none");
}

static void devices(void **s)
{
	struct state *t = *s;
	NEEDS_ROOT();
	make_all(t, 1406);
	json_t *links = ns_json(-1, "ip -j -d link");
	json_t *bridge = ns_pick(links, "ifname", "weft"), *vx = ns_pick(links, "ifname", "weft-vx"),
		   *tap = ns_pick(links, "ifname", "weft-tap");
	assert_string_equal(ns_text(bridge, "address"), "82:23:45:67:89:ab");
	assert_string_equal(ns_text(json_object_get(bridge, "linkinfo"), "info_kind"), "bridge");
	json_t *data = json_object_get(json_object_get(bridge, "linkinfo"), "info_data");
	assert_int_equal(json_integer_value(json_object_get(data, "stp_state")), 0);
	assert_int_equal(json_integer_value(json_object_get(data, "mcast_snooping")), 0);
	check_port(vx, false);
	check_port(tap, true);
	json_t *of[] = { bridge, vx, tap };
	for (size_t i = 0; i < 3; i++) {
		assert_int_equal(json_integer_value(json_object_get(of[i], "mtu")), 1406);
		assert_true(ns_has(json_object_get(of[i], "flags"), "UP"));
	}
	data = json_object_get(json_object_get(vx, "linkinfo"), "info_data");
	assert_int_equal(json_integer_value(json_object_get(data, "id")), 6784);
	assert_int_equal(json_integer_value(json_object_get(data, "port")), 6784);
	assert_true(json_is_false(json_object_get(data, "learning")));
	assert_true(json_is_false(json_object_get(data, "udp_csum")));
	assert_string_equal(ns_text(data, "df"), "set");
	assert_null(json_object_get(data, "remote"));
	json_decref(links);
	assert_true(link_answers(t->k));
	assert_int_equal(ns_run(-1, "test $(cat /proc/sys/net/ipv6/conf/weft/accept_ra) = 0"), 0);
}

static void dns_address(void **s)
{
	struct state *t = *s;
	NEEDS_ROOT();
	make_all(t, 1406);
	json_t *j = ns_json(-1, "ip -j addr show dev weft");
	json_t *infos = json_object_get(json_array_get(j, 0), "addr_info");
	assert_int_equal(json_array_size(infos), 1);
	assert_string_equal(ns_text(json_array_get(infos, 0), "local"), "169.254.67.83");
	assert_int_equal(json_integer_value(json_object_get(json_array_get(infos, 0), "prefixlen")), 32);
	json_decref(j);
	/* Said again, nothing doubles. */
	OK(link_dns_address(t->k, &note));
	j = ns_json(-1, "ip -j rule");
	size_t i, rules = 0;
	json_t *o;
	json_array_foreach(j, i, o) if (strcmp(ns_text(o, "src"), "169.254.67.83") == 0)
	{
		assert_string_equal(ns_text(o, "table"), "6784");
		rules++;
	}
	assert_int_equal(rules, 1);
	json_decref(j);
	j = ns_json(-1, "ip -j route show table 6784");
	assert_int_equal(json_array_size(j), 1);
	assert_string_equal(ns_text(json_array_get(j, 0), "dst"), "default");
	assert_string_equal(ns_text(json_array_get(j, 0), "dev"), "weft");
	json_decref(j);
	/* The host has no route to containers; answers from the address have. */
	assert_int_not_equal(ns_run(-1, "ip route get 10.32.0.1 >/dev/null 2>&1"), 0);
	assert_int_equal(ns_run(-1, "ip route get 10.32.0.1 from 169.254.67.83 | grep -q 'dev weft'"), 0);
}

/* A second daemon (a new handle) keeps what is there: same interfaces, entries untouched; a new MTU is taken over. */
static void adoption(void **s)
{
	struct state *t = *s;
	NEEDS_ROOT();
	make_all(t, 1406);
	const struct mac m = mac_of("02:00:00:00:00:07");
	OK(link_fdb_set(t->k, m, LINK_FAST, ip_of("192.0.2.7"), &note));
	char before[256], after[256];
	struct netlink_link l;
	assert_int_equal(netlink_link_named(kernel_netlink(t->k), "weft-vx", &l), 0);
	snprintf(before, sizeof before, "%d", l.index);
	kernel_close(t->k);
	OK(kernel_open(NULL, &t->k, &note));
	make_all(t, 1350);
	assert_int_equal(netlink_link_named(kernel_netlink(t->k), "weft-vx", &l), 0);
	snprintf(after, sizeof after, "%d", l.index);
	assert_string_equal(before, after);
	assert_int_equal(l.mtu, 1350);
	assert_int_equal(ns_run(-1, "bridge fdb show dev weft-vx | grep -q '02:00:00:00:00:07 dst 192.0.2.7 self'"), 0);
	/* Another VNI needs another device. */
	const struct link_vxlan other = { .vni = 77, .port = 6784, .local = ip_of("127.0.0.1") };
	OK(link_vxlan(t->k, &other, 1350, &note));
	assert_int_equal(netlink_link_named(kernel_netlink(t->k), "weft-vx", &l), 0);
	assert_int_equal(l.vxlan_vni, 77);
	assert_true(ip_eq(l.vxlan_local, other.local));
	int index = l.index;
	OK(link_vxlan(t->k, &other, 1350, &note));
	assert_int_equal(netlink_link_named(kernel_netlink(t->k), "weft-vx", &l), 0);
	assert_int_equal(l.index, index);
	/* A device made anew by someone else has another index: entries find it. */
	assert_int_equal(ns_run(-1, "ip link del weft-vx"), 0);
	assert_int_equal(
		ns_run(-1, "ip link add weft-vx type vxlan id 6784 dstport 6784 nolearning && ip link set weft-vx master weft up"), 0);
	OK(link_fdb_set(t->k, m, LINK_FAST, ip_of("192.0.2.8"), &note));
	assert_int_equal(ns_run(-1, "bridge fdb show dev weft-vx | grep -q '02:00:00:00:00:07 dst 192.0.2.8 self'"), 0);
}

static void ipv6_underlay(void **s)
{
	struct state *t = *s;
	NEEDS_ROOT();
	make_all(t, 1406);
	const struct link_vxlan six = { .vni = 6784, .port = 6784, .local = ip_of("::1") };
	OK(link_vxlan(t->k, &six, 1400, &note));
	OK(link_fdb_set(t->k, mac_of("02:00:00:00:00:07"), LINK_FAST, ip_of("2001:db8::7"), &note));
	assert_int_equal(ns_run(-1, "bridge fdb show dev weft-vx | grep -q '02:00:00:00:00:07 dst 2001:db8::7 self'"), 0);
	struct err_note why;
	assert_int_equal(link_fdb_set(t->k, mac_of("02:00:00:00:00:07"), LINK_FAST, ip_of("192.0.2.7"), &why), ERR_UNSUPPORTED);
	assert_non_null(strstr(why.text, "02:00:00:00:00:07"));
}

struct collected {
	struct link_fdb v[16];
	size_t n;
};
static void collect(const struct link_fdb *e, void *arg)
{
	struct collected *c = arg;
	assert_true(c->n < 16);
	c->v[c->n++] = *e;
}

static int lines(const char *grep)
{
	char command[256];
	snprintf(command, sizeof command, "bridge fdb show br weft | grep -c -- '%s'", grep);
	FILE *f = popen(command, "r");
	int n = -1;
	assert_int_equal(fscanf(f, "%d", &n), 1);
	pclose(f);
	return n;
}

static void forwarding(void **s)
{
	struct state *t = *s;
	NEEDS_ROOT();
	make_all(t, 1406);
	const struct mac a = mac_of("02:00:00:00:00:0a"), b = mac_of("02:00:00:00:00:0b");
	const struct ip none = { 0 };
	OK(link_fdb_set(t->k, a, LINK_FAST, ip_of("192.0.2.1"), &note));
	OK(link_fdb_set(t->k, b, LINK_USERSPACE, none, &note));
	assert_int_equal(lines("02:00:00:00:00:0a dev weft-vx sticky master weft static"), 1);
	assert_int_equal(lines("02:00:00:00:00:0a dev weft-vx dst 192.0.2.1 self permanent"), 1);
	assert_int_equal(lines("02:00:00:00:00:0b dev weft-tap sticky master weft static"), 1);
	struct collected c = { .n = 0 };
	OK(link_fdb_list(t->k, collect, &c, &note));
	assert_int_equal(c.n, 2);
	assert_true(mac_eq(c.v[0].mac, a) && c.v[0].uplink == LINK_FAST && ip_eq(c.v[0].underlay, ip_of("192.0.2.1")));
	assert_true(mac_eq(c.v[1].mac, b) && c.v[1].uplink == LINK_USERSPACE && c.v[1].underlay.family == 0);
	/* To another host, to the other uplink and back: one entry each time. */
	OK(link_fdb_set(t->k, a, LINK_FAST, ip_of("192.0.2.9"), &note));
	assert_int_equal(lines("02:00:00:00:00:0a"), 2);
	assert_int_equal(lines("02:00:00:00:00:0a dev weft-vx dst 192.0.2.9 self"), 1);
	OK(link_fdb_set(t->k, a, LINK_USERSPACE, none, &note));
	assert_int_equal(lines("02:00:00:00:00:0a"), 1);
	assert_int_equal(lines("02:00:00:00:00:0a dev weft-tap sticky master weft static"), 1);
	OK(link_fdb_set(t->k, b, LINK_FAST, ip_of("192.0.2.2"), &note));
	assert_int_equal(lines("02:00:00:00:00:0b"), 2);
	/* Removal, twice. */
	OK(link_fdb_del(t->k, a, &note));
	OK(link_fdb_del(t->k, b, &note));
	OK(link_fdb_del(t->k, b, &note));
	assert_int_equal(lines("02:00:00:00:00:0"), 0);
	c.n = 0;
	OK(link_fdb_list(t->k, collect, &c, &note));
	assert_int_equal(c.n, 0);
	/* Half an entry is reported as one. */
	assert_int_equal(ns_run(-1, "bridge fdb add 02:00:00:00:00:0c dev weft-vx dst 192.0.2.3 self"), 0);
	OK(link_fdb_list(t->k, collect, &c, &note));
	assert_int_equal(c.n, 1);
	assert_true(c.v[0].uplink == LINK_NONE && ip_eq(c.v[0].underlay, ip_of("192.0.2.3")));
	/* Without the fast uplink the userspace path still works. */
	OK(link_vxlan_remove(t->k, &note));
	OK(link_vxlan_remove(t->k, &note));
	OK(link_fdb_set(t->k, a, LINK_USERSPACE, none, &note));
	struct err_note why;
	assert_int_equal(link_fdb_set(t->k, a, LINK_FAST, ip_of("192.0.2.1"), &why), ERR_NOT_FOUND);
	OK(link_fdb_del(t->k, a, &note));
}

static void count(const struct link_fdb *e, void *arg)
{
	assert_true(e->uplink == LINK_FAST && e->underlay.family == 4);
	(*(size_t *)arg)++;
}

static void many(void **s)
{
	struct state *t = *s;
	NEEDS_ROOT();
	make_all(t, 1406);
	for (unsigned i = 0; i < 2000; i++) {
		const struct mac m = { { 0x02, 0, 0, 0, (uint8_t)(i >> 8), (uint8_t)i } };
		OK(link_fdb_set(t->k, m, LINK_FAST, ip_of("192.0.2.1"), &note));
	}
	assert_int_equal(lines("dst 192.0.2.1 self"), 2000);
	size_t n = 0;
	OK(link_fdb_list(t->k, count, &n, &note));
	assert_int_equal(n, 2000);
}

struct known {
	struct link_neigh v[8];
	size_t n;
};
static void know(const struct link_neigh *e, void *arg)
{
	struct known *known = arg;
	assert_true(known->n < 8);
	known->v[known->n++] = *e;
}

static bool has_neigh(const char *ip, const char *mac)
{
	json_t *j = ns_json(-1, "ip -j neigh show dev weft nud permanent"), *o = ns_pick(j, "dst", ip);
	bool has = o && strcmp(ns_text(o, "lladdr"), mac) == 0;
	json_decref(j);
	return has;
}

static void neighbours(void **s)
{
	struct state *t = *s;
	NEEDS_ROOT();
	struct known known = { .n = 0 };
	OK(link_neigh_list(t->k, know, &known, &note)); /* no bridge, no entries */
	OK(link_neigh_del(t->k, ip_of("10.32.0.7"), &note));
	struct err_note why;
	assert_int_equal(link_neigh_set(t->k, ip_of("10.32.0.7"), mac_of("02:00:00:00:00:07"), &why), ERR_NOT_FOUND);
	make_all(t, 1406);
	OK(link_neigh_set(t->k, ip_of("fd32::7"), mac_of("02:00:00:00:00:07"), &note));
	OK(link_neigh_set(t->k, ip_of("10.32.0.8"), mac_of("02:00:00:00:00:08"), &note));
	OK(link_neigh_set(t->k, ip_of("10.32.0.7"), mac_of("02:00:00:00:00:07"), &note));
	assert_true(has_neigh("10.32.0.7", "02:00:00:00:00:07") && has_neigh("10.32.0.8", "02:00:00:00:00:08"));
	assert_true(has_neigh("fd32::7", "02:00:00:00:00:07"));
	/* The kernel's own knowledge and other devices' are no entries of ours. */
	assert_int_equal(ns_run(-1,
						 "ip neigh add 10.32.0.9 lladdr 02:00:00:00:00:09 dev weft nud stale && "
						 "ip neigh add 10.32.0.9 lladdr 02:00:00:00:00:09 dev weft-tap nud permanent"),
		0);
	OK(link_neigh_list(t->k, know, &known, &note));
	assert_int_equal(known.n, 3);
	assert_true(ip_eq(known.v[0].ip, ip_of("10.32.0.7")) && mac_eq(known.v[0].mac, mac_of("02:00:00:00:00:07")));
	assert_true(ip_eq(known.v[1].ip, ip_of("10.32.0.8")) && ip_eq(known.v[2].ip, ip_of("fd32::7")));
	/* Another MAC takes its place, also that of what the kernel found by itself. */
	OK(link_neigh_set(t->k, ip_of("10.32.0.7"), mac_of("02:00:00:00:00:17"), &note));
	OK(link_neigh_set(t->k, ip_of("10.32.0.9"), mac_of("02:00:00:00:00:19"), &note));
	assert_true(has_neigh("10.32.0.7", "02:00:00:00:00:17") && has_neigh("10.32.0.9", "02:00:00:00:00:19"));
	/* The next daemon finds them. */
	make_all(t, 1350);
	assert_true(has_neigh("10.32.0.7", "02:00:00:00:00:17") && has_neigh("fd32::7", "02:00:00:00:00:07"));
	/* The host has no way to containers by them, and its own neighbours are what they were. */
	assert_int_not_equal(ns_run(-1, "ip route get 10.32.0.7 >/dev/null 2>&1"), 0);
	assert_int_equal(ns_run(-1,
						 "ip link add other type bridge && ip addr add 10.32.0.1/24 dev other && ip link set other up && "
						 "ip route get 10.32.0.7 | grep -q 'dev other' && test -z \"$(ip neigh show dev other 10.32.0.7)\""),
		0);
	for (int twice = 0; twice < 2; twice++) {
		OK(link_neigh_del(t->k, ip_of("10.32.0.7"), &note));
		OK(link_neigh_del(t->k, ip_of("fd32::7"), &note));
	}
	known.n = 0;
	OK(link_neigh_list(t->k, know, &known, &note));
	assert_int_equal(known.n, 2);
	OK(link_reset(t->k, &note));
	known.n = 0;
	OK(link_neigh_list(t->k, know, &known, &note));
	assert_int_equal(known.n, 0);
}

/* IPv6 is not there on devices with less than 1280 bytes; nobody asks then. */
static void neighbours_without_ipv6(void **s)
{
	struct state *t = *s;
	NEEDS_ROOT();
	struct known known = { .n = 0 };
	make_all(t, 1000);
	OK(link_neigh_set(t->k, ip_of("fd32::7"), mac_of("02:00:00:00:00:07"), &note));
	OK(link_neigh_del(t->k, ip_of("fd32::7"), &note));
	OK(link_neigh_set(t->k, ip_of("10.32.0.7"), mac_of("02:00:00:00:00:07"), &note));
	OK(link_neigh_list(t->k, know, &known, &note));
	assert_int_equal(known.n, 1);
}

/* Whether a container comes to know an address's MAC within a moment. Nobody is there who would answer, so only the bridge can. */
static bool answered(int ns, const char *ip, const char *mac)
{
	char command[256];
	snprintf(command, sizeof command,
		"ip neigh flush all; ping -c 1 -W 0.1 %s >/dev/null; ip neigh show %s | grep -q 'lladdr %s'", ip, ip, mac);
	return ns_run(ns, command) == 0;
}

static void answers(void **s)
{
	struct state *t = *s;
	NEEDS_ROOT();
	make_all(t, 1406);
	int inside = ns_new();
	char command[256];
	snprintf(command, sizeof command,
		"ip link add vethwea type veth peer name ethwe netns /proc/%d/fd/%d && ip link set vethwea master weft up && "
		"ip link add vethweb type veth peer name b && ip link set vethweb master weft up",
		(int)getpid(), inside);
	assert_int_equal(ns_run(-1, command), 0);
	assert_int_equal(ns_run(inside,
						 "echo 0 >/proc/sys/net/ipv6/conf/ethwe/accept_dad; ip link set ethwe up && "
						 "ip addr add 10.32.0.1/12 dev ethwe && ip addr add fd32::1/64 dev ethwe nodad"),
		0);
	static const char mac[] = "02:00:00:00:00:07";
	const struct ip none = { 0 };
	OK(link_neigh_set(t->k, ip_of("10.32.0.7"), mac_of(mac), &note));
	OK(link_neigh_set(t->k, ip_of("fd32::7"), mac_of(mac), &note));
	assert_false(answered(inside, "10.32.0.7", mac)); /* the bridge does not know where that is */
	OK(link_fdb_set(t->k, mac_of(mac), LINK_FAST, ip_of("127.0.0.1"), &note));
	assert_true(answered(inside, "10.32.0.7", mac));
	assert_true(answered(inside, "fd32::7", mac));
	OK(link_fdb_set(t->k, mac_of(mac), LINK_USERSPACE, none, &note));
	assert_true(answered(inside, "10.32.0.7", mac));
	assert_true(answered(inside, "fd32::7", mac));
	OK(link_fdb_del(t->k, mac_of(mac), &note));
	/* A container here speaks for itself. */
	assert_int_equal(ns_run(-1, "bridge fdb replace 02:00:00:00:00:07 dev vethweb master static"), 0);
	assert_false(answered(inside, "10.32.0.7", mac));
	assert_false(answered(inside, "fd32::7", mac));
	close(inside);
}

static void reset(void **s)
{
	struct state *t = *s;
	NEEDS_ROOT();
	OK(link_reset(t->k, &note)); /* nothing there */
	make_all(t, 1406);
	assert_int_equal(ns_run(-1, "ip link add vethweabc type veth peer name x1 && ip link set vethweabc master weft"), 0);
	assert_int_equal(ns_run(-1, "ip link add vethwedef type veth peer name x2"), 0); /* not ours: no bridge, no record */
	assert_int_equal(
		ns_run(-1,
			"ip link add other type bridge && ip link add vethweghi type veth peer name x3 && ip link set vethweghi master other"),
		0);
	assert_int_equal(ns_run(-1, "ip link set vethweghi alias 'weft1 id=x mac=02:00:00:00:00:01 addrs='"), 0);
	OK(link_reset(t->k, &note));
	json_t *links = ns_json(-1, "ip -j link");
	assert_null(ns_pick(links, "ifname", "weft"));
	assert_null(ns_pick(links, "ifname", "weft-vx"));
	assert_null(ns_pick(links, "ifname", "weft-tap"));
	assert_null(ns_pick(links, "ifname", "vethweabc"));
	assert_non_null(ns_pick(links, "ifname", "vethwedef"));
	assert_non_null(ns_pick(links, "ifname", "vethweghi"));
	json_decref(links);
	assert_int_not_equal(ns_run(-1, "ip rule | grep -q 169.254.67.83"), 0);
	OK(link_reset(t->k, &note));
}

static void refusals(void **s)
{
	struct state *t = *s;
	NEEDS_ROOT();
	struct err_note why;
	struct capture *other;
	assert_int_equal(link_bridge(t->k, link_peer_mac(1), 100, &why), ERR_RANGE);
	assert_int_equal(link_tap(t->k, 1406, &why), ERR_NOT_FOUND);
	assert_int_equal(link_dns_address(t->k, &why), ERR_NOT_FOUND);
	assert_int_equal(ns_run(-1, "ip link add weft type veth peer name weft-vx && ip link add weft-tap type veth peer name x"), 0);
	assert_int_equal(link_bridge(t->k, link_peer_mac(1), 1406, &why), ERR_CONFLICT);
	assert_non_null(strstr(why.text, "ip link del weft"));
	assert_int_equal(link_vxlan(t->k, &fast, 1406, &why), ERR_CONFLICT);
	assert_int_equal(open_tap("weft-tap", &other, &why), ERR_CONFLICT);
	assert_int_equal(ns_run(-1, "ip link del weft && ip link del weft-tap"), 0);
	OK(link_bridge(t->k, link_peer_mac(1), 1406, &note));
	/* The port taken by a socket, the VNI by a device. */
	int sock = socket(AF_INET, SOCK_DGRAM, 0);
	const struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons(6784) };
	assert_int_equal(bind(sock, (const struct sockaddr *)&at, sizeof at), 0);
	assert_int_equal(link_vxlan(t->k, &fast, 1406, &why), ERR_BUSY);
	assert_non_null(strstr(why.text, "--no-fastdp"));
	close(sock);
	OK(link_vxlan_remove(t->k, &note));
	assert_int_equal(ns_run(-1, "ip link add other type vxlan id 6784 dstport 6784"), 0);
	assert_int_equal(link_vxlan(t->k, &fast, 1406, &why), ERR_BUSY);
	assert_non_null(strstr(why.text, "--no-fastdp"));
	/* Two on one TAP. */
	OK(open_tap("weft-tap", &t->tap, &note));
	assert_int_equal(open_tap("weft-tap", &other, &why), ERR_BUSY);
	assert_int_equal(open_tap("a-name-too-long-for-it", &other, &why), ERR_USAGE);
	assert_int_equal(kernel_open(&(struct kernel_names){ .tap = "a-name-too-long-for-it" }, &t->k, &why), ERR_USAGE);
}

/* ---- several networks */

static void command(int ns, const char *text)
{
	if (ns_run(ns, text) != 0)
		fail_msg("%s", text);
}

static void count_network(unsigned network, void *arg)
{
	unsigned *sum = arg;
	*sum += network;
}

/* Question and answer, as for a name: the container asks the host's address, a socket of that network answers. */
static bool name_answered(int container, int server)
{
	int home = ns_here();
	ns_go(container);
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	ns_go(home);
	close(home);
	const struct timeval limit = { .tv_usec = 300000 };
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit), 0);
	assert_int_equal(setsockopt(server, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit), 0);
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(53), .sin_addr.s_addr = htonl(WEFT_DNS_V4) }, from;
	socklen_t n = sizeof from;
	char b[8];
	assert_int_equal(sendto(fd, "who?", 4, 0, (struct sockaddr *)&to, sizeof to), 4);
	bool yes = recvfrom(server, b, sizeof b, 0, (struct sockaddr *)&from, &n) == 4 &&
		sendto(server, "me", 2, 0, (struct sockaddr *)&from, n) == 2 && recv(fd, b, sizeof b, 0) == 2;
	close(fd);
	return yes;
}

static int server_of(const char *bridge)
{
	const struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons(53), .sin_addr.s_addr = htonl(WEFT_DNS_V4) };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, bridge, (socklen_t)strlen(bridge)), 0);
	assert_int_equal(bind(fd, (const struct sockaddr *)&at, sizeof at), 0);
	return fd;
}

/* Two networks beside the first, a container with the same address in each: all reach the host's address for names, whatever the host thinks of ways back. */
static void networks(void **s)
{
	struct state *t = *s;
	NEEDS_ROOT();
	struct kernel *k[3] = { t->k };
	struct capture *tap[3] = { NULL };
	int inside[3], server[3];
	char text[256];
	static const char *const bridges[] = { "weft", "weft-2", "weft-65535" };
	make_all(t, 1406);
	command(-1, "sysctl -qw net.ipv4.conf.all.rp_filter=1 net.ipv4.conf.default.rp_filter=1");
	for (unsigned i = 1; i < 3; i++) {
		const unsigned number = i == 1 ? 2 : LINK_NETWORK_MAX;
		const struct kernel_names names = { .network = number };
		const struct link_vxlan vx = { .vni = 65536 + number, .port = WEFT_VXLAN_PORT_DEFAULT };
		OK(kernel_open(&names, &k[i], &note));
		assert_string_equal(kernel_bridge_name(k[i]), bridges[i]);
		OK(link_bridge(k[i], link_peer_mac(UINT64_C(0x8123456789ab)), 1406, &note));
		OK(link_dns_address(k[i], &note));
		OK(link_vxlan(k[i], &vx, 1406, &note));
		OK(open_tap(kernel_tap_name(k[i]), &tap[i], &note));
		OK(link_tap(k[i], 1406, &note));
	}
	command(-1, "ip link show weft-vx2 >/dev/null && ip link show weft-tap65535 >/dev/null");
	unsigned sum = 0;
	OK(link_networks(t->k, count_network, &sum, &note));
	assert_int_equal(sum, 2 + LINK_NETWORK_MAX);
	for (int i = 0; i < 3; i++) {
		inside[i] = ns_new();
		snprintf(text, sizeof text,
			"ip link add vethwe%d type veth peer name ethwe netns /proc/%d/fd/%d && ip link set vethwe%d master %s up", i,
			getpid(), inside[i], i, bridges[i]);
		command(-1, text);
		command(inside[i],
			"ip link set ethwe up && ip addr add 10.32.0.7/12 dev ethwe && ip route add 169.254.67.83 dev ethwe scope link");
		server[i] = server_of(bridges[i]);
	}
	for (int i = 0; i < 3; i++)
		if (!name_answered(inside[i], server[i]))
			fail_msg("no answer in %s", bridges[i]);
	/* Said again by a new daemon, nothing doubles. */
	for (int i = 0; i < 3; i++)
		OK(link_dns_address(k[i], &note));
	assert_int_equal(ns_run(-1, "test $(ip route show table 6784 | wc -l) = 3 && test $(ip rule | grep -c 6784) = 1"), 0);
	/* One network goes: its devices and containers alone. */
	OK(link_reset(k[1], &note));
	command(-1, "! ip link show weft-2 2>/dev/null && ! ip link show vethwe1 2>/dev/null && ip link show vethwe2 >/dev/null");
	assert_true(name_answered(inside[0], server[0]) && name_answered(inside[2], server[2]));
	sum = 0;
	OK(link_networks(t->k, count_network, &sum, &note));
	assert_int_equal(sum, LINK_NETWORK_MAX);
	/* The first one's bridge is made anew, and comes behind the others'. */
	close(server[0]);
	command(-1, "ip link del weft");
	make_all(t, 1406);
	command(-1, "ip link set vethwe0 master weft");
	server[0] = server_of("weft");
	assert_true(name_answered(inside[0], server[0]) && name_answered(inside[2], server[2]));
	OK(link_reset(k[2], &note));
	OK(link_reset(t->k, &note));
	command(-1, "test $(ip rule | grep -c 6784) = 0 && test -z \"$(ip route show table 6784 2>/dev/null)\"");
	struct err_note why;
	struct kernel *none;
	assert_int_equal(kernel_open(&(struct kernel_names){ .network = LINK_NETWORK_MAX + 1 }, &none, &why), ERR_RANGE);
	for (int i = 0; i < 3; i++) {
		close(server[i]);
		close(inside[i]);
		if (i > 0) {
			capture_close(tap[i]);
			kernel_close(k[i]);
		}
	}
}

static unsigned lost(struct state *t)
{
	unsigned bits = 99;
	OK(link_check(t->k, &bits, &note));
	return bits;
}

static void losses(void **s)
{
	struct state *t = *s;
	NEEDS_ROOT();
	assert_int_equal(lost(t), 0); /* nothing was made yet */
	make_all(t, 1406);
	assert_int_equal(lost(t), 0);
	command(-1, "ip link del weft-vx");
	assert_int_equal(lost(t), LINK_LOST_VXLAN);
	command(-1, "ip link add weft-vx type vxlan id 6784 dstport 6784 && ip link set weft-vx master weft up");
	assert_int_equal(lost(t), LINK_LOST_VXLAN); /* somebody's, without our entries */
	OK(link_vxlan(t->k, &fast, 1406, &note));
	assert_int_equal(lost(t), 0);
	command(-1, "ip link set weft-tap down");
	assert_int_equal(lost(t), LINK_LOST_TAP);
	command(-1, "ip link set weft-tap up && ip link set weft-tap nomaster && ip link set weft-vx down");
	assert_int_equal(lost(t), LINK_LOST_TAP | LINK_LOST_VXLAN);
	OK(link_tap(t->k, 1406, &note));
	OK(link_vxlan(t->k, &fast, 1406, &note));
	assert_int_equal(lost(t), 0);
	command(-1, "ip link del weft");
	assert_int_equal(lost(t), LINK_LOST_BRIDGE | LINK_LOST_VXLAN | LINK_LOST_TAP);
	make_all(t, 1406);
	assert_int_equal(lost(t), 0);
	OK(link_vxlan_remove(t->k, &note));
	assert_int_equal(lost(t), 0); /* by ourselves */
	OK(link_reset(t->k, &note));
	assert_int_equal(lost(t), 0);
}

/* A device that lets its packets be cut is none of ours (any more). */
static void fragments(void **s)
{
	struct state *t = *s;
	NEEDS_ROOT();
	make_all(t, 1406);
	command(-1, "ip link del weft-vx && ip link add weft-vx type vxlan id 6784 dstport 6784 nolearning");
	OK(link_vxlan(t->k, &fast, 1406, &note));
	command(-1, "ip -d link show weft-vx | grep -q 'df set'");
}

/* Without CAP_NET_ADMIN: the child drops it by becoming nobody. */
static void no_privilege(void **s)
{
	struct state *t = *s;
	NEEDS_ROOT();
	pid_t pid = fork();
	if (pid == 0) {
		struct err_note why = { "" };
		struct kernel *k;
		struct capture *other;
		if (setuid(65534) != 0 || kernel_open(NULL, &k, &why) != ERR_OK)
			_exit(1);
		if (link_bridge(k, link_peer_mac(1), 1406, &why) != ERR_PERMISSION || !strstr(why.text, "CAP_NET_ADMIN"))
			_exit(2);
		enum err e = open_tap("weft-tap", &other, &why);
		if (e != ERR_PERMISSION || !strstr(why.text, "weftd"))
			_exit(3);
		kernel_close(k);
		_exit(0);
	}
	int status;
	assert_true(waitpid(pid, &status, 0) == pid);
	assert_int_equal(status, 0);
	(void)t;
}

int main(void)
{
	may = ns_start();
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(peer_mac),
		T(devices),
		T(dns_address),
		T(adoption),
		T(ipv6_underlay),
		T(forwarding),
		T(many),
		T(neighbours),
		T(neighbours_without_ipv6),
		T(answers),
		T(reset),
		T(refusals),
		T(networks),
		T(losses),
		T(fragments),
		T(no_privilege),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
