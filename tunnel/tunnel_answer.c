/* What handshake datagrams of others lead to: the checks in their order, answers, cookies. See tunnel.c. */
#include "tunnel/internal.h"

#include <assert.h>
#include <sodium.h>
#include <string.h>

/* Where a message came from. */
struct origin {
	struct hostport from;
	uint64_t src; /* PEER_NONE: straight */
	uint64_t now_ms;
};

void tunnel_limits(struct tunnel *t, uint32_t inits_per_s)
{
	uint64_t rate = inits_per_s > 0 ? inits_per_s : INITS_PER_S, share = rate / SLOT_SHARE > 0 ? rate / SLOT_SHARE : 1;

	bucket_init(&t->unproven, rate, rate, 0);
	bucket_init(&t->proven, rate, rate, 0);
	bucket_init(&t->responses, rate, rate, 0);
	for (size_t i = 0; i < SLOTS; i++)
		bucket_init(&t->slot[i], share, share, 0);
}

/* ---- cookies */

static void renew_cookie_secret(struct tunnel *t, uint64_t now_ms)
{
	uint64_t age_ms = now_ms - t->cookie_secret_ms;

	if (t->cookie_secret_ms > 0 && age_ms < COOKIE_SECRET_MS)
		return;
	/* Cookies of the former one are good for as long again, so that none is refused right after it was given out. */
	memcpy(t->cookie_secret[1], t->cookie_secret[0], 32);
	tunnel_fresh(t, t->cookie_secret[0], 32);
	if (t->cookie_secret_ms == 0 || age_ms >= 2 * COOKIE_SECRET_MS)
		tunnel_fresh(t, t->cookie_secret[1], 32);
	t->cookie_secret_ms = now_ms > 0 ? now_ms : 1;
}

/* A bucket for what comes from there: shared by all ports of an address and all addresses of an IPv6 subnet, for those cost a sender nothing.
 * Which addresses share one changes with the secret. */
static struct bucket *slot_of(struct tunnel *t, const struct origin *o)
{
	struct hostport whole = { .ip = o->from.ip };
	uint8_t hash[HANDSHAKE_COOKIE];

	if (whole.ip.family == 6)
		memset(whole.ip.b + 8, 0, 8);
	handshake_cookie(hash, t->cookie_secret[0], whole, o->src);
	return &t->slot[hash[0]];
}

static void send_cookie(struct tunnel *t, const struct handshake *h, const struct origin *o, struct tunnel_actions *out)
{
	uint8_t mem[HANDSHAKE_COOKIE_BYTES], nonce[HANDSHAKE_NONCE], cookie[HANDSHAKE_COOKIE];
	struct wbuf w;

	tunnel_fresh(t, nonce, sizeof nonce);
	handshake_cookie(cookie, t->cookie_secret[0], o->from, o->src);
	wbuf_fixed(&w, mem, sizeof mem);
	handshake_cookie_write(&w, h, &t->macs, nonce, cookie);
	/* Without memory it is not sent: the other end asks again. */
	if (tunnel_send(out, &(struct tunnel_action){ .peer = o->src, .to = o->from, .relayed = o->src != PEER_NONE }, &w))
		t->counters.cookies_sent++;
}

static bool cookie_proven(const struct tunnel *t, const struct handshake *h, const struct origin *o)
{
	for (size_t i = 0; i < 2; i++) {
		uint8_t cookie[HANDSHAKE_COOKIE];

		handshake_cookie(cookie, t->cookie_secret[i], o->from, o->src);
		if (handshake_mac2_ok(h, cookie))
			return true;
	}
	return false;
}

