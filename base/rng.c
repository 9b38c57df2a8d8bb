#include "base/rng.h"

#include <assert.h>
#include <string.h>

static uint64_t rotl(uint64_t x, unsigned k)
{
	return x << k | x >> (64 - k);
}

/* splitmix64: spreads a seed, however small, over the whole state; it cannot give four zeros. */
static uint64_t spread(uint64_t *state)
{
	*state += UINT64_C(0x9e3779b97f4a7c15);
	uint64_t z = *state;
	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

void rng_seed(struct rng *r, uint64_t seed)
{
	for (size_t i = 0; i < 4; i++)
		r->s[i] = spread(&seed);
}

uint64_t rng_u64(struct rng *r)
{
	uint64_t *s = r->s;
	uint64_t result = rotl(s[1] * 5, 7) * 9;
	uint64_t t = s[1] << 17;
	s[2] ^= s[0];
	s[3] ^= s[1];
	s[1] ^= s[2];
	s[0] ^= s[3];
	s[2] ^= t;
	s[3] = rotl(s[3], 45);
	return result;
}

uint64_t rng_below(struct rng *r, uint64_t n)
{
	assert(n > 0);
	/* 2^64 mod n: below it lie the values that would make small remainders more frequent. */
	uint64_t biased = (UINT64_MAX - n + 1) % n;
	uint64_t x;
	do
		x = rng_u64(r);
	while (x < biased);
	return x % n;
}

uint64_t rng_between(struct rng *r, uint64_t lo, uint64_t hi)
{
	assert(lo <= hi);
	uint64_t span = hi - lo;
	return span == UINT64_MAX ? rng_u64(r) : lo + rng_below(r, span + 1);
}

bool rng_chance(struct rng *r, uint32_t per_million)
{
	return rng_below(r, 1000000) < per_million;
}

void rng_fill(struct rng *r, void *dst, size_t n)
{
	uint8_t *p = dst;
	uint64_t x = 0;
	for (size_t i = 0; i < n; i++) {
		/* Lowest byte first, whatever the machine's order. */
		x = i % 8 ? x >> 8 : rng_u64(r);
		p[i] = (uint8_t)x;
	}
}

void rng_shuffle(struct rng *r, void *items, size_t n, size_t size)
{
	uint8_t *v = items, tmp[256];
	assert(size > 0 && size <= sizeof tmp);
	for (size_t i = n; i > 1; i--) {
		size_t j = (size_t)rng_below(r, i);
		if (j == i - 1)
			continue;
		memcpy(tmp, v + j * size, size);
		memcpy(v + j * size, v + (i - 1) * size, size);
		memcpy(v + (i - 1) * size, tmp, size);
	}
}
