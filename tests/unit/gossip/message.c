/* The table of messages: decode after encode is identity for every row, the bytes are the ones that docs/wire.md draws, and what is
 * cut short, too long or out of range is refused. Codecs of the `peers` items. Which peers are wanted. */
#include "tests/unit/base/cmocka_all.h"

#include <stdio.h>
#include <string.h>

#include "base/rng.h"
#include "gossip/internal.h"
#include "tests/unit/base/seed.h"

static const char *hex(const uint8_t *p, size_t n, char *out)
{
	for (size_t i = 0; i < n; i++)
		(void)snprintf(out + 2 * i, 3, "%02x", p[i]);
	out[2 * n] = '\0';
	return out;
}

static struct hostport v4(uint32_t a, uint16_t port)
{
	return (struct hostport){ .ip = ip_v4(a), .port = port };
}

static const struct {
	struct message m;
	const char *golden;
} examples[] = {
	{ { .type = MESSAGE_HELLO,
		  .u.hello = { .name = 0x020000000001,
			  .incarnation = 5,
			  .uid = 0x1122334455667788,
			  .dial_seq = 3,
			  .port = 6783,
			  .protocol = 1,
			  .sign_key = { 1 },
			  .nickname = { (const uint8_t *)"h1", 2 },
			  .version = { (const uint8_t *)"0.1", 3 },
			  .worth = WORTH_BOUND } },
		"01" /* type */
		"0106020000000001"
		"02080000000000000005"
		"03081122334455667788"
		"04021a7f"
		"05080000000000000003"
		"06020001"
		"07026831"
		"0803302e31"
		"09200100000000000000000000000000000000000000000000000000000000000000"
		"0a0102" },
	{ { .type = MESSAGE_PING, .u.ping = { 7, 1000 } }, "02000000000000000700000000000003e8" },
	{ { .type = MESSAGE_PONG, .u.ping = { 7, 1000 } }, "03000000000000000700000000000003e8" },
	{ { .type = MESSAGE_DELTA, .u.state = { 5, { (const uint8_t *)"\0", 1 } } }, "040500" },
	{ { .type = MESSAGE_RECON, .u.state = { 1, { (const uint8_t *)"abc", 3 } } }, "0501616263" },
	{ { .type = MESSAGE_UNICAST,
		  .u.unicast = { .from = 0x0a, .to = 0x0b, .hops = 32, .kind = 7, .payload = { (const uint8_t *)"hi", 2 } } },
		"0600000000000a00000000000b200702686900" },
	{ { .type = MESSAGE_UNICAST,
		  .u.unicast = { .from = 0x0a,
			  .to = 0x0b,
			  .hops = 32,
			  .kind = 7,
			  .payload = { (const uint8_t *)"hi", 2 },
			  .is_signed = true,
			  .uid = 5,
			  .serial = 6,
			  .signature = { 0xaa } } },
		"0600000000000a00000000000b2007026869"
		"5000000000000000050000000000000006"
		"aa00000000000000000000000000000000000000000000000000000000000000"
		"0000000000000000000000000000000000000000000000000000000000000000" },
	{ { .type = MESSAGE_BYE, .u.bye = { BYE_DUPLICATE_NAME, { { 4, { 10, 0, 0, 1 } }, 6783 }, { (const uint8_t *)"x", 1 } } },
		"0703040a0000011a7f0178" },
	{ { .type = MESSAGE_BYE, .u.bye = { BYE_STOPPING, { { 0 }, 0 }, { NULL, 0 } } }, "070100000000" },
	{ { .type = MESSAGE_CONTEST, .u.contest = { 0x0c, 1, 2, { 9 }, { { 4, { 10, 0, 0, 1 } }, 6783 }, 32, 0x0d, 3, 4, { 7 } } },
		"0800000000000c000000000000000100000000000000020900000000000000000000000000000000000000000000000000000000000000040a0000011a7f20"
		"00000000000d0000000000000003000000000000000407000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000" },
	{ { .type = MESSAGE_WANT, .u.want = { WORTH_WANTED } }, "0901" },
};
enum { EXAMPLES = sizeof examples / sizeof examples[0] };

