/* resolv.conf(5): the name servers. search and options are for stub resolvers and are ignored. */
#ifndef WEFT_DNS_RESOLVCONF_H
#define WEFT_DNS_RESOLVCONF_H

#include <stddef.h>

#include "base/addr.h"
#include "base/buf.h"

#define DNS_RESOLVCONF_MAX 65536 /* octets of the file that are looked at */

/* Addresses of the `nameserver` lines in their order, port 53, each once, at most max. A scope ("%eth0") is cut off. Lines that do not
 * parse are passed over, as resolvers do. Addresses on which we listen ourselves (own) are left out when their port is 53; an own
 * address of all zeros stands for every loopback address as well. */
size_t dns_resolvconf_parse(struct slice text, const struct hostport *own, size_t n_own, struct hostport *out, size_t max);

#endif
