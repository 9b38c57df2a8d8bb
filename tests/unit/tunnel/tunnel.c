/* Sessions: the forms of handshakes said anew, what is refused, ages, changes of keys; then runs in a world that loses and delays. */
#include "tests/unit/tunnel/world.h"

#include "tunnel/handshake.h"

enum { CONFIRM_POLL_MS = 100 };
static const struct tunnel_cfg plain = { .n_psk = 1, .psk = { { 7 } } };

/* One message that the host has just sent. */
static struct packet last(struct world *w)
{
	assert_true(w->n_packets > 0);
	return w->packets[--w->n_packets];
}

static struct slice bytes_of(const struct packet *p)
{
	return slice_of(p->bytes, p->n);
}

static enum fwd_drop pass(struct world *w, const struct packet *p)
{
	return hear(w, p->from, p->to, bytes_of(p));
}

static bool has_tx(struct world *w, size_t i, size_t j)
{
	return tunnel_tx(w->h[i].t, name_of(j)) != NULL;
}

static void step_by_step(void **state)
{
	struct world *w = world_new(2, 1, &plain);
	struct packet init, response, hello;
	uint64_t since;

	(void)state;
	assert_true(tunnel_deadline_ms(w->h[0].t) == UINT64_MAX);
	want(w, 0, 1);
	init = last(w);
	assert_int_equal(wire_type(bytes_of(&init)), WIRE_INIT);
	assert_int_equal(init.n, 163);
	assert_false(has_tx(w, 0, 1));
	assert_int_equal(sessions(w->h[0].t), 0);
	want(w, 0, 1);
	assert_int_equal(w->n_packets, 0); /* it is under way */

	assert_int_equal(pass(w, &init), FWD_PASSED);
	response = last(w);
	assert_int_equal(wire_type(bytes_of(&response)), WIRE_RESPONSE);
	assert_int_equal(response.n, 113);
	assert_false(has_tx(w, 1, 0)); /* it may not have been heard */
	assert_false(tunnel_since(w->h[1].t, name_of(0), &since));
	assert_int_equal(sessions(w->h[1].t), 1); /* but would open */
	want(w, 1, 0);
	assert_int_equal(w->n_packets, 0); /* that is about to be confirmed */
	assert_int_equal(tunnel_deadline_ms(w->h[1].t), w->now + CONFIRM_POLL_MS);
	assert_int_equal(w->h[1].keys, 1);

	w->now += 7;
	assert_int_equal(pass(w, &response), FWD_PASSED);
	assert_true(has_tx(w, 0, 1));
	assert_int_equal(w->h[0].keys, 1);
	assert_true(tunnel_since(w->h[0].t, name_of(1), &since));
	assert_int_equal(since, START_MS);
	hello = last(w);
	assert_int_equal(wire_type(bytes_of(&hello)), WIRE_SEALED);
	assert_int_equal(pass(w, &response), FWD_REPLAYED);
	assert_int_equal(pass(w, &init), FWD_REPLAYED);

	hear_data(w, &hello);
	assert_true(has_tx(w, 1, 0));
	assert_int_equal(w->h[1].keys, 2);
	assert_int_equal(tunnel_counters(w->h[0].t)->done, 1);
	assert_int_equal(tunnel_counters(w->h[1].t)->done, 1);
	assert_int_equal(tunnel_counters(w->h[0].t)->refused, 1);
	assert_int_equal(tunnel_counters(w->h[1].t)->refused, 1);
	assert_true(joined(w, 0, 1));
	assert_int_equal(w->refused, 0);
	world_free(w);
}

static void aes_where_both_have_it(void **state)
{
	static const bool has[4][2] = { { false, false }, { true, false }, { false, true }, { true, true } };

	(void)state;
	if (!noise_supported(NOISE_AESGCM))
		skip();
	for (size_t i = 0; i < 4; i++) {
		struct world *w = world_new(2, 2, &plain);

		for (size_t k = 0; k < 2; k++) {
			tunnel_free(w->h[k].t);
			w->h[k].cfg.aes = has[i][k];
			host_start(w, k, 1);
		}
		know(w, 0, 1);
		know(w, 1, 0);
		want(w, 0, 1);
		run(w, w->now + 100);
		assert_true(joined(w, 0, 1));
		for (size_t k = 0; k < 2; k++)
			assert_int_equal(
				seal_aead(tunnel_tx(w->h[k].t, name_of(1 - k))), has[i][0] && has[i][1] ? NOISE_AESGCM : NOISE_CHACHAPOLY);
		world_free(w);
	}
}

/* The other end by hand, from docs/wire.md and not from handshake.c. */

static void mac_by_hand(uint8_t out[16], const char *text, const uint8_t pk[32], const uint8_t *p, size_t n)
{
	uint8_t mem[64], key[32];

	memcpy(mem, text, strlen(text));
	memcpy(mem + strlen(text), pk, 32);
	crypto_generichash(key, 32, mem, strlen(text) + 32, NULL, 0);
	crypto_generichash(out, 16, p, n, key, 32);
}

/* mac1 and an empty mac2. */
static void end_by_hand(struct wbuf *w, const uint8_t pk[32])
{
	uint8_t mac[32] = { 0 };

	mac_by_hand(mac, "weft mac1", pk, w->data, w->len);
	wbuf_bytes(w, mac, sizeof mac);
}

static void start_by_hand(
	struct noise_handshake *hs, const struct host *us, const uint8_t *rs, const uint8_t head[8], const uint8_t *psk)
{
	uint8_t prologue[21] = "weft tunnel 2", e_sk[32];

	memcpy(prologue + 13, head, 8);
	memset(e_sk, 0x77, sizeof e_sk);
	assert_int_equal(noise_init(hs,
						 &(struct noise_config){ .pattern = NOISE_IKPSK2,
							 .aead = NOISE_CHACHAPOLY,
							 .initiator = rs != NULL,
							 .prologue = slice_of(prologue, sizeof prologue),
							 .s_sk = us->cfg.secret,
							 .s_pk = us->pk,
							 .e_sk = e_sk,
							 .rs = rs,
							 .psk = psk }),
		ERR_OK);
}

/* Writes an INIT of host 1 to host 0. */
static size_t init_by_hand(struct world *w, struct noise_handshake *hs, uint32_t index, uint64_t name, uint64_t run,
	uint64_t number, uint8_t ciphers, uint8_t *mem, size_t room)
{
	uint8_t payload[64];
	struct wbuf out, in;

	wbuf_fixed(&out, mem, room);
	wbuf_u32(&out, 0x24000000);
	wbuf_u32(&out, index);
	start_by_hand(hs, &w->h[1], w->h[0].pk, mem, w->h[1].cfg.psk[0]);
	wbuf_fixed(&in, payload, sizeof payload);
	wbuf_u48(&in, name);
	wbuf_u64(&in, run);
	wbuf_u64(&in, number);
	wbuf_u32(&in, 0);
	wbuf_u8(&in, ciphers);
	assert_int_equal(noise_write(hs, wbuf_slice(&in), &out), ERR_OK);
	end_by_hand(&out, w->h[0].pk);
	return out.len;
}

