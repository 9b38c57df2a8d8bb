/* The invariants of DESIGN section 8 that the present features allow: 1, 2, 3, 5, 6 (of networks) and 9. */
#include <string.h>

#include "base/mem.h"
#include "dns/name.h"
#include "dns/table.h"
#include "tests/sim/sim.h"

static void text_of(struct ip ip, char out[IP_TEXT])
{
	(void)ip_format(ip, out);
}

/* 1. No address is leased to two live containers. */
void check_address_given(struct node *n, struct container *c, struct ip addr)
{
	struct world *w = n->w;
	void *old = NULL;
	char text[IP_TEXT];

	text_of(addr, text);
	sim_trace(w, "node %zu gives %s to c%llu", n->index, text, (unsigned long long)c->number);
	if (map_put64(w->addresses, ip_to_v4(addr), (void *)(uintptr_t)c->number, &old) != ERR_OK)
		sim_must(NULL);
	/* 4. Who has heard no majority for the time of its lease may have been found dead, and gives out nothing new. */
	struct ipam_reclaim_view lease;
	ipam_reclaim_view(core_ipam(n->core), &lease);
	if (lease.leased && lease.left_ms == 0 && !c->had)
		sim_fail(
			w, "invariant 4: node %zu gave %s to c%llu after its lease had ended", n->index, text, (unsigned long long)c->number);
	if (old != NULL && (uint64_t)(uintptr_t)old != c->number && !w->cfg.apart)
		sim_fail(w, "invariant 1: node %zu gave %s to c%llu while c%llu uses it", n->index, text, (unsigned long long)c->number,
			(unsigned long long)(uintptr_t)old);
}

void check_address_gone(struct node *n, struct container *c)
{
	(void)map_del64(n->w->addresses, ip_to_v4(c->addr));
}

/* Whether two living nodes both say "mine" of an address, each in its own view, and gives out of it: what must never be, whatever has or has
 * not arrived. (What it has taken over from the dead and not yet asked everybody about it does not give out.) What each says is written down per address when its ring has changed, so that a change costs what it changes and not the number of nodes. */
static void claims_drop(struct node *n)
{
	uint64_t first = n->w->universe.first;

	for (size_t i = 0; i < n->n_claims; i++)
		for (uint64_t a = n->claims[i].start; a < n->claims[i].end; a++)
			if (n->w->claimed[a - first] == n->index + 1)
				n->w->claimed[a - first] = 0;
	n->n_claims = 0;
}

static bool claims_same(const struct node *n)
{
	struct range4 r;
	size_t it = 0, k = 0;

	while (ipam_next_usable(core_ipam(n->core), &it, &r)) {
		if (k == n->n_claims || r.start != n->claims[k].start || r.end != n->claims[k].end)
			return false;
		k++;
	}
	return k == n->n_claims;
}

static void claims_take(struct node *n)
{
	uint64_t first = n->w->universe.first;
	struct range4 r;

	claims_drop(n);
	for (size_t it = 0; ipam_next_usable(core_ipam(n->core), &it, &r);) {
		void *v = n->claims;
		if (!mem_grow(&v, &n->cap_claims, n->n_claims + 1, sizeof(*n->claims)))
			sim_must(NULL);
		n->claims = v;
		n->claims[n->n_claims++] = r;
		for (uint64_t a = r.start; a < r.end; a++) {
			uint16_t *who = &n->w->claimed[a - first];
			if (*who != 0 && n->w->failure[0] == '\0' && !n->w->cfg.apart) {
				char text[IP_TEXT];
				text_of(ip_v4((uint32_t)a), text);
				sim_fail(n->w, "invariant 2: nodes %zu and %u both own %s", n->index, *who - 1u, text);
			}
			*who = (uint16_t)(n->index + 1);
		}
	}
}

void check_after_death(struct node *n)
{
	claims_drop(n);
}

/* 2. No address has two owners who think so, at any step (that the ring also covers the range needs all of it to have arrived: see
 * check_at_rest); 5. no disagreement breaks a link. */
