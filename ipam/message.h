/* Messages between the ipam layers of two hosts (docs/wire.md). One table says which fields each type has; fields follow in this order:
 *
 *   u8 type, u32 first, u8 len                the universe, in every message
 *   RANGE   u32 first address, u32 last address
 *   SERIAL  u64                               of the question, echoed in the answer
 *   REASON  u8                                enum deny_reason
 *   TEXT    lv, at most IPAM_TEXT_MAX         printable: the holder, for people
 *   PRINT   u64 a, u64 b, varint count        fingerprint of the sender's tokens in the range (in the answer: with the asker's merged)
 *   ITEMS   varint n, n ring items            (crdt_item_encode), of this universe, well-formed tokens
 *   HELD    varint n, n x u32                 addresses, ascending
 *   EPOCH   varint                            of the membership (epoch.h); in RING_STATE plus one, 0: none
 *   STATE   lv, at most EPOCH_STATE_MAX       an encoded epoch
 *
 * A message of another universe decodes; whoever gets it says so and ignores it. */
#ifndef WEFT_IPAM_MESSAGE_H
#define WEFT_IPAM_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/buf.h"
#include "base/err.h"
#include "crdt/map.h"
#include "crdt/ring.h"
#include "ipam/epoch.h"

#define IPAM_ITEMS_MAX   480  /* ring items in a message: with their proofs and IPAM_HELD_MAX addresses it fits into a payload */
#define IPAM_HELD_MAX    2048 /* addresses in a message */
#define IPAM_TEXT_MAX    192
#define IPAM_PAYLOAD_MAX 65536

enum ipam_message_type {   /* on the wire; never re-used */
	MSG_SPACE_REQUEST = 1, /* give me space in this range; one address: exactly that one */
	MSG_SPACE_GRANT = 2,   /* this range is yours; the tokens that say so */
	MSG_SPACE_DENIED = 3,
	MSG_RING_REQUEST = 4, /* what do you know of this range? here is what I say is mine in it */
	MSG_RING_STATE = 5,
	MSG_HANDOVER = 6, /* I leave; these are yours now */
	MSG_HANDOVER_ACK = 7,
	MSG_ELECT = 8,          /* please agree on the first division */
	MSG_LEASE_ACK = 9,      /* your declaration of this serial is on our disk; by whom is a matter of the epoch */
	MSG_EPOCH_REQUEST = 10, /* tell me the present epoch; ours is this */
	MSG_EPOCH_STATE = 11,
	MSG_TYPES
};

enum deny_reason { /* on the wire; never re-used */
	DENY_FULL = 1,
	DENY_IN_USE = 2,    /* text says by whom */
	DENY_NOT_OWNER = 3, /* the asker's ring is older than ours, or ours than his */
	DENY_NOT_NOW = 4,   /* recovering, contested or leaving */
	DENY_REASONS
};

struct ipam_message {
	enum ipam_message_type type;
	struct universe u;
	struct range4 range;
	uint64_t serial;
	enum deny_reason reason;
	struct slice text;
	struct fingerprint print;
	uint64_t epoch;
	struct slice state;
	size_t n_items, n_held;
	struct slice items, held; /* encoded, checked; walk with a reader and crdt_item_decode, rbuf_u32 */
};
const char *ipam_message_name(enum ipam_message_type t);
void ipam_message_encode(struct wbuf *w, const struct ipam_message *m);
/* Slices point into the payload. ERR_TRUNCATED, ERR_MALFORMED, ERR_LIMIT. */
enum err ipam_message_decode(struct slice payload, struct ipam_message *m) MUST_CHECK;

#endif
