/* Datagrams from outside to the userspace path: whatever is wrong is counted by its reason and reaches no container, what is for the control thread
 * gets there, not too much of it, and frames go on. Topology: hosts.h. Those who send here are sockets on host 2 and host 3. */
#include "tests/unit/dataplane/hosts.h"

#include <stdatomic.h>
#include <pthread.h>
#include <time.h>

#include "base/rng.h"
#include "tunnel/frag.h"
#include "tunnel/probe.h"

static bool may;

static int setup(void **s)
{
	*s = may ? hosts_new(CAPTURE_TAP, 1) : NULL;
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

static void still_works(struct hosts *t)
{
	assert_int_equal(ns_run(t->h[1].container, "ping -q -c1 -W2 10.32.0.2 >/dev/null"), 0);
}

enum { FRAME = 60 };

/* A broadcast of a container's. */
static void frame_of(uint8_t f[FRAME], unsigned container)
{
	memset(f, 0, FRAME);
	memset(f, 0xff, 6);
	memcpy(f + 6, container_mac(container).b, 6);
	f[12] = 0x88;
	f[13] = 0xb5;
}

static void say_bytes(int out, const void *b, size_t n)
{
	assert_int_equal(send(out, b, n, 0), n);
}

/* Sends from h2 to h1 and waits for exactly one more drop of that reason. */
static void dropped(struct hosts *t, int out, enum fwd_drop why, const void *b, size_t n)
{
	const uint64_t before = stats(&t->h[1]).dropped[why];
	say_bytes(out, b, n);
	reaches(&t->h[1], why, before + 1);
}

static void in_the_clear(void **s)
{
	struct hosts *t = *s;
	NEEDS_ROOT();
	set_tables(t, &clear);
	const int ear = sniffer(t->h[1].container, "eth0"), out = udp_of(t, 2, 1);
	const struct {
		enum fwd_drop why;
		uint64_t src, dst;
		uint8_t first, flags;
		uint16_t net;
		unsigned mac;
		size_t n;
	} bad[] = {
		{ FWD_STRANGER, 3, 1, 0x21, 0, 0, 3, 76 }, /* host 3's name from host 2's address */
		{ FWD_STRANGER, 9, 1, 0x21, 0, 0, 3, 76 }, /* nobody's name */
		{ FWD_STRANGER, 1, 1, 0x21, 0, 0, 1, 76 }, /* our own */
		{ FWD_NOT_OURS, 2, 3, 0x21, 0, 0, 2, 76 }, { FWD_NO_NETWORK, 2, 1, 0x21, 0, 7, 2, 76 },
		{ FWD_NO_NETWORK, 2, 1, 0x21, WIRE_FRAGMENT, 7, 2, 76 }, { FWD_FORGED, 2, 1, 0x21, 0, 0, 3, 76 },
		{ FWD_FORGED, 2, 1, 0x21, 0, 0, 1, 76 },
		{ FWD_MALFORMED, 2, 1, 0x21, WIRE_PARTIAL, 0, 2, 76 }, /* no checksum to complete in it */
		{ FWD_BAD_VERSION, 2, 1, 0x31, 0, 0, 2, 76 }, { FWD_BAD_HEADER, 2, 1, 0x2f, 0, 0, 2, 76 },
		{ FWD_BAD_HEADER, 2, 1, 0x21, 8, 0, 2, 76 }, { FWD_BAD_HEADER, 2, 1, 0x21, 0, 0, 2, 15 },
		{ FWD_BAD_HEADER, 2, 1, 0x21, 0, 0, 2, 0 }, { FWD_MALFORMED, 2, 1, 0x21, 0, 0, 2, 16 },
		{ FWD_MALFORMED, 2, 1, 0x21, 0, 0, 2, 29 }, { FWD_MALFORMED, 2, 1, 0x21, WIRE_FRAGMENT, 0, 2, 20 },
		{ FWD_FRAGMENT, 2, 1, 0x21, WIRE_FRAGMENT, 0, 2, 76 }, /* "offset 65,535" */
	};
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		uint8_t b[WIRE_HEAD + FRAME];
		const struct wire_head h = { .type = WIRE_CLEAR, .net = bad[i].net, .src = bad[i].src, .dst = bad[i].dst };
		wire_write(b, &h);
		b[0] = bad[i].first;
		b[1] = bad[i].flags;
		frame_of(b + WIRE_HEAD, bad[i].mac);
		dropped(t, out, bad[i].why, b, bad[i].n);
	}
	assert_int_equal(heard(ear, 0), 0);
	/* The same without a fault arrives. */
	uint8_t b[WIRE_HEAD + FRAME];
	const struct wire_head h = { .type = WIRE_CLEAR, .src = 2, .dst = 1 };
	wire_write(b, &h);
	frame_of(b + WIRE_HEAD, 2);
	say_bytes(out, b, sizeof b);
	assert_int_equal(heard(ear, 1), 1);
	/* From a peer whose frames have to come sealed it does not, nor what says that it is for the control thread. */
	set_tables(t, &sealed);
	dropped(t, out, FWD_CLEAR, b, sizeof b);
	b[1] = WIRE_CONTROL;
	dropped(t, out, FWD_CLEAR, b, sizeof b);
	assert_int_equal(heard(ear, 0), 0);
	close(out);
	close(ear);
	still_works(t);
}

