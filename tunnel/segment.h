/* Superframes: what a kernel hands over as one frame of up to 64 KiB is cut once into the frames a wire carries, and frames of one flow that
 * come in order are joined again. Checksums stay partial: they cover the pseudo header only, and no payload is ever summed unless there is no
 * other way (segment_complete). Pure; no allocation.
 *
 * The virtio-net header before a frame (virtio 1.2 section 5.1.6) is struct vnet here; its 10 bytes are in the host's order (legacy, as TAP and
 * packet sockets have it). */
#ifndef WEFT_TUNNEL_SEGMENT_H
#define WEFT_TUNNEL_SEGMENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "tunnel/fwd.h"

enum {
	VNET_BYTES = 10,
	VNET_NEEDS_CSUM = 1, /* flags */
	VNET_DATA_VALID = 2,
	VNET_GSO_NONE = 0, /* gso_type */
	VNET_GSO_TCPV4 = 1,
	VNET_GSO_UDP = 3, /* UFO: never offered, refused */
	VNET_GSO_TCPV6 = 4,
	VNET_GSO_UDP_L4 = 5,
	VNET_GSO_ECN = 0x80,
	FRAME_MAX = 65535 + 14 + 8, /* an IP packet behind an Ethernet header with two VLAN tags */
};
struct vnet {
	uint8_t flags, gso_type;
	uint16_t hdr_len, gso_size, csum_start, csum_offset;
};
void vnet_read(const uint8_t bytes[VNET_BYTES], struct vnet *v);
void vnet_write(uint8_t bytes[VNET_BYTES], const struct vnet *v);

/* Where things are in a frame; every length was checked against the frame's. */
struct layout {
	uint16_t l3, l4, payload; /* offsets from the destination MAC; l4, payload: 0 when not TCP or UDP, or a fragment of such */
	uint8_t family;           /* 4, 6; 0: not IP */
	uint8_t proto;            /* 6, 17: only then l4 is set; else 0 */
	bool fragment;            /* an IP fragment */
	bool df;                  /* IPv4: don't fragment; IPv6: true */
	uint32_t end;             /* where the IP packet ends: bytes behind are padding */
};
/* false: cut short or contradictory, or more than two VLAN tags. Not IP is no error. IPv6 extension headers are walked (at most 8). */
bool layout_of(struct slice frame, struct layout *out);

/* ---- cutting */
struct segment {
	struct slice frame; /* a whole frame; inside the superframe's own memory */
	bool partial;       /* its checksum is partial */
};
struct cut { /* open for embedding; only segment.c looks inside */
	uint8_t *frame;
	size_t n, at, header;
	struct vnet v;
	struct layout l;
	uint32_t size; /* payload bytes of a segment */
	uint32_t seq;
	uint16_t ip_id, segments;
	uint16_t ip_sum; /* of the template's IPv4 header without id */
	uint8_t tcp_flags;
	bool one, partial;
	uint8_t head[256]; /* template: header of a segment of `size` bytes in the middle */
};
/* Checks the frame against its virtio header and prepares the cutting. frame: n bytes that belong to the caller and will be written to:
 * each segment's header is laid down in front of its own payload, over payload that was given out before. max: the longest
 * frame (with Ethernet header) a segment may be; TCP is cut to it even where gso_size would allow more, UDP (USO) is not.
 * FWD_PASSED; FWD_BAD_OFFLOAD: the virtio header contradicts the frame (lengths, protocol, checksum offsets outside it);
 * FWD_MALFORMED: the frame itself; FWD_TOO_BIG: not to be cut, and longer than max: see frag.h and toobig.h; with max FRAME_MAX it may begin
 * again, and gives what is to be put into pieces. A frame without GSO is one segment. A checksum that is to be completed and is not the TCP's or
 * UDP's of the packet itself (of a tunnel's inner packet, SCTP's) is completed here. */
enum fwd_drop cut_begin(struct cut *c, const struct vnet *v, uint8_t *frame, size_t n, size_t max);
/* The next segment, in order; valid until the next call. false: that was all. */
bool cut_next(struct cut *c, struct segment *s);

/* Completes a partial checksum (by csum_start and csum_offset: for receivers that cannot, and protocols a flag cannot describe); SCTP's is a
 * CRC32c. Bytes behind the IP packet are not counted. false: offsets outside the frame. */
bool segment_complete(uint8_t *frame, size_t n, const struct vnet *v);
/* The virtio header for one received frame that is to be written as it is; partial as in struct segment. false: partial, but not TCP or UDP. */
bool segment_vnet(struct slice frame, bool partial, struct vnet *out);

/* ---- joining */
enum { JOIN_RUNS = 8, JOIN_PARTS = 64 };
/* A frame to be written: parts in order (the first begins with the destination MAC), of run->n_parts slices. */
struct joined {
	struct vnet v;
	uint16_t net;
	uint32_t tag;              /* of the frames joined: they had the same */
	const struct slice *parts; /* valid during the call, as all of this */
	size_t n_parts;
	size_t bytes, frames; /* all parts; frames joined */
};
typedef void (*join_emit)(void *ctx, const struct joined *j);
struct join_run {   /* internal */
	uint8_t *first; /* frame whose headers are adjusted */
	struct layout l;
	size_t n_parts, bytes;
	uint32_t next_seq, tag;
	uint16_t next_id, net;
	uint16_t size;  /* payload bytes of each but the last */
	uint8_t ending; /* FIN and PSH of the last */
	struct slice parts[JOIN_PARTS];
};
struct join {                  /* open for embedding; only join.c looks inside */
	size_t n;                  /* runs in use */
	uint8_t order[JOIN_RUNS];  /* their numbers, oldest first; then those of the others */
	uint32_t flows[JOIN_RUNS]; /* hash of a run's network, addresses, protocol and ports, by number */
	uint32_t pairs[JOIN_RUNS]; /* hash of its network and addresses */
	struct join_run runs[JOIN_RUNS];
	bool tcp, udp; /* what may be joined: what the device takes */
	join_emit emit;
	void *ctx;
};
void join_init(struct join *j, bool tcp, bool udp, join_emit emit, void *ctx);
/* Takes a frame (its memory must stay until join_flush; header bytes may be changed). Joined are, as a kernel's GRO would: TCP of one flow with the next
 * sequence number, same ACK, window, options, ECN and IP header but length, id and checksum (ids count up, or with DF stay the same), nothing but
 * ACK, PSH, FIN, ECE and CWR set, only partial checksums, equal sizes (a shorter one ends it, so do PSH and FIN; CWR begins one, and sets
 * VNET_GSO_ECN); UDP of one flow and equal size (a shorter one ends it). Everything else is emitted at once, after what the same flow had waiting (an
 * IP fragment: after what the same addresses had): the order within a flow never changes. Joined frames come out with partial checksum and gso fields
 * set. FWD_PASSED, or why the frame is not written: FWD_MALFORMED (contradicts itself; or partial, but no TCP or UDP). tag: compared, not looked at. */
enum fwd_drop join_add(struct join *j, uint8_t *frame, size_t n, bool partial, uint16_t net, uint32_t tag);
void join_flush(struct join *j); /* emits all that waits, oldest first */

#endif
