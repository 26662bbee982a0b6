// SPDX-License-Identifier: GPL-2.0-only
/*
 * failnth.c - no memory: every allocation of every call fails in turn, one a time; so does every copy from and to user space.
 *
 * /proc/thread-self/fail-nth has the Nth of them that the thread comes to fail (Documentation/fault-injection): N goes up until
 * the call comes to fewer. It must succeed, or say -ENOMEM, or -EFAULT where it was the copy; then the same call is made
 * again and succeeds, and in the end the group works and nothing is left of what was half made (here the module's references,
 * in qemu/init what kmemleak finds).
 *
 * Needs the debug kernel (FAULT_INJECTION, FAILSLAB, FAIL_PAGE_ALLOC, FAULT_INJECTION_USERCOPY). Contract 7; rule 14.
 */
#include "test.h"
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/rseq.h>
#include <sys/wait.h>

#define MOST 2000	/* faults in one call */

static int put_file(const char *dir, const char *name, const char *text)
{
	char path[128];
	int fd, ok;

	snprintf(path, sizeof(path), "/sys/kernel/debug/%s/%s", dir, name);
	fd = open(path, O_WRONLY);
	if (fd < 0)
		return -errno;
	ok = write(fd, text, strlen(text)) == (ssize_t)strlen(text);
	close(fd);
	return ok ? 0 : -EIO;
}

/*
 * How many groups a user may have: as many as are made here, as those that were closed are freed a little later and count until
 * then. It is put back when the program, not one of its tests, ends.
 */
static char groups_before[16];

static int max_groups(const char *set, char *get, size_t size)
{
	int fd = open("/sys/module/gk/parameters/max_groups", set ? O_WRONLY : O_RDONLY);
	ssize_t n = fd < 0 ? -1 : (set ? write(fd, set, strlen(set)) : read(fd, get, size));

	close(fd);
	return n > 0 ? 0 : -1;
}

static void __attribute__((constructor)) raise_max_groups(void)
{
	if (!max_groups(NULL, groups_before, sizeof(groups_before) - 1))
		max_groups("10000", NULL, 0);
}

static void __attribute__((destructor)) restore_max_groups(void)
{
	if (*groups_before)
		max_groups(groups_before, NULL, 0);
}

/*
 * The kernel kills a thread whose struct rseq it cannot write to as it was preempted, which is no call of gk's: the C library's
 * registration is taken back, for the calling thread.
 */
static void without_rseq(void)
{
	void *area = (char *)__builtin_thread_pointer() + __rseq_offset;

	if (__rseq_size)
		syscall(SYS_rseq, area, sizeof(struct rseq), RSEQ_FLAG_UNREGISTER, RSEQ_SIG);
}

/* NULL, or why it cannot be done here. Faults are not told of: what is expected is no report. */
static const char *prepare(void)
{
	if (access("/proc/self/fail-nth", W_OK))
		return "no fault injection in this kernel, or not root";
	if (put_file("failslab", "verbose", "0") || put_file("failslab", "ignore-gfp-wait", "N"))
		return "no failslab in this kernel";
	if (put_file("fail_page_alloc", "verbose", "0") || put_file("fail_page_alloc", "ignore-gfp-wait", "N") ||
	    put_file("fail_page_alloc", "ignore-gfp-highmem", "N") || put_file("fail_page_alloc", "min-order", "0"))
		return "no fail_page_alloc in this kernel";
	put_file("fail_usercopy", "verbose", "0");
	without_rseq();
	return NULL;
}

struct act {
	struct rig *r;
	int fd;				/* of a group that is being made */
	int ep;
	struct gk_setup s;
	uint32_t cpus[GK_MAX_CORES];
	void *map;
	struct gk_enter e;
};

typedef long (*act_fn)(struct act *a);

static int nth = -1;

