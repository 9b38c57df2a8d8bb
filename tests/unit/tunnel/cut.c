/* Layouts, virtio headers, completing, cutting: each segment is held, byte for byte, against a frame built on its own, and what a virtio header may say wrongly
 * is said wrongly. */
#include "tests/unit/tunnel/frames.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/rng.h"

enum { CASES = 100000 };

static uint8_t pattern[FRAME_MAX];

static int fill(void **s)
{
	(void)s;
	struct rng g;
	rng_seed(&g, 1);
	rng_fill(&g, pattern, sizeof pattern);
	return 0;
}

static const struct plan tcp4 = { .family = 4,
	.proto = 6,
	.host = 2,
	.ttl = 64,
	.df = true,
	.id = 0xfffe,
	.port = 1,
	.window = 500,
	.seq = 0xfffffff0,
	.ack = 77,
	.flags = ACK | PSH | FIN | CWR | ECE,
	.tcp_options = 12,
	.payload = pattern,
	.n = 3000 };

/* ---- cutting, by an example */

static void example(void **s)
{
	(void)s;
	uint8_t frame[4000];
	const struct built b = build(&tcp4, frame);
	const struct vnet v = vnet_for(&tcp4, &b, 1400);
	struct cut c;
	struct segment seg[4];
	uint8_t copy[4][1600];
	size_t n = 0;
	assert_int_equal(cut_begin(&c, &v, frame, b.n, 1500), FWD_PASSED);
	for (; cut_next(&c, &seg[n]); n++)
		memcpy(copy[n], seg[n].frame.p, seg[n].frame.n);
	assert_int_equal(n, 3);
	static const size_t sizes[3] = { 1400, 1400, 200 };
	static const uint8_t flags[3] = { ACK | ECE | CWR, ACK | ECE, ACK | ECE | PSH | FIN };
	static const uint16_t ids[3] = { 0xfffe, 0xffff, 0 };
	static const uint32_t seqs[3] = { 0xfffffff0, 0x568, 0xae0 };
	for (size_t i = 0; i < 3; i++) {
		assert_true(seg[i].partial);
		assert_int_equal(seg[i].frame.n, 66 + sizes[i]);
		assert_true(seg[i].frame.p >= frame && seg[i].frame.p + seg[i].frame.n <= frame + b.n);
		uint8_t want[1600];
		struct plan p = tcp4;
		p.id = ids[i], p.seq = seqs[i], p.flags = flags[i], p.payload = pattern + 1400 * i, p.n = sizes[i];
		build(&p, want);
		assert_memory_equal(copy[i], want, seg[i].frame.n);
	}
	assert_false(cut_next(&c, &seg[0]));
}

/* ---- cutting, by chance */

static struct plan random_plan(struct rng *g, size_t payload_max)
{
	struct plan p = { .family = rng_chance(g, 500000) ? 4 : 6,
		.proto = rng_chance(g, 600000) ? 6 : 17,
		.tags = (uint8_t)rng_below(g, 3),
		.host = (uint8_t)rng_between(g, 1, 250),
		.tos = (uint8_t)rng_u64(g),
		.ttl = (uint8_t)rng_u64(g),
		.df = rng_chance(g, 500000),
		.id = (uint16_t)rng_u64(g),
		.port = (uint16_t)rng_below(g, 60000),
		.window = (uint16_t)rng_u64(g),
		.seq = (uint32_t)rng_u64(g),
		.ack = (uint32_t)rng_u64(g) };
	p.n = rng_below(g, payload_max);
	p.payload = pattern + rng_below(g, sizeof pattern - payload_max);
	if (p.proto == 6) {
		p.tcp_options = (uint8_t)(4 * rng_below(g, 11));
		p.flags = (uint8_t)rng_u64(g);
	}
	if (rng_chance(g, 200000))
		p.ip_options = (uint8_t)(8 * rng_between(g, 1, 5));
	return p;
}

