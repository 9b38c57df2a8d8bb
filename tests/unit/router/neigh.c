/* Neighbour entries against what ip(8) says, in a network namespace of the test's own; announcements go into a pipe instead of the bridge. */
#include "tests/unit/dataplane/ns.h"

#include "router/core/announce.h"
#include "router/dataplane/link.h"
#include "router/log.h"
#include "router/neigh.h"

#define SELF UINT64_C(0x020000000005)

static bool may;

struct state {
	struct kernel *k;
	struct neigh *n;
	struct log *log;
	int home, ns, pipe[2];
};

static bool into_pipe(struct slice frame, void *arg)
{
	const int *pipe = arg;

	return write(pipe[1], frame.p, frame.n) == (ssize_t)frame.n;
}

static int setup(void **s)
{
	struct state *t = calloc(1, sizeof *t);
	*s = t;
	if (!may)
		return 0;
	t->home = ns_here();
	t->ns = ns_new();
	ns_go(t->ns);
	assert_int_equal(pipe2(t->pipe, O_NONBLOCK | O_DIRECT), 0);
	OK(kernel_open(NULL, &t->k, &note));
	OK(link_bridge(t->k, link_peer_mac(SELF), 1406, &note));
	t->log = log_new(STDERR_FILENO, LOG_LEVEL_ERROR, false);
	assert_non_null(t->log);
	OK(neigh_open(&t->n, SELF, t->k, t->log, &note));
	return 0;
}

static int teardown(void **s)
{
	struct state *t = *s;
	if (may) {
		neigh_close(t->n);
		log_free(t->log);
		kernel_close(t->k);
		close(t->pipe[0]);
		close(t->pipe[1]);
		ns_go(t->home);
		close(t->home);
		close(t->ns);
	}
	free(t);
	return 0;
}

#define NEEDS_ROOT() \
	if (!may)        \
	skip()

static struct mac m(unsigned n)
{
	return (struct mac){ { 2, 0, 0, 0, (uint8_t)(n >> 8), (uint8_t)n } };
}

static void want(struct state *t, const char *ip, unsigned mac, uint64_t peer)
{
	neigh_want(t->n, ip_of(ip), m(mac), peer);
}

/* That of the kernel, as the last two bytes of the MAC; 0: none. */
static unsigned known(const char *ip)
{
	json_t *j = ns_json(-1, "ip -j neigh show dev weft nud permanent"), *o = ns_pick(j, "dst", ip);
	struct mac mac = { { 0 } };
	if (o)
		assert_int_equal(mac_parse(ns_text(o, "lladdr"), &mac), ERR_OK);
	json_decref(j);
	return (unsigned)mac.b[4] << 8 | mac.b[5];
}

/* The next frame is the announcement of that. */
static bool told(struct state *t, const char *ip, unsigned mac)
{
	uint8_t got[256], expected[ANNOUNCE_MAX];
	size_t size = announce_frame(m(mac), ip_of(ip), expected);
	return read(t->pipe[0], got, sizeof got) == (ssize_t)size && memcmp(got, expected, size) == 0;
}

static bool silent(struct state *t)
{
	uint8_t got[256];
	return read(t->pipe[0], got, sizeof got) < 0 && errno == EAGAIN;
}

static size_t apply(struct state *t)
{
	return neigh_apply(t->n, true, into_pipe, t->pipe);
}

static void life(void **s)
{
	struct state *t = *s;
	NEEDS_ROOT();
	want(t, "10.32.0.7", 7, 1);
	assert_int_equal(apply(t), 0);
	assert_int_equal(known("10.32.0.7"), 7);
	assert_true(told(t, "10.32.0.7", 7) && silent(t));
	/* The same again changes nothing and says nothing, even if the kernel's entry is another by now: only differences are sent. */
	assert_int_equal(ns_run(-1, "ip neigh replace 10.32.0.7 lladdr 02:00:00:00:00:77 dev weft nud permanent"), 0);
	want(t, "10.32.0.7", 7, 1);
	assert_int_equal(apply(t), 0);
	assert_int_equal(known("10.32.0.7"), 0x77);
	assert_true(silent(t));
	/* To another MAC, on another host. */
	want(t, "10.32.0.7", 8, 2);
	want(t, "fd32::7", 8, 2);
	assert_int_equal(apply(t), 0);
	assert_int_equal(known("10.32.0.7"), 8);
	assert_int_equal(known("fd32::7"), 8);
	bool first = told(t, "10.32.0.7", 8); /* in no order */
	assert_true(told(t, "fd32::7", 8) || !first);
	assert_true(first || told(t, "10.32.0.7", 8));
	assert_true(silent(t));
	/* Nobody's any more; and back. */
	assert_int_equal(apply(t), 0);
	assert_int_equal(known("10.32.0.7") + known("fd32::7"), 0);
	want(t, "10.32.0.7", 8, 2);
	assert_int_equal(apply(t), 0);
	assert_int_equal(known("10.32.0.7"), 8);
	assert_true(told(t, "10.32.0.7", 8) && silent(t));
}

