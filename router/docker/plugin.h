/* Docker's network and IPAM plugin: what dockerd asks by its plugin socket. docs/adr/0015-docker-networks.md says what a network is. */
#ifndef WEFT_ROUTER_DOCKER_PLUGIN_H
#define WEFT_ROUTER_DOCKER_PLUGIN_H

#include <jansson.h>

#include "router/router.h"

struct plugin;
/* Listens where options say (NULL in *out: they say nowhere). Trouble with the default path is logged and no error. */
enum err plugin_start(struct plugin **out, struct router *r, struct err_note *note) MUST_CHECK;
/* What waits is answered; then `done` is called and the plugin is gone. */
void plugin_stop(struct plugin *p, void (*done)(void *ctx), void *ctx);

/* For status and verify. Takes NULL (not served). */
struct plugin_view {
	const char *socket; /* "": none */
	size_t networks, pools, endpoints, waiting;
	uint64_t calls, failed;
};
void plugin_view(const struct plugin *p, struct plugin_view *out);
/* Endpoints that dockerd made and did not delete: their idents (core_local) in no order; *it starts at 0. */
bool plugin_next_endpoint(const struct plugin *p, size_t *it, char ident[CORE_IDENT_MAX + 1]);
/* Leases that stand for something else than the IPv4 address of an endpoint: gateways, --aux-address, IPv6 addresses; *it starts at 0. */
bool plugin_next_reserved(const struct plugin *p, size_t *it, struct ip *v4);
/* A lease of one of its pools that no endpoint uses just now: dockerd is about to make use of it, or has forgotten it, and then it is free again in a while. false: it is
 * used, or it should have been free by now. */
bool plugin_lease_waits(const struct plugin *p, const char *ident, struct ip v4);
/* The other endpoints of the container that this one is of; none, when it is none of the plugin's. p may be NULL. */
void plugin_each_sibling(const struct plugin *p, const char *ident, void (*each)(void *ctx, const char *ident), void *ctx);
/* Which container has that address on docker_gwbridge: the ident of one of its endpoints. NOT: none of ours, or it cannot be found out. LATER: dockerd has
 * been asked; router_askers_known is called when it has answered, or will not. p may be NULL. */
enum plugin_outside { PLUGIN_OUTSIDE_NOT, PLUGIN_OUTSIDE_FOUND, PLUGIN_OUTSIDE_LATER };
enum plugin_outside plugin_outside(struct plugin *p, struct ip addr, char ident[CORE_IDENT_MAX + 1]);
const struct plugin *router_plugin(const struct router *r); /* NULL: off */

#endif
