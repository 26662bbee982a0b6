/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * goker.h - how a kernel of a concurrency bug is written, and what libgk's reports must say of it.
 *
 *   KERNEL(name, "G1: chan send; G2: mutex lock")
 *   {
 *           ... starts tasks with go("G1", fn, arg), each with the bug as long as `fixed` is false
 *   }
 *
 * The text names every task that gets stuck, and why. Each kernel runs in processes of its own, on one core and on two:
 *   as a deadlock	the main task then waits for all it started: the deadlock report must name just these tasks and
 *			main, and the process end with status 2;
 *   as a leak		the main task returns as soon as nobody runs any more: the leak report must name just these, and
 *			say of each that nothing was left to wake it;
 *   fixed		all tasks end, and nothing is reported.
 * Where the bug is a race, the kernel makes its order certain: UNTIL() lets others run until something is so.
 *
 * A task that locks what it holds already is told so by gk_mutex_lock() (-EDEADLK) where Go's waits for ever: told()
 * says "EDEADLK" of it and ends the task, with what it holds.
 */
#ifndef GK_TEST_GOKER_H
#define GK_TEST_GOKER_H

#include "lib.h"

enum mode { DEADLOCK, LEAK, FIXED };

struct kernel {
	void (*body)(void);
	const char *stuck;
	enum mode mode;
};

static bool fixed;
static gk_task *started[64];
static atomic_int nstarted;

static inline void go(const char *name, void (*fn)(void *), void *arg)
{
	struct gk_attr attr = { .name = name };
	int i = atomic_fetch_add(&nstarted, 1);
	gk_task *t;

	CHECK_EQ(0, gk_spawn(&t, &attr, fn, arg));
	__atomic_store_n(&started[i], t, __ATOMIC_RELEASE);
}

#define UNTIL(cond) do {								\
	while (!(cond))									\
		gk_yield();								\
} while (0)

/* Somebody waits for the mutex. */
static inline bool wanted(gk_mutex *m)
{
	return __atomic_load_n(&m->waiters.queue.first, __ATOMIC_RELAXED);
}

static inline bool held(gk_mutex *m)
{
	return __atomic_load_n(&m->owner, __ATOMIC_RELAXED);
}

static inline void told(int err)
{
	if (err == -EDEADLK) {
		dprintf(2, "task 0 '%s': EDEADLK\n", gk_name());
		gk_exit();
	}
	CHECK_EQ(0, err);
}

static inline void lock(gk_mutex *m)
{
	told(gk_mutex_lock(m));
}

static inline void unlock(gk_mutex *m)
{
	CHECK_EQ(0, gk_mutex_unlock(m));
}

static inline void rdlock(gk_rwlock *rw)
{
	told(gk_rwlock_rdlock(rw));
}

static inline void wrlock(gk_rwlock *rw)
{
	told(gk_rwlock_wrlock(rw));
}

static inline void rdunlock(gk_rwlock *rw)
{
	CHECK_EQ(0, gk_rwlock_rdunlock(rw));
}

static inline void wrunlock(gk_rwlock *rw)
{
	CHECK_EQ(0, gk_rwlock_wrunlock(rw));
}

/* A writer waits: from now on new readers wait behind it. */
static inline bool wanted_by_writer(gk_rwlock *rw)
{
	return __atomic_load_n(&rw->writers.first, __ATOMIC_RELAXED);
}

static inline bool read_by_some(gk_rwlock *rw)
{
	return __atomic_load_n(&rw->word, __ATOMIC_RELAXED);
}

static inline gk_chan *chan(size_t cap)
{
	return gk_chan_new(sizeof(int), cap);
}

static inline void send(gk_chan *c, int v)
{
	CHECK_EQ(0, gk_chan_send(c, &v));
}

static inline bool try_send(gk_chan *c, int v)
{
	return !gk_chan_try_send(c, &v);
}

static inline bool recv(gk_chan *c)
{
	return gk_chan_recv(c, NULL) == 1;
}

static inline bool try_recv(gk_chan *c)
{
	return gk_chan_try_recv(c, NULL) >= 0;
}

/*
 * Which of two can be received from, by asking both again and again: for kernels whose select is not what gets stuck. A
 * task in it never counts as asleep.
 */
static inline int first_of(gk_chan *a, gk_chan *b)
{
	for (;;) {
		if (try_recv(a))
			return 0;
		if (try_recv(b))
			return 1;
		gk_yield();
	}
}

