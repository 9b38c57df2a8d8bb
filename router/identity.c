#include "router/identity.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/addr.h"
#include "base/mem.h"

enum { PATH_BYTES = 4096, MACHINE_BYTES = 64 };

uint64_t identity_name(const uint8_t public_key[32])
{
	uint8_t h[crypto_generichash_BYTES_MIN];
	uint64_t name = 0;

	(void)crypto_generichash(h, sizeof(h), public_key, 32, NULL, 0);
	h[0] = (uint8_t)((h[0] & 0xfc) | 0x02);
	for (int i = 0; i < 6; i++)
		name = name << 8 | h[i];
	return name;
}

/* The directory of a file whose name is new. */
static enum err sync_dir(const char *path, struct err_note *note)
{
	char dir[PATH_BYTES];
	const char *slash = strrchr(path, '/');
	enum err err = ERR_OK;

	(void)snprintf(dir, sizeof(dir), "%.*s", (int)(slash - path), path);
	int fd = open(dir[0] != '\0' ? dir : "/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || fsync(fd) != 0)
		err = err_note(note, ERR_IO, "cannot write %.150s: %s", dir, strerror(errno));
	if (fd >= 0)
		(void)close(fd);
	return err;
}

static enum err write_key(const char *path, const uint8_t secret[32], struct err_note *note)
{
	char tmp[PATH_BYTES + 8];
	int fd;

	(void)snprintf(tmp, sizeof(tmp), "%s.new", path);
	fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return err_note(note, ERR_IO, "cannot write %.150s: %s", tmp, strerror(errno));
	bool ok = write(fd, secret, 32) == 32 && fsync(fd) == 0;
	ok = close(fd) == 0 && ok;
	if (ok && rename(tmp, path) == 0)
		return sync_dir(path, note);
	enum err err = err_note(note, ERR_IO, "cannot write %.150s: %s", path, strerror(errno));
	(void)unlink(tmp);
	return err;
}

static enum err read_key(const char *path, uint8_t secret[32], struct err_note *note)
{
	uint8_t bytes[33];
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

	if (fd < 0 && errno == ENOENT)
		return ERR_NOT_FOUND;
	if (fd < 0)
		return err_note(note, ERR_IO, "cannot read %.150s: %s", path, strerror(errno));
	ssize_t n = read(fd, bytes, sizeof(bytes));
	int why = errno;
	(void)close(fd);
	if (n < 0)
		return err_note(note, ERR_IO, "cannot read %.150s: %s", path, strerror(why));
	if (n == 32)
		memcpy(secret, bytes, 32);
	sodium_memzero(bytes, sizeof(bytes));
	if (n != 32)
		return err_note(note, ERR_MALFORMED,
			"%.150s is no identity key (%zd bytes instead of 32); restore it, or remove it to get a new identity", path, n);
	return ERR_OK;
}

/* Empty when the machine has none, as in some containers, or not yet ("uninitialized", machine-id(5)): then cloning cannot be seen. */
static size_t machine_id(char out[MACHINE_BYTES])
{
	static const char *const paths[] = { "/etc/machine-id", "/var/lib/dbus/machine-id" };

	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
		int fd = open(paths[i], O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			continue;
		ssize_t n = read(fd, out, MACHINE_BYTES);
		(void)close(fd);
		while (n > 0 && (out[n - 1] == '\n' || out[n - 1] == ' '))
			n--;
		if (n > 0 && !(n == 13 && memcmp(out, "uninitialized", 13) == 0))
			return (size_t)n;
	}
	return 0;
}

/* The key goes first: should we end in between, the next start finds the other machine's records and does the rest. */
static enum err set_all_aside(const char *path, struct store *store, struct err_note *note)
{
	char aside[PATH_BYTES + 32];

	(void)snprintf(aside, sizeof(aside), "%s.aside", path);
	if (rename(path, aside) != 0 && errno != ENOENT)
		return err_note(note, ERR_IO, "cannot rename %.150s: %s", path, strerror(errno));
	enum err err = sync_dir(path, note);
	return err != ERR_OK ? err : store_set_all_aside(store, note);
}

static enum err check_machine(const char *path, struct store *store, struct identity *out, struct err_note *note)
{
	char now[MACHINE_BYTES], then[MACHINE_BYTES];
	size_t n_now = machine_id(now), n_then = 0;
	enum err err = store_get(store, "meta/machine", then, sizeof(then), &n_then);

	if (err != ERR_OK && err != ERR_NOT_FOUND)
		return err_note(note, err, "the stored machine id cannot be read");
	if (n_now == 0 || (err == ERR_OK && n_now == n_then && memcmp(now, then, n_now) == 0))
		return ERR_OK;
	if (err == ERR_OK) {
		out->cloned = true;
		err = set_all_aside(path, store, note);
		if (err != ERR_OK)
			return err;
	}
	return store_put_one(store, "meta/machine", slice_of(now, n_now), note);
}

enum err identity_load(const char *dir, struct store *store, struct identity *out, struct err_note *note)
{
	char path[PATH_BYTES];

	memset(out, 0, sizeof(*out));
	(void)snprintf(path, sizeof(path), "%s/identity.key", dir);
	enum err err = check_machine(path, store, out, note);
	if (err != ERR_OK)
		return err;
	err = read_key(path, out->secret, note);
	if (err == ERR_NOT_FOUND) {
		randombytes_buf(out->secret, sizeof(out->secret));
		err = write_key(path, out->secret, note);
		out->made = true;
	}
	if (err != ERR_OK)
		return err;
	if (crypto_scalarmult_base(out->public, out->secret) != 0)
		return err_note(note, ERR_MALFORMED, "%.150s is no usable key; remove it to get a new identity", path);
	out->name = identity_name(out->public);
	return ERR_OK;
}

enum err identity_incarnation(struct store *store, uint64_t *out, struct err_note *note)
{
	uint8_t bytes[8];
	struct wbuf w;
	struct rbuf r;
	size_t n = 0;
	struct timespec now = { 0 };
	enum err err = store_get(store, "meta/incarnation", bytes, sizeof(bytes), &n);

	if (err != ERR_OK && err != ERR_NOT_FOUND)
		return err_note(note, err, "the stored incarnation cannot be read");
	rbuf_init(&r, bytes, n);
	uint64_t last = err == ERR_OK ? rbuf_u64(&r) : 0;
	if (err == ERR_OK && (rbuf_end(&r) != ERR_OK || last == UINT64_MAX))
		return err_note(note, ERR_MALFORMED, "the stored incarnation cannot be read; move weft.mdb away to start afresh");
	/* Milliseconds, so that a host which loses its disk and is started again at once is later than its former self. */
	(void)clock_gettime(CLOCK_REALTIME, &now);
	uint64_t inc = (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
	if (inc <= last)
		inc = last + 1;
	wbuf_fixed(&w, bytes, sizeof(bytes));
	wbuf_u64(&w, inc);
	*out = inc;
	return store_put_one(store, "meta/incarnation", wbuf_slice(&w), note);
}
