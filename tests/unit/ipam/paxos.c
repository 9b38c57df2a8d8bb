/* Agreement under random schedules: states are delivered late, repeatedly or never; hosts crash and come back with what they had stored. */
#include "ipam/paxos.h"

#include <string.h>

#include "../base/cmocka_all.h"
#include "../base/seed.h"
#include "base/mem.h"
#include "base/rng.h"

#define SCHEDULES 100000
#define NODES_MAX 5
#define HISTORY   80

static const struct universe u = { 0x0a200000, 12 };

struct state_bytes {
	uint8_t b[64 + NODES_MAX * PAXOS_MEMBER];
	size_t n;
};

struct node {
	uint64_t name;
	struct paxos p;
	struct crdt_map *m;
	struct state_bytes history[HISTORY]; /* all states it ever published; the last is on disk */
	struct state_bytes shown[HISTORY];   /* the same as the others saw them: perhaps abridged */
	size_t n;
};

struct world {
	struct rng *rng;
	struct node node[NODES_MAX];
	size_t n, quorum;
	struct state_bytes chosen; /* members */
	bool is_chosen;
	size_t decisions;
};

static void encode(const struct node *x, struct state_bytes *out)
{
	struct wbuf w;
	struct paxos_state s = paxos_state(&x->p);
	wbuf_fixed(&w, out->b, sizeof out->b);
	paxos_state_encode(&w, &s);
	assert_int_equal(wbuf_end(&w), ERR_OK);
	out->n = w.len;
}

static void publish(struct node *x)
{
	assert_true(x->n < HISTORY);
	encode(x, &x->history[x->n]);
	x->shown[x->n] = x->history[x->n];
	x->n++;
}

/* The last state once more, without the value. What is on disk keeps it. */
static void publish_abridged(struct node *x)
{
	struct wbuf w;
	struct paxos_state s = paxos_state(&x->p);
	if (x->n == 0 || x->n >= HISTORY - 1)
		return;
	encode(x, &x->history[x->n]);
	s.members = slice_of(NULL, 0);
	wbuf_fixed(&w, x->shown[x->n].b, sizeof x->shown[x->n].b);
	paxos_state_encode(&w, &s);
	assert_int_equal(wbuf_end(&w), ERR_OK);
	x->shown[x->n++].n = w.len;
}

static void node_up(struct node *x, uint64_t name)
{
	x->name = name;
	assert_int_equal(crdt_map_new(&x->m, true, 1), ERR_OK);
	paxos_init(&x->p, name, u, (uint32_t)name * 7);
	if (x->n > 0) {
		struct paxos_state s;
		const struct state_bytes *b = &x->history[x->n - 1];
		assert_int_equal(paxos_state_decode(slice_of(b->b, b->n), &s), ERR_OK);
		assert_int_equal(paxos_load(&x->p, &s), ERR_OK);
	}
}

static void node_down(struct node *x)
{
	crdt_map_free(x->m);
	paxos_free(&x->p);
}

static void deliver(struct node *to, const struct node *from, size_t which)
{
	uint8_t key[6 + UNIVERSE_SUBKEY], mem[UNIVERSE_SUBKEY];
	struct wbuf k;
	enum crdt_merge what;
	wbuf_fixed(&k, key, sizeof key);
	wbuf_u48(&k, from->name);
	wbuf_bytes(&k, universe_subkey(u, 'a', mem).p, UNIVERSE_SUBKEY);
	struct crdt_item it = { .key = wbuf_slice(&k),
		.stamp = { 1, which + 1 },
		.live = true,
		.value = slice_of(from->shown[which].b, from->shown[which].n) };
	assert_int_equal(crdt_map_merge(to->m, &it, &what, NULL), ERR_OK);
}

static void decide(struct world *w, struct slice members)
{
	if (!w->is_chosen) {
		w->is_chosen = true;
		w->chosen.n = members.n;
		memcpy(w->chosen.b, members.p, members.n);
		return;
	}
	assert_true(slice_eq(slice_of(w->chosen.b, w->chosen.n), members));
}

