/* The step. An event changes state and marks what follows from it; then finish() does what was marked, once: choose, dial, publish,
 * flush the slots, hand bytes to the shell, close. See internal.h for who does what and for what happens when memory runs out. */
#include "gossip/gossip.h"

#include <assert.h>
#include <sodium.h>
#include <string.h>

#include "gossip/internal.h"

#define KEEP_BYTES 4096 /* larger buffers are given back after a step */

static void copy_text(char *dst, size_t size, const char *src)
{
	size_t n = src ? strlen(src) : 0;
	if (n >= size)
		n = size - 1;
	if (n > 0)
		memcpy(dst, src, n);
	dst[n] = '\0';
}

static void copy_config(struct gossip *g, const struct gossip_cfg *cfg)
{
	g->self = cfg->self;
	g->incarnation = cfg->incarnation;
	g->uid = cfg->uid;
	copy_text(g->nickname, sizeof g->nickname, cfg->nickname);
	copy_text(g->version, sizeof g->version, cfg->version);
	memcpy(g->secret, cfg->static_secret, sizeof g->secret);
	memcpy(g->psk, cfg->psk, sizeof g->psk);
	g->n_psk = cfg->n_psk;
	g->encrypted = !sodium_is_zero(cfg->psk[0], sizeof cfg->psk[0]);
	g->discovery = cfg->discovery;
	g->port = cfg->port;
	memcpy(g->addresses, cfg->addresses, sizeof g->addresses);
	g->n_addresses = cfg->n_addresses;
	g->conn_limit = cfg->conn_limit == 0 || cfg->conn_limit > GOSSIP_LINKS_MAX ? GOSSIP_LINKS_MAX : cfg->conn_limit;
	g->deadline_ms = cfg->deadline_ms ? cfg->deadline_ms : GOSSIP_DEADLINE_MS;
	rng_seed(&g->rng, cfg->seed);
}

/* Our two items, before anybody listens; what a former run of this host has left is ended by the floor. */
static enum err first_publication(struct gossip *g, struct crdt_map *peers)
{
	struct arena *arena = arena_new();
	if (!arena)
		return ERR_NOMEM;
	struct gossip_actions none;
	gossip_actions_init(&none, arena);
	g->out = &none;
	g->publish_info = g->publish_links = true;
	enum err e = gossip_peers_publish(g) ? crdt_map_compact(peers, 0, NULL) : ERR_NOMEM;
	g->out = NULL;
	g->peers_stale = true; /* whatever else the map holds already */
	arena_free(arena);
	return e;
}

static void init_timers(struct gossip *g)
{
	heap_init(&g->timers);
	gossip_timer_init(&g->publish_timer, TIMER_PUBLISH);
	gossip_timer_init(&g->recon_timer, TIMER_RECON);
	gossip_timer_init(&g->recon_soon_timer, TIMER_RECON_SOON);
	gossip_timer_init(&g->contest_timer, TIMER_CONTEST);
	gossip_timer_init(&g->later_timer, TIMER_LATER);
	gossip_timer_init(&g->prove_timer, TIMER_PROVE);
	gossip_timer_init(&g->grace_timer, TIMER_GRACE);
	gossip_timer_init(&g->topology_timer, TIMER_TOPOLOGY);
	gossip_timer_init(&g->choose_timer, TIMER_CHOOSE);
	gossip_timer_init(&g->tidy_timer, TIMER_TIDY);
	gossip_timer_set(g, &g->recon_timer, g->now + rng_between(&g->rng, GOSSIP_RECON_MS / 2, GOSSIP_RECON_MS));
}

