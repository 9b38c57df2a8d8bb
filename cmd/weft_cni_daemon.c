/* Requests to the daemon, and what its refusals are in CNI's codes. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "http_client.h"
#include "weft_cni.h"

enum { SILENCE_MS = 60000 }; /* an address may have to wait for other hosts; runtimes wait for two minutes and more */
#define SOCKET_DEFAULT "/run/weft/weft.sock"

static int code_of(enum err err)
{
	switch ((int)err) {
	case ERR_UNREACHABLE:
	case ERR_TIMEOUT:
	case ERR_CLOSED: return CNI_TRY_LATER;
	case ERR_USAGE: return CNI_BAD_CONF;
	default: return CNI_IO;
	}
}

/* {"error", "hint"} */
static int refusal(int status, const struct http_response *r, struct cni_error *e)
{
	json_t *doc = json_loadb(r->body, r->n, 0, NULL);
	const char *error = json_string_value(json_object_get(doc, "error")), *hint = json_string_value(json_object_get(doc, "hint"));
	int code = status == 503             ? CNI_TRY_LATER
		: status == 400 || status == 404 ? CNI_BAD_CONF
		: status == 409                  ? CNI_REFUSED
										 : CNI_KERNEL;

	(void)cni_fail(e, code, "%s", error != NULL ? error : "weft's daemon refuses without a reason");
	(void)snprintf(e->details, sizeof(e->details), "%s", hint != NULL ? hint : "");
	json_decref(doc);
	return code;
}

static int request(const struct cni_conf *c, const char *method, const char *path, const char *accept, const json_t *body,
	struct http_response *r, struct cni_error *e)
{
	struct err_note note = { "" };
	char *text = body != NULL ? json_dumps(body, JSON_COMPACT) : NULL;
	struct http_request req = { .method = method,
		.path = path,
		.accept = accept,
		.type = text != NULL ? "application/json" : NULL,
		.body = text,
		.timeout_ms = SILENCE_MS };

	if (body != NULL && text == NULL)
		return cni_fail(e, CNI_IO, "out of memory");
	enum err err = http_request(c->socket != NULL ? c->socket : SOCKET_DEFAULT, &req, r, &note);
	free(text);
	return err == ERR_OK ? CNI_OK : cni_fail(e, code_of(err), "%s", note.text);
}

int cni_ask(const struct cni_conf *c, const char *method, const char *path, const json_t *body, json_t **out, int *status,
	struct cni_error *e)
{
	struct http_response r = { 0 };
	int ignored;

	status = status != NULL ? status : &ignored;
	*status = 0;
	if (out != NULL)
		*out = NULL;
	int code = request(c, method, path, "application/json", body, &r, e);
	if (code != CNI_OK)
		return code;
	*status = r.code;
	if (r.code < 200 || r.code > 299)
		code = refusal(r.code, &r, e);
	else if (out != NULL && (*out = json_loadb(r.body, r.n, 0, NULL)) == NULL)
		code = cni_fail(e, CNI_IO, "what weft's daemon answered to %.60s cannot be read", path);
	http_response_free(&r);
	return code;
}

int cni_ask_text(const struct cni_conf *c, const char *path, char *out, size_t size, struct cni_error *e)
{
	struct http_response r = { 0 };
	int code = request(c, "GET", path, "text/plain", NULL, &r, e);

	out[0] = '\0';
	if (code != CNI_OK)
		return code;
	if (r.code == 200)
		(void)snprintf(out, size, "%.*s", (int)strcspn(r.body, "\r\n"), r.body);
	else if (r.code != 404)
		code = refusal(r.code, &r, e);
	http_response_free(&r);
	return code;
}

int cni_forget(const struct cni_conf *c, const char *ident, const char *netns, struct cni_error *e)
{
	char container[CNI_IDENT_MAX + 8] = "";
	int status = 0, code;

	if (netns != NULL)
		(void)snprintf(container, sizeof(container), "netns:%s", netns);
	json_t *body = json_pack("{s:s}", "id", ident);
	if (body != NULL && netns != NULL)
		(void)json_object_set_new(body, "container", json_string(container)); /* not UTF-8: its id will do */
	if (body == NULL)
		code = cni_fail(e, CNI_IO, "out of memory");
	else
		code = cni_ask(c, "POST", "/detach", body, NULL, &status, e);
	json_decref(body);
	if (code != CNI_OK && status != 404)
		return code;
	/* It may have got an address and no interface, when its ADD was killed half-way: that is filed under the same ident. */
	char *escaped = http_escape(ident), path[4 * CNI_IDENT_MAX];
	if (escaped == NULL)
		return cni_fail(e, CNI_IO, "out of memory");
	(void)snprintf(path, sizeof(path), "/ip/%s", escaped);
	free(escaped);
	code = cni_ask(c, "DELETE", path, NULL, NULL, &status, e);
	return status == 404 ? CNI_OK : code;
}
