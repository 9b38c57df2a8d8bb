/* A connection is RESOLVING, CONNECTING, OPEN or CLOSING. Its struct lives until libuv has called back for its handle and for the
 * resolver's request; after conns_close or a failure nobody outside hears of it again. */
#include "router/conns.h"

#include <assert.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/map.h"
#include "base/mem.h"

enum { READ_BYTES = 65536, BACKLOG = 512, SEGMENT_MAX = 536 };
enum conn_state { CONN_RESOLVING, CONN_CONNECTING, CONN_OPEN, CONN_CLOSING };

struct conn {
	struct conns *owner;
	uint64_t number;
	enum conn_state state;
	bool outbound, resolving;
	bool broken; /* bytes were lost: nothing more may go out */
	uv_tcp_t tcp;
	uv_connect_t connect;
	uv_getaddrinfo_t resolve;
	uv_shutdown_t shutdown;
	struct hostport to; /* of a numeric dial, until its turn */
	uv_timer_t deadline;
	int handles;    /* tcp and deadline, until both are closed */
	bool to_report; /* bytes went out at once: `drained` is due */
	struct conn *next_report;
};

struct conns {
	uv_loop_t *loop;
	struct conns_handlers on;
	void *ctx;
	struct ip host;
	uv_tcp_t listener, refused; /* refused: takes a connection for which there is no memory, to close it */
	bool refusing;
	uv_timer_t report; /* armed with 0: tells `drained` from the loop rather than from inside conns_send */
	struct conn *reports;
	struct map *open;
	uint64_t next;
	struct conns_stats stats;
	size_t alive; /* conns, the listener and the timer whose handles are not closed yet */
	bool ending;
	void (*done)(void *ctx);
	void *done_ctx;
	char buffer[READ_BYTES];
};

struct write {
	uv_write_t req;
	struct conn *conn;
	uint8_t bytes[];
};

static void maybe_done(struct conns *c)
{
	if (!c->ending || c->alive > 0)
		return;
	void (*done)(void *ctx) = c->done;
	void *ctx = c->done_ctx;
	map_free(c->open);
	mem_free(c);
	if (done != NULL)
		done(ctx);
}

static void conn_release(struct conn *k)
{
	if (k->handles > 0 || k->resolving)
		return;
	struct conns *c = k->owner;
	mem_free(k);
	c->alive--;
	maybe_done(c);
}

static void on_closed(uv_handle_t *h)
{
	struct conn *k = h->data;

	k->handles--;
	conn_release(k);
}

static void forget_report(struct conn *k)
{
	struct conn **at = &k->owner->reports;

	while (k->to_report && *at != NULL) {
		if (*at == k) {
			*at = k->next_report;
			k->to_report = false;
			return;
		}
		at = &(*at)->next_report;
	}
}

static void close_handles(struct conn *k)
{
	k->state = CONN_CLOSING;
	forget_report(k);
	(void)map_del64(k->owner->open, k->number);
	if (k->resolving)
		(void)uv_cancel((uv_req_t *)&k->resolve);
	if (!uv_is_closing((uv_handle_t *)&k->tcp))
		uv_close((uv_handle_t *)&k->tcp, on_closed);
	if (!uv_is_closing((uv_handle_t *)&k->deadline))
		uv_close((uv_handle_t *)&k->deadline, on_closed);
}

/* From a callback of the loop only. */
static void fail(struct conn *k, const char *why)
{
	struct conns *c = k->owner;
	uint64_t number = k->number;

	if (k->state == CONN_CLOSING)
		return;
	if (k->outbound && k->state != CONN_OPEN)
		c->stats.dial_failures++;
	close_handles(k);
	if (!c->ending)
		c->on.closed(c->ctx, number, why);
}

static struct hostport from_sockaddr(const struct sockaddr_storage *ss)
{
	struct hostport h = { 0 };

