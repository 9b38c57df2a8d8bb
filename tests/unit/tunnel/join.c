/* Joining: superframes come back as they were; and whatever arrives, what is written, cut again, is what arrived, flow by flow, in order. */
#include "tests/unit/tunnel/frames.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/rng.h"

enum { CASES = 100000, SLOTS = 256, SLOT = 2048 };

static uint8_t pattern[FRAME_MAX];

static int fill(void **s)
{
	(void)s;
	struct rng g;
	rng_seed(&g, 1);
	rng_fill(&g, pattern, sizeof pattern);
	return 0;
}

static const struct plan tcp4 = { .family = 4,
	.proto = 6,
	.host = 2,
	.ttl = 64,
	.df = true,
	.id = 9,
	.port = 1,
	.window = 500,
	.seq = 0xffffff00,
	.ack = 77,
	.flags = ACK,
	.tcp_options = 12,
	.payload = pattern,
	.n = 1000 };

/* What was emitted, whole. */
struct sink {
	size_t n;
	struct {
		struct vnet v;
		uint8_t *bytes;
		size_t n, frames;
		uint32_t tag;
		uint16_t net;
	} out[SLOTS];
};

static void keep(void *ctx, const struct joined *j)
{
	struct sink *s = ctx;
	size_t at = 0;
	assert_true(s->n < SLOTS);
	uint8_t *bytes = malloc(j->bytes);
	assert_non_null(bytes);
	for (size_t i = 0; i < j->n_parts; i++) {
		memcpy(bytes + at, j->parts[i].p, j->parts[i].n);
		at += j->parts[i].n;
	}
	assert_int_equal(at, j->bytes);
	s->out[s->n].v = j->v;
	s->out[s->n].bytes = bytes;
	s->out[s->n].n = at;
	s->out[s->n].frames = j->frames;
	s->out[s->n].tag = j->tag;
	s->out[s->n++].net = j->net;
}

static void empty(struct sink *s)
{
	for (size_t i = 0; i < s->n; i++)
		free(s->out[i].bytes);
	s->n = 0;
}

/* ---- two frames, of which the second differs */

struct change {
	struct plan second;
	uint32_t tag;
	uint16_t net;
	bool whole; /* its checksum is not partial */
};

/* Frames written for the two of them: 1 joined, 2 not; always in order. */
static size_t pair(const struct plan *first, const struct change *c)
{
	static struct join j;
	static uint8_t memory[2][SLOT];
	struct sink sink = { 0 };
	join_init(&j, true, true, keep, &sink);
	const struct built a = build(first, memory[0]), b = build(&c->second, memory[1]);
	assert_int_equal(join_add(&j, memory[0], a.n, true, 0, 0), FWD_PASSED);
	assert_int_equal(join_add(&j, memory[1], b.n, !c->whole, c->net, c->tag), FWD_PASSED);
	join_flush(&j);
	const size_t n = sink.n;
	size_t frames = 0;
	for (size_t i = 0; i < n; i++)
		frames += sink.out[i].frames;
	assert_int_equal(frames, 2);
	if (n == 2 && c->second.port == first->port && c->net == 0) {
		assert_memory_equal(sink.out[0].bytes, memory[0], a.n);
		assert_memory_equal(sink.out[1].bytes, memory[1], b.n);
		assert_int_equal(sink.out[1].tag, c->tag);
		assert_int_equal(sink.out[0].v.flags, VNET_NEEDS_CSUM);
		assert_int_equal(sink.out[1].v.flags, c->whole ? 0 : VNET_NEEDS_CSUM);
		assert_true(sink.out[0].v.gso_type == VNET_GSO_NONE && sink.out[1].v.gso_type == VNET_GSO_NONE);
	}
	empty(&sink);
	return n;
}

static struct change follows(const struct plan *first)
{
	struct change c = { .second = *first };
	c.second.seq += (uint32_t)first->n;
	c.second.id++;
	c.second.payload += first->n;
	return c;
}

#define JOINED(first, change) assert_int_equal(pair(&(first), &(change)), 1)
#define APART(first, change)  assert_int_equal(pair(&(first), &(change)), 2)

