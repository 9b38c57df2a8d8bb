/* libcurl in the loop.
 *
 * Theory of operation. libcurl says which sockets it wants watched (on_socket) and when it wants to be called (on_timer_wish); the loop's pollers and one
 * timer call curl_multi_socket_action. From inside that call libcurl calls on_body and on_header, where none of its functions may be called: they
 * only collect. When it has returned (after_action), what was collected is handed on and what is finished is taken out of libcurl before its
 * callback is called; these may ask and cancel as they like. A cancelled question that libcurl is busy with is taken out there as well.
 *
 * Addresses are literal, so that nothing waits for a resolver; environment variables for proxies are not looked at; redirects are not followed. */
#include "router/docker/client.h"

#include <stdio.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/addr.h"
#include "base/map.h"
#include "base/mem.h"
#include "router/docker/curl_lib.h"

enum { STREAM_WAITING_MAX = 4 << 20 };

struct question {
	struct client *c;
	uint64_t number;
	CURL *easy;
	struct wbuf body;
	size_t head_bytes;
	bool over_head, over_body, head_there, head_told, stream, finished, dead;
	char why[CURL_ERROR_SIZE];
	CURLcode code;
	struct client_stream f;
};

struct watched { /* a socket */
	uv_poll_t poll;
	struct client *c;
	curl_socket_t fd;
};

struct client {
	uv_loop_t *loop;
	struct curl_lib curl; /* good once multi is there */
	CURLM *multi;         /* NULL: nobody has been asked yet */
	uv_timer_t timer;
	struct map *questions; /* number -> struct question */
	uint64_t next;
	bool inside, closing;
	bool starved; /* a socket could not be watched: nobody knows any more who waits for what */
	int handles;  /* of the loop, open */
	char base[64], socket_path[sizeof(((struct sockaddr_un *)0)->sun_path)];
	void (*closed)(void *ctx);
	void *closed_ctx;
};

static void after_action(struct client *c);

/* --- the loop's part --------------------------------------------------------------------------------------------------------------- */

static void handle_closed(struct client *c)
{
	if (--c->handles > 0 || !c->closing)
		return;
	void (*closed)(void *ctx) = c->closed;
	void *ctx = c->closed_ctx;
	mem_free(c);
	if (closed != NULL)
		closed(ctx);
}

static void on_timer_closed(uv_handle_t *h)
{
	handle_closed(h->data);
}

static void on_poll_closed(uv_handle_t *h)
{
	struct watched *w = h->data;
	struct client *c = w->c;

	mem_free(w);
	handle_closed(c);
}

static void action(struct client *c, curl_socket_t fd, int flags)
{
	int running;

	if (c->closing)
		return;
	c->inside = true;
	(void)c->curl.multi_socket_action(c->multi, fd, flags, &running);
	c->inside = false;
	after_action(c);
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
	struct watched *w = poll->data;
	int flags = status < 0 ? CURL_CSELECT_ERR : 0;

	flags |= (events & UV_READABLE) != 0 ? CURL_CSELECT_IN : 0;
	flags |= (events & UV_WRITABLE) != 0 ? CURL_CSELECT_OUT : 0;
	action(w->c, w->fd, flags);
}

static void on_timer(uv_timer_t *timer)
{
	action(timer->data, CURL_SOCKET_TIMEOUT, 0);
}

static int on_timer_wish(CURLM *multi, long ms, void *ctx)
{
	struct client *c = ctx;

	(void)multi;
	if (c->closing)
		return 0;
	if (ms < 0)
		(void)uv_timer_stop(&c->timer);
	else
		(void)uv_timer_start(&c->timer, on_timer, (uint64_t)ms, 0);
	return 0;
}

static struct watched *watch(struct client *c, curl_socket_t fd)
{
	struct watched *w = mem_zalloc(1, sizeof(*w));

	if (w == NULL || uv_poll_init_socket(c->loop, &w->poll, fd) != 0) {
		mem_free(w);
		return NULL;
	}
	w->c = c;
	w->fd = fd;
	w->poll.data = w;
	c->handles++;
	(void)c->curl.multi_assign(c->multi, fd, w);
	return w;
}

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *ctx, void *mine)
{
	struct client *c = ctx;
	struct watched *w = mine;
	int events = 0;

	(void)easy;
	if (what == CURL_POLL_REMOVE) {
		if (w != NULL) {
			(void)c->curl.multi_assign(c->multi, fd, NULL);
			(void)uv_poll_stop(&w->poll); /* at once: libcurl closes it after this */
			uv_close((uv_handle_t *)&w->poll, on_poll_closed);
		}
		return 0;
	}
	/* An error given back here would end all transfers, but at the next chance only, which may never come: after_action ends them. */
	if (w == NULL && (w = watch(c, fd)) == NULL) {
		c->starved = true;
		return 0;
	}
	events |= (what & CURL_POLL_IN) != 0 ? UV_READABLE : 0;
	events |= (what & CURL_POLL_OUT) != 0 ? UV_WRITABLE : 0;
	c->starved = c->starved || uv_poll_start(&w->poll, events, on_poll) != 0;
	return 0;
}

