/* weft-hostile OWN-ADDRESS SEED LIES-PER-SECOND PEER…
 *
 * A member of a real mesh that lies: an honest core on real TCP links, which carry what tests/sim/liar.c makes up as well. Says "linked" when it
 * has a link, "lying" when it knows the ring and begins, and "said N" every second from then on; runs until it is killed. For test_hostile.py. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "tests/sim/liar.h"

enum { CONNS = 64, PORT = 6783, SETTLE_MS = 1500 };

struct conn {
	int fd; /* -1: free */
	uint64_t id;
	bool outbound, connecting, closing;
	struct wbuf out;
	size_t sent;
};

struct host {
	struct core *core;
	struct arena *arena;
	struct conn conns[CONNS];
	int listener;
	uint64_t next_id;
	struct ip own;
};

static uint64_t now_ms(void)
{
	struct timespec t;
	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static void must(bool ok, const char *what)
{
	if (ok)
		return;
	perror(what);
	exit(1);
}

static struct sockaddr_in address(struct ip ip, uint16_t port)
{
	return (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(ip_to_v4(ip)) };
}

static struct hostport end_of(int fd, bool remote)
{
	struct sockaddr_in a = { 0 };
	socklen_t n = sizeof(a);
	(void)(remote ? getpeername(fd, (struct sockaddr *)&a, &n) : getsockname(fd, (struct sockaddr *)&a, &n));
	return (struct hostport){ .ip = ip_v4(ntohl(a.sin_addr.s_addr)), .port = ntohs(a.sin_port) };
}

static struct conn *conn_of(struct host *h, uint64_t id)
{
	for (size_t i = 0; i < CONNS; i++)
		if (h->conns[i].fd >= 0 && h->conns[i].id == id)
			return &h->conns[i];
	return NULL;
}

static struct conn *conn_new(struct host *h, int fd, uint64_t id, bool outbound)
{
	for (size_t i = 0; i < CONNS; i++) {
		struct conn *c = &h->conns[i];
		if (c->fd >= 0)
			continue;
		*c = (struct conn){ .fd = fd, .id = id, .outbound = outbound };
		wbuf_grow(&c->out, 64 << 20);
		return c;
	}
	(void)close(fd);
	return NULL;
}

static void conn_end(struct conn *c)
{
	(void)close(c->fd);
	wbuf_free(&c->out);
	c->fd = -1;
}

static void step(struct host *h, const struct core_event *given);

static void mesh(struct host *h, struct gossip_event ev)
{
	ev.now_ms = now_ms();
	struct core_event ce = { .kind = CORE_MESH, .mesh = &ev };
	step(h, &ce);
}

static void opened(struct host *h, struct conn *c)
{
	struct gossip_event ev = { .kind = GOSSIP_CONN_OPEN };
	c->connecting = false;
	ev.u.open.conn = c->id;
	ev.u.open.outbound = c->outbound;
	ev.u.open.remote = end_of(c->fd, true);
	ev.u.open.local = end_of(c->fd, false);
	must(getrandom(ev.u.open.entropy, sizeof(ev.u.open.entropy), 0) > 0, "getrandom");
	mesh(h, ev);
}

static void closed(struct host *h, uint64_t id)
{
	struct gossip_event ev = { .kind = GOSSIP_CONN_CLOSED };
	ev.u.closed.conn = id;
	ev.u.closed.why = "closed by the other end";
	mesh(h, ev);
}

static void dial(struct host *h, const struct core_action *a)
{
	struct ip ip;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	must(fd >= 0, "socket");
	struct conn *c = ip_parse(a->u.dial.host, &ip) == ERR_OK ? conn_new(h, fd, a->u.dial.conn, true) : NULL;
	if (c == NULL)
		return;
	struct sockaddr_in to = address(ip, a->u.dial.port);
	c->connecting = true;
	if (connect(fd, (struct sockaddr *)&to, sizeof(to)) != 0 && errno != EINPROGRESS) {
		conn_end(c);
		closed(h, a->u.dial.conn);
	}
}

/* Steps that follow from an action run when all actions are done: each has an arena of its own. */
static void step(struct host *h, const struct core_event *given)
{
	struct core_actions acts;
	struct core_event ev = *given;
	struct arena *mine = arena_new();
	must(mine != NULL, "memory");
	ev.now_ms = now_ms();
	core_actions_init(&acts, mine);
	enum err err = core_step(h->core, &ev, &acts);
	must(err == ERR_OK || err == ERR_NOT_FOUND, "core_step");
	for (size_t i = 0; i < acts.n; i++) {
		const struct core_action *a = &acts.v[i];
		struct conn *c;
		if (a->kind == CORE_SEND && (c = conn_of(h, a->u.send.conn)) != NULL)
			wbuf_bytes(&c->out, a->u.send.bytes.p, a->u.send.bytes.n);
		else if (a->kind == CORE_CLOSE && (c = conn_of(h, a->u.close.conn)) != NULL)
			c->closing = true;
	}
	for (size_t i = 0; i < acts.n; i++)
		if (acts.v[i].kind == CORE_DIAL)
			dial(h, &acts.v[i]);
	arena_free(mine);
}

static void make(struct host *h, const char *own, char **peers, size_t n)
{
	struct core_cfg cfg = { .ipam = true, .names = true, .domain = "weft.local." };
	struct err_note note = { "" };
	struct core_actions acts;
	struct sockaddr_in at;
	int on = 1;

	must(ip_parse(own, &h->own) == ERR_OK, "own address");
	for (size_t i = 0; i < CONNS; i++)
		h->conns[i].fd = -1;
	h->next_id = 1;
	cfg.gossip.nickname = "hostile";
	cfg.gossip.version = "0";
	cfg.gossip.n_psk = 1;
	cfg.gossip.discovery = true;
	cfg.gossip.port = PORT;
	cfg.gossip.addresses[0] = (struct hostport){ h->own, PORT };
	cfg.gossip.n_addresses = 1;
	cfg.gossip.incarnation = 1;
	must(getrandom(cfg.gossip.static_secret, 32, 0) == 32 && getrandom(cfg.random, sizeof(cfg.random), 0) > 0 &&
			getrandom(&cfg.gossip.uid, 8, 0) == 8 && getrandom(&cfg.gossip.self, 6, 0) == 6,
		"getrandom");
	cfg.gossip.self = (cfg.gossip.self & PEER_MAX) | UINT64_C(0x020000000000);
	cfg.gossip.self &= ~UINT64_C(0x010000000000);
	cfg.universe = (struct universe){ UINT32_C(0x0a200000), 12 };
	cfg.default_subnet = (struct prefix){ ip_v4(UINT32_C(0x0a200000)), 12 };
	cfg.init = IPAM_OBSERVER;
	must(core_new(&h->core, &cfg, now_ms(), &note) == ERR_OK, note.text);
	h->arena = arena_new();
	core_actions_init(&acts, h->arena);
	must(core_start(h->core, now_ms(), false, &acts) == ERR_OK, "core_start");
	h->listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	at = address(h->own, PORT);
	(void)setsockopt(h->listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	must(bind(h->listener, (struct sockaddr *)&at, sizeof(at)) == 0 && listen(h->listener, 16) == 0, "listen");
	struct core_event connect_to = { .kind = CORE_CONNECT, .targets = (const char *const *)peers, .n_targets = n };
	step(h, &connect_to);
}

static void readable(struct host *h, struct conn *c)
{
	uint8_t b[65536];
	uint64_t id = c->id;
	ssize_t n = read(c->fd, b, sizeof(b));
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		conn_end(c);
		closed(h, id);
		return;
	}
	struct gossip_event ev = { .kind = GOSSIP_CONN_DATA };
	ev.u.data.conn = id;
	ev.u.data.bytes = slice_of(b, (size_t)n);
	mesh(h, ev);
}

static void writable(struct host *h, struct conn *c)
{
	int error = 0;
	socklen_t n = sizeof(error);
	if (c->connecting) {
		(void)getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &n);
		uint64_t id = c->id;
		if (error == 0) {
			opened(h, c);
		} else {
			conn_end(c);
			closed(h, id);
		}
		return;
	}
	ssize_t done = send(c->fd, c->out.data + c->sent, c->out.len - c->sent, MSG_NOSIGNAL);
	if (done > 0)
		c->sent += (size_t)done;
	if (c->sent < c->out.len)
		return;
	wbuf_reset(&c->out);
	c->sent = 0;
	struct gossip_event ev = { .kind = GOSSIP_CONN_DRAINED };
	ev.u.drained.conn = c->id;
	if (!c->closing)
		mesh(h, ev);
}

