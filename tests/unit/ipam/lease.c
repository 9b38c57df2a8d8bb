/* Histories with --reclaim-after: hosts that die for good, return as zombies, lose their disks, or are only cut off. See model.h. */
#include "ipam/internal.h"
#include "model.h"

#define LEASE_MS  3200
#define OUTBID_MS 10
/* When the space of a dead host has come to others at the latest: the lease, a quarter for drifting clocks, and the agreement. */
#define TAKEN_MS (LEASE_MS * 5 / 4 + 3000)

static struct prefix prefix(const char *text)
{
	struct prefix p;
	assert_int_equal(prefix_parse(text, &p), ERR_OK);
	return p;
}

static void start(struct model *m, size_t n, uint8_t len)
{
	model_init(m, test_seed("lease"), n, len);
	for (size_t k = 0; k < n; k++)
		m->h[k].reclaim_after_ms = LEASE_MS;
	model_start(m);
	new_links(m);
	model_run(m, m->now + 100); /* so that all know of all */
	for (size_t k = 0; k < n; k++)
		user_other(m, k, IPAM_PRIME, 0);
	model_run(m, m->now + 2000);
}

static struct ipam_reclaim_view view(struct model *m, size_t at)
{
	struct ipam_reclaim_view v;
	ipam_reclaim_view(m->h[at].ipam, &v);
	return v;
}

static const char *reason(struct model *m, size_t at, size_t n)
{
	static struct ipam_pending_view v;
	size_t it = 0;
	while (ipam_next_pending(m->h[at].ipam, &it, &v))
		if (strcmp(v.ident, ident_of(n)) == 0)
			return v.reason;
	return "(not pending)";
}

static void expect_text(const char *text, const char *part)
{
	if (!strstr(text, part))
		fail_msg("\"%s\" does not say \"%s\"", text, part);
}

static void side(struct model *m, size_t at, int s)
{
	m->h[at].side = s;
	model_topology(m);
	new_links(m);
}

static void die(struct model *m, size_t at)
{
	host_down(m, at);
	model_topology(m);
}

static void back(struct model *m, size_t at)
{
	host_up(m, at);
	model_topology(m);
	new_links(m);
}

static uint64_t owned(struct model *m, size_t by, size_t whose)
{
	return ring_owned_by(m->h[by].maps[IPAM_MAP_RING], m->u, m->h[whose].name);
}

static void everybody_declares(void **state)
{
	(void)state;
	struct model m;
	start(&m, 5, 24);
	model_run(&m, m.now + LEASE_MS);
	for (size_t k = 0; k < 5; k++) {
		struct ipam_reclaim_view v = view(&m, k);
		assert_true(v.known && v.member && v.leased && !v.over);
		assert_int_equal(v.epoch, 0);
		assert_int_equal(v.members, 5);
		assert_true(v.left_ms > LEASE_MS / 2 && v.left_ms <= LEASE_MS);
		assert_in_range(v.spare, 256 / 5 * 3 / 4 - 4, 256 / 5 * 3 / 4 + 4);
	}
	model_end(&m);
}

static void dead_host_is_reclaimed(void **state)
{
	(void)state;
	struct model m;
	start(&m, 5, 24);
	user_allocate(&m, 4, 0, m.subnet);
	model_run(&m, m.now + LEASE_MS);
	uint64_t had = owned(&m, 0, 4), spare = view(&m, 4).spare;
	die(&m, 4);
	model_run(&m, m.now + LEASE_MS);
	assert_int_equal(owned(&m, 0, 4), had);
	model_run(&m, m.now + TAKEN_MS - LEASE_MS);
	for (size_t k = 0; k < 4; k++) {
		struct ipam_reclaim_view v = view(&m, k);
		struct ipam_reclaimed a;
		size_t it = 0;
		assert_int_equal(owned(&m, k, 4), had - spare);
		assert_int_equal(v.epoch, 1);
		assert_int_equal(v.members, 4);
		assert_true(ipam_next_reclaimed(m.h[k].ipam, &it, &a));
		assert_int_equal(a.from, m.h[4].name);
		assert_int_equal(a.epoch, 1);
	}
	/* It was not dead. What it has in use stays, what it kept it may use, and it becomes a member again. */
	back(&m, 4);
	model_run(&m, m.now + 2000);
	assert_string_equal(ipam_holder(m.h[4].ipam, ip_to_v4(m.h[4].c[0].addr.addr)), ident_of(0));
	assert_int_equal(owned(&m, 4, 4), had - spare);
	user_allocate(&m, 4, 1, m.subnet);
	model_run(&m, m.now + 500);
	assert_int_equal(m.h[4].c[1].want, HAS);
	model_run(&m, m.now + LEASE_MS);
	assert_true(view(&m, 4).member && view(&m, 4).leased);
	check_addresses(&m);
	check_owners(&m);
	model_end(&m);
}

