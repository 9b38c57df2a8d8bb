/* A message from another host: whatever decodes is written again as the same bytes, and its lists are walked as the core walks them. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>

#include "ipam/message.h"
#include "ipam/paxos.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void walk(const struct ipam_message *m)
{
	struct rbuf r;
	size_t n = 0;
	rbuf_init(&r, m->items.p, m->items.n);
	while (rbuf_left(&r) > 0) {
		struct crdt_item it;
		crdt_item_decode(&r, &it);
		assert(rbuf_ok(&r) && ring_item_valid(&it));
		n++;
	}
	assert(n == m->n_items && n <= IPAM_ITEMS_MAX);
	rbuf_init(&r, m->held.p, m->held.n);
	for (n = 0; rbuf_left(&r) > 0; n++)
		(void)rbuf_u32(&r);
	assert(rbuf_ok(&r) && n == m->n_held && n <= IPAM_HELD_MAX);
}

static void message(struct slice in)
{
	struct ipam_message m;
	if (ipam_message_decode(in, &m) != ERR_OK)
		return;
	walk(&m);
	struct wbuf w;
	wbuf_grow(&w, IPAM_PAYLOAD_MAX);
	ipam_message_encode(&w, &m);
	assert(wbuf_end(&w) == ERR_OK);
	/* An unknown reason is read as a known one. */
	assert(slice_eq(wbuf_slice(&w), in) || m.type == MSG_SPACE_DENIED);
	wbuf_free(&w);
}

static void state(struct slice in)
{
	struct paxos_state s;
	if (paxos_state_decode(in, &s) != ERR_OK)
		return;
	struct wbuf w;
	wbuf_grow(&w, in.n);
	paxos_state_encode(&w, &s);
	assert(slice_eq(wbuf_slice(&w), in));
	wbuf_free(&w);
	size_t at = 0, n = 0;
	uint64_t name;
	uint32_t memory;
	while (paxos_member(s.members, &at, &name, &memory))
		n++;
	assert(n <= PAXOS_VALUE_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	/* A paxos state comes from outside as well, in the map's items. */
	message(slice_of(data, size));
	state(slice_of(data, size));
	return 0;
}
