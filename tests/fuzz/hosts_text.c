/* Any file at all in the place of /etc/hosts: what becomes of it is stable, and so is what is left without ours. */
#include <assert.h>
#include <stddef.h>

#include "router/hosts.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct prefix addr = { .addr = ip_v4(0x0a200005), .len = 12 };
	const struct hosts_want want = { .own = "web.weft.local", .addrs = &addr, .n_addrs = 1 };
	struct wbuf once, twice, part;

	if (size > 4096)
		return 0;
	wbuf_grow(&once, 1 << 20);
	wbuf_grow(&twice, 1 << 20);
	wbuf_grow(&part, 1 << 20);
	if (hosts_text(slice_of(data, size), &want, &once) == ERR_OK) {
		assert(hosts_text(wbuf_slice(&once), &want, &twice) == ERR_OK);
		assert(slice_eq(wbuf_slice(&once), wbuf_slice(&twice)));
		wbuf_reset(&twice);
		wbuf_reset(&once);
		assert(hosts_text(slice_of(data, size), NULL, &once) == ERR_OK);
		assert(hosts_text(wbuf_slice(&once), NULL, &twice) == ERR_OK);
	}
	if (hosts_text_without(slice_of(data, size), &addr.addr, 1, &part) == ERR_OK) {
		wbuf_reset(&once);
		assert(hosts_text_without(wbuf_slice(&part), &addr.addr, 1, &once) == ERR_OK);
		assert(slice_eq(wbuf_slice(&part), wbuf_slice(&once)));
	}
	wbuf_free(&once);
	wbuf_free(&twice);
	wbuf_free(&part);
	return 0;
}
