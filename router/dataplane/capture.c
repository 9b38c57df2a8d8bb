#include "router/dataplane/capture.h"

#include <assert.h>

#include "base/mem.h"

static enum err try(const struct capture_ops *ops, const char *name, unsigned queues, struct capture **out, struct err_note *note)
{
	struct capture *c = mem_zalloc(1, sizeof *c);
	if (!c)
		return err_note(note, ERR_NOMEM, "out of memory");
	c->ops = ops;
	enum err e = ops->open(c, name, queues, note);
	if (e != ERR_OK) {
		mem_free(c);
		return e;
	}
	*out = c;
	return ERR_OK;
}

enum err capture_open(enum capture_kind wanted, const char *name, unsigned queues, struct capture **out, struct err_note *note)
{
	assert(queues >= 1 && queues <= CAPTURE_QUEUES_MAX);
	enum err e = ERR_UNSUPPORTED;
	if (wanted != CAPTURE_PCAP)
		e = try(&capture_tap, name, queues, out, note);
	if (wanted == CAPTURE_PCAP || (wanted == CAPTURE_AUTO && e == ERR_UNSUPPORTED))
		e = try(&capture_pcap, name, queues, out, note);
	return e;
}

void capture_close(struct capture *c)
{
	if (!c)
		return;
	c->ops->close(c);
	mem_free(c);
}
