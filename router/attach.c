/* Attaching and detaching containers: addresses from the core, the interface from the kernel, the endpoint back to the core.
 *
 * An attach goes through its addresses one by one (each may wait for space or for the first agreement), then plumbs, then publishes.
 * What goes wrong half-way gives back the addresses that this very request obtained. Cancelling does the same.
 *
 * A container may also go without a detach: its namespace ends, and the kernel removes the interface. The kernel's word of that (or else a
 * look every ATTACH_CHECK_MS) brings attach_check, which compares the interfaces with the core's endpoints. Names of what is missing go
 * at once; its addresses stay its own for ATTACH_GONE_MS, since it may be restarting. */
#include <errno.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"
#include "dns/name.h"
#include "router/container.h"
#include "router/internal.h"
#include "router/netns.h"

struct wanted {
	struct prefix prefix;
	bool claim;
	bool had; /* the container held it before this request */
};

struct attach {
	struct router *r;
	uint64_t number, inner; /* the asker's request; the one we wait for now */
	struct netns_target target;
	int nsfd;
	struct wanted want[CORE_ADDRS_MAX];
	size_t n_want, n_got; /* want[0 … n_got) hold addresses by now */
	bool asking;          /* inside advance() or publish(), which see to what is answered or cancelled meanwhile */
	bool publishing;      /* it is plumbed, and `unstored` answers are waited for that come when all is durable */
	bool answered, cancelled;
	size_t unstored;
	enum err err;
	char why[256];
	bool multicast_route, with_dns;
	struct mac mac;
	char network[CORE_NETWORK_MAX + 1];
	struct prefix default_subnet; /* where an address comes from when none is named */
	router_done done;
	void *ctx;
};

static void free_one(struct attach *a)
{
	if (a->nsfd >= 0)
		(void)close(a->nsfd);
	mem_free(a);
}

static void ignore(void *ctx, const struct router_result *res)
{
	(void)ctx;
	(void)res;
}

static void submit_quietly(struct router *r, struct core_event *ev)
{
	(void)router_submit(r, ev, ignore, NULL);
}

static bool attached_with(const struct router *r, const char *ident, struct ip addr)
{
	const struct core_endpoint *e = core_local(r->core, ident);

	for (size_t i = 0; e != NULL && i < e->n_addrs; i++)
		if (ip_eq(e->addrs[i].addr, addr))
			return true;
	return false;
}

/* Another request for the same container may have got the same address and made use of it. */
static void give_back(struct attach *a)
{
	for (size_t i = 0; i < a->n_got; i++) {
		if (a->want[i].had || attached_with(a->r, a->target.ident, a->want[i].prefix.addr))
			continue;
		struct ipam_event free_it = { .kind = IPAM_FREE, .ident = a->target.ident, .addr = a->want[i].prefix.addr };
		struct core_event ev = { .kind = CORE_IPAM, .ipam = &free_it };
		if (core_ipam(a->r->core) != NULL)
			submit_quietly(a->r, &ev);
	}
}

