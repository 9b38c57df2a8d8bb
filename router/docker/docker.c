/* Questions to Docker. */
#include "router/docker/docker.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "router/docker/client.h"
#include "router/docker/inspect.h"
#include "router/docker/internal.h"

struct query {
	struct docker *d;
	docker_network_done network; /* one of the five */
	docker_container_done container;
	docker_list_done list;
	docker_each_done all;
	docker_each each;
	docker_each_done all_networks;
	docker_each_network each_network;
	void *ctx;
	uint64_t number; /* 0: not asked yet */
	char what[DOCKER_NAME_MAX + 1];
};

/* --- answers -------------------------------------------------------------------------------------------------------------------------- */

enum err docker_error_of(const struct client_answer *a, const char *what, struct err_note *note)
{
	char said[200];

	if (a->err != ERR_OK)
		return err_note(note, a->err, "%s: %.180s",
			a->err == ERR_TIMEOUT           ? "Docker does not answer"
				: a->err == ERR_UNREACHABLE ? "Docker cannot be reached"
											: "asking Docker failed",
			a->why);
	if (a->status == 200)
		return ERR_OK;
	docker_parse_message(a->body, said, sizeof(said));
	if (a->status == 404)
		return err_note(note, ERR_NOT_FOUND, "Docker knows no %.80s", what);
	if (strstr(said, "ultiple IDs found") != NULL)
		return err_note(note, ERR_CONFLICT, "the ids of several containers begin with %.64s; give more of it", what);
	return err_note(note, ERR_REFUSED, "Docker answers %u: %.150s", a->status, said[0] != '\0' ? said : "without saying why");
}

static void count(struct docker *d, enum err err)
{
	if (err == ERR_TIMEOUT)
		d->stats.timeouts++;
	else if (err != ERR_OK && err != ERR_NOT_FOUND && err != ERR_CONFLICT)
		d->stats.failures++;
}

static void give_network(struct query *q, const struct client_answer *a)
{
	struct err_note note = { "" };
	struct docker_network_doc doc;
	enum err err = docker_error_of(a, q->what, &note);

	if (err == ERR_OK && (err = docker_parse_network(a->body, &doc, &note)) == ERR_OK) {
		q->network(q->ctx, ERR_OK, "", &doc.n);
		docker_drop_network(&doc);
	} else {
		count(q->d, err);
		q->network(q->ctx, err, note.text, NULL);
	}
}

static void give_container(struct query *q, const struct client_answer *a)
{
	struct err_note note = { "" };
	struct docker_container_doc doc;
	enum err err = docker_error_of(a, q->what, &note);

	if (err == ERR_OK && (err = docker_parse_container(a->body, &doc, &note)) == ERR_OK) {
		q->container(q->ctx, ERR_OK, "", &doc.c);
		docker_drop_container(&doc);
	} else {
		count(q->d, err);
		q->container(q->ctx, err, note.text, NULL);
	}
}

static void give_list(struct query *q, const struct client_answer *a)
{
	struct err_note note = { "" };
	struct docker_listed *v = NULL;
	size_t n = 0;
	enum err err = docker_error_of(a, q->what, &note);

	if (err == ERR_OK)
		err = docker_parse_endpoints(a->body, &v, &n, &note);
	count(q->d, err);
	q->list(q->ctx, err, err == ERR_OK ? "" : note.text, v, n);
	mem_free(v);
}

static void give_each(struct query *q, const struct client_answer *a)
{
	struct err_note note = { "" };
	enum err err = docker_error_of(a, "list", &note);

	if (err == ERR_OK)
		err = docker_parse_list(a->body, q->each, q->ctx, &note);
	count(q->d, err);
	q->all(q->ctx, err, note.text);
}

static void give_each_network(struct query *q, const struct client_answer *a)
{
	struct err_note note = { "" };
	enum err err = docker_error_of(a, "list", &note);

	if (err == ERR_OK)
		err = docker_parse_networks(a->body, q->each_network, q->ctx, &note);
	count(q->d, err);
	q->all_networks(q->ctx, err, note.text);
}

static void give(struct query *q, const struct client_answer *a)
{
	if (q->network != NULL)
		give_network(q, a);
	else if (q->container != NULL)
		give_container(q, a);
	else if (q->list != NULL)
		give_list(q, a);
	else if (q->all_networks != NULL)
		give_each_network(q, a);
	else if (q->all != NULL)
		give_each(q, a);
}

static void on_answer(void *ctx, const struct client_answer *a)
{
	struct query *q = ctx;

	if (q->number != 0)
		(void)map_del64(q->d->queries, q->number);
	give(q, a);
	mem_free(q);
}

/* --- questions ------------------------------------------------------------------------------------------------------------------------- */

static uint64_t ask(struct docker *d, const struct query *want, const char *path, unsigned limit_ms)
{
	struct client_answer no = { .err = ERR_NOMEM, .why = "out of memory" };
	struct query *q = mem_dup(want, sizeof(*want)), plain = *want;

	if (q == NULL) {
		give(&plain, &no);
		return 0;
	}
	d->stats.questions++;
	uint64_t number = client_get(d->client, path, limit_ms != 0 ? limit_ms : DOCKER_LIMIT_MS, DOCKER_ANSWER_MAX, on_answer, q);
	if (number == 0)
		return 0;
	q->number = number;
	if (map_put64(d->queries, number, q, NULL) == ERR_OK)
		return number;
	client_cancel(d->client, number);
	q->number = 0;
	on_answer(q, &no);
	return 0;
}

