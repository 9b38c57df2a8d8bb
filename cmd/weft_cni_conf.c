/* What a runtime asks for: environment and stdin to a struct cni_conf. A table of fields for each object that comes; what is in none of them is an
 * error, since a misspelt option that silently does nothing is found much later. Nothing here touches the system. */
#include <ctype.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "weft_cni.h"

enum { MTU_MIN = 576, MTU_MAX = 65535, NAME_MAX_BYTES = 200, TYPE_MAX = 64 };

int cni_fail(struct cni_error *e, int code, const char *fmt, ...)
{
	va_list args;

	e->code = code;
	e->details[0] = '\0';
	va_start(args, fmt);
	(void)vsnprintf(e->msg, sizeof(e->msg), fmt, args);
	va_end(args);
	return code;
}

static const char *const versions[CNI_VERSIONS] = { "0.3.1", "0.4.0", "1.0.0", "1.1.0" };

const char *cni_version_text(enum cni_version v)
{
	return versions[v];
}

bool cni_version_parse(const char *text, enum cni_version *out)
{
	for (int v = 0; v < CNI_VERSIONS; v++)
		if (strcmp(versions[v], text) == 0) {
			*out = (enum cni_version)v;
			return true;
		}
	return false;
}

/* --- fields ------------------------------------------------------------------------------------------------------------------------------ */

enum kind { STRING, BOOL, NUMBER, OBJECT, ARRAY, ANY };
struct field {
	const char *key;
	enum kind kind;
	int (*take)(struct cni_conf *c, const json_t *v, struct cni_error *e); /* NULL: known, and not for us */
};

static bool is_kind(const json_t *v, enum kind kind)
{
	switch (kind) {
	case STRING: return json_is_string(v);
	case BOOL: return json_is_boolean(v);
	case NUMBER: return json_is_integer(v);
	case OBJECT: return json_is_object(v);
	case ARRAY: return json_is_array(v);
	case ANY: break;
	}
	return true;
}

/* where: what the object is called in errors, with a dot at its end, or "". Null is as good as absent: Go writes it for empty lists. */
static int take_fields(struct cni_conf *c, const json_t *doc, const char *where, const struct field *fields, struct cni_error *e)
{
	static const char *const kinds[] = { "a string", "true or false", "a whole number", "an object", "a list", "" };
	const char *key;
	json_t *v;

	json_object_foreach((json_t *)doc, key, v)
	{
		const struct field *f = fields;
		while (f->key != NULL && strcmp(f->key, key) != 0)
			f++;
		if (json_is_null(v) || (f->key == NULL && strncmp(key, "cni.dev/", 8) == 0))
			continue;
		if (f->key == NULL)
			return cni_fail(e, CNI_UNSUPPORTED, "'%s%.60s' is no field that weft knows; weft-cni(8) lists them", where, key);
		if (!is_kind(v, f->kind))
			return cni_fail(e, CNI_BAD_CONF, "'%s%s' has to be %s", where, key, kinds[f->kind]);
		int code = f->take != NULL ? f->take(c, v, e) : CNI_OK;
		if (code != CNI_OK)
			return code;
	}
	return CNI_OK;
}

/* Letters, digits and some marks, beginning with a letter or a digit: what the spec wants of names and ids. */
static bool is_word(const char *s)
{
	if (!isalnum((unsigned char)*s))
		return false;
	for (; *s != '\0'; s++)
		if (!isalnum((unsigned char)*s) && strchr("_.-", *s) == NULL)
			return false;
	return true;
}

/* --- addresses --------------------------------------------------------------------------------------------------------------------------- */

