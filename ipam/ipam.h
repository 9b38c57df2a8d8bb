/* Addresses: who may give out which, and who has got which (DESIGN section 4).
 *
 * Pure: events and time in, actions out. The order of actions is the order in which they must be done; all IPAM_PERSIST actions of one
 * step go to the disk in one transaction, durably, before any other action of the step is carried out. So a lease or a grant is on disk
 * before its effect leaves the host, and a crash loses at most a promise that nobody has seen.
 *
 * Safety rests on one sentence: a host gives out an address only while its own view of the ring says that it owns it, and only the
 * owner of a range can make its own view say otherwise (by a grant that it has persisted first). See crdt/ring.h.
 *
 * Maps are the caller's (replicated through gossip):
 *   ring   unowned, crdt/ring.h
 *   paxos  subkey "a" ‖ universe(5): this acceptor's state (paxos.h);
 *          subkey "e" ‖ universe(5): its state about the next epoch (epoch.h);
 *          subkey "x" ‖ universe(5): members removed by `rmpeer` here
 *   usage  subkey "u" ‖ universe(5): free addresses per owned span, published when they change by much, at most once a second;
 *          subkey "d" ‖ universe(5): what is kept spare (epoch.h, struct declaration);
 *          subkey "h" ‖ address(4): an address in use here that lies in a range someone else owns (ring conflict, claim outside): the
 *          others keep their hands off it
 *          subkey "g" ‖ universe(5): it has left; subkey "f" ‖ universe(5): hash of the founders of the ring it belongs to
 * The core that makes the maps gives the ring's crdt_map_set_rule(ipam_ring_rule): tokens written over other people's heads are not taken.
 * Changes that a step makes to them are reported by IPAM_CHANGED; news that gossip merged comes back as IPAM_NEWS. */
#ifndef WEFT_IPAM_IPAM_H
#define WEFT_IPAM_IPAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"
#include "crdt/map.h"
#include "crdt/ring.h"

#define IPAM_IDENT_MAX      128 /* bytes of a container's id */
#define IPAM_SEEDS_MAX      1024
#define IPAM_PENDING_MAX    4096
#define IPAM_LEASES_MAX     1048576
#define IPAM_PER_IDENT_MAX  64
#define IPAM_SUBNET_MAX_LEN 30   /* smaller subnets are refused: first and last address are never given */
#define IPAM_RETRY_MS       1000 /* pending requests ask again, Paxos proposes again (jittered, growing) */
#define IPAM_ASK_MS         500  /* a donor that has not answered by then is passed over for this round */
#define IPAM_MESSAGE_KIND   1    /* unicast kind of this layer */

enum ipam_init { IPAM_CONSENSUS, IPAM_SEED, IPAM_OBSERVER };

struct ipam_cfg {
	uint64_t self;
	struct universe universe;
	struct prefix default_subnet; /* may be larger or smaller than the universe; must overlap it */
	enum ipam_init init;
	size_t consensus;      /* consensus=N; 0: taken from ipam_set_expected (targets that are not ourselves, plus one) */
	const uint64_t *seeds; /* copied */
	size_t n_seeds;
	struct crdt_map *ring, *paxos, *usage;
	/* What the mesh knows; called during a step, must not call back. */
	void *ctx;
	bool (*reachable)(void *ctx, uint64_t peer);
	bool (*next_peer)(void *ctx, uint64_t *it, uint64_t *peer);
	/* Is the address in use by a container of another host (published endpoints)? *holder gets who. */
	bool (*in_use_elsewhere)(void *ctx, uint32_t addr, uint64_t *holder);
	const char *(*nickname)(void *ctx, uint64_t peer); /* for reasons people read; "" when unknown */
	uint64_t seed;                                     /* for choices */
	uint64_t reclaim_after_ms;                         /* the lease after which others may take what we keep spare; 0: never */
	uint64_t boot;    /* tells one run of the clock from another: now_ms of equal ones may be compared. 0: it may not */
	bool fresh_store; /* nothing was stored: ranges that the others say are ours are used only after every owner in the
	                                   ring was heard (they know what we granted before we lost our disk) */
};