/* Cuts a frame and holds every segment against its twin. How many there were. */
static size_t cut_and_compare(const struct plan *p, uint16_t gso_size, size_t max, uint8_t *frame)
{
	const struct built b = build(p, frame);
	const struct vnet v = vnet_for(p, &b, gso_size);
	size_t size = gso_size, at = 0, i = 0;
	if (p->proto == 6 && max - b.payload < size)
		size = max - b.payload;
	struct cut c;
	struct segment seg;
	assert_int_equal(cut_begin(&c, &v, frame, b.n, max), FWD_PASSED);
	while (cut_next(&c, &seg)) {
		uint8_t want[4096];
		struct plan q = *p;
		q.n = p->n - at < size ? p->n - at : size;
		q.payload = p->payload + at;
		q.id = (uint16_t)(p->id + i);
		q.seq = (uint32_t)(p->seq + at);
		if (at > 0)
			q.flags &= (uint8_t)~CWR;
		if (at + q.n < p->n)
			q.flags &= (uint8_t) ~(FIN | PSH);
		const struct built t = build(&q, want);
		assert_int_equal(seg.frame.n, t.n);
		assert_memory_equal(seg.frame.p, want, t.n);
		assert_true(seg.partial && t.n <= max);
		/* completed, it is what a receiver wants */
		struct vnet one;
		assert_true(segment_vnet(seg.frame, true, &one));
		assert_true(one.flags == VNET_NEEDS_CSUM && one.gso_type == 0 && one.gso_size == 0 && one.csum_start == t.l4 &&
			one.hdr_len == t.payload);
		assert_true(segment_complete(want, t.n, &one));
		assert_checksums(want, &t, p->family, p->proto);
		/* whatever its receiver did with it, the next are right */
		memset(frame + (seg.frame.p - frame), 0xee, seg.frame.n);
		at += q.n;
		i++;
	}
	assert_int_equal(at, p->n);
	return i;
}

static void property(void **s)
{
	(void)s;
	const uint64_t seed = 20261123;
	printf("seed %llu\n", (unsigned long long)seed);
	struct rng g;
	uint8_t frame[4096];
	size_t segments = 0, smaller = 0;
	rng_seed(&g, seed);
	for (int i = 0; i < CASES; i++) {
		const struct plan p = random_plan(&g, i % 16 ? 900 : 3000);
		const uint16_t gso_size = (uint16_t)rng_between(&g, i % 16 ? 40 : 400, i % 16 ? 300 : 1600);
		const size_t header = 22 + 80 + 60;
		const size_t max =
			p.proto == 6 && rng_chance(&g, 500000) ? rng_between(&g, header + 30, i % 16 ? header + 300 : 1500) : 3000;
		smaller += p.proto == 6 && max < header + gso_size;
		segments += cut_and_compare(&p, gso_size, max, frame);
	}
	assert_true(segments > 2 * CASES && smaller > CASES / 10);
}

static void largest(void **s)
{
	(void)s;
	uint8_t *frame = malloc(FRAME_MAX);
	assert_non_null(frame);
	for (unsigned family = 4; family <= 6; family += 2)
		for (unsigned proto = 6; proto <= 17; proto += 11) {
			struct plan p = tcp4;
			p.family = (uint8_t)family, p.proto = (uint8_t)proto, p.tags = 2;
			p.tcp_options = proto == 6 ? 12 : 0, p.flags = proto == 6 ? tcp4.flags : 0;
			p.n = 65535 - (family == 4 ? 20u : 40u) - (proto == 6 ? 32u : 8u);
			assert_int_equal(cut_and_compare(&p, 1300, 1500, frame), (p.n + 1299) / 1300);
			p.n = 2000; /* one byte each */
			assert_int_equal(cut_and_compare(&p, 1, 1500, frame), 2000);
		}
	free(frame);
}

/* ---- frames that are not cut */

