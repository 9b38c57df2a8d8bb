/* The versioned map over the ordered store. What it means is in map.h; here is how it is kept.
 *
 * Every change goes in two halves: first all that can fail (a node, the room for the changed keys), then all that cannot. So an error
 * leaves the map as it was, and no half-applied floor exists.
 *
 * A map holds no item at or below its owner's floor, so the floor needs to be looked up only for keys that are not there. The state
 * after any set of merges is: of each key the highest item, less what is at or below the highest floor of its owner; that is why
 * neither order nor repetition matters.
 *
 * The writer's last stamp is at or above every item under its prefix, its floor included, so the next one beats all of them. When
 * somebody else has used up the last stamp there is (only a liar does), the writer can write no more: ERR_LIMIT. */
#include <assert.h>
#include <string.h>

#include "base/rng.h"
#include "crdt/internal.h"

enum err crdt_map_new(struct crdt_map **out, bool owned, uint64_t seed)
{
	struct crdt_map *m = mem_zalloc(1, sizeof *m);
	if (m == NULL)
		return ERR_NOMEM;
	rng_seed(&m->rng, seed);
	m->owned = owned;
	*out = m;
	return ERR_OK;
}

void crdt_map_free(struct crdt_map *m)
{
	if (m == NULL)
		return;
	crdt_tree_free(m->root);
	mem_free(m->floors);
	mem_free(m);
}

void crdt_map_set_form(struct crdt_map *m, bool (*valid)(const struct crdt_item *it))
{
	m->valid = valid;
}

void crdt_map_set_guard(struct crdt_map *m, bool (*guard)(void *ctx, const struct crdt_item *it), void *ctx)
{
	m->guard = guard;
	m->guard_ctx = ctx;
}

void crdt_map_set_prover(struct crdt_map *m, const struct crdt_prover *p, void *ctx)
{
	assert(p == NULL || !m->owned || m->root == NULL); /* what is re-stamped needs room for a proof */
	m->prover = p;
	m->prover_ctx = ctx;
}

void crdt_map_set_rule(
	struct crdt_map *m, enum crdt_verdict (*rule)(void *ctx, const struct crdt_item *it, uint64_t writer), void *ctx)
{
	m->rule = rule;
	m->rule_ctx = ctx;
}

size_t crdt_map_trusted(const struct crdt_map *m)
{
	return m->trusted;
}

bool crdt_map_owned(const struct crdt_map *m)
{
	return m->owned;
}

bool crdt_map_fits(const struct crdt_map *m, const struct crdt_item *it)
{
	if (it->key.n == 0 || it->key.n > CRDT_KEY_MAX || it->value.n > (it->live ? CRDT_VALUE_MAX : 0))
		return false;
	if (m->owned && (crdt_owner(it->key) == PEER_NONE || (it->live && crdt_is_floor(it))))
		return false;
	return m->valid == NULL || (m->owned && !it->live) || m->valid(it);
}

/* --- the store with its totals --- */

struct slice crdt_owner_slice(struct crdt_owner_key *k, uint64_t owner)
{
	struct wbuf w;
	wbuf_fixed(&w, k->b, sizeof k->b);
	wbuf_u48(&w, owner);
	return wbuf_slice(&w);
}

struct slice crdt_owner_end(struct crdt_owner_key *k, uint64_t owner)
{
	return owner == PEER_MAX ? slice_of(NULL, 0) : crdt_owner_slice(k, owner + 1);
}

static bool is_own(const struct crdt_map *m, struct slice key)
{
	return m->writer != PEER_NONE && crdt_owner(key) == m->writer;
}

static void count_node(struct crdt_map *m, const struct crdt_node *n, bool in)
{
	size_t one = in ? 1 : (size_t)-1;
	size_t size = (size_t)n->key_len + n->value_len;
	m->bytes = in ? m->bytes + size : m->bytes - size;
	if (n->live)
		m->live += one;
	if (n->trusted)
		m->trusted += one;
	struct crdt_item it = crdt_node_item(n);
	uint64_t setter = crdt_floor_setter(m, &it);
	struct crdt_floors *f = setter == PEER_NONE ? NULL : crdt_floors_of(m, setter);
	if (f != NULL)
		f->n += one;
	if (n->key_len > CRDT_OWNER_SIZE && is_own(m, crdt_node_key(n))) {
		if (n->live)
			m->own_live += one;
		else
			m->own_dead += one;
	}
}

