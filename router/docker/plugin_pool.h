/* Arithmetic of pools: which part of the range is a network's, which IPv6 address belongs to an IPv4 one, what ids of pools say. Pure.
 *
 * A pool is what dockerd asked addresses of: `--subnet`, or nothing, which stands for "whatever is the network's". RequestPool does not say for which
 * network it is. What ties the two together is the gateway: RequestPool answers one of its own making (a tag), which dockerd repeats in CreateNetwork.
 * No container uses it. Tags are link-local addresses; for a swarm, where several hosts make them, addresses of 240.0.0.0/4. */
#ifndef WEFT_ROUTER_DOCKER_PLUGIN_POOL_H
#define WEFT_ROUTER_DOCKER_PLUGIN_POOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/err.h"

#define PLUGIN_POOL_ID_MAX 160

/* The range is cut into slices, one for each network that names no subnet: 256 of them, or as many as leave each a /24. */
unsigned plugin_slice_len(struct prefix range);
/* The slice for a network of that name: by its hash, or the next one that overlaps none of those given. ERR_FULL. */
enum err plugin_slice(
	struct prefix range, const char *name, const struct prefix *taken, size_t n_taken, struct prefix *out) MUST_CHECK;

/* Has the IPv6 pool an address for each of the range? */
bool plugin_pool6_fits(struct prefix range, struct prefix pool6);
struct ip plugin_addr6(struct prefix range, struct prefix pool6, struct ip v4);
/* false: it is no address of the pool, or none that belongs to one of the range. */
bool plugin_addr4(struct prefix range, struct prefix pool6, struct ip v6, struct ip *v4);

/* A tag made of random bits. */
struct ip plugin_tag(bool v6, bool global, uint64_t random);
bool plugin_is_tag(struct ip a);

struct plugin_pool_id {
	struct prefix pool, sub; /* sub: family 0: none */
	bool any;                /* no subnet was named */
	bool global;
	struct ip tag;
};
/* "weft-10.40.0.0_16-10.40.1.0_24-169.254.3.4", "weft-any-10.32.0.0_12-169.254.3.4"; of a swarm "weftg-…". All of a pool that is ever needed
 * stands in it, so that an id is understood also by a daemon that has lost its records. */
void plugin_pool_id_format(const struct plugin_pool_id *p, char out[PLUGIN_POOL_ID_MAX + 1]);
enum err plugin_pool_id_parse(const char *text, struct plugin_pool_id *out) MUST_CHECK;

#endif
