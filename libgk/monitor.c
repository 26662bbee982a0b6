// SPDX-License-Identifier: MIT
/*
 * monitor.c - the backend without gk.ko: the same pages, kept by the library itself.
 *
 * What the module learns from the scheduler, a monitor thread finds out by looking: a worker that made no progress for
 * a tick while work waits, and that sleeps by the kernel's account (/proc/self/task/TID/stat), counts as BLOCKED, and
 * its core goes to a standby. When its call returns it runs on beside the other, and says so at its next gk call
 * (unblocked()). A worker that made no progress for a slice and does not sleep gets SIGURG, whose handler waits, with
 * the task mounted, until the core is granted to it again.
 *
 * The bound on running workers does not hold here, and a block is seen after a tick instead of at once.
 *
 * Locks: each core's `lock` guards its lists, counts and the states of its workers. It is taken outside the core word,
 * and by the signal handler: so who holds it counts `nopreempt`, and the handler then leaves the worker alone.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/membarrier.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "internal.h"

#define TICK_NS		1000000ull	/* while work waits somewhere */
#define REST_NS		10000000ull	/* while all that wait are asleep */
#define STOP_NS		100000ull	/* between two looks at those that are to stop */
#define STOP_TRIES	100000		/* one that has not by then is in a call that computes, or blocks SIGURG */

struct mcore {
	pthread_mutex_t lock;
	struct list running, ready, standby;
	bool gq_turn;			/* as in the module's struct gk_core */
};

struct mworker {
	struct worker *w;
	struct list node;		/* core lock: of its state, running, ready or standby */
	uint32_t pos;
	uint32_t nopreempt;		/* own thread: depth of what a preemption would break */
	uint32_t unheld;		/* core lock */
	uint64_t seen;			/* monitor: wp->switches */
	uint64_t since;			/* monitor: when that was first seen */
	uint64_t over;			/* core lock: the wp->switches whose turn is over, ~0: none */
	uint64_t deferred;		/* core lock: when its slice was over, but it asked not to be preempted */
};

struct monitor {
	struct runtime *rt;
	pthread_t thread;
	struct mcore *cores;
	uint32_t asleep;		/* futex: nothing runs, nothing is blocked */
	uint32_t quit;
	uint32_t stopping;
	uint32_t next_id;
};

static struct sigaction old_sigurg;	/* whose handler ours passes others' signals on to */

static struct monitor *monitor(struct runtime *rt)
{
	return rt->monitor;
}

static struct mcore *mcore(struct core *core)
{
	return core->backend;
}

static struct mworker *mworker(struct worker *w)
{
	return w->backend;
}

static uint32_t read_state(struct worker *w)
{
	return load(&w->wp->state);
}

/* ---- the lock, which also keeps the preemption signal away ------------------------------------------------------- */

static void stopped_for_good(struct worker *w)
{
	static uint32_t never;

	store_release(&w->wp->state, GK_W_STOPPED);
	for (;;)
		futex_wait(&never, 0, NULL);
}

static void preempt_off(void)
{
	struct worker *w = self();

	if (w)
		store(&mworker(w)->nopreempt, mworker(w)->nopreempt + 1);
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
}

static void preempt_on(void)
{
	struct worker *w = self();

	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	if (!w)
		return;
	store(&mworker(w)->nopreempt, mworker(w)->nopreempt - 1);
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	/* The signal may have come meanwhile, and it does not come again. */
	if (unlikely(load(&monitor(w->rt)->stopping)) && !load(&w->may_run) && !load(&w->wp->taskless) &&
	    !mworker(w)->nopreempt)
		stopped_for_good(w);
}

static void core_lock(struct core *core)
{
	preempt_off();
	pthread_mutex_lock(&mcore(core)->lock);
}

static void core_unlock(struct core *core)
{
	pthread_mutex_unlock(&mcore(core)->lock);
	preempt_on();
}

/* The worker's core, which pull() changes under the lock of the one it leaves. */
static struct core *worker_lock(struct worker *w)
{
	struct runtime *rt = w->rt;
	struct core *core;

