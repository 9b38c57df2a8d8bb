/* Shared by foreign.c (asking), foreign_nft.c and foreign_legacy.c (the two kinds of filters). */
#ifndef WEFT_DATAPLANE_FOREIGN_INTERNAL_H
#define WEFT_DATAPLANE_FOREIGN_INTERNAL_H

#include "router/dataplane/foreign.h"

enum { FOREIGN_DEPTH_MAX = 24, FOREIGN_STEPS_MAX = 20000, FOREIGN_IFNAME = 16 };
enum foreign_end { FOREIGN_GOES_ON, FOREIGN_ACCEPT, FOREIGN_DROP, FOREIGN_RETURN };

/* 0, or minus an errno; -ENOENT: there is no such filter. */
int foreign_nft(const struct foreign_packet *p, const char *bridge, struct foreign_verdict *out);
int foreign_legacy(const struct foreign_packet *p, struct foreign_verdict *out);

/* The commands for iptables: Docker's chain for such rules, where it is. */
void foreign_iptables_remedy(struct foreign_verdict *v, const char *program, int family, bool docker_user);

#endif
