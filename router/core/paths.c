/* Which way frames take to each peer, and why.
 *
 * Three ways: fast (the kernel's VXLAN), userspace (our datagrams, in the clear or sealed), relay (sealed, over other hosts). Policy says which
 * are possible for a pair: it follows from both offers, from who can be reached how, and from who trusts whom, and comes out alike at both
 * ends. Of those the best one that probes have shown to work is used (probes.c); before anything is shown the userspace path, so that
 * the first frames need not wait; when nothing works any more, what was used last, with the reason saying so.
 *
 * Everything about one peer happens in its turn (paths_turn): due probes, then the choice, then the time of its next turn. Turns are brought
 * about by events that concern the peer, by the mesh (paths_refresh) and by the clock. A turn that nothing called for changes nothing. */
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "router/core/internal.h"

const char *path_name(enum path p)
{
	switch (p) {
	case PATH_FAST: return "fast";
	case PATH_USERSPACE: return "userspace";
	case PATH_RELAY: return "relay";
	case PATH_NONE: break;
	}
	return "none";
}

/* --- policy ------------------------------------------------------------------------------------------------------------------------ */

static struct ip own_address(const struct core *c, const struct peer_state *p)
{
	if (p->local.family != 0)
		return p->local;
	return c->cfg.gossip.n_addresses > 0 ? c->cfg.gossip.addresses[0].ip : (struct ip){ 0 };
}

/* NULL: data of this pair may go in the clear. */
static const char *sealed_why(const struct core *c, const struct peer_state *p)
{
	const struct path_offer *own = &c->cfg.offer;

	if (own->sealed_only)
		return "encryption-required-here";
	if (p->offer.sealed_only)
		return "encryption-required-there";
	if (!own->password && !p->offer.password)
		return NULL;
	bool here = path_offer_trusts(own, p->underlay), there = path_offer_trusts(&p->offer, own_address(c, p));
	return here && there ? NULL : here ? "sealed-not-trusted-there" : there ? "sealed-not-trusted-here" : "sealed-by-password";
}

/* Where the peer's VXLAN device can be reached by ours: both have one address family, our link to it may be of the other. family 0: nowhere. */
static struct ip fast_address(const struct core *c, const struct peer_info *info, struct ip linked)
{
	uint8_t family = c->cfg.offer.vxlan_over_v6 ? 6 : 4;

	if (linked.family == family)
		return linked;
	for (size_t i = 0; i < info->n_addresses; i++)
		if (info->addresses[i].ip.family == family)
			return info->addresses[i].ip;
	return (struct ip){ 0 };
}

/* What forbids any straight way. */
static const char *straight_why_not(const struct core *c, const struct peer_state *p)
{
	if (!p->linked && !c->cfg.gossip.discovery)
		return "no-link-of-its-own-and-discovery-is-off";
	return p->underlay.family == 0 ? "no-underlay-address-known" : NULL;
}

static const char *fast_why_not(const struct core *c, const struct peer_state *p)
{
	const struct path_offer *own = &c->cfg.offer;
	const char *why = straight_why_not(c, p);

	if (why != NULL)
		return why;
	if (own->vxlan_port == 0)
		return "no-vxlan-here";
	if (p->offer.vxlan_port == 0)
		return "no-vxlan-there";
	if (own->vxlan_port != p->offer.vxlan_port)
		return "vxlan-ports-differ";
	if (own->vxlan_over_v6 != p->offer.vxlan_over_v6)
		return "vxlan-address-families-differ";
	why = sealed_why(c, p);
	if (why != NULL)
		return why;
	if (p->fast_to.family == 0)
		return "no-underlay-address-for-vxlan";
	bool by_trust = own->password || p->offer.password;
	return by_trust && !path_offer_trusts(own, p->fast_to) ? "sealed-not-trusted-here" : NULL;
}

static const char *datagrams_why_not(const struct core *c, const struct peer_state *p)
{
	if (c->cfg.no_fallback)
		return "fallback-is-off";
	if (c->cfg.offer.userspace_port == 0)
		return "no-userspace-path-here";
	return p->offer.userspace_port == 0 ? "no-userspace-path-there" : NULL;
}

