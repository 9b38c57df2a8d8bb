/* Packets as text: hex digits, blanks ignored; "…" in quotes stands for its characters. */
#ifndef WEFT_TESTS_UNIT_DNS_HEX_H
#define WEFT_TESTS_UNIT_DNS_HEX_H

#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"

struct packet {
	uint8_t b[65536];
	size_t n;
};

static inline int hex_digit(char c)
{
	const char *at = c ? strchr("0123456789abcdef", c) : NULL;
	return at ? (int)(at - "0123456789abcdef") : -1;
}

static inline struct slice hex(struct packet *p, const char *text)
{
	p->n = 0;
	for (const char *s = text; *s != '\0'; s++) {
		if (*s == ' ')
			continue;
		if (*s == '"') {
			for (s++; *s != '"'; s++)
				p->b[p->n++] = (uint8_t)*s;
			continue;
		}
		assert(hex_digit(s[0]) >= 0 && hex_digit(s[1]) >= 0);
		p->b[p->n++] = (uint8_t)(hex_digit(s[0]) << 4 | hex_digit(s[1]));
		s++;
	}
	return slice_of(p->b, p->n);
}

/* Prints both when they differ. */
static inline int hex_is(struct slice have, const char *want)
{
	static struct packet p;
	struct slice w = hex(&p, want);
	if (slice_eq(have, w))
		return 1;
	printf("have %zu:", have.n);
	for (size_t i = 0; i < have.n; i++)
		printf(" %02x", have.p[i]);
	printf("\nwant %zu:", w.n);
	for (size_t i = 0; i < w.n; i++)
		printf(" %02x", w.p[i]);
	printf("\n");
	return 0;
}

#endif
