/* Declarations: what a host keeps its hands off so that the others may take it when the host is dead (docs/adr/0013).
 *
 * As an owner we declare part of our free space *spare*, publish that, and give out nothing of it. A declaration counts from when it is
 * sent; an earlier one counts until a majority of the members has acknowledged a later one. So what may be taken from us by a majority lies
 * in what we keep our hands off, whatever we have not heard. Spare space that we need ourselves is ours again when a majority has
 * acknowledged a declaration without it. While one is under way its successors declare the same, so there are two sets at most.
 *
 * An acknowledged declaration is also a lease, by our clock from when it was sent. When it has run out we give out nothing new until a
 * majority has acknowledged again: the others may have found us dead. This is for the sake of order, not of safety.
 *
 * As an acceptor we store the serial of what we acknowledge before we say so, and acknowledge nothing while an instance about the next
 * epoch is open (epoch.h). */
#include <assert.h>
#include <string.h>

#include "ipam/internal.h"

#define RETRY_MS      500
#define RETRIES_MAX   6
#define WANT_MS       10000
#define WORKING_MIN   4
#define WORKING_MAX   4096
#define DECLARE_BYTES (64 + EPOCH_SPARE_MAX * 40)

/* --- who we are --- */

/* Who is a member without its memory being known has to be made one again before it declares anything. */
static const struct member *member_self(const struct ipam *i)
{
	const struct member *m = epoch_member(&i->reclaim.epoch, i->cfg.self);
	return m && m->memory == i->paxos.memory ? m : NULL;
}

static size_t voters(const struct ipam *i)
{
	return i->reclaim.epoch.n - i->reclaim.n_gone;
}

/* Can anything be taken from us by the clock? */
static bool lasting(const struct ipam *i)
{
	return i->cfg.reclaim_after_ms > 0 && voters(i) >= RECLAIM_VOTERS_MIN && member_self(i);
}

bool lease_over(const struct ipam *i)
{
	return i->reclaim.leased && lasting(i) && i->now >= i->reclaim.until_ms;
}

uint64_t lease_left_ms(const struct ipam *i)
{
	const struct reclaim *c = &i->reclaim;
	return c->leased && lasting(i) && c->until_ms > i->now ? c->until_ms - i->now : 0;
}

bool lease_counts(const struct ipam *i)
{
	return i->reclaim.leased && lasting(i);
}

bool lease_locked(const struct ipam *i, struct range4 r)
{
	const struct ranges *l = &i->reclaim.locked;
	size_t at = ranges_find(l, r.start);
	return at < l->n && l->v[at].start < r.end;
}

void lease_majority_text(const struct ipam *i, char *out, size_t size)
{
	line_format(out, size, "%zu of %zu hosts that vote can be reached, %zu are needed", reclaim_reachable(i), voters(i),
		instance_quorum(&i->reclaim.in));
}

/* --- disk --- */

static void encode_lv(struct wbuf *w, const struct declaration *d)
{
	uint8_t mem[DECLARE_BYTES];
	struct wbuf v;
	wbuf_fixed(&v, mem, sizeof mem);
	declaration_encode(&v, d);
	assert(!v.failed);
	wbuf_lv(w, wbuf_slice(&v));
}

enum err lease_store_own(struct ipam *i)
{
	const struct reclaim *c = &i->reclaim;
	uint8_t key[RECORD_KEY_MAX], value[2 * DECLARE_BYTES + 64];
	struct slice k = record_key(i, "spare/", NULL, 0, key);
	struct wbuf w;
	if (c->sent.serial == 0)
		return out_persist(i, k, slice_of(NULL, 0));
	wbuf_fixed(&w, value, sizeof value);
	wbuf_u8(&w, c->leased);
	wbuf_u64(&w, i->cfg.boot);
	wbuf_varint(&w, c->until_ms);
	wbuf_varint(&w, c->first);
	encode_lv(&w, &c->acked);
	encode_lv(&w, &c->sent);
	assert(!w.failed);
	return out_persist(i, k, wbuf_slice(&w));
}

static enum err lock(struct ipam *i)
{
	struct reclaim *c = &i->reclaim;
	struct ranges all = { 0 };
	enum err e = ERR_OK;
	for (size_t k = 0; k < c->acked.n && e == ERR_OK; k++)
		e = ranges_add(&all, c->acked.v[k].r);
	for (size_t k = 0; k < c->sent.n && e == ERR_OK; k++)
		e = ranges_add(&all, c->sent.v[k].r);
	if (e == ERR_OK && !ranges_eq(&all, &c->locked)) {
		ranges_swap(&all, &c->locked);
		i->ring_dirty = true;
	}
	ranges_free(&all);
	return e;
}

