#include "router/dataplane/internal.h"

#include <errno.h>
#include <linux/filter.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include "router/dataplane/netlink.h"

#define SOCKET_BUFFER (4 << 20)

/* Since Linux 4.18 and 5.0; the headers built with may be older. */
#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif

/* ---- addresses */

void sockaddr_of(int family, struct hostport at, struct sockaddr_storage *out)
{
	*out = (struct sockaddr_storage){ .ss_family = AF_UNSPEC };
	if (family == AF_INET && at.ip.family != 6) {
		struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(at.port) };
		memcpy(&a.sin_addr, at.ip.b, 4);
		memcpy(out, &a, sizeof a);
	} else if (family == AF_INET6) {
		struct sockaddr_in6 a = { .sin6_family = AF_INET6, .sin6_port = htons(at.port) };
		if (at.ip.family == 4) {
			a.sin6_addr.s6_addr[10] = a.sin6_addr.s6_addr[11] = 0xff;
			memcpy(a.sin6_addr.s6_addr + 12, at.ip.b, 4);
		} else {
			memcpy(a.sin6_addr.s6_addr, at.ip.b, 16);
		}
		memcpy(out, &a, sizeof a);
	}
}

socklen_t sockaddr_size(const struct sockaddr_storage *a)
{
	return a->ss_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
}

struct hostport sockaddr_read(const struct sockaddr_storage *from)
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };
	struct hostport h = { 0 };
	if (from->ss_family == AF_INET) {
		struct sockaddr_in a;
		memcpy(&a, from, sizeof a);
		h.ip.family = 4;
		memcpy(h.ip.b, &a.sin_addr, 4);
		h.port = ntohs(a.sin_port);
	} else if (from->ss_family == AF_INET6) {
		struct sockaddr_in6 a;
		memcpy(&a, from, sizeof a);
		bool four = memcmp(a.sin6_addr.s6_addr, mapped, 12) == 0;
		h.ip.family = four ? 4 : 6;
		memcpy(h.ip.b, a.sin6_addr.s6_addr + (four ? 12 : 0), four ? 4 : 16);
		h.port = ntohs(a.sin6_port);
	}
	return h;
}

void segment_control(struct msghdr *msg, void *control, uint16_t size)
{
	struct cmsghdr c = { .cmsg_level = SOL_UDP, .cmsg_type = UDP_SEGMENT, .cmsg_len = CMSG_LEN(sizeof size) };
	memset(control, 0, SEGMENT_CONTROL);
	memcpy(control, &c, sizeof c);
	memcpy((uint8_t *)control + CMSG_LEN(0), &size, sizeof size);
	msg->msg_control = control;
	msg->msg_controllen = SEGMENT_CONTROL;
}

bool socket_try_again(int error, unsigned *tries)
{
	switch (error) {
	case EINTR: return true;
	case ECONNREFUSED: return (*tries)++ < 64; /* never a message's own; as many may come as there are peers */
	case EHOSTUNREACH:
	case ENETUNREACH:
	case EHOSTDOWN:
	case EMSGSIZE:
	case EPROTO:
	case EACCES:
	case ENOPROTOOPT:
	case EOPNOTSUPP: return (*tries)++ < 2;
	default: return false;
	}
}

/* ---- opening */

enum { SEND_WAIT_US = 200000 };

static void set_option(int sock, int level, int option, int value)
{
	(void)setsockopt(sock, level, option, &value, sizeof value); /* better with it, works without */
}

static enum err bind_error(struct hostport listen, int error, struct err_note *note)
{
	char text[HOSTPORT_TEXT] = "";
	if (listen.ip.family)
		hostport_format(listen, text);
	if (error == EADDRINUSE)
		return err_note(note, ERR_BUSY,
			"UDP port %u is in use; stop the program that has it (a second weftd?) or choose another with --port", listen.port);
	if (error == EADDRNOTAVAIL)
		return err_note(note, ERR_NOT_FOUND, "cannot listen on UDP %s: no such address on this host; check --host", text);
	return err_note(note, netlink_err_of(error), "cannot listen on UDP port %u: %s", listen.port, strerror(error));
}

