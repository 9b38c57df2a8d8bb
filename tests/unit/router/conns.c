/* Control connections over the loopback of a namespace of our own. */
#include "tests/unit/dataplane/ns.h"

#include <arpa/inet.h>
#include <signal.h>
#include <sys/socket.h>

#include "base/mem.h"
#include "router/conns.h"

struct side {
	struct conns *c;
	uv_loop_t *loop;
	uint64_t conn; /* the last that was opened */
	size_t opened, closed, drained, queued;
	bool outbound, done;
	struct hostport remote, local;
	char why[160];
	char *got;
	size_t n_got;
};

static void on_opened(void *ctx, uint64_t conn, bool outbound, struct hostport remote, struct hostport local)
{
	struct side *s = ctx;
	s->conn = conn;
	s->opened++;
	s->outbound = outbound;
	s->remote = remote;
	s->local = local;
}

static void on_data(void *ctx, uint64_t conn, struct slice bytes)
{
	struct side *s = ctx;
	(void)conn;
	s->got = realloc(s->got, s->n_got + bytes.n);
	assert_non_null(s->got);
	memcpy(s->got + s->n_got, bytes.p, bytes.n);
	s->n_got += bytes.n;
}

static void on_drained(void *ctx, uint64_t conn, size_t queued)
{
	struct side *s = ctx;
	(void)conn;
	s->drained++;
	s->queued = queued;
}

static void on_closed(void *ctx, uint64_t conn, const char *why)
{
	struct side *s = ctx;
	(void)conn;
	s->closed++;
	snprintf(s->why, sizeof(s->why), "%s", why);
}

static void on_done(void *ctx)
{
	struct side *s = ctx;
	s->done = true;
}

static const struct conns_handlers handlers = { on_opened, on_data, on_drained, on_closed };

static enum err try_open(struct side *s, uv_loop_t *loop, const char *host, uint16_t port, struct err_note *note)
{
	*s = (struct side){ .loop = loop };
	return conns_new(&s->c, loop, host != NULL ? ip_of(host) : (struct ip){ 0 }, port, &handlers, s, note);
}

static void open_side(struct side *s, uv_loop_t *loop, const char *host, uint16_t port)
{
	OK(try_open(s, loop, host, port, &note));
}

static void on_limit_closed(uv_handle_t *h)
{
	h->data = NULL;
}

static void on_limit(uv_timer_t *t)
{
	*(bool *)t->data = true;
}

/* Turns the loop until *what >= n. */
static void turn_until(uv_loop_t *loop, const size_t *what, size_t n)
{
	uv_timer_t limit;
	bool over = false;

	uv_timer_init(loop, &limit);
	limit.data = &over;
	uv_timer_start(&limit, on_limit, 20000, 0);
	while (*what < n && !over)
		uv_run(loop, UV_RUN_ONCE);
	uv_close((uv_handle_t *)&limit, on_limit_closed);
	while (limit.data != NULL)
		uv_run(loop, UV_RUN_NOWAIT);
	assert_false(over);
}

static void close_side(struct side *s)
{
	conns_free(s->c, on_done, s);
	while (!s->done)
		uv_run(s->loop, UV_RUN_ONCE);
	free(s->got);
}

static void close_loop(uv_loop_t *loop)
{
	uv_run(loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(loop), 0); /* no handle is left */
}

static void both_ends_hear_of_it(void **state)
{
	uv_loop_t loop;
	struct side a, b;

	(void)state;
	uv_loop_init(&loop);
	open_side(&a, &loop, "127.0.0.1", 7001);
	open_side(&b, &loop, NULL, 7002);
	const uint64_t number = UINT64_C(1) << 63 | 5;
	conns_dial(a.c, number, "127.0.0.1", 7002);
	assert_int_equal(a.opened + a.closed, 0); /* not from inside */
	turn_until(&loop, &a.opened, 1);
	turn_until(&loop, &b.opened, 1);
	assert_true(a.outbound && !b.outbound);
	assert_int_equal(a.conn, number);
	assert_int_equal(b.conn >> 63, 0);
	assert_true(hostport_eq(a.local, b.remote) && hostport_eq(a.remote, b.local));
	assert_true(ip_eq(a.local.ip, ip_of("127.0.0.1"))); /* an IPv4 address, though the listener is IPv6's */
	/* bytes; that they have left is told also when they left at once */
	conns_send(a.c, number, slice_str("hello"));
	assert_int_equal(a.drained, 0);
	turn_until(&loop, &a.drained, 1);
	assert_int_equal(a.queued, 0);
	turn_until(&loop, &b.n_got, 5);
	assert_memory_equal(b.got, "hello", 5);
	conns_send(a.c, 12345, slice_str("nobody"));
	/* what was sent before a close arrives, then the end */
	size_t big = 3 << 20;
	char *bytes = malloc(big);
	assert_non_null(bytes);
	for (size_t i = 0; i < big; i++)
		bytes[i] = (char)(i * 7 + i / 251);
	conns_send(a.c, number, slice_of(bytes, big));
	conns_send(a.c, number, slice_str("end"));
	conns_close(a.c, number);
	conns_send(a.c, number, slice_str("after"));
	conns_close(a.c, number);
	turn_until(&loop, &b.closed, 1);
	assert_int_equal(b.n_got, 5 + big + 3);
	assert_memory_equal(b.got + 5, bytes, big);
	assert_memory_equal(b.got + 5 + big, "end", 3);
	assert_string_equal(b.why, "closed by the other end");
	assert_int_equal(a.closed, 0); /* who closes is not told */
	free(bytes);
	struct conns_stats st;
	conns_stats(b.c, &st);
	assert_int_equal(st.accepts, 1);
	assert_int_equal(st.open, 0);
	close_side(&a);
	close_side(&b);
	close_loop(&loop);
}

