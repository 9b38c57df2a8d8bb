/* Spreading of state: slots, deltas, reconciliation, and unicast.
 *
 * A slot is the set of keys of one channel that one link has still to carry; the values are read when they are sent. It is emptied at the
 * end of each step unless the link has more than LINK_BUSY_BYTES unsent: then it only collects, at most one entry per key.
 *
 * News from link F is not passed to a neighbour which, by published links, is linked with F's peer: it has it from there, or from
 * whomever F's peer has it. (By induction over the chain from the origin: a peer X that is next to someone on the chain gets it from the first
 * of the chain that X is linked with, because that one's source is not linked with X.) When published links are out of date
 * something may be missed; the reconciliations that follow each new or lost link and come every 30 s find it. News under our own name is what
 * we superseded and goes to everyone, to its bringer first of all.
 *
 * What cannot be marked for lack of memory becomes a reconciliation, which needs no list of keys. */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "crdt/delta.h"
#include "crdt/recon.h"
#include "gossip/internal.h"

#define SLOT_INDEX_MIN 16
#define BATCH_KEYS_MAX 8192

static_assert(RECON_MESSAGE_MAX + 2 <= MESSAGE_MAX, "an answer fits into a message");

void gossip_slot_free(struct slot *s)
{
	mem_free(s->keys);
	map_free(s->index);
	*s = (struct slot){ 0 };
}

static void slot_clear(struct slot *s)
{
	s->len = s->n = 0;
	map_free(s->index);
	s->index = NULL;
	if (s->cap > 4096) {
		mem_free(s->keys);
		s->keys = NULL;
		s->cap = 0;
	}
}

static struct slice slot_key(const struct slot *s, size_t at)
{
	return slice_of(s->keys + at + 1, s->keys[at]);
}

static bool slot_has(const struct slot *s, struct slice key)
{
	if (s->index)
		return map_get(s->index, key) != NULL;
	for (size_t at = 0; at < s->len; at += 1u + s->keys[at])
		if (slice_eq(slot_key(s, at), key))
			return true;
	return false;
}

static bool index_slot(struct slot *s, uint64_t seed)
{
	struct map *m = map_new(seed);
	bool ok = m != NULL;
	for (size_t at = 0; ok && at < s->len; at += 1u + s->keys[at])
		ok = map_put(m, slot_key(s, at), s, NULL) == ERR_OK;
	if (!ok) {
		map_free(m);
		return false;
	}
	s->index = m;
	return true;
}

static bool slot_add(struct slot *s, struct slice key, uint64_t seed)
{
	assert(key.n > 0 && key.n <= CRDT_KEY_MAX);
	if (slot_has(s, key))
		return true;
	void *v = s->keys;
	if (!mem_grow(&v, &s->cap, s->len + 1 + key.n, 1))
		return false;
	s->keys = v;
	if (s->index && map_put(s->index, key, s, NULL) != ERR_OK)
		return false;
	s->keys[s->len] = (uint8_t)key.n;
	memcpy(s->keys + s->len + 1, key.p, key.n);
	s->len += 1 + key.n;
	s->n++;
	return s->index || s->n < SLOT_INDEX_MIN || index_slot(s, seed);
}

size_t gossip_slot_bytes(const struct link *l)
{
	size_t n = 0;
	for (size_t i = 0; i < GOSSIP_CHANNELS_MAX; i++)
		n += l->slots[i].len;
	return n;
}

static void mark(struct gossip *g, struct link *l, uint8_t channel, struct slice key)
{
	struct slot *s = &l->slots[channel];
	l->waiting = true;
	if (s->reconcile || slot_add(s, key, g->uid))
		return;
	slot_clear(s);
	s->reconcile = true;
}

void gossip_spread_mark_all(struct gossip *g, struct link *l, uint8_t channel)
{
	if (!g->channels[channel].map)
		return;
	l->slots[channel].reconcile = true;
	l->waiting = true;
}

void gossip_spread_news(struct gossip *g, uint8_t channel, const struct crdt_changes *ch, const struct link *source)
{
	for (size_t i = 0; i < g->n_links; i++) {
		struct link *l = g->links[i];
		if (l->stage != STAGE_ESTABLISHED)
			continue;
		bool has_it = source && (l == source || l->peer == source->peer || gossip_peers_linked(g, l->peer, source->peer));
		for (size_t k = 0; k < ch->n; k++)
			if (!has_it || crdt_owner(ch->keys[k]) == g->self)
				mark(g, l, channel, ch->keys[k]);
	}
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
	l->slots[channel].reconcile = false;
	return true;
}

/* Takes the first bytes off the slot. */
static void slot_drop(struct slot *s, size_t n, uint64_t seed)
{
	size_t at = 0;
	for (size_t i = 0; i < n; i++)
		at += 1u + s->keys[at];
	if (at == s->len) {
		slot_clear(s);
		return;
	}
	memmove(s->keys, s->keys + at, s->len - at);
	s->len -= at;
	s->n -= n;
	map_free(s->index);
	s->index = NULL;
	if (s->n >= SLOT_INDEX_MIN && !index_slot(s, seed)) {
		slot_clear(s);
		s->reconcile = true;
	}
}

static bool send_delta(struct gossip *g, struct link *l, uint8_t channel)
{
	struct slot *s = &l->slots[channel];
	size_t n = s->n < BATCH_KEYS_MAX ? s->n : BATCH_KEYS_MAX, taken = 0, at = 0;
	struct slice *keys = arena_alloc(g->out->arena, n * sizeof *keys);
	if (!keys)
		return false;
	for (size_t i = 0; i < n; i++, at += 1u + s->keys[at])
		keys[i] = slot_key(s, at);
	begin(g, MESSAGE_DELTA, channel);
	if (crdt_delta_encode(g->channels[channel].map, keys, n, MESSAGE_DELTA_MAX, &g->batch, &taken) != ERR_OK)
		return false;
	assert(taken > 0);
	if (!send_batch(g, l, channel))
		return false;
	slot_drop(s, taken, g->uid);
	return true;
}

void gossip_spread_flush(struct gossip *g, struct link *l)
{
	bool left = false;
	for (uint8_t id = 0; id < GOSSIP_CHANNELS_MAX; id++) {
		struct slot *s = &l->slots[id];
		while ((s->reconcile || s->n > 0) && !busy(l)) {
			if (s->n > 0 ? send_delta(g, l, id) : send_opening(g, l, id))
				continue;
			g->nomem = true;
			break;
		}
		left = left || s->reconcile || s->n > 0;
	}
	l->waiting = left;
}

/* The dialler opens: one reconciliation per channel is enough for both. Our own two items go at once, so that reachability is there
 * before the reconciliation has found them. */
void gossip_spread_established(struct gossip *g, struct link *l)
{
	if (l->outbound)
		for (uint8_t id = 0; id < GOSSIP_CHANNELS_MAX; id++)
			gossip_spread_mark_all(g, l, id);
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
		if (!slot_add(&l->slots[CHANNEL_PEERS], it.key, g->uid))
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

void gossip_spread_took(struct gossip *g, struct link *l, uint8_t channel, const struct crdt_changes *ch)
{
	if (ch->n > 0) {
		struct gossip_action *a = gossip_act(g, GOSSIP_NEWS); /* reserved before the merge */
		assert(a);
		a->u.news.channel = channel;
		a->u.news.changes = *ch;
		gossip_spread_news(g, channel, ch, l);
	}
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
