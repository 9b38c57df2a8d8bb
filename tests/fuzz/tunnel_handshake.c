/* Two tunnels, and an input that is a list of steps: what is delivered, altered, repeated, invented. The first byte of a step says what:
 *
 *   0, 1   that end wants a session         2   time goes on (u16 ms), both tick
 *   3      the oldest message under way arrives
 *   4      the same, altered: u16 offset, u8 mask; with mac1 made anew when the mask is odd
 *   5      the same, and it stays under way
 *   6      it is lost
 *   7      bytes of the input (u8 length) are a message, to that end (u8)
 *
 * Nothing but untouched messages may ever make a session, and the sessions of both ends belong together. */
#include <assert.h>
#include <sodium.h>
#include <stdint.h>
#include <string.h>

#include "base/mem.h"
#include "tunnel/handshake.h"
#include "tunnel/tunnel.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { QUEUE = 16, STEPS = 200 };

struct message {
	uint8_t to, bytes[TUNNEL_HANDSHAKE_MAX];
	size_t n;
};

struct pair {
	struct tunnel *t[2];
	uint8_t pk[2][32];
	struct message queue[QUEUE];
	size_t n;
	uint64_t now;
	struct arena *arena;
};

static struct tunnel_actions start(struct pair *p)
{
	struct tunnel_actions a;

	arena_reset(p->arena);
	tunnel_actions_init(&a, p->arena);
	return a;
}

static void finish(struct pair *p, size_t i, const struct tunnel_actions *a)
{
	for (size_t k = 0; k < a->n; k++) {
		if (a->v[k].kind != TUNNEL_SEND)
			continue;
		assert(a->v[k].bytes.n <= TUNNEL_HANDSHAKE_MAX);
		if (p->n == QUEUE)
			continue;
		p->queue[p->n].to = (uint8_t)(1 - i);
		p->queue[p->n].n = a->v[k].bytes.n;
		memcpy(p->queue[p->n].bytes, a->v[k].bytes.p, a->v[k].bytes.n);
		p->n++;
	}
}

static void init(struct pair *p)
{
	*p = (struct pair){ .arena = arena_new(), .now = 1000 };
	for (size_t i = 0; i < 2; i++) {
		struct tunnel_cfg cfg = {
			.self = 1 + i, .run = 1, .rekey_ms = 4000, .n_psk = 2, .psk = { { 1 }, { 2 } }, .inits_per_s = 3
		};
		enum err e;

		memset(cfg.secret, (int)(0x20 + i), 32);
		memset(cfg.random, (int)(0x40 + i), 32);
		crypto_scalarmult_base(p->pk[i], cfg.secret);
		e = tunnel_new(&p->t[i], &cfg);
		assert(e == ERR_OK && p->arena);
	}
	for (size_t i = 0; i < 2; i++) {
		struct tunnel_actions a = start(p);
		enum err e = tunnel_peer(p->t[i], 2 - i, p->pk[1 - i], &a);

		assert(e == ERR_OK);
	}
}

static size_t sessions(const struct tunnel *t)
{
	size_t n = 0, it = 0;

	while (tunnel_next(t, &it))
		n++;
	return n;
}

static enum fwd_drop deliver(struct pair *p, size_t to, struct slice bytes)
{
	struct tunnel_actions a = start(p);
	enum fwd_drop d = tunnel_datagram(p->t[to], (struct hostport){ ip_v4(10), 6783 }, PEER_NONE, bytes, p->now, &a);

	assert(sessions(p->t[to]) <= TUNNEL_SESSIONS_MAX);
	finish(p, to, &a);
	return d;
}

static void altered(struct pair *p, struct rbuf *r)
{
	struct message m = p->queue[0];
	size_t at = rbuf_u16(r), before;
	uint8_t mask = rbuf_u8(r);
	enum fwd_drop d;

	before = sessions(p->t[m.to]);
	if (at >= m.n || mask == 0)
		return;
	m.bytes[at] = (uint8_t)(m.bytes[at] ^ mask);
	if (mask & 1 && m.n > 64) {
		struct handshake_keys keys;
		uint8_t mac1[16];
		struct wbuf w;

		handshake_keys_of(&keys, p->pk[m.to]);
		wbuf_fixed(&w, m.bytes, m.n);
		w.len = m.n - 32;
		handshake_macs(&w, &keys, NULL, mac1);
		if (at >= m.n - 32)
			return; /* that made it as it was, or cut off its mac2 */
	}
	d = deliver(p, m.to, slice_of(m.bytes, m.n));
	assert(d != FWD_PASSED && sessions(p->t[m.to]) == before);
}

static void take_off(struct pair *p)
{
	memmove(p->queue, p->queue + 1, (p->n - 1) * sizeof p->queue[0]);
	p->n--;
}

/* What one end seals now, the other opens, if it has not been forgotten for its age. */
static void check(struct pair *p)
{
	for (size_t i = 0; i < 2; i++) {
		struct seal_keys *tx = tunnel_tx(p->t[i], 2 - i), *rx;
		uint8_t mem[SEAL_OVERHEAD + 1];
		struct wire_head head;
		struct slice payload;
		size_t n;

		if (!tx)
			continue;
		n = seal_datagram(tx, 0, 0, 0, slice_str("x"), mem);
		assert(wire_read(slice_of(mem, n), &head, &payload) == FWD_PASSED);
		rx = tunnel_rx(p->t[1 - i], head.index);
		assert(rx && seal_open(rx, &head, slice_of(mem, n), mem + WIRE_HEAD) == FWD_PASSED);
	}
}

static void step(struct pair *p, struct rbuf *r)
{
	uint8_t what = rbuf_u8(r) & 7;
	struct tunnel_actions a;
	enum err e;

	if (what < 2) {
		a = start(p);
		e = tunnel_want(p->t[what], 2 - what, p->now, &a);
		assert(e == ERR_OK);
		finish(p, what, &a);
	} else if (what == 2) {
		p->now += rbuf_u16(r);
		for (size_t i = 0; i < 2; i++) {
			a = start(p);
			e = tunnel_tick(p->t[i], p->now, &a);
			assert(e == ERR_OK && tunnel_deadline_ms(p->t[i]) > p->now);
			finish(p, i, &a);
		}
	} else if (what == 7) {
		size_t n = rbuf_u8(r), to = rbuf_u8(r) & 1;

		(void)deliver(p, to, rbuf_bytes(r, n < rbuf_left(r) ? n : rbuf_left(r)));
	} else if (p->n > 0 && what == 4) {
		altered(p, r);
	} else if (p->n > 0) {
		struct message m = p->queue[0];

		if (what != 5)
			take_off(p);
		if (what != 6)
			(void)deliver(p, m.to, slice_of(m.bytes, m.n));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct pair p;
	struct rbuf r;

	if (sodium_init() < 0)
		return 0;
	init(&p);
	rbuf_init(&r, data, size);
	for (int i = 0; i < STEPS && rbuf_left(&r) > 0; i++) {
		step(&p, &r);
		check(&p);
	}
	tunnel_free(p.t[0]);
	tunnel_free(p.t[1]);
	arena_free(p.arena);
	return 0;
}
