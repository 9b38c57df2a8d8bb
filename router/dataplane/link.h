/* What weft keeps in the kernel of its host: the bridge, its two uplinks, the address for names, entries for
 * forwarding and neighbours.
 *
 *   containers ─veth─▶ bridge `weft` ──▶ weft-vx   VXLAN to the host of a MAC          (LINK_FAST)
 *                        static FDB  └─▶ weft-tap  frames to and from the userspace path (LINK_USERSPACE)
 *                        neighbours: containers' questions are answered here
 *
 * Every call states what shall be: what is there already and right is kept (traffic goes on while a new daemon takes over), what differs is
 * changed, what is missing is made. Calls block for some round trips to the kernel. Control thread only. All of it happens in the network
 * namespace in which kernel_open was called. Each failure gives one line in note (may be NULL) that says what is wrong and what to do. */
#ifndef WEFT_DATAPLANE_LINK_H
#define WEFT_DATAPLANE_LINK_H

#include <stdbool.h>

#include "base/addr.h"
#include "base/err.h"
#include "router/dataplane/netlink.h"

#define WEFT_VNI_DEFAULT        6784u /* VXLAN network identifier of the default network */
#define WEFT_VXLAN_PORT_DEFAULT 6784u
#define LINK_RULE_TABLE         6784u /* routing table, and priority of the rule that leads to it */
#define LINK_MTU_MIN            576u
#define LINK_MTU_MAX            65485u /* what VXLAN over IPv4 can still carry in one UDP datagram */

/* Each network has devices of its own: "weft", "weft-vx", "weft-tap" for network 0, "weft-N", "weft-vxN", "weft-tapN" for network N, and a struct kernel for them.
 * NULL members take these names. Others are for tests. */
#define LINK_NETWORK_MAX 65535u
struct kernel_names {
	const char *bridge, *vxlan, *tap;
	unsigned network; /* its number */
};

struct kernel;
/* names may be NULL: network 0. ERR_USAGE: a name longer than 15 characters. Closing changes nothing in the kernel. */
enum err kernel_open(const struct kernel_names *names, struct kernel **out, struct err_note *note) MUST_CHECK;
void kernel_close(struct kernel *k); /* takes NULL */
struct netlink *kernel_netlink(struct kernel *k);
const char *kernel_bridge_name(const struct kernel *k);
const char *kernel_tap_name(const struct kernel *k);
/* Index of the bridge. ERR_NOT_FOUND: there is none (yet, or any more). */
enum err kernel_bridge_index(struct kernel *k, int *index, struct err_note *note) MUST_CHECK;
/* The same of the VXLAN device. */
enum err kernel_vxlan_index(struct kernel *k, int *index, struct err_note *note) MUST_CHECK;

/* Numbers (above 0) of the networks whose bridges are there, of this daemon or a former one, in no order. */
typedef void (*link_network_each)(unsigned network, void *arg);
enum err link_networks(struct kernel *k, link_network_each each, void *arg, struct err_note *note) MUST_CHECK;

/* Which of the devices that link_bridge, link_vxlan and link_tap set up through k are no longer as they were left: removed, made anew by somebody,
 * set down, or no port of the bridge. The call that set it up mends it; the entries that a new one lacks are the caller's to set again. */
enum { LINK_LOST_BRIDGE = 1, LINK_LOST_VXLAN = 2, LINK_LOST_TAP = 4 };
enum err link_check(struct kernel *k, unsigned *lost, struct err_note *note) MUST_CHECK;

/* A locally administered unicast MAC made of a peer's name. */
struct mac link_peer_mac(uint64_t peer);

/* The bridge: up, no spanning tree, no multicast snooping, no router advertisements taken, no addresses of its own making.
 * ERR_CONFLICT: the name belongs to a device of another kind. ERR_UNSUPPORTED: a kernel without bridges. */
enum err link_bridge(struct kernel *k, struct mac mac, unsigned mtu, struct err_note *note) MUST_CHECK;

/* The address at which containers reach the daemon (WEFT_DNS_V4, /32, on the bridge), and a way for answers from it: containers' addresses
 * have no route on the host, so a rule sends what comes from this address to a table that says "all on the bridge's link". The table has one such
 * route for each network, in order of their numbers: a socket that is bound to a network's bridge (SO_BINDTODEVICE) takes the one of that bridge, any other
 * the first. So who answers in several networks, which may use the same addresses, has one socket for each. */
enum err link_dns_address(struct kernel *k, struct err_note *note) MUST_CHECK;

/* An address of the host's on the network, with the length of its subnet: the host has a route there from then on. del: ERR_OK when it has not got it. */
enum err link_address_set(struct kernel *k, struct prefix a, struct err_note *note) MUST_CHECK;
enum err link_address_del(struct kernel *k, struct prefix a, struct err_note *note) MUST_CHECK;
/* Those that are there, without link-local ones and the one for names; at most LINK_ADDRESSES_MAX. */
#define LINK_ADDRESSES_MAX 64
typedef void (*link_address_each)(struct prefix a, void *arg);
enum err link_address_list(struct kernel *k, link_address_each each, void *arg, struct err_note *note) MUST_CHECK;

/* The fast uplink: a VXLAN device that learns nothing and whose packets may not be fragmented, as an isolated port that nothing is flooded to. A device
 * that is there with another VNI, port or local address is replaced. ERR_UNSUPPORTED: kernel without VXLAN. ERR_BUSY: the UDP port or the VNI is taken. */
