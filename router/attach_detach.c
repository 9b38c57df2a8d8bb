/* Detaching containers; and endpoints whose interface somebody else puts into a container. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "router/attach_internal.h"
#include "router/docker/containers.h"
#include "router/netns.h"

/* --- detach ----------------------------------------------------------------------------------------------------------------------------- */

/* IPv6 addresses go when the IPv4 addresses go that brought them. */
static void add_companions(const struct core *core, const struct core_endpoint *e, struct ip *addrs, size_t *n)
{
	struct prefix companion;
	size_t v4 = *n;

	for (size_t j = 0; e != NULL && j < e->n_addrs; j++) {
		if (!core_companion(core, e->network, e->addrs[j], &companion))
			continue;
		for (size_t i = 0; i < v4; i++)
			if (ip_eq(addrs[i], e->addrs[j].addr) && *n < CORE_ADDRS_MAX)
				addrs[(*n)++] = companion.addr;
	}
}

/* The addresses meant: given ones, and for net: forms what the container has there. */
static enum err meant(
	const struct router *r, const struct attach_request *req, const char *ident, struct ip *out, size_t *n, struct err_note *note)
{
	const struct core_endpoint *e = core_local(r->core, ident);
	const char *network = e != NULL ? e->network : CORE_NETWORK_DEFAULT;

	*n = 0;
	for (size_t i = 0; i < req->n_addrs; i++) {
		struct prefix p;
		bool one;
		enum err err = attach_parse_addr(r->core, network, req->addrs[i], &p, &one, note);
		if (err != ERR_OK)
			return err;
		if (one && *n < CORE_ADDRS_MAX)
			out[(*n)++] = p.addr;
		for (size_t j = 0; !one && e != NULL && j < e->n_addrs && *n < CORE_ADDRS_MAX; j++)
			if (prefix_contains(p, e->addrs[j].addr))
				out[(*n)++] = e->addrs[j].addr;
	}
	add_companions(r->core, e, out, n);
	if (req->n_addrs > 0 && *n == 0)
		return err_note(note, ERR_NOT_FOUND, "%.100s has no address there; 'weft ps' lists what it has", ident);
	return ERR_OK;
}

/* The kernel's part. Its interface may have gone with the container: then what the core knows is what there is to remove. */
static enum err unplumb(struct router *r, const struct netns_target *t, const struct ip *addrs, size_t n,
	struct container_record *removed, struct err_note *note)
{
	const struct core_endpoint *e = core_local(r->core, t->ident);
	const size_t asked = n;
	int nsfd = -1;

	enum err err = n > 0 ? netns_open(t, &nsfd, note) : ERR_OK;
	if (err == ERR_SYSTEM || err == ERR_PERMISSION)
		return err; /* it may well live, and is to keep its other addresses */
	if (err != ERR_OK)
		n = 0; /* nothing of it is left to keep */
	err = container_detach(plane_kernel(r->plane), t->ident, nsfd, addrs, n, removed, note);
	plane_port_changed(r->plane, t->ident);
	if (nsfd >= 0)
		(void)close(nsfd);
	if (err == ERR_NOT_FOUND && e != NULL) { /* nothing of it is in the kernel: what is known of it changes as was asked */
		n = asked;
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
	struct docker_keeper *keeper; /* who may have been to attach it again; NULL: Docker is switched off */
	char ident[NETNS_IDENT_MAX + 1];
};

static void on_forgotten(void *ctx, const struct router_result *res)
{
	struct detach *d = ctx;
	struct router_result out = { .err = ERR_OK, .addrs = d->removed.addrs, .n_addrs = d->removed.n_addrs };

	if (res->err == ERR_CLOSED) /* the daemon ends: what was removed from the kernel stays so, and the next run finds that out */
		out = *res;
	if (--d->unstored > 0)
		return;
	if (d->keeper != NULL && out.err == ERR_OK)
		docker_keeper_unwish(d->keeper, d->ident);
	d->done(d->ctx, &out);
	mem_free(d);
}

/* By its id alone no addresses can be taken from it: nobody knows where it lives. */
static enum err target_of(const struct attach_request *req, struct netns_target *out, struct err_note *note)
{
	enum err err = req->container != NULL ? netns_parse(req->container, out, note) : ERR_OK;

	if (err == ERR_OK && req->id != NULL) {
		err = attach_check_ident(req->id, note);
		if (err == ERR_OK && req->container == NULL && req->n_addrs > 0)
			err = err_note(note, ERR_USAGE, "say which container it is, too, if it is to keep some of its addresses");
		if (err == ERR_OK && req->container == NULL)
			*out = (struct netns_target){ .kind = NETNS_NAME };
		if (err == ERR_OK)
			(void)snprintf(out->ident, sizeof(out->ident), "%s", req->id);
	}
	return err;
}

uint64_t detach_begin(
	struct router *r, const struct attach_request *req, const struct attach_who *who, router_done done, void *ctx)
{
	struct err_note note = { "out of memory" };
	const char *ident = who->target.ident;
	struct ip addrs[CORE_ADDRS_MAX];
	size_t n = 0;
	struct detach *d = mem_zalloc(1, sizeof(*d));
	enum err err = d == NULL ? ERR_NOMEM : meant(r, req, ident, addrs, &n, &note);