static void in_a_session(void **s)
{
	struct hosts *t = *s;
	NEEDS_ROOT();
	set_tables(t, &sealed);
	struct seal_keys *k = keys_between(2, 1); /* its counters start again, but host 2's queue is another */
	const int ear = sniffer(t->h[1].container, "eth0"), out = udp_of(t, 2, 1);
	uint8_t f[FRAME], b[SEAL_OVERHEAD + FRAME], altered[sizeof b];
	enum { QUEUE = 5 };
	frame_of(f, 2);
	assert_int_equal(seal_datagram(k, QUEUE, 0, 0, slice_of(f, sizeof f), b), sizeof b);
	say_bytes(out, b, sizeof b);
	assert_int_equal(heard(ear, 1), 1);
	dropped(t, out, FWD_REPLAYED, b, sizeof b);
	for (size_t at = 0; at < sizeof b; at++) {
		/* Each byte is somebody's: version and type, flags, session, counter, payload, tag. */
		memcpy(altered, b, sizeof b);
		altered[at] ^= 0x80;
		dropped(t, out,
			at == 0                 ? FWD_BAD_VERSION
				: at == 1           ? FWD_BAD_HEADER
				: at >= 4 && at < 8 ? FWD_OLD_SESSION
									: FWD_BAD_TAG,
			altered, sizeof b);
	}
	for (size_t n = 0; n < sizeof b; n++)
		dropped(t, out, n < SEAL_OVERHEAD ? FWD_BAD_HEADER : FWD_BAD_TAG, b, n);
	/* Authentic, but not allowed. */
	frame_of(f, 3);
	seal_datagram(k, QUEUE, 0, 0, slice_of(f, sizeof f), b);
	dropped(t, out, FWD_FORGED, b, sizeof b);
	frame_of(f, 2);
	seal_datagram(k, QUEUE, 0, 7, slice_of(f, sizeof f), b);
	dropped(t, out, FWD_NO_NETWORK, b, sizeof b);
	seal_datagram(k, QUEUE, WIRE_FRAGMENT, 0, slice_of(f, sizeof f), b);
	dropped(t, out, FWD_FRAGMENT, b, sizeof b);
	set_table(t, 1, &(struct shape){ .sealed = true, .stranger = 2 });
	seal_datagram(k, QUEUE, 0, 0, slice_of(f, sizeof f), b);
	dropped(t, out, FWD_OLD_SESSION, b, sizeof b);
	assert_int_equal(heard(ear, 0), 0);
	seal_keys_unref(k);
	close(out);
	close(ear);
	set_tables(t, &sealed);
	still_works(t);
}

/* From another address or port than the peer's: taken, and told, not more than once a second. */
static void roaming(void **s)
{
	struct hosts *t = *s;
	NEEDS_ROOT();
	struct host *h = &t->h[1];
	set_tables(t, &sealed);
	struct seal_keys *k = keys_between(2, 1);
	const int ear = sniffer(h->container, "eth0"), out = udp_of(t, 3, 1);
	uint8_t f[FRAME], b[SEAL_OVERHEAD + FRAME];
	struct timespec pause = { .tv_sec = 1, .tv_nsec = 50000000 };
	nanosleep(&pause, NULL); /* the case before was told of */
	userspace_poll(h->u);
	h->roamed[2] = 0;
	frame_of(f, 2);
	for (int i = 0; i < 10; i++) {
		seal_datagram(k, 6, 0, 0, slice_of(f, sizeof f), b);
		say_bytes(out, b, sizeof b);
	}
	assert_int_equal(heard(ear, 10), 10);
	assert_true(polled(h, &h->roamed[2], 1));
	usleep(20000);
	userspace_poll(h->u);
	assert_int_equal(h->roamed[2], 1);
	assert_true(ip_eq(h->roamed_to.ip, underlay_ip(3)) && h->roamed_to.port != PORT);
	seal_keys_unref(k);
	close(out);
	close(ear);
}

