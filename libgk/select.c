// SPDX-License-Identifier: MIT
/*
 * select.c - one of several sends and receives.
 *
 * First a look at all channels without their locks: one that seems ready, each as likely as another, is tried alone, as
 * a try to send or receive. That it can be done at that moment is all that is asked of a choice. If none can, all
 * channels are locked, in the order of their addresses, and looked at again: now it is known of one moment what can be
 * done, and if that is nothing the task is put on the lists of all of them, or the default is taken.
 *
 * The locks are dropped when the task is off its stack (AFTER_SELECT), after its claim has become WAITING: by then
 * others may claim it, but it cannot go on before the last lock is dropped, as it takes that one itself to leave the
 * list; or it was claimed by way of that channel, by somebody who has the lock. So its struct select, which is on its
 * stack, may be read until then, and not after that.
 *
 * One claim ends the wait, so exactly one case is done, or none where a deadline or gk_cancel() was first. The task
 * then takes its other waiters off, under each channel's lock, also those that seem off already: who drops one in
 * waiter_get() still looks at the task's claim, which must not be of its next wait. The channel of the case that was
 * done may be gone by then, and is not touched, unless other cases are of the same one.
 *
 * The cases, their elements and the task's own bookkeeping are read, copied and written outside: the last is written in
 * full there, so that it does not fault inside.
 */
#include <limits.h>
#include <stdlib.h>

#include "chan.h"

#define SPACE	1024u		/* of bookkeeping on the stack; more is malloc()'s */
#define TRIES	4		/* before the locks are taken, if others are always faster */

/* At random from 0 to @n - 1. PCG's output function. */
static inline uint32_t random_below(struct worker *w, uint32_t n)
{
	uint32_t x = w->seed;

	w->seed = x * 747796405u + 2891336453u;
	x = ((x >> ((x >> 28) + 4)) ^ x) * 277803737u;
	x = (x >> 22) ^ x;
	return (uint64_t)x * n >> 32;
}

static always_inline bool seems_ready(const struct gk_case *k)
{
	const gk_chan *c = k->chan;

	if (unlikely(load(&c->closed)))
		return true;
	return k->op == GK_CASE_SEND ? !chan_full(c) : !chan_empty(c);
}

/* What one case alone returned, as the select's: outside. */
static int single(struct gk_case *k, int index, int result)
{
	if (result < 0 && result != -EPIPE)
		return result;
	k->result = result;
	return index;
}

static int try_one(struct gk_case *k, int index)
{
	if (k->op == GK_CASE_SEND)
		return single(k, index, gk_chan_try_send(k->chan, k->elem));
	return single(k, index, gk_chan_try_recv(k->chan, k->elem));
}

/* Waits for the only case that has a channel. */
static __attribute__((noinline)) int wait_single(struct gk_case *k, uint64_t deadline, enum when when)
{
	int i;

	for (i = 0; !k[i].chan; i++)
		;
	k += i;
	if (when == NOW)
		return try_one(k, i);
	if (k->op == GK_CASE_SEND)
		return single(k, i, gk_chan_send_until(k->chan, k->elem, deadline));
	return single(k, i, gk_chan_recv_until(k->chan, k->elem, deadline));
}

/* Tries what seems ready: -EAGAIN if nothing does. *live is how many cases have a channel. */
static int try_ready(struct worker *w, struct gk_case *cases, size_t n, size_t *live)
{
	unsigned int tries;
	size_t i, pick = 0;
	uint32_t ready;
	int err;

	for (tries = 0; tries < TRIES; tries++) {
		ready = 0;
		*live = 0;
		for (i = 0; i < n; i++) {
			if (!cases[i].chan)
				continue;
			if (cases[i].op & ~GK_CASE_SEND)
				return -EINVAL;
			++*live;
			/* Of k that are ready each is the one with a chance of 1/k. */
			if (seems_ready(&cases[i]) && (!ready++ || !random_below(w, ready)))
				pick = i;
		}
		if (!ready)
			return -EAGAIN;
		err = try_one(&cases[pick], pick);
		if (err != -EAGAIN)
			return err;
		w = self();
	}
	return -EAGAIN;
}

