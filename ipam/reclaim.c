/* Membership epochs at work: who belongs to the electorate, when the next epoch is proposed, and what follows from a decision
 * (docs/adr/0013; the rules of the agreement are in epoch.h, those of what may be taken in lease.c).
 *
 * A host that owns addresses asks to become a member by publishing its state with a wish; members propose to add it. A member that is
 * gone (it has left by `reset`, the operator has removed it, or its lease and a margin have passed without a word from it) is *overdue*
 * in the state of whoever finds so; when a majority does, somebody proposes to remove it and names an heir for what it had declared spare.
 *
 * When the next epoch is known, everybody writes the tokens that follow from it, the same everywhere: so the heir need not live to see it,
 * and the dead owner, should it return, gives way by its own view. Who has missed the agreement asks somebody for the epoch as a
 * whole and takes it when most of those who can be reached publish the same digest. */
#include <assert.h>
#include <inttypes.h>
#include <string.h>

#include "ipam/internal.h"

#define LAG_MS      300 /* so long a newer epoch may be learnt from the states of its voters */
#define REPORTS_MAX 8   /* lines about what was reclaimed, at a time */

bool reclaim_is_gone(const struct ipam *i, uint64_t peer)
{
	const struct reclaim *c = &i->reclaim;
	for (size_t k = 0; k < c->n_gone; k++)
		if (c->gone[k] == peer)
			return true;
	return false;
}

static bool votes(const struct ipam *i)
{
	return instance_votes(&i->reclaim.in, i->cfg.self, i->paxos.memory) && !i->suspended;
}

size_t reclaim_reachable(const struct ipam *i)
{
	const struct reclaim *c = &i->reclaim;
	size_t n = 0;
	for (size_t k = 0; k < c->epoch.n; k++)
		n += !reclaim_is_gone(i, c->epoch.v[k].name) && ipam_reachable(i, c->epoch.v[k].name);
	return n;
}

void reclaim_init(struct ipam *i)
{
	struct reclaim *c = &i->reclaim;
	c->in = (struct instance){ .self = i->cfg.self, .u = i->cfg.universe, .e = &c->epoch, .map = i->cfg.paxos };
	c->dirty = c->check = c->founding = true;
}

void reclaim_free(struct ipam *i)
{
	struct reclaim *c = &i->reclaim;
	epoch_free(&c->epoch);
	instance_reset(&c->in);
	mem_free(c->seen);
	mem_free(c->gone);
	mem_free(c->word);
	pacer_free(&c->pacer);
	mem_free(c->acks);
	ranges_free(&c->locked);
}

/* --- disk --- */

static enum err store_epoch(struct ipam *i)
{
	struct wbuf w;
	uint8_t key[RECORD_KEY_MAX];
	wbuf_grow(&w, EPOCH_STATE_MAX);
	epoch_encode(&w, &i->reclaim.epoch);
	enum err e = wbuf_end(&w);
	if (e == ERR_OK)
		e = out_persist(i, record_key(i, "epoch/", NULL, 0, key), wbuf_slice(&w));
	wbuf_free(&w);
	return e;
}

enum err reclaim_load_epoch(struct ipam *i, struct slice value)
{
	epoch_free(&i->reclaim.epoch);
	return epoch_decode(value, i->cfg.universe, &i->reclaim.epoch);
}

/* A former self of ours is a member: it remembers what we do not. */
static bool was_member(const struct ipam *i)
{
	const struct member *m = epoch_member(&i->reclaim.epoch, i->cfg.self);
	return m && m->memory != i->paxos.memory;
}

static bool wants_in(const struct ipam *i)
{
	const struct reclaim *c = &i->reclaim;
	bool part = i->cfg.reclaim_after_ms > 0 && i->owned.n > 0 && !epoch_member(&c->epoch, i->cfg.self);
	return c->active && !i->stopped && !i->suspended && (part || was_member(i));
}

struct vote reclaim_vote(const struct ipam *i)
{
	const struct reclaim *c = &i->reclaim;
	return (struct vote){ .memory = i->paxos.memory,
		.known = c->epoch.known,
		.wish = wants_in(i),
		.epoch = c->epoch.number,
		.digest = c->epoch.digest,
		.promised = c->in.promised,
		.accepted = c->in.accepted,
		.value = slice_of(c->in.value, c->in.value_n) };
}

