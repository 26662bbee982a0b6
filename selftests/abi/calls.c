// SPDX-License-Identifier: GPL-2.0-only
/*
 * calls.c - every command of /dev/gk with wrong arguments: sizes, pointers, flags, values, ids, and states.
 */
#include "test.h"
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>

/* Two pages, the second one not there: a struct that ends with the first page is read to its last byte and no further. */
static void *page_end(size_t len)
{
	char *p = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	munmap(p + 4096, 4096);
	return p + 4096 - len;
}

static long call(int fd, unsigned long cmd, void *arg)
{
	long ret = ioctl(fd, cmd, arg);

	return ret < 0 ? -errno : ret;
}

static uint32_t cpu0;

static void fill_info(void *p)
{
	struct gk_info *a = p;

	a->size = sizeof(*a);
}

static void fill_setup(void *p)
{
	struct gk_setup *a = p;

	cpu0 = rig_nth_cpu(0);
	a->size = sizeof(*a);
	a->ncores = 1;
	a->max_workers = 4;
	a->cpus = (uintptr_t)&cpu0;
	a->manager_fd = -1;
}

static void fill_set(void *p)
{
	struct gk_set *a = p;

	a->size = sizeof(*a);
	a->mask = GK_SET_BOUND;
	a->bound = 1;
}

static void fill_enter(void *p)
{
	struct gk_enter *a = p;

	a->size = sizeof(*a);
}

/* One of the commands that take a struct, as a test variant. */
FIXTURE(structs)
{
	int fd;
};

FIXTURE_VARIANT(structs)
{
	unsigned long cmd;
	size_t len;
	void (*fill)(void *p);
	bool group;		/* needs one */
	bool out;		/* writes the struct back */
	size_t flags;		/* offset of a word in which no bit (or no unknown one) may be set */
};

FIXTURE_VARIANT_ADD(structs, info)
{
	GK_IOC_INFO, sizeof(struct gk_info), fill_info, false, true, offsetof(struct gk_info, flags),
};

FIXTURE_VARIANT_ADD(structs, setup)
{
	GK_IOC_SETUP, sizeof(struct gk_setup), fill_setup, false, true, offsetof(struct gk_setup, flags),
};

FIXTURE_VARIANT_ADD(structs, set)
{
	GK_IOC_SET, sizeof(struct gk_set), fill_set, true, false, offsetof(struct gk_set, mask),
};

FIXTURE_VARIANT_ADD(structs, enter)
{
	GK_IOC_ENTER, sizeof(struct gk_enter), fill_enter, true, true, offsetof(struct gk_enter, flags),
};

static int group_fd(void)
{
	struct gk_setup s = { 0 };
	int fd = open(RIG_DEV, O_RDWR | O_CLOEXEC);

	fill_setup(&s);
	/* A group that was closed is counted until its last piece has been freed, a little later. */
	while (fd >= 0 && ioctl(fd, GK_IOC_SETUP, &s)) {
		if (errno != EUSERS)
			return -1;
		usleep(1000);
	}
	return fd;
}

