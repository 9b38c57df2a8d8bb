#include "router/container.h"

#include <assert.h>
#include <errno.h>
#include <linux/if_bridge.h>
#include <linux/if_link.h>
#include <linux/if_packet.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <netlink/attr.h>
#include <netlink/msg.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/mem.h"
#include "router/core/announce.h"
#include "tunnel/fwd.h"

#define HOST_PREFIX "vethwe"
#define HOST_SUFFIX 9u /* characters of five bits each */
#define SALTS       4u
#define RUNNING_MS  100 /* longest wait for a new interface to be taken into use */

/* ---- the record */

static bool plain(unsigned char c)
{
	return c > 0x20 && c < 0x7f && c != '%';
}

enum err container_record_format(const struct container_record *r, char out[NETLINK_ALIAS_MAX + 1])
{
	char mac[MAC_TEXT], addr[PREFIX_TEXT], hex[4];
	struct wbuf w;
	wbuf_fixed(&w, out, NETLINK_ALIAS_MAX);
	wbuf_bytes(&w, "weft1 id=", 9);
	for (const char *p = r->ident; *p; p++) {
		snprintf(hex, sizeof hex, plain((unsigned char)*p) ? "%c" : "%%%02x", (unsigned char)*p);
		wbuf_bytes(&w, hex, strlen(hex));
	}
	wbuf_bytes(&w, " mac=", 5);
	wbuf_bytes(&w, mac_format(r->mac, mac), MAC_TEXT - 1);
	wbuf_bytes(&w, " addrs=", 7);
	for (size_t i = 0; i < r->n_addrs; i++) {
		prefix_format(r->addrs[i], addr);
		wbuf_bytes(&w, ",", i > 0);
		wbuf_bytes(&w, addr, strlen(addr));
	}
	out[w.failed ? 0 : w.len] = '\0';
	return wbuf_end(&w);
}

/* The text up to the next stop character (or the end) into out; *text moves behind the stop. false: it does not fit. */
static bool field(const char **text, char stop, char *out, size_t size)
{
	const char *end = strchr(*text, stop);
	size_t n = end ? (size_t)(end - *text) : strlen(*text);
	if (n >= size)
		return false;
	memcpy(out, *text, n);
	out[n] = '\0';
	*text += n + (end ? 1 : 0);
	return true;
}

static bool starts(const char **text, const char *with)
{
	size_t n = strlen(with);
	if (strncmp(*text, with, n) != 0)
		return false;
	*text += n;
	return true;
}

