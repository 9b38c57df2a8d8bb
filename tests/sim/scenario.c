/* weft-sim --scenario FILE: a history written down, with what is to come of it. README.md says what can be written.
 *
 * Theory of operation. The file is read whole and checked first (words, numbers of arguments, nodes, names); the settings make the world, and
 * then the lines are carried out one after the other, each at the simulated time that the ones before it have brought about. Only `wait` and
 * `expect … within` let time go on. The invariants that hold at every step are looked at as in any other run, and a broken one ends it. */
#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "dns/name.h"
#include "dns/table.h"
#include "tests/sim/sim.h"

enum { WORDS_MAX = 80, LINE_MAX_BYTES = 512, NAMES_MAX = 256, POLL_US = 50000, CHURN_WAITS = 100, CHURN_US = 20000 };

struct named_container {
	char name[24];
	size_t node;
	uint64_t number;
};

struct line {
	size_t number; /* in the file, from 1 */
	size_t n;
	char *word[WORDS_MAX];
	char *text; /* the words point into it */
};

struct scenario {
	const char *path;
	struct world w;
	struct sim_cfg cfg;
	struct line *lines;
	size_t n_lines, cap_lines, at;
	struct named_container names[NAMES_MAX];
	size_t n_names;
	bool made;
	char *error;
	size_t error_size;
};

static bool bad(struct scenario *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static bool bad(struct scenario *s, const char *fmt, ...)
{
	va_list args;
	int n = snprintf(s->error, s->error_size, "%s:%zu: ", s->path, s->at < s->n_lines ? s->lines[s->at].number : 0);

	if (n > 0 && (size_t)n < s->error_size) {
		va_start(args, fmt);
		(void)vsnprintf(s->error + n, s->error_size - (size_t)n, fmt, args);
		va_end(args);
	}
	return false;
}

/* --- words ------------------------------------------------------------------------------------------------------------------------------- */

static bool number(struct scenario *s, const char *word, uint64_t least, uint64_t most, uint64_t *out)
{
	char *end;

	errno = 0;
	*out = strtoull(word, &end, 10);
	if (errno != 0 || end == word || *end != '\0' || *word == '-' || *out < least || *out > most)
		return bad(s, "'%s' is no number from %llu to %llu", word, (unsigned long long)least, (unsigned long long)most);
	return true;
}

/* 5s, 300ms, 2m, 24h */
static bool duration(struct scenario *s, const char *word, uint64_t *us)
{
	static const struct {
		const char *unit;
		uint64_t us;
	} units[] = { { "ms", 1000 }, { "s", 1000000 }, { "m", 60000000 }, { "h", UINT64_C(3600000000) } };
	char *end;
	unsigned long long v = strtoull(word, &end, 10);

	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		if (end != word && strcmp(end, units[i].unit) == 0 && v <= 10000000) {
			*us = v * units[i].us;
			return true;
		}
	}
	return bad(s, "'%s' is no time such as 300ms, 5s, 2m, 24h", word);
}

/* -12%, 0.5% */
static bool percent(struct scenario *s, const char *word, double least, double most, double *out)
{
	char *end;

	*out = strtod(word, &end);
	if (end == word || strcmp(end, "%") != 0 || *out < least || *out > most)
		return bad(s, "'%s' is no share from %g%% to %g%%", word, least, most);
	return true;
}

/* "3", "1,4", "0-2,4", "all" */
static bool nodes(struct scenario *s, const char *word, bool *set)
{
	const char *p = word;

	memset(set, 0, s->cfg.nodes * sizeof(*set));
	if (strcmp(word, "all") == 0) {
		for (size_t i = 0; i < s->cfg.nodes; i++)
			set[i] = true;
		return true;
	}
	for (;;) {
		char *end;
		unsigned long a = strtoul(p, &end, 10), b = a;
		if (end != p && *end == '-') {
			p = end + 1;
			b = strtoul(p, &end, 10);
		}
		if (end == p || !isdigit((unsigned char)*p) || a > b || b >= s->cfg.nodes || (*end != ',' && *end != '\0'))
			return bad(s, "'%s' names no nodes of 0 to %zu (such as 3, 1,4 or 0-2,4, or all)", word, s->cfg.nodes - 1);
		for (unsigned long i = a; i <= b; i++)
			set[i] = true;
		if (*end == '\0')
			return true;
		p = end + 1;
	}
}

static bool one_node(struct scenario *s, const char *word, size_t *out)
{
	uint64_t v;

	if (!number(s, word, 0, s->cfg.nodes - 1, &v))
		return false;
	*out = (size_t)v;
	return true;
}

static bool address(struct scenario *s, const char *word, struct ip *out)
{
	if (ip_parse(word, out) != ERR_OK || out->family != 4)
		return bad(s, "'%s' is no IPv4 address", word);
	return true;
}

static struct named_container *find(struct scenario *s, const char *name)
{
	for (size_t i = 0; i < s->n_names; i++)
		if (strcmp(s->names[i].name, name) == 0)
			return &s->names[i];
	(void)bad(s, "no container %s was started", name);
	return NULL;
}

static const struct container *container_of(const struct scenario *s, const struct named_container *c)
{
	const struct node *n = &s->w.nodes[c->node];

	for (size_t i = 0; i < n->n_containers; i++)
		if (n->containers[i].number == c->number)
			return &n->containers[i];
	return NULL;
}

