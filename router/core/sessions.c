/* Datagrams of the control thread: which are handshakes, which are probes, and how both get to a peer.
 *
 * What tunnel/tunnel.c wants sent goes to where the peer is reached: straight, or wrapped in RELAYED over the mesh's next hop if it can only be
 * reached so. While neither is known to work they take turns, since a handshake that is lost is all that keeps a path from being proven. An
 * answer goes back the way its question came. A new session is followed at once by a probe, which lets the other end use it. */
#include <string.h>

#include "router/core/internal.h"
#include "tunnel/probe.h"

static enum err drop(struct core *c, enum fwd_drop why)
{
	c->drops[why]++;
	return ERR_OK;
}

static struct peer_state *known(const struct core *c, uint64_t peer)
{
	return peer == PEER_NONE ? NULL : map_get64(c->peers, peer);
}

/* --- out --------------------------------------------------------------------------------------------------------------------------- */

static enum err send_to(uint64_t peer, enum path k, struct hostport to, struct slice bytes, struct core_actions *out)
{
	struct core_action a = { .kind = CORE_DATAGRAM_SEND };

	if (to.ip.family == 0 || to.port == 0)
		return ERR_OK;
	a.u.datagram.via = CORE_VIA_UDP;
	a.u.datagram.to = to;
	a.u.datagram.peer = peer;
	a.u.datagram.id = probes_number(k, 0);
	a.u.datagram.bytes = bytes;
	return core_emit(out, a);
}

static enum err send_relayed(struct core *c, const struct peer_state *p, struct slice bytes, struct core_actions *out)
{
	uint8_t *whole = arena_alloc(out->arena, WIRE_HEAD + bytes.n);

	if (whole == NULL)
		return ERR_NOMEM;
	wire_write(whole, &(struct wire_head){ .type = WIRE_RELAYED, .flags = WIRE_HOPS, .src = c->cfg.gossip.self, .dst = p->name });
	memcpy(whole + WIRE_HEAD, bytes.p, bytes.n);
	return send_to(p->name, PATH_RELAY, p->relay_to, slice_of(whole, WIRE_HEAD + bytes.n), out);
}

/* Ours to begin. While the relay is on trial both get their turn, the relay first: it is looked at because the straight way does not answer. */
static bool goes_relayed(struct peer_state *p)
{
	const struct way *direct = &p->ways[PATH_USERSPACE], *relay = &p->ways[PATH_RELAY];

	if (!relay->possible || !direct->possible)
		return relay->possible;
	if (!relay->trial)
		return p->path == PATH_RELAY;
	p->straight_turn = !p->straight_turn;
	return p->straight_turn;
}

static enum err take_send(struct core *c, const struct tunnel_action *a, uint64_t src, struct core_actions *out)
{
	struct peer_state *p = known(c, a->relayed && a->peer == PEER_NONE ? src : a->peer);

	if (a->relayed)
		return p == NULL ? ERR_OK : send_relayed(c, p, a->bytes, out);
	if (a->to.ip.family != 0)
		return send_to(a->peer, PATH_USERSPACE, a->to, a->bytes, out);
	if (p == NULL || !p->reachable)
		return ERR_OK;
	return goes_relayed(p) ? send_relayed(c, p, a->bytes, out) : send_to(p->name, PATH_USERSPACE, p->to, a->bytes, out);
}

/* The other end of a new session sends with it once it has heard something in it, and what waited for it here goes now. */
static enum err take_keys(struct core *c, uint64_t peer, struct core_actions *out)
{
	struct peer_state *p = known(c, peer);
	enum err err = ERR_OK;

	c->forwarding = true;
	if (p == NULL || !p->reachable || tunnel_tx(c->tunnel, peer) == NULL)
		return ERR_OK;
	for (enum path k = PATH_USERSPACE; k <= PATH_RELAY; k++) {
		struct way *w = &p->ways[k];
		if (w->n_full > 0 && w->full[w->n_full - 1].id == 0)
			w->next_ms = c->now_ms;
	}
	enum path over = p->handshake_relayed ? PATH_RELAY : PATH_USERSPACE;
	if (p->ways[over].possible && (over == PATH_RELAY || p->sealed))
		err = probes_confirm(c, p, over, out);
	return err != ERR_OK ? err : paths_turn(c, p, out);
}

