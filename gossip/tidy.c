/* Which links are in excess, and who goes first where there is no room for all.
 *
 * While a mesh grows, everybody links with the first whom they hear of; later the choice (choose.c) falls on others, and what was dialled first stays.
 * Each end tells the other what their link is worth to it. A link worth nothing to both for a while is ended by one of them; not while peers come and go,
 * since the choice is still moving then, and only in a mesh well above the size in which everybody links with everybody. All that are due end together, and
 * others are told once, some seconds later: who still counts on such a link meanwhile is relayed another way by its end.
 *
 * Where the number of links is limited, one that is worth more takes the place of one that is worth less, never of one that is worth as much: so two
 * never push each other out by turns, and the ring, which keeps the mesh connected, is served first. Who is refused is told of somebody else. */
#include <assert.h>

#include "gossip/internal.h"

bool gossip_sparse(const struct gossip *g)
{
	return g->n_peers > CHOOSE_FULL_MESH_MAX;
}

bool gossip_choosy(const struct gossip *g)
{
	return gossip_sparse(g) || g->n_peers > g->conn_limit;
}

enum worth gossip_worth_of(const struct gossip *g, const struct peer *p)
{
	if (p->successor || gossip_connect_is_target(g, p))
		return WORTH_BOUND;
	return p->wanted || !g->discovery || !gossip_sparse(g) ? WORTH_WANTED : WORTH_NONE;
}

enum worth gossip_worth(const struct gossip *g, const struct link *l)
{
	const struct peer *p = gossip_peer_find(g, l->peer);
	enum worth ours = p ? gossip_worth_of(g, p) : WORTH_NONE;
	return ours > l->theirs ? ours : l->theirs;
}

static void end_surplus(struct gossip *g, struct link *l, const char *text)
{
	l->surplus = true;
	gossip_link_bye(g, l, BYE_SURPLUS, (struct hostport){ 0 }, text);
}

bool gossip_make_room(struct gossip *g, enum worth worth, bool really)
{
	struct link *least = NULL;
	enum worth lowest = worth;
	for (size_t i = 0; i < g->n_links; i++) {
		struct link *l = g->links[i];
		enum worth w = l->stage == STAGE_ESTABLISHED ? gossip_worth(g, l) : WORTH_BOUND;
		if (w < lowest) {
			least = l;
			lowest = w;
		}
	}
	if (least && really)
		end_surplus(g, least, "a link that matters more needed its place");
	return least != NULL;
}

/* Of a few by lot the one with the fewest links. */
struct hostport gossip_elsewhere(struct gossip *g, uint64_t for_peer)
{
	const struct peer *best = NULL;
	for (int i = 0; i < 3 && g->n_links > 0; i++) {
		const struct link *l = g->links[rng_below(&g->rng, g->n_links)];
		const struct peer *p = l->stage == STAGE_ESTABLISHED && l->peer != for_peer ? gossip_peer_find(g, l->peer) : NULL;
		if (p && p->link && (!best || p->links.n < best->links.n))
			best = p;
	}
	return best ? gossip_link_published(best->link) : (struct hostport){ 0 };
}

void gossip_want_received(struct gossip *g, struct link *l, const struct message_want *w)
{
	(void)g;
	l->theirs = w->worth < WORTH_BOUND ? (enum worth)w->worth : WORTH_BOUND;
}

static void tell(struct gossip *g, struct link *l, enum worth worth)
{
	struct message m = { .type = MESSAGE_WANT };
	m.u.want.worth = (uint8_t)worth;
	if (gossip_link_send(g, l, &m))
		l->told = worth;
}

/* One of the two ends is enough; the other does it should the first not. */
static bool over(const struct gossip *g, const struct link *l)
{
	uint64_t wait = g->self < l->peer ? TIDY_AFTER_MS : 2 * TIDY_AFTER_MS;
	bool quiet = g->now >= g->unrest_ms + TIDY_QUIET_MS || g->now >= l->surplus_ms + TIDY_ANYWAY_MS;
	return l->surplus_ms != 0 && g->now >= l->surplus_ms + wait && quiet;
}

/* In a large mesh nobody dials all of those who are out of reach. That a cut is over is found because now and then somebody dials one of them. */
static void look_beyond(struct gossip *g)
{
	struct peer *pick = NULL;
	uint64_t seen = 0;
	for (size_t i = 0; i < g->n_peers; i++) {
		struct peer *p = g->peers[i];
		bool away = p->distance == UINT32_MAX && p->name != g->self && !p->link && p->dial.conn == 0;
		if (away && rng_below(&g->rng, ++seen) == 0)
			pick = p;
	}
	if (pick)
		gossip_connect_try(g, pick);
}

void gossip_tidy(struct gossip *g)
{
	bool large = g->n_peers > TIDY_FROM, again = gossip_choosy(g);
	for (size_t i = 0; i < g->n_links; i++) {
		struct link *l = g->links[i];
		if (l->stage != STAGE_ESTABLISHED)
			continue;
		const struct peer *p = gossip_peer_find(g, l->peer);
		assert(p);
		enum worth ours = gossip_worth_of(g, p);
		if (l->told != ours)
			tell(g, l, ours);
		if (ours != WORTH_NONE || l->theirs != WORTH_NONE)
			l->surplus_ms = 0;
		else if (l->surplus_ms == 0)
			l->surplus_ms = g->now;
		again = again || l->told == WORTH_NONE;
		if (large && over(g, l))
			end_surplus(g, l, "neither end needs it");
	}
	if (gossip_choosy(g) && g->discovery)
		look_beyond(g);
	if (again)
		gossip_timer_set(g, &g->tidy_timer, g->now + rng_between(&g->rng, TIDY_EVERY_MS - TIDY_EVERY_MS / 4, TIDY_EVERY_MS));
}
