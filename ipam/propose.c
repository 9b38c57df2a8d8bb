/* Proposing the next epoch: when there is a reason to, and what to name when a quorum has promised (docs/adr/0013-reclaim.md). */
#include <string.h>

#include "ipam/internal.h"

static bool wishes(const struct ipam *i, uint64_t peer, const struct vote *v)
{
	const struct member *m = epoch_member(&i->reclaim.epoch, peer);
	return v->wish && ipam_reachable(i, peer) && v->memory != 0 && !(m && m->memory == v->memory);
}

/* A seed that takes part: from the next epoch on its memory is known, whether it wishes for anything or not. */
static bool unknown_until_now(const struct ipam *i, uint64_t peer, const struct vote *v)
{
	const struct member *m = epoch_member(&i->reclaim.epoch, peer);
	return m && m->memory == 0 && v->memory != 0 && instance_counts(&i->reclaim.in, peer, v) &&
		ballot_cmp(v->promised, i->reclaim.in.promised) == 0;
}

/* How many voters find each member overdue, ourselves included, and up to which serial its declarations were acknowledged. With a ballot: of
 * those who have promised it. */
struct poll {
	size_t *overdue;
	uint64_t *serials;
};

static void poll_one(const struct epoch *e, struct slice reports, struct poll *p)
{
	struct rbuf r;
	struct report x;
	rbuf_init(&r, reports.p, reports.n);
	for (size_t k = 0; k < e->n && rbuf_left(&r) > 0 && vote_report(&r, &e->v[k], &x); k++) {
		p->overdue[k] += x.overdue;
		if (x.serial > p->serials[k] && x.serial - e->v[k].serial <= EPOCH_AHEAD_MAX)
			p->serials[k] = x.serial;
	}
}

static enum err poll(const struct ipam *i, const struct ballot *b, struct poll *p)
{
	const struct reclaim *c = &i->reclaim;
	const struct epoch *e = &c->epoch;
	struct slice at = { NULL, 0 };
	uint64_t peer;
	struct vote v;
	p->overdue = mem_zalloc(e->n, sizeof *p->overdue);
	p->serials = mem_zalloc(e->n, sizeof *p->serials);
	if (!p->overdue || !p->serials)
		return ERR_NOMEM;
	for (size_t k = 0; k < e->n; k++) {
		const struct seen *s = lease_seen(i, e->v[k].name);
		p->overdue[k] = s && s->overdue;
		p->serials[k] = s ? s->serial : e->v[k].serial;
	}
	while (instance_next(&c->in, &at, &peer, &v))
		if (instance_counts(&c->in, peer, &v) && (!b || ballot_cmp(v.promised, *b) == 0))
			poll_one(e, v.reports, p);
	return ERR_OK;
}

static void poll_free(struct poll *p)
{
	mem_free(p->overdue);
	mem_free(p->serials);
}

static bool is_forgotten(const struct ipam *i, uint64_t peer)
{
	uint8_t key[6];
	struct wbuf w;
	struct crdt_item it;
	wbuf_fixed(&w, key, sizeof key);
	wbuf_u48(&w, peer);
	return crdt_map_get(i->cfg.usage, wbuf_slice(&w), &it);
}

/* What may be taken of the member: what it has declared spare, by a declaration that is late enough. false: not to be removed now. */
static bool draft_spare(const struct ipam *i, const struct member *m, uint64_t serial, struct declaration *d)
{
	if (lease_declared(i, m->name, d) && d->serial >= serial && d->epoch >= m->since)
		return true;
	*d = (struct declaration){ .serial = serial };
	/* Else something is declared, and we do not know it yet; or shall not any more, when the operator has removed it: nothing is taken then. */
	return serial == 0 || is_forgotten(i, m->name);
}

/* Would a proposal to remove it do so? An epoch that changes nothing would only bring about the next one. */
static bool is_removable(const struct ipam *i, const struct member *m, uint64_t serial)
{
	struct declaration *d = mem_zalloc(1, sizeof *d);
	bool yes = d && draft_spare(i, m, serial, d);
	mem_free(d);
	return yes;
}

