/* Verbs that begin and end the daemon's life. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <linux/close_range.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "router/dataplane/remains.h"
#include "router/options.h"
#include "weft.h"

enum { LAUNCH_MS = 60000, STOP_MS = 20000, ANSWER_MS = 5000, POLL_MS = 5, TAIL_MAX = 8192 };
#define UNIT      "weftd.service"
#define UNIT_ARGS "/run/weft/launch.env"

static void nap(void)
{
	struct timespec t = { .tv_nsec = POLL_MS * 1000000L };

	(void)nanosleep(&t, NULL);
}

static uint64_t now_ms(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* Does a daemon answer? */
static bool answers(const char *socket)
{
	struct http_request req = { .method = "GET", .path = "/status", .timeout_ms = 2000 };
	struct http_response r;

	if (http_request(socket, &req, &r, NULL) != ERR_OK)
		return false;
	bool yes = r.code == 200;
	http_response_free(&r);
	return yes;
}

/* --- launch -------------------------------------------------------------------------------------------------------------------------------- */

static char *beside(const char *program)
{
	char self[4096];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	char *slash;

	if (n > 0) {
		self[n] = '\0';
		slash = strrchr(self, '/');
		if (slash != NULL) {
			*slash = '\0';
			char *path = format("%s/%s", self, program);
			if (access(path, X_OK) == 0)
				return path;
			free(path);
		}
	}
	return format("%s", program); /* execvp looks in PATH */
}

/* weftd, then --socket when it stood in front of the verb, then what was given. */
static char **daemon_argv(const struct weft *w, int argc, char **argv, int *n)
{
	char **v = calloc((size_t)argc + 4, sizeof(*v));

	if (v == NULL)
		exit(say(FAILED, "out of memory"));
	*n = 0;
	v[(*n)++] = beside("weftd");
	if (w->socket_given) {
		v[(*n)++] = format("--socket");
		v[(*n)++] = format("%s", w->socket);
	}
	for (int i = 0; i < argc; i++)
		v[(*n)++] = argv[i];
	return v;
}

/* The last line that was written into the log from `from` on. */
static void print_last_line(int log, off_t from)
{
	char tail[TAIL_MAX + 1];
	off_t end = lseek(log, 0, SEEK_END);
	off_t at = end - from > TAIL_MAX ? end - TAIL_MAX : from;
	ssize_t n = pread(log, tail, TAIL_MAX, at);

	while (n > 0 && tail[n - 1] == '\n')
		n--;
	tail[n > 0 ? n : 0] = '\0';
	const char *line = strrchr(tail, '\n');
	line = line != NULL ? line + 1 : tail;
	if (strncmp(line, "weftd: ", 7) == 0)
		line += 7;
	(void)say(FAILED, "%s", line[0] != '\0' ? line : "the daemon ended without a word");
}

static int make_dir(const char *dir)
{
	char *path = format("%s", dir);
	int code = DONE;

	for (char *p = strchr(path + 1, '/'); p != NULL; p = strchr(p + 1, '/')) {
		*p = '\0';
		(void)mkdir(path, 0755);
		*p = '/';
	}
	if (mkdir(path, 0700) != 0 && errno != EEXIST)
		code = say(FAILED, "cannot make the state directory %s: %s", dir, strerror(errno));
	free(path);
	return code;
}

/* Stays in the caller's directory, which relative paths among its options are meant from; keeps none of the caller's descriptors. */
static _Noreturn void become_daemon(int log, char **argv)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	(void)setsid();
	(void)close_range(STDERR_FILENO + 1, ~0U, CLOSE_RANGE_CLOEXEC);
	(void)dup2(null, STDIN_FILENO);
	(void)dup2(log, STDOUT_FILENO);
	(void)dup2(log, STDERR_FILENO);
	(void)execvp(argv[0], argv);
	(void)dprintf(STDERR_FILENO, "weftd: cannot start %s: %s; is weft installed as a whole?\n", argv[0], strerror(errno));
	_exit(127);
}

static int wait_for(pid_t child, const struct options *o, int log, off_t from)
{
	uint64_t until = now_ms() + LAUNCH_MS;
	int status;

	while (now_ms() < until) {
		if (waitpid(child, &status, WNOHANG) == child) {
			print_last_line(log, from);
			return WIFEXITED(status) && WEXITSTATUS(status) == WRONG_USAGE ? WRONG_USAGE : FAILED;
		}
		if (answers(o->socket))
			return DONE;
		nap();
	}
	return say(FAILED, "the daemon runs (process %d) but does not answer; its log is %s/weftd.log", (int)child, o->state_dir);
}

