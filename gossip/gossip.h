/* The mesh: who talks to whom, who is there, and the spreading of replicated state (DESIGN sections 2 and 3).
 *
 * Pure: events and time in, actions out. The daemon's loop and the simulator run this same code.
 *
 *   gossip_step(g, event, out)      `out` holds actions in the order in which they must be done; the memory they point to lives in
 *                                   out->arena until its owner resets it (once per step of the caller).
 *   gossip_deadline_ms(g)           when it next wants GOSSIP_TICK (UINT64_MAX: never).
 *
 * Connections are numbered by whoever opens them: GOSSIP_DIAL names a number (bit 63 set) for the shell to use, an accepted one gets
 * a number (bit 63 clear) from the shell. Bytes are a reliable stream. Links are Noise sessions (session.h); over them go the
 * messages of one table (message.h). A message of unknown type is skipped and counted, so that newer peers can say more.
 *
 * Channels are replicated maps that belong to the caller. What a link brings is merged into them here; what was news is reported by
 * GOSSIP_NEWS and passed on to those neighbours that do not have it from the same source. Per link and channel there is one slot: the
 * set of keys that still have to go out. The values are read when they are sent, so a slow link never costs more than one copy
 * of the state. What pushing missed is found by reconciliation at each new link, after a link was lost, and every 30 s with a random neighbour.
 *
 * gossip's own channel is `peers`: subkey "i" = what a peer is (struct peer_info), subkey "l" = its established links. A peer is
 * reachable when a path of links that both ends publish leads to it. */
#ifndef WEFT_GOSSIP_GOSSIP_H
#define WEFT_GOSSIP_GOSSIP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"
#include "crdt/map.h"

#define GOSSIP_NICKNAME_MAX   64   /* bytes */
#define GOSSIP_ADDRESSES_MAX  16   /* underlay addresses a peer publishes */
#define GOSSIP_LINKS_MAX      1024 /* links a peer publishes */
#define GOSSIP_TARGETS_MAX    1024
#define GOSSIP_TARGET_TEXT    280
#define GOSSIP_UNICAST_MAX    65536 /* payload bytes */
#define GOSSIP_CHANNELS_MAX   16
#define GOSSIP_HOPS_MAX       32
#define GOSSIP_RECON_MS       30000
#define GOSSIP_HEARTBEAT_MS   600  /* a process that is stopped for two seconds is not taken for dead */
#define GOSSIP_DEADLINE_MS    3000 /* default of the adaptive failure detection */
#define GOSSIP_BACKOFF_MIN_MS 250
#define GOSSIP_BACKOFF_MAX_MS 30000
#define GOSSIP_DOUBT_MAX      8
#define GOSSIP_GRACE_MS       5000 /* the names of a peer whose host has closed its links stay so long without it */
#define GOSSIP_HANDSHAKE_MS   5000 /* from connection to HELLO, else cut off */
#define GOSSIP_HALF_OPEN_MAX  256  /* accepted connections without HELLO; a new one beyond it pushes out the oldest */

enum gossip_channel_id { /* on the wire; never re-used */
	CHANNEL_PEERS = 1,
	CHANNEL_RING = 2,
	CHANNEL_PAXOS = 3,
	CHANNEL_USAGE = 4,
	CHANNEL_NAMES = 5,
	CHANNEL_ENDPOINTS = 6,
	CHANNEL_NETWORKS = 7,
};

/* How signatures are made and checked. Pure functions, without state. */
struct gossip_prover {
	const char *name;
	/* The pair that belongs to a host's static secret. */
	void (*pair)(const uint8_t static_secret[32], uint8_t public_key[32], uint8_t secret_key[64]);
	void (*sign)(const uint8_t secret_key[64], struct slice text, uint8_t out[CRDT_SIGNATURE]);
	bool (*verify)(const uint8_t public_key[32], struct slice text, const uint8_t signature[CRDT_SIGNATURE]);
};