static void assert_same(const struct message *a, const struct message *b)
{
	assert_int_equal(a->type, b->type);
	switch (a->type) {
	case MESSAGE_HELLO:
		assert_true(a->u.hello.name == b->u.hello.name && a->u.hello.incarnation == b->u.hello.incarnation &&
			a->u.hello.uid == b->u.hello.uid && a->u.hello.dial_seq == b->u.hello.dial_seq &&
			a->u.hello.port == b->u.hello.port && a->u.hello.protocol == b->u.hello.protocol &&
			a->u.hello.worth == b->u.hello.worth);
		assert_true(slice_eq(a->u.hello.nickname, b->u.hello.nickname) && slice_eq(a->u.hello.version, b->u.hello.version));
		assert_memory_equal(a->u.hello.sign_key, b->u.hello.sign_key, 32);
		break;
	case MESSAGE_PING:
	case MESSAGE_PONG: assert_true(a->u.ping.id == b->u.ping.id && a->u.ping.time_ms == b->u.ping.time_ms); break;
	case MESSAGE_DELTA:
	case MESSAGE_RECON:
		assert_int_equal(a->u.state.channel, b->u.state.channel);
		assert_true(slice_eq(a->u.state.body, b->u.state.body));
		break;
	case MESSAGE_UNICAST:
		assert_true(a->u.unicast.from == b->u.unicast.from && a->u.unicast.to == b->u.unicast.to &&
			a->u.unicast.hops == b->u.unicast.hops && a->u.unicast.kind == b->u.unicast.kind);
		assert_true(slice_eq(a->u.unicast.payload, b->u.unicast.payload));
		assert_true(a->u.unicast.is_signed == b->u.unicast.is_signed && a->u.unicast.uid == b->u.unicast.uid &&
			a->u.unicast.serial == b->u.unicast.serial);
		assert_memory_equal(a->u.unicast.signature, b->u.unicast.signature, CRDT_SIGNATURE);
		break;
	case MESSAGE_BYE:
		assert_int_equal(a->u.bye.reason, b->u.bye.reason);
		assert_true(hostport_eq(a->u.bye.address, b->u.bye.address) && slice_eq(a->u.bye.text, b->u.bye.text));
		break;
	case MESSAGE_CONTEST:
		assert_true(a->u.contest.name == b->u.contest.name && a->u.contest.uid == b->u.contest.uid &&
			a->u.contest.incarnation == b->u.contest.incarnation && a->u.contest.hops == b->u.contest.hops);
		assert_true(hostport_eq(a->u.contest.address, b->u.contest.address));
		assert_memory_equal(a->u.contest.key, b->u.contest.key, 32);
		assert_true(a->u.contest.reporter == b->u.contest.reporter && a->u.contest.reporter_uid == b->u.contest.reporter_uid &&
			a->u.contest.serial == b->u.contest.serial);
		assert_memory_equal(a->u.contest.signature, b->u.contest.signature, CRDT_SIGNATURE);
		break;
	case MESSAGE_WANT: assert_int_equal(a->u.want.worth, b->u.want.worth); break;
	}
}

static void golden(void **state)
{
	(void)state;
	unsigned covered = 0;
	for (size_t i = 0; i < EXAMPLES; i++) {
		uint8_t mem[512];
		char text[1025];
		struct wbuf w;
		struct message back;
		wbuf_fixed(&w, mem, sizeof mem);
		assert_int_equal(gossip_message_encode(&w, &examples[i].m), ERR_OK);
		assert_string_equal(hex(mem, w.len, text), examples[i].golden);
		assert_int_equal(gossip_message_decode(wbuf_slice(&w), &back), ERR_OK);
		assert_same(&examples[i].m, &back);
		covered |= 1u << examples[i].m.type;
	}
	for (unsigned type = 0; type < 256; type++)
		if (gossip_message_row((uint8_t)type))
			assert_true(type < 32 && (covered >> type & 1)); /* every row has an example; counters have room for it */
}