enum err lease_load_own(struct ipam *i, struct slice value)
{
	struct reclaim *c = &i->reclaim;
	struct rbuf r;
	rbuf_init(&r, value.p, value.n);
	uint8_t flags = rbuf_u8(&r);
	c->stored_boot = rbuf_u64(&r);
	c->until_ms = rbuf_varint(&r);
	c->first = rbuf_varint(&r);
	struct slice acked = rbuf_lv(&r, DECLARE_BYTES), sent = rbuf_lv(&r, DECLARE_BYTES);
	enum err e = rbuf_end(&r);
	if (e == ERR_OK && flags > 1)
		e = ERR_MALFORMED;
	if (e == ERR_OK)
		e = declaration_decode(acked, i->cfg.universe, &c->acked);
	if (e == ERR_OK)
		e = declaration_decode(sent, i->cfg.universe, &c->sent);
	if (e != ERR_OK) {
		c->acked = c->sent = (struct declaration){ 0 };
		return e;
	}
	c->leased = flags;
	/* Acknowledgements of what was sent do not survive a restart: it is declared again. */
	return lock(i);
}

static enum err seen_store(struct ipam *i, const struct seen *s)
{
	uint8_t key[RECORD_KEY_MAX], value[64], name[6];
	struct wbuf w, n;
	wbuf_fixed(&n, name, sizeof name);
	wbuf_u48(&n, s->name);
	wbuf_fixed(&w, value, sizeof value);
	wbuf_varint(&w, s->since);
	wbuf_varint(&w, s->serial);
	wbuf_varint(&w, s->lease_ms);
	wbuf_varint(&w, s->at_ms);
	wbuf_u64(&w, i->cfg.boot);
	assert(!w.failed && !n.failed);
	return out_persist(i, record_key(i, "seen/", name, sizeof name, key), wbuf_slice(&w));
}

static enum err seen_drop(struct ipam *i, uint64_t peer)
{
	uint8_t key[RECORD_KEY_MAX], name[6];
	struct wbuf n;
	wbuf_fixed(&n, name, sizeof name);
	wbuf_u48(&n, peer);
	return out_persist(i, record_key(i, "seen/", name, sizeof name, key), slice_of(NULL, 0));
}

static struct seen *seen_new(struct reclaim *c)
{
	void *mem = c->seen;
	bool ok = mem_grow(&mem, &c->cap_seen, c->n_seen + 1, sizeof *c->seen);
	c->seen = mem;
	if (!ok)
		return NULL;
	c->seen[c->n_seen] = (struct seen){ 0 };
	return &c->seen[c->n_seen++];
}

enum err lease_load_seen(struct ipam *i, uint64_t name, struct slice value)
{
	struct rbuf r;
	struct seen s = { .name = name };
	rbuf_init(&r, value.p, value.n);
	s.since = rbuf_varint(&r);
	s.serial = rbuf_varint(&r);
	s.lease_ms = rbuf_varint(&r);
	s.at_ms = rbuf_varint(&r);
	uint64_t boot = rbuf_u64(&r);
	enum err e = rbuf_end(&r);
	if (e != ERR_OK)
		return e;
	if (boot == 0 || boot != i->cfg.boot)
		s.at_ms = UINT64_MAX; /* the clock has begun anew: counts from the first step */
	struct seen *at = seen_new(&i->reclaim);
	if (!at)
		return ERR_NOMEM;
	*at = s;
	return ERR_OK;
}

/* --- the other hosts, as an acceptor --- */

struct seen *lease_seen(const struct ipam *i, uint64_t peer)
{
	const struct reclaim *c = &i->reclaim;
	const struct member *m = epoch_member(&c->epoch, peer);
	size_t at = m ? (size_t)(m - c->epoch.v) : 0;
	return m && at < c->n_seen && c->seen[at].name == peer ? &c->seen[at] : NULL;
}

