// SPDX-License-Identifier: MIT
/*
 * task.c - tasks: start, join, names.
 *
 * A task's struct lies at the top of its own stack, so that a switch touches one page. It is given back when the task
 * has ended and its handle has been given up, whichever comes last. `lock` decides which that is: a joiner that comes
 * before the end gives the handle up there and then (`joiner`), one that comes after it frees the task itself
 * (`ended`).
 */
#include <string.h>

#include "switch.h"

#define STACK_MIN	(16u << 10)
#define STACK_MAX	(1ul << 30)

void task_init(struct worker *w, struct gk_task *t, unsigned int flags, void (*fn)(void *), void *arg)
{
	struct core *core = w->core;

	announce_start(&t->announced);
	t->sp = context_make(t, task_entry, fn, arg);
	t->fpu_own = flags & GK_FPU;
	t->err = 0;
	t->pinned = NULL;
	t->pins = !!(flags & GK_PINNED);
	t->nopreempts = 0;
	t->woken = 0;
	t->lock = 0;
	t->joiner = NULL;
	t->ended = t->joined = t->detached = t->watched = false;
	t->claim = CLAIMED;
	t->claims = SWITCHING | CANCELLABLE;
	t->cancelled = 0;
	t->masks = 0;
	t->waiter.task = t;
	t->waiter.listed = false;
	t->timer.core = NULL;
	t->ending = 0;
	t->interrupted = 0;
	t->locals = NULL;
	t->fn = fn;
	t->arg = arg;
	count(&core->started);
	store(&t->id, core->next_id);		/* a dump looks */
	core->next_id += core->rt->ncores;
	t->name[0] = 0;
}

/* Goes inside with a new task that is the caller's child. NULL, and outside: an error, in *err. */
static always_inline struct worker *make(const struct gk_attr *attr, void (*fn)(void *arg), void *arg,
					 struct gk_task **task, int *err)
{
	size_t size = attr && attr->stack_size ? attr->stack_size : STACK_SIZE;
	char name[sizeof(((struct gk_task *)NULL)->name)] = "";
	unsigned int flags;
	struct gk_task *t;
	struct worker *w;

	*err = -EINVAL;
	if (!fn || size < STACK_MIN || size > STACK_MAX || (attr && attr->flags & ~(GK_PINNED | GK_FPU)))
		return NULL;
	flags = attr ? attr->flags : 0;
	if (attr && attr->name)
		strncpy(name, attr->name, sizeof(name) - 1);
	w = task_get(size, &t, err);
	if (!w)
		return NULL;
	task_init(w, t, flags, fn, arg);
	if (name[0])
		memcpy(t->name, name, sizeof(name));
	task_inherit(t, w->task->locals);
	*task = t;
	return w;
}

struct worker *task_make(const struct gk_attr *attr, void (*fn)(void *arg), void *arg, struct gk_task **task, int *err)
{
	return make(attr, fn, arg, task, err);
}

int gk_spawn(gk_task **task, const struct gk_attr *attr, void (*fn)(void *arg), void *arg)
{
	struct gk_task *t;
	struct worker *w;
	int err;

	w = make(attr, fn, arg, &t, &err);
	if (!w)
		return err;
	t->detached = !task;
	ready_new(w, t);
	leave(w);
	if (task)
		*task = t;
	return 0;
}

int gk_go(void (*fn)(void *arg), void *arg)
{
	return gk_spawn(NULL, NULL, fn, arg);
}

