/* Three indices over the same entries:
 *   names   lower-cased wire name -> struct node: its entries sorted by (address, owner, id, name), so that equal addresses lie side by
 *           side and a look-up leaves duplicates out without memory; and how many entries lie below it (names exist by having children)
 *   addrs   address octets -> struct chain: entries with that address, latest first
 *   owners  peer -> struct owner: the flag, and how many entries hang on it; kept while it has entries or is unreachable
 * and a list of all in the order of arrival. An entry belongs to all four or to none. */
#include "dns/table.h"

#include <assert.h>
#include <string.h>

#include "base/map.h"
#include "base/mem.h"

struct owner {
	uint64_t peer;
	size_t entries;
	bool reachable;
};

struct item {
	struct owner *owner;
	struct chain *chain;
	struct item *older, *newer; /* same address */
	struct item *prev, *next;   /* all */
	struct ip addr;
	uint8_t name_len;
	uint8_t *name;
	char id[]; /* its final zero, then the name */
};

struct node {
	struct item **v;
	size_t n, cap;
	size_t below;
};

struct chain {
	struct item *latest;
};

struct dns_table {
	struct map *names, *addrs, *owners;
	struct item *first, *last;
	size_t count, reachable;
};

enum err dns_table_new(struct dns_table **out, uint64_t seed)
{
	struct dns_table *t = mem_zalloc(1, sizeof *t);
	if (!t)
		return ERR_NOMEM;
	t->names = map_new(seed);
	t->addrs = map_new(seed + 1);
	t->owners = map_new(seed + 2);
	if (!t->names || !t->addrs || !t->owners) {
		dns_table_free(t);
		return ERR_NOMEM;
	}
	*out = t;
	return ERR_OK;
}

static void free_values(struct map *m, bool nodes)
{
	size_t it = 0;
	struct slice key;
	void *value;
	while (m && map_next(m, &it, &key, &value)) {
		if (nodes)
			mem_free(((struct node *)value)->v);
		mem_free(value);
	}
	map_free(m);
}

void dns_table_free(struct dns_table *t)
{
	if (!t)
		return;
	for (struct item *i = t->first, *next; i; i = next) {
		next = i->next;
		mem_free(i);
	}
	free_values(t->names, true);
	free_values(t->addrs, false);
	free_values(t->owners, false);
	mem_free(t);
}

static struct slice addr_key(const struct ip *a)
{
	return slice_of(a->b, a->family == 4 ? 4 : 16);
}

static struct slice item_name(const struct item *i)
{
	return slice_of(i->name, i->name_len);
}

/* What an entry is, for finding it in its node. */
struct identity {
	struct ip addr;
	uint64_t owner;
	const char *id;
	struct slice name;
};

static int compare(const struct item *i, const struct identity *want)
{
	int c = ip_cmp(i->addr, want->addr);
	if (c != 0)
		return c;
	if (i->owner->peer != want->owner)
		return i->owner->peer < want->owner ? -1 : 1;
	c = strcmp(i->id, want->id);
	return c != 0 ? c : slice_cmp(item_name(i), want->name);
}

