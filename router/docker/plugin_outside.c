/* Who asks by docker_gwbridge.
 *
 * A container of our networks has a second interface there, given by dockerd and with an address of dockerd's. What Docker's own resolver cannot answer
 * it asks from that address, so we have to know whose it is. dockerd tells who is on docker_gwbridge: its endpoints are called gateway_ and the
 * beginning of the sandbox's id, and Join has told us the sandboxes of our endpoints. What it told is good until a container joins or leaves. */
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <sodium.h>

#include "router/docker/docker.h"
#include "router/docker/plugin_internal.h"

#define GATEWAY_BRIDGE   "docker_gwbridge"
#define GATEWAY_ENDPOINT "gateway_"

enum {
	OUTSIDE_LIMIT_MS = 500, /* for dockerd's answer: somebody waits, and will ask again soon */
	OUTSIDE_REST_MS = 5000, /* after none came */
	OUTSIDE_MAX = 65536,
};

struct outside {
	char sandbox[2 * PLUGIN_SANDBOX_N + 1];
};

void plugin_hash_sandbox(const char *key, char out[2 * PLUGIN_SANDBOX_N + 1])
{
	const char *slash = strrchr(key, '/'), *id = slash != NULL ? slash + 1 : key;
	uint8_t h[crypto_generichash_BYTES_MIN];

	(void)crypto_generichash(h, sizeof(h), (const uint8_t *)id, strlen(id), NULL, 0);
	(void)sodium_bin2hex(out, 2 * PLUGIN_SANDBOX_N + 1, h, PLUGIN_SANDBOX_N);
}

static struct slice addr_key(const struct ip *a, uint8_t out[17])
{
	out[0] = a->family;
	memcpy(out + 1, a->b, 16);
	return slice_of(out, 17);
}

void plugin_outside_forget(struct plugin *p)
{
	struct slice key;
	void *value;

	p->outside_stale = p->outside_question != 0; /* what is on its way may have been true before */
	for (size_t at = 0; p->outside != NULL && map_next(p->outside, &at, &key, &value);)
		mem_free(value);
	map_free(p->outside);
	p->outside = NULL;
}

void plugin_outside_end(struct plugin *p)
{
	if (p->outside_question != 0)
		docker_cancel(router_docker(p->r), p->outside_question);
	p->outside_question = 0;
	plugin_outside_forget(p);
}

static enum err take_one(struct plugin *p, const json_t *container)
{
	const char *name = json_string_value(json_object_get(container, "Name"));
	const char *text = json_string_value(json_object_get(container, "IPv4Address"));
	struct prefix at;
	uint8_t key[17];

	if (name == NULL || text == NULL || prefix_parse(text, &at) != ERR_OK || map_get(p->outside, addr_key(&at.addr, key)) != NULL)
		return ERR_OK;
	struct outside *o = mem_zalloc(1, sizeof(*o));
	if (o == NULL)
		return ERR_NOMEM;
	/* Who was put there by hand is remembered, too, or each of its questions would ask dockerd: its name is no sandbox of ours. */
	const size_t n = strlen(GATEWAY_ENDPOINT);
	plugin_hash_sandbox(strncmp(name, GATEWAY_ENDPOINT, n) == 0 ? name + n : name, o->sandbox);
	enum err err = map_put(p->outside, addr_key(&at.addr, key), o, NULL);
	if (err != ERR_OK)
		mem_free(o);
	return err;
}

static void on_told(void *ctx, enum err err, const char *why, const struct docker_network *n)
{
	struct plugin *p = ctx;
	const char *id;
	json_t *container;

	p->outside_question = 0;
	if (p->outside_stale) {
		p->outside_stale = false;
		router_askers_known(p->r); /* it is asked again */
		return;
	}
	plugin_outside_forget(p);
	if (err == ERR_OK) {
		p->outside = map_new(plugin_random());
		err = p->outside != NULL ? ERR_OK : ERR_NOMEM;
		why = "out of memory";
	}
	json_object_foreach((json_t *)(uintptr_t)(err == ERR_OK ? n->containers : NULL), id, container)
	{
		if (err == ERR_OK && map_count(p->outside) < OUTSIDE_MAX)
			err = take_one(p, container);
	}
	if (err != ERR_OK) {
		p->outside_rest_ms = router_now_ms(p->r) + OUTSIDE_REST_MS;
		log_write(router_log(p->r), LOG_LEVEL_WARNING,
			"who is on %s cannot be told, so some containers may see names of other networks: %s", GATEWAY_BRIDGE, why);
	}
	router_askers_known(p->r);
}