/* --- what is done ------------------------------------------------------------------------------------------------------------------------ */

typedef bool verb(struct scenario *s, const struct line *l);

/* Does something to each of the nodes that the second word names. */
static bool each(struct scenario *s, const struct line *l, void (*what)(struct scenario *s, struct node *n))
{
	bool set[SIM_NODES_MAX];

	if (!nodes(s, l->word[1], set))
		return false;
	for (size_t i = 0; i < s->cfg.nodes; i++)
		if (set[i])
			what(s, &s->w.nodes[i]);
	return true;
}

static void start_one(struct scenario *s, struct node *n)
{
	(void)s;
	n->gone = false;
	if (n->core == NULL)
		node_start(n);
}

static void kill_one(struct scenario *s, struct node *n)
{
	(void)s;
	n->gone = true;
	node_die(n, false);
}

static void vanish_one(struct scenario *s, struct node *n)
{
	(void)s;
	n->gone = true;
	node_die(n, true);
}

static void crash_one(struct scenario *s, struct node *n)
{
	(void)s;
	node_die(n, true);
}

static void stop_one(struct scenario *s, struct node *n)
{
	struct core_event ev = { .kind = CORE_STOP };

	(void)s;
	n->gone = true;
	if (n->core != NULL)
		node_step(n, &ev);
	world_run_until(n->w, n->w->now_us + 100000); /* its farewell is on the way */
	node_die(n, false);
}

static void replace_one(struct scenario *s, struct node *n)
{
	fault_replace(&s->w, n);
}

static void fill_one(struct scenario *s, struct node *n)
{
	(void)s;
	n->disk_full = true;
}

static void torn_one(struct scenario *s, struct node *n)
{
	fault_torn(&s->w, n);
}

static bool do_start(struct scenario *s, const struct line *l)
{
	return each(s, l, start_one);
}
static bool do_kill(struct scenario *s, const struct line *l)
{
	return each(s, l, kill_one);
}
static bool do_vanish(struct scenario *s, const struct line *l)
{
	return each(s, l, vanish_one);
}
static bool do_crash(struct scenario *s, const struct line *l)
{
	return each(s, l, crash_one);
}
static bool do_stop(struct scenario *s, const struct line *l)
{
	return each(s, l, stop_one);
}
static bool do_replace(struct scenario *s, const struct line *l)
{
	return each(s, l, replace_one);
}
static bool do_fill(struct scenario *s, const struct line *l)
{
	return each(s, l, fill_one);
}
static bool do_torn(struct scenario *s, const struct line *l)
{
	return each(s, l, torn_one);
}

static bool do_wait(struct scenario *s, const struct line *l)
{
	uint64_t us;

	if (!duration(s, l->word[1], &us))
		return false;
	world_run_until(&s->w, s->w.now_us + us);
	return true;
}

/* cut A B: nothing goes between them; cut A > B: what A says does not come to B */
static bool do_cut(struct scenario *s, const struct line *l)
{
	bool a[SIM_NODES_MAX], b[SIM_NODES_MAX], one_way = l->n == 4, join = l->word[0][0] == 'j';

	if (one_way && strcmp(l->word[2], ">") != 0)
		return bad(s, "'%s' should be > or nothing", l->word[2]);
	if (!nodes(s, l->word[1], a) || !nodes(s, l->word[l->n - 1], b))
		return false;
	for (size_t i = 0; i < s->cfg.nodes; i++)
		for (size_t k = 0; k < s->cfg.nodes; k++) {
			if (!a[i] || !b[k] || i == k)
				continue;
			fault_cut(&s->w, i, k, !join);
			if (!one_way)
				fault_cut(&s->w, k, i, !join);
		}
	return true;
}

static bool do_heal(struct scenario *s, const struct line *l)
{
	(void)l;
	fault_heal(&s->w);
	return true;
}

static bool do_flap(struct scenario *s, const struct line *l)
{
	size_t a, b;
	uint64_t times;

	if (!one_node(s, l->word[1], &a) || !one_node(s, l->word[2], &b) || !number(s, l->word[3], 1, 1000, &times))
		return false;
	fault_flap(&s->w, a, b, (unsigned)times * 2);
	return true;
}

static bool do_stall(struct scenario *s, const struct line *l)
{
	bool set[SIM_NODES_MAX];
	uint64_t us;

	if (!nodes(s, l->word[1], set) || !duration(s, l->word[2], &us))
		return false;
	for (size_t i = 0; i < s->cfg.nodes; i++)
		if (set[i])
			fault_stall(&s->w, &s->w.nodes[i], us);
	return true;
}

static bool do_drift(struct scenario *s, const struct line *l)
{
	bool set[SIM_NODES_MAX];
	double v;

	if (!nodes(s, l->word[1], set) || !percent(s, l->word[2], -50, 50, &v))
		return false;
	for (size_t i = 0; i < s->cfg.nodes; i++)
		if (set[i])
			fault_drift(&s->w, &s->w.nodes[i], (int32_t)(v * 10000));
	return true;
}

static bool do_clone(struct scenario *s, const struct line *l)
{
	size_t from, to;

	if (!one_node(s, l->word[1], &from) || !one_node(s, l->word[2], &to))
		return false;
	fault_clone(&s->w, &s->w.nodes[from], &s->w.nodes[to]);
	return true;
}