	for (;;) {
		core = &rt->cores[load(&w->wp->core)];
		core_lock(core);
		if (load(&w->wp->core) == core->id)
			return core;
		core_unlock(core);
	}
}

/* ---- states, as in the module's core.c --------------------------------------------------------------------------- */

static void manager_wake(struct runtime *rt)
{
	uint64_t one = 1;

	if (write(rt->manager_fd, &one, sizeof(one)) < 0)
		die("the manager's eventfd: %s", strerror(errno));
}

static void leave_state(struct core *core, struct worker *w)
{
	struct gk_core_page *cp = core->page;
	struct list *ready = &mcore(core)->ready;

	list_del(&mworker(w)->node);
	switch (read_state(w)) {
	case GK_W_RUNNING:
		store(&cp->running, cp->running - 1);
		break;
	case GK_W_READY:
		store(&cp->nready, cp->nready - 1);
		if (!list_empty(ready))
			store(&cp->ready_pos, container_of(ready->next, struct mworker, node)->pos);
		break;
	case GK_W_STANDBY:
		store(&cp->nstandby, cp->nstandby - 1);
		break;
	}
}

static void set_state(struct worker *w, uint32_t state)
{
	store(&w->wp->seq, w->wp->seq + 1);
	store_release(&w->wp->state, state);
}

static void idle_bit(struct core *core, bool set)
{
	__u64 *word = &core->rt->page->idle[core->id / 64], bit = 1ull << core->id % 64;

	if (set)
		__atomic_fetch_or(word, bit, __ATOMIC_SEQ_CST);
	else
		__atomic_fetch_and(word, ~bit, __ATOMIC_SEQ_CST);
}

/* Somebody runs: there may be a block or a hog to find. */
static void monitor_awake(struct runtime *rt)
{
	struct monitor *m = monitor(rt);

	fence();	/* pairs with the one before the monitor reads every `running` for the last time */
	if (unlikely(load(&m->asleep)) && exchange(&m->asleep, 0))
		futex_wake(&m->asleep, 1);
}

static void new_turn(struct worker *w)
{
	mworker(w)->over = ~0ull;
	if (likely(!mworker(w)->deferred))
		return;
	mworker(w)->deferred = 0;
	store(&w->wp->overdue, 0);
}

static void make_running(struct core *core, struct worker *w)
{
	leave_state(core, w);
	list_add_tail(&mworker(w)->node, &mcore(core)->running);
	if (!core->page->running)
		idle_bit(core, false);
	store(&core->page->running, core->page->running + 1);
	mworker(w)->since = 0;	/* a new slice, even for the task it had */
	new_turn(w);
	set_state(w, GK_W_RUNNING);
	monitor_awake(core->rt);
}

static void make_ready(struct core *core, struct worker *w)
{
	leave_state(core, w);
	mworker(w)->pos = load(&core->page->q_tail);
	if (!core->page->nready)
		store(&core->page->ready_pos, mworker(w)->pos);
	list_add_tail(&mworker(w)->node, &mcore(core)->ready);
	store(&core->page->nready, core->page->nready + 1);
	set_state(w, GK_W_READY);
}

static void make_standby(struct core *core, struct worker *w)
{
	leave_state(core, w);
	list_add(&mworker(w)->node, &mcore(core)->standby);
	store(&core->page->nstandby, core->page->nstandby + 1);
	set_state(w, GK_W_STANDBY);
}

static void make_off(struct core *core, struct worker *w, uint32_t state)
{
	leave_state(core, w);
	set_state(w, state);
}

static bool inside(struct core *core, struct worker *w)
{
	return (__atomic_load_n(&core->page->word, __ATOMIC_SEQ_CST)) == w->id + 1;
}

/* The worker that holds the core word was found blocked. */
static bool stalled(struct core *core)
{
	uint32_t word = load(&core->page->word);
	struct worker *w = word && word <= core->rt->max_workers ? load_acquire(&core->rt->workers[word - 1]) : NULL;

	return w && read_state(w) == GK_W_BLOCKED;
}

static bool queue_waits(struct core *core)
{
	return load(&core->page->q_head) != load(&core->page->q_tail) || load(&core->page->q_next);
}

