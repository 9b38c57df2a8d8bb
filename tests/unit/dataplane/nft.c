/* weft's nftables tables: what they let through and what not, with real frames and datagrams.
 *
 *    namespace under                    namespace of the host                       container
 *    eth 192.0.2.2, .3  ── veth ── under 192.0.2.1                                     ethwe 10.32.0.1 fd32::1
 *        2001:db8::2, ::3             2001:db8::1      weft (bridge, 10.47.0.1) ─┬─ vethweone
 *                                                                                └─ vethwetwo ── a second container
 */
#include "tests/unit/dataplane/ns.h"

#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <net/if.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>

#include <libmnl/libmnl.h>
#include <libnftnl/table.h>

#include "base/mem.h"
#include "router/dataplane/nft.h"
#include "router/dataplane/nft_internal.h"
#include "tunnel/probe.h"

enum { VXLAN = 6784, USERSPACE = 6783, CONTROL = 6785, DNS = 53, WAIT_MS = 2000 };
static const struct nft_cfg cfg = { .vxlan_port = VXLAN, .userspace_port = USERSPACE, .control_port = CONTROL };

static bool may;

struct state {
	struct nft *n;
	int home, ns, under, one, two;
};

static void command(int ns, const char *text)
{
	if (ns_run(ns, text) != 0)
		fail_msg("%s", text);
}

static int setup(void **s)
{
	struct state *t = calloc(1, sizeof *t);
	const char *lacks = "";
	char text[256];
	*s = t;
	if (!may)
		return 0;
	t->home = ns_here();
	t->ns = ns_new();
	t->under = ns_new();
	t->one = ns_new();
	t->two = ns_new();
	ns_go(t->ns);
	const struct {
		const char *here, *there;
		int ns;
	} pairs[] = { { "under", "eth", t->under }, { "vethweone", "ethwe", t->one }, { "vethwetwo", "ethwe", t->two } };
	command(-1,
		"sysctl -qw net.ipv6.conf.default.accept_dad=0 && ip link add weft type bridge mcast_snooping 0 && ip link set weft up");
	for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
		command(pairs[i].ns, "sysctl -qw net.ipv6.conf.default.accept_dad=0");
		snprintf(text, sizeof text, "ip link add %s type veth peer name %s netns /proc/%d/fd/%d", pairs[i].here, pairs[i].there,
			getpid(), pairs[i].ns);
		command(-1, text);
		snprintf(text, sizeof text, "ip link set dev %s %s up", pairs[i].here, i > 0 ? "master weft" : "");
		command(-1, text);
		if (i > 0)
			snprintf(text, sizeof text, "ip link set ethwe address 02:00:00:00:00:0%zu up", i);
		else
			snprintf(text, sizeof text, "ip link set eth up");
		command(pairs[i].ns, text);
	}
	command(-1,
		"bridge fdb replace 02:00:00:00:00:01 dev vethweone master static sticky && "
		"bridge fdb replace 02:00:00:00:00:02 dev vethwetwo master static sticky");
	command(
		-1, "ip addr add 192.0.2.1/24 dev under && ip addr add 2001:db8::1/64 dev under && ip addr add 10.47.0.1/12 dev weft");
	command(t->under,
		"for a in 192.0.2.2 192.0.2.3 ; do ip addr add $a/24 dev eth; done; for a in 2 3 ; do ip addr add 2001:db8::$a/64 dev eth; done");
	command(t->one, "ip addr add 10.32.0.1/12 dev ethwe && ip addr add fd32::1/64 dev ethwe");
	OK(nft_open(&t->n, &cfg, &lacks, &note));
	assert_null(lacks);
	return 0;
}

static int teardown(void **s)
{
	struct state *t = *s;
	if (may) {
		nft_close(t->n);
		ns_go(t->home);
		const int fds[] = { t->home, t->ns, t->under, t->one, t->two };
		for (size_t i = 0; i < sizeof fds / sizeof *fds; i++)
			close(fds[i]);
	}
	free(t);
	return 0;
}

#define NEEDS_ROOT() \
	if (!may)        \
	skip()

/* ---- datagrams */

static struct sockaddr_storage address(const char *text, uint16_t port, socklen_t *n)
{
	struct sockaddr_storage out = { 0 };
	const struct ip a = ip_of(text);
	if (a.family == 6) {
		struct sockaddr_in6 v6 = { .sin6_family = AF_INET6, .sin6_port = htons(port) };
		memcpy(&v6.sin6_addr, a.b, 16);
		memcpy(&out, &v6, *n = sizeof v6);
	} else {
		struct sockaddr_in v4 = { .sin_family = AF_INET, .sin_port = htons(port) };
		memcpy(&v4.sin_addr, a.b, 4);
		memcpy(&out, &v4, *n = sizeof v4);
	}
	return out;
}

static int bound(int ns, const char *addr, uint16_t port, int type)
{
	int home = ns_here();
	socklen_t n;
	struct sockaddr_storage a = address(addr, port, &n);
	ns_go(ns);
	int fd = socket(a.ss_family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	ns_go(home);
	close(home);
	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&a, n), 0);
	return fd;
}

static void send_datagram(int fd, const char *to, uint16_t port, const void *data, size_t size)
{
	socklen_t n;
	struct sockaddr_storage a = address(to, port, &n);
	if (sendto(fd, data, size, 0, (struct sockaddr *)&a, n) != (ssize_t)size)
		fail_msg("sendto %s: %s", to, strerror(errno));
}

static bool arrives(int fd, int ms)
{
	uint8_t b[2048];
	struct pollfd p = { .fd = fd, .events = POLLIN };
	return poll(&p, 1, ms) == 1 && recv(fd, b, sizeof b, 0) > 0;
}

/* A byte from one address of `from` to the host's: whether it arrives. */
static bool passes(struct state *t, int from, const char *src, const char *dst, uint16_t port)
{
	int in = bound(t->ns, dst, port, SOCK_DGRAM), out = bound(from, src, 0, SOCK_DGRAM);
	send_datagram(out, dst, port, "x", 1);
	bool got = arrives(in, 50);
	close(in);
	close(out);
	return got;
}

static uint64_t dropped(struct state *t, enum nft_drop d)
{
	OK(nft_refresh(t->n, &note));
	return nft_dropped(t->n, d);
}

