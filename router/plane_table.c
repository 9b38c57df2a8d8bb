/* What the userspace path is told: who is reached where and how, whose datagrams may come from where, which sessions there are, and for each network of this
 * host whose container has which MAC and which address. Built anew from the core each time: it costs a pass over peers and endpoints, and swapping
 * it costs the data threads nothing. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "router/plane_internal.h"
#include "tunnel/fwd.h"
#include "tunnel/wire.h"

struct making {
	const struct plane *p;
	const struct core *core;
	struct userspace_peer *peers; /* in order of names */
	size_t n_peers;
	struct userspace_net *nets;
	size_t n_nets;
	struct seal_keys **sessions;
	size_t n_sessions;
	/* of one network */
	struct fwd_peer *members;
	struct fwd_mac *macs;
	struct fwd_addr *addrs;
};

/* --- peers ------------------------------------------------------------------------------------------------------------------------------ */

/* What the path manager has not found out yet is taken for what any underlay that carries containers' frames has. */
static uint16_t datagram_of(const struct plane *p, const struct path_hop *hop)
{
	uint32_t full = p->mtu + WIRE_INNER_ETHERNET + WIRE_HEAD + WIRE_TAG;

	if (hop->datagram != 0)
		return hop->datagram;
	return full > UINT16_MAX ? UINT16_MAX : (uint16_t)full;
}

/* A peer may send from the address we reach it at and from those it publishes. */
static void fill_peer(const struct making *m, uint64_t name, struct userspace_peer *out)
{
	struct path_hop hop;
	struct peer_info info;

	*out = (struct userspace_peer){ .name = name, .relay = PEER_NONE };
	if (core_hop(m->core, name, &hop)) {
		if (hop.path != PATH_NONE)
			out->to = hop.to;
		out->relay = hop.relay;
		out->sealed = hop.sealed;
		out->datagram = datagram_of(m->p, &hop);
		out->settled = hop.settled;
		out->keys = hop.keys;
	}
	if (!core_relay_hop(m->core, name, &out->relay_to))
		out->relay_to = (struct hostport){ 0 };
	if (gossip_peer(core_gossip(m->core), name, &info))
		for (size_t i = 0; i < info.n_addresses && out->n_from < USERSPACE_FROM_MAX; i++)
			out->from[out->n_from++] = info.addresses[i].ip;
}

static int compare_peers(const void *a, const void *b)
{
	const struct userspace_peer *x = a, *y = b;

	return x->name < y->name ? -1 : x->name > y->name;
}

static enum err make_peers(struct making *m)
{
	uint64_t it = 0, name;
	size_t n = 0;

	while (gossip_next_peer(core_gossip(m->core), &it, &name))
		n++;
	m->peers = mem_zalloc(n + 1, sizeof(*m->peers));
	m->members = mem_zalloc(n + 1, sizeof(*m->members));
	if (m->peers == NULL || m->members == NULL)
		return ERR_NOMEM;
	for (it = 0; gossip_next_peer(core_gossip(m->core), &it, &name);)
		if (name != m->p->cfg.self)
			fill_peer(m, name, &m->peers[m->n_peers++]);
	qsort(m->peers, m->n_peers, sizeof(*m->peers), compare_peers);
	return ERR_OK;
}

static enum err make_sessions(struct making *m)
{
	size_t it = 0, n = 0;
	struct seal_keys *k;

	while (core_next_session(m->core, &it) != NULL)
		n++;
	m->sessions = mem_zalloc(n + 1, sizeof(*m->sessions));
	if (m->sessions == NULL)
		return ERR_NOMEM;
	for (it = 0; m->n_sessions < n && (k = core_next_session(m->core, &it)) != NULL;)
		m->sessions[m->n_sessions++] = k;
	return ERR_OK;
}

/* --- networks --------------------------------------------------------------------------------------------------------------------------- */

/* Who has containers gets what is flooded. */
static void mark_member(struct making *m, uint64_t name)
{
	struct userspace_peer key = { .name = name };
	const struct userspace_peer *found =
		m->n_peers > 0 ? bsearch(&key, m->peers, m->n_peers, sizeof(*m->peers), compare_peers) : NULL;

	if (found != NULL)
		m->members[found - m->peers].member = true;
}

