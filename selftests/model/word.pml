// SPDX-License-Identifier: GPL-2.0-only
/*
 * word.pml - the core word as a lock: 0, or id + 1 of the worker inside.
 *
 * Workers 0 and 1 are on the core's CPU, 0; worker 2 is on another, as somebody has changed its affinity and it cannot come home.
 * A sequence of word_take() is one step as far as CPU 0 is concerned: it reads the worker's page and the word and stores the word,
 * or is begun anew (`sequence`). That store, and the one with which the word is given up, are plain ones. Elsewhere a worker takes
 * the word with an atomic instruction (word_take_stepped()), after which every sequence that has seen the word free is begun anew.
 *
 * LOCKED: there is no rseq(2), all take it with an atomic instruction (word_take_locked()), wherever they are.
 * F_MONITOR: monitor.c takes worker 0 for BLOCKED, if it is not inside. Then it must not go inside: the core is another's.
 * F_MOVED: worker 1 may find, when it is woken, that it belongs to another core now.
 *
 * gk.ko only reads the word (gk_core_inside()), to leave a holder alone.
 */
#ifndef ROUNDS
#define ROUNDS	1
#endif
#define CPUS	3
#define WORDS	4
#define WORD	0
#define WAITERS	1
#define BLOCKED	2		/* what the page of worker 0 says */
#include "memory.pml"

byte sequence;			/* id + 1 of who is in one on CPU 0 and has seen the word free */
bool sleeps[3];			/* in FUTEX_WAIT */
byte inside;
bool granted;			/* F_MONITOR: the core went to another than worker 0 */

#define mark(w)		((w) + 1)
#define stale(w, cpu)	((w) == 0 && load(cpu, BLOCKED))

/* Another worker has CPU 0: whoever was in a sequence begins it anew. */
#define switched(w)	if :: cpu == 0 && sequence != 0 && sequence != mark(w) -> sequence = 0 :: else fi

/* word_take(), in ok */
inline take()
{
	ok = false;
#ifdef LOCKED
	/* word_take_locked() */
	seen = stale(id, cpu);
	atomic {
		fence(cpu) ->
		if
		:: !seen && mem[WORD] == 0 -> mem[WORD] = mark(id); ok = true
		:: else
		fi
	}
#ifndef MUTATE_ONE_LOOK
	if
	:: ok && stale(id, cpu) ->
		atomic { fence(cpu) -> mem[WORD] = 0 }
		ok = false;
		if
		:: load(cpu, WAITERS) -> wake_one()
		:: else
		fi
	:: else
	fi;
#endif
#else
	if
	:: cpu == 0 ->
		atomic {
			switched(id);
			if
			:: !stale(id, cpu) && load(cpu, WORD) == 0 -> sequence = mark(id)
			:: else
			fi
		}
#ifdef MUTATE_NOT_RESTARTED
		seen = (load(cpu, WORD) == 0);
		if
		:: atomic { seen && nothing(cpu, WORD) -> plain(cpu, WORD, mark(id)); ok = true }
		:: !seen
		fi
#else
		if
		:: atomic { sequence == mark(id) && nothing(cpu, WORD) -> plain(cpu, WORD, mark(id)); sequence = 0; ok = true }
		:: sequence != mark(id)
		fi
#endif
	:: else
	fi
#endif
}

/* On another CPU, in ok */
inline take_stepped()
{
	atomic {
		fence(cpu) ->
		ok = (mem[WORD] == 0);
		if
		:: ok -> mem[WORD] = mark(id)
		:: else
		fi
	}
	if
	:: ok ->
#ifndef MUTATE_STEPPED_NO_BARRIER
		atomic { fence(0) -> sequence = 0 }		/* membarrier(), for sequences */
		fence(cpu);
#endif
#ifndef MUTATE_STEPPED_NO_CHECK
		ok = (mem[WORD] == mark(id));
#endif
	:: else
	fi
}