static void finish(struct attach *a, enum err err, const char *text)
{
	struct router_result res = { .err = err, .text = text };
	struct prefix addrs[CORE_ADDRS_MAX];

	(void)map_del64(a->r->attaches, a->number);
	if (err != ERR_OK) {
		give_back(a);
	} else {
		for (size_t i = 0; i < a->n_want; i++)
			addrs[i] = a->want[i].prefix;
		res.addrs = addrs;
		res.n_addrs = a->n_want;
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
	for (size_t i = 0; i < a->n_want; i++) {
		struct core_event ev = { .kind = CORE_NAME_PUT, .ident = a->target.ident, .fqdn = fqdn, .addr = a->want[i].prefix.addr };
		a->unstored++;
		(void)router_submit(a->r, &ev, on_stored, a);
	}
}

/* --- the interface ------------------------------------------------------------------------------------------------------------------ */

static void endpoint_of(const struct router *r, const struct container_record *rec, const char *network, struct core_endpoint *e)
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
static enum err check_network(
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
static struct prefix default_subnet_of(const struct core *core, const char *network)
{
	struct core_network n;

	return core_network(core, network, &n) && n.subnet.addr.family != 0 ? n.subnet : core_cfg(core)->default_subnet;
}

/* --- making it known ------------------------------------------------------------------------------------------------------------------ */

static void published(struct attach *a)
{
	struct container_record rec;
	struct err_note note = { "" };

	if (a->err == ERR_OK) {
		finish(a, ERR_OK, NULL);
		return;
	}
	if (core_local(a->r->core, a->target.ident) == NULL && /* a new one: nobody would know of its interface */
		container_detach(plane_kernel(a->r->plane), a->target.ident, -1, NULL, 0, &rec, &note) != ERR_OK)
		log_write(a->r->log, LOG_LEVEL_WARNING, "%s", note.text);
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

	a->publishing = a->asking = true;
	a->unstored = 1;
	uint64_t number = router_submit(a->r, &ev, on_known, a);
	if (number != 0 ? router_decided(a->r, number, &err) && err == ERR_OK : a->err == ERR_OK)
		put_own_name(a);
	a->asking = false;
	if (a->unstored == 0)
		published(a);
}

static void plumb(struct attach *a)
{
	struct router *r = a->r;
	struct container_record rec;
	struct core_endpoint e;
	struct err_note note = { "" };
	struct prefix addrs[CORE_ADDRS_MAX];
	struct container_want want = {
		.ident = a->target.ident,
		.nsfd = a->nsfd,
		.mac = a->mac,
		.addrs = addrs,
		.n_addrs = a->n_want,
		.mtu = plane_container_mtu(r->plane),
		.multicast_route = a->multicast_route,
		.dns_route = !r->opt->no_dns,
	};
	struct core_network network;
	struct kernel *k = NULL;

	for (size_t i = 0; i < a->n_want; i++)
		addrs[i] = a->want[i].prefix;
	/* much may have happened while we waited for addresses */
	enum err err = check_network(r, a->target.ident, a->network, &network, &note);
	if (err == ERR_OK)
		err = plane_need(r->plane, r->core, &network, &k, &note);
	if (err == ERR_OK) {
		router_dns_networks(r);
		plane_expect(r->plane, r->core, a->target.ident, addrs, a->n_want);
		err = container_attach(k, &want, &rec, &note);
		plane_port_changed(r->plane, a->target.ident);
	}
	if (err != ERR_OK) {
		finish(a, err, note.text);
		return;
	}
	endpoint_of(r, &rec, a->network, &e);
	publish(a, &e);
}

/* --- the addresses -------------------------------------------------------------------------------------------------------------------- */

static void advance(struct attach *a);

static bool held_by(const struct router *r, const char *ident, struct ip addr)
{
	const char *holder = core_ipam(r->core) != NULL && addr.family == 4 ? ipam_holder(core_ipam(r->core), ip_to_v4(addr)) : NULL;

	return holder != NULL && strcmp(holder, ident) == 0;
}

static void on_address(void *ctx, const struct router_result *res)
{
	struct attach *a = ctx;

	a->inner = 0;
	a->answered = true;
	a->err = res->err;
	if (res->err == ERR_OK)
		a->want[a->n_got++].prefix = res->addr;
	else
		(void)snprintf(a->why, sizeof(a->why), "%s", res->text);
	if (!a->asking)
		advance(a);
}

/* Asks for the next address. true: answered already. */
static bool ask(struct attach *a)
{
	struct wanted *w = &a->want[a->n_got];
	struct ipam_event want = {
		.kind = w->claim ? IPAM_CLAIM : IPAM_ALLOCATE, .ident = a->target.ident, .subnet = w->prefix, .wait = true
	};
	struct core_event ev = { .kind = CORE_IPAM, .ipam = &want };

	/* an allocation may give what the ident has already: then it has a lease in that subnet now */
	w->had = w->claim ? held_by(a->r, a->target.ident, w->prefix.addr)
					  : ipam_has_lease(core_ipam(a->r->core), a->target.ident, w->prefix);
	a->answered = false;
	uint64_t inner = router_submit(a->r, &ev, on_address, a);
	if (!a->answered)
		a->inner = inner;
	return a->answered;
}

/* One address after the other, in a loop: mostly the answer comes before the question's call returns, and a step within a step within a step
 * for each address would have no end. */
static void advance(struct attach *a)
{
	bool waiting = false;
	enum err err;

	a->asking = true;
	while (!waiting && !a->cancelled && a->err == ERR_OK && a->n_got < a->n_want) {
		if (core_ipam(a->r->core) == NULL)
			a->n_got++; /* without address management a given address is taken as it is */
		else
			waiting = !ask(a);
	}
	a->asking = false;
	if (a->cancelled && router_decided(a->r, a->inner, &err))
		return; /* that address comes first, to be given back as well */
	if (a->cancelled) {
		(void)map_del64(a->r->attaches, a->number);
		router_cancel(a->r, a->inner);
		give_back(a);
		free_one(a);
	} else if (a->err != ERR_OK) {
		finish(a, a->err, a->why);
	} else if (!waiting) {
		plumb(a);
	}
}

static enum err parse_addrs(struct attach *a, const struct attach_request *req, struct err_note *note)
{
	if (req->n_addrs > CORE_ADDRS_MAX)
		return err_note(note, ERR_LIMIT, "at most %d addresses a container", CORE_ADDRS_MAX);
	if (req->n_addrs == 0) {
		a->want[0] = (struct wanted){ .prefix = a->default_subnet };
		a->n_want = 1;
	}
	for (size_t i = 0; i < req->n_addrs; i++) {
		struct wanted *w = &a->want[i];
		enum err err = ipam_parse_addr(req->addrs[i], a->default_subnet, &w->prefix, &w->claim, note);
		if (err != ERR_OK)
			return err;
		a->n_want++;
	}
	for (size_t i = 0; core_ipam(a->r->core) == NULL && i < a->n_want; i++)
		if (!a->want[i].claim)
			return err_note(note, ERR_STATE,
				"address management is off on this host (--ipalloc-range \"\"): give the address, as ip:10.1.2.3/24");
	return ERR_OK;
}

static enum err check_mac(const struct attach *a, struct err_note *note)
{
	const struct core_endpoint *holder = core_mac_holder(a->r->core, a->mac, a->network);
	char mac[MAC_TEXT], peer[PEER_TEXT];

	if (holder == NULL || (holder->peer == a->r->id.name && strcmp(holder->ident, a->target.ident) == 0))
		return ERR_OK;
	return err_note(note, ERR_CONFLICT, "the MAC %s is that of %.100s on host %s; choose another", mac_format(a->mac, mac),
		holder->ident, peer_format(holder->peer, peer));
}

/* The one that is named; else that of the container, if it is attached; else the default one. */
static enum err choose_network(struct attach *a, const struct attach_request *req, struct err_note *note)
{
	const struct core_endpoint *have = core_local(a->r->core, a->target.ident);
	const char *name = req->network != NULL && req->network[0] != '\0' ? req->network
		: have != NULL                                                 ? have->network
																	   : CORE_NETWORK_DEFAULT;
	struct core_network network;
	enum err err = check_network(a->r, a->target.ident, name, &network, note);

	if (err == ERR_OK) {
		(void)snprintf(a->network, sizeof(a->network), "%s", name);
		a->default_subnet = default_subnet_of(a->r->core, name);
	}
	return err;
}

static enum err prepare(struct attach *a, const struct attach_request *req, struct err_note *note)
{
	uint8_t random[6];
	enum err err = netns_parse(req->container, &a->target, note);

	if (err == ERR_OK && !core_text_ok(slice_str(a->target.ident)))
		err = err_note(note, ERR_USAGE, "the container's name is not plain text (UTF-8 without control characters)");
	if (err == ERR_OK)
		err = choose_network(a, req, note);
	if (err == ERR_OK)
		err = parse_addrs(a, req, note);
	if (err != ERR_OK)
		return err;
	randombytes_buf(random, sizeof(random));
	a->mac = container_random_mac(random);
	if (req->mac != NULL && (mac_parse(req->mac, &a->mac) != ERR_OK || mac_is_group(a->mac)))
		return err_note(note, ERR_USAGE, "'%.40s' is no MAC address for a container; give one like 02:11:22:33:44:55", req->mac);
	a->multicast_route = req->multicast_route;
	a->with_dns = req->with_dns;
	err = check_mac(a, note);
	return err != ERR_OK ? err : netns_open(&a->target, &a->nsfd, note);
}

static uint64_t refuse(router_done done, void *ctx, enum err err, const char *text)
{
	struct router_result res = { .err = err, .text = text };

	done(ctx, &res);
	return 0;
}

uint64_t router_attach(struct router *r, const struct attach_request *req, router_done done, void *ctx)
{
	struct err_note note = { "out of memory" };

	if (r->stopping || r->erased || r->fatal[0] != '\0')
		return refuse(done, ctx, ERR_CLOSED, "the daemon is stopping");
	struct attach *a = mem_zalloc(1, sizeof(*a));
	if (a == NULL)
		return refuse(done, ctx, ERR_NOMEM, note.text);
	a->r = r;
	a->nsfd = -1;
	a->number = r->next_request++;
	a->done = done;
	a->ctx = ctx;
	enum err err = prepare(a, req, &note);
	if (err == ERR_OK)
		err = map_put64(r->attaches, a->number, a, NULL);
	if (err != ERR_OK) {
		free_one(a);
		return refuse(done, ctx, err, note.text);
	}
	uint64_t number = a->number;
	advance(a);
	return map_get64(r->attaches, number) != NULL ? number : 0;
}

bool attach_cancel(struct router *r, uint64_t request)
{
	struct attach *a = map_get64(r->attaches, request);
	enum err err;

	if (a == NULL)
		return false;
	a->done = ignore;
	if (a->publishing) /* too late: it is attached */
		return true;
	/* An address that it has got already, though it has not been told, is given back when it is told. */
	if (a->asking || router_decided(r, a->inner, &err)) {
		a->cancelled = true;
		return true;
	}
	(void)map_del64(r->attaches, request);
	router_cancel(r, a->inner);
	give_back(a);
	free_one(a);
	return true;
}

void attach_end_all(struct router *r, enum err err, const char *text)
{
	struct slice key;
	void *value;

	for (size_t at = 0; map_next(r->attaches, &at, &key, &value);) {
		struct attach *a = value;
		if (a->publishing) /* ends with the requests that it waits for */
			continue;
		router_cancel(r, a->inner);
		finish(a, err, text);
		at = 0;
	}
}

/* --- detach ----------------------------------------------------------------------------------------------------------------------------- */

/* The addresses meant: given ones, and for net: forms what the container has there. */
static enum err meant(
	const struct router *r, const struct attach_request *req, const char *ident, struct ip *out, size_t *n, struct err_note *note)
{
	const struct core_endpoint *e = core_local(r->core, ident);
	struct prefix net_default = default_subnet_of(r->core, e != NULL ? e->network : CORE_NETWORK_DEFAULT);

	*n = 0;
	for (size_t i = 0; i < req->n_addrs; i++) {
		struct prefix p;
		bool one;
		enum err err = ipam_parse_addr(req->addrs[i], net_default, &p, &one, note);
		if (err != ERR_OK)
			return err;
		if (one && *n < CORE_ADDRS_MAX)
			out[(*n)++] = p.addr;
		for (size_t j = 0; !one && e != NULL && j < e->n_addrs && *n < CORE_ADDRS_MAX; j++)
			if (prefix_contains(p, e->addrs[j].addr))
				out[(*n)++] = e->addrs[j].addr;
	}
	if (req->n_addrs > 0 && *n == 0)
		return err_note(note, ERR_NOT_FOUND, "%.100s has no address there; 'weft ps' lists what it has", ident);
	return ERR_OK;
}

/* The kernel's part. Its interface may have gone with the container: then what the core knows is what there is to remove. */
static enum err unplumb(struct router *r, const struct netns_target *t, const struct ip *addrs, size_t n,
	struct container_record *removed, struct err_note *note)
{
	const struct core_endpoint *e = core_local(r->core, t->ident);
	int nsfd = -1;

	if (n > 0 && netns_open(t, &nsfd, note) != ERR_OK)
		n = 0; /* nothing of it is left to keep */
	enum err err = container_detach(plane_kernel(r->plane), t->ident, nsfd, addrs, n, removed, note);
	plane_port_changed(r->plane, t->ident);
	if (nsfd >= 0)
		(void)close(nsfd);
	if (err == ERR_NOT_FOUND && e != NULL) {
		removed->n_addrs = 0;
		for (size_t i = 0; i < e->n_addrs && removed->n_addrs < CONTAINER_ADDRS_MAX; i++) {
			bool named = n == 0;
			for (size_t j = 0; j < n; j++)
				named = named || ip_eq(addrs[j], e->addrs[i].addr);
			if (named)
				removed->addrs[removed->n_addrs++] = e->addrs[i];
		}
		if (n > 0 && removed->n_addrs == 0)
			return err_note(note, ERR_NOT_FOUND, "%s has none of these addresses; 'weft ps' lists what it has", t->ident);
		err = ERR_OK;
	}
	return err;
}

struct detach {
	router_done done;
	void *ctx;
	size_t unstored;
	struct container_record removed;
};

static void on_forgotten(void *ctx, const struct router_result *res)
{
	struct detach *d = ctx;
	struct router_result out = { .err = ERR_OK, .addrs = d->removed.addrs, .n_addrs = d->removed.n_addrs };

	if (res->err == ERR_CLOSED) /* the daemon ends: what was removed from the kernel stays so, and the next run finds that out */
		out = *res;
	if (--d->unstored > 0)
		return;
	d->done(d->ctx, &out);
	mem_free(d);
}

uint64_t router_detach(struct router *r, const struct attach_request *req, router_done done, void *ctx)
{
	struct err_note note = { "out of memory" };
	struct netns_target target;
	struct ip addrs[CORE_ADDRS_MAX];
	size_t n = 0;
	struct detach *d = mem_zalloc(1, sizeof(*d));
	enum err err = d == NULL ? ERR_NOMEM : netns_parse(req->container, &target, &note);

	if (err == ERR_OK)
		err = meant(r, req, target.ident, addrs, &n, &note);
	if (err == ERR_OK)
		err = unplumb(r, &target, addrs, n, &d->removed, &note);
	if (err != ERR_OK) {
		mem_free(d);
		return refuse(done, ctx, err, note.text);
	}
	d->done = done;
	d->ctx = ctx;
	size_t events = n == 0 ? 1 : d->removed.n_addrs;
	d->unstored = events; /* d is gone when the last one has been answered, which may be before its call returns */
	for (size_t i = 0; i < events; i++) {
		struct core_event ev = { .kind = CORE_DETACHED, .ident = target.ident };
		if (n > 0)
			ev.addr = d->removed.addrs[i].addr;
		(void)router_submit(r, &ev, on_forgotten, d);
	}
	return 0; /* not to be taken back: the kernel's part is done */
}

/* --- what the kernel has ------------------------------------------------------------------------------------------------------------------- */

struct found {
	struct router *r;
	const char *network; /* the one looked at */
	struct map *idents;
	bool nomem;
};

static void note_present(const struct container_record *rec, const char *host_ifname, void *arg)
{
	struct found *f = arg;

	(void)host_ifname;
	if (map_put(f->idents, slice_str(rec->ident), f, NULL) != ERR_OK)
		f->nomem = true;
}

static bool as_recorded(const struct core_endpoint *have, const struct core_endpoint *e)
{
	if (have == NULL || !mac_eq(have->mac, e->mac) || have->n_addrs != e->n_addrs || strcmp(have->network, e->network) != 0)
		return false;
	for (size_t i = 0; i < e->n_addrs; i++)
		if (!prefix_eq(have->addrs[i], e->addrs[i]))
			return false;
	return true;
}

/* At the start. What the store does not know, or knows otherwise (it was lost, or the daemon ended between the kernel's part and its own), is
 * as the kernel says, and its addresses are claimed. */
static void adopt(const struct container_record *rec, const char *host_ifname, void *arg)
{
	struct found *f = arg;
	const struct core_endpoint *have = core_local(f->r->core, rec->ident);
	struct core_endpoint e;

	note_present(rec, host_ifname, arg);
	endpoint_of(f->r, rec, f->network, &e);
	if (!as_recorded(have, &e)) {
		struct core_event ev = { .kind = CORE_ATTACHED, .endpoint = &e };
		submit_quietly(f->r, &ev);
		log_write(f->r->log, LOG_LEVEL_INFO, "found %s attached with %zu addresses", rec->ident, rec->n_addrs);
	}
	for (size_t i = 0; i < rec->n_addrs; i++) {
		if (core_ipam(f->r->core) == NULL || held_by(f->r, rec->ident, rec->addrs[i].addr))
			continue;
		struct ipam_event claim = { .kind = IPAM_CLAIM, .ident = rec->ident, .subnet = rec->addrs[i], .wait = true, .on = true };
		struct core_event ev = { .kind = CORE_IPAM, .ipam = &claim };
		submit_quietly(f->r, &ev);
	}
}

struct gone {
	uint64_t since_ms;
	bool due;
	char ident[CORE_IDENT_MAX + 1];
};

static void forget_gone(struct router *r, struct slice key)
{
	mem_free(map_del(r->gone, key));
}

/* Remembers which of ours are missing, and forgets those that are back or were detached. */
static void compare(struct router *r, const struct map *present)
{
	const struct core_endpoint *e;
	struct slice key;
	void *value;

	for (size_t at = 0; map_next(r->gone, &at, &key, &value);) {
		const struct gone *g = value;
		if (map_get(present, key) != NULL || core_local(r->core, g->ident) == NULL)
			forget_gone(r, key);
	}
	for (size_t at = 0; core_next_local(r->core, &at, &e);) {
		key = slice_str(e->ident);
		if (map_get(present, key) != NULL || map_get(r->gone, key) != NULL)
			continue;
		struct gone *g = mem_zalloc(1, sizeof(*g));
		if (g == NULL)
			return; /* the next look finds it again */
		g->since_ms = router_now_ms(r);
		g->due = true;
		(void)snprintf(g->ident, sizeof(g->ident), "%s", e->ident);
		if (map_put(r->gone, key, g, NULL) != ERR_OK)
			mem_free(g);
	}
}

static void end_gone(struct router *r)
{
	uint64_t now = router_now_ms(r);
	struct slice key;
	void *value;

	for (size_t at = 0; map_next(r->gone, &at, &key, &value);) {
		struct gone *g = value;
		if (g->due) { /* just found */
			struct core_event names = { .kind = CORE_NAME_DELETE, .ident = g->ident };
			log_write(r->log, LOG_LEVEL_INFO, "%s is gone: its names are removed, its addresses are kept for %d s", g->ident,
				ATTACH_GONE_MS / 1000);
			submit_quietly(r, &names);
			g->due = false;
		} else if (now - g->since_ms >= ATTACH_GONE_MS) {
			struct core_event detached = { .kind = CORE_DETACHED, .ident = g->ident };
			log_write(r->log, LOG_LEVEL_INFO, "%s has not come back: its addresses are free", g->ident);
			submit_quietly(r, &detached);
			if (core_local(r->core, g->ident) == NULL)
				forget_gone(r, key);
		}
	}
}

static enum err look(struct router *r, container_each each, struct err_note *note)
{
	struct found f = { .r = r, .idents = map_new(r->next_request) };

	if (f.idents == NULL)
		return err_note(note, ERR_NOMEM, "out of memory");
	struct plane_net_view net;
	enum err err = ERR_OK;
	for (size_t it = 0; err == ERR_OK && plane_next_net(r->plane, &it, &net);) {
		f.network = net.name;
		err = container_list(net.kernel, each, &f, note);
	}
	if (err == ERR_OK && f.nomem)
		err = err_note(note, ERR_NOMEM, "out of memory");
	if (err == ERR_OK) {
		compare(r, f.idents);
		end_gone(r);
	}
	map_free(f.idents);
	return err;
}

enum err attach_reconcile(struct router *r, struct err_note *note)
{
	return look(r, adopt, note);
}

void attach_check(struct router *r)
{
	struct err_note note = { "" };

	if (look(r, note_present, &note) != ERR_OK)
		log_write(r->log, LOG_LEVEL_WARNING, "whether containers went cannot be seen: %s", note.text);
}

static void on_check(uv_timer_t *timer)
{
	struct router *r = timer->data;
	size_t failures = plane_failures(r->plane);

	if (r->stopping || r->erased || r->fatal[0] != '\0')
		return;
	r->check_soon = false;
	bool blind = plane_bridge_lost(r->plane), again = blind && !r->blind;
	r->blind = blind;
	(void)uv_timer_start(timer, on_check, again ? ATTACH_NOTICE_MS : ATTACH_CHECK_MS, 0);
	if (!blind) /* else their interfaces are first put on a new bridge */
		attach_check(r);
	if (blind || r->dns_broken || failures != r->plane_failures ||
		plane_unsettled(r->plane)) /* what the kernel refused is tried again */
		router_forwarding(r);
	r->plane_failures = failures;
}

/* Whether one of the messages tells of an interface that went. Their lengths and types stand in the host's order. */
static bool tells_of_end(const uint8_t *p, size_t n)
{
	struct nlmsghdr h;

	while (n >= sizeof(h)) {
		memcpy(&h, p, sizeof(h));
		if (h.nlmsg_type == RTM_DELLINK)
			return true;
		size_t step = ((size_t)h.nlmsg_len + NLMSG_ALIGNTO - 1) / NLMSG_ALIGNTO * NLMSG_ALIGNTO;
		if (step < sizeof(h) || step >= n)
			return false;
		p += step;
		n -= step;
	}
	return false;
}

static void on_links(uv_poll_t *poll, int status, int events)
{
	struct router *r = poll->data;
	uint8_t bytes[16384];
	bool ended = status != 0;

	(void)events;
	for (;;) {
		ssize_t n = recv(r->links_fd, bytes, sizeof(bytes), 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == ENOBUFS) /* some were lost: look */
			ended = true;
		else if (n <= 0)
			break;
		else
			ended = ended || tells_of_end(bytes, (size_t)n);
	}
	if (!ended || r->check_soon || r->stopping)
		return;
	r->check_soon = true;
	(void)uv_timer_start(&r->check, on_check, ATTACH_NOTICE_MS, 0);
}

static bool watch_links(struct router *r)
{
	struct sockaddr_nl at = { .nl_family = AF_NETLINK, .nl_groups = RTMGRP_LINK };

	r->links_fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);
	if (r->links_fd < 0 || bind(r->links_fd, (const struct sockaddr *)&at, sizeof(at)) != 0 ||
		uv_poll_init(r->loop, &r->links, r->links_fd) != 0)
		return false;
	r->links.data = r;
	r->links_open = true;
	return uv_poll_start(&r->links, UV_READABLE, on_links) == 0;
}

void attach_watch(struct router *r)
{
	if (!watch_links(r))
		log_write(r->log, LOG_LEVEL_WARNING,
			"the kernel does not say when interfaces go: containers that vanish are noticed after %d s", ATTACH_CHECK_MS / 1000);
	(void)uv_timer_start(&r->check, on_check, ATTACH_CHECK_MS, 0);
}

void attach_free(struct router *r)
{
	struct slice key;
	void *value;

	if (r->gone != NULL)
		for (size_t at = 0; map_next(r->gone, &at, &key, &value);)
			mem_free(value);
	map_free(r->gone);
	if (r->links_fd >= 0)
		(void)close(r->links_fd);
}
