/* The node: one step, one switch, and the wiring between mesh, addresses and names.
 *
 * Theory of operation. An event goes to the part it is meant for. That part's actions are looked at one by one: what concerns the outside
 * becomes an action of ours, what concerns another part is fed to it at once (news of the ring to ipam, ipam's changes to gossip). The
 * parts cannot loop: gossip answers a change with sends only, ipam answers news with changes that are new by definition.
 * Of gossip's actions the bytes go first (take_gossip_actions): they are sealed in order and must leave in order.
 * After every step that touched links, peers or endpoints the paths are looked at again and CORE_FORWARDING is given once.
 *
 * Memory may run out at any point. gossip and ipam see to themselves. What is decoded here (names, endpoints, paths) is brought in line with
 * the channels as a whole at the next step (c->repair). Only a record that ipam wanted durable cannot be made good later, since what
 * follows from it may be among the actions: then the step's actions are withdrawn and the node stops (c->lost). */
#include "router/core/core.h"

#include <assert.h>
#include <sodium.h>
#include <string.h>

#include "router/core/internal.h"

enum { REPAIR_MS = 100 };

/* --- between the parts --------------------------------------------------------------------------------------------------------- */

static enum err run_gossip(struct core *c, const struct gossip_event *ev, struct core_actions *out);

enum err core_spread(struct core *c, uint8_t channel, const struct crdt_changes *changes, struct core_actions *out)
{
	struct gossip_event ev = { .kind = GOSSIP_CHANGED, .now_ms = c->now_ms };

	if (!c->started || changes->n == 0)
		return ERR_OK;
	ev.u.changed.channel = channel;
	ev.u.changed.changes = changes;
	enum err err = run_gossip(c, &ev, out);
	if (err == ERR_OK && channel == CHANNEL_ENDPOINTS)
		err = core_emit(out, (struct core_action){ .kind = CORE_FORWARDING });
	if (err == ERR_OK && channel == CHANNEL_ENDPOINTS)
		err = paths_members(c, changes, out);
	return err;
}

enum err core_unicast(struct core *c, uint64_t to, uint8_t kind, struct slice payload, struct core_actions *out)
{
	struct gossip_event ev = { .kind = GOSSIP_SEND_UNICAST, .now_ms = c->now_ms };

	ev.u.unicast.to = to;
	ev.u.unicast.kind = kind;
	ev.u.unicast.payload = payload;
	return run_gossip(c, &ev, out);
}

static uint8_t ipam_channel(int map)
{
	return map == IPAM_MAP_RING ? CHANNEL_RING : map == IPAM_MAP_PAXOS ? CHANNEL_PAXOS : CHANNEL_USAGE;
}

static enum err take_ipam_action(struct core *c, const struct ipam_action *a, struct core_actions *out)
{
	switch (a->kind) {
	case IPAM_PERSIST: {
		enum err err = a->u.persist.value.p == NULL ? core_unpersist(out, "ipam/", a->u.persist.key)
													: core_persist(out, "ipam/", a->u.persist.key, a->u.persist.value);
		if (err != ERR_OK)
			c->lost = true;
		return err;
	}
	case IPAM_CHANGED: return core_spread(c, ipam_channel(a->u.changed.map), &a->u.changed.changes, out);
	case IPAM_SEND: return core_unicast(c, a->u.send.to, IPAM_MESSAGE_KIND, a->u.send.payload, out);
	case IPAM_REPLY:
		if (a->u.reply.request == 0)
			return ERR_OK;
		return core_emit(out,
			(struct core_action){ .kind = CORE_REPLY,
				.u.reply = { .request = a->u.reply.request,
					.err = a->u.reply.err,
					.text = a->u.reply.text,
					.result = a->u.reply.result,
					.count = a->u.reply.count } });
	case IPAM_NOTE:
		return core_emit(out,
			(struct core_action){
				.kind = CORE_NOTE, .u.note = { .level = (enum note_level)a->u.note.level, .text = a->u.note.text } });
	}
	return ERR_OK;
}

enum err core_run_ipam(struct core *c, struct ipam_event *ev, struct core_actions *out)
{
	struct ipam_actions acts;

	if (c->ipam == NULL)
		return ERR_OK;
	ev->now_ms = c->now_ms;
	ipam_actions_init(&acts, out->arena);
	enum err err = ipam_step(c->ipam, ev, &acts);
	for (size_t i = 0; i < acts.n; i++) {
		enum err e = take_ipam_action(c, &acts.v[i], out);
		if (err == ERR_OK)
			err = e;
	}
	return err;
}

