/* What a scenario expects: `expect WHAT [within TIME]`, `never WHAT for TIME`. Each WHAT is a function that looks at the world as it is. */
#include <string.h>

#include "dns/name.h"
#include "dns/table.h"
#include "tests/sim/scenario.h"

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
	return dns_table_addresses(core_names(n->core), NULL, &name, 4, found, 1) > 0;
}

/* name NAME on NODES; no-name NAME on NODES */
static bool ask_name(struct scenario *s, const struct line *l, size_t k, struct answer *a)
{
	const struct named_container *c = scenario_find(s, l->word[k + 1]);
	bool set[SIM_NODES_MAX], wanted = l->word[k][1] == 'a';

	if (c == NULL || !scenario_nodes(s, l->word[k + 3], set))
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
	struct named_container *n = scenario_find(s, l->word[k + 1]);
	struct ip at = { 0 };

	if (n == NULL || (l->n > k + 3 && strcmp(l->word[k + 2], "at") == 0 && !scenario_address(s, l->word[k + 3], &at)))
		return false;
	const struct container *c = scenario_container(s, n);
	if (c == NULL)
		return scenario_bad(s, "container %s is not there any more", n->name);
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
	struct named_container *n = scenario_find(s, l->word[k + 1]);
	const struct container *c = n == NULL ? NULL : scenario_container(s, n);

	if (c == NULL)
		return n == NULL ? false : scenario_bad(s, "container %s is not there any more", n->name);
	a->so = c->given_up;
	(void)snprintf(a->text, sizeof(a->text), "it %s", c->live ? "has an address" : "still waits");
	return true;
}

/* reachable A B: each node of A has each of B in reach; unreachable A B: none has */
static bool ask_reachable(struct scenario *s, const struct line *l, size_t k, struct answer *a)
{
	bool from[SIM_NODES_MAX], to[SIM_NODES_MAX], wanted = l->word[k][0] == 'r';

	if (!scenario_nodes(s, l->word[k + 1], from) || !scenario_nodes(s, l->word[k + 2], to))
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

	if (!scenario_address(s, l->word[k + 1], &addr) || !scenario_node(s, l->word[k + 2], &owner) ||
		!scenario_nodes(s, by ? l->word[k + 4] : "all", set))
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
		return scenario_bad(s, "'%s' should be at-least or at-most", l->word[k + 2]);
	if (!scenario_node(s, l->word[k + 1], &n) || !scenario_number(s, l->word[k + 3], 0, UINT32_MAX, &count) || !scenario_up(s, n))
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

	if (!scenario_node(s, l->word[k + 1], &n) || !scenario_up(s, n))
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

	if (!scenario_nodes(s, l->word[k + 1], set))
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
		return scenario_bad(s, "'%s' should be at-least or at-most", l->word[k + 2]);
	if (!scenario_nodes(s, l->word[k + 1], set) || !scenario_number(s, l->word[k + 3], 0, 10000, &count))
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

	if (!scenario_node(s, l->word[k + 1], &n))
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
		return scenario_bad(s, "'%s' should be at-least or at-most", l->word[k + 2]);
	if (!scenario_nodes(s, l->word[k + 1], set) || !scenario_number(s, l->word[k + 3], 0, 1000000, &count))
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

	if (!scenario_nodes(s, l->word[k + 1], from) || !scenario_nodes(s, l->word[k + 2], to))
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

bool scenario_expects(const char *word)
{
	return expectation(word) < EXPECTATIONS;
}

/* expect WHAT … [within TIME]; never WHAT … for TIME */
bool scenario_expect(struct scenario *s, const struct line *l)
{
	size_t i = expectation(l->word[1]);
	bool never = l->word[0][0] == 'n', timed = l->n > 3 && strcmp(l->word[l->n - 2], never ? "for" : "within") == 0;
	uint64_t us = 0;
	struct answer a = { .so = false };

	if (i == EXPECTATIONS)
		return scenario_bad(s, "'%s' cannot be expected", l->word[1]);
	if (l->n < 2 + expectations[i].least + (timed ? 2 : 0))
		return scenario_bad(s, "too few words after '%s'", l->word[1]);
	if ((timed && !scenario_duration(s, l->word[l->n - 1], &us)) || (never && !timed))
		return timed ? false : scenario_bad(s, "wanted: never WHAT … for TIME");
	uint64_t end = s->w.now_us + us;
	for (;;) {
		if (!expectations[i].ask(s, l, 1, &a))
			return false;
		if (s->w.failure[0] != '\0')
			return true;
		if (a.so != never && !never)
			return true;
		if (a.so && never)
			return scenario_bad(s, "at %.3f s it is so after all", (double)s->w.now_us / 1e6);
		if (s->w.now_us >= end)
			break;
		world_run_until(&s->w, s->w.now_us + POLL_US < end ? s->w.now_us + POLL_US : end);
	}
	if (never)
		return true;
	if (expectations[i].ask == ask_rest)
		(void)check_at_rest(&s->w, true); /* which says what is not */
	return scenario_bad(s, "at %.3f s it is not so: %s", (double)s->w.now_us / 1e6, a.text);
}
