// SPDX-License-Identifier: GPL-2.0-only
/*
 * group.c - a process's group: its memory, its limits, its epoll file, its end.
 *
 * A group is freed when the file is released and the last worker has been reaped; until the file is released nothing in
 * it goes away but workers.
 */
#include <linux/cred.h>
#include <linux/eventfd.h>
#include <linux/file.h>
#include <linux/magic.h>
#include <linux/mount.h>
#include <linux/nospec.h>
#include <linux/poll.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>

#include "gk.h"
#include "trace.h"

#define GK_SLICE_MIN	(100 * NSEC_PER_USEC)
#define GK_SLICE_MAX	(10 * NSEC_PER_SEC)
#define GK_SLICE	(10 * NSEC_PER_MSEC)
#define GK_GRAIN_MIN	(50 * NSEC_PER_USEC)
#define GK_GRAIN	(500 * NSEC_PER_USEC)

/* How many groups each user has. Users are few, groups are made rarely: a list. */
struct gk_limit {
	struct list_head node;
	kuid_t uid;
	unsigned int groups;
};

static atomic_t last_id = ATOMIC_INIT(0);
static DEFINE_MUTEX(limits_lock);
static LIST_HEAD(limits);

static struct gk_limit *limit_get(void)
{
	struct gk_limit *l;

	mutex_lock(&limits_lock);
	list_for_each_entry(l, &limits, node)
		if (uid_eq(l->uid, current_uid()))
			goto found;
	l = kzalloc(sizeof(*l), GFP_KERNEL_ACCOUNT);
	if (!l) {
		l = ERR_PTR(-ENOMEM);
		goto out;
	}
	l->uid = current_uid();
	list_add(&l->node, &limits);
found:
	if (l->groups >= READ_ONCE(gk_max_groups))
		l = ERR_PTR(-EUSERS);
	else
		l->groups++;
out:
	mutex_unlock(&limits_lock);
	return l;
}

static void limit_put(struct gk_limit *l)
{
	mutex_lock(&limits_lock);
	if (!--l->groups) {
		list_del(&l->node);
		kfree(l);
	}
	mutex_unlock(&limits_lock);
}

bool gk_group_mine(const struct gk_group *g)
{
	return current->mm == g->mm && task_tgid(current) == g->tgid;
}

/* Both times, checked as a pair. 0 stands for the default. */
static int times_get(u64 *slice, u64 *grain)
{
	if (!*slice)
		*slice = GK_SLICE;
	if (!*grain)
		*grain = min_t(u64, GK_GRAIN, *slice);
	if (*slice < GK_SLICE_MIN || *slice > GK_SLICE_MAX || *grain < GK_GRAIN_MIN || *grain > *slice)
		return -EINVAL;
	return 0;
}

static void pages_free(struct gk_group *g)
{
	unsigned long i;

	if (g->page)
		vunmap(g->page);
	if (g->pages)
		for (i = 0; i < g->npages && g->pages[i]; i++)
			__free_page(g->pages[i]);
	kvfree(g->pages);
}

/* Single pages, so that they are charged to the caller's cgroup, mapped in one piece. */
static int pages_alloc(struct gk_group *g, size_t size)
{
	unsigned long i;

	g->npages = PFN_UP(size);
	g->pages = kvcalloc(g->npages, sizeof(*g->pages), GFP_KERNEL_ACCOUNT);
	if (!g->pages)
		return -ENOMEM;
	for (i = 0; i < g->npages; i++) {
		g->pages[i] = alloc_page(GFP_KERNEL_ACCOUNT | __GFP_ZERO);
		if (!g->pages[i])
			return -ENOMEM;
	}
	g->page = vmap(g->pages, g->npages, VM_MAP, PAGE_KERNEL);
	return g->page ? 0 : -ENOMEM;
}

