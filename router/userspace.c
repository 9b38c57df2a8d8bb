/* Theory of operation
 *
 *   sender thread:   TAP ─read─▶ fwd_decide ─▶ header + frame, once per host ─sendmmsg─▶ UDP
 *   receiver thread: UDP ─recvmmsg─▶ encap_read ─▶ fwd_accept ─write─▶ TAP
 *
 * Threads start in userspace_start and end in userspace_stop, nowhere else. Besides its own buffers a data thread touches: the two descriptors
 * (which the kernel serialises), the generation it has pinned (read only), its half of the counters (relaxed atomics: the sender writes what is
 * sent, the receiver what is received, either one drops), `stop`, and `lock` for the moment of pinning. It never allocates, logs or
 * waits for the control thread.
 *
 * Tables change as whole generations. A thread pins the current one for one batch, under the lock; the control thread puts a new one in place
 * under the same lock and frees an old one when no thread has it pinned. Nobody holds the lock while doing anything else. */
#include "router/userspace.h"

#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/map.h"
#include "base/mem.h"
#include "tunnel/encap.h"
#include "router/dataplane/netlink.h"

#define BATCH         32u    /* frames read before they are sent; datagrams received at a time */
#define MESSAGES      128u   /* datagrams per sendmmsg */
#define SLOT          65536u /* bytes per frame: above what any MTU allows; pages never touched cost nothing */
#define SOCKET_BUFFER (4 << 20)
#define STACK         (256u << 10)

enum worker { SENDER, RECEIVER, WORKERS };

struct counters {
	_Atomic uint64_t frames_sent, bytes_sent, frames_received, bytes_received;
};

/* A table with what the threads need for each of its peers. */
struct generation {
	struct fwd_table *table;
	struct sockaddr_storage *to; /* by peer number; ss_family AF_UNSPEC: not to be reached from this socket */
	struct counters **counters;  /* by peer number; owned by userspace.peers */
	struct generation *next;     /* in the list of retired ones */
};

struct sending;

struct userspace {
	int tap, sock, stop;
	int family; /* of the socket */
	uint16_t port;
	pthread_t thread[WORKERS];
	bool running[WORKERS];

	pthread_mutex_t lock; /* guards the next two */
	struct generation *current;
	const struct generation *pinned[WORKERS];

	struct generation *retired; /* control thread's alone, like peers */
	struct map *peers;          /* name → struct counters */

	struct counters total;
	_Atomic uint64_t flooded, dropped[FWD_DROPS];
	_Atomic bool tap_lost;

	uint8_t *slots[WORKERS]; /* BATCH × SLOT bytes each */
	struct sending *sending; /* the sender's */
};

static void add(_Atomic uint64_t *counter, uint64_t n)
{
	atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

static uint64_t get(const _Atomic uint64_t *counter)
{
	return atomic_load_explicit(counter, memory_order_relaxed);
}

static void drop(struct userspace *u, enum fwd_drop why)
{
	add(&u->dropped[why], 1);
}

static const struct generation *pin(struct userspace *u, enum worker w)
{
	pthread_mutex_lock(&u->lock);
	const struct generation *g = u->pinned[w] = u->current;
	pthread_mutex_unlock(&u->lock);
	return g;
}

static void unpin(struct userspace *u, enum worker w)
{
	pthread_mutex_lock(&u->lock);
	u->pinned[w] = NULL;
	pthread_mutex_unlock(&u->lock);
}

/* Waits until fd (-1: none) can be read. false: the path is being stopped. */
static bool wait_readable(const struct userspace *u, int fd)
{
	struct pollfd p[] = { { .fd = u->stop, .events = POLLIN }, { .fd = fd, .events = POLLIN } };
	while (poll(p, 2, -1) < 0)
		assert(errno == EINTR || errno == ENOMEM);
	return p[0].revents == 0;
}

/* ---- addresses */

static socklen_t to_sockaddr(int family, struct hostport at, struct sockaddr_storage *out)
{
	*out = (struct sockaddr_storage){ .ss_family = AF_UNSPEC };
	if (family == AF_INET && at.ip.family != 6) {
		struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(at.port) };
		memcpy(&a.sin_addr, at.ip.b, 4);
		memcpy(out, &a, sizeof a);
		return sizeof a;
	}
	if (family == AF_INET6) {
		struct sockaddr_in6 a = { .sin6_family = AF_INET6, .sin6_port = htons(at.port) };
		if (at.ip.family == 4) {
			a.sin6_addr.s6_addr[10] = a.sin6_addr.s6_addr[11] = 0xff;
			memcpy(a.sin6_addr.s6_addr + 12, at.ip.b, 4);
		} else {
			memcpy(a.sin6_addr.s6_addr, at.ip.b, 16);
		}
		memcpy(out, &a, sizeof a);
		return sizeof a;
	}
	return 0;
}

