/* Shared by router/core's files only. */
#ifndef WEFT_ROUTER_CORE_INTERNAL_H
#define WEFT_ROUTER_CORE_INTERNAL_H

#include <assert.h>

#include "base/bucket.h"
#include "base/heap.h"
#include "base/map.h"
#include "base/rng.h"
#include "router/core/core.h"

#define CHANNELS 8 /* CHANNEL_… are 1 … 7 */
/* How long the fast path to a peer that the mesh has lost sight of stays: what the kernel forwards does not need the daemon there, and one
 * that is started anew is back in less. Each connection its host closes or refuses shows that the host runs; gossip dials a peer lost
 * lately at least every 4 s. */
#define PATH_HOLD_MS         2000
#define PATH_HOLD_SIGN_MS    5000
#define PATH_HOLD_MAX_MS     15000
#define PATH_UNKNOWN_MS      10000 /* so long what a peer had agreed on with us outlasts its being forgotten by the mesh */
#define PATH_HEARTBEAT_MS    400   /* of the path in use, while there is traffic */
#define PATH_DEAD_MS         2000  /* without an answer to at least PATH_DEAD_PROBES probes: it does not work */
#define PATH_DEAD_PROBES     4
#define PATH_DOUBT_MS        800   /* without an answer: others are looked at, should this one be dead */
#define PATH_ACTIVE_MS       10000 /* after the last traffic */
#define PATH_RETRY_MIN_MS    20000 /* what does not work is tried again so often, */
#define PATH_RETRY_MAX_MS    40000
#define PATH_RETRY_LONG_MS   55000 /* and one that came and went not before PATH_RETRY_MAX_MS, but until then */
#define PATH_RETRY_FIRST_MS  2000  /* one that never worked: doubling from there */
#define PATH_RETRY_NONE_MS   1000  /* nothing works and there is traffic */
#define PATH_FORGIVEN_MS     600000
#define PATH_COME_BACK       2   /* answers in a row until a path that failed is used again */
#define PATH_RELAY_AFTER_MS  400 /* a direct way that may still answer goes first */
#define PATH_MTU_RAISE_MS    600000
#define PATH_ANSWERS_BURST   64 /* probes of one peer that are answered */
#define PATH_ANSWERS_PER_S   32
#define PATH_STRAYS_BURST    16
#define PATH_STRAYS_PER_S    8
#define DIGEST_ANSWERS_BURST 8 /* to one peer */
#define DIGEST_ANSWERS_PER_S 4
#define PATH_CONTAINER_MTU   1406 /* if neither end says what its containers have */
#define PATH_OFFER_BYTES     400

/* mtu.c. Sizes are of whole IP packets. */
struct mtu_search {
	uint32_t base, most; /* always assumed to pass; what our device takes */
	uint32_t good, bad;  /* largest that passed, or base; smallest that did not, or most + 1 */
	uint32_t asked;      /* now being tried; 0: none */
	unsigned tries;
	bool found;
	uint64_t next_ms; /* the next probe; found: when to look again */
};
void mtu_begin(struct mtu_search *s, uint32_t base, uint32_t most, uint64_t now_ms);
void mtu_raise(struct mtu_search *s, uint32_t most, uint64_t now_ms); /* looks again above what was found */
/* The size to probe now, 0: none. patience_ms: how long an answer may take. */
uint32_t mtu_due(struct mtu_search *s, uint64_t now_ms, uint64_t patience_ms, uint64_t raise_ms);
void mtu_passed(struct mtu_search *s, uint32_t size, uint64_t now_ms);
void mtu_refused(struct mtu_search *s, uint32_t size, uint64_t now_ms); /* it does not pass: our own kernel says so */

/* One of the ways to a peer (enum path), and the evidence for it. paths.c says when which probes are due. */
#define PROBES_OPEN_MAX 8
struct probe_sent {
	uint32_t id;   /* 0: could not be sent, there is no session */
	uint32_t size; /* fast: of the probe; else of the IP packet */
	uint64_t at_ms;
};
struct way {
	bool possible, works;
	bool worked;       /* has, since it was possible */
	bool trial;        /* being probed until it is known whether it works */
	bool smaller_pass; /* a smaller probe was answered after the first open one of full size was sent */
	const char *state; /* static words */
	/* PROBES_OPEN_MAX each; NULL until the first probe, since most peers of a large mesh never get one. full: at full size, without an answer so
	 * far; oldest first, and the oldest stays. other: smaller, or larger: the latest ones. */
	struct probe_sent *full, *other;
	size_t n_full;
	size_t next_other;
	unsigned step, answers;           /* of the trial: probes sent, answers in a row */
	unsigned failed_trials, failures; /* without ever working; after it had worked, lately */
	uint64_t failed_ms, retry_ms;     /* last failure; when to try again */
	uint64_t next_ms;                 /* next probe at full size, while there is reason for any */
	uint64_t asked_ms, answered_ms;
	uint32_t rtt_us;
	struct mtu_search mtu; /* not of the fast path */
};

