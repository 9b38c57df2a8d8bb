/* The data plane as the daemon sees it: devices made at start, then forwarding brought in line with the core. Control thread only. */
#ifndef WEFT_ROUTER_PLANE_H
#define WEFT_ROUTER_PLANE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/err.h"
#include "router/core/core.h"
#include "router/dataplane/link.h"

struct log;
struct userspace;

struct plane_cfg {
	uint64_t self;
	struct ip host;    /* --host; family 0: any */
	uint16_t udp_port; /* userspace path */
	uint16_t vxlan_port;
	bool fastdp;
	uint32_t mtu; /* --mtu; 0: underlay's - 94 */
	struct log *log;
};
struct plane;
/* Bridge, address for names, both uplinks, the userspace path's thread. What the kernel lacks or refuses is the note's. */
enum err plane_open(struct plane **out, const struct plane_cfg *cfg, struct err_note *note) MUST_CHECK;
void plane_close(struct plane *p); /* takes NULL; the kernel's state stays */
/* Brings FDB, neighbours and the userspace path's table in line with what the core knows; makes the TAP device anew if somebody removed it.
 * Failures are logged, counted, and tried again at the next call. */
void plane_apply(struct plane *p, const struct core *core, uint64_t now_ms);
/* Has entries of a former daemon that the next call may remove, or has lost its TAP device. */
bool plane_unsettled(const struct plane *p);
/* Everything of ours out of the kernel. */
enum err plane_reset(struct plane *p, struct err_note *note) MUST_CHECK;
struct kernel *plane_kernel(struct plane *p);
struct userspace *plane_userspace(struct plane *p); /* NULL: after plane_reset, or while there is no TAP device */
uint32_t plane_container_mtu(const struct plane *p);
size_t plane_failures(const struct plane *p); /* changes the kernel refused */

/* Our addresses as others may reach us: of all interfaces that are up, without loopback, link-local ones and what weft or Docker made. */
size_t underlay_addresses(struct ip *out, size_t max);
/* MTU of the interface that has this address; 0: none has. */
uint32_t underlay_mtu_of(struct ip local);

#endif
