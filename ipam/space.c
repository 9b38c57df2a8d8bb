/* `used` is a sorted array, so the k-th used address of a run without holes is its first plus k: the first hole after an address is
 * found by bisection, without walking. Insertion moves memory: 40 KB for 10,000 addresses, which takes about a microsecond. */
#include "ipam/space.h"

#include <assert.h>
#include <string.h>

#include "base/mem.h"

enum err space_init(struct space *s, uint64_t seed)
{
	*s = (struct space){ 0 };
	s->by_addr = map_new(seed);
	return s->by_addr ? ERR_OK : ERR_NOMEM;
}

void space_free(struct space *s)
{
	for (size_t i = 0; i < s->n_leases; i++) {
		mem_free(s->leases[i]->ident);
		mem_free(s->leases[i]);
	}
	mem_free(s->leases);
	mem_free(s->used);
	mem_free(s->holds);
	map_free(s->by_addr);
	ranges_free(&s->mine);
	*s = (struct space){ 0 };
}

/* --- used addresses --- */

/* The first place with an address >= a. */
static size_t used_find(const struct space *s, uint64_t a)
{
	size_t lo = 0, hi = s->n_used;
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		if (s->used[mid] >= a)
			hi = mid;
		else
			lo = mid + 1;
	}
	return lo;
}

static bool used_room(struct space *s)
{
	void *mem = s->used;
	bool ok = mem_grow(&mem, &s->cap_used, s->n_used + 1, sizeof *s->used);
	s->used = mem;
	return ok;
}

/* The room must be there. */
static void used_add(struct space *s, uint32_t addr)
{
	size_t at = used_find(s, addr);
	if (at < s->n_used && s->used[at] == addr)
		return;
	if (at < s->n_used)
		memmove(s->used + at + 1, s->used + at, (s->n_used - at) * sizeof *s->used);
	s->used[at] = addr;
	s->n_used++;
}

/* Unless a lease or a hold still keeps it. */
static void used_drop(struct space *s, uint32_t addr)
{
	if (space_lease_at(s, addr) != NULL || space_holder(s, addr) != PEER_NONE)
		return;
	size_t at = used_find(s, addr);
	assert(at < s->n_used && s->used[at] == addr);
	s->n_used--;
	if (at < s->n_used)
		memmove(s->used + at, s->used + at + 1, (s->n_used - at) * sizeof *s->used);
}

/* --- leases --- */

struct lease *space_lease_at(const struct space *s, uint32_t addr)
{
	return map_get64(s->by_addr, addr);
}

static int lease_cmp(const struct lease *l, const char *ident, uint64_t addr)
{
	int c = strcmp(l->ident, ident);
	if (c != 0)
		return c;
	return l->addr < addr ? -1 : l->addr > addr;
}

static size_t lease_find(const struct space *s, const char *ident, uint64_t addr)
{
	size_t lo = 0, hi = s->n_leases;
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		if (lease_cmp(s->leases[mid], ident, addr) >= 0)
			hi = mid;
		else
			lo = mid + 1;
	}
	return lo;
}

size_t space_leases_of(const struct space *s, const char *ident, size_t *n)
{
	size_t from = lease_find(s, ident, 0);
	*n = 0;
	while (from + *n < s->n_leases && strcmp(s->leases[from + *n]->ident, ident) == 0)
		(*n)++;
	return from;
}

enum err space_lease(struct space *s, const char *ident, uint32_t addr, uint8_t len, struct lease **out)
{
	void *mem = s->leases;
	bool ok = mem_grow(&mem, &s->cap_leases, s->n_leases + 1, sizeof *s->leases);
	s->leases = mem;
	struct lease *l = ok && used_room(s) ? mem_zalloc(1, sizeof *l) : NULL;
	if (!l)
		return ERR_NOMEM;
	l->ident = mem_strdup(ident);
	l->addr = addr;
	l->len = len;
	void *old = NULL;
	if (!l->ident || map_put64(s->by_addr, addr, l, &old) != ERR_OK) {
		mem_free(l->ident);
		mem_free(l);
		return ERR_NOMEM;
	}
	assert(old == NULL);
	size_t at = lease_find(s, ident, addr);
	if (at < s->n_leases)
		memmove(s->leases + at + 1, s->leases + at, (s->n_leases - at) * sizeof(struct lease *));
	s->leases[at] = l;
	s->n_leases++;
	used_add(s, addr);
	*out = l;
	return ERR_OK;
}

void space_release(struct space *s, struct lease *l)
{
	size_t at = lease_find(s, l->ident, l->addr);
	assert(at < s->n_leases && s->leases[at] == l);
	s->n_leases--;
	if (at < s->n_leases)
		memmove(s->leases + at, s->leases + at + 1, (s->n_leases - at) * sizeof(struct lease *));
	map_del64(s->by_addr, l->addr);
	used_drop(s, l->addr);
	mem_free(l->ident);
	mem_free(l);
}

