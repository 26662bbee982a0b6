// SPDX-License-Identifier: MIT
/*
 * poll.c - waits for file descriptors until a deadline, or until gk_cancel().
 *
 * The task's worker sleeps in ppoll(2) with it, as it does in any call that blocks. Beside the caller's descriptors it
 * polls an eventfd of its own, which gk_cancel() writes to: no signal, so no other call of anybody fails for it.
 *
 * task->waker says which eventfd that is, as long as the task polls. It is set before the task looks whether it is
 * cancelled, and gk_cancel() has every CPU fence between its store of `cancelled` and its look at `waker`: either the
 * task sees the one or gk_cancel() the other. It is cleared, and written to, under task->lock: so no eventfd is written
 * to that its worker has closed. What is written for a task that has left meanwhile wakes the worker's next in vain.
 */
#define _GNU_SOURCE
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "internal.h"

#define FEW 15			/* descriptors for which there is room on the stack */

void poll_cancel(struct gk_task *t)
{
	int err = errno;
	uint64_t one = 1;

	lock(&t->lock);
	/* EAGAIN: it has been told 2^64 times. */
	if (load(&t->waker) && write(load_acquire(&t->waker) - 1, &one, sizeof(one)) < 0 && errno != EAGAIN)
		die("the eventfd of a task that polls: %s", strerror(errno));
	unlock(&t->lock);
	errno = err;
}

void poll_worker_ends(struct worker *w)
{
	if (w->event)
		close(w->event - 1);
}

static int event_of(struct worker *w)
{
	int fd;

	if (w->event)
		return 0;
	fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (fd < 0)
		return -errno;
	w->event = fd + 1;
	return 0;
}

static int poll_once(struct pollfd *fds, unsigned long n, uint64_t deadline)
{
	struct timespec ts, *limit = NULL;
	uint64_t now;
	int ready;

	if (deadline != GK_FOREVER) {
		now = now_ns();
		deadline = deadline > now ? deadline - now : 0;
		ts = (struct timespec){ .tv_sec = deadline / 1000000000, .tv_nsec = deadline % 1000000000 };
		limit = &ts;
	}
	ready = ppoll(fds, n, limit, NULL);
	return ready < 0 ? -errno : ready;
}

/* The task is cancelled, and it says so: gk_interrupt() has had its effect. */
static bool told_cancelled(struct gk_task *t)
{
	if (!load(&t->cancelled) || t->masks)
		return false;
	store(&t->interrupted, 0);
	return true;
}

/* One more than the caller's: @fds[@n] is the eventfd, or -1 while cancellation is masked. */
static int poll_task(struct gk_task *t, struct pollfd *fds, unsigned long n, uint64_t deadline)
{
	uint64_t count;
	int ready;

	for (;;) {
		if (told_cancelled(t))
			return -ECANCELED;
		ready = poll_once(fds, n + 1, deadline);
		if (ready > 0 && fds[n].revents) {
			/* Only ever fails where there is nothing to read. */
			(void)!read(fds[n].fd, &count, sizeof(count));
			ready--;
		}
		if (ready > 0 || (ready < 0 && ready != -EINTR))
			return ready;
		if (!ready && !fds[n].revents && now_ns() >= deadline)
			return -ETIMEDOUT;
	}
}

/* Of none both may be NULL, which memcpy() does not take. */
static void copy(struct pollfd *to, const struct pollfd *from, unsigned long n)
{
	if (n)
		memcpy(to, from, n * sizeof(*to));
}

static int poll_wait(struct gk_task *t, struct pollfd *fds, unsigned long n, uint64_t deadline)
{
	struct pollfd few[FEW + 1], *all = few;
	struct worker *w = self();	/* until the task waits for something of libgk's */
	int ready = 0;

	if (n > FEW)
		all = malloc((n + 1) * sizeof(*all));
	if (!all)
		return -ENOMEM;
	copy(all, fds, n);
	all[n] = (struct pollfd){ .fd = -1, .events = POLLIN };
	if (!t->masks)
		ready = event_of(w);
	if (!ready) {
		if (!t->masks) {
			all[n].fd = w->event - 1;
			store_release(&t->waker, w->event);
			/* gk_cancel() fences for us. */
			__atomic_signal_fence(__ATOMIC_SEQ_CST);
		}
		ready = poll_task(t, all, n, deadline);
		if (!t->masks) {
			w = enter();
			lock(&t->lock);
			store(&t->waker, 0);
			unlock(&t->lock);
			leave(w);
		}
		copy(fds, all, n);
	}
	if (all != few)
		free(all);
	return ready;
}

int gk_poll_until(struct pollfd *fds, unsigned long n, uint64_t deadline)
{
	gk_task *t = gk_self();
	int err = errno, ready;

	if (!t)
		return -EPERM;
	do
		ready = poll_once(fds, n, 0);
	while (ready == -EINTR);
	if (!ready && told_cancelled(t))
		ready = -ECANCELED;
	else if (!ready)
		ready = now_ns() < deadline ? poll_wait(t, fds, n, deadline) : -ETIMEDOUT;
	errno = err;
	return ready;
}

int gk_poll(struct pollfd *fds, unsigned long n)
{
	return gk_poll_until(fds, n, GK_FOREVER);
}
