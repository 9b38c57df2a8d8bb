/* What the API offers: one table, and a function for each row. Paths and success codes are Weave Net's where it has them. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/mem.h"
#include "dns/name.h"
#include "router/api_request.h"
#include "router/events.h"
#include "router/metrics.h"
#include "router/status.h"

#define TYPE_TEXT "text/plain; charset=utf-8"

/* --- status ------------------------------------------------------------------------------------------------------------------------------ */

static void answer_doc(struct api_request *q, enum status_part part, json_t *doc)
{
	if (q->json || doc == NULL) {
		api_answer_json(q, MHD_HTTP_OK, doc);
		return;
	}
	status_text(part, doc, &q->out);
	json_decref(doc);
	api_answer(q, MHD_HTTP_OK, TYPE_TEXT);
}

static void get_status(struct api_request *q)
{
	static const struct {
		const char *name;
		enum status_part part;
	} parts[] = { { "connections", STATUS_CONNECTIONS }, { "peers", STATUS_PEERS }, { "targets", STATUS_TARGETS },
		{ "ipam", STATUS_IPAM }, { "dns", STATUS_DNS }, { "docker", STATUS_DOCKER } };
	const struct core *core = router_core(q->router);

	if (q->n_segments == 1) {
		answer_doc(q, STATUS_ALL, status_doc(q->router, STATUS_ALL));
		return;
	}
	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
		if (strcmp(q->segments[1], parts[i].name) != 0)
			continue;
		if (parts[i].part == STATUS_IPAM && core_ipam(core) == NULL)
			api_answer_error(
				q, MHD_HTTP_NOT_FOUND, "address management is off on this host; start it without --ipalloc-range \"\"");
		else if (parts[i].part == STATUS_DNS && core_names(core) == NULL)
			api_answer_error(q, MHD_HTTP_NOT_FOUND, "names are off on this host; start it without --no-dns");
		else
			answer_doc(q, parts[i].part, status_doc(q->router, parts[i].part));
		return;
	}
	api_answer_error(q, MHD_HTTP_NOT_FOUND, "no such status; there are connections, peers, targets, ipam, dns and docker");
}

static void get_report(struct api_request *q)
{
	api_answer_json(q, MHD_HTTP_OK, status_report(q->router));
}

static void get_metrics(struct api_request *q)
{
	metrics_write(q->router, &q->out);
	api_answer(q, MHD_HTTP_OK, METRICS_CONTENT_TYPE);
}

static void get_health(struct api_request *q)
{
	bool healthy;
	json_t *doc = status_health(q->router, &healthy);

	api_answer_json(q, healthy ? MHD_HTTP_OK : MHD_HTTP_SERVICE_UNAVAILABLE, doc);
}

/* --- answers of the router ------------------------------------------------------------------------------------------------------------------ */

static void on_empty(void *ctx, const struct router_result *res)
{
	if (res->err == ERR_OK)
		api_answer_empty(ctx, MHD_HTTP_OK);
	else
		api_answer_err(ctx, res->err, res->text);
}

/* The router has done what a form asked for: {"targets": […]} */
static void on_targets(void *ctx, const struct router_result *res)
{
	struct api_request *q = ctx;
	json_t *targets = json_array();
	const char *target;

	for (size_t i = 0; res->err == ERR_OK && (target = api_param(q, "peer", i)) != NULL; i++)
		(void)json_array_append_new(targets, json_string(target));
	if (res->err == ERR_OK)
		router_event(q->router, q->segments[0], json_pack("{s:O}", "targets", targets));
	json_decref(targets);
	on_empty(ctx, res);
}

static void on_no_content(void *ctx, const struct router_result *res)
{
	if (res->err == ERR_OK)
		api_answer_empty(ctx, MHD_HTTP_NO_CONTENT);
	else
		api_answer_err(ctx, res->err, res->text);
}

static void on_address(void *ctx, const struct router_result *res)
{
	char text[PREFIX_TEXT];

	if (res->err == ERR_OK)
		api_answer_text(ctx, MHD_HTTP_OK, "%s", prefix_format(res->addr, text));
	else
		api_answer_err(ctx, res->err, res->text);
}

