#include "base/heap.h"

#include "base/mem.h"
#include "base/rng.h"
#include "cmocka_all.h"
#include "seed.h"

static void equal_keys_keep_their_order(void **state)
{
	(void)state;
	struct heap h;
	struct heap_node v[100] = { 0 };
	heap_init(&h);
	assert_null(heap_peek(&h));
	assert_null(heap_pop(&h));
	for (size_t i = 0; i < 100; i++)
		assert_int_equal(heap_push(&h, &v[i], i % 3), ERR_OK);
	for (size_t i = 0; i < 100; i++) {
		struct heap_node *top = heap_peek(&h);
		size_t group = i < 34 ? 0 : i < 67 ? 1 : 2, first = group == 0 ? 0 : group == 1 ? 34 : 67;
		assert_ptr_equal(top, &v[group + 3 * (i - first)]);
		assert_ptr_equal(heap_pop(&h), top);
		assert_int_equal(top->at, 0);
	}
	assert_null(heap_pop(&h));
	heap_free(&h);
}

static void rekeyed_goes_behind_its_equals(void **state)
{
	(void)state;
	struct heap h;
	struct heap_node a = { 0 }, b = { 0 }, c = { 0 };
	heap_init(&h);
	assert_int_equal(heap_push(&h, &a, 5), ERR_OK);
	assert_int_equal(heap_push(&h, &b, 5), ERR_OK);
	assert_int_equal(heap_push(&h, &c, 1), ERR_OK);
	assert_int_equal(heap_push(&h, &a, 5), ERR_OK);
	assert_int_equal(heap_push(&h, &c, 9), ERR_OK);
	assert_int_equal(h.n, 3);
	assert_ptr_equal(heap_pop(&h), &b);
	assert_ptr_equal(heap_pop(&h), &a);
	assert_ptr_equal(heap_pop(&h), &c);
	heap_remove(&h, &c);
	assert_int_equal(h.n, 0);
	heap_free(&h);
	heap_free(&h);
	heap_free(NULL);
}

static void out_of_memory_changes_nothing(void **state)
{
	(void)state;
	long live = mem_live();
	struct heap h;
	struct heap_node v[64] = { 0 };
	heap_init(&h);
	mem_fail_at(1, false);
	assert_int_equal(heap_push(&h, &v[0], 1), ERR_NOMEM);
	assert_int_equal(v[0].at, 0);
	size_t n = 0;
	do
		assert_int_equal(heap_push(&h, &v[n], 100 - n), ERR_OK);
	while (++n < h.cap);
	mem_fail_at(1, true);
	assert_int_equal(heap_push(&h, &v[n], 1), ERR_NOMEM);
	assert_int_equal(v[n].at, 0);
	assert_int_equal(h.n, n);
	/* Moving one that is in needs no memory. */
	assert_int_equal(heap_push(&h, &v[0], 0), ERR_OK);
	mem_fail_at(0, false);
	assert_ptr_equal(heap_pop(&h), &v[0]);
	assert_ptr_equal(heap_pop(&h), &v[n - 1]);
	heap_free(&h);
	assert_int_equal(mem_live(), live);
}

enum { NODES = 40, STEPS = 200000 };

/* The model: all nodes, the smallest by (key, order of coming) found by looking at each. */
struct model {
	bool in;
	uint64_t key, came;
};

static size_t model_first(const struct model *m)
{
	size_t best = NODES;
	for (size_t i = 0; i < NODES; i++)
		if (m[i].in && (best == NODES || m[i].key < m[best].key || (m[i].key == m[best].key && m[i].came < m[best].came)))
			best = i;
	return best;
}

static void as_the_model(void **state)
{
	(void)state;
	struct rng g;
	rng_seed(&g, test_seed("as_the_model"));
	struct heap h;
	struct heap_node node[NODES] = { 0 };
	struct model m[NODES] = { 0 };
	size_t count = 0;
	heap_init(&h);
	for (uint64_t step = 0; step < STEPS; step++) {
		size_t i = (size_t)rng_below(&g, NODES), first = model_first(m);
		assert_ptr_equal(heap_peek(&h), first == NODES ? NULL : &node[first]);
		switch (rng_below(&g, 4)) {
		case 0:
			assert_ptr_equal(heap_pop(&h), first == NODES ? NULL : &node[first]);
			if (first < NODES) {
				m[first].in = false;
				count--;
			}
			break;
		case 1:
			heap_remove(&h, &node[i]);
			count -= m[i].in;
			m[i].in = false;
			break;
		default:
			count += !m[i].in;
			m[i] = (struct model){ true, rng_below(&g, 12), step };
			assert_int_equal(heap_push(&h, &node[i], m[i].key), ERR_OK);
			break;
		}
		assert_int_equal(h.n, count);
		for (size_t k = 0; k < NODES; k++)
			assert_int_equal(node[k].at != 0, m[k].in);
	}
	heap_free(&h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(equal_keys_keep_their_order),
		cmocka_unit_test(rekeyed_goes_behind_its_equals),
		cmocka_unit_test(out_of_memory_changes_nothing),
		cmocka_unit_test(as_the_model),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