enum err gossip_new(struct gossip **out, const struct gossip_cfg *cfg, uint64_t now_ms)
{
	assert(cfg->self != PEER_NONE && cfg->self <= PEER_MAX && cfg->incarnation > 0 && cfg->uid != 0 && cfg->peers);
	assert(cfg->n_psk >= 1 && cfg->n_psk <= 2 && cfg->n_addresses <= GOSSIP_ADDRESSES_MAX);
	struct gossip *g = mem_zalloc(1, sizeof *g);
	enum err e = ERR_NOMEM;
	if (!g)
		return e;
	copy_config(g, cfg);
	g->now = now_ms;
	init_timers(g);
	bucket_init(&g->accept, ACCEPT_BURST, ACCEPT_PER_SECOND, now_ms);
	bucket_init(&g->floods, FLOOD_BURST, FLOOD_PER_SECOND, now_ms);
	bucket_init(&g->handshakes, HANDSHAKES_BURST, HANDSHAKES_PER_SECOND, now_ms);
	bucket_init(&g->accept_first, ACCEPT_FIRST_BURST, ACCEPT_FIRST_PER_SECOND, now_ms);
	wbuf_grow(&g->scratch, MESSAGE_MAX);
	wbuf_grow(&g->batch, MESSAGE_MAX);
	g->by_conn = map_new(cfg->seed);
	g->by_name = map_new(cfg->seed + 1);
	g->routes = mem_zalloc(1, sizeof *g->routes);
	gossip_sign_init(g, cfg->prover);
	if (crypto_scalarmult_base(g->key, g->secret) != 0)
		e = ERR_MALFORMED;
	else if (g->by_conn && g->by_name && g->routes && !g->timers_lost)
		e = gossip_add_channel(g, CHANNEL_PEERS, "peers", cfg->peers);
	if (e == ERR_OK && !gossip_peer_get(g, g->self))
		e = ERR_NOMEM;
	if (e == ERR_OK)
		e = first_publication(g, cfg->peers);
	if (e != ERR_OK) {
		gossip_free(g);
		return e;
	}
	*out = g;
	return ERR_OK;
}

void gossip_free(struct gossip *g)
{
	if (!g)
		return;
	while (g->n_links > 0)
		gossip_link_free(g, g->links[g->n_links - 1]);
	for (size_t i = 0; i < g->n_targets; i++) {
		mem_free(g->targets[i]->dial.reason);
		mem_free(g->targets[i]);
	}
	for (size_t i = 0; i < g->n_peers; i++)
		gossip_peer_release(g->peers[i]);
	for (size_t i = 0; i < GOSSIP_CHANNELS_MAX; i++)
		if (g->channels[i].map) {
			crdt_map_set_guard(g->channels[i].map, NULL, NULL);
			crdt_map_set_prover(g->channels[i].map, NULL, NULL);
		}
	mem_free(g->links);
	mem_free(g->targets);
	mem_free(g->peers);
	map_free(g->by_conn);
	map_free(g->by_name);
	gossip_sign_free(g);
	if (g->routes)
		mem_free(g->routes->queue);
	mem_free(g->routes);
	heap_free(&g->timers);
	wbuf_free(&g->scratch);
	wbuf_free(&g->batch);
	sodium_memzero(g, sizeof *g);
	mem_free(g);
}

enum err gossip_add_channel(struct gossip *g, uint8_t id, const char *name, struct crdt_map *map)
{
	if (id >= GOSSIP_CHANNELS_MAX)
		return ERR_LIMIT;
	if (g->channels[id].map)
		return ERR_EXISTS;
	copy_text(g->channels[id].name, sizeof g->channels[id].name, name);
	g->channels[id].map = map;
	gossip_sign_attach(g, id);
	crdt_map_set_guard(map, id == CHANNEL_PEERS ? gossip_contest_guard_peers : gossip_contest_guard, g);
	return ERR_OK;
}

/* Timers */

