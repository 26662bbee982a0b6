// SPDX-License-Identifier: GPL-2.0-only
/*
 * signal.c - signals, stops, tracers and the freezer against parked and running workers.
 *
 * Contract 7; rules 8 and 16.
 */
#include "test.h"
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/wait.h>

static const struct rig_opt plain = { .bound = 1 };

static atomic_ulong handled;
static atomic_int handler_tid;
static atomic_int handler_state;
static struct rig_worker *victim;

static void on_signal(int sig)
{
	(void)sig;
	atomic_store(&handler_tid, (int)syscall(SYS_gettid));
	if (victim)
		atomic_store(&handler_state, (int)rig_state(victim));
	atomic_fetch_add(&handled, 1);
}

static void catch(int sig)
{
	struct sigaction sa = { .sa_handler = on_signal, .sa_flags = SA_RESTART };

	sigaction(sig, &sa, NULL);
}

static void reader(struct rig_worker *w)
{
	int *fd = w->arg;
	char ch;

	w->ret = rig_read_mark(fd[0], &ch, 1, &w->mark);
	while (!atomic_load(&w->stop))
		atomic_fetch_add(&w->beats, 1);
}

static void on_nudge(int sig)
{
	(void)sig;
}

/*
 * Rule 8: the handler runs while the worker is READY, and afterwards it is parked again without its grant.
 *
 * The module gives a handler some 100 us. A guest whose processor is taken away for longer may not come to its first
 * instruction in that time: then the worker is parked inside the handler, and another signal gives it as much again.
 */
TEST(a_handler_runs_in_a_ready_worker_which_parks_again)
{
	struct sigaction nudge = { .sa_handler = on_nudge, .sa_flags = SA_RESTART | SA_NODEFER };
	unsigned long n, nudges = 0, count = rig_count(0) ?: 200;
	struct rig_worker *a, *h;
	struct gk_core_page *c;
	struct rig r;
	int fd[2];

	catch(SIGUSR1);
	ASSERT_EQ(0, sigaction(SIGUSR2, &nudge, NULL));
	ASSERT_EQ(0, pipe(fd));
	ASSERT_EQ(0, rig_open(&r, &plain));
	c = rig_core(&r, 0);
	a = rig_spawn(&r, 0, reader, fd);
	ASSERT_NE(NULL, a);
	ASSERT_STATE(a, GK_W_BLOCKED);
	h = rig_spawn(&r, 0, rig_hog, NULL);
	ASSERT_NE(NULL, h);
	ASSERT_EQ(1, write(fd[1], "x", 1));
	ASSERT_TRUE(RIG_WAIT(rig_parked(a, GK_W_READY)));
	for (n = 1; n <= count; n++) {
		ASSERT_EQ(0, pthread_kill(a->thread, SIGUSR1));
		ASSERT_TRUE(RIG_WAIT(({
			/* The hog's slice begins anew, so that no grant comes from its end. */
			WRITE_ONCE(rig_wp(h)->switches, rig_wp(h)->switches + 1);
			if (rig_parked(a, GK_W_READY) && atomic_load(&handled) != n && nudges < count) {
				nudges++;
				pthread_kill(a->thread, SIGUSR2);
			}
			atomic_load(&handled) == n;
		}))) TH_LOG("signal %lu", n);
		/* Now, and not only when its turn came. */
		ASSERT_EQ(0, rig_wp(a)->grants) TH_LOG("signal %lu was handled after a grant", n);
		ASSERT_EQ(a->tid, atomic_load(&handler_tid));
		/* parked again: asleep, READY, and it stays so */
		ASSERT_TRUE(RIG_WAIT(rig_parked(a, GK_W_READY)))
			TH_LOG("signal %lu: %s, %c", n, state_name(rig_state(a)), rig_task_state(a->tid));
		ASSERT_TRUE(rig_is_still(a, 2));
	}
	if (nudges)
		TH_LOG("%lu signals, %lu nudges", count, nudges);
	EXPECT_LE(count, c->signals);
	EXPECT_EQ(0, rig_wp(a)->grants);
	EXPECT_TRUE(rig_wait_beats(h, 1000));
	EXPECT_EQ(GK_W_RUNNING, rig_state(h));
	/* It did not spin on its way: what it burned is a small part of what the hog had. */
	EXPECT_LT(rig_cpu_time(a), rig_cpu_time(h));
	EXPECT_EQ(0, rig_wp(a)->grants);
	atomic_store(&h->stop, 1);
	EXPECT_TRUE(RIG_WAIT(rig_wp(a)->grants == 1));
	EXPECT_TRUE(rig_wait_beats(a, 1));
	rig_close(&r);
}