static int add_ip(struct cni_conf *c, const char *text, size_t n, int code, struct cni_error *e)
{
	char one[PREFIX_TEXT];
	struct prefix p = { .len = CNI_LEN_UNSAID };

	(void)snprintf(one, sizeof(one), "%.*s", (int)(n < sizeof(one) ? n : sizeof(one) - 1), text);
	if (n >= sizeof(one) || (strchr(one, '/') != NULL ? prefix_parse(one, &p) : ip_parse(one, &p.addr)) != ERR_OK)
		return cni_fail(e, code, "'%.60s' is no address; give one like 10.32.0.9 or 10.32.0.9/12", one);
	for (size_t i = 0; i < c->n_ips; i++)
		if (ip_eq(c->ips[i].addr, p.addr))
			return CNI_OK;
	if (c->n_ips == CNI_IPS_MAX)
		return cni_fail(e, code, "more than %d addresses are asked for", CNI_IPS_MAX);
	c->ips[c->n_ips++] = p;
	return CNI_OK;
}

static int take_ips(struct cni_conf *c, const json_t *v, struct cni_error *e)
{
	const json_t *ip;
	size_t i;

	json_array_foreach((json_t *)v, i, ip)
	{
		const char *text = json_string_value(ip);
		int code = text != NULL ? add_ip(c, text, strlen(text), CNI_BAD_CONF, e)
								: cni_fail(e, CNI_BAD_CONF, "'ips' has to be a list of addresses");
		if (code != CNI_OK)
			return code;
	}
	return CNI_OK;
}

static int set_mac(struct cni_conf *c, const char *text, int code, struct cni_error *e)
{
	struct mac mac;

	if (text[0] == '\0')
		return CNI_OK;
	if (mac_parse(text, &mac) != ERR_OK || mac_is_group(mac))
		return cni_fail(e, code, "'%.40s' is no MAC address for a container; give one like 02:11:22:33:44:55", text);
	(void)mac_format(mac, c->mac);
	return CNI_OK;
}

static int take_mac(struct cni_conf *c, const json_t *v, struct cni_error *e)
{
	return set_mac(c, json_string_value(v), CNI_BAD_CONF, e);
}

int cni_route_parse(const json_t *v, struct cni_route *out, struct cni_error *e)
{
	const json_t *dst = json_object_get(v, "dst"), *gw = json_object_get(v, "gw"), *other;
	const char *key;

	*out = (struct cni_route){ 0 };
	if (!json_is_string(dst) || prefix_parse(json_string_value(dst), &out->dst) != ERR_OK)
		return cni_fail(e, CNI_BAD_CONF, "a route needs a 'dst' like 10.0.0.0/8");
	out->dst = prefix_network(out->dst);
	if (json_is_string(gw) && json_string_length(gw) > 0 &&
		(ip_parse(json_string_value(gw), &out->gw) != ERR_OK || out->gw.family != out->dst.addr.family))
		return cni_fail(
			e, CNI_BAD_CONF, "'%.40s' is no gateway for the route to %.50s", json_string_value(gw), json_string_value(dst));
	if (gw != NULL && !json_is_string(gw) && !json_is_null(gw))
		return cni_fail(e, CNI_BAD_CONF, "the 'gw' of a route has to be an address");
	json_object_foreach((json_t *)v, key, other)
	{
		bool empty = json_is_null(other) || (json_is_integer(other) && json_integer_value(other) == 0);
		if (strcmp(key, "dst") != 0 && strcmp(key, "gw") != 0 && !empty)
			return cni_fail(e, CNI_UNSUPPORTED, "a route's '%.40s' cannot be set; weft sets 'dst' and 'gw'", key);
	}
	return CNI_OK;
}

/* --- capabilities, and what came instead of them before there were any --------------------------------------------------------------------- */

static int take_rate(const json_t *doc, const char *rate, const char *burst, struct cni_rate *out, struct cni_error *e)
{
	const json_t *r = json_object_get(doc, rate), *b = json_object_get(doc, burst);

	if ((r != NULL && !json_is_null(r) && !json_is_integer(r)) || (b != NULL && !json_is_null(b) && !json_is_integer(b)) ||
		json_integer_value(r) < 0 || json_integer_value(b) < 0)
		return cni_fail(e, CNI_BAD_CONF, "'%s' and '%s' have to be numbers of bits", rate, burst);
	out->bits_s = (uint64_t)json_integer_value(r);
	out->burst_bits = (uint64_t)json_integer_value(b);
	if (out->bits_s > 0 && out->bits_s < 8000)
		return cni_fail(
			e, CNI_BAD_CONF, "'%s' is in bits a second: %" PRIu64 " would be less than a packet a second", rate, out->bits_s);
	if (out->bits_s == 0 && out->burst_bits > 0)
		return cni_fail(e, CNI_BAD_CONF, "'%s' without '%s' limits nothing", burst, rate);
	return CNI_OK;
}

