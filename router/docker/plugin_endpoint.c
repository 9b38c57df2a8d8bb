/* Endpoints: a container's interface on a network, from CreateEndpoint to DeleteEndpoint.
 *
 * CreateEndpoint makes the veth pair; dockerd takes the inner end into the container after Join, and puts it back after Leave. What is made, in this
 * order, each undone when a later one fails: claims of addresses that another IPAM driver gave, the record on disk, the pair and what the mesh is
 * told (router_endpoint_add). Addresses of our own pools are leased already. */
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "router/container.h"
#include "router/docker/inspect.h"
#include "router/docker/plugin_internal.h"

void plugin_endpoint_ident(const struct plugin_endpoint *e, char out[CORE_IDENT_MAX + 1])
{
	(void)snprintf(out, CORE_IDENT_MAX + 1, PLUGIN_IDENT "%s", e->id);
}

const struct plugin_endpoint *plugin_endpoint_with(const struct plugin *p, struct ip addr, const char *except)
{
	struct slice key;
	void *value;

	for (size_t at = 0; map_next(p->endpoints, &at, &key, &value);) {
		const struct plugin_endpoint *e = value;
		if (except != NULL && strcmp(e->id, except) == 0)
			continue;
		for (size_t i = 0; i < e->n_addrs; i++)
			if (ip_eq(e->addrs[i].addr, addr))
				return e;
	}
	return NULL;
}

/* --- removing ------------------------------------------------------------------------------------------------------------------------------- */

struct removal {
	struct plugin *p;
	char id[DOCKER_ID_MAX + 1];
	plugin_done done;
	void *ctx;
};

static void on_forgotten(void *ctx, const struct router_result *res)
{
	struct removal *x = ctx;
	struct plugin_endpoint *e = map_del(x->p->endpoints, slice_str(x->id));

	mem_free(e);
	if (x->done != NULL)
		x->done(x->ctx, res->err, res->text);
	mem_free(x);
}

static void on_removed(void *ctx, const struct router_result *res)
{
	struct removal *x = ctx;
	struct plugin_endpoint *e = map_get(x->p->endpoints, slice_str(x->id));
	char ident[CORE_IDENT_MAX + 1];

	if (e == NULL || (res->err != ERR_OK && res->err != ERR_NOT_FOUND)) { /* to be tried again: the record stays */
		if (e != NULL)
			e->removing = false;
		if (x->done != NULL)
			x->done(x->ctx, res->err, res->text);
		mem_free(x);
		return;
	}
	plugin_endpoint_ident(e, ident);
	plugin_free_lease(x->p, ident, (struct ip){ 0 });
	plugin_forget(x->p, "ep", x->id, on_forgotten, x);
}

void plugin_endpoint_remove(struct plugin *p, struct plugin_endpoint *e, plugin_done done, void *ctx)
{
	struct removal *x = mem_alloc(sizeof(*x));
	char ident[CORE_IDENT_MAX + 1];

	if (x == NULL) {
		if (done != NULL)
			done(ctx, ERR_NOMEM, "out of memory");
		return;
	}
	*x = (struct removal){ .p = p, .done = done, .ctx = ctx };
	memcpy(x->id, e->id, sizeof(x->id));
	e->removing = true;
	plugin_endpoint_ident(e, ident);
	(void)router_endpoint_remove(p->r, ident, on_removed, x);
}

/* --- making --------------------------------------------------------------------------------------------------------------------------------- */

struct endpoint_work {
	struct plugin_call *c;
	struct plugin_endpoint_request req;
	char ident[CORE_IDENT_MAX + 1];
	char network[CORE_NETWORK_MAX + 1];
	size_t checked; /* addresses looked at */
	bool waiting;   /* for an address of IPAM: may be stopped */
	bool kept;      /* the record is on its way to the disk, so that removing has something to remove */
	bool given;     /* the address is ours to tell */
};

static struct plugin_endpoint *endpoint_of(const struct endpoint_work *w)
{
	return map_get(w->c->p->endpoints, slice_str(w->req.id));
}

