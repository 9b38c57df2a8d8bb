/* Table `bridge weft`: frames that come in by containers' ports. It is drawn on top of nft_rules.c. */
#include <arpa/inet.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>

#include "router/dataplane/nft_expr.h"
#include "tunnel/probe.h"

enum {
	PORT_LEN = 6, /* "vethwe" */
	ADVERT = 136, /* ICMPv6 neighbour advertisement */
};

static struct nft_rule bridge_rule(struct nft_batch *b, const char *chain)
{
	return nft_rule(b, NFPROTO_BRIDGE, NFT_PART_BRIDGE, chain);
}

/* The port, and behind it n bytes of the frame: a key of one of the sets. */
static void port_and(struct nft_rule *r, uint32_t base, uint32_t offset, uint32_t n)
{
	nft_meta(r, NFT_META_IIFNAME, NFT_REG_1);
	nft_load(r, base, offset, n, NFT_REG_2);
}

static void bridge_rule_drop(struct nft_batch *b, const char *chain, enum nft_drop reason)
{
	struct nft_rule r = bridge_rule(b, chain);
	nft_drop(&r, reason);
}

static void port_rules(struct nft_batch *b)
{
	struct nft_rule r = bridge_rule(b, "prerouting");
	nft_meta(&r, NFT_META_IIFNAME, NFT_REG_1);
	nft_cmp(&r, NFT_CMP_NEQ, "vethwe", PORT_LEN);
	nft_verdict(&r, NF_ACCEPT, NULL);
	r = bridge_rule(b, "prerouting");
	port_and(&r, NFT_PAYLOAD_LL_HEADER, 6, 6);
	nft_lookup(&r, NFT_MACS, true);
	nft_verdict(&r, NFT_GOTO, "from_port");
	r = bridge_rule(b, "prerouting");
	nft_meta(&r, NFT_META_IIFNAME, NFT_REG_1);
	nft_lookup(&r, NFT_PORTS, true);
	nft_drop(&r, NFT_FORGED_MAC);

	static const struct {
		uint16_t type;
		const char *chain;
	} kinds[] = { { 0x0800, "ipv4" }, { 0x86dd, "ipv6" }, { 0x0806, "arp" } };
	for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
		r = bridge_rule(b, "from_port");
		nft_ethertype(&r, kinds[i].type);
		nft_verdict(&r, NFT_GOTO, kinds[i].chain);
	}
	/* A tag would hide from all checks what a host behind may unpack; and probes are the hosts' own. */
	static const uint16_t hidden[] = { 0x8100, 0x88a8, PROBE_ETHERTYPE };
	for (size_t i = 0; i < sizeof hidden / sizeof *hidden; i++) {
		r = bridge_rule(b, "from_port");
		nft_ethertype(&r, hidden[i]);
		nft_drop(&r, NFT_FORGED_MAC);
	}
}

static void ipv4_rules(struct nft_batch *b)
{
	static const uint8_t any[4], dhcp[4] = { 0, 68, 0, 67 };
	struct nft_rule r = bridge_rule(b, "ipv4");
	nft_meta(&r, NFT_META_PROTOCOL, NFT_REG_1);
	nft_is_u16(&r, 0x0800);
	port_and(&r, NFT_PAYLOAD_NETWORK_HEADER, IP4_SRC, 4);
	nft_lookup(&r, NFT_ADDRS4, true);
	nft_verdict(&r, NF_ACCEPT, NULL);
	r = bridge_rule(b, "ipv4");
	nft_meta(&r, NFT_META_PROTOCOL, NFT_REG_1);
	nft_is_u16(&r, 0x0800);
	nft_load(&r, NFT_PAYLOAD_NETWORK_HEADER, IP4_SRC, 4, NFT_REG_1);
	nft_cmp(&r, NFT_CMP_EQ, any, sizeof any);
	nft_protocol(&r, IPPROTO_UDP);
	nft_load(&r, NFT_PAYLOAD_TRANSPORT_HEADER, 0, 4, NFT_REG_1);
	nft_cmp(&r, NFT_CMP_EQ, dhcp, sizeof dhcp);
	nft_verdict(&r, NF_ACCEPT, NULL);
	bridge_rule_drop(b, "ipv4", NFT_FORGED_ADDRESS);
}

enum { ARP_SENDER_MAC = 8, ARP_SENDER_IP = 14 };

