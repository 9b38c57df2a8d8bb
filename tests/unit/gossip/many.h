/* Many cores: as net.h, but with one queue of events, so that a thousand are quick. Streams never break of themselves; each piece takes `delay_ms`
 * one way, and one in a hundred `retry_ms` longer (a lost segment), which delays all that follows it, as TCP does. */
#ifndef WEFT_TESTS_GOSSIP_MANY_H
#define WEFT_TESTS_GOSSIP_MANY_H

#include "tests/unit/base/cmocka_all.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/heap.h"
#include "base/map.h"
#include "base/rng.h"
#include "crdt/map.h"
#include "gossip/gossip.h"
#include "gossip/internal.h"

#define MANY_PORT 6783

struct many_stream {
	size_t node[2]; /* dialler, acceptor */
	uint64_t id[2];
	bool open[2];
	uint64_t last_ms[2]; /* arrival of the last piece sent by that side */
};
enum many_kind { MANY_TICK, MANY_OPEN, MANY_DATA, MANY_CLOSED };
struct many_event {
	struct heap_node at; /* first */
	enum many_kind kind;
	size_t node;
	uint64_t life;
	struct many_stream *s;
	int side; /* that gets it */
	size_t n;
	uint8_t bytes[];
};
struct many_node {
	struct gossip *g; /* NULL: down */
	struct crdt_map *peers, *names;
	uint64_t name, life, tick_at, next_conn, deltas, sent_messages;
	struct map *conns; /* id -> stream */
	uint64_t knows_ms; /* the change that is watched */
};
struct many {
	struct many_node *v;
	size_t n;
	struct heap queue;
	struct rng rng;
	struct arena *arena;
	struct many_stream **streams;
	size_t n_streams, cap_streams;
	uint64_t now, delay_ms, retry_ms, events;
	size_t conn_limit;
	bool (*cut)(size_t a, size_t b); /* NULL: none */
	uint8_t watch[CRDT_KEY_MAX];
	size_t n_watch;
};

static inline struct hostport many_address(size_t i)
{
	return (struct hostport){ .ip = ip_v4(UINT32_C(0x0a000001) + (uint32_t)i), .port = MANY_PORT };
}

static inline struct many_event *many_post(struct many *m, uint64_t at, enum many_kind kind, size_t node, size_t bytes)
{
	struct many_event *ev = calloc(1, sizeof *ev + bytes);
	assert_non_null(ev);
	ev->kind = kind;
	ev->node = node;
	ev->life = m->v[node].life;
	ev->n = bytes;
	assert_int_equal(heap_push(&m->queue, &ev->at, at), ERR_OK);
	return ev;
}

static inline void many_actions(struct many *m, size_t i, const struct gossip_actions *out);

static inline void many_tick_at(struct many *m, size_t i)
{
	struct many_node *n = &m->v[i];
	uint64_t at = gossip_deadline_ms(n->g);
	if (at == UINT64_MAX || (n->tick_at > m->now && n->tick_at <= at))
		return;
	n->tick_at = at > m->now ? at : m->now + 1;
	(void)many_post(m, n->tick_at, MANY_TICK, i, 0);
}

static inline void many_step(struct many *m, size_t i, struct gossip_event *ev)
{
	struct gossip_actions out;
	ev->now_ms = m->now;
	gossip_actions_init(&out, m->arena);
	assert_int_equal(gossip_step(m->v[i].g, ev, &out), ERR_OK);
	m->events++;
	many_actions(m, i, &out);
	arena_reset(m->arena);
	many_tick_at(m, i);
}

static inline void many_init(struct many *m, size_t n, uint64_t seed)
{
	memset(m, 0, sizeof *m);
	m->n = n;
	m->v = calloc(n, sizeof *m->v);
	m->arena = arena_new();
	m->now = 1000;
	m->delay_ms = 1;
	assert_true(m->v && m->arena);
	heap_init(&m->queue);
	rng_seed(&m->rng, seed);
	for (size_t i = 0; i < n; i++)
		m->v[i].name = rng_between(&m->rng, 1, PEER_MAX >> 16) << 16 | i;
}

