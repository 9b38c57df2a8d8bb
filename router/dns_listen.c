/* Who has the same address on several interfaces has one socket for all, and one bound to each interface whose answers would go astray else. The kernel gives a query
 * to the bound one. Binding both needs SO_REUSEPORT on both; but with it from the start a second program of the same user would share our
 * queries instead of being told that the address is taken. So the socket for all is bound without, and gets it afterwards. */
#include "router/dns_listen.h"

#include <errno.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	BACKLOG = 64,
	UDP_QUEUE = 1 << 20, /* octets as the kernel reckons: 768 for a common query, so some 1,300 */
};

struct hostport dns_from_sockaddr(const struct sockaddr *a)
{
	struct hostport h = { 0 };
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
	if (a->sa_family == AF_INET) {
		memcpy(&v4, a, sizeof(v4));
		h.ip.family = 4;
		memcpy(h.ip.b, &v4.sin_addr, 4);
		h.port = ntohs(v4.sin_port);
	} else if (a->sa_family == AF_INET6) {
		memcpy(&v6, a, sizeof(v6));
		h.ip.family = 6;
		memcpy(h.ip.b, &v6.sin6_addr, 16);
		h.port = ntohs(v6.sin6_port);
	}
	return h;
}

void dns_to_sockaddr(struct hostport h, struct sockaddr_storage *out)
{
	memset(out, 0, sizeof(*out));
	if (h.ip.family == 4) {
		struct sockaddr_in v4 = { .sin_family = AF_INET, .sin_port = htons(h.port) };
		memcpy(&v4.sin_addr, h.ip.b, 4);
		memcpy(out, &v4, sizeof(v4));
	} else {
		struct sockaddr_in6 v6 = { .sin6_family = AF_INET6, .sin6_port = htons(h.port) };
		memcpy(&v6.sin6_addr, h.ip.b, 16);
		memcpy(out, &v6, sizeof(v6));
	}
}

static enum err listen_error(int status, const char *proto, struct hostport at, const char *ifname, struct err_note *note)
{
	char text[HOSTPORT_TEXT];
	const char *on = ifname != NULL ? " on " : "", *dev = ifname != NULL ? ifname : "";
	hostport_format(at, text);
	switch (status) {
	case UV_EADDRINUSE:
		return err_note(note, ERR_BUSY,
			"cannot listen for DNS at %s%s%s (%s): another program does already; stop it, or use --dns-listen-address or --no-dns",
			text, on, dev, proto);
	case UV_EACCES:
	case UV_EPERM:
		return err_note(note, ERR_PERMISSION,
			"cannot listen for DNS at %s%s%s (%s): no permission; run as root or with CAP_NET_BIND_SERVICE, or use a port above 1023",
			text, on, dev, proto);
	case UV_EADDRNOTAVAIL:
		return err_note(note, ERR_NOT_FOUND,
			"cannot listen for DNS at %s%s%s (%s): this host has no such address; give one it has with --dns-listen-address",
			text, on, dev, proto);
	case UV_ENODEV:
		return err_note(
			note, ERR_NOT_FOUND, "cannot listen for DNS at %s%s%s (%s): there is no such interface", text, on, dev, proto);
	default:
		return err_note(note, ERR_SYSTEM, "cannot listen for DNS at %s%s%s (%s): %s", text, on, dev, proto, uv_strerror(status));
	}
}

static bool switch_on(int fd, int level, int option)
{
	int on = 1;
	return setsockopt(fd, level, option, &on, sizeof(on)) == 0;
}

/* For a host's containers that all start at once. The kernel's default of 208 KiB does as well, for fewer of them. */
static void queue_more(int fd)
{
	const int size = UDP_QUEUE;
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size));
}

/* A bound socket; minus an errno. */
static int open_socket(int type, struct hostport at, const char *ifname)
{
	struct sockaddr_storage addr;
	bool v6 = at.ip.family == 6;
	int fd = socket(v6 ? AF_INET6 : AF_INET, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	dns_to_sockaddr(at, &addr);
	/* What is left of connections that are over does not keep a new daemon from listening. */
	bool ok = type != SOCK_STREAM || switch_on(fd, SOL_SOCKET, SO_REUSEADDR);
	if (type == SOCK_DGRAM)
		queue_more(fd);
	ok = ok && (!v6 || switch_on(fd, IPPROTO_IPV6, IPV6_V6ONLY));
	if (ifname != NULL)
		ok = ok && switch_on(fd, SOL_SOCKET, SO_REUSEPORT) &&
			setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, ifname, (socklen_t)strlen(ifname)) == 0;
	const struct sockaddr *generic = (const struct sockaddr *)&addr;
	if (ok && bind(fd, generic, v6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in)) == 0)
		return fd;
	int error = errno;
	close(fd);
	return -error;
}

/* From now on, besides one for all. */
static int let_others_in(uv_handle_t *handle)
{
	uv_os_fd_t fd;
	int status = uv_fileno(handle, &fd);
	if (status != 0)
		return status;
	return switch_on(fd, SOL_SOCKET, SO_REUSEPORT) ? 0 : -errno;
}

enum err dns_listen_udp(uv_udp_t *udp, struct hostport at, const char *ifname, struct err_note *note)
{
	int fd = open_socket(SOCK_DGRAM, at, ifname);
	int status = fd < 0 ? fd : uv_udp_open(udp, fd);
	if (fd >= 0 && status != 0)
		close(fd);
	if (status == 0 && ifname == NULL)
		status = let_others_in((uv_handle_t *)udp);
	return status == 0 ? ERR_OK : listen_error(status, "UDP", at, ifname, note);
}

uint64_t dns_listen_unread(const uv_udp_t *udp)
{
	uint32_t info[SK_MEMINFO_VARS] = { 0 };
	socklen_t size = sizeof(info);
	uv_os_fd_t fd;
	if (uv_fileno((const uv_handle_t *)udp, &fd) != 0 || getsockopt(fd, SOL_SOCKET, SO_MEMINFO, info, &size) != 0)
		return 0;
	return info[SK_MEMINFO_DROPS];
}

enum err dns_listen_tcp(
	uv_tcp_t *tcp, struct hostport at, const char *ifname, uv_connection_cb on_connection, struct err_note *note)
{
	int fd = open_socket(SOCK_STREAM, at, ifname);
	int status = fd < 0 ? fd : uv_tcp_open(tcp, fd);
	if (fd >= 0 && status != 0)
		close(fd);
	if (status == 0)
		status = uv_listen((uv_stream_t *)tcp, BACKLOG, on_connection);
	if (status == 0 && ifname == NULL)
		status = let_others_in((uv_handle_t *)tcp);
	return status == 0 ? ERR_OK : listen_error(status, "TCP", at, ifname, note);
}
