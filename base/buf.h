/* The one cursor for bytes from outside, and its opposite.
 *
 * A failed read gives zero, marks the reader failed and consumes the rest: decode everything, ask once at the end (rbuf_end).
 * Index, not pointer; big-endian throughout (network order). Learnt from OpenBGPD's ibuf and Knot's wire_ctx. */
#ifndef WEFT_BASE_BUF_H
#define WEFT_BASE_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* Bytes that belong to someone else. */
struct slice {
	const uint8_t *p;
	size_t n;
};
struct slice slice_of(const void *p, size_t n);
struct slice slice_str(const char *s); /* without the final zero */
bool slice_eq(struct slice a, struct slice b);
int slice_cmp(struct slice a, struct slice b); /* memcmp order, a prefix sorts first */

struct rbuf {
	const uint8_t *data;
	size_t len, pos;
	bool failed;
};
void rbuf_init(struct rbuf *r, const void *data, size_t len);
size_t rbuf_left(const struct rbuf *r);
uint8_t rbuf_u8(struct rbuf *r);
uint16_t rbuf_u16(struct rbuf *r);
uint32_t rbuf_u32(struct rbuf *r);
uint64_t rbuf_u48(struct rbuf *r);
uint64_t rbuf_u64(struct rbuf *r);
/* Unsigned LEB128, at most 10 bytes, the shortest form only. */
uint64_t rbuf_varint(struct rbuf *r);
/* n bytes in place; {NULL, 0} on failure. */
struct slice rbuf_bytes(struct rbuf *r, size_t n);
/* A varint length, at most max, then that many bytes. */
struct slice rbuf_lv(struct rbuf *r, size_t max);
/* Copies n bytes to dst, zeroes dst on failure. */
void rbuf_copy(struct rbuf *r, void *dst, size_t n);
void rbuf_skip(struct rbuf *r, size_t n);
/* A reader fenced to the next n bytes, which r has then consumed. */
struct rbuf rbuf_sub(struct rbuf *r, size_t n);
void rbuf_fail(struct rbuf *r);
bool rbuf_ok(const struct rbuf *r);
/* ERR_OK when nothing failed and nothing is left; ERR_TRUNCATED when a read failed; ERR_MALFORMED when bytes are left over. */
enum err rbuf_end(const struct rbuf *r) MUST_CHECK;

/* Writer: over fixed memory, or growing up to a limit. A failed write marks it failed and writes nothing more. */
struct wbuf {
	uint8_t *data;
	size_t len, cap, max;
	bool failed, no_memory, owned;
};
void wbuf_fixed(struct wbuf *w, void *mem, size_t cap);
void wbuf_grow(struct wbuf *w, size_t max); /* allocates as it goes; wbuf_free when done */
void wbuf_free(struct wbuf *w);             /* takes a failed or fixed one */
void wbuf_reset(struct wbuf *w);            /* length 0, not failed, memory kept */
void wbuf_u8(struct wbuf *w, uint8_t v);
void wbuf_u16(struct wbuf *w, uint16_t v);
void wbuf_u32(struct wbuf *w, uint32_t v);
void wbuf_u48(struct wbuf *w, uint64_t v);
void wbuf_u64(struct wbuf *w, uint64_t v);
void wbuf_varint(struct wbuf *w, uint64_t v);
void wbuf_bytes(struct wbuf *w, const void *p, size_t n);
void wbuf_lv(struct wbuf *w, struct slice s);
/* Room for n bytes whose content the caller writes; NULL on failure; valid until the next write. */
uint8_t *wbuf_reserve(struct wbuf *w, size_t n);
/* Overwrites 2 or 4 bytes at an offset already written. */
void wbuf_patch_u16(struct wbuf *w, size_t at, uint16_t v);
void wbuf_patch_u32(struct wbuf *w, size_t at, uint32_t v);
/* ERR_OK, ERR_NOMEM or ERR_LIMIT (which of the two made it fail). */
enum err wbuf_end(const struct wbuf *w) MUST_CHECK;
struct slice wbuf_slice(const struct wbuf *w);

#endif
