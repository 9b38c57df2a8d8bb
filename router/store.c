#include "router/store.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <lmdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"

/* The map is address space, not memory and not file size; doubled when full. */
enum { MAP_BYTES = 64 << 20, MAP_DOUBLINGS = 8, PATH_BYTES = 4096 };

struct store {
	MDB_env *env;
	MDB_dbi dbi;
	MDB_txn *txn;
	int lock_fd;
	char dir[PATH_BYTES];
	size_t map_bytes;
	unsigned long long commits;
};

static enum err fail(const struct store *s, int rc, const char *doing, struct err_note *note)
{
	const char *what = mdb_strerror(rc);

	if (rc == MDB_INVALID || rc == MDB_VERSION_MISMATCH || rc == MDB_CORRUPTED || rc == MDB_PAGE_NOTFOUND || rc == MDB_PANIC ||
		rc == MDB_BAD_TXN)
		return err_note(note, ERR_MALFORMED,
			"cannot %s %s/weft.mdb: %s; move the file away to start afresh (the other hosts know what this one owned)", doing,
			s->dir, what);
	if (rc == ENOSPC || rc == MDB_MAP_FULL)
		return err_note(
			note, ERR_FULL, "cannot %s %s/weft.mdb: no space left; make room on that file system and start again", doing, s->dir);
	if (rc == EACCES || rc == EPERM || rc == EROFS)
		return err_note(
			note, ERR_PERMISSION, "cannot %s %s/weft.mdb: %s; run as root or choose another --state-dir", doing, s->dir, what);
	return err_note(note, rc == ENOMEM ? ERR_NOMEM : ERR_IO, "cannot %s %s/weft.mdb: %s", doing, s->dir, what);
}

static enum err make_dir(const char *dir, struct err_note *note)
{
	char path[PATH_BYTES];
	size_t n = strlen(dir);

	if (n == 0 || n >= sizeof(path) - 32)
		return err_note(note, ERR_USAGE, "the state directory's name is %s", n == 0 ? "empty" : "too long");
	memcpy(path, dir, n + 1);
	for (char *p = path + 1; *p != '\0'; p++) {
		if (*p != '/')
			continue;
		*p = '\0';
		(void)mkdir(path, 0755);
		*p = '/';
	}
	if (mkdir(path, 0700) != 0 && errno != EEXIST)
		return err_note(note, errno == EACCES || errno == EROFS ? ERR_PERMISSION : ERR_SYSTEM,
			"cannot make the state directory %.150s: %s; run as root or choose another --state-dir", dir, strerror(errno));
	return ERR_OK;
}

/* flock goes with the open file, so kill -9 leaves none behind. */
static enum err take_lock(struct store *s, struct err_note *note)
{
	char path[PATH_BYTES + 8];

	(void)snprintf(path, sizeof(path), "%s/lock", s->dir);
	s->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (s->lock_fd < 0)
		return err_note(note, errno == EACCES || errno == EROFS ? ERR_PERMISSION : ERR_SYSTEM, "cannot open %.150s: %s", path,
			strerror(errno));
	if (flock(s->lock_fd, LOCK_EX | LOCK_NB) == 0)
		return ERR_OK;
	if (errno == EWOULDBLOCK)
		return err_note(note, ERR_BUSY,
			"another weftd is running with the state directory %.150s; stop it, or give this one its own --state-dir", s->dir);
	return err_note(note, ERR_SYSTEM, "cannot lock %.150s: %s", path, strerror(errno));
}

/* LMDB finds the file inconsistent where it has no error to give, and would abort. */
static void on_damage(MDB_env *env, const char *what)
{
	const struct store *s = mdb_env_get_userctx(env);

	(void)fprintf(stderr,
		"weftd: the state file %s/weft.mdb is damaged (%s); move it away to start afresh (the other hosts know what this one owned)\n",
		s->dir, what);
	_exit(1);
}

