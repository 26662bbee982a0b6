/* SPDX-License-Identifier: MIT */
/*
 * gk.h - goroutine-like tasks for C, with the kernel on their side.
 *
 * A task is a function with a stack of its own. Tasks run on all cores at once, a few kernel threads (workers) carry
 * them, and each may call anything that blocks: while it is asleep in the kernel its core runs others.
 *
 * Returns: 0 or a positive number, or a negative errno. No function needs errno to be read. Every function may be
 * called from a task; those marked "anywhere" from any thread too. A call that waits, made outside a task, returns
 * -EPERM.
 * Times are nanoseconds; deadlines are of CLOCK_MONOTONIC, as gk_now() tells it.
 *
 * errno: a task that waits or yields may go on in another thread. This header makes `errno` a call that looks the
 * thread up each time, so include it after <errno.h> or instead. Code compiled without it may keep the address of errno
 * across a gk call; libgk keeps a task's errno value as it was, in whatever thread the task goes on.
 */
#ifndef GK_H
#define GK_H

#include <errno.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

int *gk_errno_location(void);
#undef errno
#define errno (*gk_errno_location())

/* ---- Running ----------------------------------------------------------------------------------------------------- */

/*
 * Starts the runtime, runs fn(arg) as the main task and returns what it returned. When the main task returns, no other
 * task executes another instruction, as in Go. One that was in the middle of malloc() or printf() keeps that lock for
 * ever: so the program should end soon after, by _exit() or quick_exit() if tasks were left running; their memory is
 * not given back. Called from a plain thread, one at a time; -EBUSY if a runtime runs already, -EPERM from a task,
 * -ENOSYS if GK_KMOD=require and the module is not there, -ENOMEM, -EAGAIN if threads cannot be started, -EINVAL for a
 * bad GK_ variable.
 *
 * Environment: GK_CORES (as gk_set_cores), GK_KMOD=auto|off|require (use gk.ko if it is there; never; or fail),
 * GK_SLICE_US (time after which a task that others wait for is preempted, default 10000), GK_BOUND (running workers a
 * core may have when one more wakes; default 0, as many as wake), GK_WORKERS (most worker threads, default 4096),
 * GK_SIGNAL (what gk_interrupt() sends, SIGRTMIN to SIGRTMAX, default SIGRTMIN + 4).
 */
int gk_run(int (*fn)(void *arg), void *arg);

/*
 * The number of cores of the next gk_run(): 1 to 256. 0: what GK_CORES says, or else the CPUs this process may use, its
 * cgroup's CPU limit included. Returns -EINVAL for more, -EBUSY while a runtime runs. Anywhere.
 */
int gk_set_cores(int n);

/* The number of cores of the runtime that runs, or 0. Anywhere. */
int gk_cores(void);

/* Who tells the runtime that a task blocked: "gk.ko" or "monitor"; "none" when no runtime runs. Anywhere. */
const char *gk_backend(void);

/* ---- Tasks ------------------------------------------------------------------------------------------------------- */

typedef struct gk_task gk_task;

#define GK_PINNED 1u		/* the task stays on one worker thread all its life: for libraries that need that */
#define GK_FPU 2u		/* it sets MXCSR itself (flush to zero, say): keep that at each switch. */
				/* fesetround() needs no flag */

struct gk_attr {
	const char *name;	/* copied, cut at 31 bytes; NULL: none */
	size_t stack_size;	/* bytes, 16 KiB to 1 GiB, rounded up to pages; */
				/* 0: 256 KiB (only what is touched uses memory) */
	unsigned int flags;	/* GK_PINNED, GK_FPU */
};

/* Starts fn(arg) as a task that nobody joins. 0, or -ENOMEM, or -EPERM outside a task. Semantics: Go's go statement. */
int gk_go(void (*fn)(void *arg), void *arg);

/*
 * The same with attributes (NULL: the defaults), and with a handle in *task unless task is NULL. The handle must be
 * given to gk_join() or gk_detach() once. -EINVAL for a wrong attribute.
 */
int gk_spawn(gk_task **task, const struct gk_attr *attr, void (*fn)(void *arg), void *arg);

