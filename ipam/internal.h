/* What the files of ipam/ share; nobody else includes it.
 *
 *   ipam.c      making, storing and restoring; the one switch; settle(), which brings everything forward after each event
 *   out.c       actions and records
 *   own.c       our part of the ring: what we own, what of it is in doubt, what was lost to others
 *   agree.c     the first division: Paxos, seeds, election
 *   recover.c   asking everybody about ranges in doubt (after losing the disk, after rmpeer); takeover
 *   request.c   pending requests: allocate, claim, prime
 *   ask.c       whom to ask for space, and what became of it
 *   donate.c    answering those who ask; handover
 *   reclaim.c   membership epochs: who votes, when an owner is removed, what follows from it
 *   word.c      the operator's word about who votes, and two operators who contradict each other
 *   propose.c   proposing the next epoch, and naming what it changes
 *   lease.c     what we keep spare, and our lease; acknowledging those of others
 *   usage.c     the usage map: free space and holds, ours and theirs
 *   guard.c     who may write which tokens: claims against an owner are held until it is known to consent
 *   founding.c  rings that were formed apart: which of them is to hold
 *   space.c, ranges.c, paxos.c, epoch.c, pace.c, message.c   plain parts that know nothing of struct ipam */
#ifndef WEFT_IPAM_INTERNAL_H
#define WEFT_IPAM_INTERNAL_H

#include "base/rng.h"
#include "ipam/ipam.h"
#include "ipam/message.h"
#include "ipam/paxos.h"
#include "ipam/ranges.h"
#include "ipam/reclaim.h"
#include "ipam/space.h"

#define HANDOVER_MS        2000
#define USAGE_MS           1000 /* free space is published at most so often */
#define PROPOSE_MS         150 /* first wait before proposing against another's proposal; jittered, doubles up to IPAM_RETRY_MS */
#define PROPOSE_FIRST_MS   50  /* all but the first of those who may propose leave it that long at most … */
#define PROPOSE_FEW        4   /* … unless they are no more than that */
#define BACKOFF_MAX        3   /* doublings of IPAM_RETRY_MS */
#define FOREIGN_MAX        16  /* other universes that are reported by name */
#define USAGE_SPANS_MAX    512 /* published; neighbours are lumped together beyond it */
#define UNREAD_MS          30000 /* a message that cannot be read is spoken of when none was for so long */
#define REASON_MAX         160
#define RECLAIM_FIRST_MS   600000 /* so long after it could a host joins in at most; else a sixteenth of its lease */
#define RECLAIM_VOTERS_MIN 3      /* with fewer nobody can be removed without its own vote */
#define NAMES_MAX          2      /* hosts named in a reason; the rest are counted */

enum pending_kind { PENDING_PRIME, PENDING_CLAIM, PENDING_ALLOCATE };
struct pending {
	uint64_t request;
	enum pending_kind kind;
	char *ident;
	struct prefix subnet; /* CLAIM: the address and its subnet's length */
	bool wait, in_use;
	char reason[REASON_MAX];
};

/* A search for space in one range, or for one address; shared by all pending requests that want the same. */
struct ask {
	struct range4 r;
	bool marked;          /* some pending request wants it (mark and sweep) */
	bool exhausted;       /* everybody was asked in this round */
	bool refused;         /* one address: its owner says that it is in use */
	uint64_t donor;       /* asked just now; PEER_NONE: nobody */
	uint64_t deadline_ms; /* for the donor's answer; when exhausted: of the next round */
	uint64_t *tried;      /* in this round */
	size_t n_tried, cap_tried;
	unsigned fights;   /* how often ours was written above it */
	uint64_t above_ms; /* not again before */
	unsigned rounds;
	size_t unreachable; /* owners in the range that could not be asked */
	uint64_t unreachable_name;
	char text[REASON_MAX]; /* what the last answer said */
};

