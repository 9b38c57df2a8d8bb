#include "tests/unit/base/cmocka_all.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/rng.h"
#include "dns/forward.h"
#include "dns/wire.h"
#include "tests/unit/base/seed.h"
#include "tests/unit/dns/hex.h"

#define Q      "07\"eXample\"03\"org\"00 0001 0001 "
#define QUERY  "cafe 0120 0001 0000 0000 0000 " Q
#define RANDOM UINT64_C(0x4444333322221111)
#define ANSWER "8180 0001 0001 0000 0000 " Q "c00c 0001 0001 0000003c 0004 05060708"

struct world {
	struct dns_forward *f;
	struct dns_stats stats;
	struct dns_forward_actions a;
	struct packet p;
};

static struct hostport up(const char *text)
{
	struct hostport h;
	assert_int_equal(hostport_parse(text, 53, &h), ERR_OK);
	return h;
}

static void upstreams(struct world *w, const char *a, const char *b, const char *c)
{
	struct hostport v[3] = { 0 };
	size_t n = 0;
	if (a)
		v[n++] = up(a);
	if (b)
		v[n++] = up(b);
	if (c)
		v[n++] = up(c);
	dns_forward_set_upstreams(w->f, v, n);
}

static int setup(void **state)
{
	static struct world w;
	memset(&w, 0, sizeof(w));
	assert_int_equal(dns_forward_new(&w.f, &w.stats), ERR_OK);
	upstreams(&w, "8.8.8.8", "8.8.4.4", NULL);
	*state = &w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;
	dns_forward_free(w->f);
	return 0;
}

static void query(struct world *w, uint64_t now, uint64_t client, bool is_tcp)
{
	dns_forward_query(w->f, now, client, is_tcp, is_tcp ? 65535 : 512, hex(&w->p, QUERY), RANDOM, &w->a);
}

static void reply(struct world *w, uint64_t now, uint64_t sock, const char *from, const char *text)
{
	dns_forward_reply(w->f, now, sock, up(from), hex(&w->p, text), &w->a);
}

/* The call opened a socket to `to` and sent `text`; a CLOSE of `closed` came before when that is not 0. */
static uint64_t opened(struct world *w, uint64_t closed, const char *to, bool is_tcp, const char *text)
{
	size_t i = 0;
	if (closed) {
		assert_int_equal(w->a.n, 2);
		assert_int_equal(w->a.v[0].what, DNS_FORWARD_CLOSE);
		assert_int_equal(w->a.v[0].sock, closed);
		i = 1;
	}
	assert_int_equal(w->a.n, i + 1);
	assert_int_equal(w->a.v[i].what, DNS_FORWARD_OPEN);
	assert_true(hostport_eq(w->a.v[i].upstream, up(to)));
	assert_int_equal(w->a.v[i].is_tcp, is_tcp);
	assert_true(hex_is(w->a.v[i].bytes, text));
	return w->a.v[i].sock;
}

static void replied(struct world *w, uint64_t closed, uint64_t client, bool is_tcp, const char *text)
{
	size_t i = 0;
	if (closed) {
		assert_int_equal(w->a.n, 2);
		assert_int_equal(w->a.v[0].what, DNS_FORWARD_CLOSE);
		assert_int_equal(w->a.v[0].sock, closed);
		i = 1;
	}
	assert_int_equal(w->a.n, i + 1);
	assert_int_equal(w->a.v[i].what, DNS_FORWARD_REPLY);
	assert_int_equal(w->a.v[i].client, client);
	assert_int_equal(w->a.v[i].is_tcp, is_tcp);
	assert_true(hex_is(w->a.v[i].bytes, text));
}

#define SERVFAIL "cafe 8182 0001 0000 0000 0000 " Q

static void passes_through(void **state)
{
	struct world *w = *state;
	query(w, 100, 7, false);
	uint64_t s = opened(w, 0, "8.8.8.8", false, "1111 0120 0001 0000 0000 0000 " Q);
	assert_int_equal(dns_forward_deadline_ms(w->f), 100 + DNS_FORWARD_TRY_MS);
	/* Code, flags and every octet but the id are the upstream's; the question may come back in another case. */
	reply(w, 101, s, "8.8.8.8", "1111 8183 0001 0000 0000 0000 07\"EXAMPLE\"03\"org\"00 0001 0001 ff");
	replied(w, s, 7, false, "cafe 8183 0001 0000 0000 0000 07\"EXAMPLE\"03\"org\"00 0001 0001 ff");
	assert_int_equal(dns_forward_pending(w->f), 0);
	assert_int_equal(dns_forward_deadline_ms(w->f), UINT64_MAX);
	assert_int_equal(w->stats.answers[DNS_STAT_FORWARD][DNS_STAT_TYPE_A][DNS_STAT_RCODE_NXDOMAIN], 1);
	/* A second copy is nobody's. */
	reply(w, 102, s, "8.8.8.8", "1111 " ANSWER);
	assert_int_equal(w->a.n, 0);
	assert_int_equal(w->stats.drops[DNS_DROP_SOCKET], 1);

	query(w, 200, 8, true);
	s = opened(w, 0, "8.8.8.8", true, "1111 0120 0001 0000 0000 0000 " Q);
	reply(w, 201, s, "8.8.8.8", "1111 " ANSWER);
	replied(w, s, 8, true, "cafe " ANSWER);
}

