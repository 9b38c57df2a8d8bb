#include "tunnel/wire.h"

#include <assert.h>

/* What a datagram's flags may say together: a probe is never a piece of anything, has no checksum, and belongs to no network. */
static bool flags_ok(uint8_t flags, uint16_t net)
{
	if (flags & ~WIRE_FLAGS_KNOWN)
		return false;
	return !(flags & WIRE_CONTROL) || (flags == WIRE_CONTROL && net == 0);
}

void wire_write(uint8_t out[WIRE_HEAD], const struct wire_head *h)
{
	struct wbuf w;

	assert(h->type == WIRE_CLEAR || h->type == WIRE_SEALED || h->type == WIRE_RELAYED);
	wbuf_fixed(&w, out, WIRE_HEAD);
	wbuf_u8(&w, (uint8_t)(WIRE_VERSION << 4 | h->type));
	wbuf_u8(&w, h->flags);
	wbuf_u16(&w, h->type == WIRE_RELAYED ? 0 : h->net);
	if (h->type == WIRE_SEALED) {
		wbuf_u32(&w, h->index);
		wbuf_u64(&w, h->counter);
	} else {
		wbuf_u48(&w, h->src);
		wbuf_u48(&w, h->dst);
	}
}

enum fwd_drop wire_read(struct slice datagram, struct wire_head *h, struct slice *payload)
{
	struct wire_head got = { 0 };
	struct rbuf r;
	uint8_t first;

	if (datagram.n < WIRE_HEAD)
		return FWD_BAD_HEADER;
	rbuf_init(&r, datagram.p, datagram.n);
	first = rbuf_u8(&r);
	if (first >> 4 != WIRE_VERSION)
		return FWD_BAD_VERSION;
	got.type = first & 15;
	got.flags = rbuf_u8(&r);
	got.net = rbuf_u16(&r);
	switch (got.type) {
	case WIRE_CLEAR:
	case WIRE_RELAYED:
		got.src = rbuf_u48(&r);
		got.dst = rbuf_u48(&r);
		break;
	case WIRE_SEALED:
		got.index = rbuf_u32(&r);
		got.counter = rbuf_u64(&r);
		break;
	default: return FWD_BAD_HEADER;
	}
	if (got.type == WIRE_RELAYED)
		got.net = 0; /* reserved */
	else if (!flags_ok(got.flags, got.net))
		return FWD_BAD_HEADER;
	if (got.type == WIRE_SEALED && rbuf_left(&r) < WIRE_TAG)
		return FWD_BAD_HEADER;
	*h = got;
	*payload = rbuf_bytes(&r, rbuf_left(&r));
	return FWD_PASSED;
}