/* What any node believes, and what anybody who saw all states there ever were would say. */
static void check(struct world *w)
{
	for (size_t k = 0; k < w->n; k++) {
		struct slice members;
		if (paxos_chosen(&w->node[k].p, w->node[k].m, w->quorum, &members)) {
			decide(w, members);
			w->decisions++;
		}
	}
	for (size_t k = 0; k < w->n; k++) {
		struct paxos_state s, t;
		if (w->node[k].n == 0)
			continue;
		const struct state_bytes *b = &w->node[k].history[w->node[k].n - 1];
		assert_int_equal(paxos_state_decode(slice_of(b->b, b->n), &s), ERR_OK);
		if (s.accepted.round == 0)
			continue;
		size_t same = 0;
		for (size_t o = 0; o < w->n; o++) {
			bool found = false;
			for (size_t h = 0; h < w->node[o].n && !found; h++) {
				const struct state_bytes *c = &w->node[o].history[h];
				assert_int_equal(paxos_state_decode(slice_of(c->b, c->n), &t), ERR_OK);
				found = ballot_cmp(t.accepted, s.accepted) == 0;
				/* One ballot, one value. */
				if (found)
					assert_true(slice_eq(t.members, s.members));
			}
			same += found;
		}
		if (same >= w->quorum)
			decide(w, s.members);
	}
}

static void act(struct world *w)
{
	size_t at = rng_below(w->rng, w->n), other = rng_below(w->rng, w->n);
	struct node *x = &w->node[at];
	bool changed = false;
	struct slice members;
	switch (rng_below(w->rng, 10)) {
	case 1:
		if (paxos_chosen(&x->p, x->m, w->quorum, &members))
			publish_abridged(x);
		return;
	case 0: assert_int_equal(paxos_propose(&x->p, x->m, &changed), ERR_OK); break;
	case 2:
		/* Crash: what was not published is not stored either. */
		node_down(x);
		node_up(x, x->name);
		break;
	default:
		if (other == at || w->node[other].n == 0)
			return;
		/* The newest state most of the time. */
		deliver(x, &w->node[other], rng_chance(w->rng, 700000) ? w->node[other].n - 1 : rng_below(w->rng, w->node[other].n));
		assert_int_equal(paxos_listen(&x->p, x->m, &changed), ERR_OK);
		assert_int_equal(paxos_lead(&x->p, x->m, w->quorum, &changed), ERR_OK);
		break;
	}
	if (!changed)
		return;
	if (x->n >= HISTORY - 1 || rng_chance(w->rng, 50000)) {
		/* Crash before it was stored. */
		node_down(x);
		node_up(x, x->name);
		return;
	}
	publish(x);
	check(w);
}

static void schedules(void **state)
{
	(void)state;
	struct rng rng;
	rng_seed(&rng, test_seed("schedules"));
	size_t decided = 0, decisions = 0;
	for (int k = 0; k < SCHEDULES; k++) {
		struct world *w = calloc(1, sizeof *w);
		w->rng = &rng;
		w->n = rng_between(&rng, 1, NODES_MAX);
		w->quorum = w->n / 2 + 1;
		for (size_t n = 0; n < w->n; n++)
			node_up(&w->node[n], n + 1);
		for (int step = 0; step < 70; step++)
			act(w);
		decided += w->is_chosen;
		decisions += w->decisions;
		for (size_t n = 0; n < w->n; n++)
			node_down(&w->node[n]);
		free(w);
	}
	printf("%d schedules, %zu decided, %zu times seen so by some host\n", SCHEDULES, decided, decisions);
	assert_true(decided > SCHEDULES / 4);
}

