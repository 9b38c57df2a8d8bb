/* What the files of the userspace path share. Nobody else includes this. Theory of operation: userspace.c. */
#ifndef WEFT_DATAPLANE_INTERNAL_H
#define WEFT_DATAPLANE_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/addr.h"
#include "base/bucket.h"
#include "base/buf.h"
#include "base/err.h"
#include "router/dataplane/userspace.h"
#include "tunnel/frag.h"
#include "tunnel/fwd.h"
#include "tunnel/seal.h"
#include "tunnel/segment.h"
#include "tunnel/wire.h"

enum {
	QUEUES_MAX = 8,
	ADDRESS_BUCKETS = 256, /* sources are told apart as far as a hash does */
	UDP_MAX = 65535,       /* bytes of one message to or from the kernel, in any number of datagrams */
	CONTROL_MAX = UDP_MAX, /* longest datagram handed to the control thread */
	QUOTE_MAX = 48,        /* bytes of a datagram that an ICMP error has to quote: in each some are random */
	WANTED_EVERY_MS = 200, /* so often a peer without session is asked for, */
	ROAMED_EVERY_MS = 1000 /* and another address of one told */
};

/* ---- what a thread reads */

/* Counters of a peer, and when something was last said about it. Lives as long as a table has the peer. */
struct peer_life {
	_Atomic uint64_t frames_sent, bytes_sent, frames_received, bytes_received;
	_Atomic uint64_t wanted_ms, roamed_ms;
};
/* A peer as the data threads see it. */
struct table_peer {
	uint64_t name;
	struct hostport to;
	struct sockaddr_storage to_addr, relay_addr; /* ss_family AF_UNSPEC: not to be reached from our sockets */
	struct ip from[USERSPACE_FROM_MAX];
	size_t n_from;
	struct hostport relay_to;
	bool relayed, sealed; /* sealed: by choice, or because it is relayed */
	bool clear_refused;
	bool settled;        /* room was found, not assumed */
	uint16_t head, room; /* bytes before the payload of a datagram; longest payload. room 0: nothing fits */
	uint16_t overhead;   /* head and tag */
	struct seal_keys *keys;
	struct peer_life *life;
	_Atomic bool plain; /* UDP_SEGMENT was refused towards it: one datagram a message */
};
struct table_net {
	uint16_t net;
	struct fwd_table *fwd;
	uint32_t *peer; /* fwd's number of a peer → ours; NOT_THERE */
};
#define NOT_THERE UINT32_MAX
struct table_session {
	struct seal_keys *keys; /* NULL: a free place */
	uint32_t index, peer;   /* peer: NOT_THERE when the table lacks it */
};
/* What userspace_set_table was given, made ready. Read only but for `plain`. */
struct table {
	struct table_peer *peers; /* by name */
	size_t n_peers;
	struct table_net *nets; /* by number */
	size_t n_nets;
	struct table_session *sessions; /* open addressing, a power of two, at most half full; never full */
	size_t session_mask;
	struct ip *addresses; /* of all peers, sorted: who may pass on RELAYED */
	size_t n_addresses;
	unsigned refs; /* generations that have it; control thread's */
};
struct device {
	uint16_t net;
	struct capture *c;
	_Atomic bool lost, gone;                        /* gone: removed; threads that pin a generation from now on do not find it */
	pthread_mutex_t write_lock[CAPTURE_QUEUES_MAX]; /* a sender writes answers where the receiver writes frames */
	unsigned refs;                                  /* generations that have it, and the list below; control thread's */
	struct device *next;
};
/* One immutable state of table and devices. Threads pin one for a batch. */
struct generation {
	struct table *table; /* NULL: none yet */
	size_t n_devices;
	struct generation *next; /* in the list of retired ones */
	struct device **devices; /* by network */
};

struct table_peer *table_peer(const struct table *t, uint64_t name, uint32_t *i); /* NULL: none of that name */
const struct table_net *table_net(const struct table *t, uint16_t net);
const struct table_session *table_session(const struct table *t, uint32_t index);
bool table_knows(const struct table *t, struct ip address);
struct device *generation_device(const struct generation *g, uint16_t net);

/* ---- userspace_table.c, control thread */
struct userspace;
/* Takes references to the keys; the fwd_tables stay the caller's until table_own. */
enum err table_new(struct userspace *u, const struct userspace_table *from, struct table **out) MUST_CHECK;
void table_own(struct table *t, const struct userspace_table *from);
void table_unref(struct table *t); /* takes NULL */
void device_unref(struct device *d);
/* This table (NULL: none) with the devices u has now. NULL: out of memory. */
struct generation *generation_new(struct userspace *u, struct table *t);
void generation_free(struct generation *g); /* takes NULL */
/* Makes it the current one; the one before is freed when no thread has it pinned. */
void generation_install(struct userspace *u, struct generation *g);
/* Frees what no thread reads any more. A generation just replaced may stay until the next call. */
void generation_collect(struct userspace *u);

