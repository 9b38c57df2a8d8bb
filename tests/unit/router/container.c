/* Attaching and detaching containers (anonymous network namespaces) against what ip(8) and bridge(8) say; the records; naming namespaces. */
#include "tests/unit/dataplane/ns.h"

#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/rng.h"
#include "router/container.h"
#include "tunnel/fwd.h"

static bool may;

struct state {
	struct kernel *k;
	int home, host, c1, c2;
};

static struct prefix prefix_of(const char *text)
{
	struct prefix p;
	assert_int_equal(prefix_parse(text, &p), ERR_OK);
	return p;
}

static int setup(void **s)
{
	struct state *t = calloc(1, sizeof *t);
	*s = t;
	if (!may)
		return 0;
	t->home = ns_here();
	t->host = ns_new();
	t->c1 = ns_new();
	t->c2 = ns_new();
	ns_go(t->host);
	OK(kernel_open(NULL, &t->k, &note));
	OK(link_bridge(t->k, link_peer_mac(UINT64_C(0x020304050607)), 1406, &note));
	OK(link_dns_address(t->k, &note));
	return 0;
}

static int teardown(void **s)
{
	struct state *t = *s;
	if (may) {
		kernel_close(t->k);
		ns_go(t->home);
		close(t->home);
		close(t->host);
		close(t->c1);
		close(t->c2);
	}
	free(t);
	return 0;
}

#define NEEDS_ROOT() \
	if (!may)        \
	skip()

/* ---- text */

static void record_roundtrip(void **s)
{
	(void)s;
	char text[NETLINK_ALIAS_MAX + 1];
	struct container_record r = { .ident = "netns:/tmp/a b%c", .mac = mac_of("02:01:02:03:04:05"), .n_addrs = 2 }, back;
	r.addrs[0] = prefix_of("10.32.0.1/12");
	r.addrs[1] = prefix_of("2001:db8::1/64");
	OK(container_record_format(&r, text));
	assert_string_equal(text, "weft1 id=netns:/tmp/a%20b%25c mac=02:01:02:03:04:05 addrs=10.32.0.1/12,2001:db8::1/64");
	OK(container_record_parse(text, &back));
	assert_string_equal(back.ident, r.ident);
	assert_true(mac_eq(back.mac, r.mac) && back.n_addrs == 2 && prefix_eq(back.addrs[0], r.addrs[0]) &&
		prefix_eq(back.addrs[1], r.addrs[1]));
	assert_false(back.hairpin);
	r.n_addrs = 0;
	r.hairpin = true;
	OK(container_record_format(&r, text));
	assert_string_equal(text, "weft1 id=netns:/tmp/a%20b%25c mac=02:01:02:03:04:05 hairpin addrs=");
	OK(container_record_parse(text, &back));
	assert_true(back.hairpin);
	assert_int_equal(back.n_addrs, 0);
	/* Too long is said, not cut. */
	memset(r.ident, 'x', NETNS_IDENT_MAX);
	for (r.n_addrs = 0; r.n_addrs < CONTAINER_ADDRS_MAX; r.n_addrs++)
		r.addrs[r.n_addrs] = prefix_of("10.132.100.101/12");
	assert_int_equal(container_record_format(&r, text), ERR_LIMIT);
}

static void record_malformed(void **s)
{
	(void)s;
	static const char *const bad[] = {
		"",
		"weft1",
		"weft1 ",
		"weft2 id=a mac=02:00:00:00:00:01 addrs=",
		"weft1 id= mac=02:00:00:00:00:01 addrs=",
		"weft1 id=a mac=02:00:00:00:00 addrs=",
		"weft1 id=a mac=02:00:00:00:00:01",
		"weft1 id=a mac=02:00:00:00:00:01 addrs=10.0.0.1",
		"weft1 id=a mac=02:00:00:00:00:01 addrs=10.0.0.1/33",
		"weft1 id=a mac=02:00:00:00:00:01 addrs=,",
		"weft1 id=%0 mac=02:00:00:00:00:01 addrs=",
		"weft1 id=%00 mac=02:00:00:00:00:01 addrs=",
		"weft1 id=a%",
		"weft1 id=a mac=02:00:00:00:00:01:02:03:04:05:06:07:08 addrs=",
		"weft1 id=a mac=02:00:00:00:00:01 addrs=1/8,1.1.1.1/8",
		"some other alias",
	};
	struct container_record r;
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		if (container_record_parse(bad[i], &r) != ERR_MALFORMED)
			fail_msg("taken: '%s'", bad[i]);
}

