/* Probes that go by the kernel's VXLAN, and with whom containers' frames are exchanged.
 *
 * The userspace path counts frames. For the fast path the filter counts outer packets, probes among them, so we count those ourselves and take them off: what
 * moved must be more than our own probes were. A probe may be counted by one of the two in this tick and by the other in the next; such a surplus is
 * kept for one tick. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "router/plane_internal.h"
#include "tunnel/probe.h"

enum { WATCH_PROBE = 3, PROBES_AT_A_TIME = 256, QUIET_TICKS = 20 };

struct traffic_way {
	uint64_t probes;          /* of ours by the fast path since the last tick */
	uint64_t surplus;         /* of the last tick: probes that the filter has not counted yet */
	uint64_t frames, packets; /* at the last tick: of the userspace path, of the filter */
	bool moved;
};
struct traffic_seen {
	struct traffic_way out, in;
	bool listed;  /* during plane_tick */
	bool counted; /* by the filter, so that `packets` are those of the last tick */
};

static struct traffic_seen *seen_of(struct plane *p, uint64_t peer)
{
	struct traffic_seen *s = map_get64(p->seen, peer);

	if (s != NULL)
		return s;
	s = mem_zalloc(1, sizeof(*s));
	if (s != NULL && map_put64(p->seen, peer, s, NULL) != ERR_OK) {
		mem_free(s);
		return NULL;
	}
	return s;
}

void traffic_free(struct plane *p)
{
	struct slice key;
	void *value;

	if (p->seen != NULL)
		for (size_t it = 0; map_next(p->seen, &it, &key, &value);)
			mem_free(map_del(p->seen, key));
	map_free(p->seen);
	p->seen = NULL;
	mem_free(p->traffic);
	p->traffic = NULL;
	vxprobe_close(p->probe);
	p->probe = NULL;
}

/* --- probes ----------------------------------------------------------------------------------------------------------------------------- */

void probe_open(struct plane *p)
{
	struct err_note note = { "" };

	vxprobe_close(p->probe);
	p->probe = NULL;
	if (p->nets == NULL || !plane_default(p)->fast.there)
		return;
	enum err err = vxprobe_open(plane_default(p)->kernel, p->cfg.self, &p->probe, &note);
	if (err == ERR_OK)
		err = plane_watch(p, vxprobe_fd(p->probe), WATCH_PROBE, &note);
	if (err == ERR_OK)
		return;
	vxprobe_close(p->probe);
	p->probe = NULL;
	p->failures++;
	log_write(p->cfg.log, LOG_LEVEL_WARNING, "the fast path cannot be probed, so it is not used: %s", note.text);
}

void probe_poll(struct plane *p)
{
	struct slice bytes;
	struct probe head;

	for (int i = 0; p->probe != NULL && i < PROBES_AT_A_TIME && (bytes = vxprobe_receive(p->probe)).p != NULL; i++) {
		if (probe_read(bytes, &head)) {
			struct traffic_seen *s = map_get64(p->seen, head.src);
			if (s != NULL)
				s->in.probes++;
		}
		p->cfg.datagram(p->cfg.ctx, CORE_VIA_VXLAN, (struct hostport){ 0 }, bytes);
	}
}

static enum err send_probe(struct plane *p, uint64_t peer, struct ip to, struct slice bytes)
{
	struct traffic_seen *s = seen_of(p, peer);

	if (p->probe == NULL)
		return ERR_UNREACHABLE;
	enum err err = vxprobe_send(p->probe, peer, to, bytes);
	if (err == ERR_OK && s != NULL)
		s->out.probes++;
	return err;
}

enum err plane_send(struct plane *p, enum core_via via, uint64_t peer, struct hostport to, struct slice bytes)
{
	if (via == CORE_VIA_VXLAN)
		return send_probe(p, peer, to.ip, bytes);
	return p->userspace != NULL ? userspace_send(p->userspace, to, bytes) : ERR_UNREACHABLE;
}

/* --- traffic ---------------------------------------------------------------------------------------------------------------------------- */

static void frames_of(uint64_t peer, const struct userspace_traffic *t, void *arg)
{
	struct traffic_seen *s = seen_of(arg, peer);

	if (s == NULL)
		return;
	s->listed = true;
	/* counters of a peer that went and came start anew */
	s->out.moved = t->frames_sent > s->out.frames;
	s->in.moved = t->frames_received > s->in.frames;
	s->out.frames = t->frames_sent;
	s->in.frames = t->frames_received;
}

/* known: `packets` is of the last tick; else it is the counter of a former daemon, or there was none. */
static void packets_of(struct traffic_way *w, uint64_t now, bool known)
{
	uint64_t more = known && now > w->packets ? now - w->packets : 0, ours = w->probes + w->surplus;

	w->moved = w->moved || more > ours;
	/* what was left over last time is not carried on for ever: a probe that went missing hides one packet, once */
	w->surplus = ours > more ? ours - more : 0;
	if (w->surplus > w->probes)
		w->surplus = w->probes;
	w->probes = 0;
	w->packets = now;
}

static void take(struct plane *p, size_t *n, uint64_t peer, struct traffic_seen *s)
{
	if ((!s->out.moved && !s->in.moved) || !mem_grow((void **)&p->traffic, &p->cap_traffic, *n + 1, sizeof(*p->traffic)))
		return;
	p->traffic[(*n)++] = (struct core_traffic){ .peer = peer, .sent = s->out.moved, .received = s->in.moved };
}

size_t plane_tick(struct plane *p, const struct core_traffic **traffic)
{
	struct slice key;
	void *value;
	size_t n = 0;

	*traffic = NULL;
	filter_tick(p);
	guests_tick(p);
	obstacles_tick(p);
	if (p->userspace == NULL)
		return 0;
	/* nobody talks: every second tick will do */
	if (p->quiet > QUIET_TICKS && p->quiet++ % 2 == 0)
		return 0;
	bool counted = p->nft != NULL && nft_refresh(p->nft, NULL) == ERR_OK;
	probe_poll(p); /* those that the filter has just counted */
	userspace_peers(p->userspace, frames_of, p);
	for (size_t it = 0; map_next(p->seen, &it, &key, &value);) {
		struct traffic_seen *s = value;
		struct nft_traffic t;
		uint64_t peer = map_key64(key);
		if (!s->listed) { /* the mesh has forgotten it */
			if (p->probe != NULL && vxprobe_forget(p->probe, peer, NULL) != ERR_OK)
				p->failures++;
			mem_free(map_del(p->seen, key));
			continue;
		}
		s->listed = false;
		bool now = counted && nft_traffic(p->nft, peer, &t);
		if (now) {
			packets_of(&s->out, t.packets_sent, s->counted);
			packets_of(&s->in, t.packets_received, s->counted);
		}
		s->counted = now;
		take(p, &n, peer, s);
	}
	p->quiet = n > 0 ? 0 : p->quiet + (p->quiet <= QUIET_TICKS);
	*traffic = p->traffic;
	return n;
}
