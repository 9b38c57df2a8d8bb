/* What the core, the plane and the kernel say at one moment. */
#include "router/verify_facts.h"

#include <linux/rtnetlink.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "router/core/announce.h"
#include "router/dataplane/netlink.h"
#include "router/dataplane/nft.h"
#include "router/docker/plugin.h"
#include "router/internal.h"

enum { LIST_MAX = 1 << 20 };

struct list { /* grows in the arena: what was outgrown stays until the end */
	void *v;
	size_t n, cap;
};

struct gather {
	struct router *r;
	const struct core *core;
	struct arena *arena;
	struct verify_facts *out;
	bool nomem;
	struct list leases, claims, reserved, known, containers, interfaces, names, devices, forwards, neighs, probes, ports, digests,
		bridges;
	const char *network; /* the one whose tables are being read */
};

/* Room for one more; NULL: none. */
static void *more(struct gather *g, struct list *l, size_t size)
{
	if (l->n == l->cap) {
		size_t cap = l->cap == 0 ? 16 : 2 * l->cap;
		void *v = cap <= LIST_MAX ? arena_alloc(g->arena, cap * size) : NULL;
		if (v == NULL) {
			g->nomem = true;
			return NULL;
		}
		if (l->n > 0)
			memcpy(v, l->v, l->n * size);
		l->v = v;
		l->cap = cap;
	}
	void *at = (char *)l->v + l->n++ * size;
	memset(at, 0, size);
	return at;
}
#define MORE(g, list, type) ((type *)more(g, list, sizeof(type)))

static const char *keep_text(struct gather *g, const char *text)
{
	const char *copy = arena_printf(g->arena, "%s", text);

	if (copy == NULL)
		g->nomem = true;
	return copy != NULL ? copy : "";
}

static void host_text(const struct core *core, uint64_t peer, char out[VERIFY_HOST_TEXT])
{
	struct peer_info info;
	char name[PEER_TEXT];

	if (peer == core_cfg(core)->gossip.self)
		(void)snprintf(out, VERIFY_HOST_TEXT, "this host");
	else if (gossip_peer(core_gossip(core), peer, &info) && info.nickname[0] != '\0')
		(void)snprintf(out, VERIFY_HOST_TEXT, "%.17s(%.64s)", peer_format(peer, name), info.nickname);
	else
		(void)snprintf(out, VERIFY_HOST_TEXT, "%s", peer_format(peer, name));
}

/* --- the core -------------------------------------------------------------------------------------------------------------------------- */

static void take_addresses(struct gather *g)
{
	const struct ipam *ipam = core_ipam(g->core);
	struct universe u = core_universe(g->core);
	struct err_note note = { "" };
	struct ipam_pending_view p;
	struct ipam_view view;
	char conflict[400];
	struct prefix addr;
	const char *ident;

	if (ipam == NULL)
		return;
	g->out->ipam = true;
	g->out->range = (struct prefix){ ip_v4(u.first), u.len };
	if (!ring_empty(core_channel(g->core, CHANNEL_RING), u) &&
		ring_check(core_channel(g->core, CHANNEL_RING), u, &note) != ERR_OK)
		g->out->ring = keep_text(g, note.text);
	ipam_view(ipam, &view);
	if (view.conflict[0] != '\0' || view.state == IPAM_CONTESTED)
		g->out->conflict = keep_text(g, view.conflict[0] != '\0' ? view.conflict : view.text);
	else if (core_range_conflict(g->core, conflict, sizeof(conflict)))
		g->out->conflict = keep_text(g, conflict);
	for (size_t it = 0; ipam_next_lease(ipam, &it, &ident, &addr);) {
		struct verify_lease *l = MORE(g, &g->leases, struct verify_lease);
		if (l != NULL)
			*l = (struct verify_lease){ ident, addr, plugin_lease_waits(router_plugin(g->r), ident, addr.addr) };
	}
	for (size_t it = 0; ipam_next_pending(ipam, &it, &p);) {
		struct verify_lease *l = strcmp(p.kind, "claim") == 0 ? MORE(g, &g->claims, struct verify_lease) : NULL;
		if (l != NULL)
			*l = (struct verify_lease){ .ident = p.ident, .addr = p.subnet };
	}
}

static void take_container(struct gather *g, const struct core_endpoint *e)
{
	const struct gossip *mesh = core_gossip(g->core);
	struct verify_container *v = MORE(g, &g->containers, struct verify_container);
	struct core_network net;
	struct peer_info info;

	if (v == NULL)
		return;
	v->e = e;
	v->owner = e->peer == g->r->id.name     ? VERIFY_PEER_HERE
		: gossip_reachable(mesh, e->peer)   ? VERIFY_PEER_REACHABLE
		: gossip_peer(mesh, e->peer, &info) ? VERIFY_PEER_AWAY
											: VERIFY_PEER_UNKNOWN;
	host_text(g->core, e->peer, v->host);
	v->network_gone = !core_network(g->core, e->network, &net);
	v->absent = v->owner == VERIFY_PEER_HERE && map_get(g->r->gone, slice_str(e->ident)) != NULL;
}