static void whole(void **s)
{
	(void)s;
	uint8_t frame[4000], before[4000];
	struct cut c;
	struct segment seg;
	const struct built b = build(&tcp4, frame);
	memcpy(before, frame, b.n);
	/* checksum partial; nothing to do; behind the packet is padding */
	const struct vnet partial = vnet_for(&tcp4, &b, 0), none = { 0 };
	for (int i = 0; i < 3; i++) {
		const size_t n = b.n + (i == 2 ? 7 : 0);
		assert_int_equal(cut_begin(&c, i == 1 ? &none : &partial, frame, n, 4000), FWD_PASSED);
		assert_true(cut_next(&c, &seg));
		assert_true(seg.frame.p == frame && seg.frame.n == n && seg.partial == (i != 1));
		assert_memory_equal(frame, before, b.n);
		assert_false(cut_next(&c, &seg));
		assert_int_equal(cut_begin(&c, i == 1 ? &none : &partial, frame, n, n - 1), FWD_TOO_BIG);
		assert_false(cut_next(&c, &seg));
	}
	/* GSO with no more than a segment, or no payload at all */
	struct vnet v = vnet_for(&tcp4, &b, 3000);
	assert_int_equal(cut_begin(&c, &v, frame, b.n, 4000), FWD_PASSED);
	assert_true(cut_next(&c, &seg) && seg.partial && seg.frame.n == b.n && !cut_next(&c, &seg));
	assert_memory_equal(frame, before, b.n);
	struct plan p = tcp4;
	p.n = 0;
	const struct built e = build(&p, frame);
	v = vnet_for(&p, &e, 1400);
	assert_int_equal(cut_begin(&c, &v, frame, e.n, e.n), FWD_PASSED);
	assert_true(cut_next(&c, &seg) && seg.frame.n == e.n && !cut_next(&c, &seg));
	assert_int_equal(cut_begin(&c, &v, frame, e.n, e.n - 1), FWD_TOO_BIG);
	/* not IP */
	memset(frame, 0, 60);
	frame[12] = 0x88, frame[13] = 0xb5;
	assert_int_equal(cut_begin(&c, &none, frame, 60, 1500), FWD_PASSED);
	assert_true(cut_next(&c, &seg) && seg.frame.n == 60 && !seg.partial && !cut_next(&c, &seg));
}

static void too_big(void **s)
{
	(void)s;
	uint8_t frame[4000];
	struct cut c;
	struct segment seg;
	struct built b = build(&tcp4, frame);
	struct vnet v = vnet_for(&tcp4, &b, 1400);
	assert_int_equal(cut_begin(&c, &v, frame, b.n, b.payload), FWD_TOO_BIG);
	assert_false(cut_next(&c, &seg));
	assert_int_equal(cut_begin(&c, &v, frame, b.n, 0), FWD_TOO_BIG);
	assert_int_equal(cut_begin(&c, &v, frame, b.n, b.payload + 1), FWD_PASSED);
	struct plan p = tcp4; /* datagrams are what they are */
	p.proto = 17, p.tcp_options = 0, p.n = 3000;
	b = build(&p, frame);
	v = vnet_for(&p, &b, 1400);
	assert_int_equal(cut_begin(&c, &v, frame, b.n, b.payload + 1399), FWD_TOO_BIG);
	assert_int_equal(cut_begin(&c, &v, frame, b.n, b.payload + 1400), FWD_PASSED);
	v.gso_size = 3500;
	assert_int_equal(cut_begin(&c, &v, frame, b.n, b.payload + 2999), FWD_TOO_BIG);
	assert_int_equal(cut_begin(&c, &v, frame, b.n, b.payload + 3000), FWD_PASSED);
}

/* ---- lies */

static enum fwd_drop with(const struct plan *p, struct vnet v, uint16_t at, uint8_t byte, long cut_off)
{
	uint8_t frame[4000];
	const struct built b = build(p, frame);
	if (at)
		frame[at] = byte;
	struct cut c;
	struct segment seg;
	const enum fwd_drop drop = cut_begin(&c, &v, frame, (size_t)((long)b.n - cut_off), 1500);
	assert_int_equal(drop == FWD_PASSED, cut_next(&c, &seg));
	return drop;
}

