/* Versioned map: the one replicated type (DESIGN section 2). Key -> (stamp, value or nothing); merge keeps the higher stamp, equal
 * stamps are decided by the bytes, so the result depends neither on order nor on repetition: commutative, associative, idempotent.
 *
 * OWNED maps are single-writer: a key begins with the 6 bytes of the peer that owns it, and only that peer writes it. The key that is
 * only those 6 bytes is the owner's *floor*: an item without value whose stamp says that every item of that owner at or below it is
 * forgotten, live or dead, whenever it comes. Floors merge by the same rule (higher stamp wins), so they need no rule of their own,
 * travel in deltas and count in fingerprints. This is how deletions are forgotten without a clock:
 *   tombstone = item with stamp and no value; to forget tombstones up to counter f the owner re-stamps its live items at or below f,
 *   then publishes floor = f (crdt_map_compact). What is at or below a floor can never come back.
 * An owner gone for good is forgotten by crdt_map_forget: a floor at the end of its last incarnation, written by whoever decided so.
 *
 * Stamps are (incarnation, counter). The incarnation grows at each start of the daemon; whoever hears of an item of its own that it
 * does not know supersedes it: re-stamps its value, or writes a tombstone, above what it heard. If that is higher than its own
 * incarnation, it first moves its incarnation above it.
 *
 * Unowned maps (the ring) have no floors and take any writer; who may write what is their user's rule (crdt_map_set_rule).
 *
 * QUOTA. Of an owner who has published more than CRDT_OWNER_WEIGHT_MAX the items with the highest stamps are kept: the same ones everywhere, once all
 * have heard of them. When the map as a whole is full, the heaviest owner's oldest items make room for those of lighter ones. Nothing of that ever
 * happens to an honest host, which is refused its own writes before (ERR_LIMIT).
 *
 * PROOFS. A map with a prover keeps with each item the proof of who wrote it: the owner's signature (CRDT_SIGNATURE bytes), or, for unowned
 * maps and for floors by others, the writer's name and then its signature (CRDT_PROOF_MAX bytes). The proof travels and is stored with the item, but is
 * no part of what is compared or of the fingerprint. What the map's own user writes is signed on the way in; what comes from outside is judged
 * when, and only when, it would be taken. Maps without a prover pass proofs on as they came. */
#ifndef WEFT_CRDT_MAP_H
#define WEFT_CRDT_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"

#define CRDT_KEY_MAX   96      /* bytes, the owner's 6 included */
#define CRDT_VALUE_MAX 8192    /* bytes */
#define CRDT_ITEMS_MAX 1048576 /* items in one map */
/* What one owner may have in one map, so that no member fills the memory of all: an item weighs 1 and 1 more for each CRDT_WEIGHT_BYTES of key and value. A bridge
 * has 1,023 ports; a host with as many containers, of four names each, has half of that in tombstones and names together. At most 4 MiB. */
#define CRDT_WEIGHT_BYTES     128
#define CRDT_OWNER_WEIGHT_MAX 32768
#define CRDT_FLOORS_MAX       16384 /* of others, set by one writer */
#define CRDT_SIGNATURE        64    /* bytes */
#define CRDT_PROOF_MAX        70    /* bytes: the writer's name, where it is not the owner of the key, and its signature */

struct stamp {
	uint64_t inc, ctr;
};
int stamp_cmp(struct stamp a, struct stamp b);

/* Keys and values point into the map (valid until it changes) or into the decoded buffer. live = false: a tombstone or a floor. */
struct crdt_item {
	struct slice key;
	struct stamp stamp;
	bool live;
	struct slice value;
	struct slice proof; /* empty: none */
};
uint64_t crdt_owner(struct slice key);          /* first 6 bytes; PEER_NONE when shorter */
struct slice crdt_subkey(struct slice key);     /* what follows them */
bool crdt_is_floor(const struct crdt_item *it); /* owned maps: key is 6 bytes long */
uint64_t crdt_proof_writer(
	struct slice proof); /* whom the proof names as the writer; PEER_NONE: nobody, so the key's owner, if any */
struct slice crdt_proof_signature(struct slice proof); /* empty: the proof is neither of the two forms */
/* > 0: a wins over b. The order is total over (stamp, live, value bytes); 0 only for the same item, whatever the proofs. */
int crdt_item_cmp(const struct crdt_item *a, const struct crdt_item *b);

/* Wire form of one item: lv key, varint inc, varint ctr, u8 flags (1 = live, 2 = proof; others refused), lv value when live, lv proof. */
void crdt_item_encode(struct wbuf *w, const struct crdt_item *it);
/* Fills *it with slices of r's memory. On malformed input r is failed. */
void crdt_item_decode(struct rbuf *r, struct crdt_item *it);