/* What all want in the end is all there is. */
static void everything_is_given(void **state)
{
	(void)state;
	struct model m;
	start(&m, 3, 28);
	model_run(&m, m.now + LEASE_MS);
	for (size_t n = 0; n < 14; n++)
		user_allocate(&m, 0, n, m.subnet);
	model_run(&m, m.now + 30000);
	for (size_t n = 0; n < 14; n++)
		if (m.h[0].c[n].want != HAS)
			fail_msg("%zu: %s", n, reason(&m, 0, n));
	check_addresses(&m);
	model_end(&m);
}

static void minority_stops_and_goes_on(void **state)
{
	(void)state;
	struct model m;
	start(&m, 5, 24);
	model_run(&m, m.now + LEASE_MS);
	side(&m, 0, 1);
	side(&m, 1, 1);
	/* For a while it goes on with what it may use alone. */
	user_allocate(&m, 0, 0, m.subnet);
	model_run(&m, m.now + 100);
	assert_int_equal(m.h[0].c[0].want, HAS);
	model_run(&m, m.now + LEASE_MS);
	user_allocate(&m, 0, 1, m.subnet);
	model_run(&m, m.now + 200);
	assert_int_equal(m.h[0].c[1].want, WANTS);
	expect_text(reason(&m, 0, 1), "our lease has run out");
	expect_text(reason(&m, 0, 1), "2 of 5 hosts that vote can be reached, 3 are needed");
	assert_true(view(&m, 0).over);
	/* The majority goes on all the time. */
	user_allocate(&m, 3, 0, m.subnet);
	model_run(&m, m.now + 200);
	assert_int_equal(m.h[3].c[0].want, HAS);
	side(&m, 0, 0);
	side(&m, 1, 0);
	model_run(&m, m.now + 2500);
	assert_int_equal(m.h[0].c[1].want, HAS);
	check_addresses(&m);
	model_end(&m);
}

static void claim_of_spare_space(void **state)
{
	(void)state;
	struct model m;
	start(&m, 3, 24);
	model_run(&m, m.now + LEASE_MS);
	assert_true(lease_locked(m.h[0].ipam, (struct range4){ m.u.first + 70, m.u.first + 71 }));
	user_claim(&m, 0, 0, prefix("10.32.0.70/24"));
	user_claim(&m, 1, 1, prefix("10.32.0.71/24"));
	model_run(&m, m.now + 2500);
	assert_int_equal(m.h[0].c[0].want, HAS);
	assert_int_equal(m.h[1].c[1].want, HAS);
	/* Without a majority it waits, and says for what. */
	side(&m, 0, 1);
	user_claim(&m, 0, 2, prefix("10.32.0.72/24"));
	model_run(&m, m.now + 300);
	expect_text(reason(&m, 0, 2), "not spare any more: 1 of 3 hosts that vote can be reached, 2 are needed");
	side(&m, 0, 0);
	model_run(&m, m.now + 2000);
	assert_int_equal(m.h[0].c[2].want, HAS);
	model_end(&m);
}

static void newcomers_join(void **state)
{
	(void)state;
	struct model m;
	model_init(&m, test_seed("newcomers"), 6, 24);
	m.consensus = 3;
	for (size_t k = 0; k < 6; k++) {
		m.h[k].reclaim_after_ms = LEASE_MS;
		m.h[k].init = k < 3 ? IPAM_CONSENSUS : IPAM_OBSERVER;
	}
	for (size_t k = 0; k < 3; k++)
		host_up(&m, k);
	model_topology(&m);
	new_links(&m);
	model_run(&m, m.now + 100);
	user_allocate(&m, 0, 0, m.subnet);
	model_run(&m, m.now + 2000);
	for (size_t k = 3; k < 6; k++) {
		back(&m, k);
		user_allocate(&m, k, 0, m.subnet);
	}
	model_run(&m, m.now + 2 * LEASE_MS);
	for (size_t k = 0; k < 6; k++) {
		struct ipam_reclaim_view v = view(&m, k);
		if (!v.known || !v.member || !v.leased || v.members != 6)
			fail_msg("host %zu: known %d, member %d, leased %d, %zu members in epoch %llu", k, v.known, v.member, v.leased,
				v.members, (unsigned long long)v.epoch);
	}
	/* Two die at once, four are a majority of six. */
	host_down(&m, 0);
	die(&m, 1);
	model_run(&m, m.now + TAKEN_MS + 2000);
	for (size_t k = 2; k < 6; k++)
		assert_int_equal(view(&m, k).members, 4);
	check_addresses(&m);
	model_end(&m);
}