struct answer {
	uint64_t peer, ask_again_ms;
	bool heard, asked;
};
/* Ranges in doubt become usable when everybody who may know better has shown the same tokens there. */
struct census {
	bool active;
	uint64_t serial;
	struct range4 hull;
	struct answer *v;
	size_t n, cap;
};

struct usage_span {
	uint64_t start, end, free;
};

#define GUARD_HELD_MAX   256
#define GUARD_FORMER_MAX 256
#define GUARD_VOTERS_MAX 8

struct voter {
	uint64_t peer;
	bool answered, has;
};
struct held { /* a token that somebody else's word stands against; by writer and key */
	uint8_t key[9], value[11], proof[CRDT_PROOF_MAX], proof_n;
	struct stamp stamp, known;    /* known: of what lies there */
	uint64_t writer, owner, from; /* from: who has it in our view */
	struct range4 taken;
	uint64_t since_ms; /* 0: since the step that comes */
	uint64_t there_ms; /* when its owner could last be reached, and did not consent; 0: never */
	bool told, yield;  /* reported; taken though it is ours */
	bool ruled;        /* ours: the others do not have it */
	unsigned fights;   /* how often ours was written above it */
	uint64_t above_ms; /* not again before */
	unsigned rounds;   /* of asking the others about it */
	uint64_t asked_ms, serial;
	struct voter voters[GUARD_VOTERS_MAX];
	size_t n_voters;
};
struct former { /* had these addresses until they were taken in its absence */
	uint64_t peer;
	struct range4 r;
};
struct absent {
	uint64_t peer, since_ms;
};
struct guard {
	struct absent *absent;
	size_t n_absent, cap_absent;
	uint64_t told_ms;
	struct held *held;
	size_t n_held, cap_held;
	struct former former[GUARD_FORMER_MAX];
	size_t n_former, splits, cuts;
	bool dirty, former_dirty;
	bool newcomer, alone;
	uint64_t due_ms, learnt_ms, met_ms; /* met: when we were last alone, and then no more */
	uint64_t tokens, refill_ms;         /* a bucket */
	uint64_t epoch;                     /* no token is of a later one than the members have agreed upon */
	uint64_t refused;
};

#define FOUNDING_ID 8
struct founding { /* of the ring that we took part in dividing, or came to have space in */
	uint8_t id[FOUNDING_ID];
	uint64_t members; /* how many there were when we came to it; 0: no founding */
};

struct ipam {
	struct ipam_cfg cfg;
	uint64_t *seeds;
	size_t expected;
	struct rng rng;
	uint64_t now;
	uint64_t unread_ms;       /* when a message could not be read that was spoken of, or might have been; 0: never */
	bool started;             /* the first step has been taken */
	bool failed;              /* memory ran out on the way: try again soon */
	bool rewrite;             /* ... and what is on disk or published may lag behind: write all of it again */
	struct ipam_actions *out; /* of this step */
	uint8_t *pool;            /* memory put aside for actions that must not fail */
	size_t pool_left;

	struct space space;
	struct ranges owned; /* as the ring says */
	struct ranges doubt; /* the part of it that must not be used yet */
	struct ranges whole; /* owned without doubt: space.mine and what is kept spare */
	struct ranges lost;  /* taken from us by a merge */
	uint64_t lost_to;
	struct ranges given, trusted; /* in this step: granted away by us; granted to us */
	bool ring_dirty, ring_seen;
	bool ring_whole;      /* no token is missing (or there is none at all) */
	uint64_t learning_ms; /* so long missing tokens are waited for before anybody is asked for space */
	bool recovering;      /* disk lost: what gossip says is ours is in doubt */
	bool took_over;       /* something in doubt comes from a takeover */
	bool taking;          /* in this step: what we gain is by takeover */
	struct census census;
	uint64_t *taken; /* peers taken over; stored as long as something is in doubt */
	size_t n_taken, cap_taken;

