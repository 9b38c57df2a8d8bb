/* The ordered store: a treap. Nodes are in key order from left to right and in heap order by a random priority, which keeps the depth
 * at O(log n) whatever keys a stranger chooses, as long as he cannot guess the priorities. Every node carries four facts of its
 * subtree: how many items there are, what they weigh, the sum of their hashes modulo 2^128, and the lowest stamp. Count and sum answer "what is the
 * fingerprint of this range" and "which is the k-th item", the lowest stamp finds what a floor drops without looking at what it keeps. */
#include <assert.h>
#include <string.h>

#include <sodium.h>

#include "crdt/internal.h"

#define HASH_SIZE 16

struct slice crdt_node_key(const struct crdt_node *n)
{
	return slice_of(n->bytes, n->key_len);
}

struct crdt_item crdt_node_item(const struct crdt_node *n)
{
	return (struct crdt_item){
		.key = slice_of(n->bytes, n->key_len),
		.stamp = n->stamp,
		.live = n->live,
		.value = slice_of(n->bytes + n->key_len, n->value_len),
		.proof = slice_of(n->bytes + n->key_len + n->value_len, n->proof_len),
	};
}

static void add128(uint64_t *a, uint64_t *b, uint64_t more_a, uint64_t more_b)
{
	*b += more_b;
	*a += more_a + (*b < more_b);
}

/* BLAKE2b-128 over the wire form without the proof: two proofs of one item are as good as one another. */
static void item_hash(const struct crdt_item *it, uint64_t *a, uint64_t *b)
{
	uint8_t mem[CRDT_ITEM_MAX], hash[HASH_SIZE];
	struct wbuf w;
	struct rbuf r;

	struct crdt_item bare = *it;
	bare.proof = slice_of(NULL, 0);
	wbuf_fixed(&w, mem, sizeof mem);
	crdt_item_encode(&w, &bare);
	assert(!w.failed);
	int rc = crypto_generichash(hash, sizeof hash, w.data, w.len, NULL, 0);
	assert(rc == 0);
	rbuf_init(&r, hash, sizeof hash);
	*a = rbuf_u64(&r);
	*b = rbuf_u64(&r);
}

static void node_hash(struct crdt_node *n)
{
	struct crdt_item it = crdt_node_item(n);
	item_hash(&it, &n->hash_a, &n->hash_b);
}

uint32_t crdt_item_weight(const struct crdt_item *it)
{
	return 1 + (uint32_t)(it->key.n + it->value.n) / CRDT_WEIGHT_BYTES;
}

static uint32_t own_weight(const struct crdt_node *n)
{
	struct crdt_item it = crdt_node_item(n);
	return crdt_item_weight(&it);
}

/* Recomputes what n says of its subtree from its children. */
static void node_sum(struct crdt_node *n)
{
	n->sum = (struct fingerprint){ n->hash_a, n->hash_b, 1 };
	n->min = n->stamp;
	n->weight = own_weight(n);
	struct crdt_node *child[2] = { n->left, n->right };
	for (int i = 0; i < 2; i++) {
		if (child[i] == NULL)
			continue;
		add128(&n->sum.a, &n->sum.b, child[i]->sum.a, child[i]->sum.b);
		n->sum.count += child[i]->sum.count;
		n->weight += child[i]->weight;
		if (stamp_cmp(child[i]->min, n->min) < 0)
			n->min = child[i]->min;
	}
}

struct crdt_node *crdt_node_new(const struct crdt_item *it, uint8_t proof_room, uint32_t priority)
{
	assert(it->key.n <= CRDT_KEY_MAX && it->value.n <= CRDT_VALUE_MAX && it->proof.n <= CRDT_PROOF_MAX);
	if (proof_room < it->proof.n)
		proof_room = (uint8_t)it->proof.n;
	struct crdt_node *n = mem_alloc(sizeof *n + it->key.n + it->value.n + proof_room);
	if (n == NULL)
		return NULL;
	*n = (struct crdt_node){
		.stamp = it->stamp,
		.priority = priority,
		.key_len = (uint16_t)it->key.n,
		.value_len = (uint16_t)it->value.n,
		.proof_room = proof_room,
		.live = it->live,
	};
	if (it->key.n > 0)
		memcpy(n->bytes, it->key.p, it->key.n);
	if (it->value.n > 0)
		memcpy(n->bytes + it->key.n, it->value.p, it->value.n);
	crdt_node_prove(n, it->proof);
	node_hash(n);
	node_sum(n);
	return n;
}

