// SPDX-License-Identifier: GPL-2.0-only
/*
 * map.c - the one mapping of a group: length, offset, kind, fork, and the layout that is the ABI.
 */
#include "test.h"
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

/* A layout that moves is another ABI. */
#define AT(type, field, offset) _Static_assert(offsetof(struct type, field) == (offset), #type "." #field)
_Static_assert(sizeof(struct gk_info) == 24, "gk_info");
_Static_assert(sizeof(struct gk_setup) == 72, "gk_setup");
_Static_assert(sizeof(struct gk_set) == 32, "gk_set");
_Static_assert(sizeof(struct gk_enter) == 16, "gk_enter");
_Static_assert(sizeof(struct gk_group_page) == 128, "gk_group_page");
_Static_assert(sizeof(struct gk_core_page) == 448, "gk_core_page");
_Static_assert(sizeof(struct gk_worker_page) == 128, "gk_worker_page");
AT(gk_info, features, 8);
AT(gk_info, max_cores, 16);
AT(gk_info, max_workers, 20);
AT(gk_setup, ncores, 8);
AT(gk_setup, max_workers, 12);
AT(gk_setup, cpus, 16);
AT(gk_setup, slice_ns, 24);
AT(gk_setup, grain_ns, 32);
AT(gk_setup, bound, 40);
AT(gk_setup, manager_fd, 44);
AT(gk_setup, map_size, 48);
AT(gk_setup, core_off, 56);
AT(gk_setup, core_stride, 60);
AT(gk_setup, worker_off, 64);
AT(gk_setup, worker_stride, 68);
AT(gk_set, mask, 4);
AT(gk_set, slice_ns, 8);
AT(gk_set, grain_ns, 16);
AT(gk_set, bound, 24);
AT(gk_set, epoll_fd, 28);
AT(gk_enter, core, 8);
AT(gk_enter, id, 12);
AT(gk_group_page, idle, 0);
AT(gk_group_page, nworkers, 32);
AT(gk_group_page, net_seq, 36);
AT(gk_group_page, stopping, 40);
AT(gk_group_page, gq_len, 64);
AT(gk_group_page, searching, 68);
AT(gk_group_page, net_seen, 72);
AT(gk_core_page, cpu, 0);
AT(gk_core_page, ready_pos, 4);
AT(gk_core_page, running, 8);
AT(gk_core_page, nready, 12);
AT(gk_core_page, nstandby, 16);
AT(gk_core_page, turn, 20);
AT(gk_core_page, armed, 24);
AT(gk_core_page, word, 64);
AT(gk_core_page, q_next, 68);
AT(gk_core_page, urgent, 72);
AT(gk_core_page, q_tail, 76);
AT(gk_core_page, deadline, 80);
AT(gk_core_page, q_head, 128);
AT(gk_core_page, blocks, 192);
AT(gk_core_page, unblocks, 200);
AT(gk_core_page, wakes_over, 208);
AT(gk_core_page, parks_bound, 216);
AT(gk_core_page, preempts, 224);
AT(gk_core_page, displaced, 232);
AT(gk_core_page, parks_standby, 240);
AT(gk_core_page, parks_ready, 248);
AT(gk_core_page, parks_held, 256);
AT(gk_core_page, grants_ready, 264);
AT(gk_core_page, grants_standby, 272);
AT(gk_core_page, starved, 280);
AT(gk_core_page, ticks, 288);
AT(gk_core_page, stalls, 296);
AT(gk_core_page, signals, 304);
AT(gk_core_page, remote, 312);
AT(gk_core_page, pulled, 320);
AT(gk_core_page, deferred, 328);
AT(gk_worker_page, state, 0);
AT(gk_worker_page, core, 4);
AT(gk_worker_page, seq, 8);
AT(gk_worker_page, grants, 16);
AT(gk_worker_page, blocks, 24);
AT(gk_worker_page, flags, 32);
AT(gk_worker_page, tid, 36);
AT(gk_worker_page, switches, 64);
AT(gk_worker_page, overdue, 40);
AT(gk_worker_page, cookie, 72);
AT(gk_worker_page, taskless, 80);
AT(gk_worker_page, nopreempt, 84);