/* On CPUs that the caller may use itself: a core means interrupts there. */
static int cores_init(struct gk_group *g, const u32 __user *cpus, unsigned int core_off)
{
	unsigned int i;
	u32 cpu;

	for (i = 0; i < g->ncores; i++) {
		if (get_user(cpu, cpus + i))
			return -EFAULT;
		if (cpu >= nr_cpu_ids || !cpumask_test_cpu(array_index_nospec(cpu, nr_cpu_ids), current->cpus_ptr))
			return -EINVAL;
		g->cores[i].page = (void *)g->page + core_off + i * GK_CORE_STRIDE;
		gk_core_init(&g->cores[i], g, i, cpu);
	}
	return 0;
}

/* Frees what gk_group_setup() made, complete or not. No worker, no file, no interrupt knows the group any more. */
static void group_destroy(struct gk_group *g)
{
	if (g->manager)
		eventfd_ctx_put(g->manager);
	gk_check_del(g);
	bitmap_free(g->ids);
	kvfree(g->workers);
	kvfree(g->cores);
	free_cpumask_var(g->cpus);
	pages_free(g);
	put_pid(g->tgid);
	mmdrop(g->mm);
	if (!IS_ERR_OR_NULL(g->limit))
		limit_put(g->limit);
	kfree(g);
}

int gk_group_setup(struct gk_group **out, struct gk_setup *arg)
{
	u64 slice = arg->slice_ns, grain = arg->grain_ns;
	struct gk_group *g;
	int err;

	if (arg->flags || !arg->ncores || arg->ncores > min_t(u32, READ_ONCE(gk_max_cores), GK_MAX_CORES) ||
	    arg->max_workers < arg->ncores || arg->max_workers > READ_ONCE(gk_max_workers) || arg->manager_fd < -1)
		return -EINVAL;
	err = times_get(&slice, &grain);
	if (err)
		return err;
	g = kzalloc(sizeof(*g), GFP_KERNEL_ACCOUNT);
	if (!g)
		return -ENOMEM;
	kref_init(&g->ref);
	g->id = atomic_inc_return(&last_id);
	mutex_init(&g->lock);
	mutex_init(&g->net_lock);
	init_irq_work(&g->net_work, gk_net_work);
	init_irq_work(&g->manager_work, gk_manager_work);
	g->mm = current->mm;
	mmgrab(g->mm);
	g->tgid = get_pid(task_tgid(current));
	g->files = current->files;
	g->ncores = arg->ncores;
	g->max_workers = arg->max_workers;
	g->slice_ns = slice;
	g->grain_ns = grain;
	g->bound = arg->bound;

	g->limit = limit_get();
	if (IS_ERR(g->limit)) {
		err = PTR_ERR(g->limit);
		goto err_destroy;
	}
	arg->core_off = ALIGN(sizeof(struct gk_group_page), PAGE_SIZE);
	arg->core_stride = GK_CORE_STRIDE;
	g->worker_off = PAGE_ALIGN(arg->core_off + g->ncores * GK_CORE_STRIDE);
	arg->worker_off = g->worker_off;
	arg->worker_stride = GK_WORKER_STRIDE;
	arg->map_size = PAGE_ALIGN(g->worker_off + g->max_workers * GK_WORKER_STRIDE);

	err = -ENOMEM;
	g->cores = kvcalloc(g->ncores, sizeof(*g->cores), GFP_KERNEL_ACCOUNT);
	g->workers = kvcalloc(g->max_workers, sizeof(*g->workers), GFP_KERNEL_ACCOUNT);
	g->ids = bitmap_zalloc(g->max_workers, GFP_KERNEL_ACCOUNT);
	if (!g->cores || !g->workers || !g->ids || !zalloc_cpumask_var(&g->cpus, GFP_KERNEL_ACCOUNT))
		goto err_destroy;
	err = pages_alloc(g, arg->map_size);
	if (err)
		goto err_destroy;
	if (arg->manager_fd >= 0) {
		struct eventfd_ctx *manager = eventfd_ctx_fdget(arg->manager_fd);

		err = PTR_ERR_OR_ZERO(manager);
		if (err)
			goto err_destroy;
		g->manager = manager;
	}
	err = cores_init(g, u64_to_user_ptr(arg->cpus), arg->core_off);
	if (err)
		goto err_destroy;
	err = gk_check_add(g);
	if (err)
		goto err_destroy;
	gk_stats_add(g);
	*out = g;
	return 0;

err_destroy:
	group_destroy(g);
	return err;
}