/* With everything delivered, one proposal is enough, and all who were known are in the value. */
static void one_round(void **state)
{
	(void)state;
	struct rng rng;
	rng_seed(&rng, 1);
	struct world w = { .rng = &rng, .n = 3, .quorum = 2 };
	bool changed = false;
	for (size_t n = 0; n < 3; n++) {
		node_up(&w.node[n], n + 1);
		publish(&w.node[n]);
	}
	for (size_t n = 1; n < 3; n++)
		deliver(&w.node[0], &w.node[n], 0);
	assert_int_equal(paxos_known(&w.node[0].p, w.node[0].m), 3);
	assert_true(paxos_is_acceptor(w.node[0].m, u, 2));
	assert_false(paxos_is_acceptor(w.node[0].m, u, 9));
	assert_int_equal(paxos_propose(&w.node[0].p, w.node[0].m, &changed), ERR_OK);
	publish(&w.node[0]);
	deliver(&w.node[1], &w.node[0], 1);
	assert_int_equal(paxos_listen(&w.node[1].p, w.node[1].m, &changed), ERR_OK);
	publish(&w.node[1]);
	deliver(&w.node[0], &w.node[1], 1);
	changed = false;
	assert_int_equal(paxos_lead(&w.node[0].p, w.node[0].m, 2, &changed), ERR_OK);
	assert_true(changed);
	publish(&w.node[0]);
	struct slice members;
	assert_false(paxos_chosen(&w.node[0].p, w.node[0].m, 2, &members));
	deliver(&w.node[1], &w.node[0], 2);
	assert_int_equal(paxos_listen(&w.node[1].p, w.node[1].m, &changed), ERR_OK);
	assert_true(paxos_chosen(&w.node[1].p, w.node[1].m, 2, &members));
	size_t at = 0;
	uint64_t name;
	uint32_t memory;
	for (uint64_t n = 1; n <= 3; n++) {
		assert_true(paxos_member(members, &at, &name, &memory));
		assert_int_equal(name, n);
		assert_int_equal(memory, n * 7);
	}
	assert_false(paxos_member(members, &at, &name, &memory));
	for (size_t n = 0; n < 3; n++)
		node_down(&w.node[n]);
}

/* Hosts that expect different numbers: a vote is of no use to one that expects less than its caster does. */
static void quorums_differ(void **state)
{
	(void)state;
	struct rng rng;
	rng_seed(&rng, 1);
	struct world w = { .rng = &rng, .n = 5, .quorum = 2 };
	bool changed = false;
	struct slice members;
	for (size_t n = 0; n < 5; n++) {
		node_up(&w.node[n], n + 1);
		w.node[n].p.quorum = n < 2 ? 2 : 3;
		publish(&w.node[n]);
	}
	struct node *a = &w.node[0], *b = &w.node[1], *c = &w.node[2], *d = &w.node[3];
	assert_int_equal(paxos_propose(&a->p, a->m, &changed), ERR_OK);
	publish(a);
	deliver(c, a, 1);
	assert_int_equal(paxos_listen(&c->p, c->m, &changed), ERR_OK);
	publish(c);
	deliver(a, c, 1);
	changed = false;
	assert_int_equal(paxos_lead(&a->p, a->m, 2, &changed), ERR_OK);
	assert_false(changed); /* two promises, but one is of a host that goes by three */
	deliver(d, a, 1);
	assert_int_equal(paxos_listen(&d->p, d->m, &changed), ERR_OK);
	publish(d);
	deliver(a, d, 1);
	changed = false;
	assert_int_equal(paxos_lead(&a->p, a->m, 4, &changed), ERR_OK);
	assert_false(changed); /* by its own word it is not enough */
	assert_int_equal(paxos_lead(&a->p, a->m, 2, &changed), ERR_OK);
	assert_true(changed); /* three, and three is enough for all of them */
	publish(a);
	deliver(c, a, 2);
	assert_int_equal(paxos_listen(&c->p, c->m, &changed), ERR_OK);
	publish(c);
	deliver(a, c, 2);
	assert_false(paxos_chosen(&a->p, a->m, 2, &members));
	deliver(b, a, 2);
	assert_int_equal(paxos_listen(&b->p, b->m, &changed), ERR_OK);
	publish(b);
	deliver(a, b, 1);
	assert_true(paxos_chosen(&a->p, a->m, 2, &members));
	for (size_t n = 0; n < 5; n++)
		node_down(&w.node[n]);
}