static void endpoint_fail(struct endpoint_work *w, enum err err, const char *text)
{
	struct plugin_call *c = w->c;
	struct plugin *p = c->p;
	struct plugin_endpoint *e = endpoint_of(w);
	char why[400];

	(void)snprintf(why, sizeof(why), "%s", text != NULL && text[0] != '\0' ? text : err_text(err));
	if (e != NULL && w->kept) {
		e->making = false;
		plugin_endpoint_remove(p, e, NULL, NULL);
	} else {
		plugin_free_lease(p, w->ident, (struct ip){ 0 });
		mem_free(map_del(p->endpoints, slice_str(w->req.id)));
	}
	mem_free(w);
	plugin_fail(c, err, why);
}

static json_t *made_answer(const struct endpoint_work *w, const struct plugin_endpoint *e)
{
	char mac[MAC_TEXT], addr[PREFIX_TEXT];
	json_t *interface = json_object();

	/* What was asked for must not be repeated. */
	if (!w->req.mac_given)
		(void)json_object_set_new(interface, "MacAddress", json_string(mac_format(e->mac, mac)));
	if (w->given)
		(void)json_object_set_new(interface, "Address", json_string(prefix_format(e->addrs[0], addr)));
	return json_pack("{s:o}", "Interface", interface);
}

static void on_added(void *ctx, const struct router_result *res)
{
	struct endpoint_work *w = ctx;
	struct plugin_call *c = w->c;
	struct plugin_endpoint *e = endpoint_of(w);

	if (res->err != ERR_OK || e == NULL || c->q == NULL) {
		endpoint_fail(w, res->err != ERR_OK ? res->err : ERR_CANCELLED, res->text);
		return;
	}
	e->making = false;
	e->since_ms = router_now_ms(c->p->r);
	json_t *answer = made_answer(w, e);
	mem_free(w);
	plugin_ok(c, answer);
}

static void on_endpoint_kept(void *ctx, const struct router_result *res)
{
	struct endpoint_work *w = ctx;
	struct plugin *p = w->c->p;
	struct plugin_endpoint *e = endpoint_of(w);
	const struct plugin_net *n = map_get(p->nets, slice_str(w->req.network));

	if (res->err != ERR_OK || e == NULL || n == NULL) {
		endpoint_fail(
			w, res->err != ERR_OK ? res->err : ERR_CANCELLED, res->err != ERR_OK ? res->text : "the network has been removed");
		return;
	}
	struct endpoint_request add = { .ident = w->ident,
		.network = w->network,
		.ifname = e->ifname,
		.mac = e->mac,
		.addrs = e->addrs,
		.n_addrs = e->n_addrs,
		.mtu = n->options.mtu };
	(void)router_endpoint_add(p->r, &add, on_added, w);
}

static void keep_endpoint(struct endpoint_work *w)
{
	w->kept = true;
	plugin_keep_endpoint(w->c->p, endpoint_of(w), on_endpoint_kept, w);
}

/* --- its addresses -------------------------------------------------------------------------------------------------------------------------- */

static void check_addresses(struct endpoint_work *w);

static const char *host_of(const struct plugin *p, uint64_t peer, char out[PEER_TEXT], struct peer_info *info)
{
	bool known = gossip_peer(core_gossip(router_core(p->r)), peer, info) && info->nickname[0] != '\0';

	return known ? info->nickname : peer_format(peer, out);
}

/* Docker's own driver counts from one on every host. */
static const char *advice(const struct plugin_net *n)
{
	return n->foreign ? "; make the network with --ipam-driver weft, so that hosts agree on addresses" : "";
}

/* A container that has it already, here or elsewhere. */
static enum err check_unused(const struct endpoint_work *w, const struct plugin_net *n, struct ip addr, struct err_note *note)
{
	const struct plugin *p = w->c->p;
	const struct core_endpoint *holder = core_address_holder(router_core(p->r), addr, w->network);
	char ip[IP_TEXT], peer[PEER_TEXT];
	struct peer_info info;

	if (plugin_endpoint_with(p, addr, w->req.id) != NULL)
		return err_note(
			note, ERR_BUSY, "the address %s is that of another container on this host%s", ip_format(addr, ip), advice(n));
	if (holder == NULL || strcmp(holder->ident, w->ident) == 0)
		return ERR_OK;
	return err_note(note, ERR_BUSY, "the address %s is in use by a container on host %.64s%s", ip_format(addr, ip),
		host_of(p, holder->peer, peer, &info), advice(n));
}

