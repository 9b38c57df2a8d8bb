/* What of the range is ours and what of it is in use: leases, and addresses that others hold in our ranges. */
#ifndef WEFT_IPAM_SPACE_H
#define WEFT_IPAM_SPACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/err.h"
#include "base/map.h"
#include "ipam/ranges.h"

struct lease {
	char *ident;
	uint32_t addr;
	uint8_t len;    /* of its subnet */
	bool published; /* as a hold ("h"): it lies outside our ranges */
};

struct hold { /* an address that another host uses outside its own ranges */
	uint32_t addr;
	uint64_t peer;
};

struct space {
	struct ranges mine; /* what may be given out */
	uint32_t *used;     /* sorted: leases and holds, anywhere */
	size_t n_used, cap_used;
	struct lease **leases; /* sorted by (ident, address) */
	size_t n_leases, cap_leases;
	struct map *by_addr; /* address -> struct lease */
	struct hold *holds;  /* sorted by (address, peer) */
	size_t n_holds, cap_holds;
};
enum err space_init(struct space *s, uint64_t seed) MUST_CHECK;
void space_free(struct space *s);

/* NULL: nobody here has it. */
struct lease *space_lease_at(const struct space *s, uint32_t addr);
/* The leases of one ident: the index of the first, *n of them. */
size_t space_leases_of(const struct space *s, const char *ident, size_t *n);
/* The address must not be leased. All or nothing. */
enum err space_lease(struct space *s, const char *ident, uint32_t addr, uint8_t len, struct lease **out) MUST_CHECK;
void space_release(struct space *s, struct lease *l); /* frees l */

enum err space_hold(struct space *s, uint32_t addr, uint64_t peer) MUST_CHECK; /* again: ERR_OK */
void space_unhold(struct space *s, uint32_t addr, uint64_t peer);
void space_unhold_all(struct space *s, uint64_t peer);
void space_unhold_every(struct space *s);
/* Who holds it; PEER_NONE: nobody. */
uint64_t space_holder(const struct space *s, uint32_t addr);

/* Addresses of r that nobody uses, be they ours or not; and the first run of them at or after r.start, as far as r goes. */
uint64_t space_unused_in(const struct space *s, struct range4 r);
bool space_gap(const struct space *s, struct range4 r, struct range4 *gap);
uint64_t space_free_in(const struct space *s, struct range4 r);
/* The lowest free address of ours in r; O(log n) unless holes are many. */
bool space_lowest(const struct space *s, struct range4 r, uint32_t *addr);
/* What to give to a host that asks for space in r, so that the ring stays in few pieces: about half of what is free, of whole tokens where
 * that is to be had. A token more than there were must make the gift four times as large, one that begins off the grid (multiples of grain, a
 * power of two) 64 times; so in the end tokens are of the grid, and move whole. cuts: ascending, the addresses at which tokens begin, and
 * the end of the range. Of equals the last, so that the giver keeps the low ones. false: there is nothing that the asker could use; r's
 * first and last address are of no use to anyone. */
bool space_block(
	const struct space *s, struct range4 r, const uint64_t *cuts, size_t n_cuts, uint64_t grain, struct range4 *block);

#endif
