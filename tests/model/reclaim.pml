/* Declarations, leases and the agreement that removes an owner (docs/adr/0013-reclaim.md), for spin.
 *
 * One owner that may be cut off at any time (nothing it sends or is sent need ever arrive), three acceptors of which two are a majority, two
 * ballots led by anybody, restarts of all of them, and time. Two addresses. What is published may be read late: an acceptor acknowledges
 * any declaration that has been published, a leader proposes any that is late enough.
 *
 * Time passes in ticks. A lease of the owner lasts, by whatever its clock makes of it, at most OWNER_TICKS of them from when the declaration
 * was sent; an acceptor, by whatever its clock makes of it, finds the owner overdue no sooner than ACCEPTOR_TICKS after it acknowledged. That
 * the first is less than the second is what the quarter is for: 1.1 (clock a tenth slow) is less than 1.25 / 1.1.
 *
 * What must hold, whatever happens:
 *   (1) no address that the majority has taken was given out by the owner, before or after;
 *   (2) the owner gives out nothing at all once it has been removed, whether it knows or not.
 * (1) does not rest on time: -DNO_CLOCKS, with overdue at any time, has to hold as well.
 *
 * Each of these has to be found by spin: -DLEASE_AFTER_END, -DACK_NOT_STORED, -DGIVE_FROM_SPARE, -DSENT_DOES_NOT_COUNT, -DNO_FREEZE, -DNO_MARGIN. */

#ifdef NO_MARGIN
#define ACCEPTOR_TICKS 1
#else
#define ACCEPTOR_TICKS 3
#endif
#define OWNER_TICKS 2
#ifdef NO_CLOCKS
#define TICKS   0
#define SERIALS 2
#else
#define TICKS   4
#define SERIALS 2
#endif

byte now;

/* the owner; mask and sent_at by serial, 0: none */
byte serial, acked, first, used;
byte mask[SERIALS + 1], sent_at[SERIALS + 1];
byte acked_mask;
bool leased;

/* acceptors, on disk */
byte stored[3], stored_at[3];
byte promised[3], accepted[3], value[3];
bool restarted[3];
byte answered[3];   /* what was said to the owner; it may take notice of that at any time, or never, which is all that a restart of it does */

/* what was decided */
bool chosen;
byte taken;

inline check()
{
	assert((taken & used) == 0)
}

#define OUTSTANDING (acked < first)
#ifdef SENT_DOES_NOT_COUNT
#define LOCKED acked_mask
#else
#define LOCKED (acked_mask | mask[serial])
#endif
#ifdef GIVE_FROM_SPARE
#define MAY_GIVE(a) (!(used & (a)))
#else
#define MAY_GIVE(a) (!(used & (a)) && !(LOCKED & (a)))
#endif
#if defined(LEASE_AFTER_END) || defined(NO_CLOCKS)
#define LEASE_VALID true
#else
#define LEASE_VALID (leased && now < sent_at[acked] + OWNER_TICKS)
#endif
#ifdef NO_CLOCKS
#define OVERDUE(i) true
#else
#define OVERDUE(i) (now >= stored_at[i] + ACCEPTOR_TICKS)
#endif

inline declare(may, m)
{
	d_step {
		serial < SERIALS && (may);
		/* While a declaration is under way its successors declare the same. */
		serial++;
		mask[serial] = m;
		sent_at[serial] = now;
		if
		:: serial == 1 || mask[serial] != mask[serial - 1] -> first = serial
		:: else
		fi
	}
}

inline give(a)
{
	d_step {
		MAY_GIVE(a) && LEASE_VALID;
		used = used | a;
#ifndef NO_CLOCKS
		assert(!chosen);
#endif
		check()
	}
}

#define VOTES(s) ((answered[0] >= (s)) + (answered[1] >= (s)) + (answered[2] >= (s)))

proctype owner()
{
	do
	:: declare(!OUTSTANDING && !(used & 1), 1)
#ifdef NO_CLOCKS
	:: declare(!OUTSTANDING && !used, 3) /* 2 alone would be 1 by another name */
#endif
	:: declare(!OUTSTANDING && serial > 0, 0)
	:: declare(OUTSTANDING, mask[serial - 1])
	/* acknowledgements are noticed */
	:: d_step {
			acked < serial && VOTES(acked + 1) >= 2;
			acked++;
			leased = true;
			if
			:: acked >= first -> acked_mask = mask[acked]
			:: else
			fi
		}
	:: give(1)
	:: give(2)
	od
}

#ifdef NO_FREEZE
#define FROZEN(i) false
#else
#define FROZEN(i) (promised[i] > 0)
#endif

proctype acceptor(byte i)
{
	do
	/* acknowledges what it sees, which may be older than the newest, but not than what it saw before; on disk, then said */
	:: d_step { stored[i] < serial && !FROZEN(i); stored[i]++; stored_at[i] = now; answered[i] = stored[i] }
#if defined(ACK_NOT_STORED) || !defined(NO_CLOCKS)
	/* a restart, once and of one of them: how long ago it acknowledged counts anew */
	:: d_step {
			i == 2 && !restarted[i];
			restarted[i] = true;
			stored_at[i] = now;
#ifdef ACK_NOT_STORED
			stored[i] = 0;
#endif
		}
#endif
	od
}

/* Whoever leads the ballot. What acceptors say to it is read one by one, while all else goes on. */
proctype leader(byte b)
{
	byte i, n, overdue, least, best, v;

	/* phase 1: a promise says up to which serial the acceptor has acknowledged, and whether it finds the owner overdue */
	do
	:: d_step {
			i < 3 && promised[i] < b;
			promised[i] = b;
			n++;
			if
			:: OVERDUE(i) -> overdue++
			:: else
			fi;
			if
			:: stored[i] > least -> least = stored[i]
			:: else
			fi;
			if
			:: accepted[i] > best -> best = accepted[i]; v = value[i]
			:: else
			fi;
			i++
		}
	:: i < 3 -> i++
	:: i == 3 -> break
	od;
	if
	:: n < 2 -> goto done
	:: else
	fi;
	if
	:: best > 0
	:: best == 0 && overdue >= 2 ->
		/* any declaration that is published and late enough */
		v = least;
		do
		:: v < serial -> v++
		:: v > 0 -> break
		:: serial == 0 -> goto done
		od
	:: best == 0 && overdue < 2 -> goto done
	fi;
	/* phase 2 */
	i = 0;
	do
	:: d_step { i < 3 && promised[i] <= b; promised[i] = b; accepted[i] = b; value[i] = v; i++ }
	:: i < 3 -> i++
	:: i == 3 -> break
	od;
	skip;
	d_step {
		if
		:: (accepted[0] == b) + (accepted[1] == b) + (accepted[2] == b) >= 2 ->
			assert(!chosen || taken == mask[v]);
			chosen = true;
			taken = mask[v];
			check()
		:: else
		fi
	}
done:
	skip;
	d_step { i = 0; n = 0; overdue = 0; least = 0; best = 0; v = 0 } /* fewer states */
}

proctype clock()
{
	do
	:: d_step { now < TICKS; now++ }
	od
}

init
{
	atomic {
		run owner();
		run acceptor(0);
		run acceptor(1);
		run acceptor(2);
		run leader(1);
#ifdef NO_CLOCKS
		run leader(2) /* two are needed to see what an agreement is for, and with clocks they are too many states */
#else
		run clock()
#endif
	}
}
