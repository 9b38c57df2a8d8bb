/* Many hosts, every kind of misfortune, all from one seed: see model.h. */
#include "model.h"

#define HISTORIES       300 /* WEFT_HISTORIES says otherwise: thousands after a change of the rules */
#define LEASE_HISTORIES 300
#define POOR_HISTORIES  60

static struct prefix some_subnet(struct model *m)
{
	if (rng_chance(&m->rng, 700000))
		return m->subnet;
	uint8_t len = (uint8_t)rng_between(&m->rng, m->u.len + 1u, 30);
	uint32_t a = m->u.first + (uint32_t)rng_below(&m->rng, (uint64_t)1 << (32 - m->u.len));
	return prefix_network((struct prefix){ ip_v4(a), len });
}

static bool some_host(struct model *m, size_t *at)
{
	for (int k = 0; k < 20; k++) {
		*at = rng_below(&m->rng, m->n);
		if (m->h[*at].up && !m->h[*at].left)
			return true;
	}
	return false;
}

static void partition(struct model *m)
{
	for (size_t k = 0; k < m->n; k++)
		m->h[k].side = rng_chance(&m->rng, 500000);
	model_topology(m);
}

static void heal(struct model *m)
{
	for (size_t k = 0; k < m->n; k++)
		m->h[k].side = 0;
	model_topology(m);
}

/* What its containers had is asked for again: they live on. */
static void restart(struct model *m, size_t at, bool disk_lost)
{
	struct host *h = &m->h[at];
	if (disk_lost)
		disk_wipe(h);
	for (size_t n = 0; n < IDENTS_MAX; n++)
		h->c[n].lost |= h->c[n].want == HAS && disk_lost;
	if (m->reclaim && rng_chance(&m->rng, 300000))
		host_reboot(h);
	host_up(m, at);
	/* What is in use first, before anybody gets something new. */
	for (size_t n = 0; n < IDENTS_MAX && h->up; n++) {
		struct container *c = &h->c[n];
		if (!c->lost)
			continue;
		c->request = ++m->next_request;
		/* Until it is answered the container goes on using the address, and so it stays HAS. */
		model_step(m, at,
			&(struct ipam_event){
				.kind = IPAM_CLAIM, .request = c->request, .ident = ident_of(n), .subnet = c->addr, .wait = true, .on = true });
	}
	for (size_t n = 0; n < IDENTS_MAX && h->up; n++)
		if (h->c[n].want == WANTS)
			user_ask(m, at, n);
	if (h->up)
		model_topology(m);
}

struct plan {
	bool crashes, partitions, takeover, handover, disk_loss;
	size_t dead, lost;
};

static void die_for_ever(struct model *m, struct plan *p, size_t at)
{
	struct host *h = &m->h[at];
	if (h->up)
		host_down(m, at);
	h->dead = true;
	for (size_t n = 0; n < IDENTS_MAX; n++)
		h->c[n] = (struct container){ 0 };
	p->dead = at;
	model_topology(m);
}

static void act_on_container(struct model *m, size_t at)
{
	struct host *h = &m->h[at];
	size_t n = rng_below(&m->rng, 12);
	struct container *c = &h->c[n];
	if (c->want == HAS) {
		if (!c->lost && rng_chance(&m->rng, 600000))
			user_free(m, at, n);
	} else if (c->want == WANTS) {
		if (rng_chance(&m->rng, 200000) && c->request)
			user_cancel(m, at, n);
	} else if (rng_chance(&m->rng, 250000)) {
		uint32_t a = m->u.first + 1 + (uint32_t)rng_below(&m->rng, ((uint64_t)1 << (32 - m->u.len)) - 2);
		user_claim(m, at, n, (struct prefix){ ip_v4(a), m->u.len });
	} else {
		user_allocate(m, at, n, some_subnet(m));
	}
}

/* Hosts that are up and know the whole ring. */
static size_t who_know(const struct model *m)
{
	size_t know = 0;
	for (size_t k = 0; k < m->n; k++)
		know += m->h[k].up && ring_check(m->h[k].maps[0], m->u, NULL) == ERR_OK && !ring_empty(m->h[k].maps[0], m->u);
	return know;
}

