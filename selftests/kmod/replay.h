/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * replay.h - a small state machine of one group's cores and workers, driven by its trace events: what the contract of
 * gk.h allows, and nothing else. After lost events it knows nothing, and learns again from what it is told.
 */
#ifndef GK_TEST_REPLAY_H
#define GK_TEST_REPLAY_H

#include <linux/gk.h>
#include "tracefs.h"

#define REPLAY_CORES	8
#define REPLAY_WORKERS	256

/* The counters of struct gk_core_page, in its order. */
enum replay_counter {
	COUNT_BLOCKS, COUNT_UNBLOCKS, COUNT_WAKES_OVER, COUNT_PARKS_BOUND, COUNT_PREEMPTS, COUNT_DISPLACED,
	COUNT_PARKS_STANDBY, COUNT_PARKS_READY, COUNT_PARKS_HELD, COUNT_GRANTS_READY, COUNT_GRANTS_STANDBY, COUNT_STARVED,
	COUNT_TICKS, COUNT_STALLS, COUNT_SIGNALS, COUNT_REMOTE, COUNT_PULLED, COUNT_DEFERRED,
	REPLAY_COUNTERS,
};

extern const char *const replay_counter_names[REPLAY_COUNTERS];

struct replay_worker {
	bool known;
	bool moving;			/* PULL has it: READY, on no list */
	bool inside;			/* BLOCKED, and it may have the core word */
	uint32_t state, core;
	uint64_t seq;
	pid_t pid;
	uint64_t blocks, grants;	/* as its page counts them */
};

/* Workers in the order in which they came; not `ordered`: some may be missing, any may be first. */
struct replay_list {
	bool ordered;
	unsigned int n;
	uint32_t id[REPLAY_WORKERS];
};

struct replay_core {
	bool known;			/* the counts */
	unsigned int running, nready, nstandby;
	struct replay_list ready, standby;
	int stalled;			/* the worker, or -1 */
	bool stall_known;
	/* The event that says why the next transition, which must be the next event, happens. */
	bool pending;
	struct trace_event why;
	enum trace_kind last;		/* kind and reason of the last event under the lock */
	uint32_t last_why;
	uint64_t count[REPLAY_COUNTERS];
};

struct replay {
	uint32_t group;
	unsigned int bound;
	bool stopped;
	uint64_t blind;			/* until then events are not judged */
	unsigned long losses, judged;
	struct replay_core core[REPLAY_CORES];
	struct replay_worker worker[REPLAY_WORKERS];
	size_t at;			/* which of replay_events()' events is the last that was looked at */
	char error[512];		/* the first violation: what, and the event */
};

/* A group that begins now: no worker, no count. */
void replay_init(struct replay *r, uint32_t group, unsigned int bound);
/* One event; others' are passed over. False: a violation, r->error says which. */
bool replay_event(struct replay *r, const struct trace_event *e);
/* All of them, up to the first violation. */
bool replay_events(struct replay *r, const struct trace_event *e, size_t n);
/* The end: nobody is READY on a core where nobody runs, and nothing is half done. */
bool replay_rest(struct replay *r);

#endif
