#include "tests/unit/base/cmocka_all.h"

#include <stdio.h>
#include <string.h>

#include "base/rng.h"
#include "dns/wire.h"
#include "tests/unit/base/seed.h"
#include "tests/unit/dns/hex.h"

static struct dns_name name(const char *text)
{
	struct dns_name n;
	assert_int_equal(dns_name_parse(text, &n), ERR_OK);
	return n;
}

#define HEADER "1234 8180 0001 0000 0000 0000 " /* 12 octets: names begin at 0c */

/* Reads one name at offset `at` of a message. */
static bool read_name(const char *text, size_t at, struct dns_name *out, size_t *after)
{
	struct packet p;
	struct rbuf r;
	struct slice s = hex(&p, text);
	rbuf_init(&r, s.p, s.n);
	rbuf_skip(&r, at);
	dns_name_read(&r, out);
	*after = r.pos;
	return rbuf_ok(&r);
}

static void names(void **state)
{
	(void)state;
	static const struct {
		const char *message;
		size_t at;
		const char *name; /* NULL: refused */
		size_t after;
	} cases[] = {
		{ HEADER "03\"web\"04\"weft\"00", 12, "web.weft.", 22 },
		{ HEADER "00", 12, ".", 13 },
		{ HEADER "04\"weft\"00 03\"web\"c00c", 18, "web.weft.", 24 },
		{ HEADER "04\"weft\"00 03\"web\"c00c 01\"a\"c012", 24, "a.web.weft.", 28 },
		{ HEADER "04\"weft\"00 c00c", 18, "weft.", 20 },
		{ HEADER "c00c", 12, NULL, 0 },                    /* itself */
		{ HEADER "c00e 00", 12, NULL, 0 },                 /* forwards */
		{ HEADER "01\"a\"c00c", 12, NULL, 0 },             /* into its own run */
		{ HEADER "01\"a\"c00e 01\"b\"c00c", 16, NULL, 0 }, /* two that point at each other */
		{ HEADER "c000", 12, NULL, 0 },                    /* into the header */
		{ HEADER "c00b", 12, NULL, 0 },
		{ HEADER "04\"weft\"00 c0", 18, NULL, 0 }, /* half a pointer */
		{ HEADER "04\"weft\"", 12, NULL, 0 },      /* no root */
		{ HEADER "04\"we\"", 12, NULL, 0 },        /* label cut */
		{ HEADER "", 12, NULL, 0 },
		{ HEADER "41\"a\"00", 12, NULL, 0 }, /* the dead label types */
		{ HEADER "80", 12, NULL, 0 },
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct dns_name n;
		size_t after;
		char text[DNS_NAME_TEXT];
		bool ok = read_name(cases[i].message, cases[i].at, &n, &after);
		if (ok != (cases[i].name != NULL))
			fail_msg("case %zu", i);
		if (ok) {
			assert_string_equal(dns_name_format(&n, text), cases[i].name);
			assert_int_equal(after, cases[i].after);
		} else {
			assert_int_equal(n.len, 0);
		}
	}
}

/* 255 octets pass and 256 do not, also when a pointer makes them; a chain of pointers has its limit. */
static void name_limits(void **state)
{
	(void)state;
	uint8_t m[700] = { 0 };
	struct rbuf r;
	struct dns_name n;

	for (size_t i = 0; i < 127; i++)
		m[12 + 2 * i] = 1;
	rbuf_init(&r, m, 12 + 255);
	rbuf_skip(&r, 12);
	dns_name_read(&r, &n);
	assert_true(rbuf_ok(&r));
	assert_int_equal(n.len, 255);

	m[12 + 255] = 1;
	m[12 + 257] = 0xc0;
	m[12 + 258] = 12;
	rbuf_init(&r, m, 12 + 259);
	rbuf_skip(&r, 12 + 255);
	dns_name_read(&r, &n);
	assert_false(rbuf_ok(&r));
	m[12 + 258] = 14; /* one label less */
	rbuf_init(&r, m, 12 + 259);
	rbuf_skip(&r, 12 + 255);
	dns_name_read(&r, &n);
	assert_true(rbuf_ok(&r));

	for (size_t hops = DNS_POINTERS_MAX; hops <= DNS_POINTERS_MAX + 1; hops++) {
		memset(m, 0, sizeof(m));
		for (size_t k = 1; k <= hops; k++) {
			m[12 + 2 * k] = 0xc0;
			m[13 + 2 * k] = (uint8_t)(12 + 2 * (k - 1));
		}
		rbuf_init(&r, m, 14 + 2 * hops);
		rbuf_skip(&r, 12 + 2 * hops);
		dns_name_read(&r, &n);
		assert_int_equal(rbuf_ok(&r), hops == DNS_POINTERS_MAX);
	}
}

