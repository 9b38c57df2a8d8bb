/* The IPAM driver: pools, and addresses of them.
 *
 * An address is a lease of its own ident, since dockerd does not say for whom it is; releasing finds it by the address. An IPv6 address is one of the
 * range as well, moved to the pool's prefix. What --gateway and --aux-address name is reserved as far as it can be: the same command is
 * given on several hosts, and only one of them can hold the lease. */
#include <stdio.h>
#include <string.h>

#include "router/docker/plugin_internal.h"

/* --- pools --------------------------------------------------------------------------------------------------------------------------------- */

static enum err check_pool4(const struct prefix range, const struct plugin_pool_request *req, struct err_note *note)
{
	char a[PREFIX_TEXT], b[PREFIX_TEXT];

	if (!prefix_is_network(req->pool))
		return err_note(note, ERR_USAGE, "the subnet %s has bits set after its prefix; %s would be one",
			prefix_format(req->pool, a), prefix_format(prefix_network(req->pool), b));
	enum err err = ipam_check_subnet(req->pool, note);
	if (err == ERR_OK && (req->pool.len < range.len || !prefix_contains(range, req->pool.addr)))
		err = err_note(note, ERR_RANGE,
			"the subnet %s does not lie in weft's range %s; choose a part of that, leave --subnet out, or launch weft with another "
			"--ipalloc-range",
			prefix_format(req->pool, a), prefix_format(range, b));
	if (err == ERR_OK && req->sub.addr.family != 0) {
		err = prefix_is_network(req->sub)
			? ipam_check_subnet(req->sub, note)
			: err_note(note, ERR_USAGE, "the --ip-range %s has bits set after its prefix", prefix_format(req->sub, a));
	}
	return err;
}

static enum err check_pool6(const struct prefix range, const struct plugin_pool_request *req, struct err_note *note)
{
	char a[PREFIX_TEXT];

	if (!prefix_is_network(req->pool))
		return err_note(note, ERR_USAGE, "the subnet %s has bits set after its prefix", prefix_format(req->pool, a));
	if (!plugin_pool6_fits(range, req->pool))
		return err_note(note, ERR_RANGE,
			"the IPv6 subnet %s is too small: every address of weft's range needs one there, so at most /%u",
			prefix_format(req->pool, a), 128 - (32u - range.len));
	if (req->sub.addr.family != 0 && (!prefix_is_network(req->sub) || req->sub.len > 96 + IPAM_SUBNET_MAX_LEN))
		return err_note(
			note, ERR_USAGE, "the --ip-range %s is too small or has bits set after its prefix", prefix_format(req->sub, a));
	return ERR_OK;
}

/* The part of the range that belongs to an IPv6 --ip-range. */
static bool sub4_of(const struct prefix range, const struct plugin_pool_id *spec, struct prefix *out)
{
	struct ip first;

	if (!plugin_addr4(range, spec->pool, spec->sub.addr, &first))
		return false;
	*out = (struct prefix){ first, (uint8_t)(spec->sub.len > 96 + range.len ? spec->sub.len - 96 : range.len) };
	return prefix_is_network(*out);
}

static enum err check_pool(const struct plugin *p, struct plugin_pool_request *req, struct err_note *note)
{
	const struct options *o = router_options(p->r);
	struct prefix range = plugin_range(p), sub4;
	char a[PREFIX_TEXT], b[PREFIX_TEXT];
	enum err err;

