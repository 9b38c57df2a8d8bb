#include "ipam/paxos.h"

#include <assert.h>
#include <string.h>

#include "base/mem.h"

int ballot_cmp(struct ballot a, struct ballot b)
{
	if (a.round != b.round)
		return a.round < b.round ? -1 : 1;
	return a.proposer < b.proposer ? -1 : a.proposer > b.proposer;
}

/* --- states --- */

void paxos_state_encode(struct wbuf *w, const struct paxos_state *s)
{
	wbuf_u32(w, s->memory);
	wbuf_varint(w, s->quorum);
	wbuf_varint(w, s->promised.round);
	wbuf_u48(w, s->promised.proposer);
	wbuf_varint(w, s->accepted.round);
	wbuf_u48(w, s->accepted.proposer);
	wbuf_varint(w, s->members.n / PAXOS_MEMBER);
	wbuf_bytes(w, s->members.p, s->members.n);
}

bool ballot_valid(struct ballot b)
{
	return (b.round == 0) == (b.proposer == PEER_NONE);
}

bool paxos_member(struct slice members, size_t *at, uint64_t *name, uint32_t *memory)
{
	struct rbuf r;
	if (*at >= members.n)
		return false;
	rbuf_init(&r, members.p + *at, members.n - *at);
	*name = rbuf_u48(&r);
	*memory = rbuf_u32(&r);
	*at += PAXOS_MEMBER;
	return rbuf_ok(&r);
}

static bool members_valid(struct slice members)
{
	size_t at = 0;
	uint64_t name, last = PEER_NONE;
	uint32_t memory;
	while (paxos_member(members, &at, &name, &memory)) {
		if (name <= last)
			return false;
		last = name;
	}
	return true;
}

/* Most states carry the one value that is about to be chosen: checking it once is enough. `valid`: members that were checked before. */
static enum err state_decode(struct slice in, struct slice valid, struct paxos_state *out)
{
	struct rbuf r;
	rbuf_init(&r, in.p, in.n);
	*out = (struct paxos_state){ 0 };
	out->memory = rbuf_u32(&r);
	uint64_t quorum = rbuf_varint(&r);
	out->promised.round = rbuf_varint(&r);
	out->promised.proposer = rbuf_u48(&r);
	out->accepted.round = rbuf_varint(&r);
	out->accepted.proposer = rbuf_u48(&r);
	uint64_t n = rbuf_varint(&r);
	if (n > PAXOS_VALUE_MAX || quorum > UINT32_MAX)
		return ERR_LIMIT;
	out->quorum = (uint32_t)quorum;
	out->members = rbuf_bytes(&r, (size_t)n * PAXOS_MEMBER);
	enum err e = rbuf_end(&r);
	if (e != ERR_OK)
		return e;
	if (!ballot_valid(out->promised) || !ballot_valid(out->accepted) || ballot_cmp(out->accepted, out->promised) > 0 ||
		(out->accepted.round == 0 && n > 0) || !(slice_eq(out->members, valid) || members_valid(out->members)))
		return ERR_MALFORMED;
	return ERR_OK;
}

enum err paxos_state_decode(struct slice in, struct paxos_state *out)
{
	return state_decode(in, slice_of(NULL, 0), out);
}

struct slice universe_subkey(struct universe u, char kind, uint8_t mem[UNIVERSE_SUBKEY])
{
	struct wbuf w;
	wbuf_fixed(&w, mem, UNIVERSE_SUBKEY);
	wbuf_u8(&w, (uint8_t)kind);
	wbuf_u32(&w, u.first);
	wbuf_u8(&w, u.len);
	return wbuf_slice(&w);
}

void paxos_init(struct paxos *p, uint64_t self, struct universe u, uint32_t memory)
{
	*p = (struct paxos){ .self = self, .u = u, .memory = memory };
}

void paxos_free(struct paxos *p)
{
	mem_free(p->members);
	p->members = NULL;
	p->n_members = 0;
}

struct paxos_state paxos_state(const struct paxos *p)
{
	return (struct paxos_state){ .memory = p->memory,
		.quorum = p->quorum,
		.promised = p->promised,
		.accepted = p->accepted,
		.members = { p->members, p->n_members * PAXOS_MEMBER } };
}

