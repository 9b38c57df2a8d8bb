/* The addresses that one request of a container or of the host wants: got from the core one by one, each of which may wait for space or for the first
 * agreement; given back if the request comes to nothing. Control thread only. */
#ifndef WEFT_ROUTER_LEASE_REQUEST_H
#define WEFT_ROUTER_LEASE_REQUEST_H

#include "router/router.h"

struct wanted {
	struct prefix prefix; /* to be claimed, or where one is to come from; then what was got */
	bool claim;
	bool had; /* the ident held it before this request */
};

struct lease_request {
	/* The asker's, set before the start. */
	struct router *r;
	const char *ident; /* lives as long as this */
	struct wanted want[CORE_ADDRS_MAX];
	size_t n_want;
	/* Once: ERR_OK and all are held, ERR_CANCELLED, or what went wrong and the text that says so. May free this. */
	void (*done)(void *ctx, enum err err, const char *text);
	void *ctx;
	/* lease_request.c's. */
	size_t n_got;   /* want[0 … n_got) are held */
	size_t n_again; /* claims of what was lost while another was waited for */
	uint64_t inner; /* what the core is asked now */
	bool asking, answered, cancelled;
	enum err err;
	char why[256];
};

/* An IPv6 address, and any without address management, is taken as it is. done may be called before this returns. */
void lease_request_start(struct lease_request *q);
/* done is called with ERR_CANCELLED: before this returns, or as soon as an address that was given already has been told of. Not after done. */
void lease_request_cancel(struct lease_request *q);
/* The same at once, and done is not called: for who ends everything. */
void lease_request_drop(struct lease_request *q);
/* What this request obtained goes back, unless in_use says that something else has made use of it. */
void lease_request_give_back(struct lease_request *q, bool (*in_use)(const void *arg, struct ip addr), const void *arg);

/* Is this address leased to that ident? false for IPv6, and without address management. */
bool lease_is_held(const struct router *r, const char *ident, struct ip addr);

#endif
