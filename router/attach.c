/* Attaching and detaching containers: addresses from the core, the interface from the kernel, the endpoint back to the core.
 *
 * An attach goes through its addresses one by one (each may wait for space or for the first agreement), then plumbs, then publishes.
 * What goes wrong half-way gives back the addresses that this very request obtained. Cancelling does the same. */
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "dns/name.h"
#include "router/attach_internal.h"
#include "router/attach_request.h"
#include "router/docker/containers.h"
#include "router/hosts.h"
#include "router/lease_request.h"
#include "router/netns.h"

struct attach {
	struct router *r;
	uint64_t number;
	struct netns_target target;
	int nsfd;
	json_t *wish; /* one of Docker's: what was asked for, to be attached again by when it is started again */
	struct lease_request leases;
	struct prefix addrs[2 * CORE_ADDRS_MAX]; /* what it gets: these, and the IPv6 addresses that go with them */
	size_t n_addrs;
	bool asking;     /* inside publish(), which sees to what is answered meanwhile */
	bool publishing; /* it is plumbed, and `unstored` answers are waited for that come when all is durable */
	size_t unstored;
	enum err err; /* of making it known */
	bool known;   /* it was attached before this request */
	bool hairpin, multicast_route, with_dns;
	char ifname[NETLINK_NAME_MAX + 1]; /* "": not said */
	struct container_route routes[CONTAINER_ROUTES_MAX];
	size_t n_routes;
	struct mac mac;
	struct container_record made; /* when it is plumbed */
	struct hosts_file *hosts;     /* to be changed; NULL: not */
	json_t *asked;                /* the request, if it is needed to the end */
	char network[CORE_NETWORK_MAX + 1];
	struct prefix default_subnet; /* where an address comes from when none is named */
	router_done done;
	void *ctx;
};

static void free_one(struct attach *a)
{
	if (a->nsfd >= 0)
		(void)close(a->nsfd);
	json_decref(a->wish);
	hosts_close(a->hosts);
	json_decref(a->asked);
	mem_free(a);
}

void attach_submit_quietly(struct router *r, struct core_event *ev)
{
	(void)router_submit(r, ev, router_ignore, NULL);
}

/* Another request for the same container may have got the same address and made use of it. */
static bool attached_with(const void *arg, struct ip addr)
{
	const struct attach *a = arg;
	const struct core_endpoint *e = core_local(a->r->core, a->target.ident);

	for (size_t i = 0; e != NULL && i < e->n_addrs; i++)
		if (ip_eq(e->addrs[i].addr, addr))
			return true;
	return false;
}

static void finish(struct attach *a, enum err err, const char *text)
{
	struct router_result res = { .err = err, .text = text };

	(void)map_del64(a->r->attaches, a->number);
	if (err != ERR_OK) {
		lease_request_give_back(&a->leases, attached_with, a);
	} else {
		res.addrs = a->addrs;
		res.n_addrs = a->n_addrs;
		res.mac = a->made.mac;
		res.ifname = a->made.ifname;
		res.port = a->made.port;
		res.mtu = plane_container_mtu(a->r->plane);
		if (a->wish != NULL)
			docker_keeper_wish(a->r->keeper, a->target.ident, a->target.pid, a->wish);
	}
	a->done(a->ctx, &res);
	free_one(a);
}

/* --- names ------------------------------------------------------------------------------------------------------------------------ */

static void on_stored(void *ctx, const struct router_result *res);

static void put_own_name(struct attach *a)
{
	char fqdn[256];
	struct dns_name domain, name;

	if (!a->with_dns || a->target.kind != NETNS_PID || a->r->opt->no_dns ||
		netns_fqdn(a->target.pid, fqdn, sizeof(fqdn), NULL) != ERR_OK || strchr(fqdn, '.') == NULL)
		return;
	if (dns_name_parse(a->r->opt->dns_domain, &domain) != ERR_OK || dns_name_check(fqdn, &domain, &name, NULL) != ERR_OK)
		return; /* a host name of another domain is not ours to answer */
	for (size_t i = 0; i < a->n_addrs; i++) {
		struct core_event ev = { .kind = CORE_NAME_PUT, .ident = a->target.ident, .fqdn = fqdn, .addr = a->addrs[i].addr };
		a->unstored++;
		(void)router_submit(a->r, &ev, on_stored, a);
	}
}

