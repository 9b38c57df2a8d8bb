/* Hash map from byte strings to pointers. Keys are copied in; values stay the caller's. SipHash with the map's own key. */
#ifndef WEFT_BASE_MAP_H
#define WEFT_BASE_MAP_H

#include "base/buf.h"

struct map;
struct map *map_new(uint64_t seed); /* NULL: out of memory */
void map_free(struct map *m);       /* takes NULL; values are not touched */
size_t map_count(const struct map *m);
void *map_get(const struct map *m, struct slice key); /* NULL: not there */
/* *old (may be NULL) gets what was there or NULL. ERR_NOMEM leaves the map as it was. value must not be NULL. */
enum err map_put(struct map *m, struct slice key, void *value, void **old) MUST_CHECK;
void *map_del(struct map *m, struct slice key); /* what was there, or NULL */
/* Order is arbitrary but the same for the same history and seed. Start with *it = 0; false at the end. The entry just given may be
 * deleted while iterating, nothing else may change. */
bool map_next(const struct map *m, size_t *it, struct slice *key, void **value);

/* The same with 64-bit keys. */
void *map_get64(const struct map *m, uint64_t key);
enum err map_put64(struct map *m, uint64_t key, void *value, void **old) MUST_CHECK;
void *map_del64(struct map *m, uint64_t key);
uint64_t map_key64(struct slice key);

#endif
