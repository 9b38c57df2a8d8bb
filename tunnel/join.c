/* Joining frames that belong together.
 *
 * A run is frames of one flow that a kernel would have had as one: headers of the first, payloads of all. Runs stand side by side, one a flow,
 * found by a hash of what makes the flow; a frame whose hash is known either continues that run, or ends it and is looked at afresh. Two flows with
 * one hash therefore cost each other their joining, and nothing else. Nothing is copied: a run is a list of slices of the frames' own memory, and only
 * when it is emitted are the lengths in its first header put right.
 *
 * Order: what a flow has waiting is emitted before anything else of that flow is. An IP fragment does not say its ports, so it ends all runs between its
 * addresses. Between different flows order means nothing. */
#include "tunnel/segment.h"

#include <string.h>

#include "tunnel/packet.h"

struct arrival {
	uint8_t *frame;
	size_t n;
	struct layout l;
	uint32_t tag;
	uint16_t net;
	bool partial;
};

void join_init(struct join *j, bool tcp, bool udp, join_emit emit, void *ctx)
{
	j->n = 0;
	j->tcp = tcp;
	j->udp = udp;
	j->emit = emit;
	j->ctx = ctx;
	for (uint8_t i = 0; i < JOIN_RUNS; i++)
		j->order[i] = i;
}

/* ---- emitting */

static struct vnet vnet_of(const struct layout *l, bool partial)
{
	if (!partial)
		return (struct vnet){ 0 };
	return (struct vnet){ .flags = VNET_NEEDS_CSUM,
		.hdr_len = l->payload,
		.csum_start = l->l4,
		.csum_offset = l->proto == PROTO_TCP ? TCP_SUM : UDP_SUM };
}

static enum fwd_drop emit_alone(struct join *j, const struct arrival *a)
{
	const struct slice part = { a->frame, a->n };
	const struct joined out = {
		.v = vnet_of(&a->l, a->partial), .net = a->net, .tag = a->tag, .parts = &part, .n_parts = 1, .bytes = a->n, .frames = 1
	};
	j->emit(j->ctx, &out);
	return FWD_PASSED;
}

/* Makes the first header that of the whole. */
static void finish(struct join_run *r, struct vnet *v)
{
	uint8_t *ip = r->first + r->l.l3, *upper = r->first + r->l.l4, *sum = upper + v->csum_offset;
	const uint32_t length = (uint32_t)r->bytes - r->l.l4;
	if (r->l.family == 4) {
		put16(ip + IP4_LENGTH, (uint32_t)r->bytes - r->l.l3);
		packet_ip4_sum(ip, (size_t)(ip[0] & 15) * 4);
	} else {
		put16(ip + IP6_LENGTH, (uint32_t)r->bytes - r->l.l3 - IP6_HEAD);
	}
	put16(sum, packet_changed(get16(sum), r->l.end - r->l.l4, length));
	v->gso_size = r->size;
	if (r->l.proto == PROTO_UDP) {
		put16(upper + UDP_LENGTH, length);
		v->gso_type = VNET_GSO_UDP_L4;
		return;
	}
	upper[TCP_FLAGS] |= r->ending;
	v->gso_type = r->l.family == 4 ? VNET_GSO_TCPV4 : VNET_GSO_TCPV6;
	if (upper[TCP_FLAGS] & TCP_CWR)
		v->gso_type |= VNET_GSO_ECN;
}

/* Emits the run at a position of the order, and takes it out. */
static void emit_run(struct join *j, size_t at)
{
	const uint8_t number = j->order[at];
	struct join_run *r = &j->runs[number];
	struct joined out = { .v = vnet_of(&r->l, true),
		.net = r->net,
		.tag = r->tag,
		.parts = r->parts,
		.n_parts = r->n_parts,
		.bytes = r->bytes,
		.frames = r->n_parts };
	if (r->n_parts > 1)
		finish(r, &out.v);
	j->emit(j->ctx, &out);
	j->n--;
	memmove(&j->order[at], &j->order[at + 1], j->n - at);
	j->order[j->n] = number;
}

void join_flush(struct join *j)
{
	while (j->n > 0)
		emit_run(j, 0);
}

