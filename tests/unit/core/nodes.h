/* A few whole cores in one test program, joined by streams that lose nothing, under simulated time. Each has a disk that survives it. Datagrams take a
 * millisecond and obey struct wire; those relayed for others are passed on as the data threads do it.
 * The harness itself uses malloc, so that the failing allocator of base/mem.h meets only the code under test. */
#ifndef WEFT_TESTS_CORE_NODES_H
#define WEFT_TESTS_CORE_NODES_H

#include "tests/unit/base/cmocka_all.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "crdt/map.h"
#include "dns/name.h"
#include "router/core/internal.h"
#include "tunnel/wire.h"

#define NODES_MAX   4
#define STREAMS_MAX 256
#define DISK_MAX    2048
#define PORT        6783

struct record {
	uint8_t *key, *value;
	size_t key_len, value_len;
};
struct stream {
	int node[2];
	uint64_t conn[2];
	bool up;
};
struct wire {                      /* of one direction */
	bool no_vxlan, no_udp, no_tcp; /* no_tcp: of connections dialled that way */
	bool refused;                  /* UDP: "nobody listens there" comes back */
	unsigned mtu;                  /* largest IP packet that passes without a word; 0: any */
	uint64_t delay_ms;             /* 0: 1 */
};
struct delivery {
	uint64_t at;
	int node;
	struct core_event datagram; /* kind DATAGRAM or UNDELIVERED, else it is ev */
	struct gossip_event ev;
	uint8_t *bytes;
	struct delivery *next;
};
struct node {
	struct core *core;
	struct arena *arena;
	uint64_t name, incarnation, next_conn, next_request;
	struct record disk[DISK_MAX];
	size_t n_disk;
	/* the last reply, and what came of the last step */
	uint64_t replied, count;
	enum err reply, step;
	char text[512];
	struct prefix result;
	size_t replies, forwardings, dials, persists;
	size_t probes[3]; /* datagrams sent over UDP, over VXLAN, relayed for others */
	size_t longest;   /* IP packet among them */
	size_t changes;   /* CORE_PATH_CHANGED */
	unsigned device;  /* MTU of its underlay device; 0: 1500 */
	char note[512];
};
struct nodes {
	struct wire wire[NODES_MAX][NODES_MAX]; /* from, to */
	size_t sent[NODES_MAX][NODES_MAX];      /* datagrams */
	struct delivery *later;
	struct node n[NODES_MAX];
	struct stream s[STREAMS_MAX];
	size_t n_streams;
	struct delivery *first, **last;
	uint64_t now;
	bool cut;             /* what is sent is lost; nobody is told */
	bool down[NODES_MAX]; /* does not listen */
	/* Node 0 may have its steps made, and what it does at its start carried out, in another way. */
	enum err (*step)(struct nodes *t, const struct core_event *ev);
	void (*carry_out)(struct nodes *t, const struct core_actions *acts);
};

static inline struct hostport node_at(int i)
{
	return (struct hostport){ .ip = ip_v4(UINT32_C(0x0a000001) + (uint32_t)i), .port = PORT };
}

static inline int nodes_index(struct ip ip)
{
	for (int i = 0; i < NODES_MAX; i++)
		if (ip_eq(ip, node_at(i).ip))
			return i;
	return -1;
}

static inline void nodes_init(struct nodes *t)
{
	memset(t, 0, sizeof(*t));
	t->last = &t->first;
	t->now = 1000;
	for (int i = 0; i < NODES_MAX; i++) {
		t->n[i].name = UINT64_C(0x020000000000) + (uint64_t)i + 1;
		t->n[i].next_request = 1;
	}
}

static inline void nodes_post(struct nodes *t, int node, const struct gossip_event *ev, struct slice bytes)
{
	struct delivery *d = calloc(1, sizeof(*d));
	assert_non_null(d);
	d->node = node;
	d->ev = *ev;
	if (bytes.n > 0) {
		d->bytes = malloc(bytes.n);
		assert_non_null(d->bytes);
		memcpy(d->bytes, bytes.p, bytes.n);
		d->ev.u.data.bytes = slice_of(d->bytes, bytes.n);
	}
	*t->last = d;
	t->last = &d->next;
}

