/* Requests to the kernel's routing socket: one socket, one request at a time, each answered before the next goes out.
 *
 * Built on libnl-3's messages and attributes alone. libnl-route-3's objects are not used: in Debian 12's version they know neither port
 * isolation nor the flood flags of a bridge port, so that half of the messages would be built by hand anyway, in a second way.
 * A socket stays in the network namespace in which it was opened, wherever its thread goes later. */
#ifndef WEFT_DATAPLANE_NETLINK_H
#define WEFT_DATAPLANE_NETLINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/err.h"

#define NETLINK_NAME_MAX  15  /* of an interface, without the final zero */
#define NETLINK_ALIAS_MAX 255 /* of an interface's alias */

struct netlink;
struct nl_msg;
struct nlattr;

/* Opens in the calling thread's present namespace. ERR_PERMISSION, ERR_SYSTEM, ERR_NOMEM. */
enum err netlink_open(struct netlink **out, struct err_note *note) MUST_CHECK;
void netlink_close(struct netlink *nl); /* takes NULL */

/* A request being built. Attributes that do not fit mark it failed; netlink_do then says -ENOMEM. */
struct netlink_req {
	struct nl_msg *msg;
	bool failed;
};
/* flags: NLM_F_… beside REQUEST and ACK; head: the fixed header of that message type (ifinfomsg, ndmsg, …). */
void netlink_req(struct netlink_req *r, uint16_t type, int flags, const void *head, size_t head_len);
void netlink_put(struct netlink_req *r, int attr, const void *data, size_t n);
void netlink_put_u8(struct netlink_req *r, int attr, uint8_t v);
void netlink_put_u16(struct netlink_req *r, int attr, uint16_t v);
void netlink_put_u32(struct netlink_req *r, int attr, uint32_t v);
void netlink_put_str(struct netlink_req *r, int attr, const char *s);
void netlink_put_ip(struct netlink_req *r, int attr, struct ip a);
struct nlattr *netlink_nest(struct netlink_req *r, int attr);
void netlink_nest_end(struct netlink_req *r, struct nlattr *nest);
/* RTM_NEWLINK, SETLINK and such: an ifinfomsg as head. up: 1 sets IFF_UP, 0 clears it, -1 leaves it. */
void netlink_req_link(struct netlink_req *r, uint16_t type, int flags, int family, int index, int up);

/* Sends, waits for the answer, frees the request. 0, or minus the kernel's errno. */
int netlink_do(struct netlink *nl, struct netlink_req *r) MUST_CHECK;
/* The same for questions; fn gets each answer. A table that changed while it was read is read again: fn then gets NULL first and forgets
 * what it had (it gets NULL before the first message too). fn returns 0 or minus an errno, which ends it. */
typedef int (*netlink_each)(struct nl_msg *msg, void *arg);
int netlink_ask(struct netlink *nl, struct netlink_req *r, netlink_each fn, void *arg) MUST_CHECK;

/* Turns the result of the last netlink_do into an error and one line: "cannot <doing>: <the kernel's words>; <what to do>". */
enum err netlink_error(const struct netlink *nl, int result, struct err_note *note, const char *fmt, ...) PRINTF_LIKE(4, 5);
/* The error for an errno (positive or negative), without words. */
enum err netlink_err_of(int error);

/* What weft wants to know of an interface. */
struct netlink_link {
	int index, master;
	int peer;     /* of a veth: the other end's index, in the other end's namespace; 0: none */
	bool up;      /* was set up by someone */
	bool running; /* and the kernel has taken its carrier into use: what is sent now leaves */
	uint32_t mtu;
	struct mac mac;
	char name[NETLINK_NAME_MAX + 1];
	char kind[16]; /* "bridge", "vxlan", "veth", "tun" */
	char alias[NETLINK_ALIAS_MAX + 1];
	uint8_t port_state; /* as a bridge port: BR_STATE_…; 0 otherwise */
	bool suppress;      /* as a bridge port: neighbours behind it are answered for (IFLA_BRPORT_NEIGH_SUPPRESS) */
	uint32_t vxlan_vni;
	uint16_t vxlan_port;
	bool vxlan_learning;
	int vxlan_df; /* VXLAN_DF_…; -1: the kernel does not say */
	struct ip vxlan_local;
};
/* -ENODEV: there is none of that name (index). */
int netlink_link_named(struct netlink *nl, const char *name, struct netlink_link *out) MUST_CHECK;
int netlink_link_at(struct netlink *nl, int index, struct netlink_link *out) MUST_CHECK;
int netlink_link_parse(struct nl_msg *msg, struct netlink_link *out) MUST_CHECK; /* of an RTM_NEWLINK; -EINVAL: not one */
int netlink_link_del(struct netlink *nl, int index) MUST_CHECK;
/* A pair of virtual Ethernet devices: name here, the peer there. Both are down. */
struct netlink_veth {
	const char *name, *peer;
	int peer_ns; /* a descriptor; -1: our own */
	unsigned mtu, peer_mtu;
	const struct mac *peer_mac; /* NULL: the kernel makes one */
};
int netlink_veth(struct netlink *nl, const struct netlink_veth *want) MUST_CHECK;
struct ip netlink_attr_ip(const struct nlattr *a); /* by its length; family 0: neither 4 nor 16 bytes, or NULL */

#endif
