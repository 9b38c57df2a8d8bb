#include "ipam/ranges.h"

#include <assert.h>
#include <string.h>

#include "base/mem.h"

void ranges_free(struct ranges *s)
{
	mem_free(s->v);
	*s = (struct ranges){ 0 };
}

void ranges_clear(struct ranges *s)
{
	s->n = 0;
}

void ranges_swap(struct ranges *a, struct ranges *b)
{
	struct ranges t = *a;
	*a = *b;
	*b = t;
}

size_t ranges_find(const struct ranges *s, uint64_t addr)
{
	size_t lo = 0, hi = s->n;
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		if (s->v[mid].end > addr)
			hi = mid;
		else
			lo = mid + 1;
	}
	return lo;
}

bool ranges_has(const struct ranges *s, uint64_t addr)
{
	size_t at = ranges_find(s, addr);
	return at < s->n && s->v[at].start <= addr;
}

bool ranges_covers(const struct ranges *s, struct range4 r)
{
	size_t at = ranges_find(s, r.start);
	return at < s->n && s->v[at].start <= r.start && s->v[at].end >= r.end;
}

bool ranges_eq(const struct ranges *a, const struct ranges *b)
{
	return a->n == b->n && (a->n == 0 || memcmp(a->v, b->v, a->n * sizeof *a->v) == 0);
}

uint64_t ranges_size(const struct ranges *s)
{
	uint64_t sum = 0;
	for (size_t i = 0; i < s->n; i++)
		sum += range4_size(s->v[i]);
	return sum;
}

static bool room(struct ranges *s, size_t n)
{
	void *mem = s->v;
	bool ok = mem_grow(&mem, &s->cap, n, sizeof *s->v);
	s->v = mem;
	return ok;
}

/* Puts n ranges in the place of [from, to). The room must be there. */
static void splice(struct ranges *s, size_t from, size_t to, const struct range4 *with, size_t n)
{
	if (s->n > to)
		memmove(s->v + from + n, s->v + to, (s->n - to) * sizeof *s->v);
	for (size_t i = 0; i < n; i++)
		s->v[from + i] = with[i];
	s->n = s->n - (to - from) + n;
}

enum err ranges_add(struct ranges *s, struct range4 r)
{
	if (r.start >= r.end)
		return ERR_OK;
	if (!room(s, s->n + 1))
		return ERR_NOMEM;
	/* Neighbours that only touch are joined as well. */
	size_t from = r.start == 0 ? 0 : ranges_find(s, r.start - 1), to = from;
	while (to < s->n && s->v[to].start <= r.end) {
		if (s->v[to].start < r.start)
			r.start = s->v[to].start;
		if (s->v[to].end > r.end)
			r.end = s->v[to].end;
		to++;
	}
	splice(s, from, to, &r, 1);
	return ERR_OK;
}

enum err ranges_sub(struct ranges *s, struct range4 r)
{
	if (r.start >= r.end)
		return ERR_OK;
	if (!room(s, s->n + 1))
		return ERR_NOMEM;
	struct range4 rest[2];
	size_t n = 0, from = ranges_find(s, r.start), to = from;
	while (to < s->n && s->v[to].start < r.end) {
		/* At most the first sticks out below and the last above. */
		if (s->v[to].start < r.start) {
			assert(n == 0);
			rest[n++] = (struct range4){ s->v[to].start, r.start };
		}
		if (s->v[to].end > r.end) {
			assert(n < 2);
			rest[n++] = (struct range4){ r.end, s->v[to].end };
		}
		to++;
	}
	splice(s, from, to, rest, n);
	return ERR_OK;
}

enum err ranges_minus(struct ranges *out, const struct ranges *a, const struct ranges *b)
{
	ranges_clear(out);
	if (!room(out, a->n + b->n + 1))
		return ERR_NOMEM;
	for (size_t i = 0; i < a->n; i++) {
		uint64_t at = a->v[i].start;
		for (size_t k = ranges_find(b, at); k < b->n && b->v[k].start < a->v[i].end; k++) {
			if (b->v[k].start > at)
				out->v[out->n++] = (struct range4){ at, b->v[k].start };
			at = b->v[k].end;
		}
		if (at < a->v[i].end)
			out->v[out->n++] = (struct range4){ at, a->v[i].end };
	}
	return ERR_OK;
}
