#include "router/docker/plugin_request.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "router/docker/inspect.h"

enum { SHOWN = 60 /* bytes of a wrong value that the answer repeats */ };

/* --- fields -------------------------------------------------------------------------------------------------------------------------------- */

enum err plugin_parse_body(struct slice text, json_t **out, struct err_note *note)
{
	json_error_t why;
	bool blank = true;

	for (size_t i = 0; blank && i < text.n; i++)
		blank = text.p[i] == '\n' || text.p[i] == '\r' || text.p[i] == ' ' || text.p[i] == '\t';
	*out = blank ? json_object() : json_loadb((const char *)text.p, text.n, JSON_REJECT_DUPLICATES, &why);
	if (*out == NULL && (blank || json_error_code(&why) == json_error_out_of_memory))
		return err_note(note, ERR_NOMEM, "out of memory");
	if (*out == NULL)
		return err_note(note, ERR_MALFORMED, "the body is no JSON: %.100s (line %d)", why.text, why.line);
	if (json_is_object(*out))
		return ERR_OK;
	json_decref(*out);
	*out = NULL;
	return err_note(note, ERR_MALFORMED, "the body is no JSON object");
}

/* Absent and null are the same to Go's programs, and to us. */
static const json_t *field(const json_t *o, const char *key)
{
	const json_t *v = json_object_get(o, key);

	return json_is_null(v) ? NULL : v;
}

/* "": absent or empty. */
static enum err text_field(const json_t *o, const char *key, const char **out, struct err_note *note)
{
	const json_t *v = field(o, key);

	*out = v != NULL ? json_string_value(v) : "";
	if (*out == NULL)
		return err_note(note, ERR_USAGE, "%s is no text", key);
	if (!core_text_ok(slice_str(*out)))
		return err_note(note, ERR_USAGE, "%s has control characters in it", key);
	return ERR_OK;
}

static enum err object_field(const json_t *o, const char *key, const json_t **out, struct err_note *note)
{
	*out = field(o, key);
	return *out == NULL || json_is_object(*out) ? ERR_OK : err_note(note, ERR_USAGE, "%s is no object", key);
}

static enum err bool_field(const json_t *o, const char *key, bool *out, struct err_note *note)
{
	const json_t *v = field(o, key);

	*out = json_is_true(v);
	return v == NULL || json_is_boolean(v) ? ERR_OK : err_note(note, ERR_USAGE, "%s is neither true nor false", key);
}

static enum err id_field(const json_t *o, const char *key, char out[DOCKER_ID_MAX + 1], struct err_note *note)
{
	const char *text;
	enum err err = text_field(o, key, &text, note);

	if (err != ERR_OK)
		return err;
	if (text[0] == '\0')
		return err_note(note, ERR_USAGE, "%s is missing", key);
	if (!docker_id_ok(text))
		return err_note(note, ERR_USAGE, "%s '%.*s' is no id of Docker's: 1 to %d lower-case letters and digits", key, SHOWN,
			text, DOCKER_ID_MAX);
	(void)snprintf(out, DOCKER_ID_MAX + 1, "%s", text);
	return ERR_OK;
}

static enum err space_field(const json_t *o, char out[PLUGIN_SPACE_MAX + 1], struct err_note *note)
{
	const char *text;
	enum err err = text_field(o, "AddressSpace", &text, note);

	if (err == ERR_OK && strlen(text) > PLUGIN_SPACE_MAX)
		err = err_note(note, ERR_USAGE, "AddressSpace is longer than %d bytes", PLUGIN_SPACE_MAX);
	if (err == ERR_OK)
		(void)snprintf(out, PLUGIN_SPACE_MAX + 1, "%s", text);
	return err;
}

/* family 0: either */
static enum err prefix_text(const char *key, const char *text, int family, struct prefix *out, struct err_note *note)
{
	if (prefix_parse(text, out) != ERR_OK)
		return err_note(note, ERR_USAGE, "%s '%.*s' is no address with a prefix length, like %s", key, SHOWN, text,
			family == 6 ? "fd00:1::5/64" : "10.32.0.5/16");
	if (family != 0 && out->addr.family != family)
		return err_note(note, ERR_USAGE, "%s '%.*s' is not IPv%d", key, SHOWN, text, family);
	return ERR_OK;
}

