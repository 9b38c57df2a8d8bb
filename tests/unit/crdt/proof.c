/* Proofs: what the map's own user writes is signed, what comes from outside is judged when it would be taken, and only then. */
#include "crdt/delta.h"
#include "crdt/recon.h"
#include "tests/unit/crdt/util.h"

/* A prover without cryptography: the last byte of a proof is a sum over what it proves. */
struct notary {
	bool owned, late, trusting;
	uint64_t self;
	unsigned judged, ruled, made;
	uint64_t writer;
	enum crdt_verdict rule;
};

static uint8_t sum_of(const struct crdt_item *it)
{
	uint8_t sum = it->live ? 1 : 2;
	for (size_t i = 0; i < it->key.n; i++)
		sum = (uint8_t)(sum * 31 + it->key.p[i]);
	for (size_t i = 0; i < it->value.n; i++)
		sum = (uint8_t)(sum * 31 + it->value.p[i]);
	return (uint8_t)(sum * 31 + it->stamp.inc * 7 + it->stamp.ctr);
}

static size_t sign(void *ctx, const struct crdt_item *it, uint8_t out[CRDT_PROOF_MAX])
{
	struct notary *n = ctx;
	bool plain = n->owned && crdt_owner(it->key) == n->self;
	size_t size = plain ? CRDT_SIGNATURE : CRDT_PROOF_MAX;
	struct wbuf w;
	memset(out, 0, CRDT_PROOF_MAX);
	wbuf_fixed(&w, out, CRDT_PROOF_MAX);
	if (!plain)
		wbuf_u48(&w, n->self);
	out[size - 1] = sum_of(it);
	n->made++;
	return size;
}

static enum crdt_verdict judge(void *ctx, const struct crdt_item *it, uint64_t *writer)
{
	struct notary *n = ctx;
	n->judged++;
	n->writer = *writer;
	if (n->late)
		return CRDT_PROOF_LATER;
	if (n->trusting)
		return CRDT_PROOF_TRUSTED;
	struct slice s = crdt_proof_signature(it->proof);
	return s.n > 0 && s.p[s.n - 1] == sum_of(it) ? CRDT_PROOF_OK : CRDT_PROOF_BAD;
}

static enum crdt_verdict rule(void *ctx, const struct crdt_item *it, uint64_t writer)
{
	struct notary *n = ctx;
	(void)it;
	n->ruled++;
	n->writer = writer;
	return n->rule;
}

static const struct crdt_prover prover = { sign, judge };

static struct crdt_map *map_of(struct notary *n, bool owned, uint64_t self)
{
	struct crdt_map *m = util_map(owned);
	*n = (struct notary){ .owned = owned, .self = self };
	crdt_map_set_prover(m, &prover, n);
	if (owned)
		crdt_map_set_writer(m, self, 1);
	return m;
}

/* Every item there has a proof that fits. */
static void assert_proved(const struct crdt_map *m)
{
	struct crdt_item it;
	for (bool there = crdt_map_seek(m, util_none(), &it); there; there = crdt_map_next(m, it.key, &it)) {
		struct slice s = crdt_proof_signature(it.proof);
		assert_int_equal(s.n, CRDT_SIGNATURE);
		assert_int_equal(s.p[s.n - 1], sum_of(&it));
	}
	crdt_map_check(m);
}

