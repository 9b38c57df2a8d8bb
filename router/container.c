#include "router/container.h"

#include <assert.h>
#include <errno.h>
#include <linux/if_bridge.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "router/container_internal.h"
#include "tunnel/fwd.h"

#define RUNNING_MS 100 /* longest wait for a new interface to be taken into use */

/* ---- attach */

/* The kernel notices the carrier of a new pair a moment after both ends are up. Until then the first end to be set up drops what it is given
 * to send, and the bridge takes nothing from its port: an announcement made now would be lost. */
static void wait_running(struct kernel *k, int port, struct netlink *inside, int inner)
{
	const struct timespec ms = { .tv_nsec = 1000000 };
	for (int i = 0; i < RUNNING_MS; i++) {
		struct netlink_link a, b;
		if (netlink_link_at(kernel_netlink(k), port, &a) || netlink_link_at(inside, inner, &b))
			return;
		if (a.port_state == BR_STATE_FORWARDING && b.running)
			return;
		nanosleep(&ms, NULL);
	}
}

struct attaching {
	struct kernel *k;
	const struct container_want *want;
	struct container_inside in;
	struct container_host host;
	struct container_record record, before; /* what shall be; what was (no addresses: nothing) */
	char ifname[NETLINK_NAME_MAX + 1];      /* inside */
	int bridge, inner;                      /* interface indices */
	bool made;                              /* the pair was made by this call */
	bool added[CONTAINER_ADDRS_MAX];        /* of record.addrs: given by this call */
};

/* The container has an interface of the wanted name, which is not that of this identity: why not. */
static enum err not_ours(const struct attaching *a, const struct netlink_link *inner, struct err_note *note)
{
	struct netlink_link other;
	struct container_record r;
	if (inner->peer && netlink_link_at(kernel_netlink(a->k), inner->peer, &other) == 0 && other.peer == inner->index &&
		container_record_parse(other.alias, &r) == ERR_OK && strcmp(r.ident, a->want->ident) != 0)
		return err_note(note, ERR_EXISTS, "container %s is attached already, as %s; detach that first", a->want->ident, r.ident);
	return err_note(
		note, ERR_EXISTS, "container %s has an interface %s that is not weft's; remove it first", a->want->ident, inner->name);
}

/* The other end of the interface that bears its record, if it is in this namespace; -ENODEV: it is not. */
static int find_own(struct attaching *a, struct netlink_link *inner)
{
	if (!a->host.there || !a->host.readable || a->host.link.peer == 0)
		return -ENODEV;
	int result = netlink_link_at(a->in.nl, a->host.link.peer, inner);
	return result == 0 && inner->peer != a->host.link.index ? -ENODEV : result;
}

/* What is in the container, and with it what the record shall say but for new addresses. */
static enum err survey_inside(struct attaching *a, struct err_note *note)
{
	const struct container_want *want = a->want;
	struct netlink_link inner;
	int result = find_own(a, &inner);
	if (result == 0) {
		if (want->ifname != NULL && strcmp(inner.name, want->ifname) != 0)
			return err_note(note, ERR_EXISTS, "container %s is attached already, by its interface %s; detach it first",
				want->ident, inner.name);
		(void)snprintf(a->ifname, sizeof(a->ifname), "%s", inner.name);
		a->inner = inner.index;
		a->record = a->before = a->host.record;
		a->record.mac = inner.mac;
		return ERR_OK;
	}
	if (result == -ENODEV) {
		result = netlink_link_named(a->in.nl, a->ifname, &inner);
		if (result == 0)
			return not_ours(a, &inner, note);
	}
	if (result != -ENODEV)
		return netlink_error(a->in.nl, result, note, "look for %s in container %s", a->ifname, want->ident);
	if (a->host.there && (result = netlink_link_del(kernel_netlink(a->k), a->host.link.index)) && result != -ENODEV)
		return netlink_error(kernel_netlink(a->k), result, note, "remove the old interface %s", a->host.name);
	a->host.there = false;
	(void)snprintf(a->record.ident, sizeof(a->record.ident), "%s", want->ident);
	a->record.mac = want->mac;
	return ERR_OK;
}

/* Finds what there is, decides what shall be, changes nothing but remains of an interface whose container is gone. */
static enum err survey(struct attaching *a, struct err_note *note)
{
	(void)snprintf(a->ifname, sizeof(a->ifname), "%s", a->want->ifname != NULL ? a->want->ifname : CONTAINER_IFNAME);
	enum err e = container_host_find(a->k, a->want->ident, &a->host, note);
	if (e == ERR_OK)
		e = survey_inside(a, note);
	return e == ERR_OK ? container_record_add(&a->record, a->want, note) : e;
}

