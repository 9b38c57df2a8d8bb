/* Probes: what shows that a path works, at which size. They travel as the payload of a CONTROL datagram on the userspace path, and as Ethernet frames of
 * type PROBE_ETHERTYPE between the bridges' own MACs over the kernel's VXLAN. Pure.
 *
 *   u8 1   u8 kind   u8 path   u8 flags (zero)   u32 id   u48 source   u48 destination   u16 length   u16 answer   u32 zero    zeros up to length
 *
 * length: of this probe with its padding, from the first byte; a probe cut short is no probe. answer: how long the answer is to be (0: as short as it
 * gets). kind 1: please answer; 2: the answer, same path, id and its own length. */
#ifndef WEFT_TUNNEL_PROBE_H
#define WEFT_TUNNEL_PROBE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"

enum { PROBE_HEAD = 28, PROBE_ETHERTYPE = 0x88b5 /* IEEE 802 local experimental 1 */, PROBE_REQUEST = 1, PROBE_ANSWER = 2 };
struct probe {
	uint8_t kind, path;
	uint32_t id;
	uint64_t src, dst;
	uint16_t length, answer;
};
/* Writes p->length bytes (at least PROBE_HEAD). */
void probe_write(struct wbuf *w, const struct probe *p);
bool probe_read(struct slice bytes, struct probe *out); /* false: not one, or cut short */

#endif