static struct crdt_node *make_node(struct crdt_map *m, const struct crdt_item *it)
{
	uint8_t room = m->prover != NULL && m->owned ? CRDT_SIGNATURE : 0;
	return crdt_node_new(it, room, (uint32_t)(rng_u64(&m->rng) >> 32));
}

struct proof {
	uint8_t b[CRDT_PROOF_MAX];
};

/* Puts our proof, which is made in *mem, on what we write. */
static void sign(const struct crdt_map *m, struct crdt_item *it, struct proof *mem)
{
	if (m->prover != NULL)
		it->proof = slice_of(mem->b, m->prover->sign(m->prover_ctx, it, mem->b));
}

static void restamp_node(struct crdt_map *m, struct crdt_node *n, struct stamp s)
{
	struct proof mem;
	m->trusted -= n->trusted;
	n->trusted = false;
	crdt_tree_restamp(m->root, n, s);
	struct crdt_item it = crdt_node_item(n);
	it.proof = slice_of(NULL, 0);
	sign(m, &it, &mem);
	crdt_node_prove(n, it.proof);
}

/* Takes over n; old is what is there under its key, or NULL. */
static void put_node(struct crdt_map *m, struct crdt_node *n, struct crdt_node *old)
{
	count_node(m, n, true);
	if (old == NULL) {
		crdt_tree_insert(&m->root, n);
	} else {
		count_node(m, old, false);
		crdt_tree_replace(&m->root, n, old);
		mem_free(old);
	}
}

void crdt_map_drop(struct crdt_map *m, struct crdt_node *n)
{
	count_node(m, n, false);
	mem_free(crdt_tree_remove(&m->root, crdt_node_key(n)));
}

static enum err change(struct crdt_changes *ch, struct slice key)
{
	return ch == NULL ? ERR_OK : crdt_changes_add(ch, key);
}

static bool is_full(const struct crdt_map *m)
{
	return crdt_map_count(m) >= CRDT_ITEMS_MAX;
}

/* Stores the item; old is what is there under its key, or NULL. */
static enum err store(
	struct crdt_map *m, const struct crdt_item *it, bool trusted, struct crdt_node *old, struct crdt_changes *ch)
{
	struct crdt_node *n = make_node(m, it);
	if (n == NULL)
		return ERR_NOMEM;
	n->trusted = trusted;
	enum err e = change(ch, it->key);
	if (e != ERR_OK)
		mem_free(n);
	else
		put_node(m, n, old);
	return e;
}

static bool floor_of(const struct crdt_map *m, struct slice key, struct stamp *out)
{
	const struct crdt_node *n = crdt_tree_get(m->root, slice_of(key.p, CRDT_OWNER_SIZE));
	if (n != NULL)
		*out = n->stamp;
	return n != NULL;
}

/* --- the writer --- */

/* The writer's next stamp, above `above` as well. false: there is none left. */
static bool next_stamp(const struct crdt_map *m, struct stamp above, struct stamp *out)
{
	struct stamp s = m->last;
	if (above.inc > s.inc && above.inc < UINT64_MAX)
		s = (struct stamp){ above.inc + 1, 0 };
	else if (stamp_cmp(above, s) > 0)
		s = above;
	if (s.ctr == UINT64_MAX) {
		if (s.inc == UINT64_MAX)
			return false;
		s = (struct stamp){ s.inc + 1, 0 };
	}
	s.ctr++;
	*out = s;
	return true;
}

static void raise_last(struct crdt_map *m, struct stamp s)
{
	if (stamp_cmp(s, m->last) > 0)
		m->last = s;
}

