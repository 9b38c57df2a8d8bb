/* The host's own addresses on a network's bridge. */
#include <errno.h>
#include <linux/if_addr.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include "router/dataplane/link_internal.h"

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
