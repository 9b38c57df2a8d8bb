/* weftd: options, the loop, signals, systemd. Everything else is in router/. */
#include <errno.h>
#include <linux/capability.h>
#include <malloc.h>
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <uv.h>

#include "notify.h"
#include "router/identity.h"
#include "router/options.h"
#include "router/router.h"
#include "router/store.h"

enum { EXIT_REFUSED = 1, EXIT_WRONG_USAGE = 2 };
enum { TRIM_ABOVE = 64 << 10, MAP_ABOVE = 32 << 10 };

struct daemon {
	uv_loop_t loop;
	uv_signal_t term, interrupt;
	uv_timer_t watchdog;
	struct router *router;
	bool stopping;
};

static int fail(int code, const struct err_note *note)
{
	(void)fprintf(stderr, "weftd: %s\n", note->text);
	return code;
}

/* A password on the command line is seen by every user of the host in ps; at least not for longer than it takes to read it. */
static void hide_passwords(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--password") == 0 && i + 1 < argc)
			sodium_memzero(argv[i + 1], strlen(argv[i + 1]));
		else if (strncmp(argv[i], "--password=", 11) == 0)
			sodium_memzero(argv[i] + 11, strlen(argv[i] + 11));
	}
	(void)unsetenv("WEFT_PASSWORD");
}

static enum err need_privilege(struct err_note *note)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2] = { { 0 }, { 0 } };

	if (syscall(SYS_capget, &head, data) == 0 && (data[0].effective & (1u << CAP_NET_ADMIN)) != 0)
		return ERR_OK;
	return err_note(note, ERR_PERMISSION, "no permission to configure the network: needs CAP_NET_ADMIN; start it as root");
}

static int print_peer_name(const struct options *o)
{
	struct err_note note = { "" };
	struct store *store = NULL;
	struct identity id = { .name = o->name };
	char text[PEER_TEXT];
	enum err err = ERR_OK;

	if (o->name == PEER_NONE) {
		err = store_open(&store, o->state_dir, &note);
		if (err == ERR_OK)
			err = identity_load(o->state_dir, store, &id, &note);
		sodium_memzero(id.secret, sizeof(id.secret));
		store_close(store);
	}
	if (err != ERR_OK)
		return fail(EXIT_REFUSED, &note);
	(void)printf("%s\n", peer_format(id.name, text));
	return 0;
}

/* --- the loop ----------------------------------------------------------------------------------------------------------------------- */

static void on_watchdog(uv_timer_t *timer)
{
	(void)timer;
	notify_send("WATCHDOG=1");
}

static void close_own_handles(struct daemon *d)
{
	uv_close((uv_handle_t *)&d->term, NULL);
	uv_close((uv_handle_t *)&d->interrupt, NULL);
	uv_close((uv_handle_t *)&d->watchdog, NULL);
}

static void on_stopped(void *ctx)
{
	close_own_handles(ctx);
}

static void stop(struct daemon *d)
{
	d->stopping = true;
	notify_send("STOPPING=1");
	router_stop(d->router, on_stopped, d);
}

static void on_signal(uv_signal_t *handle, int signum)
{
	struct daemon *d = handle->data;

	if (d->stopping)
		_exit(128 + signum); /* a second one: whoever sends it does not want to wait */
	stop(d);
}

static int open_loop(struct daemon *d, struct err_note *note)
{
	uint64_t every_ms = notify_watchdog_ms();
	int e = uv_loop_init(&d->loop);

	if (e == 0)
		e = uv_signal_init(&d->loop, &d->term);
	if (e == 0)
		e = uv_signal_init(&d->loop, &d->interrupt);
	if (e == 0)
		e = uv_timer_init(&d->loop, &d->watchdog);
	d->term.data = d->interrupt.data = d->watchdog.data = d;
	if (e == 0)
		e = uv_signal_start(&d->term, on_signal, SIGTERM);
	if (e == 0)
		e = uv_signal_start(&d->interrupt, on_signal, SIGINT);
	if (e == 0 && every_ms > 0)
		e = uv_timer_start(&d->watchdog, on_watchdog, every_ms, every_ms);
	if (e != 0)
		(void)err_note(note, ERR_SYSTEM, "the event loop does not start: %s", uv_strerror(e));
	return e;
}

