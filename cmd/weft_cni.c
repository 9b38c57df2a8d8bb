/* weft-cni: one call of a container runtime. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "weft_cni.h"

/* The whole of stdin. */
static int read_stdin(struct wbuf *w, struct cni_error *e)
{
	char chunk[16384];
	ssize_t n;

	while ((n = read(STDIN_FILENO, chunk, sizeof(chunk))) != 0) {
		if (n < 0 && errno != EINTR)
			return cni_fail(e, CNI_IO, "stdin cannot be read: %s", strerror(errno));
		if (n > 0)
			wbuf_bytes(w, chunk, (size_t)n);
		if (w->failed)
			return cni_fail(e, CNI_DECODE, "the configuration on stdin is longer than %d bytes", CNI_STDIN_MAX);
	}
	return CNI_OK;
}

static int run(const struct cni_conf *c, json_t **out, struct cni_error *e)
{
	const json_t *asked = json_object_get(c->doc, "cniVersion");

	switch (c->command) {
	case CNI_ADD: return cni_add(c, out, e);
	case CNI_DEL: return cni_del(c, e);
	case CNI_CHECK: return cni_check(c, e);
	case CNI_GC: return cni_gc(c, e);
	case CNI_STATUS: return cni_status(c, e);
	case CNI_VERSION: break;
	}
	*out = json_pack("{s:s, s:[s, s, s, s]}", "cniVersion",
		json_is_string(asked) ? json_string_value(asked) : cni_version_text(CNI_1_1_0), "supportedVersions",
		cni_version_text(CNI_0_3_1), cni_version_text(CNI_0_4_0), cni_version_text(CNI_1_0_0), cni_version_text(CNI_1_1_0));
	return *out != NULL ? CNI_OK : cni_fail(e, CNI_IO, "out of memory");
}

static int print(json_t *doc)
{
	char *text = doc != NULL ? json_dumps(doc, JSON_INDENT(2)) : NULL;
	bool ok = text != NULL && puts(text) >= 0 && fflush(stdout) == 0;

	free(text);
	json_decref(doc);
	return ok ? 0 : 1;
}

int main(int argc, char **argv)
{
	struct cni_env env = {
		.command = getenv("CNI_COMMAND"),
		.id = getenv("CNI_CONTAINERID"),
		.netns = getenv("CNI_NETNS"),
		.ifname = getenv("CNI_IFNAME"),
		.args = getenv("CNI_ARGS"),
		.path = getenv("CNI_PATH"),
		.socket = getenv("WEFT_SOCKET"),
	};
	struct cni_conf c = { .version = CNI_1_1_0 };
	struct cni_error e = { 0 };
	json_t *out = NULL;
	struct wbuf in;

	if (argc > 1 && strcmp(argv[1], "--version") == 0)
		return puts("weft-cni " WEFT_VERSION) < 0;
	wbuf_grow(&in, CNI_STDIN_MAX);
	int code = read_stdin(&in, &e);
	if (code == CNI_OK)
		code = cni_conf_parse(&c, &env, (const char *)in.data, in.len, &e);
	if (code == CNI_OK)
		code = run(&c, &out, &e);
	wbuf_free(&in);
	if (code != CNI_OK)
		out = cni_error_json(&e, cni_version_text(c.version));
	int status = out != NULL || code != CNI_OK ? print(out) : 0;
	cni_conf_free(&c);
	return code != CNI_OK ? 1 : status;
}
