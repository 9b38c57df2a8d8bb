/* What goes wrong. Each seed has a menu of its own, drawn from all that there is: most faults are found where a few kinds come together, and would
 * be hidden where everything breaks all the time. What each fault is, the functions below say; scenarios (scenario.c) call the same ones.
 *
 * Time: each host has a clock of its own, up to a tenth fast or slow. A host may stall: what comes to it waits, timers included, and then all of
 * it comes at once. Disks: a transaction is all or nothing, as LMDB's are; hosts die before one, in the middle of it, and right after it. */
#include <string.h>

#include "base/mem.h"
#include "tests/sim/sim.h"

enum { FLAP_MIN_US = 200000, FLAP_MAX_US = 3000000, STALL_MAX_US = 3000000, DRIFT_MAX_PPM = 100000, LATE_MAX_US = 60000 };

/* --- the network ----------------------------------------------------------------------------------------------------------------------- */

void fault_cut(struct world *w, size_t from, size_t to, bool cut)
{
	w->cut[from * w->cfg.nodes + to] = cut ? 1 : 0;
}

void fault_cut_both(struct world *w, size_t a, size_t b, bool cut)
{
	fault_cut(w, a, b, cut);
	fault_cut(w, b, a, cut);
}

void fault_heal(struct world *w)
{
	memset(w->cut, 0, w->cfg.nodes * w->cfg.nodes);
	w->flaps++; /* those under way end */
	sim_trace(w, "the network heals");
}

/* Two halves, by chance; one_way: what the one says does not come to the other, but the other way it does. */
static void partition(struct world *w, bool one_way)
{
	uint64_t side[SIM_NODES_MAX / 64 + 1];

	for (size_t i = 0; i <= w->cfg.nodes / 64; i++)
		side[i] = rng_u64(&w->rng);
	for (size_t a = 0; a < w->cfg.nodes; a++)
		for (size_t b = 0; b < w->cfg.nodes; b++) {
			unsigned x = side[a / 64] >> a % 64 & 1, y = side[b / 64] >> b % 64 & 1;
			if (one_way ? x > y : x != y)
				fault_cut(w, a, b, true);
		}
	sim_trace(w, "the network splits%s", one_way ? ", one way" : "");
}

/* The way between two comes and goes, some twenty times. */
void fault_flap(struct world *w, size_t a, size_t b, unsigned times)
{
	struct sim_event *ev = sim_schedule(w, rng_between(&w->rng, FLAP_MIN_US, FLAP_MAX_US), SIM_FLAP, a);

	ev->conn = b;
	ev->generation = w->flaps;
	ev->side = (int)times;
}

void fault_flap_event(struct world *w, const struct sim_event *ev)
{
	size_t a = ev->node, b = (size_t)ev->conn;

	if (ev->generation != w->flaps)
		return;
	fault_cut_both(w, a, b, ev->side % 2 == 1);
	if (ev->side > 0)
		fault_flap(w, a, b, (unsigned)ev->side - 1);
}

/* --- hosts ------------------------------------------------------------------------------------------------------------------------------- */

static size_t majority(const struct world *w)
{
	return w->cfg.nodes / 2 + 1;
}

/* Who has a say in the first agreement: neither those that were told not to have one nor those that have lost their disks. */
static size_t voters(const struct world *w)
{
	size_t count = 0;

	for (size_t i = 0; i < w->cfg.nodes; i++)
		count += !w->nodes[i].observer;
	return count;
}

/* Its going for good leaves enough of those that were there at the beginning. */
bool fault_may_lose(const struct world *w, const struct node *n)
{
	return n->observer || voters(w) > majority(w);
}

/* The host is gone for ever, and another one comes in its place. */
void fault_replace(struct world *w, struct node *n)
{
	node_die(n, rng_chance(&w->rng, 300000));
	node_lose_disk(n);
	sim_trace(w, "node %zu is gone for ever; another host comes in its place", n->index);
}

/* The disk of the one is copied, while it runs, and another machine starts with the copy. */
void fault_clone(struct world *w, struct node *from, struct node *to)
{
	node_die(to, true);
	node_lose_disk(to);
	node_copy_disk(to, from);
	sim_trace(w, "node %zu starts from a copy of the disk of node %zu", to->index, from->index);
}

static void crash(struct world *w, struct node *n)
{
	if (n->core == NULL)
		return;
	if (rng_chance(&w->rng, 600000)) /* in the middle of some later step */
		n->crash_in = (int)rng_below(&w->rng, 12);
	else
		node_die(n, rng_chance(&w->rng, 300000));
}

