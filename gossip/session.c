/* Theory of operation
 *
 * Input is cut into units — the greeting, a length, a frame's body — by collect(): straight out of the input when the unit
 * lies there in one piece, gathered in `frame` when it does not. A unit is handled by the state it arrives in. Records are
 * opened into `message`, each behind the one before, and when the last has come `message` is what the caller gets.
 *
 * Errors have one way out: whoever finds one writes the line for the operator into `why`, says in `reply` what alert the other
 * end should get, and returns; give_up() then does the rest. The secrets in `keys` and `hs` are wiped when tx and rx have
 * taken over, and all of them on failure. */
#include "gossip/session.h"

#include <assert.h>
#include <sodium.h>
#include <string.h>

#include "base/mem.h"
#include "noise/noise.h"

enum { GREETING_MAGIC = 0, GREETING_MIN = 4, GREETING_MAX = 5, GREETING_RESERVED = 6, GREETING_END = 8 };
static_assert(GREETING_END == SESSION_GREETING && GREETING_RESERVED + 2 == GREETING_END, "greeting");
static_assert(SESSION_KEY == NOISE_KEY, "sizes");
static_assert(
	SESSION_RECORD_MAX < SESSION_ALERT_MARK && SESSION_HANDSHAKE_MAX < SESSION_ALERT_MARK, "no length looks like an alert");
static_assert(SESSION_FRAGMENT_MAX + 1 + NOISE_TAG == SESSION_RECORD_MAX, "a full fragment fills a record");

enum {
	LENGTH = 2,
	FLAG_LAST = 1,
	RECORD_MIN = 1 + NOISE_TAG,
	KEEP_MAX = 4096, /* larger buffers are given back after a message */
};
static const uint8_t magic[4] = { 'w', 'e', 'f', 't' };

struct session {
	enum session_state state;
	bool initiator;
	bool proven;        /* the other end has been authenticated */
	bool alert_follows; /* the frame that is coming is an alert */
	bool handed_out;    /* `message` is the caller's until the next input */
	uint8_t handshakes; /* handshake messages read */
	uint8_t empties;    /* empty records in a row */
	enum err error;
	enum session_alert alert, reply;
	size_t n_psk, psk_used;
	struct keys {
		uint8_t s_sk[SESSION_KEY], s_pk[SESSION_KEY], e_sk[SESSION_KEY], psk[SESSION_PSK_MAX][SESSION_KEY];
	} keys;
	uint8_t ours[SESSION_GREETING];
	struct noise_handshake hs;
	struct noise_cipher tx, rx;
	uint8_t remote[SESSION_KEY];
	size_t want; /* length of the frame that is coming; 0: the length itself comes next */
	struct wbuf frame, message;
	struct err_note why;
};
static_assert(sizeof(struct session) + 2 * SESSION_HANDSHAKE_MAX < 2048, "a thousand strangers may hold half-open sessions");

static const uint8_t moves[] = {
	[SESSION_NEW] = 1 << SESSION_GREETED | 1 << SESSION_FAILED,
	[SESSION_GREETED] = 1 << SESSION_HANDSHAKE | 1 << SESSION_FAILED,
	[SESSION_HANDSHAKE] = 1 << SESSION_CONFIRM | 1 << SESSION_OPEN | 1 << SESSION_FAILED,
	[SESSION_CONFIRM] = 1 << SESSION_OPEN | 1 << SESSION_FAILED,
	[SESSION_OPEN] = 1 << SESSION_FAILED,
	[SESSION_FAILED] = 0,
};

static void move(struct session *s, enum session_state to)
{
	assert(moves[s->state] >> to & 1);
	assert(to != SESSION_CONFIRM || s->initiator);
	s->state = to;
}