static void tcp_rules(void **s)
{
	(void)s;
	for (uint8_t family = 4; family <= 6; family += 2) {
		struct plan p = tcp4;
		p.family = family;
		const struct change same = follows(&p);
		struct change c = same;
		JOINED(p, c);
		c = same, c.second.n = 999;
		JOINED(p, c);
		c = same, c.second.n = 1001;
		APART(p, c);
		c = same, c.second.n = 0;
		APART(p, c);
		c = same, c.second.seq++;
		APART(p, c);
		c = same, c.second.seq = p.seq;
		APART(p, c);
		c = same, c.second.ack++;
		APART(p, c);
		c = same, c.second.window++;
		APART(p, c);
		c = same, c.second.tcp_options = 8;
		APART(p, c);
		c = same, c.second.tos = 3; /* congestion experienced */
		APART(p, c);
		c = same, c.second.ttl--;
		APART(p, c);
		c = same, c.second.port++;
		APART(p, c);
		c = same, c.second.host++;
		APART(p, c);
		c = same, c.second.tags++;
		APART(p, c);
		c = same, c.second.ip_options = 8;
		APART(p, c);
		c = same, c.net = 1;
		APART(p, c);
		c = same, c.tag = 1;
		APART(p, c);
		c = same, c.whole = true;
		APART(p, c);
		/* flags: PSH and FIN may end, ECE must be the same, CWR must be the first's */
		static const uint8_t may[] = { ACK | PSH, ACK | FIN, ACK | PSH | FIN },
							 may_not[] = { 0, PSH, ACK | SYN, ACK | RST, ACK | URG, ACK | ECE, ACK | CWR, SYN, RST };
		for (size_t i = 0; i < sizeof may; i++) {
			c = same, c.second.flags = may[i];
			JOINED(p, c);
			struct plan first = p;
			first.flags = may[i];
			c = same, c.second.flags = ACK;
			APART(first, c);
		}
		for (size_t i = 0; i < sizeof may_not; i++) {
			c = same, c.second.flags = may_not[i];
			APART(p, c);
		}
		struct plan first = p;
		first.flags = c.second.flags = ACK | ECE;
		JOINED(first, c);
		first.flags = ACK | CWR, c.second.flags = ACK;
		JOINED(first, c);
		c.second.flags = ACK | CWR;
		APART(first, c);
	}
}

static void ip_rules(void **s)
{
	(void)s;
	struct plan p = tcp4;
	struct change c = follows(&p);
	c.second.id = p.id; /* need not count where nothing is to be put together */
	JOINED(p, c);
	c.second.id = (uint16_t)(p.id + 2);
	APART(p, c);
	c.second.id = (uint16_t)(p.id - 1);
	APART(p, c);
	p.df = false;
	c = follows(&p);
	JOINED(p, c);
	c.second.id = p.id;
	APART(p, c);
	c = follows(&p), c.second.df = true;
	APART(p, c);
	p.ip_options = 8;
	c = follows(&p);
	JOINED(p, c);
	p.id = 0xffff;
	c = follows(&p);
	JOINED(p, c);
	/* no id, nothing to count */
	p = tcp4, p.family = 6, p.ip_options = 8;
	c = follows(&p);
	JOINED(p, c);
}

static void udp_rules(void **s)
{
	(void)s;
	for (uint8_t family = 4; family <= 6; family += 2) {
		struct plan p = tcp4;
		p.family = family, p.proto = 17, p.tcp_options = 0, p.df = false;
		const struct change same = follows(&p);
		struct change c = same;
		JOINED(p, c);
		c = same, c.second.n = 3;
		JOINED(p, c);
		c = same, c.second.n = 1001;
		APART(p, c);
		c = same, c.second.n = 0;
		APART(p, c);
		c = same, c.second.port++;
		APART(p, c);
		c = same, c.second.tos = 1;
		APART(p, c);
		c = same, c.second.ttl++;
		APART(p, c);
		c = same, c.whole = true;
		APART(p, c);
		c = same, c.second.proto = 6, c.second.tcp_options = 0;
		APART(p, c);
		c = same, c.tag = 1;
		APART(p, c);
		c = same, c.net = 1;
		APART(p, c);
	}
}

