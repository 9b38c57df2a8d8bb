/* What the host's other packet filters do with what weft would have the host pass on.
 *
 * A drop of theirs is final: nothing in weft's own tables undoes it. So it can only be found out and said, with what to do. The forward hook's chains are read
 * (nftables, iptables-nft among it, and iptables-legacy) and followed with a packet of which only the interfaces are known: a new
 * connection from nowhere in particular. A rule that asks for more than interfaces is taken not to match. Control thread only. */
#ifndef WEFT_DATAPLANE_FOREIGN_H
#define WEFT_DATAPLANE_FOREIGN_H

#include <stdbool.h>

#include "base/err.h"

#define FOREIGN_TEXT 400
struct foreign_packet {
	int family; /* 4, 6 */
	const char *in, *out;
};
struct foreign_verdict {
	bool drops;
	char where[96];            /* "table ip filter, chain FORWARD" */
	char remedy[FOREIGN_TEXT]; /* commands that let weft's packets pass there */
};
struct foreign;
/* What filters there are, read once for any number of packets. ERR_NOMEM, ERR_SYSTEM, ERR_PERMISSION. */
enum err foreign_read(struct foreign **out, struct err_note *note) MUST_CHECK;
void foreign_free(struct foreign *f); /* takes NULL */
/* The first that drops it. bridge: whose packets the remedy lets pass. */
void foreign_forward(const struct foreign *f, const struct foreign_packet *p, const char *bridge, struct foreign_verdict *out);

/* The interface of the host's default route; "": there is none. */
void foreign_default_interface(int family, char out[16]);
/* net.ipv4.ip_forward, net.ipv6.conf.all.forwarding: 1, 0; -1: cannot be read. */
int foreign_forwarding(int family);

#endif
