#include "base/addr.h"

#include <arpa/inet.h>
#include <string.h>

#include "base/rng.h"
#include "cmocka_all.h"
#include "seed.h"

enum { ROUNDS = 100000 };
#define COUNT(v) (sizeof(v) / sizeof(v)[0])

static void peer_text(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		uint64_t peer;
	} good[] = {
		{ "01:02:03:04:05:06", 0x010203040506 },
		{ "FF:ff:Ff:fF:ff:ff", PEER_MAX },
		{ "1:2:3:4:5:6", 0x010203040506 },
		{ "00:00:00:00:00:00", PEER_NONE },
		{ "::1", 1 },
		{ "1::", 0x010000000000 },
		{ "a:b::c", 0x0a0b0000000c },
		{ "1:2:3:4::", 0x010203040000 },
		{ "::3:4:5:6", 0x000003040506 },
		{ "1::5:6", 0x010000000506 },
		{ "8a:3b::0c:1", 0x8a3b00000c01 },
		{ "::0", PEER_NONE },
	};
	static const char *const bad[] = { "", ":", "::", ":::", "1", "1:2", "1:2:3:4:5", "1:2:3:4:5:6:7",
		"1:2:3:4:5::", "::1:2:3:4:5", "1:2:3::4:5", "1:2:3:4::5:6", "1::2::3", "::1::", ":1:2:3:4:5:6",
		"1:2:3:4:5:6:", "::1:", "1:::2", "111::", "::001", "1:2:3:4:5:g", " ::1", "::1 ", "::x", "1-2-3-4-5-6", "010203040506",
		"0x1::", "-1::" };
	for (size_t i = 0; i < COUNT(good); i++) {
		uint64_t v = 99;
		assert_int_equal(peer_parse(good[i].text, &v), ERR_OK);
		assert_int_equal(v, good[i].peer);
	}
	for (size_t i = 0; i < COUNT(bad); i++) {
		uint64_t v = 99;
		if (peer_parse(bad[i], &v) != ERR_MALFORMED)
			fail_msg("\"%s\" was accepted", bad[i]);
		assert_int_equal(v, 99);
	}
	char out[PEER_TEXT];
	assert_string_equal(peer_format(0x0a0bfc00de01, out), "0a:0b:fc:00:de:01");
	assert_string_equal(peer_format(PEER_MAX, out), "ff:ff:ff:ff:ff:ff");
	assert_string_equal(peer_format(PEER_NONE, out), "00:00:00:00:00:00");
}

static void mac_text(void **state)
{
	(void)state;
	struct mac m, want = { { 0x02, 0x42, 0xac, 0x11, 0x00, 0xff } };
	assert_int_equal(mac_parse("02:42:aC:11:00:FF", &m), ERR_OK);
	assert_true(mac_eq(m, want));
	char out[MAC_TEXT];
	assert_string_equal(mac_format(m, out), "02:42:ac:11:00:ff");
	static const char *const bad[] = { "", "02", "02:42:ac:11:00",
		"02:42:ac:11:00:", "02:42:ac:11:00:ff:", "02:42:ac:11:00:ff:01", "2:42:ac:11:00:ff", "02:42:ac:11:00:f",
		"002:42:ac:11:00:ff", "02-42-ac-11-00-ff", "02:42:ac:11:00:fg", ":02:42:ac:11:00:ff", "02:42::00:ff",
		" 02:42:ac:11:00:ff" };
	for (size_t i = 0; i < COUNT(bad); i++)
		if (mac_parse(bad[i], &m) != ERR_MALFORMED)
			fail_msg("\"%s\" was accepted", bad[i]);
	assert_true(mac_eq(m, want));
	want.b[5]--;
	assert_false(mac_eq(m, want));
	assert_false(mac_is_group(m));
	assert_true(mac_is_group((struct mac){ { 1 } }));
	assert_true(mac_is_group((struct mac){ { 0x33, 0x33 } }));
	assert_true(mac_is_group((struct mac){ { 255, 255, 255, 255, 255, 255 } }));
	assert_false(mac_is_group((struct mac){ { 0xfe, 1, 1, 1, 1, 1 } }));
}

static struct ip ip(const char *text)
{
	struct ip a;
	if (ip_parse(text, &a))
		fail_msg("\"%s\" was refused", text);
	return a;
}

