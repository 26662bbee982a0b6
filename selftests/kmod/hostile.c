// SPDX-License-Identifier: GPL-2.0-only
/*
 * hostile.c - every value in shared memory is hostile: a process that writes garbage over all of it harms itself only.
 *
 * The verdict is threefold: the process can still be killed, the module's references come back, and the kernel log has
 * nothing to say (qemu/run looks at it after the test). A second process's group meanwhile works as always.
 *
 * Contract 7; rules 12 and 13.
 */
#include "test.h"
#include <signal.h>
#include <sys/wait.h>

static const uint64_t nasty[] = {
	0, 1, 2, 0x7f, 0x80, 0xff, 0x100, 0xffff, 0x7fffffff, 0x80000000, 0x80000001, 0xfffffffe, 0xffffffff, 0x100000000,
	0x7fffffffffffffff, 0x8000000000000000, 0xffffffffffffffff, 0xffff888000000000, 0xffffffff81000000,
};

static void parker(struct rig_worker *w)
{
	for (;;) {
		rig_park(w, (atomic_fetch_add(&w->beats, 1) + w->id) % 3);
		if (atomic_load(&w->beats) % 64 == 0)
			sched_yield();
	}
}

static void short_block(struct rig_worker *w)
{
	struct timespec t = { 0, 1000 };

	nanosleep(&t, NULL);
	(void)w;
}

static void blocker(struct rig_worker *w)
{
	for (;;)
		short_block(w);
}

/* Writes all over the mapping, the module's lines too, and calls everything with anything. For ever. */
static void vandal(unsigned int seed, bool module_lines, int ready)
{
	static const struct rig_opt opt = { .bound = 2, .ncores = 4, .max_workers = 32, .slice = 100 * USEC,
					    .grain = 50 * USEC };
	static const rig_fn fn[] = { parker, blocker, rig_hog, rig_consumer };
	uint32_t *word, *last;
	struct rig r;
	unsigned int i;

	if (rig_open(&r, &opt))
		_exit(1);
	for (i = 0; i < 12; i++)
		if (!rig_spawn(&r, i % 4, fn[i / 4 % 4], NULL))
			_exit(2);
	for (i = 0; i < 4; i++)
		rig_spawn(&r, i, rig_consumer, NULL);
	if (write(ready, "r", 1) != 1)
		_exit(3);
	word = (uint32_t *)r.map;
	last = (uint32_t *)(r.map + r.s.map_size);
	for (;;) {
		uint64_t v = rand_r(&seed) & 1 ? nasty[rand_r(&seed) % ARRAY_LEN(nasty)] : (uint64_t)rand_r(&seed) * rand_r(&seed);
		struct gk_core_page *c = rig_core(&r, rand_r(&seed) % 4);

		switch (rand_r(&seed) % 16) {
		case 0:
			WRITE_ONCE(c->word, v);
			break;
		case 1:
			WRITE_ONCE(c->q_tail, v);
			break;
		case 2:
			WRITE_ONCE(c->q_head, v);
			break;
		case 3:
			WRITE_ONCE(c->deadline, v);
			break;
		case 4:
			WRITE_ONCE(c->deadline, rig_now() + v % MSEC);
			break;
		case 5:
			WRITE_ONCE(c->q_next, v);
			WRITE_ONCE(c->urgent, v);
			break;
		case 6:
			WRITE_ONCE(rig_group(&r)->searching, v);
			WRITE_ONCE(rig_group(&r)->gq_len, v);
			WRITE_ONCE(rig_group(&r)->net_seen, v);
			break;
		case 7:
			WRITE_ONCE(rig_page(&r, rand_r(&seed) % 32)->switches, v);
			break;
		case 8:
			if (module_lines)
				WRITE_ONCE(word[rand_r(&seed) % (last - word)], v);
			break;
		case 9:
			if (module_lines)
				memset(r.map, v, r.s.map_size);
			break;
		case 10:
			rig_call(&r, GK_IOC_WAKE, v % 6);
			break;
		case 11:
			rig_call(&r, GK_IOC_ARM, v % 6);
			break;
		case 12:
			rig_call(&r, GK_IOC_UNHOLD, v % 40);
			break;
		case 13:
			rig_call(&r, GK_IOC_PARK + v % 7, v);		/* STOP too, sooner or later */
			break;
		default:
			rig_call(&r, GK_IOC_UNHOLD, rand_r(&seed) % 16);
			break;
		}
	}
}

static void run_vandals(struct __test_metadata *_metadata, bool module_lines)
{
	unsigned int i, n = rig_count(0) ? 100 : 8;
	struct rig_worker *s;
	struct rig r;
	int fd[2], status;
	pid_t pid;
	char ch;

	ASSERT_EQ(0, rig_open(&r, &(struct rig_opt){ .bound = 1 }));
	s = rig_standby(&r, 0, NULL, NULL);
	ASSERT_NE(NULL, s);
	for (i = 0; i < n; i++) {
		struct timespec t = { 0, 300 * MSEC };
		unsigned long k, before = atomic_load(&s->taken);

		ASSERT_EQ(0, pipe(fd));
		pid = fork();
		if (!pid)
			vandal(i * 77 + 5, module_lines, fd[1]);
		close(fd[1]);
		ASSERT_EQ(1, read(fd[0], &ch, 1));
		close(fd[0]);
		/* The bystander's group is served meanwhile. */
		for (k = 1; k <= 50; k++) {
			rig_push(&r, 0);
			ASSERT_TRUE(RIG_WAIT(atomic_load(&s->taken) == before + k)) TH_LOG("vandal %u, task %lu", i, k);
		}
		nanosleep(&t, NULL);	/* more vandalism; nothing is expected of it */
		kill(pid, SIGKILL);
		ASSERT_TRUE(RIG_WAIT(waitpid(pid, &status, WNOHANG) == pid)) TH_LOG("vandal %u does not die", i);
		EXPECT_EQ(SIGKILL, status);
	}
	EXPECT_STATE(s, GK_W_STANDBY);
	rig_close(&r);
}

TEST(garbage_in_the_library_s_words)
{
	run_vandals(_metadata, false);
}

TEST(garbage_in_the_module_s_words)
{
	run_vandals(_metadata, true);
}

/* What is written over a module's line is overwritten, never read back. */
TEST(a_module_s_word_is_written_again)
{
	struct gk_core_page *c;
	struct rig_worker *s;
	struct rig r;

	ASSERT_EQ(0, rig_open(&r, &(struct rig_opt){ .bound = 1 }));
	c = rig_core(&r, 0);
	s = rig_standby(&r, 0, NULL, NULL);
	ASSERT_NE(NULL, s);
	WRITE_ONCE(c->running, 77);
	WRITE_ONCE(c->nstandby, 77);
	WRITE_ONCE(rig_wp(s)->state, GK_W_RUNNING);
	WRITE_ONCE(rig_wp(s)->seq, 12345);
	rig_push_quiet(&r, 0);
	EXPECT_EQ(1, rig_call(&r, GK_IOC_WAKE, 0)) TH_LOG("the module believed what it read");
	EXPECT_TRUE(RIG_WAIT(atomic_load(&s->taken) == 1));
	EXPECT_STATE(s, GK_W_STANDBY);
	EXPECT_TRUE(RIG_WAIT(c->running == 0 && c->nstandby == 1));
	EXPECT_GT(1000, rig_wp(s)->seq);
	rig_close(&r);
}

TEST_NO_LEAK

TEST_HARNESS_MAIN
