/* What the kernel has: the container's interface, seen from inside, and its other end; MTU and token buckets.
 *
 * Bandwidth is held by a token bucket on each end of the veth pair: what leaves the host's end goes into the container, what leaves the container's end
 * comes out of it. That needs no further device, and both go with the pair. (The bandwidth plugin has an ifb for the second.)
 * A container that may change its own interfaces can take its end's away; it could as well change its addresses. */
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netlink/netlink.h>
#include <netlink/route/addr.h>
#include <netlink/route/link.h>
#include <netlink/route/nexthop.h>
#include <netlink/route/qdisc.h>
#include <netlink/route/qdisc/tbf.h>
#include <netlink/route/route.h>
#include <netlink/route/tc.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "weft_cni.h"

enum { LATENCY_US = 25000, BURST_MIN_BYTES = 64 << 10, FRAME_OVERHEAD = 18 };

/* A socket in the container's namespace. The program has one thread and is short: it goes there and comes back. */
static int open_inside(const char *netns, struct nl_sock **out, struct cni_error *e)
{
	int home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC), there = open(netns, O_RDONLY | O_CLOEXEC), code = CNI_OK;

	*out = nl_socket_alloc();
	if (there < 0 && (errno == ENOENT || errno == ENOTDIR))
		code = cni_fail(e, CNI_NO_CONTAINER, "there is no network namespace %s", netns);
	else if (there < 0 || home < 0 || *out == NULL)
		code = cni_fail(e, CNI_IO, "cannot open the network namespace %s: %s", netns, strerror(errno));
	else if (setns(there, CLONE_NEWNET) != 0)
		code = cni_fail(e, errno == EINVAL ? CNI_NO_CONTAINER : CNI_IO,
			errno == EINVAL ? "%s is no network namespace" : "cannot enter the network namespace %s; is this root?", netns);
	if (code == CNI_OK) {
		int err = nl_connect(*out, NETLINK_ROUTE);
		if (setns(home, CLONE_NEWNET) != 0)
			code = cni_fail(e, CNI_IO, "cannot leave the network namespace %s: %s", netns, strerror(errno));
		else if (err < 0)
			code = cni_fail(e, CNI_IO, "no netlink in %s: %s", netns, nl_geterror(err));
	}
	if (code != CNI_OK) {
		nl_socket_free(*out);
		*out = NULL;
	}
	if (there >= 0)
		(void)close(there);
	if (home >= 0)
		(void)close(home);
	return code;
}

static int open_home(struct nl_sock **out, struct cni_error *e)
{
	*out = nl_socket_alloc();
	int err = *out != NULL ? nl_connect(*out, NETLINK_ROUTE) : -NLE_NOMEM;

	if (err == 0)
		return CNI_OK;
	nl_socket_free(*out);
	*out = NULL;
	return cni_fail(e, CNI_IO, "no netlink: %s", nl_geterror(err));
}

static struct ip ip_of(const struct nl_addr *a)
{
	struct ip out = { 0 };

	if (a == NULL || (nl_addr_get_len(a) != 4 && nl_addr_get_len(a) != 16))
		return out;
	out.family = nl_addr_get_len(a) == 4 ? 4 : 6;
	memcpy(out.b, nl_addr_get_binary_addr(a), nl_addr_get_len(a));
	return out;
}

static struct prefix prefix_of(const struct nl_addr *a)
{
	return (struct prefix){ .addr = ip_of(a), .len = a != NULL ? (uint8_t)nl_addr_get_prefixlen(a) : 0 };
}

static void mac_of(struct rtnl_link *link, char out[MAC_TEXT])
{
	struct nl_addr *a = rtnl_link_get_addr(link);
	struct mac m;

	if (a == NULL || nl_addr_get_len(a) != sizeof(m.b))
		return;
	memcpy(m.b, nl_addr_get_binary_addr(a), sizeof(m.b));
	(void)mac_format(m, out);
}

/* --- looking ------------------------------------------------------------------------------------------------------------------------------- */

static void see_addrs(struct nl_sock *sk, struct cni_seen *s)
{
	struct nl_cache *cache;

	if (rtnl_addr_alloc_cache(sk, &cache) < 0)
		return;
	for (struct nl_object *o = nl_cache_get_first(cache); o != NULL; o = nl_cache_get_next(o)) {
		struct rtnl_addr *a = (struct rtnl_addr *)o;
		struct prefix p = prefix_of(rtnl_addr_get_local(a));
		if (rtnl_addr_get_ifindex(a) == s->index && p.addr.family != 0 && s->n_addrs < sizeof(s->addrs) / sizeof(s->addrs[0])) {
			p.len = (uint8_t)rtnl_addr_get_prefixlen(a);
			s->addrs[s->n_addrs++] = p;
		}
	}
	nl_cache_free(cache);
}