static bool ask_interface(int fd, unsigned long what, uint32_t *out)
{
	struct ifreq req = { .ifr_name = GATEWAY_BRIDGE };
	struct sockaddr_in a;

	if (ioctl(fd, what, &req) != 0)
		return false;
	memcpy(&a, &req.ifr_addr, sizeof(a));
	*out = ntohl(a.sin_addr.s_addr);
	return true;
}

/* Is it an address on docker_gwbridge, but for the host's own? Two questions to the kernel, however many interfaces there are. */
static bool on_gateway_bridge(struct ip addr)
{
	uint32_t own, mask;
	int fd = addr.family == 4 ? socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0) : -1;

	if (fd < 0)
		return false;
	bool there = ask_interface(fd, SIOCGIFADDR, &own) && ask_interface(fd, SIOCGIFNETMASK, &mask);
	close(fd);
	return there && ip_to_v4(addr) != own && (ip_to_v4(addr) & mask) == (own & mask);
}

static enum plugin_outside look_up(const struct plugin *p, struct ip addr, char ident[CORE_IDENT_MAX + 1])
{
	uint8_t key[17];
	const struct outside *o = p->outside != NULL ? map_get(p->outside, addr_key(&addr, key)) : NULL;
	struct slice id;
	void *value;

	if (o == NULL)
		return PLUGIN_OUTSIDE_LATER;
	for (size_t at = 0; map_next(p->endpoints, &at, &id, &value);) {
		const struct plugin_endpoint *e = value;
		if (strcmp(e->sandbox, o->sandbox) == 0) {
			plugin_endpoint_ident(e, ident);
			return PLUGIN_OUTSIDE_FOUND;
		}
	}
	return PLUGIN_OUTSIDE_NOT;
}

enum plugin_outside plugin_outside(struct plugin *p, struct ip addr, char ident[CORE_IDENT_MAX + 1])
{
	struct docker *d = p != NULL && !p->stopping ? router_docker(p->r) : NULL;

	if (d == NULL || map_count(p->endpoints) == 0)
		return PLUGIN_OUTSIDE_NOT;
	enum plugin_outside found = look_up(p, addr, ident);
	if (found != PLUGIN_OUTSIDE_LATER)
		return found;
	if (!on_gateway_bridge(addr) || !docker_connected(d) || router_now_ms(p->r) < p->outside_rest_ms)
		return PLUGIN_OUTSIDE_NOT;
	if (p->outside_question != 0)
		return PLUGIN_OUTSIDE_LATER;
	p->outside_question = docker_get_network(d, GATEWAY_BRIDGE, OUTSIDE_LIMIT_MS, on_told, p);
	return p->outside_question != 0 ? PLUGIN_OUTSIDE_LATER : PLUGIN_OUTSIDE_NOT;
}

void plugin_each_sibling(const struct plugin *p, const char *ident, void (*each)(void *ctx, const char *ident), void *ctx)
{
	char other[CORE_IDENT_MAX + 1];
	size_t n = strlen(PLUGIN_IDENT);
	const struct plugin_endpoint *e =
		p != NULL && strncmp(ident, PLUGIN_IDENT, n) == 0 ? map_get(p->endpoints, slice_str(ident + n)) : NULL;
	struct slice key;
	void *value;

	if (e == NULL || e->sandbox[0] == '\0')
		return;
	for (size_t at = 0; map_next(p->endpoints, &at, &key, &value);) {
		const struct plugin_endpoint *o = value;
		if (o == e || strcmp(o->sandbox, e->sandbox) != 0)
			continue;
		plugin_endpoint_ident(o, other);
		each(ctx, other);
	}
}
