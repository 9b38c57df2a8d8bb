#include "tests/unit/base/cmocka_all.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "dns/answer.h"
#include "tests/unit/base/seed.h"
#include "tests/unit/dns/hex.h"

struct world {
	struct dns_answer_cfg cfg;
	struct dns_table *table;
	struct rng rng;
	struct dns_stats stats;
	uint8_t mem[DNS_MESSAGE_MAX];
	struct wbuf out;
	struct dns_result result;
	/* the answer, taken apart */
	struct dns_header header;
	struct dns_question q;
	struct dns_rr rr[DNS_ADDRESSES_MAX];
	size_t n;
	struct dns_edns edns;
};

static struct dns_name name(const char *text)
{
	struct dns_name n;
	assert_int_equal(dns_name_parse(text, &n), ERR_OK);
	return n;
}

static struct ip addr(const char *text)
{
	struct ip a;
	assert_int_equal(ip_parse(text, &a), ERR_OK);
	return a;
}

static void add(struct world *w, uint64_t owner, const char *n, const char *a)
{
	struct dns_name nm = name(n);
	assert_int_equal(dns_table_add(w->table, owner, n, &nm, addr(a)), ERR_OK);
}

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));
	assert_non_null(w);
	assert_int_equal(dns_answer_cfg_init(&w->cfg, "weft.local", 1, NULL), ERR_OK);
	assert_int_equal(dns_table_new(&w->table, 1), ERR_OK);
	rng_seed(&w->rng, 5);
	assert_int_equal(prefix_parse("10.32.0.0/12", &w->cfg.ours[0]), ERR_OK);
	assert_int_equal(prefix_parse("fd00:1::/64", &w->cfg.ours[1]), ERR_OK);
	w->cfg.n_ours = 2;
	w->cfg.self[w->cfg.n_self++] = addr("169.254.67.83");
	add(w, 1, "web.weft.local", "10.32.0.1");
	add(w, 1, "Two.weft.local", "10.32.0.2");
	add(w, 2, "Two.weft.local", "10.32.0.3");
	add(w, 2, "six.weft.local", "fd00:1::6");
	add(w, 1, "a.sub.weft.local", "192.0.2.7");
	add(w, 3, "gone.weft.local", "10.32.0.9");
	assert_int_equal(dns_table_set_reachable(w->table, 3, false), ERR_OK);
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;
	dns_table_free(w->table);
	free(w);
	return 0;
}

/* Answers a packet and reads what came with our own reader, which must find nothing wrong. */
static enum dns_verdict ask_raw(struct world *w, struct slice query, bool is_tcp)
{
	struct rbuf r;
	long live = mem_live();
	wbuf_fixed(&w->out, w->mem, sizeof(w->mem));
	mem_fail_at(1, true);
	w->result = dns_answer(&w->cfg, w->table, NULL, &w->rng, query, is_tcp, &w->out, &w->stats);
	mem_fail_at(0, false);
	assert_int_equal(mem_live(), live);
	w->n = 0;
	w->edns = (struct dns_edns){ 0 };
	if (w->result.verdict != DNS_VERDICT_ANSWER) {
		assert_int_equal(w->out.len, 0);
		return w->result.verdict;
	}
	assert_true(w->out.len <= w->result.limit || w->result.limit == 0);
	rbuf_init(&r, w->mem, w->out.len);
	dns_header_read(&r, &w->header);
	assert_true(w->header.flags & DNS_QR);
	assert_true(w->header.flags & DNS_RA);
	for (int i = 0; i < w->header.qd; i++)
		dns_question_read(&r, &w->q);
	for (int i = 0; i < w->header.an + w->header.ns + w->header.ar; i++) {
		struct dns_rr rr;
		dns_rr_read(&r, &rr);
		if (rr.type == DNS_OPT)
			assert_int_equal(dns_edns_from_rr(&rr, &w->edns), ERR_OK);
		else
			w->rr[w->n++] = rr;
	}
	assert_int_equal(rbuf_end(&r), ERR_OK);
	assert_int_equal(w->result.rcode, (w->header.flags & DNS_RCODE) | w->edns.ext_rcode << 4);
	return DNS_VERDICT_ANSWER;
}

