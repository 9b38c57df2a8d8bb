/* The state of weft's nftables tables, and how it is kept right.
 *
 * The model (elems, drops) says what the kernel's sets hold; a new list is compared with it and the difference sent, as one transaction. Whenever that
 * fails, and whenever the kernel's tables turn out to be other than they should be, both tables are made anew from the model, also in
 * one transaction: packets meet the old rules or the new ones, never none. A new daemon takes the former one's elements into its model first.
 *
 * Whether somebody changed something is told by the kernel's generation number, which every transaction on the host raises by one: as long as
 * it is what our own last one left, there is nothing to look at. Otherwise tables, chains, rules, counters and sets are read and
 * compared with a hash of what was there when they were made (rules have handles, so one that was replaced differs as well), and the sets' elements
 * with the model. Somebody else's changes to somebody else's tables cost that one reading. */
#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <libnftnl/common.h>
#include <libnftnl/expr.h>
#include <libnftnl/gen.h>
#include <libnftnl/object.h>
#include <libnftnl/set.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/mem.h"
#include "router/dataplane/netlink.h"
#include "router/dataplane/nft_internal.h"

#define ELEMS_MAX (1u << 20) /* taken from the kernel */
#define TRIES_MAX 8          /* readings of tables that keep changing */

struct peer {
	uint64_t peer;
	struct ip underlay;
};

struct nft {
	struct mnl_socket *commands, *events;
	struct nft_cfg cfg;
	unsigned parts; /* those that the kernel has; none after a reset */
	uint32_t seq;
	struct nft_elems elems; /* in order */
	struct nft_counts drops[NFT_DROPS];
	struct peer *peers; /* in order of names */
	size_t n_peers;
	bool keeps;          /* addresses that no peer of the list has */
	uint32_t generation; /* in which all was right; 0: to be looked at */
	uint64_t signature;  /* of tables, chains, rules, sets, counters */
};

const char *nft_drop_name(enum nft_drop d)
{
	static const char *const names[NFT_DROPS] = { "vxlan_stranger", "forged_mac", "forged_address", "handshake_flood",
		"control_port", "other_network" };
	return names[d];
}

static enum err error(int result, struct err_note *note, const char *doing)
{
	enum err e = netlink_err_of(result);
	return err_note(note, e, "cannot %s: %s%s", doing, strerror(-result),
		e == ERR_PERMISSION ? "; weftd needs CAP_NET_ADMIN: run it as root or from its systemd unit" : "");
}

/* ---- elements */

int nft_elem_cmp(const void *a, const void *b)
{
	const struct nft_elem *x = a, *y = b;
	return x->set != y->set ? x->set - y->set : memcmp(x->key, y->key, sizeof x->key);
}

static bool elems_add(struct nft_elems *l, const struct nft_elem *e)
{
	if (!mem_grow((void **)&l->v, &l->cap, l->n + 1, sizeof *l->v))
		return false;
	l->v[l->n++] = *e;
	return true;
}

static void elems_sort(struct nft_elems *l)
{
	size_t kept = 0;
	if (l->n > 0)
		qsort(l->v, l->n, sizeof *l->v, nft_elem_cmp);
	for (size_t i = 0; i < l->n; i++)
		if (kept == 0 || nft_elem_cmp(&l->v[kept - 1], &l->v[i]) != 0)
			l->v[kept++] = l->v[i];
	l->n = kept;
}

static struct nft_elem *elems_find(const struct nft_elems *l, const struct nft_elem *key)
{
	return l->n > 0 ? bsearch(key, l->v, l->n, sizeof *l->v, nft_elem_cmp) : NULL;
}

/* ---- reading */

#define QUESTION_MAX 256u
struct question {
	uint8_t bytes[QUESTION_MAX] __attribute__((aligned(NLMSG_ALIGNTO)));
	struct nlmsghdr *h;
};

static void ask_about(struct question *q, uint16_t type, uint8_t family, uint16_t flags)
{
	memset(q->bytes, 0, sizeof q->bytes); /* libmnl leaves the padding of attributes as it was */
	q->h = nftnl_nlmsg_build_hdr((char *)q->bytes, type, family, flags, 0);
}

