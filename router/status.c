#include "router/expose.h"
#include "router/status.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "router/dns_server.h"
#include "router/plane.h"
#include "router/status_internal.h"

static json_t *finished(struct maker *m, json_t *doc)
{
	if (!m->failed)
		return doc;
	json_decref(doc);
	return NULL;
}

static json_t *schema_doc(struct maker *m)
{
	json_t *doc = json_object();

	put(m, doc, "schema", json_integer(STATUS_SCHEMA));
	return doc;
}

/* --- connections, peers, targets --------------------------------------------------------------------------------------------------- */

static bool publishes(const struct gossip *g, uint64_t peer, uint64_t link)
{
	uint64_t links[GOSSIP_LINKS_MAX];
	size_t n = gossip_links_of(g, peer, links, GOSSIP_LINKS_MAX);

	for (size_t i = 0; i < n; i++)
		if (links[i] == link)
			return true;
	return false;
}

static json_t *peer_connections(struct maker *m, uint64_t peer)
{
	const struct gossip *g = core_gossip(m->core);
	uint64_t links[GOSSIP_LINKS_MAX];
	json_t *list = json_array();
	size_t n = gossip_links_of(g, peer, links, GOSSIP_LINKS_MAX);

	for (size_t i = 0; i < n; i++) {
		struct peer_info other;
		struct link_view own;
		json_t *o = json_object();
		put_peer(m, o, "name", "nickname", links[i]);
		/* Only the two ends know who dialled whom, and from which port. */
		if (peer == core_cfg(m->core)->gossip.self && status_own_link(m->core, links[i], &own)) {
			put(m, o, "address", text(own.address));
			put(m, o, "outbound", json_boolean(own.outbound));
		} else {
			bool known = gossip_peer(g, links[i], &other) && other.n_addresses > 0;
			put(m, o, "address", known ? hostport_of(other.addresses[0]) : json_null());
			put(m, o, "outbound", json_null());
		}
		put(m, o, "established", json_boolean(publishes(g, links[i], peer)));
		add(m, list, o);
	}
	return list;
}

static json_t *peer(struct maker *m, uint64_t name)
{
	const struct gossip *g = core_gossip(m->core);
	struct peer_info info = { .name = name };
	bool known = gossip_peer(g, name, &info);
	char hop[PEER_TEXT];
	json_t *o = json_object(), *addresses = json_array();
	uint64_t next = gossip_next_hop(g, name);

	put_peer(m, o, "name", "nickname", name);
	put(m, o, "version", known ? text(info.version) : json_null());
	put(m, o, "self", json_boolean(name == core_cfg(m->core)->gossip.self));
	put(m, o, "reachable", json_boolean(gossip_reachable(g, name)));
	put(m, o, "next_hop", next != PEER_NONE ? json_string(peer_format(next, hop)) : json_null());
	for (size_t i = 0; known && i < info.n_addresses; i++)
		add(m, addresses, hostport_of(info.addresses[i]));
	put(m, o, "addresses", addresses);
	put(m, o, "connections", peer_connections(m, name));
	return o;
}

static json_t *peers(struct maker *m)
{
	json_t *list = json_array();
	uint64_t name;

	for (uint64_t at = 0; gossip_next_peer(core_gossip(m->core), &at, &name);)
		add(m, list, peer(m, name));
	return list;
}

static json_t *targets(struct maker *m)
{
	json_t *list = json_array();
	const char *target;

	for (size_t at = 0; gossip_next_target(core_gossip(m->core), &at, &target);)
		add(m, list, text(target));
	return list;
}

/* --- services ---------------------------------------------------------------------------------------------------------------------- */

static void put_counts(struct maker *m, json_t *o)
{
	static const enum link_state states[] = { LINK_ESTABLISHED, LINK_HANDSHAKE, LINK_CONNECTING, LINK_RETRYING, LINK_FAILED };
	const struct gossip *g = core_gossip(m->core);
	size_t total = 0, by_state[LINK_FAILED + 1] = { 0 }, n_peers = 0, established = 0, n_targets = 0;
	json_t *c = json_object(), *p = json_object();
	uint64_t links[GOSSIP_LINKS_MAX], name;
	struct link_view l;
	const char *target;

	for (size_t at = 0; gossip_next_link(g, &at, &l); total++)
		by_state[l.state]++;
	put(m, c, "total", number(total));
	for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++)
		put(m, c, link_state_name(states[i]), number(by_state[states[i]]));
	for (uint64_t at = 0; gossip_next_peer(g, &at, &name); n_peers++) {
		size_t n = gossip_links_of(g, name, links, GOSSIP_LINKS_MAX);
		for (size_t i = 0; i < n; i++)
			established += publishes(g, links[i], name);
	}
	put(m, p, "total", number(n_peers));
	put(m, p, "established", number(established));
	for (size_t at = 0; gossip_next_target(g, &at, &target);)
		n_targets++;
	put(m, o, "targets", number(n_targets));
	put(m, o, "connections", c);
	put(m, o, "peers", p);
}

