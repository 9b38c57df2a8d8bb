/* Frames by libpcap, where TAP cannot be had.
 *
 *   namespace of the daemon                        a namespace of nobody's
 *   port of the bridge `weft-tap`  ───── veth ─────  `weft-cap` ──▶ libpcap: frames up to 1978 bytes, a ring of small slots
 *                                                      │   ▲   └──▶ libpcap: longer ones, a ring of 64 KiB slots
 *                                                             └──── packet socket with virtio headers
 *
 * The far end lives in a network namespace that has no address, no route and no process: what is captured there comes to nobody else, where in
 * the host's own a broadcast of a container's would reach the host's sockets as well. The namespace, and the pair with it, goes when our
 * descriptors do; so the device ends with the daemon, as a TAP device does.
 *
 * Two rings, because a slot is as long as the longest frame: with one alone a flood of small frames overruns the few slots that fit into its
 * memory. A filter sends each frame to one of them, and timestamps put them in order again. What one processor has received lies in the rings in
 * that order; so when a frame is seen in one ring, all that came before it can be seen in the other. take_next is written around that.
 *
 * libpcap tells neither that a checksum is still partial nor that a frame is to be cut and where. Both can be found out: a checksum
 * field that holds the sum of the pseudo header is partial (if that is so by chance, in one of 65536 complete ones, it does no harm: it is computed
 * once more), and TCP longer than the port's MTU has to be cut at that. Of all else nothing could be found out: therefore the port is told to do
 * without segmentation of UDP and of tunnels and without the checksum of SCTP, and the kernel does them first. What remains is the inner
 * checksum of a tunnel that a container makes itself: it is partial, and nobody can know.
 *
 * Reading is one thread's, writing another's; they share nothing that changes. */
#include "router/dataplane/pcap.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/ethtool.h>
#include <linux/if_ether.h>
#include <linux/if_link.h>
#include <linux/if_packet.h>
#include <linux/rtnetlink.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"
#include "router/dataplane/link.h"
#include "router/dataplane/netlink.h"
#include "router/dataplane/pcap_lib.h"

enum {
	SMALL_MAX = 1978,     /* with libpcap's 68 bytes before it: a slot of 2 KiB */
	LARGE_MAX = 65440,    /* a slot of 64 KiB; the port is told to hand over nothing longer */
	SMALL_RING = 2 << 20, /* bytes: 1024 slots, as many as a TAP device keeps */
	LARGE_RING = 4 << 20, /* 64 slots: what one TCP connection has under way; with half of them it sends some percent twice */
	BATCH = 32,           /* small frames taken at once */
	PARTS_MAX = JOIN_PARTS + 8,
	FAR_MTU = 65535,  /* the port's own MTU decides what passes */
	PORT_MTU = 1500,  /* until link_tap */
	IP_MIN = 576,     /* no MTU is less */
	SNDBUF = 8 << 20, /* what may be on its way through the pair */
	FEATURES_MAX = 256,
	TCP_CWR = 0x80,
};

struct state {
	/* for ever */
	struct netlink *home; /* of the daemon's namespace */
	int index;            /* of the port */
	char name[NETLINK_NAME_MAX + 1], far[NETLINK_NAME_MAX + 1];
	int far_ns;
	int ask; /* a socket for ioctl in the daemon's namespace */
	struct pcap_lib lib;
	pcap_t *small, *large;
	bool plain;
	/* the reader's */
	uint8_t *batch; /* BATCH frames, SMALL_MAX apart */
	uint32_t len[BATCH];
	uint64_t when[BATCH];
	size_t head, n;
	bool looked;   /* there is no long frame older than those of the batch */
	uint8_t *held; /* a long frame before which small ones are to go */
	size_t held_len;
	uint64_t held_when;
	uint32_t mtu;
	bool mtu_old;
	/* the writer's */
	int inject;
	uint8_t *whole; /* plain: where parts come together */
};

/* ---- reading */

struct taking {
	struct state *s;
	uint8_t *frame;
	size_t size, len;
	uint64_t when;
};

static uint64_t stamp(const struct pcap_pkthdr *h) /* nanoseconds, in a member called microseconds */
{
	return (uint64_t)h->ts.tv_sec * 1000000000u + (uint64_t)h->ts.tv_usec;
}

static void on_small(u_char *ctx, const struct pcap_pkthdr *h, const u_char *bytes)
{
	struct state *s = ((struct taking *)(void *)ctx)->s;
	if (h->caplen < h->len || h->caplen > SMALL_MAX)
		return;
	memcpy(s->batch + s->n * SMALL_MAX, bytes, h->caplen);
	s->len[s->n] = h->caplen;
	s->when[s->n++] = stamp(h);
}