static void write_relayed(uint8_t out[WIRE_HEAD], uint64_t src, uint64_t dst, uint8_t hops)
{
	const struct wire_head h = { .type = WIRE_RELAYED, .flags = hops, .src = src, .dst = dst };
	wire_write(out, &h);
}

static void relayed(void **s)
{
	enum { N = WIRE_HEAD + SEAL_OVERHEAD + FRAME };
	struct hosts *t = *s;
	NEEDS_ROOT();
	set_tables(t, &(struct shape){ .relays = true });
	struct seal_keys *k = keys_between(3, 1);
	const int ear = sniffer(t->h[1].container, "eth0"), out = udp_of(t, 2, 1);
	uint8_t f[FRAME], b[N];
	frame_of(f, 3);
	/* For us: from whom the session says, over a host of the mesh. */
	write_relayed(b, 3, 1, 3);
	seal_datagram(k, 7, 0, 0, slice_of(f, sizeof f), b + WIRE_HEAD);
	say_bytes(out, b, N);
	assert_int_equal(heard(ear, 1), 1);
	dropped(t, out, FWD_REPLAYED, b, N);
	write_relayed(b, 2, 1, 3);
	seal_datagram(k, 7, 0, 0, slice_of(f, sizeof f), b + WIRE_HEAD);
	dropped(t, out, FWD_STRANGER, b, N); /* the session is 3's */
	write_relayed(b, 1, 1, 3);
	dropped(t, out, FWD_STRANGER, b, N);
	/* For others: hops, known names, a way that does not lead back. */
	write_relayed(b, 2, 3, 0);
	dropped(t, out, FWD_HOPS, b, N);
	write_relayed(b, 9, 3, 3);
	dropped(t, out, FWD_STRANGER, b, N);
	write_relayed(b, 2, 9, 3);
	dropped(t, out, FWD_NO_PEER, b, N);
	const struct userspace_stats before = stats(&t->h[1]);
	const uint64_t at_three = stats(&t->h[3]).dropped[FWD_OLD_SESSION];
	write_relayed(b, 2, 3, 1);
	say_bytes(out, b, N);
	reaches(&t->h[3], FWD_OLD_SESSION, at_three + 1); /* it was sealed for host 1 */
	for (int i = 0; i < 2000 && stats(&t->h[1]).relayed == before.relayed; i++)
		usleep(1000); /* counted when its batch is done, which may be after it has arrived */
	assert_int_equal(stats(&t->h[1]).relayed, before.relayed + 1);
	/* More hops than there may be are no wish of the sender's to grant: host 2 gets it back with few left. */
	unsigned for_two = t->h[2].datagrams;
	write_relayed(b, 3, 2, 255);
	b[WIRE_HEAD] = WIRE_VERSION << 4 | WIRE_RESPONSE;
	say_bytes(out, b, N);
	assert_true(polled(&t->h[2], &t->h[2].datagrams, for_two + 1));
	assert_int_equal(t->h[2].last[1], WIRE_HOPS - 1);
	/* What may not be inside, and what is cut short. */
	write_relayed(b, 2, 3, 3);
	const struct wire_head in = { .type = WIRE_CLEAR, .src = 2, .dst = 3 };
	wire_write(b + WIRE_HEAD, &in);
	dropped(t, out, FWD_BAD_HEADER, b, N);
	write_relayed(b + WIRE_HEAD, 2, 3, 3);
	dropped(t, out, FWD_BAD_HEADER, b, N);
	for (size_t n = 0; n < 2 * WIRE_HEAD; n++)
		dropped(t, out, FWD_BAD_HEADER, b, n);
	/* From an address of nobody's. */
	assert_int_equal(ns_run(t->h[3].ns, "ip addr add 192.0.2.77/24 dev eth0"), 0);
	ns_go(t->h[3].ns);
	const int stranger = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	ns_go(t->home);
	struct sockaddr_in me = { .sin_family = AF_INET }, to = { .sin_family = AF_INET, .sin_port = htons(PORT) };
	memcpy(&me.sin_addr, underlay_ip(77).b, 4);
	memcpy(&to.sin_addr, underlay_ip(1).b, 4);
	assert_int_equal(bind(stranger, (struct sockaddr *)&me, sizeof me), 0);
	assert_int_equal(connect(stranger, (struct sockaddr *)&to, sizeof to), 0);
	write_relayed(b, 3, 1, 3);
	seal_datagram(k, 7, 0, 0, slice_of(f, sizeof f), b + WIRE_HEAD);
	dropped(t, stranger, FWD_STRANGER, b, N);
	/* A way back to where it came from: host 2's own port. */
	assert_int_equal(heard(ear, 0), 0);
	struct userspace_stats loop = stats(&t->h[1]);
	write_relayed(b, 3, 2, 3);
	assert_int_equal(userspace_send(t->h[2].u, (struct hostport){ underlay_ip(1), PORT }, slice_of(b, N)), ERR_OK);
	reaches(&t->h[1], FWD_NO_PEER, loop.dropped[FWD_NO_PEER] + 1);
	seal_keys_unref(k);
	close(stranger);
	close(out);
	close(ear);
	set_tables(t, &clear);
	still_works(t);
}

