/* Any text as the daemon's configuration file: refused with one line that names the file, or taken, and then the options are within
 * what the rest of the daemon relies on. */
#include <assert.h>
#include <string.h>

#include "router/options.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct options *o)
{
	char text[PREFIX_TEXT];

	assert(o->port > 0 && o->port < 65535);
	assert(o->nickname[0] != '\0' && strpbrk(o->nickname, " \n(),") == NULL);
	assert(o->n_peers <= OPTIONS_PEERS_MAX && o->n_seeds <= OPTIONS_SEEDS_MAX && o->n_trusted <= OPTIONS_NETS_MAX);
	assert(o->n_dns_listen <= OPTIONS_LISTEN_MAX);
	assert(o->state_dir[0] != '\0' && strlen(o->socket) < 108 && o->dns_domain[0] != '\0');
	if (o->ipam && !o->range_auto) {
		assert(o->range.addr.family == 4 && o->range.len >= 8 && o->range.len <= 30 && prefix_is_network(o->range));
		assert(prefix_format(o->range, text) == text);
	}
	if (o->init_given && o->init == INIT_SEED)
		assert(o->n_seeds > 0);
	for (size_t i = 0; i < o->n_peers; i++)
		assert(o->peers[i][0] != '\0');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char routes[] = "x\neth7\t0000280A\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n";
	struct options o;
	struct err_note note = { "" };

	if (memmem(data, size, "-file", 5) != NULL)
		return 0; /* a password's file would be opened: any device, any pipe */
	enum err err = options_defaults(&o, &note);
	assert(err == ERR_OK);
	err = options_parse_file(&o, "the-file", slice_of(data, size), &note);
	if (err == ERR_OK) {
		check(&o);
		err = options_check(&o, &note);
		if (err == ERR_OK)
			err = options_settle_range_over(&o, slice_str(routes), &note);
		assert(err == ERR_OK || note.text[0] != '\0');
		err = options_settle_range_over(&o, slice_of(data, size), &note);
		assert(err == ERR_OK || note.text[0] != '\0');
	} else {
		assert(strstr(note.text, "the-file:") != NULL && strchr(note.text, '\n') == NULL);
	}
	options_free(&o);
	return 0;
}
