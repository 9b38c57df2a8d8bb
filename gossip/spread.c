/* Spreading of state: slots, deltas, reconciliation, and unicast.
 *
 * A slot is the set of keys of one channel that one link has still to carry; the values are read when they are sent. It is emptied at the
 * end of each step unless the link has more than LINK_BUSY_BYTES unsent: then it only collects, at most one entry per key.
 *
 * Where everybody links with everybody (and in any mesh that small), news from link F is not passed to a neighbour which, by published links, is linked with F's peer: it has it from there, or from
 * whomever F's peer has it. (By induction over the chain from the origin: a peer X that is next to someone on the chain gets it from the first
 * of the chain that X is linked with, because that one's source is not linked with X.) When published links are out of date
 * something may be missed; the reconciliations that follow each new or lost link and come every 30 s find it. News under our own name is what
 * we superseded and goes to everyone, to its bringer first of all.
 *
 * In a sparse mesh nobody knows who has what from whom. What we change ourselves goes to all neighbours at once; what others changed goes at once to a few,
 * the next on the ring and some by lot, which takes it everywhere in a few hops, and to the rest a little later, unless they have sent it to us meanwhile.
 * So each link is known to have carried each change, most of them once; nothing depends on a tree that would have to stay whole.
 *
 * What cannot be marked for lack of memory becomes a reconciliation, which needs no list of keys. */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "crdt/delta.h"
#include "crdt/recon.h"
#include "gossip/internal.h"

#define BATCH_KEYS_MAX 8192

static_assert(RECON_MESSAGE_MAX + 2 <= MESSAGE_MAX, "an answer fits into a message");

void gossip_spread_mark_all(struct gossip *g, struct link *l, uint8_t channel)
{
	if (!g->channels[channel].map)
		return;
	l->reconcile |= (uint16_t)(1u << channel);
	l->waiting = true;
}

static void wait_for_later(struct gossip *g, struct link *l)
{
	l->waiting = true;
	if (l->later_ms == 0)
		l->later_ms = g->now + rng_between(&g->rng, SPREAD_LATE_MIN_MS, SPREAD_LATE_MAX_MS);
}

/* later: unless it is sent now anyway. */
static void mark(struct gossip *g, struct link *l, uint8_t channel, struct slice key, bool later)
{
	l->waiting = true;
	if (l->reconcile >> channel & 1)
		return;
	struct slot *s = gossip_slot_get(l, channel);
	if (s && later && gossip_keyset_has(&s->now, key))
		return;
	if (s && gossip_keyset_add(later ? &s->later : &s->now, key, g->uid)) {
		if (!later)
			gossip_keyset_remove(&s->later, key);
		else
			wait_for_later(g, l);
		return;
	}
	if (s) {
		gossip_keyset_clear(&s->now);
		gossip_keyset_clear(&s->later);
	}
	gossip_spread_mark_all(g, l, channel);
}

/* Are we making links with many? In a mesh where everybody links with everybody each will bring what its peer says, which is then proved by the link and
 * need not be looked at: so what we have from others is left for later, and may not be needed then. */
static bool gathering(const struct gossip *g)
{
	size_t n = 0;
	if (gossip_sparse(g))
		return false;
	for (size_t i = 0; i < g->n_links && n < SPREAD_GATHER; i++)
		n += g->links[i]->stage < STAGE_ESTABLISHED ? 1 : 0;
	return n == SPREAD_GATHER;
}