/* What is not a frame comes to the control thread as it was. */
static void for_control(void **s)
{
	struct hosts *t = *s;
	NEEDS_ROOT();
	struct host *h = &t->h[1];
	set_tables(t, &clear);
	struct seal_keys *k = keys_between(2, 1);
	uint8_t b[WIRE_HEAD + SEAL_OVERHEAD + PROBE_HEAD], probe[PROBE_HEAD];
	struct wbuf w;
	wbuf_fixed(&w, probe, sizeof probe);
	probe_write(&w, &(struct probe){ .kind = PROBE_REQUEST, .id = 7, .src = 2, .dst = 1, .length = PROBE_HEAD });
	const int out = udp_of(t, 2, 1);
	for (int kind = 0; kind < 6; kind++) {
		size_t n = WIRE_HEAD + PROBE_HEAD;
		const struct wire_head clear_head = { .type = WIRE_CLEAR, .flags = WIRE_CONTROL, .src = 2, .dst = 1 };
		memset(b, 0x55, sizeof b);
		memcpy(b + WIRE_HEAD, probe, sizeof probe);
		switch (kind) {
		case 0: b[0] = WIRE_VERSION << 4 | WIRE_INIT; break;
		case 1: b[0] = WIRE_VERSION << 4 | WIRE_COOKIE; break;
		case 2: wire_write(b, &clear_head); break;
		case 3: n = seal_datagram(k, SEAL_QUEUE_CONTROL, WIRE_CONTROL, 0, slice_of(probe, sizeof probe), b); break;
		case 4:
			write_relayed(b, 2, 1, 3);
			n = WIRE_HEAD + seal_datagram(k, SEAL_QUEUE_CONTROL, WIRE_CONTROL, 0, slice_of(probe, sizeof probe), b + WIRE_HEAD);
			break;
		case 5:
			write_relayed(b, 2, 1, 3);
			b[WIRE_HEAD] = WIRE_VERSION << 4 | WIRE_RESPONSE;
			n = sizeof b;
			break;
		}
		const unsigned before = h->datagrams;
		say_bytes(out, b, n);
		assert_true(polled(h, &h->datagrams, before + 1));
		assert_int_equal(h->last_n, n);
		assert_memory_equal(h->last, b, n);
	}
	/* From whom it cannot be: not. */
	const unsigned before = h->datagrams;
	const struct wire_head three = { .type = WIRE_CLEAR, .flags = WIRE_CONTROL, .src = 3, .dst = 1 };
	wire_write(b, &three);
	dropped(t, out, FWD_STRANGER, b, WIRE_HEAD + PROBE_HEAD);
	userspace_poll(h->u);
	assert_int_equal(h->datagrams, before);
	seal_keys_unref(k);
	close(out);
}

