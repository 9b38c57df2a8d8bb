/* What Docker knows of its containers and networks: asked through its API (--docker-host), in the loop, never waiting.
 *
 * Every question has a time limit and a limit of its answer's length; no Docker, a dead, slow or hanging one is an error like another. Docker may be
 * waiting for an answer of ours while we ask (a plugin's call): such questions need a short limit and a way on without an answer. Beside questions
 * there is the stream of Docker's events (events.c), by which containers' names and addresses are kept (containers.c). Control thread only. */
#ifndef WEFT_ROUTER_DOCKER_DOCKER_H
#define WEFT_ROUTER_DOCKER_DOCKER_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <uv.h>

#include "base/addr.h"
#include "base/err.h"

#define DOCKER_ID_MAX         64   /* bytes of an id: 64 hex digits, or 25 of base 36 (networks of a swarm) */
#define DOCKER_NAME_MAX       255  /* of a name; longer ones do not exist for us */
#define DOCKER_PATH_MAX       4095 /* of a file's path */
#define DOCKER_ENDPOINTS_MAX  64   /* networks of one container */
#define DOCKER_ALIASES_MAX    64   /* of one container on one network */
#define DOCKER_CONTAINERS_MAX 65536
#define DOCKER_NETWORKS_MAX   65536
#define DOCKER_ANSWER_MAX     (16u << 20)  /* bytes of one answer */
#define DOCKER_EVENT_MAX      (256u << 10) /* bytes of one event */
#define DOCKER_LIMIT_MS       10000        /* for one answer, unless another time is named */
#define DOCKER_LIMIT_SHORT_MS 2000         /* for questions asked while somebody waits */

struct docker;

struct docker_network {
	char id[DOCKER_ID_MAX + 1], name[DOCKER_NAME_MAX + 1], driver[DOCKER_NAME_MAX + 1];
	char scope[16]; /* "local", "swarm" */
	bool internal;
	const json_t *labels;  /* an object, perhaps an empty one; never NULL */
	const json_t *options; /* the same: its -o options */
	const json_t *
		containers; /* the same: those that are on it now, by id, with Name, EndpointID, IPv4Address, IPv6Address; in a list: none */
	const json_t *ipam; /* the same: Driver, Config … */
};

struct docker_endpoint { /* a container on a network */
	char network_id[DOCKER_ID_MAX + 1], network[DOCKER_NAME_MAX + 1];
	char endpoint_id[DOCKER_ID_MAX + 1]; /* "": not joined (it does not run) */
	struct mac mac;                      /* zeros: none */
	struct prefix addr, addr6;           /* family 0: none */
	const char **aliases;                /* what others may call it there, but for its name */
	size_t n_aliases;
};

struct docker_container {
	char id[DOCKER_ID_MAX + 1], name[DOCKER_NAME_MAX + 1]; /* the name without its slash */
	pid_t pid;                                             /* 0: does not run */
	bool running;
	char hostname[DOCKER_NAME_MAX + 1], domainname[DOCKER_NAME_MAX + 1];
	char network_mode[DOCKER_NAME_MAX + 16]; /* "default", "host", "container:ID", "none", a network's name */
	const char *resolv_conf, *hosts;         /* files of the host that it sees in /etc; "": none */
	const char *sandbox;                     /* its network namespace's file, as plugins hear of it in Join; "": none */
	struct docker_endpoint *endpoints;
	size_t n_endpoints;
};

struct docker_listed { /* a running container, and its place on one network (""): one for the container itself */
	char id[DOCKER_ID_MAX + 1], name[DOCKER_NAME_MAX + 1], endpoint[DOCKER_ID_MAX + 1];
};
#define DOCKER_LISTED_MAX (4u * DOCKER_CONTAINERS_MAX)

