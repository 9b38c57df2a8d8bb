/* Pieces of anyone, each behind peer, flags, milliseconds since the one before and its length: a frame that comes out whole has bytes that were sent, and
 * memory stays within the bounds. And what is put into pieces comes out as it was. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "tunnel/frag.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void there_and_back(struct slice frame, size_t room)
{
	uint8_t out[2048], *back = NULL;
	struct frag *f;
	size_t i, n, whole = 0;
	bool partial;
	if (room > sizeof out || frag_new(&f) != ERR_OK)
		return;
	for (i = 0; (n = frag_piece(frame, 7, i, room, out)) > 0; i++) {
		assert(!back && n <= room);
		assert(frag_take(f, 1, 2, true, slice_of(out, n), 0, &back, &whole, &partial) == FWD_PASSED);
	}
	assert(i == 0 || (back && partial && whole == frame.n && memcmp(back, frame.p, whole) == 0));
	frag_free(f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct frag *f;
	struct rbuf r;
	uint64_t now = 0;
	const long before = mem_live();
	rbuf_init(&r, data, size);
	const size_t room = rbuf_u16(&r);
	there_and_back(slice_of(data, size), room);
	if (frag_new(&f) != ERR_OK)
		return 0;
	while (rbuf_left(&r) > 0) {
		const uint8_t peer = rbuf_u8(&r), flags = rbuf_u8(&r), n = rbuf_u8(&r);
		now += (uint64_t)(flags >> 2) * 16;
		const struct slice piece = rbuf_bytes(&r, n < rbuf_left(&r) ? n : rbuf_left(&r));
		uint8_t *frame;
		size_t whole;
		bool partial;
		const enum fwd_drop drop = frag_take(f, peer, flags & 1, flags & 2, piece, now, &frame, &whole, &partial);
		assert(drop == FWD_PASSED || drop == FWD_FRAGMENT || drop == FWD_MALFORMED);
		assert(drop == FWD_PASSED || !frame);
		assert((frame != NULL) == (whole > 0) && (!frame || partial == !!(flags & 2)));
		for (size_t i = 0; frame && i < whole; i++)
			frame[i] ^= 1;
		assert(mem_live() - before <= 1 + FRAG_FRAMES);
	}
	frag_free(f);
	assert(mem_live() == before);
	return 0;
}