static bool deadline_passed(struct core *core)
{
	uint64_t deadline = load(&core->page->deadline);

	return deadline && now_ns() >= deadline;
}

static bool core_work(struct core *core)
{
	return core->page->nready || queue_waits(core) || load(&core->rt->page->gq_len) || deadline_passed(core);
}

static bool group_work(struct core *core)
{
	struct runtime *rt = core->rt;
	unsigned int i;

	if (load(&rt->page->searching))
		return false;
	for (i = 0; i < rt->ncores; i++)
		if (i != core->id && load(&rt->cores[i].page->q_head) != load(&rt->cores[i].page->q_tail))
			return true;
	return false;
}

enum cause {
	AFTER_BLOCK,
	AFTER_PARK,
	AFTER_WAKE,
};

/* If nobody runs on @core and work waits, grants one worker. Core lock held. */
static void settle(struct core *core, enum cause cause, struct worker *self)
{
	struct runtime *rt = core->rt;
	struct mcore *mc = mcore(core);
	struct gk_core_page *cp = core->page;
	struct list *node;
	struct worker *w;

	if (cp->running || load(&monitor(rt)->stopping))
		return;
	idle_bit(core, true);	/* a full fence, which pairs with the one in push() of sched.c */
	if (stalled(core))
		return;
	if (cause != AFTER_WAKE && !core_work(core) && !group_work(core))
		return;
	if (list_empty(&mc->ready) && list_empty(&mc->standby)) {
		cp->starved++;
		manager_wake(rt);
		return;
	}
	node = mc->ready.next;
	if (list_empty(&mc->ready)) {
		node = mc->standby.next;
	} else if (cause == AFTER_PARK && !list_empty(&mc->standby) &&
		   ((queue_waits(core) &&
		     (int32_t)(container_of(node, struct mworker, node)->pos - load(&cp->q_head)) > 0) ||
		    load(&cp->q_next) || deadline_passed(core))) {
		node = mc->standby.next;
	} else if (cause == AFTER_PARK && !list_empty(&mc->standby) && load(&rt->page->gq_len)) {
		mc->gq_turn = !mc->gq_turn;
		if (mc->gq_turn)
			node = mc->standby.next;
	}
	w = container_of(node, struct mworker, node)->w;
	if (read_state(w) == GK_W_READY)
		cp->grants_ready++;
	else
		cp->grants_standby++;
	make_running(core, w);
	w->wp->grants++;
	if (w != self) {
		futex_wake(&w->wp->state, 1);
		if (!cp->nstandby)
			manager_wake(rt);
	}
}

/* ---- the worker's side ------------------------------------------------------------------------------------------- */

static int monitor_enter(struct worker *w, unsigned int id)
{
	struct runtime *rt = w->rt;
	struct mworker *mw;
	struct core *core = &rt->cores[id];

	w->id = __atomic_fetch_add(&monitor(rt)->next_id, 1, __ATOMIC_SEQ_CST);
	if (w->id >= rt->max_workers)
		return -ENOSPC;
	mw = calloc(1, sizeof(*mw));
	if (!mw)
		return -ENOMEM;
	mw->w = w;
	list_init(&mw->node);
	w->wp = (void *)(rt->map + rt->worker_off + w->id * rt->worker_stride);
	w->wp->core = id;
	w->wp->tid = w->tid;
	/* Before it is in the group, as with GK_ENTER_TASKLESS: one without a task is not stopped, it leaves. */
	store(&w->wp->taskless, 1);
	w->backend = mw;
	core_lock(core);
	if (load(&monitor(rt)->stopping)) {
		core_unlock(core);
		w->backend = NULL;
		free(mw);
		return -ESHUTDOWN;
	}
	add_fetch(&rt->page->nworkers, 1);
	make_running(core, w);
	core_unlock(core);
	return 0;
}

/* The calling worker runs, whatever the monitor took it for. Core lock held. */
static void came_back(struct core *core, struct worker *w)
{
	if (read_state(w) != GK_W_BLOCKED)
		return;
	core->page->unblocks++;
	if (core->page->running)
		core->page->wakes_over++;
	make_running(core, w);
}

static void monitor_unblocked(struct worker *w)
{
	struct core *core = worker_lock(w);

	came_back(core, w);
	core_unlock(core);
}

