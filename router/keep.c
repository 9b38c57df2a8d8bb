/* Records of the daemon's own: what parts of it have to know again after a restart and no other host needs. They go through the batch as the
 * core's records do, so that what is done in one turn of the loop is one commit, and whoever asked is told when it is durable. */
#include <string.h>

#include "base/mem.h"
#include "router/internal.h"

static uint64_t refuse(router_done done, void *ctx, enum err err, const char *text)
{
	struct router_result res = { .err = err, .text = text };

	if (done != NULL)
		done(ctx, &res);
	return 0;
}

/* The key with what all of them begin with, or nothing. */
static struct slice full_key(struct arena *arena, const char *key)
{
	size_t n = strlen(ROUTER_KEEP), len = strlen(key);
	uint8_t *copy = arena_alloc(arena, n + len);

	if (copy == NULL)
		return slice_of(NULL, 0);
	memcpy(copy, ROUTER_KEEP, n);
	memcpy(copy + n, key, len);
	return slice_of(copy, n + len);
}

/* A step that the core has no part in: the record, then the answer. */
static bool make_step(struct core_actions *acts, const char *key, struct slice value, uint64_t number)
{
	struct core_action *v = arena_alloc(acts->arena, 2 * sizeof(*v));
	struct slice at = full_key(acts->arena, key);
	const uint8_t *copy =
		value.p == NULL ? NULL : arena_dup(acts->arena, value.n > 0 ? value.p : at.p, value.n > 0 ? value.n : 1);

	if (v == NULL || at.p == NULL || (value.p != NULL && copy == NULL))
		return false;
	v[0] = (struct core_action){ .kind = CORE_PERSIST, .u.persist = { at, slice_of(copy, value.n) } };
	v[1] = (struct core_action){ .kind = CORE_REPLY, .u.reply = { .request = number } };
	acts->v = v;
	acts->n = acts->cap = 2;
	return true;
}

uint64_t router_keep(struct router *r, const char *key, struct slice value, router_done done, void *ctx)
{
	struct core_actions acts;
	uint64_t number = r->next_request++;

	if (r->stopping || r->fatal[0] != '\0')
		return refuse(done, ctx, ERR_CLOSED, "the daemon is stopping");
	if (strlen(key) > ROUTER_KEEP_KEY_MAX || value.n > ROUTER_KEEP_VALUE_MAX)
		return refuse(done, ctx, ERR_LIMIT, "what is to be kept is too long");
	struct request *q = mem_zalloc(1, sizeof(*q));
	if (q == NULL || map_put64(r->requests, number, q, NULL) != ERR_OK) {
		mem_free(q);
		return refuse(done, ctx, ERR_NOMEM, "out of memory");
	}
	*q = (struct request){ .number = number, .done = done, .ctx = ctx, .answered = true };
	if (batch_begin(r->batch, &acts) != ERR_OK || !make_step(&acts, key, value, number)) {
		mem_free(map_del64(r->requests, number));
		return refuse(done, ctx, ERR_NOMEM, "out of memory");
	}
	batch_add(r->batch, &acts);
	return map_get64(r->requests, number) != NULL ? number : 0;
}

struct each {
	store_each_fn fn;
	void *ctx;
};

static enum err without_prefix(void *ctx, struct slice key, struct slice value)
{
	const struct each *x = ctx;
	size_t n = strlen(ROUTER_KEEP);

	return x->fn(x->ctx, slice_of(key.p + n, key.n - n), value);
}

enum err router_kept(const struct router *r, const char *prefix, store_each_fn fn, void *ctx, struct err_note *note)
{
	char full[sizeof(ROUTER_KEEP) + ROUTER_KEEP_KEY_MAX];
	struct each x = { fn, ctx };
	size_t n = strlen(prefix);

	if (n > ROUTER_KEEP_KEY_MAX)
		return err_note(note, ERR_LIMIT, "no key is that long");
	memcpy(full, ROUTER_KEEP, sizeof(ROUTER_KEEP) - 1);
	memcpy(full + sizeof(ROUTER_KEEP) - 1, prefix, n + 1);
	return store_each(r->store, full, without_prefix, &x, note);
}