/* One word on the mesh: "ok", or what is wrong with it. */
static const char *router_health(const struct router *r)
{
	const struct gossip *g = core_gossip(router_core(r));
	struct link_view l;
	const char *target;
	size_t at = 0;

	if (gossip_is_contested(g))
		return "contested";
	if (!gossip_next_target(g, &at, &target))
		return "ok";
	for (at = 0; gossip_next_link(g, &at, &l);)
		if (l.state == LINK_ESTABLISHED)
			return "ok";
	return "isolated";
}

static json_t *router_part(struct maker *m)
{
	const struct options *o = router_options(m->r);
	json_t *doc = json_object(), *subnets = json_array();
	const char *why = "";
	bool fast = router_fast_path(m->r, &why);

	put_peer(m, doc, "name", "nickname", core_cfg(m->core)->gossip.self);
	put(m, doc, "port", json_integer(o->port));
	put(m, doc, "encryption", json_boolean(o->password != NULL));
	put(m, doc, "peer_discovery", json_boolean(!o->no_discovery));
	put(m, doc, "fast_path", json_boolean(fast));
	put(m, doc, "fast_path_reason", text(fast || why == NULL ? "" : why));
	put_counts(m, doc);
	for (size_t i = 0; i < o->n_trusted; i++)
		add(m, subnets, prefix_of(o->trusted[i]));
	put(m, doc, "trusted_subnets", subnets);
	put(m, doc, "health", json_string(router_health(m->r)));
	return doc;
}

static const char *ipam_health(const struct ipam_view *v)
{
	if (v->conflict[0] != '\0')
		return "conflict";
	switch (v->state) {
	case IPAM_CONTESTED: return "contested";
	case IPAM_WAITING_SPACE:
	case IPAM_UNREACHABLE:
	case IPAM_RECOVERING:
	case IPAM_LEASE_OVER: return "waiting";
	case IPAM_AWAITING: return v->pending_allocates + v->pending_claims > 0 ? "waiting" : "ok";
	case IPAM_IDLE:
	case IPAM_READY:
	case IPAM_PRIMING: break;
	}
	return "ok";
}

static struct prefix range_of(const struct core *core)
{
	struct universe u = core_universe(core);

	return (struct prefix){ .addr = ip_v4(u.first), .len = u.len };
}

/* With what only the mesh knows: that others use another range. */
static void look_at_ipam(const struct core *core, struct ipam_view *v)
{
	ipam_view(core_ipam(core), v);
	if (v->conflict[0] == '\0')
		(void)core_range_conflict(core, v->conflict, sizeof(v->conflict));
}

/* What `status` and `status ipam` share. */
static void put_ipam(struct maker *m, json_t *doc)
{
	struct ipam_view v;

	look_at_ipam(m->core, &v);
	put(m, doc, "status", text(v.text));
	put(m, doc, "range", prefix_of(range_of(m->core)));
	put(m, doc, "default_subnet", prefix_of(core_cfg(m->core)->default_subnet));
	put(m, doc, "range6", prefix_of(core_cfg(m->core)->range6));
	put(m, doc, "total", number(v.total));
	put(m, doc, "owned", number(v.owned));
	put(m, doc, "free", number(v.free_owned));
	put(m, doc, "active", number(ipam_active(core_ipam(m->core))));
	put(m, doc, "quorum", number(v.quorum));
	put(m, doc, "known", number(v.known));
	put(m, doc, "pending_allocates", number(v.pending_allocates));
	put(m, doc, "pending_claims", number(v.pending_claims));
	put(m, doc, "conflict", v.conflict[0] != '\0' ? text(v.conflict) : json_null());
	put(m, doc, "health", json_string(ipam_health(&v)));
}

static size_t names_of(const struct core *core)
{
	struct core_name n;
	size_t count = 0;

	for (size_t at = 0; core_next_name(core, &at, &n);)
		count++;
	return count;
}

