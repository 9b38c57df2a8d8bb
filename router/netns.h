/* Network namespaces of containers: naming them, opening them, working inside one for a moment. Control thread only. */
#ifndef WEFT_ROUTER_NETNS_H
#define WEFT_ROUTER_NETNS_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/err.h"

#define NETNS_IDENT_MAX 128 /* bytes of a container's identity, without the final zero */

/* What a user may call a container when Docker does not know it:
 *   pid:N            the namespace of a process
 *   netns:PATH       a namespace file
 *   /PATH            the same
 *   NAME             /run/netns/NAME */
enum netns_kind { NETNS_PATH, NETNS_PID, NETNS_NAME };
struct netns_target {
	enum netns_kind kind;
	char ident[NETNS_IDENT_MAX + 1]; /* as it was given: the id in tables */
	char path[NETNS_IDENT_MAX + 16]; /* file to open */
	pid_t pid;                       /* NETNS_PID only, else 0 */
};
/* Looks at the text only. ERR_USAGE: none of the forms above; ERR_LIMIT: longer than NETNS_IDENT_MAX. */
enum err netns_parse(const char *text, struct netns_target *out, struct err_note *note) MUST_CHECK;

/* A descriptor of the namespace; the caller closes it. ERR_NOT_FOUND: no such file or process; ERR_USAGE: the file is no network
 * namespace; ERR_REFUSED: it is the namespace this daemon runs in; ERR_PERMISSION. */
enum err netns_open(const struct netns_target *target, int *fd, struct err_note *note) MUST_CHECK;
bool netns_is_own(int fd);

/* Between the two the calling thread is in the other namespace: open sockets, write sysctls, nothing that may wait. Sockets stay in the
 * namespace they were opened in, so that the thread need not. netns_leave cannot fail: a daemon that cannot get home stops. */
struct netns_visit {
	int home;
};
enum err netns_enter(
	int fd, struct netns_visit *v, struct err_note *note) MUST_CHECK; /* ERR_PERMISSION, ERR_SYSTEM: we are still at home */
void netns_leave(struct netns_visit *v);

/* Host name, with the domain after a dot where one is set, that a process sees. ERR_NOT_FOUND: it sees the host's own (no name of its own), or
 * it is gone. size: at least 130 for every name. */
enum err netns_fqdn(pid_t pid, char *out, size_t size, struct err_note *note) MUST_CHECK;

#endif
