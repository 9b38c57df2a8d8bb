/* Pools: what addresses are asked of. Made, found, lost and found again; their leases, and what is set aside of them. */
#include <stdio.h>
#include <string.h>

#include "router/docker/plugin_internal.h"

/* --- leases ------------------------------------------------------------------------------------------------------------------------------ */

bool plugin_is_lease(const char *ident)
{
	return ident != NULL && strncmp(ident, PLUGIN_LEASE, strlen(PLUGIN_LEASE)) == 0;
}

void plugin_lease_ident(const struct plugin_pool *pool, char out[IPAM_IDENT_MAX + 1])
{
	char tag[IP_TEXT];

	(void)snprintf(
		out, IPAM_IDENT_MAX + 1, PLUGIN_LEASE "%s:%016llx", ip_format(pool->spec.tag, tag), (unsigned long long)plugin_random());
}

static bool begins_with_tag(const char *ident, struct ip tag)
{
	char begin[64], text[IP_TEXT];

	(void)snprintf(begin, sizeof(begin), PLUGIN_LEASE "%s:", ip_format(tag, text));
	return strncmp(ident, begin, strlen(begin)) == 0;
}

static bool lease_of(const struct plugin_pool *pool, const char *ident)
{
	return begins_with_tag(ident, pool->spec.tag) || (pool->former.family != 0 && begins_with_tag(ident, pool->former));
}

/* The lease that stands for an address of the pool. */
bool plugin_lease_address(const struct plugin *p, const struct plugin_pool *pool, struct ip a, struct ip *v4)
{
	if (pool->spec.pool.addr.family == 4) {
		*v4 = a;
		return a.family == 4;
	}
	return plugin_addr4(plugin_range(p), pool->spec.pool, a, v4);
}

size_t plugin_reserved_at(const struct plugin_pool *pool, struct ip a)
{
	size_t i = 0;

	while (i < pool->n_reserved && !ip_eq(pool->reserved[i].addr, a))
		i++;
	return i;
}

bool plugin_is_reserved(const struct plugin_pool *pool, struct ip a)
{
	return ip_eq(pool->gateway, a) || plugin_reserved_at(pool, a) < pool->n_reserved;
}

/* Those of a pool that no container uses. */
void plugin_free_leases(struct plugin *p, const struct plugin_pool *pool)
{
	const struct ipam *ipam = core_ipam(router_core(p->r));
	const char *ident;
	struct prefix addr;
	char one[IPAM_IDENT_MAX + 1];
	bool found = true;

	while (ipam != NULL && found) { /* freeing ends the walk */
		found = false;
		for (size_t it = 0; !found && ipam_next_lease(ipam, &it, &ident, &addr);)
			found = lease_of(pool, ident) && plugin_endpoint_with(p, addr.addr, NULL) == NULL;
		if (found) {
			(void)snprintf(one, sizeof(one), "%s", ident);
			plugin_free_lease(p, one, (struct ip){ 0 });
			found = plugin_holder(p, addr.addr) == NULL; /* else there is no end */
		}
	}
}

/* --- making ------------------------------------------------------------------------------------------------------------------------------ */

bool plugin_tag_in_use(const struct plugin *p, struct ip tag)
{
	struct slice key;
	void *value;

	for (size_t at = 0; map_next(p->pools, &at, &key, &value);) {
		const struct plugin_pool *pool = value;
		if (ip_eq(pool->spec.tag, tag) || ip_eq(pool->gateway, tag) || ip_eq(pool->former, tag))
			return true;
	}
	return false;
}

struct plugin_pool *plugin_pool_new(struct plugin *p, const struct plugin_pool_id *spec)
{
	struct plugin_pool *pool = mem_zalloc(1, sizeof(*pool));

	if (pool == NULL)
		return NULL;
	pool->spec = *spec;
	pool->gateway = spec->tag;
	pool->since_ms = router_now_ms(p->r);
	plugin_pool_id_format(spec, pool->id);
	if (map_put(p->pools, slice_str(pool->id), pool, NULL) != ERR_OK) {
		mem_free(pool);
		return NULL;
	}
	return pool;
}

