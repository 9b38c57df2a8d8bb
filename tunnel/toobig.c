#include "tunnel/toobig.h"

#include <string.h>

#include "tunnel/packet.h"
#include "tunnel/segment.h"

enum { ICMP_HEAD = 8, ICMP_SUM = 2, ICMP_MTU = 4, ANSWER4_MAX = 576, ANSWER6_MAX = 1280, MTU4_MIN = 68, HOPS = 64 };

/* One host's own address: not "this network" and not a group's. */
static bool is_host4(const uint8_t *address)
{
	return address[0] != 0 && address[0] < 224;
}

static bool is_host6(const uint8_t *address)
{
	static const uint8_t unspecified[16];
	return address[0] != 0xff && memcmp(address, unspecified, sizeof unspecified) != 0;
}

/* Unreachable, source quench, redirect, time exceeded, parameter problem. */
static bool is_error4(uint8_t type)
{
	return type == 3 || type == 4 || type == 5 || type == 11 || type == 12;
}

/* RFC 4443 section 2.4 (e): errors, and redirect. */
static bool is_error6(uint8_t type)
{
	return type < 128 || type == 137;
}

static bool wants_answer4(const uint8_t *frame, const struct layout *l)
{
	const uint8_t *ip = frame + l->l3;
	const uint32_t head = (ip[0] & 15u) * 4, flags = get16(ip + IP4_FRAGMENT);
	if (!l->df || flags & IP4_OFFSET || !is_host4(ip + IP4_SRC) || !is_host4(ip + IP4_DST))
		return false;
	return ip[IP4_PROTO] != PROTO_ICMP || (l->l3 + head < l->end && !is_error4(ip[head]));
}

static bool wants_answer6(const uint8_t *frame, const struct layout *l)
{
	const uint8_t *ip = frame + l->l3;
	struct packet_upper u;
	if (!packet_upper(frame, l->l3, l->end, &u) || u.offset > 0 || !is_host6(ip + IP6_SRC) || !is_host6(ip + IP6_DST))
		return false;
	return u.proto != PROTO_ICMP6 || (u.at < l->end && !is_error6(frame[u.at]));
}

static size_t answer4(const uint8_t *ip, size_t n, uint32_t mtu, uint8_t *out)
{
	enum { UNREACHABLE = 3, TOO_BIG = 4, INTERNETWORK_CONTROL = 0xc0 };
	uint8_t *icmp = out + IP4_HEAD;
	const size_t quoted = n < ANSWER4_MAX - IP4_HEAD - ICMP_HEAD ? n : ANSWER4_MAX - IP4_HEAD - ICMP_HEAD;
	const size_t length = IP4_HEAD + ICMP_HEAD + quoted;
	if (mtu < MTU4_MIN)
		mtu = MTU4_MIN;
	memset(out, 0, IP4_HEAD + ICMP_HEAD);
	out[0] = 0x45;
	out[IP4_TOS] = INTERNETWORK_CONTROL; /* RFC 1812 section 4.3.2.5 */
	put16(out + IP4_LENGTH, (uint32_t)length);
	put16(out + IP4_FRAGMENT, IP4_DF); /* which makes an id of 0 right (RFC 6864) */
	out[IP4_TTL] = HOPS;
	out[IP4_PROTO] = PROTO_ICMP;
	memcpy(out + IP4_SRC, ip + IP4_DST, 4);
	memcpy(out + IP4_DST, ip + IP4_SRC, 4);
	packet_ip4_sum(out, IP4_HEAD);
	icmp[0] = UNREACHABLE;
	icmp[1] = TOO_BIG;
	put16(icmp + ICMP_MTU + 2, mtu < UINT16_MAX ? mtu : UINT16_MAX);
	memcpy(icmp + ICMP_HEAD, ip, quoted);
	put16(icmp + ICMP_SUM, ~(uint32_t)packet_sum(icmp, ICMP_HEAD + quoted, 0));
	return length;
}

static size_t answer6(const uint8_t *ip, size_t n, uint32_t mtu, uint8_t *out)
{
	enum { TOO_BIG = 2 };
	uint8_t *icmp = out + IP6_HEAD;
	const size_t quoted = n < ANSWER6_MAX - IP6_HEAD - ICMP_HEAD ? n : ANSWER6_MAX - IP6_HEAD - ICMP_HEAD;
	const size_t length = ICMP_HEAD + quoted;
	memset(out, 0, IP6_HEAD + ICMP_HEAD);
	out[0] = 0x60;
	put16(out + IP6_LENGTH, (uint32_t)length);
	out[IP6_NEXT] = PROTO_ICMP6;
	out[IP6_HOPS] = HOPS;
	memcpy(out + IP6_SRC, ip + IP6_DST, 16);
	memcpy(out + IP6_DST, ip + IP6_SRC, 16);
	icmp[0] = TOO_BIG;
	put32(icmp + ICMP_MTU, mtu < ANSWER6_MAX ? ANSWER6_MAX : mtu);
	memcpy(icmp + ICMP_HEAD, ip, quoted);
	/* pseudo header (RFC 8200 section 8.1): addresses, length, next header */
	const uint32_t pseudo = (uint32_t)packet_sum(out + IP6_SRC, 32, 0) + (uint32_t)length + PROTO_ICMP6;
	put16(icmp + ICMP_SUM, ~(uint32_t)packet_sum(icmp, length, pseudo));
	return IP6_HEAD + length;
}

size_t toobig_frame(struct slice frame, uint32_t mtu, uint8_t out[TOOBIG_MAX])
{
	struct layout l;
	if (!layout_of(frame, &l) || l.family == 0 || (frame.p[0] | frame.p[6]) & 1)
		return 0;
	if (!(l.family == 4 ? wants_answer4(frame.p, &l) : wants_answer6(frame.p, &l)))
		return 0;
	memcpy(out, frame.p + 6, 6);
	memcpy(out + 6, frame.p, 6);
	memcpy(out + ETH_TYPE, frame.p + ETH_TYPE, (size_t)l.l3 - ETH_TYPE);
	const uint8_t *ip = frame.p + l.l3;
	const size_t n = l.end - l.l3;
	return l.l3 + (l.family == 4 ? answer4(ip, n, mtu, out + l.l3) : answer6(ip, n, mtu, out + l.l3));
}
