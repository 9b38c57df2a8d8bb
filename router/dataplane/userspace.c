/* Theory of operation
 *
 *   sender thread of a queue (send.c):       captures ─▶ decide, cut, seal ─▶ UDP socket of the queue
 *   receiver thread of a queue (receive.c):  UDP socket ─▶ open, check, join ─▶ captures; other hosts' (relays) ─▶ UDP
 *   control thread (here):                   tables and captures in; handshakes, probes, wishes and errors out, over a socket pair
 *
 * Threads start in userspace_start and end in userspace_stop, nowhere else. Besides its own buffers a data thread touches: its descriptors
 * (which the kernel serialises), the generation it has pinned (read only), its own counters and its peers' (relaxed atomics), `stopping`. It
 * allocates nothing but the frames of tunnel/frag.h, logs nothing and never waits for the control thread.
 *
 * Tables change as whole generations (userspace_table.c). A thread pins the current one for one batch by a hazard pointer: it says which one it is about
 * to read and looks again whether that is still the current one. The control thread puts a new one in place and frees an old one when no
 * thread says so of it. What goes between is a pointer, so a change costs no thread more than a cache miss. */
#include "router/dataplane/internal.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "base/map.h"
#include "base/mem.h"
#include "router/dataplane/netlink.h"

enum {
	STACK = 256 << 10,
	NICER = 3,
	POLL_MESSAGES = 256,      /* handed over by one userspace_poll */
	CONTROL_BUFFER = 1 << 20, /* bytes that may wait for the control thread */
	REFUSED_MS = 5000         /* so long "nobody listens" is remembered for the next one who sends there */
};

uint64_t userspace_now_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* ---- messages from the data threads */