static void set_options(int sock, int family)
{
	/* Nothing but the device's own MTU limits a datagram, and none is ever cut: sizes are found by probes, whatever ICMP says. */
	set_option(sock, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_PROBE);
	set_option(sock, IPPROTO_IP, IP_RECVERR, 1);
	if (family == AF_INET6) {
		set_option(sock, IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_PROBE);
		set_option(sock, IPPROTO_IPV6, IPV6_RECVERR, 1);
	}
	set_option(sock, SOL_SOCKET, SO_RCVBUF, SOCKET_BUFFER);
	set_option(sock, SOL_SOCKET, SO_RCVBUFFORCE, SOCKET_BUFFER);
	set_option(sock, SOL_SOCKET, SO_SNDBUF, SOCKET_BUFFER);
	set_option(sock, SOL_SOCKET, SO_SNDBUFFORCE, SOCKET_BUFFER);
	/* A device that stalls may cost frames, but must not hold the threads that are to be stopped. */
	const struct timeval longest = { .tv_usec = SEND_WAIT_US };
	(void)setsockopt(sock, SOL_SOCKET, SO_SNDTIMEO, &longest, sizeof longest);
	set_option(sock, SOL_UDP, UDP_GRO, 1);
}

/* One socket at u->sock[0] and the port, on both families where that is asked for and possible. */
static enum err open_first(struct userspace *u, struct err_note *note)
{
	const struct hostport listen = u->cfg.listen;
	struct sockaddr_storage at;
	u->family = listen.ip.family == 4 ? AF_INET : AF_INET6;
	int sock = socket(u->family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (sock < 0 && listen.ip.family == 0) {
		u->family = AF_INET;
		sock = socket(u->family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	}
	u->sock[0] = sock;
	if (sock < 0)
		return bind_error(listen, errno, note);
	if (u->family == AF_INET6)
		set_option(sock, IPPROTO_IPV6, IPV6_V6ONLY, listen.ip.family == 6);
	sockaddr_of(u->family, listen, &at);
	socklen_t len = sockaddr_size(&at);
	/* Without SO_REUSEPORT: a second daemon of the same user is to fail here. It is set afterwards, for the other queues. */
	if (bind(sock, (const struct sockaddr *)&at, len) != 0 ||
		(len = sizeof at, getsockname(sock, (struct sockaddr *)&at, &len)) != 0)
		return bind_error(listen, errno, note);
	u->port = sockaddr_read(&at).port;
	set_options(sock, u->family);
	return ERR_OK;
}

/* ---- several queues
 *
 * All of a host's datagrams to another have the same addresses and ports, so what spreads them over our sockets is this program: sealed ones by
 * the queue of the sender that is in their header (its kernel put each flow into one), clear ones by the addresses and ports inside.
 * Pieces of frames and all that is not a frame go to the first queue. An address outside the datagram ends the program with 0. */

enum { AT_FRAME = WIRE_HEAD, AT_ETHERTYPE = WIRE_HEAD + 12, AT_IP = WIRE_HEAD + 14 };

static void steer(int sock, uint32_t queues)
{
	enum { NEXT = 4, CLEAR = 7, IP6 = 20, NO_PORTS = 28, SUM = 29, END = 33, FIRST = 35, N = 36 };
#define TO(label, at) (uint8_t)((label) - (at)-1)
	struct sock_filter code[N] = {
		[0] = BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 0),
		[1] = BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, WIRE_VERSION << 4 | WIRE_SEALED, 0, TO(NEXT, 1)),
		[2] = BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 8),
		[3] = BPF_JUMP(BPF_JMP | BPF_JA, END - 3 - 1, 0, 0),
		[4] = BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, WIRE_VERSION << 4 | WIRE_RELAYED, 0, TO(CLEAR, 4)),
		[5] = BPF_STMT(BPF_LD | BPF_B | BPF_ABS, WIRE_HEAD + 8),
		[6] = BPF_JUMP(BPF_JMP | BPF_JA, END - 6 - 1, 0, 0),
		[7] = BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 1),
		[8] = BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, WIRE_FRAGMENT | WIRE_CONTROL, TO(FIRST, 8), 0),
		[9] = BPF_STMT(BPF_LD | BPF_H | BPF_ABS, AT_ETHERTYPE),
		[10] = BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0x0800, 0, TO(IP6, 10)),
		/* X = addresses; then A = ports, unless it is a fragment, has options, or another protocol. */
		[11] = BPF_STMT(BPF_LD | BPF_W | BPF_ABS, AT_IP + 12),
		[12] = BPF_STMT(BPF_MISC | BPF_TAX, 0),
		[13] = BPF_STMT(BPF_LD | BPF_W | BPF_ABS, AT_IP + 16),
		[14] = BPF_STMT(BPF_ALU | BPF_ADD | BPF_X, 0),
		[15] = BPF_STMT(BPF_MISC | BPF_TAX, 0),
		[16] = BPF_STMT(BPF_LD | BPF_H | BPF_ABS, AT_IP + 6),
		[17] = BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, 0x3fff, TO(NO_PORTS, 17), 0),
		[18] = BPF_STMT(BPF_LD | BPF_W | BPF_ABS, AT_IP + 20),
		[19] = BPF_JUMP(BPF_JMP | BPF_JA, SUM - 19 - 1, 0, 0),
		[20] = BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0x86dd, 0, TO(FIRST, 20)),
		[21] = BPF_STMT(BPF_LD | BPF_W | BPF_ABS, AT_IP + 20),
		[22] = BPF_STMT(BPF_MISC | BPF_TAX, 0),
		[23] = BPF_STMT(BPF_LD | BPF_W | BPF_ABS, AT_IP + 36),
		[24] = BPF_STMT(BPF_ALU | BPF_ADD | BPF_X, 0),
		[25] = BPF_STMT(BPF_MISC | BPF_TAX, 0),
		[26] = BPF_STMT(BPF_LD | BPF_W | BPF_ABS, AT_IP + 40),
		[27] = BPF_JUMP(BPF_JMP | BPF_JA, SUM - 27 - 1, 0, 0),
		[28] = BPF_STMT(BPF_LD | BPF_IMM, 0),
		[29] = BPF_STMT(BPF_ALU | BPF_ADD | BPF_X, 0),
		/* Take the upper bits into the lower: a remainder of a power of two sees only those. */
		[30] = BPF_STMT(BPF_MISC | BPF_TAX, 0),
		[31] = BPF_STMT(BPF_ALU | BPF_MUL | BPF_K, 0x9e3779b1),
		[32] = BPF_STMT(BPF_ALU | BPF_RSH | BPF_K, 16),
		[33] = BPF_STMT(BPF_ALU | BPF_MOD | BPF_K, queues),
		[34] = BPF_STMT(BPF_RET | BPF_A, 0),
		[35] = BPF_STMT(BPF_RET | BPF_K, 0),
	};
