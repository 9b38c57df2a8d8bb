/* What Docker's containers do, and what follows for their names and addresses.
 *
 * Theory of operation. An event says that something happened to a container, not what it is like now: so a start, a rename or a change of its networks has it
 * inspected (ask, at most KEEPER_ASKING_MAX at once, the rest in a queue), and what the answer says is brought about. What changes while the answer is under
 * way has it asked again. A death needs no answer: names go at once. Addresses stay until its interface has been gone for ATTACH_GONE_MS (attach_watch.c),
 * unless it is removed: then they go at once, too.
 *
 * After each (re)connection of the stream all containers are listed, and those that run inspected. What nobody vouched for by the end of that (a
 * generation) is stale: containers that went, and names that they left. Should anything of that fail, it is begun anew after KEEPER_RETRY_MS. */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "router/docker/keeper.h"
#include "router/events.h"

static void look_at_everything(struct docker_keeper *k);

/* --- containers seen ---------------------------------------------------------------------------------------------------------------------- */

static struct seen *find(const struct docker_keeper *k, const char *id)
{
	return map_get(k->seen, slice_str(id));
}

static struct seen *find_or_make(struct docker_keeper *k, const char *id)
{
	struct seen *s = find(k, id);

	if (s != NULL)
		return s;
	if (map_count(k->seen) >= DOCKER_CONTAINERS_MAX)
		return NULL;
	s = mem_zalloc(1, sizeof(*s));
	if (s == NULL)
		return NULL;
	s->k = k;
	(void)snprintf(s->id, sizeof(s->id), "%s", id);
	if (map_put(k->seen, slice_str(id), s, NULL) == ERR_OK)
		return s;
	mem_free(s);
	return NULL;
}

static void drop_details(struct docker_keeper *k, struct seen *s)
{
	for (size_t i = 0; i < s->n_endpoints; i++) {
		struct slice key = slice_str(s->endpoints[i].id);
		if (map_get(k->endpoints, key) == s)
			(void)map_del(k->endpoints, key);
		texts_free(&s->endpoints[i].aliases);
	}
	mem_free(s->endpoints);
	s->endpoints = NULL;
	s->n_endpoints = 0;
	s->known = false;
}

static void unqueue(struct docker_keeper *k, struct seen *s)
{
	struct seen *before = NULL;

	for (struct seen *x = k->first; s->queued && x != NULL; before = x, x = x->next) {
		if (x != s)
			continue;
		*(before != NULL ? &before->next : &k->first) = s->next;
		if (k->last == s)
			k->last = before;
		s->queued = false;
	}
}

static void forget(struct docker_keeper *k, struct seen *s)
{
	drop_details(k, s);
	unqueue(k, s);
	if (s->question != 0) {
		docker_cancel(k->docker, s->question);
		k->asking--;
	}
	(void)map_del(k->seen, slice_str(s->id));
	mem_free(s);
}

static enum err take_endpoint(struct docker_keeper *k, struct seen *s, const struct docker_endpoint *e)
{
	struct seen_endpoint *to = &s->endpoints[s->n_endpoints++];
	enum err err = ERR_OK;

	(void)snprintf(to->id, sizeof(to->id), "%s", e->endpoint_id);
	(void)snprintf(to->network_id, sizeof(to->network_id), "%s", e->network_id);
	for (size_t i = 0; err == ERR_OK && i < e->n_aliases; i++)
		err = texts_add(&to->aliases, e->aliases[i]);
	if (err == ERR_OK && to->id[0] != '\0')
		err = map_put(k->endpoints, slice_str(to->id), s, NULL);
	return err;
}

/* What the answer says. Endpoints that are no more lose their names at once; the plugin sees to the rest. */
static enum err take(struct docker_keeper *k, struct seen *s, const struct docker_container *c)
{
	struct seen_endpoint *old = s->endpoints;
	char ident[KEEPER_IDENT_MAX + 1];
	size_t n_old = s->n_endpoints;
	enum err err = ERR_OK;