static enum err ipam_news(struct core *c, int map, const struct crdt_changes *changes, struct core_actions *out)
{
	struct ipam_event ev = { .kind = IPAM_NEWS, .map = (__typeof__(ev.map))map, .changes = changes };

	return core_run_ipam(c, &ev, out);
}

static enum err take_news(struct core *c, uint8_t channel, const struct crdt_changes *changes, struct core_actions *out)
{
	bool moved = false;
	enum err err = ERR_OK;

	switch (channel) {
	case CHANNEL_RING: c->range_dirty = true; return ipam_news(c, IPAM_MAP_RING, changes, out);
	case CHANNEL_PAXOS: return ipam_news(c, IPAM_MAP_PAXOS, changes, out);
	case CHANNEL_USAGE: return ipam_news(c, IPAM_MAP_USAGE, changes, out);
	case CHANNEL_NAMES: return names_refresh(c, changes);
	case CHANNEL_ENDPOINTS:
		err = endpoints_refresh(c, changes, &moved);
		if (err == ERR_OK && moved)
			err = core_emit(out, (struct core_action){ .kind = CORE_FORWARDING });
		return err != ERR_OK ? err : paths_members(c, changes, out);
	case CHANNEL_NETWORKS: err = networks_refresh(c, changes); return err != ERR_OK ? err : networks_settle(c, out);
	default: return ERR_OK; /* peers: gossip's own, seen as GOSSIP_TOPOLOGY */
	}
}

static bool is_target(const struct core *c, const char *address)
{
	const char *target;

	for (size_t it = 0; gossip_next_target(c->gossip, &it, &target);)
		if (strcmp(target, address) == 0)
			return true;
	return false;
}

/* How many hosts the first agreement expects: the targets that are not ourselves, and us. Links to oneself are few. */
static size_t expected(const struct core *c)
{
	const char *target;
	struct link_view link;
	size_t n = 1;

	for (size_t it = 0; gossip_next_target(c->gossip, &it, &target);)
		n++;
	for (size_t it = 0; gossip_next_link(c->gossip, &it, &link);)
		if (link.peer == c->cfg.gossip.self && is_target(c, link.address) && n > 1)
			n--;
	return n;
}

static enum err take_topology(struct core *c, struct core_actions *out)
{
	bool moved = false;
	struct ipam_event ev = { .kind = IPAM_TOPOLOGY };
	c->range_dirty = true;
	enum err err = paths_refresh(c, out, &moved);

	if (err == ERR_OK && moved)
		err = core_emit(out, (struct core_action){ .kind = CORE_FORWARDING });
	if (err == ERR_OK)
		err = networks_settle(c, out);
	if (err == ERR_OK && c->ipam != NULL) {
		if (!c->targets_change)
			ipam_set_expected(c->ipam, expected(c));
		err = core_run_ipam(c, &ev, out);
	}
	return err;
}

static enum err take_contested(struct core *c, const struct gossip_action *a, struct core_actions *out)
{
	struct ipam_event ev = { .kind = IPAM_SUSPEND, .on = a->u.contested.on };

	return core_run_ipam(c, &ev, out); /* gossip has said so in the log */
}

/* What gossip wants of the outside. */
static enum err pass_on(const struct gossip_action *a, struct core_actions *out)
{
	struct core_action mine = { .kind = CORE_NOTE };

	switch (a->kind) {
	case GOSSIP_DIAL:
		mine.kind = CORE_DIAL;
		mine.u.dial.conn = a->u.dial.conn;
		mine.u.dial.host = a->u.dial.host;
		mine.u.dial.port = a->u.dial.port;
		return core_emit(out, mine);
	case GOSSIP_SEND:
		mine.kind = CORE_SEND;
		mine.u.send.conn = a->u.send.conn;
		mine.u.send.bytes = a->u.send.bytes;
		return core_emit(out, mine);
	case GOSSIP_CLOSE:
		mine.kind = CORE_CLOSE;
		mine.u.close.conn = a->u.close.conn;
		mine.u.close.why = a->u.close.why;
		return core_emit(out, mine);
	case GOSSIP_NOTE:
		mine.u.note.level = a->u.note.level;
		mine.u.note.stranger = a->u.note.stranger;
		mine.u.note.text = a->u.note.text;
		return core_emit(out, mine);
	case GOSSIP_NEWS:
	case GOSSIP_UNICAST:
	case GOSSIP_TOPOLOGY:
	case GOSSIP_CONTESTED: break;
	}
	return ERR_OK;
}

