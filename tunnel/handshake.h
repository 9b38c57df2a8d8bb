/* Handshake datagrams as bytes: their forms, their macs, cookies. No state; tunnel.c says what they mean. Forms: docs/wire.md. */
#ifndef WEFT_TUNNEL_HANDSHAKE_H
#define WEFT_TUNNEL_HANDSHAKE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/buf.h"
#include "noise/noise.h"
#include "tunnel/fwd.h"

enum {
	HANDSHAKE_MAC = 16,
	HANDSHAKE_COOKIE = 16,
	HANDSHAKE_NONCE = 24,
	HANDSHAKE_INIT_HEAD = 8,      /* version and type, 3 zeros, sender's index: also the prologue of the Noise handshake */
	HANDSHAKE_RESPONSE_HEAD = 12, /* the same, then the receiver's index */
	HANDSHAKE_COOKIE_BYTES = 8 + HANDSHAKE_NONCE + HANDSHAKE_COOKIE + NOISE_TAG,
};

struct handshake {
	uint8_t type;
	uint32_t sender, receiver; /* INIT has no receiver, COOKIE no sender */
	struct slice head;         /* INIT, RESPONSE: all before the Noise message */
	struct slice noise;        /* INIT, RESPONSE; of COOKIE the sealed cookie */
	struct slice mac1_over, mac1, mac2_over, mac2;
	struct slice nonce; /* COOKIE */
};
/* FWD_PASSED, FWD_BAD_VERSION, FWD_BAD_HEADER (no handshake, wrong length, reserved bytes set). Slices point into bytes. */
enum fwd_drop handshake_read(struct slice bytes, struct handshake *h);
/* The head of an INIT or RESPONSE. */
void handshake_head(struct wbuf *w, uint8_t type, uint32_t sender, uint32_t receiver);

/* What only those can make, or read, who know a host's public key: keys of mac1 and of the seal around cookies. */
struct handshake_keys {
	uint8_t mac1[32], cookie[32];
};
void handshake_keys_of(struct handshake_keys *k, const uint8_t pk[NOISE_KEY]);
/* Ends an INIT or RESPONSE for the host with those keys; cookie: one that it gave us, or NULL. mac1 is kept for its COOKIE. */
void handshake_macs(struct wbuf *w, const struct handshake_keys *to, const uint8_t *cookie, uint8_t mac1[HANDSHAKE_MAC]);
bool handshake_mac1_ok(const struct handshake *h, const struct handshake_keys *self);
bool handshake_mac2_empty(const struct handshake *h);
bool handshake_mac2_ok(const struct handshake *h, const uint8_t cookie[HANDSHAKE_COOKIE]);

/* The cookie of a sender: of its underlay address and port, or (src not PEER_NONE) of its name when it came over relays. */
void handshake_cookie(uint8_t out[HANDSHAKE_COOKIE], const uint8_t secret[32], struct hostport from, uint64_t src);
/* A COOKIE that answers h. */
void handshake_cookie_write(struct wbuf *w, const struct handshake *h, const struct handshake_keys *self,
	const uint8_t nonce[HANDSHAKE_NONCE], const uint8_t cookie[HANDSHAKE_COOKIE]);
/* mac1: of what we sent and it answers. */
bool handshake_cookie_open(const struct handshake *h, const struct handshake_keys *from, const uint8_t mac1[HANDSHAKE_MAC],
	uint8_t out[HANDSHAKE_COOKIE]);

/* Payloads of the Noise messages. What stands behind the known fields is skipped. */
enum { CIPHER_CHACHAPOLY = 1, CIPHER_AESGCM = 2 }; /* bits of `ciphers` */
struct handshake_offer {                           /* of message 1 */
	uint64_t name, run, number;
	uint32_t using; /* the receiver's index of the session that the sender sends with, or did last; 0: none */
	uint8_t ciphers;
};
struct handshake_choice { /* of message 2 */
	uint64_t run;
	uint32_t sender; /* as in the header, which nothing else proves */
	uint8_t cipher;
	uint64_t number; /* of the responder's last INIT to anybody: a later one knows of this RESPONSE. UINT64_MAX: not said */
};
void handshake_offer_write(struct wbuf *w, const struct handshake_offer *o);
bool handshake_offer_read(struct slice bytes, struct handshake_offer *o);
void handshake_choice_write(struct wbuf *w, const struct handshake_choice *c);
bool handshake_choice_read(struct slice bytes, struct handshake_choice *c);

#endif