/* Dies when it next writes: in the middle of it (nothing of it is there afterwards), or before anything that follows from it. */
void fault_torn(struct world *w, struct node *n)
{
	n->torn = n->core == NULL ? TORN_NOT : rng_chance(&w->rng, 500000) ? TORN_BEFORE : TORN_AFTER;
}

/* All at once, or most of them: the power of a whole room. */
void fault_restart_all(struct world *w, uint32_t part_pm)
{
	bool silently = rng_chance(&w->rng, 500000);

	sim_trace(w, "all hosts lose power");
	for (size_t i = 0; i < w->cfg.nodes; i++)
		if (rng_chance(&w->rng, part_pm))
			node_die(&w->nodes[i], silently);
}

/* Nothing that comes to it is looked at for a while. */
void fault_stall(struct world *w, struct node *n, uint64_t us)
{
	uint64_t until = w->now_us + us;

	n->stalled_until_us = until > n->stalled_until_us ? until : n->stalled_until_us;
	sim_trace(w, "node %zu stalls for %llu ms", n->index, (unsigned long long)us / 1000);
}

/* How fast its clock is from now on, per million. */
void fault_drift(struct world *w, struct node *n, int32_t ppm)
{
	n->clock_us = node_now_us(n);
	n->clock_at_us = w->now_us;
	n->drift_ppm = ppm;
	w->drifting = w->drifting || ppm != 0;
	sim_trace(w, "the clock of node %zu is %.1f %% fast", n->index, ppm / 1e4);
}

/* Its operator sees that a peer is gone for good, and says so here. Once for each of them, and not while hosts are down, the network is cut, or some host is not
 * in sight here: who takes a space over asks everybody of whom he knows. */
bool fault_remove_gone(struct world *w, struct node *n)
{
	if (n->core == NULL)
		return false;
	for (size_t i = 0; i < w->cfg.nodes * w->cfg.nodes; i++)
		if (w->cut[i] != 0)
			return false;
	for (size_t i = 0; i < w->cfg.nodes; i++)
		if (w->nodes[i].core == NULL || w->nodes[i].stalled_until_us > w->now_us ||
			(&w->nodes[i] != n && !gossip_reachable(core_gossip(n->core), w->nodes[i].name)))
			return false;
	if (w->n_gone == 0 || gossip_reachable(core_gossip(n->core), w->gone[w->n_gone - 1]))
		return false;
	sim_trace(w, "node %zu: rmpeer %llx", n->index, (unsigned long long)w->gone[w->n_gone - 1]);
	w->n_gone--;
	if (w->n_removed < SIM_GONE_MAX)
		w->removed[w->n_removed++] = w->gone[w->n_gone];
	node_remove_peer(n, w->gone[w->n_gone]);
	return true;
}

/* Its operator sees that a peer was removed before it was known of it what it owned (weft status ipam, weft rmpeer --plan), and removes it once more. Once: by now all
 * is known. */
bool fault_remove_again(struct world *w, struct node *n)
{
	uint64_t awaited[SIM_GONE_MAX];
	size_t n_awaited = core_ipam(n->core) != NULL ? ipam_awaited(core_ipam(n->core), NULL, 0, awaited, SIM_GONE_MAX) : 0;

	for (size_t i = 0; i < w->n_removed; i++) {
		uint64_t name = w->removed[i];
		for (size_t k = 0; k < n_awaited && k < SIM_GONE_MAX; k++) {
			if (awaited[k] != name)
				continue;
			sim_trace(w, "node %zu: rmpeer %llx, once more", n->index, (unsigned long long)name);
			w->removed[i] = w->removed[--w->n_removed];
			node_remove_peer(n, name);
			return true;
		}
	}
	return false;
}

/* --- the menu ----------------------------------------------------------------------------------------------------------------------------- */

enum dish {
	DISH_PARTITION,
	DISH_PARTITION_ONE_WAY,
	DISH_CUT,
	DISH_CUT_ONE_WAY,
	DISH_FLAP,
	DISH_CRASH,
	DISH_TORN,
	DISH_FULL,
	DISH_REPLACE,
	DISH_CLONE,
	DISH_REMOVE,
	DISH_ALL,
	DISH_STALL,
	DISH_DRIFT,
	DISH_WIRE,
	DISH_COUNT
};

