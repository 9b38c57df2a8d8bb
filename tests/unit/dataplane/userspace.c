/* The userspace path between hosts: what containers notice of it. Topology: hosts.h. WEFT_CAPTURE=pcap takes that back end, WEFT_QUEUES=N so many queues. */
#include "tests/unit/dataplane/hosts.h"

#include <limits.h>
#include <linux/virtio_net.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <time.h>

#include "base/mem.h"
#include "base/rng.h"
#include "router/dataplane/internal.h"

static bool may;

static enum capture_kind kind(void)
{
	const char *k = getenv("WEFT_CAPTURE");
	return k && strcmp(k, "pcap") == 0 ? CAPTURE_PCAP : CAPTURE_TAP;
}

static unsigned queues(void)
{
	const char *q = getenv("WEFT_QUEUES");
	return q ? (unsigned)atoi(q) : 1;
}

static int setup(void **s)
{
	*s = may ? hosts_new(kind(), queues()) : NULL;
	return 0;
}

static int teardown(void **s)
{
	if (*s)
		hosts_free(*s);
	return 0;
}

#define NEEDS_ROOT() \
	if (!may)        \
	skip()

static const struct shape clear = { 0 }, sealed = { .sealed = true };

static int ping(const struct host *h, const char *what)
{
	char command[256];
	snprintf(command, sizeof command, "ping -q -W2 %s >/dev/null", what);
	return ns_run(h->container, command);
}

/* ---- everything passes */

static void traffic_of(uint64_t peer, const struct userspace_traffic *traffic, void *arg)
{
	struct userspace_traffic *v = arg;
	assert_in_range(peer, 1, HOSTS);
	v[peer] = *traffic;
}

static void pings(struct hosts *t)
{
	assert_int_equal(ping(&t->h[1], "-c1 10.32.0.2"), 0);
	assert_int_equal(ping(&t->h[1], "-c1 10.32.0.3"), 0);
	assert_int_equal(ping(&t->h[3], "-c1 fd00::2"), 0);
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
	for (int why = FWD_TOO_BIG; why < FWD_DROPS; why++)
		if (st.dropped[why])
			fail_msg("%s: %llu", fwd_drop_name((enum fwd_drop)why), (unsigned long long)st.dropped[why]);
	assert_int_equal(st.dropped[FWD_MALFORMED], 0);
	assert_int_equal(st.fragments_sent, 0);
	assert_false(st.lost);
}

static void pings_in_the_clear(void **s)
{
	NEEDS_ROOT();
	set_tables(*s, &clear);
	pings(*s);
}

static void pings_sealed(void **s)
{
	struct hosts *t = *s;
	NEEDS_ROOT();
	set_tables(t, &sealed);
	for (unsigned n = 1; n <= HOSTS; n++)
		(void)seal_take_sent(t->keys[1][2]);
	pings(t);
	assert_true(seal_take_sent(t->keys[1][2]) && seal_take_received(t->keys[1][2]));
}

enum { BULK = 24 << 20 };

static uint64_t bulk_word(uint64_t i)
{
	uint64_t x = i * UINT64_C(0x9e3779b97f4a7c15);
	return x ^ x >> 31;
}

struct bulk {
	int sock;
	const char *failed;
};

static void *bulk_send(void *arg)
{
	struct bulk *b = arg;
	uint64_t words[8192];
	for (uint64_t i = 0; i < BULK / sizeof words && !b->failed; i++) {
		for (size_t j = 0; j < 8192; j++)
			words[j] = bulk_word(i * 8192 + j);
		for (size_t at = 0; at < sizeof words && !b->failed;) {
			const ssize_t n = send(b->sock, (uint8_t *)words + at, sizeof words - at, MSG_NOSIGNAL);
			if (n <= 0)
				b->failed = "send";
			at += (size_t)n;
		}
	}
	shutdown(b->sock, SHUT_WR);
	return NULL;
}

static int tcp_socket(const struct hosts *t, unsigned n, int family)
{
	const struct timeval patience = { .tv_sec = 20 };
	ns_go(t->h[n].container);
	int sock = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ns_go(t->home);
	assert_true(sock >= 0);
	assert_int_equal(setsockopt(sock, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience), 0);
	assert_int_equal(setsockopt(sock, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience), 0);
	return sock;
}

