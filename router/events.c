#include "router/events.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"
#include "gossip/gossip.h"
#include "router/api_request.h"
#include "router/api_stream.h"
#include "router/internal.h"
#include "router/status.h"

#define TYPE_LINES "application/x-ndjson"
enum { TIME_TEXT = 40 };

struct client {
	struct events *events;
	struct api_stream *stream;
	struct client *prev, *next;
};
struct events {
	struct router *router;
	char *lines[EVENTS_KEPT]; /* a ring; NULL: not filled yet */
	size_t next;              /* where the next one goes */
	struct client *clients;
	size_t n_clients;
};

struct events *events_new(struct router *r)
{
	struct events *e = mem_zalloc(1, sizeof(*e));

	if (e != NULL)
		e->router = r;
	return e;
}

void events_free(struct events *e)
{
	if (e == NULL)
		return;
	for (size_t i = 0; i < EVENTS_KEPT; i++)
		mem_free(e->lines[i]);
	mem_free(e);
}

/* RFC 3339, in UTC, to the millisecond. */
static void time_text(uint64_t wall_ms, char out[TIME_TEXT])
{
	time_t s = (time_t)(wall_ms / 1000);
	struct tm tm;

	(void)gmtime_r(&s, &tm);
	size_t n = strftime(out, TIME_TEXT, "%Y-%m-%dT%H:%M:%S", &tm);
	(void)snprintf(out + n, TIME_TEXT - n, ".%03uZ", (unsigned)(wall_ms % 1000));
}

/* time and event first, then the rest as it was given. The line is mem's; NULL: no memory, or too long. */
static char *line_of(uint64_t wall_ms, const char *event, json_t *fields)
{
	char when[TIME_TEXT], *line = NULL;

	time_text(wall_ms, when);
	json_t *doc = json_pack("{s:s, s:s}", "time", when, "event", event);
	if (doc != NULL && (fields == NULL || json_object_update_missing(doc, fields) == 0)) {
		line = mem_alloc(EVENTS_LINE_MAX);
		size_t n = line != NULL ? json_dumpb(doc, line, EVENTS_LINE_MAX - 2, JSON_COMPACT) : 0;
		if (n == 0 || n > EVENTS_LINE_MAX - 2) {
			mem_free(line);
			line = NULL;
		} else {
			line[n] = '\n';
			line[n + 1] = '\0';
		}
	}
	json_decref(doc);
	char *fitting = line != NULL ? mem_strdup(line) : NULL;
	mem_free(line);
	return fitting;
}

void events_add(struct events *e, uint64_t wall_ms, const char *event, json_t *fields)
{
	char *line = line_of(wall_ms, event, fields);

	json_decref(fields);
	if (line == NULL)
		return;
	mem_free(e->lines[e->next]);
	e->lines[e->next] = line;
	e->next = (e->next + 1) % EVENTS_KEPT;
	for (struct client *c = e->clients; c != NULL; c = c->next)
		if (!api_stream_write(c->stream, line, strlen(line)))
			api_stream_cut(c->stream); /* too slow */
}

const char *events_line(const struct events *e, size_t nth)
{
	return nth < EVENTS_KEPT ? e->lines[(e->next + 2 * EVENTS_KEPT - 1 - nth) % EVENTS_KEPT] : NULL;
}

/* --- clients ---------------------------------------------------------------------------------------------------------------------------- */

static void on_leaving(void *ctx, bool now)
{
	struct client *c = ctx;

	(void)now;
	api_stream_end(c->stream, NULL, 0);
}

static void on_over(void *ctx)
{
	struct client *c = ctx;

	if (c->prev != NULL)
		c->prev->next = c->next;
	else
		c->events->clients = c->next;
	if (c->next != NULL)
		c->next->prev = c->prev;
	c->events->n_clients--;
	mem_free(c);
}

