/* Giving space away: to hosts that ask, and all of it when we leave. A grant changes the ring first, on disk before anything leaves the
 * host; then the asker is told and gossip tells everybody. Should the message be lost, the asker still learns from gossip what is his. */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "ipam/internal.h"

#define GRAINS 4

static enum err encode_keys(const struct ipam *i, const struct crdt_changes *ch, struct wbuf *w, size_t *n)
{
	*n = 0;
	for (size_t k = 0; k < ch->n && *n < IPAM_ITEMS_MAX; k++) {
		struct crdt_item it;
		if (!crdt_map_get(i->cfg.ring, ch->keys[k], &it))
			continue;
		crdt_item_encode(w, &it);
		(*n)++;
	}
	return wbuf_end(w);
}

/* How many tokens a grant of the range may write. */
static size_t tokens_of(const struct ipam *i, struct range4 r)
{
	uint64_t it = r.start;
	struct ring_span s;
	size_t n = 2;
	while (it < r.end && ring_each(i->cfg.ring, i->cfg.universe, &it, &s))
		n += s.start < r.end ? s.tokens : 0;
	return n;
}

/* The range, all of it ours, goes to another host; changed keys are added to ch. */
static enum err give(struct ipam *i, struct range4 r, uint64_t to, struct crdt_changes *ch)
{
	enum err e = ranges_add(&i->given, r);
	if (e == ERR_OK)
		e = ring_grant(i->cfg.ring, i->cfg.universe, r, i->cfg.self, to, ch);
	if (e != ERR_OK) {
		/* Unless other parts were given in this step. */
		if (ranges_sub(&i->given, r) != ERR_OK)
			ranges_clear(&i->given);
		return e;
	}
	i->ring_dirty = true;
	return ERR_OK;
}

static enum err deny(struct ipam *i, uint64_t to, const struct ipam_message *q, enum deny_reason reason, const char *text)
{
	struct ipam_message m = { .type = MSG_SPACE_DENIED,
		.u = i->cfg.universe,
		.range = q->range,
		.serial = q->serial,
		.reason = reason,
		.text = slice_str(text) };
	return out_send(i, to, &m);
}

static enum err grant(struct ipam *i, uint64_t to, const struct ipam_message *q, struct range4 r)
{
	struct crdt_changes ch;
	struct wbuf items;
	size_t tokens;
	while ((tokens = tokens_of(i, r)) > IPAM_ITEMS_MAX && range4_size(r) > 1)
		r.start += range4_size(r) / 2;
	enum err e = out_reserve(i, tokens + 4, tokens * RECORD_BYTES);
	if (e != ERR_OK)
		return e;
	crdt_changes_init(&ch, i->out->arena);
	e = give(i, r, to, &ch);
	if (e == ERR_LIMIT || e == ERR_REFUSED)
		return deny(i, to, q, DENY_NOT_NOW, "");
	if (e == ERR_OK)
		e = out_ring(i, &ch, true);
	if (e == ERR_OK)
		e = own_sync(i);
	if (e != ERR_OK)
		return e;
	struct ipam_message m = { .type = MSG_SPACE_GRANT, .u = i->cfg.universe, .range = r, .serial = q->serial };
	wbuf_grow(&items, IPAM_PAYLOAD_MAX);
	e = encode_keys(i, &ch, &items, &m.n_items);
	m.items = wbuf_slice(&items);
	if (e == ERR_OK)
		e = out_send(i, to, &m);
	wbuf_free(&items);
	return e;
}

/* The text goes over the wire, where only printable characters are taken. */
static void printable(char *s)
{
	for (; *s; s++)
		if ((unsigned char)*s < 0x20 || *s == 0x7f)
			*s = '?';
}

static enum err request_single(struct ipam *i, uint64_t from, const struct ipam_message *m, bool again)
{
	uint32_t addr = (uint32_t)m->range.start;
	char text[IPAM_TEXT_MAX + 1] = "", name[WHO_TEXT];
	const struct lease *l = space_lease_at(&i->space, addr);
	uint64_t owner = ring_owner(i->cfg.ring, i->cfg.universe, addr), holder = space_holder(&i->space, addr);
	if (owner != i->cfg.self)
		return deny(i, from, m, DENY_NOT_OWNER, "");
	if (l)
		line_format(text, sizeof text, "%s", l->ident);
	else if ((holder != PEER_NONE && holder != from) || (i->cfg.in_use_elsewhere(i->cfg.ctx, addr, &holder) && holder != from))
		line_format(text, sizeof text, "a container of %s", ipam_who(i, holder, name));
	if (text[0]) {
		printable(text);
		return deny(i, from, m, DENY_IN_USE, text);
	}
	if (!again && lease_locked(i, m->range) && lease_defer(i, from, m))
		return ERR_OK;
	if (!ranges_has(&i->space.mine, addr))
		return deny(i, from, m, DENY_NOT_NOW, "");
	return grant(i, from, m, m->range);
}