/* The lease that has to stand behind it: of the range, or none. */
static bool lease_for(const struct plugin *p, const struct plugin_net *n, struct ip addr, struct ip *v4)
{
	struct prefix range = plugin_range(p);

	*v4 = addr;
	if (core_ipam(router_core(p->r)) == NULL)
		return false;
	if (addr.family == 4)
		return prefix_contains(range, addr);
	for (size_t i = 0; i < n->n_pools; i++) {
		const struct plugin_pool *pool = map_get(p->pools, slice_str(n->pools[i]));
		if (pool != NULL && plugin_addr4(range, pool->spec.pool, addr, v4))
			return true;
	}
	return false;
}

static void on_claimed(void *ctx, const struct router_result *res)
{
	struct endpoint_work *w = ctx;
	struct plugin *p = w->c->p;
	struct plugin_endpoint *e = endpoint_of(w);
	const struct plugin_net *n = map_get(p->nets, slice_str(w->req.network));
	char text[400];

	w->waiting = false;
	w->c->pending = 0;
	w->c->stop = NULL;
	if (res->err != ERR_OK || n == NULL || e == NULL || w->c->q == NULL) {
		(void)snprintf(text, sizeof(text), "%s%s", res->err != ERR_OK ? res->text : "the network has been removed",
			res->err == ERR_OK || n == NULL ? "" : advice(n));
		endpoint_fail(w, res->err != ERR_OK ? res->err : ERR_CANCELLED, text);
		return;
	}
	if (w->given) {
		e->addrs[0] = res->addr;
		e->n_addrs = 1;
		w->checked = 1;
	} else {
		w->checked++;
	}
	check_addresses(w);
}

static void endpoint_stop(struct plugin_call *c, enum err err, const char *text)
{
	struct endpoint_work *w = c->work;

	if (!w->waiting)
		return;
	router_cancel(c->p->r, c->pending);
	endpoint_fail(w, err, text); /* frees whatever the ident holds */
}

static void ask_ipam(struct endpoint_work *w, struct prefix what, bool claim)
{
	struct plugin_call *c = w->c;
	struct router *r = c->p->r;
	struct ipam_event want = { .kind = claim ? IPAM_CLAIM : IPAM_ALLOCATE, .ident = w->ident, .subnet = what, .wait = !claim };
	struct core_event ev = { .kind = CORE_IPAM, .ipam = &want };

	w->waiting = true;
	c->work = w;
	c->stop = endpoint_stop;
	c->timed = true;
	uint64_t number = router_submit(r, &ev, on_claimed, w);
	if (number != 0)
		c->pending = number;
}

/* One after the other; then the endpoint is made. */
static void check_addresses(struct endpoint_work *w)
{
	struct plugin *p = w->c->p;
	struct plugin_endpoint *e = endpoint_of(w);
	const struct plugin_net *n = map_get(p->nets, slice_str(w->req.network));
	struct prefix range = plugin_range(p);
	struct err_note note = { "" };
	struct ip v4;

	while (w->checked < e->n_addrs) {
		struct prefix a = e->addrs[w->checked];
		enum err err = check_unused(w, n, a.addr, &note);
		if (err != ERR_OK) {
			endpoint_fail(w, err, note.text);
			return;
		}
		const char *holder = lease_for(p, n, a.addr, &v4) ? plugin_holder(p, v4) : NULL;
		bool leased = holder != NULL && !n->foreign && strncmp(holder, PLUGIN_LEASE, strlen(PLUGIN_LEASE)) == 0;
		bool elsewhere = router_options(p->r)->plugin_global; /* by the swarm's manager */
		if (lease_for(p, n, a.addr, &v4) && !leased && !(elsewhere && holder == NULL && !n->foreign)) {
			ask_ipam(w, (struct prefix){ v4, a.addr.family == 4 ? a.len : range.len }, true);
			return;
		}
		w->checked++;
	}
	keep_endpoint(w);
}

