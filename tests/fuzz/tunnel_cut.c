/* A virtio header, the longest frame allowed, and a frame, of anyone: segments lie inside the frame, none is too long, and each can be told to a
 * kernel again and completed. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "tunnel/segment.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	enum { HEAD = VNET_BYTES + 2 };
	struct vnet v;
	if (size < HEAD)
		return 0;
	vnet_read(data, &v);
	const size_t max = (size_t)data[VNET_BYTES] << 8 | data[VNET_BYTES + 1], n = size - HEAD;
	uint8_t *frame = malloc(n ? n : 1);
	if (!frame)
		return 0;
	memcpy(frame, data + HEAD, n);
	struct cut c;
	struct segment s;
	size_t bytes = 0, count = 0;
	const enum fwd_drop drop = cut_begin(&c, &v, frame, n, max);
	while (cut_next(&c, &s)) {
		struct vnet one;
		assert(s.frame.p >= frame && s.frame.n <= max && s.frame.p + s.frame.n <= frame + n);
		assert(segment_vnet(s.frame, s.partial, &one));
		if (s.partial && count++ < 64)
			assert(segment_complete(frame + (s.frame.p - frame), s.frame.n, &one));
		bytes += s.frame.n;
	}
	assert(drop == FWD_PASSED ? bytes >= n : bytes == 0);
	free(frame);
	return 0;
}