/* Random damage to a good record: refused, or read as something that can be written and read again. */
static void record_random(void **s)
{
	(void)s;
	const uint64_t seed = 20240229;
	printf("seed %llu\n", (unsigned long long)seed);
	struct rng g;
	rng_seed(&g, seed);
	for (int i = 0; i < 100000; i++) {
		char text[NETLINK_ALIAS_MAX + 1] = "weft1 id=c1 mac=02:00:00:00:00:01 addrs=10.0.0.1/8,2001:db8::1/64",
									  again[NETLINK_ALIAS_MAX + 1];
		for (uint64_t n = rng_between(&g, 1, 4), len = strlen(text); n > 0; n--)
			text[rng_below(&g, len)] = (char)rng_between(&g, 0, 255);
		struct container_record r, r2;
		if (container_record_parse(text, &r) == ERR_OK && container_record_format(&r, again) == ERR_OK) {
			assert_int_equal(container_record_parse(again, &r2), ERR_OK);
			assert_string_equal(r.ident, r2.ident);
			assert_int_equal(r.n_addrs, r2.n_addrs);
		}
	}
}

static void host_names(void **s)
{
	(void)s;
	char a[NETLINK_NAME_MAX + 1], b[NETLINK_NAME_MAX + 1];
	container_host_name("c1", 0, a);
	container_host_name("c1", 0, b);
	assert_string_equal(a, b);
	assert_int_equal(strlen(a), 15);
	assert_int_equal(strncmp(a, "vethwe", 6), 0);
	container_host_name("c1", 1, b);
	assert_string_not_equal(a, b);
	container_host_name("c2", 0, b);
	assert_string_not_equal(a, b);
	const struct mac m = container_random_mac((const uint8_t[6]){ 0xff, 1, 2, 3, 4, 5 });
	assert_int_equal(m.b[0], 0xfe);
}

static void targets(void **s)
{
	(void)s;
	struct netns_target t;
	struct err_note why;
	OK(netns_parse("pid:17", &t, &note));
	assert_true(t.kind == NETNS_PID && t.pid == 17);
	assert_string_equal(t.path, "/proc/17/ns/net");
	assert_string_equal(t.ident, "pid:17");
	OK(netns_parse("netns:/run/x/y", &t, &note));
	assert_true(t.kind == NETNS_PATH && t.pid == 0);
	assert_string_equal(t.path, "/run/x/y");
	assert_string_equal(t.ident, "netns:/run/x/y");
	OK(netns_parse("/run/x/y", &t, &note));
	assert_true(t.kind == NETNS_PATH);
	assert_string_equal(t.ident, "/run/x/y");
	OK(netns_parse("c1", &t, &note));
	assert_true(t.kind == NETNS_NAME);
	assert_string_equal(t.path, "/run/netns/c1");
	static const char *const bad[] = { "", "pid:", "pid:0", "pid:-1", "pid:1x", "pid: 1", "pid:99999999999999999999",
		"netns:", "netns:x", "a/b", "..", ".x", "x:y" };
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		if (netns_parse(bad[i], &t, &why) != ERR_USAGE)
			fail_msg("taken: '%s'", bad[i]);
	char longer[NETNS_IDENT_MAX + 2];
	memset(longer, 'x', sizeof longer);
	longer[NETNS_IDENT_MAX + 1] = '\0';
	assert_int_equal(netns_parse(longer, &t, &why), ERR_LIMIT);
	longer[NETNS_IDENT_MAX] = '\0';
	OK(netns_parse(longer, &t, &note));
}

/* ---- opening namespaces */

