#include "tests/sim/liar.h"

#include <string.h>

#include "crdt/delta.h"
#include "gossip/internal.h"
#include "gossip/message.h"
#include "gossip/sign.h"
#include "ipam/message.h"
#include "router/core/internal.h"

enum { PAYLOAD_BYTES = 4096, FLOOD_ITEMS = 32, FLOOD_VALUE = 8000 };

void liar_init(struct liar *l, uint64_t seed)
{
	memset(l, 0, sizeof(*l));
	rng_seed(&l->rng, seed);
	l->floods = seed % 4 == 0;
}

/* --- links ------------------------------------------------------------------------------------------------------------------------------- */

/* The latest of what our own core has said there. */
static struct stamp last_own(const struct core *c, uint8_t channel)
{
	struct crdt_item it = { .key = { NULL, 0 } };
	struct stamp last = { c->gossip->incarnation, 0 };

	while (crdt_map_next(c->maps[channel], it.key, &it))
		if (crdt_owner(it.key) == c->gossip->self && stamp_cmp(it.stamp, last) > 0)
			last = it.stamp;
	return last;
}

static struct link *open_link(const struct core *c, size_t which)
{
	const struct gossip *g = c->gossip;

	for (size_t i = 0; i < g->n_links; i++)
		if (g->links[i]->stage == STAGE_ESTABLISHED && g->links[i]->peer != g->self && which-- == 0)
			return g->links[i];
	return NULL;
}

size_t liar_links(const struct core *c)
{
	size_t n = 0;

	while (open_link(c, n) != NULL)
		n++;
	return n;
}

bool liar_say_bytes(struct core *c, size_t link, struct slice message)
{
	struct link *l = open_link(c, link);

	return l != NULL && message.n > 0 && session_send(l->session, message, &l->out) == ERR_OK;
}

static bool say(struct liar *l, struct core *c, const struct message *m)
{
	struct wbuf w;
	size_t links = liar_links(c);

	wbuf_grow(&w, MESSAGE_MAX);
	bool ok = links > 0 && gossip_message_encode(&w, m) == ERR_OK &&
		liar_say_bytes(c, (size_t)rng_below(&l->rng, links), wbuf_slice(&w));
	wbuf_free(&w);
	l->said += ok;
	return ok;
}

/* --- what there is to lie about ------------------------------------------------------------------------------------------------------------- */

static uint64_t some_peer(struct liar *l, const struct core *c)
{
	uint64_t it = 0, name, chosen = c->gossip->self;
	size_t seen = 0;

	while (gossip_next_peer(c->gossip, &it, &name))
		if (name != c->gossip->self && rng_below(&l->rng, ++seen) == 0)
			chosen = name;
	return rng_chance(&l->rng, 30000) ? rng_below(&l->rng, PEER_MAX) + 1 : chosen;
}

static uint64_t some_number(struct liar *l)
{
	switch (rng_below(&l->rng, 4)) {
	case 0: return rng_below(&l->rng, 8);
	case 1: return rng_below(&l->rng, 1 << 20);
	case 2: return UINT64_MAX - rng_below(&l->rng, 4);
	default: return rng_u64(&l->rng);
	}
}

static void prove(struct liar *l, const struct core *c, uint8_t channel, struct crdt_item *it, uint8_t mem[CRDT_PROOF_MAX])
{
	const struct gossip *g = c->gossip;
	bool owned = channel != CHANNEL_RING;
	uint64_t owner = owned ? crdt_owner(it->key) : some_peer(l, c);
	struct wbuf w;

	switch (rng_below(&l->rng, 5)) {
	case 0: it->proof = slice_of(mem, 0); return;
	case 1: /* made up, in the other's name */
		rng_fill(&l->rng, mem, CRDT_PROOF_MAX);
		wbuf_fixed(&w, mem, CRDT_PROOF_MAX);
		if (!owned)
			wbuf_u48(&w, owner);
		it->proof = slice_of(mem, owned ? CRDT_SIGNATURE : CRDT_PROOF_MAX);
		return;
	case 2: /* signed by us in the other's name */
		it->proof = slice_of(mem, gossip_sign_proof(g->prover, g->sign_secret, owner, owned, channel, it, mem));
		return;
	default: it->proof = slice_of(mem, gossip_sign_proof(g->prover, g->sign_secret, g->self, owned, channel, it, mem)); return;
	}
}

/* --- tokens ------------------------------------------------------------------------------------------------------------------------------------- */

static uint64_t owner_of(const struct core *c, uint32_t addr)
{
	return ring_owner(c->maps[CHANNEL_RING], c->cfg.universe, addr);
}