static const char *userspace_why_not(const struct core *c, const struct peer_state *p)
{
	const char *why = datagrams_why_not(c, p);

	if (why == NULL)
		why = straight_why_not(c, p);
	return why == NULL && p->sealed && !p->keyed ? "no-key-published-there" : why;
}

/* There is a link, and yet no datagram gets through: a firewall between the two that lets TCP pass. */
static bool is_blocked(const struct peer_state *p)
{
	const struct way *fast = &p->ways[PATH_FAST], *direct = &p->ways[PATH_USERSPACE];

	return p->reachable && p->linked && direct->possible && !direct->works && direct->failed_ms != 0 && !fast->works;
}

static const char *relay_why_not(const struct core *c, const struct peer_state *p)
{
	const char *why = datagrams_why_not(c, p);

	if (why != NULL)
		return why;
	if (p->relay == p->name)
		return is_blocked(p) ? "nobody-to-go-between" : "linked-directly";
	if (!p->keyed)
		return "no-key-published-there";
	return p->relay == PEER_NONE || p->relay_to.ip.family == 0 ? "no-relay-known" : NULL;
}

/* --- what the mesh says of a peer -------------------------------------------------------------------------------------------------- */

static bool has_members(const struct core *c, uint64_t owner)
{
	uint8_t prefix[6];
	struct crdt_item it;
	struct wbuf w;

	wbuf_fixed(&w, prefix, sizeof(prefix));
	wbuf_u48(&w, owner);
	bool more = crdt_map_seek(c->maps[CHANNEL_ENDPOINTS], wbuf_slice(&w), &it);
	for (; more && crdt_owner(it.key) == owner; more = crdt_map_next(c->maps[CHANNEL_ENDPOINTS], it.key, &it))
		if (it.live)
			return true;
	return false;
}

static struct peer_state *state_of(struct core *c, uint64_t name)
{
	struct peer_state *p = map_get64(c->peers, name);

	if (p != NULL)
		return p;
	p = mem_zalloc(1, sizeof(*p));
	if (p == NULL)
		return NULL;
	p->name = name;
	p->since_ms = c->now_ms;
	p->members = has_members(c, name);
	(void)snprintf(p->reason, sizeof(p->reason), "peer-unreachable");
	bucket_init(&p->answers, PATH_ANSWERS_BURST, PATH_ANSWERS_PER_S, c->now_ms);
	bucket_init(&p->digest_answers, DIGEST_ANSWERS_BURST, DIGEST_ANSWERS_PER_S, c->now_ms);
	for (enum path k = PATH_FAST; k <= PATH_RELAY; k++)
		probes_impossible(p, k, "peer-unreachable");
	if (heap_push(&c->turns, &p->timer, UINT64_MAX) != ERR_OK) {
		mem_free(p);
		return NULL;
	}
	if (map_put64(c->peers, name, p, NULL) != ERR_OK) {
		heap_remove(&c->turns, &p->timer);
		mem_free(p);
		return NULL;
	}
	return p;
}

/* The far end of our link, or what it publishes; without a link what was known before goes on being good, for the same run. */
static void take_addresses(struct core *c, struct peer_state *p, const struct peer_info *info, bool anew)
{
	struct ip far, local;

	p->linked = gossip_linked(c->gossip, p->name);
	if (!gossip_underlay(c->gossip, p->name, &far, &local))
		far = (struct ip){ 0 };
	if (p->linked || anew || p->underlay.family == 0) {
		if (!ip_eq(far, p->underlay))
			p->roamed = (struct hostport){ 0 };
		p->underlay = far;
		p->local = local;
	}
	p->fast_to = fast_address(c, info, p->underlay);
}

static bool has_link(const struct core *c, uint64_t host, uint64_t to)
{
	uint64_t links[GOSSIP_LINKS_MAX];
	size_t n = gossip_links_of(c->gossip, host, links, GOSSIP_LINKS_MAX);

	for (size_t i = 0; i < n; i++)
		if (links[i] == to)
			return true;
	return false;
}

/* Datagrams of ours get to it, and it has a link to the peer. */
static bool goes_between(const struct core *c, const struct peer_state *p, const struct peer_state *other)
{
	if (other == NULL || other == p || !other->reachable || !other->linked || other->to.ip.family == 0)
		return false;
	return other->ways[PATH_USERSPACE].works && has_link(c, other->name, p->name);
}

