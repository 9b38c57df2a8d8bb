/* One link's byte stream: greeting, handshake, then messages. Pure: bytes in and messages out, messages in and bytes out.
 *
 * Both ends greet at once, without waiting. Then three handshake messages of Noise_XXpsk3_25519_ChaChaPoly_BLAKE2b, whose
 * prologue is both greetings (the initiator's first), then records. All numbers are big-endian.
 *
 *   greeting   0        4        5         6          8   Versions of the protocol that this end speaks; the highest that
 *              ┌────────┬────────┬─────────┬──────────┐   both speak is used. Reserved: sent as 0, not looked at, but
 *              │ "weft" │ lowest │ highest │ reserved │   authenticated like the rest.
 *              └────────┴────────┴─────────┴──────────┘
 *   handshake  ┌────────────┬─────────────────────────┐   Length 1 … SESSION_HANDSHAKE_MAX. The payloads inside are empty
 *   message    │ length u16 │ Noise message           │   and not looked at.
 *              └────────────┴─────────────────────────┘
 *   alert      ┌────────────┬─────────┐                   Instead of a handshake message, or of the responder's first
 *              │ 0xFFFF     │ code u8 │                   record: "I give up, and this is why". Not authenticated, so no
 *              └────────────┴─────────┘                   more than a hint.
 *   record     ┌────────────┬─────────────────────────┐   Length 17 … SESSION_RECORD_MAX. Sealed with the direction's key
 *              │ length u16 │ sealed: flags u8, bytes │   and the record's number. The bytes are a piece of a message; flag
 *              └────────────┴─────────────────────────┘   bit 0: it ends here; other bits are 0. Neither: means nothing.
 *
 * Who knows what, when. The responder is sure of the other end's key and password after the third message and says so with an
 * empty record. Only that record (or any other) tells the initiator that the responder has the password too: until then the
 * initiator says nothing more. */
#ifndef WEFT_GOSSIP_SESSION_H
#define WEFT_GOSSIP_SESSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

#define SESSION_KEY           32
#define SESSION_VERSION_MIN   1 /* of the protocol, what this program speaks */
#define SESSION_VERSION_MAX   1
#define SESSION_PSK_MAX       2 /* pre-shared keys an end accepts (while passwords are changed) */
#define SESSION_GREETING      8
#define SESSION_HANDSHAKE_MAX 256   /* bytes of a handshake message */
#define SESSION_RECORD_MAX    16384 /* bytes of a sealed record */
#define SESSION_FRAGMENT_MAX  (SESSION_RECORD_MAX - 17)
#define SESSION_MESSAGE_MAX   (4 << 20) /* bytes of a message */
#define SESSION_EMPTY_MAX     16        /* empty records in a row */
#define SESSION_ALERT_MARK    0xffff

enum session_state {
	SESSION_NEW,
	SESSION_GREETED, /* ours is sent, waiting for theirs */
	SESSION_HANDSHAKE,
	SESSION_CONFIRM, /* initiator only: all said, waiting for proof that the responder knows the password */
	SESSION_OPEN,    /* the other end is authenticated; messages flow */
	SESSION_FAILED,  /* for ever; input is ignored */
};

/* On the wire as codes; never re-used. */
enum session_alert {
	SESSION_ALERT_NONE = 0,
	SESSION_ALERT_PASSWORD = 1,
	SESSION_ALERT_VERSION = 2,
	SESSION_ALERT_BUSY = 3,
	SESSION_ALERT_SELF = 4,
	SESSION_ALERT_DUPLICATE = 5,
	SESSION_ALERT_INTERNAL = 6,
	SESSION_ALERT_HANDSHAKE = 7,
};

/* Everything is copied. */
struct session_config {
	bool initiator;
	const uint8_t *s_sk, *s_pk;        /* our static X25519 pair */
	const uint8_t *e_sk;               /* 32 fresh random bytes, for this session only */
	const uint8_t (*psk)[SESSION_KEY]; /* the initiator uses [0]; the responder accepts any. No password: all zeros */
	size_t n_psk;                      /* 1 … SESSION_PSK_MAX */
	uint8_t version_min, version_max;  /* SESSION_VERSION_MIN and _MAX, but for tests */
};

struct session;

/* ERR_NOMEM. A session that is not open yet takes less than 2 KiB. */
enum err session_new(struct session **out, const struct session_config *cfg) MUST_CHECK;
void session_free(struct session *s); /* zeroes its secrets; takes NULL */

/* The first call, once: appends what is to be sent on connecting. ERR_NOMEM, ERR_LIMIT: out cannot take it; the session has
 * failed. */
enum err session_start(struct session *s, struct wbuf *out) MUST_CHECK;

/* Takes bytes as they come, cut anyhow, until `in` is used up or a message is complete; appends to `out` what is to be sent
 * now. Call it again while bytes are left. *msg is that message (never empty; memory of the session, until the next
 * session_input() or session_free()) or {NULL, 0}. An error is final and is given again by every call: `in` is consumed, send what `out` holds and close. What it
 * was: session_error(). */
enum err session_input(struct session *s, struct rbuf *in, struct wbuf *out, struct slice *msg) MUST_CHECK;

/* Appends the records of one message of at least 1 byte. ERR_STATE: not open; ERR_LIMIT: over SESSION_MESSAGE_MAX, or more
 * than `out` may hold; ERR_NOMEM; in all these cases nothing was appended and the session goes on. A session that has failed
 * gives its error. */
enum err session_send(struct session *s, struct slice msg, struct wbuf *out) MUST_CHECK;

/* Gives up for a reason of ours. Until the handshake is over the other end is told so by an alert appended to `out` (after the
 * greeting, if that was not yet sent); afterwards nothing is appended: say it by a message before. */
void session_refuse(struct session *s, enum session_alert reason, struct wbuf *out);
/* The stream has ended. The session has failed after this; gives what session_error() gives: ERR_CLOSED, ERR_TRUNCATED (in the
 * middle of a message) or the earlier error. */
enum err session_eof(struct session *s) MUST_CHECK;

enum session_state session_state(const struct session *s);
/* Why it failed: ERR_MALFORMED (no weft peer, or broken), ERR_VERSION, ERR_AUTH (password, or altered bytes), ERR_LIMIT,
 * ERR_NOMEM, ERR_CLOSED, ERR_TRUNCATED; ERR_BUSY, ERR_SELF, ERR_DUPLICATE, ERR_REFUSED (what an alert says); ERR_OK while it
 * has not. */
enum err session_error(const struct session *s);
const char *session_error_text(const struct session *s); /* one line for a person; "" while it has not failed */
/* The alert that was sent or received, for counters. */
enum session_alert session_alert(const struct session *s);

/* Known once it has been open, and from then on: the other end's static key, and which of our pre-shared keys it was. */
const uint8_t *session_remote_key(const struct session *s); /* NULL before */
size_t session_psk_used(const struct session *s);           /* 0 before */

#endif
