// SPDX-License-Identifier: GPL-2.0-only
/*
 * stats.c - what is to be seen from outside: debugfs, for root, and fdinfo, for whoever may look at the process.
 *
 *   /sys/kernel/debug/gk/stats     of all groups since the module was loaded
 *   /sys/kernel/debug/gk/GROUP     one group: its cores and workers, a line each, of words NAME=VALUE
 *   /proc/PID/fdinfo/FD            one group in short
 *
 * A file of a group goes before the group does, and waits for who is reading it. Cores stay as long as the group; each
 * line of a worker looks it up by its id, under RCU, and is printed from a copy: readers hold nobody up but for the
 * time of a copy, and nobody is kept from leaving. Two lines are two moments.
 *
 * States, lists and flags are the module's own. Counters have their only copy in the shared pages, where their process
 * can spoil them.
 */
#include <linux/debugfs.h>
#include <linux/fs.h>
#include <linux/pid.h>
#include <linux/seq_file.h>

#include "gk.h"

static const char *const counter_names[] = {
	"blocks", "unblocks", "wakes_over", "parks_bound", "preempts", "displaced", "parks_standby", "parks_ready",
	"parks_held", "grants_ready", "grants_standby", "starved", "ticks", "stalls", "signals", "remote", "pulled",
	"deferred"
};

#define NCOUNTERS	ARRAY_SIZE(counter_names)

static_assert(offsetof(struct gk_core_page, pad4) - offsetof(struct gk_core_page, blocks) == NCOUNTERS * sizeof(u64));

static const char *const state_names[] = {
	"none", "running", "blocked", "ready", "standby", "held", "stopped", "dead"
};

#define NSTATES		ARRAY_SIZE(state_names)

static_assert(NSTATES == GK_W_DEAD + 1);

static struct dentry *dir;
static DEFINE_MUTEX(groups_lock);
static LIST_HEAD(groups);		/* under groups_lock */
static unsigned long ngroups;		/* there have been, under groups_lock */
static unsigned long gone_entered;	/* of groups that are gone, under groups_lock */
static u64 gone[NCOUNTERS];

static void add_counters(u64 *sum, const struct gk_group *g)
{
	unsigned int i, n;

	for (i = 0; i < g->ncores; i++) {
		const u64 *counter = &g->cores[i].page->blocks;

		for (n = 0; n < NCOUNTERS; n++)
			sum[n] += READ_ONCE(counter[n]);
	}
}

/* ---- one group in debugfs: its head, its cores, its workers */

static void *group_at(struct gk_group *g, loff_t *pos)
{
	unsigned int id;
	bool there;

	if (*pos <= g->ncores)
		return pos;
	for (id = *pos - g->ncores - 1; id < g->max_workers; id++) {
		/* It may be gone when it is shown. */
		there = rcu_access_pointer(g->workers[id]);
		if (there) {
			*pos = (loff_t)id + g->ncores + 1;
			return pos;
		}
	}
	*pos = (loff_t)id + g->ncores + 1;
	return NULL;
}

static void *group_start(struct seq_file *m, loff_t *pos)
{
	struct gk_group *g = m->private;

	return *pos - g->ncores - 1 < (loff_t)g->max_workers ? group_at(g, pos) : NULL;
}

static void *group_next(struct seq_file *m, void *v, loff_t *pos)
{
	++*pos;
	return group_start(m, pos);
}

static void group_stop(struct seq_file *m, void *v)
{
}

static void show_head(struct seq_file *m, struct gk_group *g)
{
	seq_printf(m, "group=%u pid=%d cores=%u workers=%u max_workers=%u entered=%lu slice_ns=%llu grain_ns=%llu",
		   g->id, pid_nr(g->tgid), g->ncores, READ_ONCE(g->nworkers), g->max_workers, READ_ONCE(g->entered),
		   READ_ONCE(g->slice_ns), READ_ONCE(g->grain_ns));
	seq_printf(m, " bound=%u net_seq=%u stopping=%d closed=%d dead=%d broken=%d\n", READ_ONCE(g->bound),
		   READ_ONCE(g->net_seq), READ_ONCE(g->stopping), READ_ONCE(g->closed), READ_ONCE(g->dead),
		   gk_broken(g));
}

static void show_core(struct seq_file *m, struct gk_core *core)
{
	unsigned int running, nready, nurgent, nstandby, n;
	u64 armed, turn, now = ktime_get_mono_fast_ns();
	const u64 *counter = &core->page->blocks;
	unsigned long flags;
	int stalled;

	raw_spin_lock_irqsave(&core->lock, flags);
	running = core->running;
	nready = core->nready;
	nurgent = core->nurgent;
	nstandby = core->nstandby;
	armed = core->armed;
	turn = core->armed_turn;
	stalled = core->stalled ? core->stalled->id : -1;
	raw_spin_unlock_irqrestore(&core->lock, flags);

	seq_printf(m, "core=%u cpu=%u running=%u ready=%u urgent=%u standby=%u stalled_by=%d", core->id, core->cpu,
		   running, nready, nurgent, nstandby, stalled);
	/* The time that is left, 0 if it is over: the other CPU is about to see to it. */
	if (armed)
		seq_printf(m, " armed_ns=%llu turn=%d", armed > now ? armed - now : 0, turn != U64_MAX);
	else
		seq_puts(m, " armed_ns=- turn=0");
	for (n = 0; n < NCOUNTERS; n++)
		seq_printf(m, " %s=%llu", counter_names[n], READ_ONCE(counter[n]));
	seq_putc(m, '\n');
}

/* By the bits of `what` in show_worker(). */
static const char *const flag_names[] = {
	"parked", "park_queued", "stray", "leaving", "displaced", "dismissed", "moving", "unheld", "urgent", "repark"
};