static enum err take_actions(
	struct core *c, const struct tunnel_actions *acts, uint64_t src, enum err err, struct core_actions *out)
{
	for (size_t i = 0; i < acts->n; i++) {
		const struct tunnel_action *a = &acts->v[i];
		enum err e = ERR_OK;
		switch (a->kind) {
		case TUNNEL_SEND: e = take_send(c, a, src, out); break;
		case TUNNEL_KEYS: e = take_keys(c, a->peer, out); break;
		case TUNNEL_NOTE:
			e = core_emit(out,
				(struct core_action){ .kind = CORE_NOTE,
					.u.note = { .level = NOTE_WARNING,
						.stranger = true,
						.text = arena_printf(out->arena, "%.*s", (int)a->bytes.n, (const char *)a->bytes.p) } });
			break;
		}
		if (err == ERR_OK)
			err = e;
	}
	return err == ERR_NOMEM ? err : ERR_OK;
}

enum err sessions_want(struct core *c, struct peer_state *p, struct core_actions *out)
{
	struct tunnel_actions acts;

	if (!p->keyed)
		return ERR_OK;
	tunnel_actions_init(&acts, out->arena);
	enum err err = tunnel_want(c->tunnel, p->name, c->now_ms, &acts);
	return take_actions(c, &acts, PEER_NONE, err, out);
}

/* A peer that runs anew has none of its sessions any more; that is found out by handshake, never from the mesh, whose news may be later than the first
 * session of the new run: see stray(). */
enum err sessions_peer(struct core *c, struct peer_state *p, const uint8_t key[32], struct core_actions *out)
{
	static const uint8_t none[32];
	struct tunnel_actions acts;

	if (c->cfg.offer.userspace_port == 0) /* there is nothing to be sealed here */
		return ERR_OK;
	if (memcmp(key, none, sizeof(none)) == 0 || (p->keyed && memcmp(p->key, key, sizeof(p->key)) == 0))
		return ERR_OK;
	tunnel_actions_init(&acts, out->arena);
	enum err err = tunnel_peer(c->tunnel, p->name, key, &acts);
	p->keyed = err == ERR_OK;
	memcpy(p->key, key, sizeof(p->key));
	return take_actions(c, &acts, PEER_NONE, err, out);
}

enum err sessions_forget(struct core *c, uint64_t peer, struct core_actions *out)
{
	struct tunnel_actions acts;

	tunnel_actions_init(&acts, out->arena);
	tunnel_forget(c->tunnel, peer, &acts);
	c->forwarding = true;
	return take_actions(c, &acts, PEER_NONE, ERR_OK, out);
}

enum err sessions_tick(struct core *c, struct core_actions *out)
{
	struct tunnel_actions acts;

	if (tunnel_deadline_ms(c->tunnel) > c->now_ms)
		return ERR_OK;
	tunnel_actions_init(&acts, out->arena);
	enum err err = tunnel_tick(c->tunnel, c->now_ms, &acts);
	return take_actions(c, &acts, PEER_NONE, err, out);
}

/* --- in ---------------------------------------------------------------------------------------------------------------------------- */

/* Relays leave their own address on what they pass on, so where a peer sends from can be asked of what came straight only. */
static bool sends_from(const struct core *c, const struct peer_state *p, struct ip from)
{
	struct peer_info info;

	if (ip_eq(from, p->underlay) || ip_eq(from, p->roamed.ip))
		return true;
	if (!gossip_peer(c->gossip, p->name, &info))
		return false;
	for (size_t i = 0; i < info.n_addresses; i++)
		if (ip_eq(info.addresses[i].ip, from))
			return true;
	return false;
}

static enum err handshake(struct core *c, struct hostport from, uint64_t src, struct slice bytes, struct core_actions *out)
{
	struct tunnel_actions acts;

	tunnel_actions_init(&acts, out->arena);
	enum fwd_drop why = tunnel_datagram(c->tunnel, from, src, bytes, c->now_ms, &acts);
	if (why != FWD_PASSED)
		c->drops[why]++;
	for (size_t i = 0; why == FWD_PASSED && i < acts.n; i++) {
		struct peer_state *p = known(c, acts.v[i].peer);
		if (p != NULL)
			p->handshake_relayed = src != PEER_NONE;
	}
	return take_actions(c, &acts, src, ERR_OK, out);
}

static struct peer_state *who_is_at(const struct core *c, struct ip from)
{
	struct slice key;
	void *value;

	for (size_t at = 0; map_next(c->peers, &at, &key, &value);) {
		struct peer_state *p = value;
		if (p->reachable && (ip_eq(from, p->underlay) || ip_eq(from, p->roamed.ip)))
			return p;
	}
	return NULL;
}

/* Sealed for a session that we do not have: we may have had it in a former run. Who seems to have sent it gets a new one, if there is none. */
static enum err stray(struct core *c, struct hostport from, uint64_t src, struct core_actions *out)
{
	struct peer_state *p;

