/* Records that were lost, made again from what Docker tells.
 *
 * dockerd says CreateNetwork once and for all, and keeps the ids of pools that it was given. When weft's disk was lost, was reset or is another one,
 * Docker's networks are still there: its API has their names, options, subnets and containers. So all of Docker's networks that are ours and of which no record is
 * are asked about when Docker has come (back), and when a call names a network or a pool that is not known. dockerd may be waiting in that very call,
 * so each question has the short limit, and all of them one together; a call that learns nothing by it is refused as before.
 *
 * What the API does not tell is a pool's id where --subnet was given without --gateway: such a pool has a guessed one until dockerd names it
 * (plugin_ipam.c). Containers' addresses are kept from others at once, by their record and by a claim; the interfaces are found by the
 * kernel's word once the network is there in the core (plugin_network.c: adopt_ms). */
#include <stdio.h>
#include <string.h>

#include "router/docker/plugin_internal.h"

enum { LEARN_MS = 8000 /* for all questions together */ };

void plugin_say_lost(struct err_note *note, const char *what, enum err err, const char *why)
{
	if (err == ERR_OK)
		(void)err_note(note, ERR_NOT_FOUND, "%s; was its state lost? Remove the network and create it again", what);
	else
		(void)err_note(note, ERR_NOT_FOUND,
			"%s; was its state lost? Docker would know, but %.100s. Try again, or remove the network and create it again", what,
			why != NULL && why[0] != '\0' ? why : err_text(err));
}

/* All that wait are told; they may wait anew. */
static void finish(struct plugin *p, enum err err, const char *why)
{
	struct plugin_learning *l = &p->learning;
	struct plugin_waiter *w = l->waiters, *next;
	char text[300];

	(void)snprintf(text, sizeof(text), "%s", why != NULL ? why : "");
	mem_free(l->ids);
	*l = (struct plugin_learning){ .busy = false };
	for (; w != NULL; w = next) {
		next = w->next;
		w->done(w->ctx, err, text);
		mem_free(w);
	}
}

/* --- one network ------------------------------------------------------------------------------------------------------------------------------ */

static bool take_pools(struct plugin *p, struct plugin_net *n, const struct plugin_seen *seen)
{
	for (size_t i = 0; i < seen->n_subnets; i++) {
		struct plugin_pool *pool = plugin_pool_learn(p, &seen->subnets[i]);
		if (pool == NULL)
			return false;
		(void)snprintf(n->pools[n->n_pools++], sizeof(n->pools[0]), "%s", pool->id);
	}
	return true;
}

static size_t take_endpoints(struct plugin *p, struct plugin_net *n, const json_t *containers)
{
	struct plugin_endpoint_request req;
	const json_t *v;
	const char *key;
	size_t count = 0;

	json_object_foreach((json_t *)(uintptr_t)containers, key, v)
	{
		if (count >= PLUGIN_RECORDS_MAX || !json_is_object(v) || plugin_parse_seen_endpoint(v, &req, NULL) != ERR_OK)
			continue;
		plugin_endpoint_learn(p, n, &req);
		count++;
	}
	return count;
}

static void take_network(struct plugin *p, const struct docker_network *d)
{
	struct plugin_seen seen;
	struct err_note note = { "" };
	struct plugin_net *n;

	if (map_get(p->nets, slice_str(d->id)) != NULL) /* made, or made again, meanwhile */
		return;
	if (plugin_parse_seen(d, &seen, &note) != ERR_OK) {
		log_write(router_log(p->r), LOG_LEVEL_WARNING, "docker: network %.12s (%.64s) cannot be taken up again: %s", d->id,
			d->name, note.text);
		return;
	}
	n = plugin_net_new(p, d->id);
	if (n == NULL)
		return;
	n->created = true;
	n->internal = seen.internal;
	n->foreign = seen.foreign;
	n->gives = seen.gives;
	n->options = seen.options;
	(void)snprintf(n->name, sizeof(n->name), "%s", seen.name);
	if (!take_pools(p, n, &seen)) { /* the pools go by themselves: nothing is tied to them */
		plugin_net_drop(n);
		return;
	}
	plugin_keep_net(p, n, NULL, NULL);
	size_t count = take_endpoints(p, n, d->containers);
	if (count > 0)
		n->adopt_ms = router_now_ms(p->r) + PLUGIN_ADOPT_MS;
	log_write(router_log(p->r), LOG_LEVEL_INFO,
		"docker: there was no record of network %.12s (%s): it is made again from what Docker says, with %zu containers", n->id,
		n->name, count);
}

