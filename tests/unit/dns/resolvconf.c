#include "tests/unit/base/cmocka_all.h"

#include <stdio.h>
#include <string.h>

#include "dns/resolvconf.h"

/* The servers found, as one line of text. */
static const char *parse(const char *text, const char *own, size_t max)
{
	static char out[1024];
	struct hostport v[16], self[1];
	size_t n_own = 0;
	if (own) {
		assert_int_equal(hostport_parse(own, 53, &self[0]), ERR_OK);
		n_own = 1;
	}
	assert_true(max <= 16);
	size_t n = dns_resolvconf_parse(slice_str(text), self, n_own, v, max);
	assert_true(n <= max);
	out[0] = '\0';
	for (size_t i = 0; i < n; i++) {
		char one[HOSTPORT_TEXT];
		strcat(out, hostport_format(v[i], one));
		strcat(out, " ");
	}
	return out;
}

static void lines(void **state)
{
	(void)state;
	assert_string_equal(parse("nameserver 8.8.8.8\nnameserver\t8.8.4.4  \n", NULL, 16), "8.8.8.8:53 8.8.4.4:53 ");
	assert_string_equal(parse("nameserver 2001:db8::1\r\nnameserver fe80::1%eth0\n", NULL, 16), "[2001:db8::1]:53 [fe80::1]:53 ");
	assert_string_equal(
		parse("# nameserver 1.1.1.1\n;nameserver 1.1.1.1\nsearch weft.local\noptions ndots:2\nnameserver 9.9.9.9", NULL, 16),
		"9.9.9.9:53 ");
	assert_string_equal(parse("nameserver 9.9.9.9 # quad nine\nnameserver 9.9.9.9\n", NULL, 16), "9.9.9.9:53 ");
	assert_string_equal(
		parse(
			"nameserver\nnameserver \nnameserver x\nnameserver 1.2.3\nnameservers 1.1.1.1\nnameserver1.1.1.1\n nameserver 1.1.1.1",
			NULL, 16),
		"");
	assert_string_equal(
		parse("nameserver 1111111111111111111111111111111111111111111111111111\nnameserver 1.1.1.1", NULL, 16), "1.1.1.1:53 ");
	assert_string_equal(parse("", NULL, 16), "");
	assert_string_equal(parse("\n\n\n", NULL, 16), "");
	assert_string_equal(parse("nameserver 1.0.0.1\nnameserver 1.0.0.2\nnameserver 1.0.0.3", NULL, 2), "1.0.0.1:53 1.0.0.2:53 ");
}

static void zeros_and_length(void **state)
{
	(void)state;
	static char big[DNS_RESOLVCONF_MAX + 100];
	struct hostport v[2];
	assert_int_equal(dns_resolvconf_parse(slice_of("nameserver 1.1.1.1\0.5\n", 22), NULL, 0, v, 2), 0);
	memset(big, '\n', sizeof(big));
	memcpy(big + DNS_RESOLVCONF_MAX, "nameserver 1.1.1.1", 18);
	assert_int_equal(dns_resolvconf_parse(slice_of(big, sizeof(big)), NULL, 0, v, 2), 0);
	memcpy(big + DNS_RESOLVCONF_MAX - 18, "nameserver 1.1.1.1", 18);
	assert_int_equal(dns_resolvconf_parse(slice_of(big, sizeof(big)), NULL, 0, v, 2), 1);
}

static void own_addresses(void **state)
{
	(void)state;
	assert_string_equal(parse("nameserver 172.17.0.1\nnameserver 8.8.8.8", "172.17.0.1:53", 16), "8.8.8.8:53 ");
	assert_string_equal(parse("nameserver 172.17.0.1\n", "172.17.0.1:5353", 16), "172.17.0.1:53 ");
	assert_string_equal(parse("nameserver 127.0.0.53\nnameserver ::1\nnameserver 8.8.8.8", "0.0.0.0:53", 16), "8.8.8.8:53 ");
	assert_string_equal(parse("nameserver 127.0.0.53\n", "10.0.0.1:53", 16), "127.0.0.53:53 ");
	assert_string_equal(parse("nameserver 0.0.0.0\nnameserver ::\n", NULL, 16), "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lines),
		cmocka_unit_test(zeros_and_length),
		cmocka_unit_test(own_addresses),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
