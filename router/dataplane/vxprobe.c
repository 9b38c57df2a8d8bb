#include "router/dataplane/vxprobe.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"
#include "router/dataplane/netlink.h"
#include "tunnel/probe.h"

/* A frame goes from a packet socket into weft-vx as if the bridge had sent it, crosses the underlay, comes out of the other host's weft-vx, and since it is
 * for that bridge's own MAC the bridge takes it in. The socket there is bound to probes' Ethernet type, so that no other frame passes by it, but to no
 * device: it outlives the bridge, and what came by another device is told by its index. Containers cannot send such frames: weft's nftables rules drop them, and one whose source MAC is not that of its sender is passed over. */

enum { ETHER = 14, FRAME_MAX = LINK_MTU_MAX + ETHER };

struct vxprobe {
	struct kernel *k;
	uint64_t self;
	int out, in;
	int bridge; /* index, as of the last probe sent */
	uint8_t *sent, *received;
};

static enum err socket_error(struct err_note *note, const char *doing)
{
	const int failed = errno;
	return err_note(note, netlink_err_of(failed), "cannot %s: %s%s", doing, strerror(failed),
		failed == EPERM ? "; weftd needs CAP_NET_RAW: run it as root or from its systemd unit" : "");
}

struct macs {
	struct mac *v;
	size_t n, cap;
	bool failed;
};

static void on_entry(const struct link_fdb *entry, void *arg)
{
	struct macs *m = arg;
	if (mem_grow((void **)&m->v, &m->cap, m->n + 1, sizeof *m->v))
		m->v[m->n++] = entry->mac;
	else
		m->failed = true;
}

/* What a former daemon left: its peers need not be ours. */
static enum err clear(struct kernel *k, struct err_note *note)
{
	struct macs m = { 0 };
	enum err e = link_probe_list(k, on_entry, &m, note);
	for (size_t i = 0; i < m.n && e == ERR_OK; i++)
		e = link_probe_del(k, m.v[i], note);
	if (e == ERR_OK && m.failed)
		e = err_note(note, ERR_NOMEM, "out of memory");
	mem_free(m.v);
	return e;
}

enum err vxprobe_open(struct kernel *k, uint64_t self, struct vxprobe **out, struct err_note *note)
{
	struct vxprobe *p = mem_zalloc(1, sizeof *p);
	int index;
	if (!p)
		return err_note(note, ERR_NOMEM, "out of memory");
	p->k = k;
	p->self = self;
	p->out = p->in = -1;
	p->sent = mem_alloc(FRAME_MAX);
	p->received = mem_alloc(FRAME_MAX);
	enum err e = p->sent && p->received ? kernel_vxlan_index(k, &index, note) : err_note(note, ERR_NOMEM, "out of memory");
	if (e == ERR_OK) {
		/* Protocol 0: they take in nothing before they are bound, the first never. */
		p->out = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		p->in = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		const struct sockaddr_ll at = { .sll_family = AF_PACKET, .sll_protocol = htons(PROBE_ETHERTYPE) };
		if (p->out < 0 || p->in < 0 || bind(p->in, (const struct sockaddr *)&at, sizeof at) != 0)
			e = socket_error(note, "open a packet socket for probes");
	}
	if (e == ERR_OK)
		e = kernel_bridge_index(k, &p->bridge, note);
	if (e == ERR_OK)
		e = clear(k, note);
	if (e != ERR_OK) {
		vxprobe_close(p);
		return e;
	}
	*out = p;
	return ERR_OK;
}

void vxprobe_close(struct vxprobe *p)
{
	if (!p)
		return;
	if (p->out >= 0)
		close(p->out);
	if (p->in >= 0)
		close(p->in);
	mem_free(p->sent);
	mem_free(p->received);
	mem_free(p);
}

int vxprobe_fd(const struct vxprobe *p)
{
	return p->in;
}

enum err vxprobe_send(struct vxprobe *p, uint64_t peer, struct ip underlay, struct slice probe)
{
	const struct mac to = link_peer_mac(peer);
	struct wbuf w;
	int index;
	wbuf_fixed(&w, p->sent, FRAME_MAX);
	wbuf_mac(&w, to);
	wbuf_mac(&w, link_peer_mac(p->self));
	wbuf_u16(&w, PROBE_ETHERTYPE);
	wbuf_bytes(&w, probe.p, probe.n);
	enum err e = wbuf_end(&w);
	if (e == ERR_OK)
		e = kernel_bridge_index(p->k, &p->bridge, NULL); /* by which the answer comes */
	if (e == ERR_OK)
		e = kernel_vxlan_index(p->k, &index, NULL);
	if (e == ERR_OK)
		e = link_probe_set(p->k, to, underlay, NULL); /* changes nothing when it is there */
	if (e != ERR_OK)
		return e;
	const struct sockaddr_ll at = { .sll_family = AF_PACKET, .sll_ifindex = index };
	if (sendto(p->out, p->sent, w.len, 0, (const struct sockaddr *)&at, sizeof at) >= 0)
		return ERR_OK;
	switch (errno) {
	case EMSGSIZE: return ERR_LIMIT;
	case ENETUNREACH:
	case EHOSTUNREACH:
	case ENETDOWN: return ERR_UNREACHABLE;
	case EAGAIN: return ERR_AGAIN;
	default: return netlink_err_of(errno);
	}
}

enum err vxprobe_forget(struct vxprobe *p, uint64_t peer, struct err_note *note)
{
	return link_probe_del(p->k, link_peer_mac(peer), note);
}

/* Whether the frame is a probe from the host it names to this one. */
static bool is_probe(const struct vxprobe *p, const uint8_t *frame, size_t n, struct slice *out)
{
	struct rbuf r;
	struct probe probe;
	rbuf_init(&r, frame, n);
	const struct mac to = rbuf_mac(&r), from = rbuf_mac(&r);
	const uint16_t type = rbuf_u16(&r);
	*out = rbuf_bytes(&r, rbuf_left(&r));
	return rbuf_ok(&r) && type == PROBE_ETHERTYPE && mac_eq(to, link_peer_mac(p->self)) && probe_read(*out, &probe) &&
		mac_eq(from, link_peer_mac(probe.src)) && probe.dst == p->self;
}

struct slice vxprobe_receive(struct vxprobe *p)
{
	struct slice probe;
	for (;;) {
		struct sockaddr_ll by = { 0 };
		socklen_t len = sizeof by;
		ssize_t n = recvfrom(p->in, p->received, FRAME_MAX, 0, (struct sockaddr *)&by, &len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return (struct slice){ 0 };
		if (by.sll_ifindex == p->bridge && is_probe(p, p->received, (size_t)n, &probe))
			return probe;
	}
}
