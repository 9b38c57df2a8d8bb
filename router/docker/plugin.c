/* The plugin's server: requests to handlers and answers back, in the forms that dockerd understands. */
#include "router/docker/plugin.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "router/docker/plugin_internal.h"

#define TYPE_PLUGIN "application/vnd.docker.plugins.v1.2+json"
enum {
	BODY_MAX = 8 << 20,     /* ten thousand published ports of one container take one MiB */
	CONNECTIONS_MAX = 1024, /* dockerd has one for each container that it starts or stops at the same time */
};

/* --- answers ------------------------------------------------------------------------------------------------------------------------------ */

static void end_call(struct plugin_call *c)
{
	if (c->prev != NULL)
		c->prev->next = c->next;
	else
		c->p->calls = c->next;
	if (c->next != NULL)
		c->next->prev = c->prev;
	if (c->q != NULL)
		c->q->ctx = NULL;
	mem_free(c);
}

static int dump_part(const char *part, size_t n, void *w)
{
	wbuf_bytes(w, part, n);
	return 0;
}

static void answer(struct api_request *q, unsigned code, json_t *doc)
{
	wbuf_reset(&q->out);
	if (doc == NULL || json_dump_callback(doc, dump_part, &q->out, JSON_COMPACT) != 0)
		q->out.failed = true;
	wbuf_u8(&q->out, '\n');
	json_decref(doc);
	api_answer(q, code, TYPE_PLUGIN);
}

void plugin_ok(struct plugin_call *c, json_t *doc)
{
	struct api_request *q = c->q;

	if (doc == NULL) {
		plugin_fail(c, ERR_NOMEM, "out of memory");
		return;
	}
	end_call(c);
	if (q != NULL)
		answer(q, MHD_HTTP_OK, doc);
	else
		json_decref(doc);
}

/* Network drivers say Err, IPAM drivers Error; each reads only its own, and from an answer other than 200 dockerd takes Err. */
static void answer_error(struct api_request *q, unsigned code, const char *text)
{
	json_t *doc = json_pack("{s:s, s:s}", "Err", text, "Error", text);

	if (doc == NULL)
		doc = json_pack("{s:s, s:s}", "Err", "out of memory", "Error", "out of memory");
	answer(q, code, doc);
}

/* What the asker did wrong or has to wait for is an answer like another; what is wrong here is a fault of the server's. */
static unsigned code_of(enum err err)
{
	unsigned code = api_code_of(err);

	return code == MHD_HTTP_INTERNAL_SERVER_ERROR ? code : MHD_HTTP_OK;
}

void plugin_fail(struct plugin_call *c, enum err err, const char *text)
{
	struct api_request *q = c->q;
	struct plugin *p = c->p;
	const char *method = c->method;
	char line[600];

	(void)snprintf(line, sizeof(line), "%s", text != NULL && text[0] != '\0' ? text : err_text(err));
	p->n_failed++;
	end_call(c);
	log_write(router_log(p->r), LOG_LEVEL_INFO, "docker: %s refused: %s", method, line);
	if (q != NULL)
		answer_error(q, code_of(err), line);
}

/* What the server itself finds wrong. */
static void refuse(struct api_request *q, unsigned code, const char *line)
{
	answer_error(q, code, line);
}

/* --- what handlers share ------------------------------------------------------------------------------------------------------------------- */

void plugin_submit_quietly(struct plugin *p, struct core_event *ev)
{
	(void)router_submit(p->r, ev, router_ignore, NULL);
}

void plugin_free_lease(struct plugin *p, const char *ident, struct ip addr)
{
	struct ipam_event free_it = { .kind = IPAM_FREE, .ident = ident, .addr = addr };
	struct core_event ev = { .kind = CORE_IPAM, .ipam = &free_it };

	if (core_ipam(router_core(p->r)) != NULL)
		plugin_submit_quietly(p, &ev);
}

struct prefix plugin_range(const struct plugin *p)
{
	struct universe u = core_universe(router_core(p->r));

	return (struct prefix){ ip_v4(u.first), u.len };
}

