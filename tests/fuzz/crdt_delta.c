/* A delta from a stranger, into an owned map (with a writer, whose words he may try to take) and an unowned one; without proofs, and with a prover whose
 * verdict the proofs spell out. */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "crdt/delta.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { WRITER = 1 };

static size_t sign(void *ctx, const struct crdt_item *it, uint8_t out[CRDT_PROOF_MAX])
{
	(void)ctx;
	memset(out, 0, CRDT_PROOF_MAX);
	return crdt_owner(it->key) == WRITER ? CRDT_SIGNATURE : CRDT_PROOF_MAX;
}

/* The first byte of a signature says what becomes of the item, the second what a later look finds. */
static enum crdt_verdict judge(void *ctx, const struct crdt_item *it, uint64_t *writer)
{
	const bool *later = ctx;
	struct slice s = crdt_proof_signature(it->proof);
	if (s.n > 0 && (s.p[2] & 1) != 0)
		*writer = PEER_NONE;
	return s.n == 0 ? CRDT_PROOF_BAD : (enum crdt_verdict)(s.p[*later ? 1 : 0] & 3);
}

static const struct crdt_prover prover = { sign, judge };

static void prove_all(struct crdt_map *m, struct arena *arena)
{
	uint8_t mem[CRDT_KEY_MAX];
	struct slice after = slice_of(NULL, 0);
	struct crdt_changes ch;
	size_t asked = 0, before = crdt_map_count(m);
	crdt_changes_init(&ch, arena);
	do {
		enum err e = crdt_map_prove(m, &after, mem, 3, 2, &asked, &ch);
		assert(e == ERR_OK && asked <= 2);
		crdt_map_check(m);
	} while (after.n > 0);
	assert(crdt_map_count(m) + ch.n == before);
}

static struct crdt_map *new_map(bool owned, bool *later)
{
	struct crdt_map *m = NULL;
	enum err e = crdt_map_new(&m, owned, 1);
	if (e == ERR_OK && later != NULL)
		crdt_map_set_prover(m, &prover, later);
	if (e == ERR_OK && owned) {
		crdt_map_set_writer(m, WRITER, 2);
		e = crdt_map_put(m, slice_str("a"), slice_str("mine"), NULL);
		if (e == ERR_OK)
			e = crdt_map_delete(m, slice_str("a"), NULL);
		if (e == ERR_OK)
			e = crdt_map_put(m, slice_str("b"), slice_str("mine"), NULL);
	}
	assert(e == ERR_OK);
	return m;
}

static void merge(bool owned, bool proofs, const uint8_t *data, size_t size, struct arena *arena)
{
	bool later = false;
	struct crdt_map *m = new_map(owned, proofs ? &later : NULL);
	size_t before = crdt_map_count(m), items = 0, news = 0;
	struct crdt_changes ch;
	enum err first = ERR_OK;
	for (int i = 0; i < 2; i++) {
		struct rbuf r;
		arena_reset(arena);
		crdt_changes_init(&ch, arena);
		rbuf_init(&r, data, size);
		enum err e = crdt_delta_merge(m, &r, &ch, &items, &news);
		crdt_map_check(m);
		if (i == 0) {
			first = e;
			if (e != ERR_OK)
				assert(news == 0 && ch.n == 0 && crdt_map_count(m) == before);
		} else {
			/* A second time it is as good or bad, and says nothing new. */
			assert(e == first && news == 0);
		}
	}
	later = true;
	prove_all(m, arena);
	crdt_map_free(m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct arena *arena = arena_new();
	assert(arena != NULL);
	for (int i = 0; i < 4; i++)
		merge(i % 2 == 0, i >= 2, data, size, arena);
	arena_free(arena);
	return 0;
}