/* err, and on errors why: a line for a person. What is pointed to is valid until the call returns.
 * ERR_NOT_FOUND: Docker says there is none. ERR_CONFLICT: more than one begins like that. ERR_STATE: Docker is switched off (--docker-host ""), or asked
 * too much at once. ERR_UNREACHABLE: nobody answers there. ERR_TIMEOUT. ERR_LIMIT: an answer that is too long. ERR_MALFORMED: one that is none. ERR_REFUSED:
 * another error of Docker's. ERR_CLOSED: the daemon is stopping. ERR_NOMEM. */
typedef void (*docker_network_done)(void *ctx, enum err err, const char *why, const struct docker_network *n);
typedef void (*docker_container_done)(void *ctx, enum err err, const char *why, const struct docker_container *c);

typedef void (*docker_list_done)(void *ctx, enum err err, const char *why, const struct docker_listed *v, size_t n);

/* The callback is called once, unless the question is cancelled; perhaps before the call returns, which then gives 0. limit_ms 0: DOCKER_LIMIT_MS. */
uint64_t docker_get_network(struct docker *d, const char *id_or_name, unsigned limit_ms, docker_network_done done, void *ctx);
/* All networks: `each` for every one that can be read, then done; on errors only done. */
typedef void (*docker_each_network)(void *ctx, const struct docker_network *n);
typedef void (*docker_each_done)(void *ctx, enum err err, const char *why);
uint64_t docker_list_networks(struct docker *d, unsigned limit_ms, docker_each_network each, docker_each_done done, void *ctx);
/* By full id, name, or what an id begins with, in this order, as docker does. */
uint64_t docker_find_container(
	struct docker *d, const char *name_or_id, unsigned limit_ms, docker_container_done done, void *ctx);
/* All that run. */
uint64_t docker_list(struct docker *d, unsigned limit_ms, docker_list_done done, void *ctx);
/* All containers, running or not: `each` for every one, then done; on errors only done. */
typedef void (*docker_each)(void *ctx, const char *id, bool running);
uint64_t docker_each_container(struct docker *d, unsigned limit_ms, docker_each each, docker_each_done done, void *ctx);
void docker_cancel(struct docker *d, uint64_t question); /* takes 0, and what is answered already */

/* Is Docker to be asked at all (--docker-host), and is its stream of events there, so that it is worth while? */
bool docker_on(const struct docker *d); /* takes NULL */
bool docker_connected(const struct docker *d);

struct docker_stats {
	uint64_t questions, failures, timeouts, events, events_bad, connects, resyncs, resync_failures;
	size_t asking;     /* questions not answered yet */
	size_t containers; /* that run */
	size_t named;      /* endpoints that have names */
	size_t wishes;     /* containers that were attached by name or id, and will be again */
	char version[32];  /* Docker's; "": not known */
	char trouble[200]; /* why it is not connected; "": it is, or is off */
	uint64_t since_ms; /* connected or not; loop's time */
};
void docker_stats(const struct docker *d, struct docker_stats *out);

/* The stream of events, for who opened it (containers.c). */
struct docker_event;
struct log;
struct docker_cfg {
	uv_loop_t *loop;
	const char *host; /* unix:///PATH or tcp://ADDRESS:PORT */
	struct log *log;  /* may be NULL */
	uint64_t seed;
	/* The stream is there (again): whatever happened before was missed, and all that happens from now on will come. */
	void (*connected)(void *ctx);
	void (*event)(void *ctx, const struct docker_event *e);
	void (*lost)(void *ctx);
	void *ctx;
};
/* Tries to connect from now on, for ever. ERR_USAGE: host is of no known form; ERR_NOMEM. */
enum err docker_open(struct docker **out, const struct docker_cfg *cfg, struct err_note *note) MUST_CHECK;
/* Questions that wait are answered ERR_CLOSED. closed: the loop has nothing of it any more. */
void docker_close(struct docker *d, void (*closed)(void *ctx), void *ctx);

struct router;
/* NULL: switched off, or not yet. All the above take it and say ERR_STATE. */
struct docker *router_docker(const struct router *r);

#endif