static int take_bandwidth(struct cni_conf *c, const json_t *v, struct cni_error *e)
{
	static const struct field fields[] = { { "ingressRate", ANY, NULL }, { "ingressBurst", ANY, NULL },
		{ "egressRate", ANY, NULL }, { "egressBurst", ANY, NULL }, { NULL, ANY, NULL } };
	int code = take_fields(c, v, "bandwidth.", fields, e);

	if (code == CNI_OK)
		code = take_rate(v, "ingressRate", "ingressBurst", &c->in, e);
	return code != CNI_OK ? code : take_rate(v, "egressRate", "egressBurst", &c->out, e);
}

/* {"NETWORK": ["alias", …]}: those of this network. */
static int take_aliases(struct cni_conf *c, const json_t *v, struct cni_error *e)
{
	const json_t *list = c->name != NULL ? json_object_get(v, c->name) : NULL, *alias;
	size_t i;

	if (list != NULL && !json_is_null(list) && !json_is_array(list))
		return cni_fail(e, CNI_BAD_CONF, "'aliases' has to be lists of names by network");
	json_array_foreach((json_t *)list, i, alias)
	{
		if (!json_is_string(alias) || json_string_length(alias) == 0)
			return cni_fail(e, CNI_BAD_CONF, "an alias has to be a name");
		if (c->n_aliases == CNI_ALIASES_MAX)
			return cni_fail(e, CNI_BAD_CONF, "more than %d aliases", CNI_ALIASES_MAX);
		c->aliases[c->n_aliases++] = json_string_value(alias);
	}
	return CNI_OK;
}

static bool strings_only(const json_t *list)
{
	const json_t *s;
	size_t i;

	if (list != NULL && !json_is_null(list) && !json_is_array(list))
		return false;
	json_array_foreach((json_t *)list, i, s) if (!json_is_string(s)) return false;
	return true;
}

/* {"servers", "searches", "options"} of the runtime, or {"nameservers", "domain", "search", "options"} of the configuration, to the latter. */
static int put_dns(struct cni_conf *c, const json_t *v, const char *servers, const char *searches, struct cni_error *e)
{
	json_t *s = json_object_get(v, servers), *d = json_object_get(v, "domain"), *q = json_object_get(v, searches),
		   *o = json_object_get(v, "options");

	if (!strings_only(s) || !strings_only(q) || !strings_only(o) || (d != NULL && !json_is_string(d) && !json_is_null(d)))
		return cni_fail(e, CNI_BAD_CONF, "'dns' has to hold lists of strings: %s, %s, options", servers, searches);
	json_decref(c->dns);
	c->dns = json_object();
	if (json_array_size(s) > 0)
		(void)json_object_set(c->dns, "nameservers", s);
	if (json_string_length(d) > 0)
		(void)json_object_set(c->dns, "domain", d);
	if (json_array_size(q) > 0)
		(void)json_object_set(c->dns, "search", q);
	if (json_array_size(o) > 0)
		(void)json_object_set(c->dns, "options", o);
	return c->dns != NULL ? CNI_OK : cni_fail(e, CNI_IO, "out of memory");
}

static int take_runtime_dns(struct cni_conf *c, const json_t *v, struct cni_error *e)
{
	return put_dns(c, v, "servers", "searches", e);
}

static int take_dns(struct cni_conf *c, const json_t *v, struct cni_error *e)
{
	return put_dns(c, v, "nameservers", "search", e);
}