/* Endpoints that dockerd made. */
static void take_plugin(struct gather *g)
{
	char ident[CORE_IDENT_MAX + 1];

	g->out->plugin = router_plugin(g->r) != NULL;
	for (size_t it = 0; g->out->plugin && plugin_next_endpoint(router_plugin(g->r), &it, ident);) {
		const char **v = MORE(g, &g->known, const char *);
		if (v != NULL)
			*v = keep_text(g, ident);
	}
}

static void take_core(struct gather *g)
{
	const struct core_endpoint *e;
	struct core_digest d;
	struct core_name n;

	take_addresses(g);
	take_plugin(g);
	for (size_t it = 0; core_next_local(g->core, &it, &e);)
		take_container(g, e);
	for (size_t it = 0; core_next_remote(g->core, &it, &e);)
		take_container(g, e);
	for (size_t it = 0; core_next_name(g->core, &it, &n);) {
		struct verify_name *v = n.owner == g->r->id.name ? MORE(g, &g->names, struct verify_name) : NULL;
		if (v != NULL)
			*v = (struct verify_name){ n.ident, n.fqdn, n.addr };
	}
	for (size_t it = 0; core_next_digest(g->core, &it, &d);) {
		struct verify_digest *v = MORE(g, &g->digests, struct verify_digest);
		if (v == NULL)
			return;
		host_text(g->core, d.peer, v->host);
		v->answered = d.answered;
		v->differs = d.differs;
	}
}

/* --- interfaces and devices ------------------------------------------------------------------------------------------------------------ */

/* The number in weft-N, weft-vxN, weft-tapN; 0: it is none of these. */
static unsigned device_number(const char *name)
{
	static const char *const forms[] = { "weft-%u", "weft-vx%u", "weft-tap%u" };
	char again[NETLINK_NAME_MAX + 1];
	unsigned number = 0;

	for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
		const char *digits = name + (strchr(forms[i], '%') - forms[i]);
		size_t head = (size_t)(strchr(forms[i], '%') - forms[i]);
		if (strncmp(name, forms[i], head) != 0)
			continue;
		number = (unsigned)strtoul(digits, NULL, 10);
		(void)snprintf(again, sizeof(again), "%.*s%u", (int)head, forms[i], number);
		if (number > 0 && number <= LINK_NETWORK_MAX && strcmp(again, name) == 0)
			return number;
	}
	return 0;
}

static bool known_number(const struct gather *g, unsigned number)
{
	struct plane_net_view view;
	struct core_network net;

	for (size_t it = 0; core_next_network(g->core, &it, &net);)
		if (net.number == number)
			return true;
	for (size_t it = 0; plane_next_net(g->r->plane, &it, &view);)
		if (view.number == number)
			return true;
	return false;
}

struct bridge {
	int index;
	const char *network;
};

static void take_bridges(struct gather *g)
{
	struct plane_net_view view;
	int index;

	for (size_t it = 0; plane_next_net(g->r->plane, &it, &view);) {
		struct bridge *b = kernel_bridge_index(view.kernel, &index, NULL) == ERR_OK ? MORE(g, &g->bridges, struct bridge) : NULL;
		if (b != NULL)
			*b = (struct bridge){ index, view.name };
	}
}

/* Whose bridge has this index; NULL: none of weft's. */
static const char *network_at(const struct gather *g, int index)
{
	const struct bridge *v = g->bridges.v;

	for (size_t i = 0; i < g->bridges.n; i++)
		if (v[i].index == index)
			return v[i].network;
	return NULL;
}

/* Asks the kernel nothing: it is in the middle of an answer. */
static int on_link(struct nl_msg *msg, void *arg)
{
	struct gather *g = arg;
	struct netlink_link l;

	if (msg == NULL) {
		g->interfaces.n = g->devices.n = 0;
		return 0;
	}
	if (netlink_link_parse(msg, &l) != 0)
		return 0;
	if (strncmp(l.name, "vethwe", strlen("vethwe")) == 0 && strcmp(l.kind, "veth") == 0) {
		struct verify_interface *v = MORE(g, &g->interfaces, struct verify_interface);
		if (v == NULL)
			return 0;
		(void)snprintf(v->name, sizeof(v->name), "%s", l.name);
		v->readable = container_record_parse(l.alias, &v->record) == ERR_OK;
		v->network = network_at(g, l.master);
	} else if (device_number(l.name) != 0) {
		struct verify_device *v = MORE(g, &g->devices, struct verify_device);
		if (v == NULL)
			return 0;
		(void)snprintf(v->name, sizeof(v->name), "%s", l.name);
		v->known = known_number(g, device_number(l.name));
	}
	return 0;
}

static enum err take_links(struct gather *g, struct err_note *note)
{
	struct netlink *nl = kernel_netlink(plane_kernel(g->r->plane));
	struct netlink_req r;

	take_bridges(g);
	netlink_req_link(&r, RTM_GETLINK, NLM_F_DUMP, AF_UNSPEC, 0, -1);
	int result = netlink_ask(nl, &r, on_link, g);
	return result != 0 ? netlink_error(nl, result, note, "list the interfaces") : ERR_OK;
}

