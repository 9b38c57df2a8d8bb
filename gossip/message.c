#include "gossip/message.h"

#include <assert.h>
#include <string.h>

#include <sodium.h>

/* Fields of HELLO: varint type, lv value. The numbers are on the wire. */
enum hello_field {
	HELLO_NAME = 1,        /* u48 */
	HELLO_INCARNATION = 2, /* u64 */
	HELLO_UID = 3,         /* u64 */
	HELLO_PORT = 4,        /* u16 */
	HELLO_DIAL_SEQ = 5,    /* u64 */
	HELLO_PROTOCOL = 6,    /* u16 */
	HELLO_NICKNAME = 7,    /* UTF-8 */
	HELLO_VERSION = 8,     /* UTF-8 */
	HELLO_SIGN_KEY = 9,    /* 32 bytes */
	HELLO_WORTH = 10,      /* u8 */
};
#define HELLO_FIELD_MAX 1024 /* bytes of one field */
#define HELLO_TEXT_MAX  64
#define UNICAST_PROOF   (8 + 8 + CRDT_SIGNATURE) /* bytes */

static void field_number(struct wbuf *w, enum hello_field type, uint64_t value, unsigned bytes)
{
	wbuf_varint(w, (uint64_t)type);
	wbuf_varint(w, bytes);
	for (unsigned i = bytes; i > 0; i--)
		wbuf_u8(w, (uint8_t)(value >> (8 * (i - 1))));
}

static void field_text(struct wbuf *w, enum hello_field type, struct slice text)
{
	wbuf_varint(w, (uint64_t)type);
	wbuf_lv(w, text);
}

static void hello_encode(struct wbuf *w, const struct message *m)
{
	const struct message_hello *h = &m->u.hello;
	field_number(w, HELLO_NAME, h->name, 6);
	field_number(w, HELLO_INCARNATION, h->incarnation, 8);
	field_number(w, HELLO_UID, h->uid, 8);
	field_number(w, HELLO_PORT, h->port, 2);
	field_number(w, HELLO_DIAL_SEQ, h->dial_seq, 8);
	field_number(w, HELLO_PROTOCOL, h->protocol, 2);
	field_text(w, HELLO_NICKNAME, h->nickname);
	field_text(w, HELLO_VERSION, h->version);
	field_text(w, HELLO_SIGN_KEY, slice_of(h->sign_key, sizeof h->sign_key));
	field_number(w, HELLO_WORTH, h->worth, 1);
}

/* What a person will read must be printable: a peer's words go to logs and terminals. */
static bool printable(struct slice s)
{
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] < 0x20 || s.p[i] == 0x7f)
			return false;
	return true;
}

static struct slice text_field(struct rbuf *r, size_t n, size_t max)
{
	struct slice s = rbuf_bytes(r, n);
	if (s.n > max || !printable(s))
		rbuf_fail(r);
	return s;
}

static void hello_field(struct rbuf *r, uint64_t type, struct message_hello *h)
{
	switch (type) {
	case HELLO_NAME: h->name = rbuf_u48(r); break;
	case HELLO_INCARNATION: h->incarnation = rbuf_u64(r); break;
	case HELLO_UID: h->uid = rbuf_u64(r); break;
	case HELLO_PORT: h->port = rbuf_u16(r); break;
	case HELLO_DIAL_SEQ: h->dial_seq = rbuf_u64(r); break;
	case HELLO_PROTOCOL: h->protocol = rbuf_u16(r); break;
	case HELLO_NICKNAME: h->nickname = text_field(r, rbuf_left(r), HELLO_TEXT_MAX); break;
	case HELLO_WORTH: h->worth = rbuf_u8(r); break;
	case HELLO_VERSION: h->version = text_field(r, rbuf_left(r), HELLO_TEXT_MAX); break;
	case HELLO_SIGN_KEY: rbuf_copy(r, h->sign_key, sizeof h->sign_key); break;
	default: break;
	}
}

