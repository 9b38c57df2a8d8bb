/* A host that dies at every point that matters, with the store it really has.
 *
 * Three whole cores under simulated time. The first has its state in a directory: identity, store and the batch that commits, as in the daemon.
 * It goes through a fixed story: addresses are asked for and claimed, space comes from others and goes to others, a host dies and is
 * removed, the host leaves. Points are: before each commit, after it, and before each thing that leaves the host in a step that has stored
 * something (a reply, bytes on a connection). The story is told once to count them, and then once for each: there the host is killed; it
 * is started again from its directory, and goes on. Whatever was answered before must hold, and no address may be with two. */
#include "tests/unit/core/nodes.h"

#include "ipam/ipam.h"
#include "router/batch.h"
#include "router/identity.h"
#include "router/store.h"
#include "tests/unit/router/dir.h"

enum { IDENTS = 40, CLAIMED_OWN = 0x0a200004, CLAIMED_THEIRS = 0x0a20003a, LEN = 26 };

struct story {
	struct nodes t;
	struct dir dir;
	struct store *store;
	struct batch *batch;
	uint64_t name; /* of the identity, from the first start */
	uint8_t secret[32];
	size_t points, die_at; /* 0: never */
	bool dead, stored;     /* stored: by the steps that take effect now */
	size_t deaths;
	size_t width, made; /* so many steps share a commit */
	uint64_t asked;     /* the request whose reply is waited for */
	bool answered;
	enum err err;
	struct prefix got;
	/* What was answered, and so has to hold: the address of each ident of host 0. */
	struct prefix has[IDENTS];
	bool freed[IDENTS], left;
};

static struct story *S; /* the batch's and the linker's calls have no context of ours */

/* --- points ------------------------------------------------------------------------------------------------------------------------ */

/* Is the host to die here? */
static bool point(void)
{
	if (S->dead)
		return true;
	if (++S->points != S->die_at)
		return false;
	S->dead = true;
	S->deaths++;
	return true;
}

enum err __real_store_commit(struct store *s, struct err_note *note);
enum err __wrap_store_commit(struct store *s, struct err_note *note);

enum err __wrap_store_commit(struct store *s, struct err_note *note)
{
	if (S == NULL || S->store != s || S->batch == NULL)
		return __real_store_commit(s, note);
	if (point()) {
		store_abort(s);
		return err_note(note, ERR_IO, "dead");
	}
	enum err err = __real_store_commit(s, note);
	S->stored = true;
	(void)point();
	return err;
}

/* --- host 0 ------------------------------------------------------------------------------------------------------------------------ */

static void on_ready(void *ctx, const struct core_actions *steps, size_t n)
{
	(void)ctx;
	(void)steps;
	(void)n;
}

static void on_effect(void *ctx, const struct core_action *a)
{
	struct story *s = ctx;

	if (s->dead || (a->kind == CORE_SEND && s->stored && point()))
		return;
	nodes_act(&s->t, 0, a);
}

static void on_reply(void *ctx, const struct core_action *a)
{
	struct story *s = ctx;

	if (s->dead || (s->stored && point()))
		return;
	if (a->u.reply.request != s->asked)
		return;
	s->answered = true;
	s->err = a->u.reply.err;
	s->got = a->u.reply.result;
}

static void on_failed(void *ctx, const char *why)
{
	struct story *s = ctx;

	if (!s->dead)
		fail_msg("the store fails: %s", why);
}

static void bury(struct story *s)
{
	nodes_kill(&s->t, 0);
	batch_free(s->batch);
	s->batch = NULL;
	store_close(s->store);
	s->store = NULL;
}

static void flush(struct story *s)
{
	s->stored = false;
	batch_flush(s->batch);
	s->stored = false;
	if (s->dead)
		bury(s);
}

static enum err step(struct nodes *t, const struct core_event *ev)
{
	struct story *s = S;
	struct core_event now = *ev;
	struct core_actions acts;

	now.now_ms = t->now;
	assert_int_equal(batch_begin(s->batch, &acts), ERR_OK);
	assert_int_equal(core_step(t->n[0].core, &now, &acts), ERR_OK);
	batch_add(s->batch, &acts);
	if (++s->made % s->width == 0 || ev->kind != CORE_MESH)
		flush(s);
	return ERR_OK;
}