static void on_takeover(void *ctx, const struct router_result *res)
{
	struct api_request *q = ctx;

	if (res->err != ERR_OK)
		api_answer_err(q, res->err, res->text);
	else if (q->json)
		api_answer_json(q, MHD_HTTP_OK,
			json_pack("{s:i, s:s, s:I}", "schema", STATUS_SCHEMA, "peer", q->segments[1], "addresses", (json_int_t)res->count));
	else
		api_answer_text(q, MHD_HTTP_OK, "%" PRIu64 " IPs taken over from %s\n", res->count, q->segments[1]);
}

static void submit(struct api_request *q, struct core_event *ev, router_done done)
{
	uint64_t number = router_submit(q->router, ev, done, q);

	if (!q->answered)
		q->pending = number;
}

static void submit_ipam(struct api_request *q, struct ipam_event *ask, router_done done)
{
	struct core_event ev = { .kind = CORE_IPAM, .ipam = ask };

	submit(q, &ev, done);
}

/* --- mesh ---------------------------------------------------------------------------------------------------------------------------------- */

static void change_targets(struct api_request *q, enum core_event_kind kind)
{
	const char *replace = api_param(q, "replace", 0);
	struct core_event ev = { .kind = kind, .replace = replace != NULL && strcmp(replace, "true") == 0 };
	const char **targets = mem_zalloc(q->n_params + 1, sizeof(*targets));

	if (targets == NULL) {
		api_answer_err(q, ERR_NOMEM, NULL);
		return;
	}
	while ((targets[ev.n_targets] = api_param(q, "peer", ev.n_targets)) != NULL)
		ev.n_targets++;
	ev.targets = targets;
	if (ev.n_targets == 0 && !ev.replace)
		api_answer_error(q, MHD_HTTP_BAD_REQUEST, "no peer is named; give peer=HOST in a form, once or more");
	else
		submit(q, &ev, on_targets);
	mem_free(targets);
}

static void post_connect(struct api_request *q)
{
	change_targets(q, CORE_CONNECT);
}

static void post_forget(struct api_request *q)
{
	change_targets(q, CORE_FORGET);
}

static void delete_self(struct api_request *q)
{
	if (!api_begin_reset(q))
		api_answer_error(q, MHD_HTTP_CONFLICT, "a reset is under way already");
}

/* By nickname or by name. A name that nobody knows may still own addresses. */
static enum err find_peer(const struct core *core, const char *text, uint64_t *out, struct err_note *note)
{
	const struct gossip *g = core_gossip(core);
	char a[PEER_TEXT], b[PEER_TEXT];
	struct peer_info info;
	uint64_t name;

	*out = PEER_NONE;
	for (uint64_t at = 0; gossip_next_peer(g, &at, &name);) {
		if (!gossip_peer(g, name, &info) || strcmp(info.nickname, text) != 0)
			continue;
		if (*out != PEER_NONE)
			return err_note(note, ERR_CONFLICT, "two hosts are called '%.60s': %s and %s; give the name of the one that is meant",
				text, peer_format(*out, a), peer_format(name, b));
		*out = name;
	}
	if (*out == PEER_NONE && (peer_parse(text, out) != ERR_OK || *out == PEER_NONE))
		return err_note(note, ERR_NOT_FOUND,
			"no host is called '%.60s' (any more?); 'weft status peers' and 'weft status ipam' list names and nicknames", text);
	return ERR_OK;
}

enum { AWAITED_MAX = 64, PLAN_MAX = 256 };

static json_t *name_and_nick(const struct core *core, uint64_t peer)
{
	struct peer_info info;
	char name[PEER_TEXT];
	bool known = gossip_peer(core_gossip(core), peer, &info);

	return json_pack("{s:s, s:s}", "name", peer_format(peer, name), "nickname", known ? info.nickname : "");
}