enum ipam_event_kind {
	IPAM_TICK,
	IPAM_ALLOCATE, /* an address in subnet for ident; the same ident and subnet get the same address */
	IPAM_CLAIM,    /* this very address */
	IPAM_LOOKUP,   /* what ident has in subnet, without allocating; ERR_NOT_FOUND */
	IPAM_FREE,     /* ident's address (addr.family 0: all of them) */
	IPAM_CANCEL,   /* the asker of `request` has gone */
	IPAM_PRIME,    /* answers when the ring exists */
	IPAM_MESSAGE,  /* unicast from another host's ipam */
	IPAM_NEWS,     /* gossip merged changes into ring, paxos or usage */
	IPAM_TOPOLOGY, /* reachability changed, peers came or went */
	IPAM_TAKEOVER, /* rmpeer: everything of `peer` becomes ours; refused while it is reachable */
	IPAM_HANDOVER, /* reset: give everything away; answers when an heir has acknowledged, or nobody is there */
	IPAM_SUSPEND,  /* our name is contested: give out nothing (on), or again (off) */
};
struct ipam_event {
	enum ipam_event_kind kind;
	uint64_t now_ms;
	uint64_t request; /* the caller's number for the answer; unique among pending ones */
	const char *ident;
	struct prefix subnet; /* ALLOCATE, LOOKUP: family 0 = default subnet. CLAIM: address and its subnet's length */
	struct ip addr;       /* FREE */
	uint64_t peer;        /* MESSAGE: from; TAKEOVER: whom */
	struct slice payload; /* MESSAGE */
	enum { IPAM_MAP_RING, IPAM_MAP_PAXOS, IPAM_MAP_USAGE } map; /* NEWS */
	const struct crdt_changes *changes;                         /* NEWS */
	bool on; /* SUSPEND. CLAIM: a container uses the address already (found at the start): taken at once also while recovering */
	bool wait; /* CLAIM: false = answer an error rather than wait */
};

enum ipam_action_kind { IPAM_PERSIST, IPAM_CHANGED, IPAM_SEND, IPAM_REPLY, IPAM_NOTE };
struct ipam_action {
	enum ipam_action_kind kind;
	union {
		struct {
			struct slice key, value; /* value.p == NULL: delete */
		} persist;
		struct {
			int map; /* IPAM_MAP_… */
			struct crdt_changes changes;
		} changed;
		struct {
			uint64_t to;
			struct slice payload;
		} send;
		struct {
			uint64_t request;
			enum err err;
			const char *text;     /* on error: one line, what is wrong and what to do */
			struct prefix result; /* ALLOCATE, CLAIM, LOOKUP: address with its subnet's length */
			uint64_t count;       /* TAKEOVER, HANDOVER: addresses moved */
		} reply;
		struct {
			int level; /* as gossip's: 0 debug, 1 info, 2 warning, 3 error */
			const char *text;
		} note;
	} u;
};
struct ipam_actions {
	struct arena *arena;
	struct ipam_action *v;
	size_t n, cap;
};
void ipam_actions_init(struct ipam_actions *a, struct arena *arena);

struct ipam;
enum err ipam_new(struct ipam **out, const struct ipam_cfg *cfg, struct err_note *note) MUST_CHECK;
void ipam_free(struct ipam *i);
/* Before the first step: one stored record (as IPAM_PERSIST gave it). A record that cannot be read: ERR_MALFORMED with a note; the
 * caller sets it aside and goes on. ERR_RANGE: it belongs to another universe; to be set aside as well. */
enum err ipam_restore(struct ipam *i, struct slice key, struct slice value, struct err_note *note) MUST_CHECK;
#define IPAM_FOREIGN_MAX 16384 /* tokens of other ranges that are passed on */
/* The rule of the ring's map (crdt_map_set_rule, ctx: the ipam). ipam/guard.c says what it is. */
enum crdt_verdict ipam_ring_rule(void *ipam, const struct crdt_item *it, uint64_t writer);
/* How many hosts are expected to take part in the first agreement when --ipalloc-init does not say: targets that are not us, plus one.
 * Not for a number on the way to another: a quorum of too few may divide the range a second time. After a restart of a host that has
 * voted, fewer than before count as many as before. */
