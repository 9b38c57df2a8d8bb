/* Tokens that are written over other owners' heads, by somebody who lies, and by everybody else who does not. Host 3 is the liar: what it says is
 * put into the others' maps under its proof. */
#include "scenario.h"

#define LIAR 3

struct forged {
	uint8_t key[9], value[11], proof[CRDT_PROOF_MAX];
	struct crdt_item it;
};

static const struct crdt_item *forge(
	struct model *m, struct forged *f, uint64_t writer, uint64_t first, uint64_t last, uint64_t owner, struct stamp stamp)
{
	struct wbuf k, v, p;
	memset(f, 0, sizeof *f);
	wbuf_fixed(&k, f->key, sizeof f->key);
	wbuf_u32(&k, m->u.first);
	wbuf_u8(&k, m->u.len);
	wbuf_u32(&k, (uint32_t)(m->u.first + first));
	wbuf_fixed(&v, f->value, sizeof f->value);
	wbuf_u48(&v, owner);
	wbuf_u32(&v, (uint32_t)(m->u.first + last));
	wbuf_u8(&v, 0);
	wbuf_fixed(&p, f->proof, sizeof f->proof);
	wbuf_u48(&p, writer);
	f->it = (struct crdt_item){
		.key = wbuf_slice(&k), .stamp = stamp, .live = true, .value = wbuf_slice(&v), .proof = slice_of(f->proof, sizeof f->proof)
	};
	return &f->it;
}

/* As the mesh does it: merged, and told when it was news. */
static enum crdt_merge hear(struct model *m, size_t at, const struct crdt_item *it)
{
	struct crdt_changes ch;
	enum crdt_merge what;
	struct host *h = &m->h[at];
	crdt_changes_init(&ch, m->arena);
	assert_int_equal(crdt_map_merge(h->maps[0], it, &what, &ch), ERR_OK);
	if (ch.n > 0)
		model_step(m, at, &(struct ipam_event){ .kind = IPAM_NEWS, .map = IPAM_MAP_RING, .changes = &ch });
	else
		h->deadline_ms = ipam_deadline_ms(h->ipam);
	return what;
}

static void all_hear(struct model *m, const struct crdt_item *it)
{
	for (size_t k = 0; k < m->n; k++)
		if (k != LIAR && m->h[k].up)
			hear(m, k, it);
}

static uint64_t owner_at(const struct model *m, size_t view, uint64_t offset)
{
	return ring_owner(m->h[view].maps[0], m->u, (uint32_t)(m->u.first + offset));
}

static void expect_owner(const struct model *m, uint64_t offset, size_t owner)
{
	for (size_t k = 0; k < m->n; k++)
		if (k != LIAR && m->h[k].up)
			assert_int_equal(owner_at(m, k, offset), m->h[owner].name);
}

/* Four hosts that own 64 addresses each, in order, and have told so. */
static void four(struct model *m)
{
	start(m, 4, 24);
	user_allocate(m, 0, 0, (struct prefix){ 0 });
	model_run(m, m->now + 3000);
	for (size_t k = 0; k < 4; k++)
		expect_owner(m, 64 * k + 5, k);
}

static void a_forged_token_moves_nothing(void **state)
{
	(void)state;
	struct model m;
	struct forged f;
	four(&m);
	uint64_t liar = m.h[LIAR].name;
	/* At a token's own place, and in the middle of a range; for itself, and for somebody innocent. */
	all_hear(&m, forge(&m, &f, liar, 64, 127, liar, (struct stamp){ 0, 9 }));
	all_hear(&m, forge(&m, &f, liar, 32, 63, liar, (struct stamp){ 0, 2 }));
	all_hear(&m, forge(&m, &f, liar, 140, 150, m.h[0].name, (struct stamp){ 0, 2 }));
	for (int k = 0; k < 20; k++) {
		expect_owner(&m, 70, 1);
		expect_owner(&m, 40, 0);
		expect_owner(&m, 145, 2);
		model_run(&m, m.now + 500);
	}
	/* Their owners have written above, with what they had. */
	assert_true(ring_owned_by(m.h[2].maps[0], m.u, m.h[1].name) == 64);
	struct crdt_item it;
	forge(&m, &f, liar, 64, 127, liar, (struct stamp){ 0, 9 });
	assert_true(crdt_map_get(m.h[2].maps[0], f.it.key, &it));
	assert_true(stamp_cmp(it.stamp, f.it.stamp) > 0);
	/* The liar's share is its own to give. */
	all_hear(&m, forge(&m, &f, liar, 200, 255, m.h[0].name, (struct stamp){ 0, 2 }));
	expect_owner(&m, 210, 0);
	model_end(&m);
}