/* A file cut short would end the process by a signal when its missing pages are read. As holes they are empty pages, which LMDB recognises. */
static int fill_up(struct store *s, const char *path)
{
	MDB_envinfo info;
	MDB_stat page;
	struct stat file;
	int rc = mdb_env_info(s->env, &info);

	if (rc == 0)
		rc = mdb_env_stat(s->env, &page);
	if (rc == 0 && stat(path, &file) != 0)
		rc = errno;
	if (rc != 0)
		return rc;
	s->map_bytes = info.me_mapsize; /* a store that has grown says so itself */
	size_t least = (info.me_last_pgno + 1) * page.ms_psize;
	return (size_t)file.st_size < least && truncate(path, (off_t)least) != 0 ? errno : 0;
}

/* A new file's name is on disk only when its directory is. */
static int sync_dir(const char *dir)
{
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC), rc = 0;

	if (fd < 0 || fsync(fd) != 0)
		rc = errno;
	if (fd >= 0)
		(void)close(fd);
	return rc;
}

static enum err open_env(struct store *s, struct err_note *note)
{
	char path[PATH_BYTES + 16];
	MDB_txn *txn = NULL;
	int rc = mdb_env_create(&s->env);

	(void)snprintf(path, sizeof(path), "%s/weft.mdb", s->dir);
	s->map_bytes = MAP_BYTES;
	if (rc == 0)
		rc = mdb_env_set_userctx(s->env, s);
	if (rc == 0)
		rc = mdb_env_set_assert(s->env, on_damage);
	if (rc == 0)
		rc = mdb_env_set_mapsize(s->env, s->map_bytes);
	/* NOLOCK: we hold our own lock and have one thread; NOTLS likewise. */
	if (rc == 0)
		rc = mdb_env_open(s->env, path, MDB_NOSUBDIR | MDB_NOLOCK | MDB_NOTLS | MDB_NORDAHEAD, 0600);
	if (rc == 0)
		rc = fill_up(s, path);
	if (rc == 0)
		rc = sync_dir(s->dir);
	if (rc == 0)
		rc = mdb_txn_begin(s->env, NULL, 0, &txn);
	if (rc == 0)
		rc = mdb_dbi_open(txn, NULL, 0, &s->dbi);
	if (rc == 0) {
		rc = mdb_txn_commit(txn);
		txn = NULL;
	}
	if (txn != NULL)
		mdb_txn_abort(txn);
	return rc == 0 ? ERR_OK : fail(s, rc, "open", note);
}

enum err store_open(struct store **out, const char *dir, struct err_note *note)
{
	enum err err = make_dir(dir, note);

	if (err != ERR_OK)
		return err;
	struct store *s = mem_zalloc(1, sizeof(*s));
	if (s == NULL)
		return err_note(note, ERR_NOMEM, "out of memory");
	s->lock_fd = -1;
	(void)snprintf(s->dir, sizeof(s->dir), "%s", dir);
	err = take_lock(s, note);
	if (err == ERR_OK)
		err = open_env(s, note);
	if (err != ERR_OK) {
		store_close(s);
		return err;
	}
	*out = s;
	return ERR_OK;
}

void store_close(struct store *s)
{
	if (s == NULL)
		return;
	store_abort(s);
	if (s->env != NULL)
		mdb_env_close(s->env);
	if (s->lock_fd >= 0)
		(void)close(s->lock_fd);
	mem_free(s);
}

static MDB_val val(struct slice v)
{
	return (MDB_val){ .mv_size = v.n, .mv_data = (void *)(uintptr_t)v.p };
}

static struct slice unval(MDB_val v)
{
	return slice_of(v.mv_data, v.mv_size);
}

static bool begins_with(MDB_val key, const char *prefix)
{
	size_t n = strlen(prefix);

	return key.mv_size >= n && memcmp(key.mv_data, prefix, n) == 0;
}

enum err store_each(struct store *s, const char *prefix, store_each_fn fn, void *ctx, struct err_note *note)
{
	MDB_txn *txn = NULL;
	MDB_cursor *cursor = NULL;
	MDB_val key = { .mv_size = strlen(prefix), .mv_data = (void *)(uintptr_t)prefix }, value;
	enum err err = ERR_OK;
	int rc = mdb_txn_begin(s->env, NULL, MDB_RDONLY, &txn);

