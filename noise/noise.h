/* The Noise protocol framework (revision 34) over libsodium: the patterns weft speaks, and nothing else of it.
 *
 * Noise_{XX,XXpsk3,IK,IKpsk2}_25519_{ChaChaPoly,AESGCM}_BLAKE2b. Pure: the ephemeral key comes from the caller, who makes a
 * fresh one for each handshake. Both structs live where the caller puts them and hold secrets: end each with its *_wipe(). The
 * program has called sodium_init() before (AESGCM asks what the processor can do). */
#ifndef WEFT_GOSSIP_NOISE_H
#define WEFT_GOSSIP_NOISE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

#define NOISE_KEY         32 /* X25519 keys, pre-shared keys, cipher keys */
#define NOISE_HASH        64
#define NOISE_TAG         16
#define NOISE_MESSAGE_MAX 65535 /* section 3: no Noise message is longer */

enum noise_pattern {
	NOISE_XX,     /* nobody knows anybody: e / e ee s es / s se */
	NOISE_XXPSK3, /* the same, and the third message proves the pre-shared key */
	NOISE_IK,     /* the initiator knows the responder's static key: e es s ss / e ee se */
	NOISE_IKPSK2, /* the same, and the second message proves the pre-shared key */
};

enum noise_aead {
	NOISE_CHACHAPOLY,
	NOISE_AESGCM, /* only where the processor has the instructions */
};

/* One direction of a channel. Nonces count up from 0 and are implicit: both ends must see the same messages in the same order. */
struct noise_cipher {
	uint8_t key[NOISE_KEY];
	uint64_t nonce;
	enum noise_aead aead;
};

/* What seals n bytes into n + NOISE_TAG at dst, or opens n sealed bytes into n - NOISE_TAG at dst. dst is the start of src or
 * does not overlap it. ERR_LIMIT: nonces are used up (2^64 - 1 messages), for ever. noise_open: ERR_TRUNCATED when shorter
 * than a tag, ERR_AUTH when not authentic; nothing of the plaintext is given away then, and the nonce stays. */
enum err noise_seal(struct noise_cipher *c, struct slice ad, struct slice src, uint8_t *dst) MUST_CHECK;
enum err noise_open(struct noise_cipher *c, struct slice ad, struct slice src, uint8_t *dst) MUST_CHECK;
void noise_cipher_wipe(struct noise_cipher *c); /* takes NULL */

/* What a handshake starts from. Key pointers are to NOISE_KEY bytes and are copied. */
struct noise_config {
	enum noise_pattern pattern;
	enum noise_aead aead;
	bool initiator;
	struct slice prologue;      /* what both ends must have seen alike; may be empty */
	const uint8_t *s_sk, *s_pk; /* our static pair; they belong together */
	const uint8_t *e_sk;        /* fresh random bytes, never used twice */
	const uint8_t *rs;          /* the responder's static key: initiator of IK and IKpsk2 only, else NULL */
	const uint8_t *psk;         /* psk patterns; NULL when noise_set_psk() gives it later */
};

/* Open for embedding; only noise.c looks inside. May be copied by assignment to try a message twice; wipe every copy. */
struct noise_handshake {
	uint8_t ck[NOISE_HASH], h[NOISE_HASH];
	struct noise_cipher cipher;
	uint8_t s_sk[NOISE_KEY], s_pk[NOISE_KEY], e_sk[NOISE_KEY], e_pk[NOISE_KEY];
	uint8_t rs[NOISE_KEY], re[NOISE_KEY], psk[NOISE_KEY];
	enum noise_pattern pattern;
	uint8_t message; /* the next one, from 0 */
	bool initiator, has_key, has_rs, has_psk, failed;
};

/* True when this machine can run that cipher. */
bool noise_supported(enum noise_aead aead);

/* ERR_UNSUPPORTED: not that cipher on this processor. ERR_MALFORMED: e_sk is unusable. On an error hs is wiped. */
enum err noise_init(struct noise_handshake *hs, const struct noise_config *cfg) MUST_CHECK;
/* Gives or replaces the pre-shared key, any time before the message that mixes it in. */
void noise_set_psk(struct noise_handshake *hs, const uint8_t psk[NOISE_KEY]);

/* Appends the next message (it must be our turn) with that payload. ERR_LIMIT: longer than NOISE_MESSAGE_MAX, or than out may
 * be; ERR_NOMEM; ERR_MALFORMED: a key of the other end is of small order. After any error the handshake is dead: every call
 * gives ERR_STATE. */
enum err noise_write(struct noise_handshake *hs, struct slice payload, struct wbuf *out) MUST_CHECK;
/* Reads the next message (it must be theirs) and appends its payload, which is nothing on an error. ERR_AUTH: not authentic;
 * ERR_TRUNCATED, ERR_LIMIT, ERR_MALFORMED, ERR_NOMEM and what follows an error as above. */
enum err noise_read(struct noise_handshake *hs, struct slice msg, struct wbuf *payload) MUST_CHECK;

bool noise_our_turn(const struct noise_handshake *hs); /* the next message is ours to write */
bool noise_finished(const struct noise_handshake *hs); /* all messages done */
/* The other end's static key; NULL while unknown. It is proven only when the message that carries it was read without an
 * error. */
const uint8_t *noise_remote(const struct noise_handshake *hs);
/* When finished: the ciphers for what we send and receive, and the hash that names this very handshake (NOISE_HASH bytes, not
 * secret). */
void noise_split(const struct noise_handshake *hs, struct noise_cipher *tx, struct noise_cipher *rx);
const uint8_t *noise_hash(const struct noise_handshake *hs);
void noise_wipe(struct noise_handshake *hs); /* takes NULL */

#endif
