/* Two arrays. `entries` holds keys and values in the order they came; a deleted one leaves a hole. `slots` is the hash index into
 * it: open addressing, linear probing, each slot with 32 bits of the hash, so that a probe rarely touches an entry.
 *
 * A deletion closes its gap in `slots` by moving later slots of the same run back (no tombstones), so look-ups are never slower for
 * what was deleted before. Holes in `entries` are squeezed out when the array is full: only a put moves entries, which is what lets
 * the caller delete while iterating. At least a quarter of the array is free after squeezing, so a put costs O(1) on average.
 *
 * The hash is SipHash-2-4 under the map's own key: a stranger who chooses the map's keys cannot make them collide. Keys of eight bytes, which
 * names of peers and numbers are, have a hash of their own that costs a tenth: pair-multiply-shift (Dietzfelbinger et al., 1997; Thorup,
 * "High speed hashing", 2015, section 3.5), of which it is proven that any two keys collide with probability 2^-32 over the map's secret coefficients.
 * Iteration follows `entries` and so does not even depend on the seed. */
#include "base/map.h"

#include <assert.h>
#include <sodium/crypto_shorthash.h>
#include <string.h>

#include "base/mem.h"
#include "base/rng.h"

enum { KEY_INLINE = 16, SLOTS_FIRST = 16, SLOTS_MAX = 1 << 30 };

struct entry {
	void *value; /* NULL: a hole */
	union {
		uint8_t near[KEY_INLINE];
		uint8_t *far;
	} key;
	uint32_t key_len, hash;
};

struct slot {
	uint32_t at; /* 1 + place in entries, 0 = empty */
	uint32_t hash;
};

struct map {
	uint8_t sip_key[crypto_shorthash_KEYBYTES];
	uint64_t coefficient[3];
	struct entry *entries;
	struct slot *slots;
	size_t used, live, entries_cap, slots_cap; /* slots_cap is 0 or a power of two */
};

struct map *map_new(uint64_t seed)
{
	struct map *m = mem_zalloc(1, sizeof *m);
	if (!m)
		return NULL;
	struct rng r;
	rng_seed(&r, seed);
	rng_fill(&r, m->sip_key, sizeof m->sip_key);
	for (size_t i = 0; i < 3; i++)
		m->coefficient[i] = rng_u64(&r);
	return m;
}

static const uint8_t *entry_key(const struct entry *e)
{
	return e->key_len <= KEY_INLINE ? e->key.near : e->key.far;
}

static void entry_clear(struct entry *e)
{
	if (e->value && e->key_len > KEY_INLINE)
		mem_free(e->key.far);
	e->value = NULL;
}

void map_free(struct map *m)
{
	if (!m)
		return;
	for (size_t i = 0; i < m->used; i++)
		entry_clear(&m->entries[i]);
	mem_free(m->entries);
	mem_free(m->slots);
	mem_free(m);
}

size_t map_count(const struct map *m)
{
	return m->live;
}

static uint32_t hash_of_8(const struct map *m, const uint8_t *p)
{
	/* Byte by byte: the same on every machine. */
	uint64_t high = (uint64_t)p[0] << 24 | (uint64_t)p[1] << 16 | (uint64_t)p[2] << 8 | p[3];
	uint64_t low = (uint64_t)p[4] << 24 | (uint64_t)p[5] << 16 | (uint64_t)p[6] << 8 | p[7];
	return (uint32_t)(((m->coefficient[0] + high) * (m->coefficient[1] + low) + m->coefficient[2]) >> 32);
}

static uint32_t hash_of(const struct map *m, struct slice key)
{
	uint8_t h[crypto_shorthash_BYTES];
	if (key.n == 8)
		return hash_of_8(m, key.p);
	(void)crypto_shorthash(h, key.n ? key.p : m->sip_key, key.n, m->sip_key);
	return (uint32_t)h[0] | (uint32_t)h[1] << 8 | (uint32_t)h[2] << 16 | (uint32_t)h[3] << 24;
}

/* The slot that holds key, or the empty one where its run ends. The index is never full. */
static size_t slot_find(const struct map *m, struct slice key, uint32_t hash)
{
	size_t mask = m->slots_cap - 1, i = hash & mask;
	for (; m->slots[i].at; i = (i + 1) & mask) {
		if (m->slots[i].hash != hash)
			continue;
		const struct entry *e = &m->entries[m->slots[i].at - 1];
		if (slice_eq(key, slice_of(entry_key(e), e->key_len)))
			break;
	}
	return i;
}

void *map_get(const struct map *m, struct slice key)
{
	if (!m->live)
		return NULL;
	const struct slot *s = &m->slots[slot_find(m, key, hash_of(m, key))];
	return s->at ? m->entries[s->at - 1].value : NULL;
}

/* Copies the living of m->entries to `entries` (which may be the same array) and fills `slots`, which is all zero. */
static void rebuild(struct map *m, struct entry *entries, struct slot *slots, size_t slots_cap)
{
	size_t n = 0, mask = slots_cap - 1;
	for (size_t i = 0; i < m->used; i++) {
		if (!m->entries[i].value)
			continue;
		entries[n] = m->entries[i];
		size_t j = entries[n].hash & mask;
		while (slots[j].at)
			j = (j + 1) & mask;
		n++;
		slots[j] = (struct slot){ (uint32_t)n, entries[n - 1].hash };
	}
	m->used = n;
}