/* ---- the bookkeeping: outside ------------------------------------------------------------------------------------ */

static void sift(struct offer **a, size_t i, size_t n)
{
	struct offer *o = a[i];
	size_t child;

	for (; (child = 2 * i + 1) < n; i = child) {
		if (child + 1 < n && a[child]->chan < a[child + 1]->chan)
			child++;
		if (o->chan >= a[child]->chan)
			break;
		a[i] = a[child];
	}
	a[i] = o;
}

/* By the address of the channel. A heap, as it may be thousands. */
static void sort(struct offer **a, size_t n)
{
	struct offer *o;
	size_t i, j;

	if (n <= 16) {
		for (i = 1; i < n; i++) {
			o = a[i];
			for (j = i; j && a[j - 1]->chan > o->chan; j--)
				a[j] = a[j - 1];
			a[j] = o;
		}
		return;
	}
	for (i = n / 2; i--;)
		sift(a, i, n);
	for (i = n; --i;) {
		o = a[0];
		a[0] = a[i];
		a[i] = o;
		sift(a, 0, i);
	}
}

/* What the bookkeeping has of a case, beside its offer: the element, or a direct channel's address of it. */
static size_t room(const struct gk_case *k)
{
	if (k->chan->direct)
		return 16;
	return k->op == GK_CASE_SEND ? (k->chan->slot_size + 15) & ~15ul : 0;
}

static void *big_copy(struct offer *o)
{
	return *(void **)o->v.data;
}

/* Frees the copies of what was not sent. */
static void drop_copies(struct select *s, struct offer *sent)
{
	uint32_t i;

	for (i = 0; i < s->n; i++)
		if (s->offers[i].big && s->offers[i].send && &s->offers[i] != sent)
			free(big_copy(&s->offers[i]));
}

/* Fills in s->offers and s->order, of the cases that have channels; elements to be sent go to @values. */
static int fill(struct select *s, struct gk_task *t, struct gk_case *cases, size_t n, char *values)
{
	struct offer *o = s->offers;
	void *own;
	size_t i;

	for (i = 0; i < n; i++) {
		gk_chan *c = cases[i].chan;

		if (!c)
			continue;
		memset(o, 0, sizeof(*o));
		o->v.task = t;
		o->v.data = t->buf;
		o->chan = c;
		o->elem_size = c->elem_size;
		o->index = i;
		o->send = cases[i].op == GK_CASE_SEND;
		o->big = c->big;
		o->direct = c->direct;
		s->order[s->n] = o;
		if (o->direct) {
			o->v.data = values;
			values += room(&cases[i]);
			memcpy(o->v.data, &cases[i].elem, sizeof(void *));
		} else if (o->send) {
			o->v.data = values;
			values += room(&cases[i]);
			if (!o->big) {
				copy(o->v.data, cases[i].elem, o->elem_size);
			} else {
				own = malloc(o->elem_size);
				if (!own) {
					drop_copies(s, NULL);
					return -ENOMEM;
				}
				memcpy(own, cases[i].elem, o->elem_size);
				memcpy(o->v.data, &own, sizeof(own));
			}
		}
		o++;
		s->n++;
	}
	if (!load(&gk_alone))
		sort(s->order, s->n);
	return 0;
}

/* ---- inside ------------------------------------------------------------------------------------------------------ */

static void lock_all(struct select *s)
{
	uint32_t i;

	if (load(&gk_alone))
		return;
	for (i = 0; i < s->n; i++)
		if (!i || s->order[i]->chan != s->order[i - 1]->chan)
			lock(&s->order[i]->chan->lock);
}

