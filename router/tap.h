/* The TAP device of the userspace path: what the bridge sends to it can be read as frames, what is written comes out at the bridge. */
#ifndef WEFT_ROUTER_TAP_H
#define WEFT_ROUTER_TAP_H

#include "base/err.h"

/* Opens (makes) the TAP device called name in the calling thread's namespace. One read or write is one Ethernet frame without FCS and without
 * anything before it; *fd does not block. The device lives as long as the descriptor. It comes without uplink settings: see link_tap.
 * ERR_UNSUPPORTED: no /dev/net/tun (kernel without TUN, or the node is missing). ERR_BUSY: another process has the device.
 * ERR_CONFLICT: an interface of another kind has the name. ERR_PERMISSION. */
enum err tap_open(const char *name, int *fd, struct err_note *note) MUST_CHECK;

#endif
