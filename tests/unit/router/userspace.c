/* The userspace path and the fast path between hosts, on the real kernel, all in namespaces of the test's own:
 *
 *    c1 ─ ethwe   c2 ─ ethwe   c3 ─ ethwe        10.32.0.N/12  fd00::N/64      MAC 02:cc:00:00:00:0N
 *         │            │            │
 *    h1 [weft]    h2 [weft]    h3 [weft]         bridge, weft-vx, weft-tap + userspace path, peer N
 *         │eth0        │eth0        │eth0        192.0.2.N/24
 *         └──────── [bridge] ───────┘            underlay
 *
 * Run with --measure it prints throughput and round-trip times of both paths instead. */
#include "tests/unit/dataplane/ns.h"

#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <limits.h>
#include <time.h>

#include "base/mem.h"
#include "base/rng.h"
#include "router/container.h"
#include "tunnel/encap.h"
#include "router/tap.h"
#include "router/userspace.h"

#define HOSTS 3u
#define MTU   1406u

static bool may;

struct host {
	int ns, container, tap;
	struct kernel *k;
	struct userspace *u;
};
struct state {
	int home, underlay;
	struct host h[HOSTS + 1]; /* from 1 */
};

static struct ip underlay_ip(unsigned n)
{
	return ip_v4(UINT32_C(0xc0000200) + n);
}

static struct mac container_mac(unsigned n)
{
	return (struct mac){ { 0x02, 0xcc, 0, 0, 0, (uint8_t)n } };
}

static struct fwd_table *table_for(unsigned self, unsigned members)
{
	struct fwd_peer peers[HOSTS] = { 0 };
	struct fwd_mac macs[HOSTS] = { 0 };
	for (unsigned n = 1; n <= HOSTS; n++) {
		peers[n - 1] = (struct fwd_peer){ .name = n, .to = { underlay_ip(n), 6783 }, .member = members & (1u << n) };
		macs[n - 1] = (struct fwd_mac){ container_mac(n), n };
	}
	struct fwd_table *t;
	assert_int_equal(fwd_table_new(self, peers, HOSTS, macs, HOSTS, NULL, 0, &t), ERR_OK);
	return t;
}

static void direct(struct host *h, unsigned self, enum link_uplink uplink)
{
	for (unsigned n = 1; n <= HOSTS; n++)
		if (n != self)
			OK(link_fdb_set(h->k, container_mac(n), uplink, underlay_ip(n), &note));
}

static void make_host(struct state *t, unsigned n)
{
	struct host *h = &t->h[n];
	char command[512], text[PREFIX_TEXT];
	h->ns = ns_new();
	h->container = ns_new();
	ns_go(t->underlay);
	snprintf(command, sizeof command,
		"ip link add eth0 netns /proc/%d/fd/%d type veth peer name u%u && ip link set u%u master u up", (int)getpid(), h->ns, n,
		n);
	assert_int_equal(system(command), 0);
	ns_go(h->ns);
	snprintf(command, sizeof command, "ip addr add 192.0.2.%u/24 dev eth0 && ip link set eth0 up", n);
	assert_int_equal(system(command), 0);
	const struct link_vxlan fast = { .vni = WEFT_VNI_DEFAULT, .port = WEFT_VXLAN_PORT_DEFAULT };
	OK(kernel_open(NULL, &h->k, &note));
	OK(link_bridge(h->k, link_peer_mac(n), MTU, &note));
	OK(link_dns_address(h->k, &note));
	OK(link_vxlan(h->k, &fast, MTU, &note));
	OK(tap_open("weft-tap", &h->tap, &note));
	OK(link_tap(h->k, MTU, &note));
	OK(userspace_start(h->tap, (struct hostport){ { 0 }, 6783 }, &h->u, &note));
	struct prefix addrs[2];
	struct container_record r;
	snprintf(text, sizeof text, "10.32.0.%u/12", n);
	assert_int_equal(prefix_parse(text, &addrs[0]), ERR_OK);
	snprintf(text, sizeof text, "fd00::%u/64", n);
	assert_int_equal(prefix_parse(text, &addrs[1]), ERR_OK);
	const struct container_want want = { .ident = "c",
		.nsfd = h->container,
		.mac = container_mac(n),
		.addrs = addrs,
		.n_addrs = 2,
		.mtu = MTU,
		.dns_route = true,
		.multicast_route = true };
	OK(container_attach(h->k, &want, &r, &note));
	ns_go(t->home);
}

