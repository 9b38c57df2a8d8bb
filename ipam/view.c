#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "ipam/internal.h"

static void say(struct ipam_view *v, enum ipam_state state, const char *text)
{
	v->state = state;
	line_format(v->text, sizeof v->text, "%s", text);
}

static bool claim_unreachable(const struct ipam *i, const struct pending **which)
{
	for (size_t n = 0; n < i->n_pending; n++) {
		const struct pending *p = i->pending[n];
		if (p->kind != PENDING_CLAIM || !in_universe(i, ip_to_v4(p->subnet.addr)))
			continue;
		uint64_t owner = ring_owner(i->cfg.ring, i->cfg.universe, ip_to_v4(p->subnet.addr));
		if (owner != PEER_NONE && owner != i->cfg.self && !i->cfg.reachable(i->cfg.ctx, owner)) {
			*which = p;
			return true;
		}
	}
	return false;
}

/* Is some allocate waiting after everybody was asked? */
static bool out_of_space(const struct ipam *i)
{
	for (size_t n = 0; n < i->n_asks; n++)
		if (i->asks[n]->exhausted && range4_size(i->asks[n]->r) > 1)
			return true;
	return false;
}

static void state(const struct ipam *i, struct ipam_view *v)
{
	char text[sizeof v->text], names[128];
	const struct pending *p;
	if (i->suspended) {
		say(v, IPAM_CONTESTED, "contested: another host uses our name, no addresses are given out");
	} else if (!ring_exists(i)) {
		bool wanted = agree_wanted(i);
		bool primes = v->pending_allocates + v->pending_claims == 0 && i->n_pending > 0;
		if (i->cfg.init == IPAM_OBSERVER)
			line_format(text, sizeof text, "awaiting consensus (observer: the others vote)");
		else
			agree_awaits(i, text, sizeof text);
		say(v, !wanted ? IPAM_IDLE : primes ? IPAM_PRIMING : IPAM_AWAITING, wanted ? text : "idle");
	} else if (i->doubt.n > 0) {
		recover_waiting_for(i, names, sizeof names);
		line_format(
			text, sizeof text, "recovering %" PRIu64 " addresses: waiting to hear from %s", ranges_size(&i->doubt), names);
		say(v, IPAM_RECOVERING, text);
	} else if (lease_over(i)) {
		lease_majority_text(i, names, sizeof names);
		line_format(text, sizeof text, "no new addresses: our lease has run out until a majority renews it (%s)", names);
		say(v, IPAM_LEASE_OVER, text);
	} else if (out_of_space(i)) {
		say(v, IPAM_WAITING_SPACE, "waiting for space");
	} else if (claim_unreachable(i, &p)) {
		line_format(text, sizeof text, "waiting: %s", p->reason);
		say(v, IPAM_UNREACHABLE, text);
	} else {
		say(v, IPAM_READY, "ready");
	}
}

/* Two electorates; what was taken from us; else what others hold in our ranges. */
static void conflict(const struct ipam *i, struct ipam_view *v)
{
	char r[2 * IP_TEXT], name[WHO_TEXT];
	if (word_conflict(i, v->conflict, sizeof v->conflict))
		return;
	if (i->lost.n > 0) {
		size_t kept = 0;
		for (size_t n = 0; n < i->space.n_leases; n++)
			kept += ranges_has(&i->lost, i->space.leases[n]->addr);
		line_format(v->conflict, sizeof v->conflict,
			"%s%s is %s's by its ring (%zu addresses in use here are kept): run `weft reset` here, then launch again",
			range_format(i->lost.v[0], r), i->lost.n > 1 ? " and more" : "", ipam_who(i, i->lost_to, name), kept);
		return;
	}
	uint64_t holder = PEER_NONE;
	size_t held = 0;
	uint32_t first = 0;
	for (size_t n = 0; n < i->space.n_holds; n++) {
		const struct hold *h = &i->space.holds[n];
		if (!ranges_has(&i->owned, h->addr))
			continue;
		if (held++ == 0) {
			holder = h->peer;
			first = h->addr;
		}
	}
	if (held == 0) {
		if (!founding_conflict(i, v->conflict, sizeof v->conflict))
			(void)guard_conflict(i, v->conflict, sizeof v->conflict);
		return;
	}
	ip_format(ip_v4(first), r);
	line_format(v->conflict, sizeof v->conflict,
		"%s uses %s%s in our range: run `weft reset` there, then launch it again; if it is gone, `weft rmpeer`",
		ipam_who(i, holder, name), r, held > 1 ? " and more" : "");
}

