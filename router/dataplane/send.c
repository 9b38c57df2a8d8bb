/* The sending half of a queue: frames from the captures, cut, sealed, and out in as few system calls as they fit into.
 *
 *   capture ─read─▶ frame ─cut_next─▶ segment ─seal or copy─▶ out ─sendmmsg─▶ UDP
 *
 * One frame at a time lies in `frame`, so that it is still in the cache when it is cut; its datagrams are built one behind the other in `out`. A message is
 * a run of datagrams of one size for one peer (a shorter one ends it), given to the kernel by UDP_SEGMENT; only the last message of a peer may
 * grow, so that the order of what goes to a peer never changes, and it may consist of several stretches of `out` when peers take turns.
 *
 * A frame whose peer has no session yet waits in the stash, for a second at most. */
#include "router/dataplane/internal.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/rng.h"
#include "tunnel/toobig.h"

enum {
	FRAMES = 64,      /* read from a capture before they are sent, */
	SHIP = 192 << 10, /* or that many bytes */
	OUT_BYTES = 256 << 10,
	MESSAGES = 128,          /* per sendmmsg */
	MESSAGE_PARTS = 16,      /* stretches of a message */
	MESSAGE_BYTES = 65507,   /* with headers the kernel's limit is 65,535 */
	MESSAGE_DATAGRAMS = 64,  /* the kernel's limit before Linux 6.9 */
	OPEN = 16,               /* peers whose last message is remembered */
	GATHER_FRAMES = 8,       /* so many or more in one batch, */
	GATHER_BYTES = 32 << 10, /* not more than this together, */
	GATHER_NS = 50000,       /* make the next one wait */
	STASH_FRAMES = 64,
	STASH_BYTES = 128 << 10,
	STASH_MS = 1000,
	STASH_TICK_MS = 100,
	EVENTS = 16,
	ANSWERS_PER_S = 1000, /* "too big", of one queue */
	FRAME_AT = 128,       /* offset in its page: copies to just behind a page's start are slow on some processors */
	FRAGMENT_QUEUE_SHIFT = 28
};
#define WAKE UINT64_MAX /* instead of a network, for the eventfd */

struct message {
	struct table_peer *peer;
	uint32_t size; /* of each datagram but the last */
	uint32_t bytes, datagrams;
	uint64_t frames, frame_bytes; /* for the counters */
	size_t parts;
	bool closed;
	struct iovec part[MESSAGE_PARTS];
	_Alignas(struct cmsghdr) uint8_t control[SEGMENT_CONTROL];
};

struct stashed {
	uint64_t peer, until_ms;
	struct vnet v;
	uint16_t net;
	size_t n; /* bytes; they lie in the same order */
};

struct sender {
	struct worker w;
	int epoll, wake, sock;
	const struct generation *g; /* during a batch */
	size_t n, out_n;
	size_t frames, bytes;               /* read in this batch */
	uint32_t open[OPEN];                /* by peer's number: its last message */
	const struct table_peer *head_peer; /* whose header `head` is, of the last CLEAR datagram in this batch */
	uint16_t head_net;
	uint8_t head_flags, head[WIRE_HEAD];
	uint32_t fragment_id;
	struct bucket answers;
	size_t n_stashed, stash_bytes;
	_Atomic bool holds_frames;
	struct stashed stashed[STASH_FRAMES];
	struct message message[MESSAGES];
	struct mmsghdr header[MESSAGES];
	uint8_t *frame, *saved, *out, *stash;
	uint8_t *memory;
};

static void drop(struct sender *s, enum fwd_drop why, uint64_t n)
{
	worker_drop(&s->w, why, n);
}

/* ---- out: messages */

static void account(struct sender *s, const struct message *m)
{
	shared_add(&m->peer->life->frames_sent, m->frames);
	shared_add(&m->peer->life->bytes_sent, m->frame_bytes);
	tally_add(&s->w.tally.frames_sent, m->frames);
	tally_add(&s->w.tally.bytes_sent, m->frame_bytes);
}

static enum fwd_drop drop_of(int error)
{
	return error == EMSGSIZE || error == EINVAL ? FWD_TOO_BIG : FWD_SEND_FAILED;
}

