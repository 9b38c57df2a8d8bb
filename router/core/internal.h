/* Shared by router/core's files only. */
#ifndef WEFT_ROUTER_CORE_INTERNAL_H
#define WEFT_ROUTER_CORE_INTERNAL_H

#include "base/map.h"
#include "base/rng.h"
#include "router/core/core.h"

#define CHANNELS 8 /* CHANNEL_… are 1 … 7 */

struct peer_state { /* what forwarding and names know of one peer */
	uint64_t name;
	bool reachable;
	struct path_offer offer;
	struct path_view path;
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
	struct map *endpoints; /* crdt key -> struct core_endpoint: what the channel says, decoded */
	struct map *names;     /* crdt key -> struct name_record */
	struct map *peers;     /* name -> struct peer_state, without ourselves */
	struct map *targets;   /* text -> itself: the stored list */
	uint64_t now_ms;
	char nickname_answer[GOSSIP_NICKNAME_MAX + 1]; /* what ask_nickname last gave; valid until it is asked again */
	bool started;
};

/* core.c: one action more; ERR_NOMEM. */
enum err core_emit(struct core_actions *out, struct core_action a) MUST_CHECK;
enum err core_note(struct core_actions *out, enum note_level level, const char *fmt, ...) PRINTF_LIKE(3, 4) MUST_CHECK;
enum err core_reply(struct core_actions *out, uint64_t request, enum err e, const char *text) MUST_CHECK;
enum err core_persist(struct core_actions *out, const char *kind, struct slice key, struct slice value) MUST_CHECK;
enum err core_unpersist(struct core_actions *out, const char *kind, struct slice key) MUST_CHECK;
/* Tells gossip that a channel was changed here. */
enum err core_spread(struct core *c, uint8_t channel, const struct crdt_changes *changes, struct core_actions *out) MUST_CHECK;
enum err core_run_ipam(struct core *c, struct ipam_event *ev, struct core_actions *out) MUST_CHECK;

/* endpoints.c */
enum err endpoints_attached(struct core *c, const struct core_endpoint *e, struct core_actions *out) MUST_CHECK;
enum err endpoints_detached(struct core *c, const char *ident, struct ip addr, struct core_actions *out) MUST_CHECK;
/* Brings the decoded table in line with the channel for these keys (an owner's floor: all of that owner). *moved: anything changed. */
enum err endpoints_refresh(struct core *c, const struct crdt_changes *changes, bool *moved) MUST_CHECK;
enum err endpoints_restore(struct core *c, struct slice value) MUST_CHECK;
bool endpoints_in_use(const struct core *c, uint32_t addr, uint64_t *holder);
void endpoints_free(struct core *c);

/* names.c */
enum err names_put(struct core *c, const char *ident, const char *fqdn, struct ip addr, struct core_actions *out, struct err_note *note) MUST_CHECK;
/* ident "" or NULL, family 0 and fqdn NULL match any; only our own names. *n: how many. */
enum err names_delete(struct core *c, const char *ident, const char *fqdn, struct ip addr, size_t *n, struct core_actions *out) MUST_CHECK;
enum err names_refresh(struct core *c, const struct crdt_changes *changes) MUST_CHECK;
enum err names_restore(struct core *c, struct slice value) MUST_CHECK;
void names_free(struct core *c);

/* paths.c */
void path_offer_encode(struct wbuf *w, const struct path_offer *o);
void path_offer_decode(struct slice extra, struct path_offer *out); /* unreadable: all zero */
/* Looks at every known peer again. *moved: a path or a reachability changed. */
enum err paths_refresh(struct core *c, struct core_actions *out, bool *moved) MUST_CHECK;
void paths_free(struct core *c);

#endif