/* ---- which flow */

static uint64_t stir(uint64_t hash, uint64_t v)
{
	hash = (hash ^ v) * UINT64_C(0x9e3779b97f4a7c15);
	return hash ^ hash >> 32;
}

static uint64_t load(const uint8_t *p)
{
	uint64_t v;
	memcpy(&v, p, sizeof v);
	return v;
}

static uint32_t pair_of(const struct arrival *a)
{
	const uint8_t *ip = a->frame + a->l.l3;
	uint64_t hash = a->net;
	if (a->l.family == 4)
		return (uint32_t)stir(hash, load(ip + IP4_SRC));
	for (unsigned i = 0; i < 4; i++)
		hash = stir(hash, load(ip + IP6_SRC + (size_t)8 * i));
	return (uint32_t)hash;
}

static uint32_t flow_of(const struct arrival *a, uint32_t pair)
{
	const uint64_t ports = get32(a->frame + a->l.l4);
	return (uint32_t)stir(pair, ports << 8 | a->l.proto);
}

/* ---- whether a frame may begin or continue a run */

static uint32_t payload_of(const struct arrival *a)
{
	return a->l.end - a->l.payload;
}

enum { HEADER_MAX = 256 }; /* as much as cutting takes */

/* Whole datagram, or TCP with data and nothing but data to say. */
static bool is_plain(const struct arrival *a)
{
	const uint8_t *upper = a->frame + a->l.l4;
	if (!a->partial || payload_of(a) == 0 || a->l.payload > HEADER_MAX)
		return false;
	if (a->l.proto == PROTO_UDP)
		return get16(upper + UDP_LENGTH) == a->l.end - a->l.l4;
	const uint8_t known = TCP_ACK | TCP_PSH | TCP_FIN | TCP_ECE | TCP_CWR;
	return upper[TCP_FLAGS] & TCP_ACK && !(upper[TCP_FLAGS] & ~known) && !(upper[TCP_SIZE] & 15);
}

/* Nothing may come behind it: FIN, PSH. */
static uint8_t ending_of(const struct arrival *a)
{
	return a->l.proto == PROTO_TCP ? a->frame[a->l.l4 + TCP_FLAGS] & (TCP_FIN | TCP_PSH) : 0;
}

static void begin(struct join *j, const struct arrival *a, uint32_t pair, uint32_t flow)
{
	if (j->n == JOIN_RUNS)
		emit_run(j, 0);
	const uint8_t number = j->order[j->n++];
	struct join_run *r = &j->runs[number];
	j->flows[number] = flow;
	j->pairs[number] = pair;
	r->first = a->frame;
	r->l = a->l;
	r->n_parts = 1;
	r->bytes = a->l.end;
	r->parts[0] = (struct slice){ a->frame, a->l.end };
	r->net = a->net;
	r->tag = a->tag;
	r->size = (uint16_t)payload_of(a);
	r->ending = 0;
	r->next_seq = a->l.proto == PROTO_TCP ? get32(a->frame + a->l.l4 + TCP_SEQ) + r->size : 0;
	r->next_id = a->l.family == 4 ? (uint16_t)(get16(a->frame + a->l.l3 + IP4_ID) + 1) : 0;
}

/* IP headers that differ in length, checksum and id alone. */
static bool same_ip(const struct join_run *r, const struct arrival *a)
{
	const uint8_t *x = r->first + r->l.l3, *y = a->frame + a->l.l3;
	const size_t size = (size_t)a->l.l4 - a->l.l3;
	if (a->l.family == 6)
		return memcmp(x, y, IP6_LENGTH) == 0 && memcmp(x + IP6_NEXT, y + IP6_NEXT, IP6_HEAD - IP6_NEXT) == 0 &&
			(size == IP6_HEAD || memcmp(x + IP6_HEAD, y + IP6_HEAD, size - IP6_HEAD) == 0);
	const uint16_t id = get16(y + IP4_ID);
	if (id != r->next_id && !(a->l.df && id == (uint16_t)(r->next_id - 1)))
		return false;
	return memcmp(x, y, IP4_LENGTH) == 0 && memcmp(x + IP4_FRAGMENT, y + IP4_FRAGMENT, IP4_SUM - IP4_FRAGMENT) == 0 &&
		memcmp(x + IP4_SRC, y + IP4_SRC, IP4_HEAD - IP4_SRC) == 0 &&
		(size == IP4_HEAD || memcmp(x + IP4_HEAD, y + IP4_HEAD, size - IP4_HEAD) == 0);
}