static void at_start(struct nodes *t, const struct core_actions *acts)
{
	struct story *s = S;
	struct core_actions copy;

	assert_int_equal(batch_begin(s->batch, &copy), ERR_OK);
	copy.v = acts->v;
	copy.n = acts->n;
	batch_add(s->batch, &copy);
	flush(s);
	(void)t;
}

static enum err keep(void *ctx, struct slice key, struct slice value)
{
	nodes_keep(ctx, key, value);
	return ERR_OK;
}

static void as_we_are(struct core_cfg *cfg)
{
	cfg->universe.len = LEN;
	cfg->default_subnet.len = LEN;
	cfg->consensus = 3;
	if (cfg->ctx == &S->t.n[0])
		memcpy(cfg->gossip.static_secret, S->secret, 32);
}

static void start_victim(struct story *s)
{
	struct err_note note = { "" };
	struct identity id;
	const struct batch_cfg cfg = { .ctx = s, .ready = on_ready, .effect = on_effect, .reply = on_reply, .failed = on_failed };

	s->dead = false;
	assert_int_equal(store_open(&s->store, s->dir.path, &note), ERR_OK);
	assert_int_equal(identity_load(s->dir.path, s->store, &id, &note), ERR_OK);
	assert_false(id.cloned);
	if (s->name != 0)
		assert_true(id.name == s->name && memcmp(id.secret, s->secret, 32) == 0); /* the same host as before */
	s->name = s->t.n[0].name = id.name;
	memcpy(s->secret, id.secret, 32);
	nodes_wipe(&s->t.n[0]);
	assert_int_equal(store_each(s->store, "ipam/", keep, &s->t.n[0], &note), ERR_OK);
	assert_int_equal(store_each(s->store, "target/", keep, &s->t.n[0], &note), ERR_OK);
	struct batch_cfg with = cfg;
	with.store = s->store;
	assert_int_equal(batch_new(&s->batch, &with), ERR_OK);
	assert_int_equal(nodes_try_start(&s->t, 0, true, as_we_are), ERR_OK);
}

/* --- what must hold ------------------------------------------------------------------------------------------------------------------ */

static const char *ident(size_t n)
{
	static char text[IDENTS][8];
	snprintf(text[n], sizeof(text[n]), "c%02zu", n);
	return text[n];
}

/* Leased on two hosts? And what was answered, is it still so? */
static void check(struct story *s)
{
	struct prefix all[256];
	size_t n = 0;

	for (int i = 0; i < 3; i++) {
		const struct ipam *ipam = s->t.n[i].core != NULL ? core_ipam(s->t.n[i].core) : NULL;
		const char *who;
		struct prefix p;
		for (size_t it = 0; ipam != NULL && ipam_next_lease(ipam, &it, &who, &p);) {
			for (size_t k = 0; k < n; k++)
				if (ip_eq(all[k].addr, p.addr))
					fail_msg("point %zu: host %d has an address that another has: …%u", s->die_at, i, ip_to_v4(p.addr) & 0xff);
			assert_true(n < 256);
			all[n++] = p;
		}
	}
	if (s->t.n[0].core == NULL || s->left)
		return;
	for (size_t k = 0; k < IDENTS; k++) {
		if (s->has[k].addr.family == 0 || s->freed[k])
			continue;
		const char *holder = ipam_holder(core_ipam(s->t.n[0].core), ip_to_v4(s->has[k].addr));
		if (holder == NULL || strcmp(holder, ident(k)) != 0)
			fail_msg("point %zu: %s has lost its address after it was told", s->die_at, ident(k));
	}
}

static void at_once(struct story *s, enum ipam_event_kind kind, const char *who, uint64_t request)
{
	struct ipam_event ev = { .kind = kind, .ident = who, .request = request };
	struct core_event x = { .kind = CORE_IPAM, .ipam = &ev, .request = request };
	(void)nodes_step(&s->t, 0, &x);
}