/* --- the interface ------------------------------------------------------------------------------------------------------------------ */

void attach_endpoint_of(const struct router *r, const struct container_record *rec, const char *network, struct core_endpoint *e)
{
	memset(e, 0, sizeof(*e));
	e->peer = r->id.name;
	(void)snprintf(e->ident, sizeof(e->ident), "%s", rec->ident);
	e->mac = rec->mac;
	e->n_addrs = rec->n_addrs < CORE_ADDRS_MAX ? rec->n_addrs : CORE_ADDRS_MAX;
	memcpy(e->addrs, rec->addrs, e->n_addrs * sizeof(e->addrs[0]));
	(void)snprintf(e->network, sizeof(e->network), "%s", network);
}

/* It is there, and the container is in no other one: its interface has one bridge. */
enum err attach_check_network(
	const struct router *r, const char *ident, const char *network, struct core_network *out, struct err_note *note)
{
	const struct core_endpoint *have = core_local(r->core, ident);

	if (!core_network(r->core, network, out))
		return err_note(note, ERR_NOT_FOUND,
			"there is no network '%.64s'; 'weft network ls' lists them, 'weft network create' makes one", network);
	if (have != NULL && strcmp(have->network, network) != 0)
		return err_note(note, ERR_CONFLICT,
			"%.80s is attached to network %s, and its interface cannot be in two; detach it first, then attach it to %s", ident,
			have->network, network);
	return ERR_OK;
}

/* What the network says; without management of addresses there is none. */
struct prefix attach_default_subnet(const struct core *core, const char *network)
{
	struct core_network n;

	return core_network(core, network, &n) && n.subnet.addr.family != 0 ? n.subnet : core_cfg(core)->default_subnet;
}

/* --- making it known ------------------------------------------------------------------------------------------------------------------ */

static void unplumb(struct attach *a)
{
	struct container_record rec;
	struct err_note note = { "" };

	if (container_detach(plane_kernel(a->r->plane), a->target.ident, -1, NULL, 0, &rec, &note) != ERR_OK)
		log_write(a->r->log, LOG_LEVEL_WARNING, "%s", note.text);
	plane_port_changed(a->r->plane, a->target.ident);
}

static void published(struct attach *a)
{
	struct err_note note = { "" };

	if (a->err == ERR_OK) {
		enum err err = a->hosts != NULL ? attach_hosts_put(a->hosts, a->asked, &a->target, &a->made, &note) : ERR_OK;
		if (err != ERR_OK && !a->known) {
			struct core_event gone = { .kind = CORE_DETACHED, .ident = a->target.ident };
			unplumb(a);
			attach_submit_quietly(a->r, &gone);
		}
		finish(a, err, note.text);
		return;
	}
	if (core_local(a->r->core, a->target.ident) == NULL) /* a new one: nobody would know of its interface */
		unplumb(a);
	finish(a, a->err, "the container cannot be made known; try again");
}

static void on_stored(void *ctx, const struct router_result *res)
{
	struct attach *a = ctx;

	(void)res; /* without its name it is attached all the same */
	if (--a->unstored == 0 && !a->asking)
		published(a);
}

static void on_known(void *ctx, const struct router_result *res)
{
	struct attach *a = ctx;

	a->err = res->err;
	on_stored(ctx, res);
}

/* The endpoint and the container's own name share one commit. */
static void publish(struct attach *a, const struct core_endpoint *e)
{
	struct core_event ev = { .kind = CORE_ATTACHED, .endpoint = e };
	enum err err = ERR_OK;

	a->known = core_local(a->r->core, a->target.ident) != NULL;
	a->publishing = a->asking = true;
	a->unstored = 1;
	uint64_t number = router_submit(a->r, &ev, on_known, a);
	if (number != 0 ? router_decided(a->r, number, &err) && err == ERR_OK : a->err == ERR_OK)
		put_own_name(a);
	a->asking = false;
	if (a->unstored == 0)
		published(a);
}