/* The pair, its far end born in the container's namespace under its final name. */
static int make_pair(struct attaching *a)
{
	const struct container_want *want = a->want;
	const struct netlink_veth pair = { .name = a->host.name,
		.peer = a->ifname,
		.peer_ns = want->nsfd,
		.mtu = want->mtu,
		.peer_mtu = want->mtu,
		.peer_mac = &want->mac };
	return netlink_veth(kernel_netlink(a->k), &pair);
}

static enum err make_or_mark(struct attaching *a, struct err_note *note)
{
	struct netlink *nl = kernel_netlink(a->k);
	char alias[NETLINK_ALIAS_MAX + 1];
	struct netlink_link inner;
	enum err e = container_record_text(&a->record, alias, note);
	if (e != ERR_OK)
		return e;
	int result = 0;
	if (!a->host.there) {
		result = make_pair(a);
		if (result)
			return container_pair_error(nl, result, a->want->ident, note);
		a->made = true;
		result = netlink_link_named(nl, a->host.name, &a->host.link);
		if (result == 0)
			result = netlink_link_named(a->in.nl, a->ifname, &inner);
		a->inner = result ? 0 : inner.index;
	}
	if (result == 0)
		result = container_host_mark(a->k, a->host.link.index, alias);
	return result ? netlink_error(nl, result, note, "mark the interface of container %s", a->want->ident) : ERR_OK;
}

static bool wants_v6(const struct container_want *want)
{
	for (size_t i = 0; i < want->n_addrs; i++)
		if (want->addrs[i].addr.family == 6)
			return true;
	return false;
}

static enum err add_routes(struct attaching *a, struct err_note *note)
{
	const struct container_want *want = a->want;
	const struct container_route dns = { .dst = { ip_v4(WEFT_DNS_V4), 32 } };
	const struct container_route multicast = { .dst = { ip_v4(UINT32_C(224) << 24), 4 } };
	int result = want->dns_route ? container_inside_route(a->in.nl, a->inner, &dns) : 0;
	if (result == 0 && want->multicast_route)
		result = container_inside_route(a->in.nl, a->inner, &multicast);
	if (result)
		return netlink_error(a->in.nl, result, note, "configure %s of container %s", a->ifname, want->ident);
	for (size_t i = 0; i < want->n_routes; i++) {
		char dst[PREFIX_TEXT];
		result = container_inside_route(a->in.nl, a->inner, &want->routes[i]);
		if (result)
			return netlink_error(a->in.nl, result, note, "add the route to %s in container %s",
				prefix_format(want->routes[i].dst, dst), want->ident);
	}
	return ERR_OK;
}

static enum err configure(struct attaching *a, struct err_note *note)
{
	const struct container_want *want = a->want;
	const struct container_port_want port = { .mac = a->record.mac, .mtu = want->mtu, .hairpin = a->record.hairpin };
	enum err e = container_inside_sysctls(&a->in, a->ifname, wants_v6(want), note);
	if (e != ERR_OK)
		return e;
	int result = container_inside_up(a->in.nl, a->inner, want->mtu);
	if (result)
		return netlink_error(a->in.nl, result, note, "configure %s of container %s", a->ifname, want->ident);
	result = container_host_up(a->k, a->host.link.index, a->bridge, &port);
	if (result)
		return netlink_error(kernel_netlink(a->k), result, note, "put the interface of container %s on the bridge", want->ident);
	/* Addresses last: with one the container can send, and what it sends too early is lost: a question for a MAC is repeated only a second
	 * later. */
	wait_running(a->k, a->host.link.index, a->in.nl, a->inner);
	for (size_t i = 0; i < a->record.n_addrs && result == 0; i++) {
		result = container_inside_address(a->in.nl, a->inner, true, a->record.addrs[i]);
		a->added[i] = result == 0;
		if (result == -EEXIST)
			result = 0;
	}
	if (result)
		return netlink_error(a->in.nl, result, note, "configure %s of container %s", a->ifname, want->ident);
	e = add_routes(a, note);
	for (size_t i = 0; i < a->record.n_addrs && e == ERR_OK; i++)
		if (a->added[i])
			e = container_inside_announce(&a->in, a->inner, a->record.mac, a->record.addrs[i].addr, note);
	return e;
}

/* Best effort: the failure that led here is what is reported. */
static void take_back(struct attaching *a)
{
	char alias[NETLINK_ALIAS_MAX + 1];
	if (a->made) {
		int result = netlink_link_del(kernel_netlink(a->k), a->host.link.index);
		(void)result;
		return;
	}
	for (size_t i = 0; i < a->record.n_addrs; i++) {
		int result = a->added[i] ? container_inside_address(a->in.nl, a->inner, false, a->record.addrs[i]) : 0;
		(void)result;
	}
	if (a->host.there && container_record_format(&a->before, alias) == ERR_OK) {
		int result = container_host_mark(a->k, a->host.link.index, alias);
		(void)result;
	}
}