/* The host is installed anew and is given the name of another one. */
static bool do_twin(struct scenario *s, const struct line *l)
{
	size_t of, n;

	if (!one_node(s, l->word[1], &of) || !one_node(s, l->word[2], &n))
		return false;
	fault_replace(&s->w, &s->w.nodes[n]);
	s->w.nodes[n].name = s->w.nodes[of].name;
	return true;
}

static bool do_loss(struct scenario *s, const struct line *l)
{
	double v;
	uint32_t *to = l->word[0][0] == 'l' ? &s->w.loss_pm : l->word[0][0] == 'd' ? &s->w.dup_pm : &s->w.late_pm;

	if (!percent(s, l->word[1], 0, 100, &v))
		return false;
	*to = (uint32_t)(v * 10000);
	return true;
}

static bool up(struct scenario *s, size_t node)
{
	return s->w.nodes[node].core != NULL || bad(s, "node %zu is down", node);
}

/* container NAME on NODE [at ADDRESS] */
static bool do_container(struct scenario *s, const struct line *l)
{
	struct ip at = { 0 };
	struct named_container *c = &s->names[s->n_names];

	if (strcmp(l->word[2], "on") != 0 || (l->n > 4 && (l->n != 6 || strcmp(l->word[4], "at") != 0)))
		return bad(s, "wanted: container NAME on NODE [at ADDRESS]");
	if (s->n_names == NAMES_MAX || strlen(l->word[1]) >= sizeof(c->name))
		return bad(s, "too many containers, or too long a name");
	if (!one_node(s, l->word[3], &c->node) || !up(s, c->node) || (l->n == 6 && !address(s, l->word[5], &at)))
		return false;
	(void)snprintf(c->name, sizeof(c->name), "%s", l->word[1]);
	s->n_names++;
	c->number = node_add_container(&s->w.nodes[c->node], at);
	return true;
}

static bool do_remove(struct scenario *s, const struct line *l)
{
	struct named_container *c = find(s, l->word[1]);

	if (c == NULL)
		return false;
	node_drop_container(&s->w.nodes[c->node], c->number);
	return true;
}

/* What its operator asks of it next is what `done` and `denied` are about. */
static void command(struct node *n)
{
	memset(&n->command, 0, sizeof(n->command));
	n->command.request = n->next_request;
}

static void prime_one(struct scenario *s, struct node *n)
{
	(void)s;
	if (n->core == NULL)
		return;
	command(n);
	struct ipam_event want = { .kind = IPAM_PRIME, .request = n->next_request++ };
	struct core_event ev = { .kind = CORE_IPAM, .ipam = &want };
	node_step(n, &ev);
}

static bool do_prime(struct scenario *s, const struct line *l)
{
	return each(s, l, prime_one);
}

static void wipe_one(struct scenario *s, struct node *n)
{
	(void)s;
	n->gone = true;
	node_wipe(n);
}

static bool do_wipe(struct scenario *s, const struct line *l)
{
	return each(s, l, wipe_one);
}

/* connect NODE TARGETS [only]; forget NODE TARGETS */
static bool do_connect(struct scenario *s, const struct line *l)
{
	bool to[SIM_NODES_MAX], only = l->n == 4;
	size_t n;

	if (only && strcmp(l->word[3], "only") != 0)
		return bad(s, "'%s' should be only or nothing", l->word[3]);
	if (!one_node(s, l->word[1], &n) || !nodes(s, l->word[2], to) || !up(s, n))
		return false;
	node_connect(&s->w.nodes[n], to, only, l->word[0][0] == 'f');
	return true;
}

/* churn TIMES on NODE: containers that come and go, one after the other */
static bool do_churn(struct scenario *s, const struct line *l)
{
	uint64_t times;
	size_t n;

	if (strcmp(l->word[2], "on") != 0)
		return bad(s, "wanted: churn TIMES on NODE");
	if (!number(s, l->word[1], 1, 100000, &times) || !one_node(s, l->word[3], &n) || !up(s, n))
		return false;
	struct named_container c = { .node = n };
	for (uint64_t i = 0; i < times && s->w.failure[0] == '\0'; i++) {
		c.number = node_add_container(&s->w.nodes[n], (struct ip){ 0 });
		for (int wait = 0; wait < CHURN_WAITS && !(container_of(s, &c) != NULL && container_of(s, &c)->live); wait++)
			world_run_until(&s->w, s->w.now_us + POLL_US);
		if (s->w.failure[0] == '\0' && (container_of(s, &c) == NULL || !container_of(s, &c)->live))
			return bad(s, "the %lluth of them got no address", (unsigned long long)i + 1);
		node_drop_container(&s->w.nodes[n], c.number);
		world_run_until(&s->w, s->w.now_us + CHURN_US);
	}
	return true;
}

/* rmpeer PEER on NODE */
static bool do_rmpeer(struct scenario *s, const struct line *l)
{
	size_t peer, on;

	if (strcmp(l->word[2], "on") != 0 || !one_node(s, l->word[1], &peer) || !one_node(s, l->word[3], &on) || !up(s, on))
		return strcmp(l->word[2], "on") != 0 ? bad(s, "wanted: rmpeer PEER on NODE") : false;
	command(&s->w.nodes[on]);
	node_remove_peer(&s->w.nodes[on], s->w.nodes[peer].name);
	return true;
}

