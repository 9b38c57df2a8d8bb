/* Addresses that the host translates, in chains of `inet weft` drawn on top of nft_rules.c.
 *
 * An exposed host has an address on a network, and so its routes lead into it. What leaves the network by it would be answered to addresses that nobody
 * outside has a way to; what comes from outside would be answered by containers' own default routes. So both get an address of the host's (masquerade).
 * These rules name prefixes, not interfaces of origin, which kernels before 5.7 do not know any more when a packet leaves.
 *
 * Docker's embedded resolver passes on what it does not know to the host's name servers, from inside the container. Such a question is led
 * to weft's name service, and to whoever asked its answer comes from the server that was asked. */
#include <stdio.h>
#include <arpa/inet.h>
#include <libnftnl/common.h>
#include <libnftnl/expr.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/nf_nat.h>
#include <linux/netfilter/nf_tables.h>
#include <string.h>

#include "router/dataplane/nft_expr.h"

#define GATEWAY_BRIDGE "docker_gwbridge" /* 15 characters and the final zero fill a name */

enum { DNS_PORT = 53 };

static struct nft_rule nat_rule(struct nft_batch *b, const char *chain)
{
	return nft_rule(b, NFPROTO_INET, NFT_PART_NAT, chain);
}

static void is_interface(struct nft_rule *r, uint32_t which, const char *name)
{
	char key[NFT_IFNAME] = { 0 };
	memcpy(key, name, strlen(name) < sizeof key ? strlen(name) : sizeof key);
	nft_meta(r, which, NFT_REG_1);
	nft_cmp(r, NFT_CMP_EQ, key, sizeof key);
}

/* The source (destination) lies in the prefix, or does not. */
static void in_prefix(struct nft_rule *r, bool source, struct prefix p, bool in)
{
	const bool v6 = p.addr.family == 6;
	const uint32_t n = v6 ? 16 : 4;
	uint8_t bits[16] = { 0 }, first[16];
	for (uint32_t i = 0; i < n; i++) {
		const unsigned left = p.len > i * 8 ? p.len - i * 8 : 0;
		bits[i] = (uint8_t)(left >= 8 ? 0xff : 0xff00u >> left);
		first[i] = p.addr.b[i] & bits[i];
	}
	nft_load(r, NFT_PAYLOAD_NETWORK_HEADER, v6 ? (source ? IP6_SRC : IP6_DST) : (source ? IP4_SRC : IP4_DST), n, NFT_REG_1);
	nft_mask(r, bits, n);
	nft_cmp(r, in ? NFT_CMP_EQ : NFT_CMP_NEQ, first, n);
}

static void masquerade(struct nft_rule *r)
{
	(void)nft_x_expr(r, "masq");
	nft_rule_end(r);
}

/* Its destination has been translated: ct status dnat. */
static void was_led(struct nft_rule *r)
{
	const uint32_t bit = IPS_DST_NAT, none = 0;
	struct nftnl_expr *e = nft_x_expr(r, "ct");
	nft_x_put_u32(e, NFTNL_EXPR_CT_KEY, NFT_CT_STATUS);
	nft_x_put_u32(e, NFTNL_EXPR_CT_DREG, NFT_REG_1);
	nft_mask(r, (const uint8_t *)&bit, sizeof bit);
	nft_cmp(r, NFT_CMP_NEQ, &none, sizeof none);
}

static void exposed_rules(struct nft_batch *b, const struct nft_exposed *e)
{
	static const struct prefix groups4 = { { 4, { 224 } }, 4 }, groups6 = { { 6, { 0xff } }, 8 };
	const bool v6 = e->addr.addr.family == 6;
	struct nft_rule r = nat_rule(b, "nat_out");
	nft_nfproto(&r, v6 ? NFPROTO_IPV6 : NFPROTO_IPV4);
	in_prefix(&r, true, e->addr, true);
	in_prefix(&r, false, v6 ? groups6 : groups4, false);
	nft_meta(&r, NFT_META_OIFNAME, NFT_REG_1);
	nft_cmp(&r, NFT_CMP_NEQ, "weft", sizeof "weft" - 1);
	masquerade(&r);
	r = nat_rule(b, "nat_out");
	nft_nfproto(&r, v6 ? NFPROTO_IPV6 : NFPROTO_IPV4);
	is_interface(&r, NFT_META_OIFNAME, e->bridge);
	in_prefix(&r, false, e->addr, true);
	in_prefix(&r, true, e->addr, false);
	masquerade(&r);
	/* Somebody's rule led a container's packet back to where it came from: answers have to come this way, too. */
	r = nat_rule(b, "nat_out");
	nft_nfproto(&r, v6 ? NFPROTO_IPV6 : NFPROTO_IPV4);
	is_interface(&r, NFT_META_OIFNAME, e->bridge);
	in_prefix(&r, false, e->addr, true);
	was_led(&r);
	masquerade(&r);
}

static void lead(struct nft_batch *b, uint8_t l4, struct hostport to)
{
	const uint16_t port = htons(to.port);
	struct nft_rule r = nat_rule(b, "names");
	nft_nfproto(&r, NFPROTO_IPV4);
	nft_load(&r, NFT_PAYLOAD_NETWORK_HEADER, IP4_DST, 4, NFT_REG_1);
	nft_lookup(&r, NFT_RESOLVERS, true);
	nft_dport(&r, l4, DNS_PORT);
	struct nftnl_expr *e = nft_x_expr(&r, "immediate");
	nft_x_put_u32(e, NFTNL_EXPR_IMM_DREG, NFT_REG_1);
	nft_x_put(&r, e, NFTNL_EXPR_IMM_DATA, to.ip.b, 4);
	e = nft_x_expr(&r, "immediate");
	nft_x_put_u32(e, NFTNL_EXPR_IMM_DREG, NFT_REG_2);
	nft_x_put(&r, e, NFTNL_EXPR_IMM_DATA, &port, sizeof port);
	e = nft_x_expr(&r, "nat");
	nft_x_put_u32(e, NFTNL_EXPR_NAT_TYPE, NFT_NAT_DNAT);
	nft_x_put_u32(e, NFTNL_EXPR_NAT_FAMILY, NFPROTO_IPV4);
	nft_x_put_u32(e, NFTNL_EXPR_NAT_REG_ADDR_MIN, NFT_REG_1);
	nft_x_put_u32(e, NFTNL_EXPR_NAT_REG_PROTO_MIN, NFT_REG_2);
	nft_x_put_u32(e, NFTNL_EXPR_NAT_FLAGS, NF_NAT_RANGE_MAP_IPS | NF_NAT_RANGE_PROTO_SPECIFIED);
	nft_rule_end(&r);
}

void nft_nat_rules(struct nft_batch *b, const struct nft_nat *nat)
{
	struct nft_rule r;
	for (size_t i = 0; i < nat->n_exposed; i++)
		if (nat->exposed[i].masquerade)
			exposed_rules(b, &nat->exposed[i]);
	if (nat->names.ip.family != 4)
		return;
	r = nat_rule(b, "nat_in");
	is_interface(&r, NFT_META_IIFNAME, GATEWAY_BRIDGE);
	nft_verdict(&r, NFT_GOTO, "names");
	r = nat_rule(b, "nat_in");
	nft_from_weft(&r);
	nft_verdict(&r, NFT_GOTO, "names");
	lead(b, IPPROTO_UDP, nat->names);
	lead(b, IPPROTO_TCP, nat->names);
}
