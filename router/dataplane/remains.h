/* What a daemon that is gone has left in the kernel. */
#ifndef WEFT_DATAPLANE_REMAINS_H
#define WEFT_DATAPLANE_REMAINS_H

#include "base/err.h"

/* Removes from the calling thread's network namespace what weft makes there: devices of all networks, containers' interfaces, routes and their rule, nftables
 * tables; and has frames shown to iptables again where weft had put that off. No daemon may run. Goes on after a failure and reports the first;
 * ERR_OK when nothing is there. */
enum err remains_remove(struct err_note *note) MUST_CHECK;

#endif