void crdt_map_set_writer(struct crdt_map *m, uint64_t owner, uint64_t incarnation)
{
	assert(m->owned && owner != PEER_NONE && owner <= PEER_MAX && incarnation > 0);
	struct crdt_owner_key k;
	struct slice at = crdt_owner_slice(&k, owner);
	struct stamp highest = { 0, 0 };

	m->writer = owner;
	m->own_live = m->own_dead = 0;
	struct crdt_node *n = crdt_tree_first(m->root, at, false);
	while (n != NULL && crdt_owner(crdt_node_key(n)) == owner) {
		if (stamp_cmp(n->stamp, highest) > 0)
			highest = n->stamp;
		if (n->key_len > CRDT_OWNER_SIZE) {
			m->own_live += n->live;
			m->own_dead += !n->live;
		}
		n = crdt_tree_first(m->root, crdt_node_key(n), true);
	}
	m->last = (struct stamp){ incarnation, 0 };
	if (highest.inc == UINT64_MAX)
		m->last = highest;
	else if (highest.inc >= incarnation)
		m->last.inc = highest.inc + 1;
}

struct own_key {
	uint8_t b[CRDT_KEY_MAX];
};

static enum err own_slice(const struct crdt_map *m, struct slice subkey, struct own_key *k, struct slice *out)
{
	assert(m->writer != PEER_NONE);
	struct wbuf w;
	wbuf_fixed(&w, k->b, sizeof k->b);
	wbuf_u48(&w, m->writer);
	wbuf_bytes(&w, subkey.p, subkey.n);
	*out = wbuf_slice(&w);
	return w.failed || subkey.n == 0 ? ERR_LIMIT : ERR_OK;
}

/* Writes under the next stamp; it->key and what it carries are set. */
static enum err write_own(struct crdt_map *m, struct crdt_item *it, struct crdt_node *old, struct crdt_changes *ch)
{
	struct proof mem;
	if (!next_stamp(m, m->last, &it->stamp))
		return ERR_LIMIT;
	sign(m, it, &mem);
	enum err e = store(m, it, false, old, ch);
	if (e == ERR_OK)
		m->last = it->stamp;
	return e;
}

enum err crdt_map_put(struct crdt_map *m, struct slice subkey, struct slice value, struct crdt_changes *ch)
{
	struct own_key k;
	struct crdt_item it = { .live = true, .value = value };
	enum err e = own_slice(m, subkey, &k, &it.key);
	if (e != ERR_OK)
		return e;
	if (value.n > CRDT_VALUE_MAX)
		return ERR_LIMIT;
	struct crdt_node *old = crdt_tree_get(m->root, it.key);
	if (old != NULL && old->live && slice_eq(crdt_node_item(old).value, value))
		return ERR_OK;
	if (crdt_weight_of(m, m->writer) + crdt_item_weight(&it) > CRDT_OWNER_WEIGHT_MAX)
		return ERR_LIMIT;
	e = old == NULL && is_full(m) ? crdt_relieve(m, m->writer, ch) : ERR_OK;
	return e == ERR_OK ? write_own(m, &it, old, ch) : e;
}

enum err crdt_map_delete(struct crdt_map *m, struct slice subkey, struct crdt_changes *ch)
{
	struct own_key k;
	struct crdt_item it = { .live = false };
	enum err e = own_slice(m, subkey, &k, &it.key);
	if (e != ERR_OK)
		return e;
	struct crdt_node *old = crdt_tree_get(m->root, it.key);
	if (old == NULL || !old->live)
		return ERR_OK;
	return write_own(m, &it, old, ch);
}

/* --- floors --- */

/* Sets the floor, which is above the present one. Drops what is at or below it; the writer's live items are re-stamped instead. Their
 * keys come before the floor's in ch: whoever is told in this order never sees them gone. */
static enum err set_floor(struct crdt_map *m, const struct crdt_item *floor, bool trusted, struct crdt_changes *ch)
{
	struct crdt_owner_key k;
	struct slice end = crdt_owner_end(&k, crdt_owner(floor->key));
	bool own = is_own(m, floor->key);
	size_t mark = ch == NULL ? 0 : ch->n;
	enum err e = ERR_OK;

