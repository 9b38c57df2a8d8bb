/* Shared by plugin*.c.
 *
 * Theory of operation. dockerd asks by several connections at once; each request is a call, which is answered at once or waits for something: an
 * address, the disk, Docker's word on what a network is called. Nothing waits in the loop. What dockerd was told is on disk before (plugin_records.c).
 *
 *   pool      what addresses are asked of: RequestPool … ReleasePool. Holds leases of the idents "dockerip:TAG:…", one an address
 *   network   CreateNetwork … DeleteNetwork: its name in weft, its pools
 *   endpoint  CreateEndpoint … DeleteEndpoint: core_local("docker:" ‖ EndpointID), and what it was made of
 *
 * A call whose asker goes while it waits is undone: nobody knows of what it made. What is left behind otherwise, because one of the two daemons was not
 * there when something went, is found by plugin_reconcile.c. */
#ifndef WEFT_ROUTER_DOCKER_PLUGIN_INTERNAL_H
#define WEFT_ROUTER_DOCKER_PLUGIN_INTERNAL_H

#include "base/map.h"
#include "base/mem.h"
#include "router/docker/plugin.h"
#include "router/docker/plugin_request.h"
#include "router/log.h"
#include "router/server.h"

#define PLUGIN_LEASE        "dockerip:" /* how idents of leases begin */
#define PLUGIN_IDENT        "docker:"   /* how idents of endpoints begin */
#define PLUGIN_SPACE_LOCAL  "weft"
#define PLUGIN_SPACE_GLOBAL "weftglobal"
#define PLUGIN_IFNAME_N     15
#define PLUGIN_ADDR_MAX     2
#define PLUGIN_SANDBOX_N    8

enum {
	PLUGIN_RECORDS_MAX = 65536, /* pools, networks, endpoints: of each */
	PLUGIN_WAIT_MS = 45000,     /* for an address; dockerd itself would wait for ever */
	PLUGIN_NAME_TRIES = 5,      /* questions for a network's name after it was made */
	PLUGIN_TICK_MS = 500,
	PLUGIN_ADOPT_MS = 2000,   /* for the mesh to tell of a network before it is made anew for containers that are there */
	PLUGIN_UNUSED_MS = 60000, /* an address that no endpoint came for: longer than one waits for the next one */
};

struct plugin_pool {
	char id[PLUGIN_POOL_ID_MAX + 1];
	struct plugin_pool_id spec;
	struct ip gateway; /* as dockerd knows it: the tag, or what --gateway said */
	struct plugin_reserved {
		struct ip addr;
		uint64_t claim; /* the router's request, while another host has not said yet that it may be ours */
	} reserved[PLUGIN_AUX_MAX];
	size_t n_reserved;
	uint64_t since_ms; /* when it was seen to be of a network last */
	bool fresh;        /* asked for since the start: Docker cannot tell more of it than we know */
	/* Made again from what Docker tells (plugin_learn.c), which is not its id: the tag is one of ours, until dockerd names the pool. */
	bool guessed;
	struct ip former; /* that tag, afterwards: leases may have it; family 0: none */
};

/* err, and why. */
typedef void (*plugin_done)(void *ctx, enum err err, const char *text);
struct plugin_waiter {
	struct plugin_waiter *next;
	plugin_done done;
	void *ctx;
};

struct plugin_net {
	struct plugin *p;
	char id[DOCKER_ID_MAX + 1];
	char name[CORE_NETWORK_MAX + 1]; /* in weft; "": not known yet */
	bool created, allocated;         /* by CreateNetwork, here; by AllocateNetwork, for a swarm that this host manages */
	bool internal;
	bool foreign; /* its addresses come from another IPAM driver than ours */
	bool gives;   /* that is the null one: CreateEndpoint gives them */
	struct plugin_options options;
	char pools[2 * PLUGIN_POOLS_MAX][PLUGIN_POOL_ID_MAX + 1];
	size_t n_pools;
	/* making sure of it: plugin_net_use */
	struct plugin_waiter *waiters;
	bool busy;         /* naming or creating goes on */
	bool suspect;      /* Docker did not know of it at the last look */
	bool fresh;        /* its CreateNetwork is not answered yet: Docker cannot know of it */
	uint64_t question; /* docker.h */
	uint64_t creating; /* router.h */
	uint64_t adopt_ms; /* when to look for containers of it that nobody here knows; 0: not */
	unsigned tries;    /* of asking by ourselves */
	uint64_t ask_ms;   /* when next; 0: not */
};

