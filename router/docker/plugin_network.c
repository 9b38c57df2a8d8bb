/* Networks: Docker's, and the one in weft that each stands for.
 *
 * Docker's networks of one name on several hosts are one network. dockerd does not say the name: `-o weft.network` does, or else Docker's API is asked,
 * which knows the network only after CreateNetwork was answered; so the question is put soon after, and again when the first address or endpoint
 * is wanted. From the name on the network is made in the core, by whoever comes first, and its subnet is the same for all (plugin_pool.h).
 * Networks made so are automatic: whoever removes the last of Docker's networks of a name removes it. */
#include <stdio.h>
#include <string.h>

#include "router/docker/plugin_internal.h"

enum { NAME_FIRST_MS = 100, NAME_AGAIN_MS = 1000, ADOPT_AGAIN_MS = 30000 };

/* --- waiting -------------------------------------------------------------------------------------------------------------------------------- */

/* All that wait are told. Those that are told may wait for the next turn, or end the network. */
static void tell(struct plugin_net *n, enum err err, const char *text)
{
	struct plugin_waiter *w = n->waiters, *next;
	char why[400];

	(void)snprintf(why, sizeof(why), "%s", text != NULL ? text : err_text(err));
	n->waiters = NULL;
	n->busy = false;
	for (; w != NULL; w = next) {
		next = w->next;
		w->done(w->ctx, err, why);
		mem_free(w);
	}
}

void plugin_net_drop(struct plugin_net *n)
{
	struct plugin *p = n->p;

	docker_cancel(router_docker(p->r), n->question);
	router_cancel(p->r, n->creating);
	(void)map_del(p->nets, slice_str(n->id));
	tell(n, ERR_CANCELLED, "the network has been removed");
	mem_free(n);
}

void plugin_nets_end(struct plugin *p)
{
	struct slice key;
	void *value;

	for (size_t at = 0; p->nets != NULL && map_next(p->nets, &at, &key, &value);) {
		struct plugin_net *n = value;
		docker_cancel(router_docker(p->r), n->question);
		n->question = 0;
		tell(n, ERR_CLOSED, "the daemon is stopping");
	}
}

/* --- the network in the core ---------------------------------------------------------------------------------------------------------------- */

static const struct plugin_pool *pool_at(const struct plugin_net *n, size_t i)
{
	return map_get(n->p->pools, slice_str(n->pools[i]));
}

/* What dockerd named with --subnet, of that family; family 0: nothing. */
static struct prefix named_subnet(const struct plugin_net *n, int family)
{
	for (size_t i = 0; i < n->n_pools; i++) {
		const struct plugin_pool *pool = pool_at(n, i);
		if (pool != NULL && pool->spec.pool.addr.family == family && !(family == 4 && pool->spec.any))
			return pool->spec.pool;
	}
	return (struct prefix){ .len = 0 };
}

static bool is_default(const struct plugin_net *n)
{
	return strcmp(n->name, CORE_NETWORK_DEFAULT) == 0;
}

struct prefix plugin_net_subnet(const struct plugin_net *n)
{
	const struct core *core = router_core(n->p->r);
	struct prefix named = named_subnet(n, 4);
	struct core_network have;

	if (named.addr.family != 0)
		return named;
	return core_network(core, n->name, &have) && have.subnet.addr.family != 0 ? have.subnet : core_cfg(core)->default_subnet;
}

/* What its containers have, if the network in the core was lost and they were not. */
static struct prefix subnet_in_use(const struct plugin_net *n, struct prefix range)
{
	struct slice key;
	void *value;

	for (size_t at = 0; !n->foreign && map_next(n->p->endpoints, &at, &key, &value);) {
		const struct plugin_endpoint *e = value;
		for (size_t i = 0; strcmp(e->net, n->id) == 0 && i < e->n_addrs; i++)
			if (e->addrs[i].addr.family == 4 && e->addrs[i].len == plugin_slice_len(range) && e->addrs[i].len > range.len &&
				prefix_contains(range, e->addrs[i].addr))
				return prefix_network(e->addrs[i]);
	}
	return (struct prefix){ .len = 0 };
}