	for (size_t i = 0; i < n_old; i++) {
		bool still = false;
		for (size_t j = 0; j < c->n_endpoints; j++)
			still = still || strcmp(c->endpoints[j].endpoint_id, old[i].id) == 0;
		(void)snprintf(ident, sizeof(ident), "%s%s", KEEPER_ENDPOINT, old[i].id);
		if (!still && old[i].id[0] != '\0')
			names_end(k, ident);
	}
	drop_details(k, s);
	(void)snprintf(s->name, sizeof(s->name), "%s", c->name);
	(void)snprintf(s->hostname, sizeof(s->hostname), "%s", c->hostname);
	(void)snprintf(s->domainname, sizeof(s->domainname), "%s", c->domainname);
	s->pid = c->pid;
	if (c->n_endpoints > 0) {
		s->endpoints = mem_zalloc(c->n_endpoints, sizeof(s->endpoints[0]));
		err = s->endpoints != NULL ? ERR_OK : ERR_NOMEM;
	}
	for (size_t i = 0; err == ERR_OK && i < c->n_endpoints; i++)
		err = take_endpoint(k, s, &c->endpoints[i]);
	s->known = err == ERR_OK;
	return err;
}

/* --- what happens to them ------------------------------------------------------------------------------------------------------------------- */

/* Its names go at once. */
static void died(struct docker_keeper *k, const char *id)
{
	struct seen *s = find(k, id);
	char ident[KEEPER_IDENT_MAX + 1];

	for (size_t i = 0; s != NULL && i < s->n_endpoints; i++) {
		(void)snprintf(ident, sizeof(ident), "%s%s", KEEPER_ENDPOINT, s->endpoints[i].id);
		if (s->endpoints[i].id[0] != '\0')
			names_end(k, ident);
	}
	names_end(k, id);
	wishes_stopped(k, id);
	if (s != NULL)
		forget(k, s);
}

static void on_detached(void *ctx, const struct router_result *res)
{
	struct docker_keeper *k = ctx;

	if (res->err != ERR_OK && res->err != ERR_CLOSED)
		log_write(k->log, LOG_LEVEL_WARNING, "a removed container's addresses cannot be freed: %s", res->text);
}

/* Its addresses as well. Its interface went with it. */
static void destroyed(struct docker_keeper *k, const char *id)
{
	died(k, id);
	wishes_destroyed(k, id);
	if (core_local(router_core(k->r), id) == NULL)
		return;
	struct core_event ev = { .kind = CORE_DETACHED, .ident = id };
	(void)router_submit(k->r, &ev, on_detached, k);
	log_write(k->log, LOG_LEVEL_INFO, "container %.12s was removed: its addresses are free", id);
}

/* --- inspecting ------------------------------------------------------------------------------------------------------------------------------ */

static void ask_next(struct docker_keeper *k);

static void enqueue(struct docker_keeper *k, struct seen *s)
{
	if (s->question != 0) {
		s->again = true;
		return;
	}
	if (s->queued)
		return;
	s->queued = true;
	s->next = NULL;
	*(k->last != NULL ? &k->last->next : &k->first) = s;
	k->last = s;
	ask_next(k);
}

static void on_retry(uv_timer_t *timer)
{
	struct docker_keeper *k = timer->data;
	struct slice key;
	void *value;

	if (!docker_connected(k->docker))
		return; /* everything is looked at when it is there again */
	if (k->list_again) {
		look_at_everything(k);
		return;
	}
	k->filling = true; /* the map does not change meanwhile */
	for (size_t at = 0; map_next(k->seen, &at, &key, &value);) {
		struct seen *s = value;
		if (!s->known && s->question == 0 && s->failures > 0 && s->failures < KEEPER_RETRIES_MAX)
			enqueue(k, s);
	}
	k->filling = false;
	ask_next(k);
}

/* A name that nobody has put since everything was looked at may be that of a container that could not be inspected. */
static void drop_stale_if_sure(struct docker_keeper *k)
{
	struct slice key;
	void *value;

	for (size_t at = 0; map_next(k->seen, &at, &key, &value);)
		if (!((const struct seen *)value)->known)
			return;
	names_drop_stale(k);
	k->stale = false;
}

/* Everything that was asked for has been answered. */
static void maybe_done(struct docker_keeper *k)
{
	struct slice key;
	void *value;

	if (k->stale && !k->looking)
		drop_stale_if_sure(k);
	if (!k->looking || k->list_again || k->list != 0 || k->asking > 0 || k->first != NULL)
		return;
	k->looking = false;
	for (size_t at = 0; map_next(k->seen, &at, &key, &value);) {
		const struct seen *s = value;
		if (s->generation == k->generation)
			continue;
		died(k, s->id);
		at = 0;
	}
	k->stale = true;
	drop_stale_if_sure(k);
	k->counts.resyncs++;
}