	if (ss->ss_family == AF_INET) {
		struct sockaddr_in in;
		memcpy(&in, ss, sizeof(in));
		h.ip = ip_v4(ntohl(in.sin_addr.s_addr));
		h.port = ntohs(in.sin_port);
	} else if (ss->ss_family == AF_INET6) {
		static const uint8_t mapped[12] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff };
		struct sockaddr_in6 in6;
		memcpy(&in6, ss, sizeof(in6));
		h.port = ntohs(in6.sin6_port);
		if (memcmp(in6.sin6_addr.s6_addr, mapped, sizeof(mapped)) == 0) {
			h.ip.family = 4;
			memcpy(h.ip.b, in6.sin6_addr.s6_addr + 12, 4);
		} else {
			h.ip.family = 6;
			memcpy(h.ip.b, in6.sin6_addr.s6_addr, 16);
		}
	}
	return h;
}

static void to_sockaddr(struct hostport h, struct sockaddr_storage *ss)
{
	memset(ss, 0, sizeof(*ss));
	if (h.ip.family == 4) {
		struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons(h.port) };
		memcpy(&in.sin_addr, h.ip.b, 4);
		memcpy(ss, &in, sizeof(in));
	} else {
		struct sockaddr_in6 in6 = { .sin6_family = AF_INET6, .sin6_port = htons(h.port) };
		memcpy(&in6.sin6_addr, h.ip.b, 16);
		memcpy(ss, &in6, sizeof(in6));
	}
}

static struct hostport name_of(const uv_tcp_t *tcp, int (*get)(const uv_tcp_t *, struct sockaddr *, int *))
{
	struct sockaddr_storage ss;
	int n = sizeof(ss);

	memset(&ss, 0, sizeof(ss));
	if (get(tcp, (struct sockaddr *)&ss, &n) != 0)
		return (struct hostport){ 0 };
	return from_sockaddr(&ss);
}

static void on_alloc(uv_handle_t *h, size_t suggested, uv_buf_t *buf)
{
	struct conn *k = h->data;

	(void)suggested;
	*buf = uv_buf_init(k->owner->buffer, READ_BYTES);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
	struct conn *k = stream->data;

	if (n > 0)
		k->owner->on.data(k->owner->ctx, k->number, slice_of(buf->base, (size_t)n));
	else if (n == UV_EOF)
		fail(k, "closed by the other end");
	else if (n < 0)
		fail(k, uv_strerror((int)n));
}

static void opened(struct conn *k)
{
	struct conns *c = k->owner;
	int user_timeout_ms = 10000, fd;

	k->state = CONN_OPEN;
	(void)uv_timer_stop(&k->deadline);
	(void)uv_tcp_nodelay(&k->tcp, 1);
	if (uv_fileno((uv_handle_t *)&k->tcp, &fd) == 0)
		(void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &user_timeout_ms, sizeof(user_timeout_ms));
	int rc = uv_read_start((uv_stream_t *)&k->tcp, on_alloc, on_read);
	if (rc != 0) {
		fail(k, uv_strerror(rc));
		return;
	}
	c->on.opened(c->ctx, k->number, k->outbound, name_of(&k->tcp, uv_tcp_getpeername), name_of(&k->tcp, uv_tcp_getsockname));
}

static struct conn *conn_new(struct conns *c, uint64_t number, bool outbound)
{
	struct conn *k = mem_zalloc(1, sizeof(*k));

	if (k == NULL)
		return NULL;
	k->owner = c;
	k->number = number;
	k->outbound = outbound;
	if (map_put64(c->open, number, k, NULL) != ERR_OK) {
		mem_free(k);
		return NULL;
	}
	(void)uv_tcp_init(c->loop, &k->tcp);
	(void)uv_timer_init(c->loop, &k->deadline);
	k->tcp.data = k->deadline.data = k;
	k->handles = 2;
	c->alive++;
	return k;
}

static void on_accept(uv_stream_t *listener, int status);

static void on_refused(uv_handle_t *h)
{
	struct conns *c = h->data;

	c->refusing = false;
	c->alive--;
	if (!c->ending)
		on_accept((uv_stream_t *)&c->listener, 0); /* there may be one more that could not be taken meanwhile */
	maybe_done(c);
}

