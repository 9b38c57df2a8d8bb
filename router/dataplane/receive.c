/* The receiving half of a queue: datagrams in, opened where they lie, checked, joined and written to the captures.
 *
 *   UDP ─recvmmsg─▶ slots ─open, check─▶ frame ─join─▶ superframe ─write─▶ capture
 *                     ├─ RELAYED for another host ──sendmmsg──▶ UDP
 *                     └─ handshakes, CONTROL ──few enough──▶ control thread
 *
 * A slot takes what UDP_GRO has put together: up to 64 KiB of datagrams of one size (the last may be shorter) from one sender. Joined frames and datagrams to be passed on stay
 * in their slots until the end of the batch. Nothing is kept for strangers but the level of a token bucket that many of them share. */
#include "router/dataplane/internal.h"

#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <string.h>
#include <sys/random.h>

#include <linux/errqueue.h>

#include "base/mem.h"

#ifndef UDP_GRO
#define UDP_GRO 104
#endif

enum {
	SLOTS = 16,
	SLOT = 65536 + 64, /* not a power of two: the same place in each slot is to be another set of the cache */
	LONG = 16 << 10,   /* bytes of a message that is likely followed by another */
	ONWARDS = 64,      /* messages passed on per batch and system call */
	ONWARD_BYTES = 65000,
	ONWARD_DATAGRAMS = 64,
	CONTROL_ROOM = 64, /* control messages of one message: the size of its datagrams */
	CONTROL_BURST = 512,
	CONTROL_PER_S = 2000, /* of each class, for all sources together, */
	SOURCE_BURST = 64,
	SOURCE_PER_S = 200 /* and for one */
};
/* What goes to the control thread, by what it takes to make one: a flood of the one leaves the other alone. */
enum class { HANDSHAKE, CONTROL, ERRORS, CLASSES };

struct source_bucket {
	uint32_t last_ms;
	uint32_t level; /* thousandths of a token */
};

struct onward { /* datagrams of one size to be passed on, one behind the other */
	struct sockaddr_storage to;
	struct iovec bytes;
	uint32_t size, datagrams;
	bool closed;
	_Alignas(struct cmsghdr) uint8_t control[SEGMENT_CONTROL];
};

/* The sender of the present message. */
struct source {
	struct hostport from;
	const struct table_peer *clear; /* of the last CLEAR datagram: looked up once a message */
	uint32_t clear_index;
	const struct table_session *session; /* of the last SEALED one */
	bool known, asked;                   /* whether its address is some peer's, once that was asked */
};

struct receiver {
	struct worker w;
	int sock;
	const struct generation *g;  /* during a batch */
	const struct table_net *net; /* the last one looked up in it */
	struct device *device;
	uint16_t device_net;
	struct source source;
	uint64_t now_ms; /* 0: not asked yet in this batch */
	/* What was received from whom, not yet added to the counters. */
	struct peer_life *life;
	uint64_t frames, bytes;
	struct bucket bucket[CLASSES];
	uint64_t hash_key[2];
	struct source_bucket sources[CLASSES][ADDRESS_BUCKETS];
	struct frag *frag;
	size_t onwards;
	struct onward onward[ONWARDS];
	struct mmsghdr onward_header[ONWARDS];
	struct join join;
	struct mmsghdr header[SLOTS];
	struct iovec part[SLOTS];
	struct sockaddr_storage from[SLOTS];
	_Alignas(struct cmsghdr) uint8_t control[SLOTS][CONTROL_ROOM];
	uint8_t *slots;
};

static void drop(struct receiver *r, enum fwd_drop why)
{
	worker_drop(&r->w, why, 1);
}

static uint64_t now(struct receiver *r)
{
	if (!r->now_ms)
		r->now_ms = userspace_now_ms();
	return r->now_ms;
}

static const struct table_net *net_of(struct receiver *r, uint16_t net)
{
	if (!r->net || r->net->net != net)
		r->net = table_net(r->g->table, net);
	return r->net;
}