static int put_question(struct nft *n, struct question *q, nft_each fn, void *arg)
{
	n->seq += 1;
	return nft_ask(n->commands, q->h, n->seq, fn, arg);
}

static int on_generation(const struct nlmsghdr *h, void *arg)
{
	uint32_t *id = arg;
	struct nftnl_gen *g = nftnl_gen_alloc();
	if (!g)
		return -ENOMEM;
	if (nftnl_gen_nlmsg_parse(h, g) == 0)
		*id = nftnl_gen_get_u32(g, NFTNL_GEN_ID);
	nftnl_gen_free(g);
	return 0;
}

static int read_generation(struct nft *n, uint32_t *id)
{
	struct question q;
	*id = 0;
	ask_about(&q, NFT_MSG_GETGEN, NFPROTO_UNSPEC, 0);
	return put_question(n, &q, on_generation, id);
}

struct set_reading {
	struct nft_elems *out;
	enum nft_set_id id;
};

static int on_count(struct nftnl_expr *e, void *arg)
{
	struct nft_counts *c = arg;
	const char *name = nftnl_expr_get_str(e, NFTNL_EXPR_NAME);
	if (name && strcmp(name, "counter") == 0) {
		c->packets = nftnl_expr_get_u64(e, NFTNL_EXPR_CTR_PACKETS);
		c->bytes = nftnl_expr_get_u64(e, NFTNL_EXPR_CTR_BYTES);
	}
	return 0;
}

static int on_elem(struct nftnl_set_elem *e, void *arg)
{
	struct set_reading *r = arg;
	struct nft_elem out = { .set = (uint8_t)r->id };
	uint32_t len = 0;
	const void *key = nftnl_set_elem_get(e, NFTNL_SET_ELEM_KEY, &len);
	if (!key || len != nft_set_kinds[r->id].key_len)
		return -EPROTO; /* a set of another make */
	memcpy(out.key, key, len);
	nftnl_set_elem_expr_foreach(e, on_count, &out.counts);
	if (r->out->n == ELEMS_MAX)
		return -ENOBUFS;
	return elems_add(r->out, &out) ? 0 : -ENOMEM;
}

static int on_elems(const struct nlmsghdr *h, void *arg)
{
	struct nftnl_set *s = nftnl_set_alloc();
	if (!s)
		return -ENOMEM;
	int result = nftnl_set_elems_nlmsg_parse(h, s) < 0 ? -EBADMSG : 0;
	struct nftnl_set_elems_iter *it = result ? NULL : nftnl_set_elems_iter_create(s);
	if (!result && !it)
		result = -ENOMEM;
	for (struct nftnl_set_elem *e; !result && (e = nftnl_set_elems_iter_next(it)) != NULL;)
		result = on_elem(e, arg);
	if (it)
		nftnl_set_elems_iter_destroy(it);
	nftnl_set_free(s);
	return result;
}

/* Appends the elements of one set. -ENOENT: there is no such set. */
static int read_set(struct nft *n, enum nft_set_id id, struct nft_elems *out)
{
	const struct nft_set_kind *k = &nft_set_kinds[id];
	struct set_reading r = { out, id };
	const size_t before = out->n;
	int result = -EAGAIN;
	for (int i = 0; i < TRIES_MAX && result == -EAGAIN; i++) {
		struct question q;
		out->n = before;
		ask_about(&q, NFT_MSG_GETSETELEM, k->family, NLM_F_DUMP);
		mnl_attr_put_strz(q.h, NFTA_SET_ELEM_LIST_TABLE, NFT_TABLE);
		mnl_attr_put_strz(q.h, NFTA_SET_ELEM_LIST_SET, k->name);
		result = put_question(n, &q, on_elems, &r);
	}
	if (result)
		out->n = before;
	return result;
}

