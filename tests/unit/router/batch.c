/* Steps that share a commit, with the real store: nothing takes effect before it is on disk, in the order in which the steps were made. */
#include "dir.h"

#include "base/mem.h"
#include "router/batch.h"
#include "router/store.h"

struct world {
	struct dir d;
	struct store *s;
	struct batch *b;
	char log[1024];
	unsigned long long commits_at_first; /* when the first effect of all was seen */
	bool seen;
	int failures;
	const char *then; /* a reply with this number makes a step of these letters (make) */
	uint64_t then_at;
};

static void note_down(struct world *w, const char *word)
{
	size_t n = strlen(w->log);

	snprintf(w->log + n, sizeof(w->log) - n, "%s ", word);
	if (!w->seen)
		w->commits_at_first = store_commits(w->s);
	w->seen = true;
}

/* p: persists, s: sends, r: replies; `number` names all of them. */
static void make(struct world *w, const char *letters, uint64_t number)
{
	struct core_actions acts;

	assert_int_equal(batch_begin(w->b, &acts), ERR_OK);
	for (const char *p = letters; *p != '\0'; p++) {
		struct core_action *v = arena_alloc(acts.arena, (acts.n + 1) * sizeof(*v));
		assert_non_null(v);
		if (acts.n > 0)
			memcpy(v, acts.v, acts.n * sizeof(*v));
		acts.v = v;
		v += acts.n++;
		*v = (struct core_action){ .kind = CORE_SEND, .u.send.conn = number };
		if (*p == 's')
			v->u.send.bytes = slice_str("bytes");
		if (*p == 'r')
			*v = (struct core_action){ .kind = CORE_REPLY, .u.reply = { .request = number } };
		if (*p == 'p' || *p == 'x') {
			char *key = arena_printf(acts.arena, "key%llu", (unsigned long long)number);
			assert_non_null(key);
			*v = (struct core_action){ .kind = CORE_PERSIST, .u.persist = { slice_str(key), slice_str(key) } };
			if (*p == 'x') /* no store takes it */
				v->u.persist.key.n = 0;
		}
	}
	batch_add(w->b, &acts);
}

static bool stored(struct world *w, uint64_t number)
{
	char key[32], value[32];
	size_t n;

	snprintf(key, sizeof(key), "key%llu", (unsigned long long)number);
	return store_get(w->s, key, value, sizeof(value), &n) == ERR_OK;
}

static void on_ready(void *ctx, const struct core_actions *steps, size_t n)
{
	struct world *w = ctx;
	char word[32];

	(void)steps;
	snprintf(word, sizeof(word), "[%zu]", n);
	note_down(w, word);
}

static void on_effect(void *ctx, const struct core_action *a)
{
	char word[32];

	assert_int_equal(a->kind, CORE_SEND);
	snprintf(word, sizeof(word), "s%llu", (unsigned long long)a->u.send.conn);
	note_down(ctx, word);
}

static void on_reply(void *ctx, const struct core_action *a)
{
	struct world *w = ctx;
	char word[32];

	snprintf(word, sizeof(word), "r%llu", (unsigned long long)a->u.reply.request);
	note_down(w, word);
	if (w->then != NULL && a->u.reply.request == w->then_at) {
		const char *letters = w->then;
		w->then = NULL;
		make(w, letters, 100 + w->then_at);
		batch_flush(w->b); /* from within: must not overtake what is left */
	}
}

static void on_failed(void *ctx, const char *why)
{
	struct world *w = ctx;

	assert_true(strlen(why) > 0);
	w->failures++;
}

static void open_world(struct world *w)
{
	struct err_note note = { "" };

	memset(w, 0, sizeof(*w));
	dir_make(&w->d);
	assert_int_equal(store_open(&w->s, w->d.path, &note), ERR_OK);
	struct batch_cfg cfg = { w->s, w, on_ready, on_effect, on_reply, on_failed };
	assert_int_equal(batch_new(&w->b, &cfg), ERR_OK);
}

static void close_world(struct world *w)
{
	batch_free(w->b);
	store_close(w->s);
	dir_remove(&w->d);
}

static void without_records_at_once(void **state)
{
	struct world w;

	(void)state;
	open_world(&w);
	make(&w, "srs", 1);
	assert_string_equal(w.log, "[1] s1 s1 r1 ");
	assert_int_equal(store_commits(w.s), 0);
	batch_flush(w.b);
	assert_string_equal(w.log, "[1] s1 s1 r1 ");
	close_world(&w);
}