static struct device *device_of(struct receiver *r, uint16_t net)
{
	if (!r->device || r->device_net != net) {
		r->device = generation_device(r->g, net);
		r->device_net = net;
	}
	return r->device;
}

/* ---- counters */

static void settle(struct receiver *r)
{
	if (r->life && r->frames) {
		shared_add(&r->life->frames_received, r->frames);
		shared_add(&r->life->bytes_received, r->bytes);
		tally_add(&r->w.tally.frames_received, r->frames);
		tally_add(&r->w.tally.bytes_received, r->bytes);
	}
	r->life = NULL;
	r->frames = r->bytes = 0;
}

static void received(struct receiver *r, const struct table_peer *p, size_t n)
{
	if (r->life != p->life) {
		settle(r);
		r->life = p->life;
	}
	r->frames++;
	r->bytes += n;
}

/* ---- to the control thread */

/* Addresses fall into buckets by a hash nobody else can foretell. */
static size_t source_hash(const struct receiver *r, const struct ip *ip)
{
	uint64_t a, b = 0;
	memcpy(&a, ip->b, 8);
	if (ip->family == 4) /* of IPv6 the /64: who has one has all addresses in it */
		memcpy(&b, ip->b + 8, 8);
	uint64_t h = (a ^ r->hash_key[0]) * UINT64_C(0x9e3779b97f4a7c15);
	h ^= h >> 29;
	h = (h ^ b ^ r->hash_key[1]) * UINT64_C(0xbf58476d1ce4e5b9);
	return (size_t)((h >> 32) % ADDRESS_BUCKETS);
}

static bool source_take(struct receiver *r, enum class class, const struct ip *ip)
{
	struct source_bucket *b = &r->sources[class][source_hash(r, ip)];
	const uint32_t at = (uint32_t)now(r), passed = at - b->last_ms;
	const uint64_t level = b->level + (uint64_t)passed * SOURCE_PER_S;
	b->last_ms = at;
	b->level = level > SOURCE_BURST * 1000u ? SOURCE_BURST * 1000u : (uint32_t)level;
	if (b->level < 1000)
		return false;
	b->level -= 1000;
	return true;
}

/* The source's own share first, so that a flood from one address does not use up what all have. */
static enum fwd_drop hand_over(
	struct receiver *r, enum class class, enum control_kind kind, uint64_t peer, struct hostport from, struct slice bytes)
{
	if (!source_take(r, class, &from.ip) || !bucket_take(&r->bucket[class], now(r)))
		return FWD_FLOODED;
	const struct control_head h = { .kind = kind, .peer = peer, .from = from };
	return control_tell(r->w.u, &h, bytes) ? FWD_PASSED : FWD_FLOODED;
}

/* An authentic datagram came straight from another address than we send to. */
static void roamed(struct receiver *r, const struct table_peer *p)
{
	uint64_t last = atomic_load_explicit(&p->life->roamed_ms, memory_order_relaxed);
	const uint64_t at = now(r);
	if (last && at < last + ROAMED_EVERY_MS)
		return;
	const struct control_head h = { .kind = CONTROL_ROAMED, .peer = p->name, .from = r->source.from };
	if (atomic_compare_exchange_strong(&p->life->roamed_ms, &last, at) && !control_tell(r->w.u, &h, slice_of(NULL, 0)))
		atomic_store(&p->life->roamed_ms, last);
}

/* ---- frames to the captures */

static bool write_frame(struct receiver *r, uint16_t net, const struct vnet *v, const struct iovec *parts, size_t n)
{
	struct device *d = device_of(r, net);
	if (!d)
		return false;
	const unsigned q = r->w.queue % d->c->queues;
	if ((v->gso_type & ~VNET_GSO_ECN) != VNET_GSO_NONE)
		tally_add(&r->w.tally.superframes_out, 1);
	pthread_mutex_lock(&d->write_lock[q]);
	const bool written = d->c->ops->write(d->c, q, v, parts, n);
	pthread_mutex_unlock(&d->write_lock[q]);
	return written;
}

