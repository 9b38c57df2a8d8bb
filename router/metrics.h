/* The daemon's figures in Prometheus' text format 0.0.4 (INTERFACES section 7). */
#ifndef WEFT_ROUTER_METRICS_H
#define WEFT_ROUTER_METRICS_H

#include "base/buf.h"
#include "router/router.h"

#define METRICS_CONTENT_TYPE "text/plain; version=0.0.4; charset=utf-8"

/* Whatever is switched off prints nothing or zero. What does not fit in w makes w failed. */
void metrics_write(const struct router *r, struct wbuf *w);

/* A label's value with \, " and line ends escaped; what does not fit is cut. For tests. */
const char *metrics_escape(const char *value, char *out, size_t size);

#endif
