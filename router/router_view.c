/* Reading the daemon: for status, metrics and the API. */
#include "router/dns_server.h"
#include "router/docker/containers.h"
#include "router/docker/plugin.h"
#include "router/internal.h"

enum { DNS_PORT = 53 };

const char *router_fatal(const struct router *r)
{
	return r->fatal[0] != '\0' ? r->fatal : NULL;
}

const struct core *router_core(const struct router *r)
{
	return r->core;
}

const struct options *router_options(const struct router *r)
{
	return r->opt;
}

uv_loop_t *router_loop(const struct router *r)
{
	return r->loop;
}

const struct plugin *router_plugin(const struct router *r)
{
	return r->plugin;
}

struct docker_keeper *router_keeper(const struct router *r)
{
	return r->keeper;
}

struct docker *router_docker(const struct router *r)
{
	return r->keeper != NULL ? docker_keeper_docker(r->keeper) : NULL;
}

struct log *router_log(const struct router *r)
{
	return r->log;
}

uint64_t router_started_ms(const struct router *r)
{
	return r->started_ms;
}

double router_wall_s(const struct router *r, uint64_t ms)
{
	return (double)(r->wall_base_ms + ms) / 1000.0;
}

void router_stats(const struct router *r, struct router_stats *out)
{
	struct conns_stats conns = { 0 };

	if (r->conns != NULL)
		conns_stats(r->conns, &conns);
	*out = (struct router_stats){
		.log_suppressed = log_suppressed(r->log),
		.accepts = conns.accepts,
		.accept_refused = conns.refused,
		.dials = conns.dials,
		.dial_failures = conns.dial_failures,
		.store_commits = store_commits(r->store),
		.store_bytes = store_bytes(r->store),
		.core_steps = r->steps,
	};
}

const struct dns_server *router_dns(const struct router *r)
{
	return r->dns;
}

const struct plane *router_plane(const struct router *r)
{
	return r->plane;
}

const struct userspace *router_userspace(const struct router *r)
{
	return r->plane != NULL ? plane_userspace(r->plane) : NULL;
}

bool router_fast_path(const struct router *r, const char **why)
{
	const char *text = "";
	bool there = r->plane != NULL && plane_fast(r->plane, &text);

	if (why != NULL)
		*why = text;
	return there;
}

bool router_dns_address(const struct router *r, struct hostport *out)
{
	if (r->opt->no_dns)
		return false;
	*out = r->opt->n_dns_listen > 0 ? r->opt->dns_listen[0] : (struct hostport){ .ip = ip_v4(WEFT_DNS_V4), .port = DNS_PORT };
	return true;
}