static bool same_tcp(const struct join_run *r, const struct arrival *a)
{
	const uint8_t *x = r->first + r->l.l4, *y = a->frame + a->l.l4;
	const size_t size = (size_t)a->l.payload - a->l.l4;
	if (get32(y + TCP_SEQ) != r->next_seq || memcmp(x, y, TCP_SEQ) != 0)
		return false;
	if ((x[TCP_FLAGS] ^ y[TCP_FLAGS]) & TCP_ECE || y[TCP_FLAGS] & TCP_CWR)
		return false;
	return memcmp(x + TCP_ACK_SEQ, y + TCP_ACK_SEQ, 4) == 0 && get16(x + TCP_WINDOW) == get16(y + TCP_WINDOW) &&
		(size == TCP_HEAD || memcmp(x + TCP_HEAD, y + TCP_HEAD, size - TCP_HEAD) == 0);
}

static bool continues(const struct join_run *r, const struct arrival *a)
{
	const struct layout *x = &r->l, *y = &a->l;
	if (a->tag != r->tag || a->net != r->net || y->family != x->family || y->proto != x->proto)
		return false;
	if (y->l3 != x->l3 || y->l4 != x->l4 || y->payload != x->payload || memcmp(r->first, a->frame, y->l3) != 0)
		return false;
	if (payload_of(a) > r->size || r->bytes - x->l3 + payload_of(a) > UINT16_MAX || !same_ip(r, a))
		return false;
	return y->proto == PROTO_TCP ? same_tcp(r, a) : memcmp(r->first + x->l4, a->frame + y->l4, UDP_LENGTH) == 0;
}

/* Appends what continues the run at a position of the order; what ends it sends it off. */
static void append(struct join *j, size_t at, const struct arrival *a)
{
	struct join_run *r = &j->runs[j->order[at]];
	const uint32_t size = payload_of(a);
	r->parts[r->n_parts++] = (struct slice){ a->frame + a->l.payload, size };
	r->bytes += size;
	r->next_seq += size;
	r->next_id = a->l.family == 4 ? (uint16_t)(get16(a->frame + a->l.l3 + IP4_ID) + 1) : 0;
	r->ending = ending_of(a);
	if (size < r->size || r->ending || r->n_parts == JOIN_PARTS)
		emit_run(j, at);
}

static void end_pair(struct join *j, uint32_t pair)
{
	for (size_t at = 0; at < j->n;)
		if (j->pairs[j->order[at]] == pair)
			emit_run(j, at);
		else
			at++;
}

enum fwd_drop join_add(struct join *j, uint8_t *frame, size_t n, bool partial, uint16_t net, uint32_t tag)
{
	struct arrival a = { .frame = frame, .n = n, .partial = partial, .net = net, .tag = tag };
	if (!layout_of((struct slice){ frame, n }, &a.l) || (partial && !a.l.l4))
		return FWD_MALFORMED;
	if (!a.l.l4 && !a.l.fragment)
		return emit_alone(j, &a);
	const uint32_t pair = pair_of(&a);
	if (a.l.fragment) {
		end_pair(j, pair);
		return emit_alone(j, &a);
	}
	const uint32_t flow = flow_of(&a, pair);
	const bool plain = is_plain(&a);
	for (size_t at = 0; at < j->n; at++) {
		const uint8_t number = j->order[at];
		if (j->flows[number] != flow)
			continue;
		if (plain && continues(&j->runs[number], &a)) {
			append(j, at, &a);
			return FWD_PASSED;
		}
		emit_run(j, at);
		break;
	}
	if (!plain || ending_of(&a) || !(a.l.proto == PROTO_TCP ? j->tcp : j->udp))
		return emit_alone(j, &a);
	begin(j, &a, pair, flow);
	return FWD_PASSED;
}
