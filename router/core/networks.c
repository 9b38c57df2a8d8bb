/* Isolated networks: which there are, and which number each has.
 *
 * Channel NETWORKS, key owner(6) ‖ name; value: u8 1 | u16 number | varint generation | u8 state | subnet | subnet6 | varint n | n × u48 | u8 flags
 * (1: automatic), a subnet being ip and u8 length. What stands after that is skipped, and flags may be missing, so that it can grow.
 *
 * Theory of operation. Each host says of a name only what it knows itself; what holds is the record with the highest (generation, owner):
 * a function of the merged map, so every host that has heard the same takes the same for true, in whatever order it came. A name is created
 * with generation 1, removed by a record one higher that says so, created again by one higher than that: odd ones are there, even ones
 * not. networks_settle() brings our own records in line with what holds:
 *   - A record that another's outdoes is taken back.
 *   - But while containers of ours are in a network we say of it what holds: so it outlives the disk of whoever made it, and we know it
 *     again after a restart that finds nobody. Was it removed where our containers were not known yet, we bring it back.
 *   - Whoever removed a name says so until nobody says less. `waits` lists who did: a host that is away may come back with its record, also
 *     after a restart of ours that forgot having seen it. It is done with when the map holds its tombstone or its floor.
 * Numbers are a hash of the name, or the next free one. Two names that were made without knowledge of each other may have the same: the
 * lower name keeps it, the other is taken for absent until whoever's record holds has given it another. If that host cannot be reached,
 * hosts with containers there do so in its place, by a generation two higher. */
#include <assert.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "router/core/internal.h"

enum {
	NETWORK_VERSION = 1,
	STATE_PRESENT = 1,
	STATE_REMOVED = 2,
	WAITS_MAX = 128,
	NUMBERS = 65536,
	FLAG_AUTOMATIC = 1,
	VALUE_MAX = 1 + 2 + 10 + 1 + 2 * 18 + 10 + WAITS_MAX * 6 + 1,
};
/* No record can be so high that none is higher. Nobody gets there by creating and removing. */
#define GENERATION_MAX UINT64_C(0xffffffff)

struct decoded {
	uint64_t generation;
	uint16_t number;
	bool removed, automatic;
	struct prefix subnet, subnet6;
	uint64_t waits[WAITS_MAX]; /* removed: who had records to the contrary */
	size_t n_waits;
};

struct network;
struct network_record {
	uint64_t owner, generation;
	uint16_t number;
	bool removed, automatic;
	struct prefix subnet, subnet6;
	struct network *of;
	struct network_record *next;
};
struct network { /* all that is said of one name */
	char name[CORE_NETWORK_MAX + 1];
	struct network_record *records;
	size_t users; /* containers of ours; counted by settle */
};

/* --- bytes -------------------------------------------------------------------------------------------------------------------------------- */

static bool is_word(uint8_t b)
{
	return (b >= '0' && b <= '9') || (b >= 'a' && b <= 'z') || (b >= 'A' && b <= 'Z');
}

/* What stands in URLs, tables and labels as it is. The default network is none that is made. */
static bool name_ok(struct slice s)
{
	if (s.n == 0 || s.n > CORE_NETWORK_MAX || !is_word(s.p[0]) || slice_eq(s, slice_str(CORE_NETWORK_DEFAULT)))
		return false;
	for (size_t i = 0; i < s.n; i++)
		if (!is_word(s.p[i]) && s.p[i] != '-' && s.p[i] != '_' && s.p[i] != '.')
			return false;
	return true;
}

static void put_subnet(struct wbuf *w, struct prefix p)
{
	wbuf_ip(w, p.addr);
	wbuf_u8(w, p.len);
}

static void value_encode(struct wbuf *w, const struct decoded *d)
{
	wbuf_u8(w, NETWORK_VERSION);
	wbuf_u16(w, d->number);
	wbuf_varint(w, d->generation);
	wbuf_u8(w, d->removed ? STATE_REMOVED : STATE_PRESENT);
	put_subnet(w, d->subnet);
	put_subnet(w, d->subnet6);
	wbuf_varint(w, d->n_waits);
	for (size_t i = 0; i < d->n_waits; i++)
		wbuf_u48(w, d->waits[i]);
	if (d->automatic) /* otherwise as it was before there were flags */
		wbuf_u8(w, FLAG_AUTOMATIC);
}