static enum err prefix_field(const json_t *o, const char *key, int family, struct prefix *out, struct err_note *note)
{
	const char *text;
	enum err err = text_field(o, key, &text, note);

	memset(out, 0, sizeof(*out));
	return err != ERR_OK || text[0] == '\0' ? err : prefix_text(key, text, family, out, note);
}

/* --- options ------------------------------------------------------------------------------------------------------------------------------ */

static enum err option_network(const char *value, struct plugin_options *out, struct err_note *note)
{
	size_t n = strlen(value);

	if (n == 0 || n > CORE_NETWORK_MAX || !docker_name_ok(value))
		return err_note(note, ERR_USAGE,
			"weft.network '%.*s' is no name of a network: 1 to %d letters, digits, '-', '_' and '.', a letter or digit first",
			SHOWN, value, CORE_NETWORK_MAX);
	(void)snprintf(out->network, sizeof(out->network), "%s", value);
	return ERR_OK;
}

static enum err option_multicast(const char *value, struct plugin_options *out, struct err_note *note)
{
	bool off = strcmp(value, "false") == 0 || strcmp(value, "0") == 0;

	if (!off && strcmp(value, "true") != 0 && strcmp(value, "1") != 0 && value[0] != '\0') /* "-o weft.multicast" */
		return err_note(note, ERR_USAGE, "weft.multicast '%.*s' is neither true nor false", SHOWN, value);
	out->no_multicast = off;
	return ERR_OK;
}

static enum err option_mtu(const char *value, struct plugin_options *out, struct err_note *note)
{
	char *end;
	unsigned long v = strtoul(value, &end, 10);

	if (value[0] < '0' || value[0] > '9' || *end != '\0' || v < PLUGIN_MTU_MIN || v > PLUGIN_MTU_MAX)
		return err_note(
			note, ERR_USAGE, "weft.mtu '%.*s' is no number from %u to %u", SHOWN, value, PLUGIN_MTU_MIN, PLUGIN_MTU_MAX);
	out->mtu = (unsigned)v;
	return ERR_OK;
}

enum err plugin_parse_options(const json_t *o, struct plugin_options *out, struct err_note *note)
{
	static const struct {
		const char *name;
		enum err (*set)(const char *value, struct plugin_options *out, struct err_note *note);
	} known[] = { { "weft.network", option_network }, { "weft.multicast", option_multicast }, { "weft.mtu", option_mtu } };
	const json_t *v;
	const char *key;
	enum err err = ERR_OK;

	memset(out, 0, sizeof(*out));
	json_object_foreach((json_t *)(uintptr_t)o, key, v)
	{
		size_t i = 0;
		if (err != ERR_OK || strncmp(key, "weft.", 5) != 0)
			continue;
		while (i < sizeof(known) / sizeof(known[0]) && strcmp(known[i].name, key) != 0)
			i++;
		if (i == sizeof(known) / sizeof(known[0]))
			err = err_note(note, ERR_USAGE,
				"there is no option '%.*s'; there are weft.network=NAME, weft.multicast=true|false and weft.mtu=N", SHOWN,
				core_text_ok(slice_str(key)) ? key : "weft.?");
		else if (!json_is_string(v) || !core_text_ok(slice_str(json_string_value(v))))
			err = err_note(note, ERR_USAGE, "the option %s is no plain text", key);
		else
			err = known[i].set(json_string_value(v), out, note);
	}
	return err;
}

/* --- addresses ---------------------------------------------------------------------------------------------------------------------------- */

enum err plugin_parse_pool(const json_t *body, struct plugin_pool_request *out, struct err_note *note)
{
	const json_t *options = NULL, *v;
	const char *key;

	memset(out, 0, sizeof(*out));
	enum err err = space_field(body, out->space, note);
	if (err == ERR_OK)
		err = bool_field(body, "V6", &out->v6, note);
	if (err == ERR_OK)
		err = prefix_field(body, "Pool", out->v6 ? 6 : 4, &out->pool, note);
	if (err == ERR_OK)
		err = prefix_field(body, "SubPool", out->v6 ? 6 : 4, &out->sub, note);
	if (err == ERR_OK)
		err = object_field(body, "Options", &options, note);
	json_object_foreach((json_t *)(uintptr_t)options, key, v)
	{
		if (err == ERR_OK && strncmp(key, "weft.", 5) == 0)
			err = err_note(note, ERR_USAGE,
				"weft has no options of its IPAM driver; give weft.network and the others with -o, not --ipam-opt");
	}
	if (err == ERR_OK && out->sub.addr.family != 0 && out->pool.addr.family == 0)
		err = err_note(note, ERR_USAGE, "SubPool (--ip-range) without Pool; give --subnet as well");
	return err;
}

