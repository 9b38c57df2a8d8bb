/* A directory of a test's own, removed with all that is in it. */
#ifndef WEFT_TESTS_ROUTER_DIR_H
#define WEFT_TESTS_ROUTER_DIR_H

#include "tests/unit/base/cmocka_all.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct dir {
	char path[64];
};

static inline void dir_make(struct dir *d)
{
	snprintf(d->path, sizeof(d->path), "/tmp/weft-unit-XXXXXX");
	assert_non_null(mkdtemp(d->path));
}

static inline const char *dir_file(const struct dir *d, const char *name, char out[128])
{
	snprintf(out, 128, "%s/%s", d->path, name);
	return out;
}

static inline void dir_remove(const struct dir *d)
{
	char command[128];
	snprintf(command, sizeof(command), "rm -r %s", d->path);
	assert_int_equal(system(command), 0);
}

#endif