static int on_counter(const struct nlmsghdr *h, void *arg)
{
	struct nft_counts *drops = arg;
	struct nftnl_obj *o = nftnl_obj_alloc();
	if (!o)
		return -ENOMEM;
	if (nftnl_obj_nlmsg_parse(h, o) == 0 && nftnl_obj_get_u32(o, NFTNL_OBJ_TYPE) == NFT_OBJECT_COUNTER) {
		const char *table = nftnl_obj_get_str(o, NFTNL_OBJ_TABLE), *name = nftnl_obj_get_str(o, NFTNL_OBJ_NAME);
		for (int d = 0; d < NFT_DROPS && table && name; d++)
			if (strcmp(table, NFT_TABLE) == 0 && strcmp(name, nft_drop_name((enum nft_drop)d)) == 0)
				drops[d] =
					(struct nft_counts){ nftnl_obj_get_u64(o, NFTNL_OBJ_CTR_PKTS), nftnl_obj_get_u64(o, NFTNL_OBJ_CTR_BYTES) };
	}
	nftnl_obj_free(o);
	return 0;
}

/* The drop counters of one family's table: those that are there. */
static int read_drops(struct nft *n, uint8_t family, struct nft_counts drops[NFT_DROPS])
{
	int result = -EAGAIN;
	for (int i = 0; i < TRIES_MAX && result == -EAGAIN; i++) {
		struct question q;
		ask_about(&q, NFT_MSG_GETOBJ, family, NLM_F_DUMP);
		mnl_attr_put_strz(q.h, NFTA_OBJ_TABLE, NFT_TABLE);
		mnl_attr_put_u32(q.h, NFTA_OBJ_TYPE, htonl(NFT_OBJECT_COUNTER));
		result = put_question(n, &q, on_counter, drops);
	}
	return result == -ENOENT ? 0 : result;
}

/* Counters into the model. adopt: elements that the model lacks as well. Sets that are not there are passed over. */
static int take_counts(struct nft *n, unsigned parts, bool adopt)
{
	struct nft_elems got = { 0 };
	int result = 0;
	for (int s = 0; s < NFT_SETS && result == 0; s++) {
		if (!(parts & nft_set_kinds[s].part) || (!adopt && !nft_set_kinds[s].counted))
			continue;
		result = read_set(n, (enum nft_set_id)s, &got);
		if (result == -ENOENT || result == -EPROTO)
			result = 0;
	}
	for (size_t i = 0; i < got.n && result == 0; i++) {
		struct nft_elem *e = elems_find(&n->elems, &got.v[i]);
		if (e)
			e->counts = got.v[i].counts;
	}
	if (adopt && result == 0) {
		elems_sort(&got);
		mem_free(n->elems.v);
		n->elems = got;
		got = (struct nft_elems){ 0 };
	}
	mem_free(got.v);
	if (result == 0 && parts & NFT_PART_INET)
		result = read_drops(n, NFPROTO_INET, n->drops);
	if (result == 0 && parts & NFT_PART_BRIDGE)
		result = read_drops(n, NFPROTO_BRIDGE, n->drops);
	return result;
}

/* ---- comparing */

#define BIT(x) (1u << (x))
static const struct kind {
	uint16_t type, flags;
	uint32_t attrs; /* that stay as they are while nobody changes anything */
} kinds[] = {
	{ NFT_MSG_GETTABLE, 0, BIT(NFTA_TABLE_NAME) | BIT(NFTA_TABLE_FLAGS) | BIT(NFTA_TABLE_HANDLE) },
	{ NFT_MSG_GETCHAIN, NLM_F_DUMP,
		BIT(NFTA_CHAIN_NAME) | BIT(NFTA_CHAIN_HANDLE) | BIT(NFTA_CHAIN_HOOK) | BIT(NFTA_CHAIN_POLICY) | BIT(NFTA_CHAIN_TYPE) },
	{ NFT_MSG_GETSET, NLM_F_DUMP, BIT(NFTA_SET_NAME) | BIT(NFTA_SET_HANDLE) | BIT(NFTA_SET_FLAGS) | BIT(NFTA_SET_KEY_LEN) },
	{ NFT_MSG_GETOBJ, NLM_F_DUMP, BIT(NFTA_OBJ_NAME) | BIT(NFTA_OBJ_HANDLE) | BIT(NFTA_OBJ_TYPE) },
	{ NFT_MSG_GETRULE, NLM_F_DUMP, BIT(NFTA_RULE_CHAIN) | BIT(NFTA_RULE_HANDLE) | BIT(NFTA_RULE_EXPRESSIONS) },
};
#define TABLE_ATTR 1 /* of all five: the name of the table */
#define IS_CODE(x) ((int)(x) == TABLE_ATTR)
static_assert(IS_CODE(NFTA_TABLE_NAME) && IS_CODE(NFTA_CHAIN_TABLE) && IS_CODE(NFTA_SET_TABLE) && IS_CODE(NFTA_OBJ_TABLE) &&
		IS_CODE(NFTA_RULE_TABLE),
	"one code for all kinds");

