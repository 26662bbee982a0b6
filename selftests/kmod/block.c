// SPDX-License-Identifier: GPL-2.0-only
/*
 * block.c - every kind of block is seen: the next worker runs WHILE the first one is blocked.
 *
 * One core, a blocker and a standby. The blocker queues a task and blocks. What ends the block happens only after
 * the standby has taken the task while the blocker's state was BLOCKED, so a block that is not seen is a time-out.
 * Blocks that end by themselves (sleeps, disk reads) are long enough, or many enough, for the standby to see the state.
 *
 * Contract 1; rule 1.
 */
#include "test.h"
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/swap.h>
#include <sys/un.h>
#include <sys/wait.h>

struct kind {
	const char *skip;		/* set by prep: why it cannot be tested here */
	int (*prep)(struct kind *k);	/* 0 or -errno */
	void (*block)(struct kind *k);	/* by the worker; sets ok when the call did what it should */
	void (*unblock)(struct kind *k);/* by the controller; NULL: ends by itself */
	void (*clean)(struct kind *k);
	int fd[2];
	int efd;
	pid_t pid;
	char dir[80];
	char path[100];
	char *mem;
	size_t len;
	unsigned int word;
	pthread_mutex_t mutex;
	pthread_cond_t cond;
	int flag;
	atomic_int ok;
	struct rig_worker *blocker;
};

static void close2(struct kind *k)
{
	close(k->fd[0]);
	close(k->fd[1]);
}

/* What the standby does with the task: looks whether the blocker is blocked, until told to go on. */
static void look(struct rig_worker *w)
{
	struct kind *k = w->arg;

	while (!atomic_load(&w->go) && !atomic_load(&k->blocker->done))
		if (rig_state(k->blocker) == GK_W_BLOCKED)
			atomic_fetch_add(&w->seen, 1);
}

static void blocker(struct rig_worker *w)
{
	struct kind *k = w->arg;

	rig_wait_go(w);
	rig_push_quiet(w->rig, w->core);
	k->block(k);
	atomic_store(&w->stamp, rig_tick(w->rig));
	atomic_store(&w->aux, 1);
}

static void run_kind(struct __test_metadata *_metadata, struct kind *k)
{
	const struct rig_opt opt = { .bound = 2 };
	struct rig_worker *a, *b;
	struct gk_core_page *c;
	struct rig r;
	uint64_t seq;
	int err;

	k->fd[0] = k->fd[1] = k->efd = -1;
	err = k->prep ? k->prep(k) : 0;
	if (k->skip)
		SKIP(return, "%s", k->skip);
	ASSERT_EQ(0, err);
	ASSERT_EQ(0, rig_open(&r, &opt));
	c = rig_core(&r, 0);
	b = rig_standby(&r, 0, look, k);
	ASSERT_NE(NULL, b);
	a = rig_spawn(&r, 0, blocker, k);
	ASSERT_NE(NULL, a);
	k->blocker = a;
	ASSERT_STATE(a, GK_W_BLOCKED);
	ASSERT_EQ(0, atomic_load(&b->taken));
	ASSERT_EQ(0, c->grants_standby);
	seq = rig_wp(a)->seq;

	rig_go(a);
	/* The standby took the task and sees the blocker blocked. */
	EXPECT_TRUE(RIG_WAIT(atomic_load(&b->seen)))
		TH_LOG("taken %lu, blocker %s, standby %s", atomic_load(&b->taken), state_name(rig_state(a)),
		       state_name(rig_state(b)));
	EXPECT_EQ(1, atomic_load(&b->taken));
	if (k->unblock) {
		EXPECT_EQ(0, atomic_load(&a->aux));
		EXPECT_EQ(GK_W_BLOCKED, rig_state(a));
		k->unblock(k);
	}
	EXPECT_TRUE(RIG_WAIT(atomic_load(&a->aux)));
	EXPECT_EQ(1, atomic_load(&k->ok));
	EXPECT_LT(atomic_load(&b->stamp), atomic_load(&a->stamp));
	EXPECT_LE(1, c->grants_standby);
	EXPECT_LE(2, c->blocks);
	EXPECT_LT(seq, rig_wp(a)->seq);
	EXPECT_LE(2, rig_wp(a)->blocks);
	atomic_store(&b->go, 1);
	rig_close(&r);
	if (k->clean)
		k->clean(k);
}