static uint64_t wall_ms(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_REALTIME, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static void say_hello(struct client *c)
{
	const struct core_cfg *cfg = core_cfg(router_core(c->events->router));
	char name[PEER_TEXT];
	json_t *fields = json_pack("{s:i, s:s, s:s, s:s}", "schema", STATUS_SCHEMA, "version", WEFT_VERSION, "name",
		peer_format(cfg->gossip.self, name), "nickname", cfg->gossip.nickname);
	char *line = line_of(wall_ms(), "hello", fields);

	json_decref(fields);

	if (line != NULL)
		(void)api_stream_write(c->stream, line, strlen(line));
	mem_free(line);
}

void events_follow(struct events *e, struct api_request *q, size_t recent)
{
	static const struct api_stream_ops ops = { NULL, on_leaving, on_over };
	const char *line;

	if (e->n_clients == EVENTS_CLIENTS_MAX) {
		api_answer_error(q, MHD_HTTP_CONFLICT, "sixteen clients listen already; end one of them");
		return;
	}
	struct client *c = mem_zalloc(1, sizeof(*c));
	if (c == NULL) {
		api_answer_err(q, ERR_NOMEM, NULL);
		return;
	}
	c->events = e;
	c->stream = api_stream_begin(q, TYPE_LINES, EVENTS_QUEUE_MAX, &ops, c);
	if (c->stream == NULL) {
		mem_free(c);
		return;
	}
	c->next = e->clients;
	if (c->next != NULL)
		c->next->prev = c;
	e->clients = c;
	e->n_clients++;
	say_hello(c);
	for (size_t i = recent < EVENTS_KEPT ? recent : EVENTS_KEPT; i-- > 0;)
		if ((line = events_line(e, i)) != NULL)
			(void)api_stream_write(c->stream, line, strlen(line)); /* as many as there is room for */
}

/* --- tellers ---------------------------------------------------------------------------------------------------------------------------- */

void router_event(struct router *r, const char *event, json_t *fields)
{
	if (r->api != NULL)
		events_add(api_shared(r->api)->events, wall_ms(), event, fields);
	else
		json_decref(fields);
}

void router_event_path(struct router *r, uint64_t peer, enum path from, enum path to, const char *reason)
{
	struct peer_info info;
	char name[PEER_TEXT];
	bool known = gossip_peer(core_gossip(r->core), peer, &info);

	router_event(r, "path",
		json_pack("{s:s, s:s?, s:s, s:s, s:s}", "peer", peer_format(peer, name), "nickname", known ? info.nickname : NULL, "from",
			path_name(from), "to", path_name(to), "reason", reason != NULL ? reason : ""));
}

static void put_name(json_t *fields, const struct router *r, const char *key, const char *nick_key, uint64_t peer)
{
	struct peer_info info;
	char name[PEER_TEXT];
	bool known = gossip_peer(core_gossip(r->core), peer, &info);

	(void)json_object_set_new(fields, key, json_string(peer_format(peer, name)));
	(void)json_object_set_new(fields, nick_key, known ? json_string(info.nickname) : json_null());
}

static void tell_reclaimed(struct router *r, const struct ipam_reclaimed *a)
{
	char first[IP_TEXT], last[IP_TEXT];
	json_t *fields = json_pack("{s:I, s:s, s:s, s:I}", "epoch", (json_int_t)a->epoch, "first", ip_format(ip_v4(a->first), first),
		"last", ip_format(ip_v4(a->last), last), "addresses", (json_int_t)a->last - (json_int_t)a->first + 1);

	if (fields == NULL)
		return;
	put_name(fields, r, "peer", "nickname", a->from);
	put_name(fields, r, "heir", "heir_nickname", a->heir);
	router_event(r, "reclaimed", fields);
}

void router_event_reclaimed(struct router *r)
{
	struct ipam_reclaim_view v;
	struct ipam_reclaimed a[IPAM_AUDIT_MAX];
	size_t n = 0;

	if (core_ipam(r->core) == NULL)
		return;
	ipam_reclaim_view(core_ipam(r->core), &v);
	if (r->epoch_seen && v.epoch > r->epoch_told)
		for (size_t it = 0;
			 n < IPAM_AUDIT_MAX && ipam_next_reclaimed(core_ipam(r->core), &it, &a[n]) && a[n].epoch > r->epoch_told;)
			n++;
	r->epoch_seen = true;
	r->epoch_told = v.epoch;
	while (n > 0)
		tell_reclaimed(r, &a[--n]);
}