static inline void many_start(struct many *m, size_t i)
{
	struct many_node *n = &m->v[i];
	struct gossip_cfg cfg = { .self = n->name,
		.nickname = "h",
		.version = "0.1",
		.n_psk = 1,
		.incarnation = ++n->life,
		.uid = rng_u64(&m->rng) | 1,
		.port = MANY_PORT,
		.discovery = true,
		.conn_limit = m->conn_limit,
		.addresses = { many_address(i) },
		.n_addresses = 1,
		.seed = rng_u64(&m->rng) };
	memset(cfg.static_secret, 1, sizeof cfg.static_secret);
	memcpy(cfg.static_secret, &n->name, sizeof n->name);
	assert_int_equal(crdt_map_new(&n->peers, true, cfg.seed), ERR_OK);
	assert_int_equal(crdt_map_new(&n->names, true, cfg.seed), ERR_OK);
	crdt_map_set_writer(n->peers, n->name, n->life);
	crdt_map_set_writer(n->names, n->name, n->life);
	cfg.peers = n->peers;
	n->conns = map_new(i);
	n->tick_at = 0;
	assert_non_null(n->conns);
	assert_int_equal(gossip_new(&n->g, &cfg, m->now), ERR_OK);
	assert_int_equal(gossip_add_channel(n->g, CHANNEL_NAMES, "names", n->names), ERR_OK);
	many_tick_at(m, i);
}

/* Silently: nobody is told. */
static inline void many_stop(struct many *m, size_t i)
{
	struct many_node *n = &m->v[i];
	for (size_t k = 0; k < m->n_streams; k++)
		for (int e = 0; e < 2; e++)
			if (m->streams[k]->node[e] == i)
				m->streams[k]->open[e] = false;
	gossip_free(n->g);
	crdt_map_free(n->peers);
	crdt_map_free(n->names);
	map_free(n->conns);
	n->g = NULL;
	n->life++;
}

static inline void many_free(struct many *m)
{
	struct heap_node *h;
	for (size_t i = 0; i < m->n; i++)
		if (m->v[i].g)
			many_stop(m, i);
	while ((h = heap_pop(&m->queue)) != NULL)
		free((struct many_event *)(void *)h);
	for (size_t k = 0; k < m->n_streams; k++)
		free(m->streams[k]);
	free(m->streams);
	heap_free(&m->queue);
	arena_free(m->arena);
	free(m->v);
}

static inline void many_connect(struct many *m, size_t i, size_t to)
{
	char text[HOSTPORT_TEXT];
	struct gossip_event ev = { .kind = GOSSIP_CONNECT };
	ev.u.target.target = hostport_format(many_address(to), text);
	many_step(m, i, &ev);
}

static inline void many_dial(struct many *m, size_t i, uint64_t conn, const char *host)
{
	struct ip ip;
	assert_int_equal(ip_parse(host, &ip), ERR_OK);
	size_t to = ip_to_v4(ip) - 0x0a000001;
	struct many_stream *s = calloc(1, sizeof *s);
	if (m->n_streams == m->cap_streams) {
		m->cap_streams = m->cap_streams * 2 + 64;
		m->streams = realloc(m->streams, m->cap_streams * sizeof(*m->streams));
	}
	assert_true(s && m->streams && to < m->n);
	m->streams[m->n_streams++] = s;
	s->node[0] = i;
	s->node[1] = to;
	s->id[0] = conn;
	s->open[0] = true;
	assert_int_equal(map_put64(m->v[i].conns, conn, s, NULL), ERR_OK);
	bool there = m->v[to].g != NULL && !(m->cut && m->cut(i, to));
	struct many_event *ev = many_post(m, m->now + 2 * m->delay_ms, there ? MANY_OPEN : MANY_CLOSED, i, 0);
	ev->s = s;
	ev->side = 0;
}

