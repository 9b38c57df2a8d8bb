#include "router/core/announce.h"

#include <assert.h>
#include <string.h>

#include "base/buf.h"
#include "tunnel/fwd.h"

enum { TYPE_ARP = 0x0806, TYPE_IP6 = 0x86dd, NEXT_ICMP6 = 58, NA_BYTES = 32 };

static void put_ethernet(struct wbuf *w, const uint8_t dst[6], struct mac src, uint16_t type)
{
	wbuf_bytes(w, dst, 6);
	wbuf_mac(w, src);
	wbuf_u16(w, type);
}

/* A request for one's own address. */
static void put_arp(struct wbuf *w, struct mac mac, struct ip a)
{
	static const uint8_t all[6] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff }, nobody[6];
	put_ethernet(w, all, mac, TYPE_ARP);
	wbuf_u16(w, 1); /* Ethernet */
	wbuf_u16(w, 0x0800);
	wbuf_u8(w, 6);
	wbuf_u8(w, 4);
	wbuf_u16(w, 1); /* request */
	wbuf_mac(w, mac);
	wbuf_bytes(w, a.b, 4);
	wbuf_bytes(w, nobody, 6);
	wbuf_bytes(w, a.b, 4);
}

static uint32_t sum16(uint32_t sum, const uint8_t *p, size_t n)
{
	for (size_t i = 0; i + 1 < n; i += 2)
		sum += (uint32_t)p[i] << 8 | p[i + 1];
	return sum;
}

static void put_advertisement(struct wbuf *w, struct mac mac, struct ip a)
{
	static const uint8_t all[6] = { 0x33, 0x33, 0, 0, 0, 1 };
	static const uint8_t all_nodes[16] = { 0xff, 0x02, [15] = 1 };
	put_ethernet(w, all, mac, TYPE_IP6);
	wbuf_u32(w, UINT32_C(6) << 28);
	wbuf_u16(w, NA_BYTES);
	wbuf_u8(w, NEXT_ICMP6);
	wbuf_u8(w, 255);
	wbuf_bytes(w, a.b, 16);
	wbuf_bytes(w, all_nodes, 16);
	size_t icmp = w->len;
	wbuf_u8(w, 136); /* neighbour advertisement */
	wbuf_u8(w, 0);
	wbuf_u16(w, 0);
	wbuf_u32(w, UINT32_C(1) << 29); /* override */
	wbuf_bytes(w, a.b, 16);
	wbuf_u8(w, 2); /* option: target's link-layer address, in units of 8 bytes */
	wbuf_u8(w, 1);
	wbuf_mac(w, mac);
	if (w->failed)
		return;
	/* Over the pseudo-header (addresses, length, next header) and the message. */
	uint32_t sum = sum16(sum16(NEXT_ICMP6 + NA_BYTES, w->data + icmp - 32, 32), w->data + icmp, NA_BYTES);
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	wbuf_patch_u16(w, icmp + 2, (uint16_t)~sum);
}

size_t announce_frame(struct mac mac, struct ip addr, uint8_t out[ANNOUNCE_MAX])
{
	struct wbuf w;
	assert(addr.family == 4 || addr.family == 6);
	wbuf_fixed(&w, out, ANNOUNCE_MAX);
	if (addr.family == 4)
		put_arp(&w, mac, addr);
	else
		put_advertisement(&w, mac, addr);
	assert(!w.failed);
	return w.len;
}

bool announce_may(struct ip a)
{
	static const uint8_t none[16], loopback[16] = { [15] = 1 };
	if (a.family == 4)
		return a.b[0] != 0 && a.b[0] != 127 && a.b[0] < 224 && ip_to_v4(a) != WEFT_DNS_V4;
	return a.family == 6 && a.b[0] != 0xff && memcmp(a.b, none, 16) != 0 && memcmp(a.b, loopback, 16) != 0;
}
