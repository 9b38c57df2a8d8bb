/* One network: a bridge, its two uplinks, and what the bridge should know of other hosts' containers.
 *
 * Theory of operation. What the bridge should know follows from the core alone: for each remote endpoint of this network the uplink of its
 * host's path. net_apply makes that list, compares it with what was programmed last (n->fdb; at start: what the kernel still has from a
 * former daemon, which is kept where it is right), and sends only the differences. What a former daemon left and we do not know yet stays for
 * PLANE_INHERITED_MS: so long the other hosts may need to tell us. Neighbour entries (neigh.c) go by the same rules: one is there as long as the
 * forwarding entry of its MAC, set after and removed before that.
 *
 * Any device may be removed by somebody at any time. net_lost looks, net_mend makes anew what is missing and forgets what went with it. The bridge takes all else with it, the containers' interfaces apart, which are put back. */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "router/container.h"
#include "router/plane_internal.h"

enum { VNI_BASE = 65536 };

struct fdb_entry {
	enum link_uplink uplink;
	struct ip underlay;
	bool wanted;    /* during net_apply */
	bool inherited; /* of a former daemon, and nobody has said yet that it is right */
};

/* --- what was programmed ------------------------------------------------------------------------------------------------------------- */

static void own(struct plane_net *n, struct fdb_entry *e)
{
	n->inherited -= e->inherited;
	e->inherited = false;
}

static void forget_entry(struct plane_net *n, struct slice key)
{
	struct fdb_entry *e = map_del(n->fdb, key);

	own(n, e);
	mem_free(e);
}

static void fdb_clear(struct plane_net *n)
{
	struct slice key;
	void *value;

	for (size_t it = 0; map_next(n->fdb, &it, &key, &value);)
		forget_entry(n, key);
}

/* The entries that led to the device went with it. */
static void forget_uplink(struct plane_net *n, enum link_uplink uplink)
{
	struct slice key;
	void *value;

	for (size_t it = 0; map_next(n->fdb, &it, &key, &value);) {
		const struct fdb_entry *e = value;
		if (e->uplink == uplink)
			forget_entry(n, key);
	}
}

static void remember(const struct link_fdb *e, void *arg)
{
	struct plane_net *n = arg;
	struct fdb_entry *have = mem_zalloc(1, sizeof(*have));

	if (have == NULL)
		return;
	have->uplink = e->uplink;
	have->underlay = e->underlay;
	have->inherited = true;
	n->inherited++;
	if (map_put(n->fdb, slice_of(e->mac.b, 6), have, NULL) != ERR_OK) {
		n->inherited--;
		mem_free(have);
	}
}

size_t net_inherited(const struct plane_net *n)
{
	return n->inherited + (n->neigh != NULL ? neigh_inherited(n->neigh) : 0);
}

/* --- devices --------------------------------------------------------------------------------------------------------------------------- */

static enum err make_bridge(struct plane *p, struct plane_net *n, struct err_note *note)
{
	enum err err = link_bridge(n->kernel, link_peer_mac(p->cfg.self), p->mtu, note);

	if (err == ERR_OK)
		err = link_dns_address(n->kernel, note);
	return err;
}

static enum err make_fast(struct plane *p, struct plane_net *n, struct err_note *note)
{
	struct link_vxlan want = {
		.vni = n->number == 0 ? WEFT_VNI_DEFAULT : VNI_BASE + (uint32_t)n->number, .port = p->cfg.vxlan_port, .local = p->cfg.host
	};

	return p->cfg.fastdp ? link_vxlan(n->kernel, &want, p->mtu, note) : link_vxlan_remove(n->kernel, note);
}

static void close_capture(struct plane *p, struct plane_net *n)
{
	if (n->capture != NULL && p->userspace != NULL)
		userspace_remove(p->userspace, n->number);
	capture_close(n->capture);
	n->capture = NULL;
}

static enum err make_userspace(struct plane *p, struct plane_net *n, struct err_note *note)
{
	enum err err;

	close_capture(p, n);
	err = capture_open(p->cfg.capture, kernel_tap_name(n->kernel), userspace_queues(p->userspace), &n->capture, note);
	if (err != ERR_OK)
		return err;
	err = link_tap(n->kernel, p->mtu, note);
	if (err == ERR_OK)
		err = userspace_add(p->userspace, n->number, n->capture, note);
	if (err == ERR_OK)
		return ERR_OK;
	capture_close(n->capture);
	n->capture = NULL;
	return err;
}

