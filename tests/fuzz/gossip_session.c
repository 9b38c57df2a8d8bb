/* Sessions with fixed keys, so that stored inputs can be whole handshakes. The first byte chooses what the rest is:
 *
 *   0, 1   the bytes that a responder, an initiator hears
 *   2      plaintexts of records (u16 length, bytes) from a peer that has the password, against a model of reassembly
 *   3      edits (end u8, offset u16, mask u8) of the streams between two sessions: what both take for open must be the same
 *          handshake, and what one hears must be a prefix of what the other said
 *
 * and the second byte how the stream is cut. */
#include <assert.h>
#include <sodium.h>
#include <stdint.h>
#include <string.h>

#include "base/mem.h"
#include "noise/noise.h"
#include "gossip/session.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { OUT_MAX = 1 << 20, EDITS_MAX = 8 };

static const uint8_t psk[SESSION_PSK_MAX][SESSION_KEY] = { { 1 }, { 2 } };

struct keys {
	uint8_t sk[SESSION_KEY], pk[SESSION_KEY], e_sk[SESSION_KEY];
};

static void keys_of(struct keys *k, bool initiator)
{
	memset(k->sk, initiator ? 0x28 : 0x30, sizeof k->sk);
	memset(k->e_sk, initiator ? 0x48 : 0x50, sizeof k->e_sk);
	crypto_scalarmult_base(k->pk, k->sk);
}

struct end {
	struct session *s;
	struct wbuf out, heard;
	size_t taken, messages;
	bool failed;
};

static void end_init(struct end *x, bool initiator)
{
	struct keys k;
	enum err e;

	keys_of(&k, initiator);
	*x = (struct end){ .s = NULL };
	wbuf_grow(&x->out, OUT_MAX);
	wbuf_grow(&x->heard, SESSION_MESSAGE_MAX);
	e = session_new(&x->s,
		&(struct session_config){ .initiator = initiator,
			.s_sk = k.sk,
			.s_pk = k.pk,
			.e_sk = k.e_sk,
			.psk = psk,
			.n_psk = initiator ? 1 : 2,
			.version_min = 1,
			.version_max = 2 });
	assert(e == ERR_OK);
	e = session_start(x->s, &x->out);
	assert(e == ERR_OK);
}

static void end_free(struct end *x)
{
	session_free(x->s);
	wbuf_free(&x->out);
	wbuf_free(&x->heard);
}

static void feed(struct end *x, const uint8_t *p, size_t n, size_t cut)
{
	for (size_t at = 0; at < n; at += cut) {
		struct rbuf in;
		struct slice msg;
		enum err e;

		rbuf_init(&in, p + at, n - at < cut ? n - at : cut);
		do {
			e = session_input(x->s, &in, &x->out, &msg);
			assert(!x->failed || e == session_error(x->s));
			assert((e != ERR_OK) == (session_state(x->s) == SESSION_FAILED));
			assert((session_remote_key(x->s) != NULL) >= (session_state(x->s) == SESSION_OPEN));
			assert(msg.p ? msg.n > 0 && msg.n <= SESSION_MESSAGE_MAX && e == ERR_OK : rbuf_left(&in) == 0);
			x->failed = e != ERR_OK;
			if (msg.p) {
				x->messages++;
				wbuf_bytes(&x->heard, msg.p, msg.n);
			}
		} while (rbuf_left(&in) > 0);
	}
}

static void raw(bool initiator, const uint8_t *data, size_t size, size_t cut)
{
	struct end x;
	enum err e;

	end_init(&x, initiator);
	feed(&x, data, size, cut);
	e = session_eof(x.s);
	assert(e != ERR_OK);
	assert(session_error_text(x.s)[0] != '\0');
	end_free(&x);
}

/* Opens x, a responder, by a handshake of our own; gives what our records are sealed with. */
static void open_by_hand(struct end *x, struct noise_cipher *tx)
{
	static const char greetings[] = "weft\1\1\0\0weft\1\2\0\0";
	struct noise_handshake hs;
	struct noise_cipher rx;
	struct wbuf w, none;
	struct keys k;
	uint8_t mem[256];
	enum err e;

	keys_of(&k, true);
	e = noise_init(&hs,
		&(struct noise_config){ .pattern = NOISE_XXPSK3,
			.initiator = true,
			.prologue = slice_of(greetings, 16),
			.s_sk = k.sk,
			.s_pk = k.pk,
			.e_sk = k.e_sk,
			.psk = psk[1] });
	assert(e == ERR_OK);
	wbuf_fixed(&none, NULL, 0);
	feed(x, (const uint8_t *)greetings, 8, 8);
	for (int i = 0; i < 2; i++) {
		wbuf_fixed(&w, mem, sizeof mem);
		wbuf_u16(&w, 0);
		e = noise_write(&hs, slice_of(NULL, 0), &w);
		assert(e == ERR_OK);
		wbuf_patch_u16(&w, 0, (uint16_t)(w.len - 2));
		feed(x, mem, w.len, SIZE_MAX / 2);
		if (i == 0) {
			e = noise_read(&hs, slice_of(x->out.data + 10, x->out.len - 10), &none);
			assert(e == ERR_OK);
		}
	}
	assert(session_state(x->s) == SESSION_OPEN && session_psk_used(x->s) == 1);
	noise_split(&hs, tx, &rx);
	noise_wipe(&hs);
}

