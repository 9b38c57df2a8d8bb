/* libmicrohttpd in the control loop.
 *
 * Theory of operation. Each address we listen on is an MHD daemon without threads, driven through its epoll descriptor: a uv_poll sees it
 * readable, a timer runs out when MHD wants its turn, and both call pump(). A request is gathered (access), routed once it is there as a
 * whole, and answered at once or put to sleep: MHD_suspend_connection, until api_answer resumes it, which MHD notices by a
 * descriptor of its own in the same epoll set. MHD does not look at the socket of a sleeping connection; so a duplicate of it is
 * watched for the client's going, which cancels what it waits for and lets MHD find out. An answer that goes on (api_stream.h) sleeps and
 * wakes in between in the same way. Everything is in the control thread, and MHD is
 * never entered from within itself: answering only marks and resumes. What is served, and how errors look, is each listener's service. */
#include "router/server.h"

#include <assert.h>
#include <errno.h>
#include <grp.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/mem.h"
#include "router/api_stream.h"

enum { LISTENERS_MAX = 4, BACKLOG = 128, CONNECTION_MEMORY = 24 << 10, CONNECTIONS_SPARE = 64 };
#define SOCKET_GROUP "weft"

struct server_listener {
	struct server *server;
	const struct server_service *service;
	struct MHD_Daemon *daemon;
	uv_poll_t poll;
	uv_timer_t timer;
	size_t connections;
	bool resumed; /* a request of ours was answered while it slept */
	char *path;   /* of the Unix socket, once it is ours */
	dev_t dev;
	ino_t ino;
};

struct server {
	struct router *router;
	uv_loop_t *loop;
	void *owner;
	struct server_listener listeners[LISTENERS_MAX];
	size_t n_listeners;
	struct api_request *asleep; /* list */
	bool stopping;
	int closing;
	void (*done)(void *ctx);
	void *ctx;
};

struct api_watch {
	uv_poll_t poll;
	struct api_request *q; /* NULL: it has its answer */
	int fd;
};

/* --- sleeping --------------------------------------------------------------------------------------------------------------------------- */

static void on_watch_closed(uv_handle_t *handle)
{
	struct api_watch *w = handle->data;

	(void)close(w->fd);
	mem_free(w);
}

static void unwatch(struct api_request *q)
{
	if (q->watch == NULL)
		return;
	q->watch->q = NULL;
	uv_close((uv_handle_t *)&q->watch->poll, on_watch_closed);
	q->watch = NULL;
}

static void on_timeout(uv_timer_t *timer);

void api_wake(struct api_request *q)
{
	if (!q->asleep)
		return;
	q->asleep = false;
	if (q->prev != NULL)
		q->prev->next = q->next;
	else
		q->server->asleep = q->next;
	if (q->next != NULL)
		q->next->prev = q->prev;
	q->prev = q->next = NULL;
	if (q->stream == NULL)
		unwatch(q);
	MHD_resume_connection(q->conn);
	/* Driven from outside, MHD has no descriptor of its own that would tell the loop of it. */
	q->listener->resumed = true;
	(void)uv_timer_start(&q->listener->timer, on_timeout, 0, 0);
}

void api_answer(struct api_request *q, unsigned code, const char *type)
{
	assert(!q->answered);
	q->answered = true;
	q->code = code;
	q->type = type;
	q->pending = 0;
	api_wake(q);
}

static void on_client(uv_poll_t *poll, int status, int events)
{
	struct api_watch *w = poll->data;
	struct api_request *q = w->q;

	(void)status;
	(void)events;
	if (q == NULL)
		return;
	if (q->stream != NULL) {
		unwatch(q);
		api_stream_leave(q->stream, false);
		return;
	}
	if (q->service->left != NULL) {
		unwatch(q);
		q->service->left(q);
		return;
	}
	if (q->pending == 0) { /* a reset goes on; its end will wake this */
		unwatch(q);
		return;
	}
	router_cancel(q->router, q->pending);
	q->pending = 0;
	q->service->refuse(q, MHD_HTTP_SERVICE_UNAVAILABLE, "cancelled");
}

