#include "ipam/paxos.h"

#include <assert.h>
#include <string.h>

#include "base/mem.h"

#define NAME 6

int ballot_cmp(struct ballot a, struct ballot b)
{
	if (a.round != b.round)
		return a.round < b.round ? -1 : 1;
	return a.proposer < b.proposer ? -1 : a.proposer > b.proposer;
}

/* --- states --- */

void paxos_state_encode(struct wbuf *w, const struct paxos_state *s)
{
	wbuf_varint(w, s->promised.round);
	wbuf_u48(w, s->promised.proposer);
	wbuf_varint(w, s->accepted.round);
	wbuf_u48(w, s->accepted.proposer);
	wbuf_varint(w, s->names.n / NAME);
	wbuf_bytes(w, s->names.p, s->names.n);
}

static bool ballot_valid(struct ballot b)
{
	return (b.round == 0) == (b.proposer == PEER_NONE);
}

static bool names_valid(struct slice names)
{
	struct rbuf r;
	uint64_t last = PEER_NONE;
	rbuf_init(&r, names.p, names.n);
	while (rbuf_left(&r) > 0) {
		uint64_t name = rbuf_u48(&r);
		if (!rbuf_ok(&r) || name <= last)
			return false;
		last = name;
	}
	return true;
}

enum err paxos_state_decode(struct slice in, struct paxos_state *out)
{
	struct rbuf r;
	rbuf_init(&r, in.p, in.n);
	*out = (struct paxos_state){ 0 };
	out->promised.round = rbuf_varint(&r);
	out->promised.proposer = rbuf_u48(&r);
	out->accepted.round = rbuf_varint(&r);
	out->accepted.proposer = rbuf_u48(&r);
	uint64_t n = rbuf_varint(&r);
	if (n > PAXOS_VALUE_MAX)
		return ERR_LIMIT;
	out->names = rbuf_bytes(&r, (size_t)n * NAME);
	enum err e = rbuf_end(&r);
	if (e != ERR_OK)
		return e;
	if (!ballot_valid(out->promised) || !ballot_valid(out->accepted) || ballot_cmp(out->accepted, out->promised) > 0 ||
	    (out->accepted.round == 0) != (n == 0) || !names_valid(out->names))
		return ERR_MALFORMED;
	return ERR_OK;
}

struct slice paxos_subkey(struct universe u, uint8_t mem[PAXOS_SUBKEY])
{
	struct wbuf w;
	wbuf_fixed(&w, mem, PAXOS_SUBKEY);
	wbuf_u8(&w, 'a');
	wbuf_u32(&w, u.first);
	wbuf_u8(&w, u.len);
	return wbuf_slice(&w);
}

void paxos_init(struct paxos *p, uint64_t self, struct universe u)
{
	*p = (struct paxos){ .self = self, .u = u };
}

void paxos_free(struct paxos *p)
{
	mem_free(p->names);
	p->names = NULL;
	p->n_names = 0;
}

struct paxos_state paxos_state(const struct paxos *p)
{
	return (struct paxos_state){ .promised = p->promised, .accepted = p->accepted, .names = { p->names, p->n_names * NAME } };
}

static enum err set_accepted(struct paxos *p, struct ballot b, struct slice names)
{
	uint8_t *copy = mem_dup(names.p, names.n);
	if (!copy)
		return ERR_NOMEM;
	mem_free(p->names);
	p->names = copy;
	p->n_names = names.n / NAME;
	p->accepted = b;
	return ERR_OK;
}

enum err paxos_load(struct paxos *p, const struct paxos_state *s, bool witness)
{
	if (s->accepted.round > 0) {
		enum err e = set_accepted(p, s->accepted, s->names);
		if (e != ERR_OK)
			return e;
	}
	p->promised = s->promised;
	p->witness = witness;
	return ERR_OK;
}

