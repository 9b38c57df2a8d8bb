/* Putting pieces together again.
 *
 * A frame under way is a slot and, while it may still be completed, one block of memory with its bytes and the ranges that are there. All
 * pieces come from hosts of the mesh, but in the clear anyone who can forge an underlay address may send them: so each slot and byte is counted, who
 * takes too much loses his own frames first, and nobody's forgotten frame stays longer than FRAG_MS. A frame that contradicted itself leaves its slot
 * as a mark without memory, so that its other pieces do not begin it anew. */
#include "tunnel/frag.h"

#include <string.h>

#include "base/mem.h"

struct range {
	uint16_t from, to; /* to: behind the last byte */
};
struct pieces {
	struct range ranges[FRAG_PIECES];
	uint8_t data[];
};
struct slot {
	uint64_t peer, since_ms;
	uint64_t order; /* 0: free; else when it was begun */
	uint32_t id;
	uint16_t net, total, n_ranges;
	uint16_t have; /* bytes that are there */
	bool partial;
	struct pieces *pieces; /* NULL: only a mark */
};
struct frag {
	struct slot slots[FRAG_FRAMES];
	struct slot *given; /* was handed out by the last call */
	size_t bytes;
	uint64_t order, expired;
};

size_t frag_piece(struct slice frame, uint32_t id, size_t i, size_t room, uint8_t *out)
{
	const size_t most = room > FRAG_HEAD ? (room - FRAG_HEAD) & ~(size_t)7 : 0;
	if (most == 0 || frame.n > FRAG_FRAME_MAX || frame.n > most * FRAG_PIECES || i >= FRAG_PIECES || i * most >= frame.n)
		return 0;
	const size_t at = i * most, size = frame.n - at < most ? frame.n - at : most;
	struct wbuf w;
	wbuf_fixed(&w, out, FRAG_HEAD + size);
	wbuf_u32(&w, id);
	wbuf_u16(&w, (uint16_t)at);
	wbuf_u16(&w, (uint16_t)frame.n);
	wbuf_bytes(&w, frame.p + at, size);
	return FRAG_HEAD + size;
}

enum err frag_new(struct frag **out)
{
	struct frag *f = mem_zalloc(1, sizeof *f);
	if (!f)
		return ERR_NOMEM;
	*out = f;
	return ERR_OK;
}

void frag_free(struct frag *f)
{
	if (!f)
		return;
	for (size_t i = 0; i < FRAG_FRAMES; i++)
		mem_free(f->slots[i].pieces);
	mem_free(f);
}

uint64_t frag_expired(const struct frag *f)
{
	return f->expired;
}

static size_t block(const struct slot *s)
{
	return sizeof(struct pieces) + s->total;
}

static void release(struct frag *f, struct slot *s)
{
	if (s->pieces)
		f->bytes -= block(s);
	mem_free(s->pieces);
	s->pieces = NULL;
}

/* Ends a frame that was not completed; of one that was ended before only the mark is left. */
static void give_up(struct frag *f, struct slot *s)
{
	f->expired += s->pieces != NULL;
	release(f, s);
}

static void tidy(struct frag *f, uint64_t now_ms)
{
	if (f->given) {
		release(f, f->given);
		f->given->order = 0;
		f->given = NULL;
	}
	for (struct slot *s = f->slots; s < f->slots + FRAG_FRAMES; s++)
		if (s->order && now_ms >= s->since_ms + FRAG_MS) {
			give_up(f, s);
			s->order = 0;
		}
}

static struct slot *find(struct frag *f, uint64_t peer, uint32_t id, uint16_t net)
{
	for (struct slot *s = f->slots; s < f->slots + FRAG_FRAMES; s++)
		if (s->order && s->id == id && s->peer == peer && s->net == net)
			return s;
	return NULL;
}

/* A free slot for a frame of that peer, with `size` bytes to spare. */
static struct slot *make_room(struct frag *f, uint64_t peer, size_t size)
{
	for (;;) {
		struct slot *unused = NULL, *oldest = NULL, *own = NULL;
		size_t of_peer = 0;
		for (struct slot *s = f->slots; s < f->slots + FRAG_FRAMES; s++) {
			if (!s->order) {
				unused = s;
				continue;
			}
			if (!oldest || s->order < oldest->order)
				oldest = s;
			if (s->peer == peer && (!own || s->order < own->order))
				own = s;
			of_peer += s->peer == peer;
		}
		if (unused && of_peer < FRAG_PER_PEER && f->bytes + size <= FRAG_BYTES)
			return unused;
		struct slot *goes = own ? own : oldest;
		give_up(f, goes);
		goes->order = 0;
	}
}

static struct slot *begin(struct frag *f, const struct slot *wanted)
{
	struct slot *s = make_room(f, wanted->peer, block(wanted));
	*s = *wanted;
	s->pieces = mem_alloc(block(wanted));
	if (!s->pieces)
		return NULL;
	s->order = ++f->order;
	f->bytes += block(s);
	return s;
}

/* Puts bytes where they belong. false: some are there already, and not as this very piece, or there are too many pieces. */
static bool put(struct slot *s, struct slice data, uint16_t from)
{
	const uint16_t to = (uint16_t)(from + data.n);
	for (size_t i = 0; i < s->n_ranges; i++) {
		const struct range *r = &s->pieces->ranges[i];
		if (from == r->from && to == r->to && memcmp(s->pieces->data + from, data.p, data.n) == 0)
			return true;
		if (from < r->to && to > r->from)
			return false;
	}
	if (s->n_ranges == FRAG_PIECES)
		return false;
	memcpy(s->pieces->data + from, data.p, data.n);
	s->pieces->ranges[s->n_ranges++] = (struct range){ from, to };
	s->have = (uint16_t)(s->have + data.n);
	return true;
}

enum fwd_drop frag_take(struct frag *f, uint64_t peer, uint16_t net, bool partial, struct slice piece, uint64_t now_ms,
	uint8_t **frame, size_t *n, bool *was_partial)
{
	struct rbuf r;
	*frame = NULL;
	*n = 0;
	*was_partial = false;
	tidy(f, now_ms);
	rbuf_init(&r, piece.p, piece.n);
	struct slot wanted = { .peer = peer, .since_ms = now_ms, .id = rbuf_u32(&r), .net = net, .partial = partial };
	const uint16_t from = rbuf_u16(&r);
	wanted.total = rbuf_u16(&r);
	const struct slice data = rbuf_bytes(&r, rbuf_left(&r));
	if (!rbuf_ok(&r) || data.n == 0)
		return FWD_MALFORMED;
	struct slot *s = find(f, peer, wanted.id, net);
	if (s && !s->pieces)
		return FWD_FRAGMENT;
	bool good = from % 8 == 0 && from + data.n <= wanted.total && (from + data.n == wanted.total || data.n % 8 == 0);
	if (s)
		good = good && s->total == wanted.total && s->partial == partial;
	else if (good)
		s = begin(f, &wanted);
	good = good && s && put(s, data, from);
	if (!good) {
		if (s)
			give_up(f, s);
		return FWD_FRAGMENT;
	}
	if (s->have == s->total) {
		f->given = s;
		*frame = s->pieces->data;
		*n = s->total;
		*was_partial = s->partial;
	}
	return FWD_PASSED;
}