/* Of several hosts that could go between, each pair takes another one: no one host has to carry all. PEER_NONE: there is none. */
static uint64_t go_between(const struct core *c, const struct peer_state *p)
{
	uint64_t best_score = UINT64_MAX, found = PEER_NONE;
	struct slice key;
	void *value;

	if (goes_between(c, p, map_get64(c->peers, p->relay)))
		return p->relay; /* as before: a change would cost what is known of the way */
	for (size_t at = 0; map_next(c->peers, &at, &key, &value);) {
		const struct peer_state *other = value;
		uint64_t score = (other->name ^ p->name ^ c->cfg.gossip.self) * UINT64_C(0x9e3779b97f4a7c15);
		if (score < best_score && goes_between(c, p, other)) {
			best_score = score;
			found = other->name;
		}
	}
	return found;
}

/* The first host on the way over others, for us and for what we pass on. */
static void take_relay(const struct core *c, struct peer_state *p)
{
	uint64_t between = is_blocked(p) ? go_between(c, p) : PEER_NONE;

	p->relay = between != PEER_NONE ? between : gossip_next_hop(c->gossip, p->name);
	const struct peer_state *next = p->relay == p->name ? p : map_get64(c->peers, p->relay);
	bool there = p->relay != PEER_NONE && next != NULL && next->offer.userspace_port != 0 && next->to.ip.family != 0;
	p->relay_to = there ? next->to : (struct hostport){ 0 };
}

/* possible or not; anew: what was known of it is void; moved: what was known may be wrong. */
static void weigh(struct core *c, struct peer_state *p, enum path k, const char *why_not, bool anew, bool moved)
{
	if (why_not != NULL)
		probes_impossible(p, k, why_not);
	else if (anew || !p->ways[k].possible)
		probes_contact(c, p, k);
	else if (moved)
		probes_verify(c, p, k);
}

/* The fast path of a peer out of sight: stays while there are signs that its host runs. */
static uint64_t hold_until(const struct core *c, const struct peer_state *p)
{
	uint64_t seen, shortly = p->lost_ms + PATH_HOLD_MS, longest = p->lost_ms + PATH_HOLD_MAX_MS;

	switch (gossip_lost_how(c->gossip, p->name, &seen)) {
	case GOSSIP_LOST_SILENT: return 0;
	case GOSSIP_LOST_NEVER: return shortly; /* others have seen it go; how, they do not say */
	case GOSSIP_LOST_CLOSED: break;
	}
	seen += PATH_HOLD_SIGN_MS;
	return seen < shortly ? shortly : seen < longest ? seen : longest;
}

/* true: it is out of sight, and nothing about its path is to change yet. */
static bool held(struct core *c, struct peer_state *p)
{
	uint64_t until = p->reachable || p->path != PATH_FAST || p->lost_ms == 0 ? 0 : hold_until(c, p);

	p->hold_until = until > c->now_ms ? until : 0;
	return p->hold_until != 0;
}

static void weigh_all(struct core *c, struct peer_state *p)
{
	struct where now = { p->fast_to, p->to, p->relay_to, p->sealed };
	bool fast = p->renewed || p->back || !ip_eq(now.fast_to, p->weighed.fast_to);

	if (p->reachable) {
		weigh(c, p, PATH_FAST, fast_why_not(c, p), false, fast);
		weigh(c, p, PATH_USERSPACE, userspace_why_not(c, p), p->renewed || now.sealed != p->weighed.sealed,
			!hostport_eq(now.to, p->weighed.to));
		weigh(c, p, PATH_RELAY, relay_why_not(c, p), p->renewed, !hostport_eq(now.relay_to, p->weighed.relay_to));
	} else {
		for (enum path k = PATH_FAST; k <= PATH_RELAY; k++)
			probes_impossible(p, k, "peer-unreachable");
	}
	p->weighed = now;
	p->renewed = p->back = false;
}

/* Whether the peer is in sight, and its names are answered. */
static enum err see(struct core *c, struct peer_state *p, bool *moved)
{
	bool reachable = gossip_reachable(c->gossip, p->name), present = gossip_present(c->gossip, p->name);
	enum err err = c->table != NULL ? dns_table_set_reachable(c->table, p->name, present) : ERR_OK;