/* What no plan can say: the second differs in one byte. */
static void bytes(void **s)
{
	(void)s;
	static struct join j;
	static uint8_t memory[2][SLOT];
	static struct sink sink;
	struct plan p = tcp4;
	p.tags = 1, p.ip_options = 8;
	const struct change c = follows(&p);
	static const struct {
		size_t at;
		size_t frames;
	} cases[] = { { 0, 1 }, { 3, 2 }, { 9, 2 }, { 15, 2 } /* VLAN */, { 40, 2 } /* option */,
		{ 18 + 28 + 12, 2 } /* reserved bits */, { 18 + 28 + 25, 2 } /* TCP's option */,
		{ 18 + 28 + 19, 1 } /* urgent pointer, which says nothing here */ };
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		join_init(&j, true, true, keep, &sink);
		const struct built a = build(&p, memory[0]), b = build(&c.second, memory[1]);
		memory[1][cases[i].at] ^= i > 0;
		assert_int_equal(join_add(&j, memory[0], a.n, true, 0, 0), FWD_PASSED);
		assert_int_equal(join_add(&j, memory[1], b.n, true, 0, 0), FWD_PASSED);
		join_flush(&j);
		assert_int_equal(sink.n, cases[i].frames);
		empty(&sink);
	}
	/* the same flow on two networks: two flows */
	static uint8_t more[4][SLOT];
	join_init(&j, true, true, keep, &sink);
	for (uint16_t i = 0; i < 4; i++) {
		const struct built b = build(i < 2 ? &p : &c.second, more[i]);
		assert_int_equal(join_add(&j, more[i], b.n, true, i % 2, 0), FWD_PASSED);
	}
	join_flush(&j);
	assert_true(
		sink.n == 2 && sink.out[0].frames == 2 && sink.out[0].net == 0 && sink.out[1].frames == 2 && sink.out[1].net == 1);
	empty(&sink);
}

/* What is joined, and where the bounds are. */
static void bounds(void **s)
{
	(void)s;
	static struct join j;
	static uint8_t memory[JOIN_PARTS + 2][SLOT];
	static struct sink sink;
	for (uint8_t proto = 6; proto <= 17; proto += 11)
		for (size_t size = 100; size <= 1500; size += 1400) {
			struct plan p = tcp4;
			p.proto = proto, p.n = size, p.tcp_options = 0;
			join_init(&j, true, true, keep, &sink);
			for (size_t i = 0; i < JOIN_PARTS + 1; i++) {
				const struct built b = build(&p, memory[i]);
				assert_int_equal(join_add(&j, memory[i], b.n, true, 3, 4), FWD_PASSED);
				p.seq += (uint32_t)size, p.id++;
			}
			assert_true(sink.n == 1); /* full */
			join_flush(&j);
			assert_int_equal(sink.n, 2);
			const size_t full = size == 100 ? JOIN_PARTS : (65535 - 40) / 1500;
			assert_int_equal(sink.out[0].frames, full);
			assert_int_equal(sink.out[1].frames, JOIN_PARTS + 1 - full);
			assert_true(sink.out[0].net == 3 && sink.out[0].tag == 4);
			empty(&sink);
		}
	/* A device that cannot take them gets every frame alone, at once. */
	for (unsigned can = 0; can < 4; can++)
		for (uint8_t proto = 6; proto <= 17; proto += 11) {
			struct plan p = tcp4;
			p.proto = proto, p.tcp_options = 0;
			join_init(&j, can & 1, can & 2, keep, &sink);
			for (size_t i = 0; i < 2; i++) {
				const struct built b = build(&p, memory[i]);
				assert_int_equal(join_add(&j, memory[i], b.n, true, 0, 0), FWD_PASSED);
				p.seq += (uint32_t)p.n, p.id++;
			}
			const bool joins = can & (proto == 6 ? 1 : 2);
			assert_int_equal(sink.n, joins ? 0 : 2);
			join_flush(&j);
			assert_int_equal(sink.n, joins ? 1 : 2);
			empty(&sink);
		}
	/* More flows than runs: the oldest goes. */
	struct plan p = tcp4;
	join_init(&j, true, true, keep, &sink);
	for (uint16_t i = 0; i < JOIN_RUNS + 1; i++) {
		p.port = i;
		const struct built b = build(&p, memory[i]);
		assert_int_equal(join_add(&j, memory[i], b.n, true, 0, 0), FWD_PASSED);
	}
	assert_int_equal(sink.n, 1);
	join_flush(&j);
	assert_int_equal(sink.n, JOIN_RUNS + 1);
	for (size_t i = 0; i <= JOIN_RUNS; i++)
		assert_int_equal(sink.out[i].bytes[35], i);
	empty(&sink);
}

