/* Text is written by hand, byte for byte, so that it is the same on every C library; IPv6 is read with inet_pton, which is a pure
 * function. Parsers look at no byte past the first that does not fit. */
#include "base/addr.h"

#include <arpa/inet.h>
#include <assert.h>
#include <string.h>

enum { MAC_GROUPS = 6, V6_GROUPS = 8, PORT_MAX_DIGITS = 5 };

static const char hex_digits[] = "0123456789abcdef";

static char *text_dec(char *p, unsigned v)
{
	char rev[10];
	size_t n = 0;
	do {
		rev[n++] = (char)('0' + v % 10);
		v /= 10;
	} while (v);
	while (n > 0)
		*p++ = rev[--n];
	return p;
}

static char *text_str(char *p, const char *s)
{
	size_t n = strlen(s);
	memcpy(p, s, n);
	return p + n;
}

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/* One hex group of at least `least` and at most two digits at *p, which moves past it; -1 when there is none. */
static int hex_group(const char **p, unsigned least)
{
	int v = 0;
	unsigned n = 0;
	for (; n < 2; n++) {
		int d = hex_value(**p);
		if (d < 0)
			break;
		v = v * 16 + d;
		++*p;
	}
	return n >= least ? v : -1;
}

/* A decimal number of the usual form (no sign, no leading zero) that is all of text. ERR_RANGE when over max. */
static enum err dec_all(const char *text, unsigned max, unsigned *out)
{
	if (text[0] == '\0' || (text[0] == '0' && text[1] != '\0'))
		return ERR_MALFORMED;
	uint64_t v = 0;
	for (const char *p = text; *p; p++) {
		if (*p < '0' || *p > '9')
			return ERR_MALFORMED;
		/* Stops growing once over, so that no length of digits overflows. */
		if (v <= max)
			v = v * 10 + (uint64_t)(*p - '0');
	}
	if (v > max)
		return ERR_RANGE;
	*out = (unsigned)v;
	return ERR_OK;
}

const char *peer_format(uint64_t peer, char out[PEER_TEXT])
{
	struct mac m;
	for (unsigned i = 0; i < MAC_GROUPS; i++)
		m.b[i] = (uint8_t)(peer >> (40 - 8 * i));
	return mac_format(m, out);
}

/* "::" must stand for two groups or more and at least one must be written, so every name has a text that is not just noise. */
enum err peer_parse(const char *text, uint64_t *out)
{
	uint8_t group[MAC_GROUPS];
	size_t n = 0, run_at = 0;
	bool run = false;
	const char *p = text;
	if (p[0] == ':' && p[1] == ':') {
		run = true;
		p += 2;
	}
	/* p stands where a group must or, after "::", may begin. */
	while (*p || !run || run_at != n) {
		int v = hex_group(&p, 1);
		if (v < 0 || n == MAC_GROUPS)
			return ERR_MALFORMED;
		group[n++] = (uint8_t)v;
		if (*p == '\0')
			break;
		if (*p++ != ':')
			return ERR_MALFORMED;
		if (*p == ':') {
			if (run)
				return ERR_MALFORMED;
			run = true;
			run_at = n;
			p++;
		}
	}
	if (run ? n == 0 || n > MAC_GROUPS - 2 : n != MAC_GROUPS)
		return ERR_MALFORMED;
	uint64_t v = 0;
	for (size_t i = 0; i < n; i++) {
		/* What stands before the run counts from the top, what follows from the bottom. */
		size_t place = run && i >= run_at ? MAC_GROUPS - n + i : i;
		v |= (uint64_t)group[i] << (40 - 8 * place);
	}
	*out = v;
	return ERR_OK;
}

const char *mac_format(struct mac m, char out[MAC_TEXT])
{
	char *p = out;
	for (size_t i = 0; i < MAC_GROUPS; i++) {
		if (i > 0)
			*p++ = ':';
		*p++ = hex_digits[m.b[i] >> 4];
		*p++ = hex_digits[m.b[i] & 15];
	}
	*p = '\0';
	return out;
}

