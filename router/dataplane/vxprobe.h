/* Probes of the kernel's fast path: Ethernet frames of type PROBE_ETHERTYPE between the bridges' own MACs (link_peer_mac), sent into the VXLAN device and heard
 * at the bridge, so that they cross just what containers' frames cross. Control thread only. */
#ifndef WEFT_DATAPLANE_VXPROBE_H
#define WEFT_DATAPLANE_VXPROBE_H

#include <stdint.h>

#include "base/addr.h"
#include "base/err.h"
#include "router/dataplane/link.h"

struct vxprobe;
/* On the default network's devices, which are there. ERR_NOT_FOUND, ERR_PERMISSION, ERR_SYSTEM. */
enum err vxprobe_open(struct kernel *k, uint64_t self, struct vxprobe **out, struct err_note *note) MUST_CHECK;
void vxprobe_close(struct vxprobe *p); /* takes NULL */
int vxprobe_fd(const struct vxprobe *p);
/* Sends a probe (tunnel/probe.h) to the peer whose VXLAN device is at `underlay`: sets the device's own entry for that peer's bridge first if it is not there
 * yet or differs. Devices that were made anew since are found. ERR_LIMIT: too big for the device. ERR_UNREACHABLE. ERR_NOT_FOUND: a device is
 * missing. ERR_UNSUPPORTED: underlay is of the other family than the device. */
enum err vxprobe_send(struct vxprobe *p, uint64_t peer, struct ip underlay, struct slice probe) MUST_CHECK;
/* Takes the entry away; for a peer that is gone. ERR_OK when there is none. */
enum err vxprobe_forget(struct vxprobe *p, uint64_t peer, struct err_note *note) MUST_CHECK;
/* One probe that came to this peer from the one it names; {NULL, 0}: none waits. Valid until the next call. */
struct slice vxprobe_receive(struct vxprobe *p);

#endif