static void remember(struct liar *l, const struct crdt_item *it, uint64_t victim)
{
	struct lie *x = &l->recent[l->n_recent++ % LIAR_RECENT];

	memcpy(x->key, it->key.p, sizeof(x->key));
	memcpy(x->value, it->value.p, sizeof(x->value));
	x->stamp = it->stamp;
	x->victim = victim;
}

struct token_bytes {
	uint8_t key[9], value[11], proof[CRDT_PROOF_MAX];
};

/* A token over addresses that are not ours; what stays its owner's changes nothing and is no lie. */
static bool make_token(struct liar *l, struct core *c, struct token_bytes *mem, struct crdt_item *it)
{
	struct range4 all = universe_range(c->cfg.universe);
	struct crdt_item here;
	struct wbuf k, v;
	uint32_t start = (uint32_t)rng_between(&l->rng, all.start, all.end - 1);
	uint64_t owner = rng_chance(&l->rng, 600000) ? c->gossip->self : some_peer(l, c);

	wbuf_fixed(&k, mem->key, sizeof(mem->key));
	wbuf_u32(&k, c->cfg.universe.first);
	wbuf_u8(&k, c->cfg.universe.len);
	wbuf_u32(&k, start);
	bool there = crdt_map_floor_item(c->maps[CHANNEL_RING], wbuf_slice(&k), &here) && ring_item_valid(&here);
	if (!there)
		return false;
	if (rng_chance(&l->rng, 500000)) { /* at a token's own place */
		memcpy(mem->key, here.key.p, sizeof(mem->key));
		struct rbuf r;
		rbuf_init(&r, mem->key + 5, 4);
		start = rbuf_u32(&r);
	}
	uint64_t victim = owner_of(c, start);
	if (victim == PEER_NONE || victim == c->gossip->self || victim == owner)
		return false;
	wbuf_fixed(&v, mem->value, sizeof(mem->value));
	wbuf_u48(&v, owner);
	wbuf_u32(&v, (uint32_t)rng_between(&l->rng, start, all.end - 1));
	wbuf_u8(&v, 0);
	*it = (struct crdt_item){ .key = slice_of(mem->key, sizeof(mem->key)),
		.stamp = here.stamp,
		.live = true,
		.value = slice_of(mem->value, sizeof(mem->value)) };
	it->stamp.ctr += rng_chance(&l->rng, 800000) ? 1 + rng_below(&l->rng, 9) : some_number(l) >> 1;
	it->stamp.inc += rng_chance(&l->rng, 100000) ? some_number(l) >> 1 : 0;
	prove(l, c, CHANNEL_RING, it, mem->proof);
	remember(l, it, victim);
	return true;
}

/* --- messages ----------------------------------------------------------------------------------------------------------------------------------- */

static bool say_delta(struct liar *l, struct core *c, uint8_t channel, const struct crdt_item *items, size_t n)
{
	struct wbuf w;

	wbuf_grow(&w, MESSAGE_DELTA_MAX);
	wbuf_varint(&w, n);
	for (size_t i = 0; i < n; i++)
		crdt_item_encode(&w, &items[i]);
	struct message m = { .type = MESSAGE_DELTA, .u.state = { .channel = channel, .body = wbuf_slice(&w) } };
	bool ok = say(l, c, &m);
	wbuf_free(&w);
	return ok;
}

static bool say_tokens(struct liar *l, struct core *c)
{
	struct token_bytes mem[8];
	struct crdt_item v[8];
	size_t n = 0;

	for (size_t i = 0, want = 1 + (size_t)rng_below(&l->rng, 8); l->tokens && i < want; i++)
		n += make_token(l, c, &mem[n], &v[n]);
	return n == 0 || say_delta(l, c, CHANNEL_RING, v, n);
}

/* Somebody else's item, with another value, gone, or forgotten. */
static bool say_of_others(struct liar *l, struct core *c)
{
	static const uint8_t channels[] = { CHANNEL_PEERS, CHANNEL_PAXOS, CHANNEL_USAGE, CHANNEL_NAMES, CHANNEL_ENDPOINTS,
		CHANNEL_NETWORKS };
	uint8_t channel = channels[rng_below(&l->rng, sizeof(channels))], proof[CRDT_PROOF_MAX], key[CRDT_KEY_MAX], value[64];
	const struct crdt_map *map = c->maps[channel];
	struct crdt_item it;
	struct wbuf w;

	wbuf_fixed(&w, key, sizeof(key));
	wbuf_u48(&w, some_peer(l, c));
	if (!crdt_map_seek(map, wbuf_slice(&w), &it) || crdt_owner(it.key) == c->gossip->self)
		return true;
	uint64_t owner = crdt_owner(it.key);
	memcpy(key, it.key.p, it.key.n);
	it.key.p = key;
	it.stamp.ctr += 1 + rng_below(&l->rng, 5);
	if (rng_chance(&l->rng, 200000))
		it.stamp.inc += some_number(l) >> 2;
	rng_fill(&l->rng, value, sizeof(value));
	switch (rng_below(&l->rng, 4)) {
	case 0: it.live = false; break;
	case 1:
		if (!l->tokens) /* of who cannot be reached any member may say that it is gone for good */
			return true;
		it.live = false;
		it.key.n = 6;
		it.stamp.ctr = UINT64_MAX;
		break;
	case 2: break; /* as it is, only newer */
	default:
		it.live = !crdt_is_floor(&it);
		it.value = slice_of(value, it.live ? (size_t)rng_below(&l->rng, sizeof(value)) : 0);
		break;
	}
	if (!it.live)
		it.value = slice_of(NULL, 0);
	if (owner == c->gossip->self)
		return true;
	prove(l, c, channel, &it, proof);
	return say_delta(l, c, channel, &it, 1);
}