struct plugin_endpoint {
	char id[DOCKER_ID_MAX + 1];
	char net[DOCKER_ID_MAX + 1]; /* "": not known, since the record was lost: its interface was found */
	char ifname[PLUGIN_IFNAME_N + 1];
	struct prefix addrs[PLUGIN_ADDR_MAX];
	size_t n_addrs;
	struct mac mac;
	char sandbox[2 * PLUGIN_SANDBOX_N + 1]; /* which container it was joined to: a hash; "": none */
	uint8_t dns_len, multicast_len;         /* routes given by Join: of which length; 0: none */
	bool making, removing;
	bool suspect; /* Docker did not know of it at the last look */
	uint64_t since_ms;
	char container[DOCKER_ID_MAX + 1]; /* whose it is, while that is to be asked about; "": not */
};

/* plugin_learn.c */
struct plugin_learning {
	bool busy;
	uint64_t question, began_ms;
	struct plugin_waiter *waiters;
	char (*ids)[DOCKER_ID_MAX + 1]; /* of networks to be asked about */
	size_t n_ids, cap, at;
	bool nomem;
};

struct plugin_call;
struct plugin {
	struct router *r;
	struct server *server;
	char *socket;
	struct map *pools, *nets, *endpoints; /* by id */
	struct plugin_call *calls;            /* that wait */
	uv_timer_t tick;
	struct map *unused; /* leases without an endpoint: ident -> struct unused (plugin_reconcile.c) */
	uint64_t unused_ms; /* for how long one may be that */
	uint64_t look_ms;   /* when for leases, and when at Docker, next */
	uint64_t ask_ms;
	uint64_t question; /* of docker.h */
	struct plugin_learning learning;
	char asked[DOCKER_ID_MAX + 1];
	struct map *outside; /* plugin_outside.c: address on docker_gwbridge -> whose; NULL: not known */
	uint64_t outside_question, outside_rest_ms;
	bool outside_stale; /* somebody joined or left since the question */
	bool was_connected;
	bool adopt; /* networks are there whose containers may not be known */
	bool stopping, tick_open;
	uint64_t n_calls, n_failed;
	int closing;
	void (*done)(void *ctx);
	void *ctx;
};

struct plugin_call {
	struct plugin *p;
	struct api_request *q; /* NULL: whoever asked has gone */
	const char *method;
	bool ipam; /* errors stand under "Error" there */
	struct plugin_call *prev, *next;
	/* The asker has gone, or the time is up: end what waits, and answer. NULL: what waits ends by itself soon. */
	void (*stop)(struct plugin_call *c, enum err err, const char *text);
	void *work;
	uint64_t pending; /* the router's request */
	uint64_t since_ms;
	bool timed; /* PLUGIN_WAIT_MS counts */
};

/* plugin.c. Answering ends the call. */
void plugin_ok(struct plugin_call *c, json_t *answer); /* takes the reference; NULL: out of memory */
void plugin_fail(struct plugin_call *c, enum err err, const char *text);
void plugin_submit_quietly(struct plugin *p, struct core_event *ev);
void plugin_free_lease(struct plugin *p, const char *ident, struct ip addr); /* family 0: all of the ident */
struct prefix plugin_range(const struct plugin *p);
/* What holds an address here: an ident, or NULL. */
const char *plugin_holder(const struct plugin *p, struct ip v4);
uint64_t plugin_random(void);

/* plugin_outside.c */
void plugin_hash_sandbox(
	const char *key, char out[2 * PLUGIN_SANDBOX_N + 1]); /* of a SandboxKey, by its last part: the sandbox's short id */
void plugin_outside_forget(struct plugin *p);             /* somebody joins or leaves */
void plugin_outside_end(struct plugin *p);

/* plugin_ipam.c */
void plugin_request_pool(struct plugin_call *c, const json_t *body);
void plugin_release_pool(struct plugin_call *c, const json_t *body);
void plugin_request_address(struct plugin_call *c, const json_t *body);
void plugin_release_address(struct plugin_call *c, const json_t *body);
/* plugin_pools.c */
bool plugin_is_lease(const char *ident);                                               /* one of a pool's */
void plugin_lease_ident(const struct plugin_pool *pool, char out[IPAM_IDENT_MAX + 1]); /* a new one */
/* The lease that stands for an address of the pool. */
bool plugin_lease_address(const struct plugin *p, const struct plugin_pool *pool, struct ip a, struct ip *v4);
bool plugin_lease_unused(const struct plugin *p, const char *ident, struct ip v4);
void plugin_free_leases(struct plugin *p, const struct plugin_pool *pool);
size_t plugin_reserved_at(const struct plugin_pool *pool, struct ip a); /* n_reserved: it is not */
bool plugin_is_reserved(const struct plugin_pool *pool, struct ip a);
void plugin_claim_reserved(struct plugin *p, struct plugin_pool *pool, struct plugin_reserved *r);
/* After the start: what is reserved and not held is claimed. */
void plugin_reserve_all(struct plugin *p);
/* The lease behind an IPv6 address of one of the network's pools. */
void plugin_claim6(struct plugin *p, const struct plugin_net *n, struct ip v6);
bool plugin_tag_in_use(const struct plugin *p, struct ip tag);
struct plugin_pool *plugin_pool_new(struct plugin *p, const struct plugin_pool_id *spec); /* NULL: out of memory */
void plugin_pool_drop(struct plugin *p, struct plugin_pool *pool);
void plugin_drop_unlinked(struct plugin *p); /* pools that no network was made of */
/* The pool that dockerd speaks of in CreateNetwork. NULL: none. */
struct plugin_pool *plugin_pool_of(const struct plugin *p, const struct plugin_subnet *s);
struct plugin_net *plugin_net_of_pool(const struct plugin *p, const char *pool_id);
/* By dockerd's id; also one that was made again without it. NULL: none. */
struct plugin_pool *plugin_pool_known(struct plugin *p, const char *id);
struct plugin_pool *plugin_pool_find(struct plugin *p, const char *id); /* the same, or made of what its id says */
/* The pool of a network that Docker tells of, made if it is not there. NULL: out of memory, or too many. */
struct plugin_pool *plugin_pool_learn(struct plugin *p, const struct plugin_subnet *s);