struct gossip_cfg {
	uint64_t self;
	const char *nickname;
	const char *version;       /* of the program, shown to others */
	uint8_t static_secret[32]; /* X25519; copied into locked memory by the caller's means, zeroed at gossip_free */
	uint8_t psk[2][32];        /* [0] is used for dialling; [1], if any, is accepted as well (password rotation) */
	size_t n_psk;              /* 1 or 2; without a password psk[0] is all zeros */
	uint64_t incarnation;      /* > 0; grows at each start */
	uint64_t uid;              /* random, of this run: tells "ourselves" from "someone with our name" */
	uint16_t port;             /* our control port */
	struct hostport addresses[GOSSIP_ADDRESSES_MAX]; /* ours, as others may reach us; may be empty */
	size_t n_addresses;
	bool discovery;
	size_t conn_limit;                  /* links; 0 = no limit */
	uint32_t deadline_ms;               /* 0 = GOSSIP_DEADLINE_MS */
	struct crdt_map *peers;             /* the CHANNEL_PEERS map, owned by the caller; writer already set */
	uint64_t seed;                      /* for choices (jitter, random neighbour); not for keys */
	const struct gossip_prover *prover; /* NULL: Ed25519. Another one is for simulations, and the same for all hosts */
};

enum gossip_event_kind {
	GOSSIP_TICK,
	GOSSIP_CONN_OPEN, /* dialled: now connected; or accepted */
	GOSSIP_CONN_DATA,
	GOSSIP_CONN_DRAINED, /* the shell's queue for this connection has shrunk: told after each write that was done, at the latest when it is empty */
	GOSSIP_CONN_CLOSED, /* by the other end, or dialling failed; not sent after GOSSIP_CLOSE */
	GOSSIP_CHANGED,     /* the caller changed a channel: spread these keys */
	GOSSIP_SEND_UNICAST,
	GOSSIP_CONNECT, /* add a target (or retry it at once) */
	GOSSIP_FORGET,  /* drop a target; a live link to it stays */
};
struct gossip_event {
	enum gossip_event_kind kind;
	uint64_t now_ms; /* monotonic */
	union {
		struct {
			uint64_t conn;
			bool outbound;
			struct hostport remote, local;
			uint8_t entropy[40]; /* 32 for the ephemeral key, 8 for the link's nonce: fresh for each connection */
		} open;
		struct {
			uint64_t conn;
			struct slice bytes;
		} data;
		struct {
			uint64_t conn;
			size_t queued_bytes;
		} drained;
		struct {
			uint64_t conn;
			const char *
				why; /* "connection refused", "closed by the other end", "cannot resolve host"; gossip_lost_how reads the first words */
		} closed;
		struct {
			uint8_t channel;
			const struct crdt_changes *changes;
		} changed;
		struct {
			uint64_t to;
			uint8_t kind;
			struct slice payload;
		} unicast;
		struct {
			const char *target; /* host or address, [:port], as the user gave it */
		} target;
	} u;
};

enum gossip_action_kind {
	GOSSIP_DIAL,      /* connect to host:port; host may need resolving */
	GOSSIP_SEND,      /* bytes on a connection */
	GOSSIP_CLOSE,     /* after what was sent before */
	GOSSIP_NEWS,      /* a link brought news: keys of a channel (already merged) */
	GOSSIP_UNICAST,   /* a message for us */
	GOSSIP_TOPOLOGY,  /* links, reachability, or what is known of peers has changed */
	GOSSIP_CONTESTED, /* another host uses our name: stop giving out addresses; note says who. on = false: it is over */
	GOSSIP_NOTE,      /* for the log */
};
enum note_level { NOTE_DEBUG, NOTE_INFO, NOTE_WARNING, NOTE_ERROR };
struct gossip_action {
	enum gossip_action_kind kind;
	union {
		struct {
			uint64_t conn;
			const char *host;
			uint16_t port;
		} dial;
		struct {
			uint64_t conn;
			struct slice bytes;
		} send;
		struct {
			uint64_t conn;
			const char *why;
		} close;
		struct {
			uint8_t channel;
			struct crdt_changes changes;
		} news;
		struct {
			uint64_t from;
			uint8_t kind;
			struct slice payload;
		} unicast;
		struct {
			bool on;
			struct hostport other;
			const char *text;
		} contested;
		struct {
			enum note_level level;
			bool stranger; /* caused by someone unauthenticated: the log's bucket for strangers applies */
			const char *text;
		} note;
	} u;
};
struct gossip_actions {
	struct arena *arena; /* the caller's */
	struct gossip_action *v;
	size_t n, cap; /* v is arena memory */
};
void gossip_actions_init(struct gossip_actions *a, struct arena *arena);