static socklen_t sockaddr_size(const struct sockaddr_storage *a)
{
	return a->ss_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
}

static struct ip from_sockaddr(const struct sockaddr_storage *from)
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };
	struct ip ip = { 0 };
	if (from->ss_family == AF_INET) {
		struct sockaddr_in a;
		memcpy(&a, from, sizeof a);
		ip.family = 4;
		memcpy(ip.b, &a.sin_addr, 4);
	} else if (from->ss_family == AF_INET6) {
		struct sockaddr_in6 a;
		memcpy(&a, from, sizeof a);
		bool four = memcmp(a.sin6_addr.s6_addr, mapped, 12) == 0;
		ip.family = four ? 4 : 6;
		memcpy(ip.b, a.sin6_addr.s6_addr + (four ? 12 : 0), four ? 4 : 16);
	}
	return ip;
}

/* ---- sender */

struct sending {
	struct userspace *u;
	const struct generation *g;
	size_t n;
	uint8_t head[MESSAGES][ENCAP_HEAD];
	struct iovec part[MESSAGES][2];
	struct mmsghdr message[MESSAGES];
	uint32_t peer[MESSAGES];
};

static void account_sent(struct sending *s, size_t i)
{
	struct counters *c = s->g->counters[s->peer[i]];
	uint64_t bytes = s->part[i][1].iov_len;
	add(&c->frames_sent, 1);
	add(&c->bytes_sent, bytes);
	add(&s->u->total.frames_sent, 1);
	add(&s->u->total.bytes_sent, bytes);
}

static void flush(struct sending *s)
{
	size_t at = 0;
	while (at < s->n) {
		int sent = sendmmsg(s->u->sock, s->message + at, (unsigned)(s->n - at), 0);
		for (int i = 0; i < sent; i++)
			account_sent(s, at++);
		/* An error belongs to the first message that was not sent; the others have not been tried. */
		if (sent < 0 && errno != EINTR) {
			drop(s->u, errno == EMSGSIZE ? FWD_TOO_BIG : FWD_SEND_FAILED);
			at++;
		}
	}
	s->n = 0;
}

static void queue_one(struct sending *s, struct slice frame, uint32_t peer)
{
	const struct generation *g = s->g;
	struct sockaddr_storage *to = &g->to[peer];
	if (to->ss_family == AF_UNSPEC) {
		drop(s->u, FWD_NO_PEER);
		return;
	}
	const struct encap_head h = {
		.type = ENCAP_CLEAR, .hops = ENCAP_HOPS, .src = fwd_table_self(g->table), .dst = fwd_table_peer(g->table, peer)->name
	};
	size_t i = s->n++;
	encap_write(s->head[i], &h);
	s->peer[i] = peer;
	s->part[i][0] = (struct iovec){ .iov_base = s->head[i], .iov_len = ENCAP_HEAD };
	s->part[i][1] = (struct iovec){ .iov_base = (void *)(uintptr_t)frame.p, .iov_len = frame.n };
	s->message[i].msg_hdr =
		(struct msghdr){ .msg_name = to, .msg_namelen = sockaddr_size(to), .msg_iov = s->part[i], .msg_iovlen = 2 };
	if (s->n == MESSAGES)
		flush(s);
}

static void send_frame(struct sending *s, struct slice frame)
{
	if (!s->g) {
		drop(s->u, FWD_NO_PEER);
		return;
	}
	const struct fwd_verdict v = fwd_decide(s->g->table, frame);
	if (v.drop != FWD_PASSED)
		drop(s->u, v.drop);
	if (v.flood)
		add(&s->u->flooded, 1);
	for (size_t i = 0; i < v.n; i++)
		queue_one(s, frame, v.peers[i]);
}

