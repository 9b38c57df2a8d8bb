/* Sealing and opening: against libsodium said anew, every bit altered, windows against a model, threads. */
#include "tests/unit/base/cmocka_all.h"

#include <pthread.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/rng.h"
#include "tests/unit/base/seed.h"
#include "tunnel/seal.h"

enum { ROOM = 1500, A_INDEX = 0x0a0a0a0a, B_INDEX = 0x0b0b0b0b };
static const uint8_t key_ab[32] = { 1, 2, 3 }, key_ba[32] = { 4, 5, 6 };

struct pair {
	struct seal_keys *a, *b;
};

static struct pair pair_new(enum noise_aead aead)
{
	struct pair p;

	assert_int_equal(
		seal_keys_new(&p.a,
			&(struct seal_keys_cfg){
				.peer = 0xb, .our_index = A_INDEX, .their_index = B_INDEX, .aead = aead, .tx = key_ab, .rx = key_ba }),
		ERR_OK);
	assert_int_equal(
		seal_keys_new(&p.b,
			&(struct seal_keys_cfg){
				.peer = 0xa, .our_index = B_INDEX, .their_index = A_INDEX, .aead = aead, .tx = key_ba, .rx = key_ab }),
		ERR_OK);
	return p;
}

static void pair_free(struct pair *p)
{
	seal_keys_unref(p->a);
	seal_keys_unref(p->b);
}

static enum noise_aead aeads(int i)
{
	return i == 0 ? NOISE_CHACHAPOLY : noise_supported(NOISE_AESGCM) ? NOISE_AESGCM : NOISE_CHACHAPOLY;
}

static enum fwd_drop open_at(struct seal_keys *k, const uint8_t *datagram, size_t n, uint8_t *out)
{
	struct wire_head h;
	struct slice payload;
	enum fwd_drop d = wire_read(slice_of(datagram, n), &h, &payload);

	if (d != FWD_PASSED)
		return d;
	if (h.type != WIRE_SEALED || h.index != seal_index(k))
		return FWD_OLD_SESSION;
	return seal_open(k, &h, slice_of(datagram, n), out);
}

/* A datagram with a counter of our choice, made without seal.c. */
static size_t forge(enum noise_aead aead, uint64_t counter, uint8_t flags, struct slice payload, uint8_t *out)
{
	uint8_t nonce[12] = { 0 };
	unsigned long long n;

	wire_write(out, &(struct wire_head){ .type = WIRE_SEALED, .flags = flags, .index = B_INDEX, .counter = counter });
	for (size_t i = 0; i < 8; i++)
		nonce[4 + i] = (uint8_t)(counter >> (56 - 8 * i));
	if (aead == NOISE_AESGCM)
		crypto_aead_aes256gcm_encrypt(out + 16, &n, payload.p, payload.n, out, 16, NULL, nonce, key_ab);
	else
		crypto_aead_chacha20poly1305_ietf_encrypt(out + 16, &n, payload.p, payload.n, out, 16, NULL, nonce, key_ab);
	return 16 + (size_t)n;
}

static enum fwd_drop take_number(struct seal_keys *k, uint64_t queue, uint64_t number)
{
	uint8_t datagram[64], out[64];
	size_t n = forge(seal_aead(k), queue << 56 | number, 0, slice_str("x"), datagram);

	return open_at(k, datagram, n, out);
}

static void form(void **state)
{
	static const char text[] = "fourteen bytes";
	uint8_t got[64], want[64];

	(void)state;
	for (int i = 0; i < 2; i++) {
		struct pair p = pair_new(aeads(i));

		assert_int_equal(seal_peer(p.a), 0xb);
		assert_int_equal(seal_index(p.a), A_INDEX);
		assert_int_equal(seal_aead(p.a), aeads(i));
		for (unsigned queue = 0; queue < SEAL_QUEUES; queue += 8)
			for (uint64_t number = 0; number < 3; number++) {
				size_t n = seal_datagram(p.a, queue, WIRE_PARTIAL, 0, slice_str(text), got);

				assert_int_equal(n, 14 + SEAL_OVERHEAD);
				assert_int_equal(forge(aeads(i), (uint64_t)queue << 56 | number, WIRE_PARTIAL, slice_str(text), want), n);
				assert_memory_equal(got, want, n);
			}
		assert_int_equal(seal_sent(p.a), 9);
		pair_free(&p);
	}
}

