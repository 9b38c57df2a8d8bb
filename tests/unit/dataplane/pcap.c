/* The capture by libpcap against a kernel's own TCP and UDP, in network namespaces of the test's own:
 *
 *   c1 ─ eth0 ── h1 ─ br1 ─ weft-tap ══ capture a ══ this test ══ capture b ══ weft-tap1 ─ br2 ─ h2 ── eth0 ─ c2
 *        10.1.0.1                                                                                 10.1.0.2
 */
#include "tests/unit/dataplane/ns.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <poll.h>
#include <pthread.h>
#include <sodium.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <time.h>

#include "router/dataplane/pcap.h"
#include "tunnel/segment.h"

enum { STREAM = 20 << 20, CHUNK = 64 << 10, MTU = 1406, PORT = 7000 };

static bool may;

struct state {
	int home, host, c1, c2;
	struct capture a, b;
	bool open_a, open_b;
	/* the relay */
	pthread_t thread;
	_Atomic bool ended;
	bool running;
	size_t super, frames, partial, complete, cuts, refused, misfits;
};

#define NEEDS_ROOT() \
	if (!may)        \
	skip()

static void open_both(struct state *t, bool plain)
{
	ns_go(t->host);
	t->a.ops = t->b.ops = &capture_pcap;
	OK(capture_pcap.open(&t->a, "weft-tap", 1, &note));
	t->open_a = true;
	if (plain)
		OK(pcap_open_plain(&t->b, "weft-tap1", &note));
	else
		OK(capture_pcap.open(&t->b, "weft-tap1", 1, &note));
	t->open_b = true;
	assert_int_equal(ns_run(t->host,
						 "ip link set weft-tap mtu 1406 master br1 addrgenmode none up && "
						 "ip link set weft-tap1 mtu 1406 master br2 addrgenmode none up"),
		0);
	/* A port forwards a moment after it has been set up. */
	assert_int_equal(
		ns_run(t->host,
			"for i in $(seq 500); do [ $(bridge link | grep -c 'state forwarding') = 4 ] && exit 0; sleep 0.01; done; exit 1"),
		0);
}

static int setup(void **s)
{
	struct state *t = calloc(1, sizeof *t);
	char command[1024];
	*s = t;
	if (!may)
		return 0;
	t->home = ns_here();
	t->host = ns_new();
	t->c1 = ns_new();
	t->c2 = ns_new();
	ns_go(t->host);
	for (int i = 1; i <= 2; i++) {
		(void)snprintf(command, sizeof command,
			"ip link add br%d type bridge mcast_snooping 0 && ip link set br%d addrgenmode none up && "
			"ip link add h%d mtu 1406 type veth peer name eth0 mtu 1406 netns /proc/%d/fd/%d && ip link set h%d addrgenmode none master br%d up",
			i, i, i, (int)getpid(), i == 1 ? t->c1 : t->c2, i, i);
		assert_int_equal(ns_run(t->host, command), 0);
		(void)snprintf(command, sizeof command,
			"sysctl -qw net.ipv6.conf.eth0.accept_dad=0; ip addr add 10.1.0.%d/24 dev eth0 && ip addr add fd01::%d/64 dev eth0 && ip link set eth0 up",
			i, i);
		assert_int_equal(ns_run(i == 1 ? t->c1 : t->c2, command), 0);
	}
	return 0;
}

static void stop_relay(struct state *t)
{
	if (!t->running)
		return;
	t->ended = true;
	pthread_join(t->thread, NULL);
	t->running = false;
}

static int teardown(void **s)
{
	struct state *t = *s;
	if (may) {
		stop_relay(t);
		ns_go(t->host);
		if (t->open_a)
			capture_pcap.close(&t->a);
		if (t->open_b)
			capture_pcap.close(&t->b);
		ns_go(t->home);
		close(t->home);
		close(t->host);
		close(t->c1);
		close(t->c2);
	}
	free(t);
	return 0;
}