/* GET /peer?peer=A&peer=B: what `DELETE` of all of them would take, and for whom else the space would have to wait. */
static void get_peers(struct api_request *q)
{
	const struct core *core = router_core(q->router);
	uint64_t gone[PLAN_MAX], awaited[AWAITED_MAX];
	size_t n = 0;
	const char *text;
	struct err_note note = { "" };
	enum err err = ERR_OK;
	json_t *peers = json_array(), *waits = json_array();

	if (core_ipam(core) == NULL)
		err = err_note(&note, ERR_STATE, "address management is off on this host; ask one where it is on");
	for (; err == ERR_OK && (text = api_param(q, "peer", n)) != NULL; n++) {
		if (n == PLAN_MAX) {
			err = err_note(&note, ERR_LIMIT, "at most %d peers at once", PLAN_MAX);
			break;
		}
		err = find_peer(core, text, &gone[n], &note);
		json_t *p = err == ERR_OK ? name_and_nick(core, gone[n]) : NULL;
		if (p == NULL)
			continue;
		uint64_t owned = ring_owned_by(core_channel(core, CHANNEL_RING), core_universe(core), gone[n]);
		(void)json_object_set_new(p, "addresses", json_integer((json_int_t)owned));
		(void)json_object_set_new(p, "reachable", json_boolean(gossip_reachable(core_gossip(core), gone[n])));
		(void)json_array_append_new(peers, p);
	}
	size_t more = err == ERR_OK ? ipam_awaited(core_ipam(core), gone, n, awaited, AWAITED_MAX) : 0;
	for (size_t i = 0; i < more && i < AWAITED_MAX; i++)
		(void)json_array_append_new(waits, name_and_nick(core, awaited[i]));
	if (err != ERR_OK)
		api_answer_err(q, err, note.text);
	else
		api_answer_json(
			q, MHD_HTTP_OK, json_pack("{s:i, s:O, s:O}", "schema", STATUS_SCHEMA, "peers", peers, "waits_for", waits));
	json_decref(peers);
	json_decref(waits);
}

static void delete_peer(struct api_request *q)
{
	const struct core *core = router_core(q->router);
	struct ipam_event ask = { .kind = IPAM_TAKEOVER };
	struct err_note note = { "" };
	enum err err = find_peer(core, q->segments[1], &ask.peer, &note);

	if (err == ERR_OK && core_ipam(core) == NULL)
		err = err_note(&note, ERR_STATE, "address management is off on this host; ask one where it is on");
	if (err != ERR_OK)
		api_answer_err(q, err, note.text);
	else
		submit_ipam(q, &ask, on_takeover);
}

/* --- addresses ------------------------------------------------------------------------------------------------------------------------------- */

static bool ipam_is_on(struct api_request *q)
{
	if (core_ipam(router_core(q->router)) != NULL)
		return true;
	api_answer_error(q, MHD_HTTP_NOT_FOUND, "address management is off on this host; start it without --ipalloc-range \"\"");
	return false;
}

/* /ip/ID: "_" stands for a container nobody knows; its address is then filed under the address itself. */
static const char *ident_of(struct api_request *q)
{
	const char *id = q->segments[1];

	if (strcmp(id, "_") == 0 && q->n_segments > 2)
		id = q->segments[2];
	if (id[0] != '\0' && strlen(id) <= IPAM_IDENT_MAX)
		return id;
	api_answer_error(q, MHD_HTTP_BAD_REQUEST, "a container's id has 1 to 128 bytes");
	return NULL;
}

/* /ip/ID/IP/LEN */
static bool prefix_of(struct api_request *q, struct prefix *out)
{
	char text[PREFIX_TEXT];
	int n = snprintf(text, sizeof(text), "%s/%s", q->segments[2], q->segments[3]);

	if (n > 0 && (size_t)n < sizeof(text) && prefix_parse(text, out) == ERR_OK && out->addr.family == 4)
		return true;
	api_answer_error(q, MHD_HTTP_BAD_REQUEST, "not an IPv4 address and length; they stand in the path as 10.32.0.1/12");
	return false;
}

static bool subnet_of(struct api_request *q, struct prefix *out)
{
	struct err_note note = { "" };

	if (q->n_segments < 4) {
		*out = core_cfg(router_core(q->router))->default_subnet;
		return true;
	}
	if (!prefix_of(q, out))
		return false;
	enum err err = ipam_check_subnet(*out, &note);
	if (err == ERR_OK)
		return true;
	api_answer_error(q, MHD_HTTP_BAD_REQUEST, note.text);
	return false;
}

