/* What is known of each peer, and the way to it.
 *
 * The truth is the `peers` map; a struct peer caches what its items "i" and "l" say, plus our own link to it. Routes are a breadth-first
 * search from ourselves over links that both ends publish, neighbours in name order, so that all peers with the same view find the
 * same trees. They are computed when somebody asks and something has changed since. */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "gossip/internal.h"

enum info_field {      /* of subkey "i": varint type, lv value; on the wire */
	INFO_NAME = 1,     /* u48 */
	INFO_NICKNAME = 2, /* UTF-8 */
	INFO_VERSION = 3,  /* UTF-8 */
	INFO_KEY = 4,      /* 32 bytes */
	INFO_UID = 5,      /* u64 */
	INFO_PORT = 6,     /* u16 */
	INFO_ADDRESS = 7,  /* ip, u16 port; repeated */
	INFO_EXTRA = 8,    /* the data plane's */
};
#define INFO_FIELD_MAX         1024
#define INFO_FIELDS_MAX        64
#define LINKS_WITH_ADDRESS_MAX 256 /* beyond it the names alone are published */

static void put_field(struct wbuf *w, enum info_field type, const void *p, size_t n)
{
	wbuf_varint(w, (uint64_t)type);
	wbuf_lv(w, slice_of(p, n));
}

void gossip_peer_info_encode(struct wbuf *w, const struct peer_info *info)
{
	uint8_t mem[32];
	struct wbuf f;
	wbuf_fixed(&f, mem, sizeof mem);
	wbuf_u48(&f, info->name);
	put_field(w, INFO_NAME, mem, f.len);
	put_field(w, INFO_NICKNAME, info->nickname, strlen(info->nickname));
	put_field(w, INFO_VERSION, info->version, strlen(info->version));
	put_field(w, INFO_KEY, info->key, sizeof info->key);
	wbuf_reset(&f);
	wbuf_u64(&f, info->uid);
	put_field(w, INFO_UID, mem, f.len);
	wbuf_reset(&f);
	wbuf_u16(&f, info->port);
	put_field(w, INFO_PORT, mem, f.len);
	for (size_t i = 0; i < info->n_addresses; i++) {
		wbuf_reset(&f);
		wbuf_ip(&f, info->addresses[i].ip);
		wbuf_u16(&f, info->addresses[i].port);
		put_field(w, INFO_ADDRESS, mem, f.len);
	}
	if (info->extra.n > 0)
		put_field(w, INFO_EXTRA, info->extra.p, info->extra.n);
}

/* Words of a peer go to terminals: no control characters. */
static void text_field(struct rbuf *r, char *dst, size_t size)
{
	size_t n = rbuf_left(r);
	if (n >= size) {
		rbuf_fail(r);
		return;
	}
	rbuf_copy(r, dst, n);
	dst[n] = '\0';
	for (size_t i = 0; i < n; i++)
		if ((uint8_t)dst[i] < 0x20 || (uint8_t)dst[i] == 0x7f)
			rbuf_fail(r);
}

static void info_field(struct rbuf *r, uint64_t type, struct peer_info *out)
{
	switch (type) {
	case INFO_NAME: out->name = rbuf_u48(r); break;
	case INFO_NICKNAME: text_field(r, out->nickname, sizeof out->nickname); break;
	case INFO_VERSION: text_field(r, out->version, sizeof out->version); break;
	case INFO_KEY: rbuf_copy(r, out->key, sizeof out->key); break;
	case INFO_UID: out->uid = rbuf_u64(r); break;
	case INFO_PORT: out->port = rbuf_u16(r); break;
	case INFO_ADDRESS: {
		struct hostport h;
		memset(&h, 0, sizeof h);
		h.ip = rbuf_ip(r);
		h.port = rbuf_u16(r);
		if (out->n_addresses < GOSSIP_ADDRESSES_MAX && h.ip.family != 0)
			out->addresses[out->n_addresses++] = h;
		break;
	}
	case INFO_EXTRA: out->extra = rbuf_bytes(r, rbuf_left(r)); break;
	default: break;
	}
}

