/* SPDX-License-Identifier: MIT */
/*
 * internal.h - what the files of libgk share.
 *
 * Who may touch what:
 *   - A core's queue, its `next`, its free stacks and its counters belong to the worker that is inside, that is whose
 *     id is in the core word. enter() takes it, leave() gives it up; a task switch carries it from one task to the
 *     other.
 *   - Inside, only libgk's own touched memory is used: no user buffer, no malloc, no system call that can block. User
 *     buffers are read before enter() and written after leave().
 *   - A small lock (channel, mutex, timer heap, task, pool of stacks) is taken inside only, so its contenders are on
 *     other cores, and its holder is not preempted by us: who waits for it inside waits for a brief holder that runs.
 *     Lock order: core word, then one small lock; the global queue's and a timer heap's may nest in it, a mutex's in
 *     that of a condition, a channel's in a tick's. A select locks all its channels, by rising address, in place of
 *     one.
 *   - A task that waits puts itself on a list, under the list's lock, and switches away; the lock is dropped by whoever
 *     runs next on this worker (finish()), when the task's context is complete. Only then can another core find it.
 *   - What a task waits for, its deadline and gk_cancel() may end the wait at the same time. Whoever changes
 *     task->claim from WAITING to 0 is the one that does; it sets the result and makes the task ready. The others leave
 *     the task alone. If it was not the object, then the task itself takes its waiter off the object's list, under the
 *     list's lock, before its call returns: so a waiter on a list is always of the wait that goes on, and an object may
 *     be freed as soon as no call that uses it is under way.
 */
#ifndef GK_INTERNAL_H
#define GK_INTERNAL_H

#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <linux/gk.h>

#include "announce.h"
#include "arch.h"
#include "gk.h"

#undef errno			/* libgk's own files do not wait between a call and its errno */
extern int *__errno_location(void);
#define errno (*__errno_location())

#define likely(x)	__builtin_expect(!!(x), 1)
#define always_inline	inline __attribute__((__always_inline__))
#define unlikely(x)	__builtin_expect(!!(x), 0)
#define ARRAY_SIZE(a)	(sizeof(a) / sizeof((a)[0]))
#define container_of(ptr, type, member) ((type *)((char *)(ptr) - offsetof(type, member)))

#define load(p)		__atomic_load_n(p, __ATOMIC_RELAXED)
#define load_acquire(p)	__atomic_load_n(p, __ATOMIC_ACQUIRE)
#define store(p, v)	__atomic_store_n(p, v, __ATOMIC_RELAXED)
#define store_release(p, v) __atomic_store_n(p, v, __ATOMIC_RELEASE)
#define exchange(p, v)	__atomic_exchange_n(p, v, __ATOMIC_SEQ_CST)
#define add_fetch(p, v)	__atomic_add_fetch(p, v, __ATOMIC_SEQ_CST)
#define cas(p, old, new) ({ __typeof__(*(p)) _old = (old); \
	__atomic_compare_exchange_n(p, &_old, new, false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED); })

#define RING		256u		/* tasks in a core's own queue */
#define STACK_SIZE	(256u << 10)
#define SMALL		64u		/* channel elements up to this size are copied by value */

/* ---- lists and locks --------------------------------------------------------------------------------------------- */

struct list {
	struct list *next, *prev;
};

static inline void list_init(struct list *l)
{
	l->next = l->prev = l;
}

static inline bool list_empty(const struct list *l)
{
	return l->next == l;
}

static inline void list_add_tail(struct list *l, struct list *head)
{
	l->prev = head->prev;
	l->next = head;
	head->prev->next = l;
	head->prev = l;
}

static inline void list_add(struct list *l, struct list *head)
{
	list_add_tail(l, head->next);
}

static inline void list_del(struct list *l)
{
	l->next->prev = l->prev;
	l->prev->next = l->next;
	list_init(l);
}

void spin(unsigned int *spins);
void lock_slow(uint32_t *l);

extern bool gk_alone;			/* one core: inside is exclusive already */

static inline void lock(uint32_t *l)
{
	if (likely(!load(&gk_alone)) && unlikely(exchange(l, 1)))
		lock_slow(l);
}