/* The state every test finds: all tables complete, everything by the userspace path. */
static void as_before(struct state *t)
{
	for (unsigned n = 1; n <= HOSTS; n++) {
		assert_int_equal(userspace_set_table(t->h[n].u, table_for(n, 0xe)), ERR_OK);
		direct(&t->h[n], n, LINK_USERSPACE);
	}
}

static int setup(void **s)
{
	struct state *t = calloc(1, sizeof *t);
	*s = t;
	if (!may)
		return 0;
	t->home = ns_here();
	t->underlay = ns_new();
	assert_int_equal(ns_run(t->underlay, "ip link add u type bridge mcast_snooping 0 && ip link set u up"), 0);
	for (unsigned n = 1; n <= HOSTS; n++)
		make_host(t, n);
	as_before(t);
	return 0;
}

static int teardown(void **s)
{
	struct state *t = *s;
	for (unsigned n = 1; n <= HOSTS && may; n++) {
		userspace_stop(t->h[n].u);
		kernel_close(t->h[n].k);
		close(t->h[n].tap);
		close(t->h[n].container);
		close(t->h[n].ns);
	}
	if (may) {
		close(t->underlay);
		close(t->home);
	}
	free(t);
	return 0;
}

#define NEEDS_ROOT() \
	if (!may)        \
	skip()

static struct userspace_stats stats(const struct host *h)
{
	struct userspace_stats st;
	userspace_stats(h->u, &st);
	return st;
}

static void traffic_of(uint64_t peer, const struct userspace_traffic *traffic, void *arg)
{
	struct userspace_traffic *v = arg;
	assert_true(peer >= 1 && peer <= HOSTS);
	v[peer] = *traffic;
}

/* Waits (2 s) until a counter is there. */
static void reaches(const struct host *h, enum fwd_drop why, uint64_t n)
{
	for (int i = 0; i < 400 && stats(h).dropped[why] < n; i++)
		usleep(5000);
	assert_int_equal(stats(h).dropped[why], n);
}

static void pings(void **s)
{
	struct state *t = *s;
	NEEDS_ROOT();
	assert_int_equal(
		ns_run(t->h[1].container, "ping -q -c1 -W2 10.32.0.2 >/dev/null && ping -q -c1 -W2 10.32.0.3 >/dev/null"), 0);
	assert_int_equal(ns_run(t->h[3].container, "ping -q -c1 -W2 fd00::2 >/dev/null"), 0);
	/* Sizes around the limits, in fragments too. */
	assert_int_equal(
		ns_run(t->h[1].container,
			"for s in 0 1 17 18 1377 1378 1379 4000 9000 60000; do ping -q -c1 -W2 -s $s 10.32.0.2 || exit 1; done >/dev/null"),
		0);
	/* What one sent the other received, per peer. The counters come a moment after the frames. */
	struct userspace_traffic v1[HOSTS + 1] = { 0 }, v2[HOSTS + 1] = { 0 };
	bool equal = false;
	for (int i = 0; i < 400 && !equal; i++, usleep(5000)) {
		userspace_peers(t->h[2].u, traffic_of, v2);
		userspace_peers(t->h[1].u, traffic_of, v1);
		equal = v1[2].frames_sent > 60 && v2[1].frames_received == v1[2].frames_sent && v2[1].bytes_received == v1[2].bytes_sent;
	}
	assert_true(equal);
	assert_true(v1[2].bytes_sent > 74000 && v1[3].frames_sent > 0 && v1[1].frames_sent == 0);
	const struct userspace_stats st = stats(&t->h[1]);
	assert_true(st.total.frames_sent >= v1[2].frames_sent + v1[3].frames_sent &&
		st.total.bytes_sent >= v1[2].bytes_sent + v1[3].bytes_sent);
	assert_true(st.total.frames_received >= v1[2].frames_received && st.total.bytes_received >= v1[2].bytes_received);
	assert_int_equal(
		st.dropped[FWD_MALFORMED] + st.dropped[FWD_TOO_BIG] + st.dropped[FWD_SEND_FAILED] + st.dropped[FWD_TAP_FAILED], 0);
	assert_false(st.tap_lost);
}

