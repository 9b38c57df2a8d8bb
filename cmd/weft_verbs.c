/* Verbs that are one request, or nearly. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "weft.h"

enum { WATCH_S = 2 };

static int no_words(const struct weft *w, int argc)
{
	return argc == 0 ? DONE : usage(w, "it takes no words");
}

/* --- containers ------------------------------------------------------------------------------------------------------------------------- */

/* NAME:IP, where an IPv6 address has colons of its own. */
static void add_host(json_t *hosts, const char *value)
{
	const char *colon = strchr(value, ':');

	(void)json_array_append_new(hosts,
		json_pack("{s:s%, s:s}", "name", value, (size_t)(colon != NULL ? colon - value : (ptrdiff_t)strlen(value)), "address",
			colon != NULL ? colon + 1 : ""));
}

static bool is_utf8(const char *text)
{
	json_t *v = text != NULL ? json_string(text) : NULL;

	json_decref(v);
	return text == NULL || v != NULL;
}

static int container_request(const struct weft *w, const char *path, const char *known, int argc, char **argv)
{
	struct words p = { .argc = argc, .argv = argv };
	const char *name, *value, *container = NULL;
	json_t *doc = json_object(), *addrs = json_array(), *hosts = json_array();
	bool readable = true; /* JSON is UTF-8 */
	enum word kind;

	while ((kind = next_word(&p, known, &name, &value)) != WORD_END && kind != WORD_WRONG) {
		readable = readable && is_utf8(kind == WORD_PLAIN ? name : value);
		if (kind == WORD_PLAIN && container != NULL)
			(void)json_array_append_new(addrs, json_string(container));
		if (kind == WORD_PLAIN)
			container = name;
		else if (strcmp(name, "without-dns") == 0)
			(void)json_object_set_new(doc, "with_dns", json_false());
		else if (strcmp(name, "no-multicast-route") == 0)
			(void)json_object_set_new(doc, "multicast_route", json_false());
		else if (strcmp(name, "rewrite-hosts") == 0)
			(void)json_object_set_new(doc, "rewrite_hosts", json_true());
		else if (strncmp(name, "add-host", 8) == 0)
			add_host(hosts, value);
		else
			(void)json_object_set_new(doc,
				strncmp(name, "mac", 3) == 0      ? "mac"
					: strncmp(name, "id", 2) == 0 ? "id"
												  : "network",
				json_string(value));
	}
	json_t *ident = container != NULL ? json_string(container) : NULL;
	bool by_id = strcmp(path, "/detach") == 0 && json_object_get(doc, "id") != NULL;
	if (kind == WORD_WRONG || !readable || (ident == NULL && !by_id)) {
		json_decref(ident);
		json_decref(doc);
		json_decref(addrs);
		json_decref(hosts);
		return usage(w,
			kind == WORD_WRONG ? "an option is not understood"
				: readable     ? "the container is missing"
							   : "a word is not UTF-8, so it cannot be said to the daemon");
	}
	if (ident != NULL)
		(void)json_object_set_new(doc, "container", ident);
	(void)json_object_set_new(doc, "addresses", addrs);
	(void)json_object_set_new(doc, "hosts", hosts);
	char *body = json_dumps(doc, JSON_COMPACT);
	json_decref(doc);
	if (body == NULL)
		return say(FAILED, "out of memory");
	struct http_request req = { .method = "POST",
		.path = path,
		.accept = w->json ? "application/json" : "text/plain",
		.type = "application/json",
		.body = body };
	int code = show(w, &req);
	free(body);
	return code;
}

int verb_attach(const struct weft *w, int argc, char **argv)
{
	return container_request(
		w, "/attach", "without-dns no-multicast-route rewrite-hosts add-host= id= mac= network=", argc, argv);
}

int verb_detach(const struct weft *w, int argc, char **argv)
{
	return container_request(w, "/detach", "id=", argc, argv);
}

int verb_ps(const struct weft *w, int argc, char **argv)
{
	char *path = format("/ps"), *longer;

	for (int i = 0; i < argc; i++) {
		char *id = escaped(argv[i]);
		longer = format("%s%ccontainer=%s", path, i == 0 ? '?' : '&', id);
		free(id);
		free(path);
		path = longer;
	}
	struct http_request req = { .method = "GET", .path = path, .accept = w->json ? "application/json" : "text/plain" };
	int code = show(w, &req);
	free(path);
	return code;
}