static bool same_namespace(int a, int b)
{
	struct stat x, y;
	return fstat(a, &x) == 0 && fstat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

static void opening(void **s)
{
	struct state *st = *s;
	NEEDS_ROOT();
	struct netns_target t;
	struct err_note why;
	int fd;
	OK(netns_parse("pid:4194303", &t, &note));
	assert_int_equal(netns_open(&t, &fd, &why), ERR_NOT_FOUND);
	OK(netns_parse("there-is-none-of-this-name", &t, &note));
	assert_int_equal(netns_open(&t, &fd, &why), ERR_NOT_FOUND);
	assert_non_null(strstr(why.text, "pid:N"));
	OK(netns_parse("/dev/null", &t, &note));
	assert_int_equal(netns_open(&t, &fd, &why), ERR_USAGE);
	OK(netns_parse("/proc/self/ns/uts", &t, &note));
	assert_int_equal(netns_open(&t, &fd, &why), ERR_USAGE);
	OK(netns_parse("/proc/thread-self/ns/net", &t, &note));
	assert_int_equal(netns_open(&t, &fd, &why), ERR_REFUSED);
	assert_non_null(strstr(why.text, "host network namespace"));
	/* By descriptor path, and by the pid of a child that lives there. */
	char path[64];
	snprintf(path, sizeof path, "/proc/%d/fd/%d", (int)getpid(), st->c1);
	OK(netns_parse(path, &t, &note));
	OK(netns_open(&t, &fd, &note));
	assert_true(same_namespace(fd, st->c1));
	assert_false(same_namespace(fd, st->c2));
	close(fd);
	int hold[2];
	assert_int_equal(pipe(hold), 0);
	ns_go(st->c2);
	pid_t pid = fork();
	if (pid == 0) {
		char c;
		close(hold[1]);
		_exit(read(hold[0], &c, 1) != 0);
	}
	ns_go(st->host);
	close(hold[0]);
	snprintf(path, sizeof path, "pid:%d", (int)pid);
	OK(netns_parse(path, &t, &note));
	OK(netns_open(&t, &fd, &note));
	assert_true(same_namespace(fd, st->c2));
	close(fd);
	close(hold[1]);
	int status;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_true(netns_is_own(st->host));
}

/* In the caller's UTS namespace. */
static bool set_kernel_name(const char *which, const char *name)
{
	char path[64];
	snprintf(path, sizeof path, "/proc/sys/kernel/%s", which);
	int fd = open(path, O_WRONLY);
	bool ok = fd >= 0 && write(fd, *name ? name : "\n", *name ? strlen(name) : 1) > 0;
	close(fd);
	return ok;
}

/* What a process has for a name that lives in a UTS namespace of its own (hostname NULL: in ours). */
static void fqdn_of(const char *hostname, const char *domain, enum err want, const char *name)
{
	int ready[2], hold[2];
	assert_true(pipe(ready) == 0 && pipe(hold) == 0);
	pid_t pid = fork();
	if (pid == 0) {
		char c;
		close(hold[1]);
		if (hostname &&
			(unshare(CLONE_NEWUTS) != 0 || !set_kernel_name("hostname", hostname) || !set_kernel_name("domainname", domain)))
			_exit(1);
		if (write(ready[1], "x", 1) != 1)
			_exit(1);
		_exit(read(hold[0], &c, 1) != 0);
	}
	char c, out[160] = "";
	close(hold[0]);
	close(ready[1]);
	assert_int_equal(read(ready[0], &c, 1), 1);
	struct err_note why = { "" };
	assert_int_equal(netns_fqdn(pid, out, sizeof out, &why), want);
	if (want == ERR_OK)
		assert_string_equal(out, name);
	close(hold[1]);
	close(ready[0]);
	int status;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static void fqdn(void **s)
{
	(void)s;
	NEEDS_ROOT();
	char before[65], after[65];
	assert_int_equal(gethostname(before, sizeof before), 0);
	fqdn_of("c1.weft.local", "", ERR_OK, "c1.weft.local");
	fqdn_of("c1", "weft.local", ERR_OK, "c1.weft.local");
	fqdn_of("c1", "(none)", ERR_OK, "c1");
	fqdn_of(NULL, NULL, ERR_NOT_FOUND, NULL);
	fqdn_of("", "weft.local", ERR_NOT_FOUND, NULL);
	struct err_note why;
	char out[8];
	assert_int_equal(netns_fqdn(4194303, out, sizeof out, &why), ERR_NOT_FOUND);
	assert_int_equal(gethostname(after, sizeof after), 0);
	assert_string_equal(before, after);
}

/* ---- attach and detach */

static struct container_want want_of(const char *ident, int ns, const struct prefix *addrs, size_t n)
{
	return (struct container_want){ .ident = ident,
		.nsfd = ns,
		.mac = mac_of("02:aa:00:00:00:01"),
		.addrs = addrs,
		.n_addrs = n,
		.mtu = 1406,
		.multicast_route = true,
		.dns_route = true };
}

struct sought {
	const char *ident;
	struct container_record *out;
	bool found;
};

static void compare(const struct container_record *r, const char *host_ifname, void *arg)
{
	struct sought *f = arg;
	(void)host_ifname;
	if (strcmp(r->ident, f->ident) == 0) {
		*f->out = *r;
		f->found = true;
	}
}

/* By the list. */
static bool listed(struct state *t, const char *ident, struct container_record *out)
{
	struct sought f = { ident, out, false };
	OK(container_list(t->k, compare, &f, &note));
	return f.found;
}

/* Of the container's interface, those that are not link-local. */
static size_t addresses(int ns)
{
	json_t *j = ns_json(ns, "ip -j addr show dev ethwe"), *info;
	size_t i, n = 0;
	json_array_foreach(json_object_get(json_array_get(j, 0), "addr_info"), i, info) n +=
		strcmp(ns_text(info, "scope"), "global") == 0;
	json_decref(j);
	return n;
}

static void attach_one(void **s)
{
	struct state *t = *s;
	NEEDS_ROOT();
	const struct prefix addrs[] = { prefix_of("10.32.0.1/12"), prefix_of("fd00::1/64") };
	struct container_want want = want_of("c1", t->c1, addrs, 2);
	struct container_record r;
	OK(container_attach(t->k, &want, &r, &note));
	assert_true(netns_is_own(t->host));
	assert_int_equal(r.n_addrs, 2);
	/* The container's side. */
	json_t *j = ns_json(t->c1, "ip -j -d addr show dev ethwe"), *l = json_array_get(j, 0);
	assert_string_equal(ns_text(l, "address"), "02:aa:00:00:00:01");
	assert_int_equal(json_integer_value(json_object_get(l, "mtu")), 1406);
	assert_true(ns_has(json_object_get(l, "flags"), "UP"));
	json_t *infos = json_object_get(l, "addr_info");
	json_t *four = ns_pick(infos, "local", "10.32.0.1"), *six = ns_pick(infos, "local", "fd00::1");
	assert_int_equal(json_integer_value(json_object_get(four, "prefixlen")), 12);
	assert_string_equal(ns_text(four, "broadcast"), "10.47.255.255");
	assert_int_equal(json_integer_value(json_object_get(six, "prefixlen")), 64);
	assert_true(json_is_true(json_object_get(six, "nodad")));
	json_decref(j);
	j = ns_json(t->c1, "ip -j route");
	assert_string_equal(ns_text(ns_pick(j, "dst", "224.0.0.0/4"), "dev"), "ethwe");
	assert_string_equal(ns_text(ns_pick(j, "dst", "169.254.67.83"), "dev"), "ethwe");
	assert_string_equal(ns_text(ns_pick(j, "dst", "10.32.0.0/12"), "dev"), "ethwe");
	json_decref(j);
	/* The host's. */
	char name[NETLINK_NAME_MAX + 1];
	container_host_name("c1", 0, name);
	j = ns_json(-1, "ip -j -d link");
	l = ns_pick(j, "ifname", name);
	assert_string_equal(ns_text(l, "master"), "weft");
	assert_string_equal(ns_text(l, "ifalias"), "weft1 id=c1 mac=02:aa:00:00:00:01 addrs=10.32.0.1/12,fd00::1/64");
	json_t *port = json_object_get(json_object_get(l, "linkinfo"), "info_slave_data");
	assert_string_equal(ns_text(port, "state"), "forwarding");
	assert_true(json_is_true(json_object_get(port, "locked")));
	json_decref(j);
	assert_int_equal(ns_run(-1, "bridge fdb show br weft | grep -q '02:aa:00:00:00:01 dev vethwe.* master weft static'"), 0);
	/* The container reaches the daemon's address, and the answer finds its way, though the host has no route to it. */
	assert_int_equal(ns_run(t->c1, "ping -q -c1 -W2 169.254.67.83 >/dev/null"), 0);
	assert_int_not_equal(ns_run(-1, "ping -q -c1 -W1 10.32.0.1 >/dev/null 2>&1"), 0);
}

static void attach_again(void **s)
{
	struct state *t = *s;
	NEEDS_ROOT();
	struct prefix addrs[] = { prefix_of("10.32.0.1/12") };
	struct container_want want = want_of("c1", t->c1, addrs, 1);
	struct container_record r;
	OK(container_attach(t->k, &want, &r, &note));
	json_t *before = ns_json(t->c1, "ip -j link show dev ethwe");
	/* The same; another MAC asked for is not taken: what is there stays. */
	want.mac = mac_of("02:aa:00:00:00:99");
	OK(container_attach(t->k, &want, &r, &note));
	assert_true(mac_eq(r.mac, mac_of("02:aa:00:00:00:01")));
	json_t *after = ns_json(t->c1, "ip -j link show dev ethwe");
	assert_true(json_equal(before, after));
	json_decref(before);
	json_decref(after);
	assert_int_equal(addresses(t->c1), 1);
	/* One more. */
	addrs[0] = prefix_of("10.40.0.1/16");
	OK(container_attach(t->k, &want, &r, &note));
	assert_int_equal(r.n_addrs, 2);
	assert_int_equal(addresses(t->c1), 2);
	/* One that the container threw away comes back. */
	assert_int_equal(ns_run(t->c1, "ip addr del 10.40.0.1/16 dev ethwe"), 0);
	OK(container_attach(t->k, &want, &r, &note));
	assert_int_equal(addresses(t->c1), 2);
	assert_true(listed(t, "c1", &r));
	assert_int_equal(r.n_addrs, 2);
	assert_false(listed(t, "c2", &r));
}

static void attach_options(void **s)
{
	struct state *t = *s;
	NEEDS_ROOT();
	struct container_want want = want_of("c1", t->c1, NULL, 0);
	struct container_record r;
	want.multicast_route = want.dns_route = false;
	OK(container_attach(t->k, &want, &r, &note));
	assert_int_equal(r.n_addrs, 0);
	assert_int_not_equal(ns_run(t->c1, "ip route | grep -q ethwe"), 0);
	/* As in a container of Docker's, where IPv6 is off until asked for. */
	assert_int_equal(ns_run(t->c1, "echo 1 > /proc/sys/net/ipv6/conf/ethwe/disable_ipv6"), 0);
	const struct prefix six = prefix_of("fd00::7/64");
	want.addrs = &six;
	want.n_addrs = 1;
	OK(container_attach(t->k, &want, &r, &note));
	assert_int_equal(addresses(t->c1), 1);
}

/* Two interfaces in one namespace, each of its own identity; routes; a port that gives back. */
static void named_interfaces(void **s)
{
	struct state *t = *s;
	NEEDS_ROOT();
	const struct prefix a = prefix_of("10.32.0.1/12"), b = prefix_of("10.64.0.1/24");
	const struct container_route routes[] = { { .dst = prefix_of("0.0.0.0/0"), .gw = ip_v4(UINT32_C(0x0a400002)) },
		{ .dst = prefix_of("192.0.2.0/24"), .gw = { 0 } } };
	struct container_want one = want_of("one", t->c1, &a, 1), two = want_of("two", t->c1, &b, 1);
	struct container_record r;
	struct err_note why;
	OK(container_attach(t->k, &one, &r, &note));
	assert_string_equal(r.ifname, "ethwe");
	two.mac = mac_of("02:aa:00:00:00:02");
	two.multicast_route = two.dns_route = false;
	assert_int_equal(container_attach(t->k, &two, &r, &why), ERR_EXISTS);
	two.ifname = "net0";
	two.routes = routes;
	two.n_routes = 2;
	two.hairpin = true;
	OK(container_attach(t->k, &two, &r, &note));
	assert_string_equal(r.ifname, "net0");
	OK(container_attach(t->k, &two, &r, &note)); /* again */
	json_t *j = ns_json(t->c1, "ip -j route show dev net0");
	assert_string_equal(ns_text(ns_pick(j, "dst", "default"), "gateway"), "10.64.0.2");
	assert_non_null(ns_pick(j, "dst", "192.0.2.0/24"));
	json_decref(j);
	char command[128];
	snprintf(command, sizeof command, "bridge -d link show dev %s | grep -q 'hairpin on'", r.port);
	assert_int_equal(ns_run(-1, command), 0);
	/* Under another name it would be another interface; without one it is the one that it has. */
	two.ifname = "net1";
	assert_int_equal(container_attach(t->k, &two, &r, &why), ERR_EXISTS);
	assert_non_null(strstr(why.text, "net0"));
	two.ifname = NULL;
	OK(container_attach(t->k, &two, &r, &note));
	assert_string_equal(r.ifname, "net0");
	OK(container_detach(t->k, "two", t->c1, NULL, 0, &r, &note));
	assert_int_not_equal(ns_run(t->c1, "ip link show net0 >/dev/null 2>&1"), 0);
	assert_int_equal(addresses(t->c1), 1);
	static const char *const bad[] = { "", "..", "a/b", "a b", "a%d", "sixteen-letters-", "all" };
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		assert_false(container_ifname_ok(bad[i]));
	assert_true(container_ifname_ok("eth0.5"));
}

/* As dockerd uses it: the inner end is here, goes into a container, comes back. */
static void pairs(void **s)
{
	struct state *t = *s;
	NEEDS_ROOT();
	const struct prefix a[] = { prefix_of("10.32.0.1/12"), prefix_of("10.32.0.9/12") };
	struct container_want want = want_of("docker:0123", -1, a, 1);
	struct container_record r, again;
	struct err_note why;
	want.ifname = "vwi0123";
	OK(container_pair(t->k, &want, &r, &note));
	assert_string_equal(r.ifname, "vwi0123");
	json_t *j = ns_json(-1, "ip -j link show vwi0123");
	assert_string_equal(ns_text(json_array_get(j, 0), "address"), "02:aa:00:00:00:01");
	assert_int_equal(json_integer_value(json_object_get(json_array_get(j, 0), "mtu")), 1406);
	assert_false(ns_has(json_object_get(json_array_get(j, 0), "flags"), "UP"));
	json_decref(j);
	assert_true(listed(t, "docker:0123", &again));
	assert_int_equal(again.n_addrs, 1);
	/* Another one may not have the name. */
	struct container_want other = want_of("docker:4567", -1, a, 1);
	other.ifname = want.ifname;
	assert_int_equal(container_pair(t->k, &other, &again, &why), ERR_EXISTS);
	assert_false(listed(t, "docker:4567", &again));
	/* In the container it works, under any name, and asking again changes the record only. */
	struct container_want peer = want_of("c2", t->c2, &a[1], 1);
	peer.mac = mac_of("02:aa:00:00:00:02");
	OK(container_attach(t->k, &peer, &again, &note));
	char command[160];
	snprintf(command, sizeof command, "ip link set vwi0123 netns /proc/%d/fd/%d", (int)getpid(), t->c1);
	assert_int_equal(ns_run(-1, command), 0);
	assert_int_equal(
		ns_run(t->c1, "ip link set vwi0123 name eth7 && ip addr add 10.32.0.1/12 dev eth7 && ip link set eth7 up"), 0);
	assert_int_equal(ns_run(t->c1, "ping -q -c1 -W2 10.32.0.9 >/dev/null"), 0);
	want.n_addrs = 2;
	OK(container_pair(t->k, &want, &again, &note));
	assert_int_equal(again.n_addrs, 2);
	assert_string_equal(again.port, r.port);
	OK(container_detach(t->k, "docker:0123", -1, NULL, 0, &r, &note));
	assert_int_not_equal(ns_run(t->c1, "ip link show eth7 >/dev/null 2>&1"), 0);
	assert_false(listed(t, "docker:0123", &again));
}

static void two_talk(void **s)
{
	struct state *t = *s;
	NEEDS_ROOT();
	const struct prefix a1[] = { prefix_of("10.32.0.1/12"), prefix_of("fd00::1/64") },
						a2[] = { prefix_of("10.32.0.2/12"), prefix_of("fd00::2/64") };
	struct container_want w1 = want_of("c1", t->c1, a1, 2), w2 = want_of("c2", t->c2, a2, 2);
	struct container_record r;
	w2.mac = mac_of("02:aa:00:00:00:02");
	OK(container_attach(t->k, &w1, &r, &note));
	OK(container_attach(t->k, &w2, &r, &note));
	assert_int_equal(ns_run(t->c1, "ping -q -c1 -W2 10.32.0.2 >/dev/null && ping -q -c1 -W2 fd00::2 >/dev/null"), 0);
}

/* What c1 hears when c2 gets its addresses: the very ARP and ND packets. */
static void announcements(void **s)
{
	struct state *t = *s;
	NEEDS_ROOT();
	struct container_want w1 = want_of("c1", t->c1, NULL, 0);
	struct container_record r;
	OK(container_attach(t->k, &w1, &r, &note));
	ns_go(t->c1);
	int sock = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK, htons(3 /* ETH_P_ALL */));
	struct sockaddr_ll at = { .sll_family = AF_PACKET, .sll_protocol = htons(3), .sll_ifindex = (int)if_nametoindex("ethwe") };
	assert_int_equal(bind(sock, (struct sockaddr *)&at, sizeof at), 0);
	ns_go(t->host);
	const struct prefix a2[] = { prefix_of("10.32.0.2/12"), prefix_of("fd00::2/64") };
	struct container_want w2 = want_of("c2", t->c2, a2, 2);
	w2.mac = mac_of("02:aa:00:00:00:02");
	OK(container_attach(t->k, &w2, &r, &note));
	static const uint8_t arp[42] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0xaa, 0, 0, 0, 2, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1, 2,
		0xaa, 0, 0, 0, 2, 10, 32, 0, 2, 0, 0, 0, 0, 0, 0, 10, 32, 0, 2 };
	/* fd00::2 → ff02::1, ICMPv6 136, override, target fd00::2, option target link-layer address; the checksum by hand. */
	static const uint8_t na_head[22] = { 0x33, 0x33, 0, 0, 0, 1, 2, 0xaa, 0, 0, 0, 2, 0x86, 0xdd, 0x60, 0, 0, 0, 0, 32, 58, 255 };
	bool heard4 = false, heard6 = false;
	for (int i = 0; i < 400 && !(heard4 && heard6); i++) {
		uint8_t frame[2048];
		ssize_t n = recv(sock, frame, sizeof frame, 0);
		if (n < 0) {
			usleep(5000);
			continue;
		}
		if (n == sizeof arp && memcmp(frame, arp, sizeof arp) == 0)
			heard4 = true;
		if (n == 86 && memcmp(frame, na_head, sizeof na_head) == 0 && frame[54] == 136 && frame[58] == 0x20) {
			uint32_t sum = 58 + 32;
			for (size_t at2 = 22; at2 < 86; at2 += 2)
				sum += (uint32_t)frame[at2] << 8 | frame[at2 + 1];
			while (sum >> 16)
				sum = (sum & 0xffff) + (sum >> 16);
			assert_int_equal(sum, 0xffff);
			heard6 = true;
		}
	}
	close(sock);
	assert_true(heard4);
	assert_true(heard6);
}