static struct prefix prefix(const char *text)
{
	struct prefix p;
	if (prefix_parse(text, &p))
		fail_msg("\"%s\" was refused", text);
	return p;
}

/* The examples of RFC 5952, sections 4 and 5, and the edges of "::". */
static void ip_text(void **state)
{
	(void)state;
	static const char *const texts[][2] = {
		{ "0.0.0.0", "0.0.0.0" },
		{ "255.255.255.255", "255.255.255.255" },
		{ "10.32.0.1", "10.32.0.1" },
		{ "0:0:0:0:0:0:0:0", "::" },
		{ "0:0:0:0:0:0:0:1", "::1" },
		{ "1:0:0:0:0:0:0:0", "1::" },
		{ "2001:0db8::0001", "2001:db8::1" },
		{ "2001:DB8:0:0:0:0:2:1", "2001:db8::2:1" },
		{ "2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1" },
		{ "2001:db8::1:1:1:1:1", "2001:db8:0:1:1:1:1:1" },
		{ "2001:0:0:1:0:0:0:1", "2001:0:0:1::1" },
		{ "2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1" },
		{ "2001:db8:aaaa:bbbb:cccc:dddd:eeee:AAAA", "2001:db8:aaaa:bbbb:cccc:dddd:eeee:aaaa" },
		{ "0:1:2:3:4:5:6:7", "0:1:2:3:4:5:6:7" },
		{ "0:0:2:3:4:5:6:7", "::2:3:4:5:6:7" },
		{ "1:2:3:4:5:6:0:0", "1:2:3:4:5:6::" },
		{ "1:2:3:4:5:6:7:0", "1:2:3:4:5:6:7:0" },
		{ "fe80:0:0:0:10:200:3000:f", "fe80::10:200:3000:f" },
		{ "::ffff:c000:201", "::ffff:192.0.2.1" },
		{ "::ffff:192.0.2.1", "::ffff:192.0.2.1" },
		{ "::ffff:0:0", "::ffff:0.0.0.0" },
		{ "::1.2.3.4", "::102:304" },
		{ "64:ff9b::192.0.2.33", "64:ff9b::c000:221" },
	};
	static const char *const bad[] = { "", "1", "1.2.3", "1.2.3.4.5", "256.1.1.1", "1.2.3.04", "1.2.3.", ".1.2.3", "1.2.3.4 ",
		" 1.2.3.4", "0x1.2.3.4", "1.2.3.-4", ":", ":::", "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9", "1::2::3", "12345::", "::g",
		"fe80::1%eth0", "[::1]", "::1/64", "::256.1.1.1", "1:2:3:4:5:6:7:1.2.3.4", "none" };
	char out[IP_TEXT];
	for (size_t i = 0; i < COUNT(texts); i++)
		assert_string_equal(ip_format(ip(texts[i][0]), out), texts[i][1]);
	for (size_t i = 0; i < COUNT(bad); i++) {
		struct ip a = { .family = 9 };
		if (ip_parse(bad[i], &a) != ERR_MALFORMED)
			fail_msg("\"%s\" was accepted", bad[i]);
		assert_int_equal(a.family, 9);
	}
	assert_string_equal(ip_format((struct ip){ 0 }, out), "none");
	assert_int_equal(strlen("1111:2222:3333:4444:5555:6666:255.255.255.255"), IP_TEXT - 1);
}

static struct ip random_ip(struct rng *g)
{
	struct ip a = { .family = rng_chance(g, 500000) ? 4 : 6 };
	rng_fill(g, a.b, a.family == 4 ? 4 : 16);
	if (a.family == 6) {
		/* Many zero groups, and some mapped addresses. */
		uint32_t zeros = (uint32_t)rng_u64(g);
		for (size_t i = 0; i < 16; i++)
			if (zeros >> (i / 2) & 1)
				a.b[i] = 0;
		if (rng_chance(g, 100000)) {
			memset(a.b, 0, 10);
			a.b[10] = a.b[11] = 0xff;
		}
	}
	return a;
}