static void act(struct model *m, struct plan *p)
{
	size_t at;
	uint64_t dice = rng_below(&m->rng, 100);
	if (dice < 80) {
		if (some_host(m, &at))
			act_on_container(m, at);
	} else if (dice < 86) {
		if (p->partitions)
			partition(m);
	} else if (dice < 90) {
		heal(m);
	} else if (dice < 96) {
		at = rng_below(&m->rng, m->n);
		if (!m->h[at].up && !m->h[at].dead && !m->h[at].left && !(m->reclaim && rng_chance(&m->rng, 700000)))
			restart(m, at, false);
	} else if (dice < 97) {
		at = rng_below(&m->rng, m->n);
		/* Not before there is a ring: a majority of those who vote must live. */
		if (p->takeover && p->dead == m->n && who_know(m) > 1 && m->h[at].init != IPAM_OBSERVER)
			die_for_ever(m, p, at);
	} else if (dice < 99) {
		if (p->dead < m->n && some_host(m, &at) && m->h[at].other_request == 0) {
			m->in_doubt = true;
			user_other(m, at, IPAM_TAKEOVER, m->h[p->dead].name);
		}
	} else if (p->disk_loss && p->lost == m->n && m->now > 6000) {
		at = rng_below(&m->rng, m->n);
		if (who_know(m) == m->n) {
			p->lost = at;
			m->in_doubt = true;
			host_down(m, at);
			model_topology(m);
			model_run(m, m->now + rng_below(&m->rng, 500));
			restart(m, at, true);
		}
	}
}

static bool somebody_waits(const struct model *m)
{
	for (size_t k = 0; k < m->n; k++)
		for (size_t n = 0; n < IDENTS_MAX && !m->h[k].dead; n++)
			if (m->h[k].c[n].want == WANTS || m->h[k].c[n].lost)
				return true;
	return false;
}

static bool all_equal(const struct model *m)
{
	struct slice all = { NULL, 0 };
	size_t first = m->n;
	for (size_t k = 0; k < m->n; k++) {
		if (m->h[k].dead)
			continue;
		if (first == m->n)
			first = k;
		for (int map = 0; map < (m->reclaim ? 2 : 3); map++)
			if (!fingerprint_eq(
					crdt_map_fingerprint(m->h[k].maps[map], all, all), crdt_map_fingerprint(m->h[first].maps[map], all, all)))
				return false;
	}
	return true;
}