static void fire(struct gossip *g, struct timer *t)
{
	t->at_ms = 0;
	switch (t->kind) {
	case TIMER_LINK: gossip_link_timer(g, (struct link *)(void *)t); break;
	case TIMER_TARGET: gossip_connect_target_timer(g, (struct target *)(void *)t); break;
	case TIMER_PEER: gossip_connect_peer_timer(g, (struct peer *)(void *)t); break;
	case TIMER_PUBLISH: break; /* finish() looks at the time */
	case TIMER_RECON:
		gossip_timer_set(g, t, g->now + rng_between(&g->rng, GOSSIP_RECON_MS - GOSSIP_RECON_MS / 10, GOSSIP_RECON_MS));
		gossip_spread_random(g);
		gossip_sign_unproved(g);
		break;
	case TIMER_RECON_SOON: gossip_spread_random(g); break;
	case TIMER_CONTEST: gossip_contest_timer(g); break;
	case TIMER_LATER: gossip_sign_later_timer(g); break;
	case TIMER_PROVE: gossip_sign_prove_timer(g); break;
	case TIMER_GRACE: g->topology_dirty = true; break;
	case TIMER_TOPOLOGY:
	case TIMER_CHOOSE: break; /* finish() looks at the time */
	case TIMER_TIDY: gossip_tidy(g); break;
	case TIMER_KINDS: assert(false);
	}
}

static void run_timers(struct gossip *g)
{
	if (g->timers_lost)
		gossip_timers_repair(g);
	struct heap_node *n;
	while ((n = heap_peek(&g->timers)) != NULL && n->key <= g->now) {
		(void)heap_pop(&g->timers);
		fire(g, (struct timer *)(void *)n);
	}
}

/* The end of a step */

uint64_t gossip_pause_ms(const struct gossip *g)
{
	uint64_t half = g->n_peers / 2;
	return g->n_peers <= PEERS_PAUSE_MIN ? 0 : half < PEERS_PAUSE_MAX_MS ? half : PEERS_PAUSE_MAX_MS;
}

static uint64_t publish_pause_ms(const struct gossip *g)
{
	uint64_t pause = gossip_pause_ms(g) << (g->publications < 4 ? g->publications : 4);
	return pause < PUBLISH_COALESCE_MS ? PUBLISH_COALESCE_MS : pause > PEERS_PAUSE_MAX_MS ? PEERS_PAUSE_MAX_MS : pause;
}

static void publish(struct gossip *g)
{
	if (g->publish_lazily_ms != 0 && g->now >= g->publish_lazily_ms)
		g->publish_links = true;
	if (!g->publish_info && !g->publish_links) {
		if (g->publish_lazily_ms != 0)
			gossip_timer_set(g, &g->publish_timer, g->publish_lazily_ms);
		return;
	}
	uint64_t at = g->published_ms + publish_pause_ms(g);
	if (g->published_ms != 0 && g->now < at) {
		gossip_timer_set(g, &g->publish_timer, at);
		return;
	}
	if (!gossip_peers_publish(g))
		return;
	g->publications = g->now < g->published_ms + PUBLISH_QUICK_MS ? g->publications + 1 : 0;
	g->published_ms = g->now;
}

static void hand_over(struct gossip *g, struct link *l)
{
	if (l->out.len == 0 || l->no_action)
		return;
	uint8_t *copy = arena_dup(g->out->arena, l->out.data, l->out.len);
	struct gossip_action *a = copy ? gossip_act(g, GOSSIP_SEND) : NULL;
	if (!a) {
		g->nomem = true;
		return;
	}
	a->u.send.conn = l->conn;
	a->u.send.bytes = slice_of(copy, l->out.len);
	l->queued += l->out.len;
	g->counters.bytes_out += l->out.len;
	wbuf_reset(&l->out);
	if (l->out.cap > KEEP_BYTES) {
		wbuf_free(&l->out);
		wbuf_grow(&l->out, SIZE_MAX / 2);
	}
}

static bool say_closed(struct gossip *g, uint64_t conn, const char *why)
{
	char *copy = arena_dup(g->out->arena, why, strlen(why) + 1);
	struct gossip_action *a = copy ? gossip_act(g, GOSSIP_CLOSE) : NULL;
	if (!a) {
		g->nomem = true;
		return false;
	}
	a->u.close.conn = conn;
	a->u.close.why = copy;
	return true;
}