static bool get_subnet(struct rbuf *r, uint8_t family, struct prefix *out)
{
	*out = (struct prefix){ .addr = rbuf_ip(r) };
	out->len = rbuf_u8(r);
	if (out->addr.family == 0)
		return out->len == 0;
	return out->addr.family == family && out->len <= ip_bits(out->addr) && prefix_is_network(*out);
}

/* false: nothing we can read. Such an item is kept for others and ignored here. */
static bool value_decode(struct slice value, struct decoded *d)
{
	struct rbuf r;

	memset(d, 0, sizeof(*d));
	rbuf_init(&r, value.p, value.n);
	if (rbuf_u8(&r) != NETWORK_VERSION)
		return false;
	d->number = rbuf_u16(&r);
	d->generation = rbuf_varint(&r);
	uint8_t state = rbuf_u8(&r);
	d->removed = state == STATE_REMOVED;
	if (!get_subnet(&r, 4, &d->subnet) || !get_subnet(&r, 6, &d->subnet6))
		return false;
	uint64_t n = rbuf_varint(&r);
	if (n > WAITS_MAX)
		return false;
	d->n_waits = (size_t)n;
	for (size_t i = 0; i < d->n_waits; i++)
		d->waits[i] = rbuf_u48(&r);
	d->automatic = rbuf_left(&r) > 0 && (rbuf_u8(&r) & FLAG_AUTOMATIC) != 0;
	return rbuf_ok(&r) && d->number != 0 && d->generation > 0 && d->generation <= GENERATION_MAX &&
		(state == STATE_PRESENT || state == STATE_REMOVED);
}

/* --- all that is said --------------------------------------------------------------------------------------------------------------------- */

static const struct network_record *holds(const struct network *n)
{
	const struct network_record *best = n->records;

	for (const struct network_record *r = n->records; r != NULL; r = r->next)
		if (r->generation > best->generation || (r->generation == best->generation && r->owner > best->owner))
			best = r;
	return best;
}

static const struct network_record *record_of(const struct network *n, uint64_t owner)
{
	const struct network_record *r = n->records;

	while (r != NULL && r->owner != owner)
		r = r->next;
	return r;
}

static void drop(struct core *c, struct slice key)
{
	struct network_record *r = map_del(c->network_records, key), **link;

	if (r == NULL)
		return;
	struct network *n = r->of;
	for (link = &n->records; *link != r; link = &(*link)->next)
		;
	*link = r->next;
	mem_free(r);
	if (n->records == NULL) {
		(void)map_del(c->networks, slice_str(n->name));
		mem_free(n);
	}
	c->networks_changed = true;
}

static enum err named(struct core *c, struct slice name, struct network **out)
{
	*out = map_get(c->networks, name);
	if (*out != NULL)
		return ERR_OK;
	struct network *n = mem_zalloc(1, sizeof(*n));
	if (n == NULL)
		return ERR_NOMEM;
	memcpy(n->name, name.p, name.n);
	enum err err = map_put(c->networks, name, n, NULL);
	if (err != ERR_OK) {
		mem_free(n);
		return err;
	}
	*out = n;
	return ERR_OK;
}

static enum err take(struct core *c, struct slice key, const struct decoded *d)
{
	struct network_record *r = map_get(c->network_records, key);
	struct network *n = NULL;
	enum err err = ERR_OK;

	if (r == NULL) {
		r = mem_zalloc(1, sizeof(*r));
		if (r == NULL)
			return ERR_NOMEM;
		err = map_put(c->network_records, key, r, NULL);
		if (err == ERR_OK)
			err = named(c, crdt_subkey(key), &n);
		if (err != ERR_OK) {
			(void)map_del(c->network_records, key);
			mem_free(r);
			return err;
		}
		r->owner = crdt_owner(key);
		r->of = n;
		r->next = n->records;
		n->records = r;
	}
	r->generation = d->generation;
	r->number = d->number;
	r->removed = d->removed;
	r->automatic = d->automatic;
	r->subnet = d->subnet;
	r->subnet6 = d->subnet6;
	c->networks_changed = true;
	return ERR_OK;
}

