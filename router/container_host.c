/* The host's end of a container's interface: finding it, making it a port of the bridge, and all of them. */
#include <errno.h>
#include <linux/if_bridge.h>
#include <linux/if_link.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <netlink/attr.h>
#include <netlink/msg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/mem.h"
#include "router/container_internal.h"

#define SALTS 4u

/* The interface that bears ident's record; or a half-made one in its place; or the name to make one. */
enum err container_host_find(struct kernel *k, const char *ident, struct container_host *h, struct err_note *note)
{
	char vacant[NETLINK_NAME_MAX + 1] = "";
	*h = (struct container_host){ 0 };
	for (unsigned salt = 0; salt < SALTS; salt++) {
		container_host_name(ident, salt, h->name);
		int result = netlink_link_named(kernel_netlink(k), h->name, &h->link);
		if (result == -ENODEV) {
			if (!vacant[0])
				(void)snprintf(vacant, sizeof(vacant), "%s", h->name);
			continue;
		}
		if (result)
			return netlink_error(kernel_netlink(k), result, note, "look for interface %s", h->name);
		h->readable = container_record_parse(h->link.alias, &h->record) == ERR_OK;
		if (h->readable ? strcmp(h->record.ident, ident) == 0 : strcmp(h->link.kind, "veth") == 0) {
			h->there = true;
			return ERR_OK;
		}
	}
	if (!vacant[0])
		return err_note(note, ERR_CONFLICT, "all names for the interface of container %s are taken; remove what is called %s",
			ident, h->name);
	*h = (struct container_host){ 0 };
	memcpy(h->name, vacant, sizeof(h->name));
	return ERR_OK;
}

enum err container_pair_error(const struct netlink *nl, int result, const char *ident, struct err_note *note)
{
	if (result == -EOPNOTSUPP)
		return err_note(
			note, ERR_UNSUPPORTED, "cannot attach container %s: the kernel has no veth module; load it: modprobe veth", ident);
	return netlink_error(nl, result, note, "make the interface of container %s", ident);
}

int container_host_mark(struct kernel *k, int index, const char *alias)
{
	struct netlink_req r;
	netlink_req_link(&r, RTM_SETLINK, 0, AF_UNSPEC, index, -1);
	netlink_put(&r, IFLA_IFALIAS, alias, strlen(alias));
	return netlink_do(kernel_netlink(k), &r);
}

/* From now on the bridge takes frames from the port only with a MAC that has an entry there, that of the container. Kernels before Linux 5.18 cannot; there
 * weft's nftables rules alone see to it. */
static int lock(struct netlink *nl, int index, bool hairpin)
{
	struct netlink_req r;
	netlink_req_link(&r, RTM_SETLINK, 0, AF_BRIDGE, index, -1);
	struct nlattr *port = netlink_nest(&r, IFLA_PROTINFO | NLA_F_NESTED);
	netlink_put_u8(&r, IFLA_BRPORT_LOCKED, 1);
	netlink_nest_end(&r, port);
	int result = netlink_do(nl, &r);
	if (result != 0 && result != -EINVAL && result != -EOPNOTSUPP)
		return result;
	netlink_req_link(&r, RTM_SETLINK, 0, AF_BRIDGE, index, -1);
	port = netlink_nest(&r, IFLA_PROTINFO | NLA_F_NESTED);
	netlink_put_u8(&r, IFLA_BRPORT_MODE, hairpin);
	netlink_nest_end(&r, port);
	return netlink_do(nl, &r);
}

/* Port of the bridge, no addresses of its own, up; and the bridge knows the container's MAC before it has said a word. */
int container_host_up(struct kernel *k, int index, int bridge, const struct container_port_want *want)
{
	struct netlink *nl = kernel_netlink(k);
	struct netlink_req r;
	netlink_req_link(&r, RTM_SETLINK, 0, AF_UNSPEC, index, -1);
	struct nlattr *spec = netlink_nest(&r, IFLA_AF_SPEC), *v6 = netlink_nest(&r, AF_INET6);
	netlink_put_u8(&r, IFLA_INET6_ADDR_GEN_MODE, 1); /* none */
	netlink_nest_end(&r, v6);
	netlink_nest_end(&r, spec);
	int result = netlink_do(nl, &r);
	if (result == 0 || result == -EAFNOSUPPORT || result == -EOPNOTSUPP) {
		netlink_req_link(&r, RTM_NEWLINK, 0, AF_UNSPEC, index, 1);
		netlink_put_u32(&r, IFLA_MASTER, (uint32_t)bridge);
		netlink_put_u32(&r, IFLA_MTU, want->mtu);
		result = netlink_do(nl, &r);
	}
	if (result == 0) {
		const struct ndmsg head = { .ndm_family = AF_BRIDGE,
			.ndm_ifindex = index,
			.ndm_state = NUD_NOARP | NUD_REACHABLE,
			.ndm_flags = NTF_MASTER | NTF_STICKY };
		netlink_req(&r, RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, &head, sizeof head);
		netlink_put(&r, NDA_LLADDR, want->mac.b, 6);
		result = netlink_do(nl, &r);
	}
	return result ? result : lock(nl, index, want->hairpin);
}

