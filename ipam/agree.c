/* The first division of the range. While there is no ring and somebody wants an address: seeds divide at once, observers ask the
 * others to vote, everybody else takes part in Paxos (paxos.h). Events drive it; the clock only ends duels: a host whose proposal was
 * beaten waits a little, by chance more or less, for the other's to succeed before it proposes again. A proposal that simply has no
 * quorum yet is left standing: whoever appears will see it and answer. */
#include <assert.h>

#include "ipam/internal.h"

#define STATE_RECORD_MAX (32 + PAXOS_VALUE_MAX * 6)

size_t agree_quorum(const struct ipam *i)
{
	size_t n = i->cfg.consensus > 0 ? i->cfg.consensus : i->expected;
	return n / 2 + 1;
}

bool agree_wanted(const struct ipam *i)
{
	return !ring_exists(i) && (i->n_pending > 0 || i->elected) && !i->stopped;
}

enum err agree_store(struct ipam *i)
{
	struct wbuf w;
	struct paxos_state s = paxos_state(&i->paxos);
	uint8_t key[RECORD_KEY_MAX];
	if (i->paxos.promised.round == 0)
		return ERR_OK;
	wbuf_grow(&w, STATE_RECORD_MAX);
	wbuf_u8(&w, i->paxos.witness);
	paxos_state_encode(&w, &s);
	enum err e = wbuf_end(&w);
	if (e == ERR_OK)
		e = out_persist(i, record_key(i, "paxos/", NULL, 0, key), wbuf_slice(&w));
	wbuf_free(&w);
	return e;
}

enum err agree_load(struct ipam *i, struct slice value)
{
	struct paxos_state s;
	if (value.n < 1 || value.p[0] > 1)
		return ERR_MALFORMED;
	enum err e = paxos_state_decode(slice_of(value.p + 1, value.n - 1), &s);
	return e == ERR_OK ? paxos_load(&i->paxos, &s, value.p[0] == 1) : e;
}

static enum err publish(struct ipam *i)
{
	struct wbuf w;
	struct paxos_state s = paxos_state(&i->paxos);
	uint8_t key[PAXOS_SUBKEY];
	wbuf_grow(&w, STATE_RECORD_MAX);
	paxos_state_encode(&w, &s);
	enum err e = wbuf_end(&w);
	if (e == ERR_OK)
		e = out_put(i, IPAM_MAP_PAXOS, paxos_subkey(i->cfg.universe, key), wbuf_slice(&w));
	wbuf_free(&w);
	if (e == ERR_OK)
		i->paxos_published = true;
	return e;
}

/* The names, ascending, get their shares. What we get of it is not in doubt: nobody can have had it before. */
static enum err divide(struct ipam *i, const uint64_t *names, size_t n, bool certain)
{
	struct crdt_changes ch;
	crdt_changes_init(&ch, i->out->arena);
	enum err e = out_reserve(i, n + 4, (n + 2) * RECORD_BYTES);
	if (e != ERR_OK)
		return e;
	bool was = i->recovering;
	i->recovering = i->recovering && !certain;
	if (was != i->recovering) {
		e = own_store_doubt(i);
		if (e != ERR_OK) {
			i->recovering = was;
			return e;
		}
	}
	e = ring_divide(i->cfg.ring, i->cfg.universe, names, n, &ch);
	if (e == ERR_OK)
		e = out_ring(i, &ch, true);
	if (e == ERR_OK) {
		i->elected = false;
		i->ring_dirty = true;
		out_note(i, 1, "the range is divided among %zu hosts", n);
	}
	return e;
}

static enum err divide_chosen(struct ipam *i, struct slice names)
{
	struct rbuf r;
	size_t n = names.n / 6;
	uint64_t *v = mem_zalloc(n, sizeof *v);
	if (!v)
		return ERR_NOMEM;
	rbuf_init(&r, names.p, names.n);
	for (size_t k = 0; k < n; k++)
		v[k] = rbuf_u48(&r);
	enum err e = divide(i, v, n, i->paxos.witness);
	mem_free(v);
	return e;
}