static inline unsigned nodes_device_mtu(const struct node *n)
{
	return n->device != 0 ? n->device : 1500;
}

static inline void nodes_later(struct nodes *t, int node, uint64_t at, const struct core_event *ev)
{
	struct delivery *d = calloc(1, sizeof(*d)), **place = &t->later;
	assert_non_null(d);
	d->node = node;
	d->at = at;
	d->datagram = *ev;
	if (ev->bytes.n > 0) {
		d->bytes = malloc(ev->bytes.n);
		assert_non_null(d->bytes);
		memcpy(d->bytes, ev->bytes.p, ev->bytes.n);
		d->datagram.bytes = slice_of(d->bytes, ev->bytes.n);
	}
	while (*place != NULL && (*place)->at <= at)
		place = &(*place)->next;
	d->next = *place;
	*place = d;
}

/* What node `from` sends over its wire. own: id of its action, to say that it was not sent. */
static inline void nodes_datagram(
	struct nodes *t, int from, enum core_via via, struct hostport to, uint64_t peer, uint64_t id, struct slice bytes)
{
	int far = nodes_index(to.ip);
	size_t size = bytes.n + (via == CORE_VIA_UDP ? WIRE_IP4_UDP : 50);
	struct core_event failed = { .kind = CORE_UNDELIVERED, .via = via, .peer = peer, .id = id },
					  ev = { .kind = CORE_DATAGRAM, .via = via, .bytes = bytes };

	t->n[from].probes[via]++;
	t->n[from].longest = size > t->n[from].longest ? size : t->n[from].longest;
	if (far < 0)
		return;
	const struct wire *w = &t->wire[from][far];
	t->sent[from][far]++;
	uint64_t at = t->now + (w->delay_ms != 0 ? w->delay_ms : 1);
	failed.err = size > nodes_device_mtu(&t->n[from]) ? ERR_LIMIT : via == CORE_VIA_UDP && w->refused ? ERR_REFUSED : ERR_OK;
	if (failed.err != ERR_OK) {
		nodes_later(t, from, failed.err == ERR_LIMIT ? t->now : at, &failed);
		return;
	}
	if (t->cut || (via == CORE_VIA_UDP ? w->no_udp : w->no_vxlan) || (w->mtu != 0 && size > w->mtu))
		return;
	if (via == CORE_VIA_UDP)
		ev.from = node_at(from);
	nodes_later(t, far, at, &ev);
}

/* What the data plane does with one before the core sees it: VXLAN only from whom it may come, relayed ones of others are passed on. */
static inline bool nodes_for_core(struct nodes *t, int i, const struct core_event *ev)
{
	struct wire_head h;
	struct slice payload;
	struct path_hop hop;
	struct hostport to;
	uint8_t copy[2048];

	if (ev->kind != CORE_DATAGRAM)
		return true;
	if (ev->via == CORE_VIA_VXLAN)
		for (int k = 0; k < NODES_MAX; k++)
			if (t->n[k].core != NULL && ev->bytes.n >= 14 &&
				memcmp(ev->bytes.p + 8, &(uint8_t[]){ 2, 0, 0, 0, 0, (uint8_t)(k + 1) }, 6) == 0)
				return core_hop(t->n[i].core, t->n[k].name, &hop) && hop.vxlan_allowed;
	if (ev->via == CORE_VIA_VXLAN || wire_type(ev->bytes) != WIRE_RELAYED || wire_read(ev->bytes, &h, &payload) != FWD_PASSED ||
		h.dst == t->n[i].name)
		return true;
	assert_true(ev->bytes.n <= sizeof(copy));
	if (h.flags <= 1 || !core_relay_hop(t->n[i].core, h.dst, &to))
		return false;
	memcpy(copy, ev->bytes.p, ev->bytes.n);
	h.flags--;
	wire_write(copy, &h);
	t->n[i].probes[2]++;
	nodes_datagram(t, i, CORE_VIA_UDP, to, PEER_NONE, 0, slice_of(copy, ev->bytes.n));
	return false;
}

