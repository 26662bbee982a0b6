/* SPDX-License-Identifier: (GPL-2.0 WITH Linux-syscall-note) OR MIT */
/*
 * gk.h - the ABI of /dev/gk: scheduler activations for user-space M:N schedulers.
 *
 * This comment is the specification. libgk is one user of it; another can be written from it.
 *
 * OBJECTS
 *   group   One open /dev/gk after GK_IOC_SETUP. It belongs to the process that set it up: the same mm and the same
 *           thread group. A process that inherited or was handed the descriptor, or that has called execve(), gets
 *           EPERM from every call and disturbs nobody. A group lives until its last descriptor and its last mapping
 *           are gone and its last worker has left.
 *   core    The right to run tasks on one CPU. Cores are numbered 0 .. ncores-1, each with its CPU, set by SETUP and
 *           changed by GK_IOC_MOVE alone. Several cores may share a CPU.
 *   worker  A thread that called GK_IOC_ENTER. It belongs to one core and should be pinned to that core's CPU before it
 *           enters. On another CPU it has GK_WF_STRAY set, is not counted and shows as BLOCKED until it is back.
 *
 * STATES OF A WORKER (struct gk_worker_page.state; the module is the only writer)
 *   RUNNING  The kernel may run it in user mode now. Counted in its core's `running`.
 *   BLOCKED  Asleep in the kernel in a call or a fault of its own. It becomes RUNNING when it is switched in again.
 *   READY    Has a task and may go on, but waits for a grant: preempted at the end of its slice, over the bound when it
 *            woke, or by its own GK_PARK_READY. It executes no user instruction until it is granted; signal handlers
 *            excepted.
 *   STANDBY  Has no task, by its own GK_PARK_STANDBY.
 *   HELD     Waits for GK_IOC_UNHOLD, by its own GK_PARK_HELD.
 *   STOPPED  Parked for good by GK_IOC_STOP.
 *   Every transition adds 1 to `seq`; a grant also adds 1 to `grants`.
 *
 * WHAT THE MODULE DOES
 *   It keeps each core's `running`. When that falls to 0 and work waits for the core, it grants one worker: after a
 *   block the READY worker that has waited longest, else a STANDBY; when a worker parked or its slice ended, the
 *   longest-waiting READY worker unless tasks queued before it are still in the library's queue (ready_pos), else a
 *   STANDBY. What has no place in that order (q_next, gq_len, a deadline, the network) takes turns with READY workers.
 *   When no work waits, nobody is granted.
 *
 *   Work waits for a core when
 *     a. a worker of the core is READY; or
 *     b. the library's queue is not empty: q_head != q_tail, or q_next != 0, or gq_len != 0; or
 *     c. `deadline` is not 0 and has passed (CLOCK_MONOTONIC); or
 *     d. the group's epoll file has become ready since the library looked: net_seq != net_seen.
 *   Work waits for the group, and so for any core without a running worker, when `searching` is 0 and
 *     e. another core's q_head != q_tail; or d.
 *
 *   A worker that wakes from a block goes on at once as long as `running` is below the group's bound (0: no bound), and
 *   else becomes READY before it executes a user instruction.
 *
 *   While work of kind a-d waits for a core and one of its workers runs, or more than one runs, a timer is armed. A
 *   worker that has used a slice of CPU time since `switches` of its page last changed (only a grain where `urgent` is
 *   set, a READY worker was woken, the deadline has passed or the epoll file is ready) is made READY at the tick, or as
 *   the CPU switches to the STANDBY granted then, and the next worker is granted. If it is in the kernel at that time
 *   it goes on there, and parks before it returns to user mode. A worker that holds the core word is left to finish
 *   first. One whose page says so in `nopreempt` (GK_FEAT_NOPREEMPT) is let go on, once a turn and for one slice of CPU
 *   time more at most, however often it asks: so a turn that nothing ends but time is two slices at most. `overdue` of
 *   its page is then what `nopreempt` was, until its next turn begins, and `deferred` of its core counts it. That is so
 *   where a turn ends by time, and where a STANDBY would take its place; one that wakes over the bound parks all the
 *   same. A turn begins with a grant, with a wake from a block, and when `switches` changes.
 *
 *   A worker that parks as STANDBY while others run on its core, and tasks are queued, takes their place if it may:
 *   each other worker that is not protected becomes READY where it stands. A worker granted in the queue's despite is
 *   protected for one grain of CPU time; one granted because the others blocked is not.
 *
 * WHAT THE LIBRARY OWES
 *   - q_head, q_tail, q_next, deadline, switches, gq_len are true whenever the worker that changes them makes a call
 *     that can block. Tasks that another core may take must be visible in q_head/q_tail before a full fence and a look
 *     at idle[]; the module sets a bit of idle[] before a full fence and a look at (e): one of the two sees the other.
 *     Who finds a bit set calls GK_IOC_WAKE.
 *   - Who makes work for a core on which somebody runs, and finds `turn` 0, or makes a deadline, and finds `armed` 0 or
 *     later than that, calls GK_IOC_ARM. That is at most one call a slice, and one a deadline.
 *   - `word` holds the id + 1 of the worker that is changing the core's queue, or 0. Bit 31 is the library's. It must
 *     be given up before anything that can block. If its holder blocks all the same, no worker of that core is granted
 *     until it is back, and `stalls` counts it.
 *   - `nopreempt` is GK_NOPREEMPT(switches) while the worker's task asks not to be preempted. As `switches` changes
 *     with the task, the wish ends with it. Who takes it back, and after that finds in `overdue` what it had written,
 *     owes others its place: it parks as READY, or takes another task.
 *   User words are hints to the module. Wrong ones harm the process that wrote them, and nobody else.
 *
 * MEMORY
 *   One mapping (offset 0, length map_size, shared, read-write): at 0 struct gk_group_page; at core_off + i *
 *   core_stride struct gk_core_page of core i; at worker_off + i * worker_stride struct gk_worker_page of worker i. It
 *   is charged to the caller's memory cgroup, always resident and not inherited by fork(). Lines written by the module
 *   and lines written by the library are apart. The mapping is writable as a whole; nothing the module decides depends
 *   on what is written over its own lines.
 *
 * ERRORS
 *   ENOTTY unknown call; E2BIG a longer struct with a non-zero tail; EINVAL a wrong value, an unknown flag, a struct
 *   that is too short, a call in the wrong state; ENOENT no such core or worker; EPERM not the group's process, or not
 *   a worker where one is needed; EBUSY done already; EFAULT; ENOMEM; EUSERS too many groups of this user; ENOSPC no
 *   worker id left; ESHUTDOWN the group was stopped.
 *   Times are nanoseconds of CLOCK_MONOTONIC; 0 means none.
 */
