// SPDX-License-Identifier: MIT
/*
 * worker.c - the runtime's life: gk_run(), the worker threads, and the manager that makes more of them.
 *
 * The thread that calls gk_run() is the manager. It is pinned nowhere and runs no task, so it can make a worker when
 * every worker is blocked.
 */
#define _GNU_SOURCE
#include <linux/membarrier.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "internal.h"

#define MAX_WORKERS	4096u
#define SOFT_WORKERS	512u		/* beyond this one at a time, */
					/* and only when a core has work and nobody runs there */
#define THREAD_STACK	(256ul << 10)	/* for the worker's own loop; only what is touched uses memory */

struct runtime *gk_rt;
bool gk_alone;
static uint32_t busy;
static int wanted_cores;

void say(const char *fmt, ...)
{
	char line[512] = "gk: ";
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(line + 4, sizeof(line) - 5, fmt, ap);
	va_end(ap);
	n = n < 0 ? 0 : (n > (int)sizeof(line) - 6 ? (int)sizeof(line) - 6 : n);
	line[4 + n] = '\n';
	if (write(STDERR_FILENO, line, 5 + n) < 0)
		return;
}

void die(const char *fmt, ...)
{
	char line[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	say("%s", line);
	abort();
}

/* ---- settings ---------------------------------------------------------------------------------------------------- */

static int settings(struct runtime *rt)
{
	unsigned long cores, slice, bound, workers, sig, hog;
	cpu_set_t set;
	int i, n = 0, limit, cpus[CPU_SETSIZE];

	if (sched_getaffinity(0, sizeof(set), &set) < 0)
		return -errno;
	for (i = 0; i < CPU_SETSIZE; i++)
		if (CPU_ISSET(i, &set))
			cpus[n++] = i;
	limit = cgroup_cpus();
	if (!limit || limit > n)
		limit = n;
	if (env_number("GK_CORES", 1, GK_MAX_CORES, limit < GK_MAX_CORES ? limit : GK_MAX_CORES, &cores) ||
	    env_number("GK_SLICE_US", 100, 10000000, 10000, &slice) || env_number("GK_BOUND", 0, 1u << 20, 0, &bound) ||
	    env_number("GK_SIGNAL", SIGRTMIN, SIGRTMAX, SIGRTMIN + 4, &sig) ||
	    env_number("GK_WARN_HOG_MS", 0, 3600000, 0, &hog))
		return -EINVAL;
	if (wanted_cores)
		cores = wanted_cores;
	if (env_number("GK_WORKERS", cores, 16384, MAX_WORKERS < cores ? cores : MAX_WORKERS, &workers))
		return -EINVAL;
	rt->ncores = cores;
	rt->slice_ns = slice * 1000;
	rt->grain_ns = rt->slice_ns < 500000 ? rt->slice_ns : 500000;
	rt->bound = bound;
	rt->signal = sig;
	rt->warn_hog_ns = hog * 1000000;
	rt->max_workers = workers;
	rt->soft_workers = SOFT_WORKERS;
	rt->cores = aligned_alloc(64, (sizeof(struct core) * cores + 63) & ~63ul);
	rt->workers = calloc(workers, sizeof(*rt->workers));
	if (!rt->cores || !rt->workers)
		return -ENOMEM;
	memset(rt->cores, 0, sizeof(struct core) * cores);
	for (i = 0; i < (int)cores; i++) {
		rt->cores[i].id = i;
		rt->cores[i].rt = rt;
		rt->cores[i].alone = cores == 1;
		rt->cores[i].turns = 1;
		rt->cores[i].cpu = cpus[i % n];
		rt->cores[i].clock = now_coarse();
		rt->cores[i].next_id = i + 2;	/* the main task is 1 */
	}
	return 0;
}

int gk_set_cores(int n)
{
	if (n < 0 || n > GK_MAX_CORES)
		return -EINVAL;
	if (load(&busy))
		return -EBUSY;
	wanted_cores = n;
	return 0;
}

int gk_cores(void)
{
	struct runtime *rt = load_acquire(&gk_rt);

	return rt ? rt->ncores : 0;
}

const char *gk_backend(void)
{
	struct runtime *rt = load_acquire(&gk_rt);

	return rt ? rt->be->name : "none";
}

static int pick_backend(struct runtime *rt)
{
	const char *mode = getenv("GK_KMOD");
	int err;

	if (!mode || !*mode)
		mode = "auto";
	if (strcmp(mode, "auto") && strcmp(mode, "off") && strcmp(mode, "require")) {
		say("GK_KMOD=%s is none of auto, off, require", mode);
		return -EINVAL;
	}
	if (strcmp(mode, "off")) {
		rt->be = &gk_backend_kern;
		err = rt->be->start(rt);
		if (!err)
			return 0;
		if (!strcmp(mode, "require")) {
			say("GK_KMOD=require, but /dev/gk: %s", strerror(-err));
			return -ENOSYS;
		}
	}
	rt->be = &gk_backend_monitor;
	return rt->be->start(rt);
}

/* ---- workers ----------------------------------------------------------------------------------------------------- */

/* Of the C++ library, if the program has one. */
#pragma weak __cxa_get_globals
struct eh *__cxa_get_globals(void);

static void *worker_thread(void *arg)
{
	static struct eh no_exceptions;
	struct worker *w = arg;
	struct runtime *rt = w->rt;
	struct core *core = w->core;
	uint32_t ids;
	int err;

	gk_worker_self = w;
	w->errno_location = &errno;
	w->eh = &__cxa_get_globals ? __cxa_get_globals() : &no_exceptions;
	w->tid = syscall(SYS_gettid);
	w->seed = w->tid;
	stack_alt_on(w);
	announce_loop(&w->announced);
	err = rt->be->enter(w, w->core->id);
	if (!err) {
		w->mark = w->id + 1;
		w->cpu = load(&w->cp->cpu);
		w->expect = (uint64_t)w->core->id << 32 | GK_W_RUNNING;
		store(&w->wp->taskless, 1);
		for (ids = load(&rt->nids); ids <= w->id && !cas(&rt->nids, ids, w->id + 1); ids = load(&rt->nids))
			;
		store_release(&rt->workers[w->id], w);
		fence();	/* pairs with the one in the backend's stop(): it finds us, or we see `stopping` */
		__atomic_sub_fetch(&core->starting, 1, __ATOMIC_SEQ_CST);
		if (!load(&rt->page->stopping))
			worker_loop(w);
		rt->be->exit(w);
		poll_worker_ends(w);
	} else {
		__atomic_sub_fetch(&core->starting, 1, __ATOMIC_SEQ_CST);
		asleep(rt);
		if (err != -ESHUTDOWN)
			say("a worker could not start: %s", strerror(-err));
	}
	gk_worker_self = NULL;
	stack_alt_off(w);
	if (err)
		free(w);
	else
		store_release(&w->gone, 1);
	__atomic_sub_fetch(&rt->nthreads, 1, __ATOMIC_SEQ_CST);
	futex_wake(&rt->nthreads, INT32_MAX);
	return NULL;
}

static int worker_start(struct runtime *rt, struct core *core)
{
	struct worker *w = aligned_alloc(64, (sizeof(*w) + 63) & ~63ul);
	pthread_attr_t attr;
	pthread_t thread;
	cpu_set_t set;
	uint32_t n;
	int err;

	if (!w)
		return -ENOMEM;
	memset(w, 0, sizeof(*w));
	w->rt = rt;
	w->rseq = rt->rseq;
	w->core = core;
	w->cp = core->page;
	CPU_ZERO(&set);
	CPU_SET(load(&core->page->cpu), &set);
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attr, THREAD_STACK);
	pthread_attr_setaffinity_np(&attr, sizeof(set), &set);
	__atomic_add_fetch(&core->starting, 1, __ATOMIC_SEQ_CST);
	n = __atomic_add_fetch(&rt->nthreads, 1, __ATOMIC_SEQ_CST);
	if (n > rt->peak)
		store(&rt->peak, n);
	awake(rt);
	err = pthread_create(&thread, &attr, worker_thread, w);
	pthread_attr_destroy(&attr);
	if (err) {
		asleep(rt);
		__atomic_sub_fetch(&core->starting, 1, __ATOMIC_SEQ_CST);
		__atomic_sub_fetch(&rt->nthreads, 1, __ATOMIC_SEQ_CST);
		free(w);
	}
	return -err;
}