static struct slice some(struct rng *r, uint8_t *mem, size_t max, bool text)
{
	size_t n = (size_t)rng_below(r, max + 1);
	for (size_t i = 0; i < n; i++)
		mem[i] = text ? (uint8_t)rng_between(r, 0x20, 0x7e) : (uint8_t)rng_below(r, 256);
	return slice_of(mem, n);
}

static struct hostport somewhere(struct rng *r)
{
	struct hostport h;
	memset(&h, 0, sizeof h);
	h.ip.family = (uint8_t)(rng_below(r, 3) * 2);
	if (h.ip.family == 2)
		h.ip.family = 6;
	rng_fill(r, h.ip.b, h.ip.family == 4 ? 4 : h.ip.family == 6 ? 16 : 0);
	h.port = (uint16_t)rng_u64(r);
	return h;
}

static void make(struct rng *r, struct message *m, uint8_t *mem)
{
	memset(m, 0, sizeof *m);
	m->type = (enum message_type)rng_between(r, 1, 9);
	switch (m->type) {
	case MESSAGE_HELLO:
		m->u.hello = (struct message_hello){ .name = rng_between(r, 1, PEER_MAX),
			.incarnation = rng_u64(r) | 1,
			.uid = rng_u64(r) | 1,
			.dial_seq = rng_u64(r),
			.port = (uint16_t)rng_u64(r),
			.protocol = (uint16_t)rng_between(r, 1, 9),
			.nickname = some(r, mem, 64, true),
			.version = some(r, mem + 64, 64, true) };
		rng_fill(r, m->u.hello.sign_key, 32);
		m->u.hello.worth = (uint8_t)rng_u64(r);
		break;
	case MESSAGE_PING:
	case MESSAGE_PONG: m->u.ping = (struct message_ping){ rng_u64(r), rng_u64(r) }; break;
	case MESSAGE_DELTA:
	case MESSAGE_RECON: m->u.state = (struct message_state){ (uint8_t)rng_u64(r), some(r, mem, 500, false) }; break;
	case MESSAGE_UNICAST:
		m->u.unicast = (struct message_unicast){ .from = rng_between(r, 1, PEER_MAX),
			.to = rng_between(r, 1, PEER_MAX),
			.hops = (uint8_t)rng_below(r, GOSSIP_HOPS_MAX + 1),
			.kind = (uint8_t)rng_u64(r),
			.payload = some(r, mem, 500, false),
			.is_signed = rng_below(r, 2) == 0 };
		if (m->u.unicast.is_signed) {
			m->u.unicast.uid = rng_u64(r);
			m->u.unicast.serial = rng_u64(r);
			rng_fill(r, m->u.unicast.signature, CRDT_SIGNATURE);
		}
		break;
	case MESSAGE_BYE:
		m->u.bye = (struct message_bye){ (enum bye_reason)rng_below(r, BYE_REASONS), somewhere(r),
			some(r, mem, MESSAGE_TEXT_MAX, true) };
		break;
	case MESSAGE_CONTEST:
		m->u.contest.name = rng_between(r, 1, PEER_MAX);
		m->u.contest.uid = rng_u64(r) | 1;
		m->u.contest.incarnation = rng_u64(r);
		rng_fill(r, m->u.contest.key, 32);
		m->u.contest.address = somewhere(r);
		m->u.contest.reporter = rng_between(r, 1, PEER_MAX);
		m->u.contest.reporter_uid = rng_u64(r);
		m->u.contest.serial = rng_u64(r);
		rng_fill(r, m->u.contest.signature, CRDT_SIGNATURE);
		m->u.contest.hops = (uint8_t)rng_below(r, GOSSIP_HOPS_MAX + 1);
		break;
	case MESSAGE_WANT: m->u.want.worth = (uint8_t)rng_u64(r); break;
	}
}

