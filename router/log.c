#include "router/log.h"

#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "base/bucket.h"
#include "base/mem.h"

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
	uint64_t stranger_skipped, suppressed;
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

	return stream != NULL && sscanf(stream, "%llu:%llu", &dev, &ino) == 2 && fstat(fd, &st) == 0 &&
	       st.st_dev == (dev_t)dev && st.st_ino == (ino_t)ino;
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
		char out[2048];
		int n = snprintf(out, sizeof(out), "%s\n", line);
		put(l, out, n < (int)sizeof(out) ? (size_t)n : sizeof(out) - 1);
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

static bool repeats_too_much(struct log *l, const char *text, uint64_t now_ms, uint64_t *skipped)
{
	uint64_t h = hash_of(text);
	struct repeat *slot = &l->repeats[0];

	for (size_t i = 0; i < REPEAT_SLOTS; i++) {
		struct repeat *r = &l->repeats[i];
		if (r->hash == h && r->used_ms != 0) {
			slot = r;
			break;
		}
		if (r->used_ms < slot->used_ms)
			slot = r;
	}
	if (slot->hash != h || slot->used_ms == 0) {
		slot->hash = h;
		/* one more a minute: 60 an hour beside the burst */
		bucket_init(&slot->bucket, LOG_REPEAT_BURST * 60, 1, now_ms);
		slot->bucket.refused = 0;
	}
	slot->used_ms = now_ms + 1;
	/* a line costs 60 tokens, of which one comes back a second */
	for (int i = 0; i < 60; i++) {
		if (!bucket_take(&slot->bucket, now_ms)) {
			l->suppressed++;
			return true;
		}
	}
	*skipped = slot->bucket.refused;
	slot->bucket.refused = 0;
	return false;
}

static void write_va(struct log *l, enum log_level level, const char *fmt, va_list args)
{
	char text[1024];
	uint64_t skipped = 0;

	(void)vsnprintf(text, sizeof(text), fmt, args);
	for (char *p = text; *p != '\0'; p++)
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			*p = '?'; /* one event, one line, whatever a name contains */
	if (level != LOG_LEVEL_DEBUG && repeats_too_much(l, text, clock_ms(), &skipped))
		return;
	emit(l, level, text);
	if (skipped > 0) {
		(void)snprintf(text, sizeof(text), "the line before was left out %llu times", (unsigned long long)skipped);
		emit(l, level, text);
	}
}

void log_write(struct log *l, enum log_level level, const char *fmt, ...)
{
	va_list args;

	if (level < l->least)
		return;
	va_start(args, fmt);
	write_va(l, level, fmt, args);
	va_end(args);
}

void log_stranger(struct log *l, enum log_level level, uint64_t now_ms, const char *fmt, ...)
{
	va_list args;

	if (level < l->least)
		return;
	if (!l->strangers_ready) {
		bucket_init(&l->strangers, LOG_STRANGER_BURST * LOG_STRANGER_S, 1, now_ms);
		l->strangers_ready = true;
	}
	for (int i = 0; i < LOG_STRANGER_S; i++) {
		if (!bucket_take(&l->strangers, now_ms)) {
			l->stranger_skipped++;
			l->suppressed++;
			return;
		}
	}
	if (l->stranger_skipped > 0) {
		log_write(l, level, "left out %llu lines caused by strangers", (unsigned long long)l->stranger_skipped);
		l->stranger_skipped = 0;
	}
	va_start(args, fmt);
	write_va(l, level, fmt, args);
	va_end(args);
}

uint64_t log_suppressed(const struct log *l)
{
	return l->suppressed;
}
