/* `weft reset`: the address space is handed over, then everything of ours leaves the kernel and the store. */
#include "base/mem.h"
#include "router/internal.h"

struct reset_ctx {
	struct router *r;
	router_done done;
	void *ctx;
};

static void on_handed_over(void *ctx, const struct router_result *res)
{
	struct reset_ctx *x = ctx;
	struct router *r = x->r;
	struct router_result out = *res;
	struct err_note note = { "" };
	enum err err;

	if (res->err != ERR_OK) { /* nothing was given away, so nothing is removed */
		x->done(x->ctx, res);
		mem_free(x);
		return;
	}
	if (res->text != NULL)
		log_write(r->log, LOG_LEVEL_WARNING, "reset: %s", res->text);
	err = r->plane != NULL ? plane_reset(r->plane, &note) : ERR_OK;
	if (err == ERR_OK)
		err = store_erase(r->store, &note);
	r->erased = err == ERR_OK;
	if (r->erased)
		batch_store_no_more(r->batch); /* what other hosts say until the end must not be written into the empty store */
	if (err != ERR_OK) {
		out.err = err;
		out.text = note.text;
	}
	x->done(x->ctx, &out);
	mem_free(x);
}

uint64_t router_reset(struct router *r, router_done done, void *ctx)
{
	struct reset_ctx *x = mem_alloc(sizeof(*x));
	struct router_result res = { .err = ERR_NOMEM, .text = "out of memory" };
	struct ipam_event give = { .kind = IPAM_HANDOVER };
	struct core_event ev = { .kind = CORE_IPAM, .ipam = &give };

	if (x == NULL) {
		done(ctx, &res);
		return 0;
	}
	*x = (struct reset_ctx){ r, done, ctx };
	if (core_ipam(r->core) == NULL) {
		res.err = ERR_OK;
		on_handed_over(x, &res);
		return 0;
	}
	(void)router_submit(r, &ev, on_handed_over, x);
	return 0; /* a reset is not taken back when its asker goes */
}
