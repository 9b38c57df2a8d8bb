/* Theory of operation
 *
 * A Noise handshake is a sequence of messages, each a sequence of tokens. Three things are threaded through all tokens: the
 * chaining key ck, into which every shared secret is mixed; the hash h, which covers everything sent so far and is the
 * associated data of every encryption; and, once there is a secret, the cipher key that encrypts static keys and payloads. The
 * patterns are rows of tokens in one table; writing and reading walk the same row. Section numbers are those of the Noise
 * specification, revision 34. */
#include "noise/noise.h"

#include <assert.h>
#include <sodium.h>
#include <string.h>

enum token { T_END, T_E, T_S, T_EE, T_ES, T_SE, T_SS, T_PSK };
enum { MESSAGES_MAX = 3, TOKENS_MAX = 6, HMAC_BLOCK = 128, NONCE = 12 };

/* Sections 7 and 9. The initiator writes the first message, then they take turns. */
static const struct pattern {
	const char *name;
	bool knows_rs; /* pre-message "<- s" */
	bool psk;
	uint8_t messages;
	enum token token[MESSAGES_MAX][TOKENS_MAX];
} patterns[] = {
	[NOISE_XX] = { "XX", false, false, 3, { { T_E }, { T_E, T_EE, T_S, T_ES }, { T_S, T_SE } } },
	[NOISE_XXPSK3] = { "XXpsk3", false, true, 3, { { T_E }, { T_E, T_EE, T_S, T_ES }, { T_S, T_SE, T_PSK } } },
	[NOISE_IK] = { "IK", true, false, 2, { { T_E, T_ES, T_S, T_SS }, { T_E, T_EE, T_SE } } },
	[NOISE_IKPSK2] = { "IKpsk2", true, true, 2, { { T_E, T_ES, T_S, T_SS }, { T_E, T_EE, T_SE, T_PSK } } },
};

static const char *const aead_names[] = { [NOISE_CHACHAPOLY] = "ChaChaPoly", [NOISE_AESGCM] = "AESGCM" };

static_assert(NOISE_HASH == crypto_generichash_BYTES_MAX, "BLAKE2b at its full length");
static_assert(NOISE_KEY == crypto_scalarmult_BYTES && NOISE_KEY == crypto_scalarmult_SCALARBYTES, "X25519");
static_assert(
	NOISE_KEY == crypto_aead_chacha20poly1305_ietf_KEYBYTES && NOISE_KEY == crypto_aead_aes256gcm_KEYBYTES, "cipher keys");
static_assert(NOISE_TAG == crypto_aead_chacha20poly1305_ietf_ABYTES && NOISE_TAG == crypto_aead_aes256gcm_ABYTES, "tags");
static_assert(NONCE == crypto_aead_chacha20poly1305_ietf_NPUBBYTES && NONCE == crypto_aead_aes256gcm_NPUBBYTES, "nonces");

/* Hash functions (sections 4.3 and 5.2) */

static void hash(uint8_t out[NOISE_HASH], struct slice a, struct slice b, struct slice c)
{
	crypto_generichash_state st;

	crypto_generichash_init(&st, NULL, 0, NOISE_HASH);
	crypto_generichash_update(&st, a.p, a.n);
	crypto_generichash_update(&st, b.p, b.n);
	crypto_generichash_update(&st, c.p, c.n);
	crypto_generichash_final(&st, out, NOISE_HASH);
	sodium_memzero(&st, sizeof st);
}

static void hmac(uint8_t out[NOISE_HASH], const uint8_t key[NOISE_HASH], struct slice a, struct slice b)
{
	uint8_t pad[HMAC_BLOCK] = { 0 }, inner[NOISE_HASH];

	memcpy(pad, key, NOISE_HASH);
	for (size_t i = 0; i < sizeof pad; i++)
		pad[i] = (uint8_t)(pad[i] ^ 0x36);
	hash(inner, slice_of(pad, sizeof pad), a, b);
	for (size_t i = 0; i < sizeof pad; i++)
		pad[i] = (uint8_t)(pad[i] ^ 0x36 ^ 0x5c);
	hash(out, slice_of(pad, sizeof pad), slice_of(inner, sizeof inner), slice_of(NULL, 0));
	sodium_memzero(pad, sizeof pad);
	sodium_memzero(inner, sizeof inner);
}

static void hkdf(uint8_t (*out)[NOISE_HASH], uint8_t n, const uint8_t ck[NOISE_HASH], struct slice ikm)
{
	uint8_t temp[NOISE_HASH];

	hmac(temp, ck, ikm, slice_of(NULL, 0));
	for (uint8_t i = 0; i < n; i++) {
		uint8_t count = (uint8_t)(i + 1);

		hmac(out[i], temp, i == 0 ? slice_of(NULL, 0) : slice_of(out[i - 1], NOISE_HASH), slice_of(&count, 1));
	}
	sodium_memzero(temp, sizeof temp);
}

