#include "router/dataplane/bridges.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_bridge.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netlink/msg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"
#include "router/dataplane/link.h"

struct bridges {
	struct netlink *nl;
	int events;
};

enum err bridges_open(struct bridges **out, struct err_note *note)
{
	const struct sockaddr_nl at = { .nl_family = AF_NETLINK, .nl_groups = RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR };
	struct bridges *b = mem_zalloc(1, sizeof *b);
	if (!b)
		return err_note(note, ERR_NOMEM, "out of memory");
	b->events = -1;
	enum err e = netlink_open(&b->nl, note);
	if (e == ERR_OK) {
		b->events = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);
		if (b->events < 0 || bind(b->events, (const struct sockaddr *)&at, sizeof at) != 0)
			e = err_note(note, ERR_SYSTEM, "cannot listen for news of interfaces: %s", strerror(errno));
	}
	if (e != ERR_OK) {
		bridges_close(b);
		return e;
	}
	*out = b;
	return ERR_OK;
}

void bridges_close(struct bridges *b)
{
	if (!b)
		return;
	if (b->events >= 0)
		close(b->events);
	netlink_close(b->nl);
	mem_free(b);
}

int bridges_fd(const struct bridges *b)
{
	return b->events;
}

/* ---- news */

static bool is_bridge(struct nlattr *info, struct nlattr **data)
{
	struct nlattr *a[IFLA_INFO_MAX + 1];
	*data = NULL;
	if (!info || nla_parse_nested(a, IFLA_INFO_MAX, info, NULL) < 0 || !a[IFLA_INFO_KIND] || nla_len(a[IFLA_INFO_KIND]) < 7 ||
		memcmp(nla_data(a[IFLA_INFO_KIND]), "bridge", 7) != 0)
		return false;
	*data = a[IFLA_INFO_DATA];
	return true;
}

/* Of containers' interfaces there is a lot of news. */
static bool concerns_bridge(struct nlmsghdr *h)
{
	struct nlattr *a[IFLA_MAX + 1], *data;
	if (h->nlmsg_type == RTM_NEWADDR || h->nlmsg_type == RTM_DELADDR) {
		const struct ifaddrmsg *head = nlmsg_data(h);
		return nlmsg_datalen(h) >= (int)sizeof *head &&
			head->ifa_scope != RT_SCOPE_LINK; /* each interface has such a one of IPv6 */
	}
	return h->nlmsg_type == RTM_NEWLINK && nlmsg_parse(h, sizeof(struct ifinfomsg), a, IFLA_MAX, NULL) >= 0 &&
		is_bridge(a[IFLA_LINKINFO], &data);
}

bool bridges_news(struct bridges *b)
{
	uint8_t bytes[32768] __attribute__((aligned(NLMSG_ALIGNTO)));
	bool any = false;
	for (;;) {
		ssize_t got = recv(b->events, bytes, sizeof bytes, 0);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0 && errno == ENOBUFS) { /* some were lost */
			any = true;
			continue;
		}
		if (got <= 0)
			return any;
		int left = (int)got;
		for (struct nlmsghdr *h = (void *)bytes; nlmsg_ok(h, left) && !any; h = nlmsg_next(h, &left))
			any = concerns_bridge(h);
	}
}

/* ---- bridges */

struct listing {
	struct bridges_one *v;
	size_t n, cap;
};

static bool is_set(const struct nlattr *a)
{
	return a && nla_len(a) >= 1 && nla_get_u8(a) != 0;
}