static const struct {
	enum err err;
	const char *theirs, *ours;
} alerts[] = {
	[SESSION_ALERT_PASSWORD] = { ERR_AUTH, "the other end has a different password", "a different password" },
	[SESSION_ALERT_VERSION] = { ERR_VERSION, "the other end does not speak our version of the protocol",
		"its version of the protocol" },
	[SESSION_ALERT_BUSY] = { ERR_BUSY, "the other end is busy", "we are busy" },
	[SESSION_ALERT_SELF] = { ERR_SELF, "the other end says that we are one and the same", "the other end is ourselves" },
	[SESSION_ALERT_DUPLICATE] = { ERR_DUPLICATE, "the other end says that another has our name", "another has its name" },
	[SESSION_ALERT_INTERNAL] = { ERR_REFUSED, "the other end failed for a reason of its own", "a failure of ours" },
	[SESSION_ALERT_HANDSHAKE] = { ERR_REFUSED, "the other end could not read our handshake", "its handshake cannot be read" },
};
enum { ALERTS_END = sizeof alerts / sizeof alerts[0] };

/* Life and death */

enum err session_new(struct session **out, const struct session_config *cfg)
{
	struct session *s;

	assert(cfg->n_psk >= 1 && cfg->n_psk <= SESSION_PSK_MAX);
	assert(cfg->version_min >= 1 && cfg->version_min <= cfg->version_max);
	s = mem_zalloc(1, sizeof *s);
	if (!s)
		return ERR_NOMEM;
	s->initiator = cfg->initiator;
	memcpy(s->keys.s_sk, cfg->s_sk, SESSION_KEY);
	memcpy(s->keys.s_pk, cfg->s_pk, SESSION_KEY);
	memcpy(s->keys.e_sk, cfg->e_sk, SESSION_KEY);
	memcpy(s->keys.psk, cfg->psk, cfg->n_psk * SESSION_KEY);
	s->n_psk = cfg->n_psk;
	memcpy(s->ours + GREETING_MAGIC, magic, sizeof magic);
	s->ours[GREETING_MIN] = cfg->version_min;
	s->ours[GREETING_MAX] = cfg->version_max;
	wbuf_grow(&s->frame, SESSION_RECORD_MAX);
	wbuf_grow(&s->message, SESSION_MESSAGE_MAX + 1); /* and the flags of the last record */
	*out = s;
	return ERR_OK;
}

static void wipe(struct session *s)
{
	sodium_memzero(&s->keys, sizeof s->keys);
	noise_wipe(&s->hs);
	noise_cipher_wipe(&s->tx);
	noise_cipher_wipe(&s->rx);
}

void session_free(struct session *s)
{
	if (!s)
		return;
	wbuf_free(&s->frame);
	wbuf_free(&s->message);
	sodium_memzero(s, sizeof *s);
	mem_free(s);
}

/* Failing */

/* Notes what alert the other end is to get, and hands the error through. */
static enum err reply(struct session *s, enum session_alert alert, enum err e)
{
	s->reply = alert;
	return e;
}

static enum err give_up(struct session *s, enum err e, struct wbuf *out)
{
	/* Later the other end may have left the handshake, and would take an alert for a broken record. */
	bool may_tell = s->state == SESSION_GREETED || s->state == SESSION_HANDSHAKE;

	if (s->why.text[0] == '\0')
		(void)err_note(&s->why, e, "%s", err_text(e));
	if (e == ERR_NOMEM && s->reply == SESSION_ALERT_NONE)
		s->reply = SESSION_ALERT_INTERNAL;
	if (may_tell && s->reply != SESSION_ALERT_NONE) {
		wbuf_u16(out, SESSION_ALERT_MARK);
		wbuf_u8(out, (uint8_t)s->reply);
		s->alert = s->reply;
	}
	s->error = e;
	move(s, SESSION_FAILED);
	wipe(s);
	wbuf_free(&s->frame);
	if (!s->handed_out)
		wbuf_free(&s->message);
	return e;
}

