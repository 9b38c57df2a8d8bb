#include "ipam/space.h"

#include <string.h>

#include "../base/cmocka_all.h"
#include "../base/seed.h"
#include "base/mem.h"
#include "base/rng.h"

#define BASE UINT32_C(0x0a200000)

static struct range4 net(uint32_t first, unsigned len)
{
	return (struct range4){ first, first + (UINT64_C(1) << (32 - len)) };
}

static void take(struct space *s, uint32_t addr)
{
	struct lease *l;
	assert_int_equal(space_lease(s, "x", addr, 12, &l), ERR_OK);
}

static const uint64_t whole[] = { BASE, BASE + (1 << 20) };

static void expect_block(const struct space *s, struct range4 r, uint64_t start, uint64_t size)
{
	struct range4 b;
	assert_true(space_block(s, r, whole, 2, 1, &b));
	assert_int_equal(b.start, start);
	assert_int_equal(range4_size(b), size);
}

static void blocks_to_give(void **state)
{
	(void)state;
	struct space s;
	struct range4 b;
	assert_int_equal(space_init(&s, 1), ERR_OK);
	assert_int_equal(ranges_add(&s.mine, net(BASE, 12)), ERR_OK);
	expect_block(&s, net(BASE, 12), 0x0a280000, 1 << 19); /* 10.40.0.0/13 */
	expect_block(&s, net(BASE, 26), BASE, 32);            /* the lower /27: begins where a token does */
	take(&s, BASE + 1);
	expect_block(&s, net(BASE, 12), 0x0a280000, 1 << 19);
	take(&s, BASE + 2);
	expect_block(&s, net(BASE, 12), 0x0a2c0000, 1 << 18); /* 10.44.0.0/14 */
	/* A whole token costs nothing, so it is given rather than a somewhat larger half that makes one more. */
	static const uint64_t cuts[] = { BASE, BASE + 0x30000, BASE + 0x50000, BASE + (1 << 20) };
	assert_true(space_block(&s, net(BASE, 12), cuts, 4, 1, &b));
	assert_int_equal(b.start, BASE + 0x30000);
	assert_int_equal(b.end, BASE + 0x50000);
	/* But not when the other is more than four times as large. */
	static const uint64_t small[] = { BASE, BASE + 0x30000, BASE + 0x34000, BASE + (1 << 20) };
	assert_true(space_block(&s, net(BASE, 12), small, 4, 1, &b));
	assert_int_equal(b.start, 0x0a2c0000);
	/* Whole neighbours together. */
	static const uint64_t many[] = { BASE, BASE + 0xd0000, BASE + 0xe0000, BASE + 0xf0000, BASE + (1 << 20) };
	assert_true(space_block(&s, net(BASE, 12), many, 5, 1, &b));
	assert_int_equal(b.start, BASE + 0xd0000);
	assert_int_equal(b.end, BASE + (1 << 20));
	space_free(&s);

	/* What is no larger than the grain is given whole. */
	assert_int_equal(space_init(&s, 1), ERR_OK);
	assert_int_equal(ranges_add(&s.mine, net(BASE, 24)), ERR_OK);
	static const uint64_t first[] = { BASE, BASE + 256 };
	for (uint32_t a = 1; a < 240; a++)
		take(&s, BASE + a);
	assert_true(space_block(&s, net(BASE, 22), first, 2, 8, &b));
	assert_int_equal(b.start, BASE + 248);
	assert_true(space_block(&s, net(BASE, 22), first, 2, 16, &b));
	assert_int_equal(b.start, BASE + 240);
	assert_int_equal(b.end, BASE + 256);
	space_free(&s);

	/* One address left: it is given, unless it is one that nobody can use. */
	assert_int_equal(space_init(&s, 1), ERR_OK);
	assert_int_equal(ranges_add(&s.mine, net(BASE, 29)), ERR_OK);
	for (uint32_t a = 1; a < 6; a++)
		take(&s, BASE + a);
	expect_block(&s, net(BASE, 29), BASE + 6, 2);
	take(&s, BASE + 6);
	assert_false(space_block(&s, net(BASE, 29), whole, 2, 1, &b));
	/* In a larger subnet the same addresses are ordinary ones. */
	assert_true(space_block(&s, net(BASE, 28), whole, 2, 1, &b));
	assert_int_equal(b.start, BASE + 7);
	/* Asked for by itself any address is given. */
	assert_true(space_block(&s, net(BASE, 32), whole, 2, 1, &b));
	space_free(&s);
}

struct model {
	bool mine[64];
	int lease[64];     /* 0: none, else its ident */
	unsigned held[64]; /* by peers 1, 2, 3: bits */
};

static bool used(const struct model *m, uint64_t a)
{
	return m->lease[a] != 0 || m->held[a] != 0;
}