static int on_link(struct nl_msg *msg, void *arg)
{
	struct listing *l = arg;
	if (!msg) {
		l->n = 0;
		return 0;
	}
	struct nlmsghdr *h = nlmsg_hdr(msg);
	struct nlattr *a[IFLA_MAX + 1], *data, *d[IFLA_BR_MAX + 1] = { NULL };
	if (h->nlmsg_type != RTM_NEWLINK || nlmsg_parse(h, sizeof(struct ifinfomsg), a, IFLA_MAX, NULL) < 0 || !a[IFLA_IFNAME] ||
		!is_bridge(a[IFLA_LINKINFO], &data))
		return 0;
	if (data && nla_parse_nested(d, IFLA_BR_MAX, data, NULL) < 0)
		return 0;
	if (!mem_grow((void **)&l->v, &l->cap, l->n + 1, sizeof *l->v))
		return -ENOMEM;
	const struct ifinfomsg *head = nlmsg_data(h);
	struct bridges_one *one = &l->v[l->n++];
	*one = (struct bridges_one){
		.index = head->ifi_index, .shown4 = is_set(d[IFLA_BR_NF_CALL_IPTABLES]), .shown6 = is_set(d[IFLA_BR_NF_CALL_IP6TABLES])
	};
	nla_strlcpy(one->name, a[IFLA_IFNAME], sizeof one->name);
	return 0;
}

enum err bridges_list(struct bridges *b, bridges_each each, void *arg, struct err_note *note)
{
	struct listing l = { 0 };
	struct netlink_req r;
	netlink_req_link(&r, RTM_GETLINK, NLM_F_DUMP, AF_UNSPEC, 0, -1);
	struct nlattr *info = netlink_nest(&r, IFLA_LINKINFO); /* only bridges, where the kernel can choose */
	netlink_put_str(&r, IFLA_INFO_KIND, "bridge");
	netlink_nest_end(&r, info);
	int result = netlink_ask(b->nl, &r, on_link, &l);
	for (size_t i = 0; i < l.n && result == 0; i++)
		each(&l.v[i], arg);
	mem_free(l.v);
	return result ? netlink_error(b->nl, result, note, "list the bridges") : ERR_OK;
}

enum err bridges_show(struct bridges *b, int index, int family, bool on, struct err_note *note)
{
	struct netlink_req r;
	netlink_req_link(&r, RTM_NEWLINK, 0, AF_UNSPEC, index, -1);
	struct nlattr *info = netlink_nest(&r, IFLA_LINKINFO);
	netlink_put_str(&r, IFLA_INFO_KIND, "bridge");
	struct nlattr *data = netlink_nest(&r, IFLA_INFO_DATA);
	netlink_put_u8(&r, family == 6 ? IFLA_BR_NF_CALL_IP6TABLES : IFLA_BR_NF_CALL_IPTABLES, on);
	netlink_nest_end(&r, data);
	netlink_nest_end(&r, info);
	int result = netlink_do(b->nl, &r);
	return result && result != -ENODEV
		? netlink_error(b->nl, result, note, "have the frames of a bridge shown to ip%stables", family == 6 ? "6" : "")
		: ERR_OK;
}

static const char *switch_path(int family)
{
	return family == 6 ? "/proc/sys/net/bridge/bridge-nf-call-ip6tables" : "/proc/sys/net/bridge/bridge-nf-call-iptables";
}

int bridges_all_shown(int family)
{
	char c = 0;
	int fd = open(switch_path(family), O_RDONLY | O_CLOEXEC);
	ssize_t got = fd >= 0 ? read(fd, &c, 1) : -1;
	if (fd >= 0)
		close(fd);
	return got == 1 ? c != '0' : -1;
}

enum err bridges_show_all(int family, bool on, struct err_note *note)
{
	int fd = open(switch_path(family), O_WRONLY | O_CLOEXEC);
	ssize_t put = fd >= 0 ? write(fd, on ? "1" : "0", 1) : -1;
	int failed = errno;
	if (fd >= 0)
		close(fd);
	return put == 1 ? ERR_OK
					: err_note(note, netlink_err_of(failed), "cannot write %s: %s", switch_path(family), strerror(failed));
}

/* ---- where answers go */

struct subnets {
	int index;
	struct prefix v[32];
	size_t n;
};

static int on_address(struct nl_msg *msg, void *arg)
{
	struct subnets *s = arg;
	if (!msg) {
		s->n = 0;
		return 0;
	}
	struct nlmsghdr *h = nlmsg_hdr(msg);
	struct nlattr *a[IFA_MAX + 1];
	if (h->nlmsg_type != RTM_NEWADDR || nlmsg_parse(h, sizeof(struct ifaddrmsg), a, IFA_MAX, NULL) < 0)
		return 0;
	const struct ifaddrmsg *head = nlmsg_data(h);
	struct prefix p = { netlink_attr_ip(a[IFA_LOCAL]), head->ifa_prefixlen };
	if ((int)head->ifa_index == s->index && p.addr.family == 4 && p.len > 0 && p.len <= 32 && s->n < sizeof s->v / sizeof *s->v)
		s->v[s->n++] = p;
	return 0;
}

