// SPDX-License-Identifier: GPL-2.0-only
/*
 * check.c - the invariants of gk.h, checked as the module runs. Only in a build with GK_DEBUG=1, which a kernel with
 * PROVE_LOCKING gets by itself.
 *
 * Looked at under core->lock, each time it is about to be dropped: counts are lengths of lists, states fit lists, who
 * stalls a core is BLOCKED. At each transition: that there is such a one. At each grant: that nobody runs, or one whose
 * turn is over. Behind a settle: no READY worker waits for nobody. Behind a rearm: the timer runs where turns must end.
 * And every two seconds, for what only time shows: a READY worker in its park on a core where nobody runs, or a worker
 * that was granted and still sleeps, three times in a row.
 *
 * Nothing of the shared pages is looked at: what their process writes there harms nobody, and breaks nothing.
 *
 * At the first violation of a group it is dead: its workers go their way as plain threads and every call gives EIO.
 * What was found is noted where it was found, maybe under the rq lock, where nothing may be printed; an irq_work warns.
 */
#include <linux/cpu.h>
#include <linux/debugfs.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/workqueue.h>

#include "gk.h"

#define CHECK_LIST	256	/* entries of a list that are looked at */
#define CHECK_NAMED	8	/* workers named in a warning */
#define WATCH_INTERVAL	(2 * HZ)
#define WATCH_STRIKES	2	/* more looks at which nothing had changed */

/* What a look of the watch found waiting, to be compared with the next. */
struct gk_watched {
	struct gk_worker *ready, *asleep; /* only compared */
	u64 ready_seq, asleep_seq;
	unsigned int ready_strikes, asleep_strikes;
};

struct gk_check {
	struct gk_group *group;
	struct irq_work work;
	unsigned int broken;		/* A: set once */
	bool planted;			/* by a test: no WARN */
	char text[512];			/* by who set `broken` */
	struct gk_watched watched[];	/* of each core, by the watch */
};

static const u16 legal[] = {
#define TO(state) BIT(GK_W_##state)
	[GK_W_NONE] = TO(RUNNING),
	[GK_W_RUNNING] = TO(BLOCKED) | TO(READY) | TO(STANDBY) | TO(HELD) | TO(STOPPED) | TO(DEAD),
	[GK_W_BLOCKED] = TO(RUNNING) | TO(READY) | TO(STANDBY) | TO(HELD) | TO(STOPPED) | TO(DEAD),
	/* READY: moved to another core. */
	[GK_W_READY] = TO(RUNNING) | TO(BLOCKED) | TO(READY) | TO(DEAD),
	[GK_W_STANDBY] = TO(RUNNING) | TO(DEAD),
	[GK_W_HELD] = TO(READY) | TO(RUNNING) | TO(DEAD),
	[GK_W_STOPPED] = TO(DEAD),
	[GK_W_DEAD] = 0,
#undef TO
};

static int name_worker(char *buf, size_t size, const struct gk_worker *w)
{
	return scnprintf(buf, size, " %u(tid=%d state=%u seq=%llu%s)", w->id, w->task->pid, w->state, w->seq,
			 READ_ONCE(w->parked) ? " parked" : "");
}

/* Under core->lock, maybe the rq lock. @w, if any, is the worker that it is about. */
static void violation(struct gk_core *core, const struct gk_worker *w, const char *what)
{
	struct gk_group *g = core->group;
	struct gk_check *c = g->check;
	unsigned int n = 0;
	struct gk_worker *other;
	size_t len;

	if (xchg(&c->broken, 1))
		return;
	len = scnprintf(c->text, sizeof(c->text), "group %u core %u cpu %u: %s:", g->id, core->id, core->cpu, what);
	if (w)
		len += name_worker(c->text + len, sizeof(c->text) - len, w);
	len += scnprintf(c->text + len, sizeof(c->text) - len, "; running %u ready %u standby %u; running:",
			 core->running, core->nready, core->nstandby);
	hlist_for_each_entry(other, &core->running_list, place) {
		if (n++ == CHECK_NAMED)
			break;
		len += name_worker(c->text + len, sizeof(c->text) - len, other);
	}
	len += scnprintf(c->text + len, sizeof(c->text) - len, "; ready:");
	list_for_each_entry(other, &core->ready_list, node) {
		if (n++ >= CHECK_NAMED)
			break;
		len += name_worker(c->text + len, sizeof(c->text) - len, other);
	}
	/* From here on no worker parks, and none is granted. */
	WRITE_ONCE(g->dead, true);
	irq_work_queue(&c->work);
}

static void tell(struct irq_work *work)
{
	struct gk_check *c = container_of(work, struct gk_check, work);

	if (c->planted)
		pr_warn("gk: planted: %s\n", c->text);
	else
		WARN(1, "gk: %s\n", c->text);
	gk_group_wake_parked(c->group);
}

bool gk_broken(const struct gk_group *g)
{
	return READ_ONCE(g->check->broken);
}

