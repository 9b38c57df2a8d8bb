/* Hosts with a userspace path between them, on the real kernel, all in namespaces of the test's own:
 *
 *    c1 ─ eth0    c2 ─ eth0    c3 ─ eth0         10.32.0.N/12  fd00::N/64      MAC 02:cc:00:00:00:0N
 *         │            │            │
 *    h1 [weft]    h2 [weft]    h3 [weft]         bridge, weft-tap + userspace path, peer N
 *         │eth0        │eth0        │eth0        192.0.2.N/24  2001:db8::N/64
 *         └──────── [bridge] ───────┘            underlay
 */
#ifndef WEFT_TESTS_UNIT_DATAPLANE_HOSTS_H
#define WEFT_TESTS_UNIT_DATAPLANE_HOSTS_H

#include "tests/unit/dataplane/ns.h"

#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <poll.h>
#include <sys/socket.h>

#include "noise/noise.h"
#include "router/dataplane/userspace.h"

enum { HOSTS = 3, MTU = 1406, DATAGRAM = 1472, PORT = 6783, HEARD = 64 };

struct host {
	int ns, container;
	unsigned self;
	struct capture *c;
	struct userspace *u;
	/* What came out of userspace_poll. */
	unsigned wanted[HOSTS + 1], roamed[HOSTS + 1], datagrams, from[HOSTS + 1];
	struct hostport roamed_to;
	size_t last_n;
	uint8_t last[2048];
};
struct hosts {
	int home, underlay;
	struct host h[HOSTS + 1];                     /* from 1 */
	struct seal_keys *keys[HOSTS + 1][HOSTS + 1]; /* [own][peer] */
};

static inline struct ip underlay_ip(unsigned n)
{
	return ip_v4(UINT32_C(0xc0000200) + n);
}

static inline struct ip underlay_ip6(unsigned n)
{
	return (struct ip){ 6, { 0x20, 1, 0x0d, 0xb8, [15] = (uint8_t)n } };
}

static inline struct mac container_mac(unsigned n)
{
	return (struct mac){ { 0x02, 0xcc, 0, 0, 0, (uint8_t)n } };
}

static inline uint32_t session_index(unsigned own, unsigned peer)
{
	return 0x1000u * own + peer;
}

/* One end of the session between two hosts; each call makes a new one of the same secrets, as nobody should. */
static inline struct seal_keys *keys_between(unsigned own, unsigned peer)
{
	uint8_t low[32], high[32];
	memset(low, (int)(16 * (own < peer ? own : peer) + (own < peer ? peer : own)), sizeof low);
	memcpy(high, low, sizeof high);
	high[0] ^= 0xff;
	const struct seal_keys_cfg cfg = { .peer = peer,
		.our_index = session_index(own, peer),
		.their_index = session_index(peer, own),
		.aead = noise_supported(NOISE_AESGCM) ? NOISE_AESGCM : NOISE_CHACHAPOLY,
		.tx = own < peer ? low : high,
		.rx = own < peer ? high : low };
	struct seal_keys *k;
	assert_int_equal(seal_keys_new(&k, &cfg), ERR_OK);
	return k;
}

/* ---- tables */

struct shape { /* of a host's table */
	bool sealed, no_keys, v6;
	unsigned members;             /* bit N: host N has containers; 0: all */
	uint16_t datagram;            /* 0: DATAGRAM */
	unsigned relay_of[HOSTS + 1]; /* what goes to peer N goes by this host */
	bool relays;                  /* passes on for others */
	unsigned stranger;            /* this peer is left out */
};