static enum err refresh_key(struct core *c, struct slice key)
{
	struct crdt_item it;
	struct decoded d;

	if (crdt_map_get(c->maps[CHANNEL_NETWORKS], key, &it) && it.live && name_ok(crdt_subkey(key)) && value_decode(it.value, &d))
		return take(c, key, &d);
	drop(c, key);
	return ERR_OK;
}

/* What was dropped without being named, as a floor does: looks at all that we have of the owner (PEER_NONE: of everybody). */
static void drop_forgotten(struct core *c, uint64_t owner)
{
	struct crdt_item it;
	struct slice key;
	void *value;

	for (size_t at = 0; map_next(c->network_records, &at, &key, &value);)
		if ((owner == PEER_NONE || crdt_owner(key) == owner) && (!crdt_map_get(c->maps[CHANNEL_NETWORKS], key, &it) || !it.live))
			drop(c, key);
}

enum err networks_refresh(struct core *c, const struct crdt_changes *changes)
{
	for (size_t i = 0; i < changes->n; i++) {
		struct slice key = changes->keys[i];
		enum err err = ERR_OK;
		if (crdt_subkey(key).n == 0)
			drop_forgotten(c, crdt_owner(key));
		else
			err = refresh_key(c, key);
		if (err != ERR_OK)
			return err;
	}
	return ERR_OK;
}

enum err networks_resync(struct core *c)
{
	struct crdt_item it;
	struct slice after = { NULL, 0 };

	drop_forgotten(c, PEER_NONE);
	while (crdt_map_next(c->maps[CHANNEL_NETWORKS], after, &it)) {
		after = it.key;
		enum err err = crdt_is_floor(&it) ? ERR_OK : refresh_key(c, it.key);
		if (err != ERR_OK)
			return err;
	}
	return ERR_OK;
}

/* --- what there is ------------------------------------------------------------------------------------------------------------------------ */

static bool same_network(const struct core_network *a, const struct core_network *b)
{
	return strcmp(a->name, b->name) == 0 && a->number == b->number && prefix_eq(a->subnet, b->subnet) &&
		prefix_eq(a->subnet6, b->subnet6);
}

static int by_name(const void *a, const void *b)
{
	const struct core_network *x = a, *y = b;

	return strcmp(x->name, y->name);
}

static bool bit(const uint8_t bits[NUMBERS / 8], uint16_t i)
{
	return bits[i / 8] >> (i % 8) & 1;
}

static void set_bit(uint8_t bits[NUMBERS / 8], uint16_t i)
{
	bits[i / 8] |= (uint8_t)(1u << (i % 8));
}

/* All that are present, in order of names; those whose number a lower name has come behind the others. */
static enum err list(const struct core *c, struct core_network **out, size_t *n_out, size_t *n_good)
{
	size_t n = 0, good = 0, bad = 0;
	uint8_t seen[NUMBERS / 8] = { 0 };
	struct core_network *v, *sorted;
	struct slice key;
	void *value;

	*out = NULL;
	*n_out = *n_good = 0;
	if (map_count(c->networks) == 0)
		return ERR_OK;
	v = mem_zalloc(map_count(c->networks), sizeof(*v));
	sorted = mem_zalloc(map_count(c->networks), sizeof(*v));
	if (v == NULL || sorted == NULL) {
		mem_free(v);
		mem_free(sorted);
		return ERR_NOMEM;
	}
	for (size_t at = 0; map_next(c->networks, &at, &key, &value);) {
		const struct network *of = value;
		const struct network_record *r = holds(of);
		if (r->removed)
			continue;
		v[n] =
			(struct core_network){ .number = r->number, .subnet = r->subnet, .subnet6 = r->subnet6, .automatic = r->automatic };
		memcpy(v[n++].name, of->name, sizeof(of->name));
	}
	qsort(v, n, sizeof(*v), by_name);
	for (size_t i = 0; i < n; i++) { /* two rounds: the good ones, then the others */
		if (bit(seen, v[i].number))
			continue;
		set_bit(seen, v[i].number);
		sorted[good++] = v[i];
	}
	for (size_t i = 0; i < n; i++)
		if (bsearch(&v[i], sorted, good, sizeof(*v), by_name) == NULL)
			sorted[good + bad++] = v[i];
	mem_free(v);
	*out = sorted;
	*n_out = n;
	*n_good = good;
	return ERR_OK;
}

