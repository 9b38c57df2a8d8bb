/* This host's interfaces as others may reach us by them. */
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "router/plane.h"

/* What the dearest path costs: sealed userspace over IPv6 (docs/wire.md). */
enum { MTU_OVERHEAD = 94, MTU_FALLBACK = 1500 };

static struct ip ip_of(const struct sockaddr *sa)
{
	struct ip ip = { 0 };

	if (sa != NULL && sa->sa_family == AF_INET) {
		struct sockaddr_in in;
		memcpy(&in, sa, sizeof(in));
		ip = ip_v4(ntohl(in.sin_addr.s_addr));
	} else if (sa != NULL && sa->sa_family == AF_INET6) {
		struct sockaddr_in6 in6;
		memcpy(&in6, sa, sizeof(in6));
		ip.family = 6;
		memcpy(ip.b, in6.sin6_addr.s6_addr, 16);
	}
	return ip;
}

static bool ours_or_dockers(const char *name)
{
	static const char *const prefixes[] = { "weft", "vethwe", "docker", "br-", "veth", "virbr", "cni" };

	for (size_t i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++)
		if (strncmp(name, prefixes[i], strlen(prefixes[i])) == 0)
			return true;
	return false;
}

static bool link_local(struct ip ip)
{
	if (ip.family == 4)
		return ip.b[0] == 169 && ip.b[1] == 254;
	return ip.b[0] == 0xfe && (ip.b[1] & 0xc0) == 0x80;
}

static bool usable(const struct ifaddrs *a, struct ip *ip)
{
	*ip = ip_of(a->ifa_addr);
	return ip->family != 0 && (a->ifa_flags & IFF_UP) != 0 && (a->ifa_flags & IFF_LOOPBACK) == 0 &&
		!ours_or_dockers(a->ifa_name) && !link_local(*ip);
}

size_t underlay_addresses(struct ip *out, size_t max)
{
	struct ifaddrs *list = NULL;
	size_t n = 0;
	struct ip ip;

	if (getifaddrs(&list) != 0)
		return 0;
	for (const struct ifaddrs *a = list; a != NULL && n < max; a = a->ifa_next)
		if (usable(a, &ip))
			out[n++] = ip;
	freeifaddrs(list);
	return n;
}

static uint32_t mtu_of_device(const char *name)
{
	struct ifreq req;
	uint32_t mtu = 0;
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return 0;
	memset(&req, 0, sizeof(req));
	(void)snprintf(req.ifr_name, sizeof(req.ifr_name), "%s", name);
	if (ioctl(fd, SIOCGIFMTU, &req) == 0 && req.ifr_mtu > 0)
		mtu = (uint32_t)req.ifr_mtu;
	(void)close(fd);
	return mtu;
}

uint32_t underlay_mtu_of(struct ip local)
{
	struct ifaddrs *list = NULL;
	uint32_t mtu = 0;

	if (getifaddrs(&list) != 0)
		return 0;
	for (const struct ifaddrs *a = list; a != NULL && mtu == 0; a = a->ifa_next)
		if (ip_eq(ip_of(a->ifa_addr), local))
			mtu = mtu_of_device(a->ifa_name);
	freeifaddrs(list);
	return mtu;
}

/* The smallest MTU among the interfaces by which other hosts may be reached. */
static uint32_t smallest_mtu(struct ip host)
{
	struct ifaddrs *list = NULL;
	uint32_t least = 0;
	struct ip ip;

	if (host.family != 0)
		return underlay_mtu_of(host);
	if (getifaddrs(&list) != 0)
		return 0;
	for (const struct ifaddrs *a = list; a != NULL; a = a->ifa_next) {
		if (!usable(a, &ip))
			continue;
		uint32_t mtu = mtu_of_device(a->ifa_name);
		if (mtu != 0 && (least == 0 || mtu < least))
			least = mtu;
	}
	freeifaddrs(list);
	return least;
}

uint32_t underlay_container_mtu(struct ip host, uint32_t mtu)
{
	if (mtu == 0) {
		uint32_t under = smallest_mtu(host);
		if (under == 0)
			under = MTU_FALLBACK;
		mtu = under > MTU_OVERHEAD ? under - MTU_OVERHEAD : LINK_MTU_MIN;
	}
	if (mtu < LINK_MTU_MIN)
		mtu = LINK_MTU_MIN;
	return mtu > LINK_MTU_MAX ? LINK_MTU_MAX : mtu;
}
