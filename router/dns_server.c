/* Who owns what
 *   server    for ever, until stopped and its last handle has closed
 *   listener  a UDP and a TCP handle: for all who ask, or for those of one network (see router/dns_listen.c); in server->listeners until its close is
 *             asked for, freed by the close callback
 *   client    a TCP connection; in server->clients until its close is asked for, freed by the close callback
 *   waiting   a forwarded query: whom to answer, and since when; under a number that dns/forward gives back with the reply
 * `handles` counts what libuv still holds. A waiting names its connection, or its listener, by number, so these may go away under it.
 *
 * Buffers: `in` takes what a receive callback is about to hand over (libuv reads one thing at a time and the callback is done with it
 * before the next), `out` one answer being made. Neither outlives a callback; what has to is copied (a connection's half query, an
 * answer that the socket does not take).
 *
 * A connection is pumped: queries are taken from its input as long as it takes answers and has not too many forwarded queries. Pumping
 * starts when input comes, when an answer has gone out and when a forwarded query is answered; it never nests. */
#include "router/dns_server.h"

#include <assert.h>
#include <netinet/in.h>
#include <sodium.h>
#include <string.h>

#include "base/map.h"
#include "base/mem.h"
#include "router/dns_listen.h"
#include "router/dns_resolv.h"
#include "router/dns_upstreams.h"

enum { LENGTH_SIZE = 2, INPUT_MAX = LENGTH_SIZE + DNS_MESSAGE_MAX };

/* Every handle's data points to a listener, a client or a part alone: all begin with their server. */
struct part {
	struct dns_server *s;
};

struct listener {
	struct dns_server *s;
	uint64_t number;
	struct hostport at;
	int ifindex;   /* of a network's bridge; 0: for all */
	char *network; /* whose; NULL: for all */
	bool wanted;   /* in dns_server_set_networks */
	int handles;
	uv_udp_t udp;
	uv_tcp_t tcp;
};

struct client {
	struct dns_server *s;
	uint64_t number, listener;
	struct sockaddr_storage peer;
	uv_tcp_t tcp;
	uv_timer_t idle;
	int handles;
	uint8_t *input; /* what came and was not taken yet */
	size_t input_len, input_cap;
	size_t waiting; /* forwarded queries */
	bool pumping, closing, at_end, reading;
};

struct waiting {
	uint64_t listener; /* UDP: its number; 0: TCP */
	struct sockaddr_storage peer;
	uint64_t client; /* TCP: its number */
	uint64_t since_ns;
};

struct later { /* a query by UDP of somebody who is not known yet */
	struct later *next;
	uint64_t listener; /* its number */
	struct sockaddr_storage peer;
	uint64_t since_ns;
	unsigned tries;
	size_t n;
	uint8_t query[];
};

struct dns_server {
	struct part self;
	uv_loop_t *loop;
	struct dns_answer_cfg answer;
	const struct dns_table *table;
	void (*settle)(void *ctx);
	enum dns_asker (*asker)(void *ctx, struct ip from, const char *network, struct dns_view *view);
	void *ctx;
	struct later *later; /* the latest first */
	size_t n_later;
	struct rng rng;
	struct dns_stats stats;
	struct dns_server_stats own;
	struct dns_forward *forward;
	struct map *listeners, *clients, *waiting;
	struct dns_upstreams *upstreams;
	uint64_t last_listener, last_client, last_waiting;
	struct hostport listen[DNS_LISTEN_MAX];
	size_t n_listen;
	struct ip resolver;
	uv_timer_t forward_timer, resolv_timer;
	struct dns_resolv resolv;
	bool stopping;
	size_t handles;
	void (*done)(void *ctx);
	void *done_ctx;
	char in[DNS_MESSAGE_MAX + 1];
	uint8_t out[DNS_MESSAGE_MAX];
};

static void pump(struct client *c);
static void carry_out(struct dns_server *s, struct dns_forward_actions *a);

/* --- Addresses and figures --- */

