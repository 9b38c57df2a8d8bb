#include "tunnel/handshake.h"

#include <assert.h>
#include <sodium.h>
#include <string.h>

#include "tunnel/tunnel.h"
#include "tunnel/wire.h"

enum {
	MACS = 2 * HANDSHAKE_MAC,
	OFFER = 6 + 8 + 8 + 4 + 1,
	CHOICE = 8 + 4 + 1,
	INIT_MIN = HANDSHAKE_INIT_HEAD + NOISE_KEY + NOISE_KEY + NOISE_TAG + OFFER + NOISE_TAG + MACS,
	RESPONSE_MIN = HANDSHAKE_RESPONSE_HEAD + NOISE_KEY + CHOICE + NOISE_TAG + MACS,
};

static_assert(INIT_MIN == 163 && RESPONSE_MIN == 105 && HANDSHAKE_COOKIE_BYTES == 64, "as docs/wire.md has it");
static_assert(
	RESPONSE_MIN < INIT_MIN && (int)HANDSHAKE_COOKIE_BYTES < (int)RESPONSE_MIN, "an answer is never longer than what caused it");
static_assert(HANDSHAKE_NONCE == crypto_aead_xchacha20poly1305_ietf_NPUBBYTES, "nonces of cookies");
static_assert(NOISE_TAG == crypto_aead_xchacha20poly1305_ietf_ABYTES, "tags of cookies");

static void mac(uint8_t out[HANDSHAKE_MAC], struct slice key, struct slice over)
{
	crypto_generichash(out, HANDSHAKE_MAC, over.p, over.n, key.p, key.n);
}

static bool read_macs(struct handshake *h, struct slice bytes)
{
	struct rbuf r;

	rbuf_init(&r, bytes.p, bytes.n);
	h->head = rbuf_bytes(&r, h->type == WIRE_INIT ? HANDSHAKE_INIT_HEAD : HANDSHAKE_RESPONSE_HEAD);
	h->noise = rbuf_bytes(&r, bytes.n - h->head.n - MACS);
	h->mac1_over = slice_of(bytes.p, bytes.n - MACS);
	h->mac1 = rbuf_bytes(&r, HANDSHAKE_MAC);
	h->mac2_over = slice_of(bytes.p, bytes.n - HANDSHAKE_MAC);
	h->mac2 = rbuf_bytes(&r, HANDSHAKE_MAC);
	return rbuf_end(&r) == ERR_OK;
}

enum fwd_drop handshake_read(struct slice bytes, struct handshake *h)
{
	struct rbuf r;
	uint8_t first, reserved;

	*h = (struct handshake){ 0 };
	if (bytes.n < WIRE_HEAD)
		return FWD_BAD_HEADER;
	rbuf_init(&r, bytes.p, bytes.n);
	first = rbuf_u8(&r);
	if (first >> 4 != WIRE_VERSION)
		return FWD_BAD_VERSION;
	h->type = first & 15;
	reserved = rbuf_u8(&r);
	if (reserved != 0 || rbuf_u16(&r) != 0 || bytes.n > TUNNEL_HANDSHAKE_MAX)
		return FWD_BAD_HEADER;
	switch (h->type) {
	case WIRE_INIT: h->sender = rbuf_u32(&r); return bytes.n >= INIT_MIN && read_macs(h, bytes) ? FWD_PASSED : FWD_BAD_HEADER;
	case WIRE_RESPONSE:
		h->sender = rbuf_u32(&r);
		h->receiver = rbuf_u32(&r);
		return bytes.n >= RESPONSE_MIN && read_macs(h, bytes) ? FWD_PASSED : FWD_BAD_HEADER;
	case WIRE_COOKIE:
		h->receiver = rbuf_u32(&r);
		h->nonce = rbuf_bytes(&r, HANDSHAKE_NONCE);
		h->noise = rbuf_bytes(&r, HANDSHAKE_COOKIE + NOISE_TAG);
		return rbuf_end(&r) == ERR_OK ? FWD_PASSED : FWD_BAD_HEADER;
	default: return FWD_BAD_HEADER;
	}
}

void handshake_head(struct wbuf *w, uint8_t type, uint32_t sender, uint32_t receiver)
{
	wbuf_u32(w, (uint32_t)(WIRE_VERSION << 4 | type) << 24);
	wbuf_u32(w, sender);
	if (type == WIRE_RESPONSE)
		wbuf_u32(w, receiver);
}

static void derive(uint8_t out[32], const char *label, const uint8_t pk[NOISE_KEY])
{
	crypto_generichash_state st;

	crypto_generichash_init(&st, NULL, 0, 32);
	crypto_generichash_update(&st, (const uint8_t *)label, strlen(label));
	crypto_generichash_update(&st, pk, NOISE_KEY);
	crypto_generichash_final(&st, out, 32);
}