/* *moved: what can be used is not what it was. */
static enum err relist(struct core *c, bool *moved)
{
	struct core_network *v;
	size_t n, good;

	if (!c->networks_changed)
		return ERR_OK;
	enum err err = list(c, &v, &n, &good);
	if (err != ERR_OK)
		return err;
	bool differ = good != c->n_networks_good;
	for (size_t i = 0; i < good && !differ; i++)
		differ = !same_network(&v[i], &c->networks_present[i]);
	mem_free(c->networks_present);
	c->networks_present = v;
	c->n_networks_present = n;
	c->n_networks_good = good;
	c->networks_changed = false;
	*moved = *moved || differ;
	return ERR_OK;
}

/* The hash's or the next that no present network has; 0: all are taken. */
static uint16_t free_number(const struct core *c, const char *name)
{
	uint8_t used[NUMBERS / 8] = { 1 }, hash[crypto_generichash_BYTES_MIN];
	struct slice key;
	void *value;
	struct rbuf r;

	for (size_t at = 0; map_next(c->networks, &at, &key, &value);) {
		const struct network_record *of = holds(value);
		if (!of->removed && !slice_eq(key, slice_str(name)))
			set_bit(used, of->number);
	}
	int bad = crypto_generichash(hash, sizeof(hash), (const uint8_t *)name, strlen(name), NULL, 0);
	assert(bad == 0);
	rbuf_init(&r, hash, sizeof(hash));
	uint16_t number = rbuf_u16(&r);
	for (size_t i = 0; i < NUMBERS; i++, number++)
		if (!bit(used, number))
			return number;
	return 0;
}

/* --- our own ------------------------------------------------------------------------------------------------------------------------------ */

/* The record is stored first: should there be no memory for the rest, settle does it again. */
static enum err publish(struct core *c, const char *name, const struct decoded *d, struct core_actions *out)
{
	struct crdt_changes changes;
	uint8_t bytes[VALUE_MAX];
	struct wbuf w;

	wbuf_fixed(&w, bytes, sizeof(bytes));
	value_encode(&w, d);
	enum err err = wbuf_end(&w);
	assert(err == ERR_OK);
	err = core_persist(out, "network/", slice_str(name), wbuf_slice(&w));
	crdt_changes_init(&changes, out->arena);
	if (err == ERR_OK)
		err = crdt_map_put(c->maps[CHANNEL_NETWORKS], slice_str(name), wbuf_slice(&w), &changes);
	if (err == ERR_OK)
		err = networks_refresh(c, &changes);
	if (err == ERR_OK)
		err = core_spread(c, CHANNEL_NETWORKS, &changes, out);
	return err;
}

static enum err withdraw(struct core *c, const struct network *n, struct core_actions *out)
{
	char name[sizeof(n->name)]; /* n may be gone before we are done */
	struct crdt_changes changes;

	memcpy(name, n->name, sizeof(name));
	enum err err = core_unpersist(out, "network/", slice_str(name));
	crdt_changes_init(&changes, out->arena);
	if (err == ERR_OK)
		err = crdt_map_delete(c->maps[CHANNEL_NETWORKS], slice_str(name), &changes);
	if (err == ERR_OK)
		err = crdt_map_compact(c->maps[CHANNEL_NETWORKS], CRDT_COMPACT_TOMBSTONES, &changes);
	if (err == ERR_OK)
		err = networks_refresh(c, &changes);
	if (err == ERR_OK)
		err = core_spread(c, CHANNEL_NETWORKS, &changes, out);
	return err;
}

