/* Where a frame of the userspace path goes, and whether one that came may come in: pure decisions over one immutable table.
 *
 * The control thread builds a table from the replicated state (which MAC lives on which host, which host has members on the network) and
 * hands it to the data threads, which only read it; a change makes a new table. Deciding allocates nothing and looks at no clock.
 *
 * Outgoing (fwd_decide): a known MAC goes to its host; broadcast, multicast and MACs nobody has published (yet) go once to each host with
 * members; nothing goes out that is the host's own business (the address for names, 802.1D's link-local groups) or that claims the MAC
 * or an address of another host's container.
 * Incoming (fwd_accept): with a source MAC and addresses that are not someone else's. Who sent it is the data threads' to know, by its seal or by
 * the underlay address it came from.
 *
 * A frame claims the sender's address in ARP, the source address of IPv4 and IPv6, and the target of a neighbour advertisement (RFC 4861). The
 * target of a solicitation is a question and claims nothing. Addresses nobody has published may be claimed by anyone. */
#ifndef WEFT_TUNNEL_FWD_H
#define WEFT_TUNNEL_FWD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/buf.h"
#include "base/err.h"

/* 169.254.67.83, on every host's bridge: where containers find the daemon. The same on all hosts, so it must never leave one. */
#define WEFT_DNS_V4 UINT32_C(0xa9fe4353)

#define FWD_PEERS_MAX 4096u
#define FWD_MACS_MAX  (UINT32_C(1) << 20)
#define FWD_ADDRS_MAX (UINT32_C(1) << 21)

/* Why a frame or datagram went no further. X(name, word in metrics) */
#define FWD_DROP_LIST(X)                                                                                          \
	X(FWD_PASSED, "none")                                                                                         \
	X(FWD_MALFORMED, "malformed")           /* not a frame: too short, group address as source, cut ARP or IP */  \
	X(FWD_LINK_LOCAL, "link_local_group")   /* 01:80:c2:00:00:0x: ends at the bridge by 802.1D */                 \
	X(FWD_DNS_ADDRESS, "dns_address")       /* from or for the address every host has for itself */               \
	X(FWD_FORGED, "forged_source")          /* source MAC belongs to another host's container, or to ours */      \
	X(FWD_LOCAL, "local")                   /* for a container of this host: the bridge has delivered it */       \
	X(FWD_NO_PEER, "no_peer")               /* the MAC's host is not reachable, or no host has members */         \
	X(FWD_STRANGER, "stranger")             /* sender is no peer, or not from an address of that peer */          \
	X(FWD_NOT_OURS, "not_for_us")           /* addressed to another host */                                       \
	X(FWD_BAD_HEADER, "bad_header")         /* too short, or reserved values */                                   \
	X(FWD_BAD_VERSION, "bad_version")       /* of the datagram's header */                                        \
	X(FWD_TOO_BIG, "too_big")               /* for the underlay */                                                \
	X(FWD_SEND_FAILED, "send_failed")       /* the kernel refused the datagram */                                 \
	X(FWD_TAP_FAILED, "tap_failed")         /* the kernel refused the frame */                                    \
	X(FWD_FORGED_ADDRESS, "forged_address") /* ARP, ND or IP says an address that another host's container has */ \
	X(FWD_BAD_OFFLOAD, "bad_offload")       /* virtio header contradicts the frame */                             \
	X(FWD_BAD_TAG, "bad_tag")               /* not authentic: altered, or of other keys */                        \
	X(FWD_REPLAYED, "replayed")             /* seen before, or older than the window */                           \
	X(FWD_NO_SESSION, "no_session")         /* to be sealed, and there are no keys (yet) */                       \
	X(FWD_OLD_SESSION, "old_session")       /* sealed for a session we do not have (any more) */                  \
	X(FWD_CLEAR, "clear_refused")           /* in the clear, from a peer whose frames have to come sealed */      \
	X(FWD_FLOODED, "flooded")               /* more handshakes or probes than are looked at */                    \
	X(FWD_FRAGMENT, "fragment")             /* pieces that do not fit together, or too many */                    \
	X(FWD_HOPS, "hop_limit")                /* relayed too often */                                               \
	X(FWD_NO_NETWORK, "no_network")         /* of a network that is not on this host */

enum fwd_drop {
#define X(name, text) name,
	FWD_DROP_LIST(X)
#undef X
		FWD_DROPS
};
const char *fwd_drop_name(enum fwd_drop d); /* the word in metrics; static */

struct fwd_peer {
	uint64_t name;
	struct hostport to; /* where its userspace path listens; family 0: cannot be sent to now */
	bool member;        /* has containers on this network, so it gets what is flooded */
};
struct fwd_mac {
	struct mac mac;
	uint64_t peer; /* self: a container of this host */
};

/* An address of a container: who may say it is his. */
struct fwd_addr {
	struct ip ip;
	uint64_t peer;
};

struct fwd_table;
/* Copies everything. self is left out of peers if it is among them; a MAC or address whose peer is not among peers is kept (frames for it are
 * dropped, frames from it refused to others). The same MAC twice: the lower peer name holds it. The same address of several peers (while it moves):
 * each of them may claim it. ERR_NOMEM, ERR_LIMIT (FWD_…_MAX), ERR_DUPLICATE (a peer twice), ERR_RANGE (an address's family). Owner frees
 * it, when no thread reads it any more. */
enum err fwd_table_new(uint64_t self, const struct fwd_peer *peers, size_t n_peers, const struct fwd_mac *macs, size_t n_macs,
	const struct fwd_addr *addrs, size_t n_addrs, struct fwd_table **out) MUST_CHECK;
void fwd_table_free(struct fwd_table *t); /* takes NULL */
/* Peers are numbered 0 … n-1 in the order of their names. */
size_t fwd_table_peers(const struct fwd_table *t);
const struct fwd_peer *fwd_table_peer(const struct fwd_table *t, size_t i);
/* false: no such peer. */
bool fwd_table_find(const struct fwd_table *t, uint64_t name, size_t *i);

/* The peers (by number) a frame goes to; none when drop says why not. Points into the table. */
struct fwd_verdict {
	enum fwd_drop drop;
	bool flood;
	const uint32_t *peers;
	size_t n;
};
/* frame: as it left the bridge, from the destination MAC on, without FCS. */
struct fwd_verdict fwd_decide(const struct fwd_table *t, struct slice frame);

/* May this frame, whose sender is src by its seal or by the address it came from, be written to the bridge? FWD_PASSED: yes. */
enum fwd_drop fwd_accept(const struct fwd_table *t, uint64_t src, struct slice frame);

#endif