/* reset NODE: gives away what it has, and leaves */
static void reset_one(struct scenario *s, struct node *n)
{
	(void)s;
	if (n->core == NULL)
		return;
	command(n);
	struct ipam_event want = { .kind = IPAM_HANDOVER, .request = n->next_request++ };
	struct core_event ev = { .kind = CORE_IPAM, .ipam = &want };
	node_step(n, &ev);
}

static bool do_reset(struct scenario *s, const struct line *l)
{
	return each(s, l, reset_one);
}

/* --- what is expected ---------------------------------------------------------------------------------------------------------------------- */

struct answer {
	bool so;
	char text[320]; /* what there is instead */
};

/* Not asked: those that were taken down. One that is just being started says no. */
static bool left_out(const struct node *n, struct answer *a)
{
	if (n->core != NULL)
		return false;
	a->so = a->so && n->gone;
	(void)snprintf(a->text, sizeof(a->text), "node %zu is down", n->index);
	return true;
}

static bool resolves(const struct node *n, const struct named_container *c)
{
	const struct ip *found[1];
	struct dns_name name;
	char fqdn[48];

	(void)snprintf(fqdn, sizeof(fqdn), "c%llu.weft.local.", (unsigned long long)c->number);
	if (dns_name_parse(fqdn, &name) != ERR_OK)
		sim_must(NULL);
	return dns_table_addresses(core_names(n->core), &name, 4, found, 1) > 0;
}

/* name NAME on NODES; no-name NAME on NODES */
static bool ask_name(struct scenario *s, const struct line *l, size_t k, struct answer *a)
{
	const struct named_container *c = find(s, l->word[k + 1]);
	bool set[SIM_NODES_MAX], wanted = l->word[k][1] == 'a';

	if (c == NULL || !nodes(s, l->word[k + 3], set))
		return false;
	a->so = true;
	for (size_t i = 0; i < s->cfg.nodes && a->so; i++) {
		if (!set[i] || left_out(&s->w.nodes[i], a))
			continue;
		a->so = resolves(&s->w.nodes[i], c) == wanted;
		(void)snprintf(a->text, sizeof(a->text), "on node %zu it %s", i, wanted ? "does not resolve" : "resolves");
	}
	return true;
}

/* address NAME [at ADDRESS]; waiting NAME */
static bool ask_address(struct scenario *s, const struct line *l, size_t k, struct answer *a)
{
	struct named_container *n = find(s, l->word[k + 1]);
	struct ip at = { 0 };

	if (n == NULL || (l->n > k + 3 && strcmp(l->word[k + 2], "at") == 0 && !address(s, l->word[k + 3], &at)))
		return false;
	const struct container *c = container_of(s, n);
	if (c == NULL)
		return bad(s, "container %s is not there any more", n->name);
	char text[IP_TEXT] = "none";
	if (c->live)
		(void)ip_format(c->addr, text);
	a->so = l->word[k][0] == 'w' ? !c->live && !c->given_up : c->live && (at.family == 0 || ip_eq(at, c->addr));
	(void)snprintf(a->text, sizeof(a->text), "it has %s%s", text, c->given_up ? ", and was refused one" : "");
	return true;
}

/* refused NAME: its request was answered by an error */
static bool ask_refused(struct scenario *s, const struct line *l, size_t k, struct answer *a)
{
	struct named_container *n = find(s, l->word[k + 1]);
	const struct container *c = n == NULL ? NULL : container_of(s, n);

	if (c == NULL)
		return n == NULL ? false : bad(s, "container %s is not there any more", n->name);
	a->so = c->given_up;
	(void)snprintf(a->text, sizeof(a->text), "it %s", c->live ? "has an address" : "still waits");
	return true;
}

/* reachable A B: each node of A has each of B in reach; unreachable A B: none has */
static bool ask_reachable(struct scenario *s, const struct line *l, size_t k, struct answer *a)
{
	bool from[SIM_NODES_MAX], to[SIM_NODES_MAX], wanted = l->word[k][0] == 'r';

	if (!nodes(s, l->word[k + 1], from) || !nodes(s, l->word[k + 2], to))
		return false;
	a->so = true;
	for (size_t i = 0; i < s->cfg.nodes && a->so; i++)
		for (size_t j = 0; j < s->cfg.nodes && a->so; j++) {
			if (!from[i] || !to[j] || i == j || left_out(&s->w.nodes[i], a))
				continue;
			a->so = gossip_reachable(core_gossip(s->w.nodes[i].core), s->w.nodes[j].name) == wanted;
			(void)snprintf(a->text, sizeof(a->text), "node %zu %s node %zu", i, wanted ? "does not reach" : "reaches", j);
		}
	return true;
}

static bool ask_equal(struct scenario *s, const struct line *l, size_t k, struct answer *a)
{
	(void)l;
	(void)k;
	a->so = check_digests_equal(&s->w);
	(void)snprintf(a->text, sizeof(a->text), "digests differ");
	return true;
}

/* at-rest: all that holds of a mesh that is whole and has had time */
static bool ask_rest(struct scenario *s, const struct line *l, size_t k, struct answer *a)
{
	(void)l;
	(void)k;
	a->so = check_at_rest(&s->w, false);
	(void)snprintf(a->text, sizeof(a->text), "it is not at rest");
	return true;
}

