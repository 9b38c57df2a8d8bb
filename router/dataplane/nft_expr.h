/* Rules, expression by expression: what nft_rules.c, nft_bridge.c and nft_nat.c write theirs with. A failure (no memory) marks the batch, and what follows does
 * nothing. A rule ends with a verdict, which adds it to the batch. */
#ifndef WEFT_DATAPLANE_NFT_EXPR_H
#define WEFT_DATAPLANE_NFT_EXPR_H

#include "router/dataplane/nft_internal.h"

struct nftnl_expr;
struct nftnl_rule;
struct nft_rule {
	struct nft_batch *b;
	struct nftnl_rule *r;
	uint8_t family, part;
};
struct nft_rule nft_rule(struct nft_batch *b, uint8_t family, uint8_t part, const char *chain);
void nft_rule_end(struct nft_rule *r); /* only of rules without a verdict */

/* One expression, and its attributes. */
struct nftnl_expr *nft_x_expr(struct nft_rule *r, const char *name);
void nft_x_put_u32(struct nftnl_expr *e, uint16_t what, uint32_t v);
void nft_x_put(struct nft_rule *r, struct nftnl_expr *e, uint16_t what, const void *data, uint32_t n);
void nft_x_put_str(struct nft_rule *r, struct nftnl_expr *e, uint16_t what, const char *s);

/* What is loaded is compared in the first register. */
void nft_meta(struct nft_rule *r, uint32_t key, uint32_t reg);
void nft_load(struct nft_rule *r, uint32_t base, uint32_t offset, uint32_t n, uint32_t reg);
void nft_cmp(struct nft_rule *r, uint32_t op, const void *with, uint32_t n);
void nft_mask(struct nft_rule *r, const uint8_t *bits, uint32_t n);
void nft_lookup(struct nft_rule *r, enum nft_set_id set, bool in);
void nft_is_u8(struct nft_rule *r, uint8_t v);
void nft_is_u16(struct nft_rule *r, uint16_t v);
void nft_protocol(struct nft_rule *r, uint8_t l4);
void nft_dport(struct nft_rule *r, uint8_t l4, uint16_t port);
void nft_nfproto(struct nft_rule *r, uint8_t family);
void nft_ethertype(struct nft_rule *r, uint16_t type);
void nft_is_weft(struct nft_rule *r, uint32_t which); /* an interface of weft's: its name begins so */
void nft_from_weft(struct nft_rule *r);

void nft_verdict(struct nft_rule *r, int code, const char *chain);
void nft_drop(struct nft_rule *r, enum nft_drop reason);

enum { IP4_SRC = 12, IP4_DST = 16, IP6_SRC = 8, IP6_DST = 24 };

/* nft_bridge.c, nft_nat.c */
void nft_bridge_rules(struct nft_batch *b);
void nft_nat_rules(struct nft_batch *b, const struct nft_nat *nat);

#endif