static int start_detached(const struct options *o, char **argv)
{
	char *path = format("%s/weftd.log", o->state_dir);
	int code = make_dir(o->state_dir);
	int log = code == DONE ? open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600) : -1;

	if (code == DONE && log < 0)
		code = say(FAILED, "cannot write the daemon's log %s: %s", path, strerror(errno));
	free(path);
	if (code != DONE)
		return code;
	off_t from = lseek(log, 0, SEEK_END);
	pid_t child = fork();
	if (child == 0)
		become_daemon(log, argv);
	code = child > 0 ? wait_for(child, o, log, from) : say(FAILED, "cannot start a process: %s", strerror(errno));
	(void)close(log);
	return code;
}

/* Runs a command with its output thrown away; its exit code, or -1. */
static int run_quietly(const char *const *argv)
{
	int status;
	pid_t child = fork();

	if (child == 0) {
		int null = open("/dev/null", O_RDWR);
		(void)dup2(null, STDOUT_FILENO);
		(void)dup2(null, STDERR_FILENO);
		(void)execvp(argv[0], (char *const *)(uintptr_t)argv);
		_exit(127);
	}
	return child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* The machine's own daemon is systemd's; one with a place of its own (tests, several on one machine) is not. */
static bool under_systemd(const struct weft *w, const struct options *o)
{
	static const char *const cat[] = { "systemctl", "cat", UNIT, NULL };

	return !w->socket_given && strcmp(o->socket, WEFT_SOCKET_DEFAULT) == 0 && strcmp(o->state_dir, "/var/lib/weft") == 0 &&
		access("/run/systemd/system", F_OK) == 0 && run_quietly(cat) == 0;
}

static int start_unit(int argc, char **argv)
{
	static const char *const start[] = { "systemctl", "start", UNIT, NULL };
	FILE *f = NULL;
	int fd;

	for (int i = 0; i < argc; i++)
		if (argv[i][0] == '\0' || strpbrk(argv[i], " \t\n\"'\\$%") != NULL)
			return say(FAILED, "'%s' cannot be handed to systemd; write it into /etc/weft/weftd.conf", argv[i]);
	(void)mkdir("/run/weft", 0755);
	fd = open(UNIT_ARGS, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	f = fd >= 0 ? fdopen(fd, "w") : NULL;
	if (f == NULL)
		return say(FAILED, "cannot write %s: %s", UNIT_ARGS, strerror(errno));
	(void)fputs("WEFTD_OPTS=", f);
	for (int i = 0; i < argc; i++)
		(void)fprintf(f, "%s%s", i > 0 ? " " : "", argv[i]);
	(void)fputc('\n', f);
	if (fclose(f) != 0)
		return say(FAILED, "cannot write %s: %s", UNIT_ARGS, strerror(errno));
	/* Type=notify: it comes back when the daemon answers, or has failed. */
	return run_quietly(start) == 0 ? DONE : say(FAILED, "systemd could not start the daemon; journalctl -u weftd says why");
}

int verb_launch(const struct weft *w, int argc, char **argv)
{
	struct options o;
	struct err_note note = { "" };
	int n, code;
	char **v = daemon_argv(w, argc, argv, &n);
	enum err err = options_parse(&o, n, v, environ, &note);

	if (err != ERR_OK)
		return say(err == ERR_USAGE ? WRONG_USAGE : FAILED, "%s", note.text);
	if (o.action != OPTIONS_RUN) {
		(void)execvp(v[0], v); /* --version and the like: it is all weftd's */
		code = say(FAILED, "cannot start %s: %s", v[0], strerror(errno));
	} else if (answers(o.socket)) {
		code = say(FAILED, "a daemon answers at %s already; 'weft stop' stops it", o.socket);
	} else if (under_systemd(w, &o)) {
		code = start_unit(argc, argv);
	} else {
		code = start_detached(&o, v);
	}
	options_free(&o);
	for (int i = 0; i < n - argc; i++)
		free(v[i]);
	free(v);
	return code;
}

/* --- stop and reset ------------------------------------------------------------------------------------------------------------------------ */

struct running {
	pid_t pid;
	char *state_dir;
};

static int find_running(const struct weft *w, struct running *out)
{
	struct http_request req = { .method = "GET", .path = "/status", .accept = "application/json", .timeout_ms = ANSWER_MS };
	struct http_response r;
	int code = ask(w, &req, &r);
	json_t *doc;

	if (code != DONE)
		return code;
	doc = json_loadb(r.body, r.n, 0, NULL);
	const char *dir = json_string_value(json_object_get(doc, "state_dir"));
	out->pid = (pid_t)json_integer_value(json_object_get(doc, "pid"));
	out->state_dir = dir != NULL ? format("%s", dir) : NULL;
	json_decref(doc);
	http_response_free(&r);
	return out->pid > 1 ? DONE : say(FAILED, "the daemon does not say which process it is");
}

/* By a descriptor of the process, so that no other one that gets its number is meant. */
static int end_process(pid_t pid)
{
	int fd = (int)syscall(SYS_pidfd_open, pid, 0);
	struct pollfd gone = { .fd = fd, .events = POLLIN };

	if (fd < 0)
		return errno == ESRCH ? DONE : say(FAILED, "cannot reach process %d: %s", (int)pid, strerror(errno));
	int code = DONE;
	if (syscall(SYS_pidfd_send_signal, fd, SIGTERM, NULL, 0) != 0 && errno != ESRCH)
		code = say(FAILED, "no permission to stop process %d (%s); be root", (int)pid, strerror(errno));
	else if (poll(&gone, 1, STOP_MS) != 1)
		code = say(FAILED, "process %d still runs after %d s; its log may say why", (int)pid, STOP_MS / 1000);
	(void)close(fd);
	return code;
}

int verb_stop(const struct weft *w, int argc, char **argv)
{
	struct running d = { 0 };

	(void)argv;
	if (argc != 0)
		return usage(w, "it takes no words");
	int code = find_running(w, &d);
	if (code == DONE)
		code = end_process(d.pid);
	free(d.state_dir);
	return code;
}

/* Whoever holds the lock of the state directory is a running daemon. Gives the descriptor that holds it now; -1: said why not, -2: no such
 * directory, nothing to remove. */
static int lock_state(const char *dir)
{
	char *path = format("%s/lock", dir);
	int fd = open(path, O_RDWR | O_CLOEXEC);

	if (fd < 0) {
		fd = errno == ENOENT || errno == ENOTDIR ? -2 : -1;
		if (fd == -1)
			(void)say(FAILED, "cannot open %s: %s", path, strerror(errno));
	} else if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
		(void)say(FAILED, "a daemon runs with the state directory %s; name its --socket, or stop it first", dir);
		(void)close(fd);
		fd = -1;
	}
	free(path);
	return fd;
}

static int remove_state(const char *dir)
{
	static const char *const files[] = { "weft.mdb", "identity.key", "identity.key.aside", "identity.key.new", "lock" };
	int code = DONE;

	(void)unlink(UNIT_ARGS);

	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		char *path = format("%s/%s", dir, files[i]);
		if (unlink(path) != 0 && errno != ENOENT && errno != ENOTDIR)
			code = say(FAILED, "cannot remove %s: %s", path, strerror(errno));
		free(path);
	}
	return code;
}

