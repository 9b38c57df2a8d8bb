/* Theory of operation.
 *
 * A step takes one event in, which changes something small (a request more, some tokens merged), and then settle() brings everything
 * forward that can go forward now: agreement, recovery, requests, questions to others, publications. Each part of settle() looks at the
 * whole state and does what is due, so that no part needs to know which event made it due, and doing it once more does no harm.
 *
 * Memory may run out at any point. What must not be torn apart is ordered so that the part that can fail comes first: a lease's record is
 * among the actions before its answer; room for a grant's records is put aside before the ring changes. Everything else is made good
 * at the next step: `failed` asks for one soon, `rewrite` makes it write and publish the whole state again. */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "ipam/internal.h"

#define FAILED_MS 100

/* --- making --- */

static int seed_cmp(uint64_t a, uint64_t b)
{
	return a < b ? -1 : a > b;
}

static enum err copy_seeds(struct ipam *i)
{
	const struct ipam_cfg *c = &i->cfg;
	if (c->n_seeds == 0)
		return ERR_OK;
	i->seeds = mem_zalloc(c->n_seeds, sizeof *i->seeds);
	if (!i->seeds)
		return ERR_NOMEM;
	/* Insertion sort: a handful, and everybody must have the same order. */
	size_t n = 0;
	for (size_t k = 0; k < c->n_seeds; k++) {
		size_t at = n;
		while (at > 0 && seed_cmp(i->seeds[at - 1], c->seeds[k]) > 0)
			at--;
		if (at > 0 && i->seeds[at - 1] == c->seeds[k])
			continue;
		memmove(i->seeds + at + 1, i->seeds + at, (n - at) * sizeof *i->seeds);
		i->seeds[at] = c->seeds[k];
		n++;
	}
	i->cfg.n_seeds = n;
	i->cfg.seeds = i->seeds;
	return ERR_OK;
}

static enum err check_cfg(const struct ipam_cfg *c, struct err_note *note)
{
	char a[PREFIX_TEXT], b[PREFIX_TEXT];
	struct prefix whole = { ip_v4(c->universe.first), c->universe.len };
	if (c->universe.len < 8 || c->universe.len > IPAM_SUBNET_MAX_LEN || !prefix_is_network(whole))
		return err_note(note, ERR_RANGE, "%s cannot be the range of addresses: a network of /8 to /%d is wanted",
			prefix_format(whole, a), IPAM_SUBNET_MAX_LEN);
	enum err e = ipam_check_subnet(c->default_subnet, note);
	if (e != ERR_OK)
		return e;
	if (!prefix_overlaps(c->default_subnet, whole))
		return err_note(note, ERR_RANGE, "the default subnet %s is outside the range %s", prefix_format(c->default_subnet, a),
			prefix_format(whole, b));
	if (c->n_seeds > IPAM_SEEDS_MAX)
		return err_note(note, ERR_LIMIT, "%zu seeds: at most %d are possible", c->n_seeds, IPAM_SEEDS_MAX);
	if (c->init == IPAM_SEED && c->n_seeds == 0)
		return err_note(note, ERR_USAGE, "no seeds are named");
	for (size_t k = 0; k < c->n_seeds; k++)
		if (c->seeds[k] == PEER_NONE || c->seeds[k] > PEER_MAX)
			return err_note(note, ERR_RANGE, "a seed has no valid name");
	return ERR_OK;
}

enum err ipam_new(struct ipam **out, const struct ipam_cfg *cfg, struct err_note *note)
{
	*out = NULL;
	enum err e = check_cfg(cfg, note);
	if (e != ERR_OK)
		return e;
	struct ipam *i = mem_zalloc(1, sizeof *i);
	if (!i)
		return err_note(note, ERR_NOMEM, "out of memory");
	i->cfg = *cfg;
	i->expected = i->known = 1;
	i->paxos_dirty = true;
	i->ring_whole = true;
	rng_seed(&i->rng, cfg->seed);
	i->run = rng_u64(&i->rng);
	paxos_init(&i->paxos, cfg->self, cfg->universe, (uint32_t)rng_between(&i->rng, 1, UINT32_MAX));
	reclaim_init(i);
	e = space_init(&i->space, rng_u64(&i->rng));
	if (e == ERR_OK)
		e = copy_seeds(i);
	if (e != ERR_OK) {
		ipam_free(i);
		return err_note(note, e, "out of memory");
	}
	*out = i;
	return ERR_OK;
}

