// SPDX-License-Identifier: GPL-2.0-only
/*
 * select.pml - select, plain sends and receives, close, deadlines and cancellation: libgk/select.c, libgk/chan.c and claim() in
 * libgk/internal.h.
 *
 * Tasks on as many cores, two channels of CAP elements (0 or 1). task(t) does ROUNDS times what CASES_t says: a set of
 *   1 send to 0    2 receive from 0    4 send to 1    8 receive from 1
 * A task of one case is a plain call, which is on the channel's list with the waiter that is in the task; others have a waiter a
 * case on their stack. parker(t) is finish() on its core: what is left to be done when the task is off its stack. closer()
 * closes channel 0 at any time, ender() ends a wait of task 0 as a deadline or gk_cancel() does.
 *
 * Shown, at the latest when nothing goes on any more (checker()):
 *   A wait is ended once, by whoever claims it, and with the case that it was claimed by.
 *   Nobody looks at the waiters of a task that has gone on, or at what a select has on its stack.
 *   What was sent was received once or is in the buffer.
 *   Nobody waits who could go on, no waiter is listed but of those who wait, a closed channel has none, no lock is held.
 */
#ifndef N
#define N	2
#endif
#ifndef ROUNDS
#define ROUNDS	1
#endif
#ifndef CAP
#define CAP	0
#endif
#ifndef CASES_0
#define CASES_0	15
#endif
#ifndef CASES_1
#define CASES_1	15
#endif
#ifndef CASES_2
#define CASES_2	1
#endif

#define CLAIMED		0
#define SWITCHING	1
#define WAITING		2

#define NOBODY		255
#define CANCELED	9		/* results: 0 sent, 1 received, 2 receive from a closed one, 3 send to a closed one */

/* Waiters: task * 4 + channel * 2 + (receive). Lists: channel * 2 + (receive). */
#define W(t, k)		((t) * 4 + (k))
#define task_of(v)	((v) / 4)
#define kind(v)		((v) % 4)
#define cases(t)	((t) == 0 -> CASES_0 : ((t) == 1 -> CASES_1 : CASES_2))
#define plain(t)	(cases(t) == 1 || cases(t) == 2 || cases(t) == 4 || cases(t) == 8)
#define has(t, k)	((cases(t) >> (k)) & 1)

chan list[4] = [N * 4] of { byte };
bool held[2];				/* the locks */
bool closed[2];
byte stored[2], slot[2];

byte claim[N];
byte result[N], fired[N];
byte value[N];				/* task->buf of a receiver: who sent it */
bool valid[N];				/* what a wait has on the stack, or in the task: it is used */
byte wait_no[N], no[N * 4];		/* the task's wait, and that of which a waiter is */
bool runs[N];				/* ready() */
bool parks[N];				/* switched away; parker() has to finish */
byte sent[3], got[3];			/* by who sent */
byte ended;

inline lock(c)
{
	atomic { !held[c] -> held[c] = true }
}

inline unlock(c)
{
	held[c] = false
}

/* claim() of the task of v: in ok. */
inline do_claim(v)
{
	assert(valid[task_of(v)]);
#ifdef MUTATE_LOAD_STORE
	ok = (claim[task_of(v)] == WAITING);
	if
	:: ok -> claim[task_of(v)] = CLAIMED
	:: else
	fi;
#else
	atomic {
		ok = (claim[task_of(v)] == WAITING);
		if
		:: ok -> claim[task_of(v)] = CLAIMED
		:: else
		fi
	}
#endif
	if
	:: ok -> assert(no[v] == wait_no[task_of(v)])	/* it was of this wait */
	:: else
	fi
}

/* waiter_get(): v, or NOBODY. The channel is locked. */
inline waiter_get(q)
{
	v = NOBODY;
	ok = false;
	do
	:: !ok && len(list[q]) > 0 ->
		list[q]?v;
		do_claim(v);
		if
		:: !ok -> v = NOBODY
		:: else
		fi
	:: ok || len(list[q]) == 0 -> break
	od
}

/* It fired with result r: who waited goes on. */
inline wake(r)
{
	atomic {
		assert(!runs[task_of(v)]);
		result[task_of(v)] = r;
		fired[task_of(v)] = v
	}
}

/*
 * chan_put() or chan_take() as case k of task me, if it can be done: then done is true, and woken whom to make ready. All locked
 * that the caller locks.
 */
