/* What dockerd was told, on disk: pools, networks and endpoints as JSON, one record each, under "docker/pool/ID", "docker/net/ID", "docker/ep/ID". */
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "router/docker/inspect.h"
#include "router/docker/plugin_internal.h"

#define ROOT   "docker/"
#define OTHERS ROOT "names/" /* names.c */

/* --- writing ------------------------------------------------------------------------------------------------------------------------------- */

static void fail(router_done done, void *ctx)
{
	struct router_result res = { .err = ERR_NOMEM, .text = "out of memory" };

	if (done != NULL)
		done(ctx, &res);
}

static void key_of(const char *kind, const char *id, char out[ROUTER_KEEP_KEY_MAX + 1])
{
	(void)snprintf(out, ROUTER_KEEP_KEY_MAX + 1, ROOT "%s/%s", kind, id);
}

static void keep(struct plugin *p, const char *kind, const char *id, json_t *doc, router_done done, void *ctx)
{
	char key[ROUTER_KEEP_KEY_MAX + 1];
	char *text = doc != NULL ? json_dumps(doc, JSON_COMPACT) : NULL;

	json_decref(doc);
	if (text == NULL) {
		fail(done, ctx);
		return;
	}
	key_of(kind, id, key);
	(void)router_keep(p->r, key, slice_str(text), done, ctx);
	free(text); /* jansson's */
}

static json_t *list_of(const struct plugin_reserved *v, size_t n)
{
	json_t *list = json_array();
	char text[IP_TEXT];

	for (size_t i = 0; list != NULL && i < n; i++)
		(void)json_array_append_new(list, json_string(ip_format(v[i].addr, text)));
	return list;
}

void plugin_keep_pool(struct plugin *p, const struct plugin_pool *pool, router_done done, void *ctx)
{
	char gateway[IP_TEXT], former[IP_TEXT] = "";

	if (pool->former.family != 0)
		(void)ip_format(pool->former, former);
	keep(p, "pool", pool->id,
		json_pack("{s:s, s:b, s:b, s:s, s:o}", "gateway", ip_format(pool->gateway, gateway), "any", pool->spec.any, "guessed",
			pool->guessed, "former", former, "reserved", list_of(pool->reserved, pool->n_reserved)),
		done, ctx);
}

void plugin_keep_net(struct plugin *p, const struct plugin_net *n, router_done done, void *ctx)
{
	json_t *pools = json_array();

	for (size_t i = 0; pools != NULL && i < n->n_pools; i++)
		(void)json_array_append_new(pools, json_string(n->pools[i]));
	keep(p, "net", n->id,
		json_pack("{s:s, s:b, s:b, s:b, s:b, s:b, s:s, s:b, s:i, s:o}", "name", n->name, "created", n->created, "allocated",
			n->allocated, "internal", n->internal, "foreign", n->foreign, "gives", n->gives, "option", n->options.network,
			"no_multicast", n->options.no_multicast, "mtu", (int)n->options.mtu, "pools", pools),
		done, ctx);
}

void plugin_keep_endpoint(struct plugin *p, const struct plugin_endpoint *e, router_done done, void *ctx)
{
	json_t *addrs = json_array();
	char text[PREFIX_TEXT], mac[MAC_TEXT];

	for (size_t i = 0; addrs != NULL && i < e->n_addrs; i++)
		(void)json_array_append_new(addrs, json_string(prefix_format(e->addrs[i], text)));
	keep(p, "ep", e->id,
		json_pack("{s:s, s:s, s:s, s:s, s:i, s:i, s:o}", "net", e->net, "ifname", e->ifname, "mac", mac_format(e->mac, mac),
			"sandbox", e->sandbox, "dns", e->dns_len, "multicast", e->multicast_len, "addrs", addrs),
		done, ctx);
}

void plugin_forget(struct plugin *p, const char *kind, const char *id, router_done done, void *ctx)
{
	char key[ROUTER_KEEP_KEY_MAX + 1];

	key_of(kind, id, key);
	(void)router_keep(p->r, key, slice_of(NULL, 0), done, ctx);
}

/* --- reading ------------------------------------------------------------------------------------------------------------------------------- */

static const char *text_of(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s != NULL ? s : "";
}

static bool copy(char *out, size_t size, const char *text)
{
	if (strlen(text) >= size)
		return false;
	memcpy(out, text, strlen(text) + 1);
	return true;
}

/* Each puts one into its map, or says false: it is none that we wrote. */
static bool load_pool(struct plugin *p, const char *id, const json_t *doc, enum err *err)
{
	const json_t *list = json_object_get(doc, "reserved");
	struct plugin_pool pool = { .n_reserved = 0 };

	if (!copy(pool.id, sizeof(pool.id), id) || plugin_pool_id_parse(id, &pool.spec) != ERR_OK ||
		ip_parse(text_of(doc, "gateway"), &pool.gateway) != ERR_OK || json_array_size(list) > PLUGIN_AUX_MAX)
		return false;
	for (size_t i = 0; i < json_array_size(list); i++) {
		const char *text = json_string_value(json_array_get(list, i));
		if (text == NULL || ip_parse(text, &pool.reserved[pool.n_reserved++].addr) != ERR_OK)
			return false;
	}
	const char *former = text_of(doc, "former");
	if (former[0] != '\0' && ip_parse(former, &pool.former) != ERR_OK)
		return false;
	pool.guessed = json_is_true(json_object_get(doc, "guessed"));
	pool.spec.any = json_is_true(json_object_get(doc, "any")); /* may have been learnt later than the id was made */
	struct plugin_pool *made = mem_dup(&pool, sizeof(pool));
	*err = made == NULL ? ERR_NOMEM : map_put(p->pools, slice_str(made->id), made, NULL);
	if (*err != ERR_OK)
		mem_free(made);
	return true;
}

