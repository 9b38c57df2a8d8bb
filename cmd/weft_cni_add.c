/* ADD and DEL.
 *
 * ADD goes: another plugin's addresses, if one is named ─▶ the host's own address, as gateway ─▶ the daemon's attach ─▶ MTU and bandwidth ─▶ names.
 * Whatever fails, what was done before it for this container is undone: the detach takes interface, addresses and names, and the other plugin gets its
 * DEL. The host's address stays, being of use to all containers. DEL is that undoing; it is no error when nothing is there. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "http_client.h"
#include "weft_cni.h"

struct adding {
	const struct cni_conf *c;
	struct cni_result got;           /* of the other plugin */
	json_t *ipam, *answer, *dns;     /* what is borrowed from */
	bool allocated, attached;        /* to be undone, perhaps */
	struct prefix nets[CNI_IPS_MAX]; /* what will be on its link, as far as that is known before */
	size_t n_nets;
	struct cni_route routes[CNI_ROUTES_MAX];
	size_t n_routes;
	struct ip gateway, gateway6;
	struct cni_result out;
};

/* --- addresses and routes ------------------------------------------------------------------------------------------------------------------ */

/* The length of an address that was asked for without one: that of its network's subnet. */
static int complete(const struct cni_conf *c, struct prefix *p, struct cni_error *e)
{
	const char *network = c->network != NULL ? c->network : "weft", *subnet = NULL;
	char address[IP_TEXT];
	struct prefix in;
	json_t *doc, *n;
	size_t i;

	int code = cni_ask(c, "GET", "/network", NULL, &doc, NULL, e);
	if (code != CNI_OK)
		return code;
	json_array_foreach(json_object_get(doc, "networks"), i, n)
	{
		const char *name = json_string_value(json_object_get(n, "name"));
		if (name != NULL && strcmp(name, network) == 0)
			subnet = json_string_value(json_object_get(n, p->addr.family == 6 ? "subnet6" : "subnet"));
	}
	if (c->subnet != NULL && p->addr.family == 4)
		subnet = c->subnet;
	if (subnet == NULL || prefix_parse(subnet, &in) != ERR_OK)
		code = cni_fail(e, CNI_BAD_CONF, "network %s has no subnet; give the address %s with its length", network,
			ip_format(p->addr, address));
	else if (!prefix_contains(in, p->addr))
		code = cni_fail(e, CNI_BAD_CONF, "the address %s is not in the subnet %s; give it with its length, if that is meant",
			ip_format(p->addr, address), subnet);
	else
		p->len = in.len;
	json_decref(doc);
	return code;
}

static bool add_text(json_t *list, const char *kind, const char *text)
{
	char whole[PREFIX_TEXT + 8];

	(void)snprintf(whole, sizeof(whole), "%s:%s", kind, text);
	return json_array_append_new(list, json_string(whole)) == 0;
}

/* In the forms of `weft attach`: another plugin's, or what is asked for, or one of a subnet; an empty list is one of the network's. */
static int addresses(struct adding *a, json_t *list, struct cni_error *e)
{
	const struct cni_conf *c = a->c;
	char text[PREFIX_TEXT];
	bool ok = true;

	for (size_t i = 0; i < a->got.n_ips; i++)
		a->nets[a->n_nets++] = a->got.ips[i].addr;
	for (size_t i = 0; c->ipam == NULL && i < c->n_ips; i++) {
		struct prefix *p = &a->nets[a->n_nets++];
		*p = c->ips[i];
		int code = p->len == CNI_LEN_UNSAID ? complete(c, p, e) : CNI_OK;
		if (code != CNI_OK)
			return code;
	}
	for (size_t i = 0; i < a->n_nets; i++)
		ok = add_text(list, "ip", prefix_format(a->nets[i], text)) && ok;
	if (a->n_nets == 0 && c->subnet != NULL) {
		ok = add_text(list, "net", c->subnet) && prefix_parse(c->subnet, &a->nets[0]) == ERR_OK;
		a->n_nets = 1;
	}
	return ok ? CNI_OK : cni_fail(e, CNI_IO, "out of memory");
}