/* --- sleeps --- */

static void b_nanosleep(struct kind *k)
{
	struct timespec t = { 0, 300 * MSEC };

	atomic_store(&k->ok, !nanosleep(&t, NULL));
}

TEST(blocked_in_nanosleep)
{
	struct kind k = { .block = b_nanosleep };

	run_kind(_metadata, &k);
}

/* --- descriptors --- */

static int p_pipe(struct kind *k)
{
	return pipe(k->fd) ? -errno : 0;
}

static void b_read(struct kind *k)
{
	char ch;

	atomic_store(&k->ok, read(k->fd[0], &ch, 1) == 1);
}

static void u_write(struct kind *k)
{
	if (write(k->fd[1], "x", 1) != 1)
		abort();
}

TEST(blocked_in_pipe_read)
{
	struct kind k = { .prep = p_pipe, .block = b_read, .unblock = u_write, .clean = close2 };

	run_kind(_metadata, &k);
}

static int p_pipe_full(struct kind *k)
{
	char buf[4096] = { 0 };

	if (pipe2(k->fd, O_NONBLOCK))
		return -errno;
	while (write(k->fd[1], buf, sizeof(buf)) > 0)
		;
	return fcntl(k->fd[1], F_SETFL, 0) ? -errno : 0;
}

static void b_write(struct kind *k)
{
	atomic_store(&k->ok, write(k->fd[1], "x", 1) == 1);
}

static void u_read_all(struct kind *k)
{
	char buf[4096];

	while (read(k->fd[0], buf, sizeof(buf)) > 0)
		;
}

TEST(blocked_in_pipe_write_to_a_full_pipe)
{
	struct kind k = { .prep = p_pipe_full, .block = b_write, .unblock = u_read_all, .clean = close2 };

	run_kind(_metadata, &k);
}

static int p_socket(struct kind *k)
{
	return socketpair(AF_UNIX, SOCK_STREAM, 0, k->fd) ? -errno : 0;
}

static void b_recv(struct kind *k)
{
	char ch;

	atomic_store(&k->ok, recv(k->fd[0], &ch, 1, 0) == 1);
}

TEST(blocked_in_socket_recv)
{
	struct kind k = { .prep = p_socket, .block = b_recv, .unblock = u_write, .clean = close2 };

	run_kind(_metadata, &k);
}

static int p_listen(struct kind *k)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };

	snprintf(a.sun_path + 1, sizeof(a.sun_path) - 1, "gk-block-%d", getpid());
	snprintf(k->path, sizeof(k->path), "gk-block-%d", getpid());
	k->fd[0] = socket(AF_UNIX, SOCK_STREAM, 0);
	k->fd[1] = socket(AF_UNIX, SOCK_STREAM, 0);
	if (k->fd[0] < 0 || bind(k->fd[0], (void *)&a, sizeof(a)) || listen(k->fd[0], 1))
		return -errno;
	return 0;
}

static void b_accept(struct kind *k)
{
	k->efd = accept(k->fd[0], NULL, NULL);
	atomic_store(&k->ok, k->efd >= 0);
}

static void u_connect(struct kind *k)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };

	snprintf(a.sun_path + 1, sizeof(a.sun_path) - 1, "%s", k->path);
	if (connect(k->fd[1], (void *)&a, sizeof(a)))
		abort();
}

TEST(blocked_in_socket_accept)
{
	struct kind k = { .prep = p_listen, .block = b_accept, .unblock = u_connect, .clean = close2 };

	run_kind(_metadata, &k);
}

static int p_epoll(struct kind *k)
{
	struct epoll_event e = { .events = EPOLLIN };

	if (pipe(k->fd))
		return -errno;
	k->efd = epoll_create1(0);
	return k->efd < 0 || epoll_ctl(k->efd, EPOLL_CTL_ADD, k->fd[0], &e) ? -errno : 0;
}

