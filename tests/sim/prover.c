/* Signatures for large worlds: a hash under the public key. It keeps apart what different hosts have said, and costs next to nothing; whoever wants to forge
 * can, so no world with a hostile node uses it. */
#include <string.h>

#include <sodium.h>

#include "tests/sim/sim.h"

static void hash_pair(const uint8_t static_secret[32], uint8_t public_key[32], uint8_t secret_key[64])
{
	(void)crypto_generichash(public_key, 32, static_secret, 32, NULL, 0);
	memset(secret_key, 0, 64);
	memcpy(secret_key, public_key, 32);
}

static void hash_sign(const uint8_t secret_key[64], struct slice text, uint8_t out[CRDT_SIGNATURE])
{
	memset(out, 0, CRDT_SIGNATURE);
	(void)crypto_generichash(out, 16, text.p, text.n, secret_key, 32);
}

static bool hash_verify(const uint8_t public_key[32], struct slice text, const uint8_t signature[CRDT_SIGNATURE])
{
	uint8_t secret_key[64] = { 0 }, out[CRDT_SIGNATURE];
	memcpy(secret_key, public_key, 32);
	hash_sign(secret_key, text, out);
	return memcmp(out, signature, sizeof(out)) == 0;
}

static const struct gossip_prover hash_prover = { "hash", hash_pair, hash_sign, hash_verify };

/* The real one on every eighth seed. */
const struct gossip_prover *prover_choose(uint64_t seed, size_t nodes)
{
	return seed % 8 == 0 && nodes <= 50 ? NULL : &hash_prover;
}
