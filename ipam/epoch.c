#include "ipam/epoch.h"

#include <assert.h>
#include <sodium.h>
#include <string.h>

#include "base/mem.h"

#define DIGEST_SIZE   16
#define MEMORY_ROUNDS (UINT32_C(1) << 20)
#define ROUNDS_MAX \
	(UINT64_C(1)   \
		<< 32) /* rounds that others may be ahead of us: nobody can bring us to the last one, after which none can propose */

/* --- declarations --- */

static void spare_encode(struct wbuf *w, const struct spare *s)
{
	wbuf_u32(w, (uint32_t)s->r.start);
	wbuf_u32(w, (uint32_t)(s->r.end - 1));
	wbuf_u32(w, (uint32_t)(s->end - 1));
	wbuf_varint(w, s->stamp.inc);
	wbuf_varint(w, s->stamp.ctr);
}

static void spare_decode(struct rbuf *r, struct universe u, uint64_t from, struct spare *s)
{
	struct range4 all = universe_range(u);
	s->r.start = rbuf_u32(r);
	s->r.end = (uint64_t)rbuf_u32(r) + 1;
	s->end = (uint64_t)rbuf_u32(r) + 1;
	s->stamp.inc = rbuf_varint(r);
	s->stamp.ctr = rbuf_varint(r);
	if (s->r.start < all.start || s->r.start < from || s->r.end <= s->r.start || s->end < s->r.end || s->end > all.end)
		rbuf_fail(r);
}

/* n and as many ranges, ascending. */
static size_t spares_decode(struct rbuf *r, struct universe u, struct spare v[EPOCH_SPARE_MAX])
{
	uint64_t n = rbuf_varint(r), from = 0;
	if (n > EPOCH_SPARE_MAX) {
		rbuf_fail(r);
		return 0;
	}
	for (uint64_t k = 0; k < n; k++) {
		spare_decode(r, u, from, &v[k]);
		from = v[k].r.end;
	}
	return rbuf_ok(r) ? (size_t)n : 0;
}

void declaration_encode(struct wbuf *w, const struct declaration *d)
{
	wbuf_varint(w, d->epoch);
	wbuf_varint(w, d->serial);
	wbuf_varint(w, d->lease_ms);
	wbuf_varint(w, d->n);
	for (size_t k = 0; k < d->n; k++)
		spare_encode(w, &d->v[k]);
}

enum err declaration_decode(struct slice in, struct universe u, struct declaration *d)
{
	struct rbuf r;
	rbuf_init(&r, in.p, in.n);
	d->epoch = rbuf_varint(&r);
	d->serial = rbuf_varint(&r);
	d->lease_ms = rbuf_varint(&r);
	if (d->lease_ms > LEASE_MS_MAX)
		rbuf_fail(&r);
	d->n = spares_decode(&r, u, d->v);
	return rbuf_end(&r);
}

/* --- epochs --- */

void epoch_free(struct epoch *e)
{
	mem_free(e->v);
	mem_free(e->marks);
	*e = (struct epoch){ 0 };
}

const struct member *epoch_member(const struct epoch *e, uint64_t name)
{
	size_t lo = 0, hi = e->n;
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		if (e->v[mid].name >= name)
			hi = mid;
		else
			lo = mid + 1;
	}
	return lo < e->n && e->v[lo].name == name ? &e->v[lo] : NULL;
}

bool epoch_is(const struct epoch *e, uint64_t name, uint32_t memory)
{
	const struct member *m = epoch_member(e, name);
	return m && (m->memory == 0 || m->memory == memory);
}

static enum err add_member(struct epoch *e, struct member m)
{
	void *mem = e->v;
	bool ok = mem_grow(&mem, &e->cap, e->n + 1, sizeof *e->v);
	e->v = mem;
	if (!ok)
		return ERR_NOMEM;
	e->v[e->n++] = m;
	return ERR_OK;
}

