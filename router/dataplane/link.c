#include "router/dataplane/link_internal.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fib_rules.h>
#include <linux/if_bridge.h>
#include <linux/if_link.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <netlink/attr.h>
#include <netlink/msg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "tunnel/fwd.h"

/* The members of the kernel's enum are no macros, so name what might be new here: IN6_ADDR_GEN_MODE_NONE, "makes no link-local address". */
#define ADDR_GEN_NONE 1

enum err kernel_open(const struct kernel_names *names, struct kernel **out, struct err_note *note)
{
	static const char *const usual[DEVICES] = { "weft", "weft-vx", "weft-tap" };
	static const char *const numbered[DEVICES] = { "weft-", "weft-vx", "weft-tap" };
	const char *given[DEVICES] = { names ? names->bridge : NULL, names ? names->vxlan : NULL, names ? names->tap : NULL };
	struct kernel *k = mem_zalloc(1, sizeof *k);
	if (!k)
		return err_note(note, ERR_NOMEM, "out of memory");
	k->network = names ? names->network : 0;
	enum err e = ERR_OK;
	if (k->network > LINK_NETWORK_MAX)
		e = err_note(note, ERR_RANGE, "there is no network %u: the last is %u", k->network, LINK_NETWORK_MAX);
	for (int i = 0; i < DEVICES && e == ERR_OK; i++) {
		if (given[i] && strlen(given[i]) > NETLINK_NAME_MAX)
			e = err_note(note, ERR_USAGE, "interface name '%s' is longer than %d characters", given[i], NETLINK_NAME_MAX);
		else if (given[i] || k->network == 0)
			(void)snprintf(k->name[i], sizeof(k->name[i]), "%s", given[i] ? given[i] : usual[i]);
		else
			(void)snprintf(k->name[i], sizeof(k->name[i]), "%s%u", numbered[i], k->network);
	}
	if (e == ERR_OK)
		e = netlink_open(&k->nl, note);
	if (e != ERR_OK) {
		kernel_close(k);
		return e;
	}
	*out = k;
	return ERR_OK;
}

void kernel_close(struct kernel *k)
{
	if (!k)
		return;
	netlink_close(k->nl);
	mem_free(k);
}

struct netlink *kernel_netlink(struct kernel *k)
{
	return k->nl;
}

const char *kernel_bridge_name(const struct kernel *k)
{
	return k->name[BRIDGE];
}

const char *kernel_tap_name(const struct kernel *k)
{
	return k->name[TAP];
}

int link_device_look(struct kernel *k, enum device d, struct netlink_link *out)
{
	int r = netlink_link_named(k->nl, k->name[d], out);
	k->index[d] = r ? 0 : out->index;
	return r;
}

int link_device_index(struct kernel *k, enum device d, bool fresh, int *index)
{
	struct netlink_link l;
	int r = k->index[d] && !fresh ? 0 : link_device_look(k, d, &l);
	*index = k->index[d];
	return r;
}

enum err kernel_bridge_index(struct kernel *k, int *index, struct err_note *note)
{
	int r = link_device_index(k, BRIDGE, true, index);
	return r ? netlink_error(k->nl, r, note, "find the bridge %s", k->name[BRIDGE]) : ERR_OK;
}

enum err kernel_vxlan_index(struct kernel *k, int *index, struct err_note *note)
{
	int r = link_device_index(k, VXLAN, true, index);
	return r ? netlink_error(k->nl, r, note, "find the VXLAN device %s", k->name[VXLAN]) : ERR_OK;
}

struct mac link_peer_mac(uint64_t peer)
{
	struct mac m;
	for (int i = 0; i < 6; i++)
		m.b[i] = (uint8_t)(peer >> (40 - 8 * i));
	m.b[0] = (uint8_t)((m.b[0] & 0xfc) | 0x02);
	return m;
}