struct hashing {
	uint64_t h;
	uint32_t attrs;
};

static uint64_t fnv(uint64_t h, const void *data, size_t n)
{
	const uint8_t *p = data;
	for (size_t i = 0; i < n; i++)
		h = (h ^ p[i]) * UINT64_C(0x100000001b3);
	return h;
}

static int find_table(const struct nlattr *a, void *arg)
{
	bool *ours = arg;
	if (mnl_attr_get_type(a) == TABLE_ATTR)
		*ours =
			mnl_attr_get_payload_len(a) == sizeof NFT_TABLE && memcmp(mnl_attr_get_payload(a), NFT_TABLE, sizeof NFT_TABLE) == 0;
	return MNL_CB_OK;
}

static int hash_attr(const struct nlattr *a, void *arg)
{
	struct hashing *s = arg;
	const uint16_t type = mnl_attr_get_type(a), len = mnl_attr_get_payload_len(a);
	if (type < 32 && s->attrs & BIT(type)) {
		s->h = fnv(fnv(s->h, &type, sizeof type), &len, sizeof len);
		s->h = fnv(s->h, mnl_attr_get_payload(a), len);
	}
	return MNL_CB_OK;
}

/* Chains of all tables come, whatever was asked. */
static int on_object(const struct nlmsghdr *h, void *arg)
{
	bool ours = false;
	if (mnl_attr_parse(h, sizeof(struct nfgenmsg), find_table, &ours) < 0)
		return -EBADMSG;
	if (ours && mnl_attr_parse(h, sizeof(struct nfgenmsg), hash_attr, arg) < 0)
		return -EBADMSG;
	return 0;
}

static int hash_kind(struct nft *n, uint8_t family, const struct kind *k, uint64_t *h)
{
	int result = -EAGAIN;
	for (int i = 0; i < TRIES_MAX && result == -EAGAIN; i++) {
		struct question q;
		struct hashing s = { *h, k->attrs };
		ask_about(&q, k->type, family, k->flags);
		mnl_attr_put_strz(q.h, TABLE_ATTR, NFT_TABLE);
		result = put_question(n, &q, on_object, &s);
		if (result == 0)
			*h = s.h;
	}
	return result;
}

/* -ENOENT: a table is missing. */
static int read_signature(struct nft *n, uint64_t *signature)
{
	uint64_t h = UINT64_C(0xcbf29ce484222325);
	int result = 0;
	for (size_t i = 0; i < sizeof kinds / sizeof *kinds && result == 0; i++) {
		if (n->parts & NFT_PART_INET)
			result = hash_kind(n, NFPROTO_INET, &kinds[i], &h);
		if (result == 0 && n->parts & NFT_PART_BRIDGE)
			result = hash_kind(n, NFPROTO_BRIDGE, &kinds[i], &h);
	}
	*signature = h;
	return result;
}

/* Whether the kernel's sets hold what the model says. */
static int same_elems(struct nft *n, bool *same)
{
	struct nft_elems got = { 0 };
	size_t at = 0;
	int result = 0;
	for (int s = 0; s < NFT_SETS && result == 0; s++)
		if (n->parts & nft_set_kinds[s].part)
			result = read_set(n, (enum nft_set_id)s, &got);
	elems_sort(&got);
	*same = true;
	for (size_t i = 0; i < n->elems.n && *same; i++) {
		if (!(n->parts & nft_set_kinds[n->elems.v[i].set].part))
			continue;
		*same = at < got.n && nft_elem_cmp(&n->elems.v[i], &got.v[at]) == 0;
		at++;
	}
	*same = *same && at == got.n;
	mem_free(got.v);
	return result;
}

