/* A pair whose inner end stays here until somebody else takes it into a container. */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "router/container_internal.h"

static enum err make(struct kernel *k, struct container_host *h, const struct container_want *want, struct err_note *note)
{
	struct netlink *nl = kernel_netlink(k);
	struct netlink_link other;
	const struct netlink_veth pair = {
		.name = h->name, .peer = want->ifname, .peer_ns = -1, .mtu = want->mtu, .peer_mtu = want->mtu, .peer_mac = &want->mac
	};
	int result = netlink_link_named(nl, want->ifname, &other);
	if (result == 0)
		return err_note(
			note, ERR_EXISTS, "there is an interface %s already, which is not that of %s; remove it", want->ifname, want->ident);
	if (result == -ENODEV)
		result = netlink_veth(nl, &pair);
	if (result)
		return container_pair_error(nl, result, want->ident, note);
	result = netlink_link_named(nl, h->name, &h->link);
	return result ? netlink_error(nl, result, note, "look for interface %s", h->name) : ERR_OK;
}

/* The record of what is there; remains of one that was only half made go. */
static enum err survey(struct kernel *k, const struct container_want *want, struct container_host *h,
	struct container_record *record, struct err_note *note)
{
	enum err e = container_host_find(k, want->ident, h, note);
	if (e != ERR_OK)
		return e;
	if (h->there && h->readable) {
		*record = h->record;
		return ERR_OK;
	}
	int result = h->there ? netlink_link_del(kernel_netlink(k), h->link.index) : 0;
	if (result && result != -ENODEV)
		return netlink_error(kernel_netlink(k), result, note, "remove the old interface %s", h->name);
	h->there = false;
	*record = (struct container_record){ .mac = want->mac };
	(void)snprintf(record->ident, sizeof(record->ident), "%s", want->ident);
	return ERR_OK;
}

static enum err mark_and_join(struct kernel *k, const struct container_host *h, int bridge, const struct container_want *want,
	const struct container_record *record, struct err_note *note)
{
	const struct container_port_want port = { .mac = record->mac, .mtu = want->mtu, .hairpin = record->hairpin };
	char alias[NETLINK_ALIAS_MAX + 1];
	enum err e = container_record_text(record, alias, note);
	if (e != ERR_OK)
		return e;
	int result = container_host_mark(k, h->link.index, alias);
	if (result)
		return netlink_error(kernel_netlink(k), result, note, "mark the interface of container %s", want->ident);
	result = container_host_up(k, h->link.index, bridge, &port);
	return result ? netlink_error(kernel_netlink(k), result, note, "put the interface of container %s on the bridge", want->ident)
				  : ERR_OK;
}

enum err container_pair(struct kernel *k, const struct container_want *want, struct container_record *out, struct err_note *note)
{
	struct container_host h = { 0 };
	struct container_record record;
	char alias[NETLINK_ALIAS_MAX + 1];
	int bridge, result = 0;
	assert(strlen(want->ident) > 0 && strlen(want->ident) <= NETNS_IDENT_MAX && container_ifname_ok(want->ifname));
	enum err e = kernel_bridge_index(k, &bridge, note);
	if (e == ERR_OK)
		e = survey(k, want, &h, &record, note);
	if (e == ERR_OK)
		e = container_record_add(&record, want, note);
	bool made = e == ERR_OK && !h.there;
	if (made)
		e = make(k, &h, want, note);
	if (e == ERR_OK)
		e = mark_and_join(k, &h, bridge, want, &record, note);
	if (e == ERR_OK) {
		*out = record;
		(void)snprintf(out->ifname, sizeof(out->ifname), "%s", want->ifname);
		memcpy(out->port, h.name, sizeof(out->port));
		return ERR_OK;
	}
	/* Best effort: the failure that led here is what is reported. */
	if (made && h.link.index > 0)
		result = netlink_link_del(kernel_netlink(k), h.link.index);
	else if (!made && h.there && container_record_format(&h.record, alias) == ERR_OK)
		result = container_host_mark(k, h.link.index, alias);
	(void)result;
	return e;
}