static inline void unlock(uint32_t *l)
{
	store_release(l, 0);
}

/* ---- objects ----------------------------------------------------------------------------------------------------- */

struct worker;
struct core;
struct runtime;
struct locals;
struct tick;

/* What is still to be done for a task that has switched away. */
enum after {
	AFTER_NONE,		/* nobody will find it, or there is no task */
	AFTER_UNLOCK,		/* it waits; drop the lock of its list */
	AFTER_READY,		/* it yielded; queue it */
	AFTER_YIELD,		/* the same, and the queue has room */
	AFTER_DEAD,		/* it ended; give its stack back */
	AFTER_SELECT,		/* it waits in a select; drop the locks of its channels */
	AFTER_MASK = 7,
};

/* task->claim. */
enum claim {
	CLAIMED = 0,		/* or it does not wait */
	SWITCHING = 1,		/* it waits, but is still on its stack: becomes WAITING in finish() */
	WAITING = 2,
	CANCELLABLE = 4,	/* with one of the two above */
};

/* Why a task waits. */
enum why {
	WHY_NONE,
	WHY_JOIN,
	WHY_SLEEP,
	WHY_CHAN_SEND,
	WHY_CHAN_RECV,
	WHY_NULL_CHAN,
	WHY_SELECT,
	WHY_MUTEX,
	WHY_RWLOCK_READ,
	WHY_RWLOCK_WRITE,
	WHY_COND,
	WHY_WG,
	WHY_ONCE,
	WHY_SEM,
	WHY_BARRIER,
	WHY_SCOPE,
	WHY_SCOPE_SLOT,
};

/* A task on an object's list. */
struct waiter {
	struct waiter *next, *prev;
	struct gk_task *task;
	void *data;		/* the object's own: what is sent, or where what is received goes, ... */
	bool listed;
};

#define NO_STACK	((struct gk_task *)1)

/* A pairing heap: the nodes are the memory, so nothing is allocated inside. */
struct timer_node {
	uint64_t when;
	struct timer_node *child, *sibling, *prev;
	struct core *core;	/* in whose heap it is; NULL: in none */
	/*
	 * Inside, heap locked: whom to make ready, NULL, or NO_STACK. If it sets `when` to later it stays in the heap.
	 * NULL: it is a tick's; see time.c.
	 */
	struct gk_task *(*expire)(struct worker *w, struct timer_node *node);
	uint32_t rank;
	uint32_t lock;		/* of who starts, stops and resets it, where several may */
};

/* What the C++ library knows of a thread's exceptions: struct __cxa_eh_globals of the Itanium C++ ABI. */
struct eh {
	void *caught;		/* a stack of those that are being handled */
	unsigned int uncaught;
};

struct gk_task {
	/* what a switch touches */
	void *sp;
	bool fpu_own;		/* it changes mxcsr by itself: GK_FPU */
	int err;		/* its errno */
	uint32_t *after_lock;
	struct worker *pinned;	/* the worker it may not leave */
	struct gk_task *next;	/* in the global queue, a free list, a list of waiters */
	uint32_t woken;		/* pinned: it has been made ready */
	uint32_t pins;
	uint32_t nopreempts;	/* gk_nopreempt() without gk_preempt() */

	/* what waiting touches */
	uint32_t claim;
	uint32_t claims;	/* what claim is at first when it waits: SWITCHING, CANCELLABLE unless that is masked */
	uint32_t cancelled;	/* gk_cancel() was called */
	int result;		/* of the wait, set by who ends it */
	struct waiter *fired;	/* channels: which of its waiters that was of */
	struct waiter waiter;
	enum why why;
	const void *on;		/* what it waits for */
	uint64_t since;		/* since when, as core->clock had it */
	uint32_t lock;		/* of joiner, ended, detached */
	struct waiter *joiner;
	bool ended, detached, joined;
	bool watched;		/* lock: `again` is in use */
	uint32_t masks;		/* gk_cancel_mask() */
	uint32_t ending;	/* what there is to be done at its end: ENDING_* */
	uint32_t interrupted;	/* its next call that blocks is to fail */
	int waker;		/* poll.c: a descriptor and 1; 0: it does not poll */
	struct locals *locals;	/* NULL: it has none */
	struct timer_node timer;
	char buf[SMALL] __attribute__((aligned(16)));