static void emit(void *ctx, const struct joined *j)
{
	struct receiver *r = ctx;
	struct iovec part[JOIN_PARTS];
	assert(j->n_parts <= JOIN_PARTS);
	for (size_t i = 0; i < j->n_parts; i++)
		part[i] = (struct iovec){ (void *)(uintptr_t)j->parts[i].p, j->parts[i].n };
	if (!write_frame(r, j->net, &j->v, part, j->n_parts))
		worker_drop(&r->w, FWD_TAP_FAILED, j->frames);
}

/* ---- what is in a datagram */

/* A frame that lay in a datagram of its own. */
static enum fwd_drop take_frame(
	struct receiver *r, const struct table_peer *p, uint32_t index, const struct wire_head *h, uint8_t *frame, size_t n)
{
	const struct table_net *net = net_of(r, h->net);
	if (!net || !device_of(r, h->net))
		return FWD_NO_NETWORK;
	enum fwd_drop why = fwd_accept(net->fwd, p->name, slice_of(frame, n));
	if (why == FWD_PASSED)
		why = join_add(&r->join, frame, n, h->flags & WIRE_PARTIAL, h->net, index);
	if (why == FWD_PASSED)
		received(r, p, n);
	return why;
}

/* A piece of one. A frame that is whole now is written at once, behind what waits to be joined: its memory is gone with the next piece. */
static enum fwd_drop take_piece(struct receiver *r, const struct table_peer *p, const struct wire_head *h, struct slice piece)
{
	const struct table_net *net = net_of(r, h->net);
	uint8_t *frame;
	size_t n;
	bool partial;
	struct vnet v;
	if (!net || !device_of(r, h->net))
		return FWD_NO_NETWORK;
	tally_add(&r->w.tally.fragments_received, 1);
	const uint64_t given_up = frag_expired(r->frag);
	enum fwd_drop why = frag_take(r->frag, p->name, h->net, h->flags & WIRE_PARTIAL, piece, now(r), &frame, &n, &partial);
	if (why != FWD_FRAGMENT) /* frames that lack a piece for good, or had to make room */
		worker_drop(&r->w, FWD_FRAGMENT, frag_expired(r->frag) - given_up);
	if (why != FWD_PASSED || !frame)
		return why;
	why = fwd_accept(net->fwd, p->name, slice_of(frame, n));
	if (why != FWD_PASSED)
		return why;
	if (!segment_vnet(slice_of(frame, n), partial, &v))
		return FWD_MALFORMED;
	join_flush(&r->join);
	const struct iovec part = { frame, n };
	if (!write_frame(r, h->net, &v, &part, 1))
		return FWD_TAP_FAILED;
	received(r, p, n);
	return FWD_PASSED;
}

static enum fwd_drop take_payload(
	struct receiver *r, const struct table_peer *p, uint32_t index, const struct wire_head *h, uint8_t *payload, size_t n)
{
	if (h->flags & WIRE_FRAGMENT)
		return take_piece(r, p, h, slice_of(payload, n));
	return take_frame(r, p, index, h, payload, n);
}

static bool comes_from(const struct table_peer *p, const struct ip *from)
{
	if (p->to.ip.family && ip_eq(p->to.ip, *from))
		return true;
	for (size_t i = 0; i < p->n_from; i++)
		if (ip_eq(p->from[i], *from))
			return true;
	return false;
}

