/* One connection, from its opening to its end.
 *
 *   CONNECTING ──▶ HANDSHAKE ──▶ ESTABLISHED ──▶ REPLACED ──▶ CLOSED     (CLOSED from everywhere)
 *                      └────────────────────────────▲
 * HANDSHAKE lasts until HELLO has been heard. The acceptor says HELLO first, the dialler answers: so the dialler is established first, and
 * whoever accepted a link knows, once it is established there, that it is so at both ends. REPLACED: another link to the same peer is kept;
 * what comes is still read, nothing is said, and the other end will close it. A closed link is freed when the step ends, so that nobody
 * holds a dangling pointer within a step.
 *
 * Any byte heard is life; where nothing else is said, a PONG that nobody asked for is. The deadline adapts: mean + 4 deviations of the gaps between
 * arrivals, not below the configured one.
 *
 * A process that does not get to run hears nothing either, and must not take that for the silence of others (as in Lifeguard: local health aware
 * failure detection). So it doubts itself: more with each step that comes late against the deadline it had asked for, with each peer that was given
 * up for silence and is back at once as the same process, and when a peer has given us up; less as time goes on. The deadline grows with the doubt, and
 * after a late step nobody is given up before what came meanwhile can have been read. */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "gossip/internal.h"

static const uint8_t moves[STAGES] = {
	[STAGE_CONNECTING] = 1 << STAGE_HANDSHAKE | 1 << STAGE_CLOSED,
	[STAGE_HANDSHAKE] = 1 << STAGE_ESTABLISHED | 1 << STAGE_REPLACED | 1 << STAGE_CLOSED,
	[STAGE_ESTABLISHED] = 1 << STAGE_REPLACED | 1 << STAGE_CLOSED,
	[STAGE_REPLACED] = 1 << STAGE_CLOSED,
	[STAGE_CLOSED] = 0,
};

static bool half_open(const struct link *l)
{
	return l->stage == STAGE_HANDSHAKE && !l->outbound;
}

void gossip_link_move(struct gossip *g, struct link *l, enum stage to)
{
	assert(moves[l->stage] >> to & 1);
	g->n_half_open -= half_open(l) ? 1 : 0;
	l->stage = to;
	g->n_half_open += half_open(l) ? 1 : 0;
}

struct link *gossip_link_find(const struct gossip *g, uint64_t conn)
{
	struct link *l = map_get64(g->by_conn, conn);
	return l && l->stage != STAGE_CLOSED ? l : NULL;
}

struct link *gossip_link_new(struct gossip *g, uint64_t conn, bool outbound)
{
	void *v = g->links;
	struct link *l = NULL;
	if (mem_grow(&v, &g->cap_links, g->n_links + 1, sizeof *g->links)) {
		g->links = v;
		l = mem_zalloc(1, sizeof *l);
	}
	if (!l || map_put64(g->by_conn, conn, l, NULL) != ERR_OK) {
		mem_free(l);
		g->nomem = true;
		return NULL;
	}
	gossip_timer_init(&l->timer, TIMER_LINK);
	l->conn = conn;
	l->outbound = outbound;
	l->opened_ms = g->now;
	wbuf_grow(&l->out, SIZE_MAX / 2);
	g->links[g->n_links++] = l;
	return l;
}

void gossip_link_free(struct gossip *g, struct link *l)
{
	size_t at = 0;
	while (g->links[at] != l)
		at++;
	memmove(&g->links[at], &g->links[at + 1], (g->n_links - at - 1) * sizeof *g->links);
	g->n_links--;
	if (map_get64(g->by_conn, l->conn) == l)
		map_del64(g->by_conn, l->conn);
	gossip_timer_off(g, &l->timer);
	session_free(l->session);
	wbuf_free(&l->out);
	gossip_slots_free(l);
	mem_free(l);
}

size_t gossip_links_established(const struct gossip *g)
{
	size_t n = 0;
	for (size_t i = 0; i < g->n_links; i++)
		n += g->links[i]->stage == STAGE_ESTABLISHED ? 1 : 0;
	return n;
}

