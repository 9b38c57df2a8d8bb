/* What dockerd asks of the plugin: the first byte says which request, the rest is its body. What is taken must be within its bounds and plain text; ids of pools that
 * are understood are written back as they were. */
#include <assert.h>
#include <string.h>

#include "router/docker/inspect.h"
#include "router/docker/plugin_request.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool plain(const char *text)
{
	return core_text_ok(slice_str(text));
}

static void pool_id(const char *text)
{
	struct plugin_pool_id id;
	char again[PLUGIN_POOL_ID_MAX + 1];

	if (plugin_pool_id_parse(text, &id) != ERR_OK)
		return;
	plugin_pool_id_format(&id, again);
	assert(strcmp(again, text) == 0);
}

static void look(const json_t *body, uint8_t which)
{
	struct err_note note = { "" };
	union {
		struct plugin_pool_request pool;
		struct plugin_address_request address;
		struct plugin_network_request network;
		struct plugin_endpoint_request endpoint;
	} u;
	enum err err = ERR_OK;

	switch (which % 7) {
	case 0:
		err = plugin_parse_pool(body, &u.pool, &note);
		assert(err != ERR_OK || (plain(u.pool.space) && (u.pool.pool.addr.family != 0 || u.pool.sub.addr.family == 0)));
		break;
	case 1:
	case 2:
		err = plugin_parse_address(body, which % 7 == 1, &u.address, &note);
		assert(err != ERR_OK || (plain(u.address.pool) && u.address.pool[0] != '\0'));
		if (err == ERR_OK)
			pool_id(u.address.pool);
		break;
	case 3:
	case 4:
		err = plugin_parse_network(body, which % 7 == 4, &u.network, &note);
		assert(err != ERR_OK || (docker_id_ok(u.network.id) && u.network.n_subnets <= 2 * PLUGIN_POOLS_MAX));
		assert(err != ERR_OK || u.network.options.mtu == 0 || u.network.options.mtu >= PLUGIN_MTU_MIN);
		break;
	case 5:
		err = plugin_parse_endpoint(body, &u.endpoint, &note);
		assert(
			err != ERR_OK || (docker_id_ok(u.endpoint.network) && docker_id_ok(u.endpoint.id) && !mac_is_group(u.endpoint.mac)));
		break;
	default: err = plugin_parse_discovery(body, &note); break;
	}
	assert(err == ERR_OK || (err == ERR_USAGE && note.text[0] != '\0' && strlen(note.text) < sizeof(note.text)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct err_note note = { "" };
	json_t *body;

	if (size == 0 || plugin_parse_body(slice_of(data + 1, size - 1), &body, &note) != ERR_OK)
		return 0;
	look(body, data[0]);
	json_decref(body);
	return 0;
}
