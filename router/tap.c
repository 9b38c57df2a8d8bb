#include "router/tap.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

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

enum err tap_open(const char *name, int *fd, struct err_note *note)
{
	int f = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
	if (f < 0)
		return node_error(errno, note);
	struct ifreq want = { 0 };
	if (strlen(name) >= sizeof want.ifr_name) {
		close(f);
		return err_note(note, ERR_USAGE, "interface name '%s' is too long", name);
	}
	(void)snprintf(want.ifr_name, sizeof(want.ifr_name), "%s", name);
	/* Superframes (IFF_VNET_HDR, then TUNSETVNETHDRSZ and TUNSETOFFLOAD) would be asked for here. Without them the kernel cuts segments and
	 * completes checksums before a frame can be read. */
	want.ifr_flags = IFF_TAP | IFF_NO_PI;
	if (ioctl(f, TUNSETIFF, &want) != 0) {
		enum err e = attach_error(name, errno, note);
		close(f);
		return e;
	}
	*fd = f;
	return ERR_OK;
}