const char *gossip_link_who(const struct link *l, char out[160])
{
	char at[HOSTPORT_TEXT], name[PEER_TEXT];
	hostport_format(l->remote, at);
	if (l->peer == PEER_NONE)
		(void)snprintf(out, 160, "%s", at);
	else
		(void)snprintf(out, 160, "%s(%s) at %s", peer_format(l->peer, name), l->nickname, at);
	return out;
}

/* A buffer that could not grow has written nothing of what failed. */
static void mend(struct gossip *g, struct link *l)
{
	if (!l->out.failed)
		return;
	l->out.failed = false;
	l->out.no_memory = false;
	g->nomem = true;
}

bool gossip_link_send_bytes(struct gossip *g, struct link *l, struct slice message)
{
	if (!l->session || session_state(l->session) != SESSION_OPEN || l->stage == STAGE_CLOSED)
		return false;
	enum err e = session_send(l->session, message, &l->out);
	mend(g, l);
	if (e != ERR_OK)
		return false;
	l->last_out_ms = g->now;
	g->counters.messages_out[message.p[0]]++;
	return true;
}

bool gossip_link_send(struct gossip *g, struct link *l, const struct message *m)
{
	wbuf_reset(&g->scratch);
	if (gossip_message_encode(&g->scratch, m) != ERR_OK) {
		g->nomem = true;
		return false;
	}
	return gossip_link_send_bytes(g, l, wbuf_slice(&g->scratch));
}

/* Closing */

static enum ending ending_of(const struct link *l, const struct peer *p)
{
	if (l->surplus)
		return ENDED_SURPLUS;
	if (l->bye_seen)
		return l->stopping ? ENDED_BY_STOP : ENDED_BY_PEER;
	return p->seen_ms != 0 ? ENDED_BY_HOST : ENDED_SILENTLY;
}

static void link_ended(struct gossip *g, struct link *l, const char *why)
{
	struct peer *p = gossip_peer_find(g, l->peer);
	if (!p || p->link != l)
		return;
	char who[160];
	p->link = NULL;
	p->lost_ms = g->now;
	p->ending = ending_of(l, p);
	p->given_up = l->gave_up;
	p->pruned = l->surplus;
	if (!l->surplus || gossip_peers_lost_elsewhere(g, p))
		g->publish_links = true;
	else if (g->publish_lazily_ms == 0)
		g->publish_lazily_ms = g->now + PUBLISH_LAZY_MS;
	g->topology_dirty = true;
	g->routes->stale = true;
	g->routes->urgent = true;
	g->counters.terminations += l->surplus ? 0 : 1;
	gossip_act_note_about(
		g, p->name, l->surplus ? NOTE_DEBUG : NOTE_INFO, false, "link to %s is gone: %s", gossip_link_who(l, who), why);
	if (g->recon_soon_timer.at_ms == 0 && !l->surplus)
		gossip_timer_set(g, &g->recon_soon_timer, g->now + RECON_SOON_MS);
	gossip_connect_unlinked(g, p, g->now - l->established_ms, why);
	if (!p->has_info && !p->has_links && p->name != g->self)
		gossip_peer_free(g, p);
}

void gossip_link_close(struct gossip *g, struct link *l, const char *why)
{
	if (l->stage == STAGE_CLOSED)
		return;
	(void)snprintf(l->why, sizeof l->why, "%s", why);
	gossip_connect_ended(g, l, l->why);
	gossip_connect_failed(g, l, LINK_RETRYING, RETRY_BACKOFF, l->why);
	gossip_link_move(g, l, STAGE_CLOSED);
	gossip_timer_off(g, &l->timer);
	gossip_converge_done(g, l);
	link_ended(g, l, l->why);
}

