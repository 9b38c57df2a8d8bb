/* Membership epochs: who votes on what becomes of a dead owner's free space, and single-decree Paxos on the next epoch (docs/adr/0013).
 * Plain: knows nothing of struct ipam, of time, or of who can be reached.
 *
 * An epoch is what all hosts agree on: its number, its members, for each of them the lowest serial of a declaration that may still be
 * acted on, and the marks: ranges that were taken from members that were removed. Epoch 0 are the hosts that divided the range. Epoch
 * n + 1 follows from epoch n and a *value*, which is chosen by the members of epoch n. Who has epoch n and the value has epoch n + 1, bit
 * by bit the same as everybody else's: its digest is published, so that it can be asked for from anybody and be trusted when the others
 * publish the same.
 *
 * The instance that chooses the value is spoken by published states as in paxos.h, with one thing added: *a promise freezes*. Who has
 * promised acknowledges no declaration any more until the instance is over, and its state says up to which serial it has acknowledged
 * each member's declarations. So whoever leads knows, from any quorum of promises, a serial for each member beyond which none can have been
 * acknowledged by a majority, and never will be in this epoch. It removes a member only by a declaration at least as late as that, and
 * names the serial for all who stay, since those who join have acknowledged nothing. Nobody refuses a value: a value that one acceptor has
 * refused and another accepted could never be got rid of. An instance that was begun has to be brought to its end, by anybody.
 *
 * An epoch that seeds have founded does not say what memories its members have: nobody was asked. As long as that is not known of one, all members
 * are needed for a decision, and the first one makes their memories known. */
#ifndef WEFT_IPAM_EPOCH_H
#define WEFT_IPAM_EPOCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/buf.h"
#include "base/err.h"
#include "crdt/map.h"
#include "crdt/ring.h"
#include "ipam/paxos.h"

#define EPOCH_MEMBERS_MAX 768
#define EPOCH_AHEAD_MAX   (UINT64_C(1) << 34)   /* serials in one epoch; beyond them somebody lies */
#define EPOCH_CHANGES_MAX 64                    /* added, and as many removed, in one value */
#define EPOCH_SPARE_MAX   32                    /* ranges in a declaration */
#define EPOCH_MARKS_MAX   512                   /* the latest */
#define EPOCH_VALUE_MAX   5120                  /* bytes */
#define EPOCH_STATE_MAX   60000                 /* bytes of an encoded epoch */
#define LEASE_MS_MAX      UINT64_C(31536000000) /* a year */

/* A free range of one owner's, inside one token: where that ends and which stamp it has, for the part that stays behind the range. */
struct spare {
	struct range4 r;
	uint64_t end;
	struct stamp stamp;
};

/* What an owner will not give from until a majority has acknowledged a later declaration. Wire: varint epoch, varint serial, varint
 * lease_ms, varint n, n x { u32 first, u32 last, u32 last of the token, varint inc, varint ctr }, ascending. */
struct declaration {
	uint64_t epoch, serial; /* serial 0: none */
	uint64_t lease_ms;      /* 0: its owner is not to be found dead by the clock */
	size_t n;
	struct spare v[EPOCH_SPARE_MAX];
};
void declaration_encode(struct wbuf *w, const struct declaration *d);
enum err declaration_decode(struct slice in, struct universe u, struct declaration *d) MUST_CHECK;

struct member {
	uint64_t name;
	uint32_t memory; /* paxos.h; 0: not known (a seed), any */
	uint64_t since;  /* the epoch it joined in: declarations made before are void */
	uint64_t serial; /* no earlier declaration may be acted on */
};
struct mark { /* a range that went from a member that was removed to its heir */
	uint64_t epoch, from, heir, serial;
	struct spare what;
};
struct epoch {
	bool known;
	uint64_t number, digest;
	struct member *v; /* by name */
	size_t n, cap;
	struct mark *marks; /* oldest first */
	size_t n_marks, cap_marks;
};
void epoch_free(struct epoch *e);
/* Epoch 0. members: as in paxos.h, PAXOS_MEMBER bytes each; of too many the first. */
enum err epoch_found(struct epoch *e, struct slice members) MUST_CHECK;
/* NULL: no member. */
const struct member *epoch_member(const struct epoch *e, uint64_t name);
bool epoch_is(const struct epoch *e, uint64_t name, uint32_t memory);
void epoch_encode(struct wbuf *w, const struct epoch *e);
/* *e must be all zeros. On error it is, too. */
enum err epoch_decode(struct slice in, struct universe u, struct epoch *e) MUST_CHECK;
/* out, all zeros, becomes the epoch that follows by the value. ERR_MALFORMED: it does not fit. */
enum err epoch_apply(const struct epoch *e, struct slice value, struct universe u, struct epoch *out) MUST_CHECK;

