/* A set of IPv4 addresses as sorted, disjoint, joined half-open ranges. All changes are all-or-nothing. */
#ifndef WEFT_IPAM_RANGES_H
#define WEFT_IPAM_RANGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/err.h"

struct ranges { /* all zeros is the empty set */
	struct range4 *v;
	size_t n, cap;
};
void ranges_free(struct ranges *s);
void ranges_clear(struct ranges *s); /* keeps the memory */
enum err ranges_add(struct ranges *s, struct range4 r) MUST_CHECK;
enum err ranges_sub(struct ranges *s, struct range4 r) MUST_CHECK;
/* *out becomes a without b; out is neither of them. */
enum err ranges_minus(struct ranges *out, const struct ranges *a, const struct ranges *b) MUST_CHECK;
void ranges_swap(struct ranges *a, struct ranges *b);
/* The first range that ends after the address; s->n when there is none. O(log n). */
size_t ranges_find(const struct ranges *s, uint64_t addr);
bool ranges_has(const struct ranges *s, uint64_t addr);
bool ranges_covers(const struct ranges *s, struct range4 r);
bool ranges_eq(const struct ranges *a, const struct ranges *b);
uint64_t ranges_size(const struct ranges *s);

#endif
