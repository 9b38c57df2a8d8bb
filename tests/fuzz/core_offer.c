/* A path offer as a peer publishes it: read, and if it was understood, the same again after writing. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include "router/core/internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void again(const struct path_offer *o)
{
	uint8_t bytes[128];
	struct path_offer back;
	struct wbuf w;

	wbuf_fixed(&w, bytes, sizeof(bytes));
	path_offer_encode(&w, o);
	assert(!w.failed);
	path_offer_decode(wbuf_slice(&w), &back);
	assert(back.vxlan_port == o->vxlan_port && back.userspace_port == o->userspace_port && back.password == o->password);
	assert(back.vxlan_over_v6 == o->vxlan_over_v6);
	assert(prefix_eq(back.range, o->range));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct path_offer o;

	path_offer_decode(slice_of(data, n), &o);
	assert(o.range.addr.family == 0 || (o.range.addr.family == 4 && o.range.len <= 32));
	again(&o);
	return 0;
}