/* The next acceptor's state after the key *at, ourselves left out. What cannot be read is passed over: a voice less. */
static bool others_next(const struct paxos *p, const struct crdt_map *m, struct slice *at, uint64_t *peer, struct paxos_state *s)
{
	uint8_t mem[PAXOS_SUBKEY];
	struct slice subkey = paxos_subkey(p->u, mem);
	struct crdt_item it;
	while (crdt_map_next(m, *at, &it)) {
		*at = it.key;
		*peer = crdt_owner(it.key);
		if (*peer != p->self && it.live && slice_eq(crdt_subkey(it.key), subkey) && paxos_state_decode(it.value, s) == ERR_OK)
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

bool paxos_is_acceptor(const struct crdt_map *m, struct universe u, uint64_t peer)
{
	uint8_t key[6 + PAXOS_SUBKEY], mem[PAXOS_SUBKEY];
	struct wbuf w;
	struct crdt_item it;
	wbuf_fixed(&w, key, sizeof key);
	wbuf_u48(&w, peer);
	wbuf_bytes(&w, paxos_subkey(u, mem).p, PAXOS_SUBKEY);
	return crdt_map_get(m, wbuf_slice(&w), &it) && it.live;
}

/* --- the rules --- */

static void promise(struct paxos *p, struct ballot b, bool accepted_seen)
{
	if (p->promised.round == 0)
		p->witness = !accepted_seen;
	p->promised = b;
}

enum err paxos_propose(struct paxos *p, const struct crdt_map *m, bool *changed)
{
	uint64_t round = p->promised.round;
	bool accepted_seen = false;
	struct slice at = { NULL, 0 };
	uint64_t peer;
	struct paxos_state s;
	while (others_next(p, m, &at, &peer, &s)) {
		if (s.promised.round > round)
			round = s.promised.round;
		accepted_seen |= s.accepted.round > 0;
	}
	if (round == UINT64_MAX)
		return ERR_OK; /* someone spoilt it; nothing sensible can follow */
	promise(p, (struct ballot){ round + 1, p->self }, accepted_seen);
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
		if (ballot_cmp(s.accepted, best.accepted) > 0)
			best = s;
	}
	/* Accepting first: a promise above it does not undo what was accepted, but would forbid it. */
	if (best.accepted.round > 0 && ballot_cmp(best.accepted, p->promised) >= 0 && ballot_cmp(best.accepted, p->accepted) > 0) {
		enum err e = set_accepted(p, best.accepted, best.names);
		if (e != ERR_OK)
			return e;
		promise(p, best.accepted, true);
		*changed = true;
	}
	if (ballot_cmp(promised, p->promised) > 0) {
		promise(p, promised, best.accepted.round > 0);
		*changed = true;
	}
	return ERR_OK;
}

/* All acceptors known, ascending; keys are in the owners' order. */
static enum err all_names(const struct paxos *p, const struct crdt_map *m, struct wbuf *w)
{
	struct slice at = { NULL, 0 };
	uint64_t peer;
	struct paxos_state s;
	bool self_done = false;
	while (w->len < (PAXOS_VALUE_MAX - 1) * NAME && others_next(p, m, &at, &peer, &s)) {
		if (!self_done && peer > p->self) {
			wbuf_u48(w, p->self);
			self_done = true;
		}
		wbuf_u48(w, peer);
	}
	if (!self_done)
		wbuf_u48(w, p->self);
	return wbuf_end(w);
}

enum err paxos_lead(struct paxos *p, const struct crdt_map *m, size_t quorum, bool *changed)
{
	if (p->promised.round == 0 || p->promised.proposer != p->self || ballot_cmp(p->accepted, p->promised) == 0)
		return ERR_OK;
	size_t n = 1;
	struct paxos_state best = paxos_state(p), s;
	struct slice at = { NULL, 0 };
	uint64_t peer;
	while (others_next(p, m, &at, &peer, &s)) {
		if (ballot_cmp(s.promised, p->promised) != 0)
			continue;
		n++;
		if (ballot_cmp(s.accepted, best.accepted) > 0)
			best = s;
	}
	if (n < quorum)
		return ERR_OK;
	enum err e;
	if (best.accepted.round > 0) {
		e = set_accepted(p, p->promised, best.names);
	} else {
		struct wbuf w;
		wbuf_grow(&w, PAXOS_VALUE_MAX * NAME);
		e = all_names(p, m, &w);
		if (e == ERR_OK)
			e = set_accepted(p, p->promised, wbuf_slice(&w));
		wbuf_free(&w);
	}
	if (e == ERR_OK)
		*changed = true;
	return e;
}

bool paxos_chosen(const struct paxos *p, const struct crdt_map *m, size_t quorum, struct slice *names)
{
	/* A value chosen at some ballot is also the value of every later one, so the highest is enough to look at. */
	struct paxos_state best = paxos_state(p), s;
	struct slice at = { NULL, 0 };
	uint64_t peer;
	while (others_next(p, m, &at, &peer, &s))
		if (ballot_cmp(s.accepted, best.accepted) > 0)
			best = s;
	if (best.accepted.round == 0)
		return false;
	size_t n = ballot_cmp(p->accepted, best.accepted) == 0;
	for (at = (struct slice){ NULL, 0 }; others_next(p, m, &at, &peer, &s);)
		n += ballot_cmp(s.accepted, best.accepted) == 0;
	*names = best.names;
	return n >= quorum;
}
