/* A small network inside one test program: gossip cores joined by byte streams, under simulated time and from one seed.
 *
 * A stream has two directions. What a core sends goes into its direction's buffer and comes out at the other end after a delay, cut into
 * pieces of any size. A direction may be stalled (bytes wait, the sender sees its queue grow) or lost (bytes vanish and nobody is told).
 * Two nodes may be parted: no new streams, and the present ones lose everything. The harness itself uses malloc, so that the failing
 * allocator of base/mem.h meets only the code under test. */
#ifndef WEFT_TESTS_GOSSIP_NET_H
#define WEFT_TESTS_GOSSIP_NET_H

#include "tests/unit/base/cmocka_all.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "crdt/map.h"
#include "gossip/gossip.h"
#include "gossip/internal.h"
#include "gossip/message.h"
#include "tests/unit/base/seed.h"

#define NET_NODES   40
#define NET_STREAMS 4096
#define NET_PORT    6783

struct direction {
	uint8_t *buf;
	size_t len, cap;
	uint64_t at_ms;                /* next delivery */
	bool fin, lost, stalled, told; /* told: the end was delivered */
	size_t delivered;
};
struct stream {
	bool used;
	int node[2]; /* dialler, acceptor */
	uint64_t id[2];
	bool open[2]; /* the core there still has it */
	bool announced;
	uint64_t at_ms;        /* of being connected */
	struct hostport to;    /* as dialled */
	struct direction d[2]; /* d[k]: from node[k] to the other */
};
struct node {
	struct gossip *g;
	struct crdt_map *peers, *names;
	struct arena *arena;
	uint64_t name, uid, incarnation;
	uint8_t secret[32];
	uint64_t next_conn;
	struct hostport at;
	bool contested;
	char contested_text[400];
	uint64_t unicasts, last_from, news, topologies, sends, dials, self_dials, closes, notes, self_notes;
	uint8_t last_kind;
	size_t last_size;
	enum err last_error;
	char last_warning[512];
	bool nomem_seen;
	struct hostport publishes[2]; /* as its addresses */
	size_t n_publishes;
	uint64_t stopped_until; /* it does not run before; its kernel does. Then its timers go first, as in most event loops */
};
struct net {
	struct node n[NET_NODES];
	int nodes;
	struct stream *s;
	size_t n_streams;
	bool parted[NET_NODES][NET_NODES];
	struct rng rng;
	uint64_t seed, now, trace, steps;
	uint64_t delay_ms; /* at most */
	bool chunks, verbose, discovery, pause_ticks;
	uint32_t deadline_ms;
	size_t conn_limit;
	uint8_t (*password)[32]; /* per node, or NULL */
	struct stream *by_hand;  /* a connection whose other end a test plays */
};

static inline void net_fold(struct net *t, const void *p, size_t n)
{
	const uint8_t *b = p;
	for (size_t i = 0; i < n; i++)
		t->trace = (t->trace ^ b[i]) * UINT64_C(1099511628211);
}

static inline struct hostport net_address(int i)
{
	return (struct hostport){ .ip = ip_v4(UINT32_C(0x0a000001) + (uint32_t)i), .port = NET_PORT };
}

/* An address that every host has for itself. */
static inline struct hostport net_docker_bridge(void)
{
	return (struct hostport){ .ip = ip_v4(UINT32_C(0xac110001)), .port = NET_PORT };
}

static inline const char *net_target(int i, char out[HOSTPORT_TEXT])
{
	return hostport_format(net_address(i), out);
}

static inline void net_init(struct net *t, int nodes, uint64_t seed)
{
	memset(t, 0, sizeof *t);
	t->s = calloc(NET_STREAMS, sizeof *t->s);
	assert_non_null(t->s);
	t->nodes = nodes;
	t->seed = seed;
	t->now = 1000;
	t->delay_ms = 2;
	t->chunks = t->discovery = true;
	t->trace = UINT64_C(14695981039346656037);
	rng_seed(&t->rng, seed);
	for (int i = 0; i < nodes; i++) {
		t->n[i].name = UINT64_C(0x020000000000) + (uint64_t)(i + 1);
		t->n[i].at = net_address(i);
	}
}

static inline void net_actions(struct net *t, int i, struct gossip_actions *out);