static inline void many_send(struct many *m, size_t i, uint64_t conn, struct slice bytes, bool fin)
{
	struct many_stream *s = map_get64(m->v[i].conns, conn);
	if (!s)
		return;
	int from = s->node[0] == i && s->id[0] == conn ? 0 : 1;
	uint64_t at = m->now + m->delay_ms + (m->retry_ms > 0 && rng_chance(&m->rng, 10000) ? m->retry_ms : 0);
	if (at < s->last_ms[from])
		at = s->last_ms[from];
	s->last_ms[from] = at;
	if (fin) {
		s->open[from] = false;
		map_del64(m->v[i].conns, conn);
	}
	if (!s->open[!from] || (m->cut && m->cut(s->node[0], s->node[1])))
		return;
	struct many_event *ev = many_post(m, at, fin ? MANY_CLOSED : MANY_DATA, s->node[!from], bytes.n);
	ev->s = s;
	ev->side = !from;
	if (bytes.n > 0)
		memcpy(ev->bytes, bytes.p, bytes.n);
}

static inline void many_actions(struct many *m, size_t i, const struct gossip_actions *out)
{
	for (size_t k = 0; k < out->n; k++) {
		const struct gossip_action *a = &out->v[k];
		if (a->kind == GOSSIP_DIAL)
			many_dial(m, i, a->u.dial.conn, a->u.dial.host);
		else if (a->kind == GOSSIP_SEND)
			many_send(m, i, a->u.send.conn, a->u.send.bytes, false);
		else if (a->kind == GOSSIP_CLOSE)
			many_send(m, i, a->u.close.conn, (struct slice){ NULL, 0 }, true);
		else if (a->kind == GOSSIP_NEWS && a->u.news.channel == CHANNEL_NAMES)
			for (size_t c = 0; c < a->u.news.changes.n; c++)
				if (slice_eq(a->u.news.changes.keys[c], slice_of(m->watch, m->n_watch)))
					m->v[i].knows_ms = m->now;
	}
}

static inline void many_open(struct many *m, struct many_stream *s)
{
	static const struct hostport from = { .ip = { 4, { 10, 200, 0, 1 } }, .port = 4000 };
	size_t b = s->node[1];
	if (!s->open[0] || m->v[b].g == NULL)
		return;
	s->id[1] = ++m->v[b].next_conn;
	s->open[1] = true;
	assert_int_equal(map_put64(m->v[b].conns, s->id[1], s, NULL), ERR_OK);
	for (int e = 1; e >= 0; e--) {
		struct gossip_event ev = { .kind = GOSSIP_CONN_OPEN };
		ev.u.open.conn = s->id[e];
		ev.u.open.outbound = e == 0;
		ev.u.open.remote = e == 0 ? many_address(b) : from;
		if (e == 1)
			ev.u.open.remote.ip = many_address(s->node[0]).ip;
		ev.u.open.local = e == 0 ? many_address(s->node[0]) : many_address(b);
		rng_fill(&m->rng, ev.u.open.entropy, sizeof ev.u.open.entropy);
		many_step(m, s->node[e], &ev);
	}
}