static inline void done(gk_chan *c)
{
	CHECK_EQ(0, gk_chan_close(c));
}

/* ---- what the reports say ---------------------------------------------------------------------------------------- */

static int kernel_main(void *arg)
{
	struct kernel *k = arg;
	gk_task *t;
	int i;

	k->body();
	if (k->mode == LEAK) {
		lib_settled();
		return 0;
	}
	for (i = 0; i < nstarted; i++) {
		UNTIL((t = __atomic_load_n(&started[i], __ATOMIC_ACQUIRE)));
		gk_join(t);
	}
	/* Those that a timer started. */
	lib_settled();
	return 0;
}

static int kernel_process(void *arg)
{
	struct kernel *k = arg;

	fixed = k->mode == FIXED;
	gk_set_leaks(1);
	return gk_run(kernel_main, k) || lib_failures ? 3 : 0;
}

static int by_text(const void *a, const void *b)
{
	return strcmp(a, b);
}

/* A list of "NAME: REASON", in order, one line. */
static inline void sorted(char (*list)[80], int n, char *out)
{
	int i;

	qsort(list, n, sizeof(list[0]), by_text);
	for (*out = 0, i = 0; i < n; i++) {
		strcat(out, i ? "; " : "");
		strcat(out, list[i]);
	}
}

/* task 12 'G1': chan send on 0x...; task 13 'G2': mutex lock on 0x... held by task 12 'G1' */
static inline void stuck_of(const char *report, char *out)
{
	char list[32][80], name[32], why[40];
	const char *p = report, *on;
	int n = 0;

	for (; p && n < 32; p = strchr(p, '\n')) {
		p += *p == '\n';
		if (sscanf(p, "task %*u '%31[^']': %39[^,\n]", name, why) != 2 || !strcmp(name, "main") ||
		    !strcmp(why, "ended"))
			continue;
		on = strstr(why, " on ");
		if (!on)
			on = strstr(why, " of task");
		if (on)
			why[on - why] = 0;
		snprintf(list[n++], sizeof(list[0]), "%s: %s", name, why);
	}
	sorted(list, n, out);
}

static inline void stuck_wanted(const char *text, char *out)
{
	char list[32][80];
	int n = 0, len;

	for (; *text && n < 32; text += len + strspn(text + len, "; ")) {
		len = strcspn(text, ";");
		snprintf(list[n++], sizeof(list[0]), "%.*s", len, text);
	}
	sorted(list, n, out);
}

static inline int count_text(const char *in, const char *what)
{
	int n = 0;

	for (; (in = strstr(in, what)); in++)
		n++;
	return n;
}

/* Whether the report is as the kernel says; else says what it was. */
static inline bool kernel_ok(struct kernel *k, int cores)
{
	static const char *const modes[] = { "deadlock", "leak", "fixed" };
	static char report[1 << 16];
	char want[2048], got[2048];
	int status, want_status, tasks;
	bool ok;

	gk_set_cores(cores);
	status = lib_child(kernel_process, k, report, sizeof(report));
	stuck_of(report, got);
	stuck_wanted(k->stuck, want);
	/* Those that were told -EDEADLK have ended. */
	tasks = 1 + count_text(want, "; ") - count_text(want, "EDEADLK");
	switch (k->mode) {
	case DEADLOCK:
		want_status = tasks ? 2 : 0;
		ok = !strcmp(want, got) && !tasks == !strstr(report, "gk: all tasks are asleep - deadlock!");
		break;
	case LEAK:
		want_status = 0;
		ok = !strcmp(want, got) && !tasks == !strstr(report, "gk: the main task has ended") &&
		     count_text(report, "nothing was left that could end this wait") == tasks;
		break;
	default:
		want_status = 0;
		ok = !report[0];
		break;
	}
	ok &= WIFEXITED(status) && WEXITSTATUS(status) == want_status;
	if (!ok)
		fprintf(stderr, "# as %s on %d cores: status %#x\n# want %s\n# got  %s\n%s", modes[k->mode], cores, status,
			want, got, report);
	return ok;
}

#define KERNEL(name, stuck_text)							\
	static void name##_body(void);							\
	TEST(name)									\
	{										\
		struct kernel k = { .body = name##_body, .stuck = stuck_text };	\
		int cores;								\
											\
		for (cores = 1; cores <= 2; cores++)					\
			for (k.mode = DEADLOCK; k.mode <= FIXED; k.mode++)		\
				EXPECT_TRUE(kernel_ok(&k, cores));			\
	}										\
	static void name##_body(void)

#endif
