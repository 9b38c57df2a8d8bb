/* Frames for the tests of cutting and joining, built field by field, and slow checksums to hold the quick ones against: nothing here is shared with
 * what is tested. */
#ifndef WEFT_TESTS_FRAMES_H
#define WEFT_TESTS_FRAMES_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "tunnel/segment.h"

enum { FIN = 1, SYN = 2, RST = 4, PSH = 8, ACK = 16, URG = 32, ECE = 64, CWR = 128 };

struct plan {
	uint8_t family, proto;  /* 4, 6; 6, 17 */
	uint8_t tags;           /* VLAN */
	uint8_t ip_options;     /* bytes, a multiple of 4 (IPv4), of 8 (IPv6: destination options) */
	uint8_t tcp_options;    /* bytes, a multiple of 4 */
	uint8_t host, tos, ttl; /* host: last byte of both addresses and MACs */
	bool df;
	uint16_t id, port, window;
	uint32_t seq, ack;
	uint8_t flags;
	const uint8_t *payload;
	size_t n;
};

struct built {
	size_t l3, l4, payload, n;
};

static inline void w16(uint8_t *p, size_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static inline void w32(uint8_t *p, uint32_t v)
{
	w16(p, v >> 16);
	w16(p + 2, v);
}

static inline uint32_t slow_sum(const uint8_t *p, size_t n, uint32_t sum)
{
	for (size_t i = 0; i < n; i++) {
		sum += i & 1 ? (uint32_t)p[i] : (uint32_t)p[i] << 8;
		sum = (sum & 0xffff) + (sum >> 16);
	}
	return sum;
}

/* Sum of the pseudo header (RFC 9293 section 3.1, RFC 8200 section 8.1). */
static inline uint32_t slow_pseudo(const uint8_t *frame, const struct built *b, uint8_t family, uint8_t proto)
{
	uint8_t tail[8] = { 0 };
	const uint32_t addresses = family == 4 ? slow_sum(frame + b->l3 + 12, 8, 0) : slow_sum(frame + b->l3 + 8, 32, 0);
	w32(tail, (uint32_t)(b->n - b->l4));
	tail[7] = proto;
	return slow_sum(tail, 8, addresses);
}

/* Writes the frame, its TCP or UDP checksum partial, to out; no more bytes than FRAME_MAX. */
static inline struct built build(const struct plan *p, uint8_t *out)
{
	struct built b = { .l3 = 14 + 4u * p->tags };
	const size_t head = (p->family == 4 ? 20u : 40u) + p->ip_options;
	b.l4 = b.l3 + head;
	b.payload = b.l4 + (p->proto == 6 ? 20u + p->tcp_options : 8u);
	b.n = b.payload + p->n;
	memset(out, 0, b.payload);
	out[0] = 2, out[5] = p->host;
	out[6] = 2, out[10] = 1, out[11] = p->host;
	for (size_t i = 0; i < p->tags; i++) {
		w16(out + 12 + 4 * i, i == 0 && p->tags == 2 ? 0x88a8 : 0x8100);
		w16(out + 14 + 4 * i, 7 + i);
	}
	w16(out + b.l3 - 2, p->family == 4 ? 0x0800 : 0x86dd);
	uint8_t *ip = out + b.l3, *l4 = out + b.l4;
	if (p->family == 4) {
		ip[0] = (uint8_t)(0x40 | head / 4);
		ip[1] = p->tos;
		w16(ip + 2, b.n - b.l3);
		w16(ip + 4, p->id);
		ip[6] = p->df ? 0x40 : 0;
		ip[8] = p->ttl;
		ip[9] = p->proto;
		w32(ip + 12, UINT32_C(0x0a200000) + p->host);
		w32(ip + 16, UINT32_C(0x0a200100) + p->host);
		memset(ip + 20, 1, p->ip_options); /* no operation */
		w16(ip + 10, ~slow_sum(ip, head, 0));
	} else {
		ip[0] = (uint8_t)(0x60 | p->tos >> 4);
		ip[1] = (uint8_t)(p->tos << 4);
		w16(ip + 4, b.n - b.l3 - 40);
		ip[6] = p->ip_options ? 60 : p->proto;
		ip[7] = p->ttl;
		ip[8] = ip[24] = 0xfd;
		ip[23] = ip[39] = p->host;
		ip[38] = 1;
		if (p->ip_options) {
			ip[40] = p->proto;
			ip[41] = (uint8_t)(p->ip_options / 8 - 1);
			ip[42] = 1, ip[43] = (uint8_t)(p->ip_options - 4);
		}
	}
	w16(l4, 1024 + p->port);
	w16(l4 + 2, 5201);
	if (p->proto == 6) {
		w32(l4 + 4, p->seq);
		w32(l4 + 8, p->ack);
		l4[12] = (uint8_t)((20 + p->tcp_options) / 4 << 4);
		l4[13] = p->flags;
		w16(l4 + 14, p->window);
		memset(l4 + 20, 1, p->tcp_options);
	} else {
		w16(l4 + 4, 8 + p->n);
	}
	if (p->n > 0)
		memcpy(out + b.payload, p->payload, p->n);
	w16(l4 + (p->proto == 6 ? 16 : 6), slow_pseudo(out, &b, p->family, p->proto));
	return b;
}

/* The virtio header a kernel gives with it; gso_size 0: none of GSO. */
static inline struct vnet vnet_for(const struct plan *p, const struct built *b, uint16_t gso_size)
{
	struct vnet v = { .flags = VNET_NEEDS_CSUM,
		.hdr_len = (uint16_t)b->payload,
		.csum_start = (uint16_t)b->l4,
		.csum_offset = p->proto == 6 ? 16 : 6 };
	if (gso_size == 0)
		return v;
	v.gso_size = gso_size;
	v.gso_type = p->proto == 17 ? VNET_GSO_UDP_L4 : p->family == 4 ? VNET_GSO_TCPV4 : VNET_GSO_TCPV6;
	if (p->proto == 6 && p->flags & CWR)
		v.gso_type |= VNET_GSO_ECN;
	return v;
}

/* What a receiver checks: IPv4 header, and TCP or UDP over pseudo header and all. 0: right, for whole checksums. */
static inline void assert_checksums(const uint8_t *frame, const struct built *b, uint8_t family, uint8_t proto)
{
	if (family == 4)
		assert_int_equal(slow_sum(frame + b->l3, (size_t)(frame[b->l3] & 15) * 4, 0), 0xffff);
	assert_int_equal(slow_sum(frame + b->l4, b->n - b->l4, slow_pseudo(frame, b, family, proto)), 0xffff);
	if (proto == 17)
		assert_true(frame[b->l4 + 6] || frame[b->l4 + 7]);
}

#endif