	void (*fn)(void *);
	void *arg;
	uint64_t id;
	char *stack;		/* its lowest address, above the guard */
	size_t stack_size;
	bool pooled;
	char *chunk;			/* the mapping, in the last task of each */
	struct gk_task *next_chunk;
	struct list own;		/* own_lock: of those that are not pooled */
	char name[32];

	/* scopes, locals, interruption: see the files of these names */
	struct timer_node again;	/* looks whether `interrupted` has been heeded */
	uint64_t patience;
	struct gk_scope *opened;	/* the innermost scope that it has not waited for; if ENDING_OPENED */
	struct gk_scope *scope;	/* that started it; if ENDING_SCOPE */
	struct list sibling;	/* scope's lock: on one of its lists */
	int (*scope_fn)(void *arg);
	struct announced announced;
};

enum ending {
	ENDING_LOCALS = 1,	/* outside */
	ENDING_OPENED = 2,	/* outside */
	ENDING_SCOPE = 4,	/* inside */
};

struct core {
	struct gk_core_page *page;
	struct gk_task *next;		/* runs next, not to be stolen */
	uint32_t turns;			/* until the worker's own loop is due; 0 until that has run */
	uint32_t streak;		/* times in a row that `next` went before the queue */
	uint32_t spared;		/* new tasks for which no other core is to be woken */
	struct gk_task *free;		/* stacks */
	uint32_t nfree;
	uint32_t id;
	bool alone;			/* the only core: nobody steals */
	uint32_t word_waiters;		/* workers that sleep on the core word */
	struct runtime *rt;
	struct gk_task *ring[RING] __attribute__((aligned(64)));

	uint32_t timers_lock __attribute__((aligned(64)));
	struct timer_node *timers;	/* the earliest */

	/* counters, by whoever is inside */
	__u64 started __attribute__((aligned(64)));
	__u64 ended, steals, fired, parks;
	uint64_t clock;			/* when somebody last looked at it: to say how long tasks have waited */
	uint64_t next_id;
	unsigned int cpu;		/* its home; page->cpu is where it is now */
	uint32_t starting;		/* workers on their way here */
	uint64_t away;			/* when somebody last tried to take it home */
	void *backend;
};

struct worker {
	struct gk_task *task;		/* NULL in its own loop */
	struct core *core;
	struct gk_core_page *cp;	/* core->page */
	struct gk_worker_page *wp;
	uint64_t expect;		/* what its page says as long as it is RUNNING, on the core we think it is */
	int rseq;			/* where its struct rseq lies, from the thread pointer; 0: there is none */
	uint32_t cpu;			/* where it should be */
	struct eh *eh;			/* its thread's */
	int *errno_location;		/* what wakes, waits or maps on the way keeps *errno_location as it was */
	uint32_t mark;			/* id + 1: what the core word says when it is inside */
	uint32_t todo;			/* system calls to make when outside */
	struct runtime *rt;
	uint32_t id;
	struct gk_task *mine;		/* a pinned task that waits here */
	void *home;			/* context of its own loop */
	struct gk_task *unhold;		/* pinned tasks to be made ready when outside */
	struct gk_task *unmap;		/* stacks to be unmapped when outside */
	struct gk_task *interrupt[16];	/* to be interrupted when outside */
	uint32_t ninterrupt;
	uint32_t own;			/* the task's call is libgk's own, not to be interrupted: depth */
	bool no_stacks;			/* there was no memory for TODO_STACKS */
	struct fpu home_fpu;
	uint32_t seed;
	__u64 inside_waits;
	int tid;
	int event;			/* poll.c: its eventfd and 1; 0: it has none yet */
	char *alt;			/* its alternate signal stack */
	size_t alt_size;
	stack_t old_alt;		/* the one it had before */
	bool may_run;			/* monitor.c: the stopped runtime lets it go on, to leave */
	bool leaving;			/* the main task ended on it */
	uint32_t gone;			/* left */
	void *backend;			/* monitor.c */
	const void *stopped_at;		/* the signal's context, while it waits in the handler */
	struct {			/* of the watcher, dump.c */
		uint64_t switches, blocks, since;
		bool warned;
	} hog;
	struct announced announced;	/* its own loop's stack */
};

