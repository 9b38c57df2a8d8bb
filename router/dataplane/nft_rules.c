/* The two tables, as they look to nft(8):
 *
 *   table inet weft {
 *     set peers_rx4 { type ipv4_addr; counter; }          and rx6, tx4, tx6
 *     set handshakes4 { type ipv4_addr; flags dynamic,timeout; timeout 10s; }    and handshakes6
 *     chain input { type filter hook input priority filter - 10; policy accept;
 *       udp dport VXLAN goto vxlan_in
 *       udp dport USERSPACE @th,64,8 0x24 jump handshakes
 *       iifname "weft*" goto from_bridge;  iifname @guests goto from_bridge }
 *     chain vxlan_in {
 *       iifname "weft*" → control_port;  ip saddr @peers_rx4 accept;  ip6 saddr @peers_rx6 accept;  → vxlan_stranger }
 *     chain handshakes { update @handshakes4 { ip saddr limit rate over … } → handshake_flood;  the same for IPv6 /64 }
 *     set guests { type ifname; }                        bridges of containers that are not weft's
 *     chain from_bridge { tcp dport CONTROL → control_port;  udp dport USERSPACE → control_port;  tcp dport API → control_port }
 *     chain output { type filter hook output priority filter - 10; policy accept;  udp dport VXLAN goto vxlan_out }
 *     set bridges { type ifname . ifname; }              each network's bridge, twice
 *     chain forward { type filter hook forward priority filter - 10; policy accept;
 *       iifname "weft*" oifname "weft*" goto between }
 *     chain between { iifname . oifname @bridges accept;  iifname . iifname @bridges oifname . oifname @bridges → other_network }
 *     chain vxlan_out { ip daddr @peers_tx4 accept;  ip6 daddr @peers_tx6 accept }
 *     set resolvers { type ipv4_addr; }                  name servers of the host, in whose place weft answers
 *     chain nat_in { type nat hook prerouting priority dstnat - 1; policy accept;
 *       iifname "docker_gwbridge" goto names;  iifname "weft*" goto names }
 *     chain names { ip daddr @resolvers udp dport 53 dnat ip to 169.254.67.83:53;  the same for TCP }
 *     chain nat_out { type nat hook postrouting priority srcnat - 1; policy accept;     for each PREFIX that is exposed on BRIDGE:
 *       ip saddr PREFIX ip daddr != 224.0.0.0/4 oifname != "weft*" masquerade
 *       oifname BRIDGE ip daddr PREFIX ip saddr != PREFIX masquerade
 *       oifname BRIDGE ip daddr PREFIX ct status dnat masquerade }
 *   }
 *   table bridge weft {
 *     set ports { type ifname; }  set port_macs { type ifname . ether_addr; }  set port_addrs4 { type ifname . ipv4_addr; }  and port_addrs6
 *     chain prerouting { type filter hook prerouting priority filter; policy accept;
 *       iifname != "vethwe*" accept
 *       iifname . ether saddr @port_macs goto from_port
 *       iifname @ports → forged_mac }
 *     chain from_port { ether type ip goto ipv4;  ip6 goto ipv6;  arp goto arp;  8021q, 8021ad, 0x88b5 → forged_mac }
 *     chain ipv4 { iifname . ip saddr @port_addrs4 accept;  ip saddr 0.0.0.0 udp sport 68 dport 67 accept;  → forged_address }
 *     chain arp { not Ethernet and IPv4 → forged_address;  iifname . arp saddr ether != @port_macs → forged_mac;
 *       iifname . arp saddr ip @port_addrs4 accept;  arp operation request saddr ip 0.0.0.0 accept;  → forged_address }
 *     chain ipv6 { icmpv6 type nd-neighbor-advert jump advert;  iifname . ip6 saddr @port_addrs6 accept;  fe80::/10 accept;  :: accept;
 *       → forged_address }
 *     chain advert { iifname . target @port_addrs6 return;  target fe80::/10 return;  → forged_address }
 *   }
 *
 * A rule cannot compare two names, so the set does: (in, out) is in it when both are the same bridge. That is what a bridge's own frames look like where
 * br_netfilter shows them to this chain, and they have to pass.
 *
 * "→ x" is `counter name x drop`. What is frequent costs little: a superframe of a container meets two look-ups, one from an uplink a
 * comparison. A handshake is counted in bytes, not packets, since the kernel joins equal datagrams of one sender before they come here. */
