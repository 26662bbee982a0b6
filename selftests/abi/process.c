// SPDX-License-Identifier: GPL-2.0-only
/*
 * process.c - who may use a group: not a forked, a vforked or an exec'ed process, not one that was handed the descriptor; two
 * openers are two groups. Rule 13.
 */
#include "test.h"
#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>

static const unsigned long numbers[] = {
	GK_IOC_EXIT, GK_IOC_PARK, GK_IOC_WAKE, GK_IOC_ARM, GK_IOC_UNHOLD, GK_IOC_PULL, GK_IOC_STOP,
	GK_IOC_MOVE,
};

/* 0 when every call gives EPERM (and INFO works); else which one did not. No memory is written: vfork shares it. */
static int all_refused(int fd)
{
	struct gk_info info = { .size = sizeof(info) };
	struct gk_enter e = { .size = sizeof(e) };
	struct gk_set set = { .size = sizeof(set), .mask = GK_SET_BOUND, .bound = 3 };
	uint32_t cpu = 0;
	struct gk_setup s = {
		.size = sizeof(s), .ncores = 1, .max_workers = 1, .cpus = (uintptr_t)&cpu, .manager_fd = -1,
	};
	unsigned int i;

	for (i = 0; i < ARRAY_LEN(numbers); i++) {
		if (ioctl(fd, numbers[i], 0) != -1 || errno != EPERM) {
			return 10 + i;
		}
	}
	if (ioctl(fd, GK_IOC_ENTER, &e) != -1 || errno != EPERM) {
		return 2;
	}
	if (ioctl(fd, GK_IOC_SET, &set) != -1 || errno != EPERM) {
		return 3;
	}
	if (ioctl(fd, GK_IOC_SETUP, &s) != -1 || (errno != EPERM && errno != EBUSY)) {
		return 4;
	}
	if (ioctl(fd, GK_IOC_INFO, &info)) {
		return 5;
	}
	if (mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) != MAP_FAILED) {
		return 6;
	}
	return 0;
}

/* What an exec test becomes: `--all-refused FD`. */
static void __attribute__((constructor(101))) after_exec(int argc, char **argv)
{
	if (argc == 3 && !strcmp(argv[1], "--all-refused")) {
		_exit(all_refused(atoi(argv[2])));
	}
}

static void exec_self(int fd)
{
	char num[16];
	char *const argv[] = { "/proc/self/exe", "--all-refused", num, NULL };

	snprintf(num, sizeof(num), "%d", fd);
	execv(argv[0], argv);
	_exit(99);
}

FIXTURE(group)
{
	struct rig r;
	struct rig_worker *s;
};

FIXTURE_SETUP(group)
{
	ASSERT_EQ(0, rig_open(&self->r, &(struct rig_opt){ .bound = 1 }));
	self->s = rig_standby(&self->r, 0, NULL, NULL);
	ASSERT_NE(NULL, self->s);
	/* To survive exec. */
	fcntl(self->r.fd, F_SETFD, 0);
}

FIXTURE_TEARDOWN(group)
{
	/* The owner's group works as if nothing had been tried. */
	rig_push(&self->r, 0);
	EXPECT_TRUE(RIG_WAIT(atomic_load(&self->s->taken) == 1));
	EXPECT_TRUE(rig_wait_state(self->s, GK_W_STANDBY));
	EXPECT_EQ(0, READ_ONCE(rig_group(&self->r)->stopping));
	EXPECT_EQ(1, READ_ONCE(rig_group(&self->r)->nworkers));
	rig_close(&self->r);
}

TEST_F(group, after_fork)
{
	pid_t pid = fork();
	int status;

	if (!pid) {
		_exit(all_refused(self->r.fd));
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
}

TEST_F(group, after_fork_by_a_grandchild)
{
	pid_t pid = fork();
	int status;

	if (!pid) {
		pid = fork();
		if (!pid) {
			_exit(all_refused(self->r.fd));
		}
		waitpid(pid, &status, 0);
		_exit(WEXITSTATUS(status));
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
}

static int vm_child(void *arg)
{
	return all_refused(*(int *)arg);
}

/* The same memory, another thread group. */
TEST_F(group, after_vfork)
{
	static char stack[65536] __attribute__((aligned(16)));
	pid_t pid = clone(vm_child, stack + sizeof(stack), CLONE_VM | CLONE_VFORK | SIGCHLD, &self->r.fd);
	int status;

	ASSERT_LT(0, pid);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
}

TEST_F(group, after_fork_and_exec)
{
	pid_t pid = fork();
	int status;

	if (!pid) {
		exec_self(self->r.fd);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
}

static int send_fd(int sock, int fd)
{
	char buf[CMSG_SPACE(sizeof(int))] = { 0 }, ch = 'x';
	struct iovec iov = { &ch, 1 };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = buf, .msg_controllen = sizeof(buf) };
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &fd, sizeof(int));
	return sendmsg(sock, &m, 0) == 1 ? 0 : -errno;
}

static int recv_fd(int sock)
{
	char buf[CMSG_SPACE(sizeof(int))] = { 0 }, ch;
	struct iovec iov = { &ch, 1 };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = buf, .msg_controllen = sizeof(buf) };
	int fd = -1;

	if (recvmsg(sock, &m, 0) == 1 && CMSG_FIRSTHDR(&m)) {
		memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof(int));
	}
	return fd;
}