static void on_large(u_char *ctx, const struct pcap_pkthdr *h, const u_char *bytes)
{
	struct taking *t = (struct taking *)(void *)ctx;
	if (h->caplen < h->len || h->caplen > t->size)
		return;
	memcpy(t->frame, bytes, h->caplen);
	t->len = h->caplen;
	t->when = stamp(h);
}

/* false: the device is gone. */
static bool take_small(struct state *s)
{
	struct taking t = { .s = s };
	s->head = s->n = 0;
	s->looked = false;
	return s->lib.dispatch(s->small, BATCH, on_small, (u_char *)&t) >= 0;
}

static bool take_large(struct state *s, struct taking *t)
{
	int n;
	t->s = s;
	t->len = 0;
	do
		n = s->lib.dispatch(s->large, 1, on_large, (u_char *)t);
	while (n > 0 && t->len == 0);
	return n >= 0;
}

static bool small_before(const struct state *s, uint64_t when)
{
	return s->head < s->n && s->when[s->head] < when;
}

static ssize_t copy_out(const uint8_t *from, size_t n, uint8_t *frame, size_t size)
{
	if (n > size)
		n = size;
	memcpy(frame, from, n);
	return (ssize_t)n;
}

/* The oldest frame of both rings; 0: there is none; -1: the device is gone. */
static ssize_t take_next(struct state *s, uint8_t *frame, size_t size)
{
	struct taking t = { .frame = frame, .size = size };
	if (s->head == s->n && !take_small(s))
		return -1;
	if (s->held_len == 0 && !s->looked) {
		if (!take_large(s, &t))
			return -1;
		/* What came before it can be seen now, but could not when the other ring was found empty. */
		if (t.len > 0 && s->head == s->n && !take_small(s))
			return -1;
		s->looked = t.len == 0;
		if (t.len > 0 && !small_before(s, t.when))
			return (ssize_t)t.len;
		if (t.len > 0) {
			memcpy(s->held, frame, t.len);
			s->held_len = t.len;
			s->held_when = t.when;
		}
	}
	if (s->held_len > 0 && !small_before(s, s->held_when)) {
		size_t n = s->held_len;
		s->held_len = 0;
		return copy_out(s->held, n, frame, size);
	}
	if (s->head == s->n)
		return 0;
	size_t i = s->head++;
	return copy_out(s->batch + i * SMALL_MAX, s->len[i], frame, size);
}

/* The port's MTU is changed by others. */
static void ask_mtu(struct state *s)
{
	struct ifreq r = { 0 };
	memcpy(r.ifr_name, s->name, sizeof s->name);
	if (ioctl(s->ask, SIOCGIFMTU, &r) == 0 && r.ifr_mtu > 0)
		s->mtu = (uint32_t)r.ifr_mtu;
	s->mtu_old = false;
}

static uint16_t at16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

/* The sum of the pseudo header (RFC 9293 section 3.1, RFC 8200 section 8.1), folded, not inverted: what a kernel leaves in the field of a
 * checksum that the device is to complete. */
