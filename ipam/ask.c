/* Asking other hosts for space: one search a range, whoever waits for it. In a round every owner of space in the range that can be
 * reached is asked once, one after the other; those that say they have free space come first, the more of it the likelier. Those that say
 * they have none are asked only now and then: should what they have said be out of date, gossip is about to tell. After a fruitless
 * round the next one waits for the clock, or for news that somebody has space. */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "ipam/internal.h"

static void ask_free(struct ask *a)
{
	if (a)
		mem_free(a->tried);
	mem_free(a);
}

void ask_free_all(struct ipam *i)
{
	for (size_t n = 0; n < i->n_asks; n++)
		ask_free(i->asks[n]);
	mem_free(i->asks);
	i->asks = NULL;
	i->n_asks = 0;
}

static bool is_single(const struct ask *a)
{
	return range4_size(a->r) == 1;
}

enum err ask_for(struct ipam *i, struct range4 r, struct ask **out)
{
	for (size_t n = 0; n < i->n_asks; n++) {
		if (i->asks[n]->r.start == r.start && i->asks[n]->r.end == r.end) {
			*out = i->asks[n];
			(*out)->marked = true;
			return ERR_OK;
		}
	}
	void *mem = i->asks;
	bool ok = mem_grow(&mem, &i->cap_asks, i->n_asks + 1, sizeof *i->asks);
	i->asks = mem;
	struct ask *a = ok ? mem_zalloc(1, sizeof *a) : NULL;
	if (!a)
		return ERR_NOMEM;
	a->r = r;
	a->marked = true;
	i->asks[i->n_asks++] = a;
	*out = a;
	return ERR_OK;
}

void ask_unmark(struct ipam *i)
{
	for (size_t n = 0; n < i->n_asks; n++)
		i->asks[n]->marked = false;
}

void ask_sweep(struct ipam *i)
{
	size_t kept = 0;
	for (size_t n = 0; n < i->n_asks; n++) {
		if (i->asks[n]->marked)
			i->asks[kept++] = i->asks[n];
		else
			ask_free(i->asks[n]);
	}
	i->n_asks = kept;
}

static bool tried(const struct ask *a, uint64_t peer)
{
	for (size_t n = 0; n < a->n_tried; n++)
		if (a->tried[n] == peer)
			return true;
	return false;
}

#define FULL_EVERY 4 /* rounds: then those as well that say they are full */

/* Weight for the draw: free space as published; half of what is owned when nothing was. */
static uint64_t weight(const struct ipam *i, uint64_t peer, struct range4 r, uint64_t owns)
{
	uint64_t free;
	return usage_of(i, peer, r, &free) ? free : owns / 2 + 1;
}

struct candidate {
	uint64_t peer, owns;
};

/* Owners of space in the range, each once, with how much they own there. */
static enum err candidates(const struct ipam *i, struct range4 r, struct candidate **out, size_t *n)
{
	uint64_t it = i->cfg.universe.first;
	struct ring_span s;
	struct candidate *v = NULL;
	size_t cap = 0;
	struct map *seen = map_new(1); /* peer -> 1 + its place in v */
	enum err e = seen ? ERR_OK : ERR_NOMEM;
	*n = 0;
	while (e == ERR_OK && ring_each(i->cfg.ring, i->cfg.universe, &it, &s)) {
		uint64_t part = range4_size(range4_and((struct range4){ s.start, s.end }, r));
		if (part == 0 || s.owner == i->cfg.self)
			continue;
		uintptr_t at = (uintptr_t)map_get64(seen, s.owner);
		if (at > 0) {
			v[at - 1].owns += part;
			continue;
		}
		void *mem = v;
		bool ok = mem_grow(&mem, &cap, *n + 1, sizeof *v);
		v = mem;
		if (!ok || map_put64(seen, s.owner, (void *)(uintptr_t)(*n + 1), NULL) != ERR_OK) {
			e = ERR_NOMEM;
			break;
		}
		v[(*n)++] = (struct candidate){ s.owner, part };
	}
	map_free(seen);
	if (e != ERR_OK) {
		mem_free(v);
		v = NULL;
	}
	*out = v;
	return e;
}

/* The next one to ask; PEER_NONE when all were. */
static enum err next_donor(struct ipam *i, struct ask *a, uint64_t *donor)
{
	struct candidate *v;
	size_t n, best = 0;
	uint64_t best_score = 0;
	enum err e = candidates(i, a->r, &v, &n);
	if (e != ERR_OK)
		return e;
	*donor = PEER_NONE;
	a->unreachable = 0;
	for (size_t k = 0; k < n; k++) {
		if (!i->cfg.reachable(i->cfg.ctx, v[k].peer)) {
			if (a->unreachable++ == 0)
				a->unreachable_name = v[k].peer;
			continue;
		}
		if (tried(a, v[k].peer))
			continue;
		/* Free space times a random number: any with space comes before all without. */
		uint64_t w = is_single(a) ? 1 : weight(i, v[k].peer, a->r, v[k].owns);
		if (w == 0 && a->rounds % FULL_EVERY != FULL_EVERY - 1)
			continue;
		uint64_t score = (w << 24) / 256 * rng_between(&i->rng, 1, 256) + 1;
		if (*donor == PEER_NONE || score > best_score) {
			best = k;
			best_score = score;
			*donor = v[best].peer;
		}
	}
	mem_free(v);
	return ERR_OK;
}

static enum err mark_tried(struct ask *a, uint64_t peer)
{
	void *mem = a->tried;
	bool ok = mem_grow(&mem, &a->cap_tried, a->n_tried + 1, sizeof *a->tried);
	a->tried = mem;
	if (!ok)
		return ERR_NOMEM;
	a->tried[a->n_tried++] = peer;
	a->donor = PEER_NONE;
	return ERR_OK;
}