static enum err store_vote(struct ipam *i)
{
	struct wbuf w;
	struct vote v = reclaim_vote(i);
	uint8_t key[RECORD_KEY_MAX];
	wbuf_grow(&w, EPOCH_VALUE_MAX + 128);
	vote_encode(&w, &v);
	enum err e = wbuf_end(&w);
	if (e == ERR_OK)
		e = out_persist(i, record_key(i, "vote/", NULL, 0, key), wbuf_slice(&w));
	wbuf_free(&w);
	return e;
}

enum err reclaim_load_vote(struct ipam *i, struct slice value)
{
	struct reclaim *c = &i->reclaim;
	struct vote v;
	enum err e = vote_decode(value, &v);
	if (e != ERR_OK)
		return e;
	uint8_t *copy = v.value.n > 0 ? mem_dup(v.value.p, v.value.n) : NULL;
	if (v.value.n > 0 && !copy)
		return ERR_NOMEM;
	instance_reset(&c->in);
	c->in.promised = v.promised;
	c->in.accepted = v.accepted;
	c->in.value = copy;
	c->in.value_n = v.value.n;
	c->loaded = true;
	c->loaded_epoch = v.epoch;
	c->active = true; /* who has a vote on disk has shown it before */
	return ERR_OK;
}

/* --- what we publish --- */

static enum err put_reports(const struct ipam *i, struct wbuf *w)
{
	const struct reclaim *c = &i->reclaim;
	bool any = instance_open(&c->in);
	for (size_t k = 0; k < c->n_seen; k++)
		any = any || c->seen[k].overdue;
	if (!any || !votes(i))
		return ERR_OK;
	for (size_t k = 0; k < c->epoch.n; k++) {
		const struct seen *s = lease_seen(i, c->epoch.v[k].name);
		uint64_t serial = s ? s->serial - c->epoch.v[k].serial : 0;
		wbuf_varint(w, 2 * serial + (s && s->overdue));
	}
	return wbuf_end(w);
}

/* With a promise that has accepted nothing the reports always fit. Beside a value they may not: whoever leads is bound to that value then, and needs none. */
static enum err publish(struct ipam *i)
{
	struct wbuf w, reports;
	struct vote v = reclaim_vote(i);
	uint8_t key[UNIVERSE_SUBKEY];
	_Static_assert(EPOCH_MEMBERS_MAX * 6 + 128 <= CRDT_VALUE_MAX, "reports of all members fit");
	wbuf_grow(&w, CRDT_VALUE_MAX);
	wbuf_grow(&reports, CRDT_VALUE_MAX - 128 - v.value.n);
	enum err e = put_reports(i, &reports);
	if (e == ERR_LIMIT && v.value.n > 0) {
		wbuf_reset(&reports);
		e = ERR_OK;
	}
	if (e == ERR_OK) {
		v.reports = wbuf_slice(&reports);
		vote_encode(&w, &v);
		e = wbuf_end(&w);
	}
	if (e == ERR_OK)
		e = out_put(i, IPAM_MAP_PAXOS, universe_subkey(i->cfg.universe, 'e', key), wbuf_slice(&w));
	i->reclaim.shown = i->reclaim.shown || e == ERR_OK;
	wbuf_free(&w);
	wbuf_free(&reports);
	return e;
}

/* Does anybody take part in all this? */
bool reclaim_anybody(const struct ipam *i)
{
	struct slice at = { NULL, 0 };
	uint64_t peer;
	struct vote v;
	return i->reclaim.active || instance_next(&i->reclaim.in, &at, &peer, &v);
}

/* --- an epoch is known --- */

/* A decision takes nothing but what its owner has declared spare; nobody refuses a value, so a lying leader could say otherwise. The two who
 * could give an address twice look for themselves: the owner at what it keeps its hands off, the heir at what the owner has signed. Where the heir
 * has not heard of that it waits as for any other claim (guard.c). */