static int count_in(int ns, const char *counter)
{
	char command[128];
	(void)snprintf(command, sizeof command, "nstat -asz %s | awk '$1 == \"%s\" { print $2 }'", counter, counter);
	int home = ns_here();
	ns_go(ns);
	FILE *f = popen(command, "r");
	int n = -1;
	assert_non_null(f);
	assert_int_equal(fscanf(f, "%d", &n), 1);
	pclose(f);
	ns_go(home);
	close(home);
	return n;
}

/* ---- the relay: what one capture reads the other writes */

static void pass(struct state *t, struct capture *to, const struct vnet *v, uint8_t *frame, size_t n)
{
	struct iovec parts[2] = { { frame, n / 2 }, { frame + n / 2, n - n / 2 } };
	struct cut c;
	struct segment g;
	t->frames++;
	t->super += v->gso_type != VNET_GSO_NONE;
	t->misfits += v->gso_type != VNET_GSO_NONE && v->hdr_len - 14 + v->gso_size != MTU; /* segments fill the port's MTU */
	t->partial += (v->flags & VNET_NEEDS_CSUM) != 0;
	t->complete += (v->flags & VNET_NEEDS_CSUM) == 0;
	if (v->gso_type == VNET_GSO_NONE || to->tcp) {
		t->refused += !to->ops->write(to, 0, v, parts, 2);
		return;
	}
	assert_int_equal(cut_begin(&c, v, frame, n, MTU + 14), FWD_PASSED);
	while (cut_next(&c, &g)) {
		struct vnet one;
		t->cuts++;
		assert_true(segment_vnet(g.frame, g.partial, &one));
		parts[0] = (struct iovec){ (void *)(uintptr_t)g.frame.p, g.frame.n };
		t->refused += !to->ops->write(to, 0, &one, parts, 1);
	}
}

static bool drain(struct state *t, struct capture *from, struct capture *to, uint8_t *frame)
{
	struct vnet v;
	ssize_t n = 0;
	for (int i = 0; i < 256 && (n = from->ops->read(from, 0, &v, frame, FRAME_MAX)) > 0; i++)
		pass(t, to, &v, frame, (size_t)n);
	return n >= 0;
}

static void *relay(void *arg)
{
	struct state *t = arg;
	uint8_t *frame = malloc(FRAME_MAX);
	while (!t->ended) {
		struct pollfd p[2] = { { .fd = t->a.fd[0], .events = POLLIN }, { .fd = t->b.fd[0], .events = POLLIN } };
		(void)poll(p, 2, 20);
		if (!drain(t, &t->a, &t->b, frame) || !drain(t, &t->b, &t->a, frame))
			break;
	}
	free(frame);
	return NULL;
}

static void start_relay(struct state *t)
{
	t->ended = false;
	assert_int_equal(pthread_create(&t->thread, NULL, relay, t), 0);
	t->running = true;
}

/* ---- traffic */

static int socket_in(int ns, int family, int kind)
{
	int home = ns_here();
	const struct timeval limit = { .tv_sec = 10 };
	ns_go(ns);
	int fd = socket(family, kind | SOCK_CLOEXEC, 0);
	assert_true(fd >= 0);
	ns_go(home);
	close(home);
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
	return fd;
}

static socklen_t address(int family, int host, struct sockaddr_storage *out)
{
	struct sockaddr_in v4 = {
		.sin_family = AF_INET, .sin_port = htons(PORT), .sin_addr.s_addr = htonl(0x0a010000u | (unsigned)host)
	};
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6, .sin6_port = htons(PORT) };
	memset(out, 0, sizeof *out);
	if (family == AF_INET) {
		memcpy(out, &v4, sizeof v4);
		return sizeof v4;
	}
	v6.sin6_addr.s6_addr[0] = 0xfd;
	v6.sin6_addr.s6_addr[1] = 1;
	v6.sin6_addr.s6_addr[15] = (uint8_t)host;
	memcpy(out, &v6, sizeof v6);
	return sizeof v6;
}

struct sink {
	int fd;
	size_t n;
	unsigned char hash[crypto_hash_sha256_BYTES];
};