static struct decoded copy_of(const struct network_record *r)
{
	return (struct decoded){ .generation = r->generation,
		.number = r->number,
		.removed = r->removed,
		.automatic = r->automatic,
		.subnet = r->subnet,
		.subnet6 = r->subnet6 };
}

static bool says_the_same(const struct network_record *a, const struct network_record *b)
{
	return a->generation == b->generation && a->number == b->number && a->removed == b->removed && a->automatic == b->automatic &&
		prefix_eq(a->subnet, b->subnet) && prefix_eq(a->subnet6, b->subnet6);
}

static bool waits_for(const struct decoded *d, uint64_t owner)
{
	for (size_t i = 0; i < d->n_waits; i++)
		if (d->waits[i] == owner)
			return true;
	return false;
}

/* Everybody else who says something of the name. true: the list has grown. */
static bool wait_for_others(const struct core *c, const struct network *n, uint64_t except, struct decoded *d)
{
	size_t before = d->n_waits;

	for (const struct network_record *r = n->records; r != NULL && d->n_waits < WAITS_MAX; r = r->next)
		if (r->owner != c->cfg.gossip.self && r->owner != except && !waits_for(d, r->owner))
			d->waits[d->n_waits++] = r->owner;
	return d->n_waits > before;
}

/* Has it taken back what it said of the name, or was it forgotten itself? What we have never heard of may still come. */
static bool has_taken_back(const struct core *c, const char *name, uint64_t owner)
{
	uint8_t key[6 + CORE_NETWORK_MAX];
	struct crdt_item it;
	struct wbuf w;

	wbuf_fixed(&w, key, sizeof(key));
	wbuf_u48(&w, owner);
	bool floor = crdt_map_get(c->maps[CHANNEL_NETWORKS], wbuf_slice(&w), &it);
	wbuf_bytes(&w, name, strlen(name));
	return crdt_map_get(c->maps[CHANNEL_NETWORKS], wbuf_slice(&w), &it) ? !it.live : floor;
}

static bool own_decoded(const struct core *c, const char *name, struct decoded *d)
{
	uint8_t key[6 + CORE_NETWORK_MAX];
	struct crdt_item it;
	struct wbuf w;

	wbuf_fixed(&w, key, sizeof(key));
	wbuf_u48(&w, c->cfg.gossip.self);
	wbuf_bytes(&w, name, strlen(name));
	return crdt_map_get(c->maps[CHANNEL_NETWORKS], wbuf_slice(&w), &it) && it.live && value_decode(it.value, d);
}

/* We removed it, and that holds: until nobody is left who may say otherwise. */
static enum err guard_removal(struct core *c, const struct network *n, struct core_actions *out)
{
	struct decoded d;

	if (!own_decoded(c, n->name, &d))
		return ERR_OK;
	if (wait_for_others(c, n, PEER_NONE, &d))
		return publish(c, n->name, &d, out);
	if (n->records->next != NULL) /* others' beside ours */
		return ERR_OK;
	for (size_t i = 0; i < d.n_waits; i++)
		if (!has_taken_back(c, n->name, d.waits[i]))
			return ERR_OK;
	return withdraw(c, n, out);
}

static enum err bring_back(struct core *c, const struct network *n, const struct network_record *gone,
	const struct network_record *own, struct core_actions *out)
{
	struct decoded d = copy_of(own != NULL && !own->removed ? own : gone);

	if (gone->generation >= GENERATION_MAX)
		return ERR_OK;
	d.generation = gone->generation + 1;
	d.removed = false;
	enum err err = core_note(out, NOTE_WARNING,
		"network %s was removed where containers of this host in it were not known; it is there again", n->name);
	return err != ERR_OK ? err : publish(c, n->name, &d, out);
}

