/* A frame of anyone that is too large: the answer is a frame, of the right length, about which no answer is to be given. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "tunnel/segment.h"
#include "tunnel/toobig.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 2)
		return 0;
	uint8_t *out = malloc(TOOBIG_MAX), again[TOOBIG_MAX];
	if (!out)
		return 0;
	const size_t n = toobig_frame(slice_of(data + 2, size - 2), (uint32_t)(data[0] << 8 | data[1]), out);
	assert(n <= TOOBIG_MAX);
	if (n > 0) {
		struct layout l;
		assert(layout_of(slice_of(out, n), &l) && l.end == n && l.family != 0 && !l.fragment && l.df);
		assert(memcmp(out, data + 8, 6) == 0 && memcmp(out + 6, data + 2, 6) == 0);
		assert(n - l.l3 <= (l.family == 4 ? 576u : 1280u));
		assert(toobig_frame(slice_of(out, n), 1300, again) == 0);
	}
	free(out);
	return 0;
}
