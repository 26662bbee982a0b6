/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * rig.h - a tiny raw-ABI client of /dev/gk for the tests.
 *
 * A rig is one group, its mapping and up to RIG_WORKERS threads, each pinned to its core's CPU and entered before its
 * function runs. The main thread of a test is the controller: it is no worker, so it may block and poll. It waits for
 * a state word or a counter, with a deadline that is only there to end a broken test.
 */
#ifndef GK_TEST_RIG_H
#define GK_TEST_RIG_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <linux/gk.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#define RIG_DEV		"/dev/gk"
#define RIG_CORES	8
#define RIG_WORKERS	128
#define NSEC		1000000000ULL
#define MSEC		1000000ULL
#define USEC		1000ULL

#define ARRAY_LEN(a)	(sizeof(a) / sizeof((a)[0]))
#define READ_ONCE(x)	(*(const volatile typeof(x) *)&(x))
#define WRITE_ONCE(x, v) (*(volatile typeof(x) *)&(x) = (v))

struct rig_opt {
	unsigned int ncores;		/* 0: 1 */
	unsigned int max_workers;	/* 0: RIG_WORKERS */
	unsigned int bound;		/* as in gk_setup */
	uint64_t slice;			/* 0: 10 s, so that no slice ends unless the test wants it */
	uint64_t grain;			/* 0: as the slice: woken workers are urgent work */
	bool manager;			/* an eventfd in rig.manager_fd */
};

struct rig_worker;
typedef void (*rig_fn)(struct rig_worker *w);

struct rig {
	int fd;
	int manager_fd;
	unsigned char *map;
	struct gk_setup s;
	unsigned int cpu[RIG_CORES];
	atomic_ulong clock;		/* one tick an event: the order in which workers did things */
	unsigned int nw;
	struct rig_worker *w[RIG_WORKERS];
};

/* Everything here but `rig`, `core`, `fn`, `arg` and `job` is written by the worker and read by the controller. */
struct rig_worker {
	struct rig *rig;
	pthread_t thread;
	unsigned int core;
	rig_fn fn;
	void *arg;
	rig_fn job;			/* rig_consumer() calls it for each task it takes */
	int id;				/* of the module; -1 before ENTER */
	pid_t tid;
	atomic_int err;			/* the last errno a gk call gave, or 0 */
	atomic_int stop;		/* written by the controller: the function returns soon */
	atomic_int go;			/* written by the controller: rig_wait_go() counts it down */
	atomic_int done;		/* the function returned */
	atomic_ulong beats;		/* user-mode life signs */
	atomic_ulong taken;		/* tasks taken by rig_consumer() */
	atomic_ulong mark;		/* set by the instruction behind a blocking system call */
	atomic_ulong stamp;		/* of rig.clock */
	atomic_ulong seen;		/* for the test's own use */
	atomic_ulong aux;
	long ret;			/* for the test's own use */
};

/* Opens and sets up a group; 0 or a negative errno. */
int rig_open(struct rig *r, const struct rig_opt *o);
/* Makes the group from an open descriptor; what rig_open() does second. */
int rig_setup(struct rig *r, const struct rig_opt *o);
/* Stops, joins and frees every worker, then unmaps and closes. Needs workers that look at `stop`. */
void rig_close(struct rig *r);
/* Starts a worker and waits until it has entered; NULL when it could not (errno). */
struct rig_worker *rig_spawn(struct rig *r, unsigned int core, rig_fn fn, void *arg);
/* As rig_spawn(), with a job for rig_consumer(), and waits until it is in the state. */
struct rig_worker *rig_standby(struct rig *r, unsigned int core, rig_fn job, void *arg);
/* Sets stop, gives a task or a grant if need be, and joins. False when it did not end. */
bool rig_join(struct rig_worker *w);

static inline struct gk_group_page *rig_group(struct rig *r)
{
	return (void *)r->map;
}

static inline struct gk_core_page *rig_core(struct rig *r, unsigned int i)
{
	return (void *)(r->map + r->s.core_off + (size_t)i * r->s.core_stride);
}

static inline struct gk_worker_page *rig_page(struct rig *r, unsigned int id)
{
	return (void *)(r->map + r->s.worker_off + (size_t)id * r->s.worker_stride);
}

static inline struct gk_worker_page *rig_wp(struct rig_worker *w)
{
	return rig_page(w->rig, w->id);
}

static inline struct gk_core_page *rig_cp(struct rig_worker *w)
{
	return rig_core(w->rig, w->core);
}