/* Whether a message is worth a curve multiplication now. Without a cookie as long as tokens last; with one, its address's share of as many again. */
static enum fwd_drop gate(
	struct tunnel *t, const struct handshake *h, const struct origin *o, struct bucket *unproven, struct tunnel_actions *out)
{
	renew_cookie_secret(t, o->now_ms);
	if (handshake_mac2_empty(h)) {
		if (bucket_take(unproven, o->now_ms))
			return FWD_PASSED;
		send_cookie(t, h, o, out);
		return FWD_FLOODED;
	}
	if (!cookie_proven(t, h, o)) { /* altered; or of an address or a run of ours that is past */
		send_cookie(t, h, o, out);
		return FWD_BAD_TAG;
	}
	if (!bucket_take(slot_of(t, o), o->now_ms) || !bucket_take(&t->proven, o->now_ms))
		return FWD_FLOODED;
	t->counters.cookies_used++;
	return FWD_PASSED;
}

static enum fwd_drop take_cookie(struct tunnel *t, const struct handshake *h, const struct origin *o, struct tunnel_actions *out)
{
	struct peer *p = map_get64(t->index, h->receiver);
	struct attempt *a = p && p->attempt && p->attempt->index == h->receiver ? p->attempt : NULL;
	const struct session *s = p && !a ? tunnel_session_of(p, h->receiver) : NULL;
	const uint8_t *mac1 = a ? a->mac1 : s && !s->initiator ? s->mac1 : NULL;
	uint8_t cookie[HANDSHAKE_COOKIE];

	if (!mac1)
		return FWD_REPLAYED;
	if (!handshake_cookie_open(h, &p->macs, mac1, cookie))
		return FWD_BAD_TAG;
	memcpy(p->cookie, cookie, sizeof cookie);
	p->cookie_until_ms = o->now_ms + COOKIE_USE_MS;
	/* At once, but only once: a responder that keeps asking is asked again when it is time. */
	if (a && !p->cookie_resent) {
		p->cookie_resent = true;
		(void)tunnel_begin(t, p, o->now_ms, out); /* without memory: soon */
		(void)tunnel_settle(t, p, o->now_ms, out);
	}
	return FWD_PASSED;
}

/* ---- INIT */

static enum fwd_drop identify(struct tunnel *t, const struct noise_handshake *hs, const struct handshake_offer *offer,
	const struct origin *o, struct peer **out)
{
	struct peer *p = tunnel_find(t, offer->name);

	if (!p || sodium_memcmp(p->key, noise_remote(hs), NOISE_KEY) != 0 || (o->src != PEER_NONE && o->src != p->name))
		return FWD_STRANGER;
	if (offer->run < p->last_run || (offer->run == p->last_run && offer->number <= p->last_number))
		return FWD_REPLAYED;
	if (!(offer->ciphers & CIPHER_CHACHAPOLY))
		return FWD_BAD_HEADER;
	if (!bucket_take(&p->inits, o->now_ms))
		return FWD_FLOODED;
	p->last_run = offer->run;
	p->last_number = offer->number;
	*out = p;
	return FWD_PASSED;
}

/* Is the peer known to have had the session that we send with, when it began this one? Else the two may have crossed. */
static bool had_present(struct peer *p)
{
	struct session *s = tunnel_present(p);

	if (s && seal_take_received(s->keys)) {
		s->silent_ms = 0;
		p->unheard = false;
		p->peer_uses = seal_index(s->keys);
	}
	return s && p->peer_uses == seal_index(s->keys);
}