/* All is well again: in the end whoever waits gets an address, everybody agrees, and the ring is whole. */
static void settle_down(struct model *m, struct plan *p)
{
	m->loss_ppm = m->crash_ppm = m->repeat_ppm = m->oom_ppm = 0;
	heal(m);
	for (size_t k = 0; k < m->n; k++)
		if (!m->h[k].up && !m->h[k].dead)
			restart(m, k, false);
	if (p->dead < m->n) {
		m->in_doubt = true;
		for (size_t k = 0; k < m->n; k++)
			if (m->h[k].up) {
				m->h[k].other_request = 0;
				user_other(m, k, IPAM_TAKEOVER, m->h[p->dead].name);
			}
	}
	model_run(m, m->now + (m->reclaim ? 20000 : 3000));
	/* A small subnet may be full: its containers go, and those that wait for it get their turn. */
	for (int round = 0; round < 8 && somebody_waits(m); round++) {
		for (size_t k = 0; k < m->n; k++)
			for (size_t n = 0; n < IDENTS_MAX; n++)
				if (m->h[k].c[n].want == HAS && !m->h[k].c[n].lost)
					user_free(m, k, n);
		model_run(m, m->now + 4000);
	}
	new_links(m);
	model_run(m, m->now + 1500);
	/* What is published now and then by the clock alone may be on its way just now. */
	for (int round = 0; round < 20 && (round == 0 || !all_equal(m)); round++) {
		new_links(m);
		model_run(m, m->now + 500);
	}
	for (size_t k = 0; k < m->n; k++) {
		struct host *h = &m->h[k];
		if (h->dead)
			continue;
		struct ipam_view v;
		ipam_view(h->ipam, &v);
		for (size_t n = 0; n < IDENTS_MAX; n++) {
			if (h->c[n].want == WANTS || h->c[n].lost) {
				size_t it = 0;
				struct ipam_pending_view pv;
				char text[PREFIX_TEXT];
				while (ipam_next_pending(h->ipam, &it, &pv))
					printf("host %zu: %s %s %s: %s\n", k, pv.kind, pv.ident, prefix_format(pv.subnet, text), pv.reason);
				printf("host %zu: %s\n", k, v.text);
				MODEL_FAIL(m, "somebody waits for ever");
			}
		}
		MODEL_CHECK(m, h->notes_error == 0);
		for (size_t o = 0; o < k; o++)
			if (!m->h[o].dead)
				for (int map = 0; map < (m->reclaim ? 2 : 3); map++) { /* leases are renewed all the time */
					struct slice all = { NULL, 0 };
					MODEL_CHECK(m,
						fingerprint_eq(
							crdt_map_fingerprint(h->maps[map], all, all), crdt_map_fingerprint(m->h[o].maps[map], all, all)));
				}
		struct err_note note;
		if (ring_check(h->maps[0], m->u, &note) != ERR_OK) {
			printf("%s\n", note.text);
			MODEL_FAIL(m, "the ring is not whole");
		}
		MODEL_CHECK(m, p->dead == m->n || m->reclaim || ring_owned_by(h->maps[0], m->u, m->h[p->dead].name) == 0);
	}
	check_addresses(m);
	if (m->n_seeds == 0)
		check_owners(m);
}

/* Whoever is started again from its disk knows what it knew. */
static void as_on_disk(struct model *m)
{
	for (size_t k = 0; k < m->n; k++) {
		struct host *h = &m->h[k];
		if (h->dead)
			continue;
		struct slice all = { NULL, 0 };
		struct fingerprint ring = crdt_map_fingerprint(h->maps[0], all, all);
		size_t leases = ipam_active(h->ipam);
		struct ipam_view before, after;
		ipam_view(h->ipam, &before);
		host_down(m, k);
		host_up(m, k);
		ipam_view(h->ipam, &after);
		MODEL_CHECK(m, fingerprint_eq(crdt_map_fingerprint(h->maps[0], all, all), ring));
		MODEL_CHECK(m, ipam_active(h->ipam) == leases && after.owned == before.owned);
	}
}

struct sums {
	size_t steps, crashes, failures, given, messages, epochs, reclaimed;
};

/* Leases of a second or a few, which end while hosts are down or cut off. */
static void with_leases(struct model *m, struct rng *r)
{
	m->reclaim = true;
	for (size_t k = 0; k < m->n; k++) {
		m->h[k].reclaim_after_ms = rng_chance(r, 900000) ? rng_between(r, 300, 3000) : 0;
		m->h[k].drift_pm = (int)rng_between(r, 0, 200) - 100;
	}
}

static void count_epochs(const struct model *m, struct sums *sums)
{
	uint64_t epochs = 0;
	size_t marks = 0;
	for (size_t k = 0; k < m->n; k++) {
		struct ipam_reclaim_view v;
		struct ipam_reclaimed a;
		size_t n = 0;
		if (!m->h[k].up)
			continue;
		ipam_reclaim_view(m->h[k].ipam, &v);
		while (ipam_next_reclaimed(m->h[k].ipam, &n, &a))
			assert_true(a.first <= a.last);
		epochs = v.epoch > epochs ? v.epoch : epochs;
		marks = n > marks ? n : marks;
	}
	sums->epochs += epochs;
	sums->reclaimed += marks;
}