enum err bridges_subnets(struct bridges *b, int index, bridges_subnet each, void *arg, struct err_note *note)
{
	const struct ifaddrmsg head = { .ifa_family = AF_INET, .ifa_index = (unsigned)index };
	struct subnets s = { .index = index };
	struct netlink_req r;
	netlink_req(&r, RTM_GETADDR, NLM_F_DUMP, &head, sizeof head);
	int result = netlink_ask(b->nl, &r, on_address, &s);
	for (size_t i = 0; i < s.n && result == 0; i++)
		each(s.v[i], arg);
	return result ? netlink_error(b->nl, result, note, "read the addresses of a bridge") : ERR_OK;
}

enum err bridges_answer_by(struct bridges *b, int index, struct prefix subnet, struct err_note *note)
{
	const struct rtmsg route = { .rtm_family = AF_INET,
		.rtm_dst_len = subnet.len,
		.rtm_protocol = RTPROT_STATIC,
		.rtm_scope = RT_SCOPE_LINK,
		.rtm_type = RTN_UNICAST };
	const uint32_t mask = UINT32_MAX << (32 - subnet.len);
	struct netlink_req r;
	netlink_req(&r, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, &route, sizeof route);
	netlink_put_u32(&r, RTA_TABLE, LINK_RULE_TABLE);
	netlink_put_ip(&r, RTA_DST, ip_v4(ip_to_v4(subnet.addr) & mask));
	netlink_put_u32(&r, RTA_OIF, (uint32_t)index);
	int result = netlink_do(b->nl, &r);
	return result && result != -ENETDOWN && result != -ENODEV /* then nobody asks */
		? netlink_error(b->nl, result, note, "have answers leave by a bridge of Docker's")
		: ERR_OK;
}

/* ---- notes */

enum err bridges_note(struct bridges *b, const char *ifname, const char *text, struct err_note *note)
{
	struct netlink_link l;
	struct netlink_req r;
	int result = netlink_link_named(b->nl, ifname, &l);
	if (result == 0 && strcmp(l.alias, text) != 0) {
		netlink_req_link(&r, RTM_SETLINK, 0, AF_UNSPEC, l.index, -1);
		netlink_put_str(&r, IFLA_IFALIAS, text);
		result = netlink_do(b->nl, &r);
	}
	return result ? netlink_error(b->nl, result, note, "leave a note on %s", ifname) : ERR_OK;
}

bool bridges_noted(struct bridges *b, const char *ifname, const char *text)
{
	struct netlink_link l;
	return netlink_link_named(b->nl, ifname, &l) == 0 && strcmp(l.alias, text) == 0;
}

#define OFF_NOTE "weft: bridge-nf-call-iptables is off, and on for each other bridge: "

const char *bridges_hidden_text(unsigned hidden)
{
	static const char *const texts[] = { "", OFF_NOTE "IPv4", OFF_NOTE "IPv6", OFF_NOTE "IPv4 and IPv6" };

	assert(hidden < sizeof texts / sizeof *texts);
	return texts[hidden];
}

unsigned bridges_hidden(struct bridges *b, const char *ifname)
{
	for (unsigned hidden = 3; hidden > 0; hidden--)
		if (bridges_noted(b, ifname, bridges_hidden_text(hidden)))
			return hidden;
	return 0;
}

enum err bridges_show_again(unsigned hidden, struct err_note *note)
{
	static const int families[] = { 4, 6 };
	enum err err = ERR_OK;

	for (size_t i = 0; i < sizeof families / sizeof *families; i++)
		if (hidden & 1u << i && bridges_all_shown(families[i]) == 0) {
			enum err e = bridges_show_all(families[i], true, note);
			err = e != ERR_OK ? e : err;
		}
	return err;
}