static uint16_t pseudo_sum(const uint8_t *frame, const struct layout *l)
{
	size_t from = l->l3 + (l->family == 4 ? 12u : 8u), n = l->family == 4 ? 8 : 32;
	uint32_t sum = l->proto + (l->end - l->l4);
	for (size_t i = 0; i < n; i += 2)
		sum += at16(frame + from + i);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

/* The virtio header that the kernel would have put before the frame. */
static void describe(struct state *s, const uint8_t *frame, size_t n, struct vnet *v)
{
	struct layout l;
	*v = (struct vnet){ 0 };
	if (!layout_of(slice_of(frame, n), &l) || l.l4 == 0)
		return;
	bool tcp = l.proto == IPPROTO_TCP;
	uint16_t offset = tcp ? 16 : 6;
	if (at16(frame + l.l4 + offset) != pseudo_sum(frame, &l))
		return;
	v->flags = VNET_NEEDS_CSUM;
	v->csum_start = l.l4;
	v->csum_offset = offset;
	if (!tcp || l.end - l.l3 <= IP_MIN)
		return;
	if (s->mtu_old || l.end - l.l3 > s->mtu)
		ask_mtu(s);
	uint32_t headers = (uint32_t)l.payload - l.l3;
	if (l.end - l.l3 <= s->mtu || headers >= s->mtu)
		return;
	v->gso_type = l.family == 4 ? VNET_GSO_TCPV4 : VNET_GSO_TCPV6;
	if (frame[l.l4 + 13] & TCP_CWR)
		v->gso_type |= VNET_GSO_ECN;
	v->gso_size = (uint16_t)(s->mtu - headers);
	v->hdr_len = l.payload;
}

static ssize_t read_frame(struct capture *c, unsigned queue, struct vnet *v, uint8_t *frame, size_t size)
{
	struct state *s = c->state;
	(void)queue;
	ssize_t n = take_next(s, frame, size);
	if (n > 0)
		describe(s, frame, (size_t)n, v);
	else
		s->mtu_old = true;
	return n;
}

/* ---- writing */

static bool write_vnet(struct state *s, const struct vnet *v, const struct iovec *parts, size_t n)
{
	uint8_t head[VNET_BYTES];
	struct iovec iov[1 + PARTS_MAX];
	if (n > PARTS_MAX)
		return false;
	vnet_write(head, v);
	iov[0] = (struct iovec){ head, sizeof head };
	memcpy(iov + 1, parts, n * sizeof *parts);
	const struct msghdr m = { .msg_iov = iov, .msg_iovlen = n + 1 };
	ssize_t sent;
	do
		sent = sendmsg(s->inject, &m, MSG_DONTWAIT);
	while (sent < 0 && errno == EINTR);
	return sent >= 0;
}

/* No superframes, and nobody behind us completes a checksum. */
static bool write_plain(struct state *s, const struct vnet *v, const struct iovec *parts, size_t n)
{
	size_t len = 0;
	if (v->gso_type != VNET_GSO_NONE)
		return false;
	for (size_t i = 0; i < n; i++) {
		if (parts[i].iov_len > FRAME_MAX - len)
			return false;
		memcpy(s->whole + len, parts[i].iov_base, parts[i].iov_len);
		len += parts[i].iov_len;
	}
	if ((v->flags & VNET_NEEDS_CSUM) && !segment_complete(s->whole, len, v))
		return false;
	return s->lib.inject(s->small, s->whole, len) == (int)len;
}

static bool write_frame(struct capture *c, unsigned queue, const struct vnet *v, const struct iovec *parts, size_t n)
{
	struct state *s = c->state;
	(void)queue;
	return s->inject >= 0 ? write_vnet(s, v, parts, n) : write_plain(s, v, parts, n);
}

/* ---- opening */

static enum err pcap_error(const struct state *s, pcap_t *p, int result, struct err_note *note)
{
	const char *more = p ? s->lib.geterr(p) : "";
	enum err e = result == PCAP_ERROR_PERM_DENIED || result == PCAP_ERROR_PROMISC_PERM_DENIED ? ERR_PERMISSION : ERR_UNSUPPORTED;
	return err_note(note, e, "cannot capture on %s: %s%s%.120s%s", s->far, s->lib.statustostr(result), more[0] ? ": " : "", more,
		e == ERR_PERMISSION ? "; weftd needs CAP_NET_RAW" : "");
}

/* One of the two rings: only frames of the lengths that the filter lets pass. */
static enum err open_ring(struct state *s, int snaplen, int ring, const char *filter, pcap_t **out, struct err_note *note)
{
	char words[PCAP_ERRBUF_SIZE] = "";
	pcap_t *p = s->lib.create(s->far, words);
	if (!p)
		return err_note(note, ERR_UNSUPPORTED, "cannot capture on %s: %.160s", s->far, words);
	*out = p;
	(void)s->lib.set_snaplen(p, snaplen);
	(void)s->lib.set_promisc(p, 1);
	(void)s->lib.set_immediate_mode(p, 1);
	(void)s->lib.set_buffer_size(p, ring);
	(void)s->lib.set_tstamp_precision(p, PCAP_TSTAMP_PRECISION_NANO);
	int result = s->lib.activate(p);
	if (result < 0)
		return pcap_error(s, p, result, note);
	struct bpf_program program;
	result = s->lib.compile(p, &program, filter, 1, PCAP_NETMASK_UNKNOWN);
	if (result == 0) {
		result = s->lib.setfilter(p, &program);
		s->lib.freecode(&program);
	}
	if (result == 0)
		result = s->lib.setdirection(p, PCAP_D_IN);
	if (result == 0)
		result = s->lib.setnonblock(p, 1, words);
	if (result < 0)
		return pcap_error(s, p, result, note);
	/* libpcap leaves out what we send ourselves only after it has been copied. */
	const int on = 1;
	(void)setsockopt(s->lib.fileno(p), SOL_PACKET, PACKET_IGNORE_OUTGOING, &on, sizeof on);
	return ERR_OK;
}

/* Does the kernel take UDP superframes (Linux 6.2)? Asked with one that goes nowhere: the port is not up yet. */
static bool takes_uso(struct state *s)
{
	enum { PAYLOAD = 64, SIZE = 14 + 20 + 8 + PAYLOAD };
	uint8_t frame[SIZE] = { [12] = 0x08, [14] = 0x45, [17] = SIZE - 14, [22] = 1, [23] = IPPROTO_UDP, [39] = 8 + PAYLOAD };
	const struct vnet v = { .flags = VNET_NEEDS_CSUM,
		.gso_type = VNET_GSO_UDP_L4,
		.hdr_len = 42,
		.gso_size = PAYLOAD / 2,
		.csum_start = 34,
		.csum_offset = 6 };
	const struct iovec part = { frame, sizeof frame };
	return write_vnet(s, &v, &part, 1) || errno != EINVAL;
}

/* A packet socket that only sends. false: none with virtio headers. */
static bool open_inject(struct state *s, int far_index)
{
	const struct sockaddr_ll to = { .sll_family = AF_PACKET, .sll_ifindex = far_index };
	const int on = 1, buffer = SNDBUF;
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return false;
	if (setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, &on, sizeof on) != 0 ||
		bind(fd, (const struct sockaddr *)&to, sizeof to) != 0) {
		close(fd);
		return false;
	}
	/* Both only make it quicker. */
	(void)setsockopt(fd, SOL_PACKET, PACKET_QDISC_BYPASS, &on, sizeof on);
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &buffer, sizeof buffer);
	s->inject = fd;
	return true;
}