enum err session_start(struct session *s, struct wbuf *out)
{
	assert(s->state == SESSION_NEW);
	wbuf_bytes(out, s->ours, sizeof s->ours);
	if (wbuf_end(out) != ERR_OK)
		return give_up(s, wbuf_end(out), out);
	move(s, SESSION_GREETED);
	return ERR_OK;
}

void session_refuse(struct session *s, enum session_alert reason, struct wbuf *out)
{
	assert(reason > SESSION_ALERT_NONE && (unsigned)reason < ALERTS_END);
	if (s->state == SESSION_NEW && session_start(s, out) != ERR_OK)
		return;
	if (s->state == SESSION_FAILED)
		return;
	(void)give_up(s, reply(s, reason, err_note(&s->why, alerts[reason].err, "refused by us: %s", alerts[reason].ours)), out);
}

enum err session_eof(struct session *s)
{
	static const char *const when[] = {
		[SESSION_NEW] = "the connection was closed",
		[SESSION_GREETED] = "closed by the other end before it said what it is",
		[SESSION_HANDSHAKE] = "closed by the other end during the handshake",
		[SESSION_CONFIRM] = "closed by the other end before it confirmed the password",
		[SESSION_OPEN] = "closed by the other end",
	};
	bool pending = s->frame.len > 0 || s->want > 0 || (s->message.len > 0 && !s->handed_out);
	struct wbuf none;

	if (s->state == SESSION_FAILED)
		return s->error;
	wbuf_fixed(&none, NULL, 0);
	if (s->state == SESSION_OPEN && pending)
		return give_up(s, err_note(&s->why, ERR_TRUNCATED, "closed by the other end in the middle of a message"), &none);
	return give_up(s, err_note(&s->why, ERR_CLOSED, "%s", when[s->state]), &none);
}

/* Handshake */

static enum err not_weft(struct session *s, struct slice seen)
{
	char text[SESSION_GREETING + 1] = { 0 };

	for (size_t i = 0; i < seen.n && i < SESSION_GREETING; i++)
		text[i] = seen.p[i] >= ' ' && seen.p[i] <= '~' ? (char)seen.p[i] : '.';
	return err_note(&s->why, ERR_MALFORMED, "not a weft peer: what it sends begins with \"%s\"", text);
}

static enum err begin_handshake(struct session *s, const uint8_t *theirs)
{
	uint8_t prologue[2 * SESSION_GREETING];

	memcpy(prologue, s->initiator ? s->ours : theirs, SESSION_GREETING);
	memcpy(prologue + SESSION_GREETING, s->initiator ? theirs : s->ours, SESSION_GREETING);
	return noise_init(&s->hs,
		&(struct noise_config){ .pattern = NOISE_XXPSK3,
			.aead = NOISE_CHACHAPOLY,
			.initiator = s->initiator,
			.prologue = slice_of(prologue, sizeof prologue),
			.s_sk = s->keys.s_sk,
			.s_pk = s->keys.s_pk,
			.e_sk = s->keys.e_sk,
			.psk = s->keys.psk[0] });
}

static enum err write_handshake(struct session *s, struct wbuf *out)
{
	size_t at = out->len;
	enum err e;

	wbuf_u16(out, 0);
	if (wbuf_end(out) != ERR_OK)
		return wbuf_end(out);
	e = noise_write(&s->hs, slice_of(NULL, 0), out);
	if (e == ERR_MALFORMED)
		return reply(s, SESSION_ALERT_HANDSHAKE, err_note(&s->why, e, "the other end sent a key that cannot be used"));
	if (e == ERR_OK)
		wbuf_patch_u16(out, at, (uint16_t)(out->len - at - LENGTH));
	return e;
}

static enum err on_greeting(struct session *s, struct slice body, struct wbuf *out)
{
	uint8_t lowest = body.p[GREETING_MIN], highest = body.p[GREETING_MAX];
	uint8_t our_lowest = s->ours[GREETING_MIN], our_highest = s->ours[GREETING_MAX];
	enum err e;