static inline void set_table(struct hosts *t, unsigned self, const struct shape *s)
{
	struct userspace_peer peers[HOSTS] = { 0 };
	struct seal_keys *sessions[HOSTS];
	struct fwd_peer fwd[HOSTS] = { 0 };
	struct fwd_mac macs[HOSTS] = { 0 };
	const unsigned members = s->members ? s->members : 0xe;
	size_t n_peers = 0, n_sessions = 0, n_fwd = 0;
	for (unsigned n = 1; n <= HOSTS; n++) {
		macs[n - 1] = (struct fwd_mac){ container_mac(n), n };
		if (n == self || n == s->stranger)
			continue;
		const unsigned by = s->relay_of[n];
		const unsigned next = by ? by : n;
		const struct hostport to = { s->v6 ? underlay_ip6(next) : underlay_ip(next), PORT };
		fwd[n_fwd++] = (struct fwd_peer){ .name = n, .to = to, .member = members & (1u << n) };
		peers[n_peers++] = (struct userspace_peer){ .name = n,
			.to = to,
			.relay = by,
			.sealed = s->sealed,
			.datagram = s->datagram ? s->datagram : DATAGRAM,
			.settled = true,
			.keys = (s->sealed || by) && !s->no_keys ? t->keys[self][n] : NULL,
			.relay_to = s->relays ? (struct hostport){ underlay_ip(n), PORT } : (struct hostport){ .port = 0 } };
		if (!s->no_keys)
			sessions[n_sessions++] = t->keys[self][n];
	}
	struct fwd_table *f;
	assert_int_equal(fwd_table_new(self, fwd, n_fwd, macs, HOSTS, NULL, 0, &f), ERR_OK);
	const struct userspace_net net = { 0, f };
	const struct userspace_table table = {
		.peers = peers, .n_peers = n_peers, .nets = &net, .n_nets = 1, .sessions = sessions, .n_sessions = n_sessions
	};
	assert_int_equal(userspace_set_table(t->h[self].u, &table), ERR_OK);
}

static inline void set_tables(struct hosts *t, const struct shape *s)
{
	for (unsigned n = 1; n <= HOSTS; n++)
		set_table(t, n, s);
}

/* ---- hosts */

static inline void on_datagram(void *ctx, struct hostport from, struct slice bytes)
{
	struct host *h = ctx;
	for (unsigned n = 1; n <= HOSTS; n++)
		h->from[n] += ip_eq(from.ip, underlay_ip(n));
	h->datagrams++;
	h->last_n = bytes.n < sizeof h->last ? bytes.n : sizeof h->last;
	memcpy(h->last, bytes.p, h->last_n);
}
static inline void on_wanted(void *ctx, uint64_t peer)
{
	struct host *h = ctx;
	assert_in_range(peer, 1, HOSTS);
	h->wanted[peer]++;
}
static inline void on_roamed(void *ctx, uint64_t peer, struct hostport from)
{
	struct host *h = ctx;
	assert_in_range(peer, 1, HOSTS);
	h->roamed[peer]++;
	h->roamed_to = from;
}

static inline void start_path(struct hosts *t, unsigned n, enum capture_kind kind, unsigned queues)
{
	struct host *h = &t->h[n];
	const struct userspace_cfg cfg = { .listen = { { 0 }, PORT },
		.queues = queues,
		.self = n,
		.ctx = h,
		.datagram = on_datagram,
		.wanted = on_wanted,
		.roamed = on_roamed };
	ns_go(h->ns);
	OK(capture_open(kind, "weft-tap", queues, &h->c, &note));
	OK(userspace_start(&cfg, &h->u, &note));
	OK(userspace_add(h->u, 0, h->c, &note));
	char command[128];
	snprintf(command, sizeof command, "ip link set weft-tap mtu %d master weft up", MTU);
	assert_int_equal(system(command), 0);
	ns_go(t->home);
}

static inline void stop_path(struct host *h)
{
	userspace_stop(h->u);
	capture_close(h->c);
	h->u = NULL;
	h->c = NULL;
}