/* All sizes, in place and across, both directions. */
static void there_and_back(void **state)
{
	uint8_t plain[ROOM], box[ROOM + SEAL_OVERHEAD], out[ROOM];
	struct rng r;

	(void)state;
	rng_seed(&r, test_seed("there_and_back"));
	rng_fill(&r, plain, sizeof plain);
	for (int i = 0; i < 2; i++) {
		struct pair p = pair_new(aeads(i));

		for (size_t n = 0; n <= ROOM; n += n < 70 ? 1 : 13) {
			struct seal_keys *from = n % 2 ? p.a : p.b, *to = n % 2 ? p.b : p.a;
			unsigned queue = (unsigned)rng_below(&r, SEAL_QUEUES);

			memcpy(box + WIRE_HEAD, plain, n); /* in place */
			assert_int_equal(seal_datagram(from, queue, 0, 7, slice_of(box + WIRE_HEAD, n), box), n + SEAL_OVERHEAD);
			assert_true(n < 16 || memcmp(box + WIRE_HEAD, plain, n) != 0);
			assert_int_equal(open_at(to, box, n + SEAL_OVERHEAD, box + WIRE_HEAD), FWD_PASSED);
			assert_memory_equal(box + WIRE_HEAD, plain, n);

			assert_int_equal(seal_datagram(from, queue, 0, 7, slice_of(plain, n), box), n + SEAL_OVERHEAD);
			assert_int_equal(open_at(to, box, n + SEAL_OVERHEAD, out), FWD_PASSED);
			assert_memory_equal(out, plain, n);
			assert_int_equal(open_at(to, box, n + SEAL_OVERHEAD, out), FWD_REPLAYED);
		}
		pair_free(&p);
	}
}

static void altered(void **state)
{
	static const char text[] = "not one bit of this may change on the way";
	uint8_t box[128], bad[128], out[128];
	size_t n;

	(void)state;
	for (int i = 0; i < 2; i++) {
		struct pair p = pair_new(aeads(i));

		n = seal_datagram(p.a, 3, WIRE_PARTIAL, 9, slice_str(text), box);
		for (size_t bit = 0; bit < n * 8; bit++) {
			memcpy(bad, box, n);
			bad[bit / 8] = (uint8_t)(bad[bit / 8] ^ 1 << bit % 8);
			assert_int_not_equal(open_at(p.b, bad, n, out), FWD_PASSED);
		}
		for (size_t short_n = 0; short_n < n; short_n++)
			assert_int_not_equal(open_at(p.b, box, short_n, out), FWD_PASSED);
		assert_int_equal(open_at(p.a, box, n, out), FWD_OLD_SESSION);
		assert_false(seal_take_received(p.b));
		assert_int_equal(open_at(p.b, box, n, out), FWD_PASSED); /* none of those moved the window */
		pair_free(&p);
	}
}

static void no_such_queue(void **state)
{
	struct pair p = pair_new(NOISE_CHACHAPOLY);

	(void)state;
	assert_int_equal(take_number(p.b, SEAL_QUEUES - 1, 0), FWD_PASSED);
	assert_int_equal(take_number(p.b, SEAL_QUEUES, 0), FWD_BAD_TAG);
	assert_int_equal(take_number(p.b, 255, 0), FWD_BAD_TAG);
	pair_free(&p);
}

static void window_edges(void **state)
{
	static const uint64_t tops[] = { SEAL_WINDOW, SEAL_WINDOW + 1, SEAL_WINDOW + 63, 3 * SEAL_WINDOW + 64, UINT64_C(1) << 40,
		SEAL_COUNTER_MAX };

	(void)state;
	for (size_t i = 0; i < sizeof tops / sizeof tops[0]; i++) {
		struct pair p = pair_new(NOISE_CHACHAPOLY);
		uint64_t top = tops[i];

		assert_int_equal(take_number(p.b, 1, 0), FWD_PASSED);
		assert_int_equal(take_number(p.b, 1, 0), FWD_REPLAYED);
		assert_int_equal(take_number(p.b, 1, top), FWD_PASSED); /* a jump over words never entered */
		assert_int_equal(take_number(p.b, 1, top), FWD_REPLAYED);
		if (top > SEAL_WINDOW)
			assert_int_equal(take_number(p.b, 1, top - SEAL_WINDOW - 1), FWD_REPLAYED); /* too old to tell */
		assert_int_equal(take_number(p.b, 1, top - SEAL_WINDOW), top == SEAL_WINDOW ? FWD_REPLAYED : FWD_PASSED);
		assert_int_equal(take_number(p.b, 1, top - SEAL_WINDOW), FWD_REPLAYED);
		for (uint64_t n = top - SEAL_WINDOW + 1; n < top; n++)
			assert_int_equal(take_number(p.b, 1, n), FWD_PASSED);
		for (uint64_t n = top - SEAL_WINDOW; n <= top; n++)
			assert_int_equal(take_number(p.b, 1, n), FWD_REPLAYED);
		assert_int_equal(take_number(p.b, 2, 0), FWD_PASSED); /* other queues know nothing of it */
		assert_int_equal(take_number(p.b, 2, 1), FWD_PASSED);
		assert_int_equal(take_number(p.b, 2, 0), FWD_REPLAYED);
		pair_free(&p);
	}
}