static void peers_only(void **s)
{
	struct state *t = *s;
	NEEDS_ROOT();
	assert_false(passes(t, t->under, "192.0.2.2", "192.0.2.1", VXLAN));
	assert_int_equal(dropped(t, NFT_VXLAN_STRANGER), 1);
	const struct nft_peer peers[] = { { 9, ip_of("192.0.2.2") }, { 4, ip_of("2001:db8::2") }, { 7, { 0 } } };
	OK(nft_set_peers(t->n, peers, 3, &note));
	assert_true(passes(t, t->under, "192.0.2.2", "192.0.2.1", VXLAN));
	assert_true(passes(t, t->under, "2001:db8::2", "2001:db8::1", VXLAN));
	assert_false(passes(t, t->under, "192.0.2.3", "192.0.2.1", VXLAN));
	assert_false(passes(t, t->under, "2001:db8::3", "2001:db8::1", VXLAN));
	assert_true(passes(t, t->under, "192.0.2.3", "192.0.2.1", VXLAN + 1)); /* other ports are not our business */
	assert_int_equal(dropped(t, NFT_VXLAN_STRANGER), 3);
	struct nft_traffic v4, v6, none;
	int out = bound(t->ns, "192.0.2.1", 0, SOCK_DGRAM);
	send_datagram(out, "192.0.2.2", VXLAN, "abc", 3);
	send_datagram(out, "192.0.2.2", VXLAN, "abc", 3);
	close(out);
	OK(nft_refresh(t->n, &note));
	assert_true(nft_traffic(t->n, 9, &v4) && nft_traffic(t->n, 4, &v6) && nft_traffic(t->n, 7, &none));
	assert_false(nft_traffic(t->n, 8, &none));
	assert_int_equal(v4.packets_received, 1);
	assert_int_equal(v4.bytes_received, 29);
	assert_int_equal(v4.packets_sent, 2);
	assert_int_equal(v4.bytes_sent, 62);
	assert_int_equal(v6.packets_received, 1);
	assert_int_equal(v6.bytes_received, 49);
	assert_int_equal(v6.packets_sent, 0);
	assert_int_equal(none.packets_received + none.packets_sent, 0);
	/* Who stays keeps its counts, who leaves is a stranger. */
	OK(nft_set_peers(t->n, peers, 1, &note));
	assert_true(passes(t, t->under, "192.0.2.2", "192.0.2.1", VXLAN));
	assert_false(passes(t, t->under, "2001:db8::2", "2001:db8::1", VXLAN));
	OK(nft_refresh(t->n, &note));
	assert_true(nft_traffic(t->n, 9, &v4));
	assert_int_equal(v4.packets_received, 2);
	assert_false(nft_traffic(t->n, 4, &v6));
	/* Two behind one address. */
	const struct nft_peer shared[] = { { 9, ip_of("192.0.2.2") }, { 10, ip_of("192.0.2.2") } };
	OK(nft_set_peers(t->n, shared, 2, &note));
	assert_true(nft_traffic(t->n, 10, &v4));
	assert_int_equal(v4.packets_received, 2);
	OK(nft_set_peers(t->n, NULL, 0, &note));
	assert_false(passes(t, t->under, "192.0.2.2", "192.0.2.1", VXLAN));
}

