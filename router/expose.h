/* The host's own addresses on its networks: weft expose, weft hide. Control thread only. */
#ifndef WEFT_ROUTER_EXPOSE_H
#define WEFT_ROUTER_EXPOSE_H

#include "router/plane.h"
#include "router/router.h"

struct expose_request {
	const char *const *addrs; /* ADDR forms (INTERFACES section 4); none: net:default */
	size_t n_addrs;
	const char *network; /* NULL: the default one */
	const char *fqdn;    /* gets these addresses; NULL: none */
	bool masquerade;
};
/* Addresses (allocated, claimed, or what it has), on the bridge, made known, written down. Idempotent; the last word on masquerading holds. Cancelled like
 * any request. The result has the addresses. */
uint64_t router_expose(struct router *r, const struct expose_request *req, router_done done, void *ctx);
/* The same addresses go, with their names. The result has those that were there. */
uint64_t router_hide(struct router *r, const struct expose_request *req, router_done done, void *ctx);
/* What is exposed, in no order; *it starts at 0. */
bool router_next_exposed(const struct router *r, size_t *it, struct plane_exposed *out);

/* What keeps packets from being passed on between the networks and elsewhere, in one line each with what to do; *it starts at 0; NULL at the end. Static until the
 * next call of anything here. */
const char *expose_next_warning(const struct router *r, size_t *it);

/* The host's ident on a network; all such begin with "weft:expose". */
const char *expose_ident(const char *network, char out[CORE_IDENT_MAX + 1]);
bool expose_is_ident(const char *ident);

/* For the daemon's files. At the start, when the plane is there: what was exposed is so again. */
enum err expose_restore(struct router *r, struct err_note *note) MUST_CHECK;
bool expose_cancel(struct router *r, uint64_t request);
void expose_end_all(struct router *r, enum err err, const char *text);
void expose_free(struct router *r);

#endif