static bool read_rr(const char *text, struct dns_rr *rr)
{
	static struct packet p;
	struct rbuf r;
	struct slice s = hex(&p, text);
	rbuf_init(&r, s.p, s.n);
	rbuf_skip(&r, 12);
	dns_rr_read(&r, rr);
	return rbuf_end(&r) == ERR_OK;
}

static void records(void **state)
{
	(void)state;
	struct dns_rr rr;
	char text[IP_TEXT], nt[DNS_NAME_TEXT];

	assert_true(read_rr(HEADER "00 0001 0001 0000003c 0004 0a200001", &rr));
	assert_string_equal(ip_format(rr.ip, text), "10.32.0.1");
	assert_int_equal(rr.ttl, 60);
	assert_true(read_rr(HEADER "00 001c 0001 00000001 0010 20010db8000000000000000000000001", &rr));
	assert_string_equal(ip_format(rr.ip, text), "2001:db8::1");
	assert_true(read_rr(HEADER "01\"x\"00 000c 0001 00000001 0004 01\"y\"c00c", &rr));
	assert_string_equal(dns_name_format(&rr.name1, nt), "y.x.");
	assert_true(read_rr(HEADER "00 000f 0001 00000001 0005 000a 01\"y\"00", &rr));
	assert_int_equal(rr.preference, 10);
	assert_true(read_rr(HEADER "00 0006 0001 00000001 0016 00 00 00000001 00000002 00000003 00000004 00000005", &rr));
	assert_int_equal(rr.soa.serial, 1);
	assert_int_equal(rr.soa.minimum, 5);
	assert_true(read_rr(HEADER "00 0010 0001 00000001 0003 02\"hi\"", &rr));
	assert_int_equal(rr.rdata.n, 3);
	assert_true(read_rr(HEADER "00 0001 0003 00000001 0002 0102", &rr)); /* A of another class has its own form */
	assert_int_equal(rr.ip.family, 0);

	static const char *const bad[] = {
		HEADER "00 0001 0001 0000003c 0003 0a2000",     /* A of three octets */
		HEADER "00 0001 0001 0000003c 0005 0a20000100", /* and of five */
		HEADER "00 0001 0001 0000003c 0004 0a2000",     /* length lies */
		HEADER "00 001c 0001 0000003c 0004 0a200001",
		HEADER "00 000c 0001 00000001 0001 01\"y\"00",    /* the name goes past its rdata */
		HEADER "00 000c 0001 00000001 0004 01\"y\"00 00", /* and ends before */
		HEADER "00 0006 0001 00000001 0015 00 00 00000001 00000002 00000003 00000004 000000",
		HEADER "00 0010 0001 00000001 0003 02\"h\"",
		HEADER "00 0010 0001 00000001 00",
		HEADER "00",
	};
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		if (read_rr(bad[i], &rr))
			fail_msg("case %zu", i);
	}
}

static void edns(void **state)
{
	(void)state;
	struct dns_rr rr;
	struct dns_edns e;

	assert_true(read_rr(HEADER "00 0029 04d0 01028000 0000", &rr));
	assert_int_equal(dns_edns_from_rr(&rr, &e), ERR_OK);
	assert_true(e.present && e.dnssec_ok && e.size == 1232 && e.ext_rcode == 1 && e.version == 2);
	assert_true(read_rr(HEADER "00 0029 04d0 00000000 000c 000a 0008 0102030405060708", &rr)); /* cookie */
	assert_int_equal(dns_edns_from_rr(&rr, &e), ERR_OK);
	assert_true(read_rr(HEADER "00 0029 04d0 00000000 0006 000a 0008 0102", &rr)); /* option's length lies */
	assert_int_equal(dns_edns_from_rr(&rr, &e), ERR_MALFORMED);
	assert_false(e.present);
	assert_true(read_rr(HEADER "01\"x\"00 0029 04d0 00000000 0000", &rr));
	assert_int_equal(dns_edns_from_rr(&rr, &e), ERR_MALFORMED);
	assert_true(read_rr(HEADER "00 0010 0001 00000000 0000", &rr));
	assert_int_equal(dns_edns_from_rr(&rr, &e), ERR_MALFORMED);
}