/* The last that is read of @s is read before the last lock is dropped. */
static void unlock_all(struct select *s)
{
	struct offer **order = s->order;
	uint32_t i, n = s->n;

	if (load(&gk_alone))
		return;
	for (i = 0; i < n; i++)
		if (i + 1 == n || order[i]->chan != order[i + 1]->chan)
			unlock(&order[i]->chan->lock);
}

/* finish(): the task is off its stack. */
void select_parked(struct gk_task *t)
{
	struct select *s = (struct select *)t->on;

	store_release(&t->claim, load(&t->claim) + (WAITING - SWITCHING));
	unlock_all(s);
}

/* Somebody waits there whose wait has not ended. Channel locked. */
static bool anybody(struct gk_queue *q)
{
	struct waiter *v;

	while ((v = q->first) && load(&v->task->claim) == CLAIMED)
		waiter_del(q, v);
	return v;
}

static bool is_ready(struct offer *o)
{
	gk_chan *c = o->chan;

	if (c->closed)
		return true;
	return o->send ? c->len < c->cap || anybody(&c->receivers) : c->len || anybody(&c->senders);
}

/* Does one of the cases that can be done, and returns it; NULL: none can. All locked. */
static struct offer *poll_all(struct worker *w, struct select *s, int *result, struct gk_task **wake)
{
	struct gk_task *t = w->task;
	struct offer *pick = NULL;
	uint32_t i, ready;
	gk_chan *c;

	for (;;) {
		ready = 0;
		for (i = 0; i < s->n; i++)
			if (is_ready(&s->offers[i]) && (!ready++ || !random_below(w, ready)))
				pick = &s->offers[i];
		if (!ready)
			return NULL;
		c = pick->chan;
		if (pick->send)
			*result = chan_put(c, pick->v.data, c->slot_size, wake);
		else
			*result = chan_take(c, t->buf, c->slot_size, wake);
		/* Else the wait of whom we found has just ended otherwise, and it is off the list. */
		if (*result != -EAGAIN)
			return pick;
	}
}

static always_inline struct gk_queue *queue_of(struct offer *o)
{
	return o->send ? &o->chan->senders : &o->chan->receivers;
}

/*
 * Puts @o on its list. If others of this select are there, behind everybody else, as their channel is the same, then
 * each is the first of them with the same chance: that is the one to be done.
 */
static always_inline void enqueue(struct worker *w, struct offer *o)
{
	struct gk_queue *q = queue_of(o);
	struct waiter *last = q->last, *first;
	struct offer *at;

	o->same = 1;
	o->first = &o->v;
	if (likely(!last || last->task != o->v.task)) {
		waiter_put(q, &o->v);
		return;
	}
	at = container_of(last, struct offer, v);
	first = at->first;
	at->same++;
	if (random_below(w, at->same)) {
		o->same = at->same;
		o->first = first;
		waiter_put(q, &o->v);
	} else {
		at->first = &o->v;
		waiter_put_before(q, &o->v, first);
	}
}

static void dequeue_all(struct select *s, struct offer *fired)
{
	struct offer *o;

	for (o = s->offers; o < s->offers + s->n; o++) {
		if (o == fired)
			continue;
		lock(&o->chan->lock);
		waiter_del(queue_of(o), &o->v);
		unlock(&o->chan->lock);
	}
}

