/* One whole node without a kernel: the mesh, addresses and names joined (DESIGN section 1), and what the data plane has to do.
 *
 * Pure: events and time in, actions out. The daemon carries the actions out on the real machine, the simulator on a simulated one.
 *
 * Order: every CORE_PERSIST of one step is made durable, in one transaction, before any other action of that step is carried out;
 * the others follow in the order given. If that transaction fails nothing else of the step may be done and the node has to stop: what it
 * holds in memory is then ahead of what it could come back to. Actions live in the arena given to core_step.
 *
 * Start: core_new, core_restore for each stored record, core_start, then core_step. */
#ifndef WEFT_ROUTER_CORE_CORE_H
#define WEFT_ROUTER_CORE_CORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"
#include "crdt/map.h"
#include "dns/table.h"
#include "gossip/gossip.h"
#include "ipam/ipam.h"
#include "tunnel/tunnel.h"

#define CORE_IDENT_MAX       IPAM_IDENT_MAX
#define CORE_NETWORK_MAX     64 /* bytes of a network's name */
#define CORE_ADDRS_MAX       32 /* addresses of one container */
#define CORE_FQDN_MAX        255
#define CORE_NETWORK_DEFAULT "weft"
#define CORE_TRUSTED_MAX     16
#define CORE_NETWORKS_MAX    256
#define CORE_AUTO_RANGES_MAX 8
#define CORE_IDENT_EXTERN    "weft:extern" /* names put by hand without a container */

/* What one host needs to know of another to send frames to it; published in peer_info.extra as TLV. */
struct path_offer {
	uint16_t vxlan_port;                     /* 0: no kernel fast path there */
	bool vxlan_over_v6;                      /* its fast path's underlay is IPv6, else IPv4: a VXLAN device has one family */
	uint16_t userspace_port;                 /* 0: none */
	bool password;                           /* wants its data sealed, but for those it trusts */
	struct prefix range, range6;             /* its address ranges; family 0: IPAM is off; there are no IPv6 addresses of one */
	bool sealed_only;                        /* --require-encryption: sealed also to those who trust it */
	uint16_t mtu;                            /* what a container of it may send in one piece: its fast path carries that much */
	struct prefix trusted[CORE_TRUSTED_MAX]; /* --trusted-subnets: data to these in the clear, if they say the same of us */
	size_t n_trusted;
};

enum path { PATH_NONE, PATH_FAST, PATH_USERSPACE, PATH_RELAY };
const char *path_name(enum path p); /* "none", "fast", "userspace", "relay" */

struct core_cfg {
	struct gossip_cfg gossip; /* peers = NULL: core makes the map */
	bool ipam;
	struct universe universe;
	struct prefix default_subnet;
	struct prefix
		range6; /* --ipalloc-range6, network bits only; family 0: containers get no IPv6 address but in networks that have a subnet6 */
	/* --ipalloc-range auto: universe was picked from this list, and while nothing is divided in it another of it, or one that others use,
	 * may take its place (range.c). None: it was named. range_free: no route of this host overlaps it. */
	struct universe auto_ranges[CORE_AUTO_RANGES_MAX];
	size_t n_auto_ranges;
	bool (*range_free)(void *ctx, struct universe u);
	enum ipam_init init;
	size_t consensus;
	const uint64_t *seeds; /* copied */
	size_t n_seeds;
	uint64_t reclaim_after_ms; /* the lease after which others may take what a dead host keeps spare; 0: never */
	uint64_t boot;             /* tells one run of the clock that gives now_ms from another; 0: not known */
	bool fresh_store;          /* no record was stored */
	bool newborn;              /* nobody has ever published anything under our name: the key that it is made of is new */
	bool names;                /* DNS is on */
	const char *domain;        /* "weft.local." */
	struct path_offer offer;
	bool no_fallback, require_encryption;
	uint8_t random[32];    /* fresh and secret: seeds what sessions of the data plane are made of */
	bool aes;              /* this processor has AES-256-GCM */
	uint64_t rekey_ms;     /* 0: TUNNEL_REKEY_MS */
	uint64_t mtu_raise_ms; /* a path MTU that was found is looked at again after so long; 0: ten minutes */
	/* MTU of the underlay device that holds this local address; 0: not known. Called when a path's MTU is searched for. */
	uint32_t (*underlay_mtu)(void *ctx, struct ip local);
	void *ctx;
};

