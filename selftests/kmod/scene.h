/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * scene.h - one worker in a chosen state, and what is done to it.
 *
 * A cell of the matrix is a moment in a state. The test process forks the subject, whose main thread makes a group with
 * a crew of STANDBYs on one or two cores and, on the last core, the victim in its state. Then the moment comes: from
 * the test process, from the subject's main thread, or in the victim's own context, by way of a signal handler. What
 * survives it is asked the same questions each time:
 *
 *   - work queued now, while those that hogged a core go on hogging it, is done: nothing waits on a core with no worker;
 *   - the victim goes on where it was, and then comes to work as all others do;
 *   - then a burst of work is done, every worker rests as a STANDBY, and each count of the module says so: nobody is
 *     lost, nobody is counted twice, no core runs more than its bound;
 *   - the core word was never with two;
 *   - every thread can be joined, no worker id stays taken, and the module is left with nothing.
 *
 * What the subject does not survive must end it as the moment says, and the last of these holds.
 */
#ifndef GK_TEST_SCENE_H
#define GK_TEST_SCENE_H

#include "rig.h"
#include <setjmp.h>

#define SCENE_CORES	2

enum scene_step { SCENE_BEGINS, SCENE_SET, SCENE_GO_ON };

struct scene;

/* NULL, what is wrong, or SCENE_SKIP and why it cannot be done here. */
typedef const char *(*scene_fn)(struct scene *sc);
#define SCENE_SKIP	"skip: "

struct scene_state {
	const char *name;
	unsigned int bound;
	const char *(*make)(struct scene *sc);	/* in the subject */
	void (*victim)(struct scene *sc, struct rig_worker *w);
};

/* All but `name` may be missing. */
struct moment {
	const char *name;
	scene_fn before;		/* test process, before there is a subject */
	scene_fn prepare;		/* subject, before there is a group */
	scene_fn outside;		/* test process, when the victim is in its state */
	scene_fn inside;		/* subject's main thread, the same; it may be the process's end */
	void (*after)(struct scene *sc);/* test process: leaves the machine as it was */
	int status;			/* of waitpid(); not 0: the subject ends by the moment */
};

struct scene {
	const struct scene_state *state;
	const struct moment *moment;
	pid_t pid;			/* of the subject */
	char cgroup[64];
	char why[200];
	int fds[8];			/* a moment's own */
	int status;
	bool over;			/* the subject has ended, by this status */
	/* shared by the test process and the subject; the rest is only of the subject */
	atomic_int step;
	atomic_int traffic;		/* the subject is to keep both cores supplied with work */
	atomic_int repin;		/* the subject is to put its workers back on their CPUs */
	atomic_ulong served[SCENE_CORES]; /* tasks done */
	unsigned int cpu;		/* of the victim's core */
	pid_t victim_tid;
	unsigned int nthreads;		/* workers when the scene is set */
	pid_t tids[2 * SCENE_CORES + 2];

	struct rig r;
	unsigned int ncores, core;	/* core: the victim's */
	struct rig_worker *victim, *busy;
	int pipe[2];
	bool gone;			/* the victim is no worker any more, or is about to be none */
	bool closed;			/* the group is no more */
	atomic_int loose;		/* nobody keeps a core for himself any more */
	atomic_int calm;		/* whoever hogs comes to work */
	atomic_int wanted;		/* the others leave a task to the victim */
	atomic_int inside[SCENE_CORES];
	atomic_int two_inside;
	atomic_ulong steps;		/* of the victim: user-mode life signs */
	void (*order)(struct scene *sc);
	atomic_int ordered;
	sigjmp_buf base;
};

#define SCENE_STATES(X, m) \
	X(m, running) X(m, inside) X(m, beside) X(m, blocked) X(m, ready) X(m, standby) X(m, idle) X(m, held)

extern const struct scene_state scene_running, scene_inside, scene_beside, scene_blocked, scene_ready, scene_standby,
	scene_idle, scene_held;

/* NULL, what was wrong, or SCENE_SKIP. */
const char *scene_play(const struct moment *m, const struct scene_state *s);
/* Its parts, for several scenes at once: the subject is made; it is asked, and ends, unless there is a `why` already. */
struct scene *scene_new(const struct moment *m, const struct scene_state *s);
const char *scene_set(struct scene *sc);
const char *scene_end(struct scene *sc, const char *why);

/* Writes down what is wrong, for the test's report. */
const char *scene_why(struct scene *sc, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Subject: runs fn in the victim's context, by a handler of SIGUSR1, and waits for its end. */
const char *scene_order(struct scene *sc, void (*fn)(struct scene *sc));
/* Subject: those that kept a core give way at the ends of their slices from now on. */
void scene_loosen(struct scene *sc);
/* Subject: the victim's thread has ended, or is about to. */
const char *scene_join_victim(struct scene *sc);
/* Test process: n more tasks are done on the first core, and on the other if `all`. */
const char *scene_traffic(struct scene *sc, unsigned long n, bool all);
/* Test process: all threads of the subject are in a state of /proc. */
bool scene_threads_are(struct scene *sc, char state);

/* What has the kernel patch its own code; an emulator with several CPUs now and then leaves an int3 behind. For `before`. */
const char *scene_patches(struct scene *sc);

/* A cgroup of the test's own; the subject joins it with scene_join(). */
const char *scene_cgroup(struct scene *sc);
const char *scene_join(struct scene *sc);
void scene_cgroup_end(struct scene *sc);
const char *scene_cgroup_put(struct scene *sc, const char *file, const char *text);
long scene_cgroup_get(struct scene *sc, const char *file, const char *key);

/* One step in user mode of any worker. */
void scene_beat(struct rig_worker *w);

/* Becomes a program that ends with status 42. */
void scene_exec(void);

int file_put(const char *path, const char *text);

#endif
