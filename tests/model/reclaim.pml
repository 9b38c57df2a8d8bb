/* What a majority takes of a host it believes dead can never be what that host has given out: checked by spin over every interleaving.
 *
 * Three members, a majority is two: 0 is the owner, 1 and 2 may propose its removal. The owner's free space is two addresses, a bit each. A
 * declaration is a set of addresses that it will not give from; its serial is its index.
 *
 *   owner     declares; gives out an address that is in none of the declarations from the last one known to be acknowledged by a majority up
 *             to the last one sent; learns acknowledgements late or never; goes on for ever, cut off or not. It votes like the others, and what
 *             it has acknowledged to itself counts like theirs
 *   member    stores a declaration's serial and acknowledges it, unless it has made a promise in this instance; is started again at any time
 *   proposer  single-decree Paxos among the three: a removal by any declaration sent that is not older than what any of those who promised has
 *             acknowledged, or nothing. Nobody refuses a value: what one accepts and another may not could hang for ever
 *
 * There are no clocks here: a member may believe at any time that the owner is dead. (When it may is checked in lease.pml.) One epoch: what
 * carries over to the next one are the serials that the promises reported (docs/adr/0013-reclaim.md).
 *
 * Each mutation takes one rule away, and spin has to find what comes of it (tests/model/run):
 *   GIVE_BY_LAST       the owner goes by its last declaration alone
 *   GIVE_SPARE         the owner gives out what it has declared
 *   FORGET_ACK         a stored serial does not survive a restart
 *   ACK_AFTER_PROMISE  a member acknowledges more after it has promised
 *   REMOVE_BY_OLDER    a proposer goes by what it has acknowledged itself, whatever the others have */

#define MEMBERS  3
#define MAJORITY 2
#define SERIALS  3 /* declarations 0 … 2; 0: nothing declared, nothing may be taken */
#define NOTHING  15 /* the value "no removal" */

byte spare[SERIALS];
byte sent, known;      /* the owner's last declaration; the last that it knows a majority to have */
byte stored[MEMBERS];  /* on each member's disk */
byte promised[MEMBERS], ballot[MEMBERS], value[MEMBERS]; /* acceptors: ballot 0 is none */
byte given;            /* addresses in the hands of containers */
byte taken;            /* by the decision */
bool chosen;

#ifdef ACK_AFTER_PROMISE
#define may_acknowledge(m) true
#else
#define may_acknowledge(m) (promised[m] == 0)
#endif

active proctype owner()
{
	byte a, s, n, kept;

	do
	:: atomic { sent < SERIALS - 1 -> /* declares any set that holds nothing it has given */
		a = 0;
		if :: a = 0 :: a = 1 :: a = 2 :: a = 3 fi;
		sent++;
		spare[sent] = a & (3 ^ given);
		if :: may_acknowledge(0) -> stored[0] = sent :: else fi;
		a = 0 }
	:: atomic { known < sent -> /* acknowledgements of a majority have arrived: late, or never */
		s = known + 1;
		n = (stored[0] >= s -> 1 : 0) + (stored[1] >= s -> 1 : 0) + (stored[2] >= s -> 1 : 0);
		if :: n >= MAJORITY -> known = s :: else fi; s = 0; n = 0 }
	:: atomic { /* gives out an address */
		kept = 0;
#ifdef GIVE_SPARE
		kept = 0;
#elif defined(GIVE_BY_LAST)
		kept = spare[sent];
#else
		s = known;
		do
		:: s <= sent -> kept = kept | spare[s]; s++
		:: else -> break
		od;
#endif
		if :: a = 1 :: a = 2 fi;
		if
		:: (given & a) == 0 && (kept & a) == 0 -> given = given | a;
			assert(!chosen || (given & taken) == 0)
		:: else
		fi; a = 0; s = 0; kept = 0 }
	od
}

proctype member(byte me)
{
	byte s;

end:
	do
	:: atomic { /* a declaration arrives, any of those sent */
		if :: s = 1 :: s = 2 fi;
		if
		:: s <= sent && s > stored[me] && may_acknowledge(me) -> stored[me] = s
		:: else
		fi; s = 0 }
#ifdef FORGET_ACK
	:: atomic { stored[me] > 0 -> stored[me] = 0 } /* started again */
#endif
	od
}

proctype proposer(byte me; byte b)
{
	byte j, votes, best, least, want = NOTHING;

	do /* promises, of any of them */
	:: atomic { j < MEMBERS ->
		if
		:: promised[j] < b ->
			promised[j] = b; votes++;
			if :: stored[j] > least -> least = stored[j] :: else fi;
			if :: ballot[j] > best -> best = ballot[j]; want = value[j] :: else fi
		:: true /* does not answer */
		fi;
		j++ }
	:: atomic { j == MEMBERS -> break }
	od;
	atomic {
		if
		:: votes < MAJORITY -> goto stop
		:: votes >= MAJORITY && best > 0 /* bound to what was accepted */
		:: votes >= MAJORITY && best == 0 ->
#ifdef REMOVE_BY_OLDER
			least = stored[me];
#endif
			if
			:: want = NOTHING
			:: least > 0 -> want = least
			:: sent > least -> want = sent
			fi
		fi;
		votes = 0; j = 0; best = 0; least = 0
	}
	do /* votes */
	:: atomic { j < MEMBERS ->
		if
		:: promised[j] <= b ->
			promised[j] = b; ballot[j] = b; value[j] = want; votes++
		:: true
		fi;
		j++;
		if
		:: votes == MAJORITY && want != NOTHING -> chosen = true; taken = spare[want]; assert((given & taken) == 0); goto stop
		:: else
		fi }
	:: atomic { j == MEMBERS -> goto stop }
	od;
stop:
	atomic { j = 0; votes = 0; best = 0; least = 0; want = 0 }
}

init
{
	atomic {
		run member(1);
		run member(2);
		run proposer(1, 1);
		run proposer(2, 2)
	}
}
