/* A table made of the first bytes, then one frame: whatever both are, the verdict names existing peers, each once, and none when dropped; and
 * what a host may send out, others may not refuse to have come from it. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include "tunnel/fwd.h"

#define PEERS 7
#define MACS  15
#define ADDRS 16

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct rbuf r;
	struct fwd_peer peers[PEERS] = { 0 };
	struct fwd_mac macs[MACS] = { 0 };
	rbuf_init(&r, data, size);
	const uint8_t shape = rbuf_u8(&r);
	const size_t n_peers = shape % (PEERS + 1), n_macs = shape / 8 % (MACS + 1);
	for (size_t i = 0; i < n_peers; i++) {
		uint8_t b = rbuf_u8(&r);
		peers[i].name = b & 15;
		peers[i].member = b & 16;
		if (b & 32)
			peers[i].to = (struct hostport){ ip_v4(b), b };
	}
	for (size_t i = 0; i < n_macs; i++) {
		macs[i].mac = rbuf_mac(&r);
		macs[i].peer = rbuf_u8(&r) & 15;
	}
	/* Sixteen addresses of sixteen hosts; the fuzzer finds them. */
	struct fwd_addr addrs[2 * ADDRS];
	for (uint8_t i = 0; i < ADDRS; i++) {
		addrs[2 * i] = (struct fwd_addr){ ip_v4(UINT32_C(0x0a000000) + i), i };
		addrs[2 * i + 1] = (struct fwd_addr){ { 6, { 0xfd, [15] = i } }, i };
	}
	struct fwd_table *t, *other = NULL;
	if (fwd_table_new(1, peers, n_peers, macs, n_macs, addrs, (size_t)2 * ADDRS, &t) != ERR_OK)
		return 0;
	const struct slice frame = rbuf_bytes(&r, rbuf_left(&r));
	const struct fwd_verdict v = fwd_decide(t, frame);
	if (v.drop == FWD_PASSED && fwd_table_new(2, peers, n_peers, macs, n_macs, addrs, (size_t)2 * ADDRS, &other) == ERR_OK)
		assert(fwd_accept(other, 1, frame) == FWD_PASSED);
	fwd_table_free(other);
	const enum fwd_drop in = fwd_accept(t, 2, frame);
	assert(in < FWD_DROPS && (in != FWD_PASSED || frame.n >= 14));
	assert(v.drop < FWD_DROPS && (v.drop == FWD_PASSED) == (v.n > 0) && v.n <= fwd_table_peers(t));
	for (size_t i = 0; i < v.n; i++) {
		const struct fwd_peer *p = fwd_table_peer(t, v.peers[i]);
		assert(p->name != 1 && p->to.ip.family && (!v.flood || p->member));
		assert(i == 0 || v.peers[i - 1] < v.peers[i]);
	}
	assert(v.flood || v.n <= 1);
	fwd_table_free(t);
	return 0;
}