static void detach(void **s)
{
	struct state *t = *s;
	NEEDS_ROOT();
	const struct prefix addrs[] = { prefix_of("10.32.0.1/12"), prefix_of("10.32.0.5/12"), prefix_of("fd00::1/64") };
	struct container_want want = want_of("c1", t->c1, addrs, 3);
	struct container_record r;
	struct err_note why;
	assert_int_equal(container_detach(t->k, "c1", -1, NULL, 0, &r, &why), ERR_NOT_FOUND);
	OK(container_attach(t->k, &want, &r, &note));
	const struct ip other = ip_of("10.32.0.9"), first = ip_of("10.32.0.1"), rest[] = { ip_of("10.32.0.5"), ip_of("fd00::1") };
	assert_int_equal(container_detach(t->k, "c1", t->c1, &other, 1, &r, &why), ERR_NOT_FOUND);
	assert_int_equal(container_detach(t->k, "c1", -1, &first, 1, &r, &why), ERR_USAGE);
	/* The first of its subnet goes; the second and the routes stay. */
	OK(container_detach(t->k, "c1", t->c1, &first, 1, &r, &note));
	assert_true(r.n_addrs == 1 && ip_eq(r.addrs[0].addr, first));
	assert_int_equal(addresses(t->c1), 2);
	json_t *j = ns_json(t->c1, "ip -j route");
	assert_non_null(ns_pick(j, "dst", "224.0.0.0/4"));
	assert_non_null(ns_pick(j, "dst", "169.254.67.83"));
	assert_non_null(ns_pick(j, "dst", "10.32.0.0/12"));
	json_decref(j);
	assert_true(listed(t, "c1", &r));
	assert_int_equal(r.n_addrs, 2);
	/* The last ones take the interface with them. */
	OK(container_detach(t->k, "c1", t->c1, rest, 2, &r, &note));
	assert_int_equal(r.n_addrs, 2);
	assert_int_not_equal(ns_run(t->c1, "ip link show dev ethwe >/dev/null 2>&1"), 0);
	OK(container_attach(t->k, &want, &r, &note));
	OK(container_detach(t->k, "c1", -1, NULL, 0, &r, &note));
	assert_int_equal(r.n_addrs, 3);
	assert_int_not_equal(ns_run(t->c1, "ip link show dev ethwe >/dev/null 2>&1"), 0);
	assert_int_equal(ns_run(-1, "! ip link | grep -q vethwe"), 0);
}