static void one_commit_for_all(void **state)
{
	struct world w;

	(void)state;
	open_world(&w);
	make(&w, "prs", 1);
	make(&w, "s", 2); /* has nothing to store, and may follow from what has */
	make(&w, "pr", 3);
	make(&w, "spr", 4);
	assert_string_equal(w.log, "");
	assert_int_equal(store_commits(w.s), 0);
	assert_false(stored(&w, 1));
	batch_flush(w.b);
	assert_string_equal(w.log, "[4] s1 r1 s2 r3 s4 r4 ");
	assert_int_equal(store_commits(w.s), 1);
	assert_int_equal(w.commits_at_first, 1);
	for (uint64_t i = 1; i <= 4; i++)
		assert_int_equal(stored(&w, i), i != 2);
	make(&w, "s", 5); /* nothing waits any more */
	assert_string_equal(w.log, "[4] s1 r1 s2 r3 s4 r4 [1] s5 ");
	close_world(&w);
}

/* What a reply brings about comes after everything that waited before it, whether it persists or not. */
static void what_replies_make_comes_after(void **state)
{
	static const char *const made[] = { "psr", "s" }, *const logs[] = { "[3] r1 s2 s3 [1] s101 r101 ", "[3] r1 s2 s3 [1] s101 " };

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		struct world w;
		open_world(&w);
		w.then = made[i];
		w.then_at = 1;
		make(&w, "pr", 1);
		make(&w, "s", 2);
		make(&w, "ps", 3);
		batch_flush(w.b);
		assert_string_equal(w.log, logs[i]);
		assert_int_equal(store_commits(w.s), i == 0 ? 2 : 1);
		assert_int_equal(stored(&w, 101), i == 0);
		close_world(&w);
	}
}

/* A reply that was given at once makes a step that persists: that waits for the end of the turn like any other. */
static void a_reply_at_once_does_not_commit(void **state)
{
	struct world w;

	(void)state;
	open_world(&w);
	w.then = "ps";
	w.then_at = 1;
	make(&w, "r", 1);
	assert_string_equal(w.log, "[1] r1 ");
	assert_false(stored(&w, 101));
	make(&w, "s", 2);
	assert_string_equal(w.log, "[1] r1 ");
	batch_flush(w.b);
	assert_string_equal(w.log, "[1] r1 [2] s101 s2 ");
	close_world(&w);
}

static void a_failed_commit_lets_nothing_out(void **state)
{
	struct world w;

	(void)state;
	open_world(&w);
	make(&w, "prs", 1);
	make(&w, "xs", 2);
	make(&w, "s", 3);
	batch_flush(w.b);
	assert_string_equal(w.log, "");
	assert_int_equal(w.failures, 1);
	assert_false(stored(&w, 1)); /* all or nothing */
	make(&w, "s", 4);
	make(&w, "ps", 5);
	batch_flush(w.b);
	assert_string_equal(w.log, "");
	assert_int_equal(w.failures, 1);
	assert_int_equal(store_commits(w.s), 0);
	close_world(&w);
}

static void no_more_than_so_many_wait(void **state)
{
	struct world w;

	(void)state;
	open_world(&w);
	for (uint64_t i = 0; i < BATCH_STEPS_MAX - 1; i++)
		make(&w, "p", i);
	assert_int_equal(store_commits(w.s), 0);
	make(&w, "p", BATCH_STEPS_MAX);
	assert_int_equal(store_commits(w.s), 1);
	batch_flush(w.b);
	assert_int_equal(store_commits(w.s), 1);
	close_world(&w);
}

static void after_a_reset_nothing_is_stored(void **state)
{
	struct world w;

	(void)state;
	open_world(&w);
	batch_store_no_more(w.b);
	make(&w, "ps", 1);
	batch_flush(w.b);
	assert_string_equal(w.log, "[1] s1 ");
	assert_int_equal(store_commits(w.s), 0);
	close_world(&w);
}

static void memory_runs_out(void **state)
{
	struct world w;
	struct batch *b = NULL;
	struct batch_cfg cfg = { .ctx = NULL };
	struct core_actions acts;
	bool enough = false;

	(void)state;
	for (size_t n = 1; !enough; n++) {
		mem_fail_at(n, true);
		enum err err = batch_new(&b, &cfg);
		mem_fail_at(0, false);
		assert_true(err == ERR_OK || err == ERR_NOMEM);
		enough = err == ERR_OK;
	}
	mem_fail_at(1, true);
	assert_int_equal(batch_begin(b, &acts), ERR_NOMEM);
	mem_fail_at(0, false);
	batch_free(b);
	batch_free(NULL);
	open_world(&w);
	make(&w, "ps", 1);
	close_world(&w); /* with something that waits */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(without_records_at_once),
		cmocka_unit_test(one_commit_for_all),
		cmocka_unit_test(what_replies_make_comes_after),
		cmocka_unit_test(a_reply_at_once_does_not_commit),
		cmocka_unit_test(a_failed_commit_lets_nothing_out),
		cmocka_unit_test(no_more_than_so_many_wait),
		cmocka_unit_test(after_a_reset_nothing_is_stored),
		cmocka_unit_test(memory_runs_out),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
