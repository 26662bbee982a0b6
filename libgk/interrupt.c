// SPDX-License-Identifier: MIT
/*
 * interrupt.c - ends the system call in which a task is blocked.
 *
 * By a signal to the worker that carries the task. `task->interrupted` is the request; it stands until a call of the
 * task has ended with EINTR, or one of gk has told it that it is cancelled. As long as it stands a timer (`again`)
 * looks, less and less often, whether the task is asleep in the kernel, and sends the signal if so: one signal is not
 * enough, as it may come just before the task blocks. It is sent to a worker that is BLOCKED (gk.ko) or, without the
 * module, asleep by the kernel's account and not parked; never to one that is READY, STANDBY or HELD.
 *
 * Between the sender's last look and the signal's arrival the worker may have gone on to another task. So the handler
 * has SA_RESTART, and the kernel begins the call anew; and where the handler finds that it is in the task that was
 * meant, it undoes that and has the call fail (call.h). What remains: calls that no handler restarts, such as nanosleep
 * and poll, may fail with EINTR in another task, if that takes the worker over and blocks within the microsecond or two
 * between the look and the signal. A program has to expect that from any signal.
 *
 * Waits of libgk's own on the task's behalf are no calls of the task: worker->own.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "internal.h"
#include "call.h"

#define FIRST_NS	1000000ull	/* from the first look to the second; then always twice as long */
#define LAST_NS		32000000ull	/* up to this */

static struct sigaction old;
static int installed;			/* 0, or why not */

static void handler(int sig, siginfo_t *info, void *context)
{
	struct worker *w = self();
	struct gk_task *t;

	if (info->si_code != SI_TKILL || info->si_pid != getpid()) {
		if (old.sa_flags & SA_SIGINFO)
			old.sa_sigaction(sig, info, context);
		else if (old.sa_handler != SIG_DFL && old.sa_handler != SIG_IGN)
			old.sa_handler(sig);
		return;
	}
	t = w ? w->task : NULL;
	if (!t || w->own || !load(&t->interrupted) || t->masks)
		return;
	if (call_interrupt(context) == CALL_ENDED)
		store(&t->interrupted, 0);
}

static void install(void)
{
	struct sigaction sa = { .sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART };

	/* No preemption, which would keep it on its stack for long. */
	sigemptyset(&sa.sa_mask);
	sigaddset(&sa.sa_mask, SIGURG);
	if (sigaction(gk_rt->signal, &sa, &old) < 0)
		installed = -errno;
}

int interrupt_handler(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, install);
	return installed;
}

static bool note(struct worker *w, struct gk_task *t)
{
	if (w->ninterrupt == ARRAY_SIZE(w->interrupt))
		return false;
	w->interrupt[w->ninterrupt++] = t;
	w->todo |= TODO_INTERRUPT;
	return true;
}

static struct gk_task *look_again(struct worker *w, struct timer_node *node)
{
	struct gk_task *t = container_of(node, struct gk_task, again);

	if (!load(&t->interrupted))
		return NULL;
	if (load(&t->masks) || note(w, t)) {
		node->when = w->core->clock + t->patience;
		t->patience = 2 * t->patience < LAST_NS ? 2 * t->patience : LAST_NS;
	} else {
		node->when = w->core->clock + FIRST_NS / 10;
	}
	return NULL;
}

void interrupt_start(struct worker *w, struct gk_task *t)
{
	struct core *core = w->core;
	uint64_t now = now_ns();

	lock(&t->lock);
	if (!t->ended && load(&t->interrupted)) {
		/* After this nobody looks, until the next is armed. */
		if (t->watched)
			timer_del(&t->again);
		else
			t->again.core = NULL;
		t->watched = true;
		t->patience = 2 * FIRST_NS;
		t->again.expire = look_again;
		t->again.when = now + (load(&t->masks) || note(w, t) ? FIRST_NS : FIRST_NS / 10);
		lock(&core->timers_lock);
		timer_add(w, &t->again);
		unlock(&core->timers_lock);
	}
	unlock(&t->lock);
}

/* The tasks that were noted may have ended by now: they are only compared with. */
void interrupt_now(struct worker *w)
{
	struct runtime *rt = w->rt;
	struct gk_task *t;
	struct worker *v;
	unsigned int i, j;

	for (i = 0; i < load(&rt->nids); i++) {
		v = load_acquire(&rt->workers[i]);
		t = v ? load(&v->task) : NULL;
		if (!t || load(&v->gone))
			continue;
		for (j = 0; j < w->ninterrupt && w->interrupt[j] != t; j++)
			;
		if (j < w->ninterrupt && v != w && rt->be->asleep(v) && load(&v->task) == t)
			syscall(SYS_tgkill, getpid(), v->tid, rt->signal);
	}
	w->ninterrupt = 0;
}

int gk_interrupt(gk_task *t)
{
	struct worker *w;
	int err;

	if (!t)
		return -EINVAL;
	if (!gk_self())
		return -EPERM;
	err = interrupt_handler();
	if (err)
		return err;
	/* Before it can be told that it is cancelled, which takes this back. */
	store(&t->interrupted, 1);
	gk_cancel(t);
	w = enter();
	interrupt_start(w, t);
	leave(w);
	return 0;
}
