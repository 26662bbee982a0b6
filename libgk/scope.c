// SPDX-License-Identifier: MIT
/*
 * scope.c - scopes: tasks that are waited for, and that end together.
 *
 * Invariants, under scope->lock:
 *   `running` counts the tasks that were started and have not left, and those about to be started. Each holds the
 *   scope: gk_scope_wait() frees it when there is none, and the deadline's task is done.
 *   A task leaves with its last step, scope_leave(): after that it executes nothing of the user's any more.
 *   Once `reason` is set no task joins, nobody waits for a slot, and only who set it takes tasks from list to list:
 *   members, then marked (cancelled is set), and after a fence, settled (its wait is ended).
 *   What frees a slot hands it to who has waited longest for one, and `running` stays.
 * Lock order: a scope's, then a task's or a heap's.
 *
 * Cancellation goes downwards by the tasks that wait: one that is cancelled while it waits for its scope cancels that,
 * and waits on.
 */
#include <stdlib.h>
#include <string.h>

#include "switch.h"

#define BATCH		32	/* tasks that are cancelled in a row, inside */

struct gk_scope {
	uint32_t lock;
	unsigned int flags;
	int reason;			/* why it was cancelled: -ECANCELED, -ETIMEDOUT; 0: it was not */
	int result;			/* the first error */
	size_t running, limit;
	gk_task *owner;
	struct gk_scope *outer;		/* that the owner opened before it */
	struct list members, marked, settled;
	struct gk_queue slots;		/* who waits to start a task */
	struct gk_queue waiting;	/* the owner, in gk_scope_wait() */
	gk_timer *timer;		/* of its deadline, or NULL */
	bool expired;			/* the timer's task is done with it */
};

/* The owner, if it waits: it is to look again. */
static struct gk_task *wake_owner(struct gk_scope *s)
{
	struct waiter *v = waiter_get(&s->waiting);

	if (!v)
		return NULL;
	v->task->result = 0;
	return v->task;
}

/* One less that runs. Returns whom to make ready, or NULL. Once it is unlocked, the scope may be gone. */
static struct gk_task *slot_put(struct gk_scope *s)
{
	struct waiter *v = waiter_get(&s->slots);

	if (v) {
		v->task->result = 1;
		return v->task;
	}
	return --s->running ? NULL : wake_owner(s);
}

static struct worker *scope_lock(struct gk_scope *s)
{
	struct worker *w = enter();

	lock(&s->lock);
	return w;
}

static void scope_unlock(struct worker *w, struct gk_scope *s)
{
	unlock(&s->lock);
	leave(w);
}

static void slot_return(struct gk_scope *s)
{
	struct worker *w = scope_lock(s);
	struct gk_task *t = slot_put(s);

	unlock(&s->lock);
	if (t)
		ready(w, t, true);
	leave(w);
}

void scope_leave(struct worker *w, struct gk_task *t)
{
	struct gk_scope *s = t->scope;
	struct gk_task *other;

	if (!(t->ending & ENDING_SCOPE))
		return;
	lock(&s->lock);
	list_del(&t->sibling);
	other = slot_put(s);
	unlock(&s->lock);
	if (other)
		ready(w, other, true);
}

/* The scope is locked, and between batches others may have it. */
static void mark(struct worker *w, struct gk_task *t, struct gk_scope *s)
{
	list_del(&t->sibling);
	list_add_tail(&t->sibling, &s->marked);
	if (t == w->task)
		return;
	if (s->flags & GK_SCOPE_INTERRUPT)
		store(&t->interrupted, 1);
	store_release(&t->cancelled, 1);
}

static void settle(struct worker *w, struct gk_task *t, struct gk_scope *s)
{
	list_del(&t->sibling);
	list_add_tail(&t->sibling, &s->settled);
	if (t == w->task)
		return;
	cancel_claim(w, t);
	if (s->flags & GK_SCOPE_INTERRUPT)
		interrupt_start(w, t);
}

static void each(struct gk_scope *s, struct list *from,
		 void (*fn)(struct worker *w, struct gk_task *t, struct gk_scope *s))
{
	bool more = true;
	struct worker *w;
	int i;

	while (more) {
		w = scope_lock(s);
		for (i = 0; i < BATCH && !list_empty(from); i++)
			fn(w, container_of(from->next, struct gk_task, sibling), s);
		more = !list_empty(from);
		scope_unlock(w, s);
	}
}

