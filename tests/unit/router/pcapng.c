/* What a capture's bytes are, spelt out from the format's description (draft-ietf-opsawg-pcapng), and libpcap reading them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pcap/pcap.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "router/pcapng.h"

static void expect(const struct wbuf *w, const char *hex)
{
	size_t n = 0;
	for (const char *p = hex; *p != '\0'; p++) {
		unsigned byte;
		if (*p == ' ')
			continue;
		assert_int_equal(sscanf(p, "%2x", &byte), 1);
		if (n >= w->len || w->data[n] != byte)
			fail_msg("byte %zu is not %02x", n, byte);
		n++;
		p++;
	}
	assert_int_equal(n, w->len);
}

static void begins(void **s)
{
	struct wbuf w;
	(void)s;
	wbuf_grow(&w, 4096);
	pcapng_begin(&w, "weft", "weft-1", NULL, 262144);
	expect(&w,
		"0a0d0d0a 00000028 1a2b3c4d 0001 0000 ffffffffffffffff"
		"0004 0004 77656674 0000 0000 00000028"
		"00000001 0000002c 0001 0000 00040000"
		"0002 0006 776566742d31 0000 0009 0001 09 000000 0000 0000 0000002c");
	assert_int_equal(wbuf_end(&w), ERR_OK);
	wbuf_free(&w);
}

static void packets(void **s)
{
	struct wbuf w;
	(void)s;
	wbuf_grow(&w, 4096);
	pcapng_packet(&w, UINT64_C(0x1122334455667788), slice_str("abcde"), 1500, "a > b");
	expect(&w,
		"00000006 00000038 00000000 11223344 55667788 00000005 000005dc 6162636465 000000"
		"0001 0005 61203e2062 000000 0000 0000 00000038");
	wbuf_reset(&w);
	pcapng_packet(&w, 1, slice_str("abcd"), 4, NULL);
	expect(&w, "00000006 00000024 00000000 00000000 00000001 00000004 00000004 61626364 00000024");
	wbuf_free(&w);
}

static void ends(void **s)
{
	const struct pcapng_statistics stats = {
		.start_ns = 1, .end_ns = UINT64_C(0x200000003), .received = 4, .dropped = 5, .written = 6
	};
	struct wbuf w;
	(void)s;
	wbuf_grow(&w, 4096);
	pcapng_end(&w, &stats);
	expect(&w,
		"00000005 00000058 00000000 00000002 00000003"
		"0002 0008 0000000000000001 0003 0008 0000000200000003"
		"0004 0008 0000000000000004 0005 0008 0000000000000005 0008 0008 0000000000000006"
		"0000 0000 00000058");
	wbuf_free(&w);
}

/* Too long for its memory: it fails as a whole, and says so. */
static void no_room(void **s)
{
	uint8_t memory[100];
	struct wbuf w;
	(void)s;
	wbuf_fixed(&w, memory, sizeof(memory));
	pcapng_packet(&w, 1, slice_of(memory, 80), 80, "comment");
	assert_int_equal(wbuf_end(&w), ERR_LIMIT);
}

static void libpcap_reads_it(void **s)
{
	const struct pcapng_statistics stats = { .start_ns = 1, .end_ns = 2, .received = 300, .written = 300 };
	char path[] = "/tmp/weft-pcapng-XXXXXX", words[PCAP_ERRBUF_SIZE], comment[2000];
	uint8_t frame[300];
	struct pcap_pkthdr *h;
	const u_char *bytes;
	struct wbuf w;
	(void)s;
	memset(comment, 'x', sizeof(comment) - 1);
	comment[sizeof(comment) - 1] = '\0';
	for (size_t i = 0; i < sizeof(frame); i++)
		frame[i] = (uint8_t)i;
	wbuf_grow(&w, 1 << 20);
	pcapng_begin(&w, "weft", "weft", "network weft", 262144);
	for (size_t n = 0; n < sizeof(frame); n++)
		pcapng_packet(&w, UINT64_C(1700000000123456789) + n, slice_of(frame, n), (uint32_t)n + 7, n % 2 ? "odd" : comment);
	pcapng_end(&w, &stats);
	assert_int_equal(wbuf_end(&w), ERR_OK);
	int fd = mkstemp(path);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, w.data, w.len), w.len);
	close(fd);
	pcap_t *p = pcap_open_offline_with_tstamp_precision(path, PCAP_TSTAMP_PRECISION_NANO, words);
	unlink(path);
	assert_non_null(p);
	assert_int_equal(pcap_datalink(p), DLT_EN10MB);
	assert_int_equal(pcap_snapshot(p), 262144);
	for (size_t n = 0; n < sizeof(frame); n++) {
		assert_int_equal(pcap_next_ex(p, &h, &bytes), 1);
		assert_int_equal(h->caplen, n);
		assert_int_equal(h->len, n + 7);
		assert_int_equal(h->ts.tv_sec, 1700000000);
		assert_int_equal(h->ts.tv_usec, 123456789 + n);
		assert_memory_equal(bytes, frame, n);
	}
	assert_int_equal(pcap_next_ex(p, &h, &bytes), PCAP_ERROR_BREAK);
	pcap_close(p);
	wbuf_free(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(begins),
		cmocka_unit_test(packets),
		cmocka_unit_test(ends),
		cmocka_unit_test(no_room),
		cmocka_unit_test(libpcap_reads_it),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