enum err mac_parse(const char *text, struct mac *out)
{
	struct mac m;
	const char *p = text;
	for (size_t i = 0; i < MAC_GROUPS; i++) {
		if (i > 0 && *p++ != ':')
			return ERR_MALFORMED;
		int v = hex_group(&p, 2);
		if (v < 0)
			return ERR_MALFORMED;
		m.b[i] = (uint8_t)v;
	}
	if (*p)
		return ERR_MALFORMED;
	*out = m;
	return ERR_OK;
}

bool mac_eq(struct mac a, struct mac b)
{
	return memcmp(a.b, b.b, sizeof a.b) == 0;
}

bool mac_is_group(struct mac m)
{
	return m.b[0] & 1;
}

struct ip ip_v4(uint32_t host_order)
{
	struct ip a = { .family = 4 };
	for (unsigned i = 0; i < 4; i++)
		a.b[i] = (uint8_t)(host_order >> (24 - 8 * i));
	return a;
}

uint32_t ip_to_v4(struct ip a)
{
	assert(a.family == 4);
	return (uint32_t)a.b[0] << 24 | (uint32_t)a.b[1] << 16 | (uint32_t)a.b[2] << 8 | a.b[3];
}

static char *v4_text(char *p, const uint8_t b[4])
{
	for (size_t i = 0; i < 4; i++) {
		if (i > 0)
			*p++ = '.';
		p = text_dec(p, b[i]);
	}
	return p;
}

static unsigned v6_group(const uint8_t b[16], size_t i)
{
	return (unsigned)b[2 * i] << 8 | b[2 * i + 1];
}

/* The longest run of two or more zero groups among the first n, the first one of equals (RFC 5952, 4.2). */
static void v6_zero_run(const uint8_t b[16], size_t n, size_t *at, size_t *len)
{
	*at = *len = 0;
	for (size_t i = 0; i < n; i++) {
		size_t j = i;
		while (j < n && v6_group(b, j) == 0)
			j++;
		if (j - i >= 2 && j - i > *len) {
			*at = i;
			*len = j - i;
		}
		if (j > i)
			i = j;
	}
}

static char *v6_text(char *p, const uint8_t b[16])
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };
	/* ::ffff:0:0/96 is the one prefix whose last 32 bits are an IPv4 address for sure (RFC 5952, 5). */
	bool v4 = memcmp(b, mapped, sizeof mapped) == 0;
	size_t groups = v4 ? 6 : V6_GROUPS, run_at, run;
	v6_zero_run(b, groups, &run_at, &run);
	for (size_t i = 0; i < groups;) {
		if (run && i == run_at) {
			p = text_str(p, "::");
			i += run;
			continue;
		}
		if (i > 0 && !(run && i == run_at + run))
			*p++ = ':';
		unsigned g = v6_group(b, i++);
		for (int shift = 12; shift >= 0; shift -= 4)
			if (shift == 0 || g >> shift)
				*p++ = hex_digits[g >> shift & 15];
	}
	if (v4) {
		*p++ = ':';
		p = v4_text(p, b + 12);
	}
	return p;
}

static char *ip_text(char *p, struct ip a)
{
	if (a.family == 4)
		return v4_text(p, a.b);
	if (a.family == 6)
		return v6_text(p, a.b);
	return text_str(p, "none");
}

const char *ip_format(struct ip a, char out[IP_TEXT])
{
	*ip_text(out, a) = '\0';
	return out;
}

enum err ip_parse(const char *text, struct ip *out)
{
	struct ip a = { .family = strchr(text, ':') ? 6 : 4 };
	if (inet_pton(a.family == 6 ? AF_INET6 : AF_INET, text, a.b) != 1)
		return ERR_MALFORMED;
	*out = a;
	return ERR_OK;
}

