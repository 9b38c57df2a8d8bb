/* What happens, told to whoever listens: GET /events, one JSON object a line.
 *
 *   {"time": "2026-11-23T09:43:02.123Z", "event": "path", "peer": "02:…", "nickname": "h2", "from": "fast", "to": "userspace", "reason": "…"}
 *
 * The first line a client gets is {"event": "hello", "schema": 1, …}. Fields are only ever added within a schema number. Control thread only. */
#ifndef WEFT_ROUTER_EVENTS_H
#define WEFT_ROUTER_EVENTS_H

#include <jansson.h>
#include <stdint.h>

#include "router/router.h"

enum {
	EVENTS_CLIENTS_MAX = 16,
	EVENTS_KEPT = 256,           /* the last ones are kept for who asks for them */
	EVENTS_LINE_MAX = 4096,      /* bytes; longer ones are not told */
	EVENTS_QUEUE_MAX = 64 << 10, /* bytes for one client; one who has more waiting is cut off */
};

struct api_request;
struct events;
struct events *events_new(struct router *r); /* NULL: out of memory */
void events_free(struct events *e);          /* takes NULL; nobody listens any more */
/* Adds time and kind to fields, and tells it. Takes the reference (NULL: none). What there is no memory for is not told. */
void events_add(struct events *e, uint64_t wall_ms, const char *event, json_t *fields);
/* The nth line before the last (0: the last one), with its line feed. NULL: none is kept. */
const char *events_line(const struct events *e, size_t nth);
/* Answers q with the stream, after `recent` lines of those kept. */
void events_follow(struct events *e, struct api_request *q, size_t recent);

/* For all who have something to tell; nothing happens while there is no API. Fields: as for events_add. */
void router_event(struct router *r, const char *event, json_t *fields);
/* Ranges that were reclaimed since this was asked last. */
void router_event_reclaimed(struct router *r);
/* CORE_PATH_CHANGED */
void router_event_path(struct router *r, uint64_t peer, enum path from, enum path to, const char *reason);

#endif