enum err link_sysctl(int family, const char *dev, const char *key, const char *value, struct err_note *note)
{
	char path[128], had[32];
	snprintf(path, sizeof path, "/proc/sys/net/ipv%d/conf/%s/%s", family, dev, key);
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	int error = errno;
	if (fd >= 0) {
		error = write(fd, value, strlen(value)) == (ssize_t)strlen(value) ? 0 : errno;
		close(fd);
	}
	if (error == 0 || error == ENOENT)
		return ERR_OK;
	/* /proc/sys may be read-only; that is no matter when the value is right. */
	fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, had, sizeof had);
	if (fd >= 0)
		close(fd);
	if (n == (ssize_t)strlen(value) + 1 && memcmp(had, value, strlen(value)) == 0)
		return ERR_OK;
	return err_note(note, netlink_err_of(error), "cannot write %s to %s: %s; make /proc/sys/net writable or set it beforehand",
		value, path, strerror(error));
}

/* Devices of weft on the host carry no IPv6 address of the kernel's making: nothing of the host answers or asks on the network by itself. */
static int addr_gen_none(struct kernel *k, int index)
{
	struct netlink_req r;
	netlink_req_link(&r, RTM_SETLINK, 0, AF_UNSPEC, index, -1);
	struct nlattr *spec = netlink_nest(&r, IFLA_AF_SPEC), *v6 = netlink_nest(&r, AF_INET6);
	netlink_put_u8(&r, IFLA_INET6_ADDR_GEN_MODE, ADDR_GEN_NONE);
	netlink_nest_end(&r, v6);
	netlink_nest_end(&r, spec);
	int result = netlink_do(k->nl, &r);
	return result == -EAFNOSUPPORT || result == -EOPNOTSUPP ? 0 : result; /* no IPv6: nothing to keep quiet */
}

static enum err check_mtu(unsigned mtu, struct err_note *note)
{
	if (mtu < LINK_MTU_MIN || mtu > LINK_MTU_MAX)
		return err_note(note, ERR_RANGE, "MTU %u is not between %u and %u", mtu, LINK_MTU_MIN, LINK_MTU_MAX);
	return ERR_OK;
}

static void put_bridge_info(struct netlink_req *r)
{
	struct nlattr *info = netlink_nest(r, IFLA_LINKINFO);
	netlink_put_str(r, IFLA_INFO_KIND, "bridge");
	struct nlattr *data = netlink_nest(r, IFLA_INFO_DATA);
	netlink_put_u32(r, IFLA_BR_STP_STATE, 0);
	netlink_put_u8(r, IFLA_BR_MCAST_SNOOPING, 0);
	netlink_nest_end(r, data);
	netlink_nest_end(r, info);
}

static enum err check_kind(struct kernel *k, enum device d, const struct netlink_link *l, const char *kind, struct err_note *note)
{
	if (strcmp(l->kind, kind) == 0)
		return ERR_OK;
	return err_note(note, ERR_CONFLICT, "the interface %s is there but is no %s device; remove it: ip link del %s", k->name[d],
		kind, k->name[d]);
}

enum err link_bridge(struct kernel *k, struct mac mac, unsigned mtu, struct err_note *note)
{
	enum err e = check_mtu(mtu, note);
	if (e != ERR_OK)
		return e;
	struct netlink_link l;
	struct netlink_req r;
	int result = link_device_look(k, BRIDGE, &l);
	if (result == -ENODEV) {
		netlink_req_link(&r, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, AF_UNSPEC, 0, -1);
		netlink_put_str(&r, IFLA_IFNAME, k->name[BRIDGE]);
		put_bridge_info(&r);
		result = netlink_do(k->nl, &r);
		if (result == -EOPNOTSUPP)
			return err_note(note, ERR_UNSUPPORTED,
				"cannot create the bridge %s: the kernel has no bridge module; load it: modprobe bridge", k->name[BRIDGE]);
		if (result == 0)
			result = link_device_look(k, BRIDGE, &l);
	}
	if (result == 0 && (e = check_kind(k, BRIDGE, &l, "bridge", note)) != ERR_OK)
		return e;
	if (result == 0 && (e = link_sysctl(6, k->name[BRIDGE], "accept_ra", "0", note)) != ERR_OK)
		return e;
	if (result == 0)
		result = addr_gen_none(k, l.index);
	if (result == 0) {
		netlink_req_link(&r, RTM_NEWLINK, 0, AF_UNSPEC, l.index, 1);
		if (!mac_eq(l.mac, mac)) /* even the same one set again makes the kernel forget all neighbours */
			netlink_put(&r, IFLA_ADDRESS, mac.b, 6);
		netlink_put_u32(&r, IFLA_MTU, mtu);
		put_bridge_info(&r);
		result = netlink_do(k->nl, &r);
	}
	k->set_up[BRIDGE] = result ? 0 : l.index;
	return result ? netlink_error(k->nl, result, note, "set up the bridge %s", k->name[BRIDGE]) : ERR_OK;
}

