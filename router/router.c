/* The loop around the core.
 *
 * Theory of operation. An event is handed to core_step; its actions go into a batch (batch.h) and take effect at once when nothing is to be
 * stored, else when the loop's turn is over and all that its steps persist has been committed in one transaction (on_turn: before the loop
 * looks for what is ready, and after it has dealt with that). Of each step everything but replies is done in the order given, replies last. A
 * reply's callback may submit again: that step takes effect after all that waited before it.
 * Should the transaction fail, nothing of its steps is done and the daemon ends (r->fatal): what it holds in memory is then ahead of
 * the disk, and nobody outside has seen it. Who shows the core's state to somebody outside other than by a step calls router_settle first.
 * What has to do with the data plane is in router_plane.c. */
#include "router/router.h"

#include <assert.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "noise/noise.h"
#include "router/api.h"
#include "router/dns_server.h"
#include "router/docker/containers.h"
#include "router/docker/plugin.h"
#include "router/events.h"
#include "router/expose.h"
#include "router/internal.h"
#include "router/verify.h"

enum { OPEN_FILES = 65536 };

static const char password_salt[crypto_pwhash_SALTBYTES + 1] = "weft control psk"; /* fixed: all hosts derive the same key */

/* One clock for all of the core, which goes on while the machine sleeps: leases on addresses do, too. */
uint64_t router_now_ms(const struct router *r)
{
	struct timespec t;

	(void)r;
	(void)clock_gettime(CLOCK_BOOTTIME, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* Which run of that clock this is; 0: nobody knows. Another time namespace has another clock. */
static uint64_t boot_identity(void)
{
	static const char *const files[] = { "/proc/sys/kernel/random/boot_id", "/proc/self/timens_offsets" };
	uint8_t text[512], hash[16];
	size_t n = 0;
	uint64_t id = 0;

	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		int fd = open(files[i], O_RDONLY | O_CLOEXEC);
		ssize_t got = fd >= 0 ? read(fd, text + n, 256) : -1;
		if (fd >= 0)
			(void)close(fd);
		if (got <= 0 && i == 0)
			return 0;
		n += got > 0 ? (size_t)got : 0;
	}
	(void)crypto_generichash(hash, sizeof(hash), text, n, NULL, 0);
	for (size_t i = 0; i < 8; i++)
		id = id << 8 | hash[i];
	return id | 1;
}

/* --- carrying out ----------------------------------------------------------------------------------------------------------------- */

static void die(struct router *r, const char *text)
{
	if (r->fatal[0] != '\0')
		return;
	(void)snprintf(r->fatal, sizeof(r->fatal), "%s", text);
	log_write(r->log, LOG_LEVEL_ERROR, "%s", text);
	uv_stop(r->loop);
}

static void say(struct router *r, const struct core_action *a)
{
	enum log_level level = (enum log_level)a->u.note.level;

	if (a->u.note.stranger)
		log_stranger(r->log, level, router_now_ms(r), "%s", a->u.note.text);
	else
		log_write(r->log, level, "%s", a->u.note.text);
}

static void act(void *ctx, const struct core_action *a)
{
	struct router *r = ctx;

	if (r->conns == NULL && (a->kind == CORE_DIAL || a->kind == CORE_SEND || a->kind == CORE_CLOSE))
		return; /* stopping */
	switch (a->kind) {
	case CORE_DIAL: conns_dial(r->conns, a->u.dial.conn, a->u.dial.host, a->u.dial.port); break;
	case CORE_SEND: conns_send(r->conns, a->u.send.conn, a->u.send.bytes); break;
	case CORE_CLOSE:
		log_write(r->log, LOG_LEVEL_DEBUG, "closing connection %llx: %s", (unsigned long long)a->u.close.conn,
			a->u.close.why != NULL ? a->u.close.why : "");
		conns_close(r->conns, a->u.close.conn);
		break;
	case CORE_FORWARDING: router_forwarding(r); break;
	case CORE_NOTE: say(r, a); break;
	case CORE_DATAGRAM_SEND: router_send_datagram(r, a); break;
	case CORE_PATH_CHANGED: router_event_path(r, a->u.path.peer, a->u.path.from, a->u.path.to, a->u.path.reason); break;
	case CORE_PERSIST:
	case CORE_REPLY: break; /* before and after */
	}
}

static void answer(void *router, const struct core_action *a)
{
	struct router *r = router;
	struct router_result res = {
		.err = a->u.reply.err, .text = a->u.reply.text, .addr = a->u.reply.result, .count = a->u.reply.count
	};
	struct request *q = map_del64(r->requests, a->u.reply.request);

	if (q == NULL)
		return;
	if (res.err != ERR_OK && res.text == NULL)
		res.text = err_text(res.err);
	router_done done = q->done;
	void *ctx = q->ctx;
	mem_free(q);
	if (done != NULL)
		done(ctx, &res);
}

static void on_timer(uv_timer_t *timer)
{
	struct router *r = timer->data;
	struct core_event ev = { .kind = CORE_TICK };

	router_run(r, &ev);
}

static void arm(struct router *r)
{
	uint64_t now = router_now_ms(r), at = core_deadline_ms(r->core);

	r->stepped = false;
	if (r->stopping)
		return;
	uv_update_time(r->loop);
	if (at == UINT64_MAX)
		(void)uv_timer_stop(&r->timer);
	else
		(void)uv_timer_start(&r->timer, on_timer, at > now ? at - now : 0, 0);
}

static void on_ready(void *ctx, const struct core_actions *steps, size_t n)
{
	router_before_datagrams(ctx, steps, n);
}

static void on_commit_failed(void *ctx, const char *why)
{
	die(ctx, why);
}

void router_settle(struct router *r)
{
	if (r->batch != NULL && r->fatal[0] == '\0')
		batch_flush(r->batch);
}

/* Twice a turn of the loop: nothing waits while it sleeps. */
static void end_turn(struct router *r)
{
	router_settle(r);
	if (r->stepped && r->fatal[0] == '\0') {
		router_event_reclaimed(r);
		arm(r);
	}
}

static void on_prepare(uv_prepare_t *handle)
{
	end_turn(handle->data);
}

static void on_check(uv_check_t *handle)
{
	end_turn(handle->data);
}

/* Whose answers are in the batch is not to be cancelled or answered otherwise. */
static void mark_answered(struct router *r, const struct core_actions *acts)
{
	for (size_t i = 0; i < acts->n; i++) {
		struct request *q = acts->v[i].kind == CORE_REPLY ? map_get64(r->requests, acts->v[i].u.reply.request) : NULL;
		if (q == NULL)
			continue;
		q->answered = true;
		q->err = acts->v[i].u.reply.err;
	}
}

/* The step's error; ERR_CLOSED: none is made any more. */
enum err router_run(struct router *r, const struct core_event *ev)
{
	struct core_event now = *ev;
	struct core_actions acts;

	if (r->fatal[0] != '\0')
		return ERR_CLOSED;
	if (batch_begin(r->batch, &acts) != ERR_OK) {
		die(r, "out of memory for what waits to be stored: stopping");
		return ERR_CLOSED;
	}
	now.now_ms = router_now_ms(r);
	enum err err = core_step(r->core, &now, &acts);
	r->steps++;
	r->stepped = true;
	if (err == ERR_STATE) {
		die(r, "out of memory for a record that has to be stored: stopping before anything follows from it");
		return err;
	}
	if (err != ERR_OK)
		log_write(r->log, LOG_LEVEL_ERROR, "a step of the core failed: %s", err_text(err));
	mark_answered(r, &acts);
	batch_add(r->batch, &acts);
	if (r->keeper != NULL && err == ERR_OK)
		docker_keeper_told(r->keeper, ev);
	return err;
}

/* --- connections ------------------------------------------------------------------------------------------------------------------- */

static void mesh(struct router *r, struct gossip_event *g)
{
	struct core_event ev = { .kind = CORE_MESH, .mesh = g };

	if (r->stopping)
		return;
	g->now_ms = router_now_ms(r);
	router_run(r, &ev);
}

static void on_opened(void *ctx, uint64_t conn, bool outbound, struct hostport remote, struct hostport local)
{
	struct gossip_event g = { .kind = GOSSIP_CONN_OPEN };

	g.u.open.conn = conn;
	g.u.open.outbound = outbound;
	g.u.open.remote = remote;
	g.u.open.local = local;
	randombytes_buf(g.u.open.entropy, sizeof(g.u.open.entropy));
	mesh(ctx, &g);
	sodium_memzero(g.u.open.entropy, sizeof(g.u.open.entropy));
}

static void on_data(void *ctx, uint64_t conn, struct slice bytes)
{
	struct gossip_event g = { .kind = GOSSIP_CONN_DATA };

	g.u.data.conn = conn;
	g.u.data.bytes = bytes;
	mesh(ctx, &g);
}

static void on_drained(void *ctx, uint64_t conn, size_t queued_bytes)
{
	struct gossip_event g = { .kind = GOSSIP_CONN_DRAINED };

	g.u.drained.conn = conn;
	g.u.drained.queued_bytes = queued_bytes;
	mesh(ctx, &g);
}

static void on_conn_closed(void *ctx, uint64_t conn, const char *why)
{
	struct gossip_event g = { .kind = GOSSIP_CONN_CLOSED };

	g.u.closed.conn = conn;
	g.u.closed.why = why;
	mesh(ctx, &g);
}

/* --- requests ---------------------------------------------------------------------------------------------------------------------- */

static uint64_t refuse(router_done done, void *ctx, enum err err, const char *text)
{
	struct router_result res = { .err = err, .text = text };

	done(ctx, &res);
	return 0;
}

static void answer_request(struct router *r, uint64_t number, enum err err, const char *text)
{
	struct core_action a = { .kind = CORE_REPLY, .u.reply = { .request = number, .err = err, .text = text } };

	answer(r, &a);
}

uint64_t router_submit(struct router *r, struct core_event *ev, router_done done, void *ctx)
{
	struct request *q;
	struct ipam_event copy;
	uint64_t number = r->next_request++;

	if (r->stopping || r->fatal[0] != '\0')
		return refuse(done, ctx, ERR_CLOSED, "the daemon is stopping");
	q = mem_zalloc(1, sizeof(*q));
	if (q == NULL || map_put64(r->requests, number, q, NULL) != ERR_OK) {
		mem_free(q);
		return refuse(done, ctx, ERR_NOMEM, "out of memory");
	}
	*q = (struct request){ .number = number, .done = done, .ctx = ctx, .ipam = ev->kind == CORE_IPAM };
	ev->request = number;
	if (ev->kind == CORE_IPAM) {
		copy = *ev->ipam;
		copy.request = number;
		ev->ipam = &copy;
	}
	enum err err = router_run(r, ev);
	if (ev->kind == CORE_IPAM)
		ev->ipam = NULL;
	/* Only addresses are waited for. Everything else has its answer, or will have it when that is durable, unless there was no memory for it. */
	q = map_get64(r->requests, number);
	if (q != NULL && !q->answered && (ev->kind != CORE_IPAM || err == ERR_NOMEM) && r->fatal[0] == '\0')
		answer_request(r, number, err, NULL);
	return map_get64(r->requests, number) != NULL ? number : 0;
}

void router_ignore(void *ctx, const struct router_result *res)
{
	(void)ctx;
	(void)res;
}

bool router_decided(const struct router *r, uint64_t request, enum err *err)
{
	const struct request *q = map_get64(r->requests, request);

	if (q == NULL || !q->answered)
		return false;
	*err = q->err;
	return true;
}

void router_cancel(struct router *r, uint64_t request)
{
	struct request *q;

	if (request == 0 || attach_cancel(r, request) || expose_cancel(r, request) || verify_cancel(r, request))
		return;
	q = map_del64(r->requests, request);
	if (q == NULL)
		return;
	bool ipam = q->ipam && !q->answered;
	mem_free(q);
	if (ipam && !r->stopping) {
		struct ipam_event cancel = { .kind = IPAM_CANCEL, .request = request };
		struct core_event ev = { .kind = CORE_IPAM, .ipam = &cancel };
		router_run(r, &ev);
	}
}

/* --- start -------------------------------------------------------------------------------------------------------------------------- */

static enum err open_store(struct router *r, struct err_note *note)
{
	enum err err = store_open(&r->store, r->opt->state_dir, note);
	struct batch_cfg cfg = {
		.store = r->store, .ctx = r, .ready = on_ready, .effect = act, .reply = answer, .failed = on_commit_failed
	};

	if (err == ERR_OK)
		err = batch_new(&r->batch, &cfg);
	if (err != ERR_OK)
		return err == ERR_NOMEM ? err_note(note, err, "out of memory") : err;
	err = identity_load(r->opt->state_dir, r->store, &r->id, note);
	if (err != ERR_OK)
		return err;
	(void)sodium_mlock(r->id.secret, sizeof(r->id.secret));
	if (r->opt->name != PEER_NONE)
		r->id.name = r->opt->name;
	if (r->id.cloned)
		log_write(r->log, LOG_LEVEL_WARNING,
			"the state in %s was made on another machine (a cloned image?): it is set aside, and this host has a new identity",
			r->opt->state_dir);
	return ERR_OK;
}

/* The password costs 64 MiB and some tenths of a second once, so that guessing costs that much a guess (Argon2id, RFC 9106). */
static enum err derive_psk(const char *password, uint8_t out[32], struct err_note *note)
{
	memset(out, 0, 32);
	if (password == NULL || password[0] == '\0')
		return ERR_OK;
	if (crypto_pwhash(out, 32, password, strlen(password), (const unsigned char *)password_salt,
			crypto_pwhash_OPSLIMIT_INTERACTIVE, crypto_pwhash_MEMLIMIT_INTERACTIVE, crypto_pwhash_ALG_ARGON2ID13) != 0)
		return err_note(
			note, ERR_NOMEM, "deriving the key from the password needs 64 MiB of memory, which this host does not have free");
	return ERR_OK;
}

static uint32_t ask_underlay_mtu(void *ctx, struct ip local)
{
	(void)ctx;
	return underlay_mtu_of(local);
}

static enum err no_records(void *ctx, struct slice key, struct slice value)
{
	bool *none = ctx;

	(void)key;
	(void)value;
	*none = false;
	return ERR_OK;
}

static enum err seeds_of(const struct options *o, uint64_t *out, struct err_note *note)
{
	for (size_t i = 0; i < o->n_seeds; i++)
		if (peer_parse(o->seeds[i], &out[i]) != ERR_OK)
			return err_note(note, ERR_USAGE,
				"--ipalloc-init seed=%.60s: a seed is given by its peer name, like 02:01:02:03:04:05 (weftd --print-peer-name shows it)",
				o->seeds[i]);
	return ERR_OK;
}

static enum err fill_gossip(struct router *r, struct gossip_cfg *g, struct err_note *note)
{
	const struct options *o = r->opt;
	struct ip addrs[GOSSIP_ADDRESSES_MAX];
	size_t n = underlay_addresses(addrs, GOSSIP_ADDRESSES_MAX);
	enum err err = identity_incarnation(r->store, &g->incarnation, note);

	if (err != ERR_OK)
		return err;
	g->self = r->id.name;
	g->nickname = o->nickname;
	g->version = WEFT_VERSION;
	memcpy(g->static_secret, r->id.secret, 32);
	g->n_psk = o->old_password != NULL ? 2 : 1;
	err = derive_psk(o->password, g->psk[0], note);
	if (err == ERR_OK && g->n_psk == 2)
		err = derive_psk(o->old_password, g->psk[1], note);
	randombytes_buf(&g->uid, sizeof(g->uid));
	randombytes_buf(&g->seed, sizeof(g->seed));
	g->port = o->port;
	if (o->host.family != 0) {
		addrs[0] = o->host;
		n = 1;
	}
	for (size_t i = 0; i < n; i++)
		g->addresses[i] = (struct hostport){ .ip = addrs[i], .port = o->port };
	g->n_addresses = n;
	g->discovery = !o->no_discovery;
	g->conn_limit = o->conn_limit;
	return err;
}

/* For tests, which cannot wait for a renewal: WEFT_REKEY_MS. 0: as usual. */
static uint64_t rekey_ms(void)
{
	const char *text = getenv("WEFT_REKEY_MS");
	char *end = NULL;
	unsigned long long ms = text != NULL ? strtoull(text, &end, 10) : 0;

	return text != NULL && end != text && *end == '\0' ? ms : 0;
}

static bool range_free(void *ctx, struct universe u)
{
	(void)ctx;
	return options_range_free((struct prefix){ ip_v4(u.first), u.len });
}

static enum err open_core(struct router *r, struct err_note *note)
{
	const struct options *o = r->opt;
	uint64_t seeds[OPTIONS_SEEDS_MAX];
	bool none = true;
	struct core_cfg cfg = {
		.ipam = o->ipam,
		.universe = { .first = o->ipam ? ip_to_v4(o->range.addr) : 0, .len = o->ipam ? o->range.len : 12 },
		.default_subnet = o->default_subnet.addr.family != 0 ? o->default_subnet : o->range,
		.range6 = o->range6,
		.init = o->init == INIT_SEED   ? IPAM_SEED
			: o->init == INIT_OBSERVER ? IPAM_OBSERVER
									   : IPAM_CONSENSUS,
		.consensus = o->consensus,
		.reclaim_after_ms = o->reclaim_after_ms,
		.boot = boot_identity(),
		.seeds = seeds,
		.range_free = range_free,
		.n_seeds = o->n_seeds,
		.names = !o->no_dns,
		.domain = o->dns_domain,
		.no_fallback = o->no_fallback,
		.require_encryption = o->require_encryption,
		.aes = noise_supported(NOISE_AESGCM),
		.rekey_ms = rekey_ms(),
		.underlay_mtu = ask_underlay_mtu,
	};
	enum err err = seeds_of(o, seeds, note);
	struct prefix ranges[CORE_AUTO_RANGES_MAX];

	if (o->range_auto)
		cfg.n_auto_ranges = options_auto_ranges(ranges, CORE_AUTO_RANGES_MAX);
	for (size_t i = 0; i < cfg.n_auto_ranges; i++)
		cfg.auto_ranges[i] = (struct universe){ ip_to_v4(ranges[i].addr), ranges[i].len };

	router_make_offer(r);
	cfg.offer = r->offer;
	randombytes_buf(cfg.random, sizeof(cfg.random));
	if (err == ERR_OK)
		err = fill_gossip(r, &cfg.gossip, note);
	if (err == ERR_OK && o->ipam)
		err = router_bring_back(r, cfg.universe, note);
	if (err == ERR_OK)
		err = store_each(r->store, "ipam/", no_records, &none, note);
	cfg.newborn = none && o->name == PEER_NONE && r->id.made; /* a new key's name has no former self */
	cfg.fresh_store = none && !cfg.newborn;
	if (err == ERR_OK)
		err = core_new(&r->core, &cfg, router_now_ms(r), note);
	sodium_memzero(&cfg.gossip, sizeof(cfg.gossip));
	sodium_memzero(cfg.random, sizeof(cfg.random));
	return err;
}

static enum err open_conns(struct router *r, struct err_note *note)
{
	static const struct conns_handlers handlers = { on_opened, on_data, on_drained, on_conn_closed };

	return conns_new(&r->conns, r->loop, r->opt->host, r->opt->port, &handlers, r, note);
}

static enum err start_core(struct router *r, struct err_note *note)
{
	struct core_actions acts;
	struct core_event connect = { .kind = CORE_CONNECT };

	enum err err = batch_begin(r->batch, &acts);
	if (err == ERR_OK)
		err = core_start(r->core, router_now_ms(r), r->opt->resume, &acts);
	if (err == ERR_OK)
		batch_add(r->batch, &acts);
	if (err != ERR_OK)
		return err_note(note, err, "the node does not start: %s", err_text(err));
	/* Without --resume the command line wins, and is then what is remembered. */
	connect.targets = (const char *const *)r->opt->peers;
	connect.n_targets = r->opt->n_peers;
	connect.replace = !r->opt->resume;
	router_run(r, &connect);
	router_settle(r);
	return r->fatal[0] == '\0' ? ERR_OK : err_note(note, ERR_IO, "%.250s", r->fatal);
}

static enum err make_parts(struct router *r, struct err_note *note)
{
	uint64_t seed;
	randombytes_buf(&seed, sizeof(seed));
	r->requests = map_new(seed);
	r->attaches = map_new(seed);
	r->namings = map_new(seed);
	r->exposing = map_new(seed);
	r->verifies = map_new(seed);
	r->gone = map_new(seed);
	r->log = log_new(2, r->opt->log_level, r->opt->log_json);
	if (r->requests == NULL || r->attaches == NULL || r->namings == NULL || r->exposing == NULL || r->verifies == NULL ||
		r->gone == NULL || r->log == NULL)
		return err_note(note, ERR_NOMEM, "out of memory");
	(void)uv_timer_init(r->loop, &r->timer);
	(void)uv_timer_init(r->loop, &r->forwarding);
	(void)uv_timer_init(r->loop, &r->check);
	(void)uv_timer_init(r->loop, &r->tick);
	(void)uv_timer_init(r->loop, &r->late);
	(void)uv_prepare_init(r->loop, &r->before_poll);
	(void)uv_check_init(r->loop, &r->after_poll);
	r->timer.data = r->forwarding.data = r->check.data = r->tick.data = r->late.data = r;
	r->before_poll.data = r->after_poll.data = r;
	(void)uv_prepare_start(&r->before_poll, on_prepare);
	(void)uv_check_start(&r->after_poll, on_check);
	r->timer_open = true;
	return ERR_OK;
}

static void say_what_is_not_plain(struct router *r)
{
	if (r->opt->range6.addr.family != 0 && core_ipam(r->core) != NULL && r->opt->range6.len > 96u + core_universe(r->core).len)
		log_write(r->log, LOG_LEVEL_WARNING,
			"--ipalloc-range6 is smaller than the range of IPv4 addresses (/%u): containers get no IPv6 addresses; give at most /%u",
			core_universe(r->core).len, 96u + core_universe(r->core).len);
	if (r->opt->password != NULL)
		log_write(r->log, LOG_LEVEL_INFO, "with a password, containers' traffic to other hosts is sealed%s",
			r->opt->n_trusted > 0 && !r->opt->require_encryption ? ", but for those in trusted subnets that trust us" : "");
}

void router_limits(void)
{
	struct rlimit files;

	if (getrlimit(RLIMIT_NOFILE, &files) != 0 || files.rlim_cur >= OPEN_FILES)
		return;
	files.rlim_cur = files.rlim_max < OPEN_FILES ? files.rlim_max : OPEN_FILES;
	(void)setrlimit(RLIMIT_NOFILE, &files); /* without it fewer links and clients are possible: each is refused with its reason */
}

enum err router_start(struct router **out, uv_loop_t *loop, const struct options *opt, struct err_note *note)
{
	struct router *r = mem_zalloc(1, sizeof(*r));
	struct timespec wall;

	if (r == NULL)
		return err_note(note, ERR_NOMEM, "out of memory");
	*out = r; /* the caller stops and frees it also after an error */
	r->loop = loop;
	r->opt = opt;
	r->next_request = 1;
	r->links_fd = -1;
	r->started_ms = router_now_ms(r);
	(void)clock_gettime(CLOCK_REALTIME, &wall);
	r->wall_base_ms = (uint64_t)wall.tv_sec * 1000 + (uint64_t)wall.tv_nsec / 1000000 - r->started_ms;
	enum err err = make_parts(r, note);
	if (err == ERR_OK)
		err = open_store(r, note);
	if (err == ERR_OK)
		err = open_conns(r, note); /* an early no to a second daemon in this namespace */
	if (err == ERR_OK)
		err = open_core(r, note);
	if (err == ERR_OK)
		err = router_restore(r, note);
	if (err == ERR_OK)
		err = router_open_plane(r, note);
	if (err == ERR_OK)
		err = start_core(r, note);
	if (err == ERR_OK)
		err = router_watch_plane(r, note);
	if (err == ERR_OK)
		err = expose_restore(r, note);
	if (err == ERR_OK)
		err = attach_reconcile(r, note);
	if (err == ERR_OK)
		err = router_open_dns(r, note);
	if (err == ERR_OK)
		err = api_start(&r->api, r, note);
	if (err == ERR_OK && opt->docker_host[0] != '\0')
		err = docker_keeper_start(&r->keeper, r, note);
	if (err == ERR_OK)
		err = plugin_start(&r->plugin, r, note);
	if (err != ERR_OK)
		return err;
	router_settle(r);
	say_what_is_not_plain(r);
	attach_watch(r);
	router_forwarding(r);
	char name[PEER_TEXT];
	log_write(r->log, LOG_LEVEL_INFO, "weft %s runs as %s(%s) on port %u, %zu peers to connect to", WEFT_VERSION,
		peer_format(r->id.name, name), opt->nickname, opt->port, opt->n_peers);
	return ERR_OK;
}

/* --- stop --------------------------------------------------------------------------------------------------------------------------- */

static void part_closed(void *ctx)
{
	struct router *r = ctx;

	if (--r->closing == 0 && r->stopped != NULL)
		r->stopped(r->stopped_ctx);
}

static void on_handle_closed(uv_handle_t *h)
{
	part_closed(h->data);
}

static void close_part(struct router *r, uv_handle_t *h)
{
	r->closing++;
	uv_close(h, on_handle_closed);
}

/* What still waits gets its answer while there is someone to give it to. An answer may make its asker cancel or ask more, so each round
 * starts anew; what it asks is refused. */
static void end_requests(struct router *r)
{
	const char *text = r->fatal[0] != '\0' ? r->fatal : "the daemon is stopping";
	struct slice key;
	void *value;

	verify_end_all(r);
	if (r->attaches != NULL)
		attach_end_all(r, ERR_CLOSED, text);
	if (r->exposing != NULL)
		expose_end_all(r, ERR_CLOSED, text);
	for (size_t at = 0; r->requests != NULL && map_next(r->requests, &at, &key, &value); at = 0) {
		const struct request *q = value;
		answer_request(r, q->number, ERR_CLOSED, text);
	}
}

void router_stop(struct router *r, void (*done)(void *ctx), void *ctx)
{
	struct core_event bye = { .kind = CORE_STOP };

	r->stopped = done;
	r->stopped_ctx = ctx;
	router_settle(r);
	end_requests(r);
	if (r->core != NULL && r->api != NULL)
		router_run(r, &bye);
	router_settle(r);
	r->stopping = true;
	end_requests(r); /* those that answers of the first round have made */
	r->closing = 1;
	if (r->timer_open) {
		close_part(r, (uv_handle_t *)&r->timer);
		close_part(r, (uv_handle_t *)&r->forwarding);
		close_part(r, (uv_handle_t *)&r->check);
		close_part(r, (uv_handle_t *)&r->tick);
		close_part(r, (uv_handle_t *)&r->late);
		close_part(r, (uv_handle_t *)&r->before_poll);
		close_part(r, (uv_handle_t *)&r->after_poll);
	}
	if (r->plane_open)
		close_part(r, (uv_handle_t *)&r->plane_poll);
	if (r->links_open)
		close_part(r, (uv_handle_t *)&r->links);
	if (r->api != NULL) {
		r->closing++;
		api_stop(r->api, part_closed, r);
		r->api = NULL;
	}
	if (r->plugin != NULL) { /* it asks Docker, so before that */
		r->closing++;
		plugin_stop(r->plugin, part_closed, r);
		r->plugin = NULL;
	}
	if (r->keeper != NULL) {
		r->closing++;
		docker_keeper_stop(r->keeper, part_closed, r);
		r->keeper = NULL;
	}
	resolvers_end(r);
	if (r->dns != NULL) {
		r->closing++;
		dns_server_stop(r->dns, part_closed, r);
		r->dns = NULL;
	}
	if (r->conns != NULL) {
		r->closing++;
		struct conns *conns = r->conns;
		r->conns = NULL;
		conns_free(conns, part_closed, r);
	}
	part_closed(r);
}

void router_free(struct router *r)
{
	struct slice key;
	void *value;

	if (r == NULL)
		return;
	attach_free(r);
	expose_free(r);
	if (r->requests != NULL)
		for (size_t at = 0; map_next(r->requests, &at, &key, &value);)
			mem_free(value);
	map_free(r->requests);
	map_free(r->attaches);
	map_free(r->verifies);
	plane_close(r->plane);
	mem_free(r->late_v);
	core_free(r->core);
	batch_free(r->batch);
	store_close(r->store);
	sodium_munlock(r->id.secret, sizeof(r->id.secret));
	log_free(r->log);
	mem_free(r);
}
