/* `weft verify`: does all that this host keeps belong together? Leases, containers, their interfaces and names, devices, forwarding entries, the ring, Docker's own
 * records, and the other hosts' copies of the replicated state.
 *
 * verify.c compares facts and is pure. verify_facts.c takes them from the core, the plane and the kernel, all in one turn of the loop. verify_run.c asks the
 * other hosts and Docker, and looks again and again for a bounded time: what is under way (a container being started, news on its way) differs for a moment,
 * and only what every look finds, from the first to the last, is a finding. */
#ifndef WEFT_ROUTER_VERIFY_H
#define WEFT_ROUTER_VERIFY_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/err.h"
#include "base/mem.h"
#include "ipam/ipam.h"
#include "router/container.h"
#include "router/core/core.h"
#include "router/docker/docker.h"

#define VERIFY_WAIT_MS     5000 /* unless the asker says otherwise */
#define VERIFY_WAIT_MAX_MS 60000
#define VERIFY_LOOK_MS     500
#define VERIFY_HOST_TEXT   96   /* "NAME(NICK)" */
#define VERIFY_FINDINGS    1000 /* told; more are counted */

/* --- the facts. Strings and arrays are the caller's; texts of the kernel may hold anything but zero bytes. */
struct verify_lease {
	const char *ident;
	struct prefix addr;
	bool waits; /* for Docker to make use of it; else it is free again in a while */
};
struct verify_name {
	const char *ident, *fqdn;
	struct ip addr;
};
enum verify_peer { VERIFY_PEER_HERE, VERIFY_PEER_REACHABLE, VERIFY_PEER_AWAY, VERIFY_PEER_UNKNOWN };
struct verify_container { /* an endpoint */
	const struct core_endpoint *e;
	enum verify_peer owner;
	char host[VERIFY_HOST_TEXT]; /* nickname or name of its host */
	bool network_gone;           /* no network of that name is known */
	bool absent;                 /* known to be without its interface for a short while: it may be restarting */
};
struct verify_interface { /* host's end of a container's interface */
	char name[16];
	bool readable; /* its record is */
	struct container_record record;
	const char *network; /* whose bridge it is on; NULL: on none of weft's */
};
struct verify_device { /* bridge or uplink of a network */
	char name[16];
	bool known; /* the network is */
};
struct verify_forward {
	const char *network;
	struct mac mac;
	bool wanted; /* it leads where the core says */
};
struct verify_neigh {
	const char *network;
	struct ip ip;
	struct mac mac;
	bool wanted;
};
struct verify_digest {
	char host[VERIFY_HOST_TEXT];
	bool answered;
	uint16_t differs;
};
struct verify_facts {
	bool ipam, names;
	struct prefix range;
	const char *ring, *conflict;  /* what is wrong with the ring; NULL: nothing */
	const char *filter, *trouble; /* with the packet filter; with the data plane */
	const struct verify_lease *leases;
	size_t n_leases;
	const struct verify_lease *claims; /* that wait */
	size_t n_claims;
	const struct ip
		*reserved; /* leased to the Docker plugin and used: gateways, IPv6 addresses, and those of endpoints as well */
	size_t n_reserved;
	bool plugin; /* it is there: then these are all the endpoints that dockerd made, by ident */
	const char *const *known;
	size_t n_known;
	const struct verify_container *containers; /* of all hosts */
	size_t n_containers;
	const struct verify_interface *interfaces;
	size_t n_interfaces;
	const struct verify_name *names_v; /* put here */
	size_t n_names;
	const struct verify_device *devices;
	size_t n_devices;
	const struct verify_forward *forwards;
	size_t n_forwards;
	const struct verify_neigh *neighs;
	size_t n_neighs;
	const struct ip *probes; /* destinations of probes for hosts that nobody knows */
	size_t n_probes;
	const char *const *ports; /* interfaces that the packet filter has rules for */
	size_t n_ports;
	const struct verify_digest *digests;
	size_t n_digests;
	bool docker; /* it could be asked: then docker_v is all there is */
	const struct docker_listed *docker_v;
	size_t n_docker;
};

/* check: one word; text: what is wrong; todo: what to do. note: only worth knowing. */
typedef void (*verify_say)(void *ctx, bool note, const char *check, const char *text, const char *todo);
/* ERR_NOMEM: not all was looked at. */
bool verify_of_docker(const struct verify_facts *f); /* is any container of this host one of Docker's? */
enum err verify_compare(const struct verify_facts *f, verify_say say, void *ctx) MUST_CHECK;

/* --- the whole */
struct router;
typedef void (*verify_done)(
	void *ctx, bool ok, json_t *doc); /* doc: NULL when the daemon stops or there is no memory; the callee's to keep */
/* {"schema", "ok", "waited_s", "looked_at": {…}, "findings": [{"check", "text", "todo"}], "notes": […]}. `done` comes once, never before this returns, unless it
 * is cancelled by router_cancel. Gives the request's number; 0: out of memory, and done is not called. */
uint64_t router_verify(struct router *r, uint32_t wait_ms, verify_done done, void *ctx);
bool verify_cancel(struct router *r, uint64_t request); /* for router_cancel */
void verify_end_all(struct router *r);                  /* for router_stop */
/* Text for people: a line each, then the sum. */
void verify_text(const json_t *doc, struct wbuf *w);

#endif