static inline struct stream *nodes_stream(struct nodes *t, int node, uint64_t conn, int *side)
{
	for (size_t i = 0; i < t->n_streams; i++)
		for (int k = 0; k < 2; k++)
			if (t->s[i].up && t->s[i].node[k] == node && t->s[i].conn[k] == conn) {
				*side = k;
				return &t->s[i];
			}
	return NULL;
}

static inline void nodes_dial(struct nodes *t, int from, uint64_t conn, const char *host)
{
	struct gossip_event ev = { .kind = GOSSIP_CONN_CLOSED };
	struct ip ip;
	int to = -1;

	t->n[from].dials++;
	memset(&ip, 0, sizeof(ip));
	if (ip_parse(host, &ip) == ERR_OK)
		for (int i = 0; i < NODES_MAX; i++)
			if (ip_eq(ip, node_at(i).ip) && t->n[i].core != NULL && !t->down[i] && !t->cut && !t->wire[from][i].no_tcp)
				to = i;
	if (to < 0) {
		ev.u.closed.conn = conn;
		ev.u.closed.why =
			t->cut || t->down[nodes_index(ip) < 0 ? 0 : nodes_index(ip)] ? "connection timed out" : "connection refused";
		nodes_post(t, from, &ev, (struct slice){ NULL, 0 });
		return;
	}
	assert_true(t->n_streams < STREAMS_MAX);
	struct stream *s = &t->s[t->n_streams++];
	*s = (struct stream){ .node = { from, to }, .conn = { conn, ++t->n[to].next_conn }, .up = true };
	for (int k = 0; k < 2; k++) {
		struct gossip_event open = { .kind = GOSSIP_CONN_OPEN };
		open.u.open.conn = s->conn[k];
		open.u.open.outbound = k == 0;
		open.u.open.remote = node_at(s->node[!k]);
		open.u.open.local = node_at(s->node[k]);
		memset(open.u.open.entropy, (int)(t->n_streams * 2 + (size_t)k + 1), sizeof(open.u.open.entropy));
		nodes_post(t, s->node[k], &open, (struct slice){ NULL, 0 });
	}
}

static inline void nodes_keep(struct node *n, struct slice key, struct slice value)
{
	size_t i = 0;
	while (i < n->n_disk && !slice_eq(key, slice_of(n->disk[i].key, n->disk[i].key_len)))
		i++;
	if (i < n->n_disk) {
		free(n->disk[i].key);
		free(n->disk[i].value);
		n->disk[i] = n->disk[--n->n_disk];
	}
	if (value.p == NULL)
		return;
	assert_true(n->n_disk < DISK_MAX);
	struct record *r = &n->disk[n->n_disk++];
	*r = (struct record){ malloc(key.n + 1), malloc(value.n + 1), key.n, value.n };
	memcpy(r->key, key.p, key.n);
	if (value.n > 0)
		memcpy(r->value, value.p, value.n);
}

/* Is there a record whose key begins so? */
static inline size_t nodes_kept(const struct node *n, const char *prefix)
{
	size_t found = 0;
	for (size_t i = 0; i < n->n_disk; i++)
		found += n->disk[i].key_len >= strlen(prefix) && memcmp(n->disk[i].key, prefix, strlen(prefix)) == 0;
	return found;
}

/* The first of them. */
static inline const struct record *nodes_record(const struct node *n, const char *prefix)
{
	for (size_t i = 0; i < n->n_disk; i++)
		if (n->disk[i].key_len >= strlen(prefix) && memcmp(n->disk[i].key, prefix, strlen(prefix)) == 0)
			return &n->disk[i];
	fail_msg("nothing is stored under %s", prefix);
	return NULL;
}