static void lies(void **s)
{
	(void)s;
	uint8_t frame[4000];
	const struct built b = build(&tcp4, frame);
	const struct vnet good = vnet_for(&tcp4, &b, 1400);
	struct plan tcp6 = tcp4, udp = tcp4;
	tcp6.family = 6;
	udp.proto = 17, udp.tcp_options = 0;
	const struct built b6 = build(&tcp6, frame), bu = build(&udp, frame);
	const struct vnet good6 = vnet_for(&tcp6, &b6, 1400), goodu = vnet_for(&udp, &bu, 1400);
	assert_int_equal(with(&tcp4, good, 0, 0, 0), FWD_PASSED);
	assert_int_equal(with(&tcp6, good6, 0, 0, 0), FWD_PASSED);
	assert_int_equal(with(&udp, goodu, 0, 0, 0), FWD_PASSED);
	struct vnet v = good;
	v.hdr_len = 0xffff; /* a hint, and nobody's word for anything */
	assert_int_equal(with(&tcp4, v, 0, 0, 0), FWD_PASSED);
	/* type against protocol */
	static const uint8_t types[] = { VNET_GSO_TCPV4, VNET_GSO_UDP, VNET_GSO_TCPV6, VNET_GSO_UDP_L4, VNET_GSO_ECN,
		VNET_GSO_TCPV4 | VNET_GSO_ECN, VNET_GSO_TCPV6 | VNET_GSO_ECN, VNET_GSO_UDP_L4 | VNET_GSO_ECN, 2, 6, 0x20 | VNET_GSO_TCPV4,
		0xff };
	for (size_t i = 0; i < sizeof types; i++) {
		v = good, v.gso_type = types[i];
		assert_int_equal(with(&tcp4, v, 0, 0, 0), (types[i] & 0x7f) == VNET_GSO_TCPV4 ? FWD_PASSED : FWD_BAD_OFFLOAD);
		v = good6, v.gso_type = types[i];
		assert_int_equal(with(&tcp6, v, 0, 0, 0), (types[i] & 0x7f) == VNET_GSO_TCPV6 ? FWD_PASSED : FWD_BAD_OFFLOAD);
		v = goodu, v.gso_type = types[i];
		assert_int_equal(with(&udp, v, 0, 0, 0), types[i] == VNET_GSO_UDP_L4 ? FWD_PASSED : FWD_BAD_OFFLOAD);
	}
	v = good, v.gso_size = 0;
	assert_int_equal(with(&tcp4, v, 0, 0, 0), FWD_BAD_OFFLOAD);
	v = good, v.flags = 0;
	assert_int_equal(with(&tcp4, v, 0, 0, 0), FWD_BAD_OFFLOAD);
	v = good, v.csum_start--;
	assert_int_equal(with(&tcp4, v, 0, 0, 0), FWD_BAD_OFFLOAD);
	v = good, v.csum_offset = 6;
	assert_int_equal(with(&tcp4, v, 0, 0, 0), FWD_BAD_OFFLOAD);
	/* the IP packet ends before or behind the frame, is a fragment, or of another protocol */
	assert_int_equal(with(&tcp4, good, 17, 0xed, 0), FWD_MALFORMED);
	assert_int_equal(with(&tcp4, good, 16, 1, 0), FWD_BAD_OFFLOAD);
	assert_int_equal(with(&tcp4, good, 20, 0x20, 0), FWD_BAD_OFFLOAD);
	assert_int_equal(with(&tcp4, good, 23, 132, 0), FWD_BAD_OFFLOAD);
	assert_int_equal(with(&tcp4, good, 14, 0x44, 0), FWD_MALFORMED);
	assert_int_equal(with(&tcp4, good, 14, 0x55, 0), FWD_MALFORMED);
	assert_int_equal(with(&tcp4, good, 46, 0x40, 0), FWD_MALFORMED); /* TCP header of 16 bytes */
	assert_int_equal(with(&tcp6, good6, 18, 0, 0), FWD_BAD_OFFLOAD);
	assert_int_equal(with(&tcp6, good6, 18, 0xff, 0), FWD_MALFORMED);
	assert_int_equal(with(&tcp6, good6, 20, 44, 0), FWD_BAD_OFFLOAD); /* TCP's first byte taken for a fragment header's */
	assert_int_equal(with(&udp, goodu, 38, 0xff, 0), FWD_MALFORMED);
	assert_int_equal(with(&udp, goodu, 38, 1, 0), FWD_BAD_OFFLOAD);
	for (long n = 1; n <= (long)b.n; n++)
		assert_int_equal(with(&tcp4, good, 0, 0, n), FWD_MALFORMED);
	/* a longer header than there is room to keep */
	struct plan wide = tcp6;
	wide.ip_options = 240;
	const struct built bw = build(&wide, frame);
	assert_int_equal(with(&wide, vnet_for(&wide, &bw, 1000), 0, 0, 0), FWD_BAD_OFFLOAD);
}