static const struct sockaddr *generic(const struct sockaddr_storage *a)
{
	return (const struct sockaddr *)(const void *)a;
}

#define X(us) us,
static const uint32_t edges_us[DNS_LATENCY_EDGES] = { DNS_LATENCY_EDGES_US(X) };
#undef X

uint32_t dns_latency_edge_us(size_t i)
{
	assert(i < DNS_LATENCY_EDGES);
	return edges_us[i];
}

static void observe(struct dns_server *s, enum dns_stat_source source, uint64_t since_ns)
{
	uint64_t us = (uv_hrtime() - since_ns) / 1000;
	size_t i = 0;
	while (i < DNS_LATENCY_EDGES && us > edges_us[i])
		i++;
	s->own.latency[source][i]++;
	s->own.latency_sum_us[source] += us;
}

static_assert(offsetof(struct listener, s) == 0 && offsetof(struct client, s) == 0, "what a handle points to begins as a part");

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
	struct part *part = handle->data;
	(void)suggested;
	*buf = uv_buf_init(part->s->in, sizeof(part->s->in));
}

/* --- The end --- */

static void free_map(struct map *m)
{
	struct slice key;
	void *value;
	for (size_t it = 0; m && map_next(m, &it, &key, &value);)
		mem_free(value);
	map_free(m);
}

static void maybe_free(struct dns_server *s)
{
	if (!s->stopping || s->handles > 0)
		return;
	void (*done)(void *ctx) = s->done;
	void *ctx = s->done_ctx;
	dns_forward_free(s->forward);
	map_free(s->listeners); /* empty, as the two that follow: their handles are closed */
	map_free(s->clients);
	free_map(s->waiting);
	for (struct later *x = s->later, *next; x; x = next) {
		next = x->next;
		mem_free(x);
	}
	dns_resolv_free(&s->resolv);
	mem_free(s);
	if (done)
		done(ctx);
}

static void on_closed(uv_handle_t *handle)
{
	struct dns_server *s = ((struct part *)handle->data)->s;
	s->handles--;
	maybe_free(s);
}

static void on_listener_closed(uv_handle_t *handle)
{
	struct listener *l = handle->data;
	struct dns_server *s = l->s;
	if (--l->handles == 0) {
		mem_free(l->network);
		mem_free(l);
	}
	s->handles--;
	maybe_free(s);
}

static void on_client_closed(uv_handle_t *handle)
{
	struct client *c = handle->data;
	struct dns_server *s = c->s;
	if (--c->handles == 0) {
		mem_free(c->input);
		mem_free(c);
	}
	s->handles--;
	maybe_free(s);
}

static void close_listener(struct listener *l)
{
	map_del64(l->s->listeners, l->number);
	l->s->own.unread += dns_listen_unread(&l->udp);
	uv_close((uv_handle_t *)&l->udp, on_listener_closed);
	uv_close((uv_handle_t *)&l->tcp, on_listener_closed);
}

static void close_client(struct client *c)
{
	if (c->closing)
		return;
	c->closing = true;
	map_del64(c->s->clients, c->number);
	uv_close((uv_handle_t *)&c->tcp, on_client_closed);
	uv_close((uv_handle_t *)&c->idle, on_client_closed);
}

static void on_upstreams_stopped(void *ctx)
{
	struct dns_server *s = ctx;
	s->handles--;
	maybe_free(s);
}

void dns_server_stop(struct dns_server *s, void (*done)(void *ctx), void *ctx)
{
	struct slice key;
	void *value;

	assert(!s->stopping);
	s->stopping = true;
	s->done = done;
	s->done_ctx = ctx;
	s->handles++; /* so that nothing below is the last */
	for (size_t it = 0; map_next(s->clients, &it, &key, &value);)
		close_client(value);
	s->handles++;
	dns_upstreams_stop(s->upstreams, on_upstreams_stopped, s);
	for (size_t it = 0; map_next(s->listeners, &it, &key, &value);)
		close_listener(value);
	uv_close((uv_handle_t *)&s->forward_timer, on_closed);
	uv_close((uv_handle_t *)&s->resolv_timer, on_closed);
	s->handles--;
}

