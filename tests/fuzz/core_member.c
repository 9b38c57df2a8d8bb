/* What a member may say to a whole node. Two cores with a link between them are made; the one says to the other what the input has: first lies by
 * tests/sim/liar.c from a seed, then messages as they stand. The other must neither end nor find itself without what was its own.
 * Input: u64 seed, u8 lies, then messages: u16 length, bytes. */
#include <assert.h>
#include <sodium.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "router/core/internal.h"
#include "tests/sim/liar.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

enum { MESSAGES_MAX = 64, ROUNDS_MAX = 200 };

struct pair {
	struct core *c[2]; /* 0: the victim; 1: the liar */
	struct arena *arena;
	bool open[2];
	struct wbuf bytes[2]; /* on their way to it */
	uint64_t now, conn[2];
};

static void carry_out(struct pair *p, int at, const struct core_actions *acts)
{
	for (size_t i = 0; i < acts->n; i++) {
		const struct core_action *a = &acts->v[i];
		if (a->kind == CORE_SEND && p->open[at])
			wbuf_bytes(&p->bytes[1 - at], a->u.send.bytes.p, a->u.send.bytes.n);
		if (a->kind == CORE_DIAL && at == 1 && p->conn[1] == 0)
			p->conn[1] = a->u.dial.conn;
		if (a->kind == CORE_CLOSE)
			p->open[0] = p->open[1] = false;
	}
}

static void step(struct pair *p, int at, struct core_event ev)
{
	struct core_actions acts;
	ev.now_ms = p->now;
	core_actions_init(&acts, p->arena);
	enum err err = core_step(p->c[at], &ev, &acts);
	assert(err == ERR_OK || err == ERR_NOMEM);
	carry_out(p, at, &acts);
	arena_reset(p->arena);
}

static void mesh(struct pair *p, int at, const struct gossip_event *given)
{
	struct gossip_event ev = *given;
	ev.now_ms = p->now;
	step(p, at, (struct core_event){ .kind = CORE_MESH, .mesh = &ev });
}

static void make(struct pair *p, int at)
{
	struct core_cfg cfg = { .ipam = true, .names = true, .domain = "weft.local." };
	struct core_actions acts;
	cfg.gossip.self = 1 + (uint64_t)at;
	cfg.gossip.nickname = cfg.gossip.version = "fuzz";
	cfg.gossip.n_psk = 1;
	cfg.gossip.incarnation = 1;
	cfg.gossip.uid = 7 + (uint64_t)at;
	cfg.gossip.port = 1;
	cfg.gossip.static_secret[0] = (uint8_t)(8 * (at + 1));
	cfg.gossip.seed = 3;
	cfg.universe = (struct universe){ UINT32_C(0x0a200000), 24 };
	cfg.default_subnet = (struct prefix){ ip_v4(UINT32_C(0x0a200000)), 24 };
	cfg.init = IPAM_SEED;
	static const uint64_t seeds[] = { 1, 2 };
	cfg.seeds = seeds;
	cfg.n_seeds = 2;
	enum err err = core_new(&p->c[at], &cfg, p->now, NULL);
	assert(err == ERR_OK);
	core_actions_init(&acts, p->arena);
	err = core_start(p->c[at], p->now, false, &acts);
	assert(err == ERR_OK);
	arena_reset(p->arena);
	wbuf_grow(&p->bytes[at], 64 << 20);
}

static void deliver(struct pair *p)
{
	for (int round = 0; round < ROUNDS_MAX && (p->bytes[0].len > 0 || p->bytes[1].len > 0); round++) {
		for (int at = 0; at < 2; at++) {
			struct gossip_event ev = { .kind = GOSSIP_CONN_DATA };
			struct wbuf taken = p->bytes[at];
			if (taken.len == 0)
				continue;
			p->bytes[at] = (struct wbuf){ 0 };
			wbuf_grow(&p->bytes[at], 64 << 20);
			ev.u.data.conn = p->conn[at];
			ev.u.data.bytes = wbuf_slice(&taken);
			if (p->open[at])
				mesh(p, at, &ev);
			wbuf_free(&taken);
		}
	}
}

static void run(struct pair *p, int ticks)
{
	for (int k = 0; k < ticks; k++, p->now += 400) {
		for (int at = 0; at < 2; at++) {
			struct gossip_event drained = { .kind = GOSSIP_CONN_DRAINED };
			drained.u.drained.conn = p->conn[at];
			if (p->open[at])
				mesh(p, at, &drained);
			step(p, at, (struct core_event){ .kind = CORE_TICK });
		}
		deliver(p);
	}
}

static void connect_them(struct pair *p)
{
	for (int at = 0; at < 2; at++) {
		struct gossip_event ev = { .kind = GOSSIP_CONN_OPEN };
		p->open[at] = true;
		ev.u.open.conn = p->conn[at];
		ev.u.open.outbound = at == 1;
		ev.u.open.remote = (struct hostport){ ip_v4(1 + (uint32_t)at), 1 };
		memset(ev.u.open.entropy, 9 + at, sizeof(ev.u.open.entropy));
		mesh(p, at, &ev);
	}
	deliver(p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct pair p = { .now = 1000, .arena = arena_new() };
	struct liar liar;
	struct rbuf r;
	long before = mem_live() - 1;

	assert(p.arena != NULL && sodium_init() >= 0);
	rbuf_init(&r, data, n);
	make(&p, 0);
	make(&p, 1);
	const char *const targets[] = { "0.0.0.9:1" };
	p.conn[0] = 1;
	step(&p, 1, (struct core_event){ .kind = CORE_CONNECT, .targets = targets, .n_targets = 1 });
	connect_them(&p);
	assert(liar_links(p.c[1]) == 1);
	struct ipam_event want = { .kind = IPAM_ALLOCATE, .ident = "c", .request = 1 };
	step(&p, 0, (struct core_event){ .kind = CORE_IPAM, .ipam = &want });
	/* Long enough that it does not count as just come back, which in a mesh of two would give way. */
	run(&p, 30);
	liar_init(&liar, rbuf_u64(&r));
	liar.tokens = true;
	uint64_t owned = ring_owned_by(core_channel(p.c[0], CHANNEL_RING), core_universe(p.c[0]), 1);
	for (unsigned lies = rbuf_u8(&r); lies > 0; lies--)
		(void)liar_say(&liar, p.c[1]);
	for (int k = 0; k < MESSAGES_MAX && rbuf_left(&r) > 2; k++) {
		size_t len = rbuf_u16(&r);
		(void)liar_say_bytes(p.c[1], 0, rbuf_bytes(&r, len < rbuf_left(&r) ? len : rbuf_left(&r)));
	}
	run(&p, 8);
	assert(ring_owned_by(core_channel(p.c[0], CHANNEL_RING), core_universe(p.c[0]), 1) == owned);
	assert(ipam_active(core_ipam(p.c[0])) == 1);
	for (int at = 0; at < 2; at++) {
		core_free(p.c[at]);
		wbuf_free(&p.bytes[at]);
	}
	arena_free(p.arena);
	assert(mem_live() == before);
	return 0;
}