const char *plugin_holder(const struct plugin *p, struct ip v4)
{
	const struct ipam *ipam = core_ipam(router_core(p->r));

	return ipam != NULL && v4.family == 4 ? ipam_holder(ipam, ip_to_v4(v4)) : NULL;
}

uint64_t plugin_random(void)
{
	uint64_t v;

	randombytes_buf(&v, sizeof(v));
	return v;
}

/* --- methods ------------------------------------------------------------------------------------------------------------------------------- */

static void activate(struct plugin_call *c, const json_t *body)
{
	(void)body;
	plugin_ok(c, json_pack("{s:[s, s]}", "Implements", "NetworkDriver", "IpamDriver"));
}

/* Networks span hosts, but each dockerd makes its own by itself, unless a swarm does. */
static void network_capabilities(struct plugin_call *c, const json_t *body)
{
	(void)body;
	plugin_ok(c,
		json_pack(
			"{s:s, s:s}", "Scope", router_options(c->p->r)->plugin_global ? "global" : "local", "ConnectivityScope", "global"));
}

/* Nothing has to be asked again after dockerd was started anew: it is all on our disk. */
static void ipam_capabilities(struct plugin_call *c, const json_t *body)
{
	(void)body;
	plugin_ok(c, json_pack("{s:b, s:b}", "RequiresMACAddress", 0, "RequiresRequestReplay", 0));
}

static void address_spaces(struct plugin_call *c, const json_t *body)
{
	(void)body;
	plugin_ok(c,
		json_pack(
			"{s:s, s:s}", "LocalDefaultAddressSpace", PLUGIN_SPACE_LOCAL, "GlobalDefaultAddressSpace", PLUGIN_SPACE_GLOBAL));
}

/* Which hosts there are is known from the mesh. */
static void discover(struct plugin_call *c, const json_t *body)
{
	struct err_note note = { "" };
	enum err err = plugin_parse_discovery(body, &note);

	if (err != ERR_OK)
		plugin_fail(c, err, note.text);
	else
		plugin_ok(c, json_object());
}

static const struct {
	const char *name;
	void (*handle)(struct plugin_call *c, const json_t *body);
} methods[] = {
	{ "/Plugin.Activate", activate },
	{ "/NetworkDriver.GetCapabilities", network_capabilities },
	{ "/NetworkDriver.CreateNetwork", plugin_create_network },
	{ "/NetworkDriver.DeleteNetwork", plugin_delete_network },
	{ "/NetworkDriver.AllocateNetwork", plugin_allocate_network },
	{ "/NetworkDriver.FreeNetwork", plugin_free_network },
	{ "/NetworkDriver.CreateEndpoint", plugin_create_endpoint },
	{ "/NetworkDriver.DeleteEndpoint", plugin_delete_endpoint },
	{ "/NetworkDriver.EndpointOperInfo", plugin_endpoint_info },
	{ "/NetworkDriver.Join", plugin_join },
	{ "/NetworkDriver.Leave", plugin_leave },
	{ "/NetworkDriver.ProgramExternalConnectivity", plugin_external },
	{ "/NetworkDriver.RevokeExternalConnectivity", plugin_external },
	{ "/NetworkDriver.DiscoverNew", discover },
	{ "/NetworkDriver.DiscoverDelete", discover },
	{ "/IpamDriver.GetCapabilities", ipam_capabilities },
	{ "/IpamDriver.GetDefaultAddressSpaces", address_spaces },
	{ "/IpamDriver.RequestPool", plugin_request_pool },
	{ "/IpamDriver.ReleasePool", plugin_release_pool },
	{ "/IpamDriver.RequestAddress", plugin_request_address },
	{ "/IpamDriver.ReleaseAddress", plugin_release_address },
};

static struct plugin_call *begin_call(struct plugin *p, struct api_request *q, const char *method)
{
	struct plugin_call *c = mem_zalloc(1, sizeof(*c));

	if (c == NULL)
		return NULL;
	*c = (struct plugin_call){ .p = p, .q = q, .method = method + 1, .next = p->calls, .since_ms = router_now_ms(p->r) };
	if (c->next != NULL)
		c->next->prev = c;
	p->calls = c;
	p->n_calls++;
	q->ctx = c;
	return c;
}

