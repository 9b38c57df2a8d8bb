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
#include "tests/sim/scenario.h"

enum { CHURN_WAITS = 100, CHURN_US = 20000 };

bool scenario_bad(struct scenario *s, const char *fmt, ...)
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

bool scenario_number(struct scenario *s, const char *word, uint64_t least, uint64_t most, uint64_t *out)
{
	char *end;

	errno = 0;
	*out = strtoull(word, &end, 10);
	if (errno != 0 || end == word || *end != '\0' || *word == '-' || *out < least || *out > most)
		return scenario_bad(s, "'%s' is no number from %llu to %llu", word, (unsigned long long)least, (unsigned long long)most);
	return true;
}

/* 5s, 300ms, 2m, 24h */
bool scenario_duration(struct scenario *s, const char *word, uint64_t *us)
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
	return scenario_bad(s, "'%s' is no time such as 300ms, 5s, 2m, 24h", word);
}

/* -12%, 0.5% */
static bool scenario_percent(struct scenario *s, const char *word, double least, double most, double *out)
{
	char *end;

	*out = strtod(word, &end);
	if (end == word || strcmp(end, "%") != 0 || *out < least || *out > most)
		return scenario_bad(s, "'%s' is no share from %g%% to %g%%", word, least, most);
	return true;
}

/* "3", "1,4", "0-2,4", "all" */
bool scenario_nodes(struct scenario *s, const char *word, bool *set)
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
			return scenario_bad(s, "'%s' names no nodes of 0 to %zu (such as 3, 1,4 or 0-2,4, or all)", word, s->cfg.nodes - 1);
		for (unsigned long i = a; i <= b; i++)
			set[i] = true;
		if (*end == '\0')
			return true;
		p = end + 1;
	}
}

bool scenario_node(struct scenario *s, const char *word, size_t *out)
{
	uint64_t v;

	if (!scenario_number(s, word, 0, s->cfg.nodes - 1, &v))
		return false;
	*out = (size_t)v;
	return true;
}

bool scenario_address(struct scenario *s, const char *word, struct ip *out)
{
	if (ip_parse(word, out) != ERR_OK || out->family != 4)
		return scenario_bad(s, "'%s' is no IPv4 address", word);
	return true;
}

struct named_container *scenario_find(struct scenario *s, const char *name)
{
	for (size_t i = 0; i < s->n_names; i++)
		if (strcmp(s->names[i].name, name) == 0)
			return &s->names[i];
	(void)scenario_bad(s, "no container %s was started", name);
	return NULL;
}

const struct container *scenario_container(const struct scenario *s, const struct named_container *c)
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

	if (!scenario_nodes(s, l->word[1], set))
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

	if (!scenario_duration(s, l->word[1], &us))
		return false;
	world_run_until(&s->w, s->w.now_us + us);
	return true;
}

/* cut A B: nothing goes between them; cut A > B: what A says does not come to B */
static bool do_cut(struct scenario *s, const struct line *l)
{
	bool a[SIM_NODES_MAX], b[SIM_NODES_MAX], one_way = l->n == 4, join = l->word[0][0] == 'j';

	if (one_way && strcmp(l->word[2], ">") != 0)
		return scenario_bad(s, "'%s' should be > or nothing", l->word[2]);
	if (!scenario_nodes(s, l->word[1], a) || !scenario_nodes(s, l->word[l->n - 1], b))
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

	if (!scenario_node(s, l->word[1], &a) || !scenario_node(s, l->word[2], &b) ||
		!scenario_number(s, l->word[3], 1, 1000, &times))
		return false;
	fault_flap(&s->w, a, b, (unsigned)times * 2);
	return true;
}

static bool do_stall(struct scenario *s, const struct line *l)
{
	bool set[SIM_NODES_MAX];
	uint64_t us;

	if (!scenario_nodes(s, l->word[1], set) || !scenario_duration(s, l->word[2], &us))
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

	if (!scenario_nodes(s, l->word[1], set) || !scenario_percent(s, l->word[2], -50, 50, &v))
		return false;
	for (size_t i = 0; i < s->cfg.nodes; i++)
		if (set[i])
			fault_drift(&s->w, &s->w.nodes[i], (int32_t)(v * 10000));
	return true;
}