/* false: the device is gone. */
static bool send_batch(struct sending *s)
{
	struct userspace *u = s->u;
	bool there = true;
	s->g = pin(u, SENDER);
	for (size_t i = 0; i < BATCH; i++) {
		uint8_t *slot = u->slots[SENDER] + i * SLOT;
		ssize_t n = read(u->tap, slot, SLOT);
		if (n < 0) {
			there = errno == EAGAIN || errno == EINTR;
			break;
		}
		send_frame(s, slice_of(slot, (size_t)n));
	}
	flush(s);
	unpin(u, SENDER);
	return there;
}

static void *send_loop(void *arg)
{
	struct userspace *u = arg;
	int fd = u->tap;
	while (wait_readable(u, fd))
		if (!send_batch(u->sending)) {
			atomic_store(&u->tap_lost, true);
			fd = -1;
		}
	return NULL;
}

/* ---- receiver */

static void receive_one(struct userspace *u, const struct generation *g, struct slice datagram, struct ip from)
{
	struct encap_head h;
	struct slice frame;
	size_t peer;
	enum fwd_drop why = encap_read(datagram, &h, &frame);
	if (why == FWD_PASSED)
		why = g ? fwd_accept(g->table, h.src, h.dst, from, frame, &peer) : FWD_STRANGER;
	if (why == FWD_PASSED && write(u->tap, frame.p, frame.n) != (ssize_t)frame.n)
		why = FWD_TAP_FAILED;
	if (why != FWD_PASSED) {
		drop(u, why);
		return;
	}
	add(&g->counters[peer]->frames_received, 1);
	add(&g->counters[peer]->bytes_received, frame.n);
	add(&u->total.frames_received, 1);
	add(&u->total.bytes_received, frame.n);
}

static void *receive_loop(void *arg)
{
	struct userspace *u = arg;
	struct sockaddr_storage from[BATCH];
	struct iovec part[BATCH];
	struct mmsghdr message[BATCH];
	while (wait_readable(u, u->sock)) {
		for (size_t i = 0; i < BATCH; i++) {
			part[i] = (struct iovec){ .iov_base = u->slots[RECEIVER] + i * SLOT, .iov_len = SLOT };
			message[i].msg_hdr =
				(struct msghdr){ .msg_name = &from[i], .msg_namelen = sizeof from[i], .msg_iov = &part[i], .msg_iovlen = 1 };
		}
		int n = recvmmsg(u->sock, message, BATCH, MSG_DONTWAIT, NULL);
		const struct generation *g = pin(u, RECEIVER);
		for (int i = 0; i < n; i++)
			receive_one(u, g, slice_of(part[i].iov_base, message[i].msg_len), from_sockaddr(&from[i]));
		unpin(u, RECEIVER);
	}
	return NULL;
}

/* ---- control thread: generations */

static void generation_free(struct generation *g)
{
	if (!g)
		return;
	fwd_table_free(g->table);
	mem_free(g->to);
	mem_free(g->counters);
	mem_free(g);
}

static struct counters *counters_of(struct userspace *u, uint64_t peer)
{
	struct counters *c = map_get64(u->peers, peer);
	if (c)
		return c;
	c = mem_zalloc(1, sizeof *c);
	if (c && map_put64(u->peers, peer, c, NULL) != ERR_OK) {
		mem_free(c);
		c = NULL;
	}
	return c;
}

/* Everything of a generation but its table. */
static struct generation *generation_new(struct userspace *u, const struct fwd_table *t)
{
	const size_t n = fwd_table_peers(t);
	struct generation *g = mem_zalloc(1, sizeof *g);
	if (!g)
		return NULL;
	g->to = mem_zalloc(n + 1, sizeof *g->to);
	g->counters = mem_zalloc(n + 1, sizeof *g->counters);
	bool ok = g->to && g->counters;
	for (size_t i = 0; i < n && ok; i++) {
		const struct fwd_peer *p = fwd_table_peer(t, i);
		if (p->to.ip.family)
			(void)to_sockaddr(u->family, p->to, &g->to[i]);
		g->counters[i] = counters_of(u, p->name);
		ok = g->counters[i];
	}
	if (!ok) {
		generation_free(g);
		return NULL;
	}
	return g;
}

