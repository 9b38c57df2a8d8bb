#include "base/heap.h"

#include <assert.h>

#include "base/mem.h"

void heap_init(struct heap *h)
{
	*h = (struct heap){ 0 };
}

/* The nodes are not touched: their owners may have freed them already. */
void heap_free(struct heap *h)
{
	if (!h)
		return;
	mem_free(h->v);
	*h = (struct heap){ 0 };
}

static bool before(const struct heap_node *a, const struct heap_node *b)
{
	return a->key != b->key ? a->key < b->key : a->seq < b->seq;
}

static void put(struct heap *h, size_t at, struct heap_node *node)
{
	h->v[at - 1] = node;
	node->at = at;
}

static void sift_up(struct heap *h, struct heap_node *node, size_t at)
{
	while (at > 1 && before(node, h->v[at / 2 - 1])) {
		put(h, at, h->v[at / 2 - 1]);
		at /= 2;
	}
	put(h, at, node);
}

static void sift_down(struct heap *h, struct heap_node *node, size_t at)
{
	while (at <= h->n / 2) {
		size_t child = 2 * at;
		if (child < h->n && before(h->v[child], h->v[child - 1]))
			child++;
		if (!before(h->v[child - 1], node))
			break;
		put(h, at, h->v[child - 1]);
		at = child;
	}
	put(h, at, node);
}

static void settle(struct heap *h, struct heap_node *node, size_t at)
{
	if (at > 1 && before(node, h->v[at / 2 - 1]))
		sift_up(h, node, at);
	else
		sift_down(h, node, at);
}

enum err heap_push(struct heap *h, struct heap_node *node, uint64_t key)
{
	if (node->at) {
		assert(node->at <= h->n && h->v[node->at - 1] == node);
		node->key = key;
		node->seq = h->seq++;
		settle(h, node, node->at);
		return ERR_OK;
	}
	if (!mem_grow((void **)&h->v, &h->cap, h->n + 1, sizeof *h->v))
		return ERR_NOMEM;
	node->key = key;
	node->seq = h->seq++;
	h->n++;
	sift_up(h, node, h->n);
	return ERR_OK;
}

void heap_remove(struct heap *h, struct heap_node *node)
{
	if (!node->at)
		return;
	assert(node->at <= h->n && h->v[node->at - 1] == node);
	size_t at = node->at;
	struct heap_node *last = h->v[h->n - 1];
	h->n--;
	node->at = 0;
	if (last != node)
		settle(h, last, at);
}

struct heap_node *heap_peek(const struct heap *h)
{
	return h->n ? h->v[0] : NULL;
}

struct heap_node *heap_pop(struct heap *h)
{
	struct heap_node *node = heap_peek(h);
	if (node)
		heap_remove(h, node);
	return node;
}