	c->drops[FWD_OLD_SESSION]++;
	if (!bucket_take(&c->strays, c->now_ms))
		return ERR_OK;
	p = src != PEER_NONE ? known(c, src) : who_is_at(c, from.ip);
	return p == NULL || tunnel_tx(c->tunnel, p->name) != NULL ? ERR_OK : sessions_want(c, p, out);
}

static enum err sealed(
	struct core *c, const struct wire_head *h, struct hostport from, uint64_t src, struct slice bytes, struct core_actions *out)
{
	struct seal_keys *keys = tunnel_rx(c->tunnel, h->index);
	struct tunnel_actions acts;
	enum err err = ERR_OK;

	if (keys == NULL)
		return stray(c, from, src, out);
	if (h->flags != WIRE_CONTROL || bytes.n < SEAL_OVERHEAD)
		return drop(c, FWD_BAD_HEADER); /* frames are the data threads' */
	uint64_t peer = seal_peer(keys);
	struct peer_state *p = known(c, peer);
	uint8_t *plain = arena_alloc(out->arena, bytes.n);
	if (plain == NULL)
		return ERR_NOMEM;
	if (p == NULL || (src != PEER_NONE && src != peer))
		return drop(c, FWD_STRANGER);
	enum fwd_drop why = seal_open(keys, h, bytes, plain);
	if (why != FWD_PASSED)
		return drop(c, why);
	tunnel_actions_init(&acts, out->arena);
	tunnel_confirm(c->tunnel, h->index, c->now_ms, &acts);
	err = take_actions(c, &acts, src, ERR_OK, out);
	if (err != ERR_OK)
		return err;
	if (src != PEER_NONE)
		from = (struct hostport){ 0 };
	else
		err = paths_roamed(c, p, from, out);
	if (err != ERR_OK)
		return err;
	return probes_received(
		c, p, src != PEER_NONE ? PATH_RELAY : PATH_USERSPACE, from, true, slice_of(plain, bytes.n - SEAL_OVERHEAD), out);
}

static enum err clear(
	struct core *c, const struct wire_head *h, struct hostport from, struct slice payload, struct core_actions *out)
{
	struct peer_state *p = known(c, h->src);

	if (h->dst != c->cfg.gossip.self)
		return drop(c, FWD_NOT_OURS);
	if (p == NULL || !sends_from(c, p, from.ip))
		return drop(c, FWD_STRANGER);
	if (p->sealed)
		return drop(c, FWD_CLEAR);
	if (h->flags != WIRE_CONTROL)
		return drop(c, FWD_BAD_HEADER);
	return probes_received(c, p, PATH_USERSPACE, from, false, payload, out);
}

/* src: who is said to have sent it over relays; PEER_NONE: it came straight. */
static enum err whole(struct core *c, struct hostport from, uint64_t src, struct slice bytes, struct core_actions *out)
{
	struct wire_head h;
	struct slice payload;
	uint8_t type = wire_type(bytes);

	if (type == WIRE_INIT || type == WIRE_RESPONSE || type == WIRE_COOKIE)
		return handshake(c, from, src, bytes, out);
	enum fwd_drop why = wire_read(bytes, &h, &payload);
	if (why != FWD_PASSED)
		return drop(c, why);
	if (h.type == WIRE_SEALED)
		return sealed(c, &h, from, src, bytes, out);
	if (src != PEER_NONE)
		return drop(c, FWD_BAD_HEADER); /* neither of these is ever wrapped */
	if (h.type == WIRE_CLEAR)
		return clear(c, &h, from, payload, out);
	if (h.dst != c->cfg.gossip.self)
		return drop(c, FWD_NOT_OURS); /* passing on is the data threads' */
	if (known(c, h.src) == NULL)
		return drop(c, FWD_STRANGER);
	return whole(c, from, h.src, payload, out);
}

enum err sessions_datagram(struct core *c, const struct core_event *ev, struct core_actions *out)
{
	struct probe pr;

	if (ev->via == CORE_VIA_UDP)
		return whole(c, ev->from, PEER_NONE, ev->bytes, out);
	if (!probe_read(ev->bytes, &pr))
		return drop(c, FWD_BAD_HEADER);
	struct peer_state *p = known(c, pr.src);
	if (p == NULL)
		return drop(c, FWD_STRANGER);
	return probes_received(c, p, PATH_FAST, (struct hostport){ 0 }, false, ev->bytes, out);
}

struct seal_keys *core_next_session(const struct core *c, size_t *it)
{
	return tunnel_next(c->tunnel, it);
}

const struct tunnel_counters *core_tunnel_counters(const struct core *c)
{
	return tunnel_counters(c->tunnel);
}

uint64_t core_datagrams_dropped(const struct core *c, enum fwd_drop why)
{
	return (unsigned)why < FWD_DROPS ? c->drops[why] : 0;
}