int link_dns_rule(struct kernel *k, uint16_t type, int flags)
{
	const struct fib_rule_hdr head = { .family = AF_INET, .src_len = 32, .action = FR_ACT_TO_TBL, .table = RT_TABLE_UNSPEC };
	struct netlink_req r;
	netlink_req(&r, type, flags, &head, sizeof head);
	netlink_put_ip(&r, FRA_SRC, ip_v4(WEFT_DNS_V4));
	netlink_put_u32(&r, FRA_TABLE, LINK_RULE_TABLE);
	netlink_put_u32(&r, FRA_PRIORITY, LINK_RULE_TABLE);
	return netlink_do(k->nl, &r);
}

enum err link_dns_address(struct kernel *k, struct err_note *note)
{
	int index, result = link_device_index(k, BRIDGE, true, &index);
	if (result)
		return netlink_error(k->nl, result, note, "find the bridge %s", k->name[BRIDGE]);
	struct netlink_req r;
	const struct ip dns = ip_v4(WEFT_DNS_V4);
	const struct ifaddrmsg addr = {
		.ifa_family = AF_INET, .ifa_prefixlen = 32, .ifa_scope = RT_SCOPE_LINK, .ifa_index = (unsigned)index
	};
	netlink_req(&r, RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, &addr, sizeof addr);
	netlink_put_ip(&r, IFA_LOCAL, dns);
	netlink_put_ip(&r, IFA_ADDRESS, dns);
	result = netlink_do(k->nl, &r);
	if (result == 0 || result == -EEXIST)
		result = link_dns_rule(k, RTM_NEWRULE, NLM_F_CREATE | NLM_F_EXCL);
	if (result == 0 || result == -EEXIST) {
		const struct rtmsg route = {
			.rtm_family = AF_INET, .rtm_protocol = RTPROT_STATIC, .rtm_scope = RT_SCOPE_LINK, .rtm_type = RTN_UNICAST
		};
		netlink_req(&r, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, &route, sizeof route);
		netlink_put_u32(&r, RTA_TABLE, LINK_RULE_TABLE);
		netlink_put_u32(&r, RTA_OIF, (uint32_t)index);
		netlink_put_u32(&r, RTA_PRIORITY, k->network);
		result = netlink_do(k->nl, &r);
	}
	/* Seen from here the way back to a container of another network than the first leads elsewhere, which a strict check would not accept. */
	if (result == 0 && k->network != 0) {
		enum err e = link_sysctl(4, k->name[BRIDGE], "rp_filter", "2", note);
		if (e != ERR_OK)
			return e;
	}
	char text[IP_TEXT];
	return result ? netlink_error(k->nl, result, note, "give %s to the bridge %s", ip_format(dns, text), k->name[BRIDGE])
				  : ERR_OK;
}

/* The bridge answers for the neighbours it knows behind the port. A kernel that has no such flag refuses it or takes no notice, and all else
 * works without, so what counts is whether it is set afterwards. */
static int suppress(struct kernel *k, enum device d, int index)
{
	struct netlink_link l;
	struct netlink_req r;
	netlink_req_link(&r, RTM_SETLINK, 0, AF_BRIDGE, index, -1);
	struct nlattr *port = netlink_nest(&r, IFLA_PROTINFO | NLA_F_NESTED);
	netlink_put_u8(&r, IFLA_BRPORT_NEIGH_SUPPRESS, 1);
	netlink_nest_end(&r, port);
	int result = netlink_do(k->nl, &r);
	if (result != 0 && result != -EINVAL && result != -EOPNOTSUPP)
		return result;
	result = netlink_link_at(k->nl, index, &l);
	k->mute[d] = result == 0 && !l.suppress;
	return result;
}