/* After some attempts it is let be until something happens to it. Of many that fail one is named, and that not often. */
static void failed(struct docker_keeper *k, struct seen *s, const char *why)
{
	uint64_t now = router_now_ms(k->r);

	s->known = false;
	if (++s->failures >= KEEPER_RETRIES_MAX && (k->complained_ms == 0 || now - k->complained_ms >= KEEPER_COMPLAIN_MS)) {
		k->complained_ms = now;
		log_write(
			k->log, LOG_LEVEL_WARNING, "Docker does not tell what container %.12s is like, and perhaps others: %s", s->id, why);
	}
	(void)uv_timer_start(&k->retry, on_retry, KEEPER_RETRY_MS, 0);
}

static void on_inspected(void *ctx, enum err err, const char *why, const struct docker_container *c)
{
	struct seen *s = ctx;
	struct docker_keeper *k = s->k;

	k->asking--;
	s->question = 0;
	if (k->stopped != NULL) /* else a Docker that hung up is asked again */
		return;
	if (err == ERR_NOT_FOUND || (err == ERR_OK && !c->running && !s->again)) {
		died(k, s->id);
	} else if (err == ERR_OK && c->running) {
		err = take(k, s, c);
		if (err == ERR_OK) {
			s->failures = 0;
			names_of_container(k, s);
			wishes_fulfil(k, s);
		} else {
			failed(k, s, err_text(err));
		}
		if (s->again)
			enqueue(k, s);
	} else if (err == ERR_OK) {
		enqueue(k, s);
	} else {
		failed(k, s, why);
	}
	if (!k->filling)
		ask_next(k);
}

static void ask_next(struct docker_keeper *k)
{
	if (k->filling)
		return;
	k->filling = true; /* an answer that comes at once goes on here */
	while (k->first != NULL && k->asking < KEEPER_ASKING_MAX) {
		struct seen *s = k->first;
		char id[DOCKER_ID_MAX + 1];
		memcpy(id, s->id, sizeof(id));
		unqueue(k, s);
		s->again = false;
		k->asking++;
		uint64_t question = docker_find_container(k->docker, id, 0, on_inspected, s);
		if (question != 0)
			s->question = question;
	}
	k->filling = false;
	maybe_done(k);
}

static void inspect(struct docker_keeper *k, const char *id)
{
	struct seen *s = find_or_make(k, id);

	if (s == NULL) {
		log_write(k->log, LOG_LEVEL_WARNING, "out of memory: container %.12s is not looked at", id);
		return;
	}
	s->generation = k->generation;
	s->failures = 0;
	enqueue(k, s);
}

/* --- looking at everything --------------------------------------------------------------------------------------------------------------------- */

static void on_listed_one(void *ctx, const char *id, bool running)
{
	struct docker_keeper *k = ctx;

	k->filling = true; /* none is asked for before all are known */
	if (map_put(k->there, slice_str(id), k, NULL) != ERR_OK)
		k->list_again = true;
	if (running)
		inspect(k, id);
}

static void on_listed(void *ctx, enum err err, const char *why)
{
	struct docker_keeper *k = ctx;

	k->list = 0;
	k->filling = false;
	if (k->stopped != NULL)
		return;
	if (err != ERR_OK)
		log_write(k->log, LOG_LEVEL_WARNING, "Docker does not list its containers (tried again): %s", why);
	if (err != ERR_OK || k->list_again) {
		k->list_again = true;
		k->counts.resync_failures++;
		(void)uv_timer_start(&k->retry, on_retry, KEEPER_RETRY_MS, 0);
	} else {
		wishes_drop_missing(k);
	}
	map_free(k->there);
	k->there = NULL;
	ask_next(k);
}

static void look_at_everything(struct docker_keeper *k)
{
	k->generation++;
	k->looking = true;
	k->list_again = false;
	docker_cancel(k->docker, k->list);
	map_free(k->there);
	k->list = 0;
	k->there = map_new(k->generation);
	if (k->there == NULL) {
		on_listed(k, ERR_NOMEM, err_text(ERR_NOMEM));
		return;
	}
	uint64_t list = docker_each_container(k->docker, 0, on_listed_one, on_listed, k);
	if (list != 0)
		k->list = list;
}