static void get_ips(struct api_request *q)
{
	json_t *owned = json_array(), *entry = NULL;
	const char *ident, *last = NULL;
	char text[PREFIX_TEXT];
	struct prefix addr;

	if (!ipam_is_on(q)) {
		json_decref(owned);
		return;
	}
	for (size_t at = 0; ipam_next_lease(core_ipam(router_core(q->router)), &at, &ident, &addr);) {
		if (last == NULL || strcmp(last, ident) != 0) { /* leases come in order of ident */
			entry = json_pack("{s:s, s:[]}", "containerid", ident, "addrs");
			(void)json_array_append_new(owned, entry);
		}
		last = ident;
		(void)json_array_append_new(json_object_get(entry, "addrs"), json_string(prefix_format(addr, text)));
	}
	api_answer_json(q, MHD_HTTP_OK, json_pack("{s:o}", "owned", owned));
}

static void get_ip(struct api_request *q)
{
	const char *ident, *who;
	struct prefix subnet, addr;
	char text[PREFIX_TEXT];

	if (!ipam_is_on(q) || (ident = ident_of(q)) == NULL || !subnet_of(q, &subnet))
		return;
	for (size_t at = 0; ipam_next_lease(core_ipam(router_core(q->router)), &at, &who, &addr);) {
		if (strcmp(who, ident) != 0 || !prefix_contains(subnet, addr.addr))
			continue;
		(void)prefix_format(addr, text);
		wbuf_bytes(&q->out, " ", q->out.len > 0);
		wbuf_bytes(&q->out, text, strlen(text));
	}
	api_answer(q, MHD_HTTP_OK, TYPE_TEXT);
}

static void post_ip(struct api_request *q)
{
	struct ipam_event ask = { .kind = IPAM_ALLOCATE, .wait = true };

	if (!ipam_is_on(q) || (ask.ident = ident_of(q)) == NULL || !subnet_of(q, &ask.subnet))
		return;
	submit_ipam(q, &ask, on_address);
}

static void put_ip(struct api_request *q)
{
	struct ipam_event ask = { .kind = IPAM_CLAIM, .wait = true };

	if (!ipam_is_on(q) || (ask.ident = ident_of(q)) == NULL || !prefix_of(q, &ask.subnet))
		return;
	submit_ipam(q, &ask, on_no_content);
}

static void delete_ip(struct api_request *q)
{
	struct ipam_event ask = { .kind = IPAM_FREE };

	if (!ipam_is_on(q) || (ask.ident = ident_of(q)) == NULL)
		return;
	if (q->n_segments > 2 && (ip_parse(q->segments[2], &ask.addr) != ERR_OK || ask.addr.family != 4)) {
		api_answer_error(q, MHD_HTTP_BAD_REQUEST, "not an IPv4 address");
		return;
	}
	submit_ipam(q, &ask, on_no_content);
}

static void get_ring(struct api_request *q)
{
	struct ipam_event ask = { .kind = IPAM_PRIME };

	if (ipam_is_on(q))
		submit_ipam(q, &ask, on_empty);
}

static void get_default_subnet(struct api_request *q)
{
	char text[PREFIX_TEXT];

	if (ipam_is_on(q))
		api_answer_text(q, MHD_HTTP_OK, "%s", prefix_format(core_cfg(router_core(q->router))->default_subnet, text));
}

/* --- names ----------------------------------------------------------------------------------------------------------------------------------- */

static bool names_are_on(struct api_request *q)
{
	if (core_names(router_core(q->router)) != NULL)
		return true;
	api_answer_error(q, MHD_HTTP_NOT_FOUND, "names are off on this host; start it without --no-dns");
	return false;
}

static bool name_args(struct api_request *q, struct core_event *ev, struct api_idents *idents)
{
	ev->ident = q->n_segments > 1 ? q->segments[1] : "";
	ev->fqdn = api_param(q, "fqdn", 0);
	if (strlen(ev->ident) > CORE_IDENT_MAX) {
		api_answer_error(q, MHD_HTTP_BAD_REQUEST, "a container's id has at most 128 bytes");
		return false;
	}
	if (q->n_segments > 2 && ip_parse(q->segments[2], &ev->addr) != ERR_OK) {
		api_answer_error(q, MHD_HTTP_BAD_REQUEST, "not an address; it stands in the path as /name/ID/10.32.0.1");
		return false;
	}
	if (ev->ident[0] != '\0')
		ev->ident = api_ident_with(q->router, ev->ident, ev->addr, idents);
	return true;
}

