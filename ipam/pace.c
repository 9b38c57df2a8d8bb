#include "ipam/pace.h"

#include <assert.h>

#include "base/mem.h"

struct paced {
	uint64_t peer, last_ms;
	struct {
		uint64_t used, eased_ms;
	} of[PACES];
};

static const struct {
	uint64_t burst, every_ms;
} limits[PACES] = {
	[PACE_RELEASE] = { 8, 5000 },
	[PACE_STATE] = { 3, 2000 },
	[PACE_STATE_ALL] = { 16, 125 },
	[PACE_OPEN] = { 64, 10000 },
	[PACE_BALLOT] = { 16, 30000 },
};

void pacer_free(struct pacer *p)
{
	mem_free(p->v);
	*p = (struct pacer){ 0 };
}

static struct paced *find(struct pacer *p, uint64_t peer)
{
	size_t oldest = 0;
	for (size_t k = 0; k < p->n; k++) {
		if (p->v[k].peer == peer)
			return &p->v[k];
		oldest = p->v[k].last_ms < p->v[oldest].last_ms ? k : oldest;
	}
	if (p->n == PACED_MAX) {
		p->v[oldest] = (struct paced){ .peer = peer };
		return &p->v[oldest];
	}
	void *v = p->v;
	bool ok = mem_grow(&v, &p->cap, p->n + 1, sizeof *p->v);
	p->v = v;
	if (!ok)
		return NULL;
	p->v[p->n] = (struct paced){ .peer = peer };
	return &p->v[p->n++];
}

static uint64_t used(const struct paced *x, enum pace what, uint64_t now_ms)
{
	uint64_t eased = (now_ms - x->of[what].eased_ms) / limits[what].every_ms;
	return eased >= x->of[what].used ? 0 : x->of[what].used - eased;
}

bool pace_take(struct pacer *p, enum pace what, uint64_t peer, uint64_t now_ms)
{
	assert(what < PACES);
	struct paced *x = find(p, peer);
	if (!x)
		return false;
	x->last_ms = now_ms;
	uint64_t had = used(x, what, now_ms);
	if (had >= limits[what].burst)
		return false;
	/* What is left of the time that eases it goes on counting. */
	x->of[what].eased_ms = had == 0 ? now_ms : now_ms - (now_ms - x->of[what].eased_ms) % limits[what].every_ms;
	x->of[what].used = had + 1;
	return true;
}

size_t pace_spent(const struct pacer *p, enum pace what, uint64_t now_ms, uint64_t *out, size_t max)
{
	size_t n = 0;
	for (size_t k = 0; k < p->n && n < max; k++)
		if (used(&p->v[k], what, now_ms) >= limits[what].burst)
			out[n++] = p->v[k].peer;
	return n;
}

void pace_clear(struct pacer *p, enum pace what)
{
	for (size_t k = 0; k < p->n; k++)
		p->v[k].of[what].used = 0;
}
