/* weft-sim --measure: large meshes without users, faults and data plane, so that what is asked for stands out.
 *
 * All nodes start within a tenth of a second, each told of one that was there before it (a tree). Once all have equal digests and reach
 * each other, and have got their containers, the measured thing happens:
 *   boot     nothing more: the time until then is the figure
 *   change   one name is put on one host, many times one after the other: until it is on each of the others
 *   death    one host vanishes without a word: until its names are out of every other's answers
 *   heal     the mesh was cut into halves for half a minute, and each went on: until all have equal digests again
 *   idle     nothing for a minute
 * One line of JSON each. Messages are those of the mesh (links' heartbeats among them), bytes what its links sent, sealed; memory is what
 * malloc has given out, the simulator's own part included, divided by the number of nodes. */
#include <inttypes.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "dns/name.h"
#include "dns/table.h"
#include "tests/sim/sim.h"

enum {
	POLL_US = 20000,
	BOOT_MAX_US = 600000000,
	CALM_US = 40000000, /* until links have been sorted out, and one round of reconciliation is over */
	CONTAINERS_WITHIN_US = 5000000,
	CHANGES = 20,
	CHANGE_US = 5000000,
	DEATH_MAX_US = 120000000,
	CUT_US = 30000000,
	IDLE_US = 60000000
};

struct sum {
	uint64_t messages, deltas, recons, bytes, checked;
};

struct watch { /* a name, and when each node first had it */
	uint8_t key[CRDT_KEY_MAX];
	size_t key_len;
	uint64_t since_us;
	uint64_t *ms; /* per node, 0: not yet */
	size_t missing;
};

static struct sum sum_up(const struct world *w)
{
	struct sum s = { 0 };

	for (size_t i = 0; i < w->cfg.nodes; i++) {
		if (w->nodes[i].core == NULL)
			continue;
		const struct gossip_counters *c = gossip_counters(core_gossip(w->nodes[i].core));
		for (size_t k = 0; k < 32; k++)
			s.messages += c->messages_out[k];
		for (size_t k = 0; k < GOSSIP_CHANNELS_MAX; k++)
			s.deltas += c->channel_out[k];
		s.recons += c->reconciliations;
		s.bytes += c->bytes_out;
		s.checked += c->signatures_checked;
	}
	return s;
}

static bool all_reach_all(const struct world *w)
{
	for (size_t i = 0; i < w->cfg.nodes; i++) {
		if (w->nodes[i].core == NULL)
			return false;
		for (size_t k = 0; k < w->cfg.nodes; k++)
			if (!gossip_reachable(core_gossip(w->nodes[i].core), w->nodes[k].name))
				return false;
	}
	return true;
}

/* Runs until it is so; false: it took too long. */
static bool wait_for(struct world *w, bool (*so)(const struct world *w), uint64_t longest_us)
{
	uint64_t end = w->now_us + longest_us;

	while (w->failure[0] == '\0' && w->now_us < end) {
		world_run_until(w, w->now_us + POLL_US);
		if (so(w))
			return true;
	}
	sim_fail(w, "measuring: it has not come about in %d s", (int)(longest_us / 1000000));
	return false;
}

static bool settled(const struct world *w)
{
	return check_digests_equal(w) && all_reach_all(w);
}

static bool all_have_containers(const struct world *w)
{
	for (size_t i = 0; i < w->cfg.nodes; i++)
		for (size_t k = 0; k < w->cfg.containers; k++)
			if (k >= w->nodes[i].n_containers || !w->nodes[i].containers[k].named)
				return false;
	return settled(w);
}

static double degree(const struct world *w, size_t *most)
{
	size_t all = 0;

	*most = 0;
	for (size_t i = 0; i < w->cfg.nodes; i++) {
		size_t n = 0;
		struct link_view v;
		for (size_t it = 0; w->nodes[i].core != NULL && gossip_next_link(core_gossip(w->nodes[i].core), &it, &v);)
			n += v.state == LINK_ESTABLISHED;
		all += n;
		*most = n > *most ? n : *most;
	}
	return (double)all / (double)w->cfg.nodes;
}

/* --- the figures ----------------------------------------------------------------------------------------------------------------------- */

static void head(const struct world *w, FILE *out, const char *what)
{
	size_t most;
	double mean = degree(w, &most);

	(void)fprintf(out,
		"{\"measure\": \"%s\", \"nodes\": %zu, \"containers\": %zu, \"rtt_ms\": %" PRIu64 ", \"loss\": %g, \"seed\": %" PRIu64
		", \"links_mean\": %.1f, \"links_max\": %zu, \"memory_bytes_per_node\": %.0f",
		what, w->cfg.nodes, w->cfg.containers, w->cfg.rtt_ms, w->cfg.loss_pm / 1e6, w->cfg.seed, mean, most,
		(double)mallinfo2().uordblks / (double)w->cfg.nodes);
}

