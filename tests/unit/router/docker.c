/* Questions to Docker and its stream of events, against a server that answers well, badly, slowly, too much, or not at all. */
#include "tests/unit/router/dir.h"

#include "base/mem.h"
#include "router/docker/docker.h"
#include "router/docker/inspect.h"
#include "tests/unit/router/fakedocker.h"

#define ID_A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define ID_N "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define ID_E "cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc"

static const char container_json[] =
	"{\"Id\":\"" ID_A
	"\",\"Name\":\"/db\",\"State\":{\"Running\":true,\"Pid\":77},\"ResolvConfPath\":\"/r\",\"HostsPath\":\"/h\","
	"\"Config\":{\"Hostname\":\"web\",\"Domainname\":\"weft.local\"},\"HostConfig\":{\"NetworkMode\":\"app\"},"
	"\"NetworkSettings\":{\"Networks\":{\"app\":{\"NetworkID\":\"" ID_N "\",\"EndpointID\":\"" ID_E
	"\",\"MacAddress\":\"02:00:00:00:00:07\","
	"\"IPAddress\":\"10.32.0.7\",\"IPPrefixLen\":12,\"Aliases\":[\"cache\",\"store\"]}}}}";
static const char network_json[] =
	"{\"Id\":\"" ID_N "\",\"Name\":\"app\",\"Driver\":\"weft\",\"Scope\":\"local\",\"Internal\":true,"
	"\"Labels\":{\"a\":\"b\"},\"Options\":{\"weft.mtu\":\"1300\"},\"IPAM\":{\"Driver\":\"weft\"},\"Containers\":{\"" ID_A
	"\":{\"EndpointID\":\"" ID_E "\"}}}";
static const char networks_json[] =
	"[{\"Id\":\"" ID_N "\",\"Name\":\"app\",\"Driver\":\"weft\",\"IPAM\":7},7,{\"Id\":\"../\",\"Name\":"
	"\"bad\",\"Driver\":\"weft\"},{\"Id\":\"" ID_E "\",\"Name\":\"x\",\"Driver\":\"bridge\"}]";

struct t {
	struct dir dir;
	uv_loop_t loop;
	struct fake fake;
	struct docker *d;
	char host[160], socket[128];
	bool closed;
	size_t answers, connected, lost, events;
	enum err err;
	char why[300];
	struct docker_event last;
	struct docker_container c;
	char alias[64], label[64], option[64];
	struct docker_network n;
};

static void on_connected(void *ctx)
{
	((struct t *)ctx)->connected++;
}

static void on_lost(void *ctx)
{
	((struct t *)ctx)->lost++;
}

static void on_event(void *ctx, const struct docker_event *e)
{
	struct t *t = ctx;

	t->events++;
	t->last = *e;
}

static void on_closed(void *ctx)
{
	((struct t *)ctx)->closed = true;
}

static void on_container(void *ctx, enum err err, const char *why, const struct docker_container *c)
{
	struct t *t = ctx;

	t->answers++;
	t->err = err;
	(void)snprintf(t->why, sizeof(t->why), "%s", why);
	assert_true((c != NULL) == (err == ERR_OK));
	if (c == NULL)
		return;
	t->c = *c;
	if (c->n_endpoints > 0 && c->endpoints[0].n_aliases > 1)
		(void)snprintf(t->alias, sizeof(t->alias), "%s", c->endpoints[0].aliases[1]);
}

static void on_network(void *ctx, enum err err, const char *why, const struct docker_network *n)
{
	struct t *t = ctx;

	t->answers++;
	t->err = err;
	(void)snprintf(t->why, sizeof(t->why), "%s", why);
	assert_true((n != NULL) == (err == ERR_OK));
	if (n == NULL)
		return;
	t->n = *n;
	assert_string_equal(json_string_value(json_object_get(n->ipam, "Driver")), "weft");
	assert_int_equal(json_object_size(n->containers), 1);
	(void)snprintf(t->label, sizeof(t->label), "%s", json_string_value(json_object_get(n->labels, "a")));
	(void)snprintf(t->option, sizeof(t->option), "%s", json_string_value(json_object_get(n->options, "weft.mtu")));
}