/* Writes the RESPONSE and makes the session. ERR_NOMEM, ERR_MALFORMED (keys on which no secret can be agreed). */
static enum err respond(struct tunnel *t, struct peer *p, struct noise_handshake *hs, const struct handshake *h,
	const struct handshake_offer *offer, const struct origin *o, struct tunnel_actions *out)
{
	uint8_t cipher = offer->ciphers & t->ciphers & CIPHER_AESGCM ? CIPHER_AESGCM : CIPHER_CHACHAPOLY;
	uint8_t mem[TUNNEL_HANDSHAKE_MAX], payload_mem[64], mac1[HANDSHAKE_MAC];
	uint32_t index = tunnel_fresh_index(t);
	struct outcome done = { .our_index = index,
		.their_index = h->sender,
		.aead = cipher == CIPHER_AESGCM ? NOISE_AESGCM : NOISE_CHACHAPOLY,
		.made_ms = o->now_ms,
		.run = offer->run };
	struct wbuf w, payload;
	struct session *s;
	enum err e;

	wbuf_fixed(&w, mem, sizeof mem);
	wbuf_fixed(&payload, payload_mem, sizeof payload_mem);
	handshake_head(&w, WIRE_RESPONSE, index, h->sender);
	handshake_choice_write(
		&payload, &(struct handshake_choice){ .run = t->run, .sender = index, .cipher = cipher, .number = t->number });
	noise_set_psk(hs, t->psk[p->psk]);
	e = noise_write(hs, wbuf_slice(&payload), &w);
	if (e != ERR_OK)
		return e;
	handshake_macs(&w, &p->macs, o->now_ms < p->cookie_until_ms ? p->cookie : NULL, mac1);
	if (map_put64(t->index, index, p, NULL) != ERR_OK)
		return ERR_NOMEM;
	if (tunnel_add_session(t, p, hs, &done, o->now_ms, &s) != ERR_OK) {
		map_del64(t->index, index);
		return ERR_NOMEM;
	}
	memcpy(s->mac1, mac1, sizeof mac1);
	s->init_number = offer->number;
	s->peer_had_none = offer->using == 0;
	s->peer_forgot = s->peer_had_none && had_present(p);
	/* Not sent is as good as lost. */
	return tunnel_send(out, &(struct tunnel_action){ .peer = p->name, .to = o->from, .relayed = o->src != PEER_NONE }, &w)
		? ERR_OK
		: ERR_NOMEM;
}

static enum fwd_drop take_init(
	struct tunnel *t, struct noise_handshake *hs, const struct handshake *h, const struct origin *o, struct tunnel_actions *out)
{
	uint8_t mem[TUNNEL_HANDSHAKE_MAX];
	struct handshake_offer offer;
	struct session *s;
	struct wbuf payload;
	enum fwd_drop d;
	struct peer *p;
	enum err e;

	wbuf_fixed(&payload, mem, sizeof mem);
	if (tunnel_start_noise(t, hs, NULL, h->head) != ERR_OK || noise_read(hs, h->noise, &payload) != ERR_OK)
		return FWD_BAD_TAG;
	if (!handshake_offer_read(wbuf_slice(&payload), &offer))
		return FWD_BAD_HEADER;
	d = identify(t, hs, &offer, o, &p);
	if (d != FWD_PASSED)
		return d;
	s = tunnel_session_of(p, offer.using);
	if (s) /* the place it has is not to be given away */
		p->peer_uses = offer.using;
	if (s && !s->confirmed)
		tunnel_confirmed(t, p, s, o->now_ms); /* it says that it has it */
	/* The last RESPONSE came to nothing: it was lost, or made with a pre-shared key that the peer has not. */
	if (tunnel_unconfirmed(p))
		p->psk = (p->psk + 1) % t->n_psk;
	e = respond(t, p, hs, h, &offer, o, out);
	(void)tunnel_settle(t, p, o->now_ms, out); /* what is owed is said by a tick */
	return e == ERR_OK ? FWD_PASSED : e == ERR_NOMEM ? FWD_SEND_FAILED : FWD_BAD_TAG;
}

/* ---- RESPONSE */

/* Which of the pre-shared keys the peer used is found out by trying. On success hs is finished. */
static bool read_choice(const struct tunnel *t, struct peer *p, const struct handshake *h, struct noise_handshake *hs,
	struct handshake_choice *choice)
{
	uint8_t mem[TUNNEL_HANDSHAKE_MAX];