static void route(struct api_request *q, const char *method)
{
	struct plugin *p = q->owner;
	struct err_note note = { "" };
	json_t *body;
	size_t i = 0;

	while (i < sizeof(methods) / sizeof(methods[0]) && strcmp(methods[i].name, q->path) != 0)
		i++;
	if (i == sizeof(methods) / sizeof(methods[0])) {
		answer_error(q, MHD_HTTP_NOT_FOUND, "weft's plugin has no such method");
		return;
	}
	if (strcmp(method, "POST") != 0) {
		(void)snprintf(q->allow, sizeof(q->allow), "POST");
		answer_error(q, MHD_HTTP_METHOD_NOT_ALLOWED, "methods of plugins are called by POST");
		return;
	}
	if (p->stopping) {
		answer_error(q, MHD_HTTP_SERVICE_UNAVAILABLE, "the daemon is stopping");
		return;
	}
	struct plugin_call *c = begin_call(p, q, methods[i].name);
	if (c == NULL) {
		answer_error(q, MHD_HTTP_INTERNAL_SERVER_ERROR, "out of memory");
		return;
	}
	enum err err = plugin_parse_body(wbuf_slice(&q->body), &body, &note);
	if (err != ERR_OK) {
		plugin_fail(c, err, note.text);
		return;
	}
	methods[i].handle(c, body);
	json_decref(body);
}

/* The connection is gone: what the call still does is undone when it is through. */
static void desert(struct api_request *q)
{
	struct plugin_call *c = q->ctx;

	if (c == NULL)
		return;
	c->q = NULL;
	q->ctx = NULL;
	if (c->stop != NULL)
		c->stop(c, ERR_CANCELLED, "whoever asked has gone");
}

static void left(struct api_request *q)
{
	desert(q);
	if (!q->answered)
		answer_error(q, MHD_HTTP_SERVICE_UNAVAILABLE, "cancelled");
}

static const struct server_service service = { .route = route,
	.refuse = refuse,
	.left = left,
	.over = desert,
	.body_max = BODY_MAX,
	.connections_max = CONNECTIONS_MAX,
	.silence_s = 0 };

/* --- time ----------------------------------------------------------------------------------------------------------------------------------- */

/* Why an address is not there yet. */
static void why_waiting(const struct plugin *p, uint64_t request, char *out, size_t size)
{
	const struct ipam *ipam = core_ipam(router_core(p->r));
	struct ipam_pending_view v;

	(void)snprintf(out, size, "no address could be had in %d s", PLUGIN_WAIT_MS / 1000);
	for (size_t it = 0; ipam != NULL && ipam_next_pending(ipam, &it, &v);)
		if (v.request == request)
			(void)snprintf(
				out, size, "no address could be had in %d s: %s; 'weft status ipam' says more", PLUGIN_WAIT_MS / 1000, v.reason);
}

static void on_tick(uv_timer_t *timer)
{
	struct plugin *p = timer->data;
	uint64_t now = router_now_ms(p->r);
	char text[400];

	for (struct plugin_call *c = p->calls; c != NULL; c = c->next) {
		if (!c->timed || c->stop == NULL || now - c->since_ms < PLUGIN_WAIT_MS)
			continue;
		why_waiting(p, c->pending, text, sizeof(text));
		c->stop(c, ERR_TIMEOUT, text);
		break; /* others may have ended with it: they are looked at next time */
	}
	plugin_nets_tick(p);
	plugin_reconcile(p);
}

/* --- start and end -------------------------------------------------------------------------------------------------------------------------- */

static const char *socket_path(const struct options *o)
{
	if (!o->plugin)
		return NULL;
	if (o->plugin_socket != NULL)
		return o->plugin_socket;
	return strcmp(o->socket, OPTIONS_SOCKET) == 0 ? OPTIONS_PLUGIN_SOCKET : NULL;
}

