#include "dns/name.h"

#include <assert.h>
#include <string.h>

static uint8_t lower(uint8_t c)
{
	return c >= 'A' && c <= 'Z' ? (uint8_t)(c + ('a' - 'A')) : c;
}

struct dns_name dns_name_root(void)
{
	return (struct dns_name){ .len = 1 };
}

bool dns_name_is_root(const struct dns_name *n)
{
	return n->len == 1;
}

enum err dns_name_from_wire(struct slice wire, struct dns_name *out)
{
	struct rbuf r;
	rbuf_init(&r, wire.p, wire.n);
	if (wire.n > DNS_NAME_MAX)
		return ERR_LIMIT;
	for (;;) {
		uint8_t n = rbuf_u8(&r);
		if (n > DNS_LABEL_MAX)
			return ERR_MALFORMED;
		if (n == 0)
			break; /* the root, or a failed read */
		rbuf_skip(&r, n);
	}
	enum err e = rbuf_end(&r);
	if (e != ERR_OK)
		return e;
	*out = (struct dns_name){ .len = (uint8_t)wire.n };
	memcpy(out->b, wire.p, wire.n);
	return ERR_OK;
}

struct slice dns_name_slice(const struct dns_name *n)
{
	return slice_of(n->b, n->len);
}

void dns_name_lower(struct dns_name *n)
{
	/* Length octets are below 'A', so they need no special care. */
	for (size_t i = 0; i < n->len; i++)
		n->b[i] = lower(n->b[i]);
}

unsigned dns_name_labels(const struct dns_name *n)
{
	unsigned count = 0;
	for (size_t i = 0; i < n->len && n->b[i] != 0; i += (size_t)n->b[i] + 1)
		count++;
	return count;
}

static bool same(const uint8_t *a, const uint8_t *b, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (lower(a[i]) != lower(b[i]))
			return false;
	}
	return true;
}

bool dns_name_eq(const struct dns_name *a, const struct dns_name *b)
{
	return a->len == b->len && same(a->b, b->b, a->len);
}

bool dns_name_exact(const struct dns_name *a, const struct dns_name *b)
{
	return a->len == b->len && memcmp(a->b, b->b, a->len) == 0;
}

int dns_name_cmp(const struct dns_name *a, const struct dns_name *b)
{
	size_t n = a->len < b->len ? a->len : b->len;
	for (size_t i = 0; i < n; i++) {
		uint8_t x = lower(a->b[i]), y = lower(b->b[i]);
		if (x != y)
			return x < y ? -1 : 1;
	}
	return a->len == b->len ? 0 : a->len < b->len ? -1 : 1;
}

bool dns_name_in_domain(const struct dns_name *n, const struct dns_name *domain)
{
	/* Equal tails are not enough: the tail must begin where a label begins. */
	for (size_t i = 0; i < n->len; i += (size_t)n->b[i] + 1) {
		if ((size_t)n->len - i == domain->len)
			return same(n->b + i, domain->b, domain->len);
		if (n->b[i] == 0)
			break;
	}
	return false;
}

bool dns_name_parent(const struct dns_name *n, struct dns_name *out)
{
	if (n->len <= 1)
		return false;
	size_t skip = (size_t)n->b[0] + 1;
	size_t rest = n->len - skip;
	memmove(out->b, n->b + skip, rest);
	out->len = (uint8_t)rest;
	return true;
}

enum err dns_name_join(const struct dns_name *front, const struct dns_name *tail, struct dns_name *out)
{
	assert(front->len > 0 && tail->len > 0);
	size_t head = (size_t)front->len - 1;
	if (head + tail->len > DNS_NAME_MAX)
		return ERR_LIMIT;
	struct dns_name n = { .len = (uint8_t)(head + tail->len) };
	memcpy(n.b, front->b, head);
	memcpy(n.b + head, tail->b, tail->len);
	*out = n;
	return ERR_OK;
}

/* One character of a label, after a backslash: \DDD or \X. Gives how many characters it took, 0 when malformed. */
static size_t unescape(const char *s, uint8_t *out)
{
	if (s[0] < '0' || s[0] > '9') {
		*out = (uint8_t)s[0];
		return s[0] == '\0' ? 0 : 1;
	}
	unsigned v = 0;
	for (size_t i = 0; i < 3; i++) {
		if (s[i] < '0' || s[i] > '9')
			return 0;
		v = v * 10 + (unsigned)(s[i] - '0');
	}
	*out = (uint8_t)v;
	return v > 255 ? 0 : 3;
}

enum err dns_name_parse(const char *text, struct dns_name *out)
{
	struct dns_name n = { 0 };
	size_t start = 0, at = 1; /* the present label's length octet; where its next octet goes */

