/* Some hosts with an ipam core each, a network between them that delays, loses, repeats and reorders, and disks that survive crashes.
 * Time is simulated, everything follows from one seed.
 *
 * Gossip is modelled item by item, which is harsher than the real one: every item of a change travels alone. What is lost is made good by
 * copying all items of one host to another now and then, each of them lost with some probability again.
 *
 * A crash may come after any prefix of an action list: the records of a step are written together or not at all, then some of the
 * other actions are done, then the host is gone. Containers live on while their host's daemon is down. */
#ifndef WEFT_TESTS_UNIT_IPAM_MODEL_H
#define WEFT_TESTS_UNIT_IPAM_MODEL_H

#include <stdlib.h>
#include <string.h>

#include "../base/cmocka_all.h"
#include "../base/seed.h"
#include "base/heap.h"
#include "base/rng.h"
#include "ipam/internal.h"
#include "ipam/message.h"

#define HOSTS_MAX 8
#ifndef IDENTS_MAX
#define IDENTS_MAX 64 /* containers a host */
#endif

struct record {
	uint8_t *key, *value;
	size_t key_n, value_n;
};

enum want { NOTHING, WANTS, HAS };
struct container {
	enum want want;
	bool claim;          /* wants exactly addr */
	bool answered_error; /* the claim was refused */
	uint64_t request;
	bool lost;          /* HAS, but its host has lost its disk and has not been told again yet */
	struct prefix addr; /* HAS: what it got; claim: what it wants */
	struct prefix subnet;
};

struct model;
struct host {
	struct model *m;
	uint64_t name;
	bool up, dead; /* dead: for ever */
	bool left;     /* has handed over */
	int side;      /* of a partition */
	struct ipam *ipam;
	uint64_t deadline_ms;
	struct crdt_map *maps[3];
	struct record *disk;
	size_t n_disk, cap_disk;
	uint64_t incarnation;
	enum ipam_init init;
	struct container c[IDENTS_MAX];
	uint64_t other_request; /* takeover, handover, prime: outstanding */
	enum err other_err;
	uint64_t other_count;
	char other_text[256];
	size_t notes_error;
	uint64_t reclaim_after_ms, boot;
	int drift_pm;                /* its clock runs so many per mille faster */
	uint64_t clock_ms, clock_at; /* what it showed when it was at model time clock_at */
};

struct packet {
	struct heap_node heap;
	size_t to;
	uint64_t from;
	int map; /* -1: unicast */
	size_t n;
	uint8_t bytes[];
};

struct model {
	uint64_t seed;
	struct rng rng;
	uint64_t now, next_request;
	struct universe u;
	struct prefix subnet;
	size_t n, consensus; /* consensus 0: the hosts are told after their start how many are expected, all */
	struct host h[HOSTS_MAX];
	struct heap queue;
	struct arena *arena;
	uint32_t loss_ppm, repeat_ppm, crash_ppm, oom_ppm;
	uint64_t delay_ms;
	uint64_t next_copy_ms, copy_ms;
	uint64_t seeds[HOSTS_MAX];
	size_t n_seeds;
	bool reclaim;       /* some hosts have --reclaim-after, of seconds; their clocks drift */
	bool in_doubt;      /* a range may be in two hands by their rings, unused: after a takeover or the loss of a disk */
	bool break_persist; /* records are forgotten by a crash: to see the model notice */
	size_t steps, crashes, failures, addresses_given, messages;
	int verbose;
};

#define MODEL_FAIL(m, what)                                                                                           \
	do {                                                                                                              \
		printf("model: %s at %s:%d, seed %llu, t=%llu ms\n", what, __FILE__, __LINE__, (unsigned long long)(m)->seed, \
			(unsigned long long)(m)->now);                                                                            \
		fflush(stdout);                                                                                               \
		abort();                                                                                                      \
	} while (0)