static void hello_decode(struct rbuf *r, struct message *m)
{
	struct message_hello *h = &m->u.hello;
	h->worth = WORTH_WANTED; /* if not said */
	for (size_t n = 0; rbuf_left(r) > 0 && rbuf_ok(r); n++) {
		if (n == MESSAGE_FIELDS_MAX) {
			rbuf_fail(r);
			break;
		}
		uint64_t type = rbuf_varint(r);
		struct slice value = rbuf_lv(r, HELLO_FIELD_MAX);
		if (!rbuf_ok(r))
			break;
		struct rbuf in;
		rbuf_init(&in, value.p, value.n);
		hello_field(&in, type, h); /* a known field may have grown: what follows is skipped */
		if (!rbuf_ok(&in))
			rbuf_fail(r);
	}
	if (h->name == PEER_NONE || h->uid == 0 || h->incarnation == 0 || h->protocol == 0 ||
		sodium_is_zero(h->sign_key, sizeof h->sign_key))
		rbuf_fail(r);
}

static void ping_encode(struct wbuf *w, const struct message *m)
{
	wbuf_u64(w, m->u.ping.id);
	wbuf_u64(w, m->u.ping.time_ms);
}

static void ping_decode(struct rbuf *r, struct message *m)
{
	m->u.ping.id = rbuf_u64(r);
	m->u.ping.time_ms = rbuf_u64(r);
	rbuf_skip(r, rbuf_left(r));
}

static void state_encode(struct wbuf *w, const struct message *m)
{
	wbuf_u8(w, m->u.state.channel);
	wbuf_bytes(w, m->u.state.body.p, m->u.state.body.n);
}

static void state_decode(struct rbuf *r, struct message *m)
{
	m->u.state.channel = rbuf_u8(r);
	m->u.state.body = rbuf_bytes(r, rbuf_left(r));
}

static void unicast_encode(struct wbuf *w, const struct message *m)
{
	const struct message_unicast *u = &m->u.unicast;
	wbuf_u48(w, u->from);
	wbuf_u48(w, u->to);
	wbuf_u8(w, u->hops);
	wbuf_u8(w, u->kind);
	wbuf_lv(w, u->payload);
	wbuf_varint(w, u->is_signed ? UNICAST_PROOF : 0);
	if (!u->is_signed)
		return;
	wbuf_u64(w, u->uid);
	wbuf_u64(w, u->serial);
	wbuf_bytes(w, u->signature, sizeof u->signature);
}

static void unicast_decode(struct rbuf *r, struct message *m)
{
	struct message_unicast *u = &m->u.unicast;
	u->from = rbuf_u48(r);
	u->to = rbuf_u48(r);
	u->hops = rbuf_u8(r);
	u->kind = rbuf_u8(r);
	u->payload = rbuf_lv(r, GOSSIP_UNICAST_MAX);
	struct slice proof = rbuf_lv(r, UNICAST_PROOF);
	u->is_signed = proof.n > 0;
	if (u->is_signed) {
		struct rbuf in;
		rbuf_init(&in, proof.p, proof.n);
		u->uid = rbuf_u64(&in);
		u->serial = rbuf_u64(&in);
		rbuf_copy(&in, u->signature, sizeof u->signature);
		if (!rbuf_ok(&in))
			rbuf_fail(r);
	}
	rbuf_skip(r, rbuf_left(r));
	if (u->from == PEER_NONE || u->to == PEER_NONE || u->hops > GOSSIP_HOPS_MAX)
		rbuf_fail(r);
}

void gossip_hostport_encode(struct wbuf *w, struct hostport h)
{
	wbuf_ip(w, h.ip);
	wbuf_u16(w, h.port);
}

static struct hostport hostport_decode(struct rbuf *r)
{
	struct hostport h;
	memset(&h, 0, sizeof h);
	h.ip = rbuf_ip(r);
	h.port = rbuf_u16(r);
	return h;
}

static void bye_encode(struct wbuf *w, const struct message *m)
{
	wbuf_u8(w, (uint8_t)m->u.bye.reason);
	gossip_hostport_encode(w, m->u.bye.address);
	wbuf_lv(w, m->u.bye.text);
}

static void bye_decode(struct rbuf *r, struct message *m)
{
	uint8_t reason = rbuf_u8(r);
	m->u.bye.reason = reason < BYE_REASONS ? (enum bye_reason)reason : BYE_OTHER;
	m->u.bye.address = hostport_decode(r);
	m->u.bye.text = rbuf_lv(r, MESSAGE_TEXT_MAX);
	if (!printable(m->u.bye.text))
		rbuf_fail(r);
	rbuf_skip(r, rbuf_left(r));
}

