/* Range-based set reconciliation (DESIGN section 2; A. Meyer, "Range-Based Set Reconciliation", 2023).
 *
 * A message is a list of key ranges. A range comes as a fingerprint ("mine looks so") or as items ("this is all I have there; keys
 * and stamps, and the values"). Whoever receives it answers only for the ranges that differ: splits them into RECON_FANOUT parts by
 * count and sends their fingerprints, or, when either side has at most RECON_ITEMS there, sends items. Items are merged; what the
 * receiver has newer, or what the sender lacks, goes back as items with the flag "no answer needed". Equal states cost one small
 * message, k differences O(k log n). Every message stands alone: no state is kept between them, so loss costs only a retry. */
#ifndef WEFT_CRDT_RECON_H
#define WEFT_CRDT_RECON_H

#include "crdt/map.h"

#define RECON_FANOUT     8
#define RECON_ITEMS      24
#define RECON_RANGES_MAX 512
#define RECON_MESSAGE_MAX \
	(1u << 20) /* bytes, or what the writer has room for; a reply that would be larger is cut, and says of the
                                      * rest only its fingerprint: the exchange goes on from there. 16 KiB should be there at least */

/* The opening: one fingerprint over everything. */
enum err crdt_recon_open(const struct crdt_map *m, struct wbuf *out) MUST_CHECK;

struct recon_stats {
	uint32_t ranges_equal, ranges_split, items_received, items_news, items_sent;
};
/* Reads one message (all that is left in `in`), merges what it brings and writes the answer (nothing written: done). On malformed
 * input the error, with what came before it merged and nothing written. Keys that changed are added to ch. st may be NULL; it is
 * added to. ERR_LIMIT with an answer written: the map was too full for some item, the exchange may go on all the same. */
enum err crdt_recon_step(
	struct crdt_map *m, struct rbuf *in, struct wbuf *out, struct crdt_changes *ch, struct recon_stats *st) MUST_CHECK;

#endif