/*
 * Cancels all its tasks, but the calling one, for @reason; @err is its result unless it has one, or nothing ran any
 * more. Outside, by one who holds the scope.
 */
static void scope_stop(struct gk_scope *s, int reason, int err)
{
	struct gk_task *first = NULL, **last = &first, *t;
	struct worker *w = scope_lock(s);
	struct waiter *v;
	bool stopped = s->reason;

	if (s->running && !s->result)
		s->result = err;
	if (!stopped)
		s->reason = reason;
	while ((v = waiter_get(&s->slots))) {
		v->task->result = 0;
		*last = v->task;
		last = &v->task->next;
	}
	*last = NULL;
	unlock(&s->lock);
	while ((t = first)) {
		first = t->next;
		ready(w, t, true);
	}
	leave(w);
	if (stopped)
		return;
	each(s, &s->members, mark);
	/* As in gk_cancel(). */
	full_fence_everywhere();
	each(s, &s->marked, settle);
}

/* What a task of a scope executes. */
static void scope_task(void *arg)
{
	struct gk_task *t = gk_self();
	struct gk_scope *s = t->scope;
	int err = t->scope_fn(arg);
	struct worker *w;

	/* One that was cancelled and says so has not failed. */
	if (err >= 0 || (err == -ECANCELED && load(&t->cancelled)))
		return;
	if (!(s->flags & GK_SCOPE_SUPERVISOR)) {
		scope_stop(s, -ECANCELED, err);
		return;
	}
	w = scope_lock(s);
	if (!s->result)
		s->result = err;
	scope_unlock(w, s);
}

static void scope_expire(void *arg)
{
	struct gk_scope *s = arg;
	struct gk_task *owner;
	struct worker *w;

	scope_stop(s, -ETIMEDOUT, -ETIMEDOUT);
	w = scope_lock(s);
	s->expired = true;
	owner = wake_owner(s);
	unlock(&s->lock);
	if (owner)
		ready(w, owner, true);
	leave(w);
}

/* Waits until the scope has room for one more, which it then counts; @otherwise: the error when it is too late. */
static int slot_get(struct gk_scope *s, uint64_t deadline, int otherwise)
{
	struct worker *w = scope_lock(s);
	struct gk_task *t = w->task;
	int err;

	if (!s->reason && s->limit && s->running >= s->limit) {
		waiter_put(&s->slots, &t->waiter);
		err = wait_until(w, &s->lock, WHY_SCOPE_SLOT, s, deadline);
		if (err == 1)
			return 0;
		w = scope_lock(s);
		if (err)
			waiter_del(&s->slots, &t->waiter);
		if (err == -ETIMEDOUT)
			err = otherwise;
		else if (err == -ECANCELED && t == s->owner && !s->result)
			s->result = err;
	} else {
		err = s->reason;
		if (!err)
			s->running++;
	}
	if (s->reason) {
		err = s->reason;
		/* What should have run did not. */
		if (!s->result)
			s->result = err;
	}
	scope_unlock(w, s);
	return err;
}

static int scope_spawn(gk_scope *s, const struct gk_attr *attr, int (*fn)(void *arg), void *arg, uint64_t deadline,
		       int otherwise)
{
	gk_task *me = gk_self(), *t;
	struct worker *w;
	int err;

	if (!s || !fn)
		return -EINVAL;
	if (!me)
		return -EPERM;
	if (me == s->owner && load(&me->cancelled) && !me->masks)
		scope_stop(s, -ECANCELED, -ECANCELED);
	err = slot_get(s, deadline, otherwise);
	if (err == -ECANCELED && me == s->owner)
		scope_stop(s, err, err);
	if (err)
		return err;
	w = task_make(attr, scope_task, arg, &t, &err);
	if (!w) {
		slot_return(s);
		return err;
	}
	t->detached = true;
	t->scope = s;
	t->scope_fn = fn;
	t->ending |= ENDING_SCOPE;
	lock(&s->lock);
	/* Cancelled since: it starts all the same, and finds out. */
	if (unlikely(s->reason)) {
		t->cancelled = 1;
		list_add_tail(&t->sibling, &s->settled);
	} else {
		list_add_tail(&t->sibling, &s->members);
	}
	unlock(&s->lock);
	ready_new(w, t);
	leave(w);
	return 0;
}

int gk_scope_spawn_until(gk_scope *s, const struct gk_attr *attr, int (*fn)(void *arg), void *arg, uint64_t deadline)
{
	return scope_spawn(s, attr, fn, arg, deadline, -ETIMEDOUT);
}