struct opts {
	uint16_t cls, flags, edns; /* 0: IN, RD, none */
	bool is_tcp, dnssec_ok;
	uint8_t version;
};

static enum dns_verdict ask(struct world *w, const char *qname, uint16_t type, struct opts o)
{
	uint8_t mem[600];
	struct wbuf out;
	struct dns_writer d;
	struct dns_question q = { .name = name(qname), .type = type, .cls = o.cls ? o.cls : DNS_IN };
	wbuf_fixed(&out, mem, sizeof(mem));
	assert_true(dns_writer_init(&d, &out, 512, 0xabcd, o.flags ? o.flags : DNS_RD));
	assert_true(dns_write_question(&d, &q));
	if (o.edns) {
		struct dns_edns e = { .size = o.edns, .dnssec_ok = o.dnssec_ok, .version = o.version };
		assert_true(dns_write_opt(&d, &e));
	}
	assert_int_equal(dns_writer_finish(&d), ERR_OK);
	enum dns_verdict v = ask_raw(w, wbuf_slice(&out), o.is_tcp);
	if (v == DNS_VERDICT_ANSWER) {
		assert_int_equal(w->header.id, 0xabcd);
		assert_int_equal(w->header.qd, 1);
		assert_true(dns_name_exact(&w->q.name, &q.name)); /* the question comes back in its own case */
		assert_int_equal(w->edns.present, o.edns != 0);
	}
	return v;
}

/* An answer with this rcode and so many records in answer and authority, authoritative or not. */
static bool got(const struct world *w, uint16_t rcode, size_t an, size_t ns, bool aa)
{
	bool ok = w->result.verdict == DNS_VERDICT_ANSWER && w->result.rcode == rcode && w->header.an == an && w->header.ns == ns &&
		((w->header.flags & DNS_AA) != 0) == aa;
	if (!ok)
		printf("verdict %d rcode %u flags %04x an %u ns %u\n", (int)w->result.verdict, w->result.rcode, w->header.flags,
			w->header.an, w->header.ns);
	return ok;
}

static const struct opts plain = { 0 };

static void golden(void **state)
{
	struct world *w = *state;
	static struct packet p;
	struct slice q =
		hex(&p, "1a2b 0100 0001 0000 0000 0001 03\"wEb\"04\"weft\"05\"local\"00 0001 0001 00 0029 04d0 00008000 0000");
	assert_int_equal(ask_raw(w, q, false), DNS_VERDICT_ANSWER);
	assert_true(hex_is(wbuf_slice(&w->out),
		"1a2b 8580 0001 0001 0000 0001 03\"wEb\"04\"weft\"05\"local\"00 0001 0001 "
		"c00c 0001 0001 00000001 0004 0a200001 00 0029 1000 00008000 0000"));
	q = hex(&p, "1a2b 0110 0001 0000 0000 0000 02\"no\"04\"weft\"05\"local\"00 001c 0001");
	assert_int_equal(ask_raw(w, q, false), DNS_VERDICT_ANSWER);
	assert_true(hex_is(wbuf_slice(&w->out),
		"1a2b 8593 0001 0000 0001 0000 02\"no\"04\"weft\"05\"local\"00 001c 0001 "
		"c00f 0006 0001 00000001 0026 c00f 06\"nobody\"07\"invalid\"00 "
		"00000001 00000e10 000004b0 00093a80 00000001"));
	q = hex(&p, "0001 0100 0001 0000 0000 0000 01\"1\"01\"0\"02\"32\"02\"10\"07\"in-addr\"04\"arpa\"00 000c 0001");
	assert_int_equal(ask_raw(w, q, false), DNS_VERDICT_ANSWER);
	assert_true(hex_is(wbuf_slice(&w->out),
		"0001 8580 0001 0001 0000 0000 01\"1\"01\"0\"02\"32\"02\"10\"07\"in-addr\"04\"arpa\"00 000c 0001 "
		"c00c 000c 0001 00000001 0010 03\"web\"04\"weft\"05\"local\"00"));
}

