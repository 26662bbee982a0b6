// SPDX-License-Identifier: MIT
/*
 * stack.c - memory for tasks: a guard page, the stack, and the struct gk_task at its top.
 *
 * Stacks of the default size come in chunks of one mapping, of which only touched pages use memory. Their guards are
 * page-table marks where the kernel has them (MADV_GUARD_INSTALL, 6.13), else protections, which split the mapping:
 * that ends at vm.max_map_count, some 32,000 tasks, and starting more then fails with -ENOMEM.
 *
 * The top of each stack is moved down by a multiple of 128 bytes, another for each neighbour: tasks that all have their
 * hot lines at the same offset of a page fight for the same few sets of the cache.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "internal.h"

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#endif

#define PAGE		4096ul
#define CHUNK		16u		/* stacks a mapping */
#define COLOURS		12u		/* times 128 bytes; the rest of the page is for the first frames */
#define KEEP		128u		/* free stacks that a core keeps to itself */
#define ALT_SIZE	((16u << 10) + ANNOUNCE_ALT_SIZE)

static int guard(char *page)
{
	static int marks = 1;

	if (load(&marks)) {
		if (!madvise(page, PAGE, MADV_GUARD_INSTALL))
			return 0;
		store(&marks, 0);
	}
	return mprotect(page, PAGE, PROT_NONE);
}

/* Where the struct of a stack of @size bytes lies. @base is its guard. */
static struct gk_task *task_at(char *base, size_t size, unsigned int colour)
{
	uintptr_t top = (uintptr_t)base + PAGE + size - colour % COLOURS * 128;

	return (void *)((top - sizeof(struct gk_task)) & ~63ul);
}

static struct gk_task *place(char *base, size_t size, unsigned int colour)
{
	struct gk_task *t = task_at(base, size, colour);

	t->stack = base + PAGE;
	t->stack_size = size;
	t->pooled = size == STACK_SIZE;
	announce_stack(&t->announced, t->stack, size);
	return t;
}

static char *map(size_t size)
{
	char *base = mmap(NULL, size, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);

	return base == MAP_FAILED ? NULL : base;
}

/*
 * A new chunk of stacks, as a list. Outside, and with no lock held: it may take long, and its worker may be preempted.
 */
struct gk_task *stacks_map(struct runtime *rt)
{
	size_t each = STACK_SIZE;	/* the guard is its lowest page */
	char *base = map(CHUNK * each);
	struct gk_task *t, *first = NULL;
	int err = errno;
	unsigned int i;

	if (!base)
		return NULL;
	madvise(base, CHUNK * each, MADV_NOHUGEPAGE);
	for (i = 0; i < CHUNK; i++)
		if (guard(base + i * each))
			goto err_unmap;
	for (i = 0; i < CHUNK; i++) {
		t = place(base + i * each, each - PAGE, i);
		t->pooled = true;
		t->next = first;
		first = t;
	}
	t->chunk = base;
	do
		t->next_chunk = load(&rt->chunks);
	while (!cas(&rt->chunks, t->next_chunk, t));
	errno = err;
	return first;

err_unmap:
	munmap(base, CHUNK * each);
	errno = err;
	return NULL;
}

/* All of them: no worker is left. */
void stacks_unmap(struct runtime *rt)
{
	const size_t each = STACK_SIZE;
	struct gk_task *t, *next;
	unsigned int i;
	char *chunk;

	for (t = rt->chunks; t; t = next) {
		next = t->next_chunk;
		chunk = t->chunk;
		for (i = 0; i < CHUNK; i++)
			announce_stack_gone(&task_at(chunk + i * each, each - PAGE, i)->announced);
		munmap(chunk, CHUNK * each);
	}
}

static struct gk_task *map_one(struct runtime *rt, size_t size)
{
	struct gk_task *t;
	int err = errno;
	char *base;

	size = (size + PAGE - 1) & ~(PAGE - 1);
	base = map(size + PAGE);
	if (!base)
		return NULL;
	if (guard(base)) {
		munmap(base, size + PAGE);
		errno = err;
		return NULL;
	}
	t = place(base, size, 0);
	t->pooled = false;
	pthread_mutex_lock(&rt->own_lock);
	list_add(&t->own, &rt->own);
	pthread_mutex_unlock(&rt->own_lock);
	errno = err;
	return t;
}

/* For who needs a stack inside, and found none. False: there is no memory. */
bool stacks_more(struct runtime *rt)
{
	struct gk_task *first = stacks_map(rt), *last = first;

	if (!first)
		return false;
	while (last->next)
		last = last->next;
	do
		last->next = load(&rt->mapped);
	while (!cas(&rt->mapped, last->next, first));
	return true;
}

/* The core has none left: takes what others have too many of, or what stacks_more() mapped. Inside. */
static __attribute__((noinline)) void pool_fill(struct worker *w)
{
	struct core *core = w->core;
	struct runtime *rt = w->rt;
	struct gk_task *t, *next;

	if (load(&rt->stacks)) {
		lock(&rt->stacks_lock);
		while (core->nfree < KEEP && (t = rt->stacks)) {
			store(&rt->stacks, t->next);
			t->next = core->free;
			core->free = t;
			core->nfree++;
		}
		unlock(&rt->stacks_lock);
	}
	if (core->free || !load(&rt->mapped))
		return;
	for (t = exchange(&rt->mapped, NULL); t; t = next) {
		next = t->next;
		t->next = core->free;
		core->free = t;
		core->nfree++;
	}
}