/* Each host has the same address for itself: containers reach their own host's, and nothing of it crosses. */
static void own_address(void **s)
{
	struct state *t = *s;
	NEEDS_ROOT();
	const uint64_t before = stats(&t->h[1]).dropped[FWD_DNS_ADDRESS];
	assert_int_equal(ns_run(t->h[1].container, "ping -q -c2 -i 0.1 -W2 169.254.67.83 >/dev/null"), 0);
	assert_int_equal(stats(&t->h[1]).dropped[FWD_DNS_ADDRESS], before); /* not even its ARP came to the uplink */
	json_t *j = ns_json(t->h[1].container, "ip -j neigh show 169.254.67.83");
	char mac[MAC_TEXT];
	assert_string_equal(ns_text(json_array_get(j, 0), "lladdr"), mac_format(link_peer_mac(1), mac));
	json_decref(j);
	assert_int_equal(ns_run(t->h[2].ns, "test -z \"$(ip neigh show dev weft | grep 10.32.0.1)\""), 0);
	/* What a container sends to it elsewhere comes to the uplink and ends there. */
	assert_int_equal(ns_run(t->h[1].container,
						 "ip neigh replace 169.254.67.83 lladdr 02:00:00:00:00:99 dev ethwe nud permanent; "
						 "ping -q -c1 -W0.1 169.254.67.83 >/dev/null; ip neigh del 169.254.67.83 dev ethwe"),
		0);
	for (int i = 0; i < 400 && stats(&t->h[1]).dropped[FWD_DNS_ADDRESS] == before; i++)
		usleep(5000);
	assert_true(stats(&t->h[1]).dropped[FWD_DNS_ADDRESS] > before);
}

static int sniffer(int ns, const char *dev)
{
	int home = ns_here();
	ns_go(ns);
	int sock = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK, htons(0x88b5)); /* local experimental */
	const struct sockaddr_ll at = {
		.sll_family = AF_PACKET, .sll_protocol = htons(0x88b5), .sll_ifindex = (int)if_nametoindex(dev)
	};
	assert_int_equal(bind(sock, (const struct sockaddr *)&at, sizeof at), 0);
	ns_go(home);
	close(home);
	return sock;
}

static unsigned heard(int sock, unsigned at_least)
{
	uint8_t b[2048];
	unsigned n = 0;
	for (int i = 0; i < 100; i++) {
		while (recv(sock, b, sizeof b, 0) > 0)
			n++;
		if (n >= at_least && i > 10)
			break;
		usleep(5000);
	}
	return n;
}

static void say(int sock, struct mac dst, struct mac src)
{
	uint8_t f[60] = { 0 };
	memcpy(f, dst.b, 6);
	memcpy(f + 6, src.b, 6);
	f[12] = 0x88;
	f[13] = 0xb5;
	assert_int_equal(send(sock, f, sizeof f, 0), sizeof f);
}

/* A broadcast reaches every other container once and comes back to nobody; hosts without members are spared; on the fast path too. */
static void broadcast_once(void **s)
{
	struct state *t = *s;
	NEEDS_ROOT();
	const struct mac all = mac_of("ff:ff:ff:ff:ff:ff"), unknown = mac_of("02:ee:00:00:00:01");
	int sock[HOSTS + 1];
	for (unsigned n = 1; n <= HOSTS; n++)
		sock[n] = sniffer(t->h[n].container, "ethwe");
	for (int round = 0; round < 2; round++) {
		say(sock[1], round ? unknown : all, container_mac(1)); /* a MAC nobody has published goes to all as well */
		for (unsigned n = 1; n <= HOSTS; n++)
			assert_int_equal(heard(sock[n], n > 1), n > 1);
	}
	assert_int_equal(userspace_set_table(t->h[1].u, table_for(1, 1u << 3)), ERR_OK);
	for (unsigned n = 1; n <= HOSTS; n++)
		direct(&t->h[n], n, LINK_FAST);
	say(sock[1], all, container_mac(1));
	assert_int_equal(heard(sock[3], 1), 1);
	assert_int_equal(heard(sock[2], 0), 0);
	for (unsigned n = 1; n <= HOSTS; n++)
		close(sock[n]);
	as_before(t);
}