/* What a device is called in the log. */
static const char *what(const struct plane_net *n, const char *kind, char out[96])
{
	if (n->number == 0)
		(void)snprintf(out, 96, "%s", kind);
	else
		(void)snprintf(out, 96, "%s of network %.*s", kind, 40, n->name);
	return out;
}

static void fast_is(struct plane *p, struct plane_net *n, enum err err, const struct err_note *note)
{
	char text[96];

	if (p->cfg.fastdp)
		plane_part_is(p, &n->fast, what(n, "fast path of the kernel", text), err == ERR_OK ? NULL : note, err != ERR_UNSUPPORTED);
}

static void userspace_is(struct plane *p, struct plane_net *n, enum err err, const struct err_note *note)
{
	char text[96];
	bool without = err == ERR_UNSUPPORTED && p->cfg.capture == CAPTURE_AUTO && !n->userspace.there && n->userspace.why[0] == '\0';

	plane_part_is(p, &n->userspace, what(n, "userspace path", text), err == ERR_OK ? NULL : note, !without);
}

/* The uplinks. For the default network at the start an error is what keeps the daemon from starting, but for what this kernel lacks, and a device of
 * somebody else in the place of the VXLAN device: the userspace path goes without. */
static enum err make_uplinks(struct plane *p, struct plane_net *n, struct err_note *note)
{
	struct err_note why = { "" };
	enum err err = make_fast(p, n, &why);

	if (n->number == 0 && err != ERR_OK && err != ERR_UNSUPPORTED && err != ERR_CONFLICT)
		return err_note(note, err, "%s", why.text);
	fast_is(p, n, err, &why);
	err = make_userspace(p, n, &why);
	if (n->number == 0 && err != ERR_OK && (err != ERR_UNSUPPORTED || p->cfg.capture != CAPTURE_AUTO))
		return err_note(note, err, "%s", why.text);
	userspace_is(p, n, err, &why);
	return ERR_OK;
}

static enum err open_all(struct plane *p, struct plane_net *n, struct err_note *note)
{
	const struct kernel_names names = { .network = n->number };

	n->fdb = map_new(p->cfg.self);
	enum err err = n->fdb == NULL ? err_note(note, ERR_NOMEM, "out of memory") : kernel_open(&names, &n->kernel, note);
	if (err == ERR_OK)
		err = make_bridge(p, n, note);
	if (err == ERR_OK)
		err = make_uplinks(p, n, note);
	if (err == ERR_OK)
		err = link_fdb_list(n->kernel, remember, n, note);
	if (err == ERR_OK)
		err = neigh_open(&n->neigh, p->cfg.self, n->kernel, p->cfg.log, note);
	n->bridge.there = err == ERR_OK;
	return err;
}

enum err net_open(struct plane *p, uint16_t number, const char *name, struct plane_net **out, struct err_note *note)
{
	struct plane_net *n = mem_zalloc(1, sizeof(*n)), **at = &p->nets;

	if (n == NULL)
		return err_note(note, ERR_NOMEM, "out of memory");
	n->number = number;
	(void)snprintf(n->name, sizeof(n->name), "%s", name);
	enum err err = open_all(p, n, note);
	if (err != ERR_OK) {
		net_close(p, n);
		return err;
	}
	while (*at != NULL && (*at)->number < number)
		at = &(*at)->next;
	n->next = *at;
	*at = n;
	*out = n;
	return ERR_OK;
}

void net_close(struct plane *p, struct plane_net *n)
{
	if (n == NULL)
		return;
	for (struct plane_net **at = &p->nets; *at != NULL; at = &(*at)->next) {
		if (*at != n)
			continue;
		*at = n->next;
		break;
	}
	close_capture(p, n);
	neigh_close(n->neigh);
	kernel_close(n->kernel);
	if (n->fdb != NULL)
		fdb_clear(n);
	map_free(n->fdb);
	mem_free(n);
}

enum err net_reset(struct plane *p, struct plane_net *n, struct err_note *note)
{
	close_capture(p, n);
	fdb_clear(n);
	neigh_forget(n->neigh);
	return link_reset(n->kernel, note);
}

/* --- mending ---------------------------------------------------------------------------------------------------------------------------- */