/* Both uplinks are isolated and learn nothing; what is flooded goes to one of them only. Sets master, MTU and up as well. */
static int uplink_port(struct kernel *k, enum device d, int index, unsigned mtu, bool flood)
{
	int bridge, result = link_device_index(k, BRIDGE, true, &bridge);
	struct netlink_req r;
	if (result == 0)
		result = addr_gen_none(k, index);
	if (result == 0) {
		netlink_req_link(&r, RTM_NEWLINK, 0, AF_UNSPEC, index, -1);
		netlink_put_u32(&r, IFLA_MASTER, (uint32_t)bridge);
		netlink_put_u32(&r, IFLA_MTU, mtu);
		result = netlink_do(k->nl, &r);
	}
	if (result == 0) {
		/* The flags before the port carries anything. */
		netlink_req_link(&r, RTM_SETLINK, 0, AF_BRIDGE, index, -1);
		struct nlattr *port = netlink_nest(&r, IFLA_PROTINFO | NLA_F_NESTED);
		netlink_put_u8(&r, IFLA_BRPORT_LEARNING, 0);
		netlink_put_u8(&r, IFLA_BRPORT_UNICAST_FLOOD, flood);
		netlink_put_u8(&r, IFLA_BRPORT_MCAST_FLOOD, flood);
		netlink_put_u8(&r, IFLA_BRPORT_BCAST_FLOOD, flood);
		netlink_put_u8(&r, IFLA_BRPORT_ISOLATED, 1);
		netlink_nest_end(&r, port);
		result = netlink_do(k->nl, &r);
	}
	if (result == 0)
		result = suppress(k, d, index);
	if (result == 0) {
		netlink_req_link(&r, RTM_NEWLINK, 0, AF_UNSPEC, index, 1);
		result = netlink_do(k->nl, &r);
	}
	k->set_up[d] = result ? 0 : index;
	return result;
}

static int vxlan_create(struct kernel *k, const struct link_vxlan *want, bool df)
{
	struct netlink_req r;
	netlink_req_link(&r, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, AF_UNSPEC, 0, -1);
	netlink_put_str(&r, IFLA_IFNAME, k->name[VXLAN]);
	struct nlattr *info = netlink_nest(&r, IFLA_LINKINFO);
	netlink_put_str(&r, IFLA_INFO_KIND, "vxlan");
	struct nlattr *data = netlink_nest(&r, IFLA_INFO_DATA);
	netlink_put_u32(&r, IFLA_VXLAN_ID, want->vni);
	netlink_put_u16(&r, IFLA_VXLAN_PORT, htons(want->port));
	netlink_put_u8(&r, IFLA_VXLAN_LEARNING, 0);
	netlink_put_u8(&r, IFLA_VXLAN_UDP_CSUM, 0);
	if (df)
		netlink_put_u8(&r, IFLA_VXLAN_DF, VXLAN_DF_SET); /* what does not fit is to be lost: probes find it out */
	if (want->local.family)
		netlink_put_ip(&r, want->local.family == 6 ? IFLA_VXLAN_LOCAL6 : IFLA_VXLAN_LOCAL, want->local);
	netlink_nest_end(&r, data);
	netlink_nest_end(&r, info);
	return netlink_do(k->nl, &r);
}

static bool vxlan_is(const struct netlink_link *l, const struct link_vxlan *want)
{
	static const uint8_t zero[16];
	const struct ip *have = &l->vxlan_local;
	if (l->vxlan_vni != want->vni || l->vxlan_port != want->port || l->vxlan_learning)
		return false;
	if (l->vxlan_df >= 0 && l->vxlan_df != VXLAN_DF_SET)
		return false;
	/* An IPv6 device without a local address reports none or "::". */
	if (memcmp(want->local.b, zero, 16) == 0)
		return memcmp(have->b, zero, 16) == 0 && (have->family == 6) == (want->local.family == 6);
	return ip_eq(*have, want->local);
}

static enum err vxlan_error(struct kernel *k, int result, const struct link_vxlan *want, struct err_note *note)
{
	if (result == -EOPNOTSUPP)
		return err_note(note, ERR_UNSUPPORTED,
			"cannot create VXLAN device %s: the kernel has no vxlan module; load it (modprobe vxlan) or start "
			"with --no-fastdp",
			k->name[VXLAN]);
	if (result == -EADDRINUSE)
		return err_note(note, ERR_BUSY,
			"cannot set up VXLAN device %s: UDP port %u is in use by another program; stop it or start with "
			"--no-fastdp",
			k->name[VXLAN], want->port);
	if (result == -EEXIST)
		return err_note(note, ERR_BUSY,
			"cannot create VXLAN device %s: another VXLAN device has network %u on UDP port %u; remove it or start "
			"with --no-fastdp",
			k->name[VXLAN], want->vni, want->port);
	return netlink_error(k->nl, result, note, "set up VXLAN device %s", k->name[VXLAN]);
}

