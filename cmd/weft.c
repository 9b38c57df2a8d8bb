/* weft: the command line. A table of verbs, and what they share. */
#include "weft.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct verb verbs[] = {
	{ "launch", "[OPTION...] [PEER...]", verb_launch,
		"start the daemon and wait until it answers; weftd --help lists its options" },
	{ "stop", "", verb_stop, "stop the daemon; containers keep their interfaces" },
	{ "reset", "[--force] [--state-dir DIR]", verb_reset, "give the addresses to the other hosts, stop, remove everything" },
	{ "connect", "[--replace] PEER...", verb_connect, "connect to these hosts; with --replace to no others" },
	{ "forget", "PEER...", verb_forget, "do not connect to these hosts again" },
	{ "attach",
		"[ADDR...] CONTAINER [--without-dns] [--no-multicast-route] [--add-host N:IP] [--rewrite-hosts] [--id ID] [--mac MAC] [--network NET]",
		verb_attach, "give a container an interface and addresses, and print them" },
	{ "detach", "[ADDR...] CONTAINER | --id ID", verb_detach, "take them away, and print them" },
	{ "expose", "[ADDR...] [-h FQDN] [--without-masquerade] [--network NET]", verb_expose,
		"give this host addresses on the network, and print them" },
	{ "hide", "[ADDR...] [--network NET]", verb_hide, "take them away, and print them" },
	{ "network", "create NAME [--subnet CIDR] [--subnet6 PREFIX] | ls | rm NAME", verb_network,
		"make, list and remove networks that are isolated from each other" },
	{ "dns-add", "[IP...] CONTAINER [-h FQDN] | IP... -h FQDN", verb_dns_add, "give a container, or any address, a name" },
	{ "dns-remove", "[IP...] CONTAINER [-h FQDN] | IP... -h FQDN", verb_dns_remove, "take it away" },
	{ "dns-lookup", "NAME", verb_dns_lookup, "print the addresses of a name" },
	{ "dns-args", "", verb_dns_args, "print what docker run needs to use these names" },
	{ "status", "[connections|peers|targets|ipam|dns] [--watch]", verb_status, "print how it is" },
	{ "report", "[-f PATH]", verb_report, "print all there is to know as JSON, or a part like router.name or peers[*].name" },
	{ "ps", "[CONTAINER...]", verb_ps,
		"print id, MAC and addresses of the attached containers, and their network if it is not the default one" },
	{ "prime", "", verb_prime, "wait until the hosts have agreed who gives out which addresses" },
	{ "rmpeer", "[--plan] PEER...", verb_rmpeer, "take over the addresses of hosts that are gone for good" },
	{ "verify", "[--wait SECONDS]", verb_verify,
		"look whether addresses, containers, interfaces, names and the other hosts' copies of the state belong together" },
	{ "capture", "[-w FILE] [--snaplen N] [--count N] [--network NET] [CONTAINER]", verb_capture,
		"write the frames of a container, or of a whole network, as pcapng that says between whom they go" },
	{ "setup-cni", "[--dir DIR] [--bin-dir DIR] [--name NAME] [--network NET] [--force]", verb_setup_cni,
		"put the CNI plugin and a configuration where container runtimes look for them, and print where" },
	{ "metrics", "", verb_metrics, "print the daemon's figures in Prometheus' format" },
	{ "version", "", verb_version, "print the versions" },
};
enum { VERBS = sizeof(verbs) / sizeof(verbs[0]) };

int say(int code, const char *fmt, ...)
{
	va_list args;

	(void)fputs("weft: ", stderr);
	va_start(args, fmt);
	(void)vfprintf(stderr, fmt, args);
	va_end(args);
	(void)fputc('\n', stderr);
	return code;
}

int usage(const struct weft *w, const char *what)
{
	return say(WRONG_USAGE, "%s; usage: weft %s %s", what, w->verb->name, w->verb->args);
}