static void ip_text_as_the_c_library(void **state)
{
	(void)state;
	static const uint8_t zeros[12];
	struct rng g;
	rng_seed(&g, test_seed("ip_text_as_the_c_library"));
	for (int i = 0; i < ROUNDS; i++) {
		struct ip a = random_ip(&g);
		char out[IP_TEXT], theirs[IP_TEXT];
		assert_true(ip_eq(ip(ip_format(a, out)), a));
		if (a.family == 6 && memcmp(a.b, zeros, sizeof zeros) == 0)
			continue; /* they write ::/96 with dots */
		assert_non_null(inet_ntop(a.family == 4 ? AF_INET : AF_INET6, a.b, theirs, sizeof theirs));
		assert_string_equal(out, theirs);
	}
}

static void ip_values(void **state)
{
	(void)state;
	struct ip a = ip_v4(0x0a200001), b = ip("10.32.0.1"), none = { 0 };
	assert_true(ip_eq(a, b));
	assert_int_equal(a.b[0], 10);
	assert_int_equal(a.b[3], 1);
	assert_int_equal(ip_to_v4(b), 0x0a200001);
	assert_int_equal(ip_to_v4(ip_v4(UINT32_MAX)), UINT32_MAX);
	for (size_t i = 4; i < 16; i++)
		assert_int_equal(a.b[i], 0);
	assert_int_equal(ip_bits(a), 32);
	assert_int_equal(ip_bits(ip("::")), 128);
	assert_int_equal(ip_bits(none), 0);
	assert_true(ip_eq(none, none));
	assert_false(ip_eq(none, ip("0.0.0.0")));
	assert_false(ip_eq(ip("::"), ip("0.0.0.0")));
	static const char *const sorted[] = { "0.0.0.0", "9.255.255.255", "10.0.0.0", "128.0.0.0", "255.255.255.255", "::", "::1",
		"1::", "8000::", "ffff::" };
	for (size_t i = 0; i < COUNT(sorted); i++) {
		assert_true(ip_cmp(none, ip(sorted[i])) < 0);
		for (size_t j = 0; j < COUNT(sorted); j++) {
			int c = ip_cmp(ip(sorted[i]), ip(sorted[j]));
			assert_int_equal((c > 0) - (c < 0), (i > j) - (i < j));
			assert_int_equal(ip_eq(ip(sorted[i]), ip(sorted[j])), i == j);
		}
	}
}

static void prefix_text(void **state)
{
	(void)state;
	static const char *const good[] = { "10.32.0.0/12", "10.32.0.7/12", "0.0.0.0/0", "1.2.3.4/32", "::/0", "fd00:77::9/64",
		"2001:db8::1/128" };
	static const struct {
		const char *text;
		enum err e;
	} bad[] = {
		{ "", ERR_MALFORMED },
		{ "10.0.0.0", ERR_MALFORMED },
		{ "/8", ERR_MALFORMED },
		{ "10.0.0.0/", ERR_MALFORMED },
		{ "10.0.0.0/x", ERR_MALFORMED },
		{ "10.0.0.0/8x", ERR_MALFORMED },
		{ "10.0.0.0/08", ERR_MALFORMED },
		{ "10.0.0.0/-1", ERR_MALFORMED },
		{ "10.0.0.0/+8", ERR_MALFORMED },
		{ "10.0.0/8", ERR_MALFORMED },
		{ "10.0.0.0/8/8", ERR_MALFORMED },
		{ "10.0.0.0/ 8", ERR_MALFORMED },
		{ "10.0.0.0/33", ERR_RANGE },
		{ "::/129", ERR_RANGE },
		{ "10.0.0.0/264", ERR_RANGE },
		{ "::/4294967297", ERR_RANGE },
		{ "1.2.3.4/99999999999999999999999999999999999999", ERR_RANGE },
		{ "1111:2222:3333:4444:5555:6666:255.255.255.2555/1", ERR_MALFORMED },
	};
	char out[PREFIX_TEXT];
	for (size_t i = 0; i < COUNT(good); i++)
		assert_string_equal(prefix_format(prefix(good[i]), out), good[i]);
	for (size_t i = 0; i < COUNT(bad); i++) {
		struct prefix p = { .len = 77 };
		enum err e = prefix_parse(bad[i].text, &p);
		if (e != bad[i].e)
			fail_msg("\"%s\": %s", bad[i].text, err_name(e));
		assert_int_equal(p.len, 77);
	}
	assert_string_equal(prefix_format((struct prefix){ 0 }, out), "none");
}

static bool bit(struct ip a, unsigned i)
{
	return a.b[i / 8] >> (7 - i % 8) & 1;
}