static struct sockaddr_storage container_addr(int family, unsigned n, socklen_t *len)
{
	struct sockaddr_storage out = { 0 };
	struct sockaddr_in v4 = { .sin_family = AF_INET, .sin_port = htons(7) };
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6, .sin6_port = htons(7) };
	v4.sin_addr.s_addr = htonl(UINT32_C(0x0a200000) + n);
	v6.sin6_addr.s6_addr[0] = 0xfd;
	v6.sin6_addr.s6_addr[15] = (uint8_t)n;
	*len = family == AF_INET ? sizeof v4 : sizeof v6;
	memcpy(&out, family == AF_INET ? (void *)&v4 : (void *)&v6, *len);
	return out;
}

/* Some megabytes by TCP, every word of them looked at. */
static void bulk(struct hosts *t, int family, unsigned from, unsigned to)
{
	socklen_t len;
	const int one = 1;
	const struct sockaddr_storage at = container_addr(family, to, &len);
	const int listening = tcp_socket(t, to, family);
	assert_int_equal(setsockopt(listening, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one), 0);
	assert_int_equal(bind(listening, (const struct sockaddr *)&at, len), 0);
	assert_int_equal(listen(listening, 1), 0);
	struct bulk b = { .sock = tcp_socket(t, from, family) };
	assert_int_equal(connect(b.sock, (const struct sockaddr *)&at, len), 0);
	const int in = accept(listening, NULL, NULL);
	assert_true(in >= 0);
	pthread_t thread;
	assert_int_equal(pthread_create(&thread, NULL, bulk_send, &b), 0);
	uint64_t words[8192], checked = 0;
	size_t have = 0;
	for (ssize_t n; (n = recv(in, (uint8_t *)words + have, sizeof words - have, 0)) > 0;) {
		have += (size_t)n;
		const size_t whole = have / 8;
		for (size_t i = 0; i < whole && !b.failed; i++)
			if (words[i] != bulk_word(checked + i))
				b.failed = "altered on the way";
		checked += whole;
		have -= whole * 8;
		memmove(words, words + whole, have);
	}
	if (checked * 8 != BULK)
		b.failed = b.failed ? b.failed : "incomplete";
	shutdown(in, SHUT_RDWR);
	pthread_join(thread, NULL);
	close(b.sock);
	close(in);
	close(listening);
	if (b.failed)
		fail_msg("%u to %u: %s after %llu bytes", from, to, b.failed, (unsigned long long)checked * 8);
}

static void bulk_in_superframes(void **s)
{
	struct hosts *t = *s;
	NEEDS_ROOT();
	const struct shape *const shapes[] = { &clear, &sealed };
	for (int i = 0; i < 2; i++) {
		set_tables(t, shapes[i]);
		const struct userspace_stats before = stats(&t->h[1]);
		bulk(t, AF_INET, 1, 2);
		bulk(t, AF_INET6, 2, 1);
		const struct userspace_stats after = stats(&t->h[1]);
		/* Both ways most of it crosses the device in superframes, and none is answered "too big". */
		assert_true(after.superframes_in - before.superframes_in > 100);
		assert_true(after.superframes_out - before.superframes_out > 100);
		assert_true(after.superframes_in - before.superframes_in < (after.total.frames_sent - before.total.frames_sent) / 4);
		assert_int_equal(after.too_big_sent, before.too_big_sent);
	}
}

/* The underlay may be IPv6: the same sockets, 20 bytes less. */
static void over_ipv6(void **s)
{
	struct hosts *t = *s;
	NEEDS_ROOT();
	for (int seals = 0; seals < 2; seals++) {
		set_tables(t, &(struct shape){ .v6 = true, .sealed = seals, .datagram = DATAGRAM - 20 });
		assert_int_equal(ping(&t->h[1], "-c1 -M do -s 1378 10.32.0.2"), 0);
		/* Behind the answer: nothing is under way any more that went by the former tables. */
		const struct userspace_stats before = stats(&t->h[1]);
		bulk(t, AF_INET, 1, 2);
		bulk(t, AF_INET6, 2, 1);
		const struct userspace_stats after = stats(&t->h[1]);
		assert_int_equal(after.dropped[FWD_TOO_BIG], before.dropped[FWD_TOO_BIG]);
		assert_int_equal(after.dropped[FWD_STRANGER], before.dropped[FWD_STRANGER]);
		/* What the device does not carry is not cut on the way. */
		assert_int_equal(ns_run(t->h[1].ns, "ip link set eth0 mtu 1400"), 0);
		assert_int_not_equal(ping(&t->h[1], "-c1 -W0.3 -M do -s 1378 10.32.0.2"), 0);
		reaches(&t->h[1], FWD_TOO_BIG, after.dropped[FWD_TOO_BIG] + 1);
		assert_int_equal(ns_run(t->h[1].ns, "ip link set eth0 mtu 1500"), 0);
	}
	set_tables(t, &clear);
}

