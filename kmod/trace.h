/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * trace.h - the trace events gk:*, for perf, trace-cmd, bpftrace and selftests/kmod/oracle.c.
 *
 * gk_state is every transition there is, in the order of `seq`, with the counts of the core after it. The others say
 * why, and come just before it, under the same hold of core->lock: so the events of a core are in the order in which
 * things happened (in a trace with the clock "counter", those of a group, too). Each counter of struct gk_core_page
 * has its event; selftests/kmod/replay.c has the table, and the rules that all of them keep.
 *
 * Most fire under core->lock, some under the rq lock as well, as sched_switch does. A disabled one is a no-op in the
 * code: arguments are pointers and constants, what they point to is read only where the event is on.
 */
/* clang-format off */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM gk

#if !defined(GK_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define GK_TRACE_H

#include <linux/tracepoint.h>

#include "gk.h"

TRACE_DEFINE_ENUM(GK_W_NONE);
TRACE_DEFINE_ENUM(GK_W_RUNNING);
TRACE_DEFINE_ENUM(GK_W_BLOCKED);
TRACE_DEFINE_ENUM(GK_W_READY);
TRACE_DEFINE_ENUM(GK_W_STANDBY);
TRACE_DEFINE_ENUM(GK_W_HELD);
TRACE_DEFINE_ENUM(GK_W_STOPPED);
TRACE_DEFINE_ENUM(GK_W_DEAD);

#define gk_show_state(state)				\
	__print_symbolic(state,				\
			 { GK_W_NONE,	 "none" },	\
			 { GK_W_RUNNING, "running" },	\
			 { GK_W_BLOCKED, "blocked" },	\
			 { GK_W_READY,	 "ready" },	\
			 { GK_W_STANDBY, "standby" },	\
			 { GK_W_HELD,	 "held" },	\
			 { GK_W_STOPPED, "stopped" },	\
			 { GK_W_DEAD,	 "dead" })

TRACE_DEFINE_ENUM(GK_WHY_AFTER_BLOCK);
TRACE_DEFINE_ENUM(GK_WHY_AFTER_PARK);
TRACE_DEFINE_ENUM(GK_WHY_AFTER_WAKE);
TRACE_DEFINE_ENUM(GK_WHY_STANDBY);
TRACE_DEFINE_ENUM(GK_WHY_READY);
TRACE_DEFINE_ENUM(GK_WHY_HELD);
TRACE_DEFINE_ENUM(GK_WHY_NONE);
TRACE_DEFINE_ENUM(GK_WHY_INSIDE);
TRACE_DEFINE_ENUM(GK_WHY_TURN);
TRACE_DEFINE_ENUM(GK_WHY_GRAIN);
TRACE_DEFINE_ENUM(GK_WHY_DISPLACED);
TRACE_DEFINE_ENUM(GK_WHY_AGAIN);
TRACE_DEFINE_ENUM(GK_WHY_AWAY);
TRACE_DEFINE_ENUM(GK_WHY_BACK);
TRACE_DEFINE_ENUM(GK_WHY_NOTHING);
TRACE_DEFINE_ENUM(GK_WHY_STALLED);
TRACE_DEFINE_ENUM(GK_WHY_COMING);
TRACE_DEFINE_ENUM(GK_WHY_STARVED);
TRACE_DEFINE_ENUM(GK_WHY_LEFT);
TRACE_DEFINE_ENUM(GK_WHY_DIED);

#define gk_show_why(why)						\
	__print_symbolic(why,						\
			 { GK_WHY_AFTER_BLOCK,	"after_block" },	\
			 { GK_WHY_AFTER_PARK,	"after_park" },		\
			 { GK_WHY_AFTER_WAKE,	"after_wake" },		\
			 { GK_WHY_STANDBY,	"standby" },		\
			 { GK_WHY_READY,	"ready" },		\
			 { GK_WHY_HELD,		"held" },		\
			 { GK_WHY_NONE,		"-" },			\
			 { GK_WHY_INSIDE,	"inside" },		\
			 { GK_WHY_TURN,		"turn" },		\
			 { GK_WHY_GRAIN,	"grain" },		\
			 { GK_WHY_DISPLACED,	"displaced" },		\
			 { GK_WHY_AGAIN,	"again" },		\
			 { GK_WHY_AWAY,		"away" },		\
			 { GK_WHY_BACK,		"back" },		\
			 { GK_WHY_NOTHING,	"nothing" },		\
			 { GK_WHY_STALLED,	"stalled" },		\
			 { GK_WHY_COMING,	"coming" },		\
			 { GK_WHY_STARVED,	"starved" },		\
			 { GK_WHY_LEFT,		"left" },		\
			 { GK_WHY_DIED,		"died" })