int gk_scope_spawn(gk_scope *s, const struct gk_attr *attr, int (*fn)(void *arg), void *arg)
{
	return scope_spawn(s, attr, fn, arg, GK_FOREVER, 0);
}

int gk_scope_go(gk_scope *s, int (*fn)(void *arg), void *arg)
{
	return scope_spawn(s, NULL, fn, arg, GK_FOREVER, 0);
}

int gk_scope_try_go(gk_scope *s, int (*fn)(void *arg), void *arg)
{
	return scope_spawn(s, NULL, fn, arg, 0, -EAGAIN);
}

int gk_scope_open(gk_scope **scope, const struct gk_scope_attr *attr)
{
	uint64_t deadline = attr && attr->deadline ? attr->deadline : GK_FOREVER, now;
	unsigned int flags = attr ? attr->flags : 0;
	gk_task *t = gk_self();
	struct gk_scope *s;
	int err;

	if (!scope || flags & ~(GK_SCOPE_SUPERVISOR | GK_SCOPE_INTERRUPT))
		return -EINVAL;
	if (!t)
		return -EPERM;
	if (flags & GK_SCOPE_INTERRUPT) {
		err = interrupt_handler();
		if (err)
			return err;
	}
	s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	s->flags = flags;
	s->limit = attr ? attr->limit : 0;
	s->owner = t;
	list_init(&s->members);
	list_init(&s->marked);
	list_init(&s->settled);
	now = deadline == GK_FOREVER ? 0 : now_ns();
	if (deadline <= now) {
		s->reason = -ETIMEDOUT;
	} else if (deadline != GK_FOREVER) {
		s->timer = gk_timer_start(deadline - now, scope_expire, s);
		if (!s->timer) {
			free(s);
			return -ENOMEM;
		}
	}
	s->outer = t->ending & ENDING_OPENED ? t->opened : NULL;
	t->opened = s;
	t->ending |= ENDING_OPENED;
	*scope = s;
	return 0;
}

int gk_scope_cancel(gk_scope *s)
{
	if (!s)
		return -EINVAL;
	if (!gk_self())
		return -EPERM;
	scope_stop(s, -ECANCELED, -ECANCELED);
	return 0;
}

static bool is_over(struct gk_scope *s)
{
	return !s->running && (!s->timer || s->expired);
}

/* Until all have left; with @timer, until its task has, too. */
static void wait_for_all(struct gk_scope *s, gk_task *t, uint64_t deadline)
{
	bool masked = false;
	struct worker *w;
	int err;

	for (;;) {
		w = scope_lock(s);
		if (is_over(s))
			break;
		waiter_put(&s->waiting, &t->waiter);
		err = wait_until(w, &s->lock, WHY_SCOPE, s, deadline);
		if (!err)
			continue;
		w = scope_lock(s);
		waiter_del(&s->waiting, &t->waiter);
		scope_unlock(w, s);
		scope_stop(s, err, err);
		if (err == -ECANCELED) {
			gk_cancel_mask();
			masked = true;
		} else {
			deadline = GK_FOREVER;
		}
	}
	scope_unlock(w, s);
	if (masked)
		gk_cancel_unmask();
}

int gk_scope_wait_until(gk_scope *s, uint64_t deadline)
{
	gk_task *t = gk_self();
	struct gk_scope **p;
	gk_timer *timer;
	int result;

	if (!s)
		return -EINVAL;
	if (!t || s->owner != t)
		return -EPERM;
	timer = s->timer;
	s->timer = NULL;
	wait_for_all(s, t, deadline);
	if (timer && !gk_timer_stop(timer)) {
		/* Its task was started, and may still have the scope. */
		s->timer = timer;
		gk_cancel_mask();
		wait_for_all(s, t, GK_FOREVER);
		gk_cancel_unmask();
	}
	for (p = &t->opened; *p != s; p = &(*p)->outer)
		;
	*p = s->outer;
	result = s->result;
	free(s);
	return result;
}

int gk_scope_wait(gk_scope *s)
{
	return gk_scope_wait_until(s, GK_FOREVER);
}

void task_ending(struct gk_task *t)
{
	struct gk_scope *s;

	/* The main task's end is everybody's. */
	while (t->ending & ENDING_OPENED && (s = t->opened) && t->id != 1) {
		scope_stop(s, -ECANCELED, -ECANCELED);
		gk_scope_wait(s);
	}
	task_locals_end(t);
}