static uint64_t heir_of(struct model *m, size_t by, size_t whose, struct range4 *what)
{
	struct ipam_reclaimed a;
	size_t it = 0;
	while (ipam_next_reclaimed(m->h[by].ipam, &it, &a)) {
		*what = (struct range4){ a.first, (uint64_t)a.last + 1 };
		if (a.from == m->h[whose].name)
			return a.heir;
	}
	fail_msg("nothing was taken of host %zu", whose);
	return PEER_NONE;
}

/* Those who voted for our removal die, and the operator, who is right, removes them also where nothing of that vote is known. */
static void voters_die_and_are_removed(void **state)
{
	(void)state;
	struct model m;
	struct range4 r;
	start(&m, 4, 24);
	model_run(&m, m.now + LEASE_MS);
	side(&m, 3, 1);
	model_run(&m, m.now + TAKEN_MS);
	size_t heir = model_at(&m, heir_of(&m, 0, 3, &r));
	assert_true(heir < 3 && lease_locked(m.h[3].ipam, r));
	struct prefix p = { ip_v4((uint32_t)r.start + 1), 24 };
	user_claim(&m, heir, 0, p);
	model_run(&m, m.now + 100);
	assert_int_equal(m.h[heir].c[0].want, HAS);
	for (size_t k = 0; k < 3; k++)
		if (k != heir)
			die(&m, k);
	for (size_t k = 0; k < 3; k++)
		if (k != heir)
			user_other(&m, 3, IPAM_TAKEOVER, m.h[k].name);
	model_run(&m, m.now + 2 * LEASE_MS);
	user_claim(&m, 3, 0, p);
	model_run(&m, m.now + 10000);
	assert_int_equal(m.h[3].c[0].want, WANTS);
	check_addresses(&m);
	model_end(&m);
}

/* Each takes the other side for dead: one epoch is decided twice. Nobody takes what the other side has decided, and both are told. */
static void operators_remove_each_other(void **state)
{
	(void)state;
	struct model m;
	start(&m, 5, 24);
	model_run(&m, m.now + LEASE_MS);
	m.in_doubt = true; /* by their own rings each side has the other's space, and uses none of it */
	side(&m, 3, 1);
	side(&m, 4, 1);
	for (size_t k = 0; k < 3; k++) {
		user_other(&m, 3, IPAM_TAKEOVER, m.h[k].name);
		if (k > 0)
			user_other(&m, 0, IPAM_TAKEOVER, m.h[k + 2].name);
	}
	model_run(&m, m.now + 3000);
	uint64_t ours = m.h[0].ipam->reclaim.epoch.digest, theirs = m.h[3].ipam->reclaim.epoch.digest;
	assert_true(view(&m, 0).epoch == 1 && view(&m, 3).epoch == 1 && ours != theirs);
	assert_true(m.h[4].ipam->reclaim.epoch.digest == theirs);
	for (size_t k = 0; k < 5; k++) {
		struct ipam_view v;
		ipam_view(m.h[k].ipam, &v);
		assert_null(strstr(v.conflict, "decided apart"));
	}
	side(&m, 3, 0);
	side(&m, 4, 0);
	model_run(&m, m.now + 15000);
	for (size_t k = 0; k < 5; k++) {
		struct ipam_view v;
		ipam_view(m.h[k].ipam, &v);
		expect_text(v.conflict, "decided apart from us");
		expect_text(v.conflict, k < 3 ? "and 1 more" : "and 2 more");
		assert_true(view(&m, k).epoch >= 1);
	}
	/* One side goes on without the other: that is not taken over either. */
	die(&m, 4);
	user_other(&m, 3, IPAM_TAKEOVER, m.h[4].name);
	model_run(&m, m.now + 5000);
	assert_true(view(&m, 3).epoch > 1 && view(&m, 0).epoch == 1 && m.h[0].ipam->reclaim.epoch.digest == ours);
	check_addresses(&m);
	model_end(&m);
}