/*
 * A core has no standby worker left: makes one, or more where many are in use. Returns false if it should be asked
 * again soon.
 */
static bool grow(struct runtime *rt, struct core *core)
{
	uint32_t n = load(&rt->nthreads), batch = 1 + n / rt->ncores / 8;
	bool starved = !load(&core->page->running) && (load(&core->page->q_head) != load(&core->page->q_tail) ||
						       load(&core->page->q_next) || load(&rt->page->gq_len));
	int err, moved;

	if (load(&core->page->nstandby) || load(&core->starting))
		return true;
	if (n >= rt->max_workers) {
		if (starved && !rt->reported) {
			rt->reported = true;
			say("all %u workers (GK_WORKERS) are blocked while tasks wait; they wait on until one comes back",
			    n);
		}
		return true;
	}
	if (n >= rt->soft_workers) {
		if (!starved)
			return true;
		batch = 1;
	}
	if (batch > 8)
		batch = 8;
	while (batch-- && load(&rt->nthreads) < rt->max_workers) {
		err = worker_start(rt, core);
		/* Its CPU is offline or no longer ours: it comes to one that is. */
		moved = err == -EINVAL && rt->be->move ? rt->be->move(rt, core->id) : -ENOSYS;
		if (!moved)
			err = worker_start(rt, core);
		if (!err)
			continue;
		if (moved != -EBUSY && !rt->reported) {
			rt->reported = true;
			say("no more workers than %u: pthread_create: %s", load(&rt->nthreads), strerror(-err));
		}
		return false;
	}
	return true;
}