static bool connects(struct state *t, int from, const char *dst, uint16_t port)
{
	int listener = bound(t->ns, dst, port, SOCK_STREAM), home = ns_here();
	socklen_t n;
	struct sockaddr_storage a = address(dst, port, &n);
	assert_int_equal(listen(listener, 1), 0);
	ns_go(from);
	int fd = socket(a.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	ns_go(home);
	close(home);
	(void)connect(fd, (struct sockaddr *)&a, n);
	struct pollfd p = { .fd = fd, .events = POLLOUT };
	bool yes = poll(&p, 1, 50) == 1 && !(p.revents & POLLERR);
	close(fd);
	close(listener);
	return yes;
}

static void ports_of_the_host(void **s)
{
	struct state *t = *s;
	NEEDS_ROOT();
	assert_false(connects(t, t->one, "10.47.0.1", CONTROL));
	assert_false(passes(t, t->one, "10.32.0.1", "10.47.0.1", USERSPACE));
	assert_false(passes(t, t->one, "10.32.0.1", "10.47.0.1", VXLAN));
	uint64_t so_far = dropped(t, NFT_CONTROL_PORT);
	assert_true(so_far >= 3);
	assert_true(passes(t, t->one, "10.32.0.1", "10.47.0.1", DNS));
	assert_true(connects(t, t->one, "10.47.0.1", DNS));
	assert_true(connects(t, t->one, "10.47.0.1", CONTROL + 1));
	assert_true(connects(t, t->under, "192.0.2.1", CONTROL));
	assert_true(passes(t, t->under, "192.0.2.2", "192.0.2.1", USERSPACE));
	/* not even with the address of a host that is allowed */
	const struct nft_peer peers[] = { { 9, ip_of("10.32.0.1") } };
	OK(nft_set_peers(t->n, peers, 1, &note));
	assert_false(passes(t, t->one, "10.32.0.1", "10.47.0.1", VXLAN));
	assert_int_equal(dropped(t, NFT_VXLAN_STRANGER), 0);
}

static uint64_t count_of(int fd)
{
	uint64_t n = 0;
	while (arrives(fd, 20))
		n++;
	return n;
}

static void handshakes(void **s)
{
	struct state *t = *s;
	NEEDS_ROOT();
	const char *const hosts[][3] = { { "192.0.2.2", "192.0.2.3", "192.0.2.1" }, { "2001:db8::2", "2001:db8::3", "2001:db8::1" } };
	for (size_t v = 0; v < 2; v++) {
		uint8_t init[200] = { 0x24 }, data[200] = { 0x21 };
		int in = bound(t->ns, hosts[v][2], USERSPACE, SOCK_DGRAM), a = bound(t->under, hosts[v][0], 0, SOCK_DGRAM),
			b = bound(t->under, hosts[v][1], 0, SOCK_DGRAM);
		int room = 1 << 20;
		assert_int_equal(setsockopt(in, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room), 0);
		const uint64_t before = dropped(t, NFT_HANDSHAKE_FLOOD);
		for (int i = 0; i < 600; i++)
			send_datagram(a, hosts[v][2], USERSPACE, init, sizeof init);
		const uint64_t lost = dropped(t, NFT_HANDSHAKE_FLOOD) - before;
		assert_in_range(lost, 300, 560);
		assert_int_equal(count_of(in), 600 - lost);
		/* nothing else is kept out, and nobody else of IPv4; of IPv6 a network counts as one */
		send_datagram(a, hosts[v][2], USERSPACE, data, sizeof data);
		assert_true(arrives(in, WAIT_MS));
		for (int i = 0; i < 200; i++)
			send_datagram(a, hosts[v][2], USERSPACE, init, sizeof init);
		(void)count_of(in);
		const uint64_t until = dropped(t, NFT_HANDSHAKE_FLOOD);
		for (int i = 0; i < 20; i++)
			send_datagram(v == 0 ? b : a, hosts[v][2], USERSPACE, i == 0 && v == 1 ? data : init, sizeof init);
		if (v == 0)
			assert_int_equal(dropped(t, NFT_HANDSHAKE_FLOOD), until);
		(void)count_of(in);
		close(in);
		close(a);
		close(b);
	}
}

/* ---- frames */

#define ONE                            "\x02\0\0\0\0\x01"
#define TWO                            "\x02\0\0\0\0\x02"
#define ALL                            "\xff\xff\xff\xff\xff\xff"
#define V4                             "\x08\x00"
#define ARP                            "\x08\x06"
#define V6                             "\x86\xdd"
#define IP1                            "\x0a\x20\0\x01"
#define IP2                            "\x0a\x20\0\x02"
#define NIL4                           "\0\0\0\0"
#define UDP4(src, ports)               "\x45\0\0\x24\0\0\0\0\x40\x11\0\0" src "\x0a\x20\0\x02" ports "\0\x10\0\0payload."
#define ARP4(op, mac, ip)              "\0\x01\x08\0\x06\x04\0" op mac ip "\0\0\0\0\0\0" IP2
#define ZERO14                         "\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
#define SIX1                           "\xfd\x32" ZERO13_1
#define ZERO13_1                       "\0\0\0\0\0\0\0\0\0\0\0\0\0\x01"
#define ZERO13_2                       "\0\0\0\0\0\0\0\0\0\0\0\0\0\x02"
#define SIX2                           "\xfd\x32" ZERO13_2
#define LOCAL                          "\xfe\x80" ZERO13_2
#define NIL6                           "\0\0" ZERO14
#define UDP6(src)                      "\x60\0\0\0\0\x10\x11\x40" src SIX2 "\0\x01\0\x02\0\x10\0\0payload."
#define ND6(src, type, target)         "\x60\0\0\0\0\x18\x3a\xff" src SIX2 type "\0\0\0\0\0\0\0" target
#define NA                             "\x88"
#define NS                             "\x87"
#define NA_BEHIND_OPTIONS(src, target) "\x60\0\0\0\0\x20\0\xff" src SIX2 "\x3a\0\x01\x04\0\0\0\0" NA "\0\0\0\0\0\0\0" target

enum { PASSES = -1 };
static const struct case_ {
	const char *what;
	int drop; /* PASSES or enum nft_drop */
	const char *bytes;
	size_t n;
} cases[] = {
#define C(what, drop, bytes)                 \
	{                                        \
		what, drop, bytes, sizeof(bytes) - 1 \
	}
	C("IPv4", PASSES, TWO ONE V4 UDP4(IP1, "\0\x01\0\x02")),
	C("IPv4 to all", PASSES, ALL ONE V4 UDP4(IP1, "\0\x01\0\x02")),
	C("another's MAC", NFT_FORGED_MAC, ALL TWO V4 UDP4(IP1, "\0\x01\0\x02")),
	C("another's IPv4 address", NFT_FORGED_ADDRESS, TWO ONE V4 UDP4(IP2, "\0\x01\0\x02")),
	C("no address", NFT_FORGED_ADDRESS, TWO ONE V4 UDP4(NIL4, "\0\x01\0\x02")),
	C("DHCP", PASSES, ALL ONE V4 UDP4(NIL4, "\0\x44\0\x43")),
	C("DHCP server", NFT_FORGED_ADDRESS, ALL ONE V4 UDP4(NIL4, "\0\x43\0\x44")),
	C("IPv4 cut short", NFT_FORGED_ADDRESS, TWO ONE V4 "\x45\0\0\x24"),
	C("ARP request", PASSES, ALL ONE ARP ARP4("\x01", ONE, IP1)),
	C("ARP reply", PASSES, TWO ONE ARP ARP4("\x02", ONE, IP1)),
	C("ARP probe", PASSES, ALL ONE ARP ARP4("\x01", ONE, NIL4)),
	C("ARP reply of nobody", NFT_FORGED_ADDRESS, ALL ONE ARP ARP4("\x02", ONE, NIL4)),
	C("ARP reply for another", NFT_FORGED_ADDRESS, TWO ONE ARP ARP4("\x02", ONE, IP2)),
	C("ARP request as another", NFT_FORGED_ADDRESS, ALL ONE ARP ARP4("\x01", ONE, IP2)),
	C("ARP with another's MAC inside", NFT_FORGED_MAC, TWO ONE ARP ARP4("\x02", TWO, IP1)),
	C("ARP with another's MAC", NFT_FORGED_MAC, TWO TWO ARP ARP4("\x02", TWO, IP2)),
	C("ARP of another shape", NFT_FORGED_ADDRESS, TWO ONE ARP "\0\x01\x08\0\x08\x04\0\x02" ONE "\0\0" IP1 "\0\0\0\0\0\0\0\0" IP2),
	C("ARP cut short", NFT_FORGED_ADDRESS, TWO ONE ARP "\0\x01\x08\0\x06\x04\0\x02"),
	C("IPv6", PASSES, TWO ONE V6 UDP6(SIX1)),
	C("another's IPv6 address", NFT_FORGED_ADDRESS, TWO ONE V6 UDP6(SIX2)),
	C("IPv6 link-local", PASSES, TWO ONE V6 UDP6(LOCAL)),
	C("IPv6 of nobody", PASSES, TWO ONE V6 ND6(NIL6, NS, SIX1)),
	C("advertisement", PASSES, TWO ONE V6 ND6(SIX1, NA, SIX1)),
	C("advertisement of a link-local address", PASSES, TWO ONE V6 ND6(LOCAL, NA, LOCAL)),
	C("advertisement for another", NFT_FORGED_ADDRESS, TWO ONE V6 ND6(SIX1, NA, SIX2)),
	C("advertisement for another from a link-local address", NFT_FORGED_ADDRESS, TWO ONE V6 ND6(LOCAL, NA, SIX2)),
	C("advertisement behind options", NFT_FORGED_ADDRESS, TWO ONE V6 NA_BEHIND_OPTIONS(LOCAL, SIX2)),
	C("advertisement as another", NFT_FORGED_ADDRESS, TWO ONE V6 ND6(SIX2, NA, SIX1)),
	C("question for another", PASSES, TWO ONE V6 ND6(SIX1, NS, SIX2)),
	C("tagged", NFT_FORGED_MAC, TWO ONE "\x81\0\0\x05" V4 UDP4(IP2, "\0\x01\0\x02")),
	C("tagged with 0", NFT_FORGED_MAC, TWO ONE "\x81\0\0\0" V4 UDP4(IP1, "\0\x01\0\x02")),
	C("tagged ARP", NFT_FORGED_MAC, TWO ONE "\x81\0\0\0" ARP ARP4("\x02", ONE, IP2)),
	C("tagged twice", NFT_FORGED_MAC, TWO ONE "\x88\xa8\0\x05\x81\0\0\x06" V4 UDP4(IP2, "\0\x01\0\x02")),
	C("tagged twice the same", NFT_FORGED_MAC, TWO ONE "\x81\0\0\0\x81\0\0\x06" V4 UDP4(IP2, "\0\x01\0\x02")),
	C("a probe", NFT_FORGED_MAC, TWO ONE "\x88\xb5probe of the fast path"),
	C("another protocol", PASSES, TWO ONE "\x88\xb6something else altogether"),
#undef C
};

static int packet_socket(int ns, const char *dev, uint16_t protocol)
{
	int home = ns_here();
	ns_go(ns);
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	const struct sockaddr_ll at = {
		.sll_family = AF_PACKET, .sll_protocol = htons(protocol), .sll_ifindex = (int)if_nametoindex(dev)
	};
	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (const struct sockaddr *)&at, sizeof at), 0);
	ns_go(home);
	close(home);
	return fd;
}

