/* The host's own addresses on a network's bridge. */
#include <errno.h>
#include <linux/if_addr.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include <netlink/msg.h>

#include "router/dataplane/link_internal.h"
#include "tunnel/fwd.h"

static int change(struct kernel *k, uint16_t type, int flags, struct prefix a)
{
	int result = -ENODEV;
	for (int try = 0; try < 2 && result == -ENODEV; try++) {
		int index;
		result = link_device_index(k, BRIDGE, try > 0, &index);
		if (result)
			break;
		const struct ifaddrmsg head = {
			.ifa_family = a.addr.family == 6 ? AF_INET6 : AF_INET,
			.ifa_prefixlen = a.len,
			.ifa_flags = a.addr.family == 6 ? IFA_F_NODAD : 0, /* it was agreed upon: nobody else has it */
			.ifa_scope = RT_SCOPE_UNIVERSE,
			.ifa_index = (unsigned)index,
		};
		struct netlink_req r;
		netlink_req(&r, type, flags, &head, sizeof head);
		netlink_put_ip(&r, IFA_LOCAL, a.addr);
		netlink_put_ip(&r, IFA_ADDRESS, a.addr);
		result = netlink_do(k->nl, &r);
	}
	return result;
}

enum err link_address_set(struct kernel *k, struct prefix a, struct err_note *note)
{
	char text[PREFIX_TEXT];
	int result = change(k, RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, a);
	if (result == -EACCES &&
		a.addr.family == 6) { /* the host has IPv6 switched off, also on new devices; this one is to have it */
		enum err e = link_sysctl(6, k->name[BRIDGE], "disable_ipv6", "0", note);
		if (e != ERR_OK)
			return e;
		result = change(k, RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, a);
	}
	return result && result != -EEXIST
		? netlink_error(k->nl, result, note, "give %s to the bridge %s", prefix_format(a, text), k->name[BRIDGE])
		: ERR_OK;
}

enum err link_address_del(struct kernel *k, struct prefix a, struct err_note *note)
{
	char text[PREFIX_TEXT];
	int result = change(k, RTM_DELADDR, 0, a);
	return result && result != -EADDRNOTAVAIL && result != -ENODEV
		? netlink_error(k->nl, result, note, "take %s from the bridge %s", prefix_format(a, text), k->name[BRIDGE])
		: ERR_OK;
}

struct addresses {
	int bridge;
	struct prefix v[LINK_ADDRESSES_MAX];
	size_t n;
};

static int on_address(struct nl_msg *msg, void *arg)
{
	struct addresses *f = arg;
	if (!msg) {
		f->n = 0;
		return 0;
	}
	struct nlmsghdr *h = nlmsg_hdr(msg);
	struct nlattr *a[IFA_MAX + 1];
	if (h->nlmsg_type != RTM_NEWADDR || nlmsg_parse(h, sizeof(struct ifaddrmsg), a, IFA_MAX, NULL) < 0)
		return 0;
	const struct ifaddrmsg *head = nlmsg_data(h);
	struct prefix p = { netlink_attr_ip(a[IFA_LOCAL] ? a[IFA_LOCAL] : a[IFA_ADDRESS]), head->ifa_prefixlen };
	if ((int)head->ifa_index != f->bridge || head->ifa_scope != RT_SCOPE_UNIVERSE || !p.addr.family || p.len > ip_bits(p.addr) ||
		ip_eq(p.addr, ip_v4(WEFT_DNS_V4)) || f->n == LINK_ADDRESSES_MAX)
		return 0;
	f->v[f->n++] = p;
	return 0;
}

enum err link_address_list(struct kernel *k, link_address_each each, void *arg, struct err_note *note)
{
	const struct ifaddrmsg head = { .ifa_family = AF_UNSPEC };
	struct addresses f = { 0 };
	struct netlink_req r;
	int result = link_device_index(k, BRIDGE, true, &f.bridge);
	if (result == -ENODEV)
		return ERR_OK; /* one that is missing has none */
	if (result == 0) {
		netlink_req(&r, RTM_GETADDR, NLM_F_DUMP, &head, sizeof head);
		result = netlink_ask(k->nl, &r, on_address, &f);
	}
	for (size_t i = 0; i < f.n && result == 0; i++)
		each(f.v[i], arg);
	return result ? netlink_error(k->nl, result, note, "read the addresses of the bridge %s", k->name[BRIDGE]) : ERR_OK;
}