/* Before it can hear of anybody: by what it has on disk alone it gives out all that it takes for its own. */
static void give_all_it_thinks_it_has(struct story *s)
{
	uint64_t first = s->t.n[0].next_request;
	char who[16];

	for (int k = 0; k < 1 << (32 - LEN); k++) {
		snprintf(who, sizeof(who), "x%d", k);
		at_once(s, IPAM_ALLOCATE, who, s->t.n[0].next_request++);
	}
	check(s);
	for (uint64_t r = first; r < first + (1 << (32 - LEN)); r++)
		at_once(s, IPAM_CANCEL, "", r);
	for (int k = 0; k < 1 << (32 - LEN); k++) {
		snprintf(who, sizeof(who), "x%d", k);
		at_once(s, IPAM_FREE, who, s->t.n[0].next_request++);
	}
}

static void up_again(struct story *s)
{
	if (s->t.n[0].core != NULL)
		return;
	nodes_run(&s->t, 50);
	check(s);
	start_victim(s);
	check(s);
	if (s->deaths > 0)
		give_all_it_thinks_it_has(s);
	nodes_connect(&s->t, 0, 1);
	nodes_run(&s->t, 1500);
	check(s);
}

static void run(struct story *s, uint64_t ms)
{
	nodes_run(&s->t, ms);
	up_again(s);
}

/* Asks host 0, again should it die meanwhile; as a user would. */
static enum err ask(struct story *s, struct ipam_event ev)
{
	for (int tries = 0; tries < 4; tries++) {
		struct core_event x = { .kind = CORE_IPAM, .ipam = &ev };
		s->asked = ev.request = x.request = s->t.n[0].next_request++;
		s->answered = false;
		(void)nodes_step(&s->t, 0, &x);
		for (int k = 0; k < 60 && !s->answered && s->t.n[0].core != NULL; k++)
			nodes_run(&s->t, 50);
		s->asked = 0;
		if (s->answered) {
			enum err err = s->err;
			up_again(s);
			return err;
		}
		assert_null(s->t.n[0].core); /* an answer comes, or else it has died */
		up_again(s);
	}
	fail_msg("no answer");
	return ERR_BUSY;
}

static void allocate(struct story *s, size_t n)
{
	struct ipam_event ev = { .kind = IPAM_ALLOCATE, .ident = ident(n), .wait = true };
	assert_int_equal(ask(s, ev), ERR_OK);
	if (s->has[n].addr.family != 0)
		assert_true(ip_eq(s->has[n].addr, s->got.addr));
	s->has[n] = s->got;
	check(s);
}

static void claim(struct story *s, size_t n, uint32_t addr)
{
	struct ipam_event ev = { .kind = IPAM_CLAIM, .ident = ident(n), .subnet = { ip_v4(addr), LEN }, .wait = true };
	assert_int_equal(ask(s, ev), ERR_OK);
	s->has[n] = s->got;
	check(s);
}

/* Another host asks; it may have to wait for host 0 to come back. */
static void allocate_at(struct story *s, int i, size_t n)
{
	char who[16];
	struct ipam_event ev = { .kind = IPAM_ALLOCATE, .ident = who, .wait = true };
	struct core_event x = { .kind = CORE_IPAM, .ipam = &ev };
	size_t before = s->t.n[i].replies;
	snprintf(who, sizeof(who), "h%d-%zu", i, n);
	ev.request = x.request = s->t.n[i].next_request++;
	(void)nodes_step(&s->t, i, &x);
	for (int k = 0; k < 200 && s->t.n[i].replies == before; k++)
		run(s, 50);
	if (s->t.n[i].replies != before + 1 || s->t.n[i].reply != ERR_OK)
		fail_msg("point %zu: host %d gets no address: %s", s->die_at, i, s->t.n[i].text);
	check(s);
}

static void owns_all(struct story *s, int i, bool only)
{
	const struct core *c = s->t.n[i].core;
	struct universe u = core_universe(c);
	assert_int_equal(ring_check(core_channel(c, CHANNEL_RING), u, NULL), ERR_OK);
	if (only)
		assert_int_equal(ring_owned_by(core_channel(c, CHANNEL_RING), u, s->t.n[i].name), 1 << (32 - LEN));
}

