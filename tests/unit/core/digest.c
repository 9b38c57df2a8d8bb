/* Whether hosts hold the same state: asked, told, and told by whom it should not be. */
#include "nodes.h"

static const char *const node_0[] = { "10.0.0.1" };

static void linked(struct nodes *t)
{
	struct core_event connect = { .kind = CORE_CONNECT, .targets = node_0, .n_targets = 1 };

	nodes_init(t);
	for (int i = 0; i < 3; i++)
		nodes_start(t, i);
	for (int i = 1; i < 3; i++)
		assert_int_equal(nodes_ask(t, i, &connect), ERR_OK);
	nodes_run(t, 5000);
}

static void ask(struct nodes *t, int i)
{
	struct core_event ev = { .kind = CORE_DIGESTS };

	assert_int_equal(nodes_ask(t, i, &ev), ERR_OK);
}

/* Of node i, about node j. */
static bool told(const struct nodes *t, int i, int j, struct core_digest *out)
{
	for (size_t it = 0; core_next_digest(t->n[i].core, &it, out);)
		if (out->peer == t->n[j].name)
			return true;
	return false;
}

static void name(struct nodes *t, int i, const char *fqdn)
{
	struct core_event ev = { .kind = CORE_NAME_PUT, .ident = "c", .fqdn = fqdn, .addr = ip_v4(9) };

	assert_int_equal(nodes_ask(t, i, &ev), ERR_OK);
}

static void quiet_hosts_are_equal(void **state)
{
	struct nodes t;
	struct core_digest d;

	(void)state;
	linked(&t);
	name(&t, 1, "a.weft.local");
	nodes_run(&t, 5000);
	assert_false(told(&t, 2, 0, &d)); /* nobody was asked */
	ask(&t, 2);
	assert_true(told(&t, 2, 0, &d) && !d.answered);
	nodes_run(&t, 100);
	for (int j = 0; j < 2; j++)
		assert_true(told(&t, 2, j, &d) && d.answered && d.differs == 0);
	assert_false(told(&t, 2, 2, &d)); /* itself */
	nodes_free(&t);
}

static void a_host_that_lacks_something_differs_until_it_has_it(void **state)
{
	struct nodes t;
	struct core_digest d;

	(void)state;
	linked(&t);
	/* told to nobody */
	assert_int_equal(crdt_map_put(t.n[0].core->maps[CHANNEL_NAMES], slice_str("k"), slice_str("v"), NULL), ERR_OK);
	ask(&t, 1);
	nodes_run(&t, 100);
	assert_true(told(&t, 1, 0, &d) && d.answered);
	assert_int_equal(d.differs, 1u << CHANNEL_NAMES);
	assert_true(told(&t, 1, 2, &d) && d.answered && d.differs == 0);
	nodes_run(&t, 2 * GOSSIP_RECON_MS);
	ask(&t, 1);
	assert_true(told(&t, 1, 0, &d) && !d.answered); /* what was told before is of no use any more */
	nodes_run(&t, 100);
	assert_true(told(&t, 1, 0, &d) && d.answered && d.differs == 0);
	nodes_free(&t);
}

static void take(struct nodes *t, int i, int from, const uint8_t *p, size_t n)
{
	struct core_actions acts;
	struct arena *arena = arena_new();

	core_actions_init(&acts, arena);
	assert_int_equal(digest_message(t->n[i].core, t->n[from].name, slice_of(p, n), &acts), ERR_OK);
	arena_free(arena);
}

/* Of n channels, each empty. */
static size_t answer_of(uint8_t out[256], uint64_t round, uint8_t n)
{
	struct wbuf w;

	wbuf_fixed(&w, out, 256);
	wbuf_u8(&w, 2);
	wbuf_u64(&w, round);
	wbuf_u8(&w, n);
	for (uint8_t i = 0; i < n; i++) {
		wbuf_u8(&w, (uint8_t)(i + 1));
		wbuf_u64(&w, 0);
		wbuf_u64(&w, 0);
		wbuf_varint(&w, 0);
	}
	assert_int_equal(wbuf_end(&w), ERR_OK);
	return w.len;
}

static void answers_that_were_not_asked_for_say_nothing(void **state)
{
	struct nodes t;
	struct core_digest d;
	uint8_t bytes[256];

	(void)state;
	linked(&t);
	take(&t, 1, 0, bytes, answer_of(bytes, 0, 7)); /* no round has this number */
	assert_false(told(&t, 1, 0, &d));
	t.down[0] = true;
	ask(&t, 1);
	uint64_t round = t.n[1].core->digest_round;
	take(&t, 1, 0, bytes, answer_of(bytes, round + 1, 7));
	assert_true(told(&t, 1, 0, &d) && !d.answered);
	size_t n = answer_of(bytes, round, 7);
	for (size_t cut = 0; cut < n; cut++) { /* none of them is the whole answer */
		take(&t, 1, 0, bytes, cut);
		assert_true(told(&t, 1, 0, &d) && !d.answered);
	}
	take(&t, 1, 0, bytes, n);
	assert_true(told(&t, 1, 0, &d) && d.answered && (d.differs & 1u << CHANNEL_PEERS) != 0);
	/* a newer host has channels we do not know */
	take(&t, 1, 0, bytes, answer_of(bytes, round, 9));
	assert_true(told(&t, 1, 0, &d) && (d.differs >> 8) == 0);
	nodes_free(&t);
}

static void a_host_that_asks_all_the_time_is_not_answered_all_the_time(void **state)
{
	struct nodes t;
	uint8_t bytes[16];
	struct wbuf w;

	(void)state;
	linked(&t);
	wbuf_fixed(&w, bytes, sizeof(bytes));
	wbuf_u8(&w, 1);
	wbuf_u64(&w, 7);
	const struct gossip_counters *c = gossip_counters(core_gossip(t.n[0].core));
	uint64_t before = c->messages_out[6];
	for (int i = 0; i < 100; i++)
		take(&t, 0, 1, bytes, w.len);
	assert_int_equal(c->messages_out[6] - before, DIGEST_ANSWERS_BURST);
	nodes_free(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(quiet_hosts_are_equal),
		cmocka_unit_test(a_host_that_lacks_something_differs_until_it_has_it),
		cmocka_unit_test(answers_that_were_not_asked_for_say_nothing),
		cmocka_unit_test(a_host_that_asks_all_the_time_is_not_answered_all_the_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
