/* weft verify: exit 0 when all belongs together, 1 when something was found. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "weft.h"

enum { WAIT_DEFAULT_S = 5, WAIT_MAX_S = 60, SETTLE_S = 30 };

/* The document of what was found comes with 503, as an error would. */
static bool is_error(const struct weft *w, const struct http_response *r)
{
	json_t *doc = w->json || (r->n > 0 && r->body[0] == '{') ? json_loadb(r->body, r->n, 0, NULL) : NULL;
	bool error = r->code != 503 || r->n == 0 || json_object_get(doc, "error") != NULL;

	json_decref(doc);
	return error;
}

int verb_verify(const struct weft *w, int argc, char **argv)
{
	struct words p = { .argc = argc, .argv = argv };
	const char *name, *value, *wait = NULL;
	struct http_response r;
	struct err_note note = { "" };
	enum word kind;
	char *end = NULL;

	while ((kind = next_word(&p, "wait=", &name, &value)) == WORD_OPTION)
		wait = value;
	long seconds = wait != NULL ? strtol(wait, &end, 10) : WAIT_DEFAULT_S;
	if (kind != WORD_END || (wait != NULL && (*wait == '\0' || *end != '\0' || seconds < 0 || seconds > WAIT_MAX_S)))
		return usage(w, kind != WORD_END ? "it takes no words" : "SECONDS is a number from 0 to 60");
	char *path = format("/verify?wait=%ld", seconds);
	struct http_request req = { .method = "GET",
		.path = path,
		.accept = w->json ? "application/json" : "text/plain",
		.timeout_ms = (unsigned)(seconds + SETTLE_S) * 1000 };
	enum err err = http_request(w->socket, &req, &r, &note);
	free(path);
	if (err != ERR_OK || (r.code != 200 && is_error(w, &r)))
		return judge(err, &note, &r);
	int code = print_bytes(r.body, r.n);
	if (code == DONE && r.code != 200)
		code = say(FAILED, "something does not belong together; each line says what to do");
	http_response_free(&r);
	return code;
}
