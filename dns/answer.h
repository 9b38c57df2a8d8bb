/* The answering path: a pure function of (configuration, name table, random numbers, query) to an answer, "forward this", or silence.
 *
 * Rules, in this order:
 *   shorter than a header, or a response                -> dropped
 *   opcode other than QUERY (NOTIFY, UPDATE, …)         -> NOTIMP
 *   not one question, any malformation, two OPTs        -> FORMERR
 *   EDNS version above 0                                -> BADVERS (RFC 6891 section 6.1.3)
 *   class other than IN; transfers and meta types       -> REFUSED; type OPT -> FORMERR
 *   a name in the domain, or a single label             -> answered here, with AA
 *   a reverse name of an entry's or our range's address -> answered here, with AA
 *   anything else                                       -> forwarded when RD is set, else REFUSED (we have nothing of our own to say)
 *
 * In the domain: addresses shuffled per answer; ANY gives one HINFO "RFC8482" (RFC 8482 section 4.2); a name without the type asked
 * for gives NOERROR with the SOA in authority, an unknown one NXDOMAIN with the SOA; negative TTL = ttl. A name all of whose owners
 * are unreachable exists: it gives NOERROR without addresses, not NXDOMAIN, which would say that it and all names below it are gone
 * (RFC 8020) when they are only out of reach. The domain itself has SOA and NS (itself, as RFC 6303 does it) and the server's own
 * addresses. A single label is looked up as if the domain followed it, but answered under the name asked; its NS, SOA, DS and DNSKEY
 * are forwarded unless it is known, since those are asked of top-level domains by validating resolvers. */
#ifndef WEFT_DNS_ANSWER_H
#define WEFT_DNS_ANSWER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/rng.h"
#include "dns/name.h"
#include "dns/stats.h"
#include "dns/table.h"
#include "dns/wire.h"

#define DNS_DOMAIN_DEFAULT "weft.local."
#define DNS_TTL_DEFAULT    1     /* seconds */
#define DNS_TTL_MAX        86400 /* seconds; RFC 2181 would allow 2^31-1, but names here come and go */
#define DNS_OURS_MAX       8     /* prefixes */
#define DNS_SELF_MAX       8     /* addresses of the server itself */
#define DNS_ADDRESSES_MAX  4096  /* of one name in one answer: more than fit into 65535 octets */
#define DNS_PTR_MAX        64    /* names of one address in one answer */

struct dns_answer_cfg {
	struct dns_name domain;
	uint32_t ttl;
	struct prefix ours[DNS_OURS_MAX]; /* addresses that no upstream can know: an unknown one in here is NXDOMAIN, not forwarded */
	size_t n_ours;
	struct ip self[DNS_SELF_MAX]; /* what the domain's own A and AAAA give */
	size_t n_self;
	uint16_t edns_max; /* largest UDP answer, 512 … DNS_UDP_EDNS_MAX */
	uint32_t serial;
};
/* Defaults for everything but the domain (NULL: the default) and the TTL in seconds. ERR_MALFORMED, ERR_LIMIT, ERR_RANGE with a note. */
enum err dns_answer_cfg_init(struct dns_answer_cfg *c, const char *domain, uint32_t ttl, struct err_note *note) MUST_CHECK;

enum dns_verdict {
	DNS_VERDICT_ANSWER,  /* the response was written */
	DNS_VERDICT_FORWARD, /* ask upstream: dns_forward_query */
	DNS_VERDICT_DROP,    /* say nothing; why is in result.drop */
};

struct dns_result {
	enum dns_verdict verdict;
	enum dns_stat_drop drop;
	uint16_t type;  /* of the question, 0 when there is none */
	uint16_t rcode; /* of the answer */
	bool truncated; /* not all answers fit, TC is set */
	size_t limit;   /* octets that the client takes: 512 … edns_max over UDP, 65535 over TCP; for forwarding */
};

/* Appends the response to w, which must have room for the limit (a fixed wbuf of edns_max octets for UDP, 65535 for TCP, is always
 * enough; with less the answer is cut as if the limit were less). Of the table there is what `view` shows (NULL: all of it). Nothing is allocated, the table is only read. The answer counts in
 * stats; a forwarded query counts when it is answered (dns/forward.h). */
struct dns_result dns_answer(const struct dns_answer_cfg *c, const struct dns_table *t, const struct dns_view *view,
	struct rng *rng, struct slice query, bool is_tcp, struct wbuf *w, struct dns_stats *stats);

/* A SERVFAIL or REFUSED for a query that dns_answer said to forward but which cannot be: header and question, our flags.
 * false: it does not parse or w has no room. */
bool dns_answer_error(struct slice query, uint16_t rcode, struct wbuf *w);

#endif