/* sendto, over an error that belongs to an earlier datagram. 0 or the error. */
static int send_one(struct sender *s, const struct table_peer *p, const void *bytes, size_t n)
{
	for (unsigned tries = 0;;) {
		if (sendto(s->sock, bytes, n, 0, (const struct sockaddr *)&p->to_addr, sockaddr_size(&p->to_addr)) >= 0)
			return 0;
		if (!socket_try_again(errno, &tries))
			return errno;
	}
}

/* One by one, because the kernel would not cut this message: the device cannot (EIO), or a datagram is larger than the device's MTU (EINVAL), which shows
 * here as EMSGSIZE. */
static void send_apart(struct sender *s, const struct message *m)
{
	uint64_t failed = 0;
	int error = 0;
	for (size_t i = 0; i < m->parts; i++) {
		const uint8_t *at = m->part[i].iov_base;
		for (size_t left = m->part[i].iov_len; left > 0;) {
			const size_t n = left < m->size ? left : m->size;
			const int e = send_one(s, m->peer, at, n);
			if (e)
				error = e, failed++;
			at += n;
			left -= n;
		}
	}
	if (error)
		drop(s, drop_of(error), failed);
	if (failed < m->datagrams) {
		atomic_store_explicit(&m->peer->plain, true, memory_order_relaxed);
		account(s, m);
	}
}

static void flush(struct sender *s)
{
	for (size_t i = 0; i < s->n; i++) {
		struct message *m = &s->message[i];
		struct msghdr *h = &s->header[i].msg_hdr;
		*h = (struct msghdr){ .msg_name = &m->peer->to_addr,
			.msg_namelen = sockaddr_size(&m->peer->to_addr),
			.msg_iov = m->part,
			.msg_iovlen = m->parts };
		if (m->datagrams > 1)
			segment_control(h, m->control, (uint16_t)m->size);
	}
	unsigned tries = 0;
	for (size_t at = 0; at < s->n;) {
		const int sent = sendmmsg(s->sock, s->header + at, (unsigned)(s->n - at), 0);
		/* An error belongs to the first message that was not sent; the others have not been tried. */
		const struct message *m = &s->message[at];
		if (sent > 0) {
			for (int i = 0; i < sent; i++)
				account(s, m + i);
			at += (size_t)sent;
			tries = 0;
		} else if (!socket_try_again(errno, &tries)) {
			if (m->datagrams > 1 && (errno == EIO || errno == EINVAL || errno == EMSGSIZE))
				send_apart(s, m);
			else
				drop(s, drop_of(errno), m->datagrams);
			at++;
			tries = 0;
		}
	}
	s->n = 0;
	s->out_n = 0;
}

/* Room for one datagram of up to n bytes. */
static uint8_t *place(struct sender *s, size_t n)
{
	if (s->out_n + n > OUT_BYTES || s->n == MESSAGES)
		flush(s);
	return s->out + s->out_n;
}

static uint32_t *open_slot(struct sender *s, const struct table_peer *p)
{
	return &s->open[(size_t)(p - s->g->table->peers) % OPEN];
}

/* The message a datagram of n bytes at `at` may join; NULL: none. */
static struct message *joinable(struct sender *s, const struct table_peer *p, const uint8_t *at, size_t n)
{
	const uint32_t i = *open_slot(s, p);
	struct message *m = i < s->n ? &s->message[i] : NULL;
	if (!m || m->peer != p || m->closed || n > m->size || m->bytes + n > MESSAGE_BYTES || m->datagrams == MESSAGE_DATAGRAMS)
		return NULL;
	const struct iovec *last = &m->part[m->parts - 1];
	const bool contiguous = (const uint8_t *)last->iov_base + last->iov_len == at;
	return contiguous || m->parts < MESSAGE_PARTS ? m : NULL;
}

