/* The name table: what this host knows about names in the domain, mirrored from replicated state by its user.
 *
 * An entry is (owner, container id, name, address); it is there or it is not. Whether its owner can be reached is a flag of the owner:
 * entries of unreachable owners stay, are skipped by look-ups and come back with the flag. Look-ups allocate nothing and are safe
 * between any two changes; one thread uses a table. */
#ifndef WEFT_DNS_TABLE_H
#define WEFT_DNS_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/buf.h"
#include "base/err.h"
#include "dns/name.h"

#define DNS_TABLE_MAX        (1u << 20) /* entries */
#define DNS_ID_MAX           128        /* octets of a container id, the final zero not counted */
#define DNS_TABLE_LABELS_MAX 32         /* labels of a name: every name above an entry costs a node */

struct dns_entry {
	uint64_t owner;
	const char *id;    /* text, may be empty */
	struct slice name; /* wire form, case as it was given */
	struct ip addr;
	bool reachable; /* its owner, at the time of asking */
};

struct dns_table;
enum err dns_table_new(struct dns_table **out, uint64_t seed) MUST_CHECK;
void dns_table_free(struct dns_table *t);

/* Adds an entry. One that is there already (names compared with case, as replicated keys are) stays, but becomes the latest of its
 * address. Owners are reachable until said otherwise. ERR_NOMEM, ERR_LIMIT (table full, id too long, too many labels), ERR_RANGE (no
 * address). On error nothing changed. */
enum err dns_table_add(
	struct dns_table *t, uint64_t owner, const char *id, const struct dns_name *name, struct ip addr) MUST_CHECK;
bool dns_table_remove(
	struct dns_table *t, uint64_t owner, const char *id, const struct dns_name *name, struct ip addr); /* was there */
size_t dns_table_remove_owner(struct dns_table *t, uint64_t owner);                                    /* how many */

/* May come before the owner's first entry and outlives its last. ERR_NOMEM: only when setting a new owner unreachable. */
enum err dns_table_set_reachable(struct dns_table *t, uint64_t owner, bool reachable) MUST_CHECK;

/* Who asks sees the entries that `shows` says so of; a view of NULL: all. */
struct dns_view {
	bool (*shows)(const void *ctx, uint64_t owner, const char *id, struct ip addr);
	const void *ctx;
};

/* What is known of a name (in any case). */
enum dns_known {
	DNS_KNOWN_NOT,   /* nothing at it or below it */
	DNS_KNOWN_ABOVE, /* no entry, but one below it: an empty non-terminal (RFC 8020) */
	DNS_KNOWN_NAME,  /* at least one entry, reachable or not */
};
enum dns_known dns_table_knows(const struct dns_table *t, const struct dns_view *view, const struct dns_name *name);

/* The different addresses of one family (4 or 6; 0: both) that reachable owners gave the name. Gives how many there are and writes the
 * first `max` to out, in order of the address. They point into the table and stay valid until it changes. */
size_t dns_table_addresses(const struct dns_table *t, const struct dns_view *view, const struct dns_name *name, uint8_t family,
	const struct ip **out, size_t max);

/* The names of an address: of the container that has it now, that is all names which the (owner, id) of the latest reachable entry
 * gave it, latest first; the same name in another case is left out. Gives how many were written, at most max. *known (may be NULL)
 * says whether there is any entry, reachable or not. */
size_t dns_table_names(
	const struct dns_table *t, const struct dns_view *view, struct ip addr, struct slice *out, size_t max, bool *known);

size_t dns_table_count(const struct dns_table *t);
size_t dns_table_count_reachable(const struct dns_table *t);
/* All entries, in the order in which they were first added. Start with *cursor = NULL; false at the end. The table must not change
 * meanwhile, but for removing the entry just given. */
bool dns_table_next(const struct dns_table *t, const void **cursor, struct dns_entry *out);
/* Order for showing: lower-cased name, owner, id, address. For qsort over struct dns_entry. */
int dns_entry_cmp(const void *a, const void *b);

#endif