enum err peer_info_decode(struct slice value, struct peer_info *out)
{
	memset(out, 0, sizeof *out);
	struct rbuf r;
	rbuf_init(&r, value.p, value.n);
	for (size_t n = 0; rbuf_left(&r) > 0; n++) {
		if (n == INFO_FIELDS_MAX)
			return ERR_LIMIT;
		uint64_t type = rbuf_varint(&r);
		struct slice field = rbuf_lv(&r, INFO_FIELD_MAX);
		struct rbuf in;
		rbuf_init(&in, field.p, field.n);
		if (rbuf_ok(&r))
			info_field(&in, type, out);
		if (!rbuf_ok(&in))
			return ERR_MALFORMED;
	}
	return rbuf_end(&r);
}

/* varint count; per link u48 name, lv (nothing, or u8 flags (1 = we dialled), ip, u16 port, …). Names ascend. */
enum err gossip_peer_links_encode(struct wbuf *w, const struct peer_link *v, size_t n)
{
	wbuf_varint(w, n);
	for (size_t i = 0; i < n; i++) {
		uint8_t mem[32];
		struct wbuf f;
		wbuf_fixed(&f, mem, sizeof mem);
		if (n <= LINKS_WITH_ADDRESS_MAX && v[i].address.ip.family != 0) {
			wbuf_u8(&f, v[i].outbound ? 1 : 0);
			wbuf_ip(&f, v[i].address.ip);
			wbuf_u16(&f, v[i].address.port);
		}
		wbuf_u48(w, v[i].name);
		wbuf_lv(w, wbuf_slice(&f));
	}
	return wbuf_end(w);
}

enum err gossip_peer_links_decode(struct slice value, struct peer_link **out, size_t *n)
{
	*out = NULL;
	*n = 0;
	struct rbuf r;
	rbuf_init(&r, value.p, value.n);
	uint64_t count = rbuf_varint(&r);
	if (!rbuf_ok(&r))
		return ERR_TRUNCATED;
	if (count > GOSSIP_LINKS_MAX)
		return ERR_LIMIT;
	if (count > rbuf_left(&r) / 7)
		return ERR_TRUNCATED;
	if (count == 0)
		return ERR_OK; /* what follows is from a newer version */
	struct peer_link *v = mem_zalloc((size_t)count, sizeof *v);
	if (!v)
		return ERR_NOMEM;
	uint64_t last = PEER_NONE;
	for (size_t i = 0; i < count; i++) {
		v[i].name = rbuf_u48(&r);
		struct slice more = rbuf_lv(&r, 256);
		if (v[i].name <= last)
			rbuf_fail(&r);
		last = v[i].name;
		if (more.n == 0)
			continue;
		struct rbuf in;
		rbuf_init(&in, more.p, more.n);
		v[i].outbound = (rbuf_u8(&in) & 1) != 0;
		v[i].address.ip = rbuf_ip(&in);
		v[i].address.port = rbuf_u16(&in);
		if (!rbuf_ok(&in))
			rbuf_fail(&r);
	}
	if (!rbuf_ok(&r)) {
		mem_free(v);
		return ERR_MALFORMED;
	}
	*out = v;
	*n = (size_t)count;
	return ERR_OK;
}

struct peer *gossip_peer_find(const struct gossip *g, uint64_t name)
{
	return map_get64(g->by_name, name);
}

