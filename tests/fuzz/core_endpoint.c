/* Items of the channels endpoints and names as other hosts may write them: each is merged and read. What was read must be fit to be shown,
 * and taking everything back must leave nothing. Input: u8 (bit 0: names; bit 1: a tombstone), u8 owner, lv subkey, lv value, repeated. With
 * names and bit 2 the subkey is the hash that belongs to the value. */
#include <assert.h>
#include <sodium.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "router/core/internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

enum { ITEMS_MAX = 64 };

static struct core *node(void)
{
	struct core_cfg cfg = { .names = true, .domain = "weft.local." };
	struct core *c = NULL;

	cfg.gossip.self = 1;
	cfg.gossip.nickname = cfg.gossip.version = "fuzz";
	cfg.gossip.n_psk = 1;
	cfg.gossip.incarnation = cfg.gossip.uid = 1;
	cfg.gossip.port = 1;
	enum err err = core_new(&c, &cfg, 1, NULL);
	assert(err == ERR_OK);
	return c;
}

/* A floor of an owner (subkey.n == 0) takes back all that is his. */
static void hear(struct core *c, struct arena *a, uint8_t channel, uint64_t owner, struct slice subkey, struct slice value,
	bool live, uint64_t ctr)
{
	uint8_t key[CRDT_KEY_MAX];
	struct crdt_changes ch;
	enum crdt_merge what;
	struct wbuf k;
	bool moved = false;

	wbuf_fixed(&k, key, sizeof(key));
	wbuf_u48(&k, owner);
	wbuf_bytes(&k, subkey.p, subkey.n);
	if (k.failed)
		return;
	struct crdt_item it = { .key = wbuf_slice(&k), .value = value, .stamp = { 1, ctr }, .live = live && subkey.n > 0 };
	if (!it.live)
		it.value = (struct slice){ NULL, 0 };
	arena_reset(a);
	crdt_changes_init(&ch, a);
	if (crdt_map_restore(c->maps[channel], &it, &what, &ch) != ERR_OK)
		return;
	enum err err = channel == CHANNEL_NAMES ? names_refresh(c, &ch) : endpoints_refresh(c, &ch, &moved);
	assert(err == ERR_OK);
}

static void look(const struct core *c)
{
	const struct core_endpoint *e;
	struct core_name name;
	uint64_t holder;

	for (size_t it = 0; core_next_remote(c, &it, &e);) {
		assert(e->ident[0] != '\0' && core_text_ok(slice_str(e->ident)) && core_text_ok(slice_str(e->network)));
		assert(e->n_addrs <= CORE_ADDRS_MAX && core_mac_holder(c, e->mac, e->network) != NULL);
		for (size_t i = 0; i < e->n_addrs; i++)
			assert(e->addrs[i].addr.family != 4 || endpoints_in_use(c, ip_to_v4(e->addrs[i].addr), &holder));
	}
	for (size_t it = 0; core_next_name(c, &it, &name);)
		assert(core_text_ok(slice_str(name.ident)) && name.addr.family != 0);
}

static void hear_input(struct core *c, struct arena *a, struct rbuf *r, uint64_t ctr)
{
	uint8_t kind = rbuf_u8(r), hash[16];
	uint64_t owner = 2 + rbuf_u8(r) % 3;
	struct slice subkey = rbuf_lv(r, CRDT_KEY_MAX), value = rbuf_lv(r, CRDT_VALUE_MAX);

	if (!rbuf_ok(r))
		return;
	if ((kind & 5) == 5) {
		crypto_generichash(hash, sizeof(hash), value.n > 0 ? value.p : hash, value.n, NULL, 0);
		subkey = slice_of(hash, sizeof(hash));
	}
	hear(c, a, kind & 1 ? CHANNEL_NAMES : CHANNEL_ENDPOINTS, owner, subkey, value, !(kind & 2), ctr);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct core *c = node();
	struct arena *a = arena_new();
	struct rbuf r;
	uint64_t ctr = 1;

	assert(a != NULL);
	rbuf_init(&r, data, n);
	while (rbuf_left(&r) > 0 && ctr < ITEMS_MAX) {
		hear_input(c, a, &r, ctr++);
		look(c);
	}
	for (uint64_t owner = 2; owner < 5; owner++) {
		hear(c, a, CHANNEL_NAMES, owner, (struct slice){ NULL, 0 }, (struct slice){ NULL, 0 }, false, ITEMS_MAX);
		hear(c, a, CHANNEL_ENDPOINTS, owner, (struct slice){ NULL, 0 }, (struct slice){ NULL, 0 }, false, ITEMS_MAX);
	}
	assert(map_count(c->endpoints) == 0 && map_count(c->by_mac) == 0 && map_count(c->by_addr) == 0 && map_count(c->names) == 0);
	assert(dns_table_count(c->table) == 0);
	arena_free(a);
	core_free(c);
	return 0;
}
