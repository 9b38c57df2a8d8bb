#include "router/dataplane/netlink.h"

#include <errno.h>
#include <linux/if_bridge.h>
#include <linux/if_link.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>
#include <netlink/attr.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <netlink/socket.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/mem.h"

#define OPER_UP   6 /* IF_OPER_UP of linux/if.h, which cannot be had together with net/if.h */
#define TRIES_MAX 8 /* readings of a table that keeps changing */

struct netlink {
	struct nl_sock *sock;
	struct nl_cb *cb;
	char words[96]; /* the kernel's own explanation of the last refusal, or empty */
	/* the request under way */
	uint32_t seq;
	bool done, interrupted;
	int result;
	netlink_each fn;
	void *arg;
};

/* The kernel's explanation (extended acknowledgement): attributes behind the error code. */
static void take_words(struct netlink *nl, struct nlmsghdr *hdr)
{
	const size_t head = sizeof(struct nlmsgerr);
	if (!(hdr->nlmsg_flags & NLM_F_ACK_TLVS) || !(hdr->nlmsg_flags & NLM_F_CAPPED) || nlmsg_datalen(hdr) <= (int)head)
		return;
	const struct nlattr *text = nlmsg_find_attr(hdr, (int)head, NLMSGERR_ATTR_MSG);
	if (text)
		nla_strlcpy(nl->words, text, sizeof nl->words);
}

static int on_message(struct nl_msg *msg, void *arg)
{
	struct netlink *nl = arg;
	struct nlmsghdr *hdr = nlmsg_hdr(msg);
	if (hdr->nlmsg_seq != nl->seq)
		return NL_SKIP; /* the answer to a request that was given up */
	if (hdr->nlmsg_flags & NLM_F_DUMP_INTR)
		nl->interrupted = true;
	if (hdr->nlmsg_type == NLMSG_ERROR) {
		nl->done = true;
		if (nlmsg_datalen(hdr) < (int)sizeof(struct nlmsgerr)) {
			nl->result = -EBADMSG;
			return NL_SKIP;
		}
		const struct nlmsgerr *e = nlmsg_data(hdr);
		if (e->error && !nl->result)
			nl->result = e->error;
		take_words(nl, hdr);
	} else if (hdr->nlmsg_type == NLMSG_DONE) {
		nl->done = true;
	} else if (hdr->nlmsg_type >= NLMSG_MIN_TYPE && nl->fn && !nl->result) {
		nl->result = nl->fn(msg, nl->arg);
	}
	return NL_SKIP;
}

enum err netlink_open(struct netlink **out, struct err_note *note)
{
	struct netlink *nl = mem_zalloc(1, sizeof *nl);
	if (!nl)
		return err_note(note, ERR_NOMEM, "out of memory");
	nl->sock = nl_socket_alloc();
	nl->cb = nl_cb_alloc(NL_CB_DEFAULT);
	if (!nl->sock || !nl->cb) {
		netlink_close(nl);
		return err_note(note, ERR_NOMEM, "out of memory");
	}
	if (nl_connect(nl->sock, NETLINK_ROUTE) < 0) {
		int error = errno;
		netlink_close(nl);
		return err_note(note, netlink_err_of(error), "cannot open a routing socket: %s", strerror(error));
	}
	const int on = 1;
	const struct timeval limit = { .tv_sec = 5 };
	int fd = nl_socket_get_fd(nl->sock);
	/* Old kernels lack the first two; then refusals come without the kernel's words. */
	(void)setsockopt(fd, SOL_NETLINK, NETLINK_CAP_ACK, &on, sizeof on);
	(void)setsockopt(fd, SOL_NETLINK, NETLINK_EXT_ACK, &on, sizeof on);
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
	nl_cb_set(nl->cb, NL_CB_MSG_IN, NL_CB_CUSTOM, on_message, nl);
	*out = nl;
	return ERR_OK;
}

void netlink_close(struct netlink *nl)
{
	if (!nl)
		return;
	nl_cb_put(nl->cb);
	nl_socket_free(nl->sock);
	mem_free(nl);
}