#ifndef _UAPI_LINUX_GK_H
#define _UAPI_LINUX_GK_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define GK_IOC_MAGIC	0xB9

/* Optional behaviour, as bits of struct gk_info.features. */
#define GK_FEAT_BOUND	(1ULL << 0)	/* gk_setup.bound */
#define GK_FEAT_EPOLL	(1ULL << 1)	/* gk_set.epoll_fd */
#define GK_FEAT_PULL	(1ULL << 2)	/* GK_IOC_PULL */
#define GK_FEAT_STOP	(1ULL << 3)	/* GK_IOC_STOP */
#define GK_FEAT_NOPREEMPT (1ULL << 4)	/* gk_worker_page.nopreempt */
#define GK_FEAT_MOVE	(1ULL << 5)	/* GK_IOC_MOVE */

/* GK_IOC_INFO: what this module can do. Allowed before SETUP and to every process. */
struct gk_info {
	__u32 size;		/* in: sizeof(struct gk_info) */
	__u32 flags;		/* in: 0 */
	__u64 features;		/* out: GK_FEAT_* */
	__u32 max_cores;	/* out: limits of one group (module parameters) */
	__u32 max_workers;
};

/* GK_IOC_SETUP: makes the group. Once a descriptor. EBUSY the second time. */
struct gk_setup {
	__u32 size;		/* in: sizeof(struct gk_setup) */
	__u32 flags;		/* in: 0 */
	__u32 ncores;		/* in: 1 .. gk_info.max_cores */
	__u32 max_workers;	/* in: 1 .. gk_info.max_workers, at least ncores */
	__u64 cpus;		/* in: address of __u32[ncores], the CPU of each core; */
				/* EINVAL if the caller may not use one */
	__u64 slice_ns;		/* in: 100 us .. 10 s, 0: 10 ms */
	__u64 grain_ns;		/* in: 50 us .. slice_ns, 0: the least of 500 us and slice_ns */
	__u32 bound;		/* in: running workers a core may have before a woken one parks; 0: no bound */
	__s32 manager_fd;	/* in: an eventfd that gets 1 whenever a core has no STANDBY left and could use one; */
				/* or -1 */
	__u64 map_size;		/* out: what to mmap */
	__u32 core_off;		/* out */
	__u32 core_stride;	/* out */
	__u32 worker_off;	/* out */
	__u32 worker_stride;	/* out */
};