/* Gone, or of another make, is not right either. */
static int all_right(struct nft *n, bool *right)
{
	uint64_t signature = 0;
	int result = read_signature(n, &signature);
	*right = result == 0 && signature == n->signature;
	if (*right)
		result = same_elems(n, right);
	if (result == -ENOENT || result == -EPROTO) {
		*right = false;
		result = 0;
	}
	return result;
}

/* ---- changing */

/* Our own transaction raised the generation by one; by more, somebody else's came between. */
static void note_generation(struct nft *n, uint32_t before)
{
	uint32_t now;
	n->generation = read_generation(n, &now) == 0 && before != 0 && now == before + 1 ? now : 0;
}

static int commit(struct nft *n, struct nft_batch *b, uint8_t *part)
{
	int result = nft_batch_commit(b, n->commands, part);
	n->seq = b->first + (uint32_t)b->n + 1;
	return result;
}

/* What a kernel says to something it does not know. */
static bool is_lack(int result)
{
	switch (-result) {
	case ENOENT:
	case EINVAL:
	case ENOSYS:
	case EOPNOTSUPP:
	case EAFNOSUPPORT:
	case EPROTONOSUPPORT: return true;
	default: return false;
	}
}

static unsigned without(unsigned parts, uint8_t part)
{
	return parts & ~(unsigned)part & ~(part == NFT_PART_INET ? (unsigned)NFT_PART_HANDSHAKES : 0);
}

/* Both tables from the model; parts that the kernel does not know are left out. */
static int make(struct nft *n)
{
	int result = -EOPNOTSUPP;
	while (n->parts) {
		struct nft_batch b;
		uint8_t part = 0;
		uint32_t before = 0;
		(void)read_generation(n, &before);
		result = -ENOMEM;
		if (nft_batch_begin(&b, n->seq + 1)) {
			nft_rules_make(&b, n->parts, &n->cfg, n->drops, &n->elems);
			result = commit(n, &b, &part);
		}
		nft_batch_free(&b);
		if (result == 0) {
			note_generation(n, before);
			return read_signature(n, &n->signature);
		}
		if (!is_lack(result) || !part)
			return result;
		n->parts = without(n->parts, part);
	}
	return result;
}

/* With the counters that are still there, else with those we know. */
static int make_again(struct nft *n)
{
	int result = take_counts(n, n->parts, false);
	return result ? result : make(n);
}

static bool runs(struct nft_batch *b, unsigned parts, bool add, const struct nft_elems *l)
{
	for (size_t i = 0, len; i < l->n; i += len) {
		for (len = 1; i + len < l->n && l->v[i + len].set == l->v[i].set;)
			len++;
		if (parts & nft_set_kinds[l->v[i].set].part)
			nft_rules_elems(b, add, &l->v[i], len);
	}
	return !b->failed;
}

/* From one ordered list to another; what is in both keeps its counts. false: out of memory. */
static bool differences(const struct nft_elems *from, struct nft_elems *to, struct nft_elems *gone, struct nft_elems *come)
{
	bool ok = true;
	for (size_t i = 0, j = 0; ok && (i < from->n || j < to->n);) {
		int c = i == from->n ? 1 : j == to->n ? -1 : nft_elem_cmp(&from->v[i], &to->v[j]);
		if (c == 0)
			to->v[j++].counts = from->v[i++].counts;
		else
			ok = c < 0 ? elems_add(gone, &from->v[i++]) : elems_add(come, &to->v[j++]);
	}
	return ok;
}

static int send_differences(struct nft *n, const struct nft_elems *gone, const struct nft_elems *come)
{
	struct nft_batch b;
	uint8_t part;
	uint32_t before = n->generation;
	int result = -ENOMEM;
	if (nft_batch_begin(&b, n->seq + 1) && runs(&b, n->parts, false, gone) && runs(&b, n->parts, true, come)) {
		const bool any = b.n > 0;
		result = commit(n, &b, &part);
		if (result == 0 && any)
			note_generation(n, before);
	}
	nft_batch_free(&b);
	return result;
}

