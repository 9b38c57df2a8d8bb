#include "dns/resolvconf.h"

#include <string.h>

#define DNS_PORT 53

static bool is_any(struct ip a)
{
	struct ip zero = { .family = a.family };
	return ip_eq(a, zero);
}

static bool is_loopback(struct ip a)
{
	static const struct ip one = { .family = 6, .b = { [15] = 1 } };
	return a.family == 4 ? a.b[0] == 127 : ip_eq(a, one);
}

static bool is_own(struct ip a, const struct hostport *own, size_t n_own)
{
	/* Nobody can be asked at the unspecified address, but the kernel would take it for this host. */
	if (is_any(a))
		return true;
	for (size_t i = 0; i < n_own; i++) {
		if (own[i].port == DNS_PORT && (ip_eq(own[i].ip, a) || (is_any(own[i].ip) && is_loopback(a))))
			return true;
	}
	return false;
}

static bool is_blank(uint8_t c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

/* The address of a nameserver line. false: it is another line. */
static bool nameserver(struct slice line, struct ip *out)
{
	static const char word[] = "nameserver";
	char text[IP_TEXT];
	size_t at = sizeof(word) - 1, n = 0;

	if (line.n <= at || memcmp(line.p, word, at) != 0 || !is_blank(line.p[at]))
		return false;
	while (at < line.n && is_blank(line.p[at]))
		at++;
	for (; at < line.n && !is_blank(line.p[at]) && line.p[at] != '%'; at++) {
		if (n + 1 == sizeof(text) || line.p[at] == 0)
			return false;
		text[n++] = (char)line.p[at];
	}
	text[n] = '\0';
	return ip_parse(text, out) == ERR_OK;
}

size_t dns_resolvconf_parse(struct slice text, const struct hostport *own, size_t n_own, struct hostport *out, size_t max)
{
	size_t n = 0;
	if (text.n > DNS_RESOLVCONF_MAX)
		text.n = DNS_RESOLVCONF_MAX;
	while (text.n > 0 && n < max) {
		const uint8_t *eol = memchr(text.p, '\n', text.n);
		size_t len = eol ? (size_t)(eol - text.p) : text.n;
		struct hostport h = { .port = DNS_PORT };
		bool take = nameserver(slice_of(text.p, len), &h.ip) && !is_own(h.ip, own, n_own);
		for (size_t i = 0; i < n && take; i++)
			take = !hostport_eq(out[i], h);
		if (take)
			out[n++] = h;
		len += eol != NULL;
		text = slice_of(text.p + len, text.n - len);
	}
	return n;
}