enum todo {
	TODO_ARM = 1,
	TODO_WAKE = 2,
	TODO_UNHOLD = 4,
	TODO_UNMAP = 8,
	TODO_STACKS = 16,
	TODO_INTERRUPT = 32,
};

/* How a worker is parked, woken, preempted. kern.c asks gk.ko; monitor.c does it alone. */
struct backend {
	const char *name;
	int (*start)(struct runtime *rt);
	int (*enter)(struct worker *w, unsigned int core);	/* by the thread itself; fills in id and wp */
	int (*park)(struct worker *w, enum gk_park how);	/* 0 or -ESHUTDOWN */
	void (*unblocked)(struct worker *w);	/* its page says that it does not run, but it does */
	int (*wake)(struct runtime *rt, unsigned int core);	/* 1: a worker was granted */
	void (*arm)(struct runtime *rt, unsigned int core);
	void (*unhold)(struct runtime *rt, unsigned int worker);
	int (*pull)(struct worker *w, unsigned int core);
	/* It comes to the caller's CPU: 0, or -EBUSY if a worker runs there. By any thread. NULL: cores do not move. */
	int (*move)(struct runtime *rt, unsigned int core);
	bool (*asleep)(struct worker *w);	/* in a call or a fault of its task; from any thread */
	void (*exit)(struct worker *w);
	void (*stop)(struct runtime *rt);
	void (*quit)(struct runtime *rt);	/* after stop: its own threads end */
	void (*finish)(struct runtime *rt);	/* after quit, when all workers have left: gives the memory back */
};

extern const struct backend gk_backend_kern, gk_backend_monitor;

struct runtime {
	const struct backend *be;
	struct gk_group_page *page;
	struct core *cores;
	unsigned int ncores;
	unsigned int max_workers, soft_workers;
	uint64_t slice_ns, grain_ns;
	int rseq;			/* see struct worker */
	uint32_t bound;
	int signal;			/* for gk_interrupt() */
	int fd;				/* /dev/gk */
	int manager_fd;			/* eventfd: a core has no standby worker left, or the main task ended */
	char *map;
	size_t map_size;
	uint32_t worker_off, worker_stride;
	void *monitor;			/* monitor.c */
	struct worker **workers;	/* by id */
	uint32_t nids;			/* workers[] has none from here on; only grows */
	uint32_t nthreads, peak;	/* worker threads that have not left, and the most there were */
	bool reported;
	uint32_t main_done;
	struct gk_task *main;
	int result;
	int (*main_fn)(void *);
	void *main_arg;

	uint32_t futile;		/* new tasks to wake no core for: grows as searches find nothing */

	uint64_t awake __attribute__((aligned(64)));	/* dump.c */
	uint32_t dump_wanted;		/* SIGQUIT came */
	bool leaks;
	uint64_t warn_hog_ns;
	pthread_t watcher;

	uint32_t gq_lock __attribute__((aligned(64)));
	struct gk_task *gq_first, *gq_last;

	uint32_t stacks_lock __attribute__((aligned(64)));
	struct gk_task *stacks;
	struct gk_task *chunks;
	struct gk_task *mapped;		/* for whoever is inside next and needs some; pushed and taken by one atomic */
	pthread_mutex_t own_lock;	/* outside only; dump.c has more */
	struct list own;		/* tasks whose stacks are not of a chunk */
};

extern struct runtime *gk_rt;
extern __thread struct worker *gk_worker_self __attribute__((tls_model("initial-exec")));

/* ---- sched.c ----------------------------------------------------------------------------------------------------- */

bool word_take_locked(struct worker *w);
bool word_wait(struct worker *w);
void word_wake(struct worker *w);
void do_todo(struct worker *w);
void worker_loop(struct worker *w);
bool come_home(struct worker *w);
void take_core_home(struct worker *w);
void ready(struct worker *w, struct gk_task *t, bool woken);
void ready_new(struct worker *w, struct gk_task *t);
void ready_tail(struct worker *w, struct gk_task *t);
void queue_spill(struct worker *w, struct gk_task *t);
__attribute__((cold)) struct worker *switch_differs(struct worker *w, struct gk_task *prev, struct gk_task *t,
						    enum after after);