static void forms(void **state)
{
	struct world *w = world_new(2, 3, &plain);
	struct noise_handshake hs;
	struct noise_cipher tx, rx;
	uint8_t mem[512], payload[64], mac[16];
	struct wbuf in, out;
	struct rbuf r;
	struct packet p;
	struct seal_keys *k;
	uint32_t index;

	(void)state;
	/* Host 0 answers what was made by hand. */
	size_t n = init_by_hand(w, &hs, 0xcafe0001, name_of(1), 5, 9, 1, mem, sizeof mem);
	assert_int_equal(n, 163);
	assert_int_equal(hear(w, 1, 0, slice_of(mem, n)), FWD_PASSED);
	p = last(w);
	rbuf_init(&r, p.bytes, p.n);
	assert_int_equal(rbuf_u32(&r), 0x25000000);
	index = rbuf_u32(&r);
	assert_int_equal(rbuf_u32(&r), 0xcafe0001);
	wbuf_fixed(&in, payload, sizeof payload);
	assert_int_equal(noise_read(&hs, rbuf_bytes(&r, p.n - 12 - 32), &in), ERR_OK);
	mac_by_hand(mac, "weft mac1", w->h[1].pk, p.bytes, p.n - 32);
	assert_memory_equal(rbuf_bytes(&r, 16).p, mac, 16);
	assert_true(sodium_is_zero(rbuf_bytes(&r, 16).p, 16));
	rbuf_init(&r, payload, in.len);
	assert_int_equal(rbuf_u64(&r), 1); /* its run */
	assert_int_equal(rbuf_u32(&r), index);
	assert_int_equal(rbuf_u8(&r), 1);
	assert_int_equal(rbuf_u64(&r), 0); /* it has sent no INIT */
	assert_int_equal(rbuf_end(&r), ERR_OK);
	noise_split(&hs, &tx, &rx);
	assert_int_equal(
		seal_keys_new(
			&k, &(struct seal_keys_cfg){ .peer = 1, .our_index = 0xcafe0001, .their_index = index, .tx = tx.key, .rx = rx.key }),
		ERR_OK);
	n = seal_datagram(k, 0, 0, 0, slice_str("hello"), mem);
	struct wire_head head;
	struct slice sealed;
	assert_int_equal(wire_read(slice_of(mem, n), &head, &sealed), FWD_PASSED);
	assert_int_equal(seal_open(tunnel_rx(w->h[0].t, index), &head, slice_of(mem, n), mem + 16), FWD_PASSED);
	seal_keys_unref(k);

	/* Host 0 begins, and is answered by hand; what stands behind known fields is skipped. */
	w->now += 10000;
	want(w, 0, 1);
	p = last(w);
	start_by_hand(&hs, &w->h[1], NULL, p.bytes, w->h[1].cfg.psk[0]);
	rbuf_init(&r, p.bytes, p.n);
	assert_int_equal(rbuf_u32(&r), 0x24000000);
	index = rbuf_u32(&r);
	wbuf_fixed(&in, payload, sizeof payload);
	assert_int_equal(noise_read(&hs, rbuf_bytes(&r, p.n - 8 - 32), &in), ERR_OK);
	mac_by_hand(mac, "weft mac1", w->h[1].pk, p.bytes, p.n - 32);
	assert_memory_equal(rbuf_bytes(&r, 16).p, mac, 16);
	rbuf_init(&r, payload, in.len);
	assert_int_equal(rbuf_u48(&r), name_of(0));
	assert_int_equal(rbuf_u64(&r), 1);
	assert_int_equal(rbuf_u64(&r), 1);
	assert_int_equal(rbuf_u32(&r), 0);
	assert_int_equal(rbuf_u8(&r), 1);
	assert_int_equal(rbuf_end(&r), ERR_OK);
	for (int right = 0; right < 2; right++) { /* first with an index outside that is not the one inside */
		struct noise_handshake copy = hs;

		wbuf_fixed(&out, mem, sizeof mem);
		wbuf_u32(&out, 0x25000000);
		wbuf_u32(&out, right ? 0xbeef : 0xdead);
		wbuf_u32(&out, index);
		wbuf_fixed(&in, payload, sizeof payload);
		wbuf_u64(&in, 5);
		wbuf_u32(&in, 0xbeef);
		wbuf_u8(&in, 1);
		wbuf_bytes(&in, "more", 4);
		assert_int_equal(noise_write(&copy, wbuf_slice(&in), &out), ERR_OK);
		end_by_hand(&out, w->h[0].pk);
		assert_int_equal(hear(w, 1, 0, wbuf_slice(&out)), right ? FWD_PASSED : FWD_BAD_TAG);
		assert_int_equal(has_tx(w, 0, 1), right);
	}
	world_free(w);
}

/* An INIT of host 1 to host 0, taken and confirmed. */
static void session_by_hand(struct world *w, uint64_t number)
{
	struct noise_handshake hs;
	uint8_t mem[512];
	struct packet p;
	struct rbuf r;

	size_t n = init_by_hand(w, &hs, (uint32_t)number, name_of(1), 1, number, 1, mem, sizeof mem);
	assert_int_equal(hear(w, 1, 0, slice_of(mem, n)), FWD_PASSED);
	p = last(w);
	rbuf_init(&r, p.bytes, p.n);
	rbuf_skip(&r, 4);
	struct tunnel_actions a = actions(w);
	tunnel_confirm(w->h[0].t, rbuf_u32(&r), w->now, &a);
	carry_out(w, 0, &a);
}

