/* Answers that go on. libmicrohttpd asks for bytes when the client can take some; when none are there the connection sleeps, and the next
 * write wakes it. While it sleeps, and while a slow client is waited for, api.c watches for the client's going. */
#include "router/api_stream.h"

#include <string.h>
#include <sys/socket.h>

#include "base/mem.h"

enum { BLOCK = 16 << 10, FIRST = 4 << 10, KEEP = 64 << 10 };

struct api_stream {
	struct api_request *q;
	const struct api_stream_ops *ops;
	void *ctx;
	uint8_t *data; /* queued are the bytes from head to len */
	size_t head, len, cap, limit;
	bool refused; /* a write, since there was room */
	bool ended, cut, left;
};

struct api_stream *api_stream_begin(
	struct api_request *q, const char *type, size_t limit, const struct api_stream_ops *ops, void *ctx)
{
	struct api_stream *s = mem_zalloc(1, sizeof(*s));

	if (s == NULL) {
		api_answer_err(q, ERR_NOMEM, NULL);
		return NULL;
	}
	/* A client whose host is gone would be waited for as long as there is nothing to send. */
	const union MHD_ConnectionInfo *info = MHD_get_connection_info(q->conn, MHD_CONNECTION_INFO_CONNECTION_FD);
	const int on = 1;
	if (info != NULL)
		(void)setsockopt(info->connect_fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
	*s = (struct api_stream){ .q = q, .ops = ops, .ctx = ctx, .limit = limit };
	q->stream = s;
	api_answer(q, MHD_HTTP_OK, type);
	return s;
}

/* Memory for n more bytes behind len. */
static bool make_room(struct api_stream *s, size_t n)
{
	size_t used = s->len - s->head, cap = s->cap > 0 ? s->cap : FIRST;

	if (s->cap - s->len >= n)
		return true;
	if (used > 0 && s->head > 0)
		memmove(s->data, s->data + s->head, used);
	s->head = 0;
	s->len = used;
	while (cap < used + n)
		cap *= 2;
	if (cap == s->cap)
		return true;
	uint8_t *data = mem_realloc(s->data, cap);
	if (data == NULL)
		return false;
	s->data = data;
	s->cap = cap;
	return true;
}

bool api_stream_write(struct api_stream *s, const void *bytes, size_t n)
{
	if (s->ended || s->cut)
		return false;
	if (n > s->limit - (s->len - s->head) || !make_room(s, n)) {
		s->refused = true;
		return false;
	}
	memcpy(s->data + s->len, bytes, n);
	s->len += n;
	api_wake(s->q);
	return true;
}

void api_stream_end(struct api_stream *s, const void *bytes, size_t n)
{
	if (s->ended || s->cut)
		return;
	if (n > 0 && make_room(s, n)) {
		memcpy(s->data + s->len, bytes, n);
		s->len += n;
	}
	s->ended = true;
	api_wake(s->q);
}

void api_stream_cut(struct api_stream *s)
{
	s->cut = true;
	s->head = s->len = 0;
	api_wake(s->q);
}

/* libmicrohttpd's question. */
static ssize_t read_queue(void *cls, uint64_t pos, char *buf, size_t max)
{
	struct api_stream *s = cls;
	size_t n = s->len - s->head;

	(void)pos;
	if (s->cut)
		return MHD_CONTENT_READER_END_WITH_ERROR;
	if (n == 0 && s->ended)
		return MHD_CONTENT_READER_END_OF_STREAM;
	if (n == 0) {
		api_sleep(s->q);
		return 0;
	}
	if (n > max)
		n = max;
	memcpy(buf, s->data + s->head, n);
	s->head += n;
	if (s->head == s->len) {
		s->head = s->len = 0;
		if (s->cap > KEEP) {
			mem_free(s->data);
			s->data = NULL;
			s->cap = 0;
		}
	}
	if (s->refused && s->len - s->head <= s->limit / 2) {
		s->refused = false;
		if (s->ops->room != NULL && !s->ended)
			s->ops->room(s->ctx);
	}
	return (ssize_t)n;
}

struct MHD_Response *api_stream_response(struct api_stream *s)
{
	return MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, BLOCK, read_queue, s, NULL);
}

void api_stream_leave(struct api_stream *s, bool now)
{
	s->left = true;
	if (!s->ended && !s->cut)
		s->ops->leaving(s->ctx, now);
	if (now)
		api_stream_end(s, NULL, 0);
}

bool api_stream_left(const struct api_stream *s)
{
	return s->left;
}

void api_stream_over(struct api_stream *s)
{
	if (s == NULL)
		return;
	s->ops->over(s->ctx);
	mem_free(s->data);
	mem_free(s);
}