#include <arpa/inet.h>
#include <libmnl/libmnl.h>
#include <libnftnl/chain.h>
#include <libnftnl/common.h>
#include <libnftnl/expr.h>
#include <libnftnl/object.h>
#include <libnftnl/rule.h>
#include <libnftnl/set.h>
#include <libnftnl/table.h>
#include <libnftnl/udata.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <string.h>

#include "router/dataplane/nft_expr.h"
#include "tunnel/wire.h"

/* Numbers that nft(8) has for types of its own, and how it joins them: only its listings need them. */
enum { TYPE_IP4 = 7, TYPE_IP6 = 8, TYPE_ETHER = 9, TYPE_IFNAME = 41, TYPE_BITS = 6 };
#define TYPE_PORT_AND(x) ((TYPE_IFNAME << TYPE_BITS) | (x))

enum {
	INET_PRIORITY = -10,
	NAT_IN_PRIORITY = -101, /* before dstnat and srcnat, which are others' */
	NAT_OUT_PRIORITY = 99,
	/* As the kernel's NF_BR_PRE_ROUTING and NF_BR_PRI_FILTER_BRIDGED, whose header cannot be had together with others. */
	BRIDGE_PREROUTING = 0,
	BRIDGE_PRIORITY = -200,
	/* An INIT has about 200 bytes: 200 in a second, 100 at once. */
	HANDSHAKE_BYTES = 40960,
	HANDSHAKE_BURST = 20480,
	HANDSHAKE_MEMORY_MS = 10000,
	ELEMS_AT_ONCE = 256, /* in one message */
};

const struct nft_set_kind nft_set_kinds[NFT_SETS] = {
	[NFT_RX4] = { "peers_rx4", NFT_PART_INET, NFPROTO_INET, 4, true, TYPE_IP4 },
	[NFT_RX6] = { "peers_rx6", NFT_PART_INET, NFPROTO_INET, 16, true, TYPE_IP6 },
	[NFT_TX4] = { "peers_tx4", NFT_PART_INET, NFPROTO_INET, 4, true, TYPE_IP4 },
	[NFT_TX6] = { "peers_tx6", NFT_PART_INET, NFPROTO_INET, 16, true, TYPE_IP6 },
	[NFT_BRIDGES] = { "bridges", NFT_PART_INET, NFPROTO_INET, 2 * NFT_IFNAME, false, TYPE_PORT_AND(TYPE_IFNAME) },
	[NFT_GUESTS] = { "guests", NFT_PART_INET, NFPROTO_INET, NFT_IFNAME, false, TYPE_IFNAME },
	[NFT_RESOLVERS] = { "resolvers", NFT_PART_NAT, NFPROTO_INET, 4, false, TYPE_IP4 },
	[NFT_PORTS] = { "ports", NFT_PART_BRIDGE, NFPROTO_BRIDGE, NFT_IFNAME, false, TYPE_IFNAME },
	[NFT_MACS] = { "port_macs", NFT_PART_BRIDGE, NFPROTO_BRIDGE, NFT_IFNAME + 8, false, TYPE_PORT_AND(TYPE_ETHER) },
	[NFT_ADDRS4] = { "port_addrs4", NFT_PART_BRIDGE, NFPROTO_BRIDGE, NFT_IFNAME + 4, false, TYPE_PORT_AND(TYPE_IP4) },
	[NFT_ADDRS6] = { "port_addrs6", NFT_PART_BRIDGE, NFPROTO_BRIDGE, NFT_IFNAME + 16, false, TYPE_PORT_AND(TYPE_IP6) },
};

/* ---- table inet */