static void show_worker(struct seq_file *m, struct gk_group *g, unsigned int id)
{
	unsigned int core_id, n;
	unsigned long flags, what;
	struct gk_worker *w;
	struct gk_core *core;
	char sep = '=';
	u64 seq;
	u8 state;
	int tid;

	rcu_read_lock();
	w = rcu_dereference(g->workers[id]);
	if (!w) {
		rcu_read_unlock();
		return;
	}
	core = gk_worker_lock(w, &flags);
	core_id = core->id;
	state = w->state;
	seq = w->seq;
	/* The thread's own are as they happen to be. */
	what = READ_ONCE(w->parked) | !!READ_ONCE(w->park_queued) << 1 | READ_ONCE(w->stray) << 2 |
	       READ_ONCE(w->leaving) << 3 | w->displaced << 4 | READ_ONCE(w->dismissed) << 5 | w->moving << 6 |
	       w->unheld << 7 | w->urgent << 8 | !!w->repark << 9;
	gk_worker_unlock(core, flags);
	tid = task_pid_nr(w->task);
	rcu_read_unlock();

	seq_printf(m, "worker=%u tid=%d core=%u state=%s seq=%llu flags", id, tid, core_id, state_names[state], seq);
	for (n = 0; n < ARRAY_SIZE(flag_names); n++) {
		if (!(what & BIT(n)))
			continue;
		seq_printf(m, "%c%s", sep, flag_names[n]);
		sep = ',';
	}
	seq_puts(m, what ? "\n" : "=-\n");
}

static int group_show(struct seq_file *m, void *v)
{
	struct gk_group *g = m->private;
	loff_t pos = *(loff_t *)v;

	if (!pos)
		show_head(m, g);
	else if (pos <= g->ncores)
		show_core(m, &g->cores[pos - 1]);
	else
		show_worker(m, g, pos - g->ncores - 1);
	return 0;
}

static const struct seq_operations group_sops = {
	.start = group_start,
	.next = group_next,
	.stop = group_stop,
	.show = group_show,
};

DEFINE_SEQ_ATTRIBUTE(group);

/* ---- all groups in debugfs */

static int stats_show(struct seq_file *m, void *v)
{
	unsigned long entered, now = 0, workers = 0;
	u64 sum[NCOUNTERS];
	struct gk_group *g;
	unsigned int n;

	mutex_lock(&groups_lock);
	memcpy(sum, gone, sizeof(sum));
	entered = gone_entered;
	list_for_each_entry(g, &groups, node) {
		add_counters(sum, g);
		entered += READ_ONCE(g->entered);
		workers += READ_ONCE(g->nworkers);
		now++;
	}
	seq_printf(m, "groups %lu\ngroups_ever %lu\nworkers %lu\nworkers_ever %lu\n", now, ngroups, workers, entered);
	mutex_unlock(&groups_lock);
	for (n = 0; n < NCOUNTERS; n++)
		seq_printf(m, "%s %llu\n", counter_names[n], sum[n]);
	return 0;
}

DEFINE_SHOW_ATTRIBUTE(stats);

/* ---- fdinfo. The reader holds the file, and so the group. */

void gk_show_fdinfo(struct seq_file *m, struct file *file)
{
	/* Pairs with the release in do_setup(). */
	struct gk_group *g = smp_load_acquire(&file->private_data);
	unsigned int states[NSTATES] = {}, i;
	u64 sum[NCOUNTERS] = {};
	struct gk_worker *w;

	if (!g)
		return;
	for (i = 0; i < g->max_workers; i++) {
		rcu_read_lock();
		w = rcu_dereference(g->workers[i]);
		if (w)
			states[READ_ONCE(w->state)]++;
		rcu_read_unlock();
	}
	seq_printf(m, "gk-group:\t%u\ngk-cores:\t%u\ngk-workers:\t%u\n", g->id, g->ncores, READ_ONCE(g->nworkers));
	for (i = GK_W_RUNNING; i < GK_W_DEAD; i++)
		seq_printf(m, "gk-%s:\t%u\n", state_names[i], states[i]);
	add_counters(sum, g);
	for (i = 0; i < NCOUNTERS; i++)
		seq_printf(m, "gk-%s:\t%llu\n", counter_names[i], sum[i]);
}

/* ---- */

/* @fn may take core locks. No group ends meanwhile. */
void gk_visit_groups(gk_group_fn fn, void *arg)
{
	struct gk_group *g;

	mutex_lock(&groups_lock);
	list_for_each_entry(g, &groups, node)
		fn(g, arg);
	mutex_unlock(&groups_lock);
}

void gk_stats_add(struct gk_group *g)
{
	char name[16];

	mutex_lock(&groups_lock);
	list_add_tail(&g->node, &groups);
	ngroups++;
	mutex_unlock(&groups_lock);
	snprintf(name, sizeof(name), "%u", g->id);
	/* A group does without if it cannot be made. */
	g->dentry = debugfs_create_file(name, 0400, dir, g, &group_fops);
}

/* All workers are gone; readers that are in the file are waited for. */
void gk_stats_del(struct gk_group *g)
{
	debugfs_remove(g->dentry);
	mutex_lock(&groups_lock);
	list_del(&g->node);
	add_counters(gone, g);
	gone_entered += g->entered;
	mutex_unlock(&groups_lock);
}

void gk_stats_init(void)
{
	dir = debugfs_create_dir("gk", NULL);
	debugfs_create_file("stats", 0400, dir, NULL, &stats_fops);
	gk_check_init(dir);
}

void gk_stats_exit(void)
{
	gk_check_exit();
	debugfs_remove(dir);
}
