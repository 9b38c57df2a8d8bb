#include "router/dataplane/nft_expr.h"

#include <arpa/inet.h>
#include <libmnl/libmnl.h>
#include <libnftnl/common.h>
#include <libnftnl/expr.h>
#include <libnftnl/rule.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <string.h>

struct nft_rule nft_rule(struct nft_batch *b, uint8_t family, uint8_t part, const char *chain)
{
	struct nft_rule r = { b, b->failed ? NULL : nftnl_rule_alloc(), family, part };
	if (!r.r || nftnl_rule_set_str(r.r, NFTNL_RULE_TABLE, NFT_TABLE) < 0 || nftnl_rule_set_str(r.r, NFTNL_RULE_CHAIN, chain) < 0)
		b->failed = true;
	return r;
}

void nft_rule_end(struct nft_rule *r)
{
	struct nlmsghdr *h = NULL;
	if (!r->b->failed)
		h = nft_batch_message(r->b, NFT_MSG_NEWRULE, r->family, NLM_F_CREATE | NLM_F_APPEND, r->part);
	if (h) {
		nftnl_rule_nlmsg_build_payload(h, r->r);
		nft_batch_add(r->b, h);
	}
	if (r->r)
		nftnl_rule_free(r->r);
}

struct nftnl_expr *nft_x_expr(struct nft_rule *r, const char *name)
{
	struct nftnl_expr *e = r->r ? nftnl_expr_alloc(name) : NULL;
	if (e)
		nftnl_rule_add_expr(r->r, e);
	else
		r->b->failed = true;
	return e;
}

void nft_x_put_u32(struct nftnl_expr *e, uint16_t what, uint32_t v)
{
	if (e)
		nftnl_expr_set_u32(e, what, v);
}

void nft_x_put(struct nft_rule *r, struct nftnl_expr *e, uint16_t what, const void *data, uint32_t n)
{
	if (!e || nftnl_expr_set(e, what, data, n) < 0)
		r->b->failed = true;
}

void nft_x_put_str(struct nft_rule *r, struct nftnl_expr *e, uint16_t what, const char *s)
{
	if (!e || nftnl_expr_set_str(e, what, s) < 0)
		r->b->failed = true;
}

void nft_meta(struct nft_rule *r, uint32_t key, uint32_t reg)
{
	struct nftnl_expr *e = nft_x_expr(r, "meta");
	nft_x_put_u32(e, NFTNL_EXPR_META_KEY, key);
	nft_x_put_u32(e, NFTNL_EXPR_META_DREG, reg);
}

void nft_load(struct nft_rule *r, uint32_t base, uint32_t offset, uint32_t n, uint32_t reg)
{
	struct nftnl_expr *e = nft_x_expr(r, "payload");
	nft_x_put_u32(e, NFTNL_EXPR_PAYLOAD_BASE, base);
	nft_x_put_u32(e, NFTNL_EXPR_PAYLOAD_OFFSET, offset);
	nft_x_put_u32(e, NFTNL_EXPR_PAYLOAD_LEN, n);
	nft_x_put_u32(e, NFTNL_EXPR_PAYLOAD_DREG, reg);
}

void nft_cmp(struct nft_rule *r, uint32_t op, const void *with, uint32_t n)
{
	struct nftnl_expr *e = nft_x_expr(r, "cmp");
	nft_x_put_u32(e, NFTNL_EXPR_CMP_SREG, NFT_REG_1);
	nft_x_put_u32(e, NFTNL_EXPR_CMP_OP, op);
	nft_x_put(r, e, NFTNL_EXPR_CMP_DATA, with, n);
}

void nft_mask(struct nft_rule *r, const uint8_t *bits, uint32_t n)
{
	static const uint8_t zero[16];
	struct nftnl_expr *e = nft_x_expr(r, "bitwise");
	nft_x_put_u32(e, NFTNL_EXPR_BITWISE_SREG, NFT_REG_1);
	nft_x_put_u32(e, NFTNL_EXPR_BITWISE_DREG, NFT_REG_1);
	nft_x_put_u32(e, NFTNL_EXPR_BITWISE_OP, NFT_BITWISE_BOOL);
	nft_x_put_u32(e, NFTNL_EXPR_BITWISE_LEN, n);
	nft_x_put(r, e, NFTNL_EXPR_BITWISE_MASK, bits, n);
	nft_x_put(r, e, NFTNL_EXPR_BITWISE_XOR, zero, n);
}

/* What is in the registers from the first on is, or is not, in the set. */
void nft_lookup(struct nft_rule *r, enum nft_set_id set, bool in)
{
	struct nftnl_expr *e = nft_x_expr(r, "lookup");
	nft_x_put_u32(e, NFTNL_EXPR_LOOKUP_SREG, NFT_REG_1);
	nft_x_put_str(r, e, NFTNL_EXPR_LOOKUP_SET, nft_set_kinds[set].name);
	if (!in)
		nft_x_put_u32(e, NFTNL_EXPR_LOOKUP_FLAGS, NFT_LOOKUP_F_INV);
}

void nft_verdict(struct nft_rule *r, int code, const char *chain)
{
	struct nftnl_expr *e = nft_x_expr(r, "immediate");
	nft_x_put_u32(e, NFTNL_EXPR_IMM_DREG, NFT_REG_VERDICT);
	nft_x_put_u32(e, NFTNL_EXPR_IMM_VERDICT, (uint32_t)code);
	if (chain)
		nft_x_put_str(r, e, NFTNL_EXPR_IMM_CHAIN, chain);
	nft_rule_end(r);
}

void nft_drop(struct nft_rule *r, enum nft_drop reason)
{
	struct nftnl_expr *e = nft_x_expr(r, "objref");
	nft_x_put_u32(e, NFTNL_EXPR_OBJREF_IMM_TYPE, NFT_OBJECT_COUNTER);
	nft_x_put_str(r, e, NFTNL_EXPR_OBJREF_IMM_NAME, nft_drop_name(reason));
	nft_verdict(r, NF_DROP, NULL);
}

void nft_is_u8(struct nft_rule *r, uint8_t v)
{
	nft_cmp(r, NFT_CMP_EQ, &v, sizeof v);
}

void nft_is_u16(struct nft_rule *r, uint16_t v)
{
	const uint16_t be = htons(v);
	nft_cmp(r, NFT_CMP_EQ, &be, sizeof be);
}

void nft_protocol(struct nft_rule *r, uint8_t l4)
{
	nft_meta(r, NFT_META_L4PROTO, NFT_REG_1);
	nft_is_u8(r, l4);
}

void nft_dport(struct nft_rule *r, uint8_t l4, uint16_t port)
{
	nft_protocol(r, l4);
	nft_load(r, NFT_PAYLOAD_TRANSPORT_HEADER, 2, 2, NFT_REG_1);
	nft_is_u16(r, port);
}

void nft_nfproto(struct nft_rule *r, uint8_t family)
{
	nft_meta(r, NFT_META_NFPROTO, NFT_REG_1);
	nft_is_u8(r, family);
}

void nft_ethertype(struct nft_rule *r, uint16_t type)
{
	nft_load(r, NFT_PAYLOAD_LL_HEADER, 12, 2, NFT_REG_1);
	nft_is_u16(r, type);
}

void nft_is_weft(struct nft_rule *r, uint32_t which)
{
	nft_meta(r, which, NFT_REG_1);
	nft_cmp(r, NFT_CMP_EQ, "weft", sizeof "weft" - 1);
}

void nft_from_weft(struct nft_rule *r)
{
	nft_is_weft(r, NFT_META_IIFNAME);
}
