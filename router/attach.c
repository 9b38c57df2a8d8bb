/* Attaching and detaching containers: addresses from the core, the interface from the kernel, the endpoint back to the core.
 *
 * An attach goes through its addresses one by one (each may wait for space or for the first agreement), then plumbs, then publishes.
 * What goes wrong half-way gives back the addresses that this very request obtained. Cancelling does the same. */
#include <assert.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
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
	bool multicast_route, with_dns;
	struct mac mac;
	char network[CORE_NETWORK_MAX + 1];
	router_done done;
	void *ctx;
};

static void attach_free(struct attach *a)
{
	if (a->nsfd >= 0)
		(void)close(a->nsfd);
	mem_free(a);
}

static void submit_quietly(struct router *r, struct core_event *ev);

static void ignore(void *ctx, const struct router_result *res)
{
	(void)ctx;
	(void)res;
}

static void submit_quietly(struct router *r, struct core_event *ev)
{
	(void)router_submit(r, ev, ignore, NULL);
}

static void give_back(struct attach *a)
{
	for (size_t i = 0; i < a->n_got; i++) {
		if (a->want[i].had)
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
	attach_free(a);
}

/* --- names ------------------------------------------------------------------------------------------------------------------------ */

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
		submit_quietly(a->r, &ev);
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

	for (size_t i = 0; i < a->n_want; i++)
		addrs[i] = a->want[i].prefix;
	enum err err = container_attach(plane_kernel(r->plane), &want, &rec, &note);
	if (err != ERR_OK) {
		finish(a, err, note.text);
		return;
	}
	endpoint_of(r, &rec, a->network, &e);
	struct core_event ev = { .kind = CORE_ATTACHED, .endpoint = &e };
	submit_quietly(r, &ev);
	put_own_name(a);
	finish(a, ERR_OK, NULL);
}

/* --- the addresses -------------------------------------------------------------------------------------------------------------------- */

static void next_address(struct attach *a);

static bool held_by(const struct router *r, const char *ident, struct ip addr)
{
	const char *holder = core_ipam(r->core) != NULL && addr.family == 4 ? ipam_holder(core_ipam(r->core), ip_to_v4(addr)) : NULL;

	return holder != NULL && strcmp(holder, ident) == 0;
}

/* An allocation may give what the ident has already: then it has a lease in that subnet now. */
static bool has_lease_in(const struct router *r, const char *ident, struct prefix subnet)
{
	const char *who;
	struct prefix addr;

	for (size_t at = 0; ipam_next_lease(core_ipam(r->core), &at, &who, &addr);)
		if (strcmp(who, ident) == 0 && prefix_contains(subnet, addr.addr))
			return true;
	return false;
}

static void on_address(void *ctx, const struct router_result *res)
{
	struct attach *a = ctx;
	struct wanted *w = &a->want[a->n_got];

	a->inner = 0;
	if (res->err != ERR_OK) {
		finish(a, res->err, res->text);
		return;
	}
	w->prefix = res->addr;
	a->n_got++;
	next_address(a);
}

static void next_address(struct attach *a)
{
	if (a->n_got == a->n_want) {
		plumb(a);
		return;
	}
	struct wanted *w = &a->want[a->n_got];
	const struct ipam *ipam = core_ipam(a->r->core);
	if (ipam == NULL) { /* without address management a given address is taken as it is */
		a->n_got++;
		next_address(a);
		return;
	}
	struct ipam_event ask = { .kind = w->claim ? IPAM_CLAIM : IPAM_ALLOCATE, .ident = a->target.ident, .subnet = w->prefix, .wait = true };
	struct core_event ev = { .kind = CORE_IPAM, .ipam = &ask };
	w->had = w->claim ? held_by(a->r, a->target.ident, w->prefix.addr) : has_lease_in(a->r, a->target.ident, w->prefix);
	uint64_t number = a->number; /* a may be gone when submit returns */
	struct router *r = a->r;
	uint64_t inner = router_submit(r, &ev, on_address, a);
	if (inner != 0) {
		struct attach *still = map_get64(r->attaches, number);
		assert(still == a);
		still->inner = inner;
	}
}

