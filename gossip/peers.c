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
	INFO_SIGN_KEY = 9, /* 32 bytes */
};
#define INFO_FIELD_MAX         1024
#define INFO_FIELDS_MAX        64
#define LINKS_WITH_ADDRESS_MAX 224 /* beyond it the names alone are published */

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
	put_field(w, INFO_SIGN_KEY, info->sign_key, sizeof info->sign_key);
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
	case INFO_SIGN_KEY: rbuf_copy(r, out->sign_key, sizeof out->sign_key); break;
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
			wbuf_u32(&f, v[i].tag);
		}
		wbuf_u48(w, v[i].name);
		wbuf_lv(w, wbuf_slice(&f));
	}
	return wbuf_end(w);
}

/* After the links, if there are any: twice varint count; u48 name, u64 uid each. Readers that do not know them pass over them. */
enum err gossip_peer_closed_encode(struct wbuf *w, const struct peer_closed *v, size_t n_closed, size_t n_lost)
{
	for (size_t i = 0; i < n_closed + n_lost; i++) {
		if (i == 0)
			wbuf_varint(w, n_closed);
		if (i == n_closed)
			wbuf_varint(w, n_lost);
		wbuf_u48(w, v[i].name);
		wbuf_u64(w, v[i].uid);
	}
	return wbuf_end(w);
}

static bool link_read(struct rbuf *r, struct peer_link *out)
{
	memset(out, 0, sizeof *out);
	out->name = rbuf_u48(r);
	struct slice more = rbuf_lv(r, 256);
	if (!rbuf_ok(r) || more.n == 0)
		return rbuf_ok(r);
	struct rbuf in;
	rbuf_init(&in, more.p, more.n);
	out->outbound = (rbuf_u8(&in) & 1) != 0;
	out->address.ip = rbuf_ip(&in);
	out->address.port = rbuf_u16(&in);
	if (rbuf_left(&in) > 0)
		out->tag = rbuf_u32(&in);
	return rbuf_ok(&in);
}

/* What stands where the links begin; the count is checked against what is there. */
static enum err links_begin(struct rbuf *r, struct slice value, size_t *n)
{
	rbuf_init(r, value.p, value.n);
	uint64_t count = rbuf_varint(r);
	if (!rbuf_ok(r))
		return ERR_TRUNCATED;
	if (count > GOSSIP_LINKS_MAX)
		return ERR_LIMIT;
	*n = (size_t)count;
	return count > rbuf_left(r) / 7 ? ERR_TRUNCATED : ERR_OK;
}

/* Names and tags, so that what follows is aligned. */
static size_t links_size(size_t n)
{
	return n * sizeof(uint64_t) + (n + 1) / 2 * sizeof(uint64_t);
}

/* One of the two lists, behind the `had` entries that are there; what follows both is from a newer version. */
static enum err closed_read(struct rbuf *r, struct peer_links *v, size_t had, uint32_t *n)
{
	if (rbuf_left(r) == 0)
		return ERR_OK;
	uint64_t count = rbuf_varint(r);
	if (!rbuf_ok(r) || count > rbuf_left(r) / 14)
		return ERR_TRUNCATED;
	if (count > PEER_CLOSED_MAX - had)
		return ERR_LIMIT;
	if (count == 0)
		return ERR_OK;
	size_t before = links_size(v->n);
	uint8_t *grown = mem_realloc(v->names, before + (had + (size_t)count) * sizeof *v->closed);
	if (!grown)
		return ERR_NOMEM;
	v->names = (uint64_t *)(void *)grown;
	v->tags = (uint32_t *)(void *)(v->names + v->n);
	v->closed = (struct peer_closed *)(void *)(grown + before);
	*n = (uint32_t)count;
	for (size_t i = had; i < had + count; i++) {
		v->closed[i].name = rbuf_u48(r);
		v->closed[i].uid = rbuf_u64(r);
		v->closed[i].heard_ms = 0;
	}
	return ERR_OK;
}

