#include "tests/unit/base/cmocka_all.h"

#include <stdio.h>
#include <string.h>

#include "base/rng.h"
#include "dns/name.h"
#include "dns/reverse.h"
#include "tests/unit/base/seed.h"

static struct dns_name name(const char *text)
{
	struct dns_name n;
	assert_int_equal(dns_name_parse(text, &n), ERR_OK);
	return n;
}

static void text_forms(void **state)
{
	(void)state;
	static const struct {
		const char *in, *out;
	} good[] = {
		{ ".", "." },
		{ "a", "a." },
		{ "a.", "a." },
		{ "Web.Weft.Local", "Web.Weft.Local." },
		{ "a\\.b.c", "a\\.b.c." },
		{ "\\065\\\\.x", "A\\\\.x." },
		{ "\\000\\255\\032.x.", "\\000\\255\\032.x." },
		{ "_http._tcp.x", "_http._tcp.x." },
		{ "a\\\"b.x", "a\\\"b.x." },
	};
	static const char *const bad[] = { "", "..", ".a", "a..b", "a..", "\\", "a\\", "\\25", "\\256", "\\1a2.x" };
	char text[DNS_NAME_TEXT];
	struct dns_name n;

	for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++) {
		n = name(good[i].in);
		assert_string_equal(dns_name_format(&n, text), good[i].out);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		assert_int_equal(dns_name_parse(bad[i], &n), ERR_MALFORMED);
}

static void lengths(void **state)
{
	(void)state;
	char text[600], out[DNS_NAME_TEXT];
	struct dns_name n;

	memset(text, 'a', 64);
	strcpy(text + 63, ".x");
	assert_int_equal(name(text).len, 1 + 63 + 1 + 1 + 1);
	memset(text, 'a', 64);
	strcpy(text + 64, ".x");
	assert_int_equal(dns_name_parse(text, &n), ERR_LIMIT);

	/* 127 labels of one octet are 255 octets in wire form. */
	for (size_t i = 0; i < 127; i++)
		memcpy(text + 2 * i, "b.", 3);
	n = name(text);
	assert_int_equal(n.len, 255);
	assert_int_equal(dns_name_labels(&n), 127);
	assert_string_equal(dns_name_format(&n, out), text);
	text[253] = '\0';
	assert_true(name(text).len == 255);
	strcpy(text + 253, "b");
	assert_int_equal(dns_name_parse(text, &n), ERR_LIMIT);
	strcpy(text + 253, ".b");
	assert_int_equal(dns_name_parse(text, &n), ERR_LIMIT);

	/* The longest text form fits its buffer. */
	struct dns_name wide = { .len = 255 };
	for (size_t i = 0; i < 254; i += 64) {
		wide.b[i] = (uint8_t)(i + 64 <= 254 ? 63 : 254 - i - 1);
		memset(wide.b + i + 1, 0xff, wide.b[i]);
	}
	assert_true(strlen(dns_name_format(&wide, out)) < DNS_NAME_TEXT);
	n = name(out);
	assert_true(dns_name_exact(&n, &wide));
}

static void comparing(void **state)
{
	(void)state;
	struct dns_name a = name("Web.WEFT.local"), b = name("web.weft.LOCAL."), domain = name("weft.local"),
					other = name("ft.local"), n;

	assert_true(dns_name_eq(&a, &b));
	assert_false(dns_name_exact(&a, &b));
	assert_int_equal(dns_name_cmp(&a, &b), 0);
	assert_true(dns_name_in_domain(&a, &domain));
	assert_true(dns_name_in_domain(&domain, &domain));
	assert_false(dns_name_in_domain(&domain, &a));
	assert_false(dns_name_in_domain(&a, &other)); /* the same last octets, but not whole labels */
	n = dns_name_root();
	assert_true(dns_name_in_domain(&a, &n));
	/* A label that holds what looks like the domain in wire form. */
	n = name("x\\004weft\\005local");
	assert_false(dns_name_in_domain(&n, &domain));

	n = a;
	dns_name_lower(&n);
	assert_memory_equal(n.b, "\3web\4weft\5local", n.len);
	assert_true(dns_name_parent(&n, &n));
	assert_true(dns_name_eq(&n, &domain));
	n = dns_name_root();
	assert_false(dns_name_parent(&n, &n));
	n = name("a.b");
	assert_int_equal(dns_name_join(&n, &domain, &n), ERR_OK);
	domain = name("a.b.weft.local");
	assert_true(dns_name_exact(&n, &domain));
	a = name("a");
	b = name("b");
	assert_true(dns_name_cmp(&a, &b) < 0 && dns_name_cmp(&b, &a) > 0);
}

static void from_wire(void **state)
{
	(void)state;
	struct dns_name n;
	static const uint8_t loop[] = { 0xc0, 0x00 };

	assert_int_equal(dns_name_from_wire(slice_of("\1a\0", 3), &n), ERR_OK);
	assert_int_equal(n.len, 3);
	assert_int_equal(dns_name_from_wire(slice_of("\1a\0x", 4), &n), ERR_MALFORMED);
	assert_int_equal(dns_name_from_wire(slice_of("\1a", 2), &n), ERR_TRUNCATED);
	assert_int_equal(dns_name_from_wire(slice_of("\5a\0", 3), &n), ERR_TRUNCATED);
	assert_int_equal(dns_name_from_wire(slice_of("", 0), &n), ERR_TRUNCATED);
	assert_int_equal(dns_name_from_wire(slice_of(loop, 2), &n), ERR_MALFORMED);
}

