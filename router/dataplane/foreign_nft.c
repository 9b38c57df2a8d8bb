/* Chains of nftables, iptables-nft's among them. All chains and rules are read; base chains of the forward hook are then followed in the order of their
 * priorities, each until it drops: an accept ends its own chain only.
 *
 * Of a rule's expressions those are understood that compare a name of an interface; what else it loads is not known, and a rule that depends on it does not
 * match. iptables' REJECT, and reject itself, drop. */
#include <stdio.h>
#include <arpa/inet.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <libnftnl/chain.h>
#include <libnftnl/common.h>
#include <libnftnl/expr.h>
#include <libnftnl/rule.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/mem.h"
#include "router/dataplane/foreign_internal.h"
#include "router/dataplane/nft_internal.h"

enum { CHAINS_MAX = 65536, RULES_MAX = 262144, REGISTERS = 24, TRIES_MAX = 8 };

struct chain {
	struct nftnl_chain *c;
	uint32_t family;
	const char *table, *name;
	bool base, drops; /* of the forward hook; its policy */
	int32_t priority;
};
struct rule {
	struct nftnl_rule *r;
	uint32_t family;
	const char *table, *chain;
	size_t at; /* in its chain's order: as they came */
};
struct ruleset {
	struct chain *chains;
	size_t n_chains, cap_chains;
	struct rule *rules;
	size_t n_rules, cap_rules;
};

static void clear(struct ruleset *s)
{
	for (size_t i = 0; i < s->n_chains; i++)
		nftnl_chain_free(s->chains[i].c);
	for (size_t i = 0; i < s->n_rules; i++)
		nftnl_rule_free(s->rules[i].r);
	mem_free(s->chains);
	mem_free(s->rules);
	*s = (struct ruleset){ 0 };
}

static int on_chain(const struct nlmsghdr *h, void *arg)
{
	struct ruleset *s = arg;
	struct nftnl_chain *c = nftnl_chain_alloc();
	if (!c)
		return -ENOMEM;
	if (nftnl_chain_nlmsg_parse(h, c) < 0 || !nftnl_chain_get_str(c, NFTNL_CHAIN_TABLE) ||
		!nftnl_chain_get_str(c, NFTNL_CHAIN_NAME)) {
		nftnl_chain_free(c);
		return 0;
	}
	if (s->n_chains == CHAINS_MAX || !mem_grow((void **)&s->chains, &s->cap_chains, s->n_chains + 1, sizeof *s->chains)) {
		nftnl_chain_free(c);
		return -ENOMEM;
	}
	const char *type = nftnl_chain_get_str(c, NFTNL_CHAIN_TYPE);
	const uint32_t family = nftnl_chain_get_u32(c, NFTNL_CHAIN_FAMILY);
	const bool ours = strcmp(nftnl_chain_get_str(c, NFTNL_CHAIN_TABLE), NFT_TABLE) == 0 && family == NFPROTO_INET;
	s->chains[s->n_chains++] = (struct chain){ .c = c,
		.family = family,
		.table = nftnl_chain_get_str(c, NFTNL_CHAIN_TABLE),
		.name = nftnl_chain_get_str(c, NFTNL_CHAIN_NAME),
		.base = !ours && type && strcmp(type, "filter") == 0 && nftnl_chain_is_set(c, NFTNL_CHAIN_HOOKNUM) &&
			nftnl_chain_get_u32(c, NFTNL_CHAIN_HOOKNUM) == NF_INET_FORWARD,
		.drops = nftnl_chain_is_set(c, NFTNL_CHAIN_POLICY) && nftnl_chain_get_u32(c, NFTNL_CHAIN_POLICY) == NF_DROP,
		.priority = nftnl_chain_get_s32(c, NFTNL_CHAIN_PRIO) };
	return 0;
}