static int hex_digit(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool unescape(const char *from, char *to, size_t size)
{
	size_t n = 0;
	for (; *from; from++, n++) {
		if (n + 1 >= size)
			return false;
		to[n] = *from;
		if (*from != '%')
			continue;
		int hi = hex_digit(from[1]), lo = hi < 0 ? -1 : hex_digit(from[2]);
		if (lo < 0 || (hi == 0 && lo == 0))
			return false;
		to[n] = (char)(hi << 4 | lo);
		from += 2;
	}
	to[n] = '\0';
	return n > 0;
}

enum err container_record_parse(const char *text, struct container_record *out)
{
	char id[NETLINK_ALIAS_MAX + 1], word[PREFIX_TEXT];
	struct container_record r = { 0 };
	if (!starts(&text, "weft1 id=") || !field(&text, ' ', id, sizeof id) || !unescape(id, r.ident, sizeof r.ident))
		return ERR_MALFORMED;
	if (!starts(&text, "mac=") || !field(&text, ' ', word, sizeof word) || mac_parse(word, &r.mac) != ERR_OK ||
		!starts(&text, "addrs="))
		return ERR_MALFORMED;
	while (*text) {
		if (r.n_addrs == CONTAINER_ADDRS_MAX || !field(&text, ',', word, sizeof word) ||
			prefix_parse(word, &r.addrs[r.n_addrs++]) != ERR_OK)
			return ERR_MALFORMED;
	}
	*out = r;
	return ERR_OK;
}

void container_host_name(const char *ident, unsigned salt, char out[NETLINK_NAME_MAX + 1])
{
	static const char digits[] = "abcdefghijklmnopqrstuvwxyz234567";
	unsigned char h[16];
	const unsigned char key[16] = { 'w', 'e', 'f', 't', (unsigned char)salt };
	crypto_generichash(h, sizeof h, (const unsigned char *)ident, strlen(ident), key, sizeof key);
	memcpy(out, HOST_PREFIX, sizeof HOST_PREFIX - 1);
	for (size_t i = 0; i < HOST_SUFFIX; i++)
		out[sizeof HOST_PREFIX - 1 + i] = digits[h[i] % 32];
	out[sizeof HOST_PREFIX - 1 + HOST_SUFFIX] = '\0';
}

struct mac container_random_mac(const uint8_t random[6])
{
	struct mac m;
	memcpy(m.b, random, 6);
	m.b[0] = (uint8_t)((m.b[0] & 0xfc) | 0x02);
	return m;
}

/* ---- the host's end */

struct host_end {
	bool there, readable; /* readable: its record was */
	struct netlink_link link;
	struct container_record record;
	char name[NETLINK_NAME_MAX + 1]; /* of the one that is there, or that shall be made */
};

/* The interface that bears ident's record; or a half-made one in its place; or the name to make one. */
static enum err host_find(struct kernel *k, const char *ident, struct host_end *h, struct err_note *note)
{
	char vacant[NETLINK_NAME_MAX + 1] = "";
	*h = (struct host_end){ 0 };
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
	*h = (struct host_end){ 0 };
	memcpy(h->name, vacant, sizeof(h->name));
	return ERR_OK;
}

static int set_alias(struct kernel *k, int index, const char *alias)
{
	struct netlink_req r;
	netlink_req_link(&r, RTM_SETLINK, 0, AF_UNSPEC, index, -1);
	netlink_put(&r, IFLA_IFALIAS, alias, strlen(alias));
	return netlink_do(kernel_netlink(k), &r);
}

/* The pair, its far end born in the container's namespace under its final name. */
static int make_pair(struct kernel *k, const char *host_name, const struct container_want *want)
{
	const struct netlink_veth pair = { .name = host_name,
		.peer = CONTAINER_IFNAME,
		.peer_ns = want->nsfd,
		.mtu = want->mtu,
		.peer_mtu = want->mtu,
		.peer_mac = &want->mac };
	return netlink_veth(kernel_netlink(k), &pair);
}

/* From now on the bridge takes frames from the port only with a MAC that has an entry there, that of the container. Kernels before Linux 5.18 cannot; there
 * weft's nftables rules alone see to it. */
static int lock(struct netlink *nl, int index)
{
	struct netlink_req r;
	netlink_req_link(&r, RTM_SETLINK, 0, AF_BRIDGE, index, -1);
	struct nlattr *port = netlink_nest(&r, IFLA_PROTINFO | NLA_F_NESTED);
	netlink_put_u8(&r, IFLA_BRPORT_LOCKED, 1);
	netlink_nest_end(&r, port);
	int result = netlink_do(nl, &r);
	return result == -EINVAL || result == -EOPNOTSUPP ? 0 : result;
}

/* Port of the bridge, no addresses of its own, up; and the bridge knows the container's MAC before it has said a word. */
static int host_up(struct kernel *k, int index, int bridge, const struct container_want *want, struct mac mac)
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
		netlink_put(&r, NDA_LLADDR, mac.b, 6);
		result = netlink_do(nl, &r);
	}
	return result ? result : lock(nl, index);
}

/* ---- the container's end */

struct inside {
	struct netlink *nl;
	int packet; /* raw frames out; takes none in */
};

static void inside_close(struct inside *in)
{
	netlink_close(in->nl);
	if (in->packet >= 0)
		close(in->packet);
}

static enum err inside_open(int nsfd, struct inside *in, struct err_note *note)
{
	struct netns_visit v;
	*in = (struct inside){ .packet = -1 };
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
		inside_close(in);
	return e;
}

/* Settings of the interface before it gets addresses. */
static enum err inside_sysctls(int nsfd, bool v6, struct err_note *note)
{
	struct netns_visit v;
	enum err e = netns_enter(nsfd, &v, note);
	if (e != ERR_OK)
		return e;
	/* Else taking the first address away would take away all others of its subnet. */
	e = link_sysctl(4, CONTAINER_IFNAME, "promote_secondaries", "1", note);
	if (e == ERR_OK && v6)
		e = link_sysctl(6, CONTAINER_IFNAME, "disable_ipv6", "0", note); /* Docker switches it off by default */
	netns_leave(&v);
	return e;
}

