/* A member made by hand, linked with node 0: a session, and whatever it wants to say. */
#ifndef WEFT_TESTS_GOSSIP_ROGUE_H
#define WEFT_TESTS_GOSSIP_ROGUE_H

#include <sodium.h>

#include "tests/unit/gossip/net.h"

#define ROGUE UINT64_C(0x0a0b0c) /* its name */
struct rogue {
	struct session *s;
	struct stream *stream;
	struct wbuf out;
	uint64_t conn;
	size_t taken;
	bool closed;
	enum bye_reason bye;
	uint8_t public_key[32], secret_key[64]; /* of its signatures */
	uint64_t recons[GOSSIP_CHANNELS_MAX];   /* asked of it */
};

static inline void rogue_pump(struct net *t, struct rogue *r)
{
	for (int i = 0; i < 8; i++) {
		if (r->out.len > 0 && r->stream->open[1]) {
			struct gossip_event ev = { .kind = GOSSIP_CONN_DATA };
			ev.u.data.conn = r->conn;
			ev.u.data.bytes = wbuf_slice(&r->out);
			(void)net_step(t, 0, &ev);
		}
		wbuf_reset(&r->out);
		struct direction *d = &r->stream->d[1];
		struct rbuf in;
		struct slice msg;
		rbuf_init(&in, d->buf + r->taken, d->len - r->taken);
		r->taken = d->len;
		while (rbuf_left(&in) > 0) {
			struct message m;
			assert_int_equal(session_input(r->s, &in, &r->out, &msg), ERR_OK);
			if (msg.n == 0 || gossip_message_decode(msg, &m) != ERR_OK)
				continue;
			if (m.type == MESSAGE_BYE)
				r->bye = m.u.bye.reason;
			else if (m.type == MESSAGE_RECON && m.u.state.channel < GOSSIP_CHANNELS_MAX)
				r->recons[m.u.state.channel]++;
		}
	}
	r->closed = !r->stream->open[1];
}

static inline void rogue_open(struct net *t, struct rogue *r, uint64_t conn)
{
	static const uint8_t psk[1][32];
	uint8_t sk[32] = { 99 }, pk[32], e_sk[32] = { 77 };
	memset(r, 0, sizeof *r);
	wbuf_grow(&r->out, 8 << 20);
	assert_int_equal(crypto_scalarmult_base(pk, sk), 0);
	gossip_prover_ed25519.pair(sk, r->public_key, r->secret_key);
	struct session_config cfg = {
		.initiator = true, .s_sk = sk, .s_pk = pk, .e_sk = e_sk, .psk = psk, .n_psk = 1, .version_min = 1, .version_max = 1
	};
	assert_int_equal(session_new(&r->s, &cfg), ERR_OK);
	r->conn = conn;
	r->stream = &t->s[NET_STREAMS - 1]; /* beyond those that the network delivers */
	free(r->stream->d[1].buf);
	memset(r->stream, 0, sizeof *r->stream);
	r->stream->used = r->stream->announced = r->stream->open[1] = true;
	r->stream->node[0] = -1;
	r->stream->id[1] = conn;
	t->by_hand = r->stream;
	struct gossip_event ev = { .kind = GOSSIP_CONN_OPEN };
	ev.u.open.conn = conn;
	ev.u.open.remote = (struct hostport){ .ip = ip_v4(UINT32_C(0xc0a80001)), .port = 999 };
	memset(ev.u.open.entropy, 5, sizeof ev.u.open.entropy);
	(void)net_step(t, 0, &ev);
	assert_int_equal(session_start(r->s, &r->out), ERR_OK);
	rogue_pump(t, r);
	assert_int_equal(session_state(r->s), SESSION_OPEN);
}

static inline void rogue_close(struct net *t, struct rogue *r)
{
	if (r->stream->open[1]) {
		struct gossip_event ev = { .kind = GOSSIP_CONN_CLOSED };
		r->stream->open[1] = false;
		ev.u.closed.conn = r->conn;
		ev.u.closed.why = "closed by the other end";
		(void)net_step(t, 0, &ev);
	}
	session_free(r->s);
	wbuf_free(&r->out);
	free(r->stream->d[1].buf);
	memset(r->stream, 0, sizeof *r->stream);
	t->by_hand = NULL;
}