/* LINK_LOST_…, and the uplinks that could not be made. Unseen is not lost. */
static unsigned lost(const struct plane *p, const struct plane_net *n)
{
	unsigned what_is = 0;
	uint16_t number;

	if (link_check(n->kernel, &what_is, NULL) != ERR_OK)
		what_is = 0;
	if (!n->bridge.there)
		what_is |= LINK_LOST_BRIDGE;
	if (!n->fast.there)
		what_is = (what_is & ~(unsigned)LINK_LOST_VXLAN) | (n->fast.broken ? LINK_LOST_VXLAN : 0);
	if (!n->userspace.there)
		what_is = (what_is & ~(unsigned)LINK_LOST_TAP) | (n->userspace.broken ? LINK_LOST_TAP : 0);
	/* the data threads may know before */
	if (p->userspace != NULL && n->capture != NULL && userspace_lost(p->userspace, &number) && number == n->number)
		what_is |= LINK_LOST_TAP;
	return what_is;
}

bool net_bridge_lost(const struct plane *p, const struct plane_net *n)
{
	return (lost(p, n) & LINK_LOST_BRIDGE) != 0;
}

bool net_lost(const struct plane *p, const struct plane_net *n)
{
	return lost(p, n) != 0;
}

void net_rejoin(struct plane *p, const struct plane_net *n, const struct core *core)
{
	const struct core_endpoint *e;
	struct err_note note = { "" };
	size_t back = 0, failed = 0;

	for (size_t it = 0; core_next_local(core, &it, &e);) {
		bool moved = false;
		if (strcmp(e->network, n->name) != 0)
			continue;
		enum err err = container_rejoin(n->kernel, e->ident, p->mtu, &moved, &note);
		back += moved;
		failed += err != ERR_OK && err != ERR_NOT_FOUND; /* one that is gone has nothing to be put back */
	}
	if (back > 0)
		log_write(p->cfg.log, LOG_LEVEL_INFO, "%zu containers' interfaces are put on the bridge %s", back,
			kernel_bridge_name(n->kernel));
	if (failed > 0) {
		p->failures++;
		log_write(p->cfg.log, LOG_LEVEL_ERROR, "%zu containers' interfaces are not on the bridge %s: %s", failed,
			kernel_bridge_name(n->kernel), note.text);
	}
}

/* false: it cannot be made now. */
static bool mend_bridge(struct plane *p, struct plane_net *n, const struct core *core)
{
	struct err_note note = { "" };
	char text[96];

	if (n->bridge.there)
		log_write(p->cfg.log, LOG_LEVEL_WARNING, "the bridge %s was removed by somebody; it is made anew",
			kernel_bridge_name(n->kernel));
	fdb_clear(n);
	neigh_forget(n->neigh);
	enum err err = make_bridge(p, n, &note);
	plane_part_is(p, &n->bridge, what(n, "bridge", text), err == ERR_OK ? NULL : &note, true);
	if (err == ERR_OK && n->number == 0)
		guests_bridge_made(p);
	if (err == ERR_OK)
		net_rejoin(p, n, core);
	return err == ERR_OK;
}

static void mend_fast(struct plane *p, struct plane_net *n, bool said)
{
	struct err_note note = { "" };

	if (n->fast.there && !said)
		log_write(
			p->cfg.log, LOG_LEVEL_WARNING, "the VXLAN device of network %s was removed by somebody; it is made anew", n->name);
	forget_uplink(n, LINK_FAST);
	enum err err = make_fast(p, n, &note);
	fast_is(p, n, err, &note);
}

static void mend_userspace(struct plane *p, struct plane_net *n, bool said)
{
	struct err_note note = { "" };

	if (n->userspace.there && !said)
		log_write(
			p->cfg.log, LOG_LEVEL_WARNING, "the device %s was removed by somebody; it is made anew", kernel_tap_name(n->kernel));
	forget_uplink(n, LINK_USERSPACE);
	enum err err = make_userspace(p, n, &note);
	userspace_is(p, n, err, &note);
}

/* The uplinks are ports of the new bridge after they were set up again. */
static void mend_uplinks(struct plane *p, struct plane_net *n, unsigned gone, bool said)
{
	if (gone & LINK_LOST_VXLAN)
		mend_fast(p, n, said);
	if (gone & LINK_LOST_TAP)
		mend_userspace(p, n, said);
	if ((n->fast.broken && !n->fast.there) || (n->userspace.broken && !n->userspace.there))
		p->failures++;
}

void net_mend(struct plane *p, struct plane_net *n, const struct core *core)
{
	unsigned gone = lost(p, n);
	bool all = (gone & LINK_LOST_BRIDGE) != 0;
	struct err_note note = { "" };

	if (gone == 0)
		return;
	if (all && !mend_bridge(p, n, core)) {
		p->failures++;
		return;
	}
	if (all && n->fast.there)
		gone |= LINK_LOST_VXLAN;
	if (all && n->userspace.there)
		gone |= LINK_LOST_TAP;
	mend_uplinks(p, n, gone, all);
	if (all && link_fdb_list(n->kernel, remember, n, &note) != ERR_OK) /* what the uplinks have kept of their own */
		p->failures++;
	if (n->number == 0 && (gone & LINK_LOST_VXLAN))
		probe_open(p);
}

