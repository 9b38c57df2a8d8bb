/* Theory of operation
 *
 * A peer has up to TUNNEL_SESSIONS_MAX sessions. One may be *present*: what we send with. All open what comes. A session that we began is
 * present as soon as the RESPONSE is there, since the responder has its keys by then; one that the peer began is *unconfirmed* until
 * something authentic came in it, for only then is it sure that the peer heard our RESPONSE. So nobody ever sends what the other end
 * cannot open, and since former sessions stay until they are TUNNEL_REJECT_MS + LATE_MS old, what was under way during a change is not lost.
 *
 *        want ──▶ attempt ──RESPONSE──▶ present ──renewed──▶ former ──age──▶ gone
 *                 (repeated)              ▲  └──────age, unrenewed──▶ former, none is present
 *        INIT came ──▶ unconfirmed ──CONTROL or data──┘
 *
 * Both ends may begin at once. Both handshakes are then done, and both sessions open; the end with the lower name stays with the one it
 * began, the other end goes over to it when it is confirmed. An end that has just answered waits for the confirmation before it begins itself.
 *
 * Age counts from when the INIT was sent (initiator) or came (responder): an initiator's session is never younger than the responder's, so
 * it stops sending first.
 *
 * What costs little is checked first: form, mac1, an open attempt for a RESPONSE, then tokens (or a cookie), only then curve
 * multiplications. Nothing is allocated before the sender is known to be a peer whose INIT is new.
 *
 * Each peer stands in one heap under the time when it next wants something. What could not be done for want of memory is owed (a KEYS
 * action, an INIT) and done by a later tick. */
#include "tunnel/internal.h"

#include <assert.h>
#include <sodium.h>
#include <string.h>

/* Random bytes: the first 32 bytes of each output are the next key, so what was given out cannot be computed again later. */
void tunnel_fresh(struct tunnel *t, void *out, size_t n)
{
	static const uint8_t nonce[crypto_stream_chacha20_ietf_NONCEBYTES];
	uint8_t block[32 + 64];

	assert(n <= sizeof block - 32);
	crypto_stream_chacha20_ietf(block, 32 + n, nonce, t->generator);
	memcpy(t->generator, block, 32);
	memcpy(out, block + 32, n);
	sodium_memzero(block, sizeof block);
}

uint64_t tunnel_fresh_below(struct tunnel *t, uint64_t n)
{
	uint64_t v;

	tunnel_fresh(t, &v, sizeof v);
	return n > 0 ? v % n : 0; /* for jitter, not for keys */
}

/* ---- actions */

void tunnel_actions_init(struct tunnel_actions *a, struct arena *arena)
{
	*a = (struct tunnel_actions){ .arena = arena };
}

bool tunnel_act(struct tunnel_actions *out, const struct tunnel_action *a)
{
	if (out->n == out->cap) {
		size_t cap = out->cap > 0 ? out->cap * 2 : 8;
		struct tunnel_action *v = arena_alloc(out->arena, cap * sizeof *v);

		if (!v)
			return false;
		if (out->n > 0)
			memcpy(v, out->v, out->n * sizeof *v);
		out->v = v;
		out->cap = cap;
	}
	out->v[out->n++] = *a;
	return true;
}

bool tunnel_send(struct tunnel_actions *out, const struct tunnel_action *a, const struct wbuf *w)
{
	struct tunnel_action copy = *a;

	assert(!w->failed && w->len <= TUNNEL_HANDSHAKE_MAX);
	copy.kind = TUNNEL_SEND;
	copy.bytes = slice_of(arena_dup(out->arena, w->data, w->len), w->len);
	return copy.bytes.p && tunnel_act(out, &copy);
}

static bool needed(struct peer *p, uint64_t now_ms)
{
	const struct session *s = tunnel_present(p);

	return s ? s->renew : now_ms < p->want_until_ms;
}

/* When the next INIT is due if one is needed: not while the peer's own handshake is about to be confirmed. */
static uint64_t begin_ms(struct peer *p)
{
	const struct session *s = tunnel_unconfirmed(p);
	uint64_t hold_ms = s ? s->made_ms + TUNNEL_RETRY_MS : 0;

	return p->retry_ms > hold_ms ? p->retry_ms : hold_ms;
}