static inline void make_host(struct hosts *t, unsigned n, enum capture_kind kind, unsigned queues)
{
	struct host *h = &t->h[n];
	char command[1024];
	h->self = n;
	h->ns = ns_new();
	h->container = ns_new();
	ns_go(t->underlay);
	snprintf(command, sizeof command,
		"ip link add eth0 netns /proc/%d/fd/%d type veth peer name u%u && ip link set u%u master u up", (int)getpid(), h->ns, n,
		n);
	assert_int_equal(system(command), 0);
	ns_go(h->ns);
	snprintf(command, sizeof command,
		"ip addr add 192.0.2.%u/24 dev eth0 && ip addr add 2001:db8::%u/64 dev eth0 nodad && ip link set eth0 up && "
		"ip link add weft mtu %d type bridge mcast_snooping 0 && sysctl -qw net.ipv6.conf.weft.disable_ipv6=1 && ip link set weft up && "
		"ip link add vc mtu %d type veth peer name eth0 mtu %d address 02:cc:00:00:00:0%u netns /proc/%d/fd/%d && "
		"ip link set vc master weft up",
		n, n, MTU, MTU, MTU, n, (int)getpid(), h->container);
	assert_int_equal(system(command), 0);
	ns_go(h->container);
	snprintf(command, sizeof command,
		"ip addr add 10.32.0.%u/12 dev eth0 && ip addr add fd00::%u/64 dev eth0 nodad && ip link set eth0 up", n, n);
	assert_int_equal(system(command), 0);
	ns_go(t->home);
	start_path(t, n, kind, queues);
}

static inline struct hosts *hosts_new(enum capture_kind kind, unsigned queues)
{
	struct hosts *t = calloc(1, sizeof *t);
	assert_non_null(t);
	t->home = ns_here();
	t->underlay = ns_new();
	assert_int_equal(ns_run(t->underlay, "ip link add u type bridge mcast_snooping 0 && ip link set u up"), 0);
	for (unsigned own = 1; own <= HOSTS; own++)
		for (unsigned peer = 1; peer <= HOSTS; peer++)
			if (own != peer)
				t->keys[own][peer] = keys_between(own, peer);
	for (unsigned n = 1; n <= HOSTS; n++)
		make_host(t, n, kind, queues);
	set_tables(t, &(struct shape){ 0 });
	return t;
}

static inline void hosts_free(struct hosts *t)
{
	for (unsigned n = 1; n <= HOSTS; n++) {
		stop_path(&t->h[n]);
		close(t->h[n].container);
		close(t->h[n].ns);
		for (unsigned peer = 1; peer <= HOSTS; peer++)
			seal_keys_unref(t->keys[n][peer]);
	}
	close(t->underlay);
	close(t->home);
	free(t);
}

static inline struct userspace_stats stats(const struct host *h)
{
	struct userspace_stats st;
	userspace_stats(h->u, &st);
	return st;
}

/* Waits (2 s) until a counter is there. */
static inline void reaches(const struct host *h, enum fwd_drop why, uint64_t n)
{
	for (int i = 0; i < 400 && stats(h).dropped[why] < n; i++)
		usleep(5000);
	const uint64_t is = stats(h).dropped[why];
	if (is != n)
		fail_msg("%s: %llu instead of %llu", fwd_drop_name(why), (unsigned long long)is, (unsigned long long)n);
}

/* Hands over what waits until *count is reached (2 s). */
static inline bool polled(struct host *h, const unsigned *count, unsigned n)
{
	for (int i = 0; i < 400 && *count < n; i++) {
		struct pollfd p = { .fd = userspace_fd(h->u), .events = POLLIN };
		(void)poll(&p, 1, 5);
		userspace_poll(h->u);
	}
	return *count >= n;
}

/* ---- raw frames at a container's interface */

static inline int sniffer(int ns, const char *dev)
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

static inline unsigned heard(int sock, unsigned at_least)
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

static inline void say(int sock, struct mac dst, struct mac src)
{
	uint8_t f[60] = { 0 };
	memcpy(f, dst.b, 6);
	memcpy(f + 6, src.b, 6);
	f[12] = 0x88;
	f[13] = 0xb5;
	assert_int_equal(send(sock, f, sizeof f, 0), sizeof f);
}

/* A UDP socket on a host, for the datagrams nobody should send. */
static inline int udp_of(const struct hosts *t, unsigned n, unsigned to)
{
	ns_go(t->h[n].ns);
	int out = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	ns_go(t->home);
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons(PORT) };
	memcpy(&at.sin_addr, underlay_ip(to).b, 4);
	assert_int_equal(connect(out, (struct sockaddr *)&at, sizeof at), 0);
	return out;
}

#endif