void plugin_pool_drop(struct plugin *p, struct plugin_pool *pool)
{
	for (size_t i = 0; i < pool->n_reserved; i++)
		router_cancel(p->r, pool->reserved[i].claim);
	(void)map_del(p->pools, slice_str(pool->id));
	mem_free(pool);
}

/* --- what is set aside ------------------------------------------------------------------------------------------------------------------- */

/* The lease of what is reserved: it comes when it comes, and may be another host's, of which the same was asked. */
void plugin_claim_reserved(struct plugin *p, struct plugin_pool *pool, struct plugin_reserved *r)
{
	struct ip v4;
	char ident[IPAM_IDENT_MAX + 1];

	if (core_ipam(router_core(p->r)) == NULL || !plugin_lease_address(p, pool, r->addr, &v4) || plugin_holder(p, v4) != NULL)
		return;
	plugin_lease_ident(pool, ident);
	struct ipam_event want = { .kind = IPAM_CLAIM, .ident = ident, .subnet = { v4, plugin_range(p).len }, .wait = true };
	struct core_event ev = { .kind = CORE_IPAM, .ipam = &want };
	if (pool->spec.pool.addr.family == 4)
		want.subnet.len = pool->spec.pool.len;
	r->claim = router_submit(p->r, &ev, router_ignore, NULL);
}

void plugin_reserve_all(struct plugin *p)
{
	struct slice key;
	void *value;

	for (size_t at = 0; map_next(p->pools, &at, &key, &value);) {
		struct plugin_pool *pool = value;
		for (size_t i = 0; i < pool->n_reserved; i++)
			plugin_claim_reserved(p, pool, &pool->reserved[i]);
	}
}

/* --- finding ----------------------------------------------------------------------------------------------------------------------------- */

struct plugin_pool *plugin_pool_of(const struct plugin *p, const struct plugin_subnet *s)
{
	struct slice key;
	void *value;

	for (size_t at = 0; map_next(p->pools, &at, &key, &value);) {
		struct plugin_pool *pool = value;
		if (prefix_eq(pool->spec.pool, s->pool) && ip_eq(pool->gateway, s->gateway) && plugin_net_of_pool(p, pool->id) == NULL)
			return pool;
	}
	return NULL;
}

struct plugin_net *plugin_net_of_pool(const struct plugin *p, const char *pool_id)
{
	struct slice key;
	void *value;

	for (size_t at = 0; map_next(p->nets, &at, &key, &value);) {
		struct plugin_net *n = value;
		for (size_t i = 0; i < n->n_pools; i++)
			if (strcmp(n->pools[i], pool_id) == 0)
				return n;
	}
	return NULL;
}

/* Does the pool, or an endpoint's IPv6 address, need this lease? */
static bool needed(const struct plugin *p, const struct plugin_pool *pool, struct ip v4)
{
	struct prefix range = plugin_range(p);
	struct ip a = pool->spec.pool.addr.family == 6 ? plugin_addr6(range, pool->spec.pool, v4) : v4;

	return plugin_is_reserved(pool, a) || (a.family == 6 && plugin_endpoint_with(p, a, NULL) != NULL);
}

bool plugin_lease_unused(const struct plugin *p, const char *ident, struct ip v4)
{
	struct slice key;
	void *value;

	if (!plugin_is_lease(ident) || plugin_endpoint_with(p, v4, NULL) != NULL)
		return false;
	for (size_t at = 0; map_next(p->pools, &at, &key, &value);) {
		const struct plugin_pool *pool = value;
		if (lease_of(pool, ident))
			return !pool->spec.global && !needed(p, pool, v4); /* a swarm's manager holds those of other hosts' containers */
	}
	return true;
}

void plugin_drop_unlinked(struct plugin *p)
{
	uint64_t now = router_now_ms(p->r);
	struct slice key;
	void *value;

	for (size_t at = 0; map_next(p->pools, &at, &key, &value);) {
		struct plugin_pool *pool = value;
		if (pool->spec.global || plugin_net_of_pool(p, pool->id) != NULL) {
			pool->since_ms = now;
			continue;
		}
		if (now - pool->since_ms < 2 * p->unused_ms)
			continue;
		log_write(router_log(p->r), LOG_LEVEL_INFO, "docker: no network was made of the pool %s: it goes", pool->id);
		plugin_free_leases(p, pool);
		plugin_forget(p, "pool", pool->id, NULL, NULL);
		plugin_pool_drop(p, pool);
	}
}

