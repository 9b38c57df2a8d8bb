/* One host. Its disk takes a step's records all or none (one transaction); it can die before that, after it, or after any prefix of
 * the actions that follow. Its containers outlive the daemon, as network namespaces do; they end with the disk (a reinstalled host). */
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "dns/name.h"
#include "tests/sim/sim.h"

enum { RESTART_MIN_US = 50000, RESTART_MAX_US = 8000000, PORT = 6783, SIM_IDENT = 24, CLOCK_FIRST_US = 60000000 };

struct blob {
	size_t n;
	uint8_t bytes[];
};

uint64_t node_now_ms(const struct node *n)
{
	return node_now_us(n) / 1000;
}

uint64_t node_now_us(const struct node *n)
{
	uint64_t passed = n->w->now_us - n->clock_at_us;

	return n->clock_us + (uint64_t)((int64_t)passed + (int64_t)passed * n->drift_ppm / 1000000);
}

const char *const sim_networks[SIM_NETWORKS] = { "amber", "blue", "cyan" };

static void ident_of(const struct container *c, char out[SIM_IDENT])
{
	(void)snprintf(out, SIM_IDENT, "c%llu", (unsigned long long)c->number);
}

static void name_of(const struct container *c, char out[SIM_IDENT + 12])
{
	(void)snprintf(out, SIM_IDENT + 12, "c%llu.weft.local.", (unsigned long long)c->number);
}

/* --- disk --------------------------------------------------------------------------------------------------------------------------- */

static void disk_put(struct node *n, struct slice key, struct slice value)
{
	void *old = NULL;

	if (value.p == NULL) {
		mem_free(map_del(n->disk, key));
		return;
	}
	struct blob *b = sim_must(mem_alloc(sizeof(*b) + value.n));
	b->n = value.n;
	if (value.n > 0)
		memcpy(b->bytes, value.p, value.n);
	if (map_put(n->disk, key, b, &old) != ERR_OK)
		sim_must(NULL);
	mem_free(old);
}

static void disk_erase(struct node *n)
{
	struct slice key;
	void *value;

	for (size_t it = 0; map_next(n->disk, &it, &key, &value);)
		mem_free(map_del(n->disk, key));
}

void node_copy_disk(struct node *to, const struct node *from)
{
	struct slice key;
	void *value;

	disk_erase(to);
	for (size_t it = 0; map_next(from->disk, &it, &key, &value);) {
		const struct blob *b = value;
		disk_put(to, key, slice_of(b->bytes, b->n));
	}
	to->disk_machine = from->disk_machine;
}

/* --- life -------------------------------------------------------------------------------------------------------------------------- */

static void new_identity(struct node *n)
{
	uint8_t h[16];

	rng_fill(&n->w->rng, n->secret, sizeof(n->secret));
	(void)crypto_generichash(h, sizeof(h), n->secret, sizeof(n->secret), NULL, 0);
	if (n->w->cfg.scenario)
		h[0] = (uint8_t)n->index; /* so that the first division is in the nodes' order */
	n->name = UINT64_C(0x020000000000) | (uint64_t)h[0] << 32 | (uint64_t)h[1] << 24 | (uint64_t)h[2] << 16 | n->index;
}

void node_die(struct node *n, bool silently)
{
	struct world *w = n->w;

	if (n->core == NULL)
		return;
	sim_trace(w, "node %zu dies%s", n->index, silently ? " without a word" : "");
	net_node_died(n, silently);
	core_free(n->core);
	n->core = NULL;
	n->off = silently;
	n->life++;
	check_after_death(n);
	n->crash_in = -1;
	n->disk_full = false;
	n->torn = TORN_NOT;
	n->stalled_until_us = 0;
	for (size_t i = 0; i < n->n_containers; i++)
		n->containers[i].request = 0; /* its clients ask again after the restart */
	(void)sim_schedule(w, rng_between(&w->rng, RESTART_MIN_US, RESTART_MAX_US), SIM_REVIVE, n->index); /* unless it is gone */
}

/* The host is installed anew: another identity, no containers. It must not vote in the first agreement in place of its former self,
 * whose promises it does not know (docs/adr: ring and first agreement), so it comes back as an observer. */
void node_lose_disk(struct node *n)
{
	if (n->name != PEER_NONE && n->w->n_gone < SIM_GONE_MAX)
		n->w->gone[n->w->n_gone++] = n->name;
	n->lost_disk = true;
	n->observer = true;
	disk_erase(n);
	for (size_t i = 0; i < n->n_containers; i++) {
		if (n->containers[i].live)
			check_address_gone(n, &n->containers[i]);
	}
	n->n_containers = 0;
	new_identity(n);
	n->incarnation = 0;
	n->disk_machine = n->machine;
}