static void put_name(struct api_request *q)
{
	struct core_event ev = { .kind = CORE_NAME_PUT };
	struct api_idents idents;

	if (!names_are_on(q) || !name_args(q, &ev, &idents))
		return;
	if (ev.fqdn == NULL || ev.fqdn[0] == '\0')
		api_answer_error(q, MHD_HTTP_BAD_REQUEST, "the name is missing; give it as ?fqdn=NAME");
	else
		submit(q, &ev, on_no_content);
}

static void delete_name(struct api_request *q)
{
	struct core_event ev = { .kind = CORE_NAME_DELETE };
	struct api_idents idents;

	if (names_are_on(q) && name_args(q, &ev, &idents))
		submit(q, &ev, on_no_content);
}

/* Weave Net's keys, in a bare list. */
static void get_names(struct api_request *q)
{
	json_t *doc, *list, *e;
	size_t i;

	if (!names_are_on(q))
		return;
	doc = status_doc(q->router, STATUS_DNS);
	list = json_array();
	json_array_foreach(json_object_get(doc, "entries"), i, e)
	{
		json_t *o = json_object();
		(void)json_object_set(o, "ContainerID", json_object_get(e, "container"));
		(void)json_object_set(o, "Origin", json_object_get(e, "origin"));
		(void)json_object_set(o, "Addr", json_object_get(e, "address"));
		(void)json_object_set(o, "Hostname", json_object_get(e, "hostname"));
		(void)json_object_set_new(o, "Tombstone", json_false());
		(void)json_array_append_new(list, o);
	}
	json_decref(doc);
	api_answer_json(q, MHD_HTTP_OK, list);
}

static void get_domain(struct api_request *q)
{
	if (names_are_on(q))
		api_answer_text(q, MHD_HTTP_OK, "%s", router_options(q->router)->dns_domain);
}

static void get_dns_address(struct api_request *q)
{
	bool with_port = strcmp(q->segments[0], "dns-address-port") == 0;
	char text[HOSTPORT_TEXT];
	struct hostport at;

	if (!names_are_on(q))
		return;
	if (!router_dns_address(q->router, &at))
		api_answer_error(q, MHD_HTTP_NOT_FOUND, "names are off on this host; start it without --no-dns");
	else
		api_answer_text(q, MHD_HTTP_OK, "%s", with_port ? hostport_format(at, text) : ip_format(at.ip, text));
}

/* --- containers ------------------------------------------------------------------------------------------------------------------------------ */

static json_t *container_called(const json_t *list, const char *want)
{
	json_t *c;
	size_t i;

	json_array_foreach(list, i, c)
	{
		const char *id = json_string_value(json_object_get(c, "id"));
		if (id != NULL && strcmp(id, want) == 0)
			return c;
	}
	return NULL;
}

static void get_ps(struct api_request *q)
{
	json_t *doc = status_doc(q->router, STATUS_PS), *chosen = json_array();
	const char *want;

	for (size_t i = 0; (want = api_param(q, "container", i)) != NULL; i++) {
		struct api_idents idents;
		api_idents(q->router, want, &idents);
		for (size_t j = 0; j < idents.n; j++)
			(void)json_array_append(chosen, container_called(json_object_get(doc, "containers"), idents.v[j]));
		if (idents.n == 0) {
			struct err_note note = { "" };
			enum err err = err_note(&note, ERR_NOT_FOUND, "%.128s is not attached; 'weft ps' lists what is", want);
			json_decref(chosen);
			json_decref(doc);
			api_answer_err(q, err, note.text);
			return;
		}
	}
	if (json_array_size(chosen) > 0) {
		(void)json_object_set(doc, "containers", chosen);
		(void)json_object_del(doc, "host");
	}
	json_decref(chosen);
	answer_doc(q, STATUS_PS, doc);
}

/* --- streams ------------------------------------------------------------------------------------------------------------------------------- */

static void get_events(struct api_request *q)
{
	unsigned long recent = 0;

	if (api_asked_by_address(q) && api_number(q, "recent", 0, EVENTS_KEPT, &recent))
		events_follow(api_shared(q->api)->events, q, recent);
}

