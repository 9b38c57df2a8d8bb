/* A delta: some items of one map, to be merged. varint count (at most DELTA_ITEMS_MAX), then the items (crdt_item_encode). */
#ifndef WEFT_CRDT_DELTA_H
#define WEFT_CRDT_DELTA_H

#include "crdt/map.h"

#define DELTA_ITEMS_MAX 65536

/* The delta is all that is left in the reader: bytes after it are malformed. Floors are merged after the other items, whatever the
 * order in it, so that re-stamped items are never missing in between. */

/* Writes the present items of these keys (absent ones are skipped), as many as fit in max_bytes; *taken of the n keys were used.
 * ERR_LIMIT when not even one fits: max_bytes should be 8400 at least. */
enum err crdt_delta_encode(
	const struct crdt_map *m, const struct slice *keys, size_t n, size_t max_bytes, struct wbuf *w, size_t *taken) MUST_CHECK;
/* Merges a delta; keys of what was news go to ch. Malformed: ERR_TRUNCATED, ERR_MALFORMED, ERR_LIMIT; nothing is merged then (two passes).
 * ERR_LIMIT also when the map was too full for some item; what found a place is merged and in ch then. items, news may be NULL. */
enum err crdt_delta_merge(struct crdt_map *m, struct rbuf *r, struct crdt_changes *ch, size_t *items, size_t *news) MUST_CHECK;

#endif