/* --- Answers out --- */

static void send_udp(struct listener *l, const struct sockaddr *peer, struct slice bytes)
{
	uv_buf_t buf = uv_buf_init((char *)(uintptr_t)bytes.p, (unsigned)bytes.n);
	/* A full socket buffer loses the answer, as the network might: the client asks again. */
	if (uv_udp_try_send(&l->udp, &buf, 1, peer) < 0)
		l->s->stats.drops[DNS_DROP_OVERLOAD]++;
}

struct tcp_write {
	uv_write_t req;
	uint8_t bytes[];
};

static void on_client_written(uv_write_t *req, int status)
{
	struct client *c = req->handle->data;
	mem_free((struct tcp_write *)(void *)req);
	if (c->closing)
		return;
	if (status < 0)
		close_client(c);
	else
		pump(c);
}

static void send_tcp(struct client *c, struct slice bytes)
{
	uint8_t length[LENGTH_SIZE] = { (uint8_t)(bytes.n >> 8), (uint8_t)bytes.n };
	uv_buf_t bufs[2] = { uv_buf_init((char *)length, sizeof(length)),
		uv_buf_init((char *)(uintptr_t)bytes.p, (unsigned)bytes.n) };

	if (c->closing)
		return;
	int sent = uv_try_write((uv_stream_t *)&c->tcp, bufs, 2);
	if (sent == UV_EAGAIN)
		sent = 0;
	size_t all = sizeof(length) + bytes.n, done = sent > 0 ? (size_t)sent : 0;
	if (sent >= 0 && done == all)
		return;
	struct tcp_write *w = sent < 0 ? NULL : mem_alloc(sizeof(*w) + all);
	if (!w) {
		close_client(c);
		return;
	}
	memcpy(w->bytes, length, sizeof(length));
	memcpy(w->bytes + sizeof(length), bytes.p, bytes.n);
	uv_buf_t rest = uv_buf_init((char *)w->bytes + done, (unsigned)(all - done));
	if (uv_write(&w->req, (uv_stream_t *)&c->tcp, &rest, 1, on_client_written) < 0) {
		mem_free(w);
		close_client(c);
	}
}

/* --- Queries in --- */

/* Hands a query on to the upstreams. */
static void forward(struct dns_server *s, const struct waiting *who, struct slice query, size_t limit)
{
	struct dns_forward_actions a;
	uint64_t random;
	bool is_tcp = who->listener == 0;
	struct waiting *w = mem_dup(who, sizeof(*who));

	if (w && map_put64(s->waiting, ++s->last_waiting, w, NULL) != ERR_OK) {
		mem_free(w);
		w = NULL;
	}
	if (!w) {
		s->stats.drops[DNS_DROP_OVERLOAD]++;
		return;
	}
	struct client *c = is_tcp ? map_get64(s->clients, who->client) : NULL;
	if (c)
		c->waiting++;
	uint64_t number = s->last_waiting;
	randombytes_buf(&random, sizeof(random));
	dns_forward_query(s->forward, uv_now(s->loop), number, is_tcp, limit, query, random, &a);
	carry_out(s, &a);
}

static enum dns_asker who_asks(struct dns_server *s, const struct sockaddr *peer, const char *network, struct dns_view *view)
{
	*view = (struct dns_view){ 0 };
	return s->asker ? s->asker(s->ctx, dns_from_sockaddr(peer).ip, network, view) : DNS_ASKER_KNOWN;
}

static size_t sockaddr_size(const struct sockaddr *a)
{
	return a->sa_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
}

