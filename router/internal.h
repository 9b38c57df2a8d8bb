/* Shared by the daemon's files only: router.c (loop and core), attach.c (containers), plane.c (kernel and userspace path). */
#ifndef WEFT_ROUTER_INTERNAL_H
#define WEFT_ROUTER_INTERNAL_H

#include "base/map.h"
#include "router/conns.h"
#include "router/identity.h"
#include "router/log.h"
#include "router/plane.h"
#include "router/router.h"
#include "router/store.h"

#define ROUTER_DEPTH_MAX 8 /* a reply's callback may submit, whose reply may submit, … */

struct api;
struct dns_server;

struct request { /* one that waits for the core's answer */
	uint64_t number;
	router_done done;
	void *ctx;
	bool ipam; /* to be cancelled there as well */
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
	struct dns_server *dns;
	struct api *api;
	struct arena *arenas[ROUTER_DEPTH_MAX];
	int depth;
	struct map *requests; /* number -> struct request */
	struct map *attaches; /* number -> struct attach: its outer request */
	uint64_t next_request;
	uv_timer_t timer, forwarding;
	bool timer_open, stopping, plane_dirty;
	int closing; /* parts whose handles are still closing */
	void (*stopped)(void *ctx);
	void *stopped_ctx;
	char fatal[256];
	uint64_t started_ms, steps, wall_base_ms; /* wall clock minus monotonic, ms */
};

/* attach.c */
void attach_free_all(struct router *r);
bool attach_cancel(struct router *r, uint64_t request);
/* At start: what the kernel says is attached against what the core was told. */
enum err attach_reconcile(struct router *r, struct err_note *note) MUST_CHECK;

#endif
