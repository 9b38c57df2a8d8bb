/* Rings that were formed apart.
 *
 * Each host that takes part in a ring publishes which first division the ring comes from: a hash of the members' names (usage.c, key "f"). When
 * a host sees that a token in its own range was written by one of another founding, one of the two rings has to give way, and everybody who
 * has the same published state decides the same: the ring of which more hosts have published that it is theirs holds, at a tie the one with the lower hash.
 * The owners of the other take its tokens where they claim the same addresses (what is in use there becomes holds), and they become members
 * of it when no more come. Nobody decides anything for a ring of which not even half the founders are heard of: a few of them may be
 * cut off with a liar. */
#include <sodium.h>
#include <string.h>

#include "ipam/internal.h"

#define YIELD_MS 60000 /* after the last token that was given up for it we belong to the other ring */

static bool same(const struct founding *a, const struct founding *b)
{
	return memcmp(a->id, b->id, FOUNDING_ID) == 0;
}

static bool none(const struct founding *f)
{
	return f->members == 0;
}

static uint64_t publishers(const struct ipam *i, const struct founding *f)
{
	uint64_t it = 0, peer, n = same(f, &i->founding);
	struct founding theirs;
	while (i->cfg.next_peer(i->cfg.ctx, &it, &peer))
		n += peer != i->cfg.self && usage_founding(i, peer, &theirs) && same(&theirs, f);
	return n;
}

enum founding_order founding_compare(const struct ipam *i, uint64_t peer)
{
	struct founding theirs;
	if (none(&i->founding) || !usage_founding(i, peer, &theirs) || same(&theirs, &i->founding))
		return FOUNDING_SAME;
	uint64_t a = publishers(i, &i->founding), b = publishers(i, &theirs);
	if (2 * a <= i->founding.members && i->founding.members > 1)
		return FOUNDING_UNDECIDED;
	if (a != b)
		return a > b ? FOUNDING_OURS : FOUNDING_THEIRS;
	return memcmp(i->founding.id, theirs.id, FOUNDING_ID) < 0 ? FOUNDING_OURS : FOUNDING_THEIRS;
}

static enum err store(struct ipam *i)
{
	uint8_t key[RECORD_KEY_MAX], value[FOUNDING_ID + 10];
	struct wbuf w;
	wbuf_fixed(&w, value, sizeof value);
	wbuf_bytes(&w, i->founding.id, FOUNDING_ID);
	wbuf_varint(&w, i->founding.members);
	i->founding_published = false;
	return out_persist(i, record_key(i, "founding/", NULL, 0, key), wbuf_slice(&w));
}

enum err founding_load(struct ipam *i, struct slice value)
{
	struct rbuf r;
	struct founding f;
	rbuf_init(&r, value.p, value.n);
	struct slice id = rbuf_bytes(&r, FOUNDING_ID);
	f.members = rbuf_varint(&r);
	if (rbuf_end(&r) != ERR_OK || f.members == 0)
		return ERR_MALFORMED;
	memcpy(f.id, id.p, FOUNDING_ID);
	i->founding = f;
	return ERR_OK;
}

enum err founding_divided(struct ipam *i, const uint64_t *names, size_t n)
{
	struct wbuf w;
	if (!none(&i->founding))
		return ERR_OK;
	wbuf_grow(&w, 8 + 6 * (size_t)RING_TOKENS_MAX);
	wbuf_u32(&w, i->cfg.universe.first);
	wbuf_u8(&w, i->cfg.universe.len);
	for (size_t k = 0; k < n; k++)
		wbuf_u48(&w, names[k]);
	enum err e = wbuf_end(&w);
	uint8_t hash[crypto_generichash_BYTES_MIN];
	if (e == ERR_OK) {
		(void)crypto_generichash(hash, sizeof hash, w.data, w.len, NULL, 0);
		memcpy(i->founding.id, hash, FOUNDING_ID);
		i->founding.members = n;
		e = store(i);
	}
	wbuf_free(&w);
	return e;
}

/* Who came to have space without having divided anything belongs to the ring that most say is theirs. */
static enum err adopt(struct ipam *i)
{
	uint64_t it = 0, peer, best_n = 0;
	struct founding best = { 0 }, f;
	while (i->cfg.next_peer(i->cfg.ctx, &it, &peer)) {
		if (peer == i->cfg.self || !usage_founding(i, peer, &f) || (best_n > 0 && same(&f, &best)))
			continue;
		uint64_t n = publishers(i, &f);
		if (n > best_n || (n == best_n && memcmp(f.id, best.id, FOUNDING_ID) < 0)) {
			best_n = n;
			best = f;
		}
	}
	if (best_n == 0)
		return ERR_OK;
	best.members = best_n + 1;
	i->founding = best;
	return store(i);
}

void founding_yielded(struct ipam *i, uint64_t peer)
{
	struct founding f;
	if (none(&i->founding) || !usage_founding(i, peer, &f) || same(&f, &i->founding))
		return;
	i->yielding = f;
	i->yielding_ms = i->now + YIELD_MS;
}

enum err founding_settle(struct ipam *i)
{
	enum err e = ERR_OK;
	if (!none(&i->yielding) && i->now >= i->yielding_ms) {
		i->founding = i->yielding;
		i->founding.members = publishers(i, &i->yielding);
		i->yielding = (struct founding){ 0 };
		e = store(i);
	}
	if (e == ERR_OK && none(&i->founding) && i->owned.n > 0 && !i->founding_looked)
		e = adopt(i);
	i->founding_looked = true;
	if (e != ERR_OK || none(&i->founding) || i->founding_published)
		return e;
	e = usage_put_founding(i, &i->founding);
	i->founding_published = e == ERR_OK;
	return e;
}

bool founding_conflict(const struct ipam *i, char *out, size_t size)
{
	uint64_t it = 0, peer;
	struct founding f;
	char name[WHO_TEXT];
	if (none(&i->founding))
		return false;
	while (i->cfg.next_peer(i->cfg.ctx, &it, &peer)) {
		if (peer == i->cfg.self || usage_is_gone(i, peer) || !usage_founding(i, peer, &f) || same(&f, &i->founding))
			continue;
		bool ours = founding_compare(i, peer) == FOUNDING_OURS;
		line_format(out, size, "%s is of a ring that was formed apart from ours: run `weft reset` %s, then launch %s again",
			ipam_who(i, peer, name), ours ? "there" : "here", ours ? "it" : "this one");
		return true;
	}
	return false;
}
