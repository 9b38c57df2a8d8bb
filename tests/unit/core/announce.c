/* Announcements of addresses, against bytes worked out by hand from the RFCs; the checksum's verdict is taken from its definition. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "router/core/announce.h"

static struct ip ip_of(const char *text)
{
	struct ip a;
	assert_int_equal(ip_parse(text, &a), ERR_OK);
	return a;
}

static const struct mac mac = { { 0x02, 0xaa, 0xbb, 0xcc, 0xdd, 0xee } };

static void arp(void **s)
{
	(void)s;
	static const uint8_t golden[] = {
		0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0x08, 0x06, /* to all, from the MAC, ARP */
		0x00, 0x01, 0x08, 0x00, 0x06, 0x04, 0x00, 0x01,                                     /* Ethernet, IPv4, a request */
		0x02, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0x0a, 0x20, 0x01, 0x07,                         /* sender */
		0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x0a, 0x20, 0x01, 0x07,                         /* target: the sender's address */
	};
	uint8_t out[ANNOUNCE_MAX];
	assert_int_equal(announce_frame(mac, ip_of("10.32.1.7"), out), sizeof golden);
	assert_memory_equal(out, golden, sizeof golden);
}

static void advertisement(void **s)
{
	(void)s;
	static const uint8_t golden[] = {
		0x33, 0x33, 0x00, 0x00, 0x00, 0x01, 0x02, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0x86, 0xdd, /* to all nodes, from the MAC, IPv6 */
		0x60, 0x00, 0x00, 0x00, 0x00, 0x20, 0x3a, 0xff,          /* 32 bytes of ICMPv6, hop limit 255 */
		0xfd, 0x09, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x77, /* from fd09::77 */
		0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x01, /* to ff02::1 */
		0x88, 0x00, 0xbf, 0x38, 0x20, 0x00, 0x00, 0x00,          /* advertisement, override only */
		0xfd, 0x09, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x77, /* of fd09::77 */
		0x02, 0x01, 0x02, 0xaa, 0xbb, 0xcc, 0xdd, 0xee,          /* target's link-layer address */
	};
	uint8_t out[ANNOUNCE_MAX];
	assert_int_equal(announce_frame(mac, ip_of("fd09::77"), out), sizeof golden);
	assert_memory_equal(out, golden, sizeof golden);
}

/* RFC 1071: the one's complement sum over all that is covered, the checksum included, is all ones. */
static void checksum(void **s)
{
	(void)s;
	struct ip a = ip_of("fd00::");
	for (unsigned i = 1; i < 3000; i++) {
		uint8_t out[ANNOUNCE_MAX];
		struct mac m = { { 2, (uint8_t)(i * 31), (uint8_t)(i * 17), 0xff, (uint8_t)(i >> 3), (uint8_t)i } };
		for (size_t b = 1; b < 16; b++)
			a.b[b] = (uint8_t)(i * (b + 3) + (i >> 4));
		assert_int_equal(announce_frame(m, a, out), ANNOUNCE_MAX);
		uint32_t sum = 32 + 58;
		for (size_t at = 22; at < ANNOUNCE_MAX; at += 2)
			sum += (uint32_t)out[at] * 256 + out[at + 1];
		while (sum > 0xffff)
			sum = sum % 65536 + sum / 65536;
		assert_int_equal(sum, 0xffff);
	}
}

static void may(void **s)
{
	(void)s;
	static const char *const yes[] = { "10.32.0.1", "192.0.2.1", "223.255.255.255", "169.254.67.82", "1.0.0.0", "fd09::77",
		"fe80::1", "2001:db8::1", "::2", "100::" };
	static const char *const no[] = { "169.254.67.83", "0.0.0.0", "0.1.2.3", "127.0.0.1", "224.0.0.1", "255.255.255.255",
		"::", "::1", "ff02::1" };
	for (size_t i = 0; i < sizeof yes / sizeof *yes; i++)
		if (!announce_may(ip_of(yes[i])))
			fail_msg("%s is refused", yes[i]);
	for (size_t i = 0; i < sizeof no / sizeof *no; i++)
		if (announce_may(ip_of(no[i])))
			fail_msg("%s is taken", no[i]);
	assert_false(announce_may((struct ip){ 0 }));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(arp),
		cmocka_unit_test(advertisement),
		cmocka_unit_test(checksum),
		cmocka_unit_test(may),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