/*
 * Waits until the task ended and gives the handle back. 0; -EDEADLK for the task itself; -EINVAL if another one joins
 * it.
 */
int gk_join(gk_task *task);

/* The same until gk_now() is `deadline`: then -ETIMEDOUT, and the handle is still to be given back. */
int gk_join_until(gk_task *task, uint64_t deadline);

/* Gives the handle back without waiting. */
int gk_detach(gk_task *task);

/* Lets the tasks that wait for this core run first. 0. */
int gk_yield(void);

/*
 * Ends the calling task; it need not return from its function. The main task's result is then 0. Aborts outside a task.
 */
void gk_exit(void) __attribute__((noreturn));

/* The calling task, valid until it ends and not to be joined; NULL outside one. Anywhere. */
gk_task *gk_self(void);

/* A number no other task of this runtime has or had, from 1; 0 outside a task. Anywhere. */
uint64_t gk_id(void);

/* The calling task's name, "" if it has none; NULL outside a task. Anywhere. */
const char *gk_name(void);

/*
 * From now on the calling task stays on the worker it is on / may move again. Both nest. 0, or -EINVAL for one unpin
 * too many.
 */
int gk_pin(void);
int gk_unpin(void);

/*
 * From gk_nopreempt() to gk_preempt() the calling task asks not to be preempted, as one does that holds a lock for a
 * moment. It is a wish with an end: when its slice is over it may use one more, of CPU time, and no longer, so it runs
 * for two at most while others wait. A gk call that waits or yields ends the stretch as well; a system call that blocks
 * gives the core away, as always. gk_preempt() yields if its slice was over. Both nest, and cost no system
 * call. 0, -EINVAL for one gk_preempt() too many, or -EPERM outside a task.
 */
int gk_nopreempt(void);
int gk_preempt(void);

/* ---- Deadlines and cancellation ---------------------------------------------------------------------------------- */

/*
 * Every call that may wait has a form with a deadline, ..._until(): when gk_now() reaches it, -ETIMEDOUT. What can be
 * done without waiting is done even then. GK_FOREVER is none.
 */
#define GK_FOREVER UINT64_MAX

/*
 * From now on each call of the task that would wait returns -ECANCELED instead; one that waits now does so at once.
 * What can be done without waiting is done as ever, and a task that never waits can ask gk_cancelled(). The caller has
 * the task's handle, or is the task. There is no way back. 0. Semantics: Kotlin's Job.cancel().
 */
int gk_cancel(gk_task *task);

/*
 * gk_cancel(), which by itself leaves a task alone that is blocked in a system call: it finds out at its next gk call.
 * This has that call, or if it is in none its next one that blocks, fail with EINTR besides: once; not if a gk call or
 * gk_cancelled() has told the task first, and not while it masks cancellation. 0 at once, before that has happened;
 * -EPERM outside a task.
 *
 * It is a signal (GK_SIGNAL) to the thread that carries the task, repeated while the task is asleep in the kernel and
 * has not got it, at first after 1 ms, then ever less often, up to 32 ms; the signal must not be blocked. Ends what
 * signal(7) lists as interrupted by a handler: read, write, accept, connect, open of a FIFO, flock, wait, nanosleep,
 * poll, ... A wait on a futex is begun anew by the C library: so a task that waits for a pthread mutex or condition
 * variable stays there (it may be woken spuriously), sem_wait() ends. Code that repeats its call on EINTR goes on.
 * Other tasks: their calls that a handler with SA_RESTART lets go on never fail for it; nanosleep, poll, select,
 * epoll_wait and their like very rarely may. Semantics: Java's Thread.interrupt(), as far as a system call can.
 */
int gk_interrupt(gk_task *task);

/* 1 if the calling task was cancelled and does not mask it, else 0. */
int gk_cancelled(void);

/*
 * Between the two the calling task waits as if it was not cancelled: to clean up, say. They nest. 0, or -EINVAL for one
 * unmask too many. Semantics: Kotlin's NonCancellable.
 */
int gk_cancel_mask(void);
int gk_cancel_unmask(void);

