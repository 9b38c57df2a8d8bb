/* struct attach_request as JSON:
 *
 *  {"container": "pid:7", "id": "…", "ifname": "ethwe", "addresses": ["net:default"], "network": "…", "mac": "…",
 *   "routes": [{"dst": "0.0.0.0/0", "gw": "10.32.0.1"}], "hosts": [{"name": "db", "address": "10.32.0.1"}],
 *   "hairpin": false, "multicast_route": true, "with_dns": true, "rewrite_hosts": false}
 *
 * Only the first is needed, and of a container that is detached whole its id alone will do. */
#ifndef WEFT_ROUTER_ATTACH_REQUEST_H
#define WEFT_ROUTER_ATTACH_REQUEST_H

#include <jansson.h>

#include "router/container.h"
#include "router/router.h"

enum { ATTACH_ADDRS_MAX = 64, ATTACH_HOSTS_MAX = 64, ATTACH_HOST_MAX = 253 };

struct attach_asked { /* not to be moved: req points into it, and strings into the document */
	struct attach_request req;
	const char *addrs[ATTACH_ADDRS_MAX];
	struct container_route routes[CONTAINER_ROUTES_MAX];
	struct attach_host hosts[ATTACH_HOSTS_MAX];
};
/* ERR_MALFORMED, ERR_LIMIT. Whether names and addresses are any good is seen when they are used. */
enum err attach_request_read(struct attach_asked *out, json_t *doc, bool attach, struct err_note *note) MUST_CHECK;
/* The caller's; NULL: out of memory, or a string that is no UTF-8. */
json_t *attach_request_write(const struct attach_request *req);

#endif