/* Whatever is said, no segment lies outside the frame. */
static void garbage(void **s)
{
	(void)s;
	const uint64_t seed = 99;
	printf("seed %llu\n", (unsigned long long)seed);
	struct rng g;
	size_t passed = 0, refused = 0;
	rng_seed(&g, seed);
	for (int i = 0; i < CASES; i++) {
		uint8_t frame[1500];
		const struct plan p = random_plan(&g, 300);
		const struct built b = build(&p, frame);
		struct vnet v = vnet_for(&p, &b, (uint16_t)rng_between(&g, 0, 200));
		const size_t n = rng_chance(&g, 300000) ? rng_below(&g, b.n + 1) : b.n;
		for (uint64_t k = rng_below(&g, 3); k > 0; k--)
			frame[rng_below(&g, b.payload)] = (uint8_t)rng_u64(&g);
		uint16_t *const fields[] = { &v.csum_start, &v.csum_offset, &v.gso_size, &v.hdr_len };
		if (rng_chance(&g, 300000))
			*fields[rng_below(&g, 4)] = (uint16_t)(rng_chance(&g, 500000) ? rng_below(&g, 300) : rng_u64(&g));
		if (rng_chance(&g, 100000))
			v.gso_type = (uint8_t)rng_below(&g, 7);
		uint8_t *heap = malloc(n ? n : 1); /* so that a byte too far is seen */
		assert_non_null(heap);
		memcpy(heap, frame, n);
		struct cut c;
		struct segment seg;
		size_t bytes = 0;
		if (cut_begin(&c, &v, heap, n, 1500) == FWD_PASSED) {
			while (cut_next(&c, &seg)) {
				assert_true(seg.frame.p >= heap && seg.frame.p + seg.frame.n <= heap + n && seg.frame.n <= 1500);
				bytes += seg.frame.n;
			}
			assert_true(bytes >= n);
			passed++;
		} else {
			assert_false(cut_next(&c, &seg));
			refused++;
		}
		free(heap);
	}
	assert_true(passed > CASES / 10 && refused > CASES / 10);
}

/* ---- completing */

static void inner(void **s)
{
	(void)s;
	/* A TCP packet with partial checksum inside UDP inside IPv4: only segment_complete can. */
	uint8_t inside[200], frame[400];
	struct plan p = tcp4;
	p.n = 51;
	const struct built b = build(&p, inside);
	struct plan outer = tcp4;
	outer.proto = 17, outer.tcp_options = 0, outer.payload = inside, outer.n = b.n;
	const struct built o = build(&outer, frame);
	w16(frame + o.l4 + 6, 0);
	const struct vnet v = { .flags = VNET_NEEDS_CSUM, .csum_start = (uint16_t)(o.payload + b.l4), .csum_offset = 16 };
	struct cut c;
	struct segment seg;
	assert_int_equal(cut_begin(&c, &v, frame, o.n, 1500), FWD_PASSED);
	assert_true(cut_next(&c, &seg) && !seg.partial && seg.frame.n == o.n);
	assert_checksums(frame + o.payload, &b, 4, 6);
	/* offsets outside */
	static const uint16_t bad[][2] = { { 0xffff, 16 }, { 16, 0xffff }, { 100, 300 } };
	for (size_t i = 0; i < 3; i++) {
		const struct vnet w = { .flags = VNET_NEEDS_CSUM, .csum_start = bad[i][0], .csum_offset = bad[i][1] };
		assert_false(segment_complete(frame, o.n, &w));
		assert_int_equal(cut_begin(&c, &w, frame, o.n, 1500), FWD_BAD_OFFLOAD);
	}
	const struct vnet last = { .flags = VNET_NEEDS_CSUM, .csum_start = (uint16_t)(o.n - 2) },
					  beyond = { .flags = VNET_NEEDS_CSUM, .csum_start = (uint16_t)(o.n - 1) };
	assert_true(segment_complete(frame, o.n, &last));
	assert_false(segment_complete(frame, o.n, &beyond));
}