static void b_epoll(struct kind *k)
{
	struct epoll_event e;

	atomic_store(&k->ok, epoll_wait(k->efd, &e, 1, -1) == 1);
}

TEST(blocked_in_epoll_wait)
{
	struct kind k = { .prep = p_epoll, .block = b_epoll, .unblock = u_write, .clean = close2 };

	run_kind(_metadata, &k);
}

static void b_poll(struct kind *k)
{
	struct pollfd p = { .fd = k->fd[0], .events = POLLIN };

	atomic_store(&k->ok, poll(&p, 1, -1) == 1);
}

TEST(blocked_in_poll)
{
	struct kind k = { .prep = p_pipe, .block = b_poll, .unblock = u_write, .clean = close2 };

	run_kind(_metadata, &k);
}

static int p_eventfd(struct kind *k)
{
	k->efd = eventfd(0, 0);
	return k->efd < 0 ? -errno : 0;
}

static void b_eventfd(struct kind *k)
{
	eventfd_t v;

	atomic_store(&k->ok, !eventfd_read(k->efd, &v) && v == 7);
}

static void u_eventfd(struct kind *k)
{
	if (eventfd_write(k->efd, 7))
		abort();
}

TEST(blocked_in_eventfd_read)
{
	struct kind k = { .prep = p_eventfd, .block = b_eventfd, .unblock = u_eventfd };

	run_kind(_metadata, &k);
}

/* --- threads --- */

static void b_futex(struct kind *k)
{
	while (!__atomic_load_n(&k->word, __ATOMIC_SEQ_CST))
		syscall(SYS_futex, &k->word, 0 /* FUTEX_WAIT */, 0, NULL, NULL, 0);
	atomic_store(&k->ok, 1);
}

static void u_futex(struct kind *k)
{
	__atomic_store_n(&k->word, 1, __ATOMIC_SEQ_CST);
	syscall(SYS_futex, &k->word, 1 /* FUTEX_WAKE */, 1, NULL, NULL, 0);
}

TEST(blocked_in_futex)
{
	struct kind k = { .block = b_futex, .unblock = u_futex };

	run_kind(_metadata, &k);
}

static int p_mutex(struct kind *k)
{
	pthread_mutex_init(&k->mutex, NULL);
	return -pthread_mutex_lock(&k->mutex);
}

static void b_mutex(struct kind *k)
{
	atomic_store(&k->ok, !pthread_mutex_lock(&k->mutex));
	pthread_mutex_unlock(&k->mutex);
}

static void u_mutex(struct kind *k)
{
	pthread_mutex_unlock(&k->mutex);
}

TEST(blocked_in_pthread_mutex)
{
	struct kind k = { .prep = p_mutex, .block = b_mutex, .unblock = u_mutex };

	run_kind(_metadata, &k);
}

static int p_mutex_pi(struct kind *k)
{
	pthread_mutexattr_t a;

	pthread_mutexattr_init(&a);
	if (pthread_mutexattr_setprotocol(&a, PTHREAD_PRIO_INHERIT) || pthread_mutex_init(&k->mutex, &a))
		return -ENOTSUP;
	return -pthread_mutex_lock(&k->mutex);
}

/* The priority-inheritance chain is walked with locks held that a wake-up takes too. */
TEST(blocked_in_pthread_mutex_with_priority_inheritance)
{
	struct kind k = { .prep = p_mutex_pi, .block = b_mutex, .unblock = u_mutex };

	run_kind(_metadata, &k);
}

static int p_cond(struct kind *k)
{
	pthread_mutex_init(&k->mutex, NULL);
	pthread_cond_init(&k->cond, NULL);
	return 0;
}

static void b_cond(struct kind *k)
{
	pthread_mutex_lock(&k->mutex);
	while (!k->flag)
		pthread_cond_wait(&k->cond, &k->mutex);
	pthread_mutex_unlock(&k->mutex);
	atomic_store(&k->ok, 1);
}

static void u_cond(struct kind *k)
{
	pthread_mutex_lock(&k->mutex);
	k->flag = 1;
	pthread_cond_signal(&k->cond);
	pthread_mutex_unlock(&k->mutex);
}