/* ---- what a thread counts: written by it alone */
struct tally {
	_Atomic uint64_t frames_sent, bytes_sent, frames_received, bytes_received;
	_Atomic uint64_t flooded, relayed, superframes_in, superframes_out, fragments_sent, fragments_received, too_big_sent;
	_Atomic uint64_t dropped[FWD_DROPS];
};
/* For counters with one writer: no locked instruction. */
static inline void tally_add(_Atomic uint64_t *counter, uint64_t n)
{
	atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n, memory_order_relaxed);
}
/* For those that several threads write. */
static inline void shared_add(_Atomic uint64_t *counter, uint64_t n)
{
	atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

/* ---- the path */
struct sender;
struct receiver;
struct worker { /* one thread */
	struct userspace *u;
	unsigned queue;
	pthread_t thread;
	bool running;
	_Atomic(const struct generation *) pinned;
	_Atomic uint64_t batches; /* that have ended */
	struct tally tally;
};

struct userspace {
	struct userspace_cfg cfg;
	unsigned queues;
	int family; /* of the sockets */
	uint16_t port;
	int sock[QUEUES_MAX];
	int control[2]; /* data threads write to [1], the control thread reads [0] */
	_Atomic bool stopping;
	_Atomic(struct generation *) current;

	/* The control thread's alone. */
	struct generation *retired;
	struct device *devices; /* by network */
	size_t n_devices;
	struct map *lives; /* name → struct peer_life */
	struct sender *sender[QUEUES_MAX];
	struct receiver *receiver[QUEUES_MAX];
	struct worker *worker[2 * QUEUES_MAX]; /* of the two above */
	unsigned workers;
	struct refused {
		struct hostport to;
		uint64_t until_ms;
	} refused[16];
	size_t refused_at;
	struct sent { /* by the control thread, not long ago */
		struct hostport to;
		size_t n;
		uint8_t head[QUOTE_MAX];
	} sent[256];
	size_t sent_at;
	uint8_t *message; /* one from control[0] */
};

/* Hazard pointers: what a thread has pinned is not freed before it has unpinned it. */
const struct generation *worker_pin(struct worker *w);
void worker_unpin(struct worker *w);
/* A little more right to the processor for the calling data thread, where that is permitted. It does what a kernel would do in interrupts: at
 * equal rights a container that floods has the processor for whole time slices, in which its own frames overflow the queue in front of us. */
void worker_prefer(void);
static inline void worker_drop(struct worker *w, enum fwd_drop why, uint64_t n)
{
	tally_add(&w->tally.dropped[why], n);
}
uint64_t userspace_now_ms(void); /* monotonic, some milliseconds coarse */

/* ---- messages to the control thread */
enum control_kind { CONTROL_DATAGRAM, CONTROL_WANTED, CONTROL_ROAMED, CONTROL_REFUSED };
struct control_head {
	enum control_kind kind;
	uint64_t peer;
	struct hostport from;
};
/* Does not block. false: full. */
bool control_tell(const struct userspace *u, const struct control_head *head, struct slice bytes);

/* ---- sockets.c */
enum err sockets_open(struct userspace *u, struct err_note *note) MUST_CHECK;
void sockets_close(struct userspace *u);
void sockaddr_of(int family, struct hostport at, struct sockaddr_storage *out); /* AF_UNSPEC: no address of that family */
socklen_t sockaddr_size(const struct sockaddr_storage *a);
struct hostport sockaddr_read(const struct sockaddr_storage *from);
/* Makes msg one of several datagrams of `size` bytes; control has room for SEGMENT_CONTROL and stays until it was sent. */
enum { SEGMENT_CONTROL = CMSG_SPACE(sizeof(uint16_t)) };
void segment_control(struct msghdr *msg, void *control, uint16_t size);
/* Whether sending is to be tried again, for the error need not be this message's but may be an ICMP error's about an earlier one. tries: 0 before
 * the first call, then counted here. */
bool socket_try_again(int error, unsigned *tries);

/* ---- send.c, receive.c */
enum err sender_new(struct userspace *u, unsigned queue, struct sender **out, struct err_note *note) MUST_CHECK;
void sender_free(struct sender *s);
struct worker *sender_worker(struct sender *s);
void *sender_loop(void *arg); /* a struct sender; ends when u->stopping */
void sender_wake(struct sender *s);
bool sender_holds_frames(const struct sender *s); /* some wait for a session */
enum err sender_watch(struct sender *s, const struct device *d, struct err_note *note) MUST_CHECK;
void sender_unwatch(struct sender *s, const struct device *d);

enum err receiver_new(struct userspace *u, unsigned queue, struct receiver **out, struct err_note *note) MUST_CHECK;
void receiver_free(struct receiver *r);
struct worker *receiver_worker(struct receiver *r);
void *receiver_loop(void *arg);
/* What the loop does with one message of datagrams of `size` bytes, in the calling thread: for tests of a receiver that has no thread. */
void receiver_feed(struct receiver *r, struct hostport from, uint8_t *bytes, size_t n, size_t size);
#endif
