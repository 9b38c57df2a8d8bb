/* The container's end of its interface: what is done by sockets that were opened in its namespace. */
#include <errno.h>
#include <linux/if_packet.h>
#include <linux/rtnetlink.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "router/container_internal.h"
#include "router/core/announce.h"

void container_inside_close(struct container_inside *in)
{
	netlink_close(in->nl);
	if (in->packet >= 0)
		close(in->packet);
}

enum err container_inside_open(int nsfd, struct container_inside *in, struct err_note *note)
{
	struct netns_visit v;
	*in = (struct container_inside){ .nsfd = nsfd, .packet = -1 };
	enum err e = netns_enter(nsfd, &v, note);
	if (e != ERR_OK)
		return e;
	e = netlink_open(&in->nl, note);
	if (e == ERR_OK) {
		in->packet = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
		if (in->packet < 0)
			e = err_note(note, netlink_err_of(errno), "cannot open a packet socket in the container: %s%s", strerror(errno),
				errno == EPERM ? "; weftd needs CAP_NET_RAW" : "");
	}
	netns_leave(&v);
	if (e != ERR_OK)
		container_inside_close(in);
	return e;
}

enum err container_inside_sysctls(const struct container_inside *in, const char *ifname, bool v6, struct err_note *note)
{
	struct netns_visit v;
	enum err e = netns_enter(in->nsfd, &v, note);
	if (e != ERR_OK)
		return e;
	/* Else taking the first address away would take away all others of its subnet. */
	e = link_sysctl(4, ifname, "promote_secondaries", "1", note);
	if (e == ERR_OK && v6)
		e = link_sysctl(6, ifname, "disable_ipv6", "0", note); /* Docker switches it off by default */
	netns_leave(&v);
	return e;
}

int container_inside_address(struct netlink *nl, int index, bool add, struct prefix p)
{
	bool v6 = p.addr.family == 6;
	const struct ifaddrmsg head = {
		.ifa_family = v6 ? AF_INET6 : AF_INET,
		.ifa_prefixlen = p.len,
		.ifa_flags = v6 ? IFA_F_NODAD : 0,
		.ifa_index = (unsigned)index,
	};
	struct netlink_req r;
	netlink_req(&r, add ? RTM_NEWADDR : RTM_DELADDR, add ? NLM_F_CREATE | NLM_F_EXCL : 0, &head, sizeof head);
	netlink_put_ip(&r, IFA_LOCAL, p.addr);
	netlink_put_ip(&r, IFA_ADDRESS, p.addr);
	if (!v6 && p.len < 31) {
		uint32_t host = (uint32_t)((UINT64_C(1) << (32 - p.len)) - 1);
		netlink_put_ip(&r, IFA_BROADCAST, ip_v4(ip_to_v4(p.addr) | host));
	}
	return netlink_do(nl, &r);
}

int container_inside_route(struct netlink *nl, int index, const struct container_route *route)
{
	bool v6 = route->dst.addr.family == 6, direct = route->gw.family == 0;
	const struct rtmsg head = { .rtm_family = v6 ? AF_INET6 : AF_INET,
		.rtm_dst_len = route->dst.len,
		.rtm_table = RT_TABLE_MAIN,
		.rtm_protocol = RTPROT_STATIC,
		.rtm_scope = direct ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE,
		.rtm_type = RTN_UNICAST };
	struct netlink_req r;
	netlink_req(&r, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, &head, sizeof head);
	if (route->dst.len > 0)
		netlink_put_ip(&r, RTA_DST, route->dst.addr);
	if (!direct)
		netlink_put_ip(&r, RTA_GATEWAY, route->gw);
	netlink_put_u32(&r, RTA_OIF, (uint32_t)index);
	int result = netlink_do(nl, &r);
	return result == -EEXIST ? 0 : result;
}

int container_inside_up(struct netlink *nl, int index, unsigned mtu)
{
	struct netlink_req r;
	netlink_req_link(&r, RTM_NEWLINK, 0, AF_UNSPEC, index, 1);
	netlink_put_u32(&r, IFLA_MTU, mtu);
	return netlink_do(nl, &r);
}

enum err container_inside_announce(
	const struct container_inside *in, int index, struct mac mac, struct ip a, struct err_note *note)
{
	uint8_t frame[ANNOUNCE_MAX];
	const size_t n = announce_frame(mac, a, frame);
	const struct sockaddr_ll to = { .sll_family = AF_PACKET, .sll_ifindex = index };
	if (sendto(in->packet, frame, n, 0, (const struct sockaddr *)&to, sizeof to) < 0)
		return err_note(note, netlink_err_of(errno), "cannot announce the container's address: %s", strerror(errno));
	return ERR_OK;
}