/* A connection that is not accepted stops libuv's listener for good, so even without memory it is taken. */
static void refuse(struct conns *c)
{
	if (c->refusing)
		return; /* on_refused takes it */
	(void)uv_tcp_init(c->loop, &c->refused);
	c->refused.data = c;
	c->refusing = true;
	c->alive++;
	if (uv_accept((uv_stream_t *)&c->listener, (uv_stream_t *)&c->refused) == 0)
		c->stats.refused++;
	uv_close((uv_handle_t *)&c->refused, on_refused);
}

static void on_accept(uv_stream_t *listener, int status)
{
	struct conns *c = listener->data;

	if (status != 0 || c->ending)
		return;
	struct conn *k = conn_new(c, c->next++, false);
	if (k == NULL) {
		refuse(c);
		return;
	}
	if (uv_accept(listener, (uv_stream_t *)&k->tcp) != 0 || map_count(c->open) > CONNS_MAX) {
		c->stats.refused++;
		close_handles(k);
		return;
	}
	c->stats.accepts++;
	opened(k);
}

static void on_connected(uv_connect_t *req, int status)
{
	struct conn *k = req->data;

	if (k->state == CONN_CLOSING)
		return;
	if (status != 0)
		fail(k, uv_strerror(status));
	else
		opened(k);
}

/* Segments that any path carries, without waiting for the kernel to find out that larger ones vanish on the way: then no link would stand. Has to be said
 * before the connection begins, so that the other end is told, too. */
static void small_segments(int fd)
{
	const int bytes = SEGMENT_MAX;

	(void)setsockopt(fd, IPPROTO_TCP, TCP_MAXSEG, &bytes, sizeof(bytes)); /* without it as good as the path is */
}

static int make_socket(struct conn *k, int family)
{
	int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int rc;

	if (fd < 0)
		return uv_translate_sys_error(errno);
	small_segments(fd);
	rc = uv_tcp_open(&k->tcp, fd);
	if (rc != 0)
		(void)close(fd);
	return rc;
}

static void start_connect(struct conn *k, struct hostport to)
{
	struct sockaddr_storage ss;
	int rc;

	k->state = CONN_CONNECTING;
	to_sockaddr(to, &ss);
	rc = make_socket(k, ss.ss_family);
	if (rc == 0 && k->owner->host.family == to.ip.family && to.ip.family != 0) {
		to_sockaddr((struct hostport){ .ip = k->owner->host }, &ss);
		rc = uv_tcp_bind(&k->tcp, (const struct sockaddr *)&ss, 0);
	}
	to_sockaddr(to, &ss);
	k->connect.data = k;
	if (rc == 0)
		rc = uv_tcp_connect(&k->connect, &k->tcp, (const struct sockaddr *)&ss, on_connected);
	if (rc != 0)
		fail(k, uv_strerror(rc));
}

static void on_resolved(uv_getaddrinfo_t *req, int status, struct addrinfo *res)
{
	struct conn *k = req->data;
	char why[160];

	k->resolving = false;
	if (k->state == CONN_CLOSING) {
		uv_freeaddrinfo(res);
		conn_release(k);
		return;
	}
	if (status != 0 || res == NULL) {
		(void)snprintf(why, sizeof(why), "cannot resolve the host's name: %s", uv_strerror(status));
		fail(k, why);
		return;
	}
	struct sockaddr_storage ss;
	memset(&ss, 0, sizeof(ss));
	memcpy(&ss, res->ai_addr, res->ai_addrlen < sizeof(ss) ? res->ai_addrlen : sizeof(ss));
	uv_freeaddrinfo(res);
	start_connect(k, from_sockaddr(&ss));
}

static void on_deadline(uv_timer_t *timer)
{
	struct conn *k = timer->data;

	fail(k, k->state == CONN_OPEN ? "sending failed" : "connecting timed out");
}

/* Numeric addresses go the same way as names: failing or connecting from a timer's callback, never from inside conns_dial. */
static void on_dial(uv_timer_t *timer)
{
	struct conn *k = timer->data;

	(void)uv_timer_start(&k->deadline, on_deadline, CONNS_DIAL_MS, 0);
	start_connect(k, k->to);
}