/* ---- to many */

/* A broadcast reaches every other container once and comes back to nobody; hosts without members are spared. */
static void broadcast_once(void **s)
{
	struct hosts *t = *s;
	NEEDS_ROOT();
	const struct mac all = mac_of("ff:ff:ff:ff:ff:ff"), unknown = mac_of("02:ee:00:00:00:01");
	int sock[HOSTS + 1];
	for (unsigned n = 1; n <= HOSTS; n++)
		sock[n] = sniffer(t->h[n].container, "eth0");
	for (int round = 0; round < 4; round++) {
		set_tables(t, round / 2 ? &sealed : &clear);
		say(sock[1], round % 2 ? unknown : all, container_mac(1)); /* a MAC nobody has published goes to all as well */
		for (unsigned n = 1; n <= HOSTS; n++)
			assert_int_equal(heard(sock[n], n > 1), n > 1);
	}
	set_table(t, 1, &(struct shape){ .members = 1u << 3 });
	set_table(t, 3, &clear);
	say(sock[1], all, container_mac(1));
	assert_int_equal(heard(sock[3], 1), 1);
	assert_int_equal(heard(sock[2], 0), 0);
	for (unsigned n = 1; n <= HOSTS; n++)
		close(sock[n]);
}

static uint16_t sum16(const uint8_t *p, size_t n, uint32_t sum)
{
	for (size_t i = 0; i < n; i += 2)
		sum += (uint32_t)p[i] << 8 | (i + 1 < n ? p[i + 1] : 0u);
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

/* A TCP segment of 20,000 bytes to a MAC that nobody has published: cutting it for one host must not spoil it for the next. */
static void flooded_superframe(void **s)
{
	enum { PAYLOAD = 20000, MSS = 1300, HEADERS = 54 };
	struct hosts *t = *s;
	NEEDS_ROOT();
	set_tables(t, &clear);
	int ear[HOSTS + 1], on = 1;
	for (unsigned n = 1; n <= HOSTS; n++) {
		ns_go(t->h[n].container);
		ear[n] = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK, htons(0x0800));
		const struct sockaddr_ll at = {
			.sll_family = AF_PACKET, .sll_protocol = htons(0x0800), .sll_ifindex = (int)if_nametoindex("eth0")
		};
		assert_int_equal(bind(ear[n], (const struct sockaddr *)&at, sizeof at), 0);
		ns_go(t->home);
	}
	static uint8_t b[10 + HEADERS + PAYLOAD];
	uint8_t *f = b + 10;
	const struct vnet v = { .flags = VNET_NEEDS_CSUM,
		.gso_type = VNET_GSO_TCPV4,
		.hdr_len = HEADERS,
		.gso_size = MSS,
		.csum_start = 34,
		.csum_offset = 16 };
	vnet_write(b, &v);
	memcpy(f, mac_of("02:ee:00:00:00:02").b, 6);
	memcpy(f + 6, container_mac(1).b, 6);
	const uint8_t ip[] = { 8, 0, 0x45, 0, (40 + PAYLOAD) >> 8, (40 + PAYLOAD) & 255, 0, 1, 0x40, 0, 64, 6, 0, 0, 10, 32, 0, 1, 10,
		32, 0, 9 };
	memcpy(f + 12, ip, sizeof ip);
	const uint16_t ip_sum = (uint16_t)~sum16(f + 14, 20, 0);
	f[24] = (uint8_t)(ip_sum >> 8);
	f[25] = (uint8_t)ip_sum;
	const uint8_t tcp[] = { 0, 7, 0, 9, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 1, 0, 0, 0, 0, 0 };
	memcpy(f + 34, tcp, sizeof tcp);
	const uint16_t pseudo = sum16(f + 26, 8, 6 + 20 + PAYLOAD);
	f[50] = (uint8_t)(pseudo >> 8);
	f[51] = (uint8_t)pseudo;
	for (size_t i = 0; i < PAYLOAD; i++)
		f[HEADERS + i] = (uint8_t)(bulk_word(i) >> 8);
	assert_int_equal(setsockopt(ear[1], SOL_PACKET, PACKET_VNET_HDR, &on, sizeof on), 0);
	assert_int_equal(send(ear[1], b, sizeof b, 0), sizeof b);
	for (unsigned n = 2; n <= HOSTS; n++) {
		/* It comes as one frame or as several; sequence numbers say where each belongs. */
		static uint8_t got[PAYLOAD], in[65536];
		size_t have = 0;
		memset(got, 0, sizeof got);
		for (int i = 0; i < 400 && have < PAYLOAD; i++, usleep(5000))
			for (ssize_t len; (len = recv(ear[n], in, sizeof in, 0)) > HEADERS;) {
				const uint32_t seq = ((uint32_t)in[38] << 24 | (uint32_t)in[39] << 16 | (uint32_t)in[40] << 8 | in[41]) - 1;
				const size_t bytes = (size_t)(in[16] << 8 | in[17]) - 40;
				if (in[23] != 6 || seq + bytes > PAYLOAD)
					continue;
				memcpy(got + seq, in + HEADERS, bytes);
				have += bytes;
			}
		assert_int_equal(have, PAYLOAD);
		assert_memory_equal(got, f + HEADERS, PAYLOAD);
	}
	for (unsigned n = 1; n <= HOSTS; n++)
		close(ear[n]);
}

