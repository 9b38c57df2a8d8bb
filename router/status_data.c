/* Status of the data plane: paths to other hosts, attached containers, networks. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "router/dataplane/link.h"
#include "router/dataplane/nft.h"
#include "router/dataplane/userspace.h"
#include "router/docker/containers.h"
#include "router/plane.h"
#include "router/status_internal.h"

/* --- paths ----------------------------------------------------------------------------------------------------------------------------- */

bool status_own_link(const struct core *core, uint64_t peer, struct link_view *out)
{
	for (size_t at = 0; gossip_next_link(core_gossip(core), &at, out);)
		if (out->peer == peer && out->state == LINK_ESTABLISHED)
			return true;
	return false;
}

static json_t *seconds_ago(struct maker *m, uint64_t ms)
{
	uint64_t now = router_now_ms(m->r);

	return ms == 0 ? json_null() : json_real(now > ms ? (double)(now - ms) / 1000.0 : 0.0);
}

static json_t *candidate(struct maker *m, const struct path_candidate *c)
{
	json_t *o = json_object();

	put(m, o, "possible", json_boolean(c->possible));
	put(m, o, "works", json_boolean(c->works));
	put(m, o, "state", text(c->state));
	put(m, o, "rtt_ms", c->rtt_us > 0 ? json_real(c->rtt_us / 1000.0) : json_null());
	put(m, o, "answered_s", seconds_ago(m, c->answered_ms));
	put(m, o, "asked_s", seconds_ago(m, c->asked_ms));
	return o;
}

static json_t *candidates(struct maker *m, const struct path_view *v)
{
	json_t *o = json_object();

	put(m, o, "fast", candidate(m, &v->fast));
	put(m, o, "userspace", candidate(m, &v->userspace));
	put(m, o, "relay", candidate(m, &v->relayed));
	return o;
}

/* "via" and "via_nickname": whom frames are given to first. */
static void put_via(struct maker *m, json_t *o, const struct path_view *v)
{
	put_peer(m, o, "via", "via_nickname", v != NULL && v->path == PATH_RELAY ? v->relay : PEER_NONE);
}

/* v: NULL when nothing is known of a path. */
static void put_path(struct maker *m, json_t *o, const struct path_view *v)
{
	bool data = v != NULL && v->path != PATH_NONE;

	put(m, o, "path", data ? json_string(path_name(v->path)) : json_null());
	put(m, o, "mtu", data ? number(v->mtu) : json_integer(0));
	put(m, o, "encrypted", json_boolean(data && v->encrypted));
	put_via(m, o, v);
	put(m, o, "candidates", v != NULL ? candidates(m, v) : json_null());
}

static json_t *connection(struct maker *m, const struct link_view *l)
{
	struct path_view path;
	json_t *o = json_object();
	bool there = l->state == LINK_ESTABLISHED && l->peer != PEER_NONE && core_path(m->core, l->peer, &path);
	bool data = there && path.path != PATH_NONE;
	uint64_t now = router_now_ms(m->r);

	put(m, o, "outbound", json_boolean(l->outbound));
	put(m, o, "address", text(l->address));
	put(m, o, "state", json_string(link_state_name(l->state)));
	put_peer(m, o, "peer", "nickname", l->peer);
	put_path(m, o, there ? &path : NULL);
	put(m, o, "reason", text(there && path.reason[0] != '\0' ? path.reason : l->reason));
	put(m, o, "since", json_real(router_wall_s(m->r, data && path.since_ms > l->since_ms ? path.since_ms : l->since_ms)));
	put(m, o, "retry_s", l->retry_ms > now ? json_real((double)(l->retry_ms - now) / 1000.0) : json_null());
	put(m, o, "rtt_ms", l->rtt_us > 0 ? json_real(l->rtt_us / 1000.0) : json_null());
	put(m, o, "control_encrypted", json_boolean(l->encrypted));
	put(m, o, "backlog_bytes", number(l->backlog_bytes));
	return o;
}

static uint32_t rtt_of(const struct path_view *v)
{
	switch (v->path) {
	case PATH_FAST: return v->fast.rtt_us;
	case PATH_USERSPACE: return v->userspace.rtt_us;
	case PATH_RELAY: return v->relayed.rtt_us;
	case PATH_NONE: break;
	}
	return 0;
}

