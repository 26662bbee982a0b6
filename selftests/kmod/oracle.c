// SPDX-License-Identifier: GPL-2.0-only
/*
 * oracle.c - random work, watched through the trace events, which replay.c judges: transitions, their reasons, whose turn it
 * is, the bound, the counts of each core after each event, and at the end every counter there is in the shared pages.
 *
 * Then the oracle itself: events that were lost are no violation, and what is no legal sequence is found to be none.
 * GK_COUNT sets the number of tasks.
 */
#include "test.h"
#include "replay.h"
#include <signal.h>
#include <sys/mman.h>

#define QUICK	2000UL
#define BUFFER	4096		/* KiB a CPU */

#define SIGNALS	1		/* workers get signals, whatever they are doing */
#define STRAYS	2		/* and are moved to other CPUs */
#define STOP	4		/* the group is stopped half way */

struct run {
	unsigned int ncores, bound, workers, what;
	unsigned int buffer;	/* KiB a CPU; 0: BUFFER */
	bool unread;		/* nobody reads the events until all is done */
};

static uint64_t draw(uint64_t *x)
{
	*x ^= *x << 13;
	*x ^= *x >> 7;
	*x ^= *x << 17;
	return *x;
}

static void short_block(void)
{
	struct timespec t = { 0, 1000 };

	nanosleep(&t, NULL);
}