static int take_ports(struct cni_conf *c, const json_t *v, struct cni_error *e)
{
	(void)c;
	return json_array_size(v) == 0 ? CNI_OK
								   : cni_fail(e, CNI_UNSUPPORTED,
										 "'portMappings' are for a plugin behind weft in the list: add {\"type\": \"portmap\", "
										 "\"capabilities\": {\"portMappings\": true}} and take the capability from weft");
}

static int take_ranges(struct cni_conf *c, const json_t *v, struct cni_error *e)
{
	return c->ipam != NULL || json_array_size(v) == 0
		? CNI_OK
		: cni_fail(e, CNI_UNSUPPORTED, "'ipRanges' are for an IPAM plugin; weft's own addresses come from 'ipam': {'subnet'}");
}

static int take_runtime(struct cni_conf *c, const json_t *v, struct cni_error *e)
{
	static const struct field fields[] = { { "ips", ARRAY, take_ips }, { "mac", STRING, take_mac },
		{ "dns", OBJECT, take_runtime_dns }, { "bandwidth", OBJECT, take_bandwidth }, { "aliases", OBJECT, take_aliases },
		{ "portMappings", ARRAY, take_ports }, { "ipRanges", ARRAY, take_ranges }, { NULL, ANY, NULL } };

	return take_fields(c, v, "runtimeConfig.", fields, e);
}

/* "args": {"cni": {"ips", "mac"}}: conventions older than capabilities. What else is in it is meant for others. */
static int take_args(struct cni_conf *c, const json_t *v, struct cni_error *e)
{
	const json_t *cni = json_object_get(v, "cni"), *ips = json_object_get(cni, "ips"), *mac = json_object_get(cni, "mac");
	int code = CNI_OK;

	if (json_is_array(ips))
		code = take_ips(c, ips, e);
	if (code == CNI_OK && json_is_string(mac))
		code = take_mac(c, mac, e);
	return code;
}

/* --- the configuration ------------------------------------------------------------------------------------------------------------------- */

/* A name for weft's DNS, if it is one label or a few; Kubernetes' names are. */
static void set_label(char *out, size_t size, const char *value, size_t n)
{
	if (n < size)
		(void)snprintf(out, size, "%.*s", (int)n, value);
}

/* CNI_ARGS: "KEY=VALUE;KEY=VALUE". */
static int take_cni_args(struct cni_conf *c, const char *args, struct cni_error *e)
{
	const char *unknown = NULL;
	size_t unknown_n = 0;
	bool ignore = false;

	for (const char *p = args, *next; p != NULL && *p != '\0'; p = next) {
		size_t n = strcspn(p, ";"), key = strcspn(p, "=;");
		int code = CNI_OK;
		next = p[n] == ';' ? p + n + 1 : p + n;
		const char *value = p + key + 1;
		size_t len = key < n ? n - key - 1 : 0;
		if (n == 0)
			continue;
		if (key == n)
			return cni_fail(e, CNI_BAD_ENV, "CNI_ARGS has '%.*s'; it has to be KEY=VALUE", (int)(n < 60 ? n : 60), p);
		if (key == 2 && memcmp(p, "IP", 2) == 0) {
			for (size_t at = 0; code == CNI_OK && at < len; at += strcspn(value + at, ",;") + 1)
				code = add_ip(c, value + at, strcspn(value + at, ",;"), CNI_BAD_ENV, e);
		} else if (key == 3 && memcmp(p, "MAC", 3) == 0) {
			char mac[64];
			(void)snprintf(mac, sizeof(mac), "%.*s", (int)(len < 63 ? len : 63), value);
			code = set_mac(c, mac, CNI_BAD_ENV, e);
		} else if (key == 12 && memcmp(p, "K8S_POD_NAME", 12) == 0) {
			set_label(c->pod, sizeof(c->pod), value, len);
		} else if (key == 17 && memcmp(p, "K8S_POD_NAMESPACE", 17) == 0) {
			set_label(c->pod_namespace, sizeof(c->pod_namespace), value, len);
		} else if (key == 13 && memcmp(p, "IgnoreUnknown", 13) == 0) {
			ignore = (len == 1 && value[0] == '1') || (len == 4 && strncasecmp(value, "true", 4) == 0);
		} else if (key < 4 || memcmp(p, "K8S_", 4) != 0) {
			unknown = p;
			unknown_n = key;
		}
		if (code != CNI_OK)
			return code;
	}
	if (unknown != NULL && !ignore)
		return cni_fail(e, CNI_BAD_ENV,
			"CNI_ARGS has '%.*s', which weft does not know; it knows IP, MAC, K8S_… and IgnoreUnknown",
			(int)(unknown_n < 60 ? unknown_n : 60), unknown);
	return CNI_OK;
}

