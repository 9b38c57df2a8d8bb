/* The operator's word about who votes: `rmpeer` takes the removed host out of the electorate at once. It is kept on disk and published again after a
 * restart: an epoch that was decided without the removed must not be decided again with them.
 *
 * Two operators who remove each other's hosts, each taking the other side for dead, have two electorates, and each decides about the next epoch. Nothing here
 * can prevent that: it is their word. What one side has decided is nothing to the other, so no epoch is taken from it, and it is reported. It is seen by a
 * state of the same epoch with another digest; or by states of a later one, while most of those who would have had to accept it have accepted nothing. */
#include <assert.h>
#include <inttypes.h>
#include <string.h>

#include "ipam/internal.h"

#define GONE_MAX  64
#define WORD_MAX  (16 + GONE_MAX * 16)
#define PARTED_MS 10000 /* it has to stand so long before it is spoken of: states arrive one by one */
#define AGAIN_MS  60000 /* so long after it was last seen nothing is taken from the other side */

/* --- the operator's word: subkey "x" and the universe: varint n, n x { u48 name, varint epoch } --- */

static enum err keep(struct ipam *i, struct slice value)
{
	uint8_t *copy = mem_dup(value.p, value.n);
	if (!copy)
		return ERR_NOMEM;
	mem_free(i->reclaim.word);
	i->reclaim.word = copy;
	i->reclaim.word_n = value.n;
	return ERR_OK;
}

static enum err store(struct ipam *i)
{
	uint8_t key[RECORD_KEY_MAX];
	return out_persist(i, record_key(i, "removed/", NULL, 0, key), slice_of(i->reclaim.word, i->reclaim.word_n));
}

enum err word_load(struct ipam *i, struct slice value)
{
	struct rbuf r;
	rbuf_init(&r, value.p, value.n);
	uint64_t n = rbuf_varint(&r);
	for (uint64_t k = 0; k < n && rbuf_ok(&r); k++) {
		(void)rbuf_u48(&r);
		(void)rbuf_varint(&r);
	}
	if (rbuf_end(&r) != ERR_OK || n == 0 || n > GONE_MAX)
		return ERR_MALFORMED;
	return keep(i, value);
}

enum err word_publish(struct ipam *i)
{
	uint8_t sub[UNIVERSE_SUBKEY];
	const struct reclaim *c = &i->reclaim;
	if (c->word_n == 0)
		return ERR_OK;
	return out_put(i, IPAM_MAP_PAXOS, universe_subkey(i->cfg.universe, 'x', sub), slice_of(c->word, c->word_n));
}

enum err word_rewrite(struct ipam *i)
{
	enum err e = i->reclaim.word_n > 0 ? store(i) : ERR_OK;
	return e == ERR_OK ? word_publish(i) : e;
}

static enum err add_gone(struct ipam *i, uint64_t peer)
{
	struct reclaim *c = &i->reclaim;
	void *mem = c->gone;
	if (reclaim_is_gone(i, peer))
		return ERR_OK;
	bool ok = mem_grow(&mem, &c->cap_gone, c->n_gone + 1, sizeof *c->gone);
	c->gone = mem;
	if (!ok)
		return ERR_NOMEM;
	c->gone[c->n_gone++] = peer;
	return ERR_OK;
}

/* A member is gone when some host says so that said it in an epoch of which it is a member still. */
enum err word_collect(struct ipam *i)
{
	struct reclaim *c = &i->reclaim;
	uint8_t mem[UNIVERSE_SUBKEY];
	struct slice subkey = universe_subkey(i->cfg.universe, 'x', mem), at = { NULL, 0 };
	struct crdt_item it;
	enum err e = ERR_OK;
	c->n_gone = 0;
	while (e == ERR_OK && crdt_map_next(i->cfg.paxos, at, &it)) {
		at = it.key;
		if (!it.live || !slice_eq(crdt_subkey(it.key), subkey))
			continue;
		struct rbuf r;
		rbuf_init(&r, it.value.p, it.value.n);
		uint64_t n = rbuf_varint(&r);
		for (uint64_t k = 0; k < n && k < GONE_MAX && e == ERR_OK; k++) {
			uint64_t name = rbuf_u48(&r), epoch = rbuf_varint(&r);
			const struct member *m = rbuf_ok(&r) ? epoch_member(&c->epoch, name) : NULL;
			if (m && m->since <= epoch && !ipam_reachable(i, name))
				e = add_gone(i, name);
		}
	}
	/* Of two the one would wait for ever for a vote of the other's former self. What they chose both have accepted. */
	struct vote v;
	uint64_t peer;
	at = (struct slice){ NULL, 0 };
	while (e == ERR_OK && c->epoch.n < RECLAIM_VOTERS_MIN && instance_next(&c->in, &at, &peer, &v)) {
		const struct member *m = epoch_member(&c->epoch, peer);
		if (m && m->memory != 0 && m->memory != v.memory)
			e = add_gone(i, peer);
	}
	c->in.gone = c->gone;
	c->in.n_gone = c->n_gone;
	return e;
}