void check_after_step(struct node *n)
{
	struct world *w = n->w;

	if (hostile_is(n))
		return;
	if (gossip_counters(core_gossip(n->core))->malformed > 0 && w->hostile == NULL)
		sim_fail(w, "invariant 5: node %zu found a message of another node malformed", n->index);
	const uint64_t *refused = gossip_counters(core_gossip(n->core))->refused;
	if (w->hostile == NULL && (refused[REFUSED_PROOF] > 0 || refused[REFUSED_SIGNATURE] > 0))
		sim_fail(w, "invariant 12: node %zu refused what an honest node had signed", n->index);
	if (w->after_step != NULL)
		w->after_step(n);
	if (!claims_same(n))
		claims_take(n);
}

/* 2. Once all has arrived the ring covers the range, in every view. */
static bool rings_whole(struct world *w, bool final)
{
	for (size_t i = 0; i < w->cfg.nodes; i++) {
		if (w->nodes[i].core == NULL)
			continue;
		struct err_note note = { "" };
		if (ring_check(core_channel(w->nodes[i].core, CHANNEL_RING), w->universe, &note) != ERR_OK) {
			if (final)
				sim_fail(w, "invariant 2: ring of node %zu: %s", i, note.text);
			return false;
		}
	}
	return true;
}

/* 9. After any crash: every container that got an address still has its lease. */
void check_after_start(struct node *n)
{
	for (size_t i = 0; i < n->n_containers && !n->wiped; i++) {
		const struct container *c = &n->containers[i];
		char ident[24], text[IP_TEXT];
		if (!c->live)
			continue;
		(void)snprintf(ident, sizeof(ident), "c%llu", (unsigned long long)c->number);
		const char *holder = ipam_holder(core_ipam(n->core), ip_to_v4(c->addr));
		text_of(c->addr, text);
		if (holder == NULL || strcmp(holder, ident) != 0)
			sim_fail(n->w, "invariant 9: node %zu forgot in a crash that %s has %s", n->index, ident, text);
	}
}

static void complain(struct world *w, bool final, const char *what, size_t node)
{
	if (final)
		sim_fail(w, "invariant 3: not at rest: %s (node %zu)", what, node);
}

/* 3. After quiet: equal digests everywhere. *channel, *node: who differs in what. */
static bool digests_compare(const struct world *w, uint8_t *channel, size_t *node)
{
	struct slice all = { NULL, 0 };

	for (*channel = CHANNEL_PEERS; *channel <= CHANNEL_NETWORKS; ++*channel) {
		struct fingerprint first = { 0 };
		bool any = false;
		for (*node = 0; *node < w->cfg.nodes; ++*node) {
			if (w->nodes[*node].core == NULL || (*channel == CHANNEL_NAMES && hostile_floods(&w->nodes[*node])))
				continue;
			struct fingerprint f = crdt_map_fingerprint(core_channel(w->nodes[*node].core, *channel), all, all);
			if (!any)
				first = f;
			else if (!fingerprint_eq(first, f))
				return false;
			any = true;
		}
	}
	return true;
}

bool check_digests_equal(const struct world *w)
{
	uint8_t channel;
	size_t node;

	return digests_compare(w, &channel, &node);
}

static bool digests_equal(struct world *w, bool final)
{
	uint8_t channel;
	size_t node;
	char what[64];

	if (digests_compare(w, &channel, &node))
		return true;
	(void)snprintf(what, sizeof(what), "channel %u differs from the first node's", channel);
	complain(w, final, what, node);
	return false;
}

/* 3. Every live name resolves on every node, no dead one does. */
static bool names_right(struct world *w, bool final)
{
	for (size_t at = 0; at < w->cfg.nodes; at++) {
		if (w->nodes[at].core == NULL)
			continue;
		const struct dns_table *table = core_names(w->nodes[at].core);
		size_t live = 0;
		for (size_t i = 0; i < w->cfg.nodes; i++) {
			for (size_t k = 0; k < w->nodes[i].n_containers; k++) {
				const struct container *c = &w->nodes[i].containers[k];
				const struct ip *found[4];
				struct dns_name name;
				char fqdn[48];
				if (!c->live || w->nodes[i].core == NULL)
					continue;
				live++;
				(void)snprintf(fqdn, sizeof(fqdn), "c%llu.weft.local.", (unsigned long long)c->number);
				if (dns_name_parse(fqdn, &name) != ERR_OK)
					sim_must(NULL);
				if (dns_table_addresses(table, NULL, &name, 4, found, 4) != 1 || !ip_eq(*found[0], c->addr)) {
					complain(w, final, fqdn, at);
					return false;
				}
			}
		}
		if (dns_table_count_reachable(table) != live) {
			complain(w, final, "a dead name still resolves", at);
			return false;
		}
	}
	return true;
}

