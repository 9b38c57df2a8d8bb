/* Attached containers: which MAC and which addresses live on which host.
 *
 * Channel ENDPOINTS, key owner(6) ‖ mac(6) ‖ network's name; value: u8 1 | lv ident | varint n | n × (ip, u8 prefix length). What stands
 * after that is skipped, so that it can grow. c->endpoints holds the same decoded, by the same key, and is only ever changed by
 * bringing it in line with the channel. A container's own record is stored under endpoint/IDENT, so that a restart publishes it again. */
#include <assert.h>
#include <string.h>

#include "router/core/internal.h"

enum { ENDPOINT_VERSION = 1, SUBKEY_MAX = 6 + CORE_NETWORK_MAX };

static void value_encode(struct wbuf *w, const struct core_endpoint *e)
{
	wbuf_u8(w, ENDPOINT_VERSION);
	wbuf_lv(w, slice_str(e->ident));
	wbuf_varint(w, e->n_addrs);
	for (size_t i = 0; i < e->n_addrs; i++) {
		wbuf_ip(w, e->addrs[i].addr);
		wbuf_u8(w, e->addrs[i].len);
	}
}

static void text_copy(char *dst, size_t size, struct slice s)
{
	size_t n = s.n < size ? s.n : size - 1;

	if (n > 0)
		memcpy(dst, s.p, n);
	dst[n] = '\0';
}

/* false: not an endpoint we can read. Such an item is kept for others and ignored here. */
static bool value_decode(struct slice value, struct core_endpoint *e)
{
	struct rbuf r;

	rbuf_init(&r, value.p, value.n);
	if (rbuf_u8(&r) != ENDPOINT_VERSION)
		return false;
	text_copy(e->ident, sizeof(e->ident), rbuf_lv(&r, CORE_IDENT_MAX));
	uint64_t n = rbuf_varint(&r);
	if (n > CORE_ADDRS_MAX)
		return false;
	e->n_addrs = (size_t)n;
	for (size_t i = 0; i < e->n_addrs; i++) {
		e->addrs[i].addr = rbuf_ip(&r);
		e->addrs[i].len = rbuf_u8(&r);
		if (e->addrs[i].len > ip_bits(e->addrs[i].addr))
			return false;
	}
	return rbuf_ok(&r) && e->ident[0] != '\0';
}

static bool item_decode(const struct crdt_item *it, struct core_endpoint *e)
{
	struct slice sub = crdt_subkey(it->key);
	struct rbuf r;

	if (!it->live || sub.n <= 6 || sub.n > SUBKEY_MAX)
		return false;
	memset(e, 0, sizeof(*e));
	e->peer = crdt_owner(it->key);
	rbuf_init(&r, sub.p, sub.n);
	e->mac = rbuf_mac(&r);
	text_copy(e->network, sizeof(e->network), rbuf_bytes(&r, rbuf_left(&r)));
	return !mac_is_group(e->mac) && value_decode(it->value, e);
}

static size_t subkey_of(const struct core_endpoint *e, uint8_t out[SUBKEY_MAX])
{
	struct wbuf w;

	wbuf_fixed(&w, out, SUBKEY_MAX);
	wbuf_mac(&w, e->mac);
	wbuf_bytes(&w, e->network, strlen(e->network));
	assert(!w.failed);
	return w.len;
}

/* The record as stored: mac, lv network, then the value. */
static void record_encode(struct wbuf *w, const struct core_endpoint *e)
{
	wbuf_mac(w, e->mac);
	wbuf_lv(w, slice_str(e->network));
	value_encode(w, e);
}

static bool same(const struct core_endpoint *a, const struct core_endpoint *b)
{
	if (a->peer != b->peer || !mac_eq(a->mac, b->mac) || strcmp(a->ident, b->ident) != 0 || strcmp(a->network, b->network) != 0 ||
	    a->n_addrs != b->n_addrs)
		return false;
	for (size_t i = 0; i < a->n_addrs; i++)
		if (!prefix_eq(a->addrs[i], b->addrs[i]))
			return false;
	return true;
}

static enum err refresh_key(struct core *c, struct slice key, bool *moved)
{
	struct crdt_item it;
	struct core_endpoint e;
	struct core_endpoint *have = map_get(c->endpoints, key);

