/* What is known of the ways to a peer: probes, their answers, and what follows from both.
 *
 * A way is on trial when it is to be found out whether it works: at the first contact, when it is tried again after a failure, or when
 * something about it has changed. A trial is a quick series of probes; it ends with an answer (PATH_COME_BACK in a row for a way
 * that failed before) or with PATH_DEAD_MS of silence. The way in use is watched as well, as long as there is traffic. Probes are of full
 * size: over VXLAN what a container may send, and answered at that size, since both directions carry containers' packets whole;
 * on the userspace path and over relays the path MTU found so far, answered as short as it gets, since each end finds that of its own
 * direction. From the first missing answer on a short probe goes beside, which tells "nothing passes" from "large packets do not".
 *
 *     contact ──▶ trial ──answer──▶ works ──silence while watched, refusal──▶ failed ──retry_ms──▶ trial
 *                   └──silence──▶ failed
 *
 * In the clear anybody on the underlay can answer or swallow probes, as he can swallow frames; the random number in each keeps out those who
 * cannot listen. */
#include <string.h>

#include "router/core/internal.h"
#include "tunnel/probe.h"

const char PROBES_WORKS[] = "works", PROBES_UNPROBED[] = "not-probed-yet";
static const char no_answer[] = "no-answer-to-probes", no_session[] = "no-answer-to-handshakes",
				  full_size_lost[] = "full-size-packets-lost";

enum {
	TRIAL_STEPS = 4,
	COME_BACK_MS = 200,
	BLACK_HOLE_MS = 1000,
	BLACK_HOLE_PROBES = 3,
	PATIENCE_UNKNOWN_MS = 250, /* for an answer, while the round trip is not known */
	PATIENCE_MIN_MS = 100,
	PATIENCE_MAX_MS = 1000,
	MISSING_MS = 350,
	BASE_V4 = 576, /* BASE_PLPMTU of RFC 8899 section 5.1.2: what every host has to take */
	BASE_V6 = 1280,
	DEVICE_MTU = 1500 /* where it is not known */
};
static const uint16_t trial_ms[TRIAL_STEPS] = { 50, 100, 250, PATH_HEARTBEAT_MS };

/* --- sizes ------------------------------------------------------------------------------------------------------------------------ */

static struct ip far_of(const struct peer_state *p, enum path k)
{
	return k == PATH_RELAY ? p->relay_to.ip : p->to.ip;
}

static uint32_t udp_of(const struct peer_state *p, enum path k)
{
	return far_of(p, k).family == 6 ? WIRE_IP6_UDP : WIRE_IP4_UDP;
}

static bool sealed_on(const struct peer_state *p, enum path k)
{
	return k == PATH_RELAY || (k == PATH_USERSPACE && p->sealed);
}

/* What stands before a CONTROL datagram's payload, and with the tag behind it. */
static uint32_t head_of(enum path k)
{
	return k == PATH_FAST ? 0 : k == PATH_RELAY ? 2 * WIRE_HEAD : WIRE_HEAD;
}

static uint32_t around(const struct peer_state *p, enum path k)
{
	return k == PATH_FAST ? 0 : udp_of(p, k) + head_of(k) + (sealed_on(p, k) ? (uint32_t)WIRE_TAG : 0);
}

static uint32_t container_mtu(const struct core *c, const struct peer_state *p)
{
	uint32_t own = c->cfg.offer.mtu, theirs = p->offer.mtu;

	if (own == 0 || (theirs != 0 && theirs < own))
		own = theirs;
	return own == 0 ? PATH_CONTAINER_MTU : own < PROBE_HEAD ? (uint32_t)PROBE_HEAD : own;
}

static uint32_t full_size(const struct core *c, const struct peer_state *p, enum path k)
{
	return k == PATH_FAST ? container_mtu(c, p) : p->ways[k].mtu.good;
}

static uint32_t device_mtu(const struct core *c, const struct peer_state *p, enum path k)
{
	struct ip local = p->local, far;
	uint32_t mtu = 0;

	if (k == PATH_RELAY && !gossip_underlay(c->gossip, p->relay, &far, &local))
		local = (struct ip){ 0 };
	if (c->cfg.underlay_mtu != NULL && local.family != 0)
		mtu = c->cfg.underlay_mtu(c->cfg.ctx, local);
	return mtu != 0 ? mtu : DEVICE_MTU;
}

