/* How often one peer may make us do what is dear: a few times at once, then once in so long. Plain. */
#ifndef WEFT_IPAM_PACE_H
#define WEFT_IPAM_PACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum pace {
	PACE_RELEASE,   /* declare anew, so that it can have what was spare */
	PACE_STATE,     /* send the epoch as a whole; */
	PACE_STATE_ALL, /* … to all together (PEER_NONE) */
	PACE_OPEN,      /* promise a ballot by which an instance begins, so that nothing is acknowledged any more; */
	PACE_BALLOT,    /* … or a higher one in the same instance */
	PACES
};

#define PACED_MAX 256 /* peers; whoever was heard least lately makes room */

struct paced;
struct pacer {
	struct paced *v;
	size_t n, cap;
};
void pacer_free(struct pacer *p);
bool pace_take(struct pacer *p, enum pace what, uint64_t peer, uint64_t now_ms); /* false: not now */
/* Those who may not any more, for now; at most `max`. */
size_t pace_spent(const struct pacer *p, enum pace what, uint64_t now_ms, uint64_t *out, size_t max);
void pace_clear(struct pacer *p, enum pace what);

#endif
