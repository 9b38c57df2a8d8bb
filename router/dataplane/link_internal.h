/* What link.c and link_read.c share. */
#ifndef WEFT_DATAPLANE_LINK_INTERNAL_H
#define WEFT_DATAPLANE_LINK_INTERNAL_H

#include <linux/neighbour.h>
#include <stdint.h>

#include "router/dataplane/link.h"

enum device { BRIDGE, VXLAN, TAP, DEVICES };

struct kernel {
	struct netlink *nl;
	char name[DEVICES][NETLINK_NAME_MAX + 1];
	unsigned network;
	int index[DEVICES];  /* 0: not known; a device made anew has another, see link_device_index */
	int set_up[DEVICES]; /* index of the one that was set up; 0: none was */
	bool mute[DEVICES];  /* an uplink that the kernel does not answer for */
};

/* Bears every entry of the VXLAN device that is for probes: it means nothing to the device, which gives it back. */
#define LINK_PROBE_MARK NTF_EXT_LEARNED

/* Fills out; forgets a stale index. 0 or minus an errno. */
int link_device_look(struct kernel *k, enum device d, struct netlink_link *out);
/* From the cache when it is there. Callers that get ENODEV from the kernel ask again with fresh. */
int link_device_index(struct kernel *k, enum device d, bool fresh, int *index);
/* Adds (RTM_NEWRULE) or deletes the rule for answers from the address for names. */
int link_dns_rule(struct kernel *k, uint16_t type, int flags);

#endif