FIXTURE_SETUP(structs)
{
	self->fd = variant->group ? group_fd() : open(RIG_DEV, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(structs)
{
	close(self->fd);
}

TEST_F(structs, good)
{
	void *p = page_end(variant->len);

	variant->fill(p);
	EXPECT_EQ(0, call(self->fd, variant->cmd, p));
	EXPECT_EQ(variant->len, *(uint32_t *)p);
}

TEST_F(structs, too_short)
{
	char buf[256] = { 0 };
	uint32_t len;

	for (len = 0; len < variant->len; len += 4) {
		memset(buf, 0, sizeof(buf));
		variant->fill(buf);
		*(uint32_t *)buf = len;
		EXPECT_EQ(-EINVAL, call(self->fd, variant->cmd, buf)) {
			TH_LOG("size %u", len);
		}
	}
}

TEST_F(structs, long_with_a_tail_of_zeroes)
{
	unsigned char buf[512] = { 0 };

	variant->fill(buf);
	*(uint32_t *)buf = variant->len + 200;
	EXPECT_EQ(0, call(self->fd, variant->cmd, buf));
	/* The number of the call carries the size its caller was compiled with: the struct of tomorrow is the same call. */
	if (variant->cmd == GK_IOC_INFO) {
		variant->fill(buf);
		*(uint32_t *)buf = variant->len + 8;
		EXPECT_EQ(0, call(self->fd, variant->cmd + (8 << _IOC_SIZESHIFT), buf));
	}
}

TEST_F(structs, long_with_a_tail_of_junk)
{
	unsigned char buf[512] = { 0 };
	size_t at;

	for (at = variant->len; at < variant->len + 200; at += 37) {
		memset(buf, 0, sizeof(buf));
		variant->fill(buf);
		*(uint32_t *)buf = variant->len + 200;
		buf[at] = 1;
		EXPECT_EQ(-E2BIG, call(self->fd, variant->cmd, buf)) {
			TH_LOG("junk at %zu", at);
		}
	}
	/* One byte behind what `size` says is none of the call's business. */
	memset(buf, 0, sizeof(buf));
	variant->fill(buf);
	buf[variant->len] = 0x5a;
	EXPECT_EQ(0, call(self->fd, variant->cmd, buf));
	EXPECT_EQ(0x5a, buf[variant->len]);
}

TEST_F(structs, far_too_long)
{
	static char buf[16384];
	long ret;

	variant->fill(buf);
	*(uint32_t *)buf = sizeof(buf);
	ret = call(self->fd, variant->cmd, buf);
	EXPECT_TRUE(ret == -E2BIG || ret == -EINVAL || !ret) {
		TH_LOG("%ld", ret);
	}
	*(uint32_t *)buf = 0xffffffff;
	ret = call(self->fd, variant->cmd, buf);
	EXPECT_TRUE(ret == -E2BIG || ret == -EINVAL || ret == -EFAULT) {
		TH_LOG("%ld", ret);
	}
}

TEST_F(structs, bad_pointers)
{
	char *p;

	EXPECT_EQ(-EFAULT, call(self->fd, variant->cmd, NULL));
	EXPECT_EQ(-EFAULT, call(self->fd, variant->cmd, (void *)-1L));
	EXPECT_EQ(-EFAULT, call(self->fd, variant->cmd, (void *)0xffffffff81000000UL));
	EXPECT_EQ(-EFAULT, call(self->fd, variant->cmd, (void *)0x7fffffffe000UL));
	/* The last word is on a page that is not there. */
	p = page_end(variant->len - 4);
	{
		char buf[256] = { 0 };

		variant->fill(buf);
		memcpy(p, buf, variant->len - 4);
	}
	EXPECT_EQ(-EFAULT, call(self->fd, variant->cmd, p));
	/* The call succeeded or it did not: a good one goes through now. */
	p = page_end(variant->len);
	variant->fill(p);
	EXPECT_EQ(0, call(self->fd, variant->cmd, p));
}

TEST_F(structs, read_only_memory)
{
	char *p;

	if (!variant->out) {
		SKIP(return, "this call writes nothing back");
	}
	p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	variant->fill(p);
	ASSERT_EQ(0, mprotect(p, 4096, PROT_READ));
	EXPECT_EQ(-EFAULT, call(self->fd, variant->cmd, p));
	/* No group and no worker was left behind by the call that could not say so. */
	ASSERT_EQ(0, mprotect(p, 4096, PROT_READ | PROT_WRITE));
	EXPECT_EQ(0, call(self->fd, variant->cmd, p));
}

TEST_F(structs, unknown_flags)
{
	char buf[256];
	int bit;

	/* The first there is no name for: behind GK_SET_EPOLL, behind GK_ENTER_TASKLESS. */
	for (bit = variant->cmd == GK_IOC_SET ? 4 : variant->cmd == GK_IOC_ENTER ? 1 : 0; bit < 32; bit++) {
		memset(buf, 0, sizeof(buf));
		variant->fill(buf);
		*(uint32_t *)(buf + variant->flags) |= 1u << bit;
		EXPECT_EQ(-EINVAL, call(self->fd, variant->cmd, buf)) {
			TH_LOG("bit %d", bit);
		}
	}
}

TEST_F(structs, before_setup)
{
	char buf[256] = { 0 };
	int fd = open(RIG_DEV, O_RDWR);

	ASSERT_LE(0, fd);
	variant->fill(buf);
	EXPECT_EQ(variant->group ? -EINVAL : 0, call(fd, variant->cmd, buf));
	close(fd);
}

/* --- the calls that take a number --- */

static const unsigned long numbers[] = {
	GK_IOC_EXIT, GK_IOC_PARK, GK_IOC_WAKE, GK_IOC_ARM, GK_IOC_UNHOLD, GK_IOC_PULL, GK_IOC_STOP,
	GK_IOC_MOVE,
};

TEST(number_calls_before_setup)
{
	int fd = open(RIG_DEV, O_RDWR);
	unsigned int i;
	long ret;

	ASSERT_LE(0, fd);
	for (i = 0; i < ARRAY_LEN(numbers); i++) {
		ret = call(fd, numbers[i], 0);
		EXPECT_TRUE(ret == -EINVAL || ret == -EPERM) {
			TH_LOG("call %#lx: %ld", numbers[i], ret);
		}
	}
	EXPECT_EQ(0, close(fd));
}

TEST(unknown_calls)
{
	int before = open(RIG_DEV, O_RDWR), after = group_fd(), fd, i;
	unsigned int nr;

	for (i = 0; i < 2; i++) {
		fd = i ? after : before;
		for (nr = 0; nr < 256; nr++) {
			if ((nr >= 0x10 && nr <= 0x13) || (nr >= 0x20 && nr <= 0x27)) {
				continue;
			}
			EXPECT_EQ(-ENOTTY, call(fd, _IO(GK_IOC_MAGIC, nr), 0)) {
				TH_LOG("nr %#x", nr);
			}
			EXPECT_EQ(-ENOTTY, call(fd, _IOWR(GK_IOC_MAGIC, nr, struct gk_info), 0)) {
				TH_LOG("nr %#x with a struct", nr);
			}
		}
		/* Known numbers with another letter, or another direction. */
		EXPECT_EQ(-ENOTTY, call(fd, _IO('g', 0x21), 0));
		EXPECT_EQ(-ENOTTY, call(fd, _IOW(GK_IOC_MAGIC, 0x21, int), 0));
		EXPECT_EQ(-ENOTTY, call(fd, _IO(GK_IOC_MAGIC, 0x10), 0));
		EXPECT_EQ(-ENOTTY, call(fd, _IOR(GK_IOC_MAGIC, 0x13, struct gk_enter), 0));
		EXPECT_EQ(-ENOTTY, call(fd, 0x5401 /* TCGETS */, 0));
	}
}

TEST(bad_ids)
{
	static const unsigned long bad[] = { 1, 2, 255, 256, 257, 0x7fffffff, 0x80000000, 0xffffffff, 0x100000000, ~0UL };
	struct gk_enter e = { .size = sizeof(e) };
	struct gk_setup s = { 0 };
	unsigned int i;
	int fd = group_fd();

	(void)s;
	ASSERT_LE(0, fd);
	for (i = 0; i < ARRAY_LEN(bad); i++) {
		EXPECT_EQ(-ENOENT, call(fd, GK_IOC_WAKE, (void *)bad[i])) {
			TH_LOG("%#lx", bad[i]);
		}
		EXPECT_EQ(-ENOENT, call(fd, GK_IOC_ARM, (void *)bad[i])) {
			TH_LOG("%#lx", bad[i]);
		}
		EXPECT_EQ(-ENOENT, call(fd, GK_IOC_UNHOLD, (void *)bad[i])) {
			TH_LOG("%#lx", bad[i]);
		}
		EXPECT_EQ(-ENOENT, call(fd, GK_IOC_MOVE, (void *)bad[i])) {
			TH_LOG("%#lx", bad[i]);
		}
		e.core = bad[i];
		if (e.core) {
			EXPECT_EQ(-ENOENT, call(fd, GK_IOC_ENTER, &e)) {
				TH_LOG("%#x", e.core);
			}
		}
	}
	EXPECT_EQ(-ENOENT, call(fd, GK_IOC_UNHOLD, 0)) {
		TH_LOG("a worker that has not entered");
	}
	/* now as a worker: PULL needs one */
	e.core = 0;
	ASSERT_EQ(0, call(fd, GK_IOC_ENTER, &e));
	EXPECT_EQ(0, e.id);
	for (i = 0; i < ARRAY_LEN(bad); i++) {
		EXPECT_EQ(-ENOENT, call(fd, GK_IOC_PULL, (void *)bad[i])) {
			TH_LOG("%#lx", bad[i]);
		}
		EXPECT_EQ(-ENOENT, call(fd, GK_IOC_UNHOLD, (void *)bad[i])) {
			TH_LOG("%#lx", bad[i]);
		}
	}
}

TEST(wrong_numbers)
{
	struct gk_enter e = { .size = sizeof(e) };
	int fd = group_fd();

	ASSERT_EQ(0, call(fd, GK_IOC_ENTER, &e));
	EXPECT_EQ(-EINVAL, call(fd, GK_IOC_PARK, (void *)3));
	EXPECT_EQ(-EINVAL, call(fd, GK_IOC_PARK, (void *)0xffffffff));
	EXPECT_EQ(-EINVAL, call(fd, GK_IOC_PARK, (void *)(1UL << 32)));
	EXPECT_EQ(-EINVAL, call(fd, GK_IOC_EXIT, (void *)1));
	EXPECT_EQ(-EINVAL, call(fd, GK_IOC_STOP, (void *)1));
	EXPECT_EQ(0, call(fd, GK_IOC_EXIT, 0));
}

TEST(not_a_worker)
{
	int fd = group_fd();

	EXPECT_EQ(-EPERM, call(fd, GK_IOC_PARK, (void *)GK_PARK_STANDBY));
	EXPECT_EQ(-EPERM, call(fd, GK_IOC_PULL, 0));
	EXPECT_EQ(-EPERM, call(fd, GK_IOC_EXIT, 0));
}

TEST(double_setup)
{
	struct gk_setup s = { 0 };
	int fd = group_fd();

	fill_setup(&s);
	EXPECT_EQ(-EBUSY, call(fd, GK_IOC_SETUP, &s));
	/* And the group is as it was. */
	EXPECT_EQ(0, call(fd, GK_IOC_ARM, 0));
}

TEST(double_enter)
{
	struct gk_enter e = { .size = sizeof(e) };
	int a = group_fd(), b = group_fd();

	ASSERT_EQ(0, call(a, GK_IOC_ENTER, &e));
	EXPECT_EQ(-EBUSY, call(a, GK_IOC_ENTER, &e));
	EXPECT_EQ(-EBUSY, call(b, GK_IOC_ENTER, &e));
	/* A worker of one group is none of the other. */
	EXPECT_EQ(-EPERM, call(b, GK_IOC_PARK, (void *)GK_PARK_READY));
	EXPECT_EQ(-EPERM, call(b, GK_IOC_PULL, 0));
	EXPECT_EQ(-EPERM, call(b, GK_IOC_EXIT, 0));
	EXPECT_EQ(0, call(b, GK_IOC_ARM, 0));
	EXPECT_EQ(0, call(a, GK_IOC_EXIT, 0));
	EXPECT_EQ(0, call(b, GK_IOC_ENTER, &e));
	EXPECT_EQ(0, call(b, GK_IOC_EXIT, 0));
}

/* --- values --- */

TEST(info_says_what_setup_allows)
{
	struct gk_info i = { .size = sizeof(i) };
	int fd = open(RIG_DEV, O_RDWR);

	ASSERT_EQ(0, call(fd, GK_IOC_INFO, &i));
	EXPECT_EQ(GK_FEAT_BOUND | GK_FEAT_EPOLL | GK_FEAT_PULL | GK_FEAT_STOP | GK_FEAT_NOPREEMPT |
		  GK_FEAT_MOVE, i.features);
	EXPECT_LE(1, i.max_cores);
	EXPECT_GE(GK_MAX_CORES, i.max_cores);
	EXPECT_LE(i.max_cores, i.max_workers);
}

static long setup_with(void (*change)(struct gk_setup *s, struct gk_info *i))
{
	struct gk_info i = { .size = sizeof(i) };
	struct gk_setup s = { 0 }, good = { 0 };
	int fd = open(RIG_DEV, O_RDWR | O_CLOEXEC);
	long ret, again = 0;

	if (fd < 0 || ioctl(fd, GK_IOC_INFO, &i)) {
		return 1;
	}
	fill_setup(&s);
	change(&s, &i);
	/* Groups closed just now are freed, and counted out, a little later. */
	RIG_WAIT((ret = call(fd, GK_IOC_SETUP, &s)) != -EUSERS);
	/* A SETUP that failed leaves the descriptor as new. */
	fill_setup(&good);
	if (ret && !RIG_WAIT((again = call(fd, GK_IOC_SETUP, &good)) != -EUSERS)) {
		again = -EUSERS;
	}
	if (again) {
		ret = 2;
	}
	close(fd);
	return ret;
}

static uint32_t many_cpus[GK_MAX_CORES + 1];
static int not_eventfd;

static void c_no_cores(struct gk_setup *s, struct gk_info *i)
{
	s->ncores = 0;
}

static void c_many_cores(struct gk_setup *s, struct gk_info *i)
{
	s->ncores = i->max_cores + 1;
	s->max_workers = i->max_workers;
	s->cpus = (uintptr_t)many_cpus;
}

static void c_huge_cores(struct gk_setup *s, struct gk_info *i)
{
	s->ncores = 0xffffffff;
	s->max_workers = 0xffffffff;
}

static void c_no_workers(struct gk_setup *s, struct gk_info *i)
{
	s->max_workers = 0;
}

static void c_many_workers(struct gk_setup *s, struct gk_info *i)
{
	s->max_workers = i->max_workers + 1;
}

static void c_few_workers(struct gk_setup *s, struct gk_info *i)
{
	s->ncores = 2;
	s->cpus = (uintptr_t)many_cpus;
	s->max_workers = 1;
}

static void c_cpus_null(struct gk_setup *s, struct gk_info *i)
{
	s->cpus = 0;
}

static void c_cpus_kernel(struct gk_setup *s, struct gk_info *i)
{
	s->cpus = 0xffffffff81000000UL;
}

static void c_cpu_missing(struct gk_setup *s, struct gk_info *i)
{
	cpu0 = 100000;
}

static void c_cpu_negative(struct gk_setup *s, struct gk_info *i)
{
	cpu0 = 0xffffffff;
}

static void c_slice_short(struct gk_setup *s, struct gk_info *i)
{
	s->slice_ns = 100 * USEC - 1;
}

static void c_slice_long(struct gk_setup *s, struct gk_info *i)
{
	s->slice_ns = 10 * NSEC + 1;
}

static void c_grain_short(struct gk_setup *s, struct gk_info *i)
{
	s->grain_ns = 50 * USEC - 1;
}

static void c_grain_long(struct gk_setup *s, struct gk_info *i)
{
	s->slice_ns = MSEC;
	s->grain_ns = MSEC + 1;
}

static void c_manager_bad(struct gk_setup *s, struct gk_info *i)
{
	s->manager_fd = -2;
}

static void c_manager_closed(struct gk_setup *s, struct gk_info *i)
{
	s->manager_fd = 987;
}

static void c_manager_wrong(struct gk_setup *s, struct gk_info *i)
{
	s->manager_fd = not_eventfd;
}

TEST(setup_values)
{
	long ret;

	not_eventfd = open("/dev/null", O_RDWR);
	EXPECT_EQ(-EINVAL, setup_with(c_no_cores));
	EXPECT_EQ(-EINVAL, setup_with(c_many_cores));
	EXPECT_EQ(-EINVAL, setup_with(c_huge_cores));
	EXPECT_EQ(-EINVAL, setup_with(c_no_workers));
	EXPECT_EQ(-EINVAL, setup_with(c_many_workers));
	EXPECT_EQ(-EINVAL, setup_with(c_few_workers));
	EXPECT_EQ(-EFAULT, setup_with(c_cpus_null));
	EXPECT_EQ(-EFAULT, setup_with(c_cpus_kernel));
	EXPECT_EQ(-EINVAL, setup_with(c_cpu_missing));
	EXPECT_EQ(-EINVAL, setup_with(c_cpu_negative));
	EXPECT_EQ(-EINVAL, setup_with(c_slice_short));
	EXPECT_EQ(-EINVAL, setup_with(c_slice_long));
	EXPECT_EQ(-EINVAL, setup_with(c_grain_short));
	EXPECT_EQ(-EINVAL, setup_with(c_grain_long));
	ret = setup_with(c_manager_bad);
	EXPECT_TRUE(ret == -EINVAL || ret == -EBADF);
	ret = setup_with(c_manager_closed);
	EXPECT_TRUE(ret == -EINVAL || ret == -EBADF);
	EXPECT_EQ(-EINVAL, setup_with(c_manager_wrong));
}

/* Thousands of SETUPs that fail late: what they took is given back, or the limit of groups would be reached. */
TEST(failed_setups_leak_nothing)
{
	int i;

	not_eventfd = open("/dev/null", O_RDWR);
	for (i = 0; i < 500; i++) {
		ASSERT_EQ(-EINVAL, setup_with(c_manager_wrong));
		ASSERT_EQ(-EFAULT, setup_with(c_cpus_null));
		ASSERT_EQ(-EINVAL, setup_with(c_cpu_missing));
	}
}

TEST(set_values)
{
	struct gk_set s;
	struct epoll_event e = { .events = EPOLLIN };
	int fd = group_fd(), bad, ev;
	long ret;

#define SET(...) ({ s = (struct gk_set){ .size = sizeof(s), __VA_ARGS__ }; call(fd, GK_IOC_SET, &s); })
	EXPECT_EQ(0, SET(.mask = GK_SET_SLICE, .slice_ns = 100 * USEC, .grain_ns = 1));
	EXPECT_EQ(0, SET(.mask = GK_SET_SLICE, .slice_ns = 10 * NSEC));
	EXPECT_EQ(0, SET(.mask = GK_SET_SLICE));
	EXPECT_EQ(-EINVAL, SET(.mask = GK_SET_SLICE, .slice_ns = 100 * USEC - 1));
	EXPECT_EQ(-EINVAL, SET(.mask = GK_SET_SLICE, .slice_ns = 10 * NSEC + 1));
	EXPECT_EQ(-EINVAL, SET(.mask = GK_SET_SLICE, .slice_ns = ~0ULL));
	EXPECT_EQ(0, SET(.mask = GK_SET_GRAIN, .grain_ns = 50 * USEC));
	EXPECT_EQ(0, SET(.mask = GK_SET_GRAIN));
	EXPECT_EQ(-EINVAL, SET(.mask = GK_SET_GRAIN, .grain_ns = 50 * USEC - 1));
	EXPECT_EQ(-EINVAL, SET(.mask = GK_SET_GRAIN, .grain_ns = 10 * MSEC + 1));
	EXPECT_EQ(0, SET(.mask = GK_SET_SLICE | GK_SET_GRAIN, .slice_ns = MSEC, .grain_ns = MSEC));
	EXPECT_EQ(0, SET(.mask = GK_SET_BOUND, .bound = 0));
	EXPECT_EQ(0, SET(.mask = GK_SET_BOUND, .bound = 0xffffffff));
	EXPECT_EQ(0, SET(.mask = GK_SET_EPOLL, .epoll_fd = -1));
	ret = SET(.mask = GK_SET_EPOLL, .epoll_fd = -2);
	EXPECT_TRUE(ret == -EINVAL || ret == -EBADF);
	ret = SET(.mask = GK_SET_EPOLL, .epoll_fd = 987);
	EXPECT_TRUE(ret == -EINVAL || ret == -EBADF);
	/* A regular file, the device itself, and an eventfd are no epoll file. */
	bad = open("/proc/self/exe", O_RDONLY);
	ret = SET(.mask = GK_SET_EPOLL, .epoll_fd = bad);
	EXPECT_EQ(-EINVAL, ret);
	EXPECT_EQ(-EINVAL, SET(.mask = GK_SET_EPOLL, .epoll_fd = fd));
	ev = eventfd(0, 0);
	EXPECT_EQ(-EINVAL, SET(.mask = GK_SET_EPOLL, .epoll_fd = ev));
	bad = epoll_create1(0);
	ASSERT_EQ(0, epoll_ctl(bad, EPOLL_CTL_ADD, ev, &e));
	EXPECT_EQ(0, SET(.mask = GK_SET_EPOLL, .epoll_fd = bad));
	EXPECT_EQ(0, SET(.mask = GK_SET_EPOLL, .epoll_fd = bad));
	EXPECT_EQ(0, SET(.mask = GK_SET_EPOLL, .epoll_fd = -1));
#undef SET
}

/* A call that fails in one of its values changes none of them. */
TEST(set_is_all_or_nothing)
{
	struct rig r;
	struct gk_set s = { .size = sizeof(s), .mask = GK_SET_SLICE | GK_SET_BOUND, .bound = 5, .slice_ns = 1 };
	struct rig_worker *h, *sb;

	/* The slice is ten seconds and stays so: nobody is preempted after a call that would have made it one. */
	ASSERT_EQ(0, rig_open(&r, &(struct rig_opt){ .bound = 1 }));
	sb = rig_standby(&r, 0, NULL, NULL);
	ASSERT_NE(NULL, sb);
	h = rig_spawn(&r, 0, rig_hog, NULL);
	ASSERT_NE(NULL, h);
	EXPECT_EQ(-EINVAL, rig_call(&r, GK_IOC_SET, (uintptr_t)&s));
	s.mask = GK_SET_SLICE | GK_SET_GRAIN | GK_SET_EPOLL;
	s.slice_ns = 100 * USEC;
	s.grain_ns = 100 * USEC;
	s.epoll_fd = 987;
	EXPECT_GT(0, rig_call(&r, GK_IOC_SET, (uintptr_t)&s));
	rig_push(&r, 0);
	EXPECT_TRUE(rig_wait_cpu(h, 100 * MSEC));
	EXPECT_EQ(0, rig_core(&r, 0)->preempts);
	rig_close(&r);
}

TEST_NO_LEAK

TEST_HARNESS_MAIN