/* Identity; any cut is refused (or, where the rest is the body, read as a shorter one); any extension is skipped where that is promised. */
static void identity(void **state)
{
	uint64_t seed = test_seed("identity");
	struct rng r;

	(void)state;
	rng_seed(&r, seed);
	for (int round = 0; round < 20000; round++) {
		uint8_t mem[600], bytes[2048];
		struct message m, back;
		struct wbuf w;
		make(&r, &m, mem);
		wbuf_fixed(&w, bytes, sizeof bytes);
		assert_int_equal(gossip_message_encode(&w, &m), ERR_OK);
		assert_int_equal(gossip_message_decode(wbuf_slice(&w), &back), ERR_OK);
		assert_same(&m, &back);
		size_t cut = (size_t)rng_below(&r, w.len);
		bool open = m.type == MESSAGE_DELTA || m.type == MESSAGE_RECON;
		enum err e = gossip_message_decode(slice_of(bytes, cut), &back);
		if (m.type != MESSAGE_HELLO) /* a HELLO may end after any field */
			assert_true(open && cut >= 2 ? e == ERR_OK : e != ERR_OK);
		if (open)
			continue;
		if (m.type == MESSAGE_HELLO) {
			wbuf_varint(&w, 200 + rng_below(&r, 1000));
			wbuf_lv(&w, slice_str("from the future"));
		} else {
			wbuf_bytes(&w, "from the future", 15);
		}
		assert_int_equal(gossip_message_decode(wbuf_slice(&w), &back), ERR_OK);
		assert_same(&m, &back);
	}
}

static void refused(void **state)
{
	static uint8_t big[MESSAGE_MAX + 2];
	struct message m;

	(void)state;
	assert_int_equal(gossip_message_decode(slice_of(big, 0), &m), ERR_TRUNCATED);
	assert_int_equal(gossip_message_decode(slice_of(big, 1), &m), ERR_UNSUPPORTED);
	for (unsigned type = 1; type < 256; type++) {
		const struct message_row *row = gossip_message_row((uint8_t)type);
		big[0] = (uint8_t)type;
		assert_int_equal(gossip_message_decode(slice_of(big, sizeof big), &m), row ? ERR_LIMIT : ERR_UNSUPPORTED);
	}
	static const char *const bad[] = {
		"\1\1\6\0\0\0\0\0\1",               /* HELLO without uid */
		"\1\1\5\0\0\0\0\1",                 /* a name of five bytes */
		"\1\7\1\33",                        /* a nickname with an escape */
		"\7\0\5\0\0\0",                     /* BYE from address family 5 */
		"\6\0\0\0\0\0\0\0\0\0\0\0\1\0\0\0", /* UNICAST from nobody */
	};
	static const size_t size[] = { 9, 8, 4, 6, 16 };
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		assert_int_not_equal(gossip_message_decode(slice_of(bad[i], size[i]), &m), ERR_OK);
	uint8_t many[3 * (MESSAGE_FIELDS_MAX + 1)] = { MESSAGE_HELLO };
	memset(many + 1, 0, sizeof many - 1);
	for (size_t i = 1; i + 1 < sizeof many; i += 2)
		many[i] = 100;
	assert_int_not_equal(gossip_message_decode(slice_of(many, 1 + 2 * (MESSAGE_FIELDS_MAX + 1)), &m), ERR_OK);
}

