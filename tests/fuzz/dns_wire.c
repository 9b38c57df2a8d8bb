/* Names and records. Whatever our reader accepts of a message, our writer writes and our reader reads back as the same. */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "dns/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { RECORDS_MAX = 64 };

static bool same(const struct dns_rr *a, const struct dns_rr *b)
{
	if (!dns_name_exact(&a->name, &b->name) || a->type != b->type || a->cls != b->cls || a->ttl != b->ttl)
		return false;
	switch (a->type) {
	case DNS_A:
	case DNS_AAAA: return ip_eq(a->ip, b->ip) && (a->cls == DNS_IN || slice_eq(a->rdata, b->rdata));
	case DNS_MX: return a->preference == b->preference && dns_name_exact(&a->name1, &b->name1);
	case DNS_NS:
	case DNS_CNAME:
	case DNS_PTR: return dns_name_exact(&a->name1, &b->name1);
	case DNS_SOA:
		return dns_name_exact(&a->soa.mname, &b->soa.mname) && dns_name_exact(&a->soa.rname, &b->soa.rname) &&
			a->soa.serial == b->soa.serial && a->soa.refresh == b->soa.refresh && a->soa.retry == b->soa.retry &&
			a->soa.expire == b->soa.expire && a->soa.minimum == b->soa.minimum;
	default: return slice_eq(a->rdata, b->rdata);
	}
}

static void check_name(const struct dns_name *n)
{
	struct dns_name m;
	char text[DNS_NAME_TEXT];
	assert(n->len >= 1);
	assert(dns_name_from_wire(dns_name_slice(n), &m) == ERR_OK && dns_name_exact(n, &m));
	assert(dns_name_parse(dns_name_format(n, text), &m) == ERR_OK && dns_name_exact(n, &m));
}

static void check_text(const uint8_t *data, size_t size)
{
	char text[300];
	struct dns_name n, domain;
	struct err_note note;
	size_t len = size < sizeof(text) - 1 ? size : sizeof(text) - 1;
	if (len > 0)
		memcpy(text, data, len);
	text[len] = '\0';
	if (dns_name_parse(text, &n) == ERR_OK)
		check_name(&n);
	assert(dns_domain_check("weft.local", &domain, NULL) == ERR_OK);
	if (dns_name_check(text, &domain, &n, &note) == ERR_OK)
		assert(dns_name_in_domain(&n, &domain) && !dns_name_eq(&n, &domain));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t mem[DNS_MESSAGE_MAX];
	static struct dns_rr first[RECORDS_MAX];
	struct dns_question q;
	struct dns_header h;
	struct dns_edns edns;
	struct dns_writer d;
	struct dns_rr rr;
	struct rbuf r;
	struct wbuf w;
	size_t n = 0;

	check_text(data, size);
	rbuf_init(&r, data, size);
	dns_header_read(&r, &h);
	dns_question_read(&r, &q);
	if (!rbuf_ok(&r)) {
		assert(q.name.len == 0 || q.type == 0 || q.cls == 0);
		return 0;
	}
	check_name(&q.name);
	while (rbuf_left(&r) > 0 && n < RECORDS_MAX) {
		dns_rr_read(&r, &rr);
		if (!rbuf_ok(&r))
			break;
		check_name(&rr.name);
		if (dns_edns_from_rr(&rr, &edns) == ERR_OK)
			assert(edns.present && rr.type == DNS_OPT);
		first[n++] = rr;
	}

	wbuf_fixed(&w, mem, sizeof(mem));
	assert(dns_writer_init(&d, &w, DNS_MESSAGE_MAX, h.id, h.flags));
	assert(dns_write_question(&d, &q));
	size_t kept = 0;
	while (kept < n && dns_write_rr(&d, DNS_ANSWER, &first[kept]))
		kept++;
	assert(dns_writer_finish(&d) == ERR_OK);

	struct dns_question q2;
	rbuf_init(&r, mem, w.len);
	dns_header_read(&r, &h);
	dns_question_read(&r, &q2);
	assert(rbuf_ok(&r) && h.qd == 1 && h.an == kept && dns_name_exact(&q.name, &q2.name) && q.type == q2.type && q.cls == q2.cls);
	for (size_t i = 0; i < kept; i++) {
		dns_rr_read(&r, &rr);
		assert(rbuf_ok(&r) && same(&rr, &first[i]));
	}
	assert(rbuf_end(&r) == ERR_OK);
	return 0;
}