void task_dead(struct worker *w, struct gk_task *t);
bool turn_is_idle(struct worker *w);
int wait_refused(struct worker *w, uint32_t *l, int err);
int wait_until(struct worker *w, uint32_t *l, enum why why, const void *on, uint64_t deadline);	/* see switch.h */
void task_entry(void);
void task_begin(uintptr_t note);
void task_end(void) __attribute__((noreturn));
void gq_put(struct runtime *rt, struct gk_task *first, struct gk_task *last, uint32_t n);
void full_fence_everywhere(void);
void futex_wait(uint32_t *p, uint32_t v, const uint64_t *deadline);
void futex_wake(uint32_t *p, int n);

/*
 * Takes the core word, if it is free and the worker RUNNING where it thinks it is. All workers of a core are pinned to
 * one CPU, so no atomic instruction is needed: a restartable sequence is enough, which also sees that the look at the
 * state and the store are not torn apart. It looks at the CPU as well: anybody may change the threads' affinity, and a
 * CPU may go offline. Without rseq(2) the word is taken with an atomic instruction, and the state looked at twice.
 */
static inline bool word_take(struct worker *w)
{
	long rseq = w->rseq;

	if (likely(rseq))
		return store_if(rseq, w->cpu, (uint64_t *)w->wp, w->expect, &w->cp->word, w->mark);
	return word_take_locked(w);
}

/* Goes inside: @w, which is self() and has a task. */
static always_inline void go_inside(struct worker *w)
{
	touch_stack();
	if (unlikely(!word_take(w)))
		word_wait(w);
}

/* Goes inside: the calling task's worker, holding its core's word; NULL outside a task. */
static inline struct worker *enter(void)
{
	struct worker *w = self();

	if (unlikely(!w || !w->task))
		return NULL;
	go_inside(w);
	return w;
}

static inline void leave(struct worker *w)
{
	store_release(&w->cp->word, 0);
	/* No fence: word_wait() has every CPU do one, between its count and its look at the word. */
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	if (unlikely(load(&w->core->word_waiters)))
		word_wake(w);
	if (unlikely(w->todo))
		do_todo(w);
}

/* ---- waiters: the list's lock is held. Whether there is one may be looked at without it -------------------------- */

static inline void waiter_put(struct gk_queue *q, struct waiter *v)
{
	v->listed = true;
	store(&v->next, NULL);
	v->prev = q->last;
	if (v->prev)
		store(&v->prev->next, v);
	else
		store_release(&q->first, v);	/* some look at it without the lock */
	q->last = v;
}

static inline void waiter_put_front(struct gk_queue *q, struct waiter *v)
{
	v->listed = true;
	v->prev = NULL;
	store(&v->next, q->first);
	if (v->next)
		v->next->prev = v;
	else
		q->last = v;
	store(&q->first, v);
}

static inline void waiter_put_before(struct gk_queue *q, struct waiter *v, struct waiter *next)
{
	v->listed = true;
	store(&v->next, next);
	v->prev = next->prev;
	next->prev = v;
	if (v->prev)
		store(&v->prev->next, v);
	else
		store_release(&q->first, v);
}

/* Takes it off, if whoever ended the wait has not. */
static inline void waiter_del(struct gk_queue *q, struct waiter *v)
{
	if (!v->listed)
		return;
	v->listed = false;
	if (v->prev)
		store(&v->prev->next, v->next);
	else
		store_release(&q->first, v->next);
	if (v->next)
		v->next->prev = v->prev;
	else
		q->last = v->prev;
}

/* Ends a task's wait: true if the caller is the one to do so, and is to set the result and make it ready. */
static inline bool claim(struct gk_task *t)
{
	uint32_t c = load(&t->claim);

	if (unlikely(!(c & WAITING)))
		return false;
	if (likely(load(&gk_alone))) {
		store(&t->claim, CLAIMED);
		return true;
	}
	return cas(&t->claim, c, CLAIMED);
}

