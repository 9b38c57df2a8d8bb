/* A result of another plugin: what is taken from it is the same after it was written and read again. */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "cmd/weft_cni.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	json_t *doc = json_loadb((const char *)data, size, 0, NULL);
	struct cni_result r, again;
	struct cni_error e;

	if (doc != NULL && cni_result_parse(doc, &r, &e) == CNI_OK) {
		json_t *text = cni_result_json(&r, CNI_1_1_0, NULL);
		assert(text != NULL);
		int code = cni_result_parse(text, &again, &e);
		assert(code == CNI_OK);
		assert(again.n_ips == r.n_ips && again.n_ifaces == r.n_ifaces && again.n_routes == r.n_routes);
		for (size_t i = 0; i < r.n_ips; i++)
			assert(prefix_eq(r.ips[i].addr, again.ips[i].addr) && ip_eq(r.ips[i].gw, again.ips[i].gw));
		json_decref(text);
	}
	json_decref(doc);
	return 0;
}
