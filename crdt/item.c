/* Stamps, items and their wire form, and the list of changed keys. */
#include <assert.h>
#include <string.h>

#include "crdt/internal.h"

#define FLAG_LIVE     1
#define FLAG_PROOF    2
#define CHANGES_FIRST 16

static_assert(CRDT_PROOF_MAX == CRDT_OWNER_SIZE + CRDT_SIGNATURE, "a name and a signature");

int stamp_cmp(struct stamp a, struct stamp b)
{
	if (a.inc != b.inc)
		return a.inc < b.inc ? -1 : 1;
	if (a.ctr != b.ctr)
		return a.ctr < b.ctr ? -1 : 1;
	return 0;
}

uint64_t crdt_owner(struct slice key)
{
	if (key.n < CRDT_OWNER_SIZE)
		return PEER_NONE;
	struct rbuf r;
	rbuf_init(&r, key.p, key.n);
	return rbuf_u48(&r);
}

struct slice crdt_subkey(struct slice key)
{
	if (key.n <= CRDT_OWNER_SIZE)
		return slice_of(NULL, 0);
	return slice_of(key.p + CRDT_OWNER_SIZE, key.n - CRDT_OWNER_SIZE);
}

bool crdt_is_floor(const struct crdt_item *it)
{
	return it->key.n == CRDT_OWNER_SIZE;
}

uint64_t crdt_proof_writer(struct slice proof)
{
	return proof.n == CRDT_OWNER_SIZE + CRDT_SIGNATURE ? crdt_owner(proof) : PEER_NONE;
}

struct slice crdt_proof_signature(struct slice proof)
{
	if (proof.n == CRDT_SIGNATURE)
		return proof;
	return proof.n == CRDT_OWNER_SIZE + CRDT_SIGNATURE ? slice_of(proof.p + CRDT_OWNER_SIZE, CRDT_SIGNATURE) : slice_of(NULL, 0);
}

int crdt_item_cmp(const struct crdt_item *a, const struct crdt_item *b)
{
	int c = stamp_cmp(a->stamp, b->stamp);
	if (c != 0)
		return c;
	if (a->live != b->live)
		return a->live ? 1 : -1;
	return a->live ? slice_cmp(a->value, b->value) : 0;
}

void crdt_item_encode(struct wbuf *w, const struct crdt_item *it)
{
	wbuf_lv(w, it->key);
	wbuf_varint(w, it->stamp.inc);
	wbuf_varint(w, it->stamp.ctr);
	wbuf_u8(w, (uint8_t)((it->live ? FLAG_LIVE : 0) | (it->proof.n > 0 ? FLAG_PROOF : 0)));
	if (it->live)
		wbuf_lv(w, it->value);
	if (it->proof.n > 0)
		wbuf_lv(w, it->proof);
}

void crdt_item_decode(struct rbuf *r, struct crdt_item *it)
{
	*it = (struct crdt_item){ 0 };
	it->key = rbuf_lv(r, CRDT_KEY_MAX);
	it->stamp.inc = rbuf_varint(r);
	it->stamp.ctr = rbuf_varint(r);
	uint8_t flags = rbuf_u8(r);
	it->live = (flags & FLAG_LIVE) != 0;
	if (it->live)
		it->value = rbuf_lv(r, CRDT_VALUE_MAX);
	bool proof = (flags & FLAG_PROOF) != 0;
	if (proof)
		it->proof = rbuf_lv(r, CRDT_PROOF_MAX);
	if (flags > (FLAG_LIVE | FLAG_PROOF) || it->key.n == 0 || (proof && it->proof.n == 0))
		rbuf_fail(r);
}

static size_t varint_size(uint64_t v)
{
	size_t n = 1;
	while (v >= 0x80) {
		v >>= 7;
		n++;
	}
	return n;
}

size_t crdt_item_size(const struct crdt_item *it)
{
	size_t n = varint_size(it->key.n) + it->key.n + varint_size(it->stamp.inc) + varint_size(it->stamp.ctr) + 1;
	if (it->live)
		n += varint_size(it->value.n) + it->value.n;
	return it->proof.n > 0 ? n + varint_size(it->proof.n) + it->proof.n : n;
}

void crdt_changes_init(struct crdt_changes *c, struct arena *a)
{
	*c = (struct crdt_changes){ .arena = a };
}

enum err crdt_changes_add(struct crdt_changes *c, struct slice key)
{
	if (c->n == c->cap) {
		size_t cap = c->cap == 0 ? CHANGES_FIRST : 2 * c->cap;
		struct slice *keys = arena_alloc(c->arena, cap * sizeof *keys);
		if (keys == NULL)
			return ERR_NOMEM;
		if (c->n > 0)
			memcpy(keys, c->keys, c->n * sizeof *keys);
		c->keys = keys;
		c->cap = cap;
	}
	void *copy = arena_dup(c->arena, key.p, key.n);
	if (copy == NULL)
		return ERR_NOMEM;
	c->keys[c->n++] = slice_of(copy, key.n);
	return ERR_OK;
}