	if (!crdt_map_get(c->maps[CHANNEL_ENDPOINTS], key, &it) || !item_decode(&it, &e)) {
		if (have != NULL) {
			mem_free(map_del(c->endpoints, key));
			*moved = true;
		}
		return ERR_OK;
	}
	if (have != NULL) {
		if (!same(have, &e)) {
			*have = e;
			*moved = true;
		}
		return ERR_OK;
	}
	struct core_endpoint *made = mem_dup(&e, sizeof(e));
	if (made == NULL)
		return ERR_NOMEM;
	enum err err = map_put(c->endpoints, key, made, NULL);
	if (err != ERR_OK)
		mem_free(made);
	else
		*moved = true;
	return err;
}

/* A floor dropped items without naming them: look at all that we have of the owner. */
static void refresh_owner(struct core *c, uint64_t owner, bool *moved)
{
	struct crdt_item it;
	struct slice key;
	void *value;

	for (size_t at = 0; map_next(c->endpoints, &at, &key, &value);) {
		if (crdt_owner(key) == owner && (!crdt_map_get(c->maps[CHANNEL_ENDPOINTS], key, &it) || !it.live)) {
			mem_free(map_del(c->endpoints, key));
			*moved = true;
		}
	}
}

enum err endpoints_refresh(struct core *c, const struct crdt_changes *changes, bool *moved)
{
	for (size_t i = 0; i < changes->n; i++) {
		struct slice key = changes->keys[i];
		enum err err = ERR_OK;
		if (crdt_subkey(key).n == 0)
			refresh_owner(c, crdt_owner(key), moved);
		else
			err = refresh_key(c, key, moved);
		if (err != ERR_OK)
			return err;
	}
	return ERR_OK;
}

static enum err publish(struct core *c, const struct core_endpoint *e, struct core_actions *out)
{
	uint8_t subkey[SUBKEY_MAX];
	struct slice sub = slice_of(subkey, subkey_of(e, subkey));
	struct crdt_changes changes;
	struct wbuf w;
	uint8_t bytes[CORE_IDENT_MAX + 16 + CORE_ADDRS_MAX * 18];
	bool moved = false;

	wbuf_fixed(&w, bytes, sizeof(bytes));
	value_encode(&w, e);
	enum err err = wbuf_end(&w);
	assert(err == ERR_OK);
	crdt_changes_init(&changes, out->arena);
	err = crdt_map_put(c->maps[CHANNEL_ENDPOINTS], sub, wbuf_slice(&w), &changes);
	if (err == ERR_OK)
		err = endpoints_refresh(c, &changes, &moved);
	if (err == ERR_OK)
		err = core_spread(c, CHANNEL_ENDPOINTS, &changes, out);
	return err;
}

static enum err withdraw(struct core *c, const struct core_endpoint *e, struct core_actions *out)
{
	uint8_t subkey[SUBKEY_MAX];
	struct slice sub = slice_of(subkey, subkey_of(e, subkey));
	struct crdt_changes changes;
	bool moved = false;

	crdt_changes_init(&changes, out->arena);
	enum err err = crdt_map_delete(c->maps[CHANNEL_ENDPOINTS], sub, &changes);
	if (err == ERR_OK)
		err = endpoints_refresh(c, &changes, &moved);
	if (err == ERR_OK)
		err = core_spread(c, CHANNEL_ENDPOINTS, &changes, out);
	return err;
}

static enum err store(struct core_actions *out, const struct core_endpoint *e)
{
	uint8_t bytes[CORE_NETWORK_MAX + CORE_IDENT_MAX + 32 + CORE_ADDRS_MAX * 18];
	struct wbuf w;

	wbuf_fixed(&w, bytes, sizeof(bytes));
	record_encode(&w, e);
	enum err err = wbuf_end(&w);
	assert(err == ERR_OK);
	return core_persist(out, "endpoint/", slice_str(e->ident), wbuf_slice(&w));
}

enum err endpoints_attached(struct core *c, const struct core_endpoint *e, struct core_actions *out)
{
	const struct core_endpoint *have = core_local(c, e->ident);
	enum err err = ERR_OK;

	if (have != NULL && (!mac_eq(have->mac, e->mac) || strcmp(have->network, e->network) != 0)) {
		struct core_endpoint old = *have; /* the table's own is gone after withdraw */
		err = withdraw(c, &old, out);
	}
	if (err == ERR_OK)
		err = publish(c, e, out);
	if (err == ERR_OK)
		err = store(out, e);
	return err;
}

