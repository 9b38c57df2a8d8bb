/* Errors are values. One enum for the whole program; the words an operator reads go into a caller's err_note. */
#ifndef WEFT_BASE_ERR_H
#define WEFT_BASE_ERR_H

#include <stdarg.h>
#include <stddef.h>

#define MUST_CHECK                   __attribute__((warn_unused_result))
#define PRINTF_LIKE(fmt_at, args_at) __attribute__((format(printf, fmt_at, args_at)))

/* X(name, short text). The order is not stable and never goes over the wire. */
#define ERR_LIST(X)                                  \
	X(ERR_OK, "ok")                                  \
	X(ERR_NOMEM, "out of memory")                    \
	X(ERR_TRUNCATED, "shorter than its format says") \
	X(ERR_MALFORMED, "malformed")                    \
	X(ERR_LIMIT, "over a limit")                     \
	X(ERR_RANGE, "out of range")                     \
	X(ERR_UNSUPPORTED, "not supported here")         \
	X(ERR_VERSION, "incompatible version")           \
	X(ERR_AUTH, "not authentic")                     \
	X(ERR_REFUSED, "refused")                        \
	X(ERR_NOT_FOUND, "not found")                    \
	X(ERR_EXISTS, "exists already")                  \
	X(ERR_CONFLICT, "conflict")                      \
	X(ERR_FULL, "no space left")                     \
	X(ERR_STATE, "not possible in this state")       \
	X(ERR_AGAIN, "not yet")                          \
	X(ERR_TIMEOUT, "timed out")                      \
	X(ERR_CANCELLED, "cancelled")                    \
	X(ERR_CLOSED, "closed")                          \
	X(ERR_UNREACHABLE, "unreachable")                \
	X(ERR_SELF, "is ourselves")                      \
	X(ERR_DUPLICATE, "duplicate")                    \
	X(ERR_BUSY, "in use")                            \
	X(ERR_PERMISSION, "no permission")               \
	X(ERR_USAGE, "wrong usage")                      \
	X(ERR_IO, "input/output error")                  \
	X(ERR_SYSTEM, "system call failed")

enum err {
#define X(name, text) name,
	ERR_LIST(X)
#undef X
};

/* "ERR_LIMIT" and "over a limit"; static strings, never NULL. */
const char *err_name(enum err e);
const char *err_text(enum err e);

/* One line for a person: what is wrong and what to do. Always terminated; too long is cut. */
struct err_note {
	char text[256];
};

/* Writes the line (note may be NULL) and gives e back: `return err_note(n, ERR_RANGE, "…", …);` */
enum err err_note(struct err_note *note, enum err e, const char *fmt, ...) PRINTF_LIKE(3, 4);

#ifdef __clang_analyzer__ /* which looks at one file at a time, and is to see what comes back */
#define err_note(note, e, ...) ((void)err_note(note, e, __VA_ARGS__), (e))
#endif

#endif
