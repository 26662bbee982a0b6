// SPDX-License-Identifier: GPL-2.0-only
/*
 * moments-process.c - what becomes of a process: children, other programs, ends of threads, descriptors, memory, limits,
 * filters, namespaces, neighbours; in every state of a worker (scene.h).
 *
 * Contract 7; rules 9, 13 and 14.
 */
#include "moment.h"
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>

#define ROUNDS	4

extern char **environ;

/* --- children; each says that it is no worker of the group --- */

static atomic_int child_status;

static int refused(struct scene *sc)
{
	struct gk_enter e = { .size = sizeof(e) };

	if (rig_call(&sc->r, GK_IOC_PARK, GK_PARK_STANDBY) != -EPERM || rig_call(&sc->r, GK_IOC_WAKE, 0) != -EPERM)
		return 1;
	return rig_call(&sc->r, GK_IOC_ENTER, (uintptr_t)&e) == -EPERM ? 0 : 2;
}

static void reap(pid_t pid, int want)
{
	int status = -1;

	while (waitpid(pid, &status, 0) != pid && errno == EINTR)
		;
	atomic_store(&child_status, pid < 0 ? -1 : status == want << 8 ? 0 : status ?: -2);
}

static void do_fork(struct scene *sc)
{
	pid_t pid = _Fork();

	if (!pid)
		_exit(refused(sc));
	reap(pid, 0);
}

static void do_vfork(struct scene *sc)
{
	/* Memory of the parent's, on its stack: nothing may return from here but into _exit(). */
	pid_t pid = vfork();

	if (!pid)
		_exit(ioctl(sc->r.fd, GK_IOC_WAKE, 0) == -1 ? 0 : 1);
	reap(pid, 0);
}

static void do_spawn(struct scene *sc)
{
	static char name[] = "/proc/self/exe", after[] = "--after-exec";
	char *const argv[] = { name, after, NULL };
	pid_t pid = -1;

	if (posix_spawn(&pid, name, NULL, NULL, argv, environ))
		pid = -1;
	reap(pid, 42);
}

static const char *child_of(struct scene *sc, void (*fn)(struct scene *sc))
{
	const char *why = scene_order(sc, fn);

	return why ?: atomic_load(&child_status) ? scene_why(sc, "its child: %#x", atomic_load(&child_status)) : NULL;
}

static const char *fork_by_the_worker(struct scene *sc)
{
	return child_of(sc, do_fork);
}

MOMENT(fork_by_the_worker, .inside = fork_by_the_worker)

static const char *vfork_by_the_worker(struct scene *sc)
{
	return child_of(sc, do_vfork);
}

MOMENT(vfork_by_the_worker, .inside = vfork_by_the_worker)

static const char *spawn_by_the_worker(struct scene *sc)
{
	return child_of(sc, do_spawn);
}

MOMENT(posix_spawn_by_the_worker, .inside = spawn_by_the_worker)

/* By another thread: the workers' pages are taken from under them, as copies to be made. */
static const char *fork_by_another(struct scene *sc)
{
	int i;

	for (i = 0; i < ROUNDS; i++) {
		do_fork(sc);
		do_vfork(sc);
		do_spawn(sc);
		if (atomic_load(&child_status))
			return scene_why(sc, "the child: %#x", atomic_load(&child_status));
	}
	return NULL;
}

MOMENT(fork_by_another, .inside = fork_by_another)

/* --- other programs, and ends --- */

static void do_exec(struct scene *sc)
{
	scene_exec();
}

static const char *exec_by_the_worker(struct scene *sc)
{
	return scene_order(sc, do_exec) ?: "the worker goes on after exec";
}

MOMENT(exec_by_the_worker, .inside = exec_by_the_worker, .status = 42 << 8)

static const char *exec_by_another(struct scene *sc)
{
	scene_exec();
	return "it goes on after exec";
}

MOMENT(exec_by_another, .inside = exec_by_another, .status = 42 << 8)

static void do_exit_group(struct scene *sc)
{
	_exit(42);
}

static const char *exit_by_the_worker(struct scene *sc)
{
	return scene_order(sc, do_exit_group) ?: "the worker goes on after exit";
}

MOMENT(exit_group_by_the_worker, .inside = exit_by_the_worker, .status = 42 << 8)

static void do_thread_exit(struct scene *sc)
{
	/* As if done: nobody comes back from here. */
	atomic_store(&sc->ordered, 1);
	syscall(SYS_exit, 0);
}

static const char *thread_exit(struct scene *sc)
{
	return scene_order(sc, do_thread_exit) ?: scene_join_victim(sc);
}