/* Text that may be shown to people: UTF-8 without control characters. What containers and networks are called has to be. */
bool core_text_ok(struct slice text);

struct core_endpoint { /* an attached container, here or elsewhere */
	uint64_t peer;
	char ident[CORE_IDENT_MAX + 1];
	struct mac mac;
	struct prefix addrs[CORE_ADDRS_MAX];
	size_t n_addrs;
	char network[CORE_NETWORK_MAX + 1];
};

enum core_event_kind {
	CORE_TICK,
	CORE_MESH,    /* a gossip_event of a connection: OPEN, DATA, DRAINED, CLOSED */
	CORE_CONNECT, /* targets; `replace`: these and no others */
	CORE_FORGET,
	CORE_IPAM, /* an ipam_event from the API: ALLOCATE, CLAIM, LOOKUP, FREE, CANCEL, PRIME, TAKEOVER, HANDOVER */
	CORE_ATTACHED, /* endpoint: it is there, or has changed. ERR_EXISTS: another container here has its MAC; ERR_RANGE: not to be shown */
	CORE_DETACHED, /* ident, addr (family 0: all): remove its names, free its addresses, forget the endpoint when none is left */
	CORE_NAME_PUT, /* ident, addr, fqdn */
	CORE_NAME_DELETE, /* ident, addr (family 0: any), fqdn (NULL or "": any) */
	CORE_OFFER,       /* our path_offer changed */
	CORE_DATAGRAM,    /* one that is not a frame came: handshake or probe */
	CORE_UNDELIVERED, /* one we sent was refused by the kernel: too big for the device, no route, nobody listens there */
	CORE_TRAFFIC,     /* with whom containers' frames were exchanged since the last time */
	CORE_WANTED,      /* peer: a frame waits for a session */
	CORE_ROAMED,      /* peer: authentic datagrams come from another address now */
	CORE_NETWORK_CREATE, /* network: name, subnets. ERR_EXISTS: there is one of that name with other subnets; ERR_RANGE: name, or subnet
	                      * that does not lie in the range; ERR_LIMIT */
	CORE_NETWORK_REMOVE, /* network.name. ERR_NOT_FOUND; ERR_BUSY: containers are attached to it (text says where); ERR_REFUSED: the default */
	CORE_DIGESTS, /* ask each host in reach whether it holds the same state: core_next_digest tells what came */
	CORE_STOP,    /* say goodbye to the neighbours */
};
/* A way by which datagrams are exchanged. */
enum core_via { CORE_VIA_UDP, CORE_VIA_VXLAN };
struct core_traffic {
	uint64_t peer;
	bool sent, received; /* on whatever path */
};
struct core_network { /* an isolated network; the default one is number 0 and needs no making */
	char name[CORE_NETWORK_MAX + 1];
	uint16_t number; /* of its devices and on the wire; the same on all hosts once they have heard of each other: may change */
	struct prefix subnet, subnet6; /* family 0: not given */
	bool automatic; /* made by a program that needs it (Docker's plugin): whoever was the last to use it removes it */
};

struct core_event {
	enum core_event_kind kind;
	uint64_t now_ms;
	uint64_t request; /* NAME_PUT, NAME_DELETE, CONNECT, FORGET, ATTACHED, DETACHED: 0, or answered by CORE_REPLY */
	const struct gossip_event *mesh;
	const struct ipam_event *ipam;
	const struct core_endpoint *endpoint;
	const struct path_offer *offer;
	const char *ident, *fqdn;
	struct ip addr;
	const char *const *targets;
	size_t n_targets;
	bool replace;
	/* DATAGRAM: via, from (UDP only), bytes: of UDP the whole datagram (tunnel/wire.h), of VXLAN a probe (tunnel/probe.h).
	 * UNDELIVERED: via, peer, err (ERR_LIMIT: too big for our device; ERR_UNREACHABLE; ERR_REFUSED: its host says nobody listens), id as in the action.
	 * WANTED, ROAMED: peer, from. TRAFFIC: traffic, n_traffic. */
	enum core_via via;
	struct hostport from;
	struct slice bytes;
	uint64_t peer, id;
	enum err err;
	const struct core_traffic *traffic;
	size_t n_traffic;
	const struct core_network *network;
};