/* owner ADDRESS NODE: in every living node's view; owner ADDRESS NODE by NODES */
static bool ask_owner(struct scenario *s, const struct line *l, size_t k, struct answer *a)
{
	struct ip addr;
	size_t owner;
	bool set[SIM_NODES_MAX];
	bool by = l->n > k + 4 && strcmp(l->word[k + 3], "by") == 0;

	if (!address(s, l->word[k + 1], &addr) || !one_node(s, l->word[k + 2], &owner) || !nodes(s, by ? l->word[k + 4] : "all", set))
		return false;
	a->so = true;
	for (size_t i = 0; i < s->cfg.nodes && a->so; i++) {
		if (!set[i] || left_out(&s->w.nodes[i], a))
			continue;
		uint64_t has = ring_owner(core_channel(s->w.nodes[i].core, CHANNEL_RING), s->w.universe, ip_to_v4(addr));
		a->so = has == s->w.nodes[owner].name;
		(void)snprintf(a->text, sizeof(a->text), "by node %zu's ring it is %012llx's", i, (unsigned long long)has);
	}
	return true;
}

/* owns NODE at-least|at-most COUNT; free NODE at-least|at-most COUNT: addresses, by its own view */
static bool ask_owns(struct scenario *s, const struct line *l, size_t k, struct answer *a)
{
	size_t n;
	uint64_t count, has;
	struct ipam_view v;
	bool least = strcmp(l->word[k + 2], "at-least") == 0;

	if (!least && strcmp(l->word[k + 2], "at-most") != 0)
		return bad(s, "'%s' should be at-least or at-most", l->word[k + 2]);
	if (!one_node(s, l->word[k + 1], &n) || !number(s, l->word[k + 3], 0, UINT32_MAX, &count) || !up(s, n))
		return false;
	ipam_view(core_ipam(s->w.nodes[n].core), &v);
	has = l->word[k][0] == 'f' ? v.free_owned : v.owned;
	a->so = least ? has >= count : has <= count;
	(void)snprintf(a->text, sizeof(a->text), "it has %llu", (unsigned long long)has);
	return true;
}

/* The words from that one on to the end, without the time. */
static void text_from(const struct line *l, size_t first, char *out, size_t size)
{
	size_t last = l->n, at = 0;

	if (l->n >= 2 && (strcmp(l->word[l->n - 2], "within") == 0 || strcmp(l->word[l->n - 2], "for") == 0))
		last -= 2;
	out[0] = '\0';
	for (size_t i = first; i < last; i++)
		at += (size_t)snprintf(out + at, size - at, "%s%s", at > 0 ? " " : "", l->word[i]);
}

/* says NODE WORDS…: its `status ipam` has these words, or the reason of one of its waiting requests */
static bool ask_says(struct scenario *s, const struct line *l, size_t k, struct answer *a)
{
	char wanted[LINE_MAX_BYTES];
	struct ipam_view v;
	struct ipam_pending_view p;
	size_t n;

	if (!one_node(s, l->word[k + 1], &n) || !up(s, n))
		return false;
	text_from(l, k + 2, wanted, sizeof(wanted));
	ipam_view(core_ipam(s->w.nodes[n].core), &v);
	a->so = strstr(v.text, wanted) != NULL || strstr(v.conflict, wanted) != NULL;
	(void)snprintf(a->text, sizeof(a->text), "it says: %.150s; %.150s", v.text, v.conflict);
	for (size_t it = 0; !a->so && ipam_next_pending(core_ipam(s->w.nodes[n].core), &it, &p);) {
		a->so = strstr(p.reason, wanted) != NULL;
		(void)snprintf(a->text, sizeof(a->text), "it says: %.100s; %.100s; %.100s", v.text, v.conflict, p.reason);
	}
	return true;
}

static bool ask_contested(struct scenario *s, const struct line *l, size_t k, struct answer *a)
{
	bool set[SIM_NODES_MAX];

	if (!nodes(s, l->word[k + 1], set))
		return false;
	a->so = true;
	for (size_t i = 0; i < s->cfg.nodes && a->so; i++)
		if (set[i] && !left_out(&s->w.nodes[i], a))
			a->so = gossip_is_contested(core_gossip(s->w.nodes[i].core));
	if (a->text[0] == '\0')
		(void)snprintf(a->text, sizeof(a->text), "not all of them know");
	return true;
}

/* links NODES at-least|at-most COUNT: established ones of each */
static bool ask_links(struct scenario *s, const struct line *l, size_t k, struct answer *a)
{
	bool set[SIM_NODES_MAX], least = strcmp(l->word[k + 2], "at-least") == 0;
	uint64_t count;

	if (!least && strcmp(l->word[k + 2], "at-most") != 0)
		return bad(s, "'%s' should be at-least or at-most", l->word[k + 2]);
	if (!nodes(s, l->word[k + 1], set) || !number(s, l->word[k + 3], 0, 10000, &count))
		return false;
	a->so = true;
	for (size_t i = 0; i < s->cfg.nodes && a->so; i++) {
		struct link_view v;
		uint64_t n = 0;
		if (!set[i] || left_out(&s->w.nodes[i], a))
			continue;
		for (size_t it = 0; gossip_next_link(core_gossip(s->w.nodes[i].core), &it, &v);)
			n += v.state == LINK_ESTABLISHED;
		a->so = least ? n >= count : n <= count;
		(void)snprintf(a->text, sizeof(a->text), "node %zu has %llu", i, (unsigned long long)n);
	}
	return true;
}