/* A worker, as it is before what the event is about. `pid` is the first namespace's, as everywhere in traces. */
DECLARE_EVENT_CLASS(gk_worker,
	TP_PROTO(const struct gk_worker *w, unsigned int why),
	TP_ARGS(w, why),
	TP_STRUCT__entry(
		__field(u32, group)
		__field(u32, core)
		__field(u32, worker)
		__field(pid_t, pid)
		__field(u32, state)
		__field(u32, why)
		__field(u64, seq)
	),
	TP_fast_assign(
		__entry->group = w->group->id;
		__entry->core = w->core->id;
		__entry->worker = w->id;
		__entry->pid = w->task->pid;
		__entry->state = w->state;
		__entry->why = why;
		__entry->seq = w->seq;
	),
	TP_printk("group=%u core=%u worker=%u pid=%d state=%s why=%s seq=%llu",
		  __entry->group, __entry->core, __entry->worker, __entry->pid, gk_show_state(__entry->state),
		  gk_show_why(__entry->why), __entry->seq)
);

/* The thread became a worker. */
DEFINE_EVENT(gk_worker, gk_enter, TP_PROTO(const struct gk_worker *w, unsigned int why), TP_ARGS(w, why));
/* It is none any more: left, died. */
DEFINE_EVENT(gk_worker, gk_exit, TP_PROTO(const struct gk_worker *w, unsigned int why), TP_ARGS(w, why));
/* It is switched out and sleeps; inside: with the core word. */
DEFINE_EVENT(gk_worker, gk_block, TP_PROTO(const struct gk_worker *w, unsigned int why), TP_ARGS(w, why));
/* It is switched in again. */
DEFINE_EVENT(gk_worker, gk_unblock, TP_PROTO(const struct gk_worker *w, unsigned int why), TP_ARGS(w, why));
/* Its own GK_IOC_PARK, as: standby, ready, held. Not where that returns at once. */
DEFINE_EVENT(gk_worker, gk_park, TP_PROTO(const struct gk_worker *w, unsigned int why), TP_ARGS(w, why));
/* It is chosen to run: after_block, after_park, after_wake. */
DEFINE_EVENT(gk_worker, gk_grant, TP_PROTO(const struct gk_worker *w, unsigned int why), TP_ARGS(w, why));
/* A READY worker that never got to its park has the CPU from the one that blocked, and goes on: nobody is woken. */
DEFINE_EVENT(gk_worker, gk_handoff, TP_PROTO(const struct gk_worker *w, unsigned int why), TP_ARGS(w, why));
/*
 * It must let others run: its turn is over, or at a switch a grain of it (turn, grain); a STANDBY takes its place
 * (displaced); its signal handler has had its time (again).
 */
DEFINE_EVENT(gk_worker, gk_preempt, TP_PROTO(const struct gk_worker *w, unsigned int why), TP_ARGS(w, why));
/* Its turn is over, but it asked not to be preempted, and goes on for a while. */
DEFINE_EVENT(gk_worker, gk_defer, TP_PROTO(const struct gk_worker *w, unsigned int why), TP_ARGS(w, why));
/* A signal cuts its park short. */
DEFINE_EVENT(gk_worker, gk_signal, TP_PROTO(const struct gk_worker *w, unsigned int why), TP_ARGS(w, why));
/* It is found on another CPU than its core's (away), or there again (back). */
DEFINE_EVENT(gk_worker, gk_stray, TP_PROTO(const struct gk_worker *w, unsigned int why), TP_ARGS(w, why));
/* GK_IOC_UNHOLD of a HELD one. */
DEFINE_EVENT(gk_worker, gk_unhold, TP_PROTO(const struct gk_worker *w, unsigned int why), TP_ARGS(w, why));
/* GK_IOC_PULL takes it off its core's list, and puts it on the other's (gk_pull), or back. */
DEFINE_EVENT(gk_worker, gk_move, TP_PROTO(const struct gk_worker *w, unsigned int why), TP_ARGS(w, why));
DEFINE_EVENT(gk_worker, gk_pull, TP_PROTO(const struct gk_worker *w, unsigned int why), TP_ARGS(w, why));
/* The stopped group lets it go: it has no task, or is the one that stopped it. */
DEFINE_EVENT(gk_worker, gk_spare, TP_PROTO(const struct gk_worker *w, unsigned int why), TP_ARGS(w, why));

