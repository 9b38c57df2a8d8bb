/* What the files of this folder share. Nobody else includes it.
 *
 *   gossip.c    the step: events and due timers in, then finish() once: publish, choose, flush, send, close
 *   action.c    actions, notes, timers
 *   link.c      one connection: stages, handshake, heartbeats, what comes over it
 *   hello.c     who is at the other end: ourselves, a second link, a second holder of a name
 *   connect.c   whom to dial and when;  choose.c  which peers are wanted;  tidy.c  which links are in excess, and who has to go first
 *   converge.c  how long it takes until neighbours have what we changed
 *   spread.c    deltas, reconciliation;  slot.c  what waits for a link;  peers.c  what is known of peers, and routes
 *   sign.c      signatures: what may be taken from whom
 *
 * Memory may run out anywhere. What must not be lost then is kept as state that needs no memory (a flag, a stage, bytes that were not
 * handed over) and finished by a later step, which the retry deadline brings about. */
#ifndef WEFT_GOSSIP_INTERNAL_H
#define WEFT_GOSSIP_INTERNAL_H

#include "base/bucket.h"
#include "base/heap.h"
#include "base/map.h"
#include "base/rng.h"
#include "gossip/gossip.h"
#include "gossip/message.h"
#include "gossip/session.h"
#include "gossip/sign.h"

#define LINK_BUSY_BYTES        (64u << 10) /* unsent bytes above which deltas wait */
#define LINK_FULL_BYTES        (4u << 20)  /* unsent bytes above which unicasts are dropped */
#define LINK_DEADLINE_FACTOR   5           /* the adaptive deadline is at most so many times the configured one */
#define LINK_RTT_EVERY_MS      10000
#define CONVERGE_EVERY_MS      5000 /* between changes that are followed */
#define LATE_MS                500  /* a step so long after its deadline: something keeps us from running */
#define DOUBT_EASE_MS          5000 /* a step down of self-doubt */
#define DOUBT_HINTS_MAX        2
#define DOUBT_HINT_EVERY_MS    30000  /* of one peer: by itself it makes us doubt for a sixth of the time, and by one step */
#define DOUBT_BACK_MS          3000   /* one given up for silence that is back so soon had not been dead */
#define LINK_LINGER_MS         2000   /* a replaced link waits so long for the other end to close it */
#define LINK_STEADY_MS         10000  /* a link that lived so long ends its target's back-off */
#define CONNECT_ADDRESS_MS     2000   /* per address, when a peer has several */
#define CONNECT_YIELD_MS       300    /* the lower name dials first */
#define CONNECT_RECENT_MS      600000 /* lost less than that ago: */
#define CONNECT_RECENT_MAX_MS  4000   /* back-off is capped so */
#define CONNECT_AGAIN_MS       20000  /* who could not be dialled and shows life is a candidate again after that */
#define CONNECT_RARELY_MS      30000  /* after a name collision */
#define CONNECT_CANDIDATES_MAX 32
#define CONNECT_SELF_MAX       32   /* addresses found to be ourselves */
#define CHOOSE_FULL_MESH_MAX   32   /* peers, ourselves included */
#define CHOOSE_QUIET_MS        200  /* in a larger mesh: nobody has come or gone for so long, */
#define CHOOSE_WAIT_MAX_MS     1000 /* or that has been waited for long enough; */
#define CHOOSE_LINKS \
	8 /* who has so many links waits five times as long: what is dialled while peers are heard of is soon surplus */
