/* One of the hosts lies (invariant 12). Its core is honest and takes part in everything, but its links carry what liar.c makes up as well: so all
 * that is asked of the others at rest is asked of the whole mesh. It has no containers, and what it believes to own is not looked at.
 *
 * Any member's operator may take over the space of a host that cannot be reached (`rmpeer`), and a newcomer believes what it hears first. So
 * it lies about tokens only while all hosts see each other and have known the whole ring for a while; hosts crash and stall all the time, but the
 * network is not cut and nobody goes for ever. */
#include <inttypes.h>
#include <string.h>

#include "base/mem.h"
#include "crdt/internal.h"
#include "tests/sim/liar.h"
#include "tests/sim/sim.h"

enum { SETTLED_US = 15000000, AWAY_US = 8000000, FLIGHT_US = 3000000, LIES_MAX = 30 };

struct hostile {
	struct liar liar;
	uint64_t seen_us[SIM_NODES_MAX]; /* when all who run could last reach it */
	uint64_t settled_us;             /* since then all hosts have known the whole ring; 0: they do not */
	struct {
		uint64_t said_us, life; /* of the victim when it was said */
	} of[LIAR_RECENT];
};

void hostile_make(struct world *w)
{
	w->hostile = sim_must(mem_zalloc(1, sizeof(*w->hostile)));
	liar_init(&w->hostile->liar, w->cfg.seed);
}

void hostile_free(struct world *w)
{
	mem_free(w->hostile);
	w->hostile = NULL;
}

bool hostile_is(const struct node *n)
{
	return n->w->hostile != NULL && n->index + 1 == n->w->cfg.nodes;
}

bool hostile_floods(const struct node *n)
{
	return hostile_is(n) && n->w->hostile->liar.floods;
}

static const struct node *named(const struct world *w, uint64_t name)
{
	for (size_t i = 0; i < w->cfg.nodes; i++)
		if (w->nodes[i].name == name)
			return &w->nodes[i];
	return NULL;
}

static bool all_see_all(const struct world *w)
{
	for (size_t i = 0; i < w->cfg.nodes; i++) {
		const struct core *c = w->nodes[i].core;
		if (c == NULL || ring_empty(core_channel(c, CHANNEL_RING), w->universe) ||
			ring_check(core_channel(c, CHANNEL_RING), w->universe, NULL) != ERR_OK)
			return false;
		for (size_t k = 0; k < w->cfg.nodes; k++)
			if (!gossip_reachable(core_gossip(c), w->nodes[k].name))
				return false;
	}
	return true;
}

static void note_seen(struct world *w)
{
	for (size_t i = 0; i < w->cfg.nodes; i++) {
		bool seen = true;
		for (size_t k = 0; k < w->cfg.nodes && seen; k++)
			seen = w->nodes[k].core == NULL || gossip_reachable(core_gossip(w->nodes[k].core), w->nodes[i].name);
		if (seen)
			w->hostile->seen_us[i] = w->now_us;
	}
}

static bool rings_known(const struct world *w)
{
	for (size_t i = 0; i < w->cfg.nodes; i++)
		if (w->nodes[i].core != NULL && ring_empty(core_channel(w->nodes[i].core, CHANNEL_RING), w->universe))
			return false;
	return true;
}

/* What its owner has given away itself meanwhile, to the very one that the lie names, is nobody's loss. */
static bool still_has(const struct world *w, const struct node *victim, const struct lie *x)
{
	struct rbuf r;

	rbuf_init(&r, x->key + 5, 4);
	return victim->core != NULL &&
		ring_owner(core_channel(victim->core, CHANNEL_RING), w->universe, rbuf_u32(&r)) == victim->name;
}

/* Nobody has taken what was said over its owner's head. Who died while it was on its way could not be reached when it came. */
static void check_lies(struct world *w)
{
	struct hostile *h = w->hostile;
	size_t n = h->liar.n_recent < LIAR_RECENT ? h->liar.n_recent : LIAR_RECENT;

	for (size_t k = 0; k < n; k++) {
		const struct lie *x = &h->liar.recent[k];
		const struct node *victim = named(w, x->victim);
		if (victim == NULL || h->of[k].said_us == 0)
			continue;
		if (w->now_us > h->seen_us[victim->index] + AWAY_US) {
			h->of[k].said_us = 0; /* its space is at anybody's command */
			continue;
		}
		if (victim->life != h->of[k].life && w->now_us < h->of[k].said_us + FLIGHT_US) {
			h->of[k].said_us = 0;
			continue;
		}
		for (size_t i = 0; i < w->cfg.nodes && still_has(w, victim, x); i++) {
			struct crdt_item it;
			const struct core *c = w->nodes[i].core;
			if (c == NULL || hostile_is(&w->nodes[i]) ||
				!crdt_map_get(core_channel(c, CHANNEL_RING), slice_of(x->key, sizeof(x->key)), &it) ||
				stamp_cmp(it.stamp, x->stamp) != 0 || !slice_eq(it.value, slice_of(x->value, sizeof(x->value))))
				continue;
			sim_fail(w, "invariant 12: node %zu took a token that was written over the head of node %zu", i, victim->index);
		}
	}
}

/* Nobody keeps more of it than anybody may have. */
static void check_quota(struct world *w, const struct node *liar)
{
	for (size_t i = 0; i < w->cfg.nodes; i++)
		for (uint8_t id = CHANNEL_PEERS; id <= CHANNEL_NETWORKS && w->nodes[i].core != NULL; id++) {
			const struct crdt_map *m = core_channel(w->nodes[i].core, id);
			if (&w->nodes[i] != liar && crdt_map_owned(m) && crdt_weight_of(m, liar->name) > CRDT_OWNER_WEIGHT_MAX)
				sim_fail(w, "invariant 12: node %zu keeps %" PRIu64 " of what node %zu has published", i,
					crdt_weight_of(m, liar->name), liar->index);
		}
}

bool hostile_acts(struct node *n)
{
	struct world *w = n->w;
	struct hostile *h = w->hostile;

	if (!hostile_is(n))
		return false;
	if (!rings_known(w))
		h->settled_us = 0;
	else if (h->settled_us == 0)
		h->settled_us = w->now_us;
	check_lies(w);
	check_quota(w, n);
	note_seen(w);
	if (!w->busy || n->core == NULL)
		return true;
	h->liar.tokens = h->settled_us != 0 && w->now_us > h->settled_us + SETTLED_US && all_see_all(w);
	for (size_t k = 1 + (size_t)rng_below(&w->rng, LIES_MAX); k > 0; k--) {
		size_t before = h->liar.n_recent;
		(void)liar_say(&h->liar, n->core);
		for (; before < h->liar.n_recent; before++) {
			const struct node *victim = named(w, h->liar.recent[before % LIAR_RECENT].victim);
			h->of[before % LIAR_RECENT].said_us = victim != NULL ? w->now_us : 0;
			h->of[before % LIAR_RECENT].life = victim != NULL ? victim->life : 0;
		}
	}
	struct core_event tick = { .kind = CORE_TICK };
	node_step(n, &tick);
	return true;
}
