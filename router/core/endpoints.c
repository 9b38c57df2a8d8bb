/* Attached containers: which MAC and which addresses live on which host.
 *
 * Channel ENDPOINTS, key owner(6) ‖ mac(6) ‖ network's name; value: u8 1 | lv ident | varint n | n × (ip, u8 prefix length). What stands
 * after that is skipped, so that it can grow. c->endpoints holds the same decoded, by the same key, and is only ever changed by
 * bringing it in line with the channel; three indices lead to it: by MAC and network, by address, and for our own by ident. A
 * container's own record is stored under endpoint/IDENT, so that a restart publishes it again.
 *
 * Nothing keeps two hosts from publishing one MAC or one address. core_mac_holder() and core_address_holder() decide whose it is: whose
 * we heard of first keeps it as long as its host can be reached, unless they name the same address and the ring says that it is the
 * newcomer's. All claims are kept, so that another has it as soon as the first gives it up. */
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

/* false: not to be shown to people, or too long, or empty. */
static bool text_copy(char *dst, size_t size, struct slice s)
{
	if (s.n == 0 || s.n >= size || !core_text_ok(s))
		return false;
	memcpy(dst, s.p, s.n);
	dst[s.n] = '\0';
	return true;
}

/* false: not an endpoint we can read. Such an item is kept for others and ignored here. */
static bool value_decode(struct slice value, struct core_endpoint *e)
{
	struct rbuf r;

	rbuf_init(&r, value.p, value.n);
	if (rbuf_u8(&r) != ENDPOINT_VERSION)
		return false;
	bool shown = text_copy(e->ident, sizeof(e->ident), rbuf_lv(&r, CORE_IDENT_MAX));
	uint64_t n = rbuf_varint(&r);
	if (n > CORE_ADDRS_MAX || !shown)
		return false;
	e->n_addrs = (size_t)n;
	for (size_t i = 0; i < e->n_addrs; i++) {
		e->addrs[i].addr = rbuf_ip(&r);
		e->addrs[i].len = rbuf_u8(&r);
		if (e->addrs[i].addr.family == 0 || e->addrs[i].len > ip_bits(e->addrs[i].addr))
			return false;
	}
	return rbuf_ok(&r);
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
	return text_copy(e->network, sizeof(e->network), rbuf_bytes(&r, rbuf_left(&r))) && !mac_is_group(e->mac) &&
		value_decode(it->value, e);
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

/* --- the indices ---------------------------------------------------------------------------------------------------------------- */

static struct slice addr_key(const struct ip *a, uint8_t out[17])
{
	out[0] = a->family;
	memcpy(out + 1, a->b, 16);
	return slice_of(out, 17);
}

static enum err index_add(struct core *c, struct endpoint *p)
{
	uint8_t key[SUBKEY_MAX];
	void *old = NULL;
	enum err err = map_put(c->by_mac, slice_of(key, subkey_of(&p->e, key)), p, &old);

	if (err != ERR_OK)
		return err;
	p->mac_indexed = true;
	p->same_mac = old;
	for (size_t i = 0; i < p->e.n_addrs; i++) {
		uint8_t at[17];
		err = map_put(c->by_addr, addr_key(&p->e.addrs[i].addr, at), &p->addrs[i], &old);
		if (err != ERR_OK)
			return err;
		p->addrs[i].of = p;
		p->addrs[i].next = old;
		p->n_indexed++;
	}
	return p->e.peer == c->cfg.gossip.self ? map_put(c->by_ident, slice_str(p->e.ident), p, NULL) : ERR_OK;
}

/* Of a list whose first is in the map. A value is replaced without need of memory. */
static void unlink_mac(struct core *c, struct endpoint *p)
{
	uint8_t key[SUBKEY_MAX];
	struct slice at = slice_of(key, subkey_of(&p->e, key));
	struct endpoint *first = map_get(c->by_mac, at), **link = &first;

	while (*link != p)
		link = &(*link)->same_mac;
	*link = p->same_mac;
	if (first == NULL) {
		(void)map_del(c->by_mac, at);
	} else {
		enum err err = map_put(c->by_mac, at, first, NULL);
		assert(err == ERR_OK);
	}
}

static void unlink_addr(struct core *c, struct endpoint_addr *a, const struct ip *ip)
{
	uint8_t key[17];
	struct slice at = addr_key(ip, key);
	struct endpoint_addr *first = map_get(c->by_addr, at), **link = &first;

	while (*link != a)
		link = &(*link)->next;
	*link = a->next;
	if (first == NULL) {
		(void)map_del(c->by_addr, at);
	} else {
		enum err err = map_put(c->by_addr, at, first, NULL);
		assert(err == ERR_OK);
	}
}

static void index_remove(struct core *c, struct endpoint *p)
{
	if (p->mac_indexed)
		unlink_mac(c, p);
	for (size_t i = 0; i < p->n_indexed; i++)
		unlink_addr(c, &p->addrs[i], &p->e.addrs[i].addr);
	if (map_get(c->by_ident, slice_str(p->e.ident)) == p)
		(void)map_del(c->by_ident, slice_str(p->e.ident));
}

/* When it claimed what: 0 where it did not. */
struct claims {
	uint64_t mac, addrs[CORE_ADDRS_MAX];
};

static enum err take(struct core *c, struct slice key, const struct core_endpoint *e, const struct claims *before)
{
	struct endpoint *p = mem_zalloc(1, sizeof(*p) + e->n_addrs * sizeof(p->addrs[0]));

	if (p == NULL)
		return ERR_NOMEM;
	p->e = *e;
	uint64_t now = ++c->endpoints_seen;
	p->order = before->mac > 0 ? before->mac : now;
	for (size_t i = 0; i < e->n_addrs; i++)
		p->addrs[i].order = before->addrs[i] > 0 ? before->addrs[i] : now;
	enum err err = map_put(c->endpoints, key, p, NULL);
	if (err == ERR_OK)
		err = index_add(c, p);
	if (err != ERR_OK) {
		(void)map_del(c->endpoints, key);
		index_remove(c, p);
		mem_free(p);
	}
	return err;
}

static void drop(struct core *c, struct slice key)
{
	struct endpoint *p = map_del(c->endpoints, key);

	if (p == NULL)
		return;
	index_remove(c, p);
	mem_free(p);
}

/* Who changes what it says keeps its place for what it said before. */
static struct claims claims_before(const struct endpoint *have, const struct core_endpoint *e)
{
	struct claims before = { 0 };

	if (have == NULL)
		return before;
	before.mac = have->order;
	for (size_t i = 0; i < e->n_addrs; i++)
		for (size_t k = 0; k < have->e.n_addrs; k++)
			if (ip_eq(have->e.addrs[k].addr, e->addrs[i].addr))
				before.addrs[i] = have->addrs[k].order;
	return before;
}

/* --- in line with the channel --------------------------------------------------------------------------------------------------- */

static enum err refresh_key(struct core *c, struct slice key, bool *moved)
{
	struct crdt_item it;
	struct core_endpoint e;
	struct endpoint *have = map_get(c->endpoints, key);
	bool there = crdt_map_get(c->maps[CHANNEL_ENDPOINTS], key, &it) && item_decode(&it, &e);

	if (there && have != NULL && same(&have->e, &e))
		return ERR_OK;
	if (have != NULL || there)
		*moved = true;
	struct claims before = { 0 };
	if (there)
		before = claims_before(have, &e);
	drop(c, key);
	return there ? take(c, key, &e, &before) : ERR_OK;
}

/* What was dropped without being named, as a floor does: looks at all that we have of the owner (PEER_NONE: of everybody). */
static void drop_forgotten(struct core *c, uint64_t owner, bool *moved)
{
	struct crdt_item it;
	struct slice key;
	void *value;

	for (size_t at = 0; map_next(c->endpoints, &at, &key, &value);) {
		if (owner != PEER_NONE && crdt_owner(key) != owner)
			continue;
		if (!crdt_map_get(c->maps[CHANNEL_ENDPOINTS], key, &it) || !it.live) {
			drop(c, key);
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
			drop_forgotten(c, crdt_owner(key), moved);
		else
			err = refresh_key(c, key, moved);
		if (err != ERR_OK)
			return err;
	}
	return ERR_OK;
}

enum err endpoints_resync(struct core *c, bool *moved)
{
	struct crdt_item it;
	struct slice after = { NULL, 0 };

	drop_forgotten(c, PEER_NONE, moved);
	while (crdt_map_next(c->maps[CHANNEL_ENDPOINTS], after, &it)) {
		after = it.key;
		enum err err = crdt_is_floor(&it) ? ERR_OK : refresh_key(c, it.key, moved);
		if (err != ERR_OK)
			return err;
	}
	return ERR_OK;
}

/* --- our own ---------------------------------------------------------------------------------------------------------------------- */

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
		err = crdt_map_compact(c->maps[CHANNEL_ENDPOINTS], CRDT_COMPACT_TOMBSTONES, &changes);
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

/* Of two containers with one MAC the second would take the place of the first. */
static bool taken_here(const struct core *c, const struct core_endpoint *e)
{
	const struct core_endpoint *holder = core_mac_holder(c, e->mac, e->network);

	return holder != NULL && holder->peer == c->cfg.gossip.self && strcmp(holder->ident, e->ident) != 0;
}

enum err endpoints_attached(struct core *c, const struct core_endpoint *e, struct core_actions *out)
{
	const struct core_endpoint *have = core_local(c, e->ident);
	enum err err = ERR_OK;

	if (e->ident[0] == '\0' || e->network[0] == '\0' || mac_is_group(e->mac) || !core_text_ok(slice_str(e->ident)) ||
		!core_text_ok(slice_str(e->network)))
		return ERR_RANGE;
	if (taken_here(c, e))
		return ERR_EXISTS;
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
	if (c->ipam == NULL || addr.family == 6) /* an IPv6 address is free when that is with which it goes */
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

enum err endpoints_restore(struct core *c, struct slice ident, struct slice value)
{
	struct core_endpoint e;
	struct rbuf r;
	struct arena *arena;
	struct core_actions none;

	memset(&e, 0, sizeof(e));
	e.peer = c->cfg.gossip.self;
	rbuf_init(&r, value.p, value.n);
	e.mac = rbuf_mac(&r);
	bool shown = text_copy(e.network, sizeof(e.network), rbuf_lv(&r, CORE_NETWORK_MAX));
	if (!rbuf_ok(&r) || !shown || !value_decode(rbuf_bytes(&r, rbuf_left(&r)), &e) || mac_is_group(e.mac))
		return ERR_MALFORMED;
	if (!slice_eq(ident, slice_str(e.ident)) || taken_here(c, &e))
		return ERR_MALFORMED;
	arena = arena_new();
	if (arena == NULL)
		return ERR_NOMEM;
	core_actions_init(&none, arena); /* before core_start nothing is spread */
	enum err err = publish(c, &e, &none);
	arena_free(arena);
	return err;
}

/* --- reading ------------------------------------------------------------------------------------------------------------------------ */

bool endpoints_in_use(const struct core *c, uint32_t addr, uint64_t *holder)
{
	struct ip want = ip_v4(addr);
	uint8_t key[17];
	uint64_t least = PEER_NONE;

	for (const struct endpoint_addr *a = map_get(c->by_addr, addr_key(&want, key)); a != NULL; a = a->next) {
		uint64_t peer = a->of->e.peer;
		if (peer != c->cfg.gossip.self && (least == PEER_NONE || peer < least))
			least = peer;
	}
	if (least != PEER_NONE)
		*holder = least;
	return least != PEER_NONE;
}

static bool restarting(const struct core *c, uint64_t peer)
{
	return gossip_present(c->gossip, peer) && !gossip_reachable(c->gossip, peer);
}

/* Of an IPv6 address it says what it says of the IPv4 address that this one goes with. */
static bool ring_says(const struct core *c, const char *network, struct ip ip, uint64_t peer)
{
	struct ip v4 = ip;

	if (c->ipam == NULL || (ip.family != 4 && !core_companion_of(c, network, ip, &v4)))
		return false;
	return ring_owner(c->maps[CHANNEL_RING], c->cfg.universe, ip_to_v4(v4)) == peer;
}

static bool has_address(const struct core_endpoint *e, struct ip ip)
{
	for (size_t i = 0; i < e->n_addrs; i++)
		if (ip_eq(e->addrs[i].addr, ip))
			return true;
	return false;
}

/* Do they name an address of which the ring says that it is a's and not b's? */
static bool has_right(const struct core *c, const struct endpoint *a, const struct endpoint *b)
{
	for (size_t i = 0; i < a->e.n_addrs; i++)
		if (has_address(&b->e, a->e.addrs[i].addr) && ring_says(c, a->e.network, a->e.addrs[i].addr, a->e.peer))
			return true;
	return false;
}

static bool is_there(const struct core *c, uint64_t peer)
{
	struct path_hop hop;

	/* One that is being started anew keeps what it has. */
	return (core_hop(c, peer, &hop) && hop.path != PATH_NONE) || restarting(c, peer);
}

/* Does a go before b? a_order, b_order: when they claimed it. Among hosts that are not there the lower name does. */
static bool goes_before(
	const struct core *c, const struct endpoint *a, uint64_t a_order, const struct endpoint *b, uint64_t b_order)
{
	uint64_t self = c->cfg.gossip.self;

	if (a->e.peer == self || b->e.peer == self)
		return a->e.peer == self;
	bool a_there = is_there(c, a->e.peer), b_there = is_there(c, b->e.peer);
	if (a_there != b_there)
		return a_there;
	bool a_right = has_right(c, a, b), b_right = has_right(c, b, a);
	if (a_right != b_right)
		return a_right;
	return a_there && a_order != b_order ? a_order < b_order : a->e.peer < b->e.peer;
}

const struct core_endpoint *core_mac_holder(const struct core *c, struct mac mac, const char *network)
{
	struct core_endpoint want = { .mac = mac };
	const struct endpoint *best = NULL;
	uint8_t key[SUBKEY_MAX];

	if (strlen(network) > CORE_NETWORK_MAX)
		return NULL;
	memcpy(want.network, network, strlen(network));
	for (const struct endpoint *p = map_get(c->by_mac, slice_of(key, subkey_of(&want, key))); p != NULL; p = p->same_mac)
		if (best == NULL || goes_before(c, p, p->order, best, best->order))
			best = p;
	return best != NULL ? &best->e : NULL;
}

const struct core_endpoint *core_address_holder(const struct core *c, struct ip addr, const char *network)
{
	const struct endpoint_addr *best = NULL;
	uint8_t key[17];

	for (const struct endpoint_addr *a = map_get(c->by_addr, addr_key(&addr, key)); a != NULL; a = a->next)
		if (strcmp(a->of->e.network, network) == 0 && (best == NULL || goes_before(c, a->of, a->order, best->of, best->order)))
			best = a;
	return best != NULL ? &best->of->e : NULL;
}

bool core_is_elsewhere(
	const struct core *c, uint64_t owner, const char *ident, struct ip addr, const char *const *networks, size_t n)
{
	bool elsewhere = false;
	uint8_t key[17];

	for (const struct endpoint_addr *a = map_get(c->by_addr, addr_key(&addr, key)); a != NULL; a = a->next) {
		if (a->of->e.peer != owner || strcmp(a->of->e.ident, ident) != 0)
			continue;
		for (size_t i = 0; i < n; i++)
			if (strcmp(a->of->e.network, networks[i]) == 0)
				return false;
		elsewhere = true;
	}
	return elsewhere;
}

void endpoints_free(struct core *c)
{
	struct slice key;
	void *value;

	if (c->endpoints != NULL)
		for (size_t at = 0; map_next(c->endpoints, &at, &key, &value);)
			mem_free(value);
	map_free(c->endpoints);
	map_free(c->by_mac);
	map_free(c->by_addr);
	map_free(c->by_ident);
	c->endpoints = c->by_mac = c->by_addr = c->by_ident = NULL;
}

const struct core_endpoint *core_local(const struct core *c, const char *ident)
{
	const struct endpoint *p = map_get(c->by_ident, slice_str(ident));

	return p != NULL ? &p->e : NULL;
}

static bool next_endpoint(const struct core *c, size_t *it, bool local, const struct core_endpoint **out)
{
	struct slice key;
	void *value;

	while (map_next(c->endpoints, it, &key, &value)) {
		const struct endpoint *p = value;
		*out = &p->e;
		if ((p->e.peer == c->cfg.gossip.self) == local)
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
