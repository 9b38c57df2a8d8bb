/* Frames in pieces: any order, any loss, any forgery, within the bounds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/rng.h"
#include "tunnel/frag.h"

static struct frag *fresh(void)
{
	struct frag *f;
	assert_int_equal(frag_new(&f), ERR_OK);
	return f;
}

/* A piece made by hand. */
struct raw {
	uint8_t b[1600];
	size_t n;
};

static struct raw raw(uint32_t id, size_t offset, size_t total, size_t n, uint8_t with)
{
	struct raw r = { .n = FRAG_HEAD + n };
	struct wbuf w;
	wbuf_fixed(&w, r.b, FRAG_HEAD);
	wbuf_u32(&w, id);
	wbuf_u16(&w, (uint16_t)offset);
	wbuf_u16(&w, (uint16_t)total);
	memset(r.b + FRAG_HEAD, with, n);
	return r;
}

struct taken {
	enum fwd_drop drop;
	uint8_t *frame;
	size_t n;
	bool partial;
};

static struct taken take(struct frag *f, uint64_t peer, struct raw r, uint64_t now)
{
	struct taken t;
	uint8_t *exact = malloc(r.n ? r.n : 1);
	assert_non_null(exact);
	memcpy(exact, r.b, r.n);
	t.drop = frag_take(f, peer, 0, false, slice_of(exact, r.n), now, &t.frame, &t.n, &t.partial);
	free(exact);
	assert_true(t.drop == FWD_PASSED || !t.frame);
	return t;
}

#define WAITS(t)                                                      \
	do {                                                              \
		const struct taken t_ = (t);                                  \
		assert_true(t_.drop == FWD_PASSED && !t_.frame && t_.n == 0); \
	} while (0)
#define WHOLE(t)                                        \
	do {                                                \
		const struct taken t_ = (t);                    \
		assert_true(t_.drop == FWD_PASSED && t_.frame); \
	} while (0)
#define REFUSED(t, why)                 \
	do {                                \
		const struct taken t_ = (t);    \
		assert_int_equal(t_.drop, why); \
	} while (0)

/* ---- there and back */

static void golden(void **s)
{
	(void)s;
	uint8_t out[32];
	static const uint8_t frame[] = "abcdefghijklmnopqrstuvwxyz";
	static const uint8_t first[] = { 1, 2, 3, 4, 0, 0, 0, 26, 'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i', 'j', 'k', 'l', 'm',
		'n', 'o', 'p' },
						 second[] = { 1, 2, 3, 4, 0, 16, 0, 26, 'q', 'r', 's', 't', 'u', 'v', 'w', 'x', 'y', 'z' };
	const struct slice f = slice_of(frame, 26);
	for (size_t room = 24; room < 32; room++) { /* what is no multiple of 8 is left free */
		assert_int_equal(frag_piece(f, 0x01020304, 0, room, out), 24);
		assert_memory_equal(out, first, 24);
		assert_int_equal(frag_piece(f, 0x01020304, 1, room, out), 18);
		assert_memory_equal(out, second, 18);
		assert_int_equal(frag_piece(f, 0x01020304, 2, room, out), 0);
	}
	assert_int_equal(frag_piece(f, 1, 0, 15, out), 0);
	assert_int_equal(frag_piece(f, 1, 0, 0, out), 0);
	assert_int_equal(frag_piece(slice_of(frame, 0), 1, 0, 24, out), 0);
	assert_int_equal(frag_piece(f, 1, SIZE_MAX, 24, out), 0);
	assert_int_equal(frag_piece(f, 1, SIZE_MAX / 16 + 1, 24, out), 0);
	/* at the bounds */
	uint8_t *large = calloc(1, FRAG_FRAME_MAX + 1), *piece = malloc(1024);
	assert_true(large && piece);
	const size_t most = 8 * ((FRAG_FRAME_MAX / FRAG_PIECES + 7) / 8);
	assert_int_equal(frag_piece(slice_of(large, FRAG_FRAME_MAX), 1, 0, FRAG_HEAD + most, piece), FRAG_HEAD + most);
	assert_int_equal(frag_piece(slice_of(large, FRAG_FRAME_MAX), 1, 0, FRAG_HEAD + most - 8, piece), 0);
	assert_int_equal(frag_piece(slice_of(large, FRAG_FRAME_MAX + 1), 1, 0, 1024, piece), 0);
	assert_int_equal(frag_piece(slice_of(large, most * FRAG_PIECES), 1, FRAG_PIECES, FRAG_HEAD + most, piece), 0);
	free(large);
	free(piece);
}

