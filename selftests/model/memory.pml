// SPDX-License-Identifier: GPL-2.0-only
/*
 * memory.pml - memory that CPUs see late, for the models of fences: #define CPUS and WORDS, and include it.
 *
 * Each CPU has a store buffer of one value a word. What is in it reaches memory some time later and, but for release() and
 * fence(), in any order: x86-64 would keep them in order, other machines and the compiler need not. Loads are made in program
 * order: where the code asks for that (acquire, set_current_state() and then a look) the mutation is to swap two of them.
 *
 * A locked instruction, or one that is atomic with both orders (exchange(), cas(), xchg()), is fence() and then one step on mem[].
 * set_bit() is a plain store: it has no order either. lock() has acquire order and unlock() release, no more: what was stored before
 * a lock is taken may be seen after it was.
 *
 * A membarrier() is a fence on each CPU of the process some time between its start and its end.
 */
byte mem[WORDS];
byte late[CPUS * WORDS];	/* value + 1 */
byte going;			/* processes that are not done */

#define pending(cpu, at)	late[(cpu) * WORDS + (at)]
#define load(cpu, at)		(pending(cpu, at) -> pending(cpu, at) - 1 : mem[at])
#define plain(cpu, at, v)	atomic { pending(cpu, at) == 0 -> pending(cpu, at) = (v) + 1 }

#define nothing(cpu, at)	(pending(cpu, at) == 0)
#if WORDS == 4
#define fence(cpu)		(nothing(cpu, 0) && nothing(cpu, 1) && nothing(cpu, 2) && nothing(cpu, 3))
#elif WORDS == 6
#define fence(cpu)		(nothing(cpu, 0) && nothing(cpu, 1) && nothing(cpu, 2) && nothing(cpu, 3) && nothing(cpu, 4) && \
				 nothing(cpu, 5))
#else
#error "4 or 6 words"
#endif

#define release(cpu, at, v)	atomic { fence(cpu) -> pending(cpu, at) = (v) + 1 }
#define lock(cpu, at)		atomic { nothing(cpu, at) && mem[at] == 0 -> mem[at] = 1 }
#define unlock(cpu, at)		atomic { fence(cpu) -> mem[at] = 0 }

/* A store leaves the buffer of @cpu. */
inline arrives(cpu, at)
{
	pending(cpu, at) != 0 -> mem[at] = pending(cpu, at) - 1; pending(cpu, at) = 0
}

proctype drain(byte cpu)
{
end:	do
	:: atomic { arrives(cpu, 0) }
	:: atomic { arrives(cpu, 1) }
	:: atomic { arrives(cpu, 2) }
	:: atomic { arrives(cpu, 3) }
#if WORDS > 4
	:: atomic { arrives(cpu, 4) }
	:: atomic { arrives(cpu, 5) }
#endif
	od
}
