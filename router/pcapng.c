#include "router/pcapng.h"

#include <string.h>

enum {
	BLOCK_SECTION = 0x0a0d0d0a,
	BLOCK_INTERFACE = 1,
	BLOCK_STATISTICS = 5,
	BLOCK_PACKET = 6,
	MAGIC = 0x1a2b3c4d, /* of the byte order */
	LINKTYPE_ETHERNET = 1,
	RESOLUTION_NS = 9,
	/* options */
	OPT_END = 0,
	OPT_COMMENT = 1,
	SECTION_APPLICATION = 4,
	INTERFACE_NAME = 2,
	INTERFACE_DESCRIPTION = 3,
	INTERFACE_RESOLUTION = 9,
	STATISTICS_START = 2,
	STATISTICS_END = 3,
	STATISTICS_RECEIVED = 4,
	STATISTICS_DROPPED = 5,
	STATISTICS_WRITTEN = 8,
};

static void pad(struct wbuf *w, size_t n)
{
	wbuf_bytes(w, "\0\0\0", -n & 3);
}

/* A block is its type, its length, its body, and its length again. Gives where it begins. */
static size_t block(struct wbuf *w, uint32_t type)
{
	size_t at = w->len;

	wbuf_u32(w, type);
	wbuf_u32(w, 0);
	return at;
}

static void block_end(struct wbuf *w, size_t at)
{
	uint32_t n = (uint32_t)(w->len - at + 4);

	wbuf_u32(w, n);
	if (!w->failed)
		wbuf_patch_u32(w, at + 4, n);
}

static void option(struct wbuf *w, uint16_t code, const void *value, size_t n)
{
	wbuf_u16(w, code);
	wbuf_u16(w, (uint16_t)n);
	wbuf_bytes(w, value, n);
	pad(w, n);
}

static void option_text(struct wbuf *w, uint16_t code, const char *text)
{
	if (text != NULL && text[0] != '\0')
		option(w, code, text, strnlen(text, PCAPNG_TEXT_MAX));
}

/* Two halves, the upper first, in either byte order. */
static void option_u64(struct wbuf *w, uint16_t code, uint64_t v)
{
	wbuf_u16(w, code);
	wbuf_u16(w, 8);
	wbuf_u64(w, v);
}

static void options_end(struct wbuf *w)
{
	option(w, OPT_END, "", 0);
}

void pcapng_begin(struct wbuf *w, const char *application, const char *interface, const char *description, uint32_t snaplen)
{
	const uint8_t resolution = RESOLUTION_NS;
	size_t at = block(w, BLOCK_SECTION);

	wbuf_u32(w, MAGIC);
	wbuf_u16(w, 1); /* version 1.0 */
	wbuf_u16(w, 0);
	wbuf_u64(w, UINT64_MAX); /* the section's length: not known */
	option_text(w, SECTION_APPLICATION, application);
	options_end(w);
	block_end(w, at);

	at = block(w, BLOCK_INTERFACE);
	wbuf_u16(w, LINKTYPE_ETHERNET);
	wbuf_u16(w, 0);
	wbuf_u32(w, snaplen);
	option_text(w, INTERFACE_NAME, interface);
	option_text(w, INTERFACE_DESCRIPTION, description);
	option(w, INTERFACE_RESOLUTION, &resolution, 1);
	options_end(w);
	block_end(w, at);
}

void pcapng_packet(struct wbuf *w, uint64_t time_ns, struct slice bytes, uint32_t length, const char *comment)
{
	size_t at = block(w, BLOCK_PACKET);

	wbuf_u32(w, 0); /* the interface */
	wbuf_u64(w, time_ns);
	wbuf_u32(w, (uint32_t)bytes.n);
	wbuf_u32(w, length);
	wbuf_bytes(w, bytes.p, bytes.n);
	pad(w, bytes.n);
	if (comment != NULL && comment[0] != '\0') {
		option_text(w, OPT_COMMENT, comment);
		options_end(w);
	}
	block_end(w, at);
}

void pcapng_end(struct wbuf *w, const struct pcapng_statistics *s)
{
	size_t at = block(w, BLOCK_STATISTICS);

	wbuf_u32(w, 0); /* the interface */
	wbuf_u64(w, s->end_ns);
	option_u64(w, STATISTICS_START, s->start_ns);
	option_u64(w, STATISTICS_END, s->end_ns);
	option_u64(w, STATISTICS_RECEIVED, s->received);
	option_u64(w, STATISTICS_DROPPED, s->dropped);
	option_u64(w, STATISTICS_WRITTEN, s->written);
	options_end(w);
	block_end(w, at);
}