static void completing(void **s)
{
	(void)s;
	struct rng g;
	rng_seed(&g, 5);
	uint8_t frame[4000];
	size_t zeros = 0;
	for (int i = 0; i < 20000; i++) {
		struct plan p = random_plan(&g, 200);
		struct built b = build(&p, frame);
		struct vnet v = vnet_for(&p, &b, 0);
		if (p.proto == 17 && p.n >= 2 && i % 4 == 0) {
			/* payload that makes the sum all ones, whose complement would mean "no checksum" */
			static uint8_t payload[200];
			memcpy(payload, p.payload, p.n);
			w16(payload, 0);
			p.payload = payload;
			b = build(&p, frame);
			w16(payload, 0xffff - slow_sum(frame + b.l4, b.n - b.l4, 0));
			b = build(&p, frame);
			zeros++;
		}
		memset(frame + b.n, 0xaa, 9); /* padding does not count */
		assert_true(segment_complete(frame, b.n + (size_t)(i % 10), &v));
		assert_checksums(frame, &b, p.family, p.proto);
	}
	assert_true(zeros > 1000);
}

static void sctp(void **s)
{
	(void)s;
	/* The nine digits' CRC32c is known: the packet's checksummed bytes are arranged so that its own comes out of a slow one. */
	uint8_t frame[100] = { 2, [6] = 2, [12] = 8, [14] = 0x45, [23] = 132 };
	for (uint8_t i = 0; i < 40; i++)
		frame[34 + i] = (uint8_t)(i * 7 + 1);
	w16(frame + 16, 60);
	const struct vnet v = { .flags = VNET_NEEDS_CSUM, .csum_start = 34, .csum_offset = 8 };
	for (int family = 4; family <= 6; family += 2) {
		const size_t at = family == 4 ? 34 : 54, n = at + 40;
		struct vnet w = v;
		if (family == 6) {
			memmove(frame + 54, frame + 34, 40);
			memset(frame + 14, 0, 40);
			frame[12] = 0x86, frame[13] = 0xdd, frame[14] = 0x60, frame[19] = 40, frame[20] = 132;
			w.csum_start = 54;
		}
		uint8_t zeroed[40];
		memcpy(zeroed, frame + at, 40);
		memset(zeroed + 8, 0, 4);
		uint32_t crc = UINT32_MAX;
		for (size_t i = 0; i < 40; i++)
			for (unsigned bit = 0; bit < 8; bit++)
				crc = crc >> 1 ^ ((crc ^ (uint32_t)zeroed[i] >> bit) & 1 ? UINT32_C(0x82f63b78) : 0);
		crc = ~crc;
		struct cut c;
		struct segment seg;
		assert_int_equal(cut_begin(&c, &w, frame, n, 1500), FWD_PASSED);
		assert_true(cut_next(&c, &seg) && !seg.partial);
		for (unsigned i = 0; i < 4; i++)
			assert_int_equal(frame[at + 8 + i], (uint8_t)(crc >> (8 * i)));
	}
}

/* ---- layouts and virtio headers */

