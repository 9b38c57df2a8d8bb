/* Theory of operation. One entry for each address: what the kernel has (`mac`, where `set`), what it shall have (`next`, where `wanted`), and
 * which MAC our containers were told last. neigh_want fills in `next`, neigh_apply sends the differences and clears `wanted`.
 *
 * A container that asked before this host knew the answer waits a second before it asks again, and one that has talked to an address before
 * does not ask at all when that moves to another MAC. So a new answer is also said aloud, once, to the containers of this host. It goes in by
 * the network's capture as if it came from the other host: from there the bridge gives it to all containers and, the uplinks being isolated from
 * each other, to no uplink. */
#include "router/neigh.h"

#include "base/map.h"
#include "base/mem.h"
#include "router/core/announce.h"
#include "router/log.h"

struct entry {
	struct ip ip;
	struct mac mac, next, told;
	uint64_t peer; /* whose `next` is */
	bool set, wanted;
	bool said;      /* `told` is valid */
	bool inherited; /* of a former daemon, and nobody has said yet that it is right */
};

struct neigh {
	struct kernel *kernel;
	struct log *log;
	uint64_t self;
	struct map *entries; /* family, address → struct entry */
	size_t inherited;
	bool nomem; /* while neigh_open reads */
};

#define KEY_BYTES 17u

static struct slice key_of(struct ip ip, uint8_t out[KEY_BYTES])
{
	struct wbuf w;
	wbuf_fixed(&w, out, KEY_BYTES);
	wbuf_u8(&w, ip.family);
	wbuf_bytes(&w, ip.b, sizeof(ip.b));
	return wbuf_slice(&w);
}

/* NULL: out of memory. */
static struct entry *entry_of(struct neigh *n, struct ip ip)
{
	uint8_t bytes[KEY_BYTES];
	struct slice key = key_of(ip, bytes);
	struct entry *e = map_get(n->entries, key);

	if (e != NULL)
		return e;
	e = mem_zalloc(1, sizeof(*e));
	if (e != NULL && map_put(n->entries, key, e, NULL) != ERR_OK) {
		mem_free(e);
		return NULL;
	}
	if (e != NULL)
		e->ip = ip;
	return e;
}

static void remember(const struct link_neigh *had, void *arg)
{
	struct neigh *n = arg;
	struct entry *e = entry_of(n, had->ip);

	if (e == NULL) {
		n->nomem = true;
		return;
	}
	e->mac = e->told = had->mac;
	e->set = e->said = e->inherited = true;
	n->inherited++;
}

enum err neigh_open(struct neigh **out, uint64_t self, struct kernel *k, struct log *log, struct err_note *note)
{
	struct neigh *n = mem_zalloc(1, sizeof(*n));

	if (n == NULL)
		return err_note(note, ERR_NOMEM, "out of memory");
	*n = (struct neigh){ .kernel = k, .log = log, .self = self, .entries = map_new(self) };
	enum err err = n->entries == NULL ? ERR_NOMEM : link_neigh_list(k, remember, n, note);
	if (err == ERR_OK && n->nomem)
		err = ERR_NOMEM;
	if (err != ERR_OK) {
		neigh_close(n);
		return err == ERR_NOMEM ? err_note(note, err, "out of memory") : err;
	}
	*out = n;
	return ERR_OK;
}

void neigh_forget(struct neigh *n)
{
	struct slice key;
	void *value;

	for (size_t it = 0; map_next(n->entries, &it, &key, &value);)
		mem_free(map_del(n->entries, key));
	n->inherited = 0;
}

void neigh_close(struct neigh *n)
{
	if (n == NULL)
		return;
	if (n->entries != NULL)
		neigh_forget(n);
	map_free(n->entries);
	mem_free(n);
}

void neigh_want(struct neigh *n, struct ip ip, struct mac mac, uint64_t peer)
{
	struct entry *e = announce_may(ip) && !mac_is_group(mac) ? entry_of(n, ip) : NULL;

	if (e == NULL) /* or out of memory: asked for again next time */
		return;
	if (e->wanted && (e->peer == n->self || (peer != n->self && e->peer <= peer)))
		return;
	e->wanted = true;
	e->next = mac;
	e->peer = peer;
}

/* To our containers; what the device does not take now they ask for a second later. */
static void announce(const struct neigh *n, struct entry *e, neigh_say say, void *arg)
{
	uint8_t frame[ANNOUNCE_MAX];

	if (e->said && mac_eq(e->told, e->next))
		return;
	e->said = true;
	e->told = e->next;
	if (e->peer == n->self || say == NULL) /* our own containers speak for themselves */
		return;
	e->said = say(slice_of(frame, announce_frame(e->next, e->ip, frame)), arg);
}

/* false: the kernel refused it. */
static bool program(const struct neigh *n, struct entry *e)
{
	struct err_note note = { "" };

	if (!link_answers(n->kernel) || (e->set && mac_eq(e->mac, e->next)))
		return true;
	if (link_neigh_set(n->kernel, e->ip, e->next, &note) != ERR_OK) {
		log_write(n->log, LOG_LEVEL_WARNING, "containers' questions are not answered here: %s", note.text);
		return false;
	}
	e->set = true;
	e->mac = e->next;
	return true;
}

static bool unprogram(const struct neigh *n, const struct entry *e)
{
	struct err_note note = { "" };

	if (!e->set || link_neigh_del(n->kernel, e->ip, &note) == ERR_OK)
		return true;
	log_write(n->log, LOG_LEVEL_WARNING, "an address that went is still answered for: %s", note.text);
	return false;
}

size_t neigh_apply(struct neigh *n, bool settled, neigh_say say, void *arg)
{
	struct slice key;
	void *value;
	size_t refused = 0;

	for (size_t it = 0; map_next(n->entries, &it, &key, &value);) {
		struct entry *e = value;
		if (e->wanted) {
			n->inherited -= e->inherited;
			e->inherited = e->wanted = false;
			refused += !program(n, e);
			announce(n, e, say, arg);
		} else if (!e->inherited || settled) {
			if (!unprogram(n, e)) {
				refused++;
				continue;
			}
			n->inherited -= e->inherited;
			mem_free(map_del(n->entries, key));
		}
	}
	return refused;
}

size_t neigh_inherited(const struct neigh *n)
{
	return n->inherited;
}