#define DIALS_MAX           4 /* of discovery, under way at a time: what is heard of meanwhile may make others better */
#define DIALS_WAIT_MS       16
#define DIALS_ELSEWHERE_MAX 8                          /* hops from one host that is full to the next */
#define TIDY_FROM           (CHOOSE_FULL_MESH_MAX + 8) /* so that a mesh that grows and shrinks around the limit does not flap */
#define TIDY_EVERY_MS       5000
#define TIDY_AFTER_MS       20000 /* neither end has wanted the link for so long, */
#define TIDY_QUIET_MS       5000  /* and nobody has come or gone for so long, */
#define TIDY_ANYWAY_MS      60000 /* or that is never the case */
#define SPREAD_EARLY        4     /* neighbours that get what others said at once, besides the ring's next one */
#define SPREAD_FEW_LINKS    3
#define SPREAD_LATE_MIN_MS  200 /* the others have it after that, unless they were first */
#define SPREAD_LATE_MAX_MS  600
#define SPREAD_GATHER       8  /* links under way: what others said will come over these from those who said it */
#define SPREAD_OWN_MAX      64 /* items of a channel that go over a new link at once when that is so */
#define SPREAD_GAP_MS       80 /* between deltas on a link of a sparse mesh: news in quick succession travel together */
#define PUBLISH_COALESCE_MS 20
#define PUBLISH_LAZY_MS     5000 /* that a link is gone which nobody needed; unless its other end is lost meanwhile */
#define PUBLISH_QUICK_MS    1000 /* one so soon after another: in a larger mesh the next one waits twice as long */
/* What costs each peer as much as there are peers, is not done for each of the many changes that a large mesh sees when it starts: our own
 * links are published, and routes looked for, at most once in so many milliseconds (one for each two peers). The first one after a pause waits for nothing. */
#define PEERS_PAUSE_MIN         32
#define PEERS_PAUSE_MAX_MS      500
#define PEERS_MAX               16384
#define PEERS_HEARD_MAX         8192 /* others than these are known only when they are linked with us: names can be made up */
#define CONTEST_HOLD_MS         60000
#define CONTEST_REPORT_MS       180000  /* so long one peer's word, that somebody else has our name, may stop us */
#define CONTEST_REPORT_AGAIN_MS 1800000 /* and again after that */
#define CONTEST_SEEN            16      /* floods remembered */
#define CONTEST_SEEN_MS         5000
#define FLOOD_BURST             32
#define FLOOD_PER_SECOND        4
#define ACCEPT_BURST            64
#define HANDSHAKES_BURST        256 /* of those who are let in; the others are told that we are busy */
#define HANDSHAKES_PER_SECOND   400
#define BUSY_MIN_MS             200 /* and come back after so long */
#define BUSY_MAX_MS             1200
#define ACCEPT_PER_SECOND       50
#define ACCEPT_FIRST_BURST \
	256 /* the same for addresses without a half-open connection: one scanner does not keep the others out */
#define ACCEPT_FIRST_PER_SECOND 200
#define RETRY_MS                10   /* after memory ran out */
#define RECON_SOON_MS           50   /* after a link was lost */
#define RECON_RETRY_MS          1000 /* after memory ran out */
#define REASON_MAX              160
/* Items that could not be judged are asked for again after that long, then after twice as long … */
#define LATER_MIN_MS 200
#define LATER_MAX_MS 10000
/* What was taken on trust is looked at after that long, and so much of it every so often. */
#define PROVE_AFTER_MS 2000
#define PROVE_EVERY_MS 50
#define PROVE_LOOK     2048
#define PROVE_ASK      32
/* Items under our name that our key did not sign are superseded at this rate, and up to this incarnation. */
#define FORMER_BURST            256
#define FORMER_PER_SECOND       4
#define INCARNATION_FOREIGN_MAX (UINT64_MAX / 2)
/* Who has been unknown by key and out of sight for so long is forgotten: so many at a time, and in one run (made-up names are not to use up the floors
 * that we may set, CRDT_FLOORS_MAX). */
#define UNPROVED_AFTER_MS 50000
#define UNPROVED_MAX      16
#define UNPROVED_RUN_MAX  1024
#define SAID_MAX          64
#define SAID_MS           600000