static bool load_net(struct plugin *p, const char *id, const json_t *doc, enum err *err)
{
	const json_t *list = json_object_get(doc, "pools");
	struct plugin_net *n = mem_zalloc(1, sizeof(*n));
	bool ok = n != NULL && copy(n->id, sizeof(n->id), id) && docker_id_ok(id) &&
		copy(n->name, sizeof(n->name), text_of(doc, "name")) &&
		copy(n->options.network, sizeof(n->options.network), text_of(doc, "option")) &&
		json_array_size(list) <= 2 * PLUGIN_POOLS_MAX;

	if (n == NULL) {
		*err = ERR_NOMEM;
		return true;
	}
	n->p = p;
	n->created = json_is_true(json_object_get(doc, "created"));
	n->allocated = json_is_true(json_object_get(doc, "allocated"));
	n->internal = json_is_true(json_object_get(doc, "internal"));
	n->gives = json_is_true(json_object_get(doc, "gives"));
	n->foreign = json_is_true(json_object_get(doc, "foreign"));
	n->options.no_multicast = json_is_true(json_object_get(doc, "no_multicast"));
	n->options.mtu = (unsigned)json_integer_value(json_object_get(doc, "mtu"));
	for (size_t i = 0; ok && i < json_array_size(list); i++) {
		const char *text = json_string_value(json_array_get(list, i));
		ok = text != NULL && copy(n->pools[n->n_pools++], sizeof(n->pools[0]), text);
	}
	*err = ok ? map_put(p->nets, slice_str(n->id), n, NULL) : ERR_OK;
	if (!ok || *err != ERR_OK)
		mem_free(n);
	return ok;
}

static bool load_endpoint(struct plugin *p, const char *id, const json_t *doc, enum err *err)
{
	const json_t *list = json_object_get(doc, "addrs");
	struct plugin_endpoint e = { .n_addrs = 0 };

	if (!copy(e.id, sizeof(e.id), id) || !docker_id_ok(id) || !copy(e.net, sizeof(e.net), text_of(doc, "net")) ||
		!copy(e.sandbox, sizeof(e.sandbox), text_of(doc, "sandbox")) ||
		!copy(e.ifname, sizeof(e.ifname), text_of(doc, "ifname")) || mac_parse(text_of(doc, "mac"), &e.mac) != ERR_OK ||
		json_array_size(list) > PLUGIN_ADDR_MAX)
		return false;
	for (size_t i = 0; i < json_array_size(list); i++) {
		const char *text = json_string_value(json_array_get(list, i));
		if (text == NULL || prefix_parse(text, &e.addrs[e.n_addrs++]) != ERR_OK)
			return false;
	}
	e.dns_len = (uint8_t)json_integer_value(json_object_get(doc, "dns"));
	e.multicast_len = (uint8_t)json_integer_value(json_object_get(doc, "multicast"));
	struct plugin_endpoint *made = mem_dup(&e, sizeof(e));
	*err = made == NULL ? ERR_NOMEM : map_put(p->endpoints, slice_str(made->id), made, NULL);
	if (*err != ERR_OK)
		mem_free(made);
	return true;
}

static enum err load_one(void *ctx, struct slice key, struct slice value)
{
	static const struct {
		const char *prefix;
		bool (*load)(struct plugin *p, const char *id, const json_t *doc, enum err *err);
	} kinds[] = { { ROOT "pool/", load_pool }, { ROOT "net/", load_net }, { ROOT "ep/", load_endpoint } };
	struct plugin *p = ctx;
	char text[ROUTER_KEEP_KEY_MAX + 1];
	enum err err = ERR_OK;
	bool known = false;

	(void)snprintf(text, sizeof(text), "%.*s", (int)key.n, (const char *)key.p);
	if (strncmp(text, OTHERS, strlen(OTHERS)) == 0)
		return ERR_OK;
	json_t *doc = json_loadb((const char *)value.p, value.n, 0, NULL);
	for (size_t i = 0; doc != NULL && i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (strncmp(text, kinds[i].prefix, strlen(kinds[i].prefix)) == 0)
			known = kinds[i].load(p, text + strlen(kinds[i].prefix), doc, &err);
	if (!known)
		log_write(router_log(p->r), LOG_LEVEL_WARNING, "the stored record %s cannot be read and is left alone", text);
	json_decref(doc);
	return err;
}

enum err plugin_load(struct plugin *p, struct err_note *note)
{
	enum err err = router_kept(p->r, ROOT, load_one, p, note);

	return err == ERR_NOMEM ? err_note(note, err, "out of memory while reading what Docker was told") : err;
}

static void empty(struct map *m)
{
	struct slice key;
	void *value;

	for (size_t at = 0; m != NULL && map_next(m, &at, &key, &value);)
		mem_free(value);
	map_free(m);
}

void plugin_unload(struct plugin *p)
{
	empty(p->pools);
	empty(p->nets);
	empty(p->endpoints);
	empty(p->unused);
}
