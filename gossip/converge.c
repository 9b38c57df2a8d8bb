/* How long it takes until our neighbours have what we changed (in a mesh of up to 32 peers: until all have it).
 *
 * Now and then one of our own changes is followed: on each link a PING goes behind it, and since a link is a stream that is read in order, the answer
 * says that the change has arrived and was taken. A link that ends counts no more. */
#include "gossip/internal.h"

static const uint32_t edges_ms[GOSSIP_CONVERGENCE_EDGES] = { 1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000 };

uint32_t gossip_convergence_edge_ms(size_t i)
{
	return edges_ms[i];
}

void gossip_converge_begin(struct gossip *g)
{
	if (g->following_ms != 0 || (g->followed_ms != 0 && g->now < g->followed_ms + CONVERGE_EVERY_MS))
		return;
	for (size_t i = 0; i < g->n_links; i++)
		if (g->links[i]->stage == STAGE_ESTABLISHED) {
			g->links[i]->followed = true;
			g->following_ms = g->now;
		}
}

void gossip_converge_flushed(struct gossip *g, struct link *l)
{
	if (l->followed && l->following_id == 0 && !l->waiting)
		l->following_id = gossip_link_ping(g, l);
}

void gossip_converge_done(struct gossip *g, struct link *l)
{
	bool was = l->followed;
	size_t i = 0;
	l->followed = false;
	l->following_id = 0;
	if (!was || g->following_ms == 0)
		return;
	for (size_t k = 0; k < g->n_links; k++)
		if (g->links[k]->followed)
			return;
	uint64_t took = g->now - g->following_ms;
	g->following_ms = 0;
	g->followed_ms = g->now;
	while (i < GOSSIP_CONVERGENCE_EDGES && took > edges_ms[i])
		i++;
	g->counters.convergence[i]++;
	g->counters.convergence_ms += took;
}
