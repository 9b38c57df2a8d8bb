/* Where things are in a frame, its virtio header, and checksums for those who cannot leave them partial. */
#include "tunnel/segment.h"

#include <string.h>

#include "tunnel/packet.h"

void vnet_read(const uint8_t bytes[VNET_BYTES], struct vnet *v)
{
	v->flags = bytes[0];
	v->gso_type = bytes[1];
	memcpy(&v->hdr_len, bytes + 2, 2);
	memcpy(&v->gso_size, bytes + 4, 2);
	memcpy(&v->csum_start, bytes + 6, 2);
	memcpy(&v->csum_offset, bytes + 8, 2);
}

void vnet_write(uint8_t bytes[VNET_BYTES], const struct vnet *v)
{
	bytes[0] = v->flags;
	bytes[1] = v->gso_type;
	memcpy(bytes + 2, &v->hdr_len, 2);
	memcpy(bytes + 4, &v->gso_size, 2);
	memcpy(bytes + 6, &v->csum_start, 2);
	memcpy(bytes + 8, &v->csum_offset, 2);
}

/* TCP or UDP at `at`, in what l->end leaves. */
static bool layout_upper(const uint8_t *p, uint32_t at, uint8_t proto, struct layout *l)
{
	const uint32_t left = l->end - at;
	uint32_t size;
	if (proto == PROTO_TCP) {
		if (left < TCP_HEAD)
			return false;
		size = (uint32_t)(p[at + TCP_SIZE] >> 4) * 4;
		if (size < TCP_HEAD || size > left)
			return false;
	} else if (proto == PROTO_UDP) {
		if (left < UDP_HEAD)
			return false;
		const uint32_t length = get16(p + at + UDP_LENGTH);
		size = UDP_HEAD;
		if (length < UDP_HEAD || length > left)
			return false;
	} else {
		return true;
	}
	l->proto = proto;
	l->l4 = (uint16_t)at;
	l->payload = (uint16_t)(at + size);
	return true;
}

static bool layout_ip4(struct slice f, struct layout *l)
{
	const uint8_t *ip = f.p + l->l3;
	const size_t left = f.n - l->l3;
	if (left < IP4_HEAD || ip[0] >> 4 != 4)
		return false;
	const uint32_t head = (ip[0] & 15u) * 4, length = get16(ip + IP4_LENGTH), flags = get16(ip + IP4_FRAGMENT);
	if (head < IP4_HEAD || length < head || length > left)
		return false;
	l->family = 4;
	l->end = l->l3 + length;
	l->df = flags & IP4_DF;
	l->fragment = flags & (IP4_MORE | IP4_OFFSET);
	return l->fragment || layout_upper(f.p, l->l3 + head, ip[IP4_PROTO], l);
}

static bool layout_ip6(struct slice f, struct layout *l)
{
	const uint8_t *ip = f.p + l->l3;
	const size_t left = f.n - l->l3;
	struct packet_upper u;
	if (left < IP6_HEAD || ip[0] >> 4 != 6)
		return false;
	const uint32_t length = get16(ip + IP6_LENGTH);
	if (length > left - IP6_HEAD)
		return false;
	l->family = 6;
	l->df = true;
	l->end = l->l3 + IP6_HEAD + length;
	if (!packet_upper(f.p, l->l3, l->end, &u))
		return false;
	l->fragment = u.fragment;
	return l->fragment || layout_upper(f.p, u.at, u.proto, l);
}

bool layout_of(struct slice frame, struct layout *out)
{
	uint16_t type;
	struct layout l = { .l3 = (uint16_t)packet_ether(frame, &type) };
	bool good = l.l3 != 0 && frame.n <= UINT32_MAX;
	if (good && type == TYPE_IP4)
		good = layout_ip4(frame, &l);
	else if (good && type == TYPE_IP6)
		good = layout_ip6(frame, &l);
	else
		l.end = (uint32_t)frame.n;
	*out = l;
	return good;
}

bool segment_vnet(struct slice frame, bool partial, struct vnet *out)
{
	struct layout l;
	*out = (struct vnet){ 0 };
	if (!partial)
		return true;
	if (!layout_of(frame, &l) || !l.l4)
		return false;
	*out = (struct vnet){ .flags = VNET_NEEDS_CSUM,
		.hdr_len = l.payload,
		.csum_start = l.l4,
		.csum_offset = l.proto == PROTO_TCP ? TCP_SUM : UDP_SUM };
	return true;
}

/* ---- completing */

enum { SCTP_SUM = 8 };

/* An SCTP packet begins at `start`. */
static bool is_sctp(const uint8_t *frame, const struct layout *l, uint32_t start)
{
	const uint8_t *ip = frame + l->l3;
	struct packet_upper u;
	if (l->family == 4)
		return !l->fragment && ip[IP4_PROTO] == PROTO_SCTP && start == l->l3 + (ip[0] & 15u) * 4;
	return l->family == 6 && packet_upper(frame, l->l3, l->end, &u) && !u.fragment && u.proto == PROTO_SCTP && start == u.at;
}

/* CRC32c (RFC 9260 appendix A), four bits at a time. */
static uint32_t crc32c(const uint8_t *p, size_t n)
{
	static const uint32_t table[16] = { 0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc, 0x5125dad3, 0x61c69362,
		0x7198540d, 0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9, 0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75 };
	uint32_t crc = UINT32_MAX;
	for (size_t i = 0; i < n; i++) {
		crc ^= p[i];
		crc = crc >> 4 ^ table[crc & 15];
		crc = crc >> 4 ^ table[crc & 15];
	}
	return ~crc;
}

bool segment_complete(uint8_t *frame, size_t n, const struct vnet *v)
{
	struct layout l;
	const size_t start = v->csum_start, at = start + v->csum_offset;
	const bool known = layout_of((struct slice){ frame, n }, &l);
	const size_t end = known ? l.end : n;
	if (at + 2 > end)
		return false;
	if (known && v->csum_offset == SCTP_SUM && is_sctp(frame, &l, (uint32_t)start)) {
		if (at + 4 > end)
			return false;
		put32(frame + at, 0);
		const uint32_t crc = crc32c(frame + start, end - start);
		for (unsigned i = 0; i < 4; i++)
			frame[at + i] = (uint8_t)(crc >> (8 * i));
		return true;
	}
	/* The field holds the sum of the pseudo header and is summed with the rest; 0 would mean "none" in UDP (RFC 768). */
	const uint16_t sum = (uint16_t)~packet_sum(frame + start, end - start, 0);
	put16(frame + at, sum ? sum : 0xffff);
	return true;
}