/* --- forwarding ----------------------------------------------------------------------------------------------------------------------- */

/* false: frames for mac are not led there (now). */
static bool set(struct plane *p, struct plane_net *n, struct mac mac, enum link_uplink uplink, struct ip underlay)
{
	struct slice key = slice_of(mac.b, 6);
	struct fdb_entry *have = map_get(n->fdb, key);
	struct err_note note = { "" };
	char text[MAC_TEXT];

	if (uplink != LINK_FAST)
		underlay = (struct ip){ 0 };
	if (have != NULL) {
		have->wanted = true;
		own(n, have);
	}
	if (have != NULL && have->uplink == uplink && ip_eq(have->underlay, underlay))
		return true;
	enum err err = link_fdb_set(n->kernel, mac, uplink, underlay, &note);
	if (err == ERR_OK && have == NULL) {
		have = mem_zalloc(1, sizeof(*have));
		if (have == NULL || map_put(n->fdb, key, have, NULL) != ERR_OK) {
			mem_free(have);
			p->failures++;
			return false; /* set again next time: harmless */
		}
	}
	if (err != ERR_OK) {
		p->failures++;
		log_write(p->cfg.log, LOG_LEVEL_WARNING, "forwarding to %s is not set: %s", mac_format(mac, text), note.text);
		return false;
	}
	have->uplink = uplink;
	have->underlay = underlay;
	have->wanted = true;
	return true;
}

static void remove_unwanted(struct plane *p, struct plane_net *n, bool settled)
{
	struct slice key;
	void *value;

	for (size_t it = 0; map_next(n->fdb, &it, &key, &value);) {
		struct fdb_entry *e = value;
		struct err_note note = { "" };
		struct rbuf r;
		if (e->wanted || (e->inherited && !settled)) {
			e->wanted = false;
			continue;
		}
		rbuf_init(&r, key.p, key.n);
		struct mac mac = rbuf_mac(&r);
		if (link_fdb_del(n->kernel, mac, &note) != ERR_OK) {
			p->failures++;
			log_write(p->cfg.log, LOG_LEVEL_WARNING, "a forwarding entry is not removed: %s", note.text);
			continue;
		}
		forget_entry(n, key);
	}
}

static void want_addresses(struct plane_net *n, const struct core *core, const struct core_endpoint *e)
{
	for (size_t i = 0; i < e->n_addrs; i++)
		if (core_address_holder(core, e->addrs[i].addr, e->network) == e)
			neigh_want(n->neigh, e->addrs[i].addr, e->mac, e->peer);
}

struct saying {
	struct plane *p;
	const struct plane_net *n;
};

static bool say(struct slice frame, void *arg)
{
	const struct saying *s = arg;

	return userspace_inject(s->p->userspace, s->n->number, frame);
}

/* By which uplink; LINK_NONE: there is no way now. */
static enum link_uplink uplink_to(const struct plane_net *n, const struct path_hop *hop)
{
	if (hop->path == PATH_FAST && n->fast.there)
		return LINK_FAST;
	return hop->path != PATH_NONE && n->userspace.there ? LINK_USERSPACE : LINK_NONE;
}

void net_apply(struct plane *p, struct plane_net *n, const struct core *core, bool settled)
{
	const struct core_endpoint *e;

	if (!n->bridge.there)
		return;
	for (size_t it = 0; core_next_remote(core, &it, &e);) {
		struct path_hop hop;
		/* A MAC has one holder, and our own containers' are the bridge's business. */
		if (strcmp(e->network, n->name) != 0 || !core_hop(core, e->peer, &hop) || core_mac_holder(core, e->mac, e->network) != e)
			continue;
		enum link_uplink uplink = uplink_to(n, &hop);
		if (uplink != LINK_NONE && set(p, n, e->mac, uplink, hop.underlay))
			want_addresses(n, core, e);
	}
	for (size_t it = 0; core_next_local(core, &it, &e);)
		if (strcmp(e->network, n->name) == 0)
			want_addresses(n, core, e);
	struct saying saying = { p, n };
	p->failures += neigh_apply(n->neigh, settled, n->capture != NULL ? say : NULL, &saying);
	remove_unwanted(p, n, settled);
}