/* A host that we have a data path to and no link: it is reached over others' links. */
static json_t *indirect(struct maker *m, uint64_t peer, const struct path_view *v)
{
	json_t *o = json_object();
	struct hostport at = { .ip = v->underlay, .port = v->userspace_port };
	uint32_t rtt = rtt_of(v);

	put(m, o, "outbound", json_null());
	put(m, o, "address", v->underlay.family == 0 ? json_string("-") : at.port != 0 ? hostport_of(at) : address_of(at.ip));
	put(m, o, "state", json_string("indirect"));
	put_peer(m, o, "peer", "nickname", peer);
	put_path(m, o, v);
	put(m, o, "reason", text(v->reason));
	put(m, o, "since", json_real(router_wall_s(m->r, v->since_ms)));
	put(m, o, "retry_s", json_null());
	put(m, o, "rtt_ms", rtt > 0 ? json_real(rtt / 1000.0) : json_null());
	put(m, o, "control_encrypted", json_null());
	put(m, o, "backlog_bytes", json_integer(0));
	return o;
}

json_t *status_connections(struct maker *m)
{
	json_t *list = json_array();
	struct link_view l;
	struct path_view v;
	uint64_t peer;

	for (size_t at = 0; gossip_next_link(core_gossip(m->core), &at, &l);)
		add(m, list, connection(m, &l));
	for (uint64_t at = 0; gossip_next_peer(core_gossip(m->core), &at, &peer);)
		if (gossip_reachable(core_gossip(m->core), peer) && !status_own_link(m->core, peer, &l) && core_path(m->core, peer, &v))
			add(m, list, indirect(m, peer, &v));
	return list;
}

json_t *status_paths(struct maker *m)
{
	json_t *list = json_array();
	struct path_view v;
	uint64_t name;

	for (uint64_t at = 0; gossip_next_peer(core_gossip(m->core), &at, &name);) {
		if (!core_path(m->core, name, &v))
			continue;
		json_t *o = json_object();
		put_peer(m, o, "peer", "nickname", name);
		put(m, o, "path", json_string(path_name(v.path)));
		put(m, o, "reason", text(v.reason));
		put(m, o, "since", json_real(router_wall_s(m->r, v.since_ms)));
		put(m, o, "underlay", v.underlay.family != 0 ? address_of(v.underlay) : json_null());
		put(m, o, "local", v.local.family != 0 ? address_of(v.local) : json_null());
		put(m, o, "mtu", number(v.mtu));
		put(m, o, "encrypted", json_boolean(v.encrypted));
		put_via(m, o, &v);
		put(m, o, "candidates", candidates(m, &v));
		add(m, list, o);
	}
	return list;
}

/* --- containers ------------------------------------------------------------------------------------------------------------------------ */

static json_t *endpoint(struct maker *m, const struct core_endpoint *e)
{
	char mac[MAC_TEXT], host[2 * (DOCKER_NAME_MAX + 1)];
	json_t *o = json_object(), *addrs = json_array();

	put(m, o, "id", text(e->ident));
	put(m, o, "mac", json_string(mac_format(e->mac, mac)));
	for (size_t i = 0; i < e->n_addrs; i++)
		add(m, addrs, prefix_of(e->addrs[i]));
	put(m, o, "addresses", addrs);
	put(m, o, "network", text(e->network));
	const char *name =
		docker_keeper_name(router_keeper(m->r), e->ident, host); /* ids of other hosts' containers are none of ours */
	if (name != NULL) {
		put(m, o, "name", text(name));
		put(m, o, "hostname", text(host));
	}
	return o;
}

static int compare_endpoints(const void *a, const void *b)
{
	const struct core_endpoint *const *x = a, *const *y = b;

	return strcmp((*x)->ident, (*y)->ident);
}

/* By id, so that two calls give one order. */
json_t *status_local_endpoints(struct maker *m)
{
	const struct core_endpoint **v = NULL, *e;
	size_t n = 0, cap = 0;
	json_t *list = json_array();

	for (size_t at = 0; core_next_local(m->core, &at, &e);) {
		if (strcmp(e->ident, STATUS_HOST_ID) == 0)
			continue; /* that is status_host_endpoint's */
		if (!mem_grow((void **)&v, &cap, n + 1, sizeof(*v))) {
			m->failed = true;
			break;
		}
		v[n++] = e;
	}
	if (n > 0)
		qsort(v, n, sizeof(*v), compare_endpoints);
	for (size_t i = 0; i < n; i++)
		add(m, list, endpoint(m, v[i]));
	mem_free(v);
	return list;
}

