/* Containers' interfaces: a veth pair from the bridge into the container's network namespace, where its end is called `ethwe`.
 *
 *   namespace of the container                         namespace of the daemon
 *   ethwe  MAC, addresses, routes  ──────── veth ────── vethweXXXXXXXXX   port of the bridge
 *                                                       alias: "weft1 id=… mac=… addrs=…"
 *
 * The alias on the host's end is the record of what was attached, kept by the kernel as long as the interface lives: a daemon that lost
 * its state learns from it which container uses which addresses. It is written before addresses are given and after they are
 * taken, so it never says less than what is in use. The kernel removes both ends when the container's namespace goes.
 * Control thread only; calls block for some milliseconds. The thread visits the container's namespace only to open sockets in it. */
#ifndef WEFT_ROUTER_CONTAINER_H
#define WEFT_ROUTER_CONTAINER_H

#include <stdbool.h>
#include <stddef.h>

#include "base/addr.h"
#include "base/err.h"
#include "router/dataplane/link.h"
#include "router/netns.h"

#define CONTAINER_IFNAME    "ethwe"
#define CONTAINER_ADDRS_MAX 16u
#define CONTAINER_MAX       65536u /* attached to one host */

struct container_record {
	char ident[NETNS_IDENT_MAX + 1];
	struct mac mac;
	struct prefix addrs[CONTAINER_ADDRS_MAX]; /* address with its subnet's length */
	size_t n_addrs;
	bool hairpin; /* the bridge gives frames back to the port they came from */
	/* Not in the alias: container_attach and container_pair say what the ends are called. */
	char ifname[NETLINK_NAME_MAX + 1], port[NETLINK_NAME_MAX + 1];
};
/* The alias and back. Format: ERR_LIMIT when it does not fit into NETLINK_ALIAS_MAX bytes. Parse: ERR_MALFORMED. */
enum err container_record_format(const struct container_record *r, char out[NETLINK_ALIAS_MAX + 1]) MUST_CHECK;
enum err container_record_parse(const char *text, struct container_record *out) MUST_CHECK;
/* Name of the host's end: made of the container's identity. salt: another name, should two identities meet in one. */
void container_host_name(const char *ident, unsigned salt, char out[NETLINK_NAME_MAX + 1]);

/* A locally administered unicast MAC from six random bytes of the caller. */
struct mac container_random_mac(const uint8_t random[6]);

#define CONTAINER_ROUTES_MAX 32
struct container_route {
	struct prefix dst;
	struct ip gw; /* family 0: dst is on the link */
};
struct container_want {
	const char *ident;  /* at most NETNS_IDENT_MAX bytes */
	const char *ifname; /* inside, container_ifname_ok; NULL: CONTAINER_IFNAME, or what it is called already */
	int nsfd;           /* from netns_open */
	struct mac mac;     /* for a new interface; one that is there keeps its own */
	const struct prefix *addrs;
	size_t n_addrs;
	const struct container_route *routes; /* besides those of its subnets */
	size_t n_routes;
	unsigned mtu;
	bool hairpin;
	bool multicast_route; /* 224.0.0.0/4 */
	bool dns_route;       /* WEFT_DNS_V4 */
};
/* A name that an interface may have. */
bool container_ifname_ok(const char *name);
/* Gives the container its interface, addresses and routes, tells the network (gratuitous ARP, unsolicited neighbour advertisement), and
 * fills out with all that it has now. Idempotent: an interface of ours is re-used, addresses it has are kept, others are added. The
 * first call for a container makes the interface even without addresses. A failure takes back what this call made. One namespace may have several
 * interfaces of ours, of different names, each under an identity of its own.
 * ERR_REFUSED: nsfd is the daemon's namespace. ERR_EXISTS: the container has an interface of that name which is not weft's, or is attached under another
 * identity or interface name.
 * ERR_NOT_FOUND: no bridge. ERR_LIMIT: more addresses than the record holds. ERR_PERMISSION, ERR_SYSTEM, ERR_NOMEM. */
enum err container_attach(
	struct kernel *k, const struct container_want *want, struct container_record *out, struct err_note *note) MUST_CHECK;

/* The pair alone, for somebody who puts its inner end into a container himself and gives it addresses there (dockerd). The inner end stays in the daemon's
 * namespace, called want->ifname, down, with its MAC and MTU; all else is as with container_attach. want->nsfd, routes and the like are not looked at.
 * Idempotent, also when the inner end has been taken away meanwhile: then only what the record says of addresses may change.
 * ERR_EXISTS: the name is another interface's. */
enum err container_pair(
	struct kernel *k, const struct container_want *want, struct container_record *out, struct err_note *note) MUST_CHECK;

/* Takes these addresses away (whatever their length); with the last one, or with n_addrs 0 (all), the interface itself goes. removed: what
 * was there and is gone. nsfd is needed only when something stays; -1 then is ERR_USAGE. ERR_NOT_FOUND: not attached, or it
 * has none of these addresses (removed->n_addrs is 0 then). */
enum err container_detach(struct kernel *k, const char *ident, int nsfd, const struct ip *addrs, size_t n_addrs,
	struct container_record *removed, struct err_note *note) MUST_CHECK;

/* The host's end of its interface. ERR_NOT_FOUND: not attached. */
enum err container_port(struct kernel *k, const char *ident, char out[NETLINK_NAME_MAX + 1], struct err_note *note) MUST_CHECK;
/* Puts its interface, which lives on when its bridge goes, on this bridge; *moved: it was not there. ERR_NOT_FOUND: not attached, or no bridge. */
enum err container_rejoin(struct kernel *k, const char *ident, unsigned mtu, bool *moved, struct err_note *note) MUST_CHECK;

/* What is attached to the bridge now, in the order of the interfaces' indices; ours without a readable record are left out. */
typedef void (*container_each)(const struct container_record *r, const char *host_ifname, void *arg);
enum err container_list(struct kernel *k, container_each each, void *arg, struct err_note *note) MUST_CHECK;

#endif