char *format(const char *fmt, ...)
{
	char *out = NULL;
	va_list args;

	va_start(args, fmt);
	int n = vasprintf(&out, fmt, args);
	va_end(args);
	if (n < 0)
		exit(say(FAILED, "out of memory"));
	return out;
}

char *escaped(const char *text)
{
	char *out = http_escape(text);

	if (out == NULL)
		exit(say(FAILED, "out of memory"));
	return out;
}

/* Is `word` (n bytes) in the list? *takes: it is followed by '='. */
static bool in_list(const char *list, const char *word, size_t n, bool *takes)
{
	while (*list != '\0') {
		size_t len = strcspn(list, " =");
		*takes = list[len] == '=';
		if (len == n && memcmp(list, word, n) == 0)
			return true;
		list += len + *takes;
		list += *list == ' ';
	}
	return false;
}

enum word next_word(struct words *p, const char *known, const char **name, const char **value)
{
	const char *word, *eq;
	bool takes;

	*value = NULL;
	if (p->at >= p->argc)
		return WORD_END;
	word = p->argv[p->at++];
	if (!p->plain && strcmp(word, "--") == 0) {
		p->plain = true;
		return next_word(p, known, name, value);
	}
	*name = word;
	if (p->plain || word[0] != '-' || word[1] == '\0')
		return WORD_PLAIN;
	word += 1 + (word[1] == '-');
	eq = strchr(word, '=');
	if (!in_list(known, word, eq != NULL ? (size_t)(eq - word) : strlen(word), &takes) || (!takes && eq != NULL))
		return WORD_WRONG;
	if (takes && eq != NULL)
		*value = eq + 1;
	else if (takes && p->at < p->argc)
		*value = p->argv[p->at++];
	if (takes && *value == NULL)
		return WORD_WRONG;
	*name = word;
	return WORD_OPTION;
}

/* {"error": …, "hint": …} as one line. */
static void print_refusal(const struct http_response *r)
{
	json_t *doc = json_loadb(r->body, r->n, 0, NULL);
	const char *error = json_string_value(json_object_get(doc, "error")), *hint = json_string_value(json_object_get(doc, "hint"));

	if (error == NULL)
		(void)say(FAILED, "the daemon refused with code %d", r->code);
	else if (hint != NULL && hint[0] != '\0')
		(void)say(FAILED, "%s; %s", error, hint);
	else
		(void)say(FAILED, "%s", error);
	json_decref(doc);
}

int judge(enum err err, const struct err_note *note, struct http_response *r)
{
	if (err != ERR_OK)
		return say(err == ERR_UNREACHABLE ? NOT_RUNNING : FAILED, "%s", note->text);
	if (r->code >= 200 && r->code < 300)
		return DONE;
	int code = r->code == 404 ? NOT_FOUND : FAILED;
	print_refusal(r);
	http_response_free(r);
	return code;
}

int ask(const struct weft *w, const struct http_request *req, struct http_response *out)
{
	struct err_note note = { "" };
	enum err err = http_request(w->socket, req, out, &note);

	return judge(err, &note, out);
}

int ask_path(const struct weft *w, const char *method, const char *path, bool json, struct http_response *out)
{
	struct http_request req = { .method = method, .path = path, .accept = json ? "application/json" : "text/plain" };

	return ask(w, &req, out);
}

int print_bytes(const char *text, size_t n)
{
	if (fwrite(text, 1, n, stdout) != n || fflush(stdout) != 0)
		return say(FAILED, "cannot write the result");
	return DONE;
}

int print_json(json_t *doc)
{
	char *text = json_dumps(doc, JSON_INDENT(2));
	int code = text != NULL ? print_bytes(text, strlen(text)) : say(FAILED, "out of memory");

	if (code == DONE)
		code = print_bytes("\n", 1);
	free(text);
	json_decref(doc);
	return code;
}

int show(const struct weft *w, const struct http_request *req)
{
	struct http_response r;
	int code = ask(w, req, &r);

	if (code != DONE)
		return code;
	code = print_bytes(r.body, r.n);
	http_response_free(&r);
	return code;
}