static inline enum err net_step(struct net *t, int i, struct gossip_event *ev)
{
	struct node *n = &t->n[i];
	struct gossip_actions out;
	ev->now_ms = t->now;
	gossip_actions_init(&out, n->arena);
	enum err e = gossip_step(n->g, ev, &out);
	n->last_error = e;
	n->nomem_seen = n->nomem_seen || e == ERR_NOMEM;
	t->steps++;
	net_actions(t, i, &out);
	arena_reset(n->arena);
	return e;
}

/* Starts node i; other: with the key of that number (usually i). false: out of memory. */
static inline bool net_try_start(struct net *t, int i, int key, struct crdt_map *peers, struct crdt_map *names)
{
	struct node *n = &t->n[i];
	char nick[16];
	struct gossip_cfg cfg = { .self = n->name,
		.nickname = nick,
		.version = "0.1",
		.n_psk = 1,
		.incarnation = ++n->incarnation,
		.uid = rng_u64(&t->rng) | 1,
		.port = NET_PORT,
		.discovery = t->discovery,
		.conn_limit = t->conn_limit,
		.deadline_ms = t->deadline_ms,
		.peers = peers,
		.seed = t->seed * 1000 + (uint64_t)i };
	(void)snprintf(nick, sizeof nick, "h%d", i + 1);
	memcpy(cfg.addresses, n->publishes, sizeof n->publishes);
	cfg.n_addresses = n->n_publishes;
	memset(cfg.static_secret, key + 1, sizeof cfg.static_secret);
	memcpy(n->secret, cfg.static_secret, sizeof n->secret);
	if (t->password)
		memcpy(cfg.psk[0], t->password[i], 32);
	crdt_map_set_writer(peers, n->name, n->incarnation);
	crdt_map_set_writer(names, n->name, n->incarnation);
	n->uid = cfg.uid;
	n->peers = peers;
	n->names = names;
	if (gossip_new(&n->g, &cfg, t->now) != ERR_OK)
		return false;
	if (gossip_add_channel(n->g, CHANNEL_NAMES, "names", names) == ERR_OK)
		return true;
	gossip_free(n->g);
	n->g = NULL;
	return false;
}

static inline void net_start_key(struct net *t, int i, int key)
{
	struct crdt_map *peers, *names;
	t->n[i].arena = arena_new();
	assert_non_null(t->n[i].arena);
	assert_int_equal(crdt_map_new(&peers, true, t->seed), ERR_OK);
	assert_int_equal(crdt_map_new(&names, true, t->seed), ERR_OK);
	assert_true(net_try_start(t, i, key, peers, names));
}

static inline void net_start(struct net *t, int i)
{
	net_start_key(t, i, i);
}

static inline void net_stop(struct net *t, int i)
{
	struct node *n = &t->n[i];
	gossip_free(n->g);
	crdt_map_free(n->peers);
	crdt_map_free(n->names);
	arena_free(n->arena);
	n->g = NULL;
	n->peers = n->names = NULL;
	n->arena = NULL;
	n->contested = false;
}

/* The process dies: the kernel resets its connections (or, silent, nobody is told). */
static inline void net_kill(struct net *t, int i, bool silent)
{
	net_stop(t, i);
	for (size_t k = 0; k < t->n_streams; k++) {
		struct stream *s = &t->s[k];
		for (int e = 0; s->used && e < 2; e++) {
			if (s->node[e] != i)
				continue;
			s->open[e] = false;
			s->d[e].fin = !silent;
			s->d[e].lost = silent;
			s->d[1 - e].lost = true;
			s->d[e].at_ms = t->now;
		}
	}
}

static inline void net_free(struct net *t)
{
	for (int i = 0; i < t->nodes; i++)
		if (t->n[i].g)
			net_stop(t, i);
	for (size_t k = 0; k < t->n_streams; k++) {
		free(t->s[k].d[0].buf);
		free(t->s[k].d[1].buf);
	}
	free(t->s);
}

static inline void net_part(struct net *t, int a, int b, bool parted)
{
	t->parted[a][b] = t->parted[b][a] = parted;
	for (size_t k = 0; parted && k < t->n_streams; k++) {
		struct stream *s = &t->s[k];
		if (s->used && ((s->node[0] == a && s->node[1] == b) || (s->node[0] == b && s->node[1] == a)))
			s->d[0].lost = s->d[1].lost = true;
	}
}

/* What a core asks for */