/* false: nothing more can wait. */
static bool wait_for_asker(struct listener *l, const struct sockaddr *peer, struct slice query, uint64_t since_ns, unsigned tries)
{
	struct dns_server *s = l->s;
	struct later *x = tries < DNS_LATER_TRIES && s->n_later < DNS_LATER_MAX ? mem_zalloc(1, sizeof(*x) + query.n) : NULL;

	if (!x)
		return false;
	*x = (struct later){ .next = s->later, .listener = l->number, .since_ns = since_ns, .tries = tries + 1, .n = query.n };
	memcpy(&x->peer, peer, sockaddr_size(peer));
	if (query.n > 0)
		memcpy(x->query, query.p, query.n);
	s->later = x;
	s->n_later++;
	return true;
}

static void udp_query(struct listener *l, const struct sockaddr *peer, struct slice query, uint64_t since_ns, unsigned tries)
{
	struct dns_server *s = l->s;
	struct dns_view view;
	struct wbuf w;

	if (s->settle)
		s->settle(s->ctx);
	if (who_asks(s, peer, l->network, &view) == DNS_ASKER_LATER && wait_for_asker(l, peer, query, since_ns, tries))
		return;
	wbuf_fixed(&w, s->out, sizeof(s->out));
	struct dns_result r = dns_answer(&s->answer, s->table, view.shows ? &view : NULL, &s->rng, query, false, &w, &s->stats);
	if (r.verdict == DNS_VERDICT_ANSWER) {
		send_udp(l, peer, wbuf_slice(&w));
		observe(s, DNS_STAT_LOCAL, since_ns);
	} else if (r.verdict == DNS_VERDICT_FORWARD) {
		struct waiting who = { .listener = l->number, .since_ns = since_ns };
		memcpy(&who.peer, peer, sockaddr_size(peer));
		forward(s, &who, query, r.limit);
	}
}

static void on_udp(uv_udp_t *handle, ssize_t n, const uv_buf_t *buf, const struct sockaddr *peer, unsigned flags)
{
	/* Errors are of earlier answers (ICMP) and concern nobody any more; an empty call says that there is nothing left. */
	if (n >= 0 && peer && !(flags & UV_UDP_PARTIAL))
		udp_query(handle->data, peer, slice_of(buf->base, (size_t)n), uv_hrtime(), 0);
}

void dns_server_askers_known(struct dns_server *s)
{
	struct later *x = s->later, *next;

	s->later = NULL; /* who is still not known waits in a new list */
	s->n_later = 0;
	for (; x; x = next) {
		struct listener *l = s->stopping ? NULL : map_get64(s->listeners, x->listener);
		next = x->next;
		if (l)
			udp_query(l, generic(&x->peer), slice_of(x->query, x->n), x->since_ns, x->tries);
		mem_free(x);
	}
}

static void client_query(struct client *c, struct slice query)
{
	struct dns_server *s = c->s;
	struct dns_view view;
	struct wbuf w;
	uint64_t since = uv_hrtime();

	if (s->settle)
		s->settle(s->ctx);
	/* Who asks by TCP has asked by UDP before, as a rule, so he is known by now. */
	const struct listener *l = map_get64(s->listeners, c->listener);
	(void)who_asks(s, generic(&c->peer), l ? l->network : NULL, &view);
	wbuf_fixed(&w, s->out, sizeof(s->out));
	struct dns_result r = dns_answer(&s->answer, s->table, view.shows ? &view : NULL, &s->rng, query, true, &w, &s->stats);
	if (r.verdict == DNS_VERDICT_ANSWER) {
		send_tcp(c, wbuf_slice(&w));
		observe(s, DNS_STAT_LOCAL, since);
	} else if (r.verdict == DNS_VERDICT_FORWARD) {
		struct waiting who = { .client = c->number, .since_ns = since };
		forward(s, &who, query, r.limit);
	} else {
		/* A stream of things that are no queries is not worth keeping. */
		close_client(c);
	}
}

/* --- TCP clients --- */

static void on_idle(uv_timer_t *timer);
static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf);