/* Where tokens begin in the range, and where the whole range ends. */
static enum err collect_cuts(const struct ipam *i, struct range4 r, uint64_t **out, size_t *n)
{
	uint64_t it = r.start > i->cfg.universe.first ? r.start : i->cfg.universe.first;
	struct ring_span s;
	uint64_t *v = NULL;
	size_t cap = 0;
	bool ok = true;
	*n = 0;
	while (ok && ring_each_token(i->cfg.ring, i->cfg.universe, &it, &s) && s.start <= r.end) {
		void *mem = v;
		ok = mem_grow(&mem, &cap, *n + 2, sizeof *v);
		v = mem;
		if (ok)
			v[(*n)++] = s.start;
	}
	uint64_t end = universe_range(i->cfg.universe).end;
	void *mem = v;
	ok = ok && mem_grow(&mem, &cap, *n + 1, sizeof *v);
	v = mem;
	if (ok && (*n == 0 || v[*n - 1] < end))
		v[(*n)++] = end;
	*out = v;
	return ok ? ERR_OK : ERR_NOMEM;
}

/* What is divided no further: an eighth of what each host would have if all had the same, or less. */
static uint64_t grain_of(const struct ipam *i, struct range4 r)
{
	uint64_t it = 0, peer, hosts = 0;
	while (i->cfg.next_peer(i->cfg.ctx, &it, &peer))
		hosts++;
	uint64_t grain = range4_size(r) / (GRAINS * (hosts > 8 ? hosts : 8));
	while ((grain & (grain - 1)) != 0)
		grain &= grain - 1; /* grids of powers of two fit into each other */
	return grain > 0 ? grain : 1;
}

static enum err choose_block(const struct ipam *i, struct range4 r, struct range4 *block, bool *found)
{
	uint64_t *cuts;
	size_t n;
	enum err e = collect_cuts(i, r, &cuts, &n);
	*found = e == ERR_OK && space_block(&i->space, r, cuts, n, grain_of(i, r), block);
	mem_free(cuts);
	return e;
}

static enum err request(struct ipam *i, uint64_t from, const struct ipam_message *m, bool again)
{
	struct range4 block;
	bool found;
	if (from == i->cfg.self)
		return ERR_OK;
	if (i->suspended || i->stopped || !ring_exists(i) || lease_over(i))
		return deny(i, from, m, DENY_NOT_NOW, "");
	if (range4_size(m->range) == 1)
		return request_single(i, from, m, again);
	enum err e = choose_block(i, m->range, &block, &found);
	if (e != ERR_OK)
		return e;
	if (found)
		return grant(i, from, m, block);
	if (lease_locked(i, m->range))
		return !again && lease_defer(i, from, m) ? ERR_OK : deny(i, from, m, DENY_NOT_NOW, "");
	uint64_t it = i->cfg.universe.first;
	struct ring_span s;
	while (ring_each(i->cfg.ring, i->cfg.universe, &it, &s))
		if (s.owner == i->cfg.self && range4_size(range4_and((struct range4){ s.start, s.end }, m->range)) > 0)
			return deny(i, from, m, DENY_FULL, "");
	return deny(i, from, m, DENY_NOT_OWNER, "");
}

enum err donate_request(struct ipam *i, uint64_t from, const struct ipam_message *m)
{
	return request(i, from, m, false);
}

enum err donate_again(struct ipam *i, uint64_t from, const struct ipam_message *m)
{
	return request(i, from, m, true);
}

/* --- leaving --- */

/* A host in reach that manages addresses, which it says by publishing what is free there; rather one that owns some already. Nobody that
 * has just left itself. A host that manages none would drop the message, and nobody would use the addresses. */
static uint64_t choose_heir(const struct ipam *i)
{
	const struct ipam_cfg *c = &i->cfg;
	uint64_t it = 0, peer, manages = PEER_NONE, owner = PEER_NONE, free;
	while (c->next_peer(c->ctx, &it, &peer)) {
		if (peer == c->self || peer == i->not_heir || !c->reachable(c->ctx, peer) || usage_is_gone(i, peer))
			continue;
		bool owns = ring_owned_by(c->ring, c->universe, peer) > 0, says = usage_of(i, peer, universe_range(c->universe), &free);
		if (owns && says)
			return peer;
		if (owns && owner == PEER_NONE)
			owner = peer;
		if (says && manages == PEER_NONE)
			manages = peer;
	}
	return owner != PEER_NONE ? owner : manages;
}

static enum err resend(struct ipam *i)
{
	struct ipam_message m;
	struct slice payload = slice_of(i->handover, i->handover_n);
	enum err e = ipam_message_decode(payload, &m);
	assert(e == ERR_OK);
	i->handover_again_ms = i->now + IPAM_ASK_MS;
	return out_send(i, i->heir, &m);
}