/* futex_wake(): has a full fence before it looks for sleepers, as FUTEX_WAIT before it looks at the word */
inline wake_one()
{
	atomic {
		fence(cpu) ->
		if
		:: sleeps[0] -> sleeps[0] = false
		:: sleeps[1] -> sleeps[1] = false
		:: sleeps[2] -> sleeps[2] = false
		:: else
		fi
	}
}

proctype worker(byte id; byte cpu)
{
	byte old, rounds;
	bool ok, seen;

	do
	:: rounds == ROUNDS -> break
	:: rounds < ROUNDS ->
		rounds++;
		take();
		if
		:: ok
		:: !ok ->			/* word_wait() */
			if
			:: stale(id, cpu) -> break
			:: else
			fi;
#ifndef MUTATE_NO_COUNT
			atomic { fence(cpu) -> switched(id); mem[WAITERS]++ }
#endif
#ifndef MUTATE_DROP_MEMBARRIER
			fence(0);
			fence(1);
			fence(2);
#endif
			do
			:: true ->
				if
				:: cpu == 0 -> take()
#ifdef LOCKED
				:: else -> take()
#else
				:: else -> take_stepped()
#endif
				fi;
				if
				:: ok || stale(id, cpu) -> break
				:: else
				fi;
				old = load(cpu, WORD);
				if
				:: old ->
#ifdef MUTATE_WAIT_BLINDLY
					sleeps[id] = true;
#else
					atomic {
						fence(cpu) ->
						if
						:: mem[WORD] == old -> sleeps[id] = true
						:: else
						fi
					}
#endif
					atomic { !sleeps[id] -> switched(id) }
				:: else
				fi;
				old = 0;
#ifdef F_MOVED
				if
				:: id == 1 -> break
				:: true
				fi
#endif
			od;
#ifndef MUTATE_NO_COUNT
			atomic { fence(cpu) -> mem[WAITERS]-- }
#endif
			if
			:: !ok ->		/* it is of another core */
#ifndef MUTATE_KEEP_WAKE
				if
				:: load(cpu, WAITERS) -> wake_one()
				:: else
				fi;
#endif
				break
			:: else
			fi
		fi;

		atomic { switched(id); inside++; assert(inside == 1); assert(!(id == 0 && granted)) }
		atomic { switched(id); inside--; ok = false }

		/* leave() */
#ifdef MUTATE_LOOK_FIRST
		seen = (load(cpu, WAITERS) != 0);
#endif
		release(cpu, WORD, 0);
#ifndef MUTATE_LOOK_FIRST
		seen = (load(cpu, WAITERS) != 0);
#endif
#ifndef MUTATE_NO_WAKE
		if
		:: seen -> wake_one()
		:: else
		fi;
#endif
		seen = false
	od;
	going--
}

#ifdef F_MONITOR
/* look_at() in monitor.c */
proctype monitor()
{
	bool in;

#ifdef MUTATE_MONITOR_LOOKS_FIRST
	in = (load(2, WORD) == mark(0));
#endif
	release(2, BLOCKED, 1);
#ifdef LOCKED
#ifndef MUTATE_MONITOR_NO_FENCE
	fence(2);
#endif
#else
	fence(2);
#ifndef MUTATE_MONITOR_NO_FENCE
	atomic { fence(0) -> sequence = 0 }
#endif
#endif
#ifndef MUTATE_MONITOR_LOOKS_FIRST
	in = (load(2, WORD) == mark(0));
#endif
	if
	:: in -> release(2, BLOCKED, 0)
	:: else -> granted = true; assert(!inside || mem[WORD] != mark(0))
	fi;
	going--
}
#endif

init {
	atomic {
		going = 3;
		run drain(0);
		run drain(1);
		run worker(0, 0);
		run worker(1, 0);
#ifdef F_MONITOR
		run drain(2);
		run monitor()
#else
		run worker(2, 1)
#endif
	}
	/* Nobody waits for a word that nobody will give up. */
	timeout;
	assert(going == 0)
}