/* What gossip has for the other parts. */
static enum err pass_up(struct core *c, const struct gossip_action *a, struct core_actions *out)
{
	struct ipam_event ev = { .kind = IPAM_MESSAGE };

	switch (a->kind) {
	case GOSSIP_NEWS: return take_news(c, a->u.news.channel, &a->u.news.changes, out);
	case GOSSIP_UNICAST:
		if (a->u.unicast.kind == DIGEST_MESSAGE_KIND)
			return digest_message(c, a->u.unicast.from, a->u.unicast.payload, out);
		if (a->u.unicast.kind != IPAM_MESSAGE_KIND)
			return ERR_OK; /* a kind of a newer version */
		ev.peer = a->u.unicast.from;
		ev.payload = a->u.unicast.payload;
		return core_run_ipam(c, &ev, out);
	case GOSSIP_TOPOLOGY: return take_topology(c, out);
	case GOSSIP_CONTESTED: return take_contested(c, a, out);
	case GOSSIP_DIAL:
	case GOSSIP_SEND:
	case GOSSIP_CLOSE:
	case GOSSIP_NOTE: break;
	}
	return ERR_OK;
}

/* Two rounds: bytes of this step must be in `out` before another step of gossip, which what is passed up may bring about, seals more for the
 * same connection. */
static enum err take_gossip_actions(struct core *c, const struct gossip_actions *acts, enum err err, struct core_actions *out)
{
	for (size_t i = 0; i < acts->n; i++) {
		enum err e = pass_on(&acts->v[i], out);
		if (err == ERR_OK)
			err = e;
	}
	for (size_t i = 0; i < acts->n; i++) {
		enum err e = pass_up(c, &acts->v[i], out);
		if (err == ERR_OK)
			err = e;
	}
	return err;
}

static enum err run_gossip(struct core *c, const struct gossip_event *ev, struct core_actions *out)
{
	struct gossip_actions acts;

	gossip_actions_init(&acts, out->arena);
	enum err err = gossip_step(c->gossip, ev, &acts);
	return take_gossip_actions(c, &acts, err, out);
}

/* --- what ipam asks of us ------------------------------------------------------------------------------------------------------- */

static bool ask_reachable(void *ctx, uint64_t peer)
{
	const struct core *c = ctx;

	return gossip_reachable(c->gossip, peer);
}

static bool ask_next_peer(void *ctx, uint64_t *it, uint64_t *peer)
{
	const struct core *c = ctx;

	return gossip_next_peer(c->gossip, it, peer);
}

static bool ask_in_use(void *ctx, uint32_t addr, uint64_t *holder)
{
	return endpoints_in_use(ctx, addr, holder);
}

static const char *ask_nickname(void *ctx, uint64_t peer)
{
	struct core *c = ctx;
	struct peer_info info;
	size_t n;

	if (!gossip_peer(c->gossip, peer, &info))
		return "";
	n = strlen(info.nickname);
	assert(n < sizeof(c->nickname_answer));
	memcpy(c->nickname_answer, info.nickname, n + 1);
	return c->nickname_answer;
}

/* --- start ---------------------------------------------------------------------------------------------------------------------- */

static enum err make_maps(struct core *c)
{
	for (uint8_t id = CHANNEL_PEERS; id <= CHANNEL_NETWORKS; id++) {
		bool owned = id != CHANNEL_RING;
		enum err err = crdt_map_new(&c->maps[id], owned, c->cfg.gossip.seed + id);
		if (err != ERR_OK)
			return err;
		if (owned)
			crdt_map_set_writer(c->maps[id], c->cfg.gossip.self, c->cfg.gossip.incarnation);
	}
	crdt_map_set_form(c->maps[CHANNEL_RING], ring_item_valid);
	c->endpoints = map_new(c->cfg.gossip.seed);
	c->by_mac = map_new(c->cfg.gossip.seed);
	c->by_addr = map_new(c->cfg.gossip.seed);
	c->by_ident = map_new(c->cfg.gossip.seed);
	c->names = map_new(c->cfg.gossip.seed);
	c->peers = map_new(c->cfg.gossip.seed);
	c->targets = map_new(c->cfg.gossip.seed);
	c->network_records = map_new(c->cfg.gossip.seed);
	c->networks = map_new(c->cfg.gossip.seed);
	bool indices = c->by_mac != NULL && c->by_addr != NULL && c->by_ident != NULL;
	bool networks = c->network_records != NULL && c->networks != NULL;
	bool others = c->names != NULL && c->peers != NULL && c->targets != NULL;
	return c->endpoints != NULL && indices && networks && others ? ERR_OK : ERR_NOMEM;
}