/* Where `name` is, or would be. */
static size_t place(const struct gossip *g, uint64_t name)
{
	size_t lo = 0, hi = g->n_peers;
	while (lo < hi) {
		size_t mid = (lo + hi) / 2;
		if (g->peers[mid]->name < name)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

struct peer *gossip_peer_get(struct gossip *g, uint64_t name)
{
	struct peer *p = gossip_peer_find(g, name);
	if (p)
		return p;
	void *v = g->peers;
	if (g->n_peers >= PEERS_MAX || !mem_grow(&v, &g->cap_peers, g->n_peers + 1, sizeof *g->peers)) {
		g->nomem = g->nomem || g->n_peers < PEERS_MAX;
		return NULL;
	}
	g->peers = v;
	p = mem_zalloc(1, sizeof *p);
	if (!p || map_put64(g->by_name, name, p, NULL) != ERR_OK) {
		mem_free(p);
		g->nomem = true;
		return NULL;
	}
	gossip_timer_init(&p->dial.timer, TIMER_PEER);
	p->dial.state = LINK_RETRYING;
	p->name = name;
	p->known_ms = g->now;
	p->distance = UINT32_MAX;
	size_t at = place(g, name);
	memmove(&g->peers[at + 1], &g->peers[at], (g->n_peers - at) * sizeof *g->peers);
	g->peers[at] = p;
	g->n_peers++;
	g->routes->stale = true;
	g->choose_dirty = true;
	return p;
}

void gossip_peer_free(struct gossip *g, struct peer *p)
{
	assert(!p->link);
	size_t at = place(g, p->name);
	assert(g->peers[at] == p);
	memmove(&g->peers[at], &g->peers[at + 1], (g->n_peers - at - 1) * sizeof *g->peers);
	g->n_peers--;
	map_del64(g->by_name, p->name);
	for (size_t i = 0; i < g->n_links; i++)
		if (g->links[i]->dial == &p->dial)
			g->links[i]->dial = NULL;
	gossip_timer_off(g, &p->dial.timer);
	mem_free(p->links);
	mem_free(p);
	g->routes->stale = true;
	g->choose_dirty = true;
}

/* The item of a peer; false when there is none, or it is deleted. */
static bool item_of(const struct gossip *g, uint64_t owner, char subkey, struct crdt_item *it)
{
	uint8_t key[7];
	struct wbuf w;
	wbuf_fixed(&w, key, sizeof key);
	wbuf_u48(&w, owner);
	wbuf_u8(&w, (uint8_t)subkey);
	return crdt_map_get(g->channels[CHANNEL_PEERS].map, wbuf_slice(&w), it) && it->live;
}

static void refresh_links(struct gossip *g, struct peer *p, struct slice value)
{
	struct peer_link *v;
	size_t n;
	enum err e = gossip_peer_links_decode(value, &v, &n);
	if (e == ERR_NOMEM) {
		g->nomem = g->peers_stale = true;
		return;
	}
	if (e != ERR_OK)
		g->counters.malformed++;
	mem_free(p->links);
	p->links = v;
	p->n_links = n;
	p->has_links = e == ERR_OK;
}

static void refresh_info(struct gossip *g, struct peer *p, struct slice value)
{
	struct peer_info info;
	p->has_info = peer_info_decode(value, &info) == ERR_OK;
	if (!p->has_info) {
		g->counters.malformed++;
		return;
	}
	p->uid = info.uid;
	memcpy(p->key, info.key, sizeof p->key);
	p->port = info.port;
	memcpy(p->addresses, info.addresses, sizeof p->addresses);
	p->n_addresses = info.n_addresses;
}

void gossip_peers_refresh(struct gossip *g, uint64_t owner)
{
	struct crdt_item info, links;
	bool has_info = item_of(g, owner, 'i', &info), has_links = item_of(g, owner, 'l', &links);
	struct peer *p = has_info || has_links ? gossip_peer_get(g, owner) : gossip_peer_find(g, owner);
	g->topology_dirty = true;
	g->routes->stale = true;
	if (!p) {
		g->peers_stale = g->peers_stale || ((has_info || has_links) && g->nomem);
		return;
	}
	if (has_links) {
		refresh_links(g, p, links.value);
	} else {
		mem_free(p->links);
		p->links = NULL;
		p->n_links = 0;
		p->has_links = false;
	}
	if (has_info)
		refresh_info(g, p, info.value);
	else
		p->has_info = false;
	if (!p->has_info && !p->has_links && !p->link && owner != g->self) {
		gossip_peer_free(g, p);
		return;
	}
	if (owner == g->self)
		return;
	gossip_connect_sign_of_life(g, p);
	for (size_t i = 0; i < p->n_links; i++) /* it may be the first to say where they are */
		gossip_connect_address_heard(g, gossip_peer_find(g, p->links[i].name));
}

/* After memory ran out: what the cache could not take is read again. */
void gossip_peers_repair(struct gossip *g)
{
	if (!g->peers_stale)
		return;
	g->peers_stale = false;
	struct slice after = { NULL, 0 };
	struct crdt_item it;
	uint64_t last = PEER_NONE;
	while (crdt_map_next(g->channels[CHANNEL_PEERS].map, after, &it)) {
		uint64_t owner = crdt_owner(it.key);
		if (owner != last)
			gossip_peers_refresh(g, owner);
		last = owner;
		after = it.key;
	}
}

void gossip_peers_changed(struct gossip *g, const struct crdt_changes *ch)
{
	uint64_t last = PEER_NONE;
	for (size_t i = 0; i < ch->n; i++) {
		uint64_t owner = crdt_owner(ch->keys[i]);
		if (owner != PEER_NONE && owner != last)
			gossip_peers_refresh(g, owner);
		last = owner;
	}
}

/* Publishing our own two items. */
static bool publish_info(struct gossip *g, struct crdt_changes *ch)
{
	struct peer_info info;
	memset(&info, 0, sizeof info);
	info.name = g->self;
	memcpy(info.nickname, g->nickname, sizeof info.nickname);
	memcpy(info.version, g->version, sizeof info.version);
	memcpy(info.key, g->key, sizeof info.key);
	info.uid = g->uid;
	info.port = g->port;
	memcpy(info.addresses, g->addresses, sizeof info.addresses);
	info.n_addresses = g->n_addresses;
	info.extra = slice_of(g->extra, g->n_extra);
	uint8_t mem[CRDT_VALUE_MAX];
	struct wbuf w;
	wbuf_fixed(&w, mem, sizeof mem);
	gossip_peer_info_encode(&w, &info);
	return wbuf_end(&w) == ERR_OK && crdt_map_put(g->channels[CHANNEL_PEERS].map, slice_str("i"), wbuf_slice(&w), ch) == ERR_OK;
}

static bool publish_links(struct gossip *g, struct crdt_changes *ch)
{
	struct peer_link *v = mem_zalloc(g->n_peers + 1, sizeof *v);
	if (!v)
		return false;
	size_t n = 0;
	for (size_t i = 0; i < g->n_peers && n < GOSSIP_LINKS_MAX; i++) {
		const struct link *l = g->peers[i]->link;
		if (l)
			v[n++] = (struct peer_link){ g->peers[i]->name, l->outbound, gossip_link_published(l) };
	}
	uint8_t mem[CRDT_VALUE_MAX];
	struct wbuf w;
	wbuf_fixed(&w, mem, sizeof mem);
	bool ok = gossip_peer_links_encode(&w, v, n) == ERR_OK &&
		crdt_map_put(g->channels[CHANNEL_PEERS].map, slice_str("l"), wbuf_slice(&w), ch) == ERR_OK;
	mem_free(v);
	return ok;
}

bool gossip_peers_publish(struct gossip *g)
{
	struct crdt_changes ch;
	crdt_changes_init(&ch, g->out->arena);
	bool ok = true;
	if (g->publish_info && (ok = publish_info(g, &ch)))
		g->publish_info = false;
	if (ok && g->publish_links && (ok = publish_links(g, &ch)))
		g->publish_links = false;
	if (ch.n > 0) {
		gossip_peers_refresh(g, g->self);
		gossip_spread_news(g, CHANNEL_PEERS, &ch, NULL);
	}
	if (!ok)
		g->nomem = true;
	return ok;
}

static bool lists(const struct peer *p, uint64_t name)
{
	size_t lo = 0, hi = p->n_links;
	while (lo < hi) {
		size_t mid = (lo + hi) / 2;
		if (p->links[mid].name < name)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < p->n_links && p->links[lo].name == name;
}

bool gossip_peers_linked(const struct gossip *g, uint64_t a, uint64_t b)
{
	const struct peer *pa = gossip_peer_find(g, a), *pb = gossip_peer_find(g, b);
	return pa && pb && lists(pa, b) && lists(pb, a);
}

static void search(const struct gossip *g, struct peer **queue)
{
	struct peer *self = gossip_peer_find(g, g->self);
	for (size_t i = 0; i < g->n_peers; i++) {
		g->peers[i]->distance = UINT32_MAX;
		g->peers[i]->next_hop = PEER_NONE;
	}
	if (!self)
		return;
	size_t head = 0, tail = 0;
	self->distance = 0;
	self->next_hop = g->self;
	queue[tail++] = self;
	while (head < tail) {
		const struct peer *a = queue[head++];
		for (size_t i = 0; i < a->n_links; i++) {
			struct peer *b = gossip_peer_find(g, a->links[i].name);
			if (!b || b->distance != UINT32_MAX || !lists(b, a->name) || (a == self && !b->link))
				continue;
			b->distance = a->distance + 1;
			b->next_hop = a == self ? b->name : a->next_hop;
			queue[tail++] = b;
		}
	}
}

void gossip_peers_routes(const struct gossip *g)
{
	struct routes *r = g->routes;
	if (!r->stale)
		return;
	void *v = r->queue;
	if (!mem_grow(&v, &r->cap, g->n_peers, sizeof *r->queue))
		return; /* the old routes serve until there is memory */
	r->queue = v;
	search(g, r->queue);
	r->stale = false;
}

bool gossip_peer(const struct gossip *g, uint64_t name, struct peer_info *out)
{
	struct crdt_item it;
	if (!item_of(g, name, 'i', &it) || peer_info_decode(it.value, out) != ERR_OK)
		return false;
	out->name = name; /* whatever it says: the key of the item is what counts */
	return true;
}

bool gossip_reachable(const struct gossip *g, uint64_t name)
{
	return gossip_next_hop(g, name) != PEER_NONE;
}

uint64_t gossip_next_hop(const struct gossip *g, uint64_t name)
{
	gossip_peers_routes(g);
	if (name == g->self)
		return name;
	const struct peer *p = gossip_peer_find(g, name);
	return p && p->distance != UINT32_MAX ? p->next_hop : PEER_NONE;
}

bool gossip_next_peer(const struct gossip *g, uint64_t *it, uint64_t *name)
{
	size_t at = place(g, *it); /* *it: the lowest name still to come */
	for (; at < g->n_peers; at++) {
		const struct peer *p = g->peers[at];
		if (!p->has_info && !p->has_links && p->name != g->self)
			continue;
		*name = p->name;
		*it = p->name + 1;
		return true;
	}
	return false;
}

size_t gossip_links_of(const struct gossip *g, uint64_t name, uint64_t *out, size_t max)
{
	const struct peer *p = gossip_peer_find(g, name);
	size_t n = p ? p->n_links : 0;
	for (size_t i = 0; i < n && i < max; i++)
		out[i] = p->links[i].name;
	return n < max ? n : max;
}

/* What others say in their links about where they reach it. */
static bool by_hearsay(const struct gossip *g, const struct peer *p, struct ip *out)
{
	for (size_t i = 0; i < p->n_links; i++) {
		const struct peer *q = gossip_peer_find(g, p->links[i].name);
		for (size_t k = 0; q && q->name != g->self && k < q->n_links; k++)
			if (q->links[k].name == p->name && q->links[k].address.ip.family != 0) {
				*out = q->links[k].address.ip;
				return true;
			}
	}
	return false;
}

bool gossip_underlay(const struct gossip *g, uint64_t name, struct ip *out, struct ip *local)
{
	const struct peer *p = gossip_peer_find(g, name);
	memset(out, 0, sizeof *out);
	memset(local, 0, sizeof *local);
	if (!p)
		return false;
	if (p->link) {
		*out = p->link->remote.ip;
		*local = p->link->local.ip;
		return out->family != 0;
	}
	if (p->n_addresses > 0) {
		*out = p->addresses[0].ip;
		return true;
	}
	return by_hearsay(g, p, out);
}

bool gossip_linked(const struct gossip *g, uint64_t name)
{
	const struct peer *p = gossip_peer_find(g, name);
	return p && p->link;
}

enum gossip_lost gossip_lost_how(const struct gossip *g, uint64_t name, uint64_t *seen_ms)
{
	const struct peer *p = gossip_peer_find(g, name);
	*seen_ms = 0;
	if (!p || p->lost_ms == 0)
		return GOSSIP_LOST_NEVER;
	*seen_ms = p->seen_ms;
	return p->seen_ms != 0 ? GOSSIP_LOST_CLOSED : GOSSIP_LOST_SILENT;
}
