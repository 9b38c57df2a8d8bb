/* Theory of operation. What the kernel's bridge should know of other hosts' containers follows from the core alone: for each remote endpoint
 * the uplink of its host's path. plane_apply makes that list, compares it with what was programmed last (c->fdb; at start: what the kernel
 * still has from a former daemon, which is kept where it is right), and sends only the differences. What a former daemon left and we do not
 * know yet stays for INHERITED_MS: so long the other hosts may need to tell us. Neighbour entries (neigh.c) go by the same rules: one is there
 * as long as the forwarding entry of its MAC, set after and removed before that. The userspace path gets a whole new table each time: it needs
 * more (who is a member, who may send), and swapping it costs it nothing. */
#include "router/plane.h"

#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/map.h"
#include "base/mem.h"
#include "tunnel/fwd.h"
#include "router/log.h"
#include "router/neigh.h"
#include "router/tap.h"
#include "router/userspace.h"

/* What the dearest path costs: sealed userspace over IPv6 (DESIGN section 5). */
enum { MTU_OVERHEAD = 94, MTU_FALLBACK = 1500 };
enum { INHERITED_MS = 10000 };

struct fdb_entry {
	enum link_uplink uplink;
	struct ip underlay;
	bool wanted;    /* during plane_apply */
	bool inherited; /* of a former daemon, and nobody has said yet that it is right */
};

struct plane {
	struct plane_cfg cfg;
	struct kernel *kernel;
	struct userspace *userspace;
	struct neigh *neigh;
	struct map *fdb;  /* mac -> struct fdb_entry, as the kernel has it */
	size_t inherited; /* how many entries of a former daemon are left */
	uint64_t inherited_until;
	uint32_t mtu;
	size_t failures;
	int tap;
	bool tap_gone; /* somebody removed the device and there is no new one yet */
};

/* --- the underlay ------------------------------------------------------------------------------------------------------------------- */

static struct ip ip_of(const struct sockaddr *sa)
{
	struct ip ip = { 0 };

	if (sa != NULL && sa->sa_family == AF_INET) {
		struct sockaddr_in in;
		memcpy(&in, sa, sizeof(in));
		ip = ip_v4(ntohl(in.sin_addr.s_addr));
	} else if (sa != NULL && sa->sa_family == AF_INET6) {
		struct sockaddr_in6 in6;
		memcpy(&in6, sa, sizeof(in6));
		ip.family = 6;
		memcpy(ip.b, in6.sin6_addr.s6_addr, 16);
	}
	return ip;
}

static bool ours_or_dockers(const char *name)
{
	static const char *const prefixes[] = { "weft", "vethwe", "docker", "br-", "veth", "virbr", "cni" };

	for (size_t i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++)
		if (strncmp(name, prefixes[i], strlen(prefixes[i])) == 0)
			return true;
	return false;
}

static bool link_local(struct ip ip)
{
	if (ip.family == 4)
		return ip.b[0] == 169 && ip.b[1] == 254;
	return ip.b[0] == 0xfe && (ip.b[1] & 0xc0) == 0x80;
}

static bool usable(const struct ifaddrs *a, struct ip *ip)
{
	*ip = ip_of(a->ifa_addr);
	return ip->family != 0 && (a->ifa_flags & IFF_UP) != 0 && (a->ifa_flags & IFF_LOOPBACK) == 0 &&
		!ours_or_dockers(a->ifa_name) && !link_local(*ip);
}

size_t underlay_addresses(struct ip *out, size_t max)
{
	struct ifaddrs *list = NULL;
	size_t n = 0;
	struct ip ip;

	if (getifaddrs(&list) != 0)
		return 0;
	for (const struct ifaddrs *a = list; a != NULL && n < max; a = a->ifa_next)
		if (usable(a, &ip))
			out[n++] = ip;
	freeifaddrs(list);
	return n;
}

static uint32_t mtu_of_device(const char *name)
{
	struct ifreq req;
	uint32_t mtu = 0;
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return 0;
	memset(&req, 0, sizeof(req));
	(void)snprintf(req.ifr_name, sizeof(req.ifr_name), "%s", name);
	if (ioctl(fd, SIOCGIFMTU, &req) == 0 && req.ifr_mtu > 0)
		mtu = (uint32_t)req.ifr_mtu;
	(void)close(fd);
	return mtu;
}

uint32_t underlay_mtu_of(struct ip local)
{
	struct ifaddrs *list = NULL;
	uint32_t mtu = 0;

	if (getifaddrs(&list) != 0)
		return 0;
	for (const struct ifaddrs *a = list; a != NULL && mtu == 0; a = a->ifa_next)
		if (ip_eq(ip_of(a->ifa_addr), local))
			mtu = mtu_of_device(a->ifa_name);
	freeifaddrs(list);
	return mtu;
}