/* What the operator has said about who votes outlives the daemon that was told. */
static void the_word_is_kept(void **state)
{
	(void)state;
	struct model m;
	start(&m, 4, 24);
	model_run(&m, m.now + LEASE_MS);
	for (size_t k = 1; k < 4; k++)
		die(&m, k);
	user_other(&m, 0, IPAM_TAKEOVER, m.h[2].name);
	model_run(&m, m.now + 500);
	assert_true(reclaim_is_gone(m.h[0].ipam, m.h[2].name));
	assert_int_equal(view(&m, 0).epoch, 0); /* of three voters one is there */
	die(&m, 0);
	back(&m, 0);
	model_run(&m, m.now + 500);
	assert_true(reclaim_is_gone(m.h[0].ipam, m.h[2].name));
	assert_int_equal(view(&m, 0).quorum, 2);
	back(&m, 3); /* who hears of it from the restarted one */
	model_run(&m, m.now + 3000);
	assert_int_equal(view(&m, 3).epoch, 1);
	assert_int_equal(view(&m, 3).members, 3);
	model_end(&m);
}

/* So much was reclaimed since that the mark of what was taken from who comes back is not kept any more. */
static void mark_is_forgotten(void **state)
{
	(void)state;
	struct model m;
	struct range4 r;
	start(&m, 4, 24);
	model_run(&m, m.now + LEASE_MS);
	side(&m, 3, 1);
	model_run(&m, m.now + TAKEN_MS);
	size_t heir = model_at(&m, heir_of(&m, 0, 3, &r));
	struct prefix p = { ip_v4((uint32_t)r.start + 1), 24 };
	user_claim(&m, heir, 0, p);
	user_claim(&m, 3, 0, p);
	model_run(&m, m.now + 100);
	assert_int_equal(m.h[heir].c[0].want, HAS);
	for (size_t k = 0; k < 3; k++) {
		struct reclaim *c = &m.h[k].ipam->reclaim;
		struct epoch e = c->epoch;
		struct mark marks[EPOCH_MARKS_MAX];
		uint8_t bytes[EPOCH_STATE_MAX];
		struct wbuf w;
		for (size_t n = 0; n < EPOCH_MARKS_MAX; n++)
			marks[n] = (struct mark){ 2, 0xdead, m.h[0].name, 1, { { m.u.first, m.u.first + 1 }, m.u.first + 1, { 0, 1 } } };
		e.number = 2;
		e.marks = marks;
		e.n_marks = EPOCH_MARKS_MAX;
		wbuf_fixed(&w, bytes, sizeof bytes);
		epoch_encode(&w, &e);
		epoch_free(&c->epoch);
		assert_int_equal(epoch_decode(wbuf_slice(&w), m.u, &c->epoch), ERR_OK);
		m.h[k].ipam->guard.epoch = 2;
		c->shown = false;
		c->dirty = true;
	}
	side(&m, 3, 0);
	model_run(&m, m.now + 5000);
	assert_true(view(&m, 3).epoch >= 2);
	assert_int_not_equal(m.h[3].c[0].want, HAS);
	check_addresses(&m);
	model_end(&m);
}

/* A member declares spare what is another's, and is not heard of any more. */
static void declares_what_is_not_its_own(void **state)
{
	(void)state;
	struct model m;
	start(&m, 4, 24);
	model_run(&m, m.now + LEASE_MS);
	struct declaration d = m.h[3].ipam->reclaim.sent;
	struct ring_span his;
	struct crdt_changes ch;
	struct crdt_item it;
	uint8_t bytes[2048];
	struct wbuf w;
	assert_true(ring_token(m.h[0].maps[IPAM_MAP_RING], m.u, m.u.first + 64, &his));
	assert_int_equal(his.owner, m.h[1].name); /* the heir will be the first */
	d.serial++;
	d.n = 1;
	d.v[0] = (struct spare){ .r = { his.start, his.start + 32 }, .end = his.end, .stamp = { his.epoch, his.version } };
	wbuf_fixed(&w, bytes, sizeof bytes);
	declaration_encode(&w, &d);
	bool there = crdt_map_next(m.h[3].maps[IPAM_MAP_USAGE], slice_of(NULL, 0), &it);
	while (there && !(crdt_owner(it.key) == m.h[3].name && lease_is_key(m.h[3].ipam, crdt_subkey(it.key))))
		there = crdt_map_next(m.h[3].maps[IPAM_MAP_USAGE], it.key, &it);
	assert_true(there);
	crdt_changes_init(&ch, m.arena);
	assert_int_equal(crdt_map_put(m.h[3].maps[IPAM_MAP_USAGE], crdt_subkey(it.key), wbuf_slice(&w), &ch), ERR_OK);
	net_changed(&m, 3, IPAM_MAP_USAGE, &ch);
	model_run(&m, m.now + 50);
	assert_true(lease_declared(m.h[1].ipam, m.h[3].name, &d) && d.v[0].r.start == his.start);
	die(&m, 3);
	model_run(&m, m.now + TAKEN_MS + 20000);
	for (size_t k = 0; k < 3; k++) {
		assert_int_equal(view(&m, k).members, 3);
		for (uint64_t a = his.start; a < his.start + 32; a++)
			assert_int_equal(ring_owner(m.h[k].maps[IPAM_MAP_RING], m.u, (uint32_t)a), m.h[1].name);
	}
	model_end(&m);
}