/* What we know of members, in the order of those of the present epoch; of those who have left nothing is kept. */
enum err lease_align(struct ipam *i)
{
	struct reclaim *c = &i->reclaim;
	struct seen *v = c->epoch.n > 0 ? mem_zalloc(c->epoch.n, sizeof *v) : NULL;
	enum err e = v || c->epoch.n == 0 ? ERR_OK : ERR_NOMEM;
	if (e != ERR_OK)
		return e;
	for (size_t k = 0; k < c->epoch.n; k++) {
		const struct member *m = &c->epoch.v[k];
		v[k] = (struct seen){ .name = m->name, .since = m->since, .serial = m->serial, .at_ms = i->now };
		for (size_t n = 0; n < c->n_seen; n++) {
			struct seen *s = &c->seen[n];
			if (s->name != m->name)
				continue;
			if (s->since == m->since) {
				v[k] = *s;
				v[k].serial = s->serial > m->serial ? s->serial : m->serial;
				if (s->at_ms > i->now)
					v[k].at_ms = i->now;
			}
			s->name = PEER_NONE;
			break;
		}
	}
	for (size_t n = 0; n < c->n_seen && e == ERR_OK; n++)
		if (c->seen[n].name != PEER_NONE)
			e = seen_drop(i, c->seen[n].name);
	mem_free(c->seen);
	c->seen = v;
	c->n_seen = c->cap_seen = c->epoch.n;
	return e;
}

bool lease_is_key(const struct ipam *i, struct slice subkey)
{
	uint8_t mem[UNIVERSE_SUBKEY];
	return slice_eq(subkey, universe_subkey(i->cfg.universe, 'd', mem));
}

bool lease_declared(const struct ipam *i, uint64_t peer, struct declaration *d)
{
	uint8_t key[6 + UNIVERSE_SUBKEY], mem[UNIVERSE_SUBKEY];
	struct wbuf w;
	struct crdt_item it;
	if (peer == i->cfg.self) {
		*d = i->reclaim.sent;
		return d->serial > 0;
	}
	wbuf_fixed(&w, key, sizeof key);
	wbuf_u48(&w, peer);
	wbuf_bytes(&w, universe_subkey(i->cfg.universe, 'd', mem).p, UNIVERSE_SUBKEY);
	return crdt_map_get(i->cfg.usage, wbuf_slice(&w), &it) && it.live &&
		declaration_decode(it.value, i->cfg.universe, d) == ERR_OK && d->serial > 0;
}

static enum err acked(struct ipam *i, uint64_t from, uint64_t epoch, uint64_t serial);

enum err lease_heard(struct ipam *i, uint64_t peer)
{
	struct reclaim *c = &i->reclaim;
	struct declaration d;
	struct seen *s = lease_seen(i, peer);
	if (!s || !instance_votes(&c->in, i->cfg.self, i->paxos.memory) || instance_open(&c->in) || !lease_declared(i, peer, &d))
		return ERR_OK;
	if (d.epoch < s->since || d.epoch > c->epoch.number || d.serial <= s->serial)
		return ERR_OK;
	const struct member *m = epoch_member(&c->epoch, peer);
	if (m && d.serial > m->serial && d.serial - m->serial > EPOCH_AHEAD_MAX)
		return ERR_OK; /* and could bring us to the end of all serials */
	struct seen now = *s;
	now.serial = d.serial;
	now.lease_ms = d.lease_ms;
	now.at_ms = i->now;
	now.overdue = false;
	enum err e = seen_store(i, &now);
	if (e != ERR_OK)
		return e;
	c->check = true;
	*s = now;
	if (peer == i->cfg.self)
		return acked(i, peer, c->epoch.number, d.serial);
	struct ipam_message a = { .type = MSG_LEASE_ACK, .u = i->cfg.universe, .serial = d.serial, .epoch = c->epoch.number };
	return out_send(i, peer, &a);
}

enum err lease_heard_all(struct ipam *i)
{
	enum err e = ERR_OK;
	for (size_t k = 0; k < i->reclaim.epoch.n && e == ERR_OK; k++)
		e = lease_heard(i, i->reclaim.epoch.v[k].name);
	return e;
}

/* --- ours --- */

static enum err note_ack(struct reclaim *c, struct ack a)
{
	for (size_t k = 0; k < c->n_acks; k++) {
		struct ack *b = &c->acks[k];
		if (b->peer != a.peer)
			continue;
		if (a.epoch > b->epoch || (a.epoch == b->epoch && a.serial > b->serial))
			*b = a;
		return ERR_OK;
	}
	if (c->n_acks >= EPOCH_MEMBERS_MAX)
		return ERR_OK;
	void *mem = c->acks;
	bool ok = mem_grow(&mem, &c->cap_acks, c->n_acks + 1, sizeof *c->acks);
	c->acks = mem;
	if (!ok)
		return ERR_NOMEM;
	c->acks[c->n_acks++] = a;
	return ERR_OK;
}