void node_wipe(struct node *n)
{
	node_die(n, false);
	disk_erase(n);
	rng_fill(&n->w->rng, n->secret, sizeof(n->secret));
	n->wiped = true;
	sim_trace(n->w, "node %zu loses its state", n->index);
}

/* Names given by hand may be another's, too. */
static bool is_alone_with_its_name(const struct node *n)
{
	for (size_t i = 0; i < n->w->cfg.nodes; i++)
		if (i != n->index && n->w->nodes[i].name == n->name)
			return false;
	return true;
}

static void fill_cfg(struct node *n, struct core_cfg *cfg)
{
	struct world *w = n->w;
	static const char *const nickname = "sim";

	memset(cfg, 0, sizeof(*cfg));
	cfg->gossip.self = n->name;
	cfg->gossip.nickname = nickname;
	cfg->gossip.version = "sim";
	memcpy(cfg->gossip.static_secret, n->secret, 32);
	cfg->gossip.n_psk = 1;
	cfg->gossip.incarnation = n->incarnation;
	cfg->gossip.uid = rng_u64(&w->rng);
	cfg->gossip.port = PORT;
	cfg->gossip.addresses[0] = (struct hostport){ .ip = ip_v4(UINT32_C(0x0a000000) + (uint32_t)n->index + 1), .port = PORT };
	cfg->gossip.n_addresses = 1;
	cfg->gossip.seed = rng_u64(&w->rng);
	cfg->gossip.prover = prover_choose(w->cfg.seed, w->cfg.nodes);
	cfg->ipam = true;
	cfg->universe = w->universe;
	cfg->default_subnet = (struct prefix){ .addr = ip_v4(w->universe.first), .len = w->universe.len };
	cfg->init = n->observer ? IPAM_OBSERVER : w->init;
	cfg->consensus = w->by_targets ? 0
		: w->cfg.quorum_of > 0     ? w->cfg.quorum_of
								   : w->cfg.nodes; /* 0: from the targets, which are all the others */
	cfg->newborn = n->incarnation == 1 && !n->wiped && is_alone_with_its_name(n);
	cfg->fresh_store = n->wiped; /* who otherwise loses the disk loses the identity with it, and a new one has no former self */
	cfg->reclaim_after_ms = w->reclaim_after_ms;
	cfg->boot = n->boot;
	cfg->names = true;
	cfg->domain = "weft.local.";
	data_configure(n, cfg);
	cfg->underlay_mtu = data_device_mtu;
	if (cfg->init == IPAM_SEED) {
		cfg->seeds = w->seeds;
		cfg->n_seeds = w->cfg.nodes < IPAM_SEEDS_MAX ? w->cfg.nodes : IPAM_SEEDS_MAX;
	}
}

static void carry_out(struct node *n, const struct core_actions *acts);

static void restore(struct node *n)
{
	struct err_note note = { "" };
	struct slice key;
	void *value;

	for (size_t it = 0; map_next(n->disk, &it, &key, &value);) {
		struct blob *b = value;
		if (core_restore(n->core, key, slice_of(b->bytes, b->n), &note) != ERR_OK) {
			sim_fail(n->w, "node %zu cannot read back what it stored: %s", n->index, note.text);
			return;
		}
	}
}

static bool runs(const struct node *n, const char *ident)
{
	for (size_t i = 0; i < n->n_containers; i++) {
		char own[SIM_IDENT];
		ident_of(&n->containers[i], own);
		if (strcmp(own, ident) == 0)
			return n->containers[i].live;
	}
	return false;
}

/* What the daemon does at its start with what the kernel says is attached: what is gone is detached. */
static void reconcile(struct node *n)
{
	const struct core_endpoint *e;
	uint64_t life = n->life;
	size_t it = 0;

	while (n->life == life && core_next_local(n->core, &it, &e)) {
		char ident[CORE_IDENT_MAX + 1];
		if (runs(n, e->ident))
			continue;
		(void)snprintf(ident, sizeof(ident), "%s", e->ident);
		struct core_event ev = { .kind = CORE_DETACHED, .ident = ident };
		node_step(n, &ev);
		it = 0;
	}
}