static enum err keep_message(struct ipam *i, const struct crdt_changes *ch)
{
	struct ipam_message m = { .type = MSG_HANDOVER, .u = i->cfg.universe, .serial = rng_u64(&i->rng) };
	struct wbuf items, w;
	wbuf_grow(&items, IPAM_PAYLOAD_MAX);
	wbuf_grow(&w, IPAM_PAYLOAD_MAX);
	enum err e = encode_keys(i, ch, &items, &m.n_items);
	m.items = wbuf_slice(&items);
	if (e == ERR_OK) {
		ipam_message_encode(&w, &m);
		e = wbuf_end(&w);
	}
	uint8_t *copy = e == ERR_OK ? mem_dup(w.data, w.len) : NULL;
	if (copy) {
		mem_free(i->handover);
		i->handover = copy;
		i->handover_n = w.len;
		i->handover_serial = m.serial;
	} else {
		e = ERR_NOMEM;
	}
	wbuf_free(&items);
	wbuf_free(&w);
	return e;
}

/* Everything that is ours without doubt goes to the heir. What is in doubt stays under our name for `rmpeer` to sort out: somebody else
 * may be its owner. */
static enum err give_all(struct ipam *i, uint64_t heir)
{
	struct crdt_changes ch;
	size_t tokens = 4;
	for (size_t n = 0; n < i->space.mine.n; n++)
		tokens += tokens_of(i, i->space.mine.v[n]);
	enum err e = out_reserve(i, tokens + 4, tokens * RECORD_BYTES);
	crdt_changes_init(&ch, i->out->arena);
	for (size_t n = 0; n < i->space.mine.n && e == ERR_OK; n++)
		e = give(i, i->space.mine.v[n], heir, &ch);
	enum err f = out_ring(i, &ch, true);
	if (e == ERR_OK)
		e = f;
	uint64_t size = ranges_size(&i->space.mine);
	if (e == ERR_OK)
		e = own_sync(i);
	if (e == ERR_OK) {
		i->handover_count += size;
		i->heir = heir;
		e = keep_message(i, &ch);
	}
	return e == ERR_OK ? resend(i) : e;
}

static enum err handover_answer(struct ipam *i, const char *text)
{
	enum err e = out_reply(i, i->handover_request, ERR_OK, (struct prefix){ 0 }, i->handover_count, text);
	if (e == ERR_OK)
		i->handing = false;
	return e;
}

enum err donate_handover(struct ipam *i, uint64_t request)
{
	if (i->handing)
		return out_reply(i, request, ERR_BUSY, (struct prefix){ 0 }, 0, "addresses are being handed over already");
	i->stopped = true;
	enum err e = request_refuse_all(i, ERR_STATE, "this host hands over its addresses and leaves");
	if (e == ERR_OK)
		e = lease_drop_all(i);
	if (e == ERR_OK)
		e = usage_gone(i);
	if (e != ERR_OK)
		return e;
	i->handover_request = request;
	i->handover_count = 0;
	i->handover_ms = i->now + HANDOVER_MS;
	i->handing = true;
	i->heir = PEER_NONE;
	return ERR_OK; /* settle goes on with donate_leaving */
}

enum err donate_leaving(struct ipam *i)
{
	enum err e = ERR_OK;
	if (!i->stopped)
		return ERR_OK;
	/* What is kept spare is ours to give when a majority knows that it is not spare any more. */
	if (i->handing && i->reclaim.locked.n > 0 && i->now < i->handover_ms - HANDOVER_MS / 2)
		return ERR_OK;
	/* Also what comes to us later: a grant that was on its way, or somebody else's handover. */
	if (i->space.mine.n > 0) {
		uint64_t heir = choose_heir(i);
		if (heir != PEER_NONE)
			e = give_all(i, heir);
	}
	if (e != ERR_OK || !i->handing)
		return e;
	char text[256], name[WHO_TEXT];
	if (i->heir == PEER_NONE)
		return handover_answer(i,
			i->space.mine.n == 0
				? ""
				: "no other host that manages addresses can be reached: the addresses stay with this host's name");
	if (i->now >= i->handover_ms) {
		line_format(text, sizeof text, "%s did not acknowledge within %d s; it learns of the handover from the other hosts",
			ipam_who(i, i->heir, name), HANDOVER_MS / 1000);
		return handover_answer(i, text);
	}
	return i->now >= i->handover_again_ms && i->cfg.reachable(i->cfg.ctx, i->heir) ? resend(i) : ERR_OK;
}

uint64_t donate_deadline_ms(const struct ipam *i)
{
	if (!i->handing)
		return UINT64_MAX;
	if (i->reclaim.locked.n > 0 && i->now < i->handover_ms - HANDOVER_MS / 2)
		return i->handover_ms - HANDOVER_MS / 2;
	return i->handover_again_ms < i->handover_ms && i->cfg.reachable(i->cfg.ctx, i->heir) ? i->handover_again_ms : i->handover_ms;
}

enum err donate_handover_received(struct ipam *i, uint64_t from, const struct ipam_message *m)
{
	i->not_heir = from;
	enum err e = own_merge(i, m);
	if (e == ERR_OK)
		e = own_sync(i);
	struct ipam_message a = { .type = MSG_HANDOVER_ACK, .u = i->cfg.universe, .serial = m->serial };
	return e == ERR_OK ? out_send(i, from, &a) : e;
}

enum err donate_handover_ack(struct ipam *i, uint64_t from, const struct ipam_message *m)
{
	if (!i->handing || from != i->heir || m->serial != i->handover_serial)
		return ERR_OK;
	return handover_answer(i, NULL);
}