struct seen {
	struct container_record v[8];
	size_t n;
};
static void see(const struct container_record *r, const char *host_ifname, void *arg)
{
	struct seen *seen = arg;
	char name[NETLINK_NAME_MAX + 1];
	container_host_name(r->ident, 0, name);
	assert_string_equal(name, host_ifname);
	assert_true(seen->n < 8);
	seen->v[seen->n++] = *r;
}

static void listing(void **s)
{
	struct state *t = *s;
	NEEDS_ROOT();
	const struct prefix a1 = prefix_of("10.32.0.1/12"), a2 = prefix_of("10.32.0.2/12");
	struct container_want w1 = want_of("c1", t->c1, &a1, 1), w2 = want_of("netns:/tmp/c 2", t->c2, &a2, 1);
	struct container_record r;
	struct seen seen = { .n = 0 };
	OK(container_list(t->k, see, &seen, &note));
	assert_int_equal(seen.n, 0);
	OK(container_attach(t->k, &w1, &r, &note));
	OK(container_attach(t->k, &w2, &r, &note));
	/* A new handle (a daemon that lost its state) learns all of it from the kernel. */
	kernel_close(t->k);
	OK(kernel_open(NULL, &t->k, &note));
	OK(container_list(t->k, see, &seen, &note));
	assert_int_equal(seen.n, 2);
	assert_string_equal(seen.v[0].ident, "c1");
	assert_string_equal(seen.v[1].ident, "netns:/tmp/c 2");
	assert_true(prefix_eq(seen.v[1].addrs[0], a2));
	/* One on another bridge and one without a record are none of ours. */
	assert_int_equal(ns_run(-1, "ip link add vethwefoo type veth peer name x && ip link set vethwefoo master weft"), 0);
	assert_int_equal(ns_run(-1,
						 "ip link add other type bridge && ip link add vethwebar type veth peer name y &&"
						 "ip link set vethwebar master other alias 'weft1 id=x mac=02:00:00:00:00:01 addrs='"),
		0);
	seen.n = 0;
	OK(container_list(t->k, see, &seen, &note));
	assert_int_equal(seen.n, 2);
	/* The namespace goes, the container goes. */
	close(t->c1);
	t->c1 = ns_new();
	for (int i = 0; i < 400; i++) {
		seen.n = 0;
		OK(container_list(t->k, see, &seen, &note));
		if (seen.n == 1)
			break;
		usleep(10000);
	}
	assert_int_equal(seen.n, 1);
	assert_string_equal(seen.v[0].ident, "netns:/tmp/c 2");
	OK(link_reset(t->k, &note));
	assert_int_not_equal(ns_run(t->c2, "ip link show dev ethwe >/dev/null 2>&1"), 0);
}