struct digest_state { /* digest.c */
	uint64_t round;   /* in which it was asked last; 0: never */
	bool answered;
	uint16_t differs; /* 1 << CHANNEL_… */
};

struct where { /* what evidence for the ways is tied to */
	struct ip fast_to;
	struct hostport to, relay_to;
	bool sealed;
};

struct peer_state {         /* what forwarding and names know of one peer */
	struct heap_node timer; /* first: when it next wants a turn */
	uint64_t name, uid;     /* uid: of its present run */
	char nickname[GOSSIP_NICKNAME_MAX + 1];
	uint8_t key[32];
	bool keyed;                      /* key is known to the tunnel */
	bool reachable, linked, members; /* members: it has containers */
	bool present;                    /* its names are answered: gossip_present() */
	bool sealed;                     /* data of this pair has to be */
	uint64_t lost_ms, hold_until;    /* out of sight since; the fast path stays until then (0: it does not) */
	uint64_t unknown_until;          /* the mesh does not know it: it is forgotten then (0: it does) */
	uint64_t active_until;           /* there was traffic less than PATH_ACTIVE_MS before */
	struct path_offer offer;
	struct ip underlay, local, fast_to; /* family 0: not known */
	struct hostport to, roamed;         /* where its userspace path is; where it was last heard, if that is another place */
	uint64_t relay;                     /* the next hop if it is another host */
	struct hostport relay_to;
	struct where weighed;   /* what the present evidence is for */
	bool renewed, back;     /* it runs anew, or is in sight again: to be weighed */
	bool handshake_relayed; /* its last handshake datagram came over relays */
	bool straight_turn;     /* the next handshake of ours goes straight, after one over relays */
	struct bucket answers, digest_answers;
	struct digest_state digest;
	struct way ways[PATH_RELAY + 1]; /* [PATH_NONE] is not used */
	enum path path;
	char reason[120];
	uint64_t since_ms;
	struct path_hop said; /* as it was when forwarding was last told */
};

struct endpoint;
struct endpoint_addr { /* one address of one endpoint, among those with the same address */
	struct endpoint *of;
	struct endpoint_addr *next;
	uint64_t order; /* in which we heard of claims */
};
struct endpoint {
	struct core_endpoint e;
	struct endpoint *same_mac; /* next with this MAC on this network: other hosts' claims to it */
	size_t n_indexed;          /* addrs[0 … n_indexed) stand in the index of addresses */
	bool mac_indexed;
	uint64_t order; /* of its claim to the MAC */
	struct endpoint_addr addrs[];
};

struct name_record {
	uint64_t owner;
	char *ident, *fqdn;
	struct ip addr;
};

struct core {
	struct core_cfg cfg;
	char *nickname, *version, *domain;
	uint64_t *seeds;
	struct crdt_map *maps[CHANNELS];
	struct gossip *gossip;
	struct ipam *ipam;
	struct dns_table *table;
	struct map *endpoints; /* crdt key -> struct endpoint: what the channel says, decoded */
	struct map *by_mac;    /* mac ‖ network -> first struct endpoint that has it */
	struct map *by_addr;   /* family ‖ address -> first struct endpoint_addr */
	uint64_t endpoints_seen;
	struct map *by_ident;                   /* ident of our own -> struct endpoint */
	struct map *names;                      /* crdt key -> struct name_record */
	struct map *peers;                      /* name -> struct peer_state, without ourselves */
	struct map *targets;                    /* text -> itself: the stored list */
	bool range_dirty;                       /* who uses which range is to be looked at again */
	bool targets_change;                    /* one after the other, just now: how many there are says nothing */
	struct map *network_records, *networks; /* networks.c: by key of the channel, by name */
	struct core_network *networks_present;  /* in order of names; behind n_networks_good those whose number a lower name has */
	size_t n_networks_present, n_networks_good;
	bool networks_changed; /* since networks_present was made */
	uint64_t now_ms;
	char nickname_answer[GOSSIP_NICKNAME_MAX + 1]; /* what ask_nickname last gave; valid until it is asked again */
	bool started;
	struct tunnel *tunnel;
	struct heap turns; /* of peers, by when they want one */
	struct rng rng;
	bool members;              /* containers are attached here */
	bool forwarding;           /* what core_hop or core_next_session give has changed: CORE_FORWARDING is owed */
	struct bucket strays;      /* sealed datagrams of no session whose sender is looked for */
	uint64_t drops[FWD_DROPS]; /* datagrams that came to us and were not looked at, by reason */
	struct path_change path_changes[PATH_CHANGES_MAX];
	size_t n_path_changes;
	uint64_t digest_round; /* of questions for digests; 0: nobody was asked yet */
	bool repair;           /* memory ran out: what is decoded is to be brought in line with the channels once more */
	bool lost;             /* a record that had to be durable found no room: the node has to stop */
};

