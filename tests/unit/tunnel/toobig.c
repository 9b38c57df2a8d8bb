/* Answers to packets too large for their path: byte for byte, against checksums made slowly, and to whom none is given. */
#include "tests/unit/tunnel/frames.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/rng.h"
#include "tunnel/toobig.h"

static uint8_t pattern[9000];

static int fill(void **s)
{
	(void)s;
	struct rng g;
	rng_seed(&g, 1);
	rng_fill(&g, pattern, sizeof pattern);
	return 0;
}

static const struct plan udp4 = {
	.family = 4, .proto = 17, .host = 2, .ttl = 64, .df = true, .id = 9, .port = 1, .payload = pattern, .n = 3000
};

/* The answer ends where its memory ends, so that a byte too far is seen. */
static size_t answer(const uint8_t *frame, size_t n, uint32_t mtu, uint8_t out[TOOBIG_MAX])
{
	uint8_t *exact = malloc(n ? n : 1), *to = malloc(TOOBIG_MAX);
	assert_true(exact && to);
	memcpy(exact, frame, n);
	const size_t size = toobig_frame(slice_of(exact, n), mtu, to);
	assert_true(size <= TOOBIG_MAX);
	memcpy(out, to, size);
	free(exact);
	free(to);
	return size;
}

static void assert_swapped(const uint8_t *frame, const uint8_t *out, size_t l3)
{
	assert_memory_equal(out, frame + 6, 6);
	assert_memory_equal(out + 6, frame, 6);
	assert_memory_equal(out + 12, frame + 12, l3 - 12);
}

static void ipv4(void **s)
{
	(void)s;
	static const uint8_t head[] = { 0x45, 0xc0, 2, 0x40, 0, 0, 0x40, 0, 64, 1 };
	for (uint8_t tags = 0; tags <= 2; tags++) {
		uint8_t frame[4000], out[TOOBIG_MAX];
		struct plan p = udp4;
		p.tags = tags;
		const struct built b = build(&p, frame);
		const size_t n = answer(frame, b.n, 1350, out);
		assert_int_equal(n, b.l3 + 576);
		assert_swapped(frame, out, b.l3);
		const uint8_t *ip = out + b.l3, *icmp = ip + 20;
		assert_memory_equal(ip, head, sizeof head);
		assert_memory_equal(ip + 12, frame + b.l3 + 16, 4);
		assert_memory_equal(ip + 16, frame + b.l3 + 12, 4);
		assert_int_equal(slow_sum(ip, 20, 0), 0xffff);
		static const uint8_t start[] = { 3, 4 }, next_hop[] = { 0, 0, 1350 >> 8, 1350 & 255 };
		assert_memory_equal(icmp, start, 2);
		assert_memory_equal(icmp + 4, next_hop, 4);
		assert_memory_equal(icmp + 8, frame + b.l3, 548);
		assert_int_equal(slow_sum(icmp, 556, 0), 0xffff);
	}
}

static void ipv6(void **s)
{
	(void)s;
	for (uint8_t tags = 0; tags <= 2; tags++) {
		uint8_t frame[4000], out[TOOBIG_MAX];
		struct plan p = udp4;
		p.tags = tags, p.family = 6;
		const struct built b = build(&p, frame);
		const size_t n = answer(frame, b.n, 1350, out);
		assert_int_equal(n, b.l3 + 1280);
		assert_swapped(frame, out, b.l3);
		const uint8_t *ip = out + b.l3, *icmp = ip + 40;
		static const uint8_t head[] = { 0x60, 0, 0, 0, 1240 >> 8, 1240 & 255, 58, 64 };
		assert_memory_equal(ip, head, sizeof head);
		assert_memory_equal(ip + 8, frame + b.l3 + 24, 16);
		assert_memory_equal(ip + 24, frame + b.l3 + 8, 16);
		static const uint8_t start[] = { 2, 0 }, next_hop[] = { 0, 0, 1350 >> 8, 1350 & 255 };
		assert_memory_equal(icmp, start, 2);
		assert_memory_equal(icmp + 4, next_hop, 4);
		assert_memory_equal(icmp + 8, frame + b.l3, 1232);
		const struct built t = { .l3 = b.l3, .l4 = b.l3 + 40, .n = n };
		assert_int_equal(slow_sum(icmp, 1240, slow_pseudo(out, &t, 6, 58)), 0xffff);
	}
}

/* Any length, right checksums; what is quoted never goes beyond the packet. */
static void lengths(void **s)
{
	(void)s;
	const uint64_t seed = 12;
	printf("seed %llu\n", (unsigned long long)seed);
	struct rng g;
	rng_seed(&g, seed);
	for (int i = 0; i < 5000; i++) {
		uint8_t frame[3200], out[TOOBIG_MAX];
		struct plan p = udp4;
		p.family = i % 2 ? 4 : 6;
		p.n = rng_below(&g, 3000);
		p.host = (uint8_t)rng_between(&g, 1, 255);
		p.ip_options = rng_chance(&g, 200000) ? 8 : 0;
		p.payload = pattern + rng_below(&g, 5000);
		const struct built b = build(&p, frame);
		memset(frame + b.n, 0xee, 20);
		const uint32_t mtu = (uint32_t)(rng_chance(&g, 500000) ? rng_below(&g, 3000) : rng_u64(&g));
		const size_t n = answer(frame, b.n + 20, mtu, out), packet = b.n - b.l3;
		uint32_t told = (uint32_t)out[b.l3 + (i % 2 ? 24 : 44)] << 24 | (uint32_t)out[b.l3 + (i % 2 ? 25 : 45)] << 16 |
			(uint32_t)out[b.l3 + (i % 2 ? 26 : 46)] << 8 | out[b.l3 + (i % 2 ? 27 : 47)];
		if (i % 2) {
			assert_int_equal(n - b.l3, packet + 28 < 576 ? packet + 28 : 576);
			assert_int_equal(slow_sum(out + b.l3, 20, 0), 0xffff);
			assert_int_equal(slow_sum(out + b.l3 + 20, n - b.l3 - 20, 0), 0xffff);
			assert_int_equal(told, mtu < 68 ? 68 : mtu < 65535 ? mtu : 65535);
		} else {
			const struct built t = { .l3 = b.l3, .l4 = b.l3 + 40, .n = n };
			assert_int_equal(n - b.l3, packet + 48 < 1280 ? packet + 48 : 1280);
			assert_int_equal(slow_sum(out + t.l4, n - t.l4, slow_pseudo(out, &t, 6, 58)), 0xffff);
			assert_int_equal(told, mtu < 1280 ? 1280 : mtu);
		}
	}
}