static void search_mtu(const struct core *c, struct peer_state *p, enum path k)
{
	if (k != PATH_FAST)
		mtu_begin(&p->ways[k].mtu, far_of(p, k).family == 6 ? BASE_V6 : BASE_V4, device_mtu(c, p, k), c->now_ms);
}

uint32_t probes_datagram(const struct peer_state *p, enum path k)
{
	uint32_t udp = udp_of(p, k), good = p->ways[k].mtu.good;

	return good > udp ? good - udp : 0;
}

uint32_t probes_container_mtu(const struct core *c, const struct peer_state *p, enum path k)
{
	uint32_t own = c->cfg.offer.mtu, theirs = p->offer.mtu, head = around(p, k) + WIRE_INNER_ETHERNET, mtu;

	if (k == PATH_NONE || !p->ways[k].possible)
		return 0;
	if (k == PATH_FAST)
		return container_mtu(c, p);
	mtu = p->ways[k].mtu.good > head ? p->ways[k].mtu.good - head : 0;
	return own > theirs && theirs != 0 && theirs < mtu ? theirs : mtu; /* larger ones their containers do not take */
}

/* --- state ------------------------------------------------------------------------------------------------------------------------ */

/* Begins anew: what was sent before is forgotten, its room is kept. */
static void way_reset(struct way *w, struct way fresh)
{
	fresh.full = w->full;
	fresh.other = w->other;
	if (fresh.full != NULL)
		memset(fresh.full, 0, 2 * PROBES_OPEN_MAX * sizeof(*fresh.full));
	*w = fresh;
}

static enum err way_room(struct way *w)
{
	if (w->full != NULL)
		return ERR_OK;
	w->full = mem_zalloc(2 * (size_t)PROBES_OPEN_MAX, sizeof(*w->full));
	if (w->full == NULL)
		return ERR_NOMEM;
	w->other = w->full + PROBES_OPEN_MAX;
	return ERR_OK;
}

void probes_free(struct peer_state *p)
{
	for (enum path k = PATH_FAST; k <= PATH_RELAY; k++)
		mem_free(p->ways[k].full);
}

void probes_contact(struct core *c, struct peer_state *p, enum path k)
{
	way_reset(&p->ways[k], (struct way){ .possible = true, .state = PROBES_UNPROBED, .retry_ms = c->now_ms });
	search_mtu(c, p, k);
}

static void begin_trial(struct core *c, struct way *w)
{
	w->trial = true;
	w->smaller_pass = false;
	w->step = w->answers = 0;
	w->n_full = 0;
	w->next_ms = c->now_ms;
}

void probes_verify(struct core *c, struct peer_state *p, enum path k)
{
	if (p->ways[k].works && !p->ways[k].trial)
		begin_trial(c, &p->ways[k]);
}

void probes_impossible(struct peer_state *p, enum path k, const char *why)
{
	if (p->ways[k].possible || p->ways[k].state != why)
		way_reset(&p->ways[k], (struct way){ .state = why });
}

/* When to try again: soon for what may only be late in coming up, else so seldom that a path that comes and goes is left alone. */
static uint64_t retry_after(struct core *c, struct way *w)
{
	uint64_t usual = rng_between(&c->rng, PATH_RETRY_MIN_MS, PATH_RETRY_MAX_MS);

	if (w->failures > 1)
		return rng_between(&c->rng, PATH_RETRY_MAX_MS, PATH_RETRY_LONG_MS);
	if (w->worked || w->failed_trials > 4)
		return usual;
	uint64_t soon = (uint64_t)PATH_RETRY_FIRST_MS << w->failed_trials;
	return soon < usual ? soon : usual;
}

void probes_fail(struct core *c, struct peer_state *p, enum path k, const char *why)
{
	struct way *w = &p->ways[k];

	if (!w->possible || (!w->works && !w->trial))
		return;                                            /* known */
	if (k == PATH_USERSPACE && p->roamed.ip.family != 0) { /* not there any more: where the mesh says it is */
		p->roamed = (struct hostport){ 0 };
		p->to = (struct hostport){ p->underlay, p->offer.userspace_port };
		probes_contact(c, p, k);
		return;
	}
	if (w->works)
		w->failures = c->now_ms < w->failed_ms + PATH_FORGIVEN_MS ? w->failures + 1 : 1;
	w->retry_ms = c->now_ms + retry_after(c, w);
	if (!w->works && !w->worked)
		w->failed_trials++;
	w->works = w->trial = false;
	w->state = why;
	w->failed_ms = c->now_ms;
	w->n_full = 0;
}