static void records(const uint8_t *data, size_t size, size_t cut)
{
	static uint8_t sealed[2 + SESSION_RECORD_MAX + 1];
	size_t pending = 0, messages = 0, empties = 0, bytes = 0;
	enum err e, want = ERR_OK;
	struct noise_cipher tx;
	struct rbuf r;
	struct end x;

	end_init(&x, false);
	open_by_hand(&x, &tx);
	rbuf_init(&r, data, size);
	while (rbuf_left(&r) >= 2 && want == ERR_OK) {
		size_t n = rbuf_u16(&r) % (SESSION_FRAGMENT_MAX + 3);
		struct slice plain = rbuf_bytes(&r, n < rbuf_left(&r) ? n : rbuf_left(&r));
		struct wbuf w;
		uint8_t *dst;

		wbuf_fixed(&w, sealed, sizeof sealed);
		wbuf_u16(&w, (uint16_t)(plain.n + NOISE_TAG));
		dst = wbuf_reserve(&w, plain.n + NOISE_TAG);
		assert(dst);
		e = noise_seal(&tx, slice_of(NULL, 0), plain, dst);
		assert(e == ERR_OK);
		feed(&x, sealed, w.len, cut);

		bool last = plain.n > 0 && plain.p[0] == 1;
		if (plain.n == 0 || plain.n - 1 > SESSION_FRAGMENT_MAX || plain.p[0] > 1 || (last && plain.n == 1 && pending == 0))
			want = ERR_MALFORMED;
		else if (plain.n == 1 && empties == SESSION_EMPTY_MAX)
			want = ERR_LIMIT;
		if (want != ERR_OK)
			break;
		empties = last || plain.n > 1 ? 0 : empties + 1;
		pending += plain.n - 1;
		if (last) {
			messages++;
			bytes += pending;
			pending = 0;
		}
	}
	assert(session_error(x.s) == want);
	assert(x.messages == messages && x.heard.len == bytes);
	end_free(&x);
}

static void edits(const uint8_t *data, size_t size, size_t cut)
{
	static const uint8_t words[] = "what the one says is what the other hears";
	bool said[2] = { false, false }, moved = true;
	struct end e[2];
	enum err err;

	end_init(&e[0], true);
	end_init(&e[1], false);
	while (moved) {
		moved = false;
		for (size_t i = 0; i < 2; i++) {
			struct end *from = &e[i], *to = &e[1 - i];
			struct rbuf r;
			size_t start = from->taken;

			if (session_state(from->s) == SESSION_OPEN && !said[i]) {
				said[i] = true;
				err = session_send(from->s, slice_of(words, sizeof words), &from->out);
				assert(err == ERR_OK);
			}
			if (from->out.len == start)
				continue;
			rbuf_init(&r, data, size);
			for (size_t k = 0; k < EDITS_MAX && rbuf_left(&r) >= 4; k++) {
				size_t who = rbuf_u8(&r) % 2, at = rbuf_u16(&r);
				uint8_t mask = rbuf_u8(&r);

				if (who == i && at >= start && at < from->out.len)
					from->out.data[at] = (uint8_t)(from->out.data[at] ^ mask);
			}
			from->taken = from->out.len;
			feed(to, from->out.data + start, from->out.len - start, cut);
			moved = true;
		}
	}
	for (size_t i = 0; i < 2; i++) {
		assert(e[i].heard.len <= sizeof words);
		assert(e[i].heard.len == 0 || memcmp(e[i].heard.data, words, e[i].heard.len) == 0);
	}
	end_free(&e[0]);
	end_free(&e[1]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t cut;

	if (sodium_init() < 0 || size < 2)
		return 0;
	cut = data[1] == 0 ? SIZE_MAX / 2 : data[1];
	switch (data[0] & 3) {
	case 0: raw(false, data + 2, size - 2, cut); break;
	case 1: raw(true, data + 2, size - 2, cut); break;
	case 2: records(data + 2, size - 2, cut); break;
	default: edits(data + 2, size - 2, cut); break;
	}
	return 0;
}