static enum fwd_drop take_clear(struct receiver *r, const struct wire_head *h, struct slice datagram, uint8_t *payload, size_t n)
{
	struct source *s = &r->source;
	if (!s->clear || s->clear->name != h->src) {
		const struct table_peer *p = table_peer(r->g->table, h->src, &s->clear_index);
		if (!p || !comes_from(p, &s->from.ip))
			return FWD_STRANGER;
		s->clear = p;
	}
	if (h->dst != r->w.u->cfg.self)
		return FWD_NOT_OURS;
	if (s->clear->clear_refused) /* before anything of the peer's share is used up: who forges its address cannot seal */
		return FWD_CLEAR;
	if (h->flags & WIRE_CONTROL)
		return hand_over(r, CONTROL, CONTROL_DATAGRAM, h->src, s->from, datagram);
	return take_payload(r, s->clear, s->clear_index, h, payload, n);
}

/* outer: the datagram whole, with the header of relays when it has one. */
static enum fwd_drop take_sealed(
	struct receiver *r, const struct wire_head *h, struct slice outer, struct slice datagram, uint64_t src)
{
	struct source *s = &r->source;
	const struct table *t = r->g->table;
	if (!s->session || s->session->index != h->index)
		s->session = table_session(t, h->index);
	if (!s->session)
		return FWD_OLD_SESSION;
	if (s->session->peer == NOT_THERE)
		return FWD_STRANGER;
	const struct table_peer *p = &t->peers[s->session->peer];
	if (src != PEER_NONE && p->name != src)
		return FWD_STRANGER;
	if (h->flags & WIRE_CONTROL) /* opened there, by its own counter */
		return hand_over(r, CONTROL, CONTROL_DATAGRAM, p->name, s->from, outer);
	if (datagram.n < SEAL_OVERHEAD)
		return FWD_BAD_HEADER;
	uint8_t *payload = (uint8_t *)(uintptr_t)datagram.p + WIRE_HEAD;
	const enum fwd_drop why = seal_open(s->session->keys, h, datagram, payload);
	if (why != FWD_PASSED)
		return why;
	if (src == PEER_NONE && !hostport_eq(s->from, p->to))
		roamed(r, p);
	return take_payload(r, p, s->session->peer, h, payload, datagram.n - SEAL_OVERHEAD);
}

/* ---- relays */

static void pass_on_flush(struct receiver *r)
{
	for (size_t i = 0; i < r->onwards; i++) {
		struct onward *o = &r->onward[i];
		struct msghdr *h = &r->onward_header[i].msg_hdr;
		*h = (struct msghdr){ .msg_name = &o->to, .msg_namelen = sockaddr_size(&o->to), .msg_iov = &o->bytes, .msg_iovlen = 1 };
		if (o->datagrams > 1)
			segment_control(h, o->control, (uint16_t)o->size);
	}
	unsigned tries = 0;
	for (size_t at = 0; at < r->onwards;) {
		const int sent = sendmmsg(r->sock, r->onward_header + at, (unsigned)(r->onwards - at), MSG_DONTWAIT);
		struct onward *o = &r->onward[at];
		if (sent > 0) {
			for (int i = 0; i < sent; i++)
				tally_add(&r->w.tally.relayed, o[i].datagrams);
			at += (size_t)sent;
			tries = 0;
		} else if (socket_try_again(errno, &tries)) {
			continue;
		} else if (o->datagrams > 1 && (errno == EIO || errno == EINVAL || errno == EMSGSIZE)) {
			/* Not cut by the kernel: the first alone, then the others again. */
			uint8_t *p = o->bytes.iov_base;
			if (sendto(r->sock, p, o->size, MSG_DONTWAIT, (const struct sockaddr *)&o->to, sockaddr_size(&o->to)) >= 0)
				tally_add(&r->w.tally.relayed, 1);
			else
				drop(r, errno == EMSGSIZE ? FWD_TOO_BIG : FWD_SEND_FAILED);
			o->bytes = (struct iovec){ p + o->size, o->bytes.iov_len - o->size };
			struct msghdr *h = &r->onward_header[at].msg_hdr;
			if (--o->datagrams == 1) {
				h->msg_control = NULL;
				h->msg_controllen = 0;
			}
		} else {
			worker_drop(&r->w, errno == EMSGSIZE ? FWD_TOO_BIG : FWD_SEND_FAILED, o->datagrams);
			at++;
			tries = 0;
		}
	}
	r->onwards = 0;
}

