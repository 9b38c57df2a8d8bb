/* Datagrams between hosts, and the frames of containers that go by what the cores decided.
 *
 * Each ordered pair of hosts has a wire: what goes over UDP 6783 and over VXLAN may be blocked for itself, and packets above a size vanish without a
 * word. Probes and handshakes of the cores are carried as they are. Frames of containers are not: every half second, for each pair in
 * conversation, it is asked whether one of full size would get through now, by the hop the sending core gives to its data plane, over the
 * relays those cores name, sealed with the one's keys and opened with the other's. That is told to the cores as their data threads would.
 *
 * What has to hold: data of a pair that has to be sealed is never in the clear, at any moment; a path that lost what it carried is left within
 * BAD_MAX_US while another would work (when the network loses nothing at random); and once it is quiet every pair is on the best path there
 * is, within a probe period, knows that path's MTU to the byte, and gets its frames through (invariant 8). */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "tests/sim/sim.h"

enum {
	PORT = 6783,
	VXLAN_AROUND = 50,
	CONTAINER_MTU = 1286,
	DEVICE = 1380, /* of all: what containers send fits with the dearest encapsulation */
	TRAFFIC_US = 500000,
	BAD_MAX_US = 3300000,    /* half a second of it until the next time that traffic is told */
	STALL_OVER_US = 1000000, /* after it did not look at its probes' answers */
	KEYS_MAX_US = 8000000    /* a handshake that got lost is repeated after up to 5 s */
};

struct packet {
	enum core_via via;
	struct hostport from;
	uint64_t peer, id;
	enum err err; /* not ERR_OK: it comes back */
	size_t n;
	uint8_t bytes[];
};

struct wire {
	bool no_udp, no_vxlan;
	uint16_t mtu;
};

struct pair {           /* what one host has with another */
	bool talks;         /* its containers send to the other's */
	bool heard;         /* and got something since the last time that was told */
	uint64_t bad_since; /* since when frames are lost that another way would carry; 0: they are not */
	uint64_t life[2];   /* of both, then */
};

struct data {
	struct wire *wires; /* [from * nodes + to] */
	struct pair *pairs;
};

static struct wire *wire_at(const struct world *w, size_t from, size_t to)
{
	return &w->data->wires[from * w->cfg.nodes + to];
}

static struct pair *pair_at(const struct world *w, size_t from, size_t to)
{
	return &w->data->pairs[from * w->cfg.nodes + to];
}

/* "10.0.x.y" is node 256 x + y - 1. */
static bool node_of(const struct world *w, struct ip ip, size_t *index)
{
	if (ip.family != 4 || (ip_to_v4(ip) >> 16) != 0x0a00)
		return false;
	*index = (ip_to_v4(ip) & 0xffff) - 1;
	return *index < w->cfg.nodes;
}

static struct ip address(size_t index)
{
	return ip_v4(UINT32_C(0x0a000000) + (uint32_t)index + 1);
}

/* --- what the cores send ------------------------------------------------------------------------------------------------------------ */

static void post(struct world *w, size_t to, uint64_t life, uint64_t delay_us, const struct packet *head, struct slice bytes)
{
	struct sim_event *ev = sim_schedule(w, delay_us, SIM_DATAGRAM, to);

	ev->life = life;
	ev->packet = sim_must(mem_zalloc(1, sizeof(*head) + bytes.n));
	*ev->packet = *head;
	ev->packet->n = bytes.n;
	if (bytes.n > 0)
		memcpy(ev->packet->bytes, bytes.p, bytes.n);
}

static bool carries(const struct world *w, size_t from, size_t to, enum core_via via, size_t size)
{
	const struct wire *x = wire_at(w, from, to);

	return w->cut[from * w->cfg.nodes + to] == 0 && !(via == CORE_VIA_UDP ? x->no_udp : x->no_vxlan) && size <= x->mtu;
}

