/* Which container is meant: what a user calls one is looked up at Docker, if it has the form of a name, before it is taken for one under /run/netns. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "router/attach_internal.h"
#include "router/attach_request.h"
#include "router/docker/containers.h"

struct naming {
	struct router *r;
	uint64_t number, question;
	json_t *doc; /* the request */
	bool attach;
	bool detaching; /* the container is known; what is left cannot be taken back */
	router_done done;
	void *ctx;
};

void attach_target_of_pid(struct netns_target *t, const char *ident, pid_t pid)
{
	*t = (struct netns_target){ .kind = NETNS_PID, .pid = pid };
	(void)snprintf(t->ident, sizeof(t->ident), "%s", ident);
	(void)snprintf(t->path, sizeof(t->path), "/proc/%ld/ns/net", (long)pid);
}

static void free_naming(struct naming *n)
{
	(void)map_del64(n->r->namings, n->number);
	json_decref(n->doc);
	mem_free(n);
}

static void on_detached(void *ctx, const struct router_result *res)
{
	struct naming *n = ctx;
	router_done done = n->done;
	void *asker = n->ctx;

	free_naming(n);
	done(asker, res);
}

/* An asker who goes now is not told, but may still cancel by his number. */
static void detach(struct naming *n, const struct attach_request *req, const struct attach_who *who)
{
	n->detaching = true;
	(void)detach_begin(n->r, req, who, on_detached, n);
}

/* The rest of the request, under the number that its asker knows. */
static void go_on(struct naming *n, struct attach_who *who, struct err_note *note)
{
	struct attach_asked asked;
	struct naming was = *n;

	json_incref(was.doc);
	enum err err = attach_request_read(&asked, was.doc, was.attach, note);
	if (err == ERR_OK && asked.req.id != NULL) {
		err = attach_check_ident(asked.req.id, note);
		if (err == ERR_OK)
			(void)snprintf(who->target.ident, sizeof(who->target.ident), "%s", asked.req.id);
		who->docker = false; /* who gives it an id of his own looks after it himself */
	}
	if (err == ERR_OK && !was.attach) {
		detach(n, &asked.req, who);
	} else {
		free_naming(n);
		if (err == ERR_OK)
			(void)attach_begin(was.r, was.number, &asked.req, who, was.done, was.ctx);
		else
			(void)attach_refuse(was.done, was.ctx, err, note->text);
	}
	json_decref(was.doc);
}

static void refuse(struct naming *n, enum err err, const char *text)
{
	router_done done = n->done;
	void *ctx = n->ctx;

	free_naming(n);
	(void)attach_refuse(done, ctx, err, text);
}

static void take_id(void *ctx, const char *ident)
{
	char *id = ctx;

	if (strlen(ident) == DOCKER_ID_MAX)
		(void)snprintf(id, DOCKER_ID_MAX + 1, "%s", ident);
}

/* Docker cannot say now: what it said before is good enough for taking all away. */
static bool was_dockers(const struct naming *n, const char *name, struct attach_who *who)
{
	char id[DOCKER_ID_MAX + 1] = "";

	if (n->attach || json_array_size(json_object_get(n->doc, "addresses")) > 0 || core_local(n->r->core, name) != NULL)
		return false;
	docker_keeper_idents(n->r->keeper, name, take_id, id);
	who->target = (struct netns_target){ .kind = NETNS_NAME };
	(void)snprintf(who->target.ident, sizeof(who->target.ident), "%s", id);
	return id[0] != '\0';
}

/* Docker does not know it, or cannot say. */
static void not_dockers(struct naming *n, enum err err, const char *why)
{
	const char *name = json_string_value(json_object_get(n->doc, "container"));
	struct attach_who who = { 0 };
	struct err_note note = { "" };

	if (err != ERR_NOT_FOUND && err != ERR_CONFLICT && was_dockers(n, name, &who)) {
		go_on(n, &who, &note);
		return;
	}
	enum err parsed = netns_parse(name, &who.target, &note);
	if (parsed == ERR_OK && err != ERR_NOT_FOUND && err != ERR_UNREACHABLE && err != ERR_STATE &&
		access(who.target.path, F_OK) != 0 && core_local(n->r->core, name) == NULL)
		parsed = err_note(&note, err, "which container '%.80s' is cannot be found out: %s", name, why);
	if (parsed != ERR_OK)
		refuse(n, parsed, note.text);
	else
		go_on(n, &who, &note);
}

static void on_container(void *ctx, enum err err, const char *why, const struct docker_container *c)
{
	struct naming *n = ctx;
	struct attach_who who = { 0 };
	struct err_note note = { "" };

	n->question = 0;
	if (err != ERR_OK) {
		not_dockers(n, err, why);
		return;
	}
	if (n->attach && (!c->running || c->pid <= 0)) {
		(void)err_note(&note, ERR_STATE, "container %.80s does not run; start it first", c->name);
		refuse(n, ERR_STATE, note.text);
		return;
	}
	attach_target_of_pid(&who.target, c->id, c->pid);
	who.docker = true;
	go_on(n, &who, &note);
}

bool attach_is_dockers(const struct router *r, const struct attach_request *req)
{
	struct netns_target t;

	return req->container != NULL && docker_on(router_docker(r)) && netns_parse(req->container, &t, NULL) == ERR_OK &&
		t.kind == NETNS_NAME;
}

uint64_t attach_ask_docker(struct router *r, const struct attach_request *req, bool attach, router_done done, void *ctx)
{
	struct naming *n = mem_zalloc(1, sizeof(*n));
	json_t *doc = attach_request_write(req);

	if (n == NULL || doc == NULL) {
		mem_free(n);
		json_decref(doc);
		return attach_refuse(done, ctx, ERR_NOMEM, "out of memory");
	}
	*n = (struct naming){ .r = r, .number = r->next_request++, .doc = doc, .attach = attach, .done = done, .ctx = ctx };
	uint64_t number = n->number;
	if (map_put64(r->namings, number, n, NULL) != ERR_OK) {
		refuse(n, ERR_NOMEM, "out of memory");
		return 0;
	}
	uint64_t question = docker_find_container(router_docker(r), req->container, DOCKER_LIMIT_SHORT_MS, on_container, n);
	if (map_get64(r->namings, number) != NULL)
		n->question = question;
	return map_get64(r->namings, number) != NULL || map_get64(r->attaches, number) != NULL ? number : 0;
}

bool attach_naming_cancel(struct router *r, uint64_t request)
{
	struct naming *n = map_get64(r->namings, request);

	if (n == NULL)
		return false;
	if (n->detaching) {
		n->done = router_ignore;
		return true;
	}
	docker_cancel(router_docker(r), n->question);
	free_naming(n);
	return true;
}

void attach_naming_end_all(struct router *r, enum err err, const char *text)
{
	struct slice key;
	void *value;

	for (size_t at = 0; map_next(r->namings, &at, &key, &value);) {
		struct naming *n = value;
		if (n->detaching) /* ends with the requests that it waits for */
			continue;
		at = 0;
		docker_cancel(router_docker(r), n->question);
		refuse(n, err, text);
	}
}