static enum err go_on(struct tunnel *t, struct peer *p, uint64_t now_ms, struct tunnel_actions *out)
{
	if (needed(p, now_ms)) {
		if (now_ms < begin_ms(p))
			return ERR_OK;
		p->cookie_resent = false;
		return tunnel_begin(t, p, now_ms, out);
	}
	if (now_ms >= p->retry_ms) {
		tunnel_end_attempt(t, p, false);
		p->tries = 0;
	}
	return ERR_OK;
}

/* ---- time */

/* When p next wants something; not later than it has to be. */
static uint64_t due_ms(const struct tunnel *t, struct peer *p, uint64_t now_ms)
{
	uint64_t due = UINT64_MAX;

	if (p->owed)
		return now_ms + AGAIN_MS;
	if (needed(p, now_ms))
		due = begin_ms(p);
	else if (p->attempt)
		due = p->retry_ms;
	for (size_t i = 0; i < TUNNEL_SESSIONS_MAX; i++) {
		uint64_t end = p->s[i].keys ? tunnel_reject_ms(t, &p->s[i]) + (p->present == (int)i ? 0 : LATE_MS) : UINT64_MAX;

		due = end < due ? end : due;
		if (p->s[i].keys && p->poll_ms < due)
			due = p->poll_ms;
	}
	return due;
}

enum err tunnel_settle(struct tunnel *t, struct peer *p, uint64_t now_ms, struct tunnel_actions *out)
{
	uint64_t due;
	enum err e;

	if (p->owed)
		p->owed = !tunnel_act(out, &(struct tunnel_action){ .kind = TUNNEL_KEYS, .peer = p->name });
	due = due_ms(t, p, now_ms);
	e = heap_push(&t->due, &p->due, due > now_ms ? due : now_ms + 1);
	assert(e == ERR_OK); /* it was in there: nothing is allocated */
	return p->owed ? ERR_NOMEM : ERR_OK;
}

static void free_peer(struct tunnel *t, struct peer *p)
{
	tunnel_end_all(t, p);
	heap_remove(&t->due, &p->due);
	map_del64(t->peers, p->name);
	sodium_memzero(p, sizeof *p);
	mem_free(p);
}

static void expire(struct tunnel *t, struct peer *p, uint64_t now_ms)
{
	for (size_t i = 0; i < TUNNEL_SESSIONS_MAX; i++) {
		struct session *s = &p->s[i];

		if (s->keys && s == tunnel_present(p) && now_ms >= tunnel_reject_ms(t, s)) {
			p->present = NONE;
			p->owed = true;
			t->counters.expired++;
		}
		if (s->keys && now_ms >= tunnel_reject_ms(t, s) + LATE_MS)
			tunnel_end_session(t, p, s);
	}
}

/* Whether the present session is to be renewed: in use and old, used too often, or nothing comes back in it. What comes in others does not count: the peer
 * goes over to what it hears us in, so if it does not, it may not have that one. */
static void judge(const struct tunnel *t, struct peer *p, struct session *s, bool received, uint64_t now_ms)
{
	uint64_t limit = t->rekey_datagrams + (s->initiator ? 0 : t->rekey_datagrams / 8);

	if (seal_take_sent(s->keys)) {
		s->sent_ms = now_ms;
		if (s->silent_ms == 0)
			s->silent_ms = now_ms;
	}
	if (received) {
		s->silent_ms = 0;
		p->unheard = false;
	}
	if (now_ms >= s->due_ms && s->sent_ms > 0 && now_ms - s->sent_ms <= t->rekey_ms / 12)
		s->renew = true;
	if (seal_sent(s->keys) >= limit)
		s->renew = true;
	if (s->silent_ms > 0 && now_ms - s->silent_ms >= t->rekey_ms / 8 && !p->unheard)
		s->renew = p->unheard = true;
}