/* Whoever is asked first: our own host's is right, then the lowest peer's. */
static void whose(void **s)
{
	struct state *t = *s;
	NEEDS_ROOT();
	want(t, "10.32.0.7", 3, 3);
	want(t, "10.32.0.7", 2, 2);
	want(t, "10.32.0.7", 4, 4);
	assert_int_equal(apply(t), 0);
	assert_int_equal(known("10.32.0.7"), 2);
	assert_true(told(t, "10.32.0.7", 2) && silent(t));
	for (int order = 0; order < 2; order++) {
		want(t, "10.32.0.7", order ? 5 : 2, order ? SELF : 2);
		want(t, "10.32.0.7", order ? 2 : 5, order ? 2 : SELF);
		assert_int_equal(apply(t), 0);
		assert_int_equal(known("10.32.0.7"), 5);
		assert_true(silent(t)); /* our own containers speak for themselves */
	}
	want(t, "10.32.0.7", 2, 2);
	assert_int_equal(apply(t), 0);
	assert_true(told(t, "10.32.0.7", 2) && silent(t));
}

static void not_to_be_spoken_for(void **s)
{
	struct state *t = *s;
	NEEDS_ROOT();
	want(t, "169.254.67.83", 7, 1);
	want(t, "0.0.0.0", 7, 1);
	want(t, "ff02::1", 7, 1);
	neigh_want(t->n, ip_of("10.32.0.7"), mac_of("01:00:5e:00:00:01"), 1);
	assert_int_equal(apply(t), 0);
	json_t *j = ns_json(-1, "ip -j neigh show dev weft nud permanent");
	assert_int_equal(json_array_size(j), 0);
	json_decref(j);
	assert_true(silent(t));
}

/* A second daemon keeps what is right without a word, corrects what is wrong at once, and waits before it removes the rest. */
static void adoption(void **s)
{
	struct state *t = *s;
	NEEDS_ROOT();
	want(t, "10.32.0.7", 7, 1);
	want(t, "10.32.0.8", 8, 1);
	want(t, "10.32.0.9", 9, 1);
	assert_int_equal(apply(t), 0);
	assert_true(!silent(t) && !silent(t) && !silent(t) && silent(t));
	neigh_close(t->n);
	OK(neigh_open(&t->n, SELF, t->k, t->log, &note));
	assert_int_equal(neigh_inherited(t->n), 3);
	want(t, "10.32.0.7", 7, 1);
	want(t, "10.32.0.8", 0x18, 1);
	assert_int_equal(neigh_apply(t->n, false, into_pipe, t->pipe), 0);
	assert_true(told(t, "10.32.0.8", 0x18) && silent(t));
	assert_true(known("10.32.0.7") == 7 && known("10.32.0.8") == 0x18 && known("10.32.0.9") == 9);
	assert_int_equal(neigh_inherited(t->n), 1);
	/* What was ours once is not kept for a former daemon's sake. */
	want(t, "10.32.0.8", 0x18, 1);
	assert_int_equal(neigh_apply(t->n, false, into_pipe, t->pipe), 0);
	assert_true(known("10.32.0.7") == 0 && known("10.32.0.9") == 9);
	want(t, "10.32.0.8", 0x18, 1);
	assert_int_equal(apply(t), 0);
	assert_true(known("10.32.0.8") == 0x18 && known("10.32.0.9") == 0 && neigh_inherited(t->n) == 0);
}

/* What the kernel refuses is counted and tried again; containers are told all the same. */
static void refused(void **s)
{
	struct state *t = *s;
	NEEDS_ROOT();
	assert_int_equal(ns_run(-1, "ip link del weft"), 0);
	want(t, "10.32.0.7", 7, 1);
	assert_int_equal(apply(t), 1);
	assert_true(told(t, "10.32.0.7", 7));
	want(t, "10.32.0.7", 7, 1);
	assert_int_equal(apply(t), 1);
	OK(link_bridge(t->k, link_peer_mac(SELF), 1406, &note));
	want(t, "10.32.0.7", 7, 1);
	assert_int_equal(apply(t), 0);
	assert_int_equal(known("10.32.0.7"), 7);
	assert_true(silent(t));
	neigh_forget(t->n);
	assert_int_equal(apply(t), 0);
	assert_int_equal(known("10.32.0.7"), 7);
}

static void many(void **s)
{
	struct state *t = *s;
	NEEDS_ROOT();
	for (int round = 0; round < 2; round++) {
		for (unsigned i = 0; i < 3000; i++)
			neigh_want(t->n, ip_v4(0x0a200000u + i + 1), m(i), 1);
		assert_int_equal(neigh_apply(t->n, true, NULL, NULL), 0);
	}
	assert_int_equal(known("10.32.0.1"), 0);
	assert_int_equal(known("10.32.11.184"), 2999);
	assert_int_equal(neigh_apply(t->n, true, NULL, NULL), 0);
	assert_int_equal(known("10.32.11.184"), 0);
}

int main(void)
{
	may = ns_start();
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(life),
		T(whose),
		T(not_to_be_spoken_for),
		T(adoption),
		T(refused),
		T(many),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
