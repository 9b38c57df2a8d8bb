/* Who this host is: an X25519 key in the state directory, and the peer name made of it. */
#ifndef WEFT_ROUTER_IDENTITY_H
#define WEFT_ROUTER_IDENTITY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "router/store.h"

struct identity {
	uint8_t secret[32], public[32]; /* secret: the caller wipes it */
	uint64_t name;
	bool made;   /* the key is new */
	bool cloned; /* the state came from another machine: its key and records were set aside */
};
/* Reads DIR/identity.key (0600), or makes it. The machine it was made on is remembered in the store (machine-id): on another machine,
 * as after cloning an image, a new key is made and what was stored is moved to aside/. ERR_MALFORMED: the file is no key. */
enum err identity_load(const char *dir, struct store *store, struct identity *out, struct err_note *note) MUST_CHECK;
/* Six bytes of the public key's hash, as a locally administered unicast MAC. */
uint64_t identity_name(const uint8_t public_key[32]);
/* The next incarnation: above the last one stored and not below the milliseconds since 1970, so that a host that lost its disk is still
 * ahead of its former self. Stored before it is given back. */
enum err identity_incarnation(struct store *store, uint64_t *out, struct err_note *note) MUST_CHECK;

#endif