/* The next one on the ring, and some of the others by lot. */
static void choose_early(struct gossip *g, const struct link *source)
{
	struct link *next = NULL, *some[SPREAD_EARLY];
	size_t n = 0, seen = 0;
	for (size_t i = 0; i < g->n_links; i++) {
		struct link *l = g->links[i];
		const struct peer *p = gossip_peer_find(g, l->peer);
		l->early = p && p->links.n <= SPREAD_FEW_LINKS; /* it has hardly anybody else to hear it from */
		if (l->stage == STAGE_ESTABLISHED && l != source &&
			(!next || gossip_ring_distance(g->self, l->peer) < gossip_ring_distance(g->self, next->peer)))
			next = l;
	}
	for (size_t i = 0; i < g->n_links; i++) {
		struct link *l = g->links[i];
		if (l->stage != STAGE_ESTABLISHED || l == source || l == next)
			continue;
		size_t at = n < SPREAD_EARLY ? n++ : (size_t)rng_below(&g->rng, seen + 1);
		if (at < SPREAD_EARLY)
			some[at] = l;
		seen++;
	}
	for (size_t i = 0; i < n; i++)
		some[i]->early = true;
	if (next)
		next->early = true;
	g->early_chosen = true;
}

void gossip_spread_news(struct gossip *g, uint8_t channel, const struct crdt_changes *ch, const struct link *source)
{
	bool sparse = gossip_sparse(g), gathers = source && crdt_map_owned(g->channels[channel].map) && gathering(g);
	if (sparse && source && !g->early_chosen)
		choose_early(g, source);
	for (size_t i = 0; i < g->n_links; i++) {
		struct link *l = g->links[i];
		if (l->stage != STAGE_ESTABLISHED)
			continue;
		bool has_it = source && (l == source || l->peer == source->peer);
		if (!sparse && !has_it)
			has_it = source && gossip_peers_linked(g, l->peer, source->peer);
		bool later = gathers || (sparse && source && !l->early);
		for (size_t k = 0; k < ch->n; k++) {
			bool ours = crdt_owner(ch->keys[k]) == g->self;
			if (!has_it || ours)
				mark(g, l, channel, ch->keys[k], later && !ours);
		}
	}
}

/* What is not ours may have come over a link of theirs with who said it. */
static bool had_since(const struct gossip *g, const struct link *l, uint8_t channel, struct slice key)
{
	return !gossip_sparse(g) && crdt_map_owned(g->channels[channel].map) && gossip_peers_linked(g, l->peer, crdt_owner(key));
}

void gossip_spread_later(struct gossip *g, struct link *l)
{
	l->later_ms = 0;
	for (uint8_t id = 0; l->recon_owed && id < GOSSIP_CHANNELS_MAX; id++)
		gossip_spread_mark_all(g, l, id);
	l->recon_owed = false;
	for (uint8_t id = 0; id < GOSSIP_CHANNELS_MAX; id++) {
		struct slot *s = l->slots[id];
		struct slice key;
		if (!s || s->later.n == 0)
			continue;
		struct keyset late = s->later;
		s->later = (struct keyset){ 0 };
		for (uint32_t at = 0; gossip_keyset_next(&late, &at, &key);)
			if (!had_since(g, l, id, key))
				mark(g, l, id, key, false);
		gossip_keyset_clear(&late);
	}
}

/* What the other end has just sent us need not go there, if ours is not newer. */
static void spare(struct gossip *g, struct link *l, const struct message_state *m)
{
	struct slot *s = l->slots[m->channel];
	struct rbuf r;
	rbuf_init(&r, m->body.p, m->body.n);
	uint64_t n = rbuf_varint(&r);
	while (s && (s->now.n > 0 || s->later.n > 0) && n-- > 0 && rbuf_ok(&r)) {
		struct crdt_item theirs, ours;
		crdt_item_decode(&r, &theirs);
		if (!rbuf_ok(&r) || (!gossip_keyset_has(&s->now, theirs.key) && !gossip_keyset_has(&s->later, theirs.key)))
			continue;
		if (crdt_map_get(g->channels[m->channel].map, theirs.key, &ours) && crdt_item_cmp(&theirs, &ours) < 0)
			continue;
		gossip_keyset_remove(&s->now, theirs.key);
		gossip_keyset_remove(&s->later, theirs.key);
	}
	gossip_slot_tidy(l, m->channel);
}

/* Sending */

static bool busy(const struct link *l)
{
	return l->queued + l->out.len >= LINK_BUSY_BYTES;
}

