/* The sessions of a peer, which of them is present, and the INITs that make more. See tunnel.c. */
#include "tunnel/internal.h"

#include <assert.h>
#include <sodium.h>
#include <string.h>

static const char label[] = "weft tunnel 2";

struct peer *tunnel_find(const struct tunnel *t, uint64_t name)
{
	struct peer *p = map_get64(t->peers, name);

	return p && !p->gone ? p : NULL;
}

struct session *tunnel_present(struct peer *p)
{
	return p->present == NONE ? NULL : &p->s[p->present];
}

struct session *tunnel_unconfirmed(struct peer *p)
{
	for (size_t i = 0; i < TUNNEL_SESSIONS_MAX; i++)
		if (p->s[i].keys && !p->s[i].confirmed)
			return &p->s[i];
	return NULL;
}

struct session *tunnel_session_of(struct peer *p, uint32_t index)
{
	for (size_t i = 0; i < TUNNEL_SESSIONS_MAX; i++)
		if (p->s[i].keys && seal_index(p->s[i].keys) == index)
			return &p->s[i];
	return NULL;
}

uint64_t tunnel_reject_ms(const struct tunnel *t, const struct session *s)
{
	return s->made_ms + t->rekey_ms + t->rekey_ms / 2;
}

void tunnel_end_session(struct tunnel *t, struct peer *p, struct session *s)
{
	if (!s->keys)
		return;
	if (s == tunnel_present(p))
		p->present = NONE;
	map_del64(t->index, seal_index(s->keys));
	seal_keys_unref(s->keys);
	*s = (struct session){ 0 };
	p->owed = true;
}

/* Ends the attempt; its index goes on to be a session's when `keep`. */
void tunnel_end_attempt(struct tunnel *t, struct peer *p, bool keep)
{
	if (!p->attempt)
		return;
	if (!keep)
		map_del64(t->index, p->attempt->index);
	noise_wipe(&p->attempt->hs);
	mem_free(p->attempt);
	p->attempt = NULL;
}

void tunnel_end_all(struct tunnel *t, struct peer *p)
{
	for (size_t i = 0; i < TUNNEL_SESSIONS_MAX; i++)
		tunnel_end_session(t, p, &p->s[i]);
	tunnel_end_attempt(t, p, false);
	sodium_memzero(p->cookie, sizeof p->cookie);
	p->want_until_ms = p->retry_ms = p->poll_ms = p->cookie_until_ms = p->last_run = p->last_number = 0;
	p->peer_uses = 0;
	p->tries = 0;
	p->psk = 0;
	p->noted = p->cookie_resent = p->unheard = false;
}

/* A place for one more. Of several unconfirmed ones only the last can come to anything (what an initiator has, its INITs name), so a new one takes
 * the other's place. Else a free place, or that of the oldest which neither end sends with. */
static struct session *make_place(struct tunnel *t, struct peer *p, bool confirmed)
{
	struct session *s = confirmed ? NULL : tunnel_unconfirmed(p), *old = NULL;

	for (size_t i = 0; !s && i < TUNNEL_SESSIONS_MAX; i++) {
		struct session *at = &p->s[i];

		if (!at->keys)
			s = at;
		else if (at != tunnel_present(p) && seal_index(at->keys) != p->peer_uses && (!old || at->made_ms < old->made_ms))
			old = at;
	}
	s = s ? s : old;
	tunnel_end_session(t, p, s);
	return s;
}

enum err tunnel_add_session(struct tunnel *t, struct peer *p, const struct noise_handshake *hs, const struct outcome *o,
	uint64_t now_ms, struct session **out)
{
	struct noise_cipher tx, rx;
	struct seal_keys *keys = NULL;
	struct session *s;
	enum err e;

	noise_split(hs, &tx, &rx);
	e = seal_keys_new(&keys,
		&(struct seal_keys_cfg){ .peer = p->name,
			.our_index = o->our_index,
			.their_index = o->their_index,
			.aead = o->aead,
			.tx = tx.key,
			.rx = rx.key });
	noise_cipher_wipe(&tx);
	noise_cipher_wipe(&rx);
	if (e != ERR_OK)
		return e;
	s = make_place(t, p, o->initiator);
	*s = (struct session){ .keys = keys,
		.their_index = o->their_index,
		.made_ms = o->made_ms,
		.run = o->run,
		.due_ms = o->made_ms + t->rekey_ms,
		.initiator = o->initiator,
		.confirmed = o->initiator };
	if (!o->initiator)
		s->due_ms += t->rekey_ms / 12 + tunnel_fresh_below(t, t->rekey_ms / 24 + 1);
	p->poll_ms = now_ms + CONFIRM_POLL_MS;
	p->owed = true;
	*out = s;
	return ERR_OK;
}

/* s is a session that both ends are known to have. */
void tunnel_established(struct tunnel *t, struct peer *p, struct session *s, bool take_over)
{
	t->counters.done++;
	if (p->present != NONE)
		t->counters.renewed++;
	if (take_over || p->present == NONE)
		p->present = (int)(s - p->s);
	tunnel_end_attempt(t, p, false);
	p->tries = 0;
	p->retry_ms = 0;
	p->noted = false;
	p->owed = true;
}

/* Has the peer, when it began s, forgotten what we send with now? It had answered our INIT, and had nothing to send with later. */
static bool forgotten(const struct session *now, const struct session *s)
{
	return s->peer_forgot || (s->peer_had_none && now->initiator && now->run == s->run && s->init_number > now->peer_number);
}