static void peer_info(void **state)
{
	uint8_t mem[2048];
	char text[4097];
	struct wbuf w;
	struct peer_info in = { .name = 0x020000000001,
		.nickname = "h1",
		.version = "0.1",
		.uid = 9,
		.port = 6783,
		.n_addresses = 2 },
					 out;

	(void)state;
	in.key[0] = 1;
	in.sign_key[31] = 2;
	in.addresses[0] = v4(0x0a000001, 6783);
	in.addresses[1] = (struct hostport){ .ip = { .family = 6, .b = { 0xfd } }, .port = 1 };
	in.extra = slice_str("dp");
	wbuf_fixed(&w, mem, sizeof mem);
	gossip_peer_info_encode(&w, &in);
	assert_int_equal(wbuf_end(&w), ERR_OK);
	assert_string_equal(hex(mem, w.len, text),
		"0106020000000001"
		"02026831"
		"0303302e31"
		"04200100000000000000000000000000000000000000000000000000000000000000"
		"09200000000000000000000000000000000000000000000000000000000000000002"
		"05080000000000000009"
		"06021a7f"
		"0707040a0000011a7f"
		"071306fd0000000000000000000000000000000001"
		"08026470");
	wbuf_varint(&w, 77); /* a field of a newer version */
	wbuf_lv(&w, slice_str("?"));
	assert_int_equal(peer_info_decode(wbuf_slice(&w), &out), ERR_OK);
	assert_true(out.name == in.name && out.uid == 9 && out.port == 6783 && out.n_addresses == 2);
	assert_string_equal(out.nickname, "h1");
	assert_true(hostport_eq(out.addresses[0], in.addresses[0]) && hostport_eq(out.addresses[1], in.addresses[1]));
	assert_true(slice_eq(out.extra, in.extra));
	for (size_t cut = 1; cut < w.len; cut++)
		(void)!peer_info_decode(slice_of(mem, cut), &out);
	assert_int_not_equal(peer_info_decode(slice_of(mem, w.len - 1), &out), ERR_OK);
	assert_int_not_equal(peer_info_decode(slice_of("\2\1\n", 3), &out), ERR_OK); /* a nickname that breaks lines */
	wbuf_reset(&w);
	for (int i = 0; i < 40; i++) /* more addresses than fit: the first ones count */
		wbuf_bytes(&w, "\7\7\4\1\2\3\4\0\1", 9);
	assert_int_equal(peer_info_decode(wbuf_slice(&w), &out), ERR_OK);
	assert_int_equal(out.n_addresses, GOSSIP_ADDRESSES_MAX);
}

static void links(void **state)
{
	static struct peer_link in[GOSSIP_LINKS_MAX];
	static uint8_t mem[CRDT_VALUE_MAX];
	struct peer_links out;
	struct peer_link l;
	struct peer_closed closed[PEER_CLOSED_MAX];
	struct wbuf w;

	(void)state;
	for (size_t i = 0; i < GOSSIP_LINKS_MAX; i++)
		in[i] = (struct peer_link){ 0x100 + i, i % 2 == 0,
			{ .ip = { .family = 6, .b = { 0xfd, (uint8_t)i } }, .port = (uint16_t)i }, (uint32_t)(i + 1) };
	for (size_t i = 0; i < PEER_CLOSED_MAX; i++)
		closed[i] = (struct peer_closed){ .name = 0x5000 + i, .uid = UINT64_MAX - i };
	static const size_t sizes[] = { 0, 1, 2, 31, 224, 225, GOSSIP_LINKS_MAX }; /* the largest fits as well */
	for (size_t k = 0; k < sizeof sizes / sizeof sizes[0]; k++) {
		wbuf_fixed(&w, mem, sizeof mem);
		assert_int_equal(gossip_peer_links_encode(&w, in, sizes[k]), ERR_OK);
		size_t alone = w.len, n_closed = k % 2 == 0 ? PEER_CLOSED_MAX - k : 0, n_lost = k % 3 == 0 ? k : 0;
		assert_int_equal(gossip_peer_closed_encode(&w, closed, n_closed, 0), ERR_OK);
		size_t with_closed = w.len;
		w.len = alone;
		assert_int_equal(gossip_peer_closed_encode(&w, closed, n_closed, n_lost), ERR_OK);
		assert_int_equal(gossip_peer_links_decode(wbuf_slice(&w), &out), ERR_OK);
		assert_int_equal(out.n, sizes[k]);
		assert_int_equal(out.n_closed, n_closed);
		assert_int_equal(out.n_lost, n_lost);
		for (size_t i = 0; i < out.n; i++) {
			assert_int_equal(out.names[i], in[i].name);
			assert_true(gossip_peer_link_find(wbuf_slice(&w), in[i].name, &l) && l.name == in[i].name);
			assert_int_equal(out.tags[i], out.n > 224 ? 0 : in[i].tag);
			assert_true(out.n > 224 || (hostport_eq(l.address, in[i].address) && l.outbound == in[i].outbound));
		}
		assert_false(gossip_peer_link_find(wbuf_slice(&w), 0x99, &l) || gossip_peer_link_find(wbuf_slice(&w), 0x9999, &l));
		for (size_t i = 0; i < out.n_closed + out.n_lost; i++)
			assert_true(out.closed[i].name == closed[i].name && out.closed[i].uid == closed[i].uid);
		mem_free(out.names);
		for (size_t cut = 0; cut < w.len && k < 4; cut++) {
			if (cut == alone || cut == with_closed)
				continue; /* whole as it was before there was more to say */
			if (n_closed == 0 && cut == alone + 1)
				continue; /* an empty list */
			assert_int_not_equal(gossip_peer_links_decode(slice_of(mem, cut), &out), ERR_OK);
			assert_null(out.names);
		}
	}
	static const char twice[] = "\2\0\0\0\0\0\5\0\0\0\0\0\0\5\0", lies[] = "\377\377\3\0", many[] = "\200\20\0";
	assert_int_equal(gossip_peer_links_decode(slice_of(twice, 15), &out), ERR_MALFORMED);
	assert_int_equal(gossip_peer_links_decode(slice_of(lies, 4), &out), ERR_LIMIT);
	assert_int_equal(gossip_peer_links_decode(slice_of(many, 3), &out), ERR_LIMIT);
	uint8_t over[1 + 1 + (PEER_CLOSED_MAX + 1) * 14] = { 0, PEER_CLOSED_MAX + 1 };
	assert_int_equal(gossip_peer_links_decode(slice_of(over, sizeof over), &out), ERR_LIMIT);
	over[1] = PEER_CLOSED_MAX - 1; /* both together are too many */
	over[2 + (PEER_CLOSED_MAX - 1) * 14] = 2;
	uint8_t both[sizeof over + 14 + 1] = { 0 };
	memcpy(both, over, sizeof over);
	assert_int_equal(gossip_peer_links_decode(slice_of(both, sizeof both), &out), ERR_LIMIT);
}

