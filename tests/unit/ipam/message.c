#include "ipam/message.h"

#include <stdlib.h>
#include <string.h>

#include "../base/cmocka_all.h"
#include "../base/seed.h"
#include "base/mem.h"
#include "base/rng.h"

static const struct universe u = { 0x0a200000, 12 };

static struct slice unhex(const char *hex, uint8_t *out, size_t size)
{
	size_t n = 0;
	for (const char *p = hex; *p;) {
		if (*p == ' ') {
			p++;
			continue;
		}
		char two[3] = { p[0], p[1], 0 };
		assert_true(n < size);
		out[n++] = (uint8_t)strtoul(two, NULL, 16);
		p += 2;
	}
	return slice_of(out, n);
}

static void add_token(struct wbuf *w, uint32_t start, uint32_t last, uint64_t owner, uint64_t version)
{
	uint8_t key[9], value[11];
	struct wbuf k, v;
	wbuf_fixed(&k, key, sizeof key);
	wbuf_u32(&k, u.first);
	wbuf_u8(&k, u.len);
	wbuf_u32(&k, start);
	wbuf_fixed(&v, value, sizeof value);
	wbuf_u48(&v, owner);
	wbuf_u32(&v, last);
	wbuf_u8(&v, 0);
	struct crdt_item it = { .key = wbuf_slice(&k), .stamp = { 0, version }, .live = true, .value = wbuf_slice(&v) };
	crdt_item_encode(w, &it);
}

static bool equal(const struct ipam_message *a, const struct ipam_message *b)
{
	return a->type == b->type && a->u.first == b->u.first && a->u.len == b->u.len && a->range.start == b->range.start &&
		a->range.end == b->range.end && a->serial == b->serial && a->reason == b->reason && slice_eq(a->text, b->text) &&
		fingerprint_eq(a->print, b->print) && a->n_items == b->n_items && a->n_held == b->n_held && a->epoch == b->epoch &&
		slice_eq(a->state, b->state) && slice_eq(a->items, b->items) && slice_eq(a->held, b->held);
}

#define TOKEN "09 0a2000000c0a280000 00 02 01 0b 0a0000000001 0a2fffff 00"

static const struct {
	enum ipam_message_type type;
	const char *name, *hex;
} golden[] = {
	{ MSG_SPACE_REQUEST, "space-request", "01 0a2000000c 0a200000 0a2000ff 0102030405060708" },
	{ MSG_SPACE_GRANT, "space-grant", "02 0a2000000c 0a280000 0a2fffff 0102030405060708 01" TOKEN },
	{ MSG_SPACE_DENIED, "space-denied", "03 0a2000000c 0a200005 0a200005 0102030405060708 02 03 776562" },
	{ MSG_RING_REQUEST, "ring-request",
		"04 0a2000000c 0a200000 0a2fffff 0102030405060708 1112131415161718 2122232425262728 09 01" TOKEN },
	{ MSG_RING_STATE, "ring-state",
		"05 0a2000000c 0a200000 0a2fffff 0102030405060708 1112131415161718 2122232425262728 09 01" TOKEN
		"02 0a200001 0a200007 05" },
	{ MSG_HANDOVER, "handover", "06 0a2000000c 0102030405060708 01" TOKEN },
	{ MSG_HANDOVER_ACK, "handover-ack", "07 0a2000000c 0102030405060708" },
	{ MSG_ELECT, "elect", "08 0a2000000c" },
	{ MSG_LEASE_ACK, "lease-ack", "09 0a2000000c 0102030405060708 05" },
	{ MSG_EPOCH_REQUEST, "epoch-request", "0a 0a2000000c 05" },
	{ MSG_EPOCH_STATE, "epoch-state", "0b 0a2000000c 03 776562" },
};

static struct ipam_message sample(enum ipam_message_type t, struct wbuf *items, struct wbuf *held)
{
	add_token(items, 0x0a280000, 0x0a2fffff, 0x0a0000000001, 2);
	wbuf_u32(held, 0x0a200001);
	wbuf_u32(held, 0x0a200007);
	struct ipam_message m = { .type = t, .u = u };
	bool range = t < MSG_HANDOVER;
	if (range)
		m.range = t == MSG_SPACE_REQUEST ? (struct range4){ 0x0a200000, 0x0a200100 }
			: t == MSG_SPACE_GRANT       ? (struct range4){ 0x0a280000, 0x0a300000 }
			: t == MSG_SPACE_DENIED      ? (struct range4){ 0x0a200005, 0x0a200006 }
										 : (struct range4){ 0x0a200000, 0x0a300000 };
	if (t == MSG_RING_STATE || t == MSG_LEASE_ACK || t == MSG_EPOCH_REQUEST)
		m.epoch = 5;
	if (t == MSG_EPOCH_STATE)
		m.state = slice_str("web");
	if (t != MSG_ELECT && t != MSG_EPOCH_REQUEST && t != MSG_EPOCH_STATE)
		m.serial = 0x0102030405060708;
	if (t == MSG_SPACE_DENIED) {
		m.reason = DENY_IN_USE;
		m.text = slice_str("web");
	}
	if (t == MSG_RING_STATE || t == MSG_RING_REQUEST)
		m.print = (struct fingerprint){ 0x1112131415161718, 0x2122232425262728, 9 };
	if (t == MSG_RING_STATE) {
		m.n_held = 2;
		m.held = wbuf_slice(held);
	}
	if (t == MSG_SPACE_GRANT || t == MSG_RING_REQUEST || t == MSG_RING_STATE || t == MSG_HANDOVER) {
		m.n_items = 1;
		m.items = wbuf_slice(items);
	}
	return m;
}