#define MODEL_CHECK(m, cond)              \
	do {                                  \
		if (!(cond))                      \
			MODEL_FAIL(m, "not: " #cond); \
	} while (0)

static inline void model_step(struct model *m, size_t at, const struct ipam_event *ev);

/* The host's own clock, and when it will show this. */
static inline uint64_t host_clock(const struct host *h)
{
	return h->clock_ms + (h->m->now - h->clock_at) * (uint64_t)(1000 + h->drift_pm) / 1000;
}

static inline uint64_t host_when(const struct host *h, uint64_t clock)
{
	if (clock == UINT64_MAX)
		return clock;
	if (clock <= host_clock(h))
		return h->m->now;
	uint64_t rate = (uint64_t)(1000 + h->drift_pm), at = h->clock_at + ((clock - h->clock_ms) * 1000 + rate - 1) / rate;
	return at > h->m->now ? at : h->m->now + 1;
}

/* A boot of the machine: the clock begins anew. */
static inline void host_reboot(struct host *h)
{
	h->boot++;
	h->clock_ms = 1 + h->boot * 777 % 5000;
	h->clock_at = h->m->now;
}

/* --- what the mesh knows --- */

static inline size_t model_at(const struct model *m, uint64_t name)
{
	size_t k = 0;
	while (k < m->n && m->h[k].name != name)
		k++;
	return k;
}

static inline bool model_connected(const struct model *m, size_t a, size_t b)
{
	return m->h[a].up && m->h[b].up && m->h[a].side == m->h[b].side;
}

static bool model_reachable(void *ctx, uint64_t peer)
{
	struct host *h = ctx;
	size_t at = model_at(h->m, peer);
	return at < h->m->n && model_connected(h->m, (size_t)(h - h->m->h), at);
}

static bool model_next_peer(void *ctx, uint64_t *it, uint64_t *peer)
{
	struct host *h = ctx;
	if (*it >= h->m->n)
		return false;
	*peer = h->m->h[(*it)++].name;
	return true;
}

/* Not told: the core must be right without. */
static bool model_in_use(void *ctx, uint32_t addr, uint64_t *holder)
{
	(void)ctx;
	(void)addr;
	(void)holder;
	return false;
}

static const char *model_nickname(void *ctx, uint64_t peer)
{
	static const char *const names[] = { "a", "b", "c", "d", "e", "f", "g", "h" };
	struct host *h = ctx;
	size_t at = model_at(h->m, peer);
	return at < h->m->n ? names[at] : "";
}

/* --- disk --- */

static inline void disk_write(struct host *h, struct slice key, struct slice value)
{
	size_t k = 0;
	while (k < h->n_disk && !slice_eq(slice_of(h->disk[k].key, h->disk[k].key_n), key))
		k++;
	if (k < h->n_disk) {
		free(h->disk[k].value);
	} else if (value.p) {
		if (h->n_disk == h->cap_disk) {
			h->cap_disk = h->cap_disk ? h->cap_disk * 2 : 16;
			h->disk = realloc(h->disk, h->cap_disk * sizeof *h->disk);
		}
		h->disk[h->n_disk] = (struct record){ .key = malloc(key.n), .key_n = key.n };
		memcpy(h->disk[h->n_disk].key, key.p, key.n);
		h->n_disk++;
	} else {
		return;
	}
	if (value.p) {
		h->disk[k].value = malloc(value.n + 1);
		memcpy(h->disk[k].value, value.p, value.n);
		h->disk[k].value_n = value.n;
	} else {
		free(h->disk[k].key);
		h->disk[k] = h->disk[--h->n_disk];
	}
}

static inline void disk_wipe(struct host *h)
{
	for (size_t k = 0; k < h->n_disk; k++) {
		free(h->disk[k].key);
		free(h->disk[k].value);
	}
	free(h->disk);
	h->disk = NULL;
	h->n_disk = h->cap_disk = 0;
}

/* --- network --- */

static inline void net_put(struct model *m, size_t to, uint64_t from, int map, const void *bytes, size_t n)
{
	int copies = rng_chance(&m->rng, m->loss_ppm) ? 0 : rng_chance(&m->rng, m->repeat_ppm) ? 2 : 1;
	for (int k = 0; k < copies; k++) {
		struct packet *p = malloc(sizeof *p + n);
		*p = (struct packet){ .to = to, .from = from, .map = map, .n = n };
		memcpy(p->bytes, bytes, n);
		assert_int_equal(heap_push(&m->queue, &p->heap, m->now + rng_between(&m->rng, 1, m->delay_ms)), ERR_OK);
	}
}

static inline void net_item(struct model *m, size_t from, size_t to, int map, const struct crdt_item *it)
{
	uint8_t mem[8600];
	struct wbuf w;
	wbuf_fixed(&w, mem, sizeof mem);
	crdt_item_encode(&w, it);
	assert_int_equal(wbuf_end(&w), ERR_OK);
	net_put(m, to, m->h[from].name, map, mem, w.len);
}

static inline void net_changed(struct model *m, size_t from, int map, const struct crdt_changes *ch)
{
	for (size_t k = 0; k < ch->n; k++) {
		struct crdt_item it;
		if (!crdt_map_get(m->h[from].maps[map], ch->keys[k], &it))
			continue;
		for (size_t to = 0; to < m->n; to++)
			if (to != from && model_connected(m, from, to))
				net_item(m, from, to, map, &it);
	}
}

static inline void net_copy_all(struct model *m, size_t from, size_t to)
{
	for (int map = 0; map < 3; map++) {
		struct crdt_item it;
		for (bool there = crdt_map_next(m->h[from].maps[map], slice_of(NULL, 0), &it); there;
			 there = crdt_map_next(m->h[from].maps[map], it.key, &it))
			net_item(m, from, to, map, &it);
	}
}

/* New links compare what both ends have. */
static inline void new_links(struct model *m)
{
	for (size_t k = 0; k < m->n; k++)
		for (size_t o = 0; o < m->n; o++)
			if (k != o && model_connected(m, k, o))
				net_copy_all(m, k, o);
}

/* --- invariants --- */

/* No address is with two live containers, nor leased by two hosts. */
static inline void check_addresses(struct model *m)
{
	struct {
		size_t host;
		bool used;
	} *seen = calloc((size_t)1 << (32 - m->u.len), sizeof *seen);
	for (size_t k = 0; k < m->n; k++) {
		struct host *h = &m->h[k];
		if (h->dead)
			continue;
		for (size_t n = 0; n < IDENTS_MAX; n++) {
			if (h->c[n].want != HAS)
				continue;
			uint32_t a = ip_to_v4(h->c[n].addr.addr);
			if (a < m->u.first || a - m->u.first >= (uint32_t)1 << (32 - m->u.len))
				continue;
			if (seen[a - m->u.first].used) {
				printf("address %u of host %zu container %zu is also with host %zu\n", a & 0xff, k, n, seen[a - m->u.first].host);
				MODEL_FAIL(m, "two live containers with one address");
			}
			seen[a - m->u.first].used = true;
			seen[a - m->u.first].host = k;
		}
		size_t it = 0;
		const char *ident;
		struct prefix p;
		while (h->up && ipam_next_lease(h->ipam, &it, &ident, &p)) {
			uint32_t a = ip_to_v4(p.addr);
			if (a < m->u.first || a - m->u.first >= (uint32_t)1 << (32 - m->u.len))
				continue;
			if (seen[a - m->u.first].used && seen[a - m->u.first].host != k) {
				printf("address %u is leased by hosts %zu and %zu\n", a & 0xff, k, seen[a - m->u.first].host);
				MODEL_FAIL(m, "an address leased by two hosts");
			}
			seen[a - m->u.first].used = true;
			seen[a - m->u.first].host = k;
		}
	}
	free(seen);
}

/* No address is two hosts', each by its own ring; what is kept spare may be another's already. */
static inline void check_owners(struct model *m)
{
	for (uint32_t a = m->u.first; a < m->u.first + ((uint32_t)1 << (32 - m->u.len)); a += 1) {
		size_t owners = 0;
		for (size_t k = 0; k < m->n; k++)
			owners += m->h[k].up && !m->h[k].dead && ring_owner(m->h[k].maps[IPAM_MAP_RING], m->u, a) == m->h[k].name &&
				!ranges_has(&m->h[k].ipam->reclaim.locked, a);
		for (size_t k = 0; k < m->n && owners > 1; k++)
			printf("%u: by host %zu's ring it is %llx's; spare %d\n", a & 0xff, k,
				m->h[k].up ? (unsigned long long)ring_owner(m->h[k].maps[IPAM_MAP_RING], m->u, a) : 0,
				m->h[k].up && ranges_has(&m->h[k].ipam->reclaim.locked, a));
		MODEL_CHECK(m, owners <= 1);
	}
}

static inline void check_all(struct model *m)
{
	check_addresses(m);
	if (!m->in_doubt && m->n_seeds == 0 && m->steps % 64 == 0)
		check_owners(m);
}

/* --- hosts --- */

static inline void host_down(struct model *m, size_t at)
{
	struct host *h = &m->h[at];
	ipam_free(h->ipam);
	h->ipam = NULL;
	for (int k = 0; k < 3; k++) {
		crdt_map_free(h->maps[k]);
		h->maps[k] = NULL;
	}
	h->up = false;
	h->other_request = 0;
	for (size_t k = 0; k < IDENTS_MAX; k++)
		h->c[k].request = 0; /* nobody will answer it now */
}

static inline void host_reply(struct model *m, struct host *h, const struct ipam_action *a)
{
	if (a->u.reply.request == h->other_request) {
		h->other_request = 0;
		h->other_err = a->u.reply.err;
		h->other_count = a->u.reply.count;
		snprintf(h->other_text, sizeof h->other_text, "%s", a->u.reply.text);
		MODEL_CHECK(m, a->u.reply.err == ERR_OK || a->u.reply.text[0]);
		return;
	}
	for (size_t k = 0; k < IDENTS_MAX; k++) {
		struct container *c = &h->c[k];
		if (c->request != a->u.reply.request)
			continue;
		c->request = 0;
		if (c->lost) {
			/* It lives and uses the address: nothing may stand against that. */
			MODEL_CHECK(m, a->u.reply.err == ERR_OK);
			c->lost = false;
			return;
		}
		MODEL_CHECK(m, c->want == WANTS);
		if (a->u.reply.err == ERR_OK) {
			c->want = HAS;
			c->addr = a->u.reply.result;
			m->addresses_given++;
		} else {
			MODEL_CHECK(m, a->u.reply.text[0]);
			c->want = NOTHING;
			c->answered_error = true;
		}
		return;
	}
	MODEL_FAIL(m, "a request is answered that was not asked, or twice");
}

static inline void model_topology(struct model *m)
{
	for (size_t k = 0; k < m->n; k++)
		if (m->h[k].up)
			model_step(m, k, &(struct ipam_event){ .kind = IPAM_TOPOLOGY });
}

/* The mesh would see to it that nobody forges a proof; here nobody does. */
static size_t model_sign(void *ctx, const struct crdt_item *it, uint8_t out[CRDT_PROOF_MAX])
{
	const struct host *h = ctx;
	struct wbuf w;
	(void)it;
	memset(out, 0, CRDT_PROOF_MAX);
	wbuf_fixed(&w, out, CRDT_PROOF_MAX);
	wbuf_u48(&w, h->name);
	return CRDT_PROOF_MAX;
}

static enum crdt_verdict model_judge(void *ctx, const struct crdt_item *it, uint64_t *writer)
{
	(void)ctx;
	(void)it;
	(void)writer;
	return CRDT_PROOF_OK;
}

static const struct crdt_prover model_prover = { .sign = model_sign, .judge = model_judge };

static inline void host_up(struct model *m, size_t at)
{
	struct host *h = &m->h[at];
	struct err_note note;
	bool fresh = h->n_disk == 0;
	assert_int_equal(ring_map_new(&h->maps[IPAM_MAP_RING], rng_u64(&m->rng)), ERR_OK);
	assert_int_equal(crdt_map_new(&h->maps[IPAM_MAP_PAXOS], true, rng_u64(&m->rng)), ERR_OK);
	assert_int_equal(crdt_map_new(&h->maps[IPAM_MAP_USAGE], true, rng_u64(&m->rng)), ERR_OK);
	crdt_map_set_prover(h->maps[IPAM_MAP_RING], &model_prover, h);
	h->incarnation++;
	crdt_map_set_writer(h->maps[IPAM_MAP_PAXOS], h->name, h->incarnation);
	crdt_map_set_writer(h->maps[IPAM_MAP_USAGE], h->name, h->incarnation);
	struct ipam_cfg cfg = {
		.self = h->name,
		.universe = m->u,
		.default_subnet = m->subnet,
		.init = h->init,
		.consensus = m->consensus,
		.seeds = m->seeds,
		.n_seeds = m->n_seeds,
		.ring = h->maps[0],
		.paxos = h->maps[1],
		.usage = h->maps[2],
		.ctx = h,
		.reachable = model_reachable,
		.next_peer = model_next_peer,
		.in_use_elsewhere = model_in_use,
		.nickname = model_nickname,
		.seed = rng_u64(&m->rng),
		.reclaim_after_ms = h->reclaim_after_ms,
		.boot = h->boot,
		.fresh_store = fresh,
	};
	assert_int_equal(ipam_new(&h->ipam, &cfg, &note), ERR_OK);
	crdt_map_set_rule(h->maps[IPAM_MAP_RING], ipam_ring_rule, h->ipam);
	for (size_t k = 0; k < h->n_disk; k++)
		assert_int_equal(ipam_restore(h->ipam, slice_of(h->disk[k].key, h->disk[k].key_n),
							 slice_of(h->disk[k].value, h->disk[k].value_n), &note),
			ERR_OK);
	h->up = true;
	h->left = false;
	model_step(m, at, &(struct ipam_event){ .kind = IPAM_TICK });
	if (h->up && m->consensus == 0)
		ipam_set_expected(h->ipam, m->n);
}

/* --- a step, perhaps with a crash in it --- */

static inline void trace_message(struct model *m, size_t at, size_t to, struct slice payload)
{
	struct ipam_message d;
	assert_int_equal(ipam_message_decode(payload, &d), ERR_OK);
	printf("%8llu host %zu to %zu: %s %u-%u, %zu items, %zu held, reason %d\n", (unsigned long long)m->now, at, to,
		ipam_message_name(d.type), (unsigned)(d.range.start & 0xff), (unsigned)((d.range.end - 1) & 0xff), d.n_items, d.n_held,
		(int)d.reason);
}

static inline void do_action(struct model *m, size_t at, const struct ipam_action *a)
{
	struct host *h = &m->h[at];
	switch (a->kind) {
	case IPAM_PERSIST: break;
	case IPAM_CHANGED: net_changed(m, at, a->u.changed.map, &a->u.changed.changes); break;
	case IPAM_SEND: {
		size_t to = model_at(m, a->u.send.to);
		m->messages++;
		if (m->verbose)
			trace_message(m, at, to, a->u.send.payload);
		if (to < m->n && model_connected(m, at, to))
			net_put(m, to, h->name, -1, a->u.send.payload.p, a->u.send.payload.n);
		break;
	}
	case IPAM_REPLY: host_reply(m, h, a); break;
	case IPAM_NOTE:
		h->notes_error += a->u.note.level >= 3;
		if (m->verbose)
			printf("%8llu host %zu: %s\n", (unsigned long long)m->now, at, a->u.note.text);
		break;
	}
}

static inline void model_step(struct model *m, size_t at, const struct ipam_event *given)
{
	struct host *h = &m->h[at];
	struct ipam_event ev = *given;
	struct ipam_actions out;
	struct arena *arena = m->arena;
	ev.now_ms = host_clock(h);
	ipam_actions_init(&out, arena);
	enum err e;
	if (rng_chance(&m->rng, m->oom_ppm))
		mem_fail_at(rng_between(&m->rng, 1, 60), rng_chance(&m->rng, 500000));
	e = ipam_step(h->ipam, &ev, &out);
	mem_fail_at(0, false);
	m->steps++;
	m->failures += e != ERR_OK;
	MODEL_CHECK(m, e == ERR_OK || (e == ERR_NOMEM && m->oom_ppm > 0));
	bool crash = rng_chance(&m->rng, m->crash_ppm);
	/* n + 1 choices: before anything, or after so many of the actions. */
	size_t keep = crash ? (size_t)rng_below(&m->rng, out.n + 2) : out.n + 1;
	if (keep > 0 && !(crash && m->break_persist))
		for (size_t k = 0; k < out.n; k++)
			if (out.v[k].kind == IPAM_PERSIST)
				disk_write(h, out.v[k].u.persist.key, out.v[k].u.persist.value);
	for (size_t k = 0; k + 1 < keep; k++)
		do_action(m, at, &out.v[k]);
	h->deadline_ms = host_when(h, ipam_deadline_ms(h->ipam));
	if (crash) {
		m->crashes++;
		host_down(m, at);
	}
	check_all(m);
	/* Requests that were not taken are made again, as a client would. */
	if (e != ERR_OK && h->up && ev.kind != IPAM_MESSAGE && ev.kind != IPAM_NEWS && ev.kind != IPAM_TICK)
		model_step(m, at, given);
}

/* --- time --- */

static inline void model_deliver(struct model *m, struct packet *p)
{
	struct host *h = &m->h[p->to];
	size_t from = model_at(m, p->from);
	if (h->up && from < m->n && m->h[from].side == h->side) {
		if (p->map < 0) {
			model_step(
				m, p->to, &(struct ipam_event){ .kind = IPAM_MESSAGE, .peer = p->from, .payload = slice_of(p->bytes, p->n) });
		} else {
			struct rbuf r;
			struct crdt_item it;
			struct crdt_changes ch;
			enum crdt_merge what;
			rbuf_init(&r, p->bytes, p->n);
			crdt_item_decode(&r, &it);
			crdt_changes_init(&ch, m->arena);
			assert_int_equal(crdt_map_merge(h->maps[p->map], &it, &what, &ch), ERR_OK);
			if (ch.n > 0)
				model_step(m, p->to,
					&(struct ipam_event){ .kind = IPAM_NEWS,
						.map = p->map == 0 ? IPAM_MAP_RING
							: p->map == 1  ? IPAM_MAP_PAXOS
										   : IPAM_MAP_USAGE,
						.changes = &ch });
			else
				h->deadline_ms = ipam_deadline_ms(h->ipam); /* it may have been kept for later */
		}
	}
	free(p);
}

static inline void model_copy(struct model *m)
{
	size_t from = rng_below(&m->rng, m->n), to = rng_below(&m->rng, m->n);
	if (from != to && model_connected(m, from, to))
		net_copy_all(m, from, to);
}

/* Runs until the time given. */
static inline void model_run(struct model *m, uint64_t until)
{
	size_t idle = 0;
	for (;;) {
		uint64_t at = until;
		size_t who = m->n;
		struct heap_node *head = heap_peek(&m->queue);
		if (head && head->key < at)
			at = head->key;
		if (m->next_copy_ms < at)
			at = m->next_copy_ms;
		for (size_t k = 0; k < m->n; k++) {
			uint64_t d = m->h[k].up ? m->h[k].deadline_ms : UINT64_MAX;
			if (d < at || (d == at && d < until)) {
				at = d;
				who = k;
			}
		}
		idle = at > m->now ? 0 : idle + 1;
		MODEL_CHECK(m, idle < 10000);
		if (at > m->now)
			m->now = at;
		if (at >= until)
			return;
		arena_reset(m->arena);
		if (who < m->n) {
			model_step(m, who, &(struct ipam_event){ .kind = IPAM_TICK });
		} else if (at == m->next_copy_ms) {
			m->next_copy_ms = m->now + m->copy_ms;
			model_copy(m);
		} else {
			model_deliver(m, (struct packet *)(void *)heap_pop(&m->queue));
		}
	}
}

/* --- what users do --- */

static inline const char *ident_of(size_t c)
{
	static char text[16];
	snprintf(text, sizeof text, "c%02zu", c);
	return text;
}

static inline void user_ask(struct model *m, size_t at, size_t n)
{
	struct container *c = &m->h[at].c[n];
	c->want = WANTS;
	c->request = ++m->next_request;
	model_step(m, at,
		&(struct ipam_event){ .kind = c->claim ? IPAM_CLAIM : IPAM_ALLOCATE,
			.request = c->request,
			.ident = ident_of(n),
			.subnet = c->claim ? c->addr : c->subnet,
			.wait = true });
}

static inline void user_allocate(struct model *m, size_t at, size_t n, struct prefix subnet)
{
	m->h[at].c[n] = (struct container){ .subnet = subnet };
	user_ask(m, at, n);
}

static inline void user_claim(struct model *m, size_t at, size_t n, struct prefix addr)
{
	m->h[at].c[n] = (struct container){ .claim = true, .addr = addr };
	user_ask(m, at, n);
}

static inline void user_free(struct model *m, size_t at, size_t n)
{
	struct host *h = &m->h[at];
	h->c[n].want = NOTHING;
	uint64_t request = ++m->next_request;
	h->other_request = request;
	model_step(m, at, &(struct ipam_event){ .kind = IPAM_FREE, .request = request, .ident = ident_of(n) });
	MODEL_CHECK(m, !h->up || h->other_request == 0);
}

static inline void user_cancel(struct model *m, size_t at, size_t n)
{
	uint64_t request = m->h[at].c[n].request;
	/* The asker has gone: it wants nothing of what may still come. */
	model_step(m, at, &(struct ipam_event){ .kind = IPAM_CANCEL, .request = request });
	MODEL_CHECK(m, !m->h[at].up || m->h[at].c[n].want == NOTHING);
}

/* Takeover, handover, prime. */
static inline void user_other(struct model *m, size_t at, enum ipam_event_kind kind, uint64_t peer)
{
	m->h[at].other_request = ++m->next_request;
	model_step(m, at, &(struct ipam_event){ .kind = kind, .request = m->next_request, .peer = peer });
}

/* --- making and ending --- */

static inline void model_init(struct model *m, uint64_t seed, size_t n, uint8_t len)
{
	*m = (struct model){ .seed = seed, .n = n, .consensus = n, .delay_ms = 5, .copy_ms = 100, .now = 1000, .next_copy_ms = 1000 };
	rng_seed(&m->rng, seed);
	m->u = (struct universe){ 0x0a200000, len };
	m->subnet = (struct prefix){ ip_v4(m->u.first), len };
	heap_init(&m->queue);
	m->arena = arena_new();
	m->verbose = getenv("WEFT_VERBOSE") != NULL;
	for (size_t k = 0; k < n; k++) {
		m->h[k].m = m;
		m->h[k].name = 0x0a0000000001 + 0x100 * k;
		m->h[k].boot = 1 + k;
		m->h[k].clock_ms = m->h[k].clock_at = m->now;
	}
}

static inline void model_start(struct model *m)
{
	for (size_t k = 0; k < m->n; k++)
		host_up(m, k);
	model_topology(m);
}

static inline void model_end(struct model *m)
{
	struct heap_node *p;
	while ((p = heap_pop(&m->queue)) != NULL)
		free((struct packet *)(void *)p);
	heap_free(&m->queue);
	for (size_t k = 0; k < m->n; k++) {
		if (m->h[k].up)
			host_down(m, k);
		disk_wipe(&m->h[k]);
	}
	arena_free(m->arena);
}

#endif
