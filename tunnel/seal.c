/* Theory of operation
 *
 * One block of memory a session, laid out by who writes what: keys and names, which nobody changes; two flags; a cache line for each queue's
 * counter, which one sending thread writes; and a replay window for each of the sender's queues. Nothing else is shared, so two threads that
 * work on different queues never wait for one cache line.
 *
 * A counter is read and written by its own thread only and needs no atomic addition. The flags are written only when they are not set: with
 * traffic they are read, and their line stays shared. Order between them and anything else does not matter (relaxed).
 *
 * A replay window (RFC 6479) is a ring of 64-bit words, each for 64 consecutive counters; moving forward clears the words it enters and never
 * shifts. There is one word more than the window is long, so that what is late by exactly SEAL_WINDOW still has its bit. Usually one
 * thread receives all that one queue of the sender sends (one flow, one socket); when two meet, a spin lock holds one off for the few
 * instructions it takes. */
#include "tunnel/seal.h"

#include <assert.h>
#include <sodium.h>
#include <string.h>

#include "base/mem.h"

enum { LINE = 64, WORD = 64, WORDS = SEAL_WINDOW / WORD + 1, QUEUE_SHIFT = 56, NONCE = 12, NONCE_ZEROS = 4 };

static_assert(SEAL_WINDOW % WORD == 0 && SEAL_WINDOW >= 2048, "batches in flight would be taken for replays");
static_assert(WIRE_TAG == crypto_aead_aes256gcm_ABYTES && WIRE_TAG == crypto_aead_chacha20poly1305_ietf_ABYTES, "tags");
static_assert(NONCE == crypto_aead_aes256gcm_NPUBBYTES && NONCE == crypto_aead_chacha20poly1305_ietf_NPUBBYTES, "nonces");

struct direction {
	crypto_aead_aes256gcm_state aes; /* 16-aligned */
	uint8_t key[NOISE_KEY];
};

struct tx_queue {
	_Alignas(LINE) _Atomic uint64_t next;
};

struct window {
	_Alignas(LINE) atomic_flag busy;
	uint64_t next; /* one more than the highest seen; 0: nothing yet */
	uint64_t seen[WORDS];
};

struct seal_keys {
	_Alignas(LINE) void *block; /* what was allocated */
	uint64_t peer;
	uint32_t our_index, their_index;
	enum noise_aead aead;
	struct direction tx, rx;
	_Alignas(LINE) atomic_size_t refs;
	_Alignas(LINE) atomic_bool sent, received;
	struct tx_queue queue[SEAL_QUEUES];
	struct window window[SEAL_QUEUES];
};

enum err seal_keys_new(struct seal_keys **out, const struct seal_keys_cfg *cfg)
{
	uint8_t *block = mem_zalloc(1, sizeof(struct seal_keys) + LINE);
	struct seal_keys *k;

	if (!block)
		return ERR_NOMEM;
	k = (struct seal_keys *)(void *)(block + (LINE - (uintptr_t)block % LINE));
	k->block = block;
	k->peer = cfg->peer;
	k->our_index = cfg->our_index;
	k->their_index = cfg->their_index;
	k->aead = cfg->aead;
	memcpy(k->tx.key, cfg->tx, NOISE_KEY);
	memcpy(k->rx.key, cfg->rx, NOISE_KEY);
	if (k->aead == NOISE_AESGCM) {
		crypto_aead_aes256gcm_beforenm(&k->tx.aes, k->tx.key);
		crypto_aead_aes256gcm_beforenm(&k->rx.aes, k->rx.key);
	}
	atomic_init(&k->refs, 1);
	for (size_t i = 0; i < SEAL_QUEUES; i++)
		atomic_flag_clear(&k->window[i].busy);
	*out = k;
	return ERR_OK;
}

struct seal_keys *seal_keys_ref(struct seal_keys *k)
{
	if (k)
		atomic_fetch_add_explicit(&k->refs, 1, memory_order_relaxed);
	return k;
}

void seal_keys_unref(struct seal_keys *k)
{
	void *block;

	/* Whoever frees it has seen all that the others did with it. */
	if (!k || atomic_fetch_sub_explicit(&k->refs, 1, memory_order_acq_rel) > 1)
		return;
	block = k->block;
	sodium_memzero(k, sizeof *k);
	mem_free(block);
}

uint64_t seal_peer(const struct seal_keys *k)
{
	return k->peer;
}

uint32_t seal_index(const struct seal_keys *k)
{
	return k->our_index;
}

enum noise_aead seal_aead(const struct seal_keys *k)
{
	return k->aead;
}

uint64_t seal_sent(const struct seal_keys *k)
{
	uint64_t n = 0;

	for (size_t i = 0; i < SEAL_QUEUES; i++)
		n += atomic_load_explicit(&k->queue[i].next, memory_order_relaxed);
	return n;
}