static size_t count_addresses(const struct core *core, size_t *endpoints)
{
	const struct core_endpoint *e;
	size_t n = 0;

	*endpoints = 0;
	for (size_t it = 0; core_next_remote(core, &it, &e); ++*endpoints)
		n += e->n_addrs;
	for (size_t it = 0; core_next_local(core, &it, &e); ++*endpoints)
		n += e->n_addrs;
	return n;
}

static void take_addresses(struct making *m, const struct core_endpoint *e, size_t *n)
{
	for (size_t i = 0; i < e->n_addrs; i++)
		if (core_address_holder(m->core, e->addrs[i].addr, e->network) == e)
			m->addrs[(*n)++] = (struct fwd_addr){ .ip = e->addrs[i].addr, .peer = e->peer };
}

static enum err make_net(struct making *m, const struct plane_net *net)
{
	const struct core_endpoint *e;
	size_t n_macs = 0, n_addrs = 0;

	for (size_t i = 0; i < m->n_peers; i++) {
		const struct userspace_peer *from = &m->peers[i];
		m->members[i] = (struct fwd_peer){ .name = from->name, .to = from->to };
	}
	for (size_t it = 0; core_next_remote(m->core, &it, &e);) {
		if (strcmp(e->network, net->name) != 0)
			continue;
		mark_member(m, e->peer);
		if (core_mac_holder(m->core, e->mac, e->network) != e)
			continue;
		m->macs[n_macs++] = (struct fwd_mac){ .mac = e->mac, .peer = e->peer };
		take_addresses(m, e, &n_addrs);
	}
	for (size_t it = 0; core_next_local(m->core, &it, &e);) {
		if (strcmp(e->network, net->name) != 0)
			continue;
		m->macs[n_macs++] = (struct fwd_mac){ .mac = e->mac, .peer = m->p->cfg.self };
		take_addresses(m, e, &n_addrs);
	}
	struct userspace_net *out = &m->nets[m->n_nets];
	out->net = net->number;
	enum err err = fwd_table_new(m->p->cfg.self, m->members, m->n_peers, m->macs, n_macs, m->addrs, n_addrs, &out->table);
	m->n_nets += err == ERR_OK;
	return err;
}

static enum err make_nets(struct making *m)
{
	size_t n = 0, endpoints, addrs = count_addresses(m->core, &endpoints);
	enum err err = ERR_OK;

	for (const struct plane_net *net = m->p->nets; net != NULL; net = net->next)
		n++;
	m->nets = mem_zalloc(n + 1, sizeof(*m->nets));
	m->macs = mem_zalloc(endpoints + 1, sizeof(*m->macs));
	m->addrs = mem_zalloc(addrs + 1, sizeof(*m->addrs));
	if (m->nets == NULL || m->macs == NULL || m->addrs == NULL)
		return ERR_NOMEM;
	for (const struct plane_net *net = m->p->nets; net != NULL && err == ERR_OK; net = net->next)
		err = make_net(m, net);
	return err;
}

/* --- the table -------------------------------------------------------------------------------------------------------------------------- */

enum err table_set(struct plane *p, const struct core *core)
{
	struct making m = { .p = p, .core = core };
	enum err err = make_peers(&m);

	if (err == ERR_OK)
		err = make_sessions(&m);
	if (err == ERR_OK)
		err = make_nets(&m);
	if (err == ERR_OK) {
		struct userspace_table t = { .peers = m.peers,
			.n_peers = m.n_peers,
			.nets = m.nets,
			.n_nets = m.n_nets,
			.sessions = m.sessions,
			.n_sessions = m.n_sessions };
		err = userspace_set_table(p->userspace, &t);
	}
	for (size_t i = 0; err != ERR_OK && i < m.n_nets; i++)
		fwd_table_free(m.nets[i].table);
	mem_free(m.peers);
	mem_free(m.nets);
	mem_free(m.sessions);
	mem_free(m.members);
	mem_free(m.macs);
	mem_free(m.addrs);
	return err;
}