/* The smallest MTU among the interfaces by which other hosts may be reached. */
static uint32_t smallest_mtu(struct ip host)
{
	struct ifaddrs *list = NULL;
	uint32_t least = 0;
	struct ip ip;

	if (host.family != 0)
		return underlay_mtu_of(host);
	if (getifaddrs(&list) != 0)
		return 0;
	for (const struct ifaddrs *a = list; a != NULL; a = a->ifa_next) {
		if (!usable(a, &ip))
			continue;
		uint32_t mtu = mtu_of_device(a->ifa_name);
		if (mtu != 0 && (least == 0 || mtu < least))
			least = mtu;
	}
	freeifaddrs(list);
	return least;
}

static uint32_t container_mtu(const struct plane_cfg *cfg)
{
	uint32_t mtu = cfg->mtu;

	if (mtu == 0) {
		uint32_t under = smallest_mtu(cfg->host);
		if (under == 0)
			under = MTU_FALLBACK;
		mtu = under > MTU_OVERHEAD ? under - MTU_OVERHEAD : LINK_MTU_MIN;
	}
	if (mtu < LINK_MTU_MIN)
		mtu = LINK_MTU_MIN;
	return mtu > LINK_MTU_MAX ? LINK_MTU_MAX : mtu;
}

/* --- devices -------------------------------------------------------------------------------------------------------------------------- */

static void remember(const struct link_fdb *e, void *arg)
{
	struct plane *p = arg;
	struct fdb_entry *have = mem_zalloc(1, sizeof(*have));

	if (have == NULL)
		return;
	have->uplink = e->uplink;
	have->underlay = e->underlay;
	have->inherited = true;
	p->inherited++;
	if (map_put(p->fdb, slice_of(e->mac.b, 6), have, NULL) != ERR_OK) {
		p->inherited--;
		mem_free(have);
	}
}

static enum err open_devices(struct plane *p, struct err_note *note)
{
	struct link_vxlan vxlan = { .vni = WEFT_VNI_DEFAULT, .port = p->cfg.vxlan_port, .local = p->cfg.host };
	enum err err = kernel_open(NULL, &p->kernel, note);

	if (err == ERR_OK)
		err = link_bridge(p->kernel, link_peer_mac(p->cfg.self), p->mtu, note);
	if (err == ERR_OK)
		err = link_dns_address(p->kernel, note);
	if (err == ERR_OK)
		err = p->cfg.fastdp ? link_vxlan(p->kernel, &vxlan, p->mtu, note) : link_vxlan_remove(p->kernel, note);
	if (err == ERR_OK)
		err = tap_open(kernel_tap_name(p->kernel), &p->tap, note);
	if (err == ERR_OK)
		err = link_tap(p->kernel, p->mtu, note);
	return err;
}

static enum err start_userspace(struct plane *p, struct err_note *note)
{
	struct hostport at = { .ip = p->cfg.host, .port = p->cfg.udp_port };

	return userspace_start(p->tap, at, &p->userspace, note);
}

enum err plane_open(struct plane **out, const struct plane_cfg *cfg, struct err_note *note)
{
	struct plane *p = mem_zalloc(1, sizeof(*p));

	if (p == NULL)
		return err_note(note, ERR_NOMEM, "out of memory");
	p->cfg = *cfg;
	p->tap = -1;
	p->mtu = container_mtu(cfg);
	p->fdb = map_new(cfg->self);
	enum err err = p->fdb == NULL ? err_note(note, ERR_NOMEM, "out of memory") : open_devices(p, note);
	if (err == ERR_OK)
		err = start_userspace(p, note);
	if (err == ERR_OK)
		err = link_fdb_list(p->kernel, remember, p, note);
	if (err == ERR_OK)
		err = neigh_open(&p->neigh, cfg->self, p->kernel, cfg->log, note);
	if (err != ERR_OK) {
		plane_close(p);
		return err;
	}
	if (!link_answers(p->kernel))
		log_write(cfg->log, LOG_LEVEL_INFO,
			"this kernel cannot answer ARP for containers of other hosts (neigh_suppress): their hosts are asked");
	*out = p;
	return ERR_OK;
}

static void fdb_clear(struct plane *p)
{
	struct slice key;
	void *value;

	for (size_t it = 0; map_next(p->fdb, &it, &key, &value);)
		mem_free(map_del(p->fdb, key));
	p->inherited = 0;
}

static void close_tap(struct plane *p)
{
	userspace_stop(p->userspace);
	p->userspace = NULL;
	if (p->tap >= 0)
		(void)close(p->tap);
	p->tap = -1;
}

void plane_close(struct plane *p)
{
	if (p == NULL)
		return;
	close_tap(p);
	neigh_close(p->neigh);
	kernel_close(p->kernel);
	if (p->fdb != NULL)
		fdb_clear(p);
	map_free(p->fdb);
	mem_free(p);
}