MOMENT(thread_exit, .inside = thread_exit)

/* Asynchronous, so that it need not be at a call of the C library. */
static const char *cancel(struct scene *sc)
{
	sc->gone = true;
	if (pthread_cancel(sc->victim->thread))
		return "no such thread";
	scene_loosen(sc);
	return scene_join_victim(sc);
}

MOMENT(pthread_cancel, .inside = cancel)

/* --- the descriptor and the pages --- */

static const char *close_one_of_two(struct scene *sc)
{
	int fd = fcntl(sc->r.fd, F_DUPFD_CLOEXEC, 100), old = sc->r.fd;

	if (fd < 0)
		return "no descriptor";
	sc->r.fd = fd;
	close(old);
	return NULL;
}

MOMENT(close_one_of_two, .inside = close_one_of_two)

/* Closed, unmapped: nobody is a worker any more, and each thread goes on as what it was before. */
static const char *close_all(struct scene *sc)
{
	struct rig *r = &sc->r;
	unsigned int i;
	void *p;

	sc->closed = true;
	atomic_store(&sc->loose, 1);
	atomic_store(&sc->calm, 1);
	for (i = 0; i < r->nw; i++)
		atomic_store(&r->w[i]->stop, 1);
	if (write(sc->pipe[1], "xx", 2) != 2)
		return "the pipe is full";
	close(r->fd);
	/* They look at it once more, maybe. */
	p = mmap(r->map, r->s.map_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	if (p == MAP_FAILED)
		return "no memory";
	for (i = 0; i < r->nw; i++)
		if (!RIG_WAIT(atomic_load(&r->w[i]->done)))
			return scene_why(sc, "worker %d, %c, never ends", r->w[i]->id, rig_task_state(r->w[i]->tid));
	return rig_no_leak() ? NULL : "the module still has something of a closed group";
}

MOMENT(close_all, .inside = close_all)

/* Another process holds the descriptor when the group's own is gone: it can do nothing with it, and nothing to us. */
static const char *pass_over_a_socket(struct scene *sc)
{
	char buf[CMSG_SPACE(sizeof(int))] = { 0 }, ch = 'x';
	struct iovec iov = { &ch, 1 };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = buf, .msg_controllen = sizeof(buf) };
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);
	int sv[2], fd = sc->r.fd, status;
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv))
		return "no socket";
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &fd, sizeof(int));
	/* Two: one is never received. */
	if (sendmsg(sv[0], &m, 0) != 1 || sendmsg(sv[0], &m, 0) != 1)
		return "not sent";
	pid = fork();
	if (!pid) {
		close(fd);
		if (recvmsg(sv[1], &m, 0) != 1 || !CMSG_FIRSTHDR(&m))
			_exit(90);
		memcpy(&sc->fds[0], CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof(int));
		_exit(ioctl(sc->fds[0], GK_IOC_STOP, 0) == -1 && errno == EPERM ? 0 : 91);
	}
	if (waitpid(pid, &status, 0) != pid || status)
		return scene_why(sc, "the receiver: %#x", status);
	close(sv[0]);
	close(sv[1]);
	return NULL;
}

MOMENT(pass_over_a_socket, .inside = pass_over_a_socket)