static inline int net_resolve(const struct net *t, const char *host, int dialler)
{
	struct ip ip;
	int i;
	if (sscanf(host, "h%d", &i) == 1)
		return i - 1;
	if (ip_parse(host, &ip) != ERR_OK)
		return -1;
	if (ip_eq(ip, net_docker_bridge().ip))
		return dialler;
	for (i = 0; i < t->nodes; i++)
		if (ip_eq(t->n[i].at.ip, ip))
			return i;
	return -1;
}

static inline void net_dial(struct net *t, int i, uint64_t conn, const char *host)
{
	assert_true(t->n_streams < NET_STREAMS);
	assert_true(conn >> 63 == 1);
	struct stream *s = &t->s[t->n_streams++];
	memset(s, 0, sizeof *s);
	s->used = true;
	s->node[0] = i;
	s->node[1] = net_resolve(t, host, i);
	s->id[0] = conn;
	s->open[0] = true;
	s->to = (struct hostport){ .port = NET_PORT };
	if (ip_parse(host, &s->to.ip) != ERR_OK && s->node[1] >= 0)
		s->to = t->n[s->node[1]].at;
	t->n[i].self_dials += s->node[1] == i ? 1 : 0;
	s->at_ms = t->now + rng_below(&t->rng, t->delay_ms + 1) + rng_below(&t->rng, t->delay_ms + 1);
}

static inline struct stream *net_stream(struct net *t, int i, uint64_t conn, int *end)
{
	if (t->by_hand && t->by_hand->node[1] == i && t->by_hand->id[1] == conn) {
		*end = 1;
		return t->by_hand;
	}
	for (size_t k = t->n_streams; k-- > 0;)
		for (int e = 0; e < 2; e++)
			if (t->s[k].used && t->s[k].node[e] == i && t->s[k].id[e] == conn && (e == 0 || t->s[k].announced)) {
				*end = e;
				return &t->s[k];
			}
	return NULL;
}

static inline void net_send(struct net *t, int i, uint64_t conn, struct slice bytes)
{
	int e = 0;
	struct stream *s = net_stream(t, i, conn, &e);
	assert_non_null(s);
	if (!s->open[e])
		return;
	struct direction *d = &s->d[e];
	if (d->len + bytes.n > d->cap) {
		d->cap = (d->len + bytes.n) * 2;
		d->buf = realloc(d->buf, d->cap);
		assert_non_null(d->buf);
	}
	memcpy(d->buf + d->len, bytes.p, bytes.n);
	if (d->len == 0 && d->at_ms < t->now)
		d->at_ms = t->now + rng_below(&t->rng, t->delay_ms + 1);
	d->len += bytes.n;
}

static inline void net_actions(struct net *t, int i, struct gossip_actions *out)
{
	struct node *n = &t->n[i];
	int e = 0;
	for (size_t k = 0; k < out->n; k++) {
		const struct gossip_action *a = &out->v[k];
		net_fold(t, &t->now, sizeof t->now);
		net_fold(t, &i, sizeof i);
		net_fold(t, &a->kind, sizeof a->kind);
		switch (a->kind) {
		case GOSSIP_DIAL:
			n->dials++;
			net_dial(t, i, a->u.dial.conn, a->u.dial.host);
			break;
		case GOSSIP_SEND:
			n->sends++;
			net_fold(t, a->u.send.bytes.p, a->u.send.bytes.n);
			net_send(t, i, a->u.send.conn, a->u.send.bytes);
			break;
		case GOSSIP_CLOSE: {
			n->closes++;
			struct stream *s = net_stream(t, i, a->u.close.conn, &e);
			assert_non_null(s);
			assert_true(s->open[e]);
			s->open[e] = false;
			s->d[e].fin = true;
			s->d[1 - e].lost = true;
			if (s->d[e].len == 0)
				s->d[e].at_ms = t->now;
			break;
		}
		case GOSSIP_NEWS: n->news++; break;
		case GOSSIP_UNICAST:
			n->unicasts++;
			n->last_from = a->u.unicast.from;
			n->last_kind = a->u.unicast.kind;
			n->last_size = a->u.unicast.payload.n;
			break;
		case GOSSIP_TOPOLOGY: n->topologies++; break;
		case GOSSIP_CONTESTED:
			assert_int_not_equal(n->contested, a->u.contested.on);
			n->contested = a->u.contested.on;
			(void)snprintf(n->contested_text, sizeof n->contested_text, "%s", a->u.contested.text);
			break;
		case GOSSIP_NOTE:
			n->notes += a->u.note.level > NOTE_DEBUG ? 1 : 0;
			if (strstr(a->u.note.text, "ourselves"))
				n->self_notes++;
			if (a->u.note.level >= NOTE_WARNING)
				(void)snprintf(n->last_warning, sizeof n->last_warning, "%s", a->u.note.text);
			if (t->verbose)
				print_message("%6llu h%d %d%s %s\n", (unsigned long long)t->now, i + 1, (int)a->u.note.level,
					a->u.note.stranger ? "s" : "", a->u.note.text);
			break;
		}
	}
}