/* IPv4 addresses first. */
static void gather_addresses(struct attach *a)
{
	const size_t n = a->leases.n_want;

	a->n_addrs = n;
	for (size_t i = 0; i < n; i++)
		a->addrs[i] = a->leases.want[i].prefix;
	for (size_t i = 0; i < n; i++)
		if (core_companion(a->r->core, a->network, a->addrs[i], &a->addrs[a->n_addrs]))
			a->n_addrs++;
}

static void plumb(struct attach *a)
{
	struct router *r = a->r;
	struct core_endpoint e;
	struct err_note note = { "" };
	struct container_want want = {
		.ident = a->target.ident,
		.nsfd = a->nsfd,
		.mac = a->mac,
		.addrs = a->addrs,
		.ifname = a->ifname[0] != '\0' ? a->ifname : NULL,
		.routes = a->routes,
		.n_routes = a->n_routes,
		.hairpin = a->hairpin,
		.mtu = plane_container_mtu(r->plane),
		.multicast_route = a->multicast_route,
		.dns_route = !r->opt->no_dns,
	};
	struct core_network network;
	struct kernel *k = NULL;

	gather_addresses(a);
	want.n_addrs = a->n_addrs;
	/* much may have happened while we waited for addresses */
	enum err err = attach_check_network(r, a->target.ident, a->network, &network, &note);
	if (err == ERR_OK)
		err = plane_need(r->plane, r->core, &network, &k, &note);
	if (err == ERR_OK) {
		router_dns_networks(r);
		plane_expect(r->plane, r->core, a->target.ident, a->addrs, a->n_addrs);
		err = container_attach(k, &want, &a->made, &note);
		plane_port_changed(r->plane, a->target.ident);
	}
	if (err != ERR_OK) {
		finish(a, err, note.text);
		return;
	}
	attach_endpoint_of(r, &a->made, a->network, &e);
	publish(a, &e);
}

/* --- the addresses -------------------------------------------------------------------------------------------------------------------- */

static void on_leases(void *ctx, enum err err, const char *text)
{
	struct attach *a = ctx;

	if (err == ERR_OK)
		plumb(a);
	else
		finish(a, err, text);
}

enum err attach_parse_addr(
	const struct core *core, const char *network, const char *text, struct prefix *out, bool *claim, struct err_note *note)
{
	struct prefix p, in = attach_default_subnet(core, network);
	struct ip v4;

	if (prefix_parse(strncmp(text, "ip:", 3) == 0 ? text + 3 : text, &p) != ERR_OK || p.addr.family != 6)
		return ipam_parse_addr(text, in, out, claim, note);
	if (p.addr.b[0] == 0xff || (p.addr.b[0] == 0xfe && (p.addr.b[1] & 0xc0) == 0x80))
		return err_note(note, ERR_RANGE, "%.60s is no address for a container: it is one of groups or of links", text);
	*claim = true;
	*out = p;
	if (core_companion_of(core, network, p.addr, &v4))
		*out = (struct prefix){ v4, p.len > 96 + 8 ? (uint8_t)(p.len - 96) : in.len };
	return ERR_OK;
}

static bool wanted_already(const struct attach *a, struct ip ip)
{
	for (size_t i = 0; i < a->leases.n_want; i++)
		if (a->leases.want[i].claim && ip_eq(a->leases.want[i].prefix.addr, ip))
			return true;
	return false;
}

static enum err parse_addrs(struct attach *a, const struct attach_request *req, struct err_note *note)
{
	struct lease_request *q = &a->leases;