/* Makes the call with its @n-th fault; *injected says whether it came so far. */
static long with_fault(act_fn fn, struct act *a, unsigned int n, bool *injected)
{
	char buf[16] = {};
	ssize_t len;
	long ret;

	snprintf(buf, sizeof(buf), "%u", n);
	if (pwrite(nth, buf, strlen(buf), 0) < 0)
		return -errno;
	ret = fn(a);
	len = pread(nth, buf, sizeof(buf) - 1, 0);
	if (len < 0) {
		/* The fault came here: the call had none. */
		*injected = false;
	} else {
		buf[len] = 0;
		*injected = atoi(buf) == 0;
	}
	/* Or here, and is used up: there is nothing to take back. */
	if (pwrite(nth, "0", 1, 0) < 0 && errno != EFAULT)
		return -errno;
	return ret;
}

/*
 * The call with each fault in turn. @undo takes back what it did, given what it returned; @ok is what it may return without.
 * Returns how many faults there were.
 */
static unsigned int each_fault(struct __test_metadata *_metadata, const char *name, struct act *a, act_fn fn,
			       void (*undo)(struct act *a, long ret), long ok)
{
	unsigned int n, failed = 0;
	bool injected = true;
	long ret;

	for (n = 1; injected && n < MOST; n++) {
		ret = with_fault(fn, a, n, &injected);
		EXPECT_TRUE(ret == ok || (injected && (ret == -ENOMEM || ret == -EFAULT)))
			TH_LOG("%s with fault %u: %ld", name, n, ret);
		failed += ret != ok;
		if (undo)
			undo(a, ret);
		/* And as ever. */
		ret = fn(a);
		EXPECT_EQ(ok, ret) TH_LOG("%s after fault %u", name, n);
		if (undo)
			undo(a, ret);
	}
	EXPECT_GT(MOST, n) TH_LOG("%s has no end of faults", name);
	TH_LOG("%s: %u faults, %u calls failed", name, n - 2, failed);
	return n - 2;
}

static long do_open(struct act *a)
{
	a->fd = open(RIG_DEV, O_RDWR | O_CLOEXEC);
	/* Of the file table, not of gk. */
	return a->fd < 0 ? (errno == ENFILE ? -ENOMEM : -errno) : 0;
}

static void undo_open(struct act *a, long ret)
{
	if (a->fd >= 0)
		close(a->fd);
	a->fd = -1;
}

static long do_info(struct act *a)
{
	struct gk_info info = { .size = sizeof(info) };

	return rig_call(a->r, GK_IOC_INFO, (uintptr_t)&info);
}

static long do_setup(struct act *a)
{
	long ret;

	a->s.size = sizeof(a->s);
	ret = ioctl(a->fd, GK_IOC_SETUP, &a->s);
	return ret < 0 ? -errno : ret;
}

/* A copy that failed at the very end left a group. Where it is to be none is all the same: it goes with its file. */
static void undo_setup(struct act *a, long ret)
{
	close(a->fd);
	a->fd = open(RIG_DEV, O_RDWR | O_CLOEXEC);
}

static long do_mmap(struct act *a)
{
	a->map = mmap(NULL, a->r->s.map_size, PROT_READ | PROT_WRITE, MAP_SHARED, a->r->fd, 0);
	return a->map == MAP_FAILED ? -errno : 0;
}

static void undo_mmap(struct act *a, long ret)
{
	if (a->map != MAP_FAILED)
		munmap(a->map, a->r->s.map_size);
}

static long do_set(struct act *a)
{
	struct gk_set s = { .size = sizeof(s), .mask = GK_SET_SLICE | GK_SET_BOUND, .slice_ns = 10 * NSEC, .bound = 1 };

	return rig_call(a->r, GK_IOC_SET, (uintptr_t)&s);
}

static long do_set_epoll(struct act *a)
{
	struct gk_set s = { .size = sizeof(s), .mask = GK_SET_EPOLL, .epoll_fd = a->ep };

	return rig_call(a->r, GK_IOC_SET, (uintptr_t)&s);
}