/* Host 0's INIT is answered by host 1's hand. Gives host 0's index. */
static uint32_t answer_by_hand(struct world *w)
{
	struct packet p = last(w);
	struct noise_handshake hs;
	uint8_t mem[512], payload[64];
	struct wbuf in, out;
	struct rbuf r;
	uint32_t index;

	while (wire_type(bytes_of(&p)) != WIRE_INIT)
		p = last(w);
	start_by_hand(&hs, &w->h[1], NULL, p.bytes, w->h[1].cfg.psk[0]);
	rbuf_init(&r, p.bytes, p.n);
	rbuf_skip(&r, 4);
	index = rbuf_u32(&r);
	wbuf_fixed(&in, payload, sizeof payload);
	assert_int_equal(noise_read(&hs, rbuf_bytes(&r, p.n - 8 - 32), &in), ERR_OK);
	wbuf_fixed(&out, mem, sizeof mem);
	handshake_head(&out, WIRE_RESPONSE, 0xbeef, index);
	wbuf_fixed(&in, payload, sizeof payload);
	handshake_choice_write(&in, &(struct handshake_choice){ .run = 1, .sender = 0xbeef, .cipher = 1, .number = UINT64_MAX });
	assert_int_equal(noise_write(&hs, wbuf_slice(&in), &out), ERR_OK);
	end_by_hand(&out, w->h[0].pk);
	assert_int_equal(hear(w, 1, 0, wbuf_slice(&out)), FWD_PASSED);
	w->n_packets = 0;
	return index;
}

/* Of more sessions than are kept, those that either end sends with are not among the ones that go. */
static void places(void **state)
{
	struct tunnel_cfg cfg = plain;
	struct world *w = world_new(2, 44, &plain);
	uint32_t mine, theirs;

	(void)state;
	want(w, 0, 1);
	mine = answer_by_hand(w); /* the lower name's: it stays present */
	for (uint64_t i = 1; i < 5; i++) {
		w->now += 10;
		session_by_hand(w, i);
		assert_int_equal(seal_index(tunnel_tx(w->h[0].t, name_of(1))), mine);
	}
	assert_int_equal(sessions(w->h[0].t), TUNNEL_SESSIONS_MAX);
	world_free(w);

	cfg.rekey_datagrams = 3;
	w = world_new(2, 45, &cfg);
	session_by_hand(w, 1);
	theirs = seal_index(tunnel_tx(w->h[0].t, name_of(1)));
	for (int i = 0; i < 6; i++) { /* host 1 answers, but goes on sending with its own */
		for (int k = 0; k < 4; k++)
			assert_true(say(w, 0, 1, 0, 0));
		w->now += 6000;
		tick(w, 0);
		mine = answer_by_hand(w);
		assert_int_equal(seal_index(tunnel_tx(w->h[0].t, name_of(1))), mine);
		assert_non_null(tunnel_rx(w->h[0].t, theirs));
	}
	assert_int_equal(sessions(w->h[0].t), TUNNEL_SESSIONS_MAX);
	world_free(w);
}

/* ---- refused */

/* Whatever bit of a message is changed, it is refused and changes nothing: the message itself is taken afterwards. */
static void altered(void **state)
{
	struct tunnel_cfg cfg = plain;

	(void)state;
	cfg.inits_per_s = 1;
	for (int kind = WIRE_INIT; kind <= WIRE_COOKIE; kind++)
		for (int proven = 0; proven < 2; proven++) { /* with mac2, where there is one */
			struct world *w = world_new(2, 4, &cfg);
			struct packet p, bad;

			if (kind == WIRE_COOKIE || proven) {
				want(w, 0, 1);
				run(w, w->now + 200); /* the only token is spent */
				struct tunnel_actions a = actions(w);
				tunnel_forget(w->h[0].t, name_of(1), &a);
				know(w, 0, 1);
				w->n_packets = 0;
			}
			want(w, 0, 1);
			p = last(w);
			if (kind == WIRE_COOKIE || proven) {
				assert_int_equal(pass(w, &p), FWD_FLOODED);
				p = last(w);
				assert_int_equal(wire_type(bytes_of(&p)), WIRE_COOKIE);
			}
			if (kind != WIRE_COOKIE && proven) {
				assert_int_equal(pass(w, &p), FWD_PASSED);
				p = last(w);
				assert_int_equal(wire_type(bytes_of(&p)), WIRE_INIT);
			}
			if (kind == WIRE_RESPONSE) {
				assert_int_equal(pass(w, &p), FWD_PASSED);
				p = last(w);
				w->now += 2000; /* a token for it */
			}
			assert_int_equal(wire_type(bytes_of(&p)), kind);
			for (size_t bit = 0; bit < p.n * 8; bit++) {
				bad = p;
				bad.bytes[bit / 8] = (uint8_t)(bad.bytes[bit / 8] ^ 1 << bit % 8);
				assert_int_not_equal(pass(w, &bad), FWD_PASSED);
			}
			for (size_t n = 0; n < p.n; n++) {
				bad = p;
				bad.n = n;
				assert_int_not_equal(pass(w, &bad), FWD_PASSED);
			}
			w->n_packets = 0;
			assert_int_equal(pass(w, &p), FWD_PASSED);
			world_free(w);
		}
}

/* Altered by somebody who knows the receiver's key and makes mac1 anew. */
static void altered_under_a_right_mac1(void **state)
{
	struct tunnel_cfg cfg = plain;
	struct world *w;
	struct packet p;

	(void)state;
	cfg.inits_per_s = 100000;
	w = world_new(2, 5, &cfg);
	want(w, 0, 1);
	for (int kind = WIRE_INIT; kind <= WIRE_RESPONSE; kind++) {
		size_t tried = 0;

		p = last(w);
		assert_int_equal(wire_type(bytes_of(&p)), kind);
		for (size_t at = 4; at < p.n - 32; at++) {
			struct packet bad = p;

			bad.bytes[at] = (uint8_t)(bad.bytes[at] ^ 1 << at % 8);
			mac_by_hand(bad.bytes + p.n - 32, "weft mac1", w->h[p.to].pk, bad.bytes, p.n - 32);
			enum fwd_drop d = pass(w, &bad);
			assert_true(d == FWD_BAD_TAG || (kind == WIRE_RESPONSE && at >= 8 && at < 12 && d == FWD_REPLAYED));
			tried++;
		}
		assert_true(tried > 60);
		assert_int_equal(w->n_packets, 0);
		assert_int_equal(pass(w, &p), FWD_PASSED);
	}
	assert_true(has_tx(w, 0, 1));
	world_free(w);
}

