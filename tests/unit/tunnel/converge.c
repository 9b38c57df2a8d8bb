/* Two and many hosts in a world that loses, delays, doubles and reorders: whatever happens, they come together, and whatever was sealed with the keys
 * that tunnel_tx gave is opened at the other end if it arrives. WEFT_RUNS: how many worlds. */
#include "tests/unit/tunnel/world.h"

static unsigned runs(unsigned usual)
{
	const char *given = getenv("WEFT_RUNS");

	return given ? (unsigned)strtoul(given, NULL, 10) : usual;
}

static struct world *random_world(size_t n, struct rng *r)
{
	struct tunnel_cfg cfg = {
		.n_psk = (size_t)rng_below(r, 3), .psk = { { 1 }, { 2 } }, .rekey_ms = rng_between(r, 3000, 12000)
	};
	struct world *w;

	cfg.inits_per_s = rng_chance(r, 300000) ? 2 : 0;
	w = world_new(n, rng_u64(r), &cfg);
	w->loss = (uint32_t)rng_below(r, 350000);
	w->hello_loss = w->loss;
	w->doubled = (uint32_t)rng_below(r, 200000);
	w->delay_hi = rng_between(r, 1, cfg.rekey_ms / 10);
	w->delay_lo = rng_chance(r, 500000) ? w->delay_hi : 0;
	w->confirm_by_tick = rng_chance(r, 500000);
	w->relayed = rng_chance(r, 200000);
	return w;
}

static void something(struct world *w, struct rng *r)
{
	size_t from = (size_t)rng_below(r, w->n), to = (from + 1 + (size_t)rng_below(r, w->n - 1)) % w->n;

	if (!say(w, from, to, 0, w->loss) || rng_chance(r, 100000)) {
		want(w, from, to);
		if (rng_chance(r, 300000)) /* both at once */
			want(w, to, from);
	}
	run(w, w->now + rng_below(r, rng_chance(r, 50000) ? 5000 : 300));
}

/* All that can be waited for: the longest pause between two INITs, with what psk and cookies may cost. */
static void come_together(struct world *w)
{
	w->loss = w->hello_loss = w->doubled = 0;
	w->delay_lo = w->delay_hi = 5;
	for (int i = 0; i < 40; i++) {
		for (size_t k = 0; k < w->n; k++)
			for (size_t j = 0; j < w->n; j++)
				if (k != j) {
					(void)say(w, k, j, 0, 0);
					want(w, k, j);
				}
		run(w, w->now + 500);
	}
	for (size_t k = 0; k < w->n; k++)
		for (size_t j = 0; j < k; j++)
			assert_true(joined(w, k, j));
}

/* In use, in a world where nothing is lost: always keys, always opened, and renewed as often as it should. */
static void stay_together(struct world *w)
{
	uint64_t before = tunnel_counters(w->h[0].t)->renewed, rekey = w->h[0].cfg.rekey_ms, end = w->now + 4 * rekey;
	unsigned refused = w->refused;

	while (w->now < end) {
		for (size_t k = 0; k < w->n; k++)
			for (size_t j = 0; j < w->n; j++)
				if (k != j)
					assert_true(say(w, k, j, 0, 0));
		run(w, w->now + rekey / 60);
	}
	assert_int_equal(w->refused, refused);
	assert_in_range(tunnel_counters(w->h[0].t)->renewed - before, (w->n - 1) * 2, (w->n - 1) * 8);
}

static void two(void **state)
{
	uint64_t seed = test_seed("two"), renewed = 0, got = 0;

	(void)state;
	for (unsigned i = 0; i < runs(30); i++) {
		struct rng r;
		struct world *w;

		rng_seed(&r, seed + i);
		w = random_world(2, &r);
		for (int step = 0; step < 250; step++)
			something(w, &r);
		if (w->refused > 0)
			fail_msg("world %u of seed %llu: %u datagrams were sealed with what the other end cannot open", i,
				(unsigned long long)seed, w->refused);
		come_together(w);
		stay_together(w);
		assert_int_equal(w->refused, 0);
		renewed += tunnel_counters(w->h[0].t)->renewed;
		got += w->h[0].got + w->h[1].got;
		world_free(w);
	}
	assert_true(renewed > 5 * runs(30) && got > 100 * runs(30));
}

static void five(uint64_t seed)
{
	struct rng r;
	struct world *w;

	rng_seed(&r, seed);
	w = random_world(5, &r);
	for (int step = 0; step < 500; step++)
		something(w, &r);
	assert_int_equal(w->refused, 0);
	come_together(w);
	stay_together(w);
	world_free(w);
}

static void many(void **state)
{
	uint64_t seed = test_seed("many");

	(void)state;
	for (unsigned i = 0; i < runs(30) / 10; i++)
		five(seed + i);
}

/* Worlds in which a session was given up that the other end was still sending with. */
static void many_again(void **state)
{
	static const uint64_t seeds[] = { UINT64_C(1795430327216236308), 15955 };

	(void)state;
	for (size_t i = 0; i < sizeof seeds / sizeof *seeds; i++)
		five(seeds[i]);
}

/* Hosts that are started anew at any time, forget each other, and learn of each other again. */
static void upheaval(void **state)
{
	uint64_t seed = test_seed("upheaval");

	(void)state;
	for (unsigned i = 0; i < runs(30) / 3; i++) {
		uint64_t incarnation = 1;
		struct rng r;
		struct world *w;

		rng_seed(&r, seed + i);
		w = random_world(3, &r);
		for (int step = 0; step < 200; step++) {
			size_t who = (size_t)rng_below(&r, w->n);

			something(w, &r);
			if (rng_chance(&r, 20000)) {
				tunnel_free(w->h[who].t);
				host_start(w, who, ++incarnation);
				for (size_t j = 0; j < w->n; j++)
					if (j != who)
						know(w, who, j);
			} else if (rng_chance(&r, 20000)) {
				size_t whom = (who + 1) % w->n;
				struct tunnel_actions a = actions(w);

				tunnel_forget(w->h[who].t, name_of(whom), &a);
				carry_out(w, who, &a);
				know(w, who, whom);
			}
		}
		come_together(w);
		stay_together(w);
		world_free(w);
	}
}

/* Both begin at nearly the same time: both ends settle on one session. */
static void at_once(void **state)
{
	static const struct tunnel_cfg cfg = { .n_psk = 0 };

	(void)state;
	for (uint64_t gap = 0; gap < 12; gap++)
		for (uint64_t delay = 1; delay < 12; delay += 2)
			for (size_t first = 0; first < 2; first++) {
				struct world *w = world_new(2, gap * 100 + delay, &cfg);
				uint8_t mem[64];
				struct wire_head head;
				struct slice payload;
				size_t n;

				w->delay_lo = w->delay_hi = delay;
				want(w, first, 1 - first);
				run(w, w->now + gap);
				want(w, 1 - first, first);
				run(w, w->now + 100);
				assert_true(joined(w, 0, 1));
				n = seal_datagram(tunnel_tx(w->h[0].t, name_of(1)), 0, 0, 0, slice_str("x"), mem);
				assert_int_equal(wire_read(slice_of(mem, n), &head, &payload), FWD_PASSED);
				assert_int_equal(head.index, seal_index(tunnel_tx(w->h[1].t, name_of(0))));
				assert_int_equal(w->refused, 0);
				world_free(w);
			}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(two),
		cmocka_unit_test(many),
		cmocka_unit_test(many_again),
		cmocka_unit_test(upheaval),
		cmocka_unit_test(at_once),
	};
	if (sodium_init() < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