void handshake_keys_of(struct handshake_keys *k, const uint8_t pk[NOISE_KEY])
{
	derive(k->mac1, "weft mac1", pk);
	derive(k->cookie, "weft cookie", pk);
}

void handshake_macs(struct wbuf *w, const struct handshake_keys *to, const uint8_t *cookie, uint8_t mac1[HANDSHAKE_MAC])
{
	uint8_t mac2[HANDSHAKE_MAC] = { 0 };

	mac(mac1, slice_of(to->mac1, sizeof to->mac1), wbuf_slice(w));
	wbuf_bytes(w, mac1, HANDSHAKE_MAC);
	if (cookie)
		mac(mac2, slice_of(cookie, HANDSHAKE_COOKIE), wbuf_slice(w));
	wbuf_bytes(w, mac2, sizeof mac2);
}

bool handshake_mac1_ok(const struct handshake *h, const struct handshake_keys *self)
{
	uint8_t want[HANDSHAKE_MAC];

	mac(want, slice_of(self->mac1, sizeof self->mac1), h->mac1_over);
	return sodium_memcmp(want, h->mac1.p, sizeof want) == 0;
}

bool handshake_mac2_empty(const struct handshake *h)
{
	return sodium_is_zero(h->mac2.p, h->mac2.n) != 0;
}

bool handshake_mac2_ok(const struct handshake *h, const uint8_t cookie[HANDSHAKE_COOKIE])
{
	uint8_t want[HANDSHAKE_MAC];

	mac(want, slice_of(cookie, HANDSHAKE_COOKIE), h->mac2_over);
	return sodium_memcmp(want, h->mac2.p, sizeof want) == 0;
}

void handshake_cookie(uint8_t out[HANDSHAKE_COOKIE], const uint8_t secret[32], struct hostport from, uint64_t src)
{
	uint8_t mem[32];
	struct wbuf w;

	wbuf_fixed(&w, mem, sizeof mem);
	wbuf_u8(&w, src != PEER_NONE);
	if (src != PEER_NONE) {
		wbuf_u48(&w, src);
	} else {
		wbuf_ip(&w, from.ip);
		wbuf_u16(&w, from.port);
	}
	assert(!w.failed);
	mac(out, slice_of(secret, 32), wbuf_slice(&w));
}

void handshake_cookie_write(struct wbuf *w, const struct handshake *h, const struct handshake_keys *self,
	const uint8_t nonce[HANDSHAKE_NONCE], const uint8_t cookie[HANDSHAKE_COOKIE])
{
	uint8_t *sealed;

	wbuf_u32(w, (uint32_t)(WIRE_VERSION << 4 | WIRE_COOKIE) << 24);
	wbuf_u32(w, h->sender);
	wbuf_bytes(w, nonce, HANDSHAKE_NONCE);
	sealed = wbuf_reserve(w, HANDSHAKE_COOKIE + NOISE_TAG);
	if (sealed)
		crypto_aead_xchacha20poly1305_ietf_encrypt(
			sealed, NULL, cookie, HANDSHAKE_COOKIE, h->mac1.p, HANDSHAKE_MAC, NULL, nonce, self->cookie);
}

bool handshake_cookie_open(const struct handshake *h, const struct handshake_keys *from, const uint8_t mac1[HANDSHAKE_MAC],
	uint8_t out[HANDSHAKE_COOKIE])
{
	return crypto_aead_xchacha20poly1305_ietf_decrypt(
			   out, NULL, NULL, h->noise.p, h->noise.n, mac1, HANDSHAKE_MAC, h->nonce.p, from->cookie) == 0;
}

void handshake_offer_write(struct wbuf *w, const struct handshake_offer *o)
{
	wbuf_u48(w, o->name);
	wbuf_u64(w, o->run);
	wbuf_u64(w, o->number);
	wbuf_u32(w, o->using);
	wbuf_u8(w, o->ciphers);
}

bool handshake_offer_read(struct slice bytes, struct handshake_offer *o)
{
	struct rbuf r;

	rbuf_init(&r, bytes.p, bytes.n);
	o->name = rbuf_u48(&r);
	o->run = rbuf_u64(&r);
	o->number = rbuf_u64(&r);
	o->using = rbuf_u32(&r);
	o->ciphers = rbuf_u8(&r);
	return rbuf_ok(&r);
}

void handshake_choice_write(struct wbuf *w, const struct handshake_choice *c)
{
	wbuf_u64(w, c->run);
	wbuf_u32(w, c->sender);
	wbuf_u8(w, c->cipher);
	wbuf_u64(w, c->number);
}

bool handshake_choice_read(struct slice bytes, struct handshake_choice *c)
{
	struct rbuf r;

	rbuf_init(&r, bytes.p, bytes.n);
	c->run = rbuf_u64(&r);
	c->sender = rbuf_u32(&r);
	c->cipher = rbuf_u8(&r);
	c->number = rbuf_left(&r) >= 8 ? rbuf_u64(&r) : UINT64_MAX;
	return rbuf_ok(&r);
}
