/* Docker's containers as weft sees them: their names, kept by what Docker tells. */
#ifndef WEFT_ROUTER_DOCKER_CONTAINERS_H
#define WEFT_ROUTER_DOCKER_CONTAINERS_H

#include "router/docker/docker.h"
#include "router/router.h"

struct docker_keeper;
/* Opens Docker's API as options say; no Docker is no error. */
enum err docker_keeper_start(struct docker_keeper **out, struct router *r, struct err_note *note) MUST_CHECK;
void docker_keeper_stop(struct docker_keeper *k, void (*stopped)(void *ctx), void *ctx); /* frees it */
/* The core was told this (router_run): endpoints and names come and go by others as well. */
void docker_keeper_told(struct docker_keeper *k, const struct core_event *ev);
/* As docker_stats, with what is the keeper's. */
void docker_keeper_stats(const struct docker_keeper *k, struct docker_stats *out);

/* A container was attached by its Docker name or id: it shall be attached again with the same addresses and MAC whenever it is started again, until it is
 * detached or removed. request: the body it was asked for with. On disk with the commit of this turn of the loop. */
void docker_keeper_wish(struct docker_keeper *k, const char *id, pid_t pid, const json_t *request);
/* It was detached, from some addresses or from all. */
void docker_keeper_unwish(struct docker_keeper *k, const char *id);
/* It is not to be attached again, though it is not attached now: it waits for an address, or does not run. false: it was not to be anyway. */
bool docker_keeper_forget(struct docker_keeper *k, const char *id);

/* At once, by what is known of running containers: the idents of all endpoints of the one of that name or id (prefix); none, when it is not known, or not for
 * sure. */
typedef void (*docker_each_ident)(void *ctx, const char *ident);
void docker_keeper_idents(const struct docker_keeper *k, const char *container, docker_each_ident each, void *ctx);

/* The idents of the endpoints of the container that this one belongs to, it among them; k may be NULL. */
void docker_keeper_siblings(const struct docker_keeper *k, const char *ident, docker_each_ident each, void *ctx);

/* What Docker calls the container that an ident belongs to; NULL: none of Docker's, or not known (yet). host (may be NULL): its host name, with its domain. */
const char *docker_keeper_name(const struct docker_keeper *k, const char *ident, char host[2 * (DOCKER_NAME_MAX + 1)]);

struct docker_keeper *router_keeper(const struct router *r); /* NULL: Docker is switched off */
struct docker *docker_keeper_docker(const struct docker_keeper *k);

#endif
