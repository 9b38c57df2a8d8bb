#include "router/docker/containers.h"

#include "base/mem.h"
#include "router/docker/inspect.h"

struct docker_keeper {
	struct router *r;
	struct docker *docker;
	void (*stopped)(void *ctx);
	void *stopped_ctx;
};

static void ignore(void *ctx, const struct router_result *res)
{
	(void)ctx;
	(void)res;
}

static void on_connected(void *ctx)
{
	(void)ctx;
}

static void on_event(void *ctx, const struct docker_event *e)
{
	struct docker_keeper *k = ctx;

	if (e->kind == DOCKER_CONTAINER_DIE) {
		struct core_event names = { .kind = CORE_NAME_DELETE, .ident = e->id };
		(void)router_submit(k->r, &names, ignore, NULL);
	}
}

static void on_lost(void *ctx)
{
	(void)ctx;
}

enum err docker_keeper_start(struct docker_keeper **out, struct router *r, struct err_note *note)
{
	struct docker_keeper *k = mem_zalloc(1, sizeof(*k));
	struct docker_cfg cfg = {
		.loop = router_loop(r),
		.host = router_options(r)->docker_host,
		.log = router_log(r),
		.seed = router_now_ms(r),
		.connected = on_connected,
		.event = on_event,
		.lost = on_lost,
		.ctx = k,
	};

	if (k == NULL)
		return err_note(note, ERR_NOMEM, "out of memory");
	k->r = r;
	enum err err = docker_open(&k->docker, &cfg, note);
	if (err != ERR_OK) {
		mem_free(k);
		return err;
	}
	*out = k;
	return ERR_OK;
}

static void on_closed(void *ctx)
{
	struct docker_keeper *k = ctx;
	void (*stopped)(void *) = k->stopped;
	void *stopped_ctx = k->stopped_ctx;

	mem_free(k);
	stopped(stopped_ctx);
}

void docker_keeper_stop(struct docker_keeper *k, void (*stopped)(void *ctx), void *ctx)
{
	k->stopped = stopped;
	k->stopped_ctx = ctx;
	docker_close(k->docker, on_closed, k);
}

struct docker *docker_keeper_docker(const struct docker_keeper *k)
{
	return k->docker;
}
