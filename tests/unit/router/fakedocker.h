/* A server on a Unix socket that passes for Docker, in the test's own loop: each path has an answer, or none. */
#ifndef WEFT_TEST_FAKEDOCKER_H
#define WEFT_TEST_FAKEDOCKER_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>

#include <cmocka.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

enum { FAKE_RULES = 32, FAKE_CONNS = 512, FAKE_REQUEST = 4096 };

enum fake_kind {
	FAKE_ANSWER, /* status, body, and the connection stays */
	FAKE_RAW,    /* these very bytes, then the end of the connection */
	FAKE_HANG,   /* nothing */
	FAKE_DRIP,   /* a head that promises much, then a byte now and then */
	FAKE_STREAM, /* a head, then what fake_tell says */
};
struct fake_rule {
	const char *path; /* what the request's path begins with */
	enum fake_kind kind;
	unsigned status;
	const char *body;
	size_t n; /* FAKE_RAW: of body; 0: strlen */
};
struct fake;
struct fake_conn {
	uv_pipe_t pipe;
	uv_timer_t drip;
	struct fake *f;
	char in[FAKE_REQUEST];
	size_t n_in;
	bool streams, open;
	int handles;
};
struct fake {
	uv_loop_t *loop;
	uv_pipe_t listener;
	char path[128];
	struct fake_rule rules[FAKE_RULES];
	size_t n_rules, requests, accepted;
	struct fake_conn *conns[FAKE_CONNS];
	size_t n_conns;
	int open;
	char last[256]; /* path of the last request */
};

static void fake_written(uv_write_t *w, int status)
{
	(void)status;
	free(w->data);
	free(w);
}

static void fake_write(struct fake_conn *c, const char *p, size_t n)
{
	uv_write_t *w = calloc(1, sizeof(*w));
	char *copy = malloc(n + 1);

	assert_non_null(w);
	assert_non_null(copy);
	memcpy(copy, p, n);
	w->data = copy;
	uv_buf_t buf = uv_buf_init(copy, (unsigned)n);
	if (uv_write(w, (uv_stream_t *)&c->pipe, &buf, 1, fake_written) != 0)
		fake_written(w, 0);
}

static void fake_closed(uv_handle_t *h)
{
	struct fake_conn *c = h->data;

	c->f->open--;
	if (--c->handles > 0)
		return;
	for (size_t i = 0; i < c->f->n_conns; i++)
		if (c->f->conns[i] == c)
			c->f->conns[i] = c->f->conns[--c->f->n_conns];
	free(c);
}

static void fake_hang_up(struct fake_conn *c)
{
	if (!c->open)
		return;
	c->open = false;
	uv_close((uv_handle_t *)&c->pipe, fake_closed);
	uv_close((uv_handle_t *)&c->drip, fake_closed);
}

static void fake_drip(uv_timer_t *t)
{
	fake_write(t->data, " ", 1);
}