static void tail(FILE *out, const struct world *w, struct sum before, double events)
{
	struct sum now = sum_up(w);
	double n = (double)w->cfg.nodes * events;

	(void)fprintf(out,
		", \"messages_per_node\": %.2f, \"state_messages_per_node\": %.2f, \"bytes_per_node\": %.0f, \"signatures_checked_per_node\": %.1f}\n",
		(double)(now.messages - before.messages) / n, (double)(now.deltas - before.deltas) / n,
		(double)(now.bytes - before.bytes) / n, (double)(now.checked - before.checked) / n);
}

static void boot(struct world *w, FILE *out)
{
	uint64_t meshed_us = 0;

	if (!wait_for(w, settled, BOOT_MAX_US))
		return;
	meshed_us = w->now_us;
	struct sum then = sum_up(w);
	for (size_t i = 0; i < w->cfg.nodes; i++)
		for (size_t k = 0; k < w->cfg.containers; k++)
			(void)sim_schedule(w, rng_below(&w->rng, CONTAINERS_WITHIN_US), SIM_START_CONTAINER, i);
	if (w->cfg.containers > 0 && !wait_for(w, all_have_containers, BOOT_MAX_US))
		return;
	if (w->cfg.measure != MEASURE_BOOT) {
		world_run_until(w, w->now_us + CALM_US);
		(void)wait_for(w, settled, BOOT_MAX_US);
		return;
	}
	head(w, out, "boot");
	(void)fprintf(out, ", \"equal_ms\": %" PRIu64 ", \"containers_ms\": %" PRIu64 ", \"until_equal_bytes_per_node\": %.0f",
		meshed_us / 1000, (w->now_us - meshed_us) / 1000, (double)then.bytes / (double)w->cfg.nodes);
	tail(out, w, (struct sum){ 0 }, 1);
}

static void look(struct node *n)
{
	struct watch *x = n->w->watch;
	struct crdt_item it;

	if (x->ms[n->index] != 0 || !crdt_map_get(core_channel(n->core, CHANNEL_NAMES), slice_of(x->key, x->key_len), &it))
		return;
	x->ms[n->index] = 1 + (n->w->now_us - x->since_us) / 1000;
	x->missing--;
}

static void put_name(struct node *n, unsigned number)
{
	char fqdn[64];
	struct core_event ev = { .kind = CORE_NAME_PUT, .fqdn = fqdn, .addr = ip_v4(UINT32_C(0xc0000200) + number) };

	(void)snprintf(fqdn, sizeof(fqdn), "measured%u.weft.local.", number);
	node_step(n, &ev);
}

/* The newest item of this node among the names. */
static void watch_newest(struct node *n, struct watch *x)
{
	const struct crdt_map *m = core_channel(n->core, CHANNEL_NAMES);
	struct crdt_item it = { .key = { NULL, 0 } };
	struct stamp best = { 0, 0 };

	while (crdt_map_next(m, it.key, &it)) {
		if (crdt_owner(it.key) != n->name || stamp_cmp(it.stamp, best) <= 0)
			continue;
		best = it.stamp;
		memcpy(x->key, it.key.p, it.key.n);
		x->key_len = it.key.n;
	}
	memset(x->ms, 0, n->w->cfg.nodes * sizeof(*x->ms));
	x->missing = n->w->cfg.nodes - 1;
	x->ms[n->index] = 1;
	x->since_us = n->w->now_us;
}

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static void change(struct world *w, FILE *out)
{
	size_t n = w->cfg.nodes, count = 0;
	uint64_t *all = sim_must(mem_zalloc(n * CHANGES, sizeof(*all)));
	struct watch x = { .ms = sim_must(mem_zalloc(n, sizeof(*x.ms))) };
	struct sum before = sum_up(w), idle, after;

	/* What goes on anyhow is taken off: as long a time without changes. */
	world_run_until(w, w->now_us + (uint64_t)CHANGES * CHANGE_US);
	idle = sum_up(w);
	w->watch = &x;
	for (unsigned i = 0; i < CHANGES && w->failure[0] == '\0'; i++) {
		struct node *at = &w->nodes[rng_below(&w->rng, n)];
		uint64_t end = w->now_us + CHANGE_US;
		w->after_step = NULL;
		put_name(at, i);
		watch_newest(at, &x);
		w->after_step = look;
		world_run_until(w, end);
		for (; x.missing > 0 && w->failure[0] == '\0' && w->now_us < end + BOOT_MAX_US;)
			world_run_until(w, w->now_us + POLL_US);
		for (size_t k = 0; k < n; k++)
			if (k != at->index)
				all[count++] = x.missing > 0 && x.ms[k] == 0 ? UINT64_MAX : x.ms[k] - 1;
	}
	w->after_step = NULL;
	after = sum_up(w);
	qsort(all, count, sizeof(*all), by_value);
	head(w, out, "change");
	(void)fprintf(out,
		", \"changes\": %d, \"p50_ms\": %" PRIu64 ", \"p99_ms\": %" PRIu64 ", \"max_ms\": %" PRIu64
		", \"idle_state_messages_per_node\": %.2f",
		CHANGES, all[count / 2], all[count * 99 / 100], all[count - 1],
		(double)(idle.deltas - before.deltas) / (double)n / CHANGES);
	(void)fprintf(out, ", \"state_messages_per_node\": %.2f, \"messages_per_node\": %.2f, \"bytes_per_node\": %.0f}\n",
		(double)(after.deltas - idle.deltas) / (double)n / CHANGES - (double)(idle.deltas - before.deltas) / (double)n / CHANGES,
		(double)(after.messages - idle.messages) / (double)n / CHANGES -
			(double)(idle.messages - before.messages) / (double)n / CHANGES,
		(double)(after.bytes - idle.bytes) / (double)n / CHANGES - (double)(idle.bytes - before.bytes) / (double)n / CHANGES);
	w->watch = NULL;
	mem_free(x.ms);
	mem_free(all);
}