static void names(void **state)
{
	struct world *w = *state;
	ask(w, "WEB.Weft.LOCAL", DNS_A, plain);
	assert_true(got(w, DNS_NOERROR, 1, 0, true));
	assert_true(ip_eq(w->rr[0].ip, addr("10.32.0.1")));
	assert_true(dns_name_exact(&w->rr[0].name, &w->q.name));
	assert_int_equal(w->rr[0].ttl, 1);
	ask(w, "Web", DNS_A, plain); /* a single label, answered under its own name */
	assert_true(got(w, DNS_NOERROR, 1, 0, true));
	assert_true(dns_name_exact(&w->rr[0].name, &w->q.name));
	ask(w, "two.weft.local", DNS_A, plain);
	assert_true(got(w, DNS_NOERROR, 2, 0, true));
	ask(w, "six.weft.local", DNS_AAAA, plain);
	assert_true(got(w, DNS_NOERROR, 1, 0, true));
	assert_true(ip_eq(w->rr[0].ip, addr("fd00:1::6")));
	ask(w, "a.sub.weft.local", DNS_A, plain);
	assert_true(got(w, DNS_NOERROR, 1, 0, true));
}

static void negative(void **state)
{
	struct world *w = *state;
	static const struct {
		const char *name;
		uint16_t type, rcode;
	} cases[] = {
		{ "web.weft.local", DNS_AAAA, DNS_NOERROR },
		{ "web.weft.local", DNS_TXT, DNS_NOERROR },
		{ "web.weft.local", DNS_SRV, DNS_NOERROR },
		{ "web.weft.local", DNS_NS, DNS_NOERROR },
		{ "web", DNS_MX, DNS_NOERROR },
		{ "web", DNS_NS, DNS_NOERROR },
		{ "six.weft.local", DNS_A, DNS_NOERROR },
		{ "sub.weft.local", DNS_A, DNS_NOERROR },
		{ "sub.weft.local", DNS_ANY, DNS_NOERROR },
		{ "gone.weft.local", DNS_A, DNS_NOERROR },
		{ "no.weft.local", DNS_A, DNS_NXDOMAIN },
		{ "no.weft.local", DNS_ANY, DNS_NXDOMAIN },
		{ "x.web.weft.local", DNS_A, DNS_NXDOMAIN },
		{ "no", DNS_A, DNS_NXDOMAIN },
		{ "weft.local", DNS_TXT, DNS_NOERROR },
		{ "weft.local", DNS_AAAA, DNS_NOERROR },
		{ "_dns._udp.weft.local", DNS_SRV, DNS_NXDOMAIN },
	};
	struct dns_name domain = name("weft.local");
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		ask(w, cases[i].name, cases[i].type, plain);
		if (!got(w, cases[i].rcode, 0, 1, true))
			fail_msg("case %zu: %s %u", i, cases[i].name, cases[i].type);
		assert_int_equal(w->rr[0].type, DNS_SOA);
		assert_true(dns_name_eq(&w->rr[0].name, &domain));
		assert_int_equal(w->rr[0].ttl, 1);
		assert_int_equal(w->rr[0].soa.minimum, 1);
	}
}

static void apex(void **state)
{
	struct world *w = *state;
	struct dns_name domain = name("weft.local");
	ask(w, "Weft.local", DNS_SOA, plain);
	assert_true(got(w, DNS_NOERROR, 1, 0, true));
	assert_true(w->rr[0].type == DNS_SOA && dns_name_exact(&w->rr[0].name, &w->q.name));
	ask(w, "weft.local", DNS_NS, plain);
	assert_true(got(w, DNS_NOERROR, 1, 0, true));
	assert_true(w->rr[0].type == DNS_NS && dns_name_eq(&w->rr[0].name1, &domain));
	ask(w, "weft.local", DNS_A, plain);
	assert_true(got(w, DNS_NOERROR, 1, 0, true));
	assert_true(ip_eq(w->rr[0].ip, addr("169.254.67.83")));
	ask(w, "weft.local", DNS_ANY, plain);
	assert_true(got(w, DNS_NOERROR, 1, 0, true));
}

