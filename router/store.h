/* What the daemon has promised, on disk: key -> value in one LMDB file, `weft.mdb` in the state directory. One daemon at a time: a lock
 * that the kernel drops with the process. A commit is durable when it returns (two fdatasync-like writes). A file that turns out to be
 * damaged inside, at any call, ends the process with status 1 and a line that says so: LMDB leaves no other way. */
#ifndef WEFT_ROUTER_STORE_H
#define WEFT_ROUTER_STORE_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/err.h"

#define STORE_KEY_MAX 500 /* bytes: LMDB's 511 with room for "aside/" */

struct store;
/* Makes dir (0700) if need be. ERR_BUSY: another daemon has it; ERR_MALFORMED: the file is no store or broken (it is left as it is);
 * ERR_PERMISSION, ERR_IO, ERR_SYSTEM. */
enum err store_open(struct store **out, const char *dir, struct err_note *note) MUST_CHECK;
void store_close(struct store *s);
/* Every record whose key begins with prefix, in order; slices are valid during the call. An error of fn ends it and is given back. */
typedef enum err (*store_each_fn)(void *ctx, struct slice key, struct slice value);
enum err store_each(struct store *s, const char *prefix, store_each_fn fn, void *ctx, struct err_note *note) MUST_CHECK;
/* Copies the value (at most size bytes) and gives its length. ERR_NOT_FOUND, ERR_LIMIT. */
enum err store_get(struct store *s, const char *key, void *value, size_t size, size_t *n) MUST_CHECK;

/* One transaction: begin, any puts and deletes, commit. After an error of a put the caller calls store_abort; after one of begin or commit
 * there is no transaction. */
enum err store_begin(struct store *s, struct err_note *note) MUST_CHECK;
enum err store_put(
	struct store *s, struct slice key, struct slice value, struct err_note *note) MUST_CHECK; /* value.p NULL: delete */
enum err store_commit(struct store *s, struct err_note *note) MUST_CHECK;
void store_abort(struct store *s);
/* begin, put, commit. */
enum err store_put_one(struct store *s, const char *key, struct slice value, struct err_note *note) MUST_CHECK;
/* Moves a record to aside/KEY, so that it is out of the way and not lost. */
enum err store_set_aside(struct store *s, struct slice key, struct err_note *note) MUST_CHECK;
/* The same with all records there are, in one transaction. */
enum err store_set_all_aside(struct store *s, struct err_note *note) MUST_CHECK;
/* Removes every record (weft reset). */
enum err store_erase(struct store *s, struct err_note *note) MUST_CHECK;
size_t store_bytes(const struct store *s);
unsigned long long store_commits(const struct store *s);

#endif