/* Is there anything to be changed? */
static enum err reason_to_propose(const struct ipam *i, bool *reason)
{
	const struct reclaim *c = &i->reclaim;
	struct slice at = { NULL, 0 };
	struct poll p = { 0 };
	uint64_t peer;
	struct vote v = reclaim_vote(i);
	bool maybe = false;
	*reason = c->n_gone > 0 || (v.wish && c->epoch.n < EPOCH_MEMBERS_MAX);
	while (!*reason && instance_next(&c->in, &at, &peer, &v))
		*reason = wishes(i, peer, &v) && (c->epoch.n < EPOCH_MEMBERS_MAX || epoch_member(&c->epoch, peer));
	for (size_t k = 0; k < c->n_seen; k++)
		maybe = maybe || c->seen[k].overdue;
	if (*reason || !maybe)
		return ERR_OK;
	enum err e = poll(i, NULL, &p);
	for (size_t k = 0; k < c->epoch.n && e == ERR_OK; k++)
		*reason = *reason ||
			(p.overdue[k] >= instance_quorum(&c->in) && c->epoch.v[k].name != i->cfg.self &&
				is_removable(i, &c->epoch.v[k], p.serials[k]));
	poll_free(&p);
	return e;
}

static bool we_are_first(const struct ipam *i)
{
	const struct epoch *e = &i->reclaim.epoch;
	for (size_t k = 0; k < e->n; k++)
		if (!reclaim_is_gone(i, e->v[k].name) && ipam_reachable(i, e->v[k].name))
			return e->v[k].name == i->cfg.self;
	return false;
}

enum err propose(struct ipam *i, bool *changed)
{
	struct reclaim *c = &i->reclaim;
	bool open = instance_open(&c->in), reason = open;
	enum err e = open || !reclaim_anybody(i) ? ERR_OK : reason_to_propose(i, &reason);
	if (e != ERR_OK)
		return e;
	if (!reason || instance_ours(&c->in)) {
		c->propose_ms = 0;
		return ERR_OK;
	}
	if (c->propose_ms == 0) {
		uint64_t ms = (uint64_t)PROPOSE_MS << (c->duels < BACKOFF_MAX ? c->duels : BACKOFF_MAX);
		c->duels += open;
		c->propose_ms = i->now + (open ? rng_between(&i->rng, ms, 3 * ms) : rng_between(&i->rng, 1, we_are_first(i) ? 50 : 1500));
	}
	/* Who cannot win leaves the ballots of those who can alone. */
	if (i->now < c->propose_ms || reclaim_reachable(i) < instance_quorum(&c->in))
		return ERR_OK;
	c->propose_ms = 0;
	instance_propose(&c->in, changed);
	return ERR_OK;
}

/* --- naming a value --- */

struct draft {
	struct member added[EPOCH_CHANGES_MAX];
	struct removal removed[EPOCH_CHANGES_MAX];
	struct declaration *spare[EPOCH_CHANGES_MAX];
	struct epoch_change c;
};

static void draft_added(const struct ipam *i, struct draft *d)
{
	const struct reclaim *c = &i->reclaim;
	struct slice at = { NULL, 0 };
	uint64_t peer;
	struct vote v;
	size_t n = 0;
	const struct member *m = epoch_member(&c->epoch, i->cfg.self);
	bool self = reclaim_vote(i).wish || (m && m->memory == 0);
	/* Keys are in the owners' order; ourselves in between. */
	while (n < EPOCH_CHANGES_MAX - 1 && c->epoch.n + n < EPOCH_MEMBERS_MAX - 1 && instance_next(&c->in, &at, &peer, &v)) {
		if (self && peer > i->cfg.self) {
			d->added[n++] = (struct member){ .name = i->cfg.self, .memory = i->paxos.memory };
			self = false;
		}
		if (wishes(i, peer, &v) || unknown_until_now(i, peer, &v))
			d->added[n++] = (struct member){ .name = peer, .memory = v.memory };
	}
	if (self)
		d->added[n++] = (struct member){ .name = i->cfg.self, .memory = i->paxos.memory };
	d->c.added = d->added;
	d->c.n_added = n;
}

