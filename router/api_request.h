/* One HTTP request, between the server (server.h) and what answers it (api_routes.c, docker/plugin.c).
 *
 * A handler answers at once, by one of the api_answer functions, or hands the request to the router with api_on_result as its callback
 * and leaves the number in `pending`: the connection then sleeps until the answer comes, or its client goes, which cancels. */
#ifndef WEFT_ROUTER_API_REQUEST_H
#define WEFT_ROUTER_API_REQUEST_H

#include <jansson.h>
#include <microhttpd.h>
#include <stdbool.h>

#include "base/buf.h"
#include "router/router.h"

#define API_BODY_MAX        (1u << 20)
#define API_HEADERS_MAX     (16u << 10)
#define API_CONNECTIONS_MAX 128
#define API_SILENCE_S       30
#define API_ANSWER_MAX      (256u << 20) /* a report of 10^6 names */
#define API_SEGMENTS_MAX    8
#define API_PARAMS_MAX      2048

struct api;
struct events;
struct server;
struct server_listener;
struct server_service;
struct api_stream;
struct api_watch;

struct api_param {
	char *key, *value;
};

struct api_request {
	struct server *server;
	struct server_listener *listener;
	const struct server_service *service;
	void *owner;     /* of the server */
	void *ctx;       /* its own, of this request */
	struct api *api; /* NULL: it came by Docker's socket */
	struct router *router;
	struct MHD_Connection *conn;
	struct api_request *prev, *next;         /* among those that sleep */
	char *path, *segments[API_SEGMENTS_MAX]; /* /ip/a%2Fb → "ip", "a/b" */
	size_t n_segments;
	struct api_param *params; /* of the query and of a form */
	size_t n_params, cap_params;
	struct wbuf body;
	bool json; /* wanted */

	bool answered, asleep;
	unsigned code;
	const char *type;
	char allow[64];
	struct wbuf out;
	uint64_t pending;          /* the router's number; 0: not to be cancelled */
	struct api_watch *watch;   /* sees the client go */
	struct api_stream *stream; /* api_stream.h; NULL: the answer is what stands in `out` */
};

/* Exactly one of these, once. */
void api_answer(struct api_request *q, unsigned code, const char *type); /* with what stands in q->out */
void api_answer_empty(struct api_request *q, unsigned code);
void api_answer_text(struct api_request *q, unsigned code, const char *fmt, ...) PRINTF_LIKE(3, 4);
void api_answer_json(struct api_request *q, unsigned code, json_t *doc); /* takes the reference; NULL: out of memory */
/* {"error", "hint"}: the hint is what follows the first ';' of the line. */
void api_answer_error(struct api_request *q, unsigned code, const char *line);
void api_answer_err(struct api_request *q, enum err err, const char *line);
unsigned api_code_of(enum err err);

/* The value of the nth parameter of that name; NULL: there is none. */
const char *api_param(const struct api_request *q, const char *key, size_t nth);

/* The same as a number; an absent one leaves *out. false: it is none, and q has been answered. */
bool api_number(struct api_request *q, const char *key, unsigned long min, unsigned long max, unsigned long *out) MUST_CHECK;
/* A page that somebody opens on this host could ask for http://its-own-name/ after having made that name mean 127.0.0.1 (--http-addr), and would be shown
 * the answer. What tells of traffic as it goes is only for those who ask by address, or by a name without dots. false: q has been answered. */
bool api_asked_by_address(struct api_request *q) MUST_CHECK;

/* Undoes %XX. false: an escape that is none, a zero byte, or out of memory (then *out is NULL). *out is the caller's. */
bool api_unescape(const char *text, size_t n, bool plus, char **out);
/* Cuts a raw path into decoded segments. ERR_MALFORMED, ERR_LIMIT, ERR_NOMEM. */
enum err api_split_path(struct api_request *q, const char *raw) MUST_CHECK;
/* Adds key and value, still escaped. */
enum err api_add_param(struct api_request *q, struct slice key, struct slice value, bool plus) MUST_CHECK;
/* a=b&c=d */
enum err api_split_form(struct api_request *q, struct slice text) MUST_CHECK;
void api_request_clear(struct api_request *q);

/* What requests share. */
struct api_shared {
	struct events *events;
	unsigned captures; /* going on */
};
struct api_shared *api_shared(struct api *a);

/* The connection sleeps until it is woken (server.c, for api_stream.c). Waking one that is awake does nothing. */
void api_sleep(struct api_request *q);
void api_wake(struct api_request *q);

/* The idents that a container is attached under, by one of them, or by Docker's name or id (prefix): several, if it is on several networks of Docker's. None
 * is known: n is 0. */
#define API_IDENTS_MAX 64
struct api_idents {
	char v[API_IDENTS_MAX][CORE_IDENT_MAX + 1];
	size_t n;
};
void api_idents(const struct router *r, const char *container, struct api_idents *out);
/* The one of them that has this address; else the first; else what was given. The answer points into out, or is container. */
const char *api_ident_with(const struct router *r, const char *container, struct ip addr, struct api_idents *out);

/* Finds what answers, and calls it. status_only: the listener of --status-addr. */
void api_route(struct api_request *q, const char *method, bool status_only);
/* api_network.c: rows of the table of routes */
void api_get_networks(struct api_request *q);
void api_post_network(struct api_request *q);
void api_delete_network(struct api_request *q);
/* api_attach.c */
void api_post_attach(struct api_request *q);
void api_post_detach(struct api_request *q);
/* api_expose.c */
void api_get_expose(struct api_request *q);
void api_post_expose(struct api_request *q);
void api_delete_expose(struct api_request *q);
/* api_verify.c */
void api_get_verify(struct api_request *q);
/* api_capture.c */
void api_get_capture(struct api_request *q);
/* The one reset that may be under way: kept by the server, since a reset goes on when its asker has gone. */
bool api_begin_reset(struct api_request *q);

#endif