/* Time */

static inline void net_announce(struct net *t, struct stream *s)
{
	int a = s->node[0], b = s->node[1];
	s->announced = true;
	if (!s->open[0] || (b >= 0 && t->parted[a][b]))
		return; /* into the void: the dialler's own patience ends it */
	if (b < 0 || !t->n[b].g) {
		struct gossip_event ev = { .kind = GOSSIP_CONN_CLOSED };
		ev.u.closed.conn = s->id[0];
		ev.u.closed.why = b < 0 ? "cannot resolve host" : "connection refused";
		s->open[0] = false;
		(void)net_step(t, a, &ev);
		return;
	}
	s->id[1] = ++t->n[b].next_conn;
	s->open[1] = true;
	struct hostport from = { .ip = net_address(a).ip, .port = (uint16_t)(30000 + (s - t->s) % 30000) };
	for (int e = 1; e >= 0; e--) {
		struct gossip_event ev = { .kind = GOSSIP_CONN_OPEN };
		int i = s->node[e];
		ev.u.open.conn = s->id[e];
		ev.u.open.outbound = e == 0;
		ev.u.open.remote = e == 0 ? s->to : from;
		ev.u.open.local = e == 0 ? from : t->n[b].at;
		rng_fill(&t->rng, ev.u.open.entropy, sizeof ev.u.open.entropy);
		(void)net_step(t, i, &ev);
	}
}

static inline uint64_t net_reads_at(const struct net *t, const struct stream *s, int e)
{
	uint64_t until = s->node[1 - e] >= 0 ? t->n[s->node[1 - e]].stopped_until : 0;
	return s->d[e].at_ms <= until ? until + 1 : s->d[e].at_ms;
}

static inline bool net_due(const struct direction *d)
{
	return !d->stalled && (d->len > 0 || (d->fin && !d->told));
}

static inline void net_deliver(struct net *t, struct stream *s, int e)
{
	struct direction *d = &s->d[e];
	int from = s->node[e], to = s->node[1 - e];
	if (d->len > 0) {
		size_t n = t->chunks && rng_chance(&t->rng, 500000) ? (size_t)rng_between(&t->rng, 1, d->len) : d->len;
		uint8_t *copy = malloc(n);
		assert_non_null(copy);
		memcpy(copy, d->buf, n);
		memmove(d->buf, d->buf + n, d->len - n);
		d->len -= n;
		d->delivered += n;
		d->at_ms = t->now + (d->len > 0 ? rng_below(&t->rng, 2) : 0);
		if (!d->lost && to >= 0 && s->open[1 - e]) {
			struct gossip_event ev = { .kind = GOSSIP_CONN_DATA };
			ev.u.data.conn = s->id[1 - e];
			ev.u.data.bytes = slice_of(copy, n);
			(void)net_step(t, to, &ev);
		}
		free(copy);
		if (s->open[e] && !d->lost) {
			struct gossip_event ev = { .kind = GOSSIP_CONN_DRAINED };
			ev.u.drained.conn = s->id[e];
			ev.u.drained.queued_bytes = d->len;
			(void)net_step(t, from, &ev);
		}
		return;
	}
	d->told = true;
	if (d->lost || to < 0 || !s->open[1 - e])
		return;
	struct gossip_event ev = { .kind = GOSSIP_CONN_CLOSED };
	s->open[1 - e] = false;
	ev.u.closed.conn = s->id[1 - e];
	ev.u.closed.why = "closed by the other end";
	(void)net_step(t, to, &ev);
}

