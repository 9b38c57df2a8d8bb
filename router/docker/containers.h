/* Docker's containers as weft sees them: their names, kept by what Docker tells. */
#ifndef WEFT_ROUTER_DOCKER_CONTAINERS_H
#define WEFT_ROUTER_DOCKER_CONTAINERS_H

#include "router/docker/docker.h"
#include "router/router.h"

struct docker_keeper;
/* Opens Docker's API as options say; no Docker is no error. */
enum err docker_keeper_start(struct docker_keeper **out, struct router *r, struct err_note *note) MUST_CHECK;
void docker_keeper_stop(struct docker_keeper *k, void (*stopped)(void *ctx), void *ctx); /* frees it */
struct docker *docker_keeper_docker(const struct docker_keeper *k);

#endif
