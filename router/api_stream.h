/* An answer that goes on: its bytes are queued as they come about, up to a limit, and go out as fast as the client takes them. */
#ifndef WEFT_ROUTER_API_STREAM_H
#define WEFT_ROUTER_API_STREAM_H

#include <stdbool.h>
#include <stddef.h>

#include "router/api_request.h"

struct api_stream;
struct api_stream_ops {
	/* Half of the limit is free again, after a write was refused. May be NULL. */
	void (*room)(void *ctx);
	/* The client has ended its side of the connection, or (now) the daemon stops: api_stream_end is expected, soon or at once. */
	void (*leaving)(void *ctx, bool now);
	/* Nobody is there any more and the stream is gone. Comes exactly once, after whatever else. */
	void (*over)(void *ctx);
};

/* Answers q with 200 and what will be written. NULL: no memory, and q has been answered with that. */
struct api_stream *api_stream_begin(
	struct api_request *q, const char *type, size_t limit, const struct api_stream_ops *ops, void *ctx);
/* Queues all of it, or nothing: false, there is no room (or it has been ended). */
bool api_stream_write(struct api_stream *s, const void *bytes, size_t n);
/* What is queued goes out, then these n bytes (room or not), then the answer is complete. */
void api_stream_end(struct api_stream *s, const void *bytes, size_t n);
/* What is queued is dropped and the connection closed without an end: the client sees that something is missing. */
void api_stream_cut(struct api_stream *s);

/* For the server alone. */
struct MHD_Response *api_stream_response(struct api_stream *s);
void api_stream_leave(struct api_stream *s, bool now);
bool api_stream_left(const struct api_stream *s); /* there is nothing more to be learnt of the client */
void api_stream_over(struct api_stream *s);       /* takes NULL; frees it */

#endif
