/* The text parsers. Whatever they accept must survive format and parse again, and the format must be the only one: formatting the
 * second value gives the same text. IPv6 text is held against the C library's where that follows RFC 5952. */
#include <arpa/inet.h>
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "base/addr.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { TEXT_CAP = 256 };

static void check_peer(const char *text)
{
	uint64_t a, b;
	char out[PEER_TEXT];
	if (peer_parse(text, &a))
		return;
	assert(a <= PEER_MAX);
	assert(!peer_parse(peer_format(a, out), &b) && a == b && strlen(out) == PEER_TEXT - 1);
}

static void check_mac(const char *text)
{
	struct mac a, b;
	uint64_t peer;
	char out[MAC_TEXT];
	if (mac_parse(text, &a))
		return;
	assert(!mac_parse(mac_format(a, out), &b) && mac_eq(a, b) && strcasecmp(out, text) == 0);
	/* Every MAC is a peer name too, of the same text. */
	char again[PEER_TEXT];
	assert(!peer_parse(text, &peer) && strcmp(peer_format(peer, again), out) == 0);
}

static void check_ip_text(struct ip a)
{
	struct ip b;
	char out[IP_TEXT], theirs[INET6_ADDRSTRLEN];
	assert(!ip_parse(ip_format(a, out), &b) && ip_eq(a, b));
	static const uint8_t zeros[12];
	/* The C library writes the deprecated ::/96 with dots. */
	if (a.family == 6 && memcmp(a.b, zeros, sizeof zeros) == 0)
		return;
	assert(inet_ntop(a.family == 4 ? AF_INET : AF_INET6, a.b, theirs, sizeof theirs));
	assert(strcmp(out, theirs) == 0);
}

static void check_ip(const char *text)
{
	struct ip a;
	if (ip_parse(text, &a))
		return;
	assert(a.family == 4 || a.family == 6);
	check_ip_text(a);
	uint8_t wire[17];
	struct wbuf w;
	wbuf_fixed(&w, wire, sizeof wire);
	wbuf_ip(&w, a);
	assert(!wbuf_end(&w));
	struct rbuf r;
	rbuf_init(&r, wire, w.len);
	assert(ip_eq(rbuf_ip(&r), a) && !rbuf_end(&r));
}

static void check_prefix(const char *text)
{
	struct prefix a, b;
	char out[PREFIX_TEXT];
	if (prefix_parse(text, &a))
		return;
	assert(a.len <= ip_bits(a.addr));
	assert(!prefix_parse(prefix_format(a, out), &b) && prefix_eq(a, b));
	struct prefix net = prefix_network(a);
	assert(prefix_is_network(net) && prefix_contains(net, a.addr) && prefix_overlaps(a, net));
	if (a.addr.family == 4) {
		struct range4 r = range4_of(a);
		assert(range4_contains(r, ip_to_v4(a.addr)) && r.start == ip_to_v4(net.addr) &&
			range4_size(r) == UINT64_C(1) << (32 - a.len));
		assert(r.start % range4_size(r) == 0);
	}
}

static void check_hostport(const char *text, uint16_t default_port, size_t host_size)
{
	char host[TEXT_CAP], out[HOSTPORT_TEXT];
	uint16_t port;
	struct err_note note;
	note.text[0] = '\0';
	enum err e = hostport_split(text, default_port, host, host_size, &port, &note);
	if (e)
		assert(note.text[0] && memchr(note.text, '\0', sizeof note.text));
	else
		assert(host[0] && strlen(host) < host_size && strstr(text, host));
	struct hostport a, b;
	if (hostport_parse(text, default_port, &a))
		return;
	assert(!hostport_parse(hostport_format(a, out), 0, &b) && hostport_eq(a, b));
}

static void check_wire(const uint8_t *data, size_t size)
{
	struct rbuf r;
	rbuf_init(&r, data, size);
	while (rbuf_left(&r) > 0) {
		struct ip a = rbuf_ip(&r);
		assert(a.family == 0 || a.family == 4 || a.family == 6);
		if (rbuf_ok(&r) && a.family)
			check_ip_text(a);
		struct mac m = rbuf_mac(&r);
		char out[MAC_TEXT];
		assert(strlen(mac_format(m, out)) == MAC_TEXT - 1);
	}
}

/* The first byte chooses the default port and the size of the host's buffer, the rest is text up to its first zero. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0)
		return 0;
	char text[TEXT_CAP];
	size_t n = size - 1 < sizeof text - 1 ? size - 1 : sizeof text - 1;
	memcpy(text, data + 1, n);
	text[n] = '\0';
	check_peer(text);
	check_mac(text);
	check_ip(text);
	check_prefix(text);
	check_hostport(text, (uint16_t)(data[0] * 257), data[0]);
	check_wire(data + 1, size - 1);
	return 0;
}