static bool takes_more(const struct client *c)
{
	return !c->closing && c->waiting < DNS_TCP_WAITING_MAX &&
		uv_stream_get_write_queue_size((const uv_stream_t *)&c->tcp) <= DNS_TCP_QUEUE_MAX;
}

/* Takes whole queries from bytes; gives how many octets were used. */
static size_t take_queries(struct client *c, struct slice bytes)
{
	struct rbuf r;
	size_t used = 0;
	rbuf_init(&r, bytes.p, bytes.n);
	while (takes_more(c)) {
		struct slice query = rbuf_bytes(&r, rbuf_u16(&r));
		if (!rbuf_ok(&r))
			break;
		used = r.pos;
		uv_timer_start(&c->idle, on_idle, DNS_TCP_IDLE_MS, 0);
		client_query(c, query);
	}
	return used;
}

/* Reads when there is room for what comes, and not otherwise. */
static void set_reading(struct client *c)
{
	bool want = !c->closing && !c->at_end && takes_more(c);
	if (want == c->reading || c->closing)
		return;
	c->reading = want;
	if (!want)
		uv_read_stop((uv_stream_t *)&c->tcp);
	else if (uv_read_start((uv_stream_t *)&c->tcp, on_alloc, on_read) < 0)
		close_client(c);
}

/* What the client has asked and we have not taken yet, as far as it goes. After the client's end of input the connection closes when
 * everything is answered. */
static void pump(struct client *c)
{
	if (c->pumping || c->closing)
		return;
	c->pumping = true;
	size_t used = take_queries(c, slice_of(c->input, c->input_len));
	c->input_len -= used;
	if (used > 0 && c->input_len > 0)
		memmove(c->input, c->input + used, c->input_len);
	c->pumping = false;
	if (c->at_end && takes_more(c) && c->waiting == 0 && uv_stream_get_write_queue_size((uv_stream_t *)&c->tcp) == 0)
		close_client(c);
	set_reading(c);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
	struct client *c = stream->data;
	size_t used = 0, size = n > 0 ? (size_t)n : 0;

	if (n < 0 && n != UV_EOF) {
		close_client(c);
		return;
	}
	c->at_end = n == UV_EOF;
	/* The usual case: whole queries, nothing left from before. They are taken from where they lie. */
	if (c->input_len == 0 && size > 0) {
		c->pumping = true;
		used = take_queries(c, slice_of(buf->base, size));
		c->pumping = false;
	}
	if (!c->closing && used < size) {
		void *p = c->input;
		if (!mem_grow(&p, &c->input_cap, c->input_len + size - used, 1)) {
			close_client(c);
			return;
		}
		c->input = p;
		memcpy(c->input + c->input_len, buf->base + used, size - used);
		c->input_len += size - used;
	}
	pump(c);
}

static void on_idle(uv_timer_t *timer)
{
	struct client *c = timer->data;
	/* Upstreams have their own time, which is shorter. */
	if (c->waiting > 0)
		uv_timer_start(timer, on_idle, DNS_TCP_IDLE_MS, 0);
	else
		close_client(c);
}

static void on_refused_closed(uv_handle_t *handle)
{
	struct client *c = handle->data;
	struct dns_server *s = c->s;
	mem_free(c);
	s->handles--;
	maybe_free(s);
}

static void on_connection(uv_stream_t *listener, int status)
{
	struct listener *l = listener->data;
	struct dns_server *s = l->s;
	struct client *c = status < 0 ? NULL : mem_zalloc(1, sizeof(*c));

	if (!c)
		return;
	c->s = s;
	c->tcp.data = c->idle.data = c;
	c->number = ++s->last_client;
	c->listener = l->number;
	(void)uv_tcp_init(s->loop, &c->tcp); /* cannot fail: no socket is made */
	s->handles++;
	int size = sizeof(c->peer);
	bool taken =
		uv_accept(listener, (uv_stream_t *)&c->tcp) == 0 && uv_tcp_getpeername(&c->tcp, (struct sockaddr *)&c->peer, &size) == 0;
	bool room = map_count(s->clients) < DNS_TCP_MAX;
	if (!taken || !room || map_put64(s->clients, c->number, c, NULL) != ERR_OK) {
		s->own.tcp_refused++;
		uv_close((uv_handle_t *)&c->tcp, on_refused_closed);
		return;
	}
	s->own.tcp_accepted++;
	(void)uv_timer_init(s->loop, &c->idle);
	s->handles++;
	c->handles = 2;
	(void)uv_tcp_nodelay(&c->tcp, 1);
	uv_timer_start(&c->idle, on_idle, DNS_TCP_IDLE_MS, 0);
	set_reading(c);
}

