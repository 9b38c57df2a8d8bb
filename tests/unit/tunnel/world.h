/* Hosts with tunnels, and a network between them that loses, delays, doubles and reorders. One clock, one seed. */
#ifndef WEFT_TESTS_UNIT_TUNNEL_WORLD_H
#define WEFT_TESTS_UNIT_TUNNEL_WORLD_H

#include "tests/unit/base/cmocka_all.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/rng.h"
#include "tests/unit/base/seed.h"
#include "tunnel/tunnel.h"

enum { HOSTS_MAX = 8, PACKETS_MAX = 3200, PACKET_MAX = 600, STAMPS_MAX = 1 << 16, START_MS = 1000000 };

struct packet {
	uint64_t due_ms;
	size_t from, to, n;
	uint32_t stamp; /* of data: which datagram it is; 0: a handshake */
	uint8_t bytes[PACKET_MAX];
};

struct host {
	struct tunnel *t;
	struct tunnel_cfg cfg;
	uint8_t pk[32];
	uint32_t tx;               /* index of the session it sent with last */
	unsigned keys, notes, got; /* KEYS and NOTE actions; datagrams that opened */
	bool lost_keys;            /* had something to send with at the last look, and has nothing now */
};

struct world {
	struct host h[HOSTS_MAX];
	size_t n;
	uint64_t now;
	struct rng r;
	struct arena *arena;
	struct packet *packets;
	size_t n_packets;
	uint32_t loss, doubled; /* per million */
	uint64_t delay_lo, delay_hi;
	uint32_t stamp, hello_loss;
	uint8_t *opened;             /* by stamp */
	unsigned refused;            /* datagrams that did not open */
	unsigned dropped[FWD_DROPS]; /* handshakes, by verdict */
	bool confirm_by_tick, relayed;
};

static inline uint64_t name_of(size_t i)
{
	return 0x100 + i;
}

static inline struct hostport addr_of(size_t i)
{
	return (struct hostport){ ip_v4(0x0a000001 + (uint32_t)i), 6783 };
}

static inline void host_start(struct world *w, size_t i, uint64_t run)
{
	struct host *h = &w->h[i];

	h->cfg.self = name_of(i);
	h->cfg.run = run;
	rng_fill(&w->r, h->cfg.random, sizeof h->cfg.random);
	assert_int_equal(tunnel_new(&h->t, &h->cfg), ERR_OK);
	h->tx = 0;
}

static inline struct tunnel_actions actions(struct world *w)
{
	struct tunnel_actions a;

	arena_reset(w->arena);
	tunnel_actions_init(&a, w->arena);
	return a;
}

static inline void net(struct world *w, size_t from, size_t to, uint32_t stamp, uint32_t loss, struct slice bytes)
{
	for (int copy = 0; copy < 2; copy++) {
		struct packet *p = &w->packets[w->n_packets];

		if (copy == 1 && !rng_chance(&w->r, w->doubled))
			return;
		if (rng_chance(&w->r, loss))
			continue;
		assert_true(w->n_packets < PACKETS_MAX && bytes.n <= PACKET_MAX);
		*p = (struct packet){
			.due_ms = w->now + rng_between(&w->r, w->delay_lo, w->delay_hi), .from = from, .to = to, .n = bytes.n, .stamp = stamp
		};
		memcpy(p->bytes, bytes.p, bytes.n);
		w->n_packets++;
	}
}

static inline size_t host_of(const struct world *w, uint64_t peer, struct hostport to)
{
	for (size_t i = 0; i < w->n; i++)
		if (to.ip.family != 0 ? hostport_eq(addr_of(i), to) : name_of(i) == peer)
			return i;
	fail_msg("sent to nobody");
	return 0;
}

/* Sends a datagram if there is a session. */
static inline bool say(struct world *w, size_t from, size_t to, uint8_t flags, uint32_t loss)
{
	struct seal_keys *k = tunnel_tx(w->h[from].t, name_of(to));
	uint8_t mem[SEAL_OVERHEAD + 8];
	size_t n;

	if (!k)
		return false;
	w->stamp++;
	assert_true(w->stamp < STAMPS_MAX);
	w->opened[w->stamp] = 0;
	n = seal_datagram(
		k, flags & WIRE_CONTROL ? SEAL_QUEUE_CONTROL : (unsigned)rng_below(&w->r, 3), flags, 0, slice_of(&w->stamp, 4), mem);
	net(w, from, to, w->stamp, loss, slice_of(mem, n));
	return true;
}

static inline void carry_out(struct world *w, size_t i, struct tunnel_actions *a)
{
	struct host *h = &w->h[i];

	for (size_t k = 0; k < a->n; k++) {
		const struct tunnel_action *x = &a->v[k];

		switch (x->kind) {
		case TUNNEL_SEND:
			assert_true(x->bytes.n <= TUNNEL_HANDSHAKE_MAX);
			net(w, i, host_of(w, x->peer, x->to), 0, w->loss, x->bytes);
			break;
		case TUNNEL_KEYS:
			h->keys++;
			/* As the core does: what took over is made known to the other end by a probe. */
			for (size_t j = 0; j < w->n; j++) {
				struct seal_keys *tx = tunnel_tx(h->t, name_of(j));

				if (name_of(j) == x->peer && tx && seal_index(tx) != h->tx) {
					h->tx = seal_index(tx);
					(void)say(w, i, j, WIRE_CONTROL, w->hello_loss);
				}
			}
			break;
		case TUNNEL_NOTE: h->notes++; break;
		}
	}
}

