/* Attaching and detaching containers by the API. */
#include <string.h>

#include "router/api_request.h"
#include "router/attach_request.h"
#include "router/events.h"
#include "router/status.h"

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

/* --- requests ------------------------------------------------------------------------------------------------------------------------------ */

static void with_container(struct api_request *q, bool attach)
{
	struct attach_asked a;
	struct err_note note = { "" };
	struct slice body = wbuf_slice(&q->body);
	json_t *doc = json_loadb((const char *)body.p, body.n, JSON_REJECT_DUPLICATES, NULL);
	enum err err = attach_request_read(&a, doc, attach, &note);

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