static void on_connected(void *ctx)
{
	struct docker_keeper *k = ctx;
	struct docker_stats s;

	docker_stats(k->docker, &s);
	if (s.connects != k->told) /* else an event was missed */
		router_event(k->r, "docker", json_pack("{s:b, s:s}", "connected", 1, "version", s.version));
	k->told = s.connects;
	look_at_everything(k);
}

static void on_event(void *ctx, const struct docker_event *e)
{
	struct docker_keeper *k = ctx;
	struct seen *s = find(k, e->id);

	switch (e->kind) {
	case DOCKER_CONTAINER_START: inspect(k, e->id); break;
	case DOCKER_CONTAINER_DIE:
		died(k, e->id);
		maybe_done(k);
		break;
	case DOCKER_CONTAINER_DESTROY: destroyed(k, e->id); break;
	case DOCKER_CONTAINER_RENAME:
	case DOCKER_NETWORK_CONNECT:
	case DOCKER_NETWORK_DISCONNECT:
		if (s != NULL) /* of one that does not run there is nothing to keep */
			inspect(k, e->id);
		break;
	case DOCKER_NETWORK_DESTROY:
	case DOCKER_EVENT_OTHER: break;
	}
}

static void on_lost(void *ctx)
{
	struct docker_keeper *k = ctx;

	(void)uv_timer_stop(&k->retry);
	router_event(k->r, "docker", json_pack("{s:b}", "connected", 0));
}

/* --- what the core is told by others --------------------------------------------------------------------------------------------------------- */

static struct seen *of_ident(const struct docker_keeper *k, const char *ident)
{
	size_t n = strlen(KEEPER_ENDPOINT);

	return strncmp(ident, KEEPER_ENDPOINT, n) == 0 ? map_get(k->endpoints, slice_str(ident + n)) : find(k, ident);
}

static void attached(struct docker_keeper *k, const char *ident)
{
	struct seen *s = of_ident(k, ident);

	if (s != NULL && s->known && s->question == 0)
		names_of_container(k, s);
	else if (strlen(ident) == DOCKER_ID_MAX && docker_id_ok(ident) && docker_connected(k->docker))
		inspect(k, ident);
}

void docker_keeper_told(struct docker_keeper *k, const struct core_event *ev)
{
	if (k->own)
		return;
	if (ev->kind == CORE_ATTACHED)
		attached(k, ev->endpoint->ident);
	else if (ev->kind == CORE_DETACHED)
		names_lost(k, ev->ident, ev->addr);
	else if (ev->kind == CORE_NAME_DELETE && ev->ident != NULL && (ev->fqdn == NULL || ev->fqdn[0] == '\0'))
		names_lost(k, ev->ident, ev->addr);
}

/* --- by name ------------------------------------------------------------------------------------------------------------------------------------ */

/* The only one whose name it is, or whose id begins so. */
static const struct seen *one_called(const struct docker_keeper *k, const char *text)
{
	const struct seen *found = NULL;
	struct slice key;
	void *value;
	bool several = false;

	for (size_t at = 0; map_next(k->seen, &at, &key, &value);) {
		const struct seen *s = value;
		if (strcmp(s->id, text) == 0 || (s->known && strcmp(s->name, text) == 0))
			return s;
		if (strncmp(s->id, text, strlen(text)) != 0)
			continue;
		several = found != NULL;
		found = s;
	}
	return several ? NULL : found;
}

static void each_of(const struct docker_keeper *k, const struct seen *s, docker_each_ident each, void *ctx)
{
	char ident[KEEPER_IDENT_MAX + 1];

	if (core_local(router_core(k->r), s->id) != NULL)
		each(ctx, s->id);
	for (size_t i = 0; i < s->n_endpoints; i++) {
		(void)snprintf(ident, sizeof(ident), "%s%s", KEEPER_ENDPOINT, s->endpoints[i].id);
		if (core_local(router_core(k->r), ident) != NULL)
			each(ctx, ident);
	}
}

void docker_keeper_idents(const struct docker_keeper *k, const char *container, docker_each_ident each, void *ctx)
{
	const struct seen *s = k != NULL && docker_name_ok(container) ? one_called(k, container) : NULL;

	if (s != NULL)
		each_of(k, s, each, ctx);
}