static void what_an_init_says(void **state)
{
	static const struct {
		uint64_t name, run, number;
		uint8_t ciphers;
		enum fwd_drop want;
	} rows[] = {
		{ 0x101, 5, 5, 1, FWD_PASSED },
		{ 0x101, 5, 5, 1, FWD_REPLAYED },
		{ 0x101, 5, 4, 1, FWD_REPLAYED },
		{ 0x101, 4, 9, 1, FWD_REPLAYED },
		{ 0x101, 5, 6, 0, FWD_BAD_HEADER },
		{ 0x101, 5, 6, 2, FWD_BAD_HEADER },
		{ 0x101, 5, 6, 1, FWD_PASSED },
		{ 0x101, 6, 0, 0xff, FWD_PASSED },
		{ 0x101, 5, 7, 1, FWD_REPLAYED },
		{ 0x100, 7, 7, 1, FWD_STRANGER }, /* our own name */
		{ 0x102, 7, 7, 1, FWD_STRANGER }, /* another peer's name */
		{ 0x999, 7, 7, 1, FWD_STRANGER },
		{ 0, 7, 7, 1, FWD_STRANGER },
	};
	struct world *w = world_new(3, 6, &plain);
	struct noise_handshake hs;
	uint8_t mem[512];

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		size_t n = init_by_hand(w, &hs, 77, rows[i].name, rows[i].run, rows[i].number, rows[i].ciphers, mem, sizeof mem);
		size_t packets = w->n_packets;

		w->now += 1000;
		assert_int_equal(hear(w, 1, 0, slice_of(mem, n)), rows[i].want);
		assert_int_equal(w->n_packets, packets + (rows[i].want == FWD_PASSED));
		assert_true(sessions(w->h[0].t) <= 1);
	}
	world_free(w);
}

/* A peer may begin only so often, a recorded INIT does not count against it. */
static void too_many_of_one_peer(void **state)
{
	struct world *w = world_new(2, 7, &plain);
	struct noise_handshake hs;
	uint8_t mem[512];
	unsigned passed = 0, flooded = 0;

	(void)state;
	for (uint64_t i = 1; i <= 20; i++) {
		size_t n = init_by_hand(w, &hs, 77, name_of(1), 1, i, 1, mem, sizeof mem);
		enum fwd_drop d = hear(w, 1, 0, slice_of(mem, n));

		passed += d == FWD_PASSED;
		flooded += d == FWD_FLOODED;
		assert_int_equal(hear(w, 1, 0, slice_of(mem, n)), d == FWD_PASSED ? FWD_REPLAYED : d);
	}
	assert_int_equal(passed, 5);
	assert_int_equal(flooded, 15);
	w->now += 1000;
	size_t n = init_by_hand(w, &hs, 77, name_of(1), 1, 21, 1, mem, sizeof mem);
	assert_int_equal(hear(w, 1, 0, slice_of(mem, n)), FWD_PASSED);
	assert_int_equal(sessions(w->h[0].t), 1);
	world_free(w);
}

static void strangers_leave_nothing(void **state)
{
	struct world *w = world_new(3, 8, &plain);
	struct tunnel_actions a = actions(w);
	struct packet init;
	long before;

	(void)state;
	tunnel_forget(w->h[0].t, name_of(2), &a);
	want(w, 2, 0);
	init = last(w);
	(void)actions(w);
	before = mem_live();
	assert_int_equal(pass(w, &init), FWD_STRANGER);
	(void)actions(w);
	assert_int_equal(mem_live(), before);
	assert_int_equal(sessions(w->h[0].t), 0);
	assert_int_equal(w->n_packets, 0);
	assert_true(tunnel_deadline_ms(w->h[0].t) == UINT64_MAX);
	/* The same name with another key. */
	a = actions(w);
	assert_int_equal(tunnel_peer(w->h[0].t, name_of(2), w->h[1].pk, &a), ERR_OK);
	assert_int_equal(pass(w, &init), FWD_STRANGER);
	/* Garbage of every length and first byte. */
	before = mem_live();
	for (size_t n = 0; n <= 520; n++) {
		uint8_t mem[520];

		rng_fill(&w->r, mem, n);
		for (uint8_t type = 3; n > 3 && type < 8; type++) {
			mem[0] = (uint8_t)(0x20 | type);
			memset(mem + 1, 0, 3);
			assert_int_not_equal(hear(w, 1, 0, slice_of(mem, n)), FWD_PASSED);
		}
	}
	(void)actions(w);
	assert_int_equal(mem_live(), before);
	world_free(w);
}

/* ---- floods */

/* INITs with a right mac1 and nothing behind it, from one address, as fast as one likes. */
static void flood(struct world *w, size_t from, size_t to, unsigned n, const uint8_t *cookie, unsigned verdicts[FWD_DROPS])
{
	struct handshake_keys keys;

	handshake_keys_of(&keys, w->h[to].pk);
	for (unsigned i = 0; i < n; i++) {
		uint8_t mem[163], mac1[16];
		struct wbuf out;

		wbuf_fixed(&out, mem, sizeof mem);
		handshake_head(&out, WIRE_INIT, i, 0);
		rng_fill(&w->r, wbuf_reserve(&out, 163 - 8 - 32), 163 - 8 - 32);
		handshake_macs(&out, &keys, cookie, mac1);
		verdicts[hear(w, from, to, wbuf_slice(&out))]++;
	}
	w->n_packets = 0;
}

static void flooded(void **state)
{
	struct world *w = world_new(4, 9, &plain);
	unsigned verdicts[FWD_DROPS] = { 0 };
	struct handshake_keys keys;
	struct handshake h;
	uint8_t mem[163], mac1[16], cookie[16];
	struct packet p;
	struct wbuf out;
	long before;

	(void)state;
	want(w, 1, 0); /* an existing session */
	run(w, w->now + 100);
	assert_true(joined(w, 0, 1));

	(void)actions(w);
	before = mem_live();
	flood(w, 3, 0, 3000, NULL, verdicts);
	(void)actions(w);
	assert_int_equal(mem_live(), before);
	assert_int_equal(verdicts[FWD_BAD_TAG], 100); /* a second's tokens */
	assert_int_equal(verdicts[FWD_FLOODED], 3000 - 100);
	assert_int_equal(tunnel_counters(w->h[0].t)->cookies_sent, 3000 - 100);
	assert_true(joined(w, 0, 1));

	want(w, 2, 0); /* a new one: INIT, COOKIE, INIT, RESPONSE */
	run(w, w->now + 10);
	assert_true(joined(w, 0, 2));
	assert_int_equal(tunnel_counters(w->h[2].t)->begun, 2);
	assert_int_equal(tunnel_counters(w->h[0].t)->cookies_used, 1);

	/* The flooder takes a cookie, too: it gets no more than its address's share. */
	flood(w, 3, 0, 5, NULL, verdicts); /* what tokens there are again */
	handshake_keys_of(&keys, w->h[0].pk);
	wbuf_fixed(&out, mem, sizeof mem);
	handshake_head(&out, WIRE_INIT, 1, 0);
	memset(wbuf_reserve(&out, 163 - 8 - 32), 1, 163 - 8 - 32);
	handshake_macs(&out, &keys, NULL, mac1);
	assert_int_equal(hear(w, 3, 0, wbuf_slice(&out)), FWD_FLOODED);
	p = last(w);
	assert_int_equal(handshake_read(bytes_of(&p), &h), FWD_PASSED);
	assert_true(handshake_cookie_open(&h, &keys, mac1, cookie));
	memset(verdicts, 0, sizeof verdicts);
	flood(w, 3, 0, 1000, cookie, verdicts);
	assert_int_equal(verdicts[FWD_BAD_TAG], 10);
	assert_int_equal(verdicts[FWD_FLOODED], 990);
	assert_int_equal(tunnel_counters(w->h[0].t)->cookies_used, 11);
	memset(verdicts, 0, sizeof verdicts);
	flood(w, 1, 0, 10, cookie, verdicts); /* it is good from its own address only */
	assert_int_equal(verdicts[FWD_BAD_TAG], 10);
	assert_int_equal(tunnel_counters(w->h[0].t)->cookies_used, 11);
	want(w, 0, 3);
	run(w, w->now + 100);
	want(w, 3, 2);
	run(w, w->now + 100);
	assert_true(joined(w, 0, 3) && joined(w, 2, 3) && joined(w, 0, 1) && joined(w, 0, 2));
	world_free(w);
}