void gossip_link_bye(struct gossip *g, struct link *l, enum bye_reason r, struct hostport address, const char *text)
{
	char cut[MESSAGE_TEXT_MAX + 1];
	(void)snprintf(cut, sizeof cut, "%s", text);
	struct message m = { .type = MESSAGE_BYE };
	m.u.bye.reason = r;
	m.u.bye.address = address;
	m.u.bye.text = slice_str(cut);
	(void)gossip_link_send(g, l, &m); /* politeness: the other end will find out anyway */
	gossip_link_close(g, l, text);
}

void gossip_link_lost(struct gossip *g, struct link *l, const char *why)
{
	char text[REASON_MAX];
	if (l->stage == STAGE_HANDSHAKE)
		g->counters.handshakes_garbage++;
	if (l->stage == STAGE_HANDSHAKE && l->session && strcmp(why, "closed by the other end") == 0 &&
		session_eof(l->session) != ERR_OK) { /* how far it had come */
		(void)snprintf(text, sizeof text, "%s", session_error_text(l->session));
		why = text;
	}
	gossip_link_close(g, l, why);
}

static uint64_t subject_of(struct ip ip)
{
	uint64_t h = ip.family;
	for (size_t i = 0; i < sizeof ip.b; i++)
		h = (h ^ ip.b[i]) * UINT64_C(1099511628211);
	return h;
}

static void remember_refused(struct gossip *g, struct hostport remote, const char *reason)
{
	struct refused *r = &g->refused[0];
	for (size_t i = 0; i < REFUSED_MAX; i++) {
		struct refused *o = &g->refused[i];
		if (o->remote.ip.family != 0 && ip_eq(o->remote.ip, remote.ip)) {
			r = o;
			break;
		}
		if (o->at_ms < r->at_ms)
			r = o;
	}
	r->remote = remote;
	r->at_ms = g->now;
	(void)snprintf(r->reason, sizeof r->reason, "refused: %.140s", reason);
}

/* What went wrong in the session, for the operator of this end. */
static void session_broken(struct gossip *g, struct link *l)
{
	char who[160], text[REASON_MAX];
	enum err e = session_error(l->session);
	bool stranger = l->stage == STAGE_HANDSHAKE;
	enum link_state show = LINK_RETRYING;
	enum retry how = RETRY_BACKOFF;
	(void)snprintf(text, sizeof text, "%s", session_error_text(l->session));
	if (!stranger) {
		g->counters.malformed++;
	} else if (e == ERR_AUTH) {
		g->counters.handshakes_auth++;
		show = LINK_FAILED;
		(void)snprintf(text, sizeof text, "password differs");
	} else if (e == ERR_BUSY) {
		how = RETRY_BUSY;
	} else if (e == ERR_VERSION) {
		g->counters.handshakes_version++;
		show = LINK_FAILED;
	} else if (e != ERR_NOMEM) {
		g->counters.handshakes_garbage++;
	}
	if (stranger && !l->outbound)
		gossip_act_note_about(g, subject_of(l->remote.ip), NOTE_WARNING, true, "refused %s: %s%s", gossip_link_who(l, who), text,
			e == ERR_AUTH ? "; give all hosts of the network the same password" : "");
	if (show == LINK_FAILED && !l->outbound)
		remember_refused(g, l->remote, text);
	gossip_connect_failed(g, l, show, how, text);
	gossip_link_close(g, l, text);
}

/* Opening */

static void push_out_oldest(struct gossip *g)
{
	struct link *victim = NULL;
	for (size_t i = 0; i < g->n_links; i++) {
		struct link *l = g->links[i];
		if (!half_open(l))
			continue;
		if (!victim || (victim->known_address && !l->known_address))
			victim = l;
		if (!victim->known_address)
			break;
	}
	assert(victim);
	g->counters.handshakes_timeout++;
	gossip_link_close(g, victim, "pushed out by newer connections");
}

static bool has_half_open(const struct gossip *g, struct ip ip)
{
	for (size_t i = 0; i < g->n_links; i++)
		if (half_open(g->links[i]) && ip_eq(g->links[i]->remote.ip, ip))
			return true;
	return false;
}

