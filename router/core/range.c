/* The range that addresses come from, where the operator left it to us (--ipalloc-range auto).
 *
 * Each host picks the first of a few ranges that none of its routes overlaps, so two hosts may pick differently before they meet. As long as
 * nothing is divided in ours we give way: to a range that somebody has divided already, or else to the greater of two that are not, in
 * the order of the list, ranges that are not in it last (an operator named them). A range that is not free here is passed over for the next
 * one that is. So all go the same way, upwards, until they are in the same range, and hosts whose range was named do not move.
 * Once divided a range stays: two that were divided before their hosts met are a matter for the operators, and said on both sides. */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "router/core/internal.h"

static bool same(struct universe a, struct universe b)
{
	return a.first == b.first && a.len == b.len;
}

static struct prefix prefix_of(struct universe u)
{
	return (struct prefix){ ip_v4(u.first), u.len };
}

/* Its place in the list; behind all of them when it is not there. */
static size_t rank(const struct core *c, struct universe u)
{
	size_t n = 0;

	while (n < c->cfg.n_auto_ranges && !same(c->cfg.auto_ranges[n], u))
		n++;
	return n;
}

static bool greater(const struct core *c, struct universe a, struct universe b)
{
	size_t x = rank(c, a), y = rank(c, b);

	if (x != y)
		return x > y;
	return a.first != b.first ? a.first > b.first : a.len < b.len;
}

/* What a host in reach, not ourselves, says of its data plane. */
static bool offer_of(const struct core *c, uint64_t peer, struct path_offer *offer)
{
	struct peer_info info;

	if (peer == c->cfg.gossip.self || !gossip_reachable(c->gossip, peer) || !gossip_peer(c->gossip, peer, &info))
		return false;
	path_offer_decode(info.extra, offer);
	return true;
}

/* What range that host's addresses come from; false: the same as ours, none, or one that cannot be. */
static bool range_of(const struct core *c, uint64_t peer, struct universe *u)
{
	struct path_offer offer;

	if (!offer_of(c, peer, &offer) || offer.range.addr.family != 4 || offer.range.len < 8 ||
		offer.range.len > IPAM_SUBNET_MAX_LEN || !prefix_is_network(offer.range))
		return false;
	*u = (struct universe){ ip_to_v4(offer.range.addr), offer.range.len };
	return !same(*u, c->cfg.universe);
}

/* --- moving ------------------------------------------------------------------------------------------------------------------------- */

/* Where to; false: we stay. */
static bool choose(const struct core *c, struct universe *to, uint64_t *whose)
{
	struct universe best = c->cfg.universe, u;
	bool best_divided = false;
	uint64_t peer;

	*whose = PEER_NONE;
	for (uint64_t at = 0; gossip_next_peer(c->gossip, &at, &peer);) {
		if (!range_of(c, peer, &u))
			continue;
		bool divided = !ring_empty(c->maps[CHANNEL_RING], u);
		if (divided ? best_divided && !greater(c, u, best) : best_divided || !greater(c, u, best))
			continue;
		best = u;
		best_divided = divided;
		*whose = peer;
	}
	*to = best;
	if (*whose == PEER_NONE || c->cfg.range_free(c->cfg.ctx, best))
		return *whose != PEER_NONE;
	for (size_t n = rank(c, best) + 1; !best_divided && n < c->cfg.n_auto_ranges; n++) {
		*to = c->cfg.auto_ranges[n];
		if (c->cfg.range_free(c->cfg.ctx, *to))
			return !same(*to, c->cfg.universe);
	}
	return false;
}

struct moved { /* a request that waits, or an address that is in use */
	struct ipam_event ev;
	char *ident;
};

static void moved_free(struct moved *v, size_t n)
{
	for (size_t i = 0; i < n; i++)
		mem_free(v[i].ident);
	mem_free(v);
}

