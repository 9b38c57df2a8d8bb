/* Connections between nodes. The core sees reliable byte streams, as TCP gives them; below that, segments are lost (and sent again after
 * a time-out that doubles), delayed, duplicated and overtaken, so streams stall and break as real ones do. A cut direction loses all. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "tests/sim/sim.h"

enum {
	RTO_US = 200000,
	RTO_MAX_US = 3200000,
	GIVE_UP = 7,
	CONNECT_TIMEOUT_US = 3000000,
	PORT = 6783,
	DRAIN_FULL = 64,
	DRAIN_US = 30000 /* beyond so many nodes acknowledgements are gathered */
};

struct half {
	struct link *link;
	int side;
	uint64_t conn;
};

struct segment {
	struct segment *next; /* in the receiver's list of early ones */
	uint64_t seq;
	int to; /* side */
	unsigned tries;
	unsigned refs; /* events and lists that point here */
	bool fin;
	size_t n;
	uint8_t bytes[];
};

struct link {
	struct link *next;
	struct {
		size_t node;
		uint64_t life, conn;
		bool open; /* the node still knows it */
		bool told; /* soon, that its queue has shrunk */
		uint64_t sent, received;
		struct segment *early, *last; /* in order of seq */
	} end[2];
};

static struct node *node_of(struct world *w, const struct link *l, int side)
{
	struct node *n = &w->nodes[l->end[side].node];

	return n->core != NULL && n->life == l->end[side].life && l->end[side].open ? n : NULL;
}

static void segment_drop(struct segment *s)
{
	if (--s->refs == 0)
		mem_free(s);
}

static bool is_cut(const struct world *w, size_t from, size_t to)
{
	return w->cut[from * w->cfg.nodes + to] != 0;
}

/* The node hears that a connection of its has ended. */
static void tell_closed(struct world *w, struct link *l, int side, const char *why)
{
	struct node *n = node_of(w, l, side);
	struct gossip_event g = { .kind = GOSSIP_CONN_CLOSED };
	struct core_event ev = { .kind = CORE_MESH, .mesh = &g };

	if (n == NULL)
		return;
	l->end[side].open = false;
	mem_free(map_del64(n->halves, l->end[side].conn));
	g.now_ms = node_now_ms(n);
	g.u.closed.conn = l->end[side].conn;
	g.u.closed.why = why;
	node_step(n, &ev);
}

static void transmit(struct world *w, struct link *l, struct segment *s)
{
	size_t from = l->end[!s->to].node, to = l->end[s->to].node;
	struct sim_event *ev;
	bool lost = is_cut(w, from, to) || w->nodes[to].off || rng_chance(&w->rng, w->loss_pm);

	if (lost) {
		uint64_t rto = (uint64_t)RTO_US << s->tries;
		ev = sim_schedule(w, rto < RTO_MAX_US ? rto : RTO_MAX_US, SIM_RETRANSMIT, from);
		ev->life = l->end[!s->to].life;
	} else {
		ev = sim_schedule(w, world_delay_us(w), SIM_SEGMENT, to);
		ev->life = l->end[s->to].life;
	}
	ev->link = l;
	ev->segment = s;
	s->refs++;
	if (!lost && rng_chance(&w->rng, w->dup_pm)) {
		struct sim_event *twice = sim_schedule(w, world_delay_us(w), SIM_SEGMENT, to);
		twice->life = l->end[s->to].life;
		twice->link = l;
		twice->segment = s;
		s->refs++;
	}
}

static void send_segment(struct world *w, struct link *l, int from, struct slice bytes, bool fin)
{
	struct segment *s = sim_must(mem_zalloc(1, sizeof(*s) + bytes.n));

	s->to = !from;
	s->seq = l->end[from].sent;
	s->fin = fin;
	s->n = bytes.n;
	s->refs = 1;
	if (bytes.n > 0)
		memcpy(s->bytes, bytes.p, bytes.n);
	l->end[from].sent += bytes.n + (fin ? 1 : 0);
	transmit(w, l, s);
	segment_drop(s);
}

void net_send(struct node *n, uint64_t conn, struct slice bytes)
{
	struct half *h = map_get64(n->halves, conn);

	if (h == NULL || bytes.n == 0)
		return;
	struct link *l = h->link;
	int side = h->side;
	send_segment(n->w, l, side, bytes, false);
}

void net_close(struct node *n, uint64_t conn)
{
	struct half *h = map_del64(n->halves, conn);

	if (h == NULL)
		return;
	struct link *l = h->link;
	l->end[h->side].open = false;
	send_segment(n->w, l, h->side, (struct slice){ NULL, 0 }, true);
	mem_free(h);
}