/* Whether these very bytes come, before the marker frame that is sent behind them does. (A tag is taken off on the way into a packet socket.) */
static bool frame_passes(int out, int in, const void *bytes, size_t n)
{
	static const char marker[] = ALL ONE "\x88\xb7marker";
	uint8_t b[2048];
	bool seen = false;
	assert_int_equal(send(out, bytes, n, 0), n);
	assert_int_equal(send(out, marker, sizeof marker - 1, 0), sizeof marker - 1);
	for (;;) {
		struct pollfd p = { .fd = in, .events = POLLIN };
		if (poll(&p, 1, WAIT_MS) != 1)
			fail_msg("not even the marker came");
		ssize_t got = recv(in, b, sizeof b, 0);
		if (got == sizeof marker - 1 && memcmp(b, marker, sizeof marker - 1) == 0)
			return seen;
		seen = seen || (got > 12 && memcmp(b, bytes, 12) == 0 && b[12] != 0x88);
		seen = seen || ((size_t)got == n && memcmp(b, bytes, n) == 0);
	}
}

static void watch_ports(struct state *t)
{
	const struct prefix one[] = { { ip_of("10.32.0.1"), 12 }, { ip_of("fd32::1"), 64 } }, two[] = { { ip_of("10.32.0.2"), 12 } };
	const struct nft_port ports[] = { { "vethweone", { { 2, 0, 0, 0, 0, 1 } }, one, 2 },
		{ "vethwetwo", { { 2, 0, 0, 0, 0, 2 } }, two, 1 } };
	OK(nft_set_ports(t->n, ports, 2, &note));
}

static void frames(void **s)
{
	struct state *t = *s;
	NEEDS_ROOT();
	/* Nothing of the containers' own is to come in between, and the frames' checksums are none. */
	(void)ns_run(-1, "sysctl -qw net.bridge.bridge-nf-call-iptables=0 net.bridge.bridge-nf-call-ip6tables=0 2>/dev/null");
	command(t->one, "ip addr flush dev ethwe; ip -6 addr flush dev ethwe");
	command(t->two, "ip -6 addr flush dev ethwe");
	int out = packet_socket(t->one, "ethwe", 0), in = packet_socket(t->two, "ethwe", 3);
	for (int watched = 0; watched < 2; watched++) {
		if (watched)
			watch_ports(t);
		for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
			const struct case_ *c = &cases[i];
			uint64_t before[NFT_DROPS];
			(void)dropped(t, NFT_FORGED_MAC);
			for (int d = 0; d < NFT_DROPS; d++)
				before[d] = nft_dropped(t->n, (enum nft_drop)d);
			bool passed = frame_passes(out, in, c->bytes, c->n);
			if (passed != (!watched || c->drop == PASSES))
				fail_msg("%s (%swatched): %s", c->what, watched ? "" : "not ", passed ? "passes" : "does not pass");
			(void)dropped(t, NFT_FORGED_MAC);
			for (int d = 0; d < NFT_DROPS; d++)
				if (nft_dropped(t->n, (enum nft_drop)d) - before[d] != (watched && d == c->drop))
					fail_msg("%s: counted %d as %s", c->what, (int)(nft_dropped(t->n, (enum nft_drop)d) - before[d]),
						nft_drop_name((enum nft_drop)d));
		}
	}
	/* One with the other's addresses is allowed when it is told so, and the other port is not concerned. */
	static const char forged[] = TWO ONE V4 UDP4(IP2, "\0\x01\0\x02");
	const struct prefix both[] = { { ip_of("10.32.0.1"), 12 }, { ip_of("10.32.0.2"), 12 } };
	const struct nft_port ports[] = { { "vethweone", { { 2, 0, 0, 0, 0, 1 } }, both, 2 } };
	OK(nft_set_ports(t->n, ports, 1, &note));
	assert_true(frame_passes(out, in, forged, sizeof forged - 1));
	OK(nft_set_ports(t->n, NULL, 0, &note));
	assert_true(frame_passes(out, in, cases[2].bytes, cases[2].n));
	close(in);
	close(out);
	const struct nft_port too_long = { .ifname = "vethwe-with-a-long-name" };
	struct err_note why;
	assert_int_equal(nft_set_ports(t->n, &too_long, 1, &why), ERR_USAGE);
}