/* The part of the range that is to be the network's: what was named; else a slice that no other has. */
static enum err choose_subnet(const struct plugin_net *n, struct prefix *out, struct err_note *note)
{
	const struct core *core = router_core(n->p->r);
	struct prefix range = plugin_range(n->p), taken[CORE_NETWORKS_MAX + 1];
	struct core_network other;
	size_t n_taken = 0;
	char text[PREFIX_TEXT];

	*out = named_subnet(n, 4);
	if (out->addr.family == 0)
		*out = subnet_in_use(n, range);
	if (out->addr.family != 0 || (n->foreign && !n->gives) || core_ipam(core) == NULL)
		return ERR_OK;
	for (size_t it = 0; n_taken < CORE_NETWORKS_MAX && core_next_network(core, &it, &other);)
		taken[n_taken++] = other.subnet;
	if (core_cfg(core)->default_subnet.len > range.len) /* that of `weft attach`, if it is a part of the range only */
		taken[n_taken++] = core_cfg(core)->default_subnet;
	if (plugin_slice(range, n->name, taken, n_taken, out) == ERR_OK)
		return ERR_OK;
	return err_note(note, ERR_FULL,
		"all parts of weft's range %s are subnets of networks already; remove some, name a subnet with --subnet, or launch weft with a "
		"larger --ipalloc-range",
		prefix_format(range, text));
}

/* It is there: does it have the subnet that was named here? */
static enum err check_subnets(const struct plugin_net *n, const struct core_network *have, struct err_note *note)
{
	const struct prefix held[] = { have->subnet, have->subnet6 };
	char a[PREFIX_TEXT], b[PREFIX_TEXT];

	if (is_default(n))
		return ERR_OK;
	for (size_t i = 0; i < 2; i++) {
		struct prefix named = named_subnet(n, i == 0 ? 4 : 6);
		if (named.addr.family == 0 || prefix_eq(named, held[i]))
			continue;
		if (held[i].addr.family != 0)
			return err_note(note, ERR_CONFLICT,
				"the network %s has the subnet %s already, not %s; give --subnet %s here too, or choose another name for one of the two",
				n->name, prefix_format(held[i], a), prefix_format(named, b), a);
		if (i == 0)
			return err_note(note, ERR_CONFLICT,
				"the network %s was made without a subnet, and so has none to which %s could belong; leave --subnet out here, or choose "
				"another name",
				n->name, prefix_format(named, b));
	}
	return ERR_OK;
}

static void on_created(void *ctx, const struct router_result *res)
{
	struct plugin_net *n = ctx;
	struct core_network have;
	struct err_note note = { "" };
	enum err err = res->err;

	n->creating = 0;
	if (err == ERR_OK && !core_network(router_core(n->p->r), n->name, &have))
		err = err_note(&note, ERR_AGAIN, "the network %s has been removed meanwhile; try again", n->name);
	tell(n, err, res->err != ERR_OK ? res->text : note.text);
}

static void make_sure(struct plugin_net *n)
{
	struct core_network have, want = { .automatic = true };
	struct err_note note = { "" };
	enum err err = ERR_OK;

	if (core_network(router_core(n->p->r), n->name, &have)) {
		err = check_subnets(n, &have, &note);
		tell(n, err, note.text);
		return;
	}
	(void)snprintf(want.name, sizeof(want.name), "%s", n->name);
	err = choose_subnet(n, &want.subnet, &note);
	want.subnet6 = named_subnet(n, 6);
	if (err != ERR_OK) {
		tell(n, err, note.text);
		return;
	}
	struct core_event ev = { .kind = CORE_NETWORK_CREATE, .network = &want };
	uint64_t creating = router_submit(n->p->r, &ev, on_created, n);
	if (creating != 0) /* else n may be gone */
		n->creating = creating;
}

/* --- its name ------------------------------------------------------------------------------------------------------------------------------- */

static bool take_name(struct plugin_net *n, const char *name, struct err_note *note)
{
	if (strlen(name) > CORE_NETWORK_MAX) {
		(void)err_note(note, ERR_RANGE,
			"the name %.40s… is longer than the %d bytes that one may have in weft; give -o weft.network=NAME", name,
			CORE_NETWORK_MAX);
		return false;
	}
	(void)snprintf(n->name, sizeof(n->name), "%s", name);
	plugin_keep_net(n->p, n, NULL, NULL);
	return true;
}

