/* Any document as a request to attach or detach: what is read can be written, and reads the same. */
#include <assert.h>
#include <stddef.h>
#include <string.h>

#include "router/attach_request.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct attach_asked asked, again;
	struct err_note note = { "" };
	json_t *doc = json_loadb((const char *)data, size, JSON_REJECT_DUPLICATES, NULL);

	if (attach_request_read(&asked, doc, true, &note) != ERR_OK) {
		assert(note.text[0] != '\0');
		json_decref(doc);
		return 0;
	}
	json_t *out = attach_request_write(&asked.req);
	assert(out != NULL && attach_request_read(&again, out, true, &note) == ERR_OK);
	json_t *twice = attach_request_write(&again.req);
	assert(json_equal(out, twice) && again.req.n_addrs == asked.req.n_addrs && again.req.n_routes == asked.req.n_routes &&
		again.req.n_hosts == asked.req.n_hosts && strcmp(again.req.container, asked.req.container) == 0);
	json_decref(twice);
	json_decref(out);
	json_decref(doc);
	return 0;
}
