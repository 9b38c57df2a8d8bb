/* Shared by the daemon's files only: router.c (loop and core), router_plane.c (the loop and the data plane), router_dns.c (names), attach.c (containers), plane.c (kernel and
 * userspace path). */
#ifndef WEFT_ROUTER_INTERNAL_H
#define WEFT_ROUTER_INTERNAL_H

#include "base/map.h"
#include "router/batch.h"
#include "router/conns.h"
#include "router/dns_server.h"
#include "router/identity.h"
#include "router/log.h"
#include "router/plane.h"
#include "router/router.h"
#include "router/store.h"

struct api;
struct dns_server;
struct docker_keeper;
struct plugin;

struct request { /* one that waits for the core's answer */
	uint64_t number;
	router_done done;
	void *ctx;
	bool ipam;     /* to be cancelled there as well */
	bool answered; /* the answer waits in the batch, with this error: */
	enum err err;
};

struct undelivered { /* to be told to the core when the step that sent it is over */
	enum core_via via;
	uint64_t peer, id;
	enum err err;
};

#define ASKER_NETWORKS_MAX 64 /* of one container; names of further ones it does not see */
struct asker {                /* asker.c: the networks of who asks for a name; they belong to the core's endpoints */
	const char *networks[ASKER_NETWORKS_MAX];
	size_t n;
};

struct router {
	uv_loop_t *loop;
	const struct options *opt;
	struct log *log;
	struct store *store;
	struct identity id;
	struct core *core;
	struct conns *conns;
	struct plane *plane;
	struct path_offer offer; /* as the core was told last */
	uv_poll_t plane_poll;
	uv_timer_t tick, late;
	struct undelivered *late_v;
	size_t n_late, cap_late;
	struct dns_server *dns;
	struct resolvers *resolvers;
	struct asker asker; /* the last one */
	bool dns_broken;    /* what was to be listened on for networks was not */
	struct api *api;
	struct docker_keeper *keeper; /* NULL: Docker is switched off */
	struct plugin *plugin;        /* NULL: not served */
	struct batch *batch;
	uv_prepare_t before_poll;
	uv_check_t after_poll;
	bool stepped;         /* since the timer was set */
	struct map *requests; /* number -> struct request */
	struct map *verifies; /* number -> struct verify */
	struct map *attaches; /* number -> struct attach: its outer request */
	struct map *exposing; /* number -> struct expose_op: the same */
	struct plane_exposed *exposed;
	size_t n_exposed, cap_exposed;
	struct map *namings; /* number -> struct naming: Docker is asked which container it is about */
	uint64_t next_request;
	uv_timer_t timer, forwarding, check;
	uv_poll_t links; /* the kernel's word that interfaces went */
	int links_fd;
	bool timer_open, links_open, plane_open, stopping, plane_dirty, check_soon;
	bool blind;             /* a bridge was gone at the last look for containers */
	bool erased;            /* reset: nothing is stored any more */
	uint64_t plane_rest_ms; /* not before: applying may take a fifth of the time, whatever it costs */
	size_t plane_failures;  /* seen so far */
	struct map *gone;       /* ident -> struct gone: ours whose interface is not there */
	int closing;            /* parts whose handles are still closing */
	void (*stopped)(void *ctx);
	void *stopped_ctx;
	char fatal[256];
	uint64_t epoch_told; /* ranges reclaimed up to this one are no news */
	bool epoch_seen;
	uint64_t started_ms, steps, wall_base_ms; /* wall clock minus monotonic, ms */
};

/* router.c. One step of the core and what follows from it. ERR_CLOSED: none is made any more. */
enum err router_run(struct router *r, const struct core_event *ev);
/* Has the core answered, so that what it did stands, though the asker is told only when it is durable? Gives the answer's error. */
bool router_decided(const struct router *r, uint64_t request, enum err *err);

/* keep.c */
#define ROUTER_KEEP "keep/" /* before the keys of the daemon's own records */

/* router_plane.c */
#define ROUTER_LATE_MAX 4096 /* undelivered datagrams that wait to be told */
/* router_state.c, at the start: first what was set aside of the range is brought back, then all is handed to the core. */
enum err router_bring_back(struct router *r, struct universe u, struct err_note *note) MUST_CHECK;
enum err router_restore(struct router *r, struct err_note *note) MUST_CHECK;
void router_make_offer(struct router *r); /* by the options: the kernel has not been asked yet */
enum err router_open_plane(struct router *r, struct err_note *note) MUST_CHECK;
/* From now on the core hears of datagrams and traffic, and of what the kernel lacks. */
enum err router_watch_plane(struct router *r, struct err_note *note) MUST_CHECK;
void router_forwarding(struct router *r); /* is to be applied */
/* Before those of these steps are sent. */
void router_before_datagrams(struct router *r, const struct core_actions *steps, size_t n);
void router_send_datagram(struct router *r, const struct core_action *a);

/* resolvers.c */
void resolvers_follow(struct router *r); /* now and then: the host's name servers are led to us */
void resolvers_end(struct router *r);    /* in an orderly end: they are asked themselves again */
/* asker.c: see dns_server_cfg; ctx is the router */
enum dns_asker router_asker(void *ctx, struct ip from, const char *network, struct dns_view *view);
/* router_dns.c */
enum err router_open_dns(struct router *r, struct err_note *note) MUST_CHECK; /* unless it is switched off */
/* Containers of each network that has devices here now are answered. Failures are logged and tried again by the next call. */
void router_dns_networks(struct router *r);

/* attach.c */
/* Ends all that wait, with an answer. */
void attach_end_all(struct router *r, enum err err, const char *text);
bool attach_cancel(struct router *r, uint64_t request);
/* At start: what the kernel says is attached against what the core was told; from then on attach_check. */
enum err attach_reconcile(struct router *r, struct err_note *note) MUST_CHECK;
#define ATTACH_CHECK_MS  5000
#define ATTACH_NOTICE_MS 250   /* after the kernel said that an interface went */
#define ATTACH_GONE_MS   30000 /* without its interface a container keeps its addresses for so long: it may be restarting */
/* A container whose namespace went without a detach: its names go at once, its addresses after ATTACH_GONE_MS. */
void attach_check(struct router *r);
/* Asks to be told when interfaces go. Without it attach_check finds out later. */
void attach_watch(struct router *r);
void attach_free(struct router *r); /* what attach_check remembers */

#endif
