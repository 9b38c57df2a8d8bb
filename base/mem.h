/* All heap memory of weft comes from here, so that a test can make the n-th allocation fail (tests/unit). */
#ifndef WEFT_BASE_MEM_H
#define WEFT_BASE_MEM_H

#include <stdbool.h>
#include <stddef.h>

/* NULL when memory is out. Owner frees with mem_free. mem_zalloc zeroes; n*size is checked for overflow. */
void *mem_alloc(size_t n) __attribute__((malloc));
void *mem_zalloc(size_t count, size_t size) __attribute__((malloc));
/* As realloc: on failure gives NULL and leaves p as it was. */
void *mem_realloc(void *p, size_t n);
void *mem_dup(const void *p, size_t n);
char *mem_strdup(const char *s);
void mem_free(void *p); /* takes NULL */

/* Grows *items (elements of `size` bytes, *cap of them) so that `need` fit; doubles. false: out of memory, nothing changed. */
bool mem_grow(void **items, size_t *cap, size_t need, size_t size);

/* For tests, per thread: fail the n-th allocation from now (1 = the next) and every one after it when `sticky`; 0 = never.
 * mem_live is the number of blocks now allocated by this thread minus those it freed. */
void mem_fail_at(size_t n, bool sticky);
long mem_live(void);

/* Bump allocator of one step's results: all of it is freed at once. */
struct arena;
struct arena *arena_new(void);                /* NULL: out of memory */
void arena_free(struct arena *a);             /* takes NULL */
void arena_reset(struct arena *a);            /* keeps one block */
void *arena_alloc(struct arena *a, size_t n); /* aligned to 16; NULL: out of memory */
void *arena_dup(struct arena *a, const void *p, size_t n);
char *arena_printf(struct arena *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