static struct nft_rule inet_rule(struct nft_batch *b, const char *chain)
{
	return nft_rule(b, NFPROTO_INET, NFT_PART_INET, chain);
}

static void peer_rules(struct nft_batch *b, const char *chain, bool in)
{
	struct nft_rule r = inet_rule(b, chain);
	nft_nfproto(&r, NFPROTO_IPV4);
	nft_load(&r, NFT_PAYLOAD_NETWORK_HEADER, in ? IP4_SRC : IP4_DST, 4, NFT_REG_1);
	nft_lookup(&r, in ? NFT_RX4 : NFT_TX4, true);
	nft_verdict(&r, NF_ACCEPT, NULL);
	r = inet_rule(b, chain);
	nft_nfproto(&r, NFPROTO_IPV6);
	nft_load(&r, NFT_PAYLOAD_NETWORK_HEADER, in ? IP6_SRC : IP6_DST, 16, NFT_REG_1);
	nft_lookup(&r, in ? NFT_RX6 : NFT_TX6, true);
	nft_verdict(&r, NF_ACCEPT, NULL);
}

static void limit(struct nft_rule *r, const char *set)
{
	struct nftnl_expr *e = nft_x_expr(r, "dynset"), *l = e ? nftnl_expr_alloc("limit") : NULL;
	nft_x_put_u32(e, NFTNL_EXPR_DYNSET_SREG_KEY, NFT_REG_1);
	nft_x_put_u32(e, NFTNL_EXPR_DYNSET_OP, NFT_DYNSET_OP_UPDATE);
	nft_x_put_str(r, e, NFTNL_EXPR_DYNSET_SET_NAME, set);
	if (!l) {
		r->b->failed = true;
		return;
	}
	nftnl_expr_set_u64(l, NFTNL_EXPR_LIMIT_RATE, HANDSHAKE_BYTES);
	nftnl_expr_set_u64(l, NFTNL_EXPR_LIMIT_UNIT, 1);
	nftnl_expr_set_u32(l, NFTNL_EXPR_LIMIT_BURST, HANDSHAKE_BURST);
	nftnl_expr_set_u32(l, NFTNL_EXPR_LIMIT_TYPE, NFT_LIMIT_PKT_BYTES);
	nftnl_expr_set_u32(l, NFTNL_EXPR_LIMIT_FLAGS, NFT_LIMIT_F_INV);
	if (nftnl_expr_set(e, NFTNL_EXPR_DYNSET_EXPR, l, 0) < 0)
		r->b->failed = true;
}

static void handshake_rules(struct nft_batch *b, const struct nft_cfg *cfg)
{
	static const uint8_t host_part[16] = { 255, 255, 255, 255, 255, 255, 255, 255 };
	struct nft_rule r = nft_rule(b, NFPROTO_INET, NFT_PART_HANDSHAKES, "handshakes");
	nft_nfproto(&r, NFPROTO_IPV4);
	nft_load(&r, NFT_PAYLOAD_NETWORK_HEADER, IP4_SRC, 4, NFT_REG_1);
	limit(&r, "handshakes4");
	nft_drop(&r, NFT_HANDSHAKE_FLOOD);
	r = nft_rule(b, NFPROTO_INET, NFT_PART_HANDSHAKES, "handshakes");
	nft_nfproto(&r, NFPROTO_IPV6);
	nft_load(&r, NFT_PAYLOAD_NETWORK_HEADER, IP6_SRC, 16, NFT_REG_1);
	nft_mask(&r, host_part, sizeof host_part);
	limit(&r, "handshakes6");
	nft_drop(&r, NFT_HANDSHAKE_FLOOD);
	r = nft_rule(b, NFPROTO_INET, NFT_PART_HANDSHAKES, "input");
	nft_dport(&r, IPPROTO_UDP, cfg->userspace_port);
	nft_load(&r, NFT_PAYLOAD_TRANSPORT_HEADER, 8, 1, NFT_REG_1);
	nft_is_u8(&r, WIRE_VERSION << 4 | WIRE_INIT);
	nft_verdict(&r, NFT_JUMP, "handshakes");
}

