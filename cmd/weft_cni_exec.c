/* Delegation (spec section 4): another plugin, mostly for IPAM, run with our environment and our stdin. Its stdin is a file in memory, written before it
 * starts, so that nothing can wait for each other; what it prints is bounded. */
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "weft_cni.h"

enum { ANSWER_MAX = 1 << 20 };

static bool find(const struct cni_conf *c, char *out, size_t size)
{
	for (const char *p = c->path != NULL ? c->path : ""; *p != '\0';) {
		size_t n = strcspn(p, ":");
		int len = snprintf(out, size, "%.*s/%s", (int)n, p, c->ipam);
		if (p[0] == '/' && len > 0 && (size_t)len < size && access(out, X_OK) == 0)
			return true;
		p += n + (p[n] == ':');
	}
	return false;
}

/* Our environment with another CNI_COMMAND. The array is to be freed, its strings are not. */
static char **environment(char *command)
{
	size_t n = 0, k = 0;

	while (environ[n] != NULL)
		n++;
	char **env = calloc(n + 2, sizeof(*env));
	for (size_t i = 0; env != NULL && i < n; i++)
		if (strncmp(environ[i], "CNI_COMMAND=", 12) != 0)
			env[k++] = environ[i];
	if (env != NULL)
		env[k] = command;
	return env;
}

/* Starts it; *answer is where to read what it prints. */
static int start(const char *program, const char *command, int in, int *answer, pid_t *pid, struct cni_error *e)
{
	char var[64], *argv[] = { (char *)program, NULL };
	posix_spawn_file_actions_t actions;
	int pipe_fds[2];

	(void)snprintf(var, sizeof(var), "CNI_COMMAND=%s", command);
	char **env = environment(var);
	if (env == NULL || pipe2(pipe_fds, O_CLOEXEC) != 0) {
		free(env);
		return cni_fail(e, CNI_IO, "cannot start %s: %s", program, strerror(errno));
	}
	int err = posix_spawn_file_actions_init(&actions);
	if (err == 0) {
		err = posix_spawn_file_actions_adddup2(&actions, in, 0);
		err = err != 0 ? err : posix_spawn_file_actions_adddup2(&actions, pipe_fds[1], 1);
		err = err != 0 ? err : posix_spawn(pid, program, &actions, NULL, argv, env);
		(void)posix_spawn_file_actions_destroy(&actions);
	}
	free(env);
	(void)close(pipe_fds[1]);
	*answer = pipe_fds[0];
	if (err != 0)
		(void)close(pipe_fds[0]);
	return err == 0 ? CNI_OK : cni_fail(e, CNI_IO, "cannot start %s: %s", program, strerror(err));
}

/* Reads to the end, whatever its length, so that the program is not killed by writing. false: too much. */
static bool read_all(int fd, struct wbuf *w)
{
	char chunk[4096];
	ssize_t n;

	while ((n = read(fd, chunk, sizeof(chunk))) != 0) {
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return false;
		wbuf_bytes(w, chunk, (size_t)n);
	}
	return !w->failed;
}

/* It failed: its own words, or as much as is known. */
static int blame(const char *name, const char *command, int wait_status, const json_t *doc, struct cni_error *e)
{
	const char *msg = json_string_value(json_object_get(doc, "msg")),
			   *details = json_string_value(json_object_get(doc, "details"));
	json_int_t code = json_integer_value(json_object_get(doc, "code"));

	if (msg != NULL)
		(void)cni_fail(e, code > 0 && code < 1 << 30 ? (int)code : CNI_REFUSED, "%s %s: %s", name, command, msg);
	else if (WIFSIGNALED(wait_status))
		(void)cni_fail(e, CNI_IO, "%s %s was killed by signal %d", name, command, WTERMSIG(wait_status));
	else
		(void)cni_fail(e, CNI_IO, "%s %s ended with %d and did not say why", name, command, WEXITSTATUS(wait_status));
	(void)snprintf(e->details, sizeof(e->details), "%s", details != NULL ? details : "");
	return e->code;
}

static int run(const char *program, const char *name, const char *command, int in, json_t **out, struct cni_error *e)
{
	struct wbuf answer;
	int fd = -1, wait_status = 0;
	pid_t pid = -1;
	int code = start(program, command, in, &fd, &pid, e);

	if (code != CNI_OK)
		return code;
	wbuf_grow(&answer, ANSWER_MAX);
	bool whole = read_all(fd, &answer);
	(void)close(fd);
	while (waitpid(pid, &wait_status, 0) < 0 && errno == EINTR)
		;
	json_t *doc = whole ? json_loadb((const char *)answer.data, answer.len, 0, NULL) : NULL;
	wbuf_free(&answer);
	if (!WIFEXITED(wait_status) || WEXITSTATUS(wait_status) != 0)
		code = blame(name, command, wait_status, doc, e);
	else if (out != NULL && doc == NULL)
		code = cni_fail(e, CNI_DECODE, "what %s printed for %s cannot be read", name, command);
	if (code == CNI_OK && out != NULL)
		*out = json_incref(doc);
	json_decref(doc);
	return code;
}

int cni_delegate(const struct cni_conf *c, const char *command, json_t **out, struct cni_error *e)
{
	char program[4096];
	char *text = json_dumps(c->doc, JSON_COMPACT);
	int in = memfd_create("cni", MFD_CLOEXEC), code = CNI_OK;

	if (!find(c, program, sizeof(program)))
		code = cni_fail(
			e, CNI_BAD_CONF, "the IPAM plugin '%s' is not in CNI_PATH (%.200s)", c->ipam, c->path != NULL ? c->path : "not set");
	else if (text == NULL || in < 0)
		code = cni_fail(e, CNI_IO, "out of memory");
	for (size_t at = 0, n = text != NULL ? strlen(text) : 0; code == CNI_OK && at < n;) {
		ssize_t done = write(in, text + at, n - at);
		if (done < 0)
			code = cni_fail(e, CNI_IO, "cannot pass the configuration on: %s", strerror(errno));
		else
			at += (size_t)done;
	}
	if (code == CNI_OK && lseek(in, 0, SEEK_SET) == 0)
		code = run(program, c->ipam, command, in, out, e);
	if (in >= 0)
		(void)close(in);
	free(text);
	return code;
}