/* From another plugin, which has the last word on what is asked for. */
static int delegate(struct adding *a, struct cni_error *e)
{
	int code = cni_delegate(a->c, "ADD", &a->ipam, e);

	a->allocated = true; /* a failed ADD may have left something: the spec wants a DEL */
	if (code == CNI_OK)
		code = cni_result_parse(a->ipam, &a->got, e);
	if (code == CNI_OK && a->got.n_ips == 0)
		code = cni_fail(e, CNI_BAD_CONF, "%s gave no address", a->c->ipam);
	for (size_t i = 0; i < a->got.n_ips && code == CNI_OK; i++) {
		struct ip *gw = a->got.ips[i].addr.addr.family == 6 ? &a->gateway6 : &a->gateway;
		if (gw->family == 0)
			*gw = a->got.ips[i].gw;
	}
	return code;
}

static bool wants_gateway(const struct cni_conf *c)
{
	if (c->is_gateway != CNI_UNSAID)
		return c->is_gateway == CNI_YES;
	return c->ipam == NULL && c->gateway.family == 0;
}

/* One of the host's own addresses on the network: the first of each family is the gateway, unless one is named. */
static void take_gateway(struct adding *a, const char *text, const struct ip *named, bool *found)
{
	struct prefix p = { 0 };

	if (text == NULL || prefix_parse(text, &p) != ERR_OK)
		return;
	struct ip *gw = p.addr.family == 6 ? &a->gateway6 : &a->gateway;
	if (named->family != 0 && !ip_eq(p.addr, *named))
		return;
	if (gw->family == 0)
		*gw = p.addr;
	*found = true;
}

/* What it has already is enough, however the operator wants it to be translated. */
static int find_exposed(struct adding *a, const struct ip *named, bool *found, struct cni_error *e)
{
	const char *network = a->c->network != NULL ? a->c->network : "weft";
	json_t *doc, *v;
	size_t i;
	int code = cni_ask(a->c, "GET", "/expose", NULL, &doc, NULL, e);

	*found = false;
	if (code != CNI_OK)
		return code;
	json_array_foreach(json_object_get(doc, "exposed"), i, v)
	{
		const char *on = json_string_value(json_object_get(v, "network"));
		if (on != NULL && strcmp(on, network) == 0)
			take_gateway(a, json_string_value(json_object_get(v, "address")), named, found);
	}
	json_decref(doc);
	return CNI_OK;
}

static int expose(struct adding *a, struct ip named, struct cni_error *e)
{
	const struct cni_conf *c = a->c;
	char path[256], text[PREFIX_TEXT];
	struct prefix p = { .addr = named, .len = CNI_LEN_UNSAID };
	json_t *doc = NULL, *v;
	int code = CNI_OK;
	bool found;
	size_t i;

	for (i = 0; i < a->got.n_ips; i++)
		if (prefix_contains(a->got.ips[i].addr, p.addr))
			p.len = a->got.ips[i].addr.len;
	if (p.addr.family != 0 && p.len == CNI_LEN_UNSAID)
		code = complete(c, &p, e);
	if (code == CNI_OK) {
		(void)snprintf(path, sizeof(path), "/expose%s%s?network=%s&skipNAT=%s", p.addr.family != 0 ? "/" : "",
			p.addr.family != 0 ? prefix_format(p, text) : "", c->network != NULL ? c->network : "weft",
			c->masquerade ? "false" : "true");
		code = cni_ask(c, "POST", path, NULL, &doc, NULL, e);
	}
	json_array_foreach(json_object_get(doc, "addresses"), i, v) take_gateway(a, json_string_value(v), &named, &found);
	json_decref(doc);
	if (code == CNI_OK && a->gateway.family == 0 && a->gateway6.family == 0)
		code = cni_fail(e, CNI_IO, "weft's daemon has no address for the host");
	return code;
}

static int have_exposed(struct adding *a, struct ip named, struct cni_error *e)
{
	bool found;
	int code = find_exposed(a, &named, &found, e);

	return code == CNI_OK && !found ? expose(a, named, e) : code;
}

/* The host gets an address, unless it has one; which one, of each family, is said only by who names a gateway. It passes on what containers send, as with
 * all plugins that are a gateway. */