static void *receive(void *arg)
{
	struct sink *k = arg;
	crypto_hash_sha256_state h;
	uint8_t *chunk = malloc(CHUNK);
	int fd = accept(k->fd, NULL, NULL);
	crypto_hash_sha256_init(&h);
	for (ssize_t n; fd >= 0 && (n = read(fd, chunk, CHUNK)) > 0; k->n += (size_t)n)
		crypto_hash_sha256_update(&h, chunk, (unsigned long long)n);
	crypto_hash_sha256_final(&h, k->hash);
	if (fd >= 0)
		close(fd);
	free(chunk);
	return NULL;
}

/* 20 MB from c1 to c2, and the same bytes have to arrive. */
static void stream(struct state *t, int family)
{
	struct sockaddr_storage to;
	socklen_t len = address(family, 2, &to);
	struct sink k = { .fd = socket_in(t->c2, family, SOCK_STREAM) };
	int fd = socket_in(t->c1, family, SOCK_STREAM);
	pthread_t thread;
	uint8_t *chunk = malloc(CHUNK);
	unsigned char seed[randombytes_SEEDBYTES] = { 0 }, hash[crypto_hash_sha256_BYTES];
	crypto_hash_sha256_state h;
	assert_int_equal(bind(k.fd, (struct sockaddr *)&to, len), 0);
	assert_int_equal(listen(k.fd, 1), 0);
	(void)setsockopt(k.fd, SOL_SOCKET, SO_RCVTIMEO, &(struct timeval){ .tv_sec = 10 }, sizeof(struct timeval));
	assert_int_equal(pthread_create(&thread, NULL, receive, &k), 0);
	int connected = connect(fd, (struct sockaddr *)&to, len);
	crypto_hash_sha256_init(&h);
	for (size_t sent = 0; connected == 0 && sent < STREAM; sent += CHUNK) {
		seed[0]++;
		seed[1] = (unsigned char)(seed[1] + (seed[0] == 0));
		randombytes_buf_deterministic(chunk, CHUNK, seed);
		crypto_hash_sha256_update(&h, chunk, CHUNK);
		for (size_t at = 0; at < CHUNK;) {
			ssize_t n = write(fd, chunk + at, CHUNK - at);
			if (n <= 0)
				break;
			at += (size_t)n;
		}
	}
	crypto_hash_sha256_final(&h, hash);
	close(fd);
	pthread_join(thread, NULL);
	close(k.fd);
	free(chunk);
	assert_int_equal(connected, 0);
	assert_int_equal(k.n, STREAM);
	assert_memory_equal(k.hash, hash, sizeof hash);
}

/* ---- tests */

static void tcp_in_superframes(void **s)
{
	struct state *t = *s;
	NEEDS_ROOT();
	open_both(t, false);
	assert_true(t->a.tcp);
	start_relay(t);
	stream(t, AF_INET);
	stream(t, AF_INET6);
	stop_relay(t);
	assert_int_equal(t->refused, 0);
	assert_int_equal(t->misfits, 0);
	assert_true(t->super > 100);
	assert_true(t->frames - t->super < (size_t)2 * STREAM / MTU / 2); /* most bytes came in superframes */
	assert_true(t->partial > t->complete);
}

/* The last port hands over nothing but cut and summed frames, so that the receiver believes no checksum that it has not computed. */
static void checksums_are_right_at_the_far_end(void **s)
{
	struct state *t = *s;
	NEEDS_ROOT();
	open_both(t, false);
	assert_int_equal(ns_run(t->host, "ethtool -K h2 tx off >/dev/null && ethtool -K h1 tx off >/dev/null"), 0);
	start_relay(t);
	stream(t, AF_INET);
	stream(t, AF_INET6);
	stop_relay(t);
	assert_true(t->super > 100);
	assert_int_equal(count_in(t->c2, "TcpInCsumErrors"), 0);
	assert_int_equal(count_in(t->c1, "TcpInCsumErrors"), 0);
}