	if (is_full(m) && crdt_tree_get(m->root, floor->key) == NULL &&
		crdt_tree_first_old(m->root, floor->key, end, floor->stamp) == NULL)
		return ERR_LIMIT;
	struct crdt_node *node = make_node(m, floor);
	if (node == NULL)
		return ERR_NOMEM;
	node->trusted = trusted;
	struct slice after = floor->key;
	while (own && ch != NULL && e == ERR_OK) {
		const struct crdt_node *n = crdt_tree_first_old(m->root, after, end, floor->stamp);
		if (n == NULL)
			break;
		after = crdt_node_key(n);
		if (n->live)
			e = change(ch, after);
	}
	if (e == ERR_OK)
		e = change(ch, floor->key);
	if (e != ERR_OK) {
		mem_free(node);
		if (ch != NULL)
			ch->n = mark;
		return e;
	}

	struct crdt_node *n;
	while ((n = crdt_tree_first_old(m->root, floor->key, end, floor->stamp)) != NULL) {
		struct stamp s;
		if (own && n->live && next_stamp(m, floor->stamp, &s)) {
			restamp_node(m, n, s);
			m->last = s;
		} else {
			crdt_map_drop(m, n);
		}
	}
	put_node(m, node, crdt_tree_get(m->root, floor->key));
	if (own)
		raise_last(m, floor->stamp);
	return ERR_OK;
}

enum err crdt_map_compact(struct crdt_map *m, size_t min_tombstones, struct crdt_changes *ch)
{
	assert(m->writer != PEER_NONE);
	if (min_tombstones > 0 && (m->own_dead < min_tombstones || m->own_dead <= m->own_live))
		return ERR_OK;
	if (m->last.inc == UINT64_MAX)
		return ERR_LIMIT; /* no stamps left to move the live items to */

	/* As high as the newest tombstone, no higher: fewer live items must move. */
	struct crdt_owner_key k;
	struct crdt_item floor = { .key = crdt_owner_slice(&k, m->writer) };
	struct stamp present;
	if (min_tombstones == 0)
		floor.stamp.inc = m->last.inc;
	struct crdt_node *n = crdt_tree_first(m->root, floor.key, true);
	while (n != NULL && is_own(m, crdt_node_key(n))) {
		if (!n->live && stamp_cmp(n->stamp, floor.stamp) > 0)
			floor.stamp = n->stamp;
		n = crdt_tree_first(m->root, crdt_node_key(n), true);
	}
	if (floor_of(m, floor.key, &present) && stamp_cmp(floor.stamp, present) <= 0)
		return ERR_OK;
	struct proof mem;
	sign(m, &floor, &mem);
	return set_floor(m, &floor, false, ch);
}

uint64_t crdt_map_incarnation(const struct crdt_map *m, uint64_t owner)
{
	struct crdt_owner_key k;
	uint64_t inc = 0;
	const struct crdt_node *n = crdt_tree_first(m->root, crdt_owner_slice(&k, owner), false);
	for (; n != NULL && crdt_owner(crdt_node_key(n)) == owner; n = crdt_tree_first(m->root, crdt_node_key(n), true))
		inc = n->stamp.inc > inc ? n->stamp.inc : inc;
	return inc;
}

enum err crdt_map_forget(struct crdt_map *m, uint64_t owner, uint64_t at_least, struct crdt_changes *ch)
{
	assert(m->owned && owner != PEER_NONE && owner <= PEER_MAX);
	if (owner == m->writer)
		return ERR_SELF;
	struct crdt_owner_key k;
	uint64_t inc = crdt_map_incarnation(m, owner);
	struct crdt_item floor = { .key = crdt_owner_slice(&k, owner), .stamp = { inc > at_least ? inc : at_least, UINT64_MAX } };
	struct stamp present;
	if (floor.stamp.inc == 0 || (floor_of(m, floor.key, &present) && stamp_cmp(floor.stamp, present) <= 0))
		return ERR_OK;
	struct proof mem;
	enum crdt_merge what = CRDT_NEWS;
	sign(m, &floor, &mem);
	enum err e = crdt_fit_floor(m, &floor, &what);
	if (e == ERR_OK && what == CRDT_REFUSED)
		e = ERR_LIMIT;
	return e == ERR_OK ? set_floor(m, &floor, false, ch) : e;
}

/* --- merging --- */