/*
 * Parked. While it waits it may be readied, pulled to another core, readied there: only RUNNING ends it. Or BLOCKED: it
 * was granted, and slept before it could see that, for the core's lock, or for a page of its signal stack, while
 * somebody held the address space. The monitor looked then, and nobody grants it again: it runs on by itself.
 */
static void wait_for_grant(struct worker *w, struct core *vacated)
{
	uint64_t deadline;
	uint32_t state;

	while ((state = read_state(w)) != GK_W_RUNNING) {
		if (state == GK_W_BLOCKED) {
			monitor_unblocked(w);
			continue;
		}
		/* The one whose park left the core empty keeps the core's time. */
		deadline = vacated ? load(&vacated->page->deadline) : 0;
		futex_wait(&w->wp->state, state, deadline ? &deadline : NULL);
		if (deadline && now_ns() >= deadline) {
			core_lock(vacated);
			settle(vacated, AFTER_PARK, w);
			core_unlock(vacated);
		}
	}
}

static int monitor_park(struct worker *w, enum gk_park how)
{
	struct mworker *mw = mworker(w);
	struct core *core, *vacated = NULL;
	bool stopping;

	preempt_off();
	core = worker_lock(w);
	stopping = load(&monitor(w->rt)->stopping);
	if (stopping) {
		if (how == GK_PARK_STANDBY)
			store(&w->may_run, true);
		core_unlock(core);
		preempt_on();
		return -ESHUTDOWN;
	}
	if (read_state(w) != GK_W_RUNNING)
		make_running(core, w);
	switch (how) {
	case GK_PARK_STANDBY:
		core->page->parks_standby++;
		make_standby(core, w);
		break;
	case GK_PARK_READY:
		if (core->page->running == 1 && !core_work(core))
			goto out;
		core->page->parks_ready++;
		make_ready(core, w);
		break;
	case GK_PARK_HELD:
		if (mw->unheld) {
			mw->unheld = 0;
			goto out;
		}
		core->page->parks_held++;
		make_off(core, w, GK_W_HELD);
		break;
	}
	settle(core, AFTER_PARK, w);
	if (!core->page->running && how == GK_PARK_STANDBY)
		vacated = core;
	core_unlock(core);
	wait_for_grant(w, vacated);
	stopping = load(&monitor(w->rt)->stopping);
	preempt_on();
	return stopping ? -ESHUTDOWN : 0;
out:
	core_unlock(core);
	preempt_on();
	return 0;
}

static int monitor_wake(struct runtime *rt, unsigned int id)
{
	struct core *core = &rt->cores[id];
	int granted;

	core_lock(core);
	granted = -core->page->running;
	settle(core, AFTER_WAKE, NULL);
	granted += core->page->running;
	core_unlock(core);
	return granted;
}

static void monitor_arm(struct runtime *rt, unsigned int id)
{
	/* The monitor ticks as long as anybody runs, and the caller does. */
}

static void monitor_unhold(struct runtime *rt, unsigned int id)
{
	struct worker *w = load_acquire(&rt->workers[id]);
	struct core *core = worker_lock(w);

	if (read_state(w) == GK_W_HELD) {
		make_ready(core, w);
		settle(core, AFTER_PARK, NULL);
	} else {
		mworker(w)->unheld = 1;
	}
	core_unlock(core);
}

static int monitor_pull(struct worker *to, unsigned int id)
{
	struct runtime *rt = to->rt;
	struct core *from = &rt->cores[id], *core = to->core;
	struct worker *w = NULL;
	cpu_set_t set;

	core_lock(from);
	if (!list_empty(&mcore(from)->ready)) {
		w = container_of(mcore(from)->ready.next, struct mworker, node)->w;
		make_off(from, w, GK_W_HELD);
		store(&w->wp->core, core->id);
	}
	core_unlock(from);
	if (!w)
		return 0;
	CPU_ZERO(&set);
	CPU_SET(core->cpu, &set);
	sched_setaffinity(w->tid, sizeof(set), &set);
	core_lock(core);
	make_ready(core, w);
	core->page->pulled++;
	settle(core, AFTER_PARK, NULL);
	core_unlock(core);
	return 1;
}