/* Against the plainest model: all numbers seen, and the highest. */
static void window_model(void **state)
{
	enum { NUMBERS = 40000, STEPS = 60000 };
	static bool seen[2][NUMBERS];
	struct pair p = pair_new(NOISE_CHACHAPOLY);
	uint64_t top[2] = { 0 }, taken = 0;
	bool any[2] = { false };
	struct rng r;

	(void)state;
	memset(seen, 0, sizeof seen);
	rng_seed(&r, test_seed("window_model"));
	for (int i = 0; i < STEPS; i++) {
		size_t q = (size_t)rng_below(&r, 2);
		uint64_t n = top[q], jump = rng_below(&r, 1000);

		if (jump < 500)
			n += rng_below(&r, 3);
		else if (jump < 505)
			n += rng_below(&r, SEAL_WINDOW * 3);
		else
			n -= rng_below(&r, (n < SEAL_WINDOW * 5 / 4 ? n : SEAL_WINDOW * 5 / 4) + 1);
		if (n >= NUMBERS)
			continue;
		bool fresh = !seen[q][n] && (!any[q] || n + SEAL_WINDOW >= top[q]);
		assert_int_equal(take_number(p.b, q, n), fresh ? FWD_PASSED : FWD_REPLAYED);
		taken += fresh;
		seen[q][n] = any[q] = true;
		top[q] = n > top[q] ? n : top[q];
	}
	assert_true(taken > STEPS / 10);
	pair_free(&p);
}

static void flags(void **state)
{
	struct pair p = pair_new(NOISE_CHACHAPOLY);
	uint8_t box[64], out[64];
	size_t n;

	(void)state;
	assert_false(seal_take_sent(p.a));
	assert_false(seal_take_received(p.b));
	for (int i = 0; i < 2; i++) {
		n = seal_datagram(p.a, 0, 0, 0, slice_str("x"), box);
		assert_int_equal(open_at(p.b, box, n, out), FWD_PASSED);
		assert_true(seal_take_sent(p.a));
		assert_false(seal_take_sent(p.a));
		assert_false(seal_take_sent(p.b));
		assert_true(seal_take_received(p.b));
		assert_false(seal_take_received(p.b));
		assert_int_equal(open_at(p.b, box, n, out), FWD_REPLAYED);
		assert_false(seal_take_received(p.b)); /* a replay is no sign of life */
	}
	pair_free(&p);
}

static void references(void **state)
{
	long before = mem_live();
	struct pair p = pair_new(NOISE_CHACHAPOLY);
	struct seal_keys *again = seal_keys_ref(p.a), *none;
	uint8_t box[64];

	(void)state;
	assert_ptr_equal(again, p.a);
	assert_null(seal_keys_ref(NULL));
	seal_keys_unref(NULL);
	pair_free(&p);
	assert_true(seal_datagram(again, 0, 0, 0, slice_str("x"), box) > 0);
	seal_keys_unref(again);
	assert_int_equal(mem_live(), before);
	mem_fail_at(1, false);
	assert_int_equal(seal_keys_new(&none, &(struct seal_keys_cfg){ .tx = key_ab, .rx = key_ba }), ERR_NOMEM);
	mem_fail_at(0, false);
	assert_int_equal(mem_live(), before);
}

/* Threads: each sends on its own queue, and all datagrams are then opened by every thread at once: each is taken exactly once. */
enum { THREADS = 4, EACH = 3000, SMALL = 8 };
struct worker {
	struct pair *p;
	unsigned queue;
	uint8_t (*box)[SMALL + SEAL_OVERHEAD];
	size_t taken;
};

static void *sending(void *arg)
{
	struct worker *w = arg;

	for (size_t i = 0; i < EACH; i++)
		if (seal_datagram(w->p->a, w->queue, 0, 0, slice_str("8 bytes."), w->box[w->queue * EACH + i]) != SMALL + SEAL_OVERHEAD)
			abort();
	return NULL;
}

static void *opening(void *arg)
{
	struct worker *w = arg;
	uint8_t out[SMALL];

	for (size_t i = 0; i < THREADS * EACH; i++)
		w->taken += open_at(w->p->b, w->box[i], SMALL + SEAL_OVERHEAD, out) == FWD_PASSED;
	return NULL;
}

static void threads(void **state)
{
	static uint8_t box[THREADS * EACH][SMALL + SEAL_OVERHEAD];
	struct pair p = pair_new(aeads(1));
	struct worker w[THREADS];
	pthread_t t[THREADS];
	size_t taken = 0;

	(void)state;
	for (int pass = 0; pass < 2; pass++) {
		for (unsigned i = 0; i < THREADS; i++) {
			w[i] = (struct worker){ .p = &p, .queue = i, .box = box };
			assert_int_equal(pthread_create(&t[i], NULL, pass == 0 ? sending : opening, &w[i]), 0);
		}
		for (unsigned i = 0; i < THREADS; i++) {
			assert_int_equal(pthread_join(t[i], NULL), 0);
			taken += w[i].taken;
		}
	}
	assert_int_equal(taken, THREADS * EACH);
	assert_int_equal(seal_sent(p.a), THREADS * EACH);
	pair_free(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(form),
		cmocka_unit_test(there_and_back),
		cmocka_unit_test(altered),
		cmocka_unit_test(no_such_queue),
		cmocka_unit_test(window_edges),
		cmocka_unit_test(window_model),
		cmocka_unit_test(flags),
		cmocka_unit_test(references),
		cmocka_unit_test(threads),
	};
	if (sodium_init() < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