static int be_gateway(struct adding *a, struct cni_error *e)
{
	const struct ip four = a->c->gateway.family == 4 ? a->c->gateway : a->gateway,
					six = a->c->gateway.family == 6 ? a->c->gateway : a->gateway6, none = { 0 };
	int code = CNI_OK;

	if (four.family != 0 || six.family == 0)
		code = have_exposed(a, four.family != 0 ? four : none, e);
	if (code == CNI_OK && six.family != 0)
		code = have_exposed(a, six, e);
	if (code == CNI_OK && a->gateway.family != 0)
		code = cni_forward(4, e);
	if (code == CNI_OK && a->gateway6.family != 0)
		code = cni_forward(6, e);
	return code;
}

static bool has_route(const struct cni_route *routes, size_t n, struct prefix dst)
{
	for (size_t i = 0; i < n; i++)
		if (prefix_eq(routes[i].dst, dst))
			return true;
	return false;
}

static bool on_link(const struct adding *a, struct ip gw)
{
	bool known = false;

	for (size_t i = 0; i < a->n_nets; i++) {
		if (prefix_contains(a->nets[i], gw))
			return true;
		known = known || a->nets[i].addr.family == gw.family;
	}
	return !known; /* its subnet is the network's, and so is the gateway's */
}

/* The host's address may lie outside of the container's subnet: then a route leads to it first. */
static void add_route(struct adding *a, struct prefix dst, struct ip gw)
{
	struct prefix host = { .addr = gw, .len = (uint8_t)ip_bits(gw) };

	if (gw.family != 0 && !on_link(a, gw) && !has_route(a->routes, a->n_routes, host) && a->n_routes < CNI_ROUTES_MAX)
		a->routes[a->n_routes++] = (struct cni_route){ .dst = host };
	if (a->n_routes < CNI_ROUTES_MAX)
		a->routes[a->n_routes++] = (struct cni_route){ .dst = dst, .gw = gw };
}

/* Routes that somebody gave; else a default route for each family that has a gateway, unless another network of the container has given one. */
static void choose_routes(struct adding *a, const struct cni_seen *before)
{
	const struct cni_conf *c = a->c;
	const struct cni_route *given = c->ipam != NULL ? a->got.routes : c->routes;
	size_t n = c->ipam != NULL ? a->got.n_routes : c->n_routes;
	struct prefix all4 = { .addr.family = 4 }, all6 = { .addr.family = 6 };
	bool wants = c->is_default_gateway == CNI_YES || (c->is_default_gateway == CNI_UNSAID && c->ipam == NULL && !c->routes_given),
		 anyway = c->is_default_gateway == CNI_YES;

	for (size_t i = 0; i < n; i++)
		add_route(a, given[i].dst,
			given[i].gw.family != 0             ? given[i].gw
				: given[i].dst.addr.family == 6 ? a->gateway6
												: a->gateway);
	if (wants && a->gateway.family != 0 && !has_route(a->routes, a->n_routes, all4) &&
		(anyway || !has_route(before->routes, before->n_routes, all4)))
		add_route(a, all4, a->gateway);
	if (wants && a->gateway6.family != 0 && !has_route(a->routes, a->n_routes, all6) &&
		(anyway || !has_route(before->routes, before->n_routes, all6)))
		add_route(a, all6, a->gateway6);
}

/* --- the interface ------------------------------------------------------------------------------------------------------------------------- */

static json_t *routes_json(const struct adding *a)
{
	char dst[PREFIX_TEXT], gw[IP_TEXT];
	json_t *list = json_array();

	for (size_t i = 0; i < a->n_routes; i++) {
		const struct cni_route *r = &a->routes[i];
		json_t *v = json_pack("{s:s}", "dst", prefix_format(r->dst, dst));
		if (r->gw.family != 0)
			(void)json_object_set_new(v, "gw", json_string(ip_format(r->gw, gw)));
		(void)json_array_append_new(list, v);
	}
	return list;
}