	if (rc == 0)
		rc = mdb_cursor_open(txn, s->dbi, &cursor);
	if (rc == 0)
		rc = mdb_cursor_get(cursor, &key, &value, prefix[0] != '\0' ? MDB_SET_RANGE : MDB_FIRST);
	while (rc == 0 && begins_with(key, prefix)) {
		err = fn(ctx, unval(key), unval(value));
		if (err != ERR_OK)
			break;
		rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT);
	}
	if (cursor != NULL)
		mdb_cursor_close(cursor);
	if (txn != NULL)
		mdb_txn_abort(txn);
	if (err != ERR_OK)
		return err;
	return rc == 0 || rc == MDB_NOTFOUND ? ERR_OK : fail(s, rc, "read", note);
}

enum err store_get(struct store *s, const char *key, void *value, size_t size, size_t *n)
{
	MDB_txn *txn = NULL;
	MDB_val k = val(slice_str(key)), v;
	enum err err = ERR_OK;
	int rc = mdb_txn_begin(s->env, NULL, MDB_RDONLY, &txn);

	if (rc != 0)
		return ERR_IO;
	rc = mdb_get(txn, s->dbi, &k, &v);
	if (rc == MDB_NOTFOUND) {
		err = ERR_NOT_FOUND;
	} else if (rc != 0) {
		err = ERR_IO;
	} else if (v.mv_size > size) {
		err = ERR_LIMIT;
	} else {
		if (v.mv_size > 0)
			memcpy(value, v.mv_data, v.mv_size);
		*n = v.mv_size;
	}
	mdb_txn_abort(txn);
	return err;
}

enum err store_begin(struct store *s, struct err_note *note)
{
	assert(s->txn == NULL);
	int rc = mdb_txn_begin(s->env, NULL, 0, &s->txn);

	return rc == 0 ? ERR_OK : fail(s, rc, "write", note);
}

enum err store_put(struct store *s, struct slice key, struct slice value, struct err_note *note)
{
	MDB_val k = val(key), v = val(value);
	int rc;

	if (key.n == 0 || key.n > STORE_KEY_MAX)
		return err_note(note, ERR_LIMIT, "a state record's key has %zu bytes, at most %d can be stored", key.n, STORE_KEY_MAX);
	if (value.p == NULL) {
		rc = mdb_del(s->txn, s->dbi, &k, NULL);
		if (rc == MDB_NOTFOUND)
			rc = 0;
	} else {
		rc = mdb_put(s->txn, s->dbi, &k, &v, 0);
	}
	return rc == 0 ? ERR_OK : fail(s, rc, "write", note);
}

enum err store_commit(struct store *s, struct err_note *note)
{
	MDB_txn *txn = s->txn;

	s->txn = NULL;
	int rc = mdb_txn_commit(txn);
	if (rc != 0)
		return fail(s, rc, "write", note);
	s->commits++;
	/* Grow ahead of need, between transactions, where LMDB allows it. */
	MDB_envinfo info;
	MDB_stat stat;
	if (mdb_env_info(s->env, &info) == 0 && mdb_env_stat(s->env, &stat) == 0 &&
		(info.me_last_pgno + 1) * stat.ms_psize > s->map_bytes / 2 && s->map_bytes < (size_t)MAP_BYTES << MAP_DOUBLINGS &&
		mdb_env_set_mapsize(s->env, s->map_bytes * 2) == 0)
		s->map_bytes *= 2;
	return ERR_OK;
}

void store_abort(struct store *s)
{
	if (s->txn != NULL)
		mdb_txn_abort(s->txn);
	s->txn = NULL;
}

enum err store_put_one(struct store *s, const char *key, struct slice value, struct err_note *note)
{
	enum err err = store_begin(s, note);