/* What the host itself has on the network: its bridge. */
json_t *status_host_endpoint(struct maker *m)
{
	char mac[MAC_TEXT];
	const struct core_endpoint *e = core_local(m->core, STATUS_HOST_ID);
	json_t *o = json_object(), *addrs = json_array();

	for (size_t i = 0; e != NULL && i < e->n_addrs; i++)
		add(m, addrs, prefix_of(e->addrs[i]));
	put(m, o, "id", json_string(STATUS_HOST_ID));
	put(m, o, "mac", json_string(mac_format(link_peer_mac(core_cfg(m->core)->gossip.self), mac)));
	put(m, o, "addresses", addrs);
	put(m, o, "network", json_string(CORE_NETWORK_DEFAULT));
	return o;
}

json_t *status_remote_endpoints(struct maker *m)
{
	const struct core_endpoint *e;
	json_t *list = json_array();

	for (size_t at = 0; core_next_remote(m->core, &at, &e);) {
		json_t *o = endpoint(m, e);
		put_peer(m, o, "peer", "nickname", e->peer);
		add(m, list, o);
	}
	return list;
}

/* --- networks -------------------------------------------------------------------------------------------------------------------------- */

struct shown_network {
	struct core_network n;
	size_t containers, here;
};

static int compare_networks(const void *a, const void *b)
{
	const struct shown_network *x = a, *y = b;

	return strcmp(x->n.name, y->n.name);
}

static void count_endpoint(struct shown_network *v, size_t n, const struct core_endpoint *e, bool here)
{
	struct shown_network key = { .containers = 0 }, *found;

	if (n == 0)
		return;
	(void)snprintf(key.n.name, sizeof(key.n.name), "%s", e->network);
	found = bsearch(&key, v, n, sizeof(*v), compare_networks);
	if (found == NULL)
		return;
	found->containers++;
	found->here += here;
}

static json_t *network(struct maker *m, const struct shown_network *v)
{
	json_t *o = json_object();
	bool is_default = v->n.number == 0;

	put(m, o, "name", text(v->n.name));
	put(m, o, "number", json_integer(v->n.number));
	put(m, o, "default", json_boolean(is_default));
	put(m, o, "subnet", prefix_of(is_default && core_ipam(m->core) != NULL ? core_cfg(m->core)->default_subnet : v->n.subnet));
	put(m, o, "subnet6", prefix_of(is_default ? core_cfg(m->core)->range6 : v->n.subnet6));
	put(m, o, "containers", number(v->containers));
	put(m, o, "local_containers", number(v->here));
	return o;
}

/* The default one first, the others in order of names. */
json_t *status_networks(struct maker *m)
{
	struct shown_network first = { .containers = 0 }, *v = NULL;
	const struct core_endpoint *e;
	json_t *list = json_array();
	struct core_network net;
	size_t n = 0, cap = 0;

	for (size_t at = 0; core_next_network(m->core, &at, &net);) {
		if (!mem_grow((void **)&v, &cap, n + 1, sizeof(*v))) {
			m->failed = true;
			break;
		}
		v[n++] = (struct shown_network){ .n = net };
	}
	if (core_network(m->core, CORE_NETWORK_DEFAULT, &first.n)) {
		for (size_t at = 0; core_next_local(m->core, &at, &e);) {
			count_endpoint(&first, 1, e, true);
			count_endpoint(v, n, e, true);
		}
		for (size_t at = 0; core_next_remote(m->core, &at, &e);) {
			count_endpoint(&first, 1, e, false);
			count_endpoint(v, n, e, false);
		}
		add(m, list, network(m, &first));
	}
	for (size_t i = 0; i < n; i++)
		add(m, list, network(m, &v[i]));
	mem_free(v);
	return list;
}

/* --- devices, threads, sessions -------------------------------------------------------------------------------------------------------- */

static json_t *devices(struct maker *m)
{
	json_t *list = json_array();
	struct plane_net_view v;

	for (size_t at = 0; plane_next_net(router_plane(m->r), &at, &v);) {
		json_t *o = json_object();
		put(m, o, "name", text(v.name));
		put(m, o, "number", json_integer(v.number));
		put(m, o, "fast", json_boolean(v.fast));
		put(m, o, "capture", v.capture != NULL ? json_string(v.capture) : json_null());
		add(m, list, o);
	}
	return list;
}

/* *broken: something is wrong that was there or was asked for. */
static json_t *troubles(struct maker *m, bool *broken)
{
	json_t *list = json_array();
	const char *trouble;
	bool bad;

	*broken = false;
	for (size_t at = 0; (trouble = plane_next_trouble(router_plane(m->r), &at, &bad)) != NULL;) {
		json_t *o = json_object();
		put(m, o, "text", text(trouble));
		put(m, o, "broken", json_boolean(bad));
		add(m, list, o);
		*broken = *broken || bad;
	}
	return list;
}