void netlink_req(struct netlink_req *r, uint16_t type, int flags, const void *head, size_t head_len)
{
	r->msg = nlmsg_alloc_simple(type, flags);
	r->failed = !r->msg || nlmsg_append(r->msg, (void *)(uintptr_t)head, head_len, NLMSG_ALIGNTO) < 0;
}

void netlink_put(struct netlink_req *r, int attr, const void *data, size_t n)
{
	if (!r->failed && nla_put(r->msg, attr, (int)n, data) < 0)
		r->failed = true;
}

void netlink_put_u8(struct netlink_req *r, int attr, uint8_t v)
{
	netlink_put(r, attr, &v, sizeof v);
}

void netlink_put_u16(struct netlink_req *r, int attr, uint16_t v)
{
	netlink_put(r, attr, &v, sizeof v);
}

void netlink_put_u32(struct netlink_req *r, int attr, uint32_t v)
{
	netlink_put(r, attr, &v, sizeof v);
}

void netlink_put_str(struct netlink_req *r, int attr, const char *s)
{
	netlink_put(r, attr, s, strlen(s) + 1);
}

void netlink_put_ip(struct netlink_req *r, int attr, struct ip a)
{
	netlink_put(r, attr, a.b, ip_bits(a) / 8);
}

struct nlattr *netlink_nest(struct netlink_req *r, int attr)
{
	struct nlattr *nest = r->failed ? NULL : nla_nest_start(r->msg, attr);
	if (!nest)
		r->failed = true;
	return nest;
}

void netlink_nest_end(struct netlink_req *r, struct nlattr *nest)
{
	if (!r->failed && nla_nest_end(r->msg, nest) < 0)
		r->failed = true;
}

void netlink_req_link(struct netlink_req *r, uint16_t type, int flags, int family, int index, int up)
{
	const struct ifinfomsg head = {
		.ifi_family = (unsigned char)family,
		.ifi_index = index,
		.ifi_flags = up > 0 ? IFF_UP : 0,
		.ifi_change = up >= 0 ? IFF_UP : 0,
	};
	netlink_req(r, type, flags, &head, sizeof head);
}

/* One sending of r and everything that is answered to it. */
static int exchange(struct netlink *nl, struct netlink_req *r, netlink_each fn, void *arg)
{
	nl->words[0] = '\0';
	nl->done = nl->interrupted = false;
	nl->result = 0;
	nl->fn = fn;
	nl->arg = arg;
	nl->seq = nl_socket_use_seq(nl->sock);
	nlmsg_hdr(r->msg)->nlmsg_seq = nl->seq;
	if (nl_send_auto(nl->sock, r->msg) < 0)
		return -errno;
	while (!nl->done) {
		int n = nl_recvmsgs(nl->sock, nl->cb);
		if (n == -NLE_NOMEM)
			return -ENOBUFS;
		if (n < 0 && n != -NLE_INTR)
			return n == -NLE_AGAIN ? -ETIMEDOUT : -EIO;
	}
	return nl->result;
}

int netlink_do(struct netlink *nl, struct netlink_req *r)
{
	int result = r->failed ? -ENOMEM : exchange(nl, r, NULL, NULL);
	if (r->msg)
		nlmsg_free(r->msg);
	return result;
}

int netlink_ask(struct netlink *nl, struct netlink_req *r, netlink_each fn, void *arg)
{
	int result = -ENOMEM;
	for (int i = 0; i < TRIES_MAX && !r->failed; i++) {
		result = fn(NULL, arg);
		if (result == 0)
			result = exchange(nl, r, fn, arg);
		if (result || !nl->interrupted)
			break;
		result = -EAGAIN;
	}
	if (r->msg)
		nlmsg_free(r->msg);
	return result;
}