/* plugin_reconcile.c */
void plugin_reconcile(struct plugin *p); /* called every PLUGIN_TICK_MS */
void plugin_reconcile_end(struct plugin *p);

/* plugin_learn.c: what Docker has of ours and we have no record of. done may be NULL; called once, perhaps at once. */
void plugin_learn(struct plugin *p, plugin_done done, void *ctx);
void plugin_learn_end(struct plugin *p);
/* How a call is refused whose network or pool is not known, also to Docker. err and why: what plugin_learn said. */
void plugin_say_lost(struct err_note *note, const char *what, enum err err, const char *why);

/* plugin_network.c */
void plugin_create_network(struct plugin_call *c, const json_t *body);
void plugin_delete_network(struct plugin_call *c, const json_t *body);
void plugin_allocate_network(struct plugin_call *c, const json_t *body);
void plugin_free_network(struct plugin_call *c, const json_t *body);
/* Makes sure that its name is known and that the network is there in the core. Calls done once, perhaps at once. */
void plugin_net_use(struct plugin_net *n, plugin_done done, void *ctx);
/* Whether what it was told of the network still fits what there is. */
struct prefix plugin_net_subnet(const struct plugin_net *n); /* where its addresses come from */
void plugin_net_forget(struct plugin_net *n);                /* Docker has none any more: it goes, and what is left of it */
struct plugin_net *plugin_net_new(struct plugin *p, const char *id); /* NULL: out of memory */
void plugin_net_drop(struct plugin_net *n);                          /* out of the map; waiters are told */
void plugin_nets_tick(struct plugin *p);
void plugin_nets_adopt(
	struct plugin *p); /* at the start: containers of networks that were not there in the core when the kernel was looked at */
void plugin_nets_end(struct plugin *p); /* the daemon stops: who waits is told */

/* plugin_endpoint.c */
void plugin_create_endpoint(struct plugin_call *c, const json_t *body);
void plugin_delete_endpoint(struct plugin_call *c, const json_t *body);
void plugin_endpoint_info(struct plugin_call *c, const json_t *body);
void plugin_join(struct plugin_call *c, const json_t *body);
void plugin_leave(struct plugin_call *c, const json_t *body);
void plugin_external(struct plugin_call *c, const json_t *body);
/* It is in the container whose network namespace has this name, and routes to the common places are chosen: Join, or Docker's word after that was lost. */
void plugin_endpoint_joined(struct plugin *p, struct plugin_endpoint *e, const char *sandbox);
/* The endpoint that has this address, other than `except`. */
const struct plugin_endpoint *plugin_endpoint_with(const struct plugin *p, struct ip addr, const char *except);
void plugin_endpoint_ident(const struct plugin_endpoint *e, char out[CORE_IDENT_MAX + 1]);
/* Removes it, its record and its leases. done may be NULL. */
void plugin_endpoint_remove(struct plugin *p, struct plugin_endpoint *e, plugin_done done, void *ctx);

/* One that Docker says is on the network. */
void plugin_endpoint_learn(struct plugin *p, const struct plugin_net *n, const struct plugin_endpoint_request *req);

/* At the start: endpoints that the kernel shows and of which no record is. */
enum err plugin_adopt(struct plugin *p, struct err_note *note) MUST_CHECK;

/* plugin_records.c */
enum err plugin_load(struct plugin *p, struct err_note *note) MUST_CHECK;
void plugin_unload(struct plugin *p);
/* On disk; done may be NULL. */
void plugin_keep_pool(struct plugin *p, const struct plugin_pool *pool, router_done done, void *ctx);
void plugin_keep_net(struct plugin *p, const struct plugin_net *n, router_done done, void *ctx);
void plugin_keep_endpoint(struct plugin *p, const struct plugin_endpoint *e, router_done done, void *ctx);
void plugin_forget(struct plugin *p, const char *kind, const char *id, router_done done, void *ctx); /* "pool", "net", "ep" */

#endif