/* Keys that changed in one call, each in the arena's memory; may name a key more than once. */
struct crdt_changes {
	struct arena *arena;
	struct slice *keys;
	size_t n, cap; /* keys is arena memory as well */
};
void crdt_changes_init(struct crdt_changes *c, struct arena *a);
enum err crdt_changes_add(struct crdt_changes *c, struct slice key) MUST_CHECK;

struct crdt_map;
/* owned: keys begin with their owner, floors apply. seed is for internal balancing only. */
enum err crdt_map_new(struct crdt_map **out, bool owned, uint64_t seed) MUST_CHECK;
void crdt_map_free(struct crdt_map *m);
bool crdt_map_owned(const struct crdt_map *m);

/* Refuses what does not have this form as ERR_MALFORMED when it comes from outside. Every host must use the same rule for the same map,
 * or they never agree. Owned maps: floors and tombstones are not asked about. Call it while the map is empty; NULL: anything goes. */
void crdt_map_set_form(struct crdt_map *m, bool (*valid)(const struct crdt_item *it));

/* Who writes here through put, delete and compact, and supersedes what it does not know. incarnation > 0. Owned maps only.
 * What is there already under this prefix counts as ours: load the state from disk first, by crdt_map_merge. Should it hold an
 * incarnation as high as this one, the writer begins above it. */
void crdt_map_set_writer(struct crdt_map *m, uint64_t owner, uint64_t incarnation);
/* Asked about every item or floor from outside under the writer's own prefix before it is merged; true: it is passed over (CRDT_STALE).
 * For a host that shares its name with another by mistake: the two would supersede each other for ever. The guard must not touch the map. */
void crdt_map_set_guard(struct crdt_map *m, bool (*guard)(void *ctx, const struct crdt_item *it), void *ctx);

enum crdt_verdict {
	CRDT_PROOF_OK,
	CRDT_PROOF_TRUSTED, /* taken on the word of whom it came from; not looked at yet: crdt_map_prove does */
	CRDT_PROOF_BAD,     /* not taken */
	CRDT_PROOF_LATER, /* not taken: cannot be told now, or may not be now. Whoever says so sees to it that the item comes again */
};
struct crdt_prover {
	/* Our proof for an item that we write (its own proof is not looked at); the length: CRDT_SIGNATURE for what is under our own name in an owned
	 * map, else CRDT_PROOF_MAX. */
	size_t (*sign)(void *ctx, const struct crdt_item *it, uint8_t out[CRDT_PROOF_MAX]);
	/* Asked once about an item from outside that would be taken. *writer is whom the proof names, or the key's owner; set to PEER_NONE when that is not
	 * proved and the item may be taken all the same. Neither function may touch the map. */
	enum crdt_verdict (*judge)(void *ctx, const struct crdt_item *it, uint64_t *writer);
};
/* Call it while the map is empty; p stays the caller's. NULL: none, as at first. */
void crdt_map_set_prover(struct crdt_map *m, const struct crdt_prover *p, void *ctx);
/* Who may write what: asked after the prover has said OK, about what would be taken from outside. writer: proved; PEER_NONE: somebody, who can claim no
 * right of his own. (With a map that has no prover: whom the proof names, if there is one.) It must not touch the map, but may keep a copy of what it wants to have merged again later. */
void crdt_map_set_rule(
	struct crdt_map *m, enum crdt_verdict (*rule)(void *ctx, const struct crdt_item *it, uint64_t writer), void *ctx);
/* Judges what was taken as TRUSTED: looks at up to `look` items behind *after (empty: from the start) and asks about at most `ask` of them, and sets
 * *after to where it stopped (a key in mem; empty: at the end). What is bad is removed, its key added to ch. Later: stays as it is.
 * Gives the number that was asked about. ERR_NOMEM: ch could not be added to; go on later. */
enum err crdt_map_prove(struct crdt_map *m, struct slice *after, uint8_t mem[CRDT_KEY_MAX], size_t look, size_t ask,
	size_t *asked, struct crdt_changes *ch) MUST_CHECK;
size_t crdt_map_trusted(const struct crdt_map *m); /* how many items crdt_map_prove would ask about */

/* Local writes under the writer's prefix; subkey is 1 … CRDT_KEY_MAX-6 bytes. A put of the value that is there changes nothing.
 * Changed keys are added to ch (may be NULL). ERR_NOMEM, ERR_LIMIT. */