/* The datagram of n bytes that was built at `place` goes out. */
static void ship(struct sender *s, struct table_peer *p, size_t n, uint64_t frames, uint64_t frame_bytes)
{
	uint8_t *at = s->out + s->out_n;
	s->out_n += n;
	struct message *m = joinable(s, p, at, n);
	if (!m) {
		*open_slot(s, p) = (uint32_t)s->n;
		m = &s->message[s->n++];
		m->peer = p;
		m->size = (uint32_t)n;
		m->bytes = m->datagrams = 0;
		m->frames = m->frame_bytes = 0;
		m->parts = 0;
		m->closed = atomic_load_explicit(&p->plain, memory_order_relaxed);
	}
	struct iovec *last = m->parts ? &m->part[m->parts - 1] : NULL;
	if (last && (uint8_t *)last->iov_base + last->iov_len == at)
		last->iov_len += n;
	else
		m->part[m->parts++] = (struct iovec){ at, n };
	m->bytes += (uint32_t)n;
	m->datagrams++;
	m->frames += frames;
	m->frame_bytes += frame_bytes;
	if (n < m->size)
		m->closed = true;
}

/* ---- out: datagrams */

/* Completes the datagram at out, whose payload of n bytes is `from` or lies in its place already. Its length; 0: counted as dropped. */
static size_t wrap(
	struct sender *s, struct table_peer *p, uint16_t net, uint8_t flags, const uint8_t *from, size_t n, uint8_t *out)
{
	const uint64_t self = s->w.u->cfg.self;
	if (!p->sealed) {
		if (s->head_peer != p || s->head_net != net || s->head_flags != flags) {
			const struct wire_head h = { .type = WIRE_CLEAR, .flags = flags, .net = net, .src = self, .dst = p->name };
			wire_write(s->head, &h);
			s->head_peer = p;
			s->head_net = net;
			s->head_flags = flags;
		}
		memcpy(out, s->head, WIRE_HEAD);
		if (from != out + WIRE_HEAD)
			memcpy(out + WIRE_HEAD, from, n);
		return WIRE_HEAD + n;
	}
	uint8_t *sealed = out;
	if (p->relayed) {
		const struct wire_head h = { .type = WIRE_RELAYED, .flags = WIRE_HOPS, .src = self, .dst = p->name };
		wire_write(out, &h);
		sealed += WIRE_HEAD;
	}
	const size_t length = seal_datagram(p->keys, s->w.queue, flags, net, slice_of(from, n), sealed);
	if (length == 0) {
		drop(s, FWD_NO_SESSION, 1);
		return 0;
	}
	return (size_t)(sealed - out) + length;
}

static void put(struct sender *s, struct table_peer *p, uint16_t net, uint8_t flags, struct slice frame)
{
	uint8_t *out = place(s, p->overhead + frame.n);
	const size_t n = wrap(s, p, net, flags, frame.p, frame.n, out);
	if (n > 0)
		ship(s, p, n, 1, frame.n);
}

static void put_in_pieces(struct sender *s, struct table_peer *p, uint16_t net, uint8_t flags, struct slice frame)
{
	const uint32_t id =
		(uint32_t)s->w.queue << FRAGMENT_QUEUE_SHIFT | (s->fragment_id++ & ((UINT32_C(1) << FRAGMENT_QUEUE_SHIFT) - 1));
	if (p->room <= FRAG_HEAD + 8 || frame.n > UINT16_MAX) {
		drop(s, FWD_TOO_BIG, 1);
		return;
	}
	for (size_t i = 0;; i++) {
		uint8_t *out = place(s, (size_t)p->overhead + p->room), *payload = out + p->head;
		size_t n = frag_piece(frame, id, i, p->room, payload);
		if (n == 0)
			break;
		n = wrap(s, p, net, flags | WIRE_FRAGMENT, payload, n, out);
		if (n == 0)
			break;
		ship(s, p, n, i == 0, i == 0 ? frame.n : 0);
		tally_add(&s->w.tally.fragments_sent, 1);
	}
}

/* ---- too big */

/* A frame larger than the path, that cannot be cut: either its sender is told (IP, where it said it wants to know or has to), or it goes in pieces. So it
 * does while the path's MTU is still being sought: containers keep what they are told for minutes. */
