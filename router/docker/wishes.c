/* Containers that were attached by their Docker name or id, and are to be attached again whenever they run.
 *
 * A wish is the request as it was made, with the addresses and the MAC that came of it (wish/ID on disk). When its container runs and is not
 * attached, or runs as another process than the one that was, the request is made again with those addresses; a container that was away for
 * longer than they were kept for it, so that another has got one of them, is given what the first request would give it now. */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "router/attach_request.h"
#include "router/docker/keeper.h"

#define WISH_KEY "wish/"
enum { SAY_MS = 10 * 60 * 1000 };

struct wish {
	struct docker_keeper *k;
	char id[DOCKER_ID_MAX + 1];
	json_t *doc; /* {"request": {…}, "addresses": […], "mac": "…"} */
	pid_t pid;   /* the process it was attached to in this run of the daemon; 0: not yet */
	pid_t trying;
	uint64_t request; /* under way */
	bool anew;        /* with addresses it has not had before */
	uint64_t said_ms; /* 0: not yet; one that starts over and over is spoken of once in SAY_MS */
};

static struct wish *find(const struct docker_keeper *k, const char *id)
{
	return map_get(k->wishes, slice_str(id));
}

static void free_wish(struct wish *w)
{
	json_decref(w->doc);
	mem_free(w);
}

static struct wish *make(struct docker_keeper *k, const char *id)
{
	struct wish *w = mem_zalloc(1, sizeof(*w));

	if (w == NULL)
		return NULL;
	w->k = k;
	(void)snprintf(w->id, sizeof(w->id), "%s", id);
	if (map_put(k->wishes, slice_str(id), w, NULL) == ERR_OK)
		return w;
	mem_free(w);
	return NULL;
}

/* --- on disk ----------------------------------------------------------------------------------------------------------------------------- */

static enum err load_one(void *ctx, struct slice key, struct slice value)
{
	struct docker_keeper *k = ctx;
	char id[DOCKER_ID_MAX + 1];
	size_t before = strlen(WISH_KEY);

	if (key.n <= before || key.n - before > DOCKER_ID_MAX)
		return ERR_OK;
	memcpy(id, key.p + before, key.n - before);
	id[key.n - before] = '\0';
	json_t *doc = json_loadb((const char *)value.p, value.n, 0, NULL);
	if (!json_is_object(json_object_get(doc, "request"))) {
		log_write(k->log, LOG_LEVEL_WARNING,
			"the record of how %.12s was attached cannot be read: it is not attached again by itself", id);
		json_decref(doc);
		return ERR_OK;
	}
	struct wish *w = make(k, id);
	if (w == NULL) {
		json_decref(doc);
		return ERR_NOMEM;
	}
	w->doc = doc;
	return ERR_OK;
}

enum err wishes_load(struct docker_keeper *k, struct err_note *note)
{
	return router_kept(k->r, WISH_KEY, load_one, k, note);
}

void wishes_free_all(struct docker_keeper *k)
{
	struct slice key;
	void *value;

	for (size_t at = 0; k->wishes != NULL && map_next(k->wishes, &at, &key, &value);)
		free_wish(value);
	map_free(k->wishes);
	k->wishes = NULL;
}

static void keep(struct docker_keeper *k, const char *id, const json_t *doc)
{
	char key[sizeof(WISH_KEY) + DOCKER_ID_MAX];
	char *text = doc != NULL ? json_dumps(doc, JSON_COMPACT) : NULL;

	(void)snprintf(key, sizeof(key), "%s%s", WISH_KEY, id);
	if (doc != NULL && text == NULL)
		log_write(k->log, LOG_LEVEL_WARNING, "out of memory: container %.12s will not be attached again by itself", id);
	else
		(void)router_keep(k->r, key, text != NULL ? slice_str(text) : slice_of(NULL, 0), NULL, NULL);
	free(text);
}

static void drop(struct docker_keeper *k, struct wish *w)
{
	char id[DOCKER_ID_MAX + 1];

	memcpy(id, w->id, sizeof(id));
	router_cancel(k->r, w->request);
	(void)map_del(k->wishes, slice_str(id));
	free_wish(w);
	keep(k, id, NULL);
}

/* --- making and ending ---------------------------------------------------------------------------------------------------------------------- */

static json_t *addresses_of(const struct core_endpoint *e)
{
	char text[PREFIX_TEXT];
	json_t *list = json_array();

	for (size_t i = 0; i < e->n_addrs; i++)
		(void)json_array_append_new(list, json_string(prefix_format(e->addrs[i], text)));
	return list;
}

/* Its addresses and MAC as the core knows them now. */
static bool note_state(struct wish *w)
{
	const struct core_endpoint *e = core_local(router_core(w->k->r), w->id);
	char mac[MAC_TEXT];

	return e != NULL && json_object_set_new(w->doc, "addresses", addresses_of(e)) == 0 &&
		json_object_set_new(w->doc, "mac", json_string(mac_format(e->mac, mac))) == 0 &&
		json_object_set_new(w->doc, "network", json_string(e->network)) == 0;
}

void docker_keeper_wish(struct docker_keeper *k, const char *id, pid_t pid, const json_t *request)
{
	struct wish *w = find(k, id);
	struct seen *s = map_get(k->seen, slice_str(id));

	if (w == NULL)
		w = make(k, id);
	json_t *doc = w != NULL ? json_pack("{s:i, s:o}", "schema", 1, "request", json_deep_copy(request)) : NULL;
	if (doc == NULL) {
		if (w != NULL && w->doc == NULL) {
			(void)map_del(k->wishes, slice_str(id));
			free_wish(w);
		}
		log_write(k->log, LOG_LEVEL_WARNING, "out of memory: container %.12s will not be attached again by itself", id);
		return;
	}
	json_decref(w->doc);
	w->doc = doc;
	w->pid = pid;
	if (!note_state(w)) {
		drop(k, w); /* it has gone again meanwhile */
		return;
	}
	keep(k, id, w->doc);
	if (s == NULL || !s->known)
		return;
	names_of_container(k, s); /* --without-dns is known only now */
	wishes_fulfil(k, s);      /* it may have been started anew while an address was waited for */
}

