/* What waits for a link: sets of keys, one for each channel that has any, in the order they came. */
#include <assert.h>
#include <string.h>

#include "gossip/internal.h"

#define KEYSET_INDEX_MIN 16
#define KEYSET_GONE      0x80

static_assert(CRDT_KEY_MAX < KEYSET_GONE, "a length leaves room for the mark");

void gossip_keyset_clear(struct keyset *s)
{
	mem_free(s->bytes);
	map_free(s->index);
	*s = (struct keyset){ 0 };
}

bool gossip_keyset_next(const struct keyset *s, uint32_t *at, struct slice *key)
{
	while (*at < s->len) {
		uint8_t n = s->bytes[*at];
		uint32_t size = n & (KEYSET_GONE - 1);
		*key = slice_of(s->bytes + *at + 1, size);
		*at += 1 + size;
		if (!(n & KEYSET_GONE))
			return true;
	}
	return false;
}

/* Where the key stands, plus one; 0: it does not. */
static uint32_t place(const struct keyset *s, struct slice key)
{
	struct slice k;
	if (s->index)
		return (uint32_t)(uintptr_t)map_get(s->index, key);
	for (uint32_t at = 0; gossip_keyset_next(s, &at, &k);)
		if (slice_eq(k, key))
			return at - (uint32_t)key.n; /* behind it now: its length stands one before the key */
	return 0;
}

static bool index_put(struct keyset *s, struct slice key, uint32_t at)
{
	return map_put(s->index, key, (void *)(uintptr_t)(at + 1), NULL) == ERR_OK;
}

static bool make_index(struct keyset *s, uint64_t seed)
{
	struct slice key;
	s->index = map_new(seed);
	bool ok = s->index != NULL;
	for (uint32_t at = 0; ok && gossip_keyset_next(s, &at, &key);)
		ok = index_put(s, key, at - 1 - (uint32_t)key.n);
	return ok;
}

bool gossip_keyset_has(const struct keyset *s, struct slice key)
{
	return place(s, key) != 0;
}

bool gossip_keyset_add(struct keyset *s, struct slice key, uint64_t seed)
{
	assert(key.n > 0 && key.n <= CRDT_KEY_MAX);
	if (place(s, key) != 0)
		return true;
	void *v = s->bytes;
	size_t cap = s->cap;
	if (s->len > UINT32_MAX / 4 || !mem_grow(&v, &cap, s->len + 1 + key.n, 1))
		return false;
	s->bytes = v;
	s->cap = (uint32_t)cap;
	if (s->index && !index_put(s, key, s->len))
		return false;
	s->bytes[s->len] = (uint8_t)key.n;
	memcpy(s->bytes + s->len + 1, key.p, key.n);
	s->len += 1 + (uint32_t)key.n;
	s->n++;
	return s->index || s->n < KEYSET_INDEX_MIN || make_index(s, seed);
}

void gossip_keyset_remove(struct keyset *s, struct slice key)
{
	uint32_t at = place(s, key);
	if (at == 0)
		return;
	s->bytes[at - 1] |= KEYSET_GONE;
	if (s->index)
		(void)map_del(s->index, key);
	if (--s->n == 0)
		gossip_keyset_clear(s);
}

bool gossip_keyset_drop(struct keyset *s, uint32_t to, uint64_t seed)
{
	struct slice key;
	for (uint32_t at = 0; at < to && gossip_keyset_next(s, &at, &key);)
		s->n -= at <= to ? 1 : 0;
	memmove(s->bytes, s->bytes + to, s->len - to);
	s->len -= to;
	map_free(s->index);
	s->index = NULL;
	if (s->n == 0)
		gossip_keyset_clear(s);
	return s->n < KEYSET_INDEX_MIN || make_index(s, seed);
}

struct slot *gossip_slot_get(struct link *l, uint8_t channel)
{
	if (!l->slots[channel])
		l->slots[channel] = mem_zalloc(1, sizeof(struct slot));
	return l->slots[channel];
}

static void slot_free(struct link *l, uint8_t channel)
{
	struct slot *s = l->slots[channel];
	if (!s)
		return;
	gossip_keyset_clear(&s->now);
	gossip_keyset_clear(&s->later);
	mem_free(s);
	l->slots[channel] = NULL;
}

void gossip_slot_tidy(struct link *l, uint8_t channel)
{
	if (l->slots[channel] && l->slots[channel]->now.n == 0 && l->slots[channel]->later.n == 0)
		slot_free(l, channel);
}

void gossip_slots_free(struct link *l)
{
	for (uint8_t id = 0; id < GOSSIP_CHANNELS_MAX; id++)
		slot_free(l, id);
}

size_t gossip_slot_bytes(const struct link *l)
{
	size_t n = 0;
	for (size_t i = 0; i < GOSSIP_CHANNELS_MAX; i++)
		n += l->slots[i] ? l->slots[i]->now.len + l->slots[i]->later.len : 0;
	return n;
}