static void begin(struct t *t, bool there)
{
	struct err_note note = { "" };

	memset(t, 0, sizeof(*t));
	dir_make(&t->dir);
	assert_int_equal(uv_loop_init(&t->loop), 0);
	(void)snprintf(t->socket, sizeof(t->socket), "%s/docker.sock", t->dir.path);
	(void)snprintf(t->host, sizeof(t->host), "unix://%s", t->socket);
	if (there)
		fake_start(&t->fake, &t->loop, t->socket);
	fake_rule(&t->fake, "/version", FAKE_ANSWER, 200, "{\"Version\":\"20.10.24\"}");
	fake_rule(&t->fake, "/events", FAKE_STREAM, 200, "");
	fake_rule(&t->fake, "/_ping", FAKE_ANSWER, 200, "OK");
	fake_rule(&t->fake, "/containers/", FAKE_ANSWER, 404, "{\"message\":\"No such container\"}");
	fake_rule(&t->fake, "/containers/db/json", FAKE_ANSWER, 200, container_json);
	fake_rule(&t->fake, "/networks/" ID_N, FAKE_ANSWER, 200, network_json);
	struct docker_cfg cfg = {
		.loop = &t->loop, .host = t->host, .seed = 3, .connected = on_connected, .event = on_event, .lost = on_lost, .ctx = t
	};
	assert_int_equal(docker_open(&t->d, &cfg, &note), ERR_OK);
}

static void end(struct t *t)
{
	docker_close(t->d, on_closed, t);
	while (!t->closed)
		(void)uv_run(&t->loop, UV_RUN_ONCE);
	if (t->fake.loop != NULL)
		fake_stop(&t->fake);
	(void)uv_run(&t->loop, UV_RUN_NOWAIT);
	(void)uv_run(&t->loop, UV_RUN_NOWAIT);
	assert_int_equal(uv_loop_close(&t->loop), 0); /* nothing of it is left in the loop */
	dir_remove(&t->dir);
}

static void on_wake(uv_timer_t *timer)
{
	*(bool *)timer->data = true;
}

/* Runs the loop until *n reaches want, or the time is over. */
static void run_until(struct t *t, const size_t *n, size_t want, unsigned ms)
{
	uv_timer_t timer;
	bool over = false;

	(void)uv_timer_init(&t->loop, &timer);
	timer.data = &over;
	(void)uv_timer_start(&timer, on_wake, ms, 0);
	while (!over && *n < want)
		(void)uv_run(&t->loop, UV_RUN_ONCE);
	uv_close((uv_handle_t *)&timer, NULL);
	(void)uv_run(&t->loop, UV_RUN_NOWAIT);
}

static void find(struct t *t, const char *what, unsigned limit_ms)
{
	size_t before = t->answers;

	(void)docker_find_container(t->d, what, limit_ms, on_container, t);
	run_until(t, &t->answers, before + 1, 20000);
	assert_int_equal(t->answers, before + 1);
}

static void test_lookups(void **state)
{
	struct t t;

	(void)state;
	begin(&t, true);
	find(&t, "db", 0);
	assert_int_equal(t.err, ERR_OK);
	assert_string_equal(t.c.id, ID_A);
	assert_string_equal(t.c.name, "db");
	assert_string_equal(t.c.hostname, "web");
	assert_string_equal(t.c.domainname, "weft.local");
	assert_true(t.c.running);
	assert_int_equal(t.c.pid, 77);
	assert_int_equal(t.c.n_endpoints, 1);
	assert_string_equal(t.alias, "store");
	find(&t, "nobody", 0);
	assert_int_equal(t.err, ERR_NOT_FOUND);
	size_t asked = t.fake.requests;
	find(&t, "../../networks", 0); /* no name: not even asked */
	assert_int_equal(t.err, ERR_NOT_FOUND);
	find(&t, "a b", 0);
	assert_int_equal(t.err, ERR_NOT_FOUND);
	assert_int_equal(t.fake.requests, asked);
	fake_rule(&t.fake, "/containers/aa/json", FAKE_ANSWER, 500, "{\"message\":\"Multiple IDs found with provided prefix: aa\"}");
	find(&t, "aa", 0);
	assert_int_equal(t.err, ERR_CONFLICT);
	fake_rule(&t.fake, "/containers/bad/json", FAKE_ANSWER, 500, "{\"message\":\"on fire\\u001b[31m\"}");
	find(&t, "bad", 0);
	assert_int_equal(t.err, ERR_REFUSED);
	assert_non_null(strstr(t.why, "on fire?"));
	(void)docker_get_network(t.d, ID_N, 0, on_network, &t);
	run_until(&t, &t.answers, t.answers + 1, 5000);
	assert_int_equal(t.err, ERR_OK);
	assert_string_equal(t.n.name, "app");
	assert_string_equal(t.n.driver, "weft");
	assert_true(t.n.internal);
	assert_string_equal(t.label, "b");
	assert_string_equal(t.option, "1300");
	end(&t);
}