/* --- libcurl's part: only collects ----------------------------------------------------------------------------------------------- */

static size_t on_body(char *p, size_t size, size_t n, void *ctx)
{
	struct question *q = ctx;

	if (q->dead)
		return 0;
	wbuf_bytes(&q->body, p, size * n);
	q->over_body = q->body.failed;
	return q->body.failed ? 0 : size * n;
}

static size_t on_header(char *p, size_t size, size_t n, void *ctx)
{
	struct question *q = ctx;
	long status = 0;

	q->head_bytes += size * n;
	q->over_head = q->head_bytes > CLIENT_HEADERS_MAX;
	if (size * n <= 2 && p[0] == '\r' && q->c->curl.easy_getinfo(q->easy, CURLINFO_RESPONSE_CODE, &status) == CURLE_OK &&
		status >= 200)
		q->head_there = true;
	return q->over_head || q->dead ? 0 : size * n;
}

/* --- questions --------------------------------------------------------------------------------------------------------------------- */

static void free_question(struct question *q)
{
	if (q->easy != NULL)
		q->c->curl.easy_cleanup(q->easy);
	wbuf_free(&q->body);
	mem_free(q);
}

static bool set_up(struct question *q, const char *path, unsigned limit_ms)
{
	char url[sizeof(q->c->base) + CLIENT_PATH_MAX];
	CURL *e = q->easy;
	int n = snprintf(url, sizeof(url), "%s%s", q->c->base, path);
	bool ok = n > 0 && (size_t)n < sizeof(url);

	ok = ok && q->c->curl.easy_setopt(e, CURLOPT_URL, url) == CURLE_OK;
	if (q->c->socket_path[0] != '\0')
		ok = ok && q->c->curl.easy_setopt(e, CURLOPT_UNIX_SOCKET_PATH, q->c->socket_path) == CURLE_OK;
	ok = ok && q->c->curl.easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http") == CURLE_OK;
	ok = ok && q->c->curl.easy_setopt(e, CURLOPT_PROXY, "") == CURLE_OK;
	ok = ok && q->c->curl.easy_setopt(e, CURLOPT_NOSIGNAL, 1L) == CURLE_OK;
	ok = ok && q->c->curl.easy_setopt(e, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1) == CURLE_OK;
	ok = ok && q->c->curl.easy_setopt(e, CURLOPT_FOLLOWLOCATION, 0L) == CURLE_OK;
	ok = ok && q->c->curl.easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, (long)CLIENT_CONNECT_MS) == CURLE_OK;
	ok = ok && q->c->curl.easy_setopt(e, CURLOPT_TIMEOUT_MS, (long)limit_ms) == CURLE_OK;
	ok = ok && q->c->curl.easy_setopt(e, CURLOPT_ERRORBUFFER, q->why) == CURLE_OK;
	ok = ok && q->c->curl.easy_setopt(e, CURLOPT_WRITEFUNCTION, on_body) == CURLE_OK;
	ok = ok && q->c->curl.easy_setopt(e, CURLOPT_WRITEDATA, q) == CURLE_OK;
	ok = ok && q->c->curl.easy_setopt(e, CURLOPT_HEADERFUNCTION, on_header) == CURLE_OK;
	ok = ok && q->c->curl.easy_setopt(e, CURLOPT_HEADERDATA, q) == CURLE_OK;
	return ok && q->c->curl.easy_setopt(e, CURLOPT_PRIVATE, q) == CURLE_OK;
}

/* libcurl is not had before somebody is there to be asked. */
static enum err ready(struct client *c, struct err_note *note)
{
	if (c->multi != NULL)
		return ERR_OK;
	if (c->socket_path[0] != '\0' && access(c->socket_path, F_OK) != 0)
		return err_note(note, ERR_UNREACHABLE, "there is no %s", c->socket_path);
	enum err err = curl_lib_load(&c->curl, note);
	if (err != ERR_OK)
		return err;
	CURLM *m = c->curl.global_init(CURL_GLOBAL_NOTHING) == CURLE_OK ? c->curl.multi_init() : NULL;
	if (m != NULL && c->curl.multi_setopt(m, CURLMOPT_SOCKETFUNCTION, on_socket) == CURLM_OK &&
		c->curl.multi_setopt(m, CURLMOPT_SOCKETDATA, c) == CURLM_OK &&
		c->curl.multi_setopt(m, CURLMOPT_TIMERFUNCTION, on_timer_wish) == CURLM_OK &&
		c->curl.multi_setopt(m, CURLMOPT_TIMERDATA, c) == CURLM_OK &&
		c->curl.multi_setopt(m, CURLMOPT_MAXCONNECTS, 4L) == CURLM_OK) {
		c->multi = m;
		return ERR_OK;
	}
	if (m != NULL)
		(void)c->curl.multi_cleanup(m);
	return err_note(note, ERR_NOMEM, "out of memory");
}