void ipam_free(struct ipam *i)
{
	if (!i)
		return;
	request_free_all(i);
	ask_free_all(i);
	space_free(&i->space);
	paxos_free(&i->paxos);
	guard_free(i);
	reclaim_free(i);
	ranges_free(&i->whole);
	ranges_free(&i->owned);
	ranges_free(&i->doubt);
	ranges_free(&i->lost);
	ranges_free(&i->given);
	ranges_free(&i->trusted);
	mem_free(i->census.v);
	mem_free(i->taken);
	mem_free(i->usage);
	mem_free(i->handover);
	mem_free(i->seeds);
	mem_free(i);
}

void ipam_set_expected(struct ipam *i, size_t n)
{
	i->expected = n > 0 ? n : 1;
	i->paxos_dirty = true;
}

/* --- storing and restoring --- */

static enum err load_token(struct ipam *i, struct slice value)
{
	struct rbuf r;
	struct crdt_item it;
	enum crdt_merge what;
	struct universe u = i->cfg.universe, v;
	rbuf_init(&r, value.p, value.n);
	crdt_item_decode(&r, &it);
	if (rbuf_end(&r) != ERR_OK || !ring_item_valid(&it))
		return ERR_MALFORMED;
	v = ring_item_universe(&it);
	if (v.first != u.first || v.len != u.len)
		return ERR_RANGE;
	return crdt_map_restore(i->cfg.ring, &it, &what, NULL);
}

static enum err load(struct ipam *i, struct slice tag, struct rbuf *rest, struct slice value)
{
	if (slice_eq(tag, slice_str("lease/"))) {
		uint32_t addr = rbuf_u32(rest);
		return rbuf_end(rest) == ERR_OK ? lease_load(i, addr, value) : ERR_MALFORMED;
	}
	if (slice_eq(tag, slice_str("ring/")))
		return load_token(i, value);
	if (slice_eq(tag, slice_str("seen/"))) {
		uint64_t name = rbuf_u48(rest);
		return rbuf_end(rest) == ERR_OK ? lease_load_seen(i, name, value) : ERR_MALFORMED;
	}
	if (rbuf_end(rest) != ERR_OK)
		return ERR_MALFORMED;
	if (slice_eq(tag, slice_str("paxos/")))
		return agree_load(i, value);
	if (slice_eq(tag, slice_str("quorum/")))
		return agree_load_quorum(i, value);
	if (slice_eq(tag, slice_str("former/")))
		return guard_load_former(i, value);
	if (slice_eq(tag, slice_str("founding/")))
		return founding_load(i, value);
	if (slice_eq(tag, slice_str("doubt/")))
		return own_load_doubt(i, value);
	if (slice_eq(tag, slice_str("epoch/")))
		return reclaim_load_epoch(i, value);
	if (slice_eq(tag, slice_str("vote/")))
		return reclaim_load_vote(i, value);
	if (slice_eq(tag, slice_str("removed/")))
		return word_load(i, value);
	if (slice_eq(tag, slice_str("spare/")))
		return lease_load_own(i, value);
	return ERR_MALFORMED;
}