/* ---- staying right */

static bool readable(const struct nft *n, int ms)
{
	struct pollfd p = { .fd = nft_fd(n), .events = POLLIN };
	return poll(&p, 1, ms) == 1;
}

static bool check(struct nft *n)
{
	bool mended = false;
	OK(nft_check(n, &mended, &note));
	return mended;
}

static void set_all(struct state *t)
{
	const struct nft_peer peers[] = { { 9, ip_of("192.0.2.2") }, { 4, ip_of("2001:db8::2") } };
	static const char *const bridge = "weft";
	OK(nft_set_peers(t->n, peers, 2, &note));
	OK(nft_set_bridges(t->n, &bridge, 1, &note));
	watch_ports(t);
}

/* A byte from one namespace's address to another's. */
static bool goes(int from, const char *src, int to, const char *dst)
{
	int in = bound(to, dst, 7077, SOCK_DGRAM), out = bound(from, src, 0, SOCK_DGRAM);
	send_datagram(out, dst, 7077, "x", 1);
	bool got = arrives(in, 100);
	close(in);
	close(out);
	return got;
}

/* The second container is in another network, whose bridge has an address of the host's too; the host routes. */
static void between_networks(void **s)
{
	struct state *t = *s;
	NEEDS_ROOT();
	static const char *const names[] = { "weft-5", "weft" }, *const twice[] = { "weft", "weft-5", "weft" };
	command(-1,
		"ip link add weft-5 type bridge mcast_snooping 0 && ip link set weft-5 up && ip link set vethwetwo master weft-5 && "
		"ip addr add 10.128.0.1/24 dev weft-5 && ip addr add fd33::ff/64 dev weft-5 && ip addr add fd32::ff/64 dev weft && "
		"sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1");
	command(t->two,
		"ip addr add 10.128.0.2/24 dev ethwe && ip addr add fd33::2/64 dev ethwe && ip route add default via 10.128.0.1 && "
		"ip -6 route add default via fd33::ff");
	command(t->one, "ip route add default via 10.47.0.1 && ip -6 route add default via fd32::ff");
	/* Without our word, and to elsewhere in any case, it does. */
	assert_true(goes(t->one, "10.32.0.1", t->two, "10.128.0.2") && goes(t->two, "fd33::2", t->one, "fd32::1"));
	OK(nft_set_bridges(t->n, names, 2, &note));
	assert_true(goes(t->one, "10.32.0.1", t->under, "192.0.2.2") && goes(t->two, "fd33::2", t->under, "2001:db8::2"));
	assert_int_equal(dropped(t, NFT_OTHER_NETWORK), 0);
	assert_false(goes(t->one, "10.32.0.1", t->two, "10.128.0.2") || goes(t->two, "10.128.0.2", t->one, "10.32.0.1"));
	assert_false(goes(t->one, "fd32::1", t->two, "fd33::2") || goes(t->two, "fd33::2", t->one, "fd32::1"));
	assert_int_equal(dropped(t, NFT_OTHER_NETWORK), 4);
	/* The same list is no change. */
	assert_false(check(t->n));
	OK(nft_set_bridges(t->n, twice, 3, &note));
	assert_false(readable(t->n, 0) || check(t->n));
	/* A new daemon's tables know it, before its list. */
	const char *lacks;
	nft_close(t->n);
	t->n = NULL;
	OK(nft_open(&t->n, &cfg, &lacks, &note));
	assert_false(goes(t->one, "10.32.0.1", t->two, "10.128.0.2"));
	/* A bridge's own frames, which br_netfilter shows as packets from the bridge to itself. */
	command(t->two, "ip addr add 10.32.0.2/12 dev ethwe");
	command(-1,
		"ip link set vethwetwo master weft && "
		"nft 'add table ip seen; add counter ip seen c; add chain ip seen forward { type filter hook forward priority 0; }; "
		"add rule ip seen forward iifname \"weft\" oifname \"weft\" counter name \"c\"'");
	if (ns_run(-1, "sysctl -qw net.bridge.bridge-nf-call-iptables=1 2>/dev/null") == 0) {
		assert_true(goes(t->one, "10.32.0.1", t->two, "10.32.0.2") && goes(t->two, "10.32.0.2", t->one, "10.32.0.1"));
		assert_int_equal(ns_run(-1, "nft list counter ip seen c | grep -q 'packets 2 '"), 0);
	}
	assert_int_equal(dropped(t, NFT_OTHER_NETWORK), 5);
	/* A network that is there no more. */
	command(-1, "ip link set vethwetwo master weft-5");
	OK(nft_set_bridges(t->n, names, 1, &note));
	bool gone = false;
	for (int i = 0; i < 50 && !gone; i++) /* a port that changes its bridge takes a moment */
		gone = goes(t->one, "10.32.0.1", t->two, "10.128.0.2");
	assert_true(gone);
	struct err_note why;
	static const char *const too_long[] = { "weft-1234567890x" };
	assert_int_equal(nft_set_bridges(t->n, too_long, 1, &why), ERR_USAGE);
}

