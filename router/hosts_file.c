/* Finding, reading and replacing a container's /etc/hosts.
 *
 * The way there is /proc/PID/root, then "etc" and "hosts" by openat2, which follows no link. Whether the file is a mount of its own matters: a rename over
 * one, made from our mount namespace, would succeed and take the mount away from the container. Such a file belongs to whoever runs the container and
 * is written in place, in one write, which is as long as the longer of the two contents, so that nobody reads half a line. */
#include "router/hosts.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/mem.h"
#include "router/dataplane/netlink.h"

#define TEMPORARY ".hosts.weft"

struct hosts_file {
	int etc;  /* the directory */
	int file; /* -1: there is none */
	bool mounted;
	pid_t pid; /* for messages */
	mode_t mode;
	uid_t uid;
	gid_t gid;
};

static int open_below(int dir, const char *name, uint64_t flags, uint64_t resolve)
{
	struct open_how how = { .flags = flags | O_CLOEXEC | O_NOFOLLOW,
		.resolve = resolve | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS };

	return (int)syscall(SYS_openat2, dir, name, &how, sizeof(how));
}

static enum err error_of(const struct hosts_file *h, int error, const char *what, struct err_note *note)
{
	if (error == ELOOP)
		return err_note(note, ERR_REFUSED, "the %s of process %d is a symbolic link, which is not followed", what, (int)h->pid);
	if (error == ENOSYS)
		return err_note(note, ERR_UNSUPPORTED, "a container's /etc/hosts is changed from Linux 5.6 on; leave it as it is");
	if (error == ENOENT || error == ENOTDIR || error == ESRCH)
		return err_note(note, ERR_NOT_FOUND, "process %d has no %s", (int)h->pid, what);
	return err_note(note, error == EACCES || error == EPERM ? ERR_PERMISSION : ERR_SYSTEM, "cannot open the %s of process %d: %s",
		what, (int)h->pid, strerror(error));
}