static enum err links_read(struct rbuf *r, struct peer_links *v)
{
	uint64_t last = PEER_NONE;
	struct peer_link l;
	for (size_t i = 0; i < v->n; i++) {
		if (!link_read(r, &l) || l.name <= last)
			return ERR_MALFORMED;
		last = v->names[i] = l.name;
		v->tags[i] = l.tag;
	}
	enum err e = closed_read(r, v, 0, &v->n_closed);
	return e != ERR_OK ? e : closed_read(r, v, v->n_closed, &v->n_lost);
}

enum err gossip_peer_links_decode(struct slice value, struct peer_links *out)
{
	struct rbuf r;
	size_t n;
	memset(out, 0, sizeof *out);
	enum err e = links_begin(&r, value, &n);
	if (e != ERR_OK)
		return e;
	out->n = (uint32_t)n;
	out->names = n > 0 ? mem_alloc(links_size(n)) : NULL;
	out->tags = out->names ? (uint32_t *)(void *)(out->names + n) : NULL;
	e = n > 0 && !out->names ? ERR_NOMEM : links_read(&r, out);
	if (e != ERR_OK) {
		mem_free(out->names);
		memset(out, 0, sizeof *out);
	}
	return e;
}

bool gossip_peer_link_find(struct slice value, uint64_t name, struct peer_link *out)
{
	struct rbuf r;
	size_t n;
	if (links_begin(&r, value, &n) != ERR_OK)
		return false;
	while (n-- > 0 && link_read(&r, out) && out->name <= name)
		if (out->name == name)
			return true;
	return false;
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
	g->unrest_ms = g->now;
	g->routes->stale = true;
	g->choose_dirty = true;
	return p;
}

void gossip_peer_release(struct peer *p)
{
	mem_free(p->links.names);
	mem_free(p->addresses);
	mem_free(p->dial.reason);
	mem_free(p);
}