static void begin(struct gossip *g, enum message_type type, uint8_t channel)
{
	wbuf_reset(&g->batch);
	wbuf_u8(&g->batch, (uint8_t)type);
	wbuf_u8(&g->batch, channel);
}

static bool send_batch(struct gossip *g, struct link *l, uint8_t channel)
{
	if (!gossip_link_send_bytes(g, l, wbuf_slice(&g->batch)))
		return false;
	g->counters.channel_out[channel]++;
	return true;
}

static bool send_opening(struct gossip *g, struct link *l, uint8_t channel)
{
	begin(g, MESSAGE_RECON, channel);
	if (crdt_recon_open(g->channels[channel].map, &g->batch) != ERR_OK || !send_batch(g, l, channel))
		return false;
	g->counters.reconciliations++;
	l->reconcile &= (uint16_t) ~(1u << channel);
	return true;
}

static bool send_delta(struct gossip *g, struct link *l, uint8_t channel)
{
	struct keyset *s = &l->slots[channel]->now;
	size_t n = s->n < BATCH_KEYS_MAX ? s->n : BATCH_KEYS_MAX, taken = 0;
	struct slice *keys = arena_alloc(g->out->arena, n * sizeof *keys);
	uint32_t at = 0;
	if (!keys)
		return false;
	for (size_t i = 0; i < n; i++)
		(void)gossip_keyset_next(s, &at, &keys[i]);
	begin(g, MESSAGE_DELTA, channel);
	if (crdt_delta_encode(g->channels[channel].map, keys, n, MESSAGE_DELTA_MAX, &g->batch, &taken) != ERR_OK)
		return false;
	assert(taken > 0);
	if (!send_batch(g, l, channel))
		return false;
	l->delta_ms = g->now;
	at = (uint32_t)(keys[taken - 1].p + keys[taken - 1].n - s->bytes);
	if (!gossip_keyset_drop(s, at, g->uid)) {
		gossip_keyset_clear(s);
		gossip_spread_mark_all(g, l, channel);
	}
	return true;
}

static size_t waits(const struct link *l, uint8_t channel)
{
	return l->slots[channel] ? l->slots[channel]->now.n : 0;
}

bool gossip_spread_gap(const struct gossip *g, const struct link *l)
{
	return l->delta_ms != 0 && g->now < l->delta_ms + SPREAD_GAP_MS && gossip_sparse(g);
}

void gossip_spread_flush(struct gossip *g, struct link *l)
{
	bool left = false;
	if (gossip_spread_gap(g, l)) {
		if (l->timer.at_ms > l->delta_ms + SPREAD_GAP_MS)
			gossip_timer_set(g, &l->timer, l->delta_ms + SPREAD_GAP_MS);
		return;
	}
	for (uint8_t id = 0; id < GOSSIP_CHANNELS_MAX; id++) {
		while ((l->reconcile >> id & 1 || waits(l, id) > 0) && !busy(l)) {
			if (waits(l, id) > 0 ? send_delta(g, l, id) : send_opening(g, l, id))
				continue;
			g->nomem = true;
			break;
		}
		left = left || l->reconcile >> id & 1 || waits(l, id) > 0;
		gossip_slot_tidy(l, id);
	}
	l->waiting = left;
	gossip_converge_flushed(g, l);
	if (l->later_ms != 0 && l->timer.at_ms > l->later_ms)
		gossip_timer_set(g, &l->timer, l->later_ms);
}

/* What we say ourselves; more than a little is left to a reconciliation. */
static void mark_own(struct gossip *g, struct link *l, uint8_t channel)
{
	const struct crdt_map *m = g->channels[channel].map;
	uint8_t from[6];
	struct wbuf w;
	struct crdt_item it;
	wbuf_fixed(&w, from, sizeof from);
	wbuf_u48(&w, g->self);
	bool there = m && crdt_map_owned(m) && crdt_map_seek(m, wbuf_slice(&w), &it);
	for (size_t n = 0; there && crdt_owner(it.key) == g->self; n++) {
		if (n == SPREAD_OWN_MAX) {
			gossip_spread_mark_all(g, l, channel);
			return;
		}
		mark(g, l, channel, it.key, false);
		there = crdt_map_next(m, it.key, &it);
	}
}

