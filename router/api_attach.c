/* Attaching and detaching containers by the API. */
#include <string.h>

#include "router/api_request.h"
#include "router/container.h"
#include "router/events.h"
#include "router/status.h"

enum { ATTACH_ADDRS_MAX = 64 };
#define TYPE_TEXT "text/plain; charset=utf-8"

/* --- answers ------------------------------------------------------------------------------------------------------------------------------ */

static json_t *addresses_of(const struct router_result *res)
{
	char text[PREFIX_TEXT];
	json_t *list = json_array();

	for (size_t i = 0; i < res->n_addrs; i++)
		(void)json_array_append_new(list, json_string(prefix_format(res->addrs[i], text)));
	return list;
}

/* {"container": …, "addresses": […]}: what it has now, or what it had. */
static void tell_of_container(struct api_request *q, const struct router_result *res)
{
	struct slice body = wbuf_slice(&q->body);
	json_t *doc = json_loadb((const char *)body.p, body.n, JSON_REJECT_DUPLICATES, NULL);
	json_t *container = json_object_get(doc, "container");

	router_event(q->router, q->segments[0],
		json_pack("{s:O?, s:o}", "container", container != NULL ? container : json_object_get(doc, "id"), "addresses",
			addresses_of(res)));
	json_decref(doc);
}

static void on_done(void *ctx, const struct router_result *res)
{
	struct api_request *q = ctx;
	char text[PREFIX_TEXT];

	if (res->err != ERR_OK) {
		api_answer_err(q, res->err, res->text);
		return;
	}
	tell_of_container(q, res);
	if (q->json) {
		json_t *doc = json_pack("{s:i, s:o}", "schema", STATUS_SCHEMA, "addresses", addresses_of(res));
		if (doc != NULL && res->ifname != NULL)
			(void)json_object_update_new(doc,
				json_pack("{s:s, s:s, s:s, s:i}", "mac", mac_format(res->mac, text), "ifname", res->ifname, "host_ifname",
					res->port, "mtu", (int)res->mtu));
		api_answer_json(q, MHD_HTTP_OK, doc);
		return;
	}
	for (size_t i = 0; i < res->n_addrs; i++) {
		(void)ip_format(res->addrs[i].addr, text);
		wbuf_bytes(&q->out, " ", i > 0);
		wbuf_bytes(&q->out, text, strlen(text));
	}
	wbuf_u8(&q->out, '\n');
	api_answer(q, MHD_HTTP_OK, TYPE_TEXT);
}

/* --- what is asked ------------------------------------------------------------------------------------------------------------------------- */

struct asked {
	struct attach_request req;
	const char *addrs[ATTACH_ADDRS_MAX]; /* strings of the document */
	struct container_route routes[CONTAINER_ROUTES_MAX];
};

static enum err take_addresses(struct asked *a, const json_t *list, struct err_note *note)
{
	json_t *v;
	size_t i;

	if (json_array_size(list) > ATTACH_ADDRS_MAX)
		return err_note(note, ERR_LIMIT, "at most %d addresses", ATTACH_ADDRS_MAX);
	json_array_foreach(list, i, v)
	{
		if (!json_is_string(v))
			return err_note(note, ERR_MALFORMED, "addresses are strings");
		a->addrs[a->req.n_addrs++] = json_string_value(v);
	}
	return ERR_OK;
}

/* {"dst": "10.0.0.0/8", "gw": "10.32.0.1"}; without gw: on the link */
static enum err take_route(struct container_route *out, json_t *v, struct err_note *note)
{
	const char *dst = NULL, *gw = NULL;

	if (json_unpack(v, "{s:s, s?s!}", "dst", &dst, "gw", &gw) != 0 || prefix_parse(dst, &out->dst) != ERR_OK)
		return err_note(note, ERR_MALFORMED, "a route is {\"dst\": \"10.0.0.0/8\", \"gw\": \"10.32.0.1\"}, gw may be left out");
	out->dst = prefix_network(out->dst);
	if (gw == NULL)
		return ERR_OK;
	if (ip_parse(gw, &out->gw) != ERR_OK || out->gw.family != out->dst.addr.family)
		return err_note(note, ERR_MALFORMED, "'%.45s' is no gateway for a route to %.50s", gw, dst);
	return ERR_OK;
}

