/* Counted in millionths of a token: one millisecond then brings a whole number of them, and nothing is lost by rounding. */
#include "base/bucket.h"

enum { MICRO = 1000000, MICRO_PER_MS = 1000 };

void bucket_init(struct bucket *b, uint64_t burst, uint64_t per_second, uint64_t now_ms)
{
	b->burst = burst < UINT64_MAX / MICRO ? burst : UINT64_MAX / MICRO;
	b->per_second = per_second < UINT64_MAX / MICRO_PER_MS ? per_second : UINT64_MAX / MICRO_PER_MS;
	b->micro_tokens = b->burst * MICRO;
	b->last_ms = now_ms;
	b->refused = 0;
}

static void refill(struct bucket *b, uint64_t now_ms)
{
	if (now_ms <= b->last_ms)
		return;
	uint64_t elapsed_ms = now_ms - b->last_ms, per_ms = b->per_second * MICRO_PER_MS;
	uint64_t missing = b->burst * MICRO - b->micro_tokens;
	b->last_ms = now_ms;
	if (per_ms == 0)
		return;
	/* Divided, not multiplied: a long pause must not overflow. */
	if (elapsed_ms > missing / per_ms)
		b->micro_tokens += missing;
	else
		b->micro_tokens += elapsed_ms * per_ms;
}

bool bucket_take(struct bucket *b, uint64_t now_ms)
{
	refill(b, now_ms);
	if (b->micro_tokens < MICRO) {
		b->refused++;
		return false;
	}
	b->micro_tokens -= MICRO;
	return true;
}
