// SPDX-License-Identifier: GPL-2.0-only
/*
 * moments.c - signals, tracers and the freezer in every state of a worker. What is asked afterwards: scene.h.
 *
 * Contract 7; rules 8 and 16.
 */
#include "moment.h"
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>

#define ROUNDS	4

/* --- signals --- */

static const char *sigkill(struct scene *sc)
{
	return kill(sc->pid, SIGKILL) ? "it cannot be killed" : NULL;
}

MOMENT(sigkill, .outside = sigkill, .status = SIGKILL)

static const char *sigstop_sigcont(struct scene *sc)
{
	int i;

	for (i = 0; i < ROUNDS; i++) {
		kill(sc->pid, SIGSTOP);
		if (!RIG_WAIT(scene_threads_are(sc, 'T')))
			return "a thread does not stop";
		kill(sc->pid, SIGCONT);
	}
	return NULL;
}

MOMENT(sigstop_sigcont, .outside = sigstop_sigcont)

/* A stop while it is being stopped or continued already: whatever comes of it, the last is a SIGCONT. */
static const char *sigstop_storm(struct scene *sc)
{
	int i;

	for (i = 0; i < 100; i++) {
		kill(sc->pid, SIGSTOP);
		kill(sc->pid, SIGCONT);
	}
	return NULL;
}

MOMENT(sigstop_storm, .outside = sigstop_storm)

/* SIGINT: the handler of the victim jumps out of whatever it was in. */
static const char *sigint_longjmp(struct scene *sc)
{
	unsigned long steps = atomic_load(&sc->steps);

	if (syscall(SYS_tgkill, getpid(), sc->victim_tid, SIGINT))
		return "the victim takes no signal";
	/* It comes to work, where it goes on as soon as there is some. */
	scene_loosen(sc);
	return RIG_WAIT(atomic_load(&sc->steps) != steps) ? NULL : "the victim does not come out";
}

MOMENT(sigint_longjmp, .inside = sigint_longjmp)

static atomic_ulong floods;

static void on_flood(int sig)
{
	atomic_fetch_add(&floods, 1);
}

/* Queued ones, of which none may be lost, as fast as they can be sent. */
static const char *signal_flood(struct scene *sc)
{
	struct sigaction sa = { .sa_handler = on_flood, .sa_flags = SA_RESTART };
	siginfo_t info = { .si_code = SI_QUEUE };
	unsigned long i, n = rig_count(0) ?: 500;
	int naps = 0;

	sigaction(SIGRTMIN + 4, &sa, NULL);
	for (i = 0; i < n; i++) {
		if (!RIG_WAIT(!syscall(SYS_rt_tgsigqueueinfo, getpid(), sc->victim_tid, SIGRTMIN + 4, &info) ||
			      errno != EAGAIN))
			return "the victim takes no signal";
	}
	if (!RIG_WAIT(({
		/* Between two handlers it may be parked again. */
		if (++naps == 20)
			scene_loosen(sc);
		atomic_load(&floods) == n;
	})))
		return scene_why(sc, "%lu of %lu signals were handled", atomic_load(&floods), n);
	return NULL;
}

MOMENT(signal_flood, .inside = signal_flood)

/* To the process: any thread that does not block it may take it. */
static const char *signals_to_the_process(struct scene *sc)
{
	struct sigaction sa = { .sa_handler = on_flood, .sa_flags = SA_RESTART };
	sigset_t set;
	int i;

	sigaction(SIGUSR2, &sa, NULL);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	for (i = 0; i < 200; i++)
		kill(getpid(), SIGUSR2);
	scene_loosen(sc);
	i = RIG_WAIT(atomic_load(&floods));
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);
	return i ? NULL : "no thread took it";
}

MOMENT(signals_to_the_process, .inside = signals_to_the_process)