	struct reclaim reclaim;
	struct paxos paxos;
	bool paxos_stored, paxos_published, elected;
	bool paxos_wanted;                   /* then */
	struct fingerprint paxos_heard;      /* of the map when we last listened */
	bool paxos_dirty;                    /* what makes of the states what they mean has changed */
	bool abridged;                       /* our state is shown without the value */
	uint64_t abridge_ms;                 /* when it will be; 0: not known yet */
	size_t known;                        /* acceptors, ourselves included */
	size_t quorum_before, quorum_stored; /* under which we voted before this run; as on disk. 0: none */
	uint64_t propose_ms, elect_ms;
	bool may_propose; /* so many are known that a proposal can be chosen */
	unsigned duels;

	struct pending **pending;
	size_t n_pending, cap_pending;
	struct ask **asks;
	size_t n_asks, cap_asks;

	bool suspended, stopped;
	bool handing; /* an answer to IPAM_HANDOVER is due */
	uint64_t run; /* of this run: grants that answer an earlier one are told apart */
	uint64_t handover_request, handover_serial, handover_ms, handover_count, heir;
	uint64_t handover_again_ms, not_heir; /* who handed over to us leaves as well */
	uint8_t *handover;                    /* the message, for sending it again */
	size_t handover_n;

	struct usage_span *usage; /* as last published */
	size_t n_usage, cap_usage;
	bool usage_dirty, usage_said, freed, holds_dirty; /* said: in this run */
	uint64_t usage_ms;
	struct universe foreign[FOREIGN_MAX];
	size_t n_foreign;

	struct guard guard;
	struct founding founding, yielding; /* yielding: to this one, which becomes ours when all of it has come */
	uint64_t yielding_ms;
	bool founding_published, founding_looked; /* looked: nothing new to adopt since */
};

static inline uint64_t min_u64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* --- out.c --- */

/* Puts aside room for so many actions and bytes, so that what follows cannot fail. */
enum err out_reserve(struct ipam *i, size_t actions, size_t bytes) MUST_CHECK;
#define RECORD_BYTES 256 /* an upper bound of a ring or lease record with its key and paddings */
enum err out_persist(struct ipam *i, struct slice key, struct slice value) MUST_CHECK; /* copies both; value.p NULL: delete */
enum err out_changed(struct ipam *i, int map, const struct crdt_changes *ch) MUST_CHECK;
enum err out_send(struct ipam *i, uint64_t to, const struct ipam_message *m) MUST_CHECK;
enum err out_reply(
	struct ipam *i, uint64_t request, enum err err, struct prefix result, uint64_t count, const char *text) MUST_CHECK;
void out_note(struct ipam *i, int level, const char *fmt, ...) PRINTF_LIKE(3, 4); /* lost when memory is out */
/* Stores the present items of these ring keys, and tells gossip unless it was gossip who told us. */
enum err out_ring(struct ipam *i, const struct crdt_changes *ch, bool ours) MUST_CHECK;
/* Writes a key of the usage or paxos map under our name. */
enum err out_put(struct ipam *i, int map, struct slice subkey, struct slice value) MUST_CHECK; /* value.p NULL: delete */

/* Record keys: tag ‖ universe (5) ‖ rest. */
#define RECORD_KEY_MAX 32
struct slice record_key(const struct ipam *i, const char *tag, const void *rest, size_t n, uint8_t mem[RECORD_KEY_MAX]);