/* --- the table ------------------------------------------------------------------------------------------------------------------------------ */

static const struct route {
	const char *method, *path; /* "*" in a path: any one part */
	void (*answer)(struct api_request *q);
	bool on_status_addr;
} routes[] = {
	{ "GET", "/status", get_status, true },
	{ "GET", "/status/*", get_status, true },
	{ "GET", "/report", get_report, true },
	{ "GET", "/metrics", get_metrics, true },
	{ "GET", "/health", get_health, true },
	{ "POST", "/connect", post_connect, false },
	{ "POST", "/forget", post_forget, false },
	{ "GET", "/peer", get_peers, false },
	{ "DELETE", "/peer", delete_self, false },
	{ "DELETE", "/peer/*", delete_peer, false },
	{ "GET", "/ip", get_ips, false },
	{ "GET", "/ip/*", get_ip, false },
	{ "GET", "/ip/*/*/*", get_ip, false },
	{ "POST", "/ip/*", post_ip, false },
	{ "POST", "/ip/*/*/*", post_ip, false },
	{ "PUT", "/ip/*/*/*", put_ip, false },
	{ "DELETE", "/ip/*", delete_ip, false },
	{ "DELETE", "/ip/*/*", delete_ip, false },
	{ "GET", "/ring", get_ring, false },
	{ "GET", "/ipinfo/defaultsubnet", get_default_subnet, false },
	{ "GET", "/name", get_names, false },
	{ "PUT", "/name/*/*", put_name, false },
	{ "DELETE", "/name", delete_name, false },
	{ "DELETE", "/name/*", delete_name, false },
	{ "DELETE", "/name/*/*", delete_name, false },
	{ "GET", "/domain", get_domain, false },
	{ "GET", "/dns-address", get_dns_address, false },
	{ "GET", "/dns-address-port", get_dns_address, false },
	{ "GET", "/ps", get_ps, false },
	{ "GET", "/verify", api_get_verify, false },
	{ "GET", "/capture", api_get_capture, false },
	{ "GET", "/events", get_events, false },
	{ "GET", "/expose", api_get_expose, false },
	{ "POST", "/expose", api_post_expose, false },
	{ "POST", "/expose/*/*", api_post_expose, false },
	{ "DELETE", "/expose", api_delete_expose, false },
	{ "DELETE", "/expose/*/*", api_delete_expose, false },
	{ "GET", "/network", api_get_networks, false },
	{ "POST", "/network", api_post_network, false },
	{ "DELETE", "/network/*", api_delete_network, false },
	{ "POST", "/attach", api_post_attach, false },
	{ "POST", "/detach", api_post_detach, false },
};

static bool matches(const struct api_request *q, const char *path)
{
	size_t i = 0;

	for (const char *p = path + 1;; p++, i++) {
		size_t n = strcspn(p, "/");
		if (i == q->n_segments)
			return false;
		bool any = n == 1 && p[0] == '*';
		if (!any && (strlen(q->segments[i]) != n || memcmp(q->segments[i], p, n) != 0))
			return false;
		p += n;
		if (*p == '\0')
			return i + 1 == q->n_segments;
	}
}

/* HEAD is GET whose body the server keeps back. */
void api_route(struct api_request *q, const char *method, bool status_only)
{
	const char *as = strcmp(method, "HEAD") == 0 ? "GET" : method;

	for (size_t i = 0; i < sizeof(routes) / sizeof(routes[0]); i++) {
		if ((status_only && !routes[i].on_status_addr) || !matches(q, routes[i].path))
			continue;
		if (strcmp(routes[i].method, as) == 0) {
			q->allow[0] = '\0';
			routes[i].answer(q);
			return;
		}
		size_t n = strlen(q->allow);
		(void)snprintf(q->allow + n, sizeof(q->allow) - n, "%s%s", n > 0 ? ", " : "", routes[i].method);
	}
	if (q->allow[0] != '\0') {
		char line[128];
		(void)snprintf(line, sizeof(line), "another method is needed here; this path knows %s", q->allow);
		api_answer_error(q, MHD_HTTP_METHOD_NOT_ALLOWED, line);
	} else {
		api_answer_error(q, MHD_HTTP_NOT_FOUND, "no such path; weftd(8) lists what there is");
	}
}