/* Several frames of several peers and networks at once, their pieces shuffled, some of them twice. */
static void property(void **s)
{
	(void)s;
	const uint64_t seed = 777;
	printf("seed %llu\n", (unsigned long long)seed);
	enum { FRAMES = 8, PIECES = 40 };
	static uint8_t frames[FRAMES][9100];
	static struct {
		uint8_t b[1600];
		size_t n, of;
	} pieces[2 * FRAMES * PIECES];
	struct rng g;
	struct frag *f = fresh();
	const long before = mem_live();
	uint32_t id = UINT32_MAX - 5;
	size_t completed = 0, all = 0;
	rng_seed(&g, seed);
	for (int round = 0; round < 1500; round++) {
		const size_t n_frames = rng_between(&g, 1, FRAMES);
		size_t sizes[FRAMES], n = 0;
		bool partial[FRAMES], whole[FRAMES] = { 0 };
		/* the same id of another peer, or of another network, is another frame */
		const uint64_t now = (uint64_t)round * 10;
		for (size_t k = 0; k < n_frames; k++) {
			const size_t room = rng_between(&g, 300, 1500);
			sizes[k] = rng_between(&g, 14, 9000);
			partial[k] = rng_chance(&g, 500000);
			rng_fill(&g, frames[k], sizes[k]);
			for (size_t i = 0; (pieces[n].n = frag_piece(slice_of(frames[k], sizes[k]), id, i, room, pieces[n].b)) > 0; i++)
				pieces[n++].of = k;
			if (k % 4 == 3)
				id++;
		}
		for (size_t i = n; i > 1; i--) { /* larger than rng_shuffle takes */
			const size_t other = rng_below(&g, i);
			static uint8_t swap[sizeof pieces[0]];
			memcpy(swap, &pieces[i - 1], sizeof swap);
			memcpy(&pieces[i - 1], &pieces[other], sizeof swap);
			memcpy(&pieces[other], swap, sizeof swap);
		}
		for (size_t i = 0; i < n; i++) {
			const size_t k = pieces[i].of;
			uint8_t *frame;
			size_t size;
			bool was_partial;
			for (unsigned times = rng_chance(&g, 100000) && i + 1 < n ? 2 : 1; times > 0; times--) {
				if (whole[k])
					break; /* again after the last begins a frame that never ends: see below */
				assert_int_equal(frag_take(f, 1 + k % 2, k / 2 % 2, partial[k], slice_of(pieces[i].b, pieces[i].n), now, &frame,
									 &size, &was_partial),
					FWD_PASSED);
				if (!frame)
					continue;
				assert_int_equal(size, sizes[k]);
				assert_memory_equal(frame, frames[k], size);
				assert_int_equal(was_partial, partial[k]);
				memset(frame, 0, size); /* it is ours */
				whole[k] = true;
				completed++;
			}
		}
		all += n_frames;
		id++;
	}
	assert_int_equal(completed, all);
	assert_int_equal(frag_expired(f), 0);
	REFUSED(take(f, 1, raw(1, 0, 8, 0, 0), 0), FWD_MALFORMED); /* a call is what frees the last */
	assert_int_equal(mem_live(), before);
	frag_free(f);
}

/* ---- what does not fit */