static uint64_t refuse(const struct client_stream *f, enum err err, const char *why)
{
	struct client_answer a = { .err = err, .why = why };

	f->done(f->ctx, &a);
	return 0;
}

static uint64_t ask(struct client *c, const char *path, unsigned limit_ms, size_t max, const struct client_stream *f, bool stream)
{
	struct err_note note = { "" };
	enum err err = ready(c, &note);

	if (err != ERR_OK)
		return refuse(f, err, note.text);
	if (map_count(c->questions) >= CLIENT_ASKING_MAX)
		return refuse(f, ERR_STATE, "too many questions wait for Docker's answer");
	struct question *q = mem_zalloc(1, sizeof(*q));
	if (q == NULL)
		return refuse(f, ERR_NOMEM, "out of memory");
	q->c = c;
	q->number = ++c->next;
	q->stream = stream;
	q->f = *f;
	wbuf_grow(&q->body, max);
	q->easy = c->curl.easy_init();
	bool ok = q->easy != NULL && set_up(q, path, limit_ms) && map_put64(c->questions, q->number, q, NULL) == ERR_OK;
	if (ok && c->curl.multi_add_handle(c->multi, q->easy) != CURLM_OK) {
		(void)map_del64(c->questions, q->number);
		ok = false;
	}
	if (!ok) {
		free_question(q);
		return refuse(f, ERR_NOMEM, "out of memory");
	}
	return q->number;
}

uint64_t client_get(struct client *c, const char *path, unsigned limit_ms, size_t max, client_done done, void *ctx)
{
	struct client_stream f = { .done = done, .ctx = ctx };

	return ask(c, path, limit_ms, max, &f, false);
}

uint64_t client_follow(struct client *c, const char *path, const struct client_stream *s)
{
	return ask(c, path, 0, STREAM_WAITING_MAX, s, true);
}

static void take_out(struct question *q)
{
	(void)map_del64(q->c->questions, q->number);
	(void)q->c->curl.multi_remove_handle(q->c->multi, q->easy);
}

void client_cancel(struct client *c, uint64_t question)
{
	struct question *q = question != 0 ? map_get64(c->questions, question) : NULL;

	if (q == NULL)
		return;
	q->dead = true;
	if (c->inside)
		return;
	take_out(q);
	free_question(q);
}

size_t client_asking(const struct client *c)
{
	return map_count(c->questions);
}

/* --- answers --------------------------------------------------------------------------------------------------------------------------- */

static enum err err_of(const struct question *q)
{
	if (q->over_head || q->over_body)
		return q->body.no_memory ? ERR_NOMEM : ERR_LIMIT;
	if (q->code == CURLE_OK)
		return ERR_OK;
	if (q->code == CURLE_OPERATION_TIMEDOUT)
		return ERR_TIMEOUT;
	if (q->code == CURLE_OUT_OF_MEMORY)
		return ERR_NOMEM;
	if (q->code == CURLE_COULDNT_CONNECT)
		return ERR_UNREACHABLE;
	if (q->code == CURLE_PARTIAL_FILE || q->code == CURLE_RECV_ERROR || q->code == CURLE_SEND_ERROR ||
		q->code == CURLE_GOT_NOTHING)
		return ERR_CLOSED;
	return ERR_MALFORMED;
}

static void finish(struct question *q)
{
	struct client_answer a = { .err = err_of(q), .body = wbuf_slice(&q->body) };
	long status = 0;

	take_out(q);
	if (q->c->curl.easy_getinfo(q->easy, CURLINFO_RESPONSE_CODE, &status) == CURLE_OK && status > 0)
		a.status = (unsigned)status;
	a.why = a.err == ERR_LIMIT ? "the answer is too long" : q->why[0] != '\0' ? q->why : q->c->curl.easy_strerror(q->code);
	q->f.done(q->f.ctx, &a);
	free_question(q);
}