	if (memcmp(body.p, magic, sizeof magic) != 0)
		return not_weft(s, body);
	if (lowest > our_highest || highest < our_lowest || lowest > highest)
		return reply(s, SESSION_ALERT_VERSION,
			err_note(&s->why, ERR_VERSION,
				"the other end speaks versions %u-%u of the protocol, we speak %u-%u: upgrade the older one", lowest, highest,
				our_lowest, our_highest));
	e = begin_handshake(s, body.p);
	if (e != ERR_OK)
		return e;
	move(s, SESSION_HANDSHAKE);
	return s->initiator ? write_handshake(s, out) : ERR_OK;
}

/* The third message tells which pre-shared key the initiator has: each of ours is tried on a copy of the handshake. */
static enum err read_proof(struct session *s, struct slice body, struct wbuf *payload)
{
	struct noise_handshake attempt;
	enum err e = ERR_AUTH;

	for (size_t i = 0; i < s->n_psk && e == ERR_AUTH; i++) {
		attempt = s->hs;
		noise_set_psk(&attempt, s->keys.psk[i]);
		e = noise_read(&attempt, body, payload);
		s->psk_used = i;
	}
	s->hs = attempt;
	noise_wipe(&attempt);
	if (e == ERR_AUTH)
		return reply(s, SESSION_ALERT_PASSWORD, err_note(&s->why, e, "the other end has a different password"));
	return e;
}

static enum err on_established(struct session *s, struct wbuf *out)
{
	memcpy(s->remote, noise_remote(&s->hs), SESSION_KEY);
	noise_split(&s->hs, &s->tx, &s->rx);
	noise_wipe(&s->hs);
	sodium_memzero(&s->keys, sizeof s->keys);
	if (s->initiator) {
		move(s, SESSION_CONFIRM);
		return ERR_OK;
	}
	s->proven = true;
	move(s, SESSION_OPEN);

	/* The empty record that tells the initiator. */
	static const uint8_t nothing[1] = { 0 };
	uint8_t *dst;

	wbuf_u16(out, RECORD_MIN);
	dst = wbuf_reserve(out, RECORD_MIN);
	return dst ? noise_seal(&s->tx, slice_of(NULL, 0), slice_of(nothing, sizeof nothing), dst) : wbuf_end(out);
}

static enum err on_handshake(struct session *s, struct slice body, struct wbuf *out)
{
	uint8_t ignored[SESSION_HANDSHAKE_MAX];
	struct wbuf payload;
	enum err e;

	wbuf_fixed(&payload, ignored, sizeof ignored);
	s->handshakes++;
	if (!s->initiator && s->handshakes == 2)
		e = read_proof(s, body, &payload);
	else
		e = noise_read(&s->hs, body, &payload);
	if (e != ERR_OK && s->reply == SESSION_ALERT_NONE)
		return reply(s, SESSION_ALERT_HANDSHAKE,
			err_note(&s->why, ERR_MALFORMED,
				"the other end's handshake cannot be read (%s): "
				"it was altered on its way, or is not weft's",
				err_text(e)));
	if (e != ERR_OK)
		return e;
	if (noise_our_turn(&s->hs))
		e = write_handshake(s, out);
	if (e == ERR_OK && noise_finished(&s->hs))
		e = on_established(s, out);
	return e;
}

static enum err on_alert(struct session *s, uint8_t code)
{
	if (code == SESSION_ALERT_NONE || code >= ALERTS_END)
		return err_note(&s->why, ERR_REFUSED, "the other end refused for a reason we do not know (%u)", code);
	s->alert = (enum session_alert)code;
	return err_note(&s->why, alerts[code].err, "%s", alerts[code].theirs);
}

/* Records */

