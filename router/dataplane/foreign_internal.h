/* Shared by foreign.c (asking), foreign_nft.c and foreign_legacy.c (the two kinds of filters). */
#ifndef WEFT_DATAPLANE_FOREIGN_INTERNAL_H
#define WEFT_DATAPLANE_FOREIGN_INTERNAL_H

#include "router/dataplane/foreign.h"

enum { FOREIGN_DEPTH_MAX = 24, FOREIGN_STEPS_MAX = 20000, FOREIGN_IFNAME = 16 };
enum foreign_end { FOREIGN_GOES_ON, FOREIGN_ACCEPT, FOREIGN_DROP, FOREIGN_RETURN };

/* Reading: 0, or minus an errno; -ENOENT: there is no such filter. *out may be NULL then. */
struct foreign_nft;
int foreign_nft_read(struct foreign_nft **out);
void foreign_nft_free(struct foreign_nft *f);
void foreign_nft_ask(
	const struct foreign_nft *f, const struct foreign_packet *p, const char *bridge, struct foreign_verdict *out);
struct foreign_legacy;
int foreign_legacy_read(int family, struct foreign_legacy **out);
void foreign_legacy_free(struct foreign_legacy *f);
void foreign_legacy_ask(const struct foreign_legacy *f, const struct foreign_packet *p, struct foreign_verdict *out);

/* The commands for iptables: Docker's chain for such rules, where it is. */
void foreign_iptables_remedy(struct foreign_verdict *v, const char *program, int family, bool docker_user);

#endif