/* What the host publishes in the paxos map in place of its vote; its own core does not know. */
static void say(struct model *m, size_t at, const struct vote *v)
{
	uint8_t mem[UNIVERSE_SUBKEY], bytes[256];
	struct crdt_changes ch;
	struct wbuf w;
	wbuf_fixed(&w, bytes, sizeof bytes);
	vote_encode(&w, v);
	crdt_changes_init(&ch, m->arena);
	assert_int_equal(crdt_map_put(m->h[at].maps[IPAM_MAP_PAXOS], universe_subkey(m->u, 'e', mem), wbuf_slice(&w), &ch), ERR_OK);
	net_changed(m, at, IPAM_MAP_PAXOS, &ch);
}

static struct vote vote_of(const struct ipam *i)
{
	return (struct vote){
		.memory = i->paxos.memory, .known = true, .epoch = i->reclaim.epoch.number, .digest = i->reclaim.epoch.digest
	};
}

/* A voter accepts by itself what can be no epoch, or the last ballot there is, or says that the epoch is another: the others go on renewing
 * their leases, and remove who has died. */
static void voter_that_lies(void **state)
{
	(void)state;
	static const uint8_t rubbish[] = "rubbish";
	for (int lie = 0; lie < 3; lie++) {
		struct model m;
		start(&m, 5, 24);
		model_run(&m, m.now + LEASE_MS);
		struct vote v = vote_of(m.h[4].ipam);
		struct epoch e = { 0 };
		if (lie == 0) {
			v.promised = v.accepted = (struct ballot){ 7, m.h[4].name };
			v.value = slice_of(rubbish, sizeof rubbish);
		} else if (lie == 1) {
			v.promised = (struct ballot){ UINT64_MAX - 1, m.h[4].name };
		} else {
			struct wbuf w;
			struct ipam_message a = { .type = MSG_EPOCH_STATE, .u = m.u };
			uint8_t state_bytes[512], bytes[1024];
			struct member alone = { .name = m.h[4].name, .memory = v.memory };
			struct epoch own = { .number = 9, .v = &alone, .n = 1 };
			wbuf_fixed(&w, state_bytes, sizeof state_bytes);
			epoch_encode(&w, &own);
			a.state = wbuf_slice(&w);
			assert_int_equal(epoch_decode(a.state, m.u, &e), ERR_OK);
			v.epoch = e.number;
			v.digest = e.digest;
			wbuf_fixed(&w, bytes, sizeof bytes);
			ipam_message_encode(&w, &a);
			say(&m, 4, &v);
			model_run(&m, m.now + 20);
			for (size_t k = 0; k < 4; k++)
				net_put(&m, k, m.h[4].name, -1, w.data, w.len);
		}
		if (lie < 2)
			say(&m, 4, &v);
		model_run(&m, m.now + 50);
		die(&m, 3);
		host_down(&m, 4);
		model_topology(&m);
		model_run(&m, m.now + TAKEN_MS + 2000);
		for (size_t k = 0; k < 3; k++) {
			struct ipam_reclaim_view w = view(&m, k);
			if (w.members != 3 || w.over || !w.leased)
				fail_msg("lie %d: host %zu is in epoch %llu of %zu members, leased %d, over %d", lie, k,
					(unsigned long long)w.epoch, w.members, w.leased, w.over);
		}
		epoch_free(&e);
		model_end(&m);
	}
}

static void send_to(struct model *m, size_t to, size_t from, struct ipam_message *q)
{
	uint8_t bytes[1024];
	struct wbuf w;
	q->u = m->u;
	wbuf_fixed(&w, bytes, sizeof bytes);
	ipam_message_encode(&w, q);
	assert_false(w.failed);
	net_put(m, to, m->h[from].name, -1, w.data, w.len);
}

