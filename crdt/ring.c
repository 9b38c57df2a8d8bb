/* The ring over an unowned map. The rules are in ring.h.
 *
 * Why no address has two owners, each by its own view, when only owners write. Take the ring that all writes so far would give
 * together. Claim: if a peer believes it owns x through a token, then this is that ring's token for x. A write keeps the claim: it
 * touches only what the writer owns, and so what nobody else believes in. A token that arrives keeps it: should that ring have changed
 * at x since the token was written, then the first change after it was made by the token's owner, who is the one it arrives at; his
 * own view has that change, either in the same token with a higher version or as a token between this one and x, and so does not
 * believe in x through what arrived. The bound in the token is what makes this true for tokens that arrive without their successors. */
#include "crdt/ring.h"

#include <assert.h>
#include <inttypes.h>

#include "crdt/internal.h"

#define TOKEN_KEY        9
#define TOKEN_VALUE      11
#define UNIVERSE_LEN_MIN 8
#define UNIVERSE_LEN_MAX 30

/* --- one token --- */

struct token {
	uint64_t start, end; /* [start, end) as it was written */
	uint64_t owner;
	struct stamp stamp;
};

struct token_bytes {
	uint8_t key[TOKEN_KEY], value[TOKEN_VALUE];
};

struct range4 universe_range(struct universe u)
{
	return (struct range4){ u.first, u.first + (UINT64_C(1) << (32 - u.len)) };
}

static struct slice token_key(struct universe u, uint64_t start, uint8_t out[TOKEN_KEY])
{
	struct wbuf w;
	wbuf_fixed(&w, out, TOKEN_KEY);
	wbuf_u32(&w, u.first);
	wbuf_u8(&w, u.len);
	wbuf_u32(&w, (uint32_t)start);
	return wbuf_slice(&w);
}

/* The item's slices point into *mem. */
static struct crdt_item token_item(struct universe u, const struct token *t, struct token_bytes *mem)
{
	struct wbuf w;
	wbuf_fixed(&w, mem->value, sizeof mem->value);
	wbuf_u48(&w, t->owner);
	wbuf_u32(&w, (uint32_t)(t->end - 1));
	wbuf_u8(&w, 0);
	return (
		struct crdt_item){ .key = token_key(u, t->start, mem->key), .stamp = t->stamp, .live = true, .value = wbuf_slice(&w) };
}

static bool token_read(const struct crdt_item *it, struct universe *u, struct token *t)
{
	struct rbuf key, value;
	rbuf_init(&key, it->key.p, it->key.n);
	rbuf_init(&value, it->value.p, it->value.n);
	u->first = rbuf_u32(&key);
	u->len = rbuf_u8(&key);
	t->start = rbuf_u32(&key);
	t->owner = rbuf_u48(&value);
	t->end = (uint64_t)rbuf_u32(&value) + 1;
	t->stamp = it->stamp;
	uint8_t flags = rbuf_u8(&value);
	if (!it->live || rbuf_end(&key) != ERR_OK || rbuf_end(&value) != ERR_OK || flags != 0 || t->owner == PEER_NONE)
		return false;
	if (u->len < UNIVERSE_LEN_MIN || u->len > UNIVERSE_LEN_MAX || (u->first & (UINT32_MAX >> u->len)) != 0)
		return false;
	struct range4 all = universe_range(*u);
	return range4_contains(all, t->start) && t->end > t->start && t->end <= all.end;
}

bool ring_item_valid(const struct crdt_item *it)
{
	struct universe u;
	struct token t;
	return token_read(it, &u, &t);
}

struct universe ring_item_universe(const struct crdt_item *it)
{
	struct universe u = { 0 };
	struct token t;
	bool valid = token_read(it, &u, &t);
	assert(valid);
	return u;
}

enum err ring_map_new(struct crdt_map **out, uint64_t seed)
{
	enum err e = crdt_map_new(out, false, seed);
	if (e == ERR_OK)
		crdt_map_set_form(*out, ring_item_valid);
	return e;
}

/* --- the view: tokens cut at their successors --- */

static bool same_universe(struct universe a, struct universe b)
{
	return a.first == b.first && a.len == b.len;
}