static size_t acks_of(const struct ipam *i, uint64_t serial)
{
	const struct reclaim *c = &i->reclaim;
	size_t n = 0;
	for (size_t k = 0; k < c->n_acks; k++) {
		const struct ack *a = &c->acks[k];
		n += a->epoch == c->epoch.number && a->serial >= serial && epoch_member(&c->epoch, a->peer) &&
			!reclaim_is_gone(i, a->peer);
	}
	return n;
}

/* The highest serial that a majority has acknowledged in the present epoch. Of one or two members none can be removed without its own vote,
 * so that it needs nobody to acknowledge. That does not hold for two who are left of more: those that the operator has removed may have voted
 * for our removal before they died. */
static uint64_t majority_serial(const struct ipam *i)
{
	const struct reclaim *c = &i->reclaim;
	const struct seen *self = lease_seen(i, i->cfg.self);
	uint64_t best = 0;
	if (c->epoch.n < RECLAIM_VOTERS_MIN)
		return self ? self->serial : 0;
	for (size_t k = 0; k < c->n_acks; k++) {
		uint64_t s = c->acks[k].serial;
		if (c->acks[k].epoch == c->epoch.number && s > best && s <= c->sent.serial && acks_of(i, s) >= instance_quorum(&c->in))
			best = s;
	}
	return best;
}

static uint64_t renewal_ms(const struct ipam *i)
{
	return i->cfg.reclaim_after_ms / 4;
}

static enum err look_at_acks(struct ipam *i)
{
	struct reclaim *c = &i->reclaim;
	uint64_t serial = majority_serial(i);
	if (c->sent.serial == 0 || serial <= c->acked.serial)
		return ERR_OK;
	struct reclaim before = *c;
	size_t ago = (size_t)(c->sent.serial - serial);
	bool all = serial >= c->first;
	if (all)
		c->acked = c->sent;
	c->acked.serial = serial;
	if (ago < LEASE_SENT_MAX && c->sent_ms[ago] > 0 && i->cfg.reclaim_after_ms > 0) {
		uint64_t until = c->sent_ms[ago] + i->cfg.reclaim_after_ms;
		c->until_ms = until > c->until_ms ? until : c->until_ms;
		c->leased = true;
	}
	enum err e = lease_store_own(i);
	if (e != ERR_OK) {
		c->acked = before.acked;
		c->until_ms = before.until_ms;
		c->leased = before.leased;
		return e;
	}
	if (ago == 0) {
		c->tries = 0;
		c->renew_ms = c->sent_ms[0] + renewal_ms(i);
	}
	if (all) {
		e = lock(i);
		if (e != ERR_OK)
			i->rewrite = true; /* which locks anew */
		else
			e = own_sync(i);
		for (size_t k = 0; k < c->n_want; k++)
			c->want[k].fresh = c->want[k].fresh && lease_locked(i, c->want[k].r);
	}
	return e;
}

static enum err acked(struct ipam *i, uint64_t from, uint64_t epoch, uint64_t serial)
{
	enum err e = note_ack(&i->reclaim, (struct ack){ from, epoch, serial });
	return e == ERR_OK ? look_at_acks(i) : e;
}

enum err lease_ack(struct ipam *i, uint64_t from, const struct ipam_message *m)
{
	if (from == i->cfg.self || i->reclaim.sent.serial == 0 || m->serial > i->reclaim.sent.serial)
		return ERR_OK;
	return acked(i, from, m->epoch, m->serial);
}

/* More of the range is wanted than is left beside what is spare. It is remembered for a while, or the next renewal would take it back. */
void lease_want(struct ipam *i, struct range4 r)
{
	struct reclaim *c = &i->reclaim;
	size_t at = 0, oldest = 0;
	while (at < c->n_want && (c->want[at].r.start != r.start || c->want[at].r.end != r.end)) {
		oldest = c->want[at].until_ms < c->want[oldest].until_ms ? at : oldest;
		at++;
	}
	if (at == LEASE_WANT_MAX)
		at = oldest;
	else if (at == c->n_want)
		c->n_want++;
	c->want[at] = (struct wanted){ .r = r, .until_ms = i->now + WANT_MS, .fresh = true };
}

