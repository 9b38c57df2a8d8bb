#include "router/log.h"

#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "base/bucket.h"
#include "base/mem.h"
#include "router/core/core.h"

enum { REPEAT_SLOTS = 64 };

struct repeat { /* a fault that stays on says the same over and over: per text a bucket */
	uint64_t hash;
	struct bucket bucket;
	uint64_t used_ms;
};

struct log {
	int fd;
	enum log_level least;
	bool json, journal;
	struct bucket strangers;
	bool strangers_ready;
	uint64_t suppressed;
	struct repeat repeats[REPEAT_SLOTS];
};

static const char *const level_names[] = { "debug", "info", "warning", "error" };
static const int level_priority[] = { 7, 6, 4, 3 };

/* systemd sets JOURNAL_STREAM to device:inode of the stream it gave us. */
static bool is_journal(int fd)
{
	const char *stream = getenv("JOURNAL_STREAM");
	unsigned long long dev, ino;
	struct stat st;

	/* NOLINTNEXTLINE(cert-err34-c): systemd writes these numbers */
	return stream != NULL && sscanf(stream, "%llu:%llu", &dev, &ino) == 2 && fstat(fd, &st) == 0 && st.st_dev == (dev_t)dev &&
		st.st_ino == (ino_t)ino;
}

struct log *log_new(int fd, enum log_level least, bool json)
{
	struct log *l = mem_zalloc(1, sizeof(*l));

	if (l == NULL)
		return NULL;
	l->fd = fd;
	l->least = least;
	l->json = json;
	l->journal = is_journal(fd);
	return l;
}

void log_free(struct log *l)
{
	mem_free(l);
}