static inline void nodes_act(struct nodes *t, int i, const struct core_action *x)
{
	struct node *n = &t->n[i];
	struct gossip_event ev = { .kind = GOSSIP_CONN_DATA };
	struct stream *s = NULL;
	int side;

	switch (x->kind) {
	case CORE_DATAGRAM_SEND:
		nodes_datagram(t, i, x->u.datagram.via, x->u.datagram.to, x->u.datagram.peer, x->u.datagram.id, x->u.datagram.bytes);
		break;
	case CORE_PATH_CHANGED: n->changes++; break;
	case CORE_PERSIST: break;
	case CORE_DIAL: nodes_dial(t, i, x->u.dial.conn, x->u.dial.host); break;
	case CORE_SEND:
		s = nodes_stream(t, i, x->u.send.conn, &side);
		if (s == NULL)
			break;
		ev = (struct gossip_event){ .kind = GOSSIP_CONN_DATA };
		ev.u.data.conn = s->conn[!side];
		if (!t->cut)
			nodes_post(t, s->node[!side], &ev, x->u.send.bytes);
		ev = (struct gossip_event){ .kind = GOSSIP_CONN_DRAINED };
		ev.u.drained.conn = x->u.send.conn;
		nodes_post(t, i, &ev, (struct slice){ NULL, 0 });
		break;
	case CORE_CLOSE:
		s = nodes_stream(t, i, x->u.close.conn, &side);
		if (s == NULL)
			break;
		s->up = false;
		ev = (struct gossip_event){ .kind = GOSSIP_CONN_CLOSED };
		ev.u.closed.conn = s->conn[!side];
		ev.u.closed.why = "closed by the other end";
		if (!t->cut)
			nodes_post(t, s->node[!side], &ev, (struct slice){ NULL, 0 });
		break;
	case CORE_REPLY:
		n->replies++;
		n->replied = x->u.reply.request;
		n->reply = x->u.reply.err;
		n->count = x->u.reply.count;
		n->result = x->u.reply.result;
		snprintf(n->text, sizeof(n->text), "%s", x->u.reply.text != NULL ? x->u.reply.text : "");
		break;
	case CORE_FORWARDING: n->forwardings++; break;
	case CORE_NOTE: snprintf(n->note, sizeof(n->note), "%s", x->u.note.text); break;
	}
}

static inline void nodes_carry_out(struct nodes *t, int i, const struct core_actions *acts)
{
	for (size_t a = 0; a < acts->n; a++)
		if (acts->v[a].kind == CORE_PERSIST) {
			nodes_keep(&t->n[i], acts->v[a].u.persist.key, acts->v[a].u.persist.value);
			t->n[i].persists++;
		}
	for (size_t a = 0; a < acts->n; a++)
		nodes_act(t, i, &acts->v[a]);
}

/* One step; what it brings about elsewhere waits for nodes_run. Gives the step's error. */
static inline enum err nodes_step(struct nodes *t, int i, const struct core_event *ev)
{
	struct core_event now = *ev;
	struct core_actions acts;

	if (i == 0 && t->step != NULL)
		return t->step(t, ev);
	now.now_ms = t->now;
	arena_reset(t->n[i].arena);
	core_actions_init(&acts, t->n[i].arena);
	t->n[i].step = core_step(t->n[i].core, &now, &acts);
	if (t->n[i].step != ERR_STATE)
		nodes_carry_out(t, i, &acts);
	return t->n[i].step;
}

/* A request: the answer, which must come in this very step. */
static inline enum err nodes_ask(struct nodes *t, int i, struct core_event *ev)
{
	struct ipam_event copy;
	size_t before = t->n[i].replies;

	ev->request = t->n[i].next_request++;
	if (ev->kind == CORE_IPAM) {
		copy = *ev->ipam;
		copy.request = ev->request;
		ev->ipam = &copy;
	}
	(void)nodes_step(t, i, ev);
	assert_int_equal(t->n[i].replies, before + 1);
	assert_int_equal(t->n[i].replied, ev->request);
	ev->ipam = NULL;
	return t->n[i].reply;
}

static inline void nodes_deliver(struct nodes *t)
{
	while (t->first != NULL) {
		struct delivery *d = t->first;
		t->first = d->next;
		if (t->first == NULL)
			t->last = &t->first;
		struct core_event ev = { .kind = CORE_MESH, .mesh = &d->ev };
		d->ev.now_ms = t->now;
		if (t->n[d->node].core != NULL)
			(void)nodes_step(t, d->node, &ev);
		free(d->bytes);
		free(d);
	}
}