bool control_tell(const struct userspace *u, const struct control_head *head, struct slice bytes)
{
	struct control_head h; /* whole and member by member: no padding of the stack's goes into the kernel */
	memset(&h, 0, sizeof h);
	h.kind = head->kind;
	h.peer = head->peer;
	h.from.ip.family = head->from.ip.family;
	memcpy(h.from.ip.b, head->from.ip.b, sizeof h.from.ip.b);
	h.from.port = head->from.port;
	struct iovec part[] = { { &h, sizeof h }, { (void *)(uintptr_t)bytes.p, bytes.n } };
	const struct msghdr m = { .msg_iov = part, .msg_iovlen = 2 };
	return sendmsg(u->control[1], &m, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0;
}

int userspace_fd(const struct userspace *u)
{
	return u->control[0];
}

static void note_sent(struct userspace *u, struct hostport to, struct slice bytes)
{
	struct sent *s = &u->sent[u->sent_at++ % (sizeof u->sent / sizeof *u->sent)];
	s->to = to;
	s->n = bytes.n < QUOTE_MAX ? bytes.n : QUOTE_MAX;
	memcpy(s->head, bytes.p, s->n);
}

/* Whether an error quotes what was really sent there. Who is not on the way to the peer does not know it. */
static bool was_sent(const struct userspace *u, struct hostport to, struct slice quote)
{
	for (size_t i = 0; i < sizeof u->sent / sizeof *u->sent; i++) {
		const struct sent *s = &u->sent[i];
		if (s->n > 0 && s->n <= quote.n && hostport_eq(s->to, to) && memcmp(s->head, quote.p, s->n) == 0)
			return true;
	}
	return false;
}

static void note_refused(struct userspace *u, struct hostport to, struct slice quote)
{
	if (!was_sent(u, to, quote))
		return;
	struct refused *r = &u->refused[u->refused_at++ % (sizeof u->refused / sizeof *u->refused)];
	*r = (struct refused){ .to = to, .until_ms = userspace_now_ms() + REFUSED_MS };
}

/* Told once. */
static bool was_refused(struct userspace *u, struct hostport to)
{
	bool found = false;
	for (size_t i = 0; i < sizeof u->refused / sizeof *u->refused; i++) {
		struct refused *r = &u->refused[i];
		if (r->to.ip.family && hostport_eq(r->to, to)) {
			found = found || userspace_now_ms() < r->until_ms;
			r->to.ip.family = 0;
		}
	}
	return found;
}

void userspace_poll(struct userspace *u)
{
	generation_collect(u);
	for (int i = 0; i < POLL_MESSAGES; i++) {
		struct control_head h;
		struct iovec part[] = { { &h, sizeof h }, { u->message, CONTROL_MAX } };
		struct msghdr m = { .msg_iov = part, .msg_iovlen = 2 };
		const ssize_t n = recvmsg(u->control[0], &m, MSG_DONTWAIT);
		if (n < (ssize_t)sizeof h)
			return;
		const struct slice bytes = slice_of(u->message, (size_t)n - sizeof h);
		switch (h.kind) {
		case CONTROL_DATAGRAM: u->cfg.datagram(u->cfg.ctx, h.from, bytes); break;
		case CONTROL_WANTED: u->cfg.wanted(u->cfg.ctx, h.peer); break;
		case CONTROL_ROAMED: u->cfg.roamed(u->cfg.ctx, h.peer, h.from); break;
		case CONTROL_REFUSED: note_refused(u, h.from, bytes); break;
		}
	}
}

enum err userspace_send(struct userspace *u, struct hostport to, struct slice bytes)
{
	struct sockaddr_storage at = { .ss_family = AF_UNSPEC };
	if (to.ip.family)
		sockaddr_of(u->family, to, &at);
	if (at.ss_family == AF_UNSPEC)
		return ERR_UNREACHABLE;
	for (unsigned tries = 0;;) {
		if (sendto(u->sock[0], bytes.p, bytes.n, MSG_DONTWAIT, (const struct sockaddr *)&at, sockaddr_size(&at)) >= 0) {
			note_sent(u, to, bytes);
			return was_refused(u, to) ? ERR_REFUSED : ERR_OK;
		}
		if (!socket_try_again(errno, &tries))
			break;
	}
	switch (errno) {
	case EMSGSIZE: return ERR_LIMIT;
	case EAGAIN:
	case ENOBUFS:
	case ENOMEM:
	case ECONNREFUSED: return ERR_AGAIN; /* more errors of earlier datagrams than we had patience for */
	default: return ERR_UNREACHABLE;
	}
}

/* ---- tables and captures */

static struct generation *current(const struct userspace *u)
{
	return atomic_load(&u->current); /* only the control thread changes it */
}

enum err userspace_set_table(struct userspace *u, const struct userspace_table *from)
{
	struct table *t;
	generation_collect(u);
	enum err e = table_new(u, from, &t);
	if (e != ERR_OK)
		return e;
	struct generation *g = generation_new(u, t);
	if (g) {
		table_own(t, from);
		generation_install(u, g);
	}
	table_unref(t);
	if (!g)
		return ERR_NOMEM;
	for (unsigned q = 0; q < u->queues; q++)
		if (sender_holds_frames(u->sender[q]))
			sender_wake(u->sender[q]);
	return ERR_OK;
}

static struct device **find_device(struct userspace *u, uint16_t net)
{
	struct device **at = &u->devices;
	while (*at && (*at)->net < net)
		at = &(*at)->next;
	return at;
}

enum err userspace_add(struct userspace *u, uint16_t net, struct capture *c, struct err_note *note)
{
	assert(c->queues <= u->queues); /* nobody would read the others */
	struct device **at = find_device(u, net), *d = mem_zalloc(1, sizeof *d);
	if (*at && (*at)->net == net) {
		mem_free(d);
		return err_note(note, ERR_EXISTS, "the userspace path has a device of network %u already", net);
	}
	if (!d)
		return err_note(note, ERR_NOMEM, "out of memory");
	d->net = net;
	d->c = c;
	d->refs = 1;
	for (unsigned q = 0; q < CAPTURE_QUEUES_MAX; q++)
		pthread_mutex_init(&d->write_lock[q], NULL);
	d->next = *at;
	*at = d;
	u->n_devices++;
	struct generation *g = generation_new(u, current(u)->table);
	enum err e = g ? ERR_OK : err_note(note, ERR_NOMEM, "out of memory");
	if (g)
		generation_install(u, g);
	for (unsigned q = 0; q < u->queues && e == ERR_OK; q++)
		e = sender_watch(u->sender[q], d, note);
	if (e != ERR_OK)
		userspace_remove(u, net);
	return e;
}

/* Waits until each thread has ended the batch it is in now. */
static void wait_for_batches(const struct userspace *u)
{
	for (unsigned i = 0; i < u->workers; i++) {
		const uint64_t before = atomic_load(&u->worker[i]->batches);
		while (atomic_load(&u->worker[i]->pinned) && atomic_load(&u->worker[i]->batches) == before)
			usleep(50);
	}
}

void userspace_remove(struct userspace *u, uint16_t net)
{
	struct device **at = find_device(u, net), *d = *at;
	if (!d || d->net != net)
		return;
	*at = d->next;
	u->n_devices--;
	atomic_store(&d->gone, true);
	for (unsigned q = 0; q < u->queues; q++)
		sender_unwatch(u->sender[q], d);
	wait_for_batches(u);
	/* No thread finds it any more. Without memory it stays in the generation that has it until the next table comes. */
	struct generation *g = generation_new(u, current(u)->table);
	if (g)
		generation_install(u, g);
	device_unref(d);
}

bool userspace_inject(struct userspace *u, uint16_t net, struct slice frame)
{
	const struct vnet plain = { 0 };
	const struct iovec part = { .iov_base = (void *)(uintptr_t)frame.p, .iov_len = frame.n };
	struct device *d = *find_device(u, net);
	if (!d || d->net != net)
		return false;
	pthread_mutex_lock(&d->write_lock[0]);
	const bool written = d->c->ops->write(d->c, 0, &plain, &part, 1);
	pthread_mutex_unlock(&d->write_lock[0]);
	return written;
}

bool userspace_lost(const struct userspace *u, uint16_t *net)
{
	for (const struct device *d = u->devices; d; d = d->next)
		if (atomic_load(&d->lost)) {
			*net = d->net;
			return true;
		}
	return false;
}

/* ---- start and stop */

static unsigned queues_wanted(unsigned asked)
{
	const long n = sysconf(_SC_NPROCESSORS_ONLN);
	const unsigned half = n > 1 ? (unsigned)n / 2 : 1, want = asked ? asked : half;
	return want < QUEUES_MAX ? want : QUEUES_MAX;
}

void worker_prefer(void)
{
	const int now = getpriority(PRIO_PROCESS, 0); /* of this thread */
	(void)setpriority(PRIO_PROCESS, 0, now - NICER);
}

static enum err start_thread(struct worker *w, void *(*loop)(void *), void *arg, const char *name, struct err_note *note)
{
	pthread_attr_t attr;
	sigset_t all, before;
	if (pthread_attr_init(&attr) != 0)
		return err_note(note, ERR_NOMEM, "out of memory");
	(void)pthread_attr_setstacksize(&attr, STACK);
	/* Signals are the control thread's. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	const int error = pthread_create(&w->thread, &attr, loop, arg);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attr);
	if (error)
		return err_note(note, ERR_SYSTEM, "cannot start a data thread: %s", strerror(error));
	w->running = true;
	(void)pthread_setname_np(w->thread, name);
	return ERR_OK;
}

static enum err start_queues(struct userspace *u, struct err_note *note)
{
	enum err e = ERR_OK;
	for (unsigned q = 0; q < u->queues && e == ERR_OK; q++) {
		e = sender_new(u, q, &u->sender[q], note);
		if (e == ERR_OK)
			u->worker[u->workers++] = sender_worker(u->sender[q]);
		if (e == ERR_OK)
			e = receiver_new(u, q, &u->receiver[q], note);
		if (e == ERR_OK)
			u->worker[u->workers++] = receiver_worker(u->receiver[q]);
	}
	/* All are made before the first one runs. */
	for (unsigned q = 0; q < u->queues && e == ERR_OK; q++) {
		e = start_thread(sender_worker(u->sender[q]), sender_loop, u->sender[q], "weft-send", note);
		if (e == ERR_OK)
			e = start_thread(receiver_worker(u->receiver[q]), receiver_loop, u->receiver[q], "weft-receive", note);
	}
	return e;
}

static enum err open_control(struct userspace *u, struct err_note *note)
{
	const int size = CONTROL_BUFFER;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, u->control) != 0)
		return err_note(note, ERR_SYSTEM, "cannot make a socket pair: %s", strerror(errno));
	(void)setsockopt(u->control[1], SOL_SOCKET, SO_SNDBUF, &size, sizeof size); /* more waits; without it less */
	(void)setsockopt(u->control[1], SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size);
	return ERR_OK;
}