static void on_net_sure(void *ctx, enum err err, const char *text)
{
	struct endpoint_work *w = ctx;
	struct plugin *p = w->c->p;
	struct plugin_endpoint *e = endpoint_of(w);
	const struct plugin_net *n = map_get(p->nets, slice_str(w->req.network));

	if (err != ERR_OK || n == NULL || e == NULL || w->c->q == NULL) {
		endpoint_fail(w, err != ERR_OK ? err : ERR_CANCELLED, err != ERR_OK ? text : "the network has been removed");
		return;
	}
	(void)snprintf(w->network, sizeof(w->network), "%s", n->name);
	if (e->n_addrs > 0) {
		check_addresses(w);
	} else if (!n->gives) {
		endpoint_fail(w, ERR_USAGE, "Interface has no Address, and the network's addresses are not for weft to give");
	} else if (core_ipam(router_core(p->r)) == NULL) {
		endpoint_fail(w, ERR_STATE,
			"with --ipam-driver null weft gives the address, but its address management is off on this host (--ipalloc-range \"\")");
	} else {
		w->given = true;
		ask_ipam(w, plugin_net_subnet(n), false);
	}
}

static void name_interface(struct plugin_endpoint *e)
{
	(void)snprintf(e->ifname, sizeof(e->ifname), "wd%.12s", e->id);
}

static struct plugin_endpoint *endpoint_new(struct plugin *p, const struct plugin_endpoint_request *req)
{
	struct plugin_endpoint *e = mem_zalloc(1, sizeof(*e));
	uint64_t random = plugin_random();
	uint8_t bytes[6];

	if (e == NULL)
		return NULL;
	(void)snprintf(e->id, sizeof(e->id), "%s", req->id);
	(void)snprintf(e->net, sizeof(e->net), "%s", req->network);
	name_interface(e);
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(random >> 8 * i);
	e->mac = req->mac_given ? req->mac : container_random_mac(bytes);
	if (req->addr.addr.family != 0)
		e->addrs[e->n_addrs++] = req->addr;
	if (req->addr6.addr.family != 0)
		e->addrs[e->n_addrs++] = req->addr6;
	e->making = true;
	if (map_put(p->endpoints, slice_str(e->id), e, NULL) != ERR_OK) {
		mem_free(e);
		return NULL;
	}
	return e;
}

enum err plugin_adopt(struct plugin *p, struct err_note *note)
{
	const struct core_endpoint *of;

	for (size_t it = 0; core_next_local(router_core(p->r), &it, &of);) {
		const char *id = of->ident + strlen(PLUGIN_IDENT);
		if (strncmp(of->ident, PLUGIN_IDENT, strlen(PLUGIN_IDENT)) != 0 || !docker_id_ok(id) ||
			map_get(p->endpoints, slice_str(id)) != NULL)
			continue;
		struct plugin_endpoint *e = mem_zalloc(1, sizeof(*e));
		if (e == NULL)
			return err_note(note, ERR_NOMEM, "out of memory");
		(void)snprintf(e->id, sizeof(e->id), "%s", id);
		name_interface(e);
		e->mac = of->mac;
		for (size_t i = 0; i < of->n_addrs && e->n_addrs < PLUGIN_ADDR_MAX; i++)
			e->addrs[e->n_addrs++] = of->addrs[i];
		if (map_put(p->endpoints, slice_str(e->id), e, NULL) != ERR_OK) {
			mem_free(e);
			return err_note(note, ERR_NOMEM, "out of memory");
		}
		plugin_keep_endpoint(p, e, NULL, NULL);
	}
	return ERR_OK;
}

/* A container uses the address: nobody else is to have it. */
static void claim_used(struct plugin *p, const struct plugin_endpoint *e, const struct plugin_net *n, struct prefix a)
{
	char ident[CORE_IDENT_MAX + 1];
	struct ip v4;

	if (!lease_for(p, n, a.addr, &v4) || plugin_holder(p, v4) != NULL)
		return;
	if (a.addr.family == 6) {
		plugin_claim6(p, n, a.addr);
		return;
	}
	plugin_endpoint_ident(e, ident);
	struct ipam_event want = { .kind = IPAM_CLAIM, .ident = ident, .subnet = a, .wait = true, .on = true };
	struct core_event ev = { .kind = CORE_IPAM, .ipam = &want };
	plugin_submit_quietly(p, &ev);
}

void plugin_endpoint_learn(struct plugin *p, const struct plugin_net *n, const struct plugin_endpoint_request *req)
{
	struct plugin_endpoint *e = map_get(p->endpoints, slice_str(req->id));

	if (e == NULL && map_count(p->endpoints) < PLUGIN_RECORDS_MAX) {
		e = endpoint_new(p, req);
		if (e != NULL)
			e->making = false;
	}
	if (e == NULL || e->making || e->removing || (e->net[0] != '\0' && strcmp(e->net, n->id) != 0))
		return;
	(void)snprintf(e->net, sizeof(e->net), "%s", n->id);
	e->since_ms = router_now_ms(p->r);
	plugin_keep_endpoint(p, e, NULL, NULL);
	for (size_t i = 0; i < e->n_addrs; i++)
		claim_used(p, e, n, e->addrs[i]);
}