	if (err != ERR_OK)
		return err;
	if (p->reachable && !reachable)
		p->lost_ms = c->now_ms;
	*moved = *moved || reachable != p->reachable || present != p->present;
	p->back = p->back || (reachable && p->hold_until != 0);
	p->reachable = reachable;
	p->present = present;
	return ERR_OK;
}

/* What is known of the peer: first of all peers, since one is reached over another. */
static enum err learn(struct core *c, struct peer_state *p, const struct peer_info *info, struct core_actions *out, bool *moved)
{
	bool anew = info->uid != p->uid, before = p->uid != 0;
	enum err err = see(c, p, moved);

	if (err == ERR_OK)
		err = sessions_peer(c, p, info->key, out);
	if (err != ERR_OK)
		return err;
	path_offer_decode(info->extra, &p->offer);
	(void)snprintf(p->nickname, sizeof(p->nickname), "%s", info->nickname);
	*moved = *moved || anew;
	p->renewed = p->renewed || (anew && before);
	p->uid = info->uid;
	p->members = has_members(c, p->name);
	take_addresses(c, p, info, anew);
	p->sealed = sealed_why(c, p) != NULL;
	if (!p->sealed)
		p->roamed = (struct hostport){ 0 };
	p->to = p->roamed.ip.family != 0 ? p->roamed : (struct hostport){ p->underlay, p->offer.userspace_port };
	return ERR_OK;
}

/* Who was forgotten as a whole is no longer known to the mesh. Names it may still have are not to be answered, and where it has none the table
 * forgets it too. But who runs anew is unknown for a moment as well, where the floor that ends its former run comes before what it says of the
 * present one: what we have agreed on with it is not to be lost by that, for it would not know. */
static enum err drop_unknown(struct core *c, struct core_actions *out, bool *moved)
{
	struct slice key;
	struct peer_info info;
	void *value;

	for (size_t at = 0; map_next(c->peers, &at, &key, &value);) {
		struct peer_state *p = value;
		uint64_t name = p->name;
		if (gossip_peer(c->gossip, name, &info)) {
			p->unknown_until = 0;
			continue;
		}
		if (p->unknown_until == 0 && (p->reachable || gossip_reachable(c->gossip, name)))
			p->unknown_until = c->now_ms + PATH_UNKNOWN_MS;
		if (c->now_ms < p->unknown_until) {
			enum err seen = see(c, p, moved);
			if (seen != ERR_OK)
				return seen;
			continue;
		}
		enum err err = sessions_forget(c, name, out);
		if (err == ERR_OK && c->table != NULL)
			err = dns_table_set_reachable(c->table, name, !names_any_of(c, name));
		if (err != ERR_OK)
			return err;
		heap_remove(&c->turns, &p->timer);
		probes_free(p);
		mem_free(map_del(c->peers, key));
		*moved = true;
	}
	return ERR_OK;
}

static bool next_peer(struct core *c, uint64_t *it, struct peer_info *info)
{
	uint64_t name;

	while (gossip_next_peer(c->gossip, it, &name))
		if (name != c->cfg.gossip.self && gossip_peer(c->gossip, name, info))
			return true;
	return false;
}

enum err paths_refresh(struct core *c, struct core_actions *out, bool *moved)
{
	struct peer_info info;
	struct slice key;
	void *value;
	enum err err = drop_unknown(c, out, moved);

	c->members = map_count(c->by_ident) > 0;
	for (uint64_t it = 0; err == ERR_OK && next_peer(c, &it, &info);) {
		struct peer_state *p = state_of(c, info.name);
		err = p == NULL ? ERR_NOMEM : learn(c, p, &info, out, moved);
	}
	for (size_t at = 0; err == ERR_OK && map_next(c->peers, &at, &key, &value);)
		take_relay(c, value);
	for (size_t at = 0; err == ERR_OK && map_next(c->peers, &at, &key, &value);) {
		struct peer_state *p = value;
		if (!held(c, p))
			weigh_all(c, p);
		err = paths_turn(c, p, out);
	}
	return err;
}