static void does_not_match(void **state)
{
	struct world *w = *state;
	static const struct {
		const char *from, *text;
		int offset;
		enum dns_stat_drop why;
	} cases[] = {
		{ "8.8.8.8", "1111 " ANSWER, 1, DNS_DROP_SOCKET },
		{ "8.8.4.4", "1111 " ANSWER, 0, DNS_DROP_ADDRESS },
		{ "8.8.8.8:54", "1111 " ANSWER, 0, DNS_DROP_ADDRESS },
		{ "8.8.8.8", "2222 " ANSWER, 0, DNS_DROP_ID },
		{ "8.8.8.8", "cafe " ANSWER, 0, DNS_DROP_ID },
		{ "8.8.8.8", "1111 8180 0001 0000 0000 0000 07\"example\"03\"com\"00 0001 0001", 0, DNS_DROP_QUESTION },
		{ "8.8.8.8", "1111 8180 0001 0000 0000 0000 07\"example\"03\"org\"00 001c 0001", 0, DNS_DROP_QUESTION },
		{ "8.8.8.8", "1111 8180 0001 0000 0000 0000 07\"example\"03\"org\"00 0001 0003", 0, DNS_DROP_QUESTION },
		{ "8.8.8.8", "1111 8180 0000 0000 0000 0000 " Q, 0, DNS_DROP_QUESTION },
		{ "8.8.8.8", "1111 8180 0001 0000 0000 0000 c00c 0001 0001", 0, DNS_DROP_QUESTION },
		{ "8.8.8.8", "1111 8180 0001 0000 0000 0000 07\"exa\"", 0, DNS_DROP_QUESTION },
		{ "8.8.8.8", "1111 0180 0001 0000 0000 0000 " Q, 0, DNS_DROP_UPSTREAM_MALFORMED }, /* a query */
		{ "8.8.8.8", "1111 a180 0001 0000 0000 0000 " Q, 0, DNS_DROP_UPSTREAM_MALFORMED }, /* opcode */
		{ "8.8.8.8", "1111 8180 0001", 0, DNS_DROP_UPSTREAM_MALFORMED },
		{ "8.8.8.8", "", 0, DNS_DROP_UPSTREAM_MALFORMED },
	};
	query(w, 100, 7, false);
	uint64_t s = w->a.v[0].sock;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		uint64_t before = w->stats.drops[cases[i].why];
		reply(w, 101, s + (uint64_t)cases[i].offset, cases[i].from, cases[i].text);
		if (w->a.n != 0 || w->stats.drops[cases[i].why] != before + 1)
			fail_msg("case %zu", i);
	}
	/* And the true one is still welcome. */
	reply(w, 102, s, "8.8.8.8", "1111 " ANSWER);
	replied(w, s, 7, false, "cafe " ANSWER);
}

static void silence(void **state)
{
	struct world *w = *state;
	query(w, 1000, 7, false);
	uint64_t s = w->a.v[0].sock;
	dns_forward_tick(w->f, 2999, &w->a);
	assert_int_equal(w->a.n, 0);
	dns_forward_tick(w->f, 3000, &w->a);
	s = opened(w, s, "8.8.4.4", false, "2222 0120 0001 0000 0000 0000 " Q);
	dns_forward_tick(w->f, 5000, &w->a);
	s = opened(w, s, "8.8.8.8", false, "3333 0120 0001 0000 0000 0000 " Q); /* from the start again */
	assert_int_equal(dns_forward_deadline_ms(w->f), 6000);
	dns_forward_tick(w->f, 6000, &w->a);
	replied(w, s, 7, false, SERVFAIL);
	assert_int_equal(dns_forward_pending(w->f), 0);
	assert_int_equal(w->stats.retries, 2);
	assert_int_equal(w->stats.answers[DNS_STAT_FORWARD][DNS_STAT_TYPE_A][DNS_STAT_RCODE_SERVFAIL], 1);
}

static void hard_failures(void **state)
{
	struct world *w = *state;
	query(w, 100, 7, true);
	uint64_t s = w->a.v[0].sock;
	dns_forward_failed(w->f, 101, s + 9, &w->a);
	assert_int_equal(w->a.n, 0);
	dns_forward_failed(w->f, 101, s, &w->a);
	s = opened(w, s, "8.8.4.4", true, "2222 0120 0001 0000 0000 0000 " Q);
	dns_forward_failed(w->f, 102, s, &w->a); /* all have failed: no reason to wait */
	replied(w, s, 7, true, SERVFAIL);
}