static void contest_encode(struct wbuf *w, const struct message *m)
{
	const struct message_contest *c = &m->u.contest;
	wbuf_u48(w, c->name);
	wbuf_u64(w, c->uid);
	wbuf_u64(w, c->incarnation);
	wbuf_bytes(w, c->key, sizeof c->key);
	gossip_hostport_encode(w, c->address);
	wbuf_u8(w, c->hops);
	wbuf_u48(w, c->reporter);
	wbuf_u64(w, c->reporter_uid);
	wbuf_u64(w, c->serial);
	wbuf_bytes(w, c->signature, sizeof c->signature);
}

static void contest_decode(struct rbuf *r, struct message *m)
{
	struct message_contest *c = &m->u.contest;
	c->name = rbuf_u48(r);
	c->uid = rbuf_u64(r);
	c->incarnation = rbuf_u64(r);
	rbuf_copy(r, c->key, sizeof c->key);
	c->address = hostport_decode(r);
	c->hops = rbuf_u8(r);
	c->reporter = rbuf_u48(r);
	c->reporter_uid = rbuf_u64(r);
	c->serial = rbuf_u64(r);
	rbuf_copy(r, c->signature, sizeof c->signature);
	rbuf_skip(r, rbuf_left(r));
	if (c->name == PEER_NONE || c->uid == 0 || c->reporter == PEER_NONE || c->hops > GOSSIP_HOPS_MAX)
		rbuf_fail(r);
}

static void want_encode(struct wbuf *w, const struct message *m)
{
	wbuf_u8(w, m->u.want.worth);
}

static void want_decode(struct rbuf *r, struct message *m)
{
	m->u.want.worth = rbuf_u8(r);
	rbuf_skip(r, rbuf_left(r));
}

static const struct message_row rows[] = {
	{ MESSAGE_HELLO, "hello", 8192, true, hello_encode, hello_decode },
	{ MESSAGE_PING, "ping", 256, false, ping_encode, ping_decode },
	{ MESSAGE_PONG, "pong", 256, false, ping_encode, ping_decode },
	{ MESSAGE_DELTA, "delta", MESSAGE_MAX - 1, false, state_encode, state_decode },
	{ MESSAGE_RECON, "recon", MESSAGE_MAX - 1, false, state_encode, state_decode },
	{ MESSAGE_UNICAST, "unicast", GOSSIP_UNICAST_MAX + 256, false, unicast_encode, unicast_decode },
	{ MESSAGE_BYE, "bye", 1024, true, bye_encode, bye_decode },
	{ MESSAGE_CONTEST, "contest", 1024, false, contest_encode, contest_decode },
	{ MESSAGE_WANT, "want", 256, false, want_encode, want_decode },
};

const struct message_row *gossip_message_row(uint8_t type)
{
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
		if ((uint8_t)rows[i].type == type)
			return &rows[i];
	return NULL;
}

enum err gossip_message_encode(struct wbuf *w, const struct message *m)
{
	const struct message_row *row = gossip_message_row((uint8_t)m->type);
	assert(row);
	wbuf_u8(w, (uint8_t)m->type);
	row->encode(w, m);
	return wbuf_end(w);
}

enum err gossip_message_decode(struct slice in, struct message *m)
{
	memset(m, 0, sizeof *m);
	struct rbuf r;
	rbuf_init(&r, in.p, in.n);
	uint8_t type = rbuf_u8(&r);
	if (!rbuf_ok(&r))
		return ERR_TRUNCATED;
	const struct message_row *row = gossip_message_row(type);
	if (!row)
		return ERR_UNSUPPORTED;
	if (in.n - 1 > row->max_bytes)
		return ERR_LIMIT;
	m->type = row->type;
	row->decode(&r, m);
	return rbuf_end(&r);
}

const char *gossip_bye_reason_text(enum bye_reason r)
{
	switch (r) {
	case BYE_STOPPING: return "the other end is stopping";
	case BYE_DUPLICATE: return "another link to it is kept";
	case BYE_DUPLICATE_NAME: return "another host has our name";
	case BYE_SELF: return "is ourselves";
	case BYE_LIMIT: return "the other end has reached its connection limit";
	case BYE_MALFORMED: return "the other end could not read what we sent";
	case BYE_VERSION: return "incompatible version";
	case BYE_SURPLUS: return "neither end needs the link";
	case BYE_TIMEOUT: return "the other end heard nothing from us";
	case BYE_OTHER:
	case BYE_REASONS: break;
	}
	return "closed by the other end";
}
