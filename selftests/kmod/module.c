// SPDX-License-Identifier: GPL-2.0-only
/*
 * module.c - the module itself: rmmod is refused while it is used and clean afterwards; memory is charged to its user.
 *
 * Runs last in its guest: it takes the module away and puts it back (GK_KO names the file). Rules 13 and 14.
 */
#include "moment.h"
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

static int unload(void)
{
	return syscall(SYS_delete_module, "gk", O_NONBLOCK) ? -errno : 0;
}

static int load(void)
{
	const char *ko = getenv("GK_KO");
	int fd = open(ko, O_RDONLY | O_CLOEXEC), ret;

	if (fd < 0)
		return -errno;
	ret = syscall(SYS_finit_module, fd, "", 0) ? -errno : 0;
	close(fd);
	/* devtmpfs makes the node before finit_module returns */
	return ret ?: access(RIG_DEV, F_OK) ? -errno : 0;
}

static const char *why_not(void)
{
	const char *ko = getenv("GK_KO");

	if (geteuid())
		return "needs root";
	if (!ko || access(ko, R_OK))
		return "no module file (GK_KO)";
	if (rig_refcnt() < 0)
		return "no module loaded";
	if (rig_refcnt() > 0)
		return "somebody else uses the module";
	return NULL;
}

/* Each time the module goes and comes, the kernel patches its scheduler for the preemption notifiers. */
static const char *why_no_reload(void)
{
	const char *why = scene_patches(NULL);

	return why ? why + strlen(SCENE_SKIP) : why_not();
}

static void reader(struct rig_worker *w)
{
	int *fd = w->arg;
	char ch;

	w->ret = rig_read_mark(fd[0], &ch, 1, &w->mark);
}

TEST(rmmod_is_refused_while_used_and_clean_after)
{
	const char *skip = why_no_reload();
	struct rig_worker *s, *a;
	struct rig r;
	int fd[2], i;

	if (skip)
		SKIP(return, "%s", skip);
	for (i = 0; i < 10; i++) {
		fd[0] = open(RIG_DEV, O_RDWR);
		ASSERT_LE(0, fd[0]);
		EXPECT_EQ(-EAGAIN, unload()) TH_LOG("an open descriptor");
		close(fd[0]);
		ASSERT_EQ(0, pipe(fd));
		ASSERT_EQ(0, rig_open(&r, &(struct rig_opt){ .bound = 1 }));
		EXPECT_EQ(-EAGAIN, unload()) TH_LOG("a group");
		s = rig_standby(&r, 0, NULL, NULL);
		a = rig_spawn(&r, 0, reader, fd);
		ASSERT_TRUE(s && a);
		ASSERT_STATE(a, GK_W_BLOCKED);
		EXPECT_EQ(-EAGAIN, unload()) TH_LOG("parked and blocked workers");
		ASSERT_EQ(1, write(fd[1], "x", 1));
		rig_close(&r);
		ASSERT_TRUE(RIG_WAIT(rig_refcnt() == 0));
		ASSERT_EQ(0, unload());
		EXPECT_EQ(-1, open(RIG_DEV, O_RDWR));
		ASSERT_EQ(0, load());
		close(fd[0]);
		close(fd[1]);
	}
}

/* Workers of killed processes are freed behind the back of everybody; the module may go the moment nobody refers to it. */
TEST(rmmod_right_after_kill)
{
	const char *skip = why_no_reload();
	struct rig r;
	int fd[2], i;
	pid_t pid;
	char ch;

	if (skip)
		SKIP(return, "%s", skip);
	for (i = 0; i < 10; i++) {
		ASSERT_EQ(0, pipe(fd));
		pid = fork();
		if (!pid) {
			if (rig_open(&r, &(struct rig_opt){ .bound = 1, .slice = MSEC, .grain = 100 * USEC }) ||
			    !rig_standby(&r, 0, rig_hold_core, NULL) || !rig_spawn(&r, 0, rig_hog, NULL))
				_exit(1);
			rig_push(&r, 0);
			if (write(fd[1], "r", 1) != 1)
				_exit(2);
			for (;;)
				pause();
		}
		close(fd[1]);
		ASSERT_EQ(1, read(fd[0], &ch, 1));
		kill(pid, SIGKILL);
		ASSERT_EQ(pid, waitpid(pid, NULL, 0));
		ASSERT_TRUE(RIG_WAIT(unload() == 0)) TH_LOG("refcnt %ld", rig_refcnt());
		ASSERT_EQ(0, load());
		close(fd[0]);
	}
}