inline try_case(k)
{
	woken = NOBODY;
	if
	:: closed[k / 2] && !(k % 2) -> done = true; result[me] = 3
	:: !(closed[k / 2] && !(k % 2)) ->
		waiter_get((k / 2) * 2 + 1 - k % 2);
		if
		:: !(k % 2) && v != NOBODY ->		/* to a receiver */
			value[task_of(v)] = me;
			wake(1);
			woken = task_of(v); done = true; result[me] = 0
		:: !(k % 2) && v == NOBODY && stored[k / 2] < CAP ->
			slot[k / 2] = me; stored[k / 2]++;
			done = true; result[me] = 0
		:: (k % 2) && stored[k / 2] ->
			value[me] = slot[k / 2];
			if
			:: v != NOBODY ->		/* the buffer stays full */
				slot[k / 2] = task_of(v);
				wake(0);
				woken = task_of(v)
			:: else -> stored[k / 2]--
			fi;
			done = true; result[me] = 1
		:: (k % 2) && !stored[k / 2] && v != NOBODY ->
			value[me] = task_of(v);
			wake(0);
			woken = task_of(v); done = true; result[me] = 1
		:: (k % 2) && !stored[k / 2] && v == NOBODY && closed[k / 2] -> done = true; result[me] = 2
		:: else
		fi
	fi
}

/* is_ready(): it seems so, maybe of one whose wait ends just now */
#define open_end(k)	(closed[(k) / 2] || ((k) % 2 -> (stored[(k) / 2] || len(list[(k) / 2 * 2])) : \
						     (stored[(k) / 2] < CAP || len(list[(k) / 2 * 2 + 1]))))
#define can(k)		(has(me, k) && !(tried & (1 << (k))) && open_end(k))

/* Its channels: a plain call locks its own only. */
#define uses(t, c)	(has(t, 2 * (c)) || has(t, 2 * (c) + 1))

inline lock_all()
{
#ifdef MUTATE_LOCK_ORDER
	first = (me == 1 -> 1 : 0);
#else
	first = 0;
#endif
	if
	:: uses(me, first) -> lock(first)
	:: else
	fi;
	if
	:: uses(me, 1 - first) -> lock((1 - first))
	:: else
	fi
}

inline unlock_all(t)
{
	if
	:: uses(t, 0) -> assert(valid[t]); unlock(0)
	:: else
	fi;
	if
	:: uses(t, 1) -> assert(valid[t]); unlock(1)
	:: else
	fi
}

inline count_it()
{
	atomic {
		if
		:: result[me] == 0 -> sent[me]++
		:: result[me] == 1 -> got[value[me]]++
		:: else
		fi
	}
}

#ifdef MUTATE_TRUST_LISTED	/* no lock for one that is off its list already */
#define seems_listed(k)	list[k]??[eval(W(me, k))]
#else
#define seems_listed(k)	true
#endif

proctype task(byte me)
{
	byte rounds, v, woken, k, first, tried;
	bool ok, done;

	do
	:: rounds < ROUNDS ->
		rounds++;
		done = false;
		tried = 0;
		valid[me] = true;
		lock_all();
		/* Any that is ready; one that turns out not to be is not tried again. */
		do
		:: !done && can(0) -> tried = tried | 1; try_case(0)
		:: !done && can(1) -> tried = tried | 2; try_case(1)
		:: !done && can(2) -> tried = tried | 4; try_case(2)
		:: !done && can(3) -> tried = tried | 8; try_case(3)
		:: done || !(can(0) || can(1) || can(2) || can(3)) -> break
		od;
		if
		:: done ->
			unlock_all(me);
			count_it();
			if
			:: woken != NOBODY -> runs[woken] = true
			:: else
			fi
		:: else ->
			d_step {
				wait_no[me]++;
				runs[me] = false;
				fired[me] = NOBODY;
				claim[me] = SWITCHING;
				k = 0;
				do
				:: k < 4 && has(me, k) -> no[W(me, k)] = wait_no[me]; list[k]!W(me, k); k++
				:: k < 4 && !has(me, k) -> k++
				:: k == 4 -> break
				od;
				parks[me] = true
			}
			runs[me];
			if
			:: result[me] == CANCELED -> assert(fired[me] == NOBODY)
			:: else -> assert(fired[me] != NOBODY)
			fi;
			k = 0;
			do
			:: k < 4 ->
				if
#ifdef MUTATE_KEEP_LOSERS
				:: false
#else
				:: has(me, k) && fired[me] != W(me, k) && (!plain(me) || result[me] == CANCELED) &&
				   seems_listed(k)
#endif
				->
					lock(k / 2);
					if
					:: list[k]??[eval(W(me, k))] -> list[k]??eval(W(me, k))
					:: else
					fi;
					unlock(k / 2)
				:: else
				fi;
				k++
			:: k == 4 -> break
			od;
			count_it()
		fi;
		valid[me] = false
	:: rounds == ROUNDS -> break
	od;
	ended++
}

