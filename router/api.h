/* The HTTP API (INTERFACES section 6): libmicrohttpd in the control loop, on the Unix socket and, when asked for, on TCP. */
#ifndef WEFT_ROUTER_API_H
#define WEFT_ROUTER_API_H

#include "base/err.h"

struct router;
struct api;
/* Listens where the router's options say. ERR_BUSY, ERR_PERMISSION, ERR_SYSTEM with a note. */
enum err api_start(struct api **out, struct router *r, struct err_note *note) MUST_CHECK;
/* Pending requests are answered with 503; handles close in the loop, then `done` is called and the api is gone. */
void api_stop(struct api *a, void (*done)(void *ctx), void *ctx);

#endif
