/* The seed of a randomised test: WEFT_SEED, or the time. Always printed, so that a failure can be had again. */
#ifndef WEFT_TESTS_UNIT_BASE_SEED_H
#define WEFT_TESTS_UNIT_BASE_SEED_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static inline uint64_t test_seed(const char *test)
{
	const char *given = getenv("WEFT_SEED");
	struct timespec now;
	timespec_get(&now, TIME_UTC);
	uint64_t seed = given ? strtoull(given, NULL, 0) : (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
	printf("%s: WEFT_SEED=%llu\n", test, (unsigned long long)seed);
	return seed;
}

#endif