static void arp_rules(struct nft_batch *b)
{
	static const uint8_t ethernet_ip4[6] = { 0, 1, 8, 0, 6, 4 }, any[4];
	struct nft_rule r = bridge_rule(b, "arp");
	nft_load(&r, NFT_PAYLOAD_NETWORK_HEADER, 0, sizeof ethernet_ip4, NFT_REG_1);
	nft_cmp(&r, NFT_CMP_NEQ, ethernet_ip4, sizeof ethernet_ip4);
	nft_drop(&r, NFT_FORGED_ADDRESS);
	r = bridge_rule(b, "arp");
	port_and(&r, NFT_PAYLOAD_NETWORK_HEADER, ARP_SENDER_MAC, 6);
	nft_lookup(&r, NFT_MACS, false);
	nft_drop(&r, NFT_FORGED_MAC);
	r = bridge_rule(b, "arp");
	port_and(&r, NFT_PAYLOAD_NETWORK_HEADER, ARP_SENDER_IP, 4);
	nft_lookup(&r, NFT_ADDRS4, true);
	nft_verdict(&r, NF_ACCEPT, NULL);
	r = bridge_rule(b, "arp");
	nft_load(&r, NFT_PAYLOAD_NETWORK_HEADER, 6, 2, NFT_REG_1);
	nft_is_u16(&r, 1); /* a request */
	nft_load(&r, NFT_PAYLOAD_NETWORK_HEADER, ARP_SENDER_IP, 4, NFT_REG_1);
	nft_cmp(&r, NFT_CMP_EQ, any, sizeof any);
	nft_verdict(&r, NF_ACCEPT, NULL);
	bridge_rule_drop(b, "arp", NFT_FORGED_ADDRESS);
}

static const uint8_t link_local[2] = { 0xfe, 0x80 }, link_local_mask[2] = { 0xff, 0xc0 };

static void ipv6_rules(struct nft_batch *b)
{
	static const uint8_t any[16];
	struct nft_rule r = bridge_rule(b, "ipv6");
	nft_protocol(&r, IPPROTO_ICMPV6);
	nft_load(&r, NFT_PAYLOAD_TRANSPORT_HEADER, 0, 1, NFT_REG_1);
	nft_is_u8(&r, ADVERT);
	nft_verdict(&r, NFT_JUMP, "advert");
	r = bridge_rule(b, "ipv6");
	nft_meta(&r, NFT_META_PROTOCOL, NFT_REG_1);
	nft_is_u16(&r, 0x86dd);
	port_and(&r, NFT_PAYLOAD_NETWORK_HEADER, IP6_SRC, 16);
	nft_lookup(&r, NFT_ADDRS6, true);
	nft_verdict(&r, NF_ACCEPT, NULL);
	r = bridge_rule(b, "ipv6");
	nft_load(&r, NFT_PAYLOAD_NETWORK_HEADER, IP6_SRC, 2, NFT_REG_1);
	nft_mask(&r, link_local_mask, sizeof link_local_mask);
	nft_cmp(&r, NFT_CMP_EQ, link_local, sizeof link_local);
	nft_verdict(&r, NF_ACCEPT, NULL);
	r = bridge_rule(b, "ipv6");
	nft_load(&r, NFT_PAYLOAD_NETWORK_HEADER, IP6_SRC, 16, NFT_REG_1);
	nft_cmp(&r, NFT_CMP_EQ, any, sizeof any);
	nft_verdict(&r, NF_ACCEPT, NULL);
	bridge_rule_drop(b, "ipv6", NFT_FORGED_ADDRESS);

	r = bridge_rule(b, "advert");
	port_and(&r, NFT_PAYLOAD_TRANSPORT_HEADER, 8, 16);
	nft_lookup(&r, NFT_ADDRS6, true);
	nft_verdict(&r, NFT_RETURN, NULL);
	r = bridge_rule(b, "advert");
	nft_load(&r, NFT_PAYLOAD_TRANSPORT_HEADER, 8, 2, NFT_REG_1);
	nft_mask(&r, link_local_mask, sizeof link_local_mask);
	nft_cmp(&r, NFT_CMP_EQ, link_local, sizeof link_local);
	nft_verdict(&r, NFT_RETURN, NULL);
	bridge_rule_drop(b, "advert", NFT_FORGED_ADDRESS);
}

void nft_bridge_rules(struct nft_batch *b)
{
	port_rules(b);
	ipv4_rules(b);
	arp_rules(b);
	ipv6_rules(b);
}