enum timer_kind {
	TIMER_LINK,
	TIMER_TARGET,
	TIMER_PEER,
	TIMER_PUBLISH,
	TIMER_RECON,
	TIMER_RECON_SOON,
	TIMER_CONTEST,
	TIMER_GRACE,
	TIMER_TOPOLOGY,
	TIMER_LATER,
	TIMER_PROVE,
	TIMER_CHOOSE,
	TIMER_TIDY,
	TIMER_KINDS
};
/* First member of what it belongs to. at_ms stays when the heap had no memory for it: gossip_timers_repair(). */
struct timer {
	struct heap_node node;
	enum timer_kind kind;
	uint64_t at_ms; /* 0: off */
};

enum retry { RETRY_BACKOFF, RETRY_SOON, RETRY_BUSY, RETRY_RARELY, RETRY_NEVER };

/* Something to dial again and again. First member of struct target and of struct peer. */
struct dial {
	struct timer timer;
	uint64_t conn; /* under way, 0: none */
	unsigned failures;
	uint64_t since_ms;
	enum link_state state; /* LINK_RETRYING or LINK_FAILED, for show */
	bool never;            /* it is ourselves */
	bool tried;
	enum retry full; /* how, when the other end had no place for us; RETRY_BACKOFF: it had */
	char *reason;    /* words for the operator; NULL: none, or no memory for them */
};

struct target {
	struct dial dial;
	char text[GOSSIP_TARGET_TEXT];
	char host[256];
	uint16_t port;
	bool literal; /* host is an address: at */
	struct hostport at;
	uint64_t peer;             /* who answered there last */
	struct hostport elsewhere; /* it is full and has named another; family 0: not */
	bool redirected;           /* the dial under way goes there */
	unsigned hops;             /* such dials in a row */
	uint64_t via;              /* who answered there */
};

struct peer_link {
	uint64_t name;
	bool outbound;
	struct hostport address; /* family 0: not said */
	uint32_t tag;            /* gossip_sign_tag of the key at the other end; 0: not said */
};
#define PEER_CLOSED_MAX 64 /* of both kinds together, so that they fit beside as many links as there may be */
struct peer_closed {       /* the link with this run has ended a short while ago */
	uint64_t name, uid;
	uint64_t heard_ms; /* when that was news to us: it stands in the item until the next one is published, which may be hours */
};
struct peer_links {             /* what subkey "l" says; the addresses are looked up when they are wanted */
	uint64_t *names;            /* in order; one piece of memory with what follows */
	uint32_t *tags;             /* of their keys */
	struct peer_closed *closed; /* n_closed whose host closed it, without a goodbye; then n_lost that fell silent or stopped */
	uint32_t n, n_closed, n_lost;
};

enum ending {
	ENDED_SILENTLY, /* or by us */
	ENDED_BY_HOST,  /* closed, without a goodbye */
	ENDED_BY_PEER,  /* with a goodbye */
	ENDED_BY_STOP,
	ENDED_SURPLUS, /* neither end wanted it, or a more important one needed the place */
};

struct peer {
	struct dial dial; /* by discovery */
	uint64_t name;
	bool has_info, has_links, wanted, successor;
	bool probed; /* dialled once, though not wanted */
	bool was_reachable;
	enum ending ending; /* of our last link to it */
	bool given_up;      /* by us, for its silence */
	uint64_t report_ms; /* since when its word about our name has counted; 0: never */
	uint64_t hinted_ms; /* when what it did last made us doubt ourselves */
	bool pruned;        /* our link to it is surplus and gone, and still published */
	uint16_t port, n_addresses;
	uint32_t tag; /* of its signing key; 0: not known */
	uint64_t uid;
	uint8_t key[32];
	struct hostport *addresses; /* n_addresses of them */
	struct peer_links links;
	struct link *link; /* established, or NULL */
	size_t next_address;
	uint64_t known_ms, lost_ms; /* 0: never lost */
	uint64_t seen_ms;           /* since it was lost: its host closed or refused a connection; 0: it was lost in silence */
	uint64_t gone_ms;           /* out of reach since; 0: it is not, or never was in reach */
	uint32_t distance;          /* routes: UINT32_MAX unreachable */
	uint64_t next_hop;
};

