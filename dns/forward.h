/* Forwarding to upstream name servers, as a state machine without sockets.
 *
 * Each try of each query has a socket of its own (so a random source port, chosen by the kernel) and an id of its own; its reply
 * must come over that socket, from the address asked, with that id and the same question (RFC 5452). Upstreams are asked in the
 * order given; the next one is asked when a try fails or is silent for DNS_FORWARD_TRY_MS, starting over after the last. A query
 * ends with the first usable reply; SERVFAIL, REFUSED and NOTIMP are passed on, as they are, only when no upstream asked once has a
 * better one. It ends with our own SERVFAIL when every upstream failed in a row, when DNS_FORWARD_TOTAL_MS are over, or at once when
 * there is no upstream or there are DNS_FORWARD_MAX queries under way.
 *
 * Use: every call clears `out` and fills it with at most DNS_FORWARD_ACTIONS actions, to be done in order; their bytes are valid until
 * the next call. After dns_forward_tick call it again as long as dns_forward_deadline_ms() <= now: it handles one query a call. */
#ifndef WEFT_DNS_FORWARD_H
#define WEFT_DNS_FORWARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/buf.h"
#include "base/err.h"
#include "dns/stats.h"

#define DNS_FORWARD_MAX      1024 /* queries under way */
#define DNS_FORWARD_ACTIONS  2
#define DNS_FORWARD_TRY_MS   2000
#define DNS_FORWARD_TOTAL_MS 5000
#define DNS_UPSTREAM_MAX     8

enum dns_forward_what {
	DNS_FORWARD_OPEN, /* open a socket to `upstream` under the fresh handle `sock` and send `bytes` through it (TCP: length first) */
	DNS_FORWARD_CLOSE, /* close the socket `sock`; events of it that come later are ignored and counted */
	DNS_FORWARD_REPLY, /* give `bytes` to `client` */
};

struct dns_forward_action {
	enum dns_forward_what what;
	uint64_t sock;
	uint64_t client;
	bool is_tcp; /* OPEN: how to ask; REPLY: how the client asked */
	struct hostport upstream;
	struct slice bytes;
};

struct dns_forward_actions {
	struct dns_forward_action v[DNS_FORWARD_ACTIONS];
	size_t n;
};

struct dns_forward;
/* stats stays the caller's and must outlive it. */
enum err dns_forward_new(struct dns_forward **out, struct dns_stats *stats) MUST_CHECK;
void dns_forward_free(struct dns_forward *f);

/* Replaces the list; queries under way go on with it from their next try. At most DNS_UPSTREAM_MAX are taken. */
void dns_forward_set_upstreams(struct dns_forward *f, const struct hostport *v, size_t n);
size_t dns_forward_upstreams(const struct dns_forward *f, struct hostport out[DNS_UPSTREAM_MAX]);

/* A query that dns_answer said to forward (so it is known to parse). client is the caller's, given back with the reply; limit is
 * what the client takes (struct dns_result); random must be unpredictable and fresh. Never fails: what cannot be forwarded, even for
 * lack of memory, is answered SERVFAIL in out. */
void dns_forward_query(struct dns_forward *f, uint64_t now_ms, uint64_t client, bool is_tcp, size_t limit, struct slice query,
	uint64_t random, struct dns_forward_actions *out);
/* A message came over a socket from an address. One that does not match is counted and changes nothing. */
void dns_forward_reply(struct dns_forward *f, uint64_t now_ms, uint64_t sock, struct hostport from, struct slice reply,
	struct dns_forward_actions *out);
/* A socket could not be opened, connected or written to, or was closed by the other side. */
void dns_forward_failed(struct dns_forward *f, uint64_t now_ms, uint64_t sock, struct dns_forward_actions *out);
void dns_forward_tick(struct dns_forward *f, uint64_t now_ms, struct dns_forward_actions *out);
uint64_t dns_forward_deadline_ms(const struct dns_forward *f); /* UINT64_MAX: none */
size_t dns_forward_pending(const struct dns_forward *f);

#endif