enum err word_removed(struct ipam *i, uint64_t peer)
{
	struct reclaim *c = &i->reclaim;
	uint8_t mem[WORD_MAX];
	struct wbuf w;
	uint64_t names[GONE_MAX], epochs[GONE_MAX];
	size_t n = 0;
	if (!c->epoch.known || !epoch_member(&c->epoch, peer) || !reclaim_anybody(i))
		return ERR_OK;
	struct rbuf r;
	rbuf_init(&r, c->word, c->word_n);
	uint64_t had = c->word_n > 0 ? rbuf_varint(&r) : 0;
	for (uint64_t k = 0; k < had && n < GONE_MAX - 1 && rbuf_ok(&r); k++) {
		names[n] = rbuf_u48(&r);
		epochs[n] = rbuf_varint(&r);
		n += rbuf_ok(&r) && names[n] != peer && epoch_member(&c->epoch, names[n]) != NULL;
	}
	names[n] = peer;
	epochs[n++] = c->epoch.number;
	wbuf_fixed(&w, mem, sizeof mem);
	wbuf_varint(&w, n);
	for (size_t k = 0; k < n; k++) {
		wbuf_u48(&w, names[k]);
		wbuf_varint(&w, epochs[k]);
	}
	assert(!w.failed);
	enum err e = keep(i, wbuf_slice(&w));
	if (e != ERR_OK)
		return e;
	c->dirty = c->check = true;
	e = store(i);
	return e == ERR_OK ? word_publish(i) : e;
}

/* --- two electorates --- */

/* A host of the other side that can be reached; *n: how many there are. */
static uint64_t other_side(const struct ipam *i, size_t *n)
{
	const struct reclaim *c = &i->reclaim;
	struct slice at = { NULL, 0 };
	uint64_t peer, first = PEER_NONE;
	struct vote v;
	bool none_accepted = c->epoch.known && reclaim_undecided(i);
	*n = 0;
	while (c->epoch.known && instance_next(&c->in, &at, &peer, &v)) {
		bool other =
			v.epoch == c->epoch.number ? v.epoch > 0 && v.digest != c->epoch.digest : v.epoch > c->epoch.number && none_accepted;
		if (!v.known || !other || !ipam_reachable(i, peer))
			continue;
		first = first == PEER_NONE ? peer : first;
		++*n;
	}
	return first;
}

bool word_parted(const struct ipam *i)
{
	return i->reclaim.parted_until_ms > i->now;
}

bool word_conflict(const struct ipam *i, char *out, size_t size)
{
	char name[WHO_TEXT], more[32] = "";
	const struct reclaim *c = &i->reclaim;
	if (!word_parted(i) || c->parted_with == PEER_NONE)
		return false;
	if (c->parted_n > 1)
		line_format(more, sizeof more, " and %zu more", c->parted_n - 1);
	line_format(out, size,
		"%s%s decided apart from us: was `weft rmpeer` run on both sides of a cut? Run `weft reset` on the hosts of one side, then launch them again",
		ipam_who(i, c->parted_with, name), more);
	return true;
}

void word_look(struct ipam *i)
{
	struct reclaim *c = &i->reclaim;
	char text[256];
	size_t n;
	uint64_t with = other_side(i, &n);
	c->look_ms = UINT64_MAX;
	if (with == PEER_NONE) {
		c->parted_ms = 0;
		c->look_ms = word_parted(i) ? c->parted_until_ms : UINT64_MAX;
		c->parted_told = c->parted_told && word_parted(i);
		return;
	}
	if (c->parted_ms == 0)
		c->parted_ms = i->now;
	if (i->now < c->parted_ms + PARTED_MS) {
		c->look_ms = c->parted_ms + PARTED_MS;
		return;
	}
	c->parted_with = with;
	c->parted_n = n;
	c->parted_until_ms = i->now + AGAIN_MS;
	c->look_ms = i->now + AGAIN_MS / 2;
	if (!c->parted_told && word_conflict(i, text, sizeof text))
		out_note(i, 2, "%s", text);
	c->parted_told = true;
}