/* More hosts than one system call takes: each gets its copy. (Nobody answers ARP for them; sending does not wait for that.) */
static void many_members(void **s)
{
	enum { MANY = 300, FRAMES = 8 };
	struct state *t = *s;
	NEEDS_ROOT();
	struct fwd_peer *peers = calloc(MANY, sizeof *peers);
	struct fwd_table *table;
	for (unsigned i = 0; i < MANY; i++)
		peers[i] = (struct fwd_peer){ .name = 100 + i, .to = { ip_v4(UINT32_C(0x7f000001) + i), 9 }, .member = true };
	assert_int_equal(fwd_table_new(1, peers, MANY, NULL, 0, NULL, 0, &table), ERR_OK);
	free(peers);
	assert_int_equal(userspace_set_table(t->h[1].u, table), ERR_OK);
	const struct userspace_stats before = stats(&t->h[1]);
	int mouth = sniffer(t->h[1].container, "ethwe");
	for (int i = 0; i < FRAMES; i++)
		say(mouth, mac_of("ff:ff:ff:ff:ff:ff"), container_mac(1));
	close(mouth);
	for (int i = 0; i < 400 && stats(&t->h[1]).flooded < before.flooded + FRAMES; i++)
		usleep(5000);
	as_before(t); /* behind the batch */
	usleep(20000);
	const struct userspace_stats after = stats(&t->h[1]);
	assert_true(after.flooded >= before.flooded + FRAMES);
	assert_true(after.total.frames_sent - before.total.frames_sent >= FRAMES * MANY);
	assert_int_equal(after.dropped[FWD_SEND_FAILED], before.dropped[FWD_SEND_FAILED]);
}

static void fast_path(void **s)
{
	struct state *t = *s;
	NEEDS_ROOT();
	for (unsigned n = 1; n <= HOSTS; n++)
		direct(&t->h[n], n, LINK_FAST);
	assert_int_equal(ns_run(t->h[1].container, "ping -q -c1 -W2 10.32.0.2 >/dev/null"), 0);
	struct userspace_traffic before[HOSTS + 1] = { 0 }, after[HOSTS + 1] = { 0 };
	userspace_peers(t->h[1].u, traffic_of, before);
	assert_int_equal(ns_run(t->h[1].container, "ping -q -c50 -i 0.002 -s 5000 -W2 10.32.0.2 | grep -q ' 0% packet loss'"), 0);
	userspace_peers(t->h[1].u, traffic_of, after);
	assert_true(after[2].frames_sent < before[2].frames_sent + 10); /* 200 fragments did not go that way */
	as_before(t);
}

struct switching {
	struct state *t;
	atomic_bool stop;
	unsigned switches;
};
static void *switch_paths(void *arg)
{
	struct switching *w = arg;
	for (w->switches = 0; !w->stop; w->switches++) {
		struct err_note note;
		for (unsigned n = 1; n <= 2; n++)
			if (link_fdb_set(w->t->h[n].k, container_mac(3 - n), w->switches % 2 ? LINK_USERSPACE : LINK_FAST, underlay_ip(3 - n),
					&note) != ERR_OK)
				return (void *)w;
		usleep(5000);
	}
	return NULL;
}