/* The same endpoint again: nothing of it is to be answered anew. */
static bool said_before(const struct plugin_endpoint *e, const struct plugin_endpoint_request *req)
{
	return !e->making && !e->removing && strcmp(e->net, req->network) == 0 && req->mac_given && mac_eq(req->mac, e->mac) &&
		(req->addr.addr.family == 0 || (e->n_addrs > 0 && prefix_eq(e->addrs[0], req->addr)));
}

static enum err may_make(const struct plugin *p, const struct plugin_endpoint_request *req, struct err_note *note)
{
	if (map_get(p->endpoints, slice_str(req->id)) != NULL)
		return err_note(note, ERR_EXISTS, "there is an endpoint %.12s already", req->id);
	if (map_count(p->endpoints) >= PLUGIN_RECORDS_MAX)
		return err_note(note, ERR_LIMIT, "there are %d endpoints already", PLUGIN_RECORDS_MAX);
	return ERR_OK;
}

static void begin_endpoint(struct endpoint_work *w)
{
	struct plugin *p = w->c->p;
	struct plugin_call *c = w->c;
	struct err_note note = { "out of memory" };
	enum err err = may_make(p, &w->req, &note);

	if (err == ERR_OK)
		err = endpoint_new(p, &w->req) == NULL ? ERR_NOMEM : ERR_OK;
	if (err != ERR_OK) {
		mem_free(w);
		plugin_fail(c, err, note.text);
		return;
	}
	plugin_endpoint_ident(endpoint_of(w), w->ident);
	plugin_net_use(map_get(p->nets, slice_str(w->req.network)), on_net_sure, w);
}

static void on_learnt(void *ctx, enum err err, const char *why)
{
	struct endpoint_work *w = ctx;
	struct plugin_call *c = w->c;
	struct err_note note = { "" };
	char what[DOCKER_ID_MAX + 40];

	if (map_get(c->p->nets, slice_str(w->req.network)) != NULL && c->q != NULL) {
		begin_endpoint(w);
		return;
	}
	(void)snprintf(what, sizeof(what), "weft knows of no network %.12s", w->req.network);
	plugin_say_lost(&note, what, err, why);
	mem_free(w);
	plugin_fail(c, ERR_NOT_FOUND, note.text);
}

void plugin_create_endpoint(struct plugin_call *c, const json_t *body)
{
	struct plugin *p = c->p;
	struct plugin_endpoint_request req;
	struct err_note note = { "out of memory" };
	enum err err = plugin_parse_endpoint(body, &req, &note);
	const struct plugin_endpoint *have = err == ERR_OK ? map_get(p->endpoints, slice_str(req.id)) : NULL;

	if (have != NULL && said_before(have, &req)) {
		plugin_ok(c, json_object());
		return;
	}
	struct endpoint_work *w = err == ERR_OK ? mem_zalloc(1, sizeof(*w)) : NULL;
	if (w == NULL) {
		plugin_fail(c, err == ERR_OK ? ERR_NOMEM : err, note.text);
		return;
	}
	w->c = c;
	w->req = req;
	if (map_get(p->nets, slice_str(req.network)) != NULL)
		begin_endpoint(w);
	else
		plugin_learn(p, on_learnt, w);
}

/* --- the others ----------------------------------------------------------------------------------------------------------------------------- */

static bool is_on(const struct plugin_endpoint *e, const char *network)
{
	return e->net[0] == '\0' || strcmp(e->net, network) == 0;
}

static void on_deleted(void *ctx, enum err err, const char *text)
{
	struct plugin_call *c = ctx;

	if (err != ERR_OK)
		plugin_fail(c, err, text);
	else
		plugin_ok(c, json_object());
}

static void on_unknown_removed(void *ctx, const struct router_result *res)
{
	on_deleted(ctx, res->err == ERR_NOT_FOUND ? ERR_OK : res->err, res->text);
}

