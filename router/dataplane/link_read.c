/* What the kernel has of weft's: entries read back, devices looked after, all of it taken away. */
#include <errno.h>
#include <linux/rtnetlink.h>
#include <netlink/attr.h>
#include <netlink/msg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "router/dataplane/link_internal.h"

#define FDB_MAX   (UINT32_C(1) << 20) /* entries taken from the kernel at a time */
#define NEIGH_MAX (UINT32_C(1) << 20)

/* ---- reading the tables back */

struct fdb_reading {
	int index[DEVICES];
	struct fdb_found {
		struct link_fdb e;
		bool marked; /* for probes */
	} * v;
	size_t n, cap;
};

static int on_forwarding(struct nl_msg *msg, void *arg)
{
	struct fdb_reading *f = arg;
	if (!msg) {
		f->n = 0;
		return 0;
	}
	struct nlmsghdr *hdr = nlmsg_hdr(msg);
	struct nlattr *a[NDA_MAX + 1];
	if (hdr->nlmsg_type != RTM_NEWNEIGH || nlmsg_parse(hdr, sizeof(struct ndmsg), a, NDA_MAX, NULL) < 0)
		return 0;
	const struct ndmsg *head = nlmsg_data(hdr);
	if (head->ndm_family != AF_BRIDGE || !a[NDA_LLADDR] || nla_len(a[NDA_LLADDR]) != 6)
		return 0;
	struct link_fdb entry = { 0 };
	nla_memcpy(entry.mac.b, a[NDA_LLADDR], 6);
	bool vxlan = head->ndm_ifindex == f->index[VXLAN], tap = head->ndm_ifindex == f->index[TAP];
	if (head->ndm_ifindex == 0 || (!vxlan && !tap))
		return 0;
	if (a[NDA_MASTER])
		entry.uplink = vxlan ? LINK_FAST : LINK_USERSPACE;
	else if (vxlan && a[NDA_DST])
		entry.underlay = netlink_attr_ip(a[NDA_DST]);
	else
		return 0;
	if (entry.uplink != LINK_NONE && head->ndm_state & NUD_PERMANENT)
		return 0; /* the port's own MAC */
	if (f->n == FDB_MAX)
		return -ENOBUFS;
	if (!mem_grow((void **)&f->v, &f->cap, f->n + 1, sizeof *f->v))
		return -ENOMEM;
	f->v[f->n++] = (struct fdb_found){ entry, entry.uplink == LINK_NONE && head->ndm_flags & LINK_PROBE_MARK };
	return 0;
}

static int by_mac(const void *a, const void *b)
{
	const struct fdb_found *x = a, *y = b;
	return memcmp(x->e.mac.b, y->e.mac.b, 6);
}

static enum err read_fdb(struct kernel *k, bool probes, link_fdb_each each, void *arg, struct err_note *note)
{
	struct fdb_reading f = { 0 };
	for (enum device d = VXLAN; d < DEVICES; d++)
		(void)link_device_index(k, d, true, &f.index[d]); /* one that is missing has no entries */
	struct netlink_req r;
	netlink_req_link(&r, RTM_GETNEIGH, NLM_F_DUMP, AF_BRIDGE, 0, -1);
	int result = netlink_ask(k->nl, &r, on_forwarding, &f);
	if (result == 0 && f.n > 0) {
		qsort(f.v, f.n, sizeof *f.v, by_mac);
		for (size_t i = 0; i < f.n; i++) {
			struct link_fdb e = f.v[i].e;
			bool marked = f.v[i].marked;
			for (; i + 1 < f.n && mac_eq(f.v[i + 1].e.mac, e.mac); i++) {
				if (f.v[i + 1].e.uplink != LINK_NONE)
					e.uplink = f.v[i + 1].e.uplink;
				else
					e.underlay = f.v[i + 1].e.underlay;
				marked = marked || f.v[i + 1].marked;
			}
			/* An exposed host's bridge is a container to others: the bridge leads to it, and probes go the same way. */
			if (probes == (marked && e.uplink == LINK_NONE))
				each(&e, arg);
		}
	}
	mem_free(f.v);
	return result ? netlink_error(k->nl, result, note, "read the forwarding tables") : ERR_OK;
}

enum err link_fdb_list(struct kernel *k, link_fdb_each each, void *arg, struct err_note *note)
{
	return read_fdb(k, false, each, arg, note);
}

enum err link_probe_list(struct kernel *k, link_fdb_each each, void *arg, struct err_note *note)
{
	return read_fdb(k, true, each, arg, note);
}