/* --- Upstreams --- */

static void on_forward_timer(uv_timer_t *timer);

static void upstream_failed(void *ctx, uint64_t sock)
{
	struct dns_server *s = ctx;
	struct dns_forward_actions a;
	dns_forward_failed(s->forward, uv_now(s->loop), sock, &a);
	carry_out(s, &a);
}

static void upstream_replied(void *ctx, uint64_t sock, struct hostport from, struct slice reply)
{
	struct dns_server *s = ctx;
	struct dns_forward_actions a;
	dns_forward_reply(s->forward, uv_now(s->loop), sock, from, reply, &a);
	carry_out(s, &a);
}

static void reply_to(struct dns_server *s, const struct dns_forward_action *a)
{
	struct waiting *w = map_del64(s->waiting, a->client);
	if (!w)
		return;
	if (w->listener) {
		struct listener *l = map_get64(s->listeners, w->listener);
		if (l)
			send_udp(l, generic(&w->peer), a->bytes);
	} else {
		struct client *c = map_get64(s->clients, w->client);
		if (c) {
			assert(c->waiting > 0);
			c->waiting--;
			send_tcp(c, a->bytes);
			pump(c);
		}
	}
	observe(s, DNS_STAT_FORWARD, w->since_ns);
	mem_free(w);
}

/* Does what the forwarding machine says. A reply comes last in a list and may cause new queries (pump), which use the machine again: by
 * then nothing of the list is needed any more. */
static void carry_out(struct dns_server *s, struct dns_forward_actions *a)
{
	uint64_t failed;
	do {
		failed = 0;
		for (size_t i = 0; i < a->n; i++) {
			const struct dns_forward_action *v = &a->v[i];
			if (v->what == DNS_FORWARD_CLOSE)
				dns_upstreams_close(s->upstreams, v->sock);
			else if (v->what == DNS_FORWARD_OPEN && !dns_upstreams_open(s->upstreams, v))
				failed = v->sock;
			else if (v->what == DNS_FORWARD_REPLY)
				reply_to(s, v);
		}
		if (failed)
			dns_forward_failed(s->forward, uv_now(s->loop), failed, a);
	} while (failed);

	uint64_t deadline = dns_forward_deadline_ms(s->forward), now = uv_now(s->loop);
	if (deadline == UINT64_MAX)
		uv_timer_stop(&s->forward_timer);
	else
		uv_timer_start(&s->forward_timer, on_forward_timer, deadline > now ? deadline - now : 0, 0);
}

static void on_forward_timer(uv_timer_t *timer)
{
	struct dns_server *s = ((struct part *)timer->data)->s;
	struct dns_forward_actions a;
	while (dns_forward_deadline_ms(s->forward) <= uv_now(s->loop)) {
		dns_forward_tick(s->forward, uv_now(s->loop), &a);
		carry_out(s, &a);
	}
}

/* --- resolv.conf --- */

static void look_at_resolv_conf(struct dns_server *s)
{
	struct hostport v[DNS_UPSTREAM_MAX];
	size_t n = 0;
	if (dns_resolv_changed(&s->resolv, s->listen, s->n_listen, v, DNS_UPSTREAM_MAX, &n))
		dns_forward_set_upstreams(s->forward, v, n);
}