static void resolve(struct conn *k, const char *host, uint16_t port)
{
	uint8_t from = k->owner->host.family; /* what we dial from decides what can be dialled */
	struct addrinfo hints = { .ai_family = from == 4 ? AF_INET : from == 6 ? AF_INET6 : AF_UNSPEC, .ai_socktype = SOCK_STREAM };
	char service[8];

	(void)snprintf(service, sizeof(service), "%u", port);
	k->resolve.data = k;
	k->resolving = uv_getaddrinfo(k->owner->loop, &k->resolve, on_resolved, host, service, &hints) == 0;
	(void)uv_timer_start(&k->deadline, on_deadline, k->resolving ? CONNS_DIAL_MS : 0, 0);
}

void conns_dial(struct conns *c, uint64_t conn, const char *host, uint16_t port)
{
	struct conn *k = conn_new(c, conn, true);

	if (k == NULL)
		return; /* out of memory: the mesh's own deadline for the dial ends it */
	c->stats.dials++;
	k->state = CONN_RESOLVING;
	k->to.port = port;
	if (ip_parse(host, &k->to.ip) != ERR_OK)
		resolve(k, host, port);
	else
		(void)uv_timer_start(&k->deadline, on_dial, 0, 0);
}

static void on_written(uv_write_t *req, int status)
{
	struct write *w = (struct write *)req;
	struct conn *k = w->conn;

	mem_free(w);
	if (k->state != CONN_OPEN)
		return;
	if (status != 0)
		fail(k, uv_strerror(status));
	else
		k->owner->on.drained(k->owner->ctx, k->number, uv_stream_get_write_queue_size((uv_stream_t *)&k->tcp));
}

static void on_report(uv_timer_t *timer)
{
	struct conns *c = timer->data;

	while (c->reports != NULL) {
		struct conn *k = c->reports;
		c->reports = k->next_report;
		k->to_report = false;
		if (k->state == CONN_OPEN && !c->ending)
			c->on.drained(c->ctx, k->number, uv_stream_get_write_queue_size((uv_stream_t *)&k->tcp));
	}
}

static void report_soon(struct conn *k)
{
	struct conns *c = k->owner;

	if (k->to_report)
		return;
	k->to_report = true;
	k->next_report = c->reports;
	c->reports = k;
	(void)uv_timer_start(&c->report, on_report, 0, 0);
}

/* Breaks the connection from the loop rather than from inside the caller. */
static void fail_soon(struct conn *k)
{
	k->broken = true;
	(void)uv_timer_start(&k->deadline, on_deadline, 0, 0);
}

void conns_send(struct conns *c, uint64_t conn, struct slice bytes)
{
	struct conn *k = map_get64(c->open, conn);
	size_t sent = 0;

	if (k == NULL || k->state != CONN_OPEN || k->broken || bytes.n == 0)
		return;
	size_t queued = uv_stream_get_write_queue_size((uv_stream_t *)&k->tcp);
	if (queued == 0) {
		uv_buf_t buf = uv_buf_init((char *)(uintptr_t)bytes.p, (unsigned)bytes.n);
		int n = uv_try_write((uv_stream_t *)&k->tcp, &buf, 1);
		if (n < 0 && n != UV_EAGAIN) {
			fail_soon(k);
			return;
		}
		sent = n > 0 ? (size_t)n : 0;
	}
	if (sent == bytes.n) {
		report_soon(k);
		return;
	}
	size_t left = bytes.n - sent;
	struct write *w = queued + left <= CONNS_QUEUE_MAX ? mem_alloc(sizeof(*w) + left) : NULL;
	if (w == NULL) {
		fail_soon(k);
		return;
	}
	w->conn = k;
	memcpy(w->bytes, bytes.p + sent, left);
	uv_buf_t buf = uv_buf_init((char *)w->bytes, (unsigned)left);
	if (uv_write(&w->req, (uv_stream_t *)&k->tcp, &buf, 1, on_written) != 0) {
		mem_free(w);
		fail_soon(k);
	}
}

static void on_shutdown(uv_shutdown_t *req, int status)
{
	struct conn *k = req->data;

	(void)status;
	close_handles(k);
}

static void on_flush_deadline(uv_timer_t *timer)
{
	close_handles(timer->data);
}