TEST_F(group, passed_over_a_socket)
{
	int sv[2], status, fd;
	pid_t pid;

	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, sv));
	pid = fork();
	if (!pid) {
		close(self->r.fd);
		fd = recv_fd(sv[1]);
		_exit(fd < 0 ? 90 : all_refused(fd));
	}
	ASSERT_EQ(0, send_fd(sv[0], self->r.fd));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	/* In flight in a socket that is closed: only a reference less. */
	ASSERT_EQ(0, send_fd(sv[0], self->r.fd));
	close(sv[0]);
	close(sv[1]);
}

TEST_F(group, opened_through_proc)
{
	char path[64];
	int fd;

	/* A second open of the device is a new descriptor without a group, whatever path it came by. */
	snprintf(path, sizeof(path), "/proc/self/fd/%d", self->r.fd);
	fd = open(path, O_RDWR);
	ASSERT_LE(0, fd);
	EXPECT_EQ(-1, ioctl(fd, GK_IOC_ARM, 0));
	EXPECT_EQ(EINVAL, errno);
	close(fd);
}

/* exec of the owner itself: its group is gone for the new program, and its worker with it. */
TEST(exec_of_the_owner)
{
	struct rig r;
	int status;
	pid_t pid;

	pid = fork();
	if (!pid) {
		if (rig_open(&r, &(struct rig_opt){ .bound = 1 }) || !rig_standby(&r, 0, NULL, NULL)) {
			_exit(98);
		}
		fcntl(r.fd, F_SETFD, 0);
		exec_self(r.fd);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
}

/* exec by a worker: notifiers survive exec, the worker must not. */
TEST(exec_of_a_worker)
{
	struct gk_enter e = { .size = sizeof(e) };
	struct rig r;
	int status;
	pid_t pid;

	pid = fork();
	if (!pid) {
		if (rig_open(&r, &(struct rig_opt){ .bound = 1 }) || rig_call(&r, GK_IOC_ENTER, (uintptr_t)&e)) {
			_exit(98);
		}
		fcntl(r.fd, F_SETFD, 0);
		exec_self(r.fd);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
}

/* A child of a worker is no worker, and its own group works. */
TEST(fork_by_a_worker)
{
	struct gk_enter e = { .size = sizeof(e) };
	struct rig r, mine;
	cpu_set_t set;
	int status;
	pid_t pid;

	ASSERT_EQ(0, rig_open(&r, &(struct rig_opt){ .bound = 1 }));
	/* On its core's CPU: elsewhere it would be a stray, and count as BLOCKED. */
	CPU_ZERO(&set);
	CPU_SET(r.cpu[0], &set);
	ASSERT_EQ(0, sched_setaffinity(0, sizeof(set), &set));
	ASSERT_EQ(0, rig_call(&r, GK_IOC_ENTER, (uintptr_t)&e));
	pid = fork();
	if (!pid) {
		status = all_refused(r.fd);
		if (status) {
			_exit(status);
		}
		if (rig_open(&mine, &(struct rig_opt){ .bound = 1 })) {
			_exit(91);
		}
		if (rig_call(&mine, GK_IOC_PARK, 0) != -EPERM) {
			_exit(92);
		}
		if (rig_call(&mine, GK_IOC_ENTER, (uintptr_t)&e)) {
			_exit(93);
		}
		_exit(0);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_EQ(GK_W_RUNNING, rig_page(&r, e.id)->state);
	EXPECT_EQ(0, rig_call(&r, GK_IOC_EXIT, 0));
}

/* Whoever calls SETUP owns the group, not who opened the descriptor. */
TEST(setup_by_the_child)
{
	int fd = open(RIG_DEV, O_RDWR), p[2], q[2], status;
	struct rig r = { .fd = fd, .manager_fd = -1 };
	pid_t pid;
	char ch;

	ASSERT_EQ(0, pipe(p));
	ASSERT_EQ(0, pipe(q));
	pid = fork();
	if (!pid) {
		status = rig_setup(&r, &(struct rig_opt){ .bound = 1 });
		if (write(p[1], "x", 1) != 1 || read(q[0], &ch, 1) != 1) {
			_exit(90);
		}
		_exit(status ? 91 : rig_call(&r, GK_IOC_ARM, 0) ? 92 : 0);
	}
	ASSERT_EQ(1, read(p[0], &ch, 1));
	EXPECT_EQ(0, all_refused(fd));
	ASSERT_EQ(1, write(q[1], "x", 1));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	close(fd);
}

/* Two descriptors of one process are two groups with their own ids, cores and pages. */
TEST(two_openers)
{
	struct rig_worker *a, *b;
	struct rig r, q;

	ASSERT_EQ(0, rig_open(&r, &(struct rig_opt){ .bound = 1 }));
	ASSERT_EQ(0, rig_open(&q, &(struct rig_opt){ .bound = 1 }));
	a = rig_standby(&r, 0, NULL, NULL);
	b = rig_standby(&q, 0, NULL, NULL);
	ASSERT_TRUE(a && b);
	EXPECT_EQ(0, a->id);
	EXPECT_EQ(0, b->id);
	rig_push(&r, 0);
	EXPECT_TRUE(RIG_WAIT(atomic_load(&a->taken) == 1));
	EXPECT_EQ(0, atomic_load(&b->taken));
	EXPECT_EQ(0, rig_wp(b)->grants);
	ASSERT_EQ(0, rig_call(&r, GK_IOC_STOP, 0));
	EXPECT_EQ(0, rig_group(&q)->stopping);
	rig_push(&q, 0);
	EXPECT_TRUE(RIG_WAIT(atomic_load(&b->taken) == 1));
	EXPECT_EQ(a->tid, (pid_t)rig_wp(a)->tid);
	rig_close(&q);
}

TEST_NO_LEAK

TEST_HARNESS_MAIN
