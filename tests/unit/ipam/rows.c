/* Named histories of many hosts and of odd ones: agreement at scale, dead hosts, donation, what the range was before. */
#define IDENTS_MAX 160 /* more than a host's share below */

#include "ipam/paxos.h"
#include "scenario.h"

/* --- the first agreement --- */

/* Five hosts; one of them was told of nobody, one of one other. Connected, neither decides with fewer than a majority of all. */
static void counts_differ(void **state)
{
	(void)state;
	struct model m;
	model_init(&m, 7, 5, 24);
	m.consensus = 0;
	m.in_doubt = true;
	model_start(&m);
	ipam_set_expected(m.h[0].ipam, 1);
	ipam_set_expected(m.h[1].ipam, 2);
	for (size_t k = 2; k < 5; k++)
		m.h[k].side = 1;
	model_topology(&m);
	/* a meets all but cannot talk to three of them any more: it knows that there are five. */
	m.h[2].side = m.h[3].side = m.h[4].side = 0;
	new_links(&m);
	model_run(&m, m.now + 50);
	m.h[2].side = m.h[3].side = m.h[4].side = 1;
	model_topology(&m);
	user_allocate(&m, 0, 0, (struct prefix){ 0 });
	user_allocate(&m, 1, 0, (struct prefix){ 0 });
	user_allocate(&m, 2, 0, (struct prefix){ 0 });
	model_run(&m, m.now + 3000);
	assert_int_equal(m.h[0].c[0].want, WANTS);
	assert_int_equal(m.h[1].c[0].want, WANTS);
	assert_int_equal(m.h[2].c[0].want, HAS);
	expect_text(status(&m, 0), "awaiting consensus (quorum: 3, known: 5, in reach: 2)");
	heal_all(&m);
	model_run(&m, m.now + 2000);
	for (size_t k = 0; k < 3; k++)
		assert_int_equal(m.h[k].c[0].want, HAS);
	check_owners(&m);
	assert_string_equal(conflict(&m, 0), "");
	model_end(&m);
}

/* A vote of a host that expects five is of no use to one that expects two, although the two of them are all that it knows. */
static void vote_of_one_who_expects_more(void **state)
{
	(void)state;
	struct model m;
	model_init(&m, 7, 5, 24);
	m.consensus = 0;
	model_start(&m);
	ipam_set_expected(m.h[0].ipam, 2);
	for (size_t k = 2; k < 5; k++)
		m.h[k].side = 1;
	model_topology(&m);
	new_links(&m);
	model_run(&m, m.now + 50);
	user_allocate(&m, 0, 0, (struct prefix){ 0 });
	model_run(&m, m.now + 3000);
	assert_int_equal(m.h[0].c[0].want, WANTS);
	user_allocate(&m, 2, 0, (struct prefix){ 0 });
	model_run(&m, m.now + 3000);
	assert_int_equal(m.h[2].c[0].want, HAS);
	heal_all(&m);
	model_run(&m, m.now + 2000);
	assert_int_equal(m.h[0].c[0].want, HAS);
	check_owners(&m);
	model_end(&m);
}

/* How many states that show their value host `at` knows. */
static size_t values_shown(struct model *m, size_t at, size_t *bytes)
{
	struct crdt_item it;
	struct paxos_state s;
	size_t n = 0;
	*bytes = 0;
	for (bool there = crdt_map_next(m->h[at].maps[IPAM_MAP_PAXOS], slice_of(NULL, 0), &it); there;
		 there = crdt_map_next(m->h[at].maps[IPAM_MAP_PAXOS], it.key, &it)) {
		assert_int_equal(paxos_state_decode(it.value, &s), ERR_OK);
		n += s.members.n > 0;
		*bytes += it.value.n;
	}
	return n;
}