enum err link_vxlan(struct kernel *k, const struct link_vxlan *want, unsigned mtu, struct err_note *note)
{
	enum err e = check_mtu(mtu, note);
	if (e != ERR_OK)
		return e;
	struct netlink_link l;
	int result = link_device_look(k, VXLAN, &l);
	if (result == 0) {
		if ((e = check_kind(k, VXLAN, &l, "vxlan", note)) != ERR_OK)
			return e;
		if (!vxlan_is(&l, want)) {
			result = netlink_link_del(k->nl, l.index);
			if (result == 0)
				result = -ENODEV;
		}
	}
	if (result == -ENODEV) {
		result = vxlan_create(k, want, true);
		if (result == -EINVAL || result == -ERANGE) /* a kernel that does not know DF */
			result = vxlan_create(k, want, false);
		if (result == 0)
			result = link_device_look(k, VXLAN, &l);
	}
	if (result == 0)
		result = uplink_port(k, VXLAN, l.index, mtu, false);
	return result ? vxlan_error(k, result, want, note) : ERR_OK;
}

enum err link_vxlan_remove(struct kernel *k, struct err_note *note)
{
	struct netlink_link l;
	int result = link_device_look(k, VXLAN, &l);
	if (result == 0)
		result = netlink_link_del(k->nl, l.index);
	k->index[VXLAN] = k->set_up[VXLAN] = 0;
	k->mute[VXLAN] = false;
	return result && result != -ENODEV ? netlink_error(k->nl, result, note, "remove VXLAN device %s", k->name[VXLAN]) : ERR_OK;
}

enum err link_tap(struct kernel *k, unsigned mtu, struct err_note *note)
{
	enum err e = check_mtu(mtu, note);
	if (e != ERR_OK)
		return e;
	struct netlink_link l;
	int result = link_device_look(k, TAP, &l);
	if (result == 0 && strcmp(l.kind, "veth") != 0 && (e = check_kind(k, TAP, &l, "tun", note)) != ERR_OK)
		return e;
	if (result == 0)
		result = uplink_port(k, TAP, l.index, mtu, true);
	return result ? netlink_error(k->nl, result, note, "set up the TAP device %s", k->name[TAP]) : ERR_OK;
}

/* One forwarding entry: of the bridge (NTF_MASTER, static and sticky: without the latter a frame from a container that claims the MAC
 * would move even a static entry to its port) or of the VXLAN device (NTF_SELF, with the host it leads to; those for probes bear a mark that means
 * nothing to the device and that it gives back). */
static int fdb_change(struct kernel *k, bool add, enum device d, uint8_t of, struct mac mac, struct ip underlay)
{
	int result = -ENODEV;
	for (int try = 0; try < 2 && result == -ENODEV; try++) {
		int index;
		result = link_device_index(k, d, try > 0, &index);
		if (result)
			break;
		const struct ndmsg head = {
			.ndm_family = AF_BRIDGE,
			.ndm_ifindex = index,
			.ndm_state = (uint16_t)(of & NTF_SELF ? NUD_NOARP | NUD_PERMANENT : NUD_NOARP | NUD_REACHABLE),
			.ndm_flags = (uint8_t)(of & NTF_SELF ? of : of | NTF_STICKY),
		};
		struct netlink_req r;
		netlink_req(&r, add ? RTM_NEWNEIGH : RTM_DELNEIGH, add ? NLM_F_CREATE | NLM_F_REPLACE : 0, &head, sizeof head);
		netlink_put(&r, NDA_LLADDR, mac.b, 6);
		if (underlay.family)
			netlink_put_ip(&r, NDA_DST, underlay);
		result = netlink_do(k->nl, &r);
	}
	return !add && (result == -ENOENT || result == -ENODEV) ? 0 : result;
}