static bool naive_contains(struct prefix p, struct ip a)
{
	if (p.addr.family != a.family)
		return false;
	for (unsigned i = 0; i < p.len; i++)
		if (bit(p.addr, i) != bit(a, i))
			return false;
	return true;
}

/* a's first `len` bits, then b's. */
static struct ip splice(struct ip a, struct ip b, unsigned len)
{
	for (unsigned i = 0; i < len; i++) {
		uint8_t mask = (uint8_t)(1u << (7 - i % 8));
		b.b[i / 8] = (uint8_t)((b.b[i / 8] & ~mask) | (a.b[i / 8] & mask));
	}
	b.family = a.family;
	if (a.family == 4)
		memset(b.b + 4, 0, 12);
	return b;
}

static void prefixes_bit_by_bit(void **state)
{
	(void)state;
	struct rng g;
	rng_seed(&g, test_seed("prefixes_bit_by_bit"));
	for (int i = 0; i < ROUNDS; i++) {
		struct ip base = random_ip(&g);
		unsigned bits = ip_bits(base);
		struct prefix p = { base, (uint8_t)rng_between(&g, 0, bits) };
		struct ip near = splice(base, random_ip(&g), (unsigned)rng_between(&g, 0, bits)), other = random_ip(&g);
		assert_int_equal(prefix_contains(p, near), naive_contains(p, near));
		assert_int_equal(prefix_contains(p, other), naive_contains(p, other));

		struct prefix net = prefix_network(p);
		assert_int_equal(net.len, p.len);
		for (unsigned k = 0; k < bits; k++)
			assert_int_equal(bit(net.addr, k), k < p.len && bit(base, k));
		assert_true(prefix_is_network(net));
		assert_int_equal(prefix_is_network(p), ip_eq(net.addr, base));
		assert_int_equal(prefix_eq(p, net), ip_eq(net.addr, base));

		struct prefix q = { near, (uint8_t)rng_between(&g, 0, bits) };
		struct prefix wide = p.len < q.len ? p : q, narrow = p.len < q.len ? q : p;
		assert_int_equal(prefix_overlaps(p, q), naive_contains(wide, narrow.addr));
		assert_int_equal(prefix_overlaps(q, p), prefix_overlaps(p, q));
	}
}

static void prefix_edges(void **state)
{
	(void)state;
	struct ip none = { 0 };
	assert_true(prefix_contains(prefix("0.0.0.0/0"), ip("255.255.255.255")));
	assert_false(prefix_contains(prefix("0.0.0.0/0"), ip("::")));
	assert_false(prefix_contains(prefix("0.0.0.0/0"), none));
	assert_false(prefix_contains((struct prefix){ 0 }, none));
	assert_false(prefix_overlaps(prefix("0.0.0.0/0"), prefix("::/0")));
	assert_false(prefix_overlaps((struct prefix){ 0 }, (struct prefix){ 0 }));
	assert_true(prefix_contains(prefix("10.32.0.0/12"), ip("10.47.255.255")));
	assert_false(prefix_contains(prefix("10.32.0.0/12"), ip("10.48.0.0")));
	assert_false(prefix_eq(prefix("10.0.0.0/8"), prefix("10.0.0.0/9")));
	assert_true(prefix_eq(prefix("10.0.0.0/8"), prefix("10.0.0.0/8")));
	/* A length over the family's bits, as only a slip of our own can make it, reads no byte outside. */
	struct prefix over = { ip("1.2.3.4"), 255 };
	assert_true(prefix_contains(over, ip("1.2.3.4")));
	assert_false(prefix_contains(over, ip("1.2.3.5")));
	assert_true(prefix_is_network(over));
}

