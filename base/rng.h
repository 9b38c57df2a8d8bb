/* Seeded random numbers for choices (xoshiro256**): never for keys. Same seed, same sequence, on every machine. */
#ifndef WEFT_BASE_RNG_H
#define WEFT_BASE_RNG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct rng {
	uint64_t s[4];
};
void rng_seed(struct rng *r, uint64_t seed);
uint64_t rng_u64(struct rng *r);
uint64_t rng_below(struct rng *r, uint64_t n);                 /* 0 … n-1, unbiased; n > 0 */
uint64_t rng_between(struct rng *r, uint64_t lo, uint64_t hi); /* both included */
bool rng_chance(struct rng *r, uint32_t per_million);
void rng_fill(struct rng *r, void *dst, size_t n);
void rng_shuffle(struct rng *r, void *items, size_t n, size_t size); /* size at most 256 */

#endif