static int address_change(struct netlink *nl, int index, bool add, struct prefix p)
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

static int link_route(struct netlink *nl, int index, uint32_t dst, uint8_t len)
{
	const struct rtmsg head = { .rtm_family = AF_INET,
		.rtm_dst_len = len,
		.rtm_table = RT_TABLE_MAIN,
		.rtm_protocol = RTPROT_STATIC,
		.rtm_scope = RT_SCOPE_LINK,
		.rtm_type = RTN_UNICAST };
	struct netlink_req r;
	netlink_req(&r, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, &head, sizeof head);
	netlink_put_ip(&r, RTA_DST, ip_v4(dst));
	netlink_put_u32(&r, RTA_OIF, (uint32_t)index);
	int result = netlink_do(nl, &r);
	return result == -EEXIST ? 0 : result; /* ours from before, or the container's own choice */
}

static int inside_up(struct netlink *nl, int index, unsigned mtu)
{
	struct netlink_req r;
	netlink_req_link(&r, RTM_NEWLINK, 0, AF_UNSPEC, index, 1);
	netlink_put_u32(&r, IFLA_MTU, mtu);
	return netlink_do(nl, &r);
}

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

/* ---- telling the network */

static enum err announce(const struct inside *in, int index, struct mac mac, struct ip a, struct err_note *note)
{
	uint8_t frame[ANNOUNCE_MAX];
	const size_t n = announce_frame(mac, a, frame);
	const struct sockaddr_ll to = { .sll_family = AF_PACKET, .sll_ifindex = index };
	if (sendto(in->packet, frame, n, 0, (const struct sockaddr *)&to, sizeof to) < 0)
		return err_note(note, netlink_err_of(errno), "cannot announce the container's address: %s", strerror(errno));
	return ERR_OK;
}

/* ---- attach */

struct attaching {
	struct kernel *k;
	const struct container_want *want;
	struct inside in;
	struct host_end host;
	struct container_record record, before; /* what shall be; what was (no addresses: nothing) */
	int bridge, inner;                      /* interface indices */
	bool made;                              /* the pair was made by this call */
	bool added[CONTAINER_ADDRS_MAX];        /* of record.addrs: given by this call */
};

/* The container has an `ethwe`: ours under this name, or else why not. */
static enum err check_inner(struct attaching *a, const struct netlink_link *inner, struct err_note *note)
{
	if (a->host.there && a->host.readable && inner->peer == a->host.link.index && a->host.link.peer == inner->index)
		return ERR_OK;
	struct netlink_link other;
	struct container_record r;
	if (inner->peer && netlink_link_at(kernel_netlink(a->k), inner->peer, &other) == 0 && other.peer == inner->index &&
		container_record_parse(other.alias, &r) == ERR_OK && strcmp(r.ident, a->want->ident) != 0)
		return err_note(note, ERR_EXISTS, "container %s is attached already, as %s; detach that first", a->want->ident, r.ident);
	return err_note(note, ERR_EXISTS, "container %s has an interface " CONTAINER_IFNAME " that is not weft's; remove it first",
		a->want->ident);
}

/* Finds what there is, decides what shall be, changes nothing but remains of an interface whose container is gone. */
static enum err survey(struct attaching *a, struct err_note *note)
{
	const struct container_want *want = a->want;
	struct netlink_link inner;
	enum err e = host_find(a->k, want->ident, &a->host, note);
	if (e != ERR_OK)
		return e;
	int result = netlink_link_named(a->in.nl, CONTAINER_IFNAME, &inner);
	if (result && result != -ENODEV)
		return netlink_error(a->in.nl, result, note, "look for " CONTAINER_IFNAME " in container %s", want->ident);
	if (result == 0 && (e = check_inner(a, &inner, note)) != ERR_OK)
		return e;
	if (result == 0) {
		a->inner = inner.index;
		a->record = a->before = a->host.record;
		a->record.mac = inner.mac;
	} else {
		if (a->host.there && (result = netlink_link_del(kernel_netlink(a->k), a->host.link.index)) && result != -ENODEV)
			return netlink_error(kernel_netlink(a->k), result, note, "remove the old interface %s", a->host.name);
		a->host.there = false;
		(void)snprintf(a->record.ident, sizeof(a->record.ident), "%s", want->ident);
		a->record.mac = want->mac;
	}
	for (size_t i = 0; i < want->n_addrs; i++) {
		size_t j = 0;
		while (j < a->record.n_addrs && !ip_eq(a->record.addrs[j].addr, want->addrs[i].addr))
			j++;
		if (j == CONTAINER_ADDRS_MAX)
			return err_note(note, ERR_LIMIT, "container %s would have more than %u addresses", want->ident, CONTAINER_ADDRS_MAX);
		if (j == a->record.n_addrs)
			a->record.addrs[a->record.n_addrs++] = want->addrs[i];
	}
	return ERR_OK;
}

