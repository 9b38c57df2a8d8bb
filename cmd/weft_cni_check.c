/* CHECK: is it as ADD left it? GC: what no runtime knows of any more. STATUS: could ADD be served? */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "http_client.h"
#include "weft_cni.h"

/* --- CHECK --------------------------------------------------------------------------------------------------------------------------------- */

static bool has_addr(const struct prefix *v, size_t n, struct prefix p)
{
	for (size_t i = 0; i < n; i++)
		if (prefix_eq(v[i], p))
			return true;
	return false;
}

static bool has_route(const struct cni_seen *s, const struct cni_route *r)
{
	for (size_t i = 0; i < s->n_routes; i++)
		if (prefix_eq(s->routes[i].dst, r->dst) && ip_eq(s->routes[i].gw, r->gw))
			return true;
	return false;
}

/* Which of the result's interfaces is ours; -1: none. */
static int own_iface(const struct cni_conf *c, const struct cni_result *r)
{
	for (size_t i = 0; i < r->n_ifaces; i++)
		if (r->ifaces[i].sandbox != NULL && strcmp(r->ifaces[i].name, c->ifname) == 0 &&
			strcmp(r->ifaces[i].sandbox, c->netns) == 0)
			return (int)i;
	return -1;
}

static int check_kernel(const struct cni_conf *c, const struct cni_result *r, int own, struct cni_error *e)
{
	char text[PREFIX_TEXT];
	struct cni_seen s;
	int code = cni_look(c->netns, c->ifname, &s, e);

	if (code != CNI_OK)
		return code;
	if (!s.there)
		return cni_fail(e, CNI_DIFFERS, "the container has no interface %s any more", c->ifname);
	if (r->ifaces[own].mac[0] != '\0' && strcmp(r->ifaces[own].mac, s.mac) != 0)
		return cni_fail(e, CNI_DIFFERS, "the MAC of %s is %s, and was %s", c->ifname, s.mac, r->ifaces[own].mac);
	for (size_t i = 0; i < r->n_ips; i++)
		if (r->ips[i].iface == own && !has_addr(s.addrs, s.n_addrs, r->ips[i].addr))
			return cni_fail(
				e, CNI_DIFFERS, "%s does not have the address %s any more", c->ifname, prefix_format(r->ips[i].addr, text));
	for (size_t i = 0; i < r->n_routes; i++)
		if (!has_route(&s, &r->routes[i]))
			return cni_fail(
				e, CNI_DIFFERS, "the container does not have the route to %s any more", prefix_format(r->routes[i].dst, text));
	if ((c->out.bits_s > 0 && !s.shaped) || (c->in.bits_s > 0 && !s.host_shaped))
		return cni_fail(e, CNI_DIFFERS, "the bandwidth of %s is not limited any more", c->ifname);
	return CNI_OK;
}

/* What the daemon tells the other hosts of. */
static int check_daemon(const struct cni_conf *c, const struct cni_result *r, int own, struct cni_error *e)
{
	char *ident = http_escape(c->ident), path[4 * CNI_IDENT_MAX], text[PREFIX_TEXT];
	struct prefix known[CNI_IPS_MAX];
	size_t n = 0, i;
	json_t *doc = NULL, *v;
	int status;

	if (ident == NULL)
		return cni_fail(e, CNI_IO, "out of memory");
	(void)snprintf(path, sizeof(path), "/ps?container=%s", ident);
	free(ident);
	int code = cni_ask(c, "GET", path, NULL, &doc, &status, e);
	if (code != CNI_OK)
		return status == 404 ? cni_fail(e, CNI_DIFFERS, "weft's daemon does not know of %s any more", c->ident) : code;
	const json_t *record = json_array_get(json_object_get(doc, "containers"), 0);
	const char *mac = json_string_value(json_object_get(record, "mac"));
	json_array_foreach(json_object_get(record, "addresses"), i,
		v) if (n < CNI_IPS_MAX && json_is_string(v) && prefix_parse(json_string_value(v), &known[n]) == ERR_OK) n++;
	if (r->ifaces[own].mac[0] != '\0' && (mac == NULL || strcmp(mac, r->ifaces[own].mac) != 0))
		code = cni_fail(e, CNI_DIFFERS, "weft's daemon knows %s by the MAC %s, not %s", c->ident, mac != NULL ? mac : "-",
			r->ifaces[own].mac);
	for (i = 0; i < r->n_ips && code == CNI_OK; i++)
		if (r->ips[i].iface == own && !has_addr(known, n, r->ips[i].addr))
			code = cni_fail(
				e, CNI_DIFFERS, "weft's daemon does not know that %s has %s", c->ident, prefix_format(r->ips[i].addr, text));
	json_decref(doc);
	return code;
}

int cni_check(const struct cni_conf *c, struct cni_error *e)
{
	struct cni_result r;
	int code = cni_result_parse(c->prev, &r, e), own;

	if (code != CNI_OK)
		return code;
	own = own_iface(c, &r);
	if (own < 0)
		return cni_fail(e, CNI_BAD_CONF, "'prevResult' has no interface %s in %s", c->ifname, c->netns);
	code = check_kernel(c, &r, own, e);
	if (code == CNI_OK)
		code = check_daemon(c, &r, own, e);
	if (code == CNI_OK && c->ipam != NULL)
		code = cni_delegate(c, "CHECK", NULL, e);
	return code;
}

/* --- GC ------------------------------------------------------------------------------------------------------------------------------------ */

