/* What one of the two daemons did while the other was not there, or forgot.
 *
 * dockerd gives up after some seconds when we do not answer, and then removes containers and networks without us; killed half-way it forgets addresses
 * that it was given; and it does not give back an IPv4 address when the IPv6 one that it asks for next is refused. So:
 *   - a lease of a pool that no endpoint has for a minute is free again;
 *   - endpoints that Docker does not list, twice, and whose interface is in no container, are removed;
 *   - networks that Docker says, twice, do not exist are removed;
 *   - pools of which no network was made go;
 *   - networks of which no record is are learnt of (plugin_learn.c).
 * Docker is asked when it has come (back), and once in a while. Without its word nothing is done about endpoints and networks. */
#include <net/if.h>
#include <stdio.h>
#include <string.h>

#include "router/docker/plugin_internal.h"

enum { AGAIN_MS = 30000, SOON_MS = 2000, LOOKS = 6 /* in the time that a lease may be unused */ };

struct unused {
	uint64_t since_ms, seen_ms;
};

/* --- leases --------------------------------------------------------------------------------------------------------------------------------- */

/* Remembers those that are unused now; one that has been for too long, or NULL. */
static bool mark_unused(struct plugin *p, uint64_t now, char ident[IPAM_IDENT_MAX + 1])
{
	const struct ipam *ipam = core_ipam(router_core(p->r));
	const char *of;
	struct prefix addr;
	bool due = false;

	for (size_t it = 0; ipam != NULL && ipam_next_lease(ipam, &it, &of, &addr);) {
		if (!plugin_lease_unused(p, of, addr.addr))
			continue;
		struct unused *u = map_get(p->unused, slice_str(of));
		if (u == NULL) {
			u = mem_zalloc(1, sizeof(*u));
			if (u == NULL || map_put(p->unused, slice_str(of), u, NULL) != ERR_OK) {
				mem_free(u);
				return false;
			}
			u->since_ms = now;
		}
		u->seen_ms = now;
		if (!due && now - u->since_ms >= p->unused_ms) {
			(void)snprintf(ident, IPAM_IDENT_MAX + 1, "%s", of);
			due = true;
		}
	}
	return due;
}

static void look_for_unused(struct plugin *p, uint64_t now)
{
	char ident[IPAM_IDENT_MAX + 1];
	struct slice key;
	void *value;

	for (size_t n = 0; n < PLUGIN_RECORDS_MAX && mark_unused(p, now, ident); n++) {
		log_write(router_log(p->r), LOG_LEVEL_INFO, "docker: the address of %s was not made use of: it is free again", ident);
		plugin_free_lease(p, ident, (struct ip){ 0 });
		mem_free(map_del(p->unused, slice_str(ident)));
	}
	for (size_t at = 0; map_next(p->unused, &at, &key, &value);)
		if (((struct unused *)value)->seen_ms != now)
			mem_free(map_del(p->unused, key));
}

bool plugin_lease_waits(const struct plugin *p, const char *ident, struct ip v4)
{
	if (p == NULL || !plugin_lease_unused(p, ident, v4))
		return false;
	const struct unused *u = map_get(p->unused, slice_str(ident));
	return u == NULL || router_now_ms(p->r) - u->since_ms < p->unused_ms + 2 * (p->unused_ms / LOOKS + PLUGIN_TICK_MS);
}

/* --- endpoints ------------------------------------------------------------------------------------------------------------------------------ */

static const struct docker_listed *listed(const struct docker_listed *v, size_t n, const char *endpoint)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(v[i].endpoint, endpoint) == 0)
			return &v[i];
	return NULL;
}

/* Its inner end is here, where dockerd takes it from and puts it back to; or nothing is left of it at all. */
static bool in_no_container(const struct plugin *p, const struct plugin_endpoint *e)
{
	char ident[CORE_IDENT_MAX + 1];

	plugin_endpoint_ident(e, ident);
	return if_nametoindex(e->ifname) != 0 || core_local(router_core(p->r), ident) == NULL;
}

static void ask_containers(struct plugin *p);
static void ask_networks(struct plugin *p);

static void on_list(void *ctx, enum err err, const char *why, const struct docker_listed *v, size_t n)
{
	struct plugin *p = ctx;
	uint64_t now = router_now_ms(p->r);
	struct slice key;
	void *value;

	(void)why;
	p->question = 0;
	for (size_t at = 0; err == ERR_OK && map_next(p->endpoints, &at, &key, &value);) {
		struct plugin_endpoint *e = value;
		const struct docker_listed *in = listed(v, n, e->id);
		/* Docker lists a container once it runs, which on a busy host is long after its endpoint was made. */
		bool gone = !e->making && !e->removing && now - e->since_ms >= p->unused_ms && in == NULL && in_no_container(p, e);
		if (in != NULL && e->sandbox[0] == '\0' && !e->making && !e->removing) /* it has been joined: that was lost */
			(void)snprintf(e->container, sizeof(e->container), "%s", in->id);
		if (gone && !e->suspect)
			p->ask_ms = now + SOON_MS + p->unused_ms / LOOKS;
		if (gone && e->suspect) {
			log_write(
				router_log(p->r), LOG_LEVEL_INFO, "docker: endpoint %.12s is of no container any more: it is removed", e->id);
			plugin_endpoint_remove(p, e, NULL, NULL);
			break; /* the map has changed perhaps; the next look finds the others */
		}
		e->suspect = gone;
	}
	if (err == ERR_OK)
		ask_containers(p);
}