/* A task: one of the things that a task may do to its core. */
static void task(struct rig_worker *w, uint64_t dice)
{
	struct gk_core_page *c = rig_cp(w);
	volatile unsigned long x = 0;
	uint32_t nobody = 0;
	unsigned int i;

	switch (dice % 16) {
	case 0 ... 5:
		short_block();
		break;
	case 6 ... 8:
		for (i = 0; i < dice % 200000; i++)
			x += i;
		break;
	case 9 ... 11:
		rig_park(w, GK_PARK_READY);
		break;
	case 12:
		rig_park(w, GK_PARK_HELD);
		break;
	case 13:
		/* What the library must not do: it sleeps with the core word. */
		if (!__atomic_compare_exchange_n(&c->word, &nobody, w->id + 1, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
			break;
		short_block();
		__atomic_store_n(&c->word, 0, __ATOMIC_SEQ_CST);
		break;
	case 14:
		if (w->rig->s.ncores > 1)
			rig_call(w->rig, GK_IOC_PULL, (w->core + 1) % w->rig->s.ncores);
		break;
	}
}

static void taker(struct rig_worker *w)
{
	uint64_t dice = (w->id + 1) * 0x9e3779b97f4a7c15ULL;
	struct gk_worker_page *p = rig_wp(w);
	long ret;

	while (!atomic_load(&w->stop)) {
		/* Another core's worker may have pulled it there. */
		w->core = READ_ONCE(p->core);
		/* Where the other core has tasks, too, a park returns at once: who does not take them then never rests. */
		if (rig_take(w->rig, w->core) || (w->rig->s.ncores > 1 && rig_take(w->rig, !w->core))) {
			WRITE_ONCE(p->switches, p->switches + 1);
			task(w, draw(&dice));
			atomic_fetch_add(&w->taken, 1);
			continue;
		}
		ret = rig_park(w, GK_PARK_STANDBY);
		if (ret == -ESHUTDOWN)
			return;
		if (ret < 0) {
			atomic_store(&w->err, -ret);
			return;
		}
	}
}

static unsigned long taken_by(struct rig *r)
{
	unsigned long sum = 0;
	unsigned int i;

	for (i = 0; i < r->nw; i++)
		sum += atomic_load(&r->w[i]->taken);
	return sum;
}

static void unhold_all(struct rig *r)
{
	unsigned int i;

	for (i = 0; i < r->nw; i++)
		if (rig_state(r->w[i]) == GK_W_HELD)
			rig_call(r, GK_IOC_UNHOLD, r->w[i]->id);
}

static void move(struct rig *r, struct rig_worker *w, unsigned int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	pthread_setaffinity_np(w->thread, sizeof(set), &set);
}

static void disturb(struct rig *r, unsigned int what, uint64_t dice)
{
	struct rig_worker *w = r->w[dice % r->nw];

	if (what & SIGNALS && dice >> 20 & 1)
		pthread_kill(w->thread, SIGUSR1);
	if (what & STRAYS && dice >> 21 & 1)
		move(r, w, rig_nth_cpu(dice >> 22));
	/* To whatever CPU we are on; while a worker runs there it stays. */
	if (what & STRAYS && !(dice >> 40 & 15))
		rig_call(r, GK_IOC_MOVE, (dice >> 44) % r->s.ncores);
}

/*
 * Moved back for good, and let go of: false if one is not a STANDBY in the end, with all tasks done. One that parks is a STANDBY for
 * a moment even where there is work for it.
 */
static bool all_at_rest(struct rig *r, unsigned long tasks)
{
	return RIG_WAIT(({
		unsigned int i, n = 0;

		unhold_all(r);
		for (i = 0; i < r->nw; i++) {
			n += rig_state(r->w[i]) == GK_W_STANDBY;
			if (READ_ONCE(rig_wp(r->w[i])->flags) & GK_WF_STRAY)
				move(r, r->w[i], READ_ONCE(rig_core(r, READ_ONCE(rig_wp(r->w[i])->core))->cpu));
		}
		n == r->nw && taken_by(r) == tasks;
	}));
}

/* Neither running nor about to be: what a stopped group's workers come to. */
static bool all_stopped(struct rig *r)
{
	return RIG_WAIT(({
		unsigned int i, n = 0;

		for (i = 0; i < r->nw; i++) {
			switch (rig_state(r->w[i])) {
			case GK_W_STOPPED:
			case GK_W_READY:
			case GK_W_HELD:
			case GK_W_DEAD:
				n++;
			}
		}
		n == r->nw;
	}));
}

static void nothing(int sig)
{
}

static void copy_counters(struct rig *r, uint64_t to[][REPLAY_COUNTERS])
{
	unsigned int i, n;

	for (i = 0; i < r->s.ncores; i++)
		for (n = 0; n < REPLAY_COUNTERS; n++)
			to[i][n] = READ_ONCE((&rig_core(r, i)->blocks)[n]);
}

/* What the module says about it, where somebody waits in vain. */
static void show_group(struct __test_metadata *_metadata, struct rig *r, uint32_t group)
{
	char path[64], line[1024];
	unsigned int i;
	FILE *f;

	for (i = 0; i < r->nw; i++) {
		TH_LOG("thread %d: %c", r->w[i]->tid, rig_task_state(r->w[i]->tid));
		snprintf(path, sizeof(path), "/proc/self/task/%d/stack", r->w[i]->tid);
		f = fopen(path, "re");
		while (f && fgets(line, sizeof(line), f))
			TH_LOG("  %.*s", (int)strcspn(line, "\n"), line);
		if (f)
			fclose(f);
	}

	snprintf(path, sizeof(path), "/sys/kernel/debug/gk/%u", group);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f))
		TH_LOG("%.*s", (int)strcspn(line, "\n"), line);
	if (f)
		fclose(f);
}

/* What came before the event at which the model stopped, on its core. */
static void show_story(struct __test_metadata *_metadata, const struct replay *model, const struct trace_event *events)
{
	const struct trace_event *last = &events[model->at];
	size_t i, from = model->at, n = 0;
	char line[256];

	while (from && n < 60)
		n += events[--from].core == last->core || events[from].worker == last->worker;
	for (i = from; i <= model->at; i++) {
		if (events[i].core != last->core && events[i].worker != last->worker)
			continue;
		trace_print(line, sizeof(line), &events[i]);
		TH_LOG("  %s", line);
	}
}

/* Does it, and leaves the events and what the model made of them. */
static void watched_run(struct __test_metadata *_metadata, const struct run *run, struct replay *model,
			struct trace_event **events, size_t *nevents)
{
	const struct rig_opt opt = { .ncores = run->ncores, .bound = run->bound, .slice = MSEC, .grain = 100 * USEC };
	static uint64_t before[RIG_CORES][REPLAY_COUNTERS], after[RIG_CORES][REPLAY_COUNTERS];
	unsigned long n = rig_count(QUICK), pushed = 0;
	struct sigaction sa = { .sa_handler = nothing, .sa_flags = SA_RESTART };
	uint64_t dice = run->ncores * 1000 + run->bound * 100 + run->what + 1;
	struct tracefs trace;
	unsigned int i, k;
	uint32_t group;
	struct rig r;