enum core_action_kind {
	CORE_PERSIST,
	CORE_DIAL,
	CORE_SEND,
	CORE_CLOSE,
	CORE_REPLY,
	CORE_FORWARDING, /* some remote MAC moved, came or went, paths or keys changed: see core_next_remote, core_hop, core_sessions */
	CORE_DATAGRAM_SEND, /* best effort; what the kernel refuses comes back as CORE_UNDELIVERED */
	CORE_PATH_CHANGED,  /* for the stream of events */
	CORE_NOTE,
};
struct core_action {
	enum core_action_kind kind;
	union {
		struct {
			struct slice key, value; /* value.p == NULL: delete */
		} persist;
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
			uint64_t request;
			enum err err;
			const char *text; /* on error */
			struct prefix result;
			uint64_t count;
		} reply;
		struct {
			enum note_level level;
			bool stranger;
			const char *text;
		} note;
		struct {
			enum core_via via;
			struct hostport to; /* VXLAN: the underlay address of the peer's device; port unused */
			uint64_t peer, id;  /* peer: whose bridge's MAC a VXLAN probe is for; id: given back by CORE_UNDELIVERED */
			struct slice bytes; /* with all padding; never to be fragmented on the way */
		} datagram;
		struct {
			uint64_t peer;
			enum path from, to;
			const char *reason;
		} path;
	} u;
};
struct core_actions {
	struct arena *arena;
	struct core_action *v;
	size_t n, cap;
};
void core_actions_init(struct core_actions *a, struct arena *arena);

struct core;
enum err core_new(struct core **out, const struct core_cfg *cfg, uint64_t now_ms, struct err_note *note) MUST_CHECK;
void core_free(struct core *c);
/* One stored record, as CORE_PERSIST gave it. ERR_MALFORMED, ERR_RANGE with a note: the caller sets the record aside and goes on. */
enum err core_restore(struct core *c, struct slice key, struct slice value, struct err_note *note) MUST_CHECK;
/* Ends former incarnations in all maps, publishes what was restored, dials the stored targets when `resume`. */
enum err core_start(struct core *c, uint64_t now_ms, bool resume, struct core_actions *out) MUST_CHECK;
/* A request gets its answer in any case. ERR_NOMEM: part of the step could not be done now and is made good by a later one
 * (core_deadline_ms() says soon); what is in `out` is to be carried out all the same. ERR_STATE: there was no memory for a record that must
 * be durable before what follows from it: `out` is empty, and the node has to stop as after a failed transaction. */
enum err core_step(struct core *c, const struct core_event *ev, struct core_actions *out) MUST_CHECK;
uint64_t core_deadline_ms(const struct core *c);

/* Reading. */
const struct gossip *core_gossip(const struct core *c);
const struct ipam *core_ipam(const struct core *c);                         /* NULL: off */
const struct dns_table *core_names(const struct core *c);                   /* NULL: off */
const struct crdt_map *core_channel(const struct core *c, uint8_t channel); /* NULL: no such */
struct universe core_universe(const struct core *c); /* may change by itself until it is divided, where the operator named none */
/* Does a host in reach give out addresses of another range? Then what to say of it. */
bool core_range_conflict(const struct core *c, char *out, size_t size);
const struct core_cfg *core_cfg(const struct core *c);

