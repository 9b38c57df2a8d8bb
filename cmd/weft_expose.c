/* weft expose, weft hide: the host's own addresses on its networks. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "weft.h"

/* "name=value" or "&name=value" behind what is there; frees that. */
static char *with(char *query, const char *name, const char *value)
{
	char *v = escaped(value), *out = format("%s%s%s=%s", query, query[0] != '\0' ? "&" : "", name, v);

	free(v);
	free(query);
	return out;
}

/* The addresses alone go to stdout. */
static int show_addresses(const struct weft *w, struct http_response *r)
{
	json_t *doc = json_loadb(r->body, r->n, 0, NULL), *v;
	size_t i;

	if (w->json)
		return doc != NULL ? print_json(doc) : say(FAILED, "the daemon's answer is not understood");
	json_array_foreach(json_object_get(doc, "addresses"), i, v)
	{
		const char *text = json_string_value(v);
		(void)printf("%s%.*s", i > 0 ? " " : "", (int)strcspn(text, "/"), text);
	}
	if (i > 0)
		(void)putchar('\n');
	const bool written = fflush(stdout) == 0; /* before what is said of it */
	json_array_foreach(json_object_get(doc, "warnings"), i, v)(void) say(DONE, "%s", json_string_value(v));
	json_decref(doc);
	return written ? DONE : say(FAILED, "cannot write the answer");
}

static int host_request(const struct weft *w, const char *method, const char *known, int argc, char **argv)
{
	struct words p = { .argc = argc, .argv = argv };
	const char *name, *value;
	char *query = format("%s", "");
	enum word kind;

	while ((kind = next_word(&p, known, &name, &value)) != WORD_END && kind != WORD_WRONG) {
		if (kind == WORD_PLAIN)
			query = with(query, "address", name);
		else if (strcmp(name, "without-masquerade") == 0)
			query = with(query, "skipNAT", "true");
		else
			query = with(query, name[0] == 'h' ? "fqdn" : "network", value);
	}
	if (kind == WORD_WRONG) {
		free(query);
		return usage(w, "an option is not understood");
	}
	char *path = format("/expose%s%s", query[0] != '\0' ? "?" : "", query);
	struct http_response r;
	int code = ask_path(w, method, path, true, &r);
	free(path);
	free(query);
	if (code != DONE)
		return code;
	code = show_addresses(w, &r);
	http_response_free(&r);
	return code;
}

int verb_expose(const struct weft *w, int argc, char **argv)
{
	return host_request(w, "POST", "h= without-masquerade network=", argc, argv);
}

int verb_hide(const struct weft *w, int argc, char **argv)
{
	return host_request(w, "DELETE", "network=", argc, argv);
}