static void writing(void **state)
{
	(void)state;
	uint8_t mem[600];
	struct wbuf w;
	struct dns_writer d;
	struct dns_question q = { .name = name("Web.weft.local"), .type = DNS_A, .cls = DNS_IN };
	struct dns_rr rr = { .name = q.name, .type = DNS_A, .cls = DNS_IN, .ttl = 1, .ip = ip_v4(0x0a200001) };
	struct dns_rr ns = { .name = name("weft.local"), .type = DNS_NS, .cls = DNS_IN, .ttl = 1, .name1 = name("x.Web.weft.local") };
	struct dns_edns e = { .size = 4096, .dnssec_ok = true };

	wbuf_fixed(&w, mem, sizeof(mem));
	wbuf_u16(&w, 0xffff); /* a length prefix: offsets count from behind it */
	assert_true(dns_writer_init(&d, &w, 512, 0x1234, 0x8180));
	assert_true(dns_write_question(&d, &q));
	assert_true(dns_write_rr(&d, DNS_ANSWER, &rr));
	rr.name = name("web.weft.local"); /* another case is another name to the compressor, but its tail is known */
	assert_true(dns_write_rr(&d, DNS_ANSWER, &rr));
	assert_true(dns_write_rr(&d, DNS_AUTHORITY, &ns));
	assert_true(dns_write_opt(&d, &e));
	dns_writer_set_flags(&d, 0x8580);
	assert_int_equal(dns_writer_finish(&d), ERR_OK);
	assert_true(hex_is(wbuf_slice(&w),
		"ffff 1234 8580 0001 0002 0001 0001 "
		"03\"Web\"04\"weft\"05\"local\"00 0001 0001 "
		"c00c 0001 0001 00000001 0004 0a200001 "
		"03\"web\"c010 0001 0001 00000001 0004 0a200001 "
		"c010 0002 0001 00000001 0004 01\"x\"c00c "
		"00 0029 1000 00008000 0000"));
}

/* A record that does not fit leaves no trace; one that fits exactly goes in; what was reserved is kept. */
static void limits(void **state)
{
	(void)state;
	uint8_t mem[600], before[600];
	struct dns_question q = { .name = name("a.b"), .type = DNS_A, .cls = DNS_IN };       /* 5 + 4 octets */
	struct dns_rr rr = { .name = q.name, .type = DNS_A, .cls = DNS_IN, .ip = ip_v4(1) }; /* 16 octets, compressed */
	struct dns_rr other = { .name = name("some.other.name"), .type = DNS_CNAME, .cls = DNS_IN, .name1 = name("b") };
	struct dns_edns e = { .size = 512 };

	for (size_t limit = 12; limit < 80; limit++) {
		struct wbuf w;
		struct dns_writer d;
		size_t n = 0;
		bool by_room = limit % 2 == 0; /* the limit is the buffer's, or ours */
		wbuf_fixed(&w, mem, by_room ? limit : sizeof(mem));
		assert_true(dns_writer_init(&d, &w, by_room ? 512 : limit, 1, 0));
		assert_int_equal(dns_write_question(&d, &q), limit >= 21);
		if (limit < 21)
			continue;
		while (dns_write_rr(&d, DNS_ANSWER, &rr))
			n++;
		assert_int_equal(n, (limit - 21) / 16);
		size_t size = w.len;
		memcpy(before, mem, size);
		bool fits = dns_write_rr(&d, DNS_ANSWER, &other);
		assert_false(fits);
		assert_int_equal(w.len, size);
		assert_memory_equal(mem, before, size);
		assert_int_equal(dns_writer_finish(&d), ERR_OK);
		assert_int_equal(mem[7], n);
	}
	struct wbuf w;
	struct dns_writer d;
	wbuf_fixed(&w, mem, sizeof(mem));
	assert_true(dns_writer_init(&d, &w, 21 + 16 + 10, 1, 0));
	assert_true(dns_write_question(&d, &q));
	dns_writer_reserve(&d, DNS_OPT_SIZE);
	assert_false(dns_write_rr(&d, DNS_ANSWER, &rr));
	dns_writer_reserve(&d, 0);
	assert_true(dns_write_rr(&d, DNS_ANSWER, &rr));
	assert_false(dns_write_opt(&d, &e));
	wbuf_fixed(&w, mem, 11);
	assert_false(dns_writer_init(&d, &w, 512, 1, 0));
}

static struct dns_name random_name(struct rng *rng)
{
	static const char *const labels[] = { "a", "B", "web", "WEB", "weft", "local", "a-much-longer-label-than-the-others" };
	char text[300] = "";
	for (uint64_t k = rng_between(rng, 1, 5); k > 0; k--) {
		strcat(text, labels[rng_below(rng, 7)]);
		strcat(text, ".");
	}
	return name(text);
}