static void no_upstream(void **state)
{
	struct world *w = *state;
	upstreams(w, NULL, NULL, NULL);
	query(w, 100, 7, false);
	replied(w, 0, 7, false, SERVFAIL);
	/* The list goes away under a query, and comes back under another. */
	upstreams(w, "8.8.8.8", NULL, NULL);
	query(w, 100, 8, false);
	uint64_t s = w->a.v[0].sock;
	upstreams(w, NULL, NULL, NULL);
	dns_forward_tick(w->f, 2100, &w->a);
	replied(w, s, 8, false, SERVFAIL);
	upstreams(w, "8.8.8.8", "9.9.9.9", NULL);
	query(w, 100, 9, false);
	s = w->a.v[0].sock;
	upstreams(w, "1.1.1.1", NULL, NULL);
	dns_forward_tick(w->f, 2100, &w->a);
	opened(w, s, "1.1.1.1", false, "2222 0120 0001 0000 0000 0000 " Q);
	struct hostport v[DNS_UPSTREAM_MAX];
	assert_int_equal(dns_forward_upstreams(w->f, v), 1);
	assert_true(hostport_eq(v[0], up("1.1.1.1")));
}

/* SERVFAIL and REFUSED of one upstream are given only when no other is better. */
static void refusal(void **state)
{
	struct world *w = *state;
	query(w, 100, 7, false);
	uint64_t s = w->a.v[0].sock;
	reply(w, 101, s, "8.8.8.8", "1111 8185 0001 0000 0000 0000 " Q);
	s = opened(w, s, "8.8.4.4", false, "2222 0120 0001 0000 0000 0000 " Q);
	reply(w, 102, s, "8.8.4.4", "2222 " ANSWER);
	replied(w, s, 7, false, "cafe " ANSWER);

	query(w, 100, 8, false);
	s = w->a.v[0].sock;
	reply(w, 101, s, "8.8.8.8", "1111 8185 0001 0000 0000 0000 " Q);
	s = opened(w, s, "8.8.4.4", false, "2222 0120 0001 0000 0000 0000 " Q);
	reply(w, 102, s, "8.8.4.4", "2222 8182 0001 0000 0000 0000 " Q);
	replied(w, s, 8, false, "cafe 8185 0001 0000 0000 0000 " Q); /* the first one's own words */

	query(w, 100, 9, false);
	s = w->a.v[0].sock;
	reply(w, 101, s, "8.8.8.8", "1111 8185 0001 0000 0000 0000 " Q);
	s = w->a.v[1].sock;
	dns_forward_tick(w->f, 2101, &w->a); /* the other is silent: do not ask the first again */
	replied(w, s, 9, false, "cafe 8185 0001 0000 0000 0000 " Q);
	assert_int_equal(w->stats.answers[DNS_STAT_FORWARD][DNS_STAT_TYPE_A][DNS_STAT_RCODE_REFUSED], 2);
}

static void too_large(void **state)
{
	struct world *w = *state;
	uint8_t big[2000] = { 0 };
	struct slice head = hex(&w->p, "1111 8580 0001 0040 0002 0003 " Q);
	memcpy(big, head.p, head.n);
	for (size_t size = 511; size <= 513; size++) {
		query(w, 100, 7, false);
		uint64_t s = w->a.v[0].sock;
		dns_forward_reply(w->f, 101, s, up("8.8.8.8"), slice_of(big, size), &w->a);
		if (size <= 512)
			assert_int_equal(w->a.v[1].bytes.n, size);
		else
			replied(w, s, 7, false, "cafe 8780 0001 0000 0000 0000 " Q);
	}
	assert_int_equal(w->stats.truncated, 1);
	query(w, 100, 7, true);
	dns_forward_reply(w->f, 101, w->a.v[0].sock, up("8.8.8.8"), slice_of(big, sizeof(big)), &w->a);
	assert_int_equal(w->a.v[1].bytes.n, sizeof(big));
}

static void bounded(void **state)
{
	struct world *w = *state;
	for (uint64_t i = 0; i < DNS_FORWARD_MAX; i++) {
		query(w, 100, i, false);
		assert_int_equal(w->a.v[0].what, DNS_FORWARD_OPEN);
	}
	query(w, 100, 5000, false);
	replied(w, 0, 5000, false, SERVFAIL);
	assert_int_equal(dns_forward_pending(w->f), DNS_FORWARD_MAX);
	/* All end in time, one a tick. */
	size_t replies = 0;
	while (dns_forward_deadline_ms(w->f) != UINT64_MAX) {
		dns_forward_tick(w->f, dns_forward_deadline_ms(w->f), &w->a);
		for (size_t i = 0; i < w->a.n; i++)
			replies += w->a.v[i].what == DNS_FORWARD_REPLY;
	}
	assert_int_equal(replies, DNS_FORWARD_MAX);
	assert_int_equal(dns_forward_pending(w->f), 0);
}

