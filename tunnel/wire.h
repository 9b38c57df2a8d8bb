/* Datagrams of the userspace path: 16 bytes, then what they carry. UDP, port 6783, version 2. Numbers are in network order.
 *
 *    0                   1                   2                   3
 *    0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
 *   +-------+-------+---------------+-------------------------------+
 *   |version| type  |     flags     |           network             |   CLEAR (1): payload as it is
 *   +-------+-------+---------------+-------------------------------+
 *   |                 source peer (48 bits)                         |
 *   |                               +-------------------------------+
 *   |                               |  destination peer (48 bits)   |
 *   +-------------------------------+                               |
 *   +---------------------------------------------------------------+
 *
 *   +-------+-------+---------------+-------------------------------+
 *   |version| type  |     flags     |           network             |   SEALED (2): payload sealed, 16 bytes of tag behind it; these
 *   +-------+-------+---------------+-------------------------------+   16 bytes are its additional data
 *   |            the receiver's name for the session                |
 *   +---------------+-----------------------------------------------+
 *   | sender's queue|      number of the datagram in its queue      |   the nonce: 4 zero bytes and these 8
 *   +---------------+                                               |
 *   +---------------------------------------------------------------+
 *
 *   +-------+-------+---------------+-------------------------------+
 *   |version| type  |   hop limit   |           reserved            |   RELAYED (3): another whole datagram, of any type but CLEAR and
 *   +-------+-------+---------------+-------------------------------+   RELAYED, on its way over other hosts
 *   |                 source, destination as in CLEAR               |
 *
 *   INIT (4), RESPONSE (5), COOKIE (6): handshakes, see tunnel/tunnel.h.
 *
 * Payload of CLEAR and SEALED, by flags: an Ethernet frame from the destination MAC on, without FCS; or FRAGMENT: 8 bytes (tunnel/frag.h) and a
 * piece of one; or CONTROL: a probe (tunnel/probe.h), on network 0. PARTIAL: the TCP or UDP checksum in the frame covers
 * the pseudo header alone and its receiver (a kernel) completes it, as with CHECKSUM_PARTIAL. Unknown flags are refused, since they
 * would change what the rest means. */
#ifndef WEFT_TUNNEL_WIRE_H
#define WEFT_TUNNEL_WIRE_H

#include <stdint.h>

#include "base/buf.h"
#include "tunnel/fwd.h"

enum { WIRE_HEAD = 16, WIRE_TAG = 16, WIRE_VERSION = 2, WIRE_HOPS = 8, WIRE_INNER_ETHERNET = 14 };
enum wire_type { WIRE_CLEAR = 1, WIRE_SEALED = 2, WIRE_RELAYED = 3, WIRE_INIT = 4, WIRE_RESPONSE = 5, WIRE_COOKIE = 6 };
enum wire_flag { WIRE_PARTIAL = 1, WIRE_FRAGMENT = 2, WIRE_CONTROL = 4, WIRE_FLAGS_KNOWN = 7 };

/* What the underlay's packet has around the payload: IP (the rest is UDP). */
enum { WIRE_IP4_UDP = 28, WIRE_IP6_UDP = 48 };

/* The first byte of a datagram that is ours; WIRE_TYPE of anything else is 0. */
static inline uint8_t wire_type(struct slice datagram)
{
	return datagram.n >= WIRE_HEAD && datagram.p[0] >> 4 == WIRE_VERSION ? datagram.p[0] & 15 : 0;
}

struct wire_head {
	uint8_t type, flags; /* RELAYED: flags is the hop limit */
	uint16_t net;
	uint64_t src, dst; /* CLEAR, RELAYED: peers */
	uint32_t index;    /* SEALED */
	uint64_t counter;  /* SEALED: queue in the top byte */
};
/* Writes the header of a CLEAR, SEALED or RELAYED datagram. */
void wire_write(uint8_t out[WIRE_HEAD], const struct wire_head *h);
/* Reads one of those types; *payload is what follows (of SEALED: sealed bytes and tag). FWD_PASSED, FWD_BAD_HEADER (too short, unknown type,
 * unknown flags), FWD_BAD_VERSION. Without effect on failure. */
enum fwd_drop wire_read(struct slice datagram, struct wire_head *h, struct slice *payload);

#endif
