/* Docker's JSON, read: containers, networks, lists, events. Every count is bounded, every text that becomes ours is checked; what is missing is empty.
 * Pure but for jansson's memory. */
#ifndef WEFT_ROUTER_DOCKER_INSPECT_H
#define WEFT_ROUTER_DOCKER_INSPECT_H

#include "base/buf.h"
#include "router/docker/docker.h"

/* Ids of containers and networks: 1 to DOCKER_ID_MAX of [0-9a-z]. */
bool docker_id_ok(const char *id);
/* May this be a container's or a network's name or id: [A-Za-z0-9][A-Za-z0-9_.-]*, and not too long. */
bool docker_name_ok(const char *name);

/* ERR_MALFORMED, ERR_LIMIT, ERR_NOMEM. The document is what the container's and the network's pointers point into: to be dropped with docker_drop_…. */
struct docker_container_doc {
	struct docker_container c;
	json_t *doc;
};
enum err docker_parse_container(struct slice text, struct docker_container_doc *out, struct err_note *note) MUST_CHECK;
void docker_drop_container(struct docker_container_doc *d);

struct docker_network_doc {
	struct docker_network n;
	json_t *doc, *none;
};
enum err docker_parse_network(struct slice text, struct docker_network_doc *out, struct err_note *note) MUST_CHECK;
void docker_drop_network(struct docker_network_doc *d);
/* Those of a list; what is no network is left out. */
enum err docker_parse_networks(struct slice text, docker_each_network each, void *ctx, struct err_note *note) MUST_CHECK;

/* The ids in a list of containers; what is no id is left out. */
enum err docker_parse_list(struct slice text, docker_each each, void *ctx, struct err_note *note) MUST_CHECK;

/* What GET /containers/json says; *out is the caller's (mem_free), also when it is NULL. */
enum err docker_parse_endpoints(struct slice text, struct docker_listed **out, size_t *n, struct err_note *note) MUST_CHECK;

enum docker_event_kind {
	DOCKER_EVENT_OTHER,
	DOCKER_CONTAINER_START,
	DOCKER_CONTAINER_DIE,
	DOCKER_CONTAINER_DESTROY,
	DOCKER_CONTAINER_RENAME,
	DOCKER_NETWORK_CONNECT,
	DOCKER_NETWORK_DISCONNECT,
	DOCKER_NETWORK_DESTROY,
};
struct docker_event {
	enum docker_event_kind kind;
	char id[DOCKER_ID_MAX + 1];      /* of the container, also for network events; of the network when that is destroyed */
	char network[DOCKER_ID_MAX + 1]; /* network events */
};
enum err docker_parse_event(struct slice line, struct docker_event *out) MUST_CHECK;
/* {"message": "…"} of an error; "" if it has none. Control characters become '?'. */
void docker_parse_message(struct slice text, char *out, size_t size);
/* {"Version": …} */
void docker_parse_version(struct slice text, char *out, size_t size);

#endif