static void fake_answer(struct fake_conn *c, const struct fake_rule *r)
{
	char head[256];
	size_t n = r->n > 0 ? r->n : strlen(r->body);

	switch (r->kind) {
	case FAKE_HANG: break;
	case FAKE_RAW:
		fake_write(c, r->body, n);
		(void)uv_run(c->f->loop, UV_RUN_NOWAIT);
		fake_hang_up(c);
		break;
	case FAKE_DRIP:
		(void)snprintf(head, sizeof(head), "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n{");
		fake_write(c, head, strlen(head));
		(void)uv_timer_start(&c->drip, fake_drip, 10, 10);
		break;
	case FAKE_STREAM:
		(void)snprintf(head, sizeof(head), "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
		fake_write(c, head, strlen(head));
		c->streams = true;
		break;
	case FAKE_ANSWER:
		(void)snprintf(
			head, sizeof(head), "HTTP/1.1 %u X\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n", r->status, n);
		fake_write(c, head, strlen(head));
		fake_write(c, r->body, n);
		break;
	}
}

static void fake_request(struct fake_conn *c)
{
	static const struct fake_rule none = { "", FAKE_ANSWER, 404, "{\"message\":\"page not found\"}", 0 };
	const struct fake_rule *found = &none;
	char *end = strchr(c->in + 4, ' ');

	assert_memory_equal(c->in, "GET ", 4);
	assert_non_null(end);
	*end = '\0';
	(void)snprintf(c->f->last, sizeof(c->f->last), "%s", c->in + 4);
	c->f->requests++;
	for (size_t i = 0; i < c->f->n_rules; i++) /* later ones come first */
		if (strncmp(c->in + 4, c->f->rules[i].path, strlen(c->f->rules[i].path)) == 0)
			found = &c->f->rules[i];
	c->n_in = 0;
	fake_answer(c, found);
}

static void fake_alloc(uv_handle_t *h, size_t hint, uv_buf_t *buf)
{
	struct fake_conn *c = h->data;

	(void)hint;
	*buf = uv_buf_init(c->in + c->n_in, (unsigned)(sizeof(c->in) - 1 - c->n_in));
}

static void fake_read(uv_stream_t *s, ssize_t n, const uv_buf_t *buf)
{
	struct fake_conn *c = s->data;

	(void)buf;
	if (n < 0) {
		fake_hang_up(c);
		return;
	}
	c->n_in += (size_t)n;
	c->in[c->n_in] = '\0';
	if (strstr(c->in, "\r\n\r\n") != NULL)
		fake_request(c);
}

static void fake_accept(uv_stream_t *s, int status)
{
	struct fake *f = s->data;
	struct fake_conn *c = calloc(1, sizeof(*c));

	assert_int_equal(status, 0);
	assert_non_null(c);
	assert_true(f->n_conns < FAKE_CONNS);
	c->f = f;
	c->open = true;
	c->handles = 2;
	(void)uv_pipe_init(f->loop, &c->pipe, 0);
	(void)uv_timer_init(f->loop, &c->drip);
	c->pipe.data = c->drip.data = c;
	f->open += 2;
	f->accepted++;
	f->conns[f->n_conns++] = c;
	assert_int_equal(uv_accept(s, (uv_stream_t *)&c->pipe), 0);
	(void)uv_read_start((uv_stream_t *)&c->pipe, fake_alloc, fake_read);
}

static inline void fake_start(struct fake *f, uv_loop_t *loop, const char *path)
{
	(void)signal(SIGPIPE, SIG_IGN); /* who asked may have gone */
	f->loop = loop;
	(void)snprintf(f->path, sizeof(f->path), "%s", path);
	(void)unlink(path);
	(void)uv_pipe_init(loop, &f->listener, 0);
	f->listener.data = f;
	assert_int_equal(uv_pipe_bind(&f->listener, path), 0);
	assert_int_equal(uv_listen((uv_stream_t *)&f->listener, 128, fake_accept), 0);
}

static inline void fake_rule(struct fake *f, const char *path, enum fake_kind kind, unsigned status, const char *body)
{
	assert_true(f->n_rules < FAKE_RULES);
	f->rules[f->n_rules++] = (struct fake_rule){ path, kind, status, body, 0 };
}

/* To all streams, in chunks of at most 1000 bytes. */
static inline void fake_tell(struct fake *f, const char *text)
{
	char head[16];

	for (size_t i = 0; i < f->n_conns; i++) {
		if (!f->conns[i]->streams)
			continue;
		for (size_t at = 0, n = strlen(text); at < n; at += 1000) {
			size_t some = n - at < 1000 ? n - at : 1000;
			(void)snprintf(head, sizeof(head), "%zx\r\n", some);
			fake_write(f->conns[i], head, strlen(head));
			fake_write(f->conns[i], text + at, some);
			fake_write(f->conns[i], "\r\n", 2);
		}
	}
}

/* dockerd is killed: nobody listens any more, all connections end. */
static inline void fake_stop(struct fake *f)
{
	if (!uv_is_closing((uv_handle_t *)&f->listener))
		uv_close((uv_handle_t *)&f->listener, NULL);
	for (size_t i = 0; i < f->n_conns; i++)
		fake_hang_up(f->conns[i]);
	while (f->open > 0)
		(void)uv_run(f->loop, UV_RUN_ONCE);
	(void)unlink(f->path);
}

#endif