/* ---- I/O that can wait no longer --------------------------------------------------------------------------------- */

struct pollfd;

/*
 * As poll(2): waits until one of fds[0..n-1] is ready and returns how many are, which `revents` says. Ready ones are
 * reported even if the task is cancelled or the deadline is over; else -ECANCELED, -ETIMEDOUT, without them. Never
 * -EINTR: handlers of signals run, and it goes on. -EFAULT, -EINVAL for more than RLIMIT_NOFILE - 1 descriptors,
 * -ENOMEM, -EMFILE or -ENFILE if there can be no eventfd for gk_cancel(). The worker sleeps with the task, as in any
 * system call. What is ready may no longer be when it is read: O_NONBLOCK where that matters, as with poll(2).
 */
int gk_poll(struct pollfd *fds, unsigned long n);
int gk_poll_until(struct pollfd *fds, unsigned long n, uint64_t deadline);

/* ---- Scopes: tasks that are waited for, and that end together --------------------------------------------------- */

typedef struct gk_scope gk_scope;

#define GK_SCOPE_SUPERVISOR 1u	/* a task that fails does not have the others cancelled */
#define GK_SCOPE_INTERRUPT 2u	/* its tasks are cancelled by gk_interrupt(), not only by gk_cancel() */

struct gk_scope_attr {
	uint64_t deadline;	/* when it is cancelled; 0 or GK_FOREVER: never */
	size_t limit;		/* most tasks at the same time; 0: any number */
	unsigned int flags;	/* GK_SCOPE_* */
};

/*
 * Opens a scope of the calling task, its owner, who must gk_scope_wait() for it; scopes may be opened in scopes. If the
 * owner ends without, its scopes are cancelled and waited for then: no task leaves a scope alive, but with the main
 * task's end. attr NULL: the defaults. 0; -ENOMEM, -EINVAL for an unknown flag, -EPERM outside a task.
 *
 *	gk_scope_open(&s, NULL);
 *	for (i = 0; i < n; i++)
 *		gk_scope_go(s, fetch, &urls[i]);
 *	err = gk_scope_wait(s);
 *
 * Semantics: Kotlin's coroutineScope and supervisorScope; Go's errgroup.
 */
int gk_scope_open(gk_scope **scope, const struct gk_scope_attr *attr);

/*
 * Starts fn(arg) as a task of the scope; by its owner or any task in it. When it is the first to return less than 0,
 * that is the scope's result, and all other tasks of the scope are cancelled (gk_cancel()). One that was cancelled and
 * returns -ECANCELED has not failed.
 * If the scope has as many tasks as it may, waits until one ended. 0; -ECANCELED if the scope is cancelled (by its
 * owner, its owner's being cancelled, or an error), -ETIMEDOUT if its deadline has passed: nothing is started then, and
 * the scope's result is not 0. -ECANCELED also if the calling task is and would wait. -ENOMEM, -EINVAL, -EPERM as
 * gk_spawn().
 */
int gk_scope_go(gk_scope *scope, int (*fn)(void *arg), void *arg);
int gk_scope_spawn(gk_scope *scope, const struct gk_attr *attr, int (*fn)(void *arg), void *arg);

/* The same, waiting until a deadline: then -ETIMEDOUT / without waiting: -EAGAIN where it would. */
int gk_scope_spawn_until(gk_scope *scope, const struct gk_attr *attr, int (*fn)(void *arg), void *arg,
			 uint64_t deadline);
int gk_scope_try_go(gk_scope *scope, int (*fn)(void *arg), void *arg);

/*
 * Cancels its tasks; it starts none any more, and its result is -ECANCELED unless an error came first or nothing ran.
 * By the owner or any task in it. 0.
 */
int gk_scope_cancel(gk_scope *scope);

/*
 * Waits until all its tasks have ended, and frees it. If the owner is cancelled, so are they, and it waits on: so tasks
 * that do not heed it, in a long system call say, are waited for. Returns the first error, -ETIMEDOUT if the deadline
 * came first while some ran, -ECANCELED if it was cancelled while some ran; else 0. -EPERM if the caller is not the
 * owner.
 */
