/* Counters of the name service, plain numbers: who counts them owns them. */
#ifndef WEFT_DNS_STATS_H
#define WEFT_DNS_STATS_H

#include <stdint.h>

/* X(id, label of the metric) */
#define DNS_STAT_TYPES(X) \
	X(A, "A") X(AAAA, "AAAA") X(PTR, "PTR") X(SRV, "SRV") X(TXT, "TXT") X(SOA, "SOA") X(NS, "NS") X(ANY, "ANY") X(OTHER, "other")
#define DNS_STAT_RCODES(X)  \
	X(NOERROR, "NOERROR")   \
	X(FORMERR, "FORMERR")   \
	X(SERVFAIL, "SERVFAIL") \
	X(NXDOMAIN, "NXDOMAIN") X(NOTIMP, "NOTIMP") X(REFUSED, "REFUSED") X(BADVERS, "BADVERS") X(OTHER, "other")
#define DNS_STAT_SOURCES(X) X(LOCAL, "local") X(FORWARD, "forward")
/* Why something got no answer: a query (short … overload) or an upstream's datagram (socket … upstream_malformed). */
#define DNS_STAT_DROPS(X)       \
	X(SHORT, "short")           \
	X(RESPONSE, "response")     \
	X(OVERLOAD, "overload")     \
	X(SOCKET, "unknown_socket") \
	X(ADDRESS, "wrong_address") X(ID, "wrong_id") X(QUESTION, "wrong_question") X(UPSTREAM_MALFORMED, "upstream_malformed")

#define X(name, label) DNS_STAT_TYPE_##name,
enum dns_stat_type { DNS_STAT_TYPES(X) DNS_STAT_TYPE_COUNT };
#undef X
#define X(name, label) DNS_STAT_RCODE_##name,
enum dns_stat_rcode { DNS_STAT_RCODES(X) DNS_STAT_RCODE_COUNT };
#undef X
#define X(name, label) DNS_STAT_##name,
enum dns_stat_source { DNS_STAT_SOURCES(X) DNS_STAT_SOURCE_COUNT };
#undef X
#define X(name, label) DNS_DROP_##name,
enum dns_stat_drop { DNS_STAT_DROPS(X) DNS_DROP_COUNT };
#undef X

struct dns_stats {
	uint64_t answers[DNS_STAT_SOURCE_COUNT][DNS_STAT_TYPE_COUNT][DNS_STAT_RCODE_COUNT];
	uint64_t drops[DNS_DROP_COUNT];
	uint64_t truncated; /* answers with TC that we cut */
	uint64_t retries;   /* second and later tries upstream */
};

/* Counts one answer by its wire type and (extended) rcode. */
void dns_stats_answer(struct dns_stats *s, enum dns_stat_source source, uint16_t type, uint16_t rcode);
/* Labels; never NULL. */
const char *dns_stat_type_label(enum dns_stat_type t);
const char *dns_stat_rcode_label(enum dns_stat_rcode r);
const char *dns_stat_source_label(enum dns_stat_source s);
const char *dns_stat_drop_label(enum dns_stat_drop d);

#endif
