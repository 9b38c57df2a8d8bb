#include "tunnel/packet.h"

#include <string.h>

uint16_t packet_sum(const uint8_t *p, size_t n, uint32_t start)
{
	/* A sum of words does not depend on their byte order but for its own, so whole words are added as the processor reads them, carries
	 * at the end of the word come back at its beginning, and only the result is turned round. */
	uint64_t sum = 0;
	for (; n >= 8; p += 8, n -= 8) {
		uint64_t word;
		memcpy(&word, p, 8);
		sum += word;
		sum += sum < word;
	}
	if (n > 0) {
		uint64_t word = 0;
		memcpy(&word, p, n);
		sum += word;
		sum += sum < word;
	}
	sum = (sum & UINT32_MAX) + (sum >> 32);
	sum = (sum & UINT32_MAX) + (sum >> 32);
	const uint16_t folded = packet_fold((uint32_t)sum);
	uint8_t bytes[2];
	memcpy(bytes, &folded, 2);
	return packet_fold(packet_fold(start) + (uint32_t)get16(bytes));
}

void packet_ip4_sum(uint8_t *ip, size_t size)
{
	put16(ip + IP4_SUM, 0);
	put16(ip + IP4_SUM, ~(uint32_t)packet_sum(ip, size, 0));
}

/* Extension headers of the common form: next header, length in units of 8 beyond the first 8. */
static bool is_extension(uint8_t proto)
{
	return proto == 0 || proto == 43 || proto == 60 || proto == 135 || proto == 139 || proto == 140;
}

bool packet_upper(const uint8_t *frame, uint32_t ip, uint32_t end, struct packet_upper *out)
{
	enum { FRAGMENT = 44, AUTHENTICATION = 51 };
	struct packet_upper u = { .at = ip + IP6_HEAD, .proto = frame[ip + IP6_NEXT] };
	bool more = true;
	for (unsigned i = 0; more && i < IP6_EXTENSIONS_MAX; i++) {
		const bool common = is_extension(u.proto), fragment = u.proto == FRAGMENT;
		if (!common && !fragment && u.proto != AUTHENTICATION)
			break;
		if (end - u.at < 8)
			return false;
		const uint8_t *p = frame + u.at;
		uint32_t size = 8;
		if (common)
			size = (p[1] + 1u) * 8;
		else if (!fragment)
			size = (p[1] + 2u) * 4;
		if (end - u.at < size)
			return false;
		if (fragment) {
			u.fragment = true;
			u.offset = get16(p + 2) & 0xfff8u;
			more = u.offset == 0;
		}
		u.proto = p[0];
		u.at += size;
	}
	*out = u;
	return true;
}
