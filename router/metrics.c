/* A family is HELP and TYPE once, then its samples: family() begins one, the sample functions add to it. docs/howto/add-a-metric.md. */
#include "router/metrics.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "tunnel/fwd.h"
#include "router/dns_server.h"
#include "router/docker/containers.h"
#include "router/dataplane/nft.h"
#include "router/dataplane/userspace.h"
#include "router/plane.h"

enum { LABELS_MAX = 512, SAMPLE_MAX = 768 };

struct prom {
	struct wbuf *w;
	const char *name; /* of the family */
	const struct router *r;
	const struct core *core;
};

static PRINTF_LIKE(2, 3) void print(struct prom *p, const char *fmt, ...)
{
	char out[SAMPLE_MAX];
	va_list args;

	va_start(args, fmt);
	int n = vsnprintf(out, sizeof(out), fmt, args);
	va_end(args);
	if (n > 0 && (size_t)n < sizeof(out)) /* half a sample is none */
		wbuf_bytes(p->w, out, (size_t)n);
}

static void family(struct prom *p, const char *name, const char *type, const char *help)
{
	p->name = name;
	print(p, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

const char *metrics_escape(const char *value, char *out, size_t size)
{
	size_t n = 0;

	for (; *value != '\0' && n + 3 < size; value++) {
		unsigned char c = (unsigned char)*value;
		if (c == '\\' || c == '"')
			out[n++] = '\\';
		if (c == '\n') {
			out[n++] = '\\';
			out[n++] = 'n';
		} else if (c < 0x20 || c >= 0x7f) {
			out[n++] = '?'; /* labels are UTF-8, and what comes from others need not be */
		} else {
			out[n++] = (char)c;
		}
	}
	out[n] = '\0';
	return out;
}

/* labels: a, "b" pairs without braces, already escaped; "" for none. */
static void count(struct prom *p, const char *labels, uint64_t value)
{
	if (labels[0] != '\0')
		print(p, "%s{%s} %" PRIu64 "\n", p->name, labels, value);
	else
		print(p, "%s %" PRIu64 "\n", p->name, value);
}

static void real(struct prom *p, double value)
{
	print(p, "%s %.17g\n", p->name, value);
}

static PRINTF_LIKE(3, 4) void labelled(struct prom *p, uint64_t value, const char *fmt, ...)
{
	char labels[LABELS_MAX];
	va_list args;

	va_start(args, fmt);
	(void)vsnprintf(labels, sizeof(labels), fmt, args);
	va_end(args);
	count(p, labels, value);
}

static void single(struct prom *p, const char *name, const char *type, const char *help, uint64_t value)
{
	family(p, name, type, help);
	count(p, "", value);
}

/* --- mesh ---------------------------------------------------------------------------------------------------------------------------- */

enum { LINK_STATES = LINK_FAILED + 1, PATHS = PATH_RELAY + 1 };

static void connections(struct prom *p)
{
	uint64_t n[LINK_STATES][PATHS][2] = { 0 };
	struct link_view l;
	struct path_view v;

	for (size_t at = 0; gossip_next_link(core_gossip(p->core), &at, &l);) {
		bool there = l.state == LINK_ESTABLISHED && l.peer != PEER_NONE && core_path(p->core, l.peer, &v);
		n[l.state][there ? v.path : PATH_NONE][there && v.encrypted]++;
	}
	family(p, "weft_connections", "gauge", "Links to other hosts by state, data path, and whether data is encrypted.");
	for (int s = 0; s < LINK_STATES; s++)
		for (int path = 0; path < PATHS; path++)
			for (int e = 0; e < 2; e++)
				if (n[s][path][e] > 0 || (s == LINK_ESTABLISHED && path != PATH_NONE))
					labelled(p, n[s][path][e], "state=\"%s\",path=\"%s\",encryption=\"%s\"", link_state_name((enum link_state)s),
						path_name((enum path)path), e ? "yes" : "");
}

static const struct {
	uint8_t id;
	const char *name;
} channels[] = { { CHANNEL_PEERS, "peers" }, { CHANNEL_RING, "ring" }, { CHANNEL_PAXOS, "paxos" }, { CHANNEL_USAGE, "usage" },
	{ CHANNEL_NAMES, "names" }, { CHANNEL_ENDPOINTS, "endpoints" }, { CHANNEL_NETWORKS, "networks" } };
enum { CHANNELS = sizeof(channels) / sizeof(channels[0]) };

static void convergence(struct prom *p, const struct gossip_counters *c)
{
	uint64_t sum = 0;

	family(p, "weft_convergence_seconds", "histogram", "Time until all neighbours had a change of ours; sampled.");
	for (size_t i = 0; i < GOSSIP_CONVERGENCE_EDGES; i++) {
		sum += c->convergence[i];
		print(p, "%s_bucket{le=\"%g\"} %" PRIu64 "\n", p->name, gossip_convergence_edge_ms(i) / 1e3, sum);
	}
	sum += c->convergence[GOSSIP_CONVERGENCE_EDGES];
	print(p, "%s_bucket{le=\"+Inf\"} %" PRIu64 "\n", p->name, sum);
	print(p, "%s_sum %.17g\n", p->name, (double)c->convergence_ms / 1e3);
	print(p, "%s_count %" PRIu64 "\n", p->name, sum);
}

static void gossip(struct prom *p)
{
	const struct gossip_counters *c = gossip_counters(core_gossip(p->core));

	single(p, "weft_connection_terminations_total", "counter", "Established links that ended.", c->terminations);
	family(p, "weft_gossip_messages_total", "counter", "Messages that carry replicated state, by channel.");
	for (size_t i = 0; i < CHANNELS; i++) {
		labelled(p, c->channel_in[channels[i].id], "channel=\"%s\",direction=\"in\"", channels[i].name);
		labelled(p, c->channel_out[channels[i].id], "channel=\"%s\",direction=\"out\"", channels[i].name);
	}
	family(p, "weft_gossip_bytes_total", "counter", "Bytes on control links.");
	count(p, "direction=\"in\"", c->bytes_in);
	count(p, "direction=\"out\"", c->bytes_out);
	single(p, "weft_gossip_backlog_bytes", "gauge", "Bytes waiting for links to take them.",
		gossip_backlog_bytes(core_gossip(p->core)));
	single(p, "weft_reconciliations_total", "counter", "Reconciliations that found differences or began.", c->reconciliations);
	convergence(p, c);
	single(p, "weft_gossip_doubt", "gauge",
		"How far this host doubts its own timing, 0 to 8: silence has to last 1 + that many times as long.",
		gossip_doubt(core_gossip(p->core)));
	single(p, "weft_gossip_malformed_total", "counter", "Messages of peers that were not well-formed.", c->malformed);
	single(p, "weft_gossip_unknown_types_total", "counter", "Messages of unknown type that were passed over.", c->unknown_types);
	family(p, "weft_gossip_signatures_total", "counter", "Signatures of replicated state and relayed messages.");
	count(p, "what=\"made\"", c->signatures_made);
	count(p, "what=\"checked\"", c->signatures_checked);
	family(p, "weft_gossip_refused_total", "counter", "What others said and was not taken, or not yet, by reason.");
	for (enum gossip_refused why = 0; why < GOSSIP_REFUSED; why++)
		labelled(p, c->refused[why], "reason=\"%s\"", gossip_refused_name(why));
	family(p, "weft_handshakes_total", "counter", "Handshakes on control links by outcome.");
	count(p, "result=\"ok\"", c->handshakes_ok);
	count(p, "result=\"auth\"", c->handshakes_auth);
	count(p, "result=\"version\"", c->handshakes_version);
	count(p, "result=\"garbage\"", c->handshakes_garbage);
	count(p, "result=\"timeout\"", c->handshakes_timeout);
	count(p, "result=\"duplicate\"", c->handshakes_duplicate);
}

/* 48 bits, since a sample is a floating-point number. Equal on all hosts whose state is equal. */
static void digests(struct prom *p)
{
	family(p, "weft_state_digest", "gauge", "Fingerprint of the replicated state, for comparing hosts.");
	for (size_t i = 0; i < CHANNELS; i++) {
		const struct crdt_map *map = core_channel(p->core, channels[i].id);
		if (map == NULL)
			continue;
		struct fingerprint f = crdt_map_fingerprint(map, slice_of("", 0), slice_of("", 0));
		labelled(p, (f.a ^ (f.b >> 16)) & UINT64_C(0xffffffffffff), "channel=\"%s\"", channels[i].name);
	}
	family(p, "weft_state_items", "gauge", "Items of replicated state, deletions included.");
	for (size_t i = 0; i < CHANNELS; i++)
		if (core_channel(p->core, channels[i].id) != NULL)
			labelled(p, crdt_map_count(core_channel(p->core, channels[i].id)), "channel=\"%s\"", channels[i].name);
	family(p, "weft_state_live_items", "gauge", "The same without deletions.");
	for (size_t i = 0; i < CHANNELS; i++)
		if (core_channel(p->core, channels[i].id) != NULL)
			labelled(p, crdt_map_live(core_channel(p->core, channels[i].id)), "channel=\"%s\"", channels[i].name);
	family(p, "weft_state_bytes", "gauge", "Bytes of keys and values of replicated state.");
	for (size_t i = 0; i < CHANNELS; i++)
		if (core_channel(p->core, channels[i].id) != NULL)
			labelled(p, crdt_map_bytes(core_channel(p->core, channels[i].id)), "channel=\"%s\"", channels[i].name);
}

/* --- addresses ------------------------------------------------------------------------------------------------------------------------ */

static bool seen(const uint64_t *v, size_t n, uint64_t x)
{
	for (size_t i = 0; i < n; i++)
		if (v[i] == x)
			return true;
	return false;
}

enum { UNREACHABLE_MAX = 1024 }; /* hosts told apart; more are counted by their share only */

static void unreachable(struct prom *p)
{
	struct universe u = core_universe(p->core);
	uint64_t owners[UNREACHABLE_MAX], lost = 0;
	size_t n = 0;
	struct ring_span s;

	for (uint64_t at = u.first; ring_each(core_channel(p->core, CHANNEL_RING), u, &at, &s);) {
		if (gossip_reachable(core_gossip(p->core), s.owner))
			continue;
		lost += s.end - s.start;
		if (n < UNREACHABLE_MAX && !seen(owners, n, s.owner))
			owners[n++] = s.owner;
	}
	single(p, "weft_ipam_unreachable_count", "gauge", "Hosts that own addresses and cannot be reached.", n);
	family(p, "weft_ipam_unreachable_percentage", "gauge", "Share of the range that they own.");
	real(p, (double)lost * 100.0 / (double)range4_size(universe_range(u)));
}

static void reclaim(struct prom *p)
{
	struct ipam_reclaim_view v;

	ipam_reclaim_view(core_ipam(p->core), &v);
	single(p, "weft_ipam_epoch", "gauge", "Membership epoch: grows when hosts join those who vote, or are removed.", v.epoch);
	family(p, "weft_ipam_lease_seconds", "gauge",
		"Until this host gives out no new addresses, unless a majority renews it; absent without a lease.");
	if (v.leased)
		real(p, (double)v.left_ms / 1000.0);
	single(p, "weft_ipam_spare", "gauge", "Addresses that others may take when this host is dead.", v.spare);
	single(p, "weft_ipam_reclaimed_addresses_total", "counter", "Addresses of dead hosts that came to others.", v.reclaimed);
}

static void addresses(struct prom *p)
{
	struct ipam_view v;

	if (core_ipam(p->core) == NULL)
		return;
	ipam_view(core_ipam(p->core), &v);
	family(p, "weft_ips", "gauge", "Addresses by what they are used for.");
	count(p, "state=\"local-used\"", ipam_active(core_ipam(p->core)));
	single(p, "weft_max_ips", "gauge", "Addresses in the range.", v.total);
	single(p, "weft_ipam_owned", "gauge", "Addresses of the range that this host owns.", v.owned);
	single(p, "weft_ipam_pending_allocates", "gauge", "Requests waiting for an address.", v.pending_allocates);
	single(p, "weft_ipam_pending_claims", "gauge", "Requests waiting for an address they name.", v.pending_claims);
	unreachable(p);
	reclaim(p);
}

/* --- Docker ---------------------------------------------------------------------------------------------------------------------------- */

static void docker(struct prom *p)
{
	struct docker_stats s;

	if (router_keeper(p->r) == NULL)
		return;
	docker_keeper_stats(router_keeper(p->r), &s);
	single(p, "weft_docker_connected", "gauge", "Whether the stream of Docker's events is there.",
		docker_connected(router_docker(p->r)));
	single(p, "weft_docker_containers", "gauge", "Containers of Docker's that run.", s.containers);
	single(p, "weft_docker_named_endpoints", "gauge", "Endpoints of containers whose names are kept.", s.named);
	single(p, "weft_docker_questions", "gauge", "Questions that Docker has not answered yet.", s.asking);
	single(p, "weft_docker_questions_total", "counter", "Questions to Docker.", s.questions);
	family(p, "weft_docker_failures_total", "counter", "Questions that Docker did not answer, by reason.");
	labelled(p, s.timeouts, "reason=\"timeout\"");
	labelled(p, s.failures, "reason=\"other\"");
	family(p, "weft_docker_events_total", "counter", "Events that Docker told of.");
	labelled(p, s.events, "result=\"ok\"");
	labelled(p, s.events_bad, "result=\"unreadable\"");
	single(p, "weft_docker_connects_total", "counter", "How often the stream of events was begun.", s.connects);
	family(p, "weft_docker_resyncs_total", "counter", "How often all containers were looked at.");
	labelled(p, s.resyncs, "result=\"ok\"");
	labelled(p, s.resync_failures, "result=\"failed\"");
}

/* --- names ----------------------------------------------------------------------------------------------------------------------------- */

static void queries(struct prom *p, const struct dns_server_stats *s)
{
	family(p, "weft_dns_queries_total", "counter", "Answers by response code, type of the query, and who knew.");
	for (int src = 0; src < DNS_STAT_SOURCE_COUNT; src++)
		for (int type = 0; type < DNS_STAT_TYPE_COUNT; type++)
			for (int rcode = 0; rcode < DNS_STAT_RCODE_COUNT; rcode++)
				if (s->queries->answers[src][type][rcode] > 0)
					labelled(p, s->queries->answers[src][type][rcode], "rcode=\"%s\",type=\"%s\",source=\"%s\"",
						dns_stat_rcode_label((enum dns_stat_rcode)rcode), dns_stat_type_label((enum dns_stat_type)type),
						dns_stat_source_label((enum dns_stat_source)src));
	family(p, "weft_dns_dropped_total", "counter", "Queries and upstreams' datagrams that got no answer, by reason.");
	for (int d = 0; d < DNS_DROP_COUNT; d++)
		labelled(p, s->queries->drops[d], "reason=\"%s\"", dns_stat_drop_label((enum dns_stat_drop)d));
	labelled(p, s->unread, "reason=\"unread\"");
}

static void latency(struct prom *p, const struct dns_server_stats *s)
{
	family(p, "weft_dns_query_seconds", "histogram", "Time from a query's arrival to its answer's departure.");
	for (int src = 0; src < DNS_STAT_SOURCE_COUNT; src++) {
		const char *label = dns_stat_source_label((enum dns_stat_source)src);
		uint64_t sum = 0;
		for (size_t i = 0; i < DNS_LATENCY_EDGES; i++) {
			sum += s->latency[src][i];
			print(p, "%s_bucket{source=\"%s\",le=\"%g\"} %" PRIu64 "\n", p->name, label, dns_latency_edge_us(i) / 1e6, sum);
		}
		sum += s->latency[src][DNS_LATENCY_EDGES];
		print(p, "%s_bucket{source=\"%s\",le=\"+Inf\"} %" PRIu64 "\n", p->name, label, sum);
		print(p, "%s_sum{source=\"%s\"} %.17g\n", p->name, label, (double)s->latency_sum_us[src] / 1e6);
		print(p, "%s_count{source=\"%s\"} %" PRIu64 "\n", p->name, label, sum);
	}
}

static void names(struct prom *p)
{
	uint64_t local = 0, remote = 0;
	struct dns_server_stats s;
	struct core_name n;

	if (core_names(p->core) == NULL)
		return;
	for (size_t at = 0; core_next_name(p->core, &at, &n);) {
		if (n.owner == core_cfg(p->core)->gossip.self)
			local++;
		else
			remote++;
	}
	family(p, "weft_dns_entries", "gauge", "Names by where they were put.");
	count(p, "state=\"local\"", local);
	count(p, "state=\"remote\"", remote);
	if (router_dns(p->r) == NULL)
		return;
	dns_server_stats(router_dns(p->r), &s);
	queries(p, &s);
	latency(p, &s);
	single(p, "weft_dns_forwarding", "gauge", "Queries now waiting for an upstream.", s.forwarding);
	single(p, "weft_dns_tcp_refused_total", "counter", "TCP clients of the name service turned away.", s.tcp_refused);
}

/* --- data path ------------------------------------------------------------------------------------------------------------------------- */

static void peer_traffic(struct prom *p, uint64_t peer, const char *path, uint64_t sent, uint64_t received)
{
	char name[PEER_TEXT], nick[GOSSIP_NICKNAME_MAX * 2 + 4] = "";
	struct peer_info info;

	if (gossip_peer(core_gossip(p->core), peer, &info))
		(void)metrics_escape(info.nickname, nick, sizeof(nick));
	(void)peer_format(peer, name);
	labelled(p, sent, "peer=\"%s\",nickname=\"%s\",path=\"%s\",direction=\"out\"", name, nick, path);
	labelled(p, received, "peer=\"%s\",nickname=\"%s\",path=\"%s\",direction=\"in\"", name, nick, path);
}

static void peer_bytes(uint64_t peer, const struct userspace_traffic *t, void *arg)
{
	peer_traffic(arg, peer, "userspace", t->bytes_sent, t->bytes_received);
}

static void peer_packets(uint64_t peer, const struct userspace_traffic *t, void *arg)
{
	peer_traffic(arg, peer, "userspace", t->frames_sent, t->frames_received);
}

static void path_changes(struct prom *p)
{
	struct path_change c;

	family(p, "weft_path_changes_total", "counter", "Changes of the data path to a host.");
	for (size_t at = 0; core_next_path_change(p->core, &at, &c);)
		labelled(p, c.count, "from=\"%s\",to=\"%s\",reason=\"%s\"", path_name(c.from), path_name(c.to), c.reason);
}

/* What the filter counts on the fast path: packets of the underlay, with all their headers. */
static void fast_peers(struct prom *p, const struct nft *filter, bool packets)
{
	uint64_t at = 0, name;

	while (gossip_next_peer(core_gossip(p->core), &at, &name)) {
		struct nft_traffic t;
		if (!nft_traffic(filter, name, &t))
			continue;
		if (packets)
			peer_traffic(p, name, "fast", t.packets_sent, t.packets_received);
		else
			peer_traffic(p, name, "fast", t.bytes_sent, t.bytes_received);
	}
}

/* Each reason once, though data threads, core (handshakes, probes) and filter may all have found it. */
static void drops(struct prom *p, const struct userspace_stats *s, const struct nft *filter)
{
	bool told[NFT_DROPS] = { false };

	family(p, "weft_frames_dropped_total", "counter", "Frames and datagrams that went no further, by reason.");
	for (int d = FWD_PASSED + 1; d < FWD_DROPS; d++) {
		uint64_t n = s->dropped[d] + core_datagrams_dropped(p->core, (enum fwd_drop)d);
		for (int i = 0; i < NFT_DROPS && filter != NULL; i++) {
			if (strcmp(nft_drop_name((enum nft_drop)i), fwd_drop_name((enum fwd_drop)d)) != 0)
				continue;
			told[i] = true;
			n += nft_dropped(filter, (enum nft_drop)i);
		}
		labelled(p, n, "reason=\"%s\"", fwd_drop_name((enum fwd_drop)d));
	}
	for (int i = 0; i < NFT_DROPS && filter != NULL; i++)
		if (!told[i])
			labelled(p, nft_dropped(filter, (enum nft_drop)i), "reason=\"%s\"", nft_drop_name((enum nft_drop)i));
}

static void sessions(struct prom *p)
{
	const struct tunnel_counters *c = core_tunnel_counters(p->core);
	uint64_t n = 0;

	for (size_t at = 0; core_next_session(p->core, &at) != NULL;)
		n++;
	single(p, "weft_sessions", "gauge", "Keys with which sealed datagrams of other hosts can be opened.", n);
	family(p, "weft_session_handshakes_total", "counter", "Handshakes for sealed data, by what came of them.");
	count(p, "result=\"begun\"", c->begun);
	count(p, "result=\"done\"", c->done);
	count(p, "result=\"renewed\"", c->renewed);
	count(p, "result=\"refused\"", c->refused);
	count(p, "result=\"cookie-sent\"", c->cookies_sent);
	count(p, "result=\"cookie-used\"", c->cookies_used);
	count(p, "result=\"expired\"", c->expired);
}

static void networks(struct prom *p)
{
	struct core_network n;
	uint64_t known = 1, here = 0;
	struct plane_net_view v;

	for (size_t at = 0; core_next_network(p->core, &at, &n);)
		known++;
	for (size_t at = 0; router_plane(p->r) != NULL && plane_next_net(router_plane(p->r), &at, &v);)
		here++;
	family(p, "weft_networks", "gauge", "Networks there are, and those with devices on this host.");
	count(p, "state=\"known\"", known);
	count(p, "state=\"local\"", here);
}

static void data_path(struct prom *p)
{
	const struct userspace *u = router_userspace(p->r);
	const struct nft *filter = u != NULL ? plane_nft(router_plane(p->r)) : NULL;
	struct userspace_stats s;

	if (u == NULL)
		return;
	userspace_stats(u, &s);
	family(p, "weft_peer_bytes_total", "counter",
		"Bytes exchanged with a host, by path: of frames, or on the fast path of the underlay's packets.");
	userspace_peers(u, peer_bytes, p);
	if (filter != NULL)
		fast_peers(p, filter, false);
	family(p, "weft_peer_packets_total", "counter",
		"Packets exchanged with a host, by path: frames as they are on the wire, or the underlay's packets, of which many may be one here.");
	userspace_peers(u, peer_packets, p);
	if (filter != NULL)
		fast_peers(p, filter, true);
	drops(p, &s, filter);
	single(p, "weft_frames_flooded_total", "counter", "Frames that were sent to all hosts with containers.", s.flooded);
	single(p, "weft_datagrams_relayed_total", "counter", "Sealed datagrams passed on between other hosts.", s.relayed);
	family(p, "weft_superframes_total", "counter", "Frames of many packets that crossed a capture device in one piece.");
	count(p, "direction=\"out\"", s.superframes_in); /* out to other hosts, in from the containers */
	count(p, "direction=\"in\"", s.superframes_out);
	family(p, "weft_fragments_total", "counter", "Pieces of frames that are too large for the path.");
	count(p, "direction=\"out\"", s.fragments_sent);
	count(p, "direction=\"in\"", s.fragments_received);
	single(p, "weft_too_big_answers_total", "counter", "ICMP messages that told a container its packets are too large.",
		s.too_big_sent);
	sessions(p);
}

/* --- this process ----------------------------------------------------------------------------------------------------------------------- */

static bool read_file(const char *path, char *out, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd >= 0 ? read(fd, out, size - 1) : -1;

	if (fd >= 0)
		(void)close(fd);
	out[n > 0 ? n : 0] = '\0';
	return n > 0;
}

static uint64_t count_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	uint64_t n = 0;

	if (d == NULL)
		return 0;
	while (readdir(d) != NULL)
		n++;
	(void)closedir(d);
	return n > 3 ? n - 3 : 0; /* ".", "..", and the one that reads them */
}

static void process(struct prom *p)
{
	char stat[1024];
	const char *at =
		read_file("/proc/self/stat", stat, sizeof(stat)) ? strrchr(stat, ')') : NULL; /* the name may hold anything */
	unsigned long long user, system, vsize;
	long long rss;
	struct rlimit fds;

	/* fields 14, 15, 23, 24 of proc(5); the text after the name begins with field 3 */
	if (at != NULL && /* NOLINTNEXTLINE(cert-err34-c): the kernel writes these numbers */
		sscanf(at, ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu %*d %*d %*d %*d %*d %*d %*u %llu %lld", &user,
			&system, &vsize, &rss) == 4) {
		family(p, "process_cpu_seconds_total", "counter", "Processor time used, in seconds.");
		real(p, (double)(user + system) / (double)sysconf(_SC_CLK_TCK));
		single(p, "process_virtual_memory_bytes", "gauge", "Virtual memory size.", vsize);
		single(p, "process_resident_memory_bytes", "gauge", "Resident memory size.",
			(uint64_t)rss * (uint64_t)sysconf(_SC_PAGESIZE));
	}
	single(p, "process_open_fds", "gauge", "Open file descriptors.", count_fds());
	if (getrlimit(RLIMIT_NOFILE, &fds) == 0)
		single(p, "process_max_fds", "gauge", "How many there may be.", fds.rlim_cur);
	family(p, "process_start_time_seconds", "gauge", "When this process started, seconds since 1970.");
	real(p, router_wall_s(p->r, router_started_ms(p->r)));
}

static void daemon_figures(struct prom *p)
{
	struct router_stats s;

	router_stats(p->r, &s);
	family(p, "weft_accepts_total", "counter", "Control connections accepted, or refused since there were too many.");
	count(p, "result=\"ok\"", s.accepts);
	count(p, "result=\"refused\"", s.accept_refused);
	family(p, "weft_dials_total", "counter", "Control connections begun from here.");
	count(p, "", s.dials);
	single(p, "weft_dial_failures_total", "counter", "Those that came to nothing.", s.dial_failures);
	single(p, "weft_store_commits_total", "counter", "Durable transactions.", s.store_commits);
	single(p, "weft_store_bytes", "gauge", "Size of the state on disk.", s.store_bytes);
	single(p, "weft_log_suppressed_total", "counter", "Log lines left out since there were too many of them.", s.log_suppressed);
	family(p, "weft_build_info", "gauge", "1, with what was built.");
	count(p, "version=\"" WEFT_VERSION "\"", 1);
}

void metrics_write(const struct router *r, struct wbuf *w)
{
	struct prom p = { .w = w, .r = r, .core = router_core(r) };

	connections(&p);
	gossip(&p);
	digests(&p);
	addresses(&p);
	docker(&p);
	names(&p);
	path_changes(&p);
	networks(&p);
	data_path(&p);
	daemon_figures(&p);
	process(&p);
}