static void transmit(struct node *n, enum core_via via, struct hostport to, uint64_t peer, uint64_t id, struct slice bytes)
{
	struct world *w = n->w;
	struct packet p = { .via = via, .from = { address(n->index), PORT }, .peer = peer, .id = id };
	size_t size = bytes.n + (via == CORE_VIA_UDP ? (size_t)WIRE_IP4_UDP : (size_t)VXLAN_AROUND), far;
	uint64_t delay = world_delay_us(w);

	if (!node_of(w, to.ip, &far) || far == n->index)
		return;
	if (size > DEVICE) {
		p.err = ERR_LIMIT;
		post(w, n->index, n->life, 0, &p, (struct slice){ NULL, 0 });
		return;
	}
	if (!carries(w, n->index, far, via, size) || rng_chance(&w->rng, w->loss_pm))
		return;
	if (w->nodes[far].core == NULL) { /* its kernel says so, if it can */
		p.err = ERR_REFUSED;
		if (via == CORE_VIA_UDP && !w->nodes[far].off && carries(w, far, n->index, via, 100))
			post(w, n->index, n->life, delay, &p, (struct slice){ NULL, 0 });
		return;
	}
	post(w, far, w->nodes[far].life, delay, &p, bytes);
	if (rng_chance(&w->rng, w->dup_pm))
		post(w, far, w->nodes[far].life, world_delay_us(w), &p, bytes);
}

void data_send(struct node *n, const struct core_action *a)
{
	transmit(n, a->u.datagram.via, a->u.datagram.to, a->u.datagram.peer, a->u.datagram.id, a->u.datagram.bytes);
}

/* RELAYED for somebody else: the data threads' work. */
static bool passed_on(struct node *n, struct packet *p)
{
	struct wire_head h;
	struct slice bytes = slice_of(p->bytes, p->n), payload;
	struct hostport to;

	if (wire_type(bytes) != WIRE_RELAYED || wire_read(bytes, &h, &payload) != FWD_PASSED || h.dst == n->name)
		return false;
	if (h.flags <= 1 || !core_relay_hop(n->core, h.dst, &to))
		return true;
	h.flags--;
	wire_write(p->bytes, &h);
	transmit(n, CORE_VIA_UDP, to, PEER_NONE, 0, bytes);
	return true;
}

static bool vxlan_may_come(const struct node *n, struct ip from)
{
	struct path_hop hop;
	size_t far;

	return node_of(n->w, from, &far) && core_hop(n->core, n->w->nodes[far].name, &hop) && hop.vxlan_allowed;
}

static void arrive(struct node *n, struct packet *p)
{
	struct core_event ev = { .kind = CORE_DATAGRAM, .via = p->via, .from = p->from, .bytes = slice_of(p->bytes, p->n) };

	if (p->err != ERR_OK)
		ev = (struct core_event){ .kind = CORE_UNDELIVERED, .via = p->via, .peer = p->peer, .id = p->id, .err = p->err };
	else if (p->via == CORE_VIA_VXLAN ? !vxlan_may_come(n, p->from.ip) : passed_on(n, p))
		return;
	node_step(n, &ev);
}

/* --- what should be ----------------------------------------------------------------------------------------------------------------- */

bool data_sealed(const struct world *w, size_t a, size_t b)
{
	const struct habits *x = &w->nodes[a].habits, *y = &w->nodes[b].habits;

	return x->sealed_only || y->sealed_only || ((x->password || y->password) && !(x->trusts && y->trusts));
}

static bool linked_for_ever(const struct world *w, size_t a, size_t b)
{
	return !w->line || a + 1 == b || b + 1 == a;
}

/* Does it carry frames of containers there, at the size said, and short answers back? */
static bool way_works(const struct world *w, size_t a, size_t b, enum path k)
{
	const struct habits *x = &w->nodes[a].habits, *y = &w->nodes[b].habits;

	if (k == PATH_FAST)
		return x->vxlan && y->vxlan && !data_sealed(w, a, b) && linked_for_ever(w, a, b) &&
			carries(w, a, b, CORE_VIA_VXLAN, CONTAINER_MTU + VXLAN_AROUND) &&
			carries(w, b, a, CORE_VIA_VXLAN, CONTAINER_MTU + VXLAN_AROUND);
	if (k == PATH_USERSPACE)
		return linked_for_ever(w, a, b) && carries(w, a, b, CORE_VIA_UDP, 576) && carries(w, b, a, CORE_VIA_UDP, 576);
	return false; /* over relays it depends on what those know: asked only at rest */
}

/* The smallest MTU on the way by relays, as the cores name them; 0: it does not get there. */
static size_t follow(const struct world *w, size_t a, size_t b, const struct path_hop *hop)
{
	size_t at = a, least = DEVICE;
	struct hostport to = hop->to;

	for (int hops = 0; hops < WIRE_HOPS; hops++) {
		size_t next;
		if (!node_of(w, to.ip, &next) || next == at || w->nodes[next].core == NULL || !carries(w, at, next, CORE_VIA_UDP, 0))
			return 0;
		if (wire_at(w, at, next)->mtu < least)
			least = wire_at(w, at, next)->mtu;
		if (next == b)
			return least;
		at = next;
		if (!core_relay_hop(w->nodes[at].core, w->nodes[b].name, &to))
			return 0;
	}
	return 0;
}