/* Puts, deletions, floors, re-stamping, superseding: whatever the map writes for its writer. */
static void all_that_is_ours_is_signed(void **state)
{
	(void)state;
	struct notary n;
	struct crdt_map *m = map_of(&n, true, 5);
	struct test_item t;
	assert_int_equal(crdt_map_put(m, slice_str("a"), slice_str("1"), NULL), ERR_OK);
	assert_int_equal(crdt_map_put(m, slice_str("b"), slice_str("1"), NULL), ERR_OK);
	assert_int_equal(crdt_map_put(m, slice_str("a"), slice_str("2"), NULL), ERR_OK);
	assert_proved(m);
	assert_int_equal(crdt_map_delete(m, slice_str("b"), NULL), ERR_OK);
	assert_proved(m);
	assert_int_equal(crdt_map_compact(m, 0, NULL), ERR_OK);
	assert_int_equal(crdt_map_count(m), 2);
	assert_proved(m);
	struct crdt_item *his = util_item(&t, 5, 'a', 7, 7, "other");
	uint8_t proof[CRDT_PROOF_MAX];
	his->proof = slice_of(proof, sign(&n, his, proof));
	assert_int_equal(util_merge(m, his, NULL), CRDT_NEWS);
	his = util_item(&t, 5, 'c', 7, 7, "unknown");
	his->proof = slice_of(proof, sign(&n, his, proof));
	assert_int_equal(util_merge(m, his, NULL), CRDT_NEWS);
	assert_proved(m);
	his = util_item(&t, 5, 0, 9, 9, NULL); /* somebody has us forgotten */
	struct notary other = { .owned = true, .self = 6 };
	his->proof = slice_of(proof, sign(&other, his, proof));
	assert_int_equal(his->proof.n, CRDT_PROOF_MAX);
	assert_int_equal(util_merge(m, his, NULL), CRDT_NEWS);
	assert_int_equal(n.writer, 6);
	assert_proved(m);
	assert_int_equal(crdt_map_live(m), 1);
	his = util_item(&t, 7, 'a', 1, 1, "x");
	his->proof = slice_of(proof, sign(&other, his, proof));
	assert_int_equal(util_merge(m, his, NULL), CRDT_NEWS);
	assert_int_equal(crdt_map_incarnation(m, 7), 1);
	assert_int_equal(crdt_map_forget(m, 7, 0, NULL), ERR_OK);
	assert_int_equal(crdt_map_incarnation(m, 8), 0);
	assert_int_equal(crdt_map_forget(m, 8, 3, NULL), ERR_OK); /* of whom another map has heard */
	assert_int_equal(util_merge(m, util_item(&t, 8, 'a', 3, 1, "x"), NULL), CRDT_STALE);
	assert_proved(m);
	crdt_map_free(m);
}

static void judged_when_it_would_be_taken(void **state)
{
	(void)state;
	struct notary a, b;
	struct crdt_map *from = map_of(&a, true, 5), *to = map_of(&b, true, 6);
	struct crdt_item it;
	struct test_item t;
	assert_int_equal(crdt_map_put(from, slice_str("a"), slice_str("1"), NULL), ERR_OK);
	assert_true(crdt_map_seek(from, util_none(), &it));
	struct crdt_item bad = it;
	bad.value = slice_str("2");
	assert_int_equal(util_merge(to, &bad, NULL), CRDT_REFUSED);
	bad.proof = util_none();
	assert_int_equal(util_merge(to, &bad, NULL), CRDT_REFUSED);
	b.late = true;
	assert_int_equal(util_merge(to, &it, NULL), CRDT_HELD);
	assert_int_equal(crdt_map_count(to), 0);
	b.late = false;
	assert_int_equal(util_merge(to, &it, NULL), CRDT_NEWS);
	assert_int_equal(b.judged, 4);
	assert_int_equal(b.writer, 5);
	assert_int_equal(util_merge(to, &it, NULL), CRDT_SAME);
	assert_int_equal(util_merge(to, util_item(&t, 5, 'a', 0, 1, "old"), NULL), CRDT_STALE);
	assert_int_equal(b.judged, 4);
	/* A floor that is refused drops nothing. */
	assert_int_equal(util_merge(to, util_item(&t, 5, 0, 9, 9, NULL), NULL), CRDT_REFUSED);
	assert_int_equal(crdt_map_live(to), 1);
	assert_proved(to);
	/* What we had stored is not judged; what has no proof is signed. */
	assert_int_equal(b.judged, 5);
	enum crdt_merge what;
	assert_int_equal(crdt_map_restore(to, util_item(&t, 8, 'a', 1, 1, "mine"), &what, NULL), ERR_OK);
	assert_int_equal(what, CRDT_NEWS);
	assert_int_equal(b.judged, 5);
	assert_proved(to);
	crdt_map_free(from);
	crdt_map_free(to);
}

