/* Shared by containers.c (what Docker tells of containers), names.c (their names) and wishes.c (attaching them again) only. */
#ifndef WEFT_ROUTER_DOCKER_KEEPER_H
#define WEFT_ROUTER_DOCKER_KEEPER_H

#include <uv.h>

#include "base/map.h"
#include "router/docker/containers.h"
#include "router/docker/inspect.h"
#include "router/log.h"

#define KEEPER_ASKING_MAX  8 /* containers inspected at once: other questions must not wait for these */
#define KEEPER_RETRY_MS    2000
#define KEEPER_RETRIES_MAX 5
#define KEEPER_COMPLAIN_MS (10 * 60 * 1000)
#define KEEPER_NAMES_MAX   (3 + DOCKER_ALIASES_MAX) /* of one container on one network */
#define KEEPER_ENDPOINT    "docker:"                /* idents of the plugin's endpoints: that and Docker's EndpointID */
#define KEEPER_IDENT_MAX   (sizeof(KEEPER_ENDPOINT) + DOCKER_ID_MAX)

struct texts { /* a set of strings of its own */
	char **v;
	size_t n, cap;
};
void texts_free(struct texts *t);
bool texts_has(const struct texts *t, const char *s);
enum err texts_add(struct texts *t, const char *s) MUST_CHECK; /* nothing happens when it is there */

struct seen_endpoint {
	char id[DOCKER_ID_MAX + 1], network_id[DOCKER_ID_MAX + 1];
	struct texts aliases;
};
struct docker_keeper;
struct seen { /* a container that runs, or is said to */
	struct docker_keeper *k;
	char id[DOCKER_ID_MAX + 1], name[DOCKER_NAME_MAX + 1], hostname[DOCKER_NAME_MAX + 1], domainname[DOCKER_NAME_MAX + 1];
	bool known; /* it has been inspected, and what stands here is true until an event says otherwise */
	pid_t pid;
	uint64_t question; /* it is being inspected */
	bool again;        /* something has changed since that was asked */
	bool queued;
	struct seen *next; /* in the queue */
	unsigned failures;
	uint64_t generation;
	struct seen_endpoint *endpoints;
	size_t n_endpoints;
};

struct put { /* names put for one ident */
	char ident[KEEPER_IDENT_MAX + 1];
	struct texts names; /* canonical, with the final dot */
	struct ip *addrs;   /* that all of these names are put for */
	size_t n_addrs, cap_addrs;
	uint64_t generation;
};

struct wish;
struct docker_keeper {
	struct router *r;
	struct docker *docker;
	struct log *log;
	struct map *seen;      /* id -> struct seen */
	struct map *endpoints; /* EndpointID -> struct seen */
	struct map *puts;      /* ident -> struct put */
	struct map *wishes;    /* id -> struct wish */
	struct map *there;     /* ids that Docker has listed; only while a list is read */
	struct seen *first, *last;
	size_t asking;
	uint64_t generation, list;
	bool looking;    /* everything is being looked at */
	bool list_again; /* and that has to be begun anew */
	bool filling;    /* inside ask_next */
	bool stale;      /* names that seem to be nobody's are kept until all containers are known */
	bool own;        /* what the core is told now comes from here */
	uv_timer_t retry;
	uint64_t told;              /* how many connections GET /events has heard of */
	uint64_t complained_ms;     /* 0: not yet */
	struct docker_stats counts; /* resyncs */
	int closing;
	void (*stopped)(void *ctx);
	void *stopped_ctx;
};

/* names.c */
enum err names_load(struct docker_keeper *k, struct err_note *note) MUST_CHECK;
void names_free_all(struct docker_keeper *k);
/* A container of which all is known: the names of all its endpoints that are there are as they should be. */
void names_of_container(struct docker_keeper *k, const struct seen *s);
/* All names of that ident go, by whomever they were put: its container does not run. */
void names_end(struct docker_keeper *k, const char *ident);
/* The core has forgotten them already. family 0: all. */
void names_lost(struct docker_keeper *k, const char *ident, struct ip addr);
/* Those that nobody has asked for since `generation` began. */
void names_drop_stale(struct docker_keeper *k);

/* wishes.c */
enum err wishes_load(struct docker_keeper *k, struct err_note *note) MUST_CHECK;
void wishes_free_all(struct docker_keeper *k);
bool wishes_without_dns(const struct docker_keeper *k, const char *id);
/* The container runs: attached again, if that was wished and is not so. */
void wishes_fulfil(struct docker_keeper *k, const struct seen *s);
void wishes_stopped(struct docker_keeper *k, const char *id);   /* it does not run: what is under way for it ends */
void wishes_destroyed(struct docker_keeper *k, const char *id); /* it will never run again */
/* All of those that are not in k->there. */
void wishes_drop_missing(struct docker_keeper *k);

#endif