bool probes_in_doubt(const struct core *c, const struct way *w)
{
	uint64_t patience = PATH_DOUBT_MS, trips = 2 * (uint64_t)w->rtt_us / 1000;

	return w->n_full >= 2 && c->now_ms >= w->full[0].at_ms + (trips > patience ? trips : patience);
}

static bool any_works(const struct peer_state *p)
{
	for (enum path k = PATH_FAST; k <= PATH_RELAY; k++)
		if (p->ways[k].possible && p->ways[k].works)
			return true;
	return false;
}

/* Is it worth a probe? Hosts that nobody here talks to cost nothing, however many there are. */
static bool relevant(const struct core *c, const struct peer_state *p)
{
	return p->reachable && (p->linked || paths_active(c, p) || (c->members && p->members));
}

static bool is_watched(const struct core *c, const struct peer_state *p, enum path k)
{
	return p->path == k && p->ways[k].works && paths_active(c, p);
}

/* When the way is to be tried (again); UINT64_MAX: there is no reason to. */
static uint64_t trial_due(const struct core *c, const struct peer_state *p, enum path k)
{
	const struct way *w = &p->ways[k], *direct = &p->ways[PATH_USERSPACE];
	bool none = !any_works(p);
	uint64_t due = w->retry_ms;

	if (!w->possible || w->works || w->trial || !relevant(c, p))
		return UINT64_MAX;
	if (!none && (k == PATH_RELAY || (w->failed_ms != 0 && p->path < k && p->ways[p->path].works)))
		return UINT64_MAX; /* worse than what works */
	if (none && paths_active(c, p) && w->failed_ms != 0 && w->failed_ms + PATH_RETRY_NONE_MS < due)
		due = w->failed_ms + PATH_RETRY_NONE_MS;
	if (k == PATH_RELAY && direct->trial && direct->failed_ms == 0 && direct->n_full > 0 &&
		direct->full[0].at_ms + PATH_RELAY_AFTER_MS > due)
		due = direct->full[0].at_ms + PATH_RELAY_AFTER_MS;
	return due;
}

/* --- asking ----------------------------------------------------------------------------------------------------------------------- */

static enum err send_probe(struct core *c, struct peer_state *p, enum path k, const struct probe *pr, struct hostport to,
	bool sealed, uint64_t id, struct core_actions *out)
{
	struct core_action a = { .kind = CORE_DATAGRAM_SEND };
	size_t before = head_of(k), n = before + pr->length;
	uint8_t *bytes = arena_alloc(out->arena, n + WIRE_TAG);
	struct wbuf w;

	if (bytes == NULL)
		return ERR_NOMEM;
	wbuf_fixed(&w, bytes + before, pr->length);
	probe_write(&w, pr);
	assert(!w.failed && w.len == pr->length);
	if (k == PATH_RELAY)
		wire_write(
			bytes, &(struct wire_head){ .type = WIRE_RELAYED, .flags = WIRE_HOPS, .src = c->cfg.gossip.self, .dst = p->name });
	if (k != PATH_FAST && sealed) {
		struct seal_keys *keys = tunnel_tx(c->tunnel, p->name);
		size_t sealed_n = keys == NULL ? 0
									   : seal_datagram(keys, SEAL_QUEUE_CONTROL, WIRE_CONTROL, 0,
											 slice_of(bytes + before, pr->length), bytes + before - WIRE_HEAD);
		if (sealed_n == 0)
			return ERR_OK; /* as if it were lost */
		n = before - WIRE_HEAD + sealed_n;
	} else if (k != PATH_FAST) {
		wire_write(
			bytes, &(struct wire_head){ .type = WIRE_CLEAR, .flags = WIRE_CONTROL, .src = c->cfg.gossip.self, .dst = p->name });
	}
	a.u.datagram.via = k == PATH_FAST ? CORE_VIA_VXLAN : CORE_VIA_UDP;
	a.u.datagram.to = to;
	a.u.datagram.peer = p->name;
	a.u.datagram.id = id;
	a.u.datagram.bytes = slice_of(bytes, n);
	return core_emit(out, a);
}

static struct hostport target(const struct peer_state *p, enum path k)
{
	return k == PATH_FAST ? (struct hostport){ .ip = p->fast_to } : k == PATH_RELAY ? p->relay_to : p->to;
}

static bool has_session(const struct core *c, const struct peer_state *p, enum path k)
{
	return !sealed_on(p, k) || tunnel_tx(c->tunnel, p->name) != NULL;
}