/* The first token at or after `from`, as written. */
static bool token_seek(const struct crdt_map *m, struct universe u, uint64_t from, struct token *t)
{
	uint8_t key[TOKEN_KEY];
	struct crdt_item it;
	struct universe v;
	if (from >= universe_range(u).end)
		return false;
	bool there = crdt_map_seek(m, token_key(u, from, key), &it);
	/* Only a map that was not made by ring_map_new can hold what is no token. */
	while (there && !token_read(&it, &v, t))
		there = crdt_map_next(m, it.key, &it);
	return there && same_universe(u, v);
}

/* Cuts t at the token that follows it. */
static void token_cut(const struct crdt_map *m, struct universe u, struct token *t)
{
	struct token next;
	if (token_seek(m, u, t->start + 1, &next) && next.start < t->end)
		t->end = next.start;
}

/* The first token at or after `from`, cut. */
static bool token_next(const struct crdt_map *m, struct universe u, uint64_t from, struct token *t)
{
	bool there = token_seek(m, u, from, t);
	if (there)
		token_cut(m, u, t);
	return there;
}

/* The token that covers the address, cut. false: nobody's. */
static bool token_at(const struct crdt_map *m, struct universe u, uint64_t addr, struct token *t)
{
	uint8_t key[TOKEN_KEY];
	struct crdt_item it;
	struct universe v;
	if (!range4_contains(universe_range(u), addr) || !crdt_map_floor_item(m, token_key(u, addr, key), &it))
		return false;
	if (!token_read(&it, &v, t) || !same_universe(u, v) || addr >= t->end)
		return false;
	token_cut(m, u, t);
	return true;
}

bool ring_empty(const struct crdt_map *m, struct universe u)
{
	struct token t;
	return !token_seek(m, u, u.first, &t);
}

bool ring_each_token(const struct crdt_map *m, struct universe u, uint64_t *it, struct ring_span *out)
{
	struct token t;
	if (!token_next(m, u, *it, &t))
		return false;
	*out = (struct ring_span){
		.start = t.start, .end = t.end, .owner = t.owner, .epoch = t.stamp.inc, .version = t.stamp.ctr, .tokens = 1
	};
	*it = t.end;
	return true;
}

bool ring_each(const struct crdt_map *m, struct universe u, uint64_t *it, struct ring_span *out)
{
	struct token t;
	if (!ring_each_token(m, u, it, out))
		return false;
	while (token_next(m, u, out->end, &t) && t.start == out->end && t.owner == out->owner) {
		out->end = t.end;
		out->tokens++;
	}
	*it = out->end;
	return true;
}

uint64_t ring_owner(const struct crdt_map *m, struct universe u, uint32_t addr)
{
	struct token t;
	return token_at(m, u, addr, &t) ? t.owner : PEER_NONE;
}

uint64_t ring_owned_by(const struct crdt_map *m, struct universe u, uint64_t owner)
{
	struct token t;
	uint64_t sum = 0;
	for (uint64_t at = u.first; token_next(m, u, at, &t); at = t.end)
		if (t.owner == owner)
			sum += t.end - t.start;
	return sum;
}

bool ring_token(const struct crdt_map *m, struct universe u, uint32_t addr, struct ring_span *out)
{
	struct token t;
	if (!token_at(m, u, addr, &t))
		return false;
	*out = (struct ring_span){
		.start = t.start, .end = t.end, .owner = t.owner, .epoch = t.stamp.inc, .version = t.stamp.ctr, .tokens = 1
	};
	return true;
}

static uint64_t token_count(const struct crdt_map *m, struct universe u)
{
	uint8_t lo[TOKEN_KEY], hi[TOKEN_KEY + 1];
	struct slice from = token_key(u, u.first, lo);
	struct slice last = token_key(u, universe_range(u).end - 1, hi);
	hi[TOKEN_KEY] = 0; /* the least key above the last address's */
	return crdt_map_fingerprint(m, from, slice_of(last.p, TOKEN_KEY + 1)).count;
}

/* --- writing --- */

/* Tokens to be written at once. */
struct batch {
	struct token *v;
	size_t n, cap;
};

static enum err batch_add(struct batch *b, struct token t)
{
	void *mem = b->v;
	if (!mem_grow(&mem, &b->cap, b->n + 1, sizeof *b->v))
		return ERR_NOMEM;
	b->v = mem;
	b->v[b->n++] = t;
	return ERR_OK;
}