static char *address_of(size_t node)
{
	char text[IP_TEXT];

	return sim_must(mem_strdup(ip_format(ip_v4(UINT32_C(0x0a000000) + (uint32_t)node + 1), text)));
}

void node_connect(struct node *n, const bool *to, bool replace, bool forget)
{
	const char *targets[SIM_NODES_MAX];
	struct core_event ev = { .kind = forget ? CORE_FORGET : CORE_CONNECT, .targets = targets, .replace = replace };

	for (size_t i = 0; i < n->w->cfg.nodes; i++)
		if (to[i])
			targets[ev.n_targets++] = address_of(i);
	node_step(n, &ev);
	for (size_t i = 0; i < ev.n_targets; i++)
		mem_free((void *)(uintptr_t)targets[i]);
}

/* Containers that are found at the start without a record of them. */
static void find_again(struct node *n)
{
	uint64_t life = n->life;

	for (size_t i = 0; i < n->n_containers && n->life == life; i++) {
		struct container *c = &n->containers[i];
		char ident[SIM_IDENT];
		if (!c->live)
			continue;
		ident_of(c, ident);
		c->named = false;
		c->request = n->next_request++;
		struct ipam_event want = { .kind = IPAM_CLAIM,
			.request = c->request,
			.ident = ident,
			.subnet = { .addr = c->addr, .len = n->w->universe.len },
			.on = true,
			.wait = true };
		struct core_event ev = { .kind = CORE_IPAM, .ipam = &want };
		node_step(n, &ev);
	}
}

void node_start(struct node *n)
{
	struct world *w = n->w;
	struct core_cfg cfg;
	struct err_note note = { "" };
	struct core_actions acts;
	const char *targets[SIM_NODES_MAX];
	size_t n_targets = 0;

	if (n->disk_machine != n->machine) { /* as the daemon does: the image of another host is not its own */
		sim_trace(w, "node %zu sets another machine's state aside", n->index);
		disk_erase(n);
		n->disk_machine = n->machine;
	}
	if (n->off || n->boot == 0) {
		n->boot = rng_u64(&w->rng) | 1;
		n->clock_us = rng_below(&w->rng, CLOCK_FIRST_US);
		n->clock_at_us = w->now_us;
	}
	n->off = false;
	n->incarnation++;
	n->next_conn = 1;
	n->next_request = 1;
	n->command.request = 0;
	fill_cfg(n, &cfg);
	sim_trace(w, "node %zu starts, incarnation %llu", n->index, (unsigned long long)n->incarnation);
	enum err err = core_new(&n->core, &cfg, node_now_ms(n), &note);
	if (err != ERR_OK) {
		sim_fail(w, "node %zu does not start: %s %s", n->index, err_text(err), note.text);
		return;
	}
	restore(n);
	struct arena *mine = sim_must(arena_new());
	core_actions_init(&acts, mine);
	if (core_start(n->core, node_now_ms(n), true, &acts) != ERR_OK)
		sim_fail(w, "node %zu does not start", n->index);
	carry_out(n, &acts);
	arena_free(mine);
	/* Measured runs: each host was told of one that was there before it. */
	for (size_t i = 0; i < w->cfg.nodes; i++) {
		if (w->cfg.measure != MEASURE_NONE && i != (n->index == 0 ? 1 : (n->index - 1) / 2))
			continue;
		if (i == n->index ||
			(w->cfg.nodes > 32 && w->cfg.measure == MEASURE_NONE && i != (n->index + 1) % w->cfg.nodes && i != 0))
			continue;
		if (w->cfg.scenario && w->cfg.targets == SIM_TARGETS_NONE)
			continue;
		if ((w->line || w->cfg.targets == SIM_TARGETS_CHAIN) && i + 1 != n->index && i != n->index + 1)
			continue;
		targets[n_targets++] = address_of(i);
	}
	struct core_event connect = { .kind = CORE_CONNECT, .targets = targets, .n_targets = n_targets };
	if (n->core != NULL)
		node_step(n, &connect);
	for (size_t i = 0; i < n_targets; i++)
		mem_free((void *)(uintptr_t)targets[i]);
	if (n->core != NULL)
		reconcile(n);
	if (n->core != NULL)
		check_after_start(n);
	if (n->core != NULL && n->wiped)
		find_again(n);
	n->wiped = n->wiped && n->core == NULL;
}

/* --- the core's actions ----------------------------------------------------------------------------------------------------------------- */

static struct container *waiting_for(struct node *n, uint64_t request)
{
	for (size_t i = 0; i < n->n_containers; i++)
		if (n->containers[i].request == request)
			return &n->containers[i];
	return NULL;
}

