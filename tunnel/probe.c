#include "tunnel/probe.h"

#include <assert.h>
#include <string.h>

enum { FORM = 1 };

static_assert(PROBE_HEAD == 1 + 1 + 1 + 1 + 4 + 6 + 6 + 2 + 2 + 4, "the drawing in the header");

void probe_write(struct wbuf *w, const struct probe *p)
{
	uint8_t *padding;

	assert(p->length >= PROBE_HEAD);
	wbuf_u8(w, FORM);
	wbuf_u8(w, p->kind);
	wbuf_u8(w, p->path);
	wbuf_u8(w, 0);
	wbuf_u32(w, p->id);
	wbuf_u48(w, p->src);
	wbuf_u48(w, p->dst);
	wbuf_u16(w, p->length);
	wbuf_u16(w, p->answer);
	wbuf_u32(w, 0);
	padding = wbuf_reserve(w, p->length - (size_t)PROBE_HEAD);
	if (padding)
		memset(padding, 0, p->length - (size_t)PROBE_HEAD);
}

bool probe_read(struct slice bytes, struct probe *out)
{
	struct probe p = { 0 };
	struct rbuf r;
	uint8_t form, flags;

	rbuf_init(&r, bytes.p, bytes.n);
	form = rbuf_u8(&r);
	p.kind = rbuf_u8(&r);
	p.path = rbuf_u8(&r);
	flags = rbuf_u8(&r);
	p.id = rbuf_u32(&r);
	p.src = rbuf_u48(&r);
	p.dst = rbuf_u48(&r);
	p.length = rbuf_u16(&r);
	p.answer = rbuf_u16(&r);
	rbuf_skip(&r, 4); /* reserved */
	if (!rbuf_ok(&r) || form != FORM || flags != 0 || (p.kind != PROBE_REQUEST && p.kind != PROBE_ANSWER))
		return false;
	if (p.length < PROBE_HEAD || p.length > bytes.n) /* bytes behind it are what Ethernet fills short frames with */
		return false;
	*out = p;
	return true;
}