	if (core_ipam(router_core(p->r)) == NULL)
		return err_note(note, ERR_STATE,
			"weft's address management is off on this host (--ipalloc-range \"\"); leave --ipam-driver out, so that Docker gives addresses");
	if (req->pool.addr.family == 0 && req->v6 && o->range6.addr.family == 0)
		return err_note(
			note, ERR_USAGE, "no IPv6 subnet is named; give --subnet fd00:1::/64, or launch weft with --ipalloc-range6");
	if (req->pool.addr.family == 0) {
		req->pool = req->v6 ? prefix_network(o->range6) : range;
		return ERR_OK;
	}
	err = req->v6 ? check_pool6(range, req, note) : check_pool4(range, req, note);
	if (err == ERR_OK && req->sub.addr.family != 0 &&
		(!prefix_contains(req->pool, req->sub.addr) || req->sub.len < req->pool.len))
		err = err_note(note, ERR_USAGE, "the --ip-range %s does not lie in the subnet %s", prefix_format(req->sub, a),
			prefix_format(req->pool, b));
	if (err == ERR_OK && req->v6 && req->sub.addr.family != 0 &&
		!sub4_of(range, &(struct plugin_pool_id){ .pool = req->pool, .sub = req->sub }, &sub4))
		err = err_note(note, ERR_RANGE,
			"no address of weft's range %s belongs to the --ip-range %s; choose one nearer to the beginning of %s",
			prefix_format(range, a), prefix_format(req->sub, b), "the subnet");
	return err;
}

/* A call that waits for its record: the pool may be gone by then. */
struct pool_work {
	struct plugin_call *c;
	char id[PLUGIN_POOL_ID_MAX + 1];
};

static void pool_kept(void *ctx, const struct router_result *res)
{
	struct pool_work *w = ctx;
	struct plugin_call *c = w->c;
	struct plugin *p = c->p;
	struct plugin_pool *pool = map_get(p->pools, slice_str(w->id));
	char prefix[PREFIX_TEXT], tag[IP_TEXT], gateway[IP_TEXT + 4];

	mem_free(w);
	if (pool == NULL || res->err != ERR_OK || c->q == NULL) { /* nobody knows of it */
		if (pool != NULL) {
			plugin_forget(p, "pool", pool->id, NULL, NULL);
			plugin_pool_drop(p, pool);
		}
		plugin_fail(c, res->err != ERR_OK ? res->err : ERR_CANCELLED, res->text);
		return;
	}
	(void)snprintf(gateway, sizeof(gateway), "%s/%u", ip_format(pool->spec.tag, tag), ip_bits(pool->spec.tag));
	plugin_ok(c,
		json_pack("{s:s, s:s, s:{s:s}}", "PoolID", pool->id, "Pool", prefix_format(pool->spec.pool, prefix), "Data",
			"com.docker.network.gateway", gateway));
}

void plugin_request_pool(struct plugin_call *c, const json_t *body)
{
	struct plugin *p = c->p;
	struct plugin_pool_request req;
	struct plugin_pool_id spec = { .any = false };
	struct err_note note = { "out of memory" };
	struct pool_work *w = NULL;
	struct plugin_pool *pool = NULL;
	enum err err = plugin_parse_pool(body, &req, &note);

	spec.any = err == ERR_OK && req.pool.addr.family == 0;
	if (err == ERR_OK)
		err = check_pool(p, &req, &note);
	if (err == ERR_OK && map_count(p->pools) >= PLUGIN_RECORDS_MAX)
		err = err_note(&note, ERR_LIMIT, "there are %d pools already; remove networks that are not needed", PLUGIN_RECORDS_MAX);
	if (err == ERR_OK) {
		spec.pool = req.pool;
		spec.sub = req.sub;
		spec.global = strcmp(req.space, PLUGIN_SPACE_GLOBAL) == 0;
		do
			spec.tag = plugin_tag(req.v6, spec.global, plugin_random());
		while (plugin_tag_in_use(p, spec.tag));
		w = mem_alloc(sizeof(*w));
		pool = w != NULL ? plugin_pool_new(p, &spec) : NULL;
		err = pool == NULL ? ERR_NOMEM : ERR_OK;
	}
	if (err != ERR_OK) {
		mem_free(w);
		plugin_fail(c, err, note.text);
		return;
	}
	pool->fresh = true;
	w->c = c;
	memcpy(w->id, pool->id, sizeof(w->id));
	plugin_keep_pool(p, pool, pool_kept, w);
}

/* --- releasing ----------------------------------------------------------------------------------------------------------------------------- */

static void released(void *ctx, const struct router_result *res)
{
	struct plugin_call *c = ctx;

	if (res->err == ERR_CLOSED || res->err == ERR_NOMEM)
		plugin_fail(c, res->err, res->text);
	else
		plugin_ok(c, json_object());
}