/* Pings go on without loss while the path changes under them and tables are replaced. */
static void switch_under_load(void **s)
{
	struct state *t = *s;
	NEEDS_ROOT();
	assert_int_equal(ns_run(t->h[1].container, "ping -q -c1 -W2 10.32.0.2 >/dev/null"), 0);
	struct switching w = { .t = t };
	pthread_t thread;
	assert_int_equal(pthread_create(&thread, NULL, switch_paths, &w), 0);
	ns_go(t->h[1].container);
	FILE *f = popen("ping -q -c200 -i 0.002 -W2 10.32.0.2", "r");
	ns_go(t->home);
	for (int i = 0; i < 300; i++) {
		assert_int_equal(userspace_set_table(t->h[1].u, table_for(1, 0xe)), ERR_OK);
		assert_int_equal(userspace_set_table(t->h[2].u, table_for(2, 0xe)), ERR_OK);
		usleep(1000);
	}
	char out[1024] = "";
	size_t n = fread(out, 1, sizeof out - 1, f);
	out[n] = '\0';
	pclose(f);
	w.stop = true;
	void *failed;
	pthread_join(thread, &failed);
	assert_null(failed);
	assert_true(w.switches > 20);
	if (!strstr(out, " 0% packet loss"))
		fail_msg("%u switches: %s", w.switches, out);
	as_before(t);
}

/* Datagrams from outside: whatever is wrong is counted by its reason, nothing of it reaches a container, and the path goes on. */
static void strangers(void **s)
{
	struct state *t = *s;
	NEEDS_ROOT();
	int ear = sniffer(t->h[1].container, "ethwe");
	ns_go(t->h[2].ns);
	int out = socket(AF_INET, SOCK_DGRAM, 0);
	ns_go(t->home);
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(6783) };
	memcpy(&to.sin_addr, underlay_ip(1).b, 4);
	assert_int_equal(connect(out, (struct sockaddr *)&to, sizeof to), 0);
	const struct {
		enum fwd_drop why;
		uint64_t src, dst;
		uint8_t first, flags, mac;
		size_t cut;
	} bad[] = {
		{ FWD_STRANGER, 3, 1, 0x11, 0, 3, 76 }, /* host 3's name from host 2's address */
		{ FWD_STRANGER, 9, 1, 0x11, 0, 3, 76 }, /* nobody's name */
		{ FWD_STRANGER, 1, 1, 0x11, 0, 1, 76 }, /* our own */
		{ FWD_NOT_OURS, 2, 3, 0x11, 0, 2, 76 },
		{ FWD_FORGED, 2, 1, 0x11, 0, 3, 76 },
		{ FWD_FORGED, 2, 1, 0x11, 0, 1, 76 },
		{ FWD_BAD_VERSION, 2, 1, 0x21, 0, 2, 76 },
		{ FWD_BAD_HEADER, 2, 1, 0x12, 0, 2, 76 },
		{ FWD_BAD_HEADER, 2, 1, 0x11, 1, 2, 76 },
		{ FWD_BAD_HEADER, 2, 1, 0x11, 0, 2, 15 },
		{ FWD_BAD_HEADER, 2, 1, 0x11, 0, 2, 0 },
		{ FWD_MALFORMED, 2, 1, 0x11, 0, 2, 16 },
		{ FWD_MALFORMED, 2, 1, 0x11, 0, 2, 29 },
	};
	const struct userspace_stats before = stats(&t->h[1]);
	uint64_t count[FWD_DROPS] = { 0 };
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		uint8_t b[76] = { 0 };
		const struct encap_head h = { .type = ENCAP_CLEAR, .hops = 8, .src = bad[i].src, .dst = bad[i].dst };
		encap_write(b, &h);
		b[0] = bad[i].first;
		b[1] = bad[i].flags;
		memset(b + 16, 0xff, 6);
		memcpy(b + 22, container_mac(bad[i].mac).b, 6);
		b[28] = 0x88;
		b[29] = 0xb5;
		assert_int_equal(send(out, b, bad[i].cut, 0), bad[i].cut);
		count[bad[i].why]++;
	}
	for (int why = 0; why < FWD_DROPS; why++)
		if (count[why])
			reaches(&t->h[1], (enum fwd_drop)why, before.dropped[why] + count[why]);
	assert_int_equal(heard(ear, 0), 0);
	/* Noise of all sizes. */
	struct rng g;
	const uint64_t seed = 99;
	rng_seed(&g, seed);
	printf("seed %llu\n", (unsigned long long)seed);
	for (int i = 0; i < 3000; i++) {
		uint8_t b[1400];
		size_t n = rng_below(&g, sizeof b);
		rng_fill(&g, b, n);
		if (rng_chance(&g, 700000))
			b[0] = 0x11, b[1] = 0;
		(void)send(out, b, n, 0);
	}
	close(out);
	assert_int_equal(ns_run(t->h[1].container, "ping -q -c1 -W2 10.32.0.2 >/dev/null"), 0);
	assert_int_equal(heard(ear, 0), 0);
	close(ear);
	assert_true(stats(&t->h[1]).dropped[FWD_STRANGER] > 100);
}

