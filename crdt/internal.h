/* What the files of crdt/ share: the ordered store under a map. Nobody else includes this. */
#ifndef WEFT_CRDT_INTERNAL_H
#define WEFT_CRDT_INTERNAL_H

#include "base/rng.h"
#include "crdt/map.h"

#define CRDT_OWNER_SIZE 6
/* The largest item on the wire: key, value and proof with their lengths, stamp, flags. */
#define CRDT_ITEM_MAX (2 + CRDT_KEY_MAX + 10 + 10 + 1 + 2 + CRDT_VALUE_MAX + 1 + CRDT_PROOF_MAX)

/* One item. sum, min and weight speak of the whole subtree. What a search looks at is side by side, for the cache. */
struct crdt_node {
	uint64_t hash_a, hash_b;
	struct stamp stamp;
	struct fingerprint sum;
	struct stamp min;
	struct crdt_node *left, *right;
	uint32_t weight; /* of the subtree */
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
uint32_t crdt_item_weight(const struct crdt_item *it);
uint64_t crdt_tree_weight_below(const struct crdt_node *root, struct slice key); /* of all keys < key; key.n == 0: of all */
/* The node with the lowest stamp, of several the first, with after < key < end (end.n == 0: no end). NULL: there is none. O(log n) */
struct crdt_node *crdt_tree_oldest(struct crdt_node *root, struct slice after, struct slice end);
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

/* --- a map (map.c), and what its owners may have (quota.c) --- */

struct crdt_floors { /* of others, set by one writer */
	uint64_t writer;
	size_t n;
};

struct crdt_map {
	struct crdt_node *root;
	struct rng rng;
	bool owned;
	bool (*valid)(const struct crdt_item *it);
	bool (*guard)(void *ctx, const struct crdt_item *it);
	void *guard_ctx;
	const struct crdt_prover *prover;
	void *prover_ctx;
	enum crdt_verdict (*rule)(void *ctx, const struct crdt_item *it, uint64_t writer);
	void *rule_ctx;
	size_t live, bytes, trusted;
	/* The writer; all zero while there is none. own_*: items under its prefix, the floor not counted. */
	uint64_t writer;
	struct stamp last;
	size_t own_live, own_dead;
	struct crdt_floors *floors;
	size_t n_floors, cap_floors;
	uint64_t over, over_owner;
};

struct crdt_owner_key {
	uint8_t b[CRDT_OWNER_SIZE];
};
struct slice crdt_owner_slice(struct crdt_owner_key *k, uint64_t owner);
struct slice crdt_owner_end(
	struct crdt_owner_key *k, uint64_t owner); /* the first key after all of this owner's; empty: there is none */
void crdt_map_drop(struct crdt_map *m, struct crdt_node *n);

uint64_t crdt_floor_setter(
	const struct crdt_map *m, const struct crdt_item *it); /* of a floor under somebody else's name; PEER_NONE: it is none */
struct crdt_floors *crdt_floors_of(const struct crdt_map *m, uint64_t writer); /* NULL: there are none */
uint64_t crdt_weight_of(const struct crdt_map *m, uint64_t owner);
/* Drops what is older than the item, until that fits into what its owner may have. *what: CRDT_REFUSED when it does not. *old, what is there under its
 * key, is NULL when that was dropped. */
enum err crdt_fit(struct crdt_map *m, const struct crdt_item *it, struct crdt_node **old, enum crdt_merge *what,
	struct crdt_changes *ch) MUST_CHECK;
/* A floor from outside, or one that we set: from now on its setter is counted. *what as above. */
enum err crdt_fit_floor(struct crdt_map *m, const struct crdt_item *it, enum crdt_merge *what) MUST_CHECK;
/* The map is full, and this owner has something new. */
enum err crdt_relieve(struct crdt_map *m, uint64_t owner, struct crdt_changes *ch) MUST_CHECK;

#endif