enum err plugin_parse_pool_id(const json_t *body, struct plugin_address_request *out, struct err_note *note)
{
	const char *text;

	memset(out, 0, sizeof(*out));
	enum err err = text_field(body, "PoolID", &text, note);
	if (err == ERR_OK && text[0] == '\0')
		err = err_note(note, ERR_USAGE, "PoolID is missing");
	if (err == ERR_OK && strlen(text) > PLUGIN_POOL_ID_MAX)
		err = err_note(note, ERR_USAGE, "PoolID '%.*s…' is none of weft's", SHOWN, text);
	if (err == ERR_OK)
		(void)snprintf(out->pool, sizeof(out->pool), "%s", text);
	return err;
}

enum err plugin_parse_address(const json_t *body, bool needed, struct plugin_address_request *out, struct err_note *note)
{
	const json_t *options = NULL;
	const char *text = "";
	struct prefix p;
	enum err err = plugin_parse_pool_id(body, out, note);

	if (err == ERR_OK)
		err = text_field(body, "Address", &text, note);
	/* bare, as dockerd has it; with a length it is understood as well */
	if (err == ERR_OK && text[0] != '\0' && ip_parse(text, &out->addr) != ERR_OK) {
		if (prefix_parse(text, &p) == ERR_OK)
			out->addr = p.addr;
		else
			err = err_note(note, ERR_USAGE, "Address '%.*s' is no address", SHOWN, text);
	}
	if (err == ERR_OK && needed && text[0] == '\0')
		err = err_note(note, ERR_USAGE, "Address is missing");
	if (err == ERR_OK)
		err = object_field(body, "Options", &options, note);
	if (err == ERR_OK)
		err = text_field(options, "RequestAddressType", &text, note);
	out->gateway = err == ERR_OK && strcmp(text, "com.docker.network.gateway") == 0;
	return err;
}

/* --- networks ----------------------------------------------------------------------------------------------------------------------------- */

static enum err subnet_of(const json_t *o, const char *key, int family, struct plugin_subnet *out, struct err_note *note)
{
	const json_t *aux = NULL;
	struct prefix gateway;
	enum err err = json_is_object(o) ? ERR_OK : err_note(note, ERR_USAGE, "%s holds something that is no object", key);

	if (err == ERR_OK)
		err = space_field(o, out->space, note);
	if (err == ERR_OK)
		err = prefix_field(o, "Pool", family, &out->pool, note);
	if (err == ERR_OK && out->pool.addr.family == 0)
		err = err_note(note, ERR_USAGE, "Pool is missing in %s", key);
	if (err == ERR_OK)
		err = prefix_field(o, "Gateway", family, &gateway, note);
	if (err == ERR_OK)
		err = object_field(o, "AuxAddresses", &aux, note);
	if (err == ERR_OK && json_object_size(aux) > PLUGIN_AUX_MAX)
		err = err_note(note, ERR_USAGE, "AuxAddresses has more than %d addresses", PLUGIN_AUX_MAX);
	if (err == ERR_OK)
		out->gateway = gateway.addr;
	return err;
}

static enum err subnets_of(
	const json_t *body, const char *key, int family, struct plugin_network_request *out, struct err_note *note)
{
	const json_t *list = field(body, key), *v;
	size_t i;
	enum err err = ERR_OK;

	if (list != NULL && !json_is_array(list))
		return err_note(note, ERR_USAGE, "%s is no list", key);
	if (json_array_size(list) > PLUGIN_POOLS_MAX)
		return err_note(note, ERR_USAGE, "%s has more than %d subnets", key, PLUGIN_POOLS_MAX);
	json_array_foreach(list, i, v)
	{
		if (err == ERR_OK)
			err = subnet_of(v, key, family, &out->subnets[out->n_subnets++], note);
	}
	return err;
}

enum err plugin_parse_network_id(const json_t *body, char id[DOCKER_ID_MAX + 1], struct err_note *note)
{
	return id_field(body, "NetworkID", id, note);
}

