/* Shared by docker.c and events.c. */
#ifndef WEFT_ROUTER_DOCKER_INTERNAL_H
#define WEFT_ROUTER_DOCKER_INTERNAL_H

#include "base/buf.h"
#include "base/map.h"
#include "router/docker/client.h"
#include "router/docker/docker.h"

struct docker {
	struct docker_cfg cfg;
	struct client *client;
	struct map *queries; /* number of the client's question -> struct query */
	struct docker_stats stats;

	/* events.c */
	uv_timer_t timer; /* next attempt; while one is made, its end; while connected, the next look whether Docker still answers */
	uint64_t stream, ping, hello; /* questions of the client's; 0: none */
	struct wbuf line;             /* the event that is coming in */
	bool skipping;                /* that one is too long: up to its end */
	bool missed;                  /* one was skipped: look at everything anew */
	bool connected, lost_told;
	unsigned silent; /* pings without an answer */
	uint64_t pause_ms, since_ms;
	unsigned tokens; /* lines that may be logged of coming and going */
	uint64_t tokens_ms, untold;
	char version[32], trouble[200];
	bool timer_open;

	int closing; /* parts whose handles still close */
	void (*closed)(void *ctx);
	void *closed_ctx;
};

/* What went wrong with an answer; ERR_OK: it is there, with status 200. */
enum err docker_error_of(const struct client_answer *a, const char *what, struct err_note *note);
void docker_part_closed(void *docker);

void docker_events_start(struct docker *d);
void docker_events_stop(struct docker *d);

#endif
