/* Keys of one session and what they do to datagrams: one AEAD a datagram, in place or from one buffer into another.
 *
 * A seal_keys is made by a finished handshake (tunnel/tunnel.h), shared by reference between the control thread and the data threads, and
 * wiped by whoever gives back the last reference. Only what is marked _Atomic or guarded inside changes after it was made. Sending: each
 * queue has its own counter, so that two threads never use one nonce; a queue is one thread's at a time. Receiving: each queue of the
 * sender has its own replay window of SEAL_WINDOW datagrams (RFC 6479), checked and moved only after the tag was right.
 * AES-256-GCM where both ends have the instructions, else ChaCha20-Poly1305 (IETF), both libsodium. */
#ifndef WEFT_TUNNEL_SEAL_H
#define WEFT_TUNNEL_SEAL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "noise/noise.h"
#include "tunnel/wire.h"

enum {
	SEAL_QUEUES = 17, /* 0 … 15: data threads; SEAL_QUEUE_CONTROL: the control thread's, for WIRE_CONTROL */
	SEAL_QUEUE_CONTROL = 16,
	SEAL_WINDOW = 4096, /* datagrams: what is late by as many is still taken. 12 KiB a session, windows of all queues */
	SEAL_OVERHEAD = WIRE_HEAD + WIRE_TAG
};
#define SEAL_COUNTER_MAX ((UINT64_C(1) << 56) - 1)

struct seal_keys;
struct seal_keys_cfg {
	uint64_t peer;
	uint32_t our_index, their_index; /* in what we receive; in what we send */
	enum noise_aead aead;
	const uint8_t *tx, *rx; /* 32 bytes each; copied */
};
/* One reference. ERR_NOMEM. */
enum err seal_keys_new(struct seal_keys **out, const struct seal_keys_cfg *cfg) MUST_CHECK;
struct seal_keys *seal_keys_ref(struct seal_keys *k); /* gives k; takes NULL */
void seal_keys_unref(struct seal_keys *k);            /* takes NULL */
uint64_t seal_peer(const struct seal_keys *k);
uint32_t seal_index(const struct seal_keys *k); /* our_index */
enum noise_aead seal_aead(const struct seal_keys *k);
/* Datagrams sent on all queues; and whether anything authentic was received, or sent, since the last call of seal_take_… (these are
 * the tunnel's: it looks at them to renew and confirm sessions, and nobody else may take them) */
uint64_t seal_sent(const struct seal_keys *k);
bool seal_take_sent(struct seal_keys *k);
bool seal_take_received(struct seal_keys *k);

/* Writes header, sealed payload and tag to out (payload.n + SEAL_OVERHEAD bytes); out + WIRE_HEAD is payload.p, or they do not overlap. Gives the
 * number of bytes, 0 when the queue's counter is used up: a new session is needed. */
size_t seal_datagram(struct seal_keys *k, unsigned queue, uint8_t flags, uint16_t net, struct slice payload, uint8_t *out);
/* datagram: whole, of type SEALED, for this session (head.index was looked up). Opens into out (datagram.n - SEAL_OVERHEAD bytes; may be
 * the sealed bytes' own place). FWD_PASSED; FWD_BAD_TAG; FWD_REPLAYED (counter seen before, or older than the window). Nothing of the
 * plaintext is to be used otherwise. Several threads may call it for one session. */
enum fwd_drop seal_open(struct seal_keys *k, const struct wire_head *head, struct slice datagram, uint8_t *out);

#endif