/* done NODE; denied NODE WORDS…: the answer to its operator's last command */
static bool ask_command(struct scenario *s, const struct line *l, size_t k, struct answer *a)
{
	char wanted[LINE_MAX_BYTES];
	size_t n;

	if (!one_node(s, l->word[k + 1], &n))
		return false;
	const struct node *at = &s->w.nodes[n];
	text_from(l, k + 2, wanted, sizeof(wanted));
	a->so = at->command.answered && (l->word[k][1] == 'o' ? at->command.err == ERR_OK : at->command.err != ERR_OK) &&
		strstr(at->command.text, wanted) != NULL;
	(void)snprintf(a->text, sizeof(a->text), "%s%s",
		!at->command.answered           ? "there is no answer yet"
			: at->command.err == ERR_OK ? "it is done"
										: "it is denied: ",
		at->command.text);
	return true;
}

/* items NODES at-least|at-most COUNT: that each holds of the whole replicated state, deletions among them */
static bool ask_items(struct scenario *s, const struct line *l, size_t k, struct answer *a)
{
	bool set[SIM_NODES_MAX];
	uint64_t count;
	bool least = strcmp(l->word[k + 2], "at-least") == 0;

	if (!least && strcmp(l->word[k + 2], "at-most") != 0)
		return bad(s, "'%s' should be at-least or at-most", l->word[k + 2]);
	if (!nodes(s, l->word[k + 1], set) || !number(s, l->word[k + 3], 0, 1000000, &count))
		return false;
	a->so = true;
	for (size_t i = 0; i < s->cfg.nodes && a->so; i++) {
		uint64_t has = 0;
		if (!set[i] || left_out(&s->w.nodes[i], a))
			continue;
		for (uint8_t id = CHANNEL_PEERS; id <= CHANNEL_NETWORKS; id++)
			has += crdt_map_count(core_channel(s->w.nodes[i].core, id));
		a->so = least ? has >= count : has <= count;
		(void)snprintf(a->text, sizeof(a->text), "node %zu holds %llu", i, (unsigned long long)has);
	}
	return true;
}

/* path A B fast|userspace|relay|none: what each of A uses to each of B */
static bool ask_path(struct scenario *s, const struct line *l, size_t k, struct answer *a)
{
	bool from[SIM_NODES_MAX], to[SIM_NODES_MAX];

	if (!nodes(s, l->word[k + 1], from) || !nodes(s, l->word[k + 2], to))
		return false;
	a->so = true;
	for (size_t i = 0; i < s->cfg.nodes && a->so; i++)
		for (size_t j = 0; j < s->cfg.nodes && a->so; j++) {
			struct path_view v = { .path = PATH_NONE };
			if (!from[i] || !to[j] || i == j || left_out(&s->w.nodes[i], a))
				continue;
			if (!core_path(s->w.nodes[i].core, s->w.nodes[j].name, &v))
				v.path = PATH_NONE;
			a->so = strcmp(path_name(v.path), l->word[k + 3]) == 0;
			(void)snprintf(a->text, sizeof(a->text), "from node %zu to node %zu it is %s", i, j, path_name(v.path));
		}
	return true;
}

static const struct {
	const char *word;
	size_t least; /* words after it */
	bool (*ask)(struct scenario *s, const struct line *l, size_t k, struct answer *a);
} expectations[] = {
	{ "name", 3, ask_name },
	{ "no-name", 3, ask_name },
	{ "address", 1, ask_address },
	{ "waiting", 1, ask_address },
	{ "refused", 1, ask_refused },
	{ "reachable", 2, ask_reachable },
	{ "unreachable", 2, ask_reachable },
	{ "equal", 0, ask_equal },
	{ "at-rest", 0, ask_rest },
	{ "owner", 2, ask_owner },
	{ "owns", 3, ask_owns },
	{ "free", 3, ask_owns },
	{ "says", 2, ask_says },
	{ "contested", 1, ask_contested },
	{ "links", 3, ask_links },
	{ "done", 1, ask_command },
	{ "denied", 2, ask_command },
	{ "items", 3, ask_items },
	{ "path", 3, ask_path },
};
enum { EXPECTATIONS = sizeof(expectations) / sizeof(expectations[0]) };

static size_t expectation(const char *word)
{
	size_t i = 0;

	while (i < EXPECTATIONS && strcmp(expectations[i].word, word) != 0)
		i++;
	return i;
}