static void own(struct plane *p, struct fdb_entry *e)
{
	p->inherited -= e->inherited;
	e->inherited = false;
}

static bool tap_lost(const struct plane *p)
{
	struct userspace_stats s = { 0 };

	if (p->userspace != NULL)
		userspace_stats(p->userspace, &s);
	return p->tap_gone || s.tap_lost;
}

/* The entries that led to the device went with it. */
static void forget_userspace(struct plane *p)
{
	struct slice key;
	void *value;

	for (size_t it = 0; map_next(p->fdb, &it, &key, &value);) {
		struct fdb_entry *e = value;
		if (e->uplink != LINK_USERSPACE)
			continue;
		own(p, e);
		mem_free(map_del(p->fdb, key));
	}
}

/* A device anew in place of one that somebody removed. */
static void mend_tap(struct plane *p)
{
	struct err_note note = { "" };
	bool first = !p->tap_gone;

	if (first)
		log_write(
			p->cfg.log, LOG_LEVEL_WARNING, "the device %s was removed by somebody; it is made anew", kernel_tap_name(p->kernel));
	p->tap_gone = true;
	close_tap(p);
	forget_userspace(p);
	enum err err = tap_open(kernel_tap_name(p->kernel), &p->tap, &note);
	if (err == ERR_OK)
		err = link_tap(p->kernel, p->mtu, &note);
	if (err == ERR_OK)
		err = start_userspace(p, &note);
	p->tap_gone = err != ERR_OK;
	if (err != ERR_OK) {
		close_tap(p);
		p->failures++;
	}
	if (err != ERR_OK && first)
		log_write(p->cfg.log, LOG_LEVEL_ERROR, "there is no userspace path (tried again every few seconds): %s", note.text);
	else if (err == ERR_OK && !first)
		log_write(p->cfg.log, LOG_LEVEL_INFO, "the device %s is there again", kernel_tap_name(p->kernel));
}

/* --- forwarding ----------------------------------------------------------------------------------------------------------------------- */