	if (req->n_addrs > CORE_ADDRS_MAX)
		return err_note(note, ERR_LIMIT, "at most %d addresses a container", CORE_ADDRS_MAX);
	for (size_t i = 0; i < req->n_addrs; i++) {
		struct wanted *w = &q->want[q->n_want];
		enum err err = attach_parse_addr(a->r->core, a->network, req->addrs[i], &w->prefix, &w->claim, note);
		if (err != ERR_OK)
			return err;
		if (!w->claim || !wanted_already(a, w->prefix.addr))
			q->n_want++;
	}
	if (req->n_addrs == 0) {
		q->want[0] = (struct wanted){ .prefix = a->default_subnet };
		q->n_want = 1;
	}
	for (size_t i = 0; core_ipam(a->r->core) == NULL && i < q->n_want; i++)
		if (!q->want[i].claim)
			return err_note(note, ERR_STATE,
				"address management is off on this host (--ipalloc-range \"\"): give the address, as ip:10.1.2.3/24");
	return ERR_OK;
}

enum err attach_check_mac(const struct router *r, const char *ident, const char *network, struct mac mac, struct err_note *note)
{
	const struct core_endpoint *holder = core_mac_holder(r->core, mac, network);
	char text[MAC_TEXT], peer[PEER_TEXT];

	if (holder == NULL || (holder->peer == r->id.name && strcmp(holder->ident, ident) == 0))
		return ERR_OK;
	return err_note(note, ERR_CONFLICT, "the MAC %s is that of %.100s on host %s; choose another", mac_format(mac, text),
		holder->ident, peer_format(holder->peer, peer));
}

enum err attach_check_ident(const char *ident, struct err_note *note)
{
	size_t n = strlen(ident);

	if (n == 0 || n > NETNS_IDENT_MAX)
		return err_note(note, ERR_USAGE, "a container's id has 1 to %d bytes", NETNS_IDENT_MAX);
	if (!core_text_ok(slice_str(ident)))
		return err_note(note, ERR_USAGE, "the container's name is not plain text (UTF-8 without control characters)");
	return ERR_OK;
}

struct mac attach_random_mac(void)
{
	uint8_t random[6];

	randombytes_buf(random, sizeof(random));
	return container_random_mac(random);
}

/* The one that is named; else that of the container, if it is attached; else the default one. */
static enum err choose_network(struct attach *a, const struct attach_request *req, struct err_note *note)
{
	const struct core_endpoint *have = core_local(a->r->core, a->target.ident);
	const char *name = req->network != NULL && req->network[0] != '\0' ? req->network
		: have != NULL                                                 ? have->network
																	   : CORE_NETWORK_DEFAULT;
	struct core_network network;
	enum err err = attach_check_network(a->r, a->target.ident, name, &network, note);

	if (err == ERR_OK) {
		(void)snprintf(a->network, sizeof(a->network), "%s", name);
		a->default_subnet = attach_default_subnet(a->r->core, name);
	}
	return err;
}

static enum err parse_mac(struct attach *a, const char *text, struct err_note *note)
{
	a->mac = attach_random_mac();
	if (text != NULL && (mac_parse(text, &a->mac) != ERR_OK || mac_is_group(a->mac)))
		return err_note(note, ERR_USAGE, "'%.40s' is no MAC address for a container; give one like 02:11:22:33:44:55", text);
	return attach_check_mac(a->r, a->target.ident, a->network, a->mac, note);
}

static enum err copy_options(struct attach *a, const struct attach_request *req, struct err_note *note)
{
	if (req->ifname != NULL && !container_ifname_ok(req->ifname))
		return err_note(note, ERR_USAGE, "'%.40s' is no name for an interface", req->ifname);
	if (req->n_routes > CONTAINER_ROUTES_MAX)
		return err_note(note, ERR_LIMIT, "at most %u routes a container", CONTAINER_ROUTES_MAX);
	(void)snprintf(a->ifname, sizeof(a->ifname), "%s", req->ifname != NULL ? req->ifname : "");
	memcpy(a->routes, req->routes, req->n_routes * sizeof(a->routes[0]));
	a->n_routes = req->n_routes;
	a->hairpin = req->hairpin;
	a->multicast_route = req->multicast_route;
	a->with_dns = req->with_dns;
	return ERR_OK;
}