static enum err add_mark(struct epoch *e, struct mark m)
{
	void *mem = e->marks;
	if (e->n_marks == EPOCH_MARKS_MAX) {
		memmove(e->marks, e->marks + 1, (EPOCH_MARKS_MAX - 1) * sizeof *e->marks);
		e->n_marks--;
	}
	bool ok = mem_grow(&mem, &e->cap_marks, e->n_marks + 1, sizeof *e->marks);
	e->marks = mem;
	if (!ok)
		return ERR_NOMEM;
	e->marks[e->n_marks++] = m;
	return ERR_OK;
}

void epoch_encode(struct wbuf *w, const struct epoch *e)
{
	wbuf_varint(w, e->number);
	wbuf_varint(w, e->n);
	for (size_t k = 0; k < e->n; k++) {
		wbuf_u48(w, e->v[k].name);
		wbuf_u32(w, e->v[k].memory);
		wbuf_varint(w, e->v[k].since);
		wbuf_varint(w, e->v[k].serial);
	}
	wbuf_varint(w, e->n_marks);
	for (size_t k = 0; k < e->n_marks; k++) {
		const struct mark *m = &e->marks[k];
		wbuf_varint(w, m->epoch);
		wbuf_u48(w, m->from);
		wbuf_u48(w, m->heir);
		wbuf_varint(w, m->serial);
		spare_encode(w, &m->what);
	}
}

static enum err seal(struct epoch *e)
{
	struct wbuf w;
	uint8_t hash[DIGEST_SIZE];
	struct rbuf r;
	wbuf_grow(&w, EPOCH_STATE_MAX);
	epoch_encode(&w, e);
	enum err err = wbuf_end(&w);
	if (err == ERR_OK) {
		int rc = crypto_generichash(hash, sizeof hash, w.data, w.len, NULL, 0);
		assert(rc == 0);
		(void)rc;
		rbuf_init(&r, hash, sizeof hash);
		e->digest = rbuf_u64(&r);
		e->known = true;
	}
	wbuf_free(&w);
	return err;
}

enum err epoch_found(struct epoch *e, struct slice members)
{
	size_t at = 0;
	struct member m = { 0 };
	enum err err = ERR_OK;
	*e = (struct epoch){ 0 };
	while (err == ERR_OK && e->n < EPOCH_MEMBERS_MAX && paxos_member(members, &at, &m.name, &m.memory))
		err = add_member(e, m);
	if (err == ERR_OK)
		err = seal(e);
	if (err != ERR_OK)
		epoch_free(e);
	return err;
}

static enum err decode_members(struct rbuf *r, struct epoch *e)
{
	uint64_t n = rbuf_varint(r), last = PEER_NONE;
	enum err err = n <= EPOCH_MEMBERS_MAX ? ERR_OK : ERR_LIMIT;
	for (uint64_t k = 0; k < n && err == ERR_OK && rbuf_ok(r); k++) {
		struct member m;
		m.name = rbuf_u48(r);
		m.memory = rbuf_u32(r);
		m.since = rbuf_varint(r);
		m.serial = rbuf_varint(r);
		if (m.name <= last || m.since > e->number)
			rbuf_fail(r);
		last = m.name;
		err = add_member(e, m);
	}
	return err;
}

static enum err decode_marks(struct rbuf *r, struct universe u, struct epoch *e)
{
	uint64_t n = rbuf_varint(r);
	enum err err = n <= EPOCH_MARKS_MAX ? ERR_OK : ERR_LIMIT;
	for (uint64_t k = 0; k < n && err == ERR_OK && rbuf_ok(r); k++) {
		struct mark m;
		m.epoch = rbuf_varint(r);
		m.from = rbuf_u48(r);
		m.heir = rbuf_u48(r);
		m.serial = rbuf_varint(r);
		spare_decode(r, u, 0, &m.what);
		if (m.epoch == 0 || m.epoch > e->number || m.heir == PEER_NONE || m.from == PEER_NONE)
			rbuf_fail(r);
		err = add_mark(e, m);
	}
	return err;
}