static void test_bad_answers(void **state)
{
	static const struct {
		const char *raw;
		enum err err;
	} cases[] = {
		{ "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n{\"a\":", ERR_MALFORMED },
		{ "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", ERR_MALFORMED },
		{ "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]", ERR_MALFORMED },
		{ "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{}", ERR_CLOSED },
		{ "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", ERR_CLOSED },
		{ "HTTP/1.1 200 OK\r\nContent-Length: 21\r\n\r\n{\"Id\":\"../../../etc\"} ", ERR_MALFORMED },
		{ "SSH-2.0-OpenSSH_9.2\r\n", ERR_MALFORMED },
		{ "HTTP/1.1 301 X\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n", ERR_REFUSED },
	};
	struct t t;
	char *huge, *deep;

	(void)state;
	begin(&t, true);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		fake_rule(&t.fake, "/containers/x/json", FAKE_RAW, 0, cases[i].raw);
		find(&t, "x", 0);
		if (t.err != cases[i].err && t.err != ERR_MALFORMED)
			fail_msg("case %zu: %s (%s)", i, err_name(t.err), t.why);
		assert_int_not_equal(t.err, ERR_OK);
	}
	huge = malloc(DOCKER_ANSWER_MAX + 1000);
	assert_non_null(huge);
	memset(huge, ' ', DOCKER_ANSWER_MAX + 999);
	huge[DOCKER_ANSWER_MAX + 999] = '\0';
	fake_rule(&t.fake, "/containers/huge/json", FAKE_ANSWER, 200, huge);
	find(&t, "huge", 0);
	assert_int_equal(t.err, ERR_LIMIT);
	free(huge);
	deep = malloc(200001);
	assert_non_null(deep);
	memset(deep, '[', 200000);
	deep[200000] = '\0';
	fake_rule(&t.fake, "/containers/deep/json", FAKE_ANSWER, 200, deep);
	find(&t, "deep", 0);
	assert_int_equal(t.err, ERR_MALFORMED);
	free(deep);
	find(&t, "db", 0); /* and all is well after that */
	assert_int_equal(t.err, ERR_OK);
	end(&t);
}

static void test_slow_answers(void **state)
{
	struct t t;

	(void)state;
	begin(&t, true);
	fake_rule(&t.fake, "/containers/hang/json", FAKE_HANG, 0, "");
	fake_rule(&t.fake, "/containers/drip/json", FAKE_DRIP, 0, "");
	find(&t, "hang", 100);
	assert_int_equal(t.err, ERR_TIMEOUT);
	find(&t, "drip", 100);
	assert_int_equal(t.err, ERR_TIMEOUT);
	uint64_t q = docker_find_container(t.d, "hang", 0, on_container, &t);
	assert_int_not_equal(q, 0);
	size_t before = t.answers;
	docker_cancel(t.d, q);
	docker_cancel(t.d, q);
	find(&t, "db", 0);
	assert_int_equal(t.answers, before + 1); /* only that one */
	for (unsigned i = 0; i < 400; i++)       /* more than may wait: some are refused at once, none is lost */
		(void)docker_find_container(t.d, "hang", 300, on_container, &t);
	assert_true(t.answers > before + 1);
	run_until(&t, &t.answers, before + 401, 10000);
	assert_int_equal(t.answers, before + 401);
	(void)docker_find_container(t.d, "hang", 0, on_container, &t);
	end(&t); /* one that waits is answered */
	assert_int_equal(t.answers, before + 402);
	assert_int_equal(t.err, ERR_CLOSED);
}