/* As snprintf; what is too long is cut, and that is all right. */
void line_format(char *out, size_t size, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* Names for people: "nick(aa:bb:…)" or the bare name. */
#define WHO_TEXT 96
bool ipam_reachable(const struct ipam *i, uint64_t peer); /* ourselves: always */
const char *ipam_who(const struct ipam *i, uint64_t peer, char out[WHO_TEXT]);
const char *range_format(struct range4 r, char out[2 * IP_TEXT]);

/* --- own.c --- */
enum err own_sync(struct ipam *i) MUST_CHECK; /* after any change of the ring */
enum err own_store_doubt(struct ipam *i) MUST_CHECK;
enum err own_load_doubt(struct ipam *i, struct slice value) MUST_CHECK;
enum err own_certain(struct ipam *i) MUST_CHECK; /* nothing was forgotten: we are not recovering, if we ever were */
enum err own_merge(struct ipam *i, const struct ipam_message *m) MUST_CHECK; /* the items of a message */
/* Ours; or ours as far as the others say, and in use by a container that was there before us. */
bool own_accepts_claim(const struct ipam *i, uint32_t addr, bool in_use);
bool ring_exists(const struct ipam *i);
/* Some tokens are there, others may arrive any moment, our own among them. */
bool ring_learning(const struct ipam *i);

/* --- agree.c --- */
enum err agree(struct ipam *i) MUST_CHECK;
enum err agree_store(struct ipam *i) MUST_CHECK;
enum err agree_load(struct ipam *i, struct slice value) MUST_CHECK;
enum err agree_load_quorum(struct ipam *i, struct slice value) MUST_CHECK;
size_t agree_quorum(const struct ipam *i);
void agree_awaits(const struct ipam *i, char *out, size_t size); /* "awaiting consensus (…)": how many it needs, and has */
bool agree_wanted(const struct ipam *i);
uint64_t agree_deadline_ms(const struct ipam *i);

/* --- recover.c --- */
enum err recover(struct ipam *i) MUST_CHECK;
enum err recover_request(struct ipam *i, uint64_t from, const struct ipam_message *m) MUST_CHECK;
enum err recover_state(struct ipam *i, uint64_t from, const struct ipam_message *m) MUST_CHECK;
enum err recover_takeover(struct ipam *i, const struct ipam_event *ev) MUST_CHECK;
void recover_topology(struct ipam *i);
enum err recover_again(struct ipam *i) MUST_CHECK;
bool recover_taken(const struct ipam *i, uint64_t peer);
enum err recover_remember_taken(struct ipam *i, uint64_t peer) MUST_CHECK;
uint64_t recover_deadline_ms(const struct ipam *i);
void recover_waiting_for(const struct ipam *i, char *out, size_t size);

/* --- request.c --- */
enum err request_add(struct ipam *i, const struct ipam_event *ev) MUST_CHECK;
enum err request_cancel(struct ipam *i, uint64_t request) MUST_CHECK;
enum err request_lookup(struct ipam *i, const struct ipam_event *ev) MUST_CHECK;
enum err request_free(struct ipam *i, const struct ipam_event *ev) MUST_CHECK;
enum err request_retry(struct ipam *i) MUST_CHECK; /* all pending ones */
enum err request_refuse_all(struct ipam *i, enum err why, const char *text) MUST_CHECK;
void request_free_all(struct ipam *i);
enum err lease_load(struct ipam *i, uint32_t addr, struct slice value) MUST_CHECK;
enum err lease_drop_all(struct ipam *i) MUST_CHECK;
enum err lease_store(struct ipam *i, const struct lease *l) MUST_CHECK;
bool in_universe(const struct ipam *i, uint64_t addr);

/* --- ask.c --- */
enum err ask_for(struct ipam *i, struct range4 r, struct ask **out) MUST_CHECK; /* finds or makes it, marks it */
void ask_unmark(struct ipam *i);
void ask_sweep(struct ipam *i);
enum err ask_forward(struct ipam *i) MUST_CHECK; /* asks the next donor where it is time to */
enum err ask_denied(struct ipam *i, uint64_t from, const struct ipam_message *m) MUST_CHECK;
enum err ask_granted(struct ipam *i, uint64_t from, const struct ipam_message *m) MUST_CHECK;
void ask_news(struct ipam *i, bool topology); /* somebody may have space now */
uint64_t ask_deadline_ms(const struct ipam *i);
void ask_free_all(struct ipam *i);

/* --- donate.c --- */
enum err donate_request(struct ipam *i, uint64_t from, const struct ipam_message *m) MUST_CHECK;
enum err donate_again(struct ipam *i, uint64_t from, const struct ipam_message *m) MUST_CHECK; /* one that had to wait */
enum err donate_handover(struct ipam *i, uint64_t request) MUST_CHECK;
enum err donate_handover_received(struct ipam *i, uint64_t from, const struct ipam_message *m) MUST_CHECK;
enum err donate_handover_ack(struct ipam *i, uint64_t from, const struct ipam_message *m) MUST_CHECK;
enum err donate_leaving(struct ipam *i) MUST_CHECK; /* while stopped */
uint64_t donate_deadline_ms(const struct ipam *i);

/* --- word.c --- */
enum err word_load(struct ipam *i, struct slice value) MUST_CHECK;
enum err word_publish(struct ipam *i) MUST_CHECK; /* what was said in a former run */
enum err word_rewrite(struct ipam *i) MUST_CHECK;
enum err word_collect(struct ipam *i) MUST_CHECK;                 /* whom operators have removed */
enum err word_removed(struct ipam *i, uint64_t peer) MUST_CHECK;  /* rmpeer: it is out by the operator's word */
void word_look(struct ipam *i);                                   /* has somebody decided apart from us? */
bool word_parted(const struct ipam *i);                           /* it is, or was a short while ago */
bool word_conflict(const struct ipam *i, char *out, size_t size); /* what the operator is told about it */

/* --- reclaim.c --- */
void reclaim_init(struct ipam *i);
void reclaim_free(struct ipam *i);
enum err reclaim_load_epoch(struct ipam *i, struct slice value) MUST_CHECK;
enum err reclaim_load_vote(struct ipam *i, struct slice value) MUST_CHECK;
enum err reclaim_begin(struct ipam *i) MUST_CHECK;
enum err reclaim(struct ipam *i) MUST_CHECK; /* with lease() */
enum err reclaim_rewrite(struct ipam *i) MUST_CHECK;
enum err reclaim_request(struct ipam *i, uint64_t from, const struct ipam_message *m) MUST_CHECK;
enum err reclaim_state(struct ipam *i, const struct ipam_message *m) MUST_CHECK;
void reclaim_news(struct ipam *i, const struct crdt_changes *ch); /* of the paxos map */
void reclaim_topology(struct ipam *i);
uint64_t reclaim_deadline_ms(const struct ipam *i);
size_t reclaim_reachable(const struct ipam *i); /* members */
uint64_t reclaim_known(const struct ipam *i);
bool reclaim_is_gone(const struct ipam *i, uint64_t peer); /* a member removed by the operator's word */
bool reclaim_anybody(const struct ipam *i);                /* does anybody take part in all this? */
struct vote reclaim_vote(const struct ipam *i);            /* our state, without reports */
bool reclaim_pending(const struct ipam *i);
bool reclaim_undecided(const struct ipam *i); /* most of those who vote with us have accepted nothing */
/* Did the members decide that this range goes from that member to the heir, by tokens of this epoch? They need no consent of the former owner. */
bool epoch_allows(const struct ipam *i, struct range4 r, uint64_t from, uint64_t heir, uint64_t token_epoch);

/* --- propose.c --- */
enum err propose(struct ipam *i, bool *changed) MUST_CHECK;      /* makes a ballot of ours, if it is time to */
enum err propose_lead(struct ipam *i, bool *changed) MUST_CHECK; /* names a value, if it is for us to do so */

/* --- lease.c --- */
enum err lease(struct ipam *i) MUST_CHECK;
enum err lease_begin(struct ipam *i) MUST_CHECK;
enum err lease_rewrite(struct ipam *i) MUST_CHECK;
enum err lease_store_own(struct ipam *i) MUST_CHECK;
enum err lease_load_own(struct ipam *i, struct slice value) MUST_CHECK;
enum err lease_load_seen(struct ipam *i, uint64_t name, struct slice value) MUST_CHECK;
enum err lease_align(struct ipam *i) MUST_CHECK;
enum err lease_heard(struct ipam *i, uint64_t peer) MUST_CHECK; /* acknowledges what it has declared, if it may */
enum err lease_heard_all(struct ipam *i) MUST_CHECK;
enum err lease_ack(struct ipam *i, uint64_t from, const struct ipam_message *m) MUST_CHECK;
enum err lease_publish(struct ipam *i) MUST_CHECK;
bool lease_is_key(const struct ipam *i, struct slice subkey);
bool lease_declared(const struct ipam *i, uint64_t peer, struct declaration *d);
struct seen *lease_seen(const struct ipam *i, uint64_t peer);
void lease_want(struct ipam *i, struct range4 r);
bool lease_defer(
	struct ipam *i, uint64_t from, const struct ipam_message *m); /* answered by donate_again, soon; false: deny it */
enum err lease_deferred(struct ipam *i) MUST_CHECK;
bool lease_locked(const struct ipam *i, struct range4 r); /* is part of it kept spare? */
bool lease_over(const struct ipam *i);                    /* nothing new may be given out */
bool lease_counts(const struct ipam *i);
uint64_t lease_left_ms(const struct ipam *i);
void lease_majority_text(const struct ipam *i, char *out, size_t size);
void lease_topology(struct ipam *i);
uint64_t lease_deadline_ms(const struct ipam *i);

/* --- usage.c --- */
enum err usage_publish(struct ipam *i) MUST_CHECK;
uint64_t usage_deadline_ms(const struct ipam *i);
/* Addresses that a peer could give in r, by what it has published; false: not known. */
bool usage_of(const struct ipam *i, uint64_t peer, struct range4 r, uint64_t *free);
/* Has the peer said that it has none of these addresses? */
bool usage_excludes(const struct ipam *i, uint64_t peer, struct range4 r);
bool usage_founding(const struct ipam *i, uint64_t peer, struct founding *out);
enum err usage_put_founding(struct ipam *i, const struct founding *f) MUST_CHECK;
enum err usage_news(struct ipam *i, const struct crdt_changes *ch) MUST_CHECK;
enum err usage_scan(struct ipam *i) MUST_CHECK;                  /* everybody's holds, once at the start */
enum err usage_hold(struct ipam *i, struct lease *l) MUST_CHECK; /* publishes or withdraws the hold as it should be */
enum err usage_unhold(struct ipam *i, struct lease *l) MUST_CHECK;
enum err usage_gone(struct ipam *i) MUST_CHECK; /* says that we have left */
enum err usage_back(struct ipam *i) MUST_CHECK;
bool usage_is_gone(const struct ipam *i, uint64_t peer);

/* --- guard.c --- */
enum err guard_settle(struct ipam *i) MUST_CHECK;
void guard_news(struct ipam *i, bool topology);                                /* what is held may be decided now */
void guard_heard(struct ipam *i, uint64_t from, const struct ipam_message *m); /* what another host has in its ring */
/* These addresses of an absent peer were taken: it may take them back. */
enum err guard_remember(struct ipam *i, uint64_t peer, struct range4 r) MUST_CHECK;
enum err guard_load_former(struct ipam *i, struct slice value) MUST_CHECK;
uint64_t guard_deadline_ms(const struct ipam *i);
bool guard_conflict(const struct ipam *i, char *out, size_t size);
void guard_free(struct ipam *i);

/* --- founding.c --- */
enum founding_order { FOUNDING_SAME, FOUNDING_OURS, FOUNDING_THEIRS, FOUNDING_UNDECIDED };
/* Of ours and the one the peer belongs to, the one that holds; SAME also when either is not known. */
enum founding_order founding_compare(const struct ipam *i, uint64_t peer);
void founding_yielded(struct ipam *i, uint64_t peer); /* to that peer's */
/* The range was divided: members as in paxos.h, or n names. */
enum err founding_divided(struct ipam *i, const uint64_t *names, size_t n) MUST_CHECK;
enum err founding_settle(struct ipam *i) MUST_CHECK;
enum err founding_load(struct ipam *i, struct slice value) MUST_CHECK;
bool founding_conflict(const struct ipam *i, char *out, size_t size);

#endif