static enum err moved_add(struct moved **v, size_t *n, size_t *cap, struct ipam_event ev, const char *ident)
{
	void *mem = *v;
	bool ok = mem_grow(&mem, cap, *n + 1, sizeof(**v));

	*v = mem;
	char *copy = ok ? mem_strdup(ident) : NULL;
	if (copy == NULL)
		return ERR_NOMEM;
	(*v)[*n] = (struct moved){ ev, copy };
	(*v)[*n].ev.ident = copy;
	(*n)++;
	return ERR_OK;
}

/* Addresses in use first. ERR_CONFLICT: one of them lies in the range we would go to. */
static enum err collect(const struct core *c, struct universe to, struct moved **v, size_t *n)
{
	struct ipam_pending_view p;
	struct prefix addr;
	const char *ident;
	size_t cap = 0;
	enum err err = ERR_OK;

	for (size_t it = 0; err == ERR_OK && ipam_next_lease(c->ipam, &it, &ident, &addr);) {
		struct ipam_event ev = { .kind = IPAM_CLAIM, .subnet = addr, .on = true };
		err = prefix_contains(prefix_of(to), addr.addr) ? ERR_CONFLICT : moved_add(v, n, &cap, ev, ident);
	}
	for (size_t it = 0; err == ERR_OK && ipam_next_pending(c->ipam, &it, &p);) {
		struct ipam_event ev = { .kind = strcmp(p.kind, "prime") == 0 ? IPAM_PRIME
				: strcmp(p.kind, "claim") == 0                        ? IPAM_CLAIM
																	  : IPAM_ALLOCATE,
			.request = p.request,
			.subnet = p.subnet,
			.on = p.in_use,
			.wait = p.wait };
		if (ev.kind == IPAM_ALLOCATE && prefix_eq(p.subnet, c->cfg.default_subnet))
			ev.subnet = (struct prefix){ 0 };
		err = moved_add(v, n, &cap, ev, p.ident);
	}
	return err;
}

/* What we have published about the former range. */
static enum err withdraw(struct core *c, uint8_t channel, struct core_actions *out)
{
	struct crdt_changes ch;
	struct crdt_item it;
	uint8_t key[6], copy[CRDT_KEY_MAX];
	struct wbuf w;
	enum err err = ERR_OK;

	crdt_changes_init(&ch, out->arena);
	wbuf_fixed(&w, key, sizeof(key));
	wbuf_u48(&w, c->cfg.gossip.self);
	struct slice at = wbuf_slice(&w);
	for (bool there = crdt_map_seek(c->maps[channel], at, &it);
		 err == ERR_OK && there && crdt_owner(it.key) == c->cfg.gossip.self; there = crdt_map_next(c->maps[channel], at, &it)) {
		memcpy(copy, it.key.p, it.key.n);
		at = slice_of(copy, it.key.n);
		if (it.live && it.key.n > 6)
			err = crdt_map_delete(c->maps[channel], crdt_subkey(at), &ch);
	}
	return err == ERR_OK ? core_spread(c, channel, &ch, out) : err;
}

static enum err move(struct core *c, struct universe to, uint64_t whose, struct core_actions *out)
{
	struct universe from = c->cfg.universe;
	bool plain = prefix_eq(c->cfg.default_subnet, prefix_of(from));
	struct moved *v = NULL;
	size_t n = 0;
	char a[PREFIX_TEXT], b[PREFIX_TEXT], name[PEER_TEXT];