struct link_vxlan {
	uint32_t vni;
	uint16_t port;
	struct ip local; /* family 0: IPv4, any; family 6 makes a device for an IPv6 underlay ("::" = any) */
};
enum err link_vxlan(struct kernel *k, const struct link_vxlan *want, unsigned mtu, struct err_note *note) MUST_CHECK;
enum err link_vxlan_remove(struct kernel *k, struct err_note *note) MUST_CHECK; /* with --no-fastdp; ERR_OK when there is none */

/* The userspace uplink: makes the device that capture_open made (a TAP device, or one end of a veth pair) an isolated port that gets what is flooded,
 * and sets it up. Calling capture_open again makes a new device, so this is called again as well. ERR_NOT_FOUND: no such device. */
enum err link_tap(struct kernel *k, unsigned mtu, struct err_note *note) MUST_CHECK;

/* Which uplink the bridge sends a MAC to. */
enum link_uplink {
	LINK_NONE, /* only in answers */
	LINK_FAST,
	LINK_USERSPACE
};
/* From now on frames for mac leave by that uplink; one switch, nothing is lost between. underlay: host of the MAC, for LINK_FAST only.
 * ERR_UNSUPPORTED: LINK_FAST with an address of the other family than the VXLAN device's; ERR_NOT_FOUND: the uplink is not there. */
enum err link_fdb_set(
	struct kernel *k, struct mac mac, enum link_uplink uplink, struct ip underlay, struct err_note *note) MUST_CHECK;
/* Removes what link_fdb_set made. Entries that lead to a container's port are not touched. ERR_OK when there was nothing. */
enum err link_fdb_del(struct kernel *k, struct mac mac, struct err_note *note) MUST_CHECK;

/* What is programmed now, one call per MAC, in order of MACs. The uplinks' own MACs are left out. */
struct link_fdb {
	struct mac mac;
	enum link_uplink uplink; /* of the bridge's entry; LINK_NONE: only the VXLAN device has one */
	struct ip underlay;      /* of the VXLAN device's entry; family 0: none */
};
typedef void (*link_fdb_each)(const struct link_fdb *entry, void *arg);
enum err link_fdb_list(struct kernel *k, link_fdb_each each, void *arg, struct err_note *note) MUST_CHECK;

/* Where the VXLAN device sends frames for the MAC of another host's bridge, which are probes (router/dataplane/vxprobe.h). Only the device itself has these
 * entries, and link_fdb_list leaves them out; but the bridge of an exposed host is led to by ours as well, and then link_fdb_list has it and link_probe_list has not. Errors as of link_fdb_set; del: ERR_OK when there was none. */
enum err link_probe_set(struct kernel *k, struct mac mac, struct ip underlay, struct err_note *note) MUST_CHECK;
enum err link_probe_del(struct kernel *k, struct mac mac, struct err_note *note) MUST_CHECK;
enum err link_probe_list(
	struct kernel *k, link_fdb_each each, void *arg, struct err_note *note) MUST_CHECK; /* uplink LINK_NONE */

/* Who has an address, so that the bridge itself can answer containers that ask (ARP, IPv6 neighbour discovery). It answers where the MAC's
 * forwarding entry leads to an uplink; for the MAC of a container here it only keeps the question off the uplinks. The host itself comes to
 * use an entry only for what it sends by the bridge: answers to names. ERR_OK where the bridge has no such protocol: nobody asks then. */
enum err link_neigh_set(struct kernel *k, struct ip ip, struct mac mac, struct err_note *note) MUST_CHECK;
/* ERR_OK when there was none. */
enum err link_neigh_del(struct kernel *k, struct ip ip, struct err_note *note) MUST_CHECK;
/* What is programmed now, one call per address, in order of ip_cmp. What the kernel has learnt by itself is left out. */
struct link_neigh {
	struct ip ip;
	struct mac mac;
};
typedef void (*link_neigh_each)(const struct link_neigh *entry, void *arg);
enum err link_neigh_list(struct kernel *k, link_neigh_each each, void *arg, struct err_note *note) MUST_CHECK;
/* Whether all uplinks that were set up by link_vxlan and link_tap are answered for. false: the kernel cannot (before Linux 4.15), so that
 * questions go to the other hosts as any broadcast does. */
bool link_answers(const struct kernel *k);

/* Removes all of it: containers' interfaces, uplinks, bridge with its neighbours, routes; with network 0 also the rule that all networks share, and containers'
 * interfaces that are on no bridge. ERR_OK when nothing is there; goes on after a failure and reports the first. */
enum err link_reset(struct kernel *k, struct err_note *note) MUST_CHECK;
/* The same for the network of this number (below 65,536), and for all networks above 0 that are there; both take the usual names. */
enum err link_reset_network(unsigned number, struct err_note *note) MUST_CHECK;
enum err link_reset_networks(struct kernel *k, struct err_note *note) MUST_CHECK;

/* Writes /proc/sys/net/ipvFAMILY/conf/DEV/KEY (family 4 or 6) in the calling thread's namespace. A kernel without that protocol has no such
 * file: ERR_OK. */
enum err link_sysctl(int family, const char *dev, const char *key, const char *value, struct err_note *note) MUST_CHECK;

#endif