/* More hosts than one system call takes: each gets its copy. (Nobody answers ARP for them; sending does not wait for that.) */
static void many_members(void **s)
{
	enum { MANY = 300, FRAMES = 8 };
	struct hosts *t = *s;
	NEEDS_ROOT();
	static struct fwd_peer fwd[MANY];
	static struct userspace_peer peers[MANY];
	for (unsigned i = 0; i < MANY; i++) {
		const struct hostport to = { ip_v4(UINT32_C(0x7f000001) + i), 9 };
		fwd[i] = (struct fwd_peer){ .name = 100 + i, .to = to, .member = true };
		peers[MANY - 1 - i] = (struct userspace_peer){ .name = 100 + i, .to = to, .datagram = DATAGRAM };
	}
	struct fwd_table *f;
	assert_int_equal(fwd_table_new(1, fwd, MANY, NULL, 0, NULL, 0, &f), ERR_OK);
	const struct userspace_net net = { 0, f };
	const struct userspace_table table = { .peers = peers, .n_peers = MANY, .nets = &net, .n_nets = 1 };
	assert_int_equal(userspace_set_table(t->h[1].u, &table), ERR_OK);
	const struct userspace_stats before = stats(&t->h[1]);
	int mouth = sniffer(t->h[1].container, "eth0");
	for (int i = 0; i < FRAMES; i++)
		say(mouth, mac_of("ff:ff:ff:ff:ff:ff"), container_mac(1));
	close(mouth);
	for (int i = 0; i < 400 && stats(&t->h[1]).total.frames_sent < before.total.frames_sent + FRAMES * MANY; i++)
		usleep(5000);
	set_table(t, 1, &clear);
	const struct userspace_stats after = stats(&t->h[1]);
	assert_true(after.flooded >= before.flooded + FRAMES);
	assert_true(after.total.frames_sent - before.total.frames_sent >= FRAMES * MANY);
	assert_int_equal(after.dropped[FWD_SEND_FAILED], before.dropped[FWD_SEND_FAILED]);
}

/* ---- sessions, relays */