/* --- holds --- */

static size_t hold_find(const struct space *s, uint32_t addr, uint64_t peer)
{
	size_t lo = 0, hi = s->n_holds;
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		const struct hold *h = &s->holds[mid];
		if (h->addr > addr || (h->addr == addr && h->peer >= peer))
			hi = mid;
		else
			lo = mid + 1;
	}
	return lo;
}

uint64_t space_holder(const struct space *s, uint32_t addr)
{
	size_t at = hold_find(s, addr, 0);
	return at < s->n_holds && s->holds[at].addr == addr ? s->holds[at].peer : PEER_NONE;
}

enum err space_hold(struct space *s, uint32_t addr, uint64_t peer)
{
	size_t at = hold_find(s, addr, peer);
	if (at < s->n_holds && s->holds[at].addr == addr && s->holds[at].peer == peer)
		return ERR_OK;
	void *mem = s->holds;
	bool ok = mem_grow(&mem, &s->cap_holds, s->n_holds + 1, sizeof *s->holds);
	s->holds = mem;
	if (!ok || !used_room(s))
		return ERR_NOMEM;
	if (at < s->n_holds)
		memmove(s->holds + at + 1, s->holds + at, (s->n_holds - at) * sizeof *s->holds);
	s->holds[at] = (struct hold){ addr, peer };
	s->n_holds++;
	used_add(s, addr);
	return ERR_OK;
}

static void hold_remove(struct space *s, size_t at)
{
	uint32_t addr = s->holds[at].addr;
	s->n_holds--;
	if (at < s->n_holds)
		memmove(s->holds + at, s->holds + at + 1, (s->n_holds - at) * sizeof *s->holds);
	used_drop(s, addr);
}

void space_unhold(struct space *s, uint32_t addr, uint64_t peer)
{
	size_t at = hold_find(s, addr, peer);
	if (at < s->n_holds && s->holds[at].addr == addr && s->holds[at].peer == peer)
		hold_remove(s, at);
}

void space_unhold_all(struct space *s, uint64_t peer)
{
	for (size_t i = s->n_holds; i > 0; i--)
		if (s->holds[i - 1].peer == peer)
			hold_remove(s, i - 1);
}

void space_unhold_every(struct space *s)
{
	while (s->n_holds > 0)
		hold_remove(s, s->n_holds - 1);
}

/* --- free space --- */

uint64_t space_free_in(const struct space *s, struct range4 r)
{
	uint64_t sum = 0;
	for (size_t i = ranges_find(&s->mine, r.start); i < s->mine.n && s->mine.v[i].start < r.end; i++) {
		struct range4 part = range4_and(s->mine.v[i], r);
		sum += range4_size(part) - (used_find(s, part.end) - used_find(s, part.start));
	}
	return sum;
}

/* The first address of r that is not used; r.end when there is none. */
static uint64_t first_hole(const struct space *s, struct range4 r)
{
	size_t from = used_find(s, r.start), lo = from, hi = s->n_used;
	/* Find the first place k where used[k] is not r.start + (k - from). */
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		if (s->used[mid] - r.start > mid - from)
			hi = mid;
		else
			lo = mid + 1;
	}
	uint64_t hole = r.start + (lo - from);
	return hole < r.end ? hole : r.end;
}

uint64_t space_unused_in(const struct space *s, struct range4 r)
{
	return r.start < r.end ? range4_size(r) - (used_find(s, r.end) - used_find(s, r.start)) : 0;
}

bool space_gap(const struct space *s, struct range4 r, struct range4 *gap)
{
	if (r.start >= r.end)
		return false;
	gap->start = first_hole(s, r);
	if (gap->start >= r.end)
		return false;
	size_t next = used_find(s, gap->start);
	gap->end = next < s->n_used && s->used[next] < r.end ? s->used[next] : r.end;
	return true;
}

bool space_lowest(const struct space *s, struct range4 r, uint32_t *addr)
{
	for (size_t i = ranges_find(&s->mine, r.start); i < s->mine.n && s->mine.v[i].start < r.end; i++) {
		struct range4 part = range4_and(s->mine.v[i], r);
		uint64_t hole = first_hole(s, part);
		if (hole < part.end) {
			*addr = (uint32_t)hole;
			return true;
		}
	}
	return false;
}

/* --- giving --- */

struct gift {
	struct range4 r;
	const uint64_t *cuts;
	size_t n_cuts;
	uint64_t half, grain;
	bool little; /* so little is free that what there is need not be divided */
	struct range4 best;
	uint64_t worth;
};