/* Our own words, false ones: that somebody else's container is here, that all space is ours and free, that we are of another ring. */
static bool say_own(struct liar *l, struct core *c)
{
	const struct core_endpoint *e, *stolen = NULL;
	uint8_t key[CRDT_KEY_MAX], proof[CRDT_PROOF_MAX], value[1024], channel = CHANNEL_USAGE;
	struct wbuf k, v;
	size_t seen = 0;

	wbuf_fixed(&k, key, sizeof(key));
	wbuf_fixed(&v, value, sizeof(value));
	wbuf_u48(&k, c->gossip->self);
	for (size_t it = 0; core_next_remote(c, &it, &e);)
		if (rng_below(&l->rng, ++seen) == 0)
			stolen = e;
	switch (rng_below(&l->rng, 3)) {
	case 0:
		if (stolen == NULL)
			return true;
		channel = CHANNEL_ENDPOINTS;
		wbuf_mac(&k, stolen->mac);
		wbuf_bytes(&k, stolen->network, strlen(stolen->network));
		wbuf_u8(&v, 1);
		wbuf_lv(&v, slice_str("stolen"));
		wbuf_varint(&v, stolen->n_addrs);
		for (size_t i = 0; i < stolen->n_addrs; i++) {
			wbuf_ip(&v, stolen->addrs[i].addr);
			wbuf_u8(&v, stolen->addrs[i].len);
		}
		break;
	case 1:
		wbuf_u8(&k, 'u');
		wbuf_u32(&k, c->cfg.universe.first);
		wbuf_u8(&k, c->cfg.universe.len);
		wbuf_varint(&v, 1);
		wbuf_u32(&v, c->cfg.universe.first);
		wbuf_u32(&v, (uint32_t)(universe_range(c->cfg.universe).end - 1));
		wbuf_varint(&v, rng_below(&l->rng, range4_size(universe_range(c->cfg.universe))));
		break;
	default:
		wbuf_u8(&k, 'f');
		wbuf_u32(&k, c->cfg.universe.first);
		wbuf_u8(&k, c->cfg.universe.len);
		wbuf_u64(&v, rng_u64(&l->rng) >> rng_below(&l->rng, 64));
		break;
	}
	struct stamp last = last_own(c, channel);
	struct crdt_item it = { .key = wbuf_slice(&k),
		.stamp = { last.inc, last.ctr + 1 + rng_below(&l->rng, 20) },
		.live = rng_chance(&l->rng, 900000),
		.value = wbuf_slice(&v) };
	if (!it.live)
		it.value = slice_of(NULL, 0);
	it.proof =
		slice_of(proof, gossip_sign_proof(c->gossip->prover, c->gossip->sign_secret, c->gossip->self, true, channel, &it, proof));
	return v.failed || k.failed || say_delta(l, c, channel, &it, 1);
}

/* More names than all hosts together have, each as long as can be; or floors under names that nobody has heard of. */
static bool say_flood(struct liar *l, struct core *c)
{
	static const uint8_t value[FLOOD_VALUE] = { 1, 1, 1 };
	struct {
		uint8_t key[16], proof[CRDT_PROOF_MAX];
	} mem[FLOOD_ITEMS];
	struct crdt_item v[FLOOD_ITEMS];
	bool floors = rng_chance(&l->rng, 300000);
	struct wbuf k;

	for (size_t i = 0; i < FLOOD_ITEMS; i++) {
		wbuf_fixed(&k, mem[i].key, sizeof(mem[i].key));
		wbuf_u48(&k, floors ? rng_between(&l->rng, 1, PEER_MAX) : c->gossip->self);
		if (!floors)
			wbuf_u32(&k, l->published++);
		v[i] = (struct crdt_item){ .key = wbuf_slice(&k),
			.stamp = { floors ? 1 : UINT64_MAX,
				UINT64_MAX }, /* our own core, which knows nothing of it, can write nothing above that */
			.live = !floors,
			.value = slice_of(value, floors ? 0 : sizeof(value)) };
		v[i].proof = slice_of(mem[i].proof,
			gossip_sign_proof(
				c->gossip->prover, c->gossip->sign_secret, c->gossip->self, true, CHANNEL_NAMES, &v[i], mem[i].proof));
	}
	return say_delta(l, c, CHANNEL_NAMES, v, FLOOD_ITEMS);
}