/* Another's record holds, ours is not needed or says something else. */
static enum err give_way(struct core *c, const struct network *n, const struct network_record *held,
	const struct network_record *own, struct core_actions *out)
{
	char peer[PEER_TEXT], ours[PREFIX_TEXT], theirs[PREFIX_TEXT];
	enum err err = ERR_OK;

	if (own != NULL && !own->removed && own->generation == held->generation &&
		!(prefix_eq(own->subnet, held->subnet) && prefix_eq(own->subnet6, held->subnet6)))
		err = core_note(out, NOTE_WARNING,
			"network %s was made on two hosts with different subnets; what %s says holds: %s, no longer %s", n->name,
			peer_format(held->owner, peer), held->subnet.addr.family != 0 ? prefix_format(held->subnet, theirs) : "none",
			own->subnet.addr.family != 0 ? prefix_format(own->subnet, ours) : "none");
	if (err != ERR_OK)
		return err;
	if (n->users == 0)
		return own != NULL ? withdraw(c, n, out) : ERR_OK;
	struct decoded d = copy_of(held);
	return own != NULL && says_the_same(own, held) ? ERR_OK : publish(c, n->name, &d, out);
}

static enum err settle_one(struct core *c, const struct network *n, struct core_actions *out)
{
	const struct network_record *held = holds(n), *own = record_of(n, c->cfg.gossip.self);

	if (held->removed && n->users > 0)
		return bring_back(c, n, held, own, out);
	if (held != own)
		return held->removed ? (own != NULL ? withdraw(c, n, out) : ERR_OK) : give_way(c, n, held, own, out);
	return held->removed ? guard_removal(c, n, out) : ERR_OK;
}

static enum err renumber(struct core *c, const struct network *n, bool in_place_of, struct core_actions *out)
{
	struct decoded d = copy_of(holds(n));

	d.number = free_number(c, n->name);
	if (d.number == 0 || (in_place_of && d.generation + 2 > GENERATION_MAX))
		return ERR_OK;
	if (in_place_of)
		d.generation += 2;
	enum err err =
		core_note(out, NOTE_INFO, "network %s gets another number: that which it had is also another network's", n->name);
	return err != ERR_OK ? err : publish(c, n->name, &d, out);
}

/* Those with a lower name's number. */
static enum err settle_numbers(struct core *c, struct core_actions *out)
{
	enum err err = ERR_OK;

	for (size_t i = c->n_networks_good; err == ERR_OK && i < c->n_networks_present; i++) {
		const struct network *n = map_get(c->networks, slice_str(c->networks_present[i].name));
		uint64_t owner = holds(n)->owner;
		bool ours = owner == c->cfg.gossip.self;
		if (ours || (n->users > 0 && !gossip_reachable(c->gossip, owner)))
			err = renumber(c, n, !ours, out);
	}
	return err;
}

static void count_users(struct core *c)
{
	struct slice key;
	void *value;

	for (size_t at = 0; map_next(c->networks, &at, &key, &value);)
		((struct network *)value)->users = 0;
	for (size_t at = 0; map_next(c->by_ident, &at, &key, &value);) {
		const struct endpoint *p = value;
		struct network *n = map_get(c->networks, slice_str(p->e.network));
		if (n != NULL)
			n->users++;
	}
}

enum err networks_settle(struct core *c, struct core_actions *out)
{
	struct slice key;
	void *value;
	bool moved = false;
	enum err err = ERR_OK;

	if (map_count(c->networks) == 0 && !c->networks_changed)
		return ERR_OK;
	count_users(c);
	for (size_t at = 0; err == ERR_OK && map_next(c->networks, &at, &key, &value);)
		err = settle_one(c, value, out);
	if (err == ERR_OK)
		err = relist(c, &moved);
	if (err == ERR_OK)
		err = settle_numbers(c, out);
	if (err == ERR_OK)
		err = relist(c, &moved);
	if (err == ERR_LIMIT) /* the map is full: what holds is known all the same */
		err = relist(c, &moved);
	if (err == ERR_OK && moved)
		err = core_emit(out, (struct core_action){ .kind = CORE_FORWARDING });
	return err;
}

enum err networks_adopt(struct core *c, uint64_t peer, struct core_actions *out)
{
	struct slice key;
	void *value;
	enum err err = ERR_OK;

	for (size_t at = 0; err == ERR_OK && map_next(c->networks, &at, &key, &value);) {
		const struct network *n = value;
		const struct network_record *held = holds(n);
		if (held->owner != peer)
			continue;
		struct decoded d = copy_of(held);
		if (d.removed)
			(void)wait_for_others(c, n, peer, &d);
		err = publish(c, n->name, &d, out);
	}
	return err;
}

