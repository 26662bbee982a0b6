// SPDX-License-Identifier: GPL-2.0-only
/*
 * wg.pml - a wait group (libgk/wg.c): the count and its WAITED mark in one word, changed by a compare-and-swap without the mark and
 * under waiters.lock with it.
 *
 * done() twice, by two tasks, while a third waits, and maybe gives up. Before it each writes something of its own, which who has
 * waited finds. Memory is that of memory.pml.
 */
#define CPUS	4
#define WORDS	6
#define WORD	0		/* 2 * count + WAITED */
#define LOCK	1
#define RESULT	2		/* .. 3 */
#define LIST	4		/* the waiter is on it */
#define CLAIM	5		/* 1: WAITING */
#include "memory.pml"

bool woken;

inline cas(cpu, at, old, new)
{
	atomic {
		fence(cpu) ->
		ok = (mem[at] == (old));
		if
		:: ok -> mem[at] = (new)
		:: else
		fi
	}
}

proctype doer(byte cpu)
{
	byte word, count;
	bool ok;

	plain(cpu, RESULT + cpu, 1);
again:	word = load(cpu, WORD);
	if
	:: word & 1 ->			/* wg_add_slow() */
		lock(cpu, LOCK);
		word = load(cpu, WORD);
		if
		:: !(word & 1) -> unlock(cpu, LOCK); goto again
		:: else ->
			count = word / 2 - 1;
			ok = false;
			if
			:: count == 0 && load(cpu, LIST) ->
				cas(cpu, CLAIM, 1, 0);
				plain(cpu, LIST, 0)
			:: else
			fi;
			/* With nobody to let go, who was listed has given up, and comes to take the mark off. */
#ifdef MUTATE_DROP_RELEASE
			plain(cpu, WORD, (ok -> 0 : count * 2 + 1));
#else
			release(cpu, WORD, (ok -> 0 : count * 2 + 1));
#endif
			unlock(cpu, LOCK);
			if
			:: ok -> fence(cpu); woken = true
			:: else
			fi
		fi
	:: else ->
		count = word / 2 - 1;
#ifdef MUTATE_LOAD_STORE
		plain(cpu, WORD, count * 2);
#elif defined(MUTATE_PLAIN_CAS)		/* no order: what was done before may be seen later */
		atomic {
			nothing(cpu, WORD) ->
			ok = (mem[WORD] == word);
			if
			:: ok -> mem[WORD] = count * 2
			:: else
			fi
		}
		if
		:: !ok -> goto again
		:: else
		fi;
#else
		cas(cpu, WORD, word, count * 2);
		if
		:: !ok -> goto again
		:: else
		fi;
#endif
	fi;
	going--
}

inline let_go(cpu)
{
	assert(load(cpu, RESULT) && load(cpu, RESULT + 1))
}

/* It comes when all is done, maybe, and does not wait. */
proctype late_comer()
{
	if
	:: load(3, WORD) == 0 -> let_go(3)
	:: true
	fi;
	going--
}

proctype waiter()
{
	byte word;
	bool ok;

	/* gk_wg_wait_until() */
	if
	:: load(2, WORD) == 0 -> let_go(2); goto out
	:: else
	fi;
	lock(2, LOCK);
#ifdef MUTATE_MARK_FIRST			/* the mark, then the look at the count */
	ok = false;
	do
	:: ok -> break
	:: else -> word = load(2, WORD); cas(2, WORD, word, word | 1)
	od;
	unlock(2, LOCK);
	goto listed;
#endif
	do
	:: true ->
		word = load(2, WORD);
		if
		:: word / 2 == 0 -> unlock(2, LOCK); let_go(2); goto out
		:: else
		fi;
#ifdef MUTATE_MARK_STORED
		plain(2, WORD, word | 1);
		break
#else
		if
		:: word & 1 -> break
		:: else
		fi;
		cas(2, WORD, word, word | 1);
		if
		:: ok -> break
		:: else
		fi
#endif
	od;
#ifdef MUTATE_MARK_FIRST
listed:	skip;
	lock(2, LOCK);
#endif
#ifdef MUTATE_UNLOCK_FIRST
	unlock(2, LOCK);
	plain(2, LIST, 1);
	release(2, CLAIM, 1);
#else
	plain(2, LIST, 1);
	release(2, CLAIM, 1);			/* finish(): WAITING, then the lock is dropped */
	unlock(2, LOCK);
#endif
	if
	:: woken -> let_go(2)
#ifdef F_END
	:: true ->				/* its deadline */
		cas(2, CLAIM, 1, 0);
		if
		:: !ok -> woken; let_go(2)
		:: else ->
			lock(2, LOCK);
			plain(2, LIST, 0);
			word = load(2, WORD);
			if
			:: word & 1 -> plain(2, WORD, word - 1)
			:: else
			fi;
			unlock(2, LOCK)
		fi
#endif
	fi;
out:	going--
}

init {
	atomic {
		mem[WORD] = 4;
		going = 4;
		run drain(0);
		run drain(1);
		run drain(2);
		run doer(0);
		run doer(1);
		run waiter();
		run late_comer()
	}
	timeout;
	assert(going == 0 && mem[WORD] == 0 && !mem[LIST])
}