static enum err make_gossip(struct core *c, uint64_t now_ms)
{
	static const char *const channel_names[CHANNELS] = { "", "peers", "ring", "paxos", "usage", "names", "endpoints",
		"networks" };
	enum err err = gossip_new(&c->gossip, &c->cfg.gossip, now_ms);

	/* It has a copy, and core_cfg() is for everybody to read. */
	sodium_memzero(c->cfg.gossip.static_secret, sizeof(c->cfg.gossip.static_secret));
	sodium_memzero(c->cfg.gossip.psk, sizeof(c->cfg.gossip.psk));
	for (uint8_t id = CHANNEL_RING; err == ERR_OK && id <= CHANNEL_NETWORKS; id++)
		err = gossip_add_channel(c->gossip, id, channel_names[id], c->maps[id]);
	return err;
}

static enum err make_ipam(struct core *c, struct err_note *note)
{
	struct ipam_cfg cfg = {
		.self = c->cfg.gossip.self,
		.universe = c->cfg.universe,
		.default_subnet = c->cfg.default_subnet,
		.init = c->cfg.init,
		.consensus = c->cfg.consensus,
		.seeds = c->seeds,
		.n_seeds = c->cfg.n_seeds,
		.ring = c->maps[CHANNEL_RING],
		.paxos = c->maps[CHANNEL_PAXOS],
		.usage = c->maps[CHANNEL_USAGE],
		.ctx = c,
		.reachable = ask_reachable,
		.next_peer = ask_next_peer,
		.in_use_elsewhere = ask_in_use,
		.nickname = ask_nickname,
		.seed = c->cfg.gossip.seed ^ UINT64_C(0x6970616d),
		.reclaim_after_ms = c->cfg.reclaim_after_ms,
		.boot = c->cfg.boot,
		.fresh_store = c->cfg.fresh_store,
	};

	enum err err = c->cfg.ipam ? ipam_new(&c->ipam, &cfg, note) : ERR_OK;
	if (c->ipam != NULL)
		crdt_map_set_rule(c->maps[CHANNEL_RING], ipam_ring_rule, c->ipam);
	return err;
}

static enum err copy_cfg(struct core *c, const struct core_cfg *cfg)
{
	c->cfg = *cfg;
	c->nickname = mem_strdup(cfg->gossip.nickname);
	c->version = mem_strdup(cfg->gossip.version);
	c->domain = mem_strdup(cfg->domain != NULL ? cfg->domain : "weft.local.");
	c->seeds = cfg->n_seeds > 0 ? mem_dup(cfg->seeds, cfg->n_seeds * sizeof(*cfg->seeds)) : NULL;
	c->cfg.gossip.nickname = c->nickname;
	c->cfg.gossip.version = c->version;
	c->cfg.domain = c->domain;
	c->cfg.seeds = c->seeds;
	if (c->nickname == NULL || c->version == NULL || c->domain == NULL || (cfg->n_seeds > 0 && c->seeds == NULL))
		return ERR_NOMEM;
	return ERR_OK;
}

/* Another one in the place of the one that there is, which is the caller's then. */
enum err core_make_ipam(struct core *c)
{
	struct err_note note;
	struct ipam *old = c->ipam;
	enum err err = make_ipam(c, &note);

	if (err != ERR_OK) {
		c->ipam = old;
		crdt_map_set_rule(c->maps[CHANNEL_RING], ipam_ring_rule, c->ipam);
	} else {
		ipam_set_expected(c->ipam, expected(c));
	}
	return err;
}

enum err core_new(struct core **out, const struct core_cfg *cfg, uint64_t now_ms, struct err_note *note)
{
	struct dns_name domain;
	struct core *c = mem_zalloc(1, sizeof(*c));

	if (c == NULL)
		return ERR_NOMEM;
	c->now_ms = now_ms;
	enum err err = copy_cfg(c, cfg);
	c->cfg.offer.sealed_only = c->cfg.offer.sealed_only || cfg->require_encryption;
	if (err == ERR_OK && cfg->names)
		err = dns_domain_check(c->domain, &domain, note);
	if (err == ERR_OK)
		err = make_maps(c);
	c->cfg.gossip.peers = c->maps[CHANNEL_PEERS];
	if (err == ERR_OK && cfg->names)
		err = dns_table_new(&c->table, cfg->gossip.seed);
	if (err == ERR_OK)
		err = paths_new(c);
	if (err == ERR_OK)
		err = make_gossip(c, now_ms);
	if (err == ERR_OK)
		err = make_ipam(c, note);
	if (err != ERR_OK) {
		core_free(c);
		return err;
	}
	*out = c;
	return ERR_OK;
}