/* Any range has 2^32 places for tokens, and there are millions of ranges. */
static void other_ranges_have_their_bounds(void **state)
{
	(void)state;
	struct model m;
	struct forged f;
	struct crdt_item it;
	enum crdt_merge what;
	four(&m);
	struct universe ours = m.u;
	struct crdt_map *ring = m.h[0].maps[0];
	size_t before = crdt_map_count(ring);
	for (uint32_t n = 0; n < IPAM_FOREIGN_MAX + 100; n++) {
		m.u = (struct universe){ 0x0b000000 + (n << 8), 24 };
		forge(&m, &f, m.h[LIAR].name, 0, 255, m.h[LIAR].name, (struct stamp){ 0, 1 });
		assert_int_equal(crdt_map_merge(ring, &f.it, &what, NULL), ERR_OK);
		assert_int_equal(what, n < IPAM_FOREIGN_MAX ? CRDT_NEWS : CRDT_REFUSED);
	}
	assert_int_equal(crdt_map_count(ring), before + IPAM_FOREIGN_MAX);
	/* What is there goes on, and so does our own range. */
	m.u.first = 0x0b000000;
	forge(&m, &f, m.h[LIAR].name, 0, 255, m.h[1].name, (struct stamp){ 0, 2 });
	assert_int_equal(crdt_map_merge(ring, &f.it, &what, NULL), ERR_OK);
	assert_true(what == CRDT_NEWS && crdt_map_get(ring, f.it.key, &it) && it.stamp.ctr == 2);
	m.u = ours;
	assert_int_equal(hear(&m, 0, forge(&m, &f, m.h[LIAR].name, 200, 255, m.h[1].name, (struct stamp){ 0, 2 })), CRDT_NEWS);
	model_end(&m);
}

/* Status names who, what and whose, and a command. */
static void a_claim_is_named(void **state)
{
	(void)state;
	struct model m;
	struct forged f;
	four(&m);
	uint64_t liar = m.h[LIAR].name;
	/* Beyond what its owner writes above it: it knows nothing of it. */
	hear(&m, 0, forge(&m, &f, liar, 64, 127, liar, (struct stamp){ 0, 9 }));
	model_run(&m, m.now + 2000);
	assert_string_equal(conflict(&m, 0), "");
	model_run(&m, m.now + 4000);
	expect_text(conflict(&m, 0), "d(0a:00:00:00:03:01) wrote 10.32.0.64-10.32.0.127, which b(0a:00:00:00:01:01) has");
	expect_text(conflict(&m, 0), "run `weft reset`");
	expect_owner(&m, 70, 1);
	model_end(&m);
}

static void versions_do_not_jump(void **state)
{
	(void)state;
	struct model m;
	struct forged f;
	four(&m);
	uint64_t liar = m.h[LIAR].name;
	/* Not even in its own range: who gets that range next could never move it. */
	assert_int_equal(hear(&m, 0, forge(&m, &f, liar, 192, 255, liar, (struct stamp){ 0, UINT64_MAX })), CRDT_REFUSED);
	assert_int_equal(hear(&m, 0, forge(&m, &f, liar, 192, 255, liar, (struct stamp){ 0, 2 + (1 << 20) })), CRDT_REFUSED);
	assert_int_equal(hear(&m, 0, forge(&m, &f, liar, 192, 255, liar, (struct stamp){ 0, 1 << 20 })), CRDT_NEWS);
	/* Nor is there an epoch that nobody agreed upon. */
	assert_int_equal(hear(&m, 0, forge(&m, &f, liar, 192, 255, liar, (struct stamp){ 7, 1 })), CRDT_HELD);
	model_end(&m);
}

