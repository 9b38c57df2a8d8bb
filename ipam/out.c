#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "ipam/internal.h"

void ipam_actions_init(struct ipam_actions *a, struct arena *arena)
{
	*a = (struct ipam_actions){ .arena = arena };
}

static bool actions_room(struct ipam_actions *a, size_t more)
{
	if (a->cap - a->n >= more)
		return true;
	size_t cap = a->cap < 8 ? 8 : a->cap;
	while (cap - a->n < more)
		cap *= 2;
	struct ipam_action *v = arena_alloc(a->arena, cap * sizeof *v);
	if (!v)
		return false;
	if (a->n > 0)
		memcpy(v, a->v, a->n * sizeof *v);
	a->v = v;
	a->cap = cap;
	return true;
}

/* The room must be there. */
static struct ipam_action *action_new(struct ipam *i, enum ipam_action_kind kind)
{
	struct ipam_action *a = &i->out->v[i->out->n++];
	*a = (struct ipam_action){ .kind = kind };
	return a;
}

enum err out_reserve(struct ipam *i, size_t actions, size_t bytes)
{
	if (!actions_room(i->out, actions))
		return ERR_NOMEM;
	if (i->pool_left >= bytes)
		return ERR_OK;
	uint8_t *p = arena_alloc(i->out->arena, bytes);
	if (!p)
		return ERR_NOMEM;
	i->pool = p;
	i->pool_left = bytes;
	return ERR_OK;
}

static void *copy(struct ipam *i, const void *p, size_t n)
{
	size_t padded = (n + 16) / 16 * 16;
	if (padded > i->pool_left)
		return arena_dup(i->out->arena, p, n);
	void *q = i->pool;
	i->pool += padded;
	i->pool_left -= padded;
	if (n > 0)
		memcpy(q, p, n);
	return q;
}

enum err out_persist(struct ipam *i, struct slice key, struct slice value)
{
	const uint8_t *k = copy(i, key.p, key.n), *v = value.p ? copy(i, value.p, value.n) : NULL;
	if (!k || (value.p && !v) || !actions_room(i->out, 1))
		return ERR_NOMEM;
	struct ipam_action *a = action_new(i, IPAM_PERSIST);
	a->u.persist.key = slice_of(k, key.n);
	a->u.persist.value = slice_of(v, v ? value.n : 0);
	return ERR_OK;
}

enum err out_changed(struct ipam *i, int map, const struct crdt_changes *ch)
{
	if (ch->n == 0)
		return ERR_OK;
	if (!actions_room(i->out, 1))
		return ERR_NOMEM;
	struct ipam_action *a = action_new(i, IPAM_CHANGED);
	a->u.changed.map = map;
	a->u.changed.changes = *ch;
	return ERR_OK;
}

enum err out_send(struct ipam *i, uint64_t to, const struct ipam_message *m)
{
	struct wbuf w;
	wbuf_grow(&w, IPAM_PAYLOAD_MAX);
	ipam_message_encode(&w, m);
	enum err e = wbuf_end(&w);
	if (e == ERR_OK) {
		void *p = arena_dup(i->out->arena, w.data, w.len);
		if (p && actions_room(i->out, 1)) {
			struct ipam_action *a = action_new(i, IPAM_SEND);
			a->u.send.to = to;
			a->u.send.payload = slice_of(p, w.len);
		} else {
			e = ERR_NOMEM;
		}
	}
	wbuf_free(&w);
	return e;
}

enum err out_reply(struct ipam *i, uint64_t request, enum err err, struct prefix result, uint64_t count, const char *text)
{
	const char *t = text ? copy(i, text, strlen(text) + 1) : "";
	if (!t || !actions_room(i->out, 1))
		return ERR_NOMEM;
	struct ipam_action *a = action_new(i, IPAM_REPLY);
	a->u.reply.request = request;
	a->u.reply.err = err;
	a->u.reply.result = result;
	a->u.reply.count = count;
	a->u.reply.text = t;
	return ERR_OK;
}