/* Keys that still have to go out over one link for one channel. */
struct keyset {
	uint8_t *bytes;    /* u8 length (0x80 set: gone), key, … */
	struct map *index; /* from KEYSET_INDEX_MIN keys on: key -> place + 1 */
	uint32_t len, cap, n;
};
struct slot {
	struct keyset now, later;
};

enum stage { STAGE_CONNECTING, STAGE_HANDSHAKE, STAGE_ESTABLISHED, STAGE_REPLACED, STAGE_CLOSED, STAGES };

struct link {
	struct timer timer;
	uint64_t conn;
	bool outbound, hello_sent, hello_seen, known_address;
	bool bye_seen;   /* the other end has said goodbye */
	bool stopping;   /* because it stops */
	bool gave_up;    /* we said goodbye, for its silence */
	bool no_action;  /* the shell knows that it is closed */
	bool distrusted; /* it has said what its key did not sign */
	uint16_t later;  /* channels of which something could not be judged */
	enum stage stage;
	struct hostport remote, local;
	struct session *session;
	struct dial *dial; /* what wanted it, or NULL */
	uint64_t opened_ms, established_ms;
	uint64_t my_seq; /* our dial sequence number, 0 for an accepted one */
	uint64_t peer, uid, incarnation, dial_seq;
	uint16_t port;
	uint8_t key[32], sign_key[32];
	char nickname[GOSSIP_NICKNAME_MAX + 1];
	uint64_t last_in_ms, last_out_ms, pinged_ms;
	uint64_t ping_id;
	uint32_t gap_mean, gap_dev; /* ms, times 8 and times 4 */
	uint32_t rtt_us;
	size_t queued;                           /* bytes the shell has not sent yet */
	struct wbuf out;                         /* bytes not yet given to the shell */
	bool waiting;                            /* something is to be sent */
	bool early;                              /* among those that get this step's news at once */
	bool followed;                           /* has still to show that a change of ours arrived */
	bool surplus;                            /* ended because neither end wanted it */
	bool recon_owed;                         /* all channels, with what waits for later */
	uint16_t reconcile;                      /* channels of which keys were lost: a reconciliation instead */
	struct slot *slots[GOSSIP_CHANNELS_MAX]; /* NULL: nothing waits */
	uint64_t later_ms;                       /* when what waits for later is sent; 0: nothing does */
	uint64_t following_id;                   /* by answering this PING; 0: not sent yet */
	uint64_t delta_ms;                       /* the last delta */
	enum worth told, theirs;                 /* what the link is worth to us, as they know; and to them */
	uint64_t surplus_ms;                     /* neither end wants it since; 0: one does */
	char why[REASON_MAX];
};

struct channel {
	struct crdt_map *map; /* NULL: not in use */
	char name[32];
	struct gossip *gossip;
	uint8_t id;
	uint64_t over; /* crdt_map_over, when it was last looked at */
};

struct flood_seen {
	uint64_t name, uid, at_ms;
};

struct said { /* a line of log, and about whom */
	const char *fmt;
	uint64_t subject, at_ms;
};

struct routes {
	bool stale, urgent; /* urgent: one of our own links has ended */
	uint64_t at_ms;     /* of the last search */
	struct peer **queue;
	size_t cap;
};

/* Who was turned away lately for a reason that its operator or ours has to mend; shown among the links. */
#define REFUSED_MAX      8
#define REFUSED_SHOWN_MS 60000
struct refused {
	struct hostport remote; /* family 0: none */
	uint64_t at_ms;
	char reason[REASON_MAX];
};