/* The library writes to other memory for a while, and none of its words reaches the module. */
static const char *munmap_the_pages(struct scene *sc)
{
	struct timespec t = { 0, 5 * MSEC };
	struct rig *r = &sc->r;
	unsigned int i, k;
	void *p;

	for (i = 0; i < ROUNDS; i++) {
		p = mmap(r->map, r->s.map_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
		if (p == MAP_FAILED)
			return "no memory";
		for (k = 0; k < sc->ncores; k++) {
			rig_call(r, GK_IOC_WAKE, k);
			rig_call(r, GK_IOC_ARM, k);
		}
		nanosleep(&t, NULL);	/* for whatever the workers do with it */
		p = mmap(r->map, r->s.map_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, r->fd, 0);
		if (p == MAP_FAILED)
			return scene_why(sc, "no second mapping: %s", strerror(errno));
	}
	/* Given up in the other memory, the word is still held in this one. */
	for (k = 0; k < sc->ncores; k++)
		if (sc->victim && READ_ONCE(rig_core(r, k)->word) != sc->victim->id + 1)
			WRITE_ONCE(rig_core(r, k)->word, 0);
	return NULL;
}

MOMENT(munmap_the_pages, .inside = munmap_the_pages)

static const char *pages_out(struct scene *sc)
{
	int i;

	for (i = 0; i < 50; i++)
		if (madvise(sc->r.map, sc->r.s.map_size, MADV_DONTNEED))
			return "no advice";
	return NULL;
}

MOMENT(pages_dropped, .inside = pages_out)

/* --- memory and processes run out --- */

static const char *oom_cgroup(struct scene *sc)
{
	return scene_cgroup(sc) ?: scene_cgroup_put(sc, "memory.max", "64M");
}

static const char *oom_join(struct scene *sc)
{
	const char *why = scene_join(sc);

	/* It is the subject that is to be killed, not the test beside it. */
	file_put("/proc/self/oom_score_adj", "1000");
	scene_cgroup_put(sc, "memory.swap.max", "0");
	sc->why[0] = 0;
	return why;
}

static const char *oom(struct scene *sc)
{
	size_t i, len = 128UL << 20;
	char *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		return "no addresses";
	for (i = 0; i < len; i += 4096)
		p[i] = 1;
	return "it has all the memory it wants";
}

MOMENT(out_of_memory, .before = oom_cgroup, .prepare = oom_join, .inside = oom, .after = scene_cgroup_end, .status = SIGKILL)

static void nothing(struct rig_worker *w)
{
}

/* No thread may be made: the group stays as it is, and can grow later. */
static const char *nproc(struct scene *sc)
{
	struct rlimit lim = { 1, RLIM_INFINITY }, none = { RLIM_INFINITY, RLIM_INFINITY };
	struct rig_worker *w;

	/* For this thread alone, which makes all others. */
	if (syscall(SYS_setresuid, 47110, 47110, 0))
		return SCENE_SKIP "only root becomes another user";
	setrlimit(RLIMIT_NPROC, &lim);
	errno = 0;
	w = rig_spawn(&sc->r, sc->core, nothing, NULL);
	if (w || errno != EAGAIN)
		return scene_why(sc, "a thread beyond the limit: %s", strerror(errno));
	setrlimit(RLIMIT_NPROC, &none);
	w = rig_spawn(&sc->r, sc->core, nothing, NULL);
	if (!w || !RIG_WAIT(atomic_load(&w->done)))
		return scene_why(sc, "no thread below the limit: %s", strerror(errno));
	pthread_join(w->thread, NULL);
	sc->r.w[--sc->r.nw] = NULL;
	free(w);
	return syscall(SYS_setresuid, -1, 0, -1) || syscall(SYS_setresuid, 0, 0, 0) ? "no way back" : NULL;
}

MOMENT(nproc_reached, .inside = nproc)

/* Every thread must take a signal of the C library's own before this returns. */
static const char *set_uid(struct scene *sc)
{
	if (geteuid())
		return SCENE_SKIP "only root becomes another user";
	/* A READY worker has a tick for the handler, and finishes it when its turn comes. */
	scene_loosen(sc);
	return setresuid(47110, 47110, 0) || setresuid(0, 0, 0) ? "not another user" : NULL;
}

MOMENT(setuid, .inside = set_uid)

/* --- filters --- */

static int filter(unsigned int action, unsigned int flags)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_ioctl, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, action),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog prog = { ARRAY_LEN(code), code };

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return -errno;
	return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &prog) ? -errno : 0;
}

/* On all threads at once: the first that makes a call to us takes the others along. */
static const char *seccomp_kill(struct scene *sc)
{
	int err = filter(SECCOMP_RET_KILL_PROCESS, SECCOMP_FILTER_FLAG_TSYNC);

	if (err)
		return scene_why(sc, SCENE_SKIP "no filters: %s", strerror(-err));
	rig_call(&sc->r, GK_IOC_WAKE, sc->core);
	return "it goes on";
}

MOMENT(seccomp_kills_the_process, .inside = seccomp_kill, .status = SIGSYS)


static void do_filter_kill(struct scene *sc)
{
	atomic_store(&sc->ordered, 1);
	if (!filter(SECCOMP_RET_KILL_THREAD, 0))
		rig_call(&sc->r, GK_IOC_PARK, GK_PARK_STANDBY);
	syscall(SYS_exit, 0);
}

static const char *seccomp_thread(struct scene *sc)
{
	return scene_order(sc, do_filter_kill) ?: scene_join_victim(sc);
}

MOMENT(seccomp_kills_the_worker, .inside = seccomp_thread)

static void do_filter_errno(struct scene *sc)
{
	atomic_store(&child_status, filter(SECCOMP_RET_ERRNO | EACCES, 0));
}