enum err epoch_decode(struct slice in, struct universe u, struct epoch *e)
{
	struct rbuf r;
	rbuf_init(&r, in.p, in.n);
	*e = (struct epoch){ .number = rbuf_varint(&r) };
	enum err err = decode_members(&r, e);
	if (err == ERR_OK)
		err = decode_marks(&r, u, e);
	if (err == ERR_OK)
		err = rbuf_end(&r);
	if (err == ERR_OK)
		err = seal(e);
	if (err != ERR_OK)
		epoch_free(e);
	return err;
}

/* --- values: varint n, n x { u48 name, u32 memory }; varint n, n x { u48 name, u48 heir, varint serial, varint n, ranges };
 * for each member a varint: how much its serial grows --- */

void epoch_value_encode(struct wbuf *w, const struct epoch *e, const struct epoch_change *c)
{
	wbuf_varint(w, c->n_added);
	for (size_t k = 0; k < c->n_added; k++) {
		wbuf_u48(w, c->added[k].name);
		wbuf_u32(w, c->added[k].memory);
	}
	wbuf_varint(w, c->n_removed);
	for (size_t k = 0; k < c->n_removed; k++) {
		const struct removal *m = &c->removed[k];
		wbuf_u48(w, m->name);
		wbuf_u48(w, m->heir);
		wbuf_varint(w, m->serial);
		wbuf_varint(w, m->n);
		for (size_t s = 0; s < m->n; s++)
			spare_encode(w, &m->v[s]);
	}
	for (size_t k = 0; k < e->n; k++)
		wbuf_varint(w, c->serials[k] - e->v[k].serial);
}

struct added {
	size_t n, at;
	struct member v[EPOCH_CHANGES_MAX];
};
struct gone {
	size_t n;
	uint64_t name[EPOCH_CHANGES_MAX];
};

static void decode_added(struct rbuf *r, uint64_t number, struct added *a)
{
	uint64_t n = rbuf_varint(r), last = PEER_NONE;
	if (n > EPOCH_CHANGES_MAX)
		rbuf_fail(r);
	for (a->n = 0; rbuf_ok(r) && a->n < n; a->n++) {
		struct member *m = &a->v[a->n];
		*m = (struct member){ .name = rbuf_u48(r), .since = number };
		m->memory = rbuf_u32(r);
		if (m->name <= last || m->memory == 0)
			rbuf_fail(r);
		last = m->name;
	}
}

static enum err decode_removed(struct rbuf *r, const struct epoch *e, struct universe u, struct gone *g, struct epoch *out)
{
	struct spare v[EPOCH_SPARE_MAX];
	uint64_t n = rbuf_varint(r), last = PEER_NONE;
	enum err err = ERR_OK;
	if (n > EPOCH_CHANGES_MAX)
		rbuf_fail(r);
	for (g->n = 0; rbuf_ok(r) && g->n < n && err == ERR_OK; g->n++) {
		struct mark m = { .epoch = out->number, .from = rbuf_u48(r) };
		m.heir = rbuf_u48(r);
		m.serial = rbuf_varint(r);
		size_t count = spares_decode(r, u, v);
		if (m.from <= last || !epoch_member(e, m.from) || (count > 0 && m.heir == PEER_NONE))
			rbuf_fail(r);
		last = g->name[g->n] = m.from;
		for (size_t k = 0; k < count && rbuf_ok(r) && err == ERR_OK; k++) {
			m.what = v[k];
			err = add_mark(out, m);
		}
	}
	return err;
}

/* Both lists are in the order of names. Who is added and is there already takes the place of its former self. */
static enum err merge_members(
	struct rbuf *r, const struct epoch *e, const struct added *a, const struct gone *g, struct epoch *out)
{
	enum err err = ERR_OK;
	size_t at = 0, gone = 0;
	for (size_t k = 0; k < e->n && err == ERR_OK; k++) {
		struct member m = e->v[k];
		uint64_t more = rbuf_varint(r);
		if (more > UINT64_MAX - m.serial)
			rbuf_fail(r);
		m.serial += more;
		while (at < a->n && a->v[at].name < m.name && err == ERR_OK)
			err = add_member(out, a->v[at++]);
		bool removed = gone < g->n && g->name[gone] == m.name, again = at < a->n && a->v[at].name == m.name;
		gone += removed;
		if (err == ERR_OK && (again || !removed))
			err = add_member(out, again ? a->v[at] : m);
		at += again;
	}
	while (at < a->n && err == ERR_OK)
		err = add_member(out, a->v[at++]);
	return err;
}