static void nonsense(void **state)
{
	struct world *w = *state;
	dns_forward_query(w->f, 1, 1, false, 512, slice_of("x", 1), RANDOM, &w->a);
	assert_int_equal(w->a.n, 0);
	dns_forward_query(w->f, 1, 1, false, 512, hex(&w->p, "cafe 0120 0002 0000 0000 0000 " Q), RANDOM, &w->a);
	assert_int_equal(w->a.n, 0);
	assert_int_equal(dns_forward_pending(w->f), 0);
}

/* Random events, also without memory: every query gets exactly one reply within its time, every socket is closed once. */
static void random_events(void **state)
{
	(void)state;
	static struct world w;
	static uint8_t replies[20000];
	static bool open[100000];
	struct rng rng;
	long live = mem_live();
	uint64_t now = 1, n = 0;
	uint64_t sockets = 0;
	size_t failures = 0;

	rng_seed(&rng, test_seed("forward"));
	memset(&w, 0, sizeof(w));
	assert_int_equal(dns_forward_new(&w.f, &w.stats), ERR_OK);
	upstreams(&w, "1.1.1.1", "2.2.2.2", "3.3.3.3");
	for (int step = 0; step < 30000; step++) {
		uint64_t what = rng_below(&rng, 100);
		uint64_t sock = rng_between(&rng, sockets > 20 ? sockets - 20 : 1, sockets + 1);
		if (rng_chance(&rng, 100000)) {
			mem_fail_at((size_t)rng_between(&rng, 1, 3), false);
			failures++;
		}
		w.a.n = 0;
		if (what < 30 && n < 20000) {
			query(&w, now, n++, rng_chance(&rng, 300000));
		} else if (what < 60) {
			static const char *const froms[] = { "1.1.1.1", "2.2.2.2", "3.3.3.3" };
			static const char *const texts[] = { "1111 " ANSWER, "2222 " ANSWER, "1111 8182 0001 0000 0000 0000 " Q,
				"2222 8185 0001 0000 0000 0000 " Q };
			reply(&w, now, sock, froms[rng_below(&rng, 3)], texts[rng_below(&rng, 4)]);
		} else if (what < 75) {
			dns_forward_failed(w.f, now, sock, &w.a);
		} else if (what < 98) {
			now += rng_below(&rng, 300);
			dns_forward_tick(w.f, now, &w.a);
		} else if (rng_chance(&rng, 900000)) {
			upstreams(&w, "1.1.1.1", rng_chance(&rng, 500000) ? "2.2.2.2" : NULL, "3.3.3.3");
		} else {
			upstreams(&w, NULL, NULL, NULL);
		}
		mem_fail_at(0, false);
		for (size_t i = 0; i < w.a.n; i++) {
			struct dns_forward_action *a = &w.a.v[i];
			if (a->what == DNS_FORWARD_REPLY) {
				assert_true(a->client < n);
				assert_int_equal(++replies[a->client], 1);
				assert_true(a->bytes.n >= DNS_HEADER_SIZE && a->bytes.p[0] == 0xca && a->bytes.p[1] == 0xfe);
			} else if (a->what == DNS_FORWARD_OPEN) {
				assert_true(a->sock > sockets && a->sock < sizeof(open) / sizeof(*open)); /* fresh */
				sockets = a->sock;
				open[a->sock] = true;
			} else {
				assert_true(open[a->sock]);
				open[a->sock] = false;
			}
		}
	}
	assert_true(failures > 100);
	size_t waiting = 0, opened_still = 0;
	for (uint64_t i = 0; i < n; i++)
		waiting += replies[i] == 0;
	for (size_t i = 0; i <= sockets; i++)
		opened_still += open[i];
	assert_int_equal(waiting, dns_forward_pending(w.f));
	assert_int_equal(opened_still, dns_forward_pending(w.f));
	dns_forward_free(w.f);
	assert_int_equal(mem_live(), live);
	mem_fail_at(1, true);
	assert_int_equal(dns_forward_new(&w.f, &w.stats), ERR_NOMEM);
	mem_fail_at(2, true);
	assert_int_equal(dns_forward_new(&w.f, &w.stats), ERR_NOMEM);
	mem_fail_at(0, false);
	assert_int_equal(mem_live(), live);
	dns_forward_free(NULL);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(passes_through),
		T(does_not_match),
		T(silence),
		T(hard_failures),
		T(no_upstream),
		T(refusal),
		T(too_large),
		T(bounded),
		T(nonsense),
		cmocka_unit_test(random_events),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