/* The kernel stops every thread wherever it is, and writes them all down. */
static const char *core_dump(struct scene *sc)
{
	struct rlimit all = { RLIM_INFINITY, RLIM_INFINITY };
	int status = chdir("/dev/shm");

	(void)status;
	/* Ignored by what a shell starts in the background. */
	signal(SIGQUIT, SIG_DFL);
	setrlimit(RLIMIT_CORE, &all);
	syscall(SYS_tgkill, getpid(), sc->victim_tid, SIGQUIT);
	return RIG_WAIT(false) ? NULL : "it goes on after a SIGQUIT";
}

static const char *core_here(struct scene *sc)
{
	char pattern[64] = "";
	int fd = open("/proc/sys/kernel/core_pattern", O_RDONLY);

	if (fd < 0 || read(fd, pattern, sizeof(pattern) - 1) < 0 || strcmp(pattern, "core\n")) {
		close(fd);
		return SCENE_SKIP "core dumps go to a program here";
	}
	close(fd);
	return NULL;
}

static void core_gone(struct scene *sc)
{
	unlink("/dev/shm/core");
}

MOMENT(core_dump, .before = core_here, .inside = core_dump, .after = core_gone, .status = SIGQUIT | 0x80)

/* --- tracers --- */

/* True when the thread has stopped for us; `gone` says that it never will. */
static bool trap(pid_t tid, int *status)
{
	return RIG_WAIT(waitpid(tid, status, __WALL | WNOHANG) == tid) && WIFSTOPPED(*status);
}

static const char *seize(pid_t tid, unsigned long options)
{
	int status;

	if (ptrace(PTRACE_SEIZE, tid, 0, options))
		return SCENE_SKIP "this user may not trace";
	if (ptrace(PTRACE_INTERRUPT, tid, 0, 0) || !trap(tid, &status))
		return "the thread does not stop for its tracer";
	return NULL;
}

static const char *ptrace_attach(struct scene *sc)
{
	const char *why = NULL;
	int i, status;

	for (i = 0; i < ROUNDS && !why; i++) {
		why = seize(sc->victim_tid, 0);
		if (!why && ptrace(PTRACE_DETACH, sc->victim_tid, 0, 0))
			why = "no detach";
		/* The old way, with a SIGSTOP that is not for the others. */
		if (!why && (ptrace(PTRACE_ATTACH, sc->victim_tid, 0, 0) || !trap(sc->victim_tid, &status) ||
			     ptrace(PTRACE_DETACH, sc->victim_tid, 0, 0)))
			why = "no attach";
	}
	return why;
}

/*
 * Stopped by PTRACE_INTERRUPT just after a step it may have the step's SIGTRAP still to come, which would be the end of it
 * when nobody traces it any more.
 */
static bool trap_pending(pid_t tid)
{
	struct __ptrace_peeksiginfo_args args = { .nr = 8 };
	siginfo_t info[8];
	long i, n = ptrace(PTRACE_PEEKSIGINFO, tid, &args, info);

	for (i = 0; i < n; i++)
		if (info[i].si_signo == SIGTRAP)
			return true;
	return false;
}

static const char *let_go(pid_t tid)
{
	int status;

	while (trap_pending(tid))
		if (ptrace(PTRACE_CONT, tid, 0, 0) || !trap(tid, &status))
			return "a thread does not stop for a signal it has";
	return ptrace(PTRACE_DETACH, tid, 0, 0) ? "no detach" : NULL;
}

MOMENT(ptrace_attach, .outside = ptrace_attach)

/* Instruction by instruction, as far as it has any: a parked or blocked one is interrupted, and goes back to sleep. */
static const char *ptrace_step(struct scene *sc)
{
	const char *why = seize(sc->victim_tid, 0);
	struct user_regs_struct regs;
	int i, status;

	for (i = 0; i < 60 && !why; i++) {
		bool stopped = false;
		int naps = 0;

		if (ptrace(PTRACE_GETREGS, sc->victim_tid, 0, &regs) || ptrace(PTRACE_SINGLESTEP, sc->victim_tid, 0, 0))
			why = "no step";
		else if (!RIG_WAIT(({
			if (++naps == 3)
				ptrace(PTRACE_INTERRUPT, sc->victim_tid, 0, 0);
			stopped = waitpid(sc->victim_tid, &status, __WALL | WNOHANG) == sc->victim_tid;
		})) || !WIFSTOPPED(status))
			why = "the thread does not stop after a step";
		else if (WSTOPSIG(status) != SIGTRAP)
			why = scene_why(sc, "a step ends with status %#x", status);
		(void)stopped;
	}
	return why ?: let_go(sc->victim_tid);
}

