#include "router/hosts.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

static const char begin_line[] = "# weft begin", end_line[] = "# weft end", aside[] = "#weft# ";

struct names { /* its own */
	char full[256], host[256];
};

/* The next line, without its end; *left moves behind it. */
static struct slice next_line(struct slice *left)
{
	const uint8_t *end = left->n > 0 ? memchr(left->p, '\n', left->n) : NULL;
	struct slice line = slice_of(left->p, end != NULL ? (size_t)(end - left->p) : left->n);
	size_t step = line.n + (end != NULL);

	*left = slice_of(left->p + step, left->n - step);
	return line;
}

static bool is(struct slice line, const char *text)
{
	return slice_eq(line, slice_str(text));
}

/* The block of ours, when its first line has just been read: what stands in it. A block without end is none. */
static bool block(struct slice *left, struct slice *inside)
{
	struct slice at = *left;

	while (at.n > 0) {
		struct slice line = next_line(&at);
		if (!is(line, end_line))
			continue;
		*inside = slice_of(left->p, (size_t)(line.p - left->p));
		*left = at;
		return true;
	}
	return false;
}

/* The next word; n 0 at the end or before a comment. */
static struct slice next_word(struct slice *line)
{
	while (line->n > 0 && (line->p[0] == ' ' || line->p[0] == '\t' || line->p[0] == '\r'))
		*line = slice_of(line->p + 1, line->n - 1);
	size_t n = 0;
	while (n < line->n && line->p[n] != ' ' && line->p[n] != '\t' && line->p[n] != '\r' && line->p[n] != '#')
		n++;
	struct slice word = slice_of(line->p, n);
	*line = slice_of(line->p + n, line->n - n);
	return word;
}

static bool same_name(struct slice word, const char *name)
{
	return word.n == strlen(name) && word.n > 0 && strncasecmp((const char *)word.p, name, word.n) == 0;
}

/* "172.17.0.2 db": a line about one of the names */
static bool is_about(struct slice line, const struct names *n)
{
	if (next_word(&line).n == 0)
		return false;
	for (struct slice word = next_word(&line); word.n > 0; word = next_word(&line))
		if (same_name(word, n->full) || same_name(word, n->host))
			return true;
	return false;
}

static void put_text(struct wbuf *w, const char *text)
{
	wbuf_bytes(w, text, strlen(text));
}

static void put_line(struct wbuf *w, struct slice line, bool ended)
{
	wbuf_bytes(w, line.p, line.n);
	if (ended)
		wbuf_u8(w, '\n');
}

static void put_block(struct wbuf *w, const struct hosts_want *want, const struct names *own)
{
	char ip[IP_TEXT], line[600];

	if (want->n_more == 0 && (want->own == NULL || want->n_addrs == 0))
		return;
	put_text(w, begin_line);
	wbuf_u8(w, '\n');
	for (size_t i = 0; want->own != NULL && i < want->n_addrs; i++) {
		(void)snprintf(line, sizeof(line), "%s\t%s%s%s\n", ip_format(want->addrs[i].addr, ip), own->full,
			own->host[0] != '\0' ? " " : "", own->host);
		put_text(w, line);
	}
	for (size_t i = 0; i < want->n_more; i++) {
		(void)snprintf(line, sizeof(line), "%s\t%s\n", ip_format(want->more[i].ip, ip), want->more[i].name);
		put_text(w, line);
	}
	put_text(w, end_line);
	wbuf_u8(w, '\n');
}

/* What was set aside. A mark of ours never was, and bringing one back would make a block of somebody else's lines. */
static struct slice brought_back(struct slice line)
{
	size_t n = sizeof(aside) - 1;
	struct slice rest = line;

	while (rest.n >= n && memcmp(rest.p, aside, n) == 0)
		rest = slice_of(rest.p + n, rest.n - n);
	return is(rest, begin_line) || is(rest, end_line) ? line : rest;
}

/* All that is not ours; lines about its own names set aside. */
static void put_others(struct wbuf *w, struct slice old, const struct names *own)
{
	struct slice inside;

	while (old.n > 0) {
		struct slice line = next_line(&old);
		bool ended = line.p + line.n < old.p;
		if (is(line, begin_line) && block(&old, &inside))
			continue;
		line = brought_back(line);
		if (own != NULL && is_about(line, own))
			put_text(w, aside);
		put_line(w, line, ended);
	}
}

static struct names names_of(const char *own)
{
	struct names n = { .full = "" };
	size_t label = strcspn(own, ".");

	(void)snprintf(n.full, sizeof(n.full), "%s", own);
	if (own[label] != '\0')
		(void)snprintf(n.host, sizeof(n.host), "%.*s", (int)(label < 255 ? label : 255), own);
	return n;
}

static enum err end_of(const struct wbuf *out)
{
	enum err err = wbuf_end(out);

	return err == ERR_OK && out->len > HOSTS_TEXT_MAX ? ERR_LIMIT : err;
}

enum err hosts_text(struct slice old, const struct hosts_want *want, struct wbuf *out)
{
	bool renamed = want != NULL && want->own != NULL && want->n_addrs > 0;
	struct names own = renamed ? names_of(want->own) : (struct names){ .full = "" };

	if (want != NULL)
		put_block(out, want, &own);
	put_others(out, old, renamed ? &own : NULL);
	return end_of(out);
}

static bool speaks_of(struct slice line, const struct ip *gone, size_t n_gone)
{
	struct slice word = next_word(&line);
	char text[IP_TEXT];
	struct ip ip;

	if (word.n == 0 || word.n >= sizeof(text))
		return false;
	memcpy(text, word.p, word.n);
	text[word.n] = '\0';
	if (ip_parse(text, &ip) != ERR_OK)
		return false;
	for (size_t i = 0; i < n_gone; i++)
		if (ip_eq(gone[i], ip))
			return true;
	return false;
}

enum err hosts_text_without(struct slice old, const struct ip *gone, size_t n_gone, struct wbuf *out)
{
	struct slice left = old, inside;

	while (left.n > 0) {
		struct slice line = next_line(&left);
		bool ended = line.p + line.n < left.p;
		put_line(out, line, ended);
		if (!is(line, begin_line) || !block(&left, &inside))
			continue;
		while (inside.n > 0) {
			line = next_line(&inside);
			if (!speaks_of(line, gone, n_gone))
				put_line(out, line, true);
		}
		put_text(out, end_line);
		wbuf_u8(out, '\n');
	}
	return end_of(out);
}