static struct node *first_alive(const struct world *w)
{
	for (size_t i = 0; i < w->cfg.nodes; i++)
		if (w->nodes[i].core != NULL)
			return &w->nodes[i];
	return &w->nodes[0];
}

/* A record of the channel networks as far as it decides what holds (docs/wire.md). */
struct said {
	uint64_t owner, generation;
	bool removed,
		waits_for_dead; /* for a host that is gone for good: its record was seen before it went, and only rmpeer ends that */
};

static bool gone_for_good(const struct world *w, uint64_t name)
{
	for (size_t i = 0; i < w->cfg.nodes; i++)
		if (w->nodes[i].name == name && !w->nodes[i].gone)
			return false;
	return true;
}

static bool said_of(const struct world *w, const struct crdt_item *it, const char *name, struct said *out)
{
	struct rbuf r;

	if (!it->live || !slice_eq(crdt_subkey(it->key), slice_str(name)))
		return false;
	rbuf_init(&r, it->value.p, it->value.n);
	rbuf_skip(&r, 3);
	out->owner = crdt_owner(it->key);
	out->generation = rbuf_varint(&r);
	out->removed = rbuf_u8(&r) == 2;
	for (int subnet = 0; subnet < 2; subnet++) {
		(void)rbuf_ip(&r);
		(void)rbuf_u8(&r);
	}
	out->waits_for_dead = false;
	for (uint64_t n = rbuf_varint(&r); n > 0 && rbuf_ok(&r); n--)
		out->waits_for_dead = gone_for_good(w, rbuf_u48(&r)) || out->waits_for_dead;
	return true;
}

static bool has_containers_in(const struct node *n, const char *network)
{
	const struct core_endpoint *e;

	for (size_t it = 0; core_next_local(n->core, &it, &e);)
		if (strcmp(e->network, network) == 0)
			return true;
	return false;
}

/* 6. Of a network that is there whoever made it says so, and whoever uses it; of one that is not, only who waits for somebody gone for good. */
static bool network_said_right(struct world *w, bool final, const char *name)
{
	const struct crdt_map *map = core_channel(first_alive(w)->core, CHANNEL_NETWORKS);
	struct crdt_item it = { .key = { NULL, 0 } };
	struct said holds = { 0 }, one;
	bool dead = false;

	while (crdt_map_next(map, it.key, &it)) {
		if (!said_of(w, &it, name, &one))
			continue;
		dead = dead || gone_for_good(w, one.owner) || one.waits_for_dead;
		if (one.generation > holds.generation || (one.generation == holds.generation && one.owner > holds.owner))
			holds = one;
	}
	if (holds.removed && !dead) {
		complain(w, final, "a removed network is still remembered", 0);
		return false;
	}
	for (size_t i = 0; i < w->cfg.nodes; i++) {
		struct node *n = &w->nodes[i];
		struct core_network net;
		if (n->core == NULL)
			continue;
		bool used = has_containers_in(n, name), present = core_network(n->core, name, &net);
		if (present != (holds.generation > 0 && !holds.removed)) {
			complain(w, final, "a network is there that should not be, or the other way round", i);
			return false;
		}
		if (used && !present) {
			complain(w, final, "containers are in a network that is gone", i);
			return false;
		}
		it = (struct crdt_item){ .key = { NULL, 0 } };
		while (crdt_map_next(map, it.key, &it)) {
			if (!said_of(w, &it, name, &one) || one.owner != n->name || used || one.owner == holds.owner)
				continue;
			complain(w, final, "a host says of a network what another's record outdoes", i);
			return false;
		}
	}
	return true;
}

/* No number twice, the same everywhere. */
static bool networks_right(struct world *w, bool final)
{
	struct core_network v[SIM_NETWORKS], x;
	size_t n = 0;

	for (size_t it = 0; n < SIM_NETWORKS && core_next_network(first_alive(w)->core, &it, &v[n]);)
		n++;
	for (size_t i = 0; i < n; i++) {
		for (size_t k = 0; k < i; k++) {
			if (v[i].number == v[k].number) {
				complain(w, final, "two networks have one number", 0);
				return false;
			}
		}
		for (size_t k = 0; k < w->cfg.nodes; k++) {
			if (w->nodes[k].core != NULL && (!core_network(w->nodes[k].core, v[i].name, &x) || x.number != v[i].number)) {
				complain(w, final, "a network has another number than on node 0", k);
				return false;
			}
		}
	}
	for (size_t i = 0; i < SIM_NETWORKS; i++)
		if (!network_said_right(w, final, sim_networks[i]))
			return false;
	return true;
}

