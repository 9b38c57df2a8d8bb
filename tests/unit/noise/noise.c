/* Noise: the published vectors, and what must be refused. */
#include "tests/unit/base/cmocka_all.h"

#include <jansson.h>
#include <sodium.h>
#include <string.h>

#include "base/mem.h"
#include "noise/noise.h"

#define VECTORS WEFT_GOLDEN "/noise-vectors.json"

struct bytes {
	uint8_t p[512];
	size_t n;
};

static struct bytes unhex(const char *hex)
{
	struct bytes b = { .n = 0 };

	assert_non_null(hex);
	assert_int_equal(sodium_hex2bin(b.p, sizeof b.p, hex, strlen(hex), NULL, &b.n, NULL), 0);
	assert_int_equal(b.n * 2, strlen(hex));
	return b;
}

static struct slice of(const struct bytes *b)
{
	return slice_of(b->p, b->n);
}

static void assert_bytes(struct slice got, const struct bytes *want)
{
	assert_int_equal(got.n, want->n);
	assert_memory_equal(got.p, want->p, want->n);
}

static const struct {
	const char *name;
	enum noise_pattern pattern;
	enum noise_aead aead;
} protocols[] = {
	{ "Noise_XX_25519_ChaChaPoly_BLAKE2b", NOISE_XX, NOISE_CHACHAPOLY },
	{ "Noise_XXpsk3_25519_ChaChaPoly_BLAKE2b", NOISE_XXPSK3, NOISE_CHACHAPOLY },
	{ "Noise_IK_25519_ChaChaPoly_BLAKE2b", NOISE_IK, NOISE_CHACHAPOLY },
	{ "Noise_IKpsk2_25519_ChaChaPoly_BLAKE2b", NOISE_IKPSK2, NOISE_CHACHAPOLY },
	{ "Noise_IKpsk2_25519_AESGCM_BLAKE2b", NOISE_IKPSK2, NOISE_AESGCM },
};
enum { PROTOCOLS = sizeof protocols / sizeof protocols[0] };

/* The vectors */

static struct bytes field(const json_t *v, const char *side, const char *what)
{
	char key[64];

	snprintf(key, sizeof key, "%s_%s", side, what);
	return unhex(json_string_value(json_object_get(v, key)));
}

static void start_side(struct noise_handshake *hs, const json_t *v, size_t protocol, bool initiator)
{
	const char *side = initiator ? "init" : "resp";
	struct bytes prologue = field(v, side, "prologue"), s = field(v, side, "static"), e = field(v, side, "ephemeral"), rs, psk;
	const json_t *psks = json_object_get(v, initiator ? "init_psks" : "resp_psks");
	bool has_rs = json_object_get(v, initiator ? "init_remote_static" : "resp_remote_static") != NULL;
	uint8_t s_pk[NOISE_KEY];

	if (has_rs)
		rs = field(v, side, "remote_static");
	if (psks) {
		assert_int_equal(json_array_size(psks), 1);
		psk = unhex(json_string_value(json_array_get(psks, 0)));
	}
	assert_int_equal(s.n, NOISE_KEY);
	assert_int_equal(e.n, NOISE_KEY);
	crypto_scalarmult_base(s_pk, s.p);
	assert_int_equal(noise_init(hs,
						 &(struct noise_config){ .pattern = protocols[protocol].pattern,
							 .aead = protocols[protocol].aead,
							 .initiator = initiator,
							 .prologue = of(&prologue),
							 .s_sk = s.p,
							 .s_pk = s_pk,
							 .e_sk = e.p,
							 .rs = has_rs ? rs.p : NULL,
							 .psk = psks ? psk.p : NULL }),
		ERR_OK);
}