static inline void rogue_say(struct net *t, struct rogue *r, const void *p, size_t n)
{
	assert_int_equal(session_send(r->s, slice_of(p, n), &r->out), ERR_OK);
	rogue_pump(t, r);
}

static inline void rogue_hello(struct net *t, struct rogue *r)
{
	uint8_t mem[256];
	struct wbuf w;
	wbuf_fixed(&w, mem, sizeof mem);
	struct message m = { .type = MESSAGE_HELLO };
	m.u.hello = (struct message_hello){
		.name = ROGUE,
		.incarnation = 1,
		.uid = 4711,
		.dial_seq = 1,
		.port = 1,
		.protocol = 1,
		.nickname = slice_str("rogue"),
	};
	memcpy(m.u.hello.sign_key, r->public_key, sizeof r->public_key);
	assert_int_equal(gossip_message_encode(&w, &m), ERR_OK);
	rogue_say(t, r, mem, w.len);
}

/* Time passes, and it shows that it lives. */
static inline void rogue_run(struct net *t, struct rogue *r, uint64_t ms)
{
	static const uint8_t ping[17] = { MESSAGE_PING };
	for (uint64_t end = t->now + ms; t->now < end;) {
		net_run(t, end - t->now < 500 ? end - t->now : 500);
		rogue_say(t, r, ping, sizeof ping);
	}
}

/* A delta of one item. */
static inline void rogue_item(struct net *t, struct rogue *r, uint8_t channel, const struct crdt_item *it)
{
	static uint8_t mem[2 * CRDT_VALUE_MAX];
	struct wbuf w;
	wbuf_fixed(&w, mem, sizeof mem);
	wbuf_u8(&w, MESSAGE_DELTA);
	wbuf_u8(&w, channel);
	wbuf_varint(&w, 1);
	crdt_item_encode(&w, it);
	assert_int_equal(wbuf_end(&w), ERR_OK);
	rogue_say(t, r, mem, w.len);
}

/* An item with its memory. */
struct made {
	uint8_t key[CRDT_KEY_MAX], proof[CRDT_PROOF_MAX];
	struct crdt_item it;
};

/* subkey "": the owner's floor; value NULL: dead. Signed by the writer's key. */
static inline const struct crdt_item *rogue_make(struct made *m, uint8_t channel, uint64_t owner, const char *subkey,
	struct stamp stamp, const struct slice *value, uint64_t writer, const uint8_t secret_key[64])
{
	struct wbuf w;
	wbuf_fixed(&w, m->key, sizeof m->key);
	wbuf_u48(&w, owner);
	wbuf_bytes(&w, subkey, strlen(subkey));
	m->it = (struct crdt_item){ .key = wbuf_slice(&w), .stamp = stamp, .live = value != NULL };
	if (value)
		m->it.value = *value;
	size_t n = gossip_sign_proof(&gossip_prover_ed25519, secret_key, writer, true, channel, &m->it, m->proof);
	m->it.proof = slice_of(m->proof, n);
	return &m->it;
}

/* Makes itself known, and reachable. */
static inline void rogue_publish(struct net *t, struct rogue *r)
{
	struct peer_info info = { .name = ROGUE, .nickname = "rogue", .uid = 4711 };
	struct peer_link link = { .name = t->n[0].name };
	uint8_t mem[512];
	struct made m;
	struct wbuf w;
	memcpy(info.sign_key, r->public_key, sizeof info.sign_key);
	wbuf_fixed(&w, mem, sizeof mem);
	gossip_peer_info_encode(&w, &info);
	struct slice value = wbuf_slice(&w);
	rogue_item(
		t, r, CHANNEL_PEERS, rogue_make(&m, CHANNEL_PEERS, ROGUE, "i", (struct stamp){ 1, 1 }, &value, ROGUE, r->secret_key));
	wbuf_reset(&w);
	assert_int_equal(gossip_peer_links_encode(&w, &link, 1), ERR_OK);
	value = wbuf_slice(&w);
	rogue_item(
		t, r, CHANNEL_PEERS, rogue_make(&m, CHANNEL_PEERS, ROGUE, "l", (struct stamp){ 1, 2 }, &value, ROGUE, r->secret_key));
	net_run(t, 50);
	assert_true(gossip_reachable(t->n[0].g, ROGUE));
}

#endif