void out_note(struct ipam *i, int level, const char *fmt, ...)
{
	char text[400];
	va_list args;
	va_start(args, fmt);
	(void)vsnprintf(text, sizeof text, fmt, args);
	va_end(args);
	const char *t = arena_dup(i->out->arena, text, strlen(text) + 1);
	if (!t || !actions_room(i->out, 1))
		return;
	struct ipam_action *a = action_new(i, IPAM_NOTE);
	a->u.note.level = level;
	a->u.note.text = t;
}

struct slice record_key(const struct ipam *i, const char *tag, const void *rest, size_t n, uint8_t mem[RECORD_KEY_MAX])
{
	struct wbuf w;
	wbuf_fixed(&w, mem, RECORD_KEY_MAX);
	wbuf_bytes(&w, tag, strlen(tag));
	wbuf_u32(&w, i->cfg.universe.first);
	wbuf_u8(&w, i->cfg.universe.len);
	wbuf_bytes(&w, rest, n);
	assert(!w.failed);
	return wbuf_slice(&w);
}

static enum err persist_item(struct ipam *i, const struct crdt_item *it)
{
	uint8_t key[RECORD_KEY_MAX], value[64 + CRDT_PROOF_MAX];
	struct wbuf w;
	wbuf_fixed(&w, value, sizeof value);
	crdt_item_encode(&w, it);
	assert(!w.failed);
	/* The item's key begins with the universe, as every record's. */
	assert(it->key.n == 9);
	return out_persist(i, record_key(i, "ring/", it->key.p + 5, 4, key), wbuf_slice(&w));
}

enum err out_ring(struct ipam *i, const struct crdt_changes *ch, bool ours)
{
	for (size_t k = 0; k < ch->n; k++) {
		struct crdt_item it;
		if (!crdt_map_get(i->cfg.ring, ch->keys[k], &it) || !ring_item_valid(&it))
			continue;
		struct universe u = ring_item_universe(&it);
		if (u.first != i->cfg.universe.first || u.len != i->cfg.universe.len)
			continue;
		enum err e = persist_item(i, &it);
		if (e != ERR_OK) {
			i->rewrite = true;
			return e;
		}
		i->ring_dirty = true;
	}
	enum err e = ours ? out_changed(i, IPAM_MAP_RING, ch) : ERR_OK;
	if (e != ERR_OK)
		i->rewrite = true;
	return e;
}

enum err out_put(struct ipam *i, int map, struct slice subkey, struct slice value)
{
	struct crdt_map *m = map == IPAM_MAP_PAXOS ? i->cfg.paxos : i->cfg.usage;
	struct crdt_changes ch;
	crdt_changes_init(&ch, i->out->arena);
	enum err e = value.p ? crdt_map_put(m, subkey, value, &ch) : crdt_map_delete(m, subkey, &ch);
	if (e == ERR_OK && !value.p)
		e = crdt_map_compact(m, CRDT_COMPACT_TOMBSTONES, &ch);
	if (e != ERR_OK)
		return e;
	return out_changed(i, map, &ch);
}

void line_format(char *out, size_t size, const char *fmt, ...)
{
	va_list args;
	va_start(args, fmt);
	(void)vsnprintf(out, size, fmt, args);
	va_end(args);
}

bool ipam_reachable(const struct ipam *i, uint64_t peer)
{
	return peer == i->cfg.self || i->cfg.reachable(i->cfg.ctx, peer);
}

const char *ipam_who(const struct ipam *i, uint64_t peer, char out[WHO_TEXT])
{
	char name[PEER_TEXT];
	const char *nick = i->cfg.nickname ? i->cfg.nickname(i->cfg.ctx, peer) : "";
	peer_format(peer, name);
	if (nick && nick[0])
		line_format(out, WHO_TEXT, "%.70s(%s)", nick, name);
	else
		line_format(out, WHO_TEXT, "%s", name);
	return out;
}

const char *range_format(struct range4 r, char out[2 * IP_TEXT])
{
	char a[IP_TEXT], b[IP_TEXT];
	ip_format(ip_v4((uint32_t)r.start), a);
	if (range4_size(r) == 1)
		line_format(out, 2 * IP_TEXT, "%s", a);
	else
		line_format(out, 2 * IP_TEXT, "%s-%s", a, ip_format(ip_v4((uint32_t)(r.end - 1)), b));
	return out;
}