/* Its record is not there: it is deleted already, or the record was lost and the interface is still to go. */
static void remove_unknown(struct plugin_call *c, const char *id)
{
	char ident[CORE_IDENT_MAX + 1];

	(void)snprintf(ident, sizeof(ident), PLUGIN_IDENT "%s", id);
	(void)router_endpoint_remove(c->p->r, ident, on_unknown_removed, c);
}

void plugin_delete_endpoint(struct plugin_call *c, const json_t *body)
{
	struct plugin_endpoint_request req;
	struct err_note note = { "" };
	enum err err = plugin_parse_endpoint_ids(body, &req, &note);
	struct plugin_endpoint *e = err == ERR_OK ? map_get(c->p->endpoints, slice_str(req.id)) : NULL;

	if (err != ERR_OK)
		plugin_fail(c, err, note.text);
	else if (e != NULL && !is_on(e, req.network))
		plugin_fail(c, ERR_NOT_FOUND, "that endpoint is on another network");
	else if (e != NULL && e->making)
		plugin_fail(c, ERR_BUSY, "the endpoint is being made; try again");
	else if (e == NULL)
		remove_unknown(c, req.id);
	else if (e->removing)
		plugin_ok(c, json_object());
	else
		plugin_endpoint_remove(c->p, e, on_deleted, c);
}

/* NULL: c has been answered. */
static struct plugin_endpoint *find(struct plugin_call *c, const json_t *body)
{
	struct plugin_endpoint_request req;
	struct err_note note = { "" };
	enum err err = plugin_parse_endpoint_ids(body, &req, &note);
	struct plugin_endpoint *e = err == ERR_OK ? map_get(c->p->endpoints, slice_str(req.id)) : NULL;

	if (err == ERR_OK && (e == NULL || !is_on(e, req.network)))
		err = err_note(&note, ERR_NOT_FOUND, "there is no endpoint %.12s on network %.12s", req.id, req.network);
	if (err == ERR_OK && (e->making || e->removing))
		err = err_note(&note, ERR_STATE, "the endpoint %.12s is being made or removed", req.id);
	if (err == ERR_OK)
		return e;
	plugin_fail(c, err, note.text);
	return NULL;
}

void plugin_endpoint_info(struct plugin_call *c, const json_t *body)
{
	const struct plugin_endpoint *e = find(c, body);
	const struct plugin_net *n = e != NULL ? map_get(c->p->nets, slice_str(e->net)) : NULL;

	if (e != NULL)
		plugin_ok(c, json_pack("{s:{s:s, s:s}}", "Value", "weft.network", n != NULL ? n->name : "", "weft.interface", e->ifname));
}

/* Of containers on several networks each interface gets routes to the same places, and the kernel takes no two alike: the first is exact, those that
 * follow are wider each, and take over when the ones before them go. The length to use; 0: none is left. */
static uint8_t free_len(const struct plugin *p, const struct plugin_endpoint *e, bool dns, uint8_t from, uint8_t to)
{
	struct slice key;
	void *value;
	bool taken = true;
	uint8_t len = from;

	for (; taken && len >= to; len--) {
		taken = false;
		for (size_t at = 0; map_next(p->endpoints, &at, &key, &value);) {
			const struct plugin_endpoint *o = value;
			taken = taken || (o != e && strcmp(o->sandbox, e->sandbox) == 0 && (dns ? o->dns_len : o->multicast_len) == len);
		}
		if (!taken)
			return len;
	}
	return 0;
}

static void add_route(json_t *routes, uint32_t to, uint8_t len)
{
	char text[PREFIX_TEXT];
	struct prefix p = prefix_network((struct prefix){ ip_v4(to), len });

	if (len > 0)
		(void)json_array_append_new(routes, json_pack("{s:s, s:i}", "Destination", prefix_format(p, text), "RouteType", 1));
}

struct join {
	struct plugin_call *c;
	json_t *answer;
};

static void on_joined(void *ctx, const struct router_result *res)
{
	struct join *j = ctx;

	if (res->err != ERR_OK) {
		json_decref(j->answer);
		plugin_fail(j->c, res->err, res->text);
	} else {
		plugin_ok(j->c, j->answer);
	}
	mem_free(j);
}

