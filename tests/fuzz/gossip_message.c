/* What a member may say: messages, and the items of `peers`. The first byte chooses the decoder. What decodes is encoded and decoded again,
 * and must be the same bytes from then on. */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "gossip/internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void message(struct slice in)
{
	struct message m, again;
	if (gossip_message_decode(in, &m) != ERR_OK)
		return;
	struct wbuf a, b;
	wbuf_grow(&a, MESSAGE_MAX);
	wbuf_grow(&b, MESSAGE_MAX);
	assert(gossip_message_encode(&a, &m) == ERR_OK);
	assert(gossip_message_decode(wbuf_slice(&a), &again) == ERR_OK);
	assert(gossip_message_encode(&b, &again) == ERR_OK);
	assert(slice_eq(wbuf_slice(&a), wbuf_slice(&b)));
	wbuf_free(&a);
	wbuf_free(&b);
}

static void info(struct slice in)
{
	struct peer_info p, again;
	if (peer_info_decode(in, &p) != ERR_OK)
		return;
	struct wbuf w;
	wbuf_grow(&w, CRDT_VALUE_MAX);
	gossip_peer_info_encode(&w, &p);
	assert(wbuf_end(&w) == ERR_OK);
	assert(peer_info_decode(wbuf_slice(&w), &again) == ERR_OK);
	assert(again.name == p.name && again.uid == p.uid && again.n_addresses == p.n_addresses && slice_eq(again.extra, p.extra));
	assert(strcmp(again.nickname, p.nickname) == 0 && memcmp(again.key, p.key, sizeof p.key) == 0);
	wbuf_free(&w);
}

static void links(struct slice in)
{
	struct peer_link *v, *again;
	size_t n, m;
	if (gossip_peer_links_decode(in, &v, &n) != ERR_OK)
		return;
	struct wbuf w;
	wbuf_grow(&w, 1 << 20);
	assert(gossip_peer_links_encode(&w, v, n) == ERR_OK);
	assert(gossip_peer_links_decode(wbuf_slice(&w), &again, &m) == ERR_OK);
	assert(n == m && (n == 0 || v[n - 1].name == again[n - 1].name));
	mem_free(v);
	mem_free(again);
	wbuf_free(&w);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0)
		return 0;
	struct slice in = slice_of(data + 1, size - 1);
	switch (data[0] % 3) {
	case 0: message(in); break;
	case 1: info(in); break;
	default: links(in); break;
	}
	return 0;
}