static struct container *numbered(struct node *n, uint64_t number)
{
	for (size_t i = 0; i < n->n_containers; i++)
		if (n->containers[i].number == number)
			return &n->containers[i];
	return NULL;
}

/* Every other container would like to be in an isolated network, if that is there. One that is attached stays where it is. */
static const char *network_for(const struct node *n, const struct container *c, const char *ident)
{
	const struct core_endpoint *have = core_local(n->core, ident);
	const char *wanted = sim_networks[c->number / 2 % SIM_NETWORKS];
	struct core_network there;

	if (have != NULL)
		return have->network;
	return c->number % 2 == 0 && core_network(n->core, wanted, &there) ? wanted : CORE_NETWORK_DEFAULT;
}

/* Publishes endpoint and name; a client whose request was cut short by a crash asks again (node_client). */
static void attach(struct node *n, struct container *c)
{
	struct core_endpoint e = { .peer = n->name, .n_addrs = 1 };
	char fqdn[SIM_IDENT + 12];
	uint64_t number = c->number, life = n->life;

	ident_of(c, e.ident);
	name_of(c, fqdn);
	e.mac = (struct mac){ { 0x02, 0, (uint8_t)(c->number >> 24), (uint8_t)(c->number >> 16), (uint8_t)(c->number >> 8),
		(uint8_t)c->number } };
	e.addrs[0] = (struct prefix){ .addr = c->addr, .len = n->w->universe.len };
	(void)snprintf(e.network, sizeof(e.network), "%s", network_for(n, c, e.ident));
	struct core_event ev = { .kind = CORE_ATTACHED, .endpoint = &e };
	node_step(n, &ev);
	if (n->life != life)
		return;
	struct core_event put = { .kind = CORE_NAME_PUT, .ident = e.ident, .fqdn = fqdn, .addr = e.addrs[0].addr };
	node_step(n, &put);
	c = numbered(n, number);
	if (n->life == life && c != NULL)
		c->named = true;
}

static void answered(struct node *n, const struct core_action *a)
{
	struct container *c = a->u.reply.request != 0 ? waiting_for(n, a->u.reply.request) : NULL;

	if (a->u.reply.request != 0 && a->u.reply.request == n->command.request) {
		n->command.answered = true;
		n->command.err = a->u.reply.err;
		n->command.count = a->u.reply.count;
		(void)snprintf(n->command.text, sizeof(n->command.text), "%s", a->u.reply.text != NULL ? a->u.reply.text : "");
	}
	if (c == NULL)
		return;
	c->request = 0;
	if (a->u.reply.err != ERR_OK) {
		c->given_up = true;
		return;
	}
	if (c->live) { /* asked again after a restart */
		if (!ip_eq(c->addr, a->u.reply.result.addr))
			sim_fail(n->w, "node %zu: container c%llu got another address when it asked again", n->index,
				(unsigned long long)c->number);
		return;
	}
	check_address_given(n, c, a->u.reply.result.addr);
	c->addr = a->u.reply.result.addr;
	c->live = true;
	attach(n, c);
}

static bool dies_now(struct node *n)
{
	if (n->crash_in < 0)
		return false;
	if (n->crash_in-- > 0)
		return false;
	node_die(n, rng_chance(&n->w->rng, 300000));
	return true;
}

static void act(struct node *n, const struct core_action *a)
{
	switch (a->kind) {
	case CORE_DIAL: net_dial(n, a->u.dial.conn, a->u.dial.host, a->u.dial.port); break;
	case CORE_SEND: net_send(n, a->u.send.conn, a->u.send.bytes); break;
	case CORE_CLOSE:
		sim_trace(n->w, "node %zu closes %llx: %s", n->index, (unsigned long long)a->u.close.conn, a->u.close.why);
		net_close(n, a->u.close.conn);
		break;
	case CORE_NOTE: sim_trace(n->w, "node %zu: %s", n->index, a->u.note.text); break;
	case CORE_DATAGRAM_SEND: data_send(n, a); break;
	case CORE_REPLY: /* last, as in the daemon */
	case CORE_PATH_CHANGED:
	case CORE_PERSIST:
	case CORE_FORWARDING: break;
	}
}

static uint64_t hash_bytes(uint64_t h, const uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		h = (h ^ p[i]) * UINT64_C(1099511628211);
	return h;
}