static void put_dns(struct maker *m, json_t *doc)
{
	const struct options *o = router_options(m->r);
	const struct dns_server *server = router_dns(m->r);
	struct hostport upstream[DNS_UPSTREAM_MAX], at;
	size_t n = server != NULL ? dns_server_upstreams(server, upstream) : 0;
	json_t *list = json_array();

	put(m, doc, "domain", text(o->dns_domain));
	for (size_t i = 0; i < n; i++)
		add(m, list, upstream[i].port == 53 ? address_of(upstream[i].ip) : hostport_of(upstream[i]));
	put(m, doc, "upstream", list);
	put(m, doc, "address", router_dns_address(m->r, &at) ? hostport_of(at) : json_null());
	put(m, doc, "ttl", number(o->dns_ttl));
	put(m, doc, "count", number(names_of(m->core)));
	put(m, doc, "health", json_string(server != NULL ? "ok" : "stopped"));
}

/* Only of a host that is exposed, or whose containers' frames are lost. */
static void put_expose(struct maker *m, json_t *doc)
{
	json_t *o = json_object(), *list = json_array(), *warnings = json_array();
	struct plane_exposed e;
	const char *line;

	for (size_t at = 0; router_next_exposed(m->r, &at, &e);) {
		json_t *one = json_object();
		put(m, one, "address", prefix_of(e.addr));
		put(m, one, "network", text(e.network));
		put(m, one, "masquerade", json_boolean(e.masquerade));
		add(m, list, one);
	}
	for (size_t at = 0; router_plane(m->r) != NULL && (line = expose_next_warning(m->r, &at)) != NULL;)
		add(m, warnings, text(line));
	const bool any = json_array_size(list) + json_array_size(warnings) > 0;
	put(m, o, "addresses", list);
	put(m, o, "health", json_string(json_array_size(warnings) > 0 ? "blocked" : "ok"));
	put(m, o, "warnings", warnings);
	if (any)
		put(m, doc, "expose", o);
	else
		json_decref(o);
}

static json_t *all(struct maker *m)
{
	json_t *doc = schema_doc(m);
	uint64_t started = router_started_ms(m->r);

	put(m, doc, "version", json_string(WEFT_VERSION));
	put(m, doc, "pid", json_integer(getpid()));
	put(m, doc, "started", json_real(router_wall_s(m->r, started)));
	put(m, doc, "uptime_s", json_real((double)(router_now_ms(m->r) - started) / 1000.0));
	put(m, doc, "state_dir", text(router_options(m->r)->state_dir));
	put(m, doc, "router", router_part(m));
	if (router_plane(m->r) != NULL)
		put(m, doc, "dataplane", status_dataplane(m, false));
	if (core_ipam(m->core) != NULL) {
		json_t *o = json_object();
		put_ipam(m, o);
		put(m, doc, "ipam", o);
	}
	if (core_names(m->core) != NULL) {
		json_t *o = json_object();
		put_dns(m, o);
		put(m, doc, "dns", o);
	}
	put(m, doc, "docker", status_docker(m));
	put_expose(m, doc);
	return doc;
}

/* --- ipam, dns, ps ------------------------------------------------------------------------------------------------------------------ */

struct share {
	uint64_t owner, addresses;
};

static int compare_shares(const void *a, const void *b)
{
	const struct share *x = a, *y = b;

	return x->owner < y->owner ? -1 : x->owner > y->owner;
}

static size_t count_spans(const struct core *core)
{
	struct ring_span span;
	size_t n = 0;

	for (uint64_t at = core_universe(core).first; ring_each(core_channel(core, CHANNEL_RING), core_universe(core), &at, &span);)
		n++;
	return n;
}

/* Who owns how much, ourselves first, then by name. *n owners; NULL: none, or out of memory. */
static struct share *shares_of(struct maker *m, size_t *n)
{
	struct universe u = core_universe(m->core);
	uint64_t self = core_cfg(m->core)->gossip.self;
	size_t spans = count_spans(m->core), kept = 0;
	struct share *v = spans > 0 ? mem_zalloc(spans, sizeof(*v)) : NULL;
	struct ring_span span;

