/* The usage map: what every host says about its free space ("u"), the addresses it uses in ranges of others ("h"), whether it has
 * handed everything over and left ("g"), and which ring it belongs to ("f"). */
#include <assert.h>
#include <string.h>

#include "ipam/internal.h"

static bool get_of(const struct ipam *i, uint64_t peer, char kind, struct crdt_item *it)
{
	uint8_t key[6 + UNIVERSE_SUBKEY], mem[UNIVERSE_SUBKEY];
	struct wbuf w;
	wbuf_fixed(&w, key, sizeof key);
	wbuf_u48(&w, peer);
	wbuf_bytes(&w, universe_subkey(i->cfg.universe, kind, mem).p, UNIVERSE_SUBKEY);
	return crdt_map_get(i->cfg.usage, wbuf_slice(&w), it) && it->live;
}

/* --- free space --- */

/* varint n, n x { u32 first, u32 last, varint free } */
static enum err encode_spans(const struct usage_span *v, size_t n, struct wbuf *w)
{
	wbuf_varint(w, n);
	for (size_t k = 0; k < n; k++) {
		wbuf_u32(w, (uint32_t)v[k].start);
		wbuf_u32(w, (uint32_t)(v[k].end - 1));
		wbuf_varint(w, v[k].free);
	}
	return wbuf_end(w);
}

/* The two addresses of the range itself that can be in no subnet of it. They are always free, and not counted as such. */
static uint64_t free_edges(const struct ipam *i, struct range4 span)
{
	struct range4 all = universe_range(i->cfg.universe);
	uint64_t n = 0;
	for (int k = 0; k < 2; k++) {
		uint64_t a = k == 0 ? all.start : all.end - 1;
		n += range4_contains(span, a) && !space_lease_at(&i->space, (uint32_t)a) &&
			space_holder(&i->space, (uint32_t)a) == PEER_NONE;
	}
	return n;
}

/* Of `free` addresses in the span, how many can be given in the subnet r? Its first and last are free and can not. */
static uint64_t usable(const struct ipam *i, struct range4 span, struct range4 r, uint64_t free)
{
	struct range4 all = universe_range(i->cfg.universe), both = range4_and(span, r);
	uint64_t size = range4_size(both);
	for (int k = 0; k < 2 && range4_size(r) > 1; k++) {
		uint64_t a = k == 0 ? r.start : r.end - 1;
		if (!range4_contains(both, a))
			continue;
		size--;
		if (free > 0 && a != all.start && a != all.end - 1)
			free--;
	}
	return free < size ? free : size;
}

bool usage_of(const struct ipam *i, uint64_t peer, struct range4 r, uint64_t *free)
{
	struct crdt_item it;
	struct rbuf b;
	uint64_t sum = 0;
	if (!get_of(i, peer, 'u', &it))
		return false;
	rbuf_init(&b, it.value.p, it.value.n);
	uint64_t n = rbuf_varint(&b);
	for (uint64_t k = 0; k < n && rbuf_ok(&b); k++) {
		uint64_t first = rbuf_u32(&b), last = rbuf_u32(&b), f = rbuf_varint(&b);
		if (first > last || f > last - first + 1)
			return false;
		if (first < r.end && last >= r.start)
			sum += usable(i, (struct range4){ first, last + 1 }, r, f);
	}
	*free = sum;
	return rbuf_end(&b) == ERR_OK;
}

bool usage_excludes(const struct ipam *i, uint64_t peer, struct range4 r)
{
	struct crdt_item it;
	struct rbuf b;
	if (!get_of(i, peer, 'u', &it))
		return false;
	rbuf_init(&b, it.value.p, it.value.n);
	uint64_t n = rbuf_varint(&b);
	for (uint64_t k = 0; k < n && rbuf_ok(&b); k++) {
		uint64_t first = rbuf_u32(&b), last = rbuf_u32(&b);
		(void)rbuf_varint(&b);
		if (first < r.end && last >= r.start)
			return false;
	}
	return rbuf_end(&b) == ERR_OK;
}