static int take_choice(enum cni_choice *out, const json_t *v)
{
	*out = json_is_true(v) ? CNI_YES : CNI_NO;
	return CNI_OK;
}

static int take_is_gateway(struct cni_conf *c, const json_t *v, struct cni_error *e)
{
	(void)e;
	return take_choice(&c->is_gateway, v);
}

static int take_is_default(struct cni_conf *c, const json_t *v, struct cni_error *e)
{
	(void)e;
	return take_choice(&c->is_default_gateway, v);
}

static int take_flag(bool *out, const json_t *v)
{
	*out = json_is_true(v);
	return CNI_OK;
}

static int take_hairpin(struct cni_conf *c, const json_t *v, struct cni_error *e)
{
	(void)e;
	return take_flag(&c->hairpin, v);
}

static int take_masq(struct cni_conf *c, const json_t *v, struct cni_error *e)
{
	(void)e;
	return take_flag(&c->masquerade, v);
}

static int take_multicast(struct cni_conf *c, const json_t *v, struct cni_error *e)
{
	(void)e;
	return take_flag(&c->multicast, v);
}

static int take_names(struct cni_conf *c, const json_t *v, struct cni_error *e)
{
	(void)e;
	return take_flag(&c->names, v);
}

static int take_mtu(struct cni_conf *c, const json_t *v, struct cni_error *e)
{
	json_int_t mtu = json_integer_value(v);

	if (mtu != 0 && (mtu < MTU_MIN || mtu > MTU_MAX))
		return cni_fail(e, CNI_BAD_CONF, "'mtu' has to be %d to %d, or 0 for what fits", MTU_MIN, MTU_MAX);
	c->mtu = (unsigned)mtu;
	return CNI_OK;
}

static int take_socket(struct cni_conf *c, const json_t *v, struct cni_error *e)
{
	c->socket = json_string_value(v);
	return c->socket[0] == '/' ? CNI_OK : cni_fail(e, CNI_BAD_CONF, "'socket' has to be a path from / on");
}

static int take_network(struct cni_conf *c, const json_t *v, struct cni_error *e)
{
	c->network = json_string_value(v);
	return is_word(c->network) && strlen(c->network) <= 64
		? CNI_OK
		: cni_fail(e, CNI_BAD_CONF, "'network' has to be the name of a network of weft; 'weft network ls' lists them");
}

static int take_subnet(struct cni_conf *c, const json_t *v, struct cni_error *e)
{
	struct prefix p;

	c->subnet = json_string_value(v);
	if (prefix_parse(c->subnet, &p) != ERR_OK || p.addr.family != 4 || !prefix_is_network(p))
		return cni_fail(e, CNI_BAD_CONF, "'ipam.subnet' has to be a subnet like 10.32.1.0/24");
	return CNI_OK;
}

static int take_gateway(struct cni_conf *c, const json_t *v, struct cni_error *e)
{
	return json_string_length(v) == 0 || ip_parse(json_string_value(v), &c->gateway) == ERR_OK
		? CNI_OK
		: cni_fail(e, CNI_BAD_CONF, "'ipam.gateway' has to be an address");
}

