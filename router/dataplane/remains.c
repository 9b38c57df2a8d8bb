/* What `weft reset --force` does without a daemon. Each part has its own way to take away what it makes; here they are put in order: first what is noted on
 * the bridge, then the bridge. */
#include "router/dataplane/remains.h"

#include "router/dataplane/bridges.h"
#include "router/dataplane/link.h"
#include "router/dataplane/nft.h"

static enum err show_frames(const struct kernel *k, struct err_note *note)
{
	struct bridges *b = NULL;
	enum err err = bridges_open(&b, note);

	if (err == ERR_OK)
		err = bridges_show_again(bridges_hidden(b, kernel_bridge_name(k)), note);
	bridges_close(b);
	return err;
}

static void also(enum err *so_far, enum err err)
{
	if (*so_far == ERR_OK)
		*so_far = err;
}

enum err remains_remove(struct err_note *note)
{
	struct kernel *k = NULL;
	enum err err = kernel_open(NULL, &k, note);

	if (err != ERR_OK)
		return err;
	also(&err, show_frames(k, note));
	also(&err, link_reset_networks(k, err == ERR_OK ? note : NULL));
	also(&err, link_reset(k, err == ERR_OK ? note : NULL));
	also(&err, nft_remove(err == ERR_OK ? note : NULL));
	kernel_close(k);
	return err;
}