enum err plugin_parse_network(const json_t *body, bool flat, struct plugin_network_request *out, struct err_note *note)
{
	const json_t *options = NULL, *generic = NULL;

	memset(out, 0, sizeof(*out));
	enum err err = plugin_parse_network_id(body, out->id, note);
	if (err == ERR_OK)
		err = object_field(body, "Options", &options, note);
	if (err == ERR_OK && !flat)
		err = bool_field(options, "com.docker.network.internal", &out->internal, note);
	if (err == ERR_OK && !flat)
		err = bool_field(options, "com.docker.network.enable_ipv6", &out->ipv6, note);
	if (err == ERR_OK && !flat)
		err = object_field(options, "com.docker.network.generic", &generic, note);
	if (err == ERR_OK)
		err = plugin_parse_options(flat ? options : generic, &out->options, note);
	if (err == ERR_OK)
		err = subnets_of(body, "IPv4Data", 4, out, note);
	if (err == ERR_OK)
		err = subnets_of(body, "IPv6Data", 6, out, note);
	return err;
}

/* --- what Docker's API tells ---------------------------------------------------------------------------------------------------------------- */

/* An address, with or without a length; family 0: none is there. */
static enum err address_field(const json_t *o, const char *key, int family, struct ip *out, struct err_note *note)
{
	const char *text;
	struct prefix p;
	enum err err = text_field(o, key, &text, note);

	memset(out, 0, sizeof(*out));
	if (err != ERR_OK || text[0] == '\0')
		return err;
	if (ip_parse(text, out) != ERR_OK) {
		err = prefix_text(key, text, family, &p, note);
		*out = p.addr;
	}
	if (err == ERR_OK && out->family != family)
		err = err_note(note, ERR_USAGE, "%s '%.*s' is not IPv%d", key, SHOWN, text, family);
	return err;
}

enum err plugin_parse_aux(const json_t *aux, int family, struct ip out[PLUGIN_AUX_MAX], size_t *n, struct err_note *note)
{
	const json_t *v;
	const char *key;
	enum err err = ERR_OK;

	*n = 0;
	if (json_object_size(aux) > PLUGIN_AUX_MAX)
		return err_note(note, ERR_USAGE, "AuxiliaryAddresses has more than %d addresses", PLUGIN_AUX_MAX);
	json_object_foreach((json_t *)(uintptr_t)aux, key, v)
	{
		(void)v;
		if (err == ERR_OK)
			err = address_field(aux, key, family, &out[*n], note);
		*n += err == ERR_OK && out[*n].family != 0;
	}
	return err;
}

static enum err seen_subnet(const json_t *o, struct plugin_subnet *out, struct err_note *note)
{
	enum err err = json_is_object(o) ? ERR_OK : err_note(note, ERR_USAGE, "Config holds something that is no object");

	memset(out, 0, sizeof(*out));
	if (err == ERR_OK)
		err = prefix_field(o, "Subnet", 0, &out->pool, note);
	if (err == ERR_OK && (out->pool.addr.family == 0 || !prefix_is_network(out->pool)))
		err = err_note(note, ERR_USAGE, "Subnet is missing or has bits set after its prefix");
	if (err == ERR_OK)
		err = prefix_field(o, "IPRange", out->pool.addr.family, &out->sub, note);
	if (err == ERR_OK)
		err = address_field(o, "Gateway", out->pool.addr.family, &out->gateway, note);
	return err == ERR_OK ? object_field(o, "AuxiliaryAddresses", &out->aux, note) : err;
}

/* By our own IPAM driver: both have one name. */
static bool addresses_ours(const struct docker_network *d)
{
	const char *ipam = json_string_value(json_object_get(d->ipam, "Driver"));

	return ipam != NULL && strcmp(ipam, d->driver) == 0;
}

bool plugin_is_ours(const struct docker_network *d, const char *socket)
{
	const char *slash = strrchr(socket, '/'), *of = strrchr(d->driver, '/');
	const char *base = slash != NULL ? slash + 1 : socket;
	size_t n = strcspn(base, ".");
	struct plugin_subnet s;
	const json_t *v;
	size_t i;

	of = of != NULL ? of + 1 : d->driver;
	if (n > 0 && strncmp(of, base, n) == 0 && (of[n] == '\0' || of[n] == ':'))
		return true;
	json_array_foreach(json_object_get(d->ipam, "Config"), i, v)
	{
		if (addresses_ours(d) && i < 2 * PLUGIN_POOLS_MAX && seen_subnet(v, &s, NULL) == ERR_OK && plugin_is_tag(s.gateway))
			return true;
	}
	return false;
}