/* What is dear to us is done so often for one member, and no more: a declaration that all others write down, an epoch as a whole. */
static void member_that_asks_all_the_time(void **state)
{
	(void)state;
	struct model m;
	start(&m, 4, 24);
	model_run(&m, m.now + LEASE_MS);
	uint64_t serial = m.h[0].ipam->reclaim.sent.serial;
	struct range4 locked = m.h[0].ipam->reclaim.locked.v[0];
	for (uint64_t n = 0; n < 600; n++) {
		uint64_t at = locked.start + n * 7 % range4_size(locked);
		send_to(&m, 0, 3, &(struct ipam_message){ .type = MSG_SPACE_REQUEST, .range = { at, at + 1 }, .serial = n + 1 });
		model_run(&m, m.now + 10);
	}
	uint64_t declared = m.h[0].ipam->reclaim.sent.serial - serial;
	print_message("%d declarations in 6 s\n", (int)declared);
	assert_in_range(declared, 6, 6000 / (LEASE_MS / 4) + 2 * 10);

	size_t answered = 0;
	for (uint64_t n = 0; n < 100; n++) {
		struct ipam_actions out;
		struct wbuf w;
		uint8_t bytes[64];
		struct ipam_message q = { .type = MSG_EPOCH_REQUEST, .u = m.u };
		wbuf_fixed(&w, bytes, sizeof bytes);
		ipam_message_encode(&w, &q);
		ipam_actions_init(&out, m.arena);
		assert_int_equal(
			ipam_step(m.h[0].ipam,
				&(struct ipam_event){
					.kind = IPAM_MESSAGE, .peer = m.h[3].name, .payload = wbuf_slice(&w), .now_ms = host_clock(&m.h[0]) },
				&out),
			ERR_OK);
		for (size_t k = 0; k < out.n; k++)
			answered += out.v[k].kind == IPAM_SEND && out.v[k].u.send.to == m.h[3].name;
	}
	assert_in_range(answered, 1, 5);
	model_end(&m);
}

static void outbid(struct model *m, uint64_t n)
{
	struct vote v = vote_of(m->h[0].ipam);
	v.memory = m->h[4].ipam->paxos.memory;
	v.promised = (struct ballot){ n * 3 + 1000, m->h[4].name };
	say(m, 4, &v);
	model_run(m, m->now + OUTBID_MS);
}

/* A voter raises its ballot again and again, or begins one instance after the other: leases are renewed all the same, and who has died is removed. With leases
 * as short as here, beside what a ballot takes, there are moments without one: rarely as long as a lease, never as two, and not many. */
static void voter_that_outbids_all(void **state)
{
	(void)state;
	struct model m;
	uint64_t over[3] = { 0 }, in_all[3] = { 0 }, n = 0;
	size_t well = 0;
	start(&m, 5, 24);
	model_run(&m, m.now + LEASE_MS);
	m.delay_ms = 100;
	die(&m, 3);
	for (; n < 20000 / OUTBID_MS || (well < 3 && n < (20000 + 2 * LEASE_MS) / OUTBID_MS); n++) {
		outbid(&m, n);
		well = 0;
		for (size_t k = 0; k < 3; k++) {
			bool now = view(&m, k).over;
			over[k] = now ? over[k] + OUTBID_MS : 0;
			in_all[k] += now ? OUTBID_MS : 0;
			well += !now;
			assert_in_range(over[k], 0, 2 * LEASE_MS);
		}
	}
	for (size_t k = 0; k < 3; k++)
		assert_in_range(in_all[k], 0, 20000 / 4);
	for (size_t k = 0; k < 3; k++) {
		struct ipam_reclaim_view w = view(&m, k);
		if (w.members != 4 || w.over || !w.leased)
			fail_msg("host %zu is in epoch %llu of %zu members, leased %d, over %d", k, (unsigned long long)w.epoch, w.members,
				w.leased, w.over);
	}
	check_addresses(&m);
	model_end(&m);
}

