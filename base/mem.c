/* The only state of the pure layers that outlives a call is here: two words a thread for the tests' failing allocator and one
 * counter of live blocks. They are thread-local, so that a test which starves one thread leaves the others alone, and they
 * influence nothing unless a test asks for it (mem_fail_at). */
#include "base/mem.h"

#include <assert.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static _Thread_local size_t fail_in; /* allocations until the one that fails, 0 = never */
static _Thread_local bool fail_sticky;
static _Thread_local long live;

void mem_fail_at(size_t n, bool sticky)
{
	fail_in = n;
	fail_sticky = sticky;
}

long mem_live(void)
{
	return live;
}

static bool must_fail(void)
{
	if (fail_in == 0)
		return false;
	if (--fail_in > 0)
		return false;
	if (fail_sticky)
		fail_in = 1;
	return true;
}

void *mem_alloc(size_t n)
{
	if (must_fail())
		return NULL;
	void *p = malloc(n ? n : 1);
	if (p)
		live++;
	return p;
}

void *mem_zalloc(size_t count, size_t size)
{
	/* calloc would refuse it as well, but AddressSanitizer's ends the program. */
	if (must_fail() || (size && count > SIZE_MAX / size))
		return NULL;
	void *p = count && size ? calloc(count, size) : calloc(1, 1);
	if (p)
		live++;
	return p;
}

void *mem_realloc(void *p, size_t n)
{
	if (must_fail())
		return NULL;
	void *q = realloc(p, n ? n : 1);
	if (q && !p)
		live++;
	return q;
}

void *mem_dup(const void *p, size_t n)
{
	void *q = mem_alloc(n);
	if (q && n)
		memcpy(q, p, n);
	return q;
}

char *mem_strdup(const char *s)
{
	return mem_dup(s, strlen(s) + 1);
}

void mem_free(void *p)
{
	if (!p)
		return;
	live--;
	free(p);
}

bool mem_grow(void **items, size_t *cap, size_t need, size_t size)
{
	assert(size > 0);
	if (need <= *cap)
		return true;
	size_t n = *cap ? *cap : 8;
	while (n < need) {
		if (n > SIZE_MAX / 2)
			return false;
		n *= 2;
	}
	if (n > PTRDIFF_MAX / size)
		return false; /* no object is that large */
	/* The caller's pointer is of its own type: copied as bytes, or the compiler may assume that it did not change. */
	void *p;
	memcpy(&p, items, sizeof p);
	p = mem_realloc(p, n * size);
	if (!p)
		return false;
	memcpy(items, &p, sizeof p);
	*cap = n;
	return true;
}

/* Arena: a list of blocks; the first is the one being cut up. What is too big for a block gets one of its own, which goes
 * second, so that the rest of the first stays of use. Under AddressSanitizer the bytes that are not given out are poisoned: using
 * a step's results after the reset, or past their end, is caught as it is for malloc. */
#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ARENA_POISONED 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define ARENA_POISONED 1
#endif

#if defined(ARENA_POISONED)
#include <sanitizer/asan_interface.h>
#define arena_hide(p, n)   __asan_poison_memory_region((p), (n))
#define arena_unhide(p, n) __asan_unpoison_memory_region((p), (n))
#else
#define arena_hide(p, n)   ((void)(p), (void)(n))
#define arena_unhide(p, n) ((void)(p), (void)(n))
#endif

enum { ARENA_BLOCK = 8192, ARENA_ALIGN = 16 };

struct arena_block {
	struct arena_block *next;
	size_t cap, used;
	_Alignas(ARENA_ALIGN) uint8_t data[];
};

struct arena {
	struct arena_block *first;
};

struct arena *arena_new(void)
{
	return mem_zalloc(1, sizeof(struct arena));
}

void arena_free(struct arena *a)
{
	if (!a)
		return;
	struct arena_block *b = a->first;
	while (b) {
		struct arena_block *next = b->next;
		mem_free(b);
		b = next;
	}
	mem_free(a);
}

void arena_reset(struct arena *a)
{
	struct arena_block *keep = NULL, *b = a->first;
	while (b) {
		struct arena_block *next = b->next;
		/* Only one of the usual size: one huge step must not hold its memory for ever. */
		if (!keep && b->cap == ARENA_BLOCK)
			keep = b;
		else
			mem_free(b);
		b = next;
	}
	if (keep) {
		keep->next = NULL;
		keep->used = 0;
		arena_hide(keep->data, keep->cap);
	}
	a->first = keep;
}

static struct arena_block *arena_block_new(struct arena *a, size_t n)
{
	size_t cap = n > ARENA_BLOCK ? n : ARENA_BLOCK;
	if (cap > SIZE_MAX - sizeof(struct arena_block))
		return NULL;
	struct arena_block *b = mem_alloc(sizeof(struct arena_block) + cap);
	if (!b)
		return NULL;
	b->cap = cap;
	b->used = 0;
	arena_hide(b->data, cap);
	if (a->first && cap > ARENA_BLOCK) {
		b->next = a->first->next;
		a->first->next = b;
	} else {
		b->next = a->first;
		a->first = b;
	}
	return b;
}

void *arena_alloc(struct arena *a, size_t n)
{
	if (n > SIZE_MAX - ARENA_ALIGN)
		return NULL;
	/* At least one byte, so that two results are never the same address. */
	size_t size = n ? (n + ARENA_ALIGN - 1) / ARENA_ALIGN * ARENA_ALIGN : ARENA_ALIGN;
	struct arena_block *b = a->first;
	if (!b || size > b->cap - b->used) {
		b = arena_block_new(a, size);
		if (!b)
			return NULL;
	}
	void *p = b->data + b->used;
	b->used += size;
	arena_unhide(p, n);
	return p;
}

void *arena_dup(struct arena *a, const void *p, size_t n)
{
	void *q = arena_alloc(a, n);
	if (q && n)
		memcpy(q, p, n);
	return q;
}

char *arena_printf(struct arena *a, const char *fmt, ...)
{
	va_list args, again;
	va_start(args, fmt);
	va_copy(again, args);
	int n = vsnprintf(NULL, 0, fmt, args);
	va_end(args);
	char *s = n < 0 ? NULL : arena_alloc(a, (size_t)n + 1);
	if (s)
		(void)vsnprintf(s, (size_t)n + 1, fmt, again);
	va_end(again);
	return s;
}