/* GK_IOC_SET: changes what `mask` names, of the group. */
#define GK_SET_SLICE	(1u << 0)
#define GK_SET_GRAIN	(1u << 1)
#define GK_SET_BOUND	(1u << 2)
#define GK_SET_EPOLL	(1u << 3)
struct gk_set {
	__u32 size;		/* in: sizeof(struct gk_set) */
	__u32 mask;		/* in: GK_SET_* */
	__u64 slice_ns;		/* in: as in gk_setup, 0 too */
	__u64 grain_ns;
	__u32 bound;
	__s32 epoll_fd;		/* in: an epoll descriptor (EINVAL for others); -1: forget the one set before */
};

/* GK_IOC_ENTER: the calling thread becomes a worker, RUNNING. EBUSY if it is one already, of whatever group. */
#define GK_ENTER_TASKLESS	(1u << 0)	/* taskless of the worker's page is to be 1 from the start */
struct gk_enter {
	__u32 size;		/* in: sizeof(struct gk_enter) */
	__u32 flags;		/* in: GK_ENTER_* */
	__u32 core;		/* in */
	__u32 id;		/* out: 0 .. max_workers-1 */
};

/* What GK_IOC_PARK parks as. The call returns 0 with the worker RUNNING: after a grant, a signal, or at once. */
enum gk_park {
	GK_PARK_STANDBY = 0,	/* at once when work waits and no other worker runs or the others could be displaced */
	GK_PARK_READY = 1,	/* at once when no other worker is READY and no task is queued */
	GK_PARK_HELD = 2,	/* at once when GK_IOC_UNHOLD came first; that is then used up */
};

#define GK_IOC_INFO	_IOWR(GK_IOC_MAGIC, 0x10, struct gk_info)
#define GK_IOC_SETUP	_IOWR(GK_IOC_MAGIC, 0x11, struct gk_setup)
#define GK_IOC_SET	_IOW(GK_IOC_MAGIC, 0x12, struct gk_set)
#define GK_IOC_ENTER	_IOWR(GK_IOC_MAGIC, 0x13, struct gk_enter)
/* The rest take a plain number. */
#define GK_IOC_EXIT	_IO(GK_IOC_MAGIC, 0x20)	/* 0: the calling worker is none any more; */
						/* its id is free a little later */
#define GK_IOC_PARK	_IO(GK_IOC_MAGIC, 0x21)	/* enum gk_park; by a RUNNING worker, for itself */
#define GK_IOC_WAKE	_IO(GK_IOC_MAGIC, 0x22)	/* core: if none runs there, grant one; returns 1 if it did, else 0 */
#define GK_IOC_ARM	_IO(GK_IOC_MAGIC, 0x23)	/* core: arm its timer for the work and the deadline it has now */
#define GK_IOC_UNHOLD	_IO(GK_IOC_MAGIC, 0x24)	/* worker: HELD to READY, or remembered (once) if it is not HELD */
#define GK_IOC_PULL	_IO(GK_IOC_MAGIC, 0x25)	/* core: its longest-READY worker moves to the caller's core and CPU; */
						/* 1 or 0 */
#define GK_IOC_STOP	_IO(GK_IOC_MAGIC, 0x26)	/* 0: no worker but the caller runs user code again; */
						/* STANDBYs return, to get ESHUTDOWN */
#define GK_IOC_MOVE	_IO(GK_IOC_MAGIC, 0x27)	/* core: it comes to the CPU of the caller, with all that waits for */
						/* it; its workers are strays until they are there, the caller */
						/* RUNNING at once. EBUSY while a worker runs there: no stray does */

