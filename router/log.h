/* The daemon's log: one line an event on stderr, text or JSON, with journald's priority prefix when stderr is the journal. What a
 * stranger can cause passes a token bucket first; a line that repeats (but for its numbers) passes one of its own. What was left out is
 * counted and said at the end of the next line that comes through. */
#ifndef WEFT_ROUTER_LOG_H
#define WEFT_ROUTER_LOG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "router/options.h"

struct log;
/* fd is not closed by log_free. NULL: out of memory. */
struct log *log_new(int fd, enum log_level least, bool json);
void log_free(struct log *l);
void log_write(struct log *l, enum log_level level, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* Anyone could make us say this: at most LOG_STRANGER_BURST at once and one in LOG_STRANGER_S seconds after that. */
void log_stranger(struct log *l, enum log_level level, uint64_t now_ms, const char *fmt, ...) PRINTF_LIKE(4, 5);
/* How many lines were left out. */
uint64_t log_suppressed(const struct log *l);

#define LOG_STRANGER_BURST 10
#define LOG_STRANGER_S     60
#define LOG_REPEAT_BURST   5 /* of one text; after that one in LOG_REPEAT_S seconds: fewer than 100 an hour */
#define LOG_REPEAT_S       60

#endif