/* expect WHAT … [within TIME]; never WHAT … for TIME */
static bool do_expect(struct scenario *s, const struct line *l)
{
	size_t i = expectation(l->word[1]);
	bool never = l->word[0][0] == 'n', timed = l->n > 3 && strcmp(l->word[l->n - 2], never ? "for" : "within") == 0;
	uint64_t us = 0;
	struct answer a = { .so = false };

	if (i == EXPECTATIONS)
		return bad(s, "'%s' cannot be expected", l->word[1]);
	if (l->n < 2 + expectations[i].least + (timed ? 2 : 0))
		return bad(s, "too few words after '%s'", l->word[1]);
	if ((timed && !duration(s, l->word[l->n - 1], &us)) || (never && !timed))
		return timed ? false : bad(s, "wanted: never WHAT … for TIME");
	uint64_t end = s->w.now_us + us;
	for (;;) {
		if (!expectations[i].ask(s, l, 1, &a))
			return false;
		if (s->w.failure[0] != '\0')
			return true;
		if (a.so != never && !never)
			return true;
		if (a.so && never)
			return bad(s, "at %.3f s it is so after all", (double)s->w.now_us / 1e6);
		if (s->w.now_us >= end)
			break;
		world_run_until(&s->w, s->w.now_us + POLL_US < end ? s->w.now_us + POLL_US : end);
	}
	if (never)
		return true;
	if (expectations[i].ask == ask_rest)
		(void)check_at_rest(&s->w, true); /* which says what is not */
	return bad(s, "at %.3f s it is not so: %s", (double)s->w.now_us / 1e6, a.text);
}

/* --- settings ---------------------------------------------------------------------------------------------------------------------------- */

static bool set_number(struct scenario *s, const struct line *l)
{
	uint64_t v;
	bool is_nodes = strcmp(l->word[0], "nodes") == 0;

	if (!number(s, l->word[1], is_nodes ? 2 : 0, is_nodes ? SIM_NODES_MAX : 1000000, &v))
		return false;
	if (is_nodes)
		s->cfg.nodes = (size_t)v;
	else
		s->cfg.seed = v;
	return true;
}

static bool set_rtt(struct scenario *s, const struct line *l)
{
	uint64_t us;

	if (!duration(s, l->word[1], &us))
		return false;
	s->cfg.rtt_ms = us / 1000;
	return true;
}

/* range /LENGTH; range FIRST/LENGTH */
static bool set_range(struct scenario *s, const struct line *l)
{
	char *slash = strchr(l->word[1], '/');
	uint64_t len;
	struct ip first = { 0 };

	if (slash == NULL)
		return bad(s, "wanted: range [FIRST]/LENGTH");
	if (!number(s, slash + 1, 12, 28, &len))
		return false;
	*slash = '\0';
	if (l->word[1][0] != '\0' && !address(s, l->word[1], &first))
		return false;
	s->cfg.range_len = (uint8_t)len;
	s->cfg.range_first = first.family == 0 ? 0 : ip_to_v4(first);
	return (s->cfg.range_first & ((UINT32_C(1) << (32 - len)) - 1)) == 0 || bad(s, "the range has bits after its length");
}

static bool set_targets(struct scenario *s, const struct line *l)
{
	static const char *const words[] = { "all", "chain", "none" };

	for (size_t i = 0; i < 3; i++)
		if (strcmp(l->word[1], words[i]) == 0) {
			s->cfg.targets = (enum sim_targets)i;
			return true;
		}
	return bad(s, "'%s' should be all, chain or none", l->word[1]);
}

static bool set_flag(struct scenario *s, const struct line *l)
{
	*(strcmp(l->word[0], "apart") == 0 ? &s->cfg.apart : &s->cfg.no_discovery) = true;
	return true;
}

static bool set_reclaim(struct scenario *s, const struct line *l)
{
	uint64_t us;

	if (!duration(s, l->word[1], &us))
		return false;
	s->cfg.reclaim_after_ms = us / 1000;
	return true;
}

static bool set_init(struct scenario *s, const struct line *l)
{
	uint64_t of;

	static const char *const words[] = { "any", "consensus", "seeds", "targets" };

	for (size_t i = 1; i < 4; i++)
		if (strcmp(l->word[1], words[i]) == 0)
			s->cfg.init = (enum sim_init)i;
	if (l->n == 3 && (s->cfg.init != SIM_INIT_CONSENSUS || !number(s, l->word[2], 1, s->cfg.nodes, &of)))
		return s->cfg.init == SIM_INIT_CONSENSUS ? false : bad(s, "only consensus takes a number");
	if (l->n == 3)
		s->cfg.quorum_of = (size_t)of;
	return s->cfg.init != SIM_INIT_ANY || bad(s, "'%s' should be consensus, seeds or targets", l->word[1]);
}

static bool set_nodes_flag(struct scenario *s, const struct line *l)
{
	bool set[SIM_NODES_MAX], *to = strcmp(l->word[0], "down") == 0 ? s->cfg.down : s->cfg.observers;

	if (!nodes(s, l->word[1], set))
		return false;
	memcpy(to, set, s->cfg.nodes * sizeof(*set));
	return true;
}