/* It cannot park any more, nor leave: its function ends, and its thread. */
static const char *seccomp_errno(struct scene *sc)
{
	const char *why = scene_order(sc, do_filter_errno);

	if (why)
		return why;
	if (atomic_load(&child_status))
		return scene_why(sc, SCENE_SKIP "no filters: %s", strerror(-atomic_load(&child_status)));
	scene_loosen(sc);
	atomic_store(&sc->calm, 1);
	if (write(sc->pipe[1], "x", 1) != 1)
		return "the pipe is full";
	if (!RIG_WAIT(({
		/* Parked, it knows nothing of it yet. */
		if (rig_state(sc->victim) == GK_W_HELD)
			rig_call(&sc->r, GK_IOC_UNHOLD, sc->victim->id);
		rig_push(&sc->r, sc->core);
		atomic_load(&sc->victim->done);
	})))
		return "it still parks";
	return scene_join_victim(sc);
}

MOMENT(seccomp_refuses, .inside = seccomp_errno)

/* --- namespaces --- */

static void do_unshare(struct scene *sc)
{
	/* A table of descriptors of its own: the close of another's is none of its business. */
	atomic_store(&child_status, unshare(CLONE_FILES | CLONE_FS | CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWPID | CLONE_NEWIPC) ?
		     errno : 0);
}

static const char *unshare_by_the_worker(struct scene *sc)
{
	const char *why = scene_order(sc, do_unshare);

	if (!why && atomic_load(&child_status))
		why = scene_why(sc, SCENE_SKIP "no namespaces: %s", strerror(atomic_load(&child_status)));
	return why;
}

MOMENT(unshare_by_the_worker, .inside = unshare_by_the_worker)

/* Nobody of a user namespace, with ids of its own: a process as any other. What it is asked, it is asked in there. */
static const char *new_user(struct scene *sc)
{
	return unshare(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWNET) ?
		scene_why(sc, SCENE_SKIP "no user namespaces: %s", strerror(errno)) : NULL;
}

MOMENT(user_namespace, .prepare = new_user, .inside = fork_by_another)

/* The first process of a pid namespace: its children die with it. */
static const char *new_pid(struct scene *sc)
{
	int status;
	pid_t pid;

	if (unshare(CLONE_NEWPID | CLONE_NEWNS))
		return scene_why(sc, SCENE_SKIP "no pid namespaces: %s", strerror(errno));
	pid = fork();
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		/* It looks at its threads there. */
		if (mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) || mount("proc", "/proc", "proc", 0, NULL))
			return scene_why(sc, SCENE_SKIP "no proc of its own: %s", strerror(errno));
		return getpid() == 1 ? NULL : "not the first of its namespace";
	}
	if (waitpid(pid, &status, 0) != pid)
		_exit(1);
	/* As it ended. */
	if (WIFSIGNALED(status)) {
		signal(WTERMSIG(status), SIG_DFL);
		raise(WTERMSIG(status));
	}
	_exit(WEXITSTATUS(status));
}

static const char *pid_namespace(struct scene *sc)
{
	return READ_ONCE(rig_wp(sc->victim)->tid) == (uint32_t)sc->victim_tid && getpid() == 1 ? fork_by_another(sc) :
		"its page has another id than it";
}

MOMENT(pid_namespace, .prepare = new_pid, .inside = pid_namespace)

/* --- neighbours --- */

static void job(struct rig_worker *w)
{
	sched_yield();
}

/* Fifty groups of this process on the same CPUs, all at once, all served. */
static const char *fifty_groups(struct scene *sc)
{
	static struct rig g[50];
	const char *why = NULL;
	unsigned int i, n;

	for (n = 0; n < ARRAY_LEN(g) && !why; n++) {
		int err = rig_open(&g[n], &(struct rig_opt){ .bound = 1, .max_workers = 4, .slice = MSEC });

		if (err)
			return scene_why(sc, "group %u: %s", n, strerror(-err));
		if (!rig_standby(&g[n], 0, job, NULL))
			why = scene_why(sc, "no worker in group %u", n);
	}
	for (i = 0; i < n; i++)
		rig_push(&g[i], 0);
	for (i = 0; i < n && !why; i++)
		if (!RIG_WAIT(atomic_load(&g[i].w[0]->taken) == 1))
			why = scene_why(sc, "group %u is not served", i);
	for (i = 0; i < n; i++)
		rig_close(&g[i]);
	return why;
}

MOMENT(fifty_groups, .inside = fifty_groups)

TEST_NO_LEAK

TEST_HARNESS_MAIN