static bool wanted(struct ipam *i)
{
	struct reclaim *c = &i->reclaim;
	bool fresh = false;
	for (size_t k = 0; k < c->n_want; k++) {
		if (i->now >= c->want[k].until_ms)
			c->want[k--] = c->want[--c->n_want];
		else
			fresh = fresh || c->want[k].fresh;
	}
	return fresh;
}

bool lease_defer(struct ipam *i, uint64_t from, const struct ipam_message *m)
{
	struct reclaim *c = &i->reclaim;
	if (!pace_take(&c->pacer, PACE_RELEASE, from, i->now))
		return false; /* each declaration is written by everybody */
	lease_want(i, m->range);
	if (c->n_deferred == LEASE_WANT_MAX || reclaim_reachable(i) < instance_quorum(&c->in))
		return false;
	c->deferred[c->n_deferred++] = (struct deferred){ from, m->serial, i->now + IPAM_ASK_MS, m->range };
	return true;
}

/* Those who asked for space that was spare then. Who has waited for too long has gone on to somebody else. */
enum err lease_deferred(struct ipam *i)
{
	struct reclaim *c = &i->reclaim;
	enum err e = ERR_OK;
	for (size_t k = 0; k < c->n_deferred && e == ERR_OK;) {
		struct deferred d = c->deferred[k];
		bool late = i->now >= d.until_ms;
		if (!late && c->acked.serial < c->first) {
			k++;
			continue;
		}
		c->deferred[k] = c->deferred[--c->n_deferred];
		struct ipam_message m = { .type = MSG_SPACE_REQUEST, .u = i->cfg.universe, .range = d.r, .serial = d.serial };
		if (!late)
			e = donate_again(i, d.from, &m);
	}
	return e;
}

/* --- what to declare --- */

/* Adds the first free addresses of base in r to keep: a quarter of them, within bounds. */
static enum err keep_in(const struct ipam *i, const struct ranges *base, struct range4 r, struct ranges *keep)
{
	uint64_t free = 0;
	enum err e = ERR_OK;
	for (size_t k = 0; k < base->n; k++)
		free += space_unused_in(&i->space, range4_and(base->v[k], r));
	uint64_t left = free / 4 < WORKING_MIN ? WORKING_MIN : free / 4 > WORKING_MAX ? WORKING_MAX : free / 4;
	for (size_t k = 0; k < base->n && left > 0 && e == ERR_OK; k++) {
		struct range4 part = range4_and(base->v[k], r), gap;
		for (; left > 0 && e == ERR_OK && space_gap(&i->space, part, &gap); part.start = gap.end) {
			if (range4_size(gap) > left)
				gap.end = gap.start + left;
			left -= range4_size(gap);
			e = ranges_add(keep, gap);
		}
	}
	return e;
}

/* Keeps the largest pieces, in the order of addresses. */
static void offer_piece(struct declaration *d, struct spare s)
{
	size_t least = 0;
	if (d->n == EPOCH_SPARE_MAX) {
		for (size_t k = 1; k < d->n; k++)
			if (range4_size(d->v[k].r) < range4_size(d->v[least].r))
				least = k;
		if (range4_size(d->v[least].r) >= range4_size(s.r))
			return;
		memmove(&d->v[least], &d->v[least + 1], (d->n - least - 1) * sizeof d->v[0]);
		d->n--;
	}
	d->v[d->n++] = s; /* they come in order */
}

/* The free run, token by token. */
static void offer_gap(const struct ipam *i, struct range4 gap, struct declaration *d)
{
	struct ring_span t;
	while (gap.start < gap.end && ring_token(i->cfg.ring, i->cfg.universe, (uint32_t)gap.start, &t) && t.owner == i->cfg.self) {
		struct spare s = { .r = { gap.start, min_u64(gap.end, t.end) }, .end = t.end, .stamp = { t.epoch, t.version } };
		offer_piece(d, s);
		gap.start = s.r.end;
	}
}