/* The addresses that it has now, and its ends. */
static int take_attached(struct adding *a, struct cni_error *e)
{
	struct cni_result *r = &a->out;
	const struct cni_conf *c = a->c;
	struct cni_seen seen;
	const json_t *v;
	size_t i;

	json_array_foreach(json_object_get(a->answer, "addresses"), i, v)
	{
		struct cni_ip *ip = &r->ips[r->n_ips];
		*ip = (struct cni_ip){ .iface = 1 };
		if (r->n_ips == CNI_IPS_MAX || !json_is_string(v) || prefix_parse(json_string_value(v), &ip->addr) != ERR_OK)
			return cni_fail(e, CNI_IO, "weft's daemon answered addresses that cannot be read");
		ip->gw = ip->addr.addr.family == 6 ? a->gateway6 : a->gateway;
		r->n_ips++;
	}
	int code = cni_look(c->netns, c->ifname, &seen, e);
	if (code != CNI_OK)
		return code;
	if (!seen.there || seen.host.name[0] == '\0')
		return cni_fail(e, CNI_KERNEL, "the interface %s went away while it was made", c->ifname);
	r->ifaces[0] = seen.host;
	r->ifaces[1] = (struct cni_iface){ .mtu = seen.mtu, .sandbox = c->netns };
	memcpy(r->ifaces[1].name, c->ifname, strlen(c->ifname) + 1);
	memcpy(r->ifaces[1].mac, seen.mac, sizeof(seen.mac));
	r->n_ifaces = 2;
	memcpy(r->routes, a->routes, a->n_routes * sizeof(a->routes[0]));
	r->n_routes = a->n_routes;
	return CNI_OK;
}

static int attach(struct adding *a, const struct cni_seen *before, struct cni_error *e)
{
	const struct cni_conf *c = a->c;
	char container[CNI_IDENT_MAX + 8];
	json_t *list = json_array();
	int status = 0, code = addresses(a, list, e);

	choose_routes(a, before);

	(void)snprintf(container, sizeof(container), "netns:%s", c->netns);
	json_t *body =
		json_pack("{s:s, s:s, s:s, s:O, s:o, s:b, s:b, s:b}", "container", container, "id", c->ident, "ifname", c->ifname,
			"addresses", list, "routes", routes_json(a), "hairpin", c->hairpin, "with_dns", 0, "multicast_route", c->multicast);
	json_decref(list);
	if (body != NULL && c->network != NULL)
		(void)json_object_set_new(body, "network", json_string(c->network));
	if (body != NULL && c->mac[0] != '\0')
		(void)json_object_set_new(body, "mac", json_string(c->mac));
	if (code == CNI_OK && body == NULL)
		code = cni_fail(e, CNI_IO, "out of memory");
	if (code == CNI_OK) {
		a->attached = true; /* perhaps, when the answer is lost */
		code = cni_ask(c, "POST", "/attach", body, &a->answer, &status, e);
	}
	json_decref(body);
	if (code == CNI_OK)
		code = take_attached(a, e);
	return code;
}

static int shape(struct adding *a, struct cni_error *e)
{
	const struct cni_conf *c = a->c;

	if (c->mtu == 0 && c->in.bits_s == 0 && c->out.bits_s == 0)
		return CNI_OK;
	if (c->mtu > a->out.ifaces[1].mtu)
		return cni_fail(
			e, CNI_BAD_CONF, "'mtu' is %u, but what reaches all other hosts in one piece is %u", c->mtu, a->out.ifaces[1].mtu);
	int code = cni_shape(c->netns, c->ifname, a->out.ifaces[0].name, c->mtu, c->in, c->out, e);
	if (code == CNI_OK && c->mtu > 0)
		a->out.ifaces[0].mtu = a->out.ifaces[1].mtu = c->mtu;
	return code;
}

/* --- names --------------------------------------------------------------------------------------------------------------------------------- */

/* A name that cannot be one is no reason to have no network: it is said on stderr, where runtimes' logs take it from. */
static int put_name(const struct adding *a, const char *name, const char *domain, struct cni_error *e)
{
	char fqdn[512], path[2048], text[IP_TEXT];
	size_t n = strlen(name), d = strlen(domain);
	bool whole = n > d && strcmp(name + n - d, domain) == 0 && name[n - d - 1] == '.';
	int code = CNI_OK;

	(void)snprintf(fqdn, sizeof(fqdn), whole ? "%s" : "%s.%s", name, domain);
	char *escaped = http_escape(fqdn), *ident = http_escape(a->c->ident);
	if (escaped == NULL || ident == NULL)
		code = cni_fail(e, CNI_IO, "out of memory");
	for (size_t i = 0; i < a->out.n_ips && code == CNI_OK; i++) {
		int status = 0;
		(void)snprintf(path, sizeof(path), "/name/%s/%s?fqdn=%s", ident, ip_format(a->out.ips[i].addr.addr, text), escaped);
		code = cni_ask(a->c, "PUT", path, NULL, NULL, &status, e);
		if (code != CNI_OK && status >= 400 && status < 500) {
			(void)fprintf(stderr, "weft-cni: the name %.200s is left out: %s\n", fqdn, e->msg);
			code = CNI_OK;
			break;
		}
	}
	free(ident);
	free(escaped);
	return code;
}