/* Takes the first off whose wait the caller ends, or returns NULL. */
static inline struct waiter *waiter_get(struct gk_queue *q)
{
	struct waiter *v;

	while ((v = q->first)) {
		store_release(&q->first, v->next);
		if (v->next)
			v->next->prev = NULL;
		else
			q->last = NULL;
		v->listed = false;
		if (likely(claim(v->task)))
			return v;
	}
	return NULL;
}

/* ---- the other files --------------------------------------------------------------------------------------------- */

struct worker *task_get(size_t stack_size, struct gk_task **task, int *err);	/* outside, and then inside; stack.c */
struct gk_task *stack_get(struct worker *w);		/* inside; NULL: TODO_STACKS would map some */
bool stacks_more(struct runtime *rt);			/* that; outside */
struct gk_task *stacks_map(struct runtime *rt);
void stacks_unmap(struct runtime *rt);
void task_free(struct worker *w, struct gk_task *t);	/* inside */
void task_unmap(struct runtime *rt, struct gk_task *t);	/* outside */
void task_init(struct worker *w, struct gk_task *t, unsigned int flags, void (*fn)(void *), void *arg);
/* Of those that were started, or all. False if the list of own stacks could not be had. Outside. */
bool tasks_each(struct runtime *rt, bool all, void (*fn)(struct gk_task *t, void *arg), void *arg);
void stack_fault_handler(void);				/* stack.c: installs it */
void stack_alt_on(struct worker *w);
void stack_alt_off(struct worker *w);

void select_parked(struct gk_task *t);			/* inside; select.c */
struct gk_task *wait_expired(struct worker *w, struct timer_node *node);
void timer_add(struct worker *w, struct timer_node *node);	/* inside, its core's heap locked; time.c */
bool timer_del(struct timer_node *node);		/* inside; false if it is in no heap any more */
bool timers_run(struct worker *w);			/* inside; true: more are due */
int tick_free(struct tick *tick);			/* 0, or -EPERM outside a task */
uint64_t now_ns(void);
uint64_t now_coarse(void);

/* chan.c: channels that get the time */
struct gk_task *chan_offer(gk_chan *c, const uint64_t *elem);	/* inside; to who waits, or if there is room */
bool chan_drain(gk_chan *c);				/* inside; takes what is there, true if there was something */
void chan_set_tick(gk_chan *c, struct tick *tick);
struct tick *chan_tick(gk_chan *c);

/* scope.c: of a task that ends */
void scope_leave(struct worker *w, struct gk_task *t);	/* inside */
void task_ending(struct gk_task *t);			/* outside; what ENDING_LOCALS and ENDING_OPENED ask for */

/* local.c. A child, or a timer, shares its parent's; NULL is allowed */
struct locals *locals_get(struct locals *l);
void locals_put(struct locals *l);			/* outside */
void task_locals_end(struct gk_task *t);		/* outside */

static inline void task_inherit(struct gk_task *t, struct locals *l)
{
	if (unlikely(l)) {
		t->locals = locals_get(l);
		t->ending |= ENDING_LOCALS;
	}
}

/* task.c */
struct worker *task_make(const struct gk_attr *attr, void (*fn)(void *arg), void *arg, struct gk_task **task, int *err);
void cancel_claim(struct worker *w, struct gk_task *t);	/* task.c, inside, when `cancelled` is set and fenced */
void poll_cancel(struct gk_task *t);			/* poll.c, the same */
void poll_worker_ends(struct worker *w);		/* poll.c, by its thread */
void interrupt_start(struct worker *w, struct gk_task *t);	/* interrupt.c, inside */
void interrupt_now(struct worker *w);			/* outside */
int interrupt_handler(void);				/* 0: it is there */
void dump_on(struct runtime *rt);			/* dump.c */
void dump_off(struct runtime *rt, bool started);
void dump_if_wanted(struct runtime *rt);
void awake(struct runtime *rt);
void asleep(struct runtime *rt);

void main_finish(struct worker *w, int result) __attribute__((noreturn));	/* worker.c */
void say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void die(const char *fmt, ...) __attribute__((noreturn, format(printf, 1, 2)));
/* environ.c */
int env_number(const char *name, unsigned long min, unsigned long max, unsigned long otherwise, unsigned long *out);
int cgroup_cpus(void);

#endif /* GK_INTERNAL_H */
