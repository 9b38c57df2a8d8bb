/* The data plane as the daemon sees it: devices of each network, filters, the userspace path and probes; made at start, then kept in line with the core.
 * Control thread only.
 *
 * The default network's devices are always there. Another network's are made where they are needed: when a container of this host is attached to it,
 * now or before the daemon was started anew; they go when the network is removed. */
#ifndef WEFT_ROUTER_PLANE_H
#define WEFT_ROUTER_PLANE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/err.h"
#include "router/core/core.h"
#include "router/dataplane/capture.h"
#include "router/dataplane/link.h"

struct log;
struct nft;
struct userspace;

struct plane_cfg {
	uint64_t self;
	struct ip host;    /* --host; family 0: any */
	uint16_t udp_port; /* userspace path */
	uint16_t vxlan_port, control_port;
	uint16_t api_port; /* TCP, to be kept from containers; 0: none */
	bool fastdp;
	uint32_t mtu; /* --mtu; 0: underlay's - 94 */
	enum capture_kind capture;
	unsigned queues; /* pairs of threads; 0: by the number of processors */
	struct log *log;
	/* From plane_poll, each once for what it says (see struct core_event); none is called by anything else. */
	void *ctx;
	void (*datagram)(void *ctx, enum core_via via, struct hostport from, struct slice bytes);
	void (*wanted)(void *ctx, uint64_t peer);
	void (*roamed)(void *ctx, uint64_t peer, struct hostport from);
};
struct plane;
/* Filters, the userspace path's threads, the default network's devices and the address for names. What the kernel lacks is done without where that is
 * possible, logged, and told by plane_next_trouble; else it is the note's. */
enum err plane_open(struct plane **out, const struct plane_cfg *cfg, struct err_note *note) MUST_CHECK;
void plane_close(struct plane *p); /* takes NULL; the kernel's state stays */
/* Everything of ours out of the kernel. From then on there is nothing that plane_apply does. */
enum err plane_reset(struct plane *p, struct err_note *note) MUST_CHECK;

/* Brings forwarding, neighbours, filters and the userspace path's table in line with what the core knows; makes anew what somebody removed. Failures are
 * logged, counted, and tried again at the next call. */
void plane_apply(struct plane *p, const struct core *core, uint64_t now_ms);
/* Only the userspace path's table, and only whose VXLAN is let in. */
void plane_apply_table(struct plane *p, const struct core *core);
void plane_apply_peers(struct plane *p, const struct core *core);
/* There is something the next plane_apply would do without news from the core: entries of a former daemon to remove, a lost device to make. Looks at the
 * devices. */
bool plane_unsettled(const struct plane *p);
/* A bridge is gone, and with it the sight of which containers are there. */
bool plane_bridge_lost(const struct plane *p);
size_t plane_failures(const struct plane *p); /* changes the kernel refused */

/* At the start, when the core has its records: opens networks that have containers here. */
void plane_adopt(struct plane *p, const struct core *core);
/* The devices of a network for a container that is to be attached to it, made if they are not there. */
enum err plane_need(struct plane *p, const struct core *core, const struct core_network *net, struct kernel **out,
	struct err_note *note) MUST_CHECK;
/* Addresses that a container of ours is about to get besides those it has: what it says of them passes its filter until the next plane_apply. */
void plane_expect(struct plane *p, const struct core *core, const char *ident, const struct prefix *addrs, size_t n);
/* The host's own addresses on networks: put on their bridges, where plane_apply puts them again, with rules for what is translated. Replaces the list. */
struct plane_exposed {
	char network[CORE_NETWORK_MAX + 1];
	struct prefix addr;
	bool masquerade;
};
enum err plane_set_exposed(struct plane *p, const struct plane_exposed *list, size_t n, struct err_note *note) MUST_CHECK;
/* What keeps the host from passing packets on between its networks and elsewhere (forwarding that is off, other programs' packet filters), as of the last look, in one line
 * each with what to do; *it starts at 0; NULL at the end. *grave: frames between containers are lost. */
const char *plane_next_obstacle(const struct plane *p, size_t *it, bool *grave);
void plane_look_for_obstacles(struct plane *p); /* now; it is done now and then anyway */
/* Name servers in whose place the name service answers to containers (nft.h). */
void plane_set_resolvers(struct plane *p, const struct ip *servers, size_t n, struct hostport names);
/* Its interface is another one now, or gone. */
void plane_port_changed(struct plane *p, const char *ident);

/* A descriptor that is readable when plane_poll has something to do. */
int plane_fd(const struct plane *p);
void plane_poll(struct plane *p);
/* One datagram of the core's. ERR_LIMIT, ERR_UNREACHABLE, ERR_REFUSED: see CORE_UNDELIVERED; ERR_AGAIN: buffers are full. */
enum err plane_send(struct plane *p, enum core_via via, uint64_t peer, struct hostport to, struct slice bytes) MUST_CHECK;
/* Every PLANE_TICK_MS: counters are read, filters that somebody changed are mended. *traffic: with whom frames were exchanged since the last time; valid
 * until the next call. Gives their number. */
#define PLANE_TICK_MS 500u
size_t plane_tick(struct plane *p, const struct core_traffic **traffic);

/* Reading. */
struct kernel *plane_kernel(struct plane *p);             /* the default network's */
struct userspace *plane_userspace(const struct plane *p); /* NULL: after plane_reset */
const struct nft *plane_nft(const struct plane *p);       /* NULL: none can be had */
bool plane_filter_same(struct plane *p); /* the kernel's tables are as they were left; true as well when they cannot be read */
uint32_t plane_container_mtu(const struct plane *p);
/* Whether the kernel's fast path can be used now; else why not, in words (static until the next call of anything here). */
bool plane_fast(const struct plane *p, const char **why);
/* Whether there is a way for frames to the userspace path. */
bool plane_captures(const struct plane *p);
struct plane_net_view {
	uint16_t number;
	const char *name, *capture; /* "tap", "pcap"; NULL: none now */
	struct kernel *kernel;
	bool fast;
};
/* In the order of their numbers; *it starts at 0. */
bool plane_next_net(const struct plane *p, size_t *it, struct plane_net_view *out);
/* What is not as it should be, in one line each; *it starts at 0; NULL at the end. *broken: it was there or was asked for, and is tried again; else this
 * kernel has not got it. */
const char *plane_next_trouble(const struct plane *p, size_t *it, bool *broken);

/* plane_underlay.c. Our addresses as others may reach us: of all interfaces that are up, without loopback, link-local ones and what weft or Docker made. */
size_t underlay_addresses(struct ip *out, size_t max);
/* MTU of the interface that has this address; 0: none has. */
uint32_t underlay_mtu_of(struct ip local);
/* What a container may send in one piece on the dearest path: mtu, or (0) by the smallest MTU of the underlay's interfaces (of the one of `host`). */
uint32_t underlay_container_mtu(struct ip host, uint32_t mtu);

#endif