enum err userspace_start(const struct userspace_cfg *cfg, struct userspace **out, struct err_note *note)
{
	struct userspace *u = mem_zalloc(1, sizeof *u);
	if (!u)
		return err_note(note, ERR_NOMEM, "out of memory");
	u->cfg = *cfg;
	u->queues = queues_wanted(cfg->queues);
	u->control[0] = u->control[1] = -1;
	for (unsigned q = 0; q < QUEUES_MAX; q++)
		u->sock[q] = -1;
	u->lives = map_new(1);
	u->message = mem_alloc(CONTROL_MAX);
	struct generation *g = generation_new(u, NULL);
	enum err e = ERR_OK;
	if (u->lives && g)
		generation_install(u, g);
	else
		generation_free(g);
	if (!u->lives || !g || !u->message)
		e = err_note(note, ERR_NOMEM, "out of memory");
	if (e == ERR_OK)
		e = open_control(u, note);
	if (e == ERR_OK)
		e = sockets_open(u, note);
	if (e == ERR_OK)
		e = start_queues(u, note);
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
	atomic_store(&u->stopping, true);
	for (unsigned q = 0; q < u->queues; q++) {
		if (u->sender[q])
			sender_wake(u->sender[q]);
		if (u->sock[q] >= 0)
			(void)shutdown(u->sock[q], SHUT_RD); /* says ENOTCONN, and wakes who waits in recvmmsg */
	}
	for (unsigned i = 0; i < u->workers; i++)
		if (u->worker[i]->running)
			pthread_join(u->worker[i]->thread, NULL);
	if (u->lives) {
		generation_free(atomic_exchange(&u->current, NULL));
		generation_collect(u);
		map_free(u->lives);
	}
	while (u->devices) {
		struct device *d = u->devices;
		u->devices = d->next;
		device_unref(d);
	}
	for (unsigned q = 0; q < u->queues; q++) {
		sender_free(u->sender[q]);
		receiver_free(u->receiver[q]);
	}
	sockets_close(u);
	for (int i = 0; i < 2; i++)
		if (u->control[i] >= 0)
			close(u->control[i]);
	mem_free(u->message);
	mem_free(u);
}