int gk_scope_wait(gk_scope *scope);

/* The same; when gk_now() is `deadline` its tasks are cancelled, as by the scope's own deadline. */
int gk_scope_wait_until(gk_scope *scope, uint64_t deadline);

/* ---- Locals: values that a task's children inherit --------------------------------------------------------------- */

/* A key; it outlives the runtime. `static gk_local user = { free };` */
typedef struct gk_local {
	void (*destroy)(void *value);	/* called by the last task that has the value, or NULL */
} gk_local;

/*
 * Sets the calling task's value; NULL: it has none. Tasks that it starts from now on begin with it (those of its timers
 * with what it has when it starts the timer); what they set is theirs. The value is not copied: it is shared, and
 * destroyed when the last task or timer that has it has ended or set another. 0; -ENOMEM, -EINVAL, -EPERM outside a
 * task. Semantics: Kotlin's coroutine context, Java's ScopedValue.
 */
int gk_local_set(gk_local *key, void *value);

/* The calling task's value, or NULL. Anywhere. */
void *gk_local_get(const gk_local *key);

/* ---- Channels: the Go specification's, with error codes where Go panics ------------------------------------------ */

typedef struct gk_chan gk_chan;

/*
 * A channel of elements of elem_size bytes (0 is allowed) that holds up to cap of them; cap 0: a send waits for its
 * receive.
 * NULL if there is no memory or the sizes overflow. Anywhere.
 */
gk_chan *gk_chan_new(size_t elem_size, size_t cap);

/*
 * A channel is its maker's, and of each who has called gk_chan_ref() for it. gk_chan_free() gives one such share back;
 * with the last, the channel and what is left in it. -EBUSY, and nothing done, if it is the last while a task waits on
 * the channel. A share may be given back as soon as the task that has it gets no more from the channel: a sender or
 * a receiver of one element that was passed on does not touch it again. NULL is allowed. Anywhere.
 */
gk_chan *gk_chan_ref(gk_chan *chan);	/* returns chan */
int gk_chan_free(gk_chan *chan);

/*
 * Copies an element in; waits while the channel is full. 0, or -EPIPE when the channel is closed, also while waiting;
 * -ENOMEM for an element of more than 64 bytes, if the channel has a buffer; without one it is copied once, straight to
 * where its receiver wants it.
 * On a NULL channel waits for ever. Waiting senders are served first come, first served.
 */
int gk_chan_send(gk_chan *chan, const void *elem);

/*
 * Copies the next element out (elem may be NULL: it is dropped); waits while there is none. 1 with an element, 0 when
 * the channel is closed and empty. On a NULL channel waits for ever.
 */
int gk_chan_recv(gk_chan *chan, void *elem);

/* The same until a deadline. */
int gk_chan_send_until(gk_chan *chan, const void *elem, uint64_t deadline);
int gk_chan_recv_until(gk_chan *chan, void *elem, uint64_t deadline);

/* The same without waiting: -EAGAIN where they would wait. */
int gk_chan_try_send(gk_chan *chan, const void *elem);
int gk_chan_try_recv(gk_chan *chan, void *elem);

/*
 * Receives up to n elements, 1 to INT_MAX, to buf (NULL: they are dropped), one behind the other: all that are there,
 * or the first that comes. Returns how many, 0 when the channel is closed and empty, -EINVAL for n < 1; the rest is as
 * with gk_chan_recv(). Elements that one call receives are in their order, but others may receive some in between.
 */
int gk_chan_recv_many(gk_chan *chan, void *buf, int n);
int gk_chan_recv_many_until(gk_chan *chan, void *buf, int n, uint64_t deadline);
int gk_chan_try_recv_many(gk_chan *chan, void *buf, int n);

/* No more sends. Wakes all who wait. 0, -EPIPE when it is closed already, -EINVAL for NULL. */
int gk_chan_close(gk_chan *chan);

/* Elements in the buffer / its size, at some moment of the call. 0 for NULL. Anywhere. */
size_t gk_chan_len(const gk_chan *chan);
size_t gk_chan_cap(const gk_chan *chan);