static void refused(void **s)
{
	(void)s;
	static struct join j;
	static struct sink sink;
	uint8_t frame[SLOT] = { 2, [6] = 2, [12] = 0x88, [13] = 0xb5 };
	join_init(&j, true, true, keep, &sink);
	assert_int_equal(join_add(&j, frame, 60, true, 0, 0), FWD_MALFORMED); /* partial, of nothing */
	assert_int_equal(join_add(&j, frame, 13, false, 0, 0), FWD_MALFORMED);
	const struct built b = build(&tcp4, frame);
	assert_int_equal(join_add(&j, frame, b.n - 1, true, 0, 0), FWD_MALFORMED);
	frame[20] = 0x20; /* a fragment has no checksum to complete */
	assert_int_equal(join_add(&j, frame, b.n, true, 0, 0), FWD_MALFORMED);
	join_flush(&j);
	assert_int_equal(sink.n, 0);
	assert_int_equal(join_add(&j, frame, b.n, false, 0, 0), FWD_PASSED);
	assert_true(sink.n == 1 && sink.out[0].v.flags == 0 && sink.out[0].n == b.n);
	empty(&sink);
	/* bytes behind the packet do not come between payloads */
	static uint8_t other[SLOT];
	struct change c = follows(&tcp4);
	build(&tcp4, frame);
	build(&c.second, other);
	assert_int_equal(join_add(&j, frame, b.n + 6, true, 0, 0), FWD_PASSED);
	assert_int_equal(join_add(&j, other, b.n + 6, true, 0, 0), FWD_PASSED);
	join_flush(&j);
	assert_true(sink.n == 1 && sink.out[0].n == b.n + 1000);
	assert_memory_equal(sink.out[0].bytes + b.payload, pattern, 2000);
	empty(&sink);
}

/* ---- there and back */

static struct plan random_plan(struct rng *g, uint16_t flow)
{
	struct plan p = { .family = rng_chance(g, 500000) ? 4 : 6,
		.proto = rng_chance(g, 600000) ? 6 : 17,
		.tags = (uint8_t)rng_below(g, 3),
		.host = (uint8_t)rng_between(g, 1, 3),
		.tos = (uint8_t)rng_u64(g),
		.ttl = 64,
		.df = rng_chance(g, 500000),
		.id = (uint16_t)rng_u64(g),
		.port = flow,
		.window = 600,
		.seq = (uint32_t)rng_u64(g),
		.ack = (uint32_t)rng_u64(g) };
	if (p.proto == 6) {
		p.tcp_options = (uint8_t)(4 * rng_below(g, 4));
		p.flags = (uint8_t)(ACK | (rng_u64(g) & (FIN | PSH | CWR | ECE)));
	}
	if (rng_chance(g, 100000))
		p.ip_options = 8;
	return p;
}

/* Superframes of up to 8 flows, cut, their segments mixed (each flow's in order), joined: they come out as they went in. */
static void round_trip(void **s)
{
	(void)s;
	const uint64_t seed = 31337;
	printf("seed %llu\n", (unsigned long long)seed);
	struct rng g;
	static struct join j;
	static struct sink sink;
	static uint8_t source[JOIN_RUNS][SLOT * 2], segments[JOIN_RUNS][80][SLOT];
	static size_t lengths[JOIN_RUNS][80];
	size_t joined = 0;
	rng_seed(&g, seed);
	for (int round = 0; round < 3000; round++) {
		const size_t flows = rng_between(&g, 1, JOIN_RUNS);
		size_t counts[JOIN_RUNS], at[JOIN_RUNS] = { 0 }, left = 0;
		struct built built[JOIN_RUNS];
		struct vnet vnets[JOIN_RUNS];
		join_init(&j, true, true, keep, &sink);
		for (size_t f = 0; f < flows; f++) {
			struct plan p = random_plan(&g, (uint16_t)f);
			const uint16_t size = (uint16_t)rng_between(&g, 60, 1400);
			p.n = rng_between(&g, size + 1, 3800);
			p.payload = pattern + rng_below(&g, 50000);
			built[f] = build(&p, source[f]);
			vnets[f] = vnet_for(&p, &built[f], size);
			static uint8_t work[SLOT * 2];
			memcpy(work, source[f], built[f].n);
			struct cut c;
			struct segment seg;
			counts[f] = 0;
			assert_int_equal(cut_begin(&c, &vnets[f], work, built[f].n, 1600), FWD_PASSED);
			while (cut_next(&c, &seg)) {
				memcpy(segments[f][counts[f]], seg.frame.p, seg.frame.n);
				lengths[f][counts[f]++] = seg.frame.n;
			}
			left += counts[f];
		}
		while (left > 0) {
			const size_t f = rng_below(&g, flows);
			if (at[f] == counts[f])
				continue;
			assert_int_equal(join_add(&j, segments[f][at[f]], lengths[f][at[f]], true, 0, 0), FWD_PASSED);
			at[f]++;
			left--;
		}
		join_flush(&j);
		assert_int_equal(sink.n, flows);
		for (size_t i = 0; i < flows; i++) {
			size_t f = 0;
			while (sink.out[i].n != built[f].n || memcmp(sink.out[i].bytes, source[f], built[f].n) != 0)
				assert_true(++f < flows);
			assert_memory_equal(&sink.out[i].v, &vnets[f], sizeof vnets[f]);
			joined += sink.out[i].frames;
		}
		empty(&sink);
	}
	assert_true(joined > 10000);
}

