/* What upstreams send, one event after the other: a length octet, what it is for, then the message. Every query gets one reply in the
 * end, with its own id, and never more than the client takes. */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "dns/forward.h"
#include "dns/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { LIMIT = 512 };

static const uint8_t query[] = "\xca\xfe\x01\x00\0\1\0\0\0\0\0\0\7example\3org\0\0\1\0\1";

struct run {
	struct dns_forward *f;
	struct dns_forward_actions a;
	uint64_t sock, now;
	struct hostport upstream;
	size_t replies;
};

static void act(struct run *u)
{
	for (size_t i = 0; i < u->a.n; i++) {
		const struct dns_forward_action *a = &u->a.v[i];
		if (a->what == DNS_FORWARD_OPEN) {
			assert(a->bytes.n == sizeof(query) - 1 && memcmp(a->bytes.p + 2, query + 2, sizeof(query) - 3) == 0);
			u->sock = a->sock;
			u->upstream = a->upstream;
		} else if (a->what == DNS_FORWARD_REPLY) {
			assert(a->bytes.n >= DNS_HEADER_SIZE && a->bytes.n <= LIMIT && memcmp(a->bytes.p, query, 2) == 0 &&
				(a->bytes.p[2] & 0x80));
			u->replies++;
			u->sock = 0;
		}
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct dns_stats stats = { 0 };
	struct run u = { .now = 1 };
	struct hostport v[2];
	struct rbuf r;

	assert(dns_forward_new(&u.f, &stats) == ERR_OK);
	assert(hostport_parse("8.8.8.8:53", 53, &v[0]) == ERR_OK && hostport_parse("[2001:db8::1]:53", 53, &v[1]) == ERR_OK);
	dns_forward_set_upstreams(u.f, v, 2);
	dns_forward_query(u.f, u.now, 1, false, LIMIT, slice_of(query, sizeof(query) - 1), UINT64_C(0x4444333322221111), &u.a);
	act(&u);
	rbuf_init(&r, data, size);
	while (rbuf_left(&r) > 0 && u.replies == 0) {
		uint8_t what = rbuf_u8(&r);
		size_t n = (size_t)(what & 3) << 8 | rbuf_u8(&r);
		struct slice message = rbuf_bytes(&r, n < rbuf_left(&r) ? n : rbuf_left(&r));
		if (what & 0x80)
			dns_forward_failed(u.f, u.now, u.sock, &u.a);
		else if (what & 0x40)
			dns_forward_tick(u.f, u.now += 500, &u.a);
		else
			dns_forward_reply(u.f, u.now, u.sock, (what & 0x20) ? v[0] : u.upstream, message, &u.a);
		act(&u);
	}
	while (dns_forward_deadline_ms(u.f) != UINT64_MAX) {
		dns_forward_tick(u.f, dns_forward_deadline_ms(u.f), &u.a);
		act(&u);
	}
	assert(u.replies == 1 && dns_forward_pending(u.f) == 0);
	dns_forward_free(u.f);
	return 0;
}