static void on_named(void *ctx, enum err err, const char *why, const struct docker_network *d)
{
	struct plugin_net *n = ctx;
	struct err_note note = { "" };

	n->question = 0;
	if (err == ERR_OK && !take_name(n, d->name, &note)) {
		tell(n, ERR_RANGE, note.text);
	} else if (err == ERR_OK) {
		log_write(router_log(n->p->r), LOG_LEVEL_INFO, "docker: network %.12s is %s", n->id, n->name);
		make_sure(n);
	} else {
		(void)err_note(&note, err,
			"weft cannot find out what the network %.12s is called: %.120s; make it with -o weft.network=NAME, or see --docker-host of "
			"weftd(8)",
			n->id, why != NULL ? why : err_text(err));
		tell(n, err, note.text);
	}
}

void plugin_net_use(struct plugin_net *n, plugin_done done, void *ctx)
{
	struct core_network have;
	struct plugin_waiter *w;

	if (!n->busy && n->name[0] != '\0' && core_network(router_core(n->p->r), n->name, &have)) {
		struct err_note note = { "" };
		enum err err = check_subnets(n, &have, &note);
		done(ctx, err, note.text);
		return;
	}
	w = mem_alloc(sizeof(*w));
	if (w == NULL) {
		done(ctx, ERR_NOMEM, "out of memory");
		return;
	}
	*w = (struct plugin_waiter){ .next = n->waiters, .done = done, .ctx = ctx };
	n->waiters = w;
	if (n->busy)
		return;
	n->busy = true;
	if (n->name[0] != '\0') {
		make_sure(n);
		return;
	}
	uint64_t question = docker_get_network(router_docker(n->p->r), n->id, DOCKER_LIMIT_SHORT_MS, on_named, n);
	if (question != 0) /* else n may be gone */
		n->question = question;
}

static void asked_by_ourselves(void *ctx, enum err err, const char *text)
{
	(void)ctx;
	(void)err;
	(void)text;
}

/* The network is there: so are its containers, as far as the kernel has them. */
static void on_there(void *ctx, enum err err, const char *text)
{
	struct plugin_net *n = ctx;

	if (err == ERR_OK) {
		n->p->adopt = true;
	} else if (err != ERR_CANCELLED && !n->p->stopping) {
		log_write(router_log(n->p->r), LOG_LEVEL_WARNING,
			"docker: the containers that are on network %s are not attached to it yet: %s", n->name, text);
		n->adopt_ms = router_now_ms(n->p->r) + ADOPT_AGAIN_MS;
	}
}

void plugin_nets_adopt(struct plugin *p)
{
	struct slice key;
	void *value;
	char ident[CORE_IDENT_MAX + 1];

	for (size_t at = 0; map_next(p->endpoints, &at, &key, &value);) {
		const struct plugin_endpoint *e = value;
		struct plugin_net *n = map_get(p->nets, slice_str(e->net));
		plugin_endpoint_ident(e, ident);
		if (n != NULL && core_local(router_core(p->r), ident) == NULL)
			n->adopt_ms = router_now_ms(p->r) + PLUGIN_ADOPT_MS;
	}
}

static void adopt(struct plugin *p)
{
	struct err_note note = { "" };

	p->adopt = false;
	router_adopt(p->r);
	if (plugin_adopt(p, &note) != ERR_OK)
		log_write(router_log(p->r), LOG_LEVEL_WARNING, "docker: %s", note.text);
}

/* The mesh is given a moment to tell of the network. */
static bool adopt_now(const struct plugin_net *n, uint64_t now)
{
	struct core_network have;

	return n->adopt_ms != 0 && !n->busy &&
		(now >= n->adopt_ms || (n->name[0] != '\0' && core_network(router_core(n->p->r), n->name, &have)));
}

void plugin_nets_tick(struct plugin *p)
{
	uint64_t now = router_now_ms(p->r);
	struct slice key;
	void *value;

	if (p->adopt)
		adopt(p);
	for (size_t at = 0; map_next(p->nets, &at, &key, &value);) {
		struct plugin_net *n = value;
		if (adopt_now(n, now)) {
			n->adopt_ms = 0;
			plugin_net_use(n, on_there, n);
			at = 0; /* the map may have changed */
			continue;
		}
		if (n->ask_ms == 0 || now < n->ask_ms || n->busy)
			continue;
		bool more = n->name[0] == '\0' && ++n->tries < PLUGIN_NAME_TRIES;
		n->ask_ms = more ? now + NAME_AGAIN_MS * n->tries : 0;
		if (n->name[0] == '\0' && docker_on(router_docker(p->r))) {
			plugin_net_use(n, asked_by_ourselves, n);
			return; /* the map may have changed */
		}
	}
}