void gossip_peer_free(struct gossip *g, struct peer *p)
{
	assert(!p->link);
	size_t at = place(g, p->name);
	assert(g->peers[at] == p);
	memmove(&g->peers[at], &g->peers[at + 1], (g->n_peers - at - 1) * sizeof *g->peers);
	g->n_peers--;
	map_del64(g->by_name, p->name);
	gossip_sign_forget(g, p->name);
	for (size_t i = 0; i < g->n_links; i++)
		if (g->links[i]->dial == &p->dial)
			g->links[i]->dial = NULL;
	gossip_timer_off(g, &p->dial.timer);
	gossip_peer_release(p);
	g->unrest_ms = g->now;
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

/* What was in the former value is no news. */
static void note_ended(const struct gossip *g, const struct peer_links *old, struct peer_links *v)
{
	for (size_t i = 0; i < v->n_closed + v->n_lost; i++) {
		v->closed[i].heard_ms = g->now;
		for (size_t k = 0; k < old->n_closed + old->n_lost; k++)
			if (old->closed[k].name == v->closed[i].name && old->closed[k].uid == v->closed[i].uid)
				v->closed[i].heard_ms = old->closed[k].heard_ms;
	}
}

/* Others believe to reach over us who is lost to them. */
static void publish_pruned(struct gossip *g, const struct peer_links *v)
{
	for (size_t i = 0; i < v->n_closed + v->n_lost; i++) {
		const struct peer *q = gossip_peer_find(g, v->closed[i].name);
		if (q && q->pruned && q->uid == v->closed[i].uid)
			g->publish_links = true;
	}
}

static void refresh_links(struct gossip *g, struct peer *p, struct slice value)
{
	struct peer_links v;
	enum err e = gossip_peer_links_decode(value, &v);
	if (e == ERR_NOMEM) {
		g->nomem = g->peers_stale = true;
		return;
	}
	if (e != ERR_OK)
		g->counters.malformed++;
	note_ended(g, &p->links, &v);
	mem_free(p->links.names);
	p->links = v;
	p->has_links = e == ERR_OK;
	publish_pruned(g, &p->links);
}

/* Has somebody's link with the present run of p ended a short while before `at_ms`, or later? */
static bool ended_elsewhere(const struct gossip *g, const struct peer *p, uint64_t at_ms, bool by_host)
{
	for (size_t i = 0; i < g->n_peers; i++) {
		const struct peer_links *v = &g->peers[i]->links;
		size_t n = by_host ? v->n_closed : v->n_closed + v->n_lost;
		for (size_t k = 0; k < n; k++)
			if (v->closed[k].name == p->name && v->closed[k].uid == p->uid && v->closed[k].heard_ms + GOSSIP_GRACE_MS > at_ms &&
				(!by_host || g->peers[i]->distance != UINT32_MAX))
				return true;
	}
	return false;
}

bool gossip_peers_lost_elsewhere(const struct gossip *g, const struct peer *p)
{
	return ended_elsewhere(g, p, g->now, false);
}

bool gossip_peer_link_said(const struct gossip *g, uint64_t by, uint64_t name, struct peer_link *out)
{
	struct crdt_item it;
	return item_of(g, by, 'l', &it) && gossip_peer_link_find(it.value, name, out);
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
	if (!p->link) /* else that is what counts */
		p->tag = gossip_sign_tag(info.sign_key);
	memcpy(p->key, info.key, sizeof p->key);
	p->port = info.port;
	mem_free(p->addresses);
	p->addresses = info.n_addresses > 0 ? mem_dup(info.addresses, info.n_addresses * sizeof *info.addresses) : NULL;
	p->n_addresses = p->addresses ? (uint16_t)info.n_addresses : 0;
	if (info.n_addresses > 0 && !p->addresses)
		g->nomem = g->peers_stale = true;
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
		mem_free(p->links.names);
		memset(&p->links, 0, sizeof p->links);
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
	gossip_sign_learnt(g);
	gossip_connect_sign_of_life(g, p);
	for (size_t i = 0; i < p->links.n; i++) /* it may be the first to say where they are */
		gossip_connect_address_heard(g, gossip_peer_find(g, p->links.names[i]));
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
	memcpy(info.sign_key, g->sign_key, sizeof info.sign_key);
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

/* Those whose host has closed our link: others, who were not linked with them, are to know as well. And those who fell silent or stopped: who has just
 * pruned a link with one of them, and not said so yet, then does. */
static size_t ended_lately(const struct gossip *g, bool by_host, struct peer_closed *v, size_t max)
{
	size_t n = 0;
	for (size_t i = 0; i < g->n_peers && n < max; i++) {
		const struct peer *p = g->peers[i];
		bool lately = !p->link && p->lost_ms != 0 && g->now < p->lost_ms + GOSSIP_GRACE_MS;
		bool so = by_host ? p->ending == ENDED_BY_HOST : p->ending == ENDED_SILENTLY || p->ending == ENDED_BY_STOP;
		if (lately && so && p->has_info)
			v[n++] = (struct peer_closed){ .name = p->name, .uid = p->uid };
	}
	return n;
}

static bool publish_links(struct gossip *g, struct crdt_changes *ch)
{
	struct peer_link *v = mem_zalloc(g->n_peers + 1, sizeof *v);
	if (!v)
		return false;
	size_t n = 0;
	for (size_t i = 0; i < g->n_peers && n < GOSSIP_LINKS_MAX; i++) {
		const struct link *l = g->peers[i]->link;
		g->peers[i]->pruned = false;
		if (l)
			v[n++] = (struct peer_link){ g->peers[i]->name, l->outbound, gossip_link_published(l), g->peers[i]->tag };
	}
	uint8_t mem[CRDT_VALUE_MAX];
	struct wbuf w;
	wbuf_fixed(&w, mem, sizeof mem);
	struct peer_closed ended[PEER_CLOSED_MAX];
	size_t n_closed = ended_lately(g, true, ended, PEER_CLOSED_MAX);
	size_t n_lost = ended_lately(g, false, ended + n_closed, PEER_CLOSED_MAX - n_closed);
	bool ok = gossip_peer_links_encode(&w, v, n) == ERR_OK && gossip_peer_closed_encode(&w, ended, n_closed, n_lost) == ERR_OK &&
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
	if (ok && g->publish_links && (ok = publish_links(g, &ch))) {
		g->publish_links = false;
		g->publish_lazily_ms = 0;
	}
	if (ch.n > 0) {
		gossip_peers_refresh(g, g->self);
		gossip_spread_news(g, CHANNEL_PEERS, &ch, NULL);
	}
	if (!ok)
		g->nomem = true;
	return ok;
}

/* Is a's i-th link, which is with somebody of b's name, with the b that we know? One who has taken over the name has another key. */
static bool tag_fits(const struct peer *a, size_t i, const struct peer *b)
{
	return a->links.tags[i] == 0 || b->tag == 0 || a->links.tags[i] == b->tag;
}

/* Does p publish a link with q? */
static bool lists(const struct peer *p, const struct peer *q)
{
	size_t lo = 0, hi = p->links.n;
	while (lo < hi) {
		size_t mid = (lo + hi) / 2;
		if (p->links.names[mid] < q->name)
			lo = mid + 1;
		else
			hi = mid;
	}
	if (lo == p->links.n || p->links.names[lo] != q->name)
		return false;
	return tag_fits(p, lo, q);
}

bool gossip_peers_linked(const struct gossip *g, uint64_t a, uint64_t b)
{
	const struct peer *pa = gossip_peer_find(g, a), *pb = gossip_peer_find(g, b);
	return pa && pb && lists(pa, pb) && lists(pb, pa);
}

static void search(const struct gossip *g, struct peer **queue)
{
	struct peer *self = gossip_peer_find(g, g->self);
	for (size_t i = 0; i < g->n_peers; i++) {
		g->peers[i]->was_reachable = g->peers[i]->distance != UINT32_MAX;
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
		for (size_t i = 0; i < a->links.n; i++) {
			struct peer *b = gossip_peer_find(g, a->links.names[i]);
			if (!b || b->distance != UINT32_MAX || !lists(b, a) || !tag_fits(a, i, b) || (a == self && !b->link))
				continue;
			b->distance = a->distance + 1;
			b->next_hop = a == self ? b->name : a->next_hop;
			queue[tail++] = b;
		}
	}
	for (size_t i = 0; i < g->n_peers; i++) {
		struct peer *p = g->peers[i];
		if (p->distance != UINT32_MAX)
			p->gone_ms = 0;
		else if (p->was_reachable)
			p->gone_ms = g->now;
	}
}

/* What we saw ourselves goes first. */
bool gossip_peers_held(const struct gossip *g, const struct peer *p)
{
	if (p->distance != UINT32_MAX || p->gone_ms == 0 || g->now >= p->gone_ms + GOSSIP_GRACE_MS)
		return false;
	if (p->lost_ms != 0 && p->gone_ms < p->lost_ms + GOSSIP_GRACE_MS)
		return p->ending == ENDED_BY_HOST || p->ending == ENDED_BY_PEER;
	return p->has_info && ended_elsewhere(g, p, p->gone_ms, true); /* said by those whom we reach */
}

void gossip_peers_routes(const struct gossip *g)
{
	struct routes *r = g->routes;
	if (!r->stale || (!r->urgent && r->at_ms != 0 && g->now < r->at_ms + gossip_pause_ms(g)))
		return;
	void *v = r->queue;
	if (!mem_grow(&v, &r->cap, g->n_peers, sizeof *r->queue))
		return; /* the old routes serve until there is memory */
	r->queue = v;
	search(g, r->queue);
	r->stale = r->urgent = false;
	r->at_ms = g->now;
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

bool gossip_present(const struct gossip *g, uint64_t name)
{
	if (gossip_reachable(g, name))
		return true;
	const struct peer *p = gossip_peer_find(g, name);
	return p && gossip_peers_held(g, p);
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
	size_t n = p ? p->links.n : 0;
	for (size_t i = 0; i < n && i < max; i++)
		out[i] = p->links.names[i];
	return n < max ? n : max;
}

/* What others say in their links about where they reach it. */
static bool by_hearsay(const struct gossip *g, const struct peer *p, struct ip *out)
{
	struct peer_link l;
	for (size_t i = 0; i < p->links.n; i++) {
		uint64_t by = p->links.names[i];
		if (by != g->self && gossip_peer_link_said(g, by, p->name, &l) && l.address.ip.family != 0) {
			*out = l.address.ip;
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