static void manage(struct runtime *rt)
{
	struct pollfd p = { .fd = rt->manager_fd, .events = POLLIN };
	bool again = false;
	unsigned int i;
	uint64_t n;

	while (!load_acquire(&rt->main_done)) {
		if (poll(&p, 1, again ? 10 : -1) > 0 && read(rt->manager_fd, &n, sizeof(n)) < 0 && errno != EINTR)
			die("the manager's eventfd: %s", strerror(errno));
		again = false;
		dump_if_wanted(rt);
		for (i = 0; i < rt->ncores && !load_acquire(&rt->main_done); i++)
			again |= !grow(rt, &rt->cores[i]);
	}
}

/* ---- start and end ----------------------------------------------------------------------------------------------- */

/* Ends everything: by the main task, outside. */
void main_finish(struct worker *w, int result)
{
	struct runtime *rt = w->rt;
	uint64_t one = 1;
	unsigned int i;

	rt->result = result;
	w->own++;
	/* After this no other worker runs, and one may have been stopped inside: nothing goes inside any more. */
	rt->be->stop(rt);
	for (i = 0; i < rt->ncores; i++)
		futex_wake(&rt->cores[i].page->word, INT32_MAX);
	w = self();
	store(&w->wp->taskless, 1);
	store_release(&rt->main_done, 1);
	if (write(rt->manager_fd, &one, sizeof(one)) < 0)
		die("the manager's eventfd: %s", strerror(errno));
	w->leaving = true;
	w->task = NULL;
	announce_switch(&rt->main->announced, &w->announced, true);
	context_switch(&rt->main->sp, w->home, AFTER_NONE);
	__builtin_unreachable();
}

static void main_task(void *arg)
{
	struct runtime *rt = arg;
	int result = rt->main_fn(rt->main_arg);

	task_locals_end(rt->main);
	main_finish(self(), result);
}

/* Which the C library registers for every thread, if it is recent and was not told otherwise. */
#pragma weak __rseq_offset
#pragma weak __rseq_size
extern const ptrdiff_t __rseq_offset;
extern const unsigned int __rseq_size;

/* For word_take() and word_wait(). */
static int membarriers(struct runtime *rt)
{
	int err;

	if (restartable() && &__rseq_size && __rseq_size &&
	    !syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_RSEQ, 0, 0))
		rt->rseq = __rseq_offset;
	if (!syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0))
		return 0;
	err = -errno;
	say("membarrier: %s", strerror(-err));
	return err;
}

/* A forked child is another program's thread: it has no worker. */
static void forked(void)
{
	gk_worker_self = NULL;
	gk_rt = NULL;
	busy = 0;
}

static void runtime_once(void)
{
	pthread_atfork(NULL, NULL, forked);
	stack_fault_handler();
}

/* Waits until all workers have gone. Returns false if one never will, as it is in a task. */
static bool all_gone(struct runtime *rt)
{
	unsigned int i, tries, n;
	uint64_t deadline;

	for (tries = 0; tries < 1000; tries++) {	/* 10 s: only one that gets no CPU needs as long */
		n = load_acquire(&rt->nthreads);	/* what they did comes before what is freed now */
		if (!n)
			return true;
		for (i = 0; i < rt->ncores; i++)
			futex_wake(&rt->cores[i].page->word, INT32_MAX);
		for (i = 0; i < load(&rt->nids); i++) {
			struct worker *w = load_acquire(&rt->workers[i]);

			if (!w || load_acquire(&w->gone))
				continue;
			/* A pinned task's worker is HELD with it. */
			if (!load(&w->wp->taskless) || load(&w->wp->state) == GK_W_HELD ||
			    load(&w->wp->state) == GK_W_STOPPED)
				return false;
		}
		deadline = now_ns() + 10000000;
		futex_wait(&rt->nthreads, n, &deadline);
	}
	return false;
}