static enum err choose_spare(const struct ipam *i, struct declaration *d)
{
	struct ranges base = { 0 }, keep = { 0 }, rest = { 0 };
	d->n = 0;
	if (!lasting(i) || i->stopped)
		return ERR_OK;
	enum err e = ranges_minus(&base, &i->owned, &i->doubt);
	if (e == ERR_OK)
		e = keep_in(i, &base, universe_range(i->cfg.universe), &keep);
	for (size_t k = 0; k < i->reclaim.n_want && e == ERR_OK; k++)
		e = keep_in(i, &base, i->reclaim.want[k].r, &keep);
	if (e == ERR_OK)
		e = ranges_minus(&rest, &base, &keep);
	for (size_t k = 0; k < rest.n && e == ERR_OK; k++) {
		struct range4 part = rest.v[k], gap;
		for (; space_gap(&i->space, part, &gap); part.start = gap.end)
			offer_gap(i, gap, d);
	}
	ranges_free(&base);
	ranges_free(&keep);
	ranges_free(&rest);
	return e;
}

static bool same_spare(const struct declaration *a, const struct declaration *b)
{
	bool same = a->n == b->n;
	for (size_t k = 0; k < a->n && same; k++)
		same = a->v[k].r.start == b->v[k].r.start && a->v[k].r.end == b->v[k].r.end && a->v[k].end == b->v[k].end &&
			stamp_cmp(a->v[k].stamp, b->v[k].stamp) == 0;
	return same;
}

enum err lease_publish(struct ipam *i)
{
	uint8_t mem[DECLARE_BYTES], sub[UNIVERSE_SUBKEY];
	struct wbuf w;
	if (i->reclaim.sent.serial == 0)
		return out_put(i, IPAM_MAP_USAGE, universe_subkey(i->cfg.universe, 'd', sub), slice_of(NULL, 0));
	wbuf_fixed(&w, mem, sizeof mem);
	declaration_encode(&w, &i->reclaim.sent);
	assert(!w.failed);
	enum err e = out_put(i, IPAM_MAP_USAGE, universe_subkey(i->cfg.universe, 'd', sub), wbuf_slice(&w));
	i->reclaim.declared = i->reclaim.declared || e == ERR_OK;
	return e;
}

static bool outstanding(const struct reclaim *c)
{
	return c->acked.serial < c->first;
}

static enum err declare(struct ipam *i, const struct declaration *d)
{
	struct reclaim *c = &i->reclaim;
	struct reclaim before = *c;
	bool same = c->sent.serial > 0 && same_spare(d, &c->sent);
	c->sent = *d;
	c->sent.epoch = c->epoch.number;
	/* What others report to have acknowledged of ours can be higher than what we remember; nothing lower is acknowledged. */
	const struct member *m = epoch_member(&c->epoch, i->cfg.self);
	c->sent.serial = 1 + (m && m->serial > before.sent.serial ? m->serial : before.sent.serial);
	c->sent.lease_ms = i->cfg.reclaim_after_ms;
	if (!same)
		c->first = c->sent.serial;
	memmove(c->sent_ms + 1, c->sent_ms, (LEASE_SENT_MAX - 1) * sizeof c->sent_ms[0]);
	c->sent_ms[0] = i->now;
	/* Hands off first, then on disk, then to be seen. */
	enum err e = lock(i);
	if (e == ERR_OK)
		e = lease_store_own(i);
	if (e != ERR_OK) {
		c->sent = before.sent;
		c->first = before.first;
		memcpy(c->sent_ms, before.sent_ms, sizeof c->sent_ms);
		if (lock(i) != ERR_OK)
			i->rewrite = true;
		return e;
	}
	uint64_t wait = (uint64_t)RETRY_MS << (c->tries < RETRIES_MAX ? c->tries : RETRIES_MAX);
	if (lasting(i))
		wait = min_u64(wait, renewal_ms(i));
	c->tries++;
	c->renew_ms = i->now + rng_between(&i->rng, wait * 3 / 4, wait);
	e = own_sync(i);
	if (e == ERR_OK)
		e = lease_publish(i);
	if (e == ERR_OK)
		e = lease_heard(i, i->cfg.self);
	return e;
}

/* Is the working part far from what it should be? Asked at renewals. */
static bool unbalanced(const struct ipam *i)
{
	uint64_t all = 0, working = space_free_in(&i->space, universe_range(i->cfg.universe));
	for (size_t k = 0; k < i->whole.n; k++)
		all += space_unused_in(&i->space, i->whole.v[k]);
	uint64_t should = all / 4 < WORKING_MIN ? WORKING_MIN : all / 4 > WORKING_MAX ? WORKING_MAX : all / 4;
	return working < should / 2 || working > 2 * should;
}

