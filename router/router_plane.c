/* The loop and the data plane: forwarding applied when it changed, what came by the plane's descriptors told to the core, its datagrams sent.
 *
 * Changes in forwarding are applied from a timer, once per turn of the loop at most; when applying takes long (many containers), so seldom that it costs a
 * fifth of the time. A datagram that the kernel refuses is told to the core from a timer too: the step that sent it is still being carried out. */
#include "router/internal.h"

#include <string.h>

#include "base/mem.h"

enum { REST_FACTOR = 4 };

static bool ended(const struct router *r)
{
	return r->stopping || r->erased || r->fatal[0] != '\0';
}

/* --- what we offer -------------------------------------------------------------------------------------------------------------- */

/* What we offer before the kernel has been asked. */
void router_make_offer(struct router *r)
{
	const struct options *o = r->opt;

	_Static_assert(OPTIONS_NETS_MAX <= CORE_TRUSTED_MAX, "all trusted subnets are published");
	r->offer = (struct path_offer){ .vxlan_port = o->no_fastdp ? 0 : (uint16_t)(o->port + 1),
		.vxlan_over_v6 = !o->no_fastdp && o->host.family == 6,
		.userspace_port = o->port,
		.password = o->password != NULL,
		.sealed_only = o->require_encryption,
		.mtu = (uint16_t)underlay_container_mtu(o->host, o->mtu),
		.n_trusted = o->n_trusted };
	memcpy(r->offer.trusted, o->trusted, o->n_trusted * sizeof(o->trusted[0]));
	if (o->ipam) {
		r->offer.range = o->range;
		r->offer.range6 = o->range6;
	}
}

/* Other hosts are told of the ways that are there now. */
static void tell_offer(struct router *r)
{
	const char *why;
	bool fast = plane_fast(r->plane, &why), userspace = plane_captures(r->plane);
	struct path_offer o = r->offer;

	o.range = core_cfg(r->core)->offer.range; /* the core may have changed it */
	o.vxlan_port = fast ? (uint16_t)(r->opt->port + 1) : 0;
	o.vxlan_over_v6 = fast && r->opt->host.family == 6;
	o.userspace_port = userspace ? r->opt->port : 0;
	if (ended(r) || (o.vxlan_port == r->offer.vxlan_port && o.userspace_port == r->offer.userspace_port))
		return;
	r->offer = o;
	struct core_event ev = { .kind = CORE_OFFER, .offer = &r->offer };
	(void)router_run(r, &ev);
}

/* --- forwarding ----------------------------------------------------------------------------------------------------------------------- */

static void on_forwarding(uv_timer_t *timer)
{
	struct router *r = timer->data;
	uint64_t start = router_now_ms(r);

	router_settle(r); /* the kernel is shown nothing that is not durable */
	r->plane_dirty = false;
	plane_apply(r->plane, r->core, start);
	router_dns_networks(r);
	uint64_t end = router_now_ms(r);
	r->plane_rest_ms = end + (end - start) * REST_FACTOR;
	tell_offer(r);
}

void router_forwarding(struct router *r)
{
	uint64_t now = router_now_ms(r);

	if (r->plane_dirty || r->plane == NULL || r->stopping)
		return;
	r->plane_dirty = true;
	(void)uv_timer_start(&r->forwarding, on_forwarding, r->plane_rest_ms > now ? r->plane_rest_ms - now : 0, 0);
}

/* --- datagrams -------------------------------------------------------------------------------------------------------------------------- */

static void on_late(uv_timer_t *timer)
{
	struct router *r = timer->data;
	struct undelivered *v = r->late_v;
	size_t n = r->n_late;

	r->late_v = NULL;
	r->n_late = r->cap_late = 0; /* what these steps send may be refused as well */
	for (size_t i = 0; i < n && !ended(r); i++) {
		struct core_event ev = { .kind = CORE_UNDELIVERED, .via = v[i].via, .peer = v[i].peer, .id = v[i].id, .err = v[i].err };
		(void)router_run(r, &ev);
	}
	mem_free(v);
}

/* Whom there is no room for is missed like a datagram that was lost on the way. */
static void keep_undelivered(struct router *r, const struct core_action *a, enum err err)
{
	if (r->n_late >= ROUTER_LATE_MAX || !mem_grow((void **)&r->late_v, &r->cap_late, r->n_late + 1, sizeof(*r->late_v)))
		return;
	r->late_v[r->n_late++] =
		(struct undelivered){ .via = a->u.datagram.via, .peer = a->u.datagram.peer, .id = a->u.datagram.id, .err = err };
	if (r->n_late == 1)
		(void)uv_timer_start(&r->late, on_late, 0, 0);
}

/* What answers a handshake has to find our data threads with the new keys, and a probe of the fast path our filter open: its receiver may answer at
 * once. */