struct unproved {
	uint64_t owner, since_ms;
};
struct gossip {
	uint64_t self, incarnation, uid;
	char nickname[GOSSIP_NICKNAME_MAX + 1], version[33];
	uint8_t secret[32], key[32], psk[2][32];
	size_t n_psk;
	bool encrypted, discovery;
	uint16_t port;
	struct hostport addresses[GOSSIP_ADDRESSES_MAX];
	size_t n_addresses, conn_limit;
	uint32_t deadline_ms;
	uint8_t extra[512];
	size_t n_extra;
	struct rng rng;
	uint64_t now, seq;

	const struct gossip_prover *prover;
	uint8_t sign_key[32], sign_secret[64];
	struct link *judging; /* what is being merged comes over it; NULL: from nowhere */
	struct timer later_timer, prove_timer;
	uint32_t later_wait_ms;
	uint64_t later_said_ms;
	struct bucket former;
	uint8_t prove_channel, prove_key[CRDT_KEY_MAX]; /* where to go on */
	size_t prove_key_n;
	struct unproved unproved[UNPROVED_MAX]; /* as last looked for; PEER_NONE ends them */
	size_t n_unproved;                      /* forgotten in this run */
	uint64_t serial;                        /* of our signed unicasts */
	struct map *senders;                    /* by name: struct sender of sign.c; NULL until one is needed */
	unsigned doubt;
	uint64_t doubt_ms;   /* when it last changed */
	uint64_t reading_ms; /* after a late step, until then nobody is taken for dead: what has come meanwhile is still unread */

	struct channel channels[GOSSIP_CHANNELS_MAX]; /* by id */
	struct link **links;                          /* in the order they were opened */
	size_t n_links, cap_links, n_half_open;
	struct map *by_conn;
	struct target **targets;
	size_t n_targets, cap_targets;
	struct peer **peers; /* in name order */
	size_t n_peers, cap_peers;
	struct map *by_name;
	struct routes *routes;
	struct hostport self_at[CONNECT_SELF_MAX];
	size_t n_self_at;

	struct heap timers;
	bool timers_lost;
	struct timer publish_timer, recon_timer, recon_soon_timer, contest_timer, grace_timer, topology_timer, choose_timer,
		tidy_timer;
	bool publish_links, publish_info;
	uint64_t published_ms, publish_lazily_ms;
	uint64_t topology_ms;               /* when it was last said */
	uint64_t choose_ms;                 /* choosing is owed since; 0: it is not */
	bool chosen_sparse;                 /* when it was last done */
	unsigned publications;              /* in quick succession */
	uint64_t unrest_ms;                 /* when a peer last came or went */
	uint64_t following_ms, followed_ms; /* a change of ours, since; the last one, until */
	bool early_chosen;                  /* in this step */
	bool topology_dirty, choose_dirty, peers_stale;
	struct bucket accept, accept_first, handshakes, floods;
	uint64_t orphans[8]; /* connections we had no memory for, to be closed */
	size_t n_orphans;

	bool contested, contest_said;
	uint64_t contest_until_ms;
	struct hostport contest_by;
	char contest_text[REASON_MAX * 2];
	struct stamp claimed; /* the latest item "i" of a namesake: heard again it is no new sign */
	bool claim_heard;
	uint64_t claim_from; /* over whose link; our own name: our own key has signed it */
	struct hostport claim_at;
	struct message_contest rivals[2]; /* two hosts with one name, of which others told us; name 0: none */
	struct flood_seen seen[CONTEST_SEEN];
	size_t seen_at;

	struct refused refused[REFUSED_MAX]; /* one an address; the oldest makes room */
	struct said said[SAID_MAX];
	struct gossip_counters counters;
	struct gossip_actions *out; /* during a step */
	bool nomem;                 /* something is left to do */
	struct wbuf scratch, batch;
};

/* action.c */
struct gossip_action *gossip_act(struct gossip *g, enum gossip_action_kind kind); /* NULL: out of memory, said in g->nomem */
bool gossip_act_reserve(struct gossip *g, size_t n);
void gossip_act_note(struct gossip *g, enum note_level level, bool stranger, const char *fmt, ...) PRINTF_LIKE(4, 5);
/* The same line about the same subject is for debugging only when it comes again within SAID_MS: a fault that stays fills no log. */
void gossip_act_note_about(struct gossip *g, uint64_t subject, enum note_level level, bool stranger, const char *fmt, ...)
	PRINTF_LIKE(5, 6);