/* Without a daemon: what it would have removed from the kernel. */
static int reset_kernel(void)
{
	struct err_note note = { "" };

	return remains_remove(&note) == ERR_OK ? DONE : say(FAILED, "%s", note.text);
}

/* Is there a daemon? Without saying so when there is none. */
static bool nobody_listens(const struct weft *w)
{
	struct http_request req = { .method = "GET", .path = "/status", .timeout_ms = 2000 };
	struct http_response r;
	enum err err = http_request(w->socket, &req, &r, NULL);

	if (err == ERR_OK)
		http_response_free(&r);
	return err == ERR_UNREACHABLE;
}

static int reset_running(const struct weft *w, bool force, const char *given_dir)
{
	struct http_request give = { .method = "DELETE", .path = "/peer" };
	struct http_response r = { 0 };
	struct running d = { 0 };
	bool ours = false; /* to clean up: the daemon has not */
	int code = find_running(w, &d);

	if (code == DONE) {
		code = ask(w, &give, &r);
		http_response_free(&r);
		ours = code != DONE && force;
	}
	if (code == DONE || ours)
		code = end_process(d.pid);
	if (code == DONE && ours) /* not before: as long as it runs it mends what is taken away */
		code = reset_kernel();
	if (code == DONE)
		code = given_dir == NULL && d.state_dir == NULL
			? say(FAILED, "the daemon did not say where its state is; give --state-dir")
			: remove_state(given_dir != NULL ? given_dir : d.state_dir);
	free(d.state_dir);
	return code;
}

int verb_reset(const struct weft *w, int argc, char **argv)
{
	struct words p = { .argc = argc, .argv = argv };
	const char *name, *value, *dir = NULL;
	bool force = false;
	enum word kind;

	while ((kind = next_word(&p, "force state-dir=", &name, &value)) != WORD_END) {
		if (kind != WORD_OPTION)
			return usage(w, "a word is not understood");
		if (value != NULL)
			dir = value;
		else
			force = true;
	}
	if (!nobody_listens(w))
		return reset_running(w, force, dir);
	if (!force)
		return say(NOT_RUNNING,
			"the daemon is not running, so this host's addresses cannot be given to the others; start it, or use --force");
	dir = dir != NULL ? dir : "/var/lib/weft";
	int lock = lock_state(dir);
	if (lock == -1)
		return FAILED;
	int code = reset_kernel();
	if (code == DONE)
		code = remove_state(dir);
	if (lock >= 0)
		(void)close(lock);
	return code;
}