/* Frees what no thread reads any more. A generation just replaced may stay until the next call; there are never more than three. */
static void collect(struct userspace *u)
{
	const struct generation *pinned[WORKERS];
	pthread_mutex_lock(&u->lock);
	memcpy(pinned, u->pinned, sizeof pinned);
	pthread_mutex_unlock(&u->lock);
	for (struct generation **at = &u->retired; *at;) {
		struct generation *g = *at;
		if (g == pinned[SENDER] || g == pinned[RECEIVER]) {
			at = &g->next;
		} else {
			*at = g->next;
			generation_free(g);
		}
	}
	if (u->retired)
		return;
	/* Only the current generation points to counters now: those of peers it lacks may go. */
	size_t it = 0, i;
	struct slice key;
	void *c;
	while (map_next(u->peers, &it, &key, &c)) {
		uint64_t peer = map_key64(key);
		if (!u->current || !fwd_table_find(u->current->table, peer, &i)) {
			(void)map_del64(u->peers, peer);
			mem_free(c);
		}
	}
}

enum err userspace_set_table(struct userspace *u, struct fwd_table *t)
{
	struct generation *g = generation_new(u, t);
	if (!g)
		return ERR_NOMEM;
	g->table = t;
	pthread_mutex_lock(&u->lock);
	struct generation *old = u->current;
	u->current = g;
	pthread_mutex_unlock(&u->lock);
	if (old) {
		old->next = u->retired;
		u->retired = old;
	}
	collect(u);
	return ERR_OK;
}

/* ---- control thread: start and stop */

static void set_option(int sock, int level, int option, int value)
{
	(void)setsockopt(sock, level, option, &value, sizeof value); /* better with it, works without */
}

static enum err bind_error(struct hostport listen, int error, struct err_note *note)
{
	char text[HOSTPORT_TEXT] = "";
	if (listen.ip.family)
		hostport_format(listen, text);
	if (error == EADDRINUSE)
		return err_note(note, ERR_BUSY,
			"UDP port %u is in use; stop the program that has it (a second weftd?) or choose another with --port", listen.port);
	if (error == EADDRNOTAVAIL)
		return err_note(note, ERR_NOT_FOUND, "cannot listen on UDP %s: no such address on this host; check --host", text);
	return err_note(note, netlink_err_of(error), "cannot listen on UDP port %u: %s", listen.port, strerror(error));
}

