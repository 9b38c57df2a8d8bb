/* What dockerd asks of a network and IPAM plugin, read: every field is checked, and what is wrong is said by the field's name. Fields that are not
 * known are left alone: a later Docker may have more. Pure but for jansson's memory. */
#ifndef WEFT_ROUTER_DOCKER_PLUGIN_REQUEST_H
#define WEFT_ROUTER_DOCKER_PLUGIN_REQUEST_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/addr.h"
#include "base/buf.h"
#include "base/err.h"
#include "router/core/core.h"
#include "router/docker/docker.h"
#include "router/docker/plugin_pool.h"

#define PLUGIN_SPACE_MAX 64 /* bytes of an address space's name */
#define PLUGIN_POOLS_MAX 8  /* of one network and family */
#define PLUGIN_AUX_MAX   64 /* --aux-address of one network */
#define PLUGIN_MTU_MIN   576u
#define PLUGIN_MTU_MAX   65535u

/* The -o options of a network. */
struct plugin_options {
	char network[CORE_NETWORK_MAX + 1]; /* weft.network; "": not given */
	bool no_multicast;                  /* weft.multicast=false */
	unsigned mtu;                       /* weft.mtu; 0: not given */
};

struct plugin_pool_request { /* RequestPool */
	char space[PLUGIN_SPACE_MAX + 1];
	struct prefix pool, sub; /* family 0: not named */
	bool v6;
};

struct plugin_address_request { /* RequestAddress, ReleaseAddress, ReleasePool (no address) */
	char pool[PLUGIN_POOL_ID_MAX + 1];
	struct ip addr; /* family 0: any */
	bool gateway;
};

struct plugin_subnet { /* of a network, as CreateNetwork says */
	char space[PLUGIN_SPACE_MAX + 1];
	struct prefix pool;
	struct ip gateway; /* family 0: none */
	/* of one that Docker's API tells of: */
	struct prefix sub; /* --ip-range; family 0: none */
	const json_t *aux; /* --aux-address: plugin_parse_aux; points into Docker's answer. NULL: none */
};

struct plugin_network_request { /* CreateNetwork, AllocateNetwork; DeleteNetwork and FreeNetwork: the id */
	char id[DOCKER_ID_MAX + 1];
	bool internal, ipv6;
	struct plugin_options options;
	struct plugin_subnet subnets[2 * PLUGIN_POOLS_MAX];
	size_t n_subnets;
};

struct plugin_endpoint_request { /* CreateEndpoint; Join, Leave and so on: the ids */
	char network[DOCKER_ID_MAX + 1], id[DOCKER_ID_MAX + 1];
	struct prefix addr, addr6; /* family 0: not given */
	struct mac mac;
	bool mac_given;
};

struct plugin_seen {                 /* a network, as Docker's API tells of it */
	char name[CORE_NETWORK_MAX + 1]; /* in weft; "": Docker's is longer than one may be */
	bool internal, foreign, gives;   /* struct plugin_net */
	struct plugin_options options;
	struct plugin_subnet subnets[2 * PLUGIN_POOLS_MAX]; /* of our pools only */
	size_t n_subnets;
};

/* The body: an object; nothing at all is an empty one. *out is the caller's. ERR_MALFORMED, ERR_NOMEM. */
enum err plugin_parse_body(struct slice text, json_t **out, struct err_note *note) MUST_CHECK;
/* All give ERR_USAGE with a note. */
enum err plugin_parse_pool(const json_t *body, struct plugin_pool_request *out, struct err_note *note) MUST_CHECK;
enum err plugin_parse_pool_id(const json_t *body, struct plugin_address_request *out, struct err_note *note) MUST_CHECK;
/* needed: an address has to be named. */
enum err plugin_parse_address(
	const json_t *body, bool needed, struct plugin_address_request *out, struct err_note *note) MUST_CHECK;
/* flat: Options are the -o options themselves, as AllocateNetwork has them. */
enum err plugin_parse_network(
	const json_t *body, bool flat, struct plugin_network_request *out, struct err_note *note) MUST_CHECK;
enum err plugin_parse_network_id(const json_t *body, char id[DOCKER_ID_MAX + 1], struct err_note *note) MUST_CHECK;
enum err plugin_parse_endpoint(const json_t *body, struct plugin_endpoint_request *out, struct err_note *note) MUST_CHECK;
enum err plugin_parse_endpoint_ids(const json_t *body, struct plugin_endpoint_request *out, struct err_note *note) MUST_CHECK;
/* DiscoverNew, DiscoverDelete: looked at, nothing is kept. */
enum err plugin_parse_discovery(const json_t *body, struct err_note *note) MUST_CHECK;
/* Is this network the plugin's whose socket is there? By the driver's name, which is the socket's, with a path and a tag if Docker manages it; or since a pool of ours
 * is behind it. */
bool plugin_is_ours(const struct docker_network *d, const char *socket);
/* What can be made of Docker's own words when those of CreateNetwork are lost. Valid as long as *d. */
enum err plugin_parse_seen(const struct docker_network *d, struct plugin_seen *out, struct err_note *note) MUST_CHECK;
/* One of docker_network's containers. */
enum err plugin_parse_seen_endpoint(const json_t *o, struct plugin_endpoint_request *out, struct err_note *note) MUST_CHECK;
enum err plugin_parse_aux(
	const json_t *aux, int family, struct ip out[PLUGIN_AUX_MAX], size_t *n, struct err_note *note) MUST_CHECK;
/* An object of texts: those that begin with "weft." are ours. */
enum err plugin_parse_options(const json_t *o, struct plugin_options *out, struct err_note *note) MUST_CHECK;

#endif