/* Is it of this network configuration, and not among those that are to stay? */
static bool is_garbage(const struct cni_conf *c, const char *ident)
{
	const char *id = ident + 4, *slash = strchr(id, '/'), *last = strrchr(id, '/');
	const json_t *v;
	size_t i;

	if (slash == NULL || last == slash || strcmp(last + 1, c->name) != 0)
		return false;
	json_array_foreach((json_t *)c->valid, i, v)
	{
		const char *container = json_string_value(json_object_get(v, "containerID")),
				   *ifname = json_string_value(json_object_get(v, "ifname"));
		size_t a = strlen(container), b = strlen(ifname);
		if (a == (size_t)(slash - id) && memcmp(container, id, a) == 0 && b == (size_t)(last - slash) - 1 &&
			memcmp(ifname, slash + 1, b) == 0)
			return false;
	}
	return true;
}

/* Of a list of objects the idents at `key`, each once, into `found`. */
static void gather(const struct cni_conf *c, const json_t *list, const char *key, json_t *found)
{
	const json_t *v;
	size_t i;

	json_array_foreach((json_t *)list, i, v)
	{
		const char *ident = json_string_value(json_object_get(v, key));
		if (ident != NULL && strncmp(ident, "cni:", 4) == 0 && is_garbage(c, ident))
			(void)json_object_set_new(found, ident, json_true());
	}
}

/* All that is known under an ident: attachments, and addresses and names of some that were not finished. */
static int find_garbage(const struct cni_conf *c, json_t *found, struct cni_error *e)
{
	static const struct {
		const char *path, *list, *key;
	} places[] = { { "/ps", "containers", "id" }, { "/ip", "owned", "containerid" }, { "/name", NULL, "ContainerID" } };
	int code = CNI_OK;

	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]) && code == CNI_OK; i++) {
		json_t *doc = NULL;
		int status;
		code = cni_ask(c, "GET", places[i].path, NULL, &doc, &status, e);
		if (code == CNI_OK)
			gather(c, places[i].list != NULL ? json_object_get(doc, places[i].list) : doc, places[i].key, found);
		else if (status == 404) /* addresses or names are off */
			code = CNI_OK;
		json_decref(doc);
	}
	return code;
}

static int forget_names(const struct cni_conf *c, const char *ident, struct cni_error *e)
{
	char *escaped = http_escape(ident), path[4 * CNI_IDENT_MAX];
	int status;

	if (escaped == NULL)
		return cni_fail(e, CNI_IO, "out of memory");
	(void)snprintf(path, sizeof(path), "/name/%s", escaped);
	free(escaped);
	int code = cni_ask(c, "DELETE", path, NULL, NULL, &status, e);
	return status == 404 ? CNI_OK : code;
}

/* Plugins from before 1.1.0 miss what belongs to a container, or do not know the word or the version; they have nothing to say to it. */
static bool is_older(int code)
{
	return code == CNI_BAD_VERSION || code == CNI_NO_CONTAINER || code == CNI_BAD_ENV;
}

/* As much as can be removed is, whatever fails; what failed first is told. */
int cni_gc(const struct cni_conf *c, struct cni_error *e)
{
	json_t *found = json_object(), *v;
	struct cni_error other;
	const char *ident;
	void *next;

	if (c->valid == NULL) {
		json_decref(found);
		return cni_fail(e, CNI_BAD_CONF, "GC needs 'cni.dev/valid-attachments': without the list everything would go");
	}
	int code = find_garbage(c, found, e);
	json_object_foreach_safe(found, next, ident, v)
	{
		int one = cni_forget(c, ident, NULL, &other);
		if (one == CNI_OK)
			one = forget_names(c, ident, &other);
		if (one != CNI_OK && code == CNI_OK) {
			code = one;
			*e = other;
		}
	}
	json_decref(found);
	if (c->ipam != NULL && cni_delegate(c, "GC", NULL, &other) != CNI_OK && !is_older(other.code) && code == CNI_OK) {
		code = other.code;
		*e = other;
	}
	return code;
}

/* --- STATUS -------------------------------------------------------------------------------------------------------------------------------- */

/* Could an address be given out now? Without the first agreement it would wait for hosts that are not there. */
static int check_addresses(const json_t *ipam, struct cni_error *e)
{
	const char *health = json_string_value(json_object_get(ipam, "health")),
			   *text = json_string_value(json_object_get(ipam, "status"));
	const json_t *quorum = json_object_get(ipam, "quorum"), *known = json_object_get(ipam, "known");

	if (ipam == NULL)
		return cni_fail(e, CNI_NOT_READY, "the management of addresses is off (--ipalloc-range \"\"); name an IPAM plugin");
	bool alone = text != NULL && strcmp(text, "ready") != 0 && json_integer_value(known) < json_integer_value(quorum);
	if (alone || (health != NULL && strcmp(health, "ok") != 0))
		return cni_fail(
			e, CNI_NOT_READY, "no addresses can be given out: %s", text != NULL ? text : "the daemon does not say why");
	return CNI_OK;
}

int cni_status(const struct cni_conf *c, struct cni_error *e)
{
	json_t *doc = NULL;
	int code = cni_ask(c, "GET", "/status", NULL, &doc, NULL, e);

	if (code != CNI_OK) /* frames pass without the daemon, names and new paths do not */
		code = e->code = CNI_NOT_READY_LIMITED;
	if (code == CNI_OK && c->ipam == NULL)
		code = check_addresses(json_object_get(doc, "ipam"), e);
	json_decref(doc);
	if (code == CNI_OK && c->ipam != NULL)
		code = cni_delegate(c, "STATUS", NULL, e);
	return c->ipam != NULL && is_older(code) ? CNI_OK : code;
}