static int run(const struct options *o)
{
	struct daemon d = { .stopping = false };
	struct err_note note = { "" };
	int code = 0;

	if (open_loop(&d, &note) != 0)
		return fail(EXIT_REFUSED, &note); /* a process without a loop has nothing to put in order */
	enum err err = router_start(&d.router, &d.loop, o, &note);
	bool fatal = d.router != NULL && router_fatal(d.router) != NULL; /* which it has logged */
	if (err == ERR_OK && !fatal) {
		(void)malloc_trim(0); /* what starting needed once, an idle daemon does not */
		notify_send("READY=1");
		(void)uv_run(&d.loop, UV_RUN_DEFAULT);
	} else if (!fatal) {
		code = fail(EXIT_REFUSED, &note);
	}
	if (d.router == NULL)
		close_own_handles(&d);
	else if (!d.stopping)
		stop(&d); /* it could not start, or cannot go on */
	while (uv_run(&d.loop, UV_RUN_DEFAULT) != 0) {
	}
	if (d.router != NULL && router_fatal(d.router) != NULL)
		code = EXIT_REFUSED;
	router_free(d.router);
	if (uv_loop_close(&d.loop) != 0) {
		(void)fprintf(stderr, "weftd: a handle was left open at the end\n");
		return EXIT_REFUSED;
	}
	return code;
}

static enum err prepare(struct options *o, struct err_note *note)
{
	struct sigaction ignore = { .sa_handler = SIG_IGN };

	(void)sigaction(SIGPIPE, &ignore, NULL);
	(void)umask(0077);
	router_limits();
	(void)setenv("UV_THREADPOOL_SIZE", "1", 1); /* it resolves host names, nothing else */
	if (getenv("WEFT_DEBUG_DUMPABLE") == NULL)
		(void)prctl(PR_SET_DUMPABLE, 0); /* keys belong into no core file */
	if (sodium_init() < 0)
		return err_note(note, ERR_SYSTEM, "libsodium does not start: no source of random numbers");
	return o->action == OPTIONS_RUN ? need_privilege(note) : ERR_OK;
}

int main(int argc, char **argv)
{
	struct options o;
	struct err_note note = { "" };
	int code = 0;

	/* One arena, given back early: some MB that an idle daemon would hold otherwise. Buffers get pages of their own, which cost nothing until
	 * they are written to. */
	(void)mallopt(M_ARENA_MAX, 1);
	(void)mallopt(M_TRIM_THRESHOLD, TRIM_ABOVE);
	(void)mallopt(M_MMAP_THRESHOLD, MAP_ABOVE);
	enum err err = options_parse(&o, argc, argv, environ, &note);
	if (err != ERR_OK)
		return fail(err == ERR_USAGE ? EXIT_WRONG_USAGE : EXIT_REFUSED, &note);
	hide_passwords(argc, argv);
	switch (o.action) {
	case OPTIONS_VERSION: (void)puts("weft " WEFT_VERSION); break;
	case OPTIONS_HELP: (void)fputs(options_help(), stdout); break;
	case OPTIONS_CHECK: (void)puts("the options are right"); break;
	case OPTIONS_PRINT_PEER_NAME:
	case OPTIONS_RUN:
		err = prepare(&o, &note);
		if (err == ERR_OK && o.action == OPTIONS_RUN && o.ipam && o.range_auto)
			err = router_stored_range(o.state_dir, &o.range_stored, &note);
		if (err == ERR_OK && o.action == OPTIONS_RUN)
			err = options_settle_range(&o, &note);
		if (err != ERR_OK)
			code = fail(EXIT_REFUSED, &note);
		else
			code = o.action == OPTIONS_RUN ? run(&o) : print_peer_name(&o);
		break;
	}
	options_free(&o);
	return code;
}
