/* TCP connections of the control plane: numbers outside, libuv handles inside. Control thread only. */
#ifndef WEFT_ROUTER_CONNS_H
#define WEFT_ROUTER_CONNS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <uv.h>

#include "base/addr.h"
#include "base/buf.h"
#include "base/err.h"

#define CONNS_MAX       4096        /* open at once, accepted and dialled together; more are refused at accept */
#define CONNS_QUEUE_MAX (16u << 20) /* bytes waiting on one connection; beyond it the connection is broken */
#define CONNS_DIAL_MS   5000
#define CONNS_FLUSH_MS  1000 /* after conns_close, for what was sent before */

/* Called from the loop, never from inside conns_dial, conns_send or conns_close. */
struct conns_handlers {
	void (*opened)(void *ctx, uint64_t conn, bool outbound, struct hostport remote, struct hostport local);
	void (*data)(void *ctx, uint64_t conn, struct slice bytes);
	void (*drained)(void *ctx, uint64_t conn, size_t queued_bytes); /* after every conns_send, once the kernel has taken bytes */
	void (*closed)(void *ctx, uint64_t conn, const char *why);      /* not after conns_close */
};

struct conns;
/* host: listen there and dial from there; family 0: everywhere. ERR_BUSY: the port is in use; ERR_PERMISSION. */
enum err conns_new(struct conns **out, uv_loop_t *loop, struct ip host, uint16_t port, const struct conns_handlers *handlers,
	void *ctx, struct err_note *note) MUST_CHECK;
/* Connects; `opened` or `closed` follows (neither when there is no memory for it). Of a name's addresses the first is taken. */
void conns_dial(struct conns *c, uint64_t conn, const char *host, uint16_t port);
/* Copies the bytes. `drained` follows when they have left, also when they left at once: senders count what they have sent until then.
 * Unknown numbers are ignored. */
void conns_send(struct conns *c, uint64_t conn, struct slice bytes);
void conns_close(struct conns *c, uint64_t conn); /* after what was sent before */
/* Closes everything; handles end in the loop, then `done` is called and c is gone. */
void conns_free(struct conns *c, void (*done)(void *ctx), void *ctx);
struct conns_stats {
	uint64_t accepts, refused, dials, dial_failures;
	size_t open;
};
void conns_stats(const struct conns *c, struct conns_stats *out);

#endif
