/* The resolv.conf that the name service follows: read again whenever it is another than last time. */
#ifndef WEFT_ROUTER_DNS_RESOLV_H
#define WEFT_ROUTER_DNS_RESOLV_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>

#include "base/addr.h"
#include "base/err.h"

/* Whether a file is still the one that was read. */
struct dns_resolv {
	char *path; /* NULL: none */
	dev_t dev;
	ino_t ino;
	off_t size;
	struct timespec mtime;
};

/* path is copied; NULL or "": nothing is ever read. ERR_NOMEM. */
enum err dns_resolv_init(struct dns_resolv *f, const char *path) MUST_CHECK;
void dns_resolv_free(struct dns_resolv *f);

/* A stat, and a read when it tells of another file. true: *n name servers are in out. A file that is missing or cannot be read changes
 * nothing: it is being replaced, or comes later. own are the addresses on which we listen; when one of them stands for all, the
 * interfaces' addresses count as own too.
 *
 * Called once a second, a plain stat sees what an inotify watch on one path does not (the file replaced, the file behind a link
 * changed), needs no thread as uv_fs_poll does, and costs a microsecond. */
bool dns_resolv_changed(
	struct dns_resolv *f, const struct hostport *own, size_t n_own, struct hostport *out, size_t max, size_t *n);

#endif