/* Frames wait for a session, a while. */
static void stash(void **s)
{
	struct hosts *t = *s;
	NEEDS_ROOT();
	set_tables(t, &sealed);
	assert_int_equal(ping(&t->h[1], "-c1 10.32.0.2"), 0); /* neighbours know each other */
	set_table(t, 1, &(struct shape){ .sealed = true, .no_keys = true });
	t->h[1].wanted[2] = 0;
	const uint64_t before = stats(&t->h[1]).dropped[FWD_NO_SESSION];
	ns_go(t->h[1].container);
	FILE *f = popen("ping -q -c5 -i 0.01 -W2 10.32.0.2", "r");
	ns_go(t->home);
	assert_true(polled(&t->h[1], &t->h[1].wanted[2], 1));
	usleep(100000);
	set_table(t, 1, &sealed);
	char out[1024] = "";
	const size_t n = fread(out, 1, sizeof out - 1, f);
	out[n] = '\0';
	pclose(f);
	if (!strstr(out, " 0% packet loss"))
		fail_msg("%s", out);
	assert_int_equal(stats(&t->h[1]).dropped[FWD_NO_SESSION], before);
	/* In vain. */
	set_table(t, 1, &(struct shape){ .sealed = true, .no_keys = true });
	assert_int_not_equal(ping(&t->h[1], "-c3 -i 0.01 -W0.1 10.32.0.2"), 0);
	for (int i = 0; i < 400 && stats(&t->h[1]).dropped[FWD_NO_SESSION] < before + 3; i++)
		usleep(5000);
	assert_true(stats(&t->h[1]).dropped[FWD_NO_SESSION] >= before + 3);
	/* More than is kept: dropped at once, what was first is kept. */
	const uint64_t full = stats(&t->h[1]).dropped[FWD_NO_SESSION];
	assert_int_not_equal(
		ns_run(t->h[1].container, "ping -q -c1 -s 60000 -W0.1 10.32.0.2 >/dev/null; ping -q -c100 -f -w1 10.32.0.2 >/dev/null"),
		0);
	assert_true(stats(&t->h[1]).dropped[FWD_NO_SESSION] > full);
	set_table(t, 1, &sealed);
	usleep(200000);
	assert_int_equal(ping(&t->h[1], "-c1 10.32.0.2"), 0);
}

/* What goes between 1 and 3 is passed on by 2, which cannot read it. */
static void relay(void **s)
{
	struct hosts *t = *s;
	NEEDS_ROOT();
	set_table(t, 1, &(struct shape){ .relay_of = { [3] = 2 } });
	set_table(t, 3, &(struct shape){ .relay_of = { [1] = 2 } });
	set_table(t, 2, &(struct shape){ .relays = true });
	const struct userspace_stats before = stats(&t->h[2]);
	assert_int_equal(ping(&t->h[1], "-c3 -i 0.01 -s 4000 10.32.0.3"), 0);
	for (int i = 0; i < 400 && stats(&t->h[2]).relayed < before.relayed + 18; i++)
		usleep(5000);
	assert_true(stats(&t->h[2]).relayed >= before.relayed + 18);
	assert_int_equal(ping(&t->h[1], "-c1 10.32.0.2"), 0);
	bulk(t, AF_INET, 1, 3);
	bulk(t, AF_INET6, 3, 1);
	/* A broadcast still comes once to each. */
	int ear[HOSTS + 1];
	for (unsigned n = 1; n <= HOSTS; n++)
		ear[n] = sniffer(t->h[n].container, "eth0");
	say(ear[3], mac_of("ff:ff:ff:ff:ff:ff"), container_mac(3));
	for (unsigned n = 1; n <= HOSTS; n++) {
		assert_int_equal(heard(ear[n], n < 3), n < 3);
		close(ear[n]);
	}
	/* A host with no way onwards. */
	const struct userspace_stats none = stats(&t->h[2]);
	set_table(t, 2, &clear);
	assert_int_not_equal(ping(&t->h[1], "-c1 -W0.2 10.32.0.3"), 0);
	assert_true(stats(&t->h[2]).dropped[FWD_NO_PEER] > none.dropped[FWD_NO_PEER]);
	set_tables(t, &clear);
}

/* ---- sizes */