static void too_big(struct sender *s, struct table_peer *p, struct device *d, uint16_t net, uint8_t flags, struct slice frame)
{
	enum { IP6_LEAST = 1280 };
	struct layout l;
	uint8_t answer[TOOBIG_MAX];
	size_t n = 0;
	if (!layout_of(frame, &l)) {
		drop(s, FWD_MALFORMED, 1);
		return;
	}
	const bool pieces = !p->settled || l.family == 0 || !l.df || (frame.p[0] & 1) ||
		(l.family == 6 && p->room < l.l3 + IP6_LEAST && l.end - l.l3 <= IP6_LEAST);
	if (pieces) {
		put_in_pieces(s, p, net, flags, frame);
		return;
	}
	drop(s, FWD_TOO_BIG, 1);
	if (d && p->room > l.l3 && bucket_take(&s->answers, userspace_now_ms()))
		n = toobig_frame(frame, (uint32_t)(p->room - l.l3), answer);
	if (n == 0)
		return;
	const struct vnet plain = { 0 };
	const struct iovec part = { answer, n };
	const unsigned q = s->w.queue % d->c->queues;
	pthread_mutex_lock(&d->write_lock[q]);
	const bool written = d->c->ops->write(d->c, q, &plain, &part, 1);
	pthread_mutex_unlock(&d->write_lock[q]);
	if (written)
		tally_add(&s->w.tally.too_big_sent, 1);
}

/* ---- stash */

static void want(struct sender *s, const struct table_peer *p)
{
	const uint64_t now = userspace_now_ms();
	uint64_t last = atomic_load_explicit(&p->life->wanted_ms, memory_order_relaxed);
	if (last && now < last + WANTED_EVERY_MS)
		return;
	const struct control_head h = { .kind = CONTROL_WANTED, .peer = p->name };
	if (atomic_compare_exchange_strong(&p->life->wanted_ms, &last, now) && !control_tell(s->w.u, &h, slice_of(NULL, 0)))
		atomic_store(&p->life->wanted_ms, last); /* full: again with the next frame */
}

static void stash(
	struct sender *s, const struct table_peer *p, uint16_t net, const struct vnet *v, const uint8_t *frame, size_t n)
{
	want(s, p);
	if (s->n_stashed == STASH_FRAMES || s->stash_bytes + n > STASH_BYTES) {
		drop(s, FWD_NO_SESSION, 1);
		return;
	}
	s->stashed[s->n_stashed++] =
		(struct stashed){ .peer = p->name, .until_ms = userspace_now_ms() + STASH_MS, .v = *v, .net = net, .n = n };
	memcpy(s->stash + s->stash_bytes, frame, n);
	s->stash_bytes += n;
	atomic_store(&s->holds_frames, true);
}

/* ---- frames */

static void send_to(
	struct sender *s, struct table_peer *p, struct device *d, uint16_t net, const struct vnet *v, uint8_t *frame, size_t n)
{
	struct cut c;
	struct segment seg;
	enum fwd_drop why = cut_begin(&c, v, frame, n, p->room);
	if (why == FWD_TOO_BIG) /* then segment by segment */
		why = cut_begin(&c, v, frame, n, FRAME_MAX);
	if (why != FWD_PASSED) {
		drop(s, why, 1);
		return;
	}
	while (cut_next(&c, &seg)) {
		const uint8_t flags = seg.partial ? WIRE_PARTIAL : 0;
		if (seg.frame.n <= p->room)
			put(s, p, net, flags, seg.frame);
		else
			too_big(s, p, d, net, flags, seg.frame);
	}
}

/* To a peer that has what it takes, or into the stash. */
static void send_or_stash(
	struct sender *s, struct table_peer *p, struct device *d, uint16_t net, const struct vnet *v, uint8_t *frame, size_t n)
{
	if (p->to_addr.ss_family == AF_UNSPEC)
		drop(s, FWD_NO_PEER, 1);
	else if (p->sealed && !p->keys)
		stash(s, p, net, v, frame, n);
	else
		send_to(s, p, d, net, v, frame, n);
}