static bool do_clone(struct scenario *s, const struct line *l)
{
	size_t from, to;

	if (!scenario_node(s, l->word[1], &from) || !scenario_node(s, l->word[2], &to))
		return false;
	fault_clone(&s->w, &s->w.nodes[from], &s->w.nodes[to]);
	return true;
}

/* The host is installed anew and is given the name of another one. */
static bool do_twin(struct scenario *s, const struct line *l)
{
	size_t of, n;

	if (!scenario_node(s, l->word[1], &of) || !scenario_node(s, l->word[2], &n))
		return false;
	fault_replace(&s->w, &s->w.nodes[n]);
	s->w.nodes[n].name = s->w.nodes[of].name;
	return true;
}

static bool do_loss(struct scenario *s, const struct line *l)
{
	double v;
	uint32_t *to = l->word[0][0] == 'l' ? &s->w.loss_pm : l->word[0][0] == 'd' ? &s->w.dup_pm : &s->w.late_pm;

	if (!scenario_percent(s, l->word[1], 0, 100, &v))
		return false;
	*to = (uint32_t)(v * 10000);
	return true;
}

bool scenario_up(struct scenario *s, size_t node)
{
	return s->w.nodes[node].core != NULL || scenario_bad(s, "node %zu is down", node);
}

/* container NAME on NODE [at ADDRESS] */
static bool do_container(struct scenario *s, const struct line *l)
{
	struct ip at = { 0 };
	struct named_container *c = &s->names[s->n_names];

	if (strcmp(l->word[2], "on") != 0 || (l->n > 4 && (l->n != 6 || strcmp(l->word[4], "at") != 0)))
		return scenario_bad(s, "wanted: container NAME on NODE [at ADDRESS]");
	if (s->n_names == NAMES_MAX || strlen(l->word[1]) >= sizeof(c->name))
		return scenario_bad(s, "too many containers, or too long a name");
	if (!scenario_node(s, l->word[3], &c->node) || !scenario_up(s, c->node) ||
		(l->n == 6 && !scenario_address(s, l->word[5], &at)))
		return false;
	(void)snprintf(c->name, sizeof(c->name), "%s", l->word[1]);
	s->n_names++;
	c->number = node_add_container(&s->w.nodes[c->node], at);
	return true;
}

static bool do_remove(struct scenario *s, const struct line *l)
{
	struct named_container *c = scenario_find(s, l->word[1]);

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
		return scenario_bad(s, "'%s' should be only or nothing", l->word[3]);
	if (!scenario_node(s, l->word[1], &n) || !scenario_nodes(s, l->word[2], to) || !scenario_up(s, n))
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
		return scenario_bad(s, "wanted: churn TIMES on NODE");
	if (!scenario_number(s, l->word[1], 1, 100000, &times) || !scenario_node(s, l->word[3], &n) || !scenario_up(s, n))
		return false;
	struct named_container c = { .node = n };
	for (uint64_t i = 0; i < times && s->w.failure[0] == '\0'; i++) {
		c.number = node_add_container(&s->w.nodes[n], (struct ip){ 0 });
		for (int wait = 0; wait < CHURN_WAITS && !(scenario_container(s, &c) != NULL && scenario_container(s, &c)->live); wait++)
			world_run_until(&s->w, s->w.now_us + POLL_US);
		if (s->w.failure[0] == '\0' && (scenario_container(s, &c) == NULL || !scenario_container(s, &c)->live))
			return scenario_bad(s, "the %lluth of them got no address", (unsigned long long)i + 1);
		node_drop_container(&s->w.nodes[n], c.number);
		world_run_until(&s->w, s->w.now_us + CHURN_US);
	}
	return true;
}