static json_t *sessions(struct maker *m)
{
	const struct tunnel_counters *c = core_tunnel_counters(m->core);
	json_t *o = json_object();
	uint64_t n = 0;

	for (size_t at = 0; core_next_session(m->core, &at) != NULL;)
		n++;
	put(m, o, "count", number(n));
	put(m, o, "begun", number(c->begun));
	put(m, o, "done", number(c->done));
	put(m, o, "renewed", number(c->renewed));
	put(m, o, "refused", number(c->refused));
	put(m, o, "cookies_sent", number(c->cookies_sent));
	put(m, o, "cookies_used", number(c->cookies_used));
	put(m, o, "expired", number(c->expired));
	return o;
}

struct traffic_list {
	struct maker *m;
	json_t *list;
};

static void add_traffic(struct traffic_list *t, uint64_t peer, const char *path, uint64_t packets_sent, uint64_t bytes_sent,
	uint64_t packets_received, uint64_t bytes_received)
{
	json_t *o = json_object();

	put_peer(t->m, o, "peer", "nickname", peer);
	put(t->m, o, "path", json_string(path));
	put(t->m, o, "packets_sent", number(packets_sent));
	put(t->m, o, "bytes_sent", number(bytes_sent));
	put(t->m, o, "packets_received", number(packets_received));
	put(t->m, o, "bytes_received", number(bytes_received));
	add(t->m, t->list, o);
}

static void one_peer(uint64_t peer, const struct userspace_traffic *t, void *arg)
{
	add_traffic(arg, peer, "userspace", t->frames_sent, t->bytes_sent, t->frames_received, t->bytes_received);
}

static json_t *traffic(struct maker *m, const struct userspace *u, const struct nft *filter)
{
	struct traffic_list t = { m, json_array() };
	uint64_t name;

	if (u != NULL)
		userspace_peers(u, one_peer, &t);
	for (uint64_t at = 0; filter != NULL && gossip_next_peer(core_gossip(m->core), &at, &name);) {
		struct nft_traffic f;
		if (nft_traffic(filter, name, &f))
			add_traffic(&t, name, "fast", f.packets_sent, f.bytes_sent, f.packets_received, f.bytes_received);
	}
	return t.list;
}

/* By where it was found: the same reason may be in both. */
static json_t *dropped(struct maker *m, const struct userspace *u, const struct nft *filter)
{
	json_t *o = json_object(), *threads = json_object(), *control = json_object(), *kernel = json_object();
	struct userspace_stats s = { .flooded = 0 };

	if (u != NULL)
		userspace_stats(u, &s);
	for (int d = FWD_PASSED + 1; d < FWD_DROPS; d++)
		if (s.dropped[d] > 0)
			put(m, threads, fwd_drop_name((enum fwd_drop)d), number(s.dropped[d]));
	for (int d = FWD_PASSED + 1; d < FWD_DROPS; d++)
		if (core_datagrams_dropped(m->core, (enum fwd_drop)d) > 0)
			put(m, control, fwd_drop_name((enum fwd_drop)d), number(core_datagrams_dropped(m->core, (enum fwd_drop)d)));
	for (int d = 0; d < NFT_DROPS && filter != NULL; d++)
		if (nft_dropped(filter, (enum nft_drop)d) > 0)
			put(m, kernel, nft_drop_name((enum nft_drop)d), number(nft_dropped(filter, (enum nft_drop)d)));
	put(m, o, "userspace", threads);
	put(m, o, "control", control);
	put(m, o, "filter", kernel);
	return o;
}

json_t *status_dataplane(struct maker *m, bool everything)
{
	const struct plane *p = router_plane(m->r);
	const struct userspace *u = router_userspace(m->r);
	const struct nft *filter = plane_nft(p);
	json_t *o = json_object();
	bool broken;

	put(m, o, "networks", devices(m));
	put(m, o, "queues", u != NULL ? number(userspace_queues(u)) : json_integer(0));
	put(m, o, "filter", json_boolean(filter != NULL));
	put(m, o, "container_mtu", number(plane_container_mtu(p)));
	put(m, o, "sessions", sessions(m));
	put(m, o, "troubles", troubles(m, &broken));
	put(m, o, "health", json_string(u == NULL ? "stopped" : broken ? "degraded" : "ok"));
	if (everything) {
		put(m, o, "traffic", traffic(m, u, filter));
		put(m, o, "dropped", dropped(m, u, filter));
		put(m, o, "failures", number(plane_failures(p)));
	}
	return o;
}
