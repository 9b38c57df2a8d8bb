/* A delta from a stranger, into an owned map (with a writer, whose words he may try to take) and an unowned one. */
#include <assert.h>
#include <stdint.h>

#include "crdt/delta.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { WRITER = 1 };

static struct crdt_map *new_map(bool owned)
{
	struct crdt_map *m = NULL;
	enum err e = crdt_map_new(&m, owned, 1);
	if (e == ERR_OK && owned) {
		crdt_map_set_writer(m, WRITER, 2);
		e = crdt_map_put(m, slice_str("a"), slice_str("mine"), NULL);
		if (e == ERR_OK)
			e = crdt_map_delete(m, slice_str("a"), NULL);
		if (e == ERR_OK)
			e = crdt_map_put(m, slice_str("b"), slice_str("mine"), NULL);
	}
	assert(e == ERR_OK);
	return m;
}

static void merge(bool owned, const uint8_t *data, size_t size, struct arena *arena)
{
	struct crdt_map *m = new_map(owned);
	size_t before = crdt_map_count(m), items = 0, news = 0;
	struct crdt_changes ch;
	enum err first = ERR_OK;
	for (int i = 0; i < 2; i++) {
		struct rbuf r;
		arena_reset(arena);
		crdt_changes_init(&ch, arena);
		rbuf_init(&r, data, size);
		enum err e = crdt_delta_merge(m, &r, &ch, &items, &news);
		crdt_map_check(m);
		if (i == 0) {
			first = e;
			if (e != ERR_OK)
				assert(news == 0 && ch.n == 0 && crdt_map_count(m) == before);
		} else {
			/* A second time it is as good or bad, and says nothing new. */
			assert(e == first && news == 0);
		}
	}
	crdt_map_free(m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct arena *arena = arena_new();
	assert(arena != NULL);
	merge(true, data, size, arena);
	merge(false, data, size, arena);
	arena_free(arena);
	return 0;
}