/* Ciphers (section 5.1) */

/* Section 12: ChaChaPoly counts in little endian, AESGCM in big endian, both after four zero bytes. */
static void encode_nonce(uint8_t out[NONCE], const struct noise_cipher *c)
{
	memset(out, 0, NONCE);
	for (size_t i = 0; i < 8; i++)
		out[c->aead == NOISE_AESGCM ? NONCE - 1 - i : 4 + i] = (uint8_t)(c->nonce >> (8 * i));
}

bool noise_supported(enum noise_aead aead)
{
	return aead != NOISE_AESGCM || crypto_aead_aes256gcm_is_available() != 0;
}

enum err noise_seal(struct noise_cipher *c, struct slice ad, struct slice src, uint8_t *dst)
{
	uint8_t nonce[NONCE];

	if (c->nonce == UINT64_MAX)
		return ERR_LIMIT;
	encode_nonce(nonce, c);
	if (c->aead == NOISE_AESGCM)
		crypto_aead_aes256gcm_encrypt(dst, NULL, src.p, src.n, ad.p, ad.n, NULL, nonce, c->key);
	else
		crypto_aead_chacha20poly1305_ietf_encrypt(dst, NULL, src.p, src.n, ad.p, ad.n, NULL, nonce, c->key);
	c->nonce++;
	return ERR_OK;
}

enum err noise_open(struct noise_cipher *c, struct slice ad, struct slice src, uint8_t *dst)
{
	uint8_t nonce[NONCE];
	int bad;

	if (c->nonce == UINT64_MAX)
		return ERR_LIMIT;
	if (src.n < NOISE_TAG)
		return ERR_TRUNCATED;
	encode_nonce(nonce, c);
	if (c->aead == NOISE_AESGCM)
		bad = crypto_aead_aes256gcm_decrypt(dst, NULL, NULL, src.p, src.n, ad.p, ad.n, nonce, c->key);
	else
		bad = crypto_aead_chacha20poly1305_ietf_decrypt(dst, NULL, NULL, src.p, src.n, ad.p, ad.n, nonce, c->key);
	if (bad)
		return ERR_AUTH;
	c->nonce++;
	return ERR_OK;
}

void noise_cipher_wipe(struct noise_cipher *c)
{
	if (c)
		sodium_memzero(c, sizeof *c);
}

/* The symmetric state (section 5.2) */

static void mix_hash(struct noise_handshake *hs, struct slice data)
{
	hash(hs->h, slice_of(hs->h, NOISE_HASH), data, slice_of(NULL, 0));
}

static void set_key(struct noise_handshake *hs, const uint8_t key[NOISE_HASH])
{
	memcpy(hs->cipher.key, key, NOISE_KEY); /* a 64-byte hash gives its first half */
	hs->cipher.nonce = 0;
	hs->has_key = true;
}

static void mix_key(struct noise_handshake *hs, struct slice ikm)
{
	uint8_t out[2][NOISE_HASH];

	hkdf(out, 2, hs->ck, ikm);
	memcpy(hs->ck, out[0], NOISE_HASH);
	set_key(hs, out[1]);
	sodium_memzero(out, sizeof out);
}

static void mix_key_and_hash(struct noise_handshake *hs, struct slice ikm)
{
	uint8_t out[3][NOISE_HASH];

	hkdf(out, 3, hs->ck, ikm);
	memcpy(hs->ck, out[0], NOISE_HASH);
	mix_hash(hs, slice_of(out[1], NOISE_HASH));
	set_key(hs, out[2]);
	sodium_memzero(out, sizeof out);
}

static size_t tag_len(const struct noise_handshake *hs)
{
	return hs->has_key ? NOISE_TAG : 0;
}

static enum err encrypt_and_hash(struct noise_handshake *hs, struct slice plain, struct wbuf *out)
{
	size_t n = plain.n + tag_len(hs);
	uint8_t *dst;
	enum err e = ERR_OK;

	if (n == 0) {
		mix_hash(hs, plain);
		return ERR_OK;
	}
	dst = wbuf_reserve(out, n);
	if (!dst)
		return wbuf_end(out);
	if (hs->has_key)
		e = noise_seal(&hs->cipher, slice_of(hs->h, NOISE_HASH), plain, dst);
	else
		memcpy(dst, plain.p, plain.n);
	mix_hash(hs, slice_of(dst, n));
	return e;
}