TEST(blocked_in_pthread_cond)
{
	struct kind k = { .prep = p_cond, .block = b_cond, .unblock = u_cond };

	run_kind(_metadata, &k);
}

static int p_child(struct kind *k)
{
	char ch;

	if (pipe(k->fd))
		return -errno;
	k->pid = fork();
	if (!k->pid) {
		close(k->fd[1]);
		_exit(read(k->fd[0], &ch, 1) == 1 ? 3 : 4);
	}
	return k->pid < 0 ? -errno : 0;
}

static void b_waitpid(struct kind *k)
{
	int status;

	atomic_store(&k->ok, waitpid(k->pid, &status, 0) == k->pid && WEXITSTATUS(status) == 3);
}

TEST(blocked_in_waitpid)
{
	struct kind k = { .prep = p_child, .block = b_waitpid, .unblock = u_write, .clean = close2 };

	run_kind(_metadata, &k);
}

static int p_sigwait(struct kind *k)
{
	sigset_t set;

	(void)k;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	return -pthread_sigmask(SIG_BLOCK, &set, NULL);
}

static void b_sigwait(struct kind *k)
{
	sigset_t set;
	int sig;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	atomic_store(&k->ok, !sigwait(&set, &sig) && sig == SIGUSR1);
}

static void u_kill(struct kind *k)
{
	pthread_kill(k->blocker->thread, SIGUSR1);
}

TEST(blocked_in_sigwait)
{
	struct kind k = { .prep = p_sigwait, .block = b_sigwait, .unblock = u_kill };

	run_kind(_metadata, &k);
}

/* --- files --- */

static int make_dir(struct kind *k, const char *base)
{
	snprintf(k->dir, sizeof(k->dir), "%s/gk-block-XXXXXX", base);
	return mkdtemp(k->dir) ? 0 : -errno;
}

static void remove_dir(struct kind *k)
{
	unlink(k->path);
	rmdir(k->dir);
}

static int p_fifo(struct kind *k)
{
	int err = make_dir(k, "/tmp");

	if (err)
		return err;
	snprintf(k->path, sizeof(k->path), "%s/fifo", k->dir);
	return mkfifo(k->path, 0600) ? -errno : 0;
}

static void b_fifo(struct kind *k)
{
	k->fd[0] = open(k->path, O_RDONLY);
	atomic_store(&k->ok, k->fd[0] >= 0);
}

static void u_fifo(struct kind *k)
{
	k->fd[1] = open(k->path, O_WRONLY | O_NONBLOCK);
}

static void c_fifo(struct kind *k)
{
	close2(k);
	remove_dir(k);
}

TEST(blocked_in_fifo_open)
{
	struct kind k = { .prep = p_fifo, .block = b_fifo, .unblock = u_fifo, .clean = c_fifo };

	run_kind(_metadata, &k);
}

static int p_flock(struct kind *k)
{
	int err = make_dir(k, "/tmp");

	if (err)
		return err;
	snprintf(k->path, sizeof(k->path), "%s/lock", k->dir);
	k->fd[0] = open(k->path, O_RDWR | O_CREAT, 0600);
	k->fd[1] = open(k->path, O_RDWR);
	return k->fd[0] < 0 || k->fd[1] < 0 || flock(k->fd[1], LOCK_EX) ? -errno : 0;
}

static void b_flock(struct kind *k)
{
	atomic_store(&k->ok, !flock(k->fd[0], LOCK_EX));
}

static void u_flock(struct kind *k)
{
	flock(k->fd[1], LOCK_UN);
}

TEST(blocked_in_flock)
{
	struct kind k = { .prep = p_flock, .block = b_flock, .unblock = u_flock, .clean = c_fifo };

	run_kind(_metadata, &k);
}

#define COLD_PAGES 512