static void watch(struct api_request *q)
{
	const union MHD_ConnectionInfo *info = MHD_get_connection_info(q->conn, MHD_CONNECTION_INFO_CONNECTION_FD);
	struct api_watch *w = mem_zalloc(1, sizeof(*w));

	/* Without it the request is merely not cancelled. */
	if (w == NULL || info == NULL) {
		mem_free(w);
		return;
	}
	w->fd = dup(info->connect_fd);
	if (w->fd < 0 || uv_poll_init(q->server->loop, &w->poll, w->fd) != 0) {
		if (w->fd >= 0)
			(void)close(w->fd);
		mem_free(w);
		return;
	}
	w->poll.data = w;
	w->q = q;
	q->watch = w;
	(void)uv_poll_start(&w->poll, UV_DISCONNECT, on_client);
}

void api_sleep(struct api_request *q)
{
	q->asleep = true;
	q->next = q->server->asleep;
	if (q->next != NULL)
		q->next->prev = q;
	q->server->asleep = q;
	MHD_suspend_connection(q->conn);
	if (q->watch == NULL && (q->stream == NULL || !api_stream_left(q->stream)))
		watch(q);
}

/* --- one request ------------------------------------------------------------------------------------------------------------------------ */

/* MHD's own decoding forgives what it cannot read; ours (api_unescape) does not. */
static size_t leave_escaped(void *cls, struct MHD_Connection *conn, char *s)
{
	(void)cls;
	(void)conn;
	return strlen(s);
}

static enum MHD_Result add_header_size(void *cls, enum MHD_ValueKind kind, const char *key, const char *value)
{
	size_t *sum = cls;

	(void)kind;
	*sum += strlen(key) + (value != NULL ? strlen(value) : 0) + 4; /* ": " and the line's end */
	return MHD_YES;
}

static struct api_request *request_new(struct server_listener *l, struct MHD_Connection *conn, const char *url)
{
	struct api_request *q = mem_zalloc(1, sizeof(*q));

	if (q == NULL)
		return NULL;
	q->server = l->server;
	q->listener = l;
	q->service = l->service;
	q->owner = l->server->owner;
	q->router = l->server->router;
	q->conn = conn;
	wbuf_grow(&q->body, l->service->body_max);
	wbuf_grow(&q->out, API_ANSWER_MAX);
	q->path = mem_strdup(url);
	if (q->path == NULL) {
		mem_free(q);
		return NULL;
	}
	return q;
}

/* The head is there: what can be said without the body. */
static void look_at_head(struct api_request *q)
{
	const char *length = MHD_lookup_connection_value(q->conn, MHD_HEADER_KIND, MHD_HTTP_HEADER_CONTENT_LENGTH);
	size_t headers = 0;
	char line[64];

	(void)MHD_get_connection_values(q->conn, MHD_HEADER_KIND, add_header_size, &headers);
	if (headers > API_HEADERS_MAX)
		q->service->refuse(q, MHD_HTTP_REQUEST_HEADER_FIELDS_TOO_LARGE, "headers over 16 KiB");
	else if (length != NULL && strtoull(length, NULL, 10) > q->service->body_max) {
		(void)snprintf(line, sizeof(line), "a body over %zu KiB", q->service->body_max >> 10);
		q->service->refuse(q, MHD_HTTP_CONTENT_TOO_LARGE, line);
	}
}

static enum MHD_Result send_answer(struct api_request *q)
{
	struct MHD_Response *res;