/* What waited goes out, is given up, or goes on waiting. */
static void stash_retry(struct sender *s)
{
	const uint64_t now = userspace_now_ms();
	const struct table *t = s->g->table;
	size_t kept = 0, at = 0, kept_bytes = 0;
	for (size_t i = 0; i < s->n_stashed; i++) {
		const struct stashed e = s->stashed[i];
		uint8_t *frame = s->stash + at;
		at += e.n;
		struct table_peer *p = t ? table_peer(t, e.peer, NULL) : NULL;
		if (!p) {
			drop(s, FWD_NO_PEER, 1);
		} else if (!p->sealed || p->keys) {
			send_or_stash(s, p, generation_device(s->g, e.net), e.net, &e.v, frame, e.n);
		} else if (now >= e.until_ms) {
			drop(s, FWD_NO_SESSION, 1);
		} else {
			want(s, p);
			memmove(s->stash + kept_bytes, frame, e.n);
			s->stashed[kept++] = e;
			kept_bytes += e.n;
		}
	}
	s->n_stashed = kept;
	s->stash_bytes = kept_bytes;
	if (kept == 0)
		atomic_store(&s->holds_frames, false);
}

static void send_frame(struct sender *s, struct device *d, const struct table_net *net, const struct vnet *v, size_t n)
{
	if (!net) {
		drop(s, FWD_NO_PEER, 1);
		return;
	}
	if ((v->gso_type & ~VNET_GSO_ECN) != VNET_GSO_NONE)
		tally_add(&s->w.tally.superframes_in, 1);
	const struct fwd_verdict to = fwd_decide(net->fwd, slice_of(s->frame, n));
	if (to.drop != FWD_PASSED)
		drop(s, to.drop, 1);
	if (to.flood)
		tally_add(&s->w.tally.flooded, 1);
	/* Cutting writes into the frame, so that each further peer needs it as it was. */
	if (to.n > 1)
		memcpy(s->saved, s->frame, n);
	for (size_t i = 0; i < to.n; i++) {
		const uint32_t p = net->peer[to.peers[i]];
		if (i > 0)
			memcpy(s->frame, s->saved, n);
		if (p == NOT_THERE)
			drop(s, FWD_NO_PEER, 1);
		else
			send_or_stash(s, &s->g->table->peers[p], d, net->net, v, s->frame, n);
	}
}

/* false: the device is gone. */
static bool send_device(struct sender *s, struct device *d)
{
	const struct table_net *net = s->g->table ? table_net(s->g->table, d->net) : NULL;
	size_t bytes = 0;
	for (size_t i = 0; i < FRAMES && bytes < SHIP; i++) {
		struct vnet v;
		const ssize_t n = d->c->ops->read(d->c, s->w.queue, &v, s->frame, FRAME_MAX);
		if (n <= 0) {
			s->bytes += bytes;
			return n == 0;
		}
		send_frame(s, d, net, &v, (size_t)n);
		bytes += (size_t)n;
		s->frames++;
	}
	s->bytes += bytes;
	return true;
}

static void send_batch(struct sender *s, const struct epoll_event *events, int n)
{
	s->g = worker_pin(&s->w);
	s->head_peer = NULL;
	s->frames = s->bytes = 0;
	if (s->n_stashed)
		stash_retry(s);
	for (int i = 0; i < n; i++) {
		uint64_t count;
		if (events[i].data.u64 == WAKE) {
			if (read(s->wake, &count, sizeof count) < 0)
				assert(errno == EAGAIN || errno == EINTR);
			continue;
		}
		struct device *d = generation_device(s->g, (uint16_t)events[i].data.u64);
		/* Another device may have the number by now, with fewer queues. */
		if (d && s->w.queue < d->c->queues && !send_device(s, d)) {
			sender_unwatch(s, d);
			atomic_store(&d->lost, true);
		}
	}
	flush(s);
	s->g = NULL;
	worker_unpin(&s->w);
}

/* Small frames that come fast are let gather for a moment, as a network card moderates its interrupts: what a batch costs is mostly its system calls and
 * waking the other end. A few frames, or a batch of superframes, never wait, nor does a queue that still has more. */