/* Makes room for one more entry. Nothing changes on failure. */
static enum err make_room(struct map *m)
{
	if (m->used < m->entries_cap)
		return ERR_OK;
	if (m->entries_cap && m->live <= m->entries_cap / 4 * 3) {
		memset(m->slots, 0, m->slots_cap * sizeof *m->slots);
		rebuild(m, m->entries, m->slots, m->slots_cap);
		return ERR_OK;
	}
	if (m->slots_cap >= SLOTS_MAX)
		return ERR_NOMEM;
	size_t slots_cap = m->slots_cap ? m->slots_cap * 2 : SLOTS_FIRST, entries_cap = slots_cap / 4 * 3;
	struct slot *slots = mem_zalloc(slots_cap, sizeof *slots);
	struct entry *entries = mem_zalloc(entries_cap, sizeof *entries);
	if (!slots || !entries) {
		mem_free(slots);
		mem_free(entries);
		return ERR_NOMEM;
	}
	rebuild(m, entries, slots, slots_cap);
	mem_free(m->slots);
	mem_free(m->entries);
	m->slots = slots;
	m->entries = entries;
	m->slots_cap = slots_cap;
	m->entries_cap = entries_cap;
	return ERR_OK;
}

enum err map_put(struct map *m, struct slice key, void *value, void **old)
{
	assert(value);
	if (old)
		*old = NULL;
	uint32_t hash = hash_of(m, key);
	if (m->live) {
		const struct slot *s = &m->slots[slot_find(m, key, hash)];
		if (s->at) {
			struct entry *e = &m->entries[s->at - 1];
			if (old)
				*old = e->value;
			e->value = value;
			return ERR_OK;
		}
	}
	if (key.n > UINT32_MAX)
		return ERR_LIMIT;
	/* The key is copied before anything moves: it may lie in this very map. */
	struct entry fresh = { .value = value, .key_len = (uint32_t)key.n, .hash = hash };
	if (key.n > KEY_INLINE) {
		fresh.key.far = mem_dup(key.p, key.n);
		if (!fresh.key.far)
			return ERR_NOMEM;
	} else if (key.n) {
		memcpy(fresh.key.near, key.p, key.n);
	}
	enum err e = make_room(m);
	if (e) {
		entry_clear(&fresh);
		return e;
	}
	size_t i = slot_find(m, slice_of(entry_key(&fresh), fresh.key_len), hash);
	m->entries[m->used++] = fresh;
	m->slots[i] = (struct slot){ (uint32_t)m->used, hash };
	m->live++;
	return ERR_OK;
}

/* Empties slot i and moves back what could not stand nearer to its own place because of it. */
static void slot_empty(struct map *m, size_t i)
{
	size_t mask = m->slots_cap - 1;
	for (size_t j = (i + 1) & mask; m->slots[j].at; j = (j + 1) & mask) {
		size_t home = m->slots[j].hash & mask;
		/* Distances counted around the end of the array: a home behind the gap must not be passed. */
		if (((j - home) & mask) < ((j - i) & mask))
			continue;
		m->slots[i] = m->slots[j];
		i = j;
	}
	m->slots[i] = (struct slot){ 0 };
}

void *map_del(struct map *m, struct slice key)
{
	if (!m->live)
		return NULL;
	size_t i = slot_find(m, key, hash_of(m, key));
	if (!m->slots[i].at)
		return NULL;
	struct entry *e = &m->entries[m->slots[i].at - 1];
	void *value = e->value;
	entry_clear(e);
	slot_empty(m, i);
	m->live--;
	/* Holes at the end cost nothing to forget. */
	while (m->used && !m->entries[m->used - 1].value)
		m->used--;
	return value;
}

bool map_next(const struct map *m, size_t *it, struct slice *key, void **value)
{
	while (*it < m->used) {
		const struct entry *e = &m->entries[(*it)++];
		if (!e->value)
			continue;
		if (key)
			*key = slice_of(entry_key(e), e->key_len);
		if (value)
			*value = e->value;
		return true;
	}
	return false;
}

static struct slice key64(uint64_t key, uint8_t b[8])
{
	for (unsigned i = 0; i < 8; i++)
		b[i] = (uint8_t)(key >> (56 - 8 * i));
	return slice_of(b, 8);
}

void *map_get64(const struct map *m, uint64_t key)
{
	uint8_t b[8];
	return map_get(m, key64(key, b));
}

enum err map_put64(struct map *m, uint64_t key, void *value, void **old)
{
	uint8_t b[8];
	return map_put(m, key64(key, b), value, old);
}

void *map_del64(struct map *m, uint64_t key)
{
	uint8_t b[8];
	return map_del(m, key64(key, b));
}

uint64_t map_key64(struct slice key)
{
	assert(key.n == 8);
	uint64_t v = 0;
	for (size_t i = 0; i < 8; i++)
		v = v << 8 | key.p[i];
	return v;
}