static bool vouched(const struct ipam *i, const struct mark *m)
{
	struct declaration d;
	bool found = false;
	if (m->from == i->cfg.self)
		return ranges_covers(&i->reclaim.locked, m->what.r);
	if (m->heir != i->cfg.self)
		return true;
	if (!lease_declared(i, m->from, &d) || d.serial < m->serial)
		return false;
	for (size_t k = 0; k < d.n && !found; k++)
		found = d.v[k].r.start <= m->what.r.start && m->what.r.end <= d.v[k].r.end;
	return found;
}

/* The tokens that follow from the marks above the epoch `after`. Done again they change nothing. */
static enum err write_marks(struct ipam *i, const struct epoch *e, uint64_t after)
{
	struct crdt_changes ch;
	size_t n = 0;
	for (size_t k = 0; k < e->n_marks; k++)
		n += e->marks[k].epoch > after;
	crdt_changes_init(&ch, i->out->arena);
	enum err err = out_reserve(i, 2 * n + 8, (2 * n + 4) * RECORD_BYTES);
	for (size_t k = 0; k < e->n_marks && err == ERR_OK; k++) {
		const struct mark *m = &e->marks[k];
		if (m->epoch <= after || !vouched(i, m))
			continue;
		err = ring_reclaim(i->cfg.ring, i->cfg.universe, m->what.r, m->what.end, m->what.stamp, m->from, m->heir, m->epoch, &ch);
		if (err == ERR_LIMIT || err == ERR_REFUSED)
			err = ERR_OK; /* no room for more tokens, or another's: it stays where it is */
	}
	enum err f = out_ring(i, &ch, true);
	return err == ERR_OK ? f : err;
}

static bool same_mark(const struct mark *a, const struct mark *b)
{
	return a->epoch == b->epoch && a->from == b->from && a->heir == b->heir;
}

/* One line for all that went from one host to another in one epoch; and no more lines than somebody reads. */
static void report_marks(struct ipam *i, const struct epoch *e, uint64_t after)
{
	char from[WHO_TEXT], heir[WHO_TEXT], r[2 * IP_TEXT], more[48];
	size_t lines = 0;
	uint64_t unsaid = 0;
	for (size_t k = 0, n; k < e->n_marks; k += n) {
		const struct mark *m = &e->marks[k];
		uint64_t size = 0;
		for (n = 0; k + n < e->n_marks && same_mark(m, &e->marks[k + n]); n++)
			size += range4_size(e->marks[k + n].what.r);
		if (m->epoch <= after)
			continue;
		i->reclaim.reclaimed += size;
		if (lines++ >= REPORTS_MAX) {
			unsaid += size;
			continue;
		}
		more[0] = '\0';
		if (n > 1)
			line_format(more, sizeof more, " and %zu more ranges", n - 1);
		out_note(i, 2,
			"reclaimed: %s%s of %s (%" PRIu64 " addresses), free and not heard of for too long, is %s's now (epoch %" PRIu64 ")",
			range_format(m->what.r, r), more, ipam_who(i, m->from, from), size, ipam_who(i, m->heir, heir), m->epoch);
	}
	if (unsaid > 0)
		out_note(i, 2, "reclaimed: %" PRIu64 " addresses of %zu more hosts; `weft status ipam` names the latest", unsaid,
			lines - REPORTS_MAX);
}

/* Who was away for long may not be told of all that was taken: only the latest marks are kept. What we kept our hands off is then in doubt until the others
 * were heard, as after a takeover. */
static enum err doubt_spare(struct ipam *i, const struct epoch *next, uint64_t after)
{
	struct reclaim *c = &i->reclaim;
	enum err e = ERR_OK;
	if (c->locked.n == 0 || next->n_marks < EPOCH_MARKS_MAX || next->marks[0].epoch <= after)
		return ERR_OK;
	for (size_t k = 0; k < c->locked.n && e == ERR_OK; k++)
		e = ranges_add(&i->doubt, c->locked.v[k]);
	i->took_over = i->ring_dirty = true;
	i->census.active = false;
	return e == ERR_OK ? own_store_doubt(i) : e;
}

