/* Token bucket. Time is the caller's, in milliseconds, and never goes back. */
#ifndef WEFT_BASE_BUCKET_H
#define WEFT_BASE_BUCKET_H

#include <stdbool.h>
#include <stdint.h>

struct bucket {
	uint64_t micro_tokens, burst, per_second, last_ms, refused;
};
void bucket_init(struct bucket *b, uint64_t burst, uint64_t per_second, uint64_t now_ms);
bool bucket_take(struct bucket *b, uint64_t now_ms); /* false: counted in b->refused */

#endif