enum err epoch_apply(const struct epoch *e, struct slice value, struct universe u, struct epoch *out)
{
	struct rbuf r;
	struct added added;
	struct gone gone;
	rbuf_init(&r, value.p, value.n);
	*out = (struct epoch){ .number = e->number + 1 };
	enum err err = e->known && e->number < UINT64_MAX - 1 ? ERR_OK : ERR_MALFORMED;
	for (size_t k = 0; k < e->n_marks && err == ERR_OK; k++)
		err = add_mark(out, e->marks[k]);
	decode_added(&r, out->number, &added);
	if (err == ERR_OK)
		err = decode_removed(&r, e, u, &gone, out);
	if (err == ERR_OK)
		err = merge_members(&r, e, &added, &gone, out);
	if (err == ERR_OK)
		err = rbuf_end(&r) != ERR_OK || out->n > EPOCH_MEMBERS_MAX || out->n == 0 ? ERR_MALFORMED : seal(out);
	if (err != ERR_OK)
		epoch_free(out);
	return err;
}

/* --- published states --- */

void vote_encode(struct wbuf *w, const struct vote *v)
{
	wbuf_u32(w, v->memory);
	wbuf_u8(w, (uint8_t)((v->known ? 1 : 0) | (v->wish ? 2 : 0)));
	wbuf_varint(w, v->epoch);
	wbuf_u64(w, v->digest);
	wbuf_varint(w, v->promised.round);
	wbuf_u48(w, v->promised.proposer);
	wbuf_varint(w, v->accepted.round);
	wbuf_u48(w, v->accepted.proposer);
	wbuf_lv(w, v->reports);
	wbuf_lv(w, v->value);
}

enum err vote_decode(struct slice in, struct vote *v)
{
	struct rbuf r;
	rbuf_init(&r, in.p, in.n);
	*v = (struct vote){ .memory = rbuf_u32(&r) };
	uint8_t flags = rbuf_u8(&r);
	v->known = flags & 1;
	v->wish = flags & 2;
	v->epoch = rbuf_varint(&r);
	v->digest = rbuf_u64(&r);
	v->promised.round = rbuf_varint(&r);
	v->promised.proposer = rbuf_u48(&r);
	v->accepted.round = rbuf_varint(&r);
	v->accepted.proposer = rbuf_u48(&r);
	v->reports = rbuf_lv(&r, CRDT_VALUE_MAX);
	v->value = rbuf_lv(&r, EPOCH_VALUE_MAX);
	enum err e = rbuf_end(&r);
	if (e != ERR_OK)
		return e;
	if (flags > 3 || !ballot_valid(v->promised) || !ballot_valid(v->accepted) || ballot_cmp(v->accepted, v->promised) > 0 ||
		(v->accepted.round == 0) != (v->value.n == 0))
		return ERR_MALFORMED;
	return ERR_OK;
}

bool vote_report(struct rbuf *r, const struct member *m, struct report *out)
{
	uint64_t x = rbuf_varint(r);
	if (!rbuf_ok(r) || x / 2 > UINT64_MAX - m->serial)
		return false;
	*out = (struct report){ .serial = m->serial + x / 2, .overdue = x % 2 };
	return true;
}

/* --- the instance: the rules are those of paxos.c, among the members of the epoch --- */

static bool is_gone(const struct instance *i, uint64_t peer)
{
	for (size_t k = 0; k < i->n_gone; k++)
		if (i->gone[k] == peer)
			return true;
	return false;
}

bool instance_open(const struct instance *i)
{
	return i->promised.round > 0;
}

/* Is there a member whose memory is not known? */
static bool unknown(const struct instance *i)
{
	for (size_t k = 0; k < i->e->n; k++)
		if (i->e->v[k].memory == 0 && !is_gone(i, i->e->v[k].name))
			return true;
	return false;
}