/* --- forwarding -------------------------------------------------------------------------------------------------------------------------- */

static void on_forward(const struct link_fdb *entry, void *arg)
{
	struct gather *g = arg;
	struct verify_forward *v = MORE(g, &g->forwards, struct verify_forward);
	const struct core_endpoint *e = core_mac_holder(g->core, entry->mac, g->network);
	struct path_hop hop;

	if (v == NULL)
		return;
	v->network = g->network;
	v->mac = entry->mac;
	v->wanted = e != NULL && e->peer != g->r->id.name && core_hop(g->core, e->peer, &hop) && hop.path != PATH_NONE &&
		(entry->uplink == LINK_USERSPACE || (hop.path == PATH_FAST && ip_eq(hop.underlay, entry->underlay)));
}

static void on_neigh(const struct link_neigh *entry, void *arg)
{
	struct gather *g = arg;
	struct verify_neigh *v = MORE(g, &g->neighs, struct verify_neigh);
	const struct core_endpoint *e = core_address_holder(g->core, entry->ip, g->network);

	if (v == NULL)
		return;
	v->network = g->network;
	v->ip = entry->ip;
	v->mac = entry->mac;
	v->wanted = e != NULL && mac_eq(e->mac, entry->mac);
}

static void on_probe(const struct link_fdb *entry, void *arg)
{
	struct gather *g = arg;
	uint64_t peer;

	for (uint64_t at = 0; gossip_next_peer(core_gossip(g->core), &at, &peer);)
		if (mac_eq(link_peer_mac(peer), entry->mac))
			return;
	struct ip *v = MORE(g, &g->probes, struct ip);
	if (v != NULL)
		*v = entry->underlay;
}

static enum err take_tables(struct gather *g, struct err_note *note)
{
	struct plane_net_view view;
	enum err err = ERR_OK;

	for (size_t it = 0; err == ERR_OK && plane_next_net(g->r->plane, &it, &view);) {
		g->network = view.name;
		err = link_fdb_list(view.kernel, on_forward, g, note);
		if (err == ERR_OK)
			err = link_neigh_list(view.kernel, on_neigh, g, note);
		if (err == ERR_OK)
			err = link_probe_list(view.kernel, on_probe, g, note);
	}
	return err;
}

static void take_filter(struct gather *g)
{
	const struct nft *nft = plane_nft(g->r->plane);
	const char *trouble;
	char name[16];
	bool broken;

	for (size_t it = 0; nft != NULL && nft_next_port(nft, &it, name);) {
		const char **v = MORE(g, &g->ports, const char *);
		if (v != NULL)
			*v = keep_text(g, name);
	}
	if (!plane_filter_same(g->r->plane))
		g->out->filter = "the packet filter's tables are not as weft left them";
	for (size_t it = 0; (trouble = plane_next_trouble(g->r->plane, &it, &broken)) != NULL;)
		if (broken && g->out->trouble == NULL)
			g->out->trouble = keep_text(g, trouble);
}

/* --- all ----------------------------------------------------------------------------------------------------------------------------------- */

static void take_reserved(struct gather *g)
{
	struct ip a, *v;

	for (size_t it = 0; plugin_next_reserved(router_plugin(g->r), &it, &a);)
		if ((v = MORE(g, &g->reserved, struct ip)) != NULL)
			*v = a;
}

static void give(struct gather *g)
{
	struct verify_facts *f = g->out;

#define GIVE(member, count, list) (f->member = g->list.v, f->count = g->list.n)
	GIVE(leases, n_leases, leases);
	GIVE(claims, n_claims, claims);
	GIVE(reserved, n_reserved, reserved);
	GIVE(known, n_known, known);
	GIVE(containers, n_containers, containers);
	GIVE(interfaces, n_interfaces, interfaces);
	GIVE(names_v, n_names, names);
	GIVE(devices, n_devices, devices);
	GIVE(forwards, n_forwards, forwards);
	GIVE(neighs, n_neighs, neighs);
	GIVE(probes, n_probes, probes);
	GIVE(ports, n_ports, ports);
	GIVE(digests, n_digests, digests);
#undef GIVE
}

enum err verify_facts(struct router *r, const struct docker_listed *docker, size_t n_docker, bool docker_known,
	struct arena *arena, struct verify_facts *out, struct err_note *note)
{
	struct gather g = { .r = r, .core = r->core, .arena = arena, .out = out };

	*out = (struct verify_facts){
		.names = core_names(r->core) != NULL, .docker = docker_known, .docker_v = docker, .n_docker = n_docker
	};
	take_core(&g);
	take_reserved(&g);
	enum err err = take_links(&g, note);
	if (err == ERR_OK)
		err = take_tables(&g, note);
	if (err == ERR_OK)
		take_filter(&g);
	if (err == ERR_OK && g.nomem)
		err = err_note(note, ERR_NOMEM, "out of memory");
	give(&g);
	return err;
}