void ipam_set_expected(struct ipam *i, size_t n);
/* The actions are to be carried out also after an error. ERR_NOMEM: a request was not taken and gets no answer, a message counts as
 * lost; everything else is made good by itself. ERR_DUPLICATE: a pending request has this number. */
enum err ipam_step(struct ipam *i, const struct ipam_event *ev, struct ipam_actions *out) MUST_CHECK;
uint64_t ipam_deadline_ms(const struct ipam *i);

/* Reading. */
enum ipam_state {
	IPAM_IDLE,
	IPAM_AWAITING,
	IPAM_READY,
	IPAM_WAITING_SPACE,
	IPAM_PRIMING,
	IPAM_UNREACHABLE,
	IPAM_RECOVERING,
	IPAM_CONTESTED,
	IPAM_LEASE_OVER
};
struct ipam_view {
	enum ipam_state state;
	char text
		[200]; /* as in INTERFACES section 5: "idle", "awaiting consensus (quorum: 2, known: 1)", "ready", "waiting for space", … */
	size_t quorum, known; /* Paxos */
	size_t pending_allocates, pending_claims, leases;
	uint64_t total, owned, free_owned;
	char conflict[400]; /* empty, or what was taken from us by a merge, by whom, and the command that resolves it */
};
void ipam_view(const struct ipam *i, struct ipam_view *out);
/* Membership and what was reclaimed. */
#define IPAM_AUDIT_MAX 32
struct ipam_reclaim_view {
	uint64_t after_ms;
	bool known, member; /* an epoch is; we are a member of it */
	uint64_t epoch;
	size_t members, quorum, reachable;
	bool leased, over; /* a lease counts; it has run out */
	uint64_t left_ms, spare,
		reclaimed; /* spare: addresses of ours that we keep our hands off; reclaimed: by anybody, in this run */
};
void ipam_reclaim_view(const struct ipam *i, struct ipam_reclaim_view *out);
bool ipam_next_member(const struct ipam *i, size_t *it, uint64_t *peer); /* by name */
struct ipam_reclaimed {
	uint64_t epoch, from, heir, serial;
	uint32_t first, last;
};
/* The last ones first. */
bool ipam_next_reclaimed(const struct ipam *i, size_t *it, struct ipam_reclaimed *out);
struct ipam_pending_view {
	uint64_t request;
	const char *kind; /* "allocate", "claim", "prime" */
	const char *ident;
	struct prefix subnet;
	char reason[160];
	bool wait, in_use; /* as it was asked */
};
bool ipam_next_pending(const struct ipam *i, size_t *it, struct ipam_pending_view *out);
/* Leases in order of ident; *it starts at 0. */
/* The ranges that addresses may be given out of: ours by the ring, without what is in doubt or kept spare. *it starts at 0. */
bool ipam_next_usable(const struct ipam *i, size_t *it, struct range4 *out);
bool ipam_next_lease(const struct ipam *i, size_t *it, const char **ident, struct prefix *addr);
/* Has ident a lease in that subnet (family 0: the default one)? */
bool ipam_has_lease(const struct ipam *i, const char *ident, struct prefix subnet);
/* The ident that holds an address here; NULL: none. */
const char *ipam_holder(const struct ipam *i, uint32_t addr);
size_t ipam_active(const struct ipam *i);
/* Nothing of the range is divided, as far as we know, and we have promised nobody to leave it so: another could take its place. */
bool ipam_undecided(const struct ipam *i);
/* Hosts that cannot be reached and would have to be heard before space of the n hosts `gone` can be used, were these taken over now: that
 * is, hosts to be named as well if they are gone for good. At most `max`; gives how many there are. */
size_t ipam_awaited(const struct ipam *i, const uint64_t *gone, size_t n, uint64_t *out, size_t max);
/* "10.32.0.0/12", "net:10.2.0.0/24", "net:default", "ip:10.2.1.1/24" (INTERFACES section 4, ADDR). *claim: it names one address. */
enum err ipam_parse_addr(
	const char *text, struct prefix default_subnet, struct prefix *out, bool *claim, struct err_note *note) MUST_CHECK;
/* Refuses subnets with bits after the prefix, smaller than /30, or (v4) out of the universe's reach; the note says which. */
enum err ipam_check_subnet(struct prefix subnet, struct err_note *note) MUST_CHECK;

#endif