TEST(call_numbers)
{
	EXPECT_EQ(0xc018b910, GK_IOC_INFO);
	EXPECT_EQ(0xc048b911, GK_IOC_SETUP);
	EXPECT_EQ(0x4020b912, GK_IOC_SET);
	EXPECT_EQ(0xc010b913, GK_IOC_ENTER);
	EXPECT_EQ(0xb920, GK_IOC_EXIT);
	EXPECT_EQ(0xb921, GK_IOC_PARK);
	EXPECT_EQ(0xb922, GK_IOC_WAKE);
	EXPECT_EQ(0xb923, GK_IOC_ARM);
	EXPECT_EQ(0xb924, GK_IOC_UNHOLD);
	EXPECT_EQ(0xb925, GK_IOC_PULL);
	EXPECT_EQ(0xb926, GK_IOC_STOP);
	EXPECT_EQ(0xb927, GK_IOC_MOVE);
}

FIXTURE(map)
{
	int fd;
	struct gk_setup s;
};

FIXTURE_SETUP(map)
{
	static uint32_t cpus[3];
	unsigned int i;

	for (i = 0; i < 3; i++) {
		cpus[i] = rig_nth_cpu(i);
	}
	self->s = (struct gk_setup){
		.size = sizeof(self->s), .ncores = 3, .max_workers = 50, .cpus = (uintptr_t)cpus, .manager_fd = -1,
	};
	self->fd = open(RIG_DEV, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, ioctl(self->fd, GK_IOC_SETUP, &self->s));
}

FIXTURE_TEARDOWN(map)
{
	close(self->fd);
}

static void *map_at(int fd, size_t len, int prot, int flags, off_t off)
{
	void *p = mmap(NULL, len, prot, flags, fd, off);

	return p == MAP_FAILED ? NULL : p;
}

#define RW (PROT_READ | PROT_WRITE)

TEST_F(map, layout_of_the_areas)
{
	struct gk_setup *s = &self->s;

	EXPECT_EQ(0, s->map_size % 4096);
	EXPECT_EQ(0, s->core_off % GK_LINE);
	EXPECT_EQ(0, s->core_stride % GK_LINE);
	EXPECT_EQ(0, s->worker_off % GK_LINE);
	EXPECT_EQ(0, s->worker_stride % GK_LINE);
	EXPECT_LE(sizeof(struct gk_group_page), s->core_off);
	EXPECT_LE(sizeof(struct gk_core_page), s->core_stride);
	EXPECT_LE(sizeof(struct gk_worker_page), s->worker_stride);
	EXPECT_LE(s->core_off + 3ULL * s->core_stride, s->worker_off);
	EXPECT_LE(s->worker_off + 50ULL * s->worker_stride, s->map_size);
}

TEST_F(map, good)
{
	unsigned char *p = map_at(self->fd, self->s.map_size, RW, MAP_SHARED, 0);
	struct gk_core_page *c;
	unsigned int i;

	ASSERT_NE(NULL, p);
	for (i = 0; i < 3; i++) {
		c = (void *)(p + self->s.core_off + i * self->s.core_stride);
		EXPECT_EQ(rig_nth_cpu(i), c->cpu);
		EXPECT_EQ(0, c->running);
		EXPECT_EQ(0, c->blocks);
	}
	EXPECT_EQ(7, *(uint64_t *)p & 7);
	EXPECT_EQ(0, ((struct gk_group_page *)p)->nworkers);
	/* Resident to the last byte, and writable. */
	p[self->s.map_size - 1] = 1;
	EXPECT_EQ(0, munmap(p, self->s.map_size));
}

TEST_F(map, wrong_length)
{
	size_t n = self->s.map_size;

	EXPECT_EQ(NULL, map_at(self->fd, 4096, RW, MAP_SHARED, 0));
	EXPECT_EQ(NULL, map_at(self->fd, n - 4096, RW, MAP_SHARED, 0));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(NULL, map_at(self->fd, n + 4096, RW, MAP_SHARED, 0));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_NE(NULL, map_at(self->fd, n, RW, MAP_SHARED, 0));
}