/* Where it is in the node, or where it would go. */
static size_t place(const struct node *node, const struct identity *want, bool *found)
{
	size_t lo = 0, hi = node->n;
	*found = false;
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		int c = compare(node->v[mid], want);
		if (c == 0) {
			*found = true;
			return mid;
		}
		if (c < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static struct node *find_node(const struct dns_table *t, const struct dns_name *name)
{
	struct dns_name low = *name;
	dns_name_lower(&low);
	return map_get(t->names, dns_name_slice(&low));
}

static void chain_remove(struct item *i)
{
	if (i->newer)
		i->newer->older = i->older;
	else
		i->chain->latest = i->older;
	if (i->older)
		i->older->newer = i->newer;
	i->newer = i->older = NULL;
}

static void chain_push(struct chain *c, struct item *i)
{
	i->chain = c;
	i->newer = NULL;
	i->older = c->latest;
	if (c->latest)
		c->latest->newer = i;
	c->latest = i;
}

/* The value at key, made zeroed when it is not there. NULL: out of memory. */
static void *get_or_make(struct map *m, struct slice key, size_t size)
{
	void *v = map_get(m, key);
	if (v)
		return v;
	v = mem_zalloc(1, size);
	if (v && map_put(m, key, v, NULL) != ERR_OK) {
		mem_free(v);
		v = NULL;
	}
	return v;
}

static struct owner *get_owner(struct dns_table *t, uint64_t peer)
{
	struct owner *o = map_get64(t->owners, peer);
	if (o)
		return o;
	o = mem_zalloc(1, sizeof *o);
	if (!o)
		return NULL;
	o->peer = peer;
	o->reachable = true;
	if (map_put64(t->owners, peer, o, NULL) != ERR_OK) {
		mem_free(o);
		return NULL;
	}
	return o;
}

/* The three below drop what no entry needs any more; they are also how a failed add cleans up. */
static void drop_owner(struct dns_table *t, struct owner *o)
{
	if (o && o->entries == 0 && o->reachable) {
		map_del64(t->owners, o->peer);
		mem_free(o);
	}
}

static void drop_chain(struct dns_table *t, const struct ip *addr)
{
	struct chain *c = map_get(t->addrs, addr_key(addr));
	if (c && !c->latest) {
		map_del(t->addrs, addr_key(addr));
		mem_free(c);
	}
}

static void drop_nodes(struct dns_table *t, struct dns_name low)
{
	for (; !dns_name_is_root(&low); dns_name_parent(&low, &low)) {
		struct node *n = map_get(t->names, dns_name_slice(&low));
		if (n && n->n == 0 && n->below == 0) {
			map_del(t->names, dns_name_slice(&low));
			mem_free(n->v);
			mem_free(n);
		}
	}
}

/* Nodes for the name and all names above it, and room for one more entry in the first. */
static struct node *make_nodes(struct dns_table *t, struct dns_name low)
{
	struct node *first = get_or_make(t->names, dns_name_slice(&low), sizeof(struct node));
	void *v = first ? first->v : NULL;
	if (!first || !mem_grow(&v, &first->cap, first->n + 1, sizeof *first->v))
		return NULL;
	first->v = v;
	while (dns_name_parent(&low, &low) && !dns_name_is_root(&low)) {
		if (!get_or_make(t->names, dns_name_slice(&low), sizeof(struct node)))
			return NULL;
	}
	return first;
}

static struct item *make_item(const struct identity *what)
{
	size_t id_len = strlen(what->id);
	struct item *i = mem_zalloc(1, sizeof *i + id_len + 1 + what->name.n);
	if (!i)
		return NULL;
	memcpy(i->id, what->id, id_len + 1);
	i->name = (uint8_t *)i->id + id_len + 1;
	memcpy(i->name, what->name.p, what->name.n);
	i->name_len = (uint8_t)what->name.n;
	i->addr = what->addr;
	return i;
}

static void count_above(struct dns_table *t, struct dns_name low, bool up)
{
	while (dns_name_parent(&low, &low) && !dns_name_is_root(&low)) {
		struct node *n = map_get(t->names, dns_name_slice(&low));
		assert(n && (up || n->below > 0));
		n->below = up ? n->below + 1 : n->below - 1;
	}
}

static void link_item(struct dns_table *t, struct item *i, struct owner *o, struct chain *c, struct node *node, size_t at)
{
	i->owner = o;
	o->entries++;
	t->count++;
	t->reachable += o->reachable;
	chain_push(c, i);
	i->prev = t->last;
	if (t->last)
		t->last->next = i;
	else
		t->first = i;
	t->last = i;
	memmove(node->v + at + 1, node->v + at, (node->n - at) * sizeof(struct item *));
	node->v[at] = i;
	node->n++;
}

enum err dns_table_add(struct dns_table *t, uint64_t owner, const char *id, const struct dns_name *name, struct ip addr)
{
	struct identity what = { .addr = addr, .owner = owner, .id = id, .name = dns_name_slice(name) };
	bool found = false;

	if (addr.family != 4 && addr.family != 6)
		return ERR_RANGE;
	if (strlen(id) > DNS_ID_MAX || dns_name_labels(name) > DNS_TABLE_LABELS_MAX || dns_name_labels(name) == 0)
		return ERR_LIMIT;
	struct dns_name low = *name;
	dns_name_lower(&low);
	struct node *node = map_get(t->names, dns_name_slice(&low));
	size_t at = node ? place(node, &what, &found) : 0;
	if (found) {
		struct item *i = node->v[at];
		chain_remove(i);
		chain_push(i->chain, i);
		return ERR_OK;
	}
	if (t->count >= DNS_TABLE_MAX)
		return ERR_LIMIT;

	struct item *i = make_item(&what);
	struct owner *o = i ? get_owner(t, owner) : NULL;
	struct chain *c = o ? get_or_make(t->addrs, addr_key(&addr), sizeof *c) : NULL;
	node = c ? make_nodes(t, low) : NULL;
	if (!node) {
		mem_free(i);
		drop_nodes(t, low);
		drop_chain(t, &addr);
		drop_owner(t, o);
		return ERR_NOMEM;
	}
	link_item(t, i, o, c, node, at);
	count_above(t, low, true);
	return ERR_OK;
}

static void unlink_item(struct dns_table *t, struct node *node, size_t at, struct dns_name low)
{
	struct item *i = node->v[at];
	node->n--;
	memmove(node->v + at, node->v + at + 1, (node->n - at) * sizeof(struct item *));
	count_above(t, low, false);
	chain_remove(i);
	if (i->prev)
		i->prev->next = i->next;
	else
		t->first = i->next;
	if (i->next)
		i->next->prev = i->prev;
	else
		t->last = i->prev;
	t->count--;
	t->reachable -= i->owner->reachable;
	i->owner->entries--;
	drop_nodes(t, low);
	drop_chain(t, &i->addr);
	drop_owner(t, i->owner);
	mem_free(i);
}

bool dns_table_remove(struct dns_table *t, uint64_t owner, const char *id, const struct dns_name *name, struct ip addr)
{
	struct identity what = { .addr = addr, .owner = owner, .id = id, .name = dns_name_slice(name) };
	struct dns_name low = *name;
	bool found = false;

	dns_name_lower(&low);
	struct node *node = map_get(t->names, dns_name_slice(&low));
	size_t at = node ? place(node, &what, &found) : 0;
	if (found)
		unlink_item(t, node, at, low);
	return found;
}

size_t dns_table_remove_owner(struct dns_table *t, uint64_t owner)
{
	size_t removed = 0;
	for (struct item *i = t->first, *next; i; i = next) {
		next = i->next;
		if (i->owner->peer != owner)
			continue;
		struct dns_name name;
		enum err e = dns_name_from_wire(item_name(i), &name);
		assert(e == ERR_OK);
		(void)dns_table_remove(t, owner, i->id, &name, i->addr);
		removed++;
	}
	return removed;
}

enum err dns_table_set_reachable(struct dns_table *t, uint64_t owner, bool reachable)
{
	struct owner *o = map_get64(t->owners, owner);
	if (!o && reachable)
		return ERR_OK;
	if (!o)
		o = get_owner(t, owner);
	if (!o)
		return ERR_NOMEM;
	if (o->reachable != reachable) {
		o->reachable = reachable;
		t->reachable = reachable ? t->reachable + o->entries : t->reachable - o->entries;
	}
	drop_owner(t, o);
	return ERR_OK;
}

static bool shown(const struct dns_view *view, const struct item *i)
{
	return !view || view->shows(view->ctx, i->owner->peer, i->id, i->addr);
}

/* Of what stands below a name it is not asked who sees it. */
enum dns_known dns_table_knows(const struct dns_table *t, const struct dns_view *view, const struct dns_name *name)
{
	const struct node *node = find_node(t, name);
	for (size_t k = 0; node && k < node->n; k++) {
		if (shown(view, node->v[k]))
			return DNS_KNOWN_NAME;
	}
	return node && node->below > 0 ? DNS_KNOWN_ABOVE : DNS_KNOWN_NOT;
}

size_t dns_table_addresses(const struct dns_table *t, const struct dns_view *view, const struct dns_name *name, uint8_t family,
	const struct ip **out, size_t max)
{
	const struct node *node = find_node(t, name);
	const struct ip *last = NULL;
	size_t n = 0;
	for (size_t k = 0; node && k < node->n; k++) {
		const struct item *i = node->v[k];
		if (!i->owner->reachable || (family != 0 && i->addr.family != family) || (last && ip_eq(*last, i->addr)) ||
			!shown(view, i))
			continue;
		last = &i->addr;
		if (n < max)
			out[n] = last;
		n++;
	}
	return n;
}

static bool named_already(const struct slice *out, size_t n, struct slice name)
{
	for (size_t k = 0; k < n; k++) {
		struct dns_name a, b;
		if (dns_name_from_wire(out[k], &a) == ERR_OK && dns_name_from_wire(name, &b) == ERR_OK && dns_name_eq(&a, &b))
			return true;
	}
	return false;
}

/* The next one from i on that is seen, reachable or not. */
static const struct item *seen(const struct dns_view *view, const struct item *i)
{
	while (i && !shown(view, i))
		i = i->older;
	return i;
}

size_t dns_table_names(
	const struct dns_table *t, const struct dns_view *view, struct ip addr, struct slice *out, size_t max, bool *known)
{
	const struct chain *c = addr.family == 0 ? NULL : map_get(t->addrs, addr_key(&addr));
	const struct item *i = seen(view, c ? c->latest : NULL);
	size_t n = 0;

	if (known)
		*known = i != NULL;
	while (i && !i->owner->reachable)
		i = seen(view, i->older);
	for (const struct item *first = i; i && n < max; i = i->older) {
		if (i->owner == first->owner && strcmp(i->id, first->id) == 0 && !named_already(out, n, item_name(i)))
			out[n++] = item_name(i);
	}
	return n;
}

size_t dns_table_count(const struct dns_table *t)
{
	return t->count;
}

size_t dns_table_count_reachable(const struct dns_table *t)
{
	return t->reachable;
}

bool dns_table_next(const struct dns_table *t, const void **cursor, struct dns_entry *out)
{
	/* The cursor is the item to come, so that the one given may be removed; the table itself stands for the end. */
	const struct item *i = *cursor ? *cursor : t->first;
	if (!i || *cursor == t)
		return false;
	*out = (struct dns_entry){
		.owner = i->owner->peer,
		.id = i->id,
		.name = item_name(i),
		.addr = i->addr,
		.reachable = i->owner->reachable,
	};
	*cursor = i->next ? (const void *)i->next : (const void *)t;
	return true;
}

int dns_entry_cmp(const void *a, const void *b)
{
	const struct dns_entry *x = a, *y = b;
	struct dns_name p, q;
	if (dns_name_from_wire(x->name, &p) == ERR_OK && dns_name_from_wire(y->name, &q) == ERR_OK) {
		char s[DNS_NAME_TEXT], u[DNS_NAME_TEXT];
		dns_name_lower(&p);
		dns_name_lower(&q);
		int c = strcmp(dns_name_format(&p, s), dns_name_format(&q, u));
		if (c != 0)
			return c;
	}
	if (x->owner != y->owner)
		return x->owner < y->owner ? -1 : 1;
	int c = strcmp(x->id, y->id);
	return c != 0 ? c : ip_cmp(x->addr, y->addr);
}
