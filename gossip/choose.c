/* Which peers a peer wants links to: one pure function of the names, the same on every run.
 *
 * Up to CHOOSE_FULL_MESH_MAX peers: everyone. Above, about log2(N)+4 links each, of which half come in from others: the successors on a
 * ring of hashed names keep the mesh connected, some chosen by the hash of the pair keep it shallow. Both choices move little when a
 * peer comes or goes. A peer that cannot be reached now gives its place to the next. The successors are marked in a full mesh as well: they go
 * first where the number of links is limited. */
#include <assert.h>

#include "gossip/internal.h"

#define CHOOSE_MAX 32 /* of either kind */

static uint64_t mix(uint64_t x)
{
	x ^= x >> 30;
	x *= UINT64_C(0xbf58476d1ce4e5b9);
	x ^= x >> 27;
	x *= UINT64_C(0x94d049bb133111eb);
	return x ^ (x >> 31);
}

struct ranked {
	uint64_t rank;
	size_t at;
};

/* Keeps the k lowest of what is offered, in order. */
static void offer(struct ranked *v, size_t *n, size_t k, struct ranked r)
{
	if (*n == k && v[k - 1].rank <= r.rank)
		return;
	size_t i = *n < k ? (*n)++ : k - 1;
	for (; i > 0 && v[i - 1].rank > r.rank; i--)
		v[i] = v[i - 1];
	v[i] = r;
}

uint64_t gossip_ring_distance(uint64_t self, uint64_t other)
{
	return mix(other) - mix(self);
}

static uint64_t rank_of(uint64_t self, uint64_t other, bool ring)
{
	return ring ? gossip_ring_distance(self, other) : mix(mix(self) + other);
}

/* Marks the k first of those that are usable and not yet wanted. */
static void take(uint64_t self, struct choice *v, size_t n, size_t k, bool ring)
{
	struct ranked best[CHOOSE_MAX];
	size_t found = 0;
	assert(k <= CHOOSE_MAX);
	for (size_t i = 0; i < n; i++)
		if (v[i].usable && !v[i].wanted)
			offer(best, &found, k, (struct ranked){ rank_of(self, v[i].name, ring), i });
	for (size_t i = 0; i < found; i++) {
		v[best[i].at].wanted = true;
		v[best[i].at].successor = ring;
	}
}

void gossip_choose(uint64_t self, struct choice *v, size_t n)
{
	size_t bits = 0;
	while ((n >> bits) > 1)
		bits++;
	size_t links = (bits + 5) / 2; /* each is one of two nodes': twice as many, about */
	for (size_t i = 0; i < n; i++)
		v[i].wanted = v[i].successor = false;
	if (n + 1 > CHOOSE_FULL_MESH_MAX) {
		take(self, v, n, links / 2, true);
		take(self, v, n, links - links / 2, false);
		return;
	}
	take(self, v, n, 1, true);
	for (size_t i = 0; i < n; i++)
		v[i].wanted = true;
}