/* An item under our own prefix that we do not know, and that would win over what we have: ours moves above it. */
static enum err supersede(struct crdt_map *m, const struct crdt_item *it, struct crdt_node *old, struct crdt_changes *ch)
{
	struct crdt_item above = { .key = it->key };
	struct proof mem;
	enum err e;
	if (!next_stamp(m, it->stamp, &above.stamp)) {
		e = store(m, it, false, old, ch);
		if (e == ERR_OK)
			raise_last(m, it->stamp);
		return e;
	}
	if (old != NULL) {
		e = change(ch, it->key);
		if (e == ERR_OK)
			restamp_node(m, old, above.stamp);
	} else {
		sign(m, &above, &mem);
		e = store(m, &above, false, NULL, ch);
	}
	if (e == ERR_OK)
		m->last = above.stamp;
	return e;
}

/* May what comes from outside be taken? Else *what says why not. */
static bool admit(const struct crdt_map *m, const struct crdt_item *it, bool *trusted, enum crdt_merge *what)
{
	enum crdt_verdict v = CRDT_PROOF_OK;
	uint64_t writer = crdt_proof_writer(it->proof);
	if (writer == PEER_NONE && m->owned)
		writer = crdt_owner(it->key);
	if (m->prover != NULL)
		v = m->prover->judge(m->prover_ctx, it, &writer);
	*trusted = v == CRDT_PROOF_TRUSTED;
	if ((v == CRDT_PROOF_OK || v == CRDT_PROOF_TRUSTED) && m->rule != NULL)
		v = m->rule(m->rule_ctx, it, writer);
	if (v == CRDT_PROOF_BAD || v == CRDT_PROOF_LATER) {
		*what = v == CRDT_PROOF_BAD ? CRDT_REFUSED : CRDT_HELD;
		return false;
	}
	return true;
}

/* Ours is the same but has no proof to show to others: theirs does as well. */
static enum err adopt_proof(struct crdt_map *m, const struct crdt_item *it, struct crdt_node *old)
{
	bool trusted;
	enum crdt_merge what;
	if (m->prover == NULL || old->proof_len > 0 || it->proof.n == 0 || !admit(m, it, &trusted, &what))
		return ERR_OK;
	return store(m, it, trusted, old, NULL);
}

enum source { OUTSIDE, OURS };

static enum err take(
	struct crdt_map *m, const struct crdt_item *it, enum source source, enum crdt_merge *what, struct crdt_changes *ch)
{
	if (!crdt_map_fits(m, it))
		return ERR_MALFORMED;
	bool floor = m->owned && crdt_is_floor(it);
	bool own = m->owned && !floor && is_own(m, it->key);
	struct crdt_node *old = crdt_tree_get(m->root, it->key);
	*what = CRDT_STALE;
	if (m->guard != NULL && m->owned && is_own(m, it->key) && m->guard(m->guard_ctx, it))
		return ERR_OK;
	if (old != NULL) {
		struct crdt_item ours = crdt_node_item(old);
		int c = crdt_item_cmp(it, &ours);
		if (c == 0) {
			*what = CRDT_SAME;
			return source == OUTSIDE ? adopt_proof(m, it, old) : ERR_OK;
		}
		/* A stamp of ours on other bytes was given by a former self: ours moves on, so that no stamp means two things. */
		if (c < 0 && !(own && stamp_cmp(it->stamp, old->stamp) == 0))
			return ERR_OK;
	} else if (m->owned && !floor) {
		struct stamp f;
		if (floor_of(m, it->key, &f) && stamp_cmp(it->stamp, f) <= 0)
			return ERR_OK;
	}
	bool trusted = false;
	if (source == OUTSIDE && !admit(m, it, &trusted, what))
		return ERR_OK;
	enum err e = old == NULL && is_full(m) ? crdt_relieve(m, crdt_owner(it->key), ch) : ERR_OK;
	if (floor && e == ERR_LIMIT)
		e = ERR_OK; /* it may drop something itself */
	if (e == ERR_OK && floor)
		e = crdt_fit_floor(m, it, what);
	else if (e == ERR_OK && m->owned && !own)
		e = crdt_fit(m, it, &old, what, ch);
	if (e != ERR_OK || *what == CRDT_REFUSED)
		return e;
	struct crdt_item mine = *it;
	struct proof mem;
	/* A floor of ours that somebody else has set: we set one above it ourselves, which everybody takes, also who would not take his. */
	if (source == OUTSIDE && floor && is_own(m, it->key) && m->prover != NULL) {
		bool last = mine.stamp.ctr == UINT64_MAX;
		if (!last)
			mine.stamp.ctr++;
		else if (mine.stamp.inc < UINT64_MAX)
			mine.stamp = (struct stamp){ mine.stamp.inc + 1, 0 };
		mine.proof = slice_of(NULL, 0);
		sign(m, &mine, &mem);
	} else if (source == OURS && mine.proof.n == 0) {
		sign(m, &mine, &mem);
	}
	e = floor ? set_floor(m, &mine, trusted, ch) : own ? supersede(m, &mine, old, ch) : store(m, &mine, trusted, old, ch);
	if (e == ERR_OK)
		*what = CRDT_NEWS;
	return e;
}

