/* Addresses as values: peer names, MAC, IPv4, IPv6, prefixes, address-and-port. Text forms are the usual ones (RFC 5952 for IPv6). */
#ifndef WEFT_BASE_ADDR_H
#define WEFT_BASE_ADDR_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

/* A peer's name: 48 bits, written as a MAC. 0 = none. Comes as uint64_t everywhere; the upper 16 bits are zero. */
#define PEER_NONE UINT64_C(0)
#define PEER_MAX  UINT64_C(0xffffffffffff)
#define PEER_TEXT 18
const char *peer_format(uint64_t peer, char out[PEER_TEXT]);
/* Six hex groups of one or two digits, or one "::" run standing for zero groups (as Weave). ERR_MALFORMED. */
enum err peer_parse(const char *text, uint64_t *out) MUST_CHECK;

struct mac {
	uint8_t b[6];
};
#define MAC_TEXT 18
const char *mac_format(struct mac m, char out[MAC_TEXT]);
enum err mac_parse(const char *text, struct mac *out) MUST_CHECK;
bool mac_eq(struct mac a, struct mac b);
bool mac_is_group(struct mac m); /* broadcast or multicast */

/* family 4 or 6, 0 = none; IPv4 lies in b[0..3], the rest zero. Bytes are in network order. */
struct ip {
	uint8_t family;
	uint8_t b[16];
};
#define IP_TEXT 46
struct ip ip_v4(uint32_t host_order);
uint32_t ip_to_v4(struct ip a); /* host order; asserts family 4 */
const char *ip_format(struct ip a, char out[IP_TEXT]);
enum err ip_parse(const char *text, struct ip *out) MUST_CHECK;
bool ip_eq(struct ip a, struct ip b);
int ip_cmp(struct ip a, struct ip b); /* family, then bytes */
unsigned ip_bits(struct ip a);        /* 32, 128, 0 */

struct prefix {
	struct ip addr;
	uint8_t len;
};
#define PREFIX_TEXT 50
const char *prefix_format(struct prefix p, char out[PREFIX_TEXT]);
/* "10.32.0.0/12". Bits after the prefix are kept: see prefix_is_network. ERR_MALFORMED, ERR_RANGE (length). */
enum err prefix_parse(const char *text, struct prefix *out) MUST_CHECK;
struct prefix prefix_network(struct prefix p); /* bits after the prefix cleared */
bool prefix_is_network(struct prefix p);
bool prefix_contains(struct prefix p, struct ip a);
bool prefix_overlaps(struct prefix a, struct prefix b);
bool prefix_eq(struct prefix a, struct prefix b);

/* Half-open range of IPv4 addresses as 64-bit integers in host order, so that the end of the space needs no special case. */
struct range4 {
	uint64_t start, end;
};
struct range4 range4_of(struct prefix p); /* asserts family 4 */
bool range4_contains(struct range4 r, uint64_t a);
struct range4 range4_and(struct range4 a, struct range4 b); /* empty: start == end */
uint64_t range4_size(struct range4 r);

struct hostport {
	struct ip ip;
	uint16_t port;
};
#define HOSTPORT_TEXT 54
const char *hostport_format(struct hostport h, char out[HOSTPORT_TEXT]); /* "1.2.3.4:5", "[::1]:5" */
enum err hostport_parse(const char *text, uint16_t default_port, struct hostport *out) MUST_CHECK;
bool hostport_eq(struct hostport a, struct hostport b);
/* Splits "name", "name:port", "v4:port", "[v6]:port", "[v6]", bare v6. host gets the name without brackets. Does not resolve. */
enum err hostport_split(
	const char *text, uint16_t default_port, char *host, size_t host_size, uint16_t *port, struct err_note *note) MUST_CHECK;

/* Wire form: family byte, then 4 or 16 bytes (none for 0). */
void wbuf_ip(struct wbuf *w, struct ip a);
struct ip rbuf_ip(struct rbuf *r);
void wbuf_mac(struct wbuf *w, struct mac m);
struct mac rbuf_mac(struct rbuf *r);

#endif