int gk_group_set(struct gk_group *g, const struct gk_set *arg)
{
	unsigned int i;
	u64 slice, grain;
	int err;

	if (!arg->mask || arg->mask & ~(GK_SET_SLICE | GK_SET_GRAIN | GK_SET_BOUND | GK_SET_EPOLL))
		return -EINVAL;
	/* Both at once or neither: net_lock is held throughout, g->lock only where nothing waits. */
	mutex_lock(&g->net_lock);
	slice = arg->mask & GK_SET_SLICE ? arg->slice_ns : g->slice_ns;
	grain = g->grain_ns;
	if (arg->mask & GK_SET_GRAIN)
		grain = arg->grain_ns;
	else if (arg->mask & GK_SET_SLICE)
		grain = min(g->grain_ns, slice);
	err = times_get(&slice, &grain);
	if (!err && arg->mask & GK_SET_EPOLL)
		err = gk_net_set(g, arg->epoll_fd);
	if (!err) {
		WRITE_ONCE(g->slice_ns, slice);
		WRITE_ONCE(g->grain_ns, grain);
		if (arg->mask & GK_SET_BOUND)
			WRITE_ONCE(g->bound, arg->bound);
	}
	mutex_unlock(&g->net_lock);
	if (!err && arg->mask & (GK_SET_SLICE | GK_SET_GRAIN))
		for (i = 0; i < g->ncores; i++)
			gk_core_new_turn(&g->cores[i]);
	return err;
}

/*
 * The epoll file. One permanent entry on its wait queue counts up net_seq and has a core look; the file is referenced,
 * so its wait queue stays, except under POLLFREE, which is answered as fs/eventpoll.c does.
 */
struct gk_net {
	struct gk_group *group;
	struct file *file;
	wait_queue_entry_t entry;
	wait_queue_head_t *head;
	int err;
	poll_table pt;
};

static void net_ready(struct gk_group *g)
{
	WRITE_ONCE(g->net_seq, g->net_seq + 1);
	WRITE_ONCE(g->page->net_seq, g->net_seq);
	irq_work_queue(&g->net_work);
}

static int net_wake(wait_queue_entry_t *entry, unsigned int mode, int flags, void *key)
{
	struct gk_net *net = container_of(entry, struct gk_net, entry);
	__poll_t events = key_to_poll(key);

	if (unlikely(events & POLLFREE)) {
		list_del_init(&entry->entry);
		/* Pairs with the acquire in net_drop(): after this the head may be gone. */
		smp_store_release(&net->head, NULL);
		return 0;
	}
	if (!events || events & (EPOLLIN | EPOLLERR | EPOLLHUP))
		net_ready(net->group);
	return 0;
}

static void net_queue(struct file *file, wait_queue_head_t *head, poll_table *pt)
{
	struct gk_net *net = container_of(pt, struct gk_net, pt);

	/* A file with two wait queues is no epoll file. */
	if (net->head) {
		net->err = -EINVAL;
		return;
	}
	net->head = head;
	add_wait_queue(head, &net->entry);
}

static void net_drop(struct gk_net *net)
{
	wait_queue_head_t *head;

	rcu_read_lock();
	head = smp_load_acquire(&net->head);	/* pairs with net_wake() */
	if (head)
		remove_wait_queue(head, &net->entry);
	rcu_read_unlock();
	irq_work_sync(&net->group->net_work);
	fput(net->file);
	kfree(net);
}

