/* Whatever is read as a probe is one, and written again gives the same bytes (reserved ones and padding as zeros). */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "tunnel/probe.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t mem[65536];
	struct probe p;
	struct wbuf w;

	if (!probe_read(slice_of(data, size), &p))
		return 0;
	assert(p.length >= PROBE_HEAD && p.length <= size && (p.kind == PROBE_REQUEST || p.kind == PROBE_ANSWER));
	wbuf_fixed(&w, mem, sizeof mem);
	probe_write(&w, &p);
	assert(w.len == p.length && memcmp(mem, data, PROBE_HEAD - 4) == 0);
	return 0;
}