struct neigh_reading {
	int bridge;
	struct link_neigh *v;
	size_t n, cap;
};

static int on_neighbour(struct nl_msg *msg, void *arg)
{
	struct neigh_reading *f = arg;
	if (!msg) {
		f->n = 0;
		return 0;
	}
	struct nlmsghdr *hdr = nlmsg_hdr(msg);
	struct nlattr *a[NDA_MAX + 1];
	if (hdr->nlmsg_type != RTM_NEWNEIGH || nlmsg_parse(hdr, sizeof(struct ndmsg), a, NDA_MAX, NULL) < 0)
		return 0;
	const struct ndmsg *head = nlmsg_data(hdr);
	if ((head->ndm_family != AF_INET && head->ndm_family != AF_INET6) || head->ndm_ifindex != f->bridge ||
		!(head->ndm_state & NUD_PERMANENT) || !a[NDA_LLADDR] || nla_len(a[NDA_LLADDR]) != 6)
		return 0;
	struct link_neigh entry = { .ip = netlink_attr_ip(a[NDA_DST]) };
	nla_memcpy(entry.mac.b, a[NDA_LLADDR], 6);
	if (!entry.ip.family)
		return 0;
	if (f->n == NEIGH_MAX)
		return -ENOBUFS;
	if (!mem_grow((void **)&f->v, &f->cap, f->n + 1, sizeof *f->v))
		return -ENOMEM;
	f->v[f->n++] = entry;
	return 0;
}

static int by_ip(const void *a, const void *b)
{
	const struct link_neigh *x = a, *y = b;
	return ip_cmp(x->ip, y->ip);
}

enum err link_neigh_list(struct kernel *k, link_neigh_each each, void *arg, struct err_note *note)
{
	struct neigh_reading f = { 0 };
	const struct ndmsg head = { .ndm_family = AF_UNSPEC };
	struct netlink_req r;
	int result = link_device_index(k, BRIDGE, true, &f.bridge);
	if (result == -ENODEV)
		return ERR_OK; /* one that is missing has no entries */
	if (result == 0) {
		netlink_req(&r, RTM_GETNEIGH, NLM_F_DUMP, &head, sizeof head);
		netlink_put_u32(&r, NDA_IFINDEX, (uint32_t)f.bridge); /* older kernels give those of all devices */
		result = netlink_ask(k->nl, &r, on_neighbour, &f);
	}
	if (result == 0 && f.n > 0) {
		qsort(f.v, f.n, sizeof *f.v, by_ip);
		for (size_t i = 0; i < f.n; i++)
			each(&f.v[i], arg);
	}
	mem_free(f.v);
	return result ? netlink_error(k->nl, result, note, "read the neighbours") : ERR_OK;
}

/* ---- whether all is there */

static bool is_lost(struct kernel *k, enum device d)
{
	struct netlink_link l;
	if (!k->set_up[d])
		return false;
	if (link_device_look(k, d, &l) || l.index != k->set_up[d] || !l.up)
		return true;
	return d != BRIDGE && l.master != k->set_up[BRIDGE];
}

enum err link_check(struct kernel *k, unsigned *lost, struct err_note *note)
{
	static const unsigned bits[DEVICES] = { LINK_LOST_BRIDGE, LINK_LOST_VXLAN, LINK_LOST_TAP };
	struct netlink_link l;
	*lost = 0;
	/* Whether the kernel answers at all: silence is no proof. */
	int result = link_device_look(k, BRIDGE, &l);
	if (result && result != -ENODEV)
		return netlink_error(k->nl, result, note, "look for the bridge %s", k->name[BRIDGE]);
	for (enum device d = BRIDGE; d < DEVICES; d++)
		if (is_lost(k, d))
			*lost |= bits[d];
	return ERR_OK;
}

struct network_list {
	unsigned *v;
	size_t n, cap;
};

static int on_network(struct nl_msg *msg, void *arg)
{
	struct network_list *list = arg;
	struct netlink_link l;
	if (!msg) {
		list->n = 0;
		return 0;
	}
	if (netlink_link_parse(msg, &l) || strcmp(l.kind, "bridge") != 0 || strncmp(l.name, "weft-", 5) != 0)
		return 0;
	char again[NETLINK_NAME_MAX + 1];
	const unsigned long number = strtoul(l.name + 5, NULL, 10);
	(void)snprintf(again, sizeof again, "weft-%lu", number % (LINK_NETWORK_MAX + 1));
	if (number == 0 || strcmp(l.name, again) != 0)
		return 0; /* somebody else's */
	if (!mem_grow((void **)&list->v, &list->cap, list->n + 1, sizeof *list->v))
		return -ENOMEM;
	list->v[list->n++] = (unsigned)number;
	return 0;
}