void gossip_timer_init(struct timer *t, enum timer_kind kind);
void gossip_timer_set(struct gossip *g, struct timer *t, uint64_t at_ms);
void gossip_timer_off(struct gossip *g, struct timer *t);
void gossip_timers_repair(struct gossip *g);

/* peers.c */
struct peer *gossip_peer_find(const struct gossip *g, uint64_t name);
struct peer *gossip_peer_get(struct gossip *g, uint64_t name); /* makes it; NULL: out of memory or too many */
void gossip_peer_free(struct gossip *g, struct peer *p);
void gossip_peer_release(struct peer *p);                    /* its memory alone */
void gossip_peers_refresh(struct gossip *g, uint64_t owner); /* its items in `peers` have changed */
void gossip_peers_repair(struct gossip *g);
void gossip_peers_changed(struct gossip *g, const struct crdt_changes *ch);
void gossip_peers_routes(const struct gossip *g);
bool gossip_peers_linked(const struct gossip *g, uint64_t a, uint64_t b); /* both publish it */
/* The field order is fixed, so that equal infos are equal bytes. */
void gossip_peer_info_encode(struct wbuf *w, const struct peer_info *info);
enum err gossip_peer_links_encode(struct wbuf *w, const struct peer_link *v, size_t n) MUST_CHECK;
/* Follows the links. */
enum err gossip_peer_closed_encode(struct wbuf *w, const struct peer_closed *v, size_t n_closed, size_t n_lost) MUST_CHECK;
enum err gossip_peer_links_decode(struct slice value, struct peer_links *out) MUST_CHECK; /* mem_free(out->names) */
/* What a well-formed value says of one link. */
bool gossip_peer_link_find(struct slice value, uint64_t name, struct peer_link *out);
bool gossip_peer_link_said(const struct gossip *g, uint64_t by, uint64_t name, struct peer_link *out);
bool gossip_peers_held(const struct gossip *g, const struct peer *p); /* out of reach, but within the grace */
bool gossip_peers_lost_elsewhere(
	const struct gossip *g, const struct peer *p); /* does somebody say that a link with it has ended? */
bool gossip_peers_publish(struct gossip *g);       /* what is flagged of ours; false: out of memory */

/* link.c */
struct link *gossip_link_find(const struct gossip *g, uint64_t conn); /* not the closed ones */
size_t gossip_links_established(const struct gossip *g);
struct link *gossip_link_new(struct gossip *g, uint64_t conn, bool outbound);
void gossip_link_free(struct gossip *g, struct link *l);
void gossip_link_move(struct gossip *g, struct link *l, enum stage to);
void gossip_link_open(struct gossip *g, struct link *l, const struct gossip_event *ev);
void gossip_link_data(struct gossip *g, struct link *l, struct slice bytes);
void gossip_link_drained(struct gossip *g, struct link *l, size_t queued);
void gossip_link_lost(struct gossip *g, struct link *l, const char *why); /* the shell says so */
void gossip_link_timer(struct gossip *g, struct link *l);
uint64_t gossip_link_ping(struct gossip *g, struct link *l); /* its id, 0: out of memory */
void gossip_doubt_more(struct gossip *g, uint64_t by);
void gossip_doubt_hint(struct gossip *g, struct peer *p); /* what others do is evidence, too, but they do not take us far */
bool gossip_link_send(struct gossip *g, struct link *l, const struct message *m);
bool gossip_link_send_bytes(struct gossip *g, struct link *l, struct slice message);
/* Says goodbye when there is a session, and closes. */
void gossip_link_bye(struct gossip *g, struct link *l, enum bye_reason r, struct hostport address, const char *text);
void gossip_link_close(struct gossip *g, struct link *l, const char *why);
void gossip_link_malformed(struct gossip *g, struct link *l, const char *what, enum err e); /* counts, says so, closes */
const char *gossip_link_who(const struct link *l, char out[160]); /* "name(nickname) at address", or the address */