/* A container without offloads sums its segments itself. */
static void complete_checksums_stay(void **s)
{
	struct state *t = *s;
	NEEDS_ROOT();
	open_both(t, false);
	assert_int_equal(ns_run(t->c1, "ethtool -K eth0 tx off >/dev/null"), 0);
	assert_int_equal(ns_run(t->c2, "ethtool -K eth0 tx off >/dev/null"), 0);
	start_relay(t);
	stream(t, AF_INET);
	stop_relay(t);
	assert_int_equal(t->super, 0);
	assert_true(t->partial * 1000 < t->complete); /* by chance one in 65536 looks partial */
	assert_int_equal(count_in(t->c2, "TcpInCsumErrors"), 0);
}

static void without_virtio_headers(void **s)
{
	struct state *t = *s;
	NEEDS_ROOT();
	open_both(t, true);
	assert_false(t->b.tcp);
	assert_false(t->b.udp);
	assert_non_null(t->b.lacks);
	start_relay(t);
	stream(t, AF_INET);
	stop_relay(t);
	assert_true(t->cuts > STREAM / MTU / 2);
	assert_int_equal(count_in(t->c2, "TcpInCsumErrors"), 0);
}

/* Sends n datagrams of these sizes (in turn), each with its number; they are read from capture a. */
static void expect_numbered(struct state *t, size_t n, const size_t *sizes, size_t n_sizes)
{
	enum { BURST = 40 };
	struct sockaddr_storage to;
	socklen_t len = address(AF_INET, 2, &to);
	int fd = socket_in(t->c1, AF_INET, SOCK_DGRAM);
	uint8_t *frame = malloc(FRAME_MAX), *out = calloc(1, CHUNK);
	struct vnet v;
	uint32_t sent = 0, seen = 0;
	while (seen < n) {
		for (size_t i = 0; i < BURST && sent < n; i++, sent++) {
			memcpy(out, &sent, sizeof sent);
			size_t size = sizes[sent % n_sizes];
			assert_int_equal(sendto(fd, out, size, 0, (struct sockaddr *)&to, len), size);
		}
		struct pollfd p = { .fd = t->a.fd[0], .events = POLLIN };
		assert_int_equal(poll(&p, 1, 5000), 1);
		for (ssize_t got; (got = t->a.ops->read(&t->a, 0, &v, frame, FRAME_MAX)) > 0;) {
			uint32_t number;
			if (frame[12] != 8 || frame[13] != 0 || frame[23] != IPPROTO_UDP)
				continue;
			memcpy(&number, frame + 42, sizeof number);
			assert_int_equal(number, seen);
			assert_int_equal(got, 42 + sizes[seen % n_sizes]);
			assert_int_equal(v.flags, VNET_NEEDS_CSUM);
			assert_int_equal(v.csum_start, 34);
			assert_int_equal(v.csum_offset, 6);
			assert_int_equal(v.gso_type, VNET_GSO_NONE);
			seen++;
		}
	}
	free(frame);
	free(out);
	close(fd);
}

static void know_each_other(struct state *t)
{
	assert_int_equal(ns_run(t->c1, "ip neigh replace 10.1.0.2 lladdr 02:00:00:00:00:02 dev eth0"), 0);
}

static void small_ones_in_order(void **s)
{
	struct state *t = *s;
	const size_t size = 22;
	NEEDS_ROOT();
	open_both(t, false);
	know_each_other(t);
	expect_numbered(t, 20000, &size, 1);
}

/* Each goes through the ring of its length, and still they come out as they were sent. */
static void lengths_mixed_in_order(void **s)
{
	struct state *t = *s;
	const size_t sizes[] = { 100, 5000, 5000, 20, 1936, 1937, 8000, 30, 40, 50, 6000 };
	NEEDS_ROOT();
	open_both(t, false);
	assert_int_equal(ns_run(t->host, "ip link set h1 mtu 9000 && ip link set weft-tap mtu 9000 && ip link set br1 mtu 9000"), 0);
	assert_int_equal(ns_run(t->c1, "ip link set eth0 mtu 9000"), 0);
	know_each_other(t);
	expect_numbered(t, 20000, sizes, sizeof sizes / sizeof sizes[0]);
}