/* Grants that nobody asked for, handovers of what is others', answers to no question; from us, or from somebody else. */
static bool say_unicast(struct liar *l, struct core *c)
{
	struct range4 all = universe_range(c->cfg.universe);
	struct token_bytes mem;
	struct crdt_item it;
	struct wbuf items, w;
	static const char text[] = "a lie";
	uint64_t start = rng_between(&l->rng, all.start, all.end - 1);
	struct ipam_message q = { .type = (enum ipam_message_type)rng_between(&l->rng, 1, MSG_TYPES - 1),
		.u = c->cfg.universe,
		.range = { start, rng_between(&l->rng, start + 1, all.end) },
		.serial = some_number(l),
		.reason = DENY_IN_USE,
		.text = slice_str(text),
		.print = { some_number(l), some_number(l), some_number(l) } };
	struct message m = { .type = MESSAGE_UNICAST };

	if (!l->tokens && (q.type == MSG_SPACE_REQUEST || q.type == MSG_SPACE_GRANT))
		q.type = MSG_HANDOVER_ACK;
	if (q.type == MSG_SPACE_REQUEST || q.type == MSG_ELECT) /* asking is any member's right, and would drain the others */
		q.type = MSG_SPACE_DENIED;
	wbuf_grow(&items, PAYLOAD_BYTES);
	wbuf_grow(&w, PAYLOAD_BYTES * 2);
	if (l->tokens && make_token(l, c, &mem, &it)) {
		crdt_item_encode(&items, &it);
		q.n_items = 1;
	}
	q.items = wbuf_slice(&items);
	ipam_message_encode(&w, &q);
	m.u.unicast.from = rng_chance(&l->rng, 500000) ? c->gossip->self : some_peer(l, c);
	m.u.unicast.to = some_peer(l, c);
	m.u.unicast.hops = (uint8_t)rng_below(&l->rng, 40);
	m.u.unicast.kind = rng_chance(&l->rng, 900000) ? IPAM_MESSAGE_KIND : (uint8_t)rng_u64(&l->rng);
	m.u.unicast.payload = wbuf_slice(&w);
	if (rng_chance(&l->rng, 50000))
		m.u.unicast.payload.n = (size_t)rng_below(&l->rng, m.u.unicast.payload.n + 1);
	m.u.unicast.is_signed = rng_chance(&l->rng, 300000);
	m.u.unicast.uid = some_number(l);
	m.u.unicast.serial = some_number(l);
	rng_fill(&l->rng, m.u.unicast.signature, sizeof(m.u.unicast.signature));
	bool ok = say(l, c, &m);
	wbuf_free(&items);
	wbuf_free(&w);
	return ok;
}

/* A type with anything behind it, or counts that promise more than there is. */
static bool say_noise(struct liar *l, struct core *c)
{
	static const uint8_t types[] = { MESSAGE_PING, MESSAGE_PONG, MESSAGE_DELTA, MESSAGE_RECON, MESSAGE_UNICAST, MESSAGE_BYE, 29 };
	uint8_t b[300];
	size_t n = 1 + (size_t)rng_below(&l->rng, sizeof(b)), links = liar_links(c);

	rng_fill(&l->rng, b, sizeof(b));
	b[0] = types[rng_below(&l->rng, sizeof(types))];
	if (b[0] == MESSAGE_DELTA || b[0] == MESSAGE_RECON)
		b[1] = (uint8_t)rng_below(&l->rng, 9);
	if (rng_chance(&l->rng, 300000))
		memset(b + 2, 0xff, 9); /* as a count: 2^63 and more */
	l->said++;
	return links == 0 || liar_say_bytes(c, (size_t)rng_below(&l->rng, links), slice_of(b, n));
}

bool liar_say(struct liar *l, struct core *c)
{
	if (liar_links(c) == 0)
		return false;
	if (rng_chance(&l->rng, 50000)) /* most of it ends the link, and little else comes through where it is said often */
		return say_noise(l, c);
	if (l->floods && rng_chance(&l->rng, 60000))
		return say_flood(l, c);
	switch (rng_below(&l->rng, 20)) {
	case 0:
	case 1:
	case 2:
	case 3: return say_unicast(l, c);
	case 4:
	case 5:
	case 6: return say_own(l, c);
	case 7:
	case 8:
	case 9:
	case 10: return say_of_others(l, c);
	default: return say_tokens(l, c);
	}
}