static int on_rule(const struct nlmsghdr *h, void *arg)
{
	struct ruleset *s = arg;
	struct nftnl_rule *r = nftnl_rule_alloc();
	if (!r)
		return -ENOMEM;
	if (nftnl_rule_nlmsg_parse(h, r) < 0 || !nftnl_rule_get_str(r, NFTNL_RULE_TABLE) ||
		!nftnl_rule_get_str(r, NFTNL_RULE_CHAIN)) {
		nftnl_rule_free(r);
		return 0;
	}
	if (s->n_rules == RULES_MAX || !mem_grow((void **)&s->rules, &s->cap_rules, s->n_rules + 1, sizeof *s->rules)) {
		nftnl_rule_free(r);
		return -ENOMEM;
	}
	s->rules[s->n_rules] = (struct rule){ .r = r,
		.family = nftnl_rule_get_u32(r, NFTNL_RULE_FAMILY),
		.table = nftnl_rule_get_str(r, NFTNL_RULE_TABLE),
		.chain = nftnl_rule_get_str(r, NFTNL_RULE_CHAIN),
		.at = s->n_rules };
	s->n_rules++;
	return 0;
}

static int compare_place(uint32_t family, const char *table, const char *chain, const struct rule *r)
{
	int c = family != r->family ? (family < r->family ? -1 : 1) : strcmp(table, r->table);
	return c != 0 ? c : strcmp(chain, r->chain);
}

static int by_place(const void *a, const void *b)
{
	const struct rule *x = a, *y = b;
	int c = compare_place(x->family, x->table, x->chain, y);
	return c != 0 ? c : (x->at > y->at) - (x->at < y->at);
}

static int by_priority(const void *a, const void *b)
{
	const struct chain *x = a, *y = b;
	return (x->priority > y->priority) - (x->priority < y->priority);
}

static int dump(struct mnl_socket *m, uint32_t *seq, uint16_t type, nft_each fn, struct ruleset *s)
{
	uint8_t bytes[256] __attribute__((aligned(NLMSG_ALIGNTO)));
	int result = -EAGAIN;
	for (int i = 0; i < TRIES_MAX && result == -EAGAIN; i++) {
		if (i > 0)
			clear(s);
		memset(bytes, 0, sizeof bytes);
		struct nlmsghdr *h = nftnl_nlmsg_build_hdr((char *)bytes, type, NFPROTO_UNSPEC, NLM_F_DUMP, 0);
		result = nft_ask(m, h, ++*seq, fn, s);
	}
	return result;
}

static int read_all(struct ruleset *s)
{
	uint32_t seq = 0;
	struct mnl_socket *m = mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC);
	int result = m && mnl_socket_bind(m, 0, MNL_SOCKET_AUTOPID) == 0 ? 0 : -errno;
	struct ruleset rules = { 0 };
	if (result == 0)
		result = dump(m, &seq, NFT_MSG_GETCHAIN, on_chain, s);
	bool any = false;
	for (size_t i = 0; i < s->n_chains && !any; i++)
		any = s->chains[i].base;
	if (result == 0 && any)
		result = dump(m, &seq, NFT_MSG_GETRULE, on_rule, &rules);
	s->rules = rules.rules;
	s->n_rules = rules.n_rules;
	s->cap_rules = rules.cap_rules;
	if (m)
		mnl_socket_close(m);
	if (s->n_rules > 0)
		qsort(s->rules, s->n_rules, sizeof *s->rules, by_place);
	if (s->n_chains > 0)
		qsort(s->chains, s->n_chains, sizeof *s->chains, by_priority);
	return result;
}

/* ---- following */

struct walk {
	const struct ruleset *s;
	const struct foreign_packet *p;
	uint32_t family; /* and table, of the chain that is followed */
	const char *table;
	unsigned steps;
};

/* One rule on its way: what it has loaded, as far as that is known. */
struct machine {
	bool known[REGISTERS];
	char value[REGISTERS][FOREIGN_IFNAME];
	bool differs, unknown; /* it does not match; whether it does is not known */
	enum foreign_end end;
	const char *jump;
	bool go;
};

/* Registers are numbered in two ways: 1 … 4 of 16 bytes, or 8 … 23 of 4. */
static uint32_t slot(uint32_t reg)
{
	return reg >= NFT_REG32_00 && reg < NFT_REG32_00 + 16 ? (reg - NFT_REG32_00) / 4
		: reg >= 1 && reg <= 4                            ? reg - 1
														  : REGISTERS - 1;
}