static void add_half(struct node *n, struct link *l, int side, uint64_t conn)
{
	struct half *h = sim_must(mem_zalloc(1, sizeof(*h)));

	*h = (struct half){ l, side, conn };
	l->end[side].node = n->index;
	l->end[side].life = n->life;
	l->end[side].conn = conn;
	l->end[side].open = true;
	if (map_put64(n->halves, conn, h, NULL) != ERR_OK)
		sim_must(NULL);
}

/* "10.0.x.y" is node 256 x + y - 1. */
static bool node_at(const struct world *w, const char *host, size_t *index)
{
	struct ip ip;

	if (ip_parse(host, &ip) != ERR_OK || ip.family != 4 || (ip_to_v4(ip) >> 16) != 0x0a00)
		return false;
	*index = (ip_to_v4(ip) & 0xffff) - 1;
	return *index < w->cfg.nodes;
}

void net_dial(struct node *n, uint64_t conn, const char *host, uint16_t port)
{
	struct world *w = n->w;
	struct link *l = sim_must(mem_zalloc(1, sizeof(*l)));
	size_t to = 0;
	bool there = node_at(w, host, &to) && port == PORT;
	struct sim_event *ev;

	l->next = w->links;
	w->links = l;
	add_half(n, l, 0, conn);
	if (!there || (w->nodes[to].core == NULL && !w->nodes[to].off && !is_cut(w, n->index, to) && !is_cut(w, to, n->index))) {
		ev = sim_schedule(w, world_delay_us(w), SIM_CLOSED, n->index);
		ev->why = "connection refused";
	} else if (w->nodes[to].off || is_cut(w, n->index, to) || is_cut(w, to, n->index)) {
		ev = sim_schedule(w, CONNECT_TIMEOUT_US, SIM_CLOSED, n->index);
		ev->why = "connecting timed out";
	} else {
		ev = sim_schedule(w, world_delay_us(w), SIM_CONNECTED, n->index);
		l->end[1].node = to;
	}
	ev->life = n->life;
	ev->link = l;
	ev->side = 0;
}

static struct hostport address_of(const struct node *n, uint16_t port)
{
	return (struct hostport){ .ip = ip_v4(UINT32_C(0x0a000000) + (uint32_t)n->index + 1), .port = port };
}

static void tell_open(struct world *w, struct link *l, int side)
{
	struct node *n = node_of(w, l, side);
	struct gossip_event g = { .kind = GOSSIP_CONN_OPEN };
	struct core_event ev = { .kind = CORE_MESH, .mesh = &g };

	if (n == NULL)
		return;
	g.now_ms = node_now_ms(n);
	g.u.open.conn = l->end[side].conn;
	g.u.open.outbound = side == 0;
	g.u.open.remote = address_of(&w->nodes[l->end[!side].node], side == 0 ? PORT : (uint16_t)(40000 + l->end[0].conn % 20000));
	g.u.open.local = address_of(n, side == 0 ? (uint16_t)(40000 + l->end[0].conn % 20000) : PORT);
	rng_fill(&w->rng, g.u.open.entropy, sizeof(g.u.open.entropy));
	node_step(n, &ev);
}

static void connected(struct world *w, struct sim_event *ev)
{
	struct link *l = ev->link;
	struct node *to = &w->nodes[l->end[1].node];

	if (node_of(w, l, 0) == NULL)
		return;
	if (to->off) { /* since it was dialled */
		struct sim_event *late = sim_schedule(w, CONNECT_TIMEOUT_US, SIM_CLOSED, l->end[0].node);
		late->why = "connecting timed out";
		late->life = l->end[0].life;
		late->link = l;
		return;
	}
	if (to->core == NULL) {
		tell_closed(w, l, 0, "connection refused");
		return;
	}
	add_half(to, l, 1, to->next_conn++);
	tell_open(w, l, 1);
	tell_open(w, l, 0);
}

/* The sender's queue has shrunk. */
static void tell_drained(struct world *w, struct link *l, int side)
{
	struct node *n = node_of(w, l, side);
	struct gossip_event g = { .kind = GOSSIP_CONN_DRAINED };
	struct core_event ev = { .kind = CORE_MESH, .mesh = &g };

	l->end[side].told = false;
	if (n == NULL)
		return;
	g.now_ms = node_now_ms(n);
	g.u.drained.conn = l->end[side].conn;
	g.u.drained.queued_bytes = (size_t)(l->end[side].sent - l->end[!side].received);
	node_step(n, &ev);
}