static void compare(const struct space *s, const struct model *m, struct rng *r)
{
	/* A subnet of /30 or larger, or one address. */
	static const uint64_t sizes[] = { 1, 4, 8, 16, 32, 64 };
	uint64_t length = sizes[rng_below(r, 6)], from = rng_below(r, 64 / length) * length, to = from + length, free = 0, low = 64;
	uint32_t addr;
	struct range4 range = { BASE + from, BASE + to };
	for (uint64_t a = from; a < to; a++) {
		bool ok = m->mine[a] && !used(m, a);
		free += ok;
		if (ok && low == 64)
			low = a;
	}
	assert_int_equal(space_free_in(s, range), free);
	bool found = space_lowest(s, range, &addr);
	assert_int_equal(found, low < 64);
	if (found)
		assert_int_equal(addr, BASE + low);
	for (uint32_t a = 0; a < 64; a++) {
		assert_int_equal(space_lease_at(s, BASE + a) != NULL, m->lease[a] != 0);
		assert_int_equal(space_holder(s, BASE + a) != PEER_NONE, m->held[a] != 0);
	}
	/* The block: ours, free, in the range; there is one whenever somebody could use one; and not all of very much. */
	struct range4 b;
	uint64_t cuts[12], grain = rng_between(r, 1, 8), usable = 0, given = 0;
	size_t n = 0;
	for (uint64_t at = 0; n < 11 && at < 64; at += rng_between(r, 1, 30))
		cuts[n++] = BASE + at;
	cuts[n++] = BASE + 64;
	bool block = space_block(s, range, cuts, n, grain, &b);
	for (uint64_t a = from; a < to; a++)
		usable += m->mine[a] && !used(m, a) && (to - from == 1 || (a != from && a != to - 1));
	assert_int_equal(block, usable > 0);
	if (!block)
		return;
	assert_true(b.start >= range.start && b.end <= range.end && b.start < b.end);
	for (uint64_t a = b.start - BASE; a < b.end - BASE; a++) {
		assert_true(m->mine[a] && !used(m, a));
		given += to - from == 1 || (a != from && a != to - 1);
	}
	assert_true(given > 0);
	assert_true(range4_size(b) <= (free + 1) / 2 || (free <= 2 * grain && range4_size(b) <= grain));
}

static void against_flags(void **state)
{
	(void)state;
	struct rng r;
	rng_seed(&r, test_seed("against_flags"));
	for (int round = 0; round < 300; round++) {
		struct space s;
		struct model m = { 0 };
		assert_int_equal(space_init(&s, rng_u64(&r)), ERR_OK);
		for (int k = 0; k < 80; k++) {
			uint32_t a = (uint32_t)rng_below(&r, 64);
			uint64_t peer = rng_between(&r, 1, 3);
			struct range4 x = { BASE + a, BASE + rng_between(&r, a, 64) };
			switch (rng_below(&r, 7)) {
			case 0:
				assert_int_equal(ranges_add(&s.mine, x), ERR_OK);
				for (uint64_t at = x.start; at < x.end; at++)
					m.mine[at - BASE] = true;
				break;
			case 1:
				assert_int_equal(ranges_sub(&s.mine, x), ERR_OK);
				for (uint64_t at = x.start; at < x.end; at++)
					m.mine[at - BASE] = false;
				break;
			case 2:
			case 3: {
				char ident[2] = { (char)('a' + rng_below(&r, 4)), 0 };
				struct lease *l;
				if (m.lease[a] == 0) {
					assert_int_equal(space_lease(&s, ident, BASE + a, 24, &l), ERR_OK);
					m.lease[a] = ident[0];
				} else {
					space_release(&s, space_lease_at(&s, BASE + a));
					m.lease[a] = 0;
				}
				break;
			}
			case 4:
				assert_int_equal(space_hold(&s, BASE + a, peer), ERR_OK);
				m.held[a] |= 1u << peer;
				break;
			case 5:
				space_unhold(&s, BASE + a, peer);
				m.held[a] &= ~(1u << peer);
				break;
			default:
				if (rng_chance(&r, 200000)) {
					space_unhold_all(&s, peer);
					for (int at = 0; at < 64; at++)
						m.held[at] &= ~(1u << peer);
				}
				break;
			}
			compare(&s, &m, &r);
		}
		for (size_t k = 1; k < s.n_leases; k++) {
			int c = strcmp(s.leases[k - 1]->ident, s.leases[k]->ident);
			assert_true(c < 0 || (c == 0 && s.leases[k - 1]->addr < s.leases[k]->addr));
		}
		for (char c = 'a'; c <= 'd'; c++) {
			char ident[2] = { c, 0 };
			size_t n, expected = 0;
			space_leases_of(&s, ident, &n);
			for (int a = 0; a < 64; a++)
				expected += m.lease[a] == c;
			assert_int_equal(n, expected);
		}
		space_free(&s);
	}
}

/* Each allocation that can fail is made to fail once; then nothing has changed. */
static void no_memory_changes_nothing(void **state)
{
	(void)state;
	long before = mem_live();
	struct space s;
	assert_int_equal(space_init(&s, 1), ERR_OK);
	size_t failures = 0;
	for (uint32_t a = 0; a < 100; a++) {
		struct lease *l;
		for (size_t n = 1;; n++) {
			mem_fail_at(n, true);
			enum err e = space_lease(&s, "ident", BASE + a, 24, &l);
			mem_fail_at(0, false);
			assert_int_equal(s.n_leases, a + (e == ERR_OK));
			assert_int_equal(s.n_used, a + (e == ERR_OK));
			if (e == ERR_OK)
				break;
			assert_int_equal(e, ERR_NOMEM);
			assert_null(space_lease_at(&s, BASE + a));
			failures++;
		}
	}
	assert_true(failures >= 200);
	space_free(&s);
	assert_int_equal(mem_live(), before);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(blocks_to_give),
		cmocka_unit_test(against_flags),
		cmocka_unit_test(no_memory_changes_nothing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