static inline void nodes_arrive(struct nodes *t)
{
	struct delivery *d = t->later;

	t->later = d->next;
	if (t->n[d->node].core != NULL && nodes_for_core(t, d->node, &d->datagram))
		(void)nodes_step(t, d->node, &d->datagram);
	free(d->bytes);
	free(d);
}

static inline void nodes_run(struct nodes *t, uint64_t ms)
{
	uint64_t end = t->now + ms;
	struct core_event tick = { .kind = CORE_TICK };

	for (;;) {
		nodes_deliver(t);
		if (t->later != NULL && t->later->at <= t->now) {
			nodes_arrive(t);
			continue;
		}
		uint64_t at = UINT64_MAX;
		int who = -1;
		for (int i = 0; i < NODES_MAX; i++)
			if (t->n[i].core != NULL && core_deadline_ms(t->n[i].core) < at) {
				at = core_deadline_ms(t->n[i].core);
				who = i;
			}
		if (t->later != NULL && t->later->at <= at && t->later->at <= end) {
			t->now = t->later->at > t->now ? t->later->at : t->now;
			continue;
		}
		if (who < 0 || at > end || t->now > end)
			break;
		if (at > t->now)
			t->now = at;
		(void)nodes_step(t, who, &tick);
		if (t->n[who].core != NULL && core_deadline_ms(t->n[who].core) <= t->now)
			t->now++; /* whatever wants another turn at once gets it a little later */
	}
	if (end > t->now)
		t->now = end;
}

static inline uint32_t nodes_underlay_mtu(void *ctx, struct ip local)
{
	(void)local;
	return nodes_device_mtu(ctx);
}

static inline struct core_cfg nodes_cfg(const struct nodes *t, int i)
{
	static const char *const nicks[NODES_MAX] = { "one", "two", "three", "four" };
	struct core_cfg cfg = {
		.ipam = true,
		.universe = { .first = UINT32_C(0x0a200000), .len = 16 },
		.default_subnet = { ip_v4(UINT32_C(0x0a200000)), 16 },
		.init = IPAM_CONSENSUS,
		.names = true,
		.domain = "weft.local.",
		.offer = { .vxlan_port = PORT + 1, .userspace_port = PORT },
	};

	cfg.gossip.self = t->n[i].name;
	cfg.gossip.nickname = nicks[i];
	cfg.gossip.version = "test";
	memset(cfg.gossip.static_secret, 0x10 + i, 32);
	cfg.gossip.n_psk = 1;
	memset(cfg.gossip.psk[0], 0x77, 32);
	cfg.gossip.incarnation = t->n[i].incarnation > 0 ? t->n[i].incarnation : 1;
	cfg.gossip.uid = t->n[i].incarnation * 16 + (uint64_t)i + 1;
	cfg.gossip.port = PORT;
	cfg.gossip.addresses[0] = node_at(i);
	cfg.gossip.n_addresses = 1;
	cfg.gossip.discovery = true;
	cfg.gossip.seed = 5 + (uint64_t)i;
	memset(cfg.random, 0x50 + i + (int)t->n[i].incarnation * 4, sizeof(cfg.random));
	cfg.underlay_mtu = nodes_underlay_mtu;
	cfg.ctx = (void *)(uintptr_t)&t->n[i];
	return cfg;
}

/* Starts node i with what its disk holds; change may alter the configuration. Gives the first error. */
static inline enum err nodes_try_start(struct nodes *t, int i, bool resume, void (*change)(struct core_cfg *cfg))
{
	struct node *n = &t->n[i];
	struct err_note note = { "" };
	struct core_actions acts;

	n->incarnation++;
	struct core_cfg cfg = nodes_cfg(t, i);
	cfg.fresh_store = nodes_kept(n, "ipam/") == 0 && n->incarnation > 1;
	if (change != NULL)
		change(&cfg);
	enum err err = core_new(&n->core, &cfg, t->now, &note);
	if (err != ERR_OK)
		return err;
	for (size_t k = 0; err == ERR_OK && k < n->n_disk; k++)
		err = core_restore(
			n->core, slice_of(n->disk[k].key, n->disk[k].key_len), slice_of(n->disk[k].value, n->disk[k].value_len), &note);
	n->arena = arena_new();
	if (err == ERR_OK && n->arena == NULL)
		err = ERR_NOMEM;
	if (err != ERR_OK)
		return err;
	core_actions_init(&acts, n->arena);
	err = core_start(n->core, t->now, resume, &acts);
	if (err == ERR_OK && i == 0 && t->carry_out != NULL)
		t->carry_out(t, &acts);
	else if (err == ERR_OK)
		nodes_carry_out(t, i, &acts);
	return err;
}

