/* The cursor against a model of it. The input is a program: op bytes choose what to read next from the very same bytes. What the
 * model says must come out, failure must stick, and what was read, written again, must be the bytes that were consumed. */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "base/buf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { OPS_MAX = 512, FIXED_CAP = 64 };

/* Big-endian integer of n bytes at *pos, or 0 with *pos = len and *failed. */
static uint64_t model_be(const uint8_t *d, size_t len, size_t *pos, bool *failed, size_t n)
{
	uint64_t v = 0;
	if (*failed || len - *pos < n) {
		*failed = true;
		*pos = len;
		return 0;
	}
	for (size_t i = 0; i < n; i++)
		v = v * 256 + d[(*pos)++];
	return v;
}

/* Both writers get everything; the fixed one must hold a prefix of what the growing one holds. */
struct echo {
	struct wbuf grown, fixed;
	uint8_t mem[FIXED_CAP];
};

static void echo_be(struct echo *e, uint64_t v, size_t n)
{
	struct wbuf *both[] = { &e->grown, &e->fixed };
	for (size_t i = 0; i < 2; i++) {
		struct wbuf *w = both[i];
		switch (n) {
		case 1: wbuf_u8(w, (uint8_t)v); break;
		case 2: wbuf_u16(w, (uint16_t)v); break;
		case 4: wbuf_u32(w, (uint32_t)v); break;
		case 6: wbuf_u48(w, v); break;
		default: wbuf_u64(w, v); break;
		}
	}
}

static uint64_t read_be(struct rbuf *r, size_t n)
{
	switch (n) {
	case 1: return rbuf_u8(r);
	case 2: return rbuf_u16(r);
	case 4: return rbuf_u32(r);
	case 6: return rbuf_u48(r);
	default: return rbuf_u64(r);
	}
}

static void step_int(struct rbuf *r, struct echo *e, size_t n)
{
	size_t pos = r->pos;
	bool failed = r->failed;
	uint64_t want = model_be(r->data, r->len, &pos, &failed, n);
	uint64_t got = read_be(r, n);
	assert(got == want && r->pos == pos && r->failed == failed);
	if (!failed)
		echo_be(e, got, n);
}

static void step_varint(struct rbuf *r, struct echo *e)
{
	size_t before = r->pos;
	uint64_t v = rbuf_varint(r);
	if (!rbuf_ok(r)) {
		assert(v == 0);
		return;
	}
	wbuf_varint(&e->grown, v);
	wbuf_varint(&e->fixed, v);
	size_t n = r->pos - before;
	assert(n >= 1 && n <= 10 && (n == 10 || v >> (7 * n) == 0) && (n == 1 || v >> (7 * (n - 1)) != 0));
}

static void step_bytes(struct rbuf *r, struct echo *e, uint8_t op)
{
	uint8_t copy[16];
	struct slice s;
	switch (op % 3) {
	case 0: s = rbuf_bytes(r, op >> 3); break;
	case 1: {
		size_t n = op >> 4;
		rbuf_copy(r, copy, n);
		for (size_t i = 0; i < n && !rbuf_ok(r); i++)
			assert(copy[i] == 0);
		s = slice_of(copy, rbuf_ok(r) ? n : 0);
		break;
	}
	default: {
		size_t max = op >> 3;
		s = rbuf_lv(r, max);
		assert(s.n <= max);
		if (rbuf_ok(r)) {
			wbuf_lv(&e->grown, s);
			wbuf_lv(&e->fixed, s);
		}
		assert(rbuf_ok(r) || (s.n == 0 && !s.p));
		return;
	}
	}
	if (!rbuf_ok(r))
		return;
	wbuf_bytes(&e->grown, s.p, s.n);
	wbuf_bytes(&e->fixed, s.p, s.n);
}

static void step_sub(struct rbuf *r, struct echo *e, size_t n)
{
	size_t before = r->pos;
	struct rbuf sub = rbuf_sub(r, n);
	assert(rbuf_ok(&sub) == rbuf_ok(r));
	if (!rbuf_ok(r)) {
		assert(rbuf_left(&sub) == 0);
		return;
	}
	assert(r->pos == before + n && rbuf_left(&sub) == n);
	struct slice s = rbuf_bytes(&sub, n);
	assert(s.n == n && rbuf_end(&sub) == ERR_OK);
	(void)rbuf_u8(&sub);
	assert(rbuf_end(&sub) == ERR_TRUNCATED && rbuf_ok(r));
	wbuf_bytes(&e->grown, s.p, s.n);
	wbuf_bytes(&e->fixed, s.p, s.n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t widths[] = { 1, 2, 4, 6, 8 };
	struct rbuf r;
	struct echo e;
	rbuf_init(&r, data, size);
	wbuf_grow(&e.grown, size);
	wbuf_fixed(&e.fixed, e.mem, sizeof e.mem);
	size_t done = 0;
	for (size_t i = 0; i < size && i < OPS_MAX; i++) {
		uint8_t op = data[size - 1 - i];
		if (op % 8 < 5)
			step_int(&r, &e, widths[op % 8]);
		else if (op % 8 == 5)
			step_varint(&r, &e);
		else if (op % 8 == 6)
			step_bytes(&r, &e, op);
		else
			step_sub(&r, &e, op >> 3);
		if (rbuf_ok(&r))
			done = r.pos;
		else
			assert(rbuf_left(&r) == 0 && rbuf_end(&r) == ERR_TRUNCATED);
	}
	if (rbuf_ok(&r))
		assert(rbuf_end(&r) == (r.pos == size ? ERR_OK : ERR_MALFORMED));
	/* Nothing was skipped, all forms are the only ones: the echo is the input. */
	assert(wbuf_end(&e.grown) == ERR_OK);
	assert(slice_eq(wbuf_slice(&e.grown), slice_of(data, done)));
	assert(e.fixed.len <= done && slice_eq(wbuf_slice(&e.fixed), slice_of(data, e.fixed.len)));
	assert(wbuf_end(&e.fixed) == (done > FIXED_CAP ? ERR_LIMIT : ERR_OK));
	wbuf_free(&e.grown);
	return 0;
}