/* In the far namespace, new and empty. */
static enum err furnish(struct capture *c, struct netlink *far, struct err_note *note)
{
	struct state *s = c->state;
	struct netlink_link l;
	struct netlink_req r;
	/* The kernel would send into the network otherwise: router solicitations, listener reports. */
	enum err e = link_sysctl(6, "default", "disable_ipv6", "1", note);
	if (e != ERR_OK)
		return e;
	const struct netlink_veth pair = {
		.name = s->name, .peer = s->far, .peer_ns = s->far_ns, .mtu = PORT_MTU, .peer_mtu = FAR_MTU
	};
	int result = netlink_veth(s->home, &pair);
	if (result == -EOPNOTSUPP)
		return err_note(note, ERR_UNSUPPORTED, "cannot make %s: the kernel has no veth module; load it: modprobe veth", s->name);
	if (result == 0)
		result = netlink_link_named(s->home, s->name, &l);
	if (result)
		return netlink_error(s->home, result, note, "make the interfaces %s and %s", s->name, s->far);
	s->index = l.index;
	result = netlink_link_named(far, s->far, &l);
	if (result == 0) {
		netlink_req_link(&r, RTM_NEWLINK, 0, AF_UNSPEC, l.index, 1);
		result = netlink_do(far, &r);
	}
	if (result)
		return netlink_error(far, result, note, "set up the interface %s", s->far);
	e = open_ring(s, SMALL_MAX, SMALL_RING, "less 1978", &s->small, note);
	if (e == ERR_OK)
		e = open_ring(s, LARGE_MAX, LARGE_RING, "greater 1979", &s->large, note);
	if (e == ERR_OK && !s->plain && !open_inject(s, l.index))
		s->plain = true;
	return e;
}

/* Makes the far namespace, visits it, and comes home again. */
static enum err furnish_far(struct capture *c, struct err_note *note)
{
	struct state *s = c->state;
	struct netlink *far = NULL;
	int home = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	if (home < 0)
		return err_note(note, ERR_SYSTEM, "cannot open /proc/thread-self/ns/net: %s; is /proc mounted?", strerror(errno));
	if (unshare(CLONE_NEWNET) != 0) {
		int error = errno;
		close(home);
		return err_note(note, error == EPERM ? ERR_PERMISSION : ERR_UNSUPPORTED, "cannot make a network namespace for %s: %s%s",
			s->far, strerror(error), error == EPERM ? "; weftd needs CAP_SYS_ADMIN" : "");
	}
	enum err e = ERR_OK;
	s->far_ns = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	if (s->far_ns < 0)
		e = err_note(note, ERR_SYSTEM, "cannot open /proc/thread-self/ns/net: %s", strerror(errno));
	if (e == ERR_OK)
		e = netlink_open(&far, note);
	if (e == ERR_OK)
		e = furnish(c, far, note);
	netlink_close(far);
	int back = setns(home, CLONE_NEWNET);
	assert(back == 0); /* a daemon that cannot get home stops */
	(void)back;
	close(home);
	return e;
}