static void pair_of(struct nft_rule *r, uint32_t one, uint32_t other)
{
	nft_meta(r, one, NFT_REG_1);
	nft_meta(r, other, NFT_REG_2);
	nft_lookup(r, NFT_BRIDGES, true);
}

static void forward_rules(struct nft_batch *b)
{
	struct nft_rule r = inet_rule(b, "between");
	pair_of(&r, NFT_META_IIFNAME, NFT_META_OIFNAME);
	nft_verdict(&r, NF_ACCEPT, NULL);
	r = inet_rule(b, "between");
	pair_of(&r, NFT_META_IIFNAME, NFT_META_IIFNAME);
	pair_of(&r, NFT_META_OIFNAME, NFT_META_OIFNAME);
	nft_drop(&r, NFT_OTHER_NETWORK);
	r = inet_rule(b, "forward");
	nft_from_weft(&r);
	nft_is_weft(&r, NFT_META_OIFNAME);
	nft_verdict(&r, NFT_GOTO, "between");
}

static void inet_rules(struct nft_batch *b, unsigned parts, const struct nft_cfg *cfg)
{
	struct nft_rule r = inet_rule(b, "vxlan_in");
	nft_from_weft(&r);
	nft_drop(&r, NFT_CONTROL_PORT);
	peer_rules(b, "vxlan_in", true);
	r = inet_rule(b, "vxlan_in");
	nft_drop(&r, NFT_VXLAN_STRANGER);
	peer_rules(b, "vxlan_out", false);
	r = inet_rule(b, "from_bridge");
	nft_dport(&r, IPPROTO_TCP, cfg->control_port);
	nft_drop(&r, NFT_CONTROL_PORT);
	r = inet_rule(b, "from_bridge");
	nft_dport(&r, IPPROTO_UDP, cfg->userspace_port);
	nft_drop(&r, NFT_CONTROL_PORT);
	if (cfg->api_port != 0) {
		r = inet_rule(b, "from_bridge");
		nft_dport(&r, IPPROTO_TCP, cfg->api_port);
		nft_drop(&r, NFT_CONTROL_PORT);
	}

	r = inet_rule(b, "input");
	nft_dport(&r, IPPROTO_UDP, cfg->vxlan_port);
	nft_verdict(&r, NFT_GOTO, "vxlan_in");
	if (parts & NFT_PART_HANDSHAKES)
		handshake_rules(b, cfg);
	r = inet_rule(b, "input");
	nft_from_weft(&r);
	nft_verdict(&r, NFT_GOTO, "from_bridge");
	r = inet_rule(b, "input");
	nft_meta(&r, NFT_META_IIFNAME, NFT_REG_1);
	nft_lookup(&r, NFT_GUESTS, true);
	nft_verdict(&r, NFT_GOTO, "from_bridge");
	r = inet_rule(b, "output");
	nft_dport(&r, IPPROTO_UDP, cfg->vxlan_port);
	nft_verdict(&r, NFT_GOTO, "vxlan_out");
	forward_rules(b);
}

/* ---- tables, chains, sets, counters */

static const struct chain {
	const char *name;
	uint8_t part;
	bool base;
	uint32_t hook;
	int32_t priority;
} chains[] = {
	{ "input", NFT_PART_INET, true, NF_INET_LOCAL_IN, INET_PRIORITY },
	{ "output", NFT_PART_INET, true, NF_INET_LOCAL_OUT, INET_PRIORITY },
	{ "forward", NFT_PART_INET, true, NF_INET_FORWARD, INET_PRIORITY },
	{ "between", NFT_PART_INET, false, 0, 0 },
	{ "vxlan_in", NFT_PART_INET, false, 0, 0 },
	{ "vxlan_out", NFT_PART_INET, false, 0, 0 },
	{ "from_bridge", NFT_PART_INET, false, 0, 0 },
	{ "handshakes", NFT_PART_HANDSHAKES, false, 0, 0 },
	{ "nat_in", NFT_PART_NAT, true, NF_INET_PRE_ROUTING, NAT_IN_PRIORITY },
	{ "names", NFT_PART_NAT, false, 0, 0 },
	{ "nat_out", NFT_PART_NAT, true, NF_INET_POST_ROUTING, NAT_OUT_PRIORITY },
	{ "prerouting", NFT_PART_BRIDGE, true, BRIDGE_PREROUTING, BRIDGE_PRIORITY },
	{ "from_port", NFT_PART_BRIDGE, false, 0, 0 },
	{ "ipv4", NFT_PART_BRIDGE, false, 0, 0 },
	{ "arp", NFT_PART_BRIDGE, false, 0, 0 },
	{ "ipv6", NFT_PART_BRIDGE, false, 0, 0 },
	{ "advert", NFT_PART_BRIDGE, false, 0, 0 },
};