/* A cookie is used for two minutes, and what it is made with changes as often. */
static void cookies_age(void **state)
{
	struct tunnel_cfg cfg = plain;
	struct world *w;
	struct packet p, init;

	(void)state;
	cfg.inits_per_s = 1;
	for (int late = 0; late < 2; late++) {
		unsigned verdicts[FWD_DROPS] = { 0 };
		struct tunnel_actions a;

		w = world_new(3, 10, &cfg);
		want(w, 2, 1);
		w->now += 10;
		p = last(w);
		assert_int_equal(pass(w, &p), FWD_PASSED); /* the only token */
		w->now += 100000;                          /* the secret is nearly as old as it gets */
		flood(w, 2, 1, 2, NULL, verdicts);
		want(w, 0, 1);
		init = last(w);
		assert_int_equal(pass(w, &init), FWD_FLOODED);
		p = last(w);
		assert_int_equal(pass(w, &p), FWD_PASSED);
		init = last(w);                              /* with mac2 */
		assert_int_equal(pass(w, &p), FWD_REPLAYED); /* a COOKIE for what was sent before */
		w->now += late ? 240000 : 118000;
		assert_int_equal(pass(w, &init), late ? FWD_BAD_TAG : FWD_PASSED);
		if (late) { /* asked again for a new cookie */
			p = last(w);
			assert_int_equal(wire_type(bytes_of(&p)), WIRE_COOKIE);
			w->n_packets = 0;
			a = actions(w);
			assert_int_equal(tunnel_tick(w->h[0].t, w->now, &a), ERR_OK);
			assert_int_equal(pass(w, &p), FWD_REPLAYED); /* the want is long over */
		}
		world_free(w);
	}
}

/* A host with a cookie of an earlier run of the responder does not wait for a timer. */
static void stale_cookie_costs_one_round_trip(void **state)
{
	struct tunnel_cfg cfg = plain;
	struct world *w;

	(void)state;
	cfg.inits_per_s = 1;
	cfg.rekey_ms = 20000;
	w = world_new(3, 11, &cfg);
	want(w, 2, 1); /* takes the only token */
	run(w, w->now + 5);
	want(w, 0, 1);
	run(w, w->now + 10);
	assert_true(joined(w, 0, 1));
	assert_int_equal(tunnel_counters(w->h[0].t)->begun, 2);
	tunnel_free(w->h[1].t);
	host_start(w, 1, 2);
	know(w, 1, 0);
	run(w, w->now + 31000); /* the session ends */
	assert_false(has_tx(w, 0, 1));
	want(w, 0, 1);
	run(w, w->now + 10);
	assert_true(joined(w, 0, 1));
	assert_int_equal(w->dropped[FWD_BAD_TAG], 1);
	assert_int_equal(tunnel_counters(w->h[0].t)->begun, 4);
	world_free(w);
}

/* ---- peers, keys, passwords */

static void forgotten_and_changed(void **state)
{
	struct world *w = world_new(3, 12, &plain);
	struct tunnel_actions a;
	uint8_t other[32] = { 9 };
	unsigned keys;

	(void)state;
	a = actions(w);
	assert_int_equal(tunnel_want(w->h[0].t, 0x999, w->now, &a), ERR_NOT_FOUND);
	assert_int_equal(tunnel_want(w->h[0].t, name_of(0), w->now, &a), ERR_NOT_FOUND);
	for (int way = 0; way < 2; way++) {
		want(w, 0, 1);
		run(w, w->now + 100);
		assert_true(joined(w, 0, 1));
		know(w, 0, 1); /* the same key again changes nothing */
		assert_true(joined(w, 0, 1));
		keys = w->h[0].keys;
		a = actions(w);
		if (way == 0)
			tunnel_forget(w->h[0].t, name_of(1), &a);
		else
			assert_int_equal(tunnel_peer(w->h[0].t, name_of(1), other, &a), ERR_OK);
		carry_out(w, 0, &a);
		assert_int_equal(w->h[0].keys, keys + 1);
		assert_false(has_tx(w, 0, 1));
		assert_int_equal(sessions(w->h[0].t), 0);
		know(w, 0, 1);
		w->now += 5000;
	}
	want(w, 0, 1);
	run(w, w->now + 100);
	assert_true(joined(w, 0, 1));
	world_free(w);
}

/* A key on which no secret can be agreed harms nobody else. */
static void key_of_small_order(void **state)
{
	static const uint8_t zero[32] = { 0 };
	struct world *w = world_new(2, 13, &plain);
	struct tunnel_actions a = actions(w);

	(void)state;
	assert_int_equal(tunnel_peer(w->h[0].t, 0x555, zero, &a), ERR_OK);
	assert_int_equal(tunnel_want(w->h[0].t, 0x555, w->now, &a), ERR_OK);
	assert_int_equal(a.n, 0);
	run(w, w->now + 60000);
	assert_int_equal(w->n_packets, 0);
	assert_true(tunnel_deadline_ms(w->h[0].t) == UINT64_MAX);
	world_free(w);
}