/* Of a member whose memory is not known nobody can say that it is who voted before: with a majority one host that has lost its disk is enough for two
 * values. When all have to vote, one of them that remembers is enough for one value. */
size_t instance_quorum(const struct instance *i)
{
	size_t n = 0;
	for (size_t k = 0; k < i->e->n; k++)
		n += !is_gone(i, i->e->v[k].name);
	return unknown(i) ? n : n / 2 + 1;
}

bool instance_votes(const struct instance *i, uint64_t peer, uint32_t memory)
{
	return i->e->known && epoch_is(i->e, peer, memory) && !is_gone(i, peer);
}

bool instance_next(const struct instance *i, struct slice *at, uint64_t *peer, struct vote *v)
{
	uint8_t mem[UNIVERSE_SUBKEY];
	struct slice subkey = universe_subkey(i->u, 'e', mem);
	struct crdt_item it;
	while (crdt_map_next(i->map, *at, &it)) {
		*at = it.key;
		*peer = crdt_owner(it.key);
		if (*peer != i->self && it.live && slice_eq(crdt_subkey(it.key), subkey) && vote_decode(it.value, v) == ERR_OK)
			return true;
	}
	return false;
}

bool instance_counts(const struct instance *i, uint64_t peer, const struct vote *v)
{
	uint64_t round = i->promised.round;
	return v->known && v->epoch == i->e->number && v->digest == i->e->digest && instance_votes(i, peer, v->memory) &&
		(v->promised.round <= round || v->promised.round - round <= ROUNDS_MAX);
}

/* From what can be no next epoch none would ever follow. Everybody passes over the same: it depends on the epoch and the value alone. */
static enum err value_fits(const struct instance *i, struct slice value)
{
	struct epoch next = { 0 };
	enum err e = epoch_apply(i->e, value, i->u, &next);
	epoch_free(&next);
	return e;
}

bool instance_ours(const struct instance *i)
{
	return instance_open(i) && i->promised.proposer == i->self &&
		(!unknown(i) || i->promised.round % MEMORY_ROUNDS == i->memory % MEMORY_ROUNDS);
}

static bool others_next(const struct instance *i, struct slice *at, uint64_t *peer, struct vote *v)
{
	while (instance_next(i, at, peer, v))
		if (instance_counts(i, *peer, v))
			return true;
	return false;
}

void instance_reset(struct instance *i)
{
	mem_free(i->value);
	i->value = NULL;
	i->value_n = 0;
	i->promised = i->accepted = (struct ballot){ 0, 0 };
}

void instance_propose(struct instance *i, bool *changed)
{
	uint64_t round = i->promised.round, peer;
	struct slice at = { NULL, 0 };
	struct vote v;
	while (others_next(i, &at, &peer, &v))
		if (v.promised.round > round)
			round = v.promised.round;
	if (round >= UINT64_MAX - 1 - MEMORY_ROUNDS)
		return; /* someone spoilt it; nothing sensible can follow */
	/* Who does not know that it has proposed before must not do so by the same ballot: what was promised then would count now. */
	if (unknown(i))
		round += (i->memory - 1 - round) % MEMORY_ROUNDS;
	i->promised = (struct ballot){ round + 1, i->self };
	*changed = true;
}

static enum err set_accepted(struct instance *i, struct ballot b, struct slice value)
{
	uint8_t *copy = mem_dup(value.p, value.n);
	if (!copy)
		return ERR_NOMEM;
	mem_free(i->value);
	i->value = copy;
	i->value_n = value.n;
	i->accepted = b;
	return ERR_OK;
}

static bool is_muted(const struct instance *i, uint64_t peer)
{
	for (size_t k = 0; k < i->n_muted; k++)
		if (i->muted[k] == peer)
			return true;
	return false;
}

