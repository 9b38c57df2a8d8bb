#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "tests/sim/sim.h"

enum {
	CLIENT_EVERY_US = 700000,
	FAULT_EVERY_US = 2500000,
	REST_POLL_MS = 500,
	LEASE_MIN_MS = 6000,
	LEASE_MAX_MS = 25000,
	REMOVE_AFTER_US = 20000000,
	CLIENTS_FULL = 16,
	STARTED_WITHIN_US = 100000
};

void *sim_must(void *p)
{
	if (p == NULL) {
		(void)fprintf(stderr, "the simulator is out of memory\n");
		abort();
	}
	return p;
}

void sim_trace(struct world *w, const char *fmt, ...)
{
	va_list args;

	if (w->cfg.trace == NULL)
		return;
	(void)fprintf(w->cfg.trace, "%12.6f ", (double)w->now_us / 1e6);
	va_start(args, fmt);
	(void)vfprintf(w->cfg.trace, fmt, args);
	va_end(args);
	(void)fputc('\n', w->cfg.trace);
}

void sim_fail(struct world *w, const char *fmt, ...)
{
	char text[400];
	va_list args;

	va_start(args, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	sim_trace(w, "FAILURE: %s", text);
	if (w->failure[0] == '\0')
		(void)snprintf(w->failure, sizeof(w->failure), "at %.6f s: %s", (double)w->now_us / 1e6, text);
}

struct sim_event *sim_schedule(struct world *w, uint64_t delay_us, enum sim_kind kind, size_t node)
{
	struct sim_event *ev = sim_must(mem_zalloc(1, sizeof(*ev)));

	ev->kind = kind;
	ev->node = node;
	if (heap_push(&w->queue, &ev->at, w->now_us + delay_us) != ERR_OK)
		sim_must(NULL);
	return ev;
}

uint64_t world_delay_us(struct world *w)
{
	if (w->cfg.rtt_ms > 0)
		return w->cfg.rtt_ms * 500 + rng_below(&w->rng, w->cfg.rtt_ms * 50 + 1);
	return 50 + rng_below(&w->rng, w->delay_max_us) + faults_late_us(w);
}

static void calm(struct world *w)
{
	faults_calm(w);
	w->busy = false;
	sim_trace(w, "quiet");
}

/* --- run ----------------------------------------------------------------------------------------------------------------------------------- */

/* However many nodes there are, about as much is done by all their users together as by those of this many. */
static uint64_t crowd(const struct world *w)
{
	return w->cfg.nodes < CLIENTS_FULL ? 1 : w->cfg.nodes / CLIENTS_FULL;
}

static bool is_alive(const struct world *w, const struct sim_event *ev)
{
	return w->nodes[ev->node].core != NULL && w->nodes[ev->node].life == ev->life;
}

static void dispatch(struct world *w, struct sim_event *ev)
{
	struct node *n = &w->nodes[ev->node];

	switch (ev->kind) {
	case SIM_TIMER:
		if (is_alive(w, ev))
			node_timer(n, ev->generation);
		break;
	case SIM_CLIENT:
		if (!hostile_acts(n))
			node_client(n);
		(void)sim_schedule(w, rng_between(&w->rng, CLIENT_EVERY_US / 4, CLIENT_EVERY_US * 2) * crowd(w), SIM_CLIENT, ev->node);
		break;
	case SIM_FAULT:
		if (w->busy) {
			faults_event(w);
			(void)sim_schedule(w, rng_between(&w->rng, FAULT_EVERY_US / 4, FAULT_EVERY_US * 2), SIM_FAULT, 0);
		}
		break;
	case SIM_START_CONTAINER:
		if (n->core != NULL)
			node_start_container(n, false);
		break;
	case SIM_REVIVE:
		if (n->core == NULL && !n->gone)
			node_start(n);
		break;
	case SIM_SEGMENT:
	case SIM_RETRANSMIT:
	case SIM_CONNECTED:
	case SIM_CLOSED:
	case SIM_DRAINED: net_event(w, ev); break;
	case SIM_DATAGRAM:
	case SIM_TRAFFIC: data_event(w, ev); break;
	case SIM_FLAP: fault_flap_event(w, ev); break;
	case SIM_HEAL: break;
	}
}

/* What a stalled host does not look at yet. Segments wait in its kernel, which acknowledges them. */
static bool must_wait(const struct world *w, const struct sim_event *ev)
{
	const struct node *n = &w->nodes[ev->node];

	if (n->stalled_until_us <= w->now_us || n->core == NULL)
		return false;
	switch (ev->kind) {
	case SIM_TIMER:
	case SIM_SEGMENT:
	case SIM_CONNECTED:
	case SIM_CLOSED:
	case SIM_DRAINED:
	case SIM_CLIENT:
	case SIM_DATAGRAM:
	case SIM_START_CONTAINER: return true;
	case SIM_TRAFFIC: /* of its data threads, which are others */
	case SIM_RETRANSMIT:
	case SIM_FAULT:
	case SIM_REVIVE:
	case SIM_HEAL:
	case SIM_FLAP: return false;
	}
	return false;
}

void world_run_until(struct world *w, uint64_t until_us)
{
	struct heap_node *top;

	while (w->failure[0] == '\0' && (top = heap_peek(&w->queue)) != NULL && top->key <= until_us) {
		struct sim_event *ev = (struct sim_event *)(void *)heap_pop(&w->queue);
		w->now_us = top->key > w->now_us ? top->key : w->now_us;
		w->events++;
		w->trace_hash =
			(w->trace_hash ^ w->now_us ^ (uint64_t)ev->kind << 56 ^ (uint64_t)ev->node << 40) * UINT64_C(1099511628211);
		if (must_wait(w, ev)) {
			if (heap_push(&w->queue, &ev->at, w->nodes[ev->node].stalled_until_us) != ERR_OK)
				sim_must(NULL);
			continue;
		}
		dispatch(w, ev);
		mem_free(ev->packet);
		mem_free(ev);
	}
	if (w->now_us < until_us)
		w->now_us = until_us;
}

void world_make(struct world *w, const struct sim_cfg *cfg)
{
	memset(w, 0, sizeof(*w));
	w->cfg = *cfg;
	rng_seed(&w->rng, cfg->seed);
	heap_init(&w->queue);
	w->trace_hash = UINT64_C(14695981039346656037);
	w->nodes = sim_must(mem_zalloc(cfg->nodes, sizeof(*w->nodes)));
	w->cut = sim_must(mem_zalloc(cfg->nodes, cfg->nodes));
	w->addresses = sim_must(map_new(cfg->seed));
	w->seeds = sim_must(mem_zalloc(cfg->nodes, sizeof(*w->seeds)));
	w->delay_max_us = 5000;
	w->loss_pm = cfg->loss_pm;
	w->busy = !cfg->scenario;
	/* small ranges, so that hosts run out and ask each other */
	uint8_t bits = 6;
	while (((size_t)1 << bits) < cfg->nodes * (cfg->measure == MEASURE_NONE ? 12 : 4 * cfg->containers + 12))
		bits++;
	bits = (uint8_t)(bits + rng_below(&w->rng, 3));
	if (cfg->range_len != 0)
		bits = (uint8_t)(32 - cfg->range_len);
	w->universe = (struct universe){ .first = cfg->range_first != 0 ? cfg->range_first : UINT32_C(0x0a200000),
		.len = (uint8_t)(32 - bits) };
	w->claimed = sim_must(mem_zalloc((size_t)1 << bits, sizeof(*w->claimed)));
	w->init = rng_chance(&w->rng, 250000) || cfg->measure != MEASURE_NONE ? IPAM_SEED : IPAM_CONSENSUS;
	w->by_targets = cfg->nodes <= 32 && rng_chance(&w->rng, 500000);
	/* Half of the worlds have leases, so short that some run out. */
	if (cfg->measure == MEASURE_NONE && rng_chance(&w->rng, 500000))
		w->reclaim_after_ms = rng_between(&w->rng, LEASE_MIN_MS, LEASE_MAX_MS);
	if (cfg->scenario)
		w->reclaim_after_ms = cfg->reclaim_after_ms;
	if (cfg->init != SIM_INIT_ANY) {
		w->init = cfg->init == SIM_INIT_SEEDS ? IPAM_SEED : IPAM_CONSENSUS;
		w->by_targets = cfg->init == SIM_INIT_TARGETS;
	}
	for (size_t i = 0; i < cfg->nodes; i++) {
		struct node *n = &w->nodes[i];
		n->w = w;
		n->index = i;
		n->crash_in = -1;
		n->machine = n->disk_machine = ++w->machines;
		n->disk = sim_must(map_new(i));
		n->halves = sim_must(map_new(i));
		node_lose_disk(n); /* makes the identity */
		n->lost_disk = false;
		w->seeds[i] = n->name;
		n->observer = w->init == IPAM_CONSENSUS && cfg->nodes > 3 && i == cfg->nodes - 1 && rng_chance(&w->rng, 200000);
		if (cfg->scenario) {
			n->observer = cfg->observers[i];
			n->gone = cfg->down[i];
			(void)sim_schedule(w, 1000000 + i, SIM_CLIENT, i);
		}
		if (cfg->measure != MEASURE_NONE || cfg->scenario) {
			(void)sim_schedule(w, rng_below(&w->rng, STARTED_WITHIN_US), SIM_REVIVE, i);
			continue;
		}
		(void)sim_schedule(w, rng_below(&w->rng, 2000000), SIM_REVIVE, i);
		(void)sim_schedule(w, rng_between(&w->rng, 100000, 3000000), SIM_CLIENT, i);
	}
	data_make(w);
	if (cfg->scenario)
		w->line = cfg->targets == SIM_TARGETS_CHAIN && cfg->no_discovery;
	w->line = w->line && !cfg->hostile; /* see docs/adr/0012, what stays open */
	w->by_targets = w->by_targets && (!w->line || cfg->init == SIM_INIT_TARGETS);
	if (cfg->hostile)
		hostile_make(w);
	if (cfg->faults && cfg->measure == MEASURE_NONE)
		faults_make(w);
	if (cfg->faults && cfg->measure == MEASURE_NONE)
		(void)sim_schedule(w, 1500000, SIM_FAULT, 0);
}

void world_free(struct world *w)
{
	struct heap_node *top;

	while ((top = heap_pop(&w->queue)) != NULL) {
		struct sim_event *ev = (struct sim_event *)(void *)top;
		if (ev->segment != NULL) {
			ev->kind = SIM_HEAL; /* only lets go of the segment */
			net_event(w, ev);
		}
		mem_free(ev->packet);
		mem_free(ev);
	}
	heap_free(&w->queue);
	for (size_t i = 0; i < w->cfg.nodes; i++)
		node_free(&w->nodes[i]);
	net_free(w);
	data_free(w);
	hostile_free(w);
	map_free(w->addresses);
	mem_free(w->claimed);
	mem_free(w->seeds);
	mem_free(w->cut);
	mem_free(w->nodes);
}

bool sim_run(const struct sim_cfg *cfg, uint64_t *trace_hash, char *failure, size_t size, uint64_t *events)
{
	struct world w;
	long before = mem_live();

	world_make(&w, cfg);
	world_run_until(&w, cfg->busy_ms * 1000);
	calm(&w);
	uint64_t calm_us = w.now_us, end = calm_us + cfg->quiet_ms * 1000;
	bool rest = false;
	while (w.failure[0] == '\0' && !rest && w.now_us < end) {
		world_run_until(&w, w.now_us + REST_POLL_MS * 1000);
		/* In the end operators remove all who are gone for good; until then what those had, or may have had, is waited for. */
		while (w.now_us > calm_us + REMOVE_AFTER_US &&
			(fault_remove_gone(&w, &w.nodes[0]) || (w.n_gone == 0 && fault_remove_again(&w, &w.nodes[0]))))
			;
		rest = check_at_rest(&w, false) && (w.n_gone == 0 || w.now_us < calm_us + REMOVE_AFTER_US);
	}
	if (w.failure[0] == '\0' && !rest)
		(void)check_at_rest(&w, true);
	*trace_hash = w.trace_hash;
	*events = w.events;
	(void)snprintf(failure, size, "%s", w.failure);
	world_free(&w);
	if (failure[0] == '\0' && mem_live() != before)
		(void)snprintf(failure, size, "%ld blocks of memory were not freed", mem_live() - before);
	return failure[0] == '\0';
}