/* --- the story -------------------------------------------------------------------------------------------------------------------------- */

static void beginning(struct story *s, size_t die_at, size_t width)
{
	nodes_init(&s->t);
	s->t.step = step;
	s->t.carry_out = at_start;
	s->die_at = die_at;
	s->width = width;
	/* In memory, where there is such a place: what is tried is what was committed, not the disk. */
	snprintf(s->dir.path, sizeof(s->dir.path), "/dev/shm/weft-unit-XXXXXX");
	if (mkdtemp(s->dir.path) == NULL)
		dir_make(&s->dir);
	S = s;
	for (int i = 1; i < 3; i++)
		assert_int_equal(nodes_try_start(&s->t, i, true, as_we_are), ERR_OK);
	start_victim(s);
	up_again(s);
	for (int i = 1; i < 3; i++)
		nodes_connect(&s->t, i, 0), nodes_connect(&s->t, i, 3 - i);
	run(s, 500);
}

static void story(struct story *s)
{
	/* The first agreement, then more than its own share: some of it comes from the others. */
	for (size_t n = 0; n < 6; n++)
		allocate(s, n);
	claim(s, 6, CLAIMED_THEIRS);
	for (size_t n = 7; n < 27; n++)
		allocate(s, n);
	struct ipam_event ev = { .kind = IPAM_FREE, .ident = ident(3) };
	s->freed[3] = true; /* from when it is asked for, it may be so */
	enum err err = ask(s, ev);
	assert_true(err == ERR_OK || err == ERR_NOT_FOUND); /* asked twice, when it died with the answer on its lips */
	for (size_t n = 10; n < 27; n++) {
		ev = (struct ipam_event){ .kind = IPAM_FREE, .ident = ident(n) };
		s->freed[n] = true;
		err = ask(s, ev);
		assert_true(err == ERR_OK || err == ERR_NOT_FOUND);
	}
	/* And goes to one. */
	for (size_t n = 0; n < 28; n++)
		allocate_at(s, 1, n);
	/* A host dies and is removed. */
	nodes_kill(&s->t, 2);
	run(s, 6000);
	ev = (struct ipam_event){ .kind = IPAM_TAKEOVER, .peer = s->t.n[2].name };
	assert_int_equal(ask(s, ev), ERR_OK);
	run(s, 5000); /* the other one takes its word when the dead has been away long enough */
	allocate(s, 30);
	for (size_t n = 28; n < 32; n++)
		allocate_at(s, 1, n);
	owns_all(s, 0, false);
	owns_all(s, 1, false);
	/* It leaves. What it has told of is not held any more. */
	s->left = true;
	ev = (struct ipam_event){ .kind = IPAM_HANDOVER };
	assert_int_equal(ask(s, ev), ERR_OK);
	run(s, 1000);
	owns_all(s, 1, true);
}

static void end(struct story *s)
{
	nodes_free(&s->t);
	batch_free(s->batch);
	store_close(s->store);
	dir_remove(&s->dir);
	S = NULL;
}

static size_t told(size_t die_at, size_t width)
{
	struct story *s = calloc(1, sizeof(*s));
	assert_non_null(s);
	beginning(s, die_at, width);
	story(s);
	size_t points = s->points;
	assert_int_equal(s->deaths, die_at > 0 && die_at <= points);
	end(s);
	free(s);
	return points;
}

static void at_every_point(size_t width)
{
	const char *only = getenv("WEFT_CRASH_AT");
	size_t points = told(0, width);
	printf("%zu points, %zu steps a commit\n", points, width);
	assert_true(points > 50);
	if (only != NULL) { /* one of them again */
		(void)told(strtoul(only, NULL, 0), width);
		return;
	}
	for (size_t at = 1; at <= points; at++)
		(void)told(at, width);
}

static void one_step_a_commit(void **state)
{
	(void)state;
	at_every_point(1);
}

static void several_steps_a_commit(void **state)
{
	(void)state;
	at_every_point(3);
}

int main(void)
{
	assert_int_not_equal(sodium_init(), -1);
	const struct CMUnitTest tests[] = { cmocka_unit_test(one_step_a_commit), cmocka_unit_test(several_steps_a_commit) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
