/* Who has which address, as the kernel of this host is told: its bridge then answers containers that ask for another, so that a question
 * crosses no underlay and meets no host that does not know yet. Control thread only. */
#ifndef WEFT_ROUTER_NEIGH_H
#define WEFT_ROUTER_NEIGH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/err.h"
#include "router/dataplane/link.h"

struct log;
struct neigh;

/* Takes over what the kernel has from a former daemon. k and log stay the caller's. */
enum err neigh_open(struct neigh **out, uint64_t self, struct kernel *k, struct log *log, struct err_note *note) MUST_CHECK;
void neigh_close(struct neigh *n);  /* takes NULL; the kernel's state stays */
void neigh_forget(struct neigh *n); /* the kernel's state is gone */

/* Every address that is known, once for each host that says it has it: our own host's is right; else that of the lowest peer. Addresses no host
 * may speak for are passed over. */
void neigh_want(struct neigh *n, struct ip ip, struct mac mac, uint64_t peer);
/* Then once: brings the kernel in line with what was wanted since the last time. What differs is sent; what a former daemon left is removed
 * only when `settled`; each address of another host that is new or has another MAC is announced to our containers by `say` (NULL: not). Gives
 * the number of changes that the kernel refused; they are tried again at the next call. */
typedef bool (*neigh_say)(struct slice frame, void *arg); /* false: the kernel refused it */
size_t neigh_apply(struct neigh *n, bool settled, neigh_say say, void *arg);
size_t neigh_inherited(const struct neigh *n); /* entries of a former daemon that nobody has wanted yet */

#endif