/* As many members as there may be, each of whom has declared as often as it may: what we say of them still goes into one item. */
static void reports_of_all(void **state)
{
	(void)state;
	for (int with_value = 0; with_value < 2; with_value++) {
		struct model m;
		start(&m, 3, 24);
		model_run(&m, m.now + LEASE_MS);
		struct reclaim *c = &m.h[0].ipam->reclaim;
		struct member all[EPOCH_MEMBERS_MAX];
		static uint8_t bytes[EPOCH_STATE_MAX], value[EPOCH_VALUE_MAX];
		struct epoch e = { .number = 2, .v = all, .n = EPOCH_MEMBERS_MAX };
		struct wbuf w;
		for (size_t k = 0; k < EPOCH_MEMBERS_MAX; k++)
			all[k] = k < 3 ? c->epoch.v[k] : (struct member){ .name = UINT64_C(0xb00000000000) + k, .memory = 1 };
		wbuf_fixed(&w, bytes, sizeof bytes);
		epoch_encode(&w, &e);
		epoch_free(&c->epoch);
		assert_int_equal(epoch_decode(wbuf_slice(&w), m.u, &c->epoch), ERR_OK);
		mem_free(c->seen);
		c->seen = mem_zalloc(EPOCH_MEMBERS_MAX, sizeof *c->seen);
		c->n_seen = c->cap_seen = EPOCH_MEMBERS_MAX;
		for (size_t k = 0; k < EPOCH_MEMBERS_MAX; k++)
			c->seen[k] = (struct seen){
				.name = c->epoch.v[k].name, .serial = c->epoch.v[k].serial + EPOCH_AHEAD_MAX, .overdue = true, .at_ms = m.now
			};
		c->in.promised = (struct ballot){ 7, m.h[0].name };
		c->in.accepted = with_value ? c->in.promised : (struct ballot){ 0, 0 };
		c->in.value = with_value ? mem_dup(value, sizeof value) : NULL;
		c->in.value_n = with_value ? sizeof value : 0;
		c->shown = false;
		c->dirty = c->active = true;
		model_step(&m, 0, &(struct ipam_event){ .kind = IPAM_TICK });
		struct slice at = { NULL, 0 };
		struct vote v = { 0 };
		uint64_t peer;
		struct instance other = c->in;
		other.self = m.h[1].name;
		while (instance_next(&other, &at, &peer, &v) && peer != m.h[0].name)
			;
		assert_int_equal(peer, m.h[0].name);
		assert_int_equal(v.promised.round, 7);
		assert_true(with_value ? v.value.n == sizeof value : v.reports.n > EPOCH_MEMBERS_MAX * 5);
		model_end(&m);
	}
}

/* The operator is as fast as the others: what was agreed on is not taken over, and what was taken over is not agreed on. */
static void removal_races_with_reclaim(void **state)
{
	(void)state;
	for (uint64_t late = 0; late < 10; late++) {
		struct model m;
		start(&m, 5, 24);
		model_run(&m, m.now + LEASE_MS);
		die(&m, 4);
		model_run(&m, m.now + LEASE_MS + late * 150);
		m.in_doubt = true;
		user_other(&m, 0, IPAM_TAKEOVER, m.h[4].name);
		user_other(&m, 1, IPAM_TAKEOVER, m.h[4].name);
		model_run(&m, m.now + TAKEN_MS + 20000);
		for (size_t k = 0; k < 4; k++) {
			struct ipam_view v;
			ipam_view(m.h[k].ipam, &v);
			assert_string_equal(v.text, "ready");
			assert_int_equal(view(&m, k).members, 4);
			assert_int_equal(owned(&m, k, 4), 0);
			for (size_t n = 0; n < 40; n++)
				user_allocate(&m, k, n, m.subnet);
		}
		back(&m, 4);
		model_run(&m, m.now + 2 * LEASE_MS);
		check_addresses(&m);
		check_owners(&m);
		model_end(&m);
	}
}

/* Everybody writes what follows from a decision; so it does not matter whether the heir lives. */
static void heir_is_dead_as_well(void **state)
{
	(void)state;
	struct model m;
	start(&m, 7, 24);
	model_run(&m, m.now + LEASE_MS);
	uint64_t spare = view(&m, 6).spare;
	die(&m, 6);
	size_t it, heir = 7;
	struct ipam_reclaimed a;
	while (heir == 7) {
		model_run(&m, m.now + 1);
		for (size_t k = 0; k < 6; k++) {
			it = 0;
			if (ipam_next_reclaimed(m.h[k].ipam, &it, &a))
				heir = model_at(&m, a.heir);
		}
	}
	/* As soon as somebody has heard of it. */
	die(&m, heir);
	model_run(&m, m.now + 1000);
	for (size_t k = 0; k < 6; k++)
		if (k != heir) {
			assert_int_equal(view(&m, k).epoch, 1);
			assert_int_equal(owned(&m, k, heir), 256 / 7 + spare + (owned(&m, k, heir) - 256 / 7 - spare) % 2);
		}
	model_run(&m, m.now + TAKEN_MS);
	back(&m, heir);
	back(&m, 6);
	model_run(&m, m.now + 3 * LEASE_MS);
	for (size_t k = 0; k < 7; k++)
		assert_int_equal(view(&m, k).members, 7);
	check_addresses(&m);
	check_owners(&m);
	model_end(&m);
}