/* Only these: other files could hold a reference to ours, and neither would ever be released. */
static bool is_epoll(struct file *file)
{
	return file->f_path.mnt->mnt_sb->s_magic == ANON_INODE_FS_MAGIC &&
	       !strcmp(file->f_path.dentry->d_name.name, "[eventpoll]");
}

int gk_net_set(struct gk_group *g, int fd)
{
	struct gk_net *net, *old = g->net;
	__poll_t events;

	if (fd < 0) {
		if (fd != -1)
			return -EINVAL;
		g->net = NULL;
		if (old)
			net_drop(old);
		return 0;
	}
	net = kzalloc(sizeof(*net), GFP_KERNEL_ACCOUNT);
	if (!net)
		return -ENOMEM;
	net->file = fget(fd);
	if (!net->file) {
		kfree(net);
		return -EBADF;
	}
	if (!is_epoll(net->file)) {
		fput(net->file);
		kfree(net);
		return -EINVAL;
	}
	net->group = g;
	init_waitqueue_func_entry(&net->entry, net_wake);
	init_poll_funcptr(&net->pt, net_queue);
	events = vfs_poll(net->file, &net->pt);
	if (!net->head || net->err) {
		net_drop(net);
		return -EINVAL;
	}
	g->net = net;
	if (old)
		net_drop(old);
	/* It may count twice with net_wake(), or lose one of two: any change is enough. */
	if (events & (EPOLLIN | EPOLLERR | EPOLLHUP))
		net_ready(g);
	return 0;
}

void gk_manager_work(struct irq_work *work)
{
	gk_eventfd_signal(container_of(work, struct gk_group, manager_work)->manager);
}

/*
 * A core where nobody runs takes the network; where all are busy, the first has its worker's turn made short. That one
 * is looked at under its lock: if its worker blocks after that, it has seen net_seq.
 */
void gk_net_work(struct irq_work *work)
{
	struct gk_group *g = container_of(work, struct gk_group, net_work);
	unsigned int i;

	for (i = 0; i < g->ncores; i++)
		if ((!i || !READ_ONCE(g->cores[i].running)) && gk_core_wake(&g->cores[i], true))
			return;
	if (READ_ONCE(g->cores[0].running))
		gk_core_kick(&g->cores[0]);
}

static void stop_cpu(void *info)
{
	struct gk_worker *w = gk_worker_of(current);

	if (w && w->group == info && gk_must_stop(w))
		gk_queue_park(w);
}

/* A worker of @core without a task, STANDBY or preempted, now RUNNING and free to leave; or NULL. */
static struct task_struct *dismiss_one(struct gk_core *core)
{
	struct task_struct *task = NULL;
	struct gk_worker *w, *r;
	unsigned long flags;

	raw_spin_lock_irqsave(&core->lock, flags);
	w = hlist_entry_safe(core->standby_list.first, struct gk_worker, place);
	if (!w)
		list_for_each_entry(r, &core->ready_list, node)
			if (READ_ONCE(r->page->taskless)) {
				w = r;
				break;
			}
	if (w) {
		trace_gk_spare(w, GK_WHY_NONE);
		w->dismissed = true;
		gk_make_running(core, w);
		task = get_task_struct(w->task);
	}
	gk_check_core(core);
	raw_spin_unlock_irqrestore(&core->lock, flags);
	return task;
}

/* The group is stopping: who has no task on @core, and waits, goes. */
void gk_core_dismiss(struct gk_core *core)
{
	struct task_struct *task;

	while ((task = dismiss_one(core))) {
		wake_up_process(task);
		put_task_struct(task);
	}
}

/*
 * No worker but the caller executes another user instruction. Those on a CPU are interrupted and park as they return;
 * the others see `stopping` in sched_in or in the park loop. READY and HELD ones stay as they are: nobody is granted
 * any more.
 */