/* What a former daemon left: the kernel takes a namespace apart some time after its end. */
static enum err remove_old(struct state *s, struct err_note *note)
{
	struct netlink_link l;
	int result = netlink_link_named(s->home, s->name, &l);
	if (result == -ENODEV)
		return ERR_OK;
	if (result == 0 && strcmp(l.kind, "veth") != 0)
		return err_note(
			note, ERR_CONFLICT, "the interface %s is there but is no veth; remove it: ip link del %s", s->name, s->name);
	if (result == 0)
		result = netlink_link_del(s->home, l.index);
	return result == 0 || result == -ENODEV ? ERR_OK
											: netlink_error(s->home, result, note, "remove the old interface %s", s->name);
}

/* What a capture could not see: the kernel is to do it before. Segmentation of TCP stays. */
static bool unwanted(const char *feature)
{
	if (strcmp(feature, "tx-checksum-sctp") == 0 || strcmp(feature, "tx-gso-list") == 0)
		return true;
	return strncmp(feature, "tx-", 3) == 0 && strncmp(feature, "tx-tcp", 6) != 0 && strstr(feature, "-segmentation") != NULL;
}

static int ethtool(struct state *s, void *command)
{
	struct ifreq r = { 0 };
	memcpy(r.ifr_name, s->name, sizeof s->name);
	r.ifr_data = command;
	return ioctl(s->ask, SIOCETHTOOL, &r);
}

/* How many features there are; 0: no knowing. */
static uint32_t count_features(struct state *s)
{
	struct ethtool_sset_info *ask = mem_zalloc(1, sizeof *ask + sizeof ask->data[0]);
	uint32_t n = 0;
	if (!ask)
		return 0;
	ask->cmd = ETHTOOL_GSSET_INFO;
	ask->sset_mask = 1u << ETH_SS_FEATURES;
	if (ethtool(s, ask) == 0 && ask->sset_mask != 0)
		n = ask->data[0];
	mem_free(ask);
	return n <= FEATURES_MAX ? n : 0;
}

/* false: some of the port's features are still on, or there is no knowing. */
static bool switch_features_off(struct state *s)
{
	uint32_t count = count_features(s);
	if (count == 0)
		return false;
	struct ethtool_gstrings *names = mem_zalloc(1, sizeof *names + (size_t)count * ETH_GSTRING_LEN);
	size_t blocks = (count + 31) / 32;
	struct ethtool_sfeatures *off = mem_zalloc(1, sizeof *off + blocks * sizeof off->features[0]);
	bool done = names && off;
	if (done) {
		*names = (struct ethtool_gstrings){ .cmd = ETHTOOL_GSTRINGS, .string_set = ETH_SS_FEATURES, .len = count };
		off->cmd = ETHTOOL_SFEATURES;
		off->size = (uint32_t)blocks;
		done = ethtool(s, names) == 0;
	}
	for (uint32_t i = 0; done && i < count; i++) {
		char name[ETH_GSTRING_LEN + 1] = "";
		memcpy(name, names->data + (size_t)i * ETH_GSTRING_LEN, ETH_GSTRING_LEN);
		if (unwanted(name))
			off->features[i / 32].valid |= 1u << i % 32;
	}
	/* It answers what it did not do: features that this device cannot change, and does not have. */
	done = done && ethtool(s, off) >= 0;
	mem_free(names);
	mem_free(off);
	return done;
}

/* The port is to hand over nothing longer than fits into a slot. Kernels before 4.16 cannot be told; containers' own TCP is shorter. */
static void limit_superframes(struct state *s)
{
	struct netlink_req r;
	netlink_req_link(&r, RTM_NEWLINK, 0, AF_UNSPEC, s->index, -1);
	netlink_put_u32(&r, IFLA_GSO_MAX_SIZE, LARGE_MAX);
	int result = netlink_do(s->home, &r);
	(void)result;
}