/* --- the mesh ------------------------------------------------------------------------------------------------------------------------------ */

static int targets(const struct weft *w, const char *path, const char *known, int argc, char **argv)
{
	struct words p = { .argc = argc, .argv = argv };
	const char *name, *value;
	char *body = format("%s", ""), *longer;
	enum word kind;
	bool some = false;

	while ((kind = next_word(&p, known, &name, &value)) != WORD_END && kind != WORD_WRONG) {
		char *peer = escaped(name);
		if (kind == WORD_OPTION)
			longer = format("%s%sreplace=true", body, body[0] != '\0' ? "&" : "");
		else
			longer = format("%s%speer=%s", body, body[0] != '\0' ? "&" : "", peer);
		some = some || kind == WORD_PLAIN;
		free(peer);
		free(body);
		body = longer;
	}
	int code = DONE;
	if (kind == WORD_WRONG || !some)
		code = usage(w, kind == WORD_WRONG ? "an option is not understood" : "name a peer");
	struct http_request req = { .method = "POST", .path = path, .type = "application/x-www-form-urlencoded", .body = body };
	if (code == DONE)
		code = show(w, &req);
	free(body);
	return code;
}

int verb_connect(const struct weft *w, int argc, char **argv)
{
	return targets(w, "/connect", "replace", argc, argv);
}

int verb_forget(const struct weft *w, int argc, char **argv)
{
	return targets(w, "/forget", "", argc, argv);
}

int verb_prime(const struct weft *w, int argc, char **argv)
{
	struct http_request req = { .method = "GET", .path = "/ring" };

	(void)argv;
	int code = no_words(w, argc);
	return code == DONE ? show(w, &req) : code;
}

/* Names as people know them, separated by commas. */
static char *join_names(const json_t *peers)
{
	char *all = format("%s", ""), *longer;
	const json_t *p;
	size_t i;

	json_array_foreach(peers, i, p)
	{
		const char *name = json_string_value(json_object_get(p, "name")),
				   *nick = json_string_value(json_object_get(p, "nickname"));
		longer = nick != NULL && nick[0] != '\0' ? format("%s%s%s(%s)", all, i > 0 ? ", " : "", name, nick)
												 : format("%s%s%s", all, i > 0 ? ", " : "", name);
		free(all);
		all = longer;
	}
	return all;
}

/* GET /peer for the peers named; *doc is the caller's. */
static int ask_plan(const struct weft *w, int argc, char **argv, json_t **doc)
{
	struct words p = { .argc = argc, .argv = argv };
	char *path = format("/peer"), *longer;
	const char *name, *value;
	struct http_response r;
	bool first = true;

	for (enum word kind; (kind = next_word(&p, "plan", &name, &value)) != WORD_END;) {
		if (kind != WORD_PLAIN)
			continue;
		char *peer = escaped(name);
		longer = format("%s%cpeer=%s", path, first ? '?' : '&', peer);
		first = false;
		free(peer);
		free(path);
		path = longer;
	}
	int code = ask_path(w, "GET", path, true, &r);
	free(path);
	if (code != DONE)
		return code;
	*doc = json_loadb(r.body, r.n, 0, NULL);
	http_response_free(&r);
	return *doc != NULL ? DONE : say(FAILED, "the daemon's answer cannot be read");
}

/* What rmpeer would do. */
static int plan(const struct weft *w, int argc, char **argv)
{
	json_t *doc = NULL, *p;
	size_t i;
	int code = ask_plan(w, argc, argv, &doc);

	if (code != DONE)
		return code;
	json_t *waits = json_object_get(doc, "waits_for");
	if (w->json) {
		code = print_json(json_pack(
			"{s:i, s:b, s:O?, s:O?}", "schema", 1, "plan", 1, "peers", json_object_get(doc, "peers"), "waits_for", waits));
		json_decref(doc);
		return code;
	}
	json_array_foreach(json_object_get(doc, "peers"), i, p)
	{
		const char *name = json_string_value(json_object_get(p, "name")),
				   *nick = json_string_value(json_object_get(p, "nickname"));
		(void)printf("%lld IPs would be taken over from %s(%s)%s\n",
			(long long)json_integer_value(json_object_get(p, "addresses")), name, nick,
			json_is_true(json_object_get(p, "reachable")) ? ", but it can be reached: that would be refused" : "");
	}
	if (json_array_size(waits) > 0) {
		char *names = join_names(waits);
		(void)printf(
			"They could be used once these were heard, which cannot be reached: %s; if they are gone for good, name them as well\n",
			names);
		free(names);
	}
	json_decref(doc);
	return print_bytes("", 0);
}