	if (!tracefs_there())
		SKIP(return, "no trace events gk:* in /sys/kernel/tracing");
	sigaction(SIGUSR1, &sa, NULL);
	ASSERT_EQ(0, tracefs_open(&trace, run->buffer ?: BUFFER));
	ASSERT_EQ(0, tracefs_enable(&trace, true));
	if (!run->unread) {
		ASSERT_EQ(0, tracefs_start(&trace));
	}
	ASSERT_EQ(0, rig_open(&r, &opt));
	group = tracefs_group(r.fd);
	ASSERT_NE(0, group);
	for (i = 0; i < run->workers; i++) {
		ASSERT_NE(NULL, rig_spawn(&r, i % run->ncores, taker, NULL));
	}

	while (pushed < n) {
		/* As many as leave the queues short, so that workers come to rest now and then, too. */
		if (pushed - taken_by(&r) < 2 * run->workers) {
			rig_push(&r, draw(&dice) % run->ncores);
			pushed++;
		} else {
			unsigned long last = taken_by(&r);

			ASSERT_TRUE(RIG_WAIT(({
				unhold_all(&r);
				taken_by(&r) > last;
			}))) {
				TH_LOG("%lu of %lu tasks, then nobody goes on", last, pushed);
				show_group(_metadata, &r, group);
			}
		}
		disturb(&r, run->what, draw(&dice));
		unhold_all(&r);
		if (run->what & STOP && pushed == n / 2) {
			ASSERT_EQ(0, rig_call(&r, GK_IOC_STOP, 0));
			break;
		}
	}
	if (run->what & STOP) {
		ASSERT_TRUE(all_stopped(&r));
	} else {
		ASSERT_TRUE(all_at_rest(&r, n)) {
			TH_LOG("%lu of %lu tasks done", taken_by(&r), n);
			show_group(_metadata, &r, group);
		}
		/* The STANDBY that is granted is the last that parked: it goes, whichever is joined. */
		for (i = 0; i < r.nw; i++)
			atomic_store(&r.w[i]->stop, 1);
		for (i = 0; i < r.nw; i++) {
			r.w[i]->core = READ_ONCE(rig_wp(r.w[i])->core);
			ASSERT_TRUE(rig_join(r.w[i]));
			EXPECT_EQ(0, atomic_load(&r.w[i]->err));
		}
	}
	/* Nothing counts any more but a tick that is on its way. */
	for (i = 0; i < run->ncores; i++) {
		ASSERT_TRUE(RIG_WAIT(!READ_ONCE(rig_core(&r, i)->armed) || run->what & STOP));
	}
	copy_counters(&r, before);
	ASSERT_EQ(0, tracefs_enable(&trace, false));
	copy_counters(&r, after);

	ASSERT_EQ(0, tracefs_collect(&trace, events, nevents));
	tracefs_close(&trace);
	replay_init(model, group, run->bound);
	EXPECT_TRUE(replay_events(model, *events, *nevents)) {
		TH_LOG("%s", model->error);
		show_story(_metadata, model, *events);
	}
	EXPECT_TRUE(replay_rest(model)) {
		TH_LOG("%s", model->error);
	}
	for (i = 0; i < run->ncores && !model->losses; i++) {
		for (k = 0; k < REPLAY_COUNTERS; k++) {
			EXPECT_LE(before[i][k], model->core[i].count[k]) TH_LOG("core %u: %s", i, replay_counter_names[k]);
			EXPECT_GE(after[i][k], model->core[i].count[k]) TH_LOG("core %u: %s", i, replay_counter_names[k]);
		}
	}
	for (i = 0; i < r.nw && !model->losses; i++) {
		const struct replay_worker *m = &model->worker[r.w[i]->id];
		struct gk_worker_page *p = rig_wp(r.w[i]);

		EXPECT_EQ(p->seq, m->seq);
		EXPECT_EQ(p->state, m->state);
		EXPECT_EQ(p->blocks, m->blocks);
		EXPECT_EQ(p->grants, m->grants);
	}
	TH_LOG("%zu events, %lu judged, %lu times some were lost", *nevents, model->judged, model->losses);
	if (run->what & STOP)
		return;		/* the process's end takes those that are stopped */
	for (i = 0; i < r.nw; i++)
		free(r.w[i]);
	munmap(r.map, r.s.map_size);
	close(r.fd);
}

