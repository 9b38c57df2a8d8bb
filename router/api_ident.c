/* Which attached containers a user means by a word. */
#include <string.h>

#include "router/api_request.h"
#include "router/docker/containers.h"

static void add(void *ctx, const char *ident)
{
	struct api_idents *out = ctx;

	if (out->n < API_IDENTS_MAX)
		(void)snprintf(out->v[out->n++], sizeof(out->v[0]), "%s", ident);
}

void api_idents(const struct router *r, const char *container, struct api_idents *out)
{
	out->n = 0;
	if (core_local(router_core(r), container) != NULL)
		add(out, container);
	else
		docker_keeper_idents(router_keeper(r), container, add, out);
}

const char *api_ident_with(const struct router *r, const char *container, struct ip addr, struct api_idents *out)
{
	api_idents(r, container, out);
	for (size_t i = 0; i < out->n; i++) {
		const struct core_endpoint *e = core_local(router_core(r), out->v[i]);
		for (size_t j = 0; e != NULL && j < e->n_addrs; j++)
			if (ip_eq(e->addrs[j].addr, addr))
				return out->v[i];
	}
	return out->n > 0 ? out->v[0] : container;
}