static void print_help(void)
{
	(void)puts("weft [--socket PATH] [-o text|json] VERB ...\n\nVerbs:");
	for (size_t i = 0; i < VERBS; i++)
		(void)printf("  %s %s\n        %s\n", verbs[i].name, verbs[i].args, verbs[i].help);
	(void)puts(
		"\nCONTAINER is pid:N, netns:PATH or a name under /run/netns; ADDR is [ip:]CIDR, net:CIDR or net:default.\nweft(1) says more.");
}

static bool set_output(struct weft *w, const char *value)
{
	w->json = value != NULL && strcmp(value, "json") == 0;
	return w->json || (value != NULL && strcmp(value, "text") == 0);
}

/* Options before the verb. Gives the index of the verb; 0: said what is wrong. */
static int global_options(struct weft *w, int argc, char **argv)
{
	struct words p = { .argc = argc, .at = 1, .argv = argv };
	const char *name, *value;

	while (p.at < argc && argv[p.at][0] == '-') {
		if (strcmp(argv[p.at], "--") == 0) {
			p.at++;
			break;
		}
		enum word kind = next_word(&p, "socket= o= output= help version", &name, &value);
		if (kind == WORD_OPTION && strncmp(name, "socket", 6) == 0) {
			w->socket = value;
			w->socket_given = true;
		} else if (kind == WORD_OPTION && name[0] == 'o' && set_output(w, value)) {
			continue;
		} else if (kind == WORD_OPTION && strcmp(name, "help") == 0) {
			print_help();
			exit(DONE);
		} else if (kind == WORD_OPTION && strcmp(name, "version") == 0) {
			(void)puts("weft " WEFT_VERSION);
			exit(DONE);
		} else {
			(void)say(WRONG_USAGE,
				"'%s' is not understood; weft [--socket PATH] [-o text|json] VERB ..., weft --help lists the verbs",
				argv[p.at - 1]);
			return 0;
		}
	}
	if (p.at < argc)
		return p.at;
	(void)say(WRONG_USAGE, "a verb is missing; weft --help lists them");
	return 0;
}

/* -o and --help are understood behind the verb as well; but what follows launch is the daemon's. */
static int take_common(struct weft *w, int argc, char **argv, bool *help)
{
	int n = 0;

	*help = false;
	for (int i = 0; i < argc; i++) {
		if (strcmp(argv[i], "--help") == 0) {
			*help = true;
		} else if (strcmp(argv[i], "-o") == 0 && i + 1 < argc) {
			if (!set_output(w, argv[++i]))
				return -1;
		} else {
			argv[n++] = argv[i];
		}
	}
	return n;
}

int main(int argc, char **argv)
{
	const char *from_env = getenv("WEFT_SOCKET");
	struct weft w = { .socket = WEFT_SOCKET_DEFAULT };
	bool help = false;

	if (from_env != NULL && from_env[0] != '\0')
		w.socket = from_env;
	int at = global_options(&w, argc, argv);
	if (at == 0)
		return WRONG_USAGE;
	if (strcmp(argv[at], "help") == 0) {
		print_help();
		return DONE;
	}
	for (size_t i = 0; i < VERBS; i++)
		if (strcmp(verbs[i].name, argv[at]) == 0)
			w.verb = &verbs[i];
	if (w.verb == NULL)
		return say(WRONG_USAGE, "there is no verb '%s'; weft --help lists them", argv[at]);
	int n = argc - at - 1;
	if (w.verb->run != verb_launch)
		n = take_common(&w, n, argv + at + 1, &help);
	if (n < 0)
		return usage(&w, "-o is text or json");
	if (help) {
		(void)printf("weft %s %s\n        %s\n", w.verb->name, w.verb->args, w.verb->help);
		return DONE;
	}
	return w.verb->run(&w, n, argv + at + 1);
}
