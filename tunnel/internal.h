/* What tunnel.c, tunnel_sessions.c and tunnel_answer.c share. */
#ifndef WEFT_TUNNEL_INTERNAL_H
#define WEFT_TUNNEL_INTERNAL_H

#include "base/bucket.h"
#include "base/heap.h"
#include "base/map.h"
#include "tunnel/handshake.h"
#include "tunnel/tunnel.h"

enum {
	LATE_MS = 10000,     /* how long after its last use by the sender a session still opens */
	RETRY_MAX_MS = 2000, /* a way that comes back with frames waiting is not to stand idle for longer */
	AGAIN_MS = 100,      /* for what there was no memory for */
	CROSS_MS = 2000,     /* sessions begun within this time by both ends are taken for simultaneous */
	COOKIE_SECRET_MS = 120000,
	COOKIE_USE_MS = 115000, /* a little less than it is good for at least */
	CONFIRM_POLL_MS = 100,  /* how often an unconfirmed session is looked at, first … */
	CONFIRM_SLOW_MS = 1000, /* … and from CONFIRM_SOON_MS on */
	CONFIRM_SOON_MS = 3000,
	INITS_PER_S = 100,
	PEER_INITS_BURST = 5,
	PEER_INITS_PER_S = 2,
	SLOTS = 256,     /* of addresses that have proved themselves */
	SLOT_SHARE = 10, /* one of them may use this part of all */
	PSK_MAX = 2,
	NONE = -1,
};
struct session {
	struct seal_keys *keys; /* NULL: no session */
	uint32_t their_index;
	uint64_t made_ms, run;       /* the peer's run */
	uint64_t due_ms;             /* when it is to be renewed if it is in use */
	uint64_t sent_ms;            /* last seen in use; 0: never */
	uint64_t silent_ms;          /* since when nothing came though something was sent; 0: not so */
	uint8_t mac1[HANDSHAKE_MAC]; /* of our RESPONSE */
	bool initiator, confirmed, renew;
	uint64_t peer_number; /* we began it: of the peer's last INIT before its RESPONSE */
	uint64_t init_number; /* the peer began it: of its INIT */
	bool peer_had_none;   /* which said that it had nothing to send with, */
	bool peer_forgot;     /* though it had had what we sent with then */
};

struct attempt {
	struct noise_handshake hs;
	uint64_t sent_ms;
	uint32_t index;
	uint8_t mac1[HANDSHAKE_MAC];
};

struct peer {
	struct heap_node due;
	uint64_t name;
	uint8_t key[NOISE_KEY];
	struct handshake_keys macs;
	struct session s[TUNNEL_SESSIONS_MAX];
	int present;        /* NONE, or which of them */
	uint32_t peer_uses; /* our index of the session that the peer sends with, as far as we know; 0: not known */
	struct attempt *attempt;
	uint64_t want_until_ms, retry_ms, poll_ms;
	unsigned tries;
	uint64_t last_run, last_number; /* of the last INIT that was taken */
	struct bucket inits;
	uint8_t cookie[HANDSHAKE_COOKIE];
	uint64_t cookie_until_ms;
	size_t psk;         /* what RESPONSEs are made with */
	bool unheard;       /* renewed because nothing came back, and still nothing came: once is enough */
	bool cookie_resent; /* this attempt was repeated at once with a cookie */
	bool owed;          /* a KEYS action */
	bool gone;          /* forgotten; there only until nothing is owed */
	bool noted;
};

struct tunnel {
	uint64_t self, run, number, rekey_ms, rekey_datagrams;
	uint8_t secret[NOISE_KEY], public[NOISE_KEY];
	uint8_t psk[PSK_MAX][NOISE_KEY];
	size_t n_psk;
	uint8_t generator[32];
	uint8_t ciphers;
	struct handshake_keys macs; /* of our own key */
	struct map *peers, *index;  /* name → peer; index of a session or attempt → peer */
	struct heap due;
	uint8_t cookie_secret[2][32]; /* present, former */
	uint64_t cookie_secret_ms;    /* when the present one was made; 0: none yet */
	struct bucket unproven, proven, responses, slot[SLOTS];
	struct tunnel_counters counters;
};

/* What is known of a handshake that is done but for its keys. */
struct outcome {
	uint32_t our_index, their_index;
	enum noise_aead aead;
	bool initiator;
	uint64_t made_ms, run;
};

/* Random bytes, at most 64; a number below n (0 when n is 0), for jitter only. */
void tunnel_fresh(struct tunnel *t, void *out, size_t n);
uint64_t tunnel_fresh_below(struct tunnel *t, uint64_t n);
/* Append an action; false: out of memory. tunnel_send: a, with a copy of what w holds. */
bool tunnel_act(struct tunnel_actions *out, const struct tunnel_action *a);
bool tunnel_send(struct tunnel_actions *out, const struct tunnel_action *a, const struct wbuf *w);
/* After whatever happened to p: says that its keys changed, and puts it in its place in the heap. ERR_NOMEM: the first has to wait. */
enum err tunnel_settle(struct tunnel *t, struct peer *p, uint64_t now_ms, struct tunnel_actions *out);

/* tunnel_sessions.c */
struct peer *tunnel_find(const struct tunnel *t, uint64_t name); /* not one that is gone */
struct session *tunnel_present(struct peer *p);                  /* NULL: none, as in the next two */
struct session *tunnel_unconfirmed(struct peer *p);
struct session *tunnel_session_of(struct peer *p, uint32_t index);
uint64_t tunnel_reject_ms(const struct tunnel *t, const struct session *s); /* when s is no longer sent with */
void tunnel_end_session(struct tunnel *t, struct peer *p, struct session *s);
void tunnel_end_attempt(struct tunnel *t, struct peer *p, bool keep); /* keep: its index is a session's now */
void tunnel_end_all(struct tunnel *t, struct peer *p);
/* Keys of a finished handshake, whose index is in t->index already. ERR_NOMEM: nothing has changed. */
enum err tunnel_add_session(struct tunnel *t, struct peer *p, const struct noise_handshake *hs, const struct outcome *o,
	uint64_t now_ms, struct session **out);
/* s is a session that both ends are known to have. The second: one that the peer began, because something came in it. */
void tunnel_established(struct tunnel *t, struct peer *p, struct session *s, bool take_over);
void tunnel_confirmed(struct tunnel *t, struct peer *p, struct session *s, uint64_t now_ms);
uint32_t tunnel_fresh_index(struct tunnel *t);
/* rs: the responder's key when we begin, else NULL. head: what both ends have to have seen alike. */
enum err tunnel_start_noise(struct tunnel *t, struct noise_handshake *hs, const uint8_t *rs, struct slice head);
/* Sends an INIT in place of what was sent before. ERR_NOMEM: it will be tried soon. */
enum err tunnel_begin(struct tunnel *t, struct peer *p, uint64_t now_ms, struct tunnel_actions *out);

/* tunnel_answer.c: frees nothing, sets up the buckets. */
void tunnel_limits(struct tunnel *t, uint32_t inits_per_s);

#endif