static void on_resolv_timer(uv_timer_t *timer)
{
	look_at_resolv_conf(((struct part *)timer->data)->s);
}

/* --- The beginning --- */

/* One UDP and one TCP socket; network NULL: for all. */
static enum err add_listener(
	struct dns_server *s, struct hostport at, const struct dns_server_network *network, struct err_note *note)
{
	const char *ifname = network ? network->ifname : NULL;
	struct listener *l = mem_zalloc(1, sizeof(*l));

	if (!l || map_put64(s->listeners, s->last_listener + 1, l, NULL) != ERR_OK) {
		mem_free(l);
		return err_note(note, ERR_NOMEM, "out of memory");
	}
	l->s = s;
	l->number = ++s->last_listener;
	l->at = at;
	l->ifindex = network ? network->ifindex : 0;
	l->wanted = true;
	l->network = network ? mem_strdup(network->name) : NULL;
	if (network && !l->network) {
		map_del64(s->listeners, l->number);
		mem_free(l);
		return err_note(note, ERR_NOMEM, "out of memory");
	}
	l->udp.data = l->tcp.data = l;
	/* Neither init makes a socket, so neither fails. */
	(void)uv_udp_init(s->loop, &l->udp);
	(void)uv_tcp_init(s->loop, &l->tcp);
	l->handles = 2;
	s->handles += 2;
	enum err e = dns_listen_udp(&l->udp, at, ifname, note);
	if (e == ERR_OK && uv_udp_recv_start(&l->udp, on_alloc, on_udp) != 0)
		e = err_note(note, ERR_SYSTEM, "cannot take queries from a UDP socket");
	if (e == ERR_OK)
		e = dns_listen_tcp(&l->tcp, at, ifname, on_connection, note);
	if (e != ERR_OK)
		close_listener(l);
	return e;
}

/* Whether containers ask at it, by the one address they know. */
static bool is_asked_in_networks(const struct dns_server *s, struct ip at)
{
	const struct ip any = { .family = 4 };
	return s->resolver.family == 4 && (ip_eq(at, s->resolver) || ip_eq(at, any));
}

static struct listener *find_listener(const struct dns_server *s, struct hostport at, int ifindex)
{
	struct slice key;
	void *value;
	for (size_t it = 0; map_next(s->listeners, &it, &key, &value);) {
		struct listener *l = value;
		if (l->ifindex == ifindex && hostport_eq(l->at, at))
			return l;
	}
	return NULL;
}

static void close_unwanted(struct dns_server *s)
{
	struct slice key;
	void *value;
	for (size_t it = 0; map_next(s->listeners, &it, &key, &value);) {
		struct listener *l = value;
		if (!l->wanted)
			close_listener(l);
	}
}

enum err dns_server_set_networks(struct dns_server *s, const struct dns_server_network *networks, size_t n, struct err_note *note)
{
	struct slice key;
	void *value;
	enum err first = ERR_OK;

	assert(!s->stopping);
	for (size_t it = 0; map_next(s->listeners, &it, &key, &value);) {
		struct listener *l = value;
		l->wanted = l->ifindex == 0;
	}
	for (size_t i = 0; i < n * s->n_listen; i++) {
		const struct dns_server_network *network = &networks[i / s->n_listen];
		struct hostport at = s->listen[i % s->n_listen];
		if (!is_asked_in_networks(s, at.ip))
			continue;
		struct listener *have = find_listener(s, at, network->ifindex);
		enum err e = ERR_OK;
		if (have)
			have->wanted = true;
		else
			e = add_listener(s, at, network, first == ERR_OK ? note : NULL);
		first = first == ERR_OK ? e : first;
	}
	close_unwanted(s);
	return first;
}

