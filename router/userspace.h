/* The userspace path: frames between the bridge's TAP device and other hosts, one UDP datagram each, moved by two threads of its own.
 *
 * The control thread starts it, hands it tables (tunnel/fwd.h) whenever the replicated state changes, and reads its counters; it never
 * waits for the data threads except in userspace_stop. */
#ifndef WEFT_ROUTER_USERSPACE_H
#define WEFT_ROUTER_USERSPACE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/err.h"
#include "tunnel/fwd.h"

#define WEFT_USERSPACE_PORT_DEFAULT 6783u

struct userspace;

/* tap: from tap_open; stays the caller's and must stay open until userspace_stop. listen: family 0 = every address of both families (IPv4
 * alone where the kernel has no IPv6); port 0 = any (tests). ERR_BUSY: the port is taken. ERR_NOT_FOUND: listen.ip is no address of this
 * host. ERR_SYSTEM, ERR_NOMEM. Until the first table everything is dropped. */
enum err userspace_start(int tap, struct hostport listen, struct userspace **out, struct err_note *note) MUST_CHECK;
void userspace_stop(struct userspace *u); /* takes NULL; ends and joins the threads, frees the tables */
uint16_t userspace_port(const struct userspace *u);

/* From the next batch on frames go by t, which now belongs to u. ERR_NOMEM: the old table stays and t is still the caller's. Counters of peers
 * that are in the table no more are forgotten. */
enum err userspace_set_table(struct userspace *u, struct fwd_table *t) MUST_CHECK;

/* Frames and their bytes (Ethernet header included, encapsulation not); a flooded frame counts once for each host it is sent to. */
struct userspace_traffic {
	uint64_t frames_sent, bytes_sent, frames_received, bytes_received;
};
struct userspace_stats {
	struct userspace_traffic total;
	uint64_t flooded;            /* frames that were sent to all members */
	uint64_t dropped[FWD_DROPS]; /* both directions, by reason; [FWD_PASSED] is 0 */
	bool tap_lost;               /* the TAP device is gone from under us: open another and start anew */
};
void userspace_stats(const struct userspace *u, struct userspace_stats *out);
/* Every peer of the table, in the order of their names. */
typedef void (*userspace_each)(uint64_t peer, const struct userspace_traffic *t, void *arg);
void userspace_peers(const struct userspace *u, userspace_each each, void *arg);

#endif