uint16_t userspace_port(const struct userspace *u)
{
	return u->port;
}

unsigned userspace_queues(const struct userspace *u)
{
	return u->queues;
}

/* ---- counters */

static uint64_t get(const _Atomic uint64_t *counter)
{
	return atomic_load_explicit(counter, memory_order_relaxed);
}

void userspace_stats(const struct userspace *u, struct userspace_stats *out)
{
	uint16_t net;
	*out = (struct userspace_stats){ .lost = userspace_lost(u, &net) };
	for (unsigned i = 0; i < u->workers; i++) {
		const struct tally *t = &u->worker[i]->tally;
		out->total.frames_sent += get(&t->frames_sent);
		out->total.bytes_sent += get(&t->bytes_sent);
		out->total.frames_received += get(&t->frames_received);
		out->total.bytes_received += get(&t->bytes_received);
		out->flooded += get(&t->flooded);
		out->relayed += get(&t->relayed);
		out->superframes_in += get(&t->superframes_in);
		out->superframes_out += get(&t->superframes_out);
		out->fragments_sent += get(&t->fragments_sent);
		out->fragments_received += get(&t->fragments_received);
		out->too_big_sent += get(&t->too_big_sent);
		for (int d = 0; d < FWD_DROPS; d++)
			out->dropped[d] += get(&t->dropped[d]);
	}
}

void userspace_peers(const struct userspace *u, userspace_each each, void *arg)
{
	const struct table *table = current(u)->table;
	for (size_t i = 0; table && i < table->n_peers; i++) {
		const struct peer_life *l = table->peers[i].life;
		const struct userspace_traffic t = { .frames_sent = get(&l->frames_sent),
			.bytes_sent = get(&l->bytes_sent),
			.frames_received = get(&l->frames_received),
			.bytes_received = get(&l->bytes_received) };
		each(table->peers[i].name, &t, arg);
	}
}
