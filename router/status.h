/* What the daemon says about itself. One place makes each JSON document; the text form is rendered from that document and from nothing
 * else, so both say the same. Documents carry "schema": 1 and only gain fields. */
#ifndef WEFT_ROUTER_STATUS_H
#define WEFT_ROUTER_STATUS_H

#include <jansson.h>
#include <stdbool.h>

#include "base/buf.h"
#include "router/router.h"

#define STATUS_SCHEMA  1
#define STATUS_HOST_ID "weft:expose" /* the host itself among containers, as Weave Net shows it */

enum status_part {
	STATUS_ALL,
	STATUS_CONNECTIONS,
	STATUS_PEERS,
	STATUS_TARGETS,
	STATUS_IPAM,
	STATUS_DNS,
	STATUS_PS,
	STATUS_NETWORKS,
	STATUS_DOCKER
};

/* The caller's reference; NULL: out of memory. STATUS_IPAM and STATUS_DNS only when core_ipam, core_names are there. */
json_t *status_doc(const struct router *r, enum status_part part);
/* All of them and more, for `weft report`. */
json_t *status_report(const struct router *r);
/* {"healthy": …, "reasons": […]}. *healthy is the same. */
json_t *status_health(const struct router *r, bool *healthy);
/* "NAME(NICK)", or "NAME" when there is no nickname. */
void status_peer_text(const char *name, const char *nickname, char *out, size_t size);
/* Text for people, each line ended. What does not fit in w makes w failed. */
void status_text(enum status_part part, const json_t *doc, struct wbuf *w);

#endif