/* The proof is no part of the item: equal states are equal whoever proved what, and one without is given one. */
static void proofs_do_not_count(void **state)
{
	(void)state;
	struct notary n, other;
	struct crdt_map *plain = util_map(false), *m = map_of(&n, false, 5), *second = map_of(&other, false, 6);
	struct test_item t;
	struct crdt_item it, got;
	assert_int_equal(util_merge(plain, util_item(&t, 1, 'a', 1, 1, "v"), NULL), CRDT_NEWS);
	assert_int_equal(crdt_map_write(m, &t.it, NULL), ERR_OK);
	assert_int_equal(crdt_map_write(second, &t.it, NULL), ERR_OK);
	assert_true(
		fingerprint_eq(crdt_map_fingerprint(plain, util_none(), util_none()), crdt_map_fingerprint(m, util_none(), util_none())));
	assert_true(fingerprint_eq(
		crdt_map_fingerprint(second, util_none(), util_none()), crdt_map_fingerprint(m, util_none(), util_none())));
	assert_true(crdt_map_seek(m, util_none(), &it));
	assert_int_equal(it.proof.n, CRDT_PROOF_MAX);
	assert_int_equal(crdt_proof_writer(it.proof), 5);
	assert_int_equal(util_merge(second, &it, NULL), CRDT_SAME);
	assert_true(crdt_map_seek(second, util_none(), &got));
	assert_int_equal(crdt_proof_writer(got.proof), 6); /* ours is as good */
	assert_int_equal(other.judged, 0);

	struct notary late;
	struct crdt_map *none = util_map(false);
	assert_int_equal(util_merge(none, &t.it, NULL), CRDT_NEWS);
	late = (struct notary){ .self = 7 };
	crdt_map_set_prover(none, &prover, &late);
	struct crdt_item bad = it;
	uint8_t proof[CRDT_PROOF_MAX] = { 0 };
	bad.proof = slice_of(proof, sizeof proof);
	proof[CRDT_PROOF_MAX - 1] = (uint8_t)(sum_of(&it) + 1);
	assert_int_equal(util_merge(none, &bad, NULL), CRDT_SAME);
	assert_true(crdt_map_seek(none, util_none(), &got) && got.proof.n == 0);
	assert_int_equal(util_merge(none, &it, NULL), CRDT_SAME);
	assert_true(crdt_map_seek(none, util_none(), &got) && crdt_proof_writer(got.proof) == 5);
	assert_proved(none);
	crdt_map_free(plain);
	crdt_map_free(m);
	crdt_map_free(second);
	crdt_map_free(none);
}

static void rule_has_the_last_word(void **state)
{
	(void)state;
	struct notary a, b;
	struct crdt_map *from = map_of(&a, false, 5), *to = map_of(&b, false, 6);
	struct test_item t;
	struct crdt_item it;
	crdt_map_set_rule(to, rule, &b);
	assert_int_equal(crdt_map_write(from, util_item(&t, 1, 'a', 1, 1, "v"), NULL), ERR_OK);
	assert_true(crdt_map_seek(from, util_none(), &it));
	b.rule = CRDT_PROOF_LATER;
	assert_int_equal(util_merge(to, &it, NULL), CRDT_HELD);
	b.rule = CRDT_PROOF_BAD;
	assert_int_equal(util_merge(to, &it, NULL), CRDT_REFUSED);
	assert_int_equal(crdt_map_count(to), 0);
	b.rule = CRDT_PROOF_OK;
	assert_int_equal(util_merge(to, &it, NULL), CRDT_NEWS);
	assert_int_equal(b.ruled, 3);
	assert_int_equal(b.writer, 5);
	assert_int_equal(util_merge(to, &it, NULL), CRDT_SAME);
	b.rule = CRDT_PROOF_BAD; /* our own writes are ours to answer for */
	assert_int_equal(crdt_map_write(to, util_item(&t, 1, 'b', 1, 1, "v"), NULL), ERR_OK);
	assert_int_equal(b.ruled, 3);
	struct crdt_item forged = it;
	forged.stamp.ctr++;
	assert_int_equal(util_merge(to, &forged, NULL), CRDT_REFUSED); /* not asked about what is not proved */
	assert_int_equal(b.ruled, 3);
	crdt_map_free(from);
	crdt_map_free(to);
}

