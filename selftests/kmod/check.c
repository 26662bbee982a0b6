// SPDX-License-Identifier: GPL-2.0-only
/*
 * check.c - the module's own checks, of a build with GK_DEBUG=1: each finds what is planted for it through debugfs, says which
 * core and worker it is about, and the group goes no further.
 */
#include "test.h"
#include "tracefs.h"
#include <fcntl.h>
#include <sys/klog.h>

#define PLANT	"/sys/kernel/debug/gk/plant"

static int plant(uint32_t group, const char *kind)
{
	int fd = open(PLANT, O_WRONLY), err = 0;
	char text[64];

	if (fd < 0)
		return -errno;
	snprintf(text, sizeof(text), "%u %s", group, kind);
	if (write(fd, text, strlen(text)) < 0)
		err = -errno;
	close(fd);
	return err;
}

/* The kernel log has a line of this group with the text in it. */
static bool said(uint32_t group, const char *text)
{
	static char log[1 << 20];
	char head[64], *p;
	int n = klogctl(3, log, sizeof(log) - 1);	/* read all */

	if (n < 0)
		return false;
	log[n] = '\0';
	snprintf(head, sizeof(head), "gk: planted: group %u core 0 ", group);
	p = strstr(log, head);
	if (!p)
		return false;
	p[strcspn(p, "\n")] = '\0';
	return strstr(p, text);
}

static void quiet(struct rig_worker *w)
{
	while (rig_park(w, GK_PARK_STANDBY) >= 0)
		;
	atomic_store(&w->aux, errno);
	while (!atomic_load(&w->stop))
		rig_nap();
}

static void planted(struct __test_metadata *_metadata, const char *kind, const char *text)
{
	struct gk_set set = { .size = sizeof(set), .mask = GK_SET_BOUND, .bound = 1 };
	struct gk_info info = { .size = sizeof(info) };
	struct rig_worker *w, *s;
	char path[64], line[512] = "", worker[64];
	struct rig r, other;
	uint32_t group;
	FILE *f;

	if (access(PLANT, W_OK))
		SKIP(return, "gk.ko is no build with GK_DEBUG=1");
	ASSERT_EQ(0, rig_open(&r, &(struct rig_opt){ .bound = 1 }));
	ASSERT_EQ(0, rig_open(&other, &(struct rig_opt){ .bound = 1 }));
	group = tracefs_group(r.fd);
	ASSERT_NE(0, group);
	w = rig_spawn(&r, 0, quiet, NULL);
	ASSERT_NE(NULL, w);
	ASSERT_TRUE(RIG_WAIT(rig_parked(w, GK_W_STANDBY)));
	EXPECT_EQ(-EINVAL, plant(group, "nonsense"));
	EXPECT_EQ(-ENOENT, plant(group + 1000000, kind));
	EXPECT_LE(0, rig_call(&r, GK_IOC_WAKE, 0)) TH_LOG("all is well until then");
	ASSERT_TRUE(RIG_WAIT(rig_parked(w, GK_W_STANDBY)));
	ASSERT_EQ(0, plant(group, kind));

	/* It says so, and names the worker. */
	ASSERT_TRUE(RIG_WAIT(said(group, text)));
	snprintf(worker, sizeof(worker), "%d(tid=%d ", w->id, w->tid);
	if (strcmp(kind, "count") && strcmp(kind, "armed")) {
		EXPECT_TRUE(said(group, worker));
	}
	/* It goes no further: every call, and the worker, whatever it waits for. */
	EXPECT_EQ(-EIO, rig_call(&r, GK_IOC_WAKE, 0));
	EXPECT_EQ(-EIO, rig_call(&r, GK_IOC_SET, (unsigned long)&set));
	EXPECT_EQ(0, rig_call(&r, GK_IOC_INFO, (unsigned long)&info));
	EXPECT_TRUE(RIG_WAIT(atomic_load(&w->aux) == EIO));
	snprintf(path, sizeof(path), "/sys/kernel/debug/gk/%u", group);
	f = fopen(path, "re");
	ASSERT_NE(NULL, f);
	EXPECT_NE(NULL, fgets(line, sizeof(line), f));
	fclose(f);
	EXPECT_NE(NULL, strstr(line, " dead=1 broken=1"));
	/* Others are not concerned. */
	s = rig_standby(&other, 0, NULL, NULL);
	ASSERT_NE(NULL, s);
	rig_push(&other, 0);
	EXPECT_TRUE(RIG_WAIT(atomic_load(&s->taken) == 1));
	atomic_store(&w->stop, 1);
	ASSERT_TRUE(RIG_WAIT(atomic_load(&w->done)));
	rig_close(&r);
	rig_close(&other);
}

TEST(a_count_that_is_not_its_lists_length)
{
	planted(_metadata, "count", "running is not the length of its list");
}

TEST(a_state_that_does_not_fit_its_list)
{
	planted(_metadata, "list", "on the list of STANDBYs");
}

TEST(a_core_stalled_by_one_that_does_not_sleep)
{
	planted(_metadata, "stalled", "stalls the core, but is not blocked");
}

TEST(a_transition_that_there_is_not)
{
	planted(_metadata, "transition", "no such transition");
}

TEST(a_grant_beside_others)
{
	planted(_metadata, "grant", "granted though others run");
}

TEST(a_ready_worker_that_nobody_grants)
{
	planted(_metadata, "settled", "READY, and nobody granted");
}

TEST(a_timer_that_does_not_run)
{
	planted(_metadata, "armed", "armed, but its timer is not");
}

TEST(a_wake_up_that_is_lost)
{
	planted(_metadata, "asleep", "granted, and asleep for seconds");
}

TEST_NO_LEAK

TEST_HARNESS_MAIN