/* --- asking ----------------------------------------------------------------------------------------------------------------------------------- */

static void ask_next(struct plugin *p);

static void on_network(void *ctx, enum err err, const char *why, const struct docker_network *d)
{
	struct plugin *p = ctx;

	p->learning.question = 0;
	if (err == ERR_OK)
		take_network(p, d);
	if (err == ERR_OK || err == ERR_NOT_FOUND) /* it went meanwhile */
		ask_next(p);
	else
		finish(p, err, why);
}

static void ask_next(struct plugin *p)
{
	struct plugin_learning *l = &p->learning;

	if (l->at == l->n_ids) {
		finish(p, l->nomem ? ERR_NOMEM : ERR_OK, NULL);
		return;
	}
	if (router_now_ms(p->r) - l->began_ms >= LEARN_MS) {
		finish(p, ERR_TIMEOUT, "Docker answers too slowly");
		return;
	}
	uint64_t question = docker_get_network(router_docker(p->r), l->ids[l->at++], DOCKER_LIMIT_SHORT_MS, on_network, p);
	if (question != 0) /* else it has been answered, and perhaps another was asked */
		l->question = question;
}

static void on_each(void *ctx, const struct docker_network *d)
{
	struct plugin *p = ctx;
	struct plugin_learning *l = &p->learning;

	if (map_get(p->nets, slice_str(d->id)) != NULL || strcmp(d->scope, "swarm") == 0 ||
		!plugin_is_ours(d, p->socket != NULL ? p->socket : OPTIONS_PLUGIN_SOCKET) ||
		map_count(p->nets) + l->n_ids >= PLUGIN_RECORDS_MAX)
		return;
	if (!mem_grow((void **)&l->ids, &l->cap, l->n_ids + 1, sizeof(*l->ids)))
		l->nomem = true;
	else
		(void)snprintf(l->ids[l->n_ids++], sizeof(*l->ids), "%s", d->id);
}

static void on_all(void *ctx, enum err err, const char *why)
{
	struct plugin *p = ctx;

	p->learning.question = 0;
	if (err != ERR_OK)
		finish(p, err, why);
	else
		ask_next(p);
}

void plugin_learn(struct plugin *p, plugin_done done, void *ctx)
{
	struct plugin_learning *l = &p->learning;
	struct plugin_waiter *w = done != NULL ? mem_alloc(sizeof(*w)) : NULL;

	if (done != NULL && w == NULL) {
		done(ctx, ERR_NOMEM, "out of memory");
		return;
	}
	if (w != NULL) {
		*w = (struct plugin_waiter){ .next = l->waiters, .done = done, .ctx = ctx };
		l->waiters = w;
	}
	if (l->busy)
		return;
	l->busy = true;
	l->began_ms = router_now_ms(p->r);
	if (router_options(p->r)->plugin_global) { /* a swarm's networks are its managers' to give, and come again with the tasks */
		finish(p, ERR_OK, NULL);
		return;
	}
	uint64_t question = docker_list_networks(router_docker(p->r), DOCKER_LIMIT_SHORT_MS, on_each, on_all, p);
	if (question != 0)
		l->question = question;
}

void plugin_learn_end(struct plugin *p)
{
	docker_cancel(router_docker(p->r), p->learning.question);
	finish(p, ERR_CLOSED, "the daemon is stopping");
}
