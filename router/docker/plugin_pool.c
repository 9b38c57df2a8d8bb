#include "router/docker/plugin_pool.h"

#include <assert.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>

enum { SLICES_BITS = 8, SLICE_LEN_MAX = 24 };

/* --- slices -------------------------------------------------------------------------------------------------------------------------------- */

unsigned plugin_slice_len(struct prefix range)
{
	unsigned len = range.len + (unsigned)SLICES_BITS;

	if (len > SLICE_LEN_MAX)
		len = SLICE_LEN_MAX;
	return len < range.len ? range.len : len;
}

static uint32_t hash_of(const char *name)
{
	uint8_t h[crypto_generichash_BYTES_MIN];

	(void)crypto_generichash(h, sizeof(h), (const uint8_t *)name, strlen(name), (const uint8_t *)"weft docker slice", 17);
	return (uint32_t)h[0] << 24 | (uint32_t)h[1] << 16 | (uint32_t)h[2] << 8 | h[3];
}

static bool overlaps_any(struct prefix p, const struct prefix *v, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (v[i].addr.family == 4 && prefix_overlaps(p, v[i]))
			return true;
	return false;
}

enum err plugin_slice(struct prefix range, const char *name, const struct prefix *taken, size_t n_taken, struct prefix *out)
{
	unsigned len = plugin_slice_len(range);
	uint32_t n = UINT32_C(1) << (len - range.len), first = hash_of(name) % n;

	assert(range.addr.family == 4);
	for (uint32_t i = 0; i < n; i++) {
		uint32_t at = (first + i) % n;
		*out = (struct prefix){ ip_v4(ip_to_v4(range.addr) + (len < 32 ? at << (32 - len) : at)), (uint8_t)len };
		if (!overlaps_any(*out, taken, n_taken))
			return ERR_OK;
	}
	return ERR_FULL;
}

/* --- IPv6 ------------------------------------------------------------------------------------------------------------------------------------ */

bool plugin_pool6_fits(struct prefix range, struct prefix pool6)
{
	return range.addr.family == 4 && pool6.addr.family == 6 && pool6.len <= 128 - (32u - range.len);
}

struct ip plugin_addr6(struct prefix range, struct prefix pool6, struct ip v4)
{
	struct ip a = prefix_network(pool6).addr;
	uint32_t offset = ip_to_v4(v4) - ip_to_v4(prefix_network(range).addr);

	for (int i = 0; i < 4; i++) /* the pool has zeros there: plugin_pool6_fits */
		a.b[15 - i] |= (uint8_t)(offset >> 8 * i);
	return a;
}

bool plugin_addr4(struct prefix range, struct prefix pool6, struct ip v6, struct ip *v4)
{
	uint32_t offset = 0;

	if (!plugin_pool6_fits(range, pool6) || v6.family != 6 || !prefix_contains(pool6, v6))
		return false;
	for (int i = 12; i < 16; i++)
		offset = offset << 8 | (v6.b[i] & (uint8_t)~prefix_network(pool6).addr.b[i]);
	if (range.len > 0 && offset >> (32 - range.len) != 0)
		return false;
	*v4 = ip_v4(ip_to_v4(prefix_network(range).addr) + offset);
	return ip_eq(plugin_addr6(range, pool6, *v4), v6);
}

/* --- tags ------------------------------------------------------------------------------------------------------------------------------------ */

struct ip plugin_tag(bool v6, bool global, uint64_t random)
{
	struct ip a = { .family = 6, .b = { 0xfe, 0x80 } };

	if (v6) {
		for (int i = 0; i < 8; i++)
			a.b[8 + i] = (uint8_t)(random >> 8 * i);
		return a;
	}
	if (global)
		return ip_v4(UINT32_C(0xf0000000) + (uint32_t)(random % UINT32_C(0x0ffffffe)) + 1);
	uint32_t host = (uint32_t)(random % 65024) + 256;                   /* RFC 3927: 169.254.1.0 to 169.254.254.255 */
	return ip_v4(UINT32_C(0xa9fe0000) + (host == 0x4353 ? 256 : host)); /* not that of the name service */
}

bool plugin_is_tag(struct ip a)
{
	if (a.family == 6)
		return a.b[0] == 0xfe && a.b[1] == 0x80;
	return a.family == 4 && (ip_to_v4(a) >> 28 == 0xf || ip_to_v4(a) >> 16 == 0xa9fe);
}

/* --- ids --------------------------------------------------------------------------------------------------------------------------------------- */

static void slash_out(char *text)
{
	for (char *p = strchr(text, '/'); p != NULL; p = strchr(p, '/'))
		*p = '_';
}

void plugin_pool_id_format(const struct plugin_pool_id *p, char out[PLUGIN_POOL_ID_MAX + 1])
{
	char pool[PREFIX_TEXT], sub[PREFIX_TEXT] = "", tag[IP_TEXT];
	bool has_sub = p->sub.addr.family != 0;

	if (has_sub)
		(void)prefix_format(p->sub, sub);
	(void)snprintf(out, PLUGIN_POOL_ID_MAX + 1, "weft%s-%s%s%s%s-%s", p->global ? "g" : "", p->any ? "any-" : "",
		prefix_format(p->pool, pool), has_sub ? "-" : "", sub, ip_format(p->tag, tag));
	slash_out(out);
}

/* The part up to the next '-', as a prefix. */
static bool take_prefix(const char **at, struct prefix *out)
{
	char text[PREFIX_TEXT];
	size_t n = strcspn(*at, "-");

	if (n >= sizeof(text) || (*at)[n] != '-')
		return false;
	memcpy(text, *at, n);
	text[n] = '\0';
	for (char *p = text; (p = strchr(p, '_')) != NULL;)
		*p = '/';
	*at += n + 1;
	return prefix_parse(text, out) == ERR_OK && prefix_is_network(*out);
}

enum err plugin_pool_id_parse(const char *text, struct plugin_pool_id *out)
{
	char again[PLUGIN_POOL_ID_MAX + 1];
	const char *at = text;

	memset(out, 0, sizeof(*out));
	if (strncmp(at, "weft", 4) != 0)
		return ERR_MALFORMED;
	at += 4;
	out->global = *at == 'g';
	at += out->global;
	if (*at++ != '-')
		return ERR_MALFORMED;
	out->any = strncmp(at, "any-", 4) == 0;
	at += out->any ? 4 : 0;
	if (!take_prefix(&at, &out->pool) || (strchr(at, '-') != NULL && !take_prefix(&at, &out->sub)) ||
		ip_parse(at, &out->tag) != ERR_OK || out->tag.family != out->pool.addr.family || !plugin_is_tag(out->tag))
		return ERR_MALFORMED;
	if (out->sub.addr.family != 0 &&
		(out->sub.addr.family != out->pool.addr.family || !prefix_contains(out->pool, out->sub.addr) ||
			out->sub.len < out->pool.len))
		return ERR_MALFORMED;
	plugin_pool_id_format(out, again); /* one pool, one id */
	return strcmp(again, text) == 0 ? ERR_OK : ERR_MALFORMED;
}
