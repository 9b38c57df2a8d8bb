/* Names of Docker's containers.
 *
 * An endpoint (the plugin's `docker:EndpointID`, or a container that was attached, by its id) gets the container's name, its host name, with its domain if it
 * has one, and what its network calls it besides: those of them that are single labels or lie in the domain, each for all of the endpoint's
 * addresses. What was put is remembered, and on disk (docker/names/IDENT), so that a name is taken away again when the container has got
 * another meanwhile, and names put by hand are left alone. */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "dns/name.h"
#include "router/docker/keeper.h"

#define NAMES_KEY "docker/names/"

/* --- sets ------------------------------------------------------------------------------------------------------------------------------- */

void texts_free(struct texts *t)
{
	for (size_t i = 0; i < t->n; i++)
		mem_free(t->v[i]);
	mem_free(t->v);
	memset(t, 0, sizeof(*t));
}

bool texts_has(const struct texts *t, const char *s)
{
	for (size_t i = 0; i < t->n; i++)
		if (strcmp(t->v[i], s) == 0)
			return true;
	return false;
}

enum err texts_add(struct texts *t, const char *s)
{
	if (texts_has(t, s))
		return ERR_OK;
	if (!mem_grow((void **)&t->v, &t->cap, t->n + 1, sizeof(t->v[0])))
		return ERR_NOMEM;
	t->v[t->n] = mem_strdup(s);
	return t->v[t->n] != NULL ? (t->n++, ERR_OK) : ERR_NOMEM;
}

static bool same(const struct texts *a, const struct texts *b)
{
	for (size_t i = 0; i < a->n; i++)
		if (!texts_has(b, a->v[i]))
			return false;
	return a->n == b->n;
}

/* --- what is on disk -------------------------------------------------------------------------------------------------------------------- */

static void keep(struct docker_keeper *k, const struct put *p)
{
	char key[sizeof(NAMES_KEY) + KEEPER_IDENT_MAX];
	struct wbuf w;

	(void)snprintf(key, sizeof(key), "%s%s", NAMES_KEY, p->ident);
	wbuf_grow(&w, ROUTER_KEEP_VALUE_MAX);
	for (size_t i = 0; i < p->names.n; i++)
		wbuf_lv(&w, slice_str(p->names.v[i]));
	if (w.failed) /* without the record a name may outlive a change that is made while the daemon is down */
		log_write(k->log, LOG_LEVEL_WARNING, "which names %s has cannot be kept: %s", p->ident, err_text(wbuf_end(&w)));
	else
		(void)router_keep(k->r, key, p->names.n > 0 ? wbuf_slice(&w) : slice_of(NULL, 0), NULL, NULL);
	wbuf_free(&w);
}

static void free_put(struct put *p)
{
	if (p == NULL)
		return;
	texts_free(&p->names);
	mem_free(p->addrs);
	mem_free(p);
}

static struct put *find(struct docker_keeper *k, const char *ident)
{
	return map_get(k->puts, slice_str(ident));
}

static struct put *find_or_make(struct docker_keeper *k, const char *ident)
{
	struct put *p = find(k, ident);

	if (p != NULL)
		return p;
	p = mem_zalloc(1, sizeof(*p));
	if (p == NULL)
		return NULL;
	(void)snprintf(p->ident, sizeof(p->ident), "%s", ident);
	if (map_put(k->puts, slice_str(ident), p, NULL) == ERR_OK)
		return p;
	mem_free(p);
	return NULL;
}

static enum err load_one(void *ctx, struct slice key, struct slice value)
{
	struct docker_keeper *k = ctx;
	char ident[KEEPER_IDENT_MAX + 1], name[CORE_FQDN_MAX + 2];
	size_t before = strlen(NAMES_KEY);
	struct rbuf r;

	if (key.n <= before || key.n - before > KEEPER_IDENT_MAX)
		return ERR_OK;
	memcpy(ident, key.p + before, key.n - before);
	ident[key.n - before] = '\0';
	struct put *p = find_or_make(k, ident);
	if (p == NULL)
		return ERR_NOMEM;
	rbuf_init(&r, value.p, value.n);
	while (rbuf_ok(&r) && rbuf_left(&r) > 0 && p->names.n < KEEPER_NAMES_MAX) {
		struct slice s = rbuf_lv(&r, CORE_FQDN_MAX + 1);
		if (!rbuf_ok(&r))
			break;
		memcpy(name, s.p, s.n);
		name[s.n] = '\0';
		if (texts_add(&p->names, name) != ERR_OK)
			return ERR_NOMEM;
	}
	return ERR_OK;
}

enum err names_load(struct docker_keeper *k, struct err_note *note)
{
	return router_kept(k->r, NAMES_KEY, load_one, k, note);
}

void names_free_all(struct docker_keeper *k)
{
	struct slice key;
	void *value;

	for (size_t at = 0; k->puts != NULL && map_next(k->puts, &at, &key, &value);)
		free_put(value);
	map_free(k->puts);
	k->puts = NULL;
}

static void forget(struct docker_keeper *k, struct put *p)
{
	texts_free(&p->names);
	keep(k, p);
	(void)map_del(k->puts, slice_str(p->ident));
	free_put(p);
}

/* --- telling the core --------------------------------------------------------------------------------------------------------------------- */

static void on_told(void *ctx, const struct router_result *res)
{
	struct docker_keeper *k = ctx;

	if (res->err != ERR_OK && res->err != ERR_CLOSED)
		log_write(k->log, LOG_LEVEL_WARNING, "a container's name cannot be changed: %s", res->text);
}