static void ranges(void **state)
{
	(void)state;
	struct range4 all = range4_of(prefix("0.0.0.0/0")), last = range4_of(prefix("255.255.255.255/32")),
				  ten = range4_of(prefix("10.1.2.3/8"));
	assert_int_equal(all.start, 0);
	assert_int_equal(all.end, UINT64_C(1) << 32);
	assert_int_equal(range4_size(all), UINT64_C(1) << 32);
	assert_int_equal(last.start, UINT32_MAX);
	assert_int_equal(last.end, UINT64_C(1) << 32);
	assert_int_equal(ten.start, 0x0a000000);
	assert_int_equal(ten.end, 0x0b000000);
	assert_true(range4_contains(ten, ten.start));
	assert_true(range4_contains(ten, ten.end - 1));
	assert_false(range4_contains(ten, ten.end));
	assert_false(range4_contains(ten, ten.start - 1));
	/* Every pair of small ranges, address by address. */
	for (uint64_t a = 0; a < 6; a++)
		for (uint64_t b = a; b < 6; b++)
			for (uint64_t c = 0; c < 6; c++)
				for (uint64_t d = c; d < 6; d++) {
					struct range4 x = { a, b }, y = { c, d }, both = range4_and(x, y);
					uint64_t n = 0;
					for (uint64_t i = 0; i < 7; i++) {
						bool in = range4_contains(x, i) && range4_contains(y, i);
						assert_int_equal(range4_contains(both, i), in);
						n += in;
					}
					assert_int_equal(range4_size(both), n);
				}
}

static void hostport_text(void **state)
{
	(void)state;
	static const struct {
		const char *text, *out;
	} good[] = {
		{ "1.2.3.4:5", "1.2.3.4:5" },
		{ "1.2.3.4", "1.2.3.4:6783" },
		{ "[::1]:5", "[::1]:5" },
		{ "[::1]", "[::1]:6783" },
		{ "2001:DB8::1", "[2001:db8::1]:6783" },
		{ "1.2.3.4:65535", "1.2.3.4:65535" },
		{ "1.2.3.4:0", "1.2.3.4:0" },
	};
	static const struct {
		const char *text;
		enum err e;
	} bad[] = {
		{ "", ERR_MALFORMED },
		{ ":5", ERR_MALFORMED },
		{ "host:5", ERR_MALFORMED },
		{ "1.2.3.4:", ERR_MALFORMED },
		{ "[::1]:", ERR_MALFORMED },
		{ "[::1]5", ERR_MALFORMED },
		{ "[::1", ERR_MALFORMED },
		{ "[1.2.3.4]:5", ERR_MALFORMED },
		{ "1.2.3.4:5x", ERR_MALFORMED },
		{ "1.2.3.4:+5", ERR_MALFORMED },
		{ "1.2.3.4:65536", ERR_RANGE },
		{ "1.2.3.4:99999999999999999999", ERR_RANGE },
		{ "1.2.3:5", ERR_MALFORMED },
		{ "a-name-that-is-much-too-long-for-an-address-of-any-family", ERR_MALFORMED },
	};
	struct hostport h;
	char out[HOSTPORT_TEXT];
	for (size_t i = 0; i < COUNT(good); i++) {
		assert_int_equal(hostport_parse(good[i].text, 6783, &h), ERR_OK);
		assert_string_equal(hostport_format(h, out), good[i].out);
	}
	for (size_t i = 0; i < COUNT(bad); i++) {
		h.port = 77;
		enum err e = hostport_parse(bad[i].text, 6783, &h);
		if (e != bad[i].e)
			fail_msg("\"%s\": %s", bad[i].text, err_name(e));
		assert_int_equal(h.port, 77);
	}
	struct hostport a = { ip("1.2.3.4"), 5 }, b = { ip("1.2.3.4"), 6 }, c = { ip("1.2.3.5"), 5 };
	assert_true(hostport_eq(a, a));
	assert_false(hostport_eq(a, b));
	assert_false(hostport_eq(a, c));
	h = (struct hostport){ ip("1111:2222:3333:4444:5555:6666:7777:8888"), 65535 };
	assert_string_equal(hostport_format(h, out), "[1111:2222:3333:4444:5555:6666:7777:8888]:65535");
}