static inline uint32_t rig_state(struct rig_worker *w)
{
	return READ_ONCE(rig_wp(w)->state);
}

/* The states as words in a failure's text. */
static inline const char *state_name(uint32_t s)
{
	static const char *const name[] = {
		"NONE", "RUNNING", "BLOCKED", "READY", "STANDBY", "HELD", "STOPPED", "DEAD",
	};

	return s < ARRAY_LEN(name) ? name[s] : "?";
}

static inline bool rig_idle_bit(struct rig *r, unsigned int core)
{
	return READ_ONCE(rig_group(r)->idle[core / 64]) >> (core % 64) & 1;
}

static inline unsigned long rig_tick(struct rig *r)
{
	return atomic_fetch_add(&r->clock, 1) + 1;
}

/* One call; -errno or what it returned. */
static inline long rig_call(struct rig *r, unsigned long cmd, unsigned long arg)
{
	long ret = ioctl(r->fd, cmd, arg);

	return ret < 0 ? -errno : ret;
}

static inline long rig_park(struct rig_worker *w, enum gk_park how)
{
	return rig_call(w->rig, GK_IOC_PARK, how);
}

/* The library's half of rules 2 and 5: queue a task, fence, wake an empty core, arm a running one. */
void rig_push(struct rig *r, unsigned int core);
/* As rig_push() without the calls: work the module hears of by itself or not at all. */
void rig_push_quiet(struct rig *r, unsigned int core);
/* Takes a task of the core if there is one. */
bool rig_take(struct rig *r, unsigned int core);
/* Forgets every task queued. */
void rig_drain(struct rig *r, unsigned int core);

/* Worker functions. */
void rig_consumer(struct rig_worker *w);	/* takes tasks, runs job for each, parks as STANDBY; until stop */
void rig_hog(struct rig_worker *w);		/* counts beats, never enters the kernel; until stop */
void rig_wait_go(struct rig_worker *w);		/* sleeps (BLOCKED) until the controller calls rig_go() */
void rig_go(struct rig_worker *w);

/* A job that never enters the kernel until the controller sets w->go. */
void rig_hold_core(struct rig_worker *w);

/* A read that sets *mark with the very next user instruction. */
long rig_read_mark(int fd, void *buf, size_t len, atomic_ulong *mark);
/* Any call with up to three arguments, the same way. */
long rig_syscall_mark(long nr, long a, long b, long c, atomic_ulong *mark);

uint64_t rig_now(void);				/* CLOCK_MONOTONIC, ns */
uint64_t rig_cpu_time(struct rig_worker *w);	/* CPU time of the worker's thread, ns */
char rig_task_state(pid_t tid);			/* the letter of /proc/self/task/TID/stat; 0 when it is gone */
unsigned long rig_count(unsigned long dflt);	/* GK_COUNT, or dflt */
unsigned int rig_ncpus(void);			/* that this process may use */
unsigned int rig_nth_cpu(unsigned int n);
long rig_refcnt(void);				/* of the module, -1 when unknown */
extern long rig_refcnt_start;			/* when this program started */
const char *rig_dir(void);			/* a directory on a disk file system (GK_DISK), or NULL */
uint64_t rig_patience(void);			/* how long a wait may take, ns */
void rig_nap(void);				/* one step of a controller's poll */

/* Controller: polls until cond holds; false when the deadline passed. */
#define RIG_WAIT(cond) ({						\
	uint64_t __end = rig_now() + rig_patience();			\
	bool __ok;							\
									\
	while (!(__ok = (cond)) && rig_now() < __end)			\
		rig_nap();						\
	__ok = __ok || (cond);						\
	__ok;								\
})

static inline bool rig_wait_state(struct rig_worker *w, uint32_t state)
{
	return RIG_WAIT(rig_state(w) == state);
}

/* In the state and asleep in its park, not only on its way there: what PULL needs, for one. */
static inline bool rig_parked(struct rig_worker *w, uint32_t state)
{
	return rig_state(w) == state && rig_task_state(w->tid) == 'S';
}

/* The worker has used `ns` more CPU time: what a hog does while nobody stops it. */
bool rig_wait_cpu(struct rig_worker *w, uint64_t ns);
/* The worker's beats grow by n: it runs user code. */
bool rig_wait_beats(struct rig_worker *w, unsigned long n);
/* The worker's beats stay as they are over `n` polls of the controller that each let others run. */
bool rig_is_still(struct rig_worker *w, unsigned int n);
/* The module's reference count is back where it was when the program started. */
bool rig_no_leak(void);

#endif
