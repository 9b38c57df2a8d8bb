#include "router/netns.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#define PID_LIMIT (1 << 22) /* the kernel's PID_MAX_LIMIT */

static enum err parse_pid(const char *text, struct netns_target *out, struct err_note *note)
{
	char *end;
	errno = 0;
	long pid = strtol(text, &end, 10);
	if (errno || end == text || *end || text[0] < '1' || text[0] > '9' || pid > PID_LIMIT)
		return err_note(note, ERR_USAGE, "'pid:%s' is no process id; write pid:N with N from 1 to %d", text, PID_LIMIT);
	out->kind = NETNS_PID;
	out->pid = (pid_t)pid;
	snprintf(out->path, sizeof out->path, "/proc/%ld/ns/net", pid);
	return ERR_OK;
}

static enum err parse_name(const char *text, struct netns_target *out, struct err_note *note)
{
	if (strchr(text, '/') || strchr(text, ':') || text[0] == '.')
		return err_note(note, ERR_USAGE, "'%s' names no container; give pid:N, netns:PATH or a name under /run/netns", text);
	out->kind = NETNS_NAME;
	snprintf(out->path, sizeof out->path, "/run/netns/%s", text);
	return ERR_OK;
}

enum err netns_parse(const char *text, struct netns_target *out, struct err_note *note)
{
	size_t n = strlen(text);
	if (n == 0)
		return err_note(note, ERR_USAGE, "the container's name is empty; give pid:N, netns:PATH or a name under /run/netns");
	if (n > NETNS_IDENT_MAX)
		return err_note(note, ERR_LIMIT, "the container's name is longer than %d characters", NETNS_IDENT_MAX);
	*out = (struct netns_target){ 0 };
	memcpy(out->ident, text, n + 1);
	if (strncmp(text, "pid:", 4) == 0)
		return parse_pid(text + 4, out, note);
	const char *path = strncmp(text, "netns:", 6) == 0 ? text + 6 : text;
	if (path != text && path[0] != '/')
		return err_note(note, ERR_USAGE, "'%s': write netns:PATH with a path from the root (/…)", text);
	if (path[0] != '/')
		return parse_name(text, out, note);
	out->kind = NETNS_PATH;
	snprintf(out->path, sizeof out->path, "%s", path);
	return ERR_OK;
}

static enum err open_error(const struct netns_target *t, int error, struct err_note *note)
{
	if (error == ENOENT || error == ESRCH || error == ENOTDIR) {
		if (t->kind == NETNS_PID)
			return err_note(note, ERR_NOT_FOUND, "there is no process %d", (int)t->pid);
		if (t->kind == NETNS_NAME)
			return err_note(note, ERR_NOT_FOUND,
				"there is no container or network namespace '%s'; give pid:N, netns:PATH or a name under "
				"/run/netns",
				t->ident);
		return err_note(note, ERR_NOT_FOUND, "there is no network namespace at %s", t->path);
	}
	if (error == EACCES || error == EPERM)
		return err_note(note, ERR_PERMISSION,
			"no permission to open %s; weftd needs root (CAP_SYS_PTRACE for namespaces of processes)", t->path);
	return err_note(note, ERR_SYSTEM, "cannot open %s: %s", t->path, strerror(error));
}

enum err netns_open(const struct netns_target *target, int *fd, struct err_note *note)
{
	/* O_NONBLOCK: the path is the user's, and may be a FIFO. */
	int f = open(target->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (f < 0)
		return open_error(target, errno, note);
	enum err e = ERR_OK;
	if (ioctl(f, NS_GET_NSTYPE) != CLONE_NEWNET)
		e = err_note(note, ERR_USAGE, "%s is not a network namespace", target->path);
	else if (netns_is_own(f))
		e = err_note(note, ERR_REFUSED,
			"container %s is running in the host network namespace, and cannot be attached; give it a "
			"network namespace of its own",
			target->ident);
	if (e != ERR_OK) {
		close(f);
		return e;
	}
	*fd = f;
	return ERR_OK;
}

static bool same_file(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

bool netns_is_own(int fd)
{
	struct stat own, other;
	return stat("/proc/thread-self/ns/net", &own) == 0 && fstat(fd, &other) == 0 && same_file(&own, &other);
}

enum err netns_enter(int fd, struct netns_visit *v, struct err_note *note)
{
	v->home = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	if (v->home < 0)
		return err_note(note, ERR_SYSTEM, "cannot open /proc/thread-self/ns/net: %s; is /proc mounted?", strerror(errno));
	if (setns(fd, CLONE_NEWNET) != 0) {
		int error = errno;
		close(v->home);
		return err_note(note, error == EPERM ? ERR_PERMISSION : ERR_SYSTEM,
			"cannot enter the container's network namespace: %s%s", strerror(error),
			error == EPERM ? "; weftd needs CAP_SYS_ADMIN" : "");
	}
	return ERR_OK;
}

void netns_leave(struct netns_visit *v)
{
	int r = setns(v->home, CLONE_NEWNET);
	assert(r == 0);
	(void)r;
	close(v->home);
}

static bool is_set(const char *name)
{
	return name[0] && strcmp(name, "(none)") != 0 && strcmp(name, "localhost") != 0;
}

enum err netns_fqdn(pid_t pid, char *out, size_t size, struct err_note *note)
{
	char path[40];
	struct stat own, other;
	snprintf(path, sizeof path, "/proc/%d/ns/uts", (int)pid);
	int fd = open(path, O_RDONLY | O_CLOEXEC), home = open("/proc/thread-self/ns/uts", O_RDONLY | O_CLOEXEC);
	enum err e = ERR_OK;
	struct utsname u = { 0 };
	if (fd < 0 || home < 0 || fstat(fd, &other) != 0 || fstat(home, &own) != 0) {
		e = err_note(note, errno == EACCES ? ERR_PERMISSION : ERR_NOT_FOUND, "cannot open %s: %s", path, strerror(errno));
	} else if (same_file(&own, &other)) {
		e = err_note(note, ERR_NOT_FOUND, "process %d has no host name of its own", (int)pid);
	} else if (setns(fd, CLONE_NEWUTS) != 0) {
		e = err_note(note, errno == EPERM ? ERR_PERMISSION : ERR_SYSTEM, "cannot enter %s: %s", path, strerror(errno));
	} else {
		int named = uname(&u), back = setns(home, CLONE_NEWUTS);
		assert(named == 0 && back == 0);
		(void)named;
		(void)back;
		if (!is_set(u.nodename))
			e = err_note(note, ERR_NOT_FOUND, "process %d has no host name of its own", (int)pid);
	}
	if (e == ERR_OK) {
		const char *domain = is_set(u.domainname) ? u.domainname : "";
		int n = snprintf(out, size, "%s%s%s", u.nodename, *domain ? "." : "", domain);
		if (n < 0 || (size_t)n >= size)
			e = err_note(note, ERR_LIMIT, "the host name of process %d is too long", (int)pid);
	}
	if (fd >= 0)
		close(fd);
	if (home >= 0)
		close(home);
	return e;
}
