#include "dns/stats.h"

#include "dns/wire.h"

static enum dns_stat_type type_of(uint16_t type)
{
	switch (type) {
	case DNS_A: return DNS_STAT_TYPE_A;
	case DNS_AAAA: return DNS_STAT_TYPE_AAAA;
	case DNS_PTR: return DNS_STAT_TYPE_PTR;
	case DNS_SRV: return DNS_STAT_TYPE_SRV;
	case DNS_TXT: return DNS_STAT_TYPE_TXT;
	case DNS_SOA: return DNS_STAT_TYPE_SOA;
	case DNS_NS: return DNS_STAT_TYPE_NS;
	case DNS_ANY: return DNS_STAT_TYPE_ANY;
	default: return DNS_STAT_TYPE_OTHER;
	}
}

static enum dns_stat_rcode rcode_of(uint16_t rcode)
{
	switch (rcode) {
	case DNS_NOERROR: return DNS_STAT_RCODE_NOERROR;
	case DNS_FORMERR: return DNS_STAT_RCODE_FORMERR;
	case DNS_SERVFAIL: return DNS_STAT_RCODE_SERVFAIL;
	case DNS_NXDOMAIN: return DNS_STAT_RCODE_NXDOMAIN;
	case DNS_NOTIMP: return DNS_STAT_RCODE_NOTIMP;
	case DNS_REFUSED: return DNS_STAT_RCODE_REFUSED;
	case DNS_BADVERS: return DNS_STAT_RCODE_BADVERS;
	default: return DNS_STAT_RCODE_OTHER;
	}
}

void dns_stats_answer(struct dns_stats *s, enum dns_stat_source source, uint16_t type, uint16_t rcode)
{
	s->answers[source][type_of(type)][rcode_of(rcode)]++;
}

#define X(name, label) label,
static const char *const types[] = { DNS_STAT_TYPES(X) };
static const char *const rcodes[] = { DNS_STAT_RCODES(X) };
static const char *const sources[] = { DNS_STAT_SOURCES(X) };
static const char *const drops[] = { DNS_STAT_DROPS(X) };
#undef X

const char *dns_stat_type_label(enum dns_stat_type t)
{
	return (unsigned)t < DNS_STAT_TYPE_COUNT ? types[t] : "";
}

const char *dns_stat_rcode_label(enum dns_stat_rcode r)
{
	return (unsigned)r < DNS_STAT_RCODE_COUNT ? rcodes[r] : "";
}

const char *dns_stat_source_label(enum dns_stat_source s)
{
	return (unsigned)s < DNS_STAT_SOURCE_COUNT ? sources[s] : "";
}

const char *dns_stat_drop_label(enum dns_stat_drop d)
{
	return (unsigned)d < DNS_DROP_COUNT ? drops[d] : "";
}