static void conflicts(void **s)
{
	struct state *t = *s;
	NEEDS_ROOT();
	const struct prefix a1 = prefix_of("10.32.0.1/12");
	struct container_want want = want_of("c1", t->host, &a1, 1);
	struct container_record r;
	struct err_note why;
	assert_int_equal(container_attach(t->k, &want, &r, &why), ERR_REFUSED);
	/* Not ours. */
	assert_int_equal(ns_run(t->c1, "ip link add ethwe type veth peer name x"), 0);
	want.nsfd = t->c1;
	assert_int_equal(container_attach(t->k, &want, &r, &why), ERR_EXISTS);
	assert_non_null(strstr(why.text, "not weft's"));
	assert_int_equal(ns_run(t->c1, "ip link del ethwe"), 0);
	/* Under another name. */
	OK(container_attach(t->k, &want, &r, &note));
	want.ident = "pid:7";
	assert_int_equal(container_attach(t->k, &want, &r, &why), ERR_EXISTS);
	assert_non_null(strstr(why.text, "as c1"));
	/* The same name, another namespace: a container that started again. The old interface goes. */
	want.ident = "c1";
	want.nsfd = t->c2;
	OK(container_attach(t->k, &want, &r, &note));
	assert_int_not_equal(ns_run(t->c1, "ip link show dev ethwe >/dev/null 2>&1"), 0);
	assert_int_equal(addresses(t->c2), 1);
	/* A half-made interface in its place (a crash between making and marking) is made again. */
	OK(container_detach(t->k, "c1", -1, NULL, 0, &r, &note));
	char name[NETLINK_NAME_MAX + 1], command[128];
	container_host_name("c1", 0, name);
	snprintf(command, sizeof command, "ip link add %s type veth peer name x", name);
	assert_int_equal(ns_run(-1, command), 0);
	assert_false(listed(t, "c1", &r));
	OK(container_attach(t->k, &want, &r, &note));
	assert_int_equal(addresses(t->c2), 1);
	/* Its name held by another container: the next name. */
	snprintf(command, sizeof command, "ip link set %s alias 'weft1 id=else mac=02:00:00:00:00:09 addrs='", name);
	assert_int_equal(ns_run(-1, command), 0);
	want.nsfd = t->c1;
	OK(container_attach(t->k, &want, &r, &note));
	container_host_name("c1", 1, name);
	snprintf(command, sizeof command, "ip link show dev %s | grep -q 'id=c1 '", name);
	assert_int_equal(ns_run(-1, command), 0);
	/* No bridge. */
	assert_int_equal(ns_run(-1, "ip link del weft"), 0);
	assert_int_equal(container_attach(t->k, &want, &r, &why), ERR_NOT_FOUND);
}

