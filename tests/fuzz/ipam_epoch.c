/* What hosts publish and send about epochs: declarations, votes, whole epochs, and the value that leads from one to the next. First byte: which. Whatever
 * decodes keeps its limits and is written again so that it reads the same. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "ipam/epoch.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct universe universe = { .first = UINT32_C(0x0a200000), .len = 24 };

static void declaration(struct slice in)
{
	struct declaration d, again;
	struct wbuf w;
	if (declaration_decode(in, universe, &d) != ERR_OK)
		return;
	assert(d.n <= EPOCH_SPARE_MAX && d.lease_ms <= LEASE_MS_MAX);
	for (size_t k = 0; k < d.n; k++)
		assert(d.v[k].r.start < d.v[k].r.end && (k == 0 || d.v[k - 1].r.end <= d.v[k].r.start));
	wbuf_grow(&w, EPOCH_VALUE_MAX);
	declaration_encode(&w, &d);
	assert(wbuf_end(&w) == ERR_OK);
	assert(declaration_decode(wbuf_slice(&w), universe, &again) == ERR_OK);
	assert(again.n == d.n && again.serial == d.serial && again.epoch == d.epoch && again.lease_ms == d.lease_ms);
	wbuf_free(&w);
}

static void vote(struct slice in)
{
	struct member m = { .name = 1 };
	struct report x;
	struct vote v;
	struct rbuf r;
	size_t n = 0;
	if (vote_decode(in, &v) != ERR_OK)
		return;
	assert(v.value.n <= EPOCH_VALUE_MAX && v.reports.n <= in.n);
	rbuf_init(&r, v.reports.p, v.reports.n);
	while (n <= EPOCH_MEMBERS_MAX && rbuf_left(&r) > 0 && vote_report(&r, &m, &x))
		n++;
}

static void sound(const struct epoch *e)
{
	assert(e->n <= EPOCH_MEMBERS_MAX && e->n_marks <= EPOCH_MARKS_MAX);
	for (size_t k = 1; k < e->n; k++)
		assert(e->v[k - 1].name < e->v[k].name);
}

static void epoch(struct slice in)
{
	struct epoch e = { 0 }, again = { 0 };
	struct wbuf w;
	if (epoch_decode(in, universe, &e) != ERR_OK)
		return;
	sound(&e);
	wbuf_grow(&w, EPOCH_STATE_MAX);
	epoch_encode(&w, &e);
	assert(wbuf_end(&w) == ERR_OK);
	assert(epoch_decode(wbuf_slice(&w), universe, &again) == ERR_OK && again.digest == e.digest);
	wbuf_free(&w);
	epoch_free(&again);
	epoch_free(&e);
}

/* A value over an epoch of five. */
static void value(struct slice in)
{
	struct epoch e = { 0 }, next = { 0 };
	uint8_t mem[5 * PAXOS_MEMBER];
	struct wbuf w;
	wbuf_fixed(&w, mem, sizeof mem);
	for (uint32_t k = 1; k <= 5; k++) {
		wbuf_u48(&w, k * 16);
		wbuf_u32(&w, k);
	}
	assert(epoch_found(&e, wbuf_slice(&w)) == ERR_OK);
	if (epoch_apply(&e, in, universe, &next) == ERR_OK) {
		sound(&next);
		assert(next.number == e.number + 1);
	}
	epoch_free(&next);
	epoch_free(&e);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static void (*const kinds[])(struct slice) = { declaration, vote, epoch, value };
	if (size == 0)
		return 0;
	/* a copy of its own size, so that a byte read behind it is seen */
	uint8_t *copy = malloc(size - 1 > 0 ? size - 1 : 1);
	if (copy == NULL)
		return 0;
	memcpy(copy, data + 1, size - 1);
	kinds[data[0] % 4](slice_of(copy, size - 1));
	free(copy);
	return 0;
}