static void let_gather(const struct sender *s)
{
	const struct timespec moment = { .tv_nsec = GATHER_NS };
	if (s->frames >= GATHER_FRAMES && s->frames < FRAMES && s->bytes < GATHER_BYTES)
		(void)nanosleep(&moment, NULL);
}

void *sender_loop(void *arg)
{
	struct sender *s = arg;
	worker_prefer();
	(void)prctl(PR_SET_TIMERSLACK, GATHER_NS / 16);
	while (!atomic_load(&s->w.u->stopping)) {
		struct epoll_event events[EVENTS];
		const int n = epoll_wait(s->epoll, events, EVENTS, s->n_stashed ? STASH_TICK_MS : -1);
		assert(n >= 0 || errno == EINTR);
		send_batch(s, events, n);
		let_gather(s);
	}
	return NULL;
}

/* ---- control thread */

enum err sender_watch(struct sender *s, const struct device *d, struct err_note *note)
{
	if (s->w.queue >= d->c->queues)
		return ERR_OK;
	struct epoll_event e = { .events = EPOLLIN, .data = { .u64 = d->net } };
	if (epoll_ctl(s->epoll, EPOLL_CTL_ADD, d->c->fd[s->w.queue], &e) != 0)
		return err_note(note, ERR_SYSTEM, "cannot wait for frames of network %u: %s", d->net, strerror(errno));
	return ERR_OK;
}

void sender_unwatch(struct sender *s, const struct device *d)
{
	if (s->w.queue < d->c->queues)
		(void)epoll_ctl(s->epoll, EPOLL_CTL_DEL, d->c->fd[s->w.queue], NULL); /* it may be off already */
}

struct worker *sender_worker(struct sender *s)
{
	return &s->w;
}

bool sender_holds_frames(const struct sender *s)
{
	return atomic_load(&s->holds_frames);
}

void sender_wake(struct sender *s)
{
	const uint64_t one = 1;
	if (write(s->wake, &one, sizeof one) != (ssize_t)sizeof one)
		assert(errno == EAGAIN); /* full: it is readable */
}

enum err sender_new(struct userspace *u, unsigned queue, struct sender **out, struct err_note *note)
{
	struct sender *s = mem_zalloc(1, sizeof *s);
	if (!s)
		return err_note(note, ERR_NOMEM, "out of memory");
	s->w.u = u;
	s->w.queue = queue;
	s->sock = u->sock[queue];
	s->epoll = epoll_create1(EPOLL_CLOEXEC);
	s->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	s->fragment_id = (uint32_t)userspace_now_ms();
	bucket_init(&s->answers, ANSWERS_PER_S, ANSWERS_PER_S, userspace_now_ms());
	enum { PAGE = 4096, FRAME_ROOM = (FRAME_AT + FRAME_MAX + PAGE - 1) / PAGE * PAGE };
	/* Pages that are never touched cost nothing: `saved` and `stash` are rarely. */
	s->memory = mem_alloc(PAGE + 2 * FRAME_ROOM + OUT_BYTES + STASH_BYTES);
	struct epoll_event e = { .events = EPOLLIN, .data = { .u64 = WAKE } };
	if (!s->memory || s->epoll < 0 || s->wake < 0 || epoll_ctl(s->epoll, EPOLL_CTL_ADD, s->wake, &e) != 0) {
		enum err why = s->memory ? err_note(note, ERR_SYSTEM, "cannot make an event descriptor: %s", strerror(errno))
								 : err_note(note, ERR_NOMEM, "out of memory");
		sender_free(s);
		return why;
	}
	uint8_t *page = s->memory + (PAGE - (uintptr_t)s->memory % PAGE);
	s->frame = page + FRAME_AT;
	s->saved = page + FRAME_ROOM + FRAME_AT;
	s->out = page + 2 * FRAME_ROOM;
	s->stash = s->out + OUT_BYTES;
	*out = s;
	return ERR_OK;
}

void sender_free(struct sender *s)
{
	if (!s)
		return;
	if (s->epoll >= 0)
		close(s->epoll);
	if (s->wake >= 0)
		close(s->wake);
	mem_free(s->memory);
	mem_free(s);
}