/* Frames larger than the path: told to who wants to know, else in pieces; TCP is cut to fit without noticing. */
static void too_big(struct hosts *t, bool seals, uint16_t datagram)
{
	const struct shape small = { .sealed = seals, .datagram = datagram };
	char command[256];
	const unsigned mtu = datagram - 16u - (seals ? 16u : 0u) - 14u;
	set_tables(t, &small);
	assert_int_equal(ns_run(t->h[1].container, "ip route flush cache; ip -6 route flush cache"), 0);
	const struct userspace_stats before = stats(&t->h[1]);
	/* DF: the first answer tells the right MTU, which the sender's kernel then keeps to. */
	snprintf(command, sizeof command,
		"ping -q -M do -c1 -W2 -s 1350 10.32.0.2 >/dev/null; ip route get 10.32.0.2 | grep -q 'mtu %u'", mtu);
	assert_int_equal(ns_run(t->h[1].container, command), 0);
	struct userspace_stats now = stats(&t->h[1]);
	assert_true(now.too_big_sent > before.too_big_sent && now.dropped[FWD_TOO_BIG] > before.dropped[FWD_TOO_BIG]);
	assert_int_equal(now.fragments_sent, before.fragments_sent);
	snprintf(command, sizeof command, "ping -q -M do -c1 -W2 -s %u 10.32.0.2 >/dev/null", mtu - 28);
	assert_int_equal(ns_run(t->h[1].container, command), 0);
	/* Without DF in pieces, whole at the other end. */
	assert_int_equal(
		ns_run(t->h[1].container, "ip route flush cache; ping -q -M dont -c3 -i 0.01 -W2 -s 1350 10.32.0.2 >/dev/null"), 0);
	now = stats(&t->h[1]);
	assert_true(now.fragments_sent >= before.fragments_sent + 6 && now.fragments_received >= before.fragments_received + 6);
	/* IPv6 is told at most 1280. */
	(void)ns_run(t->h[1].container, "ping -q -c1 -W2 -s 1350 fd00::2 >/dev/null");
	snprintf(command, sizeof command, "ip -6 route get fd00::2 | grep -q 'mtu %u'", mtu < 1280 ? 1280 : mtu);
	assert_int_equal(ns_run(t->h[1].container, command), 0);
	assert_int_equal(ns_run(t->h[1].container, "ping -q -c3 -i 0.01 -W2 -s 1350 fd00::2 >/dev/null"), 0);
	bulk(t, AF_INET, 1, 2);
	bulk(t, AF_INET6, 2, 1);
}

static void too_big_for_the_path(void **s)
{
	struct hosts *t = *s;
	NEEDS_ROOT();
	too_big(t, false, 1000);
	too_big(t, true, 1332);
	too_big(t, true, 600);
	assert_int_equal(ns_run(t->h[1].container, "ip route flush cache; ip -6 route flush cache"), 0);
	assert_int_equal(ns_run(t->h[2].container, "ip route flush cache; ip -6 route flush cache"), 0);
	set_tables(t, &clear);
}

/* An underlay smaller than the table says: counted, and nothing is cut by the kernel. A whole superframe of it as well. */
static void too_big_for_the_device(void **s)
{
	struct hosts *t = *s;
	NEEDS_ROOT();
	set_tables(t, &clear);
	assert_int_equal(ping(&t->h[1], "-c1 -M do -s 1378 10.32.0.2"), 0);
	const uint64_t before = stats(&t->h[1]).dropped[FWD_TOO_BIG];
	assert_int_equal(ns_run(t->h[1].ns, "ip link set eth0 mtu 1400"), 0);
	assert_int_not_equal(ping(&t->h[1], "-c1 -W0.3 -M do -s 1378 10.32.0.2"), 0);
	reaches(&t->h[1], FWD_TOO_BIG, before + 1);
	assert_int_equal(ping(&t->h[1], "-c1 -M do -s 1300 10.32.0.2"), 0);
	set_table(t, 1, &(struct shape){ .datagram = 1372 });
	bulk(t, AF_INET, 1, 2);
	/* A device without checksum offload: before Linux 6.11 it refuses UDP_SEGMENT. */
	assert_int_equal(ns_run(t->h[1].ns, "ip link set eth0 mtu 1500; ethtool -K eth0 tx off >/dev/null"), 0);
	set_table(t, 1, &clear);
	bulk(t, AF_INET, 1, 2);
	assert_int_equal(ns_run(t->h[1].ns, "ethtool -K eth0 tx on >/dev/null"), 0);
	set_table(t, 1, &clear);
}