/* The sets from `first` to `last` shall hold `want` (in any order), the others what they hold. Takes want's memory. */
static int change(struct nft *n, enum nft_set_id first, enum nft_set_id last, struct nft_elems *want)
{
	struct nft_elems gone = { 0 }, come = { 0 };
	bool ok = true;
	for (size_t i = 0; i < n->elems.n && ok; i++)
		if (n->elems.v[i].set < first || n->elems.v[i].set > last)
			ok = elems_add(want, &n->elems.v[i]);
	elems_sort(want);
	ok = ok && differences(&n->elems, want, &gone, &come);
	int result = ok ? 0 : -ENOMEM;
	if (ok) {
		mem_free(n->elems.v);
		n->elems = *want;
		*want = (struct nft_elems){ 0 };
		if (gone.n + come.n > 0)
			result = send_differences(n, &gone, &come);
		if (result) /* the kernel's sets are not what we think, or are gone */
			result = make_again(n);
	}
	mem_free(gone.v);
	mem_free(come.v);
	mem_free(want->v);
	return result;
}

/* ---- what others call */

static const char *what_lacks(unsigned parts)
{
	switch (NFT_PARTS_ALL & ~parts) {
	case 0: return NULL;
	case NFT_PART_HANDSHAKES: return "floods of handshakes are not limited by the kernel (no dynamic sets in nftables)";
	case NFT_PART_BRIDGE:
		return "containers' frames are not checked for forged addresses (no bridge family, or no concatenations, in nftables)";
	case NFT_PART_BRIDGE | NFT_PART_HANDSHAKES:
		return "containers' frames are not checked for forged addresses, and floods of handshakes are not limited by the kernel "
			   "(no bridge family and no dynamic sets in nftables)";
	default: return "VXLAN from strangers is not kept out and not counted (no inet family in nftables)";
	}
}

static enum err open_sockets(struct nft *n, struct err_note *note)
{
	n->commands = mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC);
	n->events = n->commands ? mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC | SOCK_NONBLOCK) : NULL;
	if (n->events && mnl_socket_bind(n->commands, 0, MNL_SOCKET_AUTOPID) == 0 &&
		mnl_socket_bind(n->events, 1u << (NFNLGRP_NFTABLES - 1), MNL_SOCKET_AUTOPID) == 0)
		return ERR_OK;
	const int failed = errno;
	if (failed == EPROTONOSUPPORT)
		return err_note(note, ERR_UNSUPPORTED, "the kernel has no nftables");
	return error(-failed, note, "open a socket for nftables");
}

enum err nft_open(struct nft **out, const struct nft_cfg *cfg, const char **lacks, struct err_note *note)
{
	struct nft *n = mem_zalloc(1, sizeof *n);
	if (!n)
		return err_note(note, ERR_NOMEM, "out of memory");
	n->cfg = *cfg;
	n->parts = NFT_PARTS_ALL;
	enum err e = open_sockets(n, note);
	if (e == ERR_OK) {
		/* What cannot be read is not there to be kept; whether something can be made shows next. */
		(void)take_counts(n, NFT_PARTS_ALL, true);
		int result = make(n);
		if (result)
			e = is_lack(result) ? err_note(note, ERR_UNSUPPORTED, "the kernel has no nftables; load it: modprobe nf_tables")
								: error(result, note, "make the nftables tables " NFT_TABLE);
	}
	if (e != ERR_OK) {
		nft_close(n);
		return e;
	}
	*lacks = what_lacks(n->parts);
	*out = n;
	return ERR_OK;
}

void nft_close(struct nft *n)
{
	if (!n)
		return;
	if (n->commands)
		mnl_socket_close(n->commands);
	if (n->events)
		mnl_socket_close(n->events);
	mem_free(n->elems.v);
	mem_free(n->peers);
	mem_free(n);
}

enum err nft_reset(struct nft *n, struct err_note *note)
{
	int result = 0;
	while (n->parts) {
		struct nft_batch b;
		uint8_t part = 0;
		result = -ENOMEM;
		if (nft_batch_begin(&b, n->seq + 1)) {
			nft_rules_remove(&b, n->parts);
			result = commit(n, &b, &part);
		}
		nft_batch_free(&b);
		if (result && !part)
			break;
		if (result == 0)
			n->parts = 0;
		else
			n->parts = without(n->parts, part);
	}
	n->elems.n = 0;
	return result ? error(result, note, "remove the nftables tables " NFT_TABLE) : ERR_OK;
}