void docker_keeper_siblings(const struct docker_keeper *k, const char *ident, docker_each_ident each, void *ctx)
{
	const struct seen *s = k != NULL ? of_ident(k, ident) : NULL;

	if (s != NULL)
		each_of(k, s, each, ctx);
}

const char *docker_keeper_name(const struct docker_keeper *k, const char *ident, char host[2 * (DOCKER_NAME_MAX + 1)])
{
	const struct seen *s = k != NULL ? of_ident(k, ident) : NULL;

	if (s == NULL || !s->known)
		return NULL;
	if (host != NULL)
		(void)snprintf(
			host, 2 * (DOCKER_NAME_MAX + 1), "%s%s%s", s->hostname, s->domainname[0] != '\0' ? "." : "", s->domainname);
	return s->name;
}

/* --- coming and going ------------------------------------------------------------------------------------------------------------------------- */

static void free_all(struct docker_keeper *k)
{
	struct slice key;
	void *value;

	for (size_t at = 0; k->seen != NULL && map_next(k->seen, &at, &key, &value);) {
		struct seen *s = value;
		for (size_t i = 0; i < s->n_endpoints; i++)
			texts_free(&s->endpoints[i].aliases);
		mem_free(s->endpoints);
		mem_free(s);
	}
	map_free(k->seen);
	map_free(k->endpoints);
	map_free(k->there);
	names_free_all(k);
	wishes_free_all(k);
	mem_free(k);
}

enum err docker_keeper_start(struct docker_keeper **out, struct router *r, struct err_note *note)
{
	struct docker_keeper *k = mem_zalloc(1, sizeof(*k));
	struct docker_cfg cfg = {
		.loop = router_loop(r),
		.host = router_options(r)->docker_host,
		.log = router_log(r),
		.seed = router_now_ms(r),
		.connected = on_connected,
		.event = on_event,
		.lost = on_lost,
		.ctx = k,
	};

	if (k == NULL)
		return err_note(note, ERR_NOMEM, "out of memory");
	k->r = r;
	k->log = router_log(r);
	k->seen = map_new(cfg.seed);
	k->endpoints = map_new(cfg.seed);
	k->puts = map_new(cfg.seed);
	k->wishes = map_new(cfg.seed);
	enum err err = ERR_OK;
	if (k->seen == NULL || k->endpoints == NULL || k->puts == NULL || k->wishes == NULL)
		err = err_note(note, ERR_NOMEM, "out of memory");
	if (err == ERR_OK)
		err = names_load(k, note);
	if (err == ERR_OK)
		err = wishes_load(k, note);
	if (err == ERR_OK)
		err = docker_open(&k->docker, &cfg, note);
	if (err != ERR_OK) {
		free_all(k);
		return err;
	}
	(void)uv_timer_init(cfg.loop, &k->retry);
	k->retry.data = k;
	*out = k;
	return ERR_OK;
}

static void part_closed(struct docker_keeper *k)
{
	if (--k->closing > 0)
		return;
	void (*stopped)(void *) = k->stopped;
	void *stopped_ctx = k->stopped_ctx;
	free_all(k);
	stopped(stopped_ctx);
}

static void on_docker_closed(void *ctx)
{
	part_closed(ctx);
}

static void on_timer_closed(uv_handle_t *h)
{
	part_closed(h->data);
}

void docker_keeper_stop(struct docker_keeper *k, void (*stopped)(void *ctx), void *ctx)
{
	k->stopped = stopped;
	k->stopped_ctx = ctx;
	k->closing = 2;
	(void)uv_timer_stop(&k->retry);
	docker_close(k->docker, on_docker_closed, k);
	uv_close((uv_handle_t *)&k->retry, on_timer_closed);
}

struct docker *docker_keeper_docker(const struct docker_keeper *k)
{
	return k->docker;
}

void docker_keeper_stats(const struct docker_keeper *k, struct docker_stats *out)
{
	docker_stats(k->docker, out);
	out->resyncs = k->counts.resyncs;
	out->resync_failures = k->counts.resync_failures;
	out->containers = map_count(k->seen);
	out->named = map_count(k->puts);
	out->wishes = map_count(k->wishes);
}
