/* weft capture: the daemon captures, this writes what it says. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "weft.h"

struct target {
	const char *file; /* NULL: standard output */
	int fd;           /* -1: not opened yet */
	int error;        /* of writing */
};

/* A file is made when the daemon has begun: a refusal leaves alone what there is. */
static bool write_bytes(void *ctx, const void *bytes, size_t n)
{
	struct target *t = ctx;
	const char *p = bytes;

	if (t->fd < 0)
		t->fd = open(t->file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	while (t->fd >= 0 && n > 0) {
		ssize_t done = write(t->fd, p, n);
		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0)
			break;
		p += done;
		n -= (size_t)done;
	}
	if (n > 0)
		t->error = errno;
	return n == 0;
}

/* Ctrl-C and its like are read from a descriptor: the capture then ends in order. -1: without it they end this program at once. */
static int catch_signals(void)
{
	sigset_t set;

	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGINT);
	(void)sigaddset(&set, SIGTERM);
	(void)sigaddset(&set, SIGHUP);
	int fd = signalfd(-1, &set, SFD_CLOEXEC);
	if (fd >= 0)
		(void)sigprocmask(SIG_BLOCK, &set, NULL);
	return fd;
}

static int run(const struct weft *w, const char *path, struct target *t)
{
	struct http_request req = { .method = "GET", .path = path };
	struct http_response r = { 0 };
	struct err_note note = { "" };

	if (isatty(STDERR_FILENO))
		(void)fputs("weft: capturing; Ctrl-C ends it\n", stderr);
	enum err err = http_stream(w->socket, &req, catch_signals(), write_bytes, t, &r, &note);
	if (err == ERR_CANCELLED)
		return say(FAILED, "cannot write %s: %s", t->file != NULL ? t->file : "the capture", strerror(t->error));
	int code = judge(err, &note, &r);
	if (code == DONE)
		http_response_free(&r);
	if (t->file != NULL && t->fd >= 0 && close(t->fd) != 0 && code == DONE)
		code = say(FAILED, "cannot write %s: %s", t->file, strerror(errno));
	return code;
}

int verb_capture(const struct weft *w, int argc, char **argv)
{
	struct words p = { .argc = argc, .argv = argv };
	struct target t = { .fd = -1 };
	const char *name, *value;
	char *path = format("/capture"), *longer;
	bool container = false;
	char with = '?';
	enum word kind;

	while ((kind = next_word(&p, "w= write= snaplen= count= network=", &name, &value)) != WORD_END && kind != WORD_WRONG) {
		if (kind == WORD_OPTION && name[0] == 'w') {
			t.file = value;
			continue;
		}
		if (kind == WORD_PLAIN && container)
			break;
		const char *key = kind == WORD_PLAIN ? "container" : name;
		char *text = escaped(kind == WORD_PLAIN ? name : value);
		longer = format("%s%c%.*s=%s", path, with, (int)strcspn(key, "="), key, text);
		free(text);
		free(path);
		path = longer;
		container = container || kind == WORD_PLAIN;
		with = '&';
	}
	if (t.file == NULL || strcmp(t.file, "-") == 0) {
		t.file = NULL;
		t.fd = STDOUT_FILENO;
	}
	int code = DONE;
	if (kind != WORD_END)
		code = usage(w, kind == WORD_WRONG ? "an option is not understood" : "one container, or none");
	else if (t.file == NULL && isatty(STDOUT_FILENO))
		code = usage(w, "a capture is not for terminals: name a file with -w, or pipe it into tcpdump -r -");
	else
		code = run(w, path, &t);
	free(path);
	return code;
}