static bool has_name(const struct node *n, const char *fqdn)
{
	const struct ip *found[1];
	struct dns_name name;

	if (dns_name_parse(fqdn, &name) != ERR_OK)
		sim_must(NULL);
	return dns_table_addresses(core_names(n->core), NULL, &name, 4, found, 1) > 0;
}

static void death(struct world *w, FILE *out)
{
	size_t victim = (size_t)rng_below(&w->rng, w->cfg.nodes), left = 0;
	uint64_t first = 0, since, wrong = 0;
	struct sum before;

	put_name(&w->nodes[victim], 0);
	world_run_until(w, w->now_us + CALM_US);
	since = w->now_us;
	w->nodes[victim].gone = true;
	for (size_t i = 0; i < w->cfg.nodes; i++) /* the machine is off: nobody refuses connections there either */
		w->cut[i * w->cfg.nodes + victim] = w->cut[victim * w->cfg.nodes + i] = 1;
	node_die(&w->nodes[victim], true);
	before = sum_up(w);
	do {
		world_run_until(w, w->now_us + POLL_US);
		left = 0;
		for (size_t i = 0; i < w->cfg.nodes; i++)
			if (i != victim)
				left += has_name(&w->nodes[i], "measured0.weft.local.");
		if (first == 0 && left < w->cfg.nodes - 1)
			first = w->now_us - since;
	} while (left > 0 && w->failure[0] == '\0' && w->now_us < since + DEATH_MAX_US);
	uint64_t took = w->now_us - since;
	for (size_t i = 0; i < w->cfg.nodes; i++) /* and nobody else is thought to be gone */
		for (size_t k = 0; k < w->cfg.nodes; k++)
			if (i != victim && k != victim)
				wrong += !gossip_reachable(core_gossip(w->nodes[i].core), w->nodes[k].name);
	if (left > 0)
		sim_fail(w, "measuring: %zu nodes still answer for the dead one", left);
	head(w, out, "death");
	(void)fprintf(out, ", \"first_ms\": %" PRIu64 ", \"all_ms\": %" PRIu64 ", \"wrongly_lost\": %" PRIu64, first / 1000,
		took / 1000, wrong);
	tail(out, w, before, 1);
}

static void heal(struct world *w, FILE *out)
{
	size_t n = w->cfg.nodes;
	struct sum before;
	uint64_t since;

	for (size_t a = 0; a < n; a++)
		for (size_t b = 0; b < n; b++)
			w->cut[a * n + b] = (a < n / 2) != (b < n / 2);
	world_run_until(w, w->now_us + CUT_US / 2);
	for (unsigned i = 0; i < CHANGES; i++)
		put_name(&w->nodes[rng_below(&w->rng, n)], i);
	world_run_until(w, w->now_us + CUT_US / 2);
	before = sum_up(w);
	since = w->now_us;
	memset(w->cut, 0, n * n);
	if (!wait_for(w, settled, BOOT_MAX_US))
		return;
	head(w, out, "heal");
	(void)fprintf(out, ", \"equal_ms\": %" PRIu64, (w->now_us - since) / 1000);
	tail(out, w, before, 1);
}

static void idle(struct world *w, FILE *out)
{
	struct sum before = sum_up(w);

	world_run_until(w, w->now_us + IDLE_US);
	head(w, out, "idle");
	(void)fprintf(out, ", \"bytes_per_second_per_node\": %.0f",
		(double)(sum_up(w).bytes - before.bytes) / (double)w->cfg.nodes / (IDLE_US / 1e6));
	tail(out, w, before, 1);
}

bool measure_run(const struct sim_cfg *cfg, FILE *out, char *failure, size_t size)
{
	struct world w;

	world_make(&w, cfg);
	boot(&w, out);
	if (w.failure[0] == '\0') {
		switch (cfg->measure) {
		case MEASURE_CHANGE: change(&w, out); break;
		case MEASURE_DEATH: death(&w, out); break;
		case MEASURE_HEAL: heal(&w, out); break;
		case MEASURE_IDLE: idle(&w, out); break;
		case MEASURE_BOOT:
		case MEASURE_NONE: break;
		}
	}
	(void)snprintf(failure, size, "%s", w.failure);
	world_free(&w);
	return failure[0] == '\0';
}