/* A kernel that will not cut datagrams for us (here because of a socket without checksums): one by one, and it is remembered. */
static void without_segmentation(void **s)
{
	struct hosts *t = *s;
	NEEDS_ROOT();
	for (int on = 1; on >= 0; on--) {
		for (unsigned n = 1; n <= HOSTS; n++)
			for (unsigned q = 0; q < queues(); q++)
				assert_int_equal(setsockopt(t->h[n].u->sock[q], SOL_SOCKET, SO_NO_CHECK, &on, sizeof on), 0);
		set_tables(t, on ? &clear : &sealed);
		const struct userspace_stats before = stats(&t->h[1]);
		bulk(t, AF_INET, 1, 2);
		const struct table *table = atomic_load(&t->h[1].u->current)->table;
		assert_int_equal(atomic_load(&table_peer(table, 2, NULL)->plain), on);
		assert_int_equal(stats(&t->h[1]).dropped[FWD_SEND_FAILED], before.dropped[FWD_SEND_FAILED]);
		assert_int_equal(stats(&t->h[1]).dropped[FWD_TOO_BIG], before.dropped[FWD_TOO_BIG]);
		set_table(t, 1, &(struct shape){ .relay_of = { [3] = 2 } });
		set_table(t, 3, &(struct shape){ .relay_of = { [1] = 2 } });
		set_table(t, 2, &(struct shape){ .relays = true });
		const struct userspace_stats relay_before = stats(&t->h[2]);
		bulk(t, AF_INET, 1, 3);
		assert_int_equal(stats(&t->h[2]).dropped[FWD_SEND_FAILED], relay_before.dropped[FWD_SEND_FAILED]);
	}
	set_tables(t, &clear);
}

/* ---- changes */

struct swapping {
	struct hosts *t;
	atomic_bool stop;
	unsigned swaps;
};
static void *swap_tables(void *arg)
{
	struct swapping *w = arg;
	for (w->swaps = 0; !atomic_load(&w->stop); w->swaps++) {
		for (unsigned n = 1; n <= 2; n++)
			set_table(w->t, n, &sealed);
		for (unsigned n = 1; n <= 2; n++)
			userspace_poll(w->t->h[n].u);
		usleep(1000);
	}
	return NULL;
}

/* Bulk and pings go on without loss while tables are replaced under them. */
static void tables_under_load(void **s)
{
	struct hosts *t = *s;
	NEEDS_ROOT();
	set_tables(t, &sealed);
	assert_int_equal(ping(&t->h[1], "-c1 10.32.0.2"), 0);
	struct swapping w = { .t = t };
	pthread_t thread;
	assert_int_equal(pthread_create(&thread, NULL, swap_tables, &w), 0);
	ns_go(t->h[1].container);
	FILE *f = popen("ping -q -c200 -i 0.002 -W2 10.32.0.2", "r");
	ns_go(t->home);
	bulk(t, AF_INET, 2, 1);
	char out[1024] = "";
	size_t n = fread(out, 1, sizeof out - 1, f);
	out[n] = '\0';
	pclose(f);
	atomic_store(&w.stop, true);
	pthread_join(thread, NULL);
	assert_true(w.swaps > 20);
	if (!strstr(out, " 0% packet loss"))
		fail_msg("%u swaps: %s", w.swaps, out);
}

/* Tables and counters of peers that are gone are freed, in use though the table is when it is replaced; what fails changes nothing. */
static void replaced_tables(void **s)
{
	struct hosts *t = *s;
	NEEDS_ROOT();
	struct userspace *u = t->h[1].u;
	set_tables(t, &clear);
	ns_go(t->h[1].container);
	FILE *f = popen("ping -q -c100 -i 0.002 -s 4000 -W2 10.32.0.2", "r");
	ns_go(t->home);
	long least = LONG_MAX, last = LONG_MAX;
	for (uint64_t i = 0; i < 300 && !(i > 200 && last <= least); i++) {
		const struct hostport to = { underlay_ip(9), 1 };
		const struct fwd_peer one = { .name = 1000 + i, .to = to };
		const struct userspace_peer peer = { .name = 1000 + i, .to = to, .datagram = DATAGRAM };
		struct userspace_net net = { 0, NULL };
		const struct userspace_table table = { .peers = &peer, .n_peers = 1, .nets = &net, .n_nets = 1 };
		assert_int_equal(fwd_table_new(1, &one, 1, NULL, 0, NULL, 0, &net.table), ERR_OK);
		/* Without memory first. */
		if (i == 10) {
			enum err e = ERR_NOMEM;
			for (size_t at = 1; e == ERR_NOMEM; at++) {
				mem_fail_at(at, true);
				e = userspace_set_table(u, &table);
				mem_fail_at(0, false);
				assert_true(at < 100);
			}
			assert_int_equal(e, ERR_OK);
		} else {
			assert_int_equal(userspace_set_table(u, &table), ERR_OK);
		}
		last = mem_live();
		if (i == 3)
			least = last;
		usleep(500);
	}
	pclose(f);
	assert_true(last <= least);
	assert_false(stats(&t->h[1]).lost);
	set_table(t, 1, &clear);
	assert_int_equal(ping(&t->h[1], "-c1 10.32.0.2"), 0);
}