static void any(void **state)
{
	struct world *w = *state;
	ask(w, "web.weft.local", DNS_ANY, plain);
	assert_true(got(w, DNS_NOERROR, 1, 0, true));
	assert_int_equal(w->rr[0].type, DNS_HINFO);
	assert_true(slice_eq(w->rr[0].rdata, slice_of("\7RFC8482\0", 9)));
	ask(w, "1.0.32.10.in-addr.arpa", DNS_ANY, plain);
	assert_true(got(w, DNS_NOERROR, 1, 0, true));
	assert_int_equal(w->rr[0].type, DNS_HINFO);
	assert_int_equal(ask(w, "example.org", DNS_ANY, plain), DNS_VERDICT_FORWARD);
}

static void reverse(void **state)
{
	struct world *w = *state;
	struct dns_name n;
	ask(w, "2.0.32.10.IN-ADDR.arpa", DNS_PTR, plain);
	assert_true(got(w, DNS_NOERROR, 1, 0, true));
	n = name("Two.weft.local");
	assert_true(dns_name_exact(&w->rr[0].name1, &n));
	ask(w, "6.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.1.0.0.0.0.0.d.f.ip6.arpa", DNS_PTR, plain);
	assert_true(got(w, DNS_NOERROR, 1, 0, true));
	ask(w, "7.2.0.192.in-addr.arpa", DNS_PTR, plain); /* not in our range, but we know it */
	assert_true(got(w, DNS_NOERROR, 1, 0, true));
	ask(w, "7.2.0.192.in-addr.arpa", DNS_TXT, plain);
	assert_true(got(w, DNS_NOERROR, 0, 1, true));
	assert_true(dns_name_exact(&w->rr[0].name, &w->q.name));
	assert_int_equal(ask(w, "8.2.0.192.in-addr.arpa", DNS_PTR, plain), DNS_VERDICT_FORWARD);
	assert_int_equal(ask(w, "8.2.0.192.in-addr.arpa", DNS_TXT, plain), DNS_VERDICT_FORWARD);

	ask(w, "200.0.33.10.in-addr.arpa", DNS_PTR, plain); /* ours, nobody there */
	assert_true(got(w, DNS_NXDOMAIN, 0, 1, true));
	n = name("33.10.in-addr.arpa"); /* a /12 rounded up to whole labels */
	assert_true(dns_name_exact(&w->rr[0].name, &n));
	ask(w, "9.0.32.10.in-addr.arpa", DNS_PTR, plain); /* there, but out of reach */
	assert_true(got(w, DNS_NOERROR, 0, 1, true));
	ask(w, "0.33.10.in-addr.arpa", DNS_PTR, plain);
	assert_true(got(w, DNS_NOERROR, 0, 1, true));
	assert_int_equal(ask(w, "10.in-addr.arpa", DNS_SOA, plain), DNS_VERDICT_FORWARD); /* larger than what is ours */
	assert_int_equal(ask(w, "1.0.48.10.in-addr.arpa", DNS_PTR, plain), DNS_VERDICT_FORWARD);
	assert_int_equal(ask(w, "x.32.10.in-addr.arpa", DNS_PTR, plain), DNS_VERDICT_FORWARD);
}

static void foreign(void **state)
{
	struct world *w = *state;
	struct opts no_rd = { .flags = DNS_CD };
	assert_int_equal(ask(w, "example.org", DNS_A, plain), DNS_VERDICT_FORWARD);
	assert_int_equal(w->result.limit, 512);
	assert_int_equal(w->result.type, DNS_A);
	assert_int_equal(ask(w, "example.org", DNS_A, (struct opts){ .edns = 1232 }), DNS_VERDICT_FORWARD);
	assert_int_equal(w->result.limit, 1232);
	assert_int_equal(ask(w, "example.org", DNS_A, (struct opts){ .edns = 1232, .is_tcp = true }), DNS_VERDICT_FORWARD);
	assert_int_equal(w->result.limit, 65535);
	assert_int_equal(ask(w, ".", DNS_NS, plain), DNS_VERDICT_FORWARD);
	assert_int_equal(ask(w, "notweft.local", DNS_A, plain), DNS_VERDICT_FORWARD);
	assert_int_equal(ask(w, "local", DNS_DS, plain), DNS_VERDICT_FORWARD);
	assert_int_equal(ask(w, "org", DNS_NS, plain), DNS_VERDICT_FORWARD);
	ask(w, "example.org", DNS_A, no_rd);
	assert_true(got(w, DNS_REFUSED, 0, 0, false));
	assert_true((w->header.flags & (DNS_RD | DNS_CD)) == DNS_CD);
}

