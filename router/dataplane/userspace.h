/* The userspace path: frames between the bridges' capture devices and other hosts' UDP, moved by threads of its own.
 *
 * The control thread starts it, gives it devices (one per network) and tables (who is where, sealed with what), reads its counters, and is handed what is not a
 * frame. It never waits for the data threads except in userspace_stop and userspace_remove. */
#ifndef WEFT_DATAPLANE_USERSPACE_H
#define WEFT_DATAPLANE_USERSPACE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/err.h"
#include "router/dataplane/capture.h"
#include "tunnel/fwd.h"
#include "tunnel/seal.h"

#define WEFT_USERSPACE_PORT_DEFAULT 6783u

struct userspace;

struct userspace_cfg {
	struct hostport
		listen;      /* family 0: every address of both families (IPv4 alone where the kernel has no IPv6); port 0: any (tests) */
	unsigned queues; /* pairs of threads; 0: half the processors, 1 … 8 */
	uint64_t self;
	/* In the control thread, from userspace_poll: */
	void *ctx;
	void (*datagram)(void *ctx, struct hostport from,
		struct slice bytes);                  /* handshake, or CONTROL, sealed or not; RELAYED ones for us too, whole */
	void (*wanted)(void *ctx, uint64_t peer); /* a frame waits for a session */
	void (*roamed)(
		void *ctx, uint64_t peer, struct hostport from); /* an authentic datagram came from another address than `to` */
};
/* ERR_BUSY: the port is taken. ERR_NOT_FOUND: listen.ip is no address of this host. ERR_SYSTEM, ERR_NOMEM. Until the first table everything is
 * dropped. */
enum err userspace_start(const struct userspace_cfg *cfg, struct userspace **out, struct err_note *note) MUST_CHECK;
void userspace_stop(
	struct userspace *u); /* takes NULL; ends and joins the threads, frees the tables; captures stay their owner's */
uint16_t userspace_port(const struct userspace *u);
unsigned userspace_queues(const struct userspace *u);
/* Readable when userspace_poll has something to hand over. */
int userspace_fd(const struct userspace *u);
void userspace_poll(struct userspace *u);
/* A datagram of the control thread's: whole, never fragmented. ERR_LIMIT: longer than the device allows; ERR_UNREACHABLE; ERR_REFUSED (an earlier one
 * was answered by "nobody listens"); ERR_AGAIN (buffers full). */
enum err userspace_send(struct userspace *u, struct hostport to, struct slice bytes) MUST_CHECK;

/* Frames of that network come from and go to c, which stays the caller's and open until userspace_remove or userspace_stop has returned. */
enum err userspace_add(struct userspace *u, uint16_t net, struct capture *c, struct err_note *note) MUST_CHECK;
void userspace_remove(struct userspace *u, uint16_t net);
/* A frame of the control thread's to that network's bridge. false: the kernel refused it, or there is no device. */
bool userspace_inject(struct userspace *u, uint16_t net, struct slice frame);

#define USERSPACE_FROM_MAX 8u /* addresses a host may send from */
struct userspace_peer {       /* in the order and number of nothing: found by name */
	uint64_t name;
	struct hostport to;                 /* family 0: cannot be sent to now */
	struct ip from[USERSPACE_FROM_MAX]; /* CLEAR, RELAYED and handshakes may come from these, and from to.ip */
	size_t n_from;
	uint64_t relay;           /* not PEER_NONE: what goes to it is sealed and wrapped in RELAYED, for `to`, which is this host */
	bool sealed;              /* what comes in the clear from it is refused, and what goes is sealed */
	uint16_t datagram;        /* longest UDP payload to it; frames that need more are cut, answered "too big", or fragmented */
	bool settled;             /* that is known. Else nobody is told of it (he would remember): what is too big is fragmented */
	struct seal_keys *keys;   /* to send with; NULL: none. The table takes a reference */
	struct hostport relay_to; /* where RELAYED datagrams of others for this peer go next; family 0: nowhere */
};
struct userspace_net {
	uint16_t net;
	struct fwd_table *table; /* of its MACs and members; belongs to the userspace path if userspace_set_table succeeds */
};
struct userspace_table {
	const struct userspace_peer *peers;
	size_t n_peers;
	const struct userspace_net *nets;
	size_t n_nets;
	struct seal_keys *const *sessions; /* what opens; references are taken */
	size_t n_sessions;
};
/* From the next batch on frames go by t. ERR_NOMEM: the old one stays and the fwd_tables are still the caller's. Counters of peers that are
 * in it no more are forgotten. */
enum err userspace_set_table(struct userspace *u, const struct userspace_table *t) MUST_CHECK;

/* Frames (as cut for the wire) and their bytes (Ethernet header included, encapsulation not); a flooded frame counts once for each host it is sent to. */
struct userspace_traffic {
	uint64_t frames_sent, bytes_sent, frames_received, bytes_received;
};
struct userspace_stats {
	struct userspace_traffic total;
	uint64_t flooded;                                          /* frames that were sent to all members */
	uint64_t relayed;                                          /* datagrams passed on for others */
	uint64_t superframes_in, superframes_out;                  /* from and to the captures */
	uint64_t fragments_sent, fragments_received, too_big_sent; /* too_big_sent: ICMP answers */
	uint64_t dropped[FWD_DROPS];                               /* both directions, by reason; [FWD_PASSED] is 0 */
	bool lost;                                                 /* a capture device is gone from under us: see userspace_lost */
};
void userspace_stats(const struct userspace *u, struct userspace_stats *out);
bool userspace_lost(const struct userspace *u, uint16_t *net); /* a network whose device is gone: remove it, and add another */
/* Every peer of the table, in the order of their names; relayed ones' traffic is among it. */
typedef void (*userspace_each)(uint64_t peer, const struct userspace_traffic *t, void *arg);
void userspace_peers(const struct userspace *u, userspace_each each, void *arg);

#endif
