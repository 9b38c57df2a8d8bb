/* The stream of Docker's events.
 *
 * Theory of operation. Connecting is tried for ever, with a pause that doubles from PAUSE_MIN_MS to PAUSE_MAX_MS and starts anew when a stream
 * has lasted STEADY_MS. A stream is there when the head of its answer is; then `connected` has everything looked at anew, since what
 * happened before was missed. An event that is too long or no JSON is skipped, and everything is looked at anew as well. A Docker that hangs keeps its stream open:
 * so it is asked every PING_MS whether it answers, and without an answer to PINGS_MAX of these the stream is given up and begun anew.
 * A Docker that comes and goes all the time is spoken of TOKENS times, then once in TOKEN_MS. */
#include <stdio.h>
#include <string.h>

#include "router/docker/inspect.h"
#include "router/docker/internal.h"
#include "router/log.h"

enum {
	PAUSE_MIN_MS = 100,
	PAUSE_MAX_MS = 5000,
	HEAD_MS = 10000,
	STEADY_MS = 15000,
	PING_MS = 15000,
	PING_LIMIT_MS = 10000,
	PINGS_MAX = 2,
	PING_ANSWER_MAX = 64 << 10,
	TOKENS = 6,
	TOKEN_MS = 5 * 60 * 1000,
};

/* {"type":["container","network"],"event":["start","die","destroy","rename","connect","disconnect"]} */
static const char events_path[] =
	"/events?filters=%7B%22type%22%3A%5B%22container%22%2C%22network%22%5D%2C%22event%22%3A%5B%22start%22%2C%22die%22%2C%22destroy%22%2C"
	"%22rename%22%2C%22connect%22%2C%22disconnect%22%5D%7D";

static void attempt(struct docker *d);

/* --- what is said of it ------------------------------------------------------------------------------------------------------------------ */

static bool may_say(struct docker *d)
{
	uint64_t now = uv_now(d->cfg.loop);

	while (d->tokens < TOKENS && now - d->tokens_ms >= TOKEN_MS) {
		d->tokens++;
		d->tokens_ms += TOKEN_MS;
	}
	if (d->tokens == TOKENS)
		d->tokens_ms = now;
	if (d->tokens == 0) {
		d->untold++;
		return false;
	}
	d->tokens--;
	return d->cfg.log != NULL;
}

static void say_connected(struct docker *d)
{
	if (!may_say(d))
		return;
	if (d->untold > 0)
		log_write(d->cfg.log, LOG_LEVEL_INFO, "Docker %s at %s is there (it came and went; %llu such lines were left out)",
			d->version, d->cfg.host, (unsigned long long)d->untold);
	else
		log_write(
			d->cfg.log, LOG_LEVEL_INFO, "Docker %s at %s is there: names of its containers are kept", d->version, d->cfg.host);
	d->untold = 0;
}

/* One that was never there is no news: most hosts without Docker run with the default option. */
static void say_lost(struct docker *d, const char *why)
{
	if (may_say(d))
		log_write(d->cfg.log, LOG_LEVEL_WARNING, "Docker at %s is gone (%s): tried again until it is back", d->cfg.host, why);
}

/* --- coming and going --------------------------------------------------------------------------------------------------------------------- */

static void drop_questions(struct docker *d)
{
	client_cancel(d->client, d->stream);
	client_cancel(d->client, d->ping);
	client_cancel(d->client, d->hello);
	d->stream = d->ping = d->hello = 0;
	wbuf_reset(&d->line);
	d->skipping = false;
}

static void on_pause(uv_timer_t *timer)
{
	attempt(timer->data);
}

static void give_up(struct docker *d, const char *why)
{
	uint64_t now = uv_now(d->cfg.loop);
	bool was = d->connected;

	drop_questions(d);
	(void)snprintf(d->trouble, sizeof(d->trouble), "%s", why);
	if (was && now - d->since_ms >= STEADY_MS)
		d->pause_ms = 0;
	if (was) {
		d->connected = false;
		d->since_ms = now;
		say_lost(d, why);
		d->cfg.lost(d->cfg.ctx);
	}
	d->pause_ms = d->pause_ms == 0 ? PAUSE_MIN_MS : d->pause_ms * 2;
	if (d->pause_ms > PAUSE_MAX_MS)
		d->pause_ms = PAUSE_MAX_MS;
	/* some jitter: many hosts' Dockers are restarted together, and neither they nor we should do everything at one moment */
	(void)uv_timer_start(&d->timer, on_pause, d->pause_ms - (d->pause_ms / 4) * (d->cfg.seed % 7) / 6, 0);
}

static void look_alive(uv_timer_t *timer);