/* A blocked signal is not delivered and does not cut the park short. */
TEST(a_masked_signal_leaves_the_park_alone)
{
	struct rig_worker *a, *h;
	sigset_t set;
	struct rig r;
	uint64_t seq;
	int fd[2];

	catch(SIGUSR1);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	ASSERT_EQ(0, pthread_sigmask(SIG_BLOCK, &set, NULL));	/* workers inherit it */
	ASSERT_EQ(0, pipe(fd));
	ASSERT_EQ(0, rig_open(&r, &plain));
	a = rig_spawn(&r, 0, reader, fd);
	ASSERT_NE(NULL, a);
	ASSERT_STATE(a, GK_W_BLOCKED);
	h = rig_spawn(&r, 0, rig_hog, NULL);
	ASSERT_NE(NULL, h);
	ASSERT_EQ(1, write(fd[1], "x", 1));
	ASSERT_STATE(a, GK_W_READY);
	seq = rig_wp(a)->seq;
	ASSERT_EQ(0, pthread_kill(a->thread, SIGUSR1));
	EXPECT_TRUE(rig_wait_beats(h, 10000));
	EXPECT_EQ(seq, rig_wp(a)->seq);
	EXPECT_EQ(0, atomic_load(&handled));
	EXPECT_EQ(0, rig_core(&r, 0)->signals);
	rig_close(&r);
}

static void parker(struct rig_worker *w)
{
	while (!atomic_load(&w->stop)) {
		w->ret = rig_park(w, (uintptr_t)w->arg);
		atomic_fetch_add(&w->seen, 1);
	}
}

/* The call-made parks return 0, RUNNING, after a signal. */
static void park_and_signal(struct __test_metadata *_metadata, enum gk_park how, uint32_t state)
{
	struct rig_worker *w;
	struct rig r;
	unsigned long n;

	catch(SIGUSR1);
	ASSERT_EQ(0, rig_open(&r, &plain));
	w = rig_spawn(&r, 0, parker, (void *)(uintptr_t)how);
	ASSERT_NE(NULL, w);
	victim = w;
	for (n = 1; n <= 100; n++) {
		ASSERT_STATE(w, state);
		ASSERT_EQ(0, pthread_kill(w->thread, SIGUSR1));
		ASSERT_TRUE(RIG_WAIT(atomic_load(&handled) == n));
		ASSERT_TRUE(RIG_WAIT(atomic_load(&w->seen) == n));
		ASSERT_EQ(0, w->ret);
	}
	EXPECT_EQ(100, rig_core(&r, 0)->signals);
	EXPECT_EQ(0, rig_wp(w)->grants);
	EXPECT_EQ(GK_W_RUNNING, atomic_load(&handler_state));
	EXPECT_TRUE(RIG_WAIT(rig_state(w) == state));
	EXPECT_EQ(0, rig_core(&r, 0)->running);
	rig_close(&r);
}

TEST(a_signal_ends_a_standby_park)
{
	park_and_signal(_metadata, GK_PARK_STANDBY, GK_W_STANDBY);
}

TEST(a_signal_ends_a_held_park)
{
	park_and_signal(_metadata, GK_PARK_HELD, GK_W_HELD);
}

/* A signal while BLOCKED: the call gives EINTR as always (the handler is installed without SA_RESTART). */
TEST(a_signal_interrupts_a_blocking_call_as_always)
{
	struct sigaction sa = { .sa_handler = on_signal };
	struct rig_worker *a;
	struct rig r;
	int fd[2];

	ASSERT_EQ(0, sigaction(SIGUSR1, &sa, NULL));
	ASSERT_EQ(0, pipe(fd));
	ASSERT_EQ(0, rig_open(&r, &plain));
	a = rig_spawn(&r, 0, reader, fd);
	ASSERT_NE(NULL, a);
	ASSERT_STATE(a, GK_W_BLOCKED);
	ASSERT_EQ(0, pthread_kill(a->thread, SIGUSR1));
	EXPECT_TRUE(rig_wait_beats(a, 1));
	EXPECT_EQ(-EINTR, a->ret);
	rig_close(&r);
}