void crdt_node_prove(struct crdt_node *n, struct slice proof)
{
	assert(proof.n <= n->proof_room);
	if (proof.n > 0)
		memcpy(n->bytes + n->key_len + n->value_len, proof.p, proof.n);
	n->proof_len = (uint8_t)proof.n;
}

struct crdt_node *crdt_tree_get(struct crdt_node *root, struct slice key)
{
	while (root != NULL) {
		int c = slice_cmp(key, crdt_node_key(root));
		if (c == 0)
			break;
		root = c < 0 ? root->left : root->right;
	}
	return root;
}

struct crdt_node *crdt_tree_first(struct crdt_node *root, struct slice from, bool after)
{
	struct crdt_node *best = NULL;
	while (root != NULL) {
		int c = slice_cmp(crdt_node_key(root), from);
		if (c > 0 || (c == 0 && !after)) {
			best = root;
			root = root->left;
		} else {
			root = root->right;
		}
	}
	return best;
}

struct crdt_node *crdt_tree_last(struct crdt_node *root, struct slice at)
{
	struct crdt_node *best = NULL;
	while (root != NULL) {
		if (slice_cmp(crdt_node_key(root), at) <= 0) {
			best = root;
			root = root->right;
		} else {
			root = root->left;
		}
	}
	return best;
}

static uint64_t count_of(const struct crdt_node *n)
{
	return n == NULL ? 0 : n->sum.count;
}

struct crdt_node *crdt_tree_nth(struct crdt_node *root, uint64_t index)
{
	while (root != NULL) {
		uint64_t left = count_of(root->left);
		if (index == left)
			break;
		if (index < left) {
			root = root->left;
		} else {
			index -= left + 1;
			root = root->right;
		}
	}
	return root;
}

struct fingerprint crdt_tree_below(const struct crdt_node *root, struct slice key)
{
	struct fingerprint f = { 0 };
	while (root != NULL) {
		if (slice_cmp(crdt_node_key(root), key) >= 0) {
			root = root->left;
			continue;
		}
		if (root->left != NULL) {
			add128(&f.a, &f.b, root->left->sum.a, root->left->sum.b);
			f.count += root->left->sum.count;
		}
		add128(&f.a, &f.b, root->hash_a, root->hash_b);
		f.count++;
		root = root->right;
	}
	return f;
}

uint64_t crdt_tree_weight_below(const struct crdt_node *root, struct slice key)
{
	uint64_t w = 0;
	if (key.n == 0)
		return root == NULL ? 0 : root->weight;
	while (root != NULL) {
		if (slice_cmp(crdt_node_key(root), key) >= 0) {
			root = root->left;
			continue;
		}
		w += root->weight - (root->right == NULL ? 0 : root->right->weight);
		root = root->right;
	}
	return w;
}

/* Makes *min the lowest stamp with after < key < end. inside_*: the whole subtree is on this side of that bound. */
static void lowest(
	const struct crdt_node *t, struct slice after, struct slice end, bool inside_after, bool inside_end, struct stamp *min)
{
	while (t != NULL) {
		if (inside_after && inside_end) {
			*min = stamp_cmp(t->min, *min) < 0 ? t->min : *min;
			return;
		}
		if (!inside_after && slice_cmp(crdt_node_key(t), after) <= 0) {
			t = t->right;
		} else if (!inside_end && slice_cmp(crdt_node_key(t), end) >= 0) {
			t = t->left;
		} else {
			*min = stamp_cmp(t->stamp, *min) < 0 ? t->stamp : *min;
			lowest(t->left, after, end, inside_after, true, min);
			inside_after = true;
			t = t->right;
		}
	}
}

struct crdt_node *crdt_tree_oldest(struct crdt_node *root, struct slice after, struct slice end)
{
	struct stamp min = { UINT64_MAX, UINT64_MAX };
	lowest(root, after, end, false, end.n == 0, &min);
	return crdt_tree_first_old(root, after, end, min);
}

struct crdt_node *crdt_tree_first_old(struct crdt_node *root, struct slice after, struct slice end, struct stamp s)
{
	if (root == NULL || stamp_cmp(root->min, s) > 0)
		return NULL;
	if (slice_cmp(crdt_node_key(root), after) <= 0)
		return crdt_tree_first_old(root->right, after, end, s);
	if (end.n > 0 && slice_cmp(crdt_node_key(root), end) >= 0)
		return crdt_tree_first_old(root->left, after, end, s);
	/* Below here every subtree that lies wholly inside either is cut off by its lowest stamp or has an answer. */
	struct crdt_node *found = crdt_tree_first_old(root->left, after, end, s);
	if (found != NULL)
		return found;
	if (stamp_cmp(root->stamp, s) <= 0)
		return root;
	return crdt_tree_first_old(root->right, after, end, s);
}