static enum err wait_for_both(struct capture *c, struct err_note *note)
{
	struct state *s = c->state;
	pcap_t *const rings[] = { s->small, s->large };
	c->fd[0] = epoll_create1(EPOLL_CLOEXEC);
	for (size_t i = 0; i < 2; i++) {
		struct epoll_event ev = { .events = EPOLLIN };
		if (c->fd[0] < 0 || epoll_ctl(c->fd[0], EPOLL_CTL_ADD, s->lib.get_selectable_fd(rings[i]), &ev) != 0)
			return err_note(note, ERR_SYSTEM, "cannot wait for frames of %s: %s", s->name, strerror(errno));
	}
	return ERR_OK;
}

static void close_pcap(struct capture *c)
{
	struct state *s = c->state;
	if (!s)
		return;
	if (s->index > 0) { /* with the namespace it would go too, but some time later */
		int result = netlink_link_del(s->home, s->index);
		(void)result;
	}
	if (s->small)
		s->lib.close(s->small);
	if (s->large)
		s->lib.close(s->large);
	const int fds[] = { c->fd[0], s->inject, s->ask, s->far_ns };
	for (size_t i = 0; i < sizeof fds / sizeof fds[0]; i++)
		if (fds[i] >= 0)
			close(fds[i]);
	netlink_close(s->home);
	mem_free(s->batch);
	mem_free(s->held);
	mem_free(s->whole);
	mem_free(s);
	c->state = NULL;
}

/* weft-tap: weft-cap; else the name with something behind it. */
static enum err name_ends(struct state *s, const char *name, struct err_note *note)
{
	if (strlen(name) > NETLINK_NAME_MAX)
		return err_note(note, ERR_USAGE, "interface name '%s' is too long", name);
	(void)snprintf(s->name, sizeof s->name, "%s", name);
	(void)snprintf(s->far, sizeof s->far, "%s", name);
	char *tap = strstr(s->far, "tap");
	if (tap)
		memcpy(tap, "cap", 3);
	else
		(void)snprintf(s->far, sizeof s->far, "%.12s-f", name);
	return ERR_OK;
}

static enum err allocate(struct state *s)
{
	s->batch = mem_alloc((size_t)BATCH * SMALL_MAX);
	s->held = mem_alloc(LARGE_MAX);
	s->whole = s->plain ? mem_alloc(FRAME_MAX) : NULL;
	return s->batch && s->held && (s->whole || !s->plain) ? ERR_OK : ERR_NOMEM;
}

static enum err open_as(struct capture *c, const char *name, bool plain, struct err_note *note)
{
	struct state *s = mem_zalloc(1, sizeof *s);
	if (!s)
		return err_note(note, ERR_NOMEM, "out of memory");
	s->far_ns = s->ask = s->inject = c->fd[0] = -1;
	s->plain = plain;
	s->mtu = PORT_MTU;
	s->mtu_old = true;
	c->state = s;
	c->queues = 1;
	c->lacks = NULL;
	enum err e = pcap_lib_load(&s->lib, note);
	if (e == ERR_OK)
		e = name_ends(s, name, note);
	if (e == ERR_OK)
		e = netlink_open(&s->home, note);
	if (e == ERR_OK)
		e = remove_old(s, note);
	if (e == ERR_OK)
		e = furnish_far(c, note);
	if (e == ERR_OK && allocate(s) != ERR_OK)
		e = err_note(note, ERR_NOMEM, "out of memory");
	if (e == ERR_OK && (s->ask = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)) < 0)
		e = err_note(note, ERR_SYSTEM, "no socket: %s", strerror(errno));
	if (e == ERR_OK)
		e = wait_for_both(c, note);
	if (e != ERR_OK) {
		close_pcap(c);
		return e;
	}
	limit_superframes(s);
	c->tcp = !s->plain;
	c->udp = !s->plain && takes_uso(s);
	if (!switch_features_off(s))
		c->lacks = "segmentation of UDP cannot be switched off: superframes of UDP are dropped";
	else if (s->plain)
		c->lacks = "the kernel's packet sockets take no virtio headers: frames are injected one by one";
	else if (!c->udp)
		c->lacks = "the kernel takes no superframes of UDP (Linux 6.2 does)";
	return ERR_OK;
}

static enum err open_pcap(struct capture *c, const char *name, unsigned queues, struct err_note *note)
{
	(void)queues;
	return open_as(c, name, false, note);
}

enum err pcap_open_plain(struct capture *c, const char *name, struct err_note *note)
{
	return open_as(c, name, true, note);
}

const struct capture_ops capture_pcap = {
	.name = "pcap", .open = open_pcap, .read = read_frame, .write = write_frame, .close = close_pcap
};