void conns_close(struct conns *c, uint64_t conn)
{
	struct conn *k = map_get64(c->open, conn);

	if (k == NULL)
		return;
	(void)map_del64(c->open, conn);
	bool flush = k->state == CONN_OPEN && uv_stream_get_write_queue_size((uv_stream_t *)&k->tcp) > 0;
	k->state = CONN_CLOSING;
	k->shutdown.data = k;
	if (flush) {
		(void)uv_read_stop((uv_stream_t *)&k->tcp);
		flush = uv_shutdown(&k->shutdown, (uv_stream_t *)&k->tcp, on_shutdown) == 0;
	}
	if (!flush)
		close_handles(k);
	else
		(void)uv_timer_start(&k->deadline, on_flush_deadline, CONNS_FLUSH_MS, 0);
}

static enum err listen_error(int rc, struct ip host, uint16_t port, struct err_note *note)
{
	char text[HOSTPORT_TEXT];
	const char *where = hostport_format((struct hostport){ .ip = host, .port = port }, text);

	if (rc == UV_EADDRINUSE)
		return err_note(
			note, ERR_BUSY, "TCP port %u (%s) is in use by another program; stop it or choose another --port", port, where);
	if (rc == UV_EADDRNOTAVAIL)
		return err_note(note, ERR_NOT_FOUND, "%s is no address of this host; correct --host", where);
	if (rc == UV_EACCES)
		return err_note(note, ERR_PERMISSION, "no permission to listen on %s; run as root or choose another --port", where);
	return err_note(note, ERR_SYSTEM, "cannot listen on %s: %s", where, uv_strerror(rc));
}

static void on_listener_closed(uv_handle_t *h)
{
	struct conns *c = h->data;

	c->alive--;
	maybe_done(c);
}

enum err conns_new(struct conns **out, uv_loop_t *loop, struct ip host, uint16_t port, const struct conns_handlers *handlers,
	void *ctx, struct err_note *note)
{
	struct conns *c = mem_zalloc(1, sizeof(*c));
	struct sockaddr_storage ss;
	int fd;
	struct ip at = host.family != 0 ? host : (struct ip){ .family = 6 };

	if (c == NULL)
		return err_note(note, ERR_NOMEM, "out of memory");
	c->loop = loop;
	c->on = *handlers;
	c->ctx = ctx;
	c->host = host;
	c->next = 1;
	c->open = map_new(port);
	if (c->open == NULL) {
		mem_free(c);
		return err_note(note, ERR_NOMEM, "out of memory");
	}
	(void)uv_tcp_init(loop, &c->listener);
	(void)uv_timer_init(loop, &c->report);
	c->listener.data = c->report.data = c;
	c->alive = 2;
	to_sockaddr((struct hostport){ .ip = at, .port = port }, &ss);
	int rc = uv_tcp_bind(&c->listener, (const struct sockaddr *)&ss, 0);
	if (rc != 0 && host.family == 0) { /* a kernel without IPv6 */
		at = ip_v4(0);
		to_sockaddr((struct hostport){ .ip = at, .port = port }, &ss);
		rc = uv_tcp_bind(&c->listener, (const struct sockaddr *)&ss, 0);
	}
	if (rc == 0 && uv_fileno((uv_handle_t *)&c->listener, &fd) == 0)
		small_segments(fd);
	if (rc == 0)
		rc = uv_listen((uv_stream_t *)&c->listener, BACKLOG, on_accept);
	if (rc != 0) {
		conns_free(c, NULL, NULL);
		return listen_error(rc, at, port, note);
	}
	*out = c;
	return ERR_OK;
}

void conns_free(struct conns *c, void (*done)(void *ctx), void *ctx)
{
	struct slice key;
	void *value;

	c->ending = true;
	c->done = done;
	c->done_ctx = ctx;
	for (size_t at = 0; map_next(c->open, &at, &key, &value);)
		close_handles(value);
	uv_close((uv_handle_t *)&c->listener, on_listener_closed);
	uv_close((uv_handle_t *)&c->report, on_listener_closed);
}

void conns_stats(const struct conns *c, struct conns_stats *out)
{
	*out = c->stats;
	out->open = map_count(c->open);
}