static always_inline int join(gk_task *t, uint64_t deadline)
{
	struct gk_task *me;
	struct worker *w;
	int err;

	if (!t)
		return -EINVAL;
	w = enter();
	if (!w)
		return -EPERM;
	if (t == w->task) {
		leave(w);
		return -EDEADLK;
	}
	lock(&t->lock);
	if (t->joiner || t->detached) {
		unlock(&t->lock);
		leave(w);
		return -EINVAL;
	}
	if (t->ended) {
		unlock(&t->lock);
		task_free(w, t);
		leave(w);
		return 0;
	}
	me = w->task;
	t->joiner = &me->waiter;
	if (likely(deadline == GK_FOREVER))
		err = wait_here(w, &t->lock, WHY_JOIN, t);
	else
		err = wait_until(w, &t->lock, WHY_JOIN, t, deadline);
	if (unlikely(err)) {
		/* It has not ended, or has not seen us: the handle is ours still. */
		w = enter();
		lock(&t->lock);
		t->joiner = NULL;
		unlock(&t->lock);
		leave(w);
	}
	return err;
}

int gk_join(gk_task *t)
{
	return join(t, GK_FOREVER);
}

int gk_join_until(gk_task *t, uint64_t deadline)
{
	return join(t, deadline);
}

/* Ends the wait of a task that has been cancelled, if it waits. It cannot end meanwhile. */
void cancel_claim(struct worker *w, struct gk_task *t)
{
	unsigned int spins = 0;
	uint32_t c;

	/* While it switches away, on another core, it is brief: as the holder of a lock. */
	while ((c = load(&t->claim)) & SWITCHING && c & CANCELLABLE)
		spin(&spins);
	if (c & CANCELLABLE && cas(&t->claim, c, CLAIMED)) {
		t->result = -ECANCELED;
		store(&t->interrupted, 0);
		ready_tail(w, t);
	}
	if (unlikely(load(&t->waker)))
		poll_cancel(t);
}

int gk_cancel(gk_task *t)
{
	struct worker *w;

	if (!t)
		return -EINVAL;
	if (!gk_self())
		return -EPERM;
	store_release(&t->cancelled, 1);	/* after `interrupted` */
	/* Pairs with wait_here(): the task sees `cancelled`, or we see that it is about to wait. */
	full_fence_everywhere();
	w = enter();
	cancel_claim(w, t);
	leave(w);
	return 0;
}

int gk_cancelled(void)
{
	gk_task *t = gk_self();

	if (!t)
		return -EPERM;
	if (!load(&t->cancelled) || t->masks)
		return 0;
	store(&t->interrupted, 0);
	return 1;
}

int gk_cancel_mask(void)
{
	gk_task *t = gk_self();

	if (!t)
		return -EPERM;
	store(&t->masks, t->masks + 1);
	t->claims = SWITCHING;
	return 0;
}

int gk_cancel_unmask(void)
{
	gk_task *t = gk_self();

	if (!t)
		return -EPERM;
	if (!t->masks)
		return -EINVAL;
	store(&t->masks, t->masks - 1);
	if (!t->masks)
		t->claims = SWITCHING | CANCELLABLE;
	return 0;
}

int gk_detach(gk_task *t)
{
	struct worker *w;
	int err = 0;

	if (!t)
		return -EINVAL;
	w = enter();
	if (!w)
		return -EPERM;
	lock(&t->lock);
	if (t->joiner || t->detached) {
		unlock(&t->lock);
		err = -EINVAL;
	} else if (t->ended) {
		unlock(&t->lock);
		task_free(w, t);
	} else {
		t->detached = true;
		unlock(&t->lock);
	}
	leave(w);
	return err;
}

gk_task *gk_self(void)
{
	struct worker *w = self();

	return w ? w->task : NULL;
}

uint64_t gk_id(void)
{
	gk_task *t = gk_self();

	return t ? t->id : 0;
}

const char *gk_name(void)
{
	gk_task *t = gk_self();

	return t ? t->name : NULL;
}

/* The compiler must not see that this only calls a const function: it would make it const, too, and keep its result. */
#ifdef __clang__
__attribute__((noinline)) int *gk_errno_location(void)
{
	__asm__ __volatile__("" ::: "memory");
	return __errno_location();
}
#else
__attribute__((noipa)) int *gk_errno_location(void)
{
	return __errno_location();
}
#endif