TEST_F(map, wrong_offset)
{
	size_t n = self->s.map_size;

	EXPECT_EQ(NULL, map_at(self->fd, n, RW, MAP_SHARED, 4096));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(NULL, map_at(self->fd, n, RW, MAP_SHARED, 1L << 40));
	EXPECT_EQ(NULL, map_at(self->fd, n - 4096, RW, MAP_SHARED, 4096));
	EXPECT_EQ(EINVAL, errno);
}

TEST_F(map, private)
{
	EXPECT_EQ(NULL, map_at(self->fd, self->s.map_size, RW, MAP_PRIVATE, 0));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(NULL, map_at(self->fd, self->s.map_size, PROT_READ, MAP_PRIVATE, 0));
	EXPECT_EQ(EINVAL, errno);
}

TEST_F(map, before_setup)
{
	int fd = open(RIG_DEV, O_RDWR);

	EXPECT_EQ(NULL, map_at(fd, 4096, RW, MAP_SHARED, 0));
	EXPECT_EQ(EINVAL, errno);
	close(fd);
}

/* Refused, or the same memory: never a second set of pages. */
TEST_F(map, twice)
{
	struct gk_group_page *a = map_at(self->fd, self->s.map_size, RW, MAP_SHARED, 0), *b;

	ASSERT_NE(NULL, a);
	b = map_at(self->fd, self->s.map_size, RW, MAP_SHARED, 0);
	if (!b) {
		EXPECT_EQ(EBUSY, errno);
	} else {
		WRITE_ONCE(a->gq_len, 1234);
		EXPECT_EQ(1234, READ_ONCE(b->gq_len));
	}
}

TEST_F(map, cannot_grow)
{
	void *p = map_at(self->fd, self->s.map_size, RW, MAP_SHARED, 0);

	ASSERT_NE(NULL, p);
	EXPECT_EQ(MAP_FAILED, mremap(p, self->s.map_size, self->s.map_size + 4096, MREMAP_MAYMOVE));
}

/* Unmapped in pieces, moved, closed first: the group's end must not mind. */
TEST_F(map, unmapped_in_pieces)
{
	char *p = map_at(self->fd, self->s.map_size, RW, MAP_SHARED, 0);

	ASSERT_NE(NULL, p);
	EXPECT_EQ(0, munmap(p + 4096, 4096));
	EXPECT_EQ(0, close(self->fd));
	p[0] = 1;
	EXPECT_EQ(0, munmap(p, self->s.map_size));
}

TEST_F(map, not_inherited_by_fork)
{
	volatile char *p = map_at(self->fd, self->s.map_size, RW, MAP_SHARED, 0);
	int status;
	pid_t pid;

	ASSERT_NE(NULL, (void *)p);
	pid = fork();
	if (!pid) {
		signal(SIGSEGV, SIG_DFL);
		(void)*p;
		_exit(0);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_TRUE(WIFSIGNALED(status));
	EXPECT_EQ(SIGSEGV, WTERMSIG(status));
	/* Nor can the child map it. */
	pid = fork();
	if (!pid) {
		_exit(map_at(self->fd, self->s.map_size, RW, MAP_SHARED, 0) ? 1 : errno == EPERM ? 0 : 2);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	/* And the parent's is what it was. */
	*p = *p;
}

/* mlock, msync and madvise find an ordinary mapping or an error, never a crash. */
TEST_F(map, odd_calls)
{
	char *p = map_at(self->fd, self->s.map_size, RW, MAP_SHARED, 0);
	/* Not MADV_DONTNEED: who asks for the pages to go has them gone. */
	static const int advice[] = { MADV_NORMAL, MADV_WILLNEED, MADV_FREE, MADV_COLD, MADV_PAGEOUT, MADV_HUGEPAGE,
				      MADV_MERGEABLE };
	unsigned int i;

	ASSERT_NE(NULL, p);
	p[4095] = 77;
	for (i = 0; i < ARRAY_LEN(advice); i++) {
		madvise(p, self->s.map_size, advice[i]);
		EXPECT_EQ(77, p[4095]) {
			TH_LOG("advice %d took a page away", advice[i]);
		}
	}
	msync(p, self->s.map_size, MS_SYNC);
	mlock(p, self->s.map_size);
	EXPECT_EQ(77, p[4095]);
}

TEST_NO_LEAK

TEST_HARNESS_MAIN