enum err netlink_err_of(int error)
{
	switch (error < 0 ? -error : error) {
	case 0: return ERR_OK;
	case EPERM:
	case EACCES: return ERR_PERMISSION;
	case EOPNOTSUPP:
	case EAFNOSUPPORT:
	case EPROTONOSUPPORT: return ERR_UNSUPPORTED;
	case ENODEV:
	case ENOENT:
	case ENXIO:
	case ESRCH: return ERR_NOT_FOUND;
	case EEXIST: return ERR_EXISTS;
	case EBUSY:
	case EADDRINUSE: return ERR_BUSY;
	case ENOMEM:
	case ENOBUFS: return ERR_NOMEM;
	case ETIMEDOUT: return ERR_TIMEOUT;
	default: return ERR_SYSTEM;
	}
}

enum err netlink_error(const struct netlink *nl, int result, struct err_note *note, const char *fmt, ...)
{
	char doing[128];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(doing, sizeof doing, fmt, ap);
	va_end(ap);
	enum err e = netlink_err_of(result);
	const char *hint = e == ERR_PERMISSION ? "; weftd needs CAP_NET_ADMIN: run it as root or from its systemd unit" : "";
	return err_note(note, e, "cannot %s: %s%s%s%s%s", doing, strerror(-result), nl->words[0] ? " (" : "", nl->words,
		nl->words[0] ? ")" : "", hint);
}

struct ip netlink_attr_ip(const struct nlattr *a)
{
	struct ip ip = { 0 };
	int n = a ? nla_len(a) : 0;
	if (n == 4 || n == 16) {
		ip.family = n == 4 ? 4 : 6;
		nla_memcpy(ip.b, a, n);
	}
	return ip;
}

static uint32_t attr_u32(const struct nlattr *a)
{
	return a && nla_len(a) >= 4 ? nla_get_u32(a) : 0;
}

static uint8_t attr_u8(const struct nlattr *a)
{
	return a && nla_len(a) >= 1 ? nla_get_u8(a) : 0;
}

static void attr_text(char *dst, size_t size, const struct nlattr *a)
{
	dst[0] = '\0';
	if (a)
		nla_strlcpy(dst, a, size);
}

static void parse_vxlan(struct netlink_link *out, struct nlattr *data)
{
	struct nlattr *a[IFLA_VXLAN_MAX + 1];
	if (nla_parse_nested(a, IFLA_VXLAN_MAX, data, NULL) < 0)
		return;
	out->vxlan_vni = attr_u32(a[IFLA_VXLAN_ID]);
	if (a[IFLA_VXLAN_PORT] && nla_len(a[IFLA_VXLAN_PORT]) == 2) {
		uint8_t p[2];
		nla_memcpy(p, a[IFLA_VXLAN_PORT], 2);
		out->vxlan_port = (uint16_t)(p[0] << 8 | p[1]);
	}
	out->vxlan_learning = attr_u8(a[IFLA_VXLAN_LEARNING]);
	out->vxlan_df = a[IFLA_VXLAN_DF] ? attr_u8(a[IFLA_VXLAN_DF]) : -1;
	out->vxlan_local = netlink_attr_ip(a[IFLA_VXLAN_LOCAL] ? a[IFLA_VXLAN_LOCAL] : a[IFLA_VXLAN_LOCAL6]);
}

static void parse_linkinfo(struct netlink_link *out, struct nlattr *info)
{
	struct nlattr *a[IFLA_INFO_MAX + 1];
	if (!info || nla_parse_nested(a, IFLA_INFO_MAX, info, NULL) < 0)
		return;
	attr_text(out->kind, sizeof out->kind, a[IFLA_INFO_KIND]);
	if (strcmp(out->kind, "vxlan") == 0 && a[IFLA_INFO_DATA])
		parse_vxlan(out, a[IFLA_INFO_DATA]);
	char slave[16];
	attr_text(slave, sizeof slave, a[IFLA_INFO_SLAVE_KIND]);
	if (strcmp(slave, "bridge") == 0 && a[IFLA_INFO_SLAVE_DATA]) {
		struct nlattr *p[IFLA_BRPORT_MAX + 1];
		if (nla_parse_nested(p, IFLA_BRPORT_MAX, a[IFLA_INFO_SLAVE_DATA], NULL) >= 0) {
			out->port_state = attr_u8(p[IFLA_BRPORT_STATE]);
			out->suppress = attr_u8(p[IFLA_BRPORT_NEIGH_SUPPRESS]) != 0;
		}
	}
}