	if (q->stream == NULL && wbuf_end(&q->out) != ERR_OK) {
		wbuf_free(&q->out);
		wbuf_grow(&q->out, API_ANSWER_MAX);
		q->code = MHD_HTTP_SERVICE_UNAVAILABLE;
	}
	struct slice bytes = wbuf_slice(&q->out);
	/* q outlives the answer: it goes when MHD says that the request is over */
	res = q->stream != NULL ? api_stream_response(q->stream)
							: MHD_create_response_from_buffer(bytes.n, (void *)(uintptr_t)bytes.p, MHD_RESPMEM_PERSISTENT);
	if (res == NULL)
		return MHD_NO;
	if (bytes.n > 0 || q->stream != NULL)
		(void)MHD_add_response_header(res, MHD_HTTP_HEADER_CONTENT_TYPE, q->type);
	(void)MHD_add_response_header(res, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
	if (q->allow[0] != '\0')
		(void)MHD_add_response_header(res, MHD_HTTP_HEADER_ALLOW, q->allow);
	enum MHD_Result ok = MHD_queue_response(q->conn, q->code, res);
	MHD_destroy_response(res);
	return ok;
}

static enum MHD_Result access_request(void *cls, struct MHD_Connection *conn, const char *url, const char *method,
	const char *version, const char *data, size_t *n, void **state)
{
	struct api_request *q = *state;

	(void)version;
	if (q == NULL) {
		q = request_new(cls, conn, url);
		if (q == NULL)
			return MHD_NO;
		*state = q;
		look_at_head(q);
		return q->answered ? send_answer(q) : MHD_YES;
	}
	if (*n > 0) {
		wbuf_bytes(&q->body, data, *n);
		*n = 0;
		/* A chunked body that grows over the limit: there is no way to answer in the midst of it. */
		return wbuf_end(&q->body) == ERR_OK ? MHD_YES : MHD_NO;
	}
	if (!q->answered)
		q->service->route(q, method);
	if (q->answered)
		return send_answer(q);
	api_sleep(q);
	return MHD_YES;
}

static void completed(void *cls, struct MHD_Connection *conn, void **state, enum MHD_RequestTerminationCode how)
{
	struct api_request *q = *state;

	(void)cls;
	(void)conn;
	(void)how;
	if (q == NULL)
		return;
	*state = NULL;
	if (q->pending != 0)
		router_cancel(q->router, q->pending);
	if (q->service->over != NULL)
		q->service->over(q);
	unwatch(q);
	api_stream_over(q->stream);
	api_request_clear(q);
	mem_free(q);
}

/* One more than there may be is closed at once. MHD's own limit lies above and is never reached: there it would stop listening, and in
 * the way we drive it not notice when it may listen again. */
static enum MHD_Result may_connect(void *cls, const struct sockaddr *addr, socklen_t n)
{
	const struct server_listener *l = cls;

	(void)addr;
	(void)n;
	return l->connections < l->service->connections_max ? MHD_YES : MHD_NO;
}

static void on_connection(void *cls, struct MHD_Connection *conn, void **state, enum MHD_ConnectionNotificationCode what)
{
	struct server_listener *l = cls;

	(void)conn;
	(void)state;
	if (what == MHD_CONNECTION_NOTIFY_STARTED)
		l->connections++;
	else
		l->connections--;
}

/* --- the loop ----------------------------------------------------------------------------------------------------------------------------- */

static void pump(struct server_listener *l);

static void on_readable(uv_poll_t *poll, int status, int events)
{
	(void)status;
	(void)events;
	pump(poll->data);
}

static void on_timeout(uv_timer_t *timer)
{
	pump(timer->data);
}

static void pump(struct server_listener *l)
{
	MHD_UNSIGNED_LONG_LONG ms;

	if (l->server->stopping)
		return;
	l->resumed = false;
	(void)MHD_run(l->daemon);
	if (l->server->stopping) /* a request that ended us */
		return;
	if (l->resumed) /* by what has just been answered */
		(void)uv_timer_start(&l->timer, on_timeout, 0, 0);
	else if (MHD_get_timeout(l->daemon, &ms) == MHD_YES)
		(void)uv_timer_start(&l->timer, on_timeout, ms, 0);
	else
		(void)uv_timer_stop(&l->timer);
}

/* fd is taken over, also after an error. */
static enum err serve(struct server *s, int fd, const struct server_service *service, struct err_note *note)
{
	struct server_listener *l = &s->listeners[s->n_listeners];
	const union MHD_DaemonInfo *info;