	*n = 0;
	m->failed = m->failed || (spans > 0 && v == NULL);
	if (v == NULL)
		return NULL;
	spans = 0;
	for (uint64_t at = u.first; ring_each(core_channel(m->core, CHANNEL_RING), u, &at, &span);)
		v[spans++] = (struct share){ span.owner == self ? PEER_NONE : span.owner, span.end - span.start };
	qsort(v, spans, sizeof(*v), compare_shares);
	for (size_t i = 0; i < spans; i++) {
		if (kept > 0 && v[kept - 1].owner == v[i].owner)
			v[kept - 1].addresses += v[i].addresses;
		else
			v[kept++] = v[i];
	}
	if (v[0].owner == PEER_NONE)
		v[0].owner = self;
	*n = kept;
	return v;
}

static json_t *ipam_shares(struct maker *m)
{
	const struct core *core = m->core;
	uint64_t self = core_cfg(core)->gossip.self;
	double total = (double)range4_size(universe_range(core_universe(core)));
	json_t *list = json_array();
	size_t n;
	struct share *v = shares_of(m, &n);

	for (size_t i = 0; i < n; i++) {
		json_t *o = json_object();
		put_peer(m, o, "name", "nickname", v[i].owner);
		put(m, o, "addresses", number(v[i].addresses));
		put(m, o, "percent", json_real((double)v[i].addresses * 100.0 / total));
		put(m, o, "self", json_boolean(v[i].owner == self));
		put(m, o, "reachable", json_boolean(gossip_reachable(core_gossip(core), v[i].owner)));
		put(m, o, "active", v[i].owner == self ? number(ipam_active(core_ipam(core))) : json_null());
		add(m, list, o);
	}
	mem_free(v);
	return list;
}

static json_t *ipam_pending(struct maker *m)
{
	json_t *list = json_array();
	struct ipam_pending_view p;

	for (size_t at = 0; ipam_next_pending(core_ipam(m->core), &at, &p);) {
		json_t *o = json_object();
		put(m, o, "kind", json_string(p.kind));
		put(m, o, "ident", text(p.ident != NULL ? p.ident : ""));
		put(m, o, "subnet", prefix_of(p.subnet));
		put(m, o, "reason", text(p.reason));
		add(m, list, o);
	}
	return list;
}

static json_t *ipam_ring(struct maker *m)
{
	struct universe u = core_universe(m->core);
	json_t *list = json_array();
	struct ring_span span;

	for (uint64_t at = u.first; ring_each(core_channel(m->core, CHANNEL_RING), u, &at, &span);) {
		json_t *o = json_object();
		put(m, o, "first", address_of(ip_v4((uint32_t)span.start)));
		put(m, o, "last", address_of(ip_v4((uint32_t)(span.end - 1))));
		put(m, o, "addresses", number(span.end - span.start));
		put_peer(m, o, "owner", "nickname", span.owner);
		put(m, o, "epoch", number(span.epoch));
		put(m, o, "version", number(span.version));
		put(m, o, "tokens", number(span.tokens));
		add(m, list, o);
	}
	return list;
}

static json_t *ipam_reclaimed(struct maker *m)
{
	json_t *list = json_array();
	struct ipam_reclaimed a;

	for (size_t at = 0; ipam_next_reclaimed(core_ipam(m->core), &at, &a);) {
		json_t *o = json_object();
		put(m, o, "epoch", number(a.epoch));
		put_peer(m, o, "name", "nickname", a.from);
		put_peer(m, o, "heir", "heir_nickname", a.heir);
		put(m, o, "first", address_of(ip_v4(a.first)));
		put(m, o, "last", address_of(ip_v4(a.last)));
		put(m, o, "addresses", number((uint64_t)a.last - a.first + 1));
		add(m, list, o);
	}
	return list;
}

/* Who may take what a dead host keeps spare, our own lease, and what was taken last. */
static json_t *ipam_reclaim(struct maker *m)
{
	json_t *doc = json_object(), *members = json_array();
	struct ipam_reclaim_view v;
	uint64_t peer;

	ipam_reclaim_view(core_ipam(m->core), &v);
	put(m, doc, "after_s", json_real((double)v.after_ms / 1000.0));
	put(m, doc, "epoch", v.known ? number(v.epoch) : json_null());
	put(m, doc, "quorum", number(v.quorum));
	put(m, doc, "reachable", number(v.reachable));
	put(m, doc, "member", json_boolean(v.member));
	put(m, doc, "lease_s", v.leased ? json_real((double)v.left_ms / 1000.0) : json_null());
	put(m, doc, "spare", number(v.spare));
	for (size_t at = 0; ipam_next_member(core_ipam(m->core), &at, &peer);) {
		json_t *o = json_object();
		put_peer(m, o, "name", "nickname", peer);
		put(m, o, "reachable", json_boolean(gossip_reachable(core_gossip(m->core), peer)));
		add(m, members, o);
	}
	put(m, doc, "members", members);
	put(m, doc, "reclaimed", ipam_reclaimed(m));
	return doc;
}