static void one_vector(const json_t *v, size_t protocol)
{
	const json_t *messages = json_object_get(v, "messages");
	struct noise_handshake hs[2];
	struct noise_cipher tx[2], rx[2];
	struct bytes want_hash = unhex(json_string_value(json_object_get(v, "handshake_hash")));
	size_t split = 0;

	start_side(&hs[0], v, protocol, true);
	start_side(&hs[1], v, protocol, false);
	for (size_t i = 0; i < json_array_size(messages); i++) {
		const json_t *m = json_array_get(messages, i);
		struct bytes payload = unhex(json_string_value(json_object_get(m, "payload")));
		struct bytes want = unhex(json_string_value(json_object_get(m, "ciphertext")));
		uint8_t wire[512], plain[512];
		struct wbuf out, in;
		size_t from = i % 2, to = 1 - from;

		wbuf_fixed(&out, wire, sizeof wire);
		wbuf_fixed(&in, plain, sizeof plain);
		if (!noise_finished(&hs[0])) {
			assert_true(noise_our_turn(&hs[from]));
			assert_false(noise_our_turn(&hs[to]));
			assert_int_equal(noise_write(&hs[from], of(&payload), &out), ERR_OK);
			assert_bytes(wbuf_slice(&out), &want);
			assert_int_equal(noise_read(&hs[to], wbuf_slice(&out), &in), ERR_OK);
			assert_bytes(wbuf_slice(&in), &payload);
			continue;
		}
		for (size_t k = 0; split < 2 && k < 2; k++, split++) {
			assert_true(noise_finished(&hs[k]));
			noise_split(&hs[k], &tx[k], &rx[k]);
			assert_bytes(slice_of(noise_hash(&hs[k]), NOISE_HASH), &want_hash);
			assert_memory_equal(noise_remote(&hs[k]), hs[1 - k].s_pk, NOISE_KEY);
		}
		assert_int_equal(noise_seal(&tx[from], slice_of(NULL, 0), of(&payload), wire), ERR_OK);
		assert_bytes(slice_of(wire, payload.n + NOISE_TAG), &want);
		assert_int_equal(noise_open(&rx[to], slice_of(NULL, 0), of(&want), wire), ERR_OK);
		assert_bytes(slice_of(wire, payload.n), &payload);
	}
	assert_int_equal(split, 2);
}

static void published_vectors(void **state)
{
	json_error_t why;
	json_t *doc = json_load_file(VECTORS, 0, &why);
	size_t done[PROTOCOLS] = { 0 };

	(void)state;
	if (!doc)
		fail_msg("cannot read the vectors: %s: %s", VECTORS, why.text);
	const json_t *vectors = json_object_get(doc, "vectors");
	assert_true(json_array_size(vectors) > 0);
	for (size_t i = 0; i < json_array_size(vectors); i++) {
		const json_t *v = json_array_get(vectors, i);
		const char *name = json_string_value(json_object_get(v, "protocol_name"));
		size_t k = 0;

		while (k < PROTOCOLS && strcmp(name, protocols[k].name) != 0)
			k++;
		if (k == PROTOCOLS)
			fail_msg("no such protocol here: %s", name);
		done[k]++;
		if (noise_supported(protocols[k].aead))
			one_vector(v, k);
		else
			print_message("%s: left out, this processor cannot\n", name);
	}
	for (size_t k = 0; k < PROTOCOLS; k++)
		assert_int_equal(done[k], 1);
	json_decref(doc);
}

/* Pairs of our own */

enum { KEY_INITIATOR = 1, KEY_RESPONDER, KEY_E_INITIATOR, KEY_E_RESPONDER };

struct pair {
	struct noise_handshake a, b;
};

static void make_key(uint8_t sk[NOISE_KEY], uint8_t pk[NOISE_KEY], uint8_t fill)
{
	memset(sk, fill, NOISE_KEY);
	crypto_scalarmult_base(pk, sk);
}

static bool is_psk(enum noise_pattern p)
{
	return p == NOISE_XXPSK3 || p == NOISE_IKPSK2;
}