static void finish_links(struct gossip *g)
{
	for (size_t i = 0; i < g->n_links; i++) {
		struct link *l = g->links[i];
		if (l->waiting && l->stage == STAGE_ESTABLISHED)
			gossip_spread_flush(g, l);
		hand_over(g, l);
		bool said = l->no_action || l->out.len == 0;
		if (l->stage != STAGE_CLOSED || !said || (!l->no_action && !say_closed(g, l->conn, l->why)))
			continue;
		gossip_link_free(g, l);
		i--;
	}
	while (g->n_orphans > 0 && say_closed(g, g->orphans[g->n_orphans - 1], "not accepted"))
		g->n_orphans--;
}

static void say_topology(struct gossip *g)
{
	uint64_t over = UINT64_MAX, at = g->topology_ms + gossip_pause_ms(g);
	if (g->topology_ms != 0 && g->now < at) {
		gossip_timer_set(g, &g->topology_timer, at);
		return;
	}
	gossip_peers_routes(g); /* now, so that the grace is counted from when a peer was lost */
	for (size_t i = 0; i < g->n_peers; i++)
		if (gossip_peers_held(g, g->peers[i]) && g->peers[i]->gone_ms + GOSSIP_GRACE_MS < over)
			over = g->peers[i]->gone_ms + GOSSIP_GRACE_MS;
	if (over != UINT64_MAX)
		gossip_timer_set(g, &g->grace_timer, over);
	if (!gossip_act(g, GOSSIP_TOPOLOGY))
		return;
	g->topology_ms = g->now;
	g->topology_dirty = false;
}

static void choose(struct gossip *g)
{
	if (!g->choose_dirty)
		return;
	if (g->choose_ms == 0)
		g->choose_ms = g->now;
	uint64_t patience = gossip_links_established(g) >= CHOOSE_LINKS ? 5 : 1;
	uint64_t at = g->unrest_ms + patience * CHOOSE_QUIET_MS, latest = g->choose_ms + patience * CHOOSE_WAIT_MAX_MS;
	if (at > latest)
		at = latest;
	if (g->chosen_sparse && gossip_sparse(g) && g->now < at)
		gossip_timer_set(g, &g->choose_timer, at);
	else
		gossip_connect_choose(g);
}

static void finish(struct gossip *g)
{
	choose(g);
	run_timers(g);
	publish(g);
	finish_links(g);
	gossip_contest_say(g);
	if (g->topology_dirty)
		say_topology(g);
	struct wbuf *buffers[] = { &g->scratch, &g->batch };
	for (size_t i = 0; i < 2; i++) {
		size_t max = buffers[i]->max;
		if (buffers[i]->cap <= KEEP_BYTES)
			continue;
		wbuf_free(buffers[i]);
		wbuf_grow(buffers[i], max);
	}
	g->out = NULL;
}

static void start(struct gossip *g, uint64_t now_ms, struct gossip_actions *out)
{
	uint64_t due = gossip_deadline_ms(g);
	g->out = out;
	g->nomem = g->early_chosen = false;
	if (now_ms > g->now)
		g->now = now_ms;
	if (due < g->now && g->now - due >= LATE_MS) {
		g->counters.late_steps++;
		gossip_doubt_more(g, 1 + (g->now - due) / 1000);
		g->reading_ms = g->now + GOSSIP_HEARTBEAT_MS;
	}
	gossip_peers_repair(g);
}

/* Events */

static void changed(struct gossip *g, uint8_t channel, const struct crdt_changes *ch)
{
	assert(channel < GOSSIP_CHANNELS_MAX && g->channels[channel].map);
	gossip_spread_news(g, channel, ch, NULL);
	gossip_converge_begin(g);
	if (channel == CHANNEL_PEERS)
		gossip_peers_changed(g, ch);
}

static enum err send_unicast(struct gossip *g, uint64_t to, uint8_t kind, struct slice payload)
{
	if (payload.n > GOSSIP_UNICAST_MAX)
		return ERR_LIMIT;
	struct message_unicast u = { .from = g->self, .to = to, .hops = GOSSIP_HOPS_MAX, .kind = kind, .payload = payload };
	gossip_spread_unicast(g, &u, true);
	return ERR_OK;
}