/* Up to 32 everyone; above, few, and still one connected graph, also when some cannot be used. */
static void wanted(void **state)
{
	static bool edge[500][500];
	uint64_t seed = test_seed("wanted");
	struct rng r;

	(void)state;
	rng_seed(&r, seed);
	static const size_t sizes[] = { 1, 2, 31, 32, 33, 64, 100, 500 };
	for (size_t k = 0; k < sizeof sizes / sizeof sizes[0]; k++) {
		size_t n = sizes[k], links = 0, reached = 1;
		memset(edge, 0, sizeof edge);
		for (size_t i = 0; i < n; i++) {
			struct choice v[500];
			size_t m = 0, own = 0;
			for (size_t j = 0; j < n; j++)
				if (j != i)
					v[m++] = (struct choice){ .name = 1000 + j * 77, .usable = !rng_chance(&r, 100000) };
			gossip_choose(1000 + i * 77, v, m);
			for (size_t j = 0; j < m; j++) {
				size_t other = (size_t)((v[j].name - 1000) / 77);
				own += v[j].wanted ? 1 : 0;
				if (v[j].wanted)
					edge[i][other] = edge[other][i] = true;
			}
			if (n <= 32)
				assert_int_equal(own, n - 1);
			else
				assert_in_range(own, 4, 12);
		}
		size_t queue[500] = { 0 }, head = 0, depth[500] = { 0 }, deepest = 0;
		bool seen[500] = { true };
		for (; head < reached; head++)
			for (size_t j = 0; j < n; j++)
				if (edge[queue[head]][j]) {
					links++;
					if (seen[j])
						continue;
					seen[j] = true;
					depth[j] = depth[queue[head]] + 1;
					deepest = depth[j];
					queue[reached++] = j;
				}
		assert_int_equal(reached, n);
		printf("%zu peers: %.1f links each, %zu hops at most from the first\n", n, (double)links / (double)n, deepest);
		if (n > 32)
			assert_true(links / n <= 18 && deepest <= 6);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(golden),
		cmocka_unit_test(identity),
		cmocka_unit_test(refused),
		cmocka_unit_test(peer_info),
		cmocka_unit_test(links),
		cmocka_unit_test(wanted),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
