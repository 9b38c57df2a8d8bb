#include "base/buf.h"

#include <assert.h>
#include <string.h>

#include "base/mem.h"

/* Stands in for NULL where there are no bytes, so that no arithmetic is ever done on a null pointer. */
static const uint8_t nothing[1];

enum { VARINT_MAX = 10, WBUF_FIRST = 64 };

struct slice slice_of(const void *p, size_t n)
{
	return (struct slice){ p, n };
}

struct slice slice_str(const char *s)
{
	return slice_of(s, strlen(s));
}

bool slice_eq(struct slice a, struct slice b)
{
	return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

int slice_cmp(struct slice a, struct slice b)
{
	size_t n = a.n < b.n ? a.n : b.n;
	int c = n ? memcmp(a.p, b.p, n) : 0;
	return c ? c : (a.n > b.n) - (a.n < b.n);
}

void rbuf_init(struct rbuf *r, const void *data, size_t len)
{
	assert(data || len == 0);
	*r = (struct rbuf){ .data = data ? data : nothing, .len = len };
}

size_t rbuf_left(const struct rbuf *r)
{
	return r->len - r->pos;
}

void rbuf_fail(struct rbuf *r)
{
	r->failed = true;
	r->pos = r->len;
}

bool rbuf_ok(const struct rbuf *r)
{
	return !r->failed;
}

/* The next n bytes, consumed; NULL when there are fewer or the reader has failed. Every read goes through here. */
static const uint8_t *take(struct rbuf *r, size_t n)
{
	if (r->failed || n > r->len - r->pos) {
		rbuf_fail(r);
		return NULL;
	}
	const uint8_t *p = r->data ? r->data + r->pos : nothing;
	r->pos += n;
	return p;
}

static uint64_t take_be(struct rbuf *r, size_t n)
{
	const uint8_t *p = take(r, n);
	uint64_t v = 0;
	if (p)
		for (size_t i = 0; i < n; i++)
			v = v << 8 | p[i];
	return v;
}

uint8_t rbuf_u8(struct rbuf *r)
{
	return (uint8_t)take_be(r, 1);
}

uint16_t rbuf_u16(struct rbuf *r)
{
	return (uint16_t)take_be(r, 2);
}

uint32_t rbuf_u32(struct rbuf *r)
{
	return (uint32_t)take_be(r, 4);
}

uint64_t rbuf_u48(struct rbuf *r)
{
	return take_be(r, 6);
}

uint64_t rbuf_u64(struct rbuf *r)
{
	return take_be(r, 8);
}

uint64_t rbuf_varint(struct rbuf *r)
{
	uint64_t v = 0;
	for (unsigned i = 0; i < VARINT_MAX; i++) {
		uint8_t b = rbuf_u8(r);
		if (r->failed)
			return 0;
		/* The tenth byte holds bit 63 alone. */
		if (i == VARINT_MAX - 1 && b > 1)
			break;
		v |= (uint64_t)(b & 0x7f) << (7 * i);
		if (b & 0x80)
			continue;
		/* A last byte of zero adds nothing: there is a shorter form. */
		if (b == 0 && i > 0)
			break;
		return v;
	}
	rbuf_fail(r);
	return 0;
}

struct slice rbuf_bytes(struct rbuf *r, size_t n)
{
	const uint8_t *p = take(r, n);
	return slice_of(p, p ? n : 0);
}

struct slice rbuf_lv(struct rbuf *r, size_t max)
{
	uint64_t n = rbuf_varint(r);
	if (n > max)
		rbuf_fail(r);
	return rbuf_bytes(r, r->failed ? 0 : (size_t)n);
}

void rbuf_copy(struct rbuf *r, void *dst, size_t n)
{
	const uint8_t *p = take(r, n);
	if (n == 0)
		return;
	if (p)
		memcpy(dst, p, n);
	else
		memset(dst, 0, n);
}

void rbuf_skip(struct rbuf *r, size_t n)
{
	(void)take(r, n);
}

struct rbuf rbuf_sub(struct rbuf *r, size_t n)
{
	const uint8_t *p = take(r, n);
	struct rbuf sub;
	rbuf_init(&sub, p, p ? n : 0);
	sub.failed = !p;
	return sub;
}

enum err rbuf_end(const struct rbuf *r)
{
	if (r->failed)
		return ERR_TRUNCATED;
	return r->pos == r->len ? ERR_OK : ERR_MALFORMED;
}

void wbuf_fixed(struct wbuf *w, void *mem, size_t cap)
{
	assert(mem || cap == 0);
	*w = (struct wbuf){ .data = mem, .cap = cap, .max = cap };
}

void wbuf_grow(struct wbuf *w, size_t max)
{
	*w = (struct wbuf){ .max = max, .owned = true };
}

void wbuf_free(struct wbuf *w)
{
	if (!w)
		return;
	if (w->owned) {
		mem_free(w->data);
		w->data = NULL;
		w->cap = 0;
	}
	wbuf_reset(w);
}

void wbuf_reset(struct wbuf *w)
{
	w->len = 0;
	w->failed = w->no_memory = false;
}

static bool enlarge(struct wbuf *w, size_t need)
{
	size_t cap = w->cap > WBUF_FIRST ? w->cap : WBUF_FIRST;
	while (cap < need)
		cap = cap > w->max / 2 ? w->max : cap * 2;
	if (cap > w->max)
		cap = w->max;
	uint8_t *p = mem_realloc(w->data, cap);
	if (!p)
		return false;
	w->data = p;
	w->cap = cap;
	return true;
}

uint8_t *wbuf_reserve(struct wbuf *w, size_t n)
{
	if (w->failed)
		return NULL;
	if (n > w->max - w->len) {
		w->failed = true;
		return NULL;
	}
	if (w->owned && (!w->data || n > w->cap - w->len) && !enlarge(w, w->len + n)) {
		w->failed = w->no_memory = true;
		return NULL;
	}
	if (!w->data)
		return NULL;
	uint8_t *p = w->data + w->len;
	w->len += n;
	return p;
}

static void store_be(uint8_t *p, uint64_t v, size_t n)
{
	for (size_t i = n; i > 0; i--) {
		p[i - 1] = (uint8_t)v;
		v >>= 8;
	}
}

static void append_be(struct wbuf *w, uint64_t v, size_t n)
{
	uint8_t *p = wbuf_reserve(w, n);
	if (p)
		store_be(p, v, n);
}

void wbuf_u8(struct wbuf *w, uint8_t v)
{
	append_be(w, v, 1);
}

void wbuf_u16(struct wbuf *w, uint16_t v)
{
	append_be(w, v, 2);
}

void wbuf_u32(struct wbuf *w, uint32_t v)
{
	append_be(w, v, 4);
}

void wbuf_u48(struct wbuf *w, uint64_t v)
{
	assert(v >> 48 == 0);
	append_be(w, v, 6);
}

void wbuf_u64(struct wbuf *w, uint64_t v)
{
	append_be(w, v, 8);
}

void wbuf_varint(struct wbuf *w, uint64_t v)
{
	uint8_t b[VARINT_MAX];
	size_t n = 0;
	while (v >= 0x80) {
		b[n++] = (uint8_t)(v | 0x80);
		v >>= 7;
	}
	b[n++] = (uint8_t)v;
	wbuf_bytes(w, b, n);
}

void wbuf_bytes(struct wbuf *w, const void *p, size_t n)
{
	uint8_t *dst = wbuf_reserve(w, n);
	if (dst && n)
		memcpy(dst, p, n);
}

void wbuf_lv(struct wbuf *w, struct slice s)
{
	wbuf_varint(w, s.n);
	wbuf_bytes(w, s.p, s.n);
}

static void patch(struct wbuf *w, size_t at, uint64_t v, size_t n)
{
	if (w->failed)
		return;
	assert(at <= w->len && n <= w->len - at);
	store_be(w->data + at, v, n);
}

void wbuf_patch_u16(struct wbuf *w, size_t at, uint16_t v)
{
	patch(w, at, v, 2);
}

void wbuf_patch_u32(struct wbuf *w, size_t at, uint32_t v)
{
	patch(w, at, v, 4);
}

enum err wbuf_end(const struct wbuf *w)
{
	if (!w->failed)
		return ERR_OK;
	return w->no_memory ? ERR_NOMEM : ERR_LIMIT;
}

struct slice wbuf_slice(const struct wbuf *w)
{
	return slice_of(w->data, w->len);
}