/* finish() on the task's core. */
proctype parker(byte t)
{
end:	do
	:: parks[t] ->
		parks[t] = false;
#ifdef MUTATE_WAITING_LAST
		unlock_all(t);
		claim[t] = WAITING
#else
		claim[t] = WAITING;
		unlock_all(t)
#endif
#ifdef MUTATE_LOOK_BEHIND
		;
		assert(plain(t) || valid[t])
#endif
	od
}

#ifdef F_CLOSE
active proctype closer()
{
	byte v, n, i, woken[N];
	bool ok;

	lock(0);
	closed[0] = true;
	do
#ifndef MUTATE_CLOSE_HALF
	:: len(list[1]) > 0 ->
		waiter_get(1);
		if
		:: v != NOBODY -> wake(2); woken[n] = task_of(v); n++
		:: else
		fi
#endif
	:: len(list[0]) > 0 ->
		waiter_get(0);
		if
		:: v != NOBODY -> wake(3); woken[n] = task_of(v); n++
		:: else
		fi
#ifndef MUTATE_CLOSE_HALF
	:: len(list[0]) == 0 && len(list[1]) == 0 -> break
#else
	:: len(list[0]) == 0 -> break
#endif
	od;
	unlock(0);
	do
	:: i < n -> runs[woken[i]] = true; i++
	:: i == n -> break
	od
}
#endif

#ifdef F_END
active proctype ender()
{
	if
	:: atomic { claim[0] == WAITING -> claim[0] = CLAIMED };
		result[0] = CANCELED;
#ifdef MUTATE_CANCEL_FIRED
		fired[0] = W(0, 0);
#endif
		runs[0] = true
	:: true		/* not at all */
	fi
}
#endif

#define waits(t)	(claim[t] == WAITING)

proctype checker()
{
	byte i;

	timeout;
	d_step {
		assert(!held[0] && !held[1]);
		i = 0;
		do
		:: i < N ->
			if
			:: waits(i) -> assert(valid[i])
			:: else -> assert(!valid[i])
			fi;
			assert(claim[i] != SWITCHING);
			assert(sent[i] == got[i] + (stored[0] && slot[0] == i) + (stored[1] && slot[1] == i));
			/* All its waiters are listed if it waits, and none if not. */
			assert((list[0]??[eval(W(i, 0))]) == (waits(i) && has(i, 0)));
			assert((list[1]??[eval(W(i, 1))]) == (waits(i) && has(i, 1)));
			assert((list[2]??[eval(W(i, 2))]) == (waits(i) && has(i, 2)));
			assert((list[3]??[eval(W(i, 3))]) == (waits(i) && has(i, 3)));
			assert(!(waits(i) && closed[0] && uses(i, 0)));
			/* Who waits could not go on. */
			assert(!(waits(i) && has(i, 0) && stored[0] < CAP) && !(waits(i) && has(i, 1) && stored[0]));
			assert(!(waits(i) && has(i, 2) && stored[1] < CAP) && !(waits(i) && has(i, 3) && stored[1]));
			i++
		:: i == N -> break
		od;
		/* No two that could meet. */
#define meet(s, r)	(waits(s) && waits(r) && ((has(s, 0) && has(r, 1)) || (has(s, 2) && has(r, 3))))
		assert(!meet(0, 1) && !meet(1, 0));
#if N == 3
		assert(!meet(0, 2) && !meet(2, 0) && !meet(1, 2) && !meet(2, 1));
#endif
	}
}

init {
	atomic {
		byte i = 0;

		do
		:: i < N -> run task(i); run parker(i); i++
		:: i == N -> break
		od;
		run checker()
	}
}