static uint64_t clock_ms(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static void put(struct log *l, const char *line, size_t n)
{
	ssize_t w = write(l->fd, line, n);

	if (w < 0)
		l->suppressed++;
}

static void put_json(struct log *l, enum log_level level, const char *when, const char *text)
{
	json_t *doc = json_pack("{s:s, s:s, s:s}", "time", when, "level", level_names[level], "message", text);
	char *line = doc != NULL ? json_dumps(doc, JSON_COMPACT) : NULL;

	if (line != NULL) {
		char end[] = "\n";
		struct iovec parts[2] = { { line, strlen(line) }, { end, 1 } };
		if (writev(l->fd, parts, 2) < 0)
			l->suppressed++;
	} else {
		l->suppressed++;
	}
	free(line);
	json_decref(doc);
}

static void emit(struct log *l, enum log_level level, const char *text)
{
	char out[1280], when[48];
	struct timeval tv;
	struct tm tm;
	int n;

	(void)gettimeofday(&tv, NULL);
	(void)gmtime_r(&tv.tv_sec, &tm);
	size_t at = strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%S", &tm);
	(void)snprintf(when + at, sizeof(when) - at, ".%06ldZ", (long)tv.tv_usec);
	if (l->json) {
		put_json(l, level, when, text);
		return;
	}
	if (l->journal)
		n = snprintf(out, sizeof(out), "<%d>%s\n", level_priority[level], text);
	else
		n = snprintf(out, sizeof(out), "%s %s: %s\n", when, level_names[level], text);
	if (n >= (int)sizeof(out)) {
		n = (int)sizeof(out) - 1;
		out[n - 1] = '\n';
	}
	put(l, out, (size_t)n);
}

/* FNV-1a over the text without its digits: "retry in 812 ms" and "retry in 934 ms" are the same line. */
static uint64_t hash_of(const char *text)
{
	uint64_t h = UINT64_C(14695981039346656037);

	for (; *text != '\0'; text++) {
		if (*text >= '0' && *text <= '9')
			continue;
		h = (h ^ (uint8_t)*text) * UINT64_C(1099511628211);
	}
	return h;
}

/* A bucket of lines, of which one comes back every `seconds`: the bucket's own second is stretched. */
static void lines_init(struct bucket *b, unsigned burst, unsigned seconds, uint64_t now_ms)
{
	bucket_init(b, burst, 1, now_ms / seconds);
}

/* *skipped: how many did not pass since the last that did. */
static bool lines_take(struct bucket *b, unsigned seconds, uint64_t now_ms, uint64_t *skipped)
{
	if (!bucket_take(b, now_ms / seconds))
		return false;
	*skipped = b->refused;
	b->refused = 0;
	return true;
}

static struct repeat *slot_of(struct log *l, uint64_t hash, uint64_t now_ms)
{
	struct repeat *slot = &l->repeats[0];

	for (size_t i = 0; i < REPEAT_SLOTS; i++) {
		struct repeat *r = &l->repeats[i];
		if (r->hash == hash && r->used_ms != 0)
			return r;
		if (r->used_ms < slot->used_ms)
			slot = r;
	}
	slot->hash = hash;
	lines_init(&slot->bucket, LOG_REPEAT_BURST, LOG_REPEAT_S, now_ms);
	return slot;
}

static bool repeats_too_much(struct log *l, const char *text, uint64_t now_ms, uint64_t *skipped)
{
	struct repeat *slot = slot_of(l, hash_of(text), now_ms);

	slot->used_ms = now_ms + 1; /* 0 is an empty slot */
	if (lines_take(&slot->bucket, LOG_REPEAT_S, now_ms, skipped))
		return false;
	l->suppressed++;
	return true;
}

/* One event, one line of valid UTF-8, whatever a name contains and wherever it was cut. */
static void make_plain(char *text)
{
	for (size_t i = 0; text[i] != '\0'; i++) {
		size_t len = 1;
		while (len < 4 && ((unsigned char)text[i + len] & 0xc0) == 0x80)
			len++;
		while (len > 0 && !core_text_ok(slice_of(text + i, len)))
			len--;
		if (len == 0)
			text[i] = '?';
		else
			i += len - 1;
	}
}

/* A text that is too long for it is cut. */
static void append_count(char *text, size_t size, uint64_t number, const char *what)
{
	char more[96];
	size_t n = (size_t)snprintf(more, sizeof(more), " (left out %llu %s)", (unsigned long long)number, what), at = strlen(text);

	if (at > size - 1 - n)
		at = size - 1 - n;
	memcpy(text + at, more, n + 1);
	make_plain(text);
}

static void write_va(struct log *l, enum log_level level, uint64_t skipped, const char *fmt, va_list args) PRINTF_LIKE(4, 0);
static void write_va(struct log *l, enum log_level level, uint64_t skipped, const char *fmt, va_list args)
{
	char text[1024];
	uint64_t repeated = 0;

	(void)vsnprintf(text, sizeof(text), fmt, args);
	make_plain(text);
	if (level != LOG_LEVEL_DEBUG && repeats_too_much(l, text, clock_ms(), &repeated))
		return;
	if (skipped > 0)
		append_count(text, sizeof(text), skipped, "lines caused by strangers");
	if (repeated > 0)
		append_count(text, sizeof(text), repeated, "like it");
	emit(l, level, text);
}

void log_write(struct log *l, enum log_level level, const char *fmt, ...)
{
	va_list args;

	if (level < l->least)
		return;
	va_start(args, fmt);
	write_va(l, level, 0, fmt, args);
	va_end(args);
}

void log_stranger(struct log *l, enum log_level level, uint64_t now_ms, const char *fmt, ...)
{
	va_list args;
	uint64_t skipped = 0;

	if (level < l->least)
		return;
	if (!l->strangers_ready) {
		lines_init(&l->strangers, LOG_STRANGER_BURST, LOG_STRANGER_S, now_ms);
		l->strangers_ready = true;
	}
	if (!lines_take(&l->strangers, LOG_STRANGER_S, now_ms, &skipped)) {
		l->suppressed++;
		return;
	}
	va_start(args, fmt);
	write_va(l, level, skipped, fmt, args);
	va_end(args);
}

uint64_t log_suppressed(const struct log *l)
{
	return l->suppressed;
}