	l->server = s;
	l->service = service;
	l->daemon = MHD_start_daemon(MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME, 0, may_connect, l, access_request, l,
		MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_CONNECTION_LIMIT, (unsigned)service->connections_max + CONNECTIONS_SPARE,
		MHD_OPTION_CONNECTION_TIMEOUT, service->silence_s, MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_MEMORY,
		MHD_OPTION_UNESCAPE_CALLBACK, leave_escaped, NULL, MHD_OPTION_NOTIFY_COMPLETED, completed, NULL,
		MHD_OPTION_NOTIFY_CONNECTION, on_connection, l, MHD_OPTION_END);
	if (l->daemon == NULL) {
		(void)close(fd);
		return err_note(note, ERR_SYSTEM, "the HTTP server does not start: %s", strerror(errno));
	}
	info = MHD_get_daemon_info(l->daemon, MHD_DAEMON_INFO_EPOLL_FD);
	if (info == NULL || uv_poll_init(s->loop, &l->poll, info->epoll_fd) != 0) {
		MHD_stop_daemon(l->daemon);
		return err_note(note, ERR_SYSTEM, "the HTTP server cannot be driven from the event loop");
	}
	(void)uv_timer_init(s->loop, &l->timer);
	l->poll.data = l->timer.data = l;
	(void)uv_poll_start(&l->poll, UV_READABLE, on_readable);
	s->n_listeners++;
	return ERR_OK;
}

/* --- listening ---------------------------------------------------------------------------------------------------------------------------- */

/* Whoever may use the socket has to get to it; binding says what is wrong if this did not help. */
static void make_parents(const char *path)
{
	char dir[sizeof(((struct sockaddr_un *)NULL)->sun_path)];

	(void)snprintf(dir, sizeof(dir), "%s", path);
	for (char *slash = dir; (slash = strchr(slash + 1, '/')) != NULL; *slash = '/') {
		*slash = '\0';
		if (mkdir(dir, 0755) == 0)
			(void)chmod(dir, 0755);
	}
}

/* A socket file nobody answers at is what a killed daemon left. */
static enum err clear_stale(const char *path, const struct sockaddr_un *addr, const char *option, struct err_note *note)
{
	struct stat st;
	int fd, e;

	if (lstat(path, &st) != 0)
		return ERR_OK;
	if (!S_ISSOCK(st.st_mode))
		return err_note(note, ERR_EXISTS, "%.150s is there and is no socket; remove it or choose another --%s", path, option);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return err_note(note, ERR_SYSTEM, "no socket: %s", strerror(errno));
	e = connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) == 0 ? 0 : errno;
	(void)close(fd);
	if (e == 0 || e == EAGAIN)
		return err_note(note, ERR_BUSY, "another daemon answers at %.150s; stop it, or give this one another --%s", path, option);
	if (e != ECONNREFUSED || unlink(path) != 0)
		return err_note(
			note, ERR_SYSTEM, "cannot take over the socket %.150s: %s", path, strerror(e != ECONNREFUSED ? e : errno));
	return ERR_OK;
}

/* Whether there is the group that may use the socket. Of this host's own groups: getgrnam might ask a directory, over the network that we are
 * to bring up, and loads what it asks with for good. */
static bool socket_group(gid_t *out)
{
	FILE *f = fopen("/etc/group", "re");
	const struct group *g = NULL;

	if (f == NULL)
		return false;
	while ((g = fgetgrent(f)) != NULL && strcmp(g->gr_name, SOCKET_GROUP) != 0) {
	}
	if (g != NULL)
		*out = g->gr_gid;
	(void)fclose(f);
	return g != NULL;
}

/* Only if it is still the one we made. */
static void remove_socket(struct server_listener *l)
{
	struct stat st;

	if (l->path != NULL && lstat(l->path, &st) == 0 && st.st_dev == l->dev && st.st_ino == l->ino)
		(void)unlink(l->path);
	mem_free(l->path);
	l->path = NULL;
}

enum err server_listen_unix(struct server *s, const struct server_service *service, const char *path, bool shared,
	const char *option, struct err_note *note)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	struct server_listener *l = &s->listeners[s->n_listeners];
	struct stat st;
	gid_t gid = 0;
	int fd;

	shared = shared && socket_group(&gid);
	(void)snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
	make_parents(path);
	enum err err = clear_stale(path, &addr, option, note);
	if (err != ERR_OK)
		return err;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return err_note(note, ERR_SYSTEM, "no socket: %s", strerror(errno));
	if (bind(fd, (const struct sockaddr *)&addr, sizeof(addr)) != 0) {
		err = err_note(note, errno == EACCES ? ERR_PERMISSION : ERR_SYSTEM, "cannot listen on %.150s: %s; see --%s", path,
			strerror(errno), option);
		(void)close(fd);
		return err;
	}
	if (stat(path, &st) == 0) { /* what is there from now on is ours to remove */
		l->path = mem_strdup(path);
		l->dev = st.st_dev;
		l->ino = st.st_ino;
	}
	if (shared && chown(path, (uid_t)-1, gid) != 0)
		shared = false; /* not root: the group stays ours, and so does the mode */
	if (chmod(path, shared ? 0660 : 0600) != 0 || listen(fd, BACKLOG) != 0) {
		err = err_note(note, ERR_SYSTEM, "cannot listen on %.150s: %s", path, strerror(errno));
		(void)close(fd);
		remove_socket(l);
		return err;
	}
	err = serve(s, fd, service, note);
	if (err != ERR_OK)
		remove_socket(l);
	return err;
}