/* The first cut above the address. */
static size_t cut_above(const struct gift *g, uint64_t at)
{
	size_t lo = 0, hi = g->n_cuts;
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		if (g->cuts[mid] > at)
			hi = mid;
		else
			lo = mid + 1;
	}
	return lo;
}

static bool is_cut(const struct gift *g, uint64_t at)
{
	size_t k = cut_above(g, at);
	return k > 0 && g->cuts[k - 1] == at;
}

/* What a cut there is worth: one that exists, one on the grid, any other. */
static uint64_t cut_worth(const struct gift *g, uint64_t at)
{
	return is_cut(g, at) ? 64 : at % g->grain == 0 ? 16 : 1;
}

static void consider(struct gift *g, uint64_t start, uint64_t end)
{
	if (start >= end)
		return;
	uint64_t size = end - start, worth = size * cut_worth(g, start) * cut_worth(g, end);
	if (range4_size(g->r) > 1 && size <= (uint64_t)(start == g->r.start) + (uint64_t)(end == g->r.end))
		return;
	if (worth > g->worth || (worth == g->worth && start > g->best.start)) {
		g->worth = worth;
		g->best = (struct range4){ start, end };
	}
}

/* The biggest CIDR-aligned block of at most max addresses, the last of equals. */
static struct range4 aligned(struct range4 gap, uint64_t max)
{
	uint64_t size = 1;
	assert(gap.start < gap.end);
	while (size * 2 <= range4_size(gap) && size * 2 <= max)
		size *= 2;
	for (; size > 1; size /= 2) {
		uint64_t start = gap.end / size * size;
		if (start >= gap.start + size)
			return (struct range4){ start - size, start };
	}
	return (struct range4){ gap.end - 1, gap.end };
}

/* Parts of one token, free from start to end. */
static void consider_parts(struct gift *g, uint64_t start, uint64_t end)
{
	uint64_t size = 1, grain = g->grain, low = (start + grain - 1) / grain * grain, high = end / grain * grain;
	if (end - start <= g->half || (g->little && end - start <= grain))
		consider(g, start, end);
	if (low < high) { /* on the grid, or up to one end of the token */
		uint64_t most = grain;
		while (most * 2 <= high - low && most * 2 <= g->half)
			most *= 2;
		if (most <= g->half) {
			consider(g, high - most, high);
			consider(g, low, low + most);
		}
		if (end - (high - most) <= g->half)
			consider(g, high - most, end);
		if (low + most - start <= g->half)
			consider(g, start, low + most);
	}
	while (size * 2 <= end - start && size * 2 <= g->half)
		size *= 2;
	struct range4 block = aligned((struct range4){ start, end }, g->half);
	consider(g, block.start, block.end);
	consider(g, end - size, end);
	if (is_cut(g, start))
		consider(g, start, start + size);
	/* One address may be one that nobody can use, and its neighbour not. */
	if (size == 1 && end - start > 1) {
		consider(g, start, start + 1);
		consider(g, end - 2, end - 1);
	}
}

static void consider_gap(struct gift *g, struct range4 gap)
{
	uint64_t low = gap.start; /* of the whole tokens up to `at` that are half of all at most */
	for (uint64_t at = gap.start, next; at < gap.end; at = next) {
		size_t k = cut_above(g, at);
		next = k < g->n_cuts && g->cuts[k] < gap.end ? g->cuts[k] : gap.end;
		consider_parts(g, at, next);
		while (low < at && next - low > g->half)
			low = g->cuts[cut_above(g, low)];
		if (low < at)
			consider(g, low, next);
		if (low == gap.start && low < at && !is_cut(g, low))
			consider(g, g->cuts[cut_above(g, low)], next);
	}
}

bool space_block(
	const struct space *s, struct range4 r, const uint64_t *cuts, size_t n_cuts, uint64_t grain, struct range4 *block)
{
	uint64_t free = space_free_in(s, r);
	struct gift g = {
		.r = r, .cuts = cuts, .n_cuts = n_cuts, .half = (free + 1) / 2, .grain = grain, .little = free <= 2 * grain
	};
	for (size_t i = ranges_find(&s->mine, r.start); i < s->mine.n && s->mine.v[i].start < r.end; i++) {
		struct range4 part = range4_and(s->mine.v[i], r);
		uint64_t at = part.start;
		for (size_t k = used_find(s, part.start); k < s->n_used && s->used[k] < part.end; k++) {
			consider_gap(&g, (struct range4){ at, s->used[k] });
			at = (uint64_t)s->used[k] + 1;
		}
		consider_gap(&g, (struct range4){ at, part.end });
	}
	*block = g.best;
	return g.worth > 0;
}