struct flood {
	int out;
	atomic_bool stop;
	uint64_t sent;
};
static void *flood_handshakes(void *arg)
{
	struct flood *f = arg;
	uint8_t b[148] = { WIRE_VERSION << 4 | WIRE_INIT };
	struct timespec start, now;
	clock_gettime(CLOCK_MONOTONIC, &start);
	while (!atomic_load(&f->stop)) {
		clock_gettime(CLOCK_MONOTONIC, &now);
		const uint64_t us =
			(uint64_t)(now.tv_sec - start.tv_sec) * 1000000 + (uint64_t)(now.tv_nsec / 1000) - (uint64_t)(start.tv_nsec / 1000);
		for (const uint64_t due = us * 50000 / 1000000; f->sent < due; f->sent++)
			(void)send(f->out, b, sizeof b, 0);
		usleep(200);
	}
	return NULL;
}

/* 50,000 a second from one address: few get through, those of another address still do, and so do frames. */
static void handshake_flood(void **s)
{
	struct hosts *t = *s;
	NEEDS_ROOT();
	struct host *h = &t->h[1];
	set_tables(t, &sealed);
	struct flood f = { .out = udp_of(t, 3, 1) };
	pthread_t thread;
	const uint64_t before = stats(h).dropped[FWD_FLOODED];
	userspace_poll(h->u);
	h->datagrams = h->from[2] = 0;
	assert_int_equal(pthread_create(&thread, NULL, flood_handshakes, &f), 0);
	struct timespec a, b;
	clock_gettime(CLOCK_MONOTONIC, &a);
	assert_int_equal(ns_run(h->container, "ping -q -c100 -i 0.005 -W2 10.32.0.2 | grep -q ' 0% packet loss'"), 0);
	uint8_t init[148] = { WIRE_VERSION << 4 | WIRE_INIT };
	const int other = udp_of(t, 2, 1);
	say_bytes(other, init, sizeof init);
	usleep(50000);
	clock_gettime(CLOCK_MONOTONIC, &b);
	atomic_store(&f.stop, true);
	pthread_join(thread, NULL);
	usleep(50000);
	for (int i = 0; i < 20; i++)
		userspace_poll(h->u);
	const double seconds = (double)(b.tv_sec - a.tv_sec) + (double)(b.tv_nsec - a.tv_nsec) / 1e9;
	assert_true(f.sent > 5000);
	assert_true(h->datagrams >= 64 && h->datagrams < 64 + 250 * (seconds + 0.2) + 2);
	assert_true(stats(h).dropped[FWD_FLOODED] - before > f.sent / 2);
	assert_int_equal(h->from[2], 1); /* the one from elsewhere was not lost */
	close(other);
	close(f.out);
	still_works(t);
}

static void sending(void **s)
{
	struct hosts *t = *s;
	NEEDS_ROOT();
	struct userspace *u = t->h[1].u;
	static uint8_t b[9000] = { WIRE_VERSION << 4 | WIRE_INIT };
	const struct hostport two = { underlay_ip(2), PORT }, nobody = { underlay_ip(2), 9 };
	const unsigned before = t->h[2].datagrams;
	assert_int_equal(userspace_send(u, two, slice_of(b, 1472)), ERR_OK);
	assert_true(polled(&t->h[2], &t->h[2].datagrams, before + 1));
	assert_int_equal(t->h[2].last_n, 1472);
	assert_int_equal(userspace_send(u, two, slice_of(b, 1473)), ERR_LIMIT);
	assert_int_equal(userspace_send(u, two, slice_of(b, 9000)), ERR_LIMIT);
	assert_int_equal(userspace_send(u, (struct hostport){ .port = 1 }, slice_of(b, 100)), ERR_UNREACHABLE);
	assert_int_equal(userspace_send(u, (struct hostport){ ip_of("203.0.113.1"), 1 }, slice_of(b, 100)), ERR_UNREACHABLE);
	/* Nobody listens: said with the next one. */
	enum err e = userspace_send(u, nobody, slice_of(b, 100));
	assert_int_equal(e, ERR_OK);
	for (int i = 0; i < 400 && e == ERR_OK; i++) {
		usleep(5000);
		userspace_poll(u);
		e = userspace_send(u, nobody, slice_of(b, 100));
	}
	assert_int_equal(e, ERR_REFUSED);
	assert_int_equal(userspace_send(u, two, slice_of(b, 100)), ERR_OK);
	still_works(t);
}