enum err container_attach(
	struct kernel *k, const struct container_want *want, struct container_record *out, struct err_note *note)
{
	struct attaching a = { .k = k, .want = want };
	assert(strlen(want->ident) > 0 && strlen(want->ident) <= NETNS_IDENT_MAX &&
		(want->ifname == NULL || container_ifname_ok(want->ifname)));
	if (netns_is_own(want->nsfd))
		return err_note(note, ERR_REFUSED, "container %s is in the host's network namespace and cannot be attached", want->ident);
	enum err e = kernel_bridge_index(k, &a.bridge, note);
	if (e == ERR_OK)
		e = container_inside_open(want->nsfd, &a.in, note);
	if (e != ERR_OK)
		return e;
	e = survey(&a, note);
	if (e == ERR_OK) {
		e = make_or_mark(&a, note);
		if (e == ERR_OK)
			e = configure(&a, note);
		if (e != ERR_OK)
			take_back(&a);
	}
	container_inside_close(&a.in);
	if (e != ERR_OK)
		return e;
	*out = a.record;
	memcpy(out->ifname, a.ifname, sizeof(out->ifname));
	memcpy(out->port, a.host.name, sizeof(out->port));
	return ERR_OK;
}

/* ---- detach */

/* Splits r by addrs: what goes into removed, what stays remains in r. */
static void split(struct container_record *r, const struct ip *addrs, size_t n_addrs, struct container_record *removed)
{
	size_t kept = 0;
	*removed = *r;
	removed->n_addrs = 0;
	for (size_t i = 0; i < r->n_addrs; i++) {
		bool goes = n_addrs == 0;
		for (size_t j = 0; j < n_addrs && !goes; j++)
			goes = ip_eq(r->addrs[i].addr, addrs[j]);
		if (goes)
			removed->addrs[removed->n_addrs++] = r->addrs[i];
		else
			r->addrs[kept++] = r->addrs[i];
	}
	r->n_addrs = kept;
}

static enum err take_addresses(
	struct kernel *k, const struct container_host *h, int nsfd, const struct container_record *removed, struct err_note *note)
{
	struct container_inside in;
	char alias[NETLINK_ALIAS_MAX + 1];
	struct netlink_link inner;
	enum err e = container_inside_open(nsfd, &in, note);
	if (e != ERR_OK)
		return e;
	int result = h->link.peer != 0 ? netlink_link_at(in.nl, h->link.peer, &inner) : -ENODEV;
	if (result == 0 && inner.peer != h->link.index)
		result = -ENODEV;
	for (size_t i = 0; i < removed->n_addrs && result == 0; i++) {
		result = container_inside_address(in.nl, inner.index, false, removed->addrs[i]);
		if (result == -EADDRNOTAVAIL)
			result = 0; /* the container has taken it away itself */
	}
	if (result)
		e = netlink_error(in.nl, result, note, "take addresses from the interface of container %s", h->record.ident);
	container_inside_close(&in);
	if (e != ERR_OK)
		return e;
	e = container_record_format(&h->record, alias);
	assert(e == ERR_OK); /* shorter than the one that was there */
	result = container_host_mark(k, h->link.index, alias);
	return result ? netlink_error(kernel_netlink(k), result, note, "mark the interface of container %s", h->record.ident)
				  : ERR_OK;
}

enum err container_detach(struct kernel *k, const char *ident, int nsfd, const struct ip *addrs, size_t n_addrs,
	struct container_record *removed, struct err_note *note)
{
	struct container_host h;
	*removed = (struct container_record){ 0 };
	enum err e = container_host_find(k, ident, &h, note);
	if (e != ERR_OK)
		return e;
	if (!h.there || !h.readable) {
		bool half_made = h.there && n_addrs == 0; /* the daemon died over it */
		int result = half_made ? netlink_link_del(kernel_netlink(k), h.link.index) : 0;
		return result && result != -ENODEV
			? netlink_error(kernel_netlink(k), result, note, "remove the interface of container %s", ident)
			: err_note(note, ERR_NOT_FOUND, "container %s is not attached", ident);
	}
	split(&h.record, addrs, n_addrs, removed);
	if (n_addrs > 0 && removed->n_addrs == 0)
		return err_note(note, ERR_NOT_FOUND, "container %s has none of these addresses", ident);
	if (h.record.n_addrs == 0) {
		int result = netlink_link_del(kernel_netlink(k), h.link.index);
		return result && result != -ENODEV
			? netlink_error(kernel_netlink(k), result, note, "remove the interface of container %s", ident)
			: ERR_OK;
	}
	if (nsfd < 0)
		e = err_note(note, ERR_USAGE, "taking some of the addresses of container %s needs its network namespace", ident);
	else
		e = take_addresses(k, &h, nsfd, removed, note);
	if (e != ERR_OK)
		removed->n_addrs = 0;
	return e;
}