/* Whether s, which the peer began, is to be sent with rather than the present one. The peer decides by the same rule. */
static bool takes_over(const struct tunnel *t, struct peer *p, const struct session *s)
{
	const struct session *now = tunnel_present(p);
	uint64_t cross_ms = t->rekey_ms / 4 < CROSS_MS ? t->rekey_ms / 4 : CROSS_MS;

	if (!now || now->run < s->run || forgotten(now, s)) /* a peer that was started anew has nothing else */
		return true;
	if (s->made_ms >= now->made_ms + cross_ms)
		return true;
	if (now->made_ms >= s->made_ms + cross_ms)
		return false;
	return now->initiator ? t->self > p->name : s->made_ms >= now->made_ms;
}

void tunnel_confirmed(struct tunnel *t, struct peer *p, struct session *s, uint64_t now_ms)
{
	s->confirmed = true;
	p->peer_uses = seal_index(s->keys);
	/* What confirms it may have been long on its way, or long unread: then the peer may have it no more. */
	if (now_ms < tunnel_reject_ms(t, s))
		tunnel_established(t, p, s, takes_over(t, p, s));
}

/* ---- beginning */

uint32_t tunnel_fresh_index(struct tunnel *t)
{
	uint32_t index;

	do
		tunnel_fresh(t, &index, sizeof index);
	while (index == 0 || map_get64(t->index, index));
	return index;
}

enum err tunnel_start_noise(struct tunnel *t, struct noise_handshake *hs, const uint8_t *rs, struct slice head)
{
	uint8_t e_sk[NOISE_KEY], mem[sizeof label + HANDSHAKE_INIT_HEAD];
	struct wbuf prologue;
	enum err e;

	wbuf_fixed(&prologue, mem, sizeof mem);
	wbuf_bytes(&prologue, label, strlen(label));
	wbuf_bytes(&prologue, head.p, head.n);
	tunnel_fresh(t, e_sk, sizeof e_sk);
	e = noise_init(hs,
		&(struct noise_config){ .pattern = NOISE_IKPSK2,
			.aead = NOISE_CHACHAPOLY,
			.initiator = rs != NULL,
			.prologue = wbuf_slice(&prologue),
			.s_sk = t->secret,
			.s_pk = t->public,
			.e_sk = e_sk,
			.rs = rs });
	sodium_memzero(e_sk, sizeof e_sk);
	return e;
}

/* What we send with, or have sent with last: something of it may still be on its way. 0: nothing. */
static uint32_t last_used(struct peer *p)
{
	const struct session *s = tunnel_present(p);

	for (size_t i = 0; p->present == NONE && i < TUNNEL_SESSIONS_MAX; i++)
		if (p->s[i].keys && p->s[i].confirmed && (!s || p->s[i].made_ms > s->made_ms))
			s = &p->s[i];
	return s ? s->their_index : 0;
}

static enum err write_init(struct tunnel *t, struct peer *p, struct attempt *a, uint64_t now_ms, struct wbuf *w)
{
	uint8_t mem[64];
	struct wbuf payload;
	enum err e;

	handshake_head(w, WIRE_INIT, a->index, 0);
	e = tunnel_start_noise(t, &a->hs, p->key, wbuf_slice(w));
	if (e != ERR_OK)
		return e;
	wbuf_fixed(&payload, mem, sizeof mem);
	handshake_offer_write(&payload,
		&(struct handshake_offer){
			.name = t->self, .run = t->run, .number = ++t->number, .using = last_used(p), .ciphers = t->ciphers });
	e = noise_write(&a->hs, wbuf_slice(&payload), w);
	if (e == ERR_OK)
		handshake_macs(w, &p->macs, now_ms < p->cookie_until_ms ? p->cookie : NULL, a->mac1);
	return e;
}

static uint64_t backoff_ms(struct tunnel *t, unsigned tries)
{
	uint64_t ms = TUNNEL_RETRY_MS;

	for (unsigned i = 1; i < tries && ms < RETRY_MAX_MS; i++)
		ms *= 2;
	ms = ms < RETRY_MAX_MS ? ms : RETRY_MAX_MS;
	return ms * 3 / 4 + tunnel_fresh_below(t, ms / 2);
}

/* Sends an INIT in place of what was sent before. ERR_NOMEM: it will be tried soon. */
enum err tunnel_begin(struct tunnel *t, struct peer *p, uint64_t now_ms, struct tunnel_actions *out)
{
	uint8_t mem[TUNNEL_HANDSHAKE_MAX];
	struct attempt *a;
	struct wbuf w;
	enum err e;

	tunnel_end_attempt(t, p, false);
	p->retry_ms = now_ms + AGAIN_MS;
	a = mem_zalloc(1, sizeof *a);
	if (!a)
		return ERR_NOMEM;
	a->index = tunnel_fresh_index(t);
	a->sent_ms = now_ms;
	if (map_put64(t->index, a->index, p, NULL) != ERR_OK) {
		mem_free(a);
		return ERR_NOMEM;
	}
	p->attempt = a;
	wbuf_fixed(&w, mem, sizeof mem);
	e = write_init(t, p, a, now_ms, &w);
	if (e == ERR_OK && !tunnel_send(out, &(struct tunnel_action){ .peer = p->name }, &w)) {
		tunnel_end_attempt(t, p, false);
		return ERR_NOMEM;
	}
	t->counters.begun++;
	p->retry_ms = now_ms + backoff_ms(t, ++p->tries);
	/* With a key that is no point of the curve there is nothing to be done but to wait for another. */
	if (e != ERR_OK)
		tunnel_end_attempt(t, p, false);
	return ERR_OK;
}