enum err link_fdb_set(struct kernel *k, struct mac mac, enum link_uplink uplink, struct ip underlay, struct err_note *note)
{
	const struct ip none = { 0 };
	assert(uplink == LINK_USERSPACE || (uplink == LINK_FAST && underlay.family));
	int result;
	/* The bridge's entry is the switch: what it leads to is ready before it is thrown, and left standing until after. */
	if (uplink == LINK_FAST) {
		result = fdb_change(k, true, VXLAN, NTF_SELF, mac, underlay);
		if (result == 0)
			result = fdb_change(k, true, VXLAN, NTF_MASTER, mac, none);
	} else {
		result = fdb_change(k, true, TAP, NTF_MASTER, mac, none);
		if (result == 0)
			result = fdb_change(k, false, VXLAN, NTF_SELF, mac, none);
	}
	char text[MAC_TEXT];
	return result
		? netlink_error(k->nl, result, note, "direct %s to %s", mac_format(mac, text), k->name[uplink == LINK_FAST ? VXLAN : TAP])
		: ERR_OK;
}

enum err link_fdb_del(struct kernel *k, struct mac mac, struct err_note *note)
{
	const struct ip none = { 0 };
	int result = fdb_change(k, false, TAP, NTF_MASTER, mac, none);
	if (result == 0)
		result = fdb_change(k, false, VXLAN, NTF_MASTER, mac, none);
	if (result == 0)
		result = fdb_change(k, false, VXLAN, NTF_SELF, mac, none);
	char text[MAC_TEXT];
	return result ? netlink_error(k->nl, result, note, "remove the forwarding entry of %s", mac_format(mac, text)) : ERR_OK;
}

enum err link_probe_set(struct kernel *k, struct mac mac, struct ip underlay, struct err_note *note)
{
	int result = fdb_change(k, true, VXLAN, NTF_SELF | LINK_PROBE_MARK, mac, underlay);
	char text[MAC_TEXT];
	return result ? netlink_error(k->nl, result, note, "direct probes to %s", mac_format(mac, text)) : ERR_OK;
}

enum err link_probe_del(struct kernel *k, struct mac mac, struct err_note *note)
{
	const struct ip none = { 0 };
	int result = fdb_change(k, false, VXLAN, NTF_SELF, mac, none);
	char text[MAC_TEXT];
	return result ? netlink_error(k->nl, result, note, "remove the probes' entry of %s", mac_format(mac, text)) : ERR_OK;
}

/* ---- neighbours */

bool link_answers(const struct kernel *k)
{
	return !k->mute[VXLAN] && !k->mute[TAP];
}

/* mac NULL: removes the entry. */
static int neigh_change(struct kernel *k, struct ip ip, const struct mac *mac)
{
	int result = -ENODEV;
	for (int try = 0; try < 2 && result == -ENODEV; try++) {
		int index;
		result = link_device_index(k, BRIDGE, try > 0, &index);
		if (result)
			break;
		const struct ndmsg head = {
			.ndm_family = ip.family == 6 ? AF_INET6 : AF_INET,
			.ndm_ifindex = index,
			.ndm_state = NUD_PERMANENT,
		};
		struct netlink_req r;
		netlink_req(&r, mac ? RTM_NEWNEIGH : RTM_DELNEIGH, mac ? NLM_F_CREATE | NLM_F_REPLACE : 0, &head, sizeof head);
		netlink_put_ip(&r, NDA_DST, ip);
		if (mac)
			netlink_put(&r, NDA_LLADDR, mac->b, 6);
		result = netlink_do(k->nl, &r);
	}
	/* No IPv6 in the kernel; or none on this bridge, as with an MTU below 1280. Nobody asks there. */
	if (result == -EAFNOSUPPORT || (ip.family == 6 && result == -EINVAL))
		return 0;
	return !mac && (result == -ENOENT || result == -ENODEV) ? 0 : result;
}

enum err link_neigh_set(struct kernel *k, struct ip ip, struct mac mac, struct err_note *note)
{
	int result = neigh_change(k, ip, &mac);
	char text[IP_TEXT];
	return result ? netlink_error(k->nl, result, note, "answer for %s", ip_format(ip, text)) : ERR_OK;
}

enum err link_neigh_del(struct kernel *k, struct ip ip, struct err_note *note)
{
	int result = neigh_change(k, ip, NULL);
	char text[IP_TEXT];
	return result ? netlink_error(k->nl, result, note, "stop answering for %s", ip_format(ip, text)) : ERR_OK;
}
