/* Binary min-heap of intrusive nodes, ordered by (key, seq): equal keys leave in the order they came. */
#ifndef WEFT_BASE_HEAP_H
#define WEFT_BASE_HEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct heap_node {
	uint64_t key, seq;
	size_t at; /* 1-based place, 0 = not in a heap */
};
struct heap {
	struct heap_node **v;
	size_t n, cap;
	uint64_t seq;
};
void heap_init(struct heap *h);
void heap_free(struct heap *h);
enum err heap_push(struct heap *h, struct heap_node *node, uint64_t key) MUST_CHECK; /* re-keys one that is in already */
void heap_remove(struct heap *h, struct heap_node *node);                            /* no-op when not in */
struct heap_node *heap_peek(const struct heap *h);                                   /* NULL: empty */
struct heap_node *heap_pop(struct heap *h);

#endif