static void test_nobody(void **state)
{
	struct t t;
	struct docker_stats s;

	(void)state;
	begin(&t, false);
	find(&t, "db", 0);
	assert_int_equal(t.err, ERR_UNREACHABLE);
	assert_false(docker_connected(t.d));
	fake_start(&t.fake, &t.loop, t.socket); /* it comes later */
	run_until(&t, &t.connected, 1, 10000);
	assert_int_equal(t.connected, 1);
	assert_true(docker_connected(t.d));
	docker_stats(t.d, &s);
	assert_string_equal(s.version, "20.10.24");
	assert_string_equal(s.trouble, "");
	assert_int_equal(docker_find_container(NULL, "db", 0, on_container, &t), 0);
	assert_int_equal(t.err, ERR_STATE);
	assert_false(docker_connected(NULL));
	end(&t);
}

static void test_stream(void **state)
{
	struct t t;
	struct docker_stats s;
	char *big = malloc(DOCKER_EVENT_MAX + 2000);

	(void)state;
	assert_non_null(big);
	begin(&t, true);
	run_until(&t, &t.connected, 1, 5000);
	fake_tell(&t.fake, "{\"Type\":\"container\",\"Action\":\"die\",\"Actor\":{\"ID\":\"" ID_A "\"}}\n{\"Type\":\"network\",");
	run_until(&t, &t.events, 1, 5000);
	assert_int_equal(t.last.kind, DOCKER_CONTAINER_DIE);
	assert_string_equal(t.last.id, ID_A);
	fake_tell(&t.fake,
		"\"Action\":\"connect\",\"Actor\":{\"ID\":\"" ID_N "\",\"Attributes\":{\"container\":\"" ID_A "\"}}}\n"
		"{\"Type\":\"image\",\"Action\":\"pull\"}\n");
	run_until(&t, &t.events, 2, 5000);
	assert_int_equal(t.last.kind, DOCKER_NETWORK_CONNECT);
	assert_string_equal(t.last.network, ID_N);
	assert_int_equal(t.connected, 1);
	/* What cannot be read was missed: everything is to be looked at anew, and the stream goes on. */
	fake_tell(&t.fake, "nonsense\n");
	run_until(&t, &t.connected, 2, 5000);
	assert_int_equal(t.connected, 2);
	memset(big, 'x', DOCKER_EVENT_MAX + 1000);
	big[DOCKER_EVENT_MAX + 1000] = '\n';
	big[DOCKER_EVENT_MAX + 1001] = '\0';
	fake_tell(&t.fake, big);
	run_until(&t, &t.connected, 3, 5000);
	assert_int_equal(t.connected, 3);
	fake_tell(&t.fake, "{\"Type\":\"container\",\"Action\":\"start\",\"Actor\":{\"ID\":\"" ID_A "\"}}\n");
	run_until(&t, &t.events, 3, 5000);
	assert_int_equal(t.last.kind, DOCKER_CONTAINER_START);
	docker_stats(t.d, &s);
	assert_int_equal(s.events_bad, 2);
	/* It is killed and comes back. */
	fake_stop(&t.fake);
	run_until(&t, &t.lost, 1, 5000);
	assert_int_equal(t.lost, 1);
	assert_false(docker_connected(t.d));
	memset(&t.fake.listener, 0, sizeof(t.fake.listener));
	fake_start(&t.fake, &t.loop, t.socket);
	run_until(&t, &t.connected, 4, 10000);
	assert_int_equal(t.connected, 4);
	end(&t);
	free(big);
}