static void turn(struct host *h, int timeout_ms)
{
	struct pollfd p[CONNS + 1];
	size_t of[CONNS], n = 0;

	for (size_t i = 0; i < CONNS; i++) {
		struct conn *c = &h->conns[i];
		if (c->fd >= 0 && c->closing && c->sent >= c->out.len)
			conn_end(c);
		if (c->fd < 0)
			continue;
		bool write = c->connecting || c->sent < c->out.len;
		p[n] = (struct pollfd){ .fd = c->fd, .events = (short)(POLLIN | (write ? POLLOUT : 0)) };
		of[n++] = i;
	}
	p[n] = (struct pollfd){ .fd = h->listener, .events = POLLIN };
	(void)poll(p, n + 1, timeout_ms);
	for (size_t i = 0; i < n; i++) {
		struct conn *c = &h->conns[of[i]];
		if (c->fd == p[i].fd && (p[i].revents & POLLOUT))
			writable(h, c);
		if (c->fd == p[i].fd && !c->connecting && (p[i].revents & (POLLIN | POLLHUP | POLLERR)))
			readable(h, c);
	}
	int fd = (p[n].revents & POLLIN) ? accept4(h->listener, NULL, NULL, SOCK_NONBLOCK) : -1;
	struct conn *c = fd >= 0 ? conn_new(h, fd, h->next_id++, false) : NULL;
	if (c != NULL)
		opened(h, c);
	if (core_deadline_ms(h->core) <= now_ms())
		step(h, &(struct core_event){ .kind = CORE_TICK });
}