/* A preemption is neither a signal nor an EINTR: a hog in a slow call with SA_RESTART off finishes it (see preempt.c too). */

/* A storm of signals on hogs that share a core by slices: nothing is lost, nobody is stuck. */
TEST(signals_and_slices)
{
	const struct rig_opt opt = { .bound = 1, .slice = MSEC, .grain = 100 * USEC };
	unsigned long n, count = rig_count(0) ?: 2000;
	struct rig_worker *h[3];
	struct gk_core_page *c;
	struct rig r;
	int i;

	catch(SIGUSR1);
	ASSERT_EQ(0, rig_open(&r, &opt));
	c = rig_core(&r, 0);
	for (i = 0; i < 3; i++) {
		h[i] = rig_spawn(&r, 0, rig_hog, NULL);
		ASSERT_NE(NULL, h[i]);
	}
	for (n = 1; n <= count; n++) {
		ASSERT_EQ(0, pthread_kill(h[n % 3]->thread, SIGUSR1));
		ASSERT_TRUE(RIG_WAIT(atomic_load(&handled) >= n)) TH_LOG("signal %lu", n);
	}
	EXPECT_TRUE(RIG_WAIT(c->preempts > 20));
	for (i = 0; i < 3; i++) {
		EXPECT_TRUE(rig_wait_beats(h[i], 100));
	}
	rig_close(&r);
}

/* --- rule 16 --- */

/*
 * The group of a process that is stopped and continued as a whole. A hog runs, a reader is READY, a standby is parked and
 * two tasks wait. The slice is ten seconds, so a grant can only come from the stop.
 */
static void child_say(int fd, char ch)
{
	if (write(fd, &ch, 1) != 1)
		_exit(20);
}

static char child_hear(int fd)
{
	char ch;

	return read(fd, &ch, 1) == 1 ? ch : 0;
}

static int file_put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);
	ssize_t n = fd < 0 ? -1 : write(fd, text, strlen(text));

	close(fd);
	return n == (ssize_t)strlen(text) ? 0 : -1;
}

/*
 * Says 'r' when set up; hears 'c' when it has been continued; exits 0 when nothing was granted meanwhile. Joins a cgroup first:
 * later some kernels would give its threads the affinity of the cpuset, and its workers would be strays.
 */
static void stopped_child(int in, int out, const char *procs, bool astray)
{
	struct rig_worker *h, *a, *s;
	struct gk_core_page *c;
	uint64_t standby, ready, beats, signals;
	cpu_set_t set;
	struct rig r;
	int fd[2];

	if (procs && file_put(procs, "0"))
		_exit(9);
	if (pipe(fd) || rig_open(&r, &plain))
		_exit(10);
	c = rig_core(&r, 0);
	s = rig_standby(&r, 0, NULL, NULL);
	a = rig_spawn(&r, 0, reader, fd);
	if (!s || !a || !rig_wait_state(a, GK_W_BLOCKED))
		_exit(11);
	h = rig_spawn(&r, 0, rig_hog, NULL);
	if (!h || write(fd[1], "x", 1) != 1 || !rig_wait_state(a, GK_W_READY))
		_exit(12);
	/* Woken by the stop it is a stray, and stops as the others do. */
	CPU_ZERO(&set);
	CPU_SET(rig_nth_cpu(1), &set);
	if (astray && (!RIG_WAIT(rig_parked(a, GK_W_READY)) || sched_setaffinity(a->tid, sizeof(set), &set)))
		_exit(19);
	rig_push_quiet(&r, 0);
	standby = c->grants_standby;
	ready = c->grants_ready;
	signals = c->signals;
	child_say(out, 'r');
	if (child_hear(in) != 'c')
		_exit(13);
	beats = atomic_load(&h->beats);
	if (!RIG_WAIT(atomic_load(&h->beats) > beats))
		_exit(14);
	/*
	 * It did not leave its park again and again. Its core may have been looked at from where it was: nobody knows there
	 * that the others are stopped.
	 */
	if (astray)
		_exit(c->signals < signals + 50 ? 0 : 20);
	if (c->grants_standby != standby)
		_exit(15);
	if (c->grants_ready != ready)
		_exit(16);
	if (atomic_load(&a->mark) || rig_state(a) != GK_W_READY)
		_exit(17);
	if (rig_state(s) != GK_W_STANDBY || atomic_load(&s->taken))
		_exit(18);
	_exit(0);
}