/* The same token moved on: higher version. */
static enum err batch_move(struct batch *b, struct token t, uint64_t owner)
{
	if (t.stamp.ctr == UINT64_MAX)
		return ERR_LIMIT;
	t.stamp.ctr++;
	t.owner = owner;
	return batch_add(b, t);
}

static enum err batch_write(const struct batch *b, struct crdt_map *m, struct universe u, struct crdt_changes *ch)
{
	if (b->n == 0)
		return ERR_OK;
	enum err e = ERR_NOMEM;
	struct crdt_item *items = mem_zalloc(b->n, sizeof *items);
	struct token_bytes *bytes = mem_zalloc(b->n, sizeof *bytes);
	if (items != NULL && bytes != NULL) {
		for (size_t i = 0; i < b->n; i++)
			items[i] = token_item(u, &b->v[i], &bytes[i]);
		e = crdt_map_write_all(m, items, b->n, ch);
	}
	mem_free(items);
	mem_free(bytes);
	return e;
}

enum err ring_divide(struct crdt_map *m, struct universe u, const uint64_t *owners, size_t n, struct crdt_changes *ch)
{
	struct range4 all = universe_range(u);
	uint64_t size = range4_size(all), grain = 1, at = all.start;
	struct batch b = { 0 };
	enum err e = ERR_OK;

	assert(n >= 1);
	if (n > size)
		n = (size_t)size;
	if (n > RING_TOKENS_MAX)
		return ERR_LIMIT;
	/* Shares end at multiples of a power of two, so that they are made of few aligned pieces; its size decides how equal they are. */
	while (grain * 2 * RING_GRAINS * n <= size)
		grain *= 2;
	for (size_t i = 0; i < n && e == ERR_OK; i++) {
		uint64_t end = all.start + (size / grain * (i + 1) + n / 2) / n * grain; /* the nearest multiple to the (i+1)-th n-th */
		e = batch_add(&b, (struct token){ .start = at, .end = end, .owner = owners[i], .stamp = { 0, 1 } });
		at = end;
	}
	assert(e != ERR_OK || at == all.end);
	if (e == ERR_OK)
		e = batch_write(&b, m, u, ch);
	mem_free(b.v);
	return e;
}

enum err ring_grant(struct crdt_map *m, struct universe u, struct range4 r, uint64_t from, uint64_t to, struct crdt_changes *ch)
{
	struct range4 all = universe_range(u);
	struct batch b = { 0 };
	struct token t;
	enum err e = ERR_OK;
	size_t new_tokens = 0;

	assert(from != PEER_NONE && to != PEER_NONE && to <= PEER_MAX);
	if (r.start >= r.end || r.start < all.start || r.end > all.end)
		return ERR_REFUSED;
	for (uint64_t at = r.start; at < r.end && e == ERR_OK; at = t.end) {
		if (!token_at(m, u, at, &t) || t.owner != from) {
			e = ERR_REFUSED;
			break;
		}
		struct token given = t, rest = t;
		given.start = at;
		if (t.end > r.end) {
			given.end = rest.start = r.end;
			e = batch_move(&b, rest, from);
			new_tokens++;
		}
		new_tokens += given.start != t.start;
		if (e == ERR_OK)
			e = batch_move(&b, given, to);
	}
	if (e == ERR_OK && new_tokens > 0 && token_count(m, u) + new_tokens > RING_TOKENS_MAX)
		e = ERR_LIMIT;
	if (e == ERR_OK && from != to)
		e = batch_write(&b, m, u, ch);
	mem_free(b.v);
	return e;
}

enum err ring_takeover(
	struct crdt_map *m, struct universe u, uint64_t from, uint64_t to, uint64_t *moved, struct crdt_changes *ch)
{
	struct batch b = { 0 };
	struct token t;
	enum err e = ERR_OK;
	uint64_t sum = 0;