static void refusals(void **state)
{
	struct world *w = *state;
	ask(w, "version.bind", DNS_TXT, (struct opts){ .cls = DNS_CH });
	assert_true(got(w, DNS_REFUSED, 0, 0, false));
	ask(w, "web.weft.local", DNS_A, (struct opts){ .cls = 255 });
	assert_true(got(w, DNS_REFUSED, 0, 0, false));
	ask(w, "weft.local", 252, plain); /* AXFR */
	assert_true(got(w, DNS_REFUSED, 0, 0, false));
	ask(w, "example.org", 251, plain);
	assert_true(got(w, DNS_REFUSED, 0, 0, false));
	ask(w, "web.weft.local", DNS_OPT, plain);
	assert_true(got(w, DNS_FORMERR, 0, 0, false));
	for (uint16_t opcode = 1; opcode < 16; opcode++) {
		ask(w, "web.weft.local", DNS_A, (struct opts){ .flags = (uint16_t)(opcode << 11 | DNS_RD) });
		assert_true(got(w, DNS_NOTIMP, 0, 0, false));
		assert_int_equal(dns_opcode(w->header.flags), opcode);
	}
	ask(w, "web.weft.local", DNS_A, (struct opts){ .edns = 1232, .version = 1 });
	assert_true(got(w, DNS_BADVERS, 0, 0, false));
	assert_int_equal(w->edns.version, 0);
	assert_int_equal(ask(w, "web.weft.local", DNS_A, (struct opts){ .flags = DNS_QR | DNS_RD }), DNS_VERDICT_DROP);
	assert_int_equal(w->result.drop, DNS_DROP_RESPONSE);
}

#define Q   "03\"web\"04\"weft\"05\"local\"00 0001 0001 "
#define OPT "00 0029 04d0 00000000 0000 "

static void malformed(void **state)
{
	struct world *w = *state;
	static struct packet p;
	static const struct {
		const char *query;
		bool silent;
	} cases[] = {
		{ "", true },
		{ "1234 0100 0001 0000 0000 00", true },
		{ "1234 0100 0001 0000 0000 0000", false },      /* no question though one is promised */
		{ "1234 0100 0000 0000 0000 0000", false },      /* none promised */
		{ "1234 0100 0002 0000 0000 0000 " Q Q, false }, /* two */
		{ "1234 0100 0001 0000 0000 0000 03\"web\"04\"weft\"05\"local\"00 0001 00", false },
		{ "1234 0100 0001 0000 0000 0000 03\"web\"04\"weft\"05\"loca\"", false },
		{ "1234 0100 0001 0000 0000 0000 c00c 0001 0001", false }, /* points at itself */
		{ "1234 0100 0001 0000 0000 0000 01\"a\"c00c 0001 0001", false },
		{ "1234 0100 0001 0000 0000 0000 c000 0001 0001", false },
		{ "1234 0100 0001 0000 0000 0000 40 0001 0001", false },
		{ "1234 0100 0001 0000 0000 0001 " Q, false }, /* counts that lie */
		{ "1234 0100 0001 ffff ffff ffff " Q OPT, false },
		{ "1234 0100 0001 0000 0000 0000 " Q OPT, false }, /* more than was promised */
		{ "1234 0100 0001 0000 0000 0000 " Q "00", false },
		{ "1234 0100 0001 0000 0000 0002 " Q OPT OPT, false }, /* two OPTs */
		{ "1234 0100 0001 0001 0000 0000 " Q OPT, false },     /* OPT among the answers */
		{ "1234 0100 0001 0000 0000 0001 " Q "01\"a\"00 0029 04d0 00000000 0000", false },
		{ "1234 0100 0001 0000 0000 0001 " Q "00 0029 04d0 00000000 0002 0000", false },
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		enum dns_verdict v = ask_raw(w, hex(&p, cases[i].query), false);
		if (v != (cases[i].silent ? DNS_VERDICT_DROP : DNS_VERDICT_ANSWER))
			fail_msg("case %zu", i);
		if (!cases[i].silent && !got(w, DNS_FORMERR, 0, 0, false))
			fail_msg("case %zu", i);
		if (!cases[i].silent)
			assert_int_equal(w->header.id, 0x1234);
	}
	/* Records of other sections are allowed as long as they are whole. */
	assert_int_equal(ask_raw(w, hex(&p, "1234 0100 0001 0001 0000 0001 " Q "c00c 0001 0001 00000000 0004 01020304 " OPT), false),
		DNS_VERDICT_ANSWER);
	assert_true(got(w, DNS_NOERROR, 1, 0, true));
}