	if (err == ERR_OK)
		err = unplumb(r, &who->target, addrs, n, &d->removed, &note);
	if (err == ERR_NOT_FOUND && req->n_addrs == 0 && r->keeper != NULL && docker_keeper_forget(r->keeper, ident)) {
		mem_free(d);
		return attach_refuse(done, ctx, ERR_OK, NULL); /* it had nothing yet */
	}
	if (err != ERR_OK) {
		mem_free(d);
		return attach_refuse(done, ctx, err, note.text);
	}
	attach_hosts_remove(r, &who->target, addrs, n);
	d->done = done;
	d->ctx = ctx;
	d->keeper = r->keeper; /* also of one that was named in another way now */
	(void)snprintf(d->ident, sizeof(d->ident), "%s", ident);
	size_t events = n == 0 ? 1 : d->removed.n_addrs;
	d->unstored = events; /* d is gone when the last one has been answered, which may be before its call returns */
	for (size_t i = 0; i < events; i++) {
		struct core_event ev = { .kind = CORE_DETACHED, .ident = ident };
		if (n > 0)
			ev.addr = d->removed.addrs[i].addr;
		(void)router_submit(r, &ev, on_forgotten, d);
	}
	return 0; /* not to be taken back: the kernel's part is done */
}

uint64_t router_detach(struct router *r, const struct attach_request *req, router_done done, void *ctx)
{
	struct err_note note = { "" };
	struct attach_who who = { 0 };

	if (attach_is_dockers(r, req))
		return attach_ask_docker(r, req, false, done, ctx);
	enum err err = target_of(req, &who.target, &note);
	return err == ERR_OK ? detach_begin(r, req, &who, done, ctx) : attach_refuse(done, ctx, err, note.text);
}

/* --- endpoints without a container --------------------------------------------------------------------------------------------------------- */

struct pairing {
	struct router *r;
	router_done done;
	void *ctx;
	bool known; /* before this request */
	struct container_record made;
};

static void on_published(void *ctx, const struct router_result *res)
{
	struct pairing *p = ctx;
	struct container_record rec;
	struct err_note note = { "" };
	struct router_result out = *res;

	if (res->err == ERR_OK) {
		out = (struct router_result){ .err = ERR_OK,
			.addrs = p->made.addrs,
			.n_addrs = p->made.n_addrs,
			.mac = p->made.mac,
			.ifname = p->made.ifname,
			.port = p->made.port,
			.mtu = plane_container_mtu(p->r->plane) };
	} else if (res->err != ERR_CLOSED && !p->known &&
		container_detach(plane_kernel(p->r->plane), p->made.ident, -1, NULL, 0, &rec, &note) != ERR_OK) {
		log_write(p->r->log, LOG_LEVEL_WARNING, "%s", note.text);
	}
	p->done(p->ctx, &out);
	mem_free(p);
}

static enum err check_endpoint(
	const struct router *r, const struct endpoint_request *req, struct core_network *net, struct err_note *note)
{
	if (r->stopping || r->erased || r->fatal[0] != '\0')
		return err_note(note, ERR_CLOSED, "the daemon is stopping");
	enum err err = attach_check_ident(req->ident, note);
	if (err == ERR_OK && !container_ifname_ok(req->ifname))
		err = err_note(note, ERR_USAGE, "'%.40s' is no name for an interface", req->ifname);
	if (err == ERR_OK && mac_is_group(req->mac))
		err = err_note(note, ERR_USAGE, "the MAC address is one of a group, and no container's");
	if (err == ERR_OK)
		err = attach_check_network(r, req->ident, req->network != NULL ? req->network : CORE_NETWORK_DEFAULT, net, note);
	return err == ERR_OK ? attach_check_mac(r, req->ident, net->name, req->mac, note) : err;
}

static enum err make_endpoint(struct router *r, const struct endpoint_request *req, const struct core_network *net,
	struct container_record *made, struct err_note *note)
{
	struct container_want want = { .ident = req->ident,
		.ifname = req->ifname,
		.nsfd = -1,
		.mac = mac_eq(req->mac, (struct mac){ { 0 } }) ? attach_random_mac() : req->mac,
		.addrs = req->addrs,
		.n_addrs = req->n_addrs,
		.mtu = plane_container_mtu(r->plane),
		.hairpin = req->hairpin };
	struct kernel *k = NULL;
	enum err err = plane_need(r->plane, r->core, net, &k, note);

	if (req->mtu != 0 && req->mtu < want.mtu)
		want.mtu = req->mtu;
	if (err != ERR_OK)
		return err;
	router_dns_networks(r);
	plane_expect(r->plane, r->core, req->ident, req->addrs, req->n_addrs);
	err = container_pair(k, &want, made, note);
	plane_port_changed(r->plane, req->ident);
	return err;
}

uint64_t router_endpoint_add(struct router *r, const struct endpoint_request *req, router_done done, void *ctx)
{
	struct err_note note = { "out of memory" };
	struct core_network net;
	struct core_endpoint e;
	struct pairing *p = mem_zalloc(1, sizeof(*p));
	enum err err = p == NULL ? ERR_NOMEM : check_endpoint(r, req, &net, &note);

	if (err == ERR_OK)
		err = make_endpoint(r, req, &net, &p->made, &note);
	if (err != ERR_OK) {
		mem_free(p);
		return attach_refuse(done, ctx, err, note.text);
	}
	p->r = r;
	p->done = done;
	p->ctx = ctx;
	p->known = core_local(r->core, req->ident) != NULL;
	attach_endpoint_of(r, &p->made, net.name, &e);
	struct core_event ev = { .kind = CORE_ATTACHED, .endpoint = &e };
	(void)router_submit(r, &ev, on_published, p);
	return 0; /* not to be taken back: the kernel's part is done */
}

uint64_t router_endpoint_remove(struct router *r, const char *ident, router_done done, void *ctx)
{
	const struct attach_request req = { .id = ident };

	return router_detach(r, &req, done, ctx);
}