static void on_ping(void *ctx, const struct client_answer *a)
{
	struct docker *d = ctx;
	struct err_note note = { "" };

	d->ping = 0;
	if (docker_error_of(a, "ping", &note) == ERR_OK) {
		d->silent = 0;
	} else if (++d->silent >= PINGS_MAX) {
		give_up(d, note.text);
		return;
	}
	(void)uv_timer_start(&d->timer, look_alive, d->silent > 0 ? 0 : PING_MS, 0);
}

static void look_alive(uv_timer_t *timer)
{
	struct docker *d = timer->data;

	d->ping = client_get(d->client, "/_ping", PING_LIMIT_MS, PING_ANSWER_MAX, on_ping, d);
}

/* --- the stream ----------------------------------------------------------------------------------------------------------------------------- */

static void on_head(void *ctx)
{
	struct docker *d = ctx;

	d->connected = true;
	d->since_ms = uv_now(d->cfg.loop);
	d->trouble[0] = '\0';
	d->silent = 0;
	d->missed = false;
	d->stats.connects++;
	(void)uv_timer_start(&d->timer, look_alive, PING_MS, 0);
	say_connected(d);
	d->cfg.connected(d->cfg.ctx);
}

static void on_line(struct docker *d, struct slice line)
{
	struct docker_event e;

	if (line.n == 0 || (line.n == 1 && line.p[0] == '\r'))
		return;
	if (docker_parse_event(line, &e) != ERR_OK) {
		d->stats.events_bad++;
		d->missed = true;
		return;
	}
	d->stats.events++;
	if (e.kind != DOCKER_EVENT_OTHER)
		d->cfg.event(d->cfg.ctx, &e);
}

static void on_data(void *ctx, struct slice bytes)
{
	struct docker *d = ctx;

	while (bytes.n > 0) {
		const uint8_t *end = memchr(bytes.p, '\n', bytes.n);
		size_t n = end != NULL ? (size_t)(end - bytes.p) : bytes.n;
		if (!d->skipping)
			wbuf_bytes(&d->line, bytes.p, n);
		if (d->line.failed) { /* too long */
			d->stats.events_bad++;
			d->missed = d->skipping = true;
			wbuf_free(&d->line);
			wbuf_grow(&d->line, DOCKER_EVENT_MAX);
		}
		if (end == NULL)
			break;
		if (!d->skipping)
			on_line(d, wbuf_slice(&d->line));
		wbuf_reset(&d->line);
		d->skipping = false;
		bytes = slice_of(end + 1, bytes.n - n - 1);
	}
	if (d->missed && d->connected) {
		d->missed = false;
		d->cfg.connected(d->cfg.ctx);
	}
}

static void on_end(void *ctx, const struct client_answer *a)
{
	struct docker *d = ctx;
	struct err_note note = { "" };

	d->stream = 0;
	if (docker_error_of(a, "events", &note) == ERR_OK)
		(void)snprintf(note.text, sizeof(note.text), "it ended the stream of events");
	give_up(d, note.text);
}

static void on_no_head(uv_timer_t *timer)
{
	give_up(timer->data, "it does not answer");
}

static void on_version(void *ctx, const struct client_answer *a)
{
	static const struct client_stream stream = { on_head, on_data, on_end, NULL };
	struct docker *d = ctx;
	struct err_note note = { "" };
	struct client_stream s = stream;

	d->hello = 0;
	if (docker_error_of(a, "version", &note) != ERR_OK) {
		give_up(d, note.text);
		return;
	}
	docker_parse_version(a->body, d->version, sizeof(d->version));
	s.ctx = d;
	(void)uv_timer_start(&d->timer, on_no_head, HEAD_MS, 0);
	d->stream = client_follow(d->client, events_path, &s);
}

static void attempt(struct docker *d)
{
	d->hello = client_get(d->client, "/version", HEAD_MS, PING_ANSWER_MAX, on_version, d);
}

void docker_events_start(struct docker *d)
{
	wbuf_grow(&d->line, DOCKER_EVENT_MAX);
	(void)uv_timer_init(d->cfg.loop, &d->timer);
	d->timer.data = d;
	d->timer_open = true;
	d->tokens = TOKENS;
	d->tokens_ms = d->since_ms = uv_now(d->cfg.loop);
	(void)snprintf(d->trouble, sizeof(d->trouble), "not asked yet");
	(void)uv_timer_start(&d->timer, on_pause, 0, 0);
}

static void on_timer_closed(uv_handle_t *h)
{
	docker_part_closed(h->data);
}

void docker_events_stop(struct docker *d)
{
	drop_questions(d);
	d->connected = false;
	(void)uv_timer_stop(&d->timer);
	d->closing++;
	uv_close((uv_handle_t *)&d->timer, on_timer_closed);
}
