/* Tokens from a stranger, each as an item on the wire, into the map of a ring. Whatever they say, the view is in order, inside and
 * disjoint, its three readers agree, and the check says that the ring is legal exactly when every address has an owner. */
#include <assert.h>
#include <stdint.h>

#include "crdt/ring.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct universe range = { 0x0a000000, 28 };

enum { ADDRESSES = 16 };

static void look(const struct crdt_map *m)
{
	struct err_note note;
	struct ring_span s;
	uint64_t it = range.first, at = range.first, covered = 0;
	while (ring_each(m, range, &it, &s)) {
		assert(s.start >= at && s.start < s.end && s.end <= universe_range(range).end && s.end == it && s.owner != PEER_NONE);
		for (uint64_t a = s.start; a < s.end; a++)
			assert(ring_owner(m, range, (uint32_t)a) == s.owner);
		for (; at < s.start; at++)
			assert(ring_owner(m, range, (uint32_t)at) == PEER_NONE);
		at = s.end;
		covered += s.end - s.start;
	}
	bool legal = ring_check(m, range, &note) == ERR_OK;
	assert(legal == (covered == ADDRESSES || ring_empty(m, range)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct crdt_map *m = NULL, *legal = NULL;
	struct rbuf r;
	enum err e = ring_map_new(&m, 1);
	assert(e == ERR_OK);
	e = ring_map_new(&legal, 1);
	assert(e == ERR_OK);
	e = ring_divide(legal, range, (uint64_t[]){ 1, 2, 3 }, 3, NULL);
	assert(e == ERR_OK);
	rbuf_init(&r, data, size);
	while (rbuf_ok(&r) && rbuf_left(&r) > 0) {
		struct crdt_item it;
		enum crdt_merge what;
		crdt_item_decode(&r, &it);
		if (!rbuf_ok(&r))
			break;
		e = crdt_map_merge(m, &it, &what, NULL);
		assert((e == ERR_OK) == ring_item_valid(&it));
		e = crdt_map_merge(legal, &it, &what, NULL);
		assert((e == ERR_OK) == ring_item_valid(&it));
	}
	look(m);
	look(legal);
	crdt_map_check(m);
	/* A local grant keeps to the rules over all that. */
	uint64_t owner = ring_owner(legal, range, range.first + 5);
	if (owner != PEER_NONE) {
		e = ring_grant(legal, range, (struct range4){ range.first + 5, range.first + 6 }, owner, 9, NULL);
		assert(e == ERR_OK || e == ERR_LIMIT);
		assert(e != ERR_OK || ring_owner(legal, range, range.first + 5) == 9);
		look(legal);
	}
	crdt_map_free(m);
	crdt_map_free(legal);
	return 0;
}