/* --- asked for ---------------------------------------------------------------------------------------------------------------------------- */

static enum err check_wanted(const struct core *c, const struct core_network *want, struct err_note *note)
{
	struct prefix range = { ip_v4(c->cfg.universe.first), c->cfg.universe.len };
	char a[PREFIX_TEXT], b[PREFIX_TEXT];

	if (strcmp(want->name, CORE_NETWORK_DEFAULT) == 0)
		return err_note(note, ERR_EXISTS, "%s is the default network, which is always there", want->name);
	if (!name_ok(slice_str(want->name)))
		return err_note(note, ERR_RANGE,
			"a network's name has 1 to %d letters, digits, '-', '_' and '.', and begins with a letter or a digit",
			CORE_NETWORK_MAX);
	if (want->subnet.addr.family != 0) {
		if (want->subnet.addr.family != 4 || !prefix_is_network(want->subnet))
			return err_note(note, ERR_RANGE, "%s is no IPv4 subnet; give one like 10.40.0.0/16", prefix_format(want->subnet, a));
		enum err err = ipam_check_subnet(want->subnet, note);
		if (err != ERR_OK)
			return err;
		if (c->ipam != NULL && (!prefix_contains(range, want->subnet.addr) || want->subnet.len < range.len))
			return err_note(note, ERR_RANGE, "the subnet %s does not lie in the range %s, out of which addresses are given",
				prefix_format(want->subnet, a), prefix_format(range, b));
	}
	if (want->subnet6.addr.family != 0 && (want->subnet6.addr.family != 6 || !prefix_is_network(want->subnet6)))
		return err_note(note, ERR_RANGE, "%s is no IPv6 subnet; give one like fd00:1::/64", prefix_format(want->subnet6, a));
	return companion_check(c, want, note);
}

/* One that is there. Its number may be another's, and who is to give it a new one away. */
static enum err make_usable(struct core *c, const struct network *n, const struct network_record *held, struct core_actions *out)
{
	struct core_network ignored;

	if (core_network(c, n->name, &ignored))
		return ERR_OK;
	enum err err = renumber(c, n, held->owner != c->cfg.gossip.self, out);
	return err != ERR_OK ? err : networks_settle(c, out);
}

enum err networks_create(struct core *c, const struct core_network *want, struct core_actions *out, struct err_note *note)
{
	enum err err = check_wanted(c, want, note);
	if (err != ERR_OK)
		return err;
	const struct network *n = map_get(c->networks, slice_str(want->name));
	const struct network_record *held = n != NULL ? holds(n) : NULL;
	char text[PREFIX_TEXT];

	if (held != NULL && !held->removed) {
		if (prefix_eq(held->subnet, want->subnet) && prefix_eq(held->subnet6, want->subnet6))
			return make_usable(c, n, held, out);
		return err_note(note, ERR_EXISTS,
			"there is a network %s with another subnet (%s); remove it first, or choose another name", want->name,
			held->subnet.addr.family != 0 ? prefix_format(held->subnet, text) : "none");
	}
	if (c->n_networks_present >= CORE_NETWORKS_MAX)
		return err_note(note, ERR_LIMIT, "there are %d networks already; remove some", CORE_NETWORKS_MAX);
	struct decoded d = { .generation = held != NULL ? held->generation + 1 : 1,
		.automatic = want->automatic,
		.subnet = want->subnet,
		.subnet6 = want->subnet6 };
	d.number = free_number(c, want->name);
	if (d.number == 0 || d.generation > GENERATION_MAX)
		return err_note(note, ERR_LIMIT, "no number is left for the network %s; choose another name", want->name);
	err = publish(c, want->name, &d, out);
	return err != ERR_OK ? err : networks_settle(c, out);
}