static inline void nodes_start(struct nodes *t, int i)
{
	assert_int_equal(nodes_try_start(t, i, true, NULL), ERR_OK);
}

/* As by kill -9: the streams end, the disk stays. */
static inline void nodes_kill(struct nodes *t, int i)
{
	core_free(t->n[i].core);
	arena_free(t->n[i].arena);
	t->n[i].core = NULL;
	t->n[i].arena = NULL;
	for (size_t k = 0; k < t->n_streams; k++)
		for (int side = 0; side < 2; side++)
			if (t->s[k].up && t->s[k].node[side] == i) {
				struct gossip_event ev = { .kind = GOSSIP_CONN_CLOSED };
				ev.u.closed.conn = t->s[k].conn[!side];
				ev.u.closed.why = "closed by the other end";
				t->s[k].up = false;
				nodes_post(t, t->s[k].node[!side], &ev, (struct slice){ NULL, 0 });
			}
}

static inline void nodes_wipe(struct node *n)
{
	while (n->n_disk > 0)
		nodes_keep(n, slice_of(n->disk[0].key, n->disk[0].key_len), (struct slice){ NULL, 0 });
}

static inline void nodes_free(struct nodes *t)
{
	for (int i = 0; i < NODES_MAX; i++) {
		nodes_kill(t, i);
		nodes_wipe(&t->n[i]);
	}
	while (t->first != NULL) {
		struct delivery *d = t->first;
		t->first = d->next;
		free(d->bytes);
		free(d);
	}
	while (t->later != NULL) {
		struct delivery *d = t->later;
		t->later = d->next;
		free(d->bytes);
		free(d);
	}
}

static inline void nodes_connect(struct nodes *t, int from, int to)
{
	char text[HOSTPORT_TEXT];
	const char *target = hostport_format(node_at(to), text);
	struct core_event ev = { .kind = CORE_CONNECT, .targets = &target, .n_targets = 1 };

	(void)nodes_step(t, from, &ev);
}

static inline struct mac test_mac(unsigned n)
{
	return (struct mac){ { 2, 0, 0, 0, (uint8_t)(n >> 8), (uint8_t)n } };
}

static inline struct core_endpoint test_endpoint(const char *ident, unsigned mac, uint32_t addr)
{
	struct core_endpoint e = { .mac = test_mac(mac), .n_addrs = addr != 0 };
	snprintf(e.ident, sizeof(e.ident), "%s", ident);
	snprintf(e.network, sizeof(e.network), "%s", CORE_NETWORK_DEFAULT);
	e.addrs[0] = (struct prefix){ ip_v4(addr), 16 };
	return e;
}

static inline enum err nodes_attach(struct nodes *t, int i, struct core_endpoint e)
{
	struct core_event ev = { .kind = CORE_ATTACHED, .endpoint = &e };
	e.peer = t->n[i].name;
	return nodes_ask(t, i, &ev);
}

static inline enum err nodes_detach(struct nodes *t, int i, const char *ident, struct ip addr)
{
	struct core_event ev = { .kind = CORE_DETACHED, .ident = ident, .addr = addr };
	return nodes_ask(t, i, &ev);
}

static inline enum err nodes_name(struct nodes *t, int i, const char *ident, const char *fqdn, uint32_t addr)
{
	struct core_event ev = { .kind = CORE_NAME_PUT, .ident = ident, .fqdn = fqdn, .addr = ip_v4(addr) };
	return nodes_ask(t, i, &ev);
}