static void contradictions(void **s)
{
	(void)s;
	struct frag *f = fresh();
	uint64_t expired = 0;
	uint32_t id = 0;
	const struct raw bad[] = {
		raw(0, 0, 64, 24, 2),  /* overlaps, other length */
		raw(0, 8, 64, 16, 1),  /* inside */
		raw(0, 0, 64, 16, 9),  /* the same range, other bytes */
		raw(0, 16, 72, 16, 1), /* another total */
		raw(0, 48, 64, 24, 1), /* outside */
		raw(0, 16, 64, 12, 1), /* not the last, no multiple of 8 */
		raw(0, 20, 64, 16, 1), /* begins at no multiple of 8 */
		raw(0, 0xfff8, 64, 16, 1),
	};
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		WAITS(take(f, 1, raw(++id, 0, 64, 16, 1), 0));
		struct raw r = bad[i];
		memcpy(r.b, (uint8_t[4]){ 0, 0, 0, (uint8_t)id }, 4);
		REFUSED(take(f, 1, r, 0), FWD_FRAGMENT);
		assert_int_equal(frag_expired(f), ++expired);
		/* and so is the rest, till its time is over */
		REFUSED(take(f, 1, raw(id, 16, 64, 48, 1), FRAG_MS - 1), FWD_FRAGMENT);
		REFUSED(take(f, 1, raw(id, 0, 64, 64, 1), FRAG_MS - 1), FWD_FRAGMENT);
		assert_int_equal(frag_expired(f), expired);
		WHOLE(take(f, 1, raw(id, 0, 64, 64, 1), FRAG_MS));
	}
	/* other checksum rules */
	uint8_t *frame;
	size_t n;
	bool partial;
	const struct raw one = raw(100, 0, 64, 16, 1), two = raw(100, 16, 64, 48, 1);
	assert_int_equal(frag_take(f, 1, 0, true, slice_of(one.b, one.n), 0, &frame, &n, &partial), FWD_PASSED);
	assert_int_equal(frag_take(f, 1, 0, false, slice_of(two.b, two.n), 0, &frame, &n, &partial), FWD_FRAGMENT);
	/* begun by what is wrong in itself: nothing is begun */
	const long before = mem_live();
	REFUSED(take(f, 1, raw(200, 8, 8, 8, 1), 0), FWD_FRAGMENT);
	REFUSED(take(f, 1, raw(200, 0, 0, 8, 1), 0), FWD_FRAGMENT);
	WHOLE(take(f, 1, raw(200, 0, 8, 8, 1), 0));
	for (size_t cut = 0; cut <= FRAG_HEAD; cut++) {
		struct raw r = raw(201, 0, 8, 8, 1);
		r.n = cut;
		REFUSED(take(f, 1, r, 0), FWD_MALFORMED);
	}
	assert_int_equal(mem_live(), before);
	frag_free(f);
}

static void again(void **s)
{
	(void)s;
	struct frag *f = fresh();
	WAITS(take(f, 1, raw(1, 0, 24, 16, 1), 0));
	WAITS(take(f, 1, raw(1, 0, 24, 16, 1), 0));
	WHOLE(take(f, 1, raw(1, 16, 24, 8, 2), 0));
	/* after the end it is the beginning of another, which is given up in time */
	WAITS(take(f, 1, raw(1, 16, 24, 8, 2), 0));
	assert_int_equal(frag_expired(f), 0);
	WHOLE(take(f, 1, raw(2, 0, 8, 8, 2), FRAG_MS));
	assert_int_equal(frag_expired(f), 1);
	frag_free(f);
}

static void time_out(void **s)
{
	(void)s;
	struct frag *f = fresh();
	const long before = mem_live();
	WAITS(take(f, 1, raw(1, 0, 64, 16, 1), 1000));
	WAITS(take(f, 1, raw(1, 16, 64, 16, 1), 1000 + FRAG_MS - 1)); /* counted from the first */
	assert_int_equal(mem_live(), before + 1);
	WAITS(take(f, 1, raw(1, 32, 64, 32, 1), 1000 + FRAG_MS));
	assert_int_equal(frag_expired(f), 1);
	assert_int_equal(mem_live(), before + 1);
	frag_free(f);
	frag_free(NULL);
}

/* ---- bombs */

static void of_one_peer(void **s)
{
	(void)s;
	struct frag *f = fresh();
	const long before = mem_live();
	WAITS(take(f, 2, raw(5, 0, 24, 16, 1), 0)); /* someone else's */
	for (uint32_t id = 0; id < 10000; id++) {
		WAITS(take(f, 1, raw(id, 0, 1000, 8, 1), 0));
		assert_true(mem_live() - before <= 1 + FRAG_PER_PEER);
	}
	assert_int_equal(frag_expired(f), 10000 - FRAG_PER_PEER);
	/* the newest of his are there; the other's is untouched */
	WAITS(take(f, 1, raw(10000 - FRAG_PER_PEER, 8, 1000, 8, 1), 0));
	assert_int_equal(frag_expired(f), 10000 - FRAG_PER_PEER);
	WHOLE(take(f, 2, raw(5, 16, 24, 8, 1), 0));
	/* marks of frames that contradicted themselves are counted like frames */
	for (uint32_t id = 20000; id < 21000; id++) {
		WAITS(take(f, 1, raw(id, 0, 1000, 8, 1), 0));
		REFUSED(take(f, 1, raw(id, 0, 1000, 16, 1), 0), FWD_FRAGMENT);
	}
	assert_int_equal(mem_live(), before);
	frag_free(f);
}