/* false: frames for mac are not led there (now). */
static bool set(struct plane *p, struct mac mac, enum link_uplink uplink, struct ip underlay)
{
	struct slice key = slice_of(mac.b, 6);
	struct fdb_entry *have = map_get(p->fdb, key);
	struct err_note note = { "" };
	char text[MAC_TEXT];

	if (uplink != LINK_FAST)
		underlay = (struct ip){ 0 };
	if (have != NULL) {
		have->wanted = true;
		own(p, have);
	}
	if (have != NULL && have->uplink == uplink && ip_eq(have->underlay, underlay))
		return true;
	enum err err = link_fdb_set(p->kernel, mac, uplink, underlay, &note);
	if (err == ERR_OK && have == NULL) {
		have = mem_zalloc(1, sizeof(*have));
		if (have == NULL || map_put(p->fdb, key, have, NULL) != ERR_OK) {
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

static void remove_unwanted(struct plane *p, uint64_t now_ms)
{
	struct slice key;
	void *value;

	for (size_t it = 0; map_next(p->fdb, &it, &key, &value);) {
		struct fdb_entry *e = value;
		struct err_note note = { "" };
		struct rbuf r;
		if (e->wanted || (e->inherited && now_ms < p->inherited_until)) {
			e->wanted = false;
			continue;
		}
		rbuf_init(&r, key.p, key.n);
		struct mac mac = rbuf_mac(&r);
		if (link_fdb_del(p->kernel, mac, &note) != ERR_OK) {
			p->failures++;
			log_write(p->cfg.log, LOG_LEVEL_WARNING, "a forwarding entry is not removed: %s", note.text);
			continue;
		}
		own(p, e);
		mem_free(map_del(p->fdb, key));
	}
}

/* Whose containers' frames are ours to send by the uplinks: a MAC has one holder, and our own containers' are the bridge's business. */
static bool holds_mac(const struct core *core, const struct core_endpoint *e)
{
	return core_mac_holder(core, e->mac, e->network) == e;
}

static void want_addresses(struct plane *p, const struct core_endpoint *e)
{
	for (size_t i = 0; i < e->n_addrs; i++)
		neigh_want(p->neigh, e->addrs[i].addr, e->mac, e->peer);
}

static void apply_entries(struct plane *p, const struct core *core, uint64_t now_ms)
{
	const struct core_endpoint *e;

	for (size_t it = 0; core_next_remote(core, &it, &e);) {
		struct path_hop hop;
		if (!core_hop(core, e->peer, &hop) || hop.path == PATH_NONE || !holds_mac(core, e))
			continue;
		if (set(p, e->mac, hop.path == PATH_FAST ? LINK_FAST : LINK_USERSPACE, hop.underlay))
			want_addresses(p, e);
	}
	for (size_t it = 0; core_next_local(core, &it, &e);)
		want_addresses(p, e);
	p->failures += neigh_apply(p->neigh, now_ms >= p->inherited_until, p->tap);
	remove_unwanted(p, now_ms);
}

/* A peer may send from the address we reach it at and from those it publishes. */
static void fill_peer(const struct core *core, uint64_t name, struct fwd_peer *out)
{
	struct path_hop hop;
	struct peer_info info;

	*out = (struct fwd_peer){ .name = name };
	if (core_hop(core, name, &hop) && hop.path != PATH_NONE)
		out->to = hop.to;
	if (gossip_peer(core_gossip(core), name, &info))
		for (size_t i = 0; i < info.n_addresses && out->n_from < FWD_FROM_MAX; i++)
			out->from[out->n_from++] = info.addresses[i].ip;
}

static int compare_peers(const void *a, const void *b)
{
	const struct fwd_peer *x = a, *y = b;

	return x->name < y->name ? -1 : x->name > y->name;
}

/* Who has containers gets what is flooded. peers is in order of names. */
static void mark_member(struct fwd_peer *peers, size_t n, uint64_t name)
{
	struct fwd_peer key = { .name = name };
	struct fwd_peer *found = n > 0 ? bsearch(&key, peers, n, sizeof(*peers), compare_peers) : NULL;

	if (found != NULL)
		found->member = true;
}

static size_t count_peers(const struct core *core)
{
	uint64_t it = 0, name;
	size_t n = 0;

	while (gossip_next_peer(core_gossip(core), &it, &name))
		n++;
	return n;
}

static size_t count_endpoints(const struct core *core)
{
	const struct core_endpoint *e;
	size_t n = 0;

	for (size_t it = 0; core_next_remote(core, &it, &e);)
		n++;
	for (size_t it = 0; core_next_local(core, &it, &e);)
		n++;
	return n;
}

static enum err make_table(const struct plane *p, const struct core *core, struct fwd_table **out)
{
	size_t n_peers = 0, n_macs = 0;
	struct fwd_peer *peers = mem_zalloc(count_peers(core) + 1, sizeof(*peers));
	struct fwd_mac *macs = mem_zalloc(count_endpoints(core) + 1, sizeof(*macs));
	const struct core_endpoint *e;
	enum err err = ERR_NOMEM;
	uint64_t at = 0, name;

	if (peers != NULL && macs != NULL) {
		while (gossip_next_peer(core_gossip(core), &at, &name))
			if (name != p->cfg.self)
				fill_peer(core, name, &peers[n_peers++]);
		qsort(peers, n_peers, sizeof(*peers), compare_peers);
		for (size_t it = 0; core_next_remote(core, &it, &e);) {
			mark_member(peers, n_peers, e->peer);
			if (holds_mac(core, e))
				macs[n_macs++] = (struct fwd_mac){ .mac = e->mac, .peer = e->peer };
		}
		for (size_t it = 0; core_next_local(core, &it, &e);)
			macs[n_macs++] = (struct fwd_mac){ .mac = e->mac, .peer = p->cfg.self };
		err = fwd_table_new(p->cfg.self, peers, n_peers, macs, n_macs, NULL, 0, out);
	}
	mem_free(peers);
	mem_free(macs);
	return err;
}

void plane_apply(struct plane *p, const struct core *core, uint64_t now_ms)
{
	struct fwd_table *t = NULL;

	if (tap_lost(p))
		mend_tap(p);
	if (p->userspace == NULL)
		return; /* reset, or without the device nothing can be led to */
	if (p->inherited_until == 0)
		p->inherited_until = now_ms + INHERITED_MS;
	enum err err = make_table(p, core, &t);
	/* the userspace path first: a MAC that moves there must find it ready */
	if (err == ERR_OK)
		err = userspace_set_table(p->userspace, t);
	if (err != ERR_OK) {
		fwd_table_free(t);
		p->failures++;
		log_write(p->cfg.log, LOG_LEVEL_WARNING, "the userspace path keeps its old table: %s", err_text(err));
	}
	apply_entries(p, core, now_ms);
}

enum err plane_reset(struct plane *p, struct err_note *note)
{
	close_tap(p);
	p->tap_gone = false;
	fdb_clear(p);
	neigh_forget(p->neigh);
	return link_reset(p->kernel, note);
}

struct kernel *plane_kernel(struct plane *p)
{
	return p->kernel;
}

struct userspace *plane_userspace(struct plane *p)
{
	return p->userspace;
}

uint32_t plane_container_mtu(const struct plane *p)
{
	return p->mtu;
}

size_t plane_failures(const struct plane *p)
{
	return p->failures;
}

bool plane_unsettled(const struct plane *p)
{
	return p->inherited > 0 || neigh_inherited(p->neigh) > 0 || tap_lost(p);
}
