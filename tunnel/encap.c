#include "tunnel/encap.h"

#include <assert.h>

static_assert(ENCAP_AT_SOURCE + 6 == ENCAP_AT_DESTINATION && ENCAP_AT_DESTINATION + 6 == ENCAP_HEAD, "the drawing adds up");
static_assert(ENCAP_OVERHEAD == ENCAP_HEAD + 14 + 8 + 20, "Ethernet, UDP and IPv4 headers");

void encap_write(uint8_t out[ENCAP_HEAD], const struct encap_head *h)
{
	struct wbuf w;
	wbuf_fixed(&w, out, ENCAP_HEAD);
	wbuf_u8(&w, (uint8_t)(ENCAP_VERSION << 4 | h->type));
	wbuf_u8(&w, h->flags);
	wbuf_u8(&w, h->hops);
	wbuf_u8(&w, 0);
	wbuf_u48(&w, h->src);
	wbuf_u48(&w, h->dst);
	assert(!w.failed && w.len == ENCAP_HEAD && h->type < 16);
}

enum fwd_drop encap_read(struct slice datagram, struct encap_head *h, struct slice *frame)
{
	struct rbuf r;
	rbuf_init(&r, datagram.p, datagram.n);
	uint8_t version = rbuf_u8(&r);
	struct encap_head got = { .type = version & 0xf };
	got.flags = rbuf_u8(&r);
	got.hops = rbuf_u8(&r);
	rbuf_skip(&r, 1);
	got.src = rbuf_u48(&r);
	got.dst = rbuf_u48(&r);
	if (!rbuf_ok(&r))
		return FWD_BAD_HEADER;
	if (version >> 4 != ENCAP_VERSION)
		return FWD_BAD_VERSION;
	if (got.type != ENCAP_CLEAR || got.flags != 0)
		return FWD_BAD_HEADER;
	*h = got;
	*frame = rbuf_bytes(&r, rbuf_left(&r));
	return FWD_PASSED;
}
