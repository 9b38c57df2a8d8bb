/* The API's part of the server: what listens, and what comes before a request finds its row in the table of routes. */
#include "router/api.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/mem.h"
#include "router/events.h"
#include "router/server.h"

struct api {
	struct router *router;
	struct server *server;
	struct api_request *resetting; /* who asked for the reset under way; NULL when the asker has gone */
	bool reset;
	struct api_shared shared;
	void (*done)(void *ctx);
	void *ctx;
};

static void on_reset(void *ctx, const struct router_result *res)
{
	struct api *a = ctx;
	struct api_request *q = a->resetting;

	a->reset = false;
	a->resetting = NULL;
	if (q == NULL)
		return;
	if (res->err == ERR_OK)
		api_answer_empty(q, MHD_HTTP_NO_CONTENT);
	else
		api_answer_err(q, res->err, res->text);
}

struct api_shared *api_shared(struct api *a)
{
	return &a->shared;
}

bool api_begin_reset(struct api_request *q)
{
	if (q->api->reset)
		return false;
	q->api->reset = true;
	q->api->resetting = q;
	(void)router_reset(q->router, on_reset, q->api);
	return true;
}

/* --- one request ------------------------------------------------------------------------------------------------------------------------ */

struct query {
	struct api_request *q;
	enum err err;
};

static enum MHD_Result add_query(void *cls, enum MHD_ValueKind kind, const char *key, const char *value)
{
	struct query *x = cls;

	(void)kind;
	x->err = api_add_param(x->q, slice_str(key), value != NULL ? slice_str(value) : slice_of("", 0), false);
	return x->err == ERR_OK ? MHD_YES : MHD_NO;
}

static bool header_has(struct MHD_Connection *conn, const char *name, const char *word)
{
	const char *v = MHD_lookup_connection_value(conn, MHD_HEADER_KIND, name);

	return v != NULL && strcasestr(v, word) != NULL;
}

static void route_to(struct api_request *q, const char *method, bool status_only)
{
	struct query x = { .q = q, .err = ERR_OK };
	enum err err = api_split_path(q, q->path);
	const char *format;

	q->api = q->owner;
	/* Browsers say Origin; a page that somebody opens on this host has no business changing the network (--http-addr). */
	if (strcmp(method, "GET") != 0 && MHD_lookup_connection_value(q->conn, MHD_HEADER_KIND, "Origin") != NULL) {
		api_answer_error(q, MHD_HTTP_BAD_REQUEST, "requests of web pages are refused");
		return;
	}
	if (err == ERR_LIMIT) {
		api_answer_error(q, MHD_HTTP_NOT_FOUND, "no such path; weft(1) and weftd(8) list what there is");
		return;
	}
	if (err == ERR_OK)
		(void)MHD_get_connection_values(q->conn, MHD_GET_ARGUMENT_KIND, add_query, &x);
	if (err == ERR_OK)
		err = x.err;
	if (err == ERR_OK && header_has(q->conn, MHD_HTTP_HEADER_CONTENT_TYPE, "application/x-www-form-urlencoded"))
		err = api_split_form(q, wbuf_slice(&q->body));
	if (err != ERR_OK) {
		api_answer_err(
			q, err, err == ERR_MALFORMED ? "a '%' in the path, query or form that is no escape; write it as %25" : NULL);
		return;
	}
	format = api_param(q, "format", 0);
	q->json = header_has(q->conn, MHD_HTTP_HEADER_ACCEPT, "application/json") || (format != NULL && strcmp(format, "json") == 0);
	if (server_stopping(q->server))
		api_answer_error(q, MHD_HTTP_SERVICE_UNAVAILABLE, "the daemon is stopping");
	else {
		if (strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0)
			router_settle(q->router); /* what is shown is durable */
		api_route(q, method, status_only);
	}
}

static void route(struct api_request *q, const char *method)
{
	route_to(q, method, false);
}

static void route_status(struct api_request *q, const char *method)
{
	route_to(q, method, true);
}

static void over(struct api_request *q)
{
	struct api *a = q->owner;

	if (a->resetting == q)
		a->resetting = NULL;
}

static const struct server_service everything = { .route = route,
	.refuse = api_answer_error,
	.over = over,
	.body_max = API_BODY_MAX,
	.connections_max = API_CONNECTIONS_MAX,
	.silence_s = API_SILENCE_S };
static const struct server_service status_only = { .route = route_status,
	.refuse = api_answer_error,
	.over = over,
	.body_max = API_BODY_MAX,
	.connections_max = API_CONNECTIONS_MAX,
	.silence_s = API_SILENCE_S };

/* --- start and end ---------------------------------------------------------------------------------------------------------------------- */

enum err api_start(struct api **out, struct router *r, struct err_note *note)
{
	const struct options *o = router_options(r);
	struct api *a = mem_zalloc(1, sizeof(*a));
	enum err err = ERR_NOMEM;

	if (a == NULL)
		return err_note(note, err, "out of memory");
	a->router = r;
	a->shared.events = events_new(r);
	if (a->shared.events != NULL)
		err = server_new(&a->server, r, a);
	if (err != ERR_OK) {
		events_free(a->shared.events);
		mem_free(a);
		return err_note(note, err, "out of memory");
	}
	err = server_listen_unix(a->server, &everything, o->socket, true, "socket", note);
	if (err == ERR_OK && o->http)
		err = server_listen_tcp(a->server, &everything, o->http_addr, "http-addr", note);
	if (err == ERR_OK && o->status)
		err = server_listen_tcp(a->server, &status_only, o->status_addr, "status-addr", note);
	if (err != ERR_OK) {
		api_stop(a, NULL, NULL);
		return err;
	}
	*out = a;
	return ERR_OK;
}

static void stopped(void *ctx)
{
	struct api *a = ctx;
	void (*done)(void *ctx) = a->done;
	void *done_ctx = a->ctx;

	events_free(a->shared.events);
	mem_free(a);
	if (done != NULL)
		done(done_ctx);
}

void api_stop(struct api *a, void (*done)(void *ctx), void *ctx)
{
	a->done = done;
	a->ctx = ctx;
	server_stop(a->server, stopped, a);
}