void gk_check_transition(struct gk_worker *w, u8 to)
{
	if (w->state >= ARRAY_SIZE(legal) || !(legal[w->state] & BIT(to)))
		violation(w->core, w, "no such transition");
}

static bool misplaced(const struct gk_core *core, const struct gk_worker *w, u8 state)
{
	return w->core != core || w->state != state || w->moving || (w->displaced && state != GK_W_RUNNING);
}

/* core->lock is about to be dropped. */
void gk_check_core(struct gk_core *core)
{
	unsigned int n = 0, urgent = 0;
	struct gk_worker *w;

	lockdep_assert_held(&core->lock);
	hlist_for_each_entry(w, &core->running_list, place) {
		if (misplaced(core, w, GK_W_RUNNING))
			return violation(core, w, "on the list of running workers");
		if (n++ == CHECK_LIST)
			break;
	}
	if (n != core->running && n <= CHECK_LIST)
		return violation(core, NULL, "running is not the length of its list");
	n = 0;
	list_for_each_entry(w, &core->ready_list, node) {
		if (misplaced(core, w, GK_W_READY))
			return violation(core, w, "on the list of READY workers");
		urgent += w->urgent;
		if (n++ == CHECK_LIST)
			break;
	}
	if ((n != core->nready || urgent != core->nurgent) && n <= CHECK_LIST)
		return violation(core, NULL, "nready or nurgent is not what its list says");
	n = 0;
	hlist_for_each_entry(w, &core->standby_list, place) {
		if (misplaced(core, w, GK_W_STANDBY))
			return violation(core, w, "on the list of STANDBYs");
		if (n++ == CHECK_LIST)
			break;
	}
	if (n != core->nstandby && n <= CHECK_LIST)
		return violation(core, NULL, "nstandby is not the length of its list");
	w = core->stalled;
	if (w && (w->core != core || w->state != GK_W_BLOCKED))
		violation(core, w, "stalls the core, but is not blocked");
}

/* @w is about to be granted. */
void gk_check_grant(struct gk_core *core, const struct gk_worker *w, enum gk_cause cause)
{
	if (core->stalled)
		violation(core, w, "granted while the holder of the word sleeps");
	else if (w->state != GK_W_READY && w->state != GK_W_STANDBY)
		violation(core, w, "granted, but waits for none");
	/* One whose turn is over has a STANDBY beside it until the switch. */
	else if (core->running > 1 || (core->running && (w->state != GK_W_STANDBY || cause != GK_AFTER_PARK)))
		violation(core, w, "granted though others run");
}

/* gk_core_settle() is through with it. */
void gk_check_settled(struct gk_core *core, const struct gk_worker *self)
{
	struct gk_group *g = core->group;

	lockdep_assert_held(&core->lock);
	/* These two are set once, at any time: looked at last. */
	if (!core->running && core->nready && !core->stalled && !(!self && gk_counts_itself(core, current)) &&
	    !READ_ONCE(g->stopping) && !READ_ONCE(g->dead))
		violation(core, list_first_entry(&core->ready_list, struct gk_worker, node),
			  "READY, and nobody granted");
}

/* gk_core_rearm() is through with it, on the core's own CPU. */
void gk_check_armed(struct gk_core *core)
{
	struct gk_group *g = core->group;

	lockdep_assert_held(&core->lock);
	if (core->armed && !hrtimer_active(&core->timer))
		violation(core, NULL, "armed, but its timer is not");
	if (raw_smp_processor_id() == core->cpu && !core->armed &&
	    (core->running > 1 || (core->running && core->nready)) && !READ_ONCE(g->stopping) && !READ_ONCE(g->dead))
		violation(core, NULL, "turns must end, and the timer is not armed");
}

/* ---- the watch */

/* In its park, for good unless it is woken; not stopped, frozen, or about to be. */
static bool asleep(const struct gk_worker *w)
{
	unsigned int state = READ_ONCE(w->task->__state);

	return READ_ONCE(w->parked) && (state & TASK_INTERRUPTIBLE) && !(state & TASK_FROZEN) &&
	       !READ_ONCE(w->task->on_rq);
}

static unsigned int strike(struct gk_worker **last, u64 *seq, unsigned int strikes, struct gk_worker *w)
{
	if (w && w == *last && w->seq == *seq)
		return strikes + 1;
	*last = w;
	*seq = w ? w->seq : 0;
	return 0;
}

static void watch_core(struct gk_core *core, struct gk_watched *seen)
{
	struct gk_worker *ready = NULL, *sleeper = NULL, *w;
	struct gk_group *g = core->group;
	unsigned long flags;

	rcu_read_lock();
	raw_spin_lock_irqsave(&core->lock, flags);
	if (READ_ONCE(g->stopping) || READ_ONCE(g->dead) || !cpu_online(core->cpu))
		goto out;
	if (!core->running && !core->stalled)
		ready = list_first_entry_or_null(&core->ready_list, struct gk_worker, node);
	if (ready && !asleep(ready))
		ready = NULL;
	hlist_for_each_entry(w, &core->running_list, place) {
		if (!asleep(w))
			continue;
		sleeper = w;
		break;
	}
	seen->ready_strikes = strike(&seen->ready, &seen->ready_seq, seen->ready_strikes, ready);
	seen->asleep_strikes = strike(&seen->asleep, &seen->asleep_seq, seen->asleep_strikes, sleeper);
	if (seen->ready_strikes >= WATCH_STRIKES)
		violation(core, ready, "READY for seconds, and nobody runs");
	if (seen->asleep_strikes >= WATCH_STRIKES)
		violation(core, sleeper, "granted, and asleep for seconds");
out:
	raw_spin_unlock_irqrestore(&core->lock, flags);
	rcu_read_unlock();
}