static void judged_run(struct __test_metadata *_metadata, const struct run *run)
{
	static struct replay model;
	struct trace_event *events = NULL;
	size_t n = 0;

	watched_run(_metadata, run, &model, &events, &n);
	if (!events)
		return;
	/* It was about something. */
	if (!model.losses) {
		EXPECT_LT(rig_count(QUICK), model.judged);
		EXPECT_LT(0, model.core[0].count[COUNT_BLOCKS]);
		EXPECT_LT(0, model.core[0].count[COUNT_GRANTS_STANDBY]);
		EXPECT_LT(0, model.core[0].count[COUNT_PARKS_STANDBY]);
	}
	free(events);
}

TEST(one_core_unbounded)
{
	judged_run(_metadata, &(struct run){ .ncores = 1, .workers = 6 });
}

TEST(one_core_bound_1)
{
	judged_run(_metadata, &(struct run){ .ncores = 1, .workers = 6, .bound = 1 });
}

TEST(one_core_bound_2)
{
	judged_run(_metadata, &(struct run){ .ncores = 1, .workers = 6, .bound = 2 });
}

TEST(two_cores_unbounded)
{
	judged_run(_metadata, &(struct run){ .ncores = 2, .workers = 8 });
}

TEST(two_cores_bound_1)
{
	judged_run(_metadata, &(struct run){ .ncores = 2, .workers = 8, .bound = 1 });
}

TEST(signals_at_any_moment)
{
	judged_run(_metadata, &(struct run){ .ncores = 2, .workers = 8, .bound = 1, .what = SIGNALS });
}

TEST(strays_at_any_moment)
{
	judged_run(_metadata, &(struct run){ .ncores = 2, .workers = 8, .bound = 2, .what = STRAYS });
}

TEST(signals_and_strays)
{
	judged_run(_metadata, &(struct run){ .ncores = 2, .workers = 12, .what = SIGNALS | STRAYS });
}

TEST(a_group_that_is_stopped_half_way)
{
	judged_run(_metadata, &(struct run){ .ncores = 2, .workers = 8, .bound = 1, .what = STOP | SIGNALS });
}

/* ---- the oracle itself */

TEST(lost_events_are_said_to_be_lost_and_nothing_else)
{
	const struct run run = { .ncores = 2, .workers = 8, .bound = 1, .buffer = 8, .unread = true };
	static struct replay model;
	struct trace_event *events = NULL;
	size_t n = 0;

	watched_run(_metadata, &run, &model, &events, &n);
	if (!events)
		return;
	EXPECT_LT(0, model.losses);
	/* It found its way again. */
	EXPECT_LT(0, model.judged);
	free(events);
}

/* Events in the middle that the reader never saw, of one CPU or of all: the rest is judged, and is right. */
TEST(the_model_finds_its_way_after_a_gap)
{
	const struct run run = { .ncores = 2, .workers = 8, .bound = 1 };
	static struct replay model, gap;
	struct trace_event *events = NULL;
	unsigned int i, cpu;
	size_t n = 0, k;

	watched_run(_metadata, &run, &model, &events, &n);
	if (!events)
		return;
	for (i = 0; i < 20 && !model.losses; i++) {
		size_t from = n * (i + 1) / 24, to = from + 1 + n / (2 + i);

		if (to > n - 1)
			to = n - 1;
		cpu = events[from].cpu;
		replay_init(&gap, model.group, run.bound);
		EXPECT_TRUE(replay_events(&gap, events, from)) {
			TH_LOG("%s", gap.error);
		}
		EXPECT_TRUE(replay_event(&gap, &(struct trace_event){
			.kind = TRACE_LOST, .at = events[from].at, .until = events[to].at, .cpu = cpu }));
		for (k = from; k < n; k++) {
			if (k < to && (i & 1 || events[k].cpu == cpu))
				continue;
			if (!replay_event(&gap, &events[k]))
				break;
		}
		EXPECT_EQ(n, k) {
			TH_LOG("a gap from event %zu to %zu: %s", from, to, gap.error);
		}
		EXPECT_LT(0, gap.judged);
	}
	free(events);
}

