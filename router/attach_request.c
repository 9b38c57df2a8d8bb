/* Requests to attach or detach as JSON: the API's bodies, what waits for an answer of Docker's, and what is remembered. */
#include "router/attach_request.h"

#include <string.h>

static enum err take_addresses(struct attach_asked *a, const json_t *list, struct err_note *note)
{
	json_t *v;
	size_t i;

	if (json_array_size(list) > ATTACH_ADDRS_MAX)
		return err_note(note, ERR_LIMIT, "at most %d addresses", ATTACH_ADDRS_MAX);
	json_array_foreach(list, i, v)
	{
		if (!json_is_string(v))
			return err_note(note, ERR_MALFORMED, "addresses are strings");
		a->addrs[a->req.n_addrs++] = json_string_value(v);
	}
	return ERR_OK;
}

/* {"dst": "10.0.0.0/8", "gw": "10.32.0.1"}; without gw: on the link */
static enum err take_route(struct container_route *out, json_t *v, struct err_note *note)
{
	const char *dst = NULL, *gw = NULL;

	if (json_unpack(v, "{s:s, s?s!}", "dst", &dst, "gw", &gw) != 0 || prefix_parse(dst, &out->dst) != ERR_OK)
		return err_note(note, ERR_MALFORMED, "a route is {\"dst\": \"10.0.0.0/8\", \"gw\": \"10.32.0.1\"}, gw may be left out");
	out->dst = prefix_network(out->dst);
	if (gw == NULL)
		return ERR_OK;
	if (ip_parse(gw, &out->gw) != ERR_OK || out->gw.family != out->dst.addr.family)
		return err_note(note, ERR_MALFORMED, "'%.45s' is no gateway for a route to %.50s", gw, dst);
	return ERR_OK;
}

static enum err take_routes(struct attach_asked *a, const json_t *list, struct err_note *note)
{
	enum err err = ERR_OK;
	json_t *v;
	size_t i;

	if (json_array_size(list) > CONTAINER_ROUTES_MAX)
		return err_note(note, ERR_LIMIT, "at most %u routes", CONTAINER_ROUTES_MAX);
	json_array_foreach(list, i, v)
	{
		if (err == ERR_OK)
			err = take_route(&a->routes[a->req.n_routes++], v, note);
	}
	return err;
}

/* A name as it may stand in /etc/hosts. */
static bool host_name_ok(const char *name)
{
	size_t n = strlen(name);

	for (const char *p = name; *p != '\0'; p++)
		if (!(*p >= 'a' && *p <= 'z') && !(*p >= 'A' && *p <= 'Z') && !(*p >= '0' && *p <= '9') && strchr("-._", *p) == NULL)
			return false;
	return n > 0 && n <= ATTACH_HOST_MAX;
}

static enum err take_hosts(struct attach_asked *a, const json_t *list, struct err_note *note)
{
	json_t *v;
	size_t i;

	if (json_array_size(list) > ATTACH_HOSTS_MAX)
		return err_note(note, ERR_LIMIT, "at most %d names for /etc/hosts", ATTACH_HOSTS_MAX);
	json_array_foreach(list, i, v)
	{
		struct attach_host *h = &a->hosts[a->req.n_hosts];
		const char *ip = NULL;
		if (json_unpack(v, "{s:s, s:s!}", "name", &h->name, "address", &ip) != 0)
			return err_note(note, ERR_MALFORMED, "a name for /etc/hosts is {\"name\": \"db\", \"address\": \"10.32.0.1\"}");
		if (!host_name_ok(h->name) || ip_parse(ip, &h->ip) != ERR_OK)
			return err_note(
				note, ERR_MALFORMED, "'%.60s:%.45s' is no name and address for /etc/hosts; write NAME:IP", h->name, ip);
		a->req.n_hosts++;
	}
	return ERR_OK;
}

static const char **text_of(struct attach_request *req, const char *key)
{
	const struct {
		const char *key;
		const char **at;
	} texts[] = { { "container", &req->container }, { "id", &req->id }, { "ifname", &req->ifname }, { "mac", &req->mac },
		{ "network", &req->network } };

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		if (strcmp(texts[i].key, key) == 0)
			return texts[i].at;
	return NULL;
}