/* What is not there is released already. */
void plugin_release_pool(struct plugin_call *c, const json_t *body)
{
	struct plugin *p = c->p;
	struct plugin_address_request req;
	struct err_note note = { "" };
	enum err err = plugin_parse_pool_id(body, &req, &note);

	if (err != ERR_OK) {
		plugin_fail(c, err, note.text);
		return;
	}
	struct plugin_pool *pool = plugin_pool_known(p, req.pool);
	if (pool == NULL) {
		plugin_ok(c, json_object());
		return;
	}
	plugin_free_leases(p, pool);
	plugin_pool_drop(p, pool);
	plugin_forget(p, "pool", req.pool, released, c);
}

void plugin_release_address(struct plugin_call *c, const json_t *body)
{
	struct plugin *p = c->p;
	struct plugin_address_request req;
	struct err_note note = { "" };
	struct ip v4;
	char ident[IPAM_IDENT_MAX + 1];
	enum err err = plugin_parse_address(body, true, &req, &note);

	if (err != ERR_OK) {
		plugin_fail(c, err, note.text);
		return;
	}
	struct plugin_pool *pool = plugin_pool_known(p, req.pool);
	struct plugin_pool lost = { .n_reserved = 0 };
	if (pool == NULL && plugin_pool_id_parse(req.pool, &lost.spec) == ERR_OK) /* it went before its addresses */
		pool = &lost;
	const char *holder = pool != NULL && plugin_lease_address(p, pool, req.addr, &v4) ? plugin_holder(p, v4) : NULL;
	bool used = plugin_endpoint_with(p, req.addr, NULL) != NULL;
	if (pool != NULL && pool != &lost) {
		size_t i = plugin_reserved_at(pool, req.addr);
		if (i < pool->n_reserved) {
			router_cancel(p->r, pool->reserved[i].claim);
			pool->reserved[i] = pool->reserved[--pool->n_reserved];
			plugin_keep_pool(p, pool, NULL, NULL);
		}
	}
	if (used || !plugin_is_lease(holder)) {
		plugin_ok(c, json_object());
		return;
	}
	(void)snprintf(ident, sizeof(ident), "%s", holder);
	struct ipam_event free_it = { .kind = IPAM_FREE, .ident = ident, .addr = v4 };
	struct core_event ev = { .kind = CORE_IPAM, .ipam = &free_it };
	(void)router_submit(p->r, &ev, released, c);
}

/* --- asking -------------------------------------------------------------------------------------------------------------------------------- */

struct address_work {
	struct plugin_call *c;
	struct plugin_address_request req;
	char pool[PLUGIN_POOL_ID_MAX + 1];
	char ident[IPAM_IDENT_MAX + 1]; /* "": nothing was asked of IPAM */
	bool naming;                    /* the network is being made sure of */
	struct prefix found;            /* the answer, once the pool's record is on disk */
};

static void address_answer(struct address_work *w, struct ip a, unsigned len)
{
	struct plugin_call *c = w->c;
	char text[IP_TEXT], cidr[IP_TEXT + 4];

	(void)snprintf(cidr, sizeof(cidr), "%s/%u", ip_format(a, text), len);
	mem_free(w);
	plugin_ok(c, json_pack("{s:s, s:{}}", "Address", cidr, "Data"));
}

static void address_fail(struct address_work *w, enum err err, const char *text)
{
	struct plugin_call *c = w->c;

	mem_free(w);
	plugin_fail(c, err, text);
}

static void address_stop(struct plugin_call *c, enum err err, const char *text)
{
	struct address_work *w = c->work;

	if (w->naming) { /* it ends soon, and finds that nobody asks */
		if (c->q != NULL)
			c->since_ms = router_now_ms(c->p->r);
		return;
	}
	router_cancel(c->p->r, c->pending);
	if (w->ident[0] != '\0') /* it may have been given just now */
		plugin_free_lease(c->p, w->ident, (struct ip){ 0 });
	address_fail(w, err, text);
}

