/* Sessions between this host and others: who has which keys, when they are renewed, and the handshakes that make them. Pure.
 *
 * Noise_IKpsk2_25519_ChaChaPoly_BLAKE2b between the static keys that `peers` publishes, pre-shared key as on control links. One round trip:
 *
 *   initiator  INIT      ──▶  header, sender's index, Noise message 1 {name, run, number, session, ciphers}, mac1, mac2
 *              ◀──  RESPONSE  header, both indexes,   Noise message 2 {cipher}, mac1, mac2
 *              CONTROL   ──▶  any sealed datagram: the responder sends with the new keys from then on
 *              ◀──  COOKIE    instead of RESPONSE from a responder with too many INITs: "prove your address", then INIT again with mac2
 *
 * mac1 (keyed by the responder's public key) is what a stranger cannot make without knowing whom he talks to, and is checked before anything
 * dear; mac2 is keyed by the cookie. No state is kept for an INIT that is not authentic. {run, number} only ever grows for one peer, so an INIT
 * that was recorded is refused.
 *
 * A session is renewed by its initiator after TUNNEL_REKEY_MS or TUNNEL_REKEY_DATAGRAMS when it is in use (sent with), by its responder a
 * little later if that did not happen; it is no longer used after TUNNEL_REJECT_MS. The former session's keys go on opening what is
 * under way. A session nobody uses ends without a word and is made anew on demand; one that we send with while nothing comes back is
 * made anew after TUNNEL_SILENT_MS, for the other end may have lost it. Exact forms: docs/wire.md.
 *
 * tunnel_* calls happen in the control thread. What the data threads need is the seal_keys. Fresh random bytes come from a generator of
 * its own (ChaCha20, key erased after each use) seeded by the caller. */
#ifndef WEFT_TUNNEL_TUNNEL_H
#define WEFT_TUNNEL_TUNNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"
#include "tunnel/seal.h"

enum {
	TUNNEL_REKEY_MS = 120000,
	TUNNEL_REJECT_MS = 180000,
	TUNNEL_SILENT_MS = 15000,   /* like REJECT a part of the time of renewal: an eighth */
	TUNNEL_RETRY_MS = 1000,     /* a lost INIT; jittered, doubling to 2 s while it is wanted */
	TUNNEL_WANT_MS = 10000,     /* so long a want lasts without being renewed */
	TUNNEL_HANDSHAKE_MAX = 512, /* bytes of any handshake datagram */
	TUNNEL_SESSIONS_MAX = 4 /* of one peer: present, one not yet confirmed, and former ones (two after both ends began at once) */
};
#define TUNNEL_REKEY_DATAGRAMS (UINT64_C(1) << 40)

struct tunnel_cfg {
	uint64_t self;
	uint64_t run;                       /* incarnation: grows at each start */
	uint8_t secret[32];                 /* our static X25519 key */
	uint8_t psk[2][32];                 /* answers to us are tried with all; ours use [0], and when that led nowhere the other */
	size_t n_psk;                       /* 0: all zeros */
	uint8_t random[32];                 /* seeds the generator: secret and fresh */
	bool aes;                           /* this processor has AES-256-GCM (noise_supported) */
	uint64_t rekey_ms, rekey_datagrams; /* 0: as above; tests set them */
	uint32_t inits_per_s;               /* more than that from all together: cookies are asked for. 0: 100 */
};

struct tunnel;
enum err tunnel_new(struct tunnel **out, const struct tunnel_cfg *cfg) MUST_CHECK;
void tunnel_free(struct tunnel *t); /* takes NULL; wipes secrets */

struct tunnel_action {
	enum { TUNNEL_SEND, TUNNEL_KEYS, TUNNEL_NOTE } kind;
	uint64_t peer; /* SEND: for whom; KEYS: whose sessions came, went or took over; PEER_NONE for a COOKIE to an unknown sender */
	struct slice bytes; /* SEND: a handshake datagram; NOTE: text */
	struct hostport to; /* SEND: where the message came from that this answers; family 0: wherever the peer is reached now */
	bool relayed;       /* SEND: answers what came over relays */
};
struct tunnel_actions {
	struct arena *arena;
	struct tunnel_action *v;
	size_t n, cap;
};
void tunnel_actions_init(struct tunnel_actions *a, struct arena *arena);

/* A peer and the key it publishes; another key than before ends its sessions. */
enum err tunnel_peer(struct tunnel *t, uint64_t peer, const uint8_t key[32], struct tunnel_actions *out) MUST_CHECK;
void tunnel_forget(struct tunnel *t, uint64_t peer, struct tunnel_actions *out);
/* There is something to send to it: begins a handshake if there is no session that may be used, and repeats it for TUNNEL_WANT_MS. */
enum err tunnel_want(struct tunnel *t, uint64_t peer, uint64_t now_ms, struct tunnel_actions *out) MUST_CHECK;
/* An INIT, RESPONSE or COOKIE. from: underlay sender; relayed: it came in a RELAYED datagram, of `src` (else PEER_NONE). The result tells the
 * counters why it was dropped: FWD_PASSED, FWD_BAD_HEADER, FWD_BAD_TAG, FWD_STRANGER (no known peer's key), FWD_REPLAYED, FWD_FLOODED
 * (a cookie was asked for, or too many even of those who have one), FWD_SEND_FAILED (no memory for an answer: it will be asked for again). */
enum fwd_drop tunnel_datagram(
	struct tunnel *t, struct hostport from, uint64_t src, struct slice bytes, uint64_t now_ms, struct tunnel_actions *out);
/* Renewals, repeats, ends. */
enum err tunnel_tick(struct tunnel *t, uint64_t now_ms, struct tunnel_actions *out) MUST_CHECK;
uint64_t tunnel_deadline_ms(const struct tunnel *t); /* UINT64_MAX: never */
/* Something authentic came in the session with our index `index`: if it was not confirmed yet it is now. */
void tunnel_confirm(struct tunnel *t, uint32_t index, uint64_t now_ms, struct tunnel_actions *out);

/* What to send with; NULL: no session. The reference stays the tunnel's: valid until the next call that is not const. */
struct seal_keys *tunnel_tx(const struct tunnel *t, uint64_t peer);
/* By our index; NULL: none. */
struct seal_keys *tunnel_rx(const struct tunnel *t, uint32_t index);
/* All sessions that open what comes, in no order; *it starts at 0; NULL at the end. */
struct seal_keys *tunnel_next(const struct tunnel *t, size_t *it);
/* For status: when the present session was made; false: none. */
bool tunnel_since(const struct tunnel *t, uint64_t peer, uint64_t *since_ms);

struct tunnel_counters {
	uint64_t begun, done, renewed, refused, cookies_sent, cookies_used, expired;
};
const struct tunnel_counters *tunnel_counters(const struct tunnel *t);

#endif