/* --- values --- */

struct removal {
	uint64_t name, heir; /* heir PEER_NONE: nothing is taken */
	uint64_t serial;
	size_t n;
	const struct spare *v;
};
struct epoch_change { /* what a leader wants; serials has one entry for each member: never below what any promise reports */
	const struct member *added; /* by name; name and memory count */
	size_t n_added;
	const struct removal *removed; /* by name */
	size_t n_removed;
	const uint64_t *serials;
};
void epoch_value_encode(struct wbuf *w, const struct epoch *e, const struct epoch_change *c);

/* --- the instance that chooses the next epoch --- */

/* As published under the subkey "e" and the universe. Wire: u32 memory, u8 flags (1: epoch known, 2: wants to be a member), varint epoch, u64
 * digest, varint round and u48 proposer (twice: promised, accepted), lv reports, lv value. Reports: for each member of the epoch, in their
 * order, a varint: twice the serial acknowledged above the member's in the epoch, plus one when the reporter finds it overdue. */
struct vote {
	uint32_t memory;
	bool known, wish;
	uint64_t epoch, digest;
	struct ballot promised, accepted;
	struct slice reports, value;
};
void vote_encode(struct wbuf *w, const struct vote *v);
enum err vote_decode(struct slice in, struct vote *v) MUST_CHECK; /* slices point into `in` */
/* One report of the member at `at`; false: it does not say. */
struct report {
	uint64_t serial;
	bool overdue;
};
/* Reads the next report; r was made from vote.reports. */
bool vote_report(struct rbuf *r, const struct member *m, struct report *out);

/* Our own part; the rest is read from the map of published states. */
struct instance {
	uint64_t self;
	uint32_t memory;
	struct universe u;
	const struct epoch *e;
	const struct crdt_map *map;
	const uint64_t *gone; /* members that the operator has removed: they have no vote */
	size_t n_gone;
	const uint64_t
		*muted; /* what they publish moves us to no promise and no acceptance, which is never wrong: only a quorum must be left */
	size_t n_muted;
	uint64_t heeded; /* by instance_listen, when it changed something */
	struct ballot promised, accepted;
	uint8_t *value; /* accepted */
	size_t value_n;
};
bool instance_open(const struct instance *i);
bool instance_ours(
	const struct instance *i); /* what we have promised is a proposal of ours, and not of a former self of unknown memory */
size_t instance_quorum(const struct instance *i);
bool instance_votes(const struct instance *i, uint64_t peer, uint32_t memory); /* a member that was not removed */
/* The next state of another host in the map, after the key *at; members or not. */
bool instance_next(const struct instance *i, struct slice *at, uint64_t *peer, struct vote *v);
/* Of this epoch, by a member. */
bool instance_counts(const struct instance *i, uint64_t peer, const struct vote *v);
void instance_reset(struct instance *i); /* another epoch */
/* Each sets *changed when our state is a new one, to be stored and published. */
void instance_propose(struct instance *i, bool *changed);
enum err instance_listen(struct instance *i, bool *changed) MUST_CHECK;
/* Is it for us to name a value? Then *free says whether it may be any; else it is the one that was set. */
bool instance_leads(const struct instance *i, bool *free, struct slice *value);
enum err instance_accept(struct instance *i, struct slice value, bool *changed) MUST_CHECK;
/* The value that was chosen; next gets the epoch that follows. ERR_AGAIN: none yet. */
enum err instance_chosen(const struct instance *i, struct epoch *next) MUST_CHECK;

#endif
