// SPDX-License-Identifier: GPL-2.0-only
/*
 * main.c - loading, unloading, module parameters, and the reaper: what dies where it cannot be freed is freed here.
 *
 * A worker dies in sched_out, under the rq lock, and its notifier is read once more after our callback returns. So it
 * goes to a lock-free list, an irq_work, a workqueue, and a grace period, and only then are its memory and its
 * references given up. The module's own reference is the last one; unloading waits for the workqueue.
 */
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/rcupdate.h>
#include <linux/sched/task.h>
#include <linux/slab.h>
#include <linux/workqueue.h>

#include "gk.h"

unsigned int gk_max_cores = GK_MAX_CORES;
module_param_named(max_cores, gk_max_cores, uint, 0644);
MODULE_PARM_DESC(max_cores, "Cores that one group may have, at most 256");

unsigned int gk_max_workers = 16384;
module_param_named(max_workers, gk_max_workers, uint, 0644);
MODULE_PARM_DESC(max_workers, "Workers that one group may have");

unsigned int gk_max_groups = 64;
module_param_named(max_groups, gk_max_groups, uint, 0644);
MODULE_PARM_DESC(max_groups, "Groups that one user may have");

static LLIST_HEAD(dead_workers);
static LLIST_HEAD(dead_groups);
static struct workqueue_struct *reaper;

static void reap_worker(struct gk_worker *w)
{
	struct gk_group *g = w->group;

	hrtimer_cancel(&w->repark_timer);
	mutex_lock(&g->lock);
	__clear_bit(w->id, g->ids);
	WRITE_ONCE(g->page->nworkers, --g->nworkers);
	mutex_unlock(&g->lock);
	put_task_struct(w->task);
	kfree(w);
	gk_group_put(g);
	module_put(THIS_MODULE);
}

static void reap(struct work_struct *work)
{
	struct llist_node *workers = llist_del_all(&dead_workers);
	struct gk_worker *w, *next;
	struct gk_group *g, *gnext;

	llist_for_each_entry(w, workers, dead) {
		mutex_lock(&w->group->lock);
		RCU_INIT_POINTER(w->group->workers[w->id], NULL);
		mutex_unlock(&w->group->lock);
	}
	if (workers)
		synchronize_rcu();	/* notifiers, UNHOLD, PULL and wake-ups in flight */
	llist_for_each_entry_safe(w, next, workers, dead)
		reap_worker(w);
	llist_for_each_entry_safe(g, gnext, llist_del_all(&dead_groups), dead_node)
		gk_group_free(g);
}

static DECLARE_WORK(reap_work, reap);

static void reap_irq(struct irq_work *work)
{
	queue_work(reaper, &reap_work);
}

static DEFINE_IRQ_WORK(reap_irq_work, reap_irq);

void gk_reap_worker(struct gk_worker *w)
{
	llist_add(&w->dead, &dead_workers);
	irq_work_queue(&reap_irq_work);
}

void gk_reap_group(struct gk_group *g)
{
	llist_add(&g->dead_node, &dead_groups);
	irq_work_queue(&reap_irq_work);
}

static struct miscdevice gk_misc = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "gk",
	.fops = &gk_fops,
	.mode = 0666,
};

static int __init gk_init(void)
{
	int err;

	reaper = alloc_workqueue("gk_reaper", WQ_UNBOUND, 1);
	if (!reaper)
		return -ENOMEM;
	gk_stats_init();
	/* Once for all groups: it patches the scheduler's code. */
	preempt_notifier_inc();
	err = misc_register(&gk_misc);
	if (err)
		goto err_notifier;
	return 0;

err_notifier:
	preempt_notifier_dec();
	gk_stats_exit();
	destroy_workqueue(reaper);
	return err;
}

static void __exit gk_exit(void)
{
	misc_deregister(&gk_misc);
	/*
	 * No file and no worker is left. Their last pieces may still be on the way: the queue runs until both lists are
	 * empty.
	 */
	irq_work_sync(&reap_irq_work);
	flush_workqueue(reaper);
	irq_work_sync(&reap_irq_work);
	destroy_workqueue(reaper);
	gk_stats_exit();
	/* A thread that left may have been preempted in the last instructions of park_work(). */
	synchronize_rcu_tasks();
	preempt_notifier_dec();
}

module_init(gk_init);
module_exit(gk_exit);

MODULE_DESCRIPTION("Scheduler activations for user-space M:N schedulers");
MODULE_AUTHOR("The gk authors");
MODULE_LICENSE("GPL");