static void a_dial_that_fails_says_why(void **state)
{
	uv_loop_t loop;
	struct side a;
	struct conns_stats st;

	(void)state;
	uv_loop_init(&loop);
	open_side(&a, &loop, "127.0.0.1", 7001);
	conns_dial(a.c, 1, "127.0.0.1", 7999);
	assert_int_equal(a.closed, 0);
	turn_until(&loop, &a.closed, 1);
	assert_string_equal(a.why, "connection refused");
	conns_dial(a.c, 2, "10.99.99.99", 1); /* no route; from a loopback address */
	turn_until(&loop, &a.closed, 2);
	assert_true(strlen(a.why) > 0);
	conns_dial(a.c, 3, "no such host.invalid", 1);
	turn_until(&loop, &a.closed, 3);
	assert_non_null(strstr(a.why, "cannot resolve"));
	conns_dial(a.c, 4, "127.0.0.1", 7999);
	conns_close(a.c, 4); /* given up before its turn: nobody hears of it */
	uv_run(&loop, UV_RUN_NOWAIT);
	uv_run(&loop, UV_RUN_NOWAIT);
	assert_int_equal(a.closed, 3);
	conns_stats(a.c, &st);
	assert_int_equal(st.dials, 4);
	assert_int_equal(st.dial_failures, 3);
	assert_int_equal(a.opened, 0);
	conns_dial(a.c, 5, "no such host either.invalid", 1); /* while it is being resolved all ends */
	close_side(&a);
	close_loop(&loop);
}

static void a_reader_that_stops_is_left(void **state)
{
	uv_loop_t loop;
	struct side a;
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons(7005), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };

	(void)state;
	uv_loop_init(&loop);
	open_side(&a, &loop, "127.0.0.1", 7001);
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	assert_int_equal(listen(fd, 5), 0);
	conns_dial(a.c, 1, "127.0.0.1", 7005);
	turn_until(&loop, &a.opened, 1);
	size_t n = 1 << 20;
	char *bytes = calloc(1, n);
	assert_non_null(bytes);
	for (int i = 0; i < 40; i++) /* 16 MiB wait at most, beside what the kernel takes */
		conns_send(a.c, 1, slice_of(bytes, n));
	assert_int_equal(a.closed, 0);
	turn_until(&loop, &a.closed, 1);
	assert_string_equal(a.why, "sending failed");
	/* one that is closed with bytes waiting for such a reader does not hold up the end for long */
	conns_dial(a.c, 2, "127.0.0.1", 7005);
	turn_until(&loop, &a.opened, 2);
	for (int i = 0; i < 10; i++)
		conns_send(a.c, 2, slice_of(bytes, n));
	uint64_t start = uv_hrtime();
	conns_close(a.c, 2);
	close_side(&a);
	assert_true(uv_hrtime() - start < UINT64_C(3) * CONNS_FLUSH_MS * 1000000);
	free(bytes);
	close(fd);
	close_loop(&loop);
}

static void who_cannot_listen_says_why(void **state)
{
	uv_loop_t loop;
	struct side a, b;
	struct err_note note;

	(void)state;
	uv_loop_init(&loop);
	open_side(&a, &loop, NULL, 7001);
	assert_int_equal(try_open(&b, &loop, NULL, 7001, &note), ERR_BUSY);
	assert_non_null(strstr(note.text, "7001"));
	assert_int_equal(try_open(&b, &loop, "127.0.0.1", 7001, &note), ERR_BUSY);
	assert_int_equal(try_open(&b, &loop, "192.0.2.1", 7003, &note), ERR_NOT_FOUND);
	assert_non_null(strstr(note.text, "192.0.2.1"));
	close_side(&a);
	close_loop(&loop);
}

/* Without memory for a connection it is closed, and the listener goes on. */
static void want_of_memory_does_not_deafen(void **state)
{
	uv_loop_t loop;
	struct side a, b;

	(void)state;
	uv_loop_init(&loop);
	open_side(&b, &loop, "127.0.0.1", 7002);
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons(7002), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fds[3];
	for (int i = 0; i < 3; i++) {
		fds[i] = socket(AF_INET, SOCK_STREAM, 0);
		assert_int_equal(connect(fds[i], (struct sockaddr *)&at, sizeof(at)), 0);
	}
	mem_fail_at(1, true);
	for (int i = 0; i < 10; i++)
		uv_run(&loop, UV_RUN_NOWAIT);
	mem_fail_at(0, false);
	assert_int_equal(b.opened, 0);
	struct conns_stats st;
	conns_stats(b.c, &st);
	assert_int_equal(st.refused, 3);
	char byte;
	for (int i = 0; i < 3; i++) {
		assert_true(recv(fds[i], &byte, 1, 0) <= 0);
		close(fds[i]);
	}
	open_side(&a, &loop, "127.0.0.1", 7001);
	conns_dial(a.c, 1, "127.0.0.1", 7002);
	turn_until(&loop, &b.opened, 1);
	/* nor does it lose the end of one that is open */
	mem_fail_at(1, true);
	conns_dial(a.c, 2, "127.0.0.1", 7002);
	mem_fail_at(0, false);
	close_side(&a);
	turn_until(&loop, &b.closed, 1);
	close_side(&b);
	close_loop(&loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(both_ends_hear_of_it),
		cmocka_unit_test(a_dial_that_fails_says_why),
		cmocka_unit_test(a_reader_that_stops_is_left),
		cmocka_unit_test(who_cannot_listen_says_why),
		cmocka_unit_test(want_of_memory_does_not_deafen),
	};

	if (!ns_start())
		return 77;
	signal(SIGPIPE, SIG_IGN);
	return system("ip link set lo up") != 0 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
