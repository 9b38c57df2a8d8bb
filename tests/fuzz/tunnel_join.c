/* Frames of anyone, one after the other, each behind a byte of flags and two of length: every one that is taken is written once, and what is
 * written is a superframe that can be cut into as many as were joined. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "tunnel/segment.h"

struct tally {
	size_t frames;
	uint8_t whole[FRAME_MAX + JOIN_PARTS];
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void emit(void *ctx, const struct joined *j)
{
	struct tally *t = ctx;
	struct cut c;
	struct segment s;
	size_t at = 0, frames = 0;
	assert(j->n_parts >= 1 && j->n_parts <= JOIN_PARTS && j->frames == j->n_parts);
	for (size_t i = 0; i < j->n_parts; at += j->parts[i++].n) {
		assert(j->parts[i].n <= sizeof t->whole - at);
		memcpy(t->whole + at, j->parts[i].p, j->parts[i].n);
	}
	assert(at == j->bytes);
	t->frames += j->frames;
	if (at > FRAME_MAX) {
		assert(j->frames == 1);
		return;
	}
	assert(cut_begin(&c, &j->v, t->whole, at, SIZE_MAX) == FWD_PASSED);
	while (cut_next(&c, &s))
		frames++;
	assert(frames == j->frames);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	enum { FRAMES = 200 };
	uint8_t *frames[FRAMES];
	size_t n_frames = 0, taken = 0;
	struct join *j = malloc(sizeof *j);
	struct tally *t = malloc(sizeof *t);
	struct rbuf r;
	rbuf_init(&r, data, size);
	const uint8_t can = rbuf_u8(&r);
	if (j && t) {
		t->frames = 0;
		join_init(j, can & 1, can & 2, emit, t);
		while (rbuf_left(&r) > 0 && n_frames < FRAMES) {
			const uint8_t flags = rbuf_u8(&r);
			const size_t said = rbuf_u16(&r), n = said < rbuf_left(&r) ? said : rbuf_left(&r);
			uint8_t *frame = malloc(n ? n : 1);
			if (!frame)
				break;
			rbuf_copy(&r, frame, n);
			frames[n_frames++] = frame;
			taken += join_add(j, frame, n, flags & 1, flags >> 1 & 1, flags >> 2 & 1) == FWD_PASSED;
		}
		join_flush(j);
		assert(t->frames == taken);
	}
	for (size_t i = 0; i < n_frames; i++)
		free(frames[i]);
	free(j);
	free(t);
	return 0;
}