/* All locked, none ready. Returns outside, with the case that was done, or NULL and an error. */
static always_inline struct offer *wait_for_one(struct worker *w, struct select *s, uint64_t deadline, int *result)
{
	struct gk_task *t = w->task;
	struct core *core = w->core;
	struct offer *o, *fired = NULL;

	if (deadline != GK_FOREVER && deadline <= now_ns()) {
		*result = -ETIMEDOUT;
		goto out_unlock;
	}
	t->why = WHY_SELECT;
	t->on = s;
	t->since = core->clock;
	store(&t->claim, t->claims);
	__atomic_signal_fence(__ATOMIC_SEQ_CST);	/* as in wait_here() */
	if (unlikely(load(&t->cancelled)) && t->claims & CANCELLABLE) {
		store(&t->claim, CLAIMED);
		*result = -ECANCELED;
		goto out_unlock;
	}
	for (o = s->offers; o < s->offers + s->n; o++)
		enqueue(w, o);
	if (deadline != GK_FOREVER) {
		t->timer.when = deadline;
		t->timer.expire = wait_expired;
		lock(&core->timers_lock);
		timer_add(w, &t->timer);
		unlock(&core->timers_lock);
	}
	w = switch_away(w, AFTER_SELECT);
	if (deadline != GK_FOREVER)
		timer_del(&t->timer);
	*result = t->result;
	if (*result != -ECANCELED && *result != -ETIMEDOUT)
		fired = container_of(t->fired, struct offer, v);
	dequeue_all(s, fired);
	leave(w);
	return fired;

out_unlock:
	unlock_all(s);
	leave(w);
	return NULL;
}

/* ---- the calls --------------------------------------------------------------------------------------------------- */

static always_inline int choose_slow(struct gk_case *cases, size_t n, size_t live, enum when when, uint64_t deadline)
{
	char space[SPACE] __attribute__((aligned(16))), *memory = space;
	struct gk_task *t = gk_self(), *wake = NULL;
	struct select s = {};
	struct offer *done;
	struct worker *w;
	int result, err;
	size_t i, bytes;

	bytes = live * (sizeof(struct offer) + sizeof(struct offer *));
	for (i = 0; i < n; i++)
		if (cases[i].chan)
			bytes += room(&cases[i]);
	bytes += 16;
	if (bytes > sizeof(space)) {
		memory = malloc(bytes);
		if (!memory)
			return -ENOMEM;
	}
	s.offers = (void *)memory;
	s.order = (void *)(s.offers + live);
	err = fill(&s, t, cases, n, (char *)(((uintptr_t)(s.order + live) + 15) & ~15ul));
	if (err)
		goto out;

	w = enter();
	lock_all(&s);
	done = poll_all(w, &s, &result, &wake);
	if (done || when == NOW) {
		unlock_all(&s);
		if (wake && done->direct) {
			leave(w);
			hand_over(wake, done->send, cases[done->index].elem, done->elem_size);
			w = enter();
		}
		if (wake)
			ready(w, wake, true);
		leave(w);
		if (!done)
			result = -EAGAIN;
	} else {
		done = wait_for_one(w, &s, deadline, &result);
	}

	err = result;
	if (done) {
		err = done->index;
		cases[done->index].result = result;
		if (!done->send && !done->direct && result == 1)
			chan_unstage(t->buf, cases[done->index].elem, done->elem_size, done->big);
	}
	drop_copies(&s, result ? NULL : done);
out:
	if (memory != space)
		free(memory);
	return err;
}

static always_inline int choose(struct gk_case *cases, size_t n, enum when when, uint64_t deadline)
{
	struct worker *w = self();
	size_t live = 0;
	int err;

	if (unlikely(!w || !w->task))
		return -EPERM;
	if (unlikely(n > INT_MAX))
		return -EINVAL;
	err = try_ready(w, cases, n, &live);
	if (err != -EAGAIN)
		return err;
	if (unlikely(!live))
		return chan_wait_null(when, deadline);
	if (live == 1)
		return wait_single(cases, deadline, when);
	return choose_slow(cases, n, live, when, deadline);
}

int gk_select(struct gk_case *cases, size_t n)
{
	return choose(cases, n, EVER, GK_FOREVER);
}

int gk_select_until(struct gk_case *cases, size_t n, uint64_t deadline)
{
	return choose(cases, n, UNTIL, deadline);
}

int gk_select_try(struct gk_case *cases, size_t n)
{
	return choose(cases, n, NOW, 0);
}