/* hello.c */
void gossip_hello_send(struct gossip *g, struct link *l);
void gossip_hello_received(struct gossip *g, struct link *l, const struct message_hello *h);
void gossip_bye_received(struct gossip *g, struct link *l, const struct message_bye *b);
void gossip_contest_received(struct gossip *g, struct link *l, const struct message_contest *c);
bool gossip_contest_guard(void *ctx, const struct crdt_item *it); /* asked by the maps: true keeps an item under our name out */
bool gossip_contest_guard_peers(void *ctx, const struct crdt_item *it); /* the same for `peers`, whose items tell who it is */
void gossip_contest_between(struct gossip *g, uint64_t name, const struct peer_info *newcomer); /* asked by the maps, too */
void gossip_contest_heard(struct gossip *g); /* after a merge: does what the guard could not do then */
void gossip_contest_timer(struct gossip *g);
void gossip_contest_say(struct gossip *g);
struct hostport gossip_link_published(const struct link *l); /* where others can reach the peer of this link */

/* connect.c */
enum err gossip_connect_target(struct gossip *g, const char *text) MUST_CHECK;
enum err gossip_connect_forget(struct gossip *g, const char *text) MUST_CHECK;
void gossip_connect_target_timer(struct gossip *g, struct target *t);
void gossip_connect_peer_timer(struct gossip *g, struct peer *p);
void gossip_connect_reached(struct gossip *g, struct link *l);                                      /* we know who answered */
void gossip_connect_linked(struct gossip *g, struct link *l, struct peer *p);                       /* established */
void gossip_connect_unlinked(struct gossip *g, struct peer *p, uint64_t lived_ms, const char *why); /* its link is gone */
void gossip_connect_ended(
	struct gossip *g, const struct link *l, const char *why); /* before it is closed: what that tells of the host */
void gossip_connect_failed(struct gossip *g, struct link *l, enum link_state show, enum retry how, const char *reason);
void gossip_connect_address_heard(struct gossip *g, struct peer *p); /* takes NULL */
void gossip_connect_sign_of_life(struct gossip *g, struct peer *p);  /* it has published something */
void gossip_connect_choose(struct gossip *g);
void gossip_connect_try(struct gossip *g, struct peer *p); /* once, whether it is wanted or not */
enum retry gossip_connect_full(struct gossip *g, struct link *l, struct hostport elsewhere);
bool gossip_connect_is_target(const struct gossip *g, const struct peer *p);
bool gossip_connect_known_address(const struct gossip *g, struct ip ip);

/* choose.c */
struct choice {
	uint64_t name;
	bool usable, wanted, successor;
};
uint64_t gossip_ring_distance(uint64_t self, uint64_t other);
void gossip_choose(uint64_t self, struct choice *v, size_t n);

/* sign.c */
void gossip_sign_init(struct gossip *g, const struct gossip_prover *p); /* the secret is there */
void gossip_sign_free(struct gossip *g);
void gossip_sign_forget(struct gossip *g, uint64_t name); /* the peer is gone: what was noted of its unicasts */
void gossip_sign_attach(struct gossip *g, uint8_t channel);
bool gossip_sign_key_of(
	const struct gossip *g, uint64_t name, uint8_t out[32]); /* the key that speaks for a name; false: none is known */
