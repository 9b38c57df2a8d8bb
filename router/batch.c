/* Two sets of steps take turns: one gathers while the other takes effect. A step joins the gathering set and leaves with it as a whole, so that
 * at any time the steps made are, in this order: those in effect, those of the set that is being carried out, those that gather. That is also
 * the order in which they were made, and no step can be overtaken.
 *
 * A step without records still waits when there are some before it: what it sends may follow from them. Why the commit is made here and
 * not by a thread: docs/adr/0014-shared-commits.md. */
#include "router/batch.h"

#include <assert.h>

#include "base/mem.h"
#include "router/store.h"

struct set {
	struct arena *arena; /* of all actions of its steps */
	struct core_actions *v;
	size_t n, cap;
	size_t bytes; /* that the steps send */
	bool persists;
};

struct batch {
	struct batch_cfg cfg;
	struct set sets[2];
	struct set *gathering;
	bool carrying, failed, volatile_now;
};

enum err batch_new(struct batch **out, const struct batch_cfg *cfg)
{
	struct batch *b = mem_zalloc(1, sizeof(*b));

	if (b == NULL)
		return ERR_NOMEM;
	b->cfg = *cfg;
	b->gathering = &b->sets[0];
	for (int i = 0; i < 2; i++)
		b->sets[i].arena = arena_new();
	if (b->sets[0].arena == NULL || b->sets[1].arena == NULL) {
		batch_free(b);
		return ERR_NOMEM;
	}
	*out = b;
	return ERR_OK;
}

void batch_free(struct batch *b)
{
	if (b == NULL)
		return;
	for (int i = 0; i < 2; i++) {
		arena_free(b->sets[i].arena);
		mem_free(b->sets[i].v);
	}
	mem_free(b);
}

static void empty(struct set *s)
{
	arena_reset(s->arena);
	s->n = s->bytes = 0;
	s->persists = false;
}

static void fail(struct batch *b, const char *why)
{
	b->failed = true;
	b->cfg.failed(b->cfg.ctx, why);
}

/* --- on disk ---------------------------------------------------------------------------------------------------------------------- */

static enum err put_all(struct batch *b, const struct core_actions *acts, struct err_note *note)
{
	enum err err = ERR_OK;

	for (size_t i = 0; err == ERR_OK && i < acts->n; i++)
		if (acts->v[i].kind == CORE_PERSIST)
			err = store_put(b->cfg.store, acts->v[i].u.persist.key, acts->v[i].u.persist.value, note);
	return err;
}

static bool commit(struct batch *b, const struct set *s)
{
	struct err_note note = { "" };

	if (!s->persists || b->volatile_now)
		return true;
	enum err err = store_begin(b->cfg.store, &note);
	bool begun = err == ERR_OK;
	for (size_t i = 0; err == ERR_OK && i < s->n; i++)
		err = put_all(b, &s->v[i], &note);
	if (err == ERR_OK)
		err = store_commit(b->cfg.store, &note);
	else if (begun)
		store_abort(b->cfg.store);
	if (err != ERR_OK)
		fail(b, note.text);
	return err == ERR_OK;
}

/* --- in effect -------------------------------------------------------------------------------------------------------------------- */

static void take_effect(struct batch *b, const struct set *s)
{
	b->cfg.ready(b->cfg.ctx, s->v, s->n);
	for (size_t i = 0; i < s->n && !b->failed; i++) {
		const struct core_actions *acts = &s->v[i];
		for (size_t k = 0; k < acts->n; k++)
			if (acts->v[k].kind != CORE_PERSIST && acts->v[k].kind != CORE_REPLY)
				b->cfg.effect(b->cfg.ctx, &acts->v[k]);
		for (size_t k = 0; k < acts->n; k++)
			if (acts->v[k].kind == CORE_REPLY)
				b->cfg.reply(b->cfg.ctx, &acts->v[k]);
	}
}

/* all: also what has to be committed first. */
static void carry_out(struct batch *b, bool all)
{
	if (b->carrying)
		return;
	b->carrying = true;
	while (!b->failed && b->gathering->n > 0 && (all || !b->gathering->persists)) {
		struct set *s = b->gathering;
		b->gathering = s == &b->sets[0] ? &b->sets[1] : &b->sets[0];
		if (commit(b, s))
			take_effect(b, s);
		empty(s);
	}
	b->carrying = false;
}

void batch_flush(struct batch *b)
{
	carry_out(b, true);
}

void batch_store_no_more(struct batch *b)
{
	b->volatile_now = true;
}

/* --- gathering -------------------------------------------------------------------------------------------------------------------- */

enum err batch_begin(struct batch *b, struct core_actions *acts)
{
	struct set *s = b->gathering;

	if (!mem_grow((void **)&s->v, &s->cap, s->n + 1, sizeof(*s->v)))
		return ERR_NOMEM;
	core_actions_init(acts, s->arena);
	return ERR_OK;
}

void batch_add(struct batch *b, const struct core_actions *acts)
{
	struct set *s = b->gathering;

	assert(acts->arena == s->arena && s->n < s->cap); /* it was begun, and nothing took effect since */
	if (b->failed)
		return;
	s->v[s->n++] = *acts;
	for (size_t i = 0; i < acts->n; i++) {
		s->persists = s->persists || acts->v[i].kind == CORE_PERSIST;
		s->bytes += acts->v[i].kind == CORE_SEND ? acts->v[i].u.send.bytes.n : 0;
	}
	carry_out(b, s->n >= BATCH_STEPS_MAX || s->bytes >= BATCH_BYTES_MAX);
}
