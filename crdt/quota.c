/* How much anybody may have in a map: of one owner's items the latest, up to a weight; of floors under others' names, so many by one writer; and when the
 * map as a whole is full, the heaviest owner makes room (map.h). What is kept of an owner depends on the stamps alone, so hosts that have heard the
 * same keep the same: an item that was dropped is older than all that are kept, and keys only ever move up. */
#include "crdt/internal.h"

#define RELIEF_MIN 128 /* who has not even that much more than twice as much is not robbed of it */

uint64_t crdt_floor_setter(const struct crdt_map *m, const struct crdt_item *it)
{
	uint64_t writer = m->owned && crdt_is_floor(it) ? crdt_proof_writer(it->proof) : PEER_NONE;
	return writer == crdt_owner(it->key) ? PEER_NONE : writer;
}

struct crdt_floors *crdt_floors_of(const struct crdt_map *m, uint64_t writer)
{
	for (size_t k = 0; k < m->n_floors; k++)
		if (m->floors[k].writer == writer)
			return &m->floors[k];
	return NULL;
}

uint64_t crdt_weight_of(const struct crdt_map *m, uint64_t owner)
{
	struct crdt_owner_key a, b;
	return crdt_tree_weight_below(m->root, crdt_owner_end(&b, owner)) -
		crdt_tree_weight_below(m->root, crdt_owner_slice(&a, owner));
}

static void over(struct crdt_map *m, uint64_t owner)
{
	m->over++;
	m->over_owner = owner;
}

uint64_t crdt_map_over(const struct crdt_map *m, uint64_t *owner)
{
	*owner = m->over_owner;
	return m->over;
}

/* Drops the owner's item with the lowest stamp; of two that are equal in that the first. *old, when it is that one, is NULL then. */
static enum err drop_oldest(struct crdt_map *m, struct crdt_node *oldest, struct crdt_node **old, struct crdt_changes *ch)
{
	enum err e = ch == NULL ? ERR_OK : crdt_changes_add(ch, crdt_node_key(oldest));
	if (e != ERR_OK)
		return e;
	over(m, crdt_owner(crdt_node_key(oldest)));
	*old = oldest == *old ? NULL : *old;
	crdt_map_drop(m, oldest);
	return ERR_OK;
}

static struct crdt_node *oldest_of(const struct crdt_map *m, uint64_t owner)
{
	struct crdt_owner_key a, b;
	return crdt_tree_oldest(m->root, crdt_owner_slice(&a, owner), crdt_owner_end(&b, owner));
}

enum err crdt_fit(
	struct crdt_map *m, const struct crdt_item *it, struct crdt_node **old, enum crdt_merge *what, struct crdt_changes *ch)
{
	uint64_t owner = crdt_owner(it->key);
	enum err e = ERR_OK;
	for (;;) {
		struct crdt_item was = { 0 };
		uint64_t weight = crdt_weight_of(m, owner) + crdt_item_weight(it);
		if (*old != NULL)
			was = crdt_node_item(*old);
		if (e != ERR_OK || weight - (*old == NULL ? 0 : crdt_item_weight(&was)) <= CRDT_OWNER_WEIGHT_MAX)
			return e;
		struct crdt_node *oldest = oldest_of(m, owner);
		int c = oldest == NULL ? 1 : stamp_cmp(oldest->stamp, it->stamp);
		if (c > 0 || (c == 0 && slice_cmp(crdt_node_key(oldest), it->key) > 0)) {
			over(m, owner);
			*what = CRDT_REFUSED;
			return ERR_OK;
		}
		e = drop_oldest(m, oldest, old, ch);
	}
}

/* The map is full: an owner who has much makes room for one who has less. Each time for many items, since this looks at all owners. */
enum err crdt_relieve(struct crdt_map *m, uint64_t owner, struct crdt_changes *ch)
{
	uint64_t most = 0, heaviest = PEER_NONE;
	struct crdt_node *n = crdt_tree_first(m->root, slice_of(NULL, 0), false), *none = NULL;
	while (m->owned && n != NULL) {
		struct crdt_owner_key k;
		uint64_t who = crdt_owner(crdt_node_key(n)), weight = crdt_weight_of(m, who);
		if (weight > most && who != m->writer) {
			most = weight;
			heaviest = who;
		}
		n = who == PEER_MAX ? NULL : crdt_tree_first(m->root, crdt_owner_end(&k, who), false);
	}
	if (most <= 2 * crdt_weight_of(m, owner) + RELIEF_MIN)
		return ERR_LIMIT;
	enum err e = ERR_OK;
	while (e == ERR_OK && crdt_weight_of(m, heaviest) > most - most / 16)
		e = drop_oldest(m, oldest_of(m, heaviest), &none, ch);
	return e;
}

enum err crdt_fit_floor(struct crdt_map *m, const struct crdt_item *it, enum crdt_merge *what)
{
	uint64_t setter = crdt_floor_setter(m, it);
	struct crdt_floors *f = setter == PEER_NONE ? NULL : crdt_floors_of(m, setter);
	if (setter == PEER_NONE || (f != NULL && f->n < CRDT_FLOORS_MAX))
		return ERR_OK;
	if (f != NULL) {
		over(m, setter);
		*what = CRDT_REFUSED;
		return ERR_OK;
	}
	void *v = m->floors;
	bool ok = mem_grow(&v, &m->cap_floors, m->n_floors + 1, sizeof *m->floors);
	m->floors = v;
	if (ok)
		m->floors[m->n_floors++] = (struct crdt_floors){ .writer = setter };
	return ok ? ERR_OK : ERR_NOMEM;
}
