/* Writing captures in the pcapng format (draft-ietf-opsawg-pcapng), in network byte order, one section with one interface. */
#ifndef WEFT_ROUTER_PCAPNG_H
#define WEFT_ROUTER_PCAPNG_H

#include <stdint.h>

#include "base/buf.h"

enum { PCAPNG_TEXT_MAX = 1024 }; /* bytes of a text; longer ones are cut */

/* Section header and interface description: an Ethernet, timestamps in nanoseconds. Texts may be NULL. */
void pcapng_begin(struct wbuf *w, const char *application, const char *interface, const char *description, uint32_t snaplen);
/* An enhanced packet block. bytes: what was captured of a frame of `length` bytes; comment may be NULL. */
void pcapng_packet(struct wbuf *w, uint64_t time_ns, struct slice bytes, uint32_t length, const char *comment);
/* An interface statistics block; times in nanoseconds since 1970. */
struct pcapng_statistics {
	uint64_t start_ns, end_ns;
	uint64_t received, dropped, written; /* dropped: seen, and not kept for want of room */
};
void pcapng_end(struct wbuf *w, const struct pcapng_statistics *s);

#endif