static int take_routes(struct cni_conf *c, const json_t *v, struct cni_error *e)
{
	const json_t *r;
	size_t i;

	c->routes_given = true;
	json_array_foreach((json_t *)v, i, r)
	{
		if (c->n_routes == CNI_ROUTES_MAX)
			return cni_fail(e, CNI_BAD_CONF, "more than %d routes", CNI_ROUTES_MAX);
		int code = cni_route_parse(r, &c->routes[c->n_routes++], e);
		if (code != CNI_OK)
			return code;
	}
	return CNI_OK;
}

/* {"type": "weft"}, or nothing in it: the daemon's. Another type is a program in CNI_PATH, and what stands beside it is that program's. */
static int take_ipam(struct cni_conf *c, const json_t *v, struct cni_error *e)
{
	static const struct field fields[] = { { "type", STRING, NULL }, { "subnet", STRING, take_subnet },
		{ "gateway", STRING, take_gateway }, { "routes", ARRAY, take_routes }, { NULL, ANY, NULL } };
	const json_t *type = json_object_get(v, "type");
	const char *text = json_string_value(type);

	if (type != NULL && text == NULL)
		return cni_fail(e, CNI_BAD_CONF, "'ipam.type' has to be a string");
	if (text == NULL || text[0] == '\0' || strcmp(text, "weft") == 0)
		return take_fields(c, v, "ipam.", fields, e);
	if (!is_word(text) || strlen(text) > TYPE_MAX)
		return cni_fail(e, CNI_BAD_CONF, "'ipam.type' '%.60s' is no name of a plugin", text);
	c->ipam = text;
	return CNI_OK;
}

static int take_prev(struct cni_conf *c, const json_t *v, struct cni_error *e)
{
	(void)e;
	c->prev = v;
	return CNI_OK;
}

static int take_valid(struct cni_conf *c, const json_t *v, struct cni_error *e)
{
	const json_t *a;
	size_t i;

	if (json_array_size(v) > CNI_VALID_MAX)
		return cni_fail(e, CNI_BAD_CONF, "more than %d attachments", CNI_VALID_MAX);
	json_array_foreach((json_t *)v, i, a) if (!json_is_string(json_object_get(a, "containerID")) ||
		!json_is_string(json_object_get(a, "ifname"))) return cni_fail(e, CNI_BAD_CONF,
		"each of 'cni.dev/valid-attachments' needs 'containerID' and 'ifname'");
	c->valid = v;
	return CNI_OK;
}

/* What others depend on comes first. */
static int take_conf(struct cni_conf *c, struct cni_error *e)
{
	static const struct field fields[] = { { "cniVersion", STRING, NULL }, { "cniVersions", ARRAY, NULL },
		{ "name", STRING, NULL }, { "type", STRING, NULL }, { "disableCheck", BOOL, NULL }, { "disableGC", BOOL, NULL },
		{ "capabilities", OBJECT, NULL }, { "ipam", OBJECT, NULL }, { "args", OBJECT, take_args },
		{ "runtimeConfig", OBJECT, take_runtime }, { "dns", OBJECT, NULL }, { "socket", STRING, take_socket },
		{ "network", STRING, take_network }, { "isGateway", BOOL, take_is_gateway },
		{ "isDefaultGateway", BOOL, take_is_default }, { "hairpinMode", BOOL, take_hairpin }, { "ipMasq", BOOL, take_masq },
		{ "multicastRoute", BOOL, take_multicast }, { "names", BOOL, take_names }, { "mtu", NUMBER, take_mtu },
		{ "prevResult", OBJECT, take_prev }, { "cni.dev/valid-attachments", ARRAY, take_valid }, { NULL, ANY, NULL } };
	static const struct field before[] = { { "ipam", OBJECT, take_ipam }, { "dns", OBJECT, take_dns } };
	int code = CNI_OK;

	c->hairpin = c->masquerade = c->multicast = c->names = true;
	for (size_t i = 0; i < sizeof(before) / sizeof(before[0]) && code == CNI_OK; i++) {
		const json_t *v = json_object_get(c->doc, before[i].key);
		if (json_is_object(v))
			code = before[i].take(c, v, e);
	}
	if (code == CNI_OK)
		code = take_fields(c, c->doc, "", fields, e);
	if (code == CNI_OK && c->is_default_gateway == CNI_YES && c->is_gateway == CNI_NO)
		code = cni_fail(e, CNI_BAD_CONF, "'isDefaultGateway' needs 'isGateway'");
	return code;
}

