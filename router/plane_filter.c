/* What is let in: VXLAN from present peers only, from containers only what is theirs. The lists follow from the core; nft.c sends the differences. A kernel
 * without nftables is said, and done without. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "router/container.h"
#include "router/plane_internal.h"

enum { WATCH_FILTER = 2 };

struct port_list {
	struct nft_port *v;
	size_t n, cap;
};

/* Only nftables not being there is done without. */
enum err filter_open(struct plane *p, struct err_note *note)
{
	struct nft_cfg cfg = {
		.vxlan_port = p->cfg.vxlan_port,
		.userspace_port = p->cfg.udp_port,
		.control_port = p->cfg.control_port,
		.api_port = p->cfg.api_port,
	};
	struct err_note why = { "" };

	p->ports = map_new(p->cfg.self);
	if (p->ports == NULL)
		return err_note(note, ERR_NOMEM, "out of memory");
	enum err err = nft_open(&p->nft, &cfg, &p->filter_lacks, &why);
	plane_part_is(p, &p->filter, "packet filter", err == ERR_OK ? NULL : &why, false);
	if (err != ERR_OK && err != ERR_UNSUPPORTED)
		return err_note(note, err, "%s", why.text);
	if (err == ERR_OK && p->filter_lacks != NULL)
		log_write(p->cfg.log, LOG_LEVEL_WARNING, "the packet filter does without: %s", p->filter_lacks);
	return err == ERR_OK ? plane_watch(p, nft_fd(p->nft), WATCH_FILTER, note) : ERR_OK;
}

static void forget_ports(struct plane *p)
{
	struct slice key;
	void *value;

	for (size_t it = 0; map_next(p->ports, &it, &key, &value);)
		mem_free(map_del(p->ports, key));
}

void filter_close(struct plane *p)
{
	nft_close(p->nft);
	p->nft = NULL;
	if (p->ports != NULL)
		forget_ports(p);
	map_free(p->ports);
	p->ports = NULL;
}

void plane_port_changed(struct plane *p, const char *ident)
{
	mem_free(map_del(p->ports, slice_str(ident)));
}

/* The host's end of its interface; NULL: it has none. */
static const char *port_of(struct plane *p, const char *ident)
{
	char name[NETLINK_NAME_MAX + 1];
	char *have = map_get(p->ports, slice_str(ident));

	if (have != NULL)
		return have;
	if (container_port(plane_default(p)->kernel, ident, name, NULL) != ERR_OK)
		return NULL;
	have = mem_strdup(name);
	if (have != NULL && map_put(p->ports, slice_str(ident), have, NULL) != ERR_OK) {
		mem_free(have);
		return NULL;
	}
	return have;
}

/* Those of containers that are ours no more. */
static void prune_ports(struct plane *p, const struct core *core)
{
	struct slice key;
	void *value;

	for (size_t it = 0; map_next(p->ports, &it, &key, &value);) {
		char ident[CORE_IDENT_MAX + 1];
		if (key.n > CORE_IDENT_MAX)
			continue;
		memcpy(ident, key.p, key.n);
		ident[key.n] = '\0';
		if (core_local(core, ident) == NULL)
			mem_free(map_del(p->ports, key));
	}
}

/* ident (may be NULL) has these addresses besides. */
static enum err set_ports(
	struct plane *p, const struct core *core, const char *ident, const struct prefix *more, size_t n_more, struct err_note *note)
{
	struct port_list list = { 0 };
	struct prefix *joined = NULL;
	const struct core_endpoint *e;
	enum err err = ERR_OK;

	for (size_t it = 0; err == ERR_OK && core_next_local(core, &it, &e);) {
		struct nft_port port = { .ifname = port_of(p, e->ident), .mac = e->mac, .addrs = e->addrs, .n_addrs = e->n_addrs };
		if (port.ifname == NULL)
			continue;
		if (ident != NULL && joined == NULL && strcmp(ident, e->ident) == 0 && n_more > 0) {
			joined = mem_zalloc(e->n_addrs + n_more, sizeof(*joined));
			if (joined != NULL) {
				memcpy(joined, e->addrs, e->n_addrs * sizeof(*joined));
				memcpy(joined + e->n_addrs, more, n_more * sizeof(*joined));
				port.addrs = joined;
				port.n_addrs += n_more;
			}
		}
		if (!mem_grow((void **)&list.v, &list.cap, list.n + 1, sizeof(*list.v)))
			err = err_note(note, ERR_NOMEM, "out of memory");
		else
			list.v[list.n++] = port;
	}
	if (err == ERR_OK)
		err = nft_set_ports(p->nft, list.v, list.n, note);
	mem_free(list.v);
	mem_free(joined);
	return err;
}

