/* Shared by container*.c only. container.c: attach and detach; container_pair.c: a pair whose inner end somebody else takes away; container_host.c:
 * the host's end; container_inside.c: the container's; container_alias.c: the record. */
#ifndef WEFT_ROUTER_CONTAINER_INTERNAL_H
#define WEFT_ROUTER_CONTAINER_INTERNAL_H

#include "router/container.h"

#define CONTAINER_HOST_PREFIX "vethwe"

/* ---- the record */

/* What is wanted, added to what there is. ERR_LIMIT. */
enum err container_record_add(struct container_record *r, const struct container_want *want, struct err_note *note) MUST_CHECK;
/* container_record_format with a line about its error. */
enum err container_record_text(
	const struct container_record *r, char out[NETLINK_ALIAS_MAX + 1], struct err_note *note) MUST_CHECK;

/* ---- the host's end */

struct container_host {
	bool there, readable; /* readable: its record was */
	struct netlink_link link;
	struct container_record record;
	char name[NETLINK_NAME_MAX + 1]; /* of the one that is there, or that shall be made */
};
/* The interface that bears ident's record; or a half-made one in its place; or the name to make one. */
enum err container_host_find(struct kernel *k, const char *ident, struct container_host *h, struct err_note *note) MUST_CHECK;
/* What it means that the pair was not made. */
enum err container_pair_error(const struct netlink *nl, int result, const char *ident, struct err_note *note);
/* The alias. 0 or minus an errno, as all of netlink.h. */
int container_host_mark(struct kernel *k, int index, const char *alias) MUST_CHECK;
struct container_port_want {
	struct mac mac; /* of the container */
	unsigned mtu;
	bool hairpin;
};
/* Port of the bridge, no addresses of its own, up; and the bridge knows the container's MAC before it has said a word. */
int container_host_up(struct kernel *k, int index, int bridge, const struct container_port_want *want) MUST_CHECK;

/* ---- the container's end */

struct container_inside {
	struct netlink *nl;
	int nsfd;   /* the caller's */
	int packet; /* raw frames out; takes none in */
};
enum err container_inside_open(int nsfd, struct container_inside *in, struct err_note *note) MUST_CHECK;
void container_inside_close(struct container_inside *in);
/* Settings of the interface before it gets addresses. */
enum err container_inside_sysctls(
	const struct container_inside *in, const char *ifname, bool v6, struct err_note *note) MUST_CHECK;
int container_inside_up(struct netlink *nl, int index, unsigned mtu) MUST_CHECK;
int container_inside_address(struct netlink *nl, int index, bool add, struct prefix p) MUST_CHECK;
/* One that is there already is taken for ours from before, or the container's own choice. */
int container_inside_route(struct netlink *nl, int index, const struct container_route *route) MUST_CHECK;
/* Tells the network of an address. */
enum err container_inside_announce(
	const struct container_inside *in, int index, struct mac mac, struct ip a, struct err_note *note) MUST_CHECK;

#endif