/* DEL needs to know little, and a runtime that cannot get its DEL through keeps the container for ever: whatever made ADD fail, DEL passes over. */
static void take_what_del_needs(struct cni_conf *c)
{
	const json_t *ipam = json_object_get(c->doc, "ipam"), *socket = json_object_get(c->doc, "socket");
	struct cni_error ignored;

	if (json_is_object(ipam) && take_ipam(c, ipam, &ignored) != CNI_OK)
		c->ipam = NULL;
	if (json_is_string(socket) && json_string_value(socket)[0] == '/')
		c->socket = json_string_value(socket);
}

static int take_name(struct cni_conf *c, struct cni_error *e)
{
	c->name = json_string_value(json_object_get(c->doc, "name"));
	if (c->name == NULL || c->name[0] == '\0')
		return cni_fail(e, CNI_BAD_CONF, "the network's 'name' is missing");
	/* With a longer one no ADD was done, and DEL passes over it. */
	if (!is_word(c->name) || (strlen(c->name) > NAME_MAX_BYTES && c->command != CNI_DEL))
		return cni_fail(e, CNI_BAD_CONF,
			"the network's 'name' has to be letters, digits, '_', '.' and '-', and begin with one of the first two");
	return CNI_OK;
}

/* --- the environment ----------------------------------------------------------------------------------------------------------------------- */

static int take_command(struct cni_conf *c, const char *text, struct cni_error *e)
{
	static const char *const commands[] = { "ADD", "DEL", "CHECK", "GC", "STATUS", "VERSION" };

	if (text == NULL || text[0] == '\0')
		return cni_fail(e, CNI_BAD_ENV, "CNI_COMMAND is missing; this program is run by a container runtime, see weft-cni(8)");
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		if (strcmp(commands[i], text) == 0) {
			c->command = (enum cni_command)i;
			return CNI_OK;
		}
	return cni_fail(e, CNI_BAD_ENV, "CNI_COMMAND '%.40s' is none of ADD, DEL, CHECK, GC, STATUS, VERSION", text);
}

static bool is_ifname(const char *s)
{
	if (s[0] == '\0' || strlen(s) > CNI_IFNAME_MAX || strcmp(s, ".") == 0 || strcmp(s, "..") == 0)
		return false;
	for (; *s != '\0'; s++)
		if (!isgraph((unsigned char)*s) || *s == '/' || *s == ':')
			return false;
	return true;
}

/* Of ADD, DEL and CHECK. */
static int take_container(struct cni_conf *c, const struct cni_env *env, struct cni_error *e)
{
	c->netns = env->netns != NULL && env->netns[0] != '\0' ? env->netns : NULL;
	if (env->id == NULL || env->id[0] == '\0')
		return cni_fail(e, CNI_BAD_ENV, "CNI_CONTAINERID is missing");
	if (!is_word(env->id))
		return cni_fail(
			e, CNI_BAD_ENV, "CNI_CONTAINERID has to be letters, digits, '_', '.' and '-', and begin with one of the first two");
	if (env->ifname == NULL || !is_ifname(env->ifname))
		return cni_fail(e, CNI_BAD_ENV, "CNI_IFNAME has to be a name for an interface, of 1 to %d bytes", CNI_IFNAME_MAX);
	if (c->netns == NULL && c->command != CNI_DEL)
		return cni_fail(e, CNI_BAD_ENV, "CNI_NETNS is missing");
	if (c->netns != NULL && (c->netns[0] != '/' || strlen(c->netns) > CNI_NETNS_MAX)) {
		if (c->command != CNI_DEL)
			return cni_fail(e, CNI_BAD_ENV, "CNI_NETNS has to be a path from / on, of at most %d bytes", CNI_NETNS_MAX);
		c->netns = NULL; /* no ADD was done with it, and none is needed */
	}
	c->id = env->id;
	c->ifname = env->ifname;
	int n = snprintf(c->ident, sizeof(c->ident), "cni:%s/%s/%s", c->id, c->ifname, c->name);
	if (n >= 0 && (size_t)n < sizeof(c->ident))
		return CNI_OK;
	c->ident[0] = '\0';
	if (c->command == CNI_DEL) /* no ADD was done with it */
		return CNI_OK;
	return cni_fail(e, CNI_BAD_ENV,
		"container id, interface and network name together have more than %d bytes; choose a shorter 'name'", CNI_IDENT_MAX - 6);
}

