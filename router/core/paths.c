/* Which way frames take to each peer, and why.
 *
 * Here the choice follows from what both ends offer and whether the mesh can see the peer; every change carries a reason and a time. A
 * path that is in use outlives its peer's reachability by PATH_HOLD_MS.
 * The offer is TLV in peer_info.extra: u8 type, lv value; unknown types are skipped. */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "tunnel/encap.h"
#include "router/core/internal.h"

enum offer_type { OFFER_VXLAN = 1, OFFER_USERSPACE = 2, OFFER_PASSWORD = 3, OFFER_RANGE = 4, OFFER_VXLAN_OVER_V6 = 5 };
/* VXLAN over IPv4 with its inner Ethernet header (RFC 7348); an IPv6 underlay costs 20 more on either path. */
enum { VXLAN_OVERHEAD = 50, IPV6_MORE = 20, OFFER_FIELDS_MAX = 32, OFFER_FIELD_MAX = 64 };

static void field_u16(struct wbuf *w, enum offer_type type, uint16_t v)
{
	wbuf_u8(w, (uint8_t)type);
	wbuf_varint(w, 2);
	wbuf_u16(w, v);
}

void path_offer_encode(struct wbuf *w, const struct path_offer *o)
{
	if (o->vxlan_port != 0)
		field_u16(w, OFFER_VXLAN, o->vxlan_port);
	if (o->userspace_port != 0)
		field_u16(w, OFFER_USERSPACE, o->userspace_port);
	if (o->password) {
		wbuf_u8(w, OFFER_PASSWORD);
		wbuf_varint(w, 0);
	}
	if (o->range.addr.family == 4) {
		wbuf_u8(w, OFFER_RANGE);
		wbuf_varint(w, 6);
		wbuf_ip(w, o->range.addr);
		wbuf_u8(w, o->range.len);
	}
	if (o->vxlan_over_v6) {
		wbuf_u8(w, OFFER_VXLAN_OVER_V6);
		wbuf_varint(w, 0);
	}
}

void path_offer_decode(struct slice extra, struct path_offer *out)
{
	struct path_offer o = { 0 };
	struct rbuf r;

	rbuf_init(&r, extra.p, extra.n);
	for (int fields = 0; fields < OFFER_FIELDS_MAX && rbuf_left(&r) > 0; fields++) {
		uint8_t type = rbuf_u8(&r);
		struct slice value = rbuf_lv(&r, OFFER_FIELD_MAX);
		struct rbuf f;
		rbuf_init(&f, value.p, value.n);
		if (type == OFFER_VXLAN) {
			o.vxlan_port = rbuf_u16(&f);
		} else if (type == OFFER_USERSPACE) {
			o.userspace_port = rbuf_u16(&f);
		} else if (type == OFFER_VXLAN_OVER_V6) {
			o.vxlan_over_v6 = true;
		} else if (type == OFFER_PASSWORD) {
			o.password = true;
		} else if (type == OFFER_RANGE) {
			o.range.addr = rbuf_ip(&f);
			o.range.len = rbuf_u8(&f);
			if (o.range.addr.family != 4 || o.range.len > 32)
				rbuf_fail(&f);
		}
		if (!rbuf_ok(&f))
			rbuf_fail(&r);
	}
	if (!rbuf_ok(&r))
		memset(&o, 0, sizeof(o));
	*out = o;
}

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