bool plugin_next_reserved(const struct plugin *p, size_t *it, struct ip *v4)
{
	const struct ipam *ipam = p != NULL ? core_ipam(router_core(p->r)) : NULL;
	const char *ident;
	struct prefix addr;
	struct slice key;
	void *value;

	while (ipam != NULL && ipam_next_lease(ipam, it, &ident, &addr)) {
		*v4 = addr.addr;
		for (size_t at = 0; plugin_is_lease(ident) && map_next(p->pools, &at, &key, &value);)
			if (lease_of(value, ident) && needed(p, value, addr.addr))
				return true;
	}
	return false;
}

/* --- lost and found ---------------------------------------------------------------------------------------------------------------------- */

/* dockerd has named the pool of which only the id was not known: from now on it is that. */
static struct plugin_pool *renamed(struct plugin *p, struct plugin_pool *pool, const struct plugin_pool_id *spec)
{
	struct plugin_net *n = plugin_net_of_pool(p, pool->id);
	char id[PLUGIN_POOL_ID_MAX + 1], was[PLUGIN_POOL_ID_MAX + 1];

	plugin_pool_id_format(spec, id);
	if (map_put(p->pools, slice_str(id), pool, NULL) != ERR_OK)
		return NULL;
	(void)map_del(p->pools, slice_str(pool->id));
	memcpy(was, pool->id, sizeof(was));
	memcpy(pool->id, id, sizeof(pool->id));
	if (!ip_eq(pool->spec.tag, spec->tag))
		pool->former = pool->spec.tag;
	if (plugin_is_tag(pool->gateway))
		pool->gateway = spec->tag;
	pool->spec = *spec;
	pool->guessed = false;
	for (size_t i = 0; n != NULL && i < n->n_pools; i++)
		if (strcmp(n->pools[i], was) == 0)
			memcpy(n->pools[i], id, sizeof(n->pools[i]));
	plugin_forget(p, "pool", was, NULL, NULL); /* one commit for all three */
	plugin_keep_pool(p, pool, NULL, NULL);
	if (n != NULL)
		plugin_keep_net(p, n, NULL, NULL);
	return pool;
}

/* By dockerd's id; also one that was made again without it. NULL: none. */
struct plugin_pool *plugin_pool_known(struct plugin *p, const char *id)
{
	struct plugin_pool *pool = map_get(p->pools, slice_str(id)), *guess = NULL;
	struct plugin_pool_id spec;
	struct slice key;
	void *value;

	if (pool != NULL || plugin_pool_id_parse(id, &spec) != ERR_OK)
		return pool;
	for (size_t at = 0; map_next(p->pools, &at, &key, &value);) {
		pool = value;
		bool same = prefix_eq(pool->spec.pool, spec.pool) && prefix_eq(pool->spec.sub, spec.sub);
		if (same && (ip_eq(pool->spec.tag, spec.tag) || (pool->guessed && guess == NULL)))
			guess = pool;
	}
	return guess != NULL ? renamed(p, guess, &spec) : NULL;
}

/* Two of Docker's networks may have one subnet in weft's one network. Their guessed pools cannot be told apart: one that was taken for the other's, and went with
 * it, has left its network without, and perhaps another without network. */
static void relink(struct plugin *p, const struct plugin_pool *pool)
{
	struct plugin_pool_id spec;
	struct slice key;
	void *value;

	for (size_t at = 0; map_next(p->nets, &at, &key, &value);) {
		struct plugin_net *n = value;
		for (size_t i = 0; i < n->n_pools; i++) {
			if (map_get(p->pools, slice_str(n->pools[i])) != NULL || plugin_pool_id_parse(n->pools[i], &spec) != ERR_OK ||
				!prefix_eq(spec.pool, pool->spec.pool) || !prefix_eq(spec.sub, pool->spec.sub))
				continue;
			memcpy(n->pools[i], pool->id, sizeof(n->pools[i]));
			plugin_keep_net(p, n, NULL, NULL);
			return;
		}
	}
}

/* A pool whose record was lost: its id says what it is. */
struct plugin_pool *plugin_pool_find(struct plugin *p, const char *id)
{
	struct plugin_pool *pool = plugin_pool_known(p, id);
	struct plugin_pool_id spec;