struct gossip;
/* Copies cfg. Publishes our own peer_info in cfg->peers. ERR_NOMEM, ERR_LIMIT. */
enum err gossip_new(struct gossip **out, const struct gossip_cfg *cfg, uint64_t now_ms) MUST_CHECK;
void gossip_free(struct gossip *g);
/* Before the first step. The map is the caller's and outlives g. */
enum err gossip_add_channel(struct gossip *g, uint8_t id, const char *name, struct crdt_map *map) MUST_CHECK;
/* An error (ERR_NOMEM) leaves g consistent, and the actions in `out` are to be done all the same; what is left to do is done by later steps
 * (gossip_deadline_ms() says soon). A target that is malformed is ERR_MALFORMED with what to do in a GOSSIP_NOTE, one too many ERR_LIMIT; forgetting
 * an unknown one is ERR_NOT_FOUND. */
enum err gossip_step(struct gossip *g, const struct gossip_event *ev, struct gossip_actions *out) MUST_CHECK;
uint64_t gossip_deadline_ms(const struct gossip *g);
/* Says BYE on all links and closes them, so that the others notice at once: for an orderly end. */
enum err gossip_bye(struct gossip *g, uint64_t now_ms, struct gossip_actions *out) MUST_CHECK;
/* Is our name in use by another host, as far as is known now? */
bool gossip_is_contested(const struct gossip *g);

/* What a peer is: published by itself under subkey "i". TLV on the wire, unknown types skipped. */
struct peer_info {
	uint64_t name;
	char nickname[GOSSIP_NICKNAME_MAX + 1];
	char version[33];
	uint8_t key[32], sign_key[32]; /* X25519; of its signatures */
	uint64_t uid;
	struct hostport addresses[GOSSIP_ADDRESSES_MAX];
	size_t n_addresses;
	uint16_t port;
	struct slice extra; /* the data plane's part, opaque here: gossip_set_extra; points into the map */
};
enum err peer_info_decode(struct slice value, struct peer_info *out) MUST_CHECK;
/* Publishes the data plane's part of our peer_info (at most 512 bytes). */
enum err gossip_set_extra(struct gossip *g, struct slice extra, uint64_t now_ms, struct gossip_actions *out) MUST_CHECK;

/* Reading, for status, forwarding and the ipam layer. All O(1) or O(peers). */
bool gossip_peer(const struct gossip *g, uint64_t name, struct peer_info *out); /* false: not known */
bool gossip_reachable(const struct gossip *g, uint64_t name);                   /* self: true */
/* Reachable, or out of reach for less than GOSSIP_GRACE_MS because its host closed the links of a daemon that had not said that it stops: one that
 * was killed and is started anew. For what its containers are called, not for what is sent to it. GOSSIP_TOPOLOGY tells when this ends, too. */
