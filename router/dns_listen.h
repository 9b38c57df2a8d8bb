/* The sockets at which names are asked for. */
#ifndef WEFT_ROUTER_DNS_LISTEN_H
#define WEFT_ROUTER_DNS_LISTEN_H

#include <uv.h>

#include "base/addr.h"
#include "base/err.h"

/* Binds a handle that was initialised and has no socket yet. ifname NULL: whoever asks; nobody else may have the address. Else those who ask by that interface, and
 * they do not ask the socket for all any more; answers leave by that interface. Both of these have to be ours: a socket for all lets sockets of the same user
 * in besides it. On errors (see dns_server_start; ERR_NOT_FOUND, too, without that interface) the handle is to be closed. */
enum err dns_listen_udp(uv_udp_t *udp, struct hostport at, const char *ifname, struct err_note *note) MUST_CHECK;
/* How many queries the kernel threw away because the socket was full, since it was opened; modulo 2^32. 0: no socket. */
uint64_t dns_listen_unread(const uv_udp_t *udp);
/* As dns_listen_udp, and listens. */
enum err dns_listen_tcp(
	uv_tcp_t *tcp, struct hostport at, const char *ifname, uv_connection_cb on_connection, struct err_note *note) MUST_CHECK;

struct hostport dns_from_sockaddr(const struct sockaddr *a); /* family 0: neither IPv4 nor IPv6 */
void dns_to_sockaddr(struct hostport h, struct sockaddr_storage *out);

#endif