static bool all_threads(pid_t pid, char want)
{
	char path[300], line[512], *p;
	bool all = true, any = false;
	struct dirent *e;
	FILE *f;
	DIR *d;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	d = opendir(path);
	while (d && (e = readdir(d))) {
		if (e->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "/proc/%d/task/%s/stat", pid, e->d_name);
		f = fopen(path, "r");
		if (!f)
			continue;
		p = fgets(line, sizeof(line), f) ? strrchr(line, ')') : NULL;
		fclose(f);
		any = true;
		all = all && p && p[2] == want;
	}
	if (d)
		closedir(d);
	return any && all;
}

TEST(sigstop_and_sigcont_start_no_replacements)
{
	int in[2], out[2], status, i;
	pid_t pid;

	for (i = 0; i < 5; i++) {
		ASSERT_EQ(0, pipe(in));
		ASSERT_EQ(0, pipe(out));
		pid = fork();
		if (!pid)
			stopped_child(in[0], out[1], NULL, i % 2 && rig_ncpus() > 1);
		close(out[1]);
		ASSERT_EQ('r', child_hear(out[0]));
		ASSERT_EQ(0, kill(pid, SIGSTOP));
		ASSERT_TRUE(RIG_WAIT(all_threads(pid, 'T'))) TH_LOG("a worker does not stop");
		ASSERT_EQ(0, kill(pid, SIGCONT));
		child_say(in[1], 'c');
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		EXPECT_TRUE(WIFEXITED(status));
		EXPECT_EQ(0, WEXITSTATUS(status));
		close(in[0]);
		close(in[1]);
		close(out[0]);
	}
}

static bool file_has(const char *path, const char *word)
{
	char buf[1024] = { 0 };
	int fd = open(path, O_RDONLY);
	bool has = fd >= 0 && read(fd, buf, sizeof(buf) - 1) > 0 && strstr(buf, word);

	close(fd);
	return has;
}

TEST(the_freezer_starts_no_replacements_and_freezes_parked_workers)
{
	static const char top[] = "/sys/fs/cgroup";
	char dir[64], path[128];
	int in[2], out[2], status, i;
	pid_t pid;

	if (access("/sys/fs/cgroup/cgroup.controllers", F_OK))
		mount("none", top, "cgroup2", 0, NULL);
	snprintf(dir, sizeof(dir), "%s/gk-test-%d", top, getpid());
	if (mkdir(dir, 0755))
		SKIP(return, "no cgroup v2 this user may write");
	for (i = 0; i < 5; i++) {
		ASSERT_EQ(0, pipe(in));
		ASSERT_EQ(0, pipe(out));
		snprintf(path, sizeof(path), "%s/cgroup.procs", dir);
		pid = fork();
		if (!pid)
			stopped_child(in[0], out[1], path, false);
		close(out[1]);
		ASSERT_EQ('r', child_hear(out[0]));
		snprintf(path, sizeof(path), "%s/cgroup.freeze", dir);
		ASSERT_EQ(0, file_put(path, "1"));
		snprintf(path, sizeof(path), "%s/cgroup.events", dir);
		ASSERT_TRUE(RIG_WAIT(file_has(path, "frozen 1"))) TH_LOG("a worker does not freeze");
		snprintf(path, sizeof(path), "%s/cgroup.freeze", dir);
		ASSERT_EQ(0, file_put(path, "0"));
		child_say(in[1], 'c');
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		EXPECT_TRUE(WIFEXITED(status));
		EXPECT_EQ(0, WEXITSTATUS(status));
		close(in[0]);
		close(in[1]);
		close(out[0]);
	}
	EXPECT_TRUE(RIG_WAIT(!rmdir(dir)));
}

