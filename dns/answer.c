/* Three steps: `examine` reads the whole query and says what is wrong with it, `classify` finds whose question it is, and one function
 * per kind of question writes the records. The response is written straight into the caller's buffer; what it needs to remember
 * meanwhile (at most DNS_ADDRESSES_MAX pointers) is on the stack. */
#include "dns/answer.h"

#include <assert.h>
#include <string.h>

#include "dns/reverse.h"

#define SOA_REFRESH 3600u /* RFC 6303 section 3; nobody transfers this zone */
#define SOA_RETRY   1200u
#define SOA_EXPIRE  604800u

static const struct dns_name nobody = { .len = 16, .b = "\6nobody\7invalid" };

enum err dns_answer_cfg_init(struct dns_answer_cfg *c, const char *domain, uint32_t ttl, struct err_note *note)
{
	memset(c, 0, sizeof(*c));
	if (ttl > DNS_TTL_MAX)
		return err_note(note, ERR_RANGE, "the DNS TTL %u is over %u seconds", (unsigned)ttl, (unsigned)DNS_TTL_MAX);
	c->ttl = ttl;
	c->edns_max = DNS_UDP_EDNS_MAX;
	c->serial = 1;
	return dns_domain_check(domain ? domain : DNS_DOMAIN_DEFAULT, &c->domain, note);
}

/* A query taken apart, and where its answer goes. */
struct work {
	const struct dns_answer_cfg *cfg;
	const struct dns_table *table;
	const struct dns_view *view;
	struct rng *rng;
	struct dns_header header;
	bool asked; /* the question was read */
	struct dns_question q;
	struct dns_edns edns;
	struct dns_writer out;
	uint16_t rcode;
	bool aa, truncated;
	struct dns_rr rr; /* one record at a time; here because it is large */
};

/* Reads what follows the header. Gives the rcode of what is wrong with it as a message, DNS_NOERROR when nothing is. */
static uint16_t examine(struct work *k, struct rbuf r)
{
	if (k->header.qd == 1) {
		dns_question_read(&r, &k->q);
		k->asked = rbuf_ok(&r);
	}
	if (dns_opcode(k->header.flags) != 0)
		return DNS_NOTIMP;
	if (!k->asked)
		return DNS_FORMERR;

	uint32_t before_additional = (uint32_t)k->header.an + k->header.ns;
	uint32_t records = before_additional + k->header.ar;
	for (uint32_t i = 0; i < records && rbuf_ok(&r); i++) {
		dns_rr_read(&r, &k->rr);
		if (!rbuf_ok(&r) || k->rr.type != DNS_OPT)
			continue;
		if (i < before_additional || k->edns.present || dns_edns_from_rr(&k->rr, &k->edns) != ERR_OK)
			return DNS_FORMERR;
	}
	if (rbuf_end(&r) != ERR_OK)
		return DNS_FORMERR;
	if (k->edns.version > 0)
		return DNS_BADVERS;
	if (k->q.type == DNS_OPT)
		return DNS_FORMERR;
	if (k->q.cls != DNS_IN || (k->q.type >= DNS_TKEY && k->q.type <= DNS_MAILA))
		return DNS_REFUSED;
	return DNS_NOERROR;
}

enum kind {
	KIND_FOREIGN,
	KIND_APEX,
	KIND_NAME,    /* in the domain; subject is the full name */
	KIND_REVERSE, /* of an address that we know, or that only we could know */
};

static bool is_ours(const struct dns_answer_cfg *c, struct prefix p)
{
	for (size_t i = 0; i < c->n_ours; i++) {
		if (c->ours[i].len <= p.len && prefix_contains(c->ours[i], p.addr))
			return true;
	}
	return false;
}

/* Asked of top-level domains by validating resolvers. */
static bool is_infrastructure(uint16_t type)
{
	return type == DNS_NS || type == DNS_SOA || type == DNS_DS || type == DNS_DNSKEY;
}