/* ---- Select: the Go specification's select statement ------------------------------------------------------------- */

/*
 * One of the things that a select may do. Made by gk_case_recv() and gk_case_send(), in an array that may be used again
 * and changed between calls: a case whose chan is NULL takes no part.
 *
 *	struct gk_case cases[] = { gk_case_recv(in, &v), gk_case_send(out, &n) };
 *
 *	switch (gk_select(cases, 2)) {
 *	case 0: ... v was received, or in is closed: cases[0].result
 *	case 1: ... n was sent, or out is closed: cases[1].result
 *	}
 */
struct gk_case {
	gk_chan *chan;
	void *elem;		/* what is sent, or where what is received goes (NULL: it is dropped) */
	int op;			/* GK_CASE_RECV, GK_CASE_SEND */
	int result;		/* of the one that was done: what gk_chan_recv() or gk_chan_send() would return */
};

#define GK_CASE_RECV 0
#define GK_CASE_SEND 1

static inline struct gk_case gk_case_recv(gk_chan *chan, void *elem)
{
	struct gk_case c = { chan, elem, GK_CASE_RECV, 0 };

	return c;
}

static inline struct gk_case gk_case_send(gk_chan *chan, const void *elem)
{
	struct gk_case c = { chan, (void *)elem, GK_CASE_SEND, 0 };

	return c;
}

/*
 * Waits until one of n cases can be done, does exactly one and returns its index; its result is in cases[index].result:
 * 1 or 0 for a receive, 0 or -EPIPE for a send, as a closed channel is always ready. Among those that can be done each
 * is as likely as another. The same channel may be in several cases, also in both directions: a select does not meet
 * itself. With no case, or none with a channel, it waits for ever.
 * Elements to be sent must not change before it returns; no other case's memory is written to.
 * -ENOMEM for many cases (about ten or more), or elements of more than 64 bytes to a buffer; -EINVAL for a bad op, or
 * n > INT_MAX.
 */
int gk_select(struct gk_case *cases, size_t n);

/* The same until a deadline: then -ETIMEDOUT. */
int gk_select_until(struct gk_case *cases, size_t n, uint64_t deadline);

/*
 * The same without waiting, Go's default: -EAGAIN if there is a moment of the call at which no case could be done. So
 * not if at each moment one could, were it now this one and then that one.
 */
int gk_select_try(struct gk_case *cases, size_t n);

/* ---- Time -------------------------------------------------------------------------------------------------------- */

/* CLOCK_MONOTONIC. Anywhere. */
uint64_t gk_now(void);

/* Waits at least ns; 0 returns at once. 0; -ECANCELED. */
int gk_sleep(uint64_t ns);

/* Waits until gk_now() is at least `deadline`; returns at once if it is. GK_FOREVER: until cancelled. 0; -ECANCELED. */
int gk_sleep_until(uint64_t deadline);

typedef struct gk_timer gk_timer;

/*
 * After ns nanoseconds (GK_FOREVER: not, until a reset) starts fn(arg) as a task, once, which inherits the caller's
 * locals. NULL if there is no memory, or outside a task. The timer must be given back with gk_timer_stop(), before or
 * after it fired. It costs some 100 bytes: the task's stack is found when it fires; if there is no memory then, it
 * fires when there is. Semantics: Go's time.AfterFunc.
 */
gk_timer *gk_timer_start(uint64_t ns, void (*fn)(void *arg), void *arg);

/* 1 if it will not fire any more because of this call, 0 if it has fired or was not to. Frees the timer either way. */
int gk_timer_stop(gk_timer *timer);

/*
 * It fires ns nanoseconds from now instead, or once more if it has fired; GK_FOREVER: not, until the next reset. 1 if
 * it was to fire still, 0 if it has fired (or was set to GK_FOREVER); -EINVAL for NULL. Tasks may reset a timer at the
 * same time, but not while one stops it. Semantics: Go's Timer.Reset.
 */
int gk_timer_reset(gk_timer *timer, uint64_t ns);