/* size 0: as short as it gets. *id: of what was sent, 0 if there is no session yet. */
static enum err ask(
	struct core *c, struct peer_state *p, enum path k, uint32_t size, bool both_ways, uint32_t *id, struct core_actions *out)
{
	uint32_t least = PROBE_HEAD + around(p, k), length = (size > least ? size : least) - around(p, k);
	struct probe pr = { .kind = PROBE_REQUEST, .path = (uint8_t)k, .src = c->cfg.gossip.self, .dst = p->name };

	*id = 0;
	p->ways[k].asked_ms = c->now_ms;
	if (!has_session(c, p, k)) {
		enum err err = sessions_want(c, p, out);
		if (err != ERR_OK || !has_session(c, p, k))
			return err;
	}
	*id = (uint32_t)rng_between(&c->rng, 1, UINT32_MAX);
	pr.id = *id;
	pr.length = (uint16_t)length;
	pr.answer = both_ways ? pr.length : 0;
	return send_probe(c, p, k, &pr, target(p, k), sealed_on(p, k), probes_number(k, *id), out);
}

/* Smaller or larger than full size. */
static enum err ask_other(struct core *c, struct peer_state *p, enum path k, uint32_t size, struct core_actions *out)
{
	struct way *w = &p->ways[k];
	struct probe_sent s = { .size = size, .at_ms = c->now_ms };
	enum err err = way_room(w);

	if (err == ERR_OK)
		err = ask(c, p, k, size, false, &s.id, out);

	if (s.id != 0)
		w->other[w->next_other++ % PROBES_OPEN_MAX] = s;
	return err;
}

static enum err ask_full(struct core *c, struct peer_state *p, enum path k, struct core_actions *out)
{
	struct way *w = &p->ways[k];
	uint64_t slow = w->rtt_us / 1000 * 3 / 2, missing = slow > MISSING_MS ? slow : MISSING_MS;
	struct probe_sent s = { .size = full_size(c, p, k), .at_ms = c->now_ms };
	bool beside = w->n_full > 0 && c->now_ms >= w->full[0].at_ms + missing;
	enum err err = way_room(w);

	if (err == ERR_OK)
		err = ask(c, p, k, s.size, k == PATH_FAST, &s.id, out);

	if (err != ERR_OK)
		return err;
	if (w->n_full == PROBES_OPEN_MAX) { /* the oldest tells for how long there was no answer */
		memmove(&w->full[1], &w->full[2], (PROBES_OPEN_MAX - 2) * sizeof(w->full[0]));
		w->n_full--;
	}
	w->full[w->n_full++] = s;
	w->next_ms = c->now_ms + (w->trial ? trial_ms[w->step < TRIAL_STEPS ? w->step : TRIAL_STEPS - 1] : PATH_HEARTBEAT_MS);
	w->step++;
	return beside ? ask_other(c, p, k, 0, out) : ERR_OK;
}

enum err probes_confirm(struct core *c, struct peer_state *p, enum path k, struct core_actions *out)
{
	return ask_other(c, p, k, 0, out);
}

/* --- turns ------------------------------------------------------------------------------------------------------------------------- */

static bool is_dead(const struct core *c, const struct way *w)
{
	return w->n_full >= PATH_DEAD_PROBES && c->now_ms >= w->full[0].at_ms + PATH_DEAD_MS;
}

static const char *dead_why(const struct way *w)
{
	return w->full[w->n_full - 1].id == 0 ? no_session : w->smaller_pass ? full_size_lost : no_answer;
}

/* What used to pass does no more, and less does: from the base again. */
static bool is_black_hole(const struct core *c, enum path k, const struct way *w)
{
	return k != PATH_FAST && w->smaller_pass && w->mtu.good > w->mtu.base && w->n_full >= BLACK_HOLE_PROBES &&
		c->now_ms >= w->full[0].at_ms + BLACK_HOLE_MS;
}

static bool is_searching(const struct core *c, const struct peer_state *p, enum path k)
{
	const struct way *w = &p->ways[k];

	return k != PATH_FAST && (w->works || w->trial) && has_session(c, p, k) && (!w->mtu.found || is_watched(c, p, k));
}

static enum err search(struct core *c, struct peer_state *p, enum path k, struct core_actions *out)
{
	struct way *w = &p->ways[k];
	uint64_t patience = w->rtt_us == 0 ? PATIENCE_UNKNOWN_MS : 3 * (uint64_t)w->rtt_us / 1000 + 30;