void docker_keeper_unwish(struct docker_keeper *k, const char *id)
{
	struct wish *w = find(k, id);

	if (w == NULL)
		return;
	if (note_state(w))
		keep(k, id, w->doc);
	else
		drop(k, w);
}

bool docker_keeper_forget(struct docker_keeper *k, const char *id)
{
	struct wish *w = find(k, id);

	if (w == NULL)
		return false;
	drop(k, w);
	return true;
}

bool wishes_without_dns(const struct docker_keeper *k, const char *id)
{
	const struct wish *w = find(k, id);

	return w != NULL && json_is_false(json_object_get(json_object_get(w->doc, "request"), "with_dns"));
}

void wishes_stopped(struct docker_keeper *k, const char *id)
{
	struct wish *w = find(k, id);

	if (w == NULL)
		return;
	router_cancel(k->r, w->request);
	w->request = 0;
	w->pid = w->trying = 0;
}

void wishes_destroyed(struct docker_keeper *k, const char *id)
{
	struct wish *w = find(k, id);

	if (w != NULL)
		drop(k, w);
}

void wishes_drop_missing(struct docker_keeper *k)
{
	struct slice key;
	void *value;

	for (size_t at = 0; map_next(k->wishes, &at, &key, &value);) {
		struct wish *w = value;
		const struct seen *s = map_get(k->seen, key);
		bool newer = s != NULL && s->generation == k->generation; /* than the list: it was started meanwhile */
		if (map_get(k->there, key) == NULL && !newer)
			drop(k, w); /* iterating goes on: only this one is deleted */
	}
}

/* --- fulfilling ------------------------------------------------------------------------------------------------------------------------------- */

static void try(struct wish *w);

static bool may_say(struct wish *w)
{
	uint64_t now = router_now_ms(w->k->r);

	if (w->said_ms != 0 && now - w->said_ms < SAY_MS)
		return false;
	w->said_ms = now;
	return true;
}

static void say_failed(struct wish *w, const char *why)
{
	if (may_say(w))
		log_write(w->k->log, LOG_LEVEL_WARNING, "container %.12s runs again, but cannot be attached as before: %s", w->id, why);
}

static void on_attached(void *ctx, const struct router_result *res)
{
	struct wish *w = ctx;
	struct docker_keeper *k = w->k;

	w->request = 0;
	if (res->err == ERR_CLOSED)
		return;
	if (res->err == ERR_OK) {
		w->pid = w->trying;
		if (may_say(w))
			log_write(k->log, LOG_LEVEL_INFO, "container %.12s runs again: it is attached as before%s", w->id,
				w->anew ? ", but for its addresses, which others have got meanwhile" : "");
		if (note_state(w))
			keep(k, w->id, w->doc);
	} else if (!w->anew && (res->err == ERR_BUSY || res->err == ERR_RANGE)) {
		w->anew = true; /* its addresses were not kept that long, or are of another range */
		try(w);
	} else {
		say_failed(w, res->text);
	}
}

/* The request, with what the container had in place of what was asked for. */
static json_t *request_of(const struct wish *w)
{
	json_t *req = json_deep_copy(json_object_get(w->doc, "request")), *addrs = json_array(), *v;
	char text[sizeof("ip:") + PREFIX_TEXT], pid[32];
	size_t i;

	(void)snprintf(pid, sizeof(pid), "pid:%d", (int)w->trying);
	json_array_foreach(json_object_get(w->doc, "addresses"), i, v)
	{
		(void)snprintf(text, sizeof(text), "ip:%s", json_string_value(v) != NULL ? json_string_value(v) : "");
		(void)json_array_append_new(addrs, json_string(text));
	}
	bool ok = req != NULL && json_object_set_new(req, "container", json_string(pid)) == 0 &&
		json_object_set_new(req, "id", json_string(w->id)) == 0;
	if (ok && !w->anew)
		ok = json_object_set(req, "addresses", addrs) == 0;
	if (ok && json_is_string(json_object_get(w->doc, "mac")))
		ok = json_object_set(req, "mac", json_object_get(w->doc, "mac")) == 0;
	if (ok && json_is_string(json_object_get(w->doc, "network")))
		ok = json_object_set(req, "network", json_object_get(w->doc, "network")) == 0;
	json_decref(addrs);
	if (ok)
		return req;
	json_decref(req);
	return NULL;
}

static void try(struct wish *w)
{
	struct docker_keeper *k = w->k;
	struct attach_asked form;
	struct err_note note = { "out of memory" };
	json_t *req = request_of(w);
	enum err err = req != NULL ? attach_request_read(&form, req, true, &note) : ERR_NOMEM;

	if (err != ERR_OK) {
		say_failed(w, note.text);
	} else {
		uint64_t number = router_attach(k->r, &form.req, on_attached, w);
		if (number != 0)
			w->request = number;
	}
	json_decref(req);
}

void wishes_fulfil(struct docker_keeper *k, const struct seen *s)
{
	struct wish *w = find(k, s->id);

	if (w == NULL || s->pid == 0 || (w->request != 0 && w->trying == s->pid))
		return;
	if (w->pid == s->pid && core_local(router_core(k->r), s->id) != NULL)
		return;
	router_cancel(k->r, w->request);
	w->request = 0;
	w->trying = s->pid;
	w->anew = false;
	try(w);
}