/* --- making --------------------------------------------------------------------------------------------------------------------------------- */

struct network_work {
	struct plugin_call *c;
	char id[DOCKER_ID_MAX + 1];
	bool made;     /* by this call: to be dropped if it fails */
	bool allocate; /* AllocateNetwork */
	json_t *options;
	char before[2 * PLUGIN_POOLS_MAX][PLUGIN_POOL_ID_MAX + 1]; /* pools it had */
	size_t n_before;
};

static void work_free(struct network_work *w)
{
	json_decref(w->options);
	mem_free(w);
}

static void network_fail(struct network_work *w, enum err err, const char *text)
{
	struct plugin_call *c = w->c;
	struct plugin_net *n = map_get(c->p->nets, slice_str(w->id));

	if (n != NULL && w->made) {
		plugin_forget(c->p, "net", n->id, NULL, NULL);
		plugin_net_drop(n);
	} else if (n != NULL) {
		memcpy(n->pools, w->before, sizeof(n->pools));
		n->n_pools = w->n_before;
	}
	work_free(w);
	plugin_fail(c, err, text);
}

static void on_net_kept(void *ctx, const struct router_result *res)
{
	struct network_work *w = ctx;
	struct plugin_call *c = w->c;
	struct plugin_net *n = map_get(c->p->nets, slice_str(w->id));
	json_t *answer;

	if (res->err != ERR_OK || n == NULL || c->q == NULL) {
		network_fail(w, res->err != ERR_OK ? res->err : ERR_CANCELLED, res->text);
		return;
	}
	n->fresh = false;
	if (n->name[0] == '\0')
		n->ask_ms = router_now_ms(c->p->r) + NAME_FIRST_MS;
	if (w->allocate) {
		(void)json_object_set_new(w->options, "weft.network", json_string(n->name));
		answer = json_pack("{s:O}", "Options", w->options);
	} else {
		answer = json_object();
	}
	work_free(w);
	plugin_ok(c, answer);
}

static void on_net_sure(void *ctx, enum err err, const char *text)
{
	struct network_work *w = ctx;
	struct plugin *p = w->c->p;
	struct plugin_net *n = map_get(p->nets, slice_str(w->id));

	if (err != ERR_OK || n == NULL)
		network_fail(w, err != ERR_OK ? err : ERR_CANCELLED, text);
	else
		plugin_keep_net(p, n, on_net_kept, w);
}

/* The pools that dockerd speaks of; other spaces are other drivers'. */
static enum err link_pools(struct plugin_net *n, const struct plugin_network_request *req, struct err_note *note)
{
	char text[PREFIX_TEXT];

	for (size_t i = 0; i < req->n_subnets; i++) {
		const struct plugin_subnet *s = &req->subnets[i];
		const struct plugin_pool *pool = plugin_pool_of(n->p, s);
		bool ours = strcmp(s->space, PLUGIN_SPACE_LOCAL) == 0 || strcmp(s->space, PLUGIN_SPACE_GLOBAL) == 0;
		if (pool == NULL && ours)
			return err_note(note, ERR_NOT_FOUND,
				"weft has given out no pool %s with this gateway; was its state lost? Remove the network and create it again",
				prefix_format(s->pool, text));
		n->gives = n->gives || (pool == NULL && strcmp(s->space, "null") == 0);
		n->foreign = n->foreign || (pool == NULL && s->space[0] != '\0');
		if (pool != NULL && n->n_pools < 2 * PLUGIN_POOLS_MAX)
			(void)snprintf(n->pools[n->n_pools++], sizeof(n->pools[0]), "%s", pool->id);
	}
	if (n->n_pools == 0)
		n->foreign = true;
	if (n->foreign && n->n_pools > 0)
		return err_note(note, ERR_USAGE, "one network cannot have addresses of weft's and of another IPAM driver");
	return ERR_OK;
}