/* Each transition that is left out, doubled, or not what it was, wherever it is, is found. */
TEST(a_changed_trace_is_found_to_be_wrong)
{
	const struct run run = { .ncores = 1, .workers = 6, .bound = 1 };
	static struct replay model, changed;
	struct trace_event *events = NULL, *e;
	unsigned int i, how, nhow[5] = { 0 };
	size_t n = 0, at, k;

	watched_run(_metadata, &run, &model, &events, &n);
	if (!events)
		return;
	ASSERT_LT(500, n);
	for (i = 0; i < 200 && !model.losses; i++) {
		struct trace_event was;
		bool right = true;

		how = i % ARRAY_LEN(nhow);
		for (at = n * (i + 1) / 202; at < n && (events[at].kind != TRACE_STATE || events[at].group != model.group); at++)
			;
		if (at == n)
			continue;
		e = &events[at];
		was = *e;
		switch (how) {
		case 2:
			e->seq++;
			break;
		case 3:
			e->running++;
			break;
		case 4:
			e->why = e->why == GK_W_BLOCKED ? GK_W_STANDBY : GK_W_BLOCKED;
			break;
		}
		replay_init(&changed, model.group, run.bound);
		for (k = 0; k < n && right; k++) {
			if (how != 0 || k != at)
				right = replay_event(&changed, &events[k]);
			if (how == 1 && k == at && right)
				right = replay_event(&changed, &events[k]);
		}
		*e = was;
		EXPECT_FALSE(right) {
			char line[256];

			trace_print(line, sizeof(line), &was);
			TH_LOG("change %u of %s", how, line);
		}
		nhow[how]++;
	}
	for (how = 0; how < ARRAY_LEN(nhow) && !model.losses; how++) {
		EXPECT_LT(10, nhow[how]);
	}
	free(events);
}