/*
 * A channel of uint64_t that gets the time at which it was due (as gk_now() tells it): once, after ns nanoseconds; or
 * every ns (not 0), where times that nobody has received when the next is due are left out. To be received from, by
 * gk_chan_recv() and its kind and gk_select(), and given back by gk_chan_free(), which stops it (from a task only, else
 * -EPERM). Its length and capacity are 0 always.
 * NULL if there is no memory, outside a task, or for a ticker of 0. Semantics: Go's time.After, time.NewTicker.
 */
gk_chan *gk_after(uint64_t ns);
gk_chan *gk_ticker(uint64_t ns);

/*
 * Nothing comes any more, until a reset / what comes, comes ns (GK_FOREVER: never) from now and, of a ticker, every ns
 * from then on. After either has returned nobody receives what was due before. Returns 1 if something would have come,
 * 0 if not (of gk_after(): it has been received); -EINVAL if the channel is not one of these, or for a ticker of 0.
 * Semantics: Stop and Reset of Go 1.23's Timer and Ticker.
 */
int gk_tick_stop(gk_chan *chan);
int gk_tick_reset(gk_chan *chan, uint64_t ns);

/* ---- Synchronisation --------------------------------------------------------------------------------------------- */

/*
 * Between tasks; none of them knows threads. Zeroed memory is a mutex, rwlock, condition, wait group or once as good as
 * new, and a semaphore of no units; nothing has to be destroyed. An object may be freed when no call that uses it is
 * under way, but for this: who got its turn by another's call may free it before that call has come back.
 * What is below is for libgk alone.
 */
struct gk_queue {
	void *first;
	void *last;
};

struct gk_waiters {
	uint32_t lock;
	uint32_t pad;
	struct gk_queue queue;
};

/* What a static object begins with. */
/* clang-format off */
#define GK_WAITERS_INIT { 0, 0, { NULL, NULL } }
#define GK_MUTEX_INIT { NULL, GK_WAITERS_INIT }
#define GK_RWLOCK_INIT { 0, GK_WAITERS_INIT, { NULL, NULL } }
#define GK_COND_INIT { GK_WAITERS_INIT }
#define GK_WG_INIT(count) { (int64_t)(count) * 2, GK_WAITERS_INIT }
#define GK_ONCE_INIT { NULL, GK_WAITERS_INIT }
#define GK_SEM_INIT(size) { (int64_t)(size) * 2, (size), GK_WAITERS_INIT }
#define GK_BARRIER_INIT(parties) { (parties), 0, 0, 0, GK_WAITERS_INIT }
/* clang-format on */

/*
 * A mutex. Who finds it free gets it, even if others wait; but one that has waited for 1 ms gets it as its holder
 * unlocks, and those who wait come in the order in which they came. Semantics: Go's sync.Mutex, but that it has an
 * owner: the task that locked it.
 */
typedef struct gk_mutex {
	gk_task *owner;
	struct gk_waiters waiters;
} gk_mutex;

int gk_mutex_lock(gk_mutex *m);		/* 0; -EDEADLK if the task holds it; -ECANCELED */
int gk_mutex_lock_until(gk_mutex *m, uint64_t deadline);	/* the same, and -ETIMEDOUT */
int gk_mutex_trylock(gk_mutex *m);	/* 0; -EBUSY if anybody holds it */
int gk_mutex_unlock(gk_mutex *m);	/* 0; -EPERM if the task does not hold it */

/*
 * Held by any number of readers, or by one writer. A writer that waits keeps new readers out, so a task must not
 * read-lock it twice; when a writer unlocks, all readers that wait get in before the next writer. Writers among each
 * other are served as by a mutex. Semantics: Go's sync.RWMutex, but that a writer is the owner.
 */
typedef struct gk_rwlock {
	uintptr_t word;
	struct gk_waiters waiters;
	struct gk_queue writers;
} gk_rwlock;

/* 0; -EDEADLK if the task holds it as writer; -ECANCELED, -ETIMEDOUT. */
int gk_rwlock_rdlock(gk_rwlock *rw);
int gk_rwlock_rdlock_until(gk_rwlock *rw, uint64_t deadline);
int gk_rwlock_wrlock(gk_rwlock *rw);
int gk_rwlock_wrlock_until(gk_rwlock *rw, uint64_t deadline);