void core_free(struct core *c)
{
	struct slice key;
	void *value;

	if (c == NULL)
		return;
	ipam_free(c->ipam);
	gossip_free(c->gossip);
	endpoints_free(c);
	names_free(c);
	networks_free(c);
	paths_free(c);
	if (c->targets != NULL)
		for (size_t at = 0; map_next(c->targets, &at, &key, &value);)
			mem_free(value);
	map_free(c->targets);
	dns_table_free(c->table);
	for (size_t i = 0; i < CHANNELS; i++)
		crdt_map_free(c->maps[i]);
	mem_free(c->seeds);
	mem_free(c->domain);
	mem_free(c->version);
	mem_free(c->nickname);
	mem_free(c);
}

static bool split_kind(struct slice key, const char *kind, struct slice *rest)
{
	size_t n = strlen(kind);

	if (key.n < n || memcmp(key.p, kind, n) != 0)
		return false;
	*rest = slice_of(key.p + n, key.n - n);
	return true;
}

static enum err keep_target(struct core *c, const char *text)
{
	if (map_get(c->targets, slice_str(text)) != NULL)
		return ERR_OK;
	char *copy = mem_strdup(text);
	if (copy == NULL)
		return ERR_NOMEM;
	enum err err = map_put(c->targets, slice_str(text), copy, NULL);
	if (err != ERR_OK)
		mem_free(copy);
	return err;
}

static enum err check_target(const struct core *c, const char *text, struct err_note *why)
{
	char host[GOSSIP_TARGET_TEXT];
	uint16_t port;

	if (strlen(text) >= GOSSIP_TARGET_TEXT)
		return err_note(why, ERR_LIMIT, "a peer's address has at most %d characters", GOSSIP_TARGET_TEXT - 1);
	if (map_count(c->targets) >= GOSSIP_TARGETS_MAX && map_get(c->targets, slice_str(text)) == NULL)
		return err_note(why, ERR_LIMIT, "a host has at most %d peers to connect to; forget some", GOSSIP_TARGETS_MAX);
	return hostport_split(text, c->cfg.gossip.port, host, sizeof(host), &port, why);
}

static enum err restore_target(struct core *c, struct slice text)
{
	char copy[GOSSIP_TARGET_TEXT];

	if (text.n == 0 || text.n >= GOSSIP_TARGET_TEXT || memchr(text.p, '\0', text.n) != NULL)
		return ERR_MALFORMED;
	memcpy(copy, text.p, text.n);
	copy[text.n] = '\0';
	return check_target(c, copy, NULL) == ERR_OK ? keep_target(c, copy) : ERR_MALFORMED;
}

enum err core_restore(struct core *c, struct slice key, struct slice value, struct err_note *note)
{
	struct slice rest;
	enum err err = ERR_MALFORMED;

	assert(!c->started);
	if (split_kind(key, "ipam/", &rest))
		return c->ipam != NULL ? ipam_restore(c->ipam, rest, value, note) : ERR_OK;
	if (split_kind(key, "endpoint/", &rest))
		err = endpoints_restore(c, rest, value);
	else if (split_kind(key, "name/", &rest))
		err = names_restore(c, rest, value);
	else if (split_kind(key, "network/", &rest))
		err = networks_restore(c, rest, value);
	else if (split_kind(key, "target/", &rest))
		err = restore_target(c, rest);
	if (err == ERR_MALFORMED)
		return err_note(note, err, "a stored record of %zu bytes cannot be read", value.n);
	return err;
}

/* What the mesh does not take it has said why in a note. */
static enum err connect_one(struct core *c, const char *target, struct core_actions *out)
{
	struct gossip_event ev = { .kind = GOSSIP_CONNECT, .now_ms = c->now_ms };

	ev.u.target.target = target;
	enum err err = run_gossip(c, &ev, out);
	return err == ERR_NOMEM ? err : ERR_OK;
}

enum err core_publish_offer(struct core *c, struct core_actions *out)
{
	uint8_t bytes[PATH_OFFER_BYTES];
	struct wbuf w;
	struct gossip_actions acts;

	wbuf_fixed(&w, bytes, sizeof(bytes));
	path_offer_encode(&w, &c->cfg.offer);
	enum err err = wbuf_end(&w);
	assert(err == ERR_OK);
	gossip_actions_init(&acts, out->arena);
	err = gossip_set_extra(c->gossip, wbuf_slice(&w), c->now_ms, &acts);
	return take_gossip_actions(c, &acts, err, out);
}