static void make_pair(struct pair *p, enum noise_pattern pattern, const char *prologue_b, uint8_t psk_b)
{
	uint8_t sk[2][NOISE_KEY], pk[2][NOISE_KEY], e[NOISE_KEY], psk[NOISE_KEY];
	bool ik = pattern == NOISE_IK || pattern == NOISE_IKPSK2;

	make_key(sk[0], pk[0], KEY_INITIATOR);
	make_key(sk[1], pk[1], KEY_RESPONDER);
	memset(psk, 9, sizeof psk);
	memset(e, KEY_E_INITIATOR, sizeof e);
	assert_int_equal(noise_init(&p->a,
						 &(struct noise_config){ .pattern = pattern,
							 .initiator = true,
							 .prologue = slice_str("same"),
							 .s_sk = sk[0],
							 .s_pk = pk[0],
							 .e_sk = e,
							 .rs = ik ? pk[1] : NULL,
							 .psk = is_psk(pattern) ? psk : NULL }),
		ERR_OK);
	memset(e, KEY_E_RESPONDER, sizeof e);
	assert_int_equal(noise_init(&p->b,
						 &(struct noise_config){
							 .pattern = pattern, .prologue = slice_str(prologue_b), .s_sk = sk[1], .s_pk = pk[1], .e_sk = e }),
		ERR_OK);
	if (is_psk(pattern)) {
		memset(psk, psk_b, sizeof psk);
		noise_set_psk(&p->b, psk);
	}
}

/* Runs it, message `touch` with one bit changed; gives the first error. */
static enum err run(struct pair *p, size_t touch, size_t bit, size_t *len)
{
	enum err e = ERR_OK;

	for (size_t i = 0; e == ERR_OK && !(noise_finished(&p->a) && noise_finished(&p->b)); i++) {
		struct noise_handshake *from = i % 2 ? &p->b : &p->a, *to = i % 2 ? &p->a : &p->b;
		uint8_t wire[256], plain[64];
		struct wbuf out, in;

		wbuf_fixed(&out, wire, sizeof wire);
		wbuf_fixed(&in, plain, sizeof plain);
		assert_int_equal(noise_write(from, slice_str("hello"), &out), ERR_OK);
		if (i == touch) {
			*len = out.len;
			wire[bit / 8] = (uint8_t)(wire[bit / 8] ^ 1u << bit % 8);
		}
		e = noise_read(to, wbuf_slice(&out), &in);
		if (e == ERR_OK) {
			assert_int_equal(in.len, 5);
		} else {
			assert_int_equal(in.len, 0);
			assert_int_equal(noise_read(to, wbuf_slice(&out), &in), ERR_STATE);
			assert_int_equal(noise_write(to, slice_str(""), &out), ERR_STATE);
			assert_false(noise_finished(to));
		}
	}
	return e;
}

static void disagreements(void **state)
{
	static const enum noise_pattern all[] = { NOISE_XX, NOISE_XXPSK3, NOISE_IK, NOISE_IKPSK2 };

	(void)state;
	for (size_t i = 0; i < 4; i++) {
		struct pair p;
		size_t len;

		make_pair(&p, all[i], "same", 9);
		assert_int_equal(run(&p, SIZE_MAX, 0, &len), ERR_OK);
		assert_memory_equal(noise_hash(&p.a), noise_hash(&p.b), NOISE_HASH);
		make_pair(&p, all[i], "other", 9);
		assert_int_equal(run(&p, SIZE_MAX, 0, &len), ERR_AUTH);
		if (is_psk(all[i])) {
			make_pair(&p, all[i], "same", 8);
			assert_int_equal(run(&p, SIZE_MAX, 0, &len), ERR_AUTH);
		}
	}
}

/* A bit of an ephemeral key may change nothing but the hash (the top bit is masked): that too must be found out. In XX the
 * payload of the first message is in the clear, so the change shows in the second. */
static void every_bit_counts(void **state)
{
	static const enum noise_pattern all[] = { NOISE_XX, NOISE_XXPSK3, NOISE_IK, NOISE_IKPSK2 };

	(void)state;
	for (size_t i = 0; i < 4; i++) {
		size_t messages = i < 2 ? 3 : 2;

		for (size_t m = 0; m < messages; m++) {
			size_t len = 1;

			/* Every byte, one bit of it in turn. */
			for (size_t byte = 0; byte < len; byte++) {
				struct pair p;

				make_pair(&p, all[i], "same", 9);
				assert_int_not_equal(run(&p, m, byte * 8 + (byte + 7) % 8, &len), ERR_OK);
			}
			assert_true(len > 5 + NOISE_TAG);
		}
	}
}