static void monitor_exit(struct worker *w)
{
	struct core *core;

	preempt_off();
	core = worker_lock(w);
	make_off(core, w, GK_W_DEAD);
	add_fetch(&w->rt->page->nworkers, -1);
	settle(core, AFTER_BLOCK, NULL);
	core_unlock(core);
	/* nopreempt stays up: nothing is left to preempt. */
}

/* ---- preemption -------------------------------------------------------------------------------------------------- */

/* SIGURG: in the hog's own thread, on its alternate stack, where it waits until the core is its own again. */
static void preempt(int sig, siginfo_t *info, void *context)
{
	struct worker *w = self();
	struct mworker *mw;
	struct core *core;
	int err = errno;
	bool over;

	if (!w || info->si_code != SI_TKILL || info->si_pid != getpid()) {
		if (old_sigurg.sa_flags & SA_SIGINFO)
			old_sigurg.sa_sigaction(sig, info, context);
		else if (old_sigurg.sa_handler != SIG_DFL && old_sigurg.sa_handler != SIG_IGN)
			old_sigurg.sa_handler(sig);
		errno = err;
		return;
	}
	mw = mworker(w);
	if (!mw || load(&mw->nopreempt))
		return;
	if (load(&monitor(w->rt)->stopping)) {
		if (!load(&w->may_run) && !load(&w->wp->taskless)) {
			store_release(&w->stopped_at, context);
			stopped_for_good(w);
		}
		return;
	}
	core = &w->rt->cores[load(&w->wp->core)];
	if (!w->task || inside(core, w))
		return;
	preempt_off();
	core = worker_lock(w);
	/* The signal may have been long on its way: what it was for may have given way by itself. */
	over = mw->over == load(&w->wp->switches);
	/* It may have slept for that lock, or for a page of this stack, and makes no other call that would tell. */
	came_back(core, w);
	if (over && read_state(w) == GK_W_RUNNING && !inside(core, w) && (core->page->running > 1 || core_work(core))) {
		count(&core->page->preempts);
		make_ready(core, w);
		settle(core, AFTER_PARK, NULL);
		store_release(&w->stopped_at, context);
		core_unlock(core);
		wait_for_grant(w, NULL);
		store_release(&w->stopped_at, NULL);
	} else {
		core_unlock(core);
	}
	preempt_on();
	errno = err;
}

/* ---- the monitor's side ------------------------------------------------------------------------------------------ */

/* What the kernel says the thread does: 'R', 'S', 'D', ...; 0 if it does not say. */
static char thread_state(int tid)
{
	char path[64], buf[512], *p;
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", tid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	n = read(fd, buf, sizeof(buf) - 1);
	close(fd);
	if (n <= 0)
		return 0;
	buf[n] = 0;
	p = strrchr(buf, ')');
	return p && p[1] ? p[2] : 0;
}

/* A parked one sleeps, too. */
static bool monitor_asleep(struct worker *w)
{
	uint32_t state = read_state(w);

	return (state == GK_W_RUNNING || state == GK_W_BLOCKED) && thread_state(w->tid) == 'S';
}

/* As gk.ko: its slice is over, and for another one it goes on all the same, as it asked not to be preempted. */
static bool defer(struct core *core, struct worker *w, uint64_t now)
{
	struct mworker *mw = mworker(w);

	if (load(&w->wp->nopreempt) != GK_NOPREEMPT(mw->seen))
		return false;
	if (!mw->deferred) {
		mw->deferred = now;
		count(&core->page->deferred);
		store(&w->wp->overdue, GK_NOPREEMPT(mw->seen));
	}
	return now - mw->deferred < core->rt->slice_ns;
}