enum err core_start(struct core *c, uint64_t now_ms, bool resume, struct core_actions *out)
{
	struct slice key;
	void *value;
	enum err err = ERR_OK;

	assert(!c->started);
	c->now_ms = now_ms;
	/* What our former selves said and we do not repeat is over. Without a former self that would be seven signatures for every host to check. */
	for (uint8_t id = CHANNEL_PEERS; !c->cfg.newborn && err == ERR_OK && id <= CHANNEL_NETWORKS; id++)
		if (id != CHANNEL_RING)
			err = crdt_map_compact(c->maps[id], 0, NULL);
	c->started = true;
	if (err == ERR_OK)
		err = core_publish_offer(c, out);
	c->targets_change = true;
	for (size_t at = 0; err == ERR_OK && resume && map_next(c->targets, &at, &key, &value);)
		err = connect_one(c, value, out);
	c->targets_change = false;
	if (err == ERR_OK)
		err = take_topology(c, out);
	if (err == ERR_OK)
		err = paths_flush(c, out);
	if (c->lost) {
		out->n = 0;
		return ERR_STATE;
	}
	return err;
}

/* --- the step -------------------------------------------------------------------------------------------------------------------- */

static enum err forget_target(struct core *c, const char *target, struct core_actions *out)
{
	struct gossip_event ev = { .kind = GOSSIP_FORGET, .now_ms = c->now_ms };

	ev.u.target.target = target;
	enum err err = run_gossip(c, &ev, out);
	if (err != ERR_OK && err != ERR_NOT_FOUND)
		return err;
	err = core_unpersist(out, "target/", slice_str(target));
	mem_free(map_del(c->targets, slice_str(target)));
	return err;
}

static bool listed(const struct core_event *ev, const char *target)
{
	for (size_t i = 0; i < ev->n_targets; i++)
		if (strcmp(ev->targets[i], target) == 0)
			return true;
	return false;
}

static enum err do_connect(struct core *c, const struct core_event *ev, struct core_actions *out)
{
	struct slice key;
	void *value;
	enum err err = ERR_OK, bad = ERR_OK;
	const char *text = NULL;

	c->targets_change = true;
	for (size_t at = 0; err == ERR_OK && ev->replace && map_next(c->targets, &at, &key, &value);) {
		if (listed(ev, value))
			continue;
		char *old = mem_strdup(value);
		err = old == NULL ? ERR_NOMEM : forget_target(c, old, out);
		mem_free(old);
	}
	for (size_t i = 0; err == ERR_OK && i < ev->n_targets; i++) {
		struct err_note why = { "" };
		enum err e = check_target(c, ev->targets[i], &why);
		if (e != ERR_OK) { /* the good ones are taken all the same */
			bad = e;
			text = arena_printf(out->arena, "'%.100s' is no peer: %s", ev->targets[i], why.text);
			if (ev->request == 0 && text != NULL)
				err = core_note(out, NOTE_WARNING, "%s", text);
			continue;
		}
		err = keep_target(c, ev->targets[i]);
		if (err == ERR_OK)
			err = core_persist(out, "target/", slice_str(ev->targets[i]), slice_str(""));
		if (err == ERR_OK)
			err = connect_one(c, ev->targets[i], out);
	}
	c->targets_change = false;
	if (err == ERR_OK)
		err = take_topology(c, out);
	return err != ERR_OK ? err : core_reply(out, ev->request, bad, text);
}

static enum err do_forget(struct core *c, const struct core_event *ev, struct core_actions *out)
{
	enum err err = ERR_OK;

	for (size_t i = 0; err == ERR_OK && i < ev->n_targets; i++)
		err = forget_target(c, ev->targets[i], out);
	if (err == ERR_OK)
		err = take_topology(c, out);
	return err != ERR_OK ? err : core_reply(out, ev->request, ERR_OK, NULL);
}

/* rmpeer: its space becomes ours, and what it published is forgotten as a whole, unless ipam refuses. */
static enum err do_takeover(struct core *c, const struct core_event *ev, struct core_actions *out)
{
	struct ipam_event copy = *ev->ipam;
	size_t before = out->n;
	bool done = false;
	uint64_t highest = 0;
	for (uint8_t id = CHANNEL_PEERS; id <= CHANNEL_NETWORKS; id++) {
		uint64_t inc = id == CHANNEL_RING ? 0 : crdt_map_incarnation(c->maps[id], copy.peer);
		highest = inc > highest ? inc : highest;
	}
	enum err err = core_run_ipam(c, &copy, out);