/* Looks at what the data threads did with the keys. */
static void poll(struct tunnel *t, struct peer *p, uint64_t now_ms)
{
	const struct session *u, *heard = NULL;
	bool answered = false;

	for (size_t i = 0; i < TUNNEL_SESSIONS_MAX; i++)
		if (p->s[i].keys && seal_take_received(p->s[i].keys)) {
			if (!p->s[i].confirmed)
				tunnel_confirmed(t, p, &p->s[i], now_ms);
			answered = answered || p->present == (int)i;
			if (!heard || p->s[i].made_ms > heard->made_ms)
				heard = &p->s[i];
		}
	if (heard)
		p->peer_uses = seal_index(heard->keys);
	if (tunnel_present(p))
		judge(t, p, tunnel_present(p), answered, now_ms);
	u = tunnel_unconfirmed(p);
	p->poll_ms = now_ms + t->rekey_ms / 24 + 1;
	if (u) {
		uint64_t soon = now_ms + (now_ms < u->made_ms + CONFIRM_SOON_MS ? CONFIRM_POLL_MS : CONFIRM_SLOW_MS);

		p->poll_ms = soon < p->poll_ms ? soon : p->poll_ms;
	}
}

enum err tunnel_tick(struct tunnel *t, uint64_t now_ms, struct tunnel_actions *out)
{
	enum err e = ERR_OK;
	struct heap_node *n;

	while ((n = heap_peek(&t->due)) != NULL && n->key <= now_ms) {
		struct peer *p = (struct peer *)(void *)((uint8_t *)n - offsetof(struct peer, due));
		enum err one;

		expire(t, p, now_ms);
		if (now_ms >= p->poll_ms)
			poll(t, p, now_ms);
		one = go_on(t, p, now_ms, out);
		e = one != ERR_OK ? one : e;
		one = tunnel_settle(t, p, now_ms, out);
		e = one != ERR_OK ? one : e;
		if (p->gone && !p->owed)
			free_peer(t, p);
	}
	return e;
}

uint64_t tunnel_deadline_ms(const struct tunnel *t)
{
	const struct heap_node *n = heap_peek(&t->due);

	return n ? n->key : UINT64_MAX;
}

void tunnel_confirm(struct tunnel *t, uint32_t index, uint64_t now_ms, struct tunnel_actions *out)
{
	struct peer *p = map_get64(t->index, index);
	struct session *s = p ? tunnel_session_of(p, index) : NULL;

	if (!s || s->confirmed)
		return;
	tunnel_confirmed(t, p, s, now_ms);
	(void)tunnel_settle(t, p, now_ms, out); /* what is owed is said by a tick */
}

/* ---- peers */

static enum err add_peer(struct tunnel *t, uint64_t name, struct peer **out)
{
	struct peer *p = mem_zalloc(1, sizeof *p);

	if (!p)
		return ERR_NOMEM;
	p->name = name;
	p->present = NONE;
	if (heap_push(&t->due, &p->due, UINT64_MAX) != ERR_OK) {
		mem_free(p);
		return ERR_NOMEM;
	}
	if (map_put64(t->peers, name, p, NULL) != ERR_OK) {
		heap_remove(&t->due, &p->due);
		mem_free(p);
		return ERR_NOMEM;
	}
	bucket_init(&p->inits, PEER_INITS_BURST, PEER_INITS_PER_S, 0);
	*out = p;
	return ERR_OK;
}

enum err tunnel_peer(struct tunnel *t, uint64_t name, const uint8_t key[32], struct tunnel_actions *out)
{
	struct peer *p = map_get64(t->peers, name);
	bool is_new = !p;

	if (name == t->self || name == PEER_NONE)
		return ERR_OK;
	if (p && !p->gone && sodium_memcmp(p->key, key, NOISE_KEY) == 0)
		return ERR_OK;
	if (is_new && add_peer(t, name, &p) != ERR_OK)
		return ERR_NOMEM;
	tunnel_end_all(t, p);
	p->gone = false;
	memcpy(p->key, key, NOISE_KEY);
	handshake_keys_of(&p->macs, key);
	(void)tunnel_settle(t, p, 0, out); /* what is owed is said by a tick */
	return ERR_OK;
}

void tunnel_forget(struct tunnel *t, uint64_t name, struct tunnel_actions *out)
{
	struct peer *p = tunnel_find(t, name);

	if (!p)
		return;
	tunnel_end_all(t, p);
	p->gone = true;
	if (tunnel_settle(t, p, 0, out) == ERR_OK)
		free_peer(t, p);
}