static inline void want(struct world *w, size_t from, size_t to)
{
	struct tunnel_actions a = actions(w);

	assert_int_equal(tunnel_want(w->h[from].t, name_of(to), w->now, &a), ERR_OK);
	carry_out(w, from, &a);
}

static inline void hear_data(struct world *w, const struct packet *p)
{
	struct host *h = &w->h[p->to];
	struct slice payload, datagram = slice_of(p->bytes, p->n);
	struct wire_head head;
	struct seal_keys *k;
	uint8_t out[PACKET_MAX];
	enum fwd_drop d = FWD_OLD_SESSION;

	assert_int_equal(wire_read(datagram, &head, &payload), FWD_PASSED);
	k = tunnel_rx(h->t, head.index);
	if (k) {
		assert_int_equal(seal_index(k), head.index);
		assert_int_equal(seal_peer(k), name_of(p->from));
		d = seal_open(k, &head, datagram, out);
	}
	if (d == FWD_PASSED) {
		assert_memory_equal(out, &p->stamp, 4);
		assert_int_equal(w->opened[p->stamp], 0);
		w->opened[p->stamp] = 1;
		h->got++;
		if (!w->confirm_by_tick) {
			struct tunnel_actions a = actions(w);

			tunnel_confirm(h->t, head.index, w->now, &a);
			carry_out(w, p->to, &a);
		}
	} else if (!(d == FWD_REPLAYED && w->opened[p->stamp])) {
		w->refused++;
	}
}

static inline enum fwd_drop hear(struct world *w, size_t from, size_t to, struct slice bytes)
{
	struct tunnel_actions a = actions(w);
	enum fwd_drop d = tunnel_datagram(w->h[to].t, addr_of(from), w->relayed ? name_of(from) : PEER_NONE, bytes, w->now, &a);

	for (size_t i = 0; i < a.n; i++)
		assert_true(a.v[i].kind != TUNNEL_SEND || a.v[i].to.ip.family == 0 || a.v[i].relayed == w->relayed);
	w->dropped[d]++;
	carry_out(w, to, &a);
	return d;
}

static inline void deliver(struct world *w, size_t at)
{
	struct packet p = w->packets[at];

	w->packets[at] = w->packets[--w->n_packets];
	if (p.stamp > 0)
		hear_data(w, &p);
	else
		(void)hear(w, p.from, p.to, slice_of(p.bytes, p.n));
}

static inline void tick(struct world *w, size_t i)
{
	struct tunnel_actions a = actions(w);

	assert_int_equal(tunnel_tick(w->h[i].t, w->now, &a), ERR_OK);
	assert_true(tunnel_deadline_ms(w->h[i].t) > w->now);
	carry_out(w, i, &a);
}

/* Lets time go on until `until`, doing what falls due. */
static inline void run(struct world *w, uint64_t until)
{
	for (;;) {
		uint64_t next = until;
		size_t packet = SIZE_MAX, host = SIZE_MAX;

		for (size_t i = 0; i < w->n_packets; i++)
			if (w->packets[i].due_ms <= next) {
				next = w->packets[i].due_ms;
				packet = i;
			}
		for (size_t i = 0; i < w->n; i++)
			if (w->h[i].t && tunnel_deadline_ms(w->h[i].t) < next) {
				next = tunnel_deadline_ms(w->h[i].t);
				host = i;
			}
		w->now = next > w->now ? next : w->now;
		if (host != SIZE_MAX)
			tick(w, host);
		else if (packet != SIZE_MAX)
			deliver(w, packet);
		else
			return;
	}
}

static inline void know(struct world *w, size_t i, size_t j)
{
	struct tunnel_actions a = actions(w);

	assert_int_equal(tunnel_peer(w->h[i].t, name_of(j), w->h[j].pk, &a), ERR_OK);
	carry_out(w, i, &a);
}

static inline struct world *world_new(size_t n, uint64_t seed, const struct tunnel_cfg *cfg)
{
	struct world *w = mem_zalloc(1, sizeof *w);

	assert_non_null(w);
	w->arena = arena_new();
	w->packets = mem_zalloc(PACKETS_MAX, sizeof *w->packets);
	w->opened = mem_zalloc(STAMPS_MAX, 1);
	assert_true(w->arena && w->packets && w->opened);
	w->n = n;
	w->now = START_MS;
	w->delay_lo = 1;
	w->delay_hi = 1;
	rng_seed(&w->r, seed);
	for (size_t i = 0; i < n; i++) {
		w->h[i].cfg = *cfg;
		rng_fill(&w->r, w->h[i].cfg.secret, 32);
		crypto_scalarmult_base(w->h[i].pk, w->h[i].cfg.secret);
		host_start(w, i, 1);
	}
	for (size_t i = 0; i < n; i++)
		for (size_t j = 0; j < n; j++)
			if (i != j)
				know(w, i, j);
	return w;
}

static inline void world_free(struct world *w)
{
	for (size_t i = 0; i < w->n; i++)
		tunnel_free(w->h[i].t);
	arena_free(w->arena);
	mem_free(w->packets);
	mem_free(w->opened);
	mem_free(w);
}

/* Both can send to each other, and it opens. */
static inline bool joined(struct world *w, size_t i, size_t j)
{
	unsigned got[2] = { w->h[i].got, w->h[j].got };

	if (!say(w, i, j, 0, 0) || !say(w, j, i, 0, 0))
		return false;
	run(w, w->now + w->delay_hi + 1);
	return w->h[i].got > got[0] && w->h[j].got > got[1];
}

static inline size_t sessions(const struct tunnel *t)
{
	size_t n = 0, it = 0;

	while (tunnel_next(t, &it))
		n++;
	return n;
}

#endif