static socklen_t sockaddr_of(struct hostport h, struct sockaddr_storage *out)
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons(h.port) };
	struct sockaddr_in6 in6 = { .sin6_family = AF_INET6, .sin6_port = htons(h.port) };

	memset(out, 0, sizeof(*out));
	if (h.ip.family == 6) {
		memcpy(&in6.sin6_addr, h.ip.b, 16);
		memcpy(out, &in6, sizeof(in6));
		return sizeof(in6);
	}
	memcpy(&in.sin_addr, h.ip.b, 4);
	memcpy(out, &in, sizeof(in));
	return sizeof(in);
}

enum err server_listen_tcp(
	struct server *s, const struct server_service *service, struct hostport at, const char *option, struct err_note *note)
{
	struct sockaddr_storage addr;
	char text[HOSTPORT_TEXT];
	int one = 1;
	socklen_t n = sockaddr_of(at, &addr);
	int fd = socket(addr.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return err_note(note, ERR_SYSTEM, "no socket: %s", strerror(errno));
	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(fd, (const struct sockaddr *)&addr, n) != 0 || listen(fd, BACKLOG) != 0) {
		enum err err = err_note(note, errno == EADDRINUSE ? ERR_BUSY : ERR_SYSTEM, "cannot listen on %s: %s; see --%s",
			hostport_format(at, text), strerror(errno), option);
		(void)close(fd);
		return err;
	}
	return serve(s, fd, service, note);
}

enum err server_new(struct server **out, struct router *r, void *owner)
{
	struct server *s = mem_zalloc(1, sizeof(*s));

	if (s == NULL)
		return ERR_NOMEM;
	s->router = r;
	s->loop = router_loop(r);
	s->owner = owner;
	*out = s;
	return ERR_OK;
}

bool server_stopping(const struct server *s)
{
	return s->stopping;
}

/* --- the end ------------------------------------------------------------------------------------------------------------------------------ */

static void part_closed(struct server *s)
{
	if (--s->closing > 0)
		return;
	void (*done)(void *ctx) = s->done;
	void *ctx = s->ctx;
	mem_free(s);
	if (done != NULL)
		done(ctx);
}

static void on_closed(uv_handle_t *handle)
{
	const struct server_listener *l = handle->data;

	part_closed(l->server);
}

void server_stop(struct server *s, void (*done)(void *ctx), void *ctx)
{
	if (s == NULL)
		return;
	s->stopping = true;
	s->done = done;
	s->ctx = ctx;
	s->closing = 1;
	for (struct api_request *q = s->asleep; q != NULL; q = s->asleep) {
		uint64_t pending = q->pending;
		q->pending = 0;
		router_cancel(q->router, pending);
		if (q->stream != NULL)
			api_stream_leave(q->stream, true);
		else if (!q->answered)
			q->service->refuse(q, MHD_HTTP_SERVICE_UNAVAILABLE, "the daemon is stopping");
	}
	for (size_t i = 0; i < s->n_listeners; i++) {
		struct server_listener *l = &s->listeners[i];
		remove_socket(l);
		for (int turn = 0; turn < 3; turn++) /* resume, answer, write */
			(void)MHD_run(l->daemon);
		s->closing += 2;
		uv_close((uv_handle_t *)&l->timer, on_closed);
		uv_close((uv_handle_t *)&l->poll, on_closed);
		MHD_stop_daemon(l->daemon);
	}
	part_closed(s);
}
