/* Shared by router/core's files only. */
#ifndef WEFT_ROUTER_CORE_INTERNAL_H
#define WEFT_ROUTER_CORE_INTERNAL_H

#include "base/map.h"
#include "base/rng.h"
#include "router/core/core.h"

#define CHANNELS 8 /* CHANNEL_… are 1 … 7 */
/* How long frames still go to a peer that the mesh has lost sight of: what the kernel forwards does not need the daemons, and one that is
 * started anew is back in less. */
#define PATH_HOLD_MS 2000

struct peer_state {     /* what forwarding and names know of one peer */
	uint64_t name, uid; /* uid: of its present run */
	bool reachable;
	uint64_t hold_until; /* out of sight, but its path stays until then; 0: not so */
	struct path_offer offer;
	struct path_view path;
};

struct endpoint;
struct endpoint_addr { /* one address of one endpoint, among those with the same address */
	struct endpoint *of;
	struct endpoint_addr *next;
};
struct endpoint {
	struct core_endpoint e;
	struct endpoint *same_mac; /* next with this MAC on this network: other hosts' claims to it */
	size_t n_indexed;          /* addrs[0 … n_indexed) stand in the index of addresses */
	bool mac_indexed;
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
	struct map *by_ident;  /* ident of our own -> struct endpoint */
	struct map *names;     /* crdt key -> struct name_record */
	struct map *peers;     /* name -> struct peer_state, without ourselves */
	struct map *targets;   /* text -> itself: the stored list */
	struct map *network_records, *networks; /* networks.c: by key of the channel, by name */
	struct core_network *networks_present;  /* in order of names; behind n_networks_good those whose number a lower name has */
	size_t n_networks_present, n_networks_good;
	bool networks_changed; /* since networks_present was made */
	uint64_t now_ms;
	uint64_t hold_until;                           /* the first end of a peer's hold; UINT64_MAX: none */
	char nickname_answer[GOSSIP_NICKNAME_MAX + 1]; /* what ask_nickname last gave; valid until it is asked again */
	bool started;
	struct path_change path_changes[PATH_CHANGES_MAX];
	size_t n_path_changes;
	bool repair; /* memory ran out: what is decoded is to be brought in line with the channels once more */
	bool lost;   /* a record that had to be durable found no room: the node has to stop */
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

/* paths.c */
void path_offer_encode(struct wbuf *w, const struct path_offer *o);
void path_offer_decode(struct slice extra, struct path_offer *out); /* unreadable: all zero */
/* Looks at every known peer again. *moved: a path or a reachability changed. */
enum err paths_refresh(struct core *c, struct core_actions *out, bool *moved) MUST_CHECK;
void paths_free(struct core *c);

#endif