static void on_pool_kept(void *ctx, const struct router_result *res)
{
	struct address_work *w = ctx;

	if (res->err != ERR_OK)
		address_fail(w, res->err, res->text);
	else
		address_answer(w, w->found.addr, w->found.len);
}

/* The pool's record has changed: first that. */
static void address_answer_kept(struct address_work *w, const struct plugin_pool *pool, struct ip a, unsigned len)
{
	w->found = (struct prefix){ a, (uint8_t)len };
	plugin_keep_pool(w->c->p, pool, on_pool_kept, w);
}

/* Remembered with the pool: none of its containers gets it. */
static void address_reserved(struct address_work *w, struct plugin_pool *pool)
{
	struct ip a = w->req.addr;

	if (plugin_reserved_at(pool, a) == pool->n_reserved) {
		if (pool->n_reserved == PLUGIN_AUX_MAX) {
			address_fail(w, ERR_LIMIT, "too many addresses are set aside by --aux-address");
			return;
		}
		struct plugin_reserved *r = &pool->reserved[pool->n_reserved++];
		*r = (struct plugin_reserved){ .addr = a };
		plugin_claim_reserved(w->c->p, pool, r);
	}
	if (w->req.gateway)
		pool->gateway = a;
	address_answer_kept(w, pool, a, pool->spec.pool.len);
}

/* What a container gets with an address: that of its network, where no subnet was named. */
static unsigned len_of(const struct plugin *p, const struct plugin_pool *pool, struct ip a)
{
	const struct plugin_net *n = pool->spec.any ? plugin_net_of_pool(p, pool->id) : NULL;
	struct prefix subnet = n != NULL && a.family == 4 ? plugin_net_subnet(n) : pool->spec.pool;

	return prefix_contains(subnet, a) ? subnet.len : pool->spec.pool.len;
}

/* Where several hosts do what one of them was told (a swarm's manager gives addresses for all), the lease is on another one. */
static bool held_for_us(const struct plugin *p, const struct plugin_pool *pool, struct ip a, enum err err)
{
	const struct plugin_net *n = plugin_net_of_pool(p, pool->id);

	return err == ERR_BUSY && router_options(p->r)->plugin_global &&
		(n == NULL || core_address_holder(router_core(p->r), a, n->name) == NULL);
}

static void ask_ipam(struct address_work *w, const struct plugin_pool *pool, struct prefix what, bool claim);

static void on_address(void *ctx, const struct router_result *res)
{
	struct address_work *w = ctx;
	struct plugin_call *c = w->c;
	struct plugin *p = c->p;
	struct plugin_pool *pool = map_get(p->pools, slice_str(w->pool));

	c->pending = 0;
	c->stop = NULL;
	if (pool != NULL && res->err != ERR_OK && w->req.addr.family != 0 && held_for_us(p, pool, w->req.addr, res->err)) {
		address_answer(w, w->req.addr, len_of(p, pool, w->req.addr));
		return;
	}
	if (res->err != ERR_OK) {
		address_fail(w, res->err, res->text);
		return;
	}
	if (pool == NULL || c->q == NULL) {
		plugin_free_lease(p, w->ident, (struct ip){ 0 });
		address_fail(w, ERR_CANCELLED, "the pool is gone");
		return;
	}
	struct ip a = res->addr.addr;
	unsigned len = pool->spec.any ? res->addr.len : pool->spec.pool.len;
	if (pool->spec.pool.addr.family == 6) {
		a = plugin_addr6(plugin_range(p), pool->spec.pool, a);
		len = pool->spec.pool.len;
	}
	/* This lease is now what reserves it, or keeps it for a container that was there before our records; another for who asked. */
	if (plugin_is_reserved(pool, a) || (w->req.addr.family == 0 && plugin_endpoint_with(p, a, NULL) != NULL)) {
		ask_ipam(w, pool, prefix_network(res->addr), false);
		return;
	}
	address_answer(w, a, len);
}