/* What comes next: a stream (connecting, or its direction e), or a node's tick. */
static inline uint64_t net_next(const struct net *t, int *node, struct stream **stream, int *end)
{
	uint64_t best = UINT64_MAX;
	for (size_t k = 0; k < t->n_streams; k++) {
		struct stream *s = &t->s[k];
		if (!s->used)
			continue;
		if (!s->announced && s->at_ms < best) {
			best = s->at_ms;
			*stream = s;
			*end = -1;
		}
		for (int e = 0; s->announced && e < 2; e++)
			if (net_due(&s->d[e]) && net_reads_at(t, s, e) < best) {
				best = net_reads_at(t, s, e);
				*stream = s;
				*end = e;
			}
	}
	for (int i = 0; i < t->nodes && !t->pause_ticks; i++) {
		uint64_t at = t->n[i].g ? gossip_deadline_ms(t->n[i].g) : UINT64_MAX;
		if (at < t->n[i].stopped_until)
			at = t->n[i].stopped_until;
		if (at < best) {
			best = at;
			*stream = NULL;
			*node = i;
		}
	}
	return best;
}

/* Streams that are over are forgotten, so that long runs stay quick. */
static inline void net_sweep(struct net *t)
{
	while (t->n_streams > 0) {
		struct stream *s = &t->s[t->n_streams - 1];
		bool over = s->announced && !s->open[0] && !s->open[1] && !net_due(&s->d[0]) && !net_due(&s->d[1]);
		if (s->used && !over)
			break;
		free(s->d[0].buf);
		free(s->d[1].buf);
		memset(s, 0, sizeof *s);
		t->n_streams--;
	}
}

static inline void net_run(struct net *t, uint64_t ms)
{
	uint64_t until = t->now + ms;
	int guard = 0;
	for (;;) {
		int node = 0, end = 0;
		struct stream *s = NULL;
		uint64_t at = net_next(t, &node, &s, &end);
		if (at > until)
			break;
		guard = at > t->now ? 0 : guard + 1;
		assert_true(guard < 100000); /* time must go on */
		if (at > t->now)
			t->now = at;
		if (s && end < 0)
			net_announce(t, s);
		else if (s)
			net_deliver(t, s, end);
		else
			(void)net_step(t, node, &(struct gossip_event){ .kind = GOSSIP_TICK });
		net_sweep(t);
	}
	t->now = until;
}

/* What tests do and ask */

static inline enum err net_connect(struct net *t, int i, int to)
{
	char text[HOSTPORT_TEXT];
	struct gossip_event ev = { .kind = GOSSIP_CONNECT };
	ev.u.target.target = net_target(to, text);
	return net_step(t, i, &ev);
}

static inline enum err net_put(struct net *t, int i, const char *key, const char *value)
{
	struct arena *arena = arena_new();
	struct crdt_changes ch;
	assert_non_null(arena);
	crdt_changes_init(&ch, arena);
	assert_int_equal(crdt_map_put(t->n[i].names, slice_str(key), slice_str(value), &ch), ERR_OK);
	struct gossip_event ev = { .kind = GOSSIP_CHANGED };
	ev.u.changed.channel = CHANNEL_NAMES;
	ev.u.changed.changes = &ch;
	enum err e = net_step(t, i, &ev);
	arena_free(arena);
	return e;
}

/* The signing pair of a node, or of one who is nowhere. */
static inline void net_pair(const struct net *t, uint64_t owner, uint8_t public_key[32], uint8_t secret_key[64])
{
	uint8_t secret[32];
	memset(secret, 0xee, sizeof secret);
	for (int k = 0; k < t->nodes; k++)
		if (t->n[k].name == owner)
			memcpy(secret, t->n[k].secret, sizeof secret);
	gossip_prover_ed25519.pair(secret, public_key, secret_key);
}

/* Puts an item of anybody's into a node's map, signed by its owner, as if it had come by gossip, and has it passed on. */
static inline void net_plant(
	struct net *t, int i, uint8_t channel, uint64_t owner, const char *key, struct stamp stamp, struct slice value)
{
	struct arena *arena = arena_new();
	struct crdt_changes ch;
	uint8_t mem[CRDT_KEY_MAX];
	struct wbuf w;
	enum crdt_merge what;
	assert_non_null(arena);
	crdt_changes_init(&ch, arena);
	wbuf_fixed(&w, mem, sizeof mem);
	wbuf_u48(&w, owner);
	wbuf_bytes(&w, key, strlen(key));
	struct crdt_item it = { .key = wbuf_slice(&w), .stamp = stamp, .live = true, .value = value };
	struct crdt_map *m = channel == CHANNEL_PEERS ? t->n[i].peers : t->n[i].names;
	uint8_t public_key[32], secret_key[64], proof[CRDT_PROOF_MAX];
	net_pair(t, owner, public_key, secret_key);
	it.proof = slice_of(proof, gossip_sign_proof(&gossip_prover_ed25519, secret_key, owner, true, channel, &it, proof));
	assert_int_equal(crdt_map_merge(m, &it, &what, &ch), ERR_OK);
	assert_int_equal(what, CRDT_NEWS);
	struct gossip_event ev = { .kind = GOSSIP_CHANGED };
	ev.u.changed.channel = channel;
	ev.u.changed.changes = &ch;
	assert_int_equal(net_step(t, i, &ev), ERR_OK);
	arena_free(arena);
}