/* A failure takes back what the call made: an address the kernel refuses, on a new and on an old interface. */
static void taken_back(void **s)
{
	struct state *t = *s;
	NEEDS_ROOT();
	const struct prefix bad[] = { prefix_of("10.32.0.1/12"), prefix_of("ff02::1/64") }, good = prefix_of("10.32.0.7/12");
	struct container_want want = want_of("c1", t->c1, bad, 2);
	struct container_record r;
	struct err_note why;
	assert_int_not_equal(container_attach(t->k, &want, &r, &why), ERR_OK);
	assert_int_not_equal(ns_run(t->c1, "ip link show dev ethwe >/dev/null 2>&1"), 0);
	assert_int_equal(ns_run(-1, "! ip link | grep -q vethwe"), 0);
	want.addrs = &good;
	want.n_addrs = 1;
	OK(container_attach(t->k, &want, &r, &note));
	want.addrs = bad;
	want.n_addrs = 2;
	assert_int_not_equal(container_attach(t->k, &want, &r, &why), ERR_OK);
	assert_int_equal(addresses(t->c1), 1);
	assert_true(listed(t, "c1", &r));
	assert_int_equal(r.n_addrs, 1);
	/* More than the record holds. */
	struct prefix many[CONTAINER_ADDRS_MAX + 1];
	for (unsigned i = 0; i <= CONTAINER_ADDRS_MAX; i++)
		many[i] = (struct prefix){ .addr = ip_v4(UINT32_C(0x0a210000) + i), .len = 12 };
	want.addrs = many;
	want.n_addrs = CONTAINER_ADDRS_MAX + 1;
	assert_int_equal(container_attach(t->k, &want, &r, &why), ERR_LIMIT);
	assert_int_equal(addresses(t->c1), 1);
}

static void churn(void **s)
{
	struct state *t = *s;
	NEEDS_ROOT();
	const struct prefix a = prefix_of("10.32.0.1/12");
	struct container_want want = want_of("c1", t->c1, &a, 1);
	struct container_record r;
	int before = dup(0), after;
	close(before);
	for (int i = 0; i < 20; i++) {
		OK(container_attach(t->k, &want, &r, &note));
		OK(container_detach(t->k, "c1", -1, NULL, 0, &r, &note));
	}
	after = dup(0);
	close(after);
	assert_int_equal(before, after); /* no descriptor left behind */
}

int main(void)
{
	may = ns_start();
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(record_roundtrip),
		cmocka_unit_test(record_malformed),
		cmocka_unit_test(record_random),
		cmocka_unit_test(host_names),
		cmocka_unit_test(targets),
		T(opening),
		T(fqdn),
		T(attach_one),
		T(attach_again),
		T(attach_options),
		T(named_interfaces),
		T(pairs),
		T(two_talk),
		T(announcements),
		T(detach),
		T(listing),
		T(conflicts),
		T(taken_back),
		T(churn),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