/* After a while only the proposer shows what was chosen; who comes later, or again, does not mind. */
static void decided_long_ago(void **state)
{
	(void)state;
	struct model m;
	size_t bytes, before;
	model_init(&m, 7, 8, 24);
	m.consensus = 5;
	m.h[7].side = 1; /* meets the others late */
	model_start(&m);
	new_links(&m);
	model_run(&m, m.now + 50);
	user_allocate(&m, 3, 0, (struct prefix){ 0 });
	model_run(&m, m.now + 2000);
	assert_int_equal(values_shown(&m, 0, &before), 7);
	uint64_t steps = m.steps;
	model_run(&m, m.now + 60000);
	for (size_t k = 0; k < 7; k++)
		assert_int_equal(values_shown(&m, k, &bytes), 1);
	assert_true(bytes < before / 2);
	assert_true(m.steps - steps < 8 * 7 * 4); /* and then there is quiet */
	/* The proposer is away; a newcomer has to do with abridged states, and with the ring. */
	host_down(&m, 3);
	user_allocate(&m, 7, 0, (struct prefix){ 0 });
	side(&m, 7, 0);
	model_run(&m, m.now + 3000);
	assert_int_equal(m.h[7].c[0].want, HAS);
	for (size_t k = 0; k < 3; k++) {
		host_down(&m, k);
		host_up(&m, k);
	}
	model_topology(&m);
	new_links(&m);
	model_run(&m, m.now + 1000);
	model_run(&m, m.now + 45000);
	assert_true(values_shown(&m, 6, &bytes) <= 2); /* the newcomer may have proposed what was chosen as well */
	for (size_t k = 0; k < 3; k++)
		assert_string_equal(status(&m, k), "ready");
	check_owners(&m);
	model_end(&m);
}

/* --- donation --- */

static size_t tokens_of_ring(const struct model *m, size_t at)
{
	uint64_t it = m->u.first;
	struct ring_span s;
	size_t n = 0;
	while (ring_each_token(m->h[at].maps[IPAM_MAP_RING], m->u, &it, &s))
		n++;
	return n;
}

/* Eight hosts share 512 addresses, 64 each at first. Now this host has 130 containers and now that one, the others about ten, and all of
 * them come and go. The ring stays in few pieces. */
static void pieces_stay_few(void **state)
{
	(void)state;
	enum { HOSTS = 8, MANY = 130, FEW = 10, PHASE = 500 };
	uint64_t seed = test_seed("pieces_stay_few");
	struct model m;
	size_t drawn = 0, half = 0, has[HOSTS] = { 0 };
	model_init(&m, seed, HOSTS, 23);
	model_start(&m);
	new_links(&m);
	model_run(&m, m.now + 50);
	while (drawn < 10000) {
		size_t at = rng_chance(&m.rng, 300000) ? drawn / PHASE % HOSTS : rng_below(&m.rng, HOSTS),
			   n = rng_below(&m.rng, IDENTS_MAX);
		size_t wanted = at == drawn / PHASE % HOSTS ? MANY : FEW;
		if (m.h[at].c[n].want == HAS && has[at] >= wanted) {
			user_free(&m, at, n);
			has[at]--;
		} else if (m.h[at].c[n].want == NOTHING && has[at] < wanted) {
			user_allocate(&m, at, n, (struct prefix){ 0 });
			has[at]++;
			drawn++;
		}
		model_run(&m, m.now + 15);
		if (drawn == 5000)
			half = tokens_of_ring(&m, 0);
	}
	model_run(&m, m.now + 3000);
	size_t tokens = tokens_of_ring(&m, 0);
	printf("%zu addresses drawn by %d hosts, %zu messages: %zu tokens, %zu half-way\n", drawn, HOSTS, m.messages, tokens, half);
	for (size_t k = 0; k < HOSTS; k++)
		for (size_t n = 0; n < IDENTS_MAX; n++)
			assert_int_not_equal(m.h[k].c[n].want, WANTS);
	assert_true(tokens <= 10 * HOSTS);
	assert_true(tokens < 2 * half);
	check_owners(&m);
	model_end(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(counts_differ),
		cmocka_unit_test(vote_of_one_who_expects_more),
		cmocka_unit_test(decided_long_ago),
		cmocka_unit_test(pieces_stay_few),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