static enum kind classify(const struct work *k, struct dns_name *subject, struct prefix *reverse)
{
	const struct dns_name *name = &k->q.name, *domain = &k->cfg->domain;
	*subject = *name;
	if (dns_name_in_domain(name, domain))
		return dns_name_eq(name, domain) ? KIND_APEX : KIND_NAME;
	if (dns_name_labels(name) == 1) {
		if (dns_name_join(name, domain, subject) != ERR_OK)
			return KIND_FOREIGN;
		bool known = dns_table_knows(k->table, k->view, subject) != DNS_KNOWN_NOT;
		return known || !is_infrastructure(k->q.type) ? KIND_NAME : KIND_FOREIGN;
	}
	if (dns_reverse_parse(name, reverse)) {
		bool known = false;
		if (reverse->len == ip_bits(reverse->addr))
			(void)dns_table_names(k->table, k->view, reverse->addr, NULL, 0, &known);
		return known || is_ours(k->cfg, *reverse) ? KIND_REVERSE : KIND_FOREIGN;
	}
	return KIND_FOREIGN;
}

/* Begins k->rr as a record under the name asked. */
static void begin_rr(struct work *k, uint16_t type)
{
	memset(&k->rr, 0, sizeof(k->rr));
	k->rr.name = k->q.name;
	k->rr.type = type;
	k->rr.cls = DNS_IN;
	k->rr.ttl = k->cfg->ttl;
}

static bool put_answer(struct work *k)
{
	if (dns_write_rr(&k->out, DNS_ANSWER, &k->rr))
		return true;
	k->truncated = true;
	return false;
}

static void set_soa(struct work *k, const struct dns_name *zone)
{
	begin_rr(k, DNS_SOA);
	k->rr.name = *zone;
	k->rr.soa = (struct dns_soa){
		.mname = k->cfg->domain,
		.rname = nobody,
		.serial = k->cfg->serial,
		.refresh = SOA_REFRESH,
		.retry = SOA_RETRY,
		.expire = SOA_EXPIRE,
		.minimum = k->cfg->ttl,
	};
}

/* No data, or no such name: the SOA in authority says for how long (RFC 2308 section 3). */
static void put_negative(struct work *k, const struct dns_name *zone, uint16_t rcode)
{
	k->rcode = rcode;
	set_soa(k, zone);
	if (!dns_write_rr(&k->out, DNS_AUTHORITY, &k->rr))
		k->truncated = true;
}

static void put_hinfo(struct work *k)
{
	begin_rr(k, DNS_HINFO);
	k->rr.rdata = slice_of("\7RFC8482\0", 9);
	put_answer(k);
}

static void put_addresses(struct work *k, const struct ip **v, size_t n)
{
	rng_shuffle(k->rng, v, n, sizeof(*v));
	begin_rr(k, k->q.type);
	for (size_t i = 0; i < n; i++) {
		k->rr.ip = *v[i];
		if (!put_answer(k))
			break;
	}
}

static void answer_apex(struct work *k)
{
	const struct dns_name *zone = &k->q.name; /* the domain, in the case asked */
	const struct ip *v[DNS_SELF_MAX];
	size_t n = 0;

	switch (k->q.type) {
	case DNS_ANY: put_hinfo(k); return;
	case DNS_SOA:
		set_soa(k, zone);
		put_answer(k);
		return;
	case DNS_NS:
		begin_rr(k, DNS_NS);
		k->rr.name1 = k->cfg->domain;
		put_answer(k);
		return;
	case DNS_A:
	case DNS_AAAA:
		for (size_t i = 0; i < k->cfg->n_self; i++) {
			if (k->cfg->self[i].family == (k->q.type == DNS_A ? 4 : 6))
				v[n++] = &k->cfg->self[i];
		}
		break;
	default: break;
	}
	if (n > 0)
		put_addresses(k, v, n);
	else
		put_negative(k, zone, DNS_NOERROR);
}

