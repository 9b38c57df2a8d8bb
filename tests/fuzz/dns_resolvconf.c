/* Any text: at most as many servers as asked for, all on port 53, none twice, none of our own. Written out they parse to the same. */
#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "dns/resolvconf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { SERVERS = 8 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct hostport own[2], out[SERVERS], again[SERVERS];
	char text[SERVERS * (IP_TEXT + 16)] = "";

	assert(hostport_parse("0.0.0.0:53", 53, &own[0]) == ERR_OK && hostport_parse("10.0.0.1:53", 53, &own[1]) == ERR_OK);
	size_t n = dns_resolvconf_parse(slice_of(data, size), own, 2, out, SERVERS);
	assert(n <= SERVERS);
	for (size_t i = 0; i < n; i++) {
		char ip[IP_TEXT];
		assert(out[i].port == 53 && out[i].ip.family != 0 && !ip_eq(out[i].ip, own[1].ip));
		assert(out[i].ip.family == 6 || out[i].ip.b[0] != 127);
		for (size_t k = 0; k < i; k++)
			assert(!hostport_eq(out[i], out[k]));
		size_t at = strlen(text);
		(void)snprintf(text + at, sizeof(text) - at, "nameserver %s\n", ip_format(out[i].ip, ip));
	}
	assert(dns_resolvconf_parse(slice_str(text), own, 2, again, SERVERS) == n);
	for (size_t i = 0; i < n; i++)
		assert(hostport_eq(out[i], again[i]));
	return 0;
}