static void layouts(void **s)
{
	(void)s;
	uint8_t frame[600];
	struct layout l;
	for (unsigned tags = 0; tags <= 2; tags++)
		for (unsigned family = 4; family <= 6; family += 2)
			for (unsigned proto = 6; proto <= 17; proto += 11) {
				struct plan p = tcp4;
				p.tags = (uint8_t)tags, p.family = (uint8_t)family, p.proto = (uint8_t)proto, p.n = 100, p.ip_options = 8;
				p.tcp_options = proto == 6 ? 12 : 0;
				const struct built b = build(&p, frame);
				assert_true(layout_of(slice_of(frame, b.n + 5), &l));
				assert_true(l.l3 == b.l3 && l.l4 == b.l4 && l.payload == b.payload && l.end == b.n);
				assert_true(l.family == family && l.proto == proto && !l.fragment && l.df);
				for (size_t n = 0; n < b.n; n++)
					assert_false(layout_of(slice_of(frame, n), &l));
			}
	/* a third tag */
	memset(frame, 0, sizeof frame);
	for (size_t i = 0; i < 3; i++)
		frame[12 + 4 * i] = 0x81;
	assert_false(layout_of(slice_of(frame, 100), &l));
	/* not IP */
	frame[20] = 8, frame[21] = 6;
	assert_true(layout_of(slice_of(frame, 60), &l) && l.family == 0 && l.l3 == 22 && l.l4 == 0 && l.end == 60);
	/* fragments and other protocols have nothing behind IP */
	struct plan p = tcp4;
	p.n = 100;
	static const uint8_t marks[][2] = { { 0x20, 0 }, { 0, 1 }, { 0x3f, 0xff } };
	for (size_t i = 0; i < 3; i++) {
		const struct built b = build(&p, frame);
		frame[20] = marks[i][0], frame[21] = marks[i][1];
		assert_true(layout_of(slice_of(frame, b.n), &l) && l.fragment && l.l4 == 0 && l.payload == 0 && l.proto == 0 && !l.df);
	}
	p.proto = 132;
	struct built b = build(&p, frame);
	assert_true(layout_of(slice_of(frame, b.n), &l) && !l.fragment && l.l4 == 0 && l.proto == 0 && l.family == 4);
	p.proto = 17, p.family = 6, p.ip_options = 8, p.tcp_options = 0;
	b = build(&p, frame);
	frame[20] = 44;
	assert_true(layout_of(slice_of(frame, b.n), &l) && l.fragment && l.l4 == 0 && l.family == 6);
	frame[54] = 0, frame[55] = 0, frame[56] = 1; /* what follows in a later fragment is not a header, whatever its name */
	memset(frame + 62, 0xff, 8);
	assert_true(layout_of(slice_of(frame, b.n), &l) && l.fragment);
	/* eight extension headers, and a ninth */
	for (size_t n = 8; n <= 9; n++) {
		memset(frame, 0, sizeof frame);
		w16(frame + 12, 0x86dd);
		frame[14] = 0x60;
		w16(frame + 18, 8 * n + 8);
		frame[20] = 60;
		for (size_t i = 0; i < n; i++)
			frame[54 + 8 * i] = i + 1 < n ? 60 : 17;
		w16(frame + 54 + 8 * n + 4, 8);
		assert_true(layout_of(slice_of(frame, 54 + 8 * n + 8), &l));
		assert_int_equal(l.l4, n == 8 ? 118 : 0);
	}
}

static void headers(void **s)
{
	(void)s;
	static const struct vnet v = { 1, 0x84, 0x1234, 0x5678, 0x9abc, 0xdef0 };
	uint8_t bytes[VNET_BYTES];
	uint16_t field;
	struct vnet back;
	vnet_write(bytes, &v);
	assert_int_equal(bytes[0], 1);
	assert_int_equal(bytes[1], 0x84);
	memcpy(&field, bytes + 4, 2);
	assert_int_equal(field, 0x5678);
	vnet_read(bytes, &back);
	assert_memory_equal(&back, &v, sizeof v);
	uint8_t frame[200] = { 0 };
	assert_true(segment_vnet(slice_of(frame, 60), false, &back));
	assert_memory_equal(&back, &(struct vnet){ 0 }, sizeof back);
	assert_false(segment_vnet(slice_of(frame, 60), true, &back));
	assert_false(segment_vnet(slice_of(frame, 5), true, &back));
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(example), cmocka_unit_test(property), cmocka_unit_test(largest),
		cmocka_unit_test(whole), cmocka_unit_test(too_big), cmocka_unit_test(lies), cmocka_unit_test(garbage),
		cmocka_unit_test(inner), cmocka_unit_test(completing), cmocka_unit_test(sctp), cmocka_unit_test(layouts),
		cmocka_unit_test(headers) };
	return cmocka_run_group_tests(tests, fill, NULL);
}
