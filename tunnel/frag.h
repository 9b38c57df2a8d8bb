/* Frames larger than a path, in pieces inside our own encapsulation. Pure.
 *
 * A fragment's payload: u32 id, u16 offset, u16 total (both in bytes of the frame; total ≤ 65,535), piece. Pieces are put together per (peer, id,
 * network) within bounds: FRAG_FRAMES frames and FRAG_BYTES of memory for all, FRAG_PER_PEER frames of one peer, FRAG_MS of time. Over a bound the oldest
 * (of that peer, then of all) goes. A piece that overlaps another, lies outside, or contradicts the total ends the frame it belongs to, and what
 * comes of it later is refused for the rest of its time (RFC 5722); the very same piece again is ignored. */
#ifndef WEFT_TUNNEL_FRAG_H
#define WEFT_TUNNEL_FRAG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "tunnel/fwd.h"

enum {
	FRAG_HEAD = 8,
	FRAG_FRAMES = 64,
	FRAG_PER_PEER = 16,
	FRAG_PIECES = 160,
	FRAG_BYTES = 1 << 20,
	FRAG_MS = 2000,
	FRAG_FRAME_MAX = 65535
};

/* Pieces of a frame: writes header and piece number i to out (≤ room bytes); gives the bytes written, 0: there is no such piece, or it cannot be put
 * into pieces at all (longer than FRAG_FRAME_MAX, or more than FRAG_PIECES). All but the last have as many bytes of the frame as fit, a multiple
 * of 8. */
size_t frag_piece(struct slice frame, uint32_t id, size_t i, size_t room, uint8_t *out);

struct frag;
enum err frag_new(struct frag **out) MUST_CHECK; /* allocates nothing afterwards but frames within FRAG_BYTES, by mem.h */
void frag_free(struct frag *f);
/* A piece that came from a peer. FWD_PASSED: taken; *frame is the whole frame when this was the last missing piece (valid until the next call, may be
 * written to by the caller), else {NULL, 0}. FWD_MALFORMED, FWD_FRAGMENT (overlap, contradiction, over the bounds). */
enum fwd_drop frag_take(struct frag *f, uint64_t peer, uint16_t net, bool partial, struct slice piece, uint64_t now_ms,
	uint8_t **frame, size_t *n, bool *was_partial);
uint64_t frag_expired(const struct frag *f); /* frames given up since the start, for whatever reason */

#endif
