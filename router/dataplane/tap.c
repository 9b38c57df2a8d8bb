/* TAP behind capture.h. One descriptor a queue; the kernel keeps each flow to one queue, so that frames of a flow stay in order. */
#include "router/dataplane/capture.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* Since Linux 6.2; the headers built with may be older. */
#ifndef TUN_F_USO4
#define TUN_F_USO4 0x20
#define TUN_F_USO6 0x40
#endif

static enum err node_error(int error, struct err_note *note)
{
	if (error == ENOENT || error == ENODEV || error == ENXIO)
		return err_note(note, ERR_UNSUPPORTED,
			"there is no /dev/net/tun: the kernel has no tun module or the container weftd runs in lacks the "
			"device; load it (modprobe tun) or pass the device in");
	if (error == EACCES || error == EPERM)
		return err_note(note, ERR_PERMISSION, "no permission to open /dev/net/tun; run weftd as root or from its systemd unit");
	return err_note(note, ERR_SYSTEM, "cannot open /dev/net/tun: %s", strerror(error));
}

static enum err attach_error(const char *name, int error, struct err_note *note)
{
	if (error == EBUSY)
		return err_note(note, ERR_BUSY,
			"the TAP device %s is in use by another process; is a second weftd running in this network namespace?", name);
	if (error == EPERM || error == EACCES)
		return err_note(note, ERR_PERMISSION, "no permission to make the TAP device %s; weftd needs CAP_NET_ADMIN", name);
	if (error == EINVAL || error == EEXIST)
		return err_note(
			note, ERR_CONFLICT, "the interface %s is there but is no TAP device; remove it: ip link del %s", name, name);
	return err_note(note, ERR_SYSTEM, "cannot make the TAP device %s: %s", name, strerror(error));
}

/* One more queue of the device. A device of one queue is made without IFF_MULTI_QUEUE, which would cost a lookup per frame. */
static enum err open_queue(struct capture *c, const char *name, unsigned q, struct err_note *note)
{
	const int f = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
	if (f < 0)
		return node_error(errno, note);
	c->fd[q] = f;
	struct ifreq want = { 0 };
	(void)snprintf(want.ifr_name, sizeof(want.ifr_name), "%s", name);
	want.ifr_flags = (short)(IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | (c->queues > 1 ? IFF_MULTI_QUEUE : 0));
	if (ioctl(f, TUNSETIFF, &want) != 0)
		return attach_error(name, errno, note);
	const int size = VNET_BYTES;
	if (ioctl(f, TUNSETVNETHDRSZ, &size) != 0)
		return err_note(note, ERR_SYSTEM, "cannot set the header size of %s: %s", name, strerror(errno));
	return ERR_OK;
}

/* What the device may hand over and take: all of it, or as much as this kernel knows. */
static void set_offloads(struct capture *c)
{
	const unsigned tcp = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN;
	c->tcp = c->udp = true;
	if (ioctl(c->fd[0], TUNSETOFFLOAD, tcp | TUN_F_USO4 | TUN_F_USO6) == 0)
		return;
	c->udp = false;
	c->lacks = "UDP superframes (USO, Linux 6.2)";
	if (ioctl(c->fd[0], TUNSETOFFLOAD, tcp) == 0)
		return;
	c->tcp = false;
	c->lacks = "superframes (TUNSETOFFLOAD)";
	(void)ioctl(c->fd[0], TUNSETOFFLOAD, 0u);
}

static void tap_close(struct capture *c)
{
	for (unsigned q = 0; q < c->queues; q++)
		if (c->fd[q] >= 0)
			close(c->fd[q]);
}

static enum err tap_open(struct capture *c, const char *name, unsigned queues, struct err_note *note)
{
	if (strlen(name) >= IFNAMSIZ)
		return err_note(note, ERR_USAGE, "interface name '%s' is too long", name);
	c->queues = queues;
	for (unsigned q = 0; q < queues; q++)
		c->fd[q] = -1;
	for (unsigned q = 0; q < queues; q++) {
		enum err e = open_queue(c, name, q, note);
		if (e != ERR_OK) {
			tap_close(c);
			return e;
		}
	}
	set_offloads(c);
	return ERR_OK;
}

static ssize_t tap_read(struct capture *c, unsigned queue, struct vnet *v, uint8_t *frame, size_t size)
{
	uint8_t head[VNET_BYTES];
	const struct iovec part[] = { { head, sizeof head }, { frame, size } };
	for (;;) {
		const ssize_t n = readv(c->fd[queue], part, 2);
		if (n >= VNET_BYTES) {
			vnet_read(head, v);
			return n - VNET_BYTES;
		}
		if (n >= 0 || errno == EAGAIN)
			return 0;
		if (errno != EINTR)
			return -1;
	}
}

static bool tap_write(struct capture *c, unsigned queue, const struct vnet *v, const struct iovec *parts, size_t n)
{
	enum { PARTS = JOIN_PARTS + 1 };
	uint8_t head[VNET_BYTES];
	struct iovec all[PARTS];
	if (n >= PARTS)
		return false;
	vnet_write(head, v);
	all[0] = (struct iovec){ head, sizeof head };
	memcpy(all + 1, parts, n * sizeof *parts);
	ssize_t written;
	do
		written = writev(c->fd[queue], all, (int)n + 1);
	while (written < 0 && errno == EINTR);
	return written > 0;
}

const struct capture_ops capture_tap = {
	.name = "tap", .open = tap_open, .read = tap_read, .write = tap_write, .close = tap_close
};
