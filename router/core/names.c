/* Names of containers: which name stands for which address, put by whom.
 *
 * Channel NAMES, key owner(6) ‖ BLAKE2b-128 of the value's first four fields; value: u8 1 | lv ident | lv name (wire form) | ip. What
 * stands after that is skipped, so that it can grow. An item whose key is another is ignored: so an owner has one item for what it says,
 * and taking one away takes away nothing that another says too. c->names holds the same decoded, by the same key; the DNS table is
 * filled from it. Our own are stored under name/HASH, so that records added by hand survive a restart of the daemon. With names off
 * (no table) they are kept in c->names, unpublished, so that what is detached meanwhile does not come back later. */
#include <assert.h>
#include <sodium.h>
#include <string.h>

#include "dns/name.h"
#include "router/core/internal.h"

enum { NAME_VERSION = 1, SUBKEY_LEN = 16, VALUE_MAX = 2 + CORE_IDENT_MAX + 2 + DNS_NAME_MAX + 2 + 17 };

static void value_encode(struct wbuf *w, const char *ident, const struct dns_name *name, struct ip addr)
{
	wbuf_u8(w, NAME_VERSION);
	wbuf_lv(w, slice_str(ident));
	wbuf_lv(w, dns_name_slice(name));
	wbuf_ip(w, addr);
}

struct decoded {
	char ident[CORE_IDENT_MAX + 1];
	struct dns_name name;
	struct ip addr;
};

/* *used: bytes of what was understood. */
static bool value_decode(struct slice value, struct decoded *d, size_t *used)
{
	struct rbuf r;

	memset(d, 0, sizeof(*d));
	rbuf_init(&r, value.p, value.n);
	if (rbuf_u8(&r) != NAME_VERSION)
		return false;
	struct slice ident = rbuf_lv(&r, CORE_IDENT_MAX);
	struct slice name = rbuf_lv(&r, DNS_NAME_MAX);
	d->addr = rbuf_ip(&r);
	*used = value.n - rbuf_left(&r);
	if (!rbuf_ok(&r) || d->addr.family == 0 || !core_text_ok(ident) || dns_name_from_wire(name, &d->name) != ERR_OK)
		return false;
	if (ident.n > 0)
		memcpy(d->ident, ident.p, ident.n);
	return true;
}

static void subkey_of(struct slice value, uint8_t out[SUBKEY_LEN])
{
	int bad = crypto_generichash(out, SUBKEY_LEN, value.p, value.n, NULL, 0);

	assert(bad == 0);
}

static bool item_decode(struct slice subkey, struct slice value, struct decoded *d)
{
	uint8_t hash[SUBKEY_LEN];
	size_t used;

	if (subkey.n != SUBKEY_LEN || !value_decode(value, d, &used))
		return false;
	subkey_of(slice_of(value.p, used), hash);
	return memcmp(hash, subkey.p, SUBKEY_LEN) == 0;
}

static void record_free(struct name_record *r)
{
	if (r == NULL)
		return;
	mem_free(r->ident);
	mem_free(r->fqdn);
	mem_free(r);
}

static struct name_record *record_new(uint64_t owner, const struct decoded *d)
{
	char text[DNS_NAME_TEXT];
	struct name_record *r = mem_zalloc(1, sizeof(*r));

	if (r == NULL)
		return NULL;
	r->owner = owner;
	r->addr = d->addr;
	r->ident = mem_strdup(d->ident);
	r->fqdn = mem_strdup(dns_name_format(&d->name, text));
	if (r->ident == NULL || r->fqdn == NULL) {
		record_free(r);
		return NULL;
	}
	return r;
}

static void drop(struct core *c, struct slice key)
{
	struct name_record *r = map_del(c->names, key);
	struct dns_name name;

	if (r == NULL)
		return;
	if (c->table != NULL && dns_name_parse(r->fqdn, &name) == ERR_OK)
		dns_table_remove(c->table, r->owner, r->ident, &name, r->addr);
	record_free(r);
}

/* Owners that the mesh does not know (yet, or any more) cannot be reached. */
static enum err flag_owner(struct core *c, uint64_t owner)
{
	const struct peer_state *p = map_get64(c->peers, owner);

	return owner == c->cfg.gossip.self ? ERR_OK : dns_table_set_reachable(c->table, owner, p != NULL && p->present);
}

static enum err take(struct core *c, struct slice key, const struct decoded *d)
{
	struct name_record *r = record_new(crdt_owner(key), d);