/* Has something of a stream been collected that nobody has seen? */
static bool due_stream(const struct question *q)
{
	long status = 0;

	return !q->dead && q->stream && q->head_there && (!q->head_told || q->body.len > 0) &&
		q->c->curl.easy_getinfo(q->easy, CURLINFO_RESPONSE_CODE, &status) == CURLE_OK && status == 200;
}

/* Hands it on. The callbacks may cancel the stream, which frees it: then there is nothing more to do here. */
static void hand_on(struct client *c, struct question *q)
{
	uint64_t number = q->number;

	if (!q->head_told) {
		q->head_told = true;
		q->f.head(q->f.ctx);
		q = map_get64(c->questions, number);
	}
	if (q == NULL || q->body.len == 0)
		return;
	struct wbuf had = q->body;
	wbuf_grow(&q->body, STREAM_WAITING_MAX);
	q->f.data(q->f.ctx, wbuf_slice(&had));
	wbuf_free(&had);
}

/* Callbacks may change the map: look anew after each. */
static struct question *next_due(struct client *c)
{
	struct slice key;
	void *value;

	for (size_t at = 0; map_next(c->questions, &at, &key, &value);) {
		struct question *q = value;
		if (q->dead || q->finished || due_stream(q))
			return q;
	}
	return NULL;
}

static void end_all(struct client *c)
{
	struct slice key;
	void *value;

	c->starved = false;
	for (size_t at = 0; map_next(c->questions, &at, &key, &value);) {
		struct question *q = value;
		q->finished = true;
		q->code = CURLE_OUT_OF_MEMORY;
	}
}

static void after_action(struct client *c)
{
	struct question *q;
	CURLMsg *m;
	int left;
	void *mine;

	while ((m = c->curl.multi_info_read(c->multi, &left)) != NULL) {
		if (m->msg != CURLMSG_DONE || c->curl.easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&mine) != CURLE_OK)
			continue;
		q = mine;
		q->finished = true;
		q->code = m->data.result;
	}
	if (c->starved)
		end_all(c);
	while (!c->closing && (q = next_due(c)) != NULL) {
		if (due_stream(q)) {
			hand_on(c, q);
		} else if (q->dead) {
			take_out(q);
			free_question(q);
		} else {
			finish(q);
		}
	}
}

/* --- coming and going --------------------------------------------------------------------------------------------------------------- */

static enum err parse_host(struct client *c, const char *host, struct err_note *note)
{
	char text[HOSTPORT_TEXT];
	struct hostport at;

	if (strncmp(host, "unix://", 7) == 0 && host[7] == '/') {
		int n = snprintf(c->socket_path, sizeof(c->socket_path), "%s", host + 7);
		(void)snprintf(c->base, sizeof(c->base), "http://docker");
		return n > 0 && (size_t)n < sizeof(c->socket_path)
			? ERR_OK
			: err_note(note, ERR_USAGE, "the path of Docker's socket is longer than %zu bytes", sizeof(c->socket_path) - 1);
	}
	if (strncmp(host, "tcp://", 6) == 0 && hostport_parse(host + 6, 0, &at) == ERR_OK && at.port != 0) {
		(void)snprintf(c->base, sizeof(c->base), "http://%s", hostport_format(at, text));
		return ERR_OK;
	}
	return err_note(note, ERR_USAGE,
		"'%.100s' is neither a socket like unix:///var/run/docker.sock nor an address like tcp://127.0.0.1:2375", host);
}

enum err client_new(struct client **out, uv_loop_t *loop, const char *host, struct err_note *note)
{
	struct client *c = mem_zalloc(1, sizeof(*c));

	if (c == NULL)
		return err_note(note, ERR_NOMEM, "out of memory");
	enum err err = parse_host(c, host, note);
	if (err != ERR_OK) {
		mem_free(c);
		return err;
	}
	c->loop = loop;
	c->questions = map_new(1); /* of numbers of our own */
	if (c->questions == NULL) {
		mem_free(c);
		return err_note(note, ERR_NOMEM, "out of memory");
	}
	(void)uv_timer_init(loop, &c->timer);
	c->timer.data = c;
	c->handles = 1;
	*out = c;
	return ERR_OK;
}

void client_free(struct client *c, void (*closed)(void *ctx), void *ctx)
{
	struct slice key;
	void *value;

	c->closed = closed;
	c->closed_ctx = ctx;
	for (size_t at = 0; map_next(c->questions, &at, &key, &value); at = 0) {
		take_out(value);
		free_question(value);
	}
	if (c->multi != NULL)
		(void)c->curl.multi_cleanup(c->multi); /* which has on_socket take away what is still watched */
	map_free(c->questions);
	c->closing = true;
	(void)uv_timer_stop(&c->timer);
	uv_close((uv_handle_t *)&c->timer, on_timer_closed);
}
