/* All containers that run, and their places on networks, in one question: for comparing with what weft has. */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "router/docker/inspect.h"

static enum err add(struct docker_listed **v, size_t *n, size_t *cap, const char *id, const char *name, const char *endpoint)
{
	if (*n == DOCKER_LISTED_MAX)
		return ERR_LIMIT;
	if (!mem_grow((void **)v, cap, *n + 1, sizeof(**v)))
		return ERR_NOMEM;
	struct docker_listed *l = &(*v)[(*n)++];
	(void)snprintf(l->id, sizeof(l->id), "%s", id);
	(void)snprintf(l->name, sizeof(l->name), "%s", docker_name_ok(name) ? name : "");
	(void)snprintf(l->endpoint, sizeof(l->endpoint), "%s", docker_id_ok(endpoint) ? endpoint : "");
	return ERR_OK;
}

static const char *text_or_none(const json_t *v)
{
	const char *s = json_string_value(v);

	return s != NULL ? s : "";
}

enum err docker_parse_endpoints(struct slice text, struct docker_listed **out, size_t *n, struct err_note *note)
{
	json_t *doc = json_loadb((const char *)text.p, text.n, 0, NULL), *networks, *v;
	const json_t *c;
	const char *key;
	size_t i, cap = 0;
	enum err err = json_is_array(doc) ? ERR_OK : ERR_MALFORMED;

	*out = NULL;
	*n = 0;
	json_array_foreach(doc, i, c)
	{
		const char *id = text_or_none(json_object_get(c, "Id")),
				   *name = text_or_none(json_array_get(json_object_get(c, "Names"), 0));
		if (err != ERR_OK || !docker_id_ok(id))
			continue;
		name += name[0] == '/';
		err = add(out, n, &cap, id, name, "");
		networks = json_object_get(json_object_get(c, "NetworkSettings"), "Networks");
		json_object_foreach(networks, key, v)
		{
			if (err == ERR_OK)
				err = add(out, n, &cap, id, name, text_or_none(json_object_get(v, "EndpointID")));
		}
	}
	json_decref(doc);
	if (err == ERR_OK)
		return ERR_OK;
	mem_free(*out);
	*out = NULL;
	*n = 0;
	return err_note(
		note, err, err == ERR_LIMIT ? "Docker has too many containers" : "Docker's list of containers cannot be read");
}