/* Links with peers must come up however many strangers knock: addresses we know are let in beyond the rate, others have it easier while
 * they have nothing open. */
static bool may_enter(struct gossip *g, struct ip ip, bool known)
{
	return known || bucket_take(&g->accept, g->now) || (!has_half_open(g, ip) && bucket_take(&g->accept_first, g->now));
}

/* busy: only says so. */
static void shake_hands(struct gossip *g, struct link *l, const uint8_t *entropy, bool busy)
{
	struct session_config cfg = {
		.initiator = l->outbound,
		.s_sk = g->secret,
		.s_pk = g->key,
		.e_sk = entropy,
		.psk = (const uint8_t(*)[SESSION_KEY])g->psk,
		.n_psk = l->outbound ? 1 : g->n_psk,
		.version_min = SESSION_VERSION_MIN,
		.version_max = SESSION_VERSION_MAX,
	};
	enum err e = session_new(&l->session, &cfg);
	if (e == ERR_OK && busy)
		session_refuse(l->session, SESSION_ALERT_BUSY, &l->out);
	else if (e == ERR_OK)
		e = session_start(l->session, &l->out);
	mend(g, l);
	if (e == ERR_OK && busy) {
		gossip_link_close(g, l, "busy with other handshakes");
		return;
	}
	gossip_timer_set(g, &l->timer, l->opened_ms + GOSSIP_HANDSHAKE_MS);
	if (e != ERR_OK) {
		g->nomem = true;
		gossip_link_close(g, l, "out of memory");
	}
}

void gossip_link_open(struct gossip *g, struct link *l, const struct gossip_event *ev)
{
	bool known = true;
	if (!ev->u.open.outbound) {
		known = gossip_connect_known_address(g, ev->u.open.remote.ip);
		bool refused = !may_enter(g, ev->u.open.remote.ip, known);
		if (!refused && g->n_half_open >= GOSSIP_HALF_OPEN_MAX)
			push_out_oldest(g);
		l = refused ? NULL : gossip_link_new(g, ev->u.open.conn, false);
		if (!l) {
			if (g->n_orphans < sizeof g->orphans / sizeof g->orphans[0])
				g->orphans[g->n_orphans++] = ev->u.open.conn;
			return;
		}
	}
	gossip_link_move(g, l, STAGE_HANDSHAKE);
	l->known_address = known;
	l->remote = ev->u.open.remote;
	l->local = ev->u.open.local;
	l->opened_ms = l->last_in_ms = l->last_out_ms = g->now;
	shake_hands(g, l, ev->u.open.entropy, !l->outbound && !bucket_take(&g->handshakes, g->now));
}

/* Life */

static uint32_t deadline_of(const struct gossip *g, const struct link *l)
{
	uint32_t adapted = l->gap_mean / 8 + 4 * (l->gap_dev / 4), max = g->deadline_ms * LINK_DEADLINE_FACTOR;
	if (adapted > max)
		adapted = max;
	return (adapted < g->deadline_ms ? g->deadline_ms : adapted) * (1 + gossip_doubt(g));
}

unsigned gossip_doubt(const struct gossip *g)
{
	uint64_t eased = (g->now - g->doubt_ms) / DOUBT_EASE_MS;
	return eased >= g->doubt ? 0 : g->doubt - (unsigned)eased;
}

void gossip_doubt_more(struct gossip *g, uint64_t by)
{
	uint64_t sum = gossip_doubt(g) + by;
	g->doubt = sum > GOSSIP_DOUBT_MAX ? GOSSIP_DOUBT_MAX : (unsigned)sum;
	g->doubt_ms = g->now;
}

void gossip_doubt_hint(struct gossip *g, struct peer *p)
{
	g->counters.false_alarms++;
	if (gossip_doubt(g) >= DOUBT_HINTS_MAX || (p->hinted_ms != 0 && g->now < p->hinted_ms + DOUBT_HINT_EVERY_MS))
		return;
	p->hinted_ms = g->now;
	gossip_doubt_more(g, 1);
}