	if (r == NULL)
		return ERR_NOMEM;
	enum err err = map_put(c->names, key, r, NULL);
	if (err != ERR_OK) {
		record_free(r);
		return err;
	}
	if (c->table != NULL)
		err = flag_owner(c, r->owner);
	if (err == ERR_OK && c->table != NULL)
		err = dns_table_add(c->table, r->owner, r->ident, &d->name, r->addr);
	if (err == ERR_LIMIT || err == ERR_RANGE)
		err = ERR_OK; /* another host's oddity: shown in status, not answered */
	if (err != ERR_OK)
		drop(c, key);
	return err;
}

static enum err refresh_key(struct core *c, struct slice key)
{
	struct crdt_item it;
	struct decoded d;
	bool there = crdt_map_get(c->maps[CHANNEL_NAMES], key, &it) && it.live && item_decode(crdt_subkey(key), it.value, &d);

	if (!there)
		drop(c, key);
	else if (map_get(c->names, key) == NULL) /* the key says all that the record does */
		return take(c, key, &d);
	return ERR_OK;
}

bool names_any_of(const struct core *c, uint64_t owner)
{
	struct slice key;
	void *value;

	for (size_t at = 0; map_next(c->names, &at, &key, &value);)
		if (crdt_owner(key) == owner)
			return true;
	return false;
}

/* What was dropped without being named, as a floor does: looks at all that we have of the owner (PEER_NONE: of everybody). */
static enum err drop_forgotten(struct core *c, uint64_t owner)
{
	struct crdt_item it;
	struct slice key;
	void *value;

	for (size_t at = 0; map_next(c->names, &at, &key, &value);) {
		if ((owner != PEER_NONE && crdt_owner(key) != owner) || (c->table == NULL && crdt_owner(key) == c->cfg.gossip.self))
			continue;
		if (!crdt_map_get(c->maps[CHANNEL_NAMES], key, &it) || !it.live)
			drop(c, key);
	}
	/* The table need not remember of an owner without names that it is away. */
	if (c->table != NULL && owner != PEER_NONE && map_get64(c->peers, owner) == NULL && !names_any_of(c, owner))
		return dns_table_set_reachable(c->table, owner, true);
	return ERR_OK;
}

enum err names_resync(struct core *c)
{
	struct crdt_item it;
	struct slice after = { NULL, 0 };

	if (c->table == NULL)
		return ERR_OK;
	enum err err = drop_forgotten(c, PEER_NONE);
	while (err == ERR_OK && crdt_map_next(c->maps[CHANNEL_NAMES], after, &it)) {
		after = it.key;
		if (!crdt_is_floor(&it))
			err = refresh_key(c, it.key);
	}
	return err;
}

enum err names_refresh(struct core *c, const struct crdt_changes *changes)
{
	for (size_t i = 0; i < changes->n; i++) {
		struct slice key = changes->keys[i];
		enum err err = ERR_OK;
		if (crdt_subkey(key).n == 0)
			err = drop_forgotten(c, crdt_owner(key));
		else
			err = refresh_key(c, key);
		if (err != ERR_OK)
			return err;
	}
	return ERR_OK;
}

/* Puts or deletes under the subkey and brings everything in line. */
static enum err change(struct core *c, struct slice subkey, struct slice value, struct core_actions *out)
{
	struct crdt_changes changes;
	enum err err;

	crdt_changes_init(&changes, out->arena);
	if (value.p != NULL)
		err = crdt_map_put(c->maps[CHANNEL_NAMES], subkey, value, &changes);
	else
		err = crdt_map_delete(c->maps[CHANNEL_NAMES], subkey, &changes);
	if (err == ERR_OK && value.p == NULL)
		err = crdt_map_compact(c->maps[CHANNEL_NAMES], CRDT_COMPACT_TOMBSTONES, &changes);
	if (err == ERR_OK)
		err = names_refresh(c, &changes);
	if (err == ERR_OK)
		err = core_spread(c, CHANNEL_NAMES, &changes, out);
	return err;
}

enum err names_put(
	struct core *c, const char *ident, const char *fqdn, struct ip addr, struct core_actions *out, struct err_note *note)
{
	struct dns_name domain, name;
	uint8_t bytes[VALUE_MAX], subkey[SUBKEY_LEN];
	struct wbuf w;

