/* Shared by the plane's files only: plane.c (the whole), plane_net.c (one network), plane_table.c (the userspace path's table), plane_filter.c (nftables),
 * plane_expose.c (the host's own addresses), plane_guests.c (bridges of others), plane_traffic.c (probes over VXLAN, and with whom frames are exchanged). */
#ifndef WEFT_ROUTER_PLANE_INTERNAL_H
#define WEFT_ROUTER_PLANE_INTERNAL_H

#include <assert.h>

#include "base/map.h"
#include "router/dataplane/bridges.h"
#include "router/dataplane/nft.h"
#include "router/dataplane/userspace.h"
#include "router/dataplane/vxprobe.h"
#include "router/log.h"
#include "router/neigh.h"
#include "router/plane.h"

enum { PLANE_INHERITED_MS = 10000, PLANE_TROUBLE_TEXT = 320, PLANE_OBSTACLES_MAX = 12, PLANE_OBSTACLE_TEXT = 800 };

/* A part that can be missing. */
struct plane_part {
	bool there;
	bool broken;                  /* not there, and tried again; else this kernel has not got it, or it is not wanted */
	char why[PLANE_TROUBLE_TEXT]; /* while it is not there; "": not wanted */
};

struct plane_net {
	struct plane_net *next;
	uint16_t number;
	char name[CORE_NETWORK_MAX + 1];
	struct kernel *kernel;
	struct capture *capture; /* NULL: none now */
	struct neigh *neigh;
	struct map *fdb;  /* mac -> struct fdb_entry, as the kernel has it */
	size_t inherited; /* how many entries of a former daemon are left */
	struct plane_part bridge, fast, userspace;
};

struct plane {
	struct plane_cfg cfg;
	struct userspace *userspace;
	struct plane_net *nets; /* in the order of their numbers; the default one is the first */
	uint32_t mtu;
	size_t failures;
	uint64_t inherited_until;
	bool reset;   /* nothing of ours is in the kernel any more */
	bool remains; /* devices of networks that went while no daemon ran are still to be looked for */
	int epoll;
	/* plane_filter.c */
	struct nft *nft;
	struct plane_part filter;
	const char *filter_lacks;
	bool filter_changed; /* by somebody, or by us */
	bool
		filter_keeps; /* addresses of hosts that may be gone: the list is to be made anew once what was inherited is sorted out */
	struct map *ports; /* ident -> char *: the host's end of its interface */
	/* plane_guests.c */
	struct bridges *bridges;
	unsigned frames_hidden; /* from iptables, by us: bit 0 those of IPv4, 1 of IPv6 */
	bool frames_shown;      /* and that cannot be changed */
	bool guests_news, guests_said, exposed_due;
	/* plane_obstacles.c */
	char obstacles[PLANE_OBSTACLES_MAX][PLANE_OBSTACLE_TEXT];
	size_t n_obstacles, obstacles_of_frames; /* the first of them */
	unsigned obstacles_rest, obstacles_age;  /* ticks until the next look may be, and since the last one */
	bool obstacles_due;
	/* plane_expose.c */
	struct plane_exposed *exposed;
	size_t n_exposed;
	/* plane_traffic.c */
	struct vxprobe *probe;
	struct map *seen; /* peer -> struct traffic_seen */
	struct core_traffic *traffic;
	size_t cap_traffic;
	unsigned quiet; /* ticks without any */
};

/* The default network is there from plane_open to plane_close. */
static inline struct plane_net *plane_default(const struct plane *p)
{
	assert(p->nets != NULL);
	return p->nets;
}

/* plane.c */
/* Logs the change of a part's state, once, and keeps why it is not there (note NULL: it is). */
void plane_part_is(struct plane *p, struct plane_part *part, const char *what, const struct err_note *note, bool broken);
enum err plane_watch(struct plane *p, int fd, uint64_t which, struct err_note *note) MUST_CHECK;

/* plane_net.c */
enum err net_open(struct plane *p, uint16_t number, const char *name, struct plane_net **out, struct err_note *note) MUST_CHECK;
void net_close(struct plane *p, struct plane_net *n); /* the kernel's state stays; takes NULL */
enum err net_reset(struct plane *p, struct plane_net *n, struct err_note *note) MUST_CHECK; /* its devices go */
/* Whether a device of it is gone, or was and could not be made. */
bool net_lost(const struct plane *p, const struct plane_net *n);
bool net_bridge_lost(const struct plane *p, const struct plane_net *n);
/* Makes what is lost, and puts containers' interfaces back. */
void net_mend(struct plane *p, struct plane_net *n, const struct core *core);
/* Puts containers' interfaces on its bridge that are not there. */
void net_rejoin(struct plane *p, const struct plane_net *n, const struct core *core);
void net_apply(struct plane *p, struct plane_net *n, const struct core *core, bool settled);
size_t net_inherited(const struct plane_net *n);
/* plane_table.c */
enum err table_set(struct plane *p, const struct core *core) MUST_CHECK;

/* plane_filter.c */
enum err filter_open(struct plane *p, struct err_note *note) MUST_CHECK;
void filter_close(struct plane *p);
void filter_apply(struct plane *p, const struct core *core, bool settled);
/* Nothing is routed to or from the networks that are open, or whose devices are left of a former daemon. */
void filter_bridges(struct plane *p);
void filter_tick(struct plane *p);

/* plane_guests.c: bridges of others. */
enum err guests_open(struct plane *p, struct err_note *note) MUST_CHECK; /* after the filter and the default network */
void guests_close(struct plane *p);
void guests_poll(struct plane *p);
void guests_tick(struct plane *p);
void guests_bridge_made(struct plane *p); /* the default network's, anew */
void guests_reset(struct plane *p);

/* plane_obstacles.c */
void obstacles_tick(struct plane *p);

/* plane_expose.c: sees to it that all of them are there. */
enum err expose_apply(struct plane *p, struct err_note *note) MUST_CHECK;

/* plane_traffic.c */
void probe_open(struct plane *p); /* anew, after the default network's devices were made */
void probe_poll(struct plane *p);
void traffic_free(struct plane *p);

#endif