static enum err parse_addrs(struct attach *a, const struct attach_request *req, struct err_note *note)
{
	const struct core_cfg *cfg = core_cfg(a->r->core);

	if (req->n_addrs > CORE_ADDRS_MAX)
		return err_note(note, ERR_LIMIT, "at most %d addresses a container", CORE_ADDRS_MAX);
	if (req->n_addrs == 0) {
		a->want[0] = (struct wanted){ .prefix = cfg->default_subnet };
		a->n_want = 1;
	}
	for (size_t i = 0; i < req->n_addrs; i++) {
		struct wanted *w = &a->want[i];
		enum err err = ipam_parse_addr(req->addrs[i], cfg->default_subnet, &w->prefix, &w->claim, note);
		if (err != ERR_OK)
			return err;
		a->n_want++;
	}
	for (size_t i = 0; core_ipam(a->r->core) == NULL && i < a->n_want; i++)
		if (!a->want[i].claim)
			return err_note(note, ERR_STATE, "address management is off on this host (--ipalloc-range \"\"): give the address, as ip:10.1.2.3/24");
	return ERR_OK;
}

static enum err prepare(struct attach *a, const struct attach_request *req, struct err_note *note)
{
	uint8_t random[6];
	enum err err = netns_parse(req->container, &a->target, note);

	if (err == ERR_OK)
		err = parse_addrs(a, req, note);
	if (err != ERR_OK)
		return err;
	if (req->network != NULL && strcmp(req->network, CORE_NETWORK_DEFAULT) != 0)
		return err_note(note, ERR_NOT_FOUND, "there is no network '%.64s'; leave --network out for the default one", req->network);
	(void)snprintf(a->network, sizeof(a->network), "%s", CORE_NETWORK_DEFAULT);
	randombytes_buf(random, sizeof(random));
	a->mac = container_random_mac(random);
	if (req->mac != NULL && (mac_parse(req->mac, &a->mac) != ERR_OK || mac_is_group(a->mac)))
		return err_note(note, ERR_USAGE, "'%.40s' is no MAC address for a container; give one like 02:11:22:33:44:55", req->mac);
	a->multicast_route = req->multicast_route;
	a->with_dns = req->with_dns;
	return netns_open(&a->target, &a->nsfd, note);
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
		attach_free(a);
		return refuse(done, ctx, err, note.text);
	}
	uint64_t number = a->number;
	next_address(a);
	return map_get64(r->attaches, number) != NULL ? number : 0;
}

bool attach_cancel(struct router *r, uint64_t request)
{
	struct attach *a = map_del64(r->attaches, request);

	if (a == NULL)
		return false;
	if (a->inner != 0)
		router_cancel(r, a->inner);
	give_back(a);
	attach_free(a);
	return true;
}

void attach_free_all(struct router *r)
{
	struct slice key;
	void *value;

	if (r->attaches == NULL)
		return;
	for (size_t at = 0; map_next(r->attaches, &at, &key, &value);)
		attach_free(value);
}

/* --- detach ----------------------------------------------------------------------------------------------------------------------------- */

/* The addresses meant: given ones, and for net: forms what the container has there. */
static enum err meant(const struct router *r, const struct attach_request *req, const char *ident, struct ip *out, size_t *n, struct err_note *note)
{
	const struct core_endpoint *e = core_local(r->core, ident);