/* A container that sends with another host's MAC gets nowhere. */
static void forged_source(void **s)
{
	struct state *t = *s;
	NEEDS_ROOT();
	int mouth = sniffer(t->h[1].container, "ethwe"), ear = sniffer(t->h[2].container, "ethwe");
	const uint64_t before = stats(&t->h[1]).dropped[FWD_FORGED];
	say(mouth, mac_of("ff:ff:ff:ff:ff:ff"), container_mac(3));
	reaches(&t->h[1], FWD_FORGED, before + 1);
	assert_int_equal(heard(ear, 0), 0);
	close(mouth);
	close(ear);
}

/* A frame that does not fit the underlay is counted, not cut. */
static void too_big(void **s)
{
	struct state *t = *s;
	NEEDS_ROOT();
	assert_int_equal(ns_run(t->h[1].container, "ping -q -c1 -W2 -M do -s 1378 10.32.0.2 >/dev/null"), 0);
	const uint64_t before = stats(&t->h[1]).dropped[FWD_TOO_BIG];
	assert_int_equal(ns_run(t->h[1].ns, "ip link set eth0 mtu 1400"), 0);
	assert_int_not_equal(ns_run(t->h[1].container, "ping -q -c1 -W0.3 -M do -s 1378 10.32.0.2 >/dev/null"), 0);
	reaches(&t->h[1], FWD_TOO_BIG, before + 1);
	assert_int_equal(ns_run(t->h[1].container, "ping -q -c1 -W2 -M do -s 1300 10.32.0.2 >/dev/null"), 0);
	assert_int_equal(ns_run(t->h[1].ns, "ip link set eth0 mtu 1500"), 0);
}

static void starting(void **s)
{
	struct state *t = *s;
	NEEDS_ROOT();
	struct err_note why;
	struct userspace *u;
	ns_go(t->h[1].ns);
	assert_int_equal(userspace_start(t->h[1].tap, (struct hostport){ { 0 }, 6783 }, &u, &why), ERR_BUSY);
	assert_non_null(strstr(why.text, "6783"));
	assert_int_equal(userspace_start(t->h[1].tap, (struct hostport){ ip_of("198.51.100.1"), 0 }, &u, &why), ERR_NOT_FOUND);
	assert_non_null(strstr(why.text, "198.51.100.1"));
	OK(userspace_start(t->h[1].tap, (struct hostport){ ip_of("192.0.2.1"), 0 }, &u, &note));
	assert_true(userspace_port(u) != 0);
	userspace_stop(u);
	OK(userspace_start(t->h[1].tap, (struct hostport){ ip_of("::1"), 0 }, &u, &note));
	userspace_stop(u);
	ns_go(t->home);
}

/* Somebody deletes the device: said, no spinning, and it stops. */
static void tap_deleted(void **s)
{
	struct state *t = *s;
	NEEDS_ROOT();
	assert_int_equal(ns_run(t->h[1].ns, "ip link del weft-tap"), 0);
	for (int i = 0; i < 400 && !stats(&t->h[1]).tap_lost; i++)
		usleep(5000);
	assert_true(stats(&t->h[1]).tap_lost);
	struct timespec a, b;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &a);
	usleep(200000);
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &b);
	assert_true((b.tv_sec - a.tv_sec) * 1000 + (b.tv_nsec - a.tv_nsec) / 1000000 < 100);
	/* Anew, as the daemon does it. */
	struct host *h = &t->h[1];
	userspace_stop(h->u);
	close(h->tap);
	ns_go(h->ns);
	OK(tap_open("weft-tap", &h->tap, &note));
	OK(link_tap(h->k, MTU, &note));
	OK(userspace_start(h->tap, (struct hostport){ { 0 }, 6783 }, &h->u, &note));
	ns_go(t->home);
	as_before(t);
	assert_int_equal(ns_run(h->container, "ping -q -c1 -W2 10.32.0.2 >/dev/null"), 0);
}

