/* A path offer as a peer publishes it: read, and if it was understood, the same again after writing. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include "router/core/internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void again(const struct path_offer *o)
{
	uint8_t bytes[PATH_OFFER_BYTES];
	struct path_offer back;
	struct wbuf w;

	wbuf_fixed(&w, bytes, sizeof(bytes));
	path_offer_encode(&w, o);
	assert(!w.failed);
	path_offer_decode(wbuf_slice(&w), &back);
	assert(back.vxlan_port == o->vxlan_port && back.userspace_port == o->userspace_port && back.password == o->password);
	assert(back.vxlan_over_v6 == o->vxlan_over_v6);
	assert(prefix_eq(back.range, o->range));
	assert(back.sealed_only == o->sealed_only && back.mtu == o->mtu && back.n_trusted == o->n_trusted);
	for (size_t i = 0; i < o->n_trusted; i++)
		assert(prefix_eq(back.trusted[i], o->trusted[i]));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct path_offer o;

	path_offer_decode(slice_of(data, n), &o);
	assert(o.range.addr.family == 0 || (o.range.addr.family == 4 && o.range.len <= 32));
	assert(o.n_trusted <= CORE_TRUSTED_MAX);
	for (size_t i = 0; i < o.n_trusted; i++)
		assert(o.trusted[i].len <= ip_bits(o.trusted[i].addr) && o.trusted[i].addr.family != 0);
	again(&o);
	return 0;
}