	for (size_t i = 0; i < t->n_psk; i++) {
		struct wbuf payload;

		wbuf_fixed(&payload, mem, sizeof mem);
		*hs = p->attempt->hs;
		noise_set_psk(hs, t->psk[i]);
		if (noise_read(hs, h->noise, &payload) == ERR_OK) {
			p->psk = i; /* the peer has it */
			return handshake_choice_read(wbuf_slice(&payload), choice);
		}
	}
	return false;
}

static void note_refused(struct peer *p, struct tunnel_actions *out)
{
	char name[PEER_TEXT];
	const char *text;

	if (p->noted)
		return;
	text = arena_printf(
		out->arena, "answer to a handshake with %s is not authentic: has it another password?", peer_format(p->name, name));
	if (text)
		p->noted = tunnel_act(out, &(struct tunnel_action){ .kind = TUNNEL_NOTE, .peer = p->name, .bytes = slice_str(text) });
}

static enum fwd_drop take_response(struct tunnel *t, struct peer *p, struct noise_handshake *hs, const struct handshake *h,
	const struct origin *o, struct tunnel_actions *out)
{
	struct handshake_choice choice;
	struct outcome done;
	struct session *s;

	if (!read_choice(t, p, h, hs, &choice)) {
		note_refused(p, out);
		return FWD_BAD_TAG;
	}
	if (choice.sender != h->sender)
		return FWD_BAD_TAG;
	if (choice.cipher != CIPHER_CHACHAPOLY && (choice.cipher != CIPHER_AESGCM || !(t->ciphers & CIPHER_AESGCM)))
		return FWD_BAD_HEADER;
	done = (struct outcome){ .our_index = h->receiver,
		.their_index = h->sender,
		.aead = choice.cipher == CIPHER_AESGCM ? NOISE_AESGCM : NOISE_CHACHAPOLY,
		.initiator = true,
		.made_ms = p->attempt->sent_ms,
		.run = choice.run };
	if (tunnel_add_session(t, p, hs, &done, o->now_ms, &s) != ERR_OK)
		return FWD_SEND_FAILED;
	s->peer_number = choice.number;
	tunnel_end_attempt(t, p, true);
	tunnel_established(t, p, s, true);
	(void)tunnel_settle(t, p, o->now_ms, out); /* what is owed is said by a tick */
	return FWD_PASSED;
}

/* ---- all */

static enum fwd_drop take(struct tunnel *t, const struct origin *o, struct slice bytes, struct tunnel_actions *out)
{
	struct noise_handshake hs = { 0 };
	struct peer *p = NULL;
	struct handshake h;
	enum fwd_drop d = handshake_read(bytes, &h);

	if (d != FWD_PASSED)
		return d;
	if (h.type == WIRE_COOKIE)
		return take_cookie(t, &h, o, out);
	if (!handshake_mac1_ok(&h, &t->macs))
		return FWD_BAD_TAG;
	if (h.type == WIRE_RESPONSE) {
		p = map_get64(t->index, h.receiver);
		if (!p || !p->attempt || p->attempt->index != h.receiver)
			return FWD_REPLAYED; /* or late: we have begun anew since */
		if (o->src != PEER_NONE && o->src != p->name)
			return FWD_STRANGER;
	}
	d = gate(t, &h, o, p ? &t->responses : &t->unproven, out);
	if (d == FWD_PASSED)
		d = p ? take_response(t, p, &hs, &h, o, out) : take_init(t, &hs, &h, o, out);
	noise_wipe(&hs);
	return d;
}

enum fwd_drop tunnel_datagram(
	struct tunnel *t, struct hostport from, uint64_t src, struct slice bytes, uint64_t now_ms, struct tunnel_actions *out)
{
	enum fwd_drop d = take(t, &(struct origin){ .from = from, .src = src, .now_ms = now_ms }, bytes, out);

	if (d != FWD_PASSED)
		t->counters.refused++;
	return d;
}