void router_before_datagrams(struct router *r, const struct core_actions *steps, size_t n)
{
	bool changed = false, udp = false, vxlan = false;

	for (size_t s = 0; s < n; s++) {
		for (size_t i = 0; i < steps[s].n; i++) {
			const struct core_action *a = &steps[s].v[i];
			changed = changed || a->kind == CORE_FORWARDING;
			udp = udp || (a->kind == CORE_DATAGRAM_SEND && a->u.datagram.via == CORE_VIA_UDP);
			vxlan = vxlan || (a->kind == CORE_DATAGRAM_SEND && a->u.datagram.via == CORE_VIA_VXLAN);
		}
	}
	if (!changed || r->plane == NULL || ended(r))
		return;
	if (udp)
		plane_apply_table(r->plane, r->core);
	if (vxlan)
		plane_apply_peers(r->plane, r->core);
}

void router_send_datagram(struct router *r, const struct core_action *a)
{
	if (r->plane == NULL || ended(r))
		return;
	enum err err = plane_send(r->plane, a->u.datagram.via, a->u.datagram.peer, a->u.datagram.to, a->u.datagram.bytes);
	if (err == ERR_LIMIT || err == ERR_REFUSED)
		keep_undelivered(r, a, err);
	else if (err != ERR_OK && err != ERR_AGAIN) /* full buffers say nothing about the way */
		keep_undelivered(r, a, ERR_UNREACHABLE);
}

static void on_datagram(void *ctx, enum core_via via, struct hostport from, struct slice bytes)
{
	struct router *r = ctx;
	struct core_event ev = { .kind = CORE_DATAGRAM, .via = via, .from = from, .bytes = bytes };

	if (!ended(r))
		(void)router_run(r, &ev);
}

static void on_wanted(void *ctx, uint64_t peer)
{
	struct router *r = ctx;
	struct core_event ev = { .kind = CORE_WANTED, .peer = peer };

	if (!ended(r))
		(void)router_run(r, &ev);
}

static void on_roamed(void *ctx, uint64_t peer, struct hostport from)
{
	struct router *r = ctx;
	struct core_event ev = { .kind = CORE_ROAMED, .peer = peer, .from = from };

	if (!ended(r))
		(void)router_run(r, &ev);
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
	struct router *r = poll->data;

	(void)status;
	(void)events;
	if (!ended(r))
		plane_poll(r->plane);
}

static void on_tick(uv_timer_t *timer)
{
	struct router *r = timer->data;
	const struct core_traffic *traffic;

	if (ended(r))
		return;
	resolvers_follow(r);
	struct core_event ev = { .kind = CORE_TRAFFIC };
	ev.n_traffic = plane_tick(r->plane, &traffic);
	ev.traffic = traffic;
	if (ev.n_traffic > 0)
		(void)router_run(r, &ev);
}

/* --- start ------------------------------------------------------------------------------------------------------------------------------ */

enum err router_open_plane(struct router *r, struct err_note *note)
{
	static const enum capture_kind kinds[] = {
		[OPTIONS_CAPTURE_AUTO] = CAPTURE_AUTO, [OPTIONS_CAPTURE_TAP] = CAPTURE_TAP, [OPTIONS_CAPTURE_PCAP] = CAPTURE_PCAP
	};
	const struct options *o = r->opt;
	struct plane_cfg cfg = {
		.self = r->id.name,
		.host = o->host,
		.udp_port = o->port,
		.vxlan_port = (uint16_t)(o->port + 1),
		.control_port = o->port,
		.api_port = ip_eq(o->http_addr.ip, ip_v4(WEFT_DNS_V4)) ? 0 : o->http_addr.port, /* there it is meant for containers */
		.fastdp = !o->no_fastdp,
		.mtu = o->mtu,
		.capture = kinds[o->capture],
		.queues = o->data_queues,
		.log = r->log,
		.ctx = r,
		.datagram = on_datagram,
		.wanted = on_wanted,
		.roamed = on_roamed,
	};

	return plane_open(&r->plane, &cfg, note);
}

enum err router_watch_plane(struct router *r, struct err_note *note)
{
	int e = uv_poll_init(r->loop, &r->plane_poll, plane_fd(r->plane));

	if (e == 0) {
		r->plane_open = true;
		r->plane_poll.data = r;
		e = uv_poll_start(&r->plane_poll, UV_READABLE, on_readable);
	}
	if (e == 0)
		e = uv_timer_start(&r->tick, on_tick, PLANE_TICK_MS, PLANE_TICK_MS);
	if (e != 0)
		return err_note(note, ERR_SYSTEM, "cannot watch the data plane: %s", uv_strerror(e));
	plane_adopt(r->plane, r->core);
	tell_offer(r);
	return ERR_OK;
}