static void opened(struct gossip *g, const struct gossip_event *ev)
{
	struct link *l = gossip_link_find(g, ev->u.open.conn);
	if (l && l->stage != STAGE_CONNECTING)
		return; /* opened twice: the shell's mistake, the first one stands */
	if (ev->u.open.outbound && !l)
		return; /* its CLOSE is on the way */
	gossip_link_open(g, l, ev);
}

static void closed(struct gossip *g, uint64_t conn, const char *why)
{
	struct link *l = map_get64(g->by_conn, conn);
	for (size_t i = 0; i < g->n_orphans; i++)
		if (g->orphans[i] == conn)
			g->orphans[i--] = g->orphans[--g->n_orphans];
	if (!l)
		return;
	l->no_action = true; /* also when our CLOSE is still waiting for memory */
	gossip_link_lost(g, l, why);
}

enum err gossip_step(struct gossip *g, const struct gossip_event *ev, struct gossip_actions *out)
{
	enum err e = ERR_OK;
	struct link *l;
	start(g, ev->now_ms, out);
	switch (ev->kind) {
	case GOSSIP_TICK: break;
	case GOSSIP_CONN_OPEN: opened(g, ev); break;
	case GOSSIP_CONN_DATA:
		if ((l = gossip_link_find(g, ev->u.data.conn)) != NULL)
			gossip_link_data(g, l, ev->u.data.bytes);
		break;
	case GOSSIP_CONN_DRAINED:
		if ((l = gossip_link_find(g, ev->u.drained.conn)) != NULL)
			gossip_link_drained(g, l, ev->u.drained.queued_bytes);
		break;
	case GOSSIP_CONN_CLOSED: closed(g, ev->u.closed.conn, ev->u.closed.why); break;
	case GOSSIP_CHANGED: changed(g, ev->u.changed.channel, ev->u.changed.changes); break;
	case GOSSIP_SEND_UNICAST: e = send_unicast(g, ev->u.unicast.to, ev->u.unicast.kind, ev->u.unicast.payload); break;
	case GOSSIP_CONNECT: e = gossip_connect_target(g, ev->u.target.target); break;
	case GOSSIP_FORGET: e = gossip_connect_forget(g, ev->u.target.target); break;
	}
	finish(g);
	return e != ERR_OK ? e : g->nomem ? ERR_NOMEM : ERR_OK;
}

uint64_t gossip_deadline_ms(const struct gossip *g)
{
	const struct heap_node *n = heap_peek(&g->timers);
	uint64_t at = n ? n->key : UINT64_MAX;
	if ((g->nomem || g->timers_lost || g->peers_stale) && g->now + RETRY_MS < at)
		return g->now + RETRY_MS;
	return at;
}

enum err gossip_set_extra(struct gossip *g, struct slice extra, uint64_t now_ms, struct gossip_actions *out)
{
	if (extra.n > sizeof g->extra)
		return ERR_LIMIT;
	start(g, now_ms, out);
	if (extra.n > 0)
		memcpy(g->extra, extra.p, extra.n);
	g->n_extra = extra.n;
	g->publish_info = true;
	finish(g);
	return g->nomem ? ERR_NOMEM : ERR_OK;
}

enum err gossip_bye(struct gossip *g, uint64_t now_ms, struct gossip_actions *out)
{
	start(g, now_ms, out);
	for (size_t i = 0; i < g->n_links; i++)
		gossip_link_bye(g, g->links[i], BYE_STOPPING, (struct hostport){ 0 }, "stopping");
	finish(g);
	return g->nomem ? ERR_NOMEM : ERR_OK;
}

bool gossip_is_contested(const struct gossip *g)
{
	return g->contested;
}

const struct gossip_counters *gossip_counters(const struct gossip *g)
{
	return &g->counters;
}

size_t gossip_backlog_bytes(const struct gossip *g)
{
	size_t n = 0;
	for (size_t i = 0; i < g->n_links; i++)
		n += g->links[i]->queued + g->links[i]->out.len + gossip_slot_bytes(g->links[i]);
	return n;
}