static void others_changes(void **s)
{
	struct state *t = *s;
	NEEDS_ROOT();
	set_all(t);
	assert_true(passes(t, t->under, "192.0.2.2", "192.0.2.1", VXLAN));
	assert_false(passes(t, t->under, "192.0.2.3", "192.0.2.1", VXLAN));
	assert_false(check(t->n));
	assert_false(readable(t->n, 0));
	command(-1, "nft add table inet other && nft add chain inet other c");
	assert_true(readable(t->n, WAIT_MS));
	assert_false(check(t->n)); /* not ours */
	static const char *const harm[] = {
		"nft delete table inet weft",
		"nft delete table bridge weft",
		"nft delete table inet weft; nft add table inet weft",
		"nft flush chain inet weft vxlan_in",
		"nft flush chain inet weft between",
		"nft delete element inet weft bridges '{ \"weft\" . \"weft\" }'",
		"nft add rule inet weft input accept",
		"nft insert rule bridge weft prerouting accept",
		"nft flush set inet weft peers_rx4",
		"nft add element inet weft peers_rx4 '{ 192.0.2.3 }'",
		"nft add element bridge weft port_addrs4 '{ \"vethweone\" . 10.32.0.9 }'",
		"nft delete element bridge weft port_macs '{ \"vethweone\" . 02:00:00:00:00:01 }'",
		"nft add table inet weft '{ flags dormant; }'",
		"nft chain inet weft input '{ policy drop; }'",
		"nft add set inet weft mine '{ type ipv4_addr; }'",
		"nft flush ruleset",
	};
	for (size_t i = 0; i < sizeof harm / sizeof *harm; i++) {
		command(-1, harm[i]);
		if (!readable(t->n, WAIT_MS))
			fail_msg("unnoticed: %s", harm[i]);
		if (!check(t->n))
			fail_msg("not mended: %s", harm[i]);
		if (check(t->n))
			fail_msg("mended twice: %s", harm[i]);
		if (!passes(t, t->under, "192.0.2.2", "192.0.2.1", VXLAN) || passes(t, t->under, "192.0.2.3", "192.0.2.1", VXLAN))
			fail_msg("not right again: %s", harm[i]);
	}
	/* The counts went on over all of that, as far as they had been read. */
	OK(nft_refresh(t->n, &note));
	struct nft_traffic traffic;
	assert_true(nft_traffic(t->n, 9, &traffic));
	assert_in_range(traffic.packets_received, 8, sizeof harm / sizeof *harm + 1);
	assert_in_range(nft_dropped(t->n, NFT_VXLAN_STRANGER), 8, sizeof harm / sizeof *harm + 1);
	/* A list that comes when the tables are gone makes them. */
	command(-1, "nft flush ruleset");
	OK(nft_set_peers(t->n, NULL, 0, &note));
	assert_false(passes(t, t->under, "192.0.2.2", "192.0.2.1", VXLAN));
	assert_false(check(t->n));
}

static void adoption(void **s)
{
	struct state *t = *s;
	NEEDS_ROOT();
	set_all(t);
	assert_true(passes(t, t->under, "192.0.2.2", "192.0.2.1", VXLAN));
	assert_false(passes(t, t->under, "192.0.2.3", "192.0.2.1", VXLAN));
	nft_close(t->n);
	t->n = NULL;
	assert_true(passes(t, t->under, "192.0.2.2", "192.0.2.1", VXLAN)); /* the kernel keeps them */
	const char *lacks = "";
	OK(nft_open(&t->n, &cfg, &lacks, &note));
	assert_null(lacks);
	assert_false(check(t->n));
	assert_true(passes(t, t->under, "192.0.2.2", "192.0.2.1", VXLAN));
	assert_int_equal(ns_run(-1, "nft list set bridge weft port_macs | grep -q 02:00:00:00:00:02"), 0);
	/* First what is known at once, the former daemon's stay; then the whole list. */
	const struct nft_peer another[] = { { 12, ip_of("192.0.2.3") } };
	OK(nft_add_peers(t->n, another, 1, &note));
	assert_true(passes(t, t->under, "192.0.2.2", "192.0.2.1", VXLAN));
	assert_true(passes(t, t->under, "192.0.2.3", "192.0.2.1", VXLAN));
	assert_true(nft_keeps(t->n));
	set_all(t);
	assert_false(nft_keeps(t->n));
	const struct nft_peer same[] = { { 4, ip_of("2001:db8::2") }, { 9, ip_of("192.0.2.2") }, { 10, ip_of("192.0.2.2") } };
	OK(nft_add_peers(t->n, same, 3, &note));
	assert_false(nft_keeps(t->n) || check(t->n));
	assert_false(passes(t, t->under, "192.0.2.3", "192.0.2.1", VXLAN));
	set_all(t); /* the same again: nothing to do */
	assert_false(readable(t->n, 0));
	OK(nft_refresh(t->n, &note));
	struct nft_traffic traffic;
	assert_true(nft_traffic(t->n, 9, &traffic));
	assert_int_equal(traffic.packets_received, 4);
	assert_int_equal(nft_dropped(t->n, NFT_VXLAN_STRANGER), 2);
	/* Tables of another make under the same names are replaced. */
	nft_close(t->n);
	t->n = NULL;
	command(-1,
		"nft flush ruleset; nft add table bridge weft; nft add set bridge weft port_macs '{ type ether_addr; elements = { 02:00:00:00:00:07 } ; }';"
		"nft add chain bridge weft prerouting '{ type filter hook prerouting priority 0; policy drop; }'");
	OK(nft_open(&t->n, &cfg, &lacks, &note));
	assert_int_not_equal(ns_run(-1, "nft list ruleset | grep -q 02:00:00:00:00:07"), 0);
	assert_int_equal(ns_run(-1, "nft list chain bridge weft prerouting | grep -q 'policy accept'"), 0);
}

/* While datagrams of a peer come without end, tables are made anew again and again: none is lost. */
static void no_gap(void **s)
{
	struct state *t = *s;
	NEEDS_ROOT();
	enum { COUNT = 3000 };
	set_all(t);
	int in = bound(t->ns, "192.0.2.1", VXLAN, SOCK_DGRAM), out = bound(t->under, "192.0.2.2", 0, SOCK_DGRAM), room = 1 << 23;
	assert_int_equal(setsockopt(in, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room), 0);
	pid_t pid = fork();
	if (pid == 0) {
		const struct timespec pause = { .tv_nsec = 50000 };
		for (int i = 0; i < COUNT; i++) {
			send_datagram(out, "192.0.2.1", VXLAN, "x", 1);
			nanosleep(&pause, NULL);
		}
		_exit(0);
	}
	int status, rounds = 0;
	for (; waitpid(pid, &status, WNOHANG) == 0; rounds++) {
		const char *lacks;
		nft_close(t->n);
		t->n = NULL;
		OK(nft_open(&t->n, &cfg, &lacks, &note));
	}
	assert_true(rounds > 3);
	assert_int_equal(count_of(in), COUNT);
	assert_int_equal(dropped(t, NFT_VXLAN_STRANGER), 0);
	close(in);
	close(out);
}

