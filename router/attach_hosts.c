/* The /etc/hosts of containers that are attached with --rewrite-hosts or --add-host, and of those that are detached again. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "router/attach_internal.h"
#include "router/attach_request.h"
#include "router/hosts.h"

enum err attach_hosts_open(
	const struct attach_request *req, const struct netns_target *t, int nsfd, struct hosts_file **out, struct err_note *note)
{
	char own[256];

	*out = NULL;
	if (!req->rewrite_hosts && req->n_hosts == 0)
		return ERR_OK;
	if (t->kind != NETNS_PID)
		return err_note(note, ERR_USAGE,
			"'%.80s' names a network namespace alone, and no /etc/hosts; name a process of the container, pid:N", t->ident);
	if (req->rewrite_hosts && netns_fqdn(t->pid, own, sizeof(own), NULL) != ERR_OK)
		return err_note(
			note, ERR_USAGE, "process %d has no host name of its own that could stand in its /etc/hosts", (int)t->pid);
	return hosts_open(t->pid, nsfd, out, note);
}

enum err attach_hosts_put(struct hosts_file *h, json_t *request, const struct netns_target *t,
	const struct container_record *made, struct err_note *note)
{
	struct attach_asked asked;
	char own[256];
	enum err err = attach_request_read(&asked, request, true, note);

	if (err != ERR_OK)
		return err;
	bool named = asked.req.rewrite_hosts && netns_fqdn(t->pid, own, sizeof(own), NULL) == ERR_OK;
	const struct hosts_want want = { .own = named ? own : NULL,
		.addrs = made->addrs,
		.n_addrs = made->n_addrs,
		.more = asked.req.hosts,
		.n_more = asked.req.n_hosts };
	return hosts_put(h, &want, note);
}

void attach_hosts_remove(struct router *r, const struct netns_target *t, const struct ip *gone, size_t n_gone)
{
	struct hosts_file *h = NULL;
	struct err_note note = { "" };
	int nsfd = -1;

	if (t->kind != NETNS_PID || netns_open(t, &nsfd, NULL) != ERR_OK)
		return;
	if (hosts_open(t->pid, nsfd, &h, NULL) == ERR_OK && /* what cannot be opened now could not be when it was attached */
		(n_gone > 0 ? hosts_without(h, gone, n_gone, &note) : hosts_put(h, NULL, &note)) != ERR_OK)
		log_write(r->log, LOG_LEVEL_WARNING, "%s is detached, but for its names: %s", t->ident, note.text);
	hosts_close(h);
	(void)close(nsfd);
}