/* ---- anything, in any order */

/* Frames added and not seen again, by flow (its port). */
struct waiting {
	uint8_t bytes[SLOT];
	size_t n;
	uint64_t number;
	uint32_t tag;
	uint16_t net;
	uint8_t host, family;
	bool partial, df;
};
enum { FLOWS = 12, OTHERS = FLOWS, DEPTH = 64 };
struct watch {
	struct waiting queue[FLOWS + 1][DEPTH];
	size_t head[FLOWS + 1], n[FLOWS + 1];
	size_t joined, frames, fragments;
};

/* The id of a whole IPv4 packet with DF says nothing, and the kernel writes its own. */
static void blot_id(uint8_t *frame, size_t l3)
{
	memset(frame + l3 + 4, 0, 2);
	memset(frame + l3 + 10, 0, 2);
}

static size_t flow_in(struct slice frame)
{
	struct layout l;
	assert_true(layout_of(frame, &l));
	return l.l4 ? (size_t)(frame.p[l.l4] << 8 | frame.p[l.l4 + 1]) - 1024 : OTHERS;
}

static void expect(struct watch *w, struct slice frame, bool partial, const struct joined *j)
{
	const size_t f = flow_in(frame);
	assert_true(f <= OTHERS && w->n[f] > 0);
	struct waiting *q = &w->queue[f][w->head[f]];
	static uint8_t got[FRAME_MAX];
	memcpy(got, frame.p, frame.n);
	struct layout l;
	assert_true(layout_of(frame, &l));
	assert_int_equal(frame.n, q->n);
	if (l.family == 4 && l.l4 && q->df) {
		blot_id(got, l.l3);
		blot_id(q->bytes, l.l3);
	}
	assert_memory_equal(got, q->bytes, q->n);
	assert_true(partial == q->partial && j->net == q->net && j->tag == q->tag);
	if (l.fragment) /* nothing between its addresses waits that came before */
		for (size_t k = 0; k < FLOWS; k++)
			for (size_t i = 0; i < w->n[k]; i++) {
				const struct waiting *o = &w->queue[k][(w->head[k] + i) % DEPTH];
				assert_true(o->host != q->host || o->family != q->family || o->net != q->net || o->number > q->number);
			}
	w->fragments += l.fragment;
	w->head[f] = (w->head[f] + 1) % DEPTH;
	w->n[f]--;
}

static void compare(void *ctx, const struct joined *j)
{
	struct watch *w = ctx;
	static uint8_t whole[FRAME_MAX];
	size_t at = 0, frames = 0;
	for (size_t i = 0; i < j->n_parts; at += j->parts[i++].n)
		memcpy(whole + at, j->parts[i].p, j->parts[i].n);
	assert_int_equal(at, j->bytes);
	struct cut c;
	struct segment seg;
	assert_int_equal(cut_begin(&c, &j->v, whole, at, SIZE_MAX), FWD_PASSED);
	while (cut_next(&c, &seg)) {
		expect(w, seg.frame, seg.partial, j);
		frames++;
	}
	assert_int_equal(frames, j->frames);
	w->joined += frames > 1;
	w->frames += frames;
}