static void look_at(struct core *core, struct worker *w, uint64_t now)
{
	struct mworker *mw = mworker(w);
	uint64_t switches = load(&w->wp->switches);
	char state;

	if (switches != mw->seen || !mw->since) {
		mw->seen = switches;
		mw->since = now;
		new_turn(w);
		return;
	}
	state = thread_state(w->tid);
	if (state == 'S' || state == 'D') {
		set_state(w, GK_W_BLOCKED);
		/*
		 * Pairs with word_take(): it sees BLOCKED, or we see it inside. A sequence that has read the state, but
		 * not yet stored, is begun anew by this.
		 */
		if (w->rseq)
			syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED_RSEQ, 0, 0);
		else
			fence();
		if (inside(core, w) || load(&w->wp->switches) != switches) {
			set_state(w, GK_W_RUNNING);
			return;
		}
		/* As make_off() would; but it never looks RUNNING in between. */
		list_del(&mw->node);
		store(&core->page->running, core->page->running - 1);
		count(&core->page->blocks);
		w->wp->blocks++;
		mw->since = 0;
		settle(core, AFTER_BLOCK, NULL);
	} else if (now - mw->since >= core->rt->slice_ns && (core->page->running > 1 || core_work(core)) &&
		   !defer(core, w, now)) {
		mw->over = switches;
		syscall(SYS_tgkill, getpid(), w->tid, SIGURG);
	}
}

/* Returns true while there is something to look at. */
static bool tick(struct core *core, uint64_t now)
{
	struct list *l, *next;
	bool work;

	core_lock(core);
	core->page->ticks++;
	work = core_work(core) || group_work(core);
	if (work || core->page->running > 1)
		for (l = mcore(core)->running.next; l != &mcore(core)->running; l = next) {
			next = l->next;
			look_at(core, container_of(l, struct mworker, node)->w, now);
		}
	settle(core, AFTER_PARK, NULL);
	work |= core->page->running > 0;
	core_unlock(core);
	return work;
}

static void *monitor_thread(void *arg)
{
	struct runtime *rt = arg;
	struct monitor *m = monitor(rt);
	uint64_t now, deadline, first;
	unsigned int i, idle = 0;
	bool busy;

	while (!load_acquire(&m->quit)) {
		busy = false;
		now = now_ns();
		for (i = 0; i < rt->ncores; i++)
			busy |= tick(&rt->cores[i], now);
		idle = busy ? 0 : idle + 1;
		if (idle > 2) {
			/* Nobody runs: whoever runs next ends this, or the first deadline: who runs sets it. */
			store(&m->asleep, 1);
			fence();	/* pairs with the one in monitor_awake() */
			first = UINT64_MAX;
			for (busy = false, i = 0; i < rt->ncores; i++) {
				busy |= load(&rt->cores[i].page->running) != 0;
				deadline = load(&rt->cores[i].page->deadline);
				if (deadline && deadline < first)
					first = deadline;
			}
			/* One that is over, and found nobody to grant: no more often than at other times. */
			if (first < now + TICK_NS)
				first = now + TICK_NS;
			if (!busy && !load_acquire(&m->quit))
				futex_wait(&m->asleep, 1, first < UINT64_MAX ? &first : NULL);
			store(&m->asleep, 0);
			idle = 0;
			continue;
		}
		deadline = now + (busy ? TICK_NS : REST_NS);
		futex_wait(&m->quit, 0, &deadline);
	}
	return NULL;
}

static void handle_sigurg(void)
{
	struct sigaction sa = { .sa_sigaction = preempt, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART };

	sigemptyset(&sa.sa_mask);
	sigaction(SIGURG, &sa, &old_sigurg);
}