/* --- the choice -------------------------------------------------------------------------------------------------------------------- */

static enum path best(const struct core *c, const struct peer_state *p)
{
	static const enum path unproven[] = { PATH_USERSPACE, PATH_FAST, PATH_RELAY };

	for (enum path k = PATH_FAST; k <= PATH_RELAY; k++)
		if (p->ways[k].possible && p->ways[k].works && (k == p->path || !probes_in_doubt(c, &p->ways[k])))
			return k;
	for (enum path k = PATH_FAST; k <= PATH_RELAY; k++)
		if (p->ways[k].possible && p->ways[k].works)
			return k;
	if (c->cfg.no_fallback && p->ways[PATH_FAST].failed_ms != 0)
		return PATH_NONE;
	if (p->path != PATH_NONE && p->ways[p->path].possible)
		return p->path;
	for (size_t i = 0; i < sizeof(unproven) / sizeof(unproven[0]); i++)
		if (p->ways[unproven[i]].possible)
			return unproven[i];
	return PATH_NONE;
}

/* Words joined by '-', so that they stay one field of a status line: why this path, which is mostly why not a better one. */
static void reason_of(const struct core *c, const struct peer_state *p, enum path k, char *out, size_t size)
{
	const char *fast = p->ways[PATH_FAST].state, *userspace = p->ways[PATH_USERSPACE].state;
	bool failed = k != PATH_NONE && !p->ways[k].works && p->ways[k].failed_ms != 0;

	if (!p->reachable)
		(void)snprintf(out, size, "%s", k == PATH_NONE ? "peer-unreachable" : "peer-just-lost");
	else if (failed)
		(void)snprintf(out, size, "%s-and-nothing-else-works", p->ways[k].state);
	else if (k == PATH_FAST)
		(void)snprintf(out, size, "%s", p->ways[k].works ? "probes-of-full-size-are-answered" : PROBES_UNPROBED);
	else if (k == PATH_USERSPACE)
		(void)snprintf(out, size, "%s", fast);
	else if (k == PATH_RELAY)
		(void)snprintf(out, size, "%s", userspace);
	else if (c->cfg.no_fallback)
		(void)snprintf(out, size, "%s-and-fallback-is-off", fast);
	else
		(void)snprintf(out, size, "%s", straight_why_not(c, p) != NULL ? p->ways[PATH_RELAY].state : userspace);
}

/* There are fewer combinations than places: reasons are our own words. */
static void count_change(struct core *c, enum path from, enum path to, const char *reason)
{
	struct path_change *v = c->path_changes;
	size_t i = 0;

	while (i < c->n_path_changes && (v[i].from != from || v[i].to != to || strcmp(v[i].reason, reason) != 0))
		i++;
	if (i == PATH_CHANGES_MAX)
		return;
	if (i == c->n_path_changes) {
		v[i] = (struct path_change){ .from = from, .to = to };
		(void)snprintf(v[i].reason, sizeof(v[i].reason), "%s", reason);
		c->n_path_changes++;
	}
	v[i].count++;
}

static enum err change(struct core *c, struct peer_state *p, enum path to, struct core_actions *out)
{
	char name[PEER_TEXT];
	const char *reason = arena_dup(out->arena, p->reason, strlen(p->reason) + 1);
	struct core_action a = { .kind = CORE_PATH_CHANGED,
		.u.path = { .peer = p->name, .from = p->path, .to = to, .reason = reason } };
	enum err err = reason == NULL ? ERR_NOMEM
								  : core_note(out, NOTE_INFO, "path to %s(%s): %s, was %s: %s", peer_format(p->name, name),
										p->nickname, path_name(to), path_name(p->path), p->reason);

	if (err == ERR_OK)
		err = core_emit(out, a);
	if (err != ERR_OK)
		return err;
	count_change(c, p->path, to, p->reason);
	p->path = to;
	p->since_ms = c->now_ms;
	c->forwarding = true;
	if (to != PATH_NONE)
		p->ways[to].next_ms = p->ways[to].trial ? p->ways[to].next_ms : c->now_ms; /* watched from now on */
	return ERR_OK;
}