/* Takes *next, which is all zeros then. */
static enum err adopt(struct ipam *i, struct epoch *next)
{
	struct reclaim *c = &i->reclaim;
	uint64_t after = c->epoch.known ? c->epoch.number : 0;
	bool was = epoch_member(&c->epoch, i->cfg.self) != NULL;
	enum err e = write_marks(i, next, after);
	if (e == ERR_OK)
		e = doubt_spare(i, next, after);
	if (e != ERR_OK) {
		epoch_free(next);
		return e;
	}
	if (c->epoch.known)
		report_marks(i, next, after);
	if (was && !epoch_member(next, i->cfg.self))
		out_note(i, 2,
			"the other hosts have not heard of us for too long and have removed us from those who vote: what was spare here is theirs, what is "
			"in use stays");
	epoch_free(&c->epoch);
	c->epoch = *next;
	i->guard.epoch = c->epoch.number;
	i->guard.dirty = true; /* what was held because of its epoch is judged again */
	*next = (struct epoch){ 0 };
	instance_reset(&c->in);
	pace_clear(&c->pacer, PACE_BALLOT);
	c->propose_ms = c->lag_ms = 0;
	c->duels = 0;
	c->dirty = c->check = true;
	e = lease_align(i);
	if (e == ERR_OK)
		e = word_collect(i);
	if (e == ERR_OK)
		e = store_epoch(i);
	if (e == ERR_OK)
		e = own_sync(i);
	if (e == ERR_OK)
		e = recover_again(i);
	if (e == ERR_OK)
		e = lease_heard_all(i);
	if (e == ERR_OK && (c->active || c->shown)) {
		e = store_vote(i);
		if (e == ERR_OK)
			e = publish(i);
	}
	if (e != ERR_OK)
		i->rewrite = true;
	return e;
}

/* Epoch 0: only who takes part in the division, or has the list from its operator, can say who they are. */
static enum err found(struct ipam *i)
{
	struct epoch e = { 0 };
	struct slice members;
	enum err err = ERR_OK;
	if (!ring_exists(i) || i->cfg.init == IPAM_OBSERVER)
		return ERR_OK;
	if (i->cfg.init == IPAM_SEED) {
		struct wbuf w;
		wbuf_grow(&w, IPAM_SEEDS_MAX * PAXOS_MEMBER);
		for (size_t k = 0; k < i->cfg.n_seeds; k++) {
			wbuf_u48(&w, i->seeds[k]);
			wbuf_u32(&w, 0);
		}
		err = wbuf_end(&w);
		if (err == ERR_OK)
			err = epoch_found(&e, wbuf_slice(&w));
		wbuf_free(&w);
	} else {
		size_t at = 0;
		uint64_t name;
		uint32_t memory;
		bool ours = false;
		if (!paxos_chosen(&i->paxos, i->cfg.paxos, agree_quorum(i), &members) || members.n == 0)
			return ERR_OK;
		while (paxos_member(members, &at, &name, &memory))
			ours = ours || (name == i->cfg.self && memory == i->paxos.memory);
		i->reclaim.outsider = !ours;
		if (!ours)
			return ERR_OK;
		err = epoch_found(&e, members);
	}
	return err == ERR_OK ? adopt(i, &e) : err;
}

/* --- others are ahead --- */

enum err reclaim_request(struct ipam *i, uint64_t from, const struct ipam_message *m)
{
	struct reclaim *c = &i->reclaim;
	if (!c->epoch.known || m->epoch > c->epoch.number)
		return ERR_OK;
	/* A short question with a long answer. Who gets none asks again, or somebody else. */
	if (!pace_take(&c->pacer, PACE_STATE, from, i->now) || !pace_take(&c->pacer, PACE_STATE_ALL, PEER_NONE, i->now))
		return ERR_OK;
	struct wbuf w;
	wbuf_grow(&w, EPOCH_STATE_MAX);
	epoch_encode(&w, &c->epoch);
	struct ipam_message a = { .type = MSG_EPOCH_STATE, .u = i->cfg.universe };
	enum err e = wbuf_end(&w);
	a.state = wbuf_slice(&w);
	if (e == ERR_OK)
		e = out_send(i, from, &a);
	wbuf_free(&w);
	return e;
}

/* Of those who vote in our epoch and can be reached, has a majority accepted nothing? Then nothing was chosen, whoever says so. */
bool reclaim_undecided(const struct ipam *i)
{
	const struct reclaim *c = &i->reclaim;
	size_t n = votes(i) && c->in.accepted.round == 0;
	struct slice at = { NULL, 0 };
	uint64_t peer;
	struct vote v;
	while (instance_next(&c->in, &at, &peer, &v))
		n += ipam_reachable(i, peer) && instance_counts(&c->in, peer, &v) && v.accepted.round == 0;
	return n >= instance_quorum(&c->in);
}

