/* What the kernel has against what the core knows.
 *
 * A container may go without a detach: its namespace ends, and the kernel removes the interface. The kernel's word of that (or else a
 * look every ATTACH_CHECK_MS) brings attach_check, which compares the interfaces with the core's endpoints. Names of what is missing go
 * at once; its addresses stay its own for ATTACH_GONE_MS, since it may be restarting. */
#include <errno.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"
#include "router/attach_internal.h"
#include "router/expose.h"
#include "router/lease_request.h"

struct found {
	struct router *r;
	const char *network; /* the one looked at */
	struct map *idents;
	bool nomem;
};

static void note_present(const struct container_record *rec, const char *host_ifname, void *arg)
{
	struct found *f = arg;

	(void)host_ifname;
	if (map_put(f->idents, slice_str(rec->ident), f, NULL) != ERR_OK)
		f->nomem = true;
}

static bool as_recorded(const struct core_endpoint *have, const struct core_endpoint *e)
{
	if (have == NULL || !mac_eq(have->mac, e->mac) || have->n_addrs != e->n_addrs || strcmp(have->network, e->network) != 0)
		return false;
	for (size_t i = 0; i < e->n_addrs; i++)
		if (!prefix_eq(have->addrs[i], e->addrs[i]))
			return false;
	return true;
}

/* At the start. What the store does not know, or knows otherwise (it was lost, or the daemon ended between the kernel's part and its own), is
 * as the kernel says, and its addresses are claimed. */
static void adopt(const struct container_record *rec, const char *host_ifname, void *arg)
{
	struct found *f = arg;
	const struct core_endpoint *have = core_local(f->r->core, rec->ident);
	struct core_endpoint e;

	note_present(rec, host_ifname, arg);
	attach_endpoint_of(f->r, rec, f->network, &e);
	if (!as_recorded(have, &e)) {
		struct core_event ev = { .kind = CORE_ATTACHED, .endpoint = &e };
		attach_submit_quietly(f->r, &ev);
		log_write(f->r->log, LOG_LEVEL_INFO, "found %s attached with %zu addresses", rec->ident, rec->n_addrs);
	}
	for (size_t i = 0; i < rec->n_addrs; i++) {
		if (core_ipam(f->r->core) == NULL || rec->addrs[i].addr.family != 4 ||
			lease_is_held(f->r, rec->ident, rec->addrs[i].addr))
			continue;
		struct ipam_event claim = { .kind = IPAM_CLAIM, .ident = rec->ident, .subnet = rec->addrs[i], .wait = true, .on = true };
		struct core_event ev = { .kind = CORE_IPAM, .ipam = &claim };
		attach_submit_quietly(f->r, &ev);
	}
}

struct gone {
	uint64_t since_ms;
	bool due;
	char ident[CORE_IDENT_MAX + 1];
};

static void forget_gone(struct router *r, struct slice key)
{
	mem_free(map_del(r->gone, key));
}

/* Remembers which of ours are missing, and forgets those that are back or were detached. */
static void compare(struct router *r, const struct map *present)
{
	const struct core_endpoint *e;
	struct slice key;
	void *value;

	for (size_t at = 0; map_next(r->gone, &at, &key, &value);) {
		const struct gone *g = value;
		if (map_get(present, key) != NULL || core_local(r->core, g->ident) == NULL)
			forget_gone(r, key);
	}
	for (size_t at = 0; core_next_local(r->core, &at, &e);) {
		key = slice_str(e->ident);
		if (expose_is_ident(e->ident)) /* the host itself */
			continue;
		if (map_get(present, key) != NULL || map_get(r->gone, key) != NULL)
			continue;
		struct gone *g = mem_zalloc(1, sizeof(*g));
		if (g == NULL)
			return; /* the next look finds it again */
		g->since_ms = router_now_ms(r);
		g->due = true;
		(void)snprintf(g->ident, sizeof(g->ident), "%s", e->ident);
		if (map_put(r->gone, key, g, NULL) != ERR_OK)
			mem_free(g);
	}
}

static void end_gone(struct router *r)
{
	uint64_t now = router_now_ms(r);
	struct slice key;
	void *value;

	for (size_t at = 0; map_next(r->gone, &at, &key, &value);) {
		struct gone *g = value;
		if (g->due) { /* just found */
			struct core_event names = { .kind = CORE_NAME_DELETE, .ident = g->ident };
			log_write(r->log, LOG_LEVEL_INFO, "%s is gone: its names are removed, its addresses are kept for %d s", g->ident,
				ATTACH_GONE_MS / 1000);
			attach_submit_quietly(r, &names);
			g->due = false;
		} else if (now - g->since_ms >= ATTACH_GONE_MS) {
			struct core_event detached = { .kind = CORE_DETACHED, .ident = g->ident };
			log_write(r->log, LOG_LEVEL_INFO, "%s has not come back: its addresses are free", g->ident);
			attach_submit_quietly(r, &detached);
			if (core_local(r->core, g->ident) == NULL)
				forget_gone(r, key);
		}
	}
}

