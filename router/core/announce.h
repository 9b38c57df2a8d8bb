/* Frames in which an address says of itself, to all, where it is: what makes a neighbour that asks or has asked before take it at once. */
#ifndef WEFT_ROUTER_CORE_ANNOUNCE_H
#define WEFT_ROUTER_CORE_ANNOUNCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"

#define ANNOUNCE_MAX 86u /* bytes of the longest such frame */

/* IPv4: an ARP announcement (RFC 5227 section 2.3); IPv6: an unsolicited neighbour advertisement (RFC 4861 section 7.2.6). Gives the frame's
 * length, from the destination MAC on and without FCS. Asserts that addr has a family. */
size_t announce_frame(struct mac mac, struct ip addr, uint8_t out[ANNOUNCE_MAX]);

/* Whether a host may speak for the address: one single interface can have it, and it is not the one every host has for itself. */
bool announce_may(struct ip addr);

#endif