int main(int argc, char **argv)
{
	struct host h = { 0 };
	struct liar liar;
	uint64_t known_ms = 0, told_ms = 0, due_ms;
	bool linked = false;

	if (argc < 5) {
		(void)fprintf(stderr, "usage: weft-hostile OWN-ADDRESS SEED LIES-PER-SECOND PEER...\n");
		return 2;
	}
	must(sodium_init() >= 0, "libsodium");
	(void)setvbuf(stdout, NULL, _IOLBF, 0);
	liar_init(&liar, strtoull(argv[2], NULL, 0));
	uint64_t rate = strtoull(argv[3], NULL, 0);
	make(&h, argv[1], argv + 4, (size_t)argc - 4);
	due_ms = now_ms();
	for (;;) {
		turn(&h, 5);
		uint64_t now = now_ms();
		if (!linked && liar_links(h.core) > 0) {
			linked = true;
			(void)printf("linked\n");
		}
		bool whole = !ring_empty(core_channel(h.core, CHANNEL_RING), core_universe(h.core)) &&
			ring_check(core_channel(h.core, CHANNEL_RING), core_universe(h.core), NULL) == ERR_OK;
		if (whole && known_ms == 0) {
			known_ms = now;
			(void)printf("lying\n");
		}
		if (known_ms == 0 || now < known_ms + SETTLE_MS) {
			due_ms = now;
			continue;
		}
		liar.tokens = true;
		for (; due_ms < now; due_ms += 1000 / (rate > 0 && rate < 1000 ? rate : 1000))
			(void)liar_say(&liar, h.core);
		step(&h, &(struct core_event){ .kind = CORE_TICK });
		if (now >= told_ms + 1000) {
			(void)printf("said %zu\n", liar.said);
			told_ms = now;
		}
	}
}