/* action.c: one action more; ERR_NOMEM. */
enum err core_emit(struct core_actions *out, struct core_action a) MUST_CHECK;
enum err core_note(struct core_actions *out, enum note_level level, const char *fmt, ...) PRINTF_LIKE(3, 4) MUST_CHECK;
enum err core_reply(struct core_actions *out, uint64_t request, enum err e, const char *text) MUST_CHECK;
enum err core_persist(struct core_actions *out, const char *kind, struct slice key, struct slice value) MUST_CHECK;
enum err core_unpersist(struct core_actions *out, const char *kind, struct slice key) MUST_CHECK;
/* core.c. Tells gossip that a channel was changed here. */
enum err core_spread(struct core *c, uint8_t channel, const struct crdt_changes *changes, struct core_actions *out) MUST_CHECK;
enum err core_run_ipam(struct core *c, struct ipam_event *ev, struct core_actions *out) MUST_CHECK;

/* endpoints.c */
enum err endpoints_attached(struct core *c, const struct core_endpoint *e, struct core_actions *out) MUST_CHECK;
enum err endpoints_detached(struct core *c, const char *ident, struct ip addr, struct core_actions *out) MUST_CHECK;
/* Brings the decoded table in line with the channel for these keys (an owner's floor: all of that owner). *moved: anything changed. */
enum err endpoints_refresh(struct core *c, const struct crdt_changes *changes, bool *moved) MUST_CHECK;
enum err endpoints_resync(struct core *c, bool *moved) MUST_CHECK; /* the same for the whole channel */
/* ident: the record's key. */
enum err endpoints_restore(struct core *c, struct slice ident, struct slice value) MUST_CHECK;
/* Is it the address of another host's container? *holder: whose (of several: the lowest name). */
bool endpoints_in_use(const struct core *c, uint32_t addr, uint64_t *holder);
void endpoints_free(struct core *c);

/* names.c */
enum err names_put(struct core *c, const char *ident, const char *fqdn, struct ip addr, struct core_actions *out,
	struct err_note *note) MUST_CHECK;
/* ident "" or NULL, family 0 and fqdn NULL match any; only our own names. *n: how many. */
enum err names_delete(
	struct core *c, const char *ident, const char *fqdn, struct ip addr, size_t *n, struct core_actions *out) MUST_CHECK;
enum err names_refresh(struct core *c, const struct crdt_changes *changes) MUST_CHECK;
enum err names_resync(struct core *c) MUST_CHECK; /* the same for the whole channel */
enum err names_restore(struct core *c, struct slice subkey, struct slice value) MUST_CHECK;
bool names_any_of(const struct core *c, uint64_t owner);
void names_free(struct core *c);

/* companion.c. ERR_RANGE: a subnet6 that has not got one for each address. */
enum err companion_check(const struct core *c, const struct core_network *want, struct err_note *note) MUST_CHECK;

/* networks.c */
enum err networks_create(
	struct core *c, const struct core_network *want, struct core_actions *out, struct err_note *note) MUST_CHECK;
enum err networks_remove(struct core *c, const char *name, struct core_actions *out, struct err_note *note) MUST_CHECK;
enum err networks_refresh(struct core *c, const struct crdt_changes *changes) MUST_CHECK;
enum err networks_resync(struct core *c) MUST_CHECK; /* the same for the whole channel */
/* Brings our own records in line with what is said of all names, with the containers we have, and with who can be reached. */
enum err networks_settle(struct core *c, struct core_actions *out) MUST_CHECK;
/* What that peer says and what holds we say as well: it is about to be forgotten. */
enum err networks_adopt(struct core *c, uint64_t peer, struct core_actions *out) MUST_CHECK;
enum err networks_restore(struct core *c, struct slice name, struct slice value) MUST_CHECK;
void networks_free(struct core *c);

/* offer.c */
void path_offer_encode(struct wbuf *w, const struct path_offer *o);
void path_offer_decode(struct slice extra, struct path_offer *out); /* unreadable: all zero */
bool path_offer_trusts(const struct path_offer *o, struct ip a);

