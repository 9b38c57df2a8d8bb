/* What a container runtime says: bytes are command, container id, netns, interface and CNI_ARGS, a line each, and then stdin. */
#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "cmd/weft_cni.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char words[5][256];
	struct cni_conf c;
	struct cni_error e;

	for (size_t i = 0; i < 5; i++) {
		const uint8_t *end = memchr(data, '\n', size);
		size_t n = end != NULL ? (size_t)(end - data) : size;
		(void)snprintf(words[i], sizeof(words[i]), "%.*s", (int)(n < 255 ? n : 255), (const char *)data);
		size_t used = end != NULL ? n + 1 : n;
		data += used;
		size -= used;
	}
	struct cni_env env = { words[0], words[1], words[2], words[3], words[4], "/p", NULL };
	int code = cni_conf_parse(&c, &env, (const char *)data, size, &e);
	assert(code == e.code && (code == CNI_OK || e.msg[0] != '\0'));
	if (code == CNI_OK && c.command != CNI_VERSION) {
		assert(c.name != NULL && c.n_ips <= CNI_IPS_MAX && c.n_routes <= CNI_ROUTES_MAX && c.n_aliases <= CNI_ALIASES_MAX);
		assert(c.ipam == NULL || strchr(c.ipam, '/') == NULL);
		assert(strlen(c.ident) <= CNI_IDENT_MAX);
	}
	cni_conf_free(&c);
	return 0;
}