/* A file whose pages are on the disk and nowhere else. */
static int p_cold_file(struct kind *k)
{
	const char *disk = rig_dir();
	char page[4096];
	int i, err;

	if (!disk) {
		k->skip = "no disk file system (GK_DISK)";
		return 0;
	}
	err = make_dir(k, disk);
	if (err)
		return err;
	snprintf(k->path, sizeof(k->path), "%s/cold", k->dir);
	k->fd[0] = open(k->path, O_RDWR | O_CREAT, 0600);
	for (i = 0; i < COLD_PAGES; i++) {
		memset(page, i & 0xff, sizeof(page));
		if (write(k->fd[0], page, sizeof(page)) != sizeof(page))
			return -errno;
	}
	if (fsync(k->fd[0]))
		return -errno;
	k->len = COLD_PAGES * 4096UL;
	posix_fadvise(k->fd[0], 0, k->len, POSIX_FADV_DONTNEED);
	posix_fadvise(k->fd[0], 0, k->len, POSIX_FADV_RANDOM);
	k->mem = mmap(NULL, k->len, PROT_READ, MAP_SHARED, k->fd[0], 0);
	if (k->mem == MAP_FAILED)
		return -errno;
	madvise(k->mem, k->len, MADV_RANDOM);
	return 0;
}

static void b_touch(struct kind *k)
{
	unsigned long i;
	int ok = 1;

	for (i = 0; i < k->len / 4096; i++)
		ok &= ((volatile unsigned char *)k->mem)[i * 4096] == (i & 0xff);
	atomic_store(&k->ok, ok);
}

static void c_cold(struct kind *k)
{
	munmap(k->mem, k->len);
	c_fifo(k);
}

TEST(blocked_in_page_fault_on_a_cold_file)
{
	struct kind k = { .prep = p_cold_file, .block = b_touch, .clean = c_cold };

	run_kind(_metadata, &k);
}

static void b_pread(struct kind *k)
{
	unsigned char ch;
	int i, ok = 1;

	for (i = 0; i < COLD_PAGES; i++)
		ok &= pread(k->fd[0], &ch, 1, i * 4096L) == 1 && ch == (i & 0xff);
	atomic_store(&k->ok, ok);
}

TEST(blocked_in_read_of_a_cold_file)
{
	struct kind k = { .prep = p_cold_file, .block = b_pread, .clean = c_cold };

	run_kind(_metadata, &k);
}

static void b_fsync(struct kind *k)
{
	int i, ok = 1;

	for (i = 0; i < 20; i++)
		ok &= pwrite(k->fd[0], "y", 1, i * 4096L) == 1 && !fsync(k->fd[0]);
	atomic_store(&k->ok, ok);
}

TEST(blocked_in_fsync)
{
	struct kind k = { .prep = p_cold_file, .block = b_fsync, .clean = c_cold };

	run_kind(_metadata, &k);
}

/* --- memory --- */

static int p_uffd(struct kind *k)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg = { .mode = UFFDIO_REGISTER_MODE_MISSING };

	k->efd = syscall(SYS_userfaultfd, O_CLOEXEC);
	if (k->efd < 0) {
		k->skip = "no userfaultfd for this user or kernel";
		return 0;
	}
	k->len = 4096;
	k->mem = mmap(NULL, k->len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	reg.range.start = (uintptr_t)k->mem;
	reg.range.len = k->len;
	return ioctl(k->efd, UFFDIO_API, &api) || ioctl(k->efd, UFFDIO_REGISTER, &reg) ? -errno : 0;
}

static void b_uffd(struct kind *k)
{
	atomic_store(&k->ok, *(volatile unsigned char *)k->mem == 0x5a);
}

static void u_uffd(struct kind *k)
{
	static char page[4096] __attribute__((aligned(4096)));
	struct uffd_msg m;
	struct uffdio_copy c = { .dst = (uintptr_t)k->mem, .src = (uintptr_t)page, .len = 4096 };

	memset(page, 0x5a, sizeof(page));
	if (read(k->efd, &m, sizeof(m)) != sizeof(m) || ioctl(k->efd, UFFDIO_COPY, &c))
		abort();
}

TEST(blocked_in_userfaultfd)
{
	struct kind k = { .prep = p_uffd, .block = b_uffd, .unblock = u_uffd };

	run_kind(_metadata, &k);
}

static int file_put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);
	ssize_t n = fd < 0 ? -1 : write(fd, text, strlen(text));

	close(fd);
	return n == (ssize_t)strlen(text) ? 0 : -1;
}

