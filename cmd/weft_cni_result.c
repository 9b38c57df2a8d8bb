/* Results and errors, in the forms of the versions. Between 0.3.1 and 1.1.0 they differ in little: "version" of an address until 0.4.0, "mtu" of an
 * interface from 1.1.0 on. */
#include <stdio.h>
#include <string.h>

#include "weft_cni.h"

json_t *cni_error_json(const struct cni_error *e, const char *version)
{
	json_t *doc = json_pack("{s:s, s:i, s:s}", "cniVersion", version, "code", e->code, "msg", e->msg);

	if (doc == NULL) /* bytes of the runtime's that are not UTF-8 */
		doc = json_pack("{s:s, s:i, s:s}", "cniVersion", version, "code", e->code, "msg", "what was given is not UTF-8");
	if (doc != NULL && e->details[0] != '\0')
		(void)json_object_set_new(doc, "details", json_string(e->details));
	return doc;
}

/* --- writing ------------------------------------------------------------------------------------------------------------------------------- */

static json_t *iface_json(const struct cni_iface *i, enum cni_version v)
{
	json_t *doc = json_pack("{s:s}", "name", i->name);

	if (i->mac[0] != '\0')
		(void)json_object_set_new(doc, "mac", json_string(i->mac));
	if (i->mtu > 0 && v >= CNI_1_1_0)
		(void)json_object_set_new(doc, "mtu", json_integer((json_int_t)i->mtu));
	if (i->sandbox != NULL)
		(void)json_object_set_new(doc, "sandbox", json_string(i->sandbox));
	return doc;
}

static json_t *ip_json(const struct cni_ip *ip, enum cni_version v, size_t shift)
{
	char text[PREFIX_TEXT];
	json_t *doc = json_pack("{s:s}", "address", prefix_format(ip->addr, text));

	if (v < CNI_1_0_0)
		(void)json_object_set_new(doc, "version", json_string(ip->addr.addr.family == 6 ? "6" : "4"));
	if (ip->gw.family != 0)
		(void)json_object_set_new(doc, "gateway", json_string(ip_format(ip->gw, text)));
	if (ip->iface >= 0)
		(void)json_object_set_new(doc, "interface", json_integer(ip->iface + (json_int_t)shift));
	return doc;
}

static json_t *route_json(const struct cni_route *r)
{
	char text[PREFIX_TEXT];
	json_t *doc = json_pack("{s:s}", "dst", prefix_format(r->dst, text));

	if (r->gw.family != 0)
		(void)json_object_set_new(doc, "gw", json_string(ip_format(r->gw, text)));
	return doc;
}

/* The list of that name in prev, copied, or an empty one. */
static json_t *before(const json_t *prev, const char *key)
{
	const json_t *list = json_object_get(prev, key);

	return json_is_array(list) ? json_copy((json_t *)list) : json_array();
}

json_t *cni_result_json(const struct cni_result *r, enum cni_version v, const json_t *prev)
{
	json_t *ifaces = before(prev, "interfaces"), *ips = before(prev, "ips"), *routes = before(prev, "routes");
	const json_t *dns = json_object_get(prev, "dns");
	size_t shift = json_array_size(ifaces);
	bool ok = true;

	for (size_t i = 0; i < r->n_ifaces; i++)
		ok = json_array_append_new(ifaces, iface_json(&r->ifaces[i], v)) == 0 && ok;
	for (size_t i = 0; i < r->n_ips; i++)
		ok = json_array_append_new(ips, ip_json(&r->ips[i], v, shift)) == 0 && ok;
	for (size_t i = 0; i < r->n_routes; i++)
		ok = json_array_append_new(routes, route_json(&r->routes[i])) == 0 && ok;
	if (json_object_size(dns) == 0)
		dns = r->dns;
	json_t *doc =
		json_pack("{s:s, s:o, s:o, s:o}", "cniVersion", cni_version_text(v), "interfaces", ifaces, "ips", ips, "routes", routes);
	if (doc == NULL || !ok)
		goto fail;
	if (json_object_set_new(doc, "dns", dns != NULL ? json_copy((json_t *)dns) : json_object()) != 0)
		goto fail;
	return doc;
fail:
	json_decref(doc);
	return NULL;
}