static bool is_added(const struct draft *d, uint64_t peer)
{
	for (size_t k = 0; k < d->c.n_added; k++)
		if (d->added[k].name == peer)
			return true;
	return false;
}

/* A member that stays, can be reached, and owns least. */
static uint64_t choose_heir(const struct ipam *i, const struct poll *p)
{
	const struct epoch *e = &i->reclaim.epoch;
	uint64_t best = PEER_NONE, least = UINT64_MAX;
	for (size_t k = 0; k < e->n; k++) {
		if (p->overdue[k] > 0 || !ipam_reachable(i, e->v[k].name) ||
			(e->v[k].name != i->cfg.self && usage_is_gone(i, e->v[k].name)))
			continue;
		uint64_t owns = ring_owned_by(i->cfg.ring, i->cfg.universe, e->v[k].name);
		if (owns < least) {
			least = owns;
			best = e->v[k].name;
		}
	}
	return best;
}

static enum err draft_removed(const struct ipam *i, const struct poll *p, struct draft *d)
{
	const struct reclaim *c = &i->reclaim;
	size_t bytes = d->c.n_added * 10 + c->epoch.n * 5;
	uint64_t heir = choose_heir(i, p);
	for (size_t k = 0; k < c->epoch.n && d->c.n_removed < EPOCH_CHANGES_MAX; k++) {
		const struct member *m = &c->epoch.v[k];
		bool gone = reclaim_is_gone(i, m->name);
		if (is_added(d, m->name) || m->name == i->cfg.self || (!gone && p->overdue[k] < instance_quorum(&c->in)))
			continue;
		struct declaration *s = mem_zalloc(1, sizeof *s);
		if (!s)
			return ERR_NOMEM;
		bool ok = draft_spare(i, m, p->serials[k], s) || gone;
		if (gone || heir == PEER_NONE)
			s->n = 0; /* the operator has said who takes it */
		bytes += 32 + s->n * 32;
		if (!ok || bytes > EPOCH_VALUE_MAX || c->epoch.n - d->c.n_removed < 2) {
			mem_free(s);
			continue;
		}
		d->spare[d->c.n_removed] = s;
		d->removed[d->c.n_removed++] =
			(struct removal){ .name = m->name, .heir = s->n > 0 ? heir : PEER_NONE, .serial = s->serial, .n = s->n, .v = s->v };
	}
	d->c.removed = d->removed;
	return ERR_OK;
}

static enum err name_value(struct ipam *i, bool *changed)
{
	struct reclaim *c = &i->reclaim;
	struct poll p = { 0 };
	struct wbuf w;
	struct draft *d = mem_zalloc(1, sizeof *d);
	enum err e = d ? poll(i, &c->in.promised, &p) : ERR_NOMEM;
	wbuf_grow(&w, EPOCH_VALUE_MAX);
	if (e == ERR_OK) {
		draft_added(i, d);
		e = draft_removed(i, &p, d);
	}
	if (e == ERR_OK) {
		d->c.serials = p.serials;
		epoch_value_encode(&w, &c->epoch, &d->c);
		e = wbuf_end(&w);
	}
	if (e == ERR_OK)
		e = instance_accept(&c->in, wbuf_slice(&w), changed);
	for (size_t k = 0; d && k < d->c.n_removed; k++)
		mem_free(d->spare[k]);
	mem_free(d);
	poll_free(&p);
	wbuf_free(&w);
	return e;
}

enum err propose_lead(struct ipam *i, bool *changed)
{
	bool any;
	struct slice value;
	if (!instance_leads(&i->reclaim.in, &any, &value))
		return ERR_OK;
	return any ? name_value(i, changed) : instance_accept(&i->reclaim.in, value, changed);
}