static bool owned_by_the_dead(const struct world *w, const struct crdt_map *ring, uint32_t addr)
{
	uint64_t owner = ring_owner(ring, w->universe, addr);

	return owner != PEER_NONE && gone_for_good(w, owner);
}

/* Who wants an address whose owner is gone for good waits until somebody runs rmpeer: that is what it should do. So does who wants any
 * address, when all that the living own are in use. */
static bool waits_for_the_dead(const struct world *w, const struct node *n, const struct container *c)
{
	const struct crdt_map *ring = core_channel(n->core, CHANNEL_RING);
	struct range4 all = universe_range(w->universe);
	bool dead = false;

	if (c->addr.family != 0)
		return owned_by_the_dead(w, ring, ip_to_v4(c->addr));
	for (uint64_t a = all.start + 1; a < all.end - 1; a++) { /* the first and the last are never given */
		if (owned_by_the_dead(w, ring, (uint32_t)a))
			dead = true;
		else if (map_get64(w->addresses, a) == NULL)
			return false;
	}
	return dead;
}

static void say_waiting(struct node *n, const struct container *c)
{
	struct ipam_view v;
	struct ipam_pending_view p = { 0 }, at;
	char text[IP_TEXT] = "any";

	if (c->addr.family != 0)
		text_of(c->addr, text);
	for (size_t it = 0; ipam_next_pending(core_ipam(n->core), &it, &at);)
		if (at.request == c->request)
			p = at;
	for (size_t i = 0; i < n->w->cfg.nodes; i++) {
		if (n->w->nodes[i].core == NULL)
			continue;
		ipam_view(core_ipam(n->w->nodes[i].core), &v);
		struct ipam_reclaim_view e;
		ipam_reclaim_view(core_ipam(n->w->nodes[i].core), &e);
		sim_trace(n->w, "node %zu owns %llu, %llu free: %s; %s", i, (unsigned long long)v.owned, (unsigned long long)v.free_owned,
			v.text, v.conflict);
		sim_trace(n->w, "node %zu %s member of epoch %llu: %zu members, quorum %zu, %zu reachable", i, e.member ? "is" : "is no",
			(unsigned long long)e.epoch, e.members, e.quorum, e.reachable);
	}
	ipam_view(core_ipam(n->core), &v);
	sim_fail(n->w, "liveness: c%llu on node %zu still waits for an address (%s): %s, %s", (unsigned long long)c->number, n->index,
		text, v.text, p.reason);
}

static bool requests_answered(struct world *w, bool final)
{
	for (size_t i = 0; i < w->cfg.nodes; i++) {
		for (size_t k = 0; k < w->nodes[i].n_containers; k++) {
			const struct container *c = &w->nodes[i].containers[k];
			if (w->nodes[i].core == NULL || c->live || c->given_up || waits_for_the_dead(w, &w->nodes[i], c))
				continue;
			if (final) {
				say_waiting(&w->nodes[i], c);
			}
			return false;
		}
	}
	return true;
}

/* 5. Links: once all is healed, every pair that should be linked is. */
static bool all_reachable(struct world *w, bool final)
{
	for (size_t i = 0; i < w->cfg.nodes; i++) {
		for (size_t k = 0; k < w->cfg.nodes; k++) {
			if (w->nodes[i].core != NULL && w->nodes[k].core != NULL &&
				!gossip_reachable(core_gossip(w->nodes[i].core), w->nodes[k].name)) {
				complain(w, final, "a node cannot be reached", i);
				return false;
			}
		}
	}
	return true;
}

bool check_at_rest(struct world *w, bool final)
{
	for (size_t i = 0; i < w->cfg.nodes; i++) {
		if (w->nodes[i].core == NULL && !w->nodes[i].gone) {
			complain(w, final, "a node is down", i);
			return false;
		}
	}
	return all_reachable(w, final) && requests_answered(w, final) && rings_whole(w, final) && digests_equal(w, final) &&
		names_right(w, final) && networks_right(w, final) && data_at_rest(w, final);
}
