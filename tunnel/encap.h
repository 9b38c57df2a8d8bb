/* The datagram of the userspace path: 16 bytes before one Ethernet frame, over UDP, port 6783.
 *
 *    0                   1                   2                   3
 *    0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
 *   +-------+-------+---------------+---------------+---------------+
 *   |version| type  |     flags     |   hop limit   |   reserved    |
 *   +-------+-------+---------------+---------------+---------------+
 *   |                 source peer (48 bits)                         |
 *   |                               +-------------------------------+
 *   |                               |     destination peer          |
 *   +-------------------------------+           (48 bits)           |
 *   |                                                               |
 *   +---------------------------------------------------------------+
 *   |     Ethernet frame from the destination MAC on, without FCS … |
 *
 * version 1. type 1: the frame in the clear (a later type carries it sealed). flags: zero in type 1; a receiver refuses others, for they would
 * change what the rest means. hop limit: hosts that may still pass it on; only a host that passes on looks at it. reserved: sent as
 * zero, not looked at. */
#ifndef WEFT_TUNNEL_ENCAP_H
#define WEFT_TUNNEL_ENCAP_H

#include <stdint.h>

#include "base/buf.h"
#include "tunnel/fwd.h"

enum {
	ENCAP_AT_VERSION = 0,
	ENCAP_AT_FLAGS = 1,
	ENCAP_AT_HOPS = 2,
	ENCAP_AT_RESERVED = 3,
	ENCAP_AT_SOURCE = 4,
	ENCAP_AT_DESTINATION = 10,
	ENCAP_HEAD = 16
};
#define ENCAP_VERSION 1u
#define ENCAP_CLEAR   1u /* type */
#define ENCAP_HOPS    8u /* hop limit of a new datagram */
/* What an underlay packet carries beside the containers' IP packet: Ethernet, this header, UDP, IPv4 (IPv6: 20 more). */
#define ENCAP_OVERHEAD 58u

struct encap_head {
	uint8_t type, flags, hops;
	uint64_t src, dst; /* peers */
};
/* Writes a header of this version. */
void encap_write(uint8_t out[ENCAP_HEAD], const struct encap_head *h);
/* Reads one; *frame is what follows. FWD_PASSED, FWD_BAD_HEADER, FWD_BAD_VERSION. Without effect on failure. */
enum fwd_drop encap_read(struct slice datagram, struct encap_head *h, struct slice *frame);

#endif