enum err ipam_restore(struct ipam *i, struct slice key, struct slice value, struct err_note *note)
{
	struct rbuf r;
	struct universe u = i->cfg.universe, v;
	char a[IP_TEXT], tag[16];
	size_t n = 0;
	assert(!i->started);
	while (n < key.n && key.p[n] != '/')
		n++;
	if (n == key.n || n + 1 >= sizeof tag)
		return err_note(note, ERR_MALFORMED, "a stored record of addresses has a key of an unknown kind");
	n++;
	memcpy(tag, key.p, n);
	tag[n] = '\0';
	rbuf_init(&r, key.p + n, key.n - n);
	v.first = rbuf_u32(&r);
	v.len = rbuf_u8(&r);
	if (!rbuf_ok(&r))
		return err_note(note, ERR_MALFORMED, "a stored %s record has no range", tag);
	if (v.first != u.first || v.len != u.len)
		return err_note(
			note, ERR_RANGE, "a stored %s record belongs to another range, %s/%u", tag, ip_format(ip_v4(v.first), a), v.len);
	enum err e = load(i, slice_of(key.p, n), &r, value);
	if (e == ERR_TRUNCATED || e == ERR_LIMIT)
		e = ERR_MALFORMED;
	if (e == ERR_NOMEM)
		return err_note(note, e, "out of memory");
	return e == ERR_OK ? e : err_note(note, e, "a stored %s record cannot be read", tag);
}

/* After memory ran out in between: everything on disk and everything published, once more. */
static enum err rewrite(struct ipam *i)
{
	struct crdt_changes all;
	struct crdt_item it;
	enum err e = ERR_OK;
	crdt_changes_init(&all, i->out->arena);
	for (bool there = crdt_map_seek(i->cfg.ring, slice_of(NULL, 0), &it); there && e == ERR_OK;
		 there = crdt_map_next(i->cfg.ring, it.key, &it))
		e = crdt_changes_add(&all, it.key);
	if (e == ERR_OK)
		e = out_ring(i, &all, true);
	for (size_t n = 0; n < i->space.n_leases && e == ERR_OK; n++)
		e = lease_store(i, i->space.leases[n]);
	if (e == ERR_OK)
		e = own_store_doubt(i);
	if (e == ERR_OK)
		e = agree_store(i);
	if (e == ERR_OK)
		e = reclaim_rewrite(i);
	if (e == ERR_OK)
		e = usage_scan(i);
	if (e == ERR_OK) {
		i->paxos_published = false;
		i->paxos_dirty = true;
		i->rewrite = false;
	}
	return e;
}

/* --- the step --- */

static enum err begin(struct ipam *i)
{
	enum err e = ERR_OK;
	/* With a lost disk, and as long as recovery lasts, nothing counts as ours from before. */
	i->recovering = i->recovering || i->cfg.fresh_store;
	if (i->cfg.fresh_store)
		e = own_store_doubt(i);
	i->started = i->recovering;
	i->guard.newcomer = !ring_exists(i);
	i->guard.alone = true;
	i->ring_dirty = true;
	if (e == ERR_OK)
		e = own_sync(i);
	if (e == ERR_OK)
		e = usage_scan(i);
	if (e == ERR_OK)
		e = usage_back(i);
	if (e == ERR_OK)
		e = reclaim_begin(i);
	i->holds_dirty = true;
	i->started = e == ERR_OK;
	return e;
}

static enum err publish_holds(struct ipam *i)
{
	enum err e = ERR_OK;
	for (size_t n = 0; n < i->space.n_leases && e == ERR_OK; n++)
		e = usage_hold(i, i->space.leases[n]);
	if (e == ERR_OK)
		i->holds_dirty = false;
	return e;
}

static enum err settle(struct ipam *i)
{
	enum err e = own_sync(i);
	if (e == ERR_OK)
		e = guard_settle(i);
	if (e == ERR_OK)
		e = agree(i);
	if (e == ERR_OK)
		e = reclaim(i);
	if (e == ERR_OK)
		e = recover(i);
	if (e == ERR_OK)
		e = donate_leaving(i);
	if (e == ERR_OK && i->n_pending > 0)
		e = request_retry(i);
	if (e == ERR_OK && i->n_asks > 0) {
		e = ask_forward(i);
		/* For the reasons, and for those who would not wait. */
		if (e == ERR_OK)
			e = request_retry(i);
	}
	if (e == ERR_OK && i->reclaim.n_want > 0)
		e = lease(i);
	if (e == ERR_OK && i->reclaim.n_deferred > 0)
		e = lease_deferred(i);
	if (e == ERR_OK && i->holds_dirty)
		e = publish_holds(i);
	if (e == ERR_OK)
		e = founding_settle(i);
	return e == ERR_OK ? usage_publish(i) : e;
}