static inline enum err nodes_unname(struct nodes *t, int i, const char *ident, const char *fqdn, struct ip addr)
{
	struct core_event ev = { .kind = CORE_NAME_DELETE, .ident = ident, .fqdn = fqdn, .addr = addr };
	return nodes_ask(t, i, &ev);
}

/* How many addresses node i answers for a name. */
static inline size_t nodes_resolve(const struct nodes *t, int i, const char *fqdn)
{
	struct dns_name name;
	const struct ip *out[16];
	assert_int_equal(dns_name_parse(fqdn, &name), ERR_OK);
	return dns_table_addresses(core_names(t->n[i].core), NULL, &name, 4, out, 16);
}

/* An item as from another host, merged into a channel and made known as gossip does. */
static inline void nodes_hear(struct nodes *t, int i, uint8_t channel, const struct crdt_item *it)
{
	struct core *c = t->n[i].core;
	struct crdt_changes ch;
	enum crdt_merge what;
	bool moved = false;

	arena_reset(t->n[i].arena);
	crdt_changes_init(&ch, t->n[i].arena);
	assert_int_equal(crdt_map_restore(c->maps[channel], it, &what, &ch), ERR_OK); /* whoever has proved it */
	if (channel == CHANNEL_ENDPOINTS)
		assert_int_equal(endpoints_refresh(c, &ch, &moved), ERR_OK);
	else if (channel == CHANNEL_NETWORKS)
		assert_int_equal(networks_refresh(c, &ch), ERR_OK);
	else
		assert_int_equal(names_refresh(c, &ch), ERR_OK);
}

/* What is decoded must be what a fresh decoding of the channels gives. */
static inline void nodes_check(struct nodes *t, int i)
{
	struct core *c = t->n[i].core;
	size_t names = map_count(c->names), endpoints = map_count(c->endpoints), networks = map_count(c->network_records);
	bool moved = false;

	assert_int_equal(names_resync(c), ERR_OK);
	assert_int_equal(endpoints_resync(c, &moved), ERR_OK);
	assert_false(moved);
	assert_int_equal(map_count(c->names), names);
	assert_int_equal(map_count(c->endpoints), endpoints);
	assert_int_equal(networks_resync(c), ERR_OK);
	assert_int_equal(map_count(c->network_records), networks);
}

/* Frames were exchanged between containers of both, as far as node i knows. */
static inline void nodes_traffic(struct nodes *t, int i, int with)
{
	struct core_traffic x = { .peer = t->n[with].name, .sent = true };
	struct core_event ev = { .kind = CORE_TRAFFIC, .traffic = &x, .n_traffic = 1 };
	(void)nodes_step(t, i, &ev);
}

/* Time goes on with traffic between the two, which is told each 500 ms. */
static inline void nodes_talk(struct nodes *t, int a, int b, uint64_t ms)
{
	for (uint64_t end = t->now + ms; t->now < end;) {
		if (t->n[a].core != NULL)
			nodes_traffic(t, a, b);
		if (t->n[b].core != NULL)
			nodes_traffic(t, b, a);
		nodes_run(t, end - t->now < 500 ? end - t->now : 500);
	}
}

static inline struct path_view nodes_path(const struct nodes *t, int i, int to)
{
	struct path_view v;
	assert_true(core_path(t->n[i].core, t->n[to].name, &v));
	return v;
}

static inline struct path_hop nodes_hop(const struct nodes *t, int i, int to)
{
	struct path_hop hop;
	assert_true(core_hop(t->n[i].core, t->n[to].name, &hop));
	return hop;
}

/* Two nodes, linked, with the path found. */
static inline void nodes_pair(struct nodes *t, void (*here)(struct core_cfg *), void (*there)(struct core_cfg *))
{
	nodes_init(t);
	assert_int_equal(nodes_try_start(t, 0, true, here), ERR_OK);
	assert_int_equal(nodes_try_start(t, 1, true, there), ERR_OK);
	nodes_connect(t, 0, 1);
	nodes_run(t, 5000);
}

#endif
