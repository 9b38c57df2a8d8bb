/* What lease.c and reclaim.c keep in struct ipam. */
#ifndef WEFT_IPAM_RECLAIM_H
#define WEFT_IPAM_RECLAIM_H

#include "ipam/epoch.h"
#include "ipam/pace.h"
#include "ipam/ranges.h"

#define LEASE_SENT_MAX 4 /* declarations under way whose time of sending is known */
#define LEASE_WANT_MAX 8
#define MUTED_MAX      32

/* What an acceptor knows of a member; in the order of the epoch's members. */
struct seen {
	uint64_t name, since, serial; /* acknowledged by us */
	uint64_t lease_ms, at_ms;     /* when; or since when we know it as a member */
	bool overdue;
};
struct wanted { /* more is wanted here than the working part has */
	struct range4 r;
	uint64_t until_ms; /* so long it is kept out of what is spare */
	bool fresh;        /* nothing has been declared since */
};
struct deferred { /* a request for space that waits for a majority */
	uint64_t from, serial, until_ms;
	struct range4 r;
};
struct ack {
	uint64_t peer, epoch, serial;
};

struct reclaim {
	/* reclaim.c */
	struct epoch epoch;
	struct instance in;
	bool active, shown, dirty;
	bool check;    /* whom we find overdue has to be looked at again */
	bool founding; /* whether we are a founder may be seen by now */
	bool outsider; /* ... we are none */
	bool loaded;   /* in.promised and what follows were read from disk, of this epoch: */
	uint64_t loaded_epoch;
	uint64_t active_ms; /* when we join in; 0: nothing to join in for yet */
	uint64_t propose_ms, check_ms, ask_ms, lag_ms;
	unsigned duels;
	struct seen *seen;
	size_t n_seen, cap_seen;
	uint64_t *gone; /* removed by the operator's word, and members still */
	size_t n_gone, cap_gone;
	uint64_t reclaimed; /* addresses, in this run */
	struct pacer pacer;
	uint64_t muted[MUTED_MAX]; /* raise ballots all the time */
	/* word.c */
	uint8_t *word; /* our operator's, as it is published and stored; word_n 0: none */
	size_t word_n;
	uint64_t parted_ms; /* somebody has decided apart from us since; 0: nobody */
	uint64_t parted_until_ms, parted_with, look_ms;
	size_t parted_n;
	bool parted_told;
	/* lease.c */
	struct declaration acked, sent; /* acked: by a majority. serial 0: none */
	uint64_t first;                 /* the first serial that declared what sent declares */
	bool leased;                    /* a majority has acknowledged: the lease counts */
	bool declared;                  /* published in this run */
	uint64_t stored_boot, until_ms, first_ms, renew_ms;
	uint64_t sent_ms[LEASE_SENT_MAX]; /* of sent.serial, the one before it, … */
	unsigned tries;
	struct ack *acks;
	size_t n_acks, cap_acks;
	struct ranges locked; /* declared: not to be given */
	struct wanted want[LEASE_WANT_MAX];
	struct deferred deferred[LEASE_WANT_MAX];
	size_t n_want, n_deferred;
};

#endif
