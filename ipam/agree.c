/* The first division of the range. While there is no ring and somebody wants an address: seeds divide at once, observers ask the
 * others to vote, everybody else takes part in Paxos (paxos.h). Events drive it; the clock only ends duels: a host whose proposal was
 * beaten waits a little, by chance more or less, for the other's to succeed before it proposes again. Nobody proposes before it knows of a quorum, and
 * then the one with the lowest name does at once and the others a moment later: many hosts that start together would else answer
 * each other's proposals, each answer a message to all. A proposal whose quorum went is left standing: whoever appears will see it and answer.
 *
 * Paxos is only as good as its quorums: any two of them must share a host. How many hosts are expected comes from outside; it is small
 * for a moment after every start, since targets are told after it, and for good when a daemon is started with fewer of them than before.
 * A vote that lost would then pass for a quorum, and the range would be divided a second time. So who has voted keeps the quorum it voted
 * under beside its vote, and goes by no smaller one after a restart, unless its operator names one (consensus=N).
 *
 * Nor does everybody expect the same number. So nobody goes by less than a majority of the hosts it knows to vote, and every vote shows the
 * quorum of who cast it (paxos.h): votes of hosts that expect more cannot be used by one that expects less. What is left is a group of
 * hosts that all expect few and have never heard of the others; that is a ring formed apart, and reported when they meet.
 *
 * When the ring is there and everybody has had time to see what was chosen, acceptors show their states without the value, all but the one
 * that proposed it, so that what stays in every host's memory for ever is one value and a few bytes an acceptor. */
#include <assert.h>

#include "ipam/internal.h"

#define STATE_RECORD_MAX (64 + PAXOS_VALUE_MAX * PAXOS_MEMBER)

#define ABRIDGE_MS \
	20000 /* after the ring has been whole for so long, and up to twice that: by chance, so that not all publish at once */

size_t agree_quorum(const struct ipam *i)
{
	size_t told = (i->cfg.consensus > 0 ? i->cfg.consensus : i->expected) / 2 + 1;
	size_t least = i->known / 2 + 1;
	if (i->cfg.consensus == 0 && i->quorum_before > told)
		told = i->quorum_before;
	return told > least ? told : least;
}

void agree_awaits(const struct ipam *i, char *out, size_t size)
{
	const struct ipam_cfg *c = &i->cfg;
	size_t self = c->init == IPAM_CONSENSUS ? 1 : 0, known = paxos_known(&i->paxos, c->paxos) - 1 + self, here = self;
	uint64_t it = 0, peer;

	while (c->next_peer(c->ctx, &it, &peer))
		here += peer != c->self && c->reachable(c->ctx, peer) && paxos_is_acceptor(c->paxos, c->universe, peer);
	if (here < known && here < agree_quorum(i))
		line_format(out, size, "awaiting consensus (quorum: %zu, known: %zu, in reach: %zu)", agree_quorum(i), known, here);
	else
		line_format(out, size, "awaiting consensus (quorum: %zu, known: %zu)", agree_quorum(i), known);
}

/* A vote that others may count on, or that counts on theirs. Who has proposed and never seen anybody is as if it had just been installed. */
static bool voted(const struct ipam *i)
{
	const struct paxos *p = &i->paxos;
	return p->promised.round > 0 && (p->promised.proposer != p->self || p->accepted.round > 0 || i->known > 1);
}

static enum err store_quorum(struct ipam *i)
{
	size_t quorum = agree_quorum(i);
	struct wbuf w;
	uint8_t key[RECORD_KEY_MAX], value[10];
	if (quorum == i->quorum_stored || !voted(i))
		return ERR_OK;
	wbuf_fixed(&w, value, sizeof value);
	wbuf_varint(&w, quorum);
	assert(!w.failed);
	enum err e = out_persist(i, record_key(i, "quorum/", NULL, 0, key), wbuf_slice(&w));
	if (e == ERR_OK)
		i->quorum_stored = quorum;
	return e;
}

enum err agree_load_quorum(struct ipam *i, struct slice value)
{
	struct rbuf r;
	rbuf_init(&r, value.p, value.n);
	uint64_t quorum = rbuf_varint(&r);
	if (rbuf_end(&r) != ERR_OK || quorum == 0 || quorum > UINT32_MAX)
		return ERR_MALFORMED;
	i->quorum_before = i->quorum_stored = (size_t)quorum;
	return ERR_OK;
}