/* One that accepts and closes, or speaks something else, all the time: never connected, and asked less and less often. */
static void test_flapping(void **state)
{
	struct t t;
	size_t never = 0;

	(void)state;
	begin(&t, true);
	fake_rule(&t.fake, "/events", FAKE_RAW, 0, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
	run_until(&t, &never, 1, 1200);
	assert_true(t.connected >= 2);
	assert_true(t.connected <= 8);
	assert_int_equal(t.lost, t.connected);
	fake_rule(&t.fake, "/events", FAKE_ANSWER, 500, "{\"message\":\"no\"}");
	size_t before = t.connected;
	run_until(&t, &never, 1, 700);
	assert_true(t.connected <= before + 1);
	end(&t);
}

/* Of lists: containers and their places, and nothing that is no id. */
static void test_lists(void **state)
{
	static const char good[] =
		"[{\"Id\":\"" ID_A "\",\"Names\":[\"/db\"],\"NetworkSettings\":{\"Networks\":{\"app\":{\"EndpointID\":\"" ID_E
		"\"},\"b\":{\"EndpointID\":\"../x\"},\"c\":7}}},{\"Id\":\"../\"},7,{\"Id\":\"" ID_N "\",\"Names\":7}]";
	static const char *const bad[] = { "", "{}", "[", "null", "7", "[{\"Id\":\"\\u0000\"}]" };
	struct docker_listed *v;
	struct err_note note;
	size_t n;

	(void)state;
	assert_int_equal(docker_parse_endpoints(slice_str(good), &v, &n, &note), ERR_OK);
	assert_int_equal(n, 5);
	assert_string_equal(v[0].id, ID_A);
	assert_string_equal(v[0].name, "db");
	assert_string_equal(v[0].endpoint, "");
	assert_string_equal(v[1].endpoint, ID_E);
	assert_string_equal(v[2].endpoint, "");
	assert_string_equal(v[4].id, ID_N);
	assert_string_equal(v[4].name, "");
	mem_free(v);
	assert_int_equal(docker_parse_endpoints(slice_str("[]"), &v, &n, &note), ERR_OK);
	assert_int_equal(n, 0);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(docker_parse_endpoints(slice_str(bad[i]), &v, &n, &note), ERR_MALFORMED);
		assert_null(v);
	}
	long before = mem_live();
	mem_fail_at(1, true);
	assert_int_equal(docker_parse_endpoints(slice_str(good), &v, &n, &note), ERR_NOMEM);
	mem_fail_at(0, false);
	assert_null(v);
	assert_int_equal(mem_live(), before);
}

static void each_network(void *ctx, const struct docker_network *n)
{
	struct t *t = ctx;

	assert_true(
		json_is_object(n->ipam) && json_is_object(n->containers) && json_is_object(n->labels) && json_is_object(n->options));
	t->events++;
	t->n = *n;
}

static void all_networks(void *ctx, enum err err, const char *why)
{
	struct t *t = ctx;

	t->answers++;
	t->err = err;
	(void)snprintf(t->why, sizeof(t->why), "%s", why);
}

/* All of Docker's networks; each answer, good or bad, ends in one word. */
static void test_networks(void **state)
{
	static const struct {
		enum fake_kind kind;
		unsigned status;
		const char *body;
		enum err err;
		size_t n;
	} answers[] = {
		{ FAKE_ANSWER, 200, networks_json, ERR_OK, 2 },
		{ FAKE_ANSWER, 200, "[]", ERR_OK, 0 },
		{ FAKE_ANSWER, 200, "{}", ERR_MALFORMED, 0 },
		{ FAKE_ANSWER, 200, "[{]", ERR_MALFORMED, 0 },
		{ FAKE_ANSWER, 500, "{\"message\":\"no\"}", ERR_REFUSED, 0 },
		{ FAKE_HANG, 0, "", ERR_TIMEOUT, 0 },
		{ FAKE_DRIP, 0, "", ERR_TIMEOUT, 0 },
	};
	struct t t;

	(void)state;
	for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
		begin(&t, true);
		fake_rule(&t.fake, "/networks", answers[i].kind, answers[i].status, answers[i].body);
		(void)docker_list_networks(t.d, 300, each_network, all_networks, &t);
		run_until(&t, &t.answers, 1, 2000);
		assert_int_equal(t.answers, 1);
		if (t.err != answers[i].err || t.events != answers[i].n)
			fail_msg("answer %zu: %s '%s', %zu networks", i, err_name(t.err), t.why, t.events);
		if (answers[i].n > 0)
			assert_string_equal(t.n.driver, "bridge");
		end(&t);
	}
	t = (struct t){ .answers = 0 };
	assert_int_equal(docker_list_networks(NULL, 0, each_network, all_networks, &t), 0);
	assert_true(t.answers == 1 && t.err == ERR_STATE);
}

