/* What the kernel's tables are, read and compared: the generation, sets' elements, drop counters, and a hash of all that stays the same while nobody
 * changes anything. */
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

#include "base/mem.h"
#include "router/dataplane/nft_internal.h"

#define ELEMS_MAX (1u << 20) /* taken from the kernel */
#define TRIES_MAX 8          /* readings of tables that keep changing */

/* ---- elements */

int nft_elem_cmp(const void *a, const void *b)
{
	const struct nft_elem *x = a, *y = b;
	return x->set != y->set ? x->set - y->set : memcmp(x->key, y->key, sizeof x->key);
}

bool nft_elems_add(struct nft_elems *l, const struct nft_elem *e)
{
	if (!mem_grow((void **)&l->v, &l->cap, l->n + 1, sizeof *l->v))
		return false;
	l->v[l->n++] = *e;
	return true;
}

void nft_elems_sort(struct nft_elems *l)
{
	size_t kept = 0;
	if (l->n > 0)
		qsort(l->v, l->n, sizeof *l->v, nft_elem_cmp);
	for (size_t i = 0; i < l->n; i++)
		if (kept == 0 || nft_elem_cmp(&l->v[kept - 1], &l->v[i]) != 0)
			l->v[kept++] = l->v[i];
	l->n = kept;
}

struct nft_elem *nft_elems_find(const struct nft_elems *l, const struct nft_elem *key)
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

int nft_read_generation(struct nft *n, uint32_t *id)
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
	return nft_elems_add(r->out, &out) ? 0 : -ENOMEM;
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
int nft_read_set(struct nft *n, enum nft_set_id id, struct nft_elems *out)
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
int nft_read_drops(struct nft *n, uint8_t family, struct nft_counts drops[NFT_DROPS])
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
int nft_read_signature(struct nft *n, uint64_t *signature)
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
int nft_same_elems(struct nft *n, bool *same)
{
	struct nft_elems got = { 0 };
	size_t at = 0;
	int result = 0;
	for (int s = 0; s < NFT_SETS && result == 0; s++)
		if (n->parts & nft_set_kinds[s].part)
			result = nft_read_set(n, (enum nft_set_id)s, &got);
	nft_elems_sort(&got);
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
