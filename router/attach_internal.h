/* Shared by attach*.c only. attach.c: requests to attach; attach_detach.c: detaching, and endpoints without a container; attach_watch.c: what the
 * kernel has against what the core knows. */
#ifndef WEFT_ROUTER_ATTACH_INTERNAL_H
#define WEFT_ROUTER_ATTACH_INTERNAL_H

#include "router/container.h"
#include "router/internal.h"

void attach_ignore(void *ctx, const struct router_result *res);
void attach_submit_quietly(struct router *r, struct core_event *ev); /* nobody waits for the answer */
/* The answer at once; gives 0. */
uint64_t attach_refuse(router_done done, void *ctx, enum err err, const char *text);
/* As the core is told. */
void attach_endpoint_of(const struct router *r, const struct container_record *rec, const char *network, struct core_endpoint *e);
/* Is this address leased to that ident? */
bool attach_held_by(const struct router *r, const char *ident, struct ip addr);
/* What the network says; without management of addresses there is none. */
struct prefix attach_default_subnet(const struct core *core, const char *network);
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