/* dst has room for what is left when the tag is off. */
static enum err decrypt_and_hash(struct noise_handshake *hs, struct slice sealed, uint8_t *dst)
{
	enum err e = ERR_OK;

	if (hs->has_key)
		e = noise_open(&hs->cipher, slice_of(hs->h, NOISE_HASH), sealed, dst);
	else if (sealed.n > 0)
		memcpy(dst, sealed.p, sealed.n);
	mix_hash(hs, sealed);
	return e;
}

/* Tokens (section 5.3) */

static enum err mix_dh(struct noise_handshake *hs, enum token t)
{
	/* The first letter is the initiator's key, the second the responder's. */
	bool initiators_e = t == T_EE || t == T_ES, responders_e = t == T_EE || t == T_SE;
	const uint8_t *ours = (hs->initiator ? initiators_e : responders_e) ? hs->e_sk : hs->s_sk;
	const uint8_t *theirs = (hs->initiator ? responders_e : initiators_e) ? hs->re : hs->rs;
	uint8_t dh[NOISE_KEY];

	/* Refuses points of small order, with which anyone could predict the result (all zeros). */
	if (crypto_scalarmult(dh, ours, theirs) != 0)
		return ERR_MALFORMED;
	mix_key(hs, slice_of(dh, sizeof dh));
	sodium_memzero(dh, sizeof dh);
	return ERR_OK;
}

static void mix_ephemeral(struct noise_handshake *hs, const uint8_t e[NOISE_KEY])
{
	mix_hash(hs, slice_of(e, NOISE_KEY));
	if (patterns[hs->pattern].psk)
		mix_key(hs, slice_of(e, NOISE_KEY)); /* section 9.2: else a nonce could meet the same psk-only key twice */
}

static enum err mix_secret(struct noise_handshake *hs, enum token t)
{
	if (t != T_PSK)
		return mix_dh(hs, t);
	assert(hs->has_psk);
	mix_key_and_hash(hs, slice_of(hs->psk, NOISE_KEY));
	return ERR_OK;
}

static enum err write_token(struct noise_handshake *hs, enum token t, struct wbuf *out)
{
	if (t == T_E) {
		wbuf_bytes(out, hs->e_pk, NOISE_KEY);
		mix_ephemeral(hs, hs->e_pk);
		return wbuf_end(out);
	}
	if (t == T_S)
		return encrypt_and_hash(hs, slice_of(hs->s_pk, NOISE_KEY), out);
	return mix_secret(hs, t);
}

static enum err read_token(struct noise_handshake *hs, enum token t, struct rbuf *in)
{
	struct slice key;
	enum err e;

	if (t == T_E) {
		rbuf_copy(in, hs->re, NOISE_KEY);
		mix_ephemeral(hs, hs->re);
		return rbuf_ok(in) ? ERR_OK : ERR_TRUNCATED;
	}
	if (t == T_S) {
		key = rbuf_bytes(in, NOISE_KEY + tag_len(hs));
		if (!rbuf_ok(in))
			return ERR_TRUNCATED;
		e = decrypt_and_hash(hs, key, hs->rs);
		hs->has_rs = e == ERR_OK;
		return e;
	}
	return mix_secret(hs, t);
}

/* Messages */

enum err noise_init(struct noise_handshake *hs, const struct noise_config *cfg)
{
	const struct pattern *pt = &patterns[cfg->pattern];
	struct wbuf name;

	assert((cfg->rs != NULL) == (pt->knows_rs && cfg->initiator));
	assert(!cfg->psk || pt->psk);
	*hs = (struct noise_handshake){ .pattern = cfg->pattern, .initiator = cfg->initiator, .cipher.aead = cfg->aead };
	if (!noise_supported(cfg->aead))
		return ERR_UNSUPPORTED;

	/* A name no longer than the hash stands for itself, padded with zeros. */
	wbuf_fixed(&name, hs->h, NOISE_HASH);
	wbuf_bytes(&name, "Noise_", 6);
	wbuf_bytes(&name, pt->name, strlen(pt->name));
	wbuf_bytes(&name, "_25519_", 7);
	wbuf_bytes(&name, aead_names[cfg->aead], strlen(aead_names[cfg->aead]));
	wbuf_bytes(&name, "_BLAKE2b", 8);
	assert(!name.failed);
	memcpy(hs->ck, hs->h, NOISE_HASH);
	mix_hash(hs, cfg->prologue);