static const struct core_endpoint *any_in(const struct core *c, const char *network)
{
	struct slice key;
	void *value;
	const struct core_endpoint *found = NULL;

	for (size_t at = 0; map_next(c->endpoints, &at, &key, &value);) {
		const struct endpoint *p = value;
		if (strcmp(p->e.network, network) != 0)
			continue;
		if (found == NULL || p->e.peer == c->cfg.gossip.self) /* our own is the one that the asker finds at once */
			found = &p->e;
	}
	return found;
}

enum err networks_remove(struct core *c, const char *name, struct core_actions *out, struct err_note *note)
{
	const struct network *n = map_get(c->networks, slice_str(name));
	const struct network_record *held = n != NULL ? holds(n) : NULL;
	const struct core_endpoint *e = any_in(c, name);
	struct peer_info info;
	char peer[PEER_TEXT];

	if (strcmp(name, CORE_NETWORK_DEFAULT) == 0)
		return err_note(note, ERR_REFUSED, "%s is the default network, which is always there", name);
	if (held == NULL || held->removed)
		return err_note(note, ERR_NOT_FOUND, "there is no network '%.64s'; 'weft network ls' lists them", name);
	if (e != NULL) {
		bool known = gossip_peer(c->gossip, e->peer, &info) && info.nickname[0] != '\0';
		return err_note(note, ERR_BUSY, "network %s is in use by container %.100s on host %.64s; detach it first", name, e->ident,
			known ? info.nickname : peer_format(e->peer, peer));
	}
	struct decoded d = copy_of(held);
	if (d.generation >= GENERATION_MAX)
		return err_note(note, ERR_LIMIT, "network %s cannot be removed: its record is as high as one can be", name);
	d.generation++;
	d.removed = true;
	(void)wait_for_others(c, n, PEER_NONE, &d);
	enum err err = publish(c, name, &d, out);
	return err != ERR_OK ? err : networks_settle(c, out);
}

enum err networks_restore(struct core *c, struct slice name, struct slice value)
{
	char text[CORE_NETWORK_MAX + 1];
	struct core_actions none;
	struct decoded d;
	struct arena *arena;

	if (!name_ok(name) || !value_decode(value, &d))
		return ERR_MALFORMED;
	memcpy(text, name.p, name.n);
	text[name.n] = '\0';
	arena = arena_new();
	if (arena == NULL)
		return ERR_NOMEM;
	core_actions_init(&none, arena); /* before core_start nothing is spread */
	enum err err = publish(c, text, &d, &none);
	arena_free(arena);
	return err;
}

/* --- reading ------------------------------------------------------------------------------------------------------------------------------ */

/* Of more than fit those with containers of ours count, and the first ones. */
bool core_next_network(const struct core *c, size_t *it, struct core_network *out)
{
	while (*it < c->n_networks_good) {
		size_t i = (*it)++;
		const struct network *n = map_get(c->networks, slice_str(c->networks_present[i].name));
		if (i >= CORE_NETWORKS_MAX && (n == NULL || n->users == 0))
			continue;
		*out = c->networks_present[i];
		return true;
	}
	return false;
}

bool core_network(const struct core *c, const char *name, struct core_network *out)
{
	struct core_network want = { .number = 0 };
	const struct core_network *found;

	if (strlen(name) > CORE_NETWORK_MAX)
		return false;
	memcpy(want.name, name, strlen(name));
	if (strcmp(name, CORE_NETWORK_DEFAULT) == 0) {
		*out = want;
		return true;
	}
	if (c->n_networks_good == 0)
		return false;
	found = bsearch(&want, c->networks_present, c->n_networks_good, sizeof(want), by_name);
	if (found == NULL)
		return false;
	*out = *found;
	return true;
}

void networks_free(struct core *c)
{
	struct slice key;
	void *value;

	if (c->network_records != NULL)
		for (size_t at = 0; map_next(c->network_records, &at, &key, &value);)
			mem_free(value);
	if (c->networks != NULL)
		for (size_t at = 0; map_next(c->networks, &at, &key, &value);)
			mem_free(value);
	map_free(c->network_records);
	map_free(c->networks);
	mem_free(c->networks_present);
	c->network_records = c->networks = NULL;
	c->networks_present = NULL;
	c->n_networks_present = c->n_networks_good = 0;
}