static json_t *ipam_doc(struct maker *m)
{
	json_t *doc = schema_doc(m);

	assert(core_ipam(m->core) != NULL);
	put_ipam(m, doc);
	put(m, doc, "peers", ipam_shares(m));
	put(m, doc, "ring", ipam_ring(m));
	put(m, doc, "pending", ipam_pending(m));
	put(m, doc, "reclaim", ipam_reclaim(m));
	return doc;
}

static int compare_names(const void *a, const void *b)
{
	const struct core_name *x = a, *y = b;
	int c = strcasecmp(x->fqdn, y->fqdn);

	if (c == 0)
		c = x->owner < y->owner ? -1 : x->owner > y->owner;
	if (c == 0)
		c = strcmp(x->ident, y->ident);
	return c != 0 ? c : ip_cmp(x->addr, y->addr);
}

static json_t *dns_entries(struct maker *m)
{
	size_t n = names_of(m->core), kept = 0;
	struct core_name *v = mem_zalloc(n + 1, sizeof(*v));
	json_t *list = json_array();

	if (v == NULL) {
		m->failed = true;
		return list;
	}
	for (size_t at = 0; kept < n && core_next_name(m->core, &at, &v[kept]);)
		kept++;
	qsort(v, kept, sizeof(*v), compare_names);
	for (size_t i = 0; i < kept; i++) {
		json_t *o = json_object();
		put(m, o, "hostname", text(v[i].fqdn));
		put(m, o, "address", address_of(v[i].addr));
		put(m, o, "container", text(v[i].ident));
		put_peer(m, o, "origin", "nickname", v[i].owner);
		put(m, o, "reachable", json_boolean(gossip_reachable(core_gossip(m->core), v[i].owner)));
		add(m, list, o);
	}
	mem_free(v);
	return list;
}

static json_t *dns_doc(struct maker *m)
{
	json_t *doc = schema_doc(m);

	assert(core_names(m->core) != NULL);
	put_dns(m, doc);
	put(m, doc, "entries", dns_entries(m));
	return doc;
}

static json_t *list_doc(struct maker *m, const char *key, json_t *list)
{
	json_t *doc = schema_doc(m);

	put(m, doc, key, list);
	return doc;
}

json_t *status_doc(const struct router *r, enum status_part part)
{
	struct maker m = { .r = r, .core = router_core(r) };
	json_t *doc = NULL;

	switch (part) {
	case STATUS_ALL: doc = all(&m); break;
	case STATUS_CONNECTIONS: doc = list_doc(&m, "connections", status_connections(&m)); break;
	case STATUS_PEERS: doc = list_doc(&m, "peers", peers(&m)); break;
	case STATUS_TARGETS: doc = list_doc(&m, "targets", targets(&m)); break;
	case STATUS_IPAM: doc = ipam_doc(&m); break;
	case STATUS_DNS: doc = dns_doc(&m); break;
	case STATUS_PS:
		doc = list_doc(&m, "containers", status_local_endpoints(&m));
		put(&m, doc, "host", status_host_endpoint(&m));
		break;
	case STATUS_DOCKER:
		doc = schema_doc(&m);
		put(&m, doc, "docker", status_docker(&m));
		break;
	case STATUS_NETWORKS: doc = list_doc(&m, "networks", status_networks(&m)); break;
	}
	return finished(&m, doc);
}

/* --- report and health --------------------------------------------------------------------------------------------------------------- */

static json_t *leases(struct maker *m)
{
	json_t *list = json_array();
	const char *ident;
	struct prefix addr;

	for (size_t at = 0; ipam_next_lease(core_ipam(m->core), &at, &ident, &addr);) {
		json_t *o = json_object();
		put(m, o, "id", text(ident));
		put(m, o, "address", prefix_of(addr));
		add(m, list, o);
	}
	return list;
}

