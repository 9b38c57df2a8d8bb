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

/* The biggest CIDR-aligned block in the gap, the last of equals. */
static struct range4 aligned(struct range4 gap)
{
	uint64_t size = 1;
	assert(gap.start < gap.end);
	while (size * 2 <= range4_size(gap))
		size *= 2;
	for (; size > 1; size /= 2) {
		uint64_t start = gap.end / size * size;
		if (start >= gap.start + size)
			return (struct range4){ start - size, start };
	}
	return (struct range4){ gap.end - 1, gap.end };
}

static void better_block(struct range4 gap, struct range4 r, struct range4 *best)
{
	if (gap.start >= gap.end)
		return;
	struct range4 block = aligned(gap);
	if (range4_size(block) == 1 && range4_size(r) > 1) {
		/* One address, and perhaps not one that can be given: then its neighbour in the gap, if any, is. */
		if (block.start == r.start || block.end == r.end) {
			if (range4_size(gap) == 1)
				return;
			block =
				block.start == gap.start ? (struct range4){ gap.end - 1, gap.end } : (struct range4){ gap.start, gap.start + 1 };
			if (block.start == r.start || block.end == r.end)
				return;
		}
	}
	if (range4_size(block) >= range4_size(*best))
		*best = block;
}

bool space_block(const struct space *s, struct range4 r, struct range4 *block)
{
	struct range4 best = { 0, 0 };
	for (size_t i = ranges_find(&s->mine, r.start); i < s->mine.n && s->mine.v[i].start < r.end; i++) {
		struct range4 part = range4_and(s->mine.v[i], r);
		uint64_t at = part.start;
		for (size_t k = used_find(s, part.start); k < s->n_used && s->used[k] < part.end; k++) {
			better_block((struct range4){ at, s->used[k] }, r, &best);
			at = (uint64_t)s->used[k] + 1;
		}
		better_block((struct range4){ at, part.end }, r, &best);
	}
	uint64_t size = range4_size(best);
	if (size == 0)
		return false;
	if (size > 1 && size * 2 > space_free_in(s, r))
		best.start += size / 2;
	/* The upper half of two may be the one that nobody can use. */
	if (range4_size(best) == 1 && best.end == r.end && range4_size(r) > 1)
		best = (struct range4){ best.start - 1, best.end - 1 };
	*block = best;
	return true;
}