/* A grant that nobody asked for, of what is not the giver's; and a handover of it. */
static void forged_grants(void **state)
{
	(void)state;
	struct model m;
	struct forged f;
	struct wbuf items, w;
	four(&m);
	uint64_t liar = m.h[LIAR].name;
	for (int type = 0; type < 3; type++) {
		struct ipam_message msg = { .type = type == 0 ? MSG_SPACE_GRANT
				: type == 1                           ? MSG_HANDOVER
													  : MSG_RING_STATE,
			.u = m.u,
			.range = { m.u.first + 64, m.u.first + 128 },
			.n_items = 1 };
		wbuf_grow(&items, 200);
		wbuf_grow(&w, 1000);
		crdt_item_encode(&items, forge(&m, &f, liar, 64, 127, m.h[0].name, (struct stamp){ 0, 2 + (uint64_t)type }));
		msg.items = wbuf_slice(&items);
		ipam_message_encode(&w, &msg);
		model_step(&m, 0, &(struct ipam_event){ .kind = IPAM_MESSAGE, .peer = liar, .payload = wbuf_slice(&w) });
		model_run(&m, m.now + 6000);
		expect_owner(&m, 70, 1);
		wbuf_free(&items);
		wbuf_free(&w);
	}
	struct ipam_view v;
	ipam_view(m.h[0].ipam, &v);
	assert_int_equal(v.owned, 64);
	model_end(&m);
}

static void a_flood(void **state)
{
	(void)state;
	struct model m;
	struct forged f;
	four(&m);
	uint64_t liar = m.h[LIAR].name, names[] = { m.h[0].name, m.h[1].name, m.h[2].name, liar, 0x77 };
	long before = mem_live();
	for (int k = 0; k < 20000; k++) {
		uint64_t first = rng_below(&m.rng, 192);
		struct stamp s = { rng_chance(&m.rng, 100000), 1 + rng_below(&m.rng, 1 << rng_below(&m.rng, 24)) };
		forge(&m, &f, liar, first, rng_between(&m.rng, first, 255), names[rng_below(&m.rng, 5)], s);
		/* What stays with its owner may pass, as a cut. */
		if (owner_at(&m, 0, first) == crdt_owner(slice_of(f.value, 6)))
			continue;
		hear(&m, rng_below(&m.rng, 3), &f.it);
		if (k % 100 == 0)
			model_run(&m, m.now + 100);
	}
	model_run(&m, m.now + 10000);
	for (uint64_t a = 0; a < 192; a++)
		expect_owner(&m, a, a / 64);
	assert_true(mem_live() - before < 2000);
	/* The honest go on. */
	for (size_t k = 0; k < 3; k++)
		user_allocate(&m, k, 9, (struct prefix){ 0 });
	for (size_t k = 0; k < 3; k++)
		assert_int_equal(m.h[k].c[9].want, HAS);
	model_end(&m);
}

/* d hears only of the last of two moves of one token: of the one that its writer was entitled to by the first. */
static void a_missed_move(void **state)
{
	(void)state;
	struct model m;
	four(&m);
	side(&m, 2, 1);
	user_claim(&m, 1, 1, prefix("10.32.0.9/24"));
	model_run(&m, m.now + 500);
	assert_int_equal(m.h[1].c[1].want, HAS);
	user_free(&m, 1, 1);
	user_claim(&m, 3, 1, prefix("10.32.0.9/24"));
	model_run(&m, m.now + 2000);
	assert_int_equal(m.h[3].c[1].want, HAS);
	assert_int_equal(owner_at(&m, 2, 9), m.h[0].name);
	/* Nobody's word but that of its former owner, who has published that it does not have it. */
	side(&m, 2, 0);
	uint64_t t = m.now;
	new_links(&m);
	while (owner_at(&m, 2, 9) != m.h[3].name && m.now < t + 10000)
		model_run(&m, m.now + 10);
	assert_in_range(m.now - t, 2900, 4500);
	assert_int_equal(owner_at(&m, 2, 10), m.h[0].name);
	model_end(&m);
}

