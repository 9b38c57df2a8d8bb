/* The address range against the routes this host has already: containers' traffic must not take the way of something else. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "router/options.h"

enum { ROUTES_MAX = 16 << 20, ROUTE_LINE_MAX = 256 };
#define ROUTES_FILE "/proc/net/route"
#define OUR_BRIDGE  "weft"

/* Of the default network, or "weft-N" of another. */
static bool is_our_bridge(const char *device)
{
	const size_t n = strlen(OUR_BRIDGE);

	if (strncmp(device, OUR_BRIDGE, n) != 0)
		return false;
	return device[n] == '\0' ||
		(device[n] == '-' && device[n + 1] != '\0' && device[n + 1 + strspn(device + n + 1, "0123456789")] == '\0');
}

struct route {
	char device[16];
	struct prefix to;
};

/* /proc/net/route prints addresses as the machine's own 32-bit numbers over network-order bytes, in hex. */
static struct ip ip_of(uint32_t raw)
{
	struct ip a = { .family = 4 };

	memcpy(a.b, &raw, 4);
	return a;
}

/* "eth0\t0063630A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t…". false: not a route that counts. */
static bool route_parse(const char *line, struct route *out)
{
	unsigned destination, gateway, flags, mask;

	/* NOLINTNEXTLINE(cert-err34-c): the kernel writes these numbers */
	if (sscanf(line, "%15s %8x %8x %x %*d %*d %*d %8x", out->device, &destination, &gateway, &flags, &mask) != 5)
		return false;
	uint32_t bits = ip_to_v4(ip_of(mask));
	out->to = (struct prefix){ .addr = ip_of(destination), .len = 0 };
	while (out->to.len < 32 && (bits & (UINT32_C(1) << (31 - out->to.len))) != 0)
		out->to.len++;
	return out->to.len > 0 && !is_our_bridge(out->device);
}

static bool overlapping(struct slice routes, struct prefix range, struct route *out)
{
	const char *at = (const char *)routes.p;
	char line[ROUTE_LINE_MAX];

	for (size_t left = routes.n; left > 0;) {
		const char *end = memchr(at, '\n', left);
		size_t n = end != NULL ? (size_t)(end - at) : left;
		size_t kept = n < sizeof(line) ? n : sizeof(line) - 1;
		memcpy(line, at, kept);
		line[kept] = '\0';
		if (route_parse(line, out) && prefix_overlaps(out->to, range))
			return true;
		n = end != NULL ? n + 1 : n;
		at += n;
		left -= n;
	}
	return false;
}

static const char *const candidates[] = { "10.32.0.0/12", "10.96.0.0/12", "172.16.0.0/13", "192.168.128.0/17" };

size_t options_auto_ranges(struct prefix *out, size_t max)
{
	size_t n = 0;

	for (size_t i = 0; i < sizeof(candidates) / sizeof(candidates[0]) && n < max; i++)
		n += prefix_parse(candidates[i], &out[n]) == ERR_OK;
	return n;
}

static enum err pick(struct options *o, struct slice routes, struct err_note *note)
{
	struct route route;

	if (o->range_stored.addr.family == 4 && !overlapping(routes, o->range_stored, &route)) {
		o->range = o->range_stored;
		return ERR_OK;
	}
	for (size_t i = 0; i < sizeof(candidates) / sizeof(candidates[0]); i++) {
		struct prefix p;
		enum err err = prefix_parse(candidates[i], &p);
		if (err == ERR_OK && !overlapping(routes, p, &route)) {
			o->range = p;
			return ERR_OK;
		}
	}
	return err_note(note, ERR_CONFLICT,
		"--ipalloc-range auto: routes of this host overlap each of 10.32.0.0/12, 10.96.0.0/12, 172.16.0.0/13 and 192.168.128.0/17; name "
		"a free range");
}

enum err options_settle_range_over(struct options *o, struct slice routes, struct err_note *note)
{
	struct route route;
	char range[PREFIX_TEXT], to[PREFIX_TEXT];

	if (!o->ipam)
		return ERR_OK;
	if (o->range_auto) {
		enum err err = pick(o, routes, note);
		return err == ERR_OK ? options_check(o, note) : err;
	}
	if (!overlapping(routes, o->range, &route))
		return ERR_OK;
	return err_note(note, ERR_CONFLICT,
		"the range %s overlaps this host's route %s by %s; choose another with --ipalloc-range (the same on all hosts), or --ipalloc-range auto",
		prefix_format(o->range, range), prefix_format(route.to, to), route.device);
}

static enum err read_routes(struct wbuf *text, struct err_note *note)
{
	char chunk[4096];
	ssize_t got = 1;
	int fd = open(ROUTES_FILE, O_RDONLY | O_CLOEXEC);

	wbuf_grow(text, ROUTES_MAX);
	if (fd < 0)
		return err_note(note, ERR_SYSTEM, "cannot read this host's routes from " ROUTES_FILE ": %s", strerror(errno));
	while (got > 0) {
		got = read(fd, chunk, sizeof(chunk));
		if (got > 0)
			wbuf_bytes(text, chunk, (size_t)got);
	}
	(void)close(fd);
	return wbuf_end(text) == ERR_OK ? ERR_OK : err_note(note, ERR_NOMEM, "out of memory reading this host's routes");
}

enum err options_settle_range(struct options *o, struct err_note *note)
{
	struct wbuf text;

	if (!o->ipam)
		return ERR_OK;
	enum err err = read_routes(&text, note);
	if (err == ERR_OK)
		err = options_settle_range_over(o, wbuf_slice(&text), note);
	wbuf_free(&text);
	return err;
}

bool options_range_free(struct prefix range)
{
	struct wbuf text;
	struct route route;
	struct err_note note;
	bool free = read_routes(&text, &note) == ERR_OK && !overlapping(wbuf_slice(&text), range, &route);

	wbuf_free(&text);
	return free;
}