/* Is there an answer when byte `at` is `value`? */
static bool answered(const struct plan *p, size_t at, uint8_t value)
{
	uint8_t frame[4000], out[TOOBIG_MAX];
	const struct built b = build(p, frame);
	if (at)
		frame[at] = value;
	return answer(frame, b.n, 1350, out) > 0;
}

static void none(void **s)
{
	(void)s;
	struct plan v4 = udp4, v6 = udp4;
	v6.family = 6;
	assert_true(answered(&v4, 0, 0));
	assert_true(answered(&v6, 0, 0));
	/* groups and nobody */
	for (int i = 0; i < 2; i++) {
		const struct plan *p = i ? &v6 : &v4;
		uint8_t frame[4000], out[TOOBIG_MAX];
		const struct built b = build(p, frame);
		frame[0] |= 1;
		assert_int_equal(answer(frame, b.n, 1350, out), 0);
		frame[0] ^= 1, frame[6] |= 1;
		assert_int_equal(answer(frame, b.n, 1350, out), 0);
		frame[6] ^= 1;
		assert_true(answer(frame, b.n, 1350, out) > 0);
		assert_int_equal(answer(frame, b.n - 1, 1350, out), 0);
	}
	static const uint8_t not_hosts[] = { 0, 224, 239, 240, 255 };
	for (size_t i = 0; i < sizeof not_hosts; i++) {
		assert_false(answered(&v4, 26, not_hosts[i]));
		assert_false(answered(&v4, 30, not_hosts[i]));
	}
	assert_true(answered(&v4, 26, 223));
	assert_false(answered(&v6, 22, 0xff));
	assert_false(answered(&v6, 38, 0xff));
	uint8_t frame[4000], out[TOOBIG_MAX];
	const struct built b = build(&v6, frame);
	memset(frame + 22, 0, 16);
	assert_int_equal(answer(frame, b.n, 1350, out), 0);
	/* without DF it is to be fragmented; the first of fragments is answered, later ones are not */
	assert_false(answered(&v4, 20, 0));
	assert_true(answered(&v4, 20, 0x60));
	assert_false(answered(&v4, 21, 1));
	assert_false(answered(&v4, 20, 0x41));
	struct plan options = v6;
	options.ip_options = 8;
	const struct built f = build(&options, frame);
	frame[20] = 44, frame[56] = 0, frame[57] = 1; /* the options are a fragment header now: the first, more to come */
	assert_true(answer(frame, f.n, 1350, out) > 0);
	frame[57] = 9; /* at byte 8 */
	assert_int_equal(answer(frame, f.n, 1350, out), 0);
}

/* ICMP errors are not answered, questions are. */
static void icmp(void **s)
{
	(void)s;
	for (unsigned type = 0; type < 256; type++) {
		uint8_t frame[4000], out[TOOBIG_MAX];
		struct plan p = udp4;
		struct built b = build(&p, frame);
		frame[23] = 1, frame[34] = (uint8_t)type;
		const bool error4 = type == 3 || type == 4 || type == 5 || type == 11 || type == 12;
		assert_int_equal(answer(frame, b.n, 1350, out) == 0, error4);
		for (p.family = 6, p.ip_options = 0; p.ip_options <= 8; p.ip_options += 8) {
			b = build(&p, frame);
			frame[p.ip_options ? 54 : 20] = 58, frame[b.l4] = (uint8_t)type;
			assert_int_equal(answer(frame, b.n, 1350, out) == 0, type < 128 || type == 137);
		}
	}
	/* no room for a type */
	uint8_t frame[100] = { 2, [6] = 2, [12] = 8, [14] = 0x45, [17] = 20, [20] = 0x40, [23] = 1, [26] = 10, [30] = 10 },
			out[TOOBIG_MAX];
	assert_int_equal(answer(frame, 34, 1350, out), 0);
	frame[23] = 99;
	assert_true(answer(frame, 34, 1350, out) > 0);
	uint8_t frame6[54] = { 2, [6] = 2, [12] = 0x86, [13] = 0xdd, [14] = 0x60, [20] = 58, [22] = 0xfd, [38] = 0xfd };
	assert_int_equal(answer(frame6, 54, 1350, out), 0);
	frame6[20] = 59;
	assert_true(answer(frame6, 54, 1350, out) > 0);
	frame[13] = 6; /* ARP */
	assert_int_equal(answer(frame, 34, 1350, out), 0);
	assert_int_equal(answer(frame, 0, 1350, out), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(ipv4), cmocka_unit_test(ipv6), cmocka_unit_test(lengths),
		cmocka_unit_test(none), cmocka_unit_test(icmp) };
	return cmocka_run_group_tests(tests, fill, NULL);
}
