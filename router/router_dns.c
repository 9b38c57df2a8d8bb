/* The name service as the loop runs it: what it listens on follows the networks' bridges. */
#include <sodium.h>

#include "base/mem.h"
#include "router/dns_server.h"
#include "router/internal.h"
#include "tunnel/fwd.h"

/* Names are not answered before they are durable. */
static void settle(void *ctx)
{
	router_settle(ctx);
}

static struct prefix range_of(const struct router *r)
{
	struct universe u = core_universe(r->core);

	return (struct prefix){ ip_v4(u.first), u.len };
}

enum err router_open_dns(struct router *r, struct err_note *note)
{
	const struct options *o = r->opt;
	struct dns_server_cfg cfg = {
		.table = core_names(r->core),
		.settle = settle,
		.asker = router_asker,
		.ctx = r,
		.resolv_conf = o->resolv_conf,
		.resolver = ip_v4(WEFT_DNS_V4),
		.domain = o->dns_domain,
		.ttl = o->dns_ttl,
	};

	if (o->no_dns)
		return ERR_OK;
	for (size_t i = 0; i < o->n_dns_listen; i++)
		cfg.listen[cfg.n_listen++] = o->dns_listen[i];
	if (cfg.n_listen == 0 && router_dns_address(r, &cfg.listen[0]))
		cfg.n_listen = 1;
	if (o->ipam)
		cfg.ours[cfg.n_ours++] = range_of(r);
	randombytes_buf(&cfg.seed, sizeof(cfg.seed));
	enum err err = dns_server_start(&r->dns, r->loop, &cfg, note);
	if (err == ERR_OK) {
		router_dns_networks(r);
		resolvers_follow(r);
	}
	return err;
}

static enum err set_networks(struct router *r, struct err_note *note)
{
	struct dns_server_network *v = NULL;
	size_t n = 0, cap = 0;
	struct plane_net_view net;
	enum err err = ERR_OK;

	for (size_t it = 0; plane_next_net(r->plane, &it, &net);) {
		int index;
		if (net.number == 0 || kernel_bridge_index(net.kernel, &index, NULL) != ERR_OK)
			continue; /* one that is gone is made anew, and then we are called again */
		if (!mem_grow((void **)&v, &cap, n + 1, sizeof(*v))) {
			mem_free(v);
			return err_note(note, ERR_NOMEM, "out of memory");
		}
		v[n++] = (struct dns_server_network){ net.name, kernel_bridge_name(net.kernel), index };
	}
	err = dns_server_set_networks(r->dns, v, n, note);
	mem_free(v);
	return err;
}

void router_dns_networks(struct router *r)
{
	struct err_note note = { "" };

	if (r->dns == NULL || r->stopping || r->erased)
		return;
	if (r->opt->ipam)
		dns_server_set_range(r->dns, range_of(r));
	enum err err = set_networks(r, &note);
	if (err != ERR_OK && !r->dns_broken)
		log_write(r->log, LOG_LEVEL_ERROR, "containers of a network get no names (tried again every few seconds): %s", note.text);
	else if (err == ERR_OK && r->dns_broken)
		log_write(r->log, LOG_LEVEL_INFO, "containers of all networks get names again");
	r->dns_broken = err != ERR_OK;
}
