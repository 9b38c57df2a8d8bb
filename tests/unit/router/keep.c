/* Records of the daemon's own: they share a commit, are told when it is made, come back by their prefix, and are nobody else's. */
#include "tests/unit/router/dir.h"

#include "base/mem.h"
#include "router/internal.h"

struct t {
	struct dir dir;
	struct router r;
	size_t told;
	enum err err;
};

static void on_ready(void *ctx, const struct core_actions *steps, size_t n)
{
	(void)ctx;
	(void)steps;
	(void)n;
}

static void on_effect(void *ctx, const struct core_action *a)
{
	(void)ctx;
	(void)a;
	fail();
}

static void on_reply(void *ctx, const struct core_action *a)
{
	struct t *t = ctx;
	struct request *q = map_del64(t->r.requests, a->u.reply.request);
	struct router_result res = { .err = a->u.reply.err };

	assert_non_null(q);
	if (q->done != NULL)
		q->done(q->ctx, &res);
	mem_free(q);
}

static void on_failed(void *ctx, const char *why)
{
	(void)ctx;
	fail_msg("%s", why);
}

static void told(void *ctx, const struct router_result *res)
{
	struct t *t = ctx;

	t->told++;
	t->err = res->err;
}

static void begin(struct t *t)
{
	struct err_note note = { "" };

	assert_int_equal(store_open(&t->r.store, t->dir.path, &note), ERR_OK);
	struct batch_cfg cfg = {
		.store = t->r.store, .ctx = t, .ready = on_ready, .effect = on_effect, .reply = on_reply, .failed = on_failed
	};
	assert_int_equal(batch_new(&t->r.batch, &cfg), ERR_OK);
	t->r.requests = map_new(1);
	assert_non_null(t->r.requests);
	t->r.next_request = 1;
}

static void end(struct t *t)
{
	assert_int_equal(map_count(t->r.requests), 0);
	map_free(t->r.requests);
	batch_free(t->r.batch);
	store_close(t->r.store);
	t->r = (struct router){ 0 };
}

static enum err gather(void *ctx, struct slice key, struct slice value)
{
	char *text = ctx;

	(void)strncat(text, (const char *)key.p, key.n);
	strcat(text, "=");
	(void)strncat(text, (const char *)value.p, value.n);
	strcat(text, ";");
	return ERR_OK;
}

static void expect(struct t *t, const char *prefix, const char *want)
{
	char text[512] = "";
	struct err_note note = { "" };

	assert_int_equal(router_kept(&t->r, prefix, gather, text, &note), ERR_OK);
	assert_string_equal(text, want);
}

static void durable_together(void **state)
{
	struct t t = { 0 };

	(void)state;
	dir_make(&t.dir);
	begin(&t);
	unsigned long long commits = store_commits(t.r.store);
	assert_int_not_equal(router_keep(&t.r, "docker/a", slice_str("1"), told, &t), 0);
	assert_int_not_equal(router_keep(&t.r, "docker/b", slice_str(""), told, &t), 0);
	assert_int_not_equal(router_keep(&t.r, "wish/a", slice_str("3"), NULL, NULL), 0);
	assert_int_equal(t.told, 0);
	expect(&t, "", "");
	batch_flush(t.r.batch);
	assert_int_equal(t.told, 2);
	assert_int_equal(t.err, ERR_OK);
	assert_int_equal(store_commits(t.r.store), commits + 1);
	end(&t);

	begin(&t);
	expect(&t, "docker/", "docker/a=1;docker/b=;");
	expect(&t, "", "docker/a=1;docker/b=;wish/a=3;");
	(void)router_keep(&t.r, "docker/a", slice_of(NULL, 0), told, &t);
	(void)router_keep(&t.r, "docker/b", slice_str("x"), told, &t);
	(void)router_keep(&t.r, "docker/b", slice_str("y"), told, &t);
	batch_flush(t.r.batch);
	expect(&t, "docker/", "docker/b=y;");
	end(&t);
	dir_remove(&t.dir);
}

static void refused(void **state)
{
	struct t t = { 0 };
	char key[ROUTER_KEEP_KEY_MAX + 2];

	(void)state;
	dir_make(&t.dir);
	begin(&t);
	memset(key, 'k', sizeof(key));
	key[sizeof(key) - 1] = '\0';
	assert_int_equal(router_keep(&t.r, key, slice_str("v"), told, &t), 0);
	assert_int_equal(t.err, ERR_LIMIT);
	key[ROUTER_KEEP_KEY_MAX] = '\0';
	assert_int_not_equal(router_keep(&t.r, key, slice_str("v"), told, &t), 0); /* the longest that fits does fit */
	batch_flush(t.r.batch);
	assert_int_equal(t.err, ERR_OK);
	t.r.stopping = true;
	assert_int_equal(router_keep(&t.r, "a", slice_str("v"), told, &t), 0);
	assert_int_equal(t.err, ERR_CLOSED);
	assert_int_equal(t.told, 3);
	end(&t);
	dir_remove(&t.dir);
}

/* Whatever allocation fails: an answer, no record, nothing left behind. */
static void without_memory(void **state)
{
	struct t t = { 0 };
	bool made = false;

	(void)state;
	dir_make(&t.dir);
	begin(&t);
	for (size_t n = 1; !made; n++) {
		t.told = 0;
		mem_fail_at(n, true);
		made = router_keep(&t.r, "docker/a", slice_str("1"), told, &t) != 0;
		mem_fail_at(0, false);
		batch_flush(t.r.batch);
		assert_int_equal(t.told, 1);
		assert_int_equal(t.err, made ? ERR_OK : ERR_NOMEM);
		expect(&t, "", made ? "docker/a=1;" : "");
	}
	end(&t);
	dir_remove(&t.dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(durable_together),
		cmocka_unit_test(refused),
		cmocka_unit_test(without_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