static bool same_file(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

/* The directory; and the process is the one that is meant: its number may be another's by now. */
static enum err open_etc(struct hosts_file *h, int nsfd, struct err_note *note)
{
	char path[40];
	struct stat wanted, has;
	enum err err = ERR_OK;

	(void)snprintf(path, sizeof(path), "/proc/%d", (int)h->pid);
	int process = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	int root = process >= 0 ? openat(process, "root", O_PATH | O_DIRECTORY | O_CLOEXEC) : -1;
	if (root < 0)
		err = error_of(h, errno, "root directory", note);
	else if (fstat(nsfd, &wanted) != 0 || fstatat(process, "ns/net", &has, 0) != 0 || !same_file(&wanted, &has))
		err = err_note(note, ERR_REFUSED, "process %d is not in that network namespace (any more)", (int)h->pid);
	else if ((h->etc = open_below(root, "etc", O_RDONLY | O_DIRECTORY, 0)) < 0)
		err = error_of(h, errno, "/etc", note);
	if (root >= 0)
		(void)close(root);
	if (process >= 0)
		(void)close(process);
	return err;
}

/* In place only what is plainly the runtime's: else who is root in the container could have us write into a file that is not his. */
static enum err check_file(struct hosts_file *h, const struct stat *etc, struct err_note *note)
{
	struct stat s, own;

	if (fstat(h->file, &s) != 0)
		return error_of(h, errno, "/etc/hosts", note);
	if (stat("/etc/hosts", &own) == 0 && same_file(&s, &own))
		return err_note(note, ERR_REFUSED,
			"the /etc/hosts that process %d sees is the host's own, and is left as it is; give it one of its own", (int)h->pid);
	if (!S_ISREG(s.st_mode) || (h->mounted && (s.st_nlink != 1 || s.st_uid != etc->st_uid)))
		return err_note(note, ERR_REFUSED, "the /etc/hosts of process %d is not a plain file of its own", (int)h->pid);
	h->mode = s.st_mode & 07777;
	h->uid = s.st_uid;
	h->gid = s.st_gid;
	return ERR_OK;
}

static enum err open_file(struct hosts_file *h, struct err_note *note)
{
	struct stat etc, own;

	if (fstat(h->etc, &etc) != 0)
		return error_of(h, errno, "/etc", note);
	h->mode = 0644;
	h->uid = etc.st_uid;
	h->gid = etc.st_gid;
	h->file = open_below(h->etc, "hosts", O_RDONLY | O_NONBLOCK | O_NOCTTY, RESOLVE_NO_XDEV);
	h->mounted = h->file < 0 && errno == EXDEV;
	if (h->mounted)
		h->file = open_below(h->etc, "hosts", O_RDWR | O_NONBLOCK | O_NOCTTY, 0);
	if (h->file >= 0)
		return check_file(h, &etc, note);
	if (errno != ENOENT)
		return error_of(h, errno, "/etc/hosts", note);
	if (stat("/etc", &own) == 0 && same_file(&etc, &own))
		return err_note(note, ERR_REFUSED, "the /etc that process %d sees is the host's own, and is left as it is", (int)h->pid);
	return ERR_OK;
}

enum err hosts_open(pid_t pid, int nsfd, struct hosts_file **out, struct err_note *note)
{
	struct hosts_file *h = mem_zalloc(1, sizeof(*h));

	if (h == NULL)
		return err_note(note, ERR_NOMEM, "out of memory");
	*h = (struct hosts_file){ .etc = -1, .file = -1, .pid = pid };
	enum err err = open_etc(h, nsfd, note);
	if (err == ERR_OK)
		err = open_file(h, note);
	if (err != ERR_OK) {
		hosts_close(h);
		return err;
	}
	*out = h;
	return ERR_OK;
}

void hosts_close(struct hosts_file *h)
{
	if (h == NULL)
		return;
	if (h->file >= 0)
		(void)close(h->file);
	if (h->etc >= 0)
		(void)close(h->etc);
	mem_free(h);
}

/* --- its contents -------------------------------------------------------------------------------------------------------------------------- */

static enum err read_all(const struct hosts_file *h, struct wbuf *old, struct err_note *note)
{
	uint8_t part[16384];
	ssize_t n = 0;

	for (off_t at = 0; h->file >= 0 && (n = pread(h->file, part, sizeof(part), at)) > 0; at += n) {
		wbuf_bytes(old, part, (size_t)n);
		if (old->len > HOSTS_TEXT_MAX)
			return err_note(note, ERR_LIMIT, "the /etc/hosts of process %d is longer than %d bytes", (int)h->pid, HOSTS_TEXT_MAX);
	}
	if (n < 0)
		return error_of(h, errno, "/etc/hosts", note);
	return wbuf_end(old) == ERR_OK ? ERR_OK : err_note(note, ERR_NOMEM, "out of memory");
}

static int write_all(int fd, struct slice text)
{
	for (size_t at = 0; at < text.n;) {
		ssize_t n = pwrite(fd, text.p + at, text.n - at, (off_t)at);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? errno : EIO;
		at += (size_t)n;
	}
	return 0;
}

static int write_in_place(const struct hosts_file *h, struct wbuf *text, size_t old_len)
{
	size_t len = text->len;

	while (text->len < old_len)
		wbuf_u8(text, '\n');
	int error = wbuf_end(text) != ERR_OK ? ENOMEM : write_all(h->file, wbuf_slice(text));
	return error != 0 ? error : ftruncate(h->file, (off_t)len) != 0 ? errno : 0;
}

static int replace(const struct hosts_file *h, struct slice text)
{
	(void)unlinkat(h->etc, TEMPORARY, 0); /* of one that was interrupted */
	int fd = openat(h->etc, TEMPORARY, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return errno;
	int error = write_all(fd, text);
	if (error == 0 &&
		(fchown(fd, h->uid, h->gid) != 0 || fchmod(fd, h->mode) != 0 || renameat(h->etc, TEMPORARY, h->etc, "hosts") != 0))
		error = errno;
	if (error != 0)
		(void)unlinkat(h->etc, TEMPORARY, 0);
	(void)close(fd);
	return error;
}

static enum err store(const struct hosts_file *h, enum err made, struct wbuf *old, struct wbuf *text, struct err_note *note)
{
	int error = 0;

	if (made != ERR_OK)
		return err_note(note, made, "the /etc/hosts of process %d would be longer than %d bytes", (int)h->pid, HOSTS_TEXT_MAX);
	if (slice_eq(wbuf_slice(old), wbuf_slice(text)))
		return ERR_OK;
	error = h->mounted ? write_in_place(h, text, old->len) : replace(h, wbuf_slice(text));
	return error == 0
		? ERR_OK
		: err_note(note, netlink_err_of(error), "cannot write the /etc/hosts of process %d: %s", (int)h->pid, strerror(error));
}

static enum err change(
	struct hosts_file *h, const struct hosts_want *want, const struct ip *gone, size_t n_gone, struct err_note *note)
{
	struct wbuf old, text;

	wbuf_grow(&old, HOSTS_TEXT_MAX + 16384);
	wbuf_grow(&text, 2 * HOSTS_TEXT_MAX);
	enum err err = read_all(h, &old, note);
	if (err == ERR_OK && gone != NULL)
		err = store(h, hosts_text_without(wbuf_slice(&old), gone, n_gone, &text), &old, &text, note);
	else if (err == ERR_OK)
		err = store(h, hosts_text(wbuf_slice(&old), want, &text), &old, &text, note);
	wbuf_free(&old);
	wbuf_free(&text);
	return err;
}

enum err hosts_put(struct hosts_file *h, const struct hosts_want *want, struct err_note *note)
{
	return change(h, want, NULL, 0, note);
}

enum err hosts_without(struct hosts_file *h, const struct ip *gone, size_t n_gone, struct err_note *note)
{
	return change(h, NULL, gone, n_gone, note);
}