/* keep: those of a former daemon too, whom we may not have met yet. */
static enum err set_peers(struct plane *p, const struct core *core, bool keep, struct err_note *note)
{
	uint64_t it = 0, name;
	struct nft_peer *v = NULL;
	size_t n = 0, cap = 0;
	enum err err = ERR_OK;

	while (err == ERR_OK && gossip_next_peer(core_gossip(core), &it, &name)) {
		struct path_hop hop;
		if (!core_hop(core, name, &hop) || (!hop.vxlan_allowed && hop.path != PATH_FAST) || hop.underlay.family == 0)
			continue;
		if (mem_grow((void **)&v, &cap, n + 1, sizeof(*v)))
			v[n++] = (struct nft_peer){ .peer = name, .underlay = hop.underlay };
		else
			err = err_note(note, ERR_NOMEM, "out of memory");
	}
	if (err == ERR_OK)
		err = keep ? nft_add_peers(p->nft, v, n, note) : nft_set_peers(p->nft, v, n, note);
	mem_free(v);
	return err;
}

static void failed(struct plane *p, const struct err_note *note)
{
	p->failures++;
	log_write(p->cfg.log, LOG_LEVEL_WARNING, "the packet filter is not as it should be: %s", note->text);
}

struct bridge_list {
	char (*v)[NETLINK_NAME_MAX + 1];
	size_t n, cap;
	bool nomem;
};

static void add_bridge(struct bridge_list *l, const char *name)
{
	if (mem_grow((void **)&l->v, &l->cap, l->n + 1, sizeof(*l->v)))
		(void)snprintf(l->v[l->n++], sizeof(*l->v), "%s", name);
	else
		l->nomem = true;
}

static void add_left(unsigned number, void *arg)
{
	char name[NETLINK_NAME_MAX + 1];

	(void)snprintf(name, sizeof(name), "weft-%u", number);
	add_bridge(arg, name);
}

static enum err set_bridges(struct plane *p, struct err_note *note)
{
	struct bridge_list list = { 0 };
	enum err err = ERR_OK;

	for (const struct plane_net *n = p->nets; n != NULL; n = n->next)
		add_bridge(&list, kernel_bridge_name(n->kernel));
	if (p->remains)
		err = link_networks(plane_default(p)->kernel, add_left, &list, note);
	const char **names = mem_zalloc(list.n + 1, sizeof(*names));
	if (err == ERR_OK && (list.nomem || names == NULL))
		err = err_note(note, ERR_NOMEM, "out of memory");
	for (size_t i = 0; err == ERR_OK && i < list.n; i++)
		names[i] = list.v[i];
	if (err == ERR_OK)
		err = nft_set_bridges(p->nft, names, list.n, note);
	mem_free(names);
	mem_free(list.v);
	return err;
}

void filter_bridges(struct plane *p)
{
	struct err_note note = { "" };

	if (p->nft != NULL && set_bridges(p, &note) != ERR_OK)
		failed(p, &note);
}

void filter_apply(struct plane *p, const struct core *core, bool settled)
{
	struct err_note note = { "" };

	if (p->nft == NULL)
		return;
	prune_ports(p, core);
	filter_bridges(p);
	if (set_peers(p, core, !settled, &note) != ERR_OK)
		failed(p, &note);
	p->filter_keeps = nft_keeps(p->nft);
	if (set_ports(p, core, NULL, NULL, 0, &note) != ERR_OK)
		failed(p, &note);
}

/* Who is there no more goes with the next plane_apply. */
void plane_apply_peers(struct plane *p, const struct core *core)
{
	struct err_note note = { "" };

	if (p->nft != NULL && set_peers(p, core, true, &note) != ERR_OK)
		failed(p, &note);
}

void plane_expect(struct plane *p, const struct core *core, const char *ident, const struct prefix *addrs, size_t n)
{
	struct err_note note = { "" };

	if (p->nft != NULL && core_local(core, ident) != NULL && set_ports(p, core, ident, addrs, n, &note) != ERR_OK)
		failed(p, &note);
}

bool plane_filter_same(struct plane *p)
{
	bool same = true;

	return p->nft == NULL || nft_same(p->nft, &same, NULL) != ERR_OK || same;
}

void filter_tick(struct plane *p)
{
	struct err_note note = { "" };
	bool mended = false;

	if (p->nft == NULL || !p->filter_changed)
		return;
	p->filter_changed = false;
	p->obstacles_due = true;
	enum err err = nft_check(p->nft, &mended, &note);
	if (mended)
		log_write(
			p->cfg.log, LOG_LEVEL_WARNING, "somebody changed weft's tables of the packet filter; they are made right again");
	plane_part_is(p, &p->filter, "packet filter", err == ERR_OK ? NULL : &note, true);
	if (err != ERR_OK) {
		p->failures++;
		p->filter_changed = true; /* tried again */
	} else if (plane_watch(p, nft_fd(p->nft), WATCH_FILTER, &note) != ERR_OK) {
		failed(p, &note);
	}
}
