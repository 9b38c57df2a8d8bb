/* Libraries that are loaded when they are needed first, since they bring many others with them. */
#ifndef WEFT_DATAPLANE_LIBRARY_H
#define WEFT_DATAPLANE_LIBRARY_H

#include <stddef.h>

#include "base/err.h"

struct library_function {
	const char *name;
	void *to; /* a pointer to a function */
};
/* Loads the file, unless it is there, and writes the n functions' addresses, which are good until the process ends. ERR_UNSUPPORTED: it is not
 * installed, or lacks a function; the note names the package. */
enum err library_load(
	const char *file, const char *package, const struct library_function *v, size_t n, struct err_note *note) MUST_CHECK;

#endif
