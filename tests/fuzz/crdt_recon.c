/* A reconciliation message from a stranger, to an owned map with a writer and to an unowned one, each with enough items to be split.
 * What is answered must be well-formed: another map is made to read it. */
#include <assert.h>
#include <stdint.h>

#include "crdt/recon.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { WRITER = 1, ITEMS = 60, ROOM = 16 * 1024 };

static struct crdt_map *new_map(bool owned, unsigned items)
{
	struct crdt_map *m = NULL;
	enum err e = crdt_map_new(&m, owned, 1);
	if (e == ERR_OK && owned)
		crdt_map_set_writer(m, WRITER, 2);
	for (unsigned i = 0; i < items && e == ERR_OK; i++) {
		uint8_t key[7] = { 0, 0, 0, 0, 0, WRITER, (uint8_t)(4 * i) };
		struct crdt_item it = { .key = slice_of(key, 7), .stamp = { 2, i }, .live = true, .value = slice_str("mine") };
		e = owned ? crdt_map_put(m, slice_of(key + 6, 1), it.value, NULL) : crdt_map_write(m, &it, NULL);
	}
	assert(e == ERR_OK);
	return m;
}

static void step(bool owned, const uint8_t *data, size_t size)
{
	struct crdt_map *m = new_map(owned, ITEMS), *reader = new_map(owned, 0);
	struct wbuf out, last;
	struct rbuf r;
	wbuf_grow(&out, ROOM);
	wbuf_grow(&last, ROOM);
	rbuf_init(&r, data, size);
	enum err e = crdt_recon_step(m, &r, &out, NULL, NULL);
	crdt_map_check(m);
	assert(e == ERR_OK || out.len == 0);
	if (e == ERR_OK) {
		rbuf_init(&r, out.data, out.len);
		e = crdt_recon_step(reader, &r, &last, NULL, NULL);
		assert(e == ERR_OK);
		crdt_map_check(reader);
	}
	wbuf_free(&out);
	wbuf_free(&last);
	crdt_map_free(m);
	crdt_map_free(reader);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	step(true, data, size);
	step(false, data, size);
	return 0;
}
