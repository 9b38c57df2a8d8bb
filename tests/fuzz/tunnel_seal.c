/* Datagrams of the userspace path. The first byte chooses:
 *
 *   even   the rest is a datagram: what can be read can be written again, and opens nothing
 *   odd    edits (u16 offset, u8 mask; ends with the input) of a datagram that was sealed: none but the untouched one opens, and once */
#include <assert.h>
#include <sodium.h>
#include <stdint.h>
#include <string.h>

#include "tunnel/seal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { ROOM = 2048, PLAIN = 40 };

static struct seal_keys *keys(bool sender)
{
	static const uint8_t a[32] = { 1 }, b[32] = { 2 };
	struct seal_keys *k = NULL;
	enum err e = seal_keys_new(&k,
		&(struct seal_keys_cfg){
			.peer = 1, .our_index = 0x01020304, .their_index = 0x01020304, .tx = sender ? a : b, .rx = sender ? b : a });

	assert(e == ERR_OK);
	return k;
}

static enum fwd_drop open_it(struct seal_keys *k, const uint8_t *p, size_t n, uint8_t *out)
{
	struct wire_head h;
	struct slice payload;
	uint8_t again[WIRE_HEAD];
	enum fwd_drop d = wire_read(slice_of(p, n), &h, &payload);

	if (d != FWD_PASSED)
		return d;
	assert(payload.p == p + WIRE_HEAD && payload.n == n - WIRE_HEAD && wire_type(slice_of(p, n)) == h.type);
	wire_write(again, &h);
	assert(memcmp(again, p, h.type == WIRE_RELAYED ? 2 : WIRE_HEAD) == 0);
	if (h.type != WIRE_SEALED)
		return FWD_CLEAR;
	return h.index == seal_index(k) ? seal_open(k, &h, slice_of(p, n), out) : FWD_OLD_SESSION;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t out[ROOM];
	uint8_t box[PLAIN + SEAL_OVERHEAD], sealed[PLAIN + SEAL_OVERHEAD];
	struct seal_keys *tx, *rx;
	struct rbuf r;
	enum fwd_drop d;
	size_t n;

	if (sodium_init() < 0 || size < 1 || size > ROOM)
		return 0;
	tx = keys(true);
	rx = keys(false);
	if (data[0] % 2 == 0) {
		d = open_it(rx, data + 1, size - 1, out);
		assert(d != FWD_PASSED && d != FWD_REPLAYED);
	} else {
		memset(box, 7, sizeof box);
		n = seal_datagram(tx, data[0] % SEAL_QUEUES, 0, 3, slice_of(box + WIRE_HEAD, PLAIN), box);
		memcpy(sealed, box, n);
		rbuf_init(&r, data + 1, size - 1);
		while (rbuf_left(&r) >= 3) {
			size_t at = rbuf_u16(&r) % n;

			box[at] = (uint8_t)(box[at] ^ rbuf_u8(&r));
		}
		d = open_it(rx, box, n, out);
		assert((d == FWD_PASSED) == (memcmp(box, sealed, n) == 0));
		d = open_it(rx, sealed, n, out);
		assert(d == (memcmp(box, sealed, n) == 0 ? FWD_REPLAYED : FWD_PASSED));
	}
	seal_keys_unref(tx);
	seal_keys_unref(rx);
	return 0;
}