static void every_truncation(void **state)
{
	size_t len = 256;

	(void)state;
	for (size_t keep = 0; keep < len; keep++) {
		struct pair p;
		uint8_t wire[256], plain[64];
		struct wbuf out, in;
		enum err e;

		make_pair(&p, NOISE_IKPSK2, "same", 9);
		wbuf_fixed(&out, wire, sizeof wire);
		wbuf_fixed(&in, plain, sizeof plain);
		assert_int_equal(noise_write(&p.a, slice_str("hello"), &out), ERR_OK);
		len = out.len;
		e = noise_read(&p.b, slice_of(wire, keep), &in);
		assert_true(keep < len - 5 ? e == ERR_TRUNCATED : e == ERR_AUTH);
		assert_int_equal(in.len, 0);
	}
	assert_int_equal(len, 32 + 48 + 5 + 16);
}

/* Points whose product with any secret is known to everyone. */
static void small_order(void **state)
{
	static const char *const points[] = {
		"0000000000000000000000000000000000000000000000000000000000000000",
		"0100000000000000000000000000000000000000000000000000000000000000",
		"e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
		"5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
		"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	};

	(void)state;
	for (size_t i = 0; i < sizeof points / sizeof points[0]; i++) {
		struct bytes point = unhex(points[i]);
		uint8_t sk[NOISE_KEY], pk[NOISE_KEY], wire[256];
		struct noise_handshake hs;
		struct wbuf out;
		struct pair p;

		make_pair(&p, NOISE_XX, "same", 0);
		wbuf_fixed(&out, wire, sizeof wire);
		assert_int_equal(noise_read(&p.b, of(&point), &out), ERR_OK);
		assert_int_equal(noise_write(&p.b, slice_str(""), &out), ERR_MALFORMED);

		make_key(sk, pk, KEY_INITIATOR);
		assert_int_equal(noise_init(&hs,
							 &(struct noise_config){
								 .pattern = NOISE_IK, .initiator = true, .s_sk = sk, .s_pk = pk, .e_sk = sk, .rs = point.p }),
			ERR_OK);
		wbuf_reset(&out);
		assert_int_equal(noise_write(&hs, slice_str(""), &out), ERR_MALFORMED);
		assert_int_equal(noise_write(&hs, slice_str(""), &out), ERR_STATE);
	}
}

static void ciphers(void **state)
{
	(void)state;
	for (enum noise_aead aead = NOISE_CHACHAPOLY; aead <= NOISE_AESGCM; aead++) {
		struct noise_cipher tx = { .aead = aead, .nonce = 0x0102030405060708 }, rx;
		uint8_t buf[32 + NOISE_TAG], copy[sizeof buf];

		if (!noise_supported(aead))
			continue;
		memset(tx.key, 7, sizeof tx.key);
		rx = tx;
		memset(buf, 1, sizeof buf);
		assert_int_equal(noise_seal(&tx, slice_str("ad"), slice_of(buf, 32), buf), ERR_OK);
		memcpy(copy, buf, sizeof copy);
		for (size_t i = 0; i < sizeof buf; i++) {
			uint8_t none[sizeof buf] = { 0 }, dst[sizeof buf];

			memset(dst, 0, sizeof dst);
			copy[i] = (uint8_t)(copy[i] ^ 0x10);
			assert_int_equal(noise_open(&rx, slice_str("ad"), slice_of(copy, sizeof copy), dst), ERR_AUTH);
			assert_memory_equal(dst, none, 32);
			copy[i] = buf[i];
		}
		assert_int_equal(noise_open(&rx, slice_str("da"), slice_of(copy, sizeof copy), copy), ERR_AUTH);
		assert_int_equal(noise_open(&rx, slice_str("ad"), slice_of(buf, NOISE_TAG - 1), copy), ERR_TRUNCATED);
		assert_int_equal(noise_open(&rx, slice_str("ad"), slice_of(buf, sizeof buf), buf), ERR_OK);
		for (size_t i = 0; i < 32; i++)
			assert_int_equal(buf[i], 1);

		/* The last nonce is reserved: the one before it is the last message there can be. */
		tx.nonce = rx.nonce = UINT64_MAX - 1;
		assert_int_equal(noise_seal(&tx, slice_of(NULL, 0), slice_of(buf, 0), buf), ERR_OK);
		assert_int_equal(noise_seal(&tx, slice_of(NULL, 0), slice_of(buf, 0), copy), ERR_LIMIT);
		assert_int_equal(noise_open(&rx, slice_of(NULL, 0), slice_of(buf, NOISE_TAG), copy), ERR_OK);
		assert_int_equal(noise_open(&rx, slice_of(NULL, 0), slice_of(buf, NOISE_TAG), copy), ERR_LIMIT);
		noise_cipher_wipe(&tx);
		assert_true(sodium_is_zero((const uint8_t *)&tx, sizeof tx));
	}
}

static void no_room(void **state)
{
	(void)state;
	/* 3 messages of XXpsk3 with 5 bytes each: 53, 101, 69. */
	static const size_t lens[] = { 53, 101, 69 };

	for (size_t m = 0; m < 3; m++)
		for (size_t cap = 0; cap < lens[m]; cap++) {
			struct pair p;
			uint8_t wire[256], plain[64];
			struct wbuf out, in;

			make_pair(&p, NOISE_XXPSK3, "same", 9);
			for (size_t i = 0; i < m; i++) {
				wbuf_fixed(&out, wire, sizeof wire);
				wbuf_fixed(&in, plain, sizeof plain);
				assert_int_equal(noise_write(i % 2 ? &p.b : &p.a, slice_str("hello"), &out), ERR_OK);
				assert_int_equal(out.len, lens[i]);
				assert_int_equal(noise_read(i % 2 ? &p.a : &p.b, wbuf_slice(&out), &in), ERR_OK);
			}
			wbuf_fixed(&out, wire, cap);
			assert_int_equal(noise_write(m % 2 ? &p.b : &p.a, slice_str("hello"), &out), ERR_LIMIT);
			assert_int_equal(noise_write(m % 2 ? &p.b : &p.a, slice_str("hello"), &out), ERR_STATE);
		}
}

static void too_long(void **state)
{
	static const uint8_t zeros[NOISE_MESSAGE_MAX + 1];
	struct pair p;
	struct wbuf out;
	long live = mem_live();

	(void)state;
	wbuf_grow(&out, 1 << 20);
	make_pair(&p, NOISE_XX, "same", 0);
	assert_int_equal(noise_write(&p.a, slice_of(zeros, NOISE_MESSAGE_MAX - NOISE_KEY), &out), ERR_OK);
	make_pair(&p, NOISE_XX, "same", 0);
	assert_int_equal(noise_write(&p.a, slice_of(zeros, NOISE_MESSAGE_MAX - NOISE_KEY + 1), &out), ERR_LIMIT);
	make_pair(&p, NOISE_XX, "same", 0);
	assert_int_equal(noise_read(&p.b, slice_of(zeros, sizeof zeros), &out), ERR_LIMIT);
	wbuf_reset(&out);
	mem_fail_at(1, true);
	wbuf_free(&out);
	make_pair(&p, NOISE_XX, "same", 0);
	assert_int_equal(noise_write(&p.a, slice_of(zeros, 1), &out), ERR_NOMEM);
	mem_fail_at(0, false);
	wbuf_free(&out);
	assert_int_equal(mem_live(), live);

	noise_wipe(&p.a);
	noise_wipe(&p.b);
	assert_true(sodium_is_zero((const uint8_t *)&p, sizeof p));
	noise_wipe(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(published_vectors),
		cmocka_unit_test(disagreements),
		cmocka_unit_test(every_bit_counts),
		cmocka_unit_test(every_truncation),
		cmocka_unit_test(small_order),
		cmocka_unit_test(ciphers),
		cmocka_unit_test(no_room),
		cmocka_unit_test(too_long),
	};

	if (sodium_init() < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