static void hostport_splits(void **state)
{
	(void)state;
	static const struct {
		const char *text, *host;
		uint16_t port;
	} good[] = {
		{ "name", "name", 6783 },
		{ "a-b_c.example.:1", "a-b_c.example.", 1 },
		{ "1.2.3.4:99", "1.2.3.4", 99 },
		{ "[2001:db8::7]:6784", "2001:db8::7", 6784 },
		{ "[::]", "::", 6783 },
		{ "fe80::1", "fe80::1", 6783 },
	};
	static const char *const bad[] = { "", ":", ":99", "a:b", "a:", "a b", "a/b", "a\n", "na\xc3\xafve", "[]", "[]:1", "[a]:1",
		"[::1]x", "[::1]]", "a:1:2", "1:2:3:4:5:6:7:8:9", "fe80::1%eth0", "[fe80::1%eth0]:1", "a@b" };
	char host[64];
	uint16_t port;
	struct err_note note;
	for (size_t i = 0; i < COUNT(good); i++) {
		assert_int_equal(hostport_split(good[i].text, 6783, host, sizeof host, &port, &note), ERR_OK);
		assert_string_equal(host, good[i].host);
		assert_int_equal(port, good[i].port);
	}
	for (size_t i = 0; i < COUNT(bad); i++) {
		note.text[0] = '\0';
		if (hostport_split(bad[i], 6783, host, sizeof host, &port, &note) != ERR_MALFORMED)
			fail_msg("\"%s\" was accepted", bad[i]);
		assert_true(note.text[0]);
	}
	assert_int_equal(hostport_split(":99", 6783, host, sizeof host, &port, &note), ERR_MALFORMED);
	assert_string_equal(note.text, "invalid peer name \":99\", should be host[:port]");
	assert_int_equal(hostport_split("a:65536", 6783, host, sizeof host, &port, NULL), ERR_RANGE);
	/* The last byte of the caller's memory is for the zero. */
	assert_int_equal(hostport_split("abcd:1", 1, host, 5, &port, &note), ERR_OK);
	assert_int_equal(hostport_split("abcde:1", 1, host, 5, &port, &note), ERR_LIMIT);
	assert_int_equal(hostport_split("a", 1, host, 0, &port, &note), ERR_LIMIT);
}

static void wire(void **state)
{
	(void)state;
	struct mac m = { { 1, 2, 3, 4, 5, 6 } };
	struct wbuf w;
	struct rbuf r;
	wbuf_grow(&w, 100);
	wbuf_ip(&w, ip("10.32.0.1"));
	wbuf_ip(&w, (struct ip){ 0 });
	wbuf_mac(&w, m);
	wbuf_ip(&w, ip("2001:db8::ff"));
	assert_int_equal(wbuf_end(&w), ERR_OK);
	static const uint8_t want[] = { 4, 10, 32, 0, 1, 0, 1, 2, 3, 4, 5, 6, 6, 0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
		0, 0xff };
	assert_true(slice_eq(wbuf_slice(&w), slice_of(want, sizeof want)));
	rbuf_init(&r, want, sizeof want);
	assert_true(ip_eq(rbuf_ip(&r), ip("10.32.0.1")));
	assert_int_equal(rbuf_ip(&r).family, 0);
	assert_true(mac_eq(rbuf_mac(&r), m));
	assert_true(ip_eq(rbuf_ip(&r), ip("2001:db8::ff")));
	assert_int_equal(rbuf_end(&r), ERR_OK);
	wbuf_free(&w);

	static const struct ip none;
	struct ip a;
	for (unsigned family = 0; family < 256; family++) {
		uint8_t bytes[17] = { (uint8_t)family, 1, 2, 3 };
		bool known = family == 0 || family == 4 || family == 6;
		rbuf_init(&r, bytes, sizeof bytes);
		a = rbuf_ip(&r);
		assert_int_equal(rbuf_ok(&r), known);
		assert_int_equal(a.family, known ? family : 0);
		/* Cut short: nothing at all. */
		rbuf_init(&r, bytes, family == 4 ? 4 : family == 6 ? 16 : 0);
		a = rbuf_ip(&r);
		assert_false(rbuf_ok(&r));
		assert_memory_equal(&a, &none, sizeof a);
	}
	rbuf_init(&r, want, 5);
	assert_true(mac_eq(rbuf_mac(&r), (struct mac){ { 0 } }));
	assert_false(rbuf_ok(&r));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(peer_text),
		cmocka_unit_test(mac_text),
		cmocka_unit_test(ip_text),
		cmocka_unit_test(ip_text_as_the_c_library),
		cmocka_unit_test(ip_values),
		cmocka_unit_test(prefix_text),
		cmocka_unit_test(prefixes_bit_by_bit),
		cmocka_unit_test(prefix_edges),
		cmocka_unit_test(ranges),
		cmocka_unit_test(hostport_text),
		cmocka_unit_test(hostport_splits),
		cmocka_unit_test(wire),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