static bool same_hop(const struct path_hop *a, const struct path_hop *b)
{
	return a->path == b->path && ip_eq(a->underlay, b->underlay) && hostport_eq(a->to, b->to) && a->relay == b->relay &&
		a->sealed == b->sealed && a->datagram == b->datagram && a->settled == b->settled &&
		a->vxlan_allowed == b->vxlan_allowed && a->mtu == b->mtu && a->keys == b->keys;
}

static void hop_of(const struct core *c, const struct peer_state *p, struct path_hop *out)
{
	enum path over = p->path == PATH_RELAY ? PATH_RELAY : PATH_USERSPACE;

	*out = (struct path_hop){ .path = p->path, .underlay = p->fast_to, .sealed = p->sealed };
	out->vxlan_allowed = p->ways[PATH_FAST].possible;
	if (p->path == PATH_NONE)
		return;
	if (over == PATH_RELAY)
		out->relay = p->relay;
	if (p->ways[over].possible)
		out->to = over == PATH_RELAY ? p->relay_to : p->to;
	out->datagram = (uint16_t)probes_datagram(p, over);
	out->settled = p->ways[over].mtu.found;
	out->mtu = probes_container_mtu(c, p, p->path);
	if (p->sealed || over == PATH_RELAY)
		out->keys = tunnel_tx(c->tunnel, p->name);
}

/* Whether somebody has to go between follows from the evidence for the straight ways. What is passed on for others goes by it, too. */
static void reconsider_relay(struct core *c, struct peer_state *p)
{
	uint64_t before = p->relay;

	if (!p->linked || is_blocked(p) == (p->relay != p->name))
		return;
	take_relay(c, p);
	if (p->relay == before)
		return;
	weigh(c, p, PATH_RELAY, relay_why_not(c, p), true, false);
	p->weighed.relay_to = p->relay_to;
	c->forwarding = true;
}

enum err paths_turn(struct core *c, struct peer_state *p, struct core_actions *out)
{
	struct path_hop hop;
	enum err err = ERR_OK;
	enum path before;
	int rounds = 0;

	do { /* what becomes the path in use is watched at once */
		before = p->path;
		reconsider_relay(c, p);
		for (enum path k = PATH_FAST; k <= PATH_RELAY && err == ERR_OK; k++)
			err = probes_turn(c, p, k, out);
		enum path to = p->hold_until != 0 ? p->path : best(c, p);
		reason_of(c, p, to, p->reason, sizeof(p->reason));
		if (err == ERR_OK && to != p->path)
			err = change(c, p, to, out);
	} while (err == ERR_OK && p->path != before && ++rounds < PATH_RELAY);
	hop_of(c, p, &hop);
	if (!same_hop(&hop, &p->said))
		c->forwarding = true;
	p->said = hop;
	uint64_t at = p->hold_until != 0 ? p->hold_until : UINT64_MAX;
	if (p->unknown_until != 0 && p->unknown_until < at)
		at = p->unknown_until;
	for (enum path k = PATH_FAST; k <= PATH_RELAY; k++) {
		uint64_t due = probes_deadline_ms(c, p, k);
		at = due < at ? due : at;
	}
	/* In the heap it is already, so this needs no memory. */
	enum err placed = heap_push(&c->turns, &p->timer, at > c->now_ms ? at : c->now_ms + 1);
	assert(placed == ERR_OK);
	return err;
}

/* --- events ------------------------------------------------------------------------------------------------------------------------ */

static enum err traffic_with(struct core *c, struct peer_state *p, struct core_actions *out)
{
	bool was = paths_active(c, p);

	p->active_until = c->now_ms + PATH_ACTIVE_MS;
	if (was)
		return ERR_OK;
	if (p->path != PATH_NONE && !p->ways[p->path].trial) {
		p->ways[p->path].n_full = 0;
		p->ways[p->path].next_ms = c->now_ms;
	}
	return paths_turn(c, p, out);
}

static enum err traffic(struct core *c, const struct core_event *ev, struct core_actions *out)
{
	enum err err = ERR_OK;

	for (size_t i = 0; i < ev->n_traffic && err == ERR_OK; i++) {
		struct peer_state *p = map_get64(c->peers, ev->traffic[i].peer);
		if (p != NULL && (ev->traffic[i].sent || ev->traffic[i].received))
			err = traffic_with(c, p, out);
	}
	return err;
}