enum err crdt_map_merge(struct crdt_map *m, const struct crdt_item *it, enum crdt_merge *what, struct crdt_changes *ch)
{
	return take(m, it, OUTSIDE, what, ch);
}

enum err crdt_map_restore(struct crdt_map *m, const struct crdt_item *it, enum crdt_merge *what, struct crdt_changes *ch)
{
	return take(m, it, OURS, what, ch);
}

enum err crdt_map_write(struct crdt_map *m, const struct crdt_item *it, struct crdt_changes *ch)
{
	enum crdt_merge what = CRDT_NEWS;
	assert(!m->owned);
	enum err e = take(m, it, OURS, &what, ch);
	assert(e != ERR_OK || what != CRDT_STALE);
	return e;
}

enum err crdt_map_prove(struct crdt_map *m, struct slice *after, uint8_t mem[CRDT_KEY_MAX], size_t look, size_t ask,
	size_t *asked, struct crdt_changes *ch)
{
	struct crdt_node *n = crdt_tree_first(m->root, *after, after->n > 0);
	enum err e = ERR_OK;
	*asked = 0;
	while (n != NULL && m->trusted > 0 && look-- > 0 && *asked < ask && e == ERR_OK) {
		struct slice key = crdt_node_key(n);
		memcpy(mem, key.p, key.n);
		*after = slice_of(mem, key.n);
		if (n->trusted) {
			struct crdt_item it = crdt_node_item(n);
			uint64_t writer = crdt_owner(key);
			enum crdt_verdict v = m->prover == NULL ? CRDT_PROOF_OK : m->prover->judge(m->prover_ctx, &it, &writer);
			++*asked;
			if (v == CRDT_PROOF_OK) {
				n->trusted = false;
				m->trusted--;
			} else if (v == CRDT_PROOF_BAD) {
				e = change(ch, key);
				if (e == ERR_OK)
					crdt_map_drop(m, n);
			}
		}
		n = crdt_tree_first(m->root, *after, true);
	}
	if (n == NULL || m->trusted == 0)
		*after = slice_of(NULL, 0);
	return e;
}

/* Does the item win here? Unowned maps. */
static bool wins(const struct crdt_map *m, const struct crdt_item *it)
{
	const struct crdt_node *old = crdt_tree_get(m->root, it->key);
	if (old == NULL)
		return true;
	struct crdt_item ours = crdt_node_item(old);
	return crdt_item_cmp(it, &ours) > 0;
}

