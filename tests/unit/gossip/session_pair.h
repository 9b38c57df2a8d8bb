/* Two sessions and the streams between them. */
#ifndef WEFT_TESTS_UNIT_GOSSIP_SESSION_PAIR_H
#define WEFT_TESTS_UNIT_GOSSIP_SESSION_PAIR_H

#include "tests/unit/base/cmocka_all.h"

#include <sodium.h>
#include <string.h>

#include "base/mem.h"
#include "base/rng.h"
#include "tests/unit/base/seed.h"

/* The module itself, so that records can be crafted with a session's own keys and what it frees can be looked at. */
static inline void watched_free(void *p);
#define mem_free watched_free
#include "gossip/session.c"
#undef mem_free

static size_t sessions_freed;

static inline void watched_free(void *p)
{
	sessions_freed++;
	assert_true(sodium_is_zero(p, sizeof(struct session)));
	mem_free(p);
}

/* One end, and the stream it writes */

enum { STREAM_MAX = 16 << 20 };

struct end {
	struct session *s;
	struct wbuf out;
	size_t taken; /* of out, by the other end */
	size_t messages;
	crypto_generichash_state seen, said;
	bool was[SESSION_FAILED + 1]; /* the states it was in */
};

static uint8_t keys[2][2][SESSION_KEY]; /* [end][secret, public] */
static const uint8_t psk_new[1][SESSION_KEY] = { { 1, 2, 3 } }, psk_old[1][SESSION_KEY] = { { 4, 5, 6 } };
static const uint8_t psk_both[2][SESSION_KEY] = { { 1, 2, 3 }, { 4, 5, 6 } };

static inline struct session_config config(bool initiator, const uint8_t (*psk)[SESSION_KEY], size_t n_psk)
{
	static const uint8_t e_sk[2][SESSION_KEY] = { { 0x50, 1 }, { 0x58, 2 } };

	return (struct session_config){ .initiator = initiator,
		.s_sk = keys[initiator][0],
		.s_pk = keys[initiator][1],
		.e_sk = e_sk[initiator],
		.psk = psk,
		.n_psk = n_psk,
		.version_min = 1,
		.version_max = 1 };
}

static inline enum err end_new(struct end *x, const struct session_config *cfg)
{
	*x = (struct end){ .s = NULL };
	wbuf_grow(&x->out, STREAM_MAX);
	crypto_generichash_init(&x->seen, NULL, 0, 32);
	crypto_generichash_init(&x->said, NULL, 0, 32);
	return session_new(&x->s, cfg);
}

static inline void make(struct end *x, const struct session_config *cfg)
{
	assert_int_equal(end_new(x, cfg), ERR_OK);
	assert_int_equal(session_state(x->s), SESSION_NEW);
	assert_int_equal(session_start(x->s, &x->out), ERR_OK);
	assert_int_equal(session_state(x->s), SESSION_GREETED);
}

static inline void make_pair(struct end *a, struct end *b)
{
	struct session_config ca = config(true, psk_new, 1), cb = config(false, psk_new, 1);

	make(a, &ca);
	make(b, &cb);
}

static inline void end_free(struct end *x)
{
	session_free(x->s);
	wbuf_free(&x->out);
}

static inline void free_pair(struct end *a, struct end *b)
{
	end_free(a);
	end_free(b);
}

static inline enum err feed(struct end *x, struct slice bytes)
{
	struct rbuf in;
	struct slice msg;
	enum err e;

	rbuf_init(&in, bytes.p, bytes.n);
	do {
		e = session_input(x->s, &in, &x->out, &msg);
		x->was[session_state(x->s)] = true;
		assert_int_equal(e, session_error(x->s));
		assert_true((e == ERR_OK) == (session_state(x->s) != SESSION_FAILED));
		assert_true((e == ERR_OK) == (session_error_text(x->s)[0] == '\0'));
		if (msg.p) {
			assert_true(e == ERR_OK && msg.n > 0);
			x->messages++;
			crypto_generichash_update(&x->seen, msg.p, msg.n);
		} else {
			assert_int_equal(rbuf_left(&in), 0);
		}
	} while (rbuf_left(&in) > 0);
	return e;
}

/* At most n bytes from one to the other. */
static inline void carry(struct end *from, struct end *to, size_t n)
{
	uint8_t *exact;

	if (n > from->out.len - from->taken)
		n = from->out.len - from->taken;
	if (n == 0)
		return;
	exact = mem_dup(from->out.data + from->taken, n); /* so that a read beyond its end is seen by the sanitizer */
	assert_non_null(exact);
	(void)feed(to, slice_of(exact, n));
	mem_free(exact);
	from->taken += n;
}

static inline bool idle(const struct end *a, const struct end *b)
{
	return a->taken == a->out.len && b->taken == b->out.len;
}

static inline void settle(struct end *a, struct end *b)
{
	while (!idle(a, b)) {
		carry(a, b, SIZE_MAX);
		carry(b, a, SIZE_MAX);
	}
}

static inline void open_pair(struct end *a, struct end *b)
{
	make_pair(a, b);
	settle(a, b);
	assert_int_equal(session_state(a->s), SESSION_OPEN);
	assert_int_equal(session_state(b->s), SESSION_OPEN);
}

static inline void say(struct end *x, const uint8_t *p, size_t n)
{
	assert_int_equal(session_send(x->s, slice_of(p, n), &x->out), ERR_OK);
	crypto_generichash_update(&x->said, p, n);
}

static inline void assert_heard(struct end *from, struct end *to)
{
	uint8_t said[32], heard[32];

	crypto_generichash_final(&from->said, said, sizeof said);
	crypto_generichash_final(&to->seen, heard, sizeof heard);
	assert_memory_equal(said, heard, sizeof said);
}

static inline bool pairs_init(void)
{
	if (sodium_init() < 0)
		return false;
	for (size_t i = 0; i < 2; i++) {
		memset(keys[i][0], (int)(0x51 + i), SESSION_KEY);
		crypto_scalarmult_base(keys[i][1], keys[i][0]);
	}
	return true;
}

#endif