#undef TO
	const struct sock_fprog program = { .len = N, .filter = code };
	(void)setsockopt(sock, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, &program, sizeof program); /* else by a hash, mostly one queue */
}

enum err sockets_open(struct userspace *u, struct err_note *note)
{
	for (unsigned q = 0; q < QUEUES_MAX; q++)
		u->sock[q] = -1;
	enum err e = open_first(u, note);
	if (e != ERR_OK || u->queues == 1)
		return e;
	struct sockaddr_storage at;
	socklen_t len = sizeof at;
	if (getsockname(u->sock[0], (struct sockaddr *)&at, &len) != 0)
		return bind_error(u->cfg.listen, errno, note);
	set_option(u->sock[0], SOL_SOCKET, SO_REUSEPORT, 1);
	for (unsigned q = 1; q < u->queues; q++) {
		int sock = u->sock[q] = socket(u->family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
		if (sock < 0)
			return bind_error(u->cfg.listen, errno, note);
		if (u->family == AF_INET6)
			set_option(sock, IPPROTO_IPV6, IPV6_V6ONLY, u->cfg.listen.ip.family == 6);
		set_option(sock, SOL_SOCKET, SO_REUSEPORT, 1);
		if (bind(sock, (const struct sockaddr *)&at, len) != 0)
			return bind_error(u->cfg.listen, errno, note);
		set_options(sock, u->family);
	}
	steer(u->sock[0], u->queues);
	return ERR_OK;
}

void sockets_close(struct userspace *u)
{
	for (unsigned q = 0; q < u->queues; q++)
		if (u->sock[q] >= 0)
			close(u->sock[q]);
}