static void watch_group(struct gk_group *g, void *arg)
{
	unsigned int i;

	for (i = 0; i < g->ncores; i++)
		watch_core(&g->cores[i], &g->check->watched[i]);
}

static void watch(struct work_struct *work);
static DECLARE_DELAYED_WORK(watch_work, watch);

static void watch(struct work_struct *work)
{
	gk_visit_groups(watch_group, NULL);
	schedule_delayed_work(&watch_work, WATCH_INTERVAL);
}

/* ---- planted by a test: gk/plant in debugfs takes "GROUP KIND", on core 0 */

struct plant {
	unsigned int group;
	char kind[16];
	int err;
};

static void plant_group(struct gk_group *g, void *arg)
{
	struct gk_core *core = &g->cores[0];
	struct plant *p = arg;
	struct gk_worker *w, *stalled = core->stalled;
	unsigned long flags;
	u8 state;

	if (g->id != p->group)
		return;
	raw_spin_lock_irqsave(&core->lock, flags);
	w = hlist_entry_safe(core->standby_list.first, struct gk_worker, place);
	p->err = w ? 0 : -ESRCH;
	if (p->err)
		goto out;
	g->check->planted = true;
	if (!strcmp(p->kind, "count")) {
		core->running++;
		gk_check_core(core);
		core->running--;
	} else if (!strcmp(p->kind, "list")) {
		state = w->state;
		w->state = GK_W_BLOCKED;
		gk_check_core(core);
		w->state = state;
	} else if (!strcmp(p->kind, "stalled")) {
		core->stalled = w;
		gk_check_core(core);
		core->stalled = stalled;
	} else if (!strcmp(p->kind, "transition")) {
		gk_check_transition(w, GK_W_HELD);
	} else if (!strcmp(p->kind, "grant")) {
		core->running += 2;
		gk_check_grant(core, w, GK_AFTER_PARK);
		core->running -= 2;
	} else if (!strcmp(p->kind, "settled")) {
		hlist_del(&w->place);
		state = w->state;
		w->state = GK_W_READY;
		list_add(&w->node, &core->ready_list);
		core->nready++;
		gk_check_settled(core, NULL);
		core->nready--;
		list_del(&w->node);
		w->state = state;
		hlist_add_head(&w->place, &core->standby_list);
	} else if (!strcmp(p->kind, "armed")) {
		u64 armed = core->armed;

		core->armed = U64_MAX;
		if (!hrtimer_active(&core->timer))
			gk_check_armed(core);
		core->armed = armed;
	} else if (!strcmp(p->kind, "asleep")) {
		/* A wake-up that is lost: the watch has to find it. */
		gk_make_running(core, w);
	} else {
		g->check->planted = false;
		p->err = -EINVAL;
	}
out:
	raw_spin_unlock_irqrestore(&core->lock, flags);
}

static ssize_t plant_write(struct file *file, const char __user *user, size_t len, loff_t *pos)
{
	struct plant p = { .err = -ENOENT };
	char buf[32];
	ssize_t n;

	n = simple_write_to_buffer(buf, sizeof(buf) - 1, pos, user, len);
	if (n < 0)
		return n;
	buf[n] = '\0';
	if (sscanf(buf, "%u %15s", &p.group, p.kind) != 2)
		return -EINVAL;
	gk_visit_groups(plant_group, &p);
	return p.err ?: len;
}

static const struct file_operations plant_fops = {
	.owner = THIS_MODULE,
	.open = simple_open,
	.write = plant_write,
};

/* ---- */

int gk_check_add(struct gk_group *g)
{
	struct gk_check *c = kvzalloc(struct_size(c, watched, g->ncores), GFP_KERNEL_ACCOUNT);

	if (!c)
		return -ENOMEM;
	c->group = g;
	init_irq_work(&c->work, tell);
	g->check = c;
	return 0;
}

/* No worker and no interrupt knows the group any more. */
void gk_check_del(struct gk_group *g)
{
	if (g->check)
		irq_work_sync(&g->check->work);
	kvfree(g->check);
}

void gk_check_init(struct dentry *dir)
{
	debugfs_create_file("plant", 0200, dir, NULL, &plant_fops);
	schedule_delayed_work(&watch_work, WATCH_INTERVAL);
}

void gk_check_exit(void)
{
	cancel_delayed_work_sync(&watch_work);
}
