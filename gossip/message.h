/* What peers say to each other over a link: one table of messages, one encoder and one decoder.
 *
 *     +------+----------------------------------------------+
 *     | u8   | body, to the end of the message              |      a message is one unit of session.h, sealed there
 *     | type | (unknown type: skipped and counted)          |
 *     +------+----------------------------------------------+
 *
 * Numbers are big-endian. Bytes after the fields known here are skipped in every message whose last field has a length of its own, so
 * that newer peers can say more; HELLO is a list of (varint type, lv value) of which unknown ones are skipped. docs/wire.md
 * draws each of them. */
#ifndef WEFT_GOSSIP_MESSAGE_H
#define WEFT_GOSSIP_MESSAGE_H

#include "base/addr.h"
#include "base/buf.h"
#include "base/err.h"
#include "gossip/gossip.h"

#define MESSAGE_PROTOCOL   1                 /* of what is said over a link; both ends speak the lower of their two */
#define MESSAGE_MAX        ((1u << 20) + 64) /* bytes, type included */
#define MESSAGE_DELTA_MAX  (256u << 10)      /* bytes of items put into one delta by us */
#define MESSAGE_TEXT_MAX   160               /* bytes of words for a person */
#define MESSAGE_FIELDS_MAX 64                /* fields in a HELLO */

enum message_type { /* on the wire; never re-used; below 32 */
	MESSAGE_HELLO = 1,
	MESSAGE_PING = 2,
	MESSAGE_PONG = 3,
	MESSAGE_DELTA = 4,
	MESSAGE_RECON = 5,
	MESSAGE_UNICAST = 6,
	MESSAGE_BYE = 7,
	MESSAGE_CONTEST = 8,
	MESSAGE_WANT = 9,
};

enum bye_reason { /* on the wire; never re-used. Unknown ones are taken as BYE_OTHER */
	BYE_OTHER = 0,
	BYE_STOPPING = 1,
	BYE_DUPLICATE = 2,      /* another link between the same two is kept */
	BYE_DUPLICATE_NAME = 3, /* someone else has your name: address says who */
	BYE_SELF = 4,
	BYE_LIMIT = 5, /* address: somebody else to try */
	BYE_MALFORMED = 6,
	BYE_VERSION = 7,
	BYE_TIMEOUT = 8,
	BYE_SURPLUS = 9,
	BYE_REASONS
};
const char *gossip_bye_reason_text(enum bye_reason r);

struct message_hello {
	uint64_t name, incarnation, uid;
	uint64_t dial_seq; /* of the dialler; 0 from the other end */
	uint16_t port, protocol;
	uint8_t sign_key[32];
	struct slice nickname, version;
	uint8_t worth; /* of the link to the sender: enum worth */
};
struct message_ping { /* PONG gives both back. One with id 0 answers nothing: a sign of life */
	uint64_t id, time_ms;
};
struct message_state { /* DELTA, RECON */
	uint8_t channel;
	struct slice body; /* crdt/delta.h, crdt/recon.h */
};
struct message_unicast {
	uint64_t from, to;
	uint8_t hops, kind; /* hops left */
	struct slice payload;
	bool is_signed; /* what is relayed: number of the sender's run and of the message in it, and the sender's signature */
	uint64_t uid, serial;
	uint8_t signature[CRDT_SIGNATURE];
};
struct message_bye {
	enum bye_reason reason;
	struct hostport address; /* family 0: none */
	struct slice text;
};
/* What a link is worth to one of its ends. Where there is no room for all, the lowest go first. */
enum worth { /* on the wire; never re-used. Higher ones are taken as WORTH_BOUND */
	WORTH_NONE = 0,
	WORTH_WANTED = 1,
	WORTH_BOUND = 2, /* the next on the ring, or the operator named it */
};
struct message_want {
	uint8_t worth; /* of this link to the sender: enum worth */
};
struct
	message_contest { /* "someone with this key says he is `name`": flooded; whoever has that name and another uid is contested */
	uint64_t name, uid, incarnation;
	uint8_t key[32];
	struct hostport address;
	uint8_t hops;
	/* Who says so, and its signature, as of a unicast to that name. */
	uint64_t reporter, reporter_uid, serial;
	uint8_t signature[64];
};

struct message {
	enum message_type type;
	union {
		struct message_hello hello;
		struct message_ping ping; /* PING and PONG */
		struct message_state state;
		struct message_unicast unicast;
		struct message_bye bye;
		struct message_contest contest;
		struct message_want want;
	} u;
};

struct message_row {
	enum message_type type;
	const char *name;
	size_t max_bytes; /* of the body */
	bool early;       /* allowed before HELLO */
	void (*encode)(struct wbuf *w, const struct message *m);
	void (*decode)(struct rbuf *r, struct message *m);
};
void gossip_hostport_encode(struct wbuf *w, struct hostport h);
const struct message_row *gossip_message_row(uint8_t type); /* NULL: unknown */

/* Appends the message. ERR_NOMEM, ERR_LIMIT. */
enum err gossip_message_encode(struct wbuf *w, const struct message *m) MUST_CHECK;
/* Slices point into the input. ERR_UNSUPPORTED: unknown type (skip it); ERR_LIMIT: longer than its row allows; ERR_TRUNCATED,
 * ERR_MALFORMED. */
enum err gossip_message_decode(struct slice in, struct message *m) MUST_CHECK;

#endif
