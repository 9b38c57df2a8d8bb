/* Stored records as a damaged disk may give them: each is refused or taken, and with what was taken a node starts, works and writes.
 * Input: lv key, lv value, repeated. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include "router/core/internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

enum { RECORDS_MAX = 64, KEY_MAX = 500, VALUE_MAX = 8192 };

static struct core *node(bool names)
{
	struct core_cfg cfg = {
		.ipam = true,
		.universe = { .first = UINT32_C(0x0a200000), .len = 12 },
		.default_subnet = { ip_v4(UINT32_C(0x0a200000)), 12 },
		.names = names,
		.domain = "weft.local.",
	};
	struct core *c = NULL;

	cfg.gossip.self = 0x020000000001;
	cfg.gossip.nickname = cfg.gossip.version = "fuzz";
	cfg.gossip.n_psk = 1;
	cfg.gossip.incarnation = cfg.gossip.uid = 10;
	cfg.gossip.port = 1;
	enum err err = core_new(&c, &cfg, 1, NULL);
	assert(err == ERR_OK);
	return c;
}

static void works(struct core *c, struct arena *a)
{
	struct core_endpoint e = { .ident = "c", .network = "weft", .mac = { { 2, 0, 0, 0, 0, 9 } } };
	struct ipam_event ask = { .kind = IPAM_ALLOCATE, .ident = "c", .request = 5, .wait = true };
	struct core_network network = { .name = "fuzzed" };
	struct core_event events[] = {
		{ .kind = CORE_TICK, .now_ms = 10 },
		{ .kind = CORE_IPAM, .now_ms = 20, .ipam = &ask },
		{ .kind = CORE_ATTACHED, .now_ms = 30, .endpoint = &e },
		{ .kind = CORE_NAME_PUT, .now_ms = 40, .ident = "c", .fqdn = "c.weft.local", .addr = ip_v4(1) },
		{ .kind = CORE_DETACHED, .now_ms = 50, .ident = "c" },
		{ .kind = CORE_NETWORK_CREATE, .now_ms = 55, .network = &network },
		{ .kind = CORE_NETWORK_REMOVE, .now_ms = 56, .network = &network },
		{ .kind = CORE_TICK, .now_ms = 60000 },
	};
	struct core_actions acts;

	core_actions_init(&acts, a);
	enum err err = core_start(c, 2, true, &acts);
	assert(err == ERR_OK);
	for (size_t i = 0; i < sizeof(events) / sizeof(events[0]); i++) {
		err = core_step(c, &events[i], &acts);
		assert(err == ERR_OK);
	}
	assert(core_local(c, "c") == NULL);
	for (size_t i = 0; i < acts.n; i++)
		assert(acts.v[i].kind != CORE_PERSIST || (acts.v[i].u.persist.key.n > 0 && acts.v[i].u.persist.key.n <= KEY_MAX));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct core *c = node(n % 2 == 0);
	struct arena *a = arena_new();
	struct rbuf r;

	assert(a != NULL);
	rbuf_init(&r, data, n);
	for (int i = 0; i < RECORDS_MAX && rbuf_left(&r) > 0; i++) {
		struct slice key = rbuf_lv(&r, KEY_MAX), value = rbuf_lv(&r, VALUE_MAX);
		struct err_note note = { "" };
		if (!rbuf_ok(&r))
			break;
		enum err err = core_restore(c, key, value, &note);
		assert(err == ERR_OK || note.text[0] != '\0');
	}
	works(c, a);
	arena_free(a);
	core_free(c);
	return 0;
}