struct path_candidate {             /* one way of the three, and what is known of it */
	bool possible;                  /* both ends offer it and may use it */
	bool works;                     /* its last probes at full size were answered */
	uint32_t rtt_us;                /* 0: not measured */
	uint64_t answered_ms, asked_ms; /* last probe's answer, last probe; 0: never */
	char state[120];                /* words joined by '-': "works", "no-answer-to-full-size-probes", "vxlan-ports-differ", … */
};
struct path_view {
	enum path path;
	char reason[120];
	uint64_t since_ms;
	struct ip underlay, local;
	uint16_t userspace_port;
	uint64_t relay; /* PATH_RELAY: the first host on the way */
	uint32_t mtu;   /* what a container may send in one piece; 0: not known (yet), or being sought */
	bool encrypted;
	struct path_candidate fast, userspace, relayed;
};
bool core_path(const struct core *c, uint64_t peer, struct path_view *out); /* false: unknown peer, or ourselves */
/* How often a path was changed, by what it was, what it became and why; *it starts at 0. */
#define PATH_CHANGES_MAX 64
struct path_change {
	enum path from, to;
	char reason[120];
	uint64_t count;
};
bool core_next_path_change(const struct core *c, size_t *it, struct path_change *out);
/* The same for forwarding: what it needs and nothing that has to be looked up on the host. */
struct path_hop {
	enum path path;
	struct ip underlay; /* FAST: of its VXLAN device */
	struct hostport to; /* where its userspace path is reached, or that of the first relay; family 0: nowhere */
	uint64_t relay;     /* PEER_NONE: straight */
	bool sealed; /* its frames on the userspace path go and come sealed; else in the clear. Relayed ones are sealed in any case */
	bool settled;           /* that was found, and is not what is assumed while it is sought: senders may be told of it */
	uint16_t datagram;      /* longest UDP payload that passes on the userspace path (or the relayed one) */
	bool vxlan_allowed;     /* its VXLAN may come in: it is there and the fast path to it is possible, used now or not */
	uint32_t mtu;           /* IP packet of a container that passes in one piece on the path used now */
	struct seal_keys *keys; /* to send with; NULL: none yet, or not sealed. Valid until the next step: take a reference */
};
bool core_hop(const struct core *c, uint64_t peer, struct path_hop *out);
/* Where to pass on what is RELAYED for that peer: its next hop by the mesh. false: nowhere. */
bool core_relay_hop(const struct core *c, uint64_t peer, struct hostport *to);
/* Sessions that open what comes; *it starts at 0; NULL at the end. Valid until the next step: take references. */
struct seal_keys *core_next_session(const struct core *c, size_t *it);
const struct tunnel_counters *core_tunnel_counters(const struct core *c);
/* Handshakes and probes (CORE_DATAGRAM) that were not taken, by reason. */
uint64_t core_datagrams_dropped(const struct core *c, enum fwd_drop why);

/* Networks that exist, in order of names, the default one not among them; *it starts at 0. */
bool core_next_network(const struct core *c, size_t *it, struct core_network *out);
/* By name ("weft": number 0, no subnets). false: there is none. */
bool core_network(const struct core *c, const char *name, struct core_network *out);
/* The IPv6 address that goes with an IPv4 address of a container there (companion.c). false: none does. */
bool core_companion(const struct core *c, const char *network, struct prefix v4, struct prefix *out);
/* With which IPv4 address that IPv6 address goes there. false: with none. */
bool core_companion_of(const struct core *c, const char *network, struct ip v6, struct ip *v4);
/* Containers of other hosts, in no order, whose host is reachable or not; *it starts at 0. Pointers are valid until the next step. */
bool core_next_remote(const struct core *c, size_t *it, const struct core_endpoint **out);
bool core_next_local(const struct core *c, size_t *it, const struct core_endpoint **out);
const struct core_endpoint *core_local(const struct core *c, const char *ident); /* NULL: not attached */
/* Whose a MAC is when several say it is theirs: our own container's; else that of a host which can be reached; among those whose address the ring
 * says it is, if that is what they disagree about; else whose we heard of first. NULL: nobody's. The same for an address. */
const struct core_endpoint *core_mac_holder(const struct core *c, struct mac mac, const char *network);
const struct core_endpoint *core_address_holder(const struct core *c, struct ip addr, const char *network);
/* Is a name that the owner put for that ident and address one of a container of other networks than these only? Then it is none for who is on these. */
bool core_is_elsewhere(
	const struct core *c, uint64_t owner, const char *ident, struct ip addr, const char *const *networks, size_t n);

/* What hosts in reach said to the last CORE_DIGESTS, in no order; *it starts at 0. */
struct core_digest {
	uint64_t peer;
	bool answered;    /* else it has not told (yet), or is of a version that does not */
	uint16_t differs; /* 1 << CHANNEL_…: its state was another than ours when its answer came */
};
bool core_next_digest(const struct core *c, size_t *it, struct core_digest *out);

struct core_name { /* a name put here or elsewhere; strings point into the core */
	uint64_t owner;
	const char *ident, *fqdn;
	struct ip addr;
};
bool core_next_name(const struct core *c, size_t *it, struct core_name *out);

#endif