static enum err on_record(struct session *s, struct slice body, struct slice *msg)
{
	size_t at = s->message.len, n = body.n - NOISE_TAG;
	uint8_t *dst, flags;
	enum err e;

	if (n - 1 > SESSION_MESSAGE_MAX - at)
		return err_note(&s->why, ERR_LIMIT, "the other end sent a message of more than %d bytes", SESSION_MESSAGE_MAX);
	dst = wbuf_reserve(&s->message, n);
	if (!dst)
		return wbuf_end(&s->message);
	e = noise_open(&s->rx, slice_of(NULL, 0), body, dst);
	if (e != ERR_OK)
		return err_note(&s->why, e, "a record was altered, repeated or left out on its way (%s)", err_text(e));
	flags = dst[0];
	n--;
	memmove(dst, dst + 1, n);
	s->message.len--;
	if (flags & ~FLAG_LAST)
		return err_note(&s->why, ERR_MALFORMED, "the other end sent a record with unknown flags (0x%02x)", flags);
	if (s->state == SESSION_CONFIRM) {
		s->proven = true;
		move(s, SESSION_OPEN);
	}
	if ((flags & FLAG_LAST) && s->message.len == 0)
		return err_note(&s->why, ERR_MALFORMED, "the other end sent an empty message");
	if (n > 0)
		s->empties = 0;
	else if (++s->empties > SESSION_EMPTY_MAX)
		return err_note(&s->why, ERR_LIMIT, "the other end sent more than %d empty records", SESSION_EMPTY_MAX);
	if (flags & FLAG_LAST) {
		s->empties = 0;
		s->handed_out = true;
		*msg = wbuf_slice(&s->message);
	}
	return ERR_OK;
}

/* Input */

/* The next `want` bytes in one piece, valid until the next call; {NULL, 0}: not all here yet. */
static enum err collect(struct session *s, struct rbuf *in, size_t want, struct slice *got)
{
	size_t missing = want - s->frame.len, n = rbuf_left(in) < missing ? rbuf_left(in) : missing;
	struct slice piece = rbuf_bytes(in, n);

	*got = slice_of(NULL, 0);
	if (n == want) {
		*got = piece;
		return ERR_OK;
	}
	wbuf_bytes(&s->frame, piece.p, piece.n);
	if (s->frame.failed)
		return wbuf_end(&s->frame);
	if (s->frame.len == want) {
		*got = wbuf_slice(&s->frame);
		s->frame.len = 0; /* the bytes stay until more are gathered */
	}
	return ERR_OK;
}

static enum err on_length(struct session *s, struct slice body)
{
	struct rbuf r;
	uint16_t n;

	rbuf_init(&r, body.p, body.n);
	n = rbuf_u16(&r);
	if (n == SESSION_ALERT_MARK && s->state != SESSION_OPEN) {
		s->alert_follows = true;
		s->want = 1;
		return ERR_OK;
	}
	s->want = n;
	if (s->state == SESSION_HANDSHAKE && (n < 1 || n > SESSION_HANDSHAKE_MAX))
		return reply(s, SESSION_ALERT_HANDSHAKE,
			err_note(&s->why, ERR_MALFORMED, "the other end sent a handshake message of %u bytes", n));
	if (s->state != SESSION_HANDSHAKE && (n < RECORD_MIN || n > SESSION_RECORD_MAX))
		return err_note(&s->why, ERR_MALFORMED, "the other end sent a record of %u bytes", n);
	return ERR_OK;
}

static enum err on_frame(struct session *s, struct slice body, struct wbuf *out, struct slice *msg)
{
	s->want = 0;
	if (s->alert_follows)
		return on_alert(s, body.p[0]);
	if (s->state == SESSION_HANDSHAKE)
		return on_handshake(s, body, out);
	return on_record(s, body, msg);
}

