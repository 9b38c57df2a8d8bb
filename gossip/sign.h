/* Who wrote what: signatures of replicated items and of relayed unicasts, and which key speaks for a name. What is signed is drawn in docs/wire.md.
 *
 * A host's signing pair derives from its static secret, so that it needs no place of its own on disk. The public half is said in HELLO and published in
 * subkey "i" of `peers`. The key that speaks for a name is the one its own link has shown, else the one of its item "i", which is signed by itself. */
#ifndef WEFT_GOSSIP_SIGN_H
#define WEFT_GOSSIP_SIGN_H

#include "gossip/gossip.h"

extern const struct gossip_prover gossip_prover_ed25519;

/* The signed text of an item, without its proof: domain, channel, writer, item. At most GOSSIP_SIGNED_MAX bytes. */
#define GOSSIP_SIGNED_MAX (64 + CRDT_KEY_MAX + CRDT_VALUE_MAX)
struct slice gossip_sign_text(uint8_t channel, uint64_t writer, const struct crdt_item *it, uint8_t mem[GOSSIP_SIGNED_MAX]);
/* The proof that `writer` would make for an item of an owned map, with its secret key: its length. For tests and tools. */
size_t gossip_sign_proof(const struct gossip_prover *p, const uint8_t secret_key[64], uint64_t writer, bool owned,
	uint8_t channel, const struct crdt_item *it, uint8_t out[CRDT_PROOF_MAX]);

#endif