static void ask_ipam(struct address_work *w, const struct plugin_pool *pool, struct prefix what, bool claim)
{
	struct plugin_call *c = w->c;

	plugin_lease_ident(pool, w->ident);
	struct ipam_event want = { .kind = claim ? IPAM_CLAIM : IPAM_ALLOCATE, .ident = w->ident, .subnet = what, .wait = !claim };
	struct core_event ev = { .kind = CORE_IPAM, .ipam = &want };
	c->work = w;
	c->stop = address_stop;
	c->timed = true;
	struct router *r = c->p->r;
	uint64_t number = router_submit(r, &ev, on_address, w);
	if (number != 0) /* else w and perhaps c are gone */
		c->pending = number;
}

/* An address is named: by --gateway, --aux-address, --ip, or again what dockerd was given before. */
static void ask_for_this(struct address_work *w, struct plugin_pool *pool, const struct plugin_net *n)
{
	struct plugin *p = w->c->p;
	struct prefix range = plugin_range(p), at = pool->spec.pool;
	struct ip v4;
	char a[IP_TEXT], b[PREFIX_TEXT], text[256];

	if (!prefix_contains(at, w->req.addr) || !plugin_lease_address(p, pool, w->req.addr, &v4) || !prefix_contains(range, v4)) {
		(void)snprintf(text, sizeof(text), "the address %s is none of the pool %s%s", ip_format(w->req.addr, a),
			prefix_format(at, b), at.addr.family == 6 ? ", or belongs to none of weft's range" : "");
		address_fail(w, ERR_RANGE, text);
		return;
	}
	struct range4 all = range4_of(at.addr.family == 4 ? at : range);
	uint32_t number = ip_to_v4(v4);
	if (!w->req.gateway && (number == all.start || number == all.end - 1)) {
		(void)snprintf(text, sizeof(text), "the address %s is the first or last one of its subnet, which are never given",
			ip_format(w->req.addr, a));
		address_fail(w, ERR_RANGE, text);
		return;
	}
	if (w->req.gateway || n == NULL) { /* --gateway or --aux-address */
		address_reserved(w, pool);
		return;
	}
	if (plugin_is_reserved(pool, w->req.addr)) {
		(void)snprintf(text, sizeof(text), "the address %s is set aside by --gateway or --aux-address of the network",
			ip_format(w->req.addr, a));
		address_fail(w, ERR_BUSY, text);
		return;
	}
	/* Given before: nobody else has it. Whether a container has is seen when an endpoint is made. */
	const char *holder = plugin_holder(p, v4);
	if (plugin_is_lease(holder) || (holder != NULL && plugin_endpoint_with(p, w->req.addr, NULL) != NULL)) {
		address_answer(w, w->req.addr, len_of(p, pool, w->req.addr));
		return;
	}
	ask_ipam(w, pool, (struct prefix){ v4, (uint8_t)(at.addr.family == 4 ? len_of(p, pool, v4) : range.len) }, true);
}

static void ask_for_any(struct address_work *w, struct plugin_pool *pool, const struct plugin_net *n)
{
	struct plugin *p = w->c->p;
	struct prefix where = pool->spec.pool;

	if (pool->spec.pool.addr.family == 6 && pool->spec.sub.addr.family != 0)
		(void)sub4_of(plugin_range(p), &pool->spec, &where); /* it was, when the pool was asked for */
	else if (pool->spec.sub.addr.family != 0)
		where = pool->spec.sub;
	else if (pool->spec.any || pool->spec.pool.addr.family == 6)
		where = plugin_net_subnet(n);
	ask_ipam(w, pool, where, false);
}

static void on_net_ready(void *ctx, enum err err, const char *text)
{
	struct address_work *w = ctx;
	struct plugin_call *c = w->c;
	struct plugin_pool *pool = map_get(c->p->pools, slice_str(w->pool));
	struct plugin_net *n = pool != NULL ? plugin_net_of_pool(c->p, pool->id) : NULL;

	w->naming = false;
	c->stop = NULL;
	if (err == ERR_OK && (n == NULL || c->q == NULL)) {
		err = ERR_CANCELLED;
		text = "the network is gone";
	}
	if (err != ERR_OK)
		address_fail(w, err, text);
	else if (w->req.addr.family != 0)
		ask_for_this(w, pool, n);
	else
		ask_for_any(w, pool, n);
}