	if (strcmp(text, ".") == 0) {
		*out = dns_name_root();
		return ERR_OK;
	}
	for (const char *s = text;;) {
		uint8_t c = (uint8_t)*s;
		if (c == '\0' && at == start + 1 && at > 1)
			break; /* after a final dot: the root's octet is what would have been this label's length */
		if (c == '\0' || c == '.') {
			if (at == start + 1)
				return ERR_MALFORMED;
			n.b[start] = (uint8_t)(at - start - 1);
			if (at >= DNS_NAME_MAX)
				return ERR_LIMIT;
			start = at++;
			if (c == '\0')
				break;
			s++;
			continue;
		}
		s++;
		if (c == '\\') {
			size_t took = unescape(s, &c);
			if (took == 0)
				return ERR_MALFORMED;
			s += took;
		}
		/* One octet must stay for the root. */
		if (at - start > DNS_LABEL_MAX || at >= DNS_NAME_MAX - 1)
			return ERR_LIMIT;
		n.b[at++] = c;
	}
	n.b[start] = 0;
	n.len = (uint8_t)(start + 1);
	*out = n;
	return ERR_OK;
}

static char *put_octet(char *p, uint8_t c)
{
	if (c <= ' ' || c >= 0x7f) {
		*p++ = '\\';
		*p++ = (char)('0' + c / 100);
		*p++ = (char)('0' + c / 10 % 10);
		*p++ = (char)('0' + c % 10);
		return p;
	}
	if (strchr(".\\\"();@$", c) != NULL)
		*p++ = '\\';
	*p++ = (char)c;
	return p;
}

const char *dns_name_format(const struct dns_name *n, char out[DNS_NAME_TEXT])
{
	char *p = out;
	for (size_t i = 0; i < n->len && n->b[i] != 0; i += (size_t)n->b[i] + 1) {
		for (size_t k = 1; k <= n->b[i]; k++)
			p = put_octet(p, n->b[i + k]);
		*p++ = '.';
	}
	if (p == out)
		*p++ = '.';
	*p = '\0';
	return out;
}

static bool host_octet(uint8_t c)
{
	c = lower(c);
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

/* What both checks share: syntax, length, and characters that a host name may have. */
static enum err host_name(const char *text, const char *what, struct dns_name *out, struct err_note *note)
{
	if (text[0] == '\0')
		return err_note(note, ERR_MALFORMED, "the %s is empty; give something like host.weft.local", what);
	enum err e = dns_name_parse(text, out);
	if (e == ERR_LIMIT)
		return err_note(note, e, "the %s '%.80s' is too long: a label has at most 63 characters, a name 253", what, text);
	if (e != ERR_OK)
		return err_note(note, e, "the %s '%.80s' is not a domain name: a label is empty or an escape is wrong", what, text);
	if (dns_name_is_root(out))
		return err_note(note, ERR_MALFORMED, "the %s must have at least one label", what);
	for (size_t i = 0; out->b[i] != 0; i += (size_t)out->b[i] + 1) {
		for (size_t k = 1; k <= out->b[i]; k++) {
			if (!host_octet(out->b[i + k]))
				return err_note(note, ERR_MALFORMED,
					"the %s '%.80s' has a character other than letters, digits, '-', '_' and '.'", what, text);
		}
	}
	return ERR_OK;
}

enum err dns_domain_check(const char *text, struct dns_name *out, struct err_note *note)
{
	struct dns_name n;
	enum err e = host_name(text, "DNS domain", &n, note);
	if (e != ERR_OK)
		return e;
	/* A host in it needs room for at least one label of a sensible length. */
	if (n.len > DNS_NAME_MAX - DNS_LABEL_MAX - 1)
		return err_note(note, ERR_LIMIT, "the DNS domain '%.80s' leaves no room for host names; use a shorter one", text);
	*out = n;
	return ERR_OK;
}

enum err dns_name_check(const char *text, const struct dns_name *domain, struct dns_name *out, struct err_note *note)
{
	struct dns_name n;
	char dom[DNS_NAME_TEXT];
	enum err e = host_name(text, "name", &n, note);
	if (e != ERR_OK)
		return e;
	if (dns_name_labels(&n) == 1 && !dns_name_eq(&n, domain)) {
		/* dns_domain_check has left room, but the domain may have come another way. */
		if (dns_name_join(&n, domain, &n) != ERR_OK)
			return err_note(note, ERR_LIMIT, "the name '%.80s' is too long together with the domain", text);
	}
	dns_name_format(domain, dom);
	if (!dns_name_in_domain(&n, domain))
		return err_note(
			note, ERR_RANGE, "the name '%.80s' is not in the domain %.80s; only names in it are published", text, dom);
	if (dns_name_eq(&n, domain))
		return err_note(note, ERR_RANGE, "the name '%.80s' is the domain itself; put a host name before it", text);
	*out = n;
	return ERR_OK;
}
