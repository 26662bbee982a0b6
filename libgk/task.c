// SPDX-License-Identifier: MIT
/*
 * task.c - tasks: start, join, names.
 *
 * A task's struct lies at the top of its own stack, so that a switch touches one page. It is given back when the task has
 * ended and its handle has been given up, whichever comes last; `lock` decides which that is.
 */
#include <string.h>

#include "internal.h"

#define STACK_MIN	(16u << 10)
#define STACK_MAX	(1ul << 30)

void task_init(struct worker *w, struct gk_task *t, const struct gk_attr *attr, void (*fn)(void *), void *arg)
{
	struct core *core = w->core;

	t->sp = context_make(t, task_entry);
	t->fpu_own = attr && attr->flags & GK_FPU;
	t->fpu_differs = false;
	t->after = AFTER_NONE;
	t->err = 0;
	t->pinned = NULL;
	t->pins = attr && attr->flags & GK_PINNED;
	t->woken = 0;
	t->lock = 0;
	t->joiner = NULL;
	t->ended = t->joined = t->detached = false;
	t->timer.core = NULL;
	t->fn = fn;
	t->arg = arg;
	core->started++;
	t->id = core->next_id;
	core->next_id += core->rt->ncores;
	t->name[0] = 0;
}

int gk_spawn(gk_task **task, const struct gk_attr *attr, void (*fn)(void *arg), void *arg)
{
	size_t size = attr && attr->stack_size ? attr->stack_size : STACK_SIZE;
	char name[sizeof(((struct gk_task *)NULL)->name)] = "";
	struct gk_task *t = NULL;
	struct worker *w;

	if (!fn || size < STACK_MIN || size > STACK_MAX || (attr && attr->flags & ~(GK_PINNED | GK_FPU)))
		return -EINVAL;
	if (attr && attr->name)
		strncpy(name, attr->name, sizeof(name) - 1);
	w = enter();
	if (!w)
		return -EPERM;
	if (size == STACK_SIZE && w->core->free) {
		t = w->core->free;
		w->core->free = t->next;
		w->core->nfree--;
	} else {
		leave(w);
		t = task_alloc(size);
		if (!t)
			return -ENOMEM;
		w = enter();
	}
	task_init(w, t, attr, fn, arg);
	if (name[0])
		memcpy(t->name, name, sizeof(name));
	if (task)
		*task = t;
	else
		t->detached = true;
	ready_new(w, t);
	leave(w);
	return 0;
}

int gk_go(void (*fn)(void *arg), void *arg)
{
	return gk_spawn(NULL, NULL, fn, arg);
}

int gk_join(gk_task *t)
{
	struct worker *w;

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
	t->joiner = w->task;
	w->task->result = 0;
	return wait_unlock(w, &t->lock);
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

int *gk_errno_location(void)
{
	return __errno_location();
}