/* --- frames of containers ------------------------------------------------------------------------------------------------------------- */

static bool opens(struct node *n, const uint8_t *sealed, size_t len)
{
	struct wire_head h;
	struct slice payload;
	struct seal_keys *k;
	uint8_t out[64];

	if (wire_read(slice_of(sealed, len), &h, &payload) != FWD_PASSED)
		return false;
	for (size_t it = 0; (k = core_next_session(n->core, &it)) != NULL;)
		if (seal_index(k) == h.index)
			return seal_open(k, &h, slice_of(sealed, len), out) == FWD_PASSED;
	return false;
}

enum fate { FATE_PASSED, FATE_LOST, FATE_NO_KEYS, FATE_NO_PATH };

/* One frame of full size from a to b, now. */
static enum fate send_frame(struct world *w, size_t a, size_t b)
{
	struct node *from = &w->nodes[a], *to = &w->nodes[b];
	struct path_hop hop, back;
	uint8_t sealed[SEAL_OVERHEAD + 8];

	if (!core_hop(from->core, to->name, &hop) || hop.path == PATH_NONE)
		return FATE_NO_PATH;
	bool clear = hop.relay == PEER_NONE && !hop.sealed;
	if (data_sealed(w, a, b) && clear && hop.path != PATH_NONE)
		sim_fail(w, "invariant 11: node %zu sends to %zu in the clear", a, b);
	if (!clear && hop.keys == NULL)
		return FATE_NO_KEYS;
	bool there = hop.path == PATH_FAST ? carries(w, a, b, CORE_VIA_VXLAN, CONTAINER_MTU + VXLAN_AROUND)
									   : follow(w, a, b, &hop) >= (size_t)hop.datagram + WIRE_IP4_UDP;
	if (!there || to->core == NULL || !core_hop(to->core, from->name, &back))
		return FATE_LOST;
	if (hop.path == PATH_FAST)
		return back.vxlan_allowed ? FATE_PASSED : FATE_LOST;
	if (clear)
		return back.sealed ? FATE_LOST : FATE_PASSED;
	size_t n = seal_datagram(hop.keys, 0, 0, 0, slice_str("a frame"), sealed);
	return n > 0 && opens(to, sealed, n) ? FATE_PASSED : FATE_LOST;
}

/* Frames have been lost for too long that another way would have carried. */
static void judge(struct world *w, size_t a, size_t b, enum fate fate)
{
	struct pair *x = pair_at(w, a, b);
	struct path_view v;
	uint64_t lives[2] = { w->nodes[a].life, w->nodes[b].life };
	bool known = w->nodes[b].core != NULL && core_path(w->nodes[a].core, w->nodes[b].name, &v) &&
		gossip_reachable(core_gossip(w->nodes[a].core), w->nodes[b].name) &&
		gossip_reachable(core_gossip(w->nodes[b].core), w->nodes[a].name);
	bool other = known &&
		((v.path != PATH_FAST && v.fast.possible && way_works(w, a, b, PATH_FAST)) ||
			(v.userspace.possible && way_works(w, a, b, PATH_USERSPACE)));
	uint64_t since = w->now_us > STALL_OVER_US ? w->now_us - STALL_OVER_US : 0;
	bool stalled = w->nodes[a].stalled_until_us > since || w->nodes[b].stalled_until_us > since;

	if (fate == FATE_PASSED || !other || stalled || w->loss_pm > 0 || w->delay_max_us > 5000 || x->life[0] != lives[0] ||
		x->life[1] != lives[1]) {
		x->bad_since = 0;
		x->life[0] = lives[0];
		x->life[1] = lives[1];
	} else if (x->bad_since == 0) {
		x->bad_since = w->now_us;
	} else if (w->now_us - x->bad_since >
		(uint64_t)(fate == FATE_NO_KEYS ? KEYS_MAX_US : BAD_MAX_US) * (w->drifting ? 9 : 8) / 8) {
		sim_fail(w, "invariant 8: frames from node %zu to %zu are lost for %llu ms on path %s: %s; fast: %s, userspace: %s", a, b,
			(unsigned long long)(w->now_us - x->bad_since) / 1000, path_name(v.path), v.reason, v.fast.state, v.userspace.state);
	}
}