enum err link_networks(struct kernel *k, link_network_each each, void *arg, struct err_note *note)
{
	struct network_list list = { 0 };
	struct netlink_req r;
	netlink_req_link(&r, RTM_GETLINK, NLM_F_DUMP, AF_UNSPEC, 0, -1);
	int result = netlink_ask(k->nl, &r, on_network, &list);
	for (size_t i = 0; i < list.n && result == 0; i++)
		each(list.v[i], arg);
	mem_free(list.v);
	return result ? netlink_error(k->nl, result, note, "list the bridges") : ERR_OK;
}

/* ---- taking it all away */

#define RESET_MAX 65536
struct reset_list {
	int bridge;
	bool strays; /* those that are on no bridge too */
	int *v;
	size_t n, cap;
};

/* Containers' interfaces: on our bridge, or of weft's making and on none. */
static int on_reset_link(struct nl_msg *msg, void *arg)
{
	struct reset_list *list = arg;
	struct netlink_link l;
	if (!msg) {
		list->n = 0;
		return 0;
	}
	if (netlink_link_parse(msg, &l) || strcmp(l.kind, "veth") != 0 || strncmp(l.name, "vethwe", 6) != 0)
		return 0;
	if (l.master ? l.master != list->bridge : !list->strays || strncmp(l.alias, "weft1 ", 6) != 0)
		return 0;
	if (list->n == RESET_MAX)
		return -ENOBUFS;
	if (!mem_grow((void **)&list->v, &list->cap, list->n + 1, sizeof *list->v))
		return -ENOMEM;
	list->v[list->n++] = l.index;
	return 0;
}

static int delete_device(struct kernel *k, enum device d)
{
	struct netlink_link l;
	int result = link_device_look(k, d, &l);
	if (result == 0)
		result = netlink_link_del(k->nl, l.index);
	k->index[d] = k->set_up[d] = 0;
	return result == -ENODEV ? 0 : result;
}

static enum err first(enum err so_far, enum err e)
{
	return so_far != ERR_OK ? so_far : e;
}

enum err link_reset(struct kernel *k, struct err_note *note)
{
	struct reset_list list = { .strays = k->network == 0 };
	struct netlink_req r;
	enum err e = ERR_OK;
	(void)link_device_index(k, BRIDGE, true, &list.bridge);
	netlink_req_link(&r, RTM_GETLINK, NLM_F_DUMP, AF_UNSPEC, 0, -1);
	int result = netlink_ask(k->nl, &r, on_reset_link, &list);
	if (result)
		e = netlink_error(k->nl, result, note, "list the containers' interfaces");
	for (size_t i = 0; i < list.n; i++) {
		result = netlink_link_del(k->nl, list.v[i]);
		if (result && result != -ENODEV)
			e = first(e, netlink_error(k->nl, result, e == ERR_OK ? note : NULL, "remove a container's interface"));
	}
	mem_free(list.v);
	static const enum device order[] = { TAP, VXLAN, BRIDGE };
	for (size_t i = 0; i < sizeof order / sizeof *order; i++) {
		result = delete_device(k, order[i]);
		if (result)
			e = first(e, netlink_error(k->nl, result, e == ERR_OK ? note : NULL, "remove the device %s", k->name[order[i]]));
	}
	/* The table's routes went with the bridge. */
	if (k->network != 0)
		return e;
	while ((result = link_dns_rule(k, RTM_DELRULE, 0)) == 0)
		;
	if (result != -ENOENT && result != -ESRCH && result != -EAFNOSUPPORT)
		e = first(e, netlink_error(k->nl, result, e == ERR_OK ? note : NULL, "remove the routing rule"));
	return e;
}

enum err link_reset_network(unsigned number, struct err_note *note)
{
	const struct kernel_names names = { .network = number };
	struct kernel *k = NULL;
	enum err e = kernel_open(&names, &k, note);
	if (e == ERR_OK)
		e = link_reset(k, note);
	kernel_close(k);
	return e;
}

struct resetting {
	enum err e;
	struct err_note *note;
};

static void reset_one(unsigned network, void *arg)
{
	struct resetting *r = arg;
	r->e = first(r->e, link_reset_network(network, r->e == ERR_OK ? r->note : NULL));
}

enum err link_reset_networks(struct kernel *k, struct err_note *note)
{
	struct resetting r = { ERR_OK, note };
	enum err e = link_networks(k, reset_one, &r, note);
	return first(e, r.e);
}