#define SWAP_TOP	"/sys/fs/cgroup"
#define SWAP_GROUP	SWAP_TOP "/gk-swap"
#define SWAP_PAGES	8192

/*
 * A swap file as mkswap makes it (the last ten bytes of page 0, version 1, and how many pages), and twice as much memory as the
 * process's cgroup should have: every touch of a page that is out has to wait for the disk. memory.high, not memory.max: where the
 * disk is slow the process is slowed down, and not killed. The file is written outside of the cgroup.
 */
static int p_swap(struct kind *k)
{
	const char *disk = rig_dir();
	unsigned char head[4096] = { 0 };
	uint32_t info[3] = { 1, SWAP_PAGES - 1, 0 };
	static const char zero[65536];
	unsigned long i;
	int err;

	if (geteuid() || !disk) {
		k->skip = "needs root and a disk file system (GK_DISK)";
		return 0;
	}
	file_put(SWAP_TOP "/cgroup.subtree_control", "+memory");
	if ((mkdir(SWAP_GROUP, 0755) && errno != EEXIST) || file_put(SWAP_GROUP "/memory.high", "12M")) {
		k->skip = "no memory cgroup";
		return 0;
	}
	err = make_dir(k, disk);
	if (err)
		return err;
	snprintf(k->path, sizeof(k->path), "%s/swap", k->dir);
	k->fd[0] = open(k->path, O_RDWR | O_CREAT, 0600);
	for (i = 0; i < SWAP_PAGES * 4096UL / sizeof(zero); i++)
		if (write(k->fd[0], zero, sizeof(zero)) != sizeof(zero))
			return -errno;
	memcpy(head + 1024, info, sizeof(info));
	memcpy(head + 4086, "SWAPSPACE2", 10);
	if (pwrite(k->fd[0], head, sizeof(head), 0) != sizeof(head) || fsync(k->fd[0]))
		return -errno;
	if (swapon(k->path, 0)) {
		k->skip = errno == ENOSYS ? "a kernel without swap" : "this file system has no swap files";
		remove_dir(k);
		return 0;
	}
	if (file_put(SWAP_GROUP "/cgroup.procs", "0"))
		return -errno;
	k->len = 24UL << 20;
	k->mem = mmap(NULL, k->len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	madvise(k->mem, k->len, MADV_NOHUGEPAGE);
	madvise(k->mem, k->len, MADV_RANDOM);
	for (i = 0; i < k->len / 4096; i++)
		memset(k->mem + i * 4096UL, i & 0xff, 4096);
	return 0;
}

static void c_swap(struct kind *k)
{
	munmap(k->mem, k->len);
	swapoff(k->path);
	c_fifo(k);
	file_put(SWAP_TOP "/cgroup.procs", "0");
	rmdir(SWAP_GROUP);
}

TEST(blocked_in_page_fault_on_swap)
{
	struct kind k = { .prep = p_swap, .block = b_touch, .clean = c_swap };

	run_kind(_metadata, &k);
}

/* A whole run without the standby: nothing waits, so a block wakes nobody (contract 1, last sentence). */
static void sleeper(struct rig_worker *w)
{
	struct timespec t = { 0, MSEC };

	while (!atomic_load(&w->stop)) {
		nanosleep(&t, NULL);
		atomic_fetch_add(&w->beats, 1);
	}
}

TEST(a_block_with_no_work_wakes_nobody)
{
	const struct rig_opt opt = { .bound = 2 };
	struct rig_worker *a, *b;
	struct rig r;

	ASSERT_EQ(0, rig_open(&r, &opt));
	b = rig_standby(&r, 0, NULL, NULL);
	ASSERT_NE(NULL, b);
	a = rig_spawn(&r, 0, sleeper, NULL);
	ASSERT_NE(NULL, a);
	EXPECT_TRUE(rig_wait_beats(a, 200));
	EXPECT_EQ(0, rig_core(&r, 0)->grants_standby);
	EXPECT_EQ(0, rig_wp(b)->grants);
	EXPECT_EQ(GK_W_STANDBY, rig_state(b));
	rig_close(&r);
}

TEST_NO_LEAK

TEST_HARNESS_MAIN