static void answer_name(struct work *k, const struct dns_name *subject)
{
	const struct ip *v[DNS_ADDRESSES_MAX];
	enum dns_known known = dns_table_knows(k->table, k->view, subject);
	size_t n = 0;

	if (k->q.type == DNS_ANY && known == DNS_KNOWN_NAME) {
		put_hinfo(k);
		return;
	}
	if (k->q.type == DNS_A || k->q.type == DNS_AAAA)
		n = dns_table_addresses(k->table, k->view, subject, k->q.type == DNS_A ? 4 : 6, v, DNS_ADDRESSES_MAX);
	if (n > DNS_ADDRESSES_MAX) {
		n = DNS_ADDRESSES_MAX;
		k->truncated = true;
	}
	if (n > 0)
		put_addresses(k, v, n);
	else
		put_negative(k, &k->cfg->domain, known == DNS_KNOWN_NOT ? DNS_NXDOMAIN : DNS_NOERROR);
}

/* The zone of a reverse name for the SOA: an ancestor of the name that is no larger than our prefix, so a prefix is rounded up to whole
 * labels. For an address outside (known only from the table) it is the name itself. */
static struct dns_name reverse_zone(const struct work *k, struct prefix p)
{
	struct dns_name zone = k->q.name;
	unsigned per_label = p.addr.family == 4 ? 8 : 4, have = p.len / per_label, want = have;
	for (size_t i = 0; i < k->cfg->n_ours; i++) {
		if (k->cfg->ours[i].len <= p.len && prefix_contains(k->cfg->ours[i], p.addr))
			want = (k->cfg->ours[i].len + per_label - 1) / per_label;
	}
	for (; have > want; have--)
		(void)dns_name_parent(&zone, &zone);
	return zone;
}

static void answer_reverse(struct work *k, struct prefix p)
{
	struct slice names[DNS_PTR_MAX];
	bool whole = p.len == ip_bits(p.addr), known = false;
	size_t n = whole ? dns_table_names(k->table, k->view, p.addr, names, DNS_PTR_MAX, &known) : 0;

	if (known && k->q.type == DNS_ANY) {
		put_hinfo(k);
		return;
	}
	if (n == 0 || k->q.type != DNS_PTR) {
		/* A part of an address within our range has names below it, or might: never NXDOMAIN. */
		struct dns_name zone = reverse_zone(k, p);
		put_negative(k, &zone, whole && !known ? DNS_NXDOMAIN : DNS_NOERROR);
		return;
	}
	begin_rr(k, DNS_PTR);
	for (size_t i = 0; i < n; i++) {
		enum err e = dns_name_from_wire(names[i], &k->rr.name1);
		assert(e == ERR_OK);
		if (!put_answer(k))
			break;
	}
}

static uint16_t response_flags(const struct work *k, bool tc)
{
	uint16_t kept = (uint16_t)(k->header.flags & (DNS_OPCODE | DNS_RD | DNS_CD));
	unsigned flags = DNS_QR | DNS_RA | kept | (k->aa ? DNS_AA : 0) | (tc ? DNS_TC : 0) | (k->rcode & DNS_RCODE);
	return (uint16_t)flags;
}

/* Header, question and room for OPT. false: w has no room even for that. */
static bool begin_response(struct work *k, struct wbuf *w, size_t limit)
{
	if (!dns_writer_init(&k->out, w, limit, k->header.id, 0))
		return false;
	if (k->edns.present)
		dns_writer_reserve(&k->out, DNS_OPT_SIZE);
	if (k->asked && !dns_write_question(&k->out, &k->q))
		return false;
	return true;
}