static inline void many_happen(struct many *m, struct many_event *e)
{
	struct many_node *n = &m->v[e->node];
	struct gossip_event ev = { .kind = GOSSIP_TICK };
	if (!n->g || n->life != e->life || (e->kind == MANY_TICK && e->at.key != n->tick_at))
		return;
	if (e->kind == MANY_OPEN) {
		many_open(m, e->s);
		return;
	}
	if (e->kind != MANY_TICK && !e->s->open[e->side])
		return;
	if (e->kind == MANY_DATA) {
		ev.kind = GOSSIP_CONN_DATA;
		ev.u.data.conn = e->s->id[e->side];
		ev.u.data.bytes = slice_of(e->bytes, e->n);
	} else if (e->kind == MANY_CLOSED) {
		ev.kind = GOSSIP_CONN_CLOSED;
		ev.u.closed.conn = e->s->id[e->side];
		ev.u.closed.why = e->s->open[1] || e->side == 1 ? "closed by the other end" : "connecting timed out";
		e->s->open[e->side] = false;
		map_del64(n->conns, ev.u.closed.conn);
	}
	many_step(m, e->node, &ev);
	if (e->kind != MANY_DATA || !e->s->open[e->side])
		return;
	/* What the other side had queued is gone. */
	struct many_node *o = &m->v[e->s->node[!e->side]];
	if (o->g && e->s->open[!e->side] && map_get64(o->conns, e->s->id[!e->side]) == e->s) {
		struct gossip_event d = { .kind = GOSSIP_CONN_DRAINED };
		d.u.drained.conn = e->s->id[!e->side];
		many_step(m, e->s->node[!e->side], &d);
	}
}

static inline void many_run(struct many *m, uint64_t ms)
{
	uint64_t until = m->now + ms;
	struct heap_node *h;
	while ((h = heap_peek(&m->queue)) != NULL && h->key <= until) {
		m->now = h->key > m->now ? h->key : m->now;
		struct many_event *e = (struct many_event *)(void *)heap_pop(&m->queue);
		many_happen(m, e);
		free(e);
	}
	m->now = until;
}

static inline void many_put(struct many *m, size_t i, const char *key, const char *value)
{
	struct crdt_changes ch;
	struct arena *arena = arena_new();
	struct wbuf w;
	assert_non_null(arena);
	wbuf_fixed(&w, m->watch, sizeof m->watch);
	wbuf_u48(&w, m->v[i].name);
	wbuf_bytes(&w, key, strlen(key));
	m->n_watch = w.len;
	for (size_t k = 0; k < m->n; k++)
		m->v[k].knows_ms = k == i ? m->now : 0;
	crdt_changes_init(&ch, arena);
	assert_int_equal(crdt_map_put(m->v[i].names, slice_str(key), slice_str(value), &ch), ERR_OK);
	struct gossip_event ev = { .kind = GOSSIP_CHANGED };
	ev.u.changed.channel = CHANNEL_NAMES;
	ev.u.changed.changes = &ch;
	many_step(m, i, &ev);
	arena_free(arena);
}

static inline uint64_t many_sum(const struct many *m, uint64_t (*of)(const struct gossip_counters *c))
{
	uint64_t sum = 0;
	for (size_t i = 0; i < m->n; i++)
		sum += m->v[i].g ? of(gossip_counters(m->v[i].g)) : 0;
	return sum;
}

static inline uint64_t many_deltas(const struct gossip_counters *c)
{
	return c->messages_out[MESSAGE_DELTA];
}

static inline uint64_t many_bytes(const struct gossip_counters *c)
{
	return c->bytes_out;
}

static inline size_t many_links(const struct many *m, size_t i)
{
	size_t n = 0;
	for (size_t k = 0; m->v[i].g && k < m->v[i].g->n_links; k++)
		n += m->v[i].g->links[k]->stage == STAGE_ESTABLISHED ? 1 : 0;
	return n;
}

static inline bool many_equal(const struct many *m)
{
	struct slice all = { NULL, 0 };
	const struct many_node *first = NULL;
	for (size_t i = 0; i < m->n; i++) {
		const struct many_node *n = &m->v[i];
		if (!n->g)
			continue;
		if (first &&
			(!fingerprint_eq(crdt_map_fingerprint(first->names, all, all), crdt_map_fingerprint(n->names, all, all)) ||
				!fingerprint_eq(crdt_map_fingerprint(first->peers, all, all), crdt_map_fingerprint(n->peers, all, all))))
			return false;
		first = first ? first : n;
	}
	return true;
}

#endif