static void hash_action(struct world *w, const struct core_action *a)
{
	uint64_t h = w->trace_hash ^ (uint64_t)a->kind;

	/* Bytes are sealed: what differs anywhere differs in the tag at the end, too. Of datagrams the rest is mostly padding. */
	if (a->kind == CORE_SEND)
		h = hash_bytes(h, a->u.send.bytes.p + (a->u.send.bytes.n > 48 ? a->u.send.bytes.n - 48 : 0),
			a->u.send.bytes.n < 48 ? a->u.send.bytes.n : 48);
	if (a->kind == CORE_DATAGRAM_SEND)
		h = hash_bytes(h, a->u.datagram.bytes.p, a->u.datagram.bytes.n < 48 ? a->u.datagram.bytes.n : 48);
	w->trace_hash = h * UINT64_C(1099511628211);
}

/* Persists together, then the rest, then replies: between any two of them the host may go. Replies are copied first: each runs a step. */
static void carry_out(struct node *n, const struct core_actions *acts)
{
	struct core_action *replies;
	size_t n_replies = 0;
	uint64_t life = n->life;
	bool any = false;

	for (size_t i = 0; i < acts->n; i++)
		any = any || acts->v[i].kind == CORE_PERSIST;
	if (any && n->disk_full) {
		node_die(n, false); /* the daemon ends rather than go on with what it could not store */
		return;
	}
	if (dies_now(n))
		return;
	bool torn = any && n->torn != TORN_NOT, before = n->torn == TORN_BEFORE;
	if (torn && before) {
		node_die(n, true); /* half of it is written: it is found incomplete at the next start, and is as if it had never been */
		return;
	}
	replies = sim_must(mem_zalloc(acts->n + 1, sizeof(*replies)));
	for (size_t i = 0; i < acts->n; i++) {
		hash_action(n->w, &acts->v[i]);
		if (acts->v[i].kind == CORE_PERSIST)
			disk_put(n, acts->v[i].u.persist.key, acts->v[i].u.persist.value);
		else if (acts->v[i].kind == CORE_REPLY)
			replies[n_replies++] = acts->v[i];
	}
	if (torn)
		node_die(n, true);
	for (size_t i = 0; i < acts->n && n->life == life; i++)
		if (!dies_now(n))
			act(n, &acts->v[i]);
	for (size_t i = 0; i < n_replies && n->life == life; i++)
		if (!dies_now(n))
			answered(n, &replies[i]);
	mem_free(replies);
}

static void arm(struct node *n)
{
	uint64_t at = core_deadline_ms(n->core), now = node_now_us(n);
	struct sim_event *ev;

	n->timer_generation++;
	if (at == UINT64_MAX)
		return;
	uint64_t wait = at > now / 1000 ? at * 1000 - now : 0;
	wait = (uint64_t)((int64_t)wait * 1000000 / (1000000 + n->drift_ppm));
	ev = sim_schedule(n->w, wait + 1, SIM_TIMER, n->index);
	ev->life = n->life;
	ev->generation = n->timer_generation;
}

void node_step(struct node *n, const struct core_event *ev)
{
	struct core_event now = *ev;
	struct core_actions acts;
	struct arena *mine = sim_must(arena_new()); /* replies run steps of their own */
	uint64_t life = n->life;

	now.now_ms = node_now_ms(n);
	core_actions_init(&acts, mine);
	enum err err = core_step(n->core, &now, &acts);
	if (err != ERR_OK)
		sim_fail(n->w, "node %zu: a step failed: %s", n->index, err_text(err));
	carry_out(n, &acts);
	arena_free(mine);
	if (n->life != life || n->core == NULL)
		return;
	check_after_step(n);
	arm(n);
}

void node_timer(struct node *n, uint64_t generation)
{
	struct core_event ev = { .kind = CORE_TICK };

	if (generation == n->timer_generation)
		node_step(n, &ev);
}

/* --- clients --------------------------------------------------------------------------------------------------------------------------- */

static bool has_lease(const struct node *n, const char *ident)
{
	const char *holder;
	struct prefix addr;

	for (size_t it = 0; ipam_next_lease(core_ipam(n->core), &it, &holder, &addr);)
		if (strcmp(holder, ident) == 0)
			return true;
	return false;
}