struct plugin_net *plugin_net_new(struct plugin *p, const char *id)
{
	struct plugin_net *n = mem_zalloc(1, sizeof(*n));

	if (n == NULL)
		return NULL;
	n->p = p;
	(void)snprintf(n->id, sizeof(n->id), "%s", id);
	if (map_put(p->nets, slice_str(n->id), n, NULL) != ERR_OK) {
		mem_free(n);
		return NULL;
	}
	return n;
}

static bool same_options(const struct plugin_options *a, const struct plugin_options *b)
{
	return strcmp(a->network, b->network) == 0 && a->no_multicast == b->no_multicast && a->mtu == b->mtu;
}

/* A name without which nothing can be done, if none can be learnt. */
static enum err first_name(struct plugin_net *n, const struct plugin_network_request *req, struct err_note *note)
{
	if (n->name[0] != '\0')
		return ERR_OK;
	if (req->options.network[0] != '\0')
		(void)snprintf(n->name, sizeof(n->name), "%s", req->options.network);
	else if (router_options(n->p->r)->plugin_global) /* the swarm's own, and the same everywhere */
		(void)snprintf(n->name, sizeof(n->name), "%s", n->id);
	else if (!docker_on(router_docker(n->p->r)))
		return err_note(note, ERR_STATE,
			"weft does not hear what the network is called, since it may not ask Docker (--docker-host \"\"); name it with -o "
			"weft.network=NAME");
	return ERR_OK;
}

static enum err prepare(
	struct network_work *w, const struct plugin_network_request *req, struct plugin_net **out, struct err_note *note)
{
	struct plugin *p = w->c->p;
	struct plugin_net *n = map_get(p->nets, slice_str(req->id));
	bool again = n != NULL && (w->allocate ? n->allocated : n->created);
	enum err err = ERR_OK;

	*out = n;
	if (n != NULL) {
		memcpy(w->before, n->pools, sizeof(w->before));
		w->n_before = n->n_pools;
	}
	if (again && same_options(&n->options, &req->options))
		return ERR_OK; /* said twice */
	if (again)
		return err_note(note, ERR_EXISTS, "there is a network %.12s already, with other options", req->id);
	if (n == NULL && map_count(p->nets) >= PLUGIN_RECORDS_MAX)
		return err_note(note, ERR_LIMIT, "there are %d networks already; remove some", PLUGIN_RECORDS_MAX);
	if (n == NULL) {
		n = plugin_net_new(p, req->id);
		if (n == NULL)
			return err_note(note, ERR_NOMEM, "out of memory");
		w->made = n->fresh = true;
		n->options = req->options;
	}
	*out = n;
	err = link_pools(n, req, note);
	if (err == ERR_OK)
		err = first_name(n, req, note);
	if (err != ERR_OK)
		return err;
	n->internal = n->internal || req->internal;
	n->created = n->created || !w->allocate;
	n->allocated = n->allocated || w->allocate;
	return ERR_OK;
}

static void make_network(struct plugin_call *c, const json_t *body, bool allocate)
{
	struct plugin_network_request req;
	struct err_note note = { "out of memory" };
	struct plugin_net *n = NULL;
	enum err err = plugin_parse_network(body, allocate, &req, &note);
	struct network_work *w = err == ERR_OK ? mem_zalloc(1, sizeof(*w)) : NULL;

	if (w == NULL) {
		plugin_fail(c, err == ERR_OK ? ERR_NOMEM : err, note.text);
		return;
	}
	w->c = c;
	w->allocate = allocate;
	(void)snprintf(w->id, sizeof(w->id), "%s", req.id);
	const json_t *options = json_object_get(body, "Options");
	w->options = json_is_object(options) ? json_copy((json_t *)(uintptr_t)options) : json_object();
	err = w->options == NULL ? ERR_NOMEM : prepare(w, &req, &n, &note);
	if (err != ERR_OK)
		network_fail(w, err, note.text);
	else if (n->name[0] != '\0')
		plugin_net_use(n, on_net_sure, w);
	else
		plugin_keep_net(c->p, n, on_net_kept, w);
}

void plugin_create_network(struct plugin_call *c, const json_t *body)
{
	make_network(c, body, false);
}

void plugin_allocate_network(struct plugin_call *c, const json_t *body)
{
	make_network(c, body, true);
}