static void on_meta(struct machine *m, struct nftnl_expr *e, const struct foreign_packet *p)
{
	const uint32_t at = slot(nftnl_expr_get_u32(e, NFTNL_EXPR_META_DREG)), key = nftnl_expr_get_u32(e, NFTNL_EXPR_META_KEY);
	if (nftnl_expr_is_set(e, NFTNL_EXPR_META_SREG))
		return;
	memset(m->value[at], 0, sizeof m->value[at]);
	m->known[at] = true;
	if (key == NFT_META_IIFNAME || key == NFT_META_OIFNAME) {
		const char *name = key == NFT_META_IIFNAME ? p->in : p->out;
		memcpy(m->value[at], name, strnlen(name, FOREIGN_IFNAME - 1));
	} else if (key == NFT_META_IIF || key == NFT_META_OIF) {
		const uint32_t index = if_nametoindex(key == NFT_META_IIF ? p->in : p->out);
		memcpy(m->value[at], &index, sizeof index);
	} else if (key == NFT_META_NFPROTO) {
		m->value[at][0] = p->family == 6 ? NFPROTO_IPV6 : NFPROTO_IPV4;
	} else {
		m->known[at] = false;
	}
}

static void on_cmp(struct machine *m, struct nftnl_expr *e)
{
	const uint32_t at = slot(nftnl_expr_get_u32(e, NFTNL_EXPR_CMP_SREG)), op = nftnl_expr_get_u32(e, NFTNL_EXPR_CMP_OP);
	uint32_t len = 0;
	const void *data = nftnl_expr_get(e, NFTNL_EXPR_CMP_DATA, &len);
	if (!m->known[at] || !data || len > FOREIGN_IFNAME || (op != NFT_CMP_EQ && op != NFT_CMP_NEQ)) {
		m->unknown = true;
		return;
	}
	const bool same = memcmp(m->value[at], data, len) == 0;
	m->differs = m->differs || same != (op == NFT_CMP_EQ);
}

static void on_immediate(struct machine *m, struct nftnl_expr *e)
{
	if (nftnl_expr_get_u32(e, NFTNL_EXPR_IMM_DREG) != NFT_REG_VERDICT)
		return;
	switch ((int)nftnl_expr_get_u32(e, NFTNL_EXPR_IMM_VERDICT)) {
	case NF_ACCEPT: m->end = FOREIGN_ACCEPT; break;
	case NF_DROP: m->end = FOREIGN_DROP; break;
	case NFT_RETURN: m->end = FOREIGN_RETURN; break;
	case NFT_GOTO: m->go = true; /* fall through */
	case NFT_JUMP: m->jump = nftnl_expr_get_str(e, NFTNL_EXPR_IMM_CHAIN); break;
	default: break;
	}
}

static int on_expr(struct nftnl_expr *e, void *arg)
{
	struct {
		struct machine *m;
		const struct foreign_packet *p;
	} *x = arg;
	const char *name = nftnl_expr_get_str(e, NFTNL_EXPR_NAME);
	if (!name || x->m->differs)
		return 0;
	if (strcmp(name, "meta") == 0)
		on_meta(x->m, e, x->p);
	else if (strcmp(name, "cmp") == 0)
		on_cmp(x->m, e);
	else if (strcmp(name, "immediate") == 0)
		on_immediate(x->m, e);
	else if (strcmp(name, "reject") == 0)
		x->m->end = FOREIGN_DROP;
	else if (strcmp(name, "target") == 0) {
		const char *target = nftnl_expr_get_str(e, NFTNL_EXPR_TG_NAME);
		if (target && strcmp(target, "REJECT") == 0)
			x->m->end = FOREIGN_DROP;
	} else if (strcmp(name, "lookup") == 0 || strcmp(name, "match") == 0 || strcmp(name, "limit") == 0 ||
		strcmp(name, "fib") == 0 || strcmp(name, "connlimit") == 0 || strcmp(name, "quota") == 0)
		x->m->unknown = true;
	else if (strcmp(name, "payload") == 0 || strcmp(name, "ct") == 0 || strcmp(name, "bitwise") == 0 ||
		strcmp(name, "exthdr") == 0 || strcmp(name, "socket") == 0 || strcmp(name, "rt") == 0 || strcmp(name, "hash") == 0)
		memset(x->m->known, 0, sizeof x->m->known);
	return 0;
}

static enum foreign_end follow(struct walk *w, const char *chain, int depth);