MOMENT(ptrace_step, .outside = ptrace_step)

/* A tracer that dies lets go of its tracees as they are. */
static const char *tracer_dies(struct scene *sc)
{
	const char *why = NULL;
	int i, p[2], status;
	pid_t pid;
	char ch;

	for (i = 0; i < ROUNDS && !why; i++) {
		if (pipe(p))
			return "no pipe";
		pid = fork();
		if (!pid) {
			ch = seize(sc->victim_tid, 0) ? 'n' : 'y';
			if (write(p[1], &ch, 1) == 1)
				pause();
			_exit(1);
		}
		close(p[1]);
		if (read(p[0], &ch, 1) != 1 || ch != 'y')
			why = SCENE_SKIP "this user may not trace";
		kill(pid, SIGKILL);
		waitpid(pid, &status, 0);
		close(p[0]);
	}
	return why;
}

MOMENT(tracer_dies, .outside = tracer_dies)

/*
 * What a debugger does with a breakpoint in code that every worker goes through: each thread that comes by is stopped, put
 * back by one instruction, stepped over it and let go, while the others run or stop in turn. As in gdb with "set non-stop
 * on", and with the same race: another thread may slip through while the breakpoint is out of the way.
 */
struct gdb {
	pid_t tid[ARRAY_LEN(((struct scene *)0)->tids)];
	unsigned int n;
	long word;			/* the code as it was */
};

static bool poke(struct gdb *g, pid_t tid, bool set)
{
	long word = set ? (g->word & ~0xffL) | 0xcc : g->word;

	return !ptrace(PTRACE_POKETEXT, tid, (void *)scene_beat, (void *)word);
}

/* Handles one stop of one thread; 1 if it was the breakpoint's, -1 when something is wrong. */
static int one_stop(struct gdb *g, pid_t tid, int status)
{
	struct user_regs_struct regs;
	int sig = WSTOPSIG(status);

	if (!WIFSTOPPED(status))
		return -1;
	if (status >> 16 || sig != SIGTRAP || ptrace(PTRACE_GETREGS, tid, 0, &regs))
		return ptrace(PTRACE_CONT, tid, 0, status >> 16 ? 0 : sig) ? -1 : 0;
	if (regs.rip != (unsigned long)scene_beat + 1)
		return ptrace(PTRACE_CONT, tid, 0, 0) ? -1 : 0;
	regs.rip--;
	if (ptrace(PTRACE_SETREGS, tid, 0, &regs) || !poke(g, tid, false) || ptrace(PTRACE_SINGLESTEP, tid, 0, 0) ||
	    !trap(tid, &status) || !poke(g, tid, true) || ptrace(PTRACE_CONT, tid, 0, 0))
		return -1;
	return 1;
}

/* One that has come by, and was stopped before it could say so, still has the signal to come. */
static const char *put_back(struct gdb *g, pid_t tid, int status)
{
	struct user_regs_struct regs;

	if (ptrace(PTRACE_GETREGS, tid, 0, &regs))
		return "no registers";
	if (regs.rip != (unsigned long)scene_beat + 1)
		return NULL;
	regs.rip--;
	if (ptrace(PTRACE_SETREGS, tid, 0, &regs))
		return "no registers";
	if (!(status >> 16))
		return NULL;
	if (ptrace(PTRACE_CONT, tid, 0, 0) || !trap(tid, &status) || status >> 16 || WSTOPSIG(status) != SIGTRAP)
		return "a thread hit the breakpoint and has no signal";
	return NULL;
}