void ipam_view(const struct ipam *i, struct ipam_view *out)
{
	*out = (struct ipam_view){ 0 };
	out->quorum = agree_quorum(i);
	out->known = paxos_known(&i->paxos, i->cfg.paxos) - (i->cfg.init == IPAM_CONSENSUS ? 0 : 1);
	for (size_t n = 0; n < i->n_pending; n++) {
		out->pending_allocates += i->pending[n]->kind == PENDING_ALLOCATE;
		out->pending_claims += i->pending[n]->kind == PENDING_CLAIM;
	}
	out->leases = i->space.n_leases;
	out->total = range4_size(universe_range(i->cfg.universe));
	out->owned = ranges_size(&i->owned);
	for (size_t n = 0; n < i->whole.n; n++)
		out->free_owned += space_unused_in(&i->space, i->whole.v[n]);
	state(i, out);
	conflict(i, out);
}

bool ipam_next_pending(const struct ipam *i, size_t *it, struct ipam_pending_view *out)
{
	static const char *const kinds[] = { [PENDING_PRIME] = "prime", [PENDING_CLAIM] = "claim", [PENDING_ALLOCATE] = "allocate" };
	if (*it >= i->n_pending)
		return false;
	const struct pending *p = i->pending[(*it)++];
	*out = (struct ipam_pending_view){ .request = p->request, .kind = kinds[p->kind], .ident = p->ident, .subnet = p->subnet };
	line_format(out->reason, sizeof out->reason, "%s", p->reason);
	out->wait = p->wait;
	out->in_use = p->in_use;
	return true;
}

bool ipam_next_usable(const struct ipam *i, size_t *it, struct range4 *out)
{
	if (*it >= i->space.mine.n)
		return false;
	*out = i->space.mine.v[(*it)++];
	return true;
}

bool ipam_next_lease(const struct ipam *i, size_t *it, const char **ident, struct prefix *addr)
{
	if (*it >= i->space.n_leases)
		return false;
	const struct lease *l = i->space.leases[(*it)++];
	*ident = l->ident;
	*addr = (struct prefix){ ip_v4(l->addr), l->len };
	return true;
}

const char *ipam_holder(const struct ipam *i, uint32_t addr)
{
	const struct lease *l = space_lease_at(&i->space, addr);
	return l ? l->ident : NULL;
}

bool ipam_undecided(const struct ipam *i)
{
	return !ring_exists(i) && !i->stopped && !i->suspended && i->paxos.accepted.round == 0;
}

size_t ipam_active(const struct ipam *i)
{
	return i->space.n_leases;
}

/* --- membership, and what was reclaimed --- */

void ipam_reclaim_view(const struct ipam *i, struct ipam_reclaim_view *out)
{
	const struct reclaim *c = &i->reclaim;
	*out = (struct ipam_reclaim_view){ .after_ms = i->cfg.reclaim_after_ms,
		.known = c->epoch.known,
		.epoch = c->epoch.number,
		.members = c->epoch.n,
		.quorum = c->epoch.known ? instance_quorum(&c->in) : 0,
		.reachable = reclaim_reachable(i),
		.member = epoch_member(&c->epoch, i->cfg.self) != NULL,
		.leased = lease_counts(i),
		.over = lease_over(i),
		.left_ms = lease_left_ms(i),
		.spare = ranges_size(&c->locked),
		.reclaimed = c->reclaimed };
}

bool ipam_next_member(const struct ipam *i, size_t *it, uint64_t *peer)
{
	if (*it >= i->reclaim.epoch.n)
		return false;
	*peer = i->reclaim.epoch.v[(*it)++].name;
	return true;
}

bool ipam_next_reclaimed(const struct ipam *i, size_t *it, struct ipam_reclaimed *out)
{
	const struct epoch *e = &i->reclaim.epoch;
	if (*it >= e->n_marks || *it >= IPAM_AUDIT_MAX)
		return false;
	const struct mark *m = &e->marks[e->n_marks - 1 - (*it)++];
	*out = (struct ipam_reclaimed){ .epoch = m->epoch,
		.from = m->from,
		.heir = m->heir,
		.serial = m->serial,
		.first = (uint32_t)m->what.r.start,
		.last = (uint32_t)(m->what.r.end - 1) };
	return true;
}
