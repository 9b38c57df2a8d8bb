/* The daemon: one control thread with one libuv loop around the pure core, the store, the kernel and the servers.
 *
 * Everything here runs in the control thread, which never blocks but for the store's commit and short netlink calls. The only other
 * threads are the userspace data path's (router/dataplane/userspace.h). Whoever serves requests (API, later plugins) uses this header and nothing else. */
#ifndef WEFT_ROUTER_ROUTER_H
#define WEFT_ROUTER_ROUTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <uv.h>

#include "router/core/core.h"
#include "router/options.h"

struct router;

/* Raises this process's limit of open files as far as it may go, 65536 at most: each link, client and container costs some. */
void router_limits(void);
/* Opens everything that options ask for, in an order that leaves nothing behind when a later step fails: store (lock), identity, control
 * listener, core, kernel devices, DNS, API. On error the note is the one line for the operator, and *out (unless NULL) is to be stopped and
 * freed all the same. The loop is the caller's. */
enum err router_start(struct router **out, uv_loop_t *loop, const struct options *opt, struct err_note *note) MUST_CHECK;
/* Answers what still waits (ERR_CLOSED), says goodbye to peers, closes servers and store; what the kernel holds (bridge, containers'
 * interfaces, FDB) stays. Handles close while the loop runs on: `done` is called when it may be freed. */
void router_stop(struct router *r, void (*done)(void *ctx), void *ctx);
void router_free(struct router *r);
/* Has something happened after which the daemon must not go on (store cannot be written)? The text says what. NULL: no. */
const char *router_fatal(const struct router *r);

const struct core *router_core(const struct router *r);
const struct options *router_options(const struct router *r);
uint64_t router_now_ms(const struct router *r); /* monotonic; the core's scale */
uint64_t router_started_ms(const struct router *r);
/* Wall clock of a core time, seconds since 1970: for people only. */
double router_wall_s(const struct router *r, uint64_t ms);

/* The outcome of a request. Texts live until the callback returns. */
struct router_result {
	enum err err;
	const char *text;           /* on error: what is wrong and what to do */
	struct prefix addr;         /* addresses: ALLOCATE, CLAIM, LOOKUP */
	uint64_t count;             /* TAKEOVER, HANDOVER, NAME_DELETE */
	const struct prefix *addrs; /* attach, detach, endpoint: the container's addresses */
	size_t n_addrs;
	/* attach, endpoint_add: */
	struct mac mac;
	const char *ifname, *port; /* what the ends of the interface are called: inside, and on the host */
	uint32_t mtu;
};
typedef void (*router_done)(void *ctx, const struct router_result *res);
/* A router_done for who does not wait for the answer. */
void router_ignore(void *ctx, const struct router_result *res);

/* Hands an event to the core; `done` is called exactly once, when what follows from the event is durable, perhaps before this returns, unless cancelled. Returns the request's
 * number for router_cancel, 0 when it is done already. For CORE_IPAM events request numbers are filled in here. */
uint64_t router_submit(struct router *r, struct core_event *ev, router_done done, void *ctx);
/* The asker has gone: `done` is not called any more. */
void router_cancel(struct router *r, uint64_t request);

struct container_route;
struct attach_host { /* a line of /etc/hosts */
	const char *name;
	struct ip ip;
};
struct attach_request {
	/* as the user gave it: a name or id of Docker's, pid:N, netns:PATH, /PATH, a name under /run/netns. Detach: NULL, if id is given */
	const char *container;
	const char *id; /* what it is known by from now on; NULL: by its full id, if Docker knows it, else by what the user gave */
	const char *ifname;       /* inside; NULL: ethwe */
	const char *const *addrs; /* ADDR forms (INTERFACES section 4); none: net:default */
	size_t n_addrs;
	const struct container_route *routes; /* container.h: besides those of its subnets */
	size_t n_routes;
	const struct attach_host *hosts; /* to stand in the container's /etc/hosts */
	size_t n_hosts;
	bool rewrite_hosts; /* its own name stands for its addresses there */
	bool hairpin;       /* it may reach itself by way of the bridge: through a NAT rule of the host */
	bool multicast_route;
	bool with_dns;       /* put the container's own host name, if it has one in the domain */
	const char *mac;     /* NULL: one is made */
	const char *network; /* NULL: the default one */
};
/* Addresses (allocated, claimed, or what it has), interface, endpoint, name. Idempotent. Cancelled like any request. */
uint64_t router_attach(struct router *r, const struct attach_request *req, router_done done, void *ctx);
/* addrs empty: all. ERR_NOT_FOUND when it is not attached. */
uint64_t router_detach(struct router *r, const struct attach_request *req, router_done done, void *ctx);
/* An endpoint for somebody who puts the interface into a container himself and gives it addresses there (dockerd): the pair (container_pair), the
 * filter, what the mesh is told. Addresses are the caller's: it has leased them, or they are of no range of ours. Idempotent for the same arguments. */