static void see_routes(struct nl_sock *sk, struct cni_seen *s)
{
	struct nl_cache *cache;

	if (rtnl_route_alloc_cache(sk, AF_UNSPEC, 0, &cache) < 0)
		return;
	for (struct nl_object *o = nl_cache_get_first(cache); o != NULL; o = nl_cache_get_next(o)) {
		struct rtnl_route *r = (struct rtnl_route *)o;
		struct rtnl_nexthop *hop = rtnl_route_get_nnexthops(r) > 0 ? rtnl_route_nexthop_n(r, 0) : NULL;
		struct cni_route *to = &s->routes[s->n_routes];
		if (rtnl_route_get_table(r) != RT_TABLE_MAIN || hop == NULL || s->n_routes == sizeof(s->routes) / sizeof(s->routes[0]))
			continue;
		*to = (struct cni_route){ .dst = prefix_of(rtnl_route_get_dst(r)), .gw = ip_of(rtnl_route_nh_get_gateway(hop)) };
		if (to->dst.addr.family == 0) { /* the default route has no destination */
			to->dst = (struct prefix){ .addr.family = rtnl_route_get_family(r) == AF_INET6 ? 6 : 4 };
			to->dst.len = 0;
		}
		s->n_routes++;
	}
	nl_cache_free(cache);
}

static bool has_tbf(struct nl_sock *sk, int index)
{
	struct nl_cache *cache;
	bool found = false;

	if (rtnl_qdisc_alloc_cache(sk, &cache) < 0)
		return false;
	struct rtnl_qdisc *q = rtnl_qdisc_get_by_parent(cache, index, TC_H_ROOT);
	if (q != NULL) {
		const char *kind = rtnl_tc_get_kind(TC_CAST(q));
		found = kind != NULL && strcmp(kind, "tbf") == 0;
		rtnl_qdisc_put(q);
	}
	nl_cache_free(cache);
	return found;
}

static int see_host_end(struct cni_seen *s, struct cni_error *e)
{
	struct rtnl_link *link = NULL;
	struct nl_sock *sk;
	int code = open_home(&sk, e);

	if (code != CNI_OK)
		return code;
	if (s->peer > 0 && rtnl_link_get_kernel(sk, s->peer, NULL, &link) == 0) {
		(void)snprintf(s->host.name, sizeof(s->host.name), "%s", rtnl_link_get_name(link));
		mac_of(link, s->host.mac);
		s->host.mtu = rtnl_link_get_mtu(link);
		s->host_shaped = has_tbf(sk, s->peer);
		rtnl_link_put(link);
	}
	nl_socket_free(sk);
	return CNI_OK;
}

int cni_look(const char *netns, const char *ifname, struct cni_seen *s, struct cni_error *e)
{
	struct rtnl_link *link = NULL;
	struct nl_sock *sk;

	memset(s, 0, sizeof(*s));
	int code = open_inside(netns, &sk, e);
	if (code != CNI_OK)
		return code;
	int err = rtnl_link_get_kernel(sk, 0, ifname, &link);
	if (err == 0) {
		s->there = true;
		s->index = rtnl_link_get_ifindex(link);
		s->peer = rtnl_link_get_link(link);
		s->mtu = rtnl_link_get_mtu(link);
		mac_of(link, s->mac);
		rtnl_link_put(link);
		see_addrs(sk, s);
		s->shaped = has_tbf(sk, s->index);
	} else if (err != -NLE_NODEV && err != -NLE_OBJ_NOTFOUND) {
		code = cni_fail(e, CNI_KERNEL, "the interfaces of %s cannot be seen: %s", netns, nl_geterror(err));
	}
	see_routes(sk, s);
	nl_socket_free(sk);
	return code == CNI_OK && s->there ? see_host_end(s, e) : code;
}

/* --- changing ------------------------------------------------------------------------------------------------------------------------------ */