enum err crdt_map_put(struct crdt_map *m, struct slice subkey, struct slice value, struct crdt_changes *ch) MUST_CHECK;
enum err crdt_map_delete(struct crdt_map *m, struct slice subkey, struct crdt_changes *ch) MUST_CHECK; /* absent: ERR_OK */
/* Forgets the writer's tombstones: re-stamps live items and publishes the floor. Does nothing unless there are at least
 * `min_tombstones` of them and they outnumber the live ones (0: always). A new daemon calls it with 0 once it has put back what it
 * still has, which ends its former incarnations. */
#define CRDT_COMPACT_TOMBSTONES 16 /* what who deletes in the course of its work gives as min_tombstones, after each deletion */
enum err crdt_map_compact(struct crdt_map *m, size_t min_tombstones, struct crdt_changes *ch) MUST_CHECK;
/* Forgets an owner as a whole: floor at (its highest incarnation seen here, or at_least, UINT64_MAX); nothing when both are 0. A later incarnation is welcome
 * again. With several maps at_least is the highest of all: else what one of them has not heard of stays when the key that could prove it is gone.
 * ERR_SELF for the writer itself. */
enum err crdt_map_forget(struct crdt_map *m, uint64_t owner, uint64_t at_least, struct crdt_changes *ch) MUST_CHECK;
uint64_t crdt_map_incarnation(const struct crdt_map *m, uint64_t owner); /* the highest seen of it; 0: none */

enum crdt_merge {
	CRDT_STALE,   /* ours is newer, or it is below a floor: nothing changed */
	CRDT_SAME,    /* ours is equal */
	CRDT_NEWS,    /* taken (or superseded by our own): keys are in ch */
	CRDT_REFUSED, /* by prover or rule, or its owner has more than it may: nothing changed */
	CRDT_HELD,    /* the same, for now */
};
/* How many items were refused or dropped because of the quota; *owner: whose the last one was, or by whom the floor. */
uint64_t crdt_map_over(const struct crdt_map *m, uint64_t *owner);
/* One item from outside. Items dropped to make room are in ch, also when it fails. Items dropped by a new floor are not reported in ch, the floor's key is. ERR_NOMEM, ERR_LIMIT (map full),
 * ERR_MALFORMED (key or value breaks the map's form); on error nothing changed. */
enum err crdt_map_merge(
	struct crdt_map *m, const struct crdt_item *it, enum crdt_merge *what, struct crdt_changes *ch) MUST_CHECK;
/* The same for what we had stored ourselves: neither prover nor rule is asked; what has no proof is signed as if we wrote it. */
enum err crdt_map_restore(
	struct crdt_map *m, const struct crdt_item *it, enum crdt_merge *what, struct crdt_changes *ch) MUST_CHECK;
/* Unowned maps: a local write with the stamp the caller chose, signed by us; asserts that it wins or is the same. */
enum err crdt_map_write(struct crdt_map *m, const struct crdt_item *it, struct crdt_changes *ch) MUST_CHECK;

/* Reading. false: not there. Tombstones and floors are there, with live = false. */
bool crdt_map_get(const struct crdt_map *m, struct slice key, struct crdt_item *out);
/* In key order: the first item with key > after (after.n == 0: from the start). Callers may pass the key of the item just read. */
bool crdt_map_next(const struct crdt_map *m, struct slice after, struct crdt_item *out);
/* The first item with key >= from. */
bool crdt_map_seek(const struct crdt_map *m, struct slice from, struct crdt_item *out);
/* The last item with key <= at. */
bool crdt_map_floor_item(const struct crdt_map *m, struct slice at, struct crdt_item *out);
size_t crdt_map_count(const struct crdt_map *m); /* all items */
size_t crdt_map_live(const struct crdt_map *m);
size_t crdt_map_bytes(const struct crdt_map *m); /* keys and values held */

/* Fingerprint of the items with lo <= key < hi (hi.n == 0: no upper end): sum modulo 2^128 of the items' hashes, O(log n). */
struct fingerprint {
	uint64_t a, b;
	uint64_t count;
};
struct fingerprint crdt_map_fingerprint(const struct crdt_map *m, struct slice lo, struct slice hi);
bool fingerprint_eq(struct fingerprint a, struct fingerprint b);
/* The k-th item (from 0) with key >= lo: for splitting ranges, O(log n). */
bool crdt_map_nth(const struct crdt_map *m, struct slice lo, size_t k, struct crdt_item *out);

/* Asserts everything the structure promises (order, sums, floors obeyed); for tests and the simulator. */
void crdt_map_check(const struct crdt_map *m);

#endif