static enum err make_or_mark(struct attaching *a, struct err_note *note)
{
	struct netlink *nl = kernel_netlink(a->k);
	char alias[NETLINK_ALIAS_MAX + 1];
	struct netlink_link inner;
	if (container_record_format(&a->record, alias) != ERR_OK)
		return err_note(note, ERR_LIMIT, "container %s has more addresses than the record on its interface can hold (%d bytes)",
			a->want->ident, NETLINK_ALIAS_MAX);
	int result = 0;
	if (!a->host.there) {
		result = make_pair(a->k, a->host.name, a->want);
		if (result == -EOPNOTSUPP)
			return err_note(note, ERR_UNSUPPORTED,
				"cannot attach container %s: the kernel has no veth module; load it: modprobe veth", a->want->ident);
		if (result)
			return netlink_error(nl, result, note, "make the interface of container %s", a->want->ident);
		a->made = true;
		result = netlink_link_named(nl, a->host.name, &a->host.link);
		if (result == 0)
			result = netlink_link_named(a->in.nl, CONTAINER_IFNAME, &inner);
		a->inner = result ? 0 : inner.index;
	}
	if (result == 0)
		result = set_alias(a->k, a->host.link.index, alias);
	return result ? netlink_error(nl, result, note, "mark the interface of container %s", a->want->ident) : ERR_OK;
}

static bool wants_v6(const struct container_want *want)
{
	for (size_t i = 0; i < want->n_addrs; i++)
		if (want->addrs[i].addr.family == 6)
			return true;
	return false;
}

static enum err configure(struct attaching *a, struct err_note *note)
{
	const struct container_want *want = a->want;
	enum err e = inside_sysctls(want->nsfd, wants_v6(want), note);
	if (e != ERR_OK)
		return e;
	int result = inside_up(a->in.nl, a->inner, want->mtu);
	if (result)
		return netlink_error(a->in.nl, result, note, "configure " CONTAINER_IFNAME " of container %s", want->ident);
	result = host_up(a->k, a->host.link.index, a->bridge, want, a->record.mac);
	if (result)
		return netlink_error(kernel_netlink(a->k), result, note, "put the interface of container %s on the bridge", want->ident);
	/* Addresses last: with one the container can send, and what it sends too early is lost: a question for a MAC is repeated only a second
	 * later. */
	wait_running(a->k, a->host.link.index, a->in.nl, a->inner);
	for (size_t i = 0; i < a->record.n_addrs && result == 0; i++) {
		result = address_change(a->in.nl, a->inner, true, a->record.addrs[i]);
		a->added[i] = result == 0;
		if (result == -EEXIST)
			result = 0;
	}
	if (result == 0 && want->dns_route)
		result = link_route(a->in.nl, a->inner, WEFT_DNS_V4, 32);
	if (result == 0 && want->multicast_route)
		result = link_route(a->in.nl, a->inner, UINT32_C(224) << 24, 4);
	if (result)
		return netlink_error(a->in.nl, result, note, "configure " CONTAINER_IFNAME " of container %s", want->ident);
	for (size_t i = 0; i < a->record.n_addrs && e == ERR_OK; i++)
		if (a->added[i])
			e = announce(&a->in, a->inner, a->record.mac, a->record.addrs[i].addr, note);
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
		int result = a->added[i] ? address_change(a->in.nl, a->inner, false, a->record.addrs[i]) : 0;
		(void)result;
	}
	if (a->host.there && container_record_format(&a->before, alias) == ERR_OK) {
		int result = set_alias(a->k, a->host.link.index, alias);
		(void)result;
	}
}

