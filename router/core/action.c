/* What a step gives back: actions, and the records and texts in them, all in the memory of its arena. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "router/core/internal.h"

void core_actions_init(struct core_actions *a, struct arena *arena)
{
	*a = (struct core_actions){ .arena = arena };
}

enum err core_emit(struct core_actions *out, struct core_action a)
{
	if (out->n == out->cap) {
		size_t cap = out->cap == 0 ? 16 : out->cap * 2;
		struct core_action *v = arena_alloc(out->arena, cap * sizeof(*v));
		if (v == NULL)
			return ERR_NOMEM;
		if (out->n > 0)
			memcpy(v, out->v, out->n * sizeof(*v));
		out->v = v;
		out->cap = cap;
	}
	out->v[out->n++] = a;
	return ERR_OK;
}

enum err core_note(struct core_actions *out, enum note_level level, const char *fmt, ...)
{
	char text[512];
	va_list args;

	va_start(args, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	const char *copy = arena_dup(out->arena, text, strlen(text) + 1);
	if (copy == NULL)
		return ERR_NOMEM;
	return core_emit(out, (struct core_action){ .kind = CORE_NOTE, .u.note = { .level = level, .text = copy } });
}

enum err core_reply(struct core_actions *out, uint64_t request, enum err e, const char *text)
{
	if (request == 0)
		return ERR_OK;
	const char *copy = text == NULL ? NULL : arena_dup(out->arena, text, strlen(text) + 1);
	if (text != NULL && copy == NULL)
		return ERR_NOMEM;
	return core_emit(out, (struct core_action){ .kind = CORE_REPLY, .u.reply = { .request = request, .err = e, .text = copy } });
}

/* One code point of UTF-8 (RFC 3629): how many bytes; 0: none. */
static size_t utf8_len(const uint8_t *p, size_t n)
{
	uint32_t v;
	size_t len = p[0] < 0x80 ? 1 : p[0] >> 5 == 6 ? 2 : p[0] >> 4 == 14 ? 3 : p[0] >> 3 == 30 ? 4 : 0;
	static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };

	if (len == 0 || len > n)
		return 0;
	v = len == 1 ? p[0] : p[0] & (0x7fu >> len);
	for (size_t i = 1; i < len; i++) {
		if (p[i] >> 6 != 2)
			return 0;
		v = v << 6 | (p[i] & 0x3f);
	}
	return v < least[len] || v > 0x10ffff || (v >= 0xd800 && v < 0xe000) ? 0 : len;
}

bool core_text_ok(struct slice text)
{
	for (size_t i = 0, len; i < text.n; i += len) {
		len = utf8_len(text.p + i, text.n - i);
		if (len == 0 || text.p[i] < 0x20 || text.p[i] == 0x7f)
			return false;
	}
	return true;
}

static enum err stored_key(struct core_actions *out, const char *kind, struct slice key, struct slice *full)
{
	size_t n = strlen(kind);
	uint8_t *copy = arena_alloc(out->arena, n + key.n);

	if (copy == NULL)
		return ERR_NOMEM;
	memcpy(copy, kind, n);
	if (key.n > 0)
		memcpy(copy + n, key.p, key.n);
	*full = slice_of(copy, n + key.n);
	return ERR_OK;
}

enum err core_persist(struct core_actions *out, const char *kind, struct slice key, struct slice value)
{
	struct core_action a = { .kind = CORE_PERSIST };
	enum err err = stored_key(out, kind, key, &a.u.persist.key);

	if (err != ERR_OK)
		return err;
	const uint8_t *copy = arena_dup(out->arena, value.n > 0 ? value.p : (const uint8_t *)"", value.n > 0 ? value.n : 1);
	if (copy == NULL)
		return ERR_NOMEM;
	a.u.persist.value = slice_of(copy, value.n);
	return core_emit(out, a);
}

enum err core_unpersist(struct core_actions *out, const char *kind, struct slice key)
{
	struct core_action a = { .kind = CORE_PERSIST };
	enum err err = stored_key(out, kind, key, &a.u.persist.key);

	return err != ERR_OK ? err : core_emit(out, a);
}