static enum err prepare(struct attach *a, const struct attach_request *req, struct err_note *note)
{
	enum err err = choose_network(a, req, note);

	if (err == ERR_OK)
		err = parse_addrs(a, req, note);
	if (err == ERR_OK)
		err = copy_options(a, req, note);
	if (err == ERR_OK)
		err = parse_mac(a, req->mac, note);
	if (err == ERR_OK)
		err = netns_open(&a->target, &a->nsfd, note);
	if (err == ERR_OK)
		err = attach_hosts_open(req, &a->target, a->nsfd, &a->hosts, note);
	if (err != ERR_OK || a->hosts == NULL)
		return err;
	a->asked = attach_request_write(req);
	return a->asked != NULL ? ERR_OK : err_note(note, ERR_NOMEM, "out of memory");
}

uint64_t attach_refuse(router_done done, void *ctx, enum err err, const char *text)
{
	struct router_result res = { .err = err, .text = text };

	done(ctx, &res);
	return 0;
}

uint64_t attach_begin(struct router *r, uint64_t number, const struct attach_request *req, const struct attach_who *who,
	router_done done, void *ctx)
{
	struct err_note note = { "out of memory" };
	struct attach *a = mem_zalloc(1, sizeof(*a));

	if (a == NULL)
		return attach_refuse(done, ctx, ERR_NOMEM, note.text);
	a->r = r;
	a->nsfd = -1;
	a->number = number;
	a->done = done;
	a->ctx = ctx;
	a->target = who->target;
	a->leases.r = r;
	a->leases.ident = a->target.ident;
	a->leases.done = on_leases;
	a->leases.ctx = a;
	a->wish = who->docker ? attach_request_write(req) : NULL; /* without it, it is not attached again by itself */
	enum err err = prepare(a, req, &note);
	if (err == ERR_OK)
		err = map_put64(r->attaches, a->number, a, NULL);
	if (err != ERR_OK) {
		free_one(a);
		return attach_refuse(done, ctx, err, note.text);
	}
	lease_request_start(&a->leases);
	return map_get64(r->attaches, number) != NULL ? number : 0;
}

uint64_t router_attach(struct router *r, const struct attach_request *req, router_done done, void *ctx)
{
	struct err_note note = { "" };
	struct attach_who who = { 0 };

	if (r->stopping || r->erased || r->fatal[0] != '\0')
		return attach_refuse(done, ctx, ERR_CLOSED, "the daemon is stopping");
	if (attach_is_dockers(r, req))
		return attach_ask_docker(r, req, true, done, ctx);
	enum err err = netns_parse(req->container, &who.target, &note);
	if (err == ERR_OK)
		err = attach_check_ident(req->id != NULL ? req->id : who.target.ident, &note);
	if (err != ERR_OK)
		return attach_refuse(done, ctx, err, note.text);
	if (req->id != NULL)
		(void)snprintf(who.target.ident, sizeof(who.target.ident), "%s", req->id);
	return attach_begin(r, r->next_request++, req, &who, done, ctx);
}

bool attach_cancel(struct router *r, uint64_t request)
{
	struct attach *a = map_get64(r->attaches, request);

	if (attach_naming_cancel(r, request))
		return true;
	if (a == NULL)
		return false;
	a->done = router_ignore;
	if (a->publishing) /* too late: it is attached */
		return true;
	lease_request_cancel(&a->leases);
	return true;
}

void attach_end_all(struct router *r, enum err err, const char *text)
{
	struct slice key;
	void *value;

	attach_naming_end_all(r, err, text);
	for (size_t at = 0; map_next(r->attaches, &at, &key, &value);) {
		struct attach *a = value;
		if (a->publishing) /* ends with the requests that it waits for */
			continue;
		lease_request_drop(&a->leases);
		finish(a, err, text);
		at = 0;
	}
}