enum err instance_listen(struct instance *i, bool *changed)
{
	struct ballot promised = { 0, 0 };
	struct vote best = { 0 }, v;
	struct slice at = { NULL, 0 };
	uint64_t peer, promiser = PEER_NONE, acceptor = PEER_NONE;
	if (!instance_votes(i, i->self, i->memory))
		return ERR_OK;
	while (others_next(i, &at, &peer, &v)) {
		if (is_muted(i, peer))
			continue;
		if (ballot_cmp(v.promised, promised) > 0) {
			promised = v.promised;
			promiser = peer;
		}
		if (ballot_cmp(v.accepted, best.accepted) > 0 && ballot_cmp(v.accepted, i->accepted) > 0) {
			enum err e = value_fits(i, v.value);
			if (e == ERR_NOMEM)
				return e;
			if (e == ERR_OK) {
				best = v;
				acceptor = peer;
			}
		}
	}
	if (best.accepted.round > 0 && ballot_cmp(best.accepted, i->promised) >= 0) {
		enum err e = set_accepted(i, best.accepted, best.value);
		if (e != ERR_OK)
			return e;
		i->promised = best.accepted;
		i->heeded = acceptor;
		*changed = true;
	}
	if (ballot_cmp(promised, i->promised) > 0) {
		i->promised = promised;
		i->heeded = promiser;
		*changed = true;
	}
	return ERR_OK;
}

bool instance_leads(const struct instance *i, bool *free, struct slice *value)
{
	struct ballot best = i->accepted;
	struct slice at = { NULL, 0 };
	uint64_t peer;
	struct vote v;
	size_t n = 1;
	if (!instance_votes(i, i->self, i->memory) || !instance_ours(i) || ballot_cmp(i->accepted, i->promised) == 0)
		return false;
	*value = slice_of(i->value, i->value_n);
	while (others_next(i, &at, &peer, &v)) {
		if (ballot_cmp(v.promised, i->promised) != 0)
			continue;
		n++;
		if (ballot_cmp(v.accepted, best) <= 0)
			continue;
		enum err e = value_fits(i, v.value);
		if (e == ERR_NOMEM)
			return false; /* it may be one that was chosen */
		if (e == ERR_OK) {
			best = v.accepted;
			*value = v.value;
		}
	}
	*free = best.round == 0;
	return n >= instance_quorum(i);
}

enum err instance_accept(struct instance *i, struct slice value, bool *changed)
{
	enum err e = set_accepted(i, i->promised, value);
	if (e == ERR_OK)
		*changed = true;
	return e;
}

enum err instance_chosen(const struct instance *i, struct epoch *next)
{
	struct ballot best = i->accepted;
	struct slice value = slice_of(i->value, i->value_n), at = { NULL, 0 };
	uint64_t peer;
	struct vote v;
	bool ahead = false;
	*next = (struct epoch){ 0 };
	if (!i->e->known)
		return ERR_AGAIN;
	while (instance_next(i, &at, &peer, &v)) {
		ahead = ahead || (v.known && v.epoch == i->e->number + 1 && instance_votes(i, peer, v.memory));
		if (instance_counts(i, peer, &v) && ballot_cmp(v.accepted, best) > 0 && value_fits(i, v.value) == ERR_OK) {
			best = v.accepted;
			value = v.value;
		}
	}
	if (best.round == 0)
		return ERR_AGAIN;
	size_t n = ballot_cmp(i->accepted, best) == 0 && instance_votes(i, i->self, i->memory);
	for (at = (struct slice){ NULL, 0 }; others_next(i, &at, &peer, &v);)
		n += ballot_cmp(v.accepted, best) == 0;
	if (n < instance_quorum(i) && !ahead)
		return ERR_AGAIN;
	enum err e = epoch_apply(i->e, value, i->u, next);
	if (e != ERR_OK)
		return e == ERR_NOMEM ? e : ERR_AGAIN;
	/* Who is in the epoch that this value makes says so much as that it was chosen. */
	for (at = (struct slice){ NULL, 0 }; instance_next(i, &at, &peer, &v);)
		n += instance_votes(i, peer, v.memory) && v.known && v.epoch == next->number && v.digest == next->digest;
	if (n >= instance_quorum(i))
		return ERR_OK;
	epoch_free(next);
	return ERR_AGAIN;
}