static size_t spans_now(const struct ipam *i, struct usage_span v[USAGE_SPANS_MAX])
{
	const struct ranges *mine = &i->whole; /* what is kept spare is free as well, for who asks */
	size_t lump = mine->n / USAGE_SPANS_MAX + 1, n = 0;
	for (size_t k = 0; k < mine->n; n++) {
		v[n] = (struct usage_span){ .start = mine->v[k].start };
		for (size_t m = 0; m < lump && k < mine->n; m++, k++) {
			v[n].end = mine->v[k].end;
			v[n].free += space_unused_in(&i->space, mine->v[k]) - free_edges(i, mine->v[k]);
		}
	}
	return n;
}

enum change { SAME, LITTLE, MUCH, REVIVED };

static enum change compare(const struct usage_span *a, size_t n_a, const struct usage_span *b, size_t n_b)
{
	enum change c = n_a == n_b ? SAME : MUCH;
	uint64_t free_a = 0, free_b = 0;
	for (size_t k = 0; k < n_a; k++)
		free_a += a[k].free;
	for (size_t k = 0; k < n_b; k++)
		free_b += b[k].free;
	for (size_t k = 0; k < n_a && k < n_b; k++) {
		uint64_t x = a[k].free, y = b[k].free, d = x > y ? x - y : y - x;
		if (a[k].start != b[k].start || a[k].end != b[k].end)
			c = MUCH;
		else if (x == 0 && y > 0)
			return REVIVED;
		else if (d > x / 8)
			c = MUCH;
		else if (d > 0 && c == SAME)
			c = LITTLE;
	}
	return free_a == 0 && free_b > 0 ? REVIVED : c;
}

enum err usage_publish(struct ipam *i)
{
	struct usage_span v[USAGE_SPANS_MAX];
	uint8_t sub[UNIVERSE_SUBKEY];
	if (!i->usage_dirty || (i->now < i->usage_ms && !i->freed))
		return ERR_OK;
	size_t n = spans_now(i, v);
	enum change c = compare(i->usage, i->n_usage, v, n);
	i->freed = false;
	if (i->now < i->usage_ms && c != REVIVED)
		return ERR_OK;
	/* Once in a run also that there is nothing: who claims what others have by mistake has to be told from who has it. */
	bool first = !i->usage_said && i->ring_seen;
	if ((c == SAME || c == LITTLE) && !first) {
		i->usage_dirty = false;
		return ERR_OK;
	}
	void *mem = i->usage;
	bool ok = mem_grow(&mem, &i->cap_usage, n, sizeof *i->usage);
	i->usage = mem;
	if (!ok)
		return ERR_NOMEM;
	struct wbuf w;
	wbuf_grow(&w, CRDT_VALUE_MAX);
	enum err e = encode_spans(v, n, &w);
	if (e == ERR_OK)
		e = out_put(i, IPAM_MAP_USAGE, universe_subkey(i->cfg.universe, 'u', sub), wbuf_slice(&w));
	wbuf_free(&w);
	if (e != ERR_OK)
		return e;
	if (n > 0)
		memcpy(i->usage, v, n * sizeof *v);
	i->n_usage = n;
	i->usage_dirty = false;
	i->usage_said = true;
	i->usage_ms = i->now + USAGE_MS;
	return ERR_OK;
}

uint64_t usage_deadline_ms(const struct ipam *i)
{
	return i->usage_dirty ? i->usage_ms : UINT64_MAX;
}

/* --- which ring it is of --- */

enum err usage_put_founding(struct ipam *i, const struct founding *f)
{
	uint8_t sub[UNIVERSE_SUBKEY];
	return out_put(i, IPAM_MAP_USAGE, universe_subkey(i->cfg.universe, 'f', sub), slice_of(f->id, FOUNDING_ID));
}

bool usage_founding(const struct ipam *i, uint64_t peer, struct founding *out)
{
	struct crdt_item it;
	if (!get_of(i, peer, 'f', &it) || it.value.n != FOUNDING_ID)
		return false;
	memcpy(out->id, it.value.p, FOUNDING_ID);
	out->members = 1;
	return true;
}

/* --- holds --- */

static struct slice hold_subkey(uint32_t addr, uint8_t mem[UNIVERSE_SUBKEY])
{
	struct wbuf w;
	wbuf_fixed(&w, mem, UNIVERSE_SUBKEY);
	wbuf_u8(&w, 'h');
	wbuf_u32(&w, addr);
	return wbuf_slice(&w);
}

