/* An upstream is the socket of one try, under the handle that dns/forward gave it: in u->open until its close is asked for, freed by the close callback. `in` takes what a
 * receive callback is about to hand over. */
#include "router/dns_upstreams.h"

#include <netinet/in.h>
#include <string.h>

#include "base/map.h"
#include "base/mem.h"
#include "dns/wire.h"
#include "router/dns_listen.h"

enum { LENGTH_SIZE = 2, INPUT_MAX = LENGTH_SIZE + DNS_MESSAGE_MAX };

struct upstream {
	struct dns_upstreams *of;
	uint64_t sock;
	struct hostport to;
	bool is_tcp, closing;
	union {
		uv_handle_t handle;
		uv_udp_t udp;
		uv_tcp_t tcp;
	} h;
	uv_connect_t connect;
	uv_write_t write;
	uint8_t *reply; /* TCP: what came of length and message */
	size_t reply_len, reply_cap;
	size_t query_len;
	uint8_t query[]; /* TCP: with its length */
};

struct dns_upstreams {
	struct dns_upstreams_cfg cfg;
	struct map *open; /* sock -> struct upstream */
	size_t handles;   /* what libuv still holds */
	bool stopping;
	void (*done)(void *ctx);
	void *done_ctx;
	char in[DNS_MESSAGE_MAX + 1];
};

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
	const struct upstream *up = handle->data;
	(void)suggested;
	*buf = uv_buf_init(up->of->in, sizeof(up->of->in));
}

/* --- The end --- */

static void maybe_free(struct dns_upstreams *u)
{
	if (!u->stopping || u->handles > 0)
		return;
	void (*done)(void *ctx) = u->done;
	void *ctx = u->done_ctx;
	map_free(u->open);
	mem_free(u);
	done(ctx);
}

static void on_closed(uv_handle_t *handle)
{
	struct upstream *up = handle->data;
	struct dns_upstreams *u = up->of;
	mem_free(up->reply);
	mem_free(up);
	u->handles--;
	maybe_free(u);
}

static void close_one(struct upstream *up)
{
	if (up->closing)
		return;
	up->closing = true;
	map_del64(up->of->open, up->sock);
	uv_close(&up->h.handle, on_closed);
}

void dns_upstreams_close(struct dns_upstreams *u, uint64_t sock)
{
	struct upstream *up = map_get64(u->open, sock);
	if (up)
		close_one(up);
}

void dns_upstreams_stop(struct dns_upstreams *u, void (*done)(void *ctx), void *ctx)
{
	struct slice key;
	void *value;

	if (!u) {
		done(ctx);
		return;
	}
	u->stopping = true;
	u->done = done;
	u->done_ctx = ctx;
	for (size_t it = 0; map_next(u->open, &it, &key, &value);)
		close_one(value);
	maybe_free(u);
}

/* --- What comes --- */

static void fail(struct upstream *up)
{
	if (!up->closing)
		up->of->cfg.failed(up->of->cfg.ctx, up->sock);
}

static void reply(struct upstream *up, struct hostport from, struct slice bytes)
{
	up->of->cfg.replied(up->of->cfg.ctx, up->sock, from, bytes);
}

static void on_udp(uv_udp_t *handle, ssize_t n, const uv_buf_t *buf, const struct sockaddr *from, unsigned flags)
{
	struct upstream *up = handle->data;
	if (n < 0)
		fail(up); /* ICMP: nobody listens there, or no way to it */
	else if (from && !(flags & UV_UDP_PARTIAL))
		reply(up, dns_from_sockaddr(from), slice_of(buf->base, (size_t)n));
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
	struct upstream *up = stream->data;
	struct rbuf r;
	void *p = up->reply;

	if (n == 0)
		return;
	size_t size = n > 0 ? (size_t)n : 0;
	if (n < 0 || up->reply_len + size > 2 * INPUT_MAX || !mem_grow(&p, &up->reply_cap, up->reply_len + size, 1)) {
		fail(up);
		return;
	}
	up->reply = p;
	memcpy(up->reply + up->reply_len, buf->base, size);
	up->reply_len += size;
	rbuf_init(&r, up->reply, up->reply_len);
	struct slice message = rbuf_bytes(&r, rbuf_u16(&r));
	if (!rbuf_ok(&r))
		return;
	reply(up, up->to, message);
	/* One query, one reply: with another that does not match nothing better will come. */
	fail(up);
}

static void on_written(uv_write_t *req, int status)
{
	if (status < 0)
		fail(req->handle->data);
}

static void on_connected(uv_connect_t *req, int status)
{
	struct upstream *up = req->handle->data;
	uv_buf_t buf = uv_buf_init((char *)up->query, (unsigned)up->query_len);
	if (up->closing)
		return;
	if (status < 0 || uv_write(&up->write, (uv_stream_t *)&up->h.tcp, &buf, 1, on_written) < 0 ||
		uv_read_start((uv_stream_t *)&up->h.tcp, on_alloc, on_read) < 0)
		fail(up);
}

/* --- The beginning --- */

static bool start_udp(struct upstream *up, const struct sockaddr *to, struct slice query)
{
	uv_buf_t buf = uv_buf_init((char *)(uintptr_t)query.p, (unsigned)query.n);
	/* A connected socket: the kernel picks a random port, drops what others send and passes ICMP errors on. */
	return uv_udp_connect(&up->h.udp, to) == 0 && uv_udp_recv_start(&up->h.udp, on_alloc, on_udp) == 0 &&
		uv_udp_try_send(&up->h.udp, &buf, 1, NULL) >= 0;
}

static bool start_tcp(struct upstream *up, const struct sockaddr *to, struct slice query)
{
	up->query[0] = (uint8_t)(query.n >> 8);
	up->query[1] = (uint8_t)query.n;
	memcpy(up->query + LENGTH_SIZE, query.p, query.n);
	up->query_len = LENGTH_SIZE + query.n;
	return uv_tcp_connect(&up->connect, &up->h.tcp, to, on_connected) == 0;
}

bool dns_upstreams_open(struct dns_upstreams *u, const struct dns_forward_action *a)
{
	struct sockaddr_storage to;
	const struct sockaddr *generic = (const struct sockaddr *)(const void *)&to;
	struct upstream *up = mem_zalloc(1, sizeof(*up) + LENGTH_SIZE + a->bytes.n);

	if (!up)
		return false;
	up->of = u;
	up->sock = a->sock;
	up->to = a->upstream;
	up->is_tcp = a->is_tcp;
	if (map_put64(u->open, up->sock, up, NULL) != ERR_OK) {
		mem_free(up);
		return false;
	}
	dns_to_sockaddr(a->upstream, &to);
	/* Neither init makes a socket, so neither fails. */
	(void)(up->is_tcp ? uv_tcp_init(u->cfg.loop, &up->h.tcp) : uv_udp_init(u->cfg.loop, &up->h.udp));
	up->h.handle.data = up;
	u->handles++;
	bool ok = up->is_tcp ? start_tcp(up, generic, a->bytes) : start_udp(up, generic, a->bytes);
	if (!ok)
		close_one(up);
	return ok;
}

struct dns_upstreams *dns_upstreams_new(const struct dns_upstreams_cfg *cfg)
{
	struct dns_upstreams *u = mem_zalloc(1, sizeof(*u));

	if (!u)
		return NULL;
	u->cfg = *cfg;
	u->open = map_new(cfg->seed);
	if (u->open)
		return u;
	mem_free(u);
	return NULL;
}
