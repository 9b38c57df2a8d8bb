/* The ring: which peer owns which part of an IPv4 range (DESIGN section 4).
 *
 * A token says "from this address to the next token, but not beyond my last address: owner", with an epoch and a version. Its writer
 * is its present owner: only the owner of a range moves it (grant), so concurrent writes of one token happen only when two rings were
 * formed apart or takeovers raced; then the merge decides by (epoch, version, bytes), the same everywhere. Tokens are never removed.
 *
 * The last address is what the next token was when this one was written. Tokens travel one by one and may be lost, so a host may know
 * a token and not yet the one that follows it; without the bound it would take what follows for its own. With it, addresses whose token
 * is missing belong to nobody in that host's view (PEER_NONE; ring_each leaves them out), and this holds at every moment, whatever
 * has or has not arrived: *a peer owns an address in its own view only if no other does in theirs* (as long as only owners write).
 *
 * A ring is legal when it has a token at the first address and every token's last address reaches the next token, the last one's the
 * end of the range. The merge of legal rings is legal: the token that comes next in the merge is no farther than in the ring that the
 * token is from. Tokens are disjoint by being keys. (A token may repeat its predecessor's owner; ring_each joins such neighbours.)
 *
 * Kept in an unowned crdt_map with keys  u32 first address of the universe | u8 prefix length | u32 token address  (big-endian), so
 * that hosts with another range do not mix with ours and are still relayed and seen. stamp = (epoch, version). Value = owner, 6 bytes;
 * u32 last address; flags u8 (0). All tokens are live; others are refused. Make the map with ring_map_new. */
#ifndef WEFT_CRDT_RING_H
#define WEFT_CRDT_RING_H

#include "crdt/map.h"

#define RING_TOKENS_MAX 65536
#define RING_GRAINS     32

struct universe { /* the whole range: an IPv4 prefix, network bits only, length 8 … 30 */
	uint32_t first;
	uint8_t len;
};
struct range4 universe_range(struct universe u);

struct ring_span { /* [start, end) in host order, neighbours of one owner joined; tokens = how many tokens it is made of */
	uint64_t start, end;
	uint64_t owner;
	uint64_t epoch, version; /* of its first token */
	size_t tokens;
};

/* An unowned map that takes well-formed tokens only (crdt_map_set_form). */
enum err ring_map_new(struct crdt_map **out, uint64_t seed) MUST_CHECK;

/* Is the item well-formed as a token of any universe? For checking what comes from outside before it is merged. */
bool ring_item_valid(const struct crdt_item *it);
/* The universe a ring item belongs to. */
struct universe ring_item_universe(const struct crdt_item *it);

bool ring_empty(const struct crdt_map *m, struct universe u);
/* Spans in address order; *it starts at u.first; false at the end. Nothing for an empty ring; addresses of nobody are left out. */
bool ring_each(const struct crdt_map *m, struct universe u, uint64_t *it, struct ring_span *out);
/* The same token by token: neighbours are not joined. */
bool ring_each_token(const struct crdt_map *m, struct universe u, uint64_t *it, struct ring_span *out);
/* The owner of one address; PEER_NONE when the ring is empty, the address outside, or its token not known here. */
uint64_t ring_owner(const struct crdt_map *m, struct universe u, uint32_t addr);
uint64_t ring_owned_by(const struct crdt_map *m, struct universe u, uint64_t owner); /* addresses */
/* The one token that covers the address, as a span, cut at the next one; false: none known. */
bool ring_token(const struct crdt_map *m, struct universe u, uint32_t addr, struct ring_span *out);

/* First division: n owners (sorted by name, distinct; n >= 1) get shares as equal as pieces aligned to 1/RING_GRAINS … 1/(2 RING_GRAINS) of
 * a share allow: one piece each, with n a power of two all equal, else they differ by at most one such part (small ranges: by one address).
 * version 1, epoch 0. The same list gives the same ring everywhere.
 * Owners beyond the number of addresses get nothing. Over a ring that is there already it changes nothing that was moved since.
 * ERR_LIMIT: more than RING_TOKENS_MAX owners. */
enum err ring_divide(struct crdt_map *m, struct universe u, const uint64_t *owners, size_t n, struct crdt_changes *ch) MUST_CHECK;
/* [start, end) goes from its owner `from` to `to`. ERR_REFUSED unless `from` owns all of it. Versions grow so that this wins over what
 * was there; the part after end stays with `from`. All or nothing. ERR_LIMIT: RING_TOKENS_MAX reached, or a version at its end. */
enum err ring_grant(
	struct crdt_map *m, struct universe u, struct range4 r, uint64_t from, uint64_t to, struct crdt_changes *ch) MUST_CHECK;
/* Everything of `from` goes to `to`; *moved (may be NULL) gets the number of addresses. */
enum err ring_takeover(
	struct crdt_map *m, struct universe u, uint64_t from, uint64_t to, uint64_t *moved, struct crdt_changes *ch) MUST_CHECK;

/* Addresses that no known token covers go to `to`, with stamp (0, 0), which loses to any token that was ever granted or divided: what is
 * only not known here comes back to its owner in the merge. For one who may take what a dead peer never told anybody of: its writer
 * must not use them before all who may know better were heard. *filled (may be NULL) gets the number of addresses. */
enum err ring_fill(struct crdt_map *m, struct universe u, uint64_t to, uint64_t *filled, struct crdt_changes *ch) MUST_CHECK;

/* r, inside one token of `from` that has this stamp and ends at `end`, goes to `heir` with stamp (epoch, 1), which is above all stamps of
 * former epochs; what follows r in the token keeps its owner and its stamp, so that a change of its owner's that is not known here yet wins
 * over it. Everybody who does it writes the same; done again it changes nothing. ERR_REFUSED: where r begins is somebody else's, as far as we
 * know. epoch > 0. */
enum err ring_reclaim(struct crdt_map *m, struct universe u, struct range4 r, uint64_t end, struct stamp stamp, uint64_t from,
	uint64_t heir, uint64_t epoch, struct crdt_changes *ch) MUST_CHECK;

/* The invariant (DESIGN section 8, 2): empty, or tokens in order, inside, disjoint and covering. ERR_CONFLICT with a note; a ring of
 * which some tokens have not arrived yet is not covering. */
enum err ring_check(const struct crdt_map *m, struct universe u, struct err_note *note) MUST_CHECK;

#endif