static void history(uint64_t seed, bool break_persist, uint32_t oom_ppm, bool leases, struct sums *sums)
{
	struct model m;
	struct rng r;
	rng_seed(&r, seed ^ 0x5eed);
	model_init(&m, seed, 2 + rng_below(&r, 6), (uint8_t)rng_between(&r, 25, 28));
	struct plan p = { .crashes = rng_chance(&r, 600000), .partitions = rng_chance(&r, 700000), .dead = m.n, .lost = m.n };
	uint64_t kind = rng_below(&r, 4);
	p.takeover = kind == 1 && m.n > 2;
	p.disk_loss = kind == 2 && m.n > 2;
	m.loss_ppm = (uint32_t)rng_below(&r, 300000);
	m.repeat_ppm = (uint32_t)rng_below(&r, 200000);
	m.delay_ms = rng_between(&r, 1, 200);
	m.crash_ppm = p.crashes ? (uint32_t)rng_below(&r, 10000) : 0;
	m.break_persist = break_persist;
	m.oom_ppm = oom_ppm;
	if (rng_chance(&r, 300000) && m.n > 2) {
		m.h[0].init = IPAM_OBSERVER;
		m.consensus = m.n - 1;
	} else if (rng_chance(&r, 500000)) {
		m.consensus = 0;
	}
	if (leases)
		with_leases(&m, &r);
	model_start(&m);
	for (int k = 0; k < 150; k++) {
		model_run(&m, m.now + rng_below(&m.rng, 200));
		act(&m, &p);
	}
	settle_down(&m, &p);
	count_epochs(&m, sums);
	as_on_disk(&m);
	sums->steps += m.steps;
	sums->crashes += m.crashes;
	sums->failures += m.failures;
	sums->given += m.addresses_given;
	sums->messages += m.messages;
	model_end(&m);
}

static void histories(void **state)
{
	(void)state;
	uint64_t seed = test_seed("histories");
	const char *n = getenv("WEFT_HISTORIES");
	size_t count = n ? strtoul(n, NULL, 0) : HISTORIES;
	struct sums s = { 0 };
	for (size_t k = 0; k < count; k++)
		history(seed + k, getenv("WEFT_BREAK_PERSIST") != NULL, 0, false, &s);
	printf("%zu histories: %zu steps, %zu crashes, %zu addresses given, %zu messages\n", count, s.steps, s.crashes, s.given,
		s.messages);
	assert_true(s.given > count);
}

/* The same while dead owners are reclaimed, some of which were not dead. */
static void histories_with_leases(void **state)
{
	(void)state;
	uint64_t seed = test_seed("histories_with_leases");
	const char *n = getenv("WEFT_HISTORIES");
	size_t count = n ? strtoul(n, NULL, 0) : LEASE_HISTORIES;
	struct sums s = { 0 };
	for (size_t k = 0; k < count; k++)
		history(seed + k, getenv("WEFT_BREAK_PERSIST") != NULL, 0, true, &s);
	printf("%zu histories: %zu steps, %zu crashes, %zu addresses given, %zu epochs, %zu ranges reclaimed\n", count, s.steps,
		s.crashes, s.given, s.epochs, s.reclaimed);
	assert_true(count < 100 || (s.given > count && s.reclaimed > count / 10)); /* by chance: 56 … 90 of 300 */
}

/* The same, with leases in every other one, while memory runs out at any allocation, once or for the rest of a step. */
static void histories_without_memory(void **state)
{
	(void)state;
	uint64_t seed = test_seed("histories_without_memory");
	struct sums s = { 0 };
	long before = mem_live();
	for (size_t k = 0; k < POOR_HISTORIES; k++)
		history(seed + k, false, 100000, k % 2 == 1, &s);
	printf("%d histories: %zu steps, %zu of them refused, %zu crashes, %zu addresses given\n", POOR_HISTORIES, s.steps,
		s.failures, s.crashes, s.given);
	assert_true(s.failures > POOR_HISTORIES);
	assert_int_equal(mem_live(), before);
}

int main(void)
{
	if (getenv("WEFT_TEST") != NULL)
		cmocka_set_test_filter(getenv("WEFT_TEST"));
	const struct CMUnitTest tests[] = { cmocka_unit_test(histories), cmocka_unit_test(histories_with_leases),
		cmocka_unit_test(histories_without_memory) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