static void every_message(void **state)
{
	(void)state;
	assert_int_equal(sizeof golden / sizeof *golden, MSG_TYPES - 1);
	for (size_t k = 0; k < sizeof golden / sizeof *golden; k++) {
		uint8_t mem[256], items_mem[128], held_mem[64], out_mem[256];
		struct wbuf items, held, out;
		wbuf_fixed(&items, items_mem, sizeof items_mem);
		wbuf_fixed(&held, held_mem, sizeof held_mem);
		wbuf_fixed(&out, out_mem, sizeof out_mem);
		struct ipam_message m = sample(golden[k].type, &items, &held), d;
		struct slice bytes = unhex(golden[k].hex, mem, sizeof mem);
		ipam_message_encode(&out, &m);
		assert_int_equal(wbuf_end(&out), ERR_OK);
		assert_int_equal(out.len, bytes.n);
		assert_memory_equal(out.data, bytes.p, bytes.n);
		assert_int_equal(ipam_message_decode(bytes, &d), ERR_OK);
		assert_true(equal(&m, &d));
		assert_string_equal(ipam_message_name(golden[k].type), golden[k].name);
		/* Every shorter one and every longer one is refused. */
		for (size_t n = 0; n < bytes.n; n++)
			assert_int_not_equal(ipam_message_decode(slice_of(bytes.p, n), &d), ERR_OK);
		mem[bytes.n] = 0;
		assert_int_equal(ipam_message_decode(slice_of(mem, bytes.n + 1), &d), ERR_MALFORMED);
	}
}

static enum err decode(const char *hex)
{
	uint8_t mem[256];
	struct ipam_message m;
	return ipam_message_decode(unhex(hex, mem, sizeof mem), &m);
}

static void refused(void **state)
{
	(void)state;
	assert_int_equal(decode("00 0a2000000c"), ERR_UNSUPPORTED);
	assert_int_equal(decode("0c 0a2000000c"), ERR_UNSUPPORTED);
	assert_int_not_equal(decode("08 0a20000107"), ERR_OK);                                    /* universe too large */
	assert_int_not_equal(decode("08 0a2000010c"), ERR_OK);                                    /* bits after its prefix */
	assert_int_not_equal(decode("08 0a2000001f"), ERR_OK);                                    /* too small */
	assert_int_not_equal(decode("01 0a2000000c 0a200001 0a200000 0102030405060708"), ERR_OK); /* last before first */
	assert_int_not_equal(
		decode("03 0a2000000c 0a200005 0a200005 0102030405060708 02 03 770a62"), ERR_OK); /* a line end in a text */
	assert_int_equal(decode("06 0a2000000c 0102030405060708 8108"), ERR_LIMIT);           /* too many items */
	assert_int_not_equal(decode("06 0a2100000c 0102030405060708 01" TOKEN), ERR_OK);      /* an item of another universe */
	assert_int_not_equal(decode("06 0a2000000c 0102030405060708 01 09 0a2000000c0a280000 00 02 01 0b 0a0000000001 0a27ffff 00"),
		ERR_OK); /* not a token */
	assert_int_not_equal(
		decode(
			"05 0a2000000c 0a200000 0a2fffff 0102030405060708 1112131415161718 2122232425262728 09 00 02 0a200007 0a200001 00"),
		ERR_OK); /* held addresses out of order */
	/* A reason that is not known yet is understood as "not now". */
	uint8_t mem[64];
	struct ipam_message m;
	assert_int_equal(
		ipam_message_decode(unhex("03 0a2000000c 0a200005 0a200005 0102030405060708 63 00", mem, sizeof mem), &m), ERR_OK);
	assert_int_equal(m.reason, DENY_NOT_NOW);
}

/* Whatever is taken is written again as the same bytes. */
static void bent_bytes(void **state)
{
	(void)state;
	struct rng r;
	rng_seed(&r, test_seed("bent_bytes"));
	size_t taken = 0;
	for (int round = 0; round < 100000; round++) {
		uint8_t mem[256], out_mem[512];
		struct slice b = unhex(golden[rng_below(&r, MSG_TYPES - 1)].hex, mem, sizeof mem);
		for (uint64_t k = rng_between(&r, 1, 3); k > 0; k--)
			mem[rng_below(&r, b.n)] = rng_chance(&r, 500000) ? (uint8_t)rng_u64(&r) : (uint8_t)rng_below(&r, 4);
		struct ipam_message m;
		if (ipam_message_decode(b, &m) != ERR_OK || (m.type == MSG_SPACE_DENIED && m.reason == DENY_NOT_NOW))
			continue;
		taken++;
		struct wbuf w;
		wbuf_fixed(&w, out_mem, sizeof out_mem);
		ipam_message_encode(&w, &m);
		assert_true(slice_eq(wbuf_slice(&w), b));
	}
	assert_true(taken > 1000);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(every_message), cmocka_unit_test(refused),
		cmocka_unit_test(bent_bytes) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
