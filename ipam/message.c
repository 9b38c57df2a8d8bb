#include "ipam/message.h"

#include <assert.h>

enum {
	RANGE = 1,
	SERIAL = 2,
	REASON = 4,
	TEXT = 8,
	PRINT = 16,
	ITEMS = 32,
	HELD = 64,
	EPOCH = 128,
	STATE = 256,
};

static const struct {
	const char *name;
	unsigned fields;
} table[MSG_TYPES] = {
	[MSG_SPACE_REQUEST] = { "space-request", RANGE | SERIAL },
	[MSG_SPACE_GRANT] = { "space-grant", RANGE | SERIAL | ITEMS },
	[MSG_SPACE_DENIED] = { "space-denied", RANGE | SERIAL | REASON | TEXT },
	[MSG_RING_REQUEST] = { "ring-request", RANGE | SERIAL | PRINT | ITEMS },
	[MSG_RING_STATE] = { "ring-state", RANGE | SERIAL | PRINT | ITEMS | HELD | EPOCH },
	[MSG_HANDOVER] = { "handover", SERIAL | ITEMS },
	[MSG_HANDOVER_ACK] = { "handover-ack", SERIAL },
	[MSG_ELECT] = { "elect", 0 },
	[MSG_LEASE_ACK] = { "lease-ack", SERIAL | EPOCH },
	[MSG_EPOCH_REQUEST] = { "epoch-request", EPOCH },
	[MSG_EPOCH_STATE] = { "epoch-state", STATE },
};

const char *ipam_message_name(enum ipam_message_type t)
{
	return t > 0 && t < MSG_TYPES ? table[t].name : "unknown";
}

void ipam_message_encode(struct wbuf *w, const struct ipam_message *m)
{
	assert(m->type > 0 && m->type < MSG_TYPES);
	unsigned fields = table[m->type].fields;
	wbuf_u8(w, (uint8_t)m->type);
	wbuf_u32(w, m->u.first);
	wbuf_u8(w, m->u.len);
	if (fields & RANGE) {
		wbuf_u32(w, (uint32_t)m->range.start);
		wbuf_u32(w, (uint32_t)(m->range.end - 1));
	}
	if (fields & SERIAL)
		wbuf_u64(w, m->serial);
	if (fields & REASON)
		wbuf_u8(w, (uint8_t)m->reason);
	if (fields & TEXT)
		wbuf_lv(w, m->text);
	if (fields & PRINT) {
		wbuf_u64(w, m->print.a);
		wbuf_u64(w, m->print.b);
		wbuf_varint(w, m->print.count);
	}
	if (fields & ITEMS) {
		wbuf_varint(w, m->n_items);
		wbuf_bytes(w, m->items.p, m->items.n);
	}
	if (fields & HELD) {
		wbuf_varint(w, m->n_held);
		wbuf_bytes(w, m->held.p, m->held.n);
	}
	if (fields & EPOCH)
		wbuf_varint(w, m->epoch);
	if (fields & STATE)
		wbuf_lv(w, m->state);
}

static void decode_universe(struct rbuf *r, struct universe *u)
{
	u->first = rbuf_u32(r);
	u->len = rbuf_u8(r);
	if (u->len < 8 || u->len > 30 || (u->first & (UINT32_MAX >> u->len)) != 0)
		rbuf_fail(r);
}

static void decode_range(struct rbuf *r, struct range4 *range)
{
	range->start = rbuf_u32(r);
	range->end = (uint64_t)rbuf_u32(r) + 1;
	if (range->start >= range->end)
		rbuf_fail(r);
}

/* A reason of tomorrow is none of today's, and not an error. */
static enum deny_reason decode_reason(struct rbuf *r)
{
	uint8_t v = rbuf_u8(r);
	return v == 0 || v >= DENY_REASONS ? DENY_NOT_NOW : (enum deny_reason)v;
}

static void decode_text(struct rbuf *r, struct slice *text)
{
	*text = rbuf_lv(r, IPAM_TEXT_MAX);
	for (size_t i = 0; i < text->n; i++)
		if (text->p[i] < 0x20 || text->p[i] == 0x7f)
			rbuf_fail(r);
}

static bool decode_items(struct rbuf *r, struct ipam_message *m)
{
	uint64_t n = rbuf_varint(r);
	if (n > IPAM_ITEMS_MAX)
		return false;
	m->n_items = (size_t)n;
	size_t from = r->pos;
	for (uint64_t i = 0; i < n && rbuf_ok(r); i++) {
		struct crdt_item it;
		crdt_item_decode(r, &it);
		if (!rbuf_ok(r) || !ring_item_valid(&it)) {
			rbuf_fail(r);
			break;
		}
		struct universe u = ring_item_universe(&it);
		if (u.first != m->u.first || u.len != m->u.len)
			rbuf_fail(r);
	}
	if (rbuf_ok(r))
		m->items = slice_of(r->data + from, r->pos - from);
	return true;
}

static bool decode_held(struct rbuf *r, struct ipam_message *m)
{
	uint64_t n = rbuf_varint(r), last = 0;
	if (n > IPAM_HELD_MAX)
		return false;
	m->n_held = (size_t)n;
	size_t from = r->pos;
	for (uint64_t i = 0; i < n; i++) {
		uint64_t a = rbuf_u32(r);
		if (i > 0 && a <= last)
			rbuf_fail(r);
		last = a;
	}
	if (rbuf_ok(r))
		m->held = slice_of(r->data + from, r->pos - from);
	return true;
}

enum err ipam_message_decode(struct slice payload, struct ipam_message *m)
{
	struct rbuf r;
	*m = (struct ipam_message){ 0 };
	if (payload.n > IPAM_PAYLOAD_MAX)
		return ERR_LIMIT;
	rbuf_init(&r, payload.p, payload.n);
	uint8_t type = rbuf_u8(&r);
	if (!rbuf_ok(&r))
		return ERR_TRUNCATED;
	if (type == 0 || type >= MSG_TYPES)
		return ERR_UNSUPPORTED;
	m->type = (enum ipam_message_type)type;
	unsigned fields = table[type].fields;
	decode_universe(&r, &m->u);
	if (fields & RANGE)
		decode_range(&r, &m->range);
	if (fields & SERIAL)
		m->serial = rbuf_u64(&r);
	if (fields & REASON)
		m->reason = decode_reason(&r);
	if (fields & TEXT)
		decode_text(&r, &m->text);
	if (fields & PRINT) {
		m->print.a = rbuf_u64(&r);
		m->print.b = rbuf_u64(&r);
		m->print.count = rbuf_varint(&r);
	}
	if ((fields & ITEMS) && !decode_items(&r, m))
		return ERR_LIMIT;
	if ((fields & HELD) && !decode_held(&r, m))
		return ERR_LIMIT;
	if (fields & EPOCH)
		m->epoch = rbuf_varint(&r);
	if (fields & STATE)
		m->state = rbuf_lv(&r, EPOCH_STATE_MAX);
	return rbuf_end(&r);
}