/* Where nothing leads out, Docker's resolver asks the host's name servers in vain; by us they are answered (nft.h). */
static void add_resolvers(const struct router *r, json_t *routes)
{
	struct ip servers[ROUTER_RESOLVERS_MAX];
	const size_t n = router_resolvers(r, servers);
	char text[IP_TEXT];

	for (size_t i = 0; i < n; i++) {
		char cidr[IP_TEXT + 4];
		(void)snprintf(cidr, sizeof(cidr), "%s/32", ip_format(servers[i], text));
		(void)json_array_append_new(
			routes, json_pack("{s:s, s:i, s:s}", "Destination", cidr, "RouteType", 0, "NextHop", "169.254.67.83"));
	}
}

void plugin_endpoint_joined(struct plugin *p, struct plugin_endpoint *e, const char *sandbox)
{
	const struct plugin_net *n = map_get(p->nets, slice_str(e->net));
	struct hostport dns;

	e->dns_len = e->multicast_len = 0;
	plugin_hash_sandbox(sandbox, e->sandbox);
	plugin_outside_forget(p);
	if (!router_options(p->r)->no_multicast_route && (n == NULL || !n->options.no_multicast))
		e->multicast_len = free_len(p, e, false, 4, 3);
	if (router_dns_address(p->r, &dns) && dns.ip.family == 4 && ip_to_v4(dns.ip) == WEFT_DNS_V4)
		e->dns_len = free_len(p, e, true, 32, 17);
}

/* No gateway: the way out of the overlay, and published ports, are docker_gwbridge's. */
void plugin_join(struct plugin_call *c, const json_t *body)
{
	struct plugin *p = c->p;
	struct plugin_endpoint *e = find(c, body);
	const char *sandbox = json_string_value(json_object_get(body, "SandboxKey"));

	if (e == NULL)
		return;
	if (sandbox == NULL || sandbox[0] == '\0') {
		plugin_fail(c, ERR_USAGE, "SandboxKey is missing or no text");
		return;
	}
	const struct plugin_net *n = map_get(p->nets, slice_str(e->net));
	struct join *j = mem_zalloc(1, sizeof(*j));
	json_t *routes = json_array();
	if (j == NULL) {
		json_decref(routes);
		plugin_fail(c, ERR_NOMEM, "out of memory");
		return;
	}
	plugin_endpoint_joined(p, e, sandbox);
	add_route(routes, UINT32_C(0xe0000000), e->multicast_len);
	add_route(routes, WEFT_DNS_V4, e->dns_len);
	if (e->dns_len == 32 && n != NULL && n->internal) /* the first of the container's networks */
		add_resolvers(p->r, routes);
	*j = (struct join){ c,
		json_pack("{s:{s:s, s:s}, s:o}", "InterfaceName", "SrcName", e->ifname, "DstPrefix", CONTAINER_IFNAME, "StaticRoutes",
			routes) };
	plugin_keep_endpoint(p, e, on_joined, j);
}

static void on_left(void *ctx, const struct router_result *res)
{
	struct plugin_call *c = ctx;

	if (res->err != ERR_OK)
		plugin_fail(c, res->err, res->text);
	else
		plugin_ok(c, json_object());
}

void plugin_leave(struct plugin_call *c, const json_t *body)
{
	struct plugin_endpoint_request req;
	struct err_note note = { "" };
	enum err err = plugin_parse_endpoint_ids(body, &req, &note);
	struct plugin_endpoint *e = err == ERR_OK ? map_get(c->p->endpoints, slice_str(req.id)) : NULL;

	if (err != ERR_OK) {
		plugin_fail(c, err, note.text);
	} else if (e == NULL || e->sandbox[0] == '\0') {
		plugin_ok(c, json_object());
	} else { /* dockerd is about to put the interface back; DeleteEndpoint removes it */
		e->sandbox[0] = '\0';
		plugin_outside_forget(c->p);
		e->dns_len = e->multicast_len = 0;
		plugin_keep_endpoint(c->p, e, on_left, c);
	}
}

/* Program- and RevokeExternalConnectivity: ports are published by docker_gwbridge, since Join gives no gateway. */
void plugin_external(struct plugin_call *c, const json_t *body)
{
	if (find(c, body) != NULL)
		plugin_ok(c, json_object());
}

bool plugin_next_endpoint(const struct plugin *p, size_t *it, char ident[CORE_IDENT_MAX + 1])
{
	struct slice key;
	void *value;

	if (p == NULL || !map_next(p->endpoints, it, &key, &value))
		return false;
	plugin_endpoint_ident(value, ident);
	return true;
}