/* --- reading ------------------------------------------------------------------------------------------------------------------------------- */

static int read_iface(const json_t *v, struct cni_iface *out, struct cni_error *e)
{
	const char *name = json_string_value(json_object_get(v, "name")), *mac = json_string_value(json_object_get(v, "mac"));
	const json_t *mtu = json_object_get(v, "mtu");
	struct mac m;

	*out = (struct cni_iface){ .sandbox = json_string_value(json_object_get(v, "sandbox")) };
	if (name == NULL || strlen(name) > CNI_IFNAME_MAX)
		return cni_fail(e, CNI_DECODE, "an interface of the result has no 'name'");
	(void)snprintf(out->name, sizeof(out->name), "%s", name);
	if (mac != NULL && mac_parse(mac, &m) == ERR_OK)
		(void)mac_format(m, out->mac);
	if (json_is_integer(mtu) && json_integer_value(mtu) > 0 && json_integer_value(mtu) < 1 << 20)
		out->mtu = (unsigned)json_integer_value(mtu);
	if (out->sandbox != NULL && out->sandbox[0] == '\0')
		out->sandbox = NULL;
	return CNI_OK;
}

static int read_ip(const json_t *v, struct cni_ip *out, struct cni_error *e)
{
	const char *addr = json_string_value(json_object_get(v, "address")), *gw = json_string_value(json_object_get(v, "gateway"));
	const json_t *iface = json_object_get(v, "interface");

	*out = (struct cni_ip){ .iface = -1 };
	if (addr == NULL || prefix_parse(addr, &out->addr) != ERR_OK)
		return cni_fail(e, CNI_DECODE, "an 'address' of the result is none: '%.60s'", addr != NULL ? addr : "");
	if (gw != NULL && gw[0] != '\0' && (ip_parse(gw, &out->gw) != ERR_OK || out->gw.family != out->addr.addr.family))
		return cni_fail(e, CNI_DECODE, "a 'gateway' of the result is none: '%.60s'", gw);
	if (json_is_integer(iface) && json_integer_value(iface) >= 0 && json_integer_value(iface) < CNI_IFACES_MAX)
		out->iface = (int)json_integer_value(iface);
	return CNI_OK;
}

int cni_result_parse(const json_t *doc, struct cni_result *out, struct cni_error *e)
{
	const json_t *ifaces = json_object_get(doc, "interfaces"), *ips = json_object_get(doc, "ips"),
				 *routes = json_object_get(doc, "routes"), *v;
	int code = CNI_OK;
	size_t i;

	*out = (struct cni_result){ 0 };
	if (!json_is_object(doc))
		return cni_fail(e, CNI_DECODE, "the result is no JSON object");
	if (json_array_size(ifaces) > CNI_IFACES_MAX || json_array_size(ips) > CNI_IPS_MAX ||
		json_array_size(routes) > CNI_ROUTES_MAX)
		return cni_fail(e, CNI_DECODE, "the result has more than %d interfaces, %d addresses or %d routes", CNI_IFACES_MAX,
			CNI_IPS_MAX, CNI_ROUTES_MAX);
	json_array_foreach((json_t *)ifaces, i, v) if (code == CNI_OK) code = read_iface(v, &out->ifaces[out->n_ifaces++], e);
	json_array_foreach((json_t *)ips, i, v) if (code == CNI_OK) code = read_ip(v, &out->ips[out->n_ips++], e);
	json_array_foreach((json_t *)routes, i, v) if (code == CNI_OK) code = cni_route_parse(v, &out->routes[out->n_routes++], e);
	if (json_is_object(json_object_get(doc, "dns")))
		out->dns = json_object_get(doc, "dns");
	return code;
}