static enum err step(struct session *s, struct rbuf *in, struct wbuf *out, struct slice *msg)
{
	bool greeting = s->state == SESSION_GREETED;
	struct slice got;
	enum err e = collect(s, in, greeting ? SESSION_GREETING : s->want ? s->want : LENGTH, &got);

	if (e != ERR_OK)
		return e;
	/* A stranger may send less than a greeting and wait: say so at the first byte that cannot be one. */
	if (greeting && !got.p && memcmp(s->frame.data, magic, s->frame.len < sizeof magic ? s->frame.len : sizeof magic) != 0)
		return not_weft(s, wbuf_slice(&s->frame));
	if (!got.p)
		return ERR_OK;
	if (greeting)
		return on_greeting(s, got, out);
	return s->want ? on_frame(s, got, out, msg) : on_length(s, got);
}

/* Large buffers are not kept for the next large message, which may never come. */
static void trim(struct wbuf *w)
{
	size_t max = w->max;

	wbuf_reset(w);
	if (w->cap > KEEP_MAX) {
		wbuf_free(w);
		wbuf_grow(w, max);
	}
}

enum err session_input(struct session *s, struct rbuf *in, struct wbuf *out, struct slice *msg)
{
	enum err e = s->error;

	assert(s->state != SESSION_NEW);
	*msg = slice_of(NULL, 0);
	if (s->handed_out) {
		s->handed_out = false;
		trim(&s->message);
		if (s->frame.len == 0)
			trim(&s->frame);
	}
	while (e == ERR_OK && !msg->p && rbuf_left(in) > 0)
		e = step(s, in, out, msg);
	if (e == ERR_OK)
		return ERR_OK;
	rbuf_skip(in, rbuf_left(in));
	return s->state == SESSION_FAILED ? e : give_up(s, e, out);
}

/* Output */

enum err session_send(struct session *s, struct slice msg, struct wbuf *out)
{
	size_t records = (msg.n + SESSION_FRAGMENT_MAX - 1) / SESSION_FRAGMENT_MAX, start = out->len, at = 0;
	struct wbuf w;
	uint8_t *dst;
	enum err e;

	assert(msg.n > 0);
	if (s->state != SESSION_OPEN)
		return s->state == SESSION_FAILED ? s->error : ERR_STATE;
	if (msg.n > SESSION_MESSAGE_MAX)
		return ERR_LIMIT;
	/* All or nothing: numbers of records that were never sent could not be taken back. */
	dst = wbuf_reserve(out, msg.n + records * (LENGTH + RECORD_MIN));
	if (!dst)
		return wbuf_end(out);
	wbuf_fixed(&w, dst, out->len - start);
	for (; at < msg.n; at += SESSION_FRAGMENT_MAX) {
		bool last = msg.n - at <= SESSION_FRAGMENT_MAX;
		size_t n = last ? msg.n - at : SESSION_FRAGMENT_MAX;

		wbuf_u16(&w, (uint16_t)(RECORD_MIN + n));
		dst = wbuf_reserve(&w, RECORD_MIN + n);
		assert(dst);
		dst[0] = last ? FLAG_LAST : 0;
		memcpy(dst + 1, msg.p + at, n);
		e = noise_seal(&s->tx, slice_of(NULL, 0), slice_of(dst, 1 + n), dst);
		if (e != ERR_OK) {
			out->len = start;
			return give_up(s, err_note(&s->why, e, "this link has sent as many records as it may"), out);
		}
	}
	return ERR_OK;
}

/* Reading */

enum session_state session_state(const struct session *s)
{
	return s->state;
}

enum err session_error(const struct session *s)
{
	return s->error;
}

const char *session_error_text(const struct session *s)
{
	return s->why.text;
}

enum session_alert session_alert(const struct session *s)
{
	return s->alert;
}

const uint8_t *session_remote_key(const struct session *s)
{
	return s->proven ? s->remote : NULL;
}

size_t session_psk_used(const struct session *s)
{
	return s->proven ? s->psk_used : 0;
}
