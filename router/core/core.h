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

#define CORE_IDENT_MAX       IPAM_IDENT_MAX
#define CORE_NETWORK_MAX     64 /* bytes of a network's name */
#define CORE_ADDRS_MAX       32 /* addresses of one container */
#define CORE_FQDN_MAX        255
#define CORE_NETWORK_DEFAULT "weft"
#define CORE_IDENT_EXTERN    "weft:extern" /* names put by hand without a container */

/* What one host needs to know of another to send frames to it; published in peer_info.extra as TLV. */
struct path_offer {
	uint16_t vxlan_port;     /* 0: no kernel fast path there */
	bool vxlan_over_v6;      /* its fast path's underlay is IPv6, else IPv4: a VXLAN device has one family */
	uint16_t userspace_port; /* 0: none */
	bool password;           /* wants its data sealed */
	struct prefix range;     /* its address range; family 0: IPAM is off */
};

struct core_cfg {
	struct gossip_cfg gossip; /* peers = NULL: core makes the map */
	bool ipam;
	struct universe universe;
	struct prefix default_subnet;
	enum ipam_init init;
	size_t consensus;
	const uint64_t *seeds; /* copied */
	size_t n_seeds;
	bool fresh_store;   /* no record was stored */
	bool names;         /* DNS is on */
	const char *domain; /* "weft.local." */
	struct path_offer offer;
	bool no_fallback, require_encryption;
	/* MTU of the underlay device that holds this local address; 0: not known. Called for status only. */
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
	CORE_STOP,        /* say goodbye to the neighbours */
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
};

enum core_action_kind {
	CORE_PERSIST,
	CORE_DIAL,
	CORE_SEND,
	CORE_CLOSE,
	CORE_REPLY,
	CORE_FORWARDING, /* some remote MAC moved, came or went: see core_next_remote, core_path */
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
struct universe core_universe(const struct core *c);
const struct core_cfg *core_cfg(const struct core *c);

enum path { PATH_NONE, PATH_FAST, PATH_USERSPACE };
const char *path_name(enum path p); /* "none", "fast", "userspace" */
struct path_view {
	enum path path;
	char reason[120];
	uint64_t since_ms;
	struct ip underlay, local;
	uint16_t userspace_port;
	uint32_t mtu; /* what a container may send in one piece; 0: not known */
	bool encrypted;
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
	struct ip underlay;
	uint16_t userspace_port;
};
bool core_hop(const struct core *c, uint64_t peer, struct path_hop *out);
/* Containers of other hosts, in no order, whose host is reachable or not; *it starts at 0. Pointers are valid until the next step. */
bool core_next_remote(const struct core *c, size_t *it, const struct core_endpoint **out);
bool core_next_local(const struct core *c, size_t *it, const struct core_endpoint **out);
const struct core_endpoint *core_local(const struct core *c, const char *ident); /* NULL: not attached */
/* Whose a MAC is when several say it is theirs: our own container's; else that of a host which can be reached; among those the lowest peer's.
 * Every host decides alike for hosts that it can reach. NULL: nobody's. */
const struct core_endpoint *core_mac_holder(const struct core *c, struct mac mac, const char *network);

struct core_name { /* a name put here or elsewhere; strings point into the core */
	uint64_t owner;
	const char *ident, *fqdn;
	struct ip addr;
};
bool core_next_name(const struct core *c, size_t *it, struct core_name *out);

#endif