static void of_bytes(void **s)
{
	(void)s;
	struct frag *f = fresh();
	const long before = mem_live();
	const long most = FRAG_BYTES / FRAG_FRAME_MAX;
	WAITS(take(f, 2, raw(5, 0, 24, 16, 1), 0));
	for (uint32_t id = 0; id < 1000; id++) {
		WAITS(take(f, 1, raw(id, 8 * id, FRAG_FRAME_MAX, 8, 1), 0));
		assert_true(mem_live() - before <= most);
	}
	WHOLE(take(f, 2, raw(5, 16, 24, 8, 1), 0)); /* who takes too much pays himself */
	/* who has nothing takes from the oldest */
	WAITS(take(f, 3, raw(1, 0, FRAG_FRAME_MAX, 8, 1), 0));
	WAITS(take(f, 4, raw(1, 0, FRAG_FRAME_MAX, 8, 1), 0));
	assert_true(mem_live() - before <= most);
	frag_free(f);
}

static void of_peers(void **s)
{
	(void)s;
	struct frag *f = fresh();
	const long before = mem_live();
	for (uint64_t peer = 1; peer <= 1000; peer++) {
		WAITS(take(f, peer, raw(1, 0, 1000, 8, 1), 0));
		assert_true(mem_live() - before <= FRAG_FRAMES);
	}
	assert_int_equal(mem_live() - before, FRAG_FRAMES);
	assert_int_equal(frag_expired(f), 1000 - FRAG_FRAMES);
	WAITS(take(f, 1000 - FRAG_FRAMES + 1, raw(1, 8, 1000, 8, 1), 0)); /* the oldest that is left */
	assert_int_equal(frag_expired(f), 1000 - FRAG_FRAMES);
	frag_free(f);
}

static void of_pieces(void **s)
{
	(void)s;
	struct frag *f = fresh();
	for (size_t i = 0; i < FRAG_PIECES; i++)
		WAITS(take(f, 1, raw(1, 8 * i, 60000, 8, 1), 0));
	REFUSED(take(f, 1, raw(1, (size_t)8 * FRAG_PIECES, 60000, 8, 1), 0), FWD_FRAGMENT);
	/* as many as are allowed */
	for (size_t i = 0; i < FRAG_PIECES - 1; i++)
		WAITS(take(f, 1, raw(2, 8 * i, (size_t)8 * FRAG_PIECES, 8, 1), 0));
	WHOLE(take(f, 1, raw(2, 8 * (FRAG_PIECES - 1), (size_t)8 * FRAG_PIECES, 8, 1), 0));
	frag_free(f);
}

static void memory_out(void **s)
{
	(void)s;
	struct frag *f = NULL;
	mem_fail_at(1, false);
	assert_int_equal(frag_new(&f), ERR_NOMEM);
	mem_fail_at(0, false);
	assert_null(f);
	f = fresh();
	mem_fail_at(1, false);
	REFUSED(take(f, 1, raw(1, 0, 16, 8, 1), 0), FWD_FRAGMENT);
	mem_fail_at(0, false);
	WAITS(take(f, 1, raw(1, 0, 16, 8, 1), 0));
	WHOLE(take(f, 1, raw(1, 8, 16, 8, 1), 0));
	frag_free(f);
}

/* Random pieces of few ids and few bytes: what comes out whole is as long as its total, and memory stays within the bounds. */
static void chaos(void **s)
{
	(void)s;
	const uint64_t seed = 4242;
	printf("seed %llu\n", (unsigned long long)seed);
	struct rng g;
	struct frag *f = fresh();
	const long before = mem_live();
	size_t whole = 0, refused = 0;
	uint64_t now = 0;
	rng_seed(&g, seed);
	for (int i = 0; i < 100000; i++) {
		const size_t total = 8 * rng_between(&g, 2, 4), n = 8 * rng_between(&g, 1, 2);
		const struct taken t = take(f, rng_below(&g, 8),
			raw((uint32_t)rng_below(&g, 40), 8 * rng_below(&g, 5), total, n, (uint8_t)total), now += rng_below(&g, 3));
		if (t.frame) {
			assert_int_equal(t.n, total);
			for (size_t k = 0; k < total; k++)
				assert_int_equal(t.frame[k], total);
			whole++;
		}
		refused += t.drop == FWD_FRAGMENT;
		assert_true(mem_live() - before <= FRAG_FRAMES);
	}
	assert_true(whole > 1000 && refused > 1000);
	frag_free(f);
	assert_int_equal(mem_live(), before - 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(golden), cmocka_unit_test(property), cmocka_unit_test(contradictions),
		cmocka_unit_test(again), cmocka_unit_test(time_out), cmocka_unit_test(of_one_peer), cmocka_unit_test(of_bytes),
		cmocka_unit_test(of_peers), cmocka_unit_test(of_pieces), cmocka_unit_test(memory_out), cmocka_unit_test(chaos) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