/* A transition: fired with all but the state itself and `seq` changed, shown as if they were, too. */
TRACE_EVENT(gk_state,
	TP_PROTO(const struct gk_worker *w, unsigned int to),
	TP_ARGS(w, to),
	TP_STRUCT__entry(
		__field(u32, group)
		__field(u32, core)
		__field(u32, worker)
		__field(pid_t, pid)
		__field(u32, from)
		__field(u32, to)
		__field(u64, seq)
		__field(u32, running)
		__field(u32, ready)
		__field(u32, standby)
	),
	TP_fast_assign(
		__entry->group = w->group->id;
		__entry->core = w->core->id;
		__entry->worker = w->id;
		__entry->pid = w->task->pid;
		__entry->from = w->state;
		__entry->to = to;
		__entry->seq = w->seq + 1;
		__entry->running = w->core->running;
		__entry->ready = w->core->nready;
		__entry->standby = w->core->nstandby;
	),
	TP_printk("group=%u core=%u worker=%u pid=%d from=%s to=%s seq=%llu running=%u ready=%u standby=%u",
		  __entry->group, __entry->core, __entry->worker, __entry->pid, gk_show_state(__entry->from),
		  gk_show_state(__entry->to), __entry->seq, __entry->running, __entry->ready, __entry->standby)
);

/* A core. */
DECLARE_EVENT_CLASS(gk_core,
	TP_PROTO(const struct gk_core *core, unsigned int why),
	TP_ARGS(core, why),
	TP_STRUCT__entry(
		__field(u32, group)
		__field(u32, core)
		__field(u32, why)
		__field(u32, running)
		__field(u32, ready)
		__field(u32, standby)
	),
	TP_fast_assign(
		__entry->group = core->group->id;
		__entry->core = core->id;
		__entry->why = why;
		__entry->running = core->running;
		__entry->ready = core->nready;
		__entry->standby = core->nstandby;
	),
	TP_printk("group=%u core=%u why=%s running=%u ready=%u standby=%u",
		  __entry->group, __entry->core, gk_show_why(__entry->why), __entry->running, __entry->ready,
		  __entry->standby)
);

/*
 * Nobody runs on it and nobody is granted: no work waits (nothing), the holder of its word sleeps (stalled), a worker
 * is just being switched in (coming), or there is nobody to grant (starved).
 */
DEFINE_EVENT(gk_core, gk_idle, TP_PROTO(const struct gk_core *core, unsigned int why), TP_ARGS(core, why));
/* Its timer fired. */
DEFINE_EVENT(gk_core, gk_tick, TP_PROTO(const struct gk_core *core, unsigned int why), TP_ARGS(core, why));
/* Another CPU had it looked at. */
DEFINE_EVENT(gk_core, gk_remote, TP_PROTO(const struct gk_core *core, unsigned int why), TP_ARGS(core, why));
/* GK_IOC_MOVE: its CPU is the one it happens on. */
DEFINE_EVENT(gk_core, gk_rehome, TP_PROTO(const struct gk_core *core, unsigned int why), TP_ARGS(core, why));
/* GK_IOC_STOP, once a group; the core is its first. */
DEFINE_EVENT(gk_core, gk_stop, TP_PROTO(const struct gk_core *core, unsigned int why), TP_ARGS(core, why));

/* GK_IOC_WAKE or the network: whether somebody was granted. */
TRACE_EVENT(gk_wake,
	TP_PROTO(const struct gk_core *core, int granted),
	TP_ARGS(core, granted),
	TP_STRUCT__entry(
		__field(u32, group)
		__field(u32, core)
		__field(s32, granted)
		__field(u32, running)
		__field(u32, ready)
		__field(u32, standby)
	),
	TP_fast_assign(
		__entry->group = core->group->id;
		__entry->core = core->id;
		__entry->granted = granted;
		__entry->running = core->running;
		__entry->ready = core->nready;
		__entry->standby = core->nstandby;
	),
	TP_printk("group=%u core=%u granted=%d running=%u ready=%u standby=%u",
		  __entry->group, __entry->core, __entry->granted, __entry->running, __entry->ready, __entry->standby)
);

#endif /* GK_TRACE_H */

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE trace
#include <trace/define_trace.h>