	for (size_t i = before; i < out->n; i++)
		if (out->v[i].kind == CORE_REPLY && out->v[i].u.reply.request == copy.request)
			done = out->v[i].u.reply.err == ERR_OK;
	for (uint8_t id = CHANNEL_PEERS; err == ERR_OK && done && id <= CHANNEL_NETWORKS; id++) {
		struct crdt_changes changes;
		if (id == CHANNEL_RING)
			continue;
		crdt_changes_init(&changes, out->arena);
		if (id == CHANNEL_NETWORKS)
			err = networks_adopt(c, copy.peer, out);
		if (err == ERR_OK)
			err = crdt_map_forget(c->maps[id], copy.peer, highest, &changes);
		if (err == ERR_OK)
			err = take_news(c, id, &changes, out);
		if (err == ERR_OK)
			err = core_spread(c, id, &changes, out);
	}
	return err == ERR_OK && done ? take_topology(c, out) : err;
}

static enum err do_ipam(struct core *c, const struct core_event *ev, struct core_actions *out)
{
	if (c->ipam == NULL)
		return core_reply(out, ev->ipam->request, ERR_STATE, "address management is off on this host (--ipalloc-range \"\")");
	if (ev->ipam->kind == IPAM_TAKEOVER)
		return do_takeover(c, ev, out);
	struct ipam_event copy = *ev->ipam;
	return core_run_ipam(c, &copy, out);
}

static enum err do_name_put(struct core *c, const struct core_event *ev, struct core_actions *out)
{
	struct err_note note = { "" };
	enum err err = names_put(c, ev->ident != NULL ? ev->ident : CORE_IDENT_EXTERN, ev->fqdn, ev->addr, out, &note);

	if (err == ERR_NOMEM)
		return err;
	return core_reply(out, ev->request, err, note.text[0] != '\0' ? note.text : NULL);
}

static enum err do_name_delete(struct core *c, const struct core_event *ev, struct core_actions *out)
{
	size_t n = 0;
	enum err err = names_delete(c, ev->ident, ev->fqdn, ev->addr, &n, out);

	if (err == ERR_OK && ev->request != 0)
		err = core_emit(out, (struct core_action){ .kind = CORE_REPLY, .u.reply = { .request = ev->request, .count = n } });
	return err;
}

static enum err do_attached(struct core *c, const struct core_event *ev, struct core_actions *out)
{
	enum err err = endpoints_attached(c, ev->endpoint, out);
	char mac[MAC_TEXT];
	const char *text = NULL;

	if (err == ERR_EXISTS)
		text = arena_printf(out->arena, "the MAC %s is another container's of this host", mac_format(ev->endpoint->mac, mac));
	if (err == ERR_OK)
		err = networks_settle(c, out);
	return err == ERR_NOMEM ? err : core_reply(out, ev->request, err, text);
}

static enum err do_network(struct core *c, const struct core_event *ev, struct core_actions *out)
{
	struct err_note note = { "" };
	enum err err = ev->kind == CORE_NETWORK_CREATE ? networks_create(c, ev->network, out, &note)
												   : networks_remove(c, ev->network->name, out, &note);

	if (err == ERR_NOMEM)
		return err;
	return core_reply(out, ev->request, err, note.text[0] != '\0' ? note.text : NULL);
}

static enum err do_stop(struct core *c, struct core_actions *out)
{
	struct gossip_actions acts;

	gossip_actions_init(&acts, out->arena);
	enum err err = gossip_bye(c->gossip, c->now_ms, &acts);
	return take_gossip_actions(c, &acts, err, out);
}

static enum err do_tick(struct core *c, struct core_actions *out)
{
	struct gossip_event tick = { .kind = GOSSIP_TICK, .now_ms = c->now_ms };
	struct ipam_event beat = { .kind = IPAM_TICK };
	enum err err = ERR_OK;

	if (gossip_deadline_ms(c->gossip) <= c->now_ms)
		err = run_gossip(c, &tick, out);
	if (err == ERR_OK && c->ipam != NULL && ipam_deadline_ms(c->ipam) <= c->now_ms)
		err = core_run_ipam(c, &beat, out);
	return err != ERR_OK ? err : paths_tick(c, out);
}

static enum err dispatch(struct core *c, const struct core_event *ev, struct core_actions *out)
{
	enum err err = ERR_OK;