static void deliver(struct world *w, struct link *l, struct segment *s)
{
	struct node *n = node_of(w, l, s->to);
	struct gossip_event g = { .kind = GOSSIP_CONN_DATA };
	struct core_event ev = { .kind = CORE_MESH, .mesh = &g };

	l->end[s->to].received += s->n + (s->fin ? 1 : 0);
	if (!s->fin && !l->end[!s->to].told && !is_cut(w, l->end[s->to].node, l->end[!s->to].node)) {
		struct sim_event *ack =
			sim_schedule(w, world_delay_us(w) + (w->cfg.nodes > DRAIN_FULL ? DRAIN_US : 0), SIM_DRAINED, l->end[!s->to].node);
		l->end[!s->to].told = true;
		ack->life = l->end[!s->to].life;
		ack->link = l;
		ack->side = !s->to;
	}
	if (n == NULL)
		return;
	if (s->fin) {
		tell_closed(w, l, s->to, "closed by the other end");
		return;
	}
	g.now_ms = node_now_ms(n);
	g.u.data.conn = l->end[s->to].conn;
	g.u.data.bytes = slice_of(s->bytes, s->n);
	node_step(n, &ev);
}

static void arrive(struct world *w, struct link *l, struct segment *s)
{
	struct segment **at = &l->end[s->to].early;

	if (node_of(w, l, s->to) == NULL) {
		if (!s->fin && !w->nodes[l->end[s->to].node].off && !is_cut(w, l->end[s->to].node, l->end[!s->to].node))
			tell_closed(w, l, !s->to, "connection reset"); /* nobody is there any more */
		return;
	}
	if (s->seq < l->end[s->to].received)
		return; /* twice */
	if (s->seq > l->end[s->to].received) {
		if (*at != NULL && l->end[s->to].last->seq < s->seq)
			at = &l->end[s->to].last->next; /* mostly */
		while (*at != NULL && (*at)->seq < s->seq)
			at = &(*at)->next;
		if (*at == s || (*at != NULL && (*at)->seq == s->seq))
			return;
		s->next = *at;
		*at = s;
		if (s->next == NULL)
			l->end[s->to].last = s;
		s->refs++;
		return;
	}
	int to = s->to;
	deliver(w, l, s);
	while (l->end[to].early != NULL && l->end[to].early->seq <= l->end[to].received) {
		struct segment *early = l->end[to].early;
		l->end[to].early = early->next;
		if (early->seq == l->end[to].received)
			deliver(w, l, early);
		segment_drop(early);
	}
}

void net_node_died(struct node *n, bool silently)
{
	struct world *w = n->w;
	struct slice key;
	void *value;

	for (size_t it = 0; map_next(n->halves, &it, &key, &value);) {
		struct half *h = value;
		struct link *l = h->link;
		size_t other = l->end[!h->side].node;
		l->end[h->side].open = false;
		/* A process that dies has its connections reset by its kernel; a host without power says nothing. */
		if (!silently && l->end[!h->side].open && !is_cut(w, n->index, other)) {
			struct sim_event *ev = sim_schedule(w, world_delay_us(w), SIM_CLOSED, other);
			ev->life = l->end[!h->side].life;
			ev->link = l;
			ev->side = !h->side;
			ev->why = "connection reset";
		}
		mem_free(map_del(n->halves, key));
	}
}

void net_event(struct world *w, struct sim_event *ev)
{
	struct segment *s = ev->segment;

	switch (ev->kind) {
	case SIM_CONNECTED: connected(w, ev); break;
	case SIM_CLOSED: tell_closed(w, ev->link, ev->side, ev->why); break;
	case SIM_DRAINED: tell_drained(w, ev->link, ev->side); break;
	case SIM_SEGMENT: arrive(w, ev->link, s); break;
	case SIM_RETRANSMIT:
		if (++s->tries > GIVE_UP)
			tell_closed(w, ev->link, !s->to, "timed out");
		else
			transmit(w, ev->link, s);
		break;
	case SIM_TIMER:
	case SIM_CLIENT:
	case SIM_FAULT:
	case SIM_REVIVE:
	case SIM_HEAL:
	case SIM_DATAGRAM:
	case SIM_START_CONTAINER:
	case SIM_FLAP:
	case SIM_TRAFFIC: break;
	}
	if (s != NULL)
		segment_drop(s);
}

void net_free(struct world *w)
{
	while (w->links != NULL) {
		struct link *l = w->links;
		w->links = l->next;
		for (int side = 0; side < 2; side++) {
			while (l->end[side].early != NULL) {
				struct segment *s = l->end[side].early;
				l->end[side].early = s->next;
				segment_drop(s);
			}
		}
		mem_free(l);
	}
}
