/* Reverse names: in-addr.arpa (RFC 1035 section 3.5) and ip6.arpa (RFC 3596 section 2.5). */
#ifndef WEFT_DNS_REVERSE_H
#define WEFT_DNS_REVERSE_H

#include <stdbool.h>

#include "base/addr.h"
#include "dns/name.h"

/* The prefix that a name under in-addr.arpa or ip6.arpa stands for: a whole address has 32 or 128 bits, fewer labels mean a shorter
 * one. false: the name is of another form. Leading zeros ("010") and labels over 255 are another form. */
bool dns_reverse_parse(const struct dns_name *name, struct prefix *out);
/* The name of an address. */
void dns_reverse_name(struct ip addr, struct dns_name *out);

#endif