/* Do most of those who can be reached and are ahead of us publish just this? */
static bool trusted(const struct ipam *i, const struct epoch *e)
{
	const struct reclaim *c = &i->reclaim;
	if (c->epoch.known && (reclaim_undecided(i) || word_parted(i)))
		return false;
	size_t same = 0, all = 0;
	struct slice at = { NULL, 0 };
	uint64_t peer;
	struct vote v;
	while (instance_next(&c->in, &at, &peer, &v)) {
		if (!v.known || !ipam_reachable(i, peer) || (c->epoch.known && v.epoch <= c->epoch.number))
			continue;
		all++;
		same += v.epoch == e->number && v.digest == e->digest;
	}
	return 2 * same > all;
}

enum err reclaim_state(struct ipam *i, const struct ipam_message *m)
{
	struct reclaim *c = &i->reclaim;
	struct epoch next = { 0 };
	enum err e = epoch_decode(m->state, i->cfg.universe, &next);
	if (e != ERR_OK)
		return e == ERR_NOMEM ? e : ERR_OK;
	if ((c->epoch.known && next.number <= c->epoch.number) || !trusted(i, &next)) {
		epoch_free(&next);
		return ERR_OK;
	}
	return adopt(i, &next);
}

static enum err catch_up(struct ipam *i)
{
	struct reclaim *c = &i->reclaim;
	uint64_t best = PEER_NONE, best_epoch = 0, peer, seen = 0;
	struct slice at = { NULL, 0 };
	struct vote v;
	while (instance_next(&c->in, &at, &peer, &v)) {
		if (!v.known || !ipam_reachable(i, peer) || (c->epoch.known && v.epoch <= c->epoch.number) || v.epoch < best_epoch)
			continue;
		seen = v.epoch > best_epoch ? 1 : seen + 1;
		best_epoch = v.epoch;
		if (rng_below(&i->rng, seen) == 0) /* any of them: not all ask the same one */
			best = peer;
	}
	if (best == PEER_NONE) {
		c->lag_ms = 0;
		return ERR_OK;
	}
	if (c->lag_ms == 0)
		c->lag_ms = i->now + (c->epoch.known && best_epoch == c->epoch.number + 1 ? LAG_MS : 0);
	if (i->now < c->lag_ms)
		return ERR_OK;
	c->lag_ms = i->now + rng_between(&i->rng, IPAM_ASK_MS, IPAM_RETRY_MS);
	struct ipam_message m = {
		.type = MSG_EPOCH_REQUEST, .u = i->cfg.universe, .epoch = c->epoch.known ? c->epoch.number + 1 : 0
	};
	return out_send(i, best, &m);
}

/* --- who is overdue --- */

static bool find_overdue(const struct ipam *i, const struct seen *s, uint64_t *next_ms)
{
	uint64_t lease_ms = i->cfg.reclaim_after_ms > s->lease_ms ? i->cfg.reclaim_after_ms : s->lease_ms;
	if (s->name == i->cfg.self)
		return false;
	if (reclaim_is_gone(i, s->name))
		return true;
	if (ipam_reachable(i, s->name))
		return false;
	if (usage_is_gone(i, s->name))
		return true;
	if (i->cfg.reclaim_after_ms == 0)
		return false;
	/* A quarter for clocks that run apart by a tenth each. */
	uint64_t at = s->at_ms + lease_ms + lease_ms / 4;
	if (i->now < at && at < *next_ms)
		*next_ms = at;
	return i->now >= at;
}

/* Whoever said it cannot take it back while an instance is open. */
static bool check_overdue(struct ipam *i)
{
	struct reclaim *c = &i->reclaim;
	bool changed = false;
	c->check_ms = UINT64_MAX;
	c->check = false;
	for (size_t k = 0; k < c->n_seen; k++) {
		bool now = find_overdue(i, &c->seen[k], &c->check_ms);
		if (now == c->seen[k].overdue || (instance_open(&c->in) && !now))
			continue;
		c->seen[k].overdue = now;
		changed = true;
	}
	return changed;
}

