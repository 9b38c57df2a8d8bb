#include "base/err.h"

#include <stdio.h>

const char *err_name(enum err e)
{
	switch (e) {
#define X(name, text) \
	case name: return #name;
		ERR_LIST(X)
#undef X
	}
	return "ERR_?";
}

const char *err_text(enum err e)
{
	switch (e) {
#define X(name, text) \
	case name: return text;
		ERR_LIST(X)
#undef X
	}
	return "unknown error";
}

enum err(err_note)(struct err_note *note, enum err e, const char *fmt, ...)
{
	if (!note)
		return e;
	va_list args;
	va_start(args, fmt);
	int n = vsnprintf(note->text, sizeof note->text, fmt, args);
	va_end(args);
	if (n < 0)
		note->text[0] = '\0';
	return e;
}