/* Something a network, or a container, might do to a flow. */
static void disturb(struct rng *g, struct plan *p)
{
	switch (rng_below(g, 12)) {
	case 0: p->seq += 100; break; /* lost */
	case 1: p->seq -= 100; break; /* again */
	case 2: p->flags ^= PSH; break;
	case 3: p->flags ^= ECE; break;
	case 4: p->flags ^= CWR; break;
	case 5: p->ack++; break;
	case 6: p->tos ^= 1; break;
	case 7: p->n = rng_between(g, 0, 300); break;
	case 8: p->id += 5; break;
	case 9: p->flags = (uint8_t)(rng_u64(g) | ACK); break;
	case 10: p->df = !p->df; break;
	default: p->window++;
	}
	if (p->proto == 17)
		p->flags = 0;
}

static size_t other_frame(struct rng *g, uint8_t *out, bool *partial, uint8_t *host)
{
	struct plan p = random_plan(g, OTHERS);
	p.n = rng_below(g, 200);
	p.payload = pattern;
	*host = p.host;
	*partial = false;
	const struct built b = build(&p, out);
	if (p.family == 4)
		out[b.l3 + 6] |= 0x20; /* more fragments */
	else if (p.ip_options == 0)
		out[b.l3 + 6] = 59; /* nothing behind */
	else
		out[b.l3 + 6] = 44;
	return b.n;
}

static void streams(void **s)
{
	(void)s;
	const uint64_t seed = 424242;
	printf("seed %llu\n", (unsigned long long)seed);
	struct rng g;
	static struct join j;
	static struct watch w;
	static uint8_t memory[DEPTH][SLOT];
	struct plan plans[FLOWS];
	uint64_t number = 0;
	rng_seed(&g, seed);
	memset(&w, 0, sizeof w);
	for (uint16_t f = 0; f < FLOWS; f++)
		plans[f] = random_plan(&g, f);
	for (int round = 0; round < CASES / 10; round++) {
		const size_t flows = rng_between(&g, 1, FLOWS), batch = rng_between(&g, 1, DEPTH);
		size_t f = 0;
		join_init(&j, rng_chance(&g, 950000), rng_chance(&g, 950000), compare, &w);
		if (rng_chance(&g, 100000))
			plans[round % FLOWS] = random_plan(&g, (uint16_t)(round % FLOWS));
		for (size_t i = 0; i < batch; i++) {
			bool partial = true;
			uint8_t host;
			size_t n;
			if (rng_chance(&g, 400000))
				f = rng_below(&g, flows);
			size_t to = f;
			struct plan *p = &plans[f];
			if (rng_chance(&g, 30000)) {
				n = other_frame(&g, memory[i], &partial, &host);
				to = OTHERS;
			} else {
				p->n = rng_chance(&g, 950000) ? 200 : rng_below(&g, 400);
				if (p->proto == 6)
					p->flags = (p->flags & (ACK | ECE)) | (rng_chance(&g, 50000) ? PSH : 0);
				if (rng_chance(&g, 80000))
					disturb(&g, p);
				p->payload = pattern + rng_below(&g, 60000);
				const struct built b = build(p, memory[i]);
				n = b.n;
				host = p->host;
				partial = rng_chance(&g, 970000);
				p->seq += (uint32_t)p->n;
				p->id = (uint16_t)(p->id + (!p->df || rng_chance(&g, 700000)));
			}
			struct waiting *q = &w.queue[to][(w.head[to] + w.n[to]++) % DEPTH];
			memcpy(q->bytes, memory[i], n);
			q->n = n, q->number = number++, q->partial = partial, q->df = p->df, q->host = host;
			struct layout l;
			assert_true(layout_of(slice_of(memory[i], n), &l));
			q->family = l.family;
			q->net = to % 4 == 3, q->tag = rng_chance(&g, 20000) ? 1 : 0;
			assert_int_equal(join_add(&j, memory[i], n, partial, q->net, q->tag), FWD_PASSED);
		}
		join_flush(&j);
		for (size_t k = 0; k <= FLOWS; k++)
			assert_int_equal(w.n[k], 0);
	}
	printf("%zu frames, %zu runs joined, %zu fragments\n", w.frames, w.joined, w.fragments);
	assert_true(w.frames > CASES && w.joined > CASES / 10 && w.fragments > 100);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(tcp_rules), cmocka_unit_test(ip_rules), cmocka_unit_test(udp_rules),
		cmocka_unit_test(bytes), cmocka_unit_test(bounds), cmocka_unit_test(refused), cmocka_unit_test(round_trip),
		cmocka_unit_test(streams) };
	return cmocka_run_group_tests(tests, fill, NULL);
}
