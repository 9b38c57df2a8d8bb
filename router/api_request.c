#include "router/api_request.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

#define TYPE_TEXT "text/plain; charset=utf-8"
#define TYPE_JSON "application/json"

/* --- what came ------------------------------------------------------------------------------------------------------------------------- */

static int hex(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

bool api_unescape(const char *text, size_t n, bool plus, char **out)
{
	char *to = mem_alloc(n + 1);
	size_t len = 0;

	*out = NULL;
	for (size_t i = 0; to != NULL && i < n; i++) {
		char c = text[i];
		if (c == '+' && plus) {
			c = ' ';
		} else if (c == '%') {
			int hi = i + 2 < n ? hex(text[i + 1]) : -1, lo = i + 2 < n ? hex(text[i + 2]) : -1;
			if (hi < 0 || lo < 0)
				goto bad;
			c = (char)(hi * 16 + lo);
			i += 2;
		}
		if (c == '\0')
			goto bad;
		to[len++] = c;
	}
	if (to == NULL)
		return false;
	to[len] = '\0';
	*out = to;
	return true;
bad:
	mem_free(to);
	return false;
}

enum err api_split_path(struct api_request *q, const char *raw)
{
	if (raw[0] != '/')
		return ERR_MALFORMED;
	for (const char *p = raw + 1;; p++) {
		size_t n = strcspn(p, "/");
		if (q->n_segments == API_SEGMENTS_MAX)
			return ERR_LIMIT;
		if (!api_unescape(p, n, false, &q->segments[q->n_segments]))
			return ERR_MALFORMED;
		q->n_segments++;
		p += n;
		if (*p == '\0')
			return ERR_OK;
	}
}

enum err api_add_param(struct api_request *q, struct slice key, struct slice value, bool plus)
{
	struct api_param p;

	if (q->n_params == API_PARAMS_MAX)
		return ERR_LIMIT;
	if (!mem_grow((void **)&q->params, &q->cap_params, q->n_params + 1, sizeof(*q->params)))
		return ERR_NOMEM;
	if (!api_unescape((const char *)key.p, key.n, plus, &p.key))
		return ERR_MALFORMED;
	if (!api_unescape((const char *)value.p, value.n, plus, &p.value)) {
		mem_free(p.key);
		return ERR_MALFORMED;
	}
	q->params[q->n_params++] = p;
	return ERR_OK;
}

enum err api_split_form(struct api_request *q, struct slice text)
{
	size_t at = 0;
	enum err err = ERR_OK;

	while (err == ERR_OK && at < text.n) {
		const uint8_t *amp = memchr(text.p + at, '&', text.n - at);
		size_t n = amp != NULL ? (size_t)(amp - text.p) - at : text.n - at;
		const uint8_t *eq = memchr(text.p + at, '=', n);
		size_t key = eq != NULL ? (size_t)(eq - text.p) - at : n;
		size_t skip = eq != NULL ? key + 1 : n;
		if (n > 0)
			err = api_add_param(q, slice_of(text.p + at, key), slice_of(text.p + at + skip, n - skip), true);
		at += n + 1;
	}
	return err;
}

const char *api_param(const struct api_request *q, const char *key, size_t nth)
{
	for (size_t i = 0; i < q->n_params; i++)
		if (strcmp(q->params[i].key, key) == 0 && nth-- == 0)
			return q->params[i].value;
	return NULL;
}

bool api_number(struct api_request *q, const char *key, unsigned long min, unsigned long max, unsigned long *out)
{
	const char *text = api_param(q, key, 0);
	char *end, line[160];

	if (text == NULL)
		return true;
	unsigned long v = strtoul(text, &end, 10);
	if (text[0] >= '0' && text[0] <= '9' && *end == '\0' && v >= min && v <= max) {
		*out = v;
		return true;
	}
	(void)snprintf(line, sizeof(line), "'%.40s' is no %s; it is a number from %lu to %lu", text, key, min, max);
	api_answer_error(q, MHD_HTTP_BAD_REQUEST, line);
	return false;
}

bool api_asked_by_address(struct api_request *q)
{
	const char *host = MHD_lookup_connection_value(q->conn, MHD_HEADER_KIND, MHD_HTTP_HEADER_HOST);

	if (host == NULL || host[0] == '[')
		return true;
	size_t n = strcspn(host, ":");
	if (memchr(host, '.', n) == NULL || strspn(host, "0123456789.") >= n)
		return true;
	api_answer_error(q, MHD_HTTP_BAD_REQUEST, "this is only for who asks by address; not by a name with dots");
	return false;
}

void api_request_clear(struct api_request *q)
{
	for (size_t i = 0; i < q->n_segments; i++)
		mem_free(q->segments[i]);
	for (size_t i = 0; i < q->n_params; i++) {
		mem_free(q->params[i].key);
		mem_free(q->params[i].value);
	}
	mem_free(q->params);
	mem_free(q->path);
	wbuf_free(&q->body);
	wbuf_free(&q->out);
	q->params = NULL;
	q->path = NULL;
	q->n_segments = q->n_params = q->cap_params = 0;
}

/* --- what goes -------------------------------------------------------------------------------------------------------------------------- */

void api_answer_empty(struct api_request *q, unsigned code)
{
	wbuf_reset(&q->out);
	api_answer(q, code, TYPE_TEXT);
}

void api_answer_text(struct api_request *q, unsigned code, const char *fmt, ...)
{
	char text[4096];
	va_list args;

	va_start(args, fmt);
	int n = vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	wbuf_reset(&q->out);
	if (n > 0)
		wbuf_bytes(&q->out, text, (size_t)n < sizeof(text) ? (size_t)n : sizeof(text) - 1);
	api_answer(q, code, TYPE_TEXT);
}

static int dump_part(const char *part, size_t n, void *w)
{
	wbuf_bytes(w, part, n);
	return 0;
}

void api_answer_json(struct api_request *q, unsigned code, json_t *doc)
{
	wbuf_reset(&q->out);
	if (doc == NULL || json_dump_callback(doc, dump_part, &q->out, JSON_INDENT(2)) != 0)
		q->out.failed = true;
	wbuf_u8(&q->out, '\n');
	json_decref(doc);
	api_answer(q, code, TYPE_JSON);
}

void api_answer_error(struct api_request *q, unsigned code, const char *line)
{
	const char *semicolon = strchr(line, ';'), *hint = semicolon != NULL ? semicolon + 1 : "";
	size_t n = semicolon != NULL ? (size_t)(semicolon - line) : strlen(line);
	char safe[512];

	while (*hint == ' ')
		hint++;
	(void)snprintf(safe, sizeof(safe), "%.*s", (int)(n < 400 ? n : 400), line);
	json_t *doc = json_pack("{s:s, s:s}", "error", safe, "hint", hint);
	if (doc == NULL) /* bytes of the asker's that are not UTF-8 */
		doc = json_pack("{s:s, s:s}", "error", "the request holds bytes that are not UTF-8", "hint", "");
	api_answer_json(q, code, doc);
}

unsigned api_code_of(enum err err)
{
	switch (err) {
	case ERR_OK: return MHD_HTTP_OK;
	case ERR_USAGE:
	case ERR_MALFORMED:
	case ERR_RANGE:
	case ERR_TRUNCATED: return MHD_HTTP_BAD_REQUEST;
	case ERR_NOT_FOUND: return MHD_HTTP_NOT_FOUND;
	case ERR_REFUSED:
	case ERR_EXISTS:
	case ERR_CONFLICT:
	case ERR_STATE:
	case ERR_SELF:
	case ERR_DUPLICATE:
	case ERR_BUSY:
	case ERR_LIMIT:
	case ERR_VERSION:
	case ERR_AUTH: return MHD_HTTP_CONFLICT;
	case ERR_NOMEM:
	case ERR_FULL:
	case ERR_AGAIN:
	case ERR_TIMEOUT:
	case ERR_CANCELLED:
	case ERR_CLOSED:
	case ERR_UNREACHABLE: return MHD_HTTP_SERVICE_UNAVAILABLE;
	case ERR_UNSUPPORTED:
	case ERR_PERMISSION:
	case ERR_IO:
	case ERR_SYSTEM: return MHD_HTTP_INTERNAL_SERVER_ERROR;
	}
	return MHD_HTTP_INTERNAL_SERVER_ERROR;
}

void api_answer_err(struct api_request *q, enum err err, const char *line)
{
	api_answer_error(q, api_code_of(err), line != NULL && line[0] != '\0' ? line : err_text(err));
}