	assert(from != PEER_NONE && to != PEER_NONE && to <= PEER_MAX);
	for (uint64_t at = u.first; e == ERR_OK && from != to && token_next(m, u, at, &t); at = t.end) {
		if (t.owner != from)
			continue;
		e = batch_move(&b, t, to);
		sum += t.end - t.start;
	}
	if (e == ERR_OK)
		e = batch_write(&b, m, u, ch);
	mem_free(b.v);
	if (moved != NULL)
		*moved = e == ERR_OK ? sum : 0;
	return e;
}

enum err ring_fill(struct crdt_map *m, struct universe u, uint64_t to, uint64_t *filled, struct crdt_changes *ch)
{
	struct range4 all = universe_range(u);
	struct batch b = { 0 };
	struct token t;
	enum err e = ERR_OK;
	uint64_t sum = 0, at = all.start;

	assert(to != PEER_NONE && to <= PEER_MAX);
	while (e == ERR_OK && at < all.end) {
		bool more = token_next(m, u, at, &t);
		uint64_t start = more ? t.start : all.end;
		if (start > at) {
			e = batch_add(&b, (struct token){ .start = at, .end = start, .owner = to });
			sum += start - at;
		}
		at = more ? t.end : all.end;
	}
	if (e == ERR_OK)
		e = batch_write(&b, m, u, ch);
	mem_free(b.v);
	if (filled != NULL)
		*filled = e == ERR_OK ? sum : 0;
	return e;
}

enum err ring_reclaim(struct crdt_map *m, struct universe u, struct range4 r, uint64_t end, struct stamp stamp, uint64_t from,
	uint64_t heir, uint64_t epoch, struct crdt_changes *ch)
{
	struct range4 all = universe_range(u);
	struct batch b = { 0 };
	struct token t, next;
	enum err e = ERR_OK;

	assert(epoch > 0 && heir != PEER_NONE && heir <= PEER_MAX);
	if (r.start >= r.end || r.start < all.start || end < r.end || end > all.end)
		return ERR_REFUSED;
	bool known = token_at(m, u, r.start, &t), done = known && t.start == r.start && t.stamp.inc >= epoch;
	if (!done && known && t.owner != from && t.owner != heir)
		return ERR_REFUSED;
	if (!done)
		e = batch_add(&b, (struct token){ .start = r.start, .end = r.end, .owner = heir, .stamp = { epoch, 1 } });
	/* The part behind, unless it has a token of its own: as we know it; if we do not, as its owner has declared it. */
	struct token rest = { .start = r.end, .end = end, .owner = from, .stamp = stamp };
	bool behind = r.end < all.end && token_at(m, u, r.end, &next);
	if (!done && known && t.end > r.end) {
		rest = t;
		rest.start = r.end;
		behind = false;
	}
	if (e == ERR_OK && !behind && rest.start < rest.end)
		e = batch_add(&b, rest);
	if (e == ERR_OK && b.n > 0 && token_count(m, u) + b.n > RING_TOKENS_MAX)
		e = ERR_LIMIT;
	if (e == ERR_OK)
		e = batch_write(&b, m, u, ch);
	mem_free(b.v);
	return e;
}

/* --- checking --- */

static enum err gap(struct err_note *note, uint64_t from, uint64_t to)
{
	char a[IP_TEXT], b[IP_TEXT];
	return err_note(note, ERR_CONFLICT, "ring: no known token covers %s to %s", ip_format(ip_v4((uint32_t)from), a),
		ip_format(ip_v4((uint32_t)(to - 1)), b));
}

enum err ring_check(const struct crdt_map *m, struct universe u, struct err_note *note)
{
	struct range4 all = universe_range(u);
	uint8_t lo[TOKEN_KEY];
	struct crdt_item it;
	uint64_t at = all.start;
	size_t tokens = 0;

	bool there = crdt_map_seek(m, slice_of(token_key(u, all.start, lo).p, 5), &it);
	for (; there && it.key.n >= 5 && slice_eq(slice_of(it.key.p, 5), slice_of(lo, 5)); there = crdt_map_next(m, it.key, &it)) {
		struct universe v;
		struct token t;
		if (!token_read(&it, &v, &t))
			return err_note(note, ERR_CONFLICT, "ring: item %zu of the range is not a token", tokens);
		if (t.start > at)
			return gap(note, at, t.start);
		at = t.end;
		tokens++;
	}
	return tokens > 0 && at < all.end ? gap(note, at, all.end) : ERR_OK;
}