static void tell(struct docker_keeper *k, enum core_event_kind kind, const char *ident, const char *fqdn, struct ip addr)
{
	struct core_event ev = { .kind = kind, .ident = ident, .fqdn = fqdn, .addr = addr };

	k->own = true;
	(void)router_submit(k->r, &ev, on_told, k);
	k->own = false;
}

static bool has_addr(const struct put *p, struct ip addr)
{
	for (size_t i = 0; i < p->n_addrs; i++)
		if (ip_eq(p->addrs[i], addr))
			return true;
	return false;
}

/* What of `want` is missing for e's addresses is put, what is there too much is taken away. */
static void bring_in_line(struct docker_keeper *k, struct put *p, struct texts *want, const struct core_endpoint *e)
{
	const struct core_endpoint have = *e; /* which may move when the core is told something */
	struct texts old = p->names;
	bool changed = !same(&old, want);

	if (!mem_grow((void **)&p->addrs, &p->cap_addrs, have.n_addrs, sizeof(p->addrs[0])))
		return;
	for (size_t i = 0; i < old.n; i++)
		if (!texts_has(want, old.v[i]))
			tell(k, CORE_NAME_DELETE, p->ident, old.v[i], (struct ip){ .family = 0 });
	for (size_t i = 0; i < want->n; i++)
		for (size_t j = 0; j < have.n_addrs; j++)
			if (!texts_has(&old, want->v[i]) || !has_addr(p, have.addrs[j].addr))
				tell(k, CORE_NAME_PUT, p->ident, want->v[i], have.addrs[j].addr);
	for (size_t j = 0; j < have.n_addrs; j++)
		p->addrs[j] = have.addrs[j].addr;
	p->n_addrs = have.n_addrs;
	p->names = *want;
	memset(want, 0, sizeof(*want));
	texts_free(&old);
	p->generation = k->generation;
	if (changed)
		keep(k, p);
}

/* --- which names ------------------------------------------------------------------------------------------------------------------------ */

/* As the core writes it. What is no name for the domain is none of ours. */
static void add_name(struct docker_keeper *k, struct texts *t, const char *text)
{
	char fqdn[DNS_NAME_TEXT];
	struct dns_name domain, name;

	if (text[0] == '\0' || t->n == KEEPER_NAMES_MAX || dns_name_parse(router_options(k->r)->dns_domain, &domain) != ERR_OK ||
		dns_name_check(text, &domain, &name, NULL) != ERR_OK)
		return;
	dns_name_lower(&name);
	if (strlen(dns_name_format(&name, fqdn)) <= CORE_FQDN_MAX && texts_add(t, fqdn) != ERR_OK)
		log_write(k->log, LOG_LEVEL_WARNING, "out of memory: the name %s is left out", fqdn);
}

static void names_for(struct docker_keeper *k, const struct seen *s, const struct texts *aliases, struct texts *out)
{
	char full[2 * (DOCKER_NAME_MAX + 1)];

	add_name(k, out, s->name);
	add_name(k, out, s->hostname);
	if (s->domainname[0] != '\0') {
		(void)snprintf(full, sizeof(full), "%s.%s", s->hostname, s->domainname);
		add_name(k, out, full);
	}
	for (size_t i = 0; aliases != NULL && i < aliases->n; i++)
		add_name(k, out, aliases->v[i]);
}

static void names_of(struct docker_keeper *k, const char *ident, const struct seen *s, const struct texts *aliases)
{
	const struct core_endpoint *e = core_local(router_core(k->r), ident);
	struct texts want = { NULL, 0, 0 };
	struct put *p = e != NULL ? find_or_make(k, ident) : NULL;

	if (p == NULL)
		return;
	if (!wishes_without_dns(k, ident))
		names_for(k, s, aliases, &want);
	bring_in_line(k, p, &want, e);
	texts_free(&want);
	if (p->names.n == 0)
		forget(k, p);
}

void names_of_container(struct docker_keeper *k, const struct seen *s)
{
	char ident[KEEPER_IDENT_MAX + 1];

	if (router_options(k->r)->no_dns)
		return;
	for (size_t i = 0; i < s->n_endpoints; i++) {
		(void)snprintf(ident, sizeof(ident), "%s%s", KEEPER_ENDPOINT, s->endpoints[i].id);
		names_of(k, ident, s, &s->endpoints[i].aliases);
	}
	names_of(k, s->id, s, NULL);
}

void names_end(struct docker_keeper *k, const char *ident)
{
	struct put *p = find(k, ident);

	/* the core looks through all names for this */
	if (p != NULL || core_local(router_core(k->r), ident) != NULL)
		tell(k, CORE_NAME_DELETE, ident, NULL, (struct ip){ .family = 0 });
	if (p != NULL)
		forget(k, p);
}

void names_lost(struct docker_keeper *k, const char *ident, struct ip addr)
{
	struct put *p = find(k, ident);

	if (p == NULL)
		return;
	for (size_t i = 0; addr.family != 0 && i < p->n_addrs; i++)
		if (ip_eq(p->addrs[i], addr))
			p->addrs[i--] = p->addrs[--p->n_addrs];
	if (addr.family == 0 || core_local(router_core(k->r), ident) == NULL)
		forget(k, p);
}

void names_drop_stale(struct docker_keeper *k)
{
	struct slice key;
	void *value;

	for (size_t at = 0; map_next(k->puts, &at, &key, &value);) {
		struct put *p = value;
		if (p->generation == k->generation)
			continue;
		for (size_t i = 0; i < p->names.n; i++)
			tell(k, CORE_NAME_DELETE, p->ident, p->names.v[i], (struct ip){ .family = 0 });
		forget(k, p);
	}
}
