/* Single-decree Paxos on who takes part in the first division of the range, spoken by publishing acceptor states.
 *
 * There are no messages. Every host publishes its acceptor's state {promised ballot, accepted ballot, accepted value} in a replicated
 * map and reads the others' there; a state only ever says more than the one before, so losing, repeating or reordering it does no
 * harm. (L. Lamport, "Paxos Made Simple", 2001, with phase 1b and 2b messages replaced by the states they would carry.)
 *
 *   propose   the proposer's own acceptor promises (highest round seen + 1, own name)
 *   listen    an acceptor promises the highest ballot it sees, and accepts what it sees accepted at a ballot not below its promise
 *   lead      when a quorum shows a promise that is exactly our ballot, our acceptor accepts the value that was accepted at the highest
 *             ballot among that quorum, or else all acceptors known
 *   chosen    a quorum shows the same accepted ballot
 *
 * Whoever changes its state must have it on disk before anybody else can see it. Observers have no acceptor.
 *
 * How many make a quorum every host is told by its own operator, and operators err. So each state shows the quorum its host goes by, and
 * a number of hosts decides only if it is a quorum by the word of each of them, and by that of the host that counts (agree.c).
 *
 * A value chosen long ago is of no use to anybody: the ring that was made of it is. So a state may be shown abridged, without the value
 * of its accepted ballot; since a ballot has one value only, the ballot says enough. Whoever would need the value waits for the ring.
 *
 * An acceptor names itself by its host's name and by a random number that lives as long as its disk, its *memory*. A host that finds
 * itself in the value with its present memory knows that it has forgotten nothing since the first division; one that finds only its
 * name has lost its disk since, or was never asked. */
#ifndef WEFT_IPAM_PAXOS_H
#define WEFT_IPAM_PAXOS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "crdt/map.h"
#include "crdt/ring.h"

#define PAXOS_VALUE_MAX 64 /* members in a value: who gets a share of the first division; the others get space by asking */
#define PAXOS_MEMBER    10 /* bytes: u48 name, u32 memory */
#define UNIVERSE_SUBKEY 6  /* what it is about, universe (5) */

struct ballot {
	uint64_t round, proposer; /* round 0: none */
};
int ballot_cmp(struct ballot a, struct ballot b);
bool ballot_valid(struct ballot b); /* from outside: either none, or somebody's */

/* Wire and disk: u32 memory, varint quorum, varint round, u48 proposer (twice: promised, accepted), varint n, n x (u48 name, u32 memory),
 * names ascending. No value without an accepted ballot; an accepted ballot without a value: abridged. The accepted ballot is not above
 * the promised one. */
struct paxos_state {
	uint32_t memory;
	uint32_t quorum; /* that its host goes by; 0: not told */
	struct ballot promised, accepted;
	struct slice members; /* PAXOS_MEMBER bytes each */
};
void paxos_state_encode(struct wbuf *w, const struct paxos_state *s);
enum err paxos_state_decode(struct slice in, struct paxos_state *out) MUST_CHECK; /* out->members points into in */
/* Of the items of the paxos and usage maps that are about a whole range. kind: 'a' an acceptor's state, 'e' a vote on the next epoch, … */
struct slice universe_subkey(struct universe u, char kind, uint8_t mem[UNIVERSE_SUBKEY]);

struct paxos {
	uint64_t self;
	struct universe u;
	uint32_t memory;
	uint32_t quorum; /* to be shown; the caller sets it before it publishes */
	struct ballot promised, accepted;
	uint8_t *members; /* none although something was accepted: only an abridged state was stored */
	size_t n_members;
};
void paxos_init(struct paxos *p, uint64_t self, struct universe u, uint32_t memory);
void paxos_free(struct paxos *p);
struct paxos_state paxos_state(const struct paxos *p); /* points into p */
/* Takes over a stored state with its memory. */
enum err paxos_load(struct paxos *p, const struct paxos_state *s) MUST_CHECK;

/* Each adds to *changed when our state is a new one, which then has to be stored and published. m is the map of states; what it says
 * of ourselves is not looked at. ERR_NOMEM: nothing has changed. */
/* Is our name the lowest of all acceptors known? */
bool paxos_first(const struct paxos *p, const struct crdt_map *m);
enum err paxos_propose(struct paxos *p, const struct crdt_map *m, bool *changed) MUST_CHECK;
enum err paxos_listen(struct paxos *p, const struct crdt_map *m, bool *changed) MUST_CHECK;
/* quorum: the least number of hosts that may decide. */
enum err paxos_lead(struct paxos *p, const struct crdt_map *m, size_t quorum, bool *changed) MUST_CHECK;
/* The members chosen; they point into p or m. false also when nobody shows them any more. */
bool paxos_chosen(const struct paxos *p, const struct crdt_map *m, size_t quorum, struct slice *members);
/* The next of the members; *at starts at 0. */
bool paxos_member(struct slice members, size_t *at, uint64_t *name, uint32_t *memory);
/* Acceptors known, ourselves included. */
size_t paxos_known(const struct paxos *p, const struct crdt_map *m);
bool paxos_is_acceptor(const struct crdt_map *m, struct universe u, uint64_t peer);

#endif
