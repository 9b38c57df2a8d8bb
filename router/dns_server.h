/* The sockets of the name service: UDP and TCP on each listen address, a socket per forwarded query, resolv.conf. Runs in the control
 * loop; queries for our own names are answered inside the receive callback. What is answered is decided in dns/. */
#ifndef WEFT_ROUTER_DNS_SERVER_H
#define WEFT_ROUTER_DNS_SERVER_H

#include <stddef.h>
#include <stdint.h>

#include <uv.h>

#include "base/addr.h"
#include "base/err.h"
#include "dns/answer.h"
#include "dns/forward.h"
#include "dns/stats.h"
#include "dns/table.h"

#define DNS_LISTEN_MAX      8
#define DNS_TCP_MAX         64     /* client connections; more are closed at once */
#define DNS_TCP_IDLE_MS     10000  /* without a whole query, from accept or from the last one */
#define DNS_TCP_WAITING_MAX 64     /* forwarded queries of one connection; further ones are read when some are answered */
#define DNS_TCP_QUEUE_MAX   262144 /* octets of answers that one connection has not taken; then it is not read */
#define DNS_RESOLV_MS       1000   /* how often resolv.conf is looked at */
#define DNS_LATER_MAX       256 /* queries that wait until it is known who asks; further ones are answered as if he might see all */
#define DNS_LATER_TRIES     3

struct dns_server;

/* Who asks, and so what there is for him. LATER: that is being found out, and dns_server_askers_known will be called. */
enum dns_asker { DNS_ASKER_KNOWN, DNS_ASKER_LATER };

struct dns_server_cfg {
	/* Each gets a UDP and a TCP listener. 0.0.0.0 works, but on a host with several addresses the kernel chooses from which of them a
	 * UDP answer comes; name the address where that matters. */
	struct hostport listen[DNS_LISTEN_MAX];
	size_t n_listen;
	/* The address that containers know; family 0: none. Where this or 0.0.0.0 is listened at, each of dns_server_set_networks is. */
	struct ip resolver;
	const char *resolv_conf;          /* copied; NULL or "": no upstreams */
	const char *domain;               /* NULL: the default */
	uint32_t ttl;                     /* seconds */
	struct prefix ours[DNS_OURS_MAX]; /* see struct dns_answer_cfg */
	size_t n_ours;
	const struct dns_table *table; /* must live until dns_server_stop; changes only in the loop's thread */
	void (*settle)(void *ctx);     /* called before the table is looked at; NULL: needs nothing */
	/* network: the name of the one by whose bridge he asks; NULL: not by one in dns_server_set_networks. Sets *view, whose ctx is valid until the next
	 * call. NULL: everybody sees all. */
	enum dns_asker (*asker)(void *ctx, struct ip from, const char *network, struct dns_view *view);
	void *ctx;
	uint64_t seed; /* for the order of addresses */
};

/* Listens and reads resolv.conf. ERR_BUSY, ERR_PERMISSION, ERR_NOT_FOUND (no such address here), ERR_MALFORMED (domain), ERR_RANGE, ERR_SYSTEM
 * with a note that names the address and what to do. On an error what was opened closes as the loop runs on. */
enum err dns_server_start(
	struct dns_server **out, uv_loop_t *loop, const struct dns_server_cfg *cfg, struct err_note *note) MUST_CHECK;
/* Closes everything; unanswered queries stay so. Handles end in the loop, then `done` (may be NULL) is called and s is gone. */
void dns_server_stop(struct dns_server *s, void (*done)(void *ctx), void *ctx);

/* What was not known of askers is known, or will not be: who waits is answered. */
void dns_server_askers_known(struct dns_server *s);

/* The first of `ours` is another now. */
void dns_server_set_range(struct dns_server *s, struct prefix range);

/* Networks besides the first have the resolver's address each on a bridge of its own, and may use the same addresses as others: who asks by such a
 * bridge is answered by it. The list replaces the former one; one with another index is another. What cannot be listened on is left out, the first
 * failure told (see dns_server_start; ERR_NOT_FOUND: no such interface, ERR_NOMEM), and tried again by the next call. */
struct dns_server_network {
	const char *name, *ifname;
	int ifindex;
};
enum err dns_server_set_networks(
	struct dns_server *s, const struct dns_server_network *networks, size_t n, struct err_note *note) MUST_CHECK;

/* Upper edges of the latency histogram; one more bucket holds what is above the last. */
#define DNS_LATENCY_EDGES_US(X) \
	X(25) X(50) X(100) X(250) X(500) X(1000) X(2500) X(5000) X(10000) X(25000) X(50000) X(100000) X(500000) X(1000000) X(5000000)
#define X(us) +1
enum { DNS_LATENCY_EDGES = 0 DNS_LATENCY_EDGES_US(X) };
#undef X
uint32_t dns_latency_edge_us(size_t i); /* i < DNS_LATENCY_EDGES */

struct dns_server_stats {
	const struct dns_stats *queries; /* live, until dns_server_stop */
	/* From a query's arrival to its answer's departure; not cumulative. By source: answered here, forwarded. */
	uint64_t latency[DNS_STAT_SOURCE_COUNT][DNS_LATENCY_EDGES + 1];
	uint64_t latency_sum_us[DNS_STAT_SOURCE_COUNT];
	uint64_t tcp_accepted, tcp_refused; /* refused: over DNS_TCP_MAX */
	uint64_t unread;                    /* queries by UDP that the kernel threw away: more at once than a socket holds */
	size_t tcp_open, forwarding;        /* now */
};
void dns_server_stats(const struct dns_server *s, struct dns_server_stats *out);
/* The upstreams in use. */
size_t dns_server_upstreams(const struct dns_server *s, struct hostport out[DNS_UPSTREAM_MAX]);

#endif