/* For tests, which cannot wait for it: WEFT_UNUSED_MS. */
static uint64_t unused_ms(void)
{
	const char *text = getenv("WEFT_UNUSED_MS");
	char *end = NULL;
	unsigned long long ms = text != NULL ? strtoull(text, &end, 10) : 0;

	return text != NULL && end != text && *end == '\0' ? ms : PLUGIN_UNUSED_MS;
}

static enum err make(struct plugin *p, struct err_note *note)
{
	uint64_t seed = plugin_random();

	p->pools = map_new(seed);
	p->nets = map_new(seed);
	p->endpoints = map_new(seed);
	p->unused = map_new(seed);
	p->unused_ms = unused_ms();
	if (p->pools == NULL || p->unused == NULL || p->nets == NULL || p->endpoints == NULL ||
		server_new(&p->server, p->r, p) != ERR_OK)
		return err_note(note, ERR_NOMEM, "out of memory");
	enum err err = plugin_load(p, note);
	if (err == ERR_OK)
		err = plugin_adopt(p, note);
	if (err == ERR_OK) {
		plugin_reserve_all(p);
		plugin_nets_adopt(p);
	}
	return err;
}

enum err plugin_start(struct plugin **out, struct router *r, struct err_note *note)
{
	const struct options *o = router_options(r);
	const char *path = socket_path(o);

	*out = NULL;
	if (path == NULL)
		return ERR_OK;
	struct plugin *p = mem_zalloc(1, sizeof(*p));
	if (p == NULL)
		return err_note(note, ERR_NOMEM, "out of memory");
	p->r = r;
	(void)uv_timer_init(router_loop(r), &p->tick);
	p->tick.data = p;
	*out = p;
	enum err err = make(p, note);
	if (err == ERR_OK)
		err = server_listen_unix(p->server, &service, path, false, "plugin-socket", note);
	if (err == ERR_OK) {
		p->socket = mem_strdup(path);
	} else if (o->plugin_socket == NULL && err != ERR_NOMEM && p->server != NULL) {
		log_write(router_log(r), LOG_LEVEL_WARNING, "Docker's plugin is not served: %s", note->text);
		err = ERR_OK; /* whoever has no Docker does not miss it */
	}
	(void)uv_timer_start(&p->tick, on_tick, PLUGIN_TICK_MS, PLUGIN_TICK_MS);
	return err;
}

static void part_closed(struct plugin *p)
{
	if (--p->closing > 0)
		return;
	void (*done)(void *ctx) = p->done;
	void *ctx = p->ctx;
	plugin_unload(p);
	mem_free(p->socket);
	mem_free(p);
	if (done != NULL)
		done(ctx);
}

static void on_tick_closed(uv_handle_t *handle)
{
	part_closed(handle->data);
}

static void on_server_closed(void *ctx)
{
	part_closed(ctx);
}

void plugin_stop(struct plugin *p, void (*done)(void *ctx), void *ctx)
{
	p->stopping = true;
	p->done = done;
	p->ctx = ctx;
	p->closing = 2;
	plugin_reconcile_end(p);
	plugin_learn_end(p);
	plugin_nets_end(p);
	plugin_outside_end(p);
	while (p->calls != NULL) /* whatever they waited for has been answered by now */
		plugin_fail(p->calls, ERR_CLOSED, "the daemon is stopping");
	uv_close((uv_handle_t *)&p->tick, on_tick_closed);
	if (p->server != NULL)
		server_stop(p->server, on_server_closed, p);
	else
		part_closed(p);
}

/* --- reading -------------------------------------------------------------------------------------------------------------------------------- */

void plugin_view(const struct plugin *p, struct plugin_view *out)
{
	*out = (struct plugin_view){ .socket = "" };
	if (p == NULL)
		return;
	*out = (struct plugin_view){ .socket = p->socket != NULL ? p->socket : "",
		.networks = map_count(p->nets),
		.pools = map_count(p->pools),
		.endpoints = map_count(p->endpoints),
		.calls = p->n_calls,
		.failed = p->n_failed };
	for (const struct plugin_call *c = p->calls; c != NULL; c = c->next)
		out->waiting++;
}