enum err usage_hold(struct ipam *i, struct lease *l)
{
	uint8_t sub[UNIVERSE_SUBKEY];
	if (ranges_has(&i->space.mine, l->addr))
		return usage_unhold(i, l);
	if (l->published)
		return ERR_OK;
	enum err e = out_put(i, IPAM_MAP_USAGE, hold_subkey(l->addr, sub), slice_str(l->ident));
	l->published = e == ERR_OK;
	return e;
}

enum err usage_unhold(struct ipam *i, struct lease *l)
{
	uint8_t sub[UNIVERSE_SUBKEY];
	if (!l->published)
		return ERR_OK;
	enum err e = out_put(i, IPAM_MAP_USAGE, hold_subkey(l->addr, sub), slice_of(NULL, 0));
	if (e == ERR_OK)
		l->published = false;
	return e;
}

/* The address of a hold's key; false: another kind of key. */
static bool hold_addr(struct slice subkey, uint32_t *addr)
{
	struct rbuf r;
	rbuf_init(&r, subkey.p, subkey.n);
	bool hold = rbuf_u8(&r) == 'h';
	*addr = rbuf_u32(&r);
	return hold && rbuf_end(&r) == ERR_OK;
}

static enum err take_hold(struct ipam *i, uint64_t peer, uint32_t addr, bool live)
{
	if (!in_universe(i, addr) || peer == i->cfg.self)
		return ERR_OK;
	i->usage_dirty = true;
	if (live)
		return space_hold(&i->space, addr, peer);
	space_unhold(&i->space, addr, peer);
	i->freed = true;
	return ERR_OK;
}

/* The holds in the map from the key on; of one peer only unless it is PEER_NONE. */
static enum err scan(struct ipam *i, uint64_t peer)
{
	uint8_t key[6];
	struct wbuf w;
	struct crdt_item it;
	enum err e = ERR_OK;
	wbuf_fixed(&w, key, sizeof key);
	wbuf_u48(&w, peer);
	for (bool there = crdt_map_seek(i->cfg.usage, wbuf_slice(&w), &it); there && e == ERR_OK;
		 there = crdt_map_next(i->cfg.usage, it.key, &it)) {
		uint32_t addr;
		if (peer != PEER_NONE && crdt_owner(it.key) != peer)
			break;
		if (it.live && hold_addr(crdt_subkey(it.key), &addr))
			e = take_hold(i, crdt_owner(it.key), addr, true);
	}
	return e;
}

enum err usage_scan(struct ipam *i)
{
	space_unhold_every(&i->space);
	i->usage_dirty = i->freed = true;
	return scan(i, PEER_NONE);
}

enum err usage_news(struct ipam *i, const struct crdt_changes *ch)
{
	enum err e = ERR_OK;
	for (size_t k = 0; k < ch->n && e == ERR_OK; k++) {
		uint64_t peer = crdt_owner(ch->keys[k]);
		struct slice sub = crdt_subkey(ch->keys[k]);
		struct crdt_item it;
		uint32_t addr;
		if (sub.n == 0) {
			/* A floor: what it made go away is not named. */
			space_unhold_all(&i->space, peer);
			i->usage_dirty = i->freed = true;
			e = scan(i, peer);
		} else if (hold_addr(sub, &addr)) {
			e = take_hold(i, peer, addr, crdt_map_get(i->cfg.usage, ch->keys[k], &it) && it.live);
		} else if (lease_is_key(i, sub)) {
			e = lease_heard(i, peer);
		} else {
			i->reclaim.check = true; /* it may have left */
		}
	}
	return e;
}

/* --- leaving --- */

enum err usage_gone(struct ipam *i)
{
	uint8_t sub[UNIVERSE_SUBKEY];
	return out_put(i, IPAM_MAP_USAGE, universe_subkey(i->cfg.universe, 'g', sub), slice_str("g"));
}

enum err usage_back(struct ipam *i)
{
	uint8_t sub[UNIVERSE_SUBKEY];
	return out_put(i, IPAM_MAP_USAGE, universe_subkey(i->cfg.universe, 'g', sub), slice_of(NULL, 0));
}

bool usage_is_gone(const struct ipam *i, uint64_t peer)
{
	struct crdt_item it;
	return get_of(i, peer, 'g', &it);
}
