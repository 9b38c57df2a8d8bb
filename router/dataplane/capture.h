/* Where the userspace path takes frames from the bridge and puts them back: one interface, two back ends behind it.
 *
 *   tap    a TAP device with virtio headers and as many queues as the path has threads: superframes cross it whole
 *   pcap   a veth pair, one end in the bridge: libpcap captures the other end's frames (superframes whole, lengths say where to cut), a packet
 *          socket with virtio headers injects them; plain pcap_inject, frame by frame, where that cannot be had
 *
 * The device lives as long as the capture and is made in the calling thread's namespace, without uplink settings: see link_tap. capture_read and capture_write of one
 * queue are one thread's each; different queues and the two directions may run at the same time. */
#ifndef WEFT_DATAPLANE_CAPTURE_H
#define WEFT_DATAPLANE_CAPTURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/err.h"
#include "tunnel/segment.h"

enum { CAPTURE_QUEUES_MAX = 16 };
enum capture_kind { CAPTURE_AUTO, CAPTURE_TAP, CAPTURE_PCAP }; /* auto: TAP, where that cannot be had pcap */

struct capture;
struct capture_ops {
	const char *name; /* "tap", "pcap" */
	/* Makes the device `name` (a bridge will take it) with that many queues (pcap: always one). What the kernel lacks of offloads is done without and said in
	 * *lacks (static text, NULL: nothing). ERR_UNSUPPORTED: not to be had here, the note says what is missing. */
	enum err (*open)(struct capture *c, const char *name, unsigned queues, struct err_note *note);
	/* One frame: *v and up to `size` bytes (FRAME_MAX fits all). Its length; 0: none waits; -1: the device is gone. Does not block. */
	ssize_t (*read)(struct capture *c, unsigned queue, struct vnet *v, uint8_t *frame, size_t size);
	/* false: the kernel refused it. */
	bool (*write)(struct capture *c, unsigned queue, const struct vnet *v, const struct iovec *parts, size_t n);
	void (*close)(struct capture *c);
};
struct capture {
	const struct capture_ops *ops;
	unsigned queues;
	int fd[CAPTURE_QUEUES_MAX]; /* to wait for readability */
	bool tcp, udp;              /* superframes of these may be written */
	const char *lacks;
	void *state; /* the back end's */
};
/* wanted: see the enum. *out is to be closed by capture_close. */
enum err capture_open(
	enum capture_kind wanted, const char *name, unsigned queues, struct capture **out, struct err_note *note) MUST_CHECK;
void capture_close(struct capture *c); /* takes NULL */

extern const struct capture_ops capture_tap, capture_pcap;

#endif
