/* A container's /etc/hosts: a block of lines of ours on its top, which comes and goes while everything else stays as it is.
 *
 *   # weft begin
 *   10.32.0.5	db.weft.local db        its own names, for its addresses here
 *   192.0.2.7	outside                 --add-host
 *   # weft end
 *   127.0.0.1	localhost
 *   #weft# 172.17.0.2	db             others' lines of its own names are set aside, and come back when ours go
 *
 * Control thread only; reads and writes a small file. */
#ifndef WEFT_ROUTER_HOSTS_H
#define WEFT_ROUTER_HOSTS_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/addr.h"
#include "base/buf.h"
#include "base/err.h"
#include "router/router.h"

#define HOSTS_TEXT_MAX 262144 /* bytes of a file that is changed */

struct hosts_want {
	const char *own; /* its name, with the domain after a dot; NULL: no lines of its own */
	const struct prefix *addrs;
	size_t n_addrs;
	const struct attach_host *more;
	size_t n_more;
};
/* What the file shall be. want NULL: without ours. Whatever it was, doing it twice is doing it once. ERR_LIMIT: too long. */
enum err hosts_text(struct slice old, const struct hosts_want *want, struct wbuf *out) MUST_CHECK;
/* The same file, but for lines of ours for these addresses. */
enum err hosts_text_without(struct slice old, const struct ip *gone, size_t n_gone, struct wbuf *out) MUST_CHECK;

/* The file as the process sees it. It is the container's, who may have put anything in its place: links are not followed, and what is not a plain file
 * of its own is refused. Where the file is mounted (Docker, podman) its contents are replaced, else the file is, in one rename.
 * ERR_NOT_FOUND: no such process, or it has no /etc; ERR_REFUSED: the file is the host's own, a link, or not a plain file, or the process is not in the
 * network namespace nsfd; ERR_UNSUPPORTED: before Linux 5.6; ERR_PERMISSION, ERR_SYSTEM, ERR_NOMEM. */
struct hosts_file;
enum err hosts_open(pid_t pid, int nsfd, struct hosts_file **out, struct err_note *note) MUST_CHECK;
enum err hosts_put(
	struct hosts_file *h, const struct hosts_want *want, struct err_note *note) MUST_CHECK; /* want as of hosts_text */
enum err hosts_without(struct hosts_file *h, const struct ip *gone, size_t n_gone, struct err_note *note) MUST_CHECK;
void hosts_close(struct hosts_file *h); /* takes NULL */

#endif