static enum err free_address(struct core *c, const char *ident, struct ip addr, struct core_actions *out)
{
	if (c->ipam == NULL)
		return ERR_OK;
	struct ipam_event ev = { .kind = IPAM_FREE, .ident = ident, .addr = addr };
	return core_run_ipam(c, &ev, out);
}

enum err endpoints_detached(struct core *c, const char *ident, struct ip addr, struct core_actions *out)
{
	const struct core_endpoint *have = core_local(c, ident);
	size_t n = 0;
	enum err err = names_delete(c, ident, NULL, addr, &n, out);

	if (err == ERR_OK)
		err = free_address(c, ident, addr, out);
	if (err != ERR_OK || have == NULL)
		return err;
	struct core_endpoint e = *have;
	if (addr.family == 0)
		e.n_addrs = 0;
	for (size_t i = 0; i < e.n_addrs; i++) {
		if (ip_eq(e.addrs[i].addr, addr)) {
			memmove(&e.addrs[i], &e.addrs[i + 1], (e.n_addrs - i - 1) * sizeof(e.addrs[0]));
			e.n_addrs--;
			memset(&e.addrs[e.n_addrs], 0, sizeof(e.addrs[0]));
			break;
		}
	}
	if (e.n_addrs > 0) {
		err = publish(c, &e, out);
		return err != ERR_OK ? err : store(out, &e);
	}
	err = withdraw(c, &e, out);
	return err != ERR_OK ? err : core_unpersist(out, "endpoint/", slice_str(ident));
}

enum err endpoints_restore(struct core *c, struct slice value)
{
	struct core_endpoint e;
	struct rbuf r;
	struct arena *arena;
	struct core_actions none;

	memset(&e, 0, sizeof(e));
	e.peer = c->cfg.gossip.self;
	rbuf_init(&r, value.p, value.n);
	e.mac = rbuf_mac(&r);
	text_copy(e.network, sizeof(e.network), rbuf_lv(&r, CORE_NETWORK_MAX));
	if (!rbuf_ok(&r) || !value_decode(rbuf_bytes(&r, rbuf_left(&r)), &e) || mac_is_group(e.mac))
		return ERR_MALFORMED;
	arena = arena_new();
	if (arena == NULL)
		return ERR_NOMEM;
	core_actions_init(&none, arena); /* before core_start nothing is spread */
	enum err err = publish(c, &e, &none);
	arena_free(arena);
	return err;
}

bool endpoints_in_use(const struct core *c, uint32_t addr, uint64_t *holder)
{
	struct ip want = ip_v4(addr);
	struct slice key;
	void *value;

	for (size_t at = 0; map_next(c->endpoints, &at, &key, &value);) {
		const struct core_endpoint *e = value;
		if (e->peer == c->cfg.gossip.self)
			continue;
		for (size_t i = 0; i < e->n_addrs; i++) {
			if (ip_eq(e->addrs[i].addr, want)) {
				*holder = e->peer;
				return true;
			}
		}
	}
	return false;
}

void endpoints_free(struct core *c)
{
	struct slice key;
	void *value;

	if (c->endpoints == NULL)
		return;
	for (size_t at = 0; map_next(c->endpoints, &at, &key, &value);)
		mem_free(value);
	map_free(c->endpoints);
	c->endpoints = NULL;
}

const struct core_endpoint *core_local(const struct core *c, const char *ident)
{
	const struct core_endpoint *e;

	for (size_t at = 0; core_next_local(c, &at, &e);)
		if (strcmp(e->ident, ident) == 0)
			return e;
	return NULL;
}

static bool next_endpoint(const struct core *c, size_t *it, bool local, const struct core_endpoint **out)
{
	struct slice key;
	void *value;

	while (map_next(c->endpoints, it, &key, &value)) {
		*out = value;
		if (((*out)->peer == c->cfg.gossip.self) == local)
			return true;
	}
	return false;
}

bool core_next_remote(const struct core *c, size_t *it, const struct core_endpoint **out)
{
	return next_endpoint(c, it, false, out);
}

bool core_next_local(const struct core *c, size_t *it, const struct core_endpoint **out)
{
	return next_endpoint(c, it, true, out);
}