bool agree_wanted(const struct ipam *i)
{
	return (i->n_pending > 0 || i->elected) && !i->stopped && !ring_exists(i);
}

enum err agree_store(struct ipam *i)
{
	struct wbuf w;
	struct paxos_state s = paxos_state(&i->paxos);
	uint8_t key[RECORD_KEY_MAX];
	wbuf_grow(&w, STATE_RECORD_MAX);
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
	enum err e = paxos_state_decode(value, &s);
	if (e == ERR_OK)
		e = paxos_load(&i->paxos, &s);
	i->paxos_stored = e == ERR_OK;
	return e;
}

static enum err publish(struct ipam *i)
{
	struct wbuf w;
	struct paxos_state s = paxos_state(&i->paxos);
	uint8_t key[UNIVERSE_SUBKEY];
	if (i->abridged)
		s.members = slice_of(NULL, 0);
	wbuf_grow(&w, STATE_RECORD_MAX);
	paxos_state_encode(&w, &s);
	enum err e = wbuf_end(&w);
	if (e == ERR_OK)
		e = out_put(i, IPAM_MAP_PAXOS, universe_subkey(i->cfg.universe, 'a', key), wbuf_slice(&w));
	wbuf_free(&w);
	if (e == ERR_OK)
		i->paxos_published = true;
	return e;
}

/* Is it time to show our state without the value? Sets the time when it is known. */
static bool abridge_now(struct ipam *i)
{
	const struct paxos *p = &i->paxos;
	if (i->abridged || p->n_members == 0 || p->accepted.proposer == p->self || !ring_exists(i) || !i->ring_whole ||
		i->recovering) {
		i->abridge_ms = 0;
		return false;
	}
	if (i->paxos_stored && !i->paxos_published)
		return true; /* decided in a former run */
	if (i->abridge_ms == 0)
		i->abridge_ms = i->now + rng_between(&i->rng, ABRIDGE_MS, 2 * ABRIDGE_MS);
	return i->now >= i->abridge_ms;
}

/* The names, ascending, get their shares. */
static enum err divide(struct ipam *i, const uint64_t *names, size_t n)
{
	struct crdt_changes ch;
	crdt_changes_init(&ch, i->out->arena);
	enum err e = out_reserve(i, n + 4, (n + 2) * RECORD_BYTES);
	if (e == ERR_OK)
		e = ring_divide(i->cfg.ring, i->cfg.universe, names, n, &ch);
	if (e == ERR_OK)
		e = out_ring(i, &ch, true);
	if (e == ERR_OK) {
		i->elected = i->guard.newcomer = false;
		e = founding_divided(i, names, n);
	}
	if (e == ERR_OK && ch.n > 0) {
		out_note(i, 1, "the range is divided among %zu hosts", n);
	}
	return e;
}

/* Are we among the members, with the memory that we have now? */
static bool remembers(const struct ipam *i, struct slice members)
{
	size_t at = 0;
	uint64_t name;
	uint32_t memory;
	while (paxos_member(members, &at, &name, &memory))
		if (name == i->cfg.self)
			return memory == i->paxos.memory;
	return false;
}

static enum err divide_chosen(struct ipam *i, struct slice members)
{
	size_t at = 0, n = 0;
	uint32_t memory;
	uint64_t *v = mem_zalloc(members.n / PAXOS_MEMBER, sizeof *v);
	if (!v)
		return ERR_NOMEM;
	while (paxos_member(members, &at, &v[n], &memory))
		n++;
	enum err e = divide(i, v, n);
	mem_free(v);
	return e;
}