/* Not a member any more, or anew: what was declared before counts for nobody. */
static enum err forget(struct ipam *i)
{
	struct reclaim *c = &i->reclaim;
	c->acked = c->sent = (struct declaration){ 0 };
	c->first = c->until_ms = c->first_ms = c->renew_ms = 0;
	c->leased = false;
	c->n_want = c->n_deferred = c->n_acks = 0;
	ranges_clear(&c->locked);
	i->ring_dirty = true;
	enum err e = lease_store_own(i);
	if (e == ERR_OK)
		e = lease_publish(i);
	if (e != ERR_OK)
		i->rewrite = true;
	return e == ERR_OK ? own_sync(i) : e;
}

static bool due(struct ipam *i)
{
	struct reclaim *c = &i->reclaim;
	if (c->sent.serial == 0) {
		if (!lasting(i) || i->stopped)
			return false;
		if (c->first_ms == 0) {
			uint64_t wait = min_u64(i->cfg.reclaim_after_ms / 16, RECLAIM_FIRST_MS);
			c->first_ms = i->now + rng_between(&i->rng, 1, wait / 4 + 1);
		}
		return i->now >= c->first_ms;
	}
	/* With nobody to hear it nothing is gained by saying it again. */
	if (c->declared && c->tries > 0)
		return i->now >= c->renew_ms && (c->epoch.n < RECLAIM_VOTERS_MIN || reclaim_reachable(i) >= instance_quorum(&c->in));
	if (!c->declared)
		return true;
	bool release = c->sent.n > 0 && (wanted(i) || !lasting(i) || i->stopped);
	return release || (lasting(i) && i->now >= c->renew_ms);
}

enum err lease(struct ipam *i)
{
	struct reclaim *c = &i->reclaim;
	if (!c->epoch.known || (!i->reclaim.active && c->sent.serial == 0))
		return ERR_OK;
	const struct member *m = member_self(i);
	if (c->sent.serial > 0 && (!m || c->sent.epoch < m->since))
		return forget(i);
	if (!m || !due(i))
		return ERR_OK;
	struct declaration d = c->sent;
	bool asked = wanted(i), less = asked || !lasting(i) || i->stopped;
	if (c->sent.serial == 0 || (!outstanding(c) && (less || unbalanced(i)))) {
		enum err e = choose_spare(i, &d);
		if (e != ERR_OK)
			return e;
		for (size_t k = 0; k < c->n_want; k++)
			c->want[k].fresh = false;
		if (c->sent.serial > 0 && same_spare(&d, &c->sent) && c->declared && asked && i->now < c->renew_ms)
			return ERR_OK; /* nothing is gained by it */
	}
	return declare(i, &d);
}

/* After a start: on disk is what counts; whether the lease does depends on the clock. */
enum err lease_begin(struct ipam *i)
{
	struct reclaim *c = &i->reclaim;
	if (c->leased && (c->stored_boot == 0 || c->stored_boot != i->cfg.boot || c->until_ms > i->now + i->cfg.reclaim_after_ms))
		c->until_ms = 0;
	return c->sent.serial > 0 ? lease_publish(i) : ERR_OK;
}

enum err lease_rewrite(struct ipam *i)
{
	enum err e = lock(i);
	if (e == ERR_OK)
		e = lease_store_own(i);
	for (size_t k = 0; k < i->reclaim.n_seen && e == ERR_OK; k++)
		e = seen_store(i, &i->reclaim.seen[k]);
	return e == ERR_OK ? lease_publish(i) : e;
}

void lease_topology(struct ipam *i)
{
	struct reclaim *c = &i->reclaim;
	uint64_t soon = c->sent_ms[0] + RETRY_MS > i->now ? c->sent_ms[0] + RETRY_MS : i->now;
	if (c->tries > 0 && c->renew_ms > soon)
		c->renew_ms = soon;
}

uint64_t lease_deadline_ms(const struct ipam *i)
{
	const struct reclaim *c = &i->reclaim;
	if (!c->epoch.known || !member_self(i) || (!c->active && c->sent.serial == 0))
		return UINT64_MAX;
	if (c->sent.serial == 0)
		return lasting(i) && !i->stopped ? c->first_ms : UINT64_MAX;
	if (c->tries > 0 && c->epoch.n >= RECLAIM_VOTERS_MIN && reclaim_reachable(i) < instance_quorum(&c->in))
		return UINT64_MAX; /* until the topology changes */
	return c->tries > 0 || lasting(i) ? c->renew_ms : UINT64_MAX;
}
