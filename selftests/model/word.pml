// SPDX-License-Identifier: GPL-2.0-only
/*
 * word.pml - the core word as a lock: 0, id + 1, or id + 1 with bit 31 set when somebody waits for it in the kernel.
 *
 * libgk takes it with one compare-and-swap, gives it up with one exchange, and calls FUTEX_WAKE for one waiter if the bit was
 * set. The module only reads it (gk_core_inside() in kmod/core.c), to leave a holder alone at the tick: tick() and grant() here.
 * A waiter that woke holds the word with the bit set, for there may be more. One that is over the bound parks READY
 * before it is back in user mode and so holds up the wake-up it was given: that may take long, but must not lose it.
 */
#define N	3
#ifndef ROUNDS
#define ROUNDS	2
#endif
#define BIT	8		/* stands for bit 31 */
#define me	(_pid + 1)

byte word;
bool waits[N];			/* asleep in FUTEX_WAIT */
bool parked[N];			/* READY: no user instruction until granted */
byte inside;			/* how many are */
byte left = N;

#ifdef MUTATE_UNMASKED
#define is_inside(w)	(word == (w) + 1)
#else
#define is_inside(w)	((word & (BIT - 1)) == (w) + 1)
#endif

active [N] proctype worker() provided (!parked[_pid] && !waits[_pid])
{
	byte old, mark, rounds;

	do
	:: rounds < ROUNDS ->
		rounds++;
		mark = 0;
		do
		:: atomic { word == 0 -> word = me | mark; break }
		:: atomic {
			word != 0 ->
			old = word
		   }
			/* The bit goes in before FUTEX_WAIT looks at the word. */
			if
			:: old & BIT
			:: !(old & BIT) ->
				atomic {
					if
					:: word == old -> word = old | BIT; old = word
					:: else -> old = 0
					fi
				}
			fi;
			if
			:: old != 0 ->
#ifdef MUTATE_WAIT_BLINDLY
				waits[_pid] = true;
#else
				atomic {
					if
					:: word == old -> waits[_pid] = true
					:: else
					fi
				}
#endif
#ifndef MUTATE_REACQUIRE_PLAIN
				mark = BIT
#endif
			:: else
			fi;
			old = 0
		od;

		inside++;
		assert(inside == 1);
		inside--;

#ifdef MUTATE_LOAD_STORE	/* a load and a store in place of the exchange */
		old = word;
		word = 0;
#else
		atomic {
			old = word;
			word = 0
		}
#endif
		atomic {
			if
#ifndef MUTATE_NO_WAKE
			:: (old & BIT) && waits[0] -> waits[0] = false
			:: (old & BIT) && waits[1] -> waits[1] = false
			:: (old & BIT) && waits[2] -> waits[2] = false
#endif
			:: else
			fi;
			old = 0
		}
	:: else -> break
	od;
	left--
}

/* The module makes READY whom it finds outside, running or just woken from the futex, and grants it later. */
active proctype module()
{
end:	do
	:: atomic { !parked[0] && !waits[0] && !is_inside(0) -> parked[0] = true }
	:: atomic { !parked[1] && !waits[1] && !is_inside(1) -> parked[1] = true }
	:: atomic { !parked[2] && !waits[2] && !is_inside(2) -> parked[2] = true }
	:: parked[0] -> parked[0] = false
	:: parked[1] -> parked[1] = false
	:: parked[2] -> parked[2] = false
	od
}

#define all_wait (left > 0 && left == (waits[0] + waits[1] + waits[2]))
#define ready_holder (((word & (BIT - 1)) == 1 && parked[0]) || ((word & (BIT - 1)) == 2 && parked[1]) || \
		      ((word & (BIT - 1)) == 3 && parked[2]))

never {
	do
	:: all_wait -> assert(!all_wait)		/* everybody waits for a word that nobody will give up */
	:: ready_holder -> assert(!ready_holder)	/* nobody could go inside until it is granted */
	:: else
	od
}