	memcpy(hs->s_sk, cfg->s_sk, NOISE_KEY);
	memcpy(hs->s_pk, cfg->s_pk, NOISE_KEY);
	memcpy(hs->e_sk, cfg->e_sk, NOISE_KEY);
	if (crypto_scalarmult_base(hs->e_pk, hs->e_sk) != 0) {
		noise_wipe(hs);
		return ERR_MALFORMED;
	}
	if (cfg->psk)
		noise_set_psk(hs, cfg->psk);
	if (cfg->rs) {
		memcpy(hs->rs, cfg->rs, NOISE_KEY);
		hs->has_rs = true;
	}
	if (pt->knows_rs)
		mix_hash(hs, slice_of(cfg->initiator ? hs->rs : hs->s_pk, NOISE_KEY));
	return ERR_OK;
}

void noise_set_psk(struct noise_handshake *hs, const uint8_t psk[NOISE_KEY])
{
	assert(patterns[hs->pattern].psk);
	memcpy(hs->psk, psk, NOISE_KEY);
	hs->has_psk = true;
}

enum err noise_write(struct noise_handshake *hs, struct slice payload, struct wbuf *out)
{
	const enum token *t;
	size_t start = out->len;
	enum err e = ERR_OK;

	if (hs->failed)
		return ERR_STATE;
	assert(noise_our_turn(hs));
	t = patterns[hs->pattern].token[hs->message];
	for (size_t i = 0; i < TOKENS_MAX && t[i] != T_END && e == ERR_OK; i++)
		e = write_token(hs, t[i], out);
	if (e == ERR_OK)
		e = payload.n > NOISE_MESSAGE_MAX ? ERR_LIMIT : encrypt_and_hash(hs, payload, out);
	if (e == ERR_OK && out->len - start > NOISE_MESSAGE_MAX)
		e = ERR_LIMIT;
	if (e != ERR_OK) {
		hs->failed = true;
		return e;
	}
	hs->message++;
	return ERR_OK;
}

static enum err read_message(struct noise_handshake *hs, struct slice msg, struct wbuf *payload)
{
	const enum token *t = patterns[hs->pattern].token[hs->message];
	struct slice sealed;
	struct rbuf in;
	uint8_t none[1], *dst = none;
	size_t start = payload->len, n;
	enum err e;

	if (msg.n > NOISE_MESSAGE_MAX)
		return ERR_LIMIT;
	rbuf_init(&in, msg.p, msg.n);
	for (size_t i = 0; i < TOKENS_MAX && t[i] != T_END; i++) {
		e = read_token(hs, t[i], &in);
		if (e != ERR_OK)
			return e;
	}
	if (rbuf_left(&in) < tag_len(hs))
		return ERR_TRUNCATED;
	n = rbuf_left(&in) - tag_len(hs);
	sealed = rbuf_bytes(&in, rbuf_left(&in));
	if (n > 0) {
		dst = wbuf_reserve(payload, n);
		if (!dst)
			return wbuf_end(payload);
	}
	e = decrypt_and_hash(hs, sealed, dst);
	if (e != ERR_OK)
		payload->len = start;
	return e;
}

enum err noise_read(struct noise_handshake *hs, struct slice msg, struct wbuf *payload)
{
	enum err e;

	if (hs->failed)
		return ERR_STATE;
	assert(!noise_finished(hs) && !noise_our_turn(hs));
	e = read_message(hs, msg, payload);
	if (e != ERR_OK) {
		hs->failed = true;
		return e;
	}
	hs->message++;
	return ERR_OK;
}

bool noise_finished(const struct noise_handshake *hs)
{
	return !hs->failed && hs->message == patterns[hs->pattern].messages;
}

bool noise_our_turn(const struct noise_handshake *hs)
{
	return !hs->failed && !noise_finished(hs) && (hs->message % 2 == 0) == hs->initiator;
}

const uint8_t *noise_remote(const struct noise_handshake *hs)
{
	return hs->has_rs ? hs->rs : NULL;
}

const uint8_t *noise_hash(const struct noise_handshake *hs)
{
	assert(noise_finished(hs));
	return hs->h;
}

void noise_split(const struct noise_handshake *hs, struct noise_cipher *tx, struct noise_cipher *rx)
{
	uint8_t out[2][NOISE_HASH];

	assert(noise_finished(hs));
	hkdf(out, 2, hs->ck, slice_of(NULL, 0));
	*tx = *rx = (struct noise_cipher){ .aead = hs->cipher.aead };
	memcpy(tx->key, out[hs->initiator ? 0 : 1], NOISE_KEY);
	memcpy(rx->key, out[hs->initiator ? 1 : 0], NOISE_KEY);
	sodium_memzero(out, sizeof out);
}

void noise_wipe(struct noise_handshake *hs)
{
	if (hs)
		sodium_memzero(hs, sizeof *hs);
}