enum err tunnel_want(struct tunnel *t, uint64_t name, uint64_t now_ms, struct tunnel_actions *out)
{
	struct peer *p = tunnel_find(t, name);
	enum err e, settled;

	if (!p)
		return ERR_NOT_FOUND;
	p->want_until_ms = now_ms + TUNNEL_WANT_MS;
	expire(t, p, now_ms);
	e = go_on(t, p, now_ms, out);
	settled = tunnel_settle(t, p, now_ms, out);
	return e != ERR_OK ? e : settled;
}

enum err tunnel_new(struct tunnel **out, const struct tunnel_cfg *cfg)
{
	struct tunnel *t = mem_zalloc(1, sizeof *t);
	uint64_t seed[2];

	assert(cfg->n_psk <= PSK_MAX);
	if (!t)
		return ERR_NOMEM;
	t->self = cfg->self;
	t->run = cfg->run;
	t->rekey_ms = cfg->rekey_ms > 0 ? cfg->rekey_ms : TUNNEL_REKEY_MS;
	t->rekey_datagrams = cfg->rekey_datagrams > 0 ? cfg->rekey_datagrams : TUNNEL_REKEY_DATAGRAMS;
	memcpy(t->generator, cfg->random, sizeof t->generator);
	memcpy(t->secret, cfg->secret, sizeof t->secret);
	memcpy(t->psk, cfg->psk, cfg->n_psk * NOISE_KEY);
	t->n_psk = cfg->n_psk > 0 ? cfg->n_psk : 1;
	t->ciphers = CIPHER_CHACHAPOLY | (cfg->aes ? CIPHER_AESGCM : 0);
	crypto_scalarmult_base(t->public, t->secret);
	handshake_keys_of(&t->macs, t->public);
	tunnel_limits(t, cfg->inits_per_s);
	heap_init(&t->due);
	tunnel_fresh(t, seed, sizeof seed);
	t->peers = map_new(seed[0]);
	t->index = map_new(seed[1]);
	if (!t->peers || !t->index) {
		tunnel_free(t);
		return ERR_NOMEM;
	}
	*out = t;
	return ERR_OK;
}

void tunnel_free(struct tunnel *t)
{
	void *value;
	size_t it = 0;

	if (!t)
		return;
	while (t->peers && map_next(t->peers, &it, NULL, &value))
		free_peer(t, value);
	map_free(t->peers);
	map_free(t->index);
	heap_free(&t->due);
	sodium_memzero(t, sizeof *t);
	mem_free(t);
}

/* ---- reading */

struct seal_keys *tunnel_tx(const struct tunnel *t, uint64_t name)
{
	struct peer *p = tunnel_find(t, name);
	const struct session *s = p ? tunnel_present(p) : NULL;

	return s ? s->keys : NULL;
}

struct seal_keys *tunnel_rx(const struct tunnel *t, uint32_t index)
{
	struct peer *p = map_get64(t->index, index);
	const struct session *s = p ? tunnel_session_of(p, index) : NULL;

	return s ? s->keys : NULL;
}

/* *it: the place in the map of peers, times TUNNEL_SESSIONS_MAX, and the place in that peer. */
struct seal_keys *tunnel_next(const struct tunnel *t, size_t *it)
{
	for (;;) {
		size_t at = *it / TUNNEL_SESSIONS_MAX, i = *it % TUNNEL_SESSIONS_MAX, next = at;
		const struct peer *p;
		void *value;

		if (!map_next(t->peers, &next, NULL, &value))
			return NULL;
		p = value;
		for (; i < TUNNEL_SESSIONS_MAX; i++)
			if (p->s[i].keys) {
				*it = (next - 1) * TUNNEL_SESSIONS_MAX + i + 1;
				return p->s[i].keys;
			}
		*it = next * TUNNEL_SESSIONS_MAX;
	}
}

bool tunnel_since(const struct tunnel *t, uint64_t name, uint64_t *since_ms)
{
	struct peer *p = tunnel_find(t, name);
	const struct session *s = p ? tunnel_present(p) : NULL;

	if (s)
		*since_ms = s->made_ms;
	return s != NULL;
}

const struct tunnel_counters *tunnel_counters(const struct tunnel *t)
{
	return &t->counters;
}