enum err container_attach(
	struct kernel *k, const struct container_want *want, struct container_record *out, struct err_note *note)
{
	struct attaching a = { .k = k, .want = want };
	assert(strlen(want->ident) > 0 && strlen(want->ident) <= NETNS_IDENT_MAX);
	if (netns_is_own(want->nsfd))
		return err_note(note, ERR_REFUSED, "container %s is in the host's network namespace and cannot be attached", want->ident);
	enum err e = kernel_bridge_index(k, &a.bridge, note);
	if (e == ERR_OK)
		e = inside_open(want->nsfd, &a.in, note);
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
	inside_close(&a.in);
	if (e == ERR_OK)
		*out = a.record;
	return e;
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
	struct kernel *k, const struct host_end *h, int nsfd, const struct container_record *removed, struct err_note *note)
{
	struct inside in;
	char alias[NETLINK_ALIAS_MAX + 1];
	struct netlink_link inner;
	enum err e = inside_open(nsfd, &in, note);
	if (e != ERR_OK)
		return e;
	int result = netlink_link_named(in.nl, CONTAINER_IFNAME, &inner);
	if (result == 0 && (inner.index != h->link.peer || inner.peer != h->link.index))
		result = -ENODEV;
	for (size_t i = 0; i < removed->n_addrs && result == 0; i++) {
		result = address_change(in.nl, inner.index, false, removed->addrs[i]);
		if (result == -EADDRNOTAVAIL)
			result = 0; /* the container has taken it away itself */
	}
	if (result)
		e = netlink_error(in.nl, result, note, "take addresses from " CONTAINER_IFNAME " of container %s", h->record.ident);
	inside_close(&in);
	if (e != ERR_OK)
		return e;
	e = container_record_format(&h->record, alias);
	assert(e == ERR_OK); /* shorter than the one that was there */
	result = set_alias(k, h->link.index, alias);
	return result ? netlink_error(kernel_netlink(k), result, note, "mark the interface of container %s", h->record.ident)
				  : ERR_OK;
}

enum err container_detach(struct kernel *k, const char *ident, int nsfd, const struct ip *addrs, size_t n_addrs,
	struct container_record *removed, struct err_note *note)
{
	struct host_end h;
	*removed = (struct container_record){ 0 };
	enum err e = host_find(k, ident, &h, note);
	if (e != ERR_OK)
		return e;
	if (!h.there || !h.readable)
		return err_note(note, ERR_NOT_FOUND, "container %s is not attached", ident);
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

/* ---- list */

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
	if (netlink_link_parse(msg, &l) || l.master != list->bridge || strncmp(l.name, HOST_PREFIX, sizeof HOST_PREFIX - 1) != 0)
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

enum err container_find(struct kernel *k, const char *ident, struct container_record *out, struct err_note *note)
{
	struct host_end h;
	enum err e = host_find(k, ident, &h, note);
	if (e != ERR_OK)
		return e;
	if (!h.there || !h.readable)
		return err_note(note, ERR_NOT_FOUND, "container %s is not attached", ident);
	*out = h.record;
	return ERR_OK;
}

enum err container_port(struct kernel *k, const char *ident, char out[NETLINK_NAME_MAX + 1], struct err_note *note)
{
	struct host_end h;
	enum err e = host_find(k, ident, &h, note);
	if (e != ERR_OK)
		return e;
	if (!h.there || !h.readable)
		return err_note(note, ERR_NOT_FOUND, "container %s is not attached", ident);
	memcpy(out, h.name, sizeof h.name);
	return ERR_OK;
}

enum err container_rejoin(struct kernel *k, const char *ident, unsigned mtu, bool *moved, struct err_note *note)
{
	const struct container_want want = { .ident = ident, .nsfd = -1, .mtu = mtu };
	struct host_end h;
	int bridge;
	*moved = false;
	enum err e = host_find(k, ident, &h, note);
	if (e == ERR_OK)
		e = kernel_bridge_index(k, &bridge, note);
	if (e != ERR_OK)
		return e;
	if (!h.there || !h.readable)
		return err_note(note, ERR_NOT_FOUND, "container %s is not attached", ident);
	if (h.link.master == bridge)
		return ERR_OK;
	int result = host_up(k, h.link.index, bridge, &want, h.record.mac);
	*moved = result == 0;
	return result ? netlink_error(kernel_netlink(k), result, note, "put the interface of container %s on the bridge", ident)
				  : ERR_OK;
}