	if (!plain && !prefix_overlaps(c->cfg.default_subnet, prefix_of(to)))
		return ERR_OK; /* the default subnet was named: only a range around it will do */
	enum err err = collect(c, to, &v, &n);
	struct core_cfg before = c->cfg;
	struct ipam *old = c->ipam;
	if (err == ERR_OK) {
		c->cfg.universe = to;
		if (plain)
			c->cfg.default_subnet = prefix_of(to);
		err = core_make_ipam(c);
	}
	if (err != ERR_OK) {
		c->cfg = before;
		c->ipam = old;
		moved_free(v, n);
		return err == ERR_CONFLICT ? ERR_OK : err;
	}
	ipam_free(old);
	err = core_note(out, NOTE_INFO,
		"addresses are taken from %s and not from %s: %s uses that range, and nothing was divided here yet",
		prefix_format(prefix_of(to), a), prefix_format(prefix_of(from), b), peer_format(whose, name));
	if (err == ERR_OK)
		err = withdraw(c, CHANNEL_PAXOS, out);
	if (err == ERR_OK)
		err = withdraw(c, CHANNEL_USAGE, out);
	for (size_t i = 0; i < n; i++) {
		enum err e = core_run_ipam(c, &v[i].ev, out);
		if (e != ERR_OK && v[i].ev.request != 0)
			e = core_reply(out, v[i].ev.request, e, NULL); /* it was not taken in */
		if (err == ERR_OK)
			err = e;
	}
	moved_free(v, n);
	if (err == ERR_OK && c->cfg.offer.range.addr.family != 0)
		c->cfg.offer.range = prefix_of(to);
	if (err == ERR_OK)
		err = core_emit(out, (struct core_action){ .kind = CORE_FORWARDING }); /* whoever knows the range looks again */
	return err == ERR_OK ? core_publish_offer(c, out) : err;
}

enum err range_settle(struct core *c, struct core_actions *out)
{
	struct universe to;
	uint64_t whose;

	if (!c->range_dirty || c->ipam == NULL || c->cfg.n_auto_ranges == 0)
		return ERR_OK;
	c->range_dirty = false;
	if (!ipam_undecided(c->ipam) || !choose(c, &to, &whose))
		return ERR_OK;
	enum err err = move(c, to, whose, out);
	c->range_dirty = err != ERR_OK;
	return err;
}

/* --- saying -------------------------------------------------------------------------------------------------------------------------- */

/* Those of one pair have to be alike, or their containers reach each other by IPv4 only. */
static bool range6_differs(const struct core *c, uint64_t peer, struct prefix *theirs)
{
	struct path_offer offer;

	if (!offer_of(c, peer, &offer) || offer.range.addr.family == 0)
		return false;
	*theirs = offer.range6;
	return !prefix_eq(offer.range6, c->cfg.offer.range6);
}

static const char *range6_text(struct prefix p, char out[PREFIX_TEXT])
{
	return p.addr.family == 0 ? "none" : prefix_format(p, out);
}

bool core_range_conflict(const struct core *c, char *out, size_t size)
{
	struct universe u;
	struct prefix theirs;
	struct peer_info info;
	char a[PREFIX_TEXT], b[PREFIX_TEXT], name[PEER_TEXT];
	uint64_t peer;

	for (uint64_t at = 0; c->ipam != NULL && gossip_next_peer(c->gossip, &at, &peer);) {
		if (!range_of(c, peer, &u) || !gossip_peer(c->gossip, peer, &info))
			continue;
		(void)snprintf(out, size,
			"%.40s(%s) gives out addresses of %s, this host of %s: run `weft reset` on the one that is to give way, and launch it with the "
			"other's --ipalloc-range",
			info.nickname, peer_format(peer, name), prefix_format(prefix_of(u), a), prefix_format(prefix_of(c->cfg.universe), b));
		return true;
	}
	for (uint64_t at = 0; c->ipam != NULL && gossip_next_peer(c->gossip, &at, &peer);) {
		if (!range6_differs(c, peer, &theirs) || !gossip_peer(c->gossip, peer, &info))
			continue;
		(void)snprintf(out, size,
			"%.40s(%s) gives out IPv6 addresses of %s, this host of %s: their containers reach each other by IPv4 only until both are "
			"launched with the same --ipalloc-range6",
			info.nickname, peer_format(peer, name), range6_text(theirs, a), range6_text(c->cfg.offer.range6, b));
		return true;
	}
	return false;
}