/* On both families where that is asked for and possible. Fills sock, family and port. */
static enum err open_socket(struct userspace *u, struct hostport listen, struct err_note *note)
{
	struct sockaddr_storage at;
	u->family = listen.ip.family == 4 ? AF_INET : AF_INET6;
	u->sock = socket(u->family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (u->sock < 0 && listen.ip.family == 0) {
		u->family = AF_INET;
		u->sock = socket(u->family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	}
	if (u->sock < 0)
		return bind_error(listen, errno, note);
	if (u->family == AF_INET6)
		set_option(u->sock, IPPROTO_IPV6, IPV6_V6ONLY, listen.ip.family == 6);
	socklen_t len = to_sockaddr(u->family, listen, &at);
	if (bind(u->sock, (const struct sockaddr *)&at, len) != 0 ||
		(len = sizeof at, getsockname(u->sock, (struct sockaddr *)&at, &len)) != 0)
		return bind_error(listen, errno, note);
	in_port_t port;
	memcpy(&port, (const char *)&at + offsetof(struct sockaddr_in, sin_port), sizeof port); /* the same place in sockaddr_in6 */
	u->port = ntohs(port);
	/* Never cut a datagram: what is too big for the path is told, and counted. */
	set_option(u->sock, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO);
	if (u->family == AF_INET6)
		set_option(u->sock, IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_DO);
	set_option(u->sock, SOL_SOCKET, SO_RCVBUF, SOCKET_BUFFER);
	set_option(u->sock, SOL_SOCKET, SO_RCVBUFFORCE, SOCKET_BUFFER);
	return ERR_OK;
}

static enum err start_thread(struct userspace *u, enum worker w, struct err_note *note)
{
	static void *(*const loop[WORKERS])(void *) = { send_loop, receive_loop };
	static const char *const name[WORKERS] = { "weft-send", "weft-receive" };
	pthread_attr_t attr;
	sigset_t all, before;
	if (pthread_attr_init(&attr) != 0)
		return err_note(note, ERR_NOMEM, "out of memory");
	(void)pthread_attr_setstacksize(&attr, STACK);
	/* Signals are the control thread's. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	int error = pthread_create(&u->thread[w], &attr, loop[w], u);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attr);
	if (error)
		return err_note(note, ERR_SYSTEM, "cannot start a data thread: %s", strerror(error));
	u->running[w] = true;
	(void)pthread_setname_np(u->thread[w], name[w]);
	return ERR_OK;
}

enum err userspace_start(int tap, struct hostport listen, struct userspace **out, struct err_note *note)
{
	struct userspace *u = mem_zalloc(1, sizeof *u);
	if (!u)
		return err_note(note, ERR_NOMEM, "out of memory");
	u->tap = tap;
	u->sock = -1;
	u->stop = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	pthread_mutex_init(&u->lock, NULL);
	u->peers = map_new(1);
	u->sending = mem_zalloc(1, sizeof *u->sending);
	bool memory = u->peers && u->sending;
	for (int w = 0; w < WORKERS; w++)
		memory = (u->slots[w] = mem_alloc(BATCH * SLOT)) && memory;
	if (u->sending)
		u->sending->u = u;
	enum err e = ERR_OK;
	if (!memory)
		e = err_note(note, ERR_NOMEM, "out of memory");
	else if (u->stop < 0)
		e = err_note(note, ERR_SYSTEM, "cannot make an event descriptor: %s", strerror(errno));
	else
		e = open_socket(u, listen, note);
	for (int w = 0; w < WORKERS && e == ERR_OK; w++)
		e = start_thread(u, (enum worker)w, note);
	if (e != ERR_OK) {
		userspace_stop(u);
		return e;
	}
	*out = u;
	return ERR_OK;
}

void userspace_stop(struct userspace *u)
{
	if (!u)
		return;
	const uint64_t one = 1;
	if (u->stop >= 0 && write(u->stop, &one, sizeof one) != (ssize_t)sizeof one)
		assert(errno == EAGAIN); /* full: it is readable */
	for (int w = 0; w < WORKERS; w++) {
		if (u->running[w])
			pthread_join(u->thread[w], NULL);
		mem_free(u->slots[w]);
	}
	mem_free(u->sending);
	if (u->peers) {
		generation_free(u->current);
		u->current = NULL;
		collect(u);
		map_free(u->peers);
	}
	if (u->sock >= 0)
		close(u->sock);
	if (u->stop >= 0)
		close(u->stop);
	pthread_mutex_destroy(&u->lock);
	mem_free(u);
}

uint16_t userspace_port(const struct userspace *u)
{
	return u->port;
}

/* ---- control thread: counters */

static struct userspace_traffic traffic(const struct counters *c)
{
	return (struct userspace_traffic){ .frames_sent = get(&c->frames_sent),
		.bytes_sent = get(&c->bytes_sent),
		.frames_received = get(&c->frames_received),
		.bytes_received = get(&c->bytes_received) };
}

void userspace_stats(const struct userspace *u, struct userspace_stats *out)
{
	*out = (struct userspace_stats){
		.total = traffic(&u->total), .flooded = get(&u->flooded), .tap_lost = atomic_load(&u->tap_lost)
	};
	for (int i = 0; i < FWD_DROPS; i++)
		out->dropped[i] = get(&u->dropped[i]);
}

void userspace_peers(const struct userspace *u, userspace_each each, void *arg)
{
	const struct generation *g = u->current; /* only the control thread changes it */
	for (size_t i = 0; g && i < fwd_table_peers(g->table); i++) {
		const struct userspace_traffic t = traffic(g->counters[i]);
		each(fwd_table_peer(g->table, i)->name, &t, arg);
	}
}