static void ask(struct node *n, struct container *c, bool claim)
{
	struct world *w = n->w;
	char ident[SIM_IDENT];
	struct ipam_event want = {
		.kind = claim ? IPAM_CLAIM : IPAM_ALLOCATE, .request = n->next_request++, .ident = ident, .wait = true
	};
	struct core_event ev = { .kind = CORE_IPAM, .ipam = &want };

	ident_of(c, ident);
	if (claim) {
		uint64_t size = UINT64_C(1) << (32 - w->universe.len);
		want.subnet = (struct prefix){ .addr = ip_v4(w->universe.first + 1 + (uint32_t)rng_below(&w->rng, size - 2)),
			.len = w->universe.len };
		if (n->wants.family != 0)
			want.subnet.addr = n->wants;
	}
	c->had = has_lease(n, ident);
	c->addr = want.subnet.addr;
	c->request = want.request;
	node_step(n, &ev);
}

void node_start_container(struct node *n, bool claim)
{
	if (n->n_containers == n->cap_containers &&
		!mem_grow((void **)&n->containers, &n->cap_containers, n->n_containers + 1, sizeof(*n->containers)))
		sim_must(NULL);
	struct container *c = &n->containers[n->n_containers++];
	*c = (struct container){ .number = ++n->w->next_container };
	ask(n, c, claim);
}

uint64_t node_add_container(struct node *n, struct ip at)
{
	uint64_t number = n->w->next_container + 1;

	n->wants = at;
	node_start_container(n, at.family != 0);
	n->wants = (struct ip){ 0 };
	return number;
}

static void stop_container(struct node *n, size_t i)
{
	struct container gone = n->containers[i];
	char ident[SIM_IDENT];

	ident_of(&gone, ident);
	if (gone.live)
		check_address_gone(n, &n->containers[i]);
	memmove(&n->containers[i], &n->containers[i + 1], (n->n_containers - i - 1) * sizeof(gone));
	n->n_containers--;
	if (gone.request != 0 && n->core != NULL) {
		struct ipam_event cancel = { .kind = IPAM_CANCEL, .request = gone.request };
		struct core_event ev = { .kind = CORE_IPAM, .ipam = &cancel };
		node_step(n, &ev);
	}
	if (n->core != NULL) { /* else it is detached at the next start */
		struct core_event ev = { .kind = CORE_DETACHED, .ident = ident };
		node_step(n, &ev);
	}
}

void node_drop_container(struct node *n, uint64_t number)
{
	for (size_t i = 0; i < n->n_containers; i++)
		if (n->containers[i].number == number) {
			stop_container(n, i);
			return;
		}
}

/* Makes or removes a network; both may be refused. */
static void change_network(struct node *n)
{
	struct rng *r = &n->w->rng;
	struct core_network net = { .number = 0 };
	struct core_event ev = { .kind = rng_chance(r, 600000) ? CORE_NETWORK_CREATE : CORE_NETWORK_REMOVE, .network = &net };

	(void)snprintf(net.name, sizeof(net.name), "%s", sim_networks[rng_below(r, SIM_NETWORKS)]);
	if (rng_chance(r, 500000))
		net.subnet = (struct prefix){ .addr = ip_v4(n->w->universe.first), .len = n->w->universe.len };
	node_step(n, &ev);
}

void node_remove_peer(struct node *n, uint64_t peer)
{
	struct ipam_event want = { .kind = IPAM_TAKEOVER, .request = n->next_request++, .peer = peer };
	struct core_event ev = { .kind = CORE_IPAM, .ipam = &want };

	node_step(n, &ev);
}

/* One thing a user of this host does. */
void node_client(struct node *n)
{
	struct rng *r = &n->w->rng;

	if (n->core == NULL)
		return;
	for (size_t i = 0; i < n->n_containers; i++) { /* those that were cut short ask again */
		struct container *c = &n->containers[i];
		if (!c->live && c->request == 0 && !c->given_up) {
			ask(n, c, false);
			return;
		}
		if (c->live && !c->named) {
			attach(n, c);
			return;
		}
	}
	if (!n->w->busy)
		return;
	if (rng_chance(r, 100000))
		change_network(n);
	else if (n->n_containers < 8 && rng_chance(r, 600000))
		node_start_container(n, rng_chance(r, 150000));
	else if (n->n_containers > 0)
		stop_container(n, (size_t)rng_below(r, n->n_containers));
}

void node_free(struct node *n)
{
	struct slice key;
	void *value;

	if (n->halves != NULL)
		for (size_t it = 0; map_next(n->halves, &it, &key, &value);)
			mem_free(map_del(n->halves, key));
	map_free(n->halves);
	core_free(n->core);
	if (n->disk != NULL)
		disk_erase(n);
	map_free(n->disk);
	mem_free(n->containers);
	mem_free(n->claims);
}