/* --- going forward --- */

/* Whoever has nothing to fear or to win stays silent: without --reclaim-after nothing of all this is heard of. */
static void activate(struct ipam *i)
{
	struct reclaim *c = &i->reclaim;
	bool part = i->owned.n > 0 || epoch_member(&c->epoch, i->cfg.self) != NULL;
	bool forgetful = i->recovering && was_member(i) && c->dirty && reclaim_anybody(i); /* what is ours waits for it */
	if (c->active)
		return;
	if ((i->cfg.reclaim_after_ms == 0 && !forgetful) || i->stopped || i->suspended || !ring_exists(i) || !part) {
		c->active_ms = 0;
		return;
	}
	if (forgetful) {
		c->active_ms = i->now;
	} else if (c->active_ms == 0) {
		uint64_t wait = i->cfg.reclaim_after_ms / 16 < RECLAIM_FIRST_MS ? i->cfg.reclaim_after_ms / 16 : RECLAIM_FIRST_MS;
		c->active_ms = i->now + rng_between(&i->rng, wait * 3 / 4, wait);
	}
	c->active = i->now >= c->active_ms;
	c->dirty = c->dirty || c->active;
}

/* A promise freezes what we acknowledge, and a higher one takes their quorum from those who are about to name a value. Who raises ballots for ever is passed over. */
static enum err listen_to_voters(struct ipam *i, bool *changed)
{
	struct reclaim *c = &i->reclaim;
	enum pace what = instance_open(&c->in) ? PACE_BALLOT : PACE_OPEN;
	bool listened = false;
	c->in.muted = c->muted;
	c->in.n_muted = pace_spent(&c->pacer, what, i->now, c->muted, MUTED_MAX);
	enum err e = instance_listen(&c->in, &listened);
	if (listened)
		(void)pace_take(&c->pacer, what, c->in.heeded, i->now);
	*changed = *changed || listened;
	return e;
}

static enum err vote(struct ipam *i)
{
	struct reclaim *c = &i->reclaim;
	struct epoch next = { 0 };
	bool changed = false;
	enum err e;
	while ((e = instance_chosen(&c->in, &next)) == ERR_OK) {
		e = adopt(i, &next);
		if (e != ERR_OK)
			return e;
	}
	if (e != ERR_AGAIN)
		return e;
	struct ballot before = c->in.promised;
	e = catch_up(i);
	if (e == ERR_OK)
		e = listen_to_voters(i, &changed);
	if (ballot_cmp(before, c->in.promised) != 0)
		c->propose_ms = 0;
	bool told = (c->check || i->now >= c->check_ms) && check_overdue(i);
	if (e == ERR_OK && votes(i)) {
		e = propose(i, &changed);
		if (e == ERR_OK)
			e = propose_lead(i, &changed);
	}
	bool show = changed || (c->active && (told || !c->shown));
	if (show && !i->paxos_stored) {
		enum err f = agree_store(i); /* the memory we vote with */
		i->paxos_stored = f == ERR_OK;
		e = e == ERR_OK ? f : e;
	}
	if (e == ERR_OK && (changed || (show && !c->shown)))
		e = store_vote(i);
	if (e == ERR_OK && show)
		e = publish(i);
	if (e != ERR_OK && changed)
		i->rewrite = true;
	c->dirty = e != ERR_OK || changed; /* it may be chosen by now */
	return e;
}

enum err reclaim(struct ipam *i)
{
	struct reclaim *c = &i->reclaim;
	enum err e = ERR_OK;
	c->in.memory = i->paxos.memory;
	if (!c->epoch.known && !c->outsider && c->founding && ring_exists(i)) {
		c->founding = false;
		e = found(i);
		c->founding = e != ERR_OK;
	}
	activate(i);
	if (e == ERR_OK && c->dirty)
		e = word_collect(i);
	if (c->dirty || i->now >= c->look_ms)
		word_look(i);
	for (int round = 0; round < 4 && e == ERR_OK; round++) {
		bool due = c->dirty || c->check || i->now >= c->check_ms || (c->propose_ms > 0 && i->now >= c->propose_ms) ||
			(c->lag_ms > 0 && i->now >= c->lag_ms);
		if (!due)
			break;
		e = vote(i);
	}
	return e == ERR_OK ? lease(i) : e;
}