static uint8_t family_of(uint8_t part)
{
	return part == NFT_PART_BRIDGE ? NFPROTO_BRIDGE : NFPROTO_INET;
}

static void table(struct nft_batch *b, uint16_t type, uint8_t part)
{
	struct nftnl_table *t = nftnl_table_alloc();
	struct nlmsghdr *h = NULL;
	if (t && nftnl_table_set_str(t, NFTNL_TABLE_NAME, NFT_TABLE) == 0)
		h = nft_batch_message(b, type, family_of(part), type == NFT_MSG_NEWTABLE ? NLM_F_CREATE : 0, part);
	else
		b->failed = true;
	if (h) {
		nftnl_table_nlmsg_build_payload(h, t);
		nft_batch_add(b, h);
	}
	if (t)
		nftnl_table_free(t);
}

static void chain(struct nft_batch *b, const struct chain *c)
{
	struct nftnl_chain *o = nftnl_chain_alloc();
	struct nlmsghdr *h = NULL;
	if (o && nftnl_chain_set_str(o, NFTNL_CHAIN_TABLE, NFT_TABLE) == 0 &&
		nftnl_chain_set_str(o, NFTNL_CHAIN_NAME, c->name) == 0 &&
		(!c->base || nftnl_chain_set_str(o, NFTNL_CHAIN_TYPE, c->part == NFT_PART_NAT ? "nat" : "filter") == 0))
		h = nft_batch_message(b, NFT_MSG_NEWCHAIN, family_of(c->part), NLM_F_CREATE, c->part);
	else
		b->failed = true;
	if (h) {
		if (c->base) {
			nftnl_chain_set_u32(o, NFTNL_CHAIN_HOOKNUM, c->hook);
			nftnl_chain_set_s32(o, NFTNL_CHAIN_PRIO, c->priority);
			nftnl_chain_set_u32(o, NFTNL_CHAIN_POLICY, NF_ACCEPT);
		}
		nftnl_chain_nlmsg_build_payload(h, o);
		nft_batch_add(b, h);
	}
	if (o)
		nftnl_chain_free(o);
}

static void add_set(struct nft_batch *b, struct nftnl_set *s, const char *name, uint32_t id, uint8_t part)
{
	struct nlmsghdr *h = NULL;
	if (s && nftnl_set_set_str(s, NFTNL_SET_TABLE, NFT_TABLE) == 0 && nftnl_set_set_str(s, NFTNL_SET_NAME, name) == 0)
		h = nft_batch_message(b, NFT_MSG_NEWSET, family_of(part), NLM_F_CREATE, part);
	else
		b->failed = true;
	if (h) {
		nftnl_set_set_u32(s, NFTNL_SET_ID, id);
		nftnl_set_nlmsg_build_payload(h, s);
		nft_batch_add(b, h);
	}
	if (s)
		nftnl_set_free(s);
}

/* A note without which nft(8) shows names from their end. */
static void say_host_order(struct nftnl_set *s)
{
	const uint32_t host_endian = 1;
	struct nftnl_udata_buf *note = s ? nftnl_udata_buf_alloc(64) : NULL;
	if (note && nftnl_udata_put_u32(note, NFTNL_UDATA_SET_KEYBYTEORDER, host_endian))
		(void)nftnl_set_set_data(s, NFTNL_SET_USERDATA, nftnl_udata_buf_data(note), nftnl_udata_buf_len(note));
	if (note)
		nftnl_udata_buf_free(note);
}