static void passwords(void **state)
{
	/* Old 1, new 2: each end's list, and whether they come together. */
	static const struct {
		uint8_t n[2], psk[2][2];
		bool meet;
	} rows[] = {
		{ { 0, 0 }, { { 0 }, { 0 } }, true },
		{ { 0, 1 }, { { 0 }, { 0 } }, true }, /* none is all zeros */
		{ { 1, 1 }, { { 1 }, { 2 } }, false },
		{ { 0, 1 }, { { 0 }, { 1 } }, false },
		{ { 2, 1 }, { { 1, 2 }, { 1 } }, true },
		{ { 2, 1 }, { { 2, 1 }, { 1 } }, true },
		{ { 2, 2 }, { { 1, 2 }, { 2, 1 } }, true },
		{ { 2, 1 }, { { 2, 1 }, { 2 } }, true },
		{ { 2, 1 }, { { 1, 2 }, { 3 } }, false },
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
		for (size_t begins = 0; begins < 2; begins++) {
			struct world *w = world_new(2, 14 + i, &plain);

			for (size_t k = 0; k < 2; k++) {
				tunnel_free(w->h[k].t);
				w->h[k].cfg.n_psk = rows[i].n[k];
				for (size_t j = 0; j < 2; j++)
					memset(w->h[k].cfg.psk[j], rows[i].psk[k][j], 32);
				host_start(w, k, 1);
			}
			know(w, 0, 1);
			know(w, 1, 0);
			want(w, begins, 1 - begins);
			run(w, w->now + 9000);
			assert_int_equal(joined(w, 0, 1), rows[i].meet);
			/* Which one the other end has is known from then on. */
			if (rows[i].meet) {
				run(w, w->now + 200000);
				want(w, 1 - begins, begins);
				run(w, w->now + 10);
				assert_true(joined(w, 0, 1));
			}
			if (!rows[i].meet)
				assert_int_equal(w->h[begins].notes, 1); /* said once, not at each try */
			world_free(w);
		}
}

/* ---- time */

static void wants_end(void **state)
{
	struct world *w = world_new(2, 30, &plain);
	uint64_t first = tunnel_counters(w->h[0].t)->begun;

	(void)state;
	w->loss = 1000000;
	want(w, 0, 1);
	run(w, w->now + 60000);
	assert_in_range(tunnel_counters(w->h[0].t)->begun - first, 5, 8); /* after 1, 2 seconds, 2 … */
	assert_true(tunnel_deadline_ms(w->h[0].t) == UINT64_MAX);
	first = tunnel_counters(w->h[0].t)->begun;
	for (int i = 0; i < 60; i++) {
		want(w, 0, 1);
		run(w, w->now + 1000);
	}
	assert_in_range(tunnel_counters(w->h[0].t)->begun - first, 26, 40);
	w->loss = 0;
	run(w, w->now + 7000);
	assert_true(joined(w, 0, 1));
	world_free(w);
}

static void unused_ends(void **state)
{
	struct world *w = world_new(2, 31, &plain);

	(void)state;
	want(w, 0, 1);
	run(w, w->now + 100);
	assert_true(joined(w, 0, 1));
	run(w, START_MS + TUNNEL_REJECT_MS - 1);
	assert_true(has_tx(w, 0, 1) && has_tx(w, 1, 0));
	run(w, START_MS + TUNNEL_REJECT_MS + 2);
	assert_false(has_tx(w, 0, 1) || has_tx(w, 1, 0));
	assert_int_equal(tunnel_counters(w->h[0].t)->begun, 1);
	assert_int_equal(tunnel_counters(w->h[0].t)->expired, 1);
	assert_int_equal(sessions(w->h[0].t), 1); /* opens what is late */
	run(w, START_MS + TUNNEL_REJECT_MS + 20000);
	assert_int_equal(sessions(w->h[0].t) + sessions(w->h[1].t), 0);
	assert_true(tunnel_deadline_ms(w->h[0].t) == UINT64_MAX && tunnel_deadline_ms(w->h[1].t) == UINT64_MAX);
	want(w, 1, 0);
	run(w, w->now + 100);
	assert_true(joined(w, 0, 1));
	world_free(w);
}

/* What confirms a session comes when it is too old to send with, or is looked at only then. */
static void confirmed_late(void **state)
{
	(void)state;
	for (int by_tick = 0; by_tick < 2; by_tick++) {
		struct world *w = world_new(2, 131, &plain);

		w->confirm_by_tick = by_tick;
		want(w, 0, 1);
		run(w, START_MS + 1);
		w->hello_loss = 1000000;
		run(w, START_MS + 2);
		w->delay_lo = w->delay_hi = by_tick ? 1 : TUNNEL_REJECT_MS + 1000;
		assert_true(say(w, 0, 1, WIRE_CONTROL, 0));
		if (by_tick) {
			run(w, START_MS + 3);
			w->now += TUNNEL_REJECT_MS + 1000;
			tick(w, 1);
		} else {
			run(w, START_MS + 2 + w->delay_lo);
		}
		assert_int_equal(w->h[1].got, 1);
		assert_int_equal(sessions(w->h[1].t), 1);
		assert_false(has_tx(w, 1, 0));
		w->delay_lo = w->delay_hi = 1;
		w->hello_loss = 0;
		want(w, 1, 0);
		run(w, w->now + 6000);
		assert_true(joined(w, 0, 1));
		world_free(w);
	}
}

/* Who sends renews: the initiator at once, the responder some seconds later. Nobody is ever without keys, and nothing is lost. */
static void renewed(void **state)
{
	(void)state;
	for (size_t sender = 0; sender < 3; sender++) { /* 2: both */
		struct world *w = world_new(2, 32 + sender, &plain);
		uint64_t renewed_ms = 0, since = 0;

		want(w, 0, 1);
		run(w, w->now + 100);
		for (int i = 0; i < 600; i++) {
			for (size_t k = 0; k < 2; k++)
				if (sender == 2 || sender == k || i % 10 == 0)
					assert_true(say(w, k, 1 - k, 0, 0));
			run(w, w->now + (sender == 2 || i % 20 ? 1000 : 1));
			assert_true(tunnel_since(w->h[0].t, name_of(1), &since));
			if (renewed_ms == 0 && since > START_MS)
				renewed_ms = since - START_MS;
		}
		if (sender == 1)
			assert_in_range(renewed_ms, TUNNEL_REKEY_MS, TUNNEL_REKEY_MS + 25000);
		else
			assert_in_range(renewed_ms, TUNNEL_REKEY_MS, TUNNEL_REKEY_MS + 6000);
		assert_in_range(tunnel_counters(w->h[0].t)->renewed, 3, 5);
		assert_int_equal(tunnel_counters(w->h[0].t)->renewed, tunnel_counters(w->h[1].t)->renewed);
		assert_int_equal(tunnel_counters(w->h[0].t)->expired + tunnel_counters(w->h[1].t)->expired, 0);
		assert_int_equal(w->refused, 0);
		if (sender == 2)
			assert_int_equal(tunnel_counters(w->h[1].t)->begun, 0); /* the responder leaves it to the initiator */
		world_free(w);
	}
}

static void renewed_by_count(void **state)
{
	struct tunnel_cfg cfg = plain;
	struct world *w;

	(void)state;
	cfg.rekey_datagrams = 100;
	w = world_new(2, 36, &cfg);
	want(w, 0, 1);
	run(w, w->now + 100);
	for (int i = 0; i < 90; i++)
		assert_true(joined(w, 0, 1));
	run(w, w->now + 20000);
	assert_int_equal(tunnel_counters(w->h[0].t)->renewed, 0);
	for (int i = 0; i < 60; i++)
		assert_true(joined(w, 0, 1));
	run(w, w->now + 20000);
	assert_int_equal(tunnel_counters(w->h[0].t)->renewed, 1);
	assert_int_equal(w->refused, 0);
	world_free(w);
}

/* A peer that lost its sessions and has nothing to say is noticed by who sends to it. */
static void silence(void **state)
{
	struct world *w = world_new(2, 37, &plain);

	(void)state;
	want(w, 1, 0);
	run(w, w->now + 100);
	assert_true(joined(w, 0, 1));
	tunnel_free(w->h[0].t);
	host_start(w, 0, 2);
	know(w, 0, 1);
	for (int i = 0; i < 27; i++) {
		assert_true(say(w, 1, 0, 0, 0));
		run(w, w->now + 1000);
	}
	assert_true(w->refused > 5);
	assert_true(joined(w, 0, 1));
	world_free(w);
}

/* After a restart of either the other goes over at once, also within the time in which sessions are taken for simultaneous. */
static void restarted(void **state)
{
	(void)state;
	for (size_t who = 0; who < 2; who++) {
		struct world *w = world_new(2, 38 + who, &plain);

		want(w, 1 - who, who);
		run(w, w->now + 100);
		assert_true(joined(w, 0, 1));
		tunnel_free(w->h[who].t);
		host_start(w, who, 2);
		know(w, who, 1 - who);
		want(w, who, 1 - who);
		run(w, w->now + 100);
		assert_true(joined(w, 0, 1));
		/* One whose run went back is taken for a recording. */
		tunnel_free(w->h[who].t);
		host_start(w, who, 1);
		know(w, who, 1 - who);
		want(w, who, 1 - who);
		run(w, w->now + 100);
		assert_false(joined(w, 0, 1));
		assert_true(w->dropped[FWD_REPLAYED] > 0);
		world_free(w);
	}
}

/* Who has forgotten a session, its peer being away for a moment, and begins anew, is followed at once: what the other would go on sending with
 * is known to nobody. */
static void forgotten_at_once(void **state)
{
	(void)state;
	for (size_t k = 0; k < 4; k++) {
		struct world *w = world_new(2, 41 + k, &plain);
		size_t who = k % 2;
		bool heard = k >= 2; /* the other has had something of it */
		struct tunnel_actions a;

		want(w, 1 - who, who);
		run(w, w->now + 10);
		assert_true(joined(w, 0, 1));
		if (heard)
			assert_true(say(w, who, 1 - who, 0, 0));
		a = actions(w);
		tunnel_forget(w->h[who].t, name_of(1 - who), &a);
		carry_out(w, who, &a);
		know(w, who, 1 - who);
		want(w, who, 1 - who);
		run(w, w->now + 100);
		assert_true(say(w, who, 1 - who, 0, 0));
		run(w, w->now + 200);
		assert_true(joined(w, 0, 1));
		world_free(w);
	}
}

/* ---- relays */

/* As above, but the other hears of it by the INIT before it has the RESPONSE of the session that is forgotten. */
static void forgotten_before_it_was_heard_of(void **state)
{
	(void)state;
	for (size_t who = 0; who < 2; who++) {
		struct world *w = world_new(2, 51 + who, &plain);
		struct tunnel_actions a;
		unsigned refused;

		want(w, 1 - who, who);
		deliver(w, 0); /* the INIT */
		assert_int_equal(w->n_packets, 1);
		w->packets[0].due_ms += 1; /* the RESPONSE, behind the next INIT */
		a = actions(w);
		tunnel_forget(w->h[who].t, name_of(1 - who), &a);
		carry_out(w, who, &a);
		know(w, who, 1 - who);
		want(w, who, 1 - who);
		run(w, w->now + 100);
		refused = w->refused;
		assert_true(joined(w, 0, 1));
		assert_int_equal(w->refused, refused);
		world_free(w);
	}
}

static void over_relays(void **state)
{
	struct world *w = world_new(3, 40, &plain);
	struct packet init;

	(void)state;
	w->relayed = true;
	want(w, 0, 1);
	init = last(w);
	init.from = 2; /* says host 2's name outside, host 0's inside */
	assert_int_equal(pass(w, &init), FWD_STRANGER);
	init.from = 0;
	assert_int_equal(pass(w, &init), FWD_PASSED);
	run(w, w->now + 100);
	assert_true(joined(w, 0, 1));
	world_free(w);
}

/* ---- indexes, enumeration, memory */

static void many_peers(void **state)
{
	enum { PEERS = 300 };
	struct world *w = world_new(1, 41, &plain);
	struct tunnel_actions a;
	uint32_t seen[PEERS];
	unsigned close_by = 0;

	(void)state;
	for (uint64_t i = 0; i < PEERS; i++) {
		uint8_t sk[32], pk[32];
		struct rbuf r;

		rng_fill(&w->r, sk, sizeof sk);
		crypto_scalarmult_base(pk, sk);
		a = actions(w);
		assert_int_equal(tunnel_peer(w->h[0].t, 0x1000 + i, pk, &a), ERR_OK);
		assert_int_equal(tunnel_want(w->h[0].t, 0x1000 + i, w->now, &a), ERR_OK);
		assert_int_equal(a.n, 1);
		rbuf_init(&r, a.v[0].bytes.p, a.v[0].bytes.n);
		rbuf_skip(&r, 4);
		seen[i] = rbuf_u32(&r);
		for (size_t k = 0; k < i; k++) {
			uint32_t gap = seen[k] > seen[i] ? seen[k] - seen[i] : seen[i] - seen[k];

			assert_int_not_equal(gap, 0);
			close_by += gap < 1000;
		}
	}
	assert_true(close_by < 5);
	world_free(w);
}

static void enumeration(void **state)
{
	struct world *w = world_new(6, 42, &plain);
	struct tunnel_actions a;
	bool seen[6] = { false };
	struct seal_keys *k;
	size_t it = 0;

	(void)state;
	for (size_t i = 1; i < 6; i++) {
		want(w, 0, i);
		run(w, w->now + 50);
	}
	a = actions(w);
	tunnel_forget(w->h[0].t, name_of(3), &a); /* a hole in the middle */
	while ((k = tunnel_next(w->h[0].t, &it)) != NULL) {
		size_t i = seal_peer(k) - name_of(0);

		assert_false(seen[i]);
		seen[i] = true;
		assert_ptr_equal(tunnel_rx(w->h[0].t, seal_index(k)), k);
		assert_ptr_equal(tunnel_tx(w->h[0].t, seal_peer(k)), k);
	}
	assert_true(!seen[0] && seen[1] && seen[2] && !seen[3] && seen[4] && seen[5]);
	assert_null(tunnel_rx(w->h[0].t, 0));
	world_free(w);
}

/* What the data threads hold lives on when the tunnel has let go of it. */
static void keys_outlive(void **state)
{
	struct world *w = world_new(2, 43, &plain);
	struct seal_keys *k;
	uint8_t mem[64];
	long before;

	(void)state;
	want(w, 0, 1);
	run(w, w->now + 100);
	before = mem_live();
	k = seal_keys_ref(tunnel_tx(w->h[0].t, name_of(1)));
	struct tunnel_actions a = actions(w);
	tunnel_forget(w->h[0].t, name_of(1), &a);
	assert_true(seal_datagram(k, 0, 0, 0, slice_str("late"), mem) > 0);
	assert_true(mem_live() < before);
	seal_keys_unref(k);
	world_free(w);
}

/* ---- no memory */

/* Each call of a scenario with a fresh arena, so that every allocation is one of its own. */
enum { POOL = 200, CALLS_MAX = 150 };
struct poor {
	struct world *w;
	struct arena *pool[POOL], *own;
	size_t calls, blackout; /* number of the call that gets no memory at all; 0: none */
};

static void poor_call(struct poor *p)
{
	assert_true(p->calls < CALLS_MAX);
	p->w->arena = p->pool[p->calls++];
	if (p->blackout > 0)
		mem_fail_at(p->calls == p->blackout, true);
}

static void poor_tick(struct poor *p, size_t i)
{
	struct tunnel_actions a;
	enum err e;

	poor_call(p);
	a = actions(p->w);
	e = tunnel_tick(p->w->h[i].t, p->w->now, &a);
	assert_true(e == ERR_OK || e == ERR_NOMEM);
	carry_out(p->w, i, &a);
}

/* Both begin, one forgets the other and learns of it again, both go on. */
static void poor_scenario(struct poor *p)
{
	struct world *w = p->w;
	struct tunnel_actions a;
	enum err e = ERR_OK;

	for (int i = 0; i < 3; i++) {
		for (size_t k = 0; k < 2; k++) {
			poor_call(p);
			a = actions(w);
			e = tunnel_want(w->h[k].t, name_of(1 - k), w->now, &a);
			assert_true(e == ERR_OK || e == ERR_NOMEM);
			carry_out(w, k, &a);
		}
		while (w->n_packets > 0) {
			poor_call(p);
			w->now++;
			deliver(w, 0);
		}
		w->now += 1500;
		poor_tick(p, 0);
		poor_tick(p, 1);
		if (i != 1)
			continue;
		poor_call(p);
		a = actions(w);
		tunnel_forget(w->h[1].t, name_of(0), &a);
		carry_out(w, 1, &a);
		do {
			poor_call(p);
			a = actions(w);
			e = tunnel_peer(w->h[1].t, name_of(0), w->h[0].pk, &a);
			carry_out(w, 1, &a);
		} while (e != ERR_OK);
	}
}

/* false: nothing failed, the scenario has fewer allocations or calls. */
static bool poor_run(size_t allocation, size_t call)
{
	struct poor p = { .w = world_new(2, 50, &plain), .blackout = call };
	struct tunnel *extra = NULL;
	bool reached;

	for (size_t i = 0; i < POOL; i++) {
		p.pool[i] = arena_new();
		assert_non_null(p.pool[i]);
	}
	p.own = p.w->arena;
	mem_fail_at(allocation, false);
	if (tunnel_new(&extra, &p.w->h[0].cfg) != ERR_OK)
		assert_null(extra);
	tunnel_free(extra);
	poor_scenario(&p);
	if (call > 0) {
		reached = p.calls >= call;
		mem_fail_at(0, false);
	} else {
		reached = true;
		for (int i = 0; i < 1000 && reached; i++) {
			void *m = mem_alloc(1);

			reached = m != NULL;
			mem_free(m);
		}
	}
	mem_fail_at(0, false);
	p.w->arena = p.own;
	for (size_t i = 0; i < POOL; i++)
		arena_free(p.pool[i]);

	/* All is made good by going on: what is owed is said, and they come together. */
	for (int i = 0; i < 20; i++) {
		want(p.w, 0, 1);
		want(p.w, 1, 0);
		(void)say(p.w, 0, 1, 0, 0);
		(void)say(p.w, 1, 0, 0, 0);
		run(p.w, p.w->now + 1000);
	}
	assert_true(joined(p.w, 0, 1));
	for (size_t k = 0; k < 2; k++) /* the host was told of the session it sends with */
		assert_int_equal(p.w->h[k].tx, seal_index(tunnel_tx(p.w->h[k].t, name_of(1 - k))));
	world_free(p.w);
	return reached;
}

static void no_memory(void **state)
{
	long before = mem_live();
	size_t allocations = 1, calls = 1;

	(void)state;
	while (poor_run(allocations, 0))
		allocations++;
	while (poor_run(0, calls))
		calls++;
	assert_true(allocations > 25 && calls > 20);
	assert_int_equal(mem_live(), before);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(step_by_step),
		cmocka_unit_test(aes_where_both_have_it),
		cmocka_unit_test(forms),
		cmocka_unit_test(places),
		cmocka_unit_test(altered),
		cmocka_unit_test(altered_under_a_right_mac1),
		cmocka_unit_test(what_an_init_says),
		cmocka_unit_test(too_many_of_one_peer),
		cmocka_unit_test(strangers_leave_nothing),
		cmocka_unit_test(flooded),
		cmocka_unit_test(cookies_age),
		cmocka_unit_test(stale_cookie_costs_one_round_trip),
		cmocka_unit_test(forgotten_and_changed),
		cmocka_unit_test(key_of_small_order),
		cmocka_unit_test(passwords),
		cmocka_unit_test(wants_end),
		cmocka_unit_test(unused_ends),
		cmocka_unit_test(renewed),
		cmocka_unit_test(confirmed_late),
		cmocka_unit_test(renewed_by_count),
		cmocka_unit_test(silence),
		cmocka_unit_test(restarted),
		cmocka_unit_test(forgotten_at_once),
		cmocka_unit_test(forgotten_before_it_was_heard_of),
		cmocka_unit_test(over_relays),
		cmocka_unit_test(many_peers),
		cmocka_unit_test(enumeration),
		cmocka_unit_test(keys_outlive),
		cmocka_unit_test(no_memory),
	};
	if (sodium_init() < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
