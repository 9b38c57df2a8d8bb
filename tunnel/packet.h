/* Fields of Ethernet, IP, TCP, UDP and ICMP headers, for the files of this folder that see every frame.
 *
 * These read at offsets whose bounds the caller has checked for the whole header at once, where base/buf.h would check each field: at
 * hundreds of thousands of frames a second that is what a frame costs. Nothing here is cast, and alignment does not matter. */
#ifndef WEFT_TUNNEL_PACKET_H
#define WEFT_TUNNEL_PACKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

enum {
	ETH_HEAD = 14,
	ETH_TYPE = 12,
	ETH_TAG = 4,
	ETH_TAGS_MAX = 2, /* looked behind; more is refused */
	TYPE_IP4 = 0x0800,
	TYPE_ARP = 0x0806,
	TYPE_IP6 = 0x86dd,
	TYPE_VLAN = 0x8100,
	TYPE_QINQ = 0x88a8,
};
enum { PROTO_ICMP = 1, PROTO_TCP = 6, PROTO_UDP = 17, PROTO_ICMP6 = 58, PROTO_SCTP = 132 };
/* Offsets in an IPv4 header. */
enum {
	IP4_HEAD = 20,
	IP4_TOS = 1,
	IP4_LENGTH = 2,
	IP4_ID = 4,
	IP4_FRAGMENT = 6,
	IP4_TTL = 8,
	IP4_PROTO = 9,
	IP4_SUM = 10,
	IP4_SRC = 12,
	IP4_DST = 16,
	IP4_DF = 0x4000,
	IP4_MORE = 0x2000,
	IP4_OFFSET = 0x1fff,
};
enum { IP6_HEAD = 40, IP6_LENGTH = 4, IP6_NEXT = 6, IP6_HOPS = 7, IP6_SRC = 8, IP6_DST = 24, IP6_EXTENSIONS_MAX = 8 };
enum {
	TCP_HEAD = 20,
	TCP_SEQ = 4,
	TCP_ACK_SEQ = 8,
	TCP_SIZE = 12,
	TCP_FLAGS = 13,
	TCP_WINDOW = 14,
	TCP_SUM = 16,
	TCP_FIN = 0x01,
	TCP_PSH = 0x08,
	TCP_ACK = 0x10,
	TCP_ECE = 0x40,
	TCP_CWR = 0x80,
};
enum { UDP_HEAD = 8, UDP_LENGTH = 4, UDP_SUM = 6 };

static inline uint16_t get16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static inline uint32_t get32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static inline uint64_t get64(const uint8_t *p)
{
	return (uint64_t)get32(p) << 32 | get32(p + 4);
}

static inline void put16(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static inline void put32(uint8_t *p, uint32_t v)
{
	put16(p, v >> 16);
	put16(p + 2, v);
}

/* Where what is behind the Ethernet header and its tags begins, and its EtherType. 0: cut short, or more tags. */
static inline uint32_t packet_ether(struct slice frame, uint16_t *type)
{
	uint32_t at = ETH_HEAD;
	if (frame.n < at)
		return 0;
	*type = get16(frame.p + ETH_TYPE);
	for (unsigned tags = 0; *type == TYPE_VLAN || *type == TYPE_QINQ; tags++) {
		at += ETH_TAG;
		if (tags == ETH_TAGS_MAX || frame.n < at)
			return 0;
		*type = get16(frame.p + at - 2);
	}
	return at;
}

/* ---- Internet checksums (RFC 1071). A sum is of 16-bit words, folded into 16 bits and not complemented. */
static inline uint16_t packet_fold(uint32_t sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

/* A sum in which a 16-bit word `from` has become `to` (RFC 1624). */
static inline uint16_t packet_changed(uint16_t sum, uint32_t from, uint32_t to)
{
	return packet_fold((uint32_t)sum + (~from & 0xffff) + (to & 0xffff));
}

/* start plus the words of n bytes; an odd last one counts as if a zero followed. */
uint16_t packet_sum(const uint8_t *p, size_t n, uint32_t start);
/* Writes the checksum of an IPv4 header of `size` bytes, whose lengths were checked. */
void packet_ip4_sum(uint8_t *ip, size_t size);

/* ---- IPv6 */
struct packet_upper {
	uint32_t at;     /* what follows the extension headers; of a fragment but the first: what follows the fragment header */
	uint32_t offset; /* bytes of the whole packet's before this fragment */
	uint8_t proto;   /* the number of an extension header where there were more than IP6_EXTENSIONS_MAX */
	bool fragment;
};
/* Walks the extension headers of a packet that begins at `ip` in the frame and ends at `end`; its own header is whole. false: cut short. */
bool packet_upper(const uint8_t *frame, uint32_t ip, uint32_t end, struct packet_upper *out);

#endif