struct endpoint_request {
	const char *ident, *network; /* NULL network: the default one */
	const char *ifname;          /* of the inner end, which is left in the daemon's namespace, down, with MAC and MTU */
	struct mac mac;              /* zero: one is made */
	const struct prefix *addrs;
	size_t n_addrs;
	unsigned mtu; /* at most; 0: what paths carry */
	bool hairpin;
};
/* Answers like attach. ERR_NOT_FOUND: no such network; ERR_EXISTS: MAC or interface's name is another's; ERR_CONFLICT: the ident is in another network. */
uint64_t router_endpoint_add(struct router *r, const struct endpoint_request *req, router_done done, void *ctx);
/* Both ends and its names go, and the mesh is told. ERR_NOT_FOUND: there is none. */
uint64_t router_endpoint_remove(struct router *r, const char *ident, router_done done, void *ctx);
/* Containers that the kernel shows and no record tells of: as at the start, for networks that have become known since. */
void router_adopt(struct router *r);
/* Whom plugin_outside told to wait need not any more. */
void router_askers_known(struct router *r);
/* `weft reset`: hands the address space over; then, in answer, everything of ours is out of the kernel and the store is emptied. The
 * daemon is to be stopped after it. */
uint64_t router_reset(struct router *r, router_done done, void *ctx);

/* What has been submitted is durable and has taken effect when this returns (unless the daemon has to stop), but for what waits for other hosts, and
 * for what a callback of router_submit submits. For who shows the core's state to somebody outside: it may be ahead of the disk. */
void router_settle(struct router *r);

/* One record of the daemon's own ("docker/…", "wish/…", "expose/…"): put, or deleted (value.p NULL). It shares the commit of what is done in this turn of
 * the loop; `done` (may be NULL) comes when it is durable, and never when the daemon has to stop before. The core does not see these records,
 * another range leaves them alone, and a reset erases them. */
#define ROUTER_KEEP_KEY_MAX   400
#define ROUTER_KEEP_VALUE_MAX 65536u
uint64_t router_keep(struct router *r, const char *key, struct slice value, router_done done, void *ctx);
/* What is on disk under keys that begin so, in their order; for the start. fn gets the key as it was given to router_keep, and may not keep or delete
 * any; its error ends it and is given back. */
enum err router_kept(const struct router *r, const char *prefix, enum err (*fn)(void *ctx, struct slice key, struct slice value),
	void *ctx, struct err_note *note) MUST_CHECK;

uv_loop_t *router_loop(const struct router *r);
struct log *router_log(const struct router *r); /* log.h */

/* For metrics and status. */
struct router_stats {
	uint64_t log_suppressed, accepts, accept_refused, dials, dial_failures, store_commits, core_steps;
	uint64_t store_bytes;
};
void router_stats(const struct router *r, struct router_stats *out);
struct dns_server;
const struct dns_server *router_dns(const struct router *r); /* NULL: off */
struct plane;
const struct plane *router_plane(const struct router *r); /* NULL: not yet; for reading (plane.h) */
struct userspace;
const struct userspace *router_userspace(const struct router *r); /* NULL: off */
/* Is the kernel fast path in place? If not, why (static until the next call). */
bool router_fast_path(const struct router *r, const char **why);
/* The name servers in whose place we answer to containers, IPv4; none where the name service is not at 169.254.67.83. */
#define ROUTER_RESOLVERS_MAX 16
size_t router_resolvers(const struct router *r, struct ip out[ROUTER_RESOLVERS_MAX]);
/* Where containers reach DNS: "169.254.67.83" and the port; false: off. */
bool router_dns_address(const struct router *r, struct hostport *out);

/* The range of the addresses that the state in dir is about; family 0: none. */
enum err router_stored_range(const char *dir, struct prefix *out, struct err_note *note) MUST_CHECK;

#endif