static enum err take_routes(struct asked *a, const json_t *list, struct err_note *note)
{
	enum err err = ERR_OK;
	json_t *v;
	size_t i;

	if (json_array_size(list) > CONTAINER_ROUTES_MAX)
		return err_note(note, ERR_LIMIT, "at most %u routes", CONTAINER_ROUTES_MAX);
	json_array_foreach(list, i, v)
	{
		if (err == ERR_OK)
			err = take_route(&a->routes[a->req.n_routes++], v, note);
	}
	return err;
}

static const char **text_of(struct attach_request *req, const char *key)
{
	const struct {
		const char *key;
		const char **at;
	} texts[] = { { "container", &req->container }, { "id", &req->id }, { "ifname", &req->ifname }, { "mac", &req->mac },
		{ "network", &req->network } };

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		if (strcmp(texts[i].key, key) == 0)
			return texts[i].at;
	return NULL;
}

static bool *switch_of(struct attach_request *req, const char *key)
{
	const struct {
		const char *key;
		bool *at;
	} switches[] = { { "hairpin", &req->hairpin }, { "multicast_route", &req->multicast_route }, { "with_dns", &req->with_dns } };

	for (size_t i = 0; i < sizeof(switches) / sizeof(switches[0]); i++)
		if (strcmp(switches[i].key, key) == 0)
			return switches[i].at;
	return NULL;
}

static enum err take(struct asked *a, const char *key, const json_t *v, struct err_note *note)
{
	const char **text = text_of(&a->req, key);
	bool *on = switch_of(&a->req, key);

	if (text != NULL && json_is_string(v))
		*text = json_string_value(v);
	else if (on != NULL && json_is_boolean(v))
		*on = json_is_true(v);
	else if (strcmp(key, "addresses") == 0 && json_is_array(v))
		return take_addresses(a, v, note);
	else if (strcmp(key, "routes") == 0 && json_is_array(v))
		return take_routes(a, v, note);
	else
		return err_note(note, ERR_MALFORMED, "'%.40s' is no field of this request, or of another type; weftd(8) lists them", key);
	return ERR_OK;
}

/* {"container": "pid:7", "id": "…", "ifname": "ethwe", "addresses": ["net:default"], "network": "…", "mac": "…",
 *  "routes": [{"dst": "0.0.0.0/0", "gw": "10.32.0.1"}], "hairpin": false, "multicast_route": true, "with_dns": true}
 * Only the first is needed, and of a container that is detached whole its id alone will do. Strings point into doc. */
static enum err read_body(struct asked *a, json_t *doc, bool attach, struct err_note *note)
{
	enum err err = ERR_OK;
	const char *key;
	json_t *v;

	a->req = (struct attach_request){ .addrs = a->addrs, .routes = a->routes, .multicast_route = true, .with_dns = true };
	if (!json_is_object(doc))
		return err_note(note, ERR_MALFORMED, "the body is no JSON object; weftd(8) says what it holds");
	json_object_foreach(doc, key, v)
	{
		if (err == ERR_OK)
			err = take(a, key, v, note);
	}
	if (err != ERR_OK)
		return err;
	if (a->req.container != NULL ? a->req.container[0] == '\0' : attach || a->req.id == NULL)
		return err_note(note, ERR_MALFORMED, "the container is missing; give it as {\"container\": \"pid:N\"}");
	return ERR_OK;
}

static void with_container(struct api_request *q, bool attach)
{
	struct asked a = { 0 };
	struct err_note note = { "" };
	struct slice body = wbuf_slice(&q->body);
	json_t *doc = json_loadb((const char *)body.p, body.n, JSON_REJECT_DUPLICATES, NULL);
	enum err err = read_body(&a, doc, attach, &note);

	if (err != ERR_OK) {
		api_answer_err(q, err, note.text);
	} else {
		if (router_options(q->router)->no_multicast_route)
			a.req.multicast_route = false;
		uint64_t number = attach ? router_attach(q->router, &a.req, on_done, q) : router_detach(q->router, &a.req, on_done, q);
		if (!q->answered)
			q->pending = number;
	}
	json_decref(doc);
}

void api_post_attach(struct api_request *q)
{
	with_container(q, true);
}

void api_post_detach(struct api_request *q)
{
	with_container(q, false);
}