static struct dns_rr random_rr(struct rng *rng)
{
	static const uint16_t types[] = { DNS_A, DNS_AAAA, DNS_NS, DNS_CNAME, DNS_PTR, DNS_MX, DNS_SOA, DNS_TXT, DNS_SRV };
	struct dns_rr rr = {
		.name = random_name(rng), .type = types[rng_below(rng, 9)], .cls = DNS_IN, .ttl = (uint32_t)rng_u64(rng)
	};
	rr.name1 = random_name(rng);
	rr.preference = (uint16_t)rng_u64(rng);
	rr.ip.family = rr.type == DNS_A ? 4 : 6;
	rng_fill(rng, rr.ip.b, rr.type == DNS_A ? 4 : 16);
	rr.soa =
		(struct dns_soa){ .mname = random_name(rng), .rname = random_name(rng), .serial = (uint32_t)rng_u64(rng), .minimum = 7 };
	rr.rdata = slice_of("\3abc\2de", (size_t)rng_below(rng, 7));
	return rr;
}

static bool same_rr(const struct dns_rr *a, const struct dns_rr *b)
{
	if (!dns_name_exact(&a->name, &b->name) || a->type != b->type || a->cls != b->cls || a->ttl != b->ttl)
		return false;
	switch (a->type) {
	case DNS_A:
	case DNS_AAAA: return ip_eq(a->ip, b->ip);
	case DNS_MX: return a->preference == b->preference && dns_name_exact(&a->name1, &b->name1);
	case DNS_NS:
	case DNS_CNAME:
	case DNS_PTR: return dns_name_exact(&a->name1, &b->name1);
	case DNS_SOA:
		return dns_name_exact(&a->soa.mname, &b->soa.mname) && dns_name_exact(&a->soa.rname, &b->soa.rname) &&
			a->soa.serial == b->soa.serial && a->soa.minimum == b->soa.minimum;
	default: return slice_eq(a->rdata, b->rdata);
	}
}

/* Whatever is written is read back the same, case and all, also beyond the names that the compressor remembers. */
static void round_trip(void **state)
{
	(void)state;
	static uint8_t mem[65536];
	static struct dns_rr v[120];
	struct rng rng;
	rng_seed(&rng, test_seed("wire"));
	for (int i = 0; i < 300; i++) {
		struct wbuf w;
		struct dns_writer d;
		struct rbuf r;
		struct dns_header h;
		size_t n = (size_t)rng_between(&rng, 1, 120);
		wbuf_fixed(&w, mem, sizeof(mem));
		assert_true(dns_writer_init(&d, &w, DNS_MESSAGE_MAX, 7, 0x8000));
		for (size_t k = 0; k < n; k++) {
			v[k] = random_rr(&rng);
			assert_true(dns_write_rr(&d, DNS_AUTHORITY, &v[k]));
		}
		assert_int_equal(dns_writer_finish(&d), ERR_OK);
		rbuf_init(&r, mem, w.len);
		dns_header_read(&r, &h);
		assert_true(h.id == 7 && h.flags == 0x8000 && h.qd == 0 && h.an == 0 && h.ns == n && h.ar == 0);
		for (size_t k = 0; k < n; k++) {
			struct dns_rr rr;
			dns_rr_read(&r, &rr);
			assert_true(rbuf_ok(&r) && same_rr(&rr, &v[k]));
		}
		assert_int_equal(rbuf_end(&r), ERR_OK);
	}
}

static void growing(void **state)
{
	(void)state;
	struct wbuf w;
	struct dns_writer d;
	struct dns_question q = { .name = name("a.b"), .type = DNS_A, .cls = DNS_IN };
	wbuf_grow(&w, 15);
	assert_true(dns_writer_init(&d, &w, 512, 1, 0));
	assert_false(dns_write_question(&d, &q));
	wbuf_free(&w);
	wbuf_grow(&w, 512);
	assert_true(dns_writer_init(&d, &w, 512, 1, 0));
	assert_true(dns_write_question(&d, &q));
	assert_int_equal(dns_writer_finish(&d), ERR_OK);
	assert_int_equal(w.len, 21);
	wbuf_free(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names),
		cmocka_unit_test(name_limits),
		cmocka_unit_test(records),
		cmocka_unit_test(edns),
		cmocka_unit_test(writing),
		cmocka_unit_test(limits),
		cmocka_unit_test(round_trip),
		cmocka_unit_test(growing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