static void round_trip(void **state)
{
	(void)state;
	struct rng rng;
	rng_seed(&rng, test_seed("name"));
	for (int i = 0; i < 20000; i++) {
		struct dns_name n = { 0 }, m;
		char text[DNS_NAME_TEXT];
		for (;;) {
			size_t label = (size_t)rng_between(&rng, 1, rng_chance(&rng, 100000) ? 63 : 5);
			if (n.len + label + 2 > DNS_NAME_MAX || rng_chance(&rng, 200000))
				break;
			n.b[n.len++] = (uint8_t)label;
			rng_fill(&rng, n.b + n.len, label);
			n.len = (uint8_t)(n.len + label);
		}
		n.b[n.len++] = 0;
		m = name(dns_name_format(&n, text));
		assert_true(dns_name_exact(&n, &m));
		dns_name_lower(&m);
		assert_true(dns_name_eq(&n, &m));
	}
}

static void checks(void **state)
{
	(void)state;
	struct dns_name domain, n;
	struct err_note note;
	char text[DNS_NAME_TEXT], longest[300];
	static const struct {
		const char *in;
		enum err err;
		const char *out;
	} cases[] = {
		{ "web.weft.local", ERR_OK, "web.weft.local." },
		{ "Web.WEFT.local.", ERR_OK, "Web.WEFT.local." },
		{ "a.b.weft.local", ERR_OK, "a.b.weft.local." },
		{ "web", ERR_OK, "web.weft.local." },
		{ "web.", ERR_OK, "web.weft.local." },
		{ "my_db-1", ERR_OK, "my_db-1.weft.local." },
		{ "web.example.org", ERR_RANGE, NULL },
		{ "weft.local", ERR_RANGE, NULL },
		{ "xweft.local", ERR_RANGE, NULL },
		{ "", ERR_MALFORMED, NULL },
		{ ".", ERR_MALFORMED, NULL },
		{ "a b.weft.local", ERR_MALFORMED, NULL },
		{ "a\\.b.weft.local", ERR_MALFORMED, NULL },
		{ "a..weft.local", ERR_MALFORMED, NULL },
		{ "*.weft.local", ERR_MALFORMED, NULL },
	};

	assert_int_equal(dns_domain_check("weft.local", &domain, &note), ERR_OK);
	assert_int_equal(dns_domain_check("weft.local.", &n, &note), ERR_OK);
	assert_true(dns_name_exact(&domain, &n));
	assert_int_equal(dns_domain_check("", &n, &note), ERR_MALFORMED);
	assert_int_equal(dns_domain_check(".", &n, &note), ERR_MALFORMED);
	assert_int_equal(dns_domain_check("a/b", &n, &note), ERR_MALFORMED);
	memset(longest, 0, sizeof(longest));
	for (size_t i = 0; i < 120; i++)
		memcpy(longest + 2 * i, "b.", 2);
	assert_int_equal(dns_domain_check(longest, &n, &note), ERR_LIMIT);
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		note.text[0] = '\0';
		assert_int_equal(dns_name_check(cases[i].in, &domain, &n, &note), cases[i].err);
		if (cases[i].err == ERR_OK)
			assert_string_equal(dns_name_format(&n, text), cases[i].out);
		else
			assert_true(note.text[0] != '\0');
	}
}

static void reverse(void **state)
{
	(void)state;
	static const struct {
		const char *name, *prefix; /* NULL: not a reverse name */
	} cases[] = {
		{ "1.2.32.10.in-addr.arpa", "10.32.2.1/32" },
		{ "255.0.0.1.IN-ADDR.ARPA.", "1.0.0.255/32" },
		{ "32.10.in-addr.arpa", "10.32.0.0/16" },
		{ "in-addr.arpa", "0.0.0.0/0" },
		{ "256.2.32.10.in-addr.arpa", NULL },
		{ "01.2.32.10.in-addr.arpa", NULL },
		{ "0001.2.32.10.in-addr.arpa", NULL },
		{ "1.1.2.32.10.in-addr.arpa", NULL },
		{ "x.in-addr.arpa", NULL },
		{ "arpa", NULL },
		{ "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa", "2001:db8::1/128" },
		{ "F.8.b.d.0.1.0.0.2.ip6.arpa", "2001:db8:f000::/36" },
		{ "10.8.b.d.0.1.0.0.2.ip6.arpa", NULL },
		{ "g.8.b.d.0.1.0.0.2.ip6.arpa", NULL },
	};
	struct rng rng;
	char text[PREFIX_TEXT];

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct dns_name n = name(cases[i].name);
		struct prefix p;
		assert_int_equal(dns_reverse_parse(&n, &p), cases[i].prefix != NULL);
		if (cases[i].prefix)
			assert_string_equal(prefix_format(p, text), cases[i].prefix);
	}
	rng_seed(&rng, test_seed("reverse"));
	for (int i = 0; i < 10000; i++) {
		struct ip a = { .family = rng_chance(&rng, 500000) ? 4 : 6 };
		struct dns_name n, m;
		struct prefix p;
		rng_fill(&rng, a.b, a.family == 4 ? 4 : 16);
		dns_reverse_name(a, &n);
		assert_int_equal(dns_name_from_wire(dns_name_slice(&n), &m), ERR_OK);
		assert_true(dns_reverse_parse(&n, &p) && ip_eq(p.addr, a) && p.len == ip_bits(a));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(text_forms),
		cmocka_unit_test(lengths),
		cmocka_unit_test(comparing),
		cmocka_unit_test(from_wire),
		cmocka_unit_test(round_trip),
		cmocka_unit_test(checks),
		cmocka_unit_test(reverse),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