static bool end_response(struct work *k, bool is_tcp)
{
	/* TC means "ask again over TCP", where there is nothing left to ask. */
	k->truncated = k->truncated && !is_tcp;
	if (k->edns.present) {
		struct dns_edns e = {
			.present = true,
			.dnssec_ok = k->edns.dnssec_ok,
			.ext_rcode = (uint8_t)(k->rcode >> 4),
			.size = k->cfg->edns_max,
		};
		dns_writer_reserve(&k->out, 0);
		if (!dns_write_opt(&k->out, &e))
			return false;
	}
	dns_writer_set_flags(&k->out, response_flags(k, k->truncated));
	return dns_writer_finish(&k->out) == ERR_OK;
}

static struct dns_result drop(struct dns_result r, enum dns_stat_drop why, struct dns_stats *stats)
{
	r.verdict = DNS_VERDICT_DROP;
	r.drop = why;
	stats->drops[why]++;
	return r;
}

static size_t client_limit(const struct work *k, bool is_tcp)
{
	if (is_tcp)
		return DNS_MESSAGE_MAX;
	if (!k->edns.present || k->edns.size < DNS_UDP_PLAIN)
		return DNS_UDP_PLAIN;
	return k->edns.size < k->cfg->edns_max ? k->edns.size : k->cfg->edns_max;
}

struct dns_result dns_answer(const struct dns_answer_cfg *c, const struct dns_table *t, const struct dns_view *view,
	struct rng *rng, struct slice query, bool is_tcp, struct wbuf *w, struct dns_stats *stats)
{
	struct work k = { .cfg = c, .table = t, .view = view, .rng = rng };
	struct dns_result result = { .verdict = DNS_VERDICT_ANSWER };
	struct dns_name subject;
	struct prefix reverse = { 0 };
	enum kind kind = KIND_FOREIGN;
	size_t start = w->len;

	struct rbuf r;
	rbuf_init(&r, query.p, query.n);
	dns_header_read(&r, &k.header);
	if (!rbuf_ok(&r))
		return drop(result, DNS_DROP_SHORT, stats);
	if ((k.header.flags & DNS_QR) != 0)
		return drop(result, DNS_DROP_RESPONSE, stats);
	k.rcode = examine(&k, r);
	result.type = k.asked ? k.q.type : 0;
	result.limit = client_limit(&k, is_tcp);
	bool sound = k.rcode == DNS_NOERROR;
	if (sound) {
		kind = classify(&k, &subject, &reverse);
		if (kind == KIND_FOREIGN && (k.header.flags & DNS_RD) != 0) {
			result.verdict = DNS_VERDICT_FORWARD;
			return result;
		}
		if (kind == KIND_FOREIGN)
			k.rcode = DNS_REFUSED;
	}

	bool fits = begin_response(&k, w, result.limit);
	k.aa = kind != KIND_FOREIGN;
	if (fits && kind == KIND_APEX)
		answer_apex(&k);
	else if (fits && kind == KIND_NAME)
		answer_name(&k, &subject);
	else if (fits && kind == KIND_REVERSE)
		answer_reverse(&k, reverse);
	if (!fits || !end_response(&k, is_tcp)) {
		w->len = start;
		return drop(result, DNS_DROP_OVERLOAD, stats);
	}
	result.rcode = k.rcode;
	result.truncated = k.truncated;
	stats->truncated += k.truncated;
	dns_stats_answer(stats, DNS_STAT_LOCAL, result.type, result.rcode);
	return result;
}

bool dns_answer_error(struct slice query, uint16_t rcode, struct wbuf *w)
{
	static const struct dns_answer_cfg plain = { .edns_max = DNS_UDP_EDNS_MAX };
	struct work k = { .cfg = &plain };
	size_t start = w->len;

	struct rbuf r;
	rbuf_init(&r, query.p, query.n);
	dns_header_read(&r, &k.header);
	if (!rbuf_ok(&r) || examine(&k, r) != DNS_NOERROR)
		return false;
	k.rcode = rcode;
	if (begin_response(&k, w, DNS_UDP_PLAIN) && end_response(&k, true))
		return true;
	w->len = start;
	return false;
}