static void undo_set_epoll(struct act *a, long ret)
{
	struct gk_set s = { .size = sizeof(s), .mask = GK_SET_EPOLL, .epoll_fd = -1 };

	rig_call(a->r, GK_IOC_SET, (uintptr_t)&s);
	/* It was ready, and nobody is to look. */
	WRITE_ONCE(rig_group(a->r)->net_seen, READ_ONCE(rig_group(a->r)->net_seq));
}

static long do_enter(struct act *a)
{
	a->e = (struct gk_enter){ .size = sizeof(a->e) };
	return rig_call(a->r, GK_IOC_ENTER, (uintptr_t)&a->e);
}

static void undo_enter(struct act *a, long ret)
{
	/* Where the last copy failed it is one, without its id. */
	if (!ret || ret == -EFAULT)
		rig_call(a->r, GK_IOC_EXIT, 0);
}

static long do_wake(struct act *a)
{
	return rig_call(a->r, GK_IOC_WAKE, 0);
}

static long do_arm(struct act *a)
{
	return rig_call(a->r, GK_IOC_ARM, 0);
}

static long do_unhold(struct act *a)
{
	return rig_call(a->r, GK_IOC_UNHOLD, a->e.id);
}

static long do_park_standby(struct act *a)
{
	rig_push_quiet(a->r, 0);
	return rig_call(a->r, GK_IOC_PARK, GK_PARK_STANDBY);
}

static void undo_push(struct act *a, long ret)
{
	rig_drain(a->r, 0);
}

static long do_park_ready(struct act *a)
{
	return rig_call(a->r, GK_IOC_PARK, GK_PARK_READY);
}

static long do_park_held(struct act *a)
{
	rig_call(a->r, GK_IOC_UNHOLD, a->e.id);
	return rig_call(a->r, GK_IOC_PARK, GK_PARK_HELD);
}

static long do_pull(struct act *a)
{
	return rig_call(a->r, GK_IOC_PULL, 1);
}

static long do_exit(struct act *a)
{
	return rig_call(a->r, GK_IOC_EXIT, 0);
}

static void undo_exit(struct act *a, long ret)
{
	do_enter(a);
}

static long do_stop(struct act *a)
{
	return rig_call(a->r, GK_IOC_STOP, 0);
}

static long do_nothing_fork(struct act *a)
{
	pid_t pid = fork();

	if (!pid)
		_exit(0);
	if (pid < 0)
		return errno == EAGAIN ? -ENOMEM : -errno;
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	return 0;
}

/* Two cores, whatever there is of CPUs. */
static void act_open(struct __test_metadata *_metadata, struct act *a, struct rig *r)
{
	cpu_set_t set;

	memset(a, 0, sizeof(*a));
	a->fd = a->ep = -1;
	a->r = r;
	ASSERT_EQ(0, rig_open(r, &(struct rig_opt){ .bound = 1, .ncores = 2 }));
	if (nth < 0)
		nth = open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, nth);
	CPU_ZERO(&set);
	CPU_SET(r->cpu[0], &set);
	ASSERT_EQ(0, sched_setaffinity(0, sizeof(set), &set));
}

static void works(struct __test_metadata *_metadata, struct rig *r)
{
	struct rig_worker *s = rig_standby(r, 1, NULL, NULL);
	unsigned long i;

	ASSERT_NE(NULL, s);
	for (i = 1; i <= 20; i++) {
		rig_push(r, 1);
		ASSERT_TRUE(RIG_WAIT(atomic_load(&s->taken) == i));
	}
	EXPECT_STATE(s, GK_W_STANDBY);
}

