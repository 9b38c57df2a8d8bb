/* Frames of a container, or of a whole network, as a stream in pcapng: GET /capture.
 *
 * libpcap captures at the container's port of the bridge, or at the bridge itself, which then shows all that passes it. A comment on each frame says
 * between whom it goes. Everything runs in the control loop, some frames a turn. When the client is slower than the network, nothing is read
 * until half of the queue has gone out: libpcap's ring overflows meanwhile, and the kernel counts what is lost, which stands at the end of the
 * capture. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"
#include "gossip/gossip.h"
#include "router/api_request.h"
#include "router/api_stream.h"
#include "router/container.h"
#include "router/dataplane/netlink.h"
#include "router/dataplane/pcap_lib.h"
#include "router/internal.h"
#include "router/pcapng.h"

enum {
	CAPTURES_MAX = 4,
	SNAPLEN_MIN = 64,
	SNAPLEN_MAX = 262144, /* as tcpdump's: longer than any frame */
	COUNT_MAX = 1000000000,
	RING = 2 << 20,  /* libpcap's */
	QUEUE = 1 << 20, /* for the client */
	FRAMES_A_TURN = 64,
	LATE_MS = 50, /* frames are handed over so long after they passed, at most */
	BLOCK_MAX = SNAPLEN_MAX + 4096,
	NAME_MAX_BYTES = 256,
	SALTS = 4,
};
#define TYPE_PCAPNG "application/x-pcapng"

struct capturing {
	struct router *router;
	struct api_shared *shared;
	struct api_stream *stream; /* NULL: over */
	struct pcap_lib lib;
	pcap_t *pcap;
	uv_poll_t poll;
	uv_timer_t timer;
	int closing; /* handles that are */
	bool finished;
	char device[NETLINK_NAME_MAX + 1], network[CORE_NETWORK_MAX + 1];
	struct wbuf block;
	uint64_t left; /* frames to come; 0: as many as there are */
	struct pcapng_statistics stats;
	uint64_t refused; /* by the queue */
};