/* Nothing but the sender knows where to cut them, so the kernel does it before they get here. */
static void udp_superframes_come_cut(void **s)
{
	struct state *t = *s;
	struct sockaddr_storage to;
	const int size = 1000;
	NEEDS_ROOT();
	open_both(t, false);
	know_each_other(t);
	socklen_t len = address(AF_INET, 2, &to);
	int fd = socket_in(t->c1, AF_INET, SOCK_DGRAM), seen = 0;
	uint8_t *frame = calloc(1, FRAME_MAX);
	assert_int_equal(setsockopt(fd, SOL_UDP, UDP_SEGMENT, &size, sizeof size), 0);
	assert_int_equal(sendto(fd, frame, 10000, 0, (struct sockaddr *)&to, len), 10000);
	struct pollfd p = { .fd = t->a.fd[0], .events = POLLIN };
	struct vnet v;
	while (seen < 10) {
		assert_int_equal(poll(&p, 1, 5000), 1);
		for (ssize_t got; (got = t->a.ops->read(&t->a, 0, &v, frame, FRAME_MAX)) > 0;) {
			if (frame[12] != 8 || frame[13] != 0)
				continue;
			assert_int_equal(got, 42 + 1000);
			seen++;
		}
	}
	free(frame);
	close(fd);
}

/* UDP joined by us is cut by the kernel where its receiver does not take it whole. */
static void writes_udp_superframes(void **s)
{
	struct state *t = *s;
	enum { SIZE = 500, N = 7 };
	NEEDS_ROOT();
	open_both(t, false);
	if (!t->b.udp)
		skip();
	struct sockaddr_storage to;
	socklen_t len = address(AF_INET, 2, &to);
	int fd = socket_in(t->c2, AF_INET, SOCK_DGRAM);
	assert_int_equal(bind(fd, (struct sockaddr *)&to, len), 0);
	json_t *links = ns_json(t->c2, "ip -json link show dev eth0");
	struct mac mac = mac_of(ns_text(json_array_get(links, 0), "address"));
	json_decref(links);
	uint8_t frame[42 + N * SIZE] = { [6] = 2, [11] = 1, [12] = 8, [14] = 0x45, [22] = 64, [23] = 17 };
	const uint8_t rest[] = { 10, 1, 0, 1, 10, 1, 0, 2, 1, 1, PORT >> 8, PORT & 0xff, (8 + N * SIZE) >> 8, (8 + N * SIZE) & 0xff };
	memcpy(frame, mac.b, 6);
	frame[16] = (28 + N * SIZE) >> 8;
	frame[17] = (28 + N * SIZE) & 0xff;
	memcpy(frame + 26, rest, sizeof rest);
	uint32_t ip = 0, sum = 17 + 8 + N * SIZE;
	for (int i = 14; i < 34; i += 2)
		ip += (uint32_t)(frame[i] << 8 | frame[i + 1]);
	for (int i = 26; i < 34; i += 2)
		sum += (uint32_t)(frame[i] << 8 | frame[i + 1]);
	ip = ~((ip & 0xffff) + (ip >> 16));
	sum = (sum & 0xffff) + (sum >> 16);
	frame[24] = (uint8_t)(ip >> 8);
	frame[25] = (uint8_t)ip;
	frame[40] = (uint8_t)(sum >> 8);
	frame[41] = (uint8_t)sum;
	for (int i = 0; i < N; i++)
		frame[42 + i * SIZE] = (uint8_t)i;
	const struct vnet v = {
		.flags = VNET_NEEDS_CSUM, .gso_type = VNET_GSO_UDP_L4, .hdr_len = 42, .gso_size = SIZE, .csum_start = 34, .csum_offset = 6
	};
	const struct iovec parts[] = { { frame, 42 + SIZE }, { frame + 42 + SIZE, (N - 1) * SIZE } };
	assert_int_equal(ns_run(t->host, "ethtool -K h2 tx off tx-udp-segmentation off >/dev/null"), 0);
	assert_true(t->b.ops->write(&t->b, 0, &v, parts, 2));
	for (int i = 0; i < N; i++) {
		uint8_t got[1000];
		assert_int_equal(recv(fd, got, sizeof got, 0), SIZE);
		assert_int_equal(got[0], i);
	}
	close(fd);
	/* What we write we do not read. */
	struct vnet w;
	uint8_t *buffer = malloc(FRAME_MAX);
	for (ssize_t n; (n = t->b.ops->read(&t->b, 0, &w, buffer, FRAME_MAX)) != 0;) {
		assert_true(n > 0);
		assert_false(buffer[12] == 8 && buffer[13] == 0);
	}
	free(buffer);
}

