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
	static struct peer_link v[GOSSIP_LINKS_MAX];
	struct peer_links said, again;
	if (gossip_peer_links_decode(in, &said) != ERR_OK)
		return;
	for (size_t i = 0; i < said.n; i++)
		assert(gossip_peer_link_find(in, said.names[i], &v[i]) && v[i].name == said.names[i]);
	struct wbuf w;
	wbuf_grow(&w, 1 << 20);
	assert(gossip_peer_links_encode(&w, v, said.n) == ERR_OK);
	assert(gossip_peer_closed_encode(&w, said.closed, said.n_closed, said.n_lost) == ERR_OK);
	assert(gossip_peer_links_decode(wbuf_slice(&w), &again) == ERR_OK);
	assert(said.n == again.n && said.n_closed == again.n_closed && said.n_lost == again.n_lost);
	assert(said.n == 0 || memcmp(said.names, again.names, said.n * sizeof *said.names) == 0);
	size_t n = said.n_closed + said.n_lost;
	assert(n == 0 || memcmp(said.closed, again.closed, n * sizeof *said.closed) == 0);
	mem_free(said.names);
	mem_free(again.names);
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