/* Half a second of traffic of one host's containers. */
static void traffic(struct node *n)
{
	struct world *w = n->w;
	struct core_traffic *v = sim_must(mem_zalloc(w->cfg.nodes, sizeof(*v)));
	struct core_event ev = { .kind = CORE_TRAFFIC, .traffic = v };
	uint64_t life = n->life;

	for (size_t b = 0; b < w->cfg.nodes && n->life == life; b++) {
		struct pair *x = pair_at(w, n->index, b);
		struct core_traffic t = { .peer = w->nodes[b].name, .received = x->heard };
		x->heard = false;
		if (!x->talks)
			x->bad_since = 0;
		if (x->talks) {
			enum fate fate = send_frame(w, n->index, b);
			t.sent = fate == FATE_PASSED || fate == FATE_LOST;
			if (fate == FATE_PASSED)
				pair_at(w, b, n->index)->heard = true;
			judge(w, n->index, b, fate);
			struct core_event wanted = { .kind = CORE_WANTED, .peer = t.peer };
			if (fate == FATE_NO_KEYS)
				node_step(n, &wanted);
		}
		if (t.sent || t.received)
			v[ev.n_traffic++] = t;
	}
	if (n->life == life && ev.n_traffic > 0)
		node_step(n, &ev);
	mem_free(v);
}

static void tick(struct node *n)
{
	struct world *w = n->w;
	size_t b = (size_t)rng_below(&w->rng, w->cfg.nodes);

	if (w->busy && b != n->index && rng_chance(&w->rng, 50000)) { /* conversations have two sides */
		bool talks = !pair_at(w, n->index, b)->talks;
		pair_at(w, n->index, b)->talks = pair_at(w, b, n->index)->talks = talks;
	}
	if (n->core != NULL)
		traffic(n);
	(void)sim_schedule(w, TRAFFIC_US, SIM_TRAFFIC, n->index);
}

void data_event(struct world *w, struct sim_event *ev)
{
	struct node *n = &w->nodes[ev->node];

	if (ev->kind == SIM_TRAFFIC)
		tick(n);
	else if (n->core != NULL && n->life == ev->life)
		arrive(n, ev->packet);
}

/* --- faults ------------------------------------------------------------------------------------------------------------------------- */

static uint16_t some_mtu(struct world *w)
{
	static const uint16_t usual[] = { 576, 700, 1200, 1300, 1340, 1379 };

	return rng_chance(&w->rng, 500000) ? usual[rng_below(&w->rng, 6)] : (uint16_t)rng_between(&w->rng, 600, DEVICE);
}

void data_fault(struct world *w)
{
	size_t a = (size_t)rng_below(&w->rng, w->cfg.nodes), b = (size_t)rng_below(&w->rng, w->cfg.nodes);
	bool both = rng_chance(&w->rng, 500000);
	uint64_t what = rng_below(&w->rng, 5);

	for (int side = 0; side < (both ? 2 : 1); side++) {
		struct wire *x = side == 0 ? wire_at(w, a, b) : wire_at(w, b, a);
		switch (what) {
		case 0: x->no_vxlan = true; break;
		case 1: x->no_udp = true; break;
		case 2: x->mtu = some_mtu(w); break;
		default: *x = (struct wire){ .mtu = DEVICE }; break;
		}
	}
	sim_trace(w, "wire %zu > %zu%s: %s", a, b, both ? " and back" : "",
		what == 0       ? "no VXLAN"
			: what == 1 ? "no UDP"
			: what == 2 ? "another MTU"
						: "sound");
}

/* Some wires stay as they are, so that not every world ends with all pairs on their best; that both ends reach each other does not change. */
void data_calm(struct world *w)
{
	for (size_t a = 0; a < w->cfg.nodes; a++) {
		for (size_t b = 0; b < w->cfg.nodes; b++) {
			struct wire *x = wire_at(w, a, b);
			x->no_udp = false;
			if (rng_chance(&w->rng, 500000))
				*x = (struct wire){ .mtu = DEVICE };
		}
	}
	for (size_t a = 0; a < w->cfg.nodes; a++) {
		size_t b = (size_t)rng_below(&w->rng, w->cfg.nodes);
		if (b != a)
			pair_at(w, a, b)->talks = pair_at(w, b, a)->talks = true;
	}
}

/* --- at rest ------------------------------------------------------------------------------------------------------------------------- */

static bool wrong(struct world *w, bool final, size_t a, size_t b, const char *what)
{
	struct path_view v;

	if (final && core_path(w->nodes[a].core, w->nodes[b].name, &v))
		sim_fail(w, "invariant 8: node %zu to %zu %s: path %s, %s; fast: %s, userspace: %s, relay: %s", a, b, what,
			path_name(v.path), v.reason, v.fast.state, v.userspace.state, v.relayed.state);
	return false;
}