/* dockerd has its own word for what we call the gateway: by what it was told, or what somebody else's plugin (of a swarm's manager) told it. */
static void gateway(struct address_work *w, struct plugin_pool *pool)
{
	struct plugin *p = w->c->p;
	struct ip a = w->req.addr.family != 0 ? w->req.addr : pool->gateway;
	struct slice key;
	void *value;
	char gw[IP_TEXT], subnet[PREFIX_TEXT], text[256];

	for (size_t at = 0; map_next(p->pools, &at, &key, &value);) {
		const struct plugin_pool *other = value;
		if (other == pool || !ip_eq(other->gateway, a) || !prefix_eq(other->spec.pool, pool->spec.pool) || plugin_is_tag(a))
			continue;
		(void)snprintf(text, sizeof(text),
			"%s is the gateway of another network with the subnet %s already; choose another gateway or subnet", ip_format(a, gw),
			prefix_format(pool->spec.pool, subnet));
		address_fail(w, ERR_EXISTS, text);
		return;
	}
	if (!plugin_is_tag(a)) {
		ask_for_this(w, pool, NULL);
		return;
	}
	if (!ip_eq(pool->gateway, a)) {
		pool->gateway = a;
		if (prefix_eq(pool->spec.pool, plugin_range(p)))
			pool->spec.any = true; /* a tag was made for whoever named no subnet */
		address_answer_kept(w, pool, a, ip_bits(a));
	} else {
		address_answer(w, a, ip_bits(a));
	}
}

/* The pool is known, and so is its network if Docker has one of it. */
static void address_asked(struct address_work *w, struct plugin_pool *pool, enum err err, const char *why)
{
	struct plugin_net *n = plugin_net_of_pool(w->c->p, pool->id);
	struct err_note note = { "" };

	memcpy(w->pool, pool->id, sizeof(w->pool));
	if (n == NULL && w->req.addr.family == 0) {
		plugin_say_lost(&note, "no network was made of this pool", err, why);
		address_fail(w, ERR_STATE, note.text);
	} else if (n == NULL) {
		ask_for_this(w, pool, NULL);
	} else {
		w->c->work = w;
		w->c->stop = address_stop;
		w->naming = true;
		plugin_net_use(n, on_net_ready, w);
	}
}

static void on_learnt(void *ctx, enum err err, const char *why)
{
	struct address_work *w = ctx;
	struct plugin_pool *pool = plugin_pool_known(w->c->p, w->req.pool);

	if (pool == NULL || w->c->q == NULL || w->c->p->stopping)
		address_fail(w, err != ERR_OK ? err : ERR_CANCELLED, err != ERR_OK ? why : "the pool is gone");
	else
		address_asked(w, pool, err, why);
}

void plugin_request_address(struct plugin_call *c, const json_t *body)
{
	struct plugin *p = c->p;
	struct plugin_address_request req;
	struct err_note note = { "out of memory" };
	struct address_work *w = NULL;
	enum err err = plugin_parse_address(body, false, &req, &note);
	struct plugin_pool *pool = err == ERR_OK ? plugin_pool_find(p, req.pool) : NULL;

	if (err == ERR_OK && pool == NULL)
		err = err_note(&note, ERR_NOT_FOUND,
			"weft knows of no pool '%.60s'; was its state lost? Remove the network and create it again", req.pool);
	if (err == ERR_OK) {
		w = mem_zalloc(1, sizeof(*w));
		err = w == NULL ? ERR_NOMEM : ERR_OK;
	}
	if (err != ERR_OK) {
		plugin_fail(c, err, note.text);
		return;
	}
	w->c = c;
	w->req = req;
	if (req.gateway)
		gateway(w, pool);
	else if (pool->fresh || plugin_net_of_pool(p, pool->id) != NULL)
		address_asked(w, pool, ERR_OK, NULL);
	else
		plugin_learn(p, on_learnt, w);
}