/* --- and in every state of a worker (scene.h) --- */

static const char *removable(struct scene *sc)
{
	const char *skip = why_not();

	return skip ? scene_why(sc, SCENE_SKIP "%s", skip) : NULL;
}

static const char *rmmod(struct scene *sc)
{
	int err = unload();

	return err == -EAGAIN ? NULL : scene_why(sc, "rmmod: %s", err ? strerror(-err) : "it is gone");
}

static void reload(struct scene *sc)
{
	if (!sc->pid)
		return;
	/* Not as soon as the process is gone: as soon as nobody refers to it. */
	if (RIG_WAIT(unload() == 0))
		load();
}

MOMENT(rmmod_is_refused, .before = removable, .outside = rmmod)

static const char *sigkill(struct scene *sc)
{
	return kill(sc->pid, SIGKILL) ? "it cannot be killed" : NULL;
}

static const char *reloadable(struct scene *sc)
{
	return scene_patches(sc) ?: removable(sc);
}

MOMENT(rmmod_right_after_sigkill, .before = reloadable, .outside = sigkill, .after = reload, .status = SIGKILL)

/* --- rule 14 --- */

static long file_number(const char *path)
{
	long n = -1;
	FILE *f = fopen(path, "r");

	if (f) {
		if (fscanf(f, "%ld", &n) != 1)
			n = -1;
		fclose(f);
	}
	return n;
}

/*
 * A child joins a cgroup of its own and makes one group after another, as large as they get. What the module allocates for
 * them must be found in the cgroup's account.
 */
TEST(the_mapping_is_charged_to_the_user)
{
	char dir[80], path[128];
	struct gk_info info = { .size = sizeof(info) };
	int in[2], out[2], fd, status;
	long before, after;
	uint64_t size;
	pid_t pid;
	char ch;

	if (access("/sys/fs/cgroup/cgroup.controllers", F_OK))
		mount("none", "/sys/fs/cgroup", "cgroup2", 0, NULL);
	file_put("/sys/fs/cgroup/cgroup.subtree_control", "+memory");
	snprintf(dir, sizeof(dir), "/sys/fs/cgroup/gk-mem-%d", getpid());
	snprintf(path, sizeof(path), "%s/memory.current", dir);
	if (mkdir(dir, 0755) || access(path, F_OK)) {
		rmdir(dir);
		SKIP(return, "no memory cgroup this user may make");
	}
	fd = open(RIG_DEV, O_RDWR);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, ioctl(fd, GK_IOC_INFO, &info));
	close(fd);
	ASSERT_EQ(0, pipe(in));
	ASSERT_EQ(0, pipe(out));
	pid = fork();
	if (!pid) {
		char num[16];
		struct rig r;

		snprintf(path, sizeof(path), "%s/cgroup.procs", dir);
		snprintf(num, sizeof(num), "%d", getpid());
		if (file_put(path, num) || write(out[1], "j", 1) != 1 || read(in[0], &ch, 1) != 1)
			_exit(1);
		if (rig_open(&r, &(struct rig_opt){ .max_workers = info.max_workers }))
			_exit(2);
		size = r.s.map_size;
		if (write(out[1], &size, sizeof(size)) != sizeof(size) || read(in[0], &ch, 1) != 1)
			_exit(3);
		_exit(0);
	}
	ASSERT_EQ(1, read(out[0], &ch, 1));
	before = file_number(path);
	ASSERT_EQ(1, write(in[1], "x", 1));
	ASSERT_EQ(sizeof(size), read(out[0], &size, sizeof(size)));
	/* The kernel accounts in batches per CPU: it is exact to 64 pages or so. */
	EXPECT_TRUE(RIG_WAIT((after = file_number(path)) - before >= (long)size - 64 * 4096))
		TH_LOG("%lu bytes mapped, %ld bytes charged", (unsigned long)size, after - before);
	ASSERT_EQ(1, write(in[1], "x", 1));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_TRUE(RIG_WAIT(!rmdir(dir)));
}

TEST_NO_LEAK

TEST_HARNESS_MAIN