enum err reclaim_begin(struct ipam *i)
{
	struct reclaim *c = &i->reclaim;
	c->in.memory = i->paxos.memory;
	if (c->loaded && (!c->epoch.known || c->loaded_epoch != c->epoch.number))
		instance_reset(&c->in);
	i->guard.epoch = c->epoch.number;
	enum err e = lease_align(i);
	if (e == ERR_OK)
		e = lease_begin(i);
	return e == ERR_OK ? word_publish(i) : e;
}

enum err reclaim_rewrite(struct ipam *i)
{
	struct reclaim *c = &i->reclaim;
	enum err e = ERR_OK;
	if (c->epoch.known) {
		e = write_marks(i, &c->epoch, 0);
		if (e == ERR_OK)
			e = lease_align(i);
		if (e == ERR_OK)
			e = store_epoch(i);
	}
	if (e == ERR_OK && (c->active || instance_open(&c->in)))
		e = store_vote(i);
	if (e == ERR_OK)
		e = lease_rewrite(i);
	if (e == ERR_OK)
		e = word_rewrite(i);
	c->shown = false;
	c->dirty = c->check = true;
	return e;
}

void reclaim_news(struct ipam *i, const struct crdt_changes *ch)
{
	struct reclaim *c = &i->reclaim;
	for (size_t k = 0; k < ch->n; k++) {
		struct slice sub = crdt_subkey(ch->keys[k]);
		c->dirty = c->dirty || sub.n == 0 || sub.p[0] == 'e' || sub.p[0] == 'x';
		c->founding = c->founding || sub.n == 0 || sub.p[0] == 'a';
	}
}

void reclaim_topology(struct ipam *i)
{
	struct reclaim *c = &i->reclaim;
	c->dirty = c->check = true;
	c->duels = 0;
	lease_topology(i);
}

uint64_t reclaim_deadline_ms(const struct ipam *i)
{
	const struct reclaim *c = &i->reclaim;
	uint64_t at = lease_deadline_ms(i);
	if (!c->active && c->active_ms > 0 && c->active_ms < at)
		at = c->active_ms;
	if (c->epoch.known && votes(i)) {
		if (c->check_ms < at)
			at = c->check_ms;
		if (c->propose_ms > 0 && c->propose_ms < at && reclaim_reachable(i) >= instance_quorum(&c->in))
			at = c->propose_ms;
	}
	if (c->lag_ms > 0 && c->lag_ms < at)
		at = c->lag_ms;
	return c->look_ms < at ? c->look_ms : at;
}

/* --- what others ask --- */

/* What we say of our epoch to those who recover: one more than it, 0 while nobody can act on it. */
uint64_t reclaim_known(const struct ipam *i)
{
	return i->reclaim.shown && i->reclaim.epoch.known ? i->reclaim.epoch.number + 1 : 0;
}

/* Must what is in doubt stay so? As long as it might be reclaimed from somebody that we were, or that we have taken it over from. */
bool reclaim_pending(const struct ipam *i)
{
	const struct reclaim *c = &i->reclaim;
	if (!c->epoch.known || !reclaim_anybody(i))
		return false;
	const struct member *m = epoch_member(&c->epoch, i->cfg.self);
	if (i->recovering && m && m->memory != i->paxos.memory && m->memory != 0 && c->epoch.n >= RECLAIM_VOTERS_MIN)
		return true;
	for (size_t k = 0; k < i->n_taken; k++)
		if (epoch_member(&c->epoch, i->taken[k]))
			return true;
	return false;
}

/* Has it been decided that the heir has this range of the other's, by a token of this epoch? */
bool epoch_allows(const struct ipam *i, struct range4 r, uint64_t from, uint64_t heir, uint64_t token_epoch)
{
	const struct epoch *e = &i->reclaim.epoch;
	for (size_t k = 0; k < e->n_marks; k++) {
		const struct mark *m = &e->marks[k];
		if (m->epoch == token_epoch && m->from == from && m->heir == heir && m->what.r.start <= r.start &&
			r.end <= m->what.r.end && vouched(i, m))
			return true;
	}
	return false;
}
