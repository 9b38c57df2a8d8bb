/* Domain names as values (RFC 1035 section 3.1): uncompressed wire form, case kept, compared without case (RFC 4343). */
#ifndef WEFT_DNS_NAME_H
#define WEFT_DNS_NAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

#define DNS_NAME_MAX   255 /* octets in wire form, length octets and the root included */
#define DNS_LABEL_MAX  63
#define DNS_LABELS_MAX 127  /* what fits into 255 octets, the root not counted */
#define DNS_NAME_TEXT  1024 /* the longest text form: every octet as \DDD, dots, final zero */

/* b[0..len) are labels, each after its length octet, and the root's zero. len is 1 … 255; len 0 is "no name" (a zeroed struct). */
struct dns_name {
	uint8_t len;
	uint8_t b[DNS_NAME_MAX];
};

struct dns_name dns_name_root(void);
bool dns_name_is_root(const struct dns_name *n);
/* From wire bytes that must be exactly one uncompressed name. ERR_MALFORMED, ERR_TRUNCATED, ERR_LIMIT. */
enum err dns_name_from_wire(struct slice wire, struct dns_name *out) MUST_CHECK;
struct slice dns_name_slice(const struct dns_name *n); /* points into *n */
void dns_name_lower(struct dns_name *n);               /* A-Z to a-z, in place */
unsigned dns_name_labels(const struct dns_name *n);    /* without the root */

bool dns_name_eq(const struct dns_name *a, const struct dns_name *b);    /* without case */
bool dns_name_exact(const struct dns_name *a, const struct dns_name *b); /* with case */
/* Order of the lower-cased wire bytes: total, 0 exactly when dns_name_eq. For lists shown to people use the text forms. */
int dns_name_cmp(const struct dns_name *a, const struct dns_name *b);
bool dns_name_in_domain(const struct dns_name *n, const struct dns_name *domain); /* the same name or below it */
/* The name without its first label; false when n is the root. out may be n. */
bool dns_name_parent(const struct dns_name *n, struct dns_name *out);
/* front's labels followed by tail. ERR_LIMIT when it gets longer than 255. out may be either. */
enum err dns_name_join(const struct dns_name *front, const struct dns_name *tail, struct dns_name *out) MUST_CHECK;

/* Text form with \. \\ and \DDD (RFC 1035 section 5.1); the final dot may be missing, "." is the root.
 * ERR_MALFORMED (empty, empty label, bad escape), ERR_LIMIT (label or name too long). */
enum err dns_name_parse(const char *text, struct dns_name *out) MUST_CHECK;
/* With the final dot. parse(format(n)) is n. */
const char *dns_name_format(const struct dns_name *n, char out[DNS_NAME_TEXT]);

/* A domain for --dns-domain: with or without the final dot, made of host-name labels (letters, digits, '-', '_'), not the root.
 * ERR_MALFORMED or ERR_LIMIT, with a note for the operator. */
enum err dns_domain_check(const char *text, struct dns_name *out, struct err_note *note) MUST_CHECK;
/* A name given over the API or by a container: host-name labels, with or without the final dot; a single label means that label in
 * the domain. ERR_MALFORMED, ERR_LIMIT, or ERR_RANGE when it does not lie below the domain; each with a note. */
enum err dns_name_check(const char *text, const struct dns_name *domain, struct dns_name *out, struct err_note *note) MUST_CHECK;

#endif
