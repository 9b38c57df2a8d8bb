/* Shared by the files of the command line. */
#ifndef WEFT_CMD_WEFT_H
#define WEFT_CMD_WEFT_H

#include <jansson.h>
#include <stdbool.h>

#include "base/err.h"
#include "http_client.h"

enum { DONE = 0, FAILED = 1, WRONG_USAGE = 2, NOT_RUNNING = 3, NOT_FOUND = 4 }; /* exit codes: INTERFACES section 4 */
#define WEFT_SOCKET_DEFAULT "/run/weft/weft.sock"

struct weft {
	const char *socket;
	bool socket_given, json;
	const struct verb *verb;
};
struct verb {
	const char *name, *args;
	int (*run)(const struct weft *w, int argc, char **argv); /* argv: what follows the verb */
	const char *help;
};

/* One line on stderr; gives code back. */
int say(int code, const char *fmt, ...) PRINTF_LIKE(2, 3);
int usage(const struct weft *w, const char *what);
/* The next option or word of a verb. Options are those of `known`, a list like "replace mac= h=": with = they take a value. */
struct words {
	int argc, at;
	char **argv;
	bool plain; /* behind "--" */
};
enum word { WORD_END, WORD_PLAIN, WORD_OPTION, WORD_WRONG };
enum word next_word(struct words *p, const char *known, const char **name, const char **value);

/* A request; anything but success is said on stderr. Gives an exit code; *out is to be freed when it is DONE. accept_json: else text. */
int ask(const struct weft *w, const struct http_request *req, struct http_response *out);
int ask_path(const struct weft *w, const char *method, const char *path, bool json, struct http_response *out);
/* What came of a request: DONE, or what went wrong is said and *r freed. */
int judge(enum err err, const struct err_note *note, struct http_response *r);
/* ask, and prints what came. */
int show(const struct weft *w, const struct http_request *req);
int print_bytes(const char *text, size_t n);
int print_json(json_t *doc); /* takes the reference */
/* printf into memory that the caller frees; ends the program when there is none. */
char *format(const char *fmt, ...) PRINTF_LIKE(1, 2);
char *escaped(const char *text);

/* weft_daemon.c */
int verb_launch(const struct weft *w, int argc, char **argv);
int verb_stop(const struct weft *w, int argc, char **argv);
int verb_reset(const struct weft *w, int argc, char **argv);
/* weft_capture.c */
int verb_capture(const struct weft *w, int argc, char **argv);
/* weft_dns.c */
int verb_dns_add(const struct weft *w, int argc, char **argv);
int verb_dns_remove(const struct weft *w, int argc, char **argv);
int verb_dns_lookup(const struct weft *w, int argc, char **argv);
int verb_dns_args(const struct weft *w, int argc, char **argv);
/* weft_expose.c */
int verb_expose(const struct weft *w, int argc, char **argv);
int verb_hide(const struct weft *w, int argc, char **argv);
/* weft_cni_setup.c */
int verb_setup_cni(const struct weft *w, int argc, char **argv);
/* weft_network.c */
int verb_network(const struct weft *w, int argc, char **argv);
/* weft_verify.c */
int verb_verify(const struct weft *w, int argc, char **argv);
/* weft_verbs.c */
int verb_attach(const struct weft *w, int argc, char **argv);
int verb_detach(const struct weft *w, int argc, char **argv);
int verb_connect(const struct weft *w, int argc, char **argv);
int verb_forget(const struct weft *w, int argc, char **argv);
int verb_status(const struct weft *w, int argc, char **argv);
int verb_report(const struct weft *w, int argc, char **argv);
int verb_ps(const struct weft *w, int argc, char **argv);
int verb_version(const struct weft *w, int argc, char **argv);
int verb_metrics(const struct weft *w, int argc, char **argv);
int verb_prime(const struct weft *w, int argc, char **argv);
int verb_rmpeer(const struct weft *w, int argc, char **argv);

#endif
