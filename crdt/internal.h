/* What the files of crdt/ share: the ordered store under a map. Nobody else includes this. */
#ifndef WEFT_CRDT_INTERNAL_H
#define WEFT_CRDT_INTERNAL_H

#include "crdt/map.h"

#define CRDT_OWNER_SIZE 6
/* The largest item on the wire: key, value and proof with their lengths, stamp, flags. */
#define CRDT_ITEM_MAX (2 + CRDT_KEY_MAX + 10 + 10 + 1 + 2 + CRDT_VALUE_MAX + 1 + CRDT_PROOF_MAX)

/* One item. sum and min speak of the whole subtree. What a search looks at is side by side, for the cache. */
struct crdt_node {
	uint64_t hash_a, hash_b;
	struct stamp stamp;
	struct fingerprint sum;
	struct stamp min;
	struct crdt_node *left, *right;
	uint32_t priority;
	uint16_t key_len, value_len;
	uint8_t proof_len, proof_room;
	bool live;
	bool trusted;    /* the proof has not been looked at */
	uint8_t bytes[]; /* the key, then the value, then the proof */
};

/* proof_room: bytes kept for a proof at least. NULL: out of memory */
struct crdt_node *crdt_node_new(const struct crdt_item *it, uint8_t proof_room, uint32_t priority);
void crdt_node_prove(struct crdt_node *n, struct slice proof); /* another proof, no longer than the room */
struct slice crdt_node_key(const struct crdt_node *n);
struct crdt_item crdt_node_item(const struct crdt_node *n);

/* Trees are named by their root; NULL is the empty one. Nodes belong to whoever calls. */
struct crdt_node *crdt_tree_get(struct crdt_node *root, struct slice key);
struct crdt_node *crdt_tree_first(struct crdt_node *root, struct slice from, bool after); /* first key >= from, or > from */
struct crdt_node *crdt_tree_last(struct crdt_node *root, struct slice at);                /* last key <= at */
struct crdt_node *crdt_tree_nth(struct crdt_node *root, uint64_t index);
struct fingerprint crdt_tree_below(const struct crdt_node *root, struct slice key); /* of all keys < key */
/* The first node with after < key < end (end.n == 0: no end) whose stamp is at or below s: O(log n). */
struct crdt_node *crdt_tree_first_old(struct crdt_node *root, struct slice after, struct slice end, struct stamp s);
void crdt_tree_insert(struct crdt_node **root, struct crdt_node *n); /* its key is not there yet */
/* n takes the place of old, which has the same key and is given back to the caller. */
void crdt_tree_replace(struct crdt_node **root, struct crdt_node *n, struct crdt_node *old);
struct crdt_node *crdt_tree_remove(struct crdt_node **root, struct slice key); /* NULL: not there */
void crdt_tree_restamp(struct crdt_node *root, struct crdt_node *n, struct stamp s);
void crdt_tree_free(struct crdt_node *root);
void crdt_tree_check(const struct crdt_node *root);

/* Encoded length of an item. */
size_t crdt_item_size(const struct crdt_item *it);
/* Does the item have the form that this map's items have? */
bool crdt_map_fits(const struct crdt_map *m, const struct crdt_item *it);
/* Unowned maps: several writes that happen all or, on ERR_NOMEM and ERR_LIMIT, not at all. Those that lose are left out. */
enum err crdt_map_write_all(struct crdt_map *m, const struct crdt_item *items, size_t n, struct crdt_changes *ch) MUST_CHECK;

#endif
