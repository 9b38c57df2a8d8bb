/* Sockets towards upstream name servers: one for each try of a forwarded query, as dns/forward.h asks for them. Control thread only. */
#ifndef WEFT_ROUTER_DNS_UPSTREAMS_H
#define WEFT_ROUTER_DNS_UPSTREAMS_H

#include <uv.h>

#include "base/addr.h"
#include "base/buf.h"
#include "dns/forward.h"

struct dns_upstreams;
struct dns_upstreams_cfg {
	uv_loop_t *loop;
	uint64_t seed;
	/* Of a socket that was opened and not closed yet: nothing comes there any more; a reply came (valid until the call returns). They may open and close. */
	void (*failed)(void *ctx, uint64_t sock);
	void (*replied)(void *ctx, uint64_t sock, struct hostport from, struct slice reply);
	void *ctx;
};
/* NULL: out of memory. */
struct dns_upstreams *dns_upstreams_new(const struct dns_upstreams_cfg *cfg);
/* Closes all; when the loop has nothing of it any more `done` is called, perhaps before this returns, and u is gone. Takes NULL. */
void dns_upstreams_stop(struct dns_upstreams *u, void (*done)(void *ctx), void *ctx);

/* Does what an action DNS_FORWARD_OPEN says. false: it failed at once, and `failed` is not called. */
bool dns_upstreams_open(struct dns_upstreams *u, const struct dns_forward_action *a);
void dns_upstreams_close(struct dns_upstreams *u, uint64_t sock); /* nothing, when it is not open */

#endif