/* A stack of the default size, without system calls, or NULL. Inside. */
static inline struct gk_task *pool_get(struct worker *w)
{
	struct core *core = w->core;
	struct gk_task *t;

	if (unlikely(!core->free))
		pool_fill(w);
	t = core->free;
	if (likely(t)) {
		core->free = t->next;
		core->nfree--;
	}
	return t;
}

struct gk_task *stack_get(struct worker *w)
{
	return pool_get(w);
}

/*
 * Goes inside with a new task in *task. NULL, and outside: there is no task to call it (-EPERM), or no memory
 * (-ENOMEM), in *err.
 */
struct worker *task_get(size_t size, struct gk_task **task, int *err)
{
	struct worker *w = enter();
	struct gk_task *t = NULL, *rest;
	struct runtime *rt;

	*err = -EPERM;
	if (unlikely(!w))
		return NULL;
	rt = w->rt;
	if (likely(size == STACK_SIZE))
		t = pool_get(w);
	if (unlikely(!t)) {
		leave(w);
		t = size == STACK_SIZE ? stacks_map(rt) : map_one(rt, size);
		*err = -ENOMEM;
		if (!t)
			return NULL;
		rest = t->pooled ? t->next : NULL;
		w = enter();
		while (rest) {
			struct gk_task *next = rest->next;

			rest->next = w->core->free;
			w->core->free = rest;
			w->core->nfree++;
			rest = next;
		}
	}
	*task = t;
	return w;
}

void task_free(struct worker *w, struct gk_task *t)
{
	struct core *core = w->core;
	unsigned int i;

	store(&t->id, 0);
	announce_end(&t->announced, t);
	if (!t->pooled) {
		/* Unmapping can block; it is rare enough to be done by leave(). */
		t->next = w->unmap;
		w->unmap = t;
		w->todo |= TODO_UNMAP;
		return;
	}
	t->next = core->free;
	core->free = t;
	if (++core->nfree < 2 * KEEP)
		return;
	/* One core's tasks may all be started by another. */
	lock(&core->rt->stacks_lock);
	for (i = 0; i < KEEP; i++) {
		t = core->free;
		core->free = t->next;
		t->next = core->rt->stacks;
		store(&core->rt->stacks, t);
	}
	unlock(&core->rt->stacks_lock);
	core->nfree -= KEEP;
}

void task_unmap(struct runtime *rt, struct gk_task *t)
{
	pthread_mutex_lock(&rt->own_lock);
	list_del(&t->own);
	pthread_mutex_unlock(&rt->own_lock);
	announce_stack_gone(&t->announced);
	munmap(t->stack - PAGE, t->stack_size + PAGE);
}

bool tasks_each(struct runtime *rt, bool all, void (*fn)(struct gk_task *t, void *arg), void *arg)
{
	struct gk_task *c, *t;
	struct list *l;
	unsigned int i, tries;

	for (c = load_acquire(&rt->chunks); c; c = c->next_chunk)
		for (i = 0; i < CHUNK; i++) {
			t = task_at(c->chunk + i * (size_t)STACK_SIZE, STACK_SIZE - PAGE, i);
			if (all || load(&t->id))
				fn(t, arg);
		}
	/* A worker that was stopped for good may have it. */
	for (tries = 0; pthread_mutex_trylock(&rt->own_lock); tries++) {
		if (tries == 1000)
			return false;
		usleep(1000);
	}
	for (l = rt->own.next; l != &rt->own; l = l->next) {
		t = container_of(l, struct gk_task, own);
		if (all || load(&t->id))
			fn(t, arg);
	}
	pthread_mutex_unlock(&rt->own_lock);
	return true;
}

/* ---- overflow ---------------------------------------------------------------------------------------------------- */

static struct sigaction old_segv, old_bus;

static void fault(int sig, siginfo_t *info, void *context)
{
	const struct sigaction *old = sig == SIGSEGV ? &old_segv : &old_bus;
	struct worker *w = self();
	struct gk_task *t = w ? w->task : NULL;
	char *addr = info->si_addr;

	if (t && addr >= t->stack - PAGE && addr < t->stack) {
		say("task %llu%s%s%s overflowed its stack of %zu KiB (gk_attr.stack_size)", (unsigned long long)t->id,
		    t->name[0] ? " '" : "", t->name, t->name[0] ? "'" : "",
		    (t->stack_size + (t->pooled ? PAGE : 0)) >> 10);
		signal(SIGABRT, SIG_DFL);
		abort();
	}
	if (old->sa_flags & SA_SIGINFO) {
		old->sa_sigaction(sig, info, context);
	} else if (old->sa_handler != SIG_DFL && old->sa_handler != SIG_IGN) {
		old->sa_handler(sig);
	} else {
		/* It happens again, and then ends the process as if we had not been here. */
		signal(sig, SIG_DFL);
	}
}

void stack_fault_handler(void)
{
	struct sigaction sa = { .sa_sigaction = fault, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER };

	sigemptyset(&sa.sa_mask);
	sigaction(SIGSEGV, &sa, &old_segv);
	sigaction(SIGBUS, &sa, &old_bus);
}

/* A stack for signal handlers, of the calling worker. */
void stack_alt_on(struct worker *w)
{
	stack_t ss = { .ss_size = ALT_SIZE + sysconf(_SC_MINSIGSTKSZ) };

	ss.ss_sp = w->alt = map(ss.ss_size);
	w->alt_size = ss.ss_size;
	if (ss.ss_sp)
		sigaltstack(&ss, &w->old_alt);
}

void stack_alt_off(struct worker *w)
{
	if (!w->alt)
		return;
	sigaltstack(&w->old_alt, NULL);
	munmap(w->alt, w->alt_size);
}