/* A host that has forgotten everything takes its own place among the voters before it uses what was its own. */
static void lost_disk(void **state)
{
	(void)state;
	struct model m;
	start(&m, 4, 24);
	model_run(&m, m.now + LEASE_MS);
	host_down(&m, 3);
	disk_wipe(&m.h[3]);
	m.in_doubt = true;
	back(&m, 3);
	user_allocate(&m, 3, 0, m.subnet);
	model_run(&m, m.now + 8000);
	m.in_doubt = false;
	struct ipam_view v;
	ipam_view(m.h[3].ipam, &v);
	assert_string_equal(v.text, "ready");
	assert_true(view(&m, 3).epoch > 0 && view(&m, 3).member);
	assert_int_equal(m.h[3].c[0].want, HAS);
	model_run(&m, m.now + 2 * LEASE_MS);
	assert_true(view(&m, 3).leased && view(&m, 3).spare > 0);
	check_owners(&m);
	model_end(&m);
}

/* Clocks a tenth apart either way: who is removed has stopped giving out before. */
static void clocks_run_apart(void **state)
{
	(void)state;
	for (int way = 0; way < 2; way++) {
		struct model m;
		start(&m, 5, 24);
		for (size_t k = 0; k < 5; k++) {
			m.h[k].clock_ms = host_clock(&m.h[k]);
			m.h[k].clock_at = m.now;
			m.h[k].drift_pm = (k == 4) == (way == 0) ? -100 : 100;
		}
		model_run(&m, m.now + 2 * LEASE_MS);
		m.h[4].side = 1;
		model_topology(&m);
		bool removed = false, over = false;
		for (uint64_t end = m.now + 2 * LEASE_MS; m.now < end;) {
			model_run(&m, m.now + 1);
			model_step(&m, 4, &(struct ipam_event){ .kind = IPAM_TICK });
			removed = removed || view(&m, 0).epoch > 0;
			over = view(&m, 4).over;
			assert_true(!removed || over);
		}
		assert_true(removed && over);
		model_end(&m);
	}
}

/* The lease of a daemon that is started again goes on with the machine's clock, and has to be renewed when that has begun anew. */
static void restarts(void **state)
{
	(void)state;
	for (int reboot = 0; reboot < 2; reboot++) {
		struct model m;
		start(&m, 3, 24);
		model_run(&m, m.now + LEASE_MS);
		host_down(&m, 0);
		if (reboot)
			host_reboot(&m.h[0]);
		m.h[0].side = 1;
		back(&m, 0);
		assert_int_equal(view(&m, 0).over, reboot);
		user_allocate(&m, 0, 0, m.subnet);
		model_run(&m, m.now + 100);
		assert_int_equal(m.h[0].c[0].want, reboot ? WANTS : HAS);
		side(&m, 0, 0);
		model_run(&m, m.now + 1000);
		assert_int_equal(m.h[0].c[0].want, HAS);
		model_end(&m);
	}
}

static void off_says_nothing(void **state)
{
	(void)state;
	struct model m;
	model_init(&m, test_seed("off"), 3, 24);
	model_start(&m);
	new_links(&m);
	model_run(&m, m.now + 100);
	user_allocate(&m, 0, 0, m.subnet);
	model_run(&m, m.now + 60000);
	struct crdt_item it;
	for (bool there = crdt_map_next(m.h[0].maps[IPAM_MAP_USAGE], slice_of(NULL, 0), &it); there;
		 there = crdt_map_next(m.h[0].maps[IPAM_MAP_USAGE], it.key, &it))
		assert_false(lease_is_key(m.h[0].ipam, crdt_subkey(it.key)));
	assert_true(ipam_deadline_ms(m.h[0].ipam) == UINT64_MAX);
	die(&m, 2);
	model_run(&m, m.now + 600000);
	assert_true(owned(&m, 0, 2) > 0);
	assert_true(ipam_deadline_ms(m.h[0].ipam) == UINT64_MAX);
	model_end(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(everybody_declares),
		cmocka_unit_test(dead_host_is_reclaimed),
		cmocka_unit_test(everything_is_given),
		cmocka_unit_test(minority_stops_and_goes_on),
		cmocka_unit_test(claim_of_spare_space),
		cmocka_unit_test(newcomers_join),
		cmocka_unit_test(voters_die_and_are_removed),
		cmocka_unit_test(operators_remove_each_other),
		cmocka_unit_test(the_word_is_kept),
		cmocka_unit_test(mark_is_forgotten),
		cmocka_unit_test(declares_what_is_not_its_own),
		cmocka_unit_test(voter_that_lies),
		cmocka_unit_test(member_that_asks_all_the_time),
		cmocka_unit_test(voter_that_outbids_all),
		cmocka_unit_test(reports_of_all),
		cmocka_unit_test(removal_races_with_reclaim),
		cmocka_unit_test(heir_is_dead_as_well),
		cmocka_unit_test(lost_disk),
		cmocka_unit_test(clocks_run_apart),
		cmocka_unit_test(restarts),
		cmocka_unit_test(off_says_nothing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