static void set(struct nft_batch *b, enum nft_set_id id)
{
	const struct nft_set_kind *k = &nft_set_kinds[id];
	struct nftnl_set *s = nftnl_set_alloc();
	struct nftnl_expr *counter = s && k->counted ? nftnl_expr_alloc("counter") : NULL;
	if (s) {
		nftnl_set_set_u32(s, NFTNL_SET_KEY_TYPE, k->key_type);
		nftnl_set_set_u32(s, NFTNL_SET_KEY_LEN, k->key_len);
	}
	if (k->key_type == TYPE_IFNAME)
		say_host_order(s);
	if (counter)
		nftnl_set_add_expr(s, counter);
	else if (k->counted)
		b->failed = true;
	add_set(b, s, k->name, (uint32_t)id + 1, k->part);
}

static void handshake_set(struct nft_batch *b, const char *name, uint32_t type, uint32_t len, uint32_t id)
{
	struct nftnl_set *s = nftnl_set_alloc();
	if (s) {
		nftnl_set_set_u32(s, NFTNL_SET_KEY_TYPE, type);
		nftnl_set_set_u32(s, NFTNL_SET_KEY_LEN, len);
		nftnl_set_set_u32(s, NFTNL_SET_FLAGS, NFT_SET_EVAL | NFT_SET_TIMEOUT);
		/* No size given: one that is makes the kernel set aside a megabyte for each set. The rule that fills it makes it 65535. */
		nftnl_set_set_u64(s, NFTNL_SET_TIMEOUT, HANDSHAKE_MEMORY_MS);
	}
	add_set(b, s, name, NFT_SETS + id, NFT_PART_HANDSHAKES);
}

static const uint8_t drop_parts[NFT_DROPS] = { NFT_PART_INET, NFT_PART_BRIDGE, NFT_PART_BRIDGE, NFT_PART_HANDSHAKES,
	NFT_PART_INET, NFT_PART_INET };

static void counter(struct nft_batch *b, enum nft_drop d, struct nft_counts at)
{
	struct nftnl_obj *o = nftnl_obj_alloc();
	struct nlmsghdr *h = NULL;
	if (o)
		h = nft_batch_message(b, NFT_MSG_NEWOBJ, family_of(drop_parts[d]), NLM_F_CREATE, drop_parts[d]);
	else
		b->failed = true;
	if (h) {
		nftnl_obj_set_u32(o, NFTNL_OBJ_TYPE, NFT_OBJECT_COUNTER); /* first: it says what the others mean */
		nftnl_obj_set_str(o, NFTNL_OBJ_TABLE, NFT_TABLE);
		nftnl_obj_set_str(o, NFTNL_OBJ_NAME, nft_drop_name(d));
		nftnl_obj_set_u64(o, NFTNL_OBJ_CTR_PKTS, at.packets);
		nftnl_obj_set_u64(o, NFTNL_OBJ_CTR_BYTES, at.bytes);
		nftnl_obj_nlmsg_build_payload(h, o);
		nft_batch_add(b, h);
	}
	if (o)
		nftnl_obj_free(o);
}

static void remove_table(struct nft_batch *b, uint8_t part)
{
	table(b, NFT_MSG_NEWTABLE, part); /* so that there is one to delete */
	table(b, NFT_MSG_DELTABLE, part);
}

void nft_rules_remove(struct nft_batch *b, unsigned parts)
{
	if (parts & NFT_PART_INET)
		remove_table(b, NFT_PART_INET);
	if (parts & NFT_PART_BRIDGE)
		remove_table(b, NFT_PART_BRIDGE);
}

