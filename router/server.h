/* HTTP servers in the control loop, for the API and for Docker's plugin socket: what they serve is a service each, the rest is one machinery. */
#ifndef WEFT_ROUTER_SERVER_H
#define WEFT_ROUTER_SERVER_H

#include "router/api_request.h"

struct server;
struct server_service {
	/* The request is there as a whole: it is answered now, or left waiting. */
	void (*route)(struct api_request *q, const char *method);
	/* An error that the server itself finds. */
	void (*refuse)(struct api_request *q, unsigned code, const char *line);
	/* The client went while its request waited: what it waits for is cancelled, and the request answered (nobody will see it) or left to be
	 * answered later. NULL: what is `pending` is cancelled. */
	void (*left)(struct api_request *q);
	void (*over)(struct api_request *q); /* it is about to be freed, answered or not; may be NULL */
	size_t body_max;
	size_t connections_max; /* one more is closed at once */
	unsigned silence_s;     /* a connection that is silent for longer is closed; 0: never */
};

/* owner: stands in each request. */
enum err server_new(struct server **out, struct router *r, void *owner) MUST_CHECK;
/* Errors name the option that says where to listen (without "--"). A socket file that nobody answers at is taken over. shared: for the group weft as well,
 * where there is one, else for root alone. ERR_BUSY: somebody else answers there. The service has to outlive the server. */
enum err server_listen_unix(struct server *s, const struct server_service *service, const char *path, bool shared,
	const char *option, struct err_note *note) MUST_CHECK;
enum err server_listen_tcp(struct server *s, const struct server_service *service, struct hostport at, const char *option,
	struct err_note *note) MUST_CHECK;
bool server_stopping(const struct server *s);
/* Pending requests are answered with 503; handles close in the loop, then `done` is called and the server is gone. Takes NULL. */
void server_stop(struct server *s, void (*done)(void *ctx), void *ctx);

#endif