/* Mean and deviation in fixed point, as TCP keeps its round trip (RFC 6298). */
static void heard(struct gossip *g, struct link *l)
{
	uint64_t gap = g->now - l->last_in_ms;
	l->last_in_ms = g->now;
	if (gap == 0 || l->stage != STAGE_ESTABLISHED || g->now < g->reading_ms) /* it waited for us, not we for it */
		return;
	if (gap > UINT16_MAX)
		gap = UINT16_MAX;
	uint32_t mean = l->gap_mean / 8, x = (uint32_t)gap, off = x > mean ? x - mean : mean - x;
	l->gap_mean = l->gap_mean - mean + x;
	l->gap_dev = l->gap_dev - l->gap_dev / 4 + off;
}

uint64_t gossip_link_ping(struct gossip *g, struct link *l)
{
	struct message m = { .type = MESSAGE_PING };
	m.u.ping.id = ++l->ping_id;
	m.u.ping.time_ms = g->now;
	bool sent = gossip_link_send(g, l, &m);
	if (sent)
		l->pinged_ms = g->now;
	l->last_out_ms = g->now; /* out of memory: not before the next one is due */
	return sent ? l->ping_id : 0;
}

/* A sign of life that asks for no answer; for the round trip one that does. */
static void keep_alive(struct gossip *g, struct link *l)
{
	if (l->pinged_ms == 0 || g->now >= l->pinged_ms + LINK_RTT_EVERY_MS) {
		(void)gossip_link_ping(g, l);
		return;
	}
	struct message m = { .type = MESSAGE_PONG };
	m.u.ping.time_ms = g->now;
	(void)gossip_link_send(g, l, &m);
	l->last_out_ms = g->now;
}

void gossip_link_timer(struct gossip *g, struct link *l)
{
	if (l->stage == STAGE_CONNECTING || l->stage == STAGE_HANDSHAKE) {
		const char *why = l->stage == STAGE_CONNECTING ? "no answer to the connection" : "no handshake in time";
		g->counters.handshakes_timeout++;
		gossip_link_close(g, l, why);
		return;
	}
	if (l->stage == STAGE_REPLACED) {
		gossip_link_close(g, l, "replaced by another link");
		return;
	}
	if (l->later_ms != 0 && g->now >= l->later_ms)
		gossip_spread_later(g, l);
	uint64_t dies = l->last_in_ms + deadline_of(g, l);
	if (g->now >= dies && g->now < g->reading_ms) {
		dies = g->reading_ms;
	} else if (g->now >= dies) {
		char why[80];
		(void)snprintf(why, sizeof why, "nothing heard for %" PRIu64 " ms", g->now - l->last_in_ms);
		l->gave_up = true;
		gossip_link_bye(g, l, BYE_TIMEOUT, (struct hostport){ 0 }, why);
		return;
	}
	bool due = g->now >= l->last_out_ms + GOSSIP_HEARTBEAT_MS || l->pinged_ms == 0 || g->now >= l->pinged_ms + LINK_RTT_EVERY_MS;
	if (due && l->queued + l->out.len < LINK_BUSY_BYTES)
		keep_alive(g, l);
	uint64_t next = l->last_out_ms + GOSSIP_HEARTBEAT_MS;
	if (next <= g->now)
		next = g->now + GOSSIP_HEARTBEAT_MS; /* busy: what is queued will be heard */
	if (next > dies)
		next = dies;
	if (l->later_ms != 0 && l->later_ms < next)
		next = l->later_ms;
	gossip_timer_set(g, &l->timer, next);
}

static void pong_received(struct gossip *g, struct link *l, const struct message_ping *p)
{
	if (l->following_id != 0 && p->id >= l->following_id && p->id <= l->ping_id)
		gossip_converge_done(g, l);
	if (p->id == 0 || p->id != l->ping_id || p->time_ms > g->now || g->now - p->time_ms > UINT16_MAX)
		return;
	/* Steps know milliseconds; a shorter one is told as half of one. */
	uint32_t us = g->now == p->time_ms ? 500 : (uint32_t)(g->now - p->time_ms) * 1000;
	l->rtt_us = l->rtt_us == 0 ? us : l->rtt_us - l->rtt_us / 8 + us / 8;
}