static bool elem_add(struct nftnl_set *s, const struct nft_elem *of, bool with_counts)
{
	const struct nft_set_kind *k = &nft_set_kinds[of->set];
	struct nftnl_set_elem *e = nftnl_set_elem_alloc();
	struct nftnl_expr *counts = NULL;
	if (!e)
		return false;
	bool ok = nftnl_set_elem_set(e, NFTNL_SET_ELEM_KEY, of->key, k->key_len) == 0;
	if (ok && with_counts) {
		counts = nftnl_expr_alloc("counter");
		ok = counts != NULL;
	}
	if (counts) {
		nftnl_expr_set_u64(counts, NFTNL_EXPR_CTR_PACKETS, of->counts.packets);
		nftnl_expr_set_u64(counts, NFTNL_EXPR_CTR_BYTES, of->counts.bytes);
		nftnl_set_elem_add_expr(e, counts);
	}
	if (ok)
		nftnl_set_elem_add(s, e);
	else
		nftnl_set_elem_free(e);
	return ok;
}

static void elems_message(struct nft_batch *b, bool add, const struct nft_elem *from, size_t n)
{
	const struct nft_set_kind *k = &nft_set_kinds[from->set];
	struct nftnl_set *s = nftnl_set_alloc();
	bool ok = s && nftnl_set_set_str(s, NFTNL_SET_TABLE, NFT_TABLE) == 0 && nftnl_set_set_str(s, NFTNL_SET_NAME, k->name) == 0;
	for (size_t i = 0; i < n && ok; i++)
		ok = elem_add(s, &from[i], add && k->counted);
	struct nlmsghdr *h = NULL;
	if (ok)
		h = nft_batch_message(b, add ? NFT_MSG_NEWSETELEM : NFT_MSG_DELSETELEM, k->family, add ? NLM_F_CREATE : 0, k->part);
	else
		b->failed = true;
	if (h) {
		nftnl_set_elems_nlmsg_build_payload(h, s);
		nft_batch_add(b, h);
	}
	if (s)
		nftnl_set_free(s);
}

void nft_rules_elems(struct nft_batch *b, bool add, const struct nft_elem *from, size_t n)
{
	for (size_t i = 0; i < n; i += ELEMS_AT_ONCE)
		elems_message(b, add, from + i, n - i < ELEMS_AT_ONCE ? n - i : ELEMS_AT_ONCE);
}

static void all_elems(struct nft_batch *b, unsigned parts, const struct nft_elems *elems)
{
	for (size_t i = 0, n; i < elems->n; i += n) {
		for (n = 1; i + n < elems->n && elems->v[i + n].set == elems->v[i].set;)
			n++;
		if (parts & nft_set_kinds[elems->v[i].set].part)
			nft_rules_elems(b, true, &elems->v[i], n);
	}
}

void nft_rules_make(struct nft_batch *b, unsigned parts, const struct nft_cfg *cfg, const struct nft_counts drops[NFT_DROPS],
	const struct nft_elems *elems, const struct nft_nat *nat)
{
	static const uint8_t tables[] = { NFT_PART_INET, NFT_PART_BRIDGE };
	for (size_t i = 0; i < sizeof tables; i++)
		if (parts & tables[i]) {
			remove_table(b, tables[i]);
			table(b, NFT_MSG_NEWTABLE, tables[i]);
		}
	for (size_t i = 0; i < sizeof chains / sizeof *chains; i++)
		if (parts & chains[i].part)
			chain(b, &chains[i]);
	for (int s = 0; s < NFT_SETS; s++)
		if (parts & nft_set_kinds[s].part)
			set(b, (enum nft_set_id)s);
	if (parts & NFT_PART_HANDSHAKES) {
		handshake_set(b, "handshakes4", TYPE_IP4, 4, 1);
		handshake_set(b, "handshakes6", TYPE_IP6, 16, 2);
	}
	for (int d = 0; d < NFT_DROPS; d++)
		if (parts & drop_parts[d])
			counter(b, (enum nft_drop)d, drops[d]);
	all_elems(b, parts, elems);
	if (parts & NFT_PART_INET)
		inet_rules(b, parts, cfg);
	if (parts & NFT_PART_NAT)
		nft_nat_rules(b, nat);
	if (parts & NFT_PART_BRIDGE)
		nft_bridge_rules(b);
}
