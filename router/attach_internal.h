/* Shared by attach*.c only. attach_name.c: which container is meant; attach.c: requests to attach; attach_detach.c: detaching, and endpoints without a container; attach_watch.c: what the
 * kernel has against what the core knows. */
#ifndef WEFT_ROUTER_ATTACH_INTERNAL_H
#define WEFT_ROUTER_ATTACH_INTERNAL_H

#include <jansson.h>

#include "router/container.h"
#include "router/internal.h"
#include "router/netns.h"

/* The container that is meant. */
struct attach_who {
	struct netns_target target; /* detach: perhaps only its ident */
	bool docker;                /* it is one of Docker's, and nobody else looks after it */
};
/* The request, when that is known. Both copy what they need of who and req. */
uint64_t attach_begin(struct router *r, uint64_t number, const struct attach_request *req, const struct attach_who *who,
	router_done done, void *ctx);
uint64_t detach_begin(
	struct router *r, const struct attach_request *req, const struct attach_who *who, router_done done, void *ctx);

/* attach_name.c */
void attach_target_of_pid(struct netns_target *t, const char *ident, pid_t pid);
/* Is Docker to be asked what is meant? */
bool attach_is_dockers(const struct router *r, const struct attach_request *req);
uint64_t attach_ask_docker(struct router *r, const struct attach_request *req, bool attach, router_done done, void *ctx);
bool attach_naming_cancel(struct router *r, uint64_t request);
void attach_naming_end_all(struct router *r, enum err err, const char *text);

/* attach_hosts.c: its /etc/hosts. *out NULL: that is to be left alone. request: attach_request.h. */
struct hosts_file;
enum err attach_hosts_open(const struct attach_request *req, const struct netns_target *t, int nsfd, struct hosts_file **out,
	struct err_note *note) MUST_CHECK;
enum err attach_hosts_put(struct hosts_file *h, json_t *request, const struct netns_target *t,
	const struct container_record *made, struct err_note *note) MUST_CHECK;
/* Our lines for these addresses, or all of ours (n_gone 0). Nothing happens if there are none. */
void attach_hosts_remove(struct router *r, const struct netns_target *t, const struct ip *gone, size_t n_gone);

void attach_submit_quietly(struct router *r, struct core_event *ev); /* nobody waits for the answer */
/* The answer at once, also that all is well and there was nothing to do; gives 0. */
uint64_t attach_refuse(router_done done, void *ctx, enum err err, const char *text);
/* As the core is told. */
void attach_endpoint_of(const struct router *r, const struct container_record *rec, const char *network, struct core_endpoint *e);
/* What the network says; without management of addresses there is none. */
struct prefix attach_default_subnet(const struct core *core, const char *network);
/* An ADDR form (INTERFACES section 4), or an IPv6 address: one that goes with an IPv4 address stands for that, and comes with it. */
enum err attach_parse_addr(const struct core *core, const char *network, const char *text, struct prefix *out, bool *claim,
	struct err_note *note) MUST_CHECK;
/* It is there, and the container is in no other one: its interface has one bridge. */
enum err attach_check_network(
	const struct router *r, const char *ident, const char *network, struct core_network *out, struct err_note *note) MUST_CHECK;
/* It is nobody else's in that network. */
enum err attach_check_mac(
	const struct router *r, const char *ident, const char *network, struct mac mac, struct err_note *note) MUST_CHECK;
/* May a container be known by it? */
enum err attach_check_ident(const char *ident, struct err_note *note) MUST_CHECK;
struct mac attach_random_mac(void);

#endif