/* 8. Every pair has the best path that its wires allow, and those in conversation know how much it carries. */
static bool pair_right(struct world *w, bool final, size_t a, size_t b)
{
	enum path best = way_works(w, a, b, PATH_FAST) ? PATH_FAST : way_works(w, a, b, PATH_USERSPACE) ? PATH_USERSPACE : PATH_RELAY;
	struct path_hop hop;

	if (!core_hop(w->nodes[a].core, w->nodes[b].name, &hop))
		return wrong(w, final, a, b, "is not known");
	if (hop.sealed != data_sealed(w, a, b))
		return wrong(w, final, a, b, hop.sealed ? "is sealed without need" : "is not sealed");
	if (hop.path == PATH_NONE || hop.path > best)
		return wrong(w, final, a, b, "is not on its best path");
	if (!pair_at(w, a, b)->talks)
		return true; /* that its path is dead shows when somebody needs it */
	if (hop.path != best)
		return wrong(w, final, a, b, "is on a dead path");
	if (hop.path != PATH_FAST && follow(w, a, b, &hop) != (size_t)hop.datagram + WIRE_IP4_UDP)
		return wrong(w, final, a, b, "does not know the MTU");
	return send_frame(w, a, b) == FATE_PASSED || wrong(w, final, a, b, "loses frames");
}

bool data_at_rest(struct world *w, bool final)
{
	for (size_t a = 0; a < w->cfg.nodes; a++)
		for (size_t b = 0; b < w->cfg.nodes; b++)
			if (a != b && w->nodes[a].core != NULL && w->nodes[b].core != NULL &&
				(w->cfg.nodes <= 32 || pair_at(w, a, b)->talks) && !pair_right(w, final, a, b))
				return false;
	return true;
}

/* --- life --------------------------------------------------------------------------------------------------------------------------- */

void data_configure(const struct node *n, struct core_cfg *cfg)
{
	const struct habits *h = &n->habits;

	cfg->gossip.discovery = !n->w->line && !n->w->cfg.no_discovery;
	if (n->w->cfg.measure != MEASURE_NONE) /* no data plane is offered, and so none looked after */
		return;
	cfg->offer = (struct path_offer){ .vxlan_port = h->vxlan ? PORT + 1 : 0,
		.userspace_port = PORT,
		.password = h->password,
		.sealed_only = h->sealed_only,
		.mtu = CONTAINER_MTU };
	cfg->offer.trusted[0] = (struct prefix){ .addr = ip_v4(UINT32_C(0x0a000000)), .len = 16 };
	cfg->offer.n_trusted = h->trusts ? 1 : 0;
	cfg->mtu_raise_ms = 20000;
	cfg->rekey_ms = 15000;
	rng_fill(&n->w->rng, cfg->random, sizeof(cfg->random));
}

uint32_t data_device_mtu(void *ctx, struct ip local)
{
	(void)ctx;
	(void)local;
	return DEVICE;
}

void data_make(struct world *w)
{
	struct data *d = sim_must(mem_zalloc(1, sizeof(*d)));
	size_t n = w->cfg.nodes;
	bool password = rng_chance(&w->rng, 400000), mixed = rng_chance(&w->rng, 300000);

	w->data = d;
	if (w->cfg.measure != MEASURE_NONE)
		return;
	d->wires = sim_must(mem_zalloc(n * n, sizeof(*d->wires)));
	d->pairs = sim_must(mem_zalloc(n * n, sizeof(*d->pairs)));
	w->line = n > 2 && n <= 8 && rng_chance(&w->rng, 150000);
	for (size_t i = 0; i < n * n; i++)
		d->wires[i].mtu = DEVICE;
	for (size_t i = 0; i < n; i++) {
		w->nodes[i].habits = (struct habits){ .vxlan = !rng_chance(&w->rng, 150000),
			.password = mixed ? rng_chance(&w->rng, 500000) : password,
			.trusts = rng_chance(&w->rng, 500000),
			.sealed_only = rng_chance(&w->rng, 50000) };
		(void)sim_schedule(w, rng_below(&w->rng, TRAFFIC_US), SIM_TRAFFIC, i);
	}
}

void data_free(struct world *w)
{
	mem_free(w->data->wires);
	mem_free(w->data->pairs);
	mem_free(w->data);
}