static bool foreign_new(struct ipam *i, struct universe u)
{
	if (u.first == i->cfg.universe.first && u.len == i->cfg.universe.len)
		return false;
	for (size_t n = 0; n < i->n_foreign; n++)
		if (i->foreign[n].first == u.first && i->foreign[n].len == u.len)
			return false;
	if (i->n_foreign == FOREIGN_MAX)
		return false;
	i->foreign[i->n_foreign++] = u;
	return true;
}

static void report_foreign(struct ipam *i, struct universe u, uint64_t peer)
{
	char theirs[PREFIX_TEXT], ours[PREFIX_TEXT], name[WHO_TEXT];
	if (!foreign_new(i, u))
		return;
	prefix_format((struct prefix){ ip_v4(u.first), u.len }, theirs);
	prefix_format((struct prefix){ ip_v4(i->cfg.universe.first), i->cfg.universe.len }, ours);
	out_note(i, 2,
		"%s gives out addresses of %s, and we of %s: it and we share no addresses until both are launched with the same --ipalloc-range",
		ipam_who(i, peer, name), theirs, ours);
}

static enum err ring_news(struct ipam *i, const struct crdt_changes *ch)
{
	for (size_t k = 0; k < ch->n; k++) {
		struct crdt_item it;
		if (!crdt_map_get(i->cfg.ring, ch->keys[k], &it) || !ring_item_valid(&it))
			continue;
		struct rbuf r;
		rbuf_init(&r, it.value.p, it.value.n);
		report_foreign(i, ring_item_universe(&it), rbuf_u48(&r));
	}
	enum err e = out_ring(i, ch, false);
	/* The news are in the map, whatever became of the records. */
	i->ring_dirty = true;
	if (e == ERR_OK)
		e = own_sync(i);
	ask_news(i, true);
	return e;
}

static enum err news(struct ipam *i, const struct ipam_event *ev)
{
	enum err e = ERR_OK;
	guard_news(i, false);
	switch (ev->map) {
	case IPAM_MAP_RING: e = ring_news(i, ev->changes); break;
	case IPAM_MAP_PAXOS:
		/* agree() looks at all of it. The first ring may be in its map already and be reported only after this: what it gives us has to
		 * be known before it counts as a ring in which others are asked for space. */
		i->ring_dirty = i->paxos_dirty = true;
		reclaim_news(i, ev->changes);
		break;
	case IPAM_MAP_USAGE:
		i->ring_dirty = i->ring_dirty || i->owned.n == 0;
		e = usage_news(i, ev->changes);
		if (e != ERR_OK)
			i->rewrite = true; /* which includes reading all of it again */
		ask_news(i, false);
		break;
	}
	return e;
}

static void topology(struct ipam *i)
{
	recover_topology(i);
	guard_news(i, true);
	ask_news(i, true);
	/* Who cannot finish a proposal because it is gone is not waited for long. One who can be reached is: when many hosts start there is news of
	 * them all the time, and none of their proposals would ever have time to be answered. */
	uint64_t soon = i->now + rng_between(&i->rng, 1, PROPOSE_MS), by = i->paxos.promised.proposer;
	if (i->paxos.promised.round == 0 || !(by == i->cfg.self || i->cfg.reachable(i->cfg.ctx, by))) {
		i->duels = 0;
		if (i->propose_ms > soon)
			i->propose_ms = soon;
	}
	i->elect_ms = i->now;
	reclaim_topology(i);
}