static int monitor_start(struct runtime *rt)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	size_t cores = sizeof(struct gk_group_page), workers = cores + rt->ncores * sizeof(struct gk_core_page);
	struct monitor *m;
	sigset_t all, old;
	unsigned int i;
	int err;

	m = calloc(1, sizeof(*m));
	if (!m)
		return -ENOMEM;
	rt->monitor = m;
	workers = (workers + 63) & ~63ul;
	rt->map_size = workers + rt->max_workers * sizeof(struct gk_worker_page);
	rt->map = mmap(NULL, rt->map_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (rt->map == MAP_FAILED) {
		err = ENOMEM;
		goto err_free;
	}
	rt->page = (void *)rt->map;
	rt->worker_off = workers;
	rt->worker_stride = sizeof(struct gk_worker_page);
	m->cores = calloc(rt->ncores, sizeof(*m->cores));
	if (!m->cores) {
		err = ENOMEM;
		goto err_unmap;
	}
	for (i = 0; i < rt->ncores; i++) {
		rt->cores[i].page = (void *)(rt->map + cores + i * sizeof(struct gk_core_page));
		rt->cores[i].backend = &m->cores[i];
		rt->cores[i].page->cpu = rt->cores[i].cpu;
		/* Never 0: nobody needs to arm anything. */
		rt->cores[i].page->armed = rt->cores[i].page->turn = 1;
		pthread_mutex_init(&m->cores[i].lock, NULL);
		list_init(&m->cores[i].running);
		list_init(&m->cores[i].ready);
		list_init(&m->cores[i].standby);
		idle_bit(&rt->cores[i], true);
	}
	pthread_once(&once, handle_sigurg);
	/* The program's signals are for its own threads. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	err = pthread_create(&m->thread, NULL, monitor_thread, rt);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (!err)
		return 0;
	free(m->cores);
err_unmap:
	munmap(rt->map, rt->map_size);
err_free:
	free(m);
	return -err;
}

/*
 * Everybody else has SIGURG pending, which comes before the next user instruction; those who are asleep take it as they
 * wake.
 */
static void monitor_stop(struct runtime *rt)
{
	struct worker *me = self(), *w;
	struct monitor *m = monitor(rt);
	unsigned int i, tries, left;
	struct core *core;
	uint64_t deadline;
	struct list *l;

	store(&me->may_run, true);
	preempt_off();
	exchange(&m->stopping, 1);
	exchange(&rt->page->stopping, 1);	/* pairs with the fence in worker_thread() */
	for (i = 0; i < rt->ncores; i++) {
		core = &rt->cores[i];
		core_lock(core);
		while (!list_empty(&mcore(core)->standby)) {
			l = mcore(core)->standby.next;
			w = container_of(l, struct mworker, node)->w;
			store(&w->may_run, true);	/* it has no task, it may leave */
			make_running(core, w);
			futex_wake(&w->wp->state, 1);
		}
		core_unlock(core);
	}
	for (tries = 0, left = 1; left && tries < STOP_TRIES; tries++) {
		left = 0;
		for (i = 0; i < load(&rt->nids); i++) {
			uint32_t state;
			char c;

			w = load_acquire(&rt->workers[i]);
			if (!w || load(&w->may_run) || load_acquire(&w->gone) || load(&w->wp->taskless))
				continue;
			state = read_state(w);
			if (state == GK_W_STOPPED || state == GK_W_READY || state == GK_W_HELD || state == GK_W_DEAD)
				continue;
			c = thread_state(w->tid);
			if (!tries || c == 'R')
				syscall(SYS_tgkill, getpid(), w->tid, SIGURG);
			left += c == 'R' || !tries;
		}
		deadline = now_ns() + STOP_NS;
		if (left)
			futex_wait(&m->quit, 0, &deadline);
	}
	if (left)
		say("%u tasks computed on for 10 s after the main task had ended: they are left to it", left);
	preempt_on();
}

static void monitor_quit(struct runtime *rt)
{
	struct monitor *m = monitor(rt);

	exchange(&m->quit, 1);
	futex_wake(&m->quit, 1);
	exchange(&m->asleep, 0);
	futex_wake(&m->asleep, 1);
	pthread_join(m->thread, NULL);
}

static void monitor_finish(struct runtime *rt)
{
	struct monitor *m = monitor(rt);
	unsigned int i;

	for (i = 0; i < load(&rt->nids); i++)
		if (rt->workers[i])
			free(rt->workers[i]->backend);
	free(m->cores);
	munmap(rt->map, rt->map_size);
	free(m);
}

const struct backend gk_backend_monitor = {
	.name = "monitor",
	.start = monitor_start,
	.enter = monitor_enter,
	.park = monitor_park,
	.unblocked = monitor_unblocked,
	.wake = monitor_wake,
	.arm = monitor_arm,
	.unhold = monitor_unhold,
	.pull = monitor_pull,
	.asleep = monitor_asleep,
	.exit = monitor_exit,
	.stop = monitor_stop,
	.quit = monitor_quit,
	.finish = monitor_finish,
};