/* What was chosen may be news of the ring, or of our own past. */
static enum err learn(struct ipam *i)
{
	struct slice members;
	if ((ring_exists(i) && i->ring_whole && !i->recovering) || !paxos_chosen(&i->paxos, i->cfg.paxos, agree_quorum(i), &members))
		return ERR_OK;
	enum err e = ERR_OK;
	if (i->recovering && remembers(i, members))
		e = own_certain(i);
	/* Also over a ring of which only a part has arrived: what is there is newer than the division, or the same. */
	return e == ERR_OK && !(ring_exists(i) && i->ring_whole) ? divide_chosen(i, members) : e;
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

/* Knows when we may, and from when on. */
static void consider_proposing(struct ipam *i, bool wanted, size_t quorum)
{
	bool before = i->may_propose;
	i->may_propose = wanted && i->known >= quorum;
	if (!i->may_propose || before || i->known <= PROPOSE_FEW || paxos_first(&i->paxos, i->cfg.paxos))
		return;
	uint64_t at = i->now + rng_between(&i->rng, PROPOSE_FIRST_MS / 5, PROPOSE_FIRST_MS);
	if (i->propose_ms < at)
		i->propose_ms = at;
}

static enum err consensus(struct ipam *i)
{
	struct paxos *p = &i->paxos;
	struct ballot before = p->promised;
	bool changed = false, wanted = agree_wanted(i), abridge = abridge_now(i);
	struct fingerprint said = crdt_map_fingerprint(i->cfg.paxos, slice_of(NULL, 0), slice_of(NULL, 0));
	bool due = wanted && (!i->paxos_wanted || (i->may_propose && !proposes(i) && i->now >= i->propose_ms));
	if (fingerprint_eq(said, i->paxos_heard) && !i->paxos_dirty && !due && !abridge)
		return ERR_OK;
	i->known = paxos_known(p, i->cfg.paxos);
	size_t quorum = agree_quorum(i);
	bool other_quorum = quorum != p->quorum;
	p->quorum = quorum < UINT32_MAX ? (uint32_t)quorum : UINT32_MAX;
	enum err e = paxos_listen(p, i->cfg.paxos, &changed);
	if (ballot_cmp(before, p->promised) != 0 && p->promised.proposer != i->cfg.self)
		wait_for_other(i);
	consider_proposing(i, wanted, quorum);
	if (e == ERR_OK && wanted) {
		if (i->may_propose && !proposes(i) && i->now >= i->propose_ms)
			e = paxos_propose(p, i->cfg.paxos, &changed);
		if (e == ERR_OK)
			e = paxos_lead(p, i->cfg.paxos, quorum, &changed);
	}
	if (changed) {
		i->abridged = false;
		i->abridge_ms = 0;
	} else if (abridge) {
		i->abridged = true;
	}
	/* Also without a promise, so that whoever leads knows that we are there, and by what memory. */
	bool news = changed || abridge || (other_quorum && p->promised.round > 0 && !ring_exists(i));
	bool show = news || (!i->paxos_published && (p->promised.round > 0 || !ring_exists(i)));
	if (e == ERR_OK)
		e = store_quorum(i); /* before the vote can be seen; and when it has become another */
	if (e == ERR_OK && (changed || (show && !i->paxos_stored))) {
		e = agree_store(i);
		i->paxos_stored = e == ERR_OK;
	}
	if (e == ERR_OK && show)
		e = publish(i);
	if (e != ERR_OK && news)
		i->rewrite = true;
	if (e == ERR_OK)
		e = learn(i);
	i->paxos_dirty = e != ERR_OK;
	i->paxos_heard = said;
	i->paxos_wanted = wanted;
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

/* Nobody is asked, so nobody can say that we have forgotten something: that much is given up for starting alone. */
static enum err divide_seeds(struct ipam *i)
{
	enum err e = own_certain(i);
	return e == ERR_OK ? divide(i, i->seeds, i->cfg.n_seeds) : e;
}

enum err agree(struct ipam *i)
{
	enum err e = ERR_OK;
	switch (i->cfg.init) {
	case IPAM_SEED:
		if (!ring_exists(i) && !i->stopped)
			e = divide_seeds(i);
		break;
	case IPAM_OBSERVER: e = elect(i); break;
	case IPAM_CONSENSUS: e = consensus(i); break;
	}
	return e == ERR_OK ? own_sync(i) : e;
}

uint64_t agree_deadline_ms(const struct ipam *i)
{
	if (i->cfg.init == IPAM_SEED || (i->cfg.init == IPAM_OBSERVER && !agree_wanted(i)))
		return UINT64_MAX;
	if (!agree_wanted(i))
		return i->abridge_ms > 0 && !i->abridged ? i->abridge_ms : UINT64_MAX;
	if (i->cfg.init == IPAM_OBSERVER)
		return i->elect_ms;
	return proposes(i) || !i->may_propose ? UINT64_MAX : i->propose_ms;
}