static const struct {
	const char *word;
	size_t least, most; /* words after it */
	bool setting;       /* before the world is made */
	verb *what;
} verbs[] = {
	{ "seed", 1, 1, true, set_number },
	{ "nodes", 1, 1, true, set_number },
	{ "range", 1, 1, true, set_range },
	{ "targets", 1, 1, true, set_targets },
	{ "no-discovery", 0, 0, true, set_flag },
	{ "apart", 0, 0, true, set_flag },
	{ "rtt", 1, 1, true, set_rtt },
	{ "init", 1, 2, true, set_init },
	{ "reclaim-after", 1, 1, true, set_reclaim },
	{ "down", 1, 1, true, set_nodes_flag },
	{ "observers", 1, 1, true, set_nodes_flag },
	{ "wait", 1, 1, false, do_wait },
	{ "start", 1, 1, false, do_start },
	{ "stop", 1, 1, false, do_stop },
	{ "kill", 1, 1, false, do_kill },
	{ "vanish", 1, 1, false, do_vanish },
	{ "crash", 1, 1, false, do_crash },
	{ "replace", 1, 1, false, do_replace },
	{ "reset", 1, 1, false, do_reset },
	{ "wipe", 1, 1, false, do_wipe },
	{ "prime", 1, 1, false, do_prime },
	{ "connect", 2, 3, false, do_connect },
	{ "forget", 2, 2, false, do_connect },
	{ "churn", 3, 3, false, do_churn },
	{ "clone", 2, 2, false, do_clone },
	{ "twin", 2, 2, false, do_twin },
	{ "cut", 2, 3, false, do_cut },
	{ "join", 2, 3, false, do_cut },
	{ "heal", 0, 0, false, do_heal },
	{ "flap", 3, 3, false, do_flap },
	{ "stall", 2, 2, false, do_stall },
	{ "drift", 2, 2, false, do_drift },
	{ "disk-full", 1, 1, false, do_fill },
	{ "torn", 1, 1, false, do_torn },
	{ "loss", 1, 1, false, do_loss },
	{ "dup", 1, 1, false, do_loss },
	{ "reorder", 1, 1, false, do_loss },
	{ "container", 3, 5, false, do_container },
	{ "remove", 1, 1, false, do_remove },
	{ "rmpeer", 3, 3, false, do_rmpeer },
	{ "expect", 1, WORDS_MAX, false, do_expect },
	{ "never", 1, WORDS_MAX, false, do_expect },
};
enum { VERBS = sizeof(verbs) / sizeof(verbs[0]) };

/* --- the file ---------------------------------------------------------------------------------------------------------------------------- */

static bool split(struct scenario *s, char *text, size_t number_in_file)
{
	struct line l = { .number = number_in_file };
	void *v = s->lines;
	char *rest = NULL;

	if (strchr(text, '#') != NULL)
		*strchr(text, '#') = '\0';
	l.text = sim_must(mem_strdup(text));
	for (char *w = strtok_r(l.text, " \t\r\n", &rest); w != NULL && l.n < WORDS_MAX; w = strtok_r(NULL, " \t\r\n", &rest))
		l.word[l.n++] = w;
	if (l.n == 0) {
		mem_free(l.text);
		return true;
	}
	if (!mem_grow(&v, &s->cap_lines, s->n_lines + 1, sizeof(*s->lines)))
		sim_must(NULL);
	s->lines = v;
	s->at = s->n_lines;
	s->lines[s->n_lines++] = l;
	size_t k = 0;
	while (k < VERBS && strcmp(verbs[k].word, l.word[0]) != 0)
		k++;
	if (k == VERBS)
		return bad(s, "there is no '%s'", l.word[0]);
	if (l.n - 1 < verbs[k].least || l.n - 1 > verbs[k].most)
		return bad(s, "'%s' takes %zu to %zu words, not %zu", l.word[0], verbs[k].least, verbs[k].most, l.n - 1);
	if (verbs[k].what == do_expect && expectation(l.word[1]) == EXPECTATIONS)
		return bad(s, "'%s' cannot be expected", l.word[1]);
	return true;
}

static bool read_file(struct scenario *s)
{
	FILE *f = fopen(s->path, "r");
	char text[LINE_MAX_BYTES];
	bool ok = f != NULL || bad(s, "%s", strerror(errno));

	for (size_t i = 1; ok && fgets(text, sizeof(text), f) != NULL; i++)
		ok = split(s, text, i);
	if (f != NULL)
		(void)fclose(f);
	return ok;
}

static bool carry_out(struct scenario *s)
{
	for (s->at = 0; s->at < s->n_lines; s->at++) {
		const struct line *l = &s->lines[s->at];
		size_t k = 0;
		while (strcmp(verbs[k].word, l->word[0]) != 0)
			k++;
		if (verbs[k].setting && s->made)
			return bad(s, "'%s' has to stand before all that is done", l->word[0]);
		if (!verbs[k].setting && !s->made) {
			world_make(&s->w, &s->cfg);
			s->made = true;
		}
		if (s->made)
			sim_trace(&s->w, "--- line %zu: %s", l->number, l->word[0]);
		bool ok = verbs[k].what(s, l);
		if (s->made && s->w.failure[0] != '\0')
			return bad(s, "%s", s->w.failure);
		if (!ok)
			return false;
	}
	return s->made || bad(s, "nothing is done in it");
}

bool scenario_run(const struct sim_cfg *cfg, const char *path, char *error, size_t size)
{
	struct scenario *s = sim_must(mem_zalloc(1, sizeof(*s)));

	s->path = path;
	s->cfg = *cfg;
	s->cfg.scenario = true;
	s->cfg.faults = false;
	s->error = error;
	s->error_size = size;
	bool ok = read_file(s) && carry_out(s);
	if (s->made)
		world_free(&s->w);
	for (size_t i = 0; i < s->n_lines; i++)
		mem_free(s->lines[i].text);
	mem_free(s->lines);
	mem_free(s);
	return ok;
}