static void is_listed(const char *chain, const char *part, int count)
{
	char text[512];
	snprintf(
		text, sizeof text, "test $(nft list %s | grep -cF -- '%s') = %d || { nft list %s; false; }", chain, part, count, chain);
	command(-1, text);
}

/* What is exposed and who is answered for, as nft(8) shows it; the same again changes nothing; others' tables, the sets and counters stay. */
static void translated(void **s)
{
	struct state *t = *s;
	NEEDS_ROOT();
	const struct nft_exposed list[] = { { "weft", { { 4, { 10, 47, 0, 1 } }, 16 }, true },
		{ "weft-7", { { 6, { 0xfd, 0x77, [15] = 1 } }, 64 }, true }, { "weft", { { 4, { 10, 48, 0, 1 } }, 24 }, false } };
	const struct ip servers[] = { { 4, { 192, 0, 2, 53 } }, { 6, { 0x20, 1 } }, { 4, { 169, 254, 67, 83 } },
		{ 4, { 192, 0, 2, 54 } } };
	const struct hostport names = { ip_v4(0xa9fe4353), 53 };
	const char *const guests[] = { "docker0", "docker_gwbridge" };
	bool mended = true;
	if (!nft_translates(t->n))
		skip();
	assert_int_equal(nft_set_exposed(t->n, list, 3, NULL), ERR_OK);
	is_listed("chain inet weft nat_out", "ip saddr 10.47.0.0/16 ip daddr != 224.0.0.0/4 oifname != \"weft*\" masquerade", 1);
	is_listed("chain inet weft nat_out", "oifname \"weft\" ip daddr 10.47.0.0/16 ip saddr != 10.47.0.0/16 masquerade", 1);
	is_listed("chain inet weft nat_out", "ip6 saddr fd77::/64 ip6 daddr != ff00::/8 oifname != \"weft*\" masquerade", 1);
	is_listed("chain inet weft nat_out", "oifname \"weft-7\" ip6 daddr fd77::/64", 2);
	is_listed("chain inet weft nat_out", "10.48.", 0);
	assert_int_equal(nft_set_resolvers(t->n, servers, 4, names, NULL), ERR_OK);
	is_listed("set inet weft resolvers", "192.0.2.53", 1);
	is_listed("set inet weft resolvers", "192.0.2.54", 1);
	is_listed("set inet weft resolvers", "169.254", 0);
	is_listed("chain inet weft names", "dnat ip to 169.254.67.83:53", 2);
	assert_int_equal(nft_set_guests(t->n, guests, 2, NULL), ERR_OK);
	is_listed("set inet weft guests", "docker_gwbridge", 1);
	assert_int_equal(nft_check(t->n, &mended, NULL), ERR_OK);
	assert_false(mended);
	command(-1, "nft -a list ruleset > /tmp/weft-nft-before-$PPID");
	assert_int_equal(nft_set_exposed(t->n, list, 3, NULL), ERR_OK);
	assert_int_equal(nft_set_resolvers(t->n, servers, 4, names, NULL), ERR_OK);
	command(-1, "nft -a list ruleset | diff - /tmp/weft-nft-before-$PPID; code=$?; rm /tmp/weft-nft-before-$PPID; exit $code");
	command(-1, "nft flush ruleset");
	assert_int_equal(nft_check(t->n, &mended, NULL), ERR_OK);
	assert_true(mended);
	is_listed("chain inet weft nat_out", "masquerade", 6);
	is_listed("chain inet weft names", "dnat", 2);
	assert_int_equal(nft_set_exposed(t->n, NULL, 0, NULL), ERR_OK);
	assert_int_equal(nft_set_resolvers(t->n, NULL, 0, (struct hostport){ 0 }, NULL), ERR_OK);
	is_listed("chain inet weft nat_out", "masquerade", 0);
	is_listed("chain inet weft names", "dnat", 0);
	const struct nft_exposed wrong = { "sixteen-letters!", { { 4, { 10 } }, 8 }, true };
	assert_int_equal(nft_set_exposed(t->n, &wrong, 1, NULL), ERR_USAGE);
}

static void reset(void **s)
{
	struct state *t = *s;
	NEEDS_ROOT();
	set_all(t);
	command(-1, "nft add table inet other");
	OK(nft_reset(t->n, &note));
	assert_int_equal(ns_run(-1, "test \"$(nft list tables)\" = 'table inet other'"), 0);
	assert_true(readable(t->n, 0));
	assert_false(check(t->n));
	set_all(t);
	OK(nft_reset(t->n, &note));
	assert_int_equal(ns_run(-1, "test \"$(nft list tables)\" = 'table inet other'"), 0);
}

static void many(void **s)
{
	struct state *t = *s;
	NEEDS_ROOT();
	enum { PORTS = 2000, EACH = 8, PEERS = 1500 };
	struct nft_port *ports = calloc(PORTS, sizeof *ports);
	struct nft_peer *peers = calloc(PEERS, sizeof *peers);
	struct prefix *addrs = calloc(PORTS * EACH, sizeof *addrs);
	char(*names)[16] = calloc(PORTS, sizeof *names);
	assert_true(ports && peers && addrs && names);
	for (unsigned i = 0; i < PORTS; i++) {
		snprintf(names[i], sizeof names[i], "vethwe%09u", i);
		for (unsigned j = 0; j < EACH; j++)
			addrs[i * EACH + j] = (struct prefix){ ip_v4(0x0a200000 + i * EACH + j), 12 };
		ports[i] = (struct nft_port){ names[i], { { 2, 0, 0, 0, (uint8_t)(i >> 8), (uint8_t)i } }, &addrs[i * EACH], EACH };
	}
	for (unsigned i = 0; i < PEERS; i++)
		peers[i] = (struct nft_peer){ i + 1, ip_v4(0xc0000200 + i) };
	OK(nft_set_ports(t->n, ports, PORTS, &note));
	OK(nft_set_peers(t->n, peers, PEERS, &note));
	assert_false(check(t->n));
	command(-1, "nft delete table bridge weft");
	assert_true(check(t->n));
	assert_int_equal(ns_run(-1, "test $(nft list set bridge weft port_addrs4 | grep -o vethwe | wc -l) = 16000"), 0);
	OK(nft_set_ports(t->n, ports, 1, &note));
	OK(nft_set_peers(t->n, peers, 1, &note));
	assert_int_equal(ns_run(-1, "test $(nft list set bridge weft port_addrs4 | grep -o vethwe | wc -l) = 8"), 0);
	assert_false(check(t->n));
	free(names);
	free(addrs);
	free(peers);
	free(ports);
}

