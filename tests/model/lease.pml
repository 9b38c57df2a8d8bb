/* Nobody is removed while its lease lasts by its own clock, though clocks differ by a tenth either way: checked by spin.
 *
 * Time is counted in steps of true time. The owner's clock and each member's go on by 9, 10 or 11 a step, each always by the same. A lease lasts
 * LENGTH by the owner's clock from when a declaration was *sent*; a member that acknowledged accepts no removal before LENGTH * 5/4 have
 * passed by its own clock from when it *acknowledged*. A declaration may travel as long as it likes; a member may be started again, and then
 * counts from the start, for its clock may not have gone on. Two members of three make the majority that renews and the one that removes, so
 * they share one member at least: in the worst case one alone, which is the one modelled.
 *
 * Mutations that spin has to find fatal:  NO_MARGIN  members wait LENGTH only;  FROM_ACK  the owner counts from the acknowledgement's arrival;
 *   CLOCK_LOST  a restarted member thinks that it never acknowledged */

#define LENGTH 40
#ifdef NO_MARGIN
#define WAIT 40
#else
#define WAIT 50
#endif
#define STEPS 9

byte owner_rate = 10, member_rate = 10;
byte owner_clock, member_clock; /* since the declaration was sent; since it was acknowledged */
byte counted;                   /* the owner's clock at the moment from which it counts its lease */
byte steps;
bool acknowledged, heard, removed, waiting;

#define lease_lasts (heard && owner_clock < counted + LENGTH)

active proctype world()
{
	atomic {
		if :: owner_rate = 9 :: owner_rate = 10 :: owner_rate = 11 fi;
		if :: member_rate = 9 :: member_rate = 10 :: member_rate = 11 fi
	}
	do
	:: atomic { steps < STEPS -> steps++; owner_clock = owner_clock + owner_rate;
		if :: waiting -> member_clock = member_clock + member_rate :: else fi }
	:: atomic { !acknowledged -> acknowledged = true; waiting = true; member_clock = 0 }
	:: atomic { acknowledged && !heard -> heard = true;
#ifdef FROM_ACK
		counted = owner_clock
#else
		counted = 0
#endif
		}
	:: atomic { acknowledged && !removed -> /* the member is started again */
#ifdef CLOCK_LOST
		member_clock = WAIT
#else
		member_clock = 0
#endif
		}
	:: atomic { acknowledged && !removed && member_clock >= WAIT -> removed = true }
	:: atomic { removed -> assert(!lease_lasts); break }
	:: atomic { steps == STEPS -> break }
	od
}
