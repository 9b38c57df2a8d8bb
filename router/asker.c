/* What somebody who asks for a name may see: the containers of the networks that he is on.
 *
 * A network is isolated, so what another one's container is called is no answer for him: he could not reach it, and two networks may well have a `db`
 * each. A container on several networks sees the names of all. Who is no container of ours (the host itself, others that were let ask) sees everything,
 * and names that were put for no container are seen by all. docs/adr/0020-names-by-network.md */
#include <string.h>

#include "router/docker/containers.h"
#include "router/docker/plugin.h"
#include "router/internal.h"
#include "router/status.h"

#define CNI_IDENT "cni:" /* ‖ ContainerID ‖ / ‖ interface ‖ / ‖ network */

static void add_network(struct asker *a, const char *network)
{
	for (size_t i = 0; i < a->n; i++)
		if (strcmp(a->networks[i], network) == 0)
			return;
	if (a->n < ASKER_NETWORKS_MAX)
		a->networks[a->n++] = network;
}

static void add_ident(void *ctx, const char *ident)
{
	struct router *r = ctx;
	const struct core_endpoint *e = core_local(r->core, ident);

	if (e != NULL)
		add_network(&r->asker, e->network);
}

static void add_cni_siblings(struct router *r, const char *ident)
{
	const char *slash = strchr(ident, '/');
	const struct core_endpoint *e;

	if (strncmp(ident, CNI_IDENT, strlen(CNI_IDENT)) != 0 || slash == NULL)
		return;
	for (size_t it = 0; core_next_local(r->core, &it, &e);)
		if (strncmp(e->ident, ident, (size_t)(slash - ident) + 1) == 0)
			add_network(&r->asker, e->network);
}

static void add_container(struct router *r, const char *ident)
{
	add_ident(r, ident);
	plugin_each_sibling(r->plugin, ident, add_ident, r);
	docker_keeper_siblings(r->keeper, ident, add_ident, r);
	add_cni_siblings(r, ident);
}

static bool shows(const void *ctx, uint64_t owner, const char *id, struct ip addr)
{
	const struct router *r = ctx;

	return !core_is_elsewhere(r->core, owner, id, addr, r->asker.networks, r->asker.n);
}

enum dns_asker router_asker(void *ctx, struct ip from, const char *network, struct dns_view *view)
{
	struct router *r = ctx;
	const struct core_endpoint *e = core_address_holder(r->core, from, network != NULL ? network : CORE_NETWORK_DEFAULT);
	char ident[CORE_IDENT_MAX + 1];

	r->asker.n = 0;
	if (e != NULL && strncmp(e->ident, STATUS_HOST_ID, strlen(STATUS_HOST_ID)) == 0)
		return DNS_ASKER_KNOWN; /* a host by its address on a network */
	if (e != NULL) {
		add_network(&r->asker, e->network);
		if (core_local(r->core, e->ident) == e)
			add_container(r, e->ident);
	} else if (network != NULL) {
		add_network(&r->asker, network);
	} else {
		switch (plugin_outside(r->plugin, from, ident)) {
		case PLUGIN_OUTSIDE_LATER: return DNS_ASKER_LATER;
		case PLUGIN_OUTSIDE_NOT: return DNS_ASKER_KNOWN;
		case PLUGIN_OUTSIDE_FOUND: add_container(r, ident); break;
		}
	}
	if (r->asker.n > 0)
		*view = (struct dns_view){ shows, r };
	return DNS_ASKER_KNOWN;
}

void router_askers_known(struct router *r)
{
	if (r->dns != NULL)
		dns_server_askers_known(r->dns);
}
