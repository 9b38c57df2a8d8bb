/* A datagram of the userspace path from anyone: header, then the decision whether its frame may come in. The first byte chooses the sender's
 * address. Nothing that passes may claim a MAC of another host, come from a stranger or touch the daemon's address. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "tunnel/encap.h"
#include "tunnel/fwd.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct fwd_peer peers[] = {
		{ .name = 2, .to = { ip_v4(0x01010101), 6783 }, .member = true },
		{ .name = 3, .to = { ip_v4(0x02020202), 6783 }, .from = { ip_v4(0x03030303) }, .n_from = 1 },
	};
	const struct fwd_mac macs[] = { { { { 2, 0, 0, 0, 0, 1 } }, 1 }, { { { 2, 0, 0, 0, 0, 2 } }, 2 },
		{ { { 2, 0, 0, 0, 0, 3 } }, 3 } };
	if (size < 1)
		return 0;
	struct fwd_table *t;
	if (fwd_table_new(1, peers, 2, macs, 3, NULL, 0, &t) != ERR_OK)
		return 0;
	const struct ip from = ip_v4(UINT32_C(0x01010101) * (data[0] & 7));
	struct encap_head h;
	struct slice frame;
	size_t peer;
	if (encap_read(slice_of(data + 1, size - 1), &h, &frame) == FWD_PASSED) {
		uint8_t again[ENCAP_HEAD];
		encap_write(again, &h);
		assert(memcmp(again, data + 1, 3) == 0 && memcmp(again + 4, data + 5, 12) == 0);
		if (fwd_accept(t, h.src, h.dst, from, frame, &peer) == FWD_PASSED) {
			assert(frame.n >= 14 && h.dst == 1 && fwd_table_peer(t, peer)->name == h.src);
			assert(h.src == 2 ? (data[0] & 7) == 1 : h.src == 3 && ((data[0] & 7) == 2 || (data[0] & 7) == 3));
			assert(!(frame.p[6] & 1));
			for (uint64_t i = 1; i <= 3; i++)
				assert(i == h.src || memcmp(frame.p + 6, macs[i - 1].mac.b, 6) != 0);
		}
	}
	fwd_table_free(t);
	return 0;
}