static int set_mtu(struct nl_sock *sk, struct rtnl_link *link, unsigned mtu)
{
	struct rtnl_link *change = rtnl_link_alloc();

	if (change == NULL)
		return -NLE_NOMEM;
	rtnl_link_set_mtu(change, mtu);
	int err = rtnl_link_change(sk, link, change, 0);
	rtnl_link_put(change);
	return err;
}

/* A frame that is larger than the bucket never passes, so that it holds one at least; what is cut by the interface itself is cut to fit. */
static int set_tbf(struct nl_sock *sk, struct rtnl_link *link, struct cni_rate rate)
{
	uint64_t bytes_s = rate.bits_s / 8, burst = rate.burst_bits / 8, least = rtnl_link_get_mtu(link) + FRAME_OVERHEAD;
	struct rtnl_qdisc *q = rtnl_qdisc_alloc();

	if (q == NULL)
		return -NLE_NOMEM;
	if (burst == 0)
		burst = bytes_s / 10 > BURST_MIN_BYTES ? bytes_s / 10 : BURST_MIN_BYTES;
	burst = burst < least ? least : burst > INT32_MAX ? INT32_MAX : burst;
	bytes_s = bytes_s > INT32_MAX ? INT32_MAX : bytes_s; /* 17 Gbit/s: what the kernel's first form of a rate holds */
	rtnl_tc_set_link(TC_CAST(q), link);
	rtnl_tc_set_parent(TC_CAST(q), TC_H_ROOT);
	rtnl_tc_set_handle(TC_CAST(q), TC_HANDLE(1, 0));
	int err = rtnl_tc_set_kind(TC_CAST(q), "tbf");
	if (err == 0) {
		rtnl_qdisc_tbf_set_rate(q, (int)bytes_s, (int)burst, 0);
		err = rtnl_qdisc_tbf_set_limit_by_latency(q, LATENCY_US);
	}
	if (err == 0)
		err = rtnl_qdisc_add(sk, q, NLM_F_CREATE | NLM_F_REPLACE);
	rtnl_qdisc_put(q);
	return err;
}

static int shape_end(struct nl_sock *sk, const char *name, unsigned mtu, struct cni_rate rate, struct cni_error *e)
{
	struct rtnl_link *link = NULL;
	int err = rtnl_link_get_kernel(sk, 0, name, &link), code = CNI_OK;

	if (err < 0)
		return cni_fail(e, CNI_KERNEL, "the interface %s cannot be seen: %s", name, nl_geterror(err));
	if (mtu > 0 && (err = set_mtu(sk, link, mtu)) < 0)
		code = cni_fail(e, CNI_KERNEL, "the MTU of %s cannot be %u: %s", name, mtu, nl_geterror(err));
	if (mtu > 0)
		rtnl_link_set_mtu(link, mtu);
	if (code == CNI_OK && rate.bits_s > 0 && (err = set_tbf(sk, link, rate)) < 0)
		code = cni_fail(
			e, CNI_KERNEL, "the bandwidth of %s cannot be limited: %s; the kernel needs sch_tbf", name, nl_geterror(err));
	rtnl_link_put(link);
	return code;
}

int cni_shape(const char *netns, const char *ifname, const char *host, unsigned mtu, struct cni_rate in, struct cni_rate out,
	struct cni_error *e)
{
	struct nl_sock *sk;
	int code = open_home(&sk, e);

	if (code != CNI_OK)
		return code;
	code = shape_end(sk, host, mtu, in, e);
	nl_socket_free(sk);
	if (code == CNI_OK)
		code = open_inside(netns, &sk, e);
	if (code != CNI_OK)
		return code;
	code = shape_end(sk, ifname, mtu, out, e);
	nl_socket_free(sk);
	return code;
}

int cni_forward(int family, struct cni_error *e)
{
	const char *path = family == 6 ? "/proc/sys/net/ipv6/conf/all/forwarding" : "/proc/sys/net/ipv4/ip_forward";
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	char now = '0';
	bool on = fd >= 0 && read(fd, &now, 1) == 1 && now != '0';

	if (fd >= 0)
		(void)close(fd);
	if (on)
		return CNI_OK; /* it may be that it could not be written */
	fd = open(path, O_WRONLY | O_CLOEXEC);
	on = fd >= 0 && write(fd, "1", 1) == 1;
	int code = on ? CNI_OK
				  : cni_fail(e, CNI_KERNEL, "the host does not forward packets, and %s cannot be set: %s", path, strerror(errno));
	if (fd >= 0)
		(void)close(fd);
	return code;
}