static int names(struct adding *a, struct cni_error *e)
{
	const struct cni_conf *c = a->c;
	char domain[256], own[sizeof(c->pod) + sizeof(c->pod_namespace) + 1], server[64] = "";
	const char *text = domain;

	if (!c->names)
		return CNI_OK;
	int code = cni_ask_text(c, "/domain", domain, sizeof(domain), e);
	if (code != CNI_OK || domain[0] == '\0')
		return code;
	size_t n = strlen(domain);
	if (domain[n - 1] == '.')
		domain[n - 1] = '\0';
	(void)snprintf(own, sizeof(own), c->pod_namespace[0] != '\0' ? "%s.%s" : "%s", c->pod, c->pod_namespace);
	if (c->pod[0] != '\0')
		code = put_name(a, own, text, e);
	for (size_t i = 0; i < c->n_aliases && code == CNI_OK; i++)
		code = put_name(a, c->aliases[i], text, e);
	if (code == CNI_OK && c->dns == NULL && json_object_size(a->got.dns) == 0)
		code = cni_ask_text(c, "/dns-address", server, sizeof(server), e);
	if (server[0] != '\0')
		a->dns = json_pack("{s:[s], s:s, s:[s]}", "nameservers", server, "domain", domain, "search", domain);
	return code;
}

/* --- together ------------------------------------------------------------------------------------------------------------------------------ */

static int check_free(const struct cni_conf *c, struct cni_seen *seen, struct cni_error *e)
{
	int code = cni_look(c->netns, c->ifname, seen, e);

	if (code == CNI_OK && seen->there)
		code = cni_fail(
			e, CNI_BAD_ENV, "the container has an interface %s already; a DEL has to come before another ADD", c->ifname);
	return code;
}

static void undo(const struct adding *a, struct cni_error *e)
{
	struct cni_error failed;

	if (a->attached && cni_forget(a->c, a->c->ident, a->c->netns, &failed) != CNI_OK)
		(void)snprintf(e->details, sizeof(e->details), "and what was done is not undone until DEL: %.300s", failed.msg);
	if (a->allocated && cni_delegate(a->c, "DEL", NULL, &failed) != CNI_OK)
		(void)snprintf(e->details, sizeof(e->details), "and what was done is not undone until DEL: %.300s", failed.msg);
}

int cni_add(const struct cni_conf *c, json_t **out, struct cni_error *e)
{
	struct adding a = { .c = c };
	struct cni_seen before;

	*out = NULL;
	int code = check_free(c, &before, e);
	if (code == CNI_OK && c->ipam != NULL)
		code = delegate(&a, e);
	if (code == CNI_OK && c->ipam == NULL)
		*(c->gateway.family == 6 ? &a.gateway6 : &a.gateway) = c->gateway;
	if (code == CNI_OK && wants_gateway(c))
		code = be_gateway(&a, e);
	if (code == CNI_OK)
		code = attach(&a, &before, e);
	if (code == CNI_OK)
		code = shape(&a, e);
	if (code == CNI_OK)
		code = names(&a, e);
	if (code == CNI_OK) {
		a.out.dns = c->dns != NULL ? c->dns : json_object_size(a.got.dns) > 0 ? a.got.dns : a.dns;
		*out = cni_result_json(&a.out, c->version, c->prev);
		code = *out != NULL ? CNI_OK : cni_fail(e, CNI_IO, "out of memory");
	}
	if (code != CNI_OK)
		undo(&a, e);
	json_decref(a.dns);
	json_decref(a.answer);
	json_decref(a.ipam);
	return code;
}

int cni_del(const struct cni_conf *c, struct cni_error *e)
{
	if (c->ident[0] == '\0')
		return CNI_OK;
	int code = cni_forget(c, c->ident, c->netns, e);

	if (code == CNI_OK && c->ipam != NULL)
		code = cni_delegate(c, "DEL", NULL, e);
	return code;
}