static void pass_on_to(struct receiver *r, const struct sockaddr_storage *to, uint8_t *datagram, size_t n)
{
	struct onward *o = r->onwards ? &r->onward[r->onwards - 1] : NULL;
	if (o && !o->closed && n <= o->size && o->datagrams < ONWARD_DATAGRAMS && o->bytes.iov_len + n <= ONWARD_BYTES &&
		(uint8_t *)o->bytes.iov_base + o->bytes.iov_len == datagram && memcmp(&o->to, to, sizeof *to) == 0) {
		o->bytes.iov_len += n;
		o->datagrams++;
		o->closed = n < o->size;
		return;
	}
	if (r->onwards == ONWARDS)
		pass_on_flush(r);
	o = &r->onward[r->onwards++];
	o->to = *to;
	o->bytes = (struct iovec){ datagram, n };
	o->size = (uint32_t)n;
	o->datagrams = 1;
	o->closed = false;
}

/* For another host. Relays do not look inside; what they can see is that it came from a host of the mesh and is for one. */
static enum fwd_drop pass_on(struct receiver *r, const struct wire_head *h, uint8_t *datagram, size_t n)
{
	const struct table *t = r->g->table;
	const struct table_peer *p = table_peer(t, h->dst, NULL);
	if (!table_peer(t, h->src, NULL))
		return FWD_STRANGER;
	if (h->flags == 0)
		return FWD_HOPS;
	if (!p || p->relay_addr.ss_family == AF_UNSPEC || hostport_eq(p->relay_to, r->source.from))
		return FWD_NO_PEER;
	struct wire_head onward = *h;
	onward.flags = (uint8_t)((h->flags < WIRE_HOPS ? h->flags : WIRE_HOPS) - 1); /* whatever its sender wished */
	wire_write(datagram, &onward);
	pass_on_to(r, &p->relay_addr, datagram, n);
	return FWD_PASSED;
}

static enum fwd_drop take_relayed(struct receiver *r, const struct wire_head *h, uint8_t *datagram, size_t n, struct slice inner)
{
	struct source *s = &r->source;
	if (!s->asked) {
		s->known = table_knows(r->g->table, s->from.ip);
		s->asked = true;
	}
	if (!s->known)
		return FWD_STRANGER;
	struct wire_head in;
	struct slice payload;
	switch (wire_type(inner)) {
	case WIRE_SEALED:
	case WIRE_INIT:
	case WIRE_RESPONSE:
	case WIRE_COOKIE: break;
	default: return FWD_BAD_HEADER;
	}
	if (h->dst != r->w.u->cfg.self)
		return pass_on(r, h, datagram, n);
	if (h->src == r->w.u->cfg.self)
		return FWD_STRANGER;
	if (wire_type(inner) != WIRE_SEALED)
		return hand_over(r, HANDSHAKE, CONTROL_DATAGRAM, h->src, s->from, slice_of(datagram, n));
	const enum fwd_drop why = wire_read(inner, &in, &payload);
	return why == FWD_PASSED ? take_sealed(r, &in, slice_of(datagram, n), inner, h->src) : why;
}

/* ---- datagrams */