static enum err look(struct router *r, container_each each, struct err_note *note)
{
	struct found f = { .r = r, .idents = map_new(r->next_request) };

	if (f.idents == NULL)
		return err_note(note, ERR_NOMEM, "out of memory");
	struct plane_net_view net;
	enum err err = ERR_OK;
	for (size_t it = 0; err == ERR_OK && plane_next_net(r->plane, &it, &net);) {
		f.network = net.name;
		err = container_list(net.kernel, each, &f, note);
	}
	if (err == ERR_OK && f.nomem)
		err = err_note(note, ERR_NOMEM, "out of memory");
	if (err == ERR_OK) {
		compare(r, f.idents);
		end_gone(r);
	}
	map_free(f.idents);
	return err;
}

enum err attach_reconcile(struct router *r, struct err_note *note)
{
	return look(r, adopt, note);
}

void router_adopt(struct router *r)
{
	struct err_note note = { "" };

	if (r->stopping || r->erased || r->fatal[0] != '\0')
		return;
	plane_adopt(r->plane, r->core);
	if (attach_reconcile(r, &note) != ERR_OK)
		log_write(r->log, LOG_LEVEL_WARNING, "containers that were attached before cannot be seen: %s", note.text);
	router_forwarding(r);
}

void attach_check(struct router *r)
{
	struct err_note note = { "" };

	if (look(r, note_present, &note) != ERR_OK)
		log_write(r->log, LOG_LEVEL_WARNING, "whether containers went cannot be seen: %s", note.text);
}

static void on_check(uv_timer_t *timer)
{
	struct router *r = timer->data;
	size_t failures = plane_failures(r->plane);

	if (r->stopping || r->erased || r->fatal[0] != '\0')
		return;
	r->check_soon = false;
	bool blind = plane_bridge_lost(r->plane), again = blind && !r->blind;
	r->blind = blind;
	(void)uv_timer_start(timer, on_check, again ? ATTACH_NOTICE_MS : ATTACH_CHECK_MS, 0);
	if (!blind) /* else their interfaces are first put on a new bridge */
		attach_check(r);
	if (blind || r->dns_broken || failures != r->plane_failures ||
		plane_unsettled(r->plane)) /* what the kernel refused is tried again */
		router_forwarding(r);
	r->plane_failures = failures;
}

/* Whether one of the messages tells of an interface that went. Their lengths and types stand in the host's order. */
static bool tells_of_end(const uint8_t *p, size_t n)
{
	struct nlmsghdr h;

	while (n >= sizeof(h)) {
		memcpy(&h, p, sizeof(h));
		if (h.nlmsg_type == RTM_DELLINK)
			return true;
		size_t step = ((size_t)h.nlmsg_len + NLMSG_ALIGNTO - 1) / NLMSG_ALIGNTO * NLMSG_ALIGNTO;
		if (step < sizeof(h) || step >= n)
			return false;
		p += step;
		n -= step;
	}
	return false;
}

static void on_links(uv_poll_t *poll, int status, int events)
{
	struct router *r = poll->data;
	uint8_t bytes[16384];
	bool ended = status != 0;

	(void)events;
	for (;;) {
		ssize_t n = recv(r->links_fd, bytes, sizeof(bytes), 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == ENOBUFS) /* some were lost: look */
			ended = true;
		else if (n <= 0)
			break;
		else
			ended = ended || tells_of_end(bytes, (size_t)n);
	}
	if (!ended || r->check_soon || r->stopping)
		return;
	r->check_soon = true;
	(void)uv_timer_start(&r->check, on_check, ATTACH_NOTICE_MS, 0);
}

static bool watch_links(struct router *r)
{
	struct sockaddr_nl at = { .nl_family = AF_NETLINK, .nl_groups = RTMGRP_LINK };

	r->links_fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);
	if (r->links_fd < 0 || bind(r->links_fd, (const struct sockaddr *)&at, sizeof(at)) != 0 ||
		uv_poll_init(r->loop, &r->links, r->links_fd) != 0)
		return false;
	r->links.data = r;
	r->links_open = true;
	return uv_poll_start(&r->links, UV_READABLE, on_links) == 0;
}

void attach_watch(struct router *r)
{
	if (!watch_links(r))
		log_write(r->log, LOG_LEVEL_WARNING,
			"the kernel does not say when interfaces go: containers that vanish are noticed after %d s", ATTACH_CHECK_MS / 1000);
	(void)uv_timer_start(&r->check, on_check, ATTACH_CHECK_MS, 0);
}

void attach_free(struct router *r)
{
	struct slice key;
	void *value;

	if (r->gone != NULL)
		for (size_t at = 0; map_next(r->gone, &at, &key, &value);)
			mem_free(value);
	map_free(r->gone);
	map_free(r->namings);
	if (r->links_fd >= 0)
		(void)close(r->links_fd);
}