	if (pool == NULL && plugin_pool_id_parse(id, &spec) == ERR_OK && core_ipam(router_core(p->r)) != NULL &&
		map_count(p->pools) < PLUGIN_RECORDS_MAX) {
		pool = plugin_pool_new(p, &spec);
		if (pool != NULL)
			plugin_keep_pool(p, pool, NULL, NULL);
	}
	if (pool != NULL && !pool->fresh && plugin_net_of_pool(p, pool->id) == NULL)
		relink(p, pool);
	return pool;
}

static void set_aside(struct plugin *p, struct plugin_pool *pool, struct ip a)
{
	if (plugin_reserved_at(pool, a) < pool->n_reserved || pool->n_reserved == PLUGIN_AUX_MAX)
		return;
	struct plugin_reserved *r = &pool->reserved[pool->n_reserved++];
	*r = (struct plugin_reserved){ .addr = a };
	plugin_claim_reserved(p, pool, r);
}

/* Asked for by its id already, while its network was not known. */
static struct plugin_pool *unlinked(const struct plugin *p, const struct plugin_subnet *s)
{
	struct slice key;
	void *value;

	for (size_t at = 0; map_next(p->pools, &at, &key, &value);) {
		struct plugin_pool *pool = value;
		if (!pool->fresh && !pool->spec.global && prefix_eq(pool->spec.pool, s->pool) && prefix_eq(pool->spec.sub, s->sub) &&
			(!plugin_is_tag(s->gateway) || ip_eq(s->gateway, pool->spec.tag)) && plugin_net_of_pool(p, pool->id) == NULL)
			return pool;
	}
	return NULL;
}

struct plugin_pool *plugin_pool_learn(struct plugin *p, const struct plugin_subnet *s)
{
	struct plugin_pool *pool = unlinked(p, s);
	struct plugin_pool_id spec = { .pool = s->pool, .sub = s->sub, .tag = s->gateway };
	bool told = plugin_is_tag(s->gateway);
	struct ip aux[PLUGIN_AUX_MAX];
	size_t n_aux = 0;

	if (pool == NULL && map_count(p->pools) >= PLUGIN_RECORDS_MAX)
		return NULL;
	/* Docker shows the gateway that it was given where no subnet was named. */
	spec.any =
		told && prefix_eq(s->pool, s->pool.addr.family == 4 ? plugin_range(p) : prefix_network(router_options(p->r)->range6));
	while (!told && pool == NULL && (spec.tag.family == 0 || !plugin_is_tag(spec.tag) || plugin_tag_in_use(p, spec.tag)))
		spec.tag = plugin_tag(s->pool.addr.family == 6, false, plugin_random());
	if (pool == NULL) {
		pool = plugin_pool_new(p, &spec);
		if (pool == NULL)
			return NULL;
		pool->guessed = !told;
	}
	if (s->gateway.family != 0 && !told) {
		pool->gateway = s->gateway;
		set_aside(p, pool, s->gateway);
	}
	if (plugin_parse_aux(s->aux, s->pool.addr.family, aux, &n_aux, NULL) != ERR_OK)
		n_aux = 0;
	for (size_t i = 0; i < n_aux; i++)
		set_aside(p, pool, aux[i]);
	plugin_keep_pool(p, pool, NULL, NULL);
	return pool;
}

void plugin_claim6(struct plugin *p, const struct plugin_net *n, struct ip v6)
{
	struct ip v4;
	char ident[IPAM_IDENT_MAX + 1];

	for (size_t i = 0; i < n->n_pools; i++) {
		const struct plugin_pool *pool = map_get(p->pools, slice_str(n->pools[i]));
		if (pool == NULL || !plugin_lease_address(p, pool, v6, &v4) || v6.family != pool->spec.pool.addr.family)
			continue;
		plugin_lease_ident(pool, ident);
		struct ipam_event want = {
			.kind = IPAM_CLAIM, .ident = ident, .subnet = { v4, plugin_range(p).len }, .wait = true, .on = true
		};
		struct core_event ev = { .kind = CORE_IPAM, .ipam = &want };
		plugin_submit_quietly(p, &ev);
		return;
	}
}