	if (err != ERR_OK)
		return err;
	err = store_put(s, slice_str(key), value, note);
	if (err != ERR_OK) {
		store_abort(s);
		return err;
	}
	return store_commit(s, note);
}

static const char aside[] = "aside/";
enum { ASIDE_LEN = sizeof(aside) - 1 };

/* Within the transaction. k and v point into its pages, which a put may move. */
static enum err move_aside(struct store *s, MDB_val k, MDB_val v, struct err_note *note)
{
	uint8_t to[ASIDE_LEN + STORE_KEY_MAX];
	size_t kept = k.mv_size < STORE_KEY_MAX - ASIDE_LEN ? k.mv_size : STORE_KEY_MAX - ASIDE_LEN;
	uint8_t *copy = mem_alloc(k.mv_size + v.mv_size + 1);
	enum err err = ERR_OK;

	if (copy == NULL)
		return err_note(note, ERR_NOMEM, "out of memory");
	memcpy(copy, k.mv_data, k.mv_size);
	if (v.mv_size > 0)
		memcpy(copy + k.mv_size, v.mv_data, v.mv_size);
	memcpy(to, aside, ASIDE_LEN);
	memcpy(to + ASIDE_LEN, copy, kept);
	err = store_put(s, slice_of(to, ASIDE_LEN + kept), slice_of(copy + k.mv_size, v.mv_size), note);
	if (err == ERR_OK)
		err = store_put(s, slice_of(copy, k.mv_size), (struct slice){ NULL, 0 }, note);
	mem_free(copy);
	return err;
}

enum err store_set_aside(struct store *s, struct slice key, struct err_note *note)
{
	MDB_val k = val(key), v;
	enum err err = store_begin(s, note);

	if (err != ERR_OK)
		return err;
	int rc = mdb_get(s->txn, s->dbi, &k, &v);
	if (rc == 0)
		err = move_aside(s, k, v, note);
	else if (rc != MDB_NOTFOUND)
		err = fail(s, rc, "read", note);
	if (err != ERR_OK) {
		store_abort(s);
		return err;
	}
	return store_commit(s, note);
}

/* The first record that is not aside already. */
static int first_here(struct store *s, MDB_val *k, MDB_val *v)
{
	static const char behind[] = "aside0"; /* sorts behind all that begins with "aside/" */
	MDB_cursor *cursor = NULL;
	int rc = mdb_cursor_open(s->txn, s->dbi, &cursor);

	if (rc != 0)
		return rc;
	rc = mdb_cursor_get(cursor, k, v, MDB_FIRST);
	if (rc == 0 && begins_with(*k, aside)) {
		*k = val(slice_str(behind));
		rc = mdb_cursor_get(cursor, k, v, MDB_SET_RANGE);
	}
	mdb_cursor_close(cursor);
	return rc;
}

enum err store_set_all_aside(struct store *s, struct err_note *note)
{
	MDB_val k, v;
	enum err err = store_begin(s, note);
	int rc = 0;

	if (err != ERR_OK)
		return err;
	while (err == ERR_OK && (rc = first_here(s, &k, &v)) == 0)
		err = move_aside(s, k, v, note);
	if (err == ERR_OK && rc != MDB_NOTFOUND)
		err = fail(s, rc, "read", note);
	if (err != ERR_OK) {
		store_abort(s);
		return err;
	}
	return store_commit(s, note);
}

enum err store_erase(struct store *s, struct err_note *note)
{
	enum err err = store_begin(s, note);

	if (err != ERR_OK)
		return err;
	int rc = mdb_drop(s->txn, s->dbi, 0);
	if (rc != 0) {
		store_abort(s);
		return fail(s, rc, "empty", note);
	}
	return store_commit(s, note);
}

size_t store_bytes(const struct store *s)
{
	MDB_envinfo info;
	MDB_stat stat;

	if (mdb_env_info(s->env, &info) != 0 || mdb_env_stat(s->env, &stat) != 0)
		return 0;
	return (info.me_last_pgno + 1) * stat.ms_psize;
}

unsigned long long store_commits(const struct store *s)
{
	return s->commits;
}