/* Everything that needs no handle. */
static enum err prepare(struct dns_server *s, const struct dns_server_cfg *cfg, struct err_note *note)
{
	enum err e = dns_answer_cfg_init(&s->answer, cfg->domain, cfg->ttl, note);
	if (e != ERR_OK)
		return e;
	assert(cfg->n_listen <= DNS_LISTEN_MAX && cfg->n_ours <= DNS_OURS_MAX && cfg->table);
	s->table = cfg->table;
	s->settle = cfg->settle;
	s->asker = cfg->asker;
	s->ctx = cfg->ctx;
	s->answer.n_ours = cfg->n_ours;
	memcpy(s->answer.ours, cfg->ours, sizeof(s->answer.ours));
	s->resolver = cfg->resolver;
	s->n_listen = cfg->n_listen;
	memcpy(s->listen, cfg->listen, sizeof(s->listen));
	for (size_t i = 0; i < cfg->n_listen; i++) {
		const struct ip *ip = &cfg->listen[i].ip, any = { .family = ip->family };
		if (!ip_eq(*ip, any))
			s->answer.self[s->answer.n_self++] = *ip;
	}
	static_assert((int)DNS_LISTEN_MAX <= (int)DNS_SELF_MAX, "every listen address can be our own");
	rng_seed(&s->rng, cfg->seed);
	s->listeners = map_new(cfg->seed);
	s->clients = map_new(cfg->seed);
	s->upstreams = dns_upstreams_new(&(struct dns_upstreams_cfg){
		.loop = s->loop, .seed = cfg->seed, .failed = upstream_failed, .replied = upstream_replied, .ctx = s });
	s->waiting = map_new(cfg->seed);
	if (!s->listeners || !s->clients || !s->upstreams || !s->waiting || dns_forward_new(&s->forward, &s->stats) != ERR_OK ||
		dns_resolv_init(&s->resolv, cfg->resolv_conf) != ERR_OK)
		return err_note(note, ERR_NOMEM, "out of memory while starting the DNS server");
	return ERR_OK;
}

enum err dns_server_start(struct dns_server **out, uv_loop_t *loop, const struct dns_server_cfg *cfg, struct err_note *note)
{
	struct dns_server *s = mem_zalloc(1, sizeof(*s));
	if (!s)
		return err_note(note, ERR_NOMEM, "out of memory while starting the DNS server");
	s->loop = loop;
	s->self.s = s;
	enum err e = prepare(s, cfg, note);
	if (e != ERR_OK) {
		s->stopping = true;
		s->handles = 1;
		dns_upstreams_stop(s->upstreams, on_upstreams_stopped, s);
		return e;
	}
	(void)uv_timer_init(loop, &s->forward_timer);
	(void)uv_timer_init(loop, &s->resolv_timer);
	s->forward_timer.data = s->resolv_timer.data = &s->self;
	s->handles = 2;
	for (size_t i = 0; i < cfg->n_listen && e == ERR_OK; i++)
		e = add_listener(s, cfg->listen[i], NULL, note);
	if (e != ERR_OK) {
		dns_server_stop(s, NULL, NULL);
		return e;
	}
	look_at_resolv_conf(s);
	if (s->resolv.path)
		uv_timer_start(&s->resolv_timer, on_resolv_timer, DNS_RESOLV_MS, DNS_RESOLV_MS);
	*out = s;
	return ERR_OK;
}

void dns_server_stats(const struct dns_server *s, struct dns_server_stats *out)
{
	struct slice key;
	void *value;

	*out = s->own;
	for (size_t it = 0; map_next(s->listeners, &it, &key, &value);)
		out->unread += dns_listen_unread(&((const struct listener *)value)->udp);
	out->queries = &s->stats;
	out->tcp_open = map_count(s->clients);
	out->forwarding = dns_forward_pending(s->forward);
}

size_t dns_server_upstreams(const struct dns_server *s, struct hostport out[DNS_UPSTREAM_MAX])
{
	return dns_forward_upstreams(s->forward, out);
}

void dns_server_set_range(struct dns_server *s, struct prefix range)
{
	s->answer.ours[0] = range;
	if (s->answer.n_ours == 0)
		s->answer.n_ours = 1;
}