static bool *switch_of(struct attach_request *req, const char *key)
{
	const struct {
		const char *key;
		bool *at;
	} switches[] = { { "hairpin", &req->hairpin }, { "multicast_route", &req->multicast_route }, { "with_dns", &req->with_dns },
		{ "rewrite_hosts", &req->rewrite_hosts } };

	for (size_t i = 0; i < sizeof(switches) / sizeof(switches[0]); i++)
		if (strcmp(switches[i].key, key) == 0)
			return switches[i].at;
	return NULL;
}

static enum err take(struct attach_asked *a, const char *key, const json_t *v, struct err_note *note)
{
	const char **text = text_of(&a->req, key);
	bool *on = switch_of(&a->req, key);

	if (text != NULL && json_is_string(v))
		*text = json_string_value(v);
	else if (on != NULL && json_is_boolean(v))
		*on = json_is_true(v);
	else if (strcmp(key, "addresses") == 0 && json_is_array(v))
		return take_addresses(a, v, note);
	else if (strcmp(key, "routes") == 0 && json_is_array(v))
		return take_routes(a, v, note);
	else if (strcmp(key, "hosts") == 0 && json_is_array(v))
		return take_hosts(a, v, note);
	else
		return err_note(note, ERR_MALFORMED, "'%.40s' is no field of this request, or of another type; weftd(8) lists them", key);
	return ERR_OK;
}

enum err attach_request_read(struct attach_asked *a, json_t *doc, bool attach, struct err_note *note)
{
	enum err err = ERR_OK;
	const char *key;
	json_t *v;

	*a = (struct attach_asked){ .req = { .multicast_route = true, .with_dns = true } };
	a->req.addrs = a->addrs;
	a->req.routes = a->routes;
	a->req.hosts = a->hosts;
	if (!json_is_object(doc))
		return err_note(note, ERR_MALFORMED, "the body is no JSON object; weftd(8) says what it holds");
	json_object_foreach(doc, key, v)
	{
		if (err == ERR_OK)
			err = take(a, key, v, note);
	}
	if (err != ERR_OK)
		return err;
	if (a->req.container != NULL ? a->req.container[0] == '\0' : attach || a->req.id == NULL)
		return err_note(note, ERR_MALFORMED, "the container is missing; give it as {\"container\": \"pid:N\"}");
	return ERR_OK;
}

static json_t *routes_of(const struct attach_request *req)
{
	json_t *list = json_array();

	for (size_t i = 0; i < req->n_routes; i++) {
		char dst[PREFIX_TEXT], gw[IP_TEXT];
		(void)json_array_append_new(list,
			json_pack("{s:s, s:s*}", "dst", prefix_format(req->routes[i].dst, dst), "gw",
				req->routes[i].gw.family != 0 ? ip_format(req->routes[i].gw, gw) : NULL));
	}
	return list;
}

static json_t *hosts_of(const struct attach_request *req)
{
	char ip[IP_TEXT];
	json_t *list = json_array();

	for (size_t i = 0; i < req->n_hosts; i++)
		(void)json_array_append_new(
			list, json_pack("{s:s, s:s}", "name", req->hosts[i].name, "address", ip_format(req->hosts[i].ip, ip)));
	return list;
}

json_t *attach_request_write(const struct attach_request *req)
{
	json_t *addrs = json_array();

	for (size_t i = 0; i < req->n_addrs; i++)
		(void)json_array_append_new(addrs, json_string(req->addrs[i]));
	return json_pack("{s:s*, s:s*, s:s*, s:s*, s:s*, s:o, s:o, s:o, s:b, s:b, s:b, s:b}", "container", req->container, "id",
		req->id, "ifname", req->ifname, "mac", req->mac, "network", req->network, "addresses", addrs, "routes", routes_of(req),
		"hosts", hosts_of(req), "hairpin", req->hairpin, "multicast_route", req->multicast_route, "with_dns", req->with_dns,
		"rewrite_hosts", req->rewrite_hosts);
}