/* After the fact, on stderr: the result is only what was taken. */
static void tell_whom_it_waits_for(const struct weft *w)
{
	json_t *doc = NULL;

	if (ask_plan(w, 0, NULL, &doc) == DONE && json_array_size(json_object_get(doc, "waits_for")) > 0) {
		char *names = join_names(json_object_get(doc, "waits_for"));
		(void)fprintf(stderr,
			"weft: what was taken can be used once these were heard, which cannot be reached: %s; if they are gone for good, "
			"remove them as well\n",
			names);
		free(names);
	}
	json_decref(doc);
}

static int take_over(const struct weft *w, const char *name, json_t *taken)
{
	char *peer = escaped(name), *path = format("/peer/%s", peer);
	struct http_request req = { .method = "DELETE", .path = path, .accept = taken != NULL ? "application/json" : "text/plain" };
	struct http_response r;
	int code = ask(w, &req, &r);

	free(path);
	free(peer);
	if (code != DONE)
		return code;
	if (taken != NULL)
		(void)json_array_append_new(taken, json_loadb(r.body, r.n, 0, NULL));
	else
		code = print_bytes(r.body, r.n);
	http_response_free(&r);
	return code;
}

int verb_rmpeer(const struct weft *w, int argc, char **argv)
{
	struct words p = { .argc = argc, .argv = argv }, again = p;
	json_t *taken = NULL;
	const char *name, *value;
	bool planned = false;
	int worst = DONE, peers = 0, done = 0;
	enum word kind;

	/* All words before the first request: --plan may stand anywhere. */
	while ((kind = next_word(&p, "plan", &name, &value)) != WORD_END && kind != WORD_WRONG) {
		planned = planned || kind == WORD_OPTION;
		peers += kind == WORD_PLAIN;
	}
	if (kind == WORD_WRONG || peers == 0)
		return usage(w, kind == WORD_WRONG ? "an option is not understood" : "name a peer");
	if (planned)
		return plan(w, argc, argv);
	if (w->json)
		taken = json_array();
	while (next_word(&again, "plan", &name, &value) != WORD_END) {
		int code = take_over(w, name, taken);
		done += code == DONE;
		if (code != DONE)
			worst = code;
		if (code == NOT_RUNNING)
			break;
	}
	if (taken != NULL && (worst == DONE || json_array_size(taken) > 0)) {
		int code = print_json(json_pack("{s:i, s:b, s:O}", "schema", 1, "plan", 0, "peers", taken));
		worst = worst != DONE ? worst : code;
	}
	json_decref(taken);
	if (done > 0)
		tell_whom_it_waits_for(w);
	return worst;
}

/* --- status --------------------------------------------------------------------------------------------------------------------------------- */

int verb_status(const struct weft *w, int argc, char **argv)
{
	static const char *const parts[] = { "connections", "peers", "targets", "ipam", "dns", "docker" };
	struct words p = { .argc = argc, .argv = argv };
	const char *name, *value, *part = NULL;
	bool watch = false;
	enum word kind;
	int code;

	while ((kind = next_word(&p, "watch", &name, &value)) != WORD_END) {
		if (kind == WORD_OPTION) {
			watch = true;
			continue;
		}
		for (size_t i = 0; kind == WORD_PLAIN && i < sizeof(parts) / sizeof(parts[0]); i++)
			if (part == NULL && strcmp(name, parts[i]) == 0)
				part = parts[i];
		if (kind == WORD_WRONG || part == NULL || strcmp(part, name) != 0)
			return usage(w, "there is no such status");
	}
	char *path = part != NULL ? format("/status/%s", part) : format("/status");
	struct http_request req = { .method = "GET", .path = path, .accept = w->json ? "application/json" : "text/plain" };
	do {
		if (watch && isatty(STDOUT_FILENO))
			(void)fputs("\033[H\033[J", stdout);
		code = show(w, &req);
		if (watch && code == DONE)
			(void)sleep(WATCH_S);
	} while (watch && code == DONE);
	free(path);
	return code;
}