/* 0; -EBUSY if it would have to wait. */
int gk_rwlock_tryrdlock(gk_rwlock *rw);
int gk_rwlock_trywrlock(gk_rwlock *rw);

/* 0; -EPERM if there is no reader. Which task unlocks is not checked. */
int gk_rwlock_rdunlock(gk_rwlock *rw);

/* 0; -EPERM if the task is not the writer. */
int gk_rwlock_wrunlock(gk_rwlock *rw);

/* A condition: tasks wait on it until another one tells them to look again. Semantics: Go's sync.Cond. */
typedef struct gk_cond {
	struct gk_waiters waiters;
} gk_cond;

/*
 * Unlocks the mutex, waits for a signal and locks it again. 0 only after a signal or broadcast that came later than the
 * unlock: it does not wake without. -ETIMEDOUT, -ECANCELED: it got none (none is lost on it). -EPERM if the task does
 * not hold the mutex. Whatever it returns, the task holds it then if it did before; the deadline and gk_cancel() do not
 * shorten the wait for that. As time passes between signal and lock, look at what was waited for again.
 */
int gk_cond_wait(gk_cond *c, gk_mutex *m);
int gk_cond_wait_until(gk_cond *c, gk_mutex *m, uint64_t deadline);

/* Wakes the one that has waited longest / all who wait. The mutex may be held or not. 0. */
int gk_cond_signal(gk_cond *c);
int gk_cond_broadcast(gk_cond *c);

/* Waits for a number of things to be done. Semantics: Go's sync.WaitGroup. */
typedef struct gk_wg {
	int64_t word;
	struct gk_waiters waiters;
} gk_wg;

/* Adds n to the count. 0; -EINVAL, and nothing done, if it would be negative or above 2^62 - 1. */
int gk_wg_add(gk_wg *wg, int64_t n);
int gk_wg_done(gk_wg *wg);		/* gk_wg_add(wg, -1) */

/*
 * Waits until the count is 0. 0; -EBUSY: it was 0, but is not any more: the group was used again before all who waited
 * for the last use had come back, where Go panics. -ECANCELED, -ETIMEDOUT.
 */
int gk_wg_wait(gk_wg *wg);
int gk_wg_wait_until(gk_wg *wg, uint64_t deadline);

/* Something that is done once. */
typedef struct gk_once {
	gk_task *task;
	struct gk_waiters waiters;
} gk_once;

/*
 * The first call calls fn(arg), on its own stack; the others wait until that has returned, and do nothing. 0: it has.
 * -EDEADLK: called by fn itself. -ECANCELED, -ETIMEDOUT: of those who wait only. fn must return: an exception or
 * gk_exit() leaves the others waiting. Semantics: Go's sync.Once.
 */
int gk_once_do(gk_once *once, void (*fn)(void *arg), void *arg);
int gk_once_do_until(gk_once *once, void (*fn)(void *arg), void *arg, uint64_t deadline);

/*
 * A number of units that are taken and given back. First come, first served: while one waits for many, those who want
 * few wait behind it. Made by gk_sem_init() or GK_SEM_INIT(size): all `size` units are there, and more are never given
 * back. Size 0, or zeroed memory: no units at first, and no limit. Semantics: Go's golang.org/x/sync/semaphore.
 */
typedef struct gk_sem {
	int64_t word;
	int64_t size;
	struct gk_waiters waiters;
} gk_sem;

int gk_sem_init(gk_sem *s, int64_t size);	/* 0; -EINVAL for less than 0 or more than 2^62 - 1. Anywhere. */

/*
 * Takes n units, 0 or more; 0 does nothing. 0; -EINVAL if n is negative, or more than there can ever be.
 * -ECANCELED, -ETIMEDOUT; no units are taken then.
 */
int gk_sem_acquire(gk_sem *s, int64_t n);
int gk_sem_acquire_until(gk_sem *s, int64_t n, uint64_t deadline);
int gk_sem_try_acquire(gk_sem *s, int64_t n);	/* the same; -EAGAIN if it would have to wait */