/* What was taken on trust is found later, in pieces; what is bad goes, and is named. */
static void trust_is_looked_at(void **state)
{
	(void)state;
	struct notary n;
	struct crdt_map *m = map_of(&n, true, 5);
	struct test_item t;
	struct arena *arena = arena_new();
	struct crdt_changes ch;
	uint8_t mem[CRDT_KEY_MAX], proof[CRDT_PROOF_MAX];
	struct notary his = { .owned = true, .self = 6 };
	n.trusting = true;
	for (int i = 0; i < 100; i++) {
		struct crdt_item *it = util_item(&t, 6, (char)(i + 1), 1, 1, "v");
		it->proof = slice_of(proof, sign(&his, it, proof));
		proof[CRDT_SIGNATURE - 1] = (uint8_t)(proof[CRDT_SIGNATURE - 1] + (i % 10 == 0));
		assert_int_equal(util_merge(m, it, NULL), CRDT_NEWS);
	}
	assert_int_equal(crdt_map_put(m, slice_str("mine"), slice_str("v"), NULL), ERR_OK);
	assert_int_equal(crdt_map_trusted(m), 100);
	crdt_map_check(m);
	n.trusting = false;
	n.judged = 0;
	crdt_changes_init(&ch, arena);
	struct slice after = util_none();
	size_t asked = 0, rounds = 0, total = 0;
	do {
		assert_int_equal(crdt_map_prove(m, &after, mem, 13, 7, &asked, &ch), ERR_OK);
		assert_in_range(asked, 0, 7);
		crdt_map_check(m);
		total += asked;
		rounds++;
	} while (after.n > 0);
	assert_int_equal(total, 100);
	assert_int_equal(n.judged, 100);
	assert_in_range(rounds, 100 / 7, 100 / 7 + 2);
	assert_int_equal(ch.n, 10);
	assert_int_equal(crdt_map_count(m), 91);
	assert_int_equal(crdt_map_trusted(m), 0);
	assert_proved(m);
	/* Held back stays, and is asked about again. */
	n.trusting = true;
	struct crdt_item *it = util_item(&t, 6, 'z', 1, 9, "v");
	it->proof = slice_of(proof, sign(&his, it, proof));
	assert_int_equal(util_merge(m, it, NULL), CRDT_NEWS);
	n.trusting = false;
	n.late = true;
	assert_int_equal(crdt_map_prove(m, &after, mem, 1000, 7, &asked, &ch), ERR_OK);
	assert_int_equal(asked, 1);
	assert_int_equal(crdt_map_trusted(m), 1);
	/* Superseded by one that was judged, there is nothing to look at. */
	n.late = false;
	it = util_item(&t, 6, 'z', 1, 10, "w");
	it->proof = slice_of(proof, sign(&his, it, proof));
	assert_int_equal(util_merge(m, it, NULL), CRDT_NEWS);
	assert_int_equal(crdt_map_trusted(m), 0);
	crdt_map_free(m);
	arena_free(arena);
}

/* Deltas and reconciliations carry the proofs, and end also when one side refuses what the other has. */
static void they_travel(void **state)
{
	struct rng r = util_rng("they_travel");
	(void)state;
	for (int round = 0; round < 50; round++) {
		struct notary a, b;
		struct crdt_map *x = map_of(&a, true, 5), *y = map_of(&b, true, 6);
		size_t items = (size_t)rng_between(&r, 1, 200), forged = 0;
		for (size_t i = 0; i < items; i++) {
			uint8_t sub[2] = { (uint8_t)i, 1 };
			assert_int_equal(crdt_map_put(x, slice_of(sub, 2), slice_str("v"), NULL), ERR_OK);
		}
		if (round % 2 == 0) { /* of somebody whom x alone believes */
			a.trusting = true;
			for (; forged < 3; forged++) {
				struct test_item t;
				assert_int_equal(util_merge(x, util_item(&t, 7, (char)('a' + forged), 1, 1, "v"), NULL), CRDT_NEWS);
			}
		}
		struct wbuf one, two, *from = &one, *to = &two;
		wbuf_grow(&one, 2 * RECON_MESSAGE_MAX);
		wbuf_grow(&two, 2 * RECON_MESSAGE_MAX);
		assert_int_equal(crdt_recon_open(x, from), ERR_OK);
		struct crdt_map *at = y;
		for (int steps = 0; from->len > 0; steps++) {
			struct rbuf in;
			assert_true(steps < 20);
			rbuf_init(&in, from->data, from->len);
			wbuf_reset(to);
			assert_int_equal(crdt_recon_step(at, &in, to, NULL, NULL), ERR_OK);
			struct wbuf *swap = from;
			from = to;
			to = swap;
			at = at == y ? x : y;
		}
		assert_int_equal(crdt_map_count(y), items);
		assert_proved(y);
		wbuf_free(&one);
		wbuf_free(&two);
		crdt_map_free(x);
		crdt_map_free(y);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_that_is_ours_is_signed),
		cmocka_unit_test(judged_when_it_would_be_taken),
		cmocka_unit_test(proofs_do_not_count),
		cmocka_unit_test(rule_has_the_last_word),
		cmocka_unit_test(trust_is_looked_at),
		cmocka_unit_test(they_travel),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