static void note(atomic_bool *flag)
{
	if (!atomic_load_explicit(flag, memory_order_relaxed))
		atomic_store_explicit(flag, true, memory_order_relaxed);
}

static bool take(atomic_bool *flag)
{
	return atomic_load_explicit(flag, memory_order_relaxed) && atomic_exchange_explicit(flag, false, memory_order_relaxed);
}

bool seal_take_sent(struct seal_keys *k)
{
	return take(&k->sent);
}

bool seal_take_received(struct seal_keys *k)
{
	return take(&k->received);
}

/* The 8 bytes of the header behind the session's index: the same on both sides, and never twice with one key. */
static void nonce_of(uint8_t nonce[NONCE], const uint8_t *head)
{
	memset(nonce, 0, NONCE_ZEROS);
	memcpy(nonce + NONCE_ZEROS, head + WIRE_HEAD - (NONCE - NONCE_ZEROS), NONCE - NONCE_ZEROS);
}

size_t seal_datagram(struct seal_keys *k, unsigned queue, uint8_t flags, uint16_t net, struct slice payload, uint8_t *out)
{
	static const uint8_t nothing[1];
	const uint8_t *plain = payload.n > 0 ? payload.p : nothing;
	_Atomic uint64_t *next = &k->queue[queue].next;
	uint8_t nonce[NONCE];
	uint64_t number;

	assert(queue < SEAL_QUEUES);
	number = atomic_load_explicit(next, memory_order_relaxed);
	if (number > SEAL_COUNTER_MAX)
		return 0;
	atomic_store_explicit(next, number + 1, memory_order_relaxed);
	wire_write(out,
		&(struct wire_head){ .type = WIRE_SEALED,
			.flags = flags,
			.net = net,
			.index = k->their_index,
			.counter = (uint64_t)queue << QUEUE_SHIFT | number });
	nonce_of(nonce, out);
	if (k->aead == NOISE_AESGCM)
		crypto_aead_aes256gcm_encrypt_afternm(out + WIRE_HEAD, NULL, plain, payload.n, out, WIRE_HEAD, NULL, nonce,
			(const crypto_aead_aes256gcm_state *)&k->tx.aes);
	else
		crypto_aead_chacha20poly1305_ietf_encrypt(
			out + WIRE_HEAD, NULL, plain, payload.n, out, WIRE_HEAD, NULL, nonce, k->tx.key);
	note(&k->sent);
	return payload.n + SEAL_OVERHEAD;
}

/* Marks a counter as seen; false: it was, or is too old to tell. */
static bool window_take(struct window *w, uint64_t number)
{
	uint64_t *word, bit = UINT64_C(1) << number % WORD;
	bool fresh = false;

	while (atomic_flag_test_and_set_explicit(&w->busy, memory_order_acquire))
		;
	if (number >= w->next) {
		uint64_t from = w->next > 0 ? (w->next - 1) / WORD : 0, to = number / WORD;

		if (to - from > WORDS)
			from = to - WORDS;
		while (from < to)
			w->seen[++from % WORDS] = 0;
		w->next = number + 1;
	}
	if (w->next - 1 - number <= SEAL_WINDOW) {
		word = &w->seen[number / WORD % WORDS];
		fresh = !(*word & bit);
		*word |= bit;
	}
	atomic_flag_clear_explicit(&w->busy, memory_order_release);
	return fresh;
}

enum fwd_drop seal_open(struct seal_keys *k, const struct wire_head *head, struct slice datagram, uint8_t *out)
{
	uint64_t queue = head->counter >> QUEUE_SHIFT;
	uint8_t nonce[NONCE];
	const uint8_t *sealed;
	size_t n;
	int bad;

	if (datagram.n < SEAL_OVERHEAD || queue >= SEAL_QUEUES)
		return FWD_BAD_TAG;
	sealed = datagram.p + WIRE_HEAD;
	n = datagram.n - WIRE_HEAD;
	nonce_of(nonce, datagram.p);
	if (k->aead == NOISE_AESGCM)
		bad = crypto_aead_aes256gcm_decrypt_afternm(
			out, NULL, NULL, sealed, n, datagram.p, WIRE_HEAD, nonce, (const crypto_aead_aes256gcm_state *)&k->rx.aes);
	else
		bad = crypto_aead_chacha20poly1305_ietf_decrypt(out, NULL, NULL, sealed, n, datagram.p, WIRE_HEAD, nonce, k->rx.key);
	if (bad)
		return FWD_BAD_TAG;
	if (!window_take(&k->window[queue], head->counter & SEAL_COUNTER_MAX))
		return FWD_REPLAYED;
	note(&k->received);
	return FWD_PASSED;
}