/* Gives n units back, taken by whomever. 0; -EINVAL, and nothing done, if n is negative or too many would be there. */
int gk_sem_release(gk_sem *s, int64_t n);

/*
 * Where tasks wait until so many of them have come; then it is as new. Made by gk_barrier_init() or
 * GK_BARRIER_INIT(parties). Semantics: Java's CyclicBarrier.
 */
typedef struct gk_barrier {
	uint32_t parties;
	uint32_t arrived;
	uint32_t broken;
	uint32_t pad;
	struct gk_waiters waiters;
} gk_barrier;

int gk_barrier_init(gk_barrier *b, unsigned int parties);	/* 0; -EINVAL for 0. Anywhere. */

/*
 * Waits until all have come: 1 for the last of them, 0 for the others. One that gives up, with -ECANCELED or
 * -ETIMEDOUT, breaks the barrier, as those who are there would wait in vain: they get -EPIPE, and so does every call
 * until gk_barrier_reset(). -EINVAL for zeroed memory.
 */
int gk_barrier_wait(gk_barrier *b);
int gk_barrier_wait_until(gk_barrier *b, uint64_t deadline);

/* As new; those who wait get -EPIPE. 0. */
int gk_barrier_reset(gk_barrier *b);

/* ---- Statistics -------------------------------------------------------------------------------------------------- */

struct gk_stats {
	uint64_t tasks;			/* that have not ended */
	uint64_t started;		/* ever */
	uint64_t switches;		/* from task to task, or between a task and a worker's own loop */
	uint64_t steals;		/* times a core took tasks of another */
	uint64_t timers;		/* fired */
	uint64_t workers;		/* threads, now */
	uint64_t workers_peak;
	uint64_t blocks;		/* times a worker was seen to block in its task's own call or fault */
	uint64_t preempts;		/* times a task was stopped at the end of its slice */
	uint64_t parks;			/* times a worker had nothing to do */
	uint64_t inside_waits;		/* times a worker found its core's word held */
	uint64_t inside_blocks;		/* times a worker blocked while it held it (should stay 0) */
	uint64_t deferred;		/* times a task went on at the end of its slice: gk_nopreempt() */
};

/*
 * Fills in *stats; size is sizeof(*stats), so that later versions can append. -EINVAL for 0; -ESRCH if no runtime runs.
 * Anywhere.
 */
int gk_stats(struct gk_stats *stats, size_t size);

/* ---- Diagnostics ------------------------------------------------------------------------------------------------- */

/*
 * When all tasks wait and none could ever go on, the program says so on stderr, with the dump that gk_dump() writes,
 * and ends with status 2, as Go's do. A task that sleeps in a system call or until a deadline is no deadlock.
 */

/*
 * Writes what each task does to the descriptor, as text: id and name; for what it waits, on which object and how long,
 * or where it runs, or in which system call its thread is asleep; and its stack, with the names of functions, and lines
 * where the program was built with -g. For people: the format may change. Tasks go on meanwhile, so two of them are not
 * of one moment. At most 1000 tasks are shown. Anywhere but in a signal handler. 0, -ESRCH if no runtime runs, or the
 * error of write(2).
 *
 * SIGQUIT (Ctrl-\) does the same on stderr and ends the program with status 2, as in Go, unless the program has handled
 * or ignored it itself before gk_run(). GK_SIGQUIT=continue: the program goes on; off: SIGQUIT is left alone.
 */
int gk_dump(int fd);

/*
 * 1: when the main task of the next gk_run() has ended, says on stderr which tasks still wait without a deadline, for
 * what and where, and of which of them nothing was left that could have woken them: nothing runs, or nothing that may
 * run has the channel's address, or it waits for a task or a mutex of such a one. 0: does not. -1, the default: as
 * GK_LEAKS=1 in the environment says. 0. Anywhere.
 *
 * GK_WARN_HOG_MS=N in the environment: says so on stderr when a task has used N milliseconds of CPU time since it was
 * given its core, with its stack, once for each time.
 */
int gk_set_leaks(int on);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif /* GK_H */