/* A message that the kernel refuses takes its part with it, and nothing of the transaction happens. */
static void parts(void **s)
{
	struct state *t = *s;
	NEEDS_ROOT();
	OK(nft_reset(t->n, &note));
	static const unsigned tried[] = { NFT_PART_INET, NFT_PART_BRIDGE, NFT_PART_INET | NFT_PART_HANDSHAKES,
		NFT_PART_INET | NFT_PART_NAT, NFT_PARTS_ALL };
	static const struct nft_counts zero[NFT_DROPS];
	static const struct nft_elems none;
	struct mnl_socket *m = mnl_socket_open(NETLINK_NETFILTER);
	assert_non_null(m);
	for (size_t i = 0; i < sizeof tried / sizeof *tried; i++) {
		struct nft_batch b;
		uint8_t part;
		assert_true(nft_batch_begin(&b, 100));
		nft_rules_make(&b, tried[i], &cfg, zero, &none, &(struct nft_nat){ 0 });
		assert_int_equal(nft_batch_commit(&b, m, &part), 0);
		nft_batch_free(&b);
	}
	assert_int_equal(ns_run(-1, "nft list table inet weft >/dev/null && nft list table bridge weft >/dev/null"), 0);
	const uint8_t refused[] = { NFT_PART_BRIDGE, NFT_PART_HANDSHAKES };
	for (size_t i = 0; i < sizeof refused; i++) {
		struct nft_batch b;
		uint8_t part;
		const struct nft_elem unknown = { .set = NFT_RX4 };
		assert_true(nft_batch_begin(&b, 5000));
		nft_rules_remove(&b, NFT_PARTS_ALL);
		nft_rules_elems(&b, true, &unknown, 1); /* of a table that is not there */
		b.parts[b.n - 1] = refused[i];
		assert_int_equal(nft_batch_commit(&b, m, &part), -ENOENT);
		assert_int_equal(part, refused[i]);
		nft_batch_free(&b);
	}
	assert_int_equal(ns_run(-1, "nft list table inet weft >/dev/null && nft list table bridge weft >/dev/null"), 0);
	mnl_socket_close(m);
}

static void out_of_memory(void **s)
{
	struct state *t = *s;
	NEEDS_ROOT();
	const struct nft_peer peers[] = { { 9, ip_of("192.0.2.2") } };
	long live = mem_live();
	enum err e = ERR_NOMEM;
	struct err_note why;
	for (size_t n = 1; e != ERR_OK; n++) {
		mem_fail_at(n, false);
		e = nft_set_peers(t->n, peers, 1, &why);
		mem_fail_at(0, false);
		if (e != ERR_OK)
			assert_int_equal(e, ERR_NOMEM);
		else
			assert_true(n > 2);
	}
	assert_false(check(t->n));
	assert_true(mem_live() - live <= 3);
	struct nft *other;
	const char *lacks;
	live = mem_live();
	e = ERR_NOMEM;
	for (size_t n = 1; e != ERR_OK; n++) {
		mem_fail_at(n, false);
		e = nft_open(&other, &cfg, &lacks, &why);
		mem_fail_at(0, false);
		if (e != ERR_OK)
			assert_int_equal(mem_live(), live);
	}
	nft_close(other);
}

enum { FAILURES = 45 };

/* What fails at any allocation is made by the same call again, be it that nobody else changes anything. */
static void tried_again(void **s)
{
	struct state *t = *s;
	NEEDS_ROOT();
	struct err_note why;
	unsigned failed = 0;
	for (unsigned i = 0; i < FAILURES; i++) {
		const struct prefix addr = { ip_v4(0x0a2f0100 + i), 16 };
		const struct nft_port port = { "vethweone", { { 2, 0, 0, 0, 0, 1 } }, &addr, 1 };
		const struct nft_exposed exposed = { "weft", addr, true };
		const struct ip server = ip_v4(0xc0000200 + i);
		const struct hostport names = { ip_v4(0xa9fe4353), (uint16_t)(53 + i % 2) };
		bool same = false;
		for (int what = 0; what < 3; what++) {
			for (int again = 0; again < 2; again++) {
				mem_fail_at(again ? 0 : i / 3 + 1, true);
				enum err e = what == 0 ? nft_set_ports(t->n, &port, 1, &why)
					: what == 1        ? nft_set_exposed(t->n, &exposed, 1, &why)
									   : nft_set_resolvers(t->n, &server, 1, names, &why);
				mem_fail_at(0, false);
				failed += !again && e != ERR_OK;
				if (again)
					assert_int_equal(e, ERR_OK);
			}
			OK(nft_same(t->n, &same, &note));
			if (!same)
				fail_msg("after failure %u of %d", i / 3 + 1, what);
		}
		if (nft_translates(t->n)) {
			char text[64];
			is_listed("chain inet weft nat_out", "oifname \"weft\" ip daddr 10.47.0.0/16 ip saddr != 10.47.0.0/16 masquerade", 1);
			snprintf(text, sizeof text, "dnat ip to 169.254.67.83:%u", (unsigned)names.port);
			is_listed("chain inet weft names", text, 2);
		}
	}
	assert_true(failed > 3);
}

static void no_privilege(void **s)
{
	struct state *t = *s;
	NEEDS_ROOT();
	pid_t pid = fork();
	if (pid == 0) {
		struct err_note why = { "" };
		struct nft *n;
		const char *lacks;
		if (setuid(65534) != 0)
			_exit(1);
		enum err e = nft_open(&n, &cfg, &lacks, &why);
		_exit(e == ERR_PERMISSION && strstr(why.text, "CAP_NET_ADMIN") ? 0 : 2);
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
		T(peers_only),
		T(ports_of_the_host),
		T(handshakes),
		T(frames),
		T(between_networks),
		T(others_changes),
		T(adoption),
		T(no_gap),
		T(translated),
		T(reset),
		T(many),
		T(parts),
		T(out_of_memory),
		T(tried_again),
		T(no_privilege),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