enum gk_worker_state {
	GK_W_NONE = 0,
	GK_W_RUNNING = 1,
	GK_W_BLOCKED = 2,
	GK_W_READY = 3,
	GK_W_STANDBY = 4,
	GK_W_HELD = 5,
	GK_W_STOPPED = 6,
	GK_W_DEAD = 7,
};

#define GK_WF_STRAY	(1u << 0)	/* runs on another CPU than its core's */

#define GK_LINE		64
#define GK_MAX_CORES	256

#define GK_NOPREEMPT(switches)	((__u32)((switches) << 1 | 1))

struct gk_group_page {
	/* written by the module */
	__u64 idle[GK_MAX_CORES / 64];	/* bit i: core i has no running worker */
	__u32 nworkers;			/* entered and not left */
	__u32 net_seq;			/* how often the epoll file became ready */
	__u32 stopping;
	__u32 pad0[5];
	/* written by the library */
	__u32 gq_len;			/* tasks in a queue that every core takes from */
	__u32 searching;		/* workers that are looking for work to take from others */
	__u32 net_seen;			/* net_seq before the library last polled */
	__u32 pad1[13];
};

struct gk_core_page {
	/* written by the module */
	__u32 cpu;
	__u32 ready_pos;		/* q_tail when the longest-READY worker became so */
	__u32 running;			/* this and the next may be read as one __u64 */
	__u32 nready;
	__u32 nstandby;
	__u32 turn;			/* not 0: the timer is armed to end a turn, and not for the deadline alone */
	__u64 armed;			/* when the timer will fire; 0: it is not armed */
	__u64 pad1[4];
	/* written by the library: the core's own workers */
	__u32 word;			/* id + 1 of the worker inside, or 0 */
	__u32 q_next;			/* not 0: a task waits that only this core may take */
	__u32 urgent;			/* not 0: a task that waits was woken or is new, it did not just yield */
	__u32 q_tail;			/* tasks queued so far */
	__u64 deadline;			/* of this core's earliest timer */
	__u64 pad2[5];
	/* written by the library: any worker */
	__u32 q_head;			/* tasks taken from the queue so far */
	__u32 pad3[15];
	/* counters, written by the module, before the state that goes with them; they only grow */
	__u64 blocks;			/* RUNNING to BLOCKED */
	__u64 unblocks;			/* BLOCKED to RUNNING or READY */
	__u64 wakes_over;		/* woken while another worker ran: went on beside it */
	__u64 parks_bound;		/* woken over the bound: READY */
	__u64 preempts;			/* slice or grain over: READY */
	__u64 displaced;		/* READY because a worker without a task took its place */
	__u64 parks_standby;
	__u64 parks_ready;
	__u64 parks_held;
	__u64 grants_ready;
	__u64 grants_standby;
	__u64 starved;			/* work waited, nobody ran, and there was no worker to grant */
	__u64 ticks;			/* the timer fired */
	__u64 stalls;			/* the holder of the word blocked */
	__u64 signals;			/* parks cut short by a signal */
	__u64 remote;			/* calls from other CPUs: kicks, wakes */
	__u64 pulled;			/* READY workers moved here from another core */
	__u64 deferred;			/* turns that were over, but for `nopreempt` */
	__u64 pad4[14];
};

struct gk_worker_page {
	/* written by the module */
	__u32 state;			/* enum gk_worker_state */
	__u32 core;
	__u64 seq;
	__u64 grants;
	__u64 blocks;
	__u32 flags;			/* GK_WF_* */
	__u32 tid;			/* as its own pid namespace has it */
	__u32 overdue;			/* not 0: its turn is over, but for `nopreempt`, which is this */
	__u32 pad0[5];
	/* written by the library */
	__u64 switches;			/* changes whenever the worker takes up another task */
	__u64 cookie;			/* the task it has, for tools */
	__u32 taskless;			/* not 0: it has none, and looks at `stopping` after it clears this: */
					/* GK_IOC_STOP spares it */
	__u32 nopreempt;		/* GK_NOPREEMPT(switches): its task is not to be preempted just now */
	__u64 pad2[5];
};

#endif /* _UAPI_LINUX_GK_H */