static enum err undelivered(struct core *c, struct peer_state *p, const struct core_event *ev, struct core_actions *out)
{
	bool relayed = p->path == PATH_RELAY || !p->ways[PATH_USERSPACE].possible;
	uint64_t number = ev->id >> 32;
	enum path k = ev->via == CORE_VIA_VXLAN ? PATH_FAST : relayed ? PATH_RELAY : PATH_USERSPACE;

	if (number >= PATH_FAST && number <= PATH_RELAY)
		k = (enum path)number;
	probes_undelivered(c, p, k, (uint32_t)ev->id, ev->err);
	return paths_turn(c, p, out);
}

enum err paths_roamed(struct core *c, struct peer_state *p, struct hostport from, struct core_actions *out)
{
	bool moved = false;

	/* What goes in the clear goes where the mesh says: whoever passes on sealed datagrams, a relay or one who listens, can show them from an
	 * address of his own, outside of what is trusted. */
	if (!p->sealed)
		return ERR_OK;
	if (from.ip.family == 0 || from.port == 0 || hostport_eq(from, p->to) || !p->ways[PATH_USERSPACE].possible)
		return ERR_OK;
	p->roamed = hostport_eq(from, (struct hostport){ p->underlay, p->offer.userspace_port }) ? (struct hostport){ 0 } : from;
	return paths_refresh(c, out, &moved); /* others may be reached over it */
}

enum err paths_event(struct core *c, const struct core_event *ev, struct core_actions *out)
{
	struct peer_state *p = ev->peer == PEER_NONE ? NULL : map_get64(c->peers, ev->peer);
	enum err err = ERR_OK;

	if (ev->kind == CORE_TRAFFIC)
		return traffic(c, ev, out);
	if (p == NULL)
		return ERR_OK;
	if (ev->kind == CORE_UNDELIVERED)
		return undelivered(c, p, ev, out);
	if (ev->kind == CORE_ROAMED)
		return paths_roamed(c, p, ev->from, out);
	if (p->reachable)
		err = sessions_want(c, p, out);
	return err != ERR_OK ? err : traffic_with(c, p, out);
}

enum err paths_members(struct core *c, const struct crdt_changes *changes, struct core_actions *out)
{
	bool own = map_count(c->by_ident) > 0, all = own != c->members;
	struct slice key;
	void *value;
	enum err err = ERR_OK;

	c->members = own;
	for (size_t i = 0; i < changes->n && err == ERR_OK; i++) {
		struct peer_state *p = map_get64(c->peers, crdt_owner(changes->keys[i]));
		bool was = p != NULL && p->members;
		if (p == NULL)
			continue;
		p->members = has_members(c, p->name);
		if (p->members != was && !all)
			err = paths_turn(c, p, out);
	}
	for (size_t at = 0; all && err == ERR_OK && map_next(c->peers, &at, &key, &value);)
		err = paths_turn(c, value, out);
	return err;
}

enum err paths_tick(struct core *c, struct core_actions *out)
{
	enum err err = sessions_tick(c, out);
	struct heap_node *top;

	while (err == ERR_OK && (top = heap_peek(&c->turns)) != NULL && top->key <= c->now_ms) {
		struct peer_state *p = (struct peer_state *)(void *)top;
		bool moved = false;
		if (p->unknown_until != 0 && c->now_ms >= p->unknown_until) {
			err = paths_refresh(c, out, &moved); /* it is none of them any more */
			c->forwarding = c->forwarding || moved;
			continue;
		}
		if (p->hold_until != 0 && c->now_ms >= p->hold_until && !held(c, p))
			weigh_all(c, p);
		err = paths_turn(c, p, out); /* its next one is later than now */
	}
	return err;
}

uint64_t paths_deadline_ms(const struct core *c)
{
	const struct heap_node *top = heap_peek(&c->turns);
	uint64_t at = tunnel_deadline_ms(c->tunnel);

	return c->forwarding ? 0 : top != NULL && top->key < at ? top->key : at;
}