/* Which of them share a container, since of those each has routes of its own: all that are in this one, in no order. */
static void on_container(void *ctx, enum err err, const char *why, const struct docker_container *c)
{
	struct plugin *p = ctx;
	struct slice key;
	void *value;

	(void)why;
	p->question = 0;
	for (size_t at = 0; map_next(p->endpoints, &at, &key, &value);) {
		struct plugin_endpoint *e = value;
		if (strcmp(e->container, p->asked) != 0)
			continue;
		e->container[0] = '\0';
		if (err != ERR_OK || c->sandbox[0] == '\0' || e->sandbox[0] != '\0' || e->making || e->removing)
			continue;
		plugin_endpoint_joined(p, e, c->sandbox);
		plugin_keep_endpoint(p, e, NULL, NULL);
	}
	p->asked[0] = '\0';
	if (err == ERR_OK || err == ERR_NOT_FOUND)
		ask_containers(p);
}

static void ask_containers(struct plugin *p)
{
	const struct plugin_endpoint *next = NULL;
	struct slice key;
	void *value;

	for (size_t at = 0; next == NULL && map_next(p->endpoints, &at, &key, &value);)
		if (((const struct plugin_endpoint *)value)->container[0] != '\0')
			next = value;
	if (next == NULL) {
		ask_networks(p);
		return;
	}
	(void)snprintf(p->asked, sizeof(p->asked), "%s", next->container);
	uint64_t question = docker_find_container(router_docker(p->r), p->asked, 0, on_container, p);
	if (question != 0)
		p->question = question;
}

/* --- networks ------------------------------------------------------------------------------------------------------------------------------- */

static void on_network(void *ctx, enum err err, const char *why, const struct docker_network *d)
{
	struct plugin *p = ctx;
	struct plugin_net *n = map_get(p->nets, slice_str(p->asked));

	(void)why;
	(void)d;
	p->question = 0;
	if (p->stopping)
		return;
	if (n != NULL && err == ERR_NOT_FOUND && n->suspect && n->created && !n->busy) {
		log_write(
			router_log(p->r), LOG_LEVEL_INFO, "docker: network %.12s (%s) is not there any more: it is removed", n->id, n->name);
		plugin_net_forget(n);
	} else if (n != NULL) {
		if (err == ERR_NOT_FOUND && !n->suspect)
			p->ask_ms = router_now_ms(p->r) + SOON_MS + p->unused_ms / LOOKS;
		n->suspect = err == ERR_NOT_FOUND;
	}
	ask_networks(p);
}

/* The next one in the order of ids; a swarm's come and go with the tasks on a host, and its own word says when. */
static void ask_networks(struct plugin *p)
{
	const struct plugin_net *next = NULL;
	struct slice key;
	void *value;

	if (router_options(p->r)->plugin_global)
		return;
	for (size_t at = 0; map_next(p->nets, &at, &key, &value);) {
		const struct plugin_net *n = value;
		if (strcmp(n->id, p->asked) > 0 && (next == NULL || strcmp(n->id, next->id) < 0) && n->created && !n->fresh)
			next = n;
	}
	if (next == NULL)
		return;
	(void)snprintf(p->asked, sizeof(p->asked), "%s", next->id);
	uint64_t question = docker_get_network(router_docker(p->r), next->id, 0, on_network, p);
	if (question != 0)
		p->question = question;
}

/* --- when ----------------------------------------------------------------------------------------------------------------------------------- */

void plugin_reconcile(struct plugin *p)
{
	uint64_t now = router_now_ms(p->r);
	struct docker *d = router_docker(p->r);
	bool connected = docker_on(d) && docker_connected(d);

	if (now >= p->look_ms) {
		p->look_ms = now + p->unused_ms / LOOKS;
		look_for_unused(p, now);
		plugin_drop_unlinked(p);
	}
	if (connected && !p->was_connected) {
		p->ask_ms = now + SOON_MS;
		plugin_learn(p, NULL, NULL);
	}
	p->was_connected = connected;
	if (!connected || now < p->ask_ms || p->question != 0 || (map_count(p->endpoints) == 0 && map_count(p->nets) == 0))
		return;
	p->ask_ms = now + AGAIN_MS;
	p->asked[0] = '\0';
	uint64_t question = docker_list(d, 0, on_list, p);
	if (question != 0)
		p->question = question;
}

void plugin_reconcile_end(struct plugin *p)
{
	docker_cancel(router_docker(p->r), p->question);
	p->question = 0;
}