static uint64_t ask_of(
	struct docker *d, struct query *q, const char *before, const char *what, const char *after, unsigned limit_ms)
{
	char path[CLIENT_PATH_MAX];

	(void)snprintf(q->what, sizeof(q->what), "%s", what);
	(void)snprintf(path, sizeof(path), "%s%s%s", before, what, after);
	return ask(d, q, path, limit_ms);
}

static const char off_text[] = "this daemon does not talk to Docker (--docker-host \"\")";

uint64_t docker_get_network(struct docker *d, const char *id_or_name, unsigned limit_ms, docker_network_done done, void *ctx)
{
	struct query q = { .d = d, .network = done, .ctx = ctx };

	if (d == NULL)
		done(ctx, ERR_STATE, off_text, NULL);
	else if (!docker_name_ok(id_or_name))
		done(ctx, ERR_NOT_FOUND, "that is no name of a network of Docker's", NULL);
	else
		return ask_of(d, &q, "/networks/", id_or_name, "", limit_ms);
	return 0;
}

uint64_t docker_find_container(struct docker *d, const char *name_or_id, unsigned limit_ms, docker_container_done done, void *ctx)
{
	struct query q = { .d = d, .container = done, .ctx = ctx };

	if (d == NULL)
		done(ctx, ERR_STATE, off_text, NULL);
	else if (!docker_name_ok(name_or_id))
		done(ctx, ERR_NOT_FOUND, "that is no name of a container of Docker's", NULL);
	else
		return ask_of(d, &q, "/containers/", name_or_id, "/json", limit_ms);
	return 0;
}

uint64_t docker_list(struct docker *d, unsigned limit_ms, docker_list_done done, void *ctx)
{
	struct query q = { .d = d, .list = done, .ctx = ctx };

	if (d != NULL)
		return ask_of(d, &q, "/containers/json", "", "", limit_ms);
	done(ctx, ERR_STATE, off_text, NULL, 0);
	return 0;
}

uint64_t docker_each_container(struct docker *d, unsigned limit_ms, docker_each each, docker_each_done done, void *ctx)
{
	struct query q = { .d = d, .all = done, .each = each, .ctx = ctx };

	if (d != NULL)
		return ask(d, &q, "/containers/json?all=1", limit_ms);
	done(ctx, ERR_STATE, off_text);
	return 0;
}

uint64_t docker_list_networks(struct docker *d, unsigned limit_ms, docker_each_network each, docker_each_done done, void *ctx)
{
	struct query q = { .d = d, .all_networks = done, .each_network = each, .ctx = ctx };

	if (d != NULL)
		return ask(d, &q, "/networks", limit_ms);
	done(ctx, ERR_STATE, off_text);
	return 0;
}

void docker_cancel(struct docker *d, uint64_t question)
{
	if (d == NULL || question == 0)
		return;
	client_cancel(d->client, question);
	mem_free(map_del64(d->queries, question));
}

/* --- coming and going ------------------------------------------------------------------------------------------------------------------ */

bool docker_on(const struct docker *d)
{
	return d != NULL;
}

bool docker_connected(const struct docker *d)
{
	return d != NULL && d->connected;
}

void docker_stats(const struct docker *d, struct docker_stats *out)
{
	*out = d->stats;
	out->asking = map_count(d->queries);
	(void)snprintf(out->version, sizeof(out->version), "%s", d->version);
	(void)snprintf(out->trouble, sizeof(out->trouble), "%s", d->trouble);
	out->since_ms = d->since_ms;
}

enum err docker_open(struct docker **out, const struct docker_cfg *cfg, struct err_note *note)
{
	struct docker *d = mem_zalloc(1, sizeof(*d));

	if (d == NULL)
		return err_note(note, ERR_NOMEM, "out of memory");
	d->cfg = *cfg;
	d->queries = map_new(cfg->seed);
	enum err err =
		d->queries == NULL ? err_note(note, ERR_NOMEM, "out of memory") : client_new(&d->client, cfg->loop, cfg->host, note);
	if (err != ERR_OK) {
		map_free(d->queries);
		mem_free(d);
		return err;
	}
	docker_events_start(d);
	*out = d;
	return ERR_OK;
}

void docker_part_closed(void *ctx)
{
	struct docker *d = ctx;

	if (--d->closing > 0)
		return;
	void (*closed)(void *) = d->closed;
	void *closed_ctx = d->closed_ctx;
	wbuf_free(&d->line);
	mem_free(d);
	closed(closed_ctx);
}

void docker_close(struct docker *d, void (*closed)(void *ctx), void *ctx)
{
	struct slice key;
	void *value;
	struct client_answer no = { .err = ERR_CLOSED, .why = "the daemon is stopping" };

	d->closed = closed;
	d->closed_ctx = ctx;
	d->closing = 1;
	docker_events_stop(d);
	for (size_t at = 0; map_next(d->queries, &at, &key, &value); at = 0) {
		struct query *q = value;
		client_cancel(d->client, q->number);
		on_answer(q, &no);
	}
	map_free(d->queries);
	d->queries = NULL;
	client_free(d->client, docker_part_closed, d);
}