static void many(struct world *w, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct dns_name nm = name("many.weft.local");
		char id[32];
		snprintf(id, sizeof(id), "c%zu", i);
		assert_int_equal(dns_table_add(w->table, 1, id, &nm, ip_v4((uint32_t)(0x0a210000 + i))), ERR_OK);
	}
}

/* 50 addresses: 33 octets of header and question, 16 a record, 11 for the OPT. */
static void sizes(void **state)
{
	struct world *w = *state;
	static const struct {
		uint16_t edns;
		bool is_tcp;
		size_t answers;
		bool tc;
	} cases[] = {
		{ 0, false, 29, true },
		{ 1, false, 29, true },
		{ 511, false, 29, true },
		{ 512, false, 29, true },
		{ 523, false, 29, true },
		{ 524, false, 30, true },
		{ 843, false, 49, true },
		{ 844, false, 50, false },
		{ 4096, false, 50, false },
		{ 65535, false, 50, false },
		{ 0, true, 50, false },
		{ 512, true, 50, false },
	};
	many(w, 50);
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		ask(w, "many.weft.local", DNS_A, (struct opts){ .edns = cases[i].edns, .is_tcp = cases[i].is_tcp });
		size_t opt = cases[i].edns ? DNS_OPT_SIZE : 0;
		if (!got(w, DNS_NOERROR, cases[i].answers, 0, true) || ((w->header.flags & DNS_TC) != 0) != cases[i].tc)
			fail_msg("case %zu", i);
		assert_int_equal(w->out.len, 33 + 16 * cases[i].answers + opt);
		assert_int_equal(w->result.truncated, cases[i].tc);
		if (cases[i].edns)
			assert_int_equal(w->edns.size, 4096);
	}
	/* More than 4096 octets are cut however much the client would take; TCP ends at 65535. */
	many(w, 5000);
	ask(w, "many.weft.local", DNS_A, (struct opts){ .edns = 65535 });
	assert_true(got(w, DNS_NOERROR, (4096 - 33 - 11) / 16, 0, true));
	assert_true(w->header.flags & DNS_TC);
	ask(w, "many.weft.local", DNS_A, (struct opts){ .is_tcp = true });
	assert_true(got(w, DNS_NOERROR, (65535 - 33) / 16, 0, true));
	assert_false(w->header.flags & DNS_TC);
}

static void small_buffers(void **state)
{
	struct world *w = *state;
	static struct packet p;
	struct slice q = hex(&p, "1234 0100 0001 0000 0000 0001 " Q OPT);
	for (size_t room = 0; room < 80; room++) {
		uint8_t mem[80];
		struct wbuf out;
		wbuf_fixed(&out, mem, room);
		struct dns_result r = dns_answer(&w->cfg, w->table, NULL, &w->rng, q, false, &out, &w->stats);
		if (room < 32 + 11) {
			assert_int_equal(r.verdict, DNS_VERDICT_DROP);
			assert_int_equal(out.len, 0);
		} else {
			assert_int_equal(r.verdict, DNS_VERDICT_ANSWER);
			assert_int_equal(r.truncated, room < 32 + 11 + 16);
		}
	}
}

