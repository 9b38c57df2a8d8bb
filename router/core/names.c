/* Names of containers: which name stands for which address, put by whom.
 *
 * Channel NAMES, key owner(6) ‖ BLAKE2b-128 of the value; value: u8 1 | lv ident | lv name (wire form) | ip. What stands after that is
 * skipped. c->names holds the same decoded, by the same key; the DNS table is filled from it. Our own are stored under name/KEY, so
 * that records added by hand survive a restart of the daemon. */
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

static bool value_decode(struct slice value, struct decoded *d)
{
	struct rbuf r;

	memset(d, 0, sizeof(*d));
	rbuf_init(&r, value.p, value.n);
	if (rbuf_u8(&r) != NAME_VERSION)
		return false;
	struct slice ident = rbuf_lv(&r, CORE_IDENT_MAX);
	struct slice name = rbuf_lv(&r, DNS_NAME_MAX);
	d->addr = rbuf_ip(&r);
	if (!rbuf_ok(&r) || d->addr.family == 0 || dns_name_from_wire(name, &d->name) != ERR_OK)
		return false;
	if (ident.n > 0)
		memcpy(d->ident, ident.p, ident.n);
	return true;
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
	bool there = crdt_map_get(c->maps[CHANNEL_NAMES], key, &it) && it.live && value_decode(it.value, &d);

	if (!there) {
		drop(c, key);
		return ERR_OK;
	}
	struct name_record *have = map_get(c->names, key);
	if (have != NULL) {
		char text[DNS_NAME_TEXT];
		if (strcmp(have->ident, d.ident) == 0 && ip_eq(have->addr, d.addr) && strcmp(have->fqdn, dns_name_format(&d.name, text)) == 0)
			return ERR_OK;
		drop(c, key);
	}
	return take(c, key, &d);
}

static void refresh_owner(struct core *c, uint64_t owner)
{
	struct crdt_item it;
	struct slice key;
	void *value;

	for (size_t at = 0; map_next(c->names, &at, &key, &value);)
		if (crdt_owner(key) == owner && (!crdt_map_get(c->maps[CHANNEL_NAMES], key, &it) || !it.live))
			drop(c, key);
}

enum err names_refresh(struct core *c, const struct crdt_changes *changes)
{
	for (size_t i = 0; i < changes->n; i++) {
		struct slice key = changes->keys[i];
		enum err err = ERR_OK;
		if (crdt_subkey(key).n == 0)
			refresh_owner(c, crdt_owner(key));
		else
			err = refresh_key(c, key);
		if (err != ERR_OK)
			return err;
	}
	return ERR_OK;
}

static void subkey_of(struct slice value, uint8_t out[SUBKEY_LEN])
{
	int bad = crypto_generichash(out, SUBKEY_LEN, value.p, value.n, NULL, 0);

	assert(bad == 0);
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
	if (err == ERR_OK)
		err = names_refresh(c, &changes);
	if (err == ERR_OK)
		err = core_spread(c, CHANNEL_NAMES, &changes, out);
	return err;
}

enum err names_put(struct core *c, const char *ident, const char *fqdn, struct ip addr, struct core_actions *out, struct err_note *note)
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
	if (addr.family == 0 || strlen(ident) > CORE_IDENT_MAX)
		return err_note(note, ERR_RANGE, "a name needs an address and a container id of at most %d bytes", CORE_IDENT_MAX);
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
	if (c->table == NULL)
		return ERR_OK;
	if (fqdn != NULL && fqdn[0] != '\0') {
		enum err err = dns_name_parse(c->domain, &domain);
		assert(err == ERR_OK);
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
		if (err == ERR_OK)
			err = core_unpersist(out, "name/", sub);
		if (err != ERR_OK)
			return err;
	}
	return ERR_OK;
}

enum err names_restore(struct core *c, struct slice value)
{
	struct decoded d;
	uint8_t subkey[SUBKEY_LEN];
	struct arena *arena;
	struct core_actions none;

	if (c->table == NULL)
		return ERR_OK; /* kept on disk for when names are on again */
	if (!value_decode(value, &d))
		return ERR_MALFORMED;
	arena = arena_new();
	if (arena == NULL)
		return ERR_NOMEM;
	core_actions_init(&none, arena); /* before core_start nothing is spread */
	subkey_of(value, subkey);
	enum err err = change(c, slice_of(subkey, sizeof(subkey)), value, &none);
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
