/* What this host lets in and out: weft's own nftables tables `inet weft` (packets of the host: VXLAN from present peers only, their counters,
 * limits for handshakes, nothing from containers to the control port, nothing routed from network to network) and `bridge weft` (frames of containers: MAC and addresses are their own; `inet` sees no ARP).
 * See docs/adr/0008-nftables.md. Built with libnftnl over libmnl; each change is one transaction. Control thread only. */
#ifndef WEFT_DATAPLANE_NFT_H
#define WEFT_DATAPLANE_NFT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/err.h"

struct nft;
struct nft_cfg {
	uint16_t vxlan_port, userspace_port, control_port; /* UDP, UDP, TCP */
	uint16_t api_port;                                 /* TCP; kept from containers too; 0: none */
};
/* Makes both tables anew in one transaction, the elements of a former daemon's sets and counters kept. What the kernel lacks is left out and said in
 * *lacks (static text; NULL: nothing lacks). ERR_PERMISSION, ERR_SYSTEM: no nftables at all is ERR_UNSUPPORTED, and the caller goes on without. */
enum err nft_open(struct nft **out, const struct nft_cfg *cfg, const char **lacks, struct err_note *note) MUST_CHECK;
void nft_close(struct nft *n);                                       /* takes NULL; the kernel keeps the tables */
enum err nft_reset(struct nft *n, struct err_note *note) MUST_CHECK; /* removes the tables */
/* The same without having opened them, for what a daemon that is gone has left. A kernel without nftables has none: ERR_OK. */
enum err nft_remove(struct err_note *note) MUST_CHECK;

/* Underlay addresses whose VXLAN may come in; each has counters both ways. Replaces the former list; only differences are sent. */
struct nft_peer {
	uint64_t peer;
	struct ip underlay;
};
enum err nft_set_peers(struct nft *n, const struct nft_peer *peers, size_t count, struct err_note *note) MUST_CHECK;
/* The same, but addresses that were let in, by a former daemon too, stay so. */
enum err nft_add_peers(struct nft *n, const struct nft_peer *peers, size_t count, struct err_note *note) MUST_CHECK;
bool nft_keeps(const struct nft *n); /* there are such addresses, which only nft_set_peers takes away */
struct nft_traffic {
	uint64_t packets_sent, bytes_sent, packets_received, bytes_received; /* outer packets on the VXLAN port, superframes as one */
};
/* One dump of the counters, which nft_traffic reads. */
enum err nft_refresh(struct nft *n, struct err_note *note) MUST_CHECK;
bool nft_traffic(const struct nft *n, uint64_t peer, struct nft_traffic *out); /* false: not in the list */

/* Containers' bridge ports: frames that come in by one have the source MAC, and ARP, ND, IPv4 and IPv6 the source addresses, given here; everything else of that
 * port is dropped and counted. ARP probes (sender 0.0.0.0), DHCP from 0.0.0.0, IPv6 link-local and :: are allowed with the right MAC. Replaces the list. */
struct nft_port {
	const char *ifname; /* host's end of the container's interface */
	struct mac mac;
	const struct prefix *addrs;
	size_t n_addrs;
};
enum err nft_set_ports(struct nft *n, const struct nft_port *ports, size_t count, struct err_note *note) MUST_CHECK;

/* The networks' bridges: packets that came in by one are not routed to another by the host. Replaces the list. */
enum err nft_set_bridges(struct nft *n, const char *const *ifnames, size_t count, struct err_note *note) MUST_CHECK;

/* Bridges of containers that are not on weft, or not on it alone: they are kept from the control port and the API as well. Replaces the list. */
enum err nft_set_guests(struct nft *n, const char *const *ifnames, size_t count, struct err_note *note) MUST_CHECK;

/* The host's own addresses on the networks (weft expose). masquerade: what leaves the network by the host, and what comes into it by the host from elsewhere, has an
 * address of the host's. Replaces the list. */
struct nft_exposed {
	const char *bridge;
	struct prefix addr; /* the host's, with the length of its network */
	bool masquerade;
};
enum err nft_set_exposed(struct nft *n, const struct nft_exposed *list, size_t count, struct err_note *note) MUST_CHECK;

/* Whoever asks one of these name servers (IPv4) by docker_gwbridge or one of weft's bridges is answered at `names` instead: so Docker's embedded resolver, which asks the host's
 * servers, finds weft's names. Replaces the list. */
enum err nft_set_resolvers(
	struct nft *n, const struct ip *servers, size_t count, struct hostport names, struct err_note *note) MUST_CHECK;

/* Whether packets are translated at all: the kernel may have no NAT in nftables. */
bool nft_translates(const struct nft *n);

/* Dropped so far, by reason (words as in weft_frames_dropped_total); of the last nft_refresh. */
enum nft_drop {
	NFT_VXLAN_STRANGER,
	NFT_FORGED_MAC,
	NFT_FORGED_ADDRESS,
	NFT_HANDSHAKE_FLOOD,
	NFT_CONTROL_PORT,
	NFT_OTHER_NETWORK,
	NFT_DROPS
};
const char *nft_drop_name(enum nft_drop d);
uint64_t nft_dropped(const struct nft *n, enum nft_drop d);

/* Does the kernel have what it was told, neither less nor more? Reads all of both tables; mends nothing. */
enum err nft_same(struct nft *n, bool *same, struct err_note *note) MUST_CHECK;
/* The interfaces of nft_set_ports, as they were told to the kernel; *it starts at 0. */
bool nft_next_port(const struct nft *n, size_t *it, char ifname[16]);

/* The kernel's word that tables change: readable when somebody (we too) changed something; nft_check then makes right what is not ours any more.
 * *mended: something had to be. */
int nft_fd(const struct nft *n);
enum err nft_check(struct nft *n, bool *mended, struct err_note *note) MUST_CHECK;

#endif