/* The dialler opens: one reconciliation per channel is enough for both. Our own two items go at once, so that reachability is there
 * before the reconciliation has found them. While many links are being made all that is our own does, and the reconciliation comes later. */
void gossip_spread_established(struct gossip *g, struct link *l)
{
	bool gathers = gathering(g);
	if (l->outbound && gathers) {
		l->recon_owed = true;
		wait_for_later(g, l);
	}
	for (uint8_t id = 0; id < GOSSIP_CHANNELS_MAX; id++) {
		if (l->outbound && !gathers)
			gossip_spread_mark_all(g, l, id);
		if (gathers)
			mark_own(g, l, id);
	}
	struct crdt_map *m = g->channels[CHANNEL_PEERS].map;
	uint8_t key[7];
	for (int i = 0; i < 2; i++) {
		struct crdt_item it;
		struct wbuf w;
		wbuf_fixed(&w, key, sizeof key);
		wbuf_u48(&w, g->self);
		wbuf_u8(&w, i == 0 ? 'i' : 'l');
		if (!crdt_map_get(m, wbuf_slice(&w), &it))
			continue;
		struct slot *s = gossip_slot_get(l, CHANNEL_PEERS);
		if (!s || !gossip_keyset_add(&s->now, it.key, g->uid))
			gossip_spread_mark_all(g, l, CHANNEL_PEERS);
		l->waiting = true;
	}
}

void gossip_spread_random(struct gossip *g)
{
	size_t n = 0;
	for (size_t i = 0; i < g->n_links; i++)
		n += g->links[i]->stage == STAGE_ESTABLISHED ? 1 : 0;
	if (n == 0)
		return;
	size_t pick = (size_t)rng_below(&g->rng, n);
	for (size_t i = 0; i < g->n_links; i++) {
		struct link *l = g->links[i];
		if (l->stage != STAGE_ESTABLISHED || pick-- > 0)
			continue;
		for (uint8_t id = 0; id < GOSSIP_CHANNELS_MAX; id++)
			gossip_spread_mark_all(g, l, id);
		return;
	}
}

/* Receiving */

static struct crdt_map *channel_of(struct gossip *g, const struct message_state *m)
{
	struct crdt_map *map = m->channel < GOSSIP_CHANNELS_MAX ? g->channels[m->channel].map : NULL;
	if (map)
		g->counters.channel_in[m->channel]++;
	else
		g->counters.unknown_types++; /* a channel of a newer version */
	return map;
}

/* Who has published more than a host may is named. */
static void look_at_quota(struct gossip *g, struct channel *c)
{
	uint64_t owner, over = crdt_map_over(c->map, &owner);
	char name[PEER_TEXT];
	if (over == c->over)
		return;
	g->counters.refused[REFUSED_QUOTA] += over - c->over;
	c->over = over;
	gossip_act_note_about(g, owner, NOTE_WARNING, false, "%s has published more %s than a host may: the oldest are not kept",
		peer_format(owner, name), c->name);
}

void gossip_spread_took(struct gossip *g, struct link *l, uint8_t channel, const struct crdt_changes *ch)
{
	if (ch->n > 0) {
		struct gossip_action *a = gossip_act(g, GOSSIP_NEWS); /* reserved before the merge */
		assert(a);
		a->u.news.channel = channel;
		a->u.news.changes = *ch;
		gossip_spread_news(g, channel, ch, l);
	}
	look_at_quota(g, &g->channels[channel]);
	if (crdt_map_trusted(g->channels[channel].map) > 0)
		gossip_sign_trusted(g);
	if (channel != CHANNEL_PEERS)
		return;
	if (ch->n > 0)
		gossip_peers_changed(g, ch);
	gossip_contest_heard(g);
}

