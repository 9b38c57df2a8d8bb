/* Do all hosts that can be reached hold the same replicated state? Each is asked for the fingerprints of its channels (unicast kind 2, docs/wire.md) and its
 * answer held against our own at the moment it comes. A change on its way makes two hosts differ for a moment: whoever wants to know asks again. */
#include <string.h>

#include "router/core/internal.h"

enum { DIGEST_ASK = 1, DIGEST_ANSWER = 2, DIGEST_BYTES = 1 + 8 + 1 + CHANNELS * (1 + 8 + 8 + 10), NONE = 0 };

static struct fingerprint of_channel(const struct core *c, uint8_t id)
{
	return crdt_map_fingerprint(c->maps[id], slice_of(NULL, 0), slice_of(NULL, 0));
}

static enum err send(struct core *c, uint64_t to, const struct wbuf *w, struct core_actions *out)
{
	assert(wbuf_end(w) == ERR_OK);
	return core_unicast(c, to, DIGEST_MESSAGE_KIND, wbuf_slice(w), out);
}

/* Whose answer does not come counts as one that has not told. A round's number is nothing to guess: an answer to an older one says nothing. */
enum err digest_ask(struct core *c, struct core_actions *out)
{
	uint8_t bytes[DIGEST_BYTES];
	struct slice key;
	void *value;
	struct wbuf w;
	enum err err = ERR_OK;

	do
		c->digest_round = rng_u64(&c->rng);
	while (c->digest_round == NONE);
	wbuf_fixed(&w, bytes, sizeof(bytes));
	wbuf_u8(&w, DIGEST_ASK);
	wbuf_u64(&w, c->digest_round);
	for (size_t at = 0; map_next(c->peers, &at, &key, &value);) {
		struct peer_state *p = value;
		if (!gossip_reachable(c->gossip, p->name))
			continue;
		p->digest = (struct digest_state){ .round = c->digest_round };
		enum err e = send(c, p->name, &w, out);
		err = err == ERR_OK ? e : err;
	}
	return err;
}

static enum err answer(struct core *c, uint64_t to, uint64_t round, struct core_actions *out)
{
	uint8_t bytes[DIGEST_BYTES];
	struct wbuf w;

	wbuf_fixed(&w, bytes, sizeof(bytes));
	wbuf_u8(&w, DIGEST_ANSWER);
	wbuf_u64(&w, round);
	wbuf_u8(&w, CHANNEL_NETWORKS - CHANNEL_PEERS + 1);
	for (uint8_t id = CHANNEL_PEERS; id <= CHANNEL_NETWORKS; id++) {
		struct fingerprint f = of_channel(c, id);
		wbuf_u8(&w, id);
		wbuf_u64(&w, f.a);
		wbuf_u64(&w, f.b);
		wbuf_varint(&w, f.count);
	}
	return send(c, to, &w, out);
}

/* A channel that only one of the two knows is not compared: one of them is newer. */
static void compare(struct core *c, struct peer_state *p, struct rbuf *r)
{
	uint8_t n = rbuf_u8(r);
	uint16_t differs = 0;

	for (uint8_t i = 0; i < n && i < GOSSIP_CHANNELS_MAX && rbuf_ok(r); i++) {
		uint8_t id = rbuf_u8(r);
		struct fingerprint theirs = { .a = rbuf_u64(r), .b = rbuf_u64(r), .count = rbuf_varint(r) };
		if (id >= CHANNEL_PEERS && id <= CHANNEL_NETWORKS && !fingerprint_eq(theirs, of_channel(c, id)))
			differs |= (uint16_t)(1u << id);
	}
	if (!rbuf_ok(r))
		return;
	p->digest.answered = true;
	p->digest.differs = differs;
}

enum err digest_message(struct core *c, uint64_t from, struct slice payload, struct core_actions *out)
{
	struct rbuf r;

	rbuf_init(&r, payload.p, payload.n);
	uint8_t what = rbuf_u8(&r);
	uint64_t round = rbuf_u64(&r);
	struct peer_state *p = map_get64(c->peers, from);
	if (!rbuf_ok(&r) || p == NULL)
		return ERR_OK;
	if (what == DIGEST_ASK)
		return bucket_take(&p->digest_answers, c->now_ms) ? answer(c, from, round, out) : ERR_OK;
	if (what == DIGEST_ANSWER && round != NONE && p->digest.round == round && round == c->digest_round)
		compare(c, p, &r);
	return ERR_OK;
}

bool core_next_digest(const struct core *c, size_t *it, struct core_digest *out)
{
	struct slice key;
	void *value;

	while (map_next(c->peers, it, &key, &value)) {
		const struct peer_state *p = value;
		if (c->digest_round == NONE || p->digest.round != c->digest_round || !gossip_reachable(c->gossip, p->name))
			continue;
		*out = (struct core_digest){ .peer = p->name, .answered = p->digest.answered, .differs = p->digest.differs };
		return true;
	}
	return false;
}