/* A short trace by hand, and what may not be in it. */
#define WHY(_kind, _w, _state, _why, _seq) \
	{ .kind = TRACE_##_kind, .worker = (_w), .state = GK_W_##_state, .why = WHY_##_why, .seq = (_seq) }
#define STATE(_w, _from, _to, _seq, _running, _ready, _standby) \
	{ .kind = TRACE_STATE, .worker = (_w), .state = GK_W_##_from, .why = GK_W_##_to, .seq = (_seq), \
	  .running = (_running), .ready = (_ready), .standby = (_standby) }
#define CORE(_kind, _why, _running, _ready, _standby) \
	{ .kind = TRACE_##_kind, .why = (_why), .running = (_running), .ready = (_ready), .standby = (_standby) }

static const struct trace_event by_hand[] = {
	WHY(ENTER, 0, NONE, NONE, 0),
	STATE(0, NONE, RUNNING, 1, 1, 0, 0),
	WHY(ENTER, 1, NONE, NONE, 0),
	STATE(1, NONE, RUNNING, 1, 2, 0, 0),
	WHY(PARK, 1, RUNNING, STANDBY, 1),			/* 4 */
	STATE(1, RUNNING, STANDBY, 2, 1, 0, 1),
	WHY(ENTER, 2, NONE, NONE, 0),
	STATE(2, NONE, RUNNING, 1, 2, 0, 1),
	WHY(PARK, 2, RUNNING, STANDBY, 1),			/* 8 */
	STATE(2, RUNNING, STANDBY, 2, 1, 0, 2),
	WHY(BLOCK, 0, RUNNING, NONE, 1),			/* 10 */
	STATE(0, RUNNING, BLOCKED, 2, 0, 0, 2),
	WHY(GRANT, 2, STANDBY, AFTER_BLOCK, 2),			/* 12 */
	STATE(2, STANDBY, RUNNING, 3, 1, 0, 1),
	WHY(UNBLOCK, 0, BLOCKED, NONE, 2),			/* 14 */
	STATE(0, BLOCKED, READY, 3, 1, 1, 1),
	CORE(TICK, WHY_NONE, 1, 1, 1),				/* 16 */
	WHY(GRANT, 1, STANDBY, AFTER_PARK, 2),
	STATE(1, STANDBY, RUNNING, 3, 2, 1, 0),
	WHY(PREEMPT, 2, RUNNING, TURN, 3),			/* 19 */
	STATE(2, RUNNING, READY, 4, 1, 2, 0),
	WHY(BLOCK, 1, RUNNING, INSIDE, 3),			/* 21 */
	STATE(1, RUNNING, BLOCKED, 4, 0, 2, 0),
	CORE(IDLE, WHY_STALLED, 0, 2, 0),			/* 23 */
	WHY(UNBLOCK, 1, BLOCKED, NONE, 4),
	STATE(1, BLOCKED, RUNNING, 5, 1, 2, 0),
	WHY(EXIT, 1, RUNNING, LEFT, 5),				/* 26 */
	STATE(1, RUNNING, DEAD, 6, 0, 2, 0),
	WHY(GRANT, 0, READY, AFTER_BLOCK, 3),			/* 28 */
	STATE(0, READY, RUNNING, 4, 1, 1, 0),
	WHY(EXIT, 0, RUNNING, LEFT, 4),				/* 30 */
	STATE(0, RUNNING, DEAD, 5, 0, 1, 0),
	WHY(GRANT, 2, READY, AFTER_BLOCK, 4),			/* 32 */
	STATE(2, READY, RUNNING, 5, 1, 0, 0),
};

#define BY_HAND	ARRAY_LEN(by_hand)

/* Events from `at` on, `instead` of as many there; then what is found. */
static const struct plant {
	const char *error;
	size_t at, instead, n;
	struct trace_event e[4];
} plants[] = {
	{ "enters, but is there", 4, 0, 1, { WHY(ENTER, 1, RUNNING, NONE, 1) } },
	{ "no transition after nothing", 10, 1, 0, { } },
	{ "gk_block, and then this", 11, 1, 0, { } },
	{ "is in state 2", 14, 0, 1, { WHY(BLOCK, 0, RUNNING, NONE, 2) } },
	{ "wakes, but slept not", 12, 0, 1, { WHY(UNBLOCK, 1, STANDBY, NONE, 2) } },
	{ "another does it for it", 10, 1, 1,
	  { { .kind = TRACE_BLOCK, .state = GK_W_RUNNING, .why = WHY_NONE, .seq = 1, .current = 5 } } },
	{ "is thread 1000", 10, 1, 1,
	  { { .kind = TRACE_BLOCK, .state = GK_W_RUNNING, .why = WHY_NONE, .seq = 1, .pid = 5 } } },
	{ "is of core 0", 10, 1, 1,
	  { { .kind = TRACE_BLOCK, .state = GK_W_RUNNING, .why = WHY_NONE, .seq = 1, .core = 1 } } },
	{ "seq is 2", 13, 1, 1, { STATE(2, STANDBY, RUNNING, 4, 1, 0, 1) } },
	{ "running 1 ready 0 standby 1", 13, 1, 1, { STATE(2, STANDBY, RUNNING, 3, 2, 0, 1) } },
	{ "granted though 1 run", 10, 0, 1, { WHY(GRANT, 2, STANDBY, AFTER_WAKE, 2) } },
	{ "granted though 1 run", 16, 1, 0, { } },
	{ "granted, but waits for none", 12, 1, 1, { WHY(GRANT, 0, BLOCKED, AFTER_BLOCK, 2) } },
	{ "granted out of turn", 12, 1, 1, { WHY(GRANT, 1, STANDBY, AFTER_BLOCK, 2) } },
	{ "granted out of turn", 28, 1, 1, { WHY(GRANT, 2, READY, AFTER_BLOCK, 4) } },
	{ "granted while worker 1 sleeps with the core word", 23, 1, 1, { WHY(GRANT, 0, READY, AFTER_BLOCK, 3) } },
	{ "goes on over the bound of 1", 15, 1, 1, { STATE(0, BLOCKED, RUNNING, 3, 2, 0, 1) } },
	{ "parks below the bound of 1", 12, 4, 2,
	  { WHY(UNBLOCK, 0, BLOCKED, NONE, 2), STATE(0, BLOCKED, READY, 3, 0, 1, 2) } },
	{ "a STANDBY before 1 READY", 16, 2, 4,
	  { WHY(EXIT, 2, RUNNING, LEFT, 3), STATE(2, RUNNING, DEAD, 4, 0, 1, 1), WHY(GRANT, 1, STANDBY, AFTER_BLOCK, 2) } },
	{ "no handoff", 12, 1, 1, { WHY(HANDOFF, 2, STANDBY, AFTER_BLOCK, 2) } },
	{ "idle, with 1 running", 10, 0, 1, { CORE(IDLE, WHY_NOTHING, 1, 0, 2) } },
	{ "starved, with somebody to grant", 12, 0, 1, { CORE(IDLE, WHY_STARVED, 0, 0, 2) } },
	{ "stalled by nobody", 12, 0, 1, { CORE(IDLE, WHY_STALLED, 0, 0, 2) } },
	{ "nothing to do, with 2 READY", 28, 0, 1, { CORE(IDLE, WHY_NOTHING, 0, 2, 0) } },
	{ "woke nobody", 12, 0, 1, { CORE(WAKE, 1, 0, 0, 2) } },
	{ "parks as something else", 5, 1, 1, { STATE(1, RUNNING, READY, 2, 1, 1, 0) } },
	{ "READY again, and was not moved", 19, 0, 1, { STATE(0, READY, READY, 4, 2, 1, 0) } },
	{ "pulled, but was not taken", 19, 0, 1, { WHY(PULL, 0, READY, NONE, 3) } },
	{ "stopped, but the group is not", 10, 0, 1, { STATE(0, RUNNING, STOPPED, 2, 0, 0, 2) } },
	{ "no transition after", 30, 2, 2, { STATE(1, DEAD, RUNNING, 7, 2, 1, 0) } },
	{ "1 READY, and nobody runs", 32, 2, 0, { } },
	{ "and nothing came of it", 33, 1, 0, { } },
};

static bool feed(struct replay *r, const struct trace_event *from, size_t n)
{
	struct trace_event e;
	size_t i;

	for (i = 0; i < n; i++) {
		e = from[i];
		e.group = 1;
		e.pid = e.pid ?: 1000 + e.worker;
		e.current = e.current ?: e.pid;
		if (!replay_event(r, &e))
			return false;
	}
	return true;
}

TEST(what_is_planted_is_found)
{
	static struct replay r;
	size_t i;

	replay_init(&r, 1, 1);
	ASSERT_TRUE(feed(&r, by_hand, BY_HAND) && replay_rest(&r)) TH_LOG("%s", r.error);
	EXPECT_EQ(BY_HAND, r.judged);
	for (i = 0; i < ARRAY_LEN(plants); i++) {
		const struct plant *p = &plants[i];
		bool right;

		replay_init(&r, 1, 1);
		ASSERT_TRUE(feed(&r, by_hand, p->at)) TH_LOG("plant %zu: %s", i, r.error);
		right = feed(&r, p->e, p->n);
		right = right && feed(&r, by_hand + p->at + p->instead, BY_HAND - p->at - p->instead) && replay_rest(&r);
		EXPECT_FALSE(right) {
			TH_LOG("plant %zu, \"%s\"", i, p->error);
		}
		EXPECT_NE(NULL, strstr(r.error, p->error)) {
			TH_LOG("plant %zu: not \"%s\" but \"%s\"", i, p->error, r.error);
		}
	}
}

TEST_NO_LEAK

TEST_HARNESS_MAIN