/* paths.c */
enum err paths_new(struct core *c) MUST_CHECK; /* while the configuration still has its secrets */
void paths_free(struct core *c);
/* Looks at every known peer again. *moved: a path or a reachability changed. */
enum err paths_refresh(struct core *c, struct core_actions *out, bool *moved) MUST_CHECK;
/* Containers came or went: keys of the channel. */
enum err paths_members(struct core *c, const struct crdt_changes *changes, struct core_actions *out) MUST_CHECK;
/* UNDELIVERED, TRAFFIC, WANTED, ROAMED. */
enum err paths_event(struct core *c, const struct core_event *ev, struct core_actions *out) MUST_CHECK;
enum err paths_tick(struct core *c, struct core_actions *out) MUST_CHECK;
uint64_t paths_deadline_ms(const struct core *c);
/* Something authentic came from there. */
enum err paths_roamed(struct core *c, struct peer_state *p, struct hostport from, struct core_actions *out) MUST_CHECK;
enum err paths_flush(struct core *c, struct core_actions *out) MUST_CHECK; /* CORE_FORWARDING if it is owed */
/* Does for a peer what is due now, and chooses. */
enum err paths_turn(struct core *c, struct peer_state *p, struct core_actions *out) MUST_CHECK;
static inline bool paths_active(const struct core *c, const struct peer_state *p)
{
	return c->now_ms < p->active_until;
}

/* probes.c */
extern const char PROBES_WORKS[], PROBES_UNPROBED[];
void probes_free(struct peer_state *p);
void probes_contact(struct core *c, struct peer_state *p, enum path k); /* nothing is known of this way (any more) */
void probes_verify(struct core *c, struct peer_state *p, enum path k);  /* it works, as far as is known: ask */
void probes_impossible(struct peer_state *p, enum path k, const char *why);
void probes_fail(struct core *c, struct peer_state *p, enum path k, const char *why);
enum err probes_turn(struct core *c, struct peer_state *p, enum path k, struct core_actions *out) MUST_CHECK;
uint64_t probes_deadline_ms(const struct core *c, const struct peer_state *p, enum path k);
bool probes_in_doubt(const struct core *c, const struct way *w);
/* A short probe, for what it proves of the session. */
enum err probes_confirm(struct core *c, struct peer_state *p, enum path k, struct core_actions *out) MUST_CHECK;
/* One that came over that way; from: family 0 unless direct. sealed: how it came. */
enum err probes_received(struct core *c, struct peer_state *p, enum path k, struct hostport from, bool sealed, struct slice bytes,
	struct core_actions *out) MUST_CHECK;
/* The kernel refused a probe of that number (0: something else of ours). */
void probes_undelivered(struct core *c, struct peer_state *p, enum path k, uint32_t id, enum err why);
/* The number its datagrams carry in CORE_DATAGRAM_SEND and CORE_UNDELIVERED. */
static inline uint64_t probes_number(enum path k, uint32_t id)
{
	return (uint64_t)k << 32 | id;
}
uint32_t probes_datagram(const struct peer_state *p, enum path k); /* longest UDP payload, of USERSPACE and RELAY */
uint32_t probes_container_mtu(const struct core *c, const struct peer_state *p, enum path k);

/* sessions.c */
enum err sessions_datagram(struct core *c, const struct core_event *ev, struct core_actions *out) MUST_CHECK; /* CORE_DATAGRAM */
enum err sessions_tick(struct core *c, struct core_actions *out) MUST_CHECK;
enum err sessions_peer(struct core *c, struct peer_state *p, const uint8_t key[32], struct core_actions *out) MUST_CHECK;
enum err sessions_forget(struct core *c, uint64_t peer, struct core_actions *out) MUST_CHECK;
enum err sessions_want(struct core *c, struct peer_state *p, struct core_actions *out) MUST_CHECK;

/* core.c, for range.c */
enum err core_make_ipam(struct core *c) MUST_CHECK; /* another one in the place of c->ipam, which the caller frees */
enum err core_publish_offer(struct core *c, struct core_actions *out) MUST_CHECK;

/* core.c. A message to another host's core. */
enum err core_unicast(struct core *c, uint64_t to, uint8_t kind, struct slice payload, struct core_actions *out) MUST_CHECK;

/* digest.c */
#define DIGEST_MESSAGE_KIND 2                                             /* unicast kind; ipam's is 1 */
enum err digest_ask(struct core *c, struct core_actions *out) MUST_CHECK; /* CORE_DIGESTS */
enum err digest_message(struct core *c, uint64_t from, struct slice payload, struct core_actions *out) MUST_CHECK;

/* range.c: at the end of each step. */
enum err range_settle(struct core *c, struct core_actions *out) MUST_CHECK;

#endif