/* Tables and counters of peers that are gone are freed, in use though the table is when it is replaced. */
static void replaced_tables(void **s)
{
	struct state *t = *s;
	NEEDS_ROOT();
	struct userspace *u = t->h[1].u;
	as_before(t);
	ns_go(t->h[1].container);
	FILE *f = popen("ping -q -c100 -i 0.002 -s 4000 -W2 10.32.0.2", "r");
	ns_go(t->home);
	long least = LONG_MAX;
	for (uint64_t i = 0; i < 200; i++) {
		const struct fwd_peer one = { .name = 1000 + i, .to = { underlay_ip(9), 1 } };
		struct fwd_table *table;
		assert_int_equal(fwd_table_new(1, &one, 1, NULL, 0, NULL, 0, &table), ERR_OK);
		assert_int_equal(userspace_set_table(u, table), ERR_OK);
		if (i == 3)
			least = mem_live();
		usleep(500);
	}
	pclose(f);
	long last = LONG_MAX;
	for (int i = 0; i < 100 && last > least; i++) {
		const struct fwd_peer one = { .name = 999, .to = { underlay_ip(9), 1 } };
		struct fwd_table *table;
		assert_int_equal(fwd_table_new(1, &one, 1, NULL, 0, NULL, 0, &table), ERR_OK);
		assert_int_equal(userspace_set_table(u, table), ERR_OK);
		usleep(1000);
		last = mem_live();
	}
	assert_true(last <= least);
	struct userspace_stats st = stats(&t->h[1]);
	assert_false(st.tap_lost);
	as_before(t);
	assert_int_equal(ns_run(t->h[1].container, "ping -q -c1 -W2 10.32.0.2 >/dev/null"), 0);
}

/* ---- figures, not a test */

static void figure(struct state *t, const char *path)
{
	printf("%s\n", path);
	fflush(stdout);
	ns_run(t->h[1].container, "ping -q -c200 -i 0.002 10.32.0.2 | tail -1");
	ns_run(t->h[2].container, "iperf3 -s -1 -D >/dev/null; sleep 0.3");
	ns_run(t->h[1].container, "iperf3 -c 10.32.0.2 -t 3 -f g | grep -E 'sender|receiver'");
	ns_run(t->h[2].container, "iperf3 -s -1 -D >/dev/null; sleep 0.3");
	ns_run(t->h[1].container, "iperf3 -c 10.32.0.2 -u -b 0 -l 64 -t 2 | grep -E 'receiver'");
	const struct userspace_stats st = stats(&t->h[1]);
	printf("userspace: %llu frames sent, %llu received, ", (unsigned long long)st.total.frames_sent,
		(unsigned long long)st.total.frames_received);
	for (int i = 0; i < FWD_DROPS; i++)
		if (st.dropped[i])
			printf("%s %llu ", fwd_drop_name((enum fwd_drop)i), (unsigned long long)st.dropped[i]);
	printf("\n");
}

static int measure(void)
{
	void *s;
	setup(&s);
	struct state *t = s;
	figure(t, "userspace path");
	for (unsigned n = 1; n <= HOSTS; n++)
		direct(&t->h[n], n, LINK_FAST);
	figure(t, "fast path");
	return teardown(&s);
}

int main(int argc, char **argv)
{
	may = ns_start();
	if (argc > 1 && strcmp(argv[1], "--measure") == 0)
		return may ? measure() : 1;
#define T(f) cmocka_unit_test(f)
	const struct CMUnitTest tests[] = { T(pings), T(own_address), T(broadcast_once), T(many_members), T(fast_path),
		T(switch_under_load), T(strangers), T(forged_source), T(too_big), T(starting), T(tap_deleted), T(replaced_tables) };
	return cmocka_run_group_tests(tests, setup, teardown);
}