static enum fwd_drop take(struct receiver *r, uint8_t *datagram, size_t n)
{
	const struct slice d = slice_of(datagram, n);
	struct wire_head h;
	struct slice payload;
	switch (wire_type(d)) {
	case WIRE_INIT:
	case WIRE_RESPONSE:
	case WIRE_COOKIE: return hand_over(r, HANDSHAKE, CONTROL_DATAGRAM, PEER_NONE, r->source.from, d);
	default: break;
	}
	const enum fwd_drop why = wire_read(d, &h, &payload);
	if (why != FWD_PASSED)
		return why;
	if (!r->g || !r->g->table)
		return FWD_STRANGER;
	switch (h.type) {
	case WIRE_CLEAR: return take_clear(r, &h, d, datagram + WIRE_HEAD, payload.n);
	case WIRE_SEALED: return take_sealed(r, &h, d, d, PEER_NONE);
	case WIRE_RELAYED: return take_relayed(r, &h, datagram, n, payload);
	default: return FWD_BAD_HEADER;
	}
}

/* The size of the datagrams in a message: what UDP_GRO says, else it is one. */
static size_t datagram_size(struct msghdr *h, size_t n)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(h); c; c = CMSG_NXTHDR(h, c)) {
		int size;
		if (c->cmsg_level == SOL_UDP && c->cmsg_type == UDP_GRO && c->cmsg_len == CMSG_LEN(sizeof size)) {
			memcpy(&size, CMSG_DATA(c), sizeof size);
			return size > 0 && (size_t)size < n ? (size_t)size : n;
		}
	}
	return n;
}

/* A message: datagrams of `size` bytes, the last may be shorter. */
static void take_message(struct receiver *r, struct hostport from, uint8_t *at, size_t left, size_t size)
{
	r->source = (struct source){ .from = from };
	do {
		const size_t n = left < size ? left : size;
		const enum fwd_drop why = take(r, at, n);
		if (why != FWD_PASSED)
			drop(r, why);
		at += n;
		left -= n;
	} while (left > 0);
}

/* An ICMP error: who says that nobody listens is told to the control thread, with what it quotes of the datagram, for anybody can send such errors. The
 * rest is what probes find out by themselves. */
static void read_errors(struct receiver *r)
{
	for (;;) {
		struct sockaddr_storage to = { .ss_family = AF_UNSPEC };
		_Alignas(struct cmsghdr) uint8_t control[512];
		uint8_t quote[QUOTE_MAX];
		struct iovec part = { quote, sizeof quote };
		struct msghdr h = { .msg_name = &to,
			.msg_namelen = sizeof to,
			.msg_iov = &part,
			.msg_iovlen = 1,
			.msg_control = control,
			.msg_controllen = sizeof control };
		const ssize_t n = recvmsg(r->sock, &h, MSG_ERRQUEUE | MSG_DONTWAIT);
		if (n < 0)
			return;
		for (struct cmsghdr *c = CMSG_FIRSTHDR(&h); c; c = CMSG_NXTHDR(&h, c)) {
			struct sock_extended_err e;
			const bool error = (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_RECVERR) ||
				(c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_RECVERR);
			if (!error || c->cmsg_len < CMSG_LEN(sizeof e))
				continue;
			memcpy(&e, CMSG_DATA(c), sizeof e);
			if (e.ee_errno == ECONNREFUSED)
				(void)hand_over(r, ERRORS, CONTROL_REFUSED, PEER_NONE, sockaddr_read(&to), slice_of(quote, (size_t)n));
		}
	}
}

/* Into the slots from `first` on. */
static int receive(struct receiver *r, size_t first, int flags)
{
	for (size_t i = first; i < SLOTS; i++) {
		r->part[i] = (struct iovec){ r->slots + i * SLOT, UDP_MAX };
		r->header[i].msg_hdr = (struct msghdr){ .msg_name = &r->from[i],
			.msg_namelen = sizeof r->from[i],
			.msg_iov = &r->part[i],
			.msg_iovlen = 1,
			.msg_control = r->control[i],
			.msg_controllen = sizeof r->control[i] };
	}
	return recvmmsg(r->sock, r->header + first, (unsigned)(SLOTS - first), flags, NULL);
}