static void print_value(const json_t *v)
{
	char *text = json_is_string(v) ? NULL : json_dumps(v, JSON_COMPACT | JSON_ENCODE_ANY);

	(void)puts(text != NULL ? text : json_is_string(v) ? json_string_value(v) : "null");
	free(text);
}

/* "router.name", "$.peers[0].name", "peers[*].name": each value on a line. Gives how many; -1: the path is none. */
static int print_path(const json_t *v, const char *path)
{
	if (v == NULL)
		return 0;
	if (*path == '\0') {
		print_value(v);
		return 1;
	}
	if (path[0] == '[' && path[1] == '*' && path[2] == ']') {
		const json_t *e;
		size_t i;
		int sum = 0;
		json_array_foreach(v, i, e)
		{
			int n = print_path(e, path + 3);
			if (n < 0)
				return n;
			sum += n;
		}
		return sum;
	}
	if (path[0] == '[') {
		char *end;
		unsigned long at = strtoul(path + 1, &end, 10);
		return end == path + 1 || *end != ']' ? -1 : print_path(json_array_get(v, at), end + 1);
	}
	path += path[0] == '.';
	size_t n = strcspn(path, ".[");
	if (n == 0)
		return -1;
	char *key = format("%.*s", (int)n, path);
	const json_t *child = json_object_get(v, key);
	free(key);
	return print_path(child, path + n);
}

int verb_report(const struct weft *w, int argc, char **argv)
{
	struct words p = { .argc = argc, .argv = argv };
	const char *name, *value, *path = NULL;
	struct http_response r;
	enum word kind;

	while ((kind = next_word(&p, "f= format=", &name, &value)) != WORD_END) {
		if (kind != WORD_OPTION)
			return usage(w, "a word is not understood");
		path = value;
	}
	int code = ask_path(w, "GET", "/report", true, &r);
	if (code != DONE)
		return code;
	if (path == NULL) {
		code = print_bytes(r.body, r.n);
	} else {
		json_t *doc = json_loadb(r.body, r.n, 0, NULL);
		int n = print_path(doc, path[0] == '$' ? path + 1 : path);
		json_decref(doc);
		if (n < 0)
			code = usage(w, "PATH is like router.name, peers[0].nickname or peers[*].name");
		else if (n == 0)
			code = say(NOT_FOUND, "the report has nothing at '%s'", path);
		else
			code = print_bytes("", 0);
	}
	http_response_free(&r);
	return code;
}

int verb_metrics(const struct weft *w, int argc, char **argv)
{
	struct http_request req = { .method = "GET", .path = "/metrics" };

	(void)argv;
	int code = no_words(w, argc);
	return code == DONE ? show(w, &req) : code;
}

/* The daemon's as well, if one runs. */
int verb_version(const struct weft *w, int argc, char **argv)
{
	struct http_request req = { .method = "GET", .path = "/status", .accept = "application/json", .timeout_ms = 2000 };
	struct http_response r;
	json_t *doc = NULL;

	(void)argv;
	int code = no_words(w, argc);
	if (code != DONE)
		return code;
	if (http_request(w->socket, &req, &r, NULL) == ERR_OK) {
		doc = json_loadb(r.body, r.n, 0, NULL);
		http_response_free(&r);
	}
	json_t *running = json_object_get(doc, "version");
	if (w->json) {
		code = print_json(json_pack("{s:i, s:s, s:O?}", "schema", 1, "weft", WEFT_VERSION, "weftd", running));
	} else {
		(void)puts("weft " WEFT_VERSION);
		if (running != NULL)
			(void)printf("weftd %s\n", json_string_value(running));
		code = print_bytes("", 0);
	}
	json_decref(doc);
	return code;
}
