#include "dns/reverse.h"

#include <assert.h>
#include <string.h>

static const struct dns_name v4_zone = { .len = 14, .b = "\7in-addr\4arpa" };
static const struct dns_name v6_zone = { .len = 10, .b = "\3ip6\4arpa" };

/* A label as a decimal octet, or -1. */
static int octet(const uint8_t *label)
{
	int v = 0;
	if (label[0] == 0 || label[0] > 3 || (label[0] > 1 && label[1] == '0'))
		return -1;
	for (size_t i = 1; i <= label[0]; i++) {
		if (label[i] < '0' || label[i] > '9')
			return -1;
		v = v * 10 + (label[i] - '0');
	}
	return v <= 255 ? v : -1;
}

/* A label as a hexadecimal digit, or -1. */
static int nibble(const uint8_t *label)
{
	uint8_t c = label[1];
	if (label[0] != 1)
		return -1;
	if (c >= '0' && c <= '9')
		return c - '0';
	c = (uint8_t)(c | 0x20);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool dns_reverse_parse(const struct dns_name *name, struct prefix *out)
{
	bool v4 = dns_name_in_domain(name, &v4_zone);
	if (!v4 && !dns_name_in_domain(name, &v6_zone))
		return false;
	unsigned zone_labels = 2, labels = dns_name_labels(name) - zone_labels;
	if (labels > (v4 ? 4 : 32))
		return false;

	/* The first label is the lowest part, so the parts are written from the back of what there is. */
	struct prefix p = { .addr.family = v4 ? 4 : 6, .len = (uint8_t)(labels * (v4 ? 8 : 4)) };
	const uint8_t *label = name->b;
	for (unsigned k = labels; k-- > 0; label += label[0] + 1) {
		int v = v4 ? octet(label) : nibble(label);
		if (v < 0)
			return false;
		if (v4)
			p.addr.b[k] = (uint8_t)v;
		else
			p.addr.b[k / 2] = (uint8_t)(p.addr.b[k / 2] | (k % 2 == 0 ? v << 4 : v));
	}
	*out = p;
	return true;
}

void dns_reverse_name(struct ip addr, struct dns_name *out)
{
	struct dns_name n = { 0 };
	assert(addr.family == 4 || addr.family == 6);
	if (addr.family == 4) {
		for (size_t i = 4; i-- > 0;) {
			uint8_t v = addr.b[i], digits[3], k = 0;
			if (v >= 100)
				digits[k++] = (uint8_t)('0' + v / 100);
			if (v >= 10)
				digits[k++] = (uint8_t)('0' + v / 10 % 10);
			digits[k++] = (uint8_t)('0' + v % 10);
			n.b[n.len++] = k;
			memcpy(n.b + n.len, digits, k);
			n.len = (uint8_t)(n.len + k);
		}
	} else {
		for (size_t i = 32; i-- > 0;) {
			n.b[n.len++] = 1;
			n.b[n.len++] = (uint8_t) "0123456789abcdef"[i % 2 == 0 ? addr.b[i / 2] >> 4 : addr.b[i / 2] & 15];
		}
	}
	const struct dns_name *zone = addr.family == 4 ? &v4_zone : &v6_zone;
	memcpy(n.b + n.len, zone->b, zone->len);
	n.len = (uint8_t)(n.len + zone->len);
	*out = n;
}