static enum foreign_end step(struct walk *w, const struct rule *r, int depth, bool *go)
{
	struct machine m = { .end = FOREIGN_GOES_ON };
	struct {
		struct machine *m;
		const struct foreign_packet *p;
	} x = { &m, w->p };
	*go = false;
	if (nftnl_expr_foreach(r->r, on_expr, &x) < 0 || m.differs || m.unknown)
		return FOREIGN_GOES_ON;
	if (!m.jump)
		return m.end;
	*go = m.go;
	const enum foreign_end end = follow(w, m.jump, depth + 1);
	return end == FOREIGN_RETURN ? FOREIGN_GOES_ON : end;
}

static size_t first_rule(const struct ruleset *s, uint32_t family, const char *table, const char *chain)
{
	size_t low = 0, high = s->n_rules;
	while (low < high) {
		const size_t middle = low + (high - low) / 2;
		if (compare_place(family, table, chain, &s->rules[middle]) > 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static enum foreign_end follow(struct walk *w, const char *chain, int depth)
{
	if (depth > FOREIGN_DEPTH_MAX)
		return FOREIGN_GOES_ON;
	for (size_t i = first_rule(w->s, w->family, w->table, chain); i < w->s->n_rules; i++) {
		const struct rule *r = &w->s->rules[i];
		bool go;
		if (compare_place(w->family, w->table, chain, r) != 0 || ++w->steps > FOREIGN_STEPS_MAX)
			break;
		const enum foreign_end end = step(w, r, depth, &go);
		if (end != FOREIGN_GOES_ON || go)
			return end;
	}
	return FOREIGN_GOES_ON;
}

/* ---- saying */

static bool has_chain(const struct ruleset *s, uint32_t family, const char *table, const char *name)
{
	for (size_t i = 0; i < s->n_chains; i++)
		if (s->chains[i].family == family && strcmp(s->chains[i].table, table) == 0 && strcmp(s->chains[i].name, name) == 0)
			return true;
	return false;
}

static void say(
	const struct ruleset *s, const struct chain *c, const struct foreign_packet *p, const char *bridge, struct foreign_verdict *v)
{
	const char *family = c->family == NFPROTO_INET ? "inet" : c->family == NFPROTO_IPV6 ? "ip6" : "ip";
	v->drops = true;
	(void)snprintf(v->where, sizeof v->where, "table %s %.30s, chain %.40s", family, c->table, c->name);
	if (c->family != NFPROTO_INET && strcmp(c->table, "filter") == 0 && strcmp(c->name, "FORWARD") == 0)
		foreign_iptables_remedy(v, "", p->family, has_chain(s, c->family, c->table, "DOCKER-USER"));
	else if (strcmp(c->table, "firewalld") == 0)
		(void)snprintf(v->remedy, sizeof v->remedy,
			"firewall-cmd --permanent --zone=trusted --add-interface=%s && firewall-cmd --reload", bridge);
	else
		(void)snprintf(v->remedy, sizeof v->remedy,
			"nft insert rule %s %.30s %.40s iifname \"weft*\" accept && nft insert rule %s %.30s %.40s oifname \"weft*\" accept",
			family, c->table, c->name, family, c->table, c->name);
}

struct foreign_nft {
	struct ruleset s;
};

int foreign_nft_read(struct foreign_nft **out)
{
	struct foreign_nft *f = mem_zalloc(1, sizeof *f);
	int result = f ? read_all(&f->s) : -ENOMEM;
	if (result == 0) {
		*out = f;
		return 0;
	}
	foreign_nft_free(f);
	return result;
}

void foreign_nft_free(struct foreign_nft *f)
{
	if (!f)
		return;
	clear(&f->s);
	mem_free(f);
}

void foreign_nft_ask(const struct foreign_nft *f, const struct foreign_packet *p, const char *bridge, struct foreign_verdict *out)
{
	for (size_t i = 0; i < f->s.n_chains && !out->drops; i++) {
		const struct chain *c = &f->s.chains[i];
		if (!c->base || (c->family != NFPROTO_INET && c->family != (p->family == 6 ? NFPROTO_IPV6 : NFPROTO_IPV4)))
			continue;
		struct walk w = { &f->s, p, c->family, c->table, 0 };
		const enum foreign_end end = follow(&w, c->name, 0);
		if (end == FOREIGN_DROP || (end != FOREIGN_ACCEPT && c->drops))
			say(&f->s, c, p, bridge, out);
	}
}