	switch (ev->kind) {
	case CORE_TICK: return do_tick(c, out);
	case CORE_MESH: return run_gossip(c, ev->mesh, out);
	case CORE_CONNECT: return do_connect(c, ev, out);
	case CORE_FORGET: return do_forget(c, ev, out);
	case CORE_IPAM: return do_ipam(c, ev, out);
	case CORE_ATTACHED: return do_attached(c, ev, out);
	case CORE_DETACHED:
		err = endpoints_detached(c, ev->ident, ev->addr, out);
		if (err == ERR_OK)
			err = networks_settle(c, out);
		return err != ERR_OK ? err : core_reply(out, ev->request, ERR_OK, NULL);
	case CORE_NAME_PUT: return do_name_put(c, ev, out);
	case CORE_NAME_DELETE: return do_name_delete(c, ev, out);
	case CORE_OFFER:
		c->cfg.offer = *ev->offer;
		c->cfg.offer.sealed_only = c->cfg.offer.sealed_only || c->cfg.require_encryption;
		err = core_publish_offer(c, out);
		return err != ERR_OK ? err : take_topology(c, out);
	case CORE_DIGESTS: err = digest_ask(c, out); return err != ERR_OK ? err : core_reply(out, ev->request, ERR_OK, NULL);
	case CORE_STOP: return do_stop(c, out);
	case CORE_DATAGRAM: return sessions_datagram(c, ev, out);
	case CORE_UNDELIVERED:
	case CORE_TRAFFIC:
	case CORE_WANTED:
	case CORE_ROAMED: return paths_event(c, ev, out);
	case CORE_NETWORK_CREATE:
	case CORE_NETWORK_REMOVE: return do_network(c, ev, out);
	}
	return ERR_OK;
}

/* What memory did not suffice for before. */
static enum err repair(struct core *c, struct core_actions *out)
{
	bool moved = false;
	enum err err = names_resync(c);

	if (err == ERR_OK)
		err = endpoints_resync(c, &moved);
	if (err == ERR_OK)
		err = networks_resync(c);
	if (err == ERR_OK)
		err = core_emit(out, (struct core_action){ .kind = CORE_FORWARDING });
	if (err == ERR_OK)
		err = take_topology(c, out);
	return err;
}

static bool has_reply(const struct core_actions *out, uint64_t request)
{
	for (size_t i = 0; i < out->n; i++)
		if (out->v[i].kind == CORE_REPLY && out->v[i].u.reply.request == request)
			return true;
	return false;
}

enum err core_step(struct core *c, const struct core_event *ev, struct core_actions *out)
{
	uint64_t request = ev->kind == CORE_IPAM ? ev->ipam->request : ev->request;

	assert(c->started && !c->lost);
	if (ev->now_ms > c->now_ms)
		c->now_ms = ev->now_ms;
	if (c->repair)
		c->repair = repair(c, out) != ERR_OK; /* not this event's failure */
	enum err e = dispatch(c, ev, out);
	if (range_settle(c, out) != ERR_OK)
		c->repair = true;
	if (e != ERR_OK && request != 0 && !has_reply(out, request)) {
		struct ipam_event cancel = { .kind = IPAM_CANCEL,
			.request = request }; /* should it have been taken in before it failed */
		enum err first = ev->kind == CORE_IPAM ? core_run_ipam(c, &cancel, out) : ERR_OK;
		enum err second = core_reply(out, request, e, NULL);
		if (first != ERR_OK || second != ERR_OK)
			e = ERR_NOMEM;
	}
	if (paths_flush(c, out) != ERR_OK)
		e = ERR_NOMEM;
	if (e == ERR_NOMEM)
		c->repair = true;
	if (c->lost) {
		out->n = 0;
		return ERR_STATE;
	}
	return e;
}

uint64_t core_deadline_ms(const struct core *c)
{
	uint64_t a = gossip_deadline_ms(c->gossip);
	uint64_t b = c->ipam != NULL ? ipam_deadline_ms(c->ipam) : UINT64_MAX;

	if (b < a)
		a = b;
	uint64_t paths = paths_deadline_ms(c);
	if (paths < a)
		a = paths;
	return c->repair && c->now_ms + REPAIR_MS < a ? c->now_ms + REPAIR_MS : a;
}

/* --- reading --------------------------------------------------------------------------------------------------------------------- */

const struct gossip *core_gossip(const struct core *c)
{
	return c->gossip;
}

const struct ipam *core_ipam(const struct core *c)
{
	return c->ipam;
}

const struct dns_table *core_names(const struct core *c)
{
	return c->table;
}

const struct crdt_map *core_channel(const struct core *c, uint8_t channel)
{
	return channel < CHANNELS ? c->maps[channel] : NULL;
}

struct universe core_universe(const struct core *c)
{
	return c->cfg.universe;
}

const struct core_cfg *core_cfg(const struct core *c)
{
	return &c->cfg;
}