enum err crdt_map_write_all(struct crdt_map *m, const struct crdt_item *items, size_t n, struct crdt_changes *ch)
{
	assert(!m->owned);
	size_t mark = ch == NULL ? 0 : ch->n, made = 0;
	if (n == 0)
		return ERR_OK;
	if (n > CRDT_ITEMS_MAX - crdt_map_count(m))
		return ERR_LIMIT;
	struct crdt_node **nodes = mem_zalloc(n, sizeof *nodes);
	if (nodes == NULL)
		return ERR_NOMEM;
	enum err e = ERR_OK;
	for (size_t i = 0; i < n && e == ERR_OK; i++) {
		assert(crdt_map_fits(m, &items[i]));
		if (!wins(m, &items[i]))
			continue;
		struct crdt_item mine = items[i];
		struct proof mem;
		sign(m, &mine, &mem);
		nodes[made] = make_node(m, &mine);
		e = nodes[made] == NULL ? ERR_NOMEM : change(ch, items[i].key);
		made++;
	}
	for (size_t i = 0; i < made; i++) {
		if (e == ERR_OK)
			put_node(m, nodes[i], crdt_tree_get(m->root, crdt_node_key(nodes[i])));
		else
			mem_free(nodes[i]);
	}
	if (e != ERR_OK && ch != NULL)
		ch->n = mark;
	mem_free(nodes);
	return e;
}

/* --- reading --- */

static bool give(const struct crdt_node *n, struct crdt_item *out)
{
	if (n != NULL)
		*out = crdt_node_item(n);
	return n != NULL;
}

bool crdt_map_get(const struct crdt_map *m, struct slice key, struct crdt_item *out)
{
	return give(crdt_tree_get(m->root, key), out);
}

bool crdt_map_next(const struct crdt_map *m, struct slice after, struct crdt_item *out)
{
	return give(crdt_tree_first(m->root, after, true), out);
}

bool crdt_map_seek(const struct crdt_map *m, struct slice from, struct crdt_item *out)
{
	return give(crdt_tree_first(m->root, from, false), out);
}

bool crdt_map_floor_item(const struct crdt_map *m, struct slice at, struct crdt_item *out)
{
	return give(crdt_tree_last(m->root, at), out);
}

size_t crdt_map_count(const struct crdt_map *m)
{
	return m->root == NULL ? 0 : (size_t)m->root->sum.count;
}

size_t crdt_map_live(const struct crdt_map *m)
{
	return m->live;
}

size_t crdt_map_bytes(const struct crdt_map *m)
{
	return m->bytes;
}

struct fingerprint crdt_map_fingerprint(const struct crdt_map *m, struct slice lo, struct slice hi)
{
	struct fingerprint below = crdt_tree_below(m->root, lo), f = { 0 };
	if (hi.n > 0)
		f = crdt_tree_below(m->root, hi);
	else if (m->root != NULL)
		f = m->root->sum;
	if (f.count <= below.count)
		return (struct fingerprint){ 0 };
	f.a -= below.a + (f.b < below.b);
	f.b -= below.b;
	f.count -= below.count;
	return f;
}

bool fingerprint_eq(struct fingerprint a, struct fingerprint b)
{
	return a.a == b.a && a.b == b.b && a.count == b.count;
}

bool crdt_map_nth(const struct crdt_map *m, struct slice lo, size_t k, struct crdt_item *out)
{
	uint64_t below = crdt_tree_below(m->root, lo).count;
	if (k >= crdt_map_count(m) - below)
		return false;
	return give(crdt_tree_nth(m->root, below + k), out);
}

void crdt_map_check(const struct crdt_map *m)
{
	size_t live = 0, bytes = 0, trusted = 0, own_live = 0, own_dead = 0;
	crdt_tree_check(m->root);
	for (struct crdt_node *n = crdt_tree_first(m->root, slice_of(NULL, 0), false); n != NULL;
		 n = crdt_tree_first(m->root, crdt_node_key(n), true)) {
		struct crdt_item it = crdt_node_item(n);
		struct stamp f;
		assert(crdt_map_fits(m, &it));
		live += it.live;
		trusted += n->trusted;
		bytes += it.key.n + it.value.n;
		if (!m->owned)
			continue;
		if (!crdt_is_floor(&it) && floor_of(m, it.key, &f))
			assert(stamp_cmp(it.stamp, f) > 0);
		if (!is_own(m, it.key))
			continue;
		assert(stamp_cmp(it.stamp, m->last) <= 0);
		if (!crdt_is_floor(&it)) {
			own_live += it.live;
			own_dead += !it.live;
		}
	}
	assert(live == m->live && bytes == m->bytes && trusted == m->trusted);
	assert(own_live == m->own_live && own_dead == m->own_dead);
}