static void wait_for_other(struct ipam *i)
{
	uint64_t ms = (uint64_t)PROPOSE_MS << (i->duels < BACKOFF_MAX ? i->duels : BACKOFF_MAX);
	if (ms > IPAM_RETRY_MS)
		ms = IPAM_RETRY_MS;
	i->duels++;
	i->propose_ms = i->now + rng_between(&i->rng, ms / 2, ms);
}

static bool proposes(const struct ipam *i)
{
	return i->paxos.promised.round > 0 && i->paxos.promised.proposer == i->cfg.self;
}

static enum err consensus(struct ipam *i)
{
	struct paxos *p = &i->paxos;
	struct ballot before = p->promised;
	bool changed = false;
	enum err e = paxos_listen(p, i->cfg.paxos, &changed);
	if (ballot_cmp(before, p->promised) != 0 && p->promised.proposer != i->cfg.self)
		wait_for_other(i);
	if (e == ERR_OK && agree_wanted(i)) {
		if (!proposes(i) && i->now >= i->propose_ms)
			e = paxos_propose(p, i->cfg.paxos, &changed);
		if (e == ERR_OK)
			e = paxos_lead(p, i->cfg.paxos, agree_quorum(i), &changed);
	}
	if (e == ERR_OK && changed)
		e = agree_store(i);
	if (e == ERR_OK && changed && p->witness && i->recovering && !ring_exists(i)) {
		/* We are here from the beginning: nothing can have been granted by a former self. */
		i->recovering = false;
		e = own_store_doubt(i);
	}
	/* Also without a promise, so that whoever leads knows that we are there. */
	if (e == ERR_OK && (changed || (!i->paxos_published && (p->promised.round > 0 || !ring_exists(i)))))
		e = publish(i);
	if (e != ERR_OK && changed)
		i->rewrite = true;
	struct slice names;
	if (e == ERR_OK && !ring_exists(i) && paxos_chosen(p, i->cfg.paxos, agree_quorum(i), &names))
		e = divide_chosen(i, names);
	return e;
}

/* Observers: those who vote are asked to; all who can be reached when none is known yet. */
static enum err elect(struct ipam *i)
{
	if (!agree_wanted(i) || i->now < i->elect_ms)
		return ERR_OK;
	const struct ipam_cfg *c = &i->cfg;
	uint64_t it = 0, peer;
	bool known = false;
	enum err e = ERR_OK;
	while (c->next_peer(c->ctx, &it, &peer))
		known |= peer != c->self && c->reachable(c->ctx, peer) && paxos_is_acceptor(c->paxos, c->universe, peer);
	struct ipam_message m = { .type = MSG_ELECT, .u = c->universe };
	for (it = 0; e == ERR_OK && c->next_peer(c->ctx, &it, &peer);)
		if (peer != c->self && c->reachable(c->ctx, peer) && (!known || paxos_is_acceptor(c->paxos, c->universe, peer)))
			e = out_send(i, peer, &m);
	if (e == ERR_OK)
		i->elect_ms = i->now + rng_between(&i->rng, IPAM_RETRY_MS / 2, IPAM_RETRY_MS);
	return e;
}

enum err agree(struct ipam *i)
{
	enum err e = ERR_OK;
	switch (i->cfg.init) {
	case IPAM_SEED:
		if (!ring_exists(i) && !i->stopped)
			e = divide(i, i->seeds, i->cfg.n_seeds, true);
		break;
	case IPAM_OBSERVER:
		e = elect(i);
		break;
	case IPAM_CONSENSUS:
		e = consensus(i);
		break;
	}
	return e == ERR_OK ? own_sync(i) : e;
}

uint64_t agree_deadline_ms(const struct ipam *i)
{
	if (!agree_wanted(i) || i->cfg.init == IPAM_SEED)
		return UINT64_MAX;
	if (i->cfg.init == IPAM_OBSERVER)
		return i->elect_ms;
	return proposes(i) ? UINT64_MAX : i->propose_ms;
}
