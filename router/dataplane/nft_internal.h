/* What the files of nft.h share: transactions and dumps (nft_batch.c), what the tables contain (nft_rules.c, nft_bridge.c, nft_nat.c by nft_expr.h), what the
 * kernel has (nft_read.c), and the state (nft.c). */
#ifndef WEFT_DATAPLANE_NFT_INTERNAL_H
#define WEFT_DATAPLANE_NFT_INTERNAL_H

#include <linux/netlink.h>

#include "router/dataplane/nft.h"

#define NFT_TABLE   "weft"
#define NFT_KEY_MAX 32u
#define NFT_IFNAME  16u /* an interface's name in a key, filled up with zeros */

/* What can be left out where a kernel lacks it. A failed message takes its whole part with it. */
enum nft_part { NFT_PART_INET = 1, NFT_PART_HANDSHAKES = 2, NFT_PART_BRIDGE = 4, NFT_PART_NAT = 8, NFT_PARTS_ALL = 15 };

enum nft_set_id {
	NFT_RX4, /* inet: the other hosts' addresses, and what came from them … */
	NFT_RX6,
	NFT_TX4, /* … and what went to them */
	NFT_TX6,
	NFT_BRIDGES,   /* each network's bridge, twice: see nft_rules.c */
	NFT_GUESTS,    /* bridges of other containers than ours */
	NFT_RESOLVERS, /* name servers in whose place we answer */
	NFT_PORTS,     /* bridge: containers' ports */
	NFT_MACS,      /* port . MAC */
	NFT_ADDRS4,    /* port . address */
	NFT_ADDRS6,
	NFT_SETS
};
struct nft_set_kind {
	const char *name;
	uint8_t part, family, key_len;
	bool counted;
	uint32_t key_type; /* as nft(8) numbers its types, for its listings alone */
};
extern const struct nft_set_kind nft_set_kinds[NFT_SETS];

struct nft_counts {
	uint64_t packets, bytes;
};
struct nft_elem {
	uint8_t set; /* enum nft_set_id */
	uint8_t key[NFT_KEY_MAX];
	struct nft_counts counts;
};
struct nft_elems {
	struct nft_elem *v;
	size_t n, cap;
};
int nft_elem_cmp(const void *a, const void *b);                                         /* by set, then key */
bool nft_elems_add(struct nft_elems *l, const struct nft_elem *e) MUST_CHECK;           /* false: out of memory */
void nft_elems_sort(struct nft_elems *l);                                               /* and without doubles */
struct nft_elem *nft_elems_find(const struct nft_elems *l, const struct nft_elem *key); /* in a sorted list */

/* What is translated: nft_nat.c. */
struct nft_nat {
	struct nft_exposed *exposed;
	size_t n_exposed;
	struct hostport names; /* where who asks one of the resolvers is led; family 0: nowhere */
};

struct mnl_socket;
struct nft_known_peer {
	uint64_t peer;
	struct ip underlay;
};
struct nft {
	struct mnl_socket *commands, *events;
	struct nft_cfg cfg;
	unsigned parts; /* those that the kernel has; none after a reset */
	uint32_t seq;
	struct nft_elems elems; /* in order */
	struct nft_nat nat;
	struct nft_counts drops[NFT_DROPS];
	struct nft_known_peer *peers; /* in order of names */
	size_t n_peers;
	bool keeps;          /* addresses that no peer of the list has */
	bool unmade;         /* the model is ahead of the kernel: the last attempt to make the tables anew failed */
	uint32_t generation; /* in which all was right; 0: to be looked at */
	uint64_t signature;  /* of tables, chains, rules, sets, counters */
};

/* --- reading (nft_read.c): 0, or minus an errno */

int nft_read_generation(struct nft *n, uint32_t *id);
/* Appends the elements of one set. -ENOENT: there is no such set; -EPROTO: one of another make. */
int nft_read_set(struct nft *n, enum nft_set_id id, struct nft_elems *out);
/* The drop counters of one family's table: those that are there. */
int nft_read_drops(struct nft *n, uint8_t family, struct nft_counts drops[NFT_DROPS]);
/* -ENOENT: a table is missing. */
int nft_read_signature(struct nft *n, uint64_t *signature);
/* Whether the kernel's sets hold what the model says. */
int nft_same_elems(struct nft *n, bool *same);

/* --- transport */

struct nft_batch {
	uint8_t *data;
	size_t len, cap, last; /* last: where the last message begins */
	uint8_t *parts;        /* of each message, in order of their sequence numbers from `first` on */
	size_t n, parts_cap;
	uint32_t first;
	uint8_t *scratch; /* room for one message */
	bool failed;      /* out of memory */
};
#define NFT_MESSAGE_MAX 65536u

bool nft_batch_begin(struct nft_batch *b, uint32_t seq); /* false: out of memory */
void nft_batch_free(struct nft_batch *b);
/* The header of the next message, written to scratch; NULL: failed before. Attributes are put behind it, then nft_batch_add takes it over. */
struct nlmsghdr *nft_batch_message(struct nft_batch *b, uint16_t type, uint8_t family, uint16_t flags, uint8_t part);
void nft_batch_add(struct nft_batch *b, const struct nlmsghdr *h);
/* Sends all of it as one transaction: all or nothing happens. Minus the errno of the first message that was refused, and its part (0: none of them: the
 * whole was refused); 0. */
int nft_batch_commit(struct nft_batch *b, struct mnl_socket *s, uint8_t *part);

/* One question; each answer goes to fn (0, or minus an errno). -EAGAIN: the tables changed while they were read. */
typedef int (*nft_each)(const struct nlmsghdr *h, void *arg);
int nft_ask(struct mnl_socket *s, struct nlmsghdr *question, uint32_t seq, nft_each fn, void *arg);

/* --- content */

/* Adds what makes both tables anew, as far as `parts` go. drops: initial values of the drop counters. */
void nft_rules_make(struct nft_batch *b, unsigned parts, const struct nft_cfg *cfg, const struct nft_counts drops[NFT_DROPS],
	const struct nft_elems *elems, const struct nft_nat *nat);
/* Takes the tables of these parts away, if they are there. */
void nft_rules_remove(struct nft_batch *b, unsigned parts);
/* One message (or more) that adds or removes elems->v[from] up to, not including, `to`: all of one set. */
void nft_rules_elems(struct nft_batch *b, bool add, const struct nft_elem *from, size_t n);

#endif