/* Whatever allocation fails: an answer comes, nothing is lost, and the next question is answered as ever. */
static void test_out_of_memory(void **state)
{
	struct t t;
	size_t failed = 0;

	(void)state;
	begin(&t, true);
	run_until(&t, &t.connected, 1, 5000);
	find(&t, "db", 0);
	long live = mem_live();
	for (size_t n = 1; n <= 24; n++) {
		size_t before = t.answers;
		mem_fail_at(n, false);
		(void)docker_find_container(t.d, "db", 0, on_container, &t);
		run_until(&t, &t.answers, before + 1, 5000);
		mem_fail_at(0, false);
		assert_int_equal(t.answers, before + 1);
		failed += t.err != ERR_OK;
		assert_true(t.err == ERR_OK || t.err == ERR_NOMEM || t.err == ERR_MALFORMED);
		find(&t, "db", 0);
		assert_int_equal(t.err, ERR_OK);
	}
	assert_true(failed >= 3);
	assert_true(mem_live() <= live + 8); /* connections are kept, questions are not */
	end(&t);
}

/* Over TCP, by an address; a name would have to be looked up, and a scheme of another kind is none of ours. */
static void test_hosts(void **state)
{
	static const char *const bad[] = { "", "unix://", "unix://x", "http://127.0.0.1:1", "tcp://localhost:1", "tcp://127.0.0.1",
		"tcp://127.0.0.1:0", "tcp://127.0.0.1:1/x", "ssh://a" };
	char longest[200] = "unix:///";
	struct docker *d;
	uv_loop_t loop;

	(void)state;
	assert_int_equal(uv_loop_init(&loop), 0);
	struct docker_cfg cfg = { .loop = &loop };
	memset(longest + 8, 'x', 150);
	for (size_t i = 0; i <= sizeof(bad) / sizeof(bad[0]); i++) {
		struct err_note note = { "" };
		cfg.host = i < sizeof(bad) / sizeof(bad[0]) ? bad[i] : longest;
		assert_int_equal(docker_open(&d, &cfg, &note), ERR_USAGE);
		assert_string_not_equal(note.text, "");
	}
	struct t t = { .answers = 0 };
	cfg = (struct docker_cfg){
		.loop = &loop, .host = "tcp://[::1]:9", .connected = on_connected, .event = on_event, .lost = on_lost, .ctx = &t
	};
	assert_int_equal(docker_open(&d, &cfg, NULL), ERR_OK);
	assert_int_not_equal(docker_find_container(d, "db", 0, on_container, &t), 0);
	while (t.answers == 0)
		(void)uv_run(&loop, UV_RUN_ONCE);
	assert_true(t.err == ERR_UNREACHABLE || t.err == ERR_TIMEOUT);
	docker_close(d, on_closed, &t);
	while (!t.closed)
		(void)uv_run(&loop, UV_RUN_ONCE);
	assert_int_equal(uv_loop_close(&loop), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lookups),
		cmocka_unit_test(test_lists),
		cmocka_unit_test(test_networks),
		cmocka_unit_test(test_bad_answers),
		cmocka_unit_test(test_slow_answers),
		cmocka_unit_test(test_nobody),
		cmocka_unit_test(test_stream),
		cmocka_unit_test(test_flapping),
		cmocka_unit_test(test_out_of_memory),
		cmocka_unit_test(test_hosts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
