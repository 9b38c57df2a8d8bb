/* Items of the channel networks as other hosts may write them, heard by a host that settles after each. What is shown must be fit to be shown,
 * in order and without a number twice; and taking everything back must leave only what is in use here. Input: u8 (bit 0: a tombstone; bit 1: our
 * container is attached to, or detached from, a network), u8 owner, lv name, lv value, repeated. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "router/core/internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

enum { ITEMS_MAX = 64 };

static struct core *node(struct arena *a)
{
	struct core_cfg cfg = { .offer = { .mtu = 1406 } };
	struct core_actions acts;
	struct core *c = NULL;

	cfg.gossip.self = 3;
	cfg.gossip.nickname = cfg.gossip.version = "fuzz";
	cfg.gossip.n_psk = 1;
	cfg.gossip.incarnation = cfg.gossip.uid = 1;
	cfg.gossip.port = 1;
	enum err err = core_new(&c, &cfg, 1, NULL);
	assert(err == ERR_OK);
	core_actions_init(&acts, a);
	err = core_start(c, 1, false, &acts);
	assert(err == ERR_OK);
	return c;
}

static void settle(struct core *c, struct arena *a)
{
	struct core_actions acts;

	core_actions_init(&acts, a);
	enum err err = networks_settle(c, &acts);
	assert(err == ERR_OK);
	size_t n = acts.n;
	err = networks_settle(c, &acts); /* settled is settled */
	assert(err == ERR_OK && acts.n == n);
}

static void hear(struct core *c, struct arena *a, uint64_t owner, struct slice name, struct slice value, bool live, uint64_t ctr)
{
	uint8_t key[CRDT_KEY_MAX];
	struct crdt_changes ch;
	enum crdt_merge what;
	struct wbuf k;

	wbuf_fixed(&k, key, sizeof(key));
	wbuf_u48(&k, owner);
	wbuf_bytes(&k, name.p, name.n);
	if (k.failed)
		return;
	struct crdt_item it = { .key = wbuf_slice(&k), .value = value, .stamp = { 1, ctr }, .live = live && name.n > 0 };
	if (!it.live)
		it.value = (struct slice){ NULL, 0 };
	crdt_changes_init(&ch, a);
	if (crdt_map_restore(c->maps[CHANNEL_NETWORKS], &it, &what, &ch) != ERR_OK)
		return;
	enum err err = networks_refresh(c, &ch);
	assert(err == ERR_OK);
	settle(c, a);
}

static void look(const struct core *c)
{
	bool numbers[65536] = { false };
	struct core_network n, same, before = { .number = 0 };

	for (size_t it = 0; core_next_network(c, &it, &n);) {
		assert(n.number != 0 && !numbers[n.number] && strcmp(before.name, n.name) < 0);
		assert(core_text_ok(slice_str(n.name)) && strchr(n.name, '/') == NULL && strchr(n.name, ' ') == NULL);
		assert(n.subnet.addr.family == 0 || (n.subnet.addr.family == 4 && prefix_is_network(n.subnet)));
		assert(n.subnet6.addr.family == 0 || (n.subnet6.addr.family == 6 && prefix_is_network(n.subnet6)));
		assert(core_network(c, n.name, &same) && same.number == n.number);
		numbers[n.number] = true;
		before = n;
	}
}

/* Attaches a container where there is a network of that name, or takes it away again. */
static void use(struct core *c, struct arena *a, struct slice name)
{
	struct core_endpoint e = { .peer = 3, .ident = "c", .mac = { { 2, 0, 0, 0, 0, 9 } } };
	struct core_event ev = { .kind = CORE_DETACHED, .now_ms = 2, .ident = "c" };
	struct core_actions acts;
	struct core_network n;

	core_actions_init(&acts, a);
	enum err err = core_step(c, &ev, &acts);
	assert(err == ERR_OK);
	if (name.n == 0 || name.n > CORE_NETWORK_MAX || memchr(name.p, 0, name.n) != NULL)
		return;
	memcpy(e.network, name.p, name.n);
	if (!core_network(c, e.network, &n))
		return;
	ev = (struct core_event){ .kind = CORE_ATTACHED, .now_ms = 2, .endpoint = &e };
	err = core_step(c, &ev, &acts);
	assert(err == ERR_OK);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct arena *a = arena_new();
	assert(a != NULL);
	struct core *c = node(a);
	const struct core_endpoint *e;
	struct rbuf r;
	uint64_t ctr = 1;

	rbuf_init(&r, data, n);
	while (rbuf_left(&r) > 0 && ctr < ITEMS_MAX) {
		uint8_t kind = rbuf_u8(&r);
		uint64_t owner = 1 + rbuf_u8(&r) % 5;
		struct slice name = rbuf_lv(&r, CRDT_KEY_MAX), value = rbuf_lv(&r, CRDT_VALUE_MAX);
		if (!rbuf_ok(&r))
			break;
		if (kind & 2)
			use(c, a, name);
		else if (owner != 3)
			hear(c, a, owner, name, value, !(kind & 1), ctr);
		ctr++;
		look(c);
	}
	for (uint64_t owner = 1; owner < 6; owner++)
		if (owner != 3)
			hear(c, a, owner, (struct slice){ NULL, 0 }, (struct slice){ NULL, 0 }, false, ITEMS_MAX);
	/* What is left is said by us: with a container in it, or as the last who says so. */
	e = core_local(c, "c");
	struct core_network still;
	assert(e == NULL || core_network(c, e->network, &still));
	assert(crdt_map_live(c->maps[CHANNEL_NETWORKS]) == map_count(c->network_records));
	core_free(c);
	arena_free(a);
	return 0;
}