static uint64_t wall_ns(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_REALTIME, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* --- names ------------------------------------------------------------------------------------------------------------------------------ */

static const char *nickname_of(const struct core *core, uint64_t peer, struct peer_info *info, char text[PEER_TEXT])
{
	return gossip_peer(core_gossip(core), peer, info) && info->nickname[0] != '\0' ? info->nickname : peer_format(peer, text);
}

/* Whose bridge has this MAC. PEER_NONE: nobody's that we know. */
static uint64_t bridge_of(const struct core *core, struct mac mac)
{
	uint64_t name;

	for (uint64_t at = 0; gossip_next_peer(core_gossip(core), &at, &name);)
		if (mac_eq(link_peer_mac(name), mac))
			return name;
	return PEER_NONE;
}

/* "c1 (h1)"; "weft (h1)" for the bridge of a host. */
static void name_of(const struct capturing *k, struct mac mac, char out[NAME_MAX_BYTES])
{
	static const struct mac broadcast = { { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff } };
	const struct core *core = router_core(k->router);
	struct peer_info info;
	char peer[PEER_TEXT], text[MAC_TEXT];

	if (mac_is_group(mac)) {
		(void)snprintf(out, NAME_MAX_BYTES, "%s", mac_eq(mac, broadcast) ? "broadcast" : "multicast");
		return;
	}
	const struct core_endpoint *e = core_mac_holder(core, mac, k->network);
	uint64_t host = e != NULL ? e->peer : bridge_of(core, mac);
	if (host != PEER_NONE)
		(void)snprintf(
			out, NAME_MAX_BYTES, "%s (%s)", e != NULL ? e->ident : CORE_NETWORK_DEFAULT, nickname_of(core, host, &info, peer));
	else
		(void)snprintf(out, NAME_MAX_BYTES, "%s", mac_format(mac, text));
}

/* --- capturing -------------------------------------------------------------------------------------------------------------------------- */

static void finish(struct capturing *k)
{
	struct pcap_stat seen = { 0 };

	if (k->finished)
		return;
	k->finished = true;
	(void)uv_poll_stop(&k->poll);
	(void)uv_timer_stop(&k->timer);
	(void)k->lib.stats(k->pcap, &seen);
	k->stats.end_ns = wall_ns();
	k->stats.received = seen.ps_recv;
	k->stats.dropped = seen.ps_drop + k->refused;
	wbuf_reset(&k->block);
	pcapng_end(&k->block, &k->stats);
	struct slice last = wbuf_slice(&k->block);
	api_stream_end(k->stream, last.p, last.n);
}

static void on_frame(u_char *ctx, const struct pcap_pkthdr *h, const u_char *bytes)
{
	struct capturing *k = (struct capturing *)(void *)ctx;
	char from[NAME_MAX_BYTES], to[NAME_MAX_BYTES], comment[2 * NAME_MAX_BYTES + 4] = "";
	struct mac mac;

	if (h->caplen >= 14) {
		memcpy(mac.b, bytes + 6, 6);
		name_of(k, mac, from);
		memcpy(mac.b, bytes, 6);
		name_of(k, mac, to);
		(void)snprintf(comment, sizeof(comment), "%s > %s", from, to);
	}
	wbuf_reset(&k->block);
	pcapng_packet(
		&k->block, (uint64_t)h->ts.tv_sec * 1000000000u + (uint64_t)h->ts.tv_usec, slice_of(bytes, h->caplen), h->len, comment);
	struct slice block = wbuf_slice(&k->block);
	if (wbuf_end(&k->block) != ERR_OK || !api_stream_write(k->stream, block.p, block.n)) {
		k->refused++;
		(void)uv_poll_stop(&k->poll); /* until on_room */
		k->lib.breakloop(k->pcap);
		return;
	}
	k->stats.written++;
	if (k->left > 0 && --k->left == 0)
		finish(k);
}

/* false: that was all. */
static bool take_some(struct capturing *k)
{
	size_t most = k->left > 0 && k->left < FRAMES_A_TURN ? (size_t)k->left : FRAMES_A_TURN;

	if (k->lib.dispatch(k->pcap, (int)most, on_frame, (u_char *)k) == PCAP_ERROR)
		finish(k); /* the device is gone: the container was detached, or the network removed */
	return !k->finished;
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
	(void)status;
	(void)events;
	(void)take_some(poll->data);
}

static void on_room(void *ctx)
{
	struct capturing *k = ctx;

	if (!k->finished)
		(void)uv_poll_start(&k->poll, UV_READABLE, on_readable);
}

static void on_late(uv_timer_t *timer)
{
	struct capturing *k = timer->data;

	if (take_some(k))
		finish(k);
}

/* What has passed is still to be in it. */
static void on_leaving(void *ctx, bool now)
{
	struct capturing *k = ctx;

	if (now)
		finish(k);
	else
		(void)uv_timer_start(&k->timer, on_late, (uint64_t)LATE_MS * 2, 0);
}

static void on_closed(uv_handle_t *handle)
{
	struct capturing *k = handle->data;

	if (--k->closing > 0)
		return;
	k->lib.close(k->pcap);
	wbuf_free(&k->block);
	mem_free(k);
}

static void on_over(void *ctx)
{
	struct capturing *k = ctx;

	log_write(k->router->log, LOG_LEVEL_INFO, "the capture on %s has ended after %llu frames", k->device,
		(unsigned long long)k->stats.written);
	k->shared->captures--;
	k->finished = true;
	k->closing = 2;
	uv_close((uv_handle_t *)&k->poll, on_closed);
	uv_close((uv_handle_t *)&k->timer, on_closed);
}

/* --- the request ------------------------------------------------------------------------------------------------------------------------ */

/* The port of a container: the record on it says whose it is. */
static enum err find_port(const char *ident, char out[NETLINK_NAME_MAX + 1], struct err_note *note)
{
	struct netlink *nl;
	enum err err = netlink_open(&nl, note);

	if (err != ERR_OK)
		return err;
	err = err_note(note, ERR_NOT_FOUND, "the interface of %.128s is gone", ident);
	for (unsigned salt = 0; salt < SALTS && err != ERR_OK; salt++) {
		struct netlink_link l;
		struct container_record record;
		container_host_name(ident, salt, out);
		if (netlink_link_named(nl, out, &l) == 0 && container_record_parse(l.alias, &record) == ERR_OK &&
			strcmp(record.ident, ident) == 0)
			err = ERR_OK;
	}
	netlink_close(nl);
	return err;
}

/* Which device, of which network. */
static enum err choose(const struct api_request *q, struct capturing *k, struct err_note *note)
{
	const struct core *core = router_core(q->router);
	const char *container = api_param(q, "container", 0), *network = api_param(q, "network", 0);
	struct core_network net;

	if (container != NULL) {
		struct api_idents idents;
		const struct core_endpoint *e = NULL;
		api_idents(q->router, container, &idents);
		for (size_t i = 0; i < idents.n && e == NULL; i++) { /* on several networks: the one that is named, else the first */
			e = core_local(core, idents.v[i]);
			if (e != NULL && network != NULL && strcmp(network, e->network) != 0 && i + 1 < idents.n)
				e = NULL;
		}
		if (e == NULL)
			return err_note(note, ERR_NOT_FOUND, "%.128s is not attached here; 'weft ps' lists what is", container);
		if (network != NULL && strcmp(network, e->network) != 0)
			return err_note(note, ERR_CONFLICT, "%.100s is in the network %.64s", container, e->network);
		(void)snprintf(k->network, sizeof(k->network), "%s", e->network);
		return find_port(e->ident, k->device, note);
	}
	if (network == NULL)
		network = CORE_NETWORK_DEFAULT;
	if (!core_network(core, network, &net))
		return err_note(note, ERR_NOT_FOUND, "there is no network '%.64s'; 'weft network ls' lists them", network);
	(void)snprintf(k->network, sizeof(k->network), "%s", net.name);
	if (net.number == 0)
		(void)snprintf(k->device, sizeof(k->device), "weft");
	else
		(void)snprintf(k->device, sizeof(k->device), "weft-%u", net.number);
	return ERR_OK;
}

static enum err open_pcap(struct capturing *k, unsigned long snaplen, bool all, struct err_note *note)
{
	char words[PCAP_ERRBUF_SIZE] = "";
	enum err err = pcap_lib_load(&k->lib, note);

	if (err != ERR_OK)
		return err;
	k->pcap = k->lib.create(k->device, words);
	if (k->pcap == NULL)
		return err_note(note, ERR_SYSTEM, "cannot capture on %s: %.160s", k->device, words);
	(void)k->lib.set_snaplen(k->pcap, (int)snaplen);
	(void)k->lib.set_promisc(k->pcap, all); /* else a bridge shows only what is for the host itself */
	(void)k->lib.set_timeout(k->pcap, LATE_MS);
	(void)k->lib.set_buffer_size(k->pcap, RING);
	(void)k->lib.set_tstamp_precision(k->pcap, PCAP_TSTAMP_PRECISION_NANO);
	int result = k->lib.activate(k->pcap);
	if (result < 0)
		return err_note(note, result == PCAP_ERROR_NO_SUCH_DEVICE ? ERR_NOT_FOUND : ERR_SYSTEM,
			"cannot capture on %s: %s: %.120s", k->device, k->lib.statustostr(result), k->lib.geterr(k->pcap));
	if (k->lib.setnonblock(k->pcap, 1, words) != 0)
		return err_note(note, ERR_SYSTEM, "cannot capture on %s: %.160s", k->device, words);
	return ERR_OK;
}

static void begin(struct api_request *q, struct capturing *k, unsigned long snaplen)
{
	static const struct api_stream_ops ops = { on_room, on_leaving, on_over };
	const char *container = api_param(q, "container", 0);
	char about[CORE_IDENT_MAX + CORE_NETWORK_MAX + 40];

	if (container != NULL)
		(void)snprintf(about, sizeof(about), "container %s, network %s", container, k->network);
	else
		(void)snprintf(about, sizeof(about), "network %s", k->network);
	k->stream = api_stream_begin(q, TYPE_PCAPNG, QUEUE, &ops, k);
	if (k->stream == NULL)
		k->finished = true;
	pcapng_begin(&k->block, "weft " WEFT_VERSION, k->device, about, (uint32_t)snaplen);
	k->stats.start_ns = wall_ns();
	k->poll.data = k->timer.data = k;
	(void)uv_timer_init(k->router->loop, &k->timer);
	if (k->finished) {
		on_over(k);
		return;
	}
	struct slice head = wbuf_slice(&k->block);
	(void)api_stream_write(k->stream, head.p, head.n);
	(void)uv_poll_start(&k->poll, UV_READABLE, on_readable);
	log_write(k->router->log, LOG_LEVEL_INFO, "a client captures on %s (%s)", k->device, about);
}

void api_get_capture(struct api_request *q)
{
	struct api_shared *shared = api_shared(q->api);
	unsigned long snaplen = SNAPLEN_MAX, count = 0;
	struct err_note note = { "" };

	if (!api_asked_by_address(q) || !api_number(q, "snaplen", SNAPLEN_MIN, SNAPLEN_MAX, &snaplen) ||
		!api_number(q, "count", 1, COUNT_MAX, &count))
		return;
	if (shared->captures == CAPTURES_MAX) {
		api_answer_error(q, MHD_HTTP_CONFLICT, "four captures go on already; end one of them");
		return;
	}
	struct capturing *k = mem_zalloc(1, sizeof(*k));
	if (k == NULL) {
		api_answer_err(q, ERR_NOMEM, NULL);
		return;
	}
	k->router = q->router;
	k->shared = shared;
	k->left = count;
	wbuf_grow(&k->block, BLOCK_MAX);
	enum err err = choose(q, k, &note);
	if (err == ERR_OK)
		err = open_pcap(k, snaplen, api_param(q, "container", 0) == NULL, &note);
	if (err == ERR_OK && uv_poll_init(q->router->loop, &k->poll, k->lib.get_selectable_fd(k->pcap)) != 0)
		err = err_note(&note, ERR_SYSTEM, "the capture on %s cannot be driven from the event loop", k->device);
	if (err != ERR_OK) {
		if (k->pcap != NULL)
			k->lib.close(k->pcap);
		mem_free(k);
		api_answer_err(q, err, note.text);
		return;
	}
	shared->captures++;
	begin(q, k, snaplen);
}