static void refuse(struct gossip *g, struct link *l, const struct message_state *m, enum err e)
{
	if (e == ERR_NOMEM) {
		/* What was not taken is asked for again, but not at once: it would only be refused again. */
		g->nomem = true;
		if (g->recon_soon_timer.at_ms == 0)
			gossip_timer_set(g, &g->recon_soon_timer, g->now + RECON_RETRY_MS);
		return;
	}
	char what[64], who[160];
	(void)snprintf(what, sizeof what, "%s state", g->channels[m->channel].name);
	if (e ==
		ERR_LIMIT) { /* our map is full, or theirs was too much at once: what could be taken was, and the link is not to blame */
		gossip_act_note_about(g, NOTE_WARNING, false, m->channel, "not all of the %s that %s sent is taken: %s", what,
			gossip_link_who(l, who), err_text(e));
		return;
	}
	gossip_link_malformed(g, l, what, e);
}

void gossip_spread_delta(struct gossip *g, struct link *l, const struct message_state *m)
{
	struct crdt_map *map = channel_of(g, m);
	if (!map)
		return;
	struct crdt_changes ch;
	struct rbuf r;
	size_t items = 0, news = 0;
	crdt_changes_init(&ch, g->out->arena);
	rbuf_init(&r, m->body.p, m->body.n);
	g->judging = l->distrusted ? NULL : l;
	enum err e = gossip_act_reserve(g, 1) ? crdt_delta_merge(map, &r, &ch, &items, &news) : ERR_NOMEM;
	g->judging = NULL;
	gossip_spread_took(g, l, m->channel, &ch);
	if (e != ERR_OK)
		refuse(g, l, m, e);
	else
		spare(g, l, m);
}

void gossip_spread_recon(struct gossip *g, struct link *l, const struct message_state *m)
{
	struct crdt_map *map = channel_of(g, m);
	if (!map)
		return;
	struct crdt_changes ch;
	struct rbuf r;
	crdt_changes_init(&ch, g->out->arena);
	rbuf_init(&r, m->body.p, m->body.n);
	begin(g, MESSAGE_RECON, m->channel);
	size_t start = g->batch.len;
	g->judging = l->distrusted ? NULL : l;
	enum err e = gossip_act_reserve(g, 1) ? crdt_recon_step(map, &r, &g->batch, &ch, NULL) : ERR_NOMEM;
	g->judging = NULL;
	if ((e == ERR_OK || e == ERR_LIMIT) && g->batch.len > start) {
		if (busy(l) || !send_batch(g, l, m->channel))
			gossip_spread_mark_all(g, l, m->channel); /* it can start again when there is room */
	}
	gossip_spread_took(g, l, m->channel, &ch);
	if (e != ERR_OK)
		refuse(g, l, m, e);
}

/* Unicast */

void gossip_spread_unicast(struct gossip *g, const struct message_unicast *u, bool ours)
{
	if (u->to == g->self) {
		uint8_t *copy = arena_dup(g->out->arena, u->payload.p, u->payload.n);
		struct gossip_action *a = copy || u->payload.n == 0 ? gossip_act(g, GOSSIP_UNICAST) : NULL;
		if (!a) {
			g->nomem = true;
			return;
		}
		a->u.unicast.from = u->from;
		a->u.unicast.kind = u->kind;
		a->u.unicast.payload = slice_of(copy, u->payload.n);
		return;
	}
	const struct peer *next = gossip_peer_find(g, gossip_next_hop(g, u->to));
	if ((!ours && u->hops == 0) || !next || !next->link || next->link->queued + next->link->out.len >= LINK_FULL_BYTES) {
		g->counters.unroutable++;
		return;
	}
	struct message m = { .type = MESSAGE_UNICAST };
	m.u.unicast = *u;
	if (!ours)
		m.u.unicast.hops--;
	else if (next->name != u->to)
		gossip_sign_unicast(g, &m.u.unicast);
	(void)gossip_link_send(g, next->link, &m); /* datagrams: who asked asks again */
}