void gk_group_stop(struct gk_group *g)
{
	struct gk_worker *self = gk_worker_of(current);
	struct gk_core *core;
	unsigned long flags;
	unsigned int i;

	mutex_lock(&g->lock);
	if (!g->stopping) {
		g->stopper = current;
		/* No worker is STOPPED before it. */
		trace_gk_stop(&g->cores[0], GK_WHY_NONE);
		/* Pairs with the acquire in gk_must_stop(): who sees the last sees them all. */
		WRITE_ONCE(g->page->stopping, 1);
		smp_mb();	/* pairs with the library's fence between taskless and page->stopping */
		smp_store_release(&g->stopping, true);
		/* A worker that is switched in from here on sees it in sched_in; who runs now gets an interrupt. */
		smp_mb();
		for (i = 0; i < g->max_workers; i++) {
			struct gk_worker *w = rcu_dereference_protected(g->workers[i], lockdep_is_held(&g->lock));

			if (w && w->task != current)
				smp_call_function_single(task_cpu(w->task), stop_cpu, g, 1);
		}
	}
	if (self && self->group == g && g->stopper == current) {
		/* Its slice may have ended on the way; from now on nobody is granted, nor preempted. */
		core = gk_worker_lock(self, &flags);
		if (self->state == GK_W_READY) {
			trace_gk_spare(self, GK_WHY_NONE);
			gk_make_running(core, self);
		}
		gk_worker_unlock(core, flags);
	}
	mutex_unlock(&g->lock);
	for (i = 0; i < g->ncores; i++)
		gk_core_dismiss(&g->cores[i]);
}

/* Any context. */
void gk_group_wake_parked(struct gk_group *g)
{
	struct gk_worker *w;
	unsigned int i;

	rcu_read_lock();
	for (i = 0; i < g->max_workers; i++) {
		w = rcu_dereference(g->workers[i]);
		/* Pairs with set_current_state() in park_sleep(): it sees `dead` or `closed`, or we see it parked. */
		smp_mb();
		if (w && READ_ONCE(w->parked))
			wake_up_process(w->task);
	}
	rcu_read_unlock();
}

/*
 * A descriptor in the table @files is being closed. It may be the last, and then a reference to the file that a worker
 * parked in its call has must not be: from here on such workers park on their way out of the call. Tables of other
 * processes keep no call of ours going.
 */
void gk_group_close(struct gk_group *g, void *files)
{
	if (files != g->files || READ_ONCE(g->closed))
		return;
	WRITE_ONCE(g->closed, true);
	gk_group_wake_parked(g);
}

/* The file is closed and nothing maps the pages: whoever still parks goes its way, and leaves as it does. */
void gk_group_release(struct gk_group *g)
{
	struct gk_worker *w = gk_worker_of(current);

	WRITE_ONCE(g->dead, true);
	mutex_lock(&g->net_lock);
	gk_net_set(g, -1);
	mutex_unlock(&g->net_lock);
	/* After an exec: it is no worker of anything any more. */
	if (w && w->group == g && !w->leaving)
		gk_worker_exit(w);
	gk_group_wake_parked(g);
	gk_group_put(g);
}

static void group_last_put(struct kref *ref)
{
	gk_reap_group(container_of(ref, struct gk_group, ref));
}

void gk_group_put(struct gk_group *g)
{
	kref_put(&g->ref, group_last_put);
}

static void nothing(void *info)
{
}

/* In process context, some time after the last put. */
void gk_group_free(struct gk_group *g)
{
	unsigned int i;

	gk_stats_del(g);
	irq_work_sync(&g->net_work);
	for_each_cpu(i, g->cpus) {
		/*
		 * A csd may still be on its way. Calls that are waited for overtake it within a batch; the second is in
		 * a later one.
		 */
		smp_call_function_single(i, nothing, NULL, 1);
		smp_call_function_single(i, nothing, NULL, 1);
	}
	for (i = 0; i < g->ncores; i++)
		gk_core_destroy(&g->cores[i]);
	irq_work_sync(&g->manager_work);
	group_destroy(g);
}