/*
 * A tracer: stops the thread it hears of, says 't', lets it go when it hears again, says 'd'. It is forked before there is a
 * hog: a fork takes away a hog's pages, and the hog would block in the fault that follows.
 */
static pid_t tracer(int in[2], int out[2])
{
	int status;
	pid_t pid, tid;

	if (pipe(in) || pipe(out))
		return -1;
	pid = fork();
	if (pid)
		return pid;
	while (read(in[0], &tid, sizeof(tid)) == sizeof(tid) && tid) {
		if (ptrace(PTRACE_SEIZE, tid, 0, 0) || ptrace(PTRACE_INTERRUPT, tid, 0, 0) ||
		    waitpid(tid, &status, __WALL) != tid)
			child_say(out[1], 'n');
		child_say(out[1], 't');
		child_hear(in[0]);
		ptrace(PTRACE_DETACH, tid, 0, 0);
		child_say(out[1], 'd');
	}
	_exit(0);
}

/* True when the tracer has stopped it. */
static bool trace(int in[2], int out[2], pid_t tid)
{
	return write(in[1], &tid, sizeof(tid)) == sizeof(tid) && child_hear(out[0]) == 't';
}

static bool untrace(int in[2], int out[2])
{
	child_say(in[1], 'x');
	return child_hear(out[0]) == 'd';
}

static void tracer_end(int in[2], pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

/* One thread stopped by a debugger is a block like any other: the next worker runs meanwhile. */
TEST(a_worker_stopped_by_a_tracer_is_a_block)
{
	struct rig_worker *h, *s;
	int in[2], out[2];
	struct rig r;
	pid_t pid;

	pid = tracer(in, out);
	ASSERT_LT(0, pid);
	ASSERT_EQ(0, rig_open(&r, &plain));
	s = rig_standby(&r, 0, NULL, NULL);
	ASSERT_NE(NULL, s);
	h = rig_spawn(&r, 0, rig_hog, NULL);
	ASSERT_NE(NULL, h);
	rig_push_quiet(&r, 0);
	if (!trace(in, out, h->tid)) {
		tracer_end(in, pid);
		SKIP(return, "this user may not trace");
	}
	EXPECT_STATE(h, GK_W_BLOCKED);
	EXPECT_TRUE(RIG_WAIT(atomic_load(&s->taken) == 1));
	EXPECT_TRUE(untrace(in, out));
	EXPECT_TRUE(rig_wait_beats(h, 1000));
	tracer_end(in, pid);
	rig_close(&r);
}

/* A tracer stops a parked worker and lets it go: it is still parked. */
TEST(a_parked_worker_can_be_traced)
{
	struct rig_worker *h, *a;
	int in[2], out[2], fd[2], i;
	struct rig r;
	pid_t pid;

	pid = tracer(in, out);
	ASSERT_LT(0, pid);
	ASSERT_EQ(0, pipe(fd));
	ASSERT_EQ(0, rig_open(&r, &plain));
	a = rig_spawn(&r, 0, reader, fd);
	ASSERT_NE(NULL, a);
	ASSERT_STATE(a, GK_W_BLOCKED);
	h = rig_spawn(&r, 0, rig_hog, NULL);
	ASSERT_NE(NULL, h);
	ASSERT_EQ(1, write(fd[1], "x", 1));
	ASSERT_TRUE(RIG_WAIT(rig_parked(a, GK_W_READY)));
	for (i = 0; i < 20; i++) {
		WRITE_ONCE(rig_wp(h)->switches, i + 1);
		if (!trace(in, out, a->tid)) {
			tracer_end(in, pid);
			SKIP(return, "this user may not trace");
		}
		EXPECT_TRUE(untrace(in, out));
		ASSERT_TRUE(RIG_WAIT(rig_parked(a, GK_W_READY)))
			TH_LOG("%s %c", state_name(rig_state(a)), rig_task_state(a->tid));
		ASSERT_TRUE(rig_is_still(a, 5));
	}
	EXPECT_EQ(0, rig_wp(a)->grants);
	EXPECT_TRUE(rig_wait_beats(h, 1000));
	tracer_end(in, pid);
	rig_close(&r);
}

TEST_NO_LEAK

TEST_HARNESS_MAIN
