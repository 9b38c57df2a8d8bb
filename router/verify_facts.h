/* The facts of this moment, as verify.h has them; they point into the core and are to be compared before anything else is done. */
#ifndef WEFT_ROUTER_VERIFY_FACTS_H
#define WEFT_ROUTER_VERIFY_FACTS_H

#include "router/docker/docker.h"
#include "router/verify.h"

struct router;
/* docker: what Docker last said (NULL: it was not to be asked). All memory is the arena's. */
enum err verify_facts(struct router *r, const struct docker_listed *docker, size_t n_docker, bool docker_known,
	struct arena *arena, struct verify_facts *out, struct err_note *note) MUST_CHECK;

#endif
