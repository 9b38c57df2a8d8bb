/* Exposing the host by the API: POST and DELETE /expose, with the addresses as parameters, or one in the path as Weave Net has it. */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "router/api_request.h"
#include "router/events.h"
#include "router/expose.h"
#include "router/status.h"

#define TYPE_TEXT "text/plain; charset=utf-8"

static json_t *warnings(const struct router *r)
{
	json_t *list = json_array();
	const char *text;

	for (size_t it = 0; (text = expose_next_warning(r, &it)) != NULL;)
		(void)json_array_append_new(list, json_string(text));
	return list;
}

static json_t *addresses_of(const struct router_result *res)
{
	char text[PREFIX_TEXT];
	json_t *list = json_array();

	for (size_t i = 0; i < res->n_addrs; i++)
		(void)json_array_append_new(list, json_string(prefix_format(res->addrs[i], text)));
	return list;
}

static void answer(struct api_request *q, const struct router_result *res, bool hide)
{
	const char *network = api_param(q, "network", 0);
	char text[PREFIX_TEXT];

	if (res->err != ERR_OK) {
		api_answer_err(q, res->err, res->text);
		return;
	}
	router_event(q->router, hide ? "hide" : "expose",
		json_pack("{s:s, s:o}", "network", network != NULL ? network : CORE_NETWORK_DEFAULT, "addresses", addresses_of(res)));
	if (q->json) {
		api_answer_json(q, MHD_HTTP_OK,
			json_pack("{s:i, s:o, s:o}", "schema", STATUS_SCHEMA, "addresses", addresses_of(res), "warnings",
				hide ? json_array() : warnings(q->router)));
		return;
	}
	for (size_t i = 0; i < res->n_addrs; i++) {
		(void)ip_format(res->addrs[i].addr, text);
		wbuf_bytes(&q->out, " ", i > 0);
		wbuf_bytes(&q->out, text, strlen(text));
	}
	if (res->n_addrs > 0)
		wbuf_u8(&q->out, '\n');
	api_answer(q, MHD_HTTP_OK, TYPE_TEXT);
}

static void on_exposed(void *ctx, const struct router_result *res)
{
	answer(ctx, res, false);
}

static void on_hidden(void *ctx, const struct router_result *res)
{
	answer(ctx, res, true);
}

static bool is_true(const struct api_request *q, const char *key)
{
	const char *value = api_param(q, key, 0);

	return value != NULL && strcmp(value, "true") == 0;
}

static void with_host(struct api_request *q, bool expose)
{
	const char *addrs[CORE_ADDRS_MAX + 1], *a; /* one more than there may be: that is refused further on */
	char path[PREFIX_TEXT + 1];
	struct expose_request req = { .addrs = addrs,
		.network = api_param(q, "network", 0),
		.fqdn = api_param(q, "fqdn", 0),
		.masquerade = !is_true(q, "skipNAT") };

	if (q->n_segments == 3) {
		(void)snprintf(path, sizeof(path), "%.40s/%.4s", q->segments[1], q->segments[2]);
		addrs[req.n_addrs++] = path;
	}
	for (size_t i = 0; req.n_addrs <= CORE_ADDRS_MAX && (a = api_param(q, "address", i)) != NULL; i++)
		addrs[req.n_addrs++] = a;
	uint64_t number = expose ? router_expose(q->router, &req, on_exposed, q) : router_hide(q->router, &req, on_hidden, q);
	if (!q->answered)
		q->pending = number;
}

void api_post_expose(struct api_request *q)
{
	with_host(q, true);
}

void api_delete_expose(struct api_request *q)
{
	with_host(q, false);
}

void api_get_expose(struct api_request *q)
{
	json_t *list = json_array();
	struct plane_exposed e;
	char text[PREFIX_TEXT];

	for (size_t it = 0; router_next_exposed(q->router, &it, &e);) {
		(void)json_array_append_new(list,
			json_pack(
				"{s:s, s:s, s:b}", "address", prefix_format(e.addr, text), "network", e.network, "masquerade", e.masquerade));
		wbuf_bytes(&q->out, text, strlen(text));
		if (strcmp(e.network, CORE_NETWORK_DEFAULT) != 0) {
			wbuf_bytes(&q->out, " network=", 9);
			wbuf_bytes(&q->out, e.network, strlen(e.network));
		}
		wbuf_bytes(&q->out, e.masquerade ? "\n" : " without-masquerade\n", e.masquerade ? 1 : 20);
	}
	if (!q->json) {
		json_decref(list);
		api_answer(q, MHD_HTTP_OK, TYPE_TEXT);
		return;
	}
	wbuf_reset(&q->out);
	api_answer_json(
		q, MHD_HTTP_OK, json_pack("{s:i, s:o, s:o}", "schema", STATUS_SCHEMA, "exposed", list, "warnings", warnings(q->router)));
}