/* rmpeer PEER on NODE */
static bool do_rmpeer(struct scenario *s, const struct line *l)
{
	size_t peer, on;

	if (strcmp(l->word[2], "on") != 0 || !scenario_node(s, l->word[1], &peer) || !scenario_node(s, l->word[3], &on) ||
		!scenario_up(s, on))
		return strcmp(l->word[2], "on") != 0 ? scenario_bad(s, "wanted: rmpeer PEER on NODE") : false;
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

/* --- settings ---------------------------------------------------------------------------------------------------------------------------- */

static bool set_number(struct scenario *s, const struct line *l)
{
	uint64_t v;
	bool is_nodes = strcmp(l->word[0], "nodes") == 0;

	if (!scenario_number(s, l->word[1], is_nodes ? 2 : 0, is_nodes ? SIM_NODES_MAX : 1000000, &v))
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

	if (!scenario_duration(s, l->word[1], &us))
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
		return scenario_bad(s, "wanted: range [FIRST]/LENGTH");
	if (!scenario_number(s, slash + 1, 12, 28, &len))
		return false;
	*slash = '\0';
	if (l->word[1][0] != '\0' && !scenario_address(s, l->word[1], &first))
		return false;
	s->cfg.range_len = (uint8_t)len;
	s->cfg.range_first = first.family == 0 ? 0 : ip_to_v4(first);
	return (s->cfg.range_first & ((UINT32_C(1) << (32 - len)) - 1)) == 0 ||
		scenario_bad(s, "the range has bits after its length");
}

static bool set_targets(struct scenario *s, const struct line *l)
{
	static const char *const words[] = { "all", "chain", "none" };

	for (size_t i = 0; i < 3; i++)
		if (strcmp(l->word[1], words[i]) == 0) {
			s->cfg.targets = (enum sim_targets)i;
			return true;
		}
	return scenario_bad(s, "'%s' should be all, chain or none", l->word[1]);
}

static bool set_flag(struct scenario *s, const struct line *l)
{
	*(strcmp(l->word[0], "apart") == 0 ? &s->cfg.apart : &s->cfg.no_discovery) = true;
	return true;
}

static bool set_reclaim(struct scenario *s, const struct line *l)
{
	uint64_t us;

	if (!scenario_duration(s, l->word[1], &us))
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
	if (l->n == 3 && (s->cfg.init != SIM_INIT_CONSENSUS || !scenario_number(s, l->word[2], 1, s->cfg.nodes, &of)))
		return s->cfg.init == SIM_INIT_CONSENSUS ? false : scenario_bad(s, "only consensus takes a number");
	if (l->n == 3)
		s->cfg.quorum_of = (size_t)of;
	return s->cfg.init != SIM_INIT_ANY || scenario_bad(s, "'%s' should be consensus, seeds or targets", l->word[1]);
}

static bool set_nodes_flag(struct scenario *s, const struct line *l)
{
	bool set[SIM_NODES_MAX], *to = strcmp(l->word[0], "down") == 0 ? s->cfg.down : s->cfg.observers;

	if (!scenario_nodes(s, l->word[1], set))
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
	{ "expect", 1, WORDS_MAX, false, scenario_expect },
	{ "never", 1, WORDS_MAX, false, scenario_expect },
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
		return scenario_bad(s, "there is no '%s'", l.word[0]);
	if (l.n - 1 < verbs[k].least || l.n - 1 > verbs[k].most)
		return scenario_bad(s, "'%s' takes %zu to %zu words, not %zu", l.word[0], verbs[k].least, verbs[k].most, l.n - 1);
	if (verbs[k].what == scenario_expect && !scenario_expects(l.word[1]))
		return scenario_bad(s, "'%s' cannot be expected", l.word[1]);
	return true;
}

static bool read_file(struct scenario *s)
{
	FILE *f = fopen(s->path, "r");
	char text[LINE_MAX_BYTES];
	bool ok = f != NULL || scenario_bad(s, "%s", strerror(errno));

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
			return scenario_bad(s, "'%s' has to stand before all that is done", l->word[0]);
		if (!verbs[k].setting && !s->made) {
			world_make(&s->w, &s->cfg);
			s->made = true;
		}
		if (s->made)
			sim_trace(&s->w, "--- line %zu: %s", l->number, l->word[0]);
		bool ok = verbs[k].what(s, l);
		if (s->made && s->w.failure[0] != '\0')
			return scenario_bad(s, "%s", s->w.failure);
		if (!ok)
			return false;
	}
	return s->made || scenario_bad(s, "nothing is done in it");
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