static const char *breakpoints(struct scene *sc)
{
	struct gdb g = { 0 };
	int stop[ARRAY_LEN(g.tid)];
	unsigned int i, hits = 0;
	const char *why = NULL;
	uint64_t end;
	int status, got;
	pid_t tid;

	/* The crew comes by as well as those that hog. */
	for (g.n = 0; g.n < sc->nthreads && !why; g.n++) {
		g.tid[g.n] = sc->tids[g.n];
		why = seize(g.tid[g.n], 0);
	}
	if (why)
		return why;
	errno = 0;
	g.word = ptrace(PTRACE_PEEKTEXT, g.tid[0], (void *)scene_beat, 0);
	if (errno || !poke(&g, g.tid[0], true))
		return "no breakpoint";
	for (i = 0; i < g.n; i++)
		ptrace(PTRACE_CONT, g.tid[i], 0, 0);
	atomic_store(&sc->traffic, 1);
	end = rig_now() + rig_patience();
	while (hits < 50 && !why && rig_now() < end) {
		tid = waitpid(-1, &status, __WALL | WNOHANG);
		if (tid <= 0) {
			rig_nap();
			continue;
		}
		got = one_stop(&g, tid, status);
		if (got < 0)
			why = scene_why(sc, "thread %d, status %#x", tid, status);
		hits += got > 0;
	}
	if (!why && hits < 50)
		why = scene_why(sc, "%u hits", hits);
	for (i = 0; i < g.n && !why; i++) {
		ptrace(PTRACE_INTERRUPT, g.tid[i], 0, 0);
		if (!trap(g.tid[i], &stop[i]))
			why = "a thread does not stop for its tracer";
	}
	if (!why && !poke(&g, g.tid[0], false))
		why = "the breakpoint stays";
	for (i = 0; i < g.n && !why; i++)
		why = put_back(&g, g.tid[i], stop[i]);
	for (i = 0; i < g.n; i++)
		ptrace(PTRACE_DETACH, g.tid[i], 0, 0);
	return why;
}

MOMENT(breakpoints, .outside = breakpoints)

/* --- the freezer --- */

static const char *freeze(struct scene *sc)
{
	const char *why = NULL;
	int i;

	for (i = 0; i < ROUNDS && !why; i++) {
		why = scene_cgroup_put(sc, "cgroup.freeze", "1");
		if (!why && !RIG_WAIT(scene_cgroup_get(sc, "cgroup.events", "frozen ") == 1))
			why = "a worker does not freeze";
		if (!why)
			why = scene_cgroup_put(sc, "cgroup.freeze", "0");
	}
	return why;
}

MOMENT(freezer, .before = scene_cgroup, .prepare = scene_join, .outside = freeze, .after = scene_cgroup_end)

static const char *kill_frozen(struct scene *sc)
{
	const char *why = scene_cgroup_put(sc, "cgroup.freeze", "1");

	if (!why && !RIG_WAIT(scene_cgroup_get(sc, "cgroup.events", "frozen ") == 1))
		why = "a worker does not freeze";
	return why ?: scene_cgroup_put(sc, "cgroup.kill", "1");
}

MOMENT(sigkill_of_the_frozen, .before = scene_cgroup, .prepare = scene_join, .outside = kill_frozen,
       .after = scene_cgroup_end, .status = SIGKILL)

/* Where a lane asks for it on the command line: all of the above is then of that kind of preemption. */
TEST(the_kernel_preempts_itself_as_it_was_told)
{
	char told[512] = "", is[128] = "", want[32], *p;
	int fd = open("/proc/cmdline", O_RDONLY);

	ASSERT_LT(0, read(fd, told, sizeof(told) - 1));
	close(fd);
	p = strstr(told, " preempt=");
	if (!p)
		SKIP(return, "the kernel was told nothing");
	snprintf(want, sizeof(want), "(%.*s)", (int)strcspn(p + 9, " \n"), p + 9);
	fd = open("/sys/kernel/debug/sched/preempt", O_RDONLY);
	if (fd < 0 || read(fd, is, sizeof(is) - 1) <= 0)
		SKIP(return, "the kernel does not say");
	close(fd);
	EXPECT_NE(NULL, strstr(is, want)) TH_LOG("%s, not %s", is, want);
}

TEST_NO_LEAK

TEST_HARNESS_MAIN