static int by_peer(const void *a, const void *b)
{
	const struct peer *x = a, *y = b;
	return (x->peer > y->peer) - (x->peer < y->peer);
}

static struct nft_elem peer_elem(struct ip underlay, bool sent)
{
	struct nft_elem e = { .set = (uint8_t)(underlay.family == 6 ? (sent ? NFT_TX6 : NFT_RX6) : (sent ? NFT_TX4 : NFT_RX4)) };
	memcpy(e.key, underlay.b, sizeof underlay.b); /* of IPv4 the rest is zero, as in the key */
	return e;
}

static enum err set_peers(struct nft *n, const struct nft_peer *peers, size_t count, bool keep, struct err_note *note)
{
	struct nft_elems want = { 0 };
	struct peer *list = mem_zalloc(count + 1, sizeof *list);
	bool ok = list != NULL;
	for (size_t i = 0; i < count && ok; i++) {
		const struct nft_elem in = peer_elem(peers[i].underlay, false), outward = peer_elem(peers[i].underlay, true);
		list[i] = (struct peer){ peers[i].peer, peers[i].underlay };
		ok = peers[i].underlay.family == 0 || (elems_add(&want, &in) && elems_add(&want, &outward));
	}
	elems_sort(&want);
	const size_t listed = want.n;
	for (size_t i = 0; i < n->elems.n && keep && ok; i++)
		if (n->elems.v[i].set <= NFT_TX6)
			ok = elems_add(&want, &n->elems.v[i]);
	if (!ok) {
		mem_free(list);
		mem_free(want.v);
		return err_note(note, ERR_NOMEM, "out of memory");
	}
	qsort(list, count, sizeof *list, by_peer);
	mem_free(n->peers);
	n->peers = list;
	n->n_peers = count;
	int result = change(n, NFT_RX4, NFT_TX6, &want);
	size_t have = 0;
	while (have < n->elems.n && n->elems.v[have].set <= NFT_TX6) /* they are the first */
		have++;
	n->keeps = have > listed;
	return result ? error(result, note, "tell nftables the other hosts' addresses") : ERR_OK;
}

enum err nft_set_peers(struct nft *n, const struct nft_peer *peers, size_t count, struct err_note *note)
{
	return set_peers(n, peers, count, false, note);
}

enum err nft_add_peers(struct nft *n, const struct nft_peer *peers, size_t count, struct err_note *note)
{
	return set_peers(n, peers, count, true, note);
}

bool nft_keeps(const struct nft *n)
{
	return n->keeps;
}

static bool port_elems(struct nft_elems *want, const struct nft_port *p)
{
	struct nft_elem e = { .set = NFT_PORTS };
	memcpy(e.key, p->ifname, strlen(p->ifname));
	bool ok = elems_add(want, &e);
	e.set = NFT_MACS;
	memcpy(e.key + NFT_IFNAME, p->mac.b, sizeof p->mac.b);
	ok = ok && elems_add(want, &e);
	for (size_t i = 0; i < p->n_addrs && ok; i++) {
		const struct ip *a = &p->addrs[i].addr;
		e.set = a->family == 6 ? NFT_ADDRS6 : NFT_ADDRS4;
		memcpy(e.key + NFT_IFNAME, a->b, sizeof a->b);
		ok = a->family == 0 || elems_add(want, &e);
	}
	return ok;
}

enum err nft_set_ports(struct nft *n, const struct nft_port *ports, size_t count, struct err_note *note)
{
	struct nft_elems want = { 0 };
	enum err e = ERR_OK;
	for (size_t i = 0; i < count && e == ERR_OK; i++) {
		if (strlen(ports[i].ifname) > NETLINK_NAME_MAX)
			e = err_note(note, ERR_USAGE, "interface name '%s' is longer than %d characters", ports[i].ifname, NETLINK_NAME_MAX);
		else if (!port_elems(&want, &ports[i]))
			e = err_note(note, ERR_NOMEM, "out of memory");
	}
	if (e != ERR_OK) {
		mem_free(want.v);
		return e;
	}
	int result = change(n, NFT_PORTS, NFT_ADDRS6, &want);
	return result ? error(result, note, "tell nftables the containers' addresses") : ERR_OK;
}