static enum err forward(struct ipam *i, struct ask *a)
{
	enum err e = ERR_OK;
	if (a->donor != PEER_NONE) {
		bool there = i->cfg.reachable(i->cfg.ctx, a->donor);
		if (there && i->now < a->deadline_ms)
			return ERR_OK;
		line_format(a->text, sizeof a->text, there ? "no answer" : "it cannot be reached any more");
		e = mark_tried(a, a->donor);
	} else if (a->exhausted) {
		if (i->now < a->deadline_ms)
			return ERR_OK;
		a->exhausted = false;
		a->n_tried = 0;
	}
	uint64_t donor;
	if (e == ERR_OK)
		e = next_donor(i, a, &donor);
	if (e != ERR_OK)
		return e;
	if (donor == PEER_NONE) {
		uint64_t ms = (uint64_t)IPAM_RETRY_MS << (a->rounds < BACKOFF_MAX ? a->rounds : BACKOFF_MAX);
		a->rounds++;
		a->exhausted = true;
		a->deadline_ms = i->now + rng_between(&i->rng, ms / 2, ms);
		return ERR_OK;
	}
	struct ipam_message m = { .type = MSG_SPACE_REQUEST, .u = i->cfg.universe, .range = a->r, .serial = i->run };
	e = out_send(i, donor, &m);
	if (e == ERR_OK) {
		a->donor = donor;
		a->deadline_ms = i->now + IPAM_ASK_MS;
	}
	return e;
}

enum err ask_forward(struct ipam *i)
{
	enum err e = ERR_OK;
	if (i->suspended || i->stopped)
		return ERR_OK;
	for (size_t n = 0; n < i->n_asks && e == ERR_OK; n++)
		e = forward(i, i->asks[n]);
	return e;
}

static struct ask *ask_to(const struct ipam *i, uint64_t donor, struct range4 r, bool exactly)
{
	for (size_t n = 0; n < i->n_asks; n++) {
		struct ask *a = i->asks[n];
		if (a->donor != donor)
			continue;
		if (exactly ? a->r.start == r.start && a->r.end == r.end : range4_size(range4_and(a->r, r)) > 0)
			return a;
	}
	return NULL;
}

enum err ask_denied(struct ipam *i, uint64_t from, const struct ipam_message *m)
{
	struct ask *a = m->serial == i->run ? ask_to(i, from, m->range, true) : NULL;
	char ip[2 * IP_TEXT], name[WHO_TEXT];
	if (!a)
		return ERR_OK;
	switch (m->reason) {
	case DENY_IN_USE:
		line_format(a->text, sizeof a->text, "address %s is in use on %s%s%.*s", range_format(a->r, ip), ipam_who(i, from, name),
			m->text.n > 0 ? " by " : "", (int)m->text.n, m->text.n > 0 ? (const char *)m->text.p : "");
		a->refused = is_single(a);
		break;
	case DENY_FULL: line_format(a->text, sizeof a->text, "it has no space left"); break;
	case DENY_NOT_OWNER: line_format(a->text, sizeof a->text, "it says that it is not the owner"); break;
	case DENY_NOT_NOW:
	case DENY_REASONS: line_format(a->text, sizeof a->text, "it gives nothing away at present"); break;
	}
	return mark_tried(a, from);
}

enum err ask_granted(struct ipam *i, uint64_t from, const struct ipam_message *m)
{
	/* An answer to a former run may be older than the loss of our disk. */
	if (m->serial == i->run) {
		enum err e = ranges_add(&i->trusted, range4_and(m->range, universe_range(i->cfg.universe)));
		if (e != ERR_OK)
			return e;
		i->ring_dirty = true; /* gossip may have been faster, and have put it in doubt */
	}
	enum err e = own_merge(i, m);
	if (e == ERR_OK)
		e = own_sync(i);
	ranges_clear(&i->trusted);
	if (e != ERR_OK)
		return e;
	struct ask *a = ask_to(i, from, m->range, false);
	if (a) {
		/* It had space, so it may have more. */
		a->donor = PEER_NONE;
		a->rounds = 0;
		a->n_tried = 0;
	}
	return ERR_OK;
}

/* Could somebody in reach have space in the range? */
static bool hopeful(const struct ipam *i, const struct ask *a)
{
	uint64_t it = i->cfg.universe.first, free;
	struct ring_span s;
	while (ring_each(i->cfg.ring, i->cfg.universe, &it, &s)) {
		if (s.owner == i->cfg.self || range4_size(range4_and((struct range4){ s.start, s.end }, a->r)) == 0)
			continue;
		if (i->cfg.reachable(i->cfg.ctx, s.owner) && (is_single(a) || !usage_of(i, s.owner, a->r, &free) || free > 0))
			return true;
	}
	return false;
}

void ask_news(struct ipam *i, bool topology)
{
	for (size_t n = 0; n < i->n_asks; n++) {
		struct ask *a = i->asks[n];
		/* For one address free space means nothing; that its owner is there does. */
		if (!a->exhausted || (!topology && is_single(a)) || !hopeful(i, a))
			continue;
		a->exhausted = false;
		a->n_tried = 0;
	}
}

uint64_t ask_deadline_ms(const struct ipam *i)
{
	uint64_t at = UINT64_MAX;
	if (i->suspended || i->stopped)
		return at;
	for (size_t n = 0; n < i->n_asks; n++) {
		const struct ask *a = i->asks[n];
		uint64_t t = a->donor != PEER_NONE || a->exhausted ? a->deadline_ms : i->now;
		if (t < at)
			at = t;
	}
	return at;
}