static int take_version(struct cni_conf *c, struct cni_error *e)
{
	const json_t *v = json_object_get(c->doc, "cniVersion");

	if (v != NULL && !json_is_string(v))
		return cni_fail(e, CNI_BAD_CONF, "'cniVersion' has to be a string");
	if (v == NULL && c->command == CNI_VERSION)
		return CNI_OK;
	const char *text = v != NULL ? json_string_value(v) : "0.1.0"; /* so the spec: absent means the first one */
	if (!cni_version_parse(text, &c->version) && c->command != CNI_VERSION)
		return cni_fail(
			e, CNI_BAD_VERSION, "CNI version '%.20s' is not supported; there are 0.3.1, 0.4.0, 1.0.0 and 1.1.0", text);
	if (c->command == CNI_CHECK && c->version < CNI_0_4_0)
		return cni_fail(e, CNI_BAD_VERSION, "there is no CHECK in CNI version %s; it begins with 0.4.0", text);
	if ((c->command == CNI_GC || c->command == CNI_STATUS) && c->version < CNI_1_1_0)
		return cni_fail(e, CNI_BAD_VERSION, "there is no GC and no STATUS in CNI version %s; they begin with 1.1.0", text);
	return CNI_OK;
}

int cni_conf_parse(struct cni_conf *c, const struct cni_env *env, const char *text, size_t n, struct cni_error *e)
{
	json_error_t where;

	*c = (struct cni_conf){ .version = CNI_VERSIONS - 1 };
	*e = (struct cni_error){ 0 };
	int code = take_command(c, env->command, e);
	if (code != CNI_OK || (c->command == CNI_VERSION && n == 0))
		return code;
	c->socket = env->socket;
	c->path = env->path;
	if (n == 0)
		return cni_fail(e, CNI_DECODE, "there is no configuration on stdin");
	c->doc = json_loadb(text, n, JSON_REJECT_DUPLICATES, &where);
	if (c->doc == NULL || !json_is_object(c->doc))
		return cni_fail(e, CNI_DECODE, "the configuration on stdin cannot be read: %s (line %d)",
			c->doc == NULL ? where.text : "it is no object", c->doc == NULL ? where.line : 1);
	code = take_version(c, e);
	if (code != CNI_OK || c->command == CNI_VERSION)
		return code;
	code = take_name(c, e);
	if (code == CNI_OK && c->command != CNI_GC && c->command != CNI_STATUS)
		code = take_container(c, env, e);
	if (code == CNI_OK && c->command == CNI_DEL) {
		take_what_del_needs(c);
		return CNI_OK;
	}
	if (code == CNI_OK)
		code = take_conf(c, e);
	if (code == CNI_OK && c->command != CNI_GC && c->command != CNI_STATUS)
		code = take_cni_args(c, env->args, e);
	if (code == CNI_OK && c->command == CNI_CHECK && c->prev == NULL)
		code = cni_fail(e, CNI_BAD_CONF, "CHECK needs 'prevResult', what ADD answered");
	return code;
}

void cni_conf_free(struct cni_conf *c)
{
	json_decref(c->dns);
	json_decref(c->doc);
	c->doc = c->dns = NULL;
}