	if (c->table == NULL)
		return err_note(note, ERR_STATE, "names are off on this host (--no-dns): nothing was added");
	enum err err = dns_name_parse(c->domain, &domain);
	assert(err == ERR_OK); /* checked by core_new */
	err = dns_name_check(fqdn, &domain, &name, note);
	if (err != ERR_OK)
		return err;
	if (addr.family == 0 || strlen(ident) > CORE_IDENT_MAX || !core_text_ok(slice_str(ident)))
		return err_note(
			note, ERR_RANGE, "a name needs an address and a container id of at most %d bytes of plain text", CORE_IDENT_MAX);
	wbuf_fixed(&w, bytes, sizeof(bytes));
	value_encode(&w, ident, &name, addr);
	err = wbuf_end(&w);
	assert(err == ERR_OK);
	subkey_of(wbuf_slice(&w), subkey);
	err = change(c, slice_of(subkey, sizeof(subkey)), wbuf_slice(&w), out);
	if (err == ERR_OK)
		err = core_persist(out, "name/", slice_of(subkey, sizeof(subkey)), wbuf_slice(&w));
	return err;
}

static bool matches(const struct name_record *r, const char *ident, const struct dns_name *name, struct ip addr)
{
	struct dns_name own;

	if (ident != NULL && ident[0] != '\0' && strcmp(ident, r->ident) != 0)
		return false;
	if (addr.family != 0 && !ip_eq(addr, r->addr))
		return false;
	return name == NULL || (dns_name_parse(r->fqdn, &own) == ERR_OK && dns_name_eq(&own, name));
}

enum err names_delete(struct core *c, const char *ident, const char *fqdn, struct ip addr, size_t *n, struct core_actions *out)
{
	struct dns_name domain, name;
	const struct dns_name *want = NULL;
	struct slice key, *found = NULL;
	void *value;

	*n = 0;
	if (fqdn != NULL && fqdn[0] != '\0') {
		if (dns_name_parse(c->domain, &domain) != ERR_OK) /* looked at by core_new only while names are on */
			return ERR_OK;
		if (dns_name_check(fqdn, &domain, &name, NULL) != ERR_OK)
			return ERR_OK; /* no such name can be here */
		want = &name;
	}
	found = arena_alloc(out->arena, (map_count(c->names) + 1) * sizeof(*found));
	if (found == NULL)
		return ERR_NOMEM;
	for (size_t at = 0; map_next(c->names, &at, &key, &value);) {
		const struct name_record *r = value;
		if (r->owner != c->cfg.gossip.self || !matches(r, ident, want, addr))
			continue;
		const uint8_t *copy = arena_dup(out->arena, key.p, key.n);
		if (copy == NULL)
			return ERR_NOMEM;
		found[(*n)++] = slice_of(copy, key.n);
	}
	for (size_t i = 0; i < *n; i++) {
		struct slice sub = crdt_subkey(found[i]);
		enum err err = change(c, sub, (struct slice){ NULL, 0 }, out);
		drop(c, found[i]); /* one that was never published */
		if (err == ERR_OK)
			err = core_unpersist(out, "name/", sub);
		if (err != ERR_OK)
			return err;
	}
	return ERR_OK;
}

enum err names_restore(struct core *c, struct slice subkey, struct slice value)
{
	struct decoded d;
	uint8_t key[6 + SUBKEY_LEN];
	struct arena *arena;
	struct core_actions none;
	struct wbuf w;

	if (!item_decode(subkey, value, &d))
		return ERR_MALFORMED;
	if (c->table == NULL) {
		wbuf_fixed(&w, key, sizeof(key));
		wbuf_u48(&w, c->cfg.gossip.self);
		wbuf_bytes(&w, subkey.p, subkey.n);
		return map_get(c->names, wbuf_slice(&w)) != NULL ? ERR_OK : take(c, wbuf_slice(&w), &d);
	}
	arena = arena_new();
	if (arena == NULL)
		return ERR_NOMEM;
	core_actions_init(&none, arena); /* before core_start nothing is spread */
	enum err err = change(c, subkey, value, &none);
	arena_free(arena);
	return err;
}

void names_free(struct core *c)
{
	struct slice key;
	void *value;

	if (c->names == NULL)
		return;
	for (size_t at = 0; map_next(c->names, &at, &key, &value);)
		record_free(value);
	map_free(c->names);
	c->names = NULL;
}

bool core_next_name(const struct core *c, size_t *it, struct core_name *out)
{
	struct slice key;
	void *value;

	if (!map_next(c->names, it, &key, &value))
		return false;
	const struct name_record *r = value;
	*out = (struct core_name){ .owner = r->owner, .ident = r->ident, .fqdn = r->fqdn, .addr = r->addr };
	return true;
}
