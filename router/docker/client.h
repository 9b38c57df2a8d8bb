/* HTTP to Docker: libcurl's multi interface in the loop. Bodies of answers are collected up to a limit, or handed on as they come. */
#ifndef WEFT_ROUTER_DOCKER_CLIENT_H
#define WEFT_ROUTER_DOCKER_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <uv.h>

#include "base/buf.h"
#include "base/err.h"

#define CLIENT_ASKING_MAX  256         /* questions at once; more are refused */
#define CLIENT_HEADERS_MAX (64u << 10) /* bytes of an answer's head */
#define CLIENT_CONNECT_MS  3000
#define CLIENT_PATH_MAX    1024

struct client;
/* host: unix:///PATH, or tcp://ADDRESS:PORT. ERR_USAGE: neither. */
enum err client_new(struct client **out, uv_loop_t *loop, const char *host, struct err_note *note) MUST_CHECK;
/* No callback comes any more. closed: all handles of the loop are closed and the memory is free; perhaps before this returns. */
void client_free(struct client *c, void (*closed)(void *ctx), void *ctx);

struct client_answer {
	enum err err;    /* ERR_OK: it is whole, whatever the status says */
	const char *why; /* on errors */
	unsigned status;
	struct slice body;
};
typedef void (*client_done)(void *ctx, const struct client_answer *a);
/* GET path. 0: refused (ERR_STATE; ERR_UNREACHABLE: there is no socket; ERR_UNSUPPORTED: no libcurl; ERR_NOMEM), and done has been called. Else asynchronous. */
uint64_t client_get(struct client *c, const char *path, unsigned limit_ms, size_t max, client_done done, void *ctx);

/* An answer without end: head when its status is there (anything but 200 is an answer like any other: see `done`), data as it comes, `done` when it ends.
 * Whoever asks sees to it that it does not take for ever until head comes. */
struct client_stream {
	void (*head)(void *ctx);
	void (*data)(void *ctx, struct slice bytes);
	client_done done;
	void *ctx;
};
uint64_t client_follow(struct client *c, const char *path, const struct client_stream *s);
void client_cancel(struct client *c, uint64_t question); /* no callback of it comes any more */
size_t client_asking(const struct client *c);

#endif