static enum err set_accepted(struct paxos *p, struct ballot b, struct slice members)
{
	uint8_t *copy = members.n > 0 ? mem_dup(members.p, members.n) : NULL;
	if (!copy && members.n > 0)
		return ERR_NOMEM;
	mem_free(p->members);
	p->members = copy;
	p->n_members = members.n / PAXOS_MEMBER;
	p->accepted = b;
	return ERR_OK;
}

enum err paxos_load(struct paxos *p, const struct paxos_state *s)
{
	if (s->accepted.round > 0) {
		enum err e = set_accepted(p, s->accepted, s->members);
		if (e != ERR_OK)
			return e;
	}
	p->promised = s->promised;
	p->memory = s->memory;
	return ERR_OK;
}

/* The next acceptor's state after the key *at, ourselves left out. What cannot be read is passed over: a voice less. */
static bool others_next(const struct paxos *p, const struct crdt_map *m, struct slice *at, uint64_t *peer, struct paxos_state *s)
{
	uint8_t mem[UNIVERSE_SUBKEY];
	struct slice subkey = universe_subkey(p->u, 'a', mem);
	struct slice valid = slice_of(p->members, p->n_members * PAXOS_MEMBER);
	struct crdt_item it;
	while (crdt_map_next(m, *at, &it)) {
		*at = it.key;
		*peer = crdt_owner(it.key);
		if (*peer != p->self && it.live && slice_eq(crdt_subkey(it.key), subkey) && state_decode(it.value, valid, s) == ERR_OK)
			return true;
	}
	return false;
}

size_t paxos_known(const struct paxos *p, const struct crdt_map *m)
{
	size_t n = 1;
	struct slice at = { NULL, 0 };
	uint64_t peer;
	struct paxos_state s;
	while (others_next(p, m, &at, &peer, &s))
		n++;
	return n;
}

bool paxos_first(const struct paxos *p, const struct crdt_map *m)
{
	struct slice at = { NULL, 0 };
	uint64_t peer;
	struct paxos_state s;
	return !others_next(p, m, &at, &peer, &s) || peer > p->self;
}

bool paxos_is_acceptor(const struct crdt_map *m, struct universe u, uint64_t peer)
{
	uint8_t key[6 + UNIVERSE_SUBKEY], mem[UNIVERSE_SUBKEY];
	struct wbuf w;
	struct crdt_item it;
	wbuf_fixed(&w, key, sizeof key);
	wbuf_u48(&w, peer);
	wbuf_bytes(&w, universe_subkey(u, 'a', mem).p, UNIVERSE_SUBKEY);
	return crdt_map_get(m, wbuf_slice(&w), &it) && it.live;
}

/* --- the rules --- */

/* Is a the better witness of what was accepted last? Of two that say the same ballot the one that shows the value. */
static bool accepted_later(const struct paxos_state *a, const struct paxos_state *b)
{
	int c = ballot_cmp(a->accepted, b->accepted);
	return c > 0 || (c == 0 && a->members.n > b->members.n);
}

/* Do those who promised (or accepted) the ballot make a quorum? Some k of them, k >= least, each of whom takes k for enough. */
static bool enough(const struct paxos *p, const struct crdt_map *m, struct ballot b, bool accepted, size_t least)
{
	struct paxos_state own = paxos_state(p), s;
	for (size_t k = least, larger; k < SIZE_MAX; k = larger) {
		struct slice at = { NULL, 0 };
		uint64_t peer;
		size_t n = ballot_cmp(accepted ? own.accepted : own.promised, b) == 0 && own.quorum <= k;
		larger = SIZE_MAX;
		while (others_next(p, m, &at, &peer, &s)) {
			if (ballot_cmp(accepted ? s.accepted : s.promised, b) != 0)
				continue;
			n += s.quorum <= k;
			if (s.quorum > k && s.quorum < larger)
				larger = s.quorum;
		}
		if (n >= k)
			return true;
	}
	return false;
}