static size_t ip_bytes(struct ip a)
{
	return ip_bits(a) / 8;
}

bool ip_eq(struct ip a, struct ip b)
{
	return ip_cmp(a, b) == 0;
}

int ip_cmp(struct ip a, struct ip b)
{
	if (a.family != b.family)
		return a.family < b.family ? -1 : 1;
	return memcmp(a.b, b.b, ip_bytes(a));
}

unsigned ip_bits(struct ip a)
{
	return a.family == 4 ? 32 : a.family == 6 ? 128 : 0;
}

static char *prefix_text(char *p, struct prefix x)
{
	p = ip_text(p, x.addr);
	if (x.addr.family == 0)
		return p;
	*p++ = '/';
	return text_dec(p, x.len);
}

const char *prefix_format(struct prefix p, char out[PREFIX_TEXT])
{
	*prefix_text(out, p) = '\0';
	return out;
}

enum err prefix_parse(const char *text, struct prefix *out)
{
	const char *slash = strchr(text, '/');
	char addr[IP_TEXT];
	if (!slash || (size_t)(slash - text) >= sizeof addr)
		return ERR_MALFORMED;
	memcpy(addr, text, (size_t)(slash - text));
	addr[slash - text] = '\0';
	struct prefix p;
	unsigned len;
	enum err e = ip_parse(addr, &p.addr);
	if (!e)
		e = dec_all(slash + 1, ip_bits(p.addr), &len);
	if (e)
		return e;
	p.len = (uint8_t)len;
	*out = p;
	return ERR_OK;
}

/* A length over the family's bits means all of them. */
static unsigned prefix_bits(struct prefix p)
{
	unsigned bits = ip_bits(p.addr);
	return p.len < bits ? p.len : bits;
}

struct prefix prefix_network(struct prefix p)
{
	unsigned bits = prefix_bits(p);
	for (unsigned i = 0; i < sizeof p.addr.b; i++) {
		unsigned kept = bits > 8 * i ? bits - 8 * i : 0;
		if (kept < 8)
			p.addr.b[i] &= (uint8_t)(0xff00u >> kept);
	}
	return p;
}

bool prefix_is_network(struct prefix p)
{
	return ip_eq(p.addr, prefix_network(p).addr);
}

/* Whether a and b, of one family, agree in their first `bits` bits. */
static bool same_bits(struct ip a, struct ip b, unsigned bits)
{
	if (memcmp(a.b, b.b, bits / 8) != 0)
		return false;
	unsigned rest = bits % 8;
	return rest == 0 || (a.b[bits / 8] ^ b.b[bits / 8]) >> (8 - rest) == 0;
}

bool prefix_contains(struct prefix p, struct ip a)
{
	return a.family == p.addr.family && ip_bits(a) > 0 && same_bits(p.addr, a, prefix_bits(p));
}

bool prefix_overlaps(struct prefix a, struct prefix b)
{
	return prefix_bits(a) < prefix_bits(b) ? prefix_contains(a, b.addr) : prefix_contains(b, a.addr);
}

bool prefix_eq(struct prefix a, struct prefix b)
{
	return a.len == b.len && ip_eq(a.addr, b.addr);
}

struct range4 range4_of(struct prefix p)
{
	assert(p.addr.family == 4 && p.len <= 32);
	uint64_t start = ip_to_v4(prefix_network(p).addr);
	return (struct range4){ start, start + (UINT64_C(1) << (32 - p.len)) };
}

bool range4_contains(struct range4 r, uint64_t a)
{
	return r.start <= a && a < r.end;
}

struct range4 range4_and(struct range4 a, struct range4 b)
{
	uint64_t start = a.start > b.start ? a.start : b.start;
	uint64_t end = a.end < b.end ? a.end : b.end;
	return (struct range4){ start, end > start ? end : start };
}

uint64_t range4_size(struct range4 r)
{
	return r.end - r.start;
}

