/* One HTTP/1.1 request over a Unix socket, blocking. Written out instead of using libcurl: a command that runs for a millisecond would
 * spend ten on loading and starting that, and one request with one answer of known length over a local socket is little of HTTP. */
#ifndef WEFT_CMD_HTTP_CLIENT_H
#define WEFT_CMD_HTTP_CLIENT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

struct http_request {
	const char *method, *path; /* the path with everything escaped that needs it */
	const char *accept;        /* NULL: whatever comes */
	const char *type, *body;   /* NULL: none */
	unsigned timeout_ms;       /* of silence; 0: as long as it takes */
};
struct http_response {
	int code;
	char *body; /* ended by a zero byte that is not counted */
	size_t n;
};
/* ERR_UNREACHABLE: nobody listens there; ERR_PERMISSION; ERR_MALFORMED: not an answer of the daemon's; ERR_TIMEOUT, ERR_CLOSED, ERR_LIMIT, ERR_SYSTEM. */
enum err http_request(
	const char *socket, const struct http_request *req, struct http_response *out, struct err_note *note) MUST_CHECK;
void http_response_free(struct http_response *r);
/* An answer that goes on for as long as somebody wants: `take` gets its bytes as they come; false ends it (ERR_CANCELLED). As soon as stop_fd (a signalfd) is readable
 * the daemon is told that this was all, and what it still has to say is waited for. A refusal, and every answer but 200, is
 * in *out as http_request gives it; out->code is 200 otherwise. ERR_CLOSED: the daemon hung up before the end. */
enum err http_stream(const char *socket, const struct http_request *req, int stop_fd,
	bool (*take)(void *ctx, const void *bytes, size_t n), void *ctx, struct http_response *out, struct err_note *note) MUST_CHECK;
/* Escapes one part of a path or a value of a form. The caller frees it; NULL: out of memory. */
char *http_escape(const char *text);

#endif