/* Whoever was removed while it was away finds that the others have it so, and gives way. Who was not, does not. */
static void removed_while_away(void **state)
{
	(void)state;
	struct model m;
	four(&m);
	host_down(&m, 0);
	model_topology(&m);
	m.in_doubt = true;
	user_other(&m, 1, IPAM_TAKEOVER, m.h[0].name);
	assert_int_equal(m.h[1].other_count, 64);
	/* Not at once: it may be a forgery while its owner is started anew. */
	model_run(&m, m.now + 8000);
	assert_int_equal(owner_at(&m, 2, 5), m.h[0].name);
	model_run(&m, m.now + 3000);
	assert_int_equal(owner_at(&m, 2, 5), m.h[1].name);
	assert_int_equal(owner_at(&m, 3, 5), m.h[1].name);
	m.h[0].c[0] = (struct container){ 0 };
	host_up(&m, 0);
	model_topology(&m);
	new_links(&m);
	model_run(&m, m.now + 4000);
	expect_owner(&m, 5, 1);
	expect_text(conflict(&m, 0), "is b(0a:00:00:00:01:01)'s by its ring");
	model_end(&m);
}

/* A forgery that was taken by one who could not reach the owner is undone when they meet. */
static void taken_in_a_corner(void **state)
{
	(void)state;
	struct model m;
	struct forged f;
	four(&m);
	uint64_t liar = m.h[LIAR].name;
	m.in_doubt = true;
	m.h[LIAR].side = 1;
	side(&m, 2, 1);
	hear(&m, 2, forge(&m, &f, liar, 0, 63, 0x77, (struct stamp){ 0, 9 }));
	model_run(&m, m.now + 8000);
	assert_int_equal(owner_at(&m, 2, 5), m.h[0].name);
	model_run(&m, m.now + 3000);
	assert_int_equal(owner_at(&m, 2, 5), 0x77); /* who publishes nothing, and so gives up nothing */
	/* Also after a restart it knows whose it was. */
	host_down(&m, 2);
	host_up(&m, 2);
	side(&m, 2, 0);
	new_links(&m);
	model_run(&m, m.now + 5000);
	new_links(&m);
	model_run(&m, m.now + 3000);
	assert_int_equal(owner_at(&m, 0, 5), m.h[0].name);
	assert_int_equal(owner_at(&m, 1, 5), m.h[0].name);
	assert_int_equal(owner_at(&m, 2, 5), m.h[0].name);
	model_end(&m);
}

/* Of two rings the one with more hosts holds, whatever the versions are. */
static void the_larger_ring_holds(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed < 9; seed++) {
		struct model m;
		model_init(&m, seed, 4, 24);
		m.consensus = 2;
		m.in_doubt = true;
		m.h[0].side = 1;
		model_start(&m);
		host_down(&m, 0);
		m.consensus = 1;
		host_up(&m, 0);
		model_topology(&m);
		for (size_t k = 0; k < 4; k++)
			user_allocate(&m, k, 0, k == 0 ? prefix("10.32.0.16/28") : (struct prefix){ 0 });
		model_run(&m, m.now + 500);
		/* The single one has moved its tokens up a long way. */
		for (size_t n = 1; n < 5; n++)
			user_allocate(&m, 0, n, prefix("10.32.0.16/28"));
		struct forged f;
		hear(&m, 0, forge(&m, &f, m.h[0].name, 0, 255, m.h[0].name, (struct stamp){ 0, 900 }));
		assert_int_equal(ring_owned_by(m.h[0].maps[0], m.u, m.h[0].name), 256);
		side(&m, 0, 0);
		new_links(&m);
		for (int k = 0; k < 20; k++) {
			model_run(&m, m.now + 1000);
			new_links(&m);
		}
		for (size_t k = 0; k < 4; k++) {
			assert_int_equal(ring_owned_by(m.h[k].maps[0], m.u, m.h[0].name), 0);
			assert_int_equal(ring_check(m.h[k].maps[0], m.u, NULL), ERR_OK);
			assert_true(conflict(&m, k)[0] != '\0');
			expect_text(conflict(&m, k), "weft reset");
		}
		expect_text(conflict(&m, 0), "by its ring (5 addresses in use here are kept)");
		model_end(&m);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_forged_token_moves_nothing),
		cmocka_unit_test(other_ranges_have_their_bounds),
		cmocka_unit_test(a_claim_is_named),
		cmocka_unit_test(versions_do_not_jump),
		cmocka_unit_test(forged_grants),
		cmocka_unit_test(a_flood),
		cmocka_unit_test(a_missed_move),
		cmocka_unit_test(removed_while_away),
		cmocka_unit_test(taken_in_a_corner),
		cmocka_unit_test(the_larger_ring_holds),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