	if (!is_searching(c, p, k))
		return ERR_OK;
	if (patience < PATIENCE_MIN_MS)
		patience = PATIENCE_MIN_MS;
	if (patience > PATIENCE_MAX_MS)
		patience = PATIENCE_MAX_MS;
	if (w->mtu.found && c->now_ms >= w->mtu.next_ms)
		mtu_raise(&w->mtu, device_mtu(c, p, k), c->now_ms);
	uint32_t size = mtu_due(&w->mtu, c->now_ms, patience, c->cfg.mtu_raise_ms != 0 ? c->cfg.mtu_raise_ms : PATH_MTU_RAISE_MS);
	return size == 0 ? ERR_OK : ask_other(c, p, k, size, out);
}

/* The way in use does not answer: whatever else there is has to be known when it is given up. A better one that failed before may be sound by now, and would not
 * be looked at for a long time else. */
static void look_around(struct core *c, struct peer_state *p, enum path used)
{
	for (enum path k = PATH_FAST; k <= PATH_RELAY; k++) {
		struct way *w = &p->ways[k];
		if (k == used || !w->possible || w->trial)
			continue;
		if (w->works || c->now_ms >= w->failed_ms + PATH_RETRY_NONE_MS)
			begin_trial(c, w);
	}
}

enum err probes_turn(struct core *c, struct peer_state *p, enum path k, struct core_actions *out)
{
	struct way *w = &p->ways[k];
	enum err err = ERR_OK;

	if (!w->possible || !p->reachable)
		return ERR_OK;
	if (c->now_ms >= trial_due(c, p, k))
		begin_trial(c, w);
	if (!w->trial && !is_watched(c, p, k)) {
		w->n_full = 0;
		w->next_ms = 0;
		return search(c, p, k, out);
	}
	if (is_black_hole(c, k, w)) {
		search_mtu(c, p, k);
		w->n_full = 0;
		w->smaller_pass = false;
		w->next_ms = c->now_ms;
	}
	if (is_dead(c, w)) {
		probes_fail(c, p, k, dead_why(w));
		return ERR_OK;
	}
	if (c->now_ms >= w->next_ms)
		err = ask_full(c, p, k, out);
	if (is_watched(c, p, k) && probes_in_doubt(c, w))
		look_around(c, p, k);
	return err != ERR_OK ? err : search(c, p, k, out);
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

uint64_t probes_deadline_ms(const struct core *c, const struct peer_state *p, enum path k)
{
	const struct way *w = &p->ways[k];
	uint64_t at;

	if (!w->possible || !p->reachable)
		return UINT64_MAX;
	at = trial_due(c, p, k);
	if (w->trial || is_watched(c, p, k)) {
		at = earlier(at, w->next_ms);
		if (w->n_full >= PATH_DEAD_PROBES)
			at = earlier(at, w->full[0].at_ms + PATH_DEAD_MS);
	}
	return is_searching(c, p, k) ? earlier(at, w->mtu.next_ms) : at;
}

/* --- what comes -------------------------------------------------------------------------------------------------------------------- */

static void heard(struct core *c, struct way *w, const struct probe_sent *s)
{
	uint64_t ms = c->now_ms - s->at_ms;
	/* Steps know milliseconds; a shorter one is told as half of one. */
	uint32_t us = ms == 0 ? 500 : ms < UINT32_MAX / 1000 ? (uint32_t)ms * 1000 : UINT32_MAX;

	w->answered_ms = c->now_ms;
	w->rtt_us = w->rtt_us == 0 ? us : w->rtt_us - w->rtt_us / 8 + us / 8;
}

/* A probe of full size, sent at that time, has come through; those sent before it are lost. */
static void passed(struct core *c, struct peer_state *p, enum path k, uint64_t at_ms)
{
	struct way *w = &p->ways[k];
	size_t gone = 0;

	while (gone < w->n_full && w->full[gone].at_ms <= at_ms)
		gone++;
	memmove(w->full, w->full + gone, (w->n_full - gone) * sizeof(w->full[0]));
	w->n_full -= gone;
	w->smaller_pass = false;
	if (!w->trial)
		return;
	w->answers = gone > 1 ? 1 : w->answers + 1;
	if (!w->works && w->failed_ms != 0 && any_works(p) && w->answers < PATH_COME_BACK) {
		w->next_ms = earlier(w->next_ms, c->now_ms + COME_BACK_MS);
		return;
	}
	w->trial = false;
	w->works = w->worked = true;
	w->failed_trials = 0;
	w->state = PROBES_WORKS;
}

static void answered(struct core *c, struct peer_state *p, enum path k, uint32_t id)
{
	struct way *w = &p->ways[k];
	struct probe_sent s = { 0 };

	for (size_t i = 0; i < w->n_full; i++)
		if (w->full[i].id == id)
			s = w->full[i];
	bool full = s.id != 0;
	for (size_t i = 0; i < PROBES_OPEN_MAX && w->other != NULL && !full; i++) {
		if (w->other[i].id != id)
			continue;
		s = w->other[i];
		w->other[i] = (struct probe_sent){ 0 };
	}
	if (s.id == 0)
		return; /* late, twice, or made up */
	heard(c, w, &s);
	if (full || (k != PATH_FAST && s.size >= w->mtu.good))
		passed(c, p, k, s.at_ms);
	else if (w->n_full > 0 && s.at_ms >= w->full[0].at_ms)
		w->smaller_pass = true;
	if (k != PATH_FAST)
		mtu_passed(&w->mtu, s.size, c->now_ms);
}

/* Over the same way, no longer than what came, and not more often than a peer has reason to ask. */
static enum err answer(struct core *c, struct peer_state *p, enum path k, struct hostport from, bool sealed,
	const struct probe *asked, struct core_actions *out)
{
	struct probe pr = { .kind = PROBE_ANSWER, .path = asked->path, .id = asked->id, .src = c->cfg.gossip.self, .dst = p->name };

	if (!bucket_take(&p->answers, c->now_ms)) {
		c->drops[FWD_FLOODED]++;
		return ERR_OK;
	}
	pr.length = asked->answer < asked->length ? asked->answer : asked->length;
	if (pr.length < PROBE_HEAD)
		pr.length = PROBE_HEAD;
	return send_probe(c, p, k, &pr, from.ip.family != 0 ? from : target(p, k), sealed, probes_number(k, 0), out);
}

enum err probes_received(struct core *c, struct peer_state *p, enum path k, struct hostport from, bool sealed, struct slice bytes,
	struct core_actions *out)
{
	struct probe pr;