int netlink_link_parse(struct nl_msg *msg, struct netlink_link *out)
{
	struct nlmsghdr *hdr = nlmsg_hdr(msg);
	struct nlattr *a[IFLA_MAX + 1];
	*out = (struct netlink_link){ 0 };
	if (hdr->nlmsg_type != RTM_NEWLINK || nlmsg_parse(hdr, sizeof(struct ifinfomsg), a, IFLA_MAX, NULL) < 0)
		return -EINVAL;
	const struct ifinfomsg *head = nlmsg_data(hdr);
	out->index = head->ifi_index;
	out->up = head->ifi_flags & IFF_UP;
	out->running = attr_u8(a[IFLA_OPERSTATE]) == OPER_UP;
	out->master = (int)attr_u32(a[IFLA_MASTER]);
	out->peer = (int)attr_u32(a[IFLA_LINK]);
	out->mtu = attr_u32(a[IFLA_MTU]);
	if (a[IFLA_ADDRESS] && nla_len(a[IFLA_ADDRESS]) == 6)
		nla_memcpy(out->mac.b, a[IFLA_ADDRESS], 6);
	attr_text(out->name, sizeof out->name, a[IFLA_IFNAME]);
	attr_text(out->alias, sizeof out->alias, a[IFLA_IFALIAS]);
	parse_linkinfo(out, a[IFLA_LINKINFO]);
	return 0;
}

static int take_link(struct nl_msg *msg, void *arg)
{
	return msg ? netlink_link_parse(msg, arg) : 0;
}

int netlink_link_named(struct netlink *nl, const char *name, struct netlink_link *out)
{
	struct netlink_req r;
	netlink_req_link(&r, RTM_GETLINK, 0, AF_UNSPEC, 0, -1);
	netlink_put_str(&r, IFLA_IFNAME, name);
	return netlink_ask(nl, &r, take_link, out);
}

int netlink_link_at(struct netlink *nl, int index, struct netlink_link *out)
{
	struct netlink_req r;
	netlink_req_link(&r, RTM_GETLINK, 0, AF_UNSPEC, index, -1);
	return netlink_ask(nl, &r, take_link, out);
}

int netlink_link_del(struct netlink *nl, int index)
{
	struct netlink_req r;
	netlink_req_link(&r, RTM_DELLINK, 0, AF_UNSPEC, index, -1);
	return netlink_do(nl, &r);
}

int netlink_veth(struct netlink *nl, const struct netlink_veth *want)
{
	const struct ifinfomsg head = { 0 };
	struct netlink_req r;
	netlink_req_link(&r, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, AF_UNSPEC, 0, -1);
	netlink_put_str(&r, IFLA_IFNAME, want->name);
	netlink_put_u32(&r, IFLA_MTU, want->mtu);
	struct nlattr *info = netlink_nest(&r, IFLA_LINKINFO);
	netlink_put_str(&r, IFLA_INFO_KIND, "veth");
	struct nlattr *data = netlink_nest(&r, IFLA_INFO_DATA), *peer = netlink_nest(&r, VETH_INFO_PEER);
	if (!r.failed && nlmsg_append(r.msg, (void *)(uintptr_t)&head, sizeof head, NLMSG_ALIGNTO) < 0)
		r.failed = true;
	netlink_put_str(&r, IFLA_IFNAME, want->peer);
	if (want->peer_mac)
		netlink_put(&r, IFLA_ADDRESS, want->peer_mac->b, 6);
	netlink_put_u32(&r, IFLA_MTU, want->peer_mtu);
	if (want->peer_ns >= 0)
		netlink_put_u32(&r, IFLA_NET_NS_FD, (uint32_t)want->peer_ns);
	netlink_nest_end(&r, peer);
	netlink_nest_end(&r, data);
	netlink_nest_end(&r, info);
	return netlink_do(nl, &r);
}
