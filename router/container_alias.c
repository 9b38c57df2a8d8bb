/* What stands in the alias of the host's end, and what that end is called. */
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "router/container_internal.h"

#define HOST_SUFFIX 9u /* characters of five bits each */

static bool plain(unsigned char c)
{
	return c > 0x20 && c < 0x7f && c != '%';
}

enum err container_record_format(const struct container_record *r, char out[NETLINK_ALIAS_MAX + 1])
{
	char mac[MAC_TEXT], addr[PREFIX_TEXT], hex[4];
	struct wbuf w;
	wbuf_fixed(&w, out, NETLINK_ALIAS_MAX);
	wbuf_bytes(&w, "weft1 id=", 9);
	for (const char *p = r->ident; *p; p++) {
		snprintf(hex, sizeof hex, plain((unsigned char)*p) ? "%c" : "%%%02x", (unsigned char)*p);
		wbuf_bytes(&w, hex, strlen(hex));
	}
	wbuf_bytes(&w, " mac=", 5);
	wbuf_bytes(&w, mac_format(r->mac, mac), MAC_TEXT - 1);
	wbuf_bytes(&w, " hairpin", r->hairpin ? 8 : 0);
	wbuf_bytes(&w, " addrs=", 7);
	for (size_t i = 0; i < r->n_addrs; i++) {
		prefix_format(r->addrs[i], addr);
		wbuf_bytes(&w, ",", i > 0);
		wbuf_bytes(&w, addr, strlen(addr));
	}
	out[w.failed ? 0 : w.len] = '\0';
	return wbuf_end(&w);
}

enum err container_record_text(const struct container_record *r, char out[NETLINK_ALIAS_MAX + 1], struct err_note *note)
{
	enum err e = container_record_format(r, out);
	return e == ERR_OK ? ERR_OK
					   : err_note(note, e, "container %s has more addresses than the record on its interface can hold (%d bytes)",
							 r->ident, NETLINK_ALIAS_MAX);
}

enum err container_record_add(struct container_record *r, const struct container_want *want, struct err_note *note)
{
	r->hairpin = r->hairpin || want->hairpin;
	for (size_t i = 0; i < want->n_addrs; i++) {
		size_t j = 0;
		while (j < r->n_addrs && !ip_eq(r->addrs[j].addr, want->addrs[i].addr))
			j++;
		if (j == CONTAINER_ADDRS_MAX)
			return err_note(note, ERR_LIMIT, "container %s would have more than %u addresses", want->ident, CONTAINER_ADDRS_MAX);
		if (j == r->n_addrs)
			r->addrs[r->n_addrs++] = want->addrs[i];
	}
	return ERR_OK;
}

/* The text up to the next stop character (or the end) into out; *text moves behind the stop. false: it does not fit. */
static bool field(const char **text, char stop, char *out, size_t size)
{
	const char *end = strchr(*text, stop);
	size_t n = end ? (size_t)(end - *text) : strlen(*text);
	if (n >= size)
		return false;
	memcpy(out, *text, n);
	out[n] = '\0';
	*text += n + (end ? 1 : 0);
	return true;
}

static bool starts(const char **text, const char *with)
{
	size_t n = strlen(with);
	if (strncmp(*text, with, n) != 0)
		return false;
	*text += n;
	return true;
}

static int hex_digit(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool unescape(const char *from, char *to, size_t size)
{
	size_t n = 0;
	for (; *from; from++, n++) {
		if (n + 1 >= size)
			return false;
		to[n] = *from;
		if (*from != '%')
			continue;
		int hi = hex_digit(from[1]), lo = hi < 0 ? -1 : hex_digit(from[2]);
		if (lo < 0 || (hi == 0 && lo == 0))
			return false;
		to[n] = (char)(hi << 4 | lo);
		from += 2;
	}
	to[n] = '\0';
	return n > 0;
}

enum err container_record_parse(const char *text, struct container_record *out)
{
	char id[NETLINK_ALIAS_MAX + 1], word[PREFIX_TEXT];
	struct container_record r = { 0 };
	if (!starts(&text, "weft1 id=") || !field(&text, ' ', id, sizeof id) || !unescape(id, r.ident, sizeof r.ident))
		return ERR_MALFORMED;
	if (!starts(&text, "mac=") || !field(&text, ' ', word, sizeof word) || mac_parse(word, &r.mac) != ERR_OK)
		return ERR_MALFORMED;
	r.hairpin = starts(&text, "hairpin ");
	if (!starts(&text, "addrs="))
		return ERR_MALFORMED;
	while (*text) {
		if (r.n_addrs == CONTAINER_ADDRS_MAX || !field(&text, ',', word, sizeof word) ||
			prefix_parse(word, &r.addrs[r.n_addrs++]) != ERR_OK)
			return ERR_MALFORMED;
	}
	*out = r;
	return ERR_OK;
}

void container_host_name(const char *ident, unsigned salt, char out[NETLINK_NAME_MAX + 1])
{
	static const char digits[] = "abcdefghijklmnopqrstuvwxyz234567";
	unsigned char h[16];
	const unsigned char key[16] = { 'w', 'e', 'f', 't', (unsigned char)salt };
	crypto_generichash(h, sizeof h, (const unsigned char *)ident, strlen(ident), key, sizeof key);
	memcpy(out, CONTAINER_HOST_PREFIX, sizeof CONTAINER_HOST_PREFIX - 1);
	for (size_t i = 0; i < HOST_SUFFIX; i++)
		out[sizeof CONTAINER_HOST_PREFIX - 1 + i] = digits[h[i] % 32];
	out[sizeof CONTAINER_HOST_PREFIX - 1 + HOST_SUFFIX] = '\0';
}

struct mac container_random_mac(const uint8_t random[6])
{
	struct mac m;
	memcpy(m.b, random, 6);
	m.b[0] = (uint8_t)((m.b[0] & 0xfc) | 0x02);
	return m;
}

/* What the kernel takes, and what can stand in a path below /proc/sys. */
bool container_ifname_ok(const char *name)
{
	size_t n = strlen(name);
	if (n == 0 || n > NETLINK_NAME_MAX || strcmp(name, ".") == 0 || strcmp(name, "..") == 0 || strcmp(name, "all") == 0 ||
		strcmp(name, "default") == 0)
		return false;
	for (const char *p = name; *p; p++)
		if ((unsigned char)*p <= 0x20 || (unsigned char)*p >= 0x7f || *p == '/' || *p == ':' || *p == '%')
			return false;
	return true;
}
