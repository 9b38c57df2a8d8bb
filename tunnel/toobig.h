/* What a host answers when a packet is larger than its path: ICMP "fragmentation needed" (RFC 792, RFC 1191), ICMPv6 "packet too big" (RFC 4443). Pure. */
#ifndef WEFT_TUNNEL_TOOBIG_H
#define WEFT_TUNNEL_TOOBIG_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

#define TOOBIG_MAX (14u + 8u + 1280u) /* bytes of the longest answer */
/* The frame to write back to where `frame` came from, as if its destination had sent it: MACs and addresses swapped, VLAN tags kept, next-hop MTU `mtu`
 * (of an IP packet). What was too large is quoted as far as the answer may be long: 576 bytes in IPv4 (RFC 1812 section 4.3.2.3), 1280 in IPv6. Gives its
 * length; 0: none is to be sent (not IP, a group or unspecified address, an ICMP error itself, a fragment but the first, IPv4
 * without DF). mtu below 1280 in IPv6 is told as 1280: the sender will not go below, so such frames are to be fragmented (frag.h). In IPv4
 * less than 68 is told as 68 (RFC 791). */
size_t toobig_frame(struct slice frame, uint32_t mtu, uint8_t out[TOOBIG_MAX]);

#endif
