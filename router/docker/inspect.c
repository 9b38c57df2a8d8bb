#include "router/docker/inspect.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"

static bool alnum(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

bool docker_id_ok(const char *id)
{
	size_t n = strlen(id);

	for (size_t i = 0; i < n; i++)
		if (!alnum(id[i]) || (id[i] >= 'A' && id[i] <= 'Z'))
			return false;
	return n > 0 && n <= DOCKER_ID_MAX;
}

bool docker_name_ok(const char *name)
{
	size_t n = strlen(name);

	for (size_t i = 0; i < n; i++)
		if (!alnum(name[i]) && (i == 0 || strchr("_.-", name[i]) == NULL))
			return false;
	return n > 0 && n <= DOCKER_NAME_MAX;
}

/* jansson has refused bytes that are no UTF-8, and zero bytes. */
static json_t *parse(struct slice text, struct err_note *note, enum err *err)
{
	json_error_t why;
	json_t *doc = json_loadb((const char *)text.p, text.n, 0, &why);

	*err = ERR_OK;
	if (doc == NULL && json_error_code(&why) == json_error_out_of_memory)
		*err = err_note(note, ERR_NOMEM, "out of memory");
	else if (doc == NULL)
		*err = err_note(note, ERR_MALFORMED, "Docker's answer is no JSON: %.80s", why.text);
	return doc;
}

static const char *text_of(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s != NULL ? s : "";
}

/* A text that is to be shown or made a name of: without control characters, and whole or not at all. */
static bool copy_text(char *out, size_t size, const char *s)
{
	bool ok = strlen(s) < size;

	for (const char *p = s; ok && *p != '\0'; p++)
		ok = (unsigned char)*p >= 0x20 && *p != 0x7f;
	(void)snprintf(out, size, "%s", ok ? s : "");
	return ok;
}

/* An id, or nothing. */
static bool copy_id(char out[DOCKER_ID_MAX + 1], const char *s)
{
	bool ok = docker_id_ok(s);

	(void)snprintf(out, DOCKER_ID_MAX + 1, "%s", ok ? s : "");
	return ok;
}

/* --- containers ----------------------------------------------------------------------------------------------------------------------- */

static struct prefix prefix_of(const json_t *o, const char *addr, const char *len, int family)
{
	struct prefix p = { .len = 0 };
	json_int_t bits = json_integer_value(json_object_get(o, len));

	if (ip_parse(text_of(o, addr), &p.addr) != ERR_OK || p.addr.family != family || bits < 0 || bits > (family == 4 ? 32 : 128))
		return (struct prefix){ .len = 0 };
	p.len = (uint8_t)bits;
	return p;
}

static enum err parse_aliases(struct docker_endpoint *e, const json_t *o)
{
	const json_t *list = json_object_get(o, "Aliases"), *v;
	size_t n = json_array_size(list), i;

	if (n == 0)
		return ERR_OK;
	n = n < DOCKER_ALIASES_MAX ? n : DOCKER_ALIASES_MAX;
	e->aliases = mem_zalloc(n, sizeof(e->aliases[0]));
	if (e->aliases == NULL)
		return ERR_NOMEM;
	json_array_foreach(list, i, v)
	{
		if (e->n_aliases < n && json_is_string(v))
			e->aliases[e->n_aliases++] = json_string_value(v);
	}
	return ERR_OK;
}

static enum err parse_endpoint(struct docker_endpoint *e, const char *network, const json_t *o)
{
	(void)copy_text(e->network, sizeof(e->network), network);
	(void)copy_id(e->network_id, text_of(o, "NetworkID"));
	(void)copy_id(e->endpoint_id, text_of(o, "EndpointID"));
	if (mac_parse(text_of(o, "MacAddress"), &e->mac) != ERR_OK)
		memset(&e->mac, 0, sizeof(e->mac));
	e->addr = prefix_of(o, "IPAddress", "IPPrefixLen", 4);
	e->addr6 = prefix_of(o, "GlobalIPv6Address", "GlobalIPv6PrefixLen", 6);
	return parse_aliases(e, o);
}

static enum err parse_endpoints(struct docker_container *c, const json_t *doc, struct err_note *note)
{
	json_t *networks = json_object_get(json_object_get(doc, "NetworkSettings"), "Networks"), *v;
	size_t n = json_object_size(networks);
	const char *key;
	enum err err = ERR_OK;

	if (n > DOCKER_ENDPOINTS_MAX)
		return err_note(note, ERR_LIMIT, "a container on %zu networks: at most %d", n, DOCKER_ENDPOINTS_MAX);
	if (n == 0)
		return ERR_OK;
	c->endpoints = mem_zalloc(n, sizeof(c->endpoints[0]));
	if (c->endpoints == NULL)
		return err_note(note, ERR_NOMEM, "out of memory");
	json_object_foreach(networks, key, v)
	{
		if (err == ERR_OK && json_is_object(v))
			err = parse_endpoint(&c->endpoints[c->n_endpoints++], key, v);
	}
	return err == ERR_OK ? err : err_note(note, err, "out of memory");
}

enum err docker_parse_container(struct slice text, struct docker_container_doc *out, struct err_note *note)
{
	struct docker_container *c = &out->c;
	enum err err;

	memset(out, 0, sizeof(*out));
	out->doc = parse(text, note, &err);
	if (err != ERR_OK)
		return err;
	const json_t *state = json_object_get(out->doc, "State"), *config = json_object_get(out->doc, "Config");
	const char *name = text_of(out->doc, "Name");
	json_int_t pid = json_integer_value(json_object_get(state, "Pid"));
	if (!copy_id(c->id, text_of(out->doc, "Id")) || strlen(c->id) != DOCKER_ID_MAX || pid < 0 || pid > INT32_MAX) {
		docker_drop_container(out);
		return err_note(note, ERR_MALFORMED, "Docker's answer tells of no container");
	}
	(void)copy_text(c->name, sizeof(c->name), name[0] == '/' ? name + 1 : name);
	c->running = json_is_true(json_object_get(state, "Running")) && pid > 0;
	c->pid = c->running ? (pid_t)pid : 0;
	(void)copy_text(c->hostname, sizeof(c->hostname), text_of(config, "Hostname"));
	(void)copy_text(c->domainname, sizeof(c->domainname), text_of(config, "Domainname"));
	(void)copy_text(c->network_mode, sizeof(c->network_mode), text_of(json_object_get(out->doc, "HostConfig"), "NetworkMode"));
	c->resolv_conf = text_of(out->doc, "ResolvConfPath");
	c->hosts = text_of(out->doc, "HostsPath");
	c->sandbox = text_of(json_object_get(out->doc, "NetworkSettings"), "SandboxKey");
	if (strlen(c->resolv_conf) > DOCKER_PATH_MAX || c->resolv_conf[0] != '/')
		c->resolv_conf = "";
	if (strlen(c->hosts) > DOCKER_PATH_MAX || c->hosts[0] != '/')
		c->hosts = "";
	err = parse_endpoints(c, out->doc, note);
	if (err != ERR_OK)
		docker_drop_container(out);
	return err;
}

void docker_drop_container(struct docker_container_doc *d)
{
	for (size_t i = 0; i < d->c.n_endpoints; i++)
		mem_free(d->c.endpoints[i].aliases);
	mem_free(d->c.endpoints);
	json_decref(d->doc);
	memset(d, 0, sizeof(*d));
}

enum err docker_parse_list(struct slice text, docker_each each, void *ctx, struct err_note *note)
{
	enum err err;
	json_t *doc = parse(text, note, &err);
	const json_t *v;
	size_t i;

	if (err == ERR_OK && !json_is_array(doc))
		err = err_note(note, ERR_MALFORMED, "Docker's answer is no list of containers");
	if (err == ERR_OK && json_array_size(doc) > DOCKER_CONTAINERS_MAX)
		err = err_note(note, ERR_LIMIT, "Docker has more than %d containers", DOCKER_CONTAINERS_MAX);
	if (err == ERR_OK) {
		json_array_foreach(doc, i, v)
		{
			const char *id = text_of(v, "Id");
			if (docker_id_ok(id) && strlen(id) == DOCKER_ID_MAX)
				each(ctx, id, strcmp(text_of(v, "State"), "running") == 0 || strcmp(text_of(v, "State"), "paused") == 0);
		}
	}
	json_decref(doc);
	return err;
}

/* --- networks --------------------------------------------------------------------------------------------------------------------------- */

static const json_t *object_in(const json_t *o, const char *key, const json_t *none)
{
	const json_t *v = json_object_get(o, key);

	return json_is_object(v) ? v : none;
}

static bool read_network(const json_t *o, const json_t *none, struct docker_network *n)
{
	n->labels = object_in(o, "Labels", none);
	n->options = object_in(o, "Options", none);
	n->ipam = object_in(o, "IPAM", none);
	n->containers = object_in(o, "Containers", none);
	n->internal = json_is_true(json_object_get(o, "Internal"));
	(void)copy_text(n->scope, sizeof(n->scope), text_of(o, "Scope"));
	return copy_id(n->id, text_of(o, "Id")) && copy_text(n->name, sizeof(n->name), text_of(o, "Name")) && n->name[0] != '\0' &&
		copy_text(n->driver, sizeof(n->driver), text_of(o, "Driver"));
}

enum err docker_parse_network(struct slice text, struct docker_network_doc *out, struct err_note *note)
{
	enum err err;

	memset(out, 0, sizeof(*out));
	out->doc = parse(text, note, &err);
	if (err != ERR_OK)
		return err;
	out->none = json_object();
	if (out->none != NULL && read_network(out->doc, out->none, &out->n))
		return ERR_OK;
	err = out->none == NULL ? err_note(note, ERR_NOMEM, "out of memory")
							: err_note(note, ERR_MALFORMED, "Docker's answer tells of no network");
	docker_drop_network(out);
	return err;
}

enum err docker_parse_networks(struct slice text, docker_each_network each, void *ctx, struct err_note *note)
{
	enum err err;
	json_t *doc = parse(text, note, &err), *none = json_object();
	const json_t *v;
	size_t i;

	if (err == ERR_OK && none == NULL)
		err = err_note(note, ERR_NOMEM, "out of memory");
	if (err == ERR_OK && !json_is_array(doc))
		err = err_note(note, ERR_MALFORMED, "Docker's answer is no list of networks");
	if (err == ERR_OK && json_array_size(doc) > DOCKER_NETWORKS_MAX)
		err = err_note(note, ERR_LIMIT, "Docker has more than %d networks", DOCKER_NETWORKS_MAX);
	if (err == ERR_OK) {
		json_array_foreach(doc, i, v)
		{
			struct docker_network n;
			memset(&n, 0, sizeof(n));
			if (read_network(v, none, &n))
				each(ctx, &n);
		}
	}
	json_decref(none);
	json_decref(doc);
	return err;
}

void docker_drop_network(struct docker_network_doc *d)
{
	json_decref(d->doc);
	json_decref(d->none);
	memset(d, 0, sizeof(*d));
}

/* --- events ----------------------------------------------------------------------------------------------------------------------------- */

static enum docker_event_kind kind_of(const char *type, const char *action)
{
	static const struct {
		const char *type, *action;
		enum docker_event_kind kind;
	} kinds[] = {
		{ "container", "start", DOCKER_CONTAINER_START },
		{ "container", "die", DOCKER_CONTAINER_DIE },
		{ "container", "destroy", DOCKER_CONTAINER_DESTROY },
		{ "container", "rename", DOCKER_CONTAINER_RENAME },
		{ "network", "connect", DOCKER_NETWORK_CONNECT },
		{ "network", "disconnect", DOCKER_NETWORK_DISCONNECT },
		{ "network", "destroy", DOCKER_NETWORK_DESTROY },
	};

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (strcmp(type, kinds[i].type) == 0 && strcmp(action, kinds[i].action) == 0)
			return kinds[i].kind;
	return DOCKER_EVENT_OTHER;
}

enum err docker_parse_event(struct slice line, struct docker_event *out)
{
	enum err err;
	json_t *doc = parse(line, NULL, &err);

	memset(out, 0, sizeof(*out));
	if (err != ERR_OK)
		return err;
	const json_t *actor = json_object_get(doc, "Actor");
	out->kind = kind_of(text_of(doc, "Type"), text_of(doc, "Action"));
	bool ok = json_is_object(doc);
	if (out->kind == DOCKER_NETWORK_CONNECT || out->kind == DOCKER_NETWORK_DISCONNECT)
		ok = ok && copy_id(out->network, text_of(actor, "ID")) &&
			copy_id(out->id, text_of(json_object_get(actor, "Attributes"), "container"));
	else if (out->kind != DOCKER_EVENT_OTHER)
		ok = ok && copy_id(out->id, text_of(actor, "ID"));
	json_decref(doc);
	return ok ? ERR_OK : ERR_MALFORMED;
}

void docker_parse_message(struct slice text, char *out, size_t size)
{
	enum err err;
	json_t *doc = parse(text, NULL, &err);

	(void)snprintf(out, size, "%s", err == ERR_OK ? text_of(doc, "message") : "");
	for (char *p = out; *p != '\0'; p++)
		if ((unsigned char)*p < 0x20 || (unsigned char)*p >= 0x7f)
			*p = '?';
	json_decref(doc);
}

void docker_parse_version(struct slice text, char *out, size_t size)
{
	enum err err;
	json_t *doc = parse(text, NULL, &err);

	(void)copy_text(out, size, err == ERR_OK ? text_of(doc, "Version") : "");
	json_decref(doc);
}