static void start_batch(struct receiver *r)
{
	r->g = worker_pin(&r->w);
	r->net = NULL;
	r->device = NULL;
	r->now_ms = 0;
	bool tcp = true, udp = true;
	for (size_t i = 0; i < r->g->n_devices; i++) {
		const struct device *d = r->g->devices[i];
		if (atomic_load(&d->gone))
			continue; /* its capture may be closed */
		tcp = tcp && d->c->tcp;
		udp = udp && d->c->udp;
	}
	r->join.tcp = tcp;
	r->join.udp = udp;
}

static void end_batch(struct receiver *r)
{
	join_flush(&r->join);
	pass_on_flush(r);
	settle(r);
	r->g = NULL;
	worker_unpin(&r->w);
}

void receiver_feed(struct receiver *r, struct hostport from, uint8_t *bytes, size_t n, size_t size)
{
	start_batch(r);
	take_message(r, from, bytes, n, size);
	end_batch(r);
}

/* Gives the bytes of the last of them. */
static size_t take_slots(struct receiver *r, size_t first, size_t n)
{
	size_t bytes = 0;
	for (size_t i = first; i < first + n; i++) {
		bytes = r->header[i].msg_len;
		take_message(r, sockaddr_read(&r->from[i]), r->part[i].iov_base, bytes, datagram_size(&r->header[i].msg_hdr, bytes));
	}
	return bytes;
}

/* Waits in recvmmsg alone: one system call less for a datagram that comes by itself. userspace_stop shuts the socket down, which ends the wait.
 * A superframe of the sender comes as two messages, which his UDP could not take as one; while the first is worked on the second arrives, so after a
 * long one the socket is asked again before what waits to be joined is written. */
void *receiver_loop(void *arg)
{
	struct receiver *r = arg;
	struct userspace *u = r->w.u;
	worker_prefer();
	for (;;) {
		int n = receive(r, 0, MSG_WAITFORONE);
		if (atomic_load(&u->stopping))
			return NULL;
		start_batch(r);
		if (n < 0)
			read_errors(r);
		for (size_t used = 0; n > 0; n = receive(r, used, MSG_DONTWAIT)) {
			const size_t bytes = take_slots(r, used, (size_t)n);
			used += (size_t)n;
			if (bytes < LONG || used == SLOTS)
				break;
		}
		end_batch(r);
	}
}

/* ---- control thread */

struct worker *receiver_worker(struct receiver *r)
{
	return &r->w;
}

enum err receiver_new(struct userspace *u, unsigned queue, struct receiver **out, struct err_note *note)
{
	struct receiver *r = mem_zalloc(1, sizeof *r);
	if (!r)
		return err_note(note, ERR_NOMEM, "out of memory");
	r->w.u = u;
	r->w.queue = queue;
	r->sock = u->sock[queue];
	r->slots = mem_alloc((size_t)SLOTS * SLOT);
	if (!r->slots || frag_new(&r->frag) != ERR_OK) {
		receiver_free(r);
		return err_note(note, ERR_NOMEM, "out of memory");
	}
	if (getrandom(r->hash_key, sizeof r->hash_key, 0) != (ssize_t)sizeof r->hash_key) {
		receiver_free(r);
		return err_note(note, ERR_SYSTEM, "cannot get random numbers: %s", strerror(errno));
	}
	const uint64_t at = userspace_now_ms();
	for (int class = 0; class < CLASSES; class ++) {
		bucket_init(&r->bucket[class], CONTROL_BURST, CONTROL_PER_S, at);
		for (int i = 0; i < ADDRESS_BUCKETS; i++)
			r->sources[class][i] = (struct source_bucket){ .last_ms = (uint32_t)at, .level = SOURCE_BURST * 1000u };
	}
	join_init(&r->join, false, false, emit, r);
	*out = r;
	return ERR_OK;
}

void receiver_free(struct receiver *r)
{
	if (!r)
		return;
	frag_free(r->frag);
	mem_free(r->slots);
	mem_free(r);
}