	if (!probe_read(bytes, &pr) || pr.src != p->name || pr.dst != c->cfg.gossip.self || pr.path != (uint8_t)k) {
		c->drops[FWD_BAD_HEADER]++;
		return ERR_OK;
	}
	if (pr.kind == PROBE_REQUEST) {
		bool there =
			k == PATH_RELAY ? p->relay_to.ip.family != 0 : p->ways[k].possible; /* else we do not take its frames that way */
		return there ? answer(c, p, k, from, sealed, &pr, out) : ERR_OK;
	}
	answered(c, p, k, pr.id);
	return paths_turn(c, p, out);
}

/* Our own kernel does not take what has to pass at least. A device that has become smaller is asked again, else no size is left to try. */
static void too_big(struct core *c, struct peer_state *p, enum path k)
{
	struct way *w = &p->ways[k];

	if (k == PATH_FAST || device_mtu(c, p, k) >= w->mtu.base) {
		probes_fail(c, p, k, "too-big-for-our-device");
		return;
	}
	search_mtu(c, p, k);
	w->n_full = 0;
	w->next_ms = c->now_ms;
}

void probes_undelivered(struct core *c, struct peer_state *p, enum path k, uint32_t id, enum err why)
{
	struct way *w = &p->ways[k];
	uint32_t size = k != PATH_FAST ? w->mtu.good : 0;
	size_t i = 0;

	if (!w->possible)
		return;
	if (why == ERR_REFUSED) {
		probes_fail(c, p, k, "port-refused");
		return;
	}
	if (why != ERR_LIMIT) {
		probes_fail(c, p, k, "no-route");
		return;
	}
	while (i < w->n_full && (id == 0 || w->full[i].id != id))
		i++;
	if (i < w->n_full && (k == PATH_FAST || w->full[i].size <= w->mtu.base)) {
		too_big(c, p, k);
		return;
	}
	if (k == PATH_FAST)
		return;
	if (i < w->n_full) {
		size = w->full[i].size;
		memmove(&w->full[i], &w->full[i + 1], (w->n_full - i - 1) * sizeof(w->full[0]));
		w->n_full--;
		w->next_ms = c->now_ms; /* the size has gone down */
	}
	for (size_t o = 0; o < PROBES_OPEN_MAX && w->other != NULL; o++)
		if (id != 0 && w->other[o].id == id)
			size = w->other[o].size;
	mtu_refused(&w->mtu, size, c->now_ms);
}