static void chosen(struct path_view *v, enum path path, const char *reason)
{
	v->path = path;
	(void)snprintf(v->reason, sizeof(v->reason), "%s", reason);
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

/* The decision itself: our offer against theirs. Reasons are words joined by '-', so that they stay one field of a status line. */
static void decide(const struct core *c, const struct peer_state *p, bool located, struct ip fast_to, struct path_view *v)
{
	const struct path_offer *own = &c->cfg.offer;
	bool ports = own->vxlan_port != 0 && own->vxlan_port == p->offer.vxlan_port;
	bool families = own->vxlan_over_v6 == p->offer.vxlan_over_v6;
	bool fast = ports && families && fast_to.family != 0;

	if (!p->reachable)
		chosen(v, PATH_NONE, "peer-unreachable");
	else if (!located)
		chosen(v, PATH_NONE, "no-underlay-address-known");
	else if (c->cfg.require_encryption)
		chosen(v, PATH_NONE, "encryption-required-and-not-available");
	else if (fast)
		chosen(v, PATH_FAST, "both-ends-offer-vxlan");
	else if (c->cfg.no_fallback)
		chosen(v, PATH_NONE, "no-fast-path-and-fallback-is-off");
	else if (own->userspace_port == 0)
		chosen(v, PATH_NONE, "no-userspace-path-here");
	else if (p->offer.userspace_port == 0)
		chosen(v, PATH_NONE, "no-userspace-path-there");
	else if (own->vxlan_port == 0)
		chosen(v, PATH_USERSPACE, "no-vxlan-here");
	else if (p->offer.vxlan_port == 0)
		chosen(v, PATH_USERSPACE, "no-vxlan-there");
	else if (!ports)
		chosen(v, PATH_USERSPACE, "vxlan-ports-differ");
	else if (!families)
		chosen(v, PATH_USERSPACE, "vxlan-address-families-differ");
	else
		chosen(v, PATH_USERSPACE, "no-underlay-address-for-vxlan");
	if (v->path == PATH_FAST)
		v->underlay = fast_to;
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
	p->path.since_ms = c->now_ms;
	if (map_put64(c->peers, name, p, NULL) != ERR_OK) {
		mem_free(p);
		return NULL;
	}
	return p;
}

/* Its frames go on for a while where they went; that it cannot be reached counts at once for all else. */
static bool hold(struct core *c, struct peer_state *p)
{
	if (p->reachable || p->path.path == PATH_NONE || p->hold_until <= c->now_ms) {
		p->hold_until = 0;
		return false;
	}
	if (p->hold_until < c->hold_until)
		c->hold_until = p->hold_until;
	(void)snprintf(p->path.reason, sizeof(p->path.reason), "%s", "peer-just-lost");
	return true;
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

static enum err refresh(struct core *c, struct peer_state *p, const struct peer_info *info, struct core_actions *out, bool *moved)
{
	struct path_view v = p->path;
	bool reachable = gossip_reachable(c->gossip, p->name);
	enum err err = ERR_OK;

	path_offer_decode(info->extra, &p->offer);
	if (p->reachable && !reachable)
		p->hold_until = c->now_ms + PATH_HOLD_MS;
	if (reachable != p->reachable || info->uid != p->uid) { /* a new run may have other addresses */
		p->reachable = reachable;
		p->uid = info->uid;
		*moved = true;
	}
	if (c->table != NULL)
		err = dns_table_set_reachable(c->table, p->name, reachable);
	if (err != ERR_OK)
		return err;
	if (hold(c, p))
		return ERR_OK;
	v = p->path;
	bool located = gossip_underlay(c->gossip, p->name, &v.underlay, &v.local);
	decide(c, p, located, fast_address(c, info, v.underlay), &v);
	v.userspace_port = p->offer.userspace_port;
	v.mtu = 0;
	v.encrypted = false;
	if (v.path == p->path.path && strcmp(v.reason, p->path.reason) == 0 && ip_eq(v.underlay, p->path.underlay) &&
		v.userspace_port == p->path.userspace_port) {
		p->path.local = v.local;
		return ERR_OK;
	}
	if (v.path != p->path.path) {
		char name[PEER_TEXT];
		err = core_note(out, NOTE_INFO, "path to %s(%s): %s, was %s: %s", peer_format(p->name, name), info->nickname,
			path_name(v.path), path_name(p->path.path), v.reason);
		v.since_ms = c->now_ms;
		count_change(c, p->path.path, v.path, v.reason);
	}
	p->path = v;
	*moved = true;
	return err;
}

/* A peer that was forgotten as a whole is no longer known to the mesh. Names it may still have are not to be answered, and where it has none
 * the table forgets it too. */
static enum err drop_unknown(struct core *c, bool *moved)
{
	struct slice key;
	struct peer_info info;
	void *value;

	for (size_t at = 0; map_next(c->peers, &at, &key, &value);) {
		const struct peer_state *p = value;
		uint64_t name = p->name;
		if (gossip_peer(c->gossip, name, &info))
			continue;
		if (c->table != NULL) {
			enum err err = dns_table_set_reachable(c->table, name, !names_any_of(c, name));
			if (err != ERR_OK)
				return err;
		}
		mem_free(map_del(c->peers, key));
		*moved = true;
	}
	return ERR_OK;
}

enum err paths_refresh(struct core *c, struct core_actions *out, bool *moved)
{
	uint64_t it = 0, name;

	c->hold_until = UINT64_MAX;
	while (gossip_next_peer(c->gossip, &it, &name)) {
		struct peer_info info;
		if (name == c->cfg.gossip.self || !gossip_peer(c->gossip, name, &info))
			continue;
		struct peer_state *p = state_of(c, name);
		if (p == NULL)
			return ERR_NOMEM;
		enum err err = refresh(c, p, &info, out, moved);
		if (err != ERR_OK)
			return err;
	}
	return drop_unknown(c, moved);
}

void paths_free(struct core *c)
{
	struct slice key;
	void *value;

	if (c->peers == NULL)
		return;
	for (size_t at = 0; map_next(c->peers, &at, &key, &value);)
		mem_free(value);
	map_free(c->peers);
	c->peers = NULL;
}

bool core_next_path_change(const struct core *c, size_t *it, struct path_change *out)
{
	if (*it >= c->n_path_changes)
		return false;
	*out = c->path_changes[(*it)++];
	return true;
}

bool core_path(const struct core *c, uint64_t peer, struct path_view *out)
{
	const struct peer_state *p = map_get64(c->peers, peer);

	if (p == NULL)
		return false;
	*out = p->path;
	if (c->cfg.underlay_mtu != NULL && p->path.local.family != 0) {
		uint32_t mtu = c->cfg.underlay_mtu(c->cfg.ctx, p->path.local);
		uint32_t overhead = p->path.path == PATH_USERSPACE ? ENCAP_OVERHEAD : VXLAN_OVERHEAD;
		if (p->path.underlay.family == 6)
			overhead += IPV6_MORE;
		out->mtu = mtu > overhead ? mtu - overhead : 0;
	}
	return true;
}

bool core_hop(const struct core *c, uint64_t peer, struct path_hop *out)
{
	const struct peer_state *p = map_get64(c->peers, peer);

	if (p == NULL)
		return false;
	*out = (struct path_hop){ .path = p->path.path,
		.underlay = p->path.underlay,
		.to = { .ip = p->path.userspace_port != 0 ? p->path.underlay : (struct ip){ 0 }, .port = p->path.userspace_port } };
	return true;
}