void gossip_link_drained(struct gossip *g, struct link *l, size_t queued)
{
	(void)g;
	l->queued = queued;
}

/* Messages */

void gossip_link_malformed(struct gossip *g, struct link *l, const char *what, enum err e)
{
	char text[REASON_MAX], who[160];
	(void)snprintf(text, sizeof text, "cannot read its %s message: %s", what, err_text(e));
	g->counters.malformed++;
	gossip_act_note_about(
		g, l->peer, NOTE_WARNING, l->stage == STAGE_HANDSHAKE, "closing the link to %s: %s", gossip_link_who(l, who), text);
	gossip_link_bye(g, l, BYE_MALFORMED, (struct hostport){ 0 }, text);
}

static void dispatch(struct gossip *g, struct link *l, const struct message *m)
{
	switch (m->type) {
	case MESSAGE_HELLO: gossip_hello_received(g, l, &m->u.hello); break;
	case MESSAGE_PING: {
		struct message answer = { .type = MESSAGE_PONG };
		answer.u.ping = m->u.ping;
		if (l->queued + l->out.len < LINK_FULL_BYTES)
			(void)gossip_link_send(g, l, &answer);
		break;
	}
	case MESSAGE_PONG: pong_received(g, l, &m->u.ping); break;
	case MESSAGE_DELTA: gossip_spread_delta(g, l, &m->u.state); break;
	case MESSAGE_RECON: gossip_spread_recon(g, l, &m->u.state); break;
	case MESSAGE_UNICAST:
		if (m->u.unicast.to != g->self || gossip_sign_unicast_accept(g, l, &m->u.unicast))
			gossip_spread_unicast(g, &m->u.unicast, false);
		break;
	case MESSAGE_BYE: gossip_bye_received(g, l, &m->u.bye); break;
	case MESSAGE_CONTEST: gossip_contest_received(g, l, &m->u.contest); break;
	case MESSAGE_WANT: gossip_want_received(g, l, &m->u.want); break;
	}
}

static void receive(struct gossip *g, struct link *l, struct slice bytes)
{
	struct message m;
	enum err e = gossip_message_decode(bytes, &m);
	const struct message_row *row = gossip_message_row(bytes.p[0]);
	if (e == ERR_UNSUPPORTED) {
		g->counters.unknown_types++;
		return;
	}
	assert(row);
	g->counters.messages_in[row->type]++;
	bool in_turn = l->hello_seen ? row->type != MESSAGE_HELLO : row->early; /* HELLO comes first, and once */
	if (e == ERR_OK && !in_turn)
		e = ERR_STATE;
	if (e == ERR_OK)
		dispatch(g, l, &m);
	else
		gossip_link_malformed(g, l, row->name, e);
}

void gossip_link_data(struct gossip *g, struct link *l, struct slice bytes)
{
	struct rbuf in;
	rbuf_init(&in, bytes.p, bytes.n);
	g->counters.bytes_in += bytes.n;
	if (l->stage == STAGE_CONNECTING)
		return; /* the shell has not said yet that it is connected */
	heard(g, l);
	while (rbuf_left(&in) > 0 && l->stage != STAGE_CLOSED) {
		struct slice message;
		enum err e = session_input(l->session, &in, &l->out, &message);
		mend(g, l);
		if (e != ERR_OK) {
			g->nomem = g->nomem || e == ERR_NOMEM;
			session_broken(g, l);
			return;
		}
		if (!l->outbound && !l->hello_sent && session_state(l->session) == SESSION_OPEN)
			gossip_hello_send(g, l);
		if (message.n > 0 && l->stage != STAGE_CLOSED)
			receive(g, l, message);
	}
}
