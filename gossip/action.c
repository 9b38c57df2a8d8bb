#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "gossip/internal.h"

void gossip_actions_init(struct gossip_actions *a, struct arena *arena)
{
	*a = (struct gossip_actions){ .arena = arena };
}

/* Growing copies inside the arena: a step has few actions, and the arena is reset after it. */
bool gossip_act_reserve(struct gossip *g, size_t n)
{
	struct gossip_actions *a = g->out;
	if (a->n + n <= a->cap)
		return true;
	size_t cap = a->cap ? a->cap * 2 : 8;
	while (cap < a->n + n)
		cap *= 2;
	struct gossip_action *v = arena_alloc(a->arena, cap * sizeof *v);
	if (!v) {
		g->nomem = true;
		return false;
	}
	if (a->n > 0)
		memcpy(v, a->v, a->n * sizeof *v);
	a->v = v;
	a->cap = cap;
	return true;
}

struct gossip_action *gossip_act(struct gossip *g, enum gossip_action_kind kind)
{
	if (!gossip_act_reserve(g, 1))
		return NULL;
	struct gossip_action *v = &g->out->v[g->out->n++];
	memset(v, 0, sizeof *v);
	v->kind = kind;
	return v;
}

static void note(struct gossip *g, enum note_level level, bool stranger, const char *fmt, va_list ap) PRINTF_LIKE(4, 0);
static void note(struct gossip *g, enum note_level level, bool stranger, const char *fmt, va_list ap)
{
	char text[512];
	if (vsnprintf(text, sizeof text, fmt, ap) < 0)
		return;
	char *copy = arena_dup(g->out->arena, text, strlen(text) + 1);
	struct gossip_action *a = copy ? gossip_act(g, GOSSIP_NOTE) : NULL;
	if (!a)
		return; /* a line of log is not worth more */
	a->u.note.level = level;
	a->u.note.stranger = stranger;
	a->u.note.text = copy;
}

void gossip_act_note(struct gossip *g, enum note_level level, bool stranger, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	note(g, level, stranger, fmt, ap);
	va_end(ap);
}

/* Was this line about this subject said a short while ago? If not, it is remembered in place of the oldest. */
static bool repeated(struct gossip *g, const char *fmt, uint64_t subject)
{
	struct said *oldest = &g->said[0];
	for (size_t i = 0; i < SAID_MAX; i++) {
		struct said *s = &g->said[i];
		if (s->fmt == fmt && s->subject == subject && g->now < s->at_ms + SAID_MS)
			return true;
		if (s->at_ms < oldest->at_ms)
			oldest = s;
	}
	*oldest = (struct said){ fmt, subject, g->now };
	return false;
}

void gossip_act_note_about(struct gossip *g, uint64_t subject, enum note_level level, bool stranger, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	note(g, repeated(g, fmt, subject) ? NOTE_DEBUG : level, stranger, fmt, ap);
	va_end(ap);
}

void gossip_timer_init(struct timer *t, enum timer_kind kind)
{
	*t = (struct timer){ .kind = kind };
}

void gossip_timer_set(struct gossip *g, struct timer *t, uint64_t at_ms)
{
	if (at_ms == 0)
		at_ms = 1;
	if (t->at_ms == at_ms && t->node.at)
		return;
	t->at_ms = at_ms;
	if (heap_push(&g->timers, &t->node, at_ms) != ERR_OK) {
		g->timers_lost = true;
		g->nomem = true;
	}
}

void gossip_timer_off(struct gossip *g, struct timer *t)
{
	t->at_ms = 0;
	heap_remove(&g->timers, &t->node);
}

static bool repair(struct gossip *g, struct timer *t)
{
	return t->at_ms == 0 || t->node.at != 0 || heap_push(&g->timers, &t->node, t->at_ms) == ERR_OK;
}

/* Puts back what the heap had no memory for. */
void gossip_timers_repair(struct gossip *g)
{
	bool ok = repair(g, &g->publish_timer) && repair(g, &g->recon_timer) && repair(g, &g->recon_soon_timer) &&
		repair(g, &g->contest_timer) && repair(g, &g->grace_timer) && repair(g, &g->topology_timer) &&
		repair(g, &g->choose_timer) && repair(g, &g->tidy_timer);
	for (size_t i = 0; ok && i < g->n_links; i++)
		ok = repair(g, &g->links[i]->timer);
	for (size_t i = 0; ok && i < g->n_targets; i++)
		ok = repair(g, &g->targets[i]->dial.timer);
	for (size_t i = 0; ok && i < g->n_peers; i++)
		ok = repair(g, &g->peers[i]->dial.timer);
	g->timers_lost = !ok;
	if (!ok)
		g->nomem = true;
}
