/* Docker's answers and events. The first byte says as what the rest is read. What comes out is within its bounds and made of characters that do no harm. */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "base/mem.h"
#include "router/docker/inspect.h"
#include "router/docker/plugin_request.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void plain(const char *s, size_t max)
{
	assert(strlen(s) <= max);
	for (; *s != '\0'; s++)
		assert((unsigned char)*s >= 0x20 && *s != 0x7f);
}

static void id(const char *s)
{
	assert(s[0] == '\0' || docker_id_ok(s));
}

static void container(struct slice in)
{
	struct docker_container_doc d;

	if (docker_parse_container(in, &d, NULL) != ERR_OK)
		return;
	const struct docker_container *c = &d.c;
	assert(strlen(c->id) == DOCKER_ID_MAX && docker_id_ok(c->id));
	plain(c->name, DOCKER_NAME_MAX);
	plain(c->hostname, DOCKER_NAME_MAX);
	plain(c->domainname, DOCKER_NAME_MAX);
	assert(c->pid >= 0 && c->running == (c->pid > 0));
	assert(c->hosts[0] == '\0' || c->hosts[0] == '/');
	assert(c->resolv_conf[0] == '\0' || c->resolv_conf[0] == '/');
	assert(c->n_endpoints <= DOCKER_ENDPOINTS_MAX);
	for (size_t i = 0; i < c->n_endpoints; i++) {
		const struct docker_endpoint *e = &c->endpoints[i];
		id(e->endpoint_id);
		id(e->network_id);
		plain(e->network, DOCKER_NAME_MAX);
		assert(e->n_aliases <= DOCKER_ALIASES_MAX);
		for (size_t j = 0; j < e->n_aliases; j++)
			assert(e->aliases[j] != NULL);
		assert(e->addr.addr.family == 0 || (e->addr.addr.family == 4 && e->addr.len <= 32));
		assert(e->addr6.addr.family == 0 || (e->addr6.addr.family == 6 && e->addr6.len <= 128));
	}
	docker_drop_container(&d);
}

/* What the plugin makes of it. */
static void seen(const struct docker_network *n)
{
	struct plugin_seen s;
	struct plugin_endpoint_request e;
	struct ip aux[PLUGIN_AUX_MAX];
	const char *key;
	const json_t *v;
	size_t n_aux;

	(void)plugin_is_ours(n, "/run/docker/plugins/weft.sock");
	json_object_foreach((json_t *)(uintptr_t)n->containers, key, v)
	{
		assert(plugin_parse_seen_endpoint(v, &e, NULL) != ERR_OK || docker_id_ok(e.id));
	}
	if (plugin_parse_seen(n, &s, NULL) != ERR_OK)
		return;
	assert(s.n_subnets <= 2 * PLUGIN_POOLS_MAX && strlen(s.name) <= CORE_NETWORK_MAX && !(s.gives && !s.foreign));
	for (size_t i = 0; i < s.n_subnets; i++) {
		assert(prefix_is_network(s.subnets[i].pool));
		assert(plugin_parse_aux(s.subnets[i].aux, s.subnets[i].pool.addr.family, aux, &n_aux, NULL) != ERR_OK ||
			n_aux <= PLUGIN_AUX_MAX);
	}
}

static void network(struct slice in)
{
	struct docker_network_doc d;

	if (docker_parse_network(in, &d, NULL) != ERR_OK)
		return;
	assert(docker_id_ok(d.n.id) && d.n.name[0] != '\0');
	plain(d.n.name, DOCKER_NAME_MAX);
	plain(d.n.driver, DOCKER_NAME_MAX);
	assert(json_is_object(d.n.labels) && json_is_object(d.n.options));
	seen(&d.n);
	docker_drop_network(&d);
}

static void each_network(void *ctx, const struct docker_network *n)
{
	size_t *count = ctx;

	assert(docker_id_ok(n->id) && n->name[0] != '\0' && ++*count <= DOCKER_NETWORKS_MAX);
	seen(n);
}

static void each(void *ctx, const char *of, bool running)
{
	size_t *n = ctx;

	(void)running;
	assert(strlen(of) == DOCKER_ID_MAX && docker_id_ok(of));
	assert(++*n <= DOCKER_CONTAINERS_MAX);
}

static void lists(struct slice in)
{
	struct docker_listed *v = NULL;
	size_t n = 0;

	(void)!docker_parse_list(in, each, &n, NULL);
	n = 0;
	(void)!docker_parse_networks(in, each_network, &n, NULL);
	n = 0;
	if (docker_parse_endpoints(in, &v, &n, NULL) != ERR_OK)
		assert(v == NULL);
	for (size_t i = 0; v != NULL && i < n; i++) {
		id(v[i].id);
		id(v[i].endpoint);
		assert(v[i].name[0] == '\0' || docker_name_ok(v[i].name));
	}
	mem_free(v);
}

static void event(struct slice in)
{
	struct docker_event e;

	if (docker_parse_event(in, &e) != ERR_OK)
		return;
	id(e.id);
	id(e.network);
	assert(e.kind == DOCKER_EVENT_OTHER || e.id[0] != '\0');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char text[200];
	long before = mem_live();

	if (size == 0)
		return 0;
	struct slice in = slice_of(data + 1, size - 1);
	switch (data[0] % 6) {
	case 0: container(in); break;
	case 1: network(in); break;
	case 2: lists(in); break;
	case 3: event(in); break;
	case 4:
		docker_parse_message(in, text, sizeof(text));
		plain(text, sizeof(text) - 1);
		break;
	default:
		docker_parse_version(in, text, 32);
		plain(text, 31);
		break;
	}
	assert(mem_live() == before);
	return 0;
}
