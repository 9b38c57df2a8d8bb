/* Cutting a superframe.
 *
 *   frame:  | header | payload 0 | payload 1 | payload 2 |
 *   given:  | header | payload 0 |
 *                       | header | payload 1 |                over bytes given out before
 *                                   | header | payload 2 |
 *
 * Headers of segments differ in few places: sequence number, IPv4 id and with it the header's checksum, in the last the lengths, and the flags of first and
 * last. A template has everything else; what a segment costs is a copy of its header and a handful of stores, and no byte of payload is read.
 *
 * The partial checksum in TCP and UDP is a sum of addresses, protocol and length; the superframe's is right for its own length, so that a segment's
 * follows from the difference (which is also right behind an IPv6 routing header, where the addresses to sum are not those in the header). */
#include "tunnel/segment.h"

#include <string.h>

#include "tunnel/packet.h"

/* The checksum that is to be completed is that of the packet's own TCP or UDP header. */
static bool describes(const struct vnet *v, const struct layout *l)
{
	return l->l4 && v->csum_start == l->l4 && v->csum_offset == (l->proto == PROTO_TCP ? TCP_SUM : UDP_SUM);
}

static enum fwd_drop begin_whole(struct cut *c, size_t max)
{
	c->partial = false;
	if (c->n > max)
		return FWD_TOO_BIG;
	if (c->v.flags & VNET_NEEDS_CSUM) {
		c->partial = describes(&c->v, &c->l);
		if (!c->partial && !segment_complete(c->frame, c->n, &c->v))
			return FWD_BAD_OFFLOAD;
	}
	return FWD_PASSED;
}

/* The virtio header describes this frame. */
static bool is_superframe(const struct cut *c)
{
	uint8_t family = 0, proto = PROTO_TCP;
	switch (c->v.gso_type) {
	case VNET_GSO_TCPV4:
	case VNET_GSO_TCPV4 | VNET_GSO_ECN: family = 4; break;
	case VNET_GSO_TCPV6:
	case VNET_GSO_TCPV6 | VNET_GSO_ECN: family = 6; break;
	case VNET_GSO_UDP_L4: proto = PROTO_UDP; break;
	default: return false;
	}
	if (c->l.proto != proto || (family && c->l.family != family))
		return false;
	if (c->v.gso_size == 0 || !(c->v.flags & VNET_NEEDS_CSUM) || !describes(&c->v, &c->l))
		return false;
	if (c->l.end != c->n || c->l.payload > sizeof c->head)
		return false;
	return proto == PROTO_TCP || get16(c->frame + c->l.l4 + UDP_LENGTH) == c->n - c->l.l4;
}

/* Writes the length of a segment with `size` bytes of payload to its header. */
static void put_lengths(const struct cut *c, uint8_t *head, uint32_t size)
{
	const uint32_t ip = c->l.payload + size - c->l.l3, upper = c->l.payload + size - c->l.l4;
	if (c->l.family == 4)
		put16(head + c->l.l3 + IP4_LENGTH, ip);
	else
		put16(head + c->l.l3 + IP6_LENGTH, ip - IP6_HEAD);
	if (c->l.proto == PROTO_UDP)
		put16(head + c->l.l4 + UDP_LENGTH, upper);
}

static void make_template(struct cut *c)
{
	uint8_t *ip = c->head + c->l.l3, *upper = c->head + c->l.l4, *sum = upper + c->v.csum_offset;
	memcpy(c->head, c->frame, c->header);
	put_lengths(c, c->head, c->size);
	put16(sum, packet_changed(get16(sum), (uint32_t)c->n - c->l.l4, c->l.payload + c->size - c->l.l4));
	if (c->l.family == 4) {
		c->ip_id = get16(ip + IP4_ID);
		put16(ip + IP4_ID, 0);
		put16(ip + IP4_SUM, 0);
		c->ip_sum = packet_sum(ip, (size_t)(ip[0] & 15) * 4, 0);
	}
	if (c->l.proto == PROTO_TCP) {
		c->seq = get32(upper + TCP_SEQ);
		c->tcp_flags = upper[TCP_FLAGS];
		upper[TCP_FLAGS] &= (uint8_t) ~(TCP_FIN | TCP_PSH | TCP_CWR);
	}
}

enum fwd_drop cut_begin(struct cut *c, const struct vnet *v, uint8_t *frame, size_t n, size_t max)
{
	c->frame = frame;
	c->n = c->at = n; /* nothing to give, until all is well */
	c->v = *v;
	c->one = c->partial = true;
	c->segments = 0;
	if (n > FRAME_MAX || !layout_of((struct slice){ frame, n }, &c->l))
		return FWD_MALFORMED;
	if (v->gso_type == VNET_GSO_NONE) {
		const enum fwd_drop drop = begin_whole(c, max);
		c->at = drop == FWD_PASSED ? 0 : n;
		return drop;
	}
	if (!is_superframe(c))
		return FWD_BAD_OFFLOAD;
	const size_t header = c->l.payload, payload = n - header;
	c->header = header;
	c->size = v->gso_size;
	if (c->l.proto == PROTO_TCP && max > header && c->size > max - header)
		c->size = (uint32_t)(max - header);
	if (header + (payload < c->size ? payload : c->size) > max)
		return FWD_TOO_BIG;
	c->one = payload <= c->size;
	c->at = c->one ? 0 : header;
	if (!c->one)
		make_template(c);
	return FWD_PASSED;
}

bool cut_next(struct cut *c, struct segment *s)
{
	if (c->at == c->n)
		return false;
	s->partial = c->partial;
	if (c->one) {
		s->frame = (struct slice){ c->frame, c->n };
		c->at = c->n;
		return true;
	}
	const size_t left = c->n - c->at;
	const uint32_t size = left < c->size ? (uint32_t)left : c->size;
	uint8_t *p = c->frame + c->at - c->header, *ip = p + c->l.l3, *upper = p + c->l.l4;
	uint16_t ip_sum = c->ip_sum;
	memcpy(p, c->head, c->header);
	if (size != c->size) {
		uint8_t *sum = upper + c->v.csum_offset;
		put_lengths(c, p, size);
		put16(sum, packet_changed(get16(sum), c->l.payload + c->size - c->l.l4, c->l.payload + size - c->l.l4));
		ip_sum = packet_changed(ip_sum, c->size, size);
	}
	if (c->l.family == 4) {
		const uint16_t id = (uint16_t)(c->ip_id + c->segments);
		put16(ip + IP4_ID, id);
		put16(ip + IP4_SUM, ~(uint32_t)packet_fold((uint32_t)ip_sum + id));
	}
	if (c->l.proto == PROTO_TCP) {
		put32(upper + TCP_SEQ, c->seq);
		c->seq += size;
		if (c->segments == 0)
			upper[TCP_FLAGS] |= c->tcp_flags & TCP_CWR;
		if (left == size)
			upper[TCP_FLAGS] |= c->tcp_flags & (TCP_FIN | TCP_PSH);
	}
	c->segments++;
	c->at += size;
	s->frame = (struct slice){ p, c->header + size };
	return true;
}