/* --- removing ------------------------------------------------------------------------------------------------------------------------------- */

struct removal {
	struct plugin_call *c;
	char id[DOCKER_ID_MAX + 1], name[CORE_NETWORK_MAX + 1];
	bool allocated; /* by which word it goes */
};

static bool name_used(const struct plugin *p, const char *name)
{
	struct slice key;
	void *value;

	for (size_t at = 0; map_next(p->nets, &at, &key, &value);)
		if (strcmp(((const struct plugin_net *)value)->name, name) == 0)
			return true;
	return false;
}

/* The network in weft goes as well, unless somebody made it by hand, or uses it. */
static void remove_from_core(struct plugin *p, const char *name)
{
	struct core_network have;

	if (name[0] == '\0' || name_used(p, name) || !core_network(router_core(p->r), name, &have) || !have.automatic)
		return;
	struct core_event ev = { .kind = CORE_NETWORK_REMOVE, .network = &have };
	plugin_submit_quietly(p, &ev);
}

static void on_net_forgotten(void *ctx, const struct router_result *res)
{
	struct removal *x = ctx;
	struct plugin_call *c = x->c;

	if (res->err == ERR_OK)
		remove_from_core(c->p, x->name);
	mem_free(x);
	if (res->err != ERR_OK)
		plugin_fail(c, res->err, res->text);
	else
		plugin_ok(c, json_object());
}

/* An endpoint that is left (dockerd removed it while we were not there) goes first. */
static struct plugin_endpoint *endpoint_in(const struct plugin *p, const char *net)
{
	struct slice key;
	void *value;

	for (size_t at = 0; map_next(p->endpoints, &at, &key, &value);) {
		struct plugin_endpoint *e = value;
		if (strcmp(e->net, net) == 0 && !e->removing)
			return e;
	}
	return NULL;
}

static void remove_next(void *ctx, enum err err, const char *text)
{
	struct removal *x = ctx;
	struct plugin *p = x->c->p;
	struct plugin_net *n = map_get(p->nets, slice_str(x->id));
	struct plugin_endpoint *e = n != NULL && !x->allocated ? endpoint_in(p, x->id) : NULL;

	if (err != ERR_OK) { /* it is still there, and the network with it: the next look at what Docker has tries again */
		plugin_fail(x->c, err, text);
		mem_free(x);
		return;
	}
	if (e != NULL) {
		plugin_endpoint_remove(p, e, remove_next, x);
		return;
	}
	if (n != NULL && x->allocated)
		n->allocated = false;
	else if (n != NULL)
		n->created = false;
	if (n == NULL) {
		struct router_result done = { .err = ERR_OK };
		on_net_forgotten(x, &done);
	} else if (n->created || n->allocated) {
		plugin_keep_net(p, n, on_net_forgotten, x);
	} else {
		(void)snprintf(x->name, sizeof(x->name), "%s", n->name);
		plugin_net_drop(n);
		plugin_forget(p, "net", x->id, on_net_forgotten, x);
	}
}

/* Endpoints have been removed already, or are in the list of what is removed next. */
void plugin_net_forget(struct plugin_net *n)
{
	struct plugin *p = n->p;
	char name[CORE_NETWORK_MAX + 1];

	(void)snprintf(name, sizeof(name), "%s", n->name);
	plugin_forget(p, "net", n->id, NULL, NULL);
	plugin_net_drop(n);
	remove_from_core(p, name);
}

static void remove_network(struct plugin_call *c, const json_t *body, bool allocated)
{
	struct err_note note = { "out of memory" };
	char id[DOCKER_ID_MAX + 1];
	enum err err = plugin_parse_network_id(body, id, &note);
	struct removal *x = err == ERR_OK ? mem_zalloc(1, sizeof(*x)) : NULL;

	if (x == NULL) {
		plugin_fail(c, err == ERR_OK ? ERR_NOMEM : err, note.text);
		return;
	}
	x->c = c;
	x->allocated = allocated;
	memcpy(x->id, id, sizeof(x->id));
	remove_next(x, ERR_OK, NULL);
}

void plugin_delete_network(struct plugin_call *c, const json_t *body)
{
	remove_network(c, body, false);
}

void plugin_free_network(struct plugin_call *c, const json_t *body)
{
	remove_network(c, body, true);
}