enum err paxos_propose(struct paxos *p, const struct crdt_map *m, bool *changed)
{
	uint64_t round = p->promised.round;
	struct slice at = { NULL, 0 };
	uint64_t peer;
	struct paxos_state s;
	while (others_next(p, m, &at, &peer, &s))
		if (s.promised.round > round)
			round = s.promised.round;
	if (round == UINT64_MAX)
		return ERR_OK; /* someone spoilt it; nothing sensible can follow */
	p->promised = (struct ballot){ round + 1, p->self };
	*changed = true;
	return ERR_OK;
}

enum err paxos_listen(struct paxos *p, const struct crdt_map *m, bool *changed)
{
	struct ballot promised = { 0, 0 };
	struct paxos_state best = { 0 }, s;
	struct slice at = { NULL, 0 };
	uint64_t peer;
	while (others_next(p, m, &at, &peer, &s)) {
		if (ballot_cmp(s.promised, promised) > 0)
			promised = s.promised;
		if (accepted_later(&s, &best))
			best = s;
	}
	/* Accepting first: a promise above it does not undo what was accepted, but would forbid it. */
	if (best.members.n > 0 && ballot_cmp(best.accepted, p->promised) >= 0 && ballot_cmp(best.accepted, p->accepted) > 0) {
		enum err e = set_accepted(p, best.accepted, best.members);
		if (e != ERR_OK)
			return e;
		p->promised = best.accepted;
		*changed = true;
	}
	if (ballot_cmp(promised, p->promised) > 0) {
		p->promised = promised;
		*changed = true;
	}
	return ERR_OK;
}

static void add_member(struct wbuf *w, uint64_t name, uint32_t memory)
{
	wbuf_u48(w, name);
	wbuf_u32(w, memory);
}

/* Acceptors known, ascending, and ourselves always; keys are in the owners' order. */
static enum err all_members(const struct paxos *p, const struct crdt_map *m, struct wbuf *w)
{
	struct slice at = { NULL, 0 };
	uint64_t peer;
	struct paxos_state s;
	bool self_done = false;
	/* The first of very many: enough to ask for space. */
	while (w->len < (PAXOS_VALUE_MAX - 1) * PAXOS_MEMBER && others_next(p, m, &at, &peer, &s)) {
		if (!self_done && peer > p->self) {
			add_member(w, p->self, p->memory);
			self_done = true;
		}
		add_member(w, peer, s.memory);
	}
	if (!self_done)
		add_member(w, p->self, p->memory);
	return wbuf_end(w);
}

enum err paxos_lead(struct paxos *p, const struct crdt_map *m, size_t quorum, bool *changed)
{
	if (p->promised.round == 0 || p->promised.proposer != p->self || ballot_cmp(p->accepted, p->promised) == 0)
		return ERR_OK;
	if (!enough(p, m, p->promised, false, quorum))
		return ERR_OK;
	struct paxos_state best = paxos_state(p), s;
	struct slice at = { NULL, 0 };
	uint64_t peer;
	while (others_next(p, m, &at, &peer, &s))
		if (ballot_cmp(s.promised, p->promised) == 0 && accepted_later(&s, &best))
			best = s;
	if (best.accepted.round > 0 && best.members.n == 0)
		return ERR_OK; /* long decided: the ring is on its way */
	enum err e;
	if (best.accepted.round > 0) {
		e = set_accepted(p, p->promised, best.members);
	} else {
		struct wbuf w;
		wbuf_grow(&w, PAXOS_VALUE_MAX * PAXOS_MEMBER);
		e = all_members(p, m, &w);
		if (e == ERR_OK)
			e = set_accepted(p, p->promised, wbuf_slice(&w));
		wbuf_free(&w);
	}
	if (e == ERR_OK)
		*changed = true;
	return e;
}

bool paxos_chosen(const struct paxos *p, const struct crdt_map *m, size_t quorum, struct slice *members)
{
	/* A value chosen at some ballot is also the value of every later one, so the highest is enough to look at. */
	struct paxos_state best = paxos_state(p), s;
	struct slice at = { NULL, 0 };
	uint64_t peer;
	while (others_next(p, m, &at, &peer, &s))
		if (accepted_later(&s, &best))
			best = s;
	*members = best.members;
	return best.members.n > 0 && enough(p, m, best.accepted, true, quorum);
}