/* Somebody deletes the device: said, no spinning, and a new one takes its place. */
static void device_deleted(void **s)
{
	struct hosts *t = *s;
	NEEDS_ROOT();
	struct host *h = &t->h[1];
	uint16_t net = 9;
	set_tables(t, &clear);
	assert_false(userspace_lost(h->u, &net));
	assert_int_equal(ns_run(h->ns, "ip link del weft-tap"), 0);
	for (int i = 0; i < 400 && !stats(h).lost; i++)
		usleep(5000);
	assert_true(userspace_lost(h->u, &net));
	assert_int_equal(net, 0);
	struct timespec a, b;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &a);
	usleep(200000);
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &b);
	assert_true((b.tv_sec - a.tv_sec) * 1000 + (b.tv_nsec - a.tv_nsec) / 1000000 < 100);
	userspace_remove(h->u, 0);
	capture_close(h->c);
	assert_false(stats(h).lost);
	ns_go(h->ns);
	OK(capture_open(kind(), "weft-tap", queues(), &h->c, &note));
	OK(userspace_add(h->u, 0, h->c, &note));
	assert_int_equal(system("ip link set weft-tap mtu 1406 master weft up"), 0);
	ns_go(t->home);
	assert_int_equal(ping(h, "-c1 10.32.0.2"), 0);
	/* Removed and added in full traffic. */
	ns_go(t->h[2].container);
	FILE *f = popen("ping -q -f -w1 -s 1000 10.32.0.1", "r");
	ns_go(t->home);
	for (int i = 0; i < 50; i++) {
		assert_int_equal(userspace_add(h->u, 0, h->c, NULL), ERR_EXISTS);
		userspace_remove(h->u, 0);
		usleep(2000);
		OK(userspace_add(h->u, 0, h->c, &note));
		usleep(5000);
	}
	pclose(f);
	assert_int_equal(ping(h, "-c1 10.32.0.2"), 0);
}

static void starting(void **s)
{
	struct hosts *t = *s;
	NEEDS_ROOT();
	struct err_note why;
	struct userspace *u;
	struct userspace_cfg cfg = { .listen = { { 0 }, PORT }, .queues = 2, .self = 1 };
	ns_go(t->h[1].ns);
	assert_int_equal(userspace_start(&cfg, &u, &why), ERR_BUSY);
	assert_non_null(strstr(why.text, "6783"));
	cfg.listen = (struct hostport){ ip_of("198.51.100.1"), 0 };
	assert_int_equal(userspace_start(&cfg, &u, &why), ERR_NOT_FOUND);
	assert_non_null(strstr(why.text, "198.51.100.1"));
	const char *const good[] = { "192.0.2.1", "::1" };
	for (int i = 0; i < 2; i++) {
		cfg.listen.ip = ip_of(good[i]);
		OK(userspace_start(&cfg, &u, &note));
		assert_int_equal(userspace_queues(u), 2);
		assert_true(userspace_port(u) != 0);
		userspace_stop(u);
	}
	const long before = mem_live();
	for (size_t at = 1;; at++) {
		mem_fail_at(at, true);
		const enum err e = userspace_start(&cfg, &u, &why);
		mem_fail_at(0, false);
		if (e == ERR_OK)
			break;
		assert_int_equal(e, ERR_NOMEM);
		assert_true(at < 100);
	}
	userspace_stop(u);
	assert_int_equal(mem_live(), before);
	ns_go(t->home);
}

int main(void)
{
	may = ns_start();
#define T(f) cmocka_unit_test(f)
	const struct CMUnitTest tests[] = { T(pings_in_the_clear), T(pings_sealed), T(bulk_in_superframes), T(over_ipv6),
		T(broadcast_once), T(flooded_superframe), T(many_members), T(stash), T(relay), T(too_big_for_the_path),
		T(too_big_for_the_device), T(without_segmentation), T(tables_under_load), T(replaced_tables), T(device_deleted),
		T(starting) };
	return cmocka_run_group_tests(tests, setup, teardown);
}