/* Subkey "i" of one who is nowhere. */
static inline void net_plant_info(struct net *t, int i, uint64_t owner)
{
	struct peer_info info = { .name = owner, .nickname = "ghost", .uid = owner };
	uint8_t mem[512], secret_key[64];
	struct wbuf w;
	net_pair(t, owner, info.sign_key, secret_key);
	wbuf_fixed(&w, mem, sizeof mem);
	gossip_peer_info_encode(&w, &info);
	assert_int_equal(wbuf_end(&w), ERR_OK);
	net_plant(t, i, CHANNEL_PEERS, owner, "i", (struct stamp){ 1, 1 }, wbuf_slice(&w));
}

static inline bool net_has(const struct net *t, int i, int owner, const char *key, const char *value)
{
	uint8_t mem[CRDT_KEY_MAX];
	struct wbuf w;
	struct crdt_item it;
	wbuf_fixed(&w, mem, sizeof mem);
	wbuf_u48(&w, t->n[owner].name);
	wbuf_bytes(&w, key, strlen(key));
	return crdt_map_get(t->n[i].names, wbuf_slice(&w), &it) && it.live && slice_eq(it.value, slice_str(value));
}

static inline void net_unicast(struct net *t, int i, int to, size_t size)
{
	static uint8_t payload[GOSSIP_UNICAST_MAX];
	struct gossip_event ev = { .kind = GOSSIP_SEND_UNICAST };
	ev.u.unicast.to = t->n[to].name;
	ev.u.unicast.kind = 7;
	ev.u.unicast.payload = slice_of(payload, size);
	assert_int_equal(net_step(t, i, &ev), ERR_OK);
}

static inline size_t net_links(const struct net *t, int i, enum link_state state, int peer)
{
	struct link_view v;
	size_t n = 0;
	for (size_t it = 0; gossip_next_link(t->n[i].g, &it, &v);)
		n += v.state == state && (peer < 0 || v.peer == t->n[peer].name) ? 1 : 0;
	return n;
}

/* The first line of `status connections` that is no established link. */
static inline bool net_trouble(const struct net *t, int i, struct link_view *v)
{
	for (size_t it = 0; gossip_next_link(t->n[i].g, &it, v);)
		if (v->state != LINK_ESTABLISHED)
			return true;
	return false;
}

static inline bool net_full_mesh(const struct net *t)
{
	for (int i = 0; i < t->nodes; i++)
		for (int k = 0; k < t->nodes; k++)
			if (i != k && t->n[i].g && t->n[k].g &&
				(net_links(t, i, LINK_ESTABLISHED, k) != 1 || !gossip_reachable(t->n[i].g, t->n[k].name)))
				return false;
	return true;
}

static inline bool net_equal(const struct net *t)
{
	struct slice all = { NULL, 0 };
	for (int i = 1; i < t->nodes; i++) {
		if (!t->n[i].g || !t->n[0].g)
			continue;
		if (!fingerprint_eq(crdt_map_fingerprint(t->n[0].names, all, all), crdt_map_fingerprint(t->n[i].names, all, all)) ||
			!fingerprint_eq(crdt_map_fingerprint(t->n[0].peers, all, all), crdt_map_fingerprint(t->n[i].peers, all, all)))
			return false;
	}
	return true;
}

/* Runs until the condition holds; the time it took, or UINT64_MAX after `within` ms. */
static inline uint64_t net_until(struct net *t, uint64_t within_ms, bool (*holds)(const struct net *t))
{
	uint64_t start = t->now;
	while (!holds(t)) {
		if (t->now - start >= within_ms)
			return UINT64_MAX;
		net_run(t, 1);
	}
	return t->now - start;
}

#endif
