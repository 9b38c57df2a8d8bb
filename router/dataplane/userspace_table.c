/* What the data threads read: tables as they were given, made ready for looking up, in generations that are replaced as a whole. */
#include "router/dataplane/internal.h"

#include <stdlib.h>
#include <string.h>

#include "base/map.h"
#include "base/mem.h"

enum { ROOM_LEAST = 64 /* a payload that is worth a datagram */ };

/* ---- looking up */

struct table_peer *table_peer(const struct table *t, uint64_t name, uint32_t *i)
{
	size_t lo = 0, hi = t->n_peers;
	while (lo < hi) {
		const size_t mid = lo + (hi - lo) / 2;
		if (t->peers[mid].name < name)
			lo = mid + 1;
		else
			hi = mid;
	}
	if (lo == t->n_peers || t->peers[lo].name != name)
		return NULL;
	if (i)
		*i = (uint32_t)lo;
	return &t->peers[lo];
}

const struct table_net *table_net(const struct table *t, uint16_t net)
{
	size_t lo = 0, hi = t->n_nets;
	while (lo < hi) {
		const size_t mid = lo + (hi - lo) / 2;
		if (t->nets[mid].net < net)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < t->n_nets && t->nets[lo].net == net ? &t->nets[lo] : NULL;
}

static size_t session_place(const struct table *t, uint32_t index)
{
	return (index * UINT32_C(0x9e3779b1)) & t->session_mask; /* indexes are ours, so nobody chooses them to collide */
}

const struct table_session *table_session(const struct table *t, uint32_t index)
{
	for (size_t i = session_place(t, index); t->sessions[i].keys; i = (i + 1) & t->session_mask)
		if (t->sessions[i].index == index)
			return &t->sessions[i];
	return NULL;
}

bool table_knows(const struct table *t, struct ip address)
{
	size_t lo = 0, hi = t->n_addresses;
	while (lo < hi) {
		const size_t mid = lo + (hi - lo) / 2;
		const int order = ip_cmp(t->addresses[mid], address);
		if (order == 0)
			return true;
		if (order < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return false;
}

struct device *generation_device(const struct generation *g, uint16_t net)
{
	for (size_t i = 0; i < g->n_devices; i++)
		if (g->devices[i]->net == net)
			return atomic_load(&g->devices[i]->gone) ? NULL : g->devices[i];
	return NULL;
}

/* ---- making */

static int by_name(const void *a, const void *b)
{
	const struct table_peer *x = a, *y = b;
	return (x->name > y->name) - (x->name < y->name);
}

static int by_net(const void *a, const void *b)
{
	const struct table_net *x = a, *y = b;
	return (x->net > y->net) - (x->net < y->net);
}

static int by_ip(const void *a, const void *b)
{
	const struct ip *x = a, *y = b;
	return ip_cmp(*x, *y);
}

static struct peer_life *life_of(struct userspace *u, uint64_t peer)
{
	struct peer_life *l = map_get64(u->lives, peer);
	if (l)
		return l;
	l = mem_zalloc(1, sizeof *l);
	if (l && map_put64(u->lives, peer, l, NULL) != ERR_OK) {
		mem_free(l);
		l = NULL;
	}
	return l;
}

/* family 0 stays without an address. */
static void address_of(int family, struct hostport at, struct sockaddr_storage *out)
{
	*out = (struct sockaddr_storage){ .ss_family = AF_UNSPEC };
	if (at.ip.family)
		sockaddr_of(family, at, out);
}

static bool take_peer(struct userspace *u, struct table_peer *p, const struct userspace_peer *from)
{
	p->name = from->name;
	p->to = from->to;
	p->relay_to = from->relay_to;
	address_of(u->family, from->to, &p->to_addr);
	address_of(u->family, from->relay_to, &p->relay_addr);
	p->n_from = from->n_from < USERSPACE_FROM_MAX ? from->n_from : USERSPACE_FROM_MAX;
	memcpy(p->from, from->from, p->n_from * sizeof *p->from);
	p->relayed = from->relay != PEER_NONE;
	p->clear_refused = from->sealed;
	p->settled = from->settled;
	p->sealed = from->sealed || p->relayed;
	p->head = (uint16_t)(WIRE_HEAD + (p->relayed ? WIRE_HEAD : 0));
	p->overhead = (uint16_t)(p->head + (p->sealed ? WIRE_TAG : 0));
	p->room = from->datagram > p->overhead + ROOM_LEAST ? (uint16_t)(from->datagram - p->overhead) : 0;
	p->keys = seal_keys_ref(from->keys);
	p->life = life_of(u, from->name);
	return p->life != NULL;
}

static bool take_peers(struct userspace *u, struct table *t, const struct userspace_table *from)
{
	const size_t n = from->n_peers;
	size_t addresses = n;
	t->peers = mem_zalloc(n + 1, sizeof *t->peers);
	for (size_t i = 0; i < n; i++)
		addresses += from->peers[i].n_from;
	t->addresses = mem_zalloc(addresses + 1, sizeof *t->addresses);
	if (!t->peers || !t->addresses)
		return false;
	for (size_t i = 0; i < n; i++)
		if (!take_peer(u, &t->peers[t->n_peers++], &from->peers[i]))
			return false;
	for (size_t i = 0; i < n; i++) {
		const struct table_peer *p = &t->peers[i];
		if (p->to.ip.family)
			t->addresses[t->n_addresses++] = p->to.ip;
		memcpy(t->addresses + t->n_addresses, p->from, p->n_from * sizeof *p->from);
		t->n_addresses += p->n_from;
	}
	if (n > 1)
		qsort(t->peers, n, sizeof *t->peers, by_name);
	if (t->n_addresses > 1)
		qsort(t->addresses, t->n_addresses, sizeof *t->addresses, by_ip);
	return true;
}

/* The fwd_tables are borrowed until all is well: table_new gives them back by not freeing them. */
static bool take_nets(struct table *t, const struct userspace_table *from)
{
	t->nets = mem_zalloc(from->n_nets + 1, sizeof *t->nets);
	if (!t->nets)
		return false;
	for (size_t i = 0; i < from->n_nets; i++) {
		struct table_net *net = &t->nets[t->n_nets++];
		const struct fwd_table *f = from->nets[i].table;
		const size_t n = fwd_table_peers(f);
		net->net = from->nets[i].net;
		net->peer = mem_zalloc(n + 1, sizeof *net->peer);
		if (!net->peer)
			return false;
		for (size_t j = 0; j < n; j++)
			if (!table_peer(t, fwd_table_peer(f, j)->name, &net->peer[j]))
				net->peer[j] = NOT_THERE;
	}
	return true;
}

static bool take_sessions(struct table *t, const struct userspace_table *from)
{
	size_t places = 16;
	while (places < 2 * from->n_sessions + 1)
		places *= 2;
	t->sessions = mem_zalloc(places, sizeof *t->sessions);
	if (!t->sessions)
		return false;
	t->session_mask = places - 1;
	for (size_t i = 0; i < from->n_sessions; i++) {
		struct seal_keys *k = from->sessions[i];
		size_t at = session_place(t, seal_index(k));
		while (t->sessions[at].keys)
			at = (at + 1) & t->session_mask;
		struct table_session *s = &t->sessions[at];
		*s = (struct table_session){ .keys = seal_keys_ref(k), .index = seal_index(k), .peer = NOT_THERE };
		(void)table_peer(t, seal_peer(k), &s->peer);
	}
	return true;
}

enum err table_new(struct userspace *u, const struct userspace_table *from, struct table **out)
{
	struct table *t = mem_zalloc(1, sizeof *t);
	if (!t)
		return ERR_NOMEM;
	t->refs = 1;
	if (!take_peers(u, t, from) || !take_nets(t, from) || !take_sessions(t, from)) {
		table_unref(t);
		return ERR_NOMEM;
	}
	*out = t;
	return ERR_OK;
}

/* From now on the fwd_tables belong to t. */
void table_own(struct table *t, const struct userspace_table *from)
{
	for (size_t i = 0; i < t->n_nets; i++)
		t->nets[i].fwd = from->nets[i].table;
	if (t->n_nets > 1)
		qsort(t->nets, t->n_nets, sizeof *t->nets, by_net);
}

void table_unref(struct table *t)
{
	if (!t || --t->refs > 0)
		return;
	for (size_t i = 0; i < t->n_peers; i++)
		seal_keys_unref(t->peers[i].keys);
	for (size_t i = 0; i < t->n_nets; i++) {
		fwd_table_free(t->nets[i].fwd);
		mem_free(t->nets[i].peer);
	}
	for (size_t i = 0; t->sessions && i <= t->session_mask; i++)
		seal_keys_unref(t->sessions[i].keys);
	mem_free(t->peers);
	mem_free(t->nets);
	mem_free(t->sessions);
	mem_free(t->addresses);
	mem_free(t);
}

void device_unref(struct device *d)
{
	if (--d->refs > 0)
		return;
	for (unsigned q = 0; q < CAPTURE_QUEUES_MAX; q++)
		pthread_mutex_destroy(&d->write_lock[q]);
	mem_free(d);
}

/* ---- generations */

struct generation *generation_new(struct userspace *u, struct table *t)
{
	struct generation *g = mem_zalloc(1, sizeof *g);
	if (!g)
		return NULL;
	g->devices = mem_zalloc(u->n_devices + 1, sizeof(struct device *));
	if (!g->devices) {
		mem_free(g);
		return NULL;
	}
	for (struct device *d = u->devices; d; d = d->next) {
		g->devices[g->n_devices++] = d;
		d->refs++;
	}
	g->table = t;
	if (t)
		t->refs++;
	return g;
}

void generation_free(struct generation *g)
{
	if (!g)
		return;
	table_unref(g->table);
	for (size_t i = 0; i < g->n_devices; i++)
		device_unref(g->devices[i]);
	mem_free(g->devices);
	mem_free(g);
}

void generation_install(struct userspace *u, struct generation *g)
{
	struct generation *old = atomic_exchange(&u->current, g);
	if (old) {
		old->next = u->retired;
		u->retired = old;
	}
	generation_collect(u);
}

static bool pinned(const struct userspace *u, const struct generation *g)
{
	for (unsigned i = 0; i < u->workers; i++)
		if (atomic_load(&u->worker[i]->pinned) == g)
			return true;
	return false;
}

void generation_collect(struct userspace *u)
{
	for (struct generation **at = &u->retired; *at;) {
		struct generation *g = *at;
		if (pinned(u, g)) {
			at = &g->next;
		} else {
			*at = g->next;
			generation_free(g);
		}
	}
	if (u->retired)
		return;
	/* Only the current generation points to what is kept of peers: that of those it lacks may go. */
	const struct generation *g = atomic_load(&u->current);
	size_t it = 0;
	struct slice key;
	void *life;
	while (map_next(u->lives, &it, &key, &life)) {
		const uint64_t peer = map_key64(key);
		if (!g || !g->table || !table_peer(g->table, peer, NULL)) {
			(void)map_del64(u->lives, peer);
			mem_free(life);
		}
	}
}

const struct generation *worker_pin(struct worker *w)
{
	const struct generation *g;
	do {
		g = atomic_load(&w->u->current);
		atomic_store(&w->pinned, g);
	} while (g != atomic_load(&w->u->current));
	return g;
}

void worker_unpin(struct worker *w)
{
	atomic_store_explicit(&w->pinned, NULL, memory_order_release);
	atomic_fetch_add(&w->batches, 1);
}