/* Splits t into the nodes before key and those after it; key itself is not in t. */
static void split(struct crdt_node *t, struct slice key, struct crdt_node **before, struct crdt_node **behind)
{
	if (t == NULL) {
		*before = *behind = NULL;
		return;
	}
	if (slice_cmp(crdt_node_key(t), key) < 0) {
		split(t->right, key, &t->right, behind);
		*before = t;
	} else {
		split(t->left, key, before, &t->left);
		*behind = t;
	}
	node_sum(t);
}

/* Every key of a is before every key of b. */
static struct crdt_node *join(struct crdt_node *a, struct crdt_node *b)
{
	if (a == NULL || b == NULL)
		return a == NULL ? b : a;
	if (a->priority > b->priority) {
		a->right = join(a->right, b);
		node_sum(a);
		return a;
	}
	b->left = join(a, b->left);
	node_sum(b);
	return b;
}

void crdt_tree_insert(struct crdt_node **root, struct crdt_node *n)
{
	/* Above its place nothing changes but the facts of the subtrees, and those without a look at the other children. */
	while (*root != NULL && n->priority <= (*root)->priority) {
		struct crdt_node *t = *root;
		add128(&t->sum.a, &t->sum.b, n->hash_a, n->hash_b);
		t->sum.count++;
		t->weight += own_weight(n);
		if (stamp_cmp(n->stamp, t->min) < 0)
			t->min = n->stamp;
		root = slice_cmp(crdt_node_key(n), crdt_node_key(t)) < 0 ? &t->left : &t->right;
	}
	split(*root, crdt_node_key(n), &n->left, &n->right);
	node_sum(n);
	*root = n;
}

static void detach(struct crdt_node *n)
{
	n->left = n->right = NULL;
	node_sum(n);
}

/* Recomputes the facts from t down to n, where something has changed. */
static void sum_path(struct crdt_node *t, const struct crdt_node *n)
{
	if (t != n)
		sum_path(slice_cmp(crdt_node_key(n), crdt_node_key(t)) < 0 ? t->left : t->right, n);
	node_sum(t);
}

void crdt_tree_replace(struct crdt_node **root, struct crdt_node *n, struct crdt_node *old)
{
	struct crdt_node **at = root;
	while (*at != old)
		at = slice_cmp(crdt_node_key(n), crdt_node_key(*at)) < 0 ? &(*at)->left : &(*at)->right;
	n->left = old->left;
	n->right = old->right;
	n->priority = old->priority;
	*at = n;
	sum_path(*root, n);
	detach(old);
}

static struct crdt_node *take_out(struct crdt_node *t, struct slice key, struct crdt_node **old)
{
	if (t == NULL)
		return NULL;
	int c = slice_cmp(key, crdt_node_key(t));
	if (c == 0) {
		*old = t;
		return join(t->left, t->right);
	}
	if (c < 0)
		t->left = take_out(t->left, key, old);
	else
		t->right = take_out(t->right, key, old);
	node_sum(t);
	return t;
}

struct crdt_node *crdt_tree_remove(struct crdt_node **root, struct slice key)
{
	struct crdt_node *old = NULL;
	*root = take_out(*root, key, &old);
	if (old != NULL)
		detach(old);
	return old;
}

void crdt_tree_restamp(struct crdt_node *root, struct crdt_node *n, struct stamp s)
{
	n->stamp = s;
	node_hash(n);
	sum_path(root, n);
}

void crdt_tree_free(struct crdt_node *root)
{
	while (root != NULL) {
		struct crdt_node *right = root->right;
		crdt_tree_free(root->left);
		mem_free(root);
		root = right;
	}
}

void crdt_tree_check(const struct crdt_node *n)
{
	if (n == NULL)
		return;
	if (n->left != NULL) {
		assert(n->left->priority <= n->priority);
		assert(slice_cmp(crdt_node_key(n->left), crdt_node_key(n)) < 0);
		crdt_tree_check(n->left);
	}
	if (n->right != NULL) {
		assert(n->right->priority <= n->priority);
		assert(slice_cmp(crdt_node_key(n->right), crdt_node_key(n)) > 0);
		crdt_tree_check(n->right);
	}
	struct crdt_item it = crdt_node_item(n);
	uint64_t a, b;
	item_hash(&it, &a, &b);
	assert(a == n->hash_a && b == n->hash_b);
	struct crdt_node copy = *n;
	node_sum(&copy);
	assert(fingerprint_eq(copy.sum, n->sum) && stamp_cmp(copy.min, n->min) == 0 && copy.weight == n->weight);
}