/* "Port unreachable" of somebody who knows where we send to, but not what. */
static void forged_error(int raw, const uint8_t *quoted, size_t n)
{
	enum { IP = 20, UDP = 8 };
	uint8_t b[8 + IP + UDP + 100] = { 3, 3 }, *ip = b + 8, *udp = ip + IP;
	struct sockaddr_in to = { .sin_family = AF_INET };
	uint32_t sum = 0;
	assert_in_range(n, 0, 100);
	memcpy(&to.sin_addr, underlay_ip(1).b, 4);
	ip[0] = 0x45;
	ip[3] = (uint8_t)(IP + UDP + n);
	ip[8] = 64;
	ip[9] = IPPROTO_UDP;
	memcpy(ip + 12, underlay_ip(1).b, 4);
	memcpy(ip + 16, underlay_ip(2).b, 4);
	udp[0] = udp[2] = PORT >> 8;
	udp[1] = udp[3] = PORT & 255;
	udp[5] = (uint8_t)(UDP + n);
	memcpy(udp + UDP, quoted, n);
	const size_t all = 8 + IP + UDP + n;
	for (size_t i = 0; i < all; i += 2)
		sum += (uint32_t)b[i] << 8 | (i + 1 < all ? b[i + 1] : 0u);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = ~((sum & 0xffff) + (sum >> 16));
	b[2] = (uint8_t)(sum >> 8);
	b[3] = (uint8_t)sum;
	assert_int_equal(sendto(raw, b, all, 0, (struct sockaddr *)&to, sizeof to), all);
}

/* Gives how often sending was called refused, of 20 times. */
static int refusals(struct hosts *t, int raw, const uint8_t *quoted, size_t n)
{
	struct userspace *u = t->h[1].u;
	static uint8_t b[100] = { WIRE_VERSION << 4 | WIRE_INIT, [20] = 0x5a, 0xa5, 0x33 };
	int refused = 0;
	for (int i = 0; i < 20; i++) {
		forged_error(raw, quoted, n);
		usleep(5000);
		userspace_poll(u);
		refused += userspace_send(u, (struct hostport){ underlay_ip(2), PORT }, slice_of(b, sizeof b)) == ERR_REFUSED;
	}
	return refused;
}

static void forged_errors(void **s)
{
	struct hosts *t = *s;
	NEEDS_ROOT();
	ns_go(t->h[3].ns);
	const int raw = socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_ICMP);
	ns_go(t->home);
	assert_true(raw >= 0);
	uint8_t quoted[100] = { WIRE_VERSION << 4 | WIRE_INIT, [20] = 0x11 };
	assert_int_equal(refusals(t, raw, quoted, 0), 0);
	assert_int_equal(refusals(t, raw, quoted, 20), 0); /* as much as it could know */
	assert_int_equal(refusals(t, raw, quoted, sizeof quoted), 0);
	memcpy(quoted + 20, (const uint8_t[]){ 0x5a, 0xa5, 0x33 }, 3);
	assert_int_equal(refusals(t, raw, quoted, 20), 0);
	assert_true(refusals(t, raw, quoted, sizeof quoted) > 0); /* else this would have shown nothing */
	close(raw);
	still_works(t);
}

/* Noise of all sizes, part of it with good headers. */
static void noise(void **s)
{
	struct hosts *t = *s;
	NEEDS_ROOT();
	set_tables(t, &clear);
	const int ear = sniffer(t->h[1].container, "eth0"), out = udp_of(t, 2, 1);
	struct rng g;
	const uint64_t seed = (uint64_t)time(NULL);
	printf("seed %llu\n", (unsigned long long)seed);
	rng_seed(&g, seed);
	for (int i = 0; i < 20000; i++) {
		uint8_t b[1400];
		size_t n = rng_below(&g, sizeof b);
		rng_fill(&g, b, n);
		if (n >= 2 && rng_chance(&g, 900000)) {
			b[0] = (uint8_t)(WIRE_VERSION << 4 | (1 + rng_below(&g, 6)));
			b[1] &= WIRE_FLAGS_KNOWN;
		}
		if (n >= 16 && rng_chance(&g, 500000)) {
			memset(b + 2, 0, 14);
			b[9] = 2;
			b[15] = 1;
		}
		(void)send(out, b, n, 0);
	}
	userspace_poll(t->h[1].u);
	assert_int_equal(heard(ear, 0), 0);
	close(ear);
	close(out);
	still_works(t);
}

int main(void)
{
	may = ns_start();
#define T(f) cmocka_unit_test(f)
	const struct CMUnitTest tests[] = { T(in_the_clear), T(in_a_session), T(roaming), T(relayed), T(for_control),
		T(handshake_flood), T(sending), T(forged_errors), T(noise) };
	return cmocka_run_group_tests(tests, setup, teardown);
}