enum err plugin_parse_seen(const struct docker_network *d, struct plugin_seen *out, struct err_note *note)
{
	const char *ipam = json_string_value(json_object_get(d->ipam, "Driver"));
	const json_t *list = json_object_get(d->ipam, "Config"), *v;
	size_t i;

	memset(out, 0, sizeof(*out));
	enum err err = plugin_parse_options(d->options, &out->options, note);
	if (err == ERR_OK && addresses_ours(d) && json_array_size(list) > 2 * PLUGIN_POOLS_MAX)
		err = err_note(note, ERR_USAGE, "Config has more than %d subnets", 2 * PLUGIN_POOLS_MAX);
	if (err != ERR_OK)
		return err;
	const char *name = out->options.network[0] != '\0' ? out->options.network : d->name;
	if (strlen(name) <= CORE_NETWORK_MAX)
		(void)snprintf(out->name, sizeof(out->name), "%.*s", CORE_NETWORK_MAX, name);
	out->internal = d->internal;
	out->foreign = !addresses_ours(d);
	out->gives = out->foreign && ipam != NULL && strcmp(ipam, "null") == 0;
	if (out->foreign)
		return ERR_OK;
	json_array_foreach(list, i, v)
	{
		if (err == ERR_OK)
			err = seen_subnet(v, &out->subnets[out->n_subnets++], note);
	}
	return err;
}

enum err plugin_parse_seen_endpoint(const json_t *o, struct plugin_endpoint_request *out, struct err_note *note)
{
	const char *mac = "";

	memset(out, 0, sizeof(*out));
	enum err err = id_field(o, "EndpointID", out->id, note);
	if (err == ERR_OK)
		err = prefix_field(o, "IPv4Address", 4, &out->addr, note);
	if (err == ERR_OK)
		err = prefix_field(o, "IPv6Address", 6, &out->addr6, note);
	if (err == ERR_OK)
		err = text_field(o, "MacAddress", &mac, note);
	out->mac_given = err == ERR_OK && mac_parse(mac, &out->mac) == ERR_OK;
	return err;
}

/* --- endpoints ---------------------------------------------------------------------------------------------------------------------------- */

enum err plugin_parse_endpoint_ids(const json_t *body, struct plugin_endpoint_request *out, struct err_note *note)
{
	memset(out, 0, sizeof(*out));
	enum err err = plugin_parse_network_id(body, out->network, note);
	return err != ERR_OK ? err : id_field(body, "EndpointID", out->id, note);
}

enum err plugin_parse_endpoint(const json_t *body, struct plugin_endpoint_request *out, struct err_note *note)
{
	const json_t *interface = NULL, *options = NULL;
	const char *mac = "";
	enum err err = plugin_parse_endpoint_ids(body, out, note);

	if (err == ERR_OK)
		err = object_field(body, "Options", &options, note);
	if (err == ERR_OK)
		err = object_field(body, "Interface", &interface, note);
	if (err == ERR_OK)
		err = prefix_field(interface, "Address", 4, &out->addr, note);
	if (err == ERR_OK)
		err = prefix_field(interface, "AddressIPv6", 6, &out->addr6, note);
	if (err == ERR_OK)
		err = text_field(interface, "MacAddress", &mac, note);
	out->mac_given = err == ERR_OK && mac[0] != '\0';
	if (out->mac_given &&
		(mac_parse(mac, &out->mac) != ERR_OK || mac_is_group(out->mac) || mac_eq(out->mac, (struct mac){ { 0 } })))
		err = err_note(note, ERR_USAGE, "MacAddress '%.*s' is no MAC address of a container, like 02:42:0a:20:00:05", SHOWN, mac);
	return err;
}

enum err plugin_parse_discovery(const json_t *body, struct err_note *note)
{
	const json_t *type = field(body, "DiscoveryType"), *data = NULL;

	if (type != NULL && !json_is_integer(type))
		return err_note(note, ERR_USAGE, "DiscoveryType is no number");
	return object_field(body, "DiscoveryData", &data, note);
}