TEST(making_a_group)
{
	const char *skip = prepare();
	unsigned int i, faults;
	struct act a;
	struct rig r;

	if (skip)
		SKIP(return, "%s", skip);
	act_open(_metadata, &a, &r);
	each_fault(_metadata, "open", &a, do_open, undo_open, 0);
	EXPECT_LE(2, each_fault(_metadata, "INFO", &a, do_info, NULL, 0));
	for (i = 0; i < GK_MAX_CORES; i++)
		a.cpus[i] = r.cpu[0];
	a.fd = open(RIG_DEV, O_RDWR | O_CLOEXEC);
	a.s = (struct gk_setup){ .ncores = 2, .max_workers = 16, .cpus = (uintptr_t)a.cpus, .manager_fd = eventfd(0, 0) };
	/* The group, its limit, cores, workers, ids, pages, the page itself, the mapping of it; and the copies. */
	faults = each_fault(_metadata, "SETUP", &a, do_setup, undo_setup, 0);
	EXPECT_LE(10, faults);
	/* Arrays that do not fit into slabs, and pages by the hundred. */
	a.s.ncores = 64;
	a.s.max_workers = 4096;
	EXPECT_LT(faults + 100, each_fault(_metadata, "SETUP of a large group", &a, do_setup, undo_setup, 0));
	close(a.fd);
	EXPECT_LE(1, each_fault(_metadata, "mmap", &a, do_mmap, undo_mmap, 0));
	works(_metadata, &r);
	rig_close(&r);
}

TEST(calls_of_anybody)
{
	const char *skip = prepare();
	struct act a;
	struct rig r;
	int ev;

	if (skip)
		SKIP(return, "%s", skip);
	act_open(_metadata, &a, &r);
	EXPECT_LE(1, each_fault(_metadata, "SET", &a, do_set, NULL, 0));
	a.ep = epoll_create1(EPOLL_CLOEXEC);
	ev = eventfd(1, 0);
	ASSERT_EQ(0, epoll_ctl(a.ep, EPOLL_CTL_ADD, ev, &(struct epoll_event){ .events = EPOLLIN }));
	EXPECT_LE(2, each_fault(_metadata, "SET of an epoll file", &a, do_set_epoll, undo_set_epoll, 0));
	each_fault(_metadata, "WAKE", &a, do_wake, NULL, 0);
	each_fault(_metadata, "ARM", &a, do_arm, NULL, 0);
	each_fault(_metadata, "fork", &a, do_nothing_fork, NULL, 0);
	works(_metadata, &r);
	close(a.ep);
	close(ev);
	rig_close(&r);
}

TEST(calls_of_a_worker)
{
	const char *skip = prepare();
	struct rig_worker *s;
	struct act a;
	struct rig r;

	if (skip)
		SKIP(return, "%s", skip);
	act_open(_metadata, &a, &r);
	/* The worker, and the copies. */
	EXPECT_LE(3, each_fault(_metadata, "ENTER", &a, do_enter, undo_enter, 0));
	ASSERT_EQ(0, do_enter(&a));
	each_fault(_metadata, "UNHOLD", &a, do_unhold, NULL, 0);
	each_fault(_metadata, "PARK held", &a, do_park_held, NULL, 0);
	each_fault(_metadata, "PARK ready", &a, do_park_ready, NULL, 0);
	each_fault(_metadata, "PARK standby", &a, do_park_standby, undo_push, 0);
	each_fault(_metadata, "PULL", &a, do_pull, NULL, 0);
	each_fault(_metadata, "fork by a worker", &a, do_nothing_fork, NULL, 0);
	each_fault(_metadata, "EXIT", &a, do_exit, undo_exit, 0);
	ASSERT_EQ(0, do_exit(&a));
	works(_metadata, &r);
	/* For good: there is nothing after it. */
	s = rig_spawn(&r, 0, rig_wait_go, NULL);
	ASSERT_NE(NULL, s);
	ASSERT_STATE(s, GK_W_BLOCKED);
	each_fault(_metadata, "STOP", &a, do_stop, NULL, 0);
}

TEST_NO_LEAK

TEST_HARNESS_MAIN
