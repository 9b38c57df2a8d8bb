/* weft network: isolated networks. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "weft.h"

static const char *accepted(const struct weft *w)
{
	return w->json ? "application/json" : "text/plain";
}

static int create(const struct weft *w, int argc, char **argv)
{
	struct words p = { .argc = argc, .argv = argv };
	const char *option, *value, *name = NULL, *subnet = "", *subnet6 = "";
	enum word kind;

	while ((kind = next_word(&p, "subnet= subnet6=", &option, &value)) != WORD_END) {
		if (kind == WORD_PLAIN && name == NULL)
			name = option;
		else if (kind != WORD_OPTION)
			return usage(w, kind == WORD_WRONG ? "an option is not understood" : "one name is enough");
		else if (strncmp(option, "subnet6", 7) == 0)
			subnet6 = value;
		else
			subnet = value;
	}
	if (name == NULL)
		return usage(w, "the network's name is missing");
	char *a = escaped(name), *b = escaped(subnet), *c = escaped(subnet6);
	char *body = format("name=%s&subnet=%s&subnet6=%s", a, b, c);
	struct http_request req = {
		.method = "POST", .path = "/network", .accept = accepted(w), .type = "application/x-www-form-urlencoded", .body = body
	};
	int code = show(w, &req);
	free(body);
	free(c);
	free(b);
	free(a);
	return code;
}

static int list(const struct weft *w)
{
	struct http_request req = { .method = "GET", .path = "/network", .accept = accepted(w) };

	return show(w, &req);
}

static int take_away(const struct weft *w, int argc, char **argv)
{
	struct words p = { .argc = argc, .argv = argv };
	const char *option, *value, *name = NULL;
	enum word kind;

	while ((kind = next_word(&p, "", &option, &value)) != WORD_END) {
		if (kind != WORD_PLAIN || name != NULL)
			return usage(w, kind == WORD_PLAIN ? "one name is enough" : "an option is not understood");
		name = option;
	}
	if (name == NULL)
		return usage(w, "the network's name is missing");
	char *id = escaped(name), *path = format("/network/%s", id);
	struct http_request req = { .method = "DELETE", .path = path, .accept = accepted(w) };
	int code = show(w, &req);
	free(path);
	free(id);
	return code;
}

int verb_network(const struct weft *w, int argc, char **argv)
{
	if (argc > 0 && strcmp(argv[0], "create") == 0)
		return create(w, argc - 1, argv + 1);
	if (argc > 0 && strcmp(argv[0], "rm") == 0)
		return take_away(w, argc - 1, argv + 1);
	if (argc == 1 && strcmp(argv[0], "ls") == 0)
		return list(w);
	return usage(w, argc == 0 ? "say what to do" : "this is not understood");
}