static enum err message(struct ipam *i, uint64_t from, struct slice payload)
{
	struct ipam_message m;
	char name[WHO_TEXT];
	enum err e = ipam_message_decode(payload, &m);
	if (e != ERR_OK) {
		if (i->unread_ms == 0 || i->now - i->unread_ms >= UNREAD_MS) /* it may be sent again and again */
			out_note(i, 1, "a message (%s) from %s about addresses cannot be read: %s",
				ipam_message_name(payload.n > 0 ? (enum ipam_message_type)payload.p[0] : 0), ipam_who(i, from, name),
				err_text(e));
		i->unread_ms = i->now;
		return ERR_OK;
	}
	if (m.u.first != i->cfg.universe.first || m.u.len != i->cfg.universe.len) {
		report_foreign(i, m.u, from);
		return ERR_OK;
	}
	switch (m.type) {
	case MSG_SPACE_REQUEST: return donate_request(i, from, &m);
	case MSG_SPACE_GRANT: return ask_granted(i, from, &m);
	case MSG_SPACE_DENIED: return ask_denied(i, from, &m);
	case MSG_RING_REQUEST: return recover_request(i, from, &m);
	case MSG_RING_STATE: return recover_state(i, from, &m);
	case MSG_HANDOVER: return donate_handover_received(i, from, &m);
	case MSG_HANDOVER_ACK: return donate_handover_ack(i, from, &m);
	case MSG_ELECT: i->elected = !ring_exists(i); return ERR_OK;
	case MSG_LEASE_ACK: return lease_ack(i, from, &m);
	case MSG_EPOCH_REQUEST: return reclaim_request(i, from, &m);
	case MSG_EPOCH_STATE: return reclaim_state(i, &m);
	case MSG_TYPES: break;
	}
	return ERR_OK;
}

static enum err handle(struct ipam *i, const struct ipam_event *ev)
{
	switch (ev->kind) {
	case IPAM_TICK: return ERR_OK;
	case IPAM_ALLOCATE:
	case IPAM_CLAIM:
	case IPAM_PRIME: return request_add(i, ev);
	case IPAM_LOOKUP: return request_lookup(i, ev);
	case IPAM_FREE: return request_free(i, ev);
	case IPAM_CANCEL: return request_cancel(i, ev->request);
	case IPAM_MESSAGE: return message(i, ev->peer, ev->payload);
	case IPAM_NEWS: return news(i, ev);
	case IPAM_TOPOLOGY: topology(i); return ERR_OK;
	case IPAM_TAKEOVER: return recover_takeover(i, ev);
	case IPAM_HANDOVER: return donate_handover(i, ev->request);
	case IPAM_SUSPEND: i->suspended = ev->on; return ERR_OK;
	}
	return ERR_OK;
}

enum err ipam_step(struct ipam *i, const struct ipam_event *ev, struct ipam_actions *out)
{
	enum err e = ERR_OK;
	if (ev->now_ms > i->now)
		i->now = ev->now_ms;
	i->out = out;
	i->pool_left = 0;
	if (!i->started)
		e = begin(i);
	if (e == ERR_OK)
		e = own_sync(i);
	if (e == ERR_OK && i->rewrite)
		e = rewrite(i);
	if (e == ERR_OK)
		e = handle(i, ev);
	else if (ev->kind == IPAM_NEWS)
		i->rewrite = i->ring_dirty = true; /* the maps have changed all the same */
	/* What was taken in stays taken in: that it cannot go forward now is not the event's failure. */
	i->failed = e != ERR_OK ? e == ERR_NOMEM : settle(i) != ERR_OK;
	i->out = NULL;
	i->pool_left = 0;
	return e;
}

uint64_t ipam_deadline_ms(const struct ipam *i)
{
	if (!i->started)
		return 0;
	uint64_t at = min_u64(agree_deadline_ms(i), recover_deadline_ms(i));
	at = min_u64(at, min_u64(ask_deadline_ms(i), usage_deadline_ms(i)));
	at = min_u64(at, min_u64(donate_deadline_ms(i), guard_deadline_ms(i)));
	at = min_u64(at, reclaim_deadline_ms(i));
	if (ring_learning(i) && i->n_pending > 0)
		at = min_u64(at, i->learning_ms);
	return i->failed ? i->now + FAILED_MS : at; /* what is due has just failed: not again at once */
}