void faults_make(struct world *w)
{
	w->menu = 0;
	for (unsigned d = 0; d < DISH_COUNT; d++)
		if (rng_chance(&w->rng, 600000))
			w->menu |= UINT32_C(1) << d;
	if (w->hostile != NULL)
		w->menu &= UINT32_C(1) << DISH_CRASH | UINT32_C(1) << DISH_TORN | UINT32_C(1) << DISH_FULL | UINT32_C(1) << DISH_ALL |
			UINT32_C(1) << DISH_STALL | UINT32_C(1) << DISH_DRIFT | UINT32_C(1) << DISH_WIRE;
	w->lossy = rng_chance(&w->rng, 700000);
	if ((w->menu >> DISH_DRIFT & 1) != 0)
		for (size_t i = 0; i < w->cfg.nodes; i++)
			fault_drift(w, &w->nodes[i], (int32_t)rng_below(&w->rng, 2 * DRIFT_MAX_PPM + 1) - DRIFT_MAX_PPM);
}

static void serve(struct world *w, enum dish d)
{
	size_t a = (size_t)rng_below(&w->rng, w->cfg.nodes), b = (size_t)rng_below(&w->rng, w->cfg.nodes);
	struct node *n = &w->nodes[a];

	switch (d) {
	case DISH_PARTITION: partition(w, false); break;
	case DISH_PARTITION_ONE_WAY: partition(w, true); break;
	case DISH_CUT: fault_cut_both(w, a, b, true); break;
	case DISH_CUT_ONE_WAY: fault_cut(w, a, b, true); break;
	case DISH_FLAP: fault_flap(w, a, b, 20); break;
	case DISH_CRASH: crash(w, n); break;
	case DISH_TORN: fault_torn(w, n); break;
	case DISH_FULL: n->disk_full = n->core != NULL; break;
	case DISH_REPLACE:
		if (n->core != NULL && fault_may_lose(w, n) && rng_chance(&w->rng, 400000))
			fault_replace(w, n);
		break;
	case DISH_CLONE:
		if (a != b && n->core != NULL && fault_may_lose(w, n) && rng_chance(&w->rng, 300000))
			fault_clone(w, &w->nodes[b], n);
		break;
	case DISH_REMOVE: (void)fault_remove_gone(w, n); break;
	case DISH_ALL:
		if (rng_chance(&w->rng, 300000))
			fault_restart_all(w, rng_chance(&w->rng, 500000) ? 1000000 : 700000);
		break;
	case DISH_STALL: fault_stall(w, n, rng_between(&w->rng, 50000, STALL_MAX_US)); break;
	case DISH_DRIFT: fault_drift(w, n, (int32_t)rng_below(&w->rng, 2 * DRIFT_MAX_PPM + 1) - DRIFT_MAX_PPM); break;
	case DISH_WIRE: data_fault(w); break;
	case DISH_COUNT: break;
	}
}

void faults_event(struct world *w)
{
	/* It heals as often as it breaks, or most of the time nothing would get through. */
	if (rng_chance(&w->rng, 250000))
		fault_heal(w);
	for (unsigned tries = 0; tries < 4; tries++) {
		enum dish d = (enum dish)rng_below(&w->rng, DISH_COUNT);
		if ((w->menu >> d & 1) == 0)
			continue;
		serve(w, d);
		break;
	}
	w->loss_pm = w->lossy && rng_chance(&w->rng, 500000) ? (uint32_t)rng_below(&w->rng, 100000) : 0;
	w->dup_pm = w->lossy && rng_chance(&w->rng, 500000) ? (uint32_t)rng_below(&w->rng, 100000) : 0;
	w->late_pm = w->lossy && rng_chance(&w->rng, 500000) ? (uint32_t)rng_below(&w->rng, 300000) : 0;
	w->delay_max_us = rng_chance(&w->rng, 300000) ? 200000 : 5000;
}

/* Overtaken by those that were sent after it. */
uint64_t faults_late_us(struct world *w)
{
	return w->late_pm > 0 && rng_chance(&w->rng, w->late_pm) ? rng_below(&w->rng, LATE_MAX_US) : 0;
}

void faults_calm(struct world *w)
{
	fault_heal(w);
	data_calm(w);
	w->loss_pm = w->cfg.loss_pm;
	w->dup_pm = w->late_pm = 0;
	w->delay_max_us = 5000;
	for (size_t i = 0; i < w->cfg.nodes; i++) {
		w->nodes[i].crash_in = -1;
		w->nodes[i].torn = TORN_NOT;
		w->nodes[i].disk_full = false;
	}
}