/* ---- all of them */

struct listed {
	int index;
	char name[NETLINK_NAME_MAX + 1];
	struct container_record record;
};
struct listing {
	int bridge;
	struct listed *v;
	size_t n, cap;
};

static int on_link(struct nl_msg *msg, void *arg)
{
	struct listing *list = arg;
	struct netlink_link l;
	if (!msg) {
		list->n = 0;
		return 0;
	}
	if (netlink_link_parse(msg, &l) || l.master != list->bridge ||
		strncmp(l.name, CONTAINER_HOST_PREFIX, sizeof CONTAINER_HOST_PREFIX - 1) != 0)
		return 0;
	if (list->n == CONTAINER_MAX)
		return -ENOBUFS;
	if (!mem_grow((void **)&list->v, &list->cap, list->n + 1, sizeof *list->v))
		return -ENOMEM;
	struct listed *e = &list->v[list->n];
	if (container_record_parse(l.alias, &e->record) != ERR_OK)
		return 0;
	e->index = l.index;
	(void)snprintf(e->name, sizeof(e->name), "%s", l.name);
	list->n++;
	return 0;
}

static int by_index(const void *a, const void *b)
{
	const struct listed *x = a, *y = b;
	return (x->index > y->index) - (x->index < y->index);
}

enum err container_list(struct kernel *k, container_each each, void *arg, struct err_note *note)
{
	struct listing list = { 0 };
	enum err e = kernel_bridge_index(k, &list.bridge, note);
	if (e != ERR_OK)
		return e;
	struct netlink_req r;
	netlink_req_link(&r, RTM_GETLINK, NLM_F_DUMP, AF_UNSPEC, 0, -1);
	int result = netlink_ask(kernel_netlink(k), &r, on_link, &list);
	if (result)
		e = netlink_error(kernel_netlink(k), result, note, "list the containers' interfaces");
	if (e == ERR_OK && list.n > 0) {
		qsort(list.v, list.n, sizeof *list.v, by_index);
		for (size_t i = 0; i < list.n; i++)
			each(&list.v[i].record, list.v[i].name, arg);
	}
	mem_free(list.v);
	return e;
}

enum err container_port(struct kernel *k, const char *ident, char out[NETLINK_NAME_MAX + 1], struct err_note *note)
{
	struct container_host h;
	enum err e = container_host_find(k, ident, &h, note);
	if (e != ERR_OK)
		return e;
	if (!h.there || !h.readable)
		return err_note(note, ERR_NOT_FOUND, "container %s is not attached", ident);
	memcpy(out, h.name, sizeof h.name);
	return ERR_OK;
}

enum err container_rejoin(struct kernel *k, const char *ident, unsigned mtu, bool *moved, struct err_note *note)
{
	struct container_host h;
	int bridge;
	*moved = false;
	enum err e = container_host_find(k, ident, &h, note);
	if (e == ERR_OK)
		e = kernel_bridge_index(k, &bridge, note);
	if (e != ERR_OK)
		return e;
	if (!h.there || !h.readable)
		return err_note(note, ERR_NOT_FOUND, "container %s is not attached", ident);
	if (h.link.master == bridge)
		return ERR_OK;
	const struct container_port_want want = { .mac = h.record.mac, .mtu = mtu, .hairpin = h.record.hairpin };
	int result = container_host_up(k, h.link.index, bridge, &want);
	*moved = result == 0;
	return result ? netlink_error(kernel_netlink(k), result, note, "put the interface of container %s on the bridge", ident)
				  : ERR_OK;
}