uint32_t gossip_sign_tag(const uint8_t key[32]);             /* a short name of it, never 0 */
void gossip_sign_learnt(struct gossip *g);                   /* a key, or who is in reach: what was held back may be told now */
void gossip_sign_trusted(struct gossip *g);                  /* something was taken on trust */
void gossip_sign_later_timer(struct gossip *g);
void gossip_sign_prove_timer(struct gossip *g);
void gossip_sign_unproved(struct gossip *g); /* now and then: forgets owners whose items nobody can prove any more */
void gossip_sign_unicast(struct gossip *g, struct message_unicast *u); /* ours, which will be relayed */
bool gossip_sign_by_us(struct gossip *g, const struct crdt_item *it);  /* of `peers`: by our own key */
void gossip_sign_contest(struct gossip *g, struct message_contest *c); /* which we report */
/* Is it from its reporter, and fresh? That may be our own key: a copy of us. */
bool gossip_sign_contest_accept(struct gossip *g, const struct link *l, const struct message_contest *c);
/* Is it from whom it says, and not heard before? Else it is counted. */
bool gossip_sign_unicast_accept(struct gossip *g, const struct link *l, const struct message_unicast *u);

/* spread.c */
void gossip_spread_mark_all(struct gossip *g, struct link *l, uint8_t channel); /* to be reconciled */
void gossip_spread_took(struct gossip *g, struct link *l, uint8_t channel, const struct crdt_changes *ch);
void gossip_spread_news(struct gossip *g, uint8_t channel, const struct crdt_changes *ch, const struct link *source);
void gossip_spread_delta(struct gossip *g, struct link *l, const struct message_state *m);
void gossip_spread_recon(struct gossip *g, struct link *l, const struct message_state *m);
void gossip_spread_established(struct gossip *g, struct link *l);
void gossip_spread_random(struct gossip *g);
void gossip_spread_flush(struct gossip *g, struct link *l);
void gossip_spread_unicast(struct gossip *g, const struct message_unicast *u, bool ours);
void gossip_spread_later(struct gossip *g, struct link *l);           /* its time has come */
bool gossip_spread_gap(const struct gossip *g, const struct link *l); /* the next delta has to wait a little */

/* slot.c */
size_t gossip_slot_bytes(const struct link *l);
void gossip_slots_free(struct link *l);
struct slot *gossip_slot_get(struct link *l, uint8_t channel);             /* makes it; NULL: out of memory */
void gossip_slot_tidy(struct link *l, uint8_t channel);                    /* frees an empty one */
bool gossip_keyset_add(struct keyset *s, struct slice key, uint64_t seed); /* false: out of memory */
bool gossip_keyset_has(const struct keyset *s, struct slice key);
void gossip_keyset_remove(struct keyset *s, struct slice key);
void gossip_keyset_clear(struct keyset *s);
bool gossip_keyset_next(const struct keyset *s, uint32_t *at, struct slice *key); /* from *at, which starts at 0 */
bool gossip_keyset_drop(struct keyset *s, uint32_t at, uint64_t seed);            /* all before that place; false: as add */

/* converge.c */
void gossip_converge_begin(struct gossip *g); /* we have changed something */
void gossip_converge_flushed(struct gossip *g, struct link *l);
void gossip_converge_done(struct gossip *g, struct link *l); /* it has arrived, or the link has ended */

/* tidy.c */
uint64_t gossip_pause_ms(const struct gossip *g); /* gossip.c: between two of what costs as much as there are peers */
bool gossip_choosy(const struct gossip *g); /* not everybody links with everybody: there are too many, or links are limited */
bool gossip_sparse(const struct gossip *g); /* too many peers for everybody to link with everybody */
enum worth gossip_worth_of(const struct gossip *g, const struct peer *p); /* of a link with it, to us */
enum worth gossip_worth(const struct gossip *g, const struct link *l);    /* to us or to the other end, whichever is more */
/* Is there a link that is worth less? Ends it, when `really`. */
bool gossip_make_room(struct gossip *g, enum worth worth, bool really);
struct hostport gossip_elsewhere(
	struct gossip *g, uint64_t for_peer); /* where one whom we refuse may try; family 0: we know nobody */
void gossip_want_received(struct gossip *g, struct link *l, const struct message_want *w);
void gossip_tidy(struct gossip *g);

#endif