enum err paths_flush(struct core *c, struct core_actions *out)
{
	if (!c->forwarding)
		return ERR_OK;
	for (size_t i = 0; i < out->n; i++)
		if (out->v[i].kind == CORE_FORWARDING)
			c->forwarding = false;
	enum err err = c->forwarding ? core_emit(out, (struct core_action){ .kind = CORE_FORWARDING }) : ERR_OK;
	c->forwarding = err != ERR_OK;
	return err;
}

/* --- life --------------------------------------------------------------------------------------------------------------------------- */

enum err paths_new(struct core *c)
{
	struct tunnel_cfg cfg = { .self = c->cfg.gossip.self,
		.run = c->cfg.gossip.incarnation,
		.n_psk = c->cfg.gossip.n_psk,
		.aes = c->cfg.aes,
		.rekey_ms = c->cfg.rekey_ms };

	memcpy(cfg.secret, c->cfg.gossip.static_secret, sizeof(cfg.secret));
	memcpy(cfg.psk, c->cfg.gossip.psk, sizeof(cfg.psk));
	memcpy(cfg.random, c->cfg.random, sizeof(cfg.random));
	heap_init(&c->turns);
	bucket_init(&c->strays, PATH_STRAYS_BURST, PATH_STRAYS_PER_S, c->now_ms);
	rng_seed(&c->rng, c->cfg.gossip.seed ^ UINT64_C(0x7061746873));
	enum err err = tunnel_new(&c->tunnel, &cfg);
	sodium_memzero(&cfg, sizeof(cfg));
	sodium_memzero(c->cfg.random, sizeof(c->cfg.random));
	return err;
}

void paths_free(struct core *c)
{
	struct slice key;
	void *value;

	tunnel_free(c->tunnel);
	c->tunnel = NULL;
	heap_free(&c->turns);
	if (c->peers == NULL)
		return;
	for (size_t at = 0; map_next(c->peers, &at, &key, &value);) {
		probes_free(value);
		mem_free(value);
	}
	map_free(c->peers);
	c->peers = NULL;
}

/* --- reading ------------------------------------------------------------------------------------------------------------------------ */

bool core_next_path_change(const struct core *c, size_t *it, struct path_change *out)
{
	if (*it >= c->n_path_changes)
		return false;
	*out = c->path_changes[(*it)++];
	return true;
}

static void candidate(const struct way *w, struct path_candidate *out)
{
	*out = (struct path_candidate){ .possible = w->possible,
		.works = w->possible && w->works,
		.rtt_us = w->rtt_us,
		.answered_ms = w->answered_ms,
		.asked_ms = w->asked_ms };
	(void)snprintf(out->state, sizeof(out->state), "%s", w->state);
}

bool core_path(const struct core *c, uint64_t peer, struct path_view *out)
{
	const struct peer_state *p = map_get64(c->peers, peer);

	if (p == NULL)
		return false;
	*out = (struct path_view){ .path = p->path,
		.since_ms = p->since_ms,
		.underlay = p->path == PATH_FAST ? p->fast_to : p->underlay,
		.local = p->local,
		.userspace_port = p->offer.userspace_port,
		.relay = p->path == PATH_RELAY ? p->relay : PEER_NONE,
		.mtu = p->path == PATH_FAST || (p->path != PATH_NONE && p->ways[p->path].mtu.found) ? probes_container_mtu(c, p, p->path)
																							: 0,
		.encrypted = p->path == PATH_RELAY || (p->path == PATH_USERSPACE && p->sealed) };
	(void)snprintf(out->reason, sizeof(out->reason), "%s", p->reason);
	candidate(&p->ways[PATH_FAST], &out->fast);
	candidate(&p->ways[PATH_USERSPACE], &out->userspace);
	candidate(&p->ways[PATH_RELAY], &out->relayed);
	return true;
}

bool core_hop(const struct core *c, uint64_t peer, struct path_hop *out)
{
	const struct peer_state *p = map_get64(c->peers, peer);

	if (p == NULL)
		return false;
	hop_of(c, p, out);
	return true;
}

bool core_relay_hop(const struct core *c, uint64_t peer, struct hostport *to)
{
	const struct peer_state *p = map_get64(c->peers, peer);

	if (p == NULL || !p->reachable || p->relay_to.ip.family == 0)
		return false;
	*to = p->relay_to;
	return true;
}