static json_t *counters(struct maker *m)
{
	const struct gossip_counters *g = gossip_counters(core_gossip(m->core));
	struct router_stats s;
	json_t *o = json_object();

	router_stats(m->r, &s);
	put(m, o, "accepts", number(s.accepts));
	put(m, o, "accept_refused", number(s.accept_refused));
	put(m, o, "dials", number(s.dials));
	put(m, o, "dial_failures", number(s.dial_failures));
	put(m, o, "store_commits", number(s.store_commits));
	put(m, o, "store_bytes", number(s.store_bytes));
	put(m, o, "core_steps", number(s.core_steps));
	put(m, o, "log_suppressed", number(s.log_suppressed));
	put(m, o, "gossip_bytes_in", number(g->bytes_in));
	put(m, o, "gossip_bytes_out", number(g->bytes_out));
	put(m, o, "terminations", number(g->terminations));
	put(m, o, "reconciliations", number(g->reconciliations));
	put(m, o, "malformed", number(g->malformed));
	put(m, o, "unknown_types", number(g->unknown_types));
	put(m, o, "unroutable", number(g->unroutable));
	put(m, o, "signatures_made", number(g->signatures_made));
	put(m, o, "signatures_checked", number(g->signatures_checked));
	json_t *refused = json_object();
	for (enum gossip_refused why = 0; why < GOSSIP_REFUSED; why++)
		put(m, refused, gossip_refused_name(why), number(g->refused[why]));
	put(m, o, "refused", refused);
	return o;
}

json_t *status_report(const struct router *r)
{
	struct maker m = { .r = r, .core = router_core(r) };
	json_t *doc = all(&m);

	put(&m, doc, "ready", json_true());
	put(&m, doc, "connections", status_connections(&m));
	put(&m, doc, "peers", peers(&m));
	put(&m, doc, "targets", targets(&m));
	put(&m, doc, "paths", status_paths(&m));
	put(&m, doc, "containers", status_local_endpoints(&m));
	put(&m, doc, "remote_containers", status_remote_endpoints(&m));
	put(&m, doc, "networks", status_networks(&m));
	if (router_plane(r) != NULL)
		put(&m, doc, "dataplane", status_dataplane(&m, true));
	put(&m, doc, "counters", counters(&m));
	if (core_ipam(m.core) != NULL) {
		json_t *o = ipam_doc(&m);
		put(&m, o, "leases", leases(&m));
		put(&m, doc, "ipam", o);
	}
	if (core_names(m.core) != NULL)
		put(&m, doc, "dns", dns_doc(&m));
	put(&m, doc, "docker", status_docker(&m));
	return finished(&m, doc);
}

static void put_reason(struct maker *m, json_t *list, const char *service, const char *reason)
{
	json_t *o = json_object();

	put(m, o, "service", json_string(service));
	put(m, o, "reason", text(reason));
	add(m, list, o);
}

json_t *status_health(const struct router *r, bool *healthy)
{
	struct maker m = { .r = r, .core = router_core(r) };
	json_t *doc = schema_doc(&m), *reasons = json_array(), *warnings = json_array();
	const char *mesh = router_health(r), *fatal = router_fatal(r);

	if (fatal != NULL)
		put_reason(&m, reasons, "router", fatal);
	if (strcmp(mesh, "isolated") == 0)
		put_reason(
			&m, reasons, "router", "isolated: no link to any other host is established; 'weft status connections' says why");
	else if (strcmp(mesh, "contested") == 0)
		put_reason(&m, reasons, "router", "another host uses this host's peer name; see 'weft status ipam'");
	if (core_ipam(m.core) != NULL) {
		struct ipam_view v;
		look_at_ipam(m.core, &v);
		if (strcmp(ipam_health(&v), "ok") != 0)
			put_reason(&m, reasons, "ipam", v.conflict[0] != '\0' ? v.conflict : v.text);
	}
	bool broken;
	const char *trouble;
	for (size_t at = 0; router_plane(r) != NULL && (trouble = plane_next_trouble(router_plane(r), &at, &broken)) != NULL;)
		if (broken)
			put_reason(&m, reasons, "data", trouble);
	bool grave;
	for (size_t at = 0; router_plane(r) != NULL && (trouble = plane_next_obstacle(router_plane(r), &at, &grave)) != NULL;)
		put_reason(&m, grave ? reasons : warnings, grave ? "data" : "expose", trouble);
	if (core_names(m.core) != NULL && router_dns(r) == NULL)
		put_reason(&m, reasons, "dns", "the name service is not running");
	*healthy = json_array_size(reasons) == 0;
	put(&m, doc, "healthy", json_boolean(*healthy));
	put(&m, doc, "reasons", reasons);
	put(&m, doc, "warnings", warnings); /* what does not make it unhealthy */
	return finished(&m, doc);
}