const char *hostport_format(struct hostport h, char out[HOSTPORT_TEXT])
{
	char *p = out;
	if (h.ip.family == 6)
		*p++ = '[';
	p = ip_text(p, h.ip);
	if (h.ip.family == 6)
		*p++ = ']';
	*p++ = ':';
	*text_dec(p, h.port) = '\0';
	return out;
}

enum err hostport_parse(const char *text, uint16_t default_port, struct hostport *out)
{
	char host[IP_TEXT];
	struct hostport h;
	enum err e = hostport_split(text, default_port, host, sizeof host, &h.port, NULL);
	if (!e)
		e = ip_parse(host, &h.ip);
	/* A host too long for an address is no address, whatever else it may be. */
	if (e == ERR_LIMIT)
		e = ERR_MALFORMED;
	if (!e)
		*out = h;
	return e;
}

bool hostport_eq(struct hostport a, struct hostport b)
{
	return a.port == b.port && ip_eq(a.ip, b.ip);
}

/* What may stand in a name or an IPv4 address. Everything else (blanks, controls, slashes) is a slip of the pen or an attempt. */
static bool is_name_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.';
}

static bool is_name(const char *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!is_name_char(p[i]))
			return false;
	return n > 0;
}

static bool is_v6(const char *p, size_t n)
{
	char addr[IP_TEXT];
	struct ip a;
	if (n >= sizeof addr)
		return false;
	memcpy(addr, p, n);
	addr[n] = '\0';
	return !ip_parse(addr, &a) && a.family == 6;
}

enum err hostport_split(
	const char *text, uint16_t default_port, char *host, size_t host_size, uint16_t *port, struct err_note *note)
{
	const char *start = text, *colon = strchr(text, ':');
	const char *port_text = NULL;
	size_t n;
	bool good;
	if (*text == '[') {
		const char *close = strchr(text, ']');
		start = text + 1;
		n = close ? (size_t)(close - start) : 0;
		good = close && is_v6(start, n) && (close[1] == '\0' || close[1] == ':');
		port_text = good && close[1] ? close + 2 : NULL;
	} else if (colon && strchr(colon + 1, ':')) {
		n = strlen(text);
		good = is_v6(text, n);
	} else {
		n = colon ? (size_t)(colon - text) : strlen(text);
		good = is_name(text, n);
		port_text = colon ? colon + 1 : NULL;
	}
	if (!good)
		return err_note(note, ERR_MALFORMED, "invalid peer name \"%.80s\", should be host[:port]", text);
	unsigned number = default_port;
	enum err e = port_text ? dec_all(port_text, UINT16_MAX, &number) : ERR_OK;
	if (e)
		return err_note(note, e, "invalid port in \"%.80s\", should be a number from 0 to 65535", text);
	if (n >= host_size)
		return err_note(note, ERR_LIMIT, "host name \"%.80s\" is too long", text);
	memcpy(host, start, n);
	host[n] = '\0';
	*port = (uint16_t)number;
	return ERR_OK;
}

void wbuf_ip(struct wbuf *w, struct ip a)
{
	assert(a.family == 0 || a.family == 4 || a.family == 6);
	wbuf_u8(w, a.family);
	wbuf_bytes(w, a.b, ip_bytes(a));
}

struct ip rbuf_ip(struct rbuf *r)
{
	struct ip a = { .family = rbuf_u8(r) };
	if (a.family != 0 && a.family != 4 && a.family != 6)
		rbuf_fail(r);
	rbuf_copy(r, a.b, ip_bytes(a));
	/* A failed read gives zero as a whole, not an address of a known family. */
	return rbuf_ok(r) ? a : (struct ip){ 0 };
}

void wbuf_mac(struct wbuf *w, struct mac m)
{
	wbuf_bytes(w, m.b, sizeof m.b);
}

struct mac rbuf_mac(struct rbuf *r)
{
	struct mac m;
	rbuf_copy(r, m.b, sizeof m.b);
	return m;
}