	*n = 0;
	for (size_t i = 0; i < req->n_addrs; i++) {
		struct prefix p;
		bool one;
		enum err err = ipam_parse_addr(req->addrs[i], core_cfg(r->core)->default_subnet, &p, &one, note);
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
static enum err unplumb(struct router *r, const struct netns_target *t, const struct ip *addrs, size_t n, struct container_record *removed,
                        struct err_note *note)
{
	const struct core_endpoint *e = core_local(r->core, t->ident);
	int nsfd = -1;

	if (n > 0 && netns_open(t, &nsfd, note) != ERR_OK)
		n = 0; /* nothing of it is left to keep */
	enum err err = container_detach(plane_kernel(r->plane), t->ident, nsfd, addrs, n, removed, note);
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

uint64_t router_detach(struct router *r, const struct attach_request *req, router_done done, void *ctx)
{
	struct err_note note = { "" };
	struct netns_target target;
	struct container_record removed = { .n_addrs = 0 };
	struct ip addrs[CORE_ADDRS_MAX];
	size_t n = 0;
	enum err err = netns_parse(req->container, &target, &note);

	if (err == ERR_OK)
		err = meant(r, req, target.ident, addrs, &n, &note);
	if (err == ERR_OK)
		err = unplumb(r, &target, addrs, n, &removed, &note);
	if (err != ERR_OK)
		return refuse(done, ctx, err, note.text);
	struct core_event ev = { .kind = CORE_DETACHED, .ident = target.ident };
	if (n == 0)
		submit_quietly(r, &ev);
	for (size_t i = 0; n > 0 && i < removed.n_addrs; i++) {
		ev.addr = removed.addrs[i].addr;
		submit_quietly(r, &ev);
	}
	struct router_result res = { .err = ERR_OK, .addrs = removed.addrs, .n_addrs = removed.n_addrs };
	done(ctx, &res);
	return 0;
}

/* --- start -------------------------------------------------------------------------------------------------------------------------------- */

struct found {
	struct router *r;
	struct map *idents;
	bool nomem;
};

/* One that the kernel has and the store does not (it was lost): it is attached, and its addresses are claimed. */
static void adopt(const struct container_record *rec, const char *host_ifname, void *arg)
{
	struct found *f = arg;
	struct core_endpoint e;

	(void)host_ifname;
	if (map_put(f->idents, slice_str(rec->ident), f, NULL) != ERR_OK)
		f->nomem = true;
	if (core_local(f->r->core, rec->ident) == NULL) {
		endpoint_of(f->r, rec, CORE_NETWORK_DEFAULT, &e);
		struct core_event ev = { .kind = CORE_ATTACHED, .endpoint = &e };
		submit_quietly(f->r, &ev);
		log_write(f->r->log, LOG_LEVEL_INFO, "found %s attached with %zu addresses", rec->ident, rec->n_addrs);
	}
	for (size_t i = 0; i < rec->n_addrs; i++) {
		if (core_ipam(f->r->core) == NULL || held_by(f->r, rec->ident, rec->addrs[i].addr))
			continue;
		struct ipam_event claim = { .kind = IPAM_CLAIM, .ident = rec->ident, .subnet = rec->addrs[i], .wait = true };
		struct core_event ev = { .kind = CORE_IPAM, .ipam = &claim };
		submit_quietly(f->r, &ev);
	}
}

static enum err drop_gone(struct router *r, const struct map *present)
{
	const struct core_endpoint *e;
	char ident[CORE_IDENT_MAX + 1];
	bool again = true;

	while (again) { /* detaching changes what is walked: start over after each */
		again = false;
		for (size_t at = 0; !again && core_next_local(r->core, &at, &e);) {
			if (map_get(present, slice_str(e->ident)) != NULL)
				continue;
			(void)snprintf(ident, sizeof(ident), "%s", e->ident);
			struct core_event ev = { .kind = CORE_DETACHED, .ident = ident };
			log_write(r->log, LOG_LEVEL_INFO, "%s is gone: its names and addresses are free", ident);
			submit_quietly(r, &ev);
			again = core_local(r->core, ident) == NULL; /* it went: look for more */
			if (!again)
				return ERR_STATE;
		}
	}
	return ERR_OK;
}

enum err attach_reconcile(struct router *r, struct err_note *note)
{
	struct found f = { .r = r, .idents = map_new(3) };

	if (f.idents == NULL)
		return err_note(note, ERR_NOMEM, "out of memory");
	enum err err = container_list(plane_kernel(r->plane), adopt, &f, note);
	if (err == ERR_OK && f.nomem)
		err = err_note(note, ERR_NOMEM, "out of memory");
	if (err == ERR_OK)
		err = drop_gone(r, f.idents);
	map_free(f.idents);
	return err;
}