static void shuffled(void **state)
{
	struct world *w = *state;
	size_t first[4] = { 0 };
	rng_seed(&w->rng, test_seed("answer"));
	for (uint8_t i = 0; i < 4; i++) {
		char a[] = "10.34.0.0";
		a[8] = (char)('0' + i);
		add(w, 1, "four.weft.local", a);
	}
	for (int i = 0; i < 4000; i++) {
		ask(w, "four.weft.local", DNS_A, plain);
		assert_true(got(w, DNS_NOERROR, 4, 0, true));
		first[w->rr[0].ip.b[3]]++;
	}
	for (int i = 0; i < 4; i++)
		assert_in_range(first[i], 800, 1200); /* 1000 expected, sigma 27 */
}

static void configuration(void **state)
{
	(void)state;
	struct dns_answer_cfg c;
	struct err_note note = { { 0 } };
	struct dns_name n = name(DNS_DOMAIN_DEFAULT);
	assert_int_equal(dns_answer_cfg_init(&c, NULL, DNS_TTL_DEFAULT, &note), ERR_OK);
	assert_true(dns_name_exact(&c.domain, &n));
	assert_int_equal(dns_answer_cfg_init(&c, "a..b", 1, &note), ERR_MALFORMED);
	assert_true(note.text[0] != '\0');
	assert_int_equal(dns_answer_cfg_init(&c, "x.y.", DNS_TTL_MAX, &note), ERR_OK);
	assert_int_equal(dns_answer_cfg_init(&c, "x.y.", DNS_TTL_MAX + 1, &note), ERR_RANGE);
}

static void counting(void **state)
{
	struct world *w = *state;
	ask(w, "web.weft.local", DNS_A, plain);
	ask(w, "web.weft.local", DNS_A, plain);
	ask(w, "no.weft.local", DNS_MX, plain);
	ask(w, "x.org", DNS_TXT, (struct opts){ .cls = DNS_CH });
	ask(w, "x.org", DNS_TXT, plain);
	assert_int_equal(w->stats.answers[DNS_STAT_LOCAL][DNS_STAT_TYPE_A][DNS_STAT_RCODE_NOERROR], 2);
	assert_int_equal(w->stats.answers[DNS_STAT_LOCAL][DNS_STAT_TYPE_OTHER][DNS_STAT_RCODE_NXDOMAIN], 1);
	assert_int_equal(w->stats.answers[DNS_STAT_LOCAL][DNS_STAT_TYPE_TXT][DNS_STAT_RCODE_REFUSED], 1);
	uint64_t all = 0;
	for (int s = 0; s < DNS_STAT_SOURCE_COUNT; s++) {
		for (int t = 0; t < DNS_STAT_TYPE_COUNT; t++) {
			for (int r = 0; r < DNS_STAT_RCODE_COUNT; r++)
				all += w->stats.answers[s][t][r];
		}
	}
	assert_int_equal(all, 4);
	ask_raw(w, slice_of("x", 1), false);
	assert_int_equal(w->stats.drops[DNS_DROP_SHORT], 1);
	assert_string_equal(dns_stat_type_label(DNS_STAT_TYPE_OTHER), "other");
	assert_string_equal(dns_stat_rcode_label(DNS_STAT_RCODE_NXDOMAIN), "NXDOMAIN");
	assert_string_equal(dns_stat_source_label(DNS_STAT_FORWARD), "forward");
	assert_string_equal(dns_stat_drop_label(DNS_DROP_ID), "wrong_id");
}

static void own_errors(void **state)
{
	(void)state;
	static struct packet p;
	uint8_t mem[512];
	struct wbuf out;
	wbuf_fixed(&out, mem, sizeof(mem));
	assert_true(dns_answer_error(hex(&p, "1234 0110 0001 0000 0000 0001 " Q OPT), DNS_SERVFAIL, &out));
	assert_true(hex_is(wbuf_slice(&out), "1234 8192 0001 0000 0000 0001 " Q "00 0029 1000 00000000 0000"));
	wbuf_reset(&out);
	assert_false(dns_answer_error(hex(&p, "1234 0110 0001 0000 0000 0001 "), DNS_SERVFAIL, &out));
	assert_int_equal(out.len, 0);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(golden),
		T(names),
		T(negative),
		T(apex),
		T(any),
		T(reverse),
		T(foreign),
		T(refusals),
		T(malformed),
		T(sizes),
		T(small_buffers),
		T(shuffled),
		T(counting),
		cmocka_unit_test(configuration),
		cmocka_unit_test(own_errors),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
