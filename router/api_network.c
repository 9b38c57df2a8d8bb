/* Isolated networks by the API: what there is, making one, removing one. */
#include <string.h>

#include "router/api_request.h"
#include "router/status.h"

#define TYPE_TEXT "text/plain; charset=utf-8"

void api_get_networks(struct api_request *q)
{
	json_t *doc = status_doc(q->router, STATUS_NETWORKS);

	if (q->json || doc == NULL) {
		api_answer_json(q, MHD_HTTP_OK, doc);
		return;
	}
	status_text(STATUS_NETWORKS, doc, &q->out);
	json_decref(doc);
	api_answer(q, MHD_HTTP_OK, TYPE_TEXT);
}

static void on_done(void *ctx, const struct router_result *res)
{
	struct api_request *q = ctx;

	if (res->err != ERR_OK)
		api_answer_err(q, res->err, res->text);
	else if (q->json)
		api_answer_json(q, MHD_HTTP_OK, json_pack("{s:i}", "schema", STATUS_SCHEMA));
	else
		api_answer_empty(q, MHD_HTTP_NO_CONTENT);
}

static void submit(struct api_request *q, enum core_event_kind kind, const struct core_network *network)
{
	struct core_event ev = { .kind = kind, .network = network };
	uint64_t number = router_submit(q->router, &ev, on_done, q);

	if (!q->answered)
		q->pending = number;
}

/* The name, as given, unless it is longer than any can be. */
static bool take_name(struct api_request *q, const char *name, struct core_network *out)
{
	if (strlen(name) <= CORE_NETWORK_MAX) {
		memcpy(out->name, name, strlen(name) + 1);
		return true;
	}
	api_answer_error(q, MHD_HTTP_BAD_REQUEST, "a network's name has at most 64 characters");
	return false;
}

/* What is missing or empty is not given. */
static enum err take_subnet(const struct api_request *q, const char *key, struct prefix *out, struct err_note *note)
{
	const char *value = api_param(q, key, 0);

	if (value == NULL || value[0] == '\0')
		return ERR_OK;
	if (prefix_parse(value, out) != ERR_OK)
		return err_note(note, ERR_MALFORMED, "%s '%.60s' is no subnet; give one like %s", key, value,
			strcmp(key, "subnet6") == 0 ? "fd00:1::/64" : "10.40.0.0/16");
	return ERR_OK;
}

void api_post_network(struct api_request *q)
{
	const struct prefix *range6 = &router_options(q->router)->range6;
	const char *name = api_param(q, "name", 0);
	struct core_network want = { .number = 0 };
	struct err_note note = { "" };
	char a[PREFIX_TEXT], b[PREFIX_TEXT];

	if (name == NULL) {
		api_answer_error(q, MHD_HTTP_BAD_REQUEST, "the name is missing; give name=NAME in a form");
		return;
	}
	if (!take_name(q, name, &want))
		return;
	enum err err = take_subnet(q, "subnet", &want.subnet, &note);
	if (err == ERR_OK)
		err = take_subnet(q, "subnet6", &want.subnet6, &note);
	if (err == ERR_OK && range6->addr.family != 0 && want.subnet6.addr.family == 6 &&
		(!prefix_contains(*range6, want.subnet6.addr) || want.subnet6.len < range6->len))
		err = err_note(&note, ERR_RANGE, "the subnet %s does not lie in the range %s", prefix_format(want.subnet6, a),
			prefix_format(*range6, b));
	if (err != ERR_OK)
		api_answer_err(q, err, note.text);
	else
		submit(q, CORE_NETWORK_CREATE, &want);
}

void api_delete_network(struct api_request *q)
{
	struct core_network which = { .number = 0 };

	if (take_name(q, q->segments[1], &which))
		submit(q, CORE_NETWORK_REMOVE, &which);
}