static void runtime_free(struct runtime *rt)
{
	unsigned int i;

	if (rt->workers)
		for (i = 0; i < load(&rt->nids); i++)
			free(rt->workers[i]);
	free(rt->workers);
	free(rt->cores);
	stacks_unmap(rt);
	if (rt->manager_fd >= 0)
		close(rt->manager_fd);
	free(rt);
}

int gk_run(int (*fn)(void *arg), void *arg)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	struct runtime *rt;
	unsigned int i;
	int err, result;
	bool gone;

	if (!fn)
		return -EINVAL;
	if (self())
		return -EPERM;
	if (!cas(&busy, 0, 1))
		return -EBUSY;
	err = -ENOMEM;
	rt = aligned_alloc(64, (sizeof(*rt) + 63) & ~63ul);
	if (!rt)
		goto err_idle;
	memset(rt, 0, sizeof(*rt));
	rt->main_fn = fn;
	rt->main_arg = arg;
	list_init(&rt->own);
	rt->manager_fd = eventfd(0, EFD_CLOEXEC);
	if (rt->manager_fd < 0) {
		err = -errno;
		goto err_free;
	}
	err = membarriers(rt);
	if (err)
		goto err_free;
	err = settings(rt);
	if (!err)
		err = pick_backend(rt);
	if (err)
		goto err_free;
	/* Atomic: a worker of an earlier run, stopped for good, may have looked. */
	store(&gk_alone, rt->ncores == 1);
	store_release(&gk_rt, rt);
	pthread_once(&once, runtime_once);

	rt->main = stacks_map(rt);
	if (!rt->main) {
		err = -ENOMEM;
		goto err_quit;
	}
	rt->stacks = rt->main->next;
	memset(rt->main, 0, offsetof(struct gk_task, stack));
	announce_start(&rt->main->announced);
	rt->main->sp = context_make(rt->main, task_entry, main_task, rt);
	rt->main->fn = main_task;
	rt->main->arg = rt;
	rt->main->id = 1;
	rt->main->claims = SWITCHING | CANCELLABLE;
	rt->main->waiter.task = rt->main;
	strcpy(rt->main->name, "main");
	rt->cores[0].started = 1;
	gq_put(rt, rt->main, rt->main, 1);
	dump_on(rt);
	for (i = 0; i < 2 * rt->ncores && i < rt->max_workers; i++) {
		err = worker_start(rt, &rt->cores[i % rt->ncores]);
		if (err) {
			if (!i)
				goto err_dump;
			/* The main task may run already. A core without a worker asks for one when it has work. */
			say("pthread_create: %s", strerror(-err));
			break;
		}
	}
	manage(rt);

	result = rt->result;
	dump_off(rt, true);
	gone = all_gone(rt);
	rt->be->quit(rt);
	if (gone) {
		rt->be->finish(rt);
		runtime_free(rt);
	}
	store_release(&busy, 0);
	return result;

err_dump:
	store_release(&rt->main_done, 1);
	dump_off(rt, false);
err_quit:
	store(&gk_rt, NULL);
	rt->be->quit(rt);
	rt->be->finish(rt);
err_free:
	runtime_free(rt);
err_idle:
	store_release(&busy, 0);
	return err;
}

/* ---- statistics -------------------------------------------------------------------------------------------------- */

int gk_stats(struct gk_stats *stats, size_t size)
{
	struct runtime *rt = load_acquire(&gk_rt);
	struct gk_stats s = {};
	unsigned int i;

	if (!stats || !size)
		return -EINVAL;
	if (!rt)
		return -ESRCH;
	for (i = 0; i < rt->ncores; i++) {
		struct core *core = &rt->cores[i];

		s.started += load(&core->started);
		s.tasks -= load(&core->ended);
		s.steals += load(&core->steals);
		s.timers += load(&core->fired);
		s.parks += load(&core->parks);
		s.blocks += load(&core->page->blocks);
		s.preempts += load(&core->page->preempts);
		s.inside_blocks += load(&core->page->stalls);
		s.deferred += load(&core->page->deferred);
	}
	s.tasks += s.started;
	for (i = 0; i < load(&rt->nids); i++) {
		struct worker *w = load_acquire(&rt->workers[i]);

		if (!w)
			continue;
		s.inside_waits += load(&w->inside_waits);
		s.switches += load(&w->wp->switches);
	}
	s.workers = load(&rt->nthreads);
	s.workers_peak = load(&rt->peak);
	memset(stats, 0, size);
	memcpy(stats, &s, size < sizeof(s) ? size : sizeof(s));
	return 0;
}