/* Many take part: the value holds no more than it may, the proposer among them. */
static void very_many(void **state)
{
	(void)state;
	struct paxos p;
	struct crdt_map *m;
	enum { MANY = 300 };
	bool changed = false;
	paxos_init(&p, MANY + 1, u, 7);
	assert_int_equal(crdt_map_new(&m, true, 1), ERR_OK);
	p.quorum = 1;
	assert_int_equal(paxos_propose(&p, m, &changed), ERR_OK);
	for (uint64_t n = 1; n <= MANY; n++) {
		uint8_t key[6 + UNIVERSE_SUBKEY], mem[UNIVERSE_SUBKEY], value[64];
		struct wbuf k, v;
		enum crdt_merge what;
		struct paxos_state s = { .memory = (uint32_t)n, .quorum = MANY / 2, .promised = p.promised };
		wbuf_fixed(&k, key, sizeof key);
		wbuf_u48(&k, n);
		wbuf_bytes(&k, universe_subkey(u, 'a', mem).p, UNIVERSE_SUBKEY);
		wbuf_fixed(&v, value, sizeof value);
		paxos_state_encode(&v, &s);
		struct crdt_item it = { .key = wbuf_slice(&k), .stamp = { 1, 1 }, .live = true, .value = wbuf_slice(&v) };
		assert_int_equal(crdt_map_merge(m, &it, &what, NULL), ERR_OK);
	}
	assert_int_equal(paxos_known(&p, m), MANY + 1);
	assert_int_equal(paxos_lead(&p, m, MANY / 2 + 1, &changed), ERR_OK);
	assert_int_equal(p.n_members, PAXOS_VALUE_MAX);
	size_t at = 0;
	uint64_t name = 0;
	uint32_t memory;
	while (paxos_member(slice_of(p.members, p.n_members * PAXOS_MEMBER), &at, &name, &memory))
		continue;
	assert_int_equal(name, MANY + 1);
	paxos_free(&p);
	crdt_map_free(m);
}

static void decode(const char *hex, enum err expected)
{
	uint8_t b[64];
	size_t n = strlen(hex) / 2;
	for (size_t k = 0; k < n; k++) {
		unsigned v;
		assert_int_equal(sscanf(hex + 2 * k, "%2x", &v), 1);
		b[k] = (uint8_t)v;
	}
	struct paxos_state s;
	assert_int_equal(paxos_state_decode(slice_of(b, n), &s), expected);
	if (expected != ERR_OK)
		return;
	uint8_t again[64];
	struct wbuf w;
	wbuf_fixed(&w, again, sizeof again);
	paxos_state_encode(&w, &s);
	assert_true(slice_eq(wbuf_slice(&w), slice_of(b, n)));
}

static void states_from_outside(void **state)
{
	(void)state;
	decode("0000000703"
		   "00000000000000"
		   "00000000000000"
		   "00"
		   "00",
		ERR_MALFORMED); /* a byte too many */
	decode("0000000703"
		   "00000000000000"
		   "00000000000000"
		   "00",
		ERR_OK);
	decode("0000000703"
		   "05000000000001"
		   "00000000000000"
		   "00",
		ERR_OK);
	decode("0000000703"
		   "05000000000001"
		   "04000000000002"
		   "01"
		   "00000000000100000007",
		ERR_OK);
	decode("0000000703"
		   "05000000000001"
		   "06000000000002"
		   "01"
		   "00000000000100000007",
		ERR_MALFORMED); /* accepted above promised */
	decode("0000000703"
		   "05000000000001"
		   "04000000000002"
		   "00",
		ERR_OK); /* abridged */
	decode("0000000703"
		   "05000000000001"
		   "00000000000000"
		   "01"
		   "00000000000100000007",
		ERR_MALFORMED); /* a value for no ballot */
	decode("0000000703"
		   "05000000000000"
		   "00000000000000"
		   "00",
		ERR_MALFORMED); /* a ballot of nobody */
	decode("0000000703"
		   "05000000000001"
		   "04000000000002"
		   "02"
		   "0000000000020000000700000000000100000007",
		ERR_MALFORMED); /* not ascending */
	decode("0000000703"
		   "05000000000001"
		   "04000000000002"
		   "41",
		ERR_LIMIT); /* 65 members */
	decode("00000007"
		   "8080808010"
		   "00000000000000"
		   "00000000000000"
		   "00",
		ERR_LIMIT); /* a quorum of more than there can be */
	decode("0000000703"
		   "0500000000",
		ERR_TRUNCATED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_round),
		cmocka_unit_test(quorums_differ),
		cmocka_unit_test(very_many),
		cmocka_unit_test(states_from_outside),
		cmocka_unit_test(schedules),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