/* What reading says when there is nothing more; the containers' kernels send what they like. */
static ssize_t read_all(struct capture *c)
{
	struct vnet v;
	uint8_t frame[2048];
	ssize_t n;
	while ((n = c->ops->read(c, 0, &v, frame, sizeof frame)) > 0)
		;
	return n;
}

static void says_when_the_device_is_gone(void **s)
{
	struct state *t = *s;
	const struct vnet v = { 0 };
	uint8_t frame[60] = { 0 };
	NEEDS_ROOT();
	open_both(t, false);
	assert_int_equal(read_all(&t->a), 0);
	assert_int_equal(ns_run(t->host, "ip link set weft-tap down"), 0);
	assert_int_equal(read_all(&t->a), 0);
	assert_int_equal(ns_run(t->host, "ip link del weft-tap"), 0);
	struct pollfd p = { .fd = t->a.fd[0], .events = POLLIN };
	assert_int_equal(poll(&p, 1, 5000), 1);
	assert_int_equal(read_all(&t->a), -1);
	assert_int_equal(read_all(&t->a), -1);
	const struct iovec part = { frame, sizeof frame };
	assert_false(t->a.ops->write(&t->a, 0, &v, &part, 1));
}

static void device_lives_as_long_as_the_capture(void **s)
{
	struct state *t = *s;
	struct capture c = { .ops = &capture_pcap };
	struct err_note why = { "" };
	NEEDS_ROOT();
	ns_go(t->host);
	OK(capture_pcap.open(&c, "weft-tap", 1, &note));
	assert_int_equal(ns_run(t->host, "ip link show weft-tap >/dev/null"), 0);
	/* The far end is in nobody's way. */
	assert_int_not_equal(ns_run(t->host, "ip link show weft-cap >/dev/null 2>&1"), 0);
	capture_pcap.close(&c);
	assert_int_not_equal(ns_run(t->host, "ip link show weft-tap >/dev/null 2>&1"), 0);
	/* One of its own kind is what a daemon left that was killed; of another it is somebody's. */
	assert_int_equal(ns_run(t->host, "ip link add weft-tap type veth peer name weft-cap"), 0);
	OK(capture_pcap.open(&c, "weft-tap", 1, &note));
	capture_pcap.close(&c);
	assert_int_equal(ns_run(t->host, "ip link add weft-tap type bridge"), 0);
	assert_int_equal(capture_pcap.open(&c, "weft-tap", 1, &why), ERR_CONFLICT);
	assert_non_null(strstr(why.text, "weft-tap"));
	assert_int_equal(ns_run(t->host, "ip link show type bridge weft-tap >/dev/null"), 0);
}

int main(void)
{
	may = ns_start();
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(tcp_in_superframes, setup, teardown),
		cmocka_unit_test_setup_teardown(checksums_are_right_at_the_far_end, setup, teardown),
		cmocka_unit_test_setup_teardown(complete_checksums_stay, setup, teardown),
		cmocka_unit_test_setup_teardown(without_virtio_headers, setup, teardown),
		cmocka_unit_test_setup_teardown(small_ones_in_order, setup, teardown),
		cmocka_unit_test_setup_teardown(lengths_mixed_in_order, setup, teardown),
		cmocka_unit_test_setup_teardown(udp_superframes_come_cut, setup, teardown),
		cmocka_unit_test_setup_teardown(writes_udp_superframes, setup, teardown),
		cmocka_unit_test_setup_teardown(says_when_the_device_is_gone, setup, teardown),
		cmocka_unit_test_setup_teardown(device_lives_as_long_as_the_capture, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
