/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * gk.h - the objects of the module, who may touch each field, and what each file offers to the others.
 *
 * Letters on the fields:
 *   I  set before others can see the object, never changed
 *   C  under core->lock of the worker's core (or of this core)
 *   S  only by the worker's own thread: in its context, in its notifiers, or in an interrupt that hit it
 *   G  under group->lock
 *   A  atomic, or a plain word whose races are harmless and explained where it is used
 *
 * Lock order:  group->lock, then rq->lock (the scheduler's, held when sched_out calls us), then core->lock.
 *   Never two core locks. Under core->lock nothing that takes pi_lock or rq->lock, so no wake-ups: who decides to wake
 *   fills in a struct gk_wake and calls gk_wake_flush() once the lock is dropped. The hrtimer base lock nests inside
 *   core->lock; no timer callback is called with it held.
 *
 * Invariants under core->lock:
 *   core->running is the number of workers of the core in state RUNNING; they are the ones on the running list.
 *   A worker is on the list of its state (running, ready, standby), or on none: BLOCKED, HELD, STOPPED, DEAD, or
 *   `moving`.
 *   running == 0 and work waits and !stalled: somebody is on the way: the irq_work or the csd is queued, or a BLOCKED
 *   worker is current and about to be counted by its sched_in, or there is no worker to grant and the manager was told.
 *
 * What a worker's flags say, who sets and who clears each:
 *   park_queued  park_work is in its task_work. Set by gk_queue_park(), cleared at the start of park_work(), never by a
 *                worker that leaves: nothing may be queued behind its end.
 *   parked       it sleeps, or is about to sleep or has just slept, in park_sleep(), which sets and clears it. A READY
 *                worker that is not parked was displaced or preempted and still runs kernel code, or waits on the run
 *                queue.
 *   request      what it asked for, where it did not park in its call; GK_IOC_PARK sets it, park_work() takes it.
 *   repark       a signal cut its park short: park_interrupted() sets it to 2, each tick of its timer in user mode
 *                takes 1 off, at 0 it parks again: by then its handler has run a tick. The next park clears it.
 *   displaced    RUNNING, but its turn is over and a STANDBY was granted beside it, to which the scheduler is about to
 *                switch: core_timer() sets it, and its sched_out makes it READY, if it has begun nothing else since.
 *   leaving      GK_IOC_EXIT, exec or the end of the group; never cleared.
 *   dismissed    the stopped group lets it go, as it has no task; never cleared.
 *   moving       GK_IOC_PULL has it: READY, on no list.
 *   pulled       a GK_IOC_PULL that took it is not done: no other begins, or the two would leave it on the core of one
 *                and the CPU of the other.
 */
#ifndef GK_KMOD_H
#define GK_KMOD_H

#include <linux/irq_work.h>
#include <linux/kref.h>
#include <linux/mutex.h>
#include <linux/nospec.h>
#include <linux/preempt.h>
#include <linux/smp.h>
#include <linux/task_work.h>
#include <linux/wait.h>
#include <linux/gk.h>

#include "compat.h"

#define GK_CORE_STRIDE		ALIGN(sizeof(struct gk_core_page), GK_LINE)
#define GK_WORKER_STRIDE	ALIGN(sizeof(struct gk_worker_page), GK_LINE)

struct dentry;
struct gk_check;
struct gk_group;
struct seq_file;

/* How a worker came to be granted, or why its core needs one: it decides who is next and who is protected. */
enum gk_cause {
	GK_AFTER_BLOCK,		/* the running worker blocked: READY workers first, unprotected */
	GK_AFTER_PARK,		/* it parked or its slice ended: READY workers and queued tasks in one order */
	GK_AFTER_WAKE,		/* another core has work to give away: grant even if none is seen here */
};

/* What trace events give as the reason (trace.h). */
enum gk_why {
	GK_WHY_AFTER_BLOCK = GK_AFTER_BLOCK,
	GK_WHY_AFTER_PARK = GK_AFTER_PARK,
	GK_WHY_AFTER_WAKE = GK_AFTER_WAKE,
	GK_WHY_PARK = 4,
	GK_WHY_STANDBY = GK_WHY_PARK + GK_PARK_STANDBY,
	GK_WHY_READY = GK_WHY_PARK + GK_PARK_READY,
	GK_WHY_HELD = GK_WHY_PARK + GK_PARK_HELD,
	GK_WHY_NONE = 8,
	GK_WHY_INSIDE,
	GK_WHY_TURN,
	GK_WHY_GRAIN,
	GK_WHY_DISPLACED,
	GK_WHY_AGAIN,
	GK_WHY_AWAY,
	GK_WHY_BACK,
	GK_WHY_NOTHING,
	GK_WHY_STALLED,
	GK_WHY_COMING,
	GK_WHY_STARVED,
	GK_WHY_LEFT,
	GK_WHY_DIED,
};

struct gk_core {
	raw_spinlock_t lock;
	struct gk_core_page *page;	/* I, shared; its user half is hostile */
	struct gk_group *group;		/* I */
	unsigned int id;		/* I */
	unsigned int cpu;		/* I */
	unsigned int running;		/* C */
	unsigned int nready;		/* C */
	unsigned int nurgent;		/* C: of the ready, those that were woken rather than preempted */
	unsigned int nstandby;		/* C */
	bool passed;			/* C: a STANDBY had the last turn before a READY worker */
	struct hlist_head running_list;	/* C */
	struct list_head ready_list;	/* C: oldest first */
	struct hlist_head standby_list;	/* C: newest first, its cache is warm */
	struct gk_worker *stalled;	/* C: the holder of the core word that blocked */
	u64 armed;			/* C: expiry of the timer, 0 if it is not armed */
	u64 armed_turn;			/* C: it was armed to end a turn of this length, or earlier; */
					/* U64_MAX: for a deadline only */
	struct hrtimer timer;
	struct irq_work vacant_work;	/* from sched_out: count fell to 0 and work waits */
	call_single_data_t csd;		/* from another CPU: look at this core again */
};

struct gk_worker {
	struct preempt_notifier pn;	/* S */
	struct callback_head park_work;	/* S */
	unsigned int park_queued;	/* A: park_work is in the thread's task_work */
	bool requeued;			/* S: park_work went behind other task_work once */
	bool parked;			/* S, read by others after a fence */
	bool leaving;			/* S */
	bool stray;			/* S */
	int request;			/* S: enum gk_park, or -1 */
	u8 repark;			/* C */
	bool displaced;			/* C */
	bool dismissed;			/* A */
	bool moving;			/* C */
	bool pulled;			/* C */
	bool unheld;			/* C: GK_IOC_UNHOLD came before the park */
	bool urgent;			/* C: while READY: it was woken */
	u8 state;			/* C for changes; read by its own thread */
	u64 seq;			/* C */
	u64 ran;			/* S: CPU time when it was last switched in */
	u64 in_at;			/* S: when that was */
	u64 arrival;			/* S: what gk_arrival() said then */
	u64 seen_switches;		/* C */
	u64 stint;			/* C: CPU time at which its present stint began */
	u64 deferred_until;		/* C: CPU time of the stint up to which it goes on, if overdue */
	u32 overdue;			/* C: its turn is over, but it asked so not to be preempted; or 0 */
	u64 protect;			/* C: CPU time of the stint in which nobody may displace it */
	struct list_head node;		/* C: on ready_list */
	struct hlist_node place;	/* C: on running_list or standby_list */
	struct gk_core *core;		/* C: changes (PULL) only while READY and parked */
	struct gk_worker_page *page;	/* I, shared */
	struct gk_group *group;		/* I */
	struct task_struct *task;	/* I, referenced */
	unsigned int id;		/* I */
	struct hrtimer repark_timer;
	struct llist_node dead;
	u32 pos;			/* C: while READY: q_tail of the core when it became so */
};

struct gk_group {
	struct kref ref;		/* the file, and each worker */
	struct mutex lock;		/* nothing that waits for user space is done under it */
	struct mutex net_lock;		/* of net: poll functions may wait */
	struct mm_struct *mm;		/* I, grabbed: only compared */
	struct pid *tgid;		/* I, referenced: only compared */
	struct gk_limit *limit;		/* I: the user's count of groups */
	unsigned int id;		/* I: never used again */
	unsigned int ncores;		/* I */
	unsigned int max_workers;	/* I */
	unsigned int worker_off;	/* I */
	u64 slice_ns;			/* A: single words, used as they are found */
	u64 grain_ns;			/* A */
	unsigned int bound;		/* A */
	bool stopping;			/* A: set once, after stopper */
	struct task_struct *stopper;	/* only compared */
	bool dead;			/* A: set once, the file is gone */
	bool closed;			/* A: set once, a descriptor of `files` is gone */
	struct files_struct *files;	/* I: of the process that set it up; only compared */
	struct gk_core *cores;		/* I */
	cpumask_var_t cpus;		/* all that cores are on or were: where a csd may be on its way */
	struct gk_worker __rcu **workers; /* G for changes */
	unsigned long *ids;		/* G */
	struct gk_group_page *page;	/* I, shared */
	struct page **pages;		/* I */
	unsigned long npages;		/* I */
	struct eventfd_ctx *manager;	/* I */
	struct irq_work manager_work;	/* the eventfd's lock is no raw one, so not from a hard interrupt */
	struct gk_net *net;		/* under net_lock */
	u32 net_seq;			/* A: written under the epoll file's wait queue lock */
	bool net_told;			/* A: net_work told the manager, and no worker ran since */
	unsigned int nworkers;		/* G */
	struct irq_work net_work;
	struct llist_node dead_node;
	struct list_head node;		/* stats.c: under its lock */
	struct dentry *dentry;		/* I */
	struct gk_check *check;		/* I: check.c */
	unsigned long entered;		/* G: workers there have been */
};

static inline bool gk_must_stop(struct gk_worker *w)
{
	struct gk_group *g = w->group;

	/* The library clears taskless, fences, and looks at page->stopping, which was set before `stopping`. */
	return unlikely(smp_load_acquire(&g->stopping)) && g->stopper != w->task && !READ_ONCE(w->dismissed) &&
	       !READ_ONCE(w->page->taskless);
}

extern struct preempt_ops gk_preempt_ops;	/* sched.c */

/* The worker that @p is, if any. @p is current, or cannot run as long as the caller holds its rq lock. */
static inline struct gk_worker *gk_worker_of(struct task_struct *p)
{
	struct preempt_notifier *pn;

	hlist_for_each_entry(pn, &p->preempt_notifiers, link)
		if (pn->ops == &gk_preempt_ops)
			return container_of(pn, struct gk_worker, pn);
	return NULL;
}

static inline struct gk_core *gk_worker_lock(struct gk_worker *w, unsigned long *flags)
	__acquires(w->core->lock)
{
	struct gk_core *core;

	for (;;) {
		core = READ_ONCE(w->core);
		raw_spin_lock_irqsave(&core->lock, *flags);
		if (likely(core == w->core))
			return core;
		raw_spin_unlock_irqrestore(&core->lock, *flags);
	}
}

/* check.c, in debug builds */
#ifdef GK_DEBUG
void gk_check_core(struct gk_core *core);
void gk_check_transition(struct gk_worker *w, u8 to);
void gk_check_grant(struct gk_core *core, const struct gk_worker *w, enum gk_cause cause);
void gk_check_settled(struct gk_core *core, const struct gk_worker *self);
void gk_check_armed(struct gk_core *core);
bool gk_broken(const struct gk_group *g);
int gk_check_add(struct gk_group *g);
void gk_check_del(struct gk_group *g);
void gk_check_init(struct dentry *dir);
void gk_check_exit(void);
#else
static inline void gk_check_core(struct gk_core *core)
{
}

static inline void gk_check_transition(struct gk_worker *w, u8 to)
{
}

static inline void gk_check_grant(struct gk_core *core, const struct gk_worker *w, enum gk_cause cause)
{
}

static inline void gk_check_settled(struct gk_core *core, const struct gk_worker *self)
{
}

static inline void gk_check_armed(struct gk_core *core)
{
}

static inline bool gk_broken(const struct gk_group *g)
{
	return false;
}

static inline int gk_check_add(struct gk_group *g)
{
	return 0;
}

static inline void gk_check_del(struct gk_group *g)
{
}

static inline void gk_check_init(struct dentry *dir)
{
}

static inline void gk_check_exit(void)
{
}
#endif

static inline void gk_worker_unlock(struct gk_core *core, unsigned long flags) __releases(core->lock)
{
	gk_check_core(core);
	raw_spin_unlock_irqrestore(&core->lock, flags);
}

static inline bool gk_core_inside(struct gk_core *core, struct gk_worker *w)
{
	return (READ_ONCE(core->page->word) & ~BIT(31)) == w->id + 1;
}

static inline bool gk_queue_waits(struct gk_core *core)
{
	struct gk_core_page *page = core->page;

	return READ_ONCE(page->q_head) != READ_ONCE(page->q_tail) || READ_ONCE(page->q_next);
}

static inline bool gk_deadline_passed(struct gk_core *core)
{
	u64 deadline = READ_ONCE(core->page->deadline);

	return deadline && ktime_get_mono_fast_ns() >= deadline;
}

static inline bool gk_net_waits(struct gk_group *g)
{
	return READ_ONCE(g->net_seq) != READ_ONCE(g->page->net_seen);
}

/* Kinds a to d of gk.h. */
static inline bool gk_core_work(struct gk_core *core)
{
	return core->nready || gk_queue_waits(core) || READ_ONCE(core->group->page->gq_len) ||
	       gk_deadline_passed(core) || gk_net_waits(core->group);
}

static inline bool gk_core_urgent(struct gk_core *core)
{
	return READ_ONCE(core->page->urgent) || core->nurgent || gk_deadline_passed(core) || gk_net_waits(core->group);
}

/*
 * @p is a worker of @core that woke, and whose sched_in, still to come, will count it. Not a stray, nor one past its
 * mm, exiting.
 */
static inline bool gk_counts_itself(struct gk_core *core, struct task_struct *p)
{
	struct gk_worker *w = gk_worker_of(p);

	return w && w->core == core && w->state == GK_W_BLOCKED && task_cpu(p) == core->cpu &&
	       p->mm == core->group->mm && !READ_ONCE(core->group->dead);
}

/* Wake-ups collected under a core lock, done after it. */
struct gk_wake {
	struct task_struct *task;	/* kept alive by RCU: flush in one read section with the lock */
	struct gk_group *manager;	/* whose manager is to be told */
	bool net;			/* by net_work: it has been told if net_told is set */
};

static inline void gk_wake_flush(struct gk_wake *wake)
{
	struct gk_group *g = wake->manager;

	if (wake->task)
		wake_up_process(wake->task);
	/*
	 * The manager's eventfd may be in the epoll file, or in that of a group whose manager's is in ours. If each
	 * told the other whenever it hears of it the CPU would do nothing else, without any thread that could be
	 * stopped.
	 */
	if (g && g->manager && !(wake->net && xchg(&g->net_told, true)))
		irq_work_queue(&g->manager_work);
}

/* main.c: module parameters and the reaper */
extern unsigned int gk_max_cores, gk_max_workers, gk_max_groups;
void gk_reap_worker(struct gk_worker *w);	/* any context; frees it and its references later */
void gk_reap_group(struct gk_group *g);		/* any context */

/* stats.c: what is to be seen from outside */
void gk_stats_init(void);
void gk_stats_exit(void);
void gk_stats_add(struct gk_group *g);
void gk_stats_del(struct gk_group *g);
typedef void (*gk_group_fn)(struct gk_group *g, void *arg);
void gk_visit_groups(gk_group_fn fn, void *arg);
void gk_show_fdinfo(struct seq_file *m, struct file *file);

/* dev.c */
extern const struct file_operations gk_fops;

/* group.c */
int gk_group_setup(struct gk_group **out, struct gk_setup *arg);
int gk_group_set(struct gk_group *g, const struct gk_set *arg);
void gk_group_release(struct gk_group *g);
void gk_group_close(struct gk_group *g, void *files);
void gk_group_put(struct gk_group *g);
void gk_group_free(struct gk_group *g);
void gk_group_stop(struct gk_group *g);
void gk_core_dismiss(struct gk_core *core);
void gk_group_wake_parked(struct gk_group *g);
bool gk_group_mine(const struct gk_group *g);
int gk_net_set(struct gk_group *g, int fd);
void gk_net_work(struct irq_work *work);
void gk_manager_work(struct irq_work *work);

static inline struct gk_core *gk_core_of_id(struct gk_group *g, unsigned long id)
{
	return id < g->ncores ? &g->cores[array_index_nospec(id, g->ncores)] : NULL;
}

/* core.c: everything that changes the running count */
void gk_core_init(struct gk_core *core, struct gk_group *g, unsigned int id, unsigned int cpu);
void gk_core_destroy(struct gk_core *core);
void gk_core_kick(struct gk_core *core);
int gk_core_wake(struct gk_core *core, bool net);
int gk_core_move(struct gk_core *core);
void gk_core_new_turn(struct gk_core *core);
bool gk_group_work(struct gk_core *core);
void gk_core_rearm(struct gk_core *core);
void gk_core_rearm_in(struct gk_core *core, struct gk_worker *w);
u64 gk_core_defers(struct gk_core *core, struct gk_worker *w);
void gk_core_settle(struct gk_core *core, enum gk_cause cause, struct gk_worker *self, struct gk_wake *wake);
void gk_core_displace(struct gk_core *core, struct gk_worker *self);
void gk_preempt(struct gk_core *core, struct gk_worker *w);
u64 gk_clock(void);
void gk_make_running(struct gk_core *core, struct gk_worker *w);
void gk_make_running_in(struct gk_core *core, struct gk_worker *w);
void gk_make_ready(struct gk_core *core, struct gk_worker *w, bool urgent);
void gk_make_standby(struct gk_core *core, struct gk_worker *w);
void gk_make_off(struct gk_core *core, struct gk_worker *w, u8 state);
u64 gk_exec(struct gk_worker *w);
u64 gk_stint(struct gk_worker *w);
void gk_make_moving(struct gk_core *core, struct gk_worker *w);

/* sched.c: the preemption notifiers, the only code near the scheduler */
void gk_arrive(struct gk_worker *w);
void gk_come_in(struct gk_worker *w);

/* worker.c: enter, park, leave */
int gk_worker_enter(struct gk_group *g, struct gk_enter *arg);
int gk_worker_exit(struct gk_worker *w);
int gk_worker_park(struct gk_worker *w, unsigned long how);
int gk_worker_unhold(struct gk_group *g, unsigned long id);
int gk_worker_pull(struct gk_worker *w, struct gk_core *from);
void gk_worker_unregister(struct gk_worker *w);
bool gk_queue_park(struct gk_worker *w);
void gk_repark_start(struct gk_worker *w);
void gk_worker_stray(struct gk_worker *w, unsigned int cpu);

#endif /* GK_KMOD_H */