bool gossip_present(const struct gossip *g, uint64_t name);
/* How far we doubt ourselves: 0 (not at all) … GOSSIP_DOUBT_MAX. Silence has to last 1 + that many times as long before a peer is taken for dead. */
unsigned gossip_doubt(const struct gossip *g);
uint64_t gossip_next_hop(const struct gossip *g, uint64_t name); /* PEER_NONE: unreachable; == name: direct */
/* Known peers in name order, self included; *it starts at 0. */
bool gossip_next_peer(const struct gossip *g, uint64_t *it, uint64_t *name);
/* The links a peer publishes. */
size_t gossip_links_of(const struct gossip *g, uint64_t name, uint64_t *out, size_t max);
/* Where the data plane reaches a peer: the far address of our link, else its first published address. false: not known. */
bool gossip_underlay(const struct gossip *g, uint64_t name, struct ip *out, struct ip *local);
bool gossip_linked(const struct gossip *g, uint64_t name); /* a link of our own to it is established */
/* How our last link to a peer ended. CLOSED: its host did it, or has refused a connection since, so that its kernel runs whatever became of the
 * daemon; *seen_ms: when it last showed that. SILENT: nothing was heard any more. NEVER: there was none. */
enum gossip_lost { GOSSIP_LOST_NEVER, GOSSIP_LOST_CLOSED, GOSSIP_LOST_SILENT };
enum gossip_lost gossip_lost_how(const struct gossip *g, uint64_t name, uint64_t *seen_ms);

enum link_state { LINK_CONNECTING, LINK_HANDSHAKE, LINK_ESTABLISHED, LINK_RETRYING, LINK_FAILED };
const char *link_state_name(enum link_state s);
struct link_view { /* one line of `status connections` */
	bool outbound;
	char address[GOSSIP_TARGET_TEXT];
	enum link_state state;
	uint64_t peer; /* PEER_NONE until known */
	char reason[160];
	uint64_t since_ms, retry_ms; /* now_ms scale; retry_ms 0: never */
	uint32_t rtt_us;             /* 0: not measured */
	bool encrypted;              /* a password is in use */
	size_t backlog_bytes;
};
bool gossip_next_link(const struct gossip *g, size_t *it, struct link_view *out);
bool gossip_next_target(const struct gossip *g, size_t *it, const char **target); /* as the user gave them */

/* What was not taken, and why: from replicated state, and the last two, from unicasts that were relayed. */
enum gossip_refused {
	REFUSED_PROOF,     /* none, or not of the form that belongs there */
	REFUSED_SIGNATURE, /* not by the key of its writer */
	REFUSED_NO_KEY,    /* held back: that key is not known yet */
	REFUSED_OTHER_KEY, /* held back: another key for a name whose present holder can be reached */
	REFUSED_FLOOR,     /* held back: it would forget a peer that can be reached */
	REFUSED_FROM,
	REFUSED_REPLAY,
	REFUSED_QUOTA,   /* its owner has published more than a host may */
	REFUSED_NAMES,   /* a new name: too many are heard of already */
	REFUSED_CONTEST, /* that somebody else has our name: that peer has stopped us for long enough */
	GOSSIP_REFUSED
};
const char *gossip_refused_name(enum gossip_refused why); /* as a label of a metric */

#define GOSSIP_CONVERGENCE_EDGES 12
uint32_t gossip_convergence_edge_ms(size_t i); /* upper edges of the buckets; the last bucket has none */
struct gossip_counters {
	uint64_t refused[GOSSIP_REFUSED];
	uint64_t signatures_made, signatures_checked;
	uint64_t messages_in[32], messages_out[32];                                 /* by message type */
	uint64_t channel_in[GOSSIP_CHANNELS_MAX], channel_out[GOSSIP_CHANNELS_MAX]; /* delta and recon messages by channel id */
	uint64_t bytes_in, bytes_out;
	uint64_t handshakes_ok, handshakes_auth, handshakes_version, handshakes_garbage, handshakes_timeout, handshakes_duplicate;
	uint64_t late_steps, false_alarms; /* we came late; a peer we took for dead was not, or one took us for dead */
	uint64_t convergence[GOSSIP_CONVERGENCE_EDGES + 1],
		convergence_ms; /* changes of ours that were followed until all neighbours had them */
	uint64_t terminations, malformed, unknown_types, reconciliations, unroutable;
};
const struct gossip_counters *gossip_counters(const struct gossip *g);
size_t gossip_backlog_bytes(const struct gossip *g);

#endif