static bool all_there(const struct nft *n, const struct nft_elems *want, enum nft_set_id set)
{
	size_t have = 0;
	for (size_t i = 0; i < n->elems.n && n->elems.v[i].set <= set; i++)
		have += n->elems.v[i].set == set;
	for (size_t i = 0; i < want->n; i++)
		if (!elems_find(&n->elems, &want->v[i]))
			return false;
	return have == want->n;
}

enum err nft_set_bridges(struct nft *n, const char *const *ifnames, size_t count, struct err_note *note)
{
	struct nft_elems want = { 0 };
	enum err e = ERR_OK;
	for (size_t i = 0; i < count && e == ERR_OK; i++) {
		struct nft_elem pair = { .set = NFT_BRIDGES };
		const size_t len = strlen(ifnames[i]);
		if (len > NETLINK_NAME_MAX) {
			e = err_note(note, ERR_USAGE, "interface name '%s' is longer than %d characters", ifnames[i], NETLINK_NAME_MAX);
			break;
		}
		memcpy(pair.key, ifnames[i], len);
		memcpy(pair.key + NFT_IFNAME, ifnames[i], len);
		if (!elems_add(&want, &pair))
			e = err_note(note, ERR_NOMEM, "out of memory");
	}
	elems_sort(&want);
	if (e != ERR_OK || all_there(n, &want, NFT_BRIDGES)) {
		mem_free(want.v);
		return e;
	}
	int result = change(n, NFT_BRIDGES, NFT_BRIDGES, &want);
	return result ? error(result, note, "tell nftables the networks' bridges") : ERR_OK;
}

enum err nft_refresh(struct nft *n, struct err_note *note)
{
	int result = take_counts(n, n->parts, false);
	return result ? error(result, note, "read the counters of nftables") : ERR_OK;
}

bool nft_traffic(const struct nft *n, uint64_t peer, struct nft_traffic *out)
{
	const struct peer key = { .peer = peer };
	const struct peer *p = n->n_peers > 0 ? bsearch(&key, n->peers, n->n_peers, sizeof key, by_peer) : NULL;
	if (!p)
		return false;
	const struct nft_elem in = peer_elem(p->underlay, false), outward = peer_elem(p->underlay, true);
	const struct nft_elem *received = elems_find(&n->elems, &in), *sent = elems_find(&n->elems, &outward);
	*out = (struct nft_traffic){ 0 };
	if (received) {
		out->packets_received = received->counts.packets;
		out->bytes_received = received->counts.bytes;
	}
	if (sent) {
		out->packets_sent = sent->counts.packets;
		out->bytes_sent = sent->counts.bytes;
	}
	return true;
}

uint64_t nft_dropped(const struct nft *n, enum nft_drop d)
{
	return n->drops[d].packets;
}

int nft_fd(const struct nft *n)
{
	return mnl_socket_get_fd(n->events);
}

/* What the messages say does not matter, nor whether some were lost. */
static void drain_events(struct nft *n)
{
	uint8_t byte;
	for (;;) {
		ssize_t got = recv(mnl_socket_get_fd(n->events), &byte, sizeof byte, MSG_DONTWAIT);
		if (got < 0 && errno != EINTR && errno != ENOBUFS)
			return;
	}
}

enum err nft_check(struct nft *n, bool *mended, struct err_note *note)
{
	uint32_t now = 0;
	bool right = true;
	*mended = false;
	drain_events(n);
	if (!n->parts)
		return ERR_OK;
	int result = read_generation(n, &now);
	if (result == 0 && now == n->generation && now != 0)
		return ERR_OK;
	if (result == 0)
		result = all_right(n, &right);
	if (result == 0 && right) {
		n->generation = now;
		return ERR_OK;
	}
	if (result == 0)
		result = make_again(n);
	*mended = result == 0;
	return result ? error(result, note, "mend the nftables tables " NFT_TABLE) : ERR_OK;
}
