/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * tracefs.h - reads the module's trace events as they happen, from an instance of its own.
 *
 * The events of all CPUs in one order: the clock is "counter", which no two events share, and the events of a core fire
 * under its lock. Where the ring of a CPU overran its reader, one TRACE_LOST says from when until when.
 */
#ifndef GK_TEST_TRACEFS_H
#define GK_TEST_TRACEFS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define TRACEFS_CPUS	64

enum trace_kind {
	TRACE_LOST,
	TRACE_STATE,
	/* a worker's: why it changes */
	TRACE_ENTER, TRACE_EXIT, TRACE_BLOCK, TRACE_UNBLOCK, TRACE_PARK, TRACE_GRANT, TRACE_HANDOFF, TRACE_PREEMPT,
	TRACE_SIGNAL, TRACE_STRAY, TRACE_UNHOLD, TRACE_MOVE, TRACE_PULL, TRACE_SPARE, TRACE_DEFER,
	/* a core's */
	TRACE_IDLE, TRACE_TICK, TRACE_REMOTE, TRACE_REHOME, TRACE_STOP, TRACE_WAKE,
	TRACE_KINDS,
};

extern const char *const trace_names[TRACE_KINDS];

/* `why` of an event, as kmod/gk.h numbers it. */
enum trace_why {
	WHY_AFTER_BLOCK, WHY_AFTER_PARK, WHY_AFTER_WAKE,
	WHY_STANDBY = 4, WHY_READY, WHY_HELD,
	WHY_NONE = 8, WHY_INSIDE, WHY_TURN, WHY_GRAIN, WHY_DISPLACED, WHY_AGAIN, WHY_AWAY, WHY_BACK, WHY_NOTHING,
	WHY_STALLED, WHY_COMING, WHY_STARVED, WHY_LEFT, WHY_DIED,
};

struct trace_event {
	uint64_t at;
	uint64_t until;			/* TRACE_LOST: when events are there again */
	uint64_t seq;
	enum trace_kind kind;
	unsigned int cpu;
	pid_t current;
	pid_t pid;
	uint32_t group, core, worker;
	uint32_t state;			/* before; TRACE_STATE: from */
	uint32_t why;			/* TRACE_STATE: to; TRACE_WAKE: granted */
	uint32_t running, ready, standby;
};

struct tracefs {
	char dir[128];
	unsigned int ncpus;
	int fd[TRACEFS_CPUS];
	unsigned char *raw[TRACEFS_CPUS];	/* whole pages, as they were read */
	size_t len[TRACEFS_CPUS], cap[TRACEFS_CPUS];
	pthread_t reader;
	bool reading;
	atomic_int stop;
	atomic_int err;
};

bool tracefs_there(void);
/* Makes the instance, all events of gk off, with so many KiB a CPU; 0 or a negative errno. */
int tracefs_open(struct tracefs *t, unsigned int kib);
void tracefs_close(struct tracefs *t);
int tracefs_enable(struct tracefs *t, bool on);
/* A thread that reads until tracefs_collect(). */
int tracefs_start(struct tracefs *t);
/* What there is, in order, to be freed. The events are off. */
int tracefs_collect(struct tracefs *t, struct trace_event **events, size_t *n);
/* "group" of a gk descriptor, from fdinfo, or 0. */
uint32_t tracefs_group(int fd);
/* One line about an event. */
void trace_print(char *buf, size_t size, const struct trace_event *e);

#endif
