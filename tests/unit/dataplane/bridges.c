/* The host's bridges: which there are, their own switches and that for all, news of them, and where answers go. */
#include "tests/unit/dataplane/ns.h"

#include <poll.h>

#include "router/dataplane/bridges.h"

static bool may;
#define NEEDS_ROOT() \
	if (!may)        \
	skip()

struct state {
	int home, ns;
	struct bridges *b;
};

static int setup(void **s)
{
	static struct state t;
	*s = &t;
	if (!may)
		return 0;
	t.home = ns_here();
	t.ns = ns_new();
	ns_go(t.ns);
	return bridges_open(&t.b, NULL) == ERR_OK ? 0 : -1;
}

static int teardown(void **s)
{
	struct state *t = *s;
	if (!may)
		return 0;
	bridges_close(t->b);
	ns_go(t->home);
	close(t->ns);
	close(t->home);
	return 0;
}

struct found {
	struct bridges_one v[8];
	size_t n;
};

static void take(const struct bridges_one *one, void *arg)
{
	struct found *f = arg;
	assert_true(f->n < 8);
	f->v[f->n++] = *one;
}

static struct bridges_one only(struct bridges *b)
{
	struct found f = { .n = 0 };
	assert_int_equal(bridges_list(b, take, &f, NULL), ERR_OK);
	assert_int_equal(f.n, 1);
	return f.v[0];
}

static void switches(void **s)
{
	struct state *t = *s;
	NEEDS_ROOT();
	assert_int_equal(ns_run(-1, "ip link add br7 type bridge && ip link add v type veth peer name w"), 0);
	struct bridges_one one = only(t->b);
	assert_string_equal(one.name, "br7");
	assert_false(one.shown4 || one.shown6);
	assert_int_equal(bridges_show(t->b, one.index, 4, true, NULL), ERR_OK);
	one = only(t->b);
	assert_true(one.shown4 && !one.shown6);
	assert_int_equal(bridges_show(t->b, one.index, 6, true, NULL), ERR_OK);
	assert_int_equal(bridges_show(t->b, one.index, 4, false, NULL), ERR_OK);
	one = only(t->b);
	assert_true(!one.shown4 && one.shown6);
	if (bridges_all_shown(4) < 0)
		return; /* no br_netfilter here */
	for (int on = 1; on >= 0; on--)
		for (int family = 4; family <= 6; family += 2) {
			assert_int_equal(bridges_show_all(family, on, NULL), ERR_OK);
			assert_int_equal(bridges_all_shown(family), on);
		}
}

static bool news(struct bridges *b)
{
	struct pollfd p = { .fd = bridges_fd(b), .events = POLLIN };
	return poll(&p, 1, 1000) == 1 && bridges_news(b);
}

static void only_news_of_bridges_and_addresses(void **s)
{
	struct state *t = *s;
	NEEDS_ROOT();
	(void)bridges_news(t->b);
	assert_int_equal(ns_run(-1, "ip link add br7 type bridge"), 0);
	assert_true(news(t->b));
	assert_int_equal(ns_run(-1, "ip link add v type veth peer name w"), 0);
	assert_false(news(t->b));
	assert_int_equal(ns_run(-1, "ip addr add 10.1.1.1/24 dev br7"), 0);
	assert_true(news(t->b));
	assert_int_equal(ns_run(-1, "ip addr del 10.1.1.1/24 dev br7"), 0);
	assert_true(news(t->b));
}

static void answer(struct prefix subnet, void *arg)
{
	struct state *t = arg;
	assert_int_equal(bridges_answer_by(t->b, only(t->b).index, subnet, NULL), ERR_OK);
}

static void answers_leave_by_it(void **s)
{
	struct state *t = *s;
	NEEDS_ROOT();
	assert_int_equal(ns_run(-1, "ip link add br7 type bridge && ip addr add 172.18.0.1/16 dev br7 && ip link set br7 up"), 0);
	for (int i = 0; i < 2; i++)
		assert_int_equal(bridges_subnets(t->b, only(t->b).index, answer, t, NULL), ERR_OK);
	assert_int_equal(
		ns_run(-1, "test \"$(ip route show table 6784 | sed 's/ *$//')\" = '172.18.0.0/16 dev br7 proto static scope link'"), 0);
}

static void notes(void **s)
{
	struct state *t = *s;
	NEEDS_ROOT();
	assert_int_equal(ns_run(-1, "ip link add weft type bridge"), 0);
	assert_false(bridges_noted(t->b, "weft", "something"));
	assert_int_equal(bridges_note(t->b, "weft", "something", NULL), ERR_OK);
	assert_true(bridges_noted(t->b, "weft", "something"));
	assert_false(bridges_noted(t->b, "weft", "else"));
	assert_int_not_equal(bridges_note(t->b, "nosuch", "x", NULL), ERR_OK);
}

int main(void)
{
	may = ns_start();
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = { T(switches), T(only_news_of_bridges_and_addresses), T(answers_leave_by_it), T(notes) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
